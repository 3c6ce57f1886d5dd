//! The verbs: one file for each family, all over the same [`Context`].
//!
//! What reads can do without a daemon; what changes something cannot, and says how to start one.

mod apply;
mod away;
mod capacity_test;
mod dashboard;
mod describe;
mod diff;
mod drain;
mod each;
mod edit;
mod get;
mod history;
mod interrupt;
mod kubeconfig;
mod logs;
mod mcp;
mod misc;
mod policy;
mod queue;
mod rollout;
mod simulate;
mod submit;
mod task_get;
mod task_verbs;
mod task_wait;
mod tasks;
mod there;
mod top;
mod wait;
mod why;
mod work;

use std::cell::Cell;
use std::path::PathBuf;

use hyper::Method;
use serde_json::Value;

use super::args::{Cli, Command, Get, Policy, Rollout};
use super::client::{Client, Sent};
use super::error::Failure;
use super::offline;
use super::print::{Format, emit, note};
use super::resource::{self, of_queues};
use super::state;
use crate::model::selector::Selector;
use crate::model::status::Kind;
use crate::serve::wire::List;

/// What every command works with.
struct Context {
    client: Client,
    state: PathBuf,
    noted: Cell<bool>,
}

/// Do what was typed.
///
/// # Errors
/// Whatever goes wrong; the exit code follows from it.
pub async fn run(cli: Cli) -> Result<(), Failure> {
    let context = context(&cli)?;
    match cli.command {
        Command::Get(args) => get_any(&context, args).await,
        Command::Describe(args) => match tasks::meant(&args.names)? {
            Some(ids) => tasks::describe(&context, &ids).await,
            None => describe::run(&context, &of_queues(&args.names)).await,
        },
        Command::Explain(args) if args.field.contains('/') || args.name.is_some() => {
            let words: Vec<String> = [args.field].into_iter().chain(args.name).collect();
            why::explain(&context, &words, args.output.as_deref()).await
        }
        Command::Explain(args) => misc::explain(&args.field, args.recursive),
        Command::Pause(args) => match queue::meant(&args.names)? {
            Some(pools) => queue::pause(&context, &pools, &args).await,
            None => why::pause(&context, &args.names, args.span).await,
        },
        Command::Resume(args) => match queue::meant(&args.names)? {
            Some(pools) => queue::resume(&context, &pools).await,
            None => why::resume(&context, &args.names).await,
        },
        Command::Logs(args) => match tasks::meant(&args.worker)? {
            Some(ids) => logs::task(&context, args, &ids).await,
            None => logs::run(&context, args).await,
        },
        Command::Submit(args) if args.each => each::run(&context, &args).await,
        Command::Submit(args) => submit::run(&context, &args).await,
        Command::Queue(args) => queue::run(&context, &args).await,
        Command::CapacityTest(args) => capacity_test::run(&context, &args).await,
        Command::Cancel(args) => task_verbs::cancel(&context, &args).await,
        Command::Release(args) => task_verbs::release(&context, &args).await,
        Command::Retry(args) => task_verbs::retry(&context, &args).await,
        Command::Task(work) => work::run(&context, work).await,
        Command::Top(args) => top::run(&context, &args).await,
        Command::Restart(args) => misc::restart(&context, &args.names).await,
        Command::Scale(args) => misc::scale(&context, &args.names, args.replicas).await,
        Command::Rollout(Rollout::Status { names, timeout }) => rollout::status(&context, &names, timeout).await,
        Command::Rollout(Rollout::Restart { names }) => rollout::restart(&context, &names).await,
        Command::Rollout(Rollout::History(args)) => history::history(&context, &args).await,
        Command::Rollout(Rollout::Undo(args)) => history::undo(&context, &args).await,
        Command::Drain(args) => drain::run(&context, &args).await,
        Command::Apply(args) => apply::apply(&context, &args.files.files, args.dry_run).await,
        Command::Delete(args) => match tasks::meant(&args.names)? {
            Some(ids) => task_verbs::delete(&context, &ids, args.dry_run).await,
            None => apply::delete(&context, args).await,
        },
        Command::Diff(args) => diff::run(&context, &args.files).await,
        Command::Edit(args) => edit::run(&context, &args.names).await,
        Command::Wait(args) => match tasks::meant(&args.names)? {
            Some(ids) => task_wait::run(&context, &args, &ids).await,
            None => wait::run(&context, args).await,
        },
        Command::Simulate(args) => simulate::run(&context, &args),
        Command::Set(args) => policy::set(&context, args.field, &args.words).await,
        Command::Policy(Policy::History { names, limit, output }) => {
            policy::history(&context, &names, (limit, output.as_deref())).await
        }
        Command::Policy(Policy::Forecast { names, output }) => policy::forecast(&context, &names, output.as_deref()).await,
        Command::Policy(Policy::Reset { names }) => policy::reset(&context, &names).await,
        Command::Prune(args) => misc::prune(&context, &args.confirm).await,
        Command::Completion { shell } => misc::completion(&shell),
        Command::Dashboard => dashboard::run(&context).await,
        Command::Mcp(args) => mcp::run(context.client, args.allow_writes).await,
        Command::Kubeconfig => kubeconfig::run(&context).await,
        Command::Version => misc::version(&context).await,
    }
}

/// `ctl get`, of tasks too.
async fn get_any(context: &Context, mut args: Get) -> Result<(), Failure> {
    if let Some(ids) = tasks::meant(&args.what)? {
        return task_get::run(context, &args, &ids).await;
    }
    let Some(others) = tasks::apart(&args.what) else { return get::run(context, of_workers(args)?).await };
    let tables = matches!(Format::parse(args.output.as_deref())?, Format::Table { .. } | Format::Name);
    if !tables || args.watch || args.sort_by.is_some() || !args.selector.is_empty() {
        return Err(Failure::Usage(
            "tasks and other types are shown together in tables alone: ask for tasks by themselves".into(),
        ));
    }
    let ours = Get { what: vec![others], pool: None, status: None, limit: None, ..args.clone() };
    get::run(context, ours).await?;
    if !matches!(Format::parse(args.output.as_deref())?, Format::Name) {
        emit("\n")?;
    }
    args.what = vec!["tasks".into()];
    task_get::run(context, &args, &[]).await
}

/// Flags of `get` for tasks, where it is of something else: a pool is a selector of its workers, the rest means nothing.
fn of_workers(mut args: Get) -> Result<Get, Failure> {
    let strange = [("--status", args.status.is_some()), ("--limit", args.limit.is_some())].into_iter().find(|(_, given)| *given);
    if let Some((flag, _)) = strange {
        return Err(Failure::Usage(format!("{flag} is for tasks: ctl get tasks {flag} …")));
    }
    let Some(pool) = args.pool.take() else { return Ok(args) };
    let workers = args.what.iter().all(|word| resource::kind(word).is_ok_and(|kind| kind == Kind::Worker));
    if !workers {
        return Err(Failure::Usage("--pool is for tasks and for all workers: ctl get workers --pool NAME".into()));
    }
    let own = format!("weir.dev/pool={}", resource::pool(&pool)?);
    args.selector = if args.selector.is_empty() { own } else { format!("{},{own}", args.selector) };
    Ok(args)
}

/// The daemon that is meant.
fn context(cli: &Cli) -> Result<Context, Failure> {
    let noted = Cell::new(false);
    if let (Some(server), Some(file)) = (&cli.server, &cli.token_file) {
        let token = std::fs::read_to_string(file).map_err(|error| Failure::Usage(format!("{}: {error}", file.display())))?;
        // No files stand in for a daemon elsewhere.
        return Ok(Context { client: Client::to_server(server, &token)?, state: PathBuf::from("/dev/null"), noted });
    }
    let state = state::directory(cli.state.as_deref());
    Ok(Context { client: Client::new(&state), state, noted })
}

impl Context {
    /// Where a daemon listens on the network, and a token for it: as they were given, else from its state directory.
    async fn listener(&self) -> Result<(String, String), Failure> {
        if let Some((address, token)) = self.client.elsewhere() {
            return Ok((address.into(), token.into()));
        }
        match state::of_listener(&self.state, "listen") {
            Ok(address) => Ok((address, state::of_listener(&self.state, "token")?)),
            Err(failure) => {
                let version: Result<Value, Failure> = self.client.ask(Method::GET, "/version", Sent::nothing()).await;
                let silent =
                    "the daemon runs, but does not listen on the network: start it with `weir run --listen 127.0.0.1:8888`";
                Err(if version.is_ok() { Failure::No(silent.into()) } else { failure })
            }
        }
    }

    fn say_offline(&self) {
        if !self.noted.replace(true) {
            note(&format!("note: no daemon at {}; showing what was last written", self.client.socket().display()));
        }
    }

    /// All of a kind: from the daemon, else from the files.
    async fn list(&self, kind: Kind, labels: &str) -> Result<List, Failure> {
        match self.client.list_warned(kind, labels).await {
            Ok((list, warnings)) => {
                warnings.iter().for_each(|warning| note(&format!("warning: {warning}")));
                Ok(list)
            }
            Err(Failure::NoDaemon(at)) if !self.client.is_elsewhere() => {
                let selector: Selector = labels.parse().map_err(Failure::Usage)?;
                let items = offline::list(&self.state, kind, &selector).map_err(|error| no_daemon(&at, error))?;
                self.say_offline();
                Ok(List::new(kind, 0, items))
            }
            Err(failure) => Err(failure),
        }
    }

    /// One object: from the daemon, else from the files.
    async fn get(&self, kind: Kind, name: &str) -> Result<Value, Failure> {
        match self.client.get(kind, name).await {
            Err(Failure::NoDaemon(at)) if !self.client.is_elsewhere() => {
                if !self.state.join("status").is_dir() {
                    return Err(Failure::NoDaemon(at));
                }
                let object = offline::get(&self.state, kind, name).map_err(|error| no_daemon(&at, error))?;
                self.say_offline();
                Ok(object)
            }
            answered => answered,
        }
    }
}

/// When the files are missing too, where the daemon was looked for matters most.
fn no_daemon(at: &str, error: Failure) -> Failure {
    if let Failure::NoDaemon(why) = error {
        return Failure::NoDaemon(format!("{at}; {why}"));
    }
    error
}
