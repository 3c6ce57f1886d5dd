//! `get tasks`: lists, single tasks and watches.
//!
//! Words for states are those of the table as well as those of the API: `Running` is a lease, `Delayed` one kind of `Queued`. A watch
//! shows a task as it is when it leaves what was asked for, so that its end is seen.

use std::collections::BTreeMap;

use hyper::Method;
use serde_json::Value;

use super::Context;
use super::get::compare;
use super::tasks::{fetch, listed, value};
use crate::ctl::args::Get;
use crate::ctl::client::{Sent, encoded};
use crate::ctl::error::Failure;
use crate::ctl::jsonpath::Template;
use crate::ctl::print::{Format, Table, as_json, as_yaml, custom_row, emit, for_programs, list_of, note};
use crate::ctl::text::complain;
use crate::ctl::time::now;
use crate::model::selector::Selector;
use crate::model::status::Kind;
use crate::model::task::{Task, TaskState};
use crate::model::time::Wall;
use crate::serve::wire::columns::text;
use crate::serve::wire::task_columns::{Word, heads, row};
use crate::serve::wire::tasks::{LIST_DEFAULT, TaskList, TaskObject, TaskView};
use crate::serve::wire::{List, ROOT, WatchEvent};

/// As many as a daemon lists at once.
const ALL: u32 = 10_000;

/// Which tasks are wanted.
pub(super) struct Which {
    /// Of this pool.
    pub(super) pool: Option<String>,
    /// That one of these words fits; empty: all.
    words: Vec<Word>,
    labels: Selector,
}

impl Which {
    /// # Errors
    /// Usage: no such state, or a selector that cannot be read.
    pub(super) fn new(pool: Option<&str>, status: Option<&str>, selector: &str) -> Result<Which, Failure> {
        let pool = pool.map(crate::ctl::resource::pool).transpose()?.map(str::to_owned);
        let labels = selector.parse().map_err(|error| Failure::Usage(format!("-l: {error}")))?;
        let words = status.unwrap_or_default().split(',').map(str::trim).filter(|word| !word.is_empty());
        let words = words.map(|word| word.parse().map_err(|why| Failure::Usage(format!("--status: {why}"))));
        Ok(Which { pool, words: words.collect::<Result<_, _>>()?, labels })
    }

    /// Whether this task is one of them.
    fn wants(&self, task: &Task) -> bool {
        let pool = self.pool.as_ref().is_none_or(|pool| *pool == task.pool);
        let named = [("weir.dev/pool", Some(&task.pool)), ("weir.dev/worker", task.worker.as_ref())];
        let labels = named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.clone()))).collect();
        pool && (self.words.is_empty() || self.words.iter().any(|word| word.fits(task))) && self.labels.matches(&labels)
    }

    /// Whether only the client can tell which ones are wanted.
    fn is_finer(&self) -> bool {
        self.labels != Selector::default()
    }

    /// The tasks there are of them, so many at most, and whether there may be more.
    async fn first(&self, context: &Context, most: u32) -> Result<(Vec<TaskView>, bool), Failure> {
        let mut tasks = self.list(context, Some(most.saturating_add(1).min(ALL))).await?;
        let more = tasks.len() >= ALL as usize || tasks.len() > most as usize;
        tasks.truncate(most as usize);
        Ok((tasks, more))
    }

    /// The tasks there are of them, so many at most.
    async fn list(&self, context: &Context, limit: Option<u32>) -> Result<Vec<TaskView>, Failure> {
        let most = if self.is_finer() { Some(ALL) } else { limit };
        let mut tasks = listed(context, &self.query(most)).await?;
        tasks.retain(|view| self.wants(&view.task));
        if self.is_finer() {
            tasks.truncate(limit.unwrap_or(LIST_DEFAULT) as usize);
        }
        Ok(tasks)
    }

    /// As many of them as can be had at once, of those that ended the first ones, and whether there are more.
    pub(super) async fn page(&self, context: &Context) -> Result<(Vec<TaskView>, bool), Failure> {
        let path = format!("/v1/tasks?{}order=oldest&", self.query(Some(0)));
        let TaskList { mut items, cut, .. } = context.client.ask(Method::GET, &path, Sent::nothing()).await?;
        items.retain(|view| self.wants(&view.task));
        Ok((items, cut))
    }

    fn query(&self, limit: Option<u32>) -> String {
        let states: Vec<&str> = self.words.iter().map(|word| word.name()).collect();
        let part = |name: &str, value: Option<String>| value.map(|value| format!("{name}={}&", encoded(&value)));
        let states = (!states.is_empty()).then(|| states.join(","));
        let query = [part("pool", self.pool.clone()), part("state", states), part("limit", limit.map(|most| most.to_string()))];
        query.into_iter().flatten().collect()
    }

    /// Those of them that are in one of these states, if any can be.
    pub(super) fn among(&self, states: &[TaskState]) -> Option<Which> {
        let words: Vec<Word> = self.words.iter().filter(|word| states.contains(&word.of)).copied().collect();
        (!words.is_empty()).then(|| Which { words, pool: self.pool.clone(), labels: self.labels.clone() })
    }

    /// As the API selects them, or one of them.
    fn selectors(&self, args: &Get, id: Option<u64>) -> String {
        let pool = self.pool.as_ref().map(|pool| format!("spec.pool={pool}"));
        // A field selector has no "one of these": the others are left out.
        let others =
            TaskState::ALL.into_iter().filter(|state| !self.words.is_empty() && self.words.iter().all(|word| word.of != *state));
        let others = others.map(|state| format!("status.state!={}", state.name()));
        let fields = [id.map(|id| format!("metadata.name={id}")), pool].into_iter().flatten().chain(others);
        let fields = fields.collect::<Vec<_>>().join(",");
        let limit = args.limit.map_or_else(String::new, |limit| format!("&limit={limit}"));
        format!("&labelSelector={}&fieldSelector={}{limit}", encoded(&args.selector), encoded(&fields))
    }
}

/// `ctl get tasks`
pub(super) async fn run(context: &Context, args: &Get, ids: &[u64]) -> Result<(), Failure> {
    let format = Format::parse(args.output.as_deref())?;
    let sort = args.sort_by.as_deref().map(Template::path).transpose();
    let sort = sort.map_err(|error| Failure::Usage(format!("--sort-by: {error}")))?;
    let which = Which::new(args.pool.as_deref(), args.status.as_deref(), &args.selector)?;
    if !ids.is_empty() && !args.selector.is_empty() {
        return Err(Failure::Usage("a selector and a name cannot be given together".into()));
    }
    if !ids.is_empty() && (args.pool.is_some() || (args.status.is_some() && !args.watch)) {
        return Err(Failure::Usage("--pool and --status say which tasks, and so does a number: give one of them".into()));
    }
    if args.watch {
        return watch(context, args, (ids, &which), format).await;
    }
    if ids.is_empty() {
        // Whoever gives a number knows that there may be more, unless it is more than can be had.
        let most = args.limit.filter(|most| *most > 0).map_or_else(|| usual(&format), |most| most.min(ALL));
        let (mut tasks, more) = which.first(context, most).await?;
        arrange(&mut tasks, sort.as_ref());
        show(&tasks, &format, !args.no_headers, false)?;
        if more && args.limit.is_none_or(|limit| limit == 0 || limit > ALL) {
            note(&cut(most));
        }
        return Ok(());
    }
    let (mut tasks, mut failed) = (Vec::new(), Vec::new());
    for id in ids {
        match fetch(context, *id).await {
            Ok(task) => tasks.push(task),
            Err(failure @ Failure::Server(_)) => failed.push(failure),
            Err(failure) => return Err(failure),
        }
    }
    arrange(&mut tasks, sort.as_ref());
    if !tasks.is_empty() {
        show(&tasks, &format, !args.no_headers, ids.len() == 1)?;
    }
    let last = failed.pop();
    failed.iter().for_each(|failure| complain(&failure.text()));
    last.map_or(Ok(()), Err)
}

/// As many as are shown when nobody says how many: a person does not read thousands, and a program wants all.
fn usual(format: &Format) -> u32 {
    match format {
        Format::Table { .. } | Format::Columns(_) => LIST_DEFAULT,
        Format::Name | Format::Yaml | Format::Json | Format::JsonPath(_) => ALL,
    }
}

fn cut(shown: u32) -> String {
    let more = if shown < ALL { format!("--limit N shows up to {ALL}, ") } else { "more are not listed at once: ".to_owned() };
    format!("only the first {shown} tasks are shown; {more}--pool and --status narrow it")
}

fn arrange(tasks: &mut Vec<TaskView>, sort: Option<&Template>) {
    let Some(path) = sort else { return };
    let key = |view: TaskView| (path.find(&value(&view)).first().map(|found| (*found).clone()), view);
    let mut keyed: Vec<(Option<Value>, TaskView)> = tasks.drain(..).map(key).collect();
    keyed.sort_by(|(a, _), (b, _)| compare(a.as_ref(), b.as_ref()));
    tasks.extend(keyed.into_iter().map(|(_, view)| view));
}

/// Print tasks; `single`: one that was asked for by its number is printed as itself, not as a list.
pub(super) fn show(tasks: &[TaskView], format: &Format, print_head: bool, single: bool) -> Result<(), Failure> {
    let values: Vec<Value> = tasks.iter().map(value).collect();
    let whole = || match values.as_slice() {
        [only] if single => only.clone(),
        many => list_of(&many.iter().collect::<Vec<_>>()),
    };
    match format {
        Format::Yaml => emit(&as_yaml(&whole())),
        Format::Json => emit(&as_json(&whole())),
        Format::JsonPath(template) => emit(&for_programs(&template.render(&whole()))),
        Format::Name | Format::Table { .. } | Format::Columns(_) if tasks.is_empty() => {
            note("No resources found.");
            Ok(())
        }
        Format::Name | Format::Table { .. } | Format::Columns(_) => {
            let mut table = table(format, print_head);
            tasks.iter().for_each(|view| table.add(cells(format, view, now())));
            emit(&table.take())
        }
    }
}

fn table(format: &Format, print_head: bool) -> Table {
    match format {
        Format::Columns(columns) => Table::custom(columns, print_head),
        Format::Table { wide } => Table::new(&heads(*wide), print_head),
        Format::Name | Format::Yaml | Format::Json | Format::JsonPath(_) => Table::new(&[String::new()], false),
    }
}

fn cells(format: &Format, view: &TaskView, now: Wall) -> Vec<String> {
    match format {
        Format::Columns(columns) => custom_row(columns, &value(view)),
        Format::Table { wide } => row(view, *wide, now),
        Format::Name | Format::Yaml | Format::Json | Format::JsonPath(_) => vec![format!("task/{}", view.task.id)],
    }
}

/// What a watch has printed so far.
struct Watched {
    format: Format,
    table: Table,
    /// The last row of each task, as it was at the beginning: that time passes is no change.
    rows: BTreeMap<u64, Vec<String>>,
    begun: Wall,
    /// There was a row.
    any: bool,
}

impl Watched {
    fn show(&mut self, view: &TaskView) -> Result<(), Failure> {
        let same = cells(&self.format, view, self.begun);
        let fresh = self.rows.insert(view.task.id, same.clone()) != Some(same);
        match &self.format {
            Format::Yaml => emit(&format!("---\n{}", as_yaml(&value(view)))),
            Format::Json => emit(&as_json(&value(view))),
            Format::JsonPath(template) => emit(&for_programs(&template.render(&value(view)))),
            Format::Name | Format::Table { .. } | Format::Columns(_) if fresh => {
                self.make_room(view);
                self.any = true;
                self.table.add(cells(&self.format, view, now()));
                Ok(())
            }
            Format::Name | Format::Table { .. } | Format::Columns(_) => Ok(()),
        }
    }
}

impl Watched {
    /// Print what there is to print. The heads come with the first row, and are as wide.
    fn emit(&mut self) -> Result<(), Failure> {
        if self.any { emit(&self.table.take()) } else { Ok(()) }
    }

    /// A task is in several states, and has a worker in some: their columns stand still all the same.
    fn make_room(&mut self, view: &TaskView) {
        let Format::Table { wide } = &self.format else { return };
        let states = TaskState::ALL.map(|state| state.name().len()).into_iter().max();
        for (head, width) in [("STATE", states.unwrap_or(0)), ("WORKER", view.task.pool.len() + "-00".len())] {
            let column = heads(*wide).iter().position(|found| found == head);
            column.into_iter().for_each(|column| self.table.reserve(column, width));
        }
    }
}

/// Show what there is, then each change. A watch that comes too late begins again.
async fn watch(context: &Context, args: &Get, (ids, which): (&[u64], &Which), format: Format) -> Result<(), Failure> {
    let id = match ids {
        [] => None,
        [id] => Some(*id),
        [_, _, ..] => return Err(Failure::Usage("one task can be watched at a time, or all".into())),
    };
    if let Some(id) = id {
        // That it is not there is an answer, not something to wait for.
        fetch(context, id).await?;
    }
    if let Some(pool) = &which.pool {
        context.client.get(Kind::Pool, pool).await?;
    }
    let selectors = which.selectors(args, id);
    let mut watched =
        Watched { table: table(&format, !args.no_headers), format, rows: BTreeMap::new(), begun: now(), any: false };
    loop {
        let list: List = context.client.ask(Method::GET, &format!("{ROOT}/tasks?{selectors}"), Sent::nothing()).await?;
        for object in list.items {
            let view = read(object)?;
            if which.wants(&view.task) {
                watched.show(&view)?;
            }
        }
        watched.emit()?;
        match changes(context, (&list.metadata.resource_version, &selectors), which, &mut watched).await {
            Err(Failure::Server(status)) if status.code == 410 => {}
            ended => return ended,
        }
    }
}

async fn changes(
    context: &Context,
    (version, selectors): (&str, &str),
    which: &Which,
    watched: &mut Watched,
) -> Result<(), Failure> {
    let mut lines = context.client.watch_tasks(version, selectors).await?;
    while let Some(event) = lines.next::<WatchEvent>().await? {
        let view = match event.verb.as_str() {
            "ERROR" => {
                let status = serde_json::from_value(event.object).map_err(|error| Failure::Internal(error.to_string()))?;
                return Err(Failure::Server(Box::new(status)));
            }
            // It is no longer among them: it is shown once more, as it is now.
            "DELETED" => match text(&event.object, "/metadata/name").parse() {
                Ok(id) => match fetch(context, id).await {
                    Err(Failure::Server(status)) if status.code == 404 => continue,
                    found => found?,
                },
                Err(_) => continue,
            },
            _ => read(event.object)?,
        };
        let shown = watched.rows.contains_key(&view.task.id);
        if which.wants(&view.task) || shown {
            watched.show(&view)?;
        }
        if !which.wants(&view.task) && which.is_finer() {
            watched.rows.remove(&view.task.id);
        }
        watched.emit()?;
    }
    Err(Failure::NoDaemon("the daemon has ended".into()))
}

/// A task from its object.
///
/// # Errors
/// The daemon sent something else.
pub(super) fn read(object: Value) -> Result<TaskView, Failure> {
    let read: Result<TaskObject, _> = serde_json::from_value(object);
    read.map(TaskView::from).map_err(|error| Failure::Internal(format!("a task cannot be read: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn which(status: &str) -> Which {
        Which::new(None, Some(status), "").unwrap()
    }

    #[test]
    fn states_are_called_as_the_table_calls_them_too() {
        let leased = Task { state: TaskState::Leased, ..Task::default() };
        let cancelling = Task { cancelling: true, ..leased.clone() };
        let delayed = Task { not_before: Some(Wall(1)), ..Task::default() };
        for (word, wanted) in [
            ("running", [true, true, false, false]),
            ("Leased", [true, true, false, false]),
            ("Cancelling", [false, true, false, false]),
            ("Delayed", [false, false, true, false]),
            ("Queued", [false, false, true, true]),
            ("Running, Delayed", [true, true, true, false]),
            ("", [true; 4]),
        ] {
            let which = which(word);
            let found = [&leased, &cancelling, &delayed, &Task::default()].map(|task| which.wants(task));
            assert_eq!(found, wanted, "{word}");
        }
        assert!(!which("Delayed").is_finer(), "the daemon knows these words");
        let wrong = Which::new(None, Some("Runing"), "").err().unwrap().text();
        assert!(wrong.contains("found \"Runing\"") && wrong.contains("Running (Leased)"), "{wrong}");
    }

    #[test]
    fn labels_are_those_of_pool_and_worker() {
        let which = |selector| Which::new(None, None, selector).unwrap();
        let task = Task { pool: "web".into(), worker: Some("web-0".into()), ..Task::default() };
        for (selector, wanted) in [("weir.dev/pool=web", true), ("weir.dev/worker!=web-0", false), ("app=x", false), ("", true)] {
            assert_eq!(which(selector).wants(&task), wanted, "{selector}");
        }
        assert!(Which::new(None, None, "a b").is_err());
    }
}
