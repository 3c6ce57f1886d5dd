//! A watch client that is cut off, lags, or comes back too late, as Kubernetes' clients do it: what it knows in the end is what is
//! there, every time.

use std::collections::BTreeMap;

use serde_json::Value;

use super::served::{World, pool};
use super::{get, parsed, stream};
use weir::model::status::{Kind, Object};

/// Of each pool its number of ready workers.
type Known = BTreeMap<String, u64>;

/// What each round does to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Blow {
    /// Its connection ends in the middle.
    Cut,
    /// It does not read while more happens than is kept.
    Lag,
    /// It comes back with a version that is long gone.
    Late,
}

struct Client<'a> {
    world: &'a World,
    known: Known,
    version: String,
    relisted: usize,
}

impl Client<'_> {
    fn list(&mut self) {
        let (code, list) = get(self.world, "/apis/weir.dev/v1/workerpools");
        assert_eq!(code, 200);
        self.known = list["items"].as_array().unwrap().iter().map(entry).collect();
        self.version = text(&list["metadata"]);
        self.relisted += 1;
    }

    fn watch(&self) -> impl Iterator<Item = String> + use<> {
        stream(self.world, &format!("/apis/weir.dev/v1/workerpools?watch=true&resourceVersion={}", self.version))
    }

    /// Take in an event; false: list again.
    fn take(&mut self, event: &Value) -> bool {
        let object = &event["object"];
        match event["type"].as_str() {
            Some("ADDED" | "MODIFIED") => self.known.extend([entry(object)]),
            Some("DELETED") => drop(self.known.remove(&entry(object).0)),
            _ => {
                let status = if event["type"] == "ERROR" { object } else { event };
                assert_eq!((&status["code"], &status["reason"]), (&410.into(), &"Expired".into()), "{event}");
                return false;
            }
        }
        let (before, now) = (number(&self.version), number(&text(&object["metadata"])));
        assert!(now > before, "{now} came after {before}");
        self.version = now.to_string();
        true
    }

    /// Until what is known is what is there.
    fn catch_up(&mut self) {
        while self.known != there(self.world) {
            for line in self.watch() {
                if !self.take(&parsed(Some(line))) {
                    self.list();
                    break;
                }
                if self.known == there(self.world) {
                    return;
                }
            }
        }
    }
}

fn number(version: &str) -> u64 {
    version.parse().unwrap()
}

fn text(metadata: &Value) -> String {
    metadata["resourceVersion"].as_str().unwrap().to_owned()
}

fn entry(object: &Value) -> (String, u64) {
    (
        object.pointer("/metadata/name").unwrap().as_str().unwrap().to_owned(),
        object.pointer("/status/readyReplicas").unwrap().as_u64().unwrap(),
    )
}

fn there(world: &World) -> Known {
    let all = world.board.list(Kind::Pool).1;
    let ready = |object: &Object| match object {
        Object::Pool(pool) => u64::from(pool.status.ready_replicas),
        Object::Worker(_) | Object::Policy(_) | Object::Event(_) => unreachable!("pools were asked for"),
    };
    all.iter().map(|object| (object.meta().name.clone(), ready(object))).collect()
}

/// Changes that are the same in every run.
struct Dice {
    state: u64,
    /// Seven pools, each with none to nine ready workers.
    pools: Vec<Object>,
}

impl Dice {
    fn new() -> Dice {
        Dice { state: 7, pools: (0..70).map(|n| pool(&format!("p{}", n / 10), 9, n % 10)).collect() }
    }

    fn below(&mut self, n: usize) -> usize {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.state >> 33).unwrap() % n
    }

    fn change(&mut self, world: &World) {
        let n = self.below(self.pools.len());
        match self.below(5) {
            0 => drop(world.board.remove(Kind::Pool, &self.pools[n].meta().name)),
            _ => drop(world.board.put(self.pools[n].clone())),
        }
    }
}

#[test]
fn a_client_that_is_cut_lags_or_is_late_misses_no_final_state_a_thousand_times() {
    let world = World::new();
    let mut dice = Dice::new();
    // More than is kept, so that the first version is gone.
    (0..5000).for_each(|_| dice.change(&world));
    let mut client = Client { world: &world, known: Known::new(), version: String::new(), relisted: 0 };
    client.list();
    let mut blows: BTreeMap<Blow, usize> = BTreeMap::new();
    for round in 0..1000 {
        let blow = if round % 50 == 7 {
            Blow::Lag
        } else if round % 5 == 3 {
            Blow::Late
        } else {
            Blow::Cut
        };
        *blows.entry(blow).or_default() += 1;
        let mut events = client.watch();
        for _ in 0..dice.below(4) {
            dice.change(&world);
            while client.known != there(&world) {
                let line = events.next().unwrap_or_else(|| panic!("{round}: {:?} is not {:?}", client.known, there(&world)));
                // One that is told to list again has what is there, and goes on from there.
                if !client.take(&parsed(Some(line))) {
                    client.list();
                    events = client.watch();
                }
            }
        }
        match blow {
            Blow::Cut => drop(events),
            Blow::Lag => {
                (0..12_000).for_each(|_| dice.change(&world));
                let told = events.by_ref().find(|line| !client.take(&parsed(Some(line.clone()))));
                assert!(told.is_some(), "{round}: a client that lags is told so");
                client.list();
            }
            Blow::Late => client.version = "1".into(),
        }
        // What happens while it is away.
        (0..dice.below(6)).for_each(|_| dice.change(&world));
        client.catch_up();
        assert_eq!(client.known, there(&world), "{round}: {blow:?}");
    }
    assert!(client.relisted > blows[&Blow::Late], "{blows:?}, listed {} times", client.relisted);
}

/// A pool with this label, and so many ready workers.
fn tiered(name: &str, tier: &str, ready: u32) -> Object {
    let mut object = pool(name, 9, ready);
    if let Object::Pool(pool) = &mut object {
        pool.metadata.labels.insert("tier".into(), tier.into());
    }
    object
}

/// A pool, its tier and its ready workers; and what whoever selects by `tier=front` is told.
const STEPS: [(&str, &str, u32, Option<&str>); 7] = [
    ("b", "front", 1, Some("ADDED")),
    ("b", "front", 2, Some("MODIFIED")),
    ("a", "back", 3, Some("DELETED")),
    ("a", "back", 4, None),
    ("a", "front", 5, Some("ADDED")),
    ("b", "back", 6, Some("DELETED")),
    ("a", "front", 7, Some("MODIFIED")),
];

#[test]
fn what_enters_a_selection_is_added_and_what_leaves_it_is_deleted() {
    let world = World::new();
    let put = |name: &str, tier: &str, ready: u32| world.board.put(tiered(name, tier, ready));
    let pools = "/apis/weir.dev/v1/workerpools";
    let selected = "labelSelector=tier%3Dfront";
    let told = |event: Option<String>| {
        let event = parsed(event);
        (text_of(&event, "/type"), text_of(&event, "/object/metadata/name"))
    };
    let is = |verb: &str, name: &str| (verb.to_owned(), name.to_owned());
    put("a", "front", 0);
    put("b", "back", 0);
    let version = text(&get(&world, &format!("{pools}?{selected}")).1["metadata"]);
    // One that begins with what is there, and one that goes on from a list.
    let mut fresh = stream(&world, &format!("{pools}?watch=1&{selected}"));
    assert_eq!(told(fresh.next()), is("ADDED", "a"));
    let mut listed = stream(&world, &format!("{pools}?watch=1&{selected}&resourceVersion={version}"));
    // Told to both, so both have begun before anything enters or leaves.
    put("a", "front", 9);
    assert_eq!((told(fresh.next()), told(listed.next())), (is("MODIFIED", "a"), is("MODIFIED", "a")));
    for (name, tier, ready, expected) in STEPS {
        put(name, tier, ready);
        for events in [&mut fresh, &mut listed] {
            if let Some(verb) = expected {
                assert_eq!(told(events.next()), is(verb, name), "{name} {tier} {ready}");
            }
        }
    }
    // Of what changed before the watch began nobody knows how it was at first: it is changed, or gone.
    let mut late = stream(&world, &format!("{pools}?watch=1&{selected}&resourceVersion={version}"));
    for (verb, name) in [("MODIFIED", "a"), ("MODIFIED", "b"), ("MODIFIED", "b"), ("DELETED", "a"), ("ADDED", "a")] {
        assert_eq!(told(late.next()), is(verb, name));
    }
}

fn text_of(event: &Value, pointer: &str) -> String {
    event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}
