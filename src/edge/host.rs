//! The machine we run on: what it has left, asked of the kernel.
//!
//! Reads only; what the numbers mean for a pool is decided elsewhere. The files of `/proc` answer at once; a file system may
//! be far away and not answer, so [`free`] is asked where waiting is allowed.

use std::path::Path;

use crate::model::host::{APART_MIN, Known, Level, Pressures, Sample, Ticks, available, levels, stalled, total};
use crate::model::policy::Amounts;
use crate::model::quantity::{Cpu, Memory};
use crate::model::time::Moment;

/// Whoever looks at the machine again and again.
#[derive(Debug, Default)]
pub struct Machine {
    last: Option<(Moment, Ticks)>,
}

impl Machine {
    /// Look at the machine. Idle CPU is that since the look before; the first look knows none.
    pub fn sample(&mut self, now: Moment) -> Sample {
        let pressure = |name: &str| read(&format!("/proc/pressure/{name}")).and_then(|text| stalled(&text));
        let pressure = Pressures { cpu: pressure("cpu"), memory: pressure("memory"), io: pressure("io") };
        Sample { at: now, idle: self.idle(now), memory: memory(), pressure }
    }

    fn idle(&mut self, now: Moment) -> Known<Cpu> {
        if self.last.is_some_and(|(at, _)| now.since(at) < APART_MIN) {
            return Err(format!("the last look was less than {APART_MIN} ago"));
        }
        let ticks = Ticks::parse(&read("/proc/stat")?)?;
        let (_, before) = self.last.replace((now, ticks)).ok_or("this is the first look")?;
        ticks.idle_since(before)
    }
}

/// What the machine has in all: CPUs that we may run on, memory, and processes that there may be. What cannot be read is
/// absent.
pub fn capacity() -> Amounts {
    let cores = std::thread::available_parallelism().ok().map(|n| Cpu(n.get() as u64 * 1000));
    let memory = read("/proc/meminfo").and_then(|text| total(&text)).ok();
    let tasks = read("/proc/sys/kernel/pid_max").ok().and_then(|text| text.trim().parse::<u32>().ok());
    Amounts { cpu: cores, memory, tasks }
}

/// Free space of the file system that a path is on, for those who are not root.
///
/// # Errors
/// With the path: it cannot be asked.
pub fn free(path: &Path) -> Known<Memory> {
    let stat = rustix::fs::statvfs(path).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(Memory(stat.f_bavail.saturating_mul(stat.f_frsize)))
}

/// The least of what the machine and the cgroups that we are in have left.
fn memory() -> Known<Memory> {
    let mut least = available(&read("/proc/meminfo")?)?;
    for level in levels(&read("/proc/self/cgroup").unwrap_or_default(), &read("/proc/self/mountinfo").unwrap_or_default()) {
        least = left(&level)?.map_or(least, |left| least.min(left));
    }
    Ok(least)
}

fn left(level: &Level) -> Known<Option<Memory>> {
    // Without that file the controller is not on, or this is the root: no limit.
    let Ok(limit) = read(&format!("{}/{}", level.dir, level.limit)) else { return Ok(None) };
    let usage = read(&format!("{}/{}", level.dir, level.usage)).ok();
    let stat = read(&format!("{}/memory.stat", level.dir)).ok();
    level.left(&limit, usage.as_deref(), stat.as_deref())
}

fn read(path: &str) -> Known<String> {
    std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::clock;
    use crate::model::time::Span;

    #[test]
    fn this_machine_has_a_size() {
        let size = capacity();
        assert!(size.cpu.is_some_and(|cpu| cpu >= Cpu(1000)) && size.memory.is_some_and(|memory| memory > Memory(1 << 26)));
        assert!(size.tasks.is_some_and(|tasks| tasks >= 300));
    }

    #[test]
    fn this_machine_has_something_left() {
        let (mut machine, begun) = (Machine::default(), clock::now().mono);
        let first = machine.sample(begun);
        assert!(first.idle.is_err(), "there is nothing to compare with");
        assert!(first.memory.is_ok_and(|memory| memory > Memory(0)));
        // The kernel counts in ticks.
        std::thread::sleep(std::time::Duration::from_millis(250));
        let early = machine.sample(begun.after(Span(APART_MIN.0 - 1)));
        assert!(early.idle.is_err_and(|why| why.contains("less than 200ms")));
        assert!(machine.sample(begun.after(APART_MIN)).idle.is_ok());
        assert!(free(Path::new("/")).is_ok());
        assert!(free(Path::new("/there/is/no/such")).is_err_and(|why| why.starts_with("/there/is/no/such: ")));
    }
}
