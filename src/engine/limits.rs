//! One change of limits, from the call to its proof: set, read back, compare; on any failure what held before is put back.
//!
//! Nothing is decided here: the order says what is wanted and what held. A change is done when the values that were read back
//! are the ones that were ordered, and at no other time. What was touched is undone in the reverse order; what was not touched
//! is left alone.

use crate::model::limits::{
    High, LimitFailure, LimitOrder, LimitOutcome, NO_CPU_LIMIT, NO_MEMORY_LIMIT, NO_TASKS_LIMIT, Units, drop_in_text,
    memory_high, settable,
};
use crate::model::policy::{Amounts, Apply};

/// Carry out one order.
pub async fn apply(units: &dyn Units, order: &LimitOrder) -> LimitOutcome {
    let result = match order.apply {
        Apply::Live => live(units, order).await,
        Apply::Restart => restart(units, order).await,
    };
    LimitOutcome { id: order.id, result }
}

async fn live(units: &dyn Units, order: &LimitOrder) -> Result<Amounts, LimitFailure> {
    let done = match units.set(&order.target, settable(order.wanted), order.high, order.persist).await {
        Ok(()) => proved(units, order, (order.wanted, order.high)).await,
        Err(error) => Err(format!("setting the limits failed: {error}")),
    };
    match done {
        Ok(limits) => Ok(limits),
        // A call that failed may still have been carried out: a lost answer looks the same as a refusal.
        Err(error) => Err(LimitFailure { error, restored: put_back(units, order).await }),
    }
}

async fn put_back(units: &dyn Units, order: &LimitOrder) -> Result<(), String> {
    let before = before(order);
    let put = units.set(&order.target, settable(before), order.high_before, order.persist).await;
    // Where nothing was changed it holds, although putting it back was refused as well.
    proved(units, order, (before, order.high_before)).await.map(drop).map_err(|error| put.err().unwrap_or(error))
}

async fn restart(units: &dyn Units, order: &LimitOrder) -> Result<Amounts, LimitFailure> {
    let untouched = |error| LimitFailure { error, restored: Ok(()) };
    let backup = match units.drop_in(&order.target).await {
        Ok(backup) => backup,
        Err(error) => return Err(untouched(format!("its drop-in cannot be backed up: {error}"))),
    };
    let text = drop_in_text(&order.target, settable(order.wanted));
    if let Err(error) = units.put_drop_in(&order.target, Some(text), order.persist).await {
        let restored = units.put_drop_in(&order.target, backup, order.persist).await;
        return Err(LimitFailure { error: format!("its drop-in cannot be written: {error}"), restored });
    }
    let done = match units.restart(&order.target).await {
        Ok(()) => proved(units, order, (order.wanted, order.high)).await,
        Err(error) => Err(format!("it did not start with the new limits: {error}")),
    };
    match done {
        Ok(limits) => Ok(limits),
        Err(error) => Err(LimitFailure { error, restored: start_as_before(units, order, backup).await }),
    }
}

async fn start_as_before(units: &dyn Units, order: &LimitOrder, backup: Option<String>) -> Result<(), String> {
    units.put_drop_in(&order.target, backup, order.persist).await?;
    units.restart(&order.target).await?;
    proved(units, order, (before(order), order.high_before)).await.map(drop)
}

/// What held before, of everything that is ordered: where there was no limit, none is to be.
fn before(order: &LimitOrder) -> Amounts {
    let (wanted, previous) = (order.wanted, order.previous);
    Amounts {
        cpu: wanted.cpu.map(|_| previous.cpu.unwrap_or(NO_CPU_LIMIT)),
        memory: wanted.memory.map(|_| previous.memory.unwrap_or(NO_MEMORY_LIMIT)),
        tasks: wanted.tasks.map(|_| previous.tasks.unwrap_or(NO_TASKS_LIMIT)),
    }
}

/// The limits as they are read back, if they are the ones that were ordered, and `MemoryHigh` stands where it was to be moved.
async fn proved(units: &dyn Units, order: &LimitOrder, (wanted, high): (Amounts, High)) -> Result<Amounts, String> {
    let read = units.read(&order.target).await.map_err(|error| format!("the limits cannot be read back: {error}"))?;
    let differs = |what| format!("read back, the limits are not what was set: {what}");
    if let Some(difference) = difference(wanted, read.limits) {
        return Err(differs(difference));
    }
    let moved = order.high != order.high_before;
    let high = settable(wanted).memory.filter(|_| moved).map(|max| memory_high(max, high));
    match high.filter(|high| *high != read.high.unwrap_or(NO_MEMORY_LIMIT)) {
        None => Ok(read.limits),
        Some(high) => {
            let is = read.high.map_or_else(|| UNLIMITED.into(), |high| high.to_string());
            Err(differs(format!("MemoryHigh is {is}, not {high}")))
        }
    }
}

/// Where limits that were read differ from what was ordered, in words. What was rounded on the way is no difference.
pub fn difference(wanted: Amounts, read: Amounts) -> Option<String> {
    let (wanted, read) = (settable(wanted), settable(read));
    let mut found = Vec::new();
    let mut compare = |name: &str, wanted: Option<String>, read: Option<String>| {
        if let Some(wanted) = wanted.filter(|wanted| Some(wanted) != read.as_ref()) {
            found.push(format!("{name} is {}, not {wanted}", read.unwrap_or_else(|| UNLIMITED.into())));
        }
    };
    let words = |limit: String, none: bool| if none { UNLIMITED.to_owned() } else { limit };
    let cpu = |cpu| words(format!("{cpu}"), cpu == NO_CPU_LIMIT);
    compare("cpu", wanted.cpu.map(cpu), Some(cpu(read.cpu.unwrap_or(NO_CPU_LIMIT))));
    let memory = |memory| words(format!("{memory}"), memory == NO_MEMORY_LIMIT);
    compare("memory", wanted.memory.map(memory), Some(memory(read.memory.unwrap_or(NO_MEMORY_LIMIT))));
    let tasks = |tasks: u32| words(tasks.to_string(), tasks == NO_TASKS_LIMIT);
    compare("tasks", wanted.tasks.map(tasks), Some(tasks(read.tasks.unwrap_or(NO_TASKS_LIMIT))));
    (!found.is_empty()).then(|| found.join(", "))
}

const UNLIMITED: &str = "unlimited";

#[cfg(test)]
mod tests;
