//! What a worker starts with: its command, environment and limits, put together from the template and the edges' answers.
//! Values of the environment are read anew at every start; one that cannot be read fails the start by name.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, OnceLock};

use crate::decide::expand;
use crate::decide::roster;
use crate::edge::slots::{Lookups, Unready};
use crate::edge::taskfiles::{Other, TaskFiles};
use crate::edge::{command, secrets, slots};
use crate::model::payload;
use crate::model::plan::PoolFacts;
use crate::model::task::{Task, UNFIT_CODE};
use crate::model::template::{EnvVar, Template};
use crate::model::worker::{LogLimits, SlotId, StartOrder};

/// Of the commands that run beside workers.
static LOOKUPS: LazyLock<Lookups> = LazyLock::new(Lookups::default);

/// To put an order by this template together may take its time: a user may be asked of a directory service, and a secret be in a
/// file of another machine.
pub(super) fn may_wait(template: &Template) -> bool {
    let file = |var: &EnvVar| var.value_from.as_ref().is_some_and(|source| source.file.is_some());
    template.user.is_some() || template.env.iter().any(file)
}

/// The order to start a worker.
///
/// # Errors
/// With the variable's name: a value that cannot be read; and that its task does not fit the template.
pub(super) fn start(
    (pool, slot): (&PoolFacts, &SlotId),
    incarnation: u64,
    (task, files): (Option<&Task>, &TaskFiles),
) -> Result<StartOrder, Unready> {
    let template = &pool.spec.template;
    let mut env = environment(pool, slot)?;
    env.insert("WEIR_RUN".into(), incarnation.to_string());
    env.insert("WEIR_STATE".into(), files.state().display().to_string());
    let mut command = template.command.clone();
    let (mut stdin, mut log) = (None, None);
    if let Some(task) = task {
        let unfit = |message| Unready { code: Some(UNFIT_CODE), message };
        command = payload::arguments(&command, &task.payload).map_err(unfit)?;
        let other = template.user.as_deref().map(slots::another).transpose()?.flatten();
        env.extend(given((task, other), slot, files));
        files.put((slot, task.run), &TaskFiles::text(task), other)?;
        stdin = Some(files.task(slot, other).display().to_string());
        log = Some(files.log(task.id).display().to_string());
    }
    Ok(StartOrder {
        stdin,
        log,
        slot: slot.clone(),
        incarnation,
        template: pool.template.clone(),
        command: command.iter().map(|argument| expand::expand(argument, &env)).collect(),
        env: env.into_iter().collect(),
        working_dir: template.working_dir.clone(),
        user: template.user.clone(),
        umask: template.umask_bits(),
        limits: template.resources.map(|resources| resources.limits),
        logs: LogLimits {
            max_size: template.logs.max_size.0,
            max_files: template.logs.max_files,
            max_rate: template.logs.max_rate.0,
        },
    })
}

/// What a run for a task finds in its environment.
fn given((task, other): (&Task, Option<Other>), slot: &SlotId, files: &TaskFiles) -> BTreeMap<String, String> {
    let path = |path: std::path::PathBuf| path.display().to_string();
    BTreeMap::from([
        ("WEIR_TASK_ID".into(), task.id.to_string()),
        ("WEIR_TASK_ATTEMPT".into(), task.attempt.to_string()),
        ("WEIR_TASK_KEY".into(), task.key.clone().unwrap_or_default().replace('\0', "")),
        ("WEIR_TASK_TOKEN".into(), task.token()),
        ("WEIR_TASK_FILE".into(), path(files.task(slot, other))),
        ("WEIR_RESULT_FILE".into(), path(files.result(slot, task.run, other))),
    ])
}

/// A run of a worker, and the directory of its slot.
pub(super) type RunOf<'a> = (&'a SlotId, u64, PathBuf);

/// A command to run beside a worker: with its environment, directory and user. Waited for aside where that may take its time.
///
/// # Errors
/// As [`start`], and that the user is unknown.
pub(super) async fn beside(
    pool: &Arc<PoolFacts>,
    (slot, run, dir): RunOf<'_>,
    argv: &[String],
) -> Result<command::Command, String> {
    if !may_wait(&pool.spec.template) {
        return to_run(pool, (slot, run, dir), argv);
    }
    let (facts, slot, argv) = (pool.clone(), slot.clone(), argv.to_vec());
    LOOKUPS.run(&pool.name, move || to_run(&facts, (&slot, run, dir), &argv)).await
}

fn to_run(pool: &PoolFacts, (slot, run, dir): RunOf<'_>, argv: &[String]) -> Result<command::Command, String> {
    // What it was started with, whatever stands in the files of its secrets by now. A program that has written over that has to do
    // with what it would be started with today.
    let own = slots::environment(&dir, run).filter(|env| env.get("WEIR_WORKER") == Some(&slot.worker));
    let env = own.map_or_else(|| environment(pool, slot), Ok)?;
    let template = &pool.spec.template;
    let user = template.user.as_deref().map(slots::account).transpose()?;
    let argv = argv.iter().map(|argument| expand::expand(argument, &env)).collect();
    Ok(command::Command { argv, env, dir: template.working_dir.clone(), user })
}

fn environment(pool: &PoolFacts, slot: &SlotId) -> Result<BTreeMap<String, String>, String> {
    let template = &pool.spec.template;
    let mut base: BTreeMap<String, String> = secrets::inherited().into_iter().collect();
    if let Some(user) = &template.user {
        base.extend(slots::user_env(user)?);
    }
    let ordinal = roster::ordinal(pool, &slot.worker);
    base.insert("WEIR_POOL".into(), slot.pool.clone());
    base.insert("WEIR_WORKER".into(), slot.worker.clone());
    base.insert("WEIR_ORDINAL".into(), if ordinal == usize::MAX { String::new() } else { ordinal.to_string() });
    Ok(expand::environment(base, &own(template)?))
}

fn own(template: &Template) -> Result<Vec<(String, String)>, String> {
    template
        .env
        .iter()
        .map(|var| value(var).map(|value| (var.name.clone(), value)).map_err(|e| format!("env {}: {e}", var.name)))
        .collect()
}

fn value(var: &EnvVar) -> Result<String, String> {
    // What comes from a file or the daemon is taken as it is: `$(` in a secret is no reference.
    let literal = |text: String| text.replace("$(", "$$(");
    match &var.value_from {
        None => Ok(var.value.clone().unwrap_or_default()),
        Some(source) => match (&source.file, &source.daemon_env) {
            (Some(path), _) => secrets::file(path).map(literal),
            (None, Some(name)) => secrets::daemon_env(name).map(literal),
            (None, None) => Ok(String::new()),
        },
    }
}

/// 64 random bits in hexadecimal: an object's identity.
pub(super) fn random_id() -> String {
    format!("{:016x}", random_number())
}

/// 64 random bits.
pub(super) fn random_number() -> u64 {
    static RANDOM: OnceLock<Option<File>> = OnceLock::new();
    let mut bytes = [0u8; 8];
    if let Some(mut random) = RANDOM.get_or_init(|| File::open("/dev/urandom").ok()).as_ref() {
        // Zeros would still work: uids only tell a re-created object from its predecessor, and a lease has its epoch.
        let _read = random.read_exact(&mut bytes);
    }
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::template::EnvSource;

    #[test]
    fn who_asks_another_machine_may_wait() {
        let from = |file: Option<&str>, daemon_env: Option<&str>| {
            let value_from = Some(EnvSource { file: file.map(Into::into), daemon_env: daemon_env.map(Into::into) });
            Template { env: vec![EnvVar { name: "A".into(), value: None, value_from }], ..Template::default() }
        };
        let user = Template { user: Some("ann".into()), ..Template::default() };
        let all = [Template::default(), from(None, Some("B")), user, from(Some("/run/secret"), None)];
        assert_eq!(all.map(|template| may_wait(&template)), [false, false, true, true]);
    }
}
