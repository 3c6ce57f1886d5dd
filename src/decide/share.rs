//! How much of what it may use a pool uses, in percent: the number of the sources `cpu` and `memory`.
//!
//! Of what: the least of the pool's own limit and of its workers' limits together, as each of them has one; else the host's, and
//! that is said. What cannot be read, or compared with nothing, is a failure and never a zero.

use crate::model::policy::Amounts;
use crate::model::quantity::{Cpu, Memory};
use crate::model::reading::{Failure, Number};
use crate::model::source::UsageOf;
use crate::model::time::Span;
use crate::model::usage::PoolLook;

/// Two looks that are closer than this give no rate of CPU time worth believing.
pub const APART_MIN: Span = Span::millis(200);

/// Whether an earlier look can be compared with a later one: what more or fewer workers used is not measured by their limits of
/// now.
pub fn comparable(before: &PoolLook, now: &PoolLook) -> bool {
    let further = matches!((&before.usage.cpu_micros, &now.usage.cpu_micros), (Ok(then), Ok(now)) if now >= then);
    before.id == now.id
        && before.workers.len() == now.workers.len()
        && further
        && now.usage.at.since(before.usage.at) >= APART_MIN
}

/// The share of a resource that is used, in percent; of CPU from the earlier look to this one.
///
/// # Errors
/// In words: what is not known.
pub fn percent(of: UsageOf, before: Option<&PoolLook>, now: &PoolLook, host: Amounts) -> Result<Number, Failure> {
    let used = match of {
        UsageOf::Cpu => cores(before, now)?,
        UsageOf::Memory => now.usage.working.as_ref().map_err(Failure::because)?.0,
    };
    let (most, whose) = most(of, now, host).ok_or_else(|| Failure::because("neither it nor the host has a known limit"))?;
    if most == 0 {
        return Err(Failure::because("its limit is nothing"));
    }
    let share = (used as f64 / most as f64 * 1000.0).round() / 10.0;
    Number::new(share, &format!("{} of {}, {whose}", shown(of, used), shown(of, most)))
}

/// Thousandths of a core, on average.
fn cores(before: Option<&PoolLook>, now: &PoolLook) -> Result<u64, Failure> {
    let micros = now.usage.cpu_micros.as_ref().map_err(Failure::because)?;
    let before = before.filter(|before| comparable(before, now));
    let before =
        before.ok_or_else(|| Failure::because("this is the first look at its CPU time: there is nothing to compare with"))?;
    let then = before.usage.cpu_micros.as_ref().map_err(Failure::because)?;
    Ok((micros - then) / now.usage.at.since(before.usage.at).0.max(1))
}

/// What may be used, and whose limit that is.
fn most(of: UsageOf, now: &PoolLook, host: Amounts) -> Option<(u64, String)> {
    let each = now.workers.iter().map(|limits| limit(of, *limits));
    let together = each.collect::<Option<Vec<u64>>>().filter(|all| !all.is_empty());
    let workers = together.map(|all| {
        let count = all.len();
        let words = if count == 1 { "the limit of its worker".into() } else { format!("the limits of its {count} workers") };
        (all.into_iter().fold(0, u64::saturating_add), words)
    });
    let own = limit(of, now.usage.limits).map(|limit| (limit, "the limit of the pool".to_owned()));
    let least = own.into_iter().chain(workers).min_by_key(|(limit, _)| *limit);
    least.or_else(|| Some((limit(of, host)?, "all that the host has, as it has no limit".into())))
}

fn limit(of: UsageOf, all: Amounts) -> Option<u64> {
    match of {
        UsageOf::Cpu => all.cpu.map(|cpu| cpu.0),
        UsageOf::Memory => all.memory.map(|memory| memory.0),
    }
}

fn shown(of: UsageOf, amount: u64) -> String {
    match of {
        UsageOf::Cpu if amount == 1000 => "1 core".into(),
        UsageOf::Cpu => format!("{} cores", Cpu(amount)),
        UsageOf::Memory => Memory(amount >> 20 << 20).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::host::Pressures;
    use crate::model::time::Moment;
    use crate::model::usage::Usage;

    fn look(at: u64, micros: u64, own: Amounts, workers: &[Amounts]) -> PoolLook {
        let none = || Err("?".to_owned());
        let pressure = Pressures { cpu: none(), memory: none(), io: none() };
        let (memory, working, tasks) = (Ok(Memory(900 << 20)), Ok(Memory(300 << 20)), Ok(7));
        let (oom_kills, held_back) = (Ok(0), Ok(0));
        let cpu_micros = Ok(micros);
        let usage = Usage {
            at: Moment(at),
            cpu_micros,
            memory,
            working,
            tasks,
            pressure,
            oom_kills,
            held_back,
            own: Err("?".into()),
            high: None,
            limits: own,
            lacking: Vec::new(),
        };
        PoolLook { id: 1, usage, workers: workers.to_vec() }
    }

    fn cpu(limit: u64) -> Amounts {
        Amounts { cpu: Some(Cpu(limit)), ..Amounts::default() }
    }

    const HOST: Amounts = Amounts { cpu: Some(Cpu(8000)), memory: Some(Memory(1200 << 20)), tasks: None };

    #[test]
    fn the_share_is_of_the_narrowest_limit_that_holds() {
        let none = Amounts::default();
        let cases: [(Amounts, &[Amounts], f64, &str); 7] = [
            (none, &[], 12.5, "1 core of 8 cores, all that the host has, as it has no limit"),
            (none, &[cpu(500), cpu(1500)], 50.0, "1 core of 2 cores, the limits of its 2 workers"),
            (none, &[cpu(500), none], 12.5, "1 core of 8 cores, all that the host has, as it has no limit"),
            (cpu(4000), &[cpu(500), cpu(1500)], 50.0, "1 core of 2 cores, the limits of its 2 workers"),
            (cpu(1000), &[cpu(500), cpu(1500)], 100.0, "1 core of 1 core, the limit of the pool"),
            (cpu(4000), &[none], 25.0, "1 core of 4 cores, the limit of the pool"),
            (none, &[cpu(3000)], 33.3, "1 core of 3 cores, the limit of its worker"),
        ];
        for (own, workers, share, words) in cases {
            let (before, now) = (look(0, 5_000_000, own, workers), look(10_000, 15_000_000, own, workers));
            assert_eq!(percent(UsageOf::Cpu, Some(&before), &now, HOST), Number::new(share, words));
        }
        let now = look(0, 0, none, &[]);
        let words = "300Mi of 1200Mi, all that the host has, as it has no limit";
        assert_eq!(percent(UsageOf::Memory, None, &now, HOST), Number::new(25.0, words));
    }

    #[test]
    fn what_is_not_known_is_a_failure_and_never_a_zero() {
        let none = Amounts::default();
        let now = look(10_000, 9, none, &[]);
        let said =
            |before: Option<&PoolLook>, now: &PoolLook| percent(UsageOf::Cpu, before, now, HOST).expect_err("no number").message;
        let first = "this is the first look at its CPU time: there is nothing to compare with";
        assert_eq!(said(None, &now), first);
        assert_eq!(said(Some(&look(9_900, 0, none, &[])), &now), first, "too close");
        assert_eq!(said(Some(&look(0, 10, none, &[])), &now), first, "a counter that went back began anew");
        assert_eq!(said(Some(&PoolLook { id: 2, ..look(0, 0, none, &[]) }), &now), first, "another cgroup");
        assert_eq!(said(Some(&look(0, 0, none, &[none])), &now), first, "of other workers");
        let mut blind = now.clone();
        (blind.usage.cpu_micros, blind.usage.working) = (Err("cpu.stat: gone".into()), Err("memory.current: gone".into()));
        assert_eq!(said(Some(&look(0, 0, none, &[])), &blind), "cpu.stat: gone");
        assert_eq!(percent(UsageOf::Memory, None, &blind, HOST), Err(Failure::because("memory.current: gone")));
        assert!(percent(UsageOf::Memory, None, &now, none).is_err(), "no limit, and nobody knows the host");
        assert!(
            percent(UsageOf::Cpu, Some(&look(0, 0, none, &[none])), &PoolLook { workers: vec![cpu(0)], ..now }, HOST).is_err()
        );
    }
}
