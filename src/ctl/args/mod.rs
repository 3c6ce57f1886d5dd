//! What can be typed, as data: every command, flag and example.
//!
//! Nothing is looked up or decided here, so that help and completions need no daemon and no files. Names and numbers are
//! only told apart; whether they mean anything is for the commands to say.

mod policies;
mod rollout;
mod tasks;
mod top;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub use self::policies::{Policy, SetArgs, SetField};
pub use self::rollout::{Drain, History, Rollout, Undo};
pub use self::tasks::{Cancel, CapacityTest, Many, NextArgs, QueueArgs, Submit, TaskIds, Work};
pub use self::top::{Top, TopBy};
use crate::model::time::Span;

/// Over what every command takes, apart from its own.
const GLOBAL: &str = "Global options";

/// Look at pools of local workers and change them, with kubectl's verbs.
#[derive(Debug, Parser)]
#[command(name = "ctl", version, about, max_term_width = 110, arg_required_else_help = true)]
#[command(after_help = "Exit codes: 0 done; 1 the answer is no; 2 used wrongly; 3 no daemon; 4 denied; 70 internal.\n\n\
    Examples:\n  ctl get pools\n  ctl describe pool/web\n  ctl logs -f web-0\n  \
    ctl submit web -- '{\"page\": 3}'\n  ctl queue web\n  ctl scale pool/web --replicas 3")]
pub struct Cli {
    /// The daemon's state directory [default: $WEIR_STATE, ./.weir, $XDG_STATE_HOME/weir, /var/lib/weir for root]
    #[arg(long, global = true, value_name = "DIR", help_heading = GLOBAL)]
    pub state: Option<PathBuf>,
    /// A daemon's address on loopback, like http://127.0.0.1:8888, in place of its socket
    #[arg(long, global = true, value_name = "URL", help_heading = GLOBAL, requires = "token_file", conflicts_with = "state")]
    pub server: Option<String>,
    /// The file with the token for --server
    #[arg(long, global = true, value_name = "FILE", help_heading = GLOBAL, requires = "server")]
    pub token_file: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// A verb.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show pools, workers, policies, tasks or events as a table or otherwise
    #[command(
        after_help = "Examples:\n  ctl get pools\n  ctl get pool/web worker/web-0\n  ctl get workers -l tier=front -o wide\n  \
        ctl get pools -w\n  ctl get tasks -w --pool web --status Queued,Leased\n  ctl get task 12 -o yaml\n  ctl get workers --sort-by=.status.restarts\n  \
        ctl get pools -o jsonpath='{range .items[*]}{.metadata.name}{\"\\n\"}{end}'\n  \
        ctl get pools -o custom-columns=NAME:.metadata.name,READY:.status.readyReplicas"
    )]
    Get(Get),
    /// Show everything about a pool, a worker, a policy or a task, with its events
    #[command(after_help = "Examples:\n  ctl describe pool/web\n  ctl describe worker web-0\n  ctl describe task/12")]
    Describe(Names),
    /// Explain a field of the documents, or why a pool has the size it has
    #[command(
        after_help = "Examples:\n  ctl explain pool\n  ctl explain pool.spec.template\n  ctl explain pool.spec --recursive\n  \
        ctl explain pool/web\n  ctl explain pool/web -o json"
    )]
    Explain(Explain),
    /// Print a worker's log, or a task's
    #[command(
        after_help = "Examples:\n  ctl logs web-0\n  ctl logs -f --tail 20 worker/web-0\n  ctl logs --previous web-0\n  ctl logs --since 10m --timestamps web-0\n  ctl logs -f task/12"
    )]
    Logs(Logs),
    /// Show the CPU, memory and tasks that pools or workers use now
    #[command(
        after_help = "Examples:\n  ctl top pools\n  ctl top workers --sort-by cpu\n  ctl top workers -l weir.dev/pool=web -w\n  \
        ctl top pool/web -o json\n\n\
        Tasks are processes and threads. Measured over half a second, and only while somebody looks. Without cgroup controllers the numbers \
        are those of /proc, where memory that processes share counts for each of them."
    )]
    Top(Top),
    /// End workers and start them again
    #[command(after_help = "Examples:\n  ctl restart worker/web-0")]
    Restart(Names),
    /// Set the number of a pool's workers, in its document
    #[command(after_help = "Examples:\n  ctl scale pool/web --replicas 3\n  ctl scale --replicas=0 pool web")]
    Scale(Scale),
    /// Hold a pool's size, whatever its triggers say; or let a queue rest
    #[command(
        after_help = "Examples:\n  ctl pause pool/web\n  ctl pause pool/web --for 1h\n  ctl pause queue/web --for 1h --reason \"usage limit\""
    )]
    Pause(Pause),
    /// Let a pool follow its triggers again, or a queue go on
    #[command(after_help = "Examples:\n  ctl resume pool/web\n  ctl resume queue/web")]
    Resume(Names),
    /// Give a pool a task
    #[command(
        after_help = "Examples:\n  ctl submit web -- '{\"page\": 3}'\n  ctl submit claude --priority 9 -- fix the failing test\n  \
        ctl submit web --key repo-7 --idempotency-key delivery-1 -f payload.json\n  ctl submit web --hold -- later\n  ctl submit web --after task/12,task/13 -- publish\n  ls *.md | ctl submit claude --each\n  \
        ctl submit web --wait=10m -o jsonpath='{.result}' -- 3"
    )]
    Submit(Submit),
    /// Show who has a task and who waits, with places and estimated starts
    #[command(
        after_help = "Examples:\n  ctl queue web\n  ctl queue\n  ctl queue -w web\n  ctl queue web -o jsonpath='{.capacity.queued}'"
    )]
    Queue(QueueArgs),
    /// Run sample tasks at rising parallelism, and tell how many workers are enough
    #[command(after_help = "Examples:\n  ctl capacity-test web --to 8 -- '{\"page\": 3}'\n  \
        ctl capacity-test agent --from 2 --to 6 --step 2 --tasks 12 -f payload.json -o json\n\n\
        Keeps so many tasks of its own in the pool at once; the pool must have the workers for them. Nobody else should give it work meanwhile. \
        Ctrl-C takes back what has not started.")]
    CapacityTest(CapacityTest),
    /// Take tasks back; one that runs is stopped
    #[command(
        after_help = "Examples:\n  ctl cancel 12 13\n  ctl cancel task/12\n  ctl cancel --worker web-0\n  ctl cancel --pool web --status Queued --all"
    )]
    Cancel(Cancel),
    /// Let held tasks go
    #[command(after_help = "Examples:\n  ctl release 12\n  ctl release --pool web --all")]
    Release(TaskIds),
    /// Try tasks once more that failed, died, expired or were cancelled
    #[command(after_help = "Examples:\n  ctl retry 12\n  ctl retry --pool web --status Dead --all")]
    Retry(TaskIds),
    /// A worker's side: take, keep, and end tasks, for shell scripts
    #[command(
        subcommand,
        after_help = "Examples:\n  ctl task next --wait 60s\n  ctl task heartbeat \"$token\"\n  ctl task done \"$token\" --result 3\n\n\
        Reads WEIR_POOL, WEIR_WORKER, WEIR_RUN, WEIR_STATE and WEIR_TASK_TOKEN, which weir gives its workers."
    )]
    Task(Work),
    /// Wait for a change to reach all workers, take it back, or start all workers again one by one
    #[command(
        subcommand,
        after_help = "Examples:\n  ctl rollout status pool/web --timeout 2m\n  ctl rollout restart pool/web\n  \
        ctl rollout history pool/web\n  ctl rollout undo pool/web"
    )]
    Rollout(Rollout),
    /// Give a worker or a pool no more tasks, and wait until what they have is done
    #[command(after_help = "Examples:\n  ctl drain worker/web-0 --timeout 10m\n  ctl drain pool/web && ctl resume queue/web\n\n\
        A worker ends when it is idle, and a new run takes its place. A pool keeps its workers, and its queue rests until `ctl resume \
        queue/NAME`. Exit code 1: the time is over; it goes on draining.")]
    Drain(Drain),
    /// Put documents into the specs directory
    #[command(
        after_help = "Examples:\n  ctl apply -f pool.yaml\n  ctl apply -f specs/ --dry-run\n  cat pool.yaml | ctl apply -f -"
    )]
    Apply(Apply),
    /// Remove pools and policies from the specs directory (workers are stopped, limits stay), end workers, or take tasks back
    #[command(
        after_help = "Examples:\n  ctl delete pool/web\n  ctl delete worker/web-0               it is started again, as with `ctl restart`\n  ctl delete -f pool.yaml\n  ctl delete task/12\n\n\
        Of a pool or a policy the document is removed, which asks for no confirmation. A pool's workers run on for the prune grace (10s, \
        `weir run --prune-grace`), as the answer says, and are stopped then, busy or not; `ctl wait --for=delete pool/web` waits until the last one \
        is gone. Putting the document back within that time changes nothing. The limits that a policy has set stay as they are."
    )]
    Delete(Delete),
    /// Show how documents differ from what is live; exit code 1 when they do
    #[command(after_help = "Examples:\n  ctl diff -f pool.yaml")]
    Diff(Files),
    /// Edit the document of a pool or a policy in $EDITOR
    #[command(after_help = "Examples:\n  ctl edit pool/web\n  ctl edit policy/web\n  EDITOR=nano ctl edit pool/web")]
    Edit(Names),
    /// Wait until something is so
    #[command(
        after_help = "Examples:\n  ctl wait --for=condition=Ready pool/web --timeout 1m\n  ctl wait --for=delete pool/web\n  \
        ctl wait --for=condition=Ready worker/web-0\n  ctl wait --for=jsonpath='{.status.phase}'=Busy worker/web-0\n  ctl wait task/12 --timeout 1h\n  \
        ctl wait --for=condition=Running task/12\n\n\
        A worker's one condition is Ready. Of a task the conditions are its states, Running and Ended. Without --for it is waited for until it has ended; exit code 1 then unless it \
        succeeded."
    )]
    Wait(Wait),
    /// Play what a pool's triggers read through its spec or another one; runs "weir simulate", whose flags it takes
    #[command(
        after_help = "Examples:\n  ctl simulate pool/web --from 24h\n  ctl simulate pool/web --from 24h --with new.yaml\n  \
        ctl simulate pool/web --from 24h --with new.yaml --task-duration 30s --svg web.svg\n\n\
        All flags: weir simulate --help"
    )]
    Simulate(Simulate),
    /// Set a policy's mode, profile, manual limits or thresholds, in its document
    #[command(after_help = "Modes: Enabled, Manual, Disabled. Profiles: Conservative, Balanced, Aggressive.\n\n\
        Examples:\n  ctl set mode policy/web Disabled\n  ctl set profile policy/web Aggressive\n  \
        ctl set manual policy/web cpu=6 memory=96Gi reason=\"model training\"\n  ctl set mode policy/web Enabled\n  \
        ctl set thresholds policy/web scaleUp.cpu=75 scaleDown.memory=40")]
    Set(SetArgs),
    /// Show what a policy did and what it expects, or let a failed one go on
    #[command(
        subcommand,
        after_help = "Examples:\n  ctl policy history web\n  ctl policy forecast web\n  ctl policy reset policy/web"
    )]
    Policy(Policy),
    /// Let blocked deletions happen; `ctl describe` shows the token
    #[command(after_help = "Examples:\n  ctl prune --confirm 3f9a1c")]
    Prune(Prune),
    /// Print a kubeconfig for kubectl, of a daemon that was started with --listen
    #[command(
        after_help = "Examples:\n  mkdir -p ~/.kube && (umask 077; ctl kubeconfig > ~/.kube/weir)\n  kubectl --kubeconfig ~/.kube/weir get pools"
    )]
    Kubeconfig,
    /// Serve MCP on standard input and output, for a coding agent or another client of language models
    #[command(after_help = "Examples:\n  claude mcp add weir -- ctl --state /srv/weir/.weir mcp\n  ctl mcp --allow-writes")]
    Mcp(Mcp),
    /// Print the address of the dashboard, of a daemon that was started with --listen: keep it as safe as a password
    #[command(after_help = "Examples:\n  ctl dashboard\n  xdg-open \"$(ctl dashboard)\"")]
    Dashboard,
    /// Print a completion script for a shell
    #[command(after_help = "Examples:\n  ctl completion bash > ~/.local/share/bash-completion/completions/ctl")]
    Completion {
        /// bash, zsh or fish
        #[arg(value_parser = ["bash", "zsh", "fish"])]
        shell: String,
    },
    /// Print the versions of client and daemon
    #[command(after_help = "Examples:\n  ctl version")]
    Version,
}

/// `get`
#[derive(Clone, Debug, Args)]
pub struct Get {
    /// pools, workers, policies, tasks or events, with names; or TYPE/NAME
    #[arg(required = true, value_name = "TYPE[/NAME]")]
    pub what: Vec<String>,
    /// wide, yaml, json, name, jsonpath=…, custom-columns=…
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<String>,
    /// Go on showing changes
    #[arg(short, long)]
    pub watch: bool,
    /// Label selector: app=web,tier!=back,env in (a,b)
    #[arg(short = 'l', long, value_name = "SELECTOR", default_value = "")]
    pub selector: String,
    /// Sort by a field, as .status.restarts
    #[arg(long, value_name = "JSONPATH")]
    pub sort_by: Option<String>,
    /// Leave out the head of the table
    #[arg(long)]
    pub no_headers: bool,
    /// Of tasks and workers: those of this pool
    #[arg(long, value_name = "POOL")]
    pub pool: Option<String>,
    /// Of tasks: those in these states, as Queued,Running
    #[arg(long, value_name = "STATES")]
    pub status: Option<String>,
    /// Of tasks: so many at most
    #[arg(long, value_name = "N")]
    pub limit: Option<u32>,
}

/// Names of objects.
#[derive(Debug, Args)]
pub struct Names {
    /// TYPE/NAME, or TYPE NAME
    #[arg(required = true, value_name = "TYPE/NAME")]
    pub names: Vec<String>,
}

/// `explain`
#[derive(Debug, Args)]
pub struct Explain {
    /// A field, as pool.spec.template; or a pool, as pool/NAME
    pub field: String,
    /// The pool's name, after "pool"
    pub name: Option<String>,
    /// For pool/NAME: json or yaml
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<String>,
    /// All fields below it
    #[arg(long)]
    pub recursive: bool,
}

/// `pause`
#[derive(Debug, Args)]
pub struct Pause {
    /// pool/NAME, or queue/NAME
    #[arg(required = true, value_name = "TYPE/NAME")]
    pub names: Vec<String>,
    /// For how long; without it until `ctl resume`
    #[arg(long = "for", value_name = "DURATION")]
    pub span: Option<Span>,
    /// Why, for whoever looks; for queue/NAME
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub reason: String,
}

/// `logs`
#[derive(Debug, Args)]
pub struct Logs {
    /// One: worker/NAME, worker NAME, NAME, or task/ID
    #[arg(required = true, value_name = "WORKER", num_args = 1..=2)]
    pub worker: Vec<String>,
    /// Go on with what is written
    #[arg(short, long)]
    pub follow: bool,
    /// The run before the present one
    #[arg(short, long)]
    pub previous: bool,
    /// Only the last lines; -1 shows all
    #[arg(long, value_name = "LINES", allow_negative_numbers = true, default_value_t = -1)]
    pub tail: i64,
    /// Only what was printed so long ago at most, as 10m
    #[arg(long, value_name = "DURATION", conflicts_with = "since_time")]
    pub since: Option<Span>,
    /// Only what was printed at this time or later, as 2026-01-31T08:00:00Z
    #[arg(long, value_name = "TIME")]
    pub since_time: Option<String>,
    /// With the time in front of each line
    #[arg(long)]
    pub timestamps: bool,
}

/// `scale`
#[derive(Debug, Args)]
pub struct Scale {
    /// pool/NAME
    #[arg(required = true, value_name = "POOL")]
    pub names: Vec<String>,
    /// How many workers
    #[arg(long, allow_negative_numbers = true)]
    pub replicas: u32,
}

/// Files of documents.
#[derive(Debug, Args)]
pub struct Files {
    /// A file, a directory, or - for the standard input; may be given more than once
    #[arg(short = 'f', long = "filename", required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// `apply`
#[derive(Debug, Args)]
pub struct Apply {
    /// What to apply.
    #[command(flatten)]
    pub files: Files,
    /// Only say what would come of it
    #[arg(long)]
    pub dry_run: bool,
}

/// `delete`
#[derive(Debug, Args)]
pub struct Delete {
    /// pool/NAME, policy/NAME, worker/NAME or task/ID
    #[arg(value_name = "TYPE/NAME", required_unless_present = "files")]
    pub names: Vec<String>,
    /// Delete the pools of these documents
    #[arg(short = 'f', long = "filename", value_name = "FILE", conflicts_with = "names")]
    pub files: Vec<PathBuf>,
    /// Only say what would come of it
    #[arg(long)]
    pub dry_run: bool,
}

/// `wait`
#[derive(Debug, Args)]
pub struct Wait {
    /// pool/NAME, worker/NAME, policy/NAME or task/ID
    #[arg(required = true, value_name = "TYPE/NAME")]
    pub names: Vec<String>,
    /// condition=NAME[=STATUS], delete, create, or jsonpath='{…}'[=VALUE]; of a task without it: until it has ended
    #[arg(long = "for", value_name = "WHAT")]
    pub what: Option<String>,
    /// Give up after this time, as 2m
    #[arg(long, default_value = "30s")]
    pub timeout: Span,
}

/// `simulate`
#[derive(Debug, Args)]
pub struct Simulate {
    /// pool/NAME, pool NAME or --pool NAME, and flags of "weir simulate"
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true, value_name = "POOL [FLAGS]")]
    pub words: Vec<std::ffi::OsString>,
}

/// `mcp`
#[derive(Debug, Args)]
pub struct Mcp {
    /// Offer the tools that change something too: submit, cancel and retry tasks, scale, pause, move limits within their bounds
    #[arg(long)]
    pub allow_writes: bool,
}

/// `prune`
#[derive(Debug, Args)]
pub struct Prune {
    /// The token that the PruneBlocked condition shows
    #[arg(long, value_name = "TOKEN")]
    pub confirm: String,
}
