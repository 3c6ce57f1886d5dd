//! Headroom: how many workers the machine has room for. The one gate for every path that starts a worker of a scaled pool.
//!
//! A worker that has just been started does not use yet what it will use: until it is resident its expected memory counts as
//! taken, or a burst of starts would pass one after the other. What is asked for by name and cannot be read holds starts too:
//! nobody looked whether there is room.

use crate::model::host::{Expected, Known, Look, Room};
use crate::model::quantity::{Cpu, Memory};
use crate::model::scale::{Headroom, Pressure};
use crate::model::time::Span;

/// How long a worker's memory is expected to grow after its start.
pub const RESIDENT_AFTER: Span = Span::secs(30);
/// What a worker is expected to use of which nothing is known.
pub const EXPECTED: Expected = Expected { memory: Memory(64 << 20), how: "nothing is known of its workers" };
/// When a machine without room is looked at again.
pub const LOOK_AGAIN: Span = Span::secs(2);

/// How many workers there is room for; none: as many as wanted.
pub fn room(headroom: &Headroom, look: &Look) -> Option<Room> {
    let none = |why: String| Some(Room { starts: 0, why });
    if let Some(least) = headroom.cpu
        && let Some(why) = below("idle CPU", &look.sample.idle, least, |Cpu(idle)| Cpu(*idle) < least)
    {
        return none(why);
    }
    if let (Some(least), Some(free)) = (headroom.disk, &look.disk)
        && let Some(why) = below("free disk", free, least, |free| *free < least)
    {
        return none(why);
    }
    if let Some(why) = headroom.pressure.and_then(|most| pressed(most, look)) {
        return none(why);
    }
    memory(headroom.memory, look)
}

fn below<T: std::fmt::Display>(what: &str, found: &Known<T>, least: T, is: impl Fn(&T) -> bool) -> Option<String> {
    match found {
        Err(why) => Some(format!("{what} is not known: {why}")),
        Ok(found) => is(found).then(|| format!("{found} of {what} is left, headroom asks for {least}")),
    }
}

fn pressed(most: Pressure, look: &Look) -> Option<String> {
    let found = &look.sample.pressure;
    let checks = [("CPU", most.cpu, &found.cpu), ("memory", most.memory, &found.memory), ("io", most.io, &found.io)];
    checks.into_iter().find_map(|(what, most, found)| match (most?, found) {
        (_, Err(why)) => Some(format!("the {what} pressure is not known: {why}")),
        (most, Ok(found)) => {
            (*found > f64::from(most)).then(|| format!("the {what} pressure is {found} %, headroom allows {most} %"))
        }
    })
}

fn memory(least: Memory, look: &Look) -> Option<Room> {
    let available = match &look.sample.memory {
        Ok(available) => *available,
        Err(why) => return Some(Room { starts: 0, why: format!("the available memory is not known: {why}") }),
    };
    let left = available.0.saturating_sub(look.reserved.0).saturating_sub(least.0);
    let starts = u32::try_from(left / look.expected.memory.0.max(1)).unwrap_or(u32::MAX);
    let why = format!(
        "{available} of memory is available, {} of it for workers just started; headroom asks for {least}, a worker for {}",
        look.reserved, look.expected
    );
    Some(Room { starts, why })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::host::{Pressures, Sample};
    use crate::model::time::Moment;

    fn look(available: u64, reserved: u64) -> Look {
        let pressure = Pressures { cpu: Ok(50.0), memory: Ok(1.0), io: Err("no /proc/pressure".into()) };
        let sample = Sample { at: Moment(0), idle: Ok(Cpu(1500)), memory: Ok(Memory(available << 20)), pressure };
        let disk = Some(Ok(Memory(1 << 30)));
        let expected = Expected { memory: Memory(100 << 20), how: "its limit" };
        Look { sample, disk, expected, reserved: Memory(reserved << 20), budget: None }
    }

    fn starts(headroom: Headroom, look: &Look) -> u32 {
        room(&headroom, look).map_or(u32::MAX, |room| room.starts)
    }

    #[test]
    fn memory_allows_as_many_as_fit_above_the_headroom_and_what_is_promised() {
        let headroom = Headroom::default();
        assert_eq!(starts(headroom, &look(512, 0)), 0);
        assert_eq!(starts(headroom, &look(811, 0)), 2);
        assert_eq!(starts(headroom, &look(812, 0)), 3);
        assert_eq!(starts(headroom, &look(812, 200)), 1);
        assert_eq!(starts(headroom, &look(100, 0)), 0);
        let unknown = Look { sample: Sample { memory: Err("?".into()), ..look(0, 0).sample }, ..look(0, 0) };
        assert_eq!(starts(headroom, &unknown), 0);
    }

    #[test]
    fn what_is_asked_for_by_name_holds_when_it_is_short_or_unknown() {
        let plenty = look(100_000, 0);
        let cpu = |cores| Headroom { cpu: Some(Cpu(cores)), ..Headroom::default() };
        assert_eq!((starts(cpu(1500), &plenty) > 0, starts(cpu(1501), &plenty)), (true, 0));
        let disk = |gib: u64| Headroom { disk: Some(Memory(gib << 30)), ..Headroom::default() };
        assert_eq!((starts(disk(1), &plenty) > 0, starts(disk(2), &plenty)), (true, 0));
        let pressure = |cpu, io| Headroom { pressure: Some(Pressure { cpu, memory: None, io }), ..Headroom::default() };
        assert_eq!((starts(pressure(Some(50), None), &plenty) > 0, starts(pressure(Some(49), None), &plenty)), (true, 0));
        assert_eq!(starts(pressure(None, Some(90)), &plenty), 0, "unknown holds");
    }
}
