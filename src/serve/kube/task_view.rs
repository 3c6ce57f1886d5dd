//! A task as an object, as a row, and as one of those that are wanted: what lists and watches of tasks share.
//!
//! It is read from the queue for each request; nothing is kept here.

use serde_json::{Value, json};

use super::table::{Include, headed, with_cells};
use crate::engine::handle::TaskFilter;
use crate::model::task::Task;
use crate::model::time::Wall;
use crate::serve::app::{App, Filter, Query, number};
use crate::serve::refusal::Refusal;
use crate::serve::tasks::view;
use crate::serve::wire::mcp::outside::tame;
use crate::serve::wire::task_columns::{heads, row};
use crate::serve::wire::tasks::{LIST_DEFAULT, TaskObject, TaskView};

/// What tasks can be selected by, besides their labels.
const FIELDS: &[&str] = &["metadata.name", "spec.pool", "status.state"];

/// Which tasks are wanted.
pub struct Wanted {
    filter: Filter,
    narrow: TaskFilter,
}

impl Wanted {
    /// # Errors
    /// 400 for selectors that cannot be read.
    pub fn new(query: &Query) -> Result<Wanted, Refusal> {
        let filter = Filter::new(query, FIELDS)?;
        let most =
            number(query, "limit")?.filter(|most| *most > 0).map_or(LIST_DEFAULT, |most| u32::try_from(most).unwrap_or(u32::MAX));
        // What the queue itself can look for: one task, or those of a pool.
        let selectors = [("fieldSelector", "metadata.name", "spec.pool"), ("labelSelector", "", "weir.dev/pool")];
        let mut narrow = TaskFilter { most, ..TaskFilter::default() };
        for (selector, name, pool) in selectors {
            for part in query.get(selector).map(String::as_str).unwrap_or_default().split(',') {
                match part.replace("==", "=").split_once('=') {
                    // A name that is no number is nobody's.
                    Some((key, value)) if key == name => narrow.id = Some(value.parse().unwrap_or(0)),
                    Some((key, value)) if key == pool => narrow.pool = Some(value.to_owned()),
                    Some(_) | None => {}
                }
            }
        }
        Ok(Wanted { filter, narrow })
    }

    /// Whether this task is one of them.
    pub fn wants(&self, task: &Task, number: u64) -> bool {
        self.filter.wants(&Shown::new(view(task.clone()), number).object)
    }

    /// The tasks, as they are sent, and whether there may be more of them.
    ///
    /// # Errors
    /// 500 when the queue cannot be read.
    pub async fn look(&self, app: &App, number: u64) -> Result<(Vec<Shown>, bool), Refusal> {
        let found = app.handle.tasks(self.narrow.clone()).await?;
        let more = found.len() >= self.narrow.most as usize;
        let mut shown: Vec<Shown> = found.into_iter().map(|task| Shown::new(task.into(), number)).collect();
        shown.retain(|shown| self.filter.wants(&shown.object));
        Ok((shown, more))
    }
}

/// A task in both of its shapes.
pub struct Shown {
    /// As `/v1/tasks` has it.
    pub view: TaskView,
    /// As an object.
    pub object: Value,
}

impl Shown {
    /// A task as it was at this number of change.
    pub fn new(view: TaskView, number: u64) -> Shown {
        let mut object = json!(TaskObject::from(view.clone()));
        object["metadata"]["resourceVersion"] = number.to_string().into();
        Shown { view, object }
    }

    /// Its row in a table.
    pub fn row(&self, include: Include, now: Wall) -> Value {
        let cells: Vec<String> = row(&self.view, true, now).iter().map(|cell| tame(cell)).collect();
        with_cells(&cells, &self.object, include)
    }
}

/// A table of tasks without rows.
pub fn table(version: &str) -> Value {
    headed(
        (heads(true).into_iter().map(|head| if head == "ID" { "NAME".into() } else { head }).collect(), heads(false).len()),
        version,
    )
}
