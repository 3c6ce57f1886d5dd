// What the page knows: the objects by name, a short history of each pool, and who wants to hear of changes.

import { get, keep, warnings } from "./api.js";

const HISTORY_MS = 30 * 60 * 1000, HISTORY_MAX = 900, EVENTS_MAX = 500, SETTLE_MS = 250, SAMPLES_MS = 6 * 60 * 60 * 1000;
/** Tasks that are read; more there may be. */
export const TASKS_MAX = 500;
const REFUSED_MS = 30 * 1000;

/** Objects by name. */
export const world = { workerpools: new Map(), workers: new Map(), resourcepolicies: new Map(), events: new Map(), tasks: [] };
/** Of each pool: `{time, workers, wanted, backlog}`, oldest first; `told` are those that only the events tell of. */
export const history = new Map();

const listeners = new Set();
/** Hear of changes; several in a moment are told once. */
export const listen = (listener) => listeners.add(listener);

let due = false;
function tell() {
  if (due) return;
  due = true;
  requestAnimationFrame(() => { due = false; listeners.forEach((listener) => listener()); });
}

/** What is asked for beside the watches is asked for once for all that changes in a moment. */
function settled(look) {
  let wait = null;
  return () => {
    wait ??= setTimeout(async () => {
      wait = null;
      try { await look(); tell(); } catch { /* The watches say that the daemon is away. */ }
    }, SETTLE_MS);
  };
}

/** Tasks have no watch of their own: a pool whose queue changed says when to look again. */
const lookAtTasks = settled(async () => {
  const { states } = chosen, [all, some] = await Promise.all([get(`/v1/tasks?limit=${TASKS_MAX}`), states && get(`/v1/tasks?limit=${TASKS_MAX}&state=${states}`)]);
  world.tasks = all.items;
  if (states === chosen.states) chosen.tasks = some ? some.items : all.items;
});

/** Tasks of which states the page of tasks shows; none: of all. As many are read of them as of all. */
export const chosen = { states: "", tasks: [] };

export function choose(states) {
  Object.assign(chosen, { states, tasks: [] });
  lookAtTasks();
}

/** What is refused of the documents of each kind, in words. */
export const refused = { workerpools: [], resourcepolicies: [] };
let refusedAt = -Infinity;
const lookAtRefused = settled(async () => {
  refusedAt = Date.now();
  for (const kind of Object.keys(refused)) refused[kind] = await warnings(kind);
});

/** Whoever shows it asks for it: what is mended is told of by nothing. */
export function refusedOf(kind) {
  if (Date.now() - refusedAt > REFUSED_MS) lookAtRefused();
  return refused[kind];
}

/** Of each queue that is looked at, how much room it has. */
export const rooms = new Map();
const roomsSeen = new Map();

/** Read it, once for each time that its pool changes, as long as somebody looks at it. */
export async function lookAtRoom(pool) {
  const version = world.workerpools.get(pool)?.metadata.resourceVersion;
  if (roomsSeen.get(pool) === version) return;
  roomsSeen.set(pool, version);
  try {
    rooms.set(pool, await get(`/v1/pools/${encodeURIComponent(pool)}/capacity`));
    tell();
  } catch {
    roomsSeen.delete(pool);
  }
}

/** Of each policy that was looked at: `{samples, forecast, changes}`. */
export const details = new Map();
const seen = new Map();

/** Read the rest about a policy, once for each time that it changes, as long as somebody looks at it. */
export async function lookAtPolicy(policy) {
  const version = world.resourcepolicies.get(policy)?.metadata.resourceVersion;
  if (seen.get(policy) === version) return;
  seen.set(policy, version);
  try {
    const at = `/v1/policies/${encodeURIComponent(policy)}`, old = details.get(policy)?.samples ?? [];
    const since = Math.max(Date.now() - SAMPLES_MS, old.length ? Date.parse(old.at(-1).usage.time) + 1 : 0);
    const [metrics, forecast, changes] = await Promise.all([get(`${at}/metrics?since=${since}`), get(`${at}/forecast`), get(`${at}/history?limit=50`)]);
    const samples = [...old, ...metrics.items].filter(({ usage }) => Date.now() - Date.parse(usage.time) < SAMPLES_MS);
    details.set(policy, { samples, forecast, changes: changes.items });
    tell();
  } catch {
    // The watches say that the daemon is away; the next look at it asks again.
    seen.delete(policy);
  }
}

/** How much waits, over all that a pool looks at. */
export function backlog(pool) {
  const queue = pool.status?.queue;
  if (queue) return queue.ready + queue.delayed + queue.blocked + queue.running;
  const known = (pool.status?.backlog ?? []).filter((signal) => signal.value !== null);
  return known.length ? known.reduce((sum, signal) => sum + signal.value, 0) : null;
}

function remember(pool) {
  const points = history.get(pool.metadata.name) ?? [];
  const status = pool.status ?? {};
  points.push({ time: Date.now(), workers: status.replicas ?? 0, wanted: status.desiredReplicas ?? 0, backlog: backlog(pool) });
  while (points.length > HISTORY_MAX || Date.now() - points[0].time > HISTORY_MS) points.shift();
  history.set(pool.metadata.name, points);
}

/** The sizes that the events still tell of from before the page was opened, so that it does not begin empty. */
function recall() {
  const sizes = [...world.events.values()].filter((event) => event.reason === "Scaled").map((event) => {
    const [, from, to] = /^(\d+) → (\d+) /.exec(event.note) ?? [];
    return { pool: String(event.regarding).replace("pool/", ""), time: Date.parse(event.eventTime), from: +from, to: +to };
  });
  for (const [pool, points] of history) {
    const seen = points.filter((point) => !point.told), first = seen[0]?.time ?? Date.now();
    const of = sizes.filter((size) => size.pool === pool && Number.isFinite(size.to) && size.time < first && Date.now() - size.time <= HISTORY_MS);
    const told = (time, workers) => ({ time, workers, wanted: workers, backlog: null, told: true });
    const before = of.sort((a, b) => a.time - b.time).flatMap((size) => [told(size.time - 1, size.from), told(size.time, size.to)]);
    history.set(pool, [...before, ...seen]);
  }
}

function hear(kind, changed) {
  return {
    reset(items) {
      world[kind].clear();
      items.forEach((item) => { world[kind].set(item.metadata.name, item); changed?.(item); });
      // Whichever of the two lists comes last.
      if (kind === "events" || kind === "workerpools") recall();
      tell();
    },
    change(type, object) {
      if (type === "DELETED") world[kind].delete(object.metadata.name);
      else { world[kind].set(object.metadata.name, object); changed?.(object); }
      if (kind === "events") while (world.events.size > EVENTS_MAX) world.events.delete(world.events.keys().next().value);
      tell();
    },
  };
}

/** Begin; `state(words)` hears whether it is live. Rejects when the daemon does not let us in. */
export async function begin(state) {
  const watch = (kind, changed) => keep(kind, { state, ...hear(kind, changed) });
  const pools = watch("workerpools", (pool) => { remember(pool); if (pool.status?.queue) lookAtTasks(); });
  lookAtTasks();
  // A document that is refused, and one that is good again, are told of by an event about the document.
  const events = watch("events", (event) => { if (!/^(worker|task)\//.test(event.regarding)) lookAtRefused(); });
  await Promise.all([pools, watch("workers"), events, watch("resourcepolicies")]);
}
