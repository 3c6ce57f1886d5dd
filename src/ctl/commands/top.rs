//! `top`: what pools and workers use now, as `kubectl top` prints it; with `-w` shown again until it is ended: at once when a row
//! comes or goes, with new figures every two seconds.
//!
//! The daemon tells CPU time used so far; the rate is made here of two looks. It measures for these requests and at no other
//! time. What is not known is `<unknown>`, never 0.

use std::collections::BTreeMap;
use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::Context;
use super::get::by_ordinal;
use super::there::{There, kept};
use crate::ctl::args::{Top, TopBy};
use crate::ctl::client::Sent;
use crate::ctl::error::Failure;
use crate::ctl::print::{Table, as_json, emit, note, redraw};
use crate::ctl::resource::{Target, short, targets};
use crate::model::meta::quoted;
use crate::model::status::Kind;
use crate::serve::wire::columns::text;
use crate::serve::wire::usage::{UsageList, WorkerUsage};

/// From the first look to the second: as short as the kernel's 10 ms ticks allow for a rate in percents.
const FIRST: Duration = Duration::from_millis(500);
/// Between the looks of `-w`.
const NEXT: Duration = Duration::from_secs(2);
/// What comes and goes together is shown at once.
const BURST: Duration = Duration::from_millis(50);

/// What one row shows; absent: not known.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    name: String,
    /// Thousandths of a core.
    cpu: Option<u64>,
    /// Bytes.
    memory: Option<u64>,
    /// Processes and threads.
    tasks: Option<u64>,
    /// Of a pool: its running workers. Of a worker: its pool.
    about: String,
}

/// `ctl top`
pub(super) async fn run(context: &Context, args: &Top) -> Result<(), Failure> {
    let target = target(&args.what)?;
    let mut view = View { target, args, before: look(context).await?.items, drawn: false };
    tokio::time::sleep(FIRST).await;
    let now = look(context).await?;
    if args.watch {
        return follow(context, &mut view, now.items).await;
    }
    let objects = context.client.list(view.target.kind, &args.selector).await?.items;
    let names: Vec<&str> = objects.iter().map(|object| text(object, "/metadata/name")).collect();
    view.draw(&names, &now.items)?;
    explain(&now);
    Ok(())
}

/// What is shown, and how.
struct View<'a> {
    target: Target,
    args: &'a Top,
    /// The look that rates begin at.
    before: Vec<WorkerUsage>,
    drawn: bool,
}

impl View<'_> {
    fn draw(&mut self, names: &[&str], now: &[WorkerUsage]) -> Result<(), Failure> {
        let (kind, args) = (self.target.kind, self.args);
        let rows = rows(&self.target, args.sort_by, names, (&self.before, now))?;
        let shown = if args.json() { as_json(&as_value(kind, &rows)) } else { table(kind, &rows, !args.no_headers) };
        let first = !std::mem::replace(&mut self.drawn, true);
        if args.watch { redraw(&shown, first) } else { emit(&shown) }
    }
}

/// Rows come and go as the daemon tells; figures are looked at in between.
async fn follow(context: &Context, view: &mut View<'_>, now: Vec<WorkerUsage>) -> Result<(), Failure> {
    let (shown, running) = (watch::Sender::new(None), watch::Sender::new(None));
    let (kind, selector) = (view.target.kind, &view.args.selector);
    tokio::select! {
        failure = kept(context, kind, selector, &shown) => Err(failure),
        // A pool's row is the sum of workers that come and go, too.
        failure = kept(context, Kind::Worker, "", &running) => Err(failure),
        ended = draw(context, view, now, (shown.subscribe(), running.subscribe())) => ended,
    }
}

async fn draw(
    context: &Context,
    view: &mut View<'_>,
    mut now: Vec<WorkerUsage>,
    (mut shown, mut running): (watch::Receiver<There>, watch::Receiver<There>),
) -> Result<(), Failure> {
    let mut next = std::pin::pin!(tokio::time::sleep(NEXT));
    // What changed before the first lists is in them.
    let _listed = running.wait_for(Option::is_some).await.is_ok();
    now = joined(now, look(context).await?.items);
    loop {
        // Both senders live as long as this does.
        let names = shown.wait_for(Option::is_some).await.map(|there| there.clone().unwrap_or_default()).unwrap_or_default();
        view.draw(&names.keys().map(String::as_str).collect::<Vec<_>>(), &now)?;
        tokio::select! {
            () = &mut next => {
                view.before = std::mem::replace(&mut now, look(context).await?.items);
                next.set(tokio::time::sleep(NEXT));
                continue;
            }
            _ = shown.changed() => {}
            _ = running.changed() => {}
        }
        tokio::time::sleep(BURST).await;
        shown.mark_unchanged();
        running.mark_unchanged();
        now = joined(now, look(context).await?.items);
    }
}

/// Those that run now. Figures of runs that were looked at already stay until it is time for them: a rate over a few
/// milliseconds is none.
fn joined(before: Vec<WorkerUsage>, now: Vec<WorkerUsage>) -> Vec<WorkerUsage> {
    let mut before: BTreeMap<(String, i32), WorkerUsage> =
        before.into_iter().map(|usage| ((usage.worker.clone(), usage.pid), usage)).collect();
    now.into_iter().map(|usage| before.remove(&(usage.worker.clone(), usage.pid)).unwrap_or(usage)).collect()
}

fn target(words: &[String]) -> Result<Target, Failure> {
    let mut all = targets(words)?.into_iter();
    let mut first = all.next().ok_or_else(|| Failure::Usage("say what: pools or workers".into()))?;
    for more in all {
        if more.kind != first.kind {
            return Err(Failure::Usage("pools and workers cannot be shown in one table: ask for one of them".into()));
        }
        first.names.extend(more.names);
    }
    match first.kind {
        Kind::Pool | Kind::Worker => Ok(first),
        Kind::Policy | Kind::Event => Err(Failure::Usage("top shows pools or workers; for policies: ctl get policies".into())),
    }
}

async fn look(context: &Context) -> Result<UsageList, Failure> {
    context.client.ask(Method::GET, "/v1/usage", Sent::nothing()).await
}

/// Why a number is missing, said once.
fn explain(list: &UsageList) {
    if let Some((worker, why)) = list.items.iter().find_map(|item| Some((&item.worker, item.unknown.as_ref()?)))
        && list.items.iter().any(|item| item.cpu_micros.is_none() || item.memory_bytes.is_none() || item.tasks.is_none())
    {
        note(&format!("note: not everything is known: {worker}: {why}"));
    }
}

fn rows(
    target: &Target,
    by: Option<TopBy>,
    names: &[&str],
    (before, now): (&[WorkerUsage], &[WorkerUsage]),
) -> Result<Vec<Row>, Failure> {
    if let Some(missing) = target.names.iter().find(|name| !names.contains(&name.as_str())) {
        let of = short(target.kind);
        return Err(Failure::No(format!("there is no {of} {}: see `ctl get {of}s`", quoted(missing))));
    }
    let wanted = |name: &str| target.names.is_empty() || target.names.iter().any(|asked| asked == name);
    let earlier: BTreeMap<&str, &WorkerUsage> = before.iter().map(|usage| (usage.worker.as_str(), usage)).collect();
    let workers = now.iter().map(|usage| worker(usage, earlier.get(usage.worker.as_str()).copied()));
    let mut rows: Vec<Row> = match target.kind {
        Kind::Pool => {
            let all: Vec<Row> = workers.collect();
            names.iter().filter(|name| wanted(name)).map(|name| pool(name, &all)).collect()
        }
        Kind::Worker | Kind::Policy | Kind::Event => {
            workers.filter(|row| wanted(&row.name) && names.contains(&row.name.as_str())).collect()
        }
    };
    match by {
        // The largest first, as kubectl has it; what is not known last.
        Some(by) => rows.sort_by_key(|row| std::cmp::Reverse(by.of(row.cpu, row.memory, row.tasks))),
        None => rows.sort_by_cached_key(|row| by_ordinal(&row.name)),
    }
    Ok(rows)
}

fn worker(now: &WorkerUsage, before: Option<&WorkerUsage>) -> Row {
    let before = before.filter(|before| before.pid == now.pid && before.at_millis < now.at_millis);
    let cpu = before.and_then(|before| {
        let used = now.cpu_micros?.saturating_sub(before.cpu_micros?);
        // Microseconds in a millisecond are thousandths of a core; a little use is not none.
        Some(used.div_ceil(now.at_millis - before.at_millis))
    });
    Row { name: now.worker.clone(), cpu, memory: now.memory_bytes, tasks: now.tasks, about: now.pool.clone() }
}

/// The sum of its workers; not known where one of theirs is not.
fn pool(name: &str, workers: &[Row]) -> Row {
    let of: Vec<&Row> = workers.iter().filter(|row| row.about == name).collect();
    let sum = |what: fn(&Row) -> Option<u64>| of.iter().map(|row| what(row)).sum::<Option<u64>>();
    let (cpu, memory, tasks) = (sum(|row| row.cpu), sum(|row| row.memory), sum(|row| row.tasks));
    Row { name: name.into(), cpu, memory, tasks, about: of.len().to_string() }
}

fn table(kind: Kind, rows: &[Row], heads: bool) -> String {
    let about = if kind == Kind::Pool { "WORKERS" } else { "POOL" };
    let mut table = Table::new(&["NAME", "CPU(cores)", "MEMORY(bytes)", "TASKS", about].map(str::to_owned), heads);
    let known = |number: Option<String>| number.unwrap_or_else(|| "<unknown>".into());
    for row in rows {
        let cpu = known(row.cpu.map(|milli| format!("{milli}m")));
        let memory = known(row.memory.map(|bytes| format!("{}Mi", bytes.div_ceil(1 << 20))));
        table.add(vec![row.name.clone(), cpu, memory, known(row.tasks.map(|n| n.to_string())), row.about.clone()]);
    }
    table.take()
}

fn as_value(kind: Kind, rows: &[Row]) -> Value {
    let about = if kind == Kind::Pool { "workers" } else { "pool" };
    let one = |row: &Row| {
        let number = |n: Option<u64>| n.map_or(Value::Null, Value::from);
        let of =
            if kind == Kind::Pool { row.about.parse::<u64>().map_or(Value::Null, Value::from) } else { row.about.clone().into() };
        json!({"name": row.name, "cpuMillicores": number(row.cpu), "memoryBytes": number(row.memory), "tasks": number(row.tasks), about: of})
    };
    json!({"kind": "UsageList", "items": rows.iter().map(one).collect::<Vec<_>>()})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(worker: &str, pid: i32, at: u64, cpu: u64) -> WorkerUsage {
        let pool = worker.rsplit_once('-').unwrap().0.to_owned();
        let (memory_bytes, tasks, unknown) = (Some(5 << 20), Some(3), None);
        WorkerUsage { worker: worker.into(), pool, pid, at_millis: at, cpu_micros: Some(cpu), memory_bytes, tasks, unknown }
    }

    fn words(text: &str) -> Target {
        target(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn rates_are_of_one_run_and_sums_of_what_is_known() {
        let before = [usage("web-0", 7, 1000, 10_000), usage("web-1", 8, 1000, 0), usage("web-2", 9, 1000, 5)];
        // web-1 was started again; web-2 did nothing.
        let now = [usage("web-0", 7, 1500, 260_000), usage("web-1", 18, 1500, 90_000), usage("web-2", 9, 1500, 5)];
        let workers = ["web-0", "web-1", "web-2"];
        let all = rows(&words("workers"), None, &workers, (&before, &now)).unwrap();
        assert_eq!(all.iter().map(|row| row.cpu).collect::<Vec<_>>(), [Some(500), None, Some(0)]);
        let pools = ["idle", "web"];
        let text = table(Kind::Pool, &rows(&words("pools"), None, &pools, (&before, &now)).unwrap(), true);
        let expected = "\
NAME   CPU(cores)   MEMORY(bytes)   TASKS   WORKERS
idle   0m           0Mi             0       0
web    <unknown>    15Mi            9       3
";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_run_keeps_its_figures_until_it_is_time_and_another_run_has_its_own() {
        let old = vec![usage("a-0", 1, 1000, 5), usage("a-1", 2, 1000, 5), usage("a-2", 3, 1000, 5)];
        let new = vec![usage("a-0", 1, 1001, 9), usage("a-1", 22, 1001, 9), usage("a-3", 4, 1001, 9)];
        let all = joined(old, new);
        let shown: Vec<(&str, i32, u64)> = all.iter().map(|usage| (usage.worker.as_str(), usage.pid, usage.at_millis)).collect();
        assert_eq!(shown, [("a-0", 1, 1000), ("a-1", 22, 1001), ("a-3", 4, 1001)]);
    }

    #[test]
    fn names_and_orders() {
        let before = [usage("a-0", 1, 0, 0), usage("a-1", 2, 0, 0)];
        let now = [usage("a-0", 1, 1000, 5_000), usage("a-1", 2, 1000, 900_000)];
        let objects = ["a-0", "a-1"];
        let first = |text: &str, by| rows(&words(text), by, &objects, (&before, &now)).map(|rows| rows[0].name.clone());
        assert_eq!(first("workers", None).unwrap(), "a-0");
        assert_eq!(first("workers", Some(TopBy::Cpu)).unwrap(), "a-1");
        assert_eq!(first("worker/a-1", None).unwrap(), "a-1");
        assert!(first("worker/a-9", None).unwrap_err().text().contains("there is no worker \"a-9\""));
        for wrong in ["policies", "pool/a worker/b", "nothing"] {
            assert!(target(&wrong.split(' ').map(str::to_owned).collect::<Vec<_>>()).is_err(), "{wrong}");
        }
    }
}
