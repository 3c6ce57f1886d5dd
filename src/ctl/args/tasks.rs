//! What can be typed about tasks and queues: giving work, looking at it, taking it back, and the worker's side.
//!
//! As data, like the rest of what can be typed: nothing is looked up here.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::model::time::Span;

/// `submit`
#[derive(Debug, Args)]
pub struct Submit {
    /// The pool: the task's type
    pub pool: String,
    /// What the task carries: JSON if it reads as such, else a text; several words are one text
    #[arg(last = true, value_name = "PAYLOAD", conflicts_with = "file")]
    pub payload: Vec<String>,
    /// Read what it carries from a file, or from - for the standard input
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Each line of the file, or of the standard input, is what a task of its own carries; they are given as they come
    #[arg(long, conflicts_with_all = ["payload", "count", "wait"])]
    pub each: bool,
    /// 9 goes first, 0 last
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=9))]
    pub priority: u8,
    /// It expires if nobody has taken it after this
    #[arg(long, value_name = "DURATION")]
    pub ttl: Option<Span>,
    /// How long one attempt may take
    #[arg(long, value_name = "DURATION")]
    pub timeout: Option<Span>,
    /// Not to be taken before this has passed
    #[arg(long, value_name = "DURATION")]
    pub delay: Option<Span>,
    /// No two tasks with the same key run at once
    #[arg(long)]
    pub key: Option<String>,
    /// A second submit with it gives the task of the first one; with --each it is KEY-1 for the first line, and so on
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
    /// Attempts in all
    #[arg(long, value_name = "N")]
    pub max_attempts: Option<u32>,
    /// It waits until "ctl release"
    #[arg(long)]
    pub hold: bool,
    /// It waits until this task has succeeded, and is cancelled if it does not; several times, or separated by commas, for
    /// several
    #[arg(long, value_name = "TASK", value_delimiter = ',', value_parser = number, conflicts_with = "hold")]
    pub after: Vec<u64>,
    /// So many tasks alike
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000), conflicts_with = "idempotency_key")]
    pub count: u32,
    /// Wait until it has ended, or all of them; as --wait=10m at most so long; exit code 1 when it did not succeed
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true)]
    pub wait: Option<Option<Span>>,
    /// yaml, json, name, jsonpath=…, custom-columns=…
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<String>,
}

/// `task/12` or `12`
fn number(text: &str) -> Result<u64, String> {
    let number = text.trim().strip_prefix("task/").unwrap_or(text.trim());
    number.parse().map_err(|_| "expected a task, as task/12 or 12".to_owned())
}

/// `capacity-test`
#[derive(Debug, Args)]
pub struct CapacityTest {
    /// The pool: it must be able to run as many tasks at once as --to says
    pub pool: String,
    /// What each task carries: JSON if it reads as such, else a text; several words are one text
    #[arg(last = true, value_name = "PAYLOAD", conflicts_with = "file")]
    pub payload: Vec<String>,
    /// Read what each carries from a file, or from - for the standard input
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Tasks at once in the first step
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub from: u32,
    /// Tasks at once in the last step
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub to: u32,
    /// So many more at once from step to step
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub step: u32,
    /// Tasks of each step [default: 5 for each that runs at once]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub tasks: Option<u32>,
    /// A parallelism at which more of the tasks fail is not recommended, and none above it is tried
    #[arg(long, value_name = "PERCENT", default_value_t = 5, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub max_failures: u8,
    /// json
    #[arg(short, long, value_name = "FORMAT", value_parser = ["json"])]
    pub output: Option<String>,
}

/// Numbers of tasks, or which ones.
#[derive(Debug, Args)]
pub struct TaskIds {
    /// ID or task/ID
    #[arg(value_name = "TASK", required_unless_present_any = ["pool", "status", "all"], conflicts_with_all = ["pool", "status", "all"])]
    pub tasks: Vec<String>,
    /// Which.
    #[command(flatten)]
    pub many: Many,
}

/// Tasks by what they are.
#[derive(Debug, Args)]
pub struct Many {
    /// Those of this pool
    #[arg(long, value_name = "POOL")]
    pub pool: Option<String>,
    /// Those in these states, as Queued,Dead [default: all that this can be done to]
    #[arg(long, value_name = "STATES")]
    pub status: Option<String>,
    /// Do it to all of them; without it they are only shown
    #[arg(long)]
    pub all: bool,
}

impl Many {
    /// Whether tasks are meant by what they are.
    pub fn is_given(&self) -> bool {
        self.pool.is_some() || self.status.is_some() || self.all
    }
}

/// `cancel`
#[derive(Debug, Args)]
pub struct Cancel {
    /// ID or task/ID
    #[arg(value_name = "TASK", required_unless_present_any = ["worker", "pool", "status", "all"], conflicts_with_all = ["worker", "pool", "status", "all"])]
    pub tasks: Vec<String>,
    /// The tasks that this worker has
    #[arg(long, value_name = "NAME", conflicts_with_all = ["pool", "status", "all"])]
    pub worker: Option<String>,
    /// Which.
    #[command(flatten)]
    pub many: Many,
}

/// `queue`
#[derive(Debug, Args)]
pub struct QueueArgs {
    /// Pools, as NAME, pool/NAME or queue/NAME; without one all that have a queue
    #[arg(value_name = "POOL")]
    pub pools: Vec<String>,
    /// Show it again whenever something changes
    #[arg(short, long)]
    pub watch: bool,
    /// json, yaml or jsonpath=TEMPLATE, in place of the table
    #[arg(short, long, value_name = "FORMAT", conflicts_with = "watch")]
    pub output: Option<String>,
    /// Leave out the head of the table
    #[arg(long)]
    pub no_headers: bool,
}

/// `task`: a worker's side. Each waits for a daemon that is being restarted.
#[derive(Debug, Subcommand)]
pub enum Work {
    /// Take the next task and print it as one line of JSON, its token first; exit code 1 and nothing when there is none
    #[command(
        after_help = "Examples:\n  ctl task next --wait 60s\n  ctl task next --wait 60s -o jsonpath='{.token} {.payload}'\n\n\
        A worker is a loop of it, with exit code 1 for \"there was none\", 2 for \"this worker gets none\" and 3 for \"no daemon\":\n  \
        while :; do\n    line=$(ctl task next --wait 60s -o jsonpath='{.token} {.payload}') || continue\n    \
        token=${line%% *}\n    if work \"${line#* }\"; then ctl task done \"$token\"; else ctl task fail \"$token\"; fi\n  done"
    )]
    Next {
        /// Whose task, and for how long to wait.
        #[command(flatten)]
        wish: NextArgs,
    },
    /// Say that this task's worker lives; exit code 1 when the task was cancelled or is another's
    #[command(
        after_help = "Examples:\n  ctl task heartbeat \"$token\"\n  ctl task heartbeat \"$token\" --extend 10m --progress \"3 of 5\""
    )]
    Heartbeat {
        /// The lease [default: $WEIR_TASK_TOKEN]
        token: Option<String>,
        /// A new bound for the attempt, from now
        #[arg(long, value_name = "DURATION")]
        extend: Option<Span>,
        /// How far it is
        #[arg(long, value_name = "TEXT")]
        progress: Option<String>,
    },
    /// The task is done
    #[command(
        after_help = "Examples:\n  ctl task done \"$token\" --result '{\"pages\": 3}'\n  ctl task done \"$token\" --next --wait 60s"
    )]
    Done {
        /// The lease [default: $WEIR_TASK_TOKEN]
        token: Option<String>,
        /// What it gives back: JSON if it reads as such, else a text
        #[arg(long, value_name = "JSON")]
        result: Option<String>,
        /// Take the next task in the same step, and print it
        #[arg(long)]
        next: bool,
        /// Whose task, and for how long to wait.
        #[command(flatten)]
        wish: NextArgs,
    },
    /// The attempt failed
    #[command(
        after_help = "Examples:\n  ctl task fail \"$token\" --message \"no such branch\"\n  ctl task fail \"$token\" --again --next"
    )]
    Fail {
        /// The lease [default: $WEIR_TASK_TOKEN]
        token: Option<String>,
        /// Why
        #[arg(long, value_name = "TEXT", default_value = "")]
        message: String,
        /// As an exit code, for the pool's failurePolicy
        #[arg(long, value_name = "N", allow_negative_numbers = true)]
        code: Option<i32>,
        /// Ask for another attempt, whatever the pool's rules say of failures
        #[arg(long)]
        again: bool,
        /// Take the next task in the same step, and print it
        #[arg(long)]
        next: bool,
        /// Whose task, and for how long to wait.
        #[command(flatten)]
        wish: NextArgs,
    },
}

/// Which task is wanted.
#[derive(Clone, Debug, Args)]
pub struct NextArgs {
    /// Wait so long for a task
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    pub wait: Span,
    /// For the task that is taken: json, yaml, jsonpath=…, custom-columns=…
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<String>,
}
