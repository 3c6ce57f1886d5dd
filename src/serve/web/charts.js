// Small charts of a pool's last half hour, and of a policy's usage with what is expected. Shapes only: the numbers stand beside them as text.

import { el, svg } from "./dom.js";

const WIDTH = 600, HEIGHT = 100;

function scale(points, keys, from) {
  const values = points.flatMap((point) => keys.map((key) => point[key])).filter(Number.isFinite);
  const most = Math.max(1, ...values), to = Date.now();
  return { most, x: (time) => ((Math.max(time, from) - from) / Math.max(1, to - from)) * WIDTH, y: (value) => HEIGHT - 2 - (value / most) * (HEIGHT - 6) };
}

/** A line that holds each value until the next; a gap where none is known. */
function steps(points, key, { x, y }) {
  let path = "", last = null;
  for (const point of points) {
    const value = point[key];
    if (!Number.isFinite(value)) { last = null; continue; }
    const at = x(point.time).toFixed(1), level = y(value).toFixed(1);
    path += last === null ? `M${at} ${level}` : `H${at}V${level}`;
    last = value;
  }
  return path && last !== null ? `${path}H${WIDTH}` : path;
}

function frame(kind, words, ...shapes) {
  return svg("svg", { class: kind, viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": words }, shapes);
}

/** The size over time, in a table's cell. */
export function spark(points, words) {
  const from = points[0]?.time ?? Date.now();
  const to = scale(points, ["workers", "wanted"], from);
  const line = steps(points, "workers", to);
  return frame("spark", words, svg("path", { class: "area", d: line && `${line}V${HEIGHT}H${to.x(from)}Z` }), svg("path", { class: "step", d: line }));
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
      svg("path", { class: "area", d: line && `${line}V${HEIGHT - 2}H${to.x(from)}Z` }), svg("path", { class: "step", d: line }),
      wish && svg("path", { class: "wish", d: steps(points, wish.key, to) })),
    el("span", { class: "top" }, String(+to.most.toFixed(1))), el("span", { class: "bottom" }, "0"),
    el("div", { class: "axis" }, el("time", {}, new Date(from).toLocaleTimeString()), el("time", {}, "now")));
}

/** How much of a limit is used. */
export function bar(percent) {
  const known = Number.isFinite(percent);
  return el("progress", { max: 100, value: known ? Math.min(100, Math.round(percent)) : 0, "aria-label": known ? `${Math.round(percent)} percent of the limit` : "unknown" });
}
