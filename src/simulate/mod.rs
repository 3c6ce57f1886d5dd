//! `weir simulate`: what a spec would have made of a trace, before anyone commits it.
//!
//! The decisions are the daemon's own functions over virtual time ([`world`]); here files are read, the parts are joined and
//! the [`report`] is printed. Nothing is started and nothing is written but the picture that was asked for.

mod report;
mod trace;
mod work;
mod world;

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub use work::Work;

use self::report::Report;
use self::trace::{Point, Trace};
use self::world::{Feed, Setup};
use crate::chart::Chart;
use crate::edge::clock;
use crate::edge::store::read::Reader;
use crate::model::batch::Reading;
use crate::model::catalogue::Catalogue;
use crate::model::document::{self, Document};
use crate::model::plan::PoolFacts;
use crate::model::pool::WorkerPool;
use crate::model::status::Source;
use crate::model::time::{Moment, Span, Wall};
use crate::output;

/// Lines of a terminal chart.
const CHART_LINES: u16 = 18;

/// What to simulate, and how to show it.
#[derive(Clone, Debug)]
pub struct Options {
    /// The document of the pool; absent: the one that is accepted in the state directory.
    pub spec: Option<PathBuf>,
    /// Which pool, where there are several.
    pub pool: Option<String>,
    /// A trace.
    pub backlog: Option<PathBuf>,
    /// What the daemon kept, of so long before now, in this state directory.
    pub recorded: Option<(PathBuf, Span)>,
    /// The trace is of tasks that come in.
    pub arrivals: bool,
    /// How long tasks take.
    pub work: Option<Work>,
    /// From the start of a worker to its being ready.
    pub start_delay: Span,
    /// How long to simulate; absent: as long as the trace.
    pub length: Option<Span>,
    /// The distance of samples in chart and JSON.
    pub step: Span,
    /// Draw on the terminal.
    pub chart: bool,
    /// Write a picture.
    pub svg: Option<PathBuf>,
    /// Write a picture.
    pub png: Option<PathBuf>,
    /// Print JSON and no table.
    pub json: bool,
}

/// Why there is no simulation, with the exit code that says so.
struct Trouble {
    code: u8,
    message: String,
}

/// Used wrongly, or a file cannot be read.
fn wrong(message: impl Into<String>) -> Trouble {
    Trouble { code: 2, message: message.into() }
}

/// What was read is refused.
fn refused(message: impl Into<String>) -> Trouble {
    Trouble { code: 1, message: message.into() }
}

/// Simulate and print. 0: done; 1: the document or the trace is refused; 2: used wrongly.
pub fn run(options: &Options) -> ExitCode {
    match simulate(options) {
        Ok(printed) => printed,
        Err(trouble) => {
            output::complain(&trouble.message);
            ExitCode::from(trouble.code)
        }
    }
}

fn simulate(options: &Options) -> Result<ExitCode, Trouble> {
    if options.png.is_some() && !cfg!(feature = "png") {
        return Err(wrong("--png: this weir was built without the feature png (cargo install --features png); use --svg"));
    }
    if options.length.is_some_and(|span| span.0 == 0 || span.0 > trace::LENGTH_MAX) {
        return Err(wrong("--for: more than nothing and at most a year"));
    }
    let mut facts = pool(options)?;
    let Fed { feed, begin, last } = feed(options, &facts)?;
    let left_out = world::playable(&mut facts);
    let setup = Setup {
        begin: begin.unwrap_or_default(),
        feed,
        work: options.work,
        start_delay: options.start_delay.0,
        end: options.length.map(|span| span.0).or(last),
        facts,
    };
    let outcome = world::run(&setup);
    let scale = setup.facts.spec.scale.as_ref();
    let report = Report {
        pool: &setup.facts.name,
        begin,
        window: scale.map(|scale| scale.behavior.scale_down.stabilization_window).unwrap_or_default(),
        step: options.step,
        closed: options.arrivals,
        notes: notes(options, &setup, &left_out),
        outcome: &outcome,
    };
    show(options, &report)
}

fn notes(options: &Options, setup: &Setup, left_out: &[&str]) -> Vec<String> {
    let mut notes = Vec::new();
    if !left_out.is_empty() {
        notes.push(format!("not simulated: {}", left_out.join(", ")));
    }
    if options.work.is_none() {
        notes.push("no --task-duration: workers are never busy".into());
    }
    let scale = setup.facts.spec.scale.as_ref();
    let clocked =
        scale.is_some_and(|scale| !scale.schedules.is_empty() || scale.triggers.iter().any(|t| t.source.schedule.is_some()));
    if clocked && setup.begin == Wall(0) {
        notes.push("the trace has no dates, so schedules see a clock that begins at 1970-01-01T00:00:00Z".into());
    }
    notes
}

/// The pool: of the document, or as it is accepted.
fn pool(options: &Options) -> Result<PoolFacts, Trouble> {
    let (pools, from) = match (&options.spec, &options.recorded) {
        (Some(path), _) => (from_file(path)?, path.display().to_string()),
        (None, Some((state, _))) => (accepted(state)?, state.display().to_string()),
        (None, None) => return Err(wrong("a pool to simulate is needed: --spec FILE")),
    };
    let names: Vec<String> = pools.iter().map(|pool| pool.metadata.name.clone()).collect();
    let mut wanted = pools.into_iter().filter(|pool| options.pool.as_ref().is_none_or(|name| pool.metadata.name == *name));
    match (wanted.next(), wanted.next(), &options.pool) {
        (Some(pool), None, _) => Ok(facts(pool)),
        (None, _, Some(name)) => Err(wrong(format!("{from}: there is no pool {name}; there are: {}", names.join(", ")))),
        (None, _, None) => Err(wrong(format!("{from}: there is no pool"))),
        (Some(_), Some(_), _) => Err(wrong(format!("{from}: which pool? --pool with one of {}", names.join(", ")))),
    }
}

fn from_file(path: &Path) -> Result<Vec<WorkerPool>, Trouble> {
    let bytes = std::fs::read(path).map_err(|e| wrong(format!("{}: {e}", path.display())))?;
    let mut pools = Vec::new();
    for parsed in document::parse(&bytes) {
        match parsed {
            Ok(located) => match located.document {
                Document::WorkerPool(pool) => pools.push(*pool),
                Document::ResourcePolicy(_) => {}
            },
            Err(bad) => {
                let all: Vec<String> = bad.violations.iter().map(|one| one.at(&path.display().to_string())).collect();
                return Err(refused(all.join("\nweir: ")));
            }
        }
    }
    Ok(pools)
}

fn accepted(state: &Path) -> Result<Vec<WorkerPool>, Trouble> {
    let text = Reader::open(&state.join("weir.db")).and_then(|reader| reader.catalogue()).map_err(wrong)?;
    let kept = text.as_deref().and_then(|text| serde_json::from_str(text).ok());
    let catalogue = kept.and_then(|kept| Catalogue::from_json(kept, Moment(0)).ok()).unwrap_or_default();
    Ok(catalogue.pools().filter(|(_, object, _)| object.unread.is_none()).map(|(_, _, pool)| pool.clone()).collect())
}

fn facts(pool: WorkerPool) -> PoolFacts {
    PoolFacts {
        template: pool.spec.template_hash(),
        generation: 1,
        source: Source::default(),
        labels: pool.metadata.labels,
        annotations: pool.metadata.annotations,
        ending: None,
        spec: pool.spec,
        ..PoolFacts::orphan(&pool.metadata.name)
    }
}

/// What comes in.
struct Fed {
    feed: Feed,
    /// When it begins, if that is known.
    begin: Option<Wall>,
    /// When it ends, in milliseconds; none: with the last task.
    last: Option<u64>,
}

fn feed(options: &Options, facts: &PoolFacts) -> Result<Fed, Trouble> {
    if options.arrivals && options.work.is_none() {
        return Err(wrong("--arrivals: how long a task takes is needed: --task-duration or --service-rate"));
    }
    if let Some((state, span)) = &options.recorded {
        return recorded(state, *span, facts);
    }
    let Some(path) = &options.backlog else {
        return Err(wrong("a trace is needed: --backlog TRACE.csv, or --from 24h for what the daemon kept"));
    };
    let text = std::fs::read_to_string(path).map_err(|e| wrong(format!("{}: {e}", path.display())))?;
    let Trace { begin, points } =
        trace::parse(&text, options.arrivals).map_err(|why| refused(format!("{}: {why}", path.display())))?;
    if options.arrivals {
        return Ok(Fed { feed: Feed::Arrivals(points), begin, last: None });
    }
    let last = points.last().map(|last| last.at);
    if last.is_none_or(|last| last == 0) && options.length.is_none() {
        return Err(refused(format!("{}: it ends where it begins: give --for, or a row at its end", path.display())));
    }
    let mut all: BTreeMap<String, Vec<Point>> =
        world::asked(facts).map(|trigger| (trigger.name().to_owned(), points.clone())).collect();
    if all.is_empty() {
        // Nobody reads it, and it is shown all the same.
        all.insert("trace".into(), points);
    }
    Ok(Fed { feed: Feed::Reported(all), begin, last })
}

/// What the daemon kept of each trigger.
fn recorded(state: &Path, span: Span, facts: &PoolFacts) -> Result<Fed, Trouble> {
    let from = Wall(clock::now().wall.0.saturating_sub(i64::try_from(span.0).unwrap_or(i64::MAX)));
    let rows = Reader::open(&state.join("weir.db")).and_then(|reader| reader.readings(&facts.name, from)).map_err(wrong)?;
    let Some(first) = rows.iter().map(|reading| reading.at).min() else {
        return Err(refused(format!("{}: no readings of pool/{} in the last {span}", state.display(), facts.name)));
    };
    let begin = first.max(from);
    let mut all: BTreeMap<String, Vec<Point>> = BTreeMap::new();
    for Reading { trigger, at, value, .. } in rows {
        let at = u64::try_from(at.0 - begin.0).unwrap_or(0);
        all.entry(trigger).or_default().push(Point { at, value });
    }
    let missing: Vec<&str> = world::asked(facts).map(|trigger| trigger.name()).filter(|name| !all.contains_key(*name)).collect();
    if !missing.is_empty() {
        let (there, missing) = (all.keys().cloned().collect::<Vec<_>>().join(", "), missing.join(", "));
        return Err(refused(format!("no readings were kept of {missing}; there are: {there}")));
    }
    let last = all.values().flatten().map(|point| point.at).max();
    all.retain(|name, _| world::asked(facts).any(|trigger| trigger.name() == name));
    Ok(Fed { feed: Feed::Reported(all), begin: Some(begin), last })
}

fn show(options: &Options, report: &Report<'_>) -> Result<ExitCode, Trouble> {
    let chart = report.chart();
    let write = |path: &Path, bytes: &[u8]| std::fs::write(path, bytes).map_err(|e| wrong(format!("{}: {e}", path.display())));
    if let Some(path) = &options.svg {
        write(path, chart.svg().as_bytes())?;
    }
    if let Some(path) = &options.png {
        write(path, &png(&chart)?)?;
    }
    let mut text = String::new();
    if options.json {
        text = serde_json::to_string_pretty(&report.json()).expect("a report is plain data") + "\n";
    } else {
        if options.chart {
            text = chart.terminal(width(), CHART_LINES, colored()) + "\n";
        }
        text += &report.text();
    }
    Ok(output::print(&text, ExitCode::SUCCESS))
}

#[cfg(feature = "png")]
fn png(chart: &Chart) -> Result<Vec<u8>, Trouble> {
    chart.png().map_err(|why| refused(format!("--png: {why}")))
}

#[cfg(not(feature = "png"))]
fn png(_: &Chart) -> Result<Vec<u8>, Trouble> {
    Err(wrong("--png: this weir was built without the feature png"))
}

fn colored() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

fn width() -> u16 {
    std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok()).unwrap_or(90).min(200)
}

#[cfg(test)]
mod tests;
