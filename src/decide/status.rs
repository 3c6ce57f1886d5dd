//! What to say: statuses, conditions and happenings, from what is seen and planned.
//!
//! A condition takes its transition time from the previous status unless its truth changed, so equal situations give equal
//! statuses and nothing is written twice. The stall and crash-loop lines are told when they begin, not each turn.

use std::collections::BTreeMap;

use super::anew;
use super::demand::Demand;
use super::dispatch::line::upcoming;
use super::restart;
use super::roster;
use super::scaling_status::{self, Said};
use super::workers::{self, Assignment};
use crate::model::plan::{Ending, Happening, Observation, Plan, PoolFacts, Record, Slot};
use crate::model::reading::{counted, times};
use crate::model::status::{Condition, EventType, PoolStatus, QueueStatus, Scaled, Truth};
use crate::model::time::{Now, Span};
use crate::model::worker::{Exit, ExitReason, SlotState};

/// Why a pool that is held is not accepted, in a word.
const HELD: &str = "Held";

/// The status of a pool.
pub fn pool(observation: &Observation<'_>, plan: &Plan, (demand, names): (&Demand, &Assignment), now: Now) -> PoolStatus {
    let (facts, previous) = (observation.pool, observation.previous);
    let count = |test: &dyn Fn(&Slot) -> bool| {
        u32::try_from(observation.slots.values().filter(|slot| test(slot)).count()).unwrap_or(u32::MAX)
    };
    // The end of the daemon changes no pool's size: the next one goes on from it.
    let ends = facts.ending == Some(Ending::Shutdown);
    let wanted = if ends { previous.desired_replicas } else { demand.wanted };
    let scaled = previous.desired_replicas != wanted;
    let mut status = PoolStatus {
        observed_generation: facts.generation,
        replicas: count(&|slot| !matches!(slot.seen.state, SlotState::Vacant | SlotState::Unknown)),
        ready_replicas: count(&|slot| workers::is_ready(facts, slot)),
        busy_replicas: count(&roster::busy),
        desired_replicas: wanted,
        updated_replicas: count(&|slot| alive(slot) && !workers::is_outdated(facts, slot)),
        terminating_replicas: count(&ending),
        stuck_replicas: count(&|slot| matches!(&slot.seen.state, SlotState::Running(run) if workers::stuck(run, now))),
        selector: format!("weir.dev/pool={}", facts.name),
        template_hash: facts.template.clone(),
        waiting_on: plan.waiting_on.clone(),
        last_scale_time: if scaled { Some(now.wall) } else { previous.last_scale_time },
        last_scale: previous.last_scale.clone(),
        source: facts.source.clone(),
        conditions: Vec::new(),
        backlog: if ends { previous.backlog.clone() } else { scaling_status::backlog(demand) },
        queue: None,
        scaling: if ends { previous.scaling.clone() } else { scaling_status::explanation(demand, names, previous) },
    };
    line(observation, plan, (names, &mut status), now);
    if scaled {
        status.last_scale = Some(Scaled { from: previous.desired_replicas, to: wanted, reason: demand.reason.clone() });
    }
    status.conditions = conditions(observation, (&status, plan.fresh.as_deref()), (demand, names), now);
    status
}

/// The status of a pool that is held: of what was wanted of it what was known last.
pub fn held(observation: &Observation<'_>, plan: &Plan, now: Now) -> PoolStatus {
    let previous = observation.previous;
    let demand = Demand { wanted: previous.desired_replicas, ..Demand::default() };
    let status = pool(observation, plan, (&demand, &Assignment::default()), now);
    PoolStatus {
        // Nobody knows of which template they are to be.
        updated_replicas: status.replicas.saturating_sub(status.terminating_replicas),
        template_hash: previous.template_hash.clone(),
        backlog: previous.backlog.clone(),
        scaling: previous.scaling.clone(),
        ..status
    }
}

/// What stands in the queue. Where each run is for one task, a slot that waits for one is a worker that is ready.
fn line(observation: &Observation<'_>, plan: &Plan, (names, status): (&Assignment, &mut PoolStatus), now: Now) {
    let facts = observation.pool;
    let Some(queue) = &facts.spec.queue else { return };
    if facts.per_task() {
        let waits = |worker: &&String| {
            let slot = observation.slots.get(*worker);
            workers::may_start(facts, slot, now) == workers::MayStart::Now
        };
        let idle = u32::try_from(names.fill.iter().filter(waits).count()).unwrap_or(u32::MAX);
        let alive = status.replicas.saturating_sub(status.terminating_replicas);
        (status.ready_replicas, status.replicas) = (alive + idle, status.replicas + idle);
        // What waits for a task will be of the present template; whoever is at one of an older template is not.
        status.updated_replicas += idle;
    }
    let counts = observation.queues.get(&facts.name).cloned().unwrap_or_default();
    status.queue = Some(QueueStatus {
        ready: counts.ready,
        delayed: counts.delayed,
        blocked: counts.blocked,
        held: counts.held,
        running: counts.leased,
        free_slots: free(observation, status, now),
        capacity: queue.capacity,
        paused_until: counts.paused_until,
        paused_why: counts.paused_why,
        schedules: upcoming(observation, queue, plan),
        stats: observation.line.tally.stats(),
    });
}

/// Tasks that could be begun, none while the queue rests: what a scaled pool can grow by counts too, and a worker that waits in back-off does not.
fn free(observation: &Observation<'_>, status: &PoolStatus, now: Now) -> u32 {
    let counts = observation.queues.get(&observation.pool.name);
    if observation.pool.ending.is_some() || counts.is_some_and(|counts| counts.paused(now.wall)) {
        return 0;
    }
    if status.scaling.is_none() {
        return status.ready_replicas.saturating_sub(status.busy_replicas);
    }
    let waits = |slot: &&Slot| slot.seen.state == SlotState::Vacant && slot.record.next_start.is_some_and(|at| at > now.mono);
    let failing = u32::try_from(observation.slots.values().filter(waits).count()).unwrap_or(u32::MAX);
    status.slots().saturating_sub(status.busy_replicas).saturating_sub(failing).saturating_sub(status.stuck_replicas)
}

fn alive(slot: &Slot) -> bool {
    matches!(slot.seen.state, SlotState::Starting { .. } | SlotState::Running(_)) && !ending(slot)
}

pub(super) fn ending(slot: &Slot) -> bool {
    matches!(&slot.seen.state, SlotState::Running(run) if run.stop.is_some() || run.clearing)
}

fn conditions(
    observation: &Observation<'_>,
    (status, fresh): (&PoolStatus, Option<&str>),
    (demand, names): (&Demand, &Assignment),
    now: Now,
) -> Vec<Condition> {
    let facts = observation.pool;
    let looping: Vec<(&String, &Record)> = observation
        .slots
        .iter()
        .map(|(name, slot)| (name, &slot.record))
        .filter(|(_, record)| restart::crash_looping(record))
        .collect();
    let ended = Ended::of(observation, names);
    let failing = failing(observation, now);
    let mut all = vec![accepted(facts), ready(status, ended), progressing(status, fresh, ended.done), crash_loop(&looping)];
    // Whoever looks at the pool alone is to see why it is not ready, from the first failure on.
    let unsettled = all.iter_mut().filter(|said| matches!(said.2, "WorkersNotReady" | "Converging"));
    unsettled.for_each(|said| said.3.extend(failing.iter().map(|why| format!("; {why}"))));
    all.extend(scaling_status::conditions(observation.pool, demand));
    all.extend(scaling_status::pressed(observation.squeeze));
    if facts.ending == Some(Ending::Removed) {
        all.push(("Terminating", Truth::True, "SpecRemoved", format!("{} workers left to end", status.replicas)));
    }
    if let Some(why) = &facts.unreadable {
        all.push((
            "SpecsReadable",
            Truth::False,
            "SpecSourceUnavailable",
            format!("the last accepted version stays in force: {why}"),
        ));
    }
    if facts.spec.template.resources.is_some() {
        all.push(match &facts.unenforced {
            None => ("LimitsEnforced", Truth::True, "Enforced", String::new()),
            Some(why) => ("LimitsEnforced", Truth::False, "NotEnforceable", why.clone()),
        });
    }
    if let Some(why) = &facts.degraded {
        let message = format!("changes of the specs may be seen up to 10 s late: {why}");
        all.push(("WatchDegraded", Truth::True, "Polling", message));
    }
    if facts.vanished && facts.prune_blocked.is_none() {
        let message = "its document is gone: its workers are stopped after the prune grace, unless it comes back";
        all.push(("PendingDelete", Truth::True, "SpecRemoved", message.into()));
    }
    if let Some(token) = &facts.prune_blocked {
        let message =
            format!("too much vanished at once, so nothing is removed: put the files back, or run `ctl prune --confirm {token}`");
        all.push(("PruneBlocked", Truth::True, "TooManyVanished", message));
    }
    all.into_iter().map(|condition| dated(condition, facts, &observation.previous.conditions, now)).collect()
}

/// Workers that ended for good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ended {
    /// Nobody is waited for in their place.
    done: u32,
    /// They failed, in a pool with as many workers as there is work for: nobody has done theirs.
    failed: u32,
}

impl Ended {
    fn of(observation: &Observation<'_>, names: &Assignment) -> Ended {
        let scaled = observation.pool.spec.scale.is_some();
        let mut ended = Ended::default();
        for (worker, slot) in observation.slots {
            match anew::ended(observation, slot) {
                Some(exit) if scaled && exit.reason != ExitReason::Completed => ended.failed += 1,
                Some(_) if !names.anew.contains(worker) => ended.done += 1,
                Some(_) | None => {}
            }
        }
        ended
    }
}

/// The first worker that waits for its next start because it failed, with how.
fn failing(observation: &Observation<'_>, now: Now) -> Option<String> {
    let waits = |slot: &Slot| {
        let vacant = slot.seen.state == SlotState::Vacant && anew::ended(observation, slot).is_none();
        vacant && slot.record.next_start.is_some_and(|at| at > now.mono)
    };
    let (worker, slot) = observation.slots.iter().find(|(_, slot)| waits(slot))?;
    let last = slot.record.last_exit.as_ref().map(exit_words)?;
    Some(format!("{worker} waits before it is started again, last: {last}"))
}

fn dated((kind, truth, reason, message): Said, facts: &PoolFacts, previous: &[Condition], now: Now) -> Condition {
    let before = previous.iter().find(|condition| condition.kind == kind && condition.status == truth);
    Condition {
        kind: kind.into(),
        status: truth,
        reason: reason.into(),
        message,
        last_transition_time: before.map_or(now.wall, |condition| condition.last_transition_time),
        observed_generation: facts.generation,
    }
}

fn accepted(facts: &PoolFacts) -> Said {
    match (&facts.held, &facts.refused) {
        (Some(why), refused) if facts.is_held() => {
            let refused = refused.as_ref().map_or_else(String::new, |refused| format!("; {refused}"));
            (
                "Accepted",
                Truth::False,
                HELD,
                format!("its workers are left as they are, none is started or stopped: {why}{refused}"),
            )
        }
        (_, None) => ("Accepted", Truth::True, "Valid", String::new()),
        (_, Some(why)) => ("Accepted", Truth::False, "Invalid", format!("the last good version stays in force: {why}")),
    }
}

fn ready(status: &PoolStatus, Ended { done, failed }: Ended) -> Said {
    let (have, want) = (status.ready_replicas, status.desired_replicas);
    let ended = if done == 0 { String::new() } else { format!(", {done} ended for good") };
    let failed = if failed == 0 { String::new() } else { format!(", {failed} failed") };
    let message = format!("{have} of {want} workers are ready{ended}{failed}");
    if have + done >= want {
        ("Ready", Truth::True, "WorkersReady", message)
    } else {
        ("Ready", Truth::False, "WorkersNotReady", message)
    }
}

fn progressing(status: &PoolStatus, fresh: Option<&str>, done: u32) -> Said {
    let outdated = status.replicas.saturating_sub(status.terminating_replicas).saturating_sub(status.updated_replicas);
    if let Some(fresh) = fresh {
        ("Progressing", Truth::True, "MinReady", format!("waiting for {fresh}"))
    } else if let Some(first) = status.waiting_on.first() {
        ("Progressing", Truth::True, "Waiting", format!("waiting for {first}"))
    } else if outdated > 0 {
        ("Progressing", Truth::True, "Updating", format!("{outdated} workers run an older template"))
    } else if status.ready_replicas + done != status.desired_replicas || status.terminating_replicas > 0 {
        let message = format!(
            "{} of {} workers are ready, {} are ending",
            status.ready_replicas, status.desired_replicas, status.terminating_replicas
        );
        ("Progressing", Truth::True, "Converging", message)
    } else {
        ("Progressing", Truth::False, "Settled", String::new())
    }
}

fn crash_loop(looping: &[(&String, &Record)]) -> Said {
    let Some((worker, record)) = looping.first() else { return ("CrashLoop", Truth::False, "NoFailures", String::new()) };
    let last = record.last_exit.as_ref().map(exit_words).unwrap_or_default();
    let all = counted(looping.len() as u64, "worker");
    let row = if record.failures == 1 { "once".to_owned() } else { format!("{} in a row", times(record.failures)) };
    let message = format!("{all} in a crash loop; {worker} failed {row}, last: {last}");
    ("CrashLoop", Truth::True, "BackOff", message)
}

/// How a run ended, in words: `exit code 7 after 3s`.
pub fn exit_words(exit: &Exit) -> String {
    let after = Span(exit.ran_ms);
    let what = match (exit.reason, exit.code, exit.signal) {
        (ExitReason::StartError, ..) => {
            return format!("could not start: {}", exit.message.as_deref().unwrap_or("unknown cause"));
        }
        (ExitReason::Rebooted, ..) => return "the machine was started anew".to_owned(),
        (ExitReason::Unknown, ..) => "an unknown end: its shim died too".to_owned(),
        (ExitReason::OOMKilled, ..) => "killed for want of memory".to_owned(),
        (ExitReason::Completed | ExitReason::Error | ExitReason::Signaled, Some(code), _) => format!("exit code {code}"),
        (ExitReason::Completed | ExitReason::Error | ExitReason::Signaled, None, Some(signal)) => format!("signal {signal}"),
        (ExitReason::Completed | ExitReason::Error | ExitReason::Signaled, None, None) => "ended".to_owned(),
    };
    let why = exit.message.as_ref().map_or_else(String::new, |why| format!(" ({why})"));
    format!("{what} after {after}{why}")
}

/// A happening of one run.
pub fn tell(reason: &'static str, severity: EventType, (worker, incarnation): (&str, u64), note: String) -> Happening {
    Happening { severity, reason, worker: Some(worker.into()), incarnation: Some(incarnation), note }
}

/// What to tell of an end.
pub fn tell_exit(worker: &str, exit: &Exit, condemned: Option<&str>, record: &Record, now: Now) -> Happening {
    let mut note = format!("{worker} ended: {}", exit_words(exit));
    if let Some(reason) = condemned {
        note = format!("{note} ({reason})");
    }
    if let Some(at) = record.next_start.filter(|at| *at > now.mono) {
        note = format!("{note}; next start in {}", Span(at.since(now.mono).0 / 100 * 100));
    }
    let calm = (exit.asked && condemned.is_none()) || exit.reason == ExitReason::Completed;
    tell("Exited", if calm { EventType::Normal } else { EventType::Warning }, (worker, exit.incarnation), note)
}

/// What to tell of the starts of one turn: one line, however many.
pub fn tell_starts(started: &[&str], slots: &BTreeMap<String, Slot>) -> Option<Happening> {
    let [first, .., last] = started else {
        let only = started.first()?;
        let again = slots.get(*only).is_some_and(|slot| slot.record.incarnation > 0);
        let note = format!("{} {only}", if again { "starting again" } else { "starting" });
        return Some(Happening {
            severity: EventType::Normal,
            reason: "Starting",
            worker: Some((*only).into()),
            incarnation: None,
            note,
        });
    };
    let note = if started.len() <= 4 {
        format!("starting {}", started.join(", "))
    } else {
        format!("starting {} workers: {first} … {last}", started.len())
    };
    Some(Happening { severity: EventType::Normal, reason: "Starting", worker: None, incarnation: None, note })
}

/// What to tell of the pool's own changes: its size, and conditions that a person should know of.
pub fn changes(observation: &Observation<'_>, plan: &Plan) -> Vec<Happening> {
    let (before, after) = (observation.previous, &plan.status);
    let mut told = Vec::new();
    let mut tell = |severity, reason, note| told.push(Happening { severity, reason, worker: None, incarnation: None, note });
    if before.desired_replicas != after.desired_replicas {
        let reason = after.last_scale.as_ref().map(|scaled| scaled.reason.clone()).unwrap_or_default();
        tell(EventType::Normal, "Scaled", format!("{} → {} workers: {reason}", before.desired_replicas, after.desired_replicas));
    }
    for (severity, reason, note) in scaling_status::changes(before, after) {
        tell(severity, reason, note);
    }
    for condition in &after.conditions {
        let truth = before.conditions.iter().find(|old| old.kind == condition.kind).map(|old| old.status);
        match (condition.kind.as_str(), condition.status) {
            // That a prune is blocked is told once, of all pools together, when the specs are judged.
            ("CrashLoop", Truth::True) if truth != Some(Truth::True) => {
                tell(EventType::Warning, "CrashLoop", condition.message.clone());
            }
            ("LimitsEnforced", Truth::False) if truth != Some(Truth::False) => {
                tell(EventType::Warning, "LimitsNotEnforced", condition.message.clone());
            }
            ("Accepted", Truth::False) if condition.reason == HELD && !was_held(before) => {
                tell(EventType::Warning, "Refused", condition.message.clone());
            }
            ("Ready", Truth::True) if truth == Some(Truth::False) => tell(EventType::Normal, "Ready", condition.message.clone()),
            ("ScalingLimited", Truth::True) if condition.reason == "TooManyReplicas" && !was_limited(before) => {
                tell(EventType::Warning, "ScalingLimited", condition.message.clone());
            }
            (_, Truth::True | Truth::False | Truth::Unknown) => {}
        }
    }
    told
}

fn was_held(before: &PoolStatus) -> bool {
    before.conditions.iter().any(|condition| condition.kind == "Accepted" && condition.reason == HELD)
}

/// More was wanted than is allowed before, too. At the lower limit every calm pool is.
fn was_limited(before: &PoolStatus) -> bool {
    let limited = before.conditions.iter().find(|condition| condition.kind == "ScalingLimited");
    limited.is_some_and(|condition| condition.status == Truth::True && condition.reason == "TooManyReplicas")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::status::ScheduleStatus;
    use crate::model::template::RestartPolicy;
    use crate::model::time::{Moment, Wall};
    use crate::model::worker::{Run, Seen};

    const NOW: Now = Now { mono: Moment(500_000), wall: Wall(1_000_000) };

    fn facts() -> PoolFacts {
        PoolFacts { ending: None, ..PoolFacts::orphan("a") }
    }

    #[test]
    fn what_a_pool_can_grow_by_is_free() {
        use crate::model::scaling::{Clamp, Explanation};
        let pool = |current, max, clamps: &[(&str, u32, u32)]| {
            let clamps =
                clamps.iter().map(|(name, from, to)| Clamp { name: (*name).into(), from: *from, to: *to, ..Clamp::default() });
            let scaling = Some(Explanation { current, max, clamps: clamps.collect(), ..Explanation::default() });
            PoolStatus { desired_replicas: current, scaling, ..PoolStatus::default() }
        };
        assert_eq!(pool(0, 3, &[]).slots(), 3, "none runs, and three can");
        assert_eq!(pool(1, 3, &[("cooldown", 3, 1)]).slots(), 3, "that passes by itself");
        assert_eq!(pool(1, 3, &[("headroom", 3, 1)]).slots(), 1);
        assert_eq!(pool(1, 3, &[("headroom", 1, 1)]).slots(), 3);
        assert_eq!(pool(1, 3, &[("paused", 1, 1)]).slots(), 1);
        assert_eq!(PoolStatus { desired_replicas: 2, ..PoolStatus::default() }.slots(), 2, "a fixed size");
    }

    #[test]
    fn whoever_looks_at_the_pool_alone_sees_from_the_first_failure_on_why_it_is_not_ready() {
        let mut facts = facts();
        facts.spec.replicas = Some(1);
        let exit = Exit { reason: ExitReason::StartError, message: Some("exec \"slep\": none".into()), ..Exit::default() };
        let next_start = Some(NOW.mono.after(Span::secs(300)));
        let record = Record { failures: 1, last_exit: Some(exit), next_start, ..Record::default() };
        let slot = Slot { seen: Seen { state: SlotState::Vacant, ..Seen::default() }, record, ..Slot::default() };
        let slots = BTreeMap::from([("a-0".to_owned(), slot)]);
        let (line, queues) = Default::default();
        let status = crate::decide::seen((&facts, &slots), (&line, &queues), |seen| crate::decide::pool(seen, NOW)).status;
        let said = |kind: &str| status.conditions.iter().find(|condition| condition.kind == kind).cloned().expect(kind);
        for kind in ["Ready", "Progressing"] {
            let message = said(kind).message;
            assert!(
                message.ends_with("; a-0 waits before it is started again, last: could not start: exec \"slep\": none"),
                "{message}"
            );
        }
        let looping = said("CrashLoop");
        assert_eq!(looping.status, Truth::True, "it will not come by itself");
        assert_eq!(looping.message, "1 worker in a crash loop; a-0 failed once, last: could not start: exec \"slep\": none");
    }

    #[test]
    fn a_queue_that_rests_has_no_free_slot_and_tells_when_its_schedules_come() {
        use crate::model::line::{Fired, Line};
        use crate::model::queue_work::QueueCounts;
        let mut facts = facts();
        facts.spec.replicas = Some(2);
        let schedules = serde_json::json!([{"name": "a", "every": "1m"}, {"name": "b", "every": "1h", "count": 2}]);
        facts.spec.queue = serde_json::from_value(serde_json::json!({"schedules": schedules})).expect("a queue");
        let fired = |count| Fired { last: NOW.wall, count, beat: String::new() };
        let line = Line { fired: [("a".into(), fired(1)), ("b".into(), fired(2))].into(), ..Line::default() };
        let slots = BTreeMap::new();
        let seen = |paused_until| {
            let queues = BTreeMap::from([("a".to_owned(), QueueCounts { paused_until, ..QueueCounts::default() })]);
            let plan = crate::decide::seen((&facts, &slots), (&line, &queues), |seen| crate::decide::pool(seen, NOW));
            plan.status.queue.expect("a queue")
        };
        let free = [None, Some(NOW.wall), Some(Wall(NOW.wall.0 + 1))].map(|until| seen(until).free_slots);
        assert_eq!(free, [2, 2, 0]);
        let of = |name: &str, next, count| ScheduleStatus { name: name.into(), next, count };
        assert_eq!(seen(None).schedules, [of("a", Some(Wall(NOW.wall.0 + 60_000)), 1), of("b", None, 2)]);
    }

    #[test]
    fn in_a_pool_of_processes_whoever_is_at_a_task_with_an_older_template_is_not_updated() {
        let mut facts = facts();
        (facts.spec.replicas, facts.spec.queue, facts.template) = (Some(3), Some(Default::default()), "new".into());
        let run = |template: &str| SlotState::Running(Run { incarnation: 1, template: template.into(), ..Run::default() });
        let slot = |template| Slot { seen: Seen { state: run(template), ..Seen::default() }, ..Slot::default() };
        let slots = BTreeMap::from([("a-0".to_owned(), slot("old")), ("a-1".to_owned(), slot("new"))]);
        let (line, queues) = Default::default();
        let status = crate::decide::seen((&facts, &slots), (&line, &queues), |seen| crate::decide::pool(seen, NOW)).status;
        assert_eq!((status.replicas, status.updated_replicas), (3, 2), "the third waits for a task");
    }

    #[test]
    fn of_what_is_not_started_again_no_start_is_told() {
        let mut facts = facts();
        let exit = |reason| Exit { incarnation: 1, reason, ran_ms: 10, finished: NOW.wall, ..Exit::default() };
        let told = |facts: &PoolFacts, reason| {
            let record = Record { incarnation: 1, failures: 1, ..Record::default() };
            let slot = Slot { seen: Seen { exit: Some(exit(reason)), ..Seen::default() }, record, ..Slot::default() };
            let (record, happening) = crate::decide::exit(facts, "a-0", &slot, NOW).expect("an end");
            (record.next_start.is_some(), happening.expect("told").note.contains("next start"))
        };
        assert_eq!(told(&facts, ExitReason::Completed), (true, true));
        facts.spec.template.restart_policy = RestartPolicy::OnFailure;
        assert_eq!(told(&facts, ExitReason::Completed), (false, false));
        assert_eq!(told(&facts, ExitReason::Error), (true, true));
        facts.spec.template.restart_policy = RestartPolicy::Never;
        assert_eq!(told(&facts, ExitReason::Error), (false, false));
        let ended = ready(&PoolStatus { desired_replicas: 1, ..PoolStatus::default() }, Ended { done: 1, failed: 0 });
        assert_eq!((ended.1, ended.3.as_str()), (Truth::True, "0 of 1 workers are ready, 1 ended for good"));
    }
}
