//! What must hold whatever happens to the directory: no prefix of a spec harms, and random deeds come to rest.
//! Random deeds of users and file systems, judged after each and again when everything has come to rest.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::world::{World, spec};
use crate::model::catalogue::{Catalogue, Standing};
use crate::model::document::Document;
use crate::model::listing::Arrival;

/// Nothing was stopped, replaced or reduced.
fn unharmed(before: &World, after: &World) -> Result<(), String> {
    for (key, old) in &before.admission.catalogue.objects {
        let Some(new) = after.admission.catalogue.objects.get(key) else { return Err(format!("{key} is gone")) };
        let (Document::WorkerPool(old), Document::WorkerPool(pool)) = (&old.document, &new.document) else { continue };
        let same = old.spec.template == pool.spec.template && old.spec.fixed_replicas() <= pool.spec.fixed_replicas();
        if !same || matches!(new.standing, Standing::Terminating { .. } | Standing::Vanished { .. }) {
            return Err(format!("{key}: {:?}", new.standing));
        }
    }
    Ok(())
}

fn real_specs() -> [String; 5] {
    let full = include_str!("../../../model/document/full.yaml");
    let small = spec("a", 12);
    let two = format!("# two pools\n{}---\n{}", spec("a", 10), spec("b", 20));
    let late_name = "apiVersion: weir.dev/v1\nkind: WorkerPool\nspec:\n  replicas: 25\n  template:\n    command: [run, one, two]\nmetadata:\n  name: late-name\n";
    let flow = "{apiVersion: weir.dev/v1, kind: WorkerPool, metadata: {name: flow}, spec: {replicas: 10, template: {command: [sleep, '1000']}}}\n";
    [full.into(), small, two, late_name.into(), flow.into()]
}

#[test]
fn no_prefix_of_a_spec_harms_what_runs() {
    for text in real_specs() {
        let mut start = World::new();
        start.rename("a.yaml", &text);
        assert!(!start.admission.catalogue.objects.is_empty() && start.admission.catalogue.refused.is_empty());
        for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
            for arrival in [Arrival::ClosedWrite, Arrival::Writing, Arrival::Unknown] {
                let mut world = World { admission: start.admission.clone(), files: start.files.clone(), ..World::new() };
                world.put("a.yaml", &text[..end], arrival);
                world.pass(500);
                unharmed(&start, &world).unwrap_or_else(|why| panic!("{why} after\n{}", &text[..end]));
                world.put("a.yaml", &text, arrival);
                world.pass(5000);
                unharmed(&start, &world).unwrap_or_else(|why| panic!("{why} after the whole of\n{}", &text[..end]));
            }
        }
    }
}

/// What may happen to the directory.
#[derive(Clone, Debug)]
enum Deed {
    Put { file: u8, text: u8, how: u8 },
    Remove { file: u8 },
    Unreadable(bool),
    Pass(u64),
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        4 => (0..3u8, 0..8u8, 0..4u8).prop_map(|(file, text, how)| Deed::Put { file, text, how }),
        2 => (0..3u8).prop_map(|file| Deed::Remove { file }),
        1 => any::<bool>().prop_map(Deed::Unreadable),
        4 => prop_oneof![Just(1), Just(50), Just(200), Just(300), Just(2000), Just(9000), 0..12_000u64].prop_map(Deed::Pass),
    ]
}

fn text(n: u8) -> String {
    match n {
        0 => spec("a", 1),
        1 => spec("a", 3),
        2 => spec("b", 1),
        3 => spec("a", 2) + "---\n" + &spec("b", 2),
        4 => "spec: [".into(),
        5 => spec("a", 1).replace("replicas", "replica"),
        6 => spec("c", 1),
        7.. => String::new(),
    }
}

fn perform(world: &mut World, deed: &Deed) {
    let name = |file: &u8| format!("f{file}.yaml");
    match deed {
        Deed::Put { file, text: n, how } => {
            let arrival = [Arrival::RenamedIn, Arrival::ClosedWrite, Arrival::Writing, Arrival::Unknown][usize::from(*how)];
            world.put(&name(file), &text(*n), arrival);
        }
        Deed::Remove { file } => world.remove(&name(file)),
        Deed::Unreadable(yes) => {
            world.unreadable = yes.then(|| "gone".into());
            world.look();
        }
        Deed::Pass(ms) => world.pass(*ms),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_happens_the_promises_hold(deeds in proptest::collection::vec(deed(), 1..40)) {
        let mut world = World::new();
        for deed in &deeds {
            let before = world.admission.catalogue.clone();
            perform(&mut world, deed);
            let after = &world.admission.catalogue;
            for (key, old) in &before.objects {
                let new = after.objects.get(key);
                prop_assert!(new.is_some(), "{key} was forgotten though nobody said so");
                let new = new.unwrap();
                prop_assert!(new.generation >= old.generation);
                let same = old.pool().unwrap().spec == new.pool().unwrap().spec;
                prop_assert!(same == (new.generation == old.generation) || new.generation > old.generation + 1, "{key}");
            }
            if world.unreadable.is_some() && !matches!(deed, Deed::Unreadable(true)) {
                let documents = |c: &Catalogue| c.objects.values().map(|o| (o.document.clone(), o.is_terminating())).collect::<Vec<_>>();
                prop_assert_eq!(documents(&before), documents(after));
            }
        }
        // Left alone it comes to rest, and says what the files say.
        world.unreadable = None;
        world.look();
        world.pass(60_000);
        prop_assert_eq!(world.wake_at, None);
        let mut claims: BTreeMap<String, Vec<Document>> = BTreeMap::new();
        for file in world.files.values() {
            for located in file.content.as_ref().unwrap().documents.iter().flatten() {
                claims.entry(located.document.name().into()).or_default().push(located.document.clone());
            }
        }
        for (name, documents) in &claims {
            if let [only] = documents.as_slice() {
                prop_assert_eq!(&world.object(name).document, only);
                prop_assert_eq!(&world.object(name).standing, &Standing::Good);
            }
        }
        for (key, object) in &world.admission.catalogue.objects {
            let contested = claims.get(&key.name).is_some_and(|documents| documents.len() > 1);
            if contested && matches!(object.standing, Standing::Terminating { .. }) {
                // Two documents name an object whose workers are being stopped: neither can bring it back.
                continue;
            }
            let gone = matches!(object.standing, Standing::Terminating { .. } | Standing::Vanished { .. });
            prop_assert_eq!(claims.contains_key(&key.name), !gone && !matches!(object.standing, Standing::Held { .. }), "{}", key);
        }
    }
}
