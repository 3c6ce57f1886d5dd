//! Any unit: its use and limits, read from its cgroup; limits set on it while it runs; its drop-in and a restart of it.
//!
//! Limits are set by `SetUnitProperties` and never in the cgroup of a unit, which `daemon-reload` would revert; and they are read
//! from the cgroup and never from the unit's properties, as only the kernel tells what holds.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::Instant;
use zbus::{OwnedObjectPath, Variant};

use super::bus::{Manager, RELOAD, Refused, Which, body};
use super::names::Names;
use crate::edge::clock;
use crate::model::cgroup::{self, Controllers};
use crate::model::limits::{Answer, NO_CPU_LIMIT, NO_MEMORY_LIMIT, NO_TASKS_LIMIT, Units};
use crate::model::policy::{self, Amounts, Resource, Target};
use crate::model::quantity::Memory;
use crate::model::usage::Usage;

/// The name of our drop-in. It stands behind what the unit's author wrote, and behind what `set-property` writes (`50-…`): what
/// a restart is made for has to hold after it, whoever set limits before, we ourselves among them.
const DROP_IN: &str = "60-weir.conf";
/// How long a unit may take to restart: the time after which systemd itself gives up is 90 s for the stop and the start each.
const RESTART_MAX: Duration = Duration::from_secs(200);
/// How soon is looked again although nothing was heard.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Why nothing is known of a pool, and no limit of it can be set.
const NO_SLICES: &str = "pools have no slices (the cgroup driver is not systemd)";
/// How long a unit is looked at for a restart that systemd may or may not have been told of.
const UNPROVED_MAX: Duration = Duration::from_secs(10);
const UNIT: &str = "org.freedesktop.systemd1.Unit";
const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";

/// The units of this machine, and those of the user that we are.
#[derive(Debug)]
pub struct AllUnits {
    system: Arc<Manager>,
    user: Arc<Manager>,
    mount: PathBuf,
    /// What pools' slices are called; absent: they have none.
    names: Option<Names>,
}

/// A target as systemd knows it.
struct Place<'a> {
    manager: &'a Manager,
    unit: String,
}

impl AllUnits {
    /// `mount` is where cgroups are; `pools` the manager of pools' slices and what they are called. Nobody is spoken to before
    /// the first call.
    pub fn new(mount: PathBuf, pools: Option<(Arc<Manager>, Names)>) -> AllUnits {
        let manager = |which| Arc::new(Manager::closed(which));
        let (system, user) = (manager(Which::System), manager(Which::User));
        let mut all = AllUnits { system, user, mount, names: None };
        if let Some((own, names)) = pools {
            all.names = Some(names);
            match own.which() {
                Which::System => all.system = own,
                Which::User => all.user = own,
            }
        }
        all
    }

    fn place(&self, target: &Target) -> Result<Place<'_>, String> {
        let of = |manager| match manager {
            policy::Manager::System => &*self.system,
            policy::Manager::User => &*self.user,
        };
        let own = of(own_manager());
        if let Some(pool) = &target.pool {
            let names = self.names.as_ref().ok_or(NO_SLICES)?;
            return Ok(Place { manager: own, unit: names.slice(pool) });
        }
        let unit = target.unit.as_ref().ok_or("the target names nothing")?;
        if unit.name.contains('/') {
            // It becomes part of a path.
            return Err(format!("{:?} is no name of a unit", unit.name));
        }
        Ok(Place { manager: unit.manager.map_or(own, of), unit: unit.name.clone() })
    }

    async fn look(&self, target: &Target) -> Result<Usage, String> {
        let place = self.place(target)?;
        let group = place.control_group().await?;
        let group = group.trim_start_matches('/');
        if group.is_empty() {
            return Err(format!("{}: not found: it is not running", place.unit));
        }
        let dir = self.mount.join(group);
        let read = |name: &str| {
            let file = dir.join(name);
            std::fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))
        };
        let limits = cgroup::known_limits(|name| there(&dir.join(name)))?;
        let lacking = place.lacking(&self.mount, &dir).await;
        let usage = Usage { limits, lacking, ..cgroup::usage(clock::now().mono, read) };
        // One that went while it was looked at has files no more, and no limits for that.
        if dir.is_dir() { Ok(usage) } else { Err(format!("{}: not found: it has just ended", place.unit)) }
    }

    async fn change(&self, target: &Target, (limits, high): (Amounts, Memory), persist: bool) -> Result<(), String> {
        let place = self.place(target)?;
        let arguments = (place.unit.as_str(), !persist, properties(limits, high));
        place.manager.insist("SetUnitProperties", &arguments).await?;
        if place.drop_in()?.is_some() {
            // It would take their place at the next reload. What it held is among them.
            place.put_drop_in(None, persist).await?;
        }
        // The answer comes before the cgroup is written; whatever is asked next is answered after it.
        place.manager.control_group().await.map(drop)
    }

    async fn start_again(&self, target: &Target) -> Result<(), String> {
        let place = self.place(target)?;
        let mut ends = place.manager.ends_of_jobs().await?;
        let before = place.run().await?;
        let asked = place.manager.call("RestartUnit", &(place.unit.as_str(), "replace")).await;
        let job = asked_once(asked.and_then(|answer| body::<OwnedObjectPath>(&answer)))?;
        let mut restart = Restart { before, told: job.is_some(), begun: Instant::now(), unproved: None };
        loop {
            match tokio::time::timeout(LOOK_AGAIN, ends.next()).await {
                Ok(Some(Ok(message))) => match body::<(u32, OwnedObjectPath, String, String)>(&message) {
                    Ok((_, path, _, result)) if job.as_ref() == Some(&path) => {
                        return place.is_up(&result, &place.run().await?);
                    }
                    Ok(_) | Err(_) if !restart.over(Instant::now()) => continue,
                    Ok(_) | Err(_) => {}
                },
                // Nothing will be heard on a connection that is lost.
                Ok(Some(Err(_)) | None) => tokio::time::sleep(LOOK_AGAIN).await,
                Err(_) => {}
            }
            // Silence: its signal may have gone with a connection.
            let run = place.run().await?;
            match restart.seen(&run, Instant::now()) {
                Stage::Goes => {}
                Stage::Ended => return place.is_up("done", &run),
                Stage::Never(why) => return Err(format!("{}: {why}", place.unit)),
            }
        }
    }
}

/// What systemd lists of a unit: the fourth is its `ActiveState`, the eighth its job, 0 if it has none.
type Listed = (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);

/// How a unit runs at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Run {
    /// Its `InvocationID`: no two starts have the same.
    id: Vec<u8>,
    state: String,
    /// A job of it waits or is under way.
    job: bool,
}

/// A restart that was asked for once.
struct Restart {
    before: Run,
    /// systemd has answered that it has a job for it.
    told: bool,
    begun: Instant,
    /// Since when nothing is under way, and it runs as before.
    unproved: Option<Instant>,
}

/// How far a restart has come.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    Goes,
    /// Whether the unit is up is for its state to say.
    Ended,
    /// It was not restarted, in words.
    Never(String),
}

/// The job of a restart that was asked for; absent: nobody answered, and whether it was done is to be seen. It must not be asked
/// for again, which would end a run that has just begun.
fn asked_once(asked: Result<OwnedObjectPath, Refused>) -> Result<Option<OwnedObjectPath>, String> {
    match asked {
        Ok(job) => Ok(Some(job)),
        Err(refused) if refused.name.is_empty() => Ok(None),
        Err(refused) => Err(refused.words),
    }
}

impl Restart {
    fn over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.begun) >= RESTART_MAX
    }

    /// What this look at the unit shows. Only another run than the one before proves a restart that nobody answered for.
    fn seen(&mut self, run: &Run, now: Instant) -> Stage {
        let goes = run.job || ["activating", "deactivating", "reloading"].contains(&run.state.as_str());
        if !goes && (run.id != self.before.id || self.told && run.state != "active") {
            return Stage::Ended;
        }
        if self.over(now) {
            return Stage::Never("not restarted within 200 s".into());
        }
        // A manager that was silent for long may have the call before it yet.
        if goes || now.saturating_duration_since(*self.unproved.get_or_insert(now)) < UNPROVED_MAX {
            return Stage::Goes;
        }
        let what = if self.told { "its job is gone" } else { "systemd did not answer" };
        Stage::Never(format!("{what}, and it was not restarted: it is {}, as before", run.state))
    }
}

/// The manager of a unit of which nobody says whose it is.
pub fn own_manager() -> policy::Manager {
    if rustix::process::geteuid().is_root() { policy::Manager::System } else { policy::Manager::User }
}

/// What of a cgroup's limits can never be held. A manager gives its unit a controller when a limit asks for it, so a file that is
/// not there says nothing; a controller that the manager itself has not does.
fn lacking(dir: &Path, controllers: &Controllers) -> Vec<Resource> {
    let missing = |of: &Resource| !dir.join(cgroup::limit_file(*of)).exists();
    Resource::EACH.into_iter().filter(|of| missing(of) && !controllers.has(*of)).collect()
}

impl Place<'_> {
    /// See [`lacking`]; what is not known is not lacking.
    async fn lacking(&self, mount: &Path, dir: &Path) -> Vec<Resource> {
        if lacking(dir, &Controllers::none("")).is_empty() {
            return Vec::new();
        }
        let Ok(root) = self.manager.control_group().await else { return Vec::new() };
        let place = mount.join(root.trim_start_matches('/'));
        let text = std::fs::read_to_string(place.join("cgroup.controllers"));
        text.map_or_else(|_| Vec::new(), |text| lacking(dir, &Controllers::parse(&text, &root)))
    }

    async fn control_group(&self) -> Result<String, String> {
        let path = self.object().await?;
        let value = self.manager.property(path.as_str(), &self.interface(), "ControlGroup").await?;
        String::try_from(value).map_err(|e| format!("ControlGroup of {}: {e}", self.unit))
    }

    async fn object(&self) -> Result<OwnedObjectPath, String> {
        match self.manager.insist("GetUnit", &(self.unit.as_str(),)).await {
            Ok(answer) => Ok(body(&answer)?),
            Err(Refused { name, .. }) if name == NO_SUCH_UNIT => Err(format!("{}: not found", self.unit)),
            Err(refused) => Err(refused.words),
        }
    }

    /// The interface of its kind: `Service` for `web.service`.
    fn interface(&self) -> String {
        let kind = self.unit.rsplit_once('.').map_or("", |(_, kind)| kind);
        let mut letters = kind.chars();
        let first = letters.next().map(|first| first.to_ascii_uppercase());
        format!("org.freedesktop.systemd1.{}", first.into_iter().chain(letters).collect::<String>())
    }

    fn is_up(&self, result: &str, run: &Run) -> Result<(), String> {
        if result == "done" && run.state == "active" {
            return Ok(());
        }
        Err(format!("{}: systemd's job ended with {result}, the unit is {}", self.unit, run.state))
    }

    /// How it runs. Its id is read first: what is then seen to be up may be a later run, and never an earlier one.
    async fn run(&self) -> Result<Run, String> {
        // One that nobody has used lately is not in systemd's memory.
        let path: OwnedObjectPath = body(&self.manager.insist("LoadUnit", &(self.unit.as_str(),)).await?)?;
        let id = self.manager.property(path.as_str(), UNIT, "InvocationID").await?;
        let id = Vec::<u8>::try_from(id).map_err(|e| format!("InvocationID of {}: {e}", self.unit))?;
        let listed = self.manager.insist("ListUnitsByNames", &(vec![self.unit.as_str()],)).await?;
        let listed: Vec<Listed> = body(&listed)?;
        let unit = listed.into_iter().next().ok_or_else(|| format!("{}: not found", self.unit))?;
        Ok(Run { id, state: unit.3, job: unit.7 != 0 })
    }

    /// Where its drop-in is: the one that survives a reboot, and the one that does not.
    fn drop_ins(&self) -> [PathBuf; 2] {
        let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
        let [kept, passing] = match self.manager.which() {
            Which::System => ["/etc/systemd/system", "/run/systemd/system"].map(PathBuf::from),
            Which::User => {
                let config = variable("XDG_CONFIG_HOME").or_else(|| variable("HOME").map(|home| home.join(".config")));
                let run = variable("XDG_RUNTIME_DIR")
                    .unwrap_or_else(|| Path::new("/run/user").join(rustix::process::getuid().as_raw().to_string()));
                [config.unwrap_or_default().join("systemd/user"), run.join("systemd/user")]
            }
        };
        [kept, passing].map(|dir| dir.join(format!("{}.d", self.unit)).join(DROP_IN))
    }

    fn drop_in(&self) -> Result<Option<String>, String> {
        for file in self.drop_ins() {
            match std::fs::read_to_string(&file) {
                Ok(text) => return Ok(Some(text)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(format!("{}: {error}", file.display())),
            }
        }
        Ok(None)
    }

    async fn put_drop_in(&self, text: Option<String>, persist: bool) -> Result<(), String> {
        let [kept, passing] = self.drop_ins();
        let (here, not) = if persist { (kept, passing) } else { (passing, kept) };
        remove(&not)?;
        match text {
            Some(text) => write(&here, &text)?,
            None => remove(&here)?,
        }
        self.manager.insist(RELOAD, &()).await.map(drop).map_err(String::from)
    }
}

/// The text of a file of the kernel; absent: there is no such file, as of a controller that is not there.
fn there(file: &Path) -> Result<Option<String>, String> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{}: {error}", file.display())),
    }
}

fn remove(file: &Path) -> Result<(), String> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(format!("{}: {error}", file.display())),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Aside and renamed: systemd never reads half of it.
fn write(file: &Path, text: &str) -> Result<(), String> {
    let said = |e: std::io::Error| format!("{}: {e}", file.display());
    std::fs::create_dir_all(file.parent().unwrap_or(file)).map_err(said)?;
    // No suffix that systemd reads.
    let aside = file.with_extension("new");
    std::fs::write(&aside, text).map_err(said)?;
    std::fs::rename(&aside, file).map_err(said)
}

/// Limits as properties: CPU in microseconds a second. The largest number is no limit.
fn properties(limits: Amounts, high: Memory) -> Vec<(&'static str, Variant<'static>)> {
    let mut all = Vec::new();
    let mut set = |name, none: bool, value: u64| all.push((name, Variant::from(if none { u64::MAX } else { value })));
    if let Some(cpu) = limits.cpu {
        set("CPUQuotaPerSecUSec", cpu == NO_CPU_LIMIT, cpu.0.saturating_mul(1000));
    }
    if let Some(memory) = limits.memory {
        set("MemoryHigh", high == NO_MEMORY_LIMIT, high.0);
        set("MemoryMax", memory == NO_MEMORY_LIMIT, memory.0);
    }
    if let Some(tasks) = limits.tasks {
        set("TasksMax", tasks == NO_TASKS_LIMIT, u64::from(tasks));
    }
    all
}

impl Units for AllUnits {
    fn unable(&self, target: &Target) -> Option<String> {
        (target.pool.is_some() && self.names.is_none()).then(|| NO_SLICES.to_owned())
    }

    fn read<'a>(&'a self, target: &'a Target) -> Answer<'a, Usage> {
        Box::pin(self.look(target))
    }

    fn set<'a>(&'a self, target: &'a Target, limits: Amounts, high: Memory, persist: bool) -> Answer<'a, ()> {
        Box::pin(self.change(target, (limits, high), persist))
    }

    fn drop_in<'a>(&'a self, target: &'a Target) -> Answer<'a, Option<String>> {
        Box::pin(async { self.place(target)?.drop_in() })
    }

    fn put_drop_in<'a>(&'a self, target: &'a Target, text: Option<String>, persist: bool) -> Answer<'a, ()> {
        Box::pin(async move { self.place(target)?.put_drop_in(text, persist).await })
    }

    fn restart<'a>(&'a self, target: &'a Target) -> Answer<'a, ()> {
        Box::pin(self.start_again(target))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::policy::Unit;
    use crate::model::quantity::Cpu;

    fn unit(name: &str, manager: policy::Manager) -> Target {
        Target { pool: None, unit: Some(Unit { name: name.into(), manager: Some(manager) }) }
    }

    #[test]
    fn limits_become_properties_and_no_limit_the_largest_number() {
        let some = Amounts { cpu: Some(Cpu(1500)), memory: Some(Memory(40960)), tasks: Some(7) };
        let set = |limits, high| -> Vec<(&str, u64)> {
            let known = properties(limits, high).into_iter().map(|(name, value)| (name, u64::try_from(value).expect("a u64")));
            known.collect()
        };
        let expected = [("CPUQuotaPerSecUSec", 1_500_000), ("MemoryHigh", 32768), ("MemoryMax", 40960), ("TasksMax", 7)];
        let plain = |limits| set(limits, Memory(32768));
        assert_eq!(plain(some), expected);
        assert_eq!(set(some, NO_MEMORY_LIMIT)[1..3], [("MemoryHigh", u64::MAX), ("MemoryMax", 40960)]);
        let none = Amounts { cpu: Some(NO_CPU_LIMIT), memory: Some(NO_MEMORY_LIMIT), tasks: Some(NO_TASKS_LIMIT) };
        assert!(set(none, NO_MEMORY_LIMIT).iter().all(|(_, value)| *value == u64::MAX));
        assert!(plain(Amounts::default()).is_empty());
    }

    #[test]
    fn a_target_is_a_unit_of_one_manager() {
        let pools = (Arc::new(Manager::closed(Which::System)), Names::new(None));
        let units = AllUnits::new("/sys/fs/cgroup".into(), Some(pools));
        let place = |target: &Target| units.place(target).map(|place| (place.manager.which(), place.unit));
        assert_eq!(place(&unit("a.service", policy::Manager::User)), Ok((Which::User, "a.service".into())));
        assert_eq!(place(&unit("a.service", policy::Manager::System)), Ok((Which::System, "a.service".into())));
        let pool = Target { pool: Some("a-b".into()), unit: None };
        assert_eq!(place(&pool).map(|(_, unit)| unit), Ok(r"weir-a\x2db.slice".into()));
        assert!(place(&unit("../../a.service", policy::Manager::User)).is_err());
        assert!(place(&Target::default()).is_err());
        let without = AllUnits::new("/sys/fs/cgroup".into(), None);
        assert!(without.place(&pool).is_err_and(|why| why.contains("not systemd")));
        assert!(without.unable(&pool).is_some_and(|why| why.contains("not systemd")));
        assert_eq!((without.unable(&unit("a.service", policy::Manager::User)), units.unable(&pool)), (None, None));
        let scope = units.place(&unit("a.b.slice", policy::Manager::User)).expect("a place");
        assert_eq!(scope.interface(), "org.freedesktop.systemd1.Slice");
    }

    /// A unit as it is seen at one look after the other, each a second later, the last of them for ever: what came of it, and when.
    fn restarted(told: bool, looks: &[(u8, &str, bool)]) -> (Stage, usize) {
        let run = |(id, state, job): (u8, &str, bool)| Run { id: vec![id], state: state.into(), job };
        let begun = Instant::now();
        let mut restart = Restart { before: run((1, "active", false)), told, begun, unproved: None };
        let seen = |n: usize| {
            let now = begun + Duration::from_secs(n as u64);
            restart.seen(&run(looks[(n - 1).min(looks.len() - 1)]), now)
        };
        let all: Vec<Stage> = (1..=300).map(seen).collect();
        let nth = all.iter().position(|stage| *stage != Stage::Goes).expect("it comes to an end");
        (all[nth].clone(), nth + 1)
    }

    #[test]
    fn a_restart_that_nobody_answered_for_is_proved_by_another_run_and_never_asked_for_again() {
        let lost = |name: &str| asked_once(Err(Refused { name: name.into(), words: "w".into() }));
        assert_eq!((lost(""), lost("org.freedesktop.DBus.Error.AccessDenied")), (Ok(None), Err("w".into())));
        let slow = [(1, "active", true), (1, "deactivating", true), (2, "activating", true), (2, "active", false)];
        let stopped = [(1, "deactivating", true), (1, "inactive", false)];
        for told in [true, false] {
            assert_eq!(restarted(told, &[(2, "active", false)]), (Stage::Ended, 1));
            assert_eq!(restarted(told, &[(2, "failed", false)]), (Stage::Ended, 1));
            assert_eq!(restarted(told, &slow), (Stage::Ended, 4));
            // The manager comes to it late.
            assert_eq!(restarted(told, &[&[(1, "active", false); 3], &slow[..]].concat()), (Stage::Ended, 7));
            let ever = Stage::Never("not restarted within 200 s".into());
            assert_eq!(restarted(told, &slow[1..2]), (ever, 200));
        }
        assert_eq!(restarted(true, &stopped), (Stage::Ended, 2));
        let never = |why: &str, state: &str| Stage::Never(format!("{why}, and it was not restarted: it is {state}, as before"));
        assert_eq!(restarted(true, &[(1, "active", false)]), (never("its job is gone", "active"), 11));
        assert_eq!(restarted(false, &[(1, "active", false)]), (never("systemd did not answer", "active"), 11));
        assert_eq!(restarted(false, &stopped), (never("systemd did not answer", "inactive"), 12));
    }

    #[test]
    fn a_file_that_is_not_there_yet_is_not_a_controller_that_is_lacking() {
        let scratch = tempfile::tempdir().expect("a directory");
        for file in ["memory.max", "pids.max"] {
            std::fs::write(scratch.path().join(file), "max\n").expect("written");
        }
        let of = |controllers| lacking(scratch.path(), &Controllers::parse(controllers, "/"));
        assert_eq!(of("cpu memory pids"), [], "it comes with the first limit");
        assert_eq!(of("memory pids"), [Resource::Cpu]);
        assert_eq!(of("cpu"), [], "what is there can be held");
    }

    #[test]
    fn a_drop_in_is_written_whole_and_taken_away() {
        let scratch = tempfile::tempdir().expect("a directory");
        let file = scratch.path().join("a.service.d").join(DROP_IN);
        remove(&file).expect("nothing to do");
        write(&file, "[Service]\n").expect("written");
        assert_eq!(std::fs::read_to_string(&file).expect("there"), "[Service]\n");
        assert_eq!(std::fs::read_dir(scratch.path().join("a.service.d")).expect("there").count(), 1);
        remove(&file).expect("removed");
        assert!(!file.exists());
    }
}
