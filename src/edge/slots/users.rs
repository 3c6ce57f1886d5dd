//! User names to ids, groups and the environment that goes with them.
//! Only a daemon that runs as root may start workers as somebody else.

use std::ffi::CString;

use nix::unistd::{Gid, Uid, getgrouplist};

use crate::edge::command::User;

fn find(name: &str) -> Result<nix::unistd::User, String> {
    let found = match name.parse::<u32>() {
        Ok(uid) => nix::unistd::User::from_uid(Uid::from_raw(uid)),
        Err(_) => nix::unistd::User::from_name(name),
    };
    found.map_err(|e| format!("user \"{name}\": {e}"))?.ok_or_else(|| format!("user \"{name}\" does not exist on this machine"))
}

/// What a worker, or a command beside it, needs to become a user that is given by name or number.
///
/// # Errors
/// That there is no such user, or that only root can become it.
pub fn account(name: &str) -> Result<User, String> {
    let user = find(name)?;
    let own = nix::unistd::geteuid();
    if !own.is_root() && own != user.uid {
        return Err(format!("user \"{name}\": only a daemon that runs as root can start workers as another user"));
    }
    let c_name = CString::new(user.name.clone()).map_err(|e| e.to_string())?;
    let groups: Vec<Gid> = getgrouplist(&c_name, user.gid).map_err(|e| format!("groups of \"{name}\": {e}"))?;
    Ok(User { uid: user.uid.as_raw(), gid: user.gid.as_raw(), groups: groups.into_iter().map(Gid::as_raw).collect() })
}

/// The user's and the group's number, of another user than we are, where we may start workers as one.
///
/// # Errors
/// That there is no such user.
pub fn another(name: &str) -> Result<Option<(u32, u32)>, String> {
    let user = find(name)?;
    let ids = (user.uid.as_raw(), user.gid.as_raw());
    Ok((nix::unistd::geteuid().is_root() && ids.0 != 0).then_some(ids))
}

/// HOME, USER, LOGNAME and SHELL of a user.
///
/// # Errors
/// That there is no such user.
pub fn user_env(name: &str) -> Result<Vec<(String, String)>, String> {
    let user = find(name)?;
    let text = |path: &std::path::Path| path.display().to_string();
    Ok(vec![
        ("HOME".into(), text(&user.dir)),
        ("USER".into(), user.name.clone()),
        ("LOGNAME".into(), user.name.clone()),
        ("SHELL".into(), text(&user.shell)),
    ])
}
