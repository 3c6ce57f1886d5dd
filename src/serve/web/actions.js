// Everything that a person can do here. Each asks first where something ends, and says what came of it.

import { change, follow, get, merge, of } from "./api.js";
import { ask, el, plain, show, toast } from "./dom.js";

async function attempt(words, deed) {
  try {
    await deed();
    toast(words);
  } catch (error) {
    toast(error.message);
  }
}

const v1 = (...parts) => `/v1/${parts.map(encodeURIComponent).join("/")}`;
const input = (type, attributes) => el("input", { type, ...attributes });

export async function scale(pool) {
  const now = pool.spec.replicas ?? pool.status.desiredReplicas;
  const said = await ask(`Workers of ${pool.metadata.name}`, null, [["replicas", "How many", input("number", { min: 0, step: 1, value: now, required: true })]], "Scale");
  if (said) await attempt(`${pool.metadata.name}: ${said.replicas} workers wanted`, () => merge("workerpools", pool.metadata.name, { spec: { replicas: +said.replicas } }, "/scale"));
}

const annotate = (pool, key, value) => merge("workerpools", pool, { metadata: { annotations: { [key]: value } } });

export async function pauseScaling(pool) {
  const said = await ask(`Hold the size of ${pool}`, "Its triggers are asked on, and move nothing until then.", [["minutes", "For how many minutes", input("number", { min: 1, value: 60, required: true })]], "Pause");
  const until = said && new Date(Date.now() + said.minutes * 60000).toISOString();
  if (said) await attempt(`${pool} is held for ${said.minutes} minutes`, () => annotate(pool, "weir.dev/paused-until", until));
}

export const resumeScaling = (pool) => attempt(`${pool} follows its triggers again`, () => annotate(pool, "weir.dev/paused-until", null));

export async function rollout(pool) {
  if (await ask(`Restart all workers of ${pool}?`, "One after the other, as its updateStrategy says; busy ones when they are idle.", [], "Restart")) {
    await attempt(`${pool} restarts its workers`, () => annotate(pool, "weir.dev/restartedAt", new Date().toISOString()));
  }
}

export async function restart(worker) {
  if (await ask(`Restart ${worker}?`, "It is told to end, and started again.", [], "Restart")) await attempt(`${worker} restarts`, () => change("DELETE", of("workers", worker)));
}

export async function submit(pool) {
  const said = await ask(`A task for ${pool}`, null, [
    ["payload", "Payload (JSON)", el("textarea", { required: true, spellcheck: "false" }, '{"prompt": ""}')],
    ["priority", "Priority, 9 first", input("number", { min: 0, max: 9, value: 0 })],
    ["key", "Key: tasks of one key never run at once (may be empty)", input("text", {})],
  ], "Submit");
  if (!said) return;
  try {
    const task = await change("POST", v1("pools", pool, "tasks"), { payload: JSON.parse(said.payload), priority: +said.priority, ...(said.key ? { key: said.key } : {}) });
    const place = task.position ? `, number ${task.position} in line` : "";
    toast(`task ${task.id} is in${place}`);
  } catch (error) {
    toast(error instanceof SyntaxError ? `The payload is not JSON: ${error.message}` : error.message);
  }
}

export async function cancel(id) {
  if (await ask(`Cancel task ${id}?`, "If it runs, its worker is stopped.", [], "Cancel the task")) await attempt(`task ${id} is cancelled`, () => change("DELETE", v1("tasks", id)));
}

export const retry = (id) => attempt(`task ${id} is queued again`, () => change("POST", v1("tasks", id, "retry")));
export const release = (id) => attempt(`task ${id} is let go`, () => change("POST", v1("tasks", id, "release")));

export const pauseQueue = (pool) => attempt(`${pool} starts no task until it is resumed`, () => change("POST", v1("pools", pool, "queue", "pause"), { reason: "paused on the dashboard" }));
export const resumeQueue = (pool) => attempt(`${pool} works on`, () => change("POST", v1("pools", pool, "queue", "resume")));

export const setPolicy = (name, field, value) => attempt(`${name}: ${field} ${value}`, () => merge("resourcepolicies", name, { spec: { [field]: value } }));
export const resetPolicy = (name) => attempt(`${name} is reset`, () => change("POST", v1("policies", name, "reset")));

const close = () => el("div", { class: "actions" }, el("button", { class: "main" }, "Close"));

/** The end of a log, and what comes. */
async function log(title, path, note) {
  const text = el("pre", { tabindex: 0, "aria-live": "off" }), stop = new AbortController();
  show(title, [note && el("p", {}, note), text, close()].filter(Boolean), "wide", () => stop.abort());
  try {
    await follow(`${path}?tailLines=200&follow=true`, stop.signal, (more) => {
      const below = text.scrollHeight - text.scrollTop - text.clientHeight < 30;
      text.append(plain(more));
      if (below) text.scrollTop = text.scrollHeight;
    });
  } catch (error) {
    if (!stop.signal.aborted) text.append(plain(`\n${error.message}`));
  }
}

const WITH_TASKS = "Each run of this worker is for one task: its output is with the task, under Log on the page of tasks.";

/** `perTask`: the worker is one of a pool that runs a process for each task. */
export const workerLog = (name, perTask) => log(`Log of ${name}`, of("workers", name, "/log"), perTask && WITH_TASKS);
export const taskLog = (id) => log(`Log of task ${id}`, v1("tasks", id, "log"));

export async function taskWhole(id) {
  try {
    const task = await get(v1("tasks", id));
    show(`Task ${id}`, [el("pre", { tabindex: 0 }, JSON.stringify(task, null, 2)), close()], "wide");
  } catch (error) {
    toast(error.message);
  }
}
