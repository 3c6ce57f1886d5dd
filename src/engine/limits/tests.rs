//! Every step of a change fails in turn: what held before holds again, or the failure says that it does not. The units are
//! simulated call by call; whether a real manager behaves so is for the tests in the machine of their own.

use std::sync::Mutex;

use super::*;
use crate::model::host::Pressures;
use crate::model::limits::Answer;
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
        let file = Some("as before".to_owned());
        Sim { fault, state: Mutex::new(State { limits: BEFORE, high: HIGH, file, up: true, calls: Vec::new(), gone: false }) }
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

fn parse(file: Option<&str>) -> Amounts {
    match file {
        Some(text) if *text == drop_in_text(&target(), WANTED) => WANTED,
        Some(_) | None => BEFORE,
    }
}

impl Units for Sim {
    fn unable(&self) -> Option<String> {
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
                high: state.high,
                limits,
            })
        })
    }
    fn set<'a>(&'a self, _: &'a Target, limits: Amounts, high: High, _: bool) -> Answer<'a, ()> {
        self.call("set", |state| {
            state.limits.cpu = limits.cpu.filter(|cpu| *cpu != NO_CPU_LIMIT);
            state.limits.memory = limits.memory.filter(|memory| *memory != NO_MEMORY_LIMIT);
            if self.fault != Fault::Keeps {
                state.high = limits.memory.filter(|memory| *memory != NO_MEMORY_LIMIT).map(|max| memory_high(max, high));
            }
            state.limits.tasks = limits.tasks.filter(|tasks| *tasks != NO_TASKS_LIMIT);
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
            (state.up, state.limits) = (true, parse(state.file.as_deref()));
            Ok(())
        })
    }
}

fn target() -> Target {
    Target { pool: None, unit: Some(Unit { name: "web.service".into(), manager: None }) }
}

fn tried(fault: Fault, apply: Apply) -> (LimitOutcome, State) {
    let sim = Sim::new(fault);
    let order =
        LimitOrder { id: 7, target: target(), wanted: WANTED, previous: BEFORE, apply, persist: true, ..LimitOrder::default() };
    carried_out(&sim, &order)
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
    assert_eq!(state.calls, ["set", "read"]);
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
                    assert_eq!((state.limits, at > 2 || fault == Fault::Lost(at)), (WANTED, true), "{apply:?} {fault:?}");
                    continue;
                }
                let failure = outcome.result.expect_err("just looked");
                assert_eq!(failure.restored, Ok(()), "{apply:?} {fault:?}: {}", failure.error);
                assert_eq!((state.limits, state.up), (BEFORE, true), "{apply:?} {fault:?}");
                assert_eq!(state.file.as_deref(), Some("as before"), "{apply:?} {fault:?}");
            }
        }
    }
}

#[test]
fn a_unit_that_goes_away_meanwhile_is_said_not_to_be_restored() {
    for (apply, calls) in [(Apply::Live, 2), (Apply::Restart, 4)] {
        for at in 1..=calls {
            let (outcome, _) = tried(Fault::Gone(at), apply);
            let failure = outcome.result.expect_err("it is gone");
            assert!(failure.error.contains("not found"), "{failure:?}");
            // Gone before anything was touched, there is nothing to put back.
            let untouched = apply == Apply::Restart && at == 1;
            assert_eq!(failure.restored.is_ok(), untouched, "{apply:?} {at}: {failure:?}");
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
            (Fault::Refused(1), Apply::Live),
            (Fault::Lost(1), Apply::Live),
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
    let lift =
        LimitOrder { id: 7, target: target(), wanted: BEFORE, previous: BEFORE, high: High::AtMax, ..LimitOrder::default() };
    let (outcome, state) = carried_out(&Sim::new(Fault::None), &lift);
    assert_eq!((outcome.result, state.high, state.limits), (Ok(BEFORE), BEFORE.memory, BEFORE));
    let back = LimitOrder { high: High::Below, high_before: High::AtMax, ..lift.clone() };
    let lifted = Sim::new(Fault::None);
    lifted.state.lock().expect("nobody else has it").high = BEFORE.memory;
    let (outcome, state) = carried_out(&lifted, &back);
    assert_eq!((outcome.result, state.high), (Ok(BEFORE), HIGH));
    let (outcome, state) = carried_out(&Sim::new(Fault::Keeps), &lift);
    let failure = outcome.result.expect_err("it is not what was set");
    assert!(failure.error.contains("MemoryHigh is ") && failure.error.contains(", not 32Gi"), "{}", failure.error);
    assert_eq!((failure.restored, state.high), (Ok(()), HIGH));
    for fault in [Fault::Refused(1), Fault::Lost(1), Fault::Refused(2)] {
        let (outcome, state) = carried_out(&Sim::new(fault), &lift);
        assert_eq!(outcome.result.map_err(|failure| failure.restored), Err(Ok(())), "{fault:?}");
        assert_eq!((state.high, state.limits), (HIGH, BEFORE), "{fault:?}");
    }
}
