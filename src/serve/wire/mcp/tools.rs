//! The one list of tools: name, what it is for, what it takes, what it asks of the HTTP API, and who may call it.
//!
//! A tool more is an entry more, for `ctl mcp` and `/mcp` alike. What an argument may be is said by its type, from which its
//! schema is made too; whether it means anything is for the daemon to say.

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::Grant;
use super::args::{
    Events, History, ManualLimits, Metrics, PausePool, Policies, Policy, Pool, Pools, Queue, ScalePool, SetMode, SetProfile,
    SetThresholds, Submit, Task, TaskWithLog, Workers,
};
use super::plan::{Check, Part, Plan, Request};
use crate::model::status::Kind;
use crate::model::time::{Span, Wall};
use crate::serve::wire::manual::beyond;
use crate::serve::wire::{PAUSED_UNTIL, ROOT};

/// Where policies are.
const POLICIES: &str = "/apis/weir.dev/v1/resourcepolicies";
/// Lines of a log when a call does not say how many, and at most.
const LINES: (u32, u32) = (50, 500);
/// Tasks and events when a call does not say how many, and at most.
const ITEMS: (u32, u32) = (50, 500);

/// Samples of a policy that are shown at most.
const SAMPLES_MAX: usize = 120;

type Planner = Box<dyn Fn(Value, Wall) -> Result<Plan, String> + Send + Sync>;

/// A tool.
pub struct Tool {
    /// Its name.
    pub name: &'static str,
    /// What it is for, in words for a model.
    pub about: &'static str,
    /// Who may call it.
    pub grant: Grant,
    /// It can end what runs.
    pub is_destructive: bool,
    /// The JSON Schema of its arguments.
    pub schema: fn() -> Value,
    /// From arguments and the time to what is asked.
    pub plan: Planner,
}

fn tool<A: DeserializeOwned + JsonSchema + 'static>(name: &'static str, about: &'static str, plan: fn(A, Wall) -> Plan) -> Tool {
    let read = move |arguments: Value, now: Wall| {
        let arguments = serde_path_to_error::deserialize(arguments).map_err(|error| match error.path().to_string().as_str() {
            "." => error.inner().to_string(),
            path => format!("{path}: {}", error.inner()),
        });
        Ok(plan(arguments?, now))
    };
    Tool { name, about, grant: Grant::View, is_destructive: false, schema: schema_of::<A>, plan: Box::new(read) }
}

fn schema_of<A: JsonSchema>() -> Value {
    let mut generator = SchemaGenerator::from(SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true));
    let mut schema = generator.root_schema_for::<A>().to_value();
    if let Value::Object(schema) = &mut schema {
        for name in ["title", "description", "$schema"] {
            schema.remove(name);
        }
        schema.entry("properties").or_insert_with(|| json!({}));
    }
    schema
}

impl Tool {
    fn submits(self) -> Tool {
        Tool { grant: Grant::Submit, ..self }
    }

    fn changes(self) -> Tool {
        Tool { grant: Grant::Operate, ..self }
    }

    fn ends(self) -> Tool {
        Tool { is_destructive: true, ..self.changes() }
    }
}

/// All of them.
pub fn tools() -> Vec<Tool> {
    vec![
        tool("get_pools", "All pools of workers: how many are wanted and ready, what waits, what is wrong.", get_pools),
        tool("get_pool", "One pool: what its document wants and how it stands.", |a: Pool, _| {
            part("pool", object(Kind::Pool, &a.pool))
        }),
        tool(
            "explain_pool",
            "Why a pool has the size it has: its signals, what limited it, when it can change next.",
            explain_pool,
        ),
        tool("get_workers", "Workers: all, those of a pool, or one with the end of its output.", get_workers),
        tool("get_policies", "Resource policies: all or one, with mode, profile, limits and bounds.", get_policies),
        tool(
            "get_metrics",
            "What the target of a policy used: usage, limits and gauges, over the last hour unless told.",
            get_metrics,
        ),
        tool("get_history", "How a policy's limits changed, and why.", get_history),
        tool("get_forecast", "What a policy expects to be used, how sure it is, and what is used now.", get_forecast),
        tool("get_queue", "A pool's queue: room, who has a task, and who waits with place and estimate.", get_queue),
        tool("get_task", "One task: where it stands, what it carries, how it ended, and the end of its output.", get_task),
        tool("get_events", "What happened lately, the last first: all, or about one pool or worker.", get_events),
        tool("submit_task", "Give a pool a task. An idempotencyKey makes it safe to try again.", submit_task).submits(),
        tool("cancel_task", "Take a task back; if it runs, its worker is stopped.", |a: Task, _| {
            part("task", Request::send("DELETE", format!("/v1/tasks/{}", a.task), None))
        })
        .ends(),
        tool("retry_task", "Try a task once more that failed, died, expired or was cancelled.", |a: Task, _| {
            part("task", Request::send("POST", format!("/v1/tasks/{}/retry", a.task), None))
        })
        .changes(),
        tool("scale_pool", "Set a pool's number of workers, within its bounds.", scale_pool).ends(),
        tool("pause_pool", "Hold a pool's size whatever its triggers say, or let it follow them again.", pause_pool).changes(),
        tool("set_mode", "Let a policy's limits follow the usage, be held, or be observed only.", |a: SetMode, _| {
            word(&a.policy, "mode", json!({"mode": a.mode}))
        })
        .changes(),
        tool("set_profile", "How early and how much a policy moves its limits.", |a: SetProfile, _| {
            word(&a.policy, "profile", json!({"profile": a.profile}))
        })
        .changes(),
        tool(
            "manual_limits",
            "Hold a policy's limits at these values from now on (mode Manual), always within its bounds.",
            manual_limits,
        )
        .ends(),
        tool("set_thresholds", "At what percentage of the limit a policy raises or lowers it.", set_thresholds).changes(),
    ]
}

/// A text as a part of a URL.
fn encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

fn path(kind: Kind, name: &str) -> String {
    format!("{ROOT}/{}/{}", kind.plural(), encoded(name))
}

fn object(kind: Kind, name: &str) -> Request {
    Request::get(path(kind, name))
}

fn part(name: &'static str, request: Request) -> Plan {
    Part::new(name, request).into()
}

/// So many as were asked for, within what is allowed.
fn count(asked: Option<u32>, (usual, most): (u32, u32)) -> u32 {
    asked.unwrap_or(usual).min(most)
}

/// These fields of each item.
fn fields(item: &Value, pointers: &[(&str, &str)]) -> Value {
    let field = |(name, pointer): &(&str, &str)| Some(((*name).to_owned(), item.pointer(pointer)?.clone()));
    pointers.iter().filter_map(field).collect::<Map<_, _>>().into()
}

fn items(list: &mut Value) -> Vec<Value> {
    list.get_mut("items").and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default()
}

fn get_pools(asked: Pools, _: Wall) -> Plan {
    const SHOWN: &[(&str, &str)] = &[
        ("name", "/metadata/name"),
        ("labels", "/metadata/labels"),
        ("desired", "/status/desiredReplicas"),
        ("ready", "/status/readyReplicas"),
        ("busy", "/status/busyReplicas"),
        ("backlog", "/status/backlog"),
        ("queue", "/status/queue"),
        ("waitingOn", "/status/waitingOn"),
        ("conditions", "/status/conditions"),
    ];
    let labels = encoded(asked.labels.as_deref().unwrap_or_default());
    let request = Request::get(format!("{ROOT}/{}?labelSelector={labels}", Kind::Pool.plural()));
    Part::new("pools", request).shown(|mut list| items(&mut list).iter().map(|pool| fields(pool, SHOWN)).collect()).into()
}

fn explain_pool(asked: Pool, _: Wall) -> Plan {
    const SHOWN: &[(&str, &str)] = &[
        ("name", "/metadata/name"),
        ("desired", "/status/desiredReplicas"),
        ("fixedReplicas", "/spec/replicas"),
        ("lastScale", "/status/lastScale"),
        ("lastScaleTime", "/status/lastScaleTime"),
        ("decision", "/status/scaling"),
        ("waitingOn", "/status/waitingOn"),
    ];
    Part::new("why", object(Kind::Pool, &asked.pool)).shown(|pool| fields(&pool, SHOWN)).into()
}

fn get_workers(asked: Workers, _: Wall) -> Plan {
    const SHOWN: &[(&str, &str)] = &[("name", "/metadata/name"), ("labels", "/metadata/labels"), ("status", "/status")];
    if let Some(worker) = asked.worker {
        let lines = count(asked.log_lines, LINES);
        let one = Part::new("worker", object(Kind::Worker, &worker)).shown(|worker| fields(&worker, SHOWN));
        return Plan { check: None, parts: vec![one, Part::log(&path(Kind::Worker, &worker), lines)] };
    }
    let selector = asked.pool.map_or_else(String::new, |pool| encoded(&format!("weir.dev/pool={pool}")));
    let request = Request::get(format!("{ROOT}/{}?labelSelector={selector}", Kind::Worker.plural()));
    Part::new("workers", request).shown(|mut list| items(&mut list).iter().map(|worker| fields(worker, SHOWN)).collect()).into()
}

fn get_policies(asked: Policies, _: Wall) -> Plan {
    match asked.policy {
        Some(policy) => part("policy", Request::get(format!("{POLICIES}/{}", encoded(&policy)))),
        None => Part::new("policies", Request::get(POLICIES.into())).shown(|mut list| items(&mut list).into()).into(),
    }
}

fn get_metrics(asked: Metrics, now: Wall) -> Plan {
    let back = i64::try_from(asked.span.unwrap_or(Span::secs(3600)).0).unwrap_or(i64::MAX);
    let since = now.0.saturating_sub(back).max(0);
    let request = Request::get(format!("/v1/policies/{}/metrics?since={since}", encoded(&asked.policy)));
    Part::new("metrics", request).shown(|mut list| thinned(items(&mut list)).into()).into()
}

/// Samples evenly over their time, the last one among them.
fn thinned(samples: Vec<Value>) -> Vec<Value> {
    let each = samples.len().div_ceil(SAMPLES_MAX).max(1);
    let mut kept: Vec<Value> = samples.into_iter().rev().step_by(each).collect();
    kept.reverse();
    kept
}

fn get_history(asked: History, _: Wall) -> Plan {
    let limit = count(asked.limit, ITEMS);
    let request = Request::get(format!("/v1/policies/{}/history?limit={limit}", encoded(&asked.policy)));
    Part::new("history", request).shown(|mut list| items(&mut list).into()).into()
}

fn get_forecast(asked: Policy, _: Wall) -> Plan {
    const SHOWN: &[(&str, &str)] = &[
        ("policy", "/metadata/name"),
        ("settings", "/spec/forecast"),
        ("forecast", "/status/forecast"),
        ("usage", "/status/usage"),
        ("limits", "/status/limits"),
    ];
    let request = Request::get(format!("{POLICIES}/{}", encoded(&asked.policy)));
    Part::new("forecast", request).shown(|policy| fields(&policy, SHOWN)).into()
}

fn get_queue(asked: Queue, _: Wall) -> Plan {
    let (pool, limit) = (encoded(&asked.pool), count(asked.limit, ITEMS));
    let tasks = Request::get(format!("/v1/tasks?pool={pool}&state=Held,Queued,Leased&limit={limit}"));
    let room = Part::new("room", Request::get(format!("/v1/pools/{pool}/capacity")));
    Plan { check: None, parts: vec![room, Part::new("tasks", tasks).shown(|mut list| items(&mut list).into())] }
}

fn get_task(asked: TaskWithLog, _: Wall) -> Plan {
    let task = format!("/v1/tasks/{}", asked.task);
    let log = Part::log(&task, count(asked.log_lines, LINES));
    Plan { check: None, parts: vec![Part::new("task", Request::get(task)), log] }
}

fn get_events(asked: Events, _: Wall) -> Plan {
    const SHOWN: &[(&str, &str)] =
        &[("time", "/eventTime"), ("type", "/type"), ("reason", "/reason"), ("about", "/regarding"), ("note", "/note")];
    let most = usize::try_from(count(asked.limit, ITEMS)).unwrap_or(0);
    let show = move |mut list: Value| {
        let about = |event: &Value| asked.about.as_deref().is_none_or(|about| event["regarding"] == about);
        let mut events: Vec<Value> = items(&mut list).into_iter().filter(about).collect();
        events.sort_by(|a, b| b["eventTime"].as_str().cmp(&a["eventTime"].as_str()));
        events.iter().take(most).map(|event| fields(event, SHOWN)).collect()
    };
    Part::new("events", Request::get(format!("{ROOT}/{}", Kind::Event.plural()))).shown(show).into()
}

fn submit_task(asked: Submit, _: Wall) -> Plan {
    let body = serde_json::to_value(&asked).expect("plain data");
    part("task", Request::send("POST", format!("/v1/pools/{}/tasks", encoded(&asked.pool)), Some(body)))
}

fn scale_pool(asked: ScalePool, _: Wall) -> Plan {
    let body = json!({"spec": {"replicas": asked.replicas}});
    part("scale", Request::send("PATCH", format!("{}/scale", path(Kind::Pool, &asked.pool)), Some(body)))
}

fn pause_pool(asked: PausePool, now: Wall) -> Plan {
    let long = asked.span.and_then(|span| i64::try_from(span.0).ok());
    let until =
        if asked.span.is_some() { Wall(long.map_or(i64::MAX, |long| now.0.saturating_add(long))) } else { Wall::FOR_EVER };
    let until = (!asked.resume).then(|| until.min(Wall::FOR_EVER).to_string());
    let body = json!({"metadata": {"annotations": {PAUSED_UNTIL: until}}});
    let fixed = format!("pool/{} has a fixed number of workers, which nothing moves: there is nothing to pause", asked.pool);
    let check = Check { request: object(Kind::Pool, &asked.pool), needs: "/spec/scale", otherwise: fixed };
    const SHOWN: &[(&str, &str)] = &[("name", "/metadata/name"), ("desired", "/status/desiredReplicas")];
    let change = Request::send("PATCH", path(Kind::Pool, &asked.pool), Some(body));
    let told = until.clone();
    let show = move |pool: Value| json!({"pool": fields(&pool, SHOWN), "pausedUntil": told});
    Plan { check: Some(check), parts: vec![Part::new("paused", change).shown(show)] }
}

/// A word said to a policy. There are none for its bounds.
fn word(policy: &str, word: &str, said: Value) -> Plan {
    part("policy", Request::send("PUT", format!("/v1/policies/{}/{word}", encoded(policy)), Some(said)))
}

fn manual_limits(asked: ManualLimits, _: Wall) -> Plan {
    let request = Request::send("PUT", format!("/v1/policies/{}/manual", encoded(&asked.policy)), Some(json!(asked)));
    Part::new("policy", request).shown(with_warnings).into()
}

/// A policy, and where its limits are held otherwise than was said.
fn with_warnings(mut policy: Value) -> Value {
    let spec = |field: &str| policy.pointer(&format!("/spec/{field}")).cloned().unwrap_or_default();
    let warnings = serde_json::from_value(spec("bounds")).map(|bounds| beyond(&bounds, &spec("manual"))).unwrap_or_default();
    if let Some(policy) = policy.as_object_mut().filter(|_| !warnings.is_empty()) {
        policy.insert("warnings".into(), json!(warnings));
    }
    policy
}

fn set_thresholds(asked: SetThresholds, _: Wall) -> Plan {
    let given = [("scaleUp", asked.scale_up), ("scaleDown", asked.scale_down)];
    let said: Map<String, Value> =
        given.into_iter().filter_map(|(name, percents)| Some((name.to_owned(), json!(percents?)))).collect();
    word(&asked.policy, "thresholds", said.into())
}

#[cfg(test)]
#[path = "tools_tests.rs"]
mod tests;
