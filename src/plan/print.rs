//! A plan in words: one block for each pool, with signs as `diff` has them, or JSON.
//!
//! Text from documents is printed as JSON strings: no character of it can drive a terminal.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::Planned;
use super::compare::{Field, Kind, PoolChange};
use super::policies::PolicyChange;
use crate::model::catalogue::ObjectKey;
use crate::model::document::refusal;

/// Workers that are named; of more only the number is told.
const NAMED_MAX: usize = 8;

/// For people.
pub fn text(planned: &Planned) -> String {
    let mut out = String::new();
    let mut line = |text: String| writeln!(out, "{text}").expect("writing to a string cannot fail");
    for pool in &planned.pools {
        block(pool).into_iter().for_each(&mut line);
    }
    for policy in &planned.policies {
        of_policy(policy).into_iter().for_each(&mut line);
    }
    for refused in &planned.refused {
        for violation in &refused.violations {
            line(format!("! {}", violation.at(&refused.source.file)));
        }
    }
    if !planned.refused.is_empty() {
        line(refused(planned));
    }
    for (key, sources) in &planned.conflicts {
        let places: Vec<String> = sources.iter().map(|source| format!("{}:{}", source.file, source.line)).collect();
        line(format!("! {key}: named by more than one document, so none counts: {}", places.join(", ")));
    }
    for note in &planned.notes {
        line(format!("note: {note}"));
    }
    line(summary(planned));
    out
}

/// What becomes of the objects of refused documents.
fn refused(planned: &Planned) -> String {
    let held: Vec<String> = planned.held.iter().map(ObjectKey::to_string).collect();
    match held.as_slice() {
        [] => "    refused; nothing that runs is touched by it".into(),
        held => format!("    refused; held as they run: {}", held.join(", ")),
    }
}

fn sign(kind: Kind) -> char {
    match kind {
        Kind::Added => '+',
        Kind::Changed => '~',
        Kind::Removed => '-',
        Kind::Blocked => '!',
    }
}

fn of_policy(policy: &PolicyChange) -> Vec<String> {
    let mut lines = vec![format!("{} policy/{}  {}:{}", sign(policy.kind), policy.name, policy.file, policy.line)];
    lines.extend(policy.fields.iter().map(|field| format!("    {}", difference(field))));
    if policy.kind == Kind::Blocked {
        lines.push("    gone with many others at once: it stays until `ctl prune --confirm`".into());
    }
    // A reason that a person gave may stand in it.
    lines.extend(policy.effects.iter().map(|effect| format!("    {}", effect.escape_debug())));
    lines
}

fn block(pool: &PoolChange) -> Vec<String> {
    let sign = sign(pool.kind);
    let mut lines = vec![format!("{sign} pool/{}  {}:{}", pool.name, pool.file, pool.line)];
    lines.extend(pool.fields.iter().map(|field| format!("    {}", difference(field))));
    if pool.kind == Kind::Blocked {
        lines.push("    gone with many others at once: nobody is stopped until `ctl prune --confirm`".into());
    }
    let mut tell = |what: &str, workers: &[String], why: &str| {
        if !workers.is_empty() {
            lines.push(format!("    {what:<9} {} ({why})", list(workers)));
        }
    };
    tell("started:", &pool.started, &pool.size);
    tell("stopped:", &pool.stopped, &pool.size);
    tell("replaced:", &pool.replaced, &pool.how);
    let quiet = pool.started.is_empty() && pool.stopped.is_empty() && pool.replaced.is_empty();
    if quiet && pool.kind != Kind::Blocked {
        lines.push("    no worker is touched".into());
    }
    lines
}

fn difference(field: &Field) -> String {
    let shown = |value: &Value| serde_json::to_string(value).expect("a value of a document is plain data");
    match (&field.before, &field.after) {
        (Some(before), Some(after)) => format!("{}: {} -> {}", field.path, shown(before), shown(after)),
        (Some(before), None) => format!("{}: {} -> (none)", field.path, shown(before)),
        (None, Some(after)) => format!("{}: (none) -> {}", field.path, shown(after)),
        (None, None) => field.path.clone(),
    }
}

fn list(workers: &[String]) -> String {
    match workers.get(NAMED_MAX..).filter(|rest| !rest.is_empty()) {
        Some(rest) => format!("{} and {} more", workers[..NAMED_MAX].join(", "), rest.len()),
        None => workers.join(", "),
    }
}

fn count(planned: &Planned, kind: Kind) -> usize {
    planned.pools.iter().filter(|pool| pool.kind == kind).count()
}

fn workers(planned: &Planned, which: fn(&PoolChange) -> &[String]) -> usize {
    planned.pools.iter().map(|pool| which(pool).len()).sum()
}

fn refusals(planned: &Planned) -> usize {
    planned.refused.len() + planned.conflicts.len()
}

fn summary(planned: &Planned) -> String {
    if planned.pools.is_empty() && planned.policies.is_empty() && refusals(planned) == 0 {
        return "nothing would change".into();
    }
    let differ = planned.policies.len();
    let policies = if differ > 0 { format!("; policies: {differ} differ") } else { String::new() };
    format!(
        "pools: {} added, {} changed, {} removed, {} blocked, {} refused; workers: {} started, {} stopped, {} replaced{policies}",
        count(planned, Kind::Added),
        count(planned, Kind::Changed),
        count(planned, Kind::Removed),
        count(planned, Kind::Blocked),
        refusals(planned),
        workers(planned, |pool| &pool.started),
        workers(planned, |pool| &pool.stopped),
        workers(planned, |pool| &pool.replaced),
    )
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Added => "added",
        Kind::Changed => "changed",
        Kind::Removed => "removed",
        Kind::Blocked => "blocked",
    }
}

/// For programs.
pub fn json(planned: &Planned) -> String {
    let pools = planned.pools.iter().map(|pool| {
        let fields = pool.fields.iter().map(|f| json!({"path": f.path, "before": f.before, "after": f.after}));
        json!({
            "name": pool.name,
            "change": word(pool.kind),
            "file": pool.file, "line": pool.line, "fields": fields.collect::<Vec<_>>(),
            "started": pool.started, "stopped": pool.stopped, "replaced": pool.replaced,
            "sizeReason": pool.size, "replacedHow": pool.how,
        })
    });
    let policies = planned.policies.iter().map(|policy| {
        let fields = policy.fields.iter().map(|f| json!({"path": f.path, "before": f.before, "after": f.after}));
        json!({
            "name": policy.name, "change": word(policy.kind), "file": policy.file, "line": policy.line,
            "fields": fields.collect::<Vec<_>>(), "effects": policy.effects,
        })
    });
    let refused = planned
        .refused
        .iter()
        .flat_map(|document| document.violations.iter().map(|violation| refusal::as_json(&document.source.file, violation)));
    let conflicts = planned.conflicts.iter().map(|(key, sources)| json!({"object": key.to_string(), "sources": sources}));
    let value = json!({
        "pools": pools.collect::<Vec<_>>(),
        "policies": policies.collect::<Vec<_>>(),
        "refused": refused.collect::<Vec<_>>(),
        "held": planned.held.iter().map(ObjectKey::to_string).collect::<Vec<_>>(),
        "conflicts": conflicts.collect::<Vec<_>>(),
        "notes": planned.notes,
    });
    serde_json::to_string_pretty(&value).expect("a plan is plain data") + "\n"
}
