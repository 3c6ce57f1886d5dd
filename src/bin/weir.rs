//! `weir`: the daemon and its offline helpers. Flags in, exit code out; what they do is in the library.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use weir::crds;
use weir::ctl;
use weir::daemon::{self, OnExit, Options};
use weir::doctor;
use weir::edge::lines;
use weir::install;
use weir::model::time::Span;
use weir::output;
use weir::plan;
use weir::simulate::{self, Work};
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
  weir plan specs/                      what would change if these were the specs
  weir simulate --spec specs/web.yaml --backlog trace.csv    what a spec would have made of a backlog
  weir schema WorkerPool > pool.json    JSON Schema for editors
  weir doctor                           what works on this machine
  sudo weir install                     run it as a service from boot on"
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
  weir run --listen 127.0.0.1:8888      kubectl, curl and browsers may come too, with a token
  weir run --on-exit leave              workers survive the daemon; the next one adopts them

Exit codes: 0 ended as told; 1 cannot run; 2 used wrongly; 5 another weir holds the state directory; 70 it broke, the workers run on.")]
    Run(Run),
    /// Check documents: every problem with file, line, column and field. No daemon needed.
    #[command(after_help = "\
Examples:
  weir validate specs/
  weir validate specs/web.yaml -o github

Exit codes: 0 all good; 1 problems found; 2 used wrongly.")]
    Validate(Validate),
    /// Show what would change if these files were the specs: workers started, stopped and replaced, and why.
    ///
    /// A directory stands for all specs: a pool that is not in it is removed. Files stand for the pools that they name.
    #[command(after_help = "\
Examples:
  weir plan specs/
  weir plan specs/web.yaml --state /var/lib/weir
  weir plan specs/ -o json | jq '.pools[] | {name, change}'

Exit codes: 0 told, whether anything changes or not; 1 a document is refused; 2 used wrongly.")]
    Plan(Plan),
    /// Play a backlog through a spec: the daemon's own decisions over virtual time, nothing is started.
    ///
    /// The trace is a CSV file of time,value: seconds from the begin, or RFC 3339. Without --arrivals the value is what each
    /// trigger reads. With --arrivals it is how many tasks come then; the triggers read those queued and running.
    #[command(after_help = "\
Examples:
  weir simulate --spec specs/web.yaml --backlog monday.csv
  weir simulate --spec specs/web.yaml --backlog tasks.csv --arrivals --task-duration 30s,p95=2m --start-delay 5s
  weir simulate --state .weir --pool web --from 24h                          what the daemon read, and the spec it has
  weir simulate --state .weir --from 24h --spec new.yaml --svg web.svg       the same with another spec

Exit codes: 0 simulated; 1 the document or the trace is refused; 2 used wrongly.")]
    Simulate(Box<Simulate>),
    /// Print the JSON Schema of a kind of document.
    #[command(after_help = "\
Examples:
  weir schema WorkerPool > ~/.local/share/weir/pool.json
  # then, as the first line of a spec:  # yaml-language-server: $schema=/home/me/.local/share/weir/pool.json")]
    Schema {
        /// WorkerPool or ResourcePolicy; without it both.
        kind: Option<String>,
    },
    /// Print CustomResourceDefinitions of WorkerPool and ResourcePolicy, for a cluster that is to hold the same documents.
    #[command(after_help = "\
Examples:
  weir crds | kubectl apply -f -")]
    Crds,
    /// Tell what works on this machine, what does not, and how to get it. No daemon needed; nothing is changed.
    #[command(after_help = "\
Examples:
  weir doctor
  weir doctor --state /var/lib/weir
  weir doctor -o json | jq '.[] | select(.state != \"ok\")'

Exit codes: 0 weir runs here, well or less well; 1 it cannot run here; 2 used wrongly.")]
    Doctor {
        /// The state directory that is meant [default: $WEIR_STATE, ./.weir, $XDG_STATE_HOME/weir, /var/lib/weir]
        #[arg(long, value_name = "DIR")]
        state: Option<PathBuf>,
        /// How to print it
        #[arg(short, long, value_enum, default_value = "table")]
        output: Shape,
    },
    /// Write the systemd unit, completions for shells, and man pages, where this system looks for them.
    ///
    /// Starts nothing; the next command is printed. A file that somebody has changed since is kept. Under this unit neither a restart
    /// nor the death of the daemon touches a worker.
    #[command(after_help = "\
Examples:
  sudo weir install                     for the system: documents in /etc/weir, state in /var/lib/weir
  weir install --user                   for you: ~/.config/weir, ~/.local/state/weir
  weir install --user --dry-run         only say what would be written
  sudo weir install --specs /srv/agents/specs --state /srv/agents/state

Exit codes: 0 done; 1 a file was kept because it was changed, or cannot be written; 2 used wrongly.")]
    Install(Install),
    /// Write the man pages into a directory.
    #[command(hide = true)]
    Man {
        /// The directory, made if need be
        dir: PathBuf,
    },
}

#[derive(Args)]
struct Install {
    /// For your own systemd manager, below your home directory
    #[arg(long)]
    user: bool,
    /// Only say what would be written
    #[arg(long)]
    dry_run: bool,
    /// Replace files too that were changed by hand
    #[arg(long)]
    force: bool,
    /// The directory of documents [default: /etc/weir; with --user $XDG_CONFIG_HOME/weir]
    #[arg(long, value_name = "DIR")]
    specs: Option<PathBuf>,
    /// The state directory [default: /var/lib/weir; with --user $XDG_STATE_HOME/weir]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
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
    /// How workers are held together and killed whole: auto, systemd, cgroupfs or none
    #[arg(long, default_value = "auto", value_parser = ["auto", "systemd", "cgroupfs", "none"])]
    cgroup_driver: String,
    /// How long a vanished document is waited for before its workers are stopped
    #[arg(long, default_value = "10s")]
    prune_grace: Span,
    /// Starts that may be in flight at once [default: 4 × cores]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    max_starts_in_flight: Option<u32>,
    /// Take webhooks of forges at this address, like 127.0.0.1:8890; put a proxy with TLS before it
    #[arg(long, value_name = "ADDRESS:PORT")]
    hooks_listen: Option<std::net::SocketAddr>,
    /// Serve HTTP and the Kubernetes API at this address, like 127.0.0.1:8888, to whoever has a token; see `ctl kubeconfig`
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<std::net::SocketAddr>,
    /// Let --listen be an address that other machines can reach: TLS alone is spoken there
    #[arg(long, requires = "listen")]
    listen_beyond_loopback: bool,
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

#[derive(Args)]
struct Plan {
    /// A directory, or files
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// The state directory to compare with [default: $WEIR_STATE, ./.weir, $XDG_STATE_HOME/weir, /var/lib/weir]
    #[arg(long)]
    state: Option<PathBuf>,
    /// How to print it
    #[arg(short, long, value_enum, default_value = "table")]
    output: Shape,
}

#[derive(Args)]
struct Simulate {
    /// The document of the pool [default with --from: the one that the daemon accepted]
    #[arg(long, alias = "with", value_name = "FILE", required_unless_present = "from")]
    spec: Option<PathBuf>,
    /// Which pool, where there are several
    #[arg(long, value_name = "NAME")]
    pool: Option<String>,
    /// The trace: time,value
    #[arg(long, value_name = "TRACE.csv", required_unless_present = "from", conflicts_with = "from")]
    backlog: Option<PathBuf>,
    /// What the daemon's triggers read in this time until now; at most 7 days are kept
    #[arg(long, value_name = "DURATION")]
    from: Option<Span>,
    /// The state directory, for --from [default: $WEIR_STATE, ./.weir, $XDG_STATE_HOME/weir, /var/lib/weir]
    #[arg(long, value_name = "DIR", requires = "from")]
    state: Option<PathBuf>,
    /// The trace is of tasks that come in, to be worked on first come first served
    #[arg(long, requires = "backlog")]
    arrivals: bool,
    /// How long a task takes: 30s, or 30s,p95=2m for a median and a spread
    #[arg(long, value_name = "30s[,p95=2m]", conflicts_with = "service_rate")]
    task_duration: Option<Work>,
    /// The same as tasks a second for each worker: 0.5, or 30/m, 30/h
    #[arg(long, value_name = "N", value_parser = Work::at_rate)]
    service_rate: Option<Work>,
    /// From the start of a worker to its being ready
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    start_delay: Span,
    /// How long to simulate [default: as long as the trace; with --arrivals until the last task is done]
    #[arg(long = "for", value_name = "DURATION")]
    length: Option<Span>,
    /// Chart and JSON have at most one sample in this time
    #[arg(long, value_name = "DURATION", default_value = "1s")]
    step: Span,
    /// Draw on the terminal, or not
    #[arg(long, value_enum, default_value = "terminal")]
    chart: Drawn,
    /// Write the chart as SVG
    #[arg(long, value_name = "OUT.svg")]
    svg: Option<PathBuf>,
    /// Write the chart as PNG; needs a weir built with the feature png
    #[arg(long, value_name = "OUT.png")]
    png: Option<PathBuf>,
    /// How to print what came of it
    #[arg(short, long, value_enum, default_value = "table")]
    output: Shape,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Drawn {
    /// With characters
    Terminal,
    /// Not at all
    None,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shape {
    /// For people
    Table,
    /// For programs
    Json,
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
        Command::Plan(flags) => {
            let state = flags.state.map_or_else(|| plan::State::Likely(state_dir(None)), plan::State::Told);
            plan::run(&flags.paths, &state, flags.output == Shape::Json)
        }
        Command::Simulate(flags) => simulate(*flags),
        Command::Schema { kind } => validate::schema(kind.as_deref()),
        Command::Crds => crds::run(),
        Command::Doctor { state, output } => doctor::run(state_dir(state), output == Shape::Json),
        Command::Install(flags) => {
            let Install { user, dry_run, force, specs, state } = flags;
            let options = install::Options { user, specs, state, dry_run, force };
            install::run(&Cli::command(), &ctl::args::Cli::command(), &options)
        }
        Command::Man { dir } => install::man(&Cli::command(), &ctl::args::Cli::command(), &dir),
    }
}

/// The state directory that the daemon would take.
fn state_dir(given: Option<PathBuf>) -> PathBuf {
    given.unwrap_or_else(|| daemon::default_state(&daemon::default_specs()))
}

fn simulate(flags: Simulate) -> ExitCode {
    let recorded = flags.from.map(|span| (state_dir(flags.state), span));
    simulate::run(&simulate::Options {
        spec: flags.spec,
        pool: flags.pool,
        backlog: flags.backlog,
        recorded,
        arrivals: flags.arrivals,
        work: flags.task_duration.or(flags.service_rate),
        start_delay: flags.start_delay,
        length: flags.length,
        step: flags.step,
        chart: flags.chart == Drawn::Terminal,
        svg: flags.svg,
        png: flags.png,
        json: flags.output == Shape::Json,
    })
}

fn run(flags: Run) -> ExitCode {
    let end_log = match begin_log() {
        Ok(end) => end,
        Err(why) => {
            output::complain(&why);
            return ExitCode::FAILURE;
        }
    };
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
        starts_in_flight_max: flags.max_starts_in_flight.map_or(4 * cores, |most| most as usize),
        hooks_listen: flags.hooks_listen,
        listen: flags.listen,
        listen_beyond_loopback: flags.listen_beyond_loopback,
        specs_read_only: flags.specs_read_only,
    };
    let ended = daemon::run(&options);
    end_log();
    lines::end();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::complain(&failure.message);
            ExitCode::from(failure.code)
        }
    }
}

/// Lines for people. What comes back is to be called at the end.
#[cfg(not(feature = "otel"))]
fn begin_log() -> Result<impl FnOnce(), String> {
    tracing_subscriber::fmt()
        .with_writer(|| lines::Log)
        .with_target(false)
        .with_timer(lines::Clock)
        .with_max_level(tracing::Level::INFO)
        .init();
    Ok(|| {})
}

/// Lines for people, and spans for a collector where the environment names one. What comes back is to be called at the end.
#[cfg(feature = "otel")]
fn begin_log() -> Result<impl FnOnce(), String> {
    use tracing_subscriber::prelude::*;
    let lines = tracing_subscriber::fmt::layer().with_writer(|| lines::Log).with_target(false).with_timer(lines::Clock);
    let traces = weir::edge::traces::Traces::of_environment()?;
    let spans = traces.as_ref().map(weir::edge::traces::Traces::layer);
    let lines = lines.with_filter(tracing_subscriber::filter::LevelFilter::INFO);
    tracing_subscriber::registry().with(lines).with(spans).init();
    Ok(|| {
        if let Some(traces) = traces {
            traces.end();
        }
    })
}
