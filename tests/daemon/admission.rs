//! Nothing that can happen to the specs directory by accident stops a worker.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use super::harness::{Scratch, wait};

type Break = (&'static str, fn(&Path));

/// Twelve ways of making the directory unreadable or empty. The good one is kept beside it as `specs.good`.
const WAYS: [Break; 12] = [
    ("moved away", |_| {}),
    ("emptied", |dir| fs::create_dir(dir).expect("made")),
    ("a file in its place", |dir| fs::write(dir, "x").expect("written")),
    ("a dangling link", |dir| symlink("/no/such/place", dir).expect("linked")),
    ("a link to itself", |dir| symlink(dir, dir).expect("linked")),
    ("a link to a device", |dir| symlink("/dev/null", dir).expect("linked")),
    ("another directory with other files", |dir| {
        fs::create_dir(dir).expect("made");
        fs::write(dir.join("readme.txt"), "hello").expect("written");
    }),
    ("only an empty file", |dir| {
        fs::create_dir(dir).expect("made");
        fs::write(dir.join("web.yaml"), "").expect("written");
    }),
    ("only broken files", |dir| {
        fs::create_dir(dir).expect("made");
        for name in ["web.yaml", "two.yaml"] {
            fs::write(dir.join(name), "spec: [").expect("written");
        }
    }),
    ("files that cannot be opened", |dir| {
        fs::create_dir(dir).expect("made");
        for name in ["web.yaml", "two.yaml"] {
            symlink("/no/such/file", dir.join(name)).expect("linked");
        }
    }),
    ("directories with the files' names", |dir| {
        for name in ["web.yaml", "two.yaml"] {
            fs::create_dir_all(dir.join(name)).expect("made");
        }
    }),
    ("fifos with the files' names", |dir| {
        fs::create_dir(dir).expect("made");
        for name in ["web.yaml", "two.yaml"] {
            std::process::Command::new("mkfifo").arg(dir.join(name)).status().expect("made");
        }
    }),
];

#[test]
fn twelve_ways_of_losing_the_directory_stop_nobody() {
    let mut scratch = Scratch::new().with(&["--prune-grace", "300ms"]);
    scratch.put("web.yaml", &scratch.pool("web", 2, "", ""));
    scratch.put("two.yaml", &scratch.pool("two", 2, "", ""));
    scratch.start();
    let before = scratch.wait_workers(4);
    let (dir, good) = (scratch.dir.join("specs"), scratch.dir.join("specs.good"));
    for (n, (how, break_it)) in WAYS.iter().enumerate() {
        fs::rename(&dir, &good).expect("moved");
        break_it(&dir);
        std::thread::sleep(Duration::from_millis(900));
        assert_eq!(scratch.workers(), before, "{how}");
        if dir.is_symlink() || dir.is_file() {
            fs::remove_file(&dir).expect("removed");
        } else if dir.exists() {
            fs::remove_dir_all(&dir).expect("removed");
        }
        fs::rename(&good, &dir).expect("moved back");
        // The next good edit is seen: labels change nothing for the workers.
        let label = format!("{{name: web, labels: {{round: \"{n}\"}}}}");
        scratch.put("web.yaml", &scratch.pool("web", 2, "", "").replace("{name: web}", &label));
        let seen = |status: &serde_json::Value| status["metadata"]["labels"]["round"].as_str() == Some(&n.to_string());
        scratch.wait_status("workerpools", "web", seen);
        assert_eq!(scratch.workers(), before, "{how}, and back");
    }
}

/// Five real specs; each is written over itself in prefixes.
fn real_specs(scratch: &Scratch) -> Vec<(String, String)> {
    let long = "    backoff: {initial: 2s, max: 30s, resetAfter: 2m}\n    logs: {maxSize: 10Mi, maxFiles: 12, maxRate: 10Mi}\n";
    vec![
        ("one".into(), scratch.pool("one", 2, "", "")),
        ("twelve".into(), scratch.pool("twelve", 12, "", "")),
        ("long".into(), scratch.pool("long", 2, "", long)),
        (
            "last".into(),
            format!(
                "{}  replicas: 3\n",
                scratch.pool("last", 1, "", "  updateStrategy: {type: OnIdle}\n").replace("  replicas: 1\n", "")
            ),
        ),
        ("pair".into(), format!("{}---\n{}", scratch.pool("pair", 1, "", ""), scratch.pool("pear", 1, "", ""))),
    ]
}

#[test]
fn prefixes_of_specs_in_place_of_the_whole_stop_nobody() {
    let mut scratch = Scratch::new().with(&["--prune-grace", "10s"]);
    let specs = real_specs(&scratch);
    for (name, text) in &specs {
        scratch.put(&format!("{name}.yaml"), text);
    }
    scratch.start();
    let before = scratch.wait_workers(2 + 12 + 2 + 3 + 2);
    let longest = specs.iter().map(|(_, text)| text.len()).max().unwrap_or(0);
    // All five at once: a prefix for half a second, then the whole again. Every length, or a sample of them.
    let rounds = std::env::var("WEIR_PREFIXES").ok().and_then(|n| n.parse().ok()).unwrap_or(16usize).min(longest);
    for round in 0..rounds {
        for (name, text) in &specs {
            let cut = if rounds >= longest { round } else { text.len() * (2 * round + 1) / (2 * rounds) };
            scratch.write(&format!("{name}.yaml"), &text[..cut.min(text.len() - 1)]);
        }
        std::thread::sleep(Duration::from_millis(500));
        for (name, text) in &specs {
            scratch.write(&format!("{name}.yaml"), text);
        }
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(scratch.workers(), before, "round {round}");
    }
}

#[test]
fn hostile_files_are_refused_quickly_and_delay_nobody() {
    let mut scratch = Scratch::new();
    scratch.put("good.yaml", &scratch.pool("good", 1, "", ""));
    scratch.start();
    scratch.wait_workers(1);
    let head = "apiVersion: weir.dev/v1\nkind: WorkerPool\n";
    let bomb: String = (0..10)
        .map(|n| {
            if n == 0 {
                "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".into()
            } else {
                format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(","))
            }
        })
        .collect();
    let named = |name: &str| format!("{head}metadata: {{name: \"{name}\"}}\nspec: {{template: {{command: [x]}}}}\n");
    let with = |spec: &str| format!("{head}metadata: {{name: h}}\nspec: {{template: {{command: [x]}}, {spec}}}\n");
    let texts: Vec<(&str, Vec<u8>)> = vec![
        ("bomb", format!("{head}{bomb}").into_bytes()),
        ("nesting", format!("{head}spec: {}", "[".repeat(100_000)).into_bytes()),
        ("nul", b"apiVersion: weir.dev/v1\0\n".to_vec()),
        ("utf8", b"apiVersion: \xff\xfe\n".to_vec()),
        ("dots", named("../x").into_bytes()),
        ("longname", named(&"n".repeat(4096)).into_bytes()),
        ("huge", with("replicas: 99999999999999999999").into_bytes()),
        ("negative", with("replicas: -1").into_bytes()),
        ("float", with("replicas: .inf").into_bytes()),
    ];
    for (name, text) in &texts {
        let file = format!("{name}.yaml");
        let aside = scratch.dir.join("aside");
        fs::write(&aside, text).expect("written");
        refused_soon(&scratch, &file, || fs::rename(&aside, scratch.spec(&file)).expect("renamed"));
    }
    refused_soon(&scratch, "fifo.yaml", || {
        assert!(std::process::Command::new("mkfifo").arg(scratch.spec("fifo.yaml")).status().expect("made").success())
    });
    refused_soon(&scratch, "device.yaml", || symlink("/dev/zero", scratch.spec("device.yaml")).expect("linked"));
    refused_soon(&scratch, "sparse.yaml", || {
        fs::File::create(scratch.spec("sparse.yaml")).and_then(|f| f.set_len(1 << 30)).expect("made")
    });
    // A byte order mark is no harm, and the good pool is served as ever.
    scratch.put("bom.yaml", &format!("\u{feff}{}", scratch.pool("bom", 1, "", "")));
    scratch.put("good.yaml", &scratch.pool("good", 2, "", ""));
    scratch.wait_workers(3);
}

#[test]
fn a_file_that_is_still_open_is_not_believed() {
    let mut scratch = Scratch::new();
    let text = scratch.pool("web", 1, "", "").replace("  replicas: 1\n", "") + "  replicas: 12";
    scratch.put("web.yaml", &text);
    scratch.start();
    let before = scratch.wait_workers(12);
    let cut = |file: &str, text: &str| {
        let mut open = fs::File::create(scratch.spec(file)).expect("opened");
        open.write_all(text.as_bytes()).expect("written");
        open
    };
    let mut web = cut("web.yaml", &text[..text.len() - 1]);
    let fresh = scratch.pool("new", 1, "", "");
    let mut new = cut("new.yaml", &fresh[..fresh.rfind("    env:").expect("the environment") - 1]);
    wait("a line about both", || (scratch.log().matches("open for writing").count() == 2).then_some(()), || scratch.log());
    std::thread::sleep(Duration::from_secs(1));
    assert!(scratch.workers() == before && !scratch.log().contains("pool/new"), "{}", scratch.log());
    web.write_all(b"3").expect("written");
    new.write_all(&fresh.as_bytes()[fresh.rfind("    env:").expect("the environment") - 1..]).expect("written");
    drop((web, new));
    scratch.wait_workers(14);
}

/// The refusal of a file is a line within half a second (two on a busy machine), from when it is put there by `put`.
fn refused_soon(scratch: &Scratch, file: &str, put: impl Fn()) {
    let began = Instant::now();
    put();
    wait(&format!("a refusal of {file}"), || scratch.log().contains(&format!("{file}:")).then_some(()), || scratch.log());
    let took = began.elapsed();
    println!("{file}: refused after {took:?}");
    assert!(took < Duration::from_secs(2), "{file}: {took:?}");
}

#[test]
fn many_pools_that_vanish_at_once_wait_for_a_confirmation() {
    let mut scratch = Scratch::new().with(&["--prune-grace", "300ms"]);
    for n in 0..4 {
        scratch.put(&format!("p{n}.yaml"), &scratch.pool(&format!("p{n}"), 1, "", ""));
    }
    scratch.start();
    let before = scratch.wait_workers(4);
    for n in 0..3 {
        fs::remove_file(scratch.spec(&format!("p{n}.yaml"))).expect("removed");
    }
    wait(
        "the line about it",
        || {
            scratch
                .log()
                .contains("PruneBlocked")
                .then_some(())
                .or_else(|| scratch.log().contains("ctl prune --confirm").then_some(()))
        },
        || scratch.log(),
    );
    std::thread::sleep(Duration::from_millis(800));
    assert_eq!(scratch.workers(), before);
    let log = scratch.log();
    let told: Vec<&str> = log.lines().filter(|line| line.contains("ctl prune --confirm")).collect();
    // One line for all, told again only if one more of them was found to be gone.
    let about = |line: &&str| line.matches("pool/p").count();
    assert!(told.iter().all(|line| line.contains(" specs ")) && told.iter().map(about).is_sorted_by(|a, b| a < b), "{told:?}");
    assert!(told.last().is_some_and(|line| line.contains("pool/p0, pool/p1, pool/p2")), "{told:?}");
    for n in 0..3 {
        scratch.put(&format!("p{n}.yaml"), &scratch.pool(&format!("p{n}"), 1, "", ""));
    }
    fs::remove_file(scratch.spec("p3.yaml")).expect("removed");
    let left = scratch.wait_workers(3);
    assert!(left.iter().all(|(worker, pid)| before[worker] == *pid), "one at a time goes, the others stay");
}

#[test]
fn a_confirmed_removal_is_asked_for_again_the_next_time() {
    let mut scratch = Scratch::new().with(&["--prune-grace", "300ms"]);
    let names = ["p0", "p1", "p2"];
    let write = |scratch: &Scratch| names.map(|name| scratch.put(&format!("{name}.yaml"), &scratch.pool(name, 1, "", "")));
    let remove = |scratch: &Scratch| names.map(|name| fs::remove_file(scratch.spec(&format!("{name}.yaml"))).expect("removed"));
    write(&scratch);
    scratch.put("stays.yaml", &scratch.pool("stays", 1, "", ""));
    scratch.start();
    scratch.wait_workers(4);
    // Told again as more of them are found to be gone: the last line is about all.
    let blocked = |scratch: &Scratch, from: usize| -> String {
        let all = |line: &&str| names.iter().all(|name| line.contains(&format!("pool/{name}")));
        let token = |line: &str| Some(line.split("--confirm ").nth(1)?.split('`').next()?.to_owned());
        wait("a block", || scratch.log().get(from..)?.lines().filter(all).find_map(token), || scratch.log())
    };
    remove(&scratch);
    let token = blocked(&scratch, 0);
    assert!(super::tasks::ctl(&scratch, &["prune", "--confirm", &token]).status.success());
    scratch.wait_workers(1);
    write(&scratch);
    let before = scratch.wait_workers(4);
    let told = scratch.log().len();
    remove(&scratch);
    assert_eq!(blocked(&scratch, told), token, "the same set, and asked for again");
    std::thread::sleep(Duration::from_millis(800));
    assert_eq!(scratch.workers(), before);
}

#[test]
fn what_is_blocked_is_told_again_by_the_next_daemon_and_can_be_settled_by_name() {
    let mut scratch = Scratch::new().with(&["--prune-grace", "300ms"]);
    let put = |scratch: &Scratch, n: u32| scratch.put(&format!("p{n}.yaml"), &scratch.pool(&format!("p{n}"), 1, "", ""));
    (0..4).for_each(|n| put(&scratch, n));
    scratch.start();
    let before = scratch.wait_workers(4);
    let told = |scratch: &Scratch, from: usize| {
        let all =
            |line: &&str| line.contains("pool/p0, pool/p1, pool/p2 vanished at once") && line.contains("ctl prune --confirm");
        wait("the line about it", || scratch.log().get(from..)?.lines().find(all).map(drop), || scratch.log());
    };
    (0..3).for_each(|n| fs::remove_file(scratch.spec(&format!("p{n}.yaml"))).expect("removed"));
    told(&scratch, 0);
    scratch.kill();
    let from = scratch.log().len();
    scratch.start();
    told(&scratch, from);
    let said = |scratch: &Scratch, words: &[&str]| {
        let output = super::tasks::ctl(scratch, words);
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let gone =
        wait("it answers", || Some(said(&scratch, &["delete", "pool/p0"])).filter(|said| said.0 == Some(0)), || scratch.log());
    assert_eq!(gone, (Some(0), "pool/p0 deleted\n".into()));
    let left = scratch.wait_workers(3);
    assert!(left.iter().all(|(worker, pid)| before[worker] == *pid) && !left.contains_key("p0-0"), "{left:?}");
    assert_eq!(said(&scratch, &["delete", "pool/p7"]).0, Some(1), "what there is not cannot be deleted");
    put(&scratch, 1);
    put(&scratch, 2);
    wait("the end of the block", || scratch.log().contains("removals are no longer blocked").then_some(()), || scratch.log());
    assert_eq!(scratch.wait_workers(3), left);
}

#[test]
fn editors_droppings_and_a_state_that_others_may_write_are_left_alone() {
    let mut scratch = Scratch::new();
    scratch.put("web.yaml", &scratch.pool("web", 1, "", ""));
    let other = scratch.pool("other", 1, "", "");
    for name in [".web.yaml.swp", "web.yaml~", "#web.yaml#", "4913", "web.yaml.bak", ".#web.yaml", "Web.yaml"] {
        scratch.write(name, &other);
    }
    scratch.start();
    scratch.wait_workers(1);
    scratch.put("more.yaml", &scratch.pool("more", 1, "", ""));
    let workers = scratch.wait_workers(2);
    assert!(!workers.contains_key("other-0"), "{workers:?}");
    scratch.kill();
    fs::set_permissions(scratch.dir.join("state"), fs::Permissions::from_mode(0o777)).expect("chmod");
    let refused = scratch.weir().output().expect("runs");
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("chmod go-w"));
}

#[test]
fn a_start_that_can_only_be_a_mistake_is_refused() {
    let mut scratch = Scratch::new();
    let refusal = |scratch: &Scratch| {
        let ran = scratch.weir().output().expect("weir runs");
        assert_eq!(ran.status.code(), Some(1), "{ran:?}");
        String::from_utf8_lossy(&ran.stderr).into_owned()
    };
    fs::remove_dir(scratch.dir.join("specs")).expect("removed");
    assert!(refusal(&scratch).contains("is not there: make it (mkdir -p "));
    fs::write(scratch.dir.join("specs"), "").expect("a file");
    assert!(refusal(&scratch).contains("is no directory"));
    fs::remove_file(scratch.dir.join("specs")).expect("removed");
    fs::create_dir(scratch.dir.join("specs")).expect("made");
    // What was accepted before goes on without the directory.
    scratch.put("a.yaml", &scratch.pool("a", 1, "", ""));
    scratch.start();
    scratch.wait_workers(1);
    scratch.kill();
    fs::rename(scratch.dir.join("specs"), scratch.dir.join("away")).expect("renamed");
    scratch.start();
    let told = || scratch.log().contains("1 worker found running").then_some(());
    wait("the word of what was found", told, || scratch.log());
    assert_eq!(scratch.wait_workers(1).len(), 1);
}
