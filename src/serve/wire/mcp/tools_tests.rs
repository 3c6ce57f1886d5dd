//! What each tool asks of the API, and what it can never ask.
//!
//! Plans are looked at as data; what the daemon says to them is tested with a daemon.

use super::*;

fn plan(name: &str, arguments: Value) -> Result<Plan, String> {
    let tools = tools();
    let tool = tools.iter().find(|tool| tool.name == name).unwrap_or_else(|| panic!("no tool {name}"));
    (tool.plan)(arguments, "2026-01-01T00:00:00Z".parse().unwrap())
}

fn asked(name: &str, arguments: Value) -> Vec<String> {
    let plan = plan(name, arguments).unwrap();
    let line = |part: &Part| {
        let body = part.request.body.as_ref().map_or_else(String::new, |body| format!(" {body}"));
        format!("{} {}{body}", part.request.method, part.request.path)
    };
    plan.parts.iter().map(line).collect()
}

#[test]
fn every_tool_of_the_contract_is_there_once_with_its_grant() {
    let names = |grant| tools().iter().filter(|tool| tool.grant == grant).map(|tool| tool.name).collect::<Vec<_>>().join(" ");
    let reads = "get_pools get_pool explain_pool get_workers get_policies get_metrics get_history get_forecast get_queue get_task \
                 get_events";
    assert_eq!(names(Grant::View), reads);
    assert_eq!(names(Grant::Submit), "submit_task");
    let writes = "cancel_task retry_task scale_pool pause_pool set_mode set_profile manual_limits set_thresholds";
    assert_eq!(names(Grant::Operate), writes);
}

#[test]
fn a_tool_that_looks_only_asks() {
    let arguments = json!({"pool": "a", "worker": "a", "policy": "a", "task": 1});
    for tool in tools().iter().filter(|tool| tool.grant == Grant::View) {
        let taken = (tool.schema)();
        let known = |name: &String| taken.pointer(&format!("/properties/{name}")).is_some();
        let given: Map<String, Value> =
            arguments.as_object().unwrap().clone().into_iter().filter(|(name, _)| known(name)).collect();
        let plan = (tool.plan)(given.into(), Wall(0)).unwrap();
        assert!(plan.parts.iter().all(|part| part.request.method == "GET" && part.request.body.is_none()), "{}", tool.name);
    }
}

#[test]
fn schemas_are_closed_objects_that_describe_each_argument() {
    for tool in tools() {
        let schema = (tool.schema)();
        assert_eq!((&schema["type"], &schema["additionalProperties"]), (&json!("object"), &json!(false)), "{}", tool.name);
        assert!(schema.get("$ref").is_none() && schema.get("$defs").is_none(), "{schema}");
        for (name, property) in schema["properties"].as_object().unwrap() {
            assert!(property["description"].is_string(), "{}.{name}: {property}", tool.name);
        }
    }
}

#[test]
fn names_cannot_leave_their_place() {
    let evil = json!({"pool": "../../v1/prune?x=", "replicas": 1});
    assert_eq!(
        asked("scale_pool", evil),
        [r#"PATCH /apis/weir.dev/v1/workerpools/..%2F..%2Fv1%2Fprune%3Fx%3D/scale {"spec":{"replicas":1}}"#]
    );
    assert_eq!(
        asked("get_queue", json!({"pool": "a&limit=9", "limit": 100_000}))[1],
        "GET /v1/tasks?pool=a%26limit%3D9&state=Held,Queued,Leased&limit=500"
    );
    assert_eq!(asked("get_task", json!({"task": 7, "logLines": 4_000_000_000u32}))[1], "GET /v1/tasks/7/log?tailLines=500");
}

#[test]
fn changes_carry_what_was_said_and_nothing_else() {
    let one = |name, arguments| asked(name, arguments).join("; ");
    assert_eq!(
        one("submit_task", json!({"pool": "web", "payload": {"a": 1}, "idempotencyKey": "k", "ttl": "5m", "after": [3]})),
        r#"POST /v1/pools/web/tasks {"payload":{"a":1},"idempotencyKey":"k","ttl":"5m","after":[3]}"#
    );
    assert_eq!(
        one("pause_pool", json!({"pool": "web", "for": "1h"})),
        r#"PATCH /apis/weir.dev/v1/workerpools/web {"metadata":{"annotations":{"weir.dev/paused-until":"2026-01-01T01:00:00.000Z"}}}"#
    );
    assert_eq!(
        one("pause_pool", json!({"pool": "web", "resume": true})),
        r#"PATCH /apis/weir.dev/v1/workerpools/web {"metadata":{"annotations":{"weir.dev/paused-until":null}}}"#
    );
    assert_eq!(
        one("manual_limits", json!({"policy": "p", "cpu": "2", "memory": "1Gi", "reason": "a build"})),
        r#"PUT /v1/policies/p/manual {"cpu":"2","memory":"1Gi","reason":"a build"}"#
    );
    assert_eq!(
        one("set_thresholds", json!({"policy": "p", "scaleUp": {"cpu": 80}})),
        r#"PUT /v1/policies/p/thresholds {"scaleUp":{"cpu":80}}"#
    );
}

#[test]
fn a_limit_outside_of_the_bounds_is_warned_of() {
    let shown = |cpu: &str| {
        let mut plan = plan("manual_limits", json!({"policy": "p", "cpu": cpu})).unwrap();
        let spec = json!({"bounds": {"min": {"cpu": "1"}, "max": {"cpu": "2"}}, "manual": {"cpu": cpu}});
        (plan.parts.remove(0).show)(json!({"spec": spec}))["warnings"].clone()
    };
    assert_eq!(shown("50"), json!(["cpu=50 is more than spec.bounds.max.cpu: 2 is held"]));
    assert_eq!(shown("1500m"), Value::Null);
}

#[test]
fn what_does_not_hold_is_refused_with_words() {
    for (name, arguments, words) in [
        ("get_pool", json!({}), "missing field `pool`"),
        ("get_pool", json!({"pool": 1}), "pool: invalid type: integer `1`, expected a string"),
        ("get_pool", json!({"pool": "a", "namespace": "b"}), "unknown field `namespace`, expected `pool`"),
        ("scale_pool", json!({"pool": "a", "replicas": -1}), "replicas: invalid value: integer `-1`"),
        ("set_mode", json!({"policy": "a", "mode": "Off"}), "mode: unknown variant `Off`"),
        ("submit_task", json!({"pool": "a", "payload": 1, "source": "me"}), "unknown field `source`"),
        ("set_thresholds", json!({"policy": "a", "bounds": {"max": {"cpu": "99"}}}), "unknown field `bounds`"),
        ("manual_limits", json!({"policy": "a", "bounds": {}}), "unknown field `bounds`"),
        ("set_thresholds", json!({"policy": "a", "scaleUp": {"factor": 9}}), "unknown field `factor`"),
    ] {
        let why = plan(name, arguments).err().unwrap_or_else(|| panic!("{name} is taken"));
        assert!(why.contains(words), "{name}: {why}");
    }
}

#[test]
fn of_events_the_last_come_first() {
    let event = |time: &str, about: &str| json!({"eventTime": time, "regarding": about, "note": time, "extra": 1});
    let all = json!({"items": [event("2026-01-01T00:00:01Z", "pool/a"), event("2026-01-01T00:00:03Z", "pool/a"), event("2026-01-01T00:00:02Z", "pool/b")]});
    let shown = |arguments| (plan("get_events", arguments).unwrap().parts.remove(0).show)(all.clone());
    let notes = |shown: Value| shown.as_array().unwrap().iter().map(|event| event["note"].clone()).collect::<Vec<_>>();
    assert_eq!(notes(shown(json!({"about": "pool/a", "limit": 1}))), ["2026-01-01T00:00:03Z"]);
    assert_eq!(notes(shown(json!({}))).len(), 3);
}

#[test]
fn of_a_policys_samples_as_many_are_shown_as_can_be_read() {
    assert_eq!(asked("get_metrics", json!({"policy": "p", "for": "30m"})), ["GET /v1/policies/p/metrics?since=1767223800000"]);
    let shown = |n: usize| {
        let all: Vec<Value> = (0..n).map(|n| json!(n)).collect();
        let shown = (plan("get_metrics", json!({"policy": "p"})).unwrap().parts.remove(0).show)(json!({"items": all}));
        shown.as_array().unwrap().clone()
    };
    assert_eq!((shown(0).len(), shown(120).len()), (0, 120));
    let many = shown(2881);
    assert!((60..=120).contains(&many.len()) && many.last() == Some(&json!(2880)), "{many:?}");
}
