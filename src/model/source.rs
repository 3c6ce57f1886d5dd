//! Where numbers come from: the sources of triggers, quotas and gauges.
//!
//! Plain descriptions; each source is asked by a file of its own in the edge. Secrets are never written inline: a document
//! names a file or a variable of the daemon.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a secret is read from: exactly one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-exactly-one" = ["file", "env"]))]
pub struct SecretSource {
    /// The content of this file, without its last newline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The variable of this name in the daemon's own environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
}

/// The sources there are, as they are written.
pub const NAMES: [&str; 19] = [
    "queue",
    "gitea",
    "forgejo",
    "github",
    "gitlab",
    "exec",
    "http",
    "prometheus",
    "sqlite",
    "postgres",
    "mysql",
    "redis",
    "rabbitmq",
    "nats",
    "files",
    "cpu",
    "memory",
    "workers",
    "schedule",
];

/// A source of a number: exactly one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("x-exactly-one" = NAMES))]
pub struct Source {
    /// Tasks queued and running in the queue of this or another pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueSource>,
    /// Open issues or pull requests of a Gitea repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gitea: Option<ForgeSource>,
    /// Open issues or pull requests of a Forgejo repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forgejo: Option<ForgeSource>,
    /// Open issues or pull requests of a GitHub repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub github: Option<ForgeSource>,
    /// Open issues or merge requests of a GitLab project.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gitlab: Option<ForgeSource>,
    /// A command that prints a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exec: Option<super::template::Exec>,
    /// A number inside a JSON document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpSource>,
    /// The result of a PromQL query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<PrometheusSource>,
    /// The result of one query of a SQLite file, opened read-only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sqlite: Option<SqliteSource>,
    /// The result of one query of PostgreSQL, in a read-only transaction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postgres: Option<DatabaseSource>,
    /// The result of one query of MySQL, in a read-only transaction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mysql: Option<DatabaseSource>,
    /// The length of a list, stream or sorted set of Redis.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis: Option<RedisSource>,
    /// The depth of a RabbitMQ queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rabbitmq: Option<RabbitSource>,
    /// Pending messages of a NATS JetStream consumer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nats: Option<NatsSource>,
    /// The number of files that a pattern matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<FilesSource>,
    /// CPU used by the pool's own cgroup since the question before, in percent of its limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<UsageSource>,
    /// Memory used by the pool's own cgroup, in percent of its limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<UsageSource>,
    /// Workers of a pool in a state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<WorkersSource>,
    /// A number by the clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleSource>,
}

impl Source {
    /// Of which resource it is the use by the pool's own cgroup, if it is that.
    pub fn used(&self) -> Option<UsageOf> {
        let cpu = self.cpu.map(|UsageSource {}| UsageOf::Cpu);
        cpu.or(self.memory.map(|UsageSource {}| UsageOf::Memory))
    }

    /// Which source it is, as it is written.
    pub fn kind(&self) -> &'static str {
        let set = [
            self.queue.is_some(),
            self.gitea.is_some(),
            self.forgejo.is_some(),
            self.github.is_some(),
            self.gitlab.is_some(),
            self.exec.is_some(),
            self.http.is_some(),
            self.prometheus.is_some(),
            self.sqlite.is_some(),
            self.postgres.is_some(),
            self.mysql.is_some(),
            self.redis.is_some(),
            self.rabbitmq.is_some(),
            self.nats.is_some(),
            self.files.is_some(),
            self.cpu.is_some(),
            self.memory.is_some(),
            self.workers.is_some(),
            self.schedule.is_some(),
        ];
        set.iter().position(|is| *is).map_or("", |at| NAMES[at])
    }
}

/// The embedded queue of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct QueueSource {
    /// The pool whose queue is counted. Absent: this pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "label"))]
    pub pool: Option<String>,
}

/// Issues or pull requests of a forge.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ForgeSource {
    /// The forge's address. Absent: the public one of this kind, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// `owner/name`.
    pub repository: String,
    /// What is counted.
    #[serde(default)]
    pub count: ForgeCount,
    /// Only those with all these labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Only those assigned to this user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assignee: Option<String>,
    /// Only those of this milestone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub milestone: Option<String>,
    /// Where the access token is read from; never inline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_from: Option<SecretSource>,
}

/// What a forge counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ForgeCount {
    /// Open issues; pull requests are not counted as issues.
    #[default]
    Issues,
    /// Open pull or merge requests.
    PullRequests,
}

/// A number inside a JSON document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpSource {
    /// The address: `https://…` or `http://…`.
    pub url: String,
    /// A JSON pointer (RFC 6901) to the number, like `/queue/length`. Empty: the whole document is the number.
    #[serde(default)]
    pub pointer: String,
    /// Where the bearer token is read from; never inline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_from: Option<SecretSource>,
    /// Ask an address of a private network (10.0.0.0/8, 169.254.0.0/16, fc00::/7, …) too. Loopback is asked in any case.
    #[serde(default, skip_serializing_if = "is_false")]
    pub allow_private: bool,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// A PromQL query.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PrometheusSource {
    /// The server's address.
    pub url: String,
    /// An instant query that answers one number.
    pub query: String,
    /// Where the bearer token is read from; never inline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_from: Option<SecretSource>,
}

/// One query of a SQLite file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SqliteSource {
    /// The database file.
    pub path: String,
    /// A query that answers one number.
    pub query: String,
}

/// One query of a database server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DatabaseSource {
    /// Where the connection string is read from; never inline.
    pub url_from: SecretSource,
    /// A query that answers one number.
    pub query: String,
}

/// A length in Redis.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-exactly-one" = ["list", "stream", "sortedSet"]))]
pub struct RedisSource {
    /// `host:port`.
    pub address: String,
    /// The key of a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<String>,
    /// The key of a stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// The key of a sorted set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sorted_set: Option<String>,
    /// Where the password is read from; never inline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_from: Option<SecretSource>,
}

/// The depth of a RabbitMQ queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RabbitSource {
    /// The address of the management API.
    pub url: String,
    /// The virtual host. Absent: `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vhost: Option<String>,
    /// The queue.
    pub queue: String,
    /// Where `user:password` is read from; never inline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_from: Option<SecretSource>,
}

/// Pending messages of a JetStream consumer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NatsSource {
    /// The address of the monitoring endpoint.
    pub url: String,
    /// The stream.
    pub stream: String,
    /// The consumer.
    pub consumer: String,
}

/// Files that a pattern matches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FilesSource {
    /// The pattern, like `/srv/inbox/*.json`.
    pub glob: String,
}

/// Usage of the pool's own cgroup; has no fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UsageSource {}

/// Of what the use is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsageOf {
    /// CPU time.
    Cpu,
    /// Memory.
    Memory,
}

impl UsageOf {
    /// The name of its source.
    pub const fn name(self) -> &'static str {
        match self {
            UsageOf::Cpu => "cpu",
            UsageOf::Memory => "memory",
        }
    }
}

/// Workers of a pool in a state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkersSource {
    /// The pool. Absent: this pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "label"))]
    pub pool: Option<String>,
    /// The state that is counted.
    #[serde(default)]
    pub state: WorkerCount,
}

/// A state in which workers are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WorkerCount {
    /// At work on something.
    #[default]
    Busy,
    /// With nothing to do.
    Idle,
    /// All that are ready.
    Ready,
}

/// A number by the clock: `value` within the window, else 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScheduleSource {
    /// When the window begins: five cron fields.
    #[schemars(extend("format" = "cron"))]
    pub cron: String,
    /// The IANA time zone. Absent: UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "time-zone"))]
    pub time_zone: Option<String>,
    /// How long the window is.
    #[schemars(extend("x-min" = "1s"))]
    pub duration: super::time::Span,
    /// The number within the window.
    pub value: u64,
}
