//! One change of limits, from the call to its proof: set, read back, compare; on any failure what held before is put back.
//!
//! Nothing is decided here: the order says what is wanted and what held. A change is done when the values that were read back
//! are the ones that were ordered, and at no other time. What was touched is undone in the reverse order; what was not touched
//! is left alone.

use crate::model::limits::{
    LimitFailure, LimitOrder, LimitOutcome, NO_CPU_LIMIT, NO_MEMORY_LIMIT, NO_TASKS_LIMIT, Units, drop_in_text, memory_high,
    said_by, settable,
};
use crate::model::policy::{Amounts, Apply};
use crate::model::quantity::Memory;

/// Carry out one order.
pub async fn apply(units: &dyn Units, order: &LimitOrder) -> LimitOutcome {
    let result = match order.apply {
        Apply::Live => live(units, order).await,
        Apply::Restart => restart(units, order).await,
    };
    LimitOutcome { id: order.id, result }
}

/// Everything that one order sets, and where `MemoryHigh=` is to stand with it.
#[derive(Clone, Copy)]
struct Whole {
    limits: Amounts,
    high: Memory,
}

impl Whole {
    /// What is wanted, and nothing else.
    fn wanted(order: &LimitOrder) -> Whole {
        let high = settable(order.wanted).memory.map(|max| memory_high(max, order.high));
        Whole { limits: settable(order.wanted), high: high.unwrap_or_else(|| stood(order)) }
    }

    /// The same, with what a drop-in that is written or taken away would lose.
    fn with_kept(order: &LimitOrder, drop_in: Option<&str>) -> Whole {
        let said = drop_in.map_or_else(Amounts::default, |text| said_by(text, order.previous));
        let wanted = Whole::wanted(order);
        Whole { limits: wanted.limits.or(settable(order.kept)).or(settable(said)), ..wanted }
    }

    /// What held before, of all this: where there was no limit, none is to be.
    fn before(self, order: &LimitOrder) -> Whole {
        let (wanted, previous) = (self.limits, order.previous);
        let limits = Amounts {
            cpu: wanted.cpu.map(|_| previous.cpu.unwrap_or(NO_CPU_LIMIT)),
            memory: wanted.memory.map(|_| previous.memory.unwrap_or(NO_MEMORY_LIMIT)),
            tasks: wanted.tasks.map(|_| previous.tasks.unwrap_or(NO_TASKS_LIMIT)),
        };
        Whole { limits: settable(limits), high: stood(order) }
    }
}

/// Where `MemoryHigh=` stood.
fn stood(order: &LimitOrder) -> Memory {
    order.high_before.unwrap_or(NO_MEMORY_LIMIT)
}

async fn live(units: &dyn Units, order: &LimitOrder) -> Result<Amounts, LimitFailure> {
    let whole = match units.drop_in(&order.target).await {
        // It goes with a live change, which has to set whatever it held.
        Ok(Some(text)) => Whole::with_kept(order, Some(&text)),
        Ok(None) => Whole::wanted(order),
        Err(error) => return Err(untouched(format!("its drop-in cannot be read: {error}"))),
    };
    let done = match units.set(&order.target, whole.limits, whole.high, order.persist).await {
        Ok(()) => proved(units, order, whole).await,
        Err(error) => Err(format!("setting the limits failed: {error}")),
    };
    match done {
        Ok(limits) => Ok(limits),
        // A call that failed may still have been carried out: a lost answer looks the same as a refusal.
        Err(error) => Err(LimitFailure { error, restored: put_back(units, order, whole.before(order)).await }),
    }
}

fn untouched(error: String) -> LimitFailure {
    LimitFailure { error, restored: Ok(()) }
}

async fn put_back(units: &dyn Units, order: &LimitOrder, before: Whole) -> Result<(), String> {
    let put = units.set(&order.target, before.limits, before.high, order.persist).await;
    // Where nothing was changed it holds, although putting it back was refused as well.
    proved(units, order, before).await.map(drop).map_err(|error| put.err().unwrap_or(error))
}

async fn restart(units: &dyn Units, order: &LimitOrder) -> Result<Amounts, LimitFailure> {
    let backup = match units.drop_in(&order.target).await {
        Ok(backup) => backup,
        Err(error) => return Err(untouched(format!("its drop-in cannot be backed up: {error}"))),
    };
    let whole = Whole::with_kept(order, backup.as_deref());
    let text = drop_in_text(&order.target, whole.limits, whole.high);
    if let Err(error) = units.put_drop_in(&order.target, Some(text), order.persist).await {
        let restored = units.put_drop_in(&order.target, backup, order.persist).await;
        return Err(LimitFailure { error: format!("its drop-in cannot be written: {error}"), restored });
    }
    let done = match units.restart(&order.target).await {
        Ok(()) => proved(units, order, whole).await,
        Err(error) => Err(format!("it did not start with the new limits: {error}")),
    };
    match done {
        Ok(limits) => Ok(limits),
        Err(error) => Err(LimitFailure { error, restored: start_as_before(units, order, (whole, backup)).await }),
    }
}

async fn start_as_before(units: &dyn Units, order: &LimitOrder, (whole, backup): (Whole, Option<String>)) -> Result<(), String> {
    units.put_drop_in(&order.target, backup, order.persist).await?;
    units.restart(&order.target).await?;
    proved(units, order, whole.before(order)).await.map(drop)
}

/// The limits as they are read back, if they are the ones that were set, and `MemoryHigh=` with memory.
async fn proved(units: &dyn Units, order: &LimitOrder, whole: Whole) -> Result<Amounts, String> {
    let read = units.read(&order.target).await.map_err(|error| format!("the limits cannot be read back: {error}"))?;
    let differs = |what| format!("read back, the limits are not what was set: {what}");
    if let Some(difference) = difference(whole.limits, read.limits) {
        return Err(differs(difference));
    }
    let is = read.high.unwrap_or(NO_MEMORY_LIMIT);
    if whole.limits.memory.is_none() || is == whole.high {
        return Ok(read.limits);
    }
    let words = |high: Memory| if high == NO_MEMORY_LIMIT { UNLIMITED.to_owned() } else { high.to_string() };
    Err(differs(format!("MemoryHigh is {}, not {}", words(is), words(whole.high))))
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
