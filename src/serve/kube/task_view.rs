//! A task as an object, as a row, and as one of those that are wanted: what lists and watches of tasks share.
//!
//! It is read from the queue for each request; nothing is kept here.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::{Value, json};

use super::table::{Include, headed, with_cells};
use super::told::{Of, Place, Tasks};
use crate::engine::handle::{LISTED_MAX, TaskFilter};
use crate::model::task::{Task, TaskState};
use crate::model::time::Wall;
use crate::serve::app::{App, Filter, Query, number};
use crate::serve::refusal::{Refusal, bad};
use crate::serve::tasks::view;
use crate::serve::wire::mcp::outside::tame;
use crate::serve::wire::task_columns::{Word, heads, row};
use crate::serve::wire::tasks::{LIST_DEFAULT, TaskObject, TaskView};

/// What tasks can be selected by, besides their labels.
const FIELDS: &[&str] = &["metadata.name", "spec.pool", "status.state"];

/// Which tasks are wanted.
pub struct Wanted {
    filter: Filter,
    narrow: TaskFilter,
    /// Words for states, as the tables show them, and whether each is to fit.
    words: Vec<(bool, Word)>,
    /// As they were written: for labels, and for fields.
    selectors: (String, String),
}

impl Wanted {
    /// # Errors
    /// 400 for selectors that cannot be read.
    pub fn new(query: &Query) -> Result<Wanted, Refusal> {
        let mut filter = Filter::new(query, FIELDS)?;
        let word = |word: String| word.parse::<Word>().map_err(|why| bad(format!("field selector: status.state: {why}")));
        let words: Vec<(bool, Word)> =
            filter.take("status.state").into_iter().map(|(is, text)| Ok((is, word(text)?))).collect::<Result<_, Refusal>>()?;
        let most = number(query, "limit")?.filter(|most| *most > 0);
        // A list that is as long as was asked for may not be all: what cannot be had must not be asked for.
        let most = most.map_or(LIST_DEFAULT, |most| u32::try_from(most).unwrap_or(u32::MAX).min(LISTED_MAX));
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
        // Those of other states are not to take the places of the first ones.
        let perhaps = |state: TaskState, (is, word): &(bool, Word)| {
            if *is { word.of == state } else { !(word.of == state && word.is_whole()) }
        };
        narrow.states = TaskState::ALL.into_iter().filter(|state| words.iter().all(|word| perhaps(*state, word))).collect();
        if narrow.states.is_empty() {
            narrow.id = Some(0);
        }
        let written = |name: &str| query.get(name).cloned().unwrap_or_default();
        Ok(Wanted { filter, narrow, words, selectors: (written("labelSelector"), written("fieldSelector")) })
    }

    /// Whether not all tasks are wanted.
    pub fn selects(&self) -> bool {
        self.selectors != Default::default()
    }

    /// Whether one task is wanted, by its name.
    pub fn is_of_one(&self) -> bool {
        self.narrow.id.is_some()
    }

    /// These tasks at this number of change, for [`super::told::Told`].
    pub fn place(&self, number: u64) -> Place {
        (self.selectors.0.clone(), self.selectors.1.clone(), number)
    }

    /// Whether this task is one of them.
    pub fn wants(&self, task: &Task, number: u64) -> bool {
        self.fits(task) && self.filter.wants(&Shown::new(view(task.clone()), number).object)
    }

    fn fits(&self, task: &Task) -> bool {
        self.words.iter().all(|(is, word)| word.fits(task) == *is)
    }

    /// The tasks, as they are sent, and whether there may be more of them.
    ///
    /// # Errors
    /// 500 when the queue cannot be read.
    pub async fn look(&self, app: &App, number: u64) -> Result<(Vec<Shown>, bool), Refusal> {
        // The queue knows states and no finer words: what is looked for among those of a state must not be cut off before.
        let most = if self.words.iter().all(|(_, word)| word.is_whole()) { self.narrow.most } else { LISTED_MAX };
        let (mut found, cut) = app.handle.tasks(TaskFilter { most, ..self.narrow.clone() }).await?;
        let more = cut || found.len() >= most as usize;
        found.retain(|found| self.fits(&found.task));
        let more = more || found.len() > self.narrow.most as usize;
        found.truncate(self.narrow.most as usize);
        let mut shown: Vec<Shown> = found.into_iter().map(|task| Shown::new(task.into(), number)).collect();
        shown.retain(|shown| self.filter.wants(&shown.object));
        Ok((shown, more))
    }
}

/// The tasks of a list, as they are remembered.
pub fn remembered<'a>(shown: impl IntoIterator<Item = &'a Shown>) -> Tasks {
    let of = |one: &Shown| Of { over: one.view.task.is_taken_back(), digest: Some(one.digest()) };
    shown.into_iter().map(|one| (one.view.task.id, of(one))).collect()
}

/// A task in both of its shapes.
pub struct Shown {
    /// As `/v1/tasks` has it.
    pub view: TaskView,
    /// As an object.
    pub object: Value,
    /// The number of change.
    pub number: u64,
}

impl Shown {
    /// A task as it was at this number of change.
    pub fn new(view: TaskView, number: u64) -> Shown {
        let mut object = json!(TaskObject::from(view.clone()));
        object["metadata"]["resourceVersion"] = number.to_string().into();
        Shown { view, object, number }
    }

    /// Another number when there is something else to tell of it: all but its place, which changes with every other one's.
    pub fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let status = self.object["status"].as_object().into_iter().flatten();
        for (key, value) in status.filter(|(key, _)| !["position", "estimatedWait"].contains(&key.as_str())) {
            (key, value.to_string()).hash(&mut hasher);
        }
        hasher.finish()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn narrow(query: &[(&str, &str)]) -> TaskFilter {
        let query = query.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Wanted::new(&query).ok().unwrap().narrow
    }

    #[test]
    fn no_more_is_asked_of_the_queue_than_it_lists() {
        for (limit, most) in
            [("", LIST_DEFAULT), ("0", LIST_DEFAULT), ("7", 7), ("20000", LISTED_MAX), ("9999999999", LISTED_MAX)]
        {
            assert_eq!(narrow(&[("limit", limit)]).most, most, "{limit}");
        }
    }

    #[test]
    fn the_queue_looks_for_what_it_can() {
        let of = |fields| narrow(&[("fieldSelector", fields)]);
        assert_eq!(of("status.state=Held,spec.pool=a").states, [TaskState::Held]);
        assert_eq!(of("status.state!=Held").states.len(), TaskState::ALL.len() - 1);
        assert_eq!(of("spec.pool=a").states, TaskState::ALL);
        assert_eq!(of("status.state=running").states, [TaskState::Leased]);
        assert_eq!(of("status.state!=Running").states.len(), TaskState::ALL.len() - 1);
        assert_eq!(of("status.state=Delayed").states, [TaskState::Queued]);
        assert_eq!(of("status.state!=Delayed").states, TaskState::ALL, "some that are queued are not delayed");
        assert_eq!(of("status.state=Held,status.state=Dead").id, Some(0));
        let nonsense = [("fieldSelector".to_owned(), "status.state=Nonsense".to_owned())].into();
        let refused = Wanted::new(&nonsense).err().unwrap();
        assert!(refused.status().code == 400 && refused.status().message.contains("Running (Leased)"), "{refused:?}");
        assert_eq!((of("metadata.name==7").id, of("metadata.name=x").id), (Some(7), Some(0)));
    }
}
