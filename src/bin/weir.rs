//! `weir`: the daemon and its offline helpers. Flags in, exit code out; what they do is in the library.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use weir::daemon::{self, OnExit, Options};
use weir::model::time::Span;
use weir::validate::{self, Output};

/// Keep pools of local processes as documents in a directory say.
#[derive(Parser)]
#[command(
    name = "weir",
    version,
    max_term_width = 110,
    after_help = "\
Examples:
  weir run                              run on ./specs, state in ./.weir
  weir run --specs /etc/weir --state /var/lib/weir --on-exit leave
  weir validate specs/                  check documents, for pre-commit and CI
  weir schema WorkerPool > pool.json    JSON Schema for editors"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the daemon: watch the specs directory and keep what it says.
    #[command(after_help = "\
Examples:
  weir run
  weir run --specs ~/agents --state ~/.local/state/weir
  weir run --on-exit leave              workers survive the daemon; the next one adopts them

Exit codes: 0 ended as told; 1 cannot run; 2 used wrongly; 5 another weir holds the state directory.")]
    Run(Run),
    /// Check documents: every problem with file, line, column and field. No daemon needed.
    #[command(after_help = "\
Examples:
  weir validate specs/
  weir validate specs/web.yaml -o github

Exit codes: 0 all good; 1 problems found; 2 used wrongly.")]
    Validate(Validate),
    /// Print the JSON Schema of a kind of document.
    #[command(after_help = "\
Examples:
  weir schema WorkerPool > ~/.local/share/weir/pool.json
  # then, as the first line of a spec:  # yaml-language-server: $schema=/home/me/.local/share/weir/pool.json")]
    Schema {
        /// WorkerPool or ResourcePolicy; without it both.
        kind: Option<String>,
    },
}

#[derive(Args)]
struct Run {
    /// The directory of documents [default: $WEIR_SPECS, ./specs, $XDG_CONFIG_HOME/weir, /etc/weir: the first there is]
    #[arg(long)]
    specs: Option<PathBuf>,
    /// The state directory [default: $WEIR_STATE, ./.weir in a directory with specs, $XDG_STATE_HOME/weir, /var/lib/weir]
    #[arg(long)]
    state: Option<PathBuf>,
    /// What becomes of the workers when the daemon is told to end
    #[arg(long, value_enum, default_value = "stop")]
    on_exit: Exit,
    /// How workers are held together and killed whole: auto, cgroupfs or none
    #[arg(long, default_value = "auto", value_parser = ["auto", "cgroupfs", "none", "systemd"])]
    cgroup_driver: String,
    /// How long a vanished document is waited for before its workers are stopped
    #[arg(long, default_value = "10s")]
    prune_grace: Span,
    /// Starts that may be in flight at once [default: 4 × cores]
    #[arg(long)]
    max_starts_in_flight: Option<usize>,
    /// Refuse every change of the specs by way of ctl: for directories that are a git checkout
    #[arg(long)]
    specs_read_only: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Exit {
    /// Stop them first, each within its grace
    Stop,
    /// Leave them running for the next daemon
    Leave,
}

#[derive(Args)]
struct Validate {
    /// Files and directories
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// How to print problems
    #[arg(short, long, value_enum, default_value = "text")]
    output: Form,
}

#[derive(Clone, Copy, ValueEnum)]
enum Form {
    /// With the lines they are in
    Text,
    /// One JSON array
    Json,
    /// Annotations of a GitHub workflow
    Github,
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(flags) => run(flags),
        Command::Validate(flags) => {
            let output = match flags.output {
                Form::Text => Output::Text,
                Form::Json => Output::Json,
                Form::Github => Output::Github,
            };
            validate::run(&flags.paths, output)
        }
        Command::Schema { kind } => validate::schema(kind.as_deref()),
    }
}

fn run(flags: Run) -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_target(false)
        .without_time()
        .with_max_level(tracing::Level::INFO)
        .init();
    let specs = flags.specs.unwrap_or_else(daemon::default_specs);
    let state = flags.state.unwrap_or_else(|| daemon::default_state(&specs));
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let options = Options {
        specs,
        state,
        on_exit: match flags.on_exit {
            Exit::Stop => OnExit::Stop,
            Exit::Leave => OnExit::Leave,
        },
        cgroup_driver: flags.cgroup_driver,
        prune_grace: flags.prune_grace,
        starts_in_flight_max: flags.max_starts_in_flight.unwrap_or(4 * cores).max(1),
        specs_read_only: flags.specs_read_only,
    };
    match daemon::run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("weir: {}", failure.message);
            ExitCode::from(failure.code)
        }
    }
}
