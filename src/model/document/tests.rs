//! Reading documents: every refusal with its exact words, every document of the design, and everything hostile.
//! The words live beside this file, in `refusals.txt` and in YAML documents, so that a change of them is seen as one.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::model::template::StopSignal;
use crate::model::time::Span;

const HEADER: &str = "apiVersion: weir.dev/v1\nkind: WorkerPool\nmetadata: {name: web}";

fn pool(spec: &str) -> String {
    format!("{HEADER}\nspec: {spec}\n")
}

fn one(text: &str) -> Parsed {
    let mut all = parse(text.as_bytes());
    assert_eq!(all.len(), 1, "{text}: {all:?}");
    all.remove(0)
}

fn good(text: &str) -> WorkerPool {
    match one(text).map(|located| located.document) {
        Ok(Document::WorkerPool(pool)) => *pool,
        other => panic!("{text}\n{other:?}"),
    }
}

fn told(text: &str) -> String {
    let mut out = String::new();
    for parsed in parse(text.as_bytes()) {
        match parsed {
            Ok(located) => out += &format!("ok {} at line {}\n", located.document.name(), located.line),
            Err(refused) => {
                assert!(!refused.violations.is_empty());
                for violation in &refused.violations {
                    out += &(refusal::one_line("web.yaml", violation) + "\n");
                }
            }
        }
    }
    out
}

/// `refusals.txt` holds each text and what is said about it. `UPDATE_EXPECTED=1` writes it anew, for reading in the diff.
#[test]
fn every_refusal_has_its_words() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/model/document/refusals.txt");
    let file = std::fs::read_to_string(path).unwrap();
    let mut anew = String::new();
    let mut count = 0;
    for case in file.split("### ").skip(1) {
        let (title, rest) = case.split_once('\n').unwrap();
        let (text, _) = rest.split_once(">>>\n").unwrap();
        anew += &format!("### {title}\n{text}>>>\n{}", told(&text.replace("@pool", HEADER)));
        count += 1;
    }
    assert!(count >= 60);
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::write(path, &anew).unwrap();
        return;
    }
    assert_eq!(anew, file, "run with UPDATE_EXPECTED=1 and read the diff");
}

#[test]
fn a_full_template_reads_and_writes_back() {
    let text = include_str!("full.yaml");
    let pool = good(text);
    assert_eq!(pool.spec.template.stop_signal, StopSignal::Int);
    assert_eq!(pool.spec.template.umask_bits(), 0o077);
    assert_eq!(pool.spec.template.command, ["run", "12:30", "no", "017", "1e3", "two\nlines"]);
    let again = good(&to_yaml(&pool));
    assert_eq!(again, pool);
    assert_eq!(again.spec.template_hash(), pool.spec.template_hash());
    let json: WorkerPool = serde_json::from_str(&serde_json::to_string(&pool).unwrap()).unwrap();
    assert_eq!(json, pool);
}

#[test]
fn the_documents_of_the_design_fit_the_schema() {
    let pool = one(include_str!("design_pool.yaml"));
    assert!(matches!(pool, Ok(Located { document: Document::WorkerPool(_), .. })), "{pool:?}");
    let policy = one(include_str!("design_policy.yaml"));
    assert!(matches!(policy, Ok(Located { document: Document::ResourcePolicy(_), .. })), "{policy:?}");
}

#[test]
fn the_hash_is_of_the_template_alone() {
    let base = good(&pool("{template: {command: [run]}}"));
    let hash = base.spec.template_hash();
    assert_eq!(hash.len(), 10);
    for same in [
        "{replicas: 9, template: {command: [run]}}",
        "{template: {command: [run], terminationGracePeriod: 30000ms}, workerNames: [a]}",
    ] {
        assert_eq!(good(&pool(same)).spec.template_hash(), hash, "{same}");
    }
    for other in ["{template: {command: [run, x]}}", "{template: {command: [run], umask: '022'}}"] {
        assert_ne!(good(&pool(other)).spec.template_hash(), hash, "{other}");
    }
}

#[test]
fn defaults_are_those_of_the_documentation() {
    let spec = good(&pool("{template: {command: [run]}}")).spec;
    assert_eq!(spec.fixed_replicas(), Some(1));
    assert_eq!(spec.template.termination_grace_period, Span::secs(30));
    assert_eq!((spec.template.backoff.initial, spec.template.backoff.max), (Span::secs(1), Span::secs(300)));
    assert_eq!((spec.template.logs.max_size.0, spec.template.logs.max_files), (10 << 20, 5));
    assert_eq!((spec.update_strategy.max_unavailable, spec.update_strategy.max_surge), (1, 0));
}

#[test]
fn anchors_merges_marks_and_line_ends_are_read() {
    let text = format!(
        "\u{feff}# words\r\n---\r\n{}\r\n",
        pool("\n  replicas: &n 2\n  template: &t {command: [run]}").replace('\n', "\r\n")
    );
    assert_eq!(good(&text).spec.replicas, Some(2));
    let merged = "{template: {<<: {command: [a], umask: '022'}, command: [b]}}";
    let template = good(&pool(merged)).spec.template;
    assert_eq!((template.command, template.umask), (vec!["b".to_owned()], Some("022".to_owned())));
    let aliased = "\n  template:\n    command: &c [run]\n    preStop: {exec: {command: *c}}";
    assert_eq!(good(&pool(aliased)).spec.template.pre_stop.unwrap().exec.command, ["run"]);
    for empty in ["", "# nothing", "---\n", "---\n...\n", "---\n~\n", "\u{feff}"] {
        assert_eq!(parse(empty.as_bytes()), [], "{empty}");
    }
}

#[test]
fn a_refusal_keeps_what_can_be_known() {
    for (text, name) in [
        (pool("{replicas: x}"), Some("web")),
        (pool("[2"), None),
        (pool("[").replace("{name: web}", "\n  name: web"), Some("web")),
    ] {
        let Err(refused) = one(&text) else { panic!("read: {text}") };
        assert_eq!((refused.kind, refused.name.as_deref(), refused.line), (Some(Kind::WorkerPool), name, 1), "{text}");
    }
}

#[test]
fn a_violation_is_shown_in_four_ways() {
    let text = pool("\n  replica: 3\n  template: {command: [run]}");
    let Err(refused) = one(&text) else { panic!() };
    let violation = &refused.violations[0];
    assert_eq!(
        refusal::one_line("specs/web.yaml", violation),
        "specs/web.yaml:5:3: spec.replica: unknown field \"replica\", did you mean \"replicas\"? (allowed: replicas, scale, template, updateStrategy, workerNames, queue, notify)"
    );
    let shown = refusal::with_source("specs/web.yaml", &text, violation);
    assert!(shown.ends_with(" --> specs/web.yaml:5:3\n  |\n5 |   replica: 3\n  |   ^\n"), "{shown}");
    assert!(refusal::for_forge("a,b.yaml", violation).starts_with("::error file=a%2Cb.yaml,line=5,col=3::spec.replica: "));
    assert_eq!(refusal::as_json("w.yaml", violation)["suggestion"], "replicas");
}

#[test]
fn a_field_in_the_wrong_place_is_told_its_places() {
    let said = |extra: &str| {
        let Err(refused) = one(&pool(&format!("{{template: {{command: [run]}}, {extra}: 1}}"))) else { panic!("{extra}") };
        refused.violations[0].message.clone()
    };
    assert_eq!(said("backoff"), "unknown field \"backoff\"; there is spec.queue.retry.backoff and spec.template.backoff");
    assert_eq!(said("workingDir"), "unknown field \"workingDir\"; there is spec.template.workingDir");
    assert_eq!(said("nowhere"), "unknown field \"nowhere\"");
}

#[test]
fn what_is_written_reads_the_same_in_every_yaml() {
    let nasty = [
        "no",
        "yes",
        "on",
        "12:30",
        "017",
        "1_000",
        "~",
        "",
        "null",
        "1e3",
        "2026-11-21",
        "a: b",
        "# x",
        "'",
        "\"",
        "- a",
        "\u{7f}",
        "tab\t",
        " lead",
        "trail ",
        "two\nlines\n",
    ];
    let written = to_yaml(&nasty);
    assert_eq!(serde_saphyr::from_str::<Vec<String>>(&written).unwrap(), nasty);
    assert!(written.contains("\"no\"") || written.contains("'no'"), "{written}");
    let long = "word ".repeat(100);
    assert_eq!(to_yaml(&serde_json::json!({ "a": long.trim() })).lines().count(), 1);
}

/// The texts that try to exhaust a reader.
fn hostile() -> Vec<(&'static str, Vec<u8>)> {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..10 {
        bomb += &format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(", "));
    }
    let big = format!("a: &a {}\nb: [{}]\n", "x".repeat(100_000), vec!["*a"; 90].join(", "));
    let merges = format!(
        "a: &a {{{}}}\nb: [{}]\n",
        (0..900).map(|n| format!("k{n}: 1")).collect::<Vec<_>>().join(", "),
        vec!["{<<: *a}"; 90].join(", ")
    );
    let flat = (0..25_000).map(|n| format!("k{n}: 1\n")).collect::<String>();
    vec![
        ("alias bomb", bomb.into()),
        ("large anchored text", big.into()),
        ("merge keys", merges.into()),
        ("flow nesting", "[".repeat(100_000).into()),
        ("map nesting", "{a: ".repeat(50_000).into()),
        ("block nesting", "- ".repeat(100_000).into()),
        ("key nesting", (0..600).map(|n| " ".repeat(n) + "a:\n").collect::<String>().into()),
        ("question marks", "? ".repeat(100_000).into()),
        ("flat map", flat.into()),
        ("long list", format!("a: [{}]", "1,".repeat(100_000)).into()),
        ("long key", format!("{}: 1", "k".repeat(200_000)).into()),
        ("long quoted", format!("a: \"{}", "x\\u0041".repeat(30_000)).into()),
        ("many documents", "---\na: [\n".repeat(29_000).into()),
        (
            "many unknown fields",
            pool(&format!("{{{}}}", (0..20_000).map(|n| format!("k{n}: 1")).collect::<Vec<_>>().join(", "))).into(),
        ),
        ("many bad arguments", pool(&format!("{{template: {{command: [{}]}}}}", "~,".repeat(900))).into()),
        ("too large", vec![b'a'; SPEC_BYTES_MAX + 1]),
        ("NUL", b"a: 1\nb: \0\n".to_vec()),
        ("not UTF-8", b"a: 1\nb: \xff\n".to_vec()),
        ("UTF-16", b"\xff\xfea\0:\0".to_vec()),
        ("colons", ":".repeat(200_000).into()),
        ("anchors", "&a ".repeat(80_000).into()),
        ("tags", "! ".repeat(100_000).into()),
        ("comments", format!("a: [{}", "#\n".repeat(100_000)).into()),
        ("blanks", format!("a:{}1 2: 3", " ".repeat(250_000)).into()),
    ]
}

/// What this thread has worked: how busy the machine is must not count.
fn worked() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap())
}

#[test]
fn hostile_texts_are_refused_in_time_and_on_a_small_stack() {
    let reader = std::thread::Builder::new().stack_size(512 * 1024);
    let work = reader.spawn(|| {
        for (name, bytes) in hostile() {
            let start = worked();
            let parsed = parse(&bytes);
            assert!(parsed.iter().all(Result::is_err), "{name}");
            for refused in parsed.iter().filter_map(|p| p.as_ref().err()) {
                assert!(refused.violations.len() <= VIOLATIONS_MAX, "{name}");
                assert!(refused.violations.iter().all(|v| v.to_string().len() < 2000), "{name}: {:?}", refused.violations[0]);
            }
            let took = worked() - start;
            assert!(took < Duration::from_millis(2500), "{name}: {took:?}");
            eprintln!("{name}: {took:?}");
        }
    });
    work.unwrap().join().unwrap();
}

fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let base = include_bytes!("full.yaml").to_vec();
    let edits = proptest::collection::vec((0..base.len(), any::<u8>(), 0..3u8), 1..6);
    edits.prop_map(move |edits| {
        let mut bytes = base.clone();
        for (at, byte, how) in edits {
            let at = at.min(bytes.len().saturating_sub(1));
            match how {
                0 => bytes[at] = byte,
                1 => bytes.truncate(at.max(1)),
                _ => bytes.insert(at, byte),
            }
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_bytes_panic(bytes in mutated()) {
        for refused in parse(&bytes).into_iter().filter_map(Result::err) {
            prop_assert!(!refused.violations.is_empty());
            prop_assert!(refused.violations.iter().all(|v| v.line >= 1 && v.column >= 1));
        }
    }

    /// Our tree and serde-saphyr agree on what a text says.
    #[test]
    fn the_tree_agrees_with_the_yaml_crate(map in proptest::collection::btree_map("[a-z]{1,4}", "\\PC{0,8}", 0..5)) {
        let text = to_yaml(&map);
        let tree = tree::read(&text, 1).unwrap();
        for (key, value) in &map {
            let found = tree.as_ref().unwrap().get(key).and_then(|node| node.text());
            prop_assert_eq!(found, Some(value.as_str()));
        }
    }
}
