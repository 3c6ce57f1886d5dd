//! Every step of a change fails in turn: what held before holds again, or the failure says that it does not. The units are
//! simulated call by call; whether a real manager behaves so is for the tests in the machine of their own.

use std::sync::Mutex;

use super::*;
use crate::model::host::Pressures;
use crate::model::limits::{Answer, High};
use crate::model::policy::{Target, Unit};
use crate::model::quantity::{Cpu, Memory};
use crate::model::time::Moment;
use crate::model::usage::Usage;

/// Which call, counted from 1, fails, and how.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// Nothing is done.
    Refused(usize),
    /// It is done, and the answer is lost.
    Lost(usize),
    /// The unit goes away with this call and does not come back.
    Gone(usize),
    /// Nothing may ever be set.
    Forbidden,
    /// From this call on the limits that are read are of somebody else, while they are not the first ones.
    Differs(usize),
    /// `MemoryHigh` stays where it is, whatever is set.
    Keeps,
}

struct Sim {
    fault: Fault,
    /// What holds, the drop-in, whether it runs, and the calls so far.
    state: Mutex<State>,
}

#[derive(Clone, Debug, PartialEq)]
struct State {
    limits: Amounts,
    high: Option<Memory>,
    /// What was set while it ran, and what its author wrote: that is what holds after a reload, where no drop-in says otherwise.
    set: (Amounts, Option<Memory>),
    author: (Amounts, Option<Memory>),
    file: Option<String>,
    up: bool,
    calls: Vec<&'static str>,
    gone: bool,
}

const BEFORE: Amounts = Amounts { cpu: Some(Cpu(2000)), memory: Some(Memory(32 << 30)), tasks: None };
const HIGH: Option<Memory> = Some(Memory(30_923_763_712));
const WANTED: Amounts = Amounts { cpu: Some(Cpu(3000)), memory: Some(Memory(48 << 30)), tasks: Some(375) };

impl Sim {
    fn new(fault: Fault) -> Sim {
        let (file, author) = (Some("as before".to_owned()), (BEFORE, HIGH));
        let set = (Amounts::default(), None);
        let state = State { limits: BEFORE, high: HIGH, set, author, file, up: true, calls: Vec::new(), gone: false };
        Sim { fault, state: Mutex::new(state) }
    }

    /// One of which this holds, by a drop-in of weir's where that says so.
    fn with(author: (Amounts, Option<Memory>), file: Option<String>) -> Sim {
        let sim = Sim::new(Fault::None);
        {
            let mut state = sim.state.lock().expect("nobody else has it");
            (state.author, state.file) = (author, file);
            state.reload();
        }
        sim
    }

    fn call<'a, T: Send + 'a>(&'a self, name: &'static str, act: impl FnOnce(&mut State) -> Result<T, String>) -> Answer<'a, T> {
        let state = &mut *self.state.lock().expect("no test panics while it holds this");
        state.calls.push(name);
        let number = state.calls.len();
        state.gone |= self.fault == Fault::Gone(number);
        let answer = match self.fault {
            _ if state.gone => Err("Unit web.service not found".into()),
            Fault::Refused(at) if at == number => Err("refused".into()),
            Fault::Lost(at) if at == number => act(state).and(Err("the connection was closed".into())),
            Fault::Forbidden if name == "set" => Err("access denied".into()),
            Fault::None
            | Fault::Refused(_)
            | Fault::Lost(_)
            | Fault::Gone(_)
            | Fault::Forbidden
            | Fault::Differs(_)
            | Fault::Keeps => act(state),
        };
        Box::pin(std::future::ready(answer))
    }
}

fn parse(file: &str) -> (Amounts, Option<Memory>) {
    let number = |key: &str, none: u64| {
        let value = file.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
        Some(value.trim_end_matches('%').parse().unwrap_or(none))
    };
    let limits = Amounts {
        cpu: number("CPUQuota", u64::MAX).map(|percent| if percent == u64::MAX { NO_CPU_LIMIT } else { Cpu(percent * 10) }),
        memory: number("MemoryMax", u64::MAX).map(Memory),
        tasks: number("TasksMax", u64::from(u32::MAX)).and_then(|tasks| u32::try_from(tasks).ok()),
    };
    (limits, number("MemoryHigh", u64::MAX).map(Memory))
}

impl State {
    /// What the manager's files say holds.
    fn reload(&mut self) {
        let (file, high) = self.file.as_deref().map(parse).unwrap_or_default();
        let limits = file.or(self.set.0).or(self.author.0);
        self.high = high.or(self.set.1).or(self.author.1).filter(|high| *high != NO_MEMORY_LIMIT);
        self.limits = Amounts {
            cpu: limits.cpu.filter(|cpu| *cpu != NO_CPU_LIMIT),
            memory: limits.memory.filter(|memory| *memory != NO_MEMORY_LIMIT),
            tasks: limits.tasks.filter(|tasks| *tasks != NO_TASKS_LIMIT),
        };
    }
}

impl Units for Sim {
    fn unable(&self, _: &Target) -> Option<String> {
        None
    }
    fn read<'a>(&'a self, _: &'a Target) -> Answer<'a, Usage> {
        self.call("read", |state| {
            let differs = matches!(self.fault, Fault::Differs(at) if state.calls.len() >= at && state.limits != BEFORE);
            let limits = if differs { Amounts { tasks: Some(1), ..state.limits } } else { state.limits };
            let unknown = || Err("not asked".to_owned());
            let pressure = Pressures { cpu: Err("no".into()), memory: Err("no".into()), io: Err("no".into()) };
            let (oom_kills, held_back, cpu_micros) = (unknown(), unknown(), unknown());
            let at = Moment(0);
            let (memory, working) = (Err("no".into()), Err("no".into()));
            Ok(Usage {
                at,
                cpu_micros,
                memory,
                working,
                tasks: unknown(),
                pressure,
                oom_kills,
                held_back,
                own: Err("not asked".into()),
                high: state.high,
                limits,
                lacking: Vec::new(),
            })
        })
    }
    fn set<'a>(&'a self, _: &'a Target, limits: Amounts, high: Memory, _: bool) -> Answer<'a, ()> {
        self.call("set", |state| {
            let high = limits.memory.map(|_| high).filter(|_| self.fault != Fault::Keeps);
            state.set = (limits.or(state.set.0), high.or(state.set.1));
            state.file = None;
            state.reload();
            Ok(())
        })
    }
    fn drop_in<'a>(&'a self, _: &'a Target) -> Answer<'a, Option<String>> {
        self.call("drop-in", |state| Ok(state.file.clone()))
    }
    fn put_drop_in<'a>(&'a self, _: &'a Target, text: Option<String>, _: bool) -> Answer<'a, ()> {
        self.call("put", |state| {
            state.file = text;
            Ok(())
        })
    }
    fn restart<'a>(&'a self, _: &'a Target) -> Answer<'a, ()> {
        self.call("restart", |state| {
            state.up = true;
            state.reload();
            Ok(())
        })
    }
}

fn target() -> Target {
    Target { pool: None, unit: Some(Unit { name: "web.service".into(), manager: None }) }
}

fn tried(fault: Fault, apply: Apply) -> (LimitOutcome, State) {
    let sim = Sim::new(fault);
    carried_out(&sim, &LimitOrder { apply, persist: true, ..order(WANTED) })
}

/// From what holds before to this.
fn order(wanted: Amounts) -> LimitOrder {
    LimitOrder { id: 7, target: target(), wanted, previous: BEFORE, high_before: HIGH, ..LimitOrder::default() }
}

fn carried_out(sim: &Sim, order: &LimitOrder) -> (LimitOutcome, State) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without drivers");
    let outcome = runtime.block_on(super::apply(sim, order));
    (outcome, sim.state.lock().expect("no test panics while it holds this").clone())
}

#[test]
fn a_change_is_set_and_read_back() {
    let (outcome, state) = tried(Fault::None, Apply::Live);
    assert_eq!((outcome, state.limits), (LimitOutcome { id: 7, result: Ok(WANTED) }, WANTED));
    assert_eq!(state.calls, ["drop-in", "set", "read"]);
    let (outcome, state) = tried(Fault::None, Apply::Restart);
    assert_eq!((outcome.result, state.limits), (Ok(WANTED), WANTED));
    assert_eq!(state.calls, ["drop-in", "put", "restart", "read"]);
}

#[test]
fn whatever_fails_what_held_before_holds_again() {
    for apply in [Apply::Live, Apply::Restart] {
        for at in 1..=4 {
            for fault in [Fault::Refused(at), Fault::Lost(at), Fault::Differs(at)] {
                let (outcome, state) = tried(fault, apply);
                if outcome.result.is_ok() {
                    assert_eq!((state.limits, at), (WANTED, 4), "{apply:?} {fault:?}");
                    continue;
                }
                let failure = outcome.result.expect_err("just looked");
                assert_eq!(failure.restored, Ok(()), "{apply:?} {fault:?}: {}", failure.error);
                assert_eq!((state.limits, state.up), (BEFORE, true), "{apply:?} {fault:?}");
                assert_eq!(state.high, HIGH, "{apply:?} {fault:?}");
                let file = state.file.as_deref() == Some("as before");
                assert!(file || apply == Apply::Live, "it goes with a live change: {apply:?} {fault:?}");
            }
        }
    }
}

#[test]
fn a_unit_that_goes_away_meanwhile_is_said_not_to_be_restored() {
    for (apply, calls) in [(Apply::Live, 3), (Apply::Restart, 4)] {
        for at in 1..=calls {
            let (outcome, _) = tried(Fault::Gone(at), apply);
            let failure = outcome.result.expect_err("it is gone");
            assert!(failure.error.contains("not found"), "{failure:?}");
            // Gone before anything was touched, there is nothing to put back.
            assert_eq!(failure.restored.is_ok(), at == 1, "{apply:?} {at}: {failure:?}");
        }
    }
}

#[test]
fn what_was_never_changed_needs_no_putting_back() {
    let (outcome, state) = tried(Fault::Forbidden, Apply::Live);
    let failure = outcome.result.expect_err("it is forbidden");
    assert!(failure.error.contains("access denied"), "{failure:?}");
    assert_eq!((failure.restored, state.limits), (Ok(()), BEFORE));
}

#[test]
fn one_hundred_refusals_leave_one_hundred_targets_as_they_were() {
    for round in 0..100 {
        let (fault, apply) = [
            (Fault::Refused(2), Apply::Live),
            (Fault::Lost(2), Apply::Live),
            (Fault::Differs(1), Apply::Live),
            (Fault::Refused(3), Apply::Restart),
        ][round % 4];
        let (outcome, state) = tried(fault, apply);
        let failure = outcome.result.expect_err("every one fails");
        assert_eq!((failure.restored, state.limits, state.up), (Ok(()), BEFORE, true), "{fault:?}");
    }
}

#[test]
fn what_was_rounded_on_the_way_is_no_difference() {
    let wanted = Amounts { cpu: Some(Cpu(1999)), memory: Some(Memory(8191)), tasks: Some(7) };
    assert_eq!(difference(wanted, settable(wanted)), None);
    assert_eq!(difference(Amounts { cpu: None, ..wanted }, settable(wanted)), None);
    let none = Amounts { cpu: Some(NO_CPU_LIMIT), ..Amounts::default() };
    assert_eq!(difference(none, Amounts::default()), None);
    assert_eq!(difference(none, wanted).as_deref(), Some("cpu is 1990m, not unlimited"));
    assert_eq!(difference(wanted, Amounts { tasks: None, ..wanted }).as_deref(), Some("tasks is unlimited, not 7"));
}

/// What moves `MemoryHigh` is read back as any limit is, and put back where it was.
#[test]
fn memory_high_is_proved_where_it_is_moved() {
    let lift = LimitOrder { high: High::AtMax, ..order(BEFORE) };
    let (outcome, state) = carried_out(&Sim::new(Fault::None), &lift);
    assert_eq!((outcome.result, state.high, state.limits), (Ok(BEFORE), BEFORE.memory, BEFORE));
    let back = LimitOrder { high: High::Below, high_before: BEFORE.memory, ..lift.clone() };
    let lifted = Sim::with((BEFORE, BEFORE.memory), None);
    let (outcome, state) = carried_out(&lifted, &back);
    assert_eq!((outcome.result, state.high), (Ok(BEFORE), HIGH));
    let (outcome, state) = carried_out(&Sim::new(Fault::Keeps), &lift);
    let failure = outcome.result.expect_err("it is not what was set");
    assert!(failure.error.contains("MemoryHigh is ") && failure.error.contains(", not 32Gi"), "{}", failure.error);
    assert_eq!((failure.restored, state.high), (Ok(()), HIGH));
    for fault in [Fault::Refused(2), Fault::Lost(2), Fault::Refused(3)] {
        let (outcome, state) = carried_out(&Sim::new(fault), &lift);
        assert_eq!(outcome.result.map_err(|failure| failure.restored), Err(Ok(())), "{fault:?}");
        assert_eq!((state.high, state.limits), (HIGH, BEFORE), "{fault:?}");
    }
}

/// Its author says 8Gi and a drop-in of weir's 32Gi, of which 20 are used: what goes with the drop-in has to hold without it.
#[test]
fn a_live_change_takes_nothing_away_that_stood_in_the_drop_in() {
    let author = (Amounts { cpu: Some(Cpu(2000)), memory: Some(Memory(8 << 30)), tasks: Some(50) }, None);
    let held = Amounts { cpu: None, memory: Some(Memory(32 << 30)), tasks: Some(300) };
    let text = drop_in_text(&target(), held, HIGH.expect("it has one"));
    let cpu = Amounts { cpu: Some(Cpu(3000)), ..Amounts::default() };
    for kept in [held, Amounts::default()] {
        // Also of what the policy is not about any more.
        let sim = Sim::with(author, Some(text.clone()));
        let previous = Amounts { cpu: Some(Cpu(2000)), ..held };
        let (outcome, state) = carried_out(&sim, &LimitOrder { kept, previous, ..order(cpu) });
        assert_eq!(outcome.result, Ok(cpu.or(held)), "{kept:?}");
        assert_eq!((state.limits, state.high, state.file), (cpu.or(held), HIGH, None), "{kept:?}");
    }
}

#[test]
fn a_restart_takes_nothing_away_that_holds() {
    let author = (Amounts { cpu: Some(Cpu(2000)), memory: Some(Memory(8 << 30)), tasks: Some(50) }, None);
    let before = drop_in_text(&target(), Amounts { tasks: Some(300), ..Amounts::default() }, NO_MEMORY_LIMIT);
    let sim = Sim::with(author, Some(before));
    let cpu = Amounts { cpu: Some(Cpu(3000)), ..Amounts::default() };
    let previous = Amounts { tasks: Some(300), ..author.0 };
    let kept = Amounts { memory: previous.memory, ..Amounts::default() };
    let all = LimitOrder { kept, previous, high_before: None, apply: Apply::Restart, ..order(cpu) };
    let (outcome, state) = carried_out(&sim, &all);
    assert_eq!((outcome.result, state.high), (Ok(cpu.or(previous)), None));
}

/// Its author lets it use all that `MemoryMax=` allows before it is held back: so it is after a change that failed.
#[test]
fn memory_high_is_put_back_where_its_author_had_it() {
    for high in [None, Some(Memory(31 << 30))] {
        for fault in [Fault::Lost(2), Fault::Refused(3), Fault::Differs(1)] {
            let sim = Sim { fault, ..Sim::with((BEFORE, high), None) };
            let (outcome, state) = carried_out(&sim, &LimitOrder { high_before: high, ..order(WANTED) });
            assert_eq!(outcome.result.map_err(|failure| failure.restored), Err(Ok(())), "{fault:?}");
            assert_eq!((state.limits, state.high), (BEFORE, high), "{fault:?}");
        }
        let sim = Sim::with((BEFORE, high), None);
        let (outcome, state) = carried_out(&sim, &LimitOrder { high_before: high, ..order(WANTED) });
        assert_eq!((outcome.result, state.high), (Ok(WANTED), WANTED.memory.map(|max| memory_high(max, High::Below))));
    }
}
