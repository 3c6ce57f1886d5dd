//! What the machine has left, as data, and how the kernel's own words about it are read.
//!
//! Every number may be unknown, with the reason: what cannot be read is never a zero, which would stop a pool for nothing, nor
//! a plenty, which would start workers on a machine that nobody looked at.

use serde::{Deserialize, Serialize};

use super::quantity::{Cpu, Memory};
use super::time::{Moment, Span};

/// A number, or why there is none.
pub type Known<T> = Result<T, String>;

/// Two looks at the CPU's counters that are closer than this say nothing: they count in hundredths of a second.
pub const APART_MIN: Span = Span(200);

/// What the machine has left.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// When it was looked at.
    pub at: Moment,
    /// CPU that nobody used since the look before.
    pub idle: Known<Cpu>,
    /// Memory that a new process could have without swapping; of our own cgroup, where that has less.
    pub memory: Known<Memory>,
    /// How much of the time somebody waited, over the last ten seconds.
    pub pressure: Pressures,
}

/// Pressure stall information, `some avg10`, in percent.
#[derive(Clone, Debug, PartialEq)]
pub struct Pressures {
    /// Waiting for CPU.
    pub cpu: Known<f64>,
    /// Waiting for memory.
    pub memory: Known<f64>,
    /// Waiting for disks.
    pub io: Known<f64>,
}

/// What the machine has left, as one pool is concerned.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// The machine.
    pub sample: Sample,
    /// Free space of the file system of the working directory; absent: nobody asks.
    pub disk: Option<Known<Memory>>,
    /// What one more worker is expected to use.
    pub expected: Expected,
    /// What workers of all pools that were just started are still expected to take.
    pub reserved: Memory,
    /// What the policy on the pool's memory may give it; absent: there is none.
    pub budget: Option<Budget>,
}

/// The memory that a worker is expected to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// How much.
    pub memory: Memory,
    /// Where the number comes from, in words.
    pub how: &'static str,
}

impl std::fmt::Display for Expected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.memory, self.how)
    }
}

/// The memory that a pool may be given in all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// By which policy.
    pub policy: String,
    /// How much.
    pub memory: Memory,
    /// What one worker takes of it.
    pub each: Expected,
    /// What sets it, in words.
    pub whose: String,
}

/// What is done about a shortage of memory, the mildest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Rung {
    /// Nothing but raising the limit.
    #[default]
    Free,
    /// No worker is added, and no task is begun.
    Closed,
    /// Idle workers go as well, as far as the pool can do without them.
    Draining,
    /// Besides, `MemoryHigh` is lifted to `MemoryMax`: who is held back there for ever comes to the limit, where the kernel decides.
    Lifted,
}

impl Rung {
    /// The word for it in conditions.
    pub const fn reason(self) -> &'static str {
        match self {
            Rung::Free => "Free",
            Rung::Closed => "AdmissionStopped",
            Rung::Draining => "Draining",
            Rung::Lifted => "MemoryMaxDecides",
        }
    }
}

/// How a pool is held back because its memory is short.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Squeeze {
    /// What is done about it; never nothing.
    pub rung: Rung,
    /// By which policy and why, in words.
    pub why: String,
}

/// How many workers may be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// So many.
    pub starts: u32,
    /// What bounds them.
    pub why: String,
}

/// The CPU's counters since boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticks {
    idle: u64,
    total: u64,
    cpus: u64,
}

impl Ticks {
    /// Read `/proc/stat`.
    ///
    /// # Errors
    /// That this is not what it looks like.
    pub fn parse(stat: &str) -> Known<Ticks> {
        let refuse = || "/proc/stat has no line of all CPUs".to_owned();
        let all = stat.lines().find_map(|line| line.strip_prefix("cpu ")).ok_or_else(refuse)?;
        // user nice system idle iowait irq softirq steal; guests are counted in user already.
        let counts: Vec<u64> = all.split_whitespace().take(8).map_while(|word| word.parse().ok()).collect();
        let idle = counts.get(3).ok_or_else(refuse)? + counts.get(4).unwrap_or(&0);
        let one = |line: &&str| line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        let cpus = stat.lines().filter(one).count() as u64;
        if cpus == 0 { Err(refuse()) } else { Ok(Ticks { idle, total: counts.iter().sum(), cpus }) }
    }

    /// CPU that was idle from an earlier look to this one.
    ///
    /// # Errors
    /// That nothing was counted between them.
    pub fn idle_since(self, earlier: Ticks) -> Known<Cpu> {
        let total = self.total.saturating_sub(earlier.total);
        if total == 0 {
            return Err("/proc/stat counted no time since the last look".into());
        }
        // The idle counter of a CPU that sleeps may step back a little.
        let idle = self.idle.saturating_sub(earlier.idle).min(total);
        Ok(Cpu(self.cpus.saturating_mul(1000).saturating_mul(idle) / total))
    }

    /// How much of all CPUs was used from an earlier look to this one, in percent.
    ///
    /// # Errors
    /// That nothing was counted between them.
    pub fn busy_since(self, earlier: Ticks) -> Known<f64> {
        let idle = self.idle_since(earlier)?;
        let all = self.cpus.saturating_mul(1000).max(1);
        Ok(100.0 * all.saturating_sub(idle.0) as f64 / all as f64)
    }
}

/// Read `MemAvailable` of `/proc/meminfo`.
///
/// # Errors
/// That it is not there: kernels before 3.14.
pub fn available(meminfo: &str) -> Known<Memory> {
    row(meminfo, "MemAvailable")
}

/// Read `MemTotal` of `/proc/meminfo`.
///
/// # Errors
/// That it is not there.
pub fn total(meminfo: &str) -> Known<Memory> {
    row(meminfo, "MemTotal")
}

fn row(meminfo: &str, name: &str) -> Known<Memory> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kib = line.and_then(|rest| rest.trim().strip_suffix("kB")).and_then(|kib| kib.trim().parse::<u64>().ok());
    kib.map(|kib| Memory(kib.saturating_mul(1024))).ok_or_else(|| format!("/proc/meminfo has no {name}"))
}

/// Read `some avg10` of a file below `/proc/pressure`.
///
/// # Errors
/// That it is not there.
pub fn stalled(pressure: &str) -> Known<f64> {
    let words = pressure.lines().find_map(|line| line.strip_prefix("some "));
    let average = words.and_then(|line| line.split(' ').find_map(|word| word.strip_prefix("avg10=")));
    let number = average.and_then(|text| text.parse::<f64>().ok()).filter(|n| n.is_finite() && *n >= 0.0);
    number.ok_or_else(|| "there is no some avg10".into())
}

/// Read the `total` of `some` of a file below `/proc/pressure`: how long somebody waited since boot, in microseconds.
///
/// # Errors
/// That it is not there.
pub fn waited(pressure: &str) -> Known<u64> {
    let words = pressure.lines().find_map(|line| line.strip_prefix("some "));
    let total = words.and_then(|line| line.split(' ').find_map(|word| word.strip_prefix("total=")));
    total.and_then(|text| text.trim().parse().ok()).ok_or_else(|| "there is no some total".into())
}

/// A cgroup that limits our memory, and the names of its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level {
    /// Its directory.
    pub dir: String,
    /// The file with the limit.
    pub limit: &'static str,
    /// The file with what is used.
    pub usage: &'static str,
    /// The row of `memory.stat` with what of it can be taken back at once.
    cache: &'static str,
}

/// Our own cgroup of the memory controller and all above it that can be seen, of version 2 or 1. From the texts of
/// `/proc/self/cgroup` and `/proc/self/mountinfo`.
pub fn levels(cgroup: &str, mountinfo: &str) -> Vec<Level> {
    let mut found = Vec::new();
    for line in mountinfo.lines() {
        let Some((place, kind)) = line.split_once(" - ") else { continue };
        let mut place = place.split(' ').skip(3).map(|path| path.replace("\\040", " "));
        let (Some(root), Some(mount)) = (place.next(), place.next()) else { continue };
        let mut kind = kind.split(' ');
        let (prefix, [limit, usage, cache]) = match (kind.next(), kind.next_back()) {
            (Some("cgroup2"), _) => ("", ["memory.max", "memory.current", "inactive_file"]),
            (Some("cgroup"), Some(with)) if with.split(',').any(|controller| controller == "memory") => {
                ("memory", ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"])
            }
            (_, _) => continue,
        };
        let own = cgroup.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            controllers.split(',').any(|controller| controller == prefix).then_some(path)
        });
        let Some(own) = own else { continue };
        found.extend(upwards(&mount, below(own, &root)).into_iter().map(|dir| Level { dir, limit, usage, cache }));
    }
    found
}

/// Where a cgroup is below its mount. One that lies outside is seen as the mount itself.
fn below<'a>(own: &'a str, root: &str) -> &'a str {
    let rest =
        if root == "/" { Some(own) } else { own.strip_prefix(root).filter(|rest| rest.is_empty() || rest.starts_with('/')) };
    rest.filter(|path| !path.split('/').any(|step| step == "..")).unwrap_or("").trim_matches('/')
}

fn upwards(mount: &str, own: &str) -> Vec<String> {
    let mut path = format!("{mount}/{own}").trim_end_matches('/').to_owned();
    let mut all = vec![path.clone()];
    while path.len() > mount.len() {
        path.truncate(path.rfind('/').unwrap_or(0));
        all.push(path.clone());
    }
    all
}

impl Level {
    /// What is left of its limit, from the texts of its files; none when it has no limit.
    ///
    /// # Errors
    /// That there is a limit, and not to be known how much of it is used.
    pub fn left(&self, limit: &str, usage: Option<&str>, stat: Option<&str>) -> Known<Option<Memory>> {
        let limit = limit.trim();
        if limit == "max" {
            return Ok(None);
        }
        let number =
            |text: &str, name: &str| text.trim().parse::<u64>().map_err(|_| format!("{}/{name}: is no number", self.dir));
        let limit = number(limit, self.limit)?;
        let usage = number(usage.ok_or_else(|| format!("{}/{}: cannot be read", self.dir, self.usage))?, self.usage)?;
        let rows = stat.into_iter().flat_map(str::lines).filter_map(|line| line.split_once(' '));
        let cache = rows.filter(|(name, _)| *name == self.cache).find_map(|(_, bytes)| bytes.trim().parse::<u64>().ok());
        // File pages that nobody uses are given back on demand: counted as used they would hide most of the memory.
        Ok(Some(Memory(limit.saturating_sub(usage.saturating_sub(cache.unwrap_or(0))))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str =
        "cpu  100 0 100 700 100 0 0 0 50 0\ncpu0 50 0 50 350 50 0 0 0\ncpu1 50 0 50 350 50 0 0 0\nintr 5\ncpufreq 1\n";

    #[test]
    fn idle_cpu_is_the_difference_of_two_looks() {
        let first = Ticks::parse(STAT).expect("reads");
        assert_eq!(first, Ticks { idle: 800, total: 1000, cpus: 2 });
        let second = Ticks { idle: 815, total: 1020, cpus: 2 };
        assert_eq!(second.idle_since(first), Ok(Cpu(1500)));
        assert_eq!(Ticks { idle: 790, total: 1020, cpus: 2 }.idle_since(first), Ok(Cpu(0)));
        assert_eq!(second.busy_since(first), Ok(25.0));
        assert!(first.busy_since(first).is_err());
        assert!(first.idle_since(first).is_err() && first.idle_since(second).is_err());
        for text in ["", "cpu", "cpu  1 2 3\ncpu0 1 2 3\n", "cpu  1 2 3 x\ncpu0 1\n", "cpu  1 2 3 4\n"] {
            assert!(Ticks::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn memory_and_pressure_are_read_or_unknown() {
        let text = "MemTotal:       16384 kB\nMemFree:          100 kB\nMemAvailable:     2048 kB\n";
        assert_eq!(available(text), Ok(Memory(2 << 20)));
        assert!(available("MemTotal: 5 kB\n").is_err() && available("MemAvailable: many kB").is_err());
        assert_eq!(stalled("some avg10=6.92 avg60=5.02 avg300=6.12 total=17\nfull avg10=9.00 avg60=0.00\n"), Ok(6.92));
        assert_eq!(waited("some avg10=6.92 avg60=5.02 avg300=6.12 total=17\nfull avg10=9.00 total=3\n"), Ok(17));
        assert!(waited("full avg10=9.00 total=3").is_err() && waited("some avg10=1.00").is_err() && waited("").is_err());
        assert!(stalled("full avg10=9.00").is_err() && stalled("some avg10=nan").is_err() && stalled("").is_err());
    }

    #[test]
    fn our_own_cgroup_and_those_above_are_found() {
        let two = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
        let dirs = |cgroup: &str, mounts: &str| levels(cgroup, mounts).into_iter().map(|level| level.dir).collect::<Vec<_>>();
        assert_eq!(
            dirs("0::/user.slice/weir.service\n", two),
            ["/sys/fs/cgroup/user.slice/weir.service", "/sys/fs/cgroup/user.slice", "/sys/fs/cgroup"]
        );
        assert_eq!(dirs("0::/\n", two), ["/sys/fs/cgroup"]);
        assert_eq!(dirs("0::/../other\n", two), ["/sys/fs/cgroup"]);
        let one = "35 31 0:32 /docker/abc /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
                   36 31 0:33 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n";
        let levels_of_one = levels("4:memory:/docker/abc/weir\n1:cpu:/x\n0::/\n", one);
        assert_eq!(
            levels_of_one.iter().map(|l| l.dir.as_str()).collect::<Vec<_>>(),
            ["/sys/fs/cgroup/memory/weir", "/sys/fs/cgroup/memory"]
        );
        assert_eq!(levels_of_one[0].limit, "memory.limit_in_bytes");
        assert_eq!(dirs("4:memory:/elsewhere\n", one), ["/sys/fs/cgroup/memory"]);
        assert!(dirs("", two).is_empty() && dirs("0::/\n", "nonsense").is_empty());
    }

    #[test]
    fn what_is_left_of_a_limit_counts_what_can_be_taken_back() {
        let level = levels("0::/a\n", "1 1 0:1 / /c rw - cgroup2 c rw\n").remove(0);
        let stat = "anon 5\ninactive_file 30\nactive_file 7\n";
        assert_eq!(level.left("100\n", Some("80\n"), Some(stat)), Ok(Some(Memory(50))));
        assert_eq!(level.left("100", Some("180"), None), Ok(Some(Memory(0))));
        assert_eq!(level.left("max\n", None, None), Ok(None));
        assert!(level.left("100", None, Some(stat)).is_err() && level.left("", Some("5"), None).is_err());
    }
}
