//! Names of units: a slice for each pool, a scope for each slot, and where systemd puts their cgroups.
//!
//! ```text
//! weir.slice / weir-<pool>.slice / weir-<worker>.scope                            the machine's usual state directory
//! weir.slice / weir-<id>.slice / weir-<id>-<pool>.slice / weir-<id>-<worker>.scope     any other; id: 8 hex of its path
//! ```
//! A dash in a slice's name is a step downwards, so dashes of a pool's name are escaped as systemd does it. Scopes have no such
//! rule. Two daemons of one manager have two state directories, hence two names.

use std::path::PathBuf;

use crate::model::worker::SlotId;

/// Names for one state directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    id: Option<String>,
}

impl Names {
    /// `id` tells this state directory from others; none: it is the usual one.
    pub fn new(id: Option<String>) -> Names {
        Names { id }
    }

    fn prefix(&self) -> String {
        self.id.as_ref().map_or_else(|| "weir".to_owned(), |id| format!("weir-{id}"))
    }

    /// The pool's slice.
    pub fn slice(&self, pool: &str) -> String {
        format!("{}-{}.slice", self.prefix(), escape(pool))
    }

    /// The slot's scope.
    pub fn scope(&self, slot: &SlotId) -> String {
        format!("{}-{}.scope", self.prefix(), slot.worker)
    }

    /// The pool's cgroup, from the manager's.
    pub fn pool_dir(&self, pool: &str) -> PathBuf {
        let mut dir = PathBuf::from("weir.slice");
        if self.id.is_some() {
            dir.push(format!("{}.slice", self.prefix()));
        }
        dir.join(self.slice(pool))
    }

    /// The slot's cgroup, from the manager's.
    pub fn slot_dir(&self, slot: &SlotId) -> PathBuf {
        self.pool_dir(&slot.pool).join(self.scope(slot))
    }
}

/// As `systemd-escape` does it.
pub fn escape(text: &str) -> String {
    let plain = |n: usize, byte: u8| byte.is_ascii_alphanumeric() || byte == b':' || byte == b'_' || (byte == b'.' && n > 0);
    let one = |(n, byte): (usize, u8)| if plain(n, byte) { char::from(byte).to_string() } else { format!("\\x{byte:02x}") };
    text.bytes().enumerate().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_of_a_pool_are_no_steps() {
        let slot = SlotId { pool: "my-pool".into(), worker: "my-pool-0".into() };
        let usual = Names::new(None);
        assert_eq!(usual.slice("my-pool"), r"weir-my\x2dpool.slice");
        assert_eq!(usual.scope(&slot), "weir-my-pool-0.scope");
        assert_eq!(usual.slot_dir(&slot), PathBuf::from(r"weir.slice/weir-my\x2dpool.slice/weir-my-pool-0.scope"));
        let other = Names::new(Some("0a1b2c3d".into()));
        let path = r"weir.slice/weir-0a1b2c3d.slice/weir-0a1b2c3d-my\x2dpool.slice/weir-0a1b2c3d-my-pool-0.scope";
        assert_eq!(other.slot_dir(&slot), PathBuf::from(path));
    }

    #[test]
    fn escaping_is_that_of_systemd() {
        // What `systemd-escape` 252 answers.
        for (text, escaped) in
            [("a-b", r"a\x2db"), ("a.b", "a.b"), (".a", r"\x2ea"), ("ä", r"\xc3\xa4"), ("a:b_c", "a:b_c"), ("a b", r"a\x20b")]
        {
            assert_eq!(escape(text), escaped);
        }
    }

    #[test]
    fn the_longest_name_is_a_unit_name() {
        let pool = "a-".repeat(31) + "a";
        let slot = SlotId { worker: format!("{pool}-4194304"), pool };
        let names = Names::new(Some("0a1b2c3d".into()));
        assert!(names.slice(&slot.pool).len() < 256 && names.scope(&slot).len() < 256);
    }
}
