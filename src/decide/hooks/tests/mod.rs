//! Deliveries as forges publish them, cut to what matters, and everything that a stranger could make of one.
//!
//! Bodies: octokit/webhooks, payload-examples/api.github.com (GitHub); modules/structs/hook.go with services/webhook/notifier.go
//! of go-gitea/gitea, which Forgejo shares (the others). Headers: GitHub's documentation and services/webhook/deliver.go.

mod payloads;
mod shipped;

use proptest::prelude::*;
use serde_json::json;

use self::payloads::{gitea, github, table};
use super::signature::sign;
use super::*;
use crate::model::hook::{ForgeEvent, ForgeKind, KEY_MAX};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const BEFORE: &str = "fedcba9876543210fedcba9876543210";
const UUID: &str = "72d3162e-cc78-11e3-81ab-4c9367dc0958";

fn hook(provider: &str, more: &Value) -> ForgeHook {
    let mut hook = json!({"provider": provider, "secretFrom": {"file": "/s"}, "on": ForgeEvent::ALL});
    hook.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(hook).unwrap()
}

fn secrets() -> Secrets {
    Secrets::new(SECRET.into(), None).unwrap()
}

fn delivery<'a>(kind: ForgeKind, event: &str, body: &'a [u8]) -> Delivery<&'a [u8]> {
    let (family, signature) = match kind {
        ForgeKind::Forgejo => ("x-forgejo", "x-forgejo-signature"),
        ForgeKind::Gitea => ("x-gitea", "x-gitea-signature"),
        ForgeKind::Github => ("x-github", "x-hub-signature-256"),
    };
    let headers = [
        ("content-type".to_owned(), "application/json".to_owned()),
        (format!("{family}-event"), event.to_owned()),
        (format!("{family}-delivery"), UUID.to_owned()),
        (signature.to_owned(), sign(kind, SECRET, body)),
    ];
    Delivery { pool: "dev".into(), index: 0, headers: headers.into(), body }
}

fn told(hook: &ForgeHook, event: &str, body: &Value) -> Outcome {
    let body = serde_json::to_vec(body).unwrap();
    judge(hook, &secrets(), &delivery(hook.provider, event, &body)).outcome
}

fn accepted(outcome: Outcome) -> Accepted {
    match outcome {
        Outcome::Accepted(accepted) => *accepted,
        Outcome::Ignored(_) | Outcome::Refused(_) => panic!("{outcome:?}"),
    }
}

#[test]
fn each_event_is_known_by_its_own_header_and_body() {
    let mut seen = 0;
    for (hook, event, header, body) in table() {
        let outcome = told(&hook, header, &body);
        // A review's permissions are those of whoever opened the request: here the same person.
        assert_eq!(accepted(outcome).event, event, "{:?} {header} {body}", hook.provider);
        let other = hook_for_others(&hook, event);
        assert_eq!(told(&other, header, &body), Outcome::Ignored(Ignored::NotNamed(event)));
        seen += 1;
    }
    assert_eq!(seen, 27);
}

fn hook_for_others(hook: &ForgeHook, event: ForgeEvent) -> ForgeHook {
    ForgeHook { on: ForgeEvent::ALL.into_iter().filter(|other| *other != event).collect(), ..hook.clone() }
}

#[test]
fn a_body_under_another_header_is_no_other_event() {
    // The header is not signed: whoever has a genuine body may send it under every header there is.
    for (hook, event, header, body) in table() {
        for (_, other, stranger, _) in table().into_iter().filter(|row| row.0.provider == hook.provider && row.2 != header) {
            let outcome = told(&hook_for_others(&hook, event), stranger, &body);
            assert!(!matches!(outcome, Outcome::Accepted(_)), "{event:?} taken for {other:?}: {outcome:?}");
        }
    }
}

#[test]
fn what_is_not_in_the_table_is_ignored() {
    for (header, body) in [
        ("ping", json!({"zen": "Keep it logically awesome.", "hook_id": 1})),
        ("issues", json!({"action": "opened", "issue": {}})),
        ("pull_request", json!({"action": "closed", "pull_request": {"merged": false}})),
        ("pull_request_review", json!({"action": "submitted", "pull_request": {}, "review": {"state": "commented"}})),
        ("status", json!({"state": "success", "sha": "1", "context": "ci"})),
    ] {
        assert_eq!(told(&hook("github", &json!({})), header, &body), Outcome::Ignored(Ignored::Unknown), "{header}");
    }
    assert_eq!(told(&hook("github", &json!({})), "push", &json!({"action": "created"})), Outcome::Refused(Refusal::Shape));
    assert_eq!(told(&hook("github", &json!({})), "push", &json!([1])), Outcome::Refused(Refusal::Shape));
}

#[test]
fn only_whoever_may_write_causes_a_task_and_only_by_what_the_event_says_of_them() {
    let stranger = |body: &mut Value| {
        for place in ["/issue", "/comment", "/review", "/pull_request"] {
            if let Some(thing) = body.pointer_mut(place).filter(|thing| thing.is_object()) {
                thing["author_association"] = json!("CONTRIBUTOR");
            }
        }
        if let Some(permissions) = body.pointer_mut("/repository/permissions") {
            permissions["push"] = json!(false);
        }
    };
    for (hook, event, header, genuine) in table() {
        let by_nature = [ForgeEvent::Push, ForgeEvent::StatusFailure, ForgeEvent::PullRequestMerged].contains(&event);
        let mut body = genuine.clone();
        stranger(&mut body);
        let outcome = told(&hook, header, &body);
        assert_eq!(matches!(outcome, Outcome::Accepted(_)), by_nature, "{event:?}: {outcome:?}");
        let named = ForgeHook { allow_actors: vec!["Octo".into()], ..hook.clone() };
        assert_eq!(accepted(told(&named, header, &body)).actor, "octo");
        // A list of names replaces what the event says.
        let others = ForgeHook { allow_actors: vec!["alice".into()], ..hook.clone() };
        assert_eq!(told(&others, header, &genuine), Outcome::Ignored(Ignored::Actor("octo".into())));
        body["sender"]["login"] = json!("ACME");
        assert_eq!(accepted(told(&hook, header, &body)).actor, "ACME", "the owner may");
        body["sender"] = Value::Null;
        assert!(matches!(told(&hook, header, &body), Outcome::Ignored(Ignored::Actor(_))));
    }
}

#[test]
fn the_rights_of_another_are_not_the_actors() {
    // A stranger assigns an issue that a member wrote.
    let (_, header, mut body) = github().remove(0);
    body["sender"]["login"] = json!("mallory");
    assert!(matches!(told(&hook("github", &json!({})), header, &body), Outcome::Ignored(Ignored::Actor(_))));
    // Gitea gives the permissions of the poster with a changed label and a review, whoever changed and reviewed.
    for row in [1, 5, 6] {
        let (_, header, mut body) = gitea().remove(row);
        body["sender"]["login"] = json!("mallory");
        assert!(matches!(told(&hook("gitea", &json!({})), header, &body), Outcome::Ignored(Ignored::Actor(_))), "{header}");
    }
}

#[test]
fn fields_are_asked_for_and_make_the_task() {
    let more = json!({
        "match": {"assignee.login": "dev", "issue.labels.name": "bug"},
        "key": "$(type):$(repository.full_name):$(issue.number)",
        "payload": {"title": "$(issue.title)", "body": "$(issue.body)", "kind": "issue", "tries": 3, "all": ["$(sender.login)", true]},
    });
    for (provider, (_, header, body)) in
        [("github", github().remove(0)), ("gitea", gitea().remove(0)), ("forgejo", gitea().remove(0))]
    {
        let task = accepted(told(&hook(provider, &more), header, &body));
        assert_eq!(task.key.as_deref(), Some("issues.assigned:acme/web:1"));
        let payload = json!({"title": "Spelling error", "body": "", "kind": "issue", "tries": 3, "all": ["octo", true]});
        assert_eq!(Value::Object(task.payload), payload);
        assert_eq!(task.untrusted.into_iter().collect::<Vec<_>>(), ["all", "body", "title"]);
        assert_eq!((task.delivery.as_str(), task.signature.len()), (UUID, 64));
        let other = hook(provider, &json!({"match": {"assignee.login": "alice"}}));
        assert_eq!(told(&other, header, &body), Outcome::Ignored(Ignored::NoMatch("assignee.login".into())));
        let lacking = hook(provider, &json!({"key": "$(issue.nothing)"}));
        assert_eq!(
            told(&lacking, header, &body),
            Outcome::Refused(Refusal::MissingField(ForgeEvent::IssuesAssigned, "issue.nothing".into()))
        );
    }
}

#[test]
fn what_is_believed_wakes_the_triggers_even_when_nobody_wants_it() {
    let body = serde_json::to_vec(&json!({"zen": "x", "repository": {"full_name": "acme/web"}})).unwrap();
    let hook = hook("github", &json!({}));
    let verdict = judge(&hook, &secrets(), &delivery(ForgeKind::Github, "ping", &body));
    assert_eq!(verdict.wake, Some(Wake { provider: ForgeKind::Github, repository: Some("acme/web".into()) }));
    let mut forged = delivery(ForgeKind::Github, "ping", &body);
    forged.headers.insert("x-hub-signature-256".into(), sign(ForgeKind::Github, BEFORE, &body));
    assert_eq!(judge(&hook, &secrets(), &forged), Verdict { outcome: Outcome::Refused(Refusal::BadSignature), wake: None });
}

#[test]
fn the_triggers_that_ask_about_the_repository_are_woken() {
    let trigger = |name: &str, kind: &str, repository: &str| json!({"name": name, kind: {"repository": repository}, "exact": {}});
    let triggers =
        json!([trigger("a", "gitea", "acme/web"), trigger("b", "gitea", "acme/other"), trigger("c", "github", "Acme/Web")]);
    let spec = json!({"scale": {"triggers": triggers}, "template": {"command": ["run"]}});
    let spec: PoolSpec = serde_json::from_value(spec).unwrap();
    let woken_by =
        |provider, repository: Option<&str>| woken(&spec, &Wake { provider, repository: repository.map(str::to_owned) });
    assert_eq!(woken_by(ForgeKind::Gitea, Some("acme/web")), ["a"]);
    assert_eq!(woken_by(ForgeKind::Gitea, None), ["a", "b"]);
    assert_eq!(woken_by(ForgeKind::Github, Some("acme/web")), ["c"]);
    assert_eq!(woken_by(ForgeKind::Forgejo, None), Vec::<String>::new());
    let fixed: PoolSpec = serde_json::from_value(json!({"template": {"command": ["run"]}})).unwrap();
    assert_eq!(woken(&fixed, &Wake { provider: ForgeKind::Gitea, repository: None }), Vec::<String>::new());
}

#[test]
fn what_cannot_be_read_is_refused_and_only_after_its_signature() {
    let hook = hook("github", &json!({}));
    let unreadable = |why: &str| Refusal::Unreadable(why.into());
    for (body, refusal) in [
        ("", unreadable("not JSON at line 1, column 0")),
        ("{\"a\":", unreadable("not JSON at line 1, column 5")),
        ("\u{0}", unreadable("not JSON at line 1, column 1")),
        (&"[".repeat(65), unreadable("more brackets inside one another than 64")),
        (&format!("[{}0]", "0,".repeat(50_000)), unreadable("more values than 50000")),
        ("1", Refusal::Shape),
    ] {
        let mut sent = delivery(ForgeKind::Github, "push", body.as_bytes());
        assert_eq!(judge(&hook, &secrets(), &sent).outcome, Outcome::Refused(refusal));
        sent.headers.remove("x-hub-signature-256");
        assert_eq!(judge(&hook, &secrets(), &sent).outcome, Outcome::Refused(Refusal::Unsigned(ForgeKind::Github)));
    }
    // Brackets in texts are none.
    let body = format!(r#"{{"zen": "{}\"[[", "a": "\\"}}"#, "[".repeat(100));
    assert!(matches!(
        judge(&hook, &secrets(), &delivery(ForgeKind::Github, "ping", body.as_bytes())).outcome,
        Outcome::Ignored(_)
    ));
}

#[test]
fn headers_are_taken_at_their_word_or_not_at_all() {
    let (_, event, body) = github().remove(8);
    let body = serde_json::to_vec(&body).unwrap();
    let hook = hook("github", &json!({}));
    let with = |name: &str, value: &str| {
        let mut sent = delivery(ForgeKind::Github, event, &body);
        sent.headers.insert(name.into(), value.into());
        judge(&hook, &secrets(), &sent).outcome
    };
    for (name, value, refusal) in [
        ("content-encoding", "gzip", Refusal::Encoded),
        ("content-type", "application/x-www-form-urlencoded", Refusal::NotJson),
        ("content-type", "", Refusal::NotJson),
        ("x-github-delivery", "", Refusal::NoDelivery),
        ("x-github-delivery", "../../etc/passwd", Refusal::NoDelivery),
        ("x-github-delivery", &"a".repeat(65), Refusal::NoDelivery),
        ("x-hub-signature-256", "", Refusal::Unsigned(ForgeKind::Github)),
    ] {
        assert_eq!(with(name, value), Outcome::Refused(refusal), "{name}: {value}");
    }
    accepted(with("content-type", "application/json; charset=utf-8"));
    accepted(with("content-encoding", "identity"));
}

#[test]
fn signatures_of_other_kinds_are_none() {
    let body = br#"{"zen": "x"}"#;
    let good = sign(ForgeKind::Gitea, SECRET, body);
    let sent = |kind: ForgeKind, pairs: &[(&str, &str)]| {
        let mut sent = delivery(kind, "ping", body);
        sent.headers.retain(|name, _| !name.contains("signature"));
        sent.headers.extend(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        signature::verify(kind, &secrets(), &sent)
    };
    let prefixed = format!("sha256={good}");
    assert_eq!(sent(ForgeKind::Github, &[("x-hub-signature-256", &prefixed)]).as_deref(), Ok(good.as_str()));
    assert_eq!(sent(ForgeKind::Forgejo, &[("x-gitea-signature", &good)]).as_deref(), Ok(good.as_str()));
    // RFC 2202 and RFC 4231 both have a key "Jefe"; a digest of the right length that is another function's is as wrong.
    let sha1 = "sha1=effcdf6ae5eb2fa2d27416d5f184df9c259a7c79";
    for (kind, pairs) in [
        (ForgeKind::Github, vec![("x-hub-signature", sha1)]),
        (ForgeKind::Github, vec![("x-hub-signature-256", sha1)]),
        (ForgeKind::Github, vec![("x-hub-signature-256", good.as_str())]),
        (ForgeKind::Github, vec![("x-gitea-signature", good.as_str())]),
        (ForgeKind::Gitea, vec![("x-hub-signature-256", prefixed.as_str())]),
        (ForgeKind::Gitea, vec![("x-forgejo-signature", good.as_str())]),
        (ForgeKind::Gitea, vec![("x-gitea-signature", prefixed.as_str())]),
        (ForgeKind::Gitea, vec![("x-gitea-signature", &good[..62])]),
        // Forgejo's own header is there and wrong: the other one does not count.
        (ForgeKind::Forgejo, vec![("x-forgejo-signature", &good[1..]), ("x-gitea-signature", good.as_str())]),
        (ForgeKind::Forgejo, vec![("x-forgejo-signature", ""), ("x-gitea-signature", good.as_str())]),
    ] {
        assert!(sent(kind, &pairs).is_err(), "{kind:?} {pairs:?}");
    }
    let (upper, twice) = (good.to_uppercase(), format!("{good},{good}"));
    for spelling in [&upper, &twice, &format!(" {good}"), &format!("{good}\n"), &format!("0x{}", &good[2..])] {
        assert_eq!(sent(ForgeKind::Gitea, &[("x-gitea-signature", spelling)]), Err(Refusal::BadSignature), "{spelling:?}");
    }
}

#[test]
fn a_published_signature_is_good() {
    // GitHub's documentation, "Testing the webhook payload validation": secret, body and signature. Its secret is a short one.
    let (secret, body) = ("It's a Secret to Everybody", b"Hello, World!");
    let published = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    assert_eq!(sign(ForgeKind::Github, secret, body), published);
    assert!(Secrets::new(secret.into(), None).is_err_and(|words| !words.contains(secret)));
    assert!(Secrets::new(String::new(), None).is_err());
}

#[test]
fn two_secrets_are_good_while_one_follows_the_other() {
    let body = br#"{"zen": "x"}"#;
    let sent = |secret: &str| {
        let mut sent = delivery(ForgeKind::Gitea, "ping", body);
        sent.headers.insert("x-gitea-signature".into(), sign(ForgeKind::Gitea, secret, body));
        sent
    };
    let both = Secrets::new(SECRET.into(), Some(BEFORE.into())).unwrap();
    for (secrets, secret, good) in [
        (&both, SECRET, true),
        (&both, BEFORE, true),
        (&both, "another secret of thirty-two chars", false),
        (&secrets(), BEFORE, false),
        // A short one never counts, and neither does an empty one.
        (&Secrets::new(SECRET.into(), Some("short".into())).unwrap(), "short", false),
        (&Secrets::new(SECRET.into(), Some(String::new())).unwrap(), "", false),
    ] {
        assert_eq!(signature::verify(ForgeKind::Gitea, secrets, &sent(secret)).is_ok(), good, "{secret}");
    }
    assert_eq!(format!("{both:?}"), "Secrets");
}

#[test]
fn no_changed_signature_or_body_is_good() {
    // Every bit of both, then random changes: 100,000 in all.
    let body = serde_json::to_vec(&github().remove(0).2).unwrap();
    let good = delivery(ForgeKind::Github, "issues", &body);
    let signature = good.headers["x-hub-signature-256"].clone();
    assert!(signature::verify(ForgeKind::Github, &secrets(), &good).is_ok());
    let (mut tried, mut random) = (0u32, 0x9e37_79b9_7f4a_7c15u64);
    let mut next = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % below as u64).unwrap()
    };
    let short = &body[..body.len().min(200)];
    let ours = sign(ForgeKind::Github, SECRET, short);
    for n in 0..100_000usize {
        let (mut text, mut changed) = (ours.clone().into_bytes(), short.to_vec());
        if n < text.len() * 8 {
            text[n / 8] ^= 1 << (n % 8);
        } else if n < text.len() * 8 + changed.len() * 8 {
            let bit = n - text.len() * 8;
            changed[bit / 8] ^= 1 << (bit % 8);
        } else {
            match next(4) {
                0 => text[7 + next(64)] = b"0123456789abcdef"[next(16)],
                1 => changed[next(short.len())] ^= 1 << next(8),
                2 => changed.truncate(next(short.len())),
                _ => text = signature.clone().into_bytes(),
            }
        }
        let (Ok(text), true) = (String::from_utf8(text.clone()), (&text, &changed[..]) != (&ours.clone().into_bytes(), short))
        else {
            continue;
        };
        let mut sent = delivery(ForgeKind::Github, "issues", short);
        sent.body = &changed;
        sent.headers.insert("x-hub-signature-256".into(), text);
        assert_eq!(signature::verify(ForgeKind::Github, &secrets(), &sent), Err(Refusal::BadSignature), "change {n}");
        tried += 1;
    }
    assert!(tried > 95_000, "{tried}");
}

/// Texts that have been trouble somewhere: shells, terminals, paths, templates, formats.
const HOSTILE: &[&str] = &[
    "$(touch /tmp/x)",
    "`touch /tmp/x`",
    "; rm -rf ~",
    "--option",
    "-rf",
    "a\nb\r\nc",
    "\u{1b}[2J\u{1b}]0;x\u{7}",
    "\u{9b}31m",
    "\u{0}",
    "%n%s%x",
    "../../etc/passwd",
    "\u{202e}txt.exe",
    "$(issue.body)$(type)",
    "$$(x)",
    "{{7*7}}",
    "' OR 1=1 --",
    "\u{2028}\u{2029}",
    "\\u0000\\\"",
];

#[test]
fn hostile_texts_stay_texts() {
    let more =
        json!({"key": "$(type):$(issue.title)", "payload": {"title": "$(issue.title)", "deep": {"list": ["<$(issue.title)>"]}}});
    let mut keys = std::collections::BTreeSet::new();
    let texts: Vec<String> = HOSTILE.iter().map(|text| (*text).to_owned()).chain([" ".into(), "é".repeat(100_000)]).collect();
    for text in &texts {
        let (_, header, mut body) = github().remove(0);
        body["issue"]["title"] = json!(text);
        let task = accepted(told(&hook("github", &more), header, &body));
        let shown = text.replace('\0', "\u{fffd}");
        let title = task.payload["title"].as_str().unwrap();
        assert!(shown.starts_with(title) && (title == shown || title.len() > 60_000), "{text:?}");
        assert!(task.payload["deep"]["list"][0].as_str().unwrap().len() <= 64 * 1024);
        assert_eq!(task.payload.len(), 2, "no name comes from the event");
        let key = task.key.unwrap();
        assert!(key.len() <= KEY_MAX && !key.chars().any(char::is_control) && !key.contains(['\u{202e}', '\u{2028}']), "{key:?}");
        assert!(keys.insert(key), "two texts have one key: {text:?}");
    }
}

proptest! {
    #[test]
    fn keys_that_differ_stay_different(a in "\\PC{0,300}|[\\x00-\\x1f]{0,5}", b in "\\PC{0,300}|[\\x00-\\x1f]{0,5}") {
        let key = |title: &str| {
            let (_, header, mut body) = github().remove(0);
            body["issue"]["title"] = json!(title);
            accepted(told(&hook("github", &json!({"key": "$(issue.title)"})), header, &body)).key.unwrap_or_default()
        };
        let (one, other) = (key(&a), key(&b));
        prop_assert!(one.len() <= KEY_MAX && other.len() <= KEY_MAX);
        prop_assert_eq!(one == other, a == b);
    }

    #[test]
    fn no_signed_body_breaks_the_judge(body in proptest::collection::vec(any::<u8>(), 0..400), header in "[a-z_]{0,20}|issues|push|status") {
        for provider in ["github", "gitea", "forgejo"] {
            let hook = hook(provider, &json!({"key": "$(type)", "payload": {"a": "$(sender.login)"}}));
            let outcome = judge(&hook, &secrets(), &delivery(hook.provider, &header, &body)).outcome;
            prop_assert!(!matches!(outcome, Outcome::Accepted(_)));
        }
    }

    #[test]
    fn no_changed_field_breaks_the_judge(row in 0..27usize, place in 0..60usize, value in prop_oneof![
        Just(json!(null)), Just(json!([])), Just(json!({})), Just(json!(-1)), Just(json!("")), Just(json!([[{}]])), Just(json!(true)),
    ]) {
        let (hook, _, header, mut body) = table().remove(row);
        let mut places = Vec::new();
        pointers(&body, String::new(), &mut places);
        if let Some(target) = body.pointer_mut(&places[place % places.len()]) {
            *target = value;
        }
        let hook = ForgeHook { key: Some("$(sender.login)".into()), ..hook };
        let _total = told(&hook, header, &body);
    }
}

fn pointers(value: &Value, at: String, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| pointers(value, format!("{at}/{key}"), found)),
        Value::Array(items) => items.iter().enumerate().for_each(|(n, value)| pointers(value, format!("{at}/{n}"), found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    found.push(at);
}
