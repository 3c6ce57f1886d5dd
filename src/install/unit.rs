//! The systemd unit, as text.
//!
//! Workers are in scopes of their own, but are born of the daemon: nothing may be set that they would inherit and that is not
//! theirs anyway, such as a mount namespace, a filter of system calls, resource limits or an OOM score.

use std::path::Path;

/// What differs between units.
#[derive(Debug)]
pub(super) struct Unit<'a> {
    /// For a user's manager.
    pub(super) user: bool,
    /// `weir`.
    pub(super) program: &'a Path,
    /// Its `--specs`.
    pub(super) specs: &'a Path,
    /// Its `--state`.
    pub(super) state: &'a Path,
}

impl Unit<'_> {
    /// The text of the unit.
    ///
    /// # Errors
    /// A path that no unit can name.
    pub(super) fn text(&self) -> Result<String, String> {
        let [program, specs, state] = [quoted(self.program)?, quoted(self.specs)?, quoted(self.state)?];
        let (manager, target) =
            if self.user { ("systemctl --user", "default.target") } else { ("systemctl", "multi-user.target") };
        let after = if self.user { "" } else { "After=network.target\n" };
        let own_state = !self.user && self.state == Path::new("/var/lib/weir");
        let directory = if own_state { "StateDirectory=weir\nStateDirectoryMode=0700\n" } else { "" };
        let system = if self.user { "" } else { SYSTEM };
        Ok(format!(
            "# Put changes of yours into a drop-in: `{manager} edit weir`.
[Unit]
Description=weir: pools of local processes
Documentation=man:weir(1) man:ctl(1)
{after}# Always tried again: workers that run need a daemon.
StartLimitIntervalSec=0

[Service]
Type=notify
ExecStart={program} run --specs {specs} --state {state} --on-exit leave
ExecReload=/bin/kill -HUP $MAINPID
# Whoever ends it but systemd: workers run on, and nobody would look after them.
Restart=always
RestartSec=1
# A command line that is wrong, and a state that another daemon holds: trying again would not help.
RestartPreventExitStatus=2 5
# The loop itself beats: one that hangs is ended and started again. No worker notices.
WatchdogSec=60
# Only the daemon is ended, never what it started.
KillMode=process
Delegate=yes
{directory}# Workers have this in any case.
NoNewPrivileges=yes
{system}
[Install]
WantedBy={target}
"
        ))
    }
}

/// What a user's manager cannot give.
const SYSTEM: &str = "# Neither weir nor a worker loads modules, boots the machine, sets its clock or reads its memory.
CapabilityBoundingSet=~CAP_SYS_MODULE CAP_SYS_BOOT CAP_SYS_TIME CAP_SYS_RAWIO CAP_SYSLOG CAP_MAC_ADMIN CAP_MAC_OVERRIDE
";

/// A path as one word of a command line in a unit.
fn quoted(path: &Path) -> Result<String, String> {
    let text = path.to_str().filter(|text| !text.contains(char::is_control));
    let text = text.ok_or_else(|| format!("{}: a unit cannot name such a path", path.display()))?;
    // `%` and `$` are systemd's own.
    let plain = text.replace('%', "%%").replace('$', "$$").replace('\\', "\\\\").replace('"', "\\\"");
    Ok(if plain.contains([' ', '\'', '"', ';']) { format!("\"{plain}\"") } else { plain })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(user: bool, state: &str) -> String {
        let [program, specs] = [Path::new("/usr/local/bin/weir"), Path::new("/etc/we ir")];
        Unit { user, program, specs, state: Path::new(state) }.text().unwrap()
    }

    #[test]
    fn a_restart_of_either_unit_leaves_the_workers() {
        for unit in [text(false, "/var/lib/weir"), text(true, "/home/ann/.local/state/weir")] {
            let restarts = ["Restart=always", "RestartPreventExitStatus=2 5", "WatchdogSec=60"];
            for line in ["Type=notify", "KillMode=process", "Delegate=yes"].into_iter().chain(restarts) {
                assert!(unit.lines().any(|l| l == line), "{line}: {unit}");
            }
            assert!(unit.contains("ExecStart=/usr/local/bin/weir run --specs \"/etc/we ir\" --state /"), "{unit}");
            assert!(unit.contains(" --on-exit leave\n"), "{unit}");
            // Workers would get these too.
            for word in ["Protect", "Private", "SystemCall", "Restrict", "ReadOnly", "\nLimit", "OOMScore"] {
                assert!(!unit.contains(word), "{word}: {unit}");
            }
        }
    }

    #[test]
    fn what_only_root_has_is_in_the_system_unit_alone() {
        let (system, user) = (text(false, "/var/lib/weir"), text(true, "/x"));
        for word in ["StateDirectory=weir", "CapabilityBoundingSet", "multi-user.target"] {
            assert!(system.contains(word) && !user.contains(word), "{word}");
        }
        assert!(!text(false, "/srv/state").contains("StateDirectory"), "another directory is not systemd's to make");
    }

    #[test]
    fn odd_paths_are_quoted_or_refused() {
        assert_eq!(quoted(Path::new("/a b/%h/$x")).unwrap(), "\"/a b/%%h/$$x\"");
        assert_eq!(quoted(Path::new("/a\"b\\")).unwrap(), "\"/a\\\"b\\\\\"");
        assert!(quoted(Path::new("/a\nExecStartPre=/bin/true")).is_err());
    }
}
