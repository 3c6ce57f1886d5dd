//! From two looks at a target to shares of its limits: what is a breach, and what is calm.
//!
//! What is not known is neither: it raises nothing and lowers nothing.

use super::rules::Rules;
use crate::model::host::Known;
use crate::model::limits::{ChangeTrigger, High, memory_high};
use crate::model::policy::{Pressing, Resource};
use crate::model::policy_status::{PolicyUsage, PressureStatus};
use crate::model::reading::shown;
use crate::model::time::Now;
use crate::model::usage::Usage;

/// CPU in cores from one look to the next; a counter that went back is that of another unit of the same name.
fn cores(before: Option<&Usage>, look: &Usage) -> Known<f64> {
    let used = look.cpu_micros.clone()?;
    let before = before.ok_or("this is the first look")?;
    let (then, passed) = (before.cpu_micros.clone()?, look.at.since(before.at));
    if passed.0 == 0 || used < then {
        return Err("nothing was counted since the last look".into());
    }
    Ok((used - then) as f64 / 1000.0 / passed.0 as f64)
}

/// What a target uses, and its shares of the limits that hold. Of memory only what is not given back just so: the kernel fills
/// with files of no use to anybody whatever a limit leaves, and more would be filled the same.
pub fn usage(before: Option<&Usage>, look: &Usage, now: Now) -> PolicyUsage {
    let mut unknown = Vec::new();
    let cpu_cores = known("cpu", cores(before, look), &mut unknown);
    let memory_bytes = known("memory", look.working.clone(), &mut unknown).map(|memory| memory.0);
    let tasks = known("tasks", look.tasks.clone(), &mut unknown);
    let share = |used: Option<f64>, limit: Option<u64>| used.zip(limit.filter(|limit| *limit > 0));
    let percent = |(used, limit): (f64, u64)| (used * 1000.0 / limit as f64).round() / 10.0;
    let limits = look.limits;
    PolicyUsage {
        time: now.wall_of(look.at),
        cpu_percent: share(cpu_cores.map(|cores| cores * 1000.0), limits.of(Resource::Cpu)).map(percent),
        cpu_cores: cpu_cores.map(|cores| (cores * 1000.0).round() / 1000.0),
        memory_percent: share(memory_bytes.map(|n| n as f64), limits.of(Resource::Memory)).map(percent),
        memory_bytes,
        tasks_percent: share(tasks.map(|n| n as f64), limits.of(Resource::Tasks)).map(percent),
        tasks,
        pressure: PressureStatus {
            cpu: look.pressure.cpu.clone().ok(),
            memory: look.pressure.memory.clone().ok(),
            io: look.pressure.io.clone().ok(),
        },
        oom_kills: look.oom_kills.clone().ok(),
        held_back: look.held_back.clone().ok(),
        unknown,
    }
}

fn known<T>(name: &str, number: Known<T>, unknown: &mut Vec<String>) -> Option<T> {
    number.map_err(|why| unknown.push(format!("{name}: {why}"))).ok()
}

/// Whether more was asked for than its own `memory.max` allows since the look before; absent: the kernel does not tell.
pub fn exhausted(before: Option<&Usage>, look: &Usage) -> Option<bool> {
    let (before, now) = (before?.own.as_ref().ok()?, look.own.as_ref().ok()?);
    Some(now.exhausted > before.exhausted)
}

/// Whether it has come to its own limits of memory since the look before, or stands there. What is not known is no room.
pub fn full(before: Option<&Usage>, look: &Usage) -> bool {
    let own = before.and_then(|before| before.own.as_ref().ok()).zip(look.own.as_ref().ok());
    if own.is_some_and(|(before, now)| now.reached > before.reached || now.exhausted > before.exhausted) {
        return true;
    }
    look.limits.memory.zip(look.memory.clone().ok()).is_none_or(|(max, used)| used >= memory_high(max, High::Below))
}

/// How much of a resource is used, in its smallest unit, rounded up.
pub fn used(usage: &PolicyUsage, of: Resource) -> Option<u64> {
    match of {
        Resource::Cpu => usage.cpu_cores.map(|cores| (cores * 1000.0).ceil() as u64),
        Resource::Memory => usage.memory_bytes,
        Resource::Tasks => usage.tasks,
    }
}

/// The share of its limit that a resource has, in percent.
pub fn percent(usage: &PolicyUsage, of: Resource) -> Option<f64> {
    match of {
        Resource::Cpu => usage.cpu_percent,
        Resource::Memory => usage.memory_percent,
        Resource::Tasks => usage.tasks_percent,
    }
}

/// One reason to raise.
#[derive(Clone, Debug, PartialEq)]
pub struct Breach {
    /// Which limit is too low.
    pub of: Resource,
    /// What shows it.
    pub trigger: ChangeTrigger,
    /// In words.
    pub why: String,
}

/// Every reason to raise that this look shows, of the resources that the policy is about.
pub fn breaches(rules: &Rules, pressure: &Pressing, usage: &PolicyUsage, about: &[Resource]) -> Vec<Breach> {
    let mut found = Vec::new();
    for of in about.iter().copied() {
        let share = rules.shares(of).0;
        if let Some(percent) = percent(usage, of).filter(|percent| *percent >= f64::from(share)) {
            let trigger = match of {
                Resource::Cpu => ChangeTrigger::Cpu,
                Resource::Memory => ChangeTrigger::Memory,
                Resource::Tasks => ChangeTrigger::Tasks,
            };
            let why = format!("{} at {}% of its limit, {share}% is a breach", of.name(), shown(percent));
            found.push(Breach { of, trigger, why });
        }
    }
    // Who waits for disks reads again what did not fit in memory: of the three limits that one can help.
    let waits = [
        ("CPU", pressure.cpu, usage.pressure.cpu, Resource::Cpu),
        ("memory", pressure.memory, usage.pressure.memory, Resource::Memory),
        ("disks", pressure.io, usage.pressure.io, Resource::Memory),
    ];
    for (what, most, waited, of) in waits {
        if let (Some(most), Some(waited)) = (most, waited)
            && waited >= f64::from(most)
            && about.contains(&of)
        {
            let why = format!("waiting for {what} {}% of the time, {most}% is a breach", shown(waited));
            found.push(Breach { of, trigger: ChangeTrigger::Pressure, why });
        }
    }
    found
}

/// Every resource is known to be below its calm share.
pub fn calm(rules: &Rules, usage: &PolicyUsage, about: &[Resource]) -> bool {
    let low = |of: Resource| percent(usage, of).is_some_and(|percent| percent < f64::from(rules.shares(of).1));
    !about.is_empty() && about.iter().copied().all(low)
}
