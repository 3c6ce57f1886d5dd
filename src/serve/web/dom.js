// Building and updating the document. All text from the daemon goes through text nodes: nothing here reads markup.

/** What an element can hear. Kept as properties, so that an update can hand them on. */
const HANDLERS = ["onclick", "onchange"];

/** An element with attributes, listeners (`onclick`) and children; strings become text. */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same in SVG. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

const HARMFUL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;

/** Text with the characters written out that are invisible or change the direction of what follows, as `ctl` does it. */
export const plain = (text) => text.replace(HARMFUL, (c) => (c === "\r" ? "\\r" : `\\u{${c.codePointAt(0).toString(16)}}`));

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (HANDLERS.includes(name)) node[name] = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  const there = children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
  node.append(...there.map((child) => (typeof child === "string" ? plain(child) : child)));
  return node;
}

/** Make `old` look like `wanted` and keep what is the same, so that focus, selection and scrolling survive an update. */
export function patch(old, wanted) {
  if (old.nodeType !== wanted.nodeType || old.nodeName !== wanted.nodeName || key(old) !== key(wanted)) {
    old.replaceWith(wanted);
    return;
  }
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== wanted.data) old.data = wanted.data;
    return;
  }
  for (const name of HANDLERS) old[name] = wanted[name];
  for (const { name } of [...old.attributes]) if (!wanted.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of [...wanted.attributes]) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  children(old, wanted);
}

function children(old, wanted) {
  const kept = new Map([...old.childNodes].filter(key).map((node) => [key(node), node]));
  const next = [...wanted.childNodes];
  next.forEach((node, index) => {
    let there = old.childNodes[index];
    const same = key(node) && kept.get(key(node));
    if (same && same !== there) {
      old.insertBefore(same, there ?? null);
      there = same;
    }
    if (!there) old.append(node);
    else if (key(there) !== key(node)) old.insertBefore(node, there);
    else patch(there, node);
  });
  while (old.childNodes.length > next.length) old.lastChild.remove();
}

const key = (node) => node.dataset?.key;

/** A table; each column is `[heading, cell(row), class]`. `id(row)` tells rows apart. */
export function table(caption, columns, rows, id) {
  if (rows.length === 0) return el("p", { class: "empty" }, `No ${caption.toLowerCase()}.`);
  const head = columns.map(([name, , kind]) => el("th", { scope: "col", class: kind }, name));
  const line = (row) => el("tr", { "data-key": id(row) }, columns.map(([, cell, kind]) => el("td", { class: kind }, cell(row) ?? "–")));
  return el("table", { "aria-label": caption }, el("thead", {}, el("tr", {}, head)), el("tbody", {}, rows.map(line)));
}

/** A word with a colour; the word alone says it too. */
export const badge = (word, kind) => el("span", { class: `badge ${kind}` }, word);

/** A length of time from milliseconds, in two units at most. */
export function span(ms) {
  if (!Number.isFinite(ms)) return "–";
  const units = [["d", 86400000], ["h", 3600000], ["m", 60000], ["s", 1000]];
  if (ms < 1000) return `${Math.max(0, Math.round(ms))}ms`;
  const at = units.findIndex(([, size]) => ms >= size);
  const [name, size] = units[at];
  const rest = units[at + 1] && ms < size * 10 ? Math.floor((ms % size) / units[at + 1][1]) : 0;
  return `${Math.floor(ms / size)}${name}${rest ? `${rest}${units[at + 1][0]}` : ""}`;
}

/** How long ago a timestamp was. */
export const ago = (time) => (time ? span(Date.now() - Date.parse(time)) : "–");

/** How far ahead it is. */
export const ahead = (time) => (time ? span(Math.max(0, Date.parse(time) - Date.now())) : "–");

/** Bytes as people read them. */
export function bytes(n) {
  if (!Number.isFinite(n)) return "–";
  const names = ["B", "KiB", "MiB", "GiB", "TiB"];
  const at = n < 1 ? 0 : Math.min(names.length - 1, Math.floor(Math.log2(n) / 10));
  return `${+(n / 2 ** (10 * at)).toFixed(at ? 1 : 0)} ${names[at]}`;
}

/** A Kubernetes quantity as a number: cores, bytes, or a count. */
export function quantity(text) {
  const [, number, unit] = /^([0-9.]+)(m|[kKMGTPE]i?|%)?$/.exec(String(text ?? "")) ?? [];
  if (number === undefined) return NaN;
  if (!unit) return +number;
  if (unit === "m") return number / 1000;
  if (unit === "%") return number / 100;
  return number * (unit[1] ? 1024 : 1000) ** ("KMGTPE".indexOf(unit[0].toUpperCase()) + 1);
}

/** Ask by a form in a dialog. Fields: `[name, label, control]`; resolves to their values, or null. */
export function ask(title, words, fields, verb) {
  const content = [
    words && el("p", {}, words),
    fields.map(([name, label, control]) => { control.name = name; return el("label", {}, el("span", {}, label), control); }),
    el("div", { class: "actions" }, el("button", { class: "main", value: "yes" }, verb), el("button", { value: "no", formnovalidate: true }, "Cancel")),
  ];
  return new Promise((resolve) => {
    show(title, content, "", (said, form) => resolve(said === "yes" ? Object.fromEntries(new FormData(form)) : null));
  });
}

/**
 * Open a dialog of its own with this in it; `closed(value, form)` hears how it was left. Each gets its own element: `close`
 * comes after the dialog has gone, and would end the next one if somebody is fast.
 */
export function show(title, content, kind, closed) {
  const form = el("form", { method: "dialog" }, el("h2", {}, title), content);
  const dialog = el("dialog", { class: kind, "aria-label": title }, form);
  dialog.onclose = () => { dialog.remove(); closed?.(dialog.returnValue, form); };
  document.body.append(dialog);
  dialog.showModal();
}

/** Tell for some seconds. */
export function toast(words) {
  const note = el("p", {}, words);
  document.getElementById("toast").append(note);
  setTimeout(() => note.remove(), 6000);
}
