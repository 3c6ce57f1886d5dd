//! The examples of kubectl's documentation, and what must be refused.
//!
//! A row of a table is a case: template in, text out. New oddities of the dialect get a row, not a test of their own.
//! The last tests try every short sequence of special characters.

use serde_json::{Value, json};

use super::Template;

fn documented() -> Value {
    json!({
      "kind": "List",
      "items": [
        {"kind": "None", "metadata": {"name": "127.0.0.1", "labels": {"kubernetes.io/hostname": "127.0.0.1"}},
         "status": {"capacity": {"cpu": "4"}, "addresses": [{"type": "LegacyHostIP", "address": "127.0.0.1"}]}},
        {"kind": "None", "metadata": {"name": "127.0.0.2"},
         "status": {"capacity": {"cpu": "8"}, "addresses": [
            {"type": "LegacyHostIP", "address": "127.0.0.2"}, {"type": "another", "address": "127.0.0.3"}]}}
      ],
      "users": [
        {"name": "myself", "user": {}},
        {"name": "e2e", "user": {"username": "admin", "password": "secret"}}
      ],
      "numbers": [1, 2, 3, 4, 5]
    })
}

#[test]
fn what_kubernetes_documents() {
    let value = documented();
    for (template, expected) in [
        ("kind is {.kind}", "kind is List"),
        ("{['kind']}", "List"),
        ("{..name}", "127.0.0.1 127.0.0.2 myself e2e"),
        ("{.items[*].metadata.name}", "127.0.0.1 127.0.0.2"),
        ("{.users[0].name}", "myself"),
        ("{.users[-1].name}", "e2e"),
        ("{.numbers[1:3]}", "2 3"),
        ("{.numbers[-2:]}", "4 5"),
        ("{.numbers[0:5:2]}", "1 3 5"),
        ("{.numbers[0,2]}", "1 3"),
        ("{.items[*]['metadata.name', 'status.capacity']}", r#"127.0.0.1 127.0.0.2 {"cpu":"4"} {"cpu":"8"}"#),
        (r#"{.users[?(@.name=="e2e")].user.password}"#, "secret"),
        ("{.users[?(@.name=='e2e')].user.password}", "secret"),
        ("{.items[*].status.addresses[?(@.type != \"another\")].address}", "127.0.0.1 127.0.0.2"),
        ("{.users[?(@.user.username)].name}", "e2e"),
        (
            r#"{range .items[*]}[{.metadata.name}, {.status.capacity}] {end}"#,
            r#"[127.0.0.1, {"cpu":"4"}] [127.0.0.2, {"cpu":"8"}] "#,
        ),
        (r#"{range .items[*]}{.metadata.name}{"\t"}{.status.capacity.cpu}{"\n"}{end}"#, "127.0.0.1\t4\n127.0.0.2\t8\n"),
        (r"{.items[0].metadata.labels.kubernetes\.io/hostname}", "127.0.0.1"),
        (r"{.items[0].metadata.labels['kubernetes\.io/hostname']}", "127.0.0.1"),
        ("{.items[0].metadata.labels['kubernetes.io/hostname']}", "127.0.0.1"),
        (
            "{range .items[*]}{range .status.addresses[*]}{.address};{end}{$.kind}|{end}",
            "127.0.0.1;List|127.0.0.2;127.0.0.3;List|",
        ),
        ("{.missing.deeply[3].down}", ""),
        ("{.numbers[9]}", ""),
        ("{.numbers[?(@ > 3)]}", "4 5"),
        ("{.numbers[?(@<=2)]}", "1 2"),
        (".users[0].name", "myself"),
        ("users[0].name", "myself"),
        ("{.users[0].user}", "{}"),
        ("{\"}\"}", "}"),
    ] {
        let rendered = Template::parse(template).map(|template| template.render(&value));
        let rendered = rendered.unwrap_or_else(|error| panic!("{template}: {error}"));
        assert_eq!(rendered, expected, "{template}");
    }
}

#[test]
fn what_is_refused() {
    for template in [
        "{.a",
        "{range .a}",
        "{end}",
        "{.a[}",
        "{.a[?(@.b=)]}",
        "{.a[?(@.b==\"x)]}",
        "{.a[1:2:0]}",
        "{.a b}",
        "{.a[x]}",
        "{\"x}",
        "{.a[?(@.b]}",
        "{..}",
    ] {
        assert!(Template::parse(template).is_err(), "{template}");
    }
}

#[test]
fn no_input_panics() {
    let pieces =
        ["{", "}", ".", "[", "]", "'", "\"", "\\", "?(", ")", "@", "*", "-", "1", ":", ",", "é", "range ", "end", "==", " "];
    let value = documented();
    for a in pieces {
        for b in pieces {
            for c in pieces {
                for text in [format!("{a}{b}{c}"), format!("{{.items{a}{b}{c}}}"), format!("{{.items[{a}{b}{c}]}}")] {
                    if let Ok(template) = Template::parse(&text) {
                        template.render(&value);
                    }
                }
            }
        }
    }
}

#[test]
fn a_path_for_a_column_needs_no_braces() {
    let value = documented();
    for text in [".users[1].name", "users[1].name", "{.users[1].name}", "$.users[1].name"] {
        assert_eq!(Template::path(text).unwrap().find(&value), [&json!("e2e")], "{text}");
    }
}
