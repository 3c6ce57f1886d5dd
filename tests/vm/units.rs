//! Tries [`AllUnits`] on a unit that runs: `vm-units NAME`. Started by a case in the virtual machine; it asserts, and prints OK.

use std::error::Error;

use weir::edge::systemd::AllUnits;
use weir::engine::limits;
use weir::model::limits::{LimitOrder, NO_CPU_LIMIT, NO_MEMORY_LIMIT, NO_TASKS_LIMIT, Units};
use weir::model::policy::{Amounts, Apply, Target, Unit};
use weir::model::quantity::{Cpu, Memory};

fn amounts(n: u64) -> Amounts {
    let tasks = u32::try_from(20 + n).ok();
    Amounts { cpu: Some(Cpu(500 + 10 * n)), memory: Some(Memory((32 + n) << 20)), tasks }
}

fn target(name: &str) -> Target {
    Target { pool: None, unit: Some(Unit { name: name.into(), manager: None }) }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let name = std::env::args().nth(1).ok_or("which unit?")?;
    let (units, target) = (AllUnits::new("/sys/fs/cgroup".into(), None), target(&name));
    let order = |n, apply, persist| LimitOrder {
        id: n,
        target: target.clone(),
        wanted: amounts(n),
        previous: Amounts::default(),
        apply,
        persist,
        ..LimitOrder::default()
    };
    for n in 0..50 {
        let outcome = limits::apply(&units, &order(n, Apply::Live, n % 2 == 0)).await;
        assert_eq!(outcome.result, Ok(amounts(n)));
    }
    let seen = units.read(&target).await?;
    assert_eq!(seen.limits, amounts(49));
    assert!(seen.memory.is_ok() && seen.tasks.is_ok() && seen.cpu_micros.is_ok() && seen.oom_kills == Ok(0), "{seen:?}");
    assert!(seen.pressure.cpu.is_ok(), "{seen:?}");
    println!("50 live changes");
    let none = Amounts { cpu: Some(NO_CPU_LIMIT), memory: Some(NO_MEMORY_LIMIT), tasks: Some(NO_TASKS_LIMIT) };
    units.set(&target, none, NO_MEMORY_LIMIT, true).await?;
    units.set(&target, none, NO_MEMORY_LIMIT, false).await?;
    assert_eq!(units.read(&target).await?.limits, Amounts::default());
    let missing = units.read(&self::target("no-such.service")).await;
    assert!(missing.is_err_and(|why| why.contains("not found")));
    println!("OK");
    Ok(())
}
