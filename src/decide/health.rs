//! Probes, readiness, watchdog and stall: what a running worker's signs say.
//!
//! A probe is sent when due and never twice at once. Until the startup probe has passed the others rest. A stall needs two
//! agreeing signs: no output for the time, and no CPU used (or, where it pets a watchdog, no heartbeat) in it.

use std::sync::LazyLock;

use crate::model::plan::{Action, Health, PoolFacts, ProbeKind, ProbeState, Slot};
use crate::model::reading::times;
use crate::model::template::{Probe, StallAction, Template};
use crate::model::time::{Moment, Now, Span};
use crate::model::worker::{Run, SlotState};

/// How long to wait for fresh counters before asking again.
const REFRESH_PATIENCE: Span = Span::secs(2);
/// How often a worker that may stall is looked at while it is silent for as long as it may be.
const LOOKS: u64 = 4;
/// How often the memory of a worker is looked at, where it is bounded.
const LOOK_EVERY: Span = Span::secs(30);

/// What the signs say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Check {
    /// Probes to send out, and counters to ask for.
    pub actions: Vec<Action>,
    /// When to look again.
    pub wake: Option<Moment>,
    /// Why it must be restarted.
    pub condemned: Option<String>,
    /// What to tell people without doing anything.
    pub report: Option<String>,
}

impl Check {
    fn wake(&mut self, at: Moment) {
        self.wake = Some(self.wake.map_or(at, |earlier| earlier.min(at)));
    }
}

/// The probe of a kind, if the template has one.
pub fn probe(template: &Template, kind: ProbeKind) -> Option<&Probe> {
    match kind {
        ProbeKind::Startup => template.startup_probe.as_ref(),
        ProbeKind::Readiness => template.readiness_probe.as_ref(),
        ProbeKind::Liveness => template.liveness_probe.as_ref(),
    }
}

/// The template that the present run is ended by: its own, where it is known.
pub fn ended_by<'a>(pool: &'a PoolFacts, slot: &'a Slot) -> &'a PoolFacts {
    match (&slot.seen.state, &slot.made_from) {
        (SlotState::Running(run), Some(own)) if own.template == run.template => own,
        (_, _) => pool,
    }
}

/// What tells of a run from a template that nobody knows any more: it has no probes.
static UNKNOWN: LazyLock<Template> = LazyLock::new(Template::default);

/// The template that the present run is judged by: its own. An edit must not make every worker unready at once, or condemn those
/// that wait for their turn, by probes that they never had.
pub fn template<'a>(pool: &'a PoolFacts, slot: &'a Slot) -> &'a Template {
    match &slot.seen.state {
        SlotState::Running(run) if run.template != pool.template => {
            let own = slot.made_from.as_ref().filter(|facts| facts.template == run.template);
            own.map_or(&UNKNOWN, |facts| &facts.spec.template)
        }
        SlotState::Running(_) | SlotState::Starting { .. } | SlotState::Unknown | SlotState::Vacant | SlotState::Lost { .. } => {
            &pool.spec.template
        }
    }
}

fn state(run: &Run, health: &Health, kind: ProbeKind) -> ProbeState {
    if health.incarnation == run.incarnation {
        health.probes.get(&kind).cloned().unwrap_or_default()
    } else {
        ProbeState::default()
    }
}

fn passing(run: &Run, health: &Health, kind: ProbeKind, probe: &Probe) -> bool {
    if probe.notify.is_some() { run.ready } else { state(run, health, kind).passing }
}

/// The startup probe has passed, or there is none.
pub fn started(run: &Run, health: &Health, template: &Template) -> bool {
    template.startup_probe.as_ref().is_none_or(|probe| passing(run, health, ProbeKind::Startup, probe))
}

/// Ready to work.
pub fn ready(run: &Run, health: &Health, template: &Template) -> bool {
    let ready = template.readiness_probe.as_ref().is_none_or(|probe| passing(run, health, ProbeKind::Readiness, probe));
    started(run, health, template) && ready
}

/// A daemon before this one started the present run, and it has not been heard since how it is.
pub fn taken_over(slot: &Slot) -> bool {
    matches!(&slot.seen.state, SlotState::Running(run) if run.incarnation != slot.known_run)
}

/// A daemon before this one started it, and its probes have not told this one yet how it is: each of them has neither passed nor
/// failed as often as it may. One answer of one of them is not enough: readiness is asked when the startup probe has passed.
pub fn unheard(pool: &PoolFacts, slot: &Slot) -> bool {
    let template = template(pool, slot);
    let unheard = |kind: ProbeKind| {
        let state = slot.health.probes.get(&kind);
        // Where it takes several good answers to pass, one that goes to and fro is not waited for.
        let enough = |probe: &Probe| if probe.success_threshold > 1 { 1 } else { probe.failure_threshold };
        let told = |probe: &Probe| state.is_some_and(|state| state.passing || state.failures >= enough(probe));
        probe(template, kind).is_some_and(|probe| probe.notify.is_none() && !told(probe))
    };
    taken_over(slot) && (unheard(ProbeKind::Startup) || unheard(ProbeKind::Readiness))
}

/// What the signs of a running worker say now.
pub fn check(pool: &PoolFacts, worker: &str, (slot, run): (&Slot, &Run), now: Now) -> Check {
    let mut check = Check::default();
    let (health, template) = (&slot.health, template(pool, slot));
    let kinds: &[ProbeKind] =
        if started(run, health, template) { &[ProbeKind::Readiness, ProbeKind::Liveness] } else { &[ProbeKind::Startup] };
    for kind in kinds {
        if let Some(probe) = probe(template, *kind) {
            one(&mut check, worker, (slot, run), (*kind, probe, &state(run, health, *kind)), now);
        }
    }
    // Whoever waits to be given a task gives no sign of life, and is well.
    if slot.tasks > 0 || !pool.takes_tasks() {
        stall(&mut check, worker, (slot, run), template, now);
    }
    grown(&mut check, worker, run, template, now);
    check
}

fn one(
    check: &mut Check,
    worker: &str,
    (slot, run): (&Slot, &Run),
    (kind, probe, state): (ProbeKind, &Probe, &ProbeState),
    now: Now,
) {
    if probe.notify.is_some() {
        return notify(check, (slot, run), (kind, probe), now);
    }
    if state.failures >= probe.failure_threshold && kind != ProbeKind::Readiness {
        check.condemned = Some(format!("{} failed {}: {}", kind.words(), times(state.failures), state.message));
        return;
    }
    // An answer that is overdue by this much was lost with whoever should have brought it.
    let lost = probe.timeout.0 + 5000;
    let out = state.asked.filter(|asked| state.answered.is_none_or(|answered| answered < *asked));
    let due = match (out, state.answered) {
        (Some(asked), _) => asked.after(Span(lost)),
        (None, Some(answered)) => answered.after(probe.period),
        (None, None) => run.started.after(probe.initial_delay),
    };
    if due > now.mono {
        return check.wake(due);
    }
    check.actions.push(Action::Probe {
        worker: worker.into(),
        incarnation: run.incarnation,
        kind,
        probe: Box::new(probe.clone()),
    });
    check.wake(now.mono.after(Span(lost)));
}

/// `READY=1` and `WATCHDOG=1` come by themselves; only their absence has to be noticed, and while nobody could hear
/// them they were not absent.
fn notify(check: &mut Check, (slot, run): (&Slot, &Run), (kind, probe): (ProbeKind, &Probe), now: Now) {
    let patience = Span(probe.period.0.saturating_mul(u64::from(probe.failure_threshold)));
    let (since, what) = match kind {
        ProbeKind::Readiness => return,
        ProbeKind::Startup if run.ready => return,
        ProbeKind::Startup => (run.started.after(probe.initial_delay), "READY=1"),
        ProbeKind::Liveness => (run.watchdog.unwrap_or(run.started.after(probe.initial_delay)), "WATCHDOG=1"),
    };
    let deadline = since.max(slot.heard_since).after(patience).max(run.extended_until.unwrap_or_default());
    if deadline > now.mono {
        return check.wake(deadline);
    }
    check.condemned = Some(format!("{}: no {what} for {patience}", kind.words()));
}

fn stall(check: &mut Check, worker: &str, (slot, run): (&Slot, &Run), template: &Template, now: Now) {
    let Some(stall) = &template.stall else { return };
    // Whoever was just given a task has not been silent over it.
    let begun = run.started.max(slot.given.unwrap_or_default());
    let output = run.output.unwrap_or(begun).max(begun);
    let heartbeat = run.watchdog.unwrap_or_default();
    let last = output.max(heartbeat).max(run.cpu_at.unwrap_or(run.started));
    let quiet_at = last.max(slot.heard_since).after(stall.after);
    if quiet_at > now.mono {
        // What CPU was used between two looks counts as used at the later one: one look at the end would double the time.
        let look_at = run.refreshed.unwrap_or_default().max(begun).max(slot.heard_since).after(Span(stall.after.0 / LOOKS));
        if look_at > now.mono {
            return check.wake(quiet_at.min(look_at));
        }
        check.actions.push(Action::Refresh { worker: worker.into() });
        return check.wake(quiet_at.min(now.mono.after(REFRESH_PATIENCE)));
    }
    // Output and CPU are only known as of the last look: look again before judging.
    if run.refreshed.is_none_or(|at| at < quiet_at) {
        check.actions.push(Action::Refresh { worker: worker.into() });
        return check.wake(now.mono.after(REFRESH_PATIENCE));
    }
    let words = format!("stalled: no output, no heartbeat and no CPU used for {}", stall.after);
    match stall.action {
        StallAction::Restart => check.condemned = Some(words),
        StallAction::Report => check.report = Some(words),
    }
}

/// When the memory of a run is to be looked at again; absent: nobody asks for it.
pub fn look_due(template: &Template, run: &Run) -> Option<Moment> {
    template.recycle.as_ref()?.max_memory?;
    Some(run.refreshed.unwrap_or(run.started).max(run.started).after(LOOK_EVERY))
}

/// Look at the memory of a worker that is replaced when it has grown too large.
fn grown(check: &mut Check, worker: &str, run: &Run, template: &Template, now: Now) {
    match look_due(template, run) {
        Some(due) if due > now.mono => check.wake(due),
        Some(_) => {
            check.actions.push(Action::Refresh { worker: worker.into() });
            check.wake(now.mono.after(REFRESH_PATIENCE));
        }
        None => {}
    }
}

/// The results after one more answer.
pub fn answered(state: &ProbeState, probe: &Probe, answer: Result<(), String>, now: Now) -> ProbeState {
    let mut next = ProbeState { answered: Some(now.mono), ..state.clone() };
    match answer {
        Ok(()) => {
            next.successes = next.successes.saturating_add(1);
            next.failures = 0;
            next.passing |= next.successes >= probe.success_threshold;
        }
        Err(message) => {
            next.failures = next.failures.saturating_add(1);
            next.successes = 0;
            next.passing &= next.failures < probe.failure_threshold;
            next.message = message;
        }
    }
    next
}

/// What keeps a running worker from being ready, in the words of the probe that fails; absent: none has failed since it last passed.
pub fn failing(run: &Run, health: &Health, template: &Template) -> Option<String> {
    let kind = if started(run, health, template) { ProbeKind::Readiness } else { ProbeKind::Startup };
    let probe = probe(template, kind).filter(|probe| probe.notify.is_none())?;
    let state = state(run, health, kind);
    let fails = state.failures > 0 && !passing(run, health, kind, probe);
    // Without a count: what is shown changes only when the answer does.
    fails.then(|| format!("{} fails: {}", kind.words(), state.message))
}

/// What to tell of one more answer: that a worker counts as not ready now, when the probe has failed as often as it may. What
/// else a probe has to say is told by the stop that follows.
pub fn told(kind: ProbeKind, after: &ProbeState, probe: &Probe) -> Option<String> {
    let lost = kind == ProbeKind::Readiness && after.failures == probe.failure_threshold;
    lost.then(|| format!("{} failed {}: {}", kind.words(), times(after.failures), after.message))
}

impl ProbeKind {
    /// As the field is called.
    pub fn words(self) -> &'static str {
        match self {
            ProbeKind::Startup => "startupProbe",
            ProbeKind::Readiness => "readinessProbe",
            ProbeKind::Liveness => "livenessProbe",
        }
    }
}

#[cfg(test)]
mod tests;
