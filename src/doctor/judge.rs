//! What is made of what was seen: one finding for each thing, with what to do where something is missing.
//!
//! Pure, so that every machine can be tried.

use super::look::Sight;
use crate::edge::slots::cgroup::held_max;

/// How something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// As it should be.
    Ok,
    /// It works, and could be better.
    Warn,
    /// It is not there.
    Missing,
}

impl State {
    /// As it is printed.
    pub(super) const fn word(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Warn => "warn",
            State::Missing => "missing",
        }
    }
}

/// What was found of one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// Of what.
    pub(super) check: &'static str,
    /// How it stands.
    pub(super) state: State,
    /// What was found.
    pub(super) found: String,
    /// How to get the rest; none: nothing is to be done.
    pub(super) todo: Option<String>,
    /// Without it weir cannot run at all.
    pub(super) fatal: bool,
}

fn ok(check: &'static str, found: impl Into<String>) -> Finding {
    Finding { check, state: State::Ok, found: found.into(), todo: None, fatal: false }
}

fn bad(check: &'static str, state: State, found: impl Into<String>, todo: impl Into<String>) -> Finding {
    Finding { check, state, found: found.into(), todo: Some(todo.into()), fatal: false }
}

/// The oldest kernel that weir runs on, and the oldest with `cgroup.kill`.
const KERNELS: [(u32, u32); 2] = [(5, 3), (5, 14)];
/// Fewer watches than this are soon used up by editors and other programs of the same user.
const WATCHES_FEW: u64 = 8192;
/// Fewer instances than this, likewise.
const INSTANCES_FEW: u64 = 128;
/// Each slot in use takes about two descriptors.
const FILES_FEW: u64 = 4096;

/// Everything.
pub(super) fn all(sight: &Sight) -> Vec<Finding> {
    let mut all = vec![kernel(&sight.kernel), shim(sight), state(sight), systemd(sight)];
    if !sight.root && sight.manager.is_ok() {
        all.push(linger(sight.linger));
    }
    all.extend([cgroup(sight), controllers(sight), delegation(sight)]);
    all.extend([inotify(&sight.inotify), pressure(&sight.pressure), files(sight.files), swap(&sight.memory)]);
    all
}

fn kernel(release: &str) -> Finding {
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let [runs, kills] = KERNELS;
    let found = format!("Linux {release}");
    if version < runs {
        let todo = "Linux 5.3 or newer is needed (pidfd)";
        return Finding { fatal: true, ..bad("kernel", State::Missing, found, todo) };
    }
    if version < kills {
        return bad("kernel", State::Warn, found, "Linux 5.14 or newer, for cgroups that are killed whole");
    }
    ok("kernel", found)
}

fn shim(sight: &Sight) -> Finding {
    let (path, there) = &sight.shim;
    if *there {
        return ok("weir-shim", path.display().to_string());
    }
    let found = format!("{} is not there", path.display());
    let todo = "cargo install --locked --path . puts weir, ctl and weir-shim into one directory";
    Finding { fatal: true, ..bad("weir-shim", State::Missing, found, todo) }
}

fn state(sight: &Sight) -> Finding {
    let (path, usable) = &sight.state;
    match usable {
        Ok(()) => ok("state", path.display().to_string()),
        Err(why) => {
            let todo = "another --state, on a local file system, of your own";
            Finding { fatal: true, ..bad("state", State::Missing, format!("{}: {why}", path.display()), todo) }
        }
    }
}

fn systemd(sight: &Sight) -> Finding {
    let whose = if sight.root { "the system's manager" } else { "the user's manager" };
    match (&sight.manager, sight.booted) {
        (Ok(_), _) => ok("systemd", format!("{whose} answers")),
        (Err(why), true) if sight.root => bad("systemd", State::Warn, format!("{whose}: {why}"), "systemctl status dbus"),
        (Err(why), true) => {
            let todo = "log in, or: loginctl enable-linger, and set XDG_RUNTIME_DIR=/run/user/$(id -u)";
            bad("systemd", State::Warn, format!("{whose}: {why}"), todo)
        }
        (Err(_), false) => {
            let todo = "nothing, unless limits are to be moved by policies: those need systemd";
            bad("systemd", State::Missing, "it does not run this machine", todo)
        }
    }
}

fn linger(lingers: bool) -> Finding {
    if lingers {
        return ok("linger", "the user's manager runs without a login");
    }
    let found = "the user's manager, and all workers, end with the last login";
    bad("linger", State::Warn, found, "loginctl enable-linger")
}

fn cgroup(sight: &Sight) -> Finding {
    match &sight.cgroup2 {
        Some(mount) => ok("cgroup v2", format!("at {}", mount.display())),
        None => {
            let todo = "boot with systemd.unified_cgroup_hierarchy=1; without it workers are held together by sessions, and no limit is held";
            bad("cgroup v2", State::Missing, "not mounted", todo)
        }
    }
}

fn controllers(sight: &Sight) -> Finding {
    let names = match &sight.controllers {
        Ok(names) => names,
        Err(why) => return bad("controllers", State::Missing, why.clone(), "see cgroup v2"),
    };
    let lacking: Vec<&str> =
        ["cpu", "memory", "pids"].into_iter().filter(|name| !names.split_whitespace().any(|known| known == *name)).collect();
    let found = if names.is_empty() { "none".to_owned() } else { names.clone() };
    if lacking.is_empty() {
        return ok("controllers", found);
    }
    let todo = if sight.manager.is_ok() && !sight.root {
        "a drop-in for user@.service: [Service] Delegate=cpu memory pids".to_owned()
    } else {
        format!("have {} enabled above (cgroup.subtree_control), or in no cgroup v1 hierarchy", lacking.join(", "))
    };
    let found = format!("{found}; limits of {} are not held", lacking.join(", "));
    bad("controllers", State::Warn, found, todo)
}

fn delegation(sight: &Sight) -> Finding {
    if sight.manager.is_ok() {
        return ok("delegation", "systemd makes a scope for each worker and delegates it");
    }
    if sight.delegated {
        return ok("delegation", "our own cgroup can be written");
    }
    let todo = "start weir in a leaf of a subtree that is delegated to it: docs/operations.md, Cgroup drivers and limits";
    bad("delegation", State::Missing, "our own cgroup cannot be written", todo)
}

fn inotify(limits: &Result<(u64, u64), String>) -> Finding {
    match limits {
        Err(why) => {
            let todo = "nothing: the specs are looked at every 10 s at the latest";
            bad("inotify", State::Missing, why.clone(), todo)
        }
        Ok((watches, instances)) => {
            let found = format!("{watches} watches, {instances} instances for each user");
            if *watches >= WATCHES_FEW && *instances >= INSTANCES_FEW {
                return ok("inotify", found);
            }
            let todo = "sysctl fs.inotify.max_user_watches=65536 fs.inotify.max_user_instances=512";
            bad("inotify", State::Warn, found, todo)
        }
    }
}

fn pressure(readable: &Result<(), String>) -> Finding {
    match readable {
        Ok(()) => ok("pressure", "PSI tells when somebody has to wait"),
        Err(why) => {
            let todo = "boot with psi=1 (a kernel with CONFIG_PSI); until then pressure counts as unknown";
            bad("pressure", State::Missing, why.clone(), todo)
        }
    }
}

fn files(hard: u64) -> Finding {
    // Of those of cgroups the daemon holds some open.
    let own = 256 + held_max(Some(hard)) as u64;
    let found = format!("{hard} descriptors; about {} workers", hard.saturating_sub(own) / 2);
    if hard >= FILES_FEW {
        ok("open files", found)
    } else {
        bad("open files", State::Warn, found, "ulimit -Hn 65536, or LimitNOFILE=")
    }
}

fn swap(memory: &Result<(u64, u64), String>) -> Finding {
    match memory {
        Err(why) => bad("swap", State::Warn, why.clone(), "mount /proc"),
        Ok((0, total)) => ok("swap", format!("none; {} GiB of memory", total >> 20)),
        Ok((swap, total)) => {
            let found = format!("{} GiB beside {} GiB of memory", swap >> 20, total >> 20);
            ok("swap", format!("{found}: a memory limit makes a worker swap before it is killed"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// A machine on which all is well.
    fn good() -> Sight {
        Sight {
            root: true,
            kernel: "6.1.0-18-amd64".into(),
            shim: (PathBuf::from("/usr/local/bin/weir-shim"), true),
            state: (PathBuf::from("/var/lib/weir"), Ok(())),
            booted: true,
            manager: Ok("/".into()),
            cgroup2: Some(PathBuf::from("/sys/fs/cgroup")),
            controllers: Ok("cpuset cpu io memory pids".into()),
            delegated: false,
            linger: false,
            inotify: Ok((65536, 512)),
            pressure: Ok(()),
            files: 524_288,
            memory: Ok((0, 16 << 20)),
        }
    }

    fn not_ok(sight: &Sight) -> Vec<(&'static str, State, bool)> {
        let all = all(sight);
        assert!(all.iter().all(|finding| (finding.state == State::Ok) == finding.todo.is_none()), "{all:?}");
        all.iter().filter(|f| f.state != State::Ok).map(|f| (f.check, f.state, f.fatal)).collect()
    }

    #[test]
    fn a_good_machine_has_nothing_to_do() {
        assert_eq!(not_ok(&good()), []);
        let user = Sight { root: false, linger: true, ..good() };
        assert_eq!(not_ok(&user), []);
        assert_eq!(not_ok(&Sight { linger: false, ..user }), [("linger", State::Warn, false)]);
    }

    #[test]
    fn only_what_weir_cannot_do_without_is_fatal() {
        for (sight, expected) in [
            (Sight { kernel: "4.19.0".into(), ..good() }, ("kernel", State::Missing, true)),
            (Sight { kernel: "5.10.0-28".into(), ..good() }, ("kernel", State::Warn, false)),
            (Sight { shim: ("/x".into(), false), ..good() }, ("weir-shim", State::Missing, true)),
            (Sight { state: ("/x".into(), Err("it is on NFS".into())), ..good() }, ("state", State::Missing, true)),
            (Sight { controllers: Ok("memory pids".into()), ..good() }, ("controllers", State::Warn, false)),
            (Sight { inotify: Ok((100, 512)), ..good() }, ("inotify", State::Warn, false)),
            (Sight { pressure: Err("none".into()), ..good() }, ("pressure", State::Missing, false)),
            (Sight { files: 1024, ..good() }, ("open files", State::Warn, false)),
        ] {
            assert_eq!(not_ok(&sight), [expected]);
        }
    }

    #[test]
    fn a_container_runs_it_too() {
        let no = || Err("no such file".to_owned());
        let bare = Sight { booted: false, manager: no(), cgroup2: None, controllers: no(), ..good() };
        let names: Vec<&str> = not_ok(&bare).iter().map(|(name, _, fatal)| if *fatal { "fatal" } else { name }).collect();
        assert_eq!(names, ["systemd", "cgroup v2", "controllers", "delegation"]);
    }
}
