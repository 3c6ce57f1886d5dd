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
use crate::model::cgroup;
use crate::model::limits::{Answer, High, NO_CPU_LIMIT, NO_MEMORY_LIMIT, NO_TASKS_LIMIT, Units, memory_high};
use crate::model::policy::{self, Amounts, Target};
use crate::model::quantity::Memory;
use crate::model::usage::Usage;

/// The name of our drop-in. It stands behind what the unit's author wrote, and behind what `set-property` writes (`50-…`): what
/// a restart is made for has to hold after it, whoever set limits before, we ourselves among them.
const DROP_IN: &str = "60-weir.conf";
/// How long a unit may take to restart: the time after which systemd itself gives up is 90 s for the stop and the start each.
const RESTART_MAX: Duration = Duration::from_secs(200);
/// How soon is looked again although nothing was heard.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
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
        let own = if rustix::process::geteuid().is_root() { &self.system } else { &self.user };
        if let Some(pool) = &target.pool {
            let names = self.names.as_ref().ok_or("pools have no slices (the cgroup driver is not systemd)")?;
            return Ok(Place { manager: own, unit: names.slice(pool) });
        }
        let unit = target.unit.as_ref().ok_or("the target names nothing")?;
        if unit.name.contains('/') {
            // It becomes part of a path.
            return Err(format!("{:?} is no name of a unit", unit.name));
        }
        let manager = match unit.manager {
            None => own,
            Some(policy::Manager::System) => &self.system,
            Some(policy::Manager::User) => &self.user,
        };
        Ok(Place { manager, unit: unit.name.clone() })
    }

    async fn look(&self, target: &Target) -> Result<Usage, String> {
        let place = self.place(target)?;
        let group = place.property("ControlGroup").await?;
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
        let usage = Usage { limits, ..cgroup::usage(clock::now().mono, read) };
        // One that went while it was looked at has files no more, and no limits for that.
        if dir.is_dir() { Ok(usage) } else { Err(format!("{}: not found: it has just ended", place.unit)) }
    }

    async fn change(&self, target: &Target, (limits, high): (Amounts, High), persist: bool) -> Result<(), String> {
        let place = self.place(target)?;
        let arguments = (place.unit.as_str(), !persist, properties(limits, high));
        place.manager.insist("SetUnitProperties", &arguments).await?;
        if place.drop_in()?.is_some() {
            // It would take their place at the next reload.
            place.put_drop_in(None, persist).await?;
        }
        // The answer comes before the cgroup is written; whatever is asked next is answered after it.
        place.manager.control_group().await.map(drop)
    }

    async fn start_again(&self, target: &Target) -> Result<(), String> {
        let place = self.place(target)?;
        let mut ends = place.manager.ends_of_jobs().await?;
        let answer = place.manager.insist("RestartUnit", &(place.unit.as_str(), "replace")).await?;
        let job: OwnedObjectPath = body(&answer)?;
        let until = Instant::now() + RESTART_MAX;
        while Instant::now() < until {
            match tokio::time::timeout(LOOK_AGAIN, ends.next()).await {
                Ok(Some(Ok(message))) => match body::<(u32, OwnedObjectPath, String, String)>(&message) {
                    Ok((_, path, _, result)) if path == job => return place.is_up(&result).await,
                    Ok(_) | Err(_) => continue,
                },
                // Nothing will be heard on a connection that is lost.
                Ok(Some(Err(_)) | None) => tokio::time::sleep(LOOK_AGAIN).await,
                Err(_) => {}
            }
            // Silence: its signal may have gone with a connection.
            if !place.busy().await? {
                return place.is_up("done").await;
            }
        }
        Err(format!("{}: not restarted within 200 s", place.unit))
    }
}

impl Place<'_> {
    async fn property(&self, name: &str) -> Result<String, String> {
        let path = self.object().await?;
        let interface = match name {
            "ControlGroup" => self.interface(),
            _ => "org.freedesktop.systemd1.Unit".into(),
        };
        let value = self.manager.property(path.as_str(), &interface, name).await?;
        String::try_from(value).map_err(|e| format!("{} of {}: {e}", name, self.unit))
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

    async fn busy(&self) -> Result<bool, String> {
        let state = self.property("ActiveState").await?;
        Ok(["activating", "deactivating", "reloading"].contains(&state.as_str()))
    }

    async fn is_up(&self, result: &str) -> Result<(), String> {
        let state = self.property("ActiveState").await?;
        if result == "done" && state == "active" {
            return Ok(());
        }
        Err(format!("{}: systemd's job ended with {result}, the unit is {state}", self.unit))
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
fn properties(limits: Amounts, high: High) -> Vec<(&'static str, Variant<'static>)> {
    let mut all = Vec::new();
    let mut set = |name, none: bool, value: u64| all.push((name, Variant::from(if none { u64::MAX } else { value })));
    if let Some(cpu) = limits.cpu {
        set("CPUQuotaPerSecUSec", cpu == NO_CPU_LIMIT, cpu.0.saturating_mul(1000));
    }
    if let Some(memory) = limits.memory {
        let none = memory == NO_MEMORY_LIMIT;
        let Memory(high) = memory_high(memory, high);
        set("MemoryHigh", none, high);
        set("MemoryMax", none, memory.0);
    }
    if let Some(tasks) = limits.tasks {
        set("TasksMax", tasks == NO_TASKS_LIMIT, u64::from(tasks));
    }
    all
}

impl Units for AllUnits {
    fn unable(&self) -> Option<String> {
        None
    }

    fn read<'a>(&'a self, target: &'a Target) -> Answer<'a, Usage> {
        Box::pin(self.look(target))
    }

    fn set<'a>(&'a self, target: &'a Target, limits: Amounts, high: High, persist: bool) -> Answer<'a, ()> {
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
        let plain = |limits| set(limits, High::Below);
        assert_eq!(plain(some), expected);
        assert_eq!(set(some, High::AtMax)[1..3], [("MemoryHigh", 40960), ("MemoryMax", 40960)]);
        let none = Amounts { cpu: Some(NO_CPU_LIMIT), memory: Some(NO_MEMORY_LIMIT), tasks: Some(NO_TASKS_LIMIT) };
        assert!(plain(none).iter().all(|(_, value)| *value == u64::MAX));
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
        let scope = units.place(&unit("a.b.slice", policy::Manager::User)).expect("a place");
        assert_eq!(scope.interface(), "org.freedesktop.systemd1.Slice");
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
