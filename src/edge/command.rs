//! Running a command for its answer: a probe, a preStop hook, a number.
//!
//! Without a shell, with nothing of our own environment, and below a shim that ends all it started with the command, with
//! whoever waits for it or with us: a reading every few seconds that left something in the background would fill the machine.
//! What it writes is read up to a limit and never shown unescaped.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use rustix::process::{PidfdFlags, pidfd_open};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, Interest};

use crate::model::text;

/// A command, as a worker would run it.
#[derive(Clone, Debug)]
pub struct Command {
    /// The argument vector.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: BTreeMap<String, String>,
    /// Where it runs.
    pub dir: Option<String>,
    /// As whom, if not as we.
    pub user: Option<User>,
}

/// A user, by numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// All groups that it is in.
    pub groups: Vec<u32>,
}

/// The limits of open files that we were started with.
static OPEN_FILES: OnceLock<(u64, u64)> = OnceLock::new();
/// The program that gives commands their user, groups and limits.
static HELPER: OnceLock<PathBuf> = OnceLock::new();

/// Take as many open files as we may have, and give what we were started with: others are to get that back.
pub fn raise_open_files() -> (u64, u64) {
    *OPEN_FILES.get_or_init(|| {
        let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return (0, 0) };
        // Where it may not be raised the limit shows as refused starts, with the system's words.
        let _raised = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
        (soft, hard)
    })
}

/// From now on commands are begun by this shim: as their user with all its groups, and with the limits that we were started with.
/// It keeps them: nothing that they start outlives them. Without one they have our limits, of their user's groups its own, and
/// only their process group ends with them.
pub fn begin_with(shim: &Path) {
    let _first = HELPER.set(shim.to_owned());
}

/// A program that is to be run, still without arguments of its own; `dir` is where, if that is not here.
pub fn program(program: &str, user: Option<&User>, dir: Option<&str>) -> std::process::Command {
    // Only root can become somebody else, and who is already that one has its groups.
    let user = user.filter(|_| nix::unistd::geteuid().is_root());
    let Some(helper) = HELPER.get() else {
        let mut command = std::process::Command::new(program);
        dir.map(|dir| command.current_dir(dir));
        user.map(|user| command.gid(user.gid).uid(user.uid));
        return command;
    };
    let (soft, hard) = OPEN_FILES.get().copied().unwrap_or_default();
    let groups = |user: &User| user.groups.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let who = user.map(|user| format!("{}:{}:{}", user.uid, user.gid, groups(user))).unwrap_or_default();
    let mut command = std::process::Command::new(helper);
    command.arg("--beside").args([soft.to_string(), hard.to_string(), who]).arg(dir.unwrap_or_default()).arg(program);
    command
}

/// Have a program that [`program`] began end with all it started. It is ours and was not waited for yet, or this would be another's
/// pid.
pub fn end(child: &std::process::Child) {
    // It may have ended meanwhile.
    let _gone = kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM);
}

/// Bytes of a failed command's error output that are told.
const WORDS_MAX: u64 = 200;
/// How long what a command wrote last is waited for: somebody in the background may hold the pipe open for ever.
const LAST_WORDS: Duration = Duration::from_millis(10);

/// Run a command, and give the first `output_max` bytes of what it writes. It may take for ever: see [`super::probe::within`].
///
/// # Errors
/// That it could not be run, or how it ended and the first of what it wrote to its error output.
pub async fn run(command: &Command, output_max: u64) -> Result<Vec<u8>, String> {
    feed(command, None, output_max).await
}

/// As [`run`], with these bytes on its standard input. A command that does not read them may end without.
///
/// # Errors
/// As [`run`].
pub async fn feed(command: &Command, input: Option<&[u8]>, output_max: u64) -> Result<Vec<u8>, String> {
    let Some((program, args)) = command.argv.split_first() else { return Err("the command is empty".into()) };
    let mut child = tokio::process::Command::from(self::program(program, command.user.as_ref(), command.dir.as_deref()));
    let output = if output_max > 0 { Stdio::piped() } else { Stdio::null() };
    let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
    child.args(args).env_clear().envs(&command.env).stdin(stdin).stdout(output).stderr(Stdio::piped());
    // A keeper that is killed keeps nobody.
    let kept = HELPER.get().is_some();
    child.kill_on_drop(!kept).process_group(0);
    let failed = |e: std::io::Error| format!("{program}: {e}");
    let mut group = Group { child: child.spawn().map_err(failed)?, kept };
    let (mut output, mut words) = (Vec::new(), Vec::new());
    let stdin = group.child.stdin.take();
    let write = async {
        if let (Some(mut stdin), Some(input)) = (stdin, input) {
            // What is not read was not wanted.
            let _whole = stdin.write_all(input).await;
        }
        std::future::pending::<()>().await;
    };
    let status = tokio::select! {
        status = finish(&mut group, output_max, (&mut output, &mut words)) => status.map_err(failed)?,
        () = write => return Err(format!("{program}: nobody waits for it")),
    };
    if status.success() {
        return Ok(output);
    }
    let words = String::from_utf8_lossy(&words);
    // It never was the program.
    let unbegun = words.strip_prefix("weir-shim: ").filter(|_| status.code() == Some(127));
    if let Some(why) = unbegun {
        return Err(format!("{program}: {}", text::one_line(why.trim_end())));
    }
    let words = text::one_line(&words);
    Err(format!("{program}: {status} {}", words.trim()).trim_end().to_owned())
}

/// Wait for the end, reading meanwhile.
async fn finish(
    group: &mut Group,
    output_max: u64,
    (output, words): (&mut Vec<u8>, &mut Vec<u8>),
) -> std::io::Result<ExitStatus> {
    let (out, err) = (group.child.stdout.take(), group.child.stderr.take());
    let mut reading = std::pin::pin!(async { tokio::join!(read(out, output_max, output), read(err, WORDS_MAX, words)) });
    tokio::select! {
        status = group.end() => {
            let _last = tokio::time::timeout(LAST_WORDS, reading).await;
            status
        }
        _ = &mut reading => group.end().await,
    }
}

/// Read the first `max` bytes, and drop the rest so that the writer does not stop for it.
async fn read(pipe: Option<impl AsyncRead + Unpin>, max: u64, into: &mut Vec<u8>) {
    let Some(mut pipe) = pipe else { return };
    // What cannot be read was not said.
    let _whole = (&mut pipe).take(max).read_to_end(into).await;
    let _rest = tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await;
}

/// A command and whatever it started: killed when it has ended, or when nobody waits for it any more.
struct Group {
    /// The command, or its keeper.
    child: tokio::process::Child,
    /// It has a keeper, and is ended by it.
    kept: bool,
}

impl Group {
    /// Wait for the end of the command. The rest of its group is killed before it is reaped: until then nobody else can have
    /// its id.
    async fn end(&mut self) -> std::io::Result<ExitStatus> {
        if let Some(pid) = self.child.id().and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?)) {
            #[expect(deprecated, reason = "the newer function is unsafe, and unsafe code has its one file elsewhere")]
            let ended = AsyncFd::with_interest(pidfd_open(pid, PidfdFlags::NONBLOCK)?, Interest::READABLE)?;
            let _told = ended.readable().await?;
            self.kill();
        }
        self.child.wait().await
    }

    /// It has an id only as long as it was not reaped: the group is its own.
    fn id(&self) -> Option<Pid> {
        self.child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw)
    }

    fn kill(&self) {
        let _gone = self.id().map(|pid| killpg(pid, Signal::SIGKILL));
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        match self.id() {
            Some(keeper) if self.kept => drop(kill(keeper, Signal::SIGTERM)),
            Some(_) => self.kill(),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn script(dir: &Path, text: &str) -> Command {
        let path = dir.join("script");
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("writes");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).expect("its own");
        Command { argv: vec![path.display().to_string()], env: BTreeMap::new(), dir: None, user: None }
    }

    #[tokio::test]
    async fn a_command_answers_with_its_output_or_with_how_it_failed() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(run(&script(dir.path(), "echo 42; yes | head -c 300000"), 3).await, Ok(b"42\n".to_vec()));
        let answer = run(&script(dir.path(), "echo no such queue >&2; exit 3"), 9).await;
        assert!(answer.is_err_and(|words| words.ends_with("exit status: 3 no such queue")));
        // Its background holds the pipe: the end of the command itself is what counts.
        assert_eq!(run(&script(dir.path(), "sleep 1 & echo fine"), 9).await, Ok(b"fine\n".to_vec()));
    }

    #[tokio::test]
    async fn a_command_is_given_its_input_whole_or_ends_without() {
        let dir = tempfile::tempdir().expect("a directory");
        let input = vec![b'x'; 300_000];
        assert_eq!(feed(&script(dir.path(), "wc -c"), Some(&input), 99).await, Ok(b"300000\n".to_vec()));
        assert_eq!(feed(&script(dir.path(), "echo fine"), Some(&input), 99).await, Ok(b"fine\n".to_vec()));
        assert_eq!(feed(&script(dir.path(), "cat"), Some(b""), 99).await, Ok(Vec::new()));
    }

    #[tokio::test]
    async fn a_command_that_nobody_waits_for_goes_with_all_it_started() {
        let dir = tempfile::tempdir().expect("a directory");
        let pid = dir.path().join("pid");
        let command = script(dir.path(), &format!("sleep 60 & echo $! > {0}.tmp; mv {0}.tmp {0}; wait", pid.display()));
        let look = tokio::spawn(async move { run(&command, 9).await });
        let child = loop {
            match std::fs::read_to_string(&pid) {
                Ok(text) => break text.trim().to_owned(),
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        look.abort();
        assert!(look.await.is_err_and(|end| end.is_cancelled()));
        gone(&child).await;
    }

    #[tokio::test]
    async fn what_a_command_left_in_the_background_goes_with_it() {
        let dir = tempfile::tempdir().expect("a directory");
        // With its pipes and without: the answer does not wait for it.
        for to in ["", ">/dev/null 2>&1"] {
            for (end, fine) in [("exit 0", true), ("exit 3", false), ("kill -9 $$", false)] {
                let pid = dir.path().join("pid");
                let command = script(dir.path(), &format!("sleep 60 {to} & echo $! > {}; echo 7; {end}", pid.display()));
                assert_eq!(run(&command, 9).await.is_ok_and(|output| output == b"7\n"), fine, "{to} {end}");
                gone(std::fs::read_to_string(&pid).expect("written").trim()).await;
            }
        }
    }

    /// Wait until this process runs no more.
    async fn gone(child: &str) {
        let until = tokio::time::Instant::now() + Duration::from_secs(20);
        while std::fs::read_to_string(format!("/proc/{child}/stat")).is_ok_and(|stat| !stat.contains(") Z ")) {
            assert!(tokio::time::Instant::now() < until, "it outlived its group");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
