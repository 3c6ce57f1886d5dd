//! The catalogue as JSON: what a later start holds on to when the specs cannot be read or are broken.
//!
//! Each object is read for itself, for the file may be that of another weir. One that does not read is kept as it was written,
//! and a pool of which too little reads is held as it is, since no document can be told from none by a program that does not
//! know its fields. No moment of the boot clock is kept: it would mean nothing later.

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::catalogue::{Catalogue, Object, ObjectKey, Source, Standing, Unread};
use super::document::Document;
use super::listing::Root;
use super::meta::{API_VERSION, Kind, ObjectMeta, check_name};
use super::pool::{PoolSpec, WorkerPool};
use super::time::Moment;

/// What is kept between daemons.
#[derive(Serialize, Deserialize)]
struct Kept {
    root: Option<Root>,
    objects: Vec<Value>,
    /// The removal that is blocked.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    blocked: Value,
    /// The objects whose removal nobody needs to confirm.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    removed: Value,
}

/// An object as it is kept between daemons.
#[derive(Serialize, Deserialize)]
struct KeptObject {
    kind: Kind,
    generation: u64,
    source: Source,
    terminating: bool,
    document: Value,
}

impl Catalogue {
    /// Its objects as JSON: what a later start holds on to.
    pub fn to_json(&self) -> Value {
        let objects = self.objects.iter().map(|(key, object)| to_keep(key, object)).chain(self.aside.iter().cloned());
        let removed: BTreeSet<&ObjectKey> = self.asked.keys().chain(&self.confirmed).collect();
        let removed = if removed.is_empty() { Value::Null } else { plain(removed) };
        plain(Kept { root: self.root, objects: objects.collect(), blocked: plain(&self.prune), removed })
    }

    /// What is kept of the other one is what is kept of this.
    pub fn is_kept_as(&self, other: &Catalogue) -> bool {
        let removed = self.asked.keys().eq(other.asked.keys()) && self.confirmed == other.confirmed;
        removed && self.root == other.root && self.prune == other.prune && self.objects == other.objects
    }

    /// The catalogue that was kept; moments begin anew at `now`. An object that does not read does not spoil the others.
    ///
    /// # Errors
    /// If nothing of the JSON was written by [`Catalogue::to_json`] of any version.
    pub fn from_json(value: Value, now: Moment) -> Result<Catalogue, serde_json::Error> {
        let kept = serde_json::from_value::<Kept>(value)?;
        let mut catalogue = Catalogue { root: kept.root, ..Catalogue::default() };
        for kept in kept.objects {
            match read(kept.clone(), now) {
                Ok((key, object)) => drop(catalogue.objects.insert(key, object)),
                Err(error) => catalogue.set_aside(kept, error.to_string(), now),
            }
        }
        // Whatever was asked for or confirmed holds once it is seen to be gone, and what was blocked stays so.
        let removed: Vec<ObjectKey> = serde_json::from_value(kept.removed).unwrap_or_default();
        catalogue.asked = removed.into_iter().map(|key| (key, now)).collect();
        catalogue.prune = serde_json::from_value(kept.blocked).unwrap_or_default();
        for key in catalogue.prune.iter().flat_map(|prune| &prune.keys) {
            if let Some(object) = catalogue.objects.get_mut(key).filter(|object| object.standing == Standing::Good) {
                object.standing = Standing::Vanished { since: now };
            }
        }
        Ok(catalogue)
    }

    /// A pool is known, and what its document said is not: hold it until a document says it again.
    pub fn hold(&mut self, name: &str, (generation, source): (u64, Source), now: Moment) {
        let document = json!({"metadata": {"name": name}});
        let kept = KeptObject { kind: Kind::WorkerPool, generation, source, terminating: false, document };
        self.set_aside(plain(kept), "it is not among the accepted specs that were kept".into(), now);
    }

    fn set_aside(&mut self, kept: Value, why: String, now: Moment) {
        match pool(&kept) {
            Some((key, mut object)) => {
                if kept["terminating"] == true {
                    object.standing = Standing::Terminating { since: now };
                }
                object.unread = Some(Unread { kept, why });
                self.objects.insert(key, object);
            }
            None => self.aside.push(kept),
        }
    }

    /// A document is accepted of which nothing that reads was kept: the generation to count on from, and what did not read goes.
    pub fn take_aside(&mut self, key: &ObjectKey) -> u64 {
        let is_it = |kept: &Value| kept["kind"] == key.kind.name() && kept["document"]["metadata"]["name"] == key.name.as_str();
        let generation = self.aside.iter().find(|kept| is_it(kept)).and_then(|kept| kept["generation"].as_u64());
        self.aside.retain(|kept| !is_it(kept));
        generation.unwrap_or(0)
    }
}

fn plain(value: impl Serialize) -> Value {
    serde_json::to_value(value).expect("documents are plain data")
}

fn to_keep(key: &ObjectKey, object: &Object) -> Value {
    let terminating = object.is_terminating();
    if let Some(unread) = &object.unread {
        let mut kept = unread.kept.clone();
        kept["terminating"] = terminating.into();
        return kept;
    }
    plain(KeptObject {
        kind: key.kind,
        generation: object.generation,
        source: object.source.clone(),
        terminating,
        document: plain(&object.document),
    })
}

fn read(kept: Value, now: Moment) -> Result<(ObjectKey, Object), serde_json::Error> {
    let KeptObject { kind, generation, source, terminating, document } = serde_json::from_value(kept)?;
    let document = match kind {
        Kind::WorkerPool => Document::WorkerPool(Box::new(serde_json::from_value(document)?)),
        Kind::ResourcePolicy => Document::ResourcePolicy(Box::new(serde_json::from_value(document)?)),
    };
    let standing = if terminating { Standing::Terminating { since: now } } else { Standing::Good };
    Ok((ObjectKey::of(&document), Object { document, generation, source, standing, unread: None }))
}

/// As much as reads of a pool that was kept, if it is one and its name can be told.
fn pool(kept: &Value) -> Option<(ObjectKey, Object)> {
    let (metadata, spec) = (&kept["document"]["metadata"], &kept["document"]["spec"]);
    let name = metadata["name"].as_str().filter(|name| check_name(name).is_ok())?;
    if kept["kind"] != Kind::WorkerPool.name() {
        return None;
    }
    let metadata = ObjectMeta { name: name.into(), labels: part(metadata, "labels"), annotations: part(metadata, "annotations") };
    let spec = PoolSpec {
        replicas: part(spec, "replicas"),
        scale: part(spec, "scale"),
        template: part(spec, "template"),
        update_strategy: part(spec, "updateStrategy"),
        worker_names: part(spec, "workerNames"),
        queue: part(spec, "queue"),
        notify: part(spec, "notify"),
    };
    let pool = WorkerPool { api_version: API_VERSION.into(), kind: Kind::WorkerPool, metadata, spec };
    let object = Object {
        document: Document::WorkerPool(Box::new(pool)),
        generation: kept["generation"].as_u64().unwrap_or(0),
        source: part(kept, "source"),
        standing: Standing::Good,
        unread: None,
    };
    Some((ObjectKey::pool(name), object))
}

/// A field, if it is there and reads.
fn part<T: DeserializeOwned + Default>(of: &Value, field: &str) -> T {
    of.get(field).and_then(|value| serde_json::from_value(value.clone()).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::document::parse;

    fn catalogue() -> Catalogue {
        let pool = |name: &str| {
            format!(
                "apiVersion: weir.dev/v1\nkind: WorkerPool\nmetadata: {{name: {name}, labels: {{x: y}}}}\nspec: {{replicas: 2, template: {{command: [run]}}, queue: {{}}}}\n"
            )
        };
        let policy = "apiVersion: weir.dev/v1\nkind: ResourcePolicy\nmetadata: {name: p}\nspec: {target: {pool: a}, bounds: {min: {cpu: 1}, max: {cpu: 4}}}\n";
        let mut catalogue = Catalogue::default();
        for text in [pool("a"), pool("b"), policy.to_owned()] {
            let document = parse(text.as_bytes()).remove(0).expect("a good document").document;
            let source = Source { file: "all.yaml".into(), line: 1 };
            let object = Object { document, generation: 7, source, standing: Standing::Good, unread: None };
            catalogue.objects.insert(ObjectKey::of(&object.document), object);
        }
        catalogue
    }

    /// The kept JSON, with this at the place of each object of that name.
    fn changed(name: &str, change: impl Fn(&mut Value)) -> Value {
        let mut kept = catalogue().to_json();
        let all = kept["objects"].as_array_mut().expect("objects");
        all.iter_mut().filter(|object| object["document"]["metadata"]["name"] == name).for_each(change);
        kept
    }

    #[test]
    fn an_object_that_does_not_read_spoils_no_other_and_is_kept_as_it_was() {
        let kept = changed("a", |object| object["document"]["spec"]["template"]["fresh"] = 1.into());
        let read = Catalogue::from_json(kept.clone(), Moment(5)).expect("it reads");
        let (a, b) = (&read.objects[&ObjectKey::pool("a")], &read.objects[&ObjectKey::pool("b")]);
        assert_eq!(b, &catalogue().objects[&ObjectKey::pool("b")]);
        assert!(a.unread.as_ref().is_some_and(|unread| unread.why.contains("fresh")), "{a:?}");
        let pool = a.pool().expect("a pool");
        assert_eq!((a.generation, a.source.file.as_str(), pool.spec.replicas), (7, "all.yaml", Some(2)), "what does read");
        assert!(pool.spec.queue.is_some() && pool.metadata.labels.contains_key("x") && pool.spec.template.command.is_empty());
        assert_eq!(read.to_json(), kept, "for whoever can read it");
        assert_eq!(Catalogue::from_json(read.to_json(), Moment(5)).expect("it reads again"), read);
    }

    #[test]
    fn what_is_no_pool_is_set_aside_until_a_document_takes_its_place() {
        let mut kept = changed("p", |object| object["document"]["spec"]["fresh"] = 1.into());
        let strange = json!({"kind": "Fresh", "document": {"metadata": {"name": "a"}}});
        kept["objects"].as_array_mut().expect("objects").push(strange);
        let mut read = Catalogue::from_json(kept.clone(), Moment(5)).expect("it reads");
        assert_eq!((read.objects.len(), read.aside.len()), (2, 2));
        assert!(read.objects.values().all(|object| object.unread.is_none()));
        let objects = |value: &Value| value["objects"].as_array().expect("objects").len();
        assert_eq!(objects(&read.to_json()), objects(&kept));
        assert_eq!((read.take_aside(&ObjectKey::policy("p")), read.aside.len()), (7, 1));
        assert_eq!(read.take_aside(&ObjectKey::policy("p")), 0);
    }

    #[test]
    fn a_name_that_is_none_becomes_no_pool() {
        let kept = changed("a", |object| object["document"]["metadata"]["name"] = "../a".into());
        let kept = [kept, changed("a", |object| object["document"]["metadata"] = Value::Null)];
        for mut kept in kept {
            kept["objects"][0]["document"]["spec"]["fresh"] = 1.into();
            let read = Catalogue::from_json(kept, Moment(5)).expect("it reads");
            assert_eq!((read.objects.len(), read.aside.len()), (2, 1), "{read:?}");
        }
        assert!(Catalogue::from_json(json!([1]), Moment(5)).is_err());
    }

    #[test]
    fn a_pool_of_which_only_the_name_is_known_is_held_and_one_that_ends_goes_on_ending() {
        let mut catalogue = Catalogue::default();
        catalogue.hold("a", (3, Source::default()), Moment(5));
        let a = &catalogue.objects[&ObjectKey::pool("a")];
        assert!(a.unread.is_some() && a.generation == 3 && a.standing == Standing::Good);
        let kept = changed("a", |object| {
            object["document"]["spec"]["fresh"] = 1.into();
            object["terminating"] = true.into();
        });
        let read = Catalogue::from_json(kept, Moment(5)).expect("it reads");
        assert_eq!(read.objects[&ObjectKey::pool("a")].standing, Standing::Terminating { since: Moment(5) });
    }
}
