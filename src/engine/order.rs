//! What a worker starts with: its command, environment and limits, put together from the template and the edges' answers.
//! Values of the environment are read anew at every start; one that cannot be read fails the start by name.

use std::collections::BTreeMap;
use std::io::Read;

use crate::decide::expand;
use crate::decide::roster;
use crate::edge::{command, secrets, slots};
use crate::model::plan::PoolFacts;
use crate::model::template::{EnvVar, Template};
use crate::model::worker::{LogLimits, SlotId, StartOrder};

/// The order to start a worker.
///
/// # Errors
/// With the variable's name: a value that cannot be read.
pub(super) fn start(pool: &PoolFacts, slot: &SlotId, incarnation: u64) -> Result<StartOrder, String> {
    let template = &pool.spec.template;
    let env = environment(pool, slot)?;
    Ok(StartOrder {
        slot: slot.clone(),
        incarnation,
        template: pool.template.clone(),
        command: template.command.iter().map(|argument| expand::expand(argument, &env)).collect(),
        env: env.into_iter().collect(),
        working_dir: template.working_dir.clone(),
        user: template.user.clone(),
        umask: template.umask_bits(),
        logs: LogLimits {
            max_size: template.logs.max_size.0,
            max_files: template.logs.max_files,
            max_rate: template.logs.max_rate.0,
        },
    })
}

/// A command to run beside a worker: with its environment, directory and user.
///
/// # Errors
/// As [`start`], and that the user is unknown.
pub(super) fn beside(pool: &PoolFacts, slot: &SlotId, argv: &[String]) -> Result<command::Command, String> {
    let env = environment(pool, slot)?;
    let template = &pool.spec.template;
    let user = template.user.as_deref().map(slots::uid_gid).transpose()?;
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
    let mut bytes = [0u8; 8];
    if let Ok(mut random) = std::fs::File::open("/dev/urandom") {
        // Zeros would still work: uids only tell a re-created object from its predecessor.
        let _read = random.read_exact(&mut bytes);
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
