// The pages, each a function of what is known to a tree of elements.

import * as act from "./actions.js";
import { bar, chart, spark } from "./charts.js";
import { ago, ahead, badge, bytes, el, span, table } from "./dom.js";
import { button, byName, condition, holds, link, name, section, select, shown } from "./parts.js";
import * as one from "./policy.js";
import { TASKS_MAX, backlog, choose, chosen, history, lookAtRoom, refusedOf, rooms, world } from "./store.js";

/** In one word, the worst first: the word and the order of `ctl get pools`. */
function word(pool) {
  const blocked = holds(pool, "PruneBlocked");
  if (pool.metadata.deletionTimestamp && !blocked) return ["Terminating", "warn"];
  if (pool.status?.stuckReplicas > 0 && !blocked) return ["Stuck", "bad"];
  for (const bad of ["PruneBlocked", "PendingDelete", "CrashLoop"]) if (holds(pool, bad)) return [bad, "bad"];
  if (holds(pool, "Paused")) return ["Paused", "warn"];
  if (condition(pool, "Accepted")?.status === "False") return ["Invalid", "bad"];
  if (pool.status?.queue?.pausedUntil) return ["Paused", "warn"];
  if (holds(pool, "Progressing")) return ["Progressing", "warn"];
  return holds(pool, "Ready") ? ["Ready", blind(pool) ? "warn" : "good"] : [condition(pool, "Ready")?.reason ?? "Unknown", "warn"];
}

const state = (pool) => badge(...word(pool));

/** Why its triggers cannot be read, if they cannot: it may be ready all the same. */
const blind = (pool) => (condition(pool, "ScalingActive")?.status === "False" ? condition(pool, "ScalingActive").message : "");

const range = (pool) => {
  const { min, max } = pool.status?.scaling ?? {};
  return min === undefined ? String(pool.spec.replicas ?? 1) : `${min}–${max}`;
};

export function pools() {
  const rows = byName(world.workerpools);
  return [el("h1", {}, "Pools"), warned("workerpools"), section("All pools", table("Pools", [
    ["Name", (pool) => link(name(pool))],
    ["Last 30 minutes", (pool) => spark(history.get(name(pool)) ?? [], `workers of ${name(pool)}, now ${pool.status?.replicas ?? 0}`)],
    ["Ready", (pool) => String(pool.status?.readyReplicas ?? 0), "n"],
    ["Wanted", (pool) => String(pool.status?.desiredReplicas ?? 0), "n"],
    ["Range", range, "n"],
    ["Backlog", (pool) => shown(backlog(pool)), "n"],
    ["State", state],
    ["Why", (pool) => blind(pool) || (pool.status?.waitingOn?.[0] ?? pool.status?.lastScale?.reason ?? condition(pool, "Ready")?.message ?? ""), "words"],
    ["Age", (pool) => ago(pool.metadata.creationTimestamp), "n"],
  ], rows, name))];
}

/** Documents that are refused are no objects, and in no table. */
function warned(kind) {
  const said = refusedOf(kind).map((words) => el("p", {}, badge("Refused", "bad"), ` ${words.replace("see the events", "")}`, el("a", { href: "#/events" }, "see the events")));
  return said.length > 0 && el("section", { "data-key": "refused", role: "status" }, said);
}

function why(pool) {
  const told = pool.status?.scaling;
  const waits = (pool.status?.waitingOn ?? []).map((wait) => el("li", {}, wait));
  if (!told) return [el("p", {}, `The number is fixed: spec.replicas is ${pool.spec.replicas ?? 1}.`), waits.length > 0 && el("ul", {}, waits)];
  return [
    table("Signals", [
      ["Trigger", (signal) => signal.trigger], ["Value", (signal) => shown(signal.value), "n"],
      ["State", (signal) => badge(signal.state, { Fresh: "good", Stale: "warn" }[signal.state] ?? "bad")],
      ["Read", (signal) => (signal.time ? `${ago(signal.time)} ago` : "–")], ["Wants", (signal) => shown(signal.wants), "n"],
      ["Why", (signal) => `${signal.says ?? ""}${signal.error ? `; failed: ${signal.error}` : ""}`, "words"],
    ], told.signals ?? [], (signal) => signal.trigger),
    el("p", {}, `Asked for: ${told.raw}`),
    (told.clamps ?? []).length > 0 && table("Clamps", [
      ["Changed by", (clamp) => clamp.name], ["From", (clamp) => String(clamp.from), "n"], ["To", (clamp) => String(clamp.to), "n"],
      ["For", (clamp) => (clamp.until ? ahead(clamp.until) : "–"), "n"], ["Why", (clamp) => clamp.why, "words"],
    ], told.clamps, (clamp) => clamp.name),
    el("p", {}, el("strong", {}, `Decided: ${told.final}`), told.nextChange ? `; the next change is possible in ${ahead(told.nextChange)}` : ""),
    waits.length > 0 && el("div", {}, "Waits for:", el("ul", {}, waits)),
  ];
}

function poolActions(pool) {
  const scaled = Boolean(pool.spec.scale), held = pool.metadata.annotations?.["weir.dev/paused-until"];
  const queue = pool.status?.queue;
  return el("div", { class: "actions" },
    !scaled && button("Scale…", () => act.scale(pool)),
    scaled && (held ? button("Follow triggers again", () => act.resumeScaling(name(pool))) : button("Hold this size…", () => act.pauseScaling(name(pool)))),
    button("Restart workers…", () => act.rollout(name(pool))),
    pool.spec.queue && button("Submit a task…", () => act.submit(name(pool))),
    pool.spec.queue && (queue?.pausedUntil ? button("Resume the queue", () => act.resumeQueue(name(pool))) : button("Pause the queue", () => act.pauseQueue(name(pool)))));
}

/** How long a task that is submitted now waits; it is not known while none is begun, and as long as none has ended. */
const wait = (room) => (room?.estimatedWait === undefined ? "–" : /^0m?s$/.test(room.estimatedWait) ? "none" : `about ${room.estimatedWait}`);

export function pool(wanted) {
  const found = world.workerpools.get(wanted);
  if (!found) return [el("h1", {}, wanted), el("p", { class: "empty" }, "There is no pool of this name (any more).")];
  const points = history.get(wanted) ?? [], status = found.status ?? {}, queue = status.queue;
  const figure = (title, value) => el("div", {}, el("dt", {}, title), el("dd", {}, String(value)));
  if (queue) lookAtRoom(wanted);
  return [
    el("h1", {}, wanted, " ", state(found)),
    el("section", { "data-key": "figures" },
      el("dl", { class: "figures" }, figure("Ready", `${status.readyReplicas ?? 0} of ${status.replicas ?? 0}`), figure("Wanted", status.desiredReplicas ?? 0), figure("Range", range(found)),
        figure("Busy", status.busyReplicas ?? 0), figure("Backlog", shown(backlog(found))), queue && figure("Free slots", rooms.get(wanted)?.freeSlots ?? "–"), queue && figure("Wait for the next", wait(rooms.get(wanted))),
        queue?.stats && figure("Done / failed", `${queue.stats.done} / ${queue.stats.failed}`)),
      chart("Workers", points, "workers", { key: "wanted", name: "Wanted" }),
      points.some((point) => Number.isFinite(point.backlog)) && chart("Backlog", points, "backlog"),
      poolActions(found)),
    section("Why this many", why(found)),
    section("Workers", workerTable([...world.workers.values()].filter((worker) => worker.metadata.owner === wanted))),
    found.spec.queue && section("Queue", taskTable(world.tasks.filter((task) => task.pool === wanted), world.tasks.length)),
    section("Conditions", table("Conditions", [
      ["Type", (row) => row.type], ["Status", (row) => row.status], ["Reason", (row) => row.reason], ["Message", (row) => row.message ?? "", "words"], ["For", (row) => ago(row.lastTransitionTime), "n"],
    ], status.conditions ?? [], (row) => row.type)),
    section("Events", eventTable([...world.events.values()].filter((event) => about(event) === `pool/${wanted}` || ownerOf(about(event)) === wanted).slice(-50))),
  ];
}

/** The pool of a worker that an event is about; of one that is gone the longest name that its own begins with. */
function ownerOf(about) {
  const [, worker] = /^worker\/(.*)$/.exec(about) ?? [];
  if (worker === undefined) return undefined;
  const named = [...world.workerpools.keys()].filter((pool) => worker.startsWith(`${pool}-`)).sort((a, b) => b.length - a.length);
  return world.workers.get(worker)?.metadata.owner ?? named[0];
}

const phases = { Ready: "good", Running: "good", Busy: "good", Completed: "quiet", Stopped: "quiet", Failed: "bad", Stuck: "bad", BackOff: "warn", CrashLoop: "bad" };

function workerTable(rows) {
  const order = (a, b) => name(a).localeCompare(name(b), undefined, { numeric: true });
  return table("Workers", [
    ["Name", (worker) => name(worker)], ["Pool", (worker) => link(worker.metadata.owner)],
    ["State", (worker) => badge(worker.status.phase, phases[worker.status.phase] ?? "warn")],
    ["Pid", (worker) => String(worker.status.pid ?? "–"), "n"], ["Restarts", (worker) => String(worker.status.restarts), "n"],
    ["Since", (worker) => ago(worker.status.startedAt), "n"], ["Tasks", (worker) => (worker.status.tasks ?? []).join(", ") || "–"],
    ["Done / failed", (worker) => (worker.status.stats ? `${worker.status.stats.done} / ${worker.status.stats.failed}` : "–"), "n"],
    ["Message", (worker) => worker.status.message ?? "", "words"],
    ["", (worker) => el("span", { class: "actions" }, button("Log", () => act.workerLog(name(worker), world.workerpools.get(worker.metadata.owner)?.spec.queue?.delivery === "Process"), `Log of ${name(worker)}`), button("Restart…", () => act.restart(name(worker)), `Restart ${name(worker)}`))],
  ], rows.sort(order), name);
}

export const workers = () => [el("h1", {}, "Workers"), section("All workers", workerTable([...world.workers.values()]))];

// A leased task is one that runs: the word that `ctl` has for it too.
const stateOf = (task) => (task.state === "Leased" ? "Running" : task.state);
const kinds = { Succeeded: "good", Running: "good", Failed: "bad", Dead: "bad", Expired: "warn", Cancelled: "quiet" };
const ended = (task) => Boolean(task.finished);

const TASKS_SHOWN = 200;

/** `read`: so many were read before some were left out; as many as can be: there may be more. */
function taskTable(rows, read = rows.length) {
  const rank = (task) => (stateOf(task) === "Running" ? 0 : ended(task) ? 2 : 1);
  const order = (a, b) => rank(a) - rank(b) || (ended(a) ? b.id - a.id : (a.position ?? 1e9) - (b.position ?? 1e9) || b.priority - a.priority || a.id - b.id);
  const more = rows.length > TASKS_SHOWN || read >= TASKS_MAX;
  const shown = rows.sort(order).slice(0, TASKS_SHOWN);
  return [more && el("p", { class: "soft" }, `${shown.length} of ${read >= TASKS_MAX ? "more than " : ""}${rows.length} are shown: "ctl get tasks --limit" has the rest.`), table("Tasks", [
    ["Task", (task) => el("button", { class: "small", type: "button", onclick: () => act.taskWhole(task.id) }, String(task.id)), "n"],
    ["Pool", (task) => link(task.pool)], ["State", (task) => badge(stateOf(task), kinds[stateOf(task)] ?? "quiet")],
    ["Place", (task) => (task.after ? short(`after ${task.after.join(", ")}`) : String(task.position ?? "–")), "n"], ["Priority", (task) => String(task.priority), "n"],
    ["Payload", (task) => short(JSON.stringify(task.payload)), "words"], ["Worker", (task) => task.worker ?? "–"],
    ["Attempt", (task) => `${task.attempt}/${task.maxAttempts}`, "n"], ["Submitted", (task) => ago(task.created), "n"],
    ["Took", (task) => (task.end?.ranMs !== undefined ? span(task.end.ranMs) : stateOf(task) === "Running" ? ago(task.started) : "–"), "n"],
    ["End", (task) => (task.end ? short(`${task.end.reason}${task.end.message ? `: ${task.end.message}` : ""}`) : "–"), "words"],
    ["", (task) => el("span", { class: "actions" },
      button("Log", () => act.taskLog(task.id), `Log of task ${task.id}`),
      task.state === "Held" && button("Release", () => act.release(task.id), `Release task ${task.id}`),
      ended(task) ? task.state !== "Succeeded" && button("Retry", () => act.retry(task.id), `Retry task ${task.id}`) : button("Cancel…", () => act.cancel(task.id), `Cancel task ${task.id}`))],
  ], shown, (task) => `task-${task.id}`)];
}

const short = (text) => (text.length > 140 ? `${text.slice(0, 139)}…` : text);

// What is shown of tasks, and the states that the daemon knows it by.
const STATES = { "All": "", "Running": "Leased", "Waiting": "Queued,Held", "Failed": "Failed,Dead,Expired", "Succeeded": "Succeeded", "Cancelled": "Cancelled" };

export function tasks() {
  const now = Object.keys(STATES).find((words) => STATES[words] === chosen.states);
  const choice = el("p", { class: "choice" }, "State ", select("State of the tasks", Object.keys(STATES), now, (words) => choose(STATES[words])));
  return [el("h1", {}, "Tasks"), section("Running, waiting, and ended", choice, taskTable([...chosen.tasks]))];
}

export { policy } from "./policy.js";

export function policies() {
  const amount = (used, limit, percent) => el("span", {}, `${used} of ${limit}`, bar(percent));
  const limits = (policy) => policy.status?.limits ?? {}, usage = (policy) => policy.status?.usage ?? {};
  const rows = byName(world.resourcepolicies);
  return [el("h1", {}, "Policies"), warned("resourcepolicies"), section("All policies", table("Policies", [
    ["Name", (policy) => el("a", { href: `#/policy/${encodeURIComponent(name(policy))}` }, name(policy))],
    ["Target", one.target], ["Mode", one.mode], ["Profile", one.profile],
    ["CPU", (policy) => amount(`${shown(usage(policy).cpuCores)} cores`, limits(policy).cpu ?? "no limit", usage(policy).cpuPercent)],
    ["Memory", (policy) => amount(bytes(usage(policy).memoryBytes), limits(policy).memory ?? "no limit", usage(policy).memoryPercent)],
    ["Tasks", (policy) => amount(shown(usage(policy).tasks), limits(policy).tasks ?? "no limit", usage(policy).tasksPercent)],
    ["Expected", (policy) => expected(policy.status?.forecast), "words"],
    ["State", one.state],
    ["Last", (policy) => policy.status?.history?.at(-1)?.reason ?? condition(policy, "LimitsEnforced")?.message ?? "", "words"],
  ], rows, name))];
}

const expected = (forecast) => (forecast ? forecast.summary ?? JSON.stringify(forecast) : "–");

const about = (event) => (event.regarding?.name ? `${event.regarding.kind === "Worker" ? "worker" : "pool"}/${event.regarding.name}` : String(event.regarding));
const warning = (event) => event.type === "Warning";

function eventTable(rows) {
  return table("Events", [
    ["When", (event) => `${ago(event.eventTime)} ago`], ["", (event) => badge(warning(event) ? "Warning" : "Normal", warning(event) ? "warn" : "quiet")],
    ["Reason", (event) => event.reason], ["About", about], ["What", (event) => event.note, "words"],
  ], rows.sort((a, b) => Date.parse(b.eventTime) - Date.parse(a.eventTime)), name);
}

export const events = () => [el("h1", {}, "Events"), section("Newest first", eventTable([...world.events.values()]))];
