// The daemon over HTTP: the token, one question at a time, and watches that come back by themselves.

const RETRY_MIN = 500, RETRY_MAX = 15000;
const GROUP = "/apis/weir.dev/v1";

/** What the daemon refused, in its own words. */
export class Refused extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

/** The token, kept for this tab only. A link of `ctl dashboard` brings it in the fragment, which no server sees. */
export const token = {
  get: () => sessionStorage.getItem("token") ?? "",
  set: (text) => sessionStorage.setItem("token", text.trim()),
};

async function send(path, options = {}) {
  const headers = { ...options.headers };
  if (token.get()) headers.Authorization = `Bearer ${token.get()}`;
  const answer = await fetch(path, { ...options, headers, cache: "no-store", credentials: "omit", redirect: "error" });
  if (answer.ok) return answer;
  const text = await answer.text();
  let words = text;
  try { words = JSON.parse(text).message ?? text; } catch { /* Not a Status: the text itself is said. */ }
  throw new Refused(answer.status, words || `the daemon answered ${answer.status}`);
}

/** An object or a list. */
export const get = async (path) => (await send(path)).json();

/** What the daemon says beside a list: documents that are refused are not in it. */
export async function warnings(plural) {
  const answer = await send(`${GROUP}/${plural}?limit=1`);
  return [...(answer.headers.get("warning") ?? "").matchAll(/299 - "([^"]*)"/g)].map(([, words]) => words);
}

/** The path of an object of ours. */
export const of = (plural, name, more = "") => `${GROUP}/${plural}/${encodeURIComponent(name)}${more}`;

/** Change something; a body that is given is sent as JSON. */
export async function change(method, path, body, type = "application/json") {
  const answer = await send(path, { method, headers: body === undefined ? {} : { "Content-Type": type }, body: body === undefined ? undefined : JSON.stringify(body) });
  const text = await answer.text();
  return text ? JSON.parse(text) : null;
}

/** A merge patch. */
export const merge = (plural, name, body, more = "") => change("PATCH", of(plural, name, more), body, "application/merge-patch+json");

/** Lines of a text as they come, until `signal`. */
export async function follow(path, signal, onText) {
  const answer = await send(path, { signal });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    onText(value);
  }
}

/**
 * List a kind, then watch it, for ever. `on.reset(items)` after each list, `on.change(type, object)` after each change,
 * `on.state(words)`: "live", or why not. A kind that the daemon does not have is left alone.
 */
export async function keep(plural, on) {
  let pause = RETRY_MIN;
  for (;;) {
    try {
      const list = await get(`${GROUP}/${plural}`);
      on.reset(list.items);
      on.state("live");
      pause = RETRY_MIN;
      await changes(plural, list.metadata.resourceVersion, on);
    } catch (error) {
      if (error.code === 401 || error.code === 403) throw error;
      if (error.code === 404) return;
      on.state("reconnecting");
    }
    await new Promise((resolve) => setTimeout(resolve, pause * (0.75 + Math.random() / 2)));
    pause = Math.min(pause * 2, RETRY_MAX);
  }
}

async function changes(plural, version, on) {
  const never = new AbortController().signal;
  let rest = "";
  await follow(`${GROUP}/${plural}?watch=true&resourceVersion=${version}`, never, (text) => {
    const lines = (rest + text).split("\n");
    rest = lines.pop();
    for (const line of lines.filter(Boolean)) {
      const { type, object } = JSON.parse(line);
      // Too old, or we lagged: list again.
      if (type === "ERROR") throw new Error(object.message);
      if (type !== "BOOKMARK") on.change(type, object);
    }
  });
}
