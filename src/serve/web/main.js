// Which page is shown, and when it is drawn again.

import { token } from "./api.js";
import { ask, el, patch } from "./dom.js";
import { begin, listen } from "./store.js";
import * as views from "./views.js";

const REDRAW_MS = 5000;
const view = document.getElementById("view"), link = document.getElementById("link");

/** `#token=…` is taken out of the address at once, so that it is neither seen nor kept in the history. */
function takeToken() {
  const given = /^#token=([^&]+)/.exec(location.hash);
  if (!given) return;
  token.set(decodeURIComponent(given[1]));
  history.replaceState(null, "", "#/");
}

function page() {
  const [first = "", second = ""] = location.hash.replace(/^#\/?/, "").split("/");
  if (first === "pool" && second) return ["pools", () => views.pool(decodeURIComponent(second))];
  if (first === "policy" && second) return ["policies", () => views.policy(decodeURIComponent(second))];
  return first in views && !["pool", "policy"].includes(first) ? [first, views[first]] : ["pools", views.pools];
}

let shownAt = null;
function draw() {
  const [name, content] = page();
  for (const item of document.querySelectorAll("nav a")) {
    if (item.dataset.page === name) item.setAttribute("aria-current", "page");
    else item.removeAttribute("aria-current");
  }
  const wanted = el("main", { id: "view", tabindex: "-1" }, content());
  if (shownAt === location.hash) patch(view, wanted);
  else view.replaceChildren(...wanted.childNodes);
  document.title = `${view.querySelector("h1")?.textContent ?? "weir"} – weir`;
  shownAt = location.hash;
}

function state(words) {
  link.textContent = words;
  link.className = words === "live" ? "live" : "";
}

async function run() {
  for (;;) {
    try {
      await begin(state);
    } catch (error) {
      state("not let in");
      const said = await ask("Who are you?", `${error.message}. "ctl dashboard" prints a link with the token in it.`, [["token", "Token", el("input", { type: "password", autocomplete: "off", required: true })]], "Go on");
      if (said) token.set(said.token);
    }
  }
}

takeToken();
window.addEventListener("hashchange", () => { takeToken(); draw(); view.focus({ preventScroll: true }); scrollTo(0, 0); });
listen(draw);
setInterval(() => { if (!document.hidden) draw(); }, REDRAW_MS);
draw();
run();
