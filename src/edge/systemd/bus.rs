//! One connection to a manager of systemd, made when it is needed and made again when it was lost.
//!
//! The bus may be restarted and the manager may execute itself anew at any moment: a call in flight then fails. What may be done
//! twice is then asked again, for a while; all else is for its caller to try again. Nothing is heard between calls, so an idle daemon is not woken by what else a machine's manager does.
//! Every call ends within [`CALL_MAX`], a reload within [`RELOAD_MAX`], with an answer or with words; one that is made again
//! [`AGAIN_MAX`] later.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;
use tokio::net::UnixStream;
use tokio::sync::Mutex;
use tokio::time::Instant;
use zbus::{Connection, DynamicType, Message, OwnedVariant};

/// How long an answer is waited for.
const CALL_MAX: Duration = Duration::from_secs(10);
/// The same where the manager reads all its files and runs its generators first, and answers nobody meanwhile. `systemctl`
/// itself waits for minutes.
const RELOAD_MAX: Duration = Duration::from_secs(180);
/// How long whoever does not answer is asked again: a manager that executes itself anew, or a bus that is restarted, is back
/// by then.
const AGAIN_MAX: Duration = Duration::from_secs(60);
/// How soon at first; each time twice as late.
const AGAIN_AFTER: Duration = Duration::from_millis(100);
const NAME: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
/// The manager's method that has it read its files again.
pub(super) const RELOAD: &str = "Reload";
/// The manager's own interface.
pub(super) const MANAGER: &str = "org.freedesktop.systemd1.Manager";

/// Whose manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// PID 1: for root.
    System,
    /// The user's own, who we are.
    User,
}

/// Why a call did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// The error's name; empty: nobody answered.
    pub(super) name: String,
    /// In words.
    pub(super) words: String,
}

impl From<Refused> for String {
    fn from(refused: Refused) -> String {
        refused.words
    }
}

/// A manager of systemd. Calls may be made from many tasks at once.
#[derive(Debug)]
pub struct Manager {
    which: Which,
    connection: Mutex<Option<Connection>>,
    /// It has answered once: that it does not now is worth waiting for.
    met: AtomicBool,
}

impl Manager {
    /// The manager, if it answers.
    ///
    /// # Errors
    /// In words: no such manager, or it does not answer.
    pub async fn open(which: Which) -> Result<Manager, String> {
        let manager = Manager::closed(which);
        manager.ask(PATH, PROPERTIES, "Get", &(MANAGER, "ControlGroup")).await?;
        Ok(manager)
    }

    /// The manager; nobody is spoken to before the first call.
    pub fn closed(which: Which) -> Manager {
        Manager { which, connection: Mutex::new(None), met: AtomicBool::new(false) }
    }

    /// Whose manager this is.
    pub fn which(&self) -> Which {
        self.which
    }

    /// The cgroup below which the manager puts its units, from the root of cgroups: `/` for the system's.
    ///
    /// # Errors
    /// In words.
    pub async fn control_group(&self) -> Result<String, String> {
        let value = self.property(PATH, MANAGER, "ControlGroup").await?;
        let path = String::try_from(value).map_err(|e| format!("systemd's ControlGroup: {e}"))?;
        Ok(if path.is_empty() { "/".into() } else { path })
    }

    /// A property of an object.
    pub(super) async fn property(&self, path: &str, interface: &str, name: &str) -> Result<OwnedVariant, Refused> {
        body(&self.insist_on(path, PROPERTIES, "Get", &(interface, name)).await?)
    }

    /// Call a method of the manager.
    pub(super) async fn call<B: Serialize + DynamicType>(&self, method: &str, arguments: &B) -> Result<Message, Refused> {
        self.ask(PATH, MANAGER, method, arguments).await
    }

    /// The same for what may be done twice: a manager that has answered before is asked again while nobody answers. Its own
    /// refusal is an answer.
    pub(super) async fn insist<B: Serialize + DynamicType>(&self, method: &str, arguments: &B) -> Result<Message, Refused> {
        self.insist_on(PATH, MANAGER, method, arguments).await
    }

    async fn insist_on<B: Serialize + DynamicType>(
        &self,
        path: &str,
        interface: &str,
        method: &str,
        arguments: &B,
    ) -> Result<Message, Refused> {
        let met = || self.met.load(Ordering::Relaxed);
        until_answered(met, || self.ask(path, interface, method, arguments), (Instant::now, tokio::time::sleep)).await
    }

    async fn ask<B: Serialize + DynamicType>(
        &self,
        path: &str,
        interface: &str,
        method: &str,
        arguments: &B,
    ) -> Result<Message, Refused> {
        let connection = self.connection().await?;
        let call = connection.call_method(Some(NAME), path, Some(interface), method, arguments);
        let most = if method == RELOAD { RELOAD_MAX } else { CALL_MAX };
        let refused = match tokio::time::timeout(most, call).await {
            Ok(Ok(answer)) => {
                self.met.store(true, Ordering::Relaxed);
                return Ok(answer);
            }
            Ok(Err(error)) => refused(method, error),
            Err(_) => {
                Refused { name: String::new(), words: format!("systemd did not answer {method} within {} s", most.as_secs()) }
            }
        };
        if refused.name.is_empty() {
            self.lose(&connection).await;
        }
        Err(refused)
    }

    /// The connection: the one there is, or a new one.
    pub(super) async fn connection(&self) -> Result<Connection, Refused> {
        self.connected(CALL_MAX).await
    }

    /// The same within a time, of which waiting for whoever connects already is a part: of many who wait for a bus that does not
    /// answer, each waits as long as one alone.
    async fn connected(&self, most: Duration) -> Result<Connection, Refused> {
        let connection = tokio::time::timeout(most, self.kept_or_new()).await;
        let connection = connection.unwrap_or_else(|_| Err("nobody answers".into()));
        connection.map_err(|why| Refused { name: String::new(), words: format!("no connection to systemd: {why}") })
    }

    async fn kept_or_new(&self) -> Result<Connection, String> {
        let mut kept = self.connection.lock().await;
        if let Some(connection) = kept.as_ref().filter(|connection| !connection.is_closed()) {
            return Ok(connection.clone());
        }
        let connection = self.subscribed().await?;
        *kept = Some(connection.clone());
        Ok(connection)
    }

    /// A connection on which the ends of jobs are told of.
    async fn subscribed(&self) -> Result<Connection, String> {
        let connection = self.connect().await?;
        let asked = connection.call_method(Some(NAME), PATH, Some(MANAGER), "Subscribe", &()).await;
        // Having asked before is no failure.
        match asked.map_err(|error| refused("Subscribe", error)) {
            Err(error) if error.name.is_empty() => Err(error.words),
            Ok(_) | Err(_) => Ok(connection),
        }
    }

    /// By the bus. The manager's private socket is no way round it: what comes from there is signed with the manager's well-known
    /// name, which the library takes for no sender.
    async fn connect(&self) -> Result<Connection, String> {
        let socket = socket(self.which);
        let why = |error: String| format!("{}: {error}", socket.display());
        // A bus that takes no more connections is an error and nothing to wait for.
        let stream = UnixStream::connect(&socket).await.and_then(UnixStream::into_std).map_err(|error| why(error.to_string()))?;
        zbus::connection::Builder::unix_stream(stream).build().await.map_err(|error| why(error.to_string()))
    }

    /// This connection is of no use any more.
    async fn lose(&self, lost: &Connection) {
        let mut kept = self.connection.lock().await;
        if kept.as_ref().is_some_and(|connection| connection.server_guid() == lost.server_guid()) {
            *kept = None;
        }
    }
}

/// Ask again while nobody answers, at most for [`AGAIN_MAX`], whoever is known to have answered before; the last word counts.
/// Time is what it is given.
async fn until_answered<T, A: Future<Output = Result<T, Refused>>, S: Future<Output = ()>>(
    met: impl Fn() -> bool,
    mut ask: impl FnMut() -> A,
    (now, sleep): (impl Fn() -> Instant, impl Fn(Duration) -> S),
) -> Result<T, Refused> {
    let (until, mut pause) = (now() + AGAIN_MAX, AGAIN_AFTER);
    loop {
        let answer = ask().await;
        let lost = answer.as_ref().is_err_and(|refused| refused.name.is_empty());
        let left = until.saturating_duration_since(now());
        if !lost || !met() || left.is_zero() {
            return answer;
        }
        // The last time at the end of the time, and not as long again behind it.
        sleep(pause.min(left)).await;
        pause *= 2;
    }
}

/// The bus's socket.
fn socket(which: Which) -> PathBuf {
    match which {
        Which::System => "/run/dbus/system_bus_socket".into(),
        Which::User => {
            let told = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
            told.unwrap_or_else(|| Path::new("/run/user").join(rustix::process::getuid().as_raw().to_string())).join("bus")
        }
    }
}

/// What an answer holds.
pub(super) fn body<T>(answer: &Message) -> Result<T, Refused>
where
    T: serde::de::DeserializeOwned + zbus::Type,
{
    answer.body().deserialize().map_err(|e| Refused { name: "unexpected".into(), words: format!("systemd's answer: {e}") })
}

fn refused(method: &str, error: zbus::Error) -> Refused {
    let (name, text) = if let zbus::Error::MethodError(name, text, _) = error {
        (name.to_string(), text.unwrap_or_default())
    } else if let zbus::Error::FDO(error) = error {
        (zbus::DBusError::name(error.as_ref()).to_string(), error.to_string())
    } else {
        (String::new(), error.to_string())
    };
    // Told by the bus and not by systemd: whether it was done is not known, as with a lost connection.
    let gone = ["NoReply", "Disconnected", "ServiceUnknown", "NameHasNoOwner", "Timeout", "TimedOut"];
    let gone = name.strip_prefix("org.freedesktop.DBus.Error.").is_some_and(|last| gone.contains(&last));
    let words =
        if text.is_empty() { format!("systemd refuses {method}: {name}") } else { format!("systemd refuses {method}: {text}") };
    Refused { name: if gone { String::new() } else { name }, words }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(name: &str, words: &str) -> Refused {
        Refused { name: name.into(), words: words.into() }
    }

    /// Ask somebody who gives these answers, the last of them for ever: what came of it, how often was asked, and how long it took.
    async fn asked(met: bool, each: Duration, answers: &[Result<u32, Refused>]) -> (Result<u32, Refused>, usize, Duration) {
        let (begun, times) = (Instant::now(), std::cell::Cell::new(0));
        let clock = std::cell::Cell::new(begun);
        let sleep = |span| {
            clock.set(clock.get() + span);
            std::future::ready(())
        };
        let ask = || async {
            let nth = times.replace(times.get() + 1);
            sleep(each).await;
            match answers[nth.min(answers.len() - 1)].clone() {
                Err(refused) if refused.words == "lost" => Err(Refused { words: format!("lost {nth}"), ..refused }),
                answer => answer,
            }
        };
        let answer = until_answered(|| met, ask, (|| clock.get(), sleep)).await;
        (answer, times.get(), clock.get() - begun)
    }

    #[tokio::test]
    async fn who_has_answered_before_is_asked_again_while_nobody_answers_and_for_a_minute_at_most() {
        let (lost, none, ms) = (said("", "lost"), Duration::ZERO, Duration::from_millis);
        assert_eq!(asked(true, none, &[Ok(7)]).await, (Ok(7), 1, none));
        // A restart of the bus: three calls are lost, the fourth is answered.
        let restart = [Err(lost.clone()), Err(lost.clone()), Err(lost.clone()), Ok(7)];
        assert_eq!(asked(true, none, &restart).await, (Ok(7), 4, ms(100 + 200 + 400)));
        // Whoever never answered is not there, and a refusal is an answer, also behind a call that was lost.
        let (first, times, took) = asked(false, none, &restart).await;
        assert_eq!((first, times, took), (Err(said("", "lost 0")), 1, none));
        let denied = said("org.freedesktop.DBus.Error.AccessDenied", "no");
        assert_eq!(asked(true, none, &[Err(denied.clone())]).await, (Err(denied.clone()), 1, none));
        assert_eq!(asked(true, none, &[Err(lost.clone()), Err(denied.clone()), Ok(7)]).await, (Err(denied), 2, ms(100)));
        // For ever: at 0, 0.1, 0.3, 0.7 … 51.1 s and at the end, with what was said last.
        let (last, times, took) = asked(true, none, &[Err(lost.clone())]).await;
        assert_eq!((last, times, took), (Err(said("", "lost 10")), 11, AGAIN_MAX));
        // A call that itself takes long is not made again behind the end; the one that is under way then is waited for.
        let (last, times, took) = asked(true, CALL_MAX, &[Err(lost)]).await;
        assert!(last.is_err() && times < 8 && (AGAIN_MAX..=AGAIN_MAX + CALL_MAX).contains(&took), "{times} in {took:?}");
    }

    #[tokio::test]
    async fn whoever_waits_for_another_to_connect_waits_no_longer_than_for_a_connection() {
        let manager = Manager::closed(Which::User);
        let _connecting = manager.connection.lock().await;
        let (most, ever) = (Duration::from_millis(10), Duration::from_secs(5));
        let waited = tokio::time::timeout(ever, manager.connected(most)).await.expect("it ends");
        assert_eq!(waited.map(drop), Err(said("", "no connection to systemd: nobody answers")));
    }

    /// Which of zbus's errors are nobody's answer: with these a call is made again.
    #[test]
    fn a_lost_connection_is_told_from_a_refusal() {
        let fdo = |error| refused("SetUnitProperties", zbus::Error::FDO(Box::new(error))).name.is_empty();
        use zbus::fdo::Error;
        for gone in [
            Error::NoReply("a".into()),
            Error::Disconnected("a".into()),
            Error::ServiceUnknown("a".into()),
            Error::NameHasNoOwner("a".into()),
            Error::Timeout("a".into()),
            Error::TimedOut("a".into()),
        ] {
            assert!(fdo(gone.clone()), "{gone:?}");
        }
        for answer in [
            Error::AccessDenied("a".into()),
            Error::InvalidArgs("a".into()),
            Error::UnknownMethod("a".into()),
            Error::UnknownProperty("a".into()),
            Error::PropertyReadOnly("a".into()),
            Error::Failed("a".into()),
        ] {
            assert!(!fdo(answer.clone()), "{answer:?}");
        }
        let io = std::io::Error::new(std::io::ErrorKind::ConnectionReset, "reset");
        assert_eq!(refused("SetUnitProperties", zbus::Error::from(io)).name, "");
    }

    #[test]
    fn what_the_bus_says_of_a_manager_that_is_gone_is_no_answer_of_it() {
        let lost = zbus::fdo::Error::NoReply("it is gone".into());
        let lost = refused("StopUnit", zbus::Error::FDO(Box::new(lost)));
        assert_eq!(lost.name, "");
        assert!(lost.words.contains("StopUnit") && lost.words.contains("it is gone"), "{}", lost.words);
        let said = refused("StopUnit", zbus::Error::FDO(Box::new(zbus::fdo::Error::AccessDenied("no".into()))));
        assert_eq!(said.name, "org.freedesktop.DBus.Error.AccessDenied");
        assert_eq!(refused("StopUnit", zbus::Error::InvalidReply).name, "");
    }
}
