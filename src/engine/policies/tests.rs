//! The founding use case through the real engine: documents in, looks and orders out, over a host that is only a unit with
//! limits. Whatever is not about policies does nothing here.

use std::collections::BTreeMap;
use std::sync::Arc;

mod joint;

use super::*;
use crate::decide::admit;
use crate::engine::controller::Settings;
use crate::engine::handle::Ask;
use crate::engine::host::Fact;
use crate::model::batch::Stored;
use crate::model::document;
use crate::model::host::{Known, Pressures, Sample};
use crate::model::limits::{ChangeAction, ChangeStatus, ChangeTrigger, High, LimitChange, LimitFailure, LimitOrder, memory_high};
use crate::model::listing::{Arrival, Content, File, Listing, Stamp, Whole};
use crate::model::plan::{Action, PoolFacts};
use crate::model::quantity::{Cpu, Memory};
use crate::model::scaling::Question;
use crate::model::status::Truth;
use crate::model::task::{Leavings, Task};
use crate::model::time::{Moment, Wall};
use crate::model::used::Used;
use crate::model::worker::SlotId;

const GI: u64 = 1 << 30;

struct UnitHost {
    now: Now,
    facts: Vec<Fact>,
    limits: Amounts,
    micros: u64,
    /// Cores, memory and tasks in use.
    used: (f64, u64, u64),
    looked: Moment,
    /// How much of the time it waits for memory, in percent.
    waits: f64,
    held_back: u64,
    high: High,
    agents: f64,
    refuses: bool,
    unable: Option<String>,
    orders: Vec<Amounts>,
    rows: Vec<LimitChange>,
    kept: BTreeMap<String, StoredPolicy>,
    shown: BTreeMap<(Kind, String), Object>,
    /// Rows that were committed when an order came.
    intents: Vec<bool>,
}

impl Host for UnitHost {
    fn now(&self) -> Now {
        self.now
    }
    fn perform(&mut self, _: &Arc<PoolFacts>, _: &Action, _: Option<&Task>) {}
    fn leavings(&mut self, _: &Task, _: bool) -> Leavings {
        Leavings::default()
    }
    fn forget_tasks(&mut self, _: Vec<u64>) {}
    fn look(&mut self, _: &SlotId) {}
    fn ask(&mut self, pool: &str, question: &Question) {
        let (asker, source) = (question.asker.clone(), question.source.clone());
        let answer = Number::new(self.agents, "n");
        self.facts.push(Fact::Answered { pool: pool.into(), asker, source, answer });
    }
    fn machine(&mut self, _: Option<&str>) -> (Sample, Option<Known<Memory>>) {
        let none = || Err("not looked at".to_owned());
        let pressure = Pressures { cpu: none(), memory: none(), io: none() };
        (Sample { at: self.now.mono, idle: Err("no".into()), memory: Ok(Memory(512 * GI)), pressure }, None)
    }
    fn host_capacity(&self) -> Amounts {
        Amounts { cpu: Some(Cpu(64_000)), memory: Some(Memory(512 * GI)), tasks: Some(100_000) }
    }
    fn measure(&mut self, policy: &str, target: &Target) {
        let passed = self.now.mono.since(self.looked).0;
        self.micros += (self.used.0 * passed as f64 * 1000.0) as u64;
        self.looked = self.now.mono;
        let calm = || Ok(0.0);
        let usage = Usage {
            at: self.now.mono,
            cpu_micros: Ok(self.micros),
            memory: Ok(Memory(self.used.1)),
            working: Ok(Memory(self.used.1)),
            tasks: Ok(self.used.2),
            pressure: Pressures { cpu: calm(), memory: Ok(self.waits), io: calm() },
            oom_kills: Ok(0),
            held_back: Ok(self.held_back),
            own: Err("not counted here".into()),
            high: self.limits.memory.map(|max| memory_high(max, self.high)),
            limits: self.limits,
            lacking: Vec::new(),
        };
        let usage = self.unable.clone().map_or(Ok(usage), Err);
        self.facts.push(Fact::Measured { policy: policy.into(), target: target.clone(), usage });
    }
    fn limit(&mut self, policy: &str, order: LimitOrder) {
        self.intents.push(self.kept.get(policy).is_some_and(|kept| kept.pending.is_some()));
        self.orders.push(order.wanted);
        let result = if self.refuses {
            Err(LimitFailure { error: "refused".into(), restored: Ok(()) })
        } else {
            self.limits = order.wanted.or(self.limits);
            self.high = order.high;
            Ok(self.limits)
        };
        self.facts.push(Fact::Limited { policy: policy.into(), outcome: LimitOutcome { id: order.id, result } });
    }
    fn limits_unable(&self, _: &Target) -> Option<String> {
        self.unable.clone()
    }
    fn commit(&mut self, ticket: u64, batch: Batch) {
        self.rows.extend(batch.changes.into_iter().map(|(_, row)| row));
        for (name, row) in batch.policies {
            match row {
                Some(row) => drop(self.kept.insert(name, row)),
                None => drop(self.kept.remove(&name)),
            }
        }
        self.facts.push(Fact::Committed { ticket, result: Ok(Vec::new()) });
    }
    fn list(&mut self) {}
    fn publish(&mut self, kind: Kind, name: &str, object: Option<Object>) {
        match object {
            Some(object) => drop(self.shown.insert((kind, name.into()), object)),
            None => drop(self.shown.remove(&(kind, name.into()))),
        }
    }
    fn tell(&mut self, _: &EventObject) {}
    fn notify(&mut self, _: &Arc<PoolFacts>, _: usize, _: &EventObject) {}
    fn edit(&mut self, _: Ask) {}
    fn nonce(&mut self) -> u64 {
        0
    }

    fn uid(&mut self) -> String {
        "u".into()
    }
}

struct Run {
    engine: Engine<UnitHost>,
    spec: String,
}

const SPEC: &str = "
  target: {unit: {name: autocoder-ui.service}}
  initial: {cpu: 200%, memory: 32Gi, tasks: 250}
  gauges: [{name: agents, source: {exec: {command: [agents]}}}]
  idleWhen: [{gauge: agents, atMost: 0}]
  bounds: {min: {cpu: 100%, memory: 8Gi, tasks: 100}, max: {cpu: 800%, memory: 192Gi, tasks: 1500}}
  minStep: {cpu: 50%, memory: 8Gi, tasks: 50}
  manual: {cpu: 6, memory: 96Gi, tasks: 750, reason: model training}
";
const BUSY: (f64, u64, u64) = (1.9, 31 * GI, 240);
const CALM: (f64, u64, u64) = (0.2, 4 * GI, 20);

fn run(stored: Stored) -> Run {
    let host = UnitHost {
        now: Now { mono: Moment(1_000_000), wall: crate::model::time::Wall(1_700_000_000_000) },
        facts: Vec::new(),
        limits: Amounts::default(),
        micros: 0,
        used: CALM,
        looked: Moment(1_000_000),
        waits: 0.0,
        held_back: 0,
        high: High::Below,
        agents: 0.0,
        refuses: false,
        unable: None,
        orders: Vec::new(),
        rows: Vec::new(),
        kept: BTreeMap::new(),
        shown: BTreeMap::new(),
        intents: Vec::new(),
    };
    let settings = Settings { starts_in_flight_max: 4, admission: admit::Settings::default(), controllers: Default::default() };
    let mut run = Run { engine: Engine::new(host, settings, stored), spec: SPEC.into() };
    run.engine.on(Fact::Recovered);
    run
}

impl Run {
    /// The specs directory with these documents.
    fn documents(&mut self, specs: &[(&str, &str)]) {
        let mut whole = Whole::default();
        for (name, spec) in specs {
            let kind = if spec.contains("template:") { "WorkerPool" } else { "ResourcePolicy" };
            let text = format!("apiVersion: weir.dev/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec:{spec}");
            let content = Content { hash: text.clone(), documents: document::parse(text.as_bytes()) };
            assert!(content.documents.iter().all(Result::is_ok), "{:?}", content.documents);
            let file = File { stamp: Stamp::default(), arrival: Arrival::RenamedIn, content: Ok(Arc::new(content)) };
            whole.files.insert(format!("{name}.yaml"), file);
        }
        self.engine.on(Fact::Listed(Box::new(Listing::Files(whole))));
        self.settle();
    }

    fn begin(&mut self) {
        let spec = self.spec.clone();
        self.documents(&[("autocoder", &spec)]);
    }

    /// Everything that is due now, and what comes of it.
    fn settle(&mut self) {
        loop {
            self.engine.turn();
            let facts = std::mem::take(&mut self.engine.host().facts);
            if facts.is_empty() {
                return;
            }
            facts.into_iter().for_each(|fact| self.engine.on(fact));
        }
    }

    /// One check interval in which this was used. Says what was ordered.
    fn look(&mut self, used: (f64, u64, u64)) -> Option<Amounts> {
        let host = self.engine.host();
        host.used = used;
        (host.now.mono, host.now.wall.0) = (host.now.mono.after(Span::secs(30)), host.now.wall.0 + 30_000);
        let before = host.orders.len();
        self.settle();
        self.engine.host().orders.get(before).copied()
    }

    fn status(&mut self) -> crate::model::policy_status::PolicyStatus {
        self.status_of("autocoder")
    }

    fn status_of(&mut self, name: &str) -> crate::model::policy_status::PolicyStatus {
        match self.engine.host().shown.get(&(Kind::Policy, name.into())) {
            Some(Object::Policy(policy)) => policy.status.clone(),
            other => panic!("it is shown: {other:?}"),
        }
    }

    fn condition(&mut self, name: &str, kind: &str) -> (Truth, String, String) {
        let found = self.status_of(name).conditions.into_iter().find(|condition| condition.kind == kind).expect("there is one");
        (found.status, found.reason, found.message)
    }
}

fn amounts(cpu: u64, memory: u64, tasks: u32) -> Amounts {
    Amounts { cpu: Some(Cpu(cpu)), memory: Some(Memory(memory)), tasks: Some(tasks) }
}

#[test]
fn the_founding_use_case_from_the_first_limits_to_manual_and_back() {
    let mut run = run(Stored::default());
    run.begin();
    // The first look knows no rate yet: limits on CPU wait for the second.
    assert!([run.look(CALM), run.look(CALM)].iter().any(Option::is_some));
    assert_eq!(run.engine.host().limits, amounts(2000, 32 * GI, 250));
    // The cooldown of the first limits.
    (0..10).for_each(|_| assert_eq!(run.look((1.0, 20 * GI, 100)), None));
    assert_eq!((run.look(BUSY), run.look(BUSY)), (None, None));
    assert_eq!(run.look(BUSY), Some(amounts(3000, 48 * GI, 375)), "at the third breach");
    run.engine.host().agents = 1.0;
    (0..30).for_each(|_| assert_eq!(run.look(CALM), None, "an agent runs"));
    run.engine.host().agents = 0.0;
    // The first of them still sees the gauge's last answer.
    let lowered: Vec<Amounts> = (0..11).filter_map(|_| run.look(CALM)).collect();
    assert_eq!(lowered.iter().map(|new| (new.cpu, new.tasks)).collect::<Vec<_>>(), [(Some(Cpu(1800)), Some(225))]);
    let status = run.status();
    assert_eq!((status.scale_up_count, status.scale_down_count, status.idle), (1, 1, true));
    run.spec = format!("{SPEC}  mode: Manual\n");
    let before = run.engine.host().orders.len();
    run.begin();
    let manual = run.look(CALM).or_else(|| run.engine.host().orders.get(before).copied());
    assert_eq!(manual, Some(amounts(6000, 96 * GI, 750)));
    run.spec = format!("{SPEC}  profile: Aggressive\n");
    run.begin();
    let lowered: Vec<Amounts> = (0..11).filter_map(|_| run.look(CALM)).collect();
    assert_eq!(lowered.iter().map(|new| new.cpu).collect::<Vec<_>>(), [Some(Cpu(3600))], "Enabled again");
    let host = run.engine.host();
    assert!(host.intents.iter().all(|intent| *intent), "nothing is ordered whose intent is not on disk");
    let actions: Vec<ChangeAction> =
        host.rows.iter().map(|row| row.action).filter(|action| *action != ChangeAction::Initial).collect();
    assert_eq!(actions, [ChangeAction::ScaleUp, ChangeAction::ScaleDown, ChangeAction::Manual, ChangeAction::ScaleDown]);
    assert!(host.rows.iter().all(|row| row.status == ChangeStatus::Applied));
}

#[test]
fn a_failed_change_waits_for_a_reset() {
    let mut run = run(Stored::default());
    run.engine.host().limits = amounts(2000, 32 * GI, 250);
    run.begin();
    run.look(CALM);
    run.engine.host().refuses = true;
    assert_eq!((0..10).filter_map(|_| run.look(BUSY)).count(), 1, "once, and not again");
    assert_eq!(run.condition("autocoder", "Failed").0, Truth::True);
    run.engine.host().refuses = false;
    let now = run.engine.host().now;
    assert!(run.engine.reset_policy("nobody", now).is_err());
    assert!(run.engine.reset_policy("autocoder", now).is_ok());
    assert_eq!((0..4).filter_map(|_| run.look(BUSY)).count(), 1);
    assert_eq!(run.condition("autocoder", "Failed").0, Truth::False);
    assert!(run.engine.reset_policy("autocoder", now).is_err(), "nothing to reset");
}

#[test]
fn without_a_manager_everything_else_works_and_it_is_said() {
    let mut run = run(Stored::default());
    run.engine.host().unable = Some("no systemd manager is reachable here".into());
    run.begin();
    run.look(BUSY);
    let (truth, _, why) = run.condition("autocoder", "LimitsEnforced");
    assert_eq!((truth, why.as_str()), (Truth::False, "no systemd manager is reachable here"));
    assert_eq!(run.condition("autocoder", "Accepted").0, Truth::True);
    assert!(run.engine.host().orders.is_empty());
}

#[test]
fn of_two_policies_with_one_target_the_second_is_refused_and_names_the_first() {
    let mut run = run(Stored::default());
    run.begin();
    run.look(CALM);
    let spec = run.spec.clone();
    run.documents(&[
        ("autocoder", &spec),
        ("abacus", &spec),
        ("lost", "\n  target: {pool: nobody}\n  bounds: {min: {cpu: 1}, max: {cpu: 2}}\n"),
    ]);
    let (truth, reason, why) = run.condition("abacus", "Accepted");
    assert_eq!((truth, reason.as_str()), (Truth::False, "TargetTaken"));
    assert!(why.contains("policy/autocoder"), "{why}");
    assert_eq!(run.condition("autocoder", "Accepted").0, Truth::True);
    let (truth, reason, why) = run.condition("lost", "TargetFound");
    assert_eq!((truth, reason.as_str(), why.as_str()), (Truth::False, "NoSuchPool", "there is no pool/nobody"));
    assert_eq!(run.condition("lost", "Accepted").0, Truth::True);
}

#[test]
fn who_writes_down_the_manager_that_is_meant_anyway_has_the_same_target() {
    let mut run = run(Stored::default());
    run.begin();
    run.look(CALM);
    let spec = run.spec.clone();
    let (own, other) = match crate::edge::systemd::own_manager() {
        crate::model::policy::Manager::System => ("System", "User"),
        crate::model::policy::Manager::User => ("User", "System"),
    };
    let of = |manager: &str| spec.replace("autocoder-ui.service}", &format!("autocoder-ui.service, manager: {manager}}}"));
    run.documents(&[("autocoder", &spec), ("abacus", &of(own)), ("other", &of(other))]);
    assert_eq!(run.condition("abacus", "Accepted").1, "TargetTaken");
    assert_eq!(run.condition("other", "Accepted").0, Truth::True, "a unit of another manager");
}

#[test]
fn a_policy_that_is_deleted_leaves_the_limits_as_they_are() {
    let mut run = run(Stored::default());
    run.engine.host().limits = amounts(2000, 32 * GI, 250);
    run.begin();
    let spec = run.spec.clone();
    run.look(CALM);
    run.documents(&[("other", &spec.replace("autocoder-ui", "other"))]);
    for _ in 0..3 {
        run.look(CALM);
        run.documents(&[("other", &spec.replace("autocoder-ui", "other"))]);
    }
    let host = run.engine.host();
    assert!(!host.shown.contains_key(&(Kind::Policy, "autocoder".into())) && !host.kept.contains_key("autocoder"));
    assert_eq!(host.limits, amounts(2000, 32 * GI, 250));
    let told = |object: &Object| matches!(object, Object::Event(event) if event.reason == "Released" && event.note.contains("stay as they are: cpu 2, memory 32Gi"));
    assert!(host.shown.values().any(told));
}

#[test]
fn the_next_daemon_goes_on_with_counters_and_cooldown() {
    let mut first = run(Stored::default());
    first.engine.host().limits = amounts(2000, 32 * GI, 250);
    first.begin();
    first.look(CALM);
    assert_eq!((0..3).filter_map(|_| first.look(BUSY)).count(), 1);
    let (kept, limits, now) = (first.engine.host().kept.clone(), first.engine.host().limits, first.engine.host().now);
    let mut second = run(Stored { policies: kept.into_iter().collect(), ..Stored::default() });
    (second.engine.host().limits, second.engine.host().now, second.engine.host().looked) = (limits, now, now.mono);
    second.begin();
    second.look(CALM);
    let busy = (2.9, 40 * GI, 100);
    (0..8).for_each(|n| assert_eq!(second.look(busy), None, "cooldown, {n}"));
    assert_eq!(second.status().scale_up_count, 1);
    assert_eq!((0..4).filter_map(|_| second.look(busy)).count(), 1);
    assert_eq!(second.status().scale_up_count, 2);
}

/// Looks at a use of memory that rises by 100 MiB at each, until limits are ordered; says how much was used then.
fn rising(run: &mut Run) -> u64 {
    run.engine.host().limits = amounts(2000, 32 * GI, 250);
    // Somebody works: nothing is lowered while memory is low.
    run.engine.host().agents = 1.0;
    run.begin();
    let used = |n: u64| 5 * GI + n * (100 << 20);
    let raised = (0..300).map(used).find(|memory| run.look((0.5, *memory, 60)).is_some()).expect("it is raised some time");
    // What came of it is told with the next look.
    run.look((0.5, raised, 60));
    raised
}

fn raises(run: &mut Run) -> Vec<LimitChange> {
    run.engine.host().rows.iter().filter(|row| row.action == ChangeAction::ScaleUp).cloned().collect()
}

const BREACH: u64 = 32 * GI / 100 * 80;

#[test]
fn a_rise_that_is_foreseen_raises_before_the_breach_and_once() {
    let mut run = run(Stored::default());
    let raised = rising(&mut run);
    assert!(raised < BREACH, "{raised}");
    let rows = raises(&mut run);
    let [row] = rows.as_slice() else { panic!("one change: {rows:?}") };
    assert_eq!((row.trigger, row.status), (ChangeTrigger::Forecast, ChangeStatus::Applied));
    assert_eq!((row.old.memory, row.new), (Some(Memory(32 * GI)), amounts(2000, 48 * GI, 250)));
    assert!(
        row.reason.starts_with("memory: ") && row.reason.contains(" expects more than 80% of the limit in "),
        "{}",
        row.reason
    );
    assert!(row.reason.ends_with("3 times in a row"), "as many looks as for any breach: {}", row.reason);
    let forecast = run.status().forecast.expect("there is one");
    let memory = forecast.memory.as_ref().expect("of memory");
    assert!(memory.low <= memory.value && memory.value <= memory.high && memory.trend > 0.0 && memory.path.is_empty());
    assert!(forecast.summary.contains("memory ") && forecast.summary.contains(" in 10m ("), "{}", forecast.summary);
    // The cooldown holds for it as for any other change.
    (0..8).for_each(|_| assert_eq!(run.look((0.5, 47 * GI, 60)), None));
}

#[test]
fn a_forecast_that_is_switched_off_raises_nothing_early() {
    let mut run = run(Stored::default());
    run.spec = format!("{SPEC}  forecast: {{enabled: false}}\n");
    let raised = rising(&mut run);
    assert!(raised >= BREACH + 2 * (100 << 20), "at the third breach: {raised}");
    assert_eq!(raises(&mut run).iter().map(|row| row.trigger).collect::<Vec<_>>(), [ChangeTrigger::Memory]);
    let forecast = run.status().forecast.expect("it is said");
    assert_eq!((forecast.summary.as_str(), forecast.memory), ("switched off", None));
}

#[test]
fn a_forecast_that_knows_too_little_says_so_and_the_next_daemon_knows_what_this_one_saw() {
    let mut first = run(Stored::default());
    first.begin();
    for _ in 0..5 {
        first.look(CALM);
    }
    let little = first.status().forecast.expect("it is said");
    // It was looked at as it began, too; and the first look knows no rate yet.
    assert!(little.unknown.contains(&"memory: 6 samples are known, at least 30 are needed".into()), "{little:?}");
    assert!(little.unknown.iter().any(|why| why.starts_with("cpu: 5 samples")), "{little:?}");
    assert!(little.summary.starts_with("not known: cpu: ") && little.memory.is_none());
    let now = first.engine.host().now;
    let day = (1..=2000).rev().map(|n| Used { at: Wall(now.wall.0 - n * 30_000), cpu: 0.2, memory: 4e9, tasks: 20.0 });
    let mut kept = first.engine.host().kept.clone();
    // As one that has had this target for a day.
    kept.values_mut().for_each(|kept| kept.since = Wall(0));
    let used = vec![("autocoder".to_owned(), day.collect())];
    let mut second = run(Stored { policies: kept.into_iter().collect(), used, ..Stored::default() });
    (second.engine.host().now, second.engine.host().looked) = (now, now.mono);
    second.begin();
    second.look((0.2, 4_000_000_000, 20));
    let known = second.status().forecast.expect("it is said");
    assert!(known.memory.as_ref().is_some_and(|memory| (memory.value - 4e9).abs() < 1.0), "{:?}", known);
}
