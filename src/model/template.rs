//! What one worker is: its program, its surroundings, and how its life is watched and ended.
//!
//! Everything in here is part of the template's hash: a change replaces workers. What must not replace workers (counts,
//! triggers, labels) lives beside the template, not in it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::quantity::{Cpu, Memory, Percent};
use super::time::Span;

/// What one worker runs, and how it is looked after.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Template {
    /// The program and its arguments; never a shell. `$(VAR)` is replaced by a variable of the worker's environment, `$$`
    /// is a dollar sign. The program is looked up in the worker's `PATH`.
    #[schemars(length(min = 1, max = 1000), extend("x-items-format" = "argument"))]
    pub command: Vec<String>,
    /// Variables of the worker's environment, in order. Nothing of the daemon's environment is passed on but PATH, HOME, USER,
    /// LOGNAME, SHELL, LANG, LC_*, TZ and TMPDIR.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvVar>,
    /// The directory in which the worker starts. Absent: the daemon's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "argument"))]
    pub working_dir: Option<String>,
    /// The user to run as, by name or number; needs a daemon that runs as root. Absent: the daemon's own user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "argument"))]
    pub user: Option<String>,
    /// The file mode creation mask, three or four octal digits: `022`, `0077`. Absent: `022`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "umask", "pattern" = "^[0-7]{3,4}$"))]
    pub umask: Option<String>,
    /// The signal that asks a worker to stop: TERM, INT, QUIT, HUP, USR1, USR2, KILL or WINCH, with or without SIG.
    #[serde(default)]
    pub stop_signal: StopSignal,
    /// How long a worker may take to stop before its whole process tree is killed.
    #[serde(default = "grace")]
    pub termination_grace_period: Span,
    /// What is done before the stop signal; its time counts against the grace period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre_stop: Option<PreStop>,
    /// When a worker that ended is started again.
    #[serde(default)]
    pub restart_policy: RestartPolicy,
    /// How long to wait between restarts of a worker that keeps ending.
    #[serde(default)]
    pub backoff: Backoff,
    /// Until it succeeds the other probes wait; when it fails the worker is restarted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub startup_probe: Option<Probe>,
    /// Whether the worker counts as ready. Absent: ready as soon as it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readiness_probe: Option<Probe>,
    /// When it fails the worker is restarted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub liveness_probe: Option<Probe>,
    /// When a worker is replaced by a fresh one though nothing is wrong. Absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recycle: Option<Recycle>,
    /// Limits of one worker, held by its cgroup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// The size of a worker's log files.
    #[serde(default)]
    pub logs: Logs,
    /// What to do about a worker that shows no sign of life though it runs. Absent: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stall: Option<Stall>,
}

const fn grace() -> Span {
    Span::secs(30)
}

impl Default for Template {
    /// All defaults, and an empty command: only for building one in code.
    fn default() -> Template {
        Template {
            command: Vec::new(),
            env: Vec::new(),
            working_dir: None,
            user: None,
            umask: None,
            stop_signal: StopSignal::default(),
            termination_grace_period: grace(),
            pre_stop: None,
            restart_policy: RestartPolicy::default(),
            backoff: Backoff::default(),
            startup_probe: None,
            readiness_probe: None,
            liveness_probe: None,
            recycle: None,
            resources: None,
            logs: Logs::default(),
            stall: None,
        }
    }
}

impl Template {
    /// The umask as a number; 022 if none is given.
    pub fn umask_bits(&self) -> u32 {
        self.umask.as_deref().and_then(|text| u32::from_str_radix(text, 8).ok()).unwrap_or(0o022)
    }
}

/// One variable of a worker's environment: `value` or `valueFrom`; neither is the empty string.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-at-most-one" = ["value", "valueFrom"]))]
pub struct EnvVar {
    /// The variable's name: letters, digits and '_', not beginning with a digit nor with `WEIR_`.
    #[schemars(extend("format" = "env-name", "pattern" = "^(?!WEIR_)[A-Za-z_][A-Za-z0-9_]*$"))]
    pub name: String,
    /// Its value. `$(VAR)` is replaced by a variable that stands before it in the list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "argument"))]
    pub value: Option<String>,
    /// Where its value is read from, at each start of a worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<EnvSource>,
}

/// Where the value of a variable is read from: exactly one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-exactly-one" = ["file", "daemonEnv"]))]
pub struct EnvSource {
    /// The content of this file, without its last newline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "argument"))]
    pub file: Option<String>,
    /// The variable of this name in the daemon's own environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "argument"))]
    pub daemon_env: Option<String>,
}

/// Signals that may ask a worker to stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schemars(extend("x-optional-prefix" = "SIG"))]
pub enum StopSignal {
    /// The usual wish to end.
    #[default]
    #[serde(alias = "SIGTERM")]
    Term,
    /// As Ctrl-C.
    #[serde(alias = "SIGINT")]
    Int,
    /// As Ctrl-\; some servers drain on it.
    #[serde(alias = "SIGQUIT")]
    Quit,
    /// As a hang-up of the terminal.
    #[serde(alias = "SIGHUP")]
    Hup,
    /// For the program to define.
    #[serde(alias = "SIGUSR1")]
    Usr1,
    /// For the program to define.
    #[serde(alias = "SIGUSR2")]
    Usr2,
    /// At once, without asking.
    #[serde(alias = "SIGKILL")]
    Kill,
    /// Some servers drain on it.
    #[serde(alias = "SIGWINCH")]
    Winch,
}

impl StopSignal {
    /// Its number on Linux.
    pub fn number(self) -> i32 {
        match self {
            StopSignal::Term => 15,
            StopSignal::Int => 2,
            StopSignal::Quit => 3,
            StopSignal::Hup => 1,
            StopSignal::Usr1 => 10,
            StopSignal::Usr2 => 12,
            StopSignal::Kill => 9,
            StopSignal::Winch => 28,
        }
    }
}

/// What is done before the stop signal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PreStop {
    /// A command, run with the worker's environment and user.
    pub exec: Exec,
}

/// A command to run beside a worker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Exec {
    /// The program and its arguments; never a shell.
    #[schemars(length(min = 1, max = 1000), extend("x-items-format" = "argument"))]
    pub command: Vec<String>,
}

/// When a worker that ended is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RestartPolicy {
    /// Whatever its exit code was.
    #[default]
    Always,
    /// Only if it failed: an exit code other than 0, or a signal.
    OnFailure,
    /// Never: its slot stays as it ended.
    Never,
}

/// Waiting times between restarts: the first restart after a healthy run is immediate, then `initial`, doubled each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Backoff {
    /// The wait before the second restart in a row.
    pub initial: Span,
    /// The longest wait; not below `initial`.
    pub max: Span,
    /// After so long a healthy run the count begins anew.
    pub reset_after: Span,
}

impl Default for Backoff {
    fn default() -> Backoff {
        Backoff { initial: Span::secs(1), max: Span::secs(300), reset_after: Span::secs(600) }
    }
}

/// A look at whether a worker is well, as in Kubernetes. Exactly one way of looking.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("x-exactly-one" = ["exec", "httpGet", "tcpSocket", "notify"]))]
pub struct Probe {
    /// Run a command: exit code 0 is success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exec: Option<Exec>,
    /// Ask over HTTP: a status from 200 to 399 is success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_get: Option<HttpGet>,
    /// Open a TCP connection: being accepted is success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_socket: Option<TcpSocket>,
    /// The worker tells by itself, as to systemd: READY=1 and WATCHDOG=1 on `$NOTIFY_SOCKET`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notify: Option<NotifyProbe>,
    /// The time from one look to the next; at least 1ms. For `notify` in a liveness probe: the longest silence.
    #[schemars(extend("x-min" = "1ms"))]
    pub period: Span,
    /// A look that takes longer has failed; at least 1ms.
    #[schemars(extend("x-min" = "1ms"))]
    pub timeout: Span,
    /// So many failures in a row are a failure.
    #[schemars(range(min = 1, max = 1000))]
    pub failure_threshold: u32,
    /// So many successes in a row after a failure are a success.
    #[schemars(range(min = 1, max = 1000))]
    pub success_threshold: u32,
    /// The time from the worker's start to the first look.
    pub initial_delay: Span,
}

impl Default for Probe {
    fn default() -> Probe {
        Probe {
            exec: None,
            http_get: None,
            tcp_socket: None,
            notify: None,
            period: Span::secs(10),
            timeout: Span::secs(1),
            failure_threshold: 3,
            success_threshold: 1,
            initial_delay: Span::secs(0),
        }
    }
}

/// A question over HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpGet {
    /// The path and query to ask for.
    #[serde(default = "root")]
    #[schemars(extend("format" = "http-path", "pattern" = "^/"))]
    pub path: String,
    /// The port.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// The host.
    #[serde(default = "loopback")]
    #[schemars(extend("format" = "host"))]
    pub host: String,
}

/// A TCP connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TcpSocket {
    /// The port.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// The host.
    #[serde(default = "loopback")]
    #[schemars(extend("format" = "host"))]
    pub host: String,
}

fn root() -> String {
    "/".into()
}

fn loopback() -> String {
    "127.0.0.1".into()
}

/// What the worker tells by itself; has no fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NotifyProbe {}

/// When a worker is replaced by a fresh one; done when it is idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Recycle {
    /// After it has run for so long; at least 1s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-min" = "1s"))]
    pub max_lifetime: Option<Span>,
    /// After so many tasks of the pool's queue. A worker that is run for each task keeps it in any case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_tasks: Option<u32>,
    /// When its memory has grown above this: that of its cgroup, or, without one, what its processes have for themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_memory: Option<Memory>,
    /// Each worker's lifetime and number of tasks is shortened by up to this share, so that they do not all go at once.
    #[serde(default = "tenth")]
    pub jitter: Percent,
}

const fn tenth() -> Percent {
    Percent(10)
}

/// Limits of one worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Resources {
    /// What a worker can never go above.
    pub limits: Limits,
}

/// What a worker can never go above.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// CPU; absent: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Cpu>,
    /// Memory; absent: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// Processes and threads; never unlimited.
    #[schemars(range(min = 1, max = 4_194_304))]
    pub tasks: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { cpu: None, memory: None, tasks: 512 }
    }
}

/// Limits of a worker's log files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Logs {
    /// A file that has grown above this is rotated; at least 4Ki.
    #[schemars(extend("x-min" = "4Ki"))]
    pub max_size: Memory,
    /// How many files are kept, the current one counted.
    #[schemars(range(min = 1, max = 1000))]
    pub max_files: u32,
    /// Bytes a second; what comes above it is dropped and counted; at least 1Ki.
    #[schemars(extend("x-min" = "1Ki"))]
    pub max_rate: Memory,
}

impl Default for Logs {
    fn default() -> Logs {
        Logs { max_size: Memory(10 << 20), max_files: 5, max_rate: Memory(10 << 20) }
    }
}

/// A worker is stalled when two signals agree that nothing happens: no output, no heartbeat, no CPU time used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Stall {
    /// How long nothing must have happened; at least 1s.
    #[schemars(extend("x-min" = "1s"))]
    pub after: Span,
    /// What is done then.
    #[serde(default)]
    pub action: StallAction,
}

/// What is done about a stalled worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StallAction {
    /// It is stopped and started again.
    #[default]
    Restart,
    /// An event is recorded; the worker is left alone.
    Report,
}
