//! `get`: lists, single objects and watches, in every output format.
//!
//! What is not there does not keep the rest from being shown, but it decides the exit code. A watch that fell behind lists
//! again by itself.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Context;
use crate::ctl::args::Get;
use crate::ctl::client::encoded;
use crate::ctl::error::Failure;
use crate::ctl::jsonpath::{Template, bare};
use crate::ctl::print::{Format, Table, as_json, as_yaml, custom_row, emit, for_programs, list_of, note, reference};
use crate::ctl::resource::{Target, targets};
use crate::ctl::text::complain;
use crate::ctl::time::now;
use crate::model::selector::Selector;
use crate::model::status::Kind;
use crate::model::time::Wall;
use crate::serve::wire::WatchEvent;
use crate::serve::wire::columns::{heads, row, text};

/// Objects of one kind.
struct Group {
    kind: Kind,
    objects: Vec<Value>,
}

/// How objects are shown.
struct Look {
    format: Format,
    heads: bool,
    /// Names with their kind, when there is more than one.
    mixed: bool,
}

/// `ctl get`
pub(super) async fn run(context: &Context, args: Get) -> Result<(), Failure> {
    let targets = targets(&args.what)?;
    let look = Look { format: Format::parse(args.output.as_deref())?, heads: !args.no_headers, mixed: targets.len() > 1 };
    args.selector.parse::<Selector>().map_err(|error| Failure::Usage(format!("-l: {error}")))?;
    let sort = args.sort_by.as_deref().map(Template::path).transpose();
    let sort = sort.map_err(|error| Failure::Usage(format!("--sort-by: {error}")))?;
    if args.watch {
        return watch(context, &targets, &args.selector, &look).await;
    }
    let (mut groups, mut failed) = (Vec::new(), Vec::new());
    for target in &targets {
        let mut group = fetch(context, target, &args.selector, &mut failed).await?;
        arrange(group.kind, &mut group.objects, sort.as_ref());
        groups.push(group);
    }
    let named = targets.iter().map(|target| target.names.len()).sum::<usize>();
    show(&groups, &look, named == 1 && targets.len() == 1)?;
    let last = failed.pop();
    failed.iter().for_each(|failure| complain(&failure.text()));
    last.map_or(Ok(()), Err)
}

/// The objects of a target. One that is not there does not keep the others from being shown.
async fn fetch(context: &Context, target: &Target, selector: &str, failed: &mut Vec<Failure>) -> Result<Group, Failure> {
    let kind = target.kind;
    if target.names.is_empty() {
        let list = context.list(kind, selector).await?;
        return Ok(Group { kind, objects: list.items });
    }
    if !selector.is_empty() {
        return Err(Failure::Usage("a selector and a name cannot be given together".into()));
    }
    let mut objects = Vec::new();
    for name in &target.names {
        match context.get(kind, name).await {
            Ok(object) => objects.push(object),
            Err(failure @ (Failure::Server(_) | Failure::No(_))) => failed.push(failure),
            Err(failure) => return Err(failure),
        }
    }
    Ok(Group { kind, objects })
}

/// By the path that was asked for; events by time.
fn arrange(kind: Kind, objects: &mut [Value], sort: Option<&Template>) {
    match (sort, kind) {
        (Some(path), _) => objects.sort_by(|a, b| compare(path.find(a).first().copied(), path.find(b).first().copied())),
        (None, Kind::Event) => objects.sort_by(|a, b| text(a, "/eventTime").cmp(text(b, "/eventTime"))),
        (None, Kind::Worker) => objects.sort_by_cached_key(|worker| by_ordinal(text(worker, "/metadata/name"))),
        (None, Kind::Pool | Kind::Policy) => {}
    }
}

/// `a-2` before `a-10`; those with a name of their own after them.
pub(super) fn by_ordinal(worker: &str) -> (String, u64, String) {
    let (pool, last) = worker.rsplit_once('-').unwrap_or((worker, ""));
    (pool.to_owned(), last.parse().unwrap_or(u64::MAX), last.to_owned())
}

/// Numbers as numbers, the rest as text; what is missing comes first.
pub(super) fn compare(a: Option<&Value>, b: Option<&Value>) -> Ordering {
    match (a.and_then(Value::as_f64), b.and_then(Value::as_f64)) {
        (Some(a), Some(b)) => a.total_cmp(&b),
        (_, _) => a.map(bare).cmp(&b.map(bare)),
    }
}

fn show(groups: &[Group], look: &Look, single: bool) -> Result<(), Failure> {
    let all: Vec<&Value> = groups.iter().flat_map(|group| &group.objects).collect();
    // Whoever asked for one thing by name gets that thing; otherwise a list, even of none.
    let whole = || match all.as_slice() {
        [only] if single => (*only).clone(),
        many => list_of(many),
    };
    if single && all.is_empty() {
        return Ok(());
    }
    match &look.format {
        Format::Yaml => emit(&as_yaml(&whole())),
        Format::Json => emit(&as_json(&whole())),
        Format::JsonPath(template) => emit(&for_programs(&template.render(&whole()))),
        Format::Name | Format::Table { .. } | Format::Columns(_) if all.is_empty() => {
            note("No resources found.");
            Ok(())
        }
        Format::Name | Format::Table { .. } | Format::Columns(_) => tables(groups, look),
    }
}

fn tables(groups: &[Group], look: &Look) -> Result<(), Failure> {
    let mut texts = Vec::new();
    for group in groups.iter().filter(|group| !group.objects.is_empty()) {
        let mut table = table(group.kind, look);
        for object in &group.objects {
            table.add(cells(group.kind, look, object, now()));
        }
        texts.push(table.take());
    }
    let between = if matches!(look.format, Format::Table { .. }) { "\n" } else { "" };
    emit(&texts.join(between))
}

fn table(kind: Kind, look: &Look) -> Table {
    match &look.format {
        Format::Columns(columns) => Table::custom(columns, look.heads),
        Format::Table { wide } => Table::new(&heads(kind, *wide), look.heads),
        Format::Name | Format::Yaml | Format::Json | Format::JsonPath(_) => Table::new(&[String::new()], false),
    }
}

fn cells(kind: Kind, look: &Look, object: &Value, now: Wall) -> Vec<String> {
    match &look.format {
        Format::Columns(columns) => custom_row(columns, object),
        Format::Table { wide } => {
            let mut row = row(kind, *wide, object, now);
            if look.mixed && kind != Kind::Event {
                row[0] = reference(kind, object);
            }
            row
        }
        Format::Name | Format::Yaml | Format::Json | Format::JsonPath(_) => vec![reference(kind, object)],
    }
}

/// What a watch has printed so far.
struct Watched<'a> {
    kind: Kind,
    look: &'a Look,
    table: Table,
    /// The last row of each object, as it was at the beginning: that time passes is no change.
    rows: BTreeMap<String, Vec<String>>,
    begun: Wall,
}

/// Show what there is, then each change. A watch that lagged too far behind begins again.
async fn watch(context: &Context, targets: &[Target], selector: &str, look: &Look) -> Result<(), Failure> {
    let [target] = targets else { return Err(Failure::Usage("one resource type can be watched at a time".into())) };
    if target.names.len() > 1 {
        return Err(Failure::Usage("one name can be watched at a time, or all".into()));
    }
    let selectors = match target.names.first() {
        Some(name) => format!("&fieldSelector=metadata.name%3D{}", encoded(name)),
        None => format!("&labelSelector={}", encoded(selector)),
    };
    let kind = target.kind;
    let mut watched = Watched { kind, look, table: table(kind, look), rows: BTreeMap::new(), begun: now() };
    loop {
        // From the version of the whole: an object's own may be as old as its last change.
        let list = context.client.list(kind, selector).await?;
        let (mut objects, version) = (list.items, list.metadata.resource_version);
        if let Some(name) = target.names.first() {
            objects.retain(|object| text(object, "/metadata/name") == name);
            if objects.is_empty() {
                // It says what there is instead.
                objects.push(context.client.get(kind, name).await?);
            }
        }
        arrange(kind, &mut objects, None);
        watched.list(&objects)?;
        match changes(context, &version, &selectors, &mut watched).await {
            Err(Failure::Server(status)) if status.code == 410 => {}
            ended => return ended,
        }
    }
}

async fn changes(context: &Context, version: &str, selectors: &str, watched: &mut Watched<'_>) -> Result<(), Failure> {
    let mut lines = context.client.watch(watched.kind, version, selectors).await?;
    while let Some(event) = lines.next::<WatchEvent>().await? {
        match event.verb.as_str() {
            "ERROR" => {
                let status = serde_json::from_value(event.object).map_err(|error| Failure::Internal(error.to_string()))?;
                return Err(Failure::Server(Box::new(status)));
            }
            _ if event.is_succeeded() => {}
            "DELETED" => watched.gone(&event.object)?,
            _ => watched.show(&event.object)?,
        }
        emit(&watched.table.take())?;
    }
    Err(Failure::NoDaemon("the daemon has ended".into()))
}

impl Watched<'_> {
    /// All that there is now; what is not among it is forgotten.
    fn list(&mut self, objects: &[Value]) -> Result<(), Failure> {
        let names: BTreeSet<&str> = objects.iter().map(|object| text(object, "/metadata/name")).collect();
        self.rows.retain(|name, _| names.contains(name.as_str()));
        objects.iter().try_for_each(|object| self.show(object))?;
        emit(&self.table.take())
    }

    fn show(&mut self, object: &Value) -> Result<(), Failure> {
        match &self.look.format {
            Format::Yaml => emit(&format!("---\n{}", as_yaml(object))),
            Format::Json => emit(&as_json(object)),
            Format::JsonPath(template) => emit(&for_programs(&template.render(object))),
            Format::Name | Format::Table { .. } | Format::Columns(_) => {
                self.add(object, |_| {});
                Ok(())
            }
        }
    }

    /// A row, when it is another one than this object's last.
    fn add(&mut self, object: &Value, change: impl Fn(&mut Vec<String>)) {
        let row = |at| {
            let mut row = cells(self.kind, self.look, object, at);
            change(&mut row);
            row
        };
        let (shown, same) = (row(now()), row(self.begun));
        let last = self.rows.insert(text(object, "/metadata/name").to_owned(), same.clone());
        if last != Some(same) {
            self.table.add(shown);
        }
    }

    /// The object is shown once more, marked in the table; of history that is no longer kept nothing is.
    fn gone(&mut self, object: &Value) -> Result<(), Failure> {
        match &self.look.format {
            Format::Table { wide } if self.kind != Kind::Event => {
                let status = heads(self.kind, *wide).iter().position(|head| head == "STATUS");
                self.add(object, |row| {
                    status.and_then(|n| row.get_mut(n)).into_iter().for_each(|cell| *cell = "Deleted".into());
                });
            }
            Format::Table { .. } | Format::Name | Format::Columns(_) => {}
            Format::Yaml | Format::Json | Format::JsonPath(_) => self.show(object)?,
        }
        self.rows.remove(text(object, "/metadata/name"));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_stand_in_the_order_of_their_numbers_by_pool() {
        let mut names = ["b-0", "a-10", "a-forge", "lone", "a-2", "a-b-1", "a-0"];
        names.sort_by_cached_key(|name| by_ordinal(name));
        assert_eq!(names, ["a-0", "a-2", "a-10", "a-forge", "a-b-1", "b-0", "lone"]);
    }
}
