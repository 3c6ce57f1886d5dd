//! How the kernel's files about a cgroup are read, and what is written into them for a limit.
//!
//! Pure: texts in, numbers out. A file that is missing, cut short or not what it should be is an unknown with its reason, and
//! never a zero. `max` is no limit, which is a fact and not a failure.

use super::host::{Known, Pressures, stalled};
use super::policy::{Amounts, Resource};
use super::quantity::{Cpu, Memory};
use super::template::Limits;
use super::time::Moment;
use super::usage::{Own, Usage};

/// The period that CPU time is shared out in, in microseconds: the kernel's and systemd's own.
const PERIOD_MICROS: u64 = 100_000;

/// Which limits a cgroup can hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Controllers {
    /// CPU time.
    pub cpu: bool,
    /// Memory.
    pub memory: bool,
    /// Processes and threads.
    pub tasks: bool,
    /// Why those that are missing are missing.
    pub why: String,
}

impl Controllers {
    /// Read `cgroup.controllers`; `place` tells whose file it is.
    pub fn parse(text: &str, place: &str) -> Controllers {
        let has = |name: &str| text.split_whitespace().any(|word| word == name);
        let why = format!("its controller is not there at {place}");
        Controllers { cpu: has("cpu"), memory: has("memory"), tasks: has("pids"), why }
    }

    /// No cgroups, or none that hold limits, and why.
    pub fn none(why: impl Into<String>) -> Controllers {
        Controllers { why: why.into(), ..Controllers::default() }
    }

    /// Whether limits of this can be held.
    pub fn has(&self, of: Resource) -> bool {
        match of {
            Resource::Cpu => self.cpu,
            Resource::Memory => self.memory,
            Resource::Tasks => self.tasks,
        }
    }

    /// Which of these limits cannot be held, and why; none: all are.
    pub fn lack(&self, limits: &Limits) -> Option<String> {
        let asked = [
            ("cpu", limits.cpu.is_some() && !self.cpu),
            ("memory", limits.memory.is_some() && !self.memory),
            ("tasks", !self.tasks),
        ];
        let lacking: Vec<&str> = asked.iter().filter(|(_, lacks)| *lacks).map(|(name, _)| *name).collect();
        (!lacking.is_empty()).then(|| format!("no limit of {} is held: {}", lacking.join(", "), self.why))
    }

    /// What is to be written into `cgroup.subtree_control` to have them below, beside what is there already; empty: nothing.
    pub fn to_enable(&self, enabled: &str) -> String {
        let missing = |name: &str| !enabled.split_whitespace().any(|word| word == name);
        let wanted = [("cpu", self.cpu), ("memory", self.memory), ("pids", self.tasks)];
        let words: Vec<String> =
            wanted.iter().filter(|(name, there)| *there && missing(name)).map(|(name, _)| format!("+{name}")).collect();
        words.join(" ")
    }
}

/// What is written for a worker's limits: the file's name and its text. A worker is one thing to the kernel's OOM killer: half
/// of one is of no use to anybody.
pub fn worker_files(limits: Option<&Limits>, controllers: &Controllers) -> Vec<(&'static str, String)> {
    let mut files = Vec::new();
    if controllers.memory {
        files.push(("memory.oom.group", "1".to_owned()));
    }
    let Some(limits) = limits else { return files };
    if let Some(memory) = limits.memory.filter(|_| controllers.memory) {
        files.push(("memory.max", memory.0.to_string()));
    }
    if let Some(cpu) = limits.cpu.filter(|_| controllers.cpu) {
        files.push(("cpu.max", format!("{} {PERIOD_MICROS}", quota(cpu))));
    }
    if controllers.tasks {
        files.push(("pids.max", limits.tasks.to_string()));
    }
    files
}

/// What a file reads in a worker's cgroup without limits as long as nobody has written into it; none for files that hold nothing of
/// whoever comes next.
pub fn as_made(file: &str) -> Option<&'static str> {
    Some(match file {
        "cgroup.freeze" | "cpu.idle" | "cpu.max.burst" | "memory.low" | "memory.min" => "0",
        "cgroup.max.depth"
        | "cgroup.max.descendants"
        | "memory.high"
        | "memory.max"
        | "memory.swap.high"
        | "memory.swap.max"
        | "pids.max" => "max",
        "cgroup.type" => "domain",
        "cgroup.subtree_control" | "cpuset.cpus" | "cpuset.mems" | "io.max" => "",
        "cpu.max" => "max 100000",
        "cpu.weight" => "100",
        "memory.oom.group" => "1",
        _ => return None,
    })
}

/// Microseconds of CPU time in one period. The kernel takes no less than a thousand.
fn quota(cpu: Cpu) -> u64 {
    cpu.0.saturating_mul(PERIOD_MICROS / 1000).max(1000)
}

/// Everything that is read of a cgroup, from its files. `read` gives a file's text by its name, or why there is none.
pub fn usage(at: Moment, read: impl Fn(&str) -> Known<String>) -> Usage {
    let keyed = |file: &str, key: &str| read(file).and_then(|text| value(&text, key).map_err(|why| format!("{file}: {why}")));
    let pressure = |name: &str| read(&format!("{name}.pressure")).and_then(|text| stalled(&text));
    let whole = |file: &str| read(file).and_then(|text| number(&text).map_err(|why| format!("{file}: {why}")));
    Usage {
        at,
        cpu_micros: keyed("cpu.stat", "usage_usec"),
        memory: whole("memory.current").map(Memory),
        working: working(&read),
        tasks: whole("pids.current"),
        pressure: Pressures { cpu: pressure("cpu"), memory: pressure("memory"), io: pressure("io") },
        oom_kills: keyed("memory.events", "oom_kill"),
        held_back: keyed("memory.events", "high"),
        own: own(&read),
        high: read("memory.high").and_then(|text| limit(&text)).ok().flatten().map(Memory),
        limits: limits(read),
        lacking: Vec::new(),
    }
}

/// The file that holds a limit of this.
pub const fn limit_file(of: Resource) -> &'static str {
    match of {
        Resource::Cpu => "cpu.max",
        Resource::Memory => "memory.max",
        Resource::Tasks => "pids.max",
    }
}

/// The memory that is not given back just so: `memory.current` less the `inactive_file` of `memory.stat`, as kubelet counts its
/// working set. What cannot be told apart counts as a whole.
///
/// # Errors
/// There is no `memory.current`, or it is no number.
pub fn working(read: impl Fn(&str) -> Known<String>) -> Known<Memory> {
    let all = read("memory.current").and_then(|text| number(&text).map_err(|why| format!("memory.current: {why}")))?;
    let cache = read("memory.stat").and_then(|text| value(&text, "inactive_file")).unwrap_or(0);
    Ok(Memory(all.saturating_sub(cache)))
}

/// How often a cgroup came to its own limits of memory.
fn own(read: impl Fn(&str) -> Known<String>) -> Known<Own> {
    let file = "memory.events.local";
    let text = read(file)?;
    let count = |key: &str| value(&text, key).map_err(|why| format!("{file}: {why}"));
    Ok(Own { reached: count("high")?.saturating_add(count("max")?), exhausted: count("oom")? })
}

/// The limits of a cgroup, from its files. What cannot be read holds nothing.
pub fn limits(read: impl Fn(&str) -> Known<String>) -> Amounts {
    let most = |file: &str| read(file).and_then(|text| limit(&text)).ok().flatten();
    Amounts {
        cpu: read("cpu.max").and_then(|text| cpu_limit(&text)).ok().flatten(),
        memory: most("memory.max").map(Memory),
        tasks: most("pids.max").map(|tasks| u32::try_from(tasks).unwrap_or(u32::MAX)),
    }
}

/// The limits of a cgroup, from its files; a file that is not there holds nothing.
///
/// # Errors
/// One is there and cannot be read: what holds is not known.
pub fn known_limits(read: impl Fn(&str) -> Known<Option<String>>) -> Known<Amounts> {
    fn parsed<T>(file: &str, text: Option<String>, parse: fn(&str) -> Known<Option<T>>) -> Known<Option<T>> {
        text.map_or(Ok(None), |text| parse(&text).map_err(|why| format!("{file}: {why}")))
    }
    let whole = |file: &str| parsed(file, read(file)?, limit);
    Ok(Amounts {
        cpu: parsed("cpu.max", read("cpu.max")?, cpu_limit)?,
        memory: whole("memory.max")?.map(Memory),
        tasks: whole("pids.max")?.map(|tasks| u32::try_from(tasks).unwrap_or(u32::MAX)),
    })
}

/// A whole number that is all there is of a file: `memory.current`, `pids.current`.
///
/// # Errors
/// That it is none.
pub fn number(text: &str) -> Known<u64> {
    text.trim().parse().map_err(|_| "is no number".into())
}

/// A number by its key: `cpu.stat`, `memory.events`.
///
/// # Errors
/// That it is not there.
pub fn value(text: &str, key: &str) -> Known<u64> {
    let found = text.lines().filter_map(|line| line.split_once(' ')).find(|(name, _)| *name == key);
    found.and_then(|(_, value)| value.trim().parse().ok()).ok_or_else(|| format!("has no {key}"))
}

/// `memory.max`, `pids.max`: a number, or none for `max`.
///
/// # Errors
/// That it is neither.
pub fn limit(text: &str) -> Known<Option<u64>> {
    if text.trim() == "max" { Ok(None) } else { number(text).map(Some) }
}

/// `cpu.max`: time in each period; none for `max`.
///
/// # Errors
/// That it does not read so.
pub fn cpu_limit(text: &str) -> Known<Option<Cpu>> {
    let (quota, period) = text.trim().split_once(' ').ok_or("is no quota and period")?;
    let period = number(period)?;
    if period == 0 {
        return Err("has a period of nothing".into());
    }
    Ok(limit(quota)?.map(|quota| Cpu(quota.saturating_mul(1000) / period)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn numbers_are_read_or_unknown() {
        for (text, expected) in [("5\n", Some(5)), ("0", Some(0)), ("", None), ("max\n", None), ("-1", None), ("5 6", None)] {
            assert_eq!(number(text).ok(), expected, "{text:?}");
        }
        let stat = "usage_usec 1234\nuser_usec 1000\nsystem_usec 234\nnr_periods 7\n";
        assert_eq!(value(stat, "usage_usec"), Ok(1234));
        assert_eq!(value(stat, "nr_periods"), Ok(7));
        for (text, key) in [(stat, "usage"), (stat, ""), ("", "oom"), ("oom\n", "oom"), ("oom x", "oom"), ("oom -1", "oom")] {
            assert!(value(text, key).is_err(), "{text:?} {key}");
        }
    }

    #[test]
    fn limits_are_read_or_unknown() {
        for (text, expected) in [("max\n", Ok(None)), ("4096\n", Ok(Some(4096))), ("maximum", Err(())), ("", Err(()))] {
            assert_eq!(limit(text).map_err(|_| ()), expected, "{text:?}");
        }
        let table = [
            ("max 100000\n", Ok(None)),
            ("200000 100000\n", Ok(Some(Cpu(2000)))),
            ("50000 100000\n", Ok(Some(Cpu(500)))),
            ("150000 50000", Ok(Some(Cpu(3000)))),
            ("100000", Err(())),
            ("100000 0", Err(())),
            ("many 100000", Err(())),
            ("", Err(())),
        ];
        for (text, expected) in table {
            assert_eq!(cpu_limit(text).map_err(|_| ()), expected, "{text:?}");
        }
    }

    #[test]
    fn a_look_keeps_apart_what_is_known_and_what_is_not() {
        let files = BTreeMap::from([
            ("cpu.stat", "usage_usec 70\n"),
            ("memory.current", "4096\n"),
            ("memory.stat", "anon 900\nfile 3000\ninactive_file 1000\nactive_file 2000\n"),
            ("pids.current", "3\n"),
            ("memory.events", "low 0\nhigh 2\nmax 9\noom 1\noom_kill 4\noom_group_kill 1\n"),
            ("memory.events.local", "low 0\nhigh 2\nmax 3\noom 1\noom_kill 0\noom_group_kill 0\n"),
            ("cpu.pressure", "some avg10=1.50 avg60=0 avg300=0 total=9\nfull avg10=0.00 avg60=0 avg300=0 total=0\n"),
            ("cpu.max", "max 100000\n"),
            ("memory.max", "8192\n"),
            ("memory.high", "4096\n"),
            ("pids.max", "12\n"),
        ]);
        let read = |name: &str| files.get(name).map(|text| (*text).to_owned()).ok_or_else(|| format!("{name}: gone"));
        let seen = usage(Moment(5), read);
        assert_eq!((seen.cpu_micros, seen.memory, seen.tasks), (Ok(70), Ok(Memory(4096)), Ok(3)));
        assert_eq!(seen.working, Ok(Memory(3096)));
        assert_eq!((seen.oom_kills, seen.held_back, seen.high), (Ok(4), Ok(2), Some(Memory(4096))));
        assert_eq!(seen.own, Ok(Own { reached: 5, exhausted: 1 }));
        assert_eq!((seen.pressure.cpu, seen.pressure.memory), (Ok(1.5), Err("memory.pressure: gone".into())));
        assert_eq!(seen.limits, Amounts { cpu: None, memory: Some(Memory(8192)), tasks: Some(12) });
        let nothing = usage(Moment(5), |name| Err(format!("{name}: gone")));
        assert_eq!(nothing.working, nothing.memory);
        let apart = |stat: &'static str| working(|name| Ok(if name == "memory.stat" { stat.into() } else { "4096".into() }));
        assert_eq!((apart("anon 7\n"), apart("inactive_file 9999\n")), (Ok(Memory(4096)), Ok(Memory(0))));
        assert_eq!(nothing.memory, Err("memory.current: gone".into()));
        assert_eq!(nothing.own, Err("memory.events.local: gone".into()));
        assert!(nothing.cpu_micros.is_err() && nothing.tasks.is_err() && nothing.oom_kills.is_err());
        assert_eq!(nothing.limits, Amounts::default());
    }

    #[test]
    fn a_limit_that_cannot_be_read_is_not_no_limit() {
        let of = |memory: Known<Option<&'static str>>| {
            known_limits(|name| if name == "memory.max" { memory.clone().map(|text| text.map(str::to_owned)) } else { Ok(None) })
        };
        assert_eq!(of(Ok(None)), Ok(Amounts::default()));
        assert_eq!(of(Ok(Some("max\n"))), Ok(Amounts::default()));
        assert_eq!(of(Ok(Some("4096\n"))), Ok(Amounts { memory: Some(Memory(4096)), ..Amounts::default() }));
        assert_eq!(of(Ok(Some("?"))), Err("memory.max: is no number".into()));
        assert_eq!(of(Err("memory.max: denied".into())), Err("memory.max: denied".into()));
    }

    #[test]
    fn what_cannot_be_held_is_named_and_not_written() {
        let limits = Limits { cpu: Some(Cpu(1500)), memory: Some(Memory(4096)), tasks: 7 };
        let all = Controllers::parse("cpuset cpu io memory pids\n", "/c");
        assert_eq!(all.lack(&limits), None);
        let files = worker_files(Some(&limits), &all);
        let expected = [("memory.oom.group", "1"), ("memory.max", "4096"), ("cpu.max", "150000 100000"), ("pids.max", "7")];
        assert_eq!(files, expected.map(|(name, text)| (name, text.to_owned())));
        assert_eq!(worker_files(None, &all), [("memory.oom.group", "1".to_owned())]);
        let some = Controllers::parse("cpuset pids", "/c");
        assert_eq!(some.lack(&limits).as_deref(), Some("no limit of cpu, memory is held: its controller is not there at /c"));
        assert_eq!(some.lack(&Limits { tasks: 5, ..Limits::default() }), None);
        assert_eq!(worker_files(Some(&limits), &some), [("pids.max", "7".to_owned())]);
        let none = Controllers::none("there is no cgroup");
        assert_eq!(none.lack(&Limits::default()).as_deref(), Some("no limit of tasks is held: there is no cgroup"));
        assert!(worker_files(Some(&limits), &none).is_empty());
        assert_eq!(quota(Cpu(1)), 1000);
    }

    #[test]
    fn only_what_is_missing_is_enabled() {
        let all = Controllers::parse("cpu memory pids", "/c");
        assert_eq!(all.to_enable(""), "+cpu +memory +pids");
        assert_eq!(all.to_enable("memory\n"), "+cpu +pids");
        assert_eq!(all.to_enable("cpu memory pids io"), "");
        assert_eq!(Controllers::parse("pids", "/c").to_enable(""), "+pids");
    }
}
