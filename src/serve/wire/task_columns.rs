//! What the tables of tasks show, and how a task is said in one line.
//!
//! Pure: the time is an argument. Text of a task is not made harmless here: that is for whoever prints it.

use std::str::FromStr;

use super::age::age;
use super::tasks::TaskView;
use crate::model::meta::quoted;
use crate::model::task::{EndReason, Task, TaskState, Waiting};
use crate::model::time::{Span, Wall};

/// Characters of a payload or a message that a table shows.
const SHOWN: usize = 60;
/// The same where nothing else stands behind it, as a rule.
const LAST: usize = 240;

/// The heads of the table of `get tasks`.
pub fn heads(wide: bool) -> Vec<String> {
    let narrow = ["ID", "POOL", "STATE", "PRI", "ATTEMPT", "WORKER", "AGE", "WAIT/RAN", "MESSAGE"];
    let more: &[&str] = if wide { &["POSITION", "KEY", "TIMEOUT", "SOURCE", "PAYLOAD"] } else { &[] };
    narrow.iter().chain(more).map(|head| (*head).to_owned()).collect()
}

/// The row of a task.
pub fn row(view: &TaskView, wide: bool, now: Wall) -> Vec<String> {
    let task = &view.task;
    let mut row = vec![task.id.to_string(), task.pool.clone()];
    row.extend(standing_cells(view, LAST, now));
    if wide {
        let dash = || "-".to_owned();
        row.extend([
            view.position.map_or_else(dash, |place| place.to_string()),
            task.key.clone().unwrap_or_else(dash),
            task.timeout.to_string(),
            task.source.clone(),
            short(&task.payload.to_string(), SHOWN),
        ]);
    }
    row
}

/// The heads of the table of `queue`.
pub fn queue_heads() -> Vec<String> {
    ["POSITION", "ID", "STATE", "PRI", "ATTEMPT", "WORKER", "AGE", "START/RAN", "MESSAGE", "PAYLOAD"].map(str::to_owned).into()
}

/// The row of a task in its queue.
pub fn queue_row(view: &TaskView, now: Wall) -> Vec<String> {
    let task = &view.task;
    let mut row = vec![view.position.map_or_else(|| "-".into(), |place| place.to_string()), task.id.to_string()];
    row.extend(standing_cells(view, SHOWN, now));
    row.push(short(&task.payload.to_string(), SHOWN));
    row
}

/// What both tables say of a task: from its state to so much of its message.
fn standing_cells(view: &TaskView, most: usize, now: Wall) -> [String; 7] {
    let task = &view.task;
    [
        state(task).into(),
        task.priority.to_string(),
        format!("{}/{}", task.attempt, task.max_attempts),
        task.worker.clone().unwrap_or_else(|| "-".into()),
        age(task.created, now),
        duration(view, now),
        short(&message(task), most),
    ]
}

/// Words of the tables that no state is called by, each with the state that it is of.
const FINER: [(&str, TaskState); 4] = [
    ("Running", TaskState::Leased),
    ("Cancelling", TaskState::Leased),
    ("Delayed", TaskState::Queued),
    ("Blocked", TaskState::Queued),
];

/// A word that says where tasks are in their life: one of the states, or one that the tables show for a part of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    name: &'static str,
    /// The state of all tasks that it fits.
    pub of: TaskState,
}

impl Word {
    /// It fits every task of its state. A lease that is being cancelled runs.
    pub fn is_whole(self) -> bool {
        self.name == self.of.name() || self.name == "Running"
    }

    /// As it is written.
    pub fn name(self) -> &'static str {
        self.name
    }

    /// What those queued tasks wait for that it fits, where it does not fit them all.
    pub fn waiting(self) -> Option<Waiting> {
        match self.name {
            "Delayed" => Some(Waiting::Delayed),
            "Blocked" => Some(Waiting::Blocked),
            _ => None,
        }
    }

    /// Whether this task is there.
    pub fn fits(self, task: &Task) -> bool {
        task.state == self.of && (self.is_whole() || self.name == state(task))
    }
}

impl FromStr for Word {
    type Err = String;

    fn from_str(text: &str) -> Result<Word, String> {
        let states = TaskState::ALL.map(|state| (state.name(), state));
        let found = states.into_iter().chain(FINER).find(|(name, _)| name.eq_ignore_ascii_case(text.trim()));
        found.map(|(name, of)| Word { name, of }).ok_or_else(|| {
            let finer = FINER.map(|(name, of)| format!("{name} ({})", of.name())).join(", ");
            let there = TaskState::ALL.map(TaskState::name).join(", ");
            format!("found {}; there are {there}; of those: {finer}", quoted(text))
        })
    }
}

/// The state in one word, finer than the states are.
pub fn state(task: &Task) -> &'static str {
    match task.state {
        TaskState::Leased if task.cancelling => "Cancelling",
        TaskState::Leased => "Running",
        TaskState::Queued if task.not_before.is_some() => "Delayed",
        TaskState::Queued if task.blocked => "Blocked",
        TaskState::Queued
        | TaskState::Held
        | TaskState::Succeeded
        | TaskState::Failed
        | TaskState::Dead
        | TaskState::Cancelled
        | TaskState::Expired => task.state.name(),
    }
}

/// How long it will wait, runs, or ran.
fn duration(view: &TaskView, now: Wall) -> String {
    let task = &view.task;
    match task.state {
        TaskState::Queued => match (task.not_before, view.estimated_wait) {
            (Some(at), _) if at > now => format!("in {}", rough(between(now, at))),
            (_, Some(wait)) if is_now(wait) => "now".into(),
            (_, Some(wait)) => format!("in ~{}", rough(wait)),
            (_, None) => "-".into(),
        },
        TaskState::Leased => task.started.map_or_else(|| "-".into(), |at| age(at, now)),
        TaskState::Held | TaskState::Expired => "-".into(),
        // One that nobody had begun did not run.
        TaskState::Cancelled => {
            let ran = task.end.as_ref().map(|end| Span(end.ran_ms)).filter(|ran| ran.0 > 0);
            ran.map_or_else(|| "-".into(), |ran| ran.to_string())
        }
        TaskState::Succeeded | TaskState::Failed | TaskState::Dead => {
            task.end.as_ref().map_or_else(|| "-".into(), |end| Span(end.ran_ms).to_string())
        }
    }
}

/// A length of time as people say it: as kubectl shortens ages, but to the nearest of what is shown. An age is cut, as years of
/// people are; of what is still to come that would always be less than was asked for.
pub fn rough(span: Span) -> String {
    const MINUTE: u64 = 60_000;
    // The smallest unit that is shown of a span of this length.
    let unit = match span.0.div_ceil(1000) {
        0..600 => 1000,
        600..28_800 => MINUTE,
        28_800..691_200 => 60 * MINUTE,
        691_200.. => 24 * 60 * MINUTE,
    };
    let nearest = span.0.saturating_add(unit / 2) / unit * unit;
    age(Wall(0), Wall(i64::try_from(nearest).unwrap_or(i64::MAX)))
}

/// So soon that nobody would say how soon.
pub fn is_now(wait: Span) -> bool {
    wait.0 < 500
}

fn between(now: Wall, at: Wall) -> Span {
    Span(u64::try_from(at.0.saturating_sub(now.0)).unwrap_or(0))
}

/// When a pause ends, for people: one that was given no end has a date that says nothing.
pub fn pause_end(until: Wall, now: Wall) -> String {
    const YEARS: i64 = 1000 * 365 * 86_400_000;
    if until.0 > now.0.saturating_add(YEARS) {
        return "until it is resumed".into();
    }
    format!("until {until} (for {})", rough(between(now, until)))
}

/// What there is to say of it in a line; empty when nothing.
pub fn message(task: &Task) -> String {
    let end = task.end.as_ref().map(|end| if end.message.is_empty() { format!("{:?}", end.reason) } else { end.message.clone() });
    match task.state {
        TaskState::Held if !task.after.is_empty() => format!("waits for {}", named(&task.after)),
        TaskState::Held => "waits for a release".into(),
        TaskState::Queued if task.blocked => "waits for another task of its key".into(),
        TaskState::Queued => end.map_or_else(String::new, |end| format!("tried before: {end}")),
        TaskState::Leased => task.progress.clone(),
        TaskState::Succeeded | TaskState::Cancelled => task.end.as_ref().map_or_else(String::new, |end| end.message.clone()),
        TaskState::Expired => format!("nobody took it within {}", task.ttl),
        TaskState::Failed | TaskState::Dead => end.unwrap_or_default(),
    }
}

/// `task/12`, `task/12 and task/13`, `task/12, task/13 and 4 more`
fn named(tasks: &[u64]) -> String {
    match tasks {
        [] => "no task".into(),
        [one] => format!("task/{one}"),
        [one, other] => format!("task/{one} and task/{other}"),
        [one, other, rest @ ..] => format!("task/{one}, task/{other} and {} more", rest.len()),
    }
}

/// The same with the verb that goes with their number.
fn have(tasks: &[u64]) -> String {
    format!("{} {}", named(tasks), if tasks.len() == 1 { "has" } else { "have" })
}

/// `queued, position 3, starts in about 40s`
pub fn standing(view: &TaskView, now: Wall) -> String {
    let task = &view.task;
    let place = view.position.map_or_else(String::new, |place| format!(", position {place}"));
    let known = if view.known { " (known before)" } else { "" };
    let how = match task.state {
        TaskState::Queued => match (task.not_before, view.estimated_wait) {
            (Some(at), _) => format!("queued, not before {} from now", rough(between(now, at))),
            (None, _) if task.blocked => "queued behind another task of its key".into(),
            (None, Some(wait)) if is_now(wait) => format!("queued{place}, starts now"),
            (None, Some(wait)) => format!("queued{place}, starts in about {}", rough(wait)),
            (None, None) => format!("queued{place}"),
        },
        TaskState::Held if !task.after.is_empty() => format!("held until {} succeeded", have(&task.after)),
        TaskState::Held => "held until \"ctl release\"".into(),
        TaskState::Leased => format!("runs on {}", task.worker.as_deref().unwrap_or("nobody")),
        TaskState::Succeeded => "succeeded".into(),
        TaskState::Failed | TaskState::Dead | TaskState::Cancelled | TaskState::Expired => {
            let why = message(task);
            let why = if why.is_empty() { why } else { format!(": {why}") };
            format!("{}{why}", task.state.name().to_lowercase())
        }
    };
    format!("task/{} {how}{known}", task.id)
}

/// How an attempt ended, in words.
pub fn ended(task: &Task) -> String {
    let Some(end) = &task.end else { return String::new() };
    let how = match (end.code, end.signal) {
        (Some(code), _) => format!(", exit code {code}"),
        (None, Some(signal)) => format!(", signal {signal}"),
        (None, None) => String::new(),
    };
    let said = format!("exit code {}", end.code.unwrap_or(0));
    let message = if end.message.is_empty() || end.message == said { String::new() } else { format!(": {}", end.message) };
    let ran_not = matches!(end.reason, EndReason::Expired | EndReason::DependencyFailed)
        || (end.reason == EndReason::Cancelled && end.ran_ms == 0);
    let ran = if ran_not { String::new() } else { format!(" after {}", Span(end.ran_ms)) };
    format!("{:?}{how}{ran}{message}", end.reason)
}

fn short(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::task::End;

    #[test]
    fn a_long_message_does_not_push_the_columns_apart() {
        let view = TaskView {
            task: Task { state: TaskState::Leased, progress: "é".repeat(5000), ..Task::default() },
            ..TaskView::default()
        };
        let longest = |row: Vec<String>| row.iter().map(|cell| cell.chars().count()).max();
        assert_eq!(longest(queue_row(&view, Wall(0))), Some(SHOWN + 1));
        assert_eq!(longest(row(&view, true, Wall(0))), Some(LAST + 1));
    }

    #[test]
    fn a_task_is_said_in_a_line() {
        let now = Wall(1_000_000);
        let view = |task: Task| TaskView { task: Task { id: 12, ..task }, ..TaskView::default() };
        let third = TaskView { position: Some(3), estimated_wait: Some(Span::secs(40)), ..view(Task::default()) };
        let dead = Task {
            state: TaskState::Dead,
            end: Some(End { message: "exit code 2".into(), code: Some(2), ran_ms: 1500, ..End::default() }),
            ..Task::default()
        };
        for (view, words) in [
            (third.clone(), "task/12 queued, position 3, starts in about 40s"),
            (TaskView { estimated_wait: Some(Span(0)), ..third.clone() }, "task/12 queued, position 3, starts now"),
            (TaskView { estimated_wait: Some(Span(499)), ..third.clone() }, "task/12 queued, position 3, starts now"),
            (TaskView { estimated_wait: None, known: true, ..third }, "task/12 queued, position 3 (known before)"),
            (view(Task { blocked: true, ..Task::default() }), "task/12 queued behind another task of its key"),
            (view(Task { not_before: Some(Wall(1_060_000)), ..Task::default() }), "task/12 queued, not before 60s from now"),
            (view(Task { state: TaskState::Held, ..Task::default() }), "task/12 held until \"ctl release\""),
            (view(dead.clone()), "task/12 dead: exit code 2"),
        ] {
            assert_eq!(standing(&view, now), words);
        }
        assert_eq!(ended(&dead), "Failed, exit code 2 after 1s500ms");
    }

    #[test]
    fn what_is_to_come_is_rounded() {
        let (hour, day) = (3_600_000, 86_400_000);
        for (ms, words) in [
            (400, "0s"),
            (600, "1s"),
            (59_900, "60s"),
            (599_800, "10m"),
            (hour - 5, "60m"),
            (hour - 40_000, "59m"),
            (5 * hour + 59_000, "5h1m"),
            (36 * hour - 9, "36h"),
            (3 * day - 9, "3d"),
            (400 * day - 9, "400d"),
            (730 * day, "2y"),
        ] {
            assert_eq!(rough(Span(ms)), words, "{ms}");
        }
        assert_eq!(pause_end(Wall(60_000), Wall(0)), "until 1970-01-01T00:01:00.000Z (for 60s)");
        assert_eq!(pause_end(Wall(221_845_392_000_000), Wall(1_800_000_000_000)), "until it is resumed");
    }

    #[test]
    fn a_word_fits_the_tasks_that_the_tables_show_it_for() {
        let leased = Task { state: TaskState::Leased, ..Task::default() };
        let cancelling = Task { cancelling: true, ..leased.clone() };
        let delayed = Task { not_before: Some(Wall(1)), ..Task::default() };
        let fits = |word: &str| {
            let word: Word = word.parse().unwrap();
            [&leased, &cancelling, &delayed, &Task::default()].map(|task| word.fits(task))
        };
        assert_eq!(fits("Running"), [true, true, false, false]);
        assert_eq!(fits("leased"), [true, true, false, false]);
        assert_eq!(fits("Cancelling"), [false, true, false, false]);
        assert_eq!(fits("Queued"), [false, false, true, true]);
        assert_eq!(fits(" Delayed"), [false, false, true, false]);
        for task in [&leased, &cancelling, &delayed] {
            assert!(state(task).parse::<Word>().unwrap().fits(task), "what is shown can be asked for");
        }
        let refused = "Waiting".parse::<Word>().unwrap_err();
        let words = "found \"Waiting\"; there are Held, Queued, Leased, Succeeded, Failed, Dead, Cancelled, Expired; of those: \
                     Running (Leased), Cancelling (Leased), Delayed (Queued), Blocked (Queued)";
        assert_eq!(refused, words);
    }

    #[test]
    fn rows_fit_their_heads() {
        for state in TaskState::ALL {
            let view =
                TaskView { task: Task { state, payload: "é".repeat(200).into(), ..Task::default() }, ..TaskView::default() };
            for wide in [false, true] {
                assert_eq!(row(&view, wide, Wall(0)).len(), heads(wide).len());
            }
            assert_eq!(queue_row(&view, Wall(0)).len(), queue_heads().len());
            assert!(queue_row(&view, Wall(0)).last().is_some_and(|payload| payload.chars().count() == SHOWN + 1));
        }
    }
}
