// Small charts of a pool's last half hour, and of a policy's usage with what is expected. Shapes only: the numbers stand beside them as text.

import { el, svg } from "./dom.js";

const WIDTH = 600, HEIGHT = 100;

function scale(points, keys, from, to = Date.now(), least = 1) {
  const values = points.flatMap((point) => keys.map((key) => point[key])).filter(Number.isFinite);
  const most = Math.max(least, ...values);
  return { most, x: (time) => ((Math.max(time, from) - from) / Math.max(1, to - from)) * WIDTH, y: (value) => HEIGHT - 2 - (value / most) * (HEIGHT - 6) };
}

/** Lines that hold each value until the next, `{start, line}`; one ends where none is known, and another begins where one is again. */
function runs(points, key, { x, y }) {
  const all = [];
  let open = false;
  for (const point of points) {
    const at = x(point.time).toFixed(1), known = Number.isFinite(point[key]), level = known && y(point[key]).toFixed(1);
    if (open) all.at(-1).line += `H${at}`;
    if (known && open) all.at(-1).line += `V${level}`;
    if (known && !open) all.push({ start: at, line: `M${at} ${level}` });
    open = known;
  }
  if (open) all.at(-1).line += `H${WIDTH}`;
  return all;
}

const steps = (points, key, to) => runs(points, key, to).map(({ line }) => line).join("");

/** What is below the lines, and nothing where there is none. */
const area = (points, key, to, bottom) => runs(points, key, to).map(({ start, line }) => `${line}V${bottom}H${start}Z`).join("");

function frame(kind, words, ...shapes) {
  return svg("svg", { class: kind, viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": words }, shapes);
}

/** The size over time, in a table's cell. */
export function spark(points, words) {
  const from = points[0]?.time ?? Date.now();
  const to = scale(points, ["workers", "wanted"], from);
  const line = steps(points, "workers", to);
  return frame("spark", words, svg("path", { class: "area", d: area(points, "workers", to, HEIGHT) }), svg("path", { class: "step", d: line }));
}

/** A chart with its largest value and its times. `wish` is a second, dashed line. */
export function chart(title, points, key, wish) {
  const from = points[0]?.time ?? Date.now();
  const to = scale(points, wish ? [key, wish.key] : [key], from);
  const line = steps(points, key, to);
  const now = points.at(-1)?.[key];
  const words = `${title}: now ${Number.isFinite(now) ? now : "unknown"}, at most ${to.most}`;
  const legend = wish && el("p", { class: "legend" }, el("span", {}, el("i"), title), el("span", {}, el("i", { class: "wish" }), wish.name));
  return el("div", { class: "chartbox" },
    legend ?? el("p", { class: "legend" }, title),
    frame("chart", words,
      svg("line", { class: "grid", x1: 0, x2: WIDTH, y1: to.y(0), y2: to.y(0) }), svg("line", { class: "grid", x1: 0, x2: WIDTH, y1: to.y(to.most), y2: to.y(to.most) }),
      svg("path", { class: "area", d: area(points, key, to, HEIGHT - 2) }), svg("path", { class: "step", d: line }),
      wish && svg("path", { class: "wish", d: steps(points, wish.key, to) })),
    el("span", { class: "top" }, String(+to.most.toFixed(1))), el("span", { class: "bottom" }, "0"),
    el("div", { class: "axis" }, el("time", {}, new Date(from).toLocaleTimeString()), el("time", {}, "now")));
}

/** Straight from point to point; a gap where a value is unknown. */
function line(points, key, { x, y }) {
  let path = "", open = false;
  for (const point of points) {
    const known = Number.isFinite(point[key]);
    if (known) path += `${open ? "L" : "M"}${x(point.time).toFixed(1)} ${y(point[key]).toFixed(1)}`;
    open = known;
  }
  return path;
}

/**
 * What was used under its limit, and the band in which what comes is expected. `points`: `{time, value, limit}`; `path`: `{time, value,
 * low, high}`, ahead of now; `say` words a value.
 */
export function fan(title, points, path, say) {
  const from = points[0]?.time ?? Date.now(), end = Math.max(Date.now(), path.at(-1)?.time ?? 0), last = points.at(-1), coming = path.at(-1);
  const to = scale([...points, ...path], ["value", "limit", "high"], from, end, Number.MIN_VALUE);
  const used = last?.value, limit = last?.limit;
  const known = Number.isFinite(used) ? [{ time: last.time, value: used, low: used, high: used }, ...path] : path;
  const band = path.length > 0 && `${line(known, "high", to)}L${line([...known].reverse(), "low", to).slice(1)}Z`;
  const words = [`now ${Number.isFinite(used) ? say(used) : "unknown"}`, Number.isFinite(limit) ? `limit ${say(limit)}` : "no limit",
    coming ? `expected ${say(coming.value)} (${say(coming.low)} to ${say(coming.high)})` : "nothing expected"].join(", ");
  return el("div", { class: "chartbox" },
    el("p", { class: "legend" }, el("span", {}, el("i"), title), el("span", {}, el("i", { class: "wish" }), "Limit"), el("span", {}, el("i", { class: "band" }), "Expected"), el("span", {}, words)),
    frame("chart", `${title}: ${words}`,
      svg("line", { class: "grid", x1: 0, x2: WIDTH, y1: to.y(0), y2: to.y(0) }), svg("line", { class: "grid", x1: to.x(Date.now()), x2: to.x(Date.now()), y1: 0, y2: HEIGHT }),
      band && svg("path", { class: "expected", d: band }), svg("path", { class: "step", d: line(points, "value", to) }),
      path.length > 0 && svg("path", { class: "ahead", d: line(known, "value", to) }),
      svg("path", { class: "wish", d: steps(points, "limit", to) })),
    el("span", { class: "top" }, say(to.most)), el("span", { class: "bottom" }, "0"),
    el("div", { class: "axis" }, el("time", {}, new Date(from).toLocaleTimeString()), el("time", {}, path.length > 0 ? new Date(end).toLocaleTimeString() : "now")));
}

/** How much of a limit is used. */
export function bar(percent) {
  const known = Number.isFinite(percent);
  return el("progress", { max: 100, value: known ? Math.min(100, Math.round(percent)) : 0, "aria-label": known ? `${Math.round(percent)} percent of the limit` : "unknown" });
}
