//! What is said of limits that somebody holds by hand: `ctl` and the tools of MCP say it in the same words.
//!
//! Pure. That they are held within the bounds all the same is decided elsewhere.

use serde_json::Value;

use crate::model::policy::{Bounds, Resource};
use crate::model::quantity::{Cpu, Memory};

/// Which limits are outside of the bounds, and at what they are held for that.
pub fn beyond(bounds: &Bounds, held: &Value) -> Vec<String> {
    let asked = |of: Resource| {
        let value = held.get(of.name())?;
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        match of {
            Resource::Cpu => text.parse::<Cpu>().ok().map(|cpu| cpu.0),
            Resource::Memory => text.parse::<Memory>().ok().map(|memory| memory.0),
            Resource::Tasks => text.parse().ok(),
        }
    };
    let word = |of: Resource| {
        let (asked, name) = (asked(of)?, of.name());
        let (least, most) = (bounds.min.of(of), bounds.max.of(of));
        let (than, field, at) = match (least.filter(|least| asked < *least), most.filter(|most| asked > *most)) {
            (Some(least), _) => ("less", "min", least),
            (None, Some(most)) => ("more", "max", most),
            (None, None) => return None,
        };
        let (asked, at) = (of.shown(asked), of.shown(at));
        Some(format!("{name}={asked} is {than} than spec.bounds.{field}.{name}: {at} is held"))
    };
    Resource::EACH.into_iter().filter_map(word).collect()
}
