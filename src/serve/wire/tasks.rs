//! What goes over the wire about tasks and queues: flat objects, each a task as it is and what is known of its place.
//!
//! Plain data that server and client share. A token is only in the answer to whoever leased the task.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::status::{API_VERSION, Meta};
use crate::model::task::{End, NewTask, Task, TaskState};
use crate::model::time::{Span, Wall};

/// Most tasks in one submit.
pub const SUBMIT_MAX: usize = 10_000;

/// The type of a body of lines, each of them JSON.
pub const LINES: &str = "application/x-ndjson";

/// Tasks that are listed when a request does not say how many.
pub const LIST_DEFAULT: u32 = 500;

/// Longest wait of one request.
pub const WAIT_MAX: Span = Span::secs(3600);

/// A task, and when it may begin.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskView {
    /// The task.
    #[serde(flatten)]
    pub task: Task,
    /// Its place among those that wait, 1 being the next. Absent: it cannot be taken now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// How long it will wait, as far as the last tasks tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimated_wait: Option<Span>,
    /// A submit found it there: its idempotency key is known.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub known: bool,
    /// When this attempt has taken too long. Only in the answer to a heartbeat: it may be sooner than was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Wall>,
}

/// Tasks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskList {
    /// `TaskList`
    pub kind: String,
    /// Those that run, those that wait in their order, those that ended with the last first; or in the order of a submit.
    pub items: Vec<TaskView>,
    /// Fewer than were asked for: there are more than can be listed at once, or the next ones would be too much to carry.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}

impl TaskList {
    /// A list.
    pub fn new(items: Vec<TaskView>) -> TaskList {
        TaskList { kind: "TaskList".into(), items, cut: false }
    }
}

/// A task as an object of Kubernetes' shape.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TaskObject {
    /// `weir.dev/v1`
    pub api_version: String,
    /// `Task`
    pub kind: String,
    /// Its number is its name.
    pub metadata: Meta,
    /// What was asked for.
    pub spec: TaskSpec,
    /// How it stands.
    pub status: TaskStatus,
}

/// What was asked for with a task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TaskSpec {
    /// The pool whose queue it is in.
    pub pool: String,
    /// The task.
    #[serde(flatten)]
    pub task: NewTask,
}

/// How a task stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TaskStatus {
    /// Where it is in its life.
    pub state: TaskState,
    /// Its place among those that wait, 1 being the next. Absent: it cannot be taken now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// How long it will wait, as far as the last tasks tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimated_wait: Option<Span>,
    /// The worker that has it, or that it waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// The run of the worker that has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<u64>,
    /// Another task of its key has a worker.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub blocked: bool,
    /// Attempts begun that count.
    pub attempt: u32,
    /// How often it was leased.
    pub epoch: u64,
    /// Not to be leased before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Wall>,
    /// If nobody has taken it by then, it expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<Wall>,
    /// When the present or last attempt began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<Wall>,
    /// When it came to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished: Option<Wall>,
    /// Its worker has been told to stop it; or was, before the task ended.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cancelling: bool,
    /// What the holder last said of its progress.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub progress: String,
    /// How the last attempt ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<End>,
    /// What it gave back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// Where it came from: `submit`, `schedule/<name>`, `webhook/<event>`.
    pub source: String,
    /// The names in `payload` whose values have text of a forge's event in them, which anybody may have written.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub untrusted_fields: Vec<String>,
}

impl From<TaskView> for TaskObject {
    fn from(view: TaskView) -> TaskObject {
        let TaskView { task, position, estimated_wait, .. } = view;
        let labels = [("weir.dev/pool", Some(task.pool.clone())), ("weir.dev/worker", task.worker.clone())];
        let labels = labels.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
        // One that was taken back is another object to whoever waits until the one that they deleted is gone.
        let over = if task.is_taken_back() { "-cancelled" } else { "" };
        let metadata = Meta {
            name: task.id.to_string(),
            uid: format!("task-{}{over}", task.id),
            generation: 1,
            creation_timestamp: task.created,
            labels,
            ..Meta::default()
        };
        let spec = TaskSpec {
            pool: task.pool,
            task: NewTask {
                payload: task.payload,
                priority: task.priority,
                key: task.key,
                idempotency_key: task.idempotency_key,
                ttl: Some(task.ttl),
                timeout: Some(task.timeout),
                max_attempts: Some(task.max_attempts),
                hold: task.state == TaskState::Held && task.after.is_empty(),
                after: task.after,
                ..NewTask::default()
            },
        };
        let status = TaskStatus {
            state: task.state,
            position,
            estimated_wait,
            worker: task.worker,
            run: (task.run > 0).then_some(task.run),
            blocked: task.blocked,
            attempt: task.attempt,
            epoch: task.epoch,
            not_before: task.not_before,
            expires: task.expires,
            started: task.started,
            finished: task.finished,
            cancelling: task.cancelling,
            progress: task.progress,
            end: task.end,
            result: task.result,
            source: task.source,
            untrusted_fields: task.untrusted_fields,
        };
        TaskObject { api_version: API_VERSION.into(), kind: "Task".into(), metadata, spec, status }
    }
}

impl From<TaskObject> for TaskView {
    fn from(object: TaskObject) -> TaskView {
        let TaskObject { metadata, spec: TaskSpec { pool, task: asked }, status, .. } = object;
        let task = Task {
            id: metadata.name.parse().unwrap_or(0),
            pool,
            state: status.state,
            priority: asked.priority,
            key: asked.key,
            idempotency_key: asked.idempotency_key,
            payload: asked.payload,
            worker: status.worker,
            run: status.run.unwrap_or(0),
            epoch: status.epoch,
            attempt: status.attempt,
            max_attempts: asked.max_attempts.unwrap_or_default(),
            timeout: asked.timeout.unwrap_or_default(),
            created: metadata.creation_timestamp,
            not_before: status.not_before,
            ttl: asked.ttl.unwrap_or_default(),
            expires: status.expires,
            started: status.started,
            finished: status.finished,
            after: asked.after,
            blocked: status.blocked,
            cancelling: status.cancelling,
            progress: status.progress,
            end: status.end,
            result: status.result,
            source: status.source,
            untrusted_fields: status.untrusted_fields,
            // What only the daemon knows.
            nonce: 0,
            begun: None,
            deadline: None,
            lease_until: None,
        };
        TaskView { task, position: status.position, estimated_wait: status.estimated_wait, ..TaskView::default() }
    }
}

/// Who wants a task, and how long it waits for one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Wish {
    /// The worker: `WEIR_WORKER` of its environment.
    pub worker: String,
    /// Its run: `WEIR_RUN` of its environment.
    pub run: u64,
    /// Waits so long for a task. Absent: does not wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Span>,
}

/// A task with the token of its lease.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LeasedTask {
    /// Only with it the task can be ended.
    pub token: String,
    /// The task.
    #[serde(flatten)]
    pub task: Task,
}

impl From<Task> for LeasedTask {
    fn from(task: Task) -> LeasedTask {
        LeasedTask { token: task.token(), task }
    }
}

/// The answer to a [`Wish`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Leased {
    /// The task; null: there was none in time.
    pub task: Option<LeasedTask>,
}

/// What a run of a worker has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// Its tasks, each with the token of its lease.
    pub tasks: Vec<LeasedTask>,
}

/// The holder of a task lives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Heartbeat {
    /// A new bound for the attempt, from now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extend: Option<Span>,
    /// What it says of its progress.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
}

/// The task is done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Complete {
    /// What it gives back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// More words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Who takes the next one, in the same commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<Wish>,
}

/// The attempt failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Fail {
    /// Why; `failurePolicy` looks at it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// As an exit code, for `failurePolicy`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// It asks for another attempt, whatever the rules say of failures.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
    /// What it gives back nevertheless.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// Who takes the next one, in the same commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<Wish>,
}

/// One line of a worker's: one of the four things to do, all but the first with the token of a lease.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LeaseLine {
    /// Whatever the worker wants to see in the answer.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub id: Value,
    /// Of which lease.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Take a task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<Wish>,
    /// It lives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<Heartbeat>,
    /// The task is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub complete: Option<Complete>,
    /// The attempt failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fail: Option<Fail>,
}

/// What came of an end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// The task as it is now.
    pub task: TaskView,
    /// The next one, where it was asked for and there was one.
    pub next: Option<LeasedTask>,
}

/// What a dispatcher that wants to hold back needs to know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CapacityView {
    /// The pool.
    pub pool: String,
    /// Tasks that would be begun at once: by workers that are idle, and by those that the pool can grow by.
    pub free_slots: u32,
    /// Workers that there can be now.
    pub slots: u32,
    /// Tasks that wait.
    pub queued: u64,
    /// Those of them that wait for their time.
    pub delayed: u64,
    /// Those of them that wait for another task of their key.
    pub blocked: u64,
    /// Tasks that wait for a release. They count against `capacity` too.
    pub held: u64,
    /// Tasks that run.
    pub running: u64,
    /// Most tasks that may wait or be held.
    pub capacity: u32,
    /// How long a task submitted now would wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimated_wait: Option<Span>,
    /// Where that number comes from, in words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub estimated_from: String,
    /// The queue rests until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused_until: Option<Wall>,
    /// Why it rests.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub paused_why: String,
}

/// Let a queue rest. With neither time: until it is resumed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PauseQueue {
    /// For so long.
    #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
    pub span: Option<Span>,
    /// Until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Wall>,
    /// Why, in words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
}
