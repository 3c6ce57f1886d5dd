// The page of one policy: what its target used, what is expected, what was changed and why.

import * as act from "./actions.js";
import { fan } from "./charts.js";
import { ago, badge, bytes, el, quantity, table } from "./dom.js";
import { condition, holds, link, name, section, select, shown } from "./parts.js";
import { details, lookAtPolicy, world } from "./store.js";

const RESOURCES = [
  { key: "cpu", title: "CPU", used: (usage) => usage.cpuCores, say: (value) => `${shown(value)} cores` },
  { key: "memory", title: "Memory", used: (usage) => usage.memoryBytes, say: bytes },
  { key: "tasks", title: "Tasks", used: (usage) => usage.tasks, say: (value) => String(Math.round(value)) },
];

function chartOf({ key, title, used, say }, { samples, forecast }) {
  const points = samples.map(({ usage, limits }) => ({ time: Date.parse(usage.time), value: used(usage), limit: quantity(limits[key]) }));
  const path = (forecast[key]?.path ?? []).map((step) => ({ ...step, time: Date.parse(step.at) }));
  return fan(title, points, path, say);
}

export const mode = (policy) => select(`Mode of ${name(policy)}`, ["Enabled", "Manual", "Disabled"], policy.spec.mode, (value) => act.setPolicy(name(policy), "mode", value));
export const profile = (policy) => select(`Profile of ${name(policy)}`, ["Conservative", "Balanced", "Aggressive"], policy.spec.profile, (value) => act.setPolicy(name(policy), "profile", value));
export const target = (policy) => (policy.spec.target.pool ? link(policy.spec.target.pool) : policy.spec.target.unit?.name);
export const state = (policy) => (holds(policy, "Failed")
  ? el("span", {}, badge("Failed", "bad"), " ", el("button", { class: "small", type: "button", onclick: () => act.resetPolicy(name(policy)) }, "Reset"))
  : badge(holds(policy, "LimitsEnforced") ? "Enforced" : "NotEnforced", holds(policy, "LimitsEnforced") ? "good" : "warn"));

const amounts = (given) => ["cpu", "memory", "tasks"].filter((key) => given?.[key] !== undefined).map((key) => `${key} ${given[key]}`).join(", ") || "none";

export function policy(wanted) {
  const found = world.resourcepolicies.get(wanted);
  if (!found) return [el("h1", {}, wanted), el("p", { class: "empty" }, "There is no policy of this name (any more).")];
  lookAtPolicy(wanted);
  const known = details.get(wanted) ?? { samples: [], forecast: {}, changes: [] };
  const bounded = RESOURCES.filter(({ key }) => found.spec.bounds?.max?.[key] !== undefined || found.spec.bounds?.min?.[key] !== undefined);
  const figure = (title, value) => el("div", {}, el("dt", {}, title), el("dd", {}, value));
  const enforced = condition(found, "LimitsEnforced");
  return [
    el("h1", {}, wanted, " ", state(found)),
    el("section", { "data-key": "figures" },
      el("dl", { class: "figures" }, figure("Target", target(found)), figure("Mode", mode(found)), figure("Profile", profile(found)),
        figure("Limits", amounts(found.status?.limits)), figure("Bounds", `${amounts(found.spec.bounds?.min)} to ${amounts(found.spec.bounds?.max)}`)),
      enforced?.status !== "True" && el("p", {}, enforced?.message ?? "")),
    section("Use, limit, and what is expected", bounded.map((resource) => chartOf(resource, known)), el("p", { class: "soft" }, known.forecast.summary ?? "")),
    section("Changes", table("Changes", [
      ["When", (row) => `${ago(row.time)} ago`], ["Action", (row) => row.action], ["Because of", (row) => row.trigger],
      ["From", (row) => amounts(row.old)], ["To", (row) => amounts(row.new)], ["Status", (row) => row.status],
      ["Why", (row) => `${row.reason}${row.error ? `: ${row.error}` : ""}`, "words"],
    ], [...known.changes].reverse(), (row) => `${row.time} ${row.status}`)),
    section("Conditions", table("Conditions", [
      ["Type", (row) => row.type], ["Status", (row) => row.status], ["Reason", (row) => row.reason], ["Message", (row) => row.message ?? "", "words"], ["For", (row) => ago(row.lastTransitionTime), "n"],
    ], found.status?.conditions ?? [], (row) => row.type)),
  ];
}
