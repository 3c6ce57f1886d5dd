// Small things that several pages are made of.

import { el } from "./dom.js";

export const name = (object) => object.metadata.name;
export const byName = (map) => [...map.values()].sort((a, b) => name(a).localeCompare(name(b), undefined, { numeric: true }));
export const link = (pool) => el("a", { href: `#/pool/${encodeURIComponent(pool)}` }, pool);
export const button = (words, onclick, label) => el("button", { class: "small", type: "button", onclick, "aria-label": label }, words);
export const shown = (value) => (value === null || value === undefined ? "–" : String(+value.toFixed(2)));
export const section = (title, ...children) => el("section", { "data-key": title }, el("h2", {}, title), children);
export const condition = (object, type) => (object.status?.conditions ?? []).find((condition) => condition.type === type);
export const holds = (object, type) => condition(object, type)?.status === "True";
export const select = (words, options, value, onchange) => el("select", { "aria-label": words, onchange: (event) => onchange(event.target.value) }, options.map((option) => el("option", { value: option, selected: option === value }, option)));
