//! Which of a pool's `notify` entries want an event.
//!
//! By the event's reason alone: each entry that names it is told once, in the order of the document.

use crate::model::plan::PoolFacts;

/// The entries that want an event of this reason, by their place in the document.
pub fn wanted(facts: &PoolFacts, reason: &str) -> Vec<usize> {
    let wants = |entry: usize| facts.spec.notify[entry].on.iter().any(|on| on.means(reason));
    (0..facts.spec.notify.len()).filter(|entry| wants(*entry)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::pool::Notify;
    use crate::model::reason::Reason;

    #[test]
    fn each_entry_that_names_it_is_told_once() {
        let entry = |on: &[Reason]| Notify { on: on.to_vec(), webhook: None, exec: None };
        let mut facts = PoolFacts::orphan("web");
        assert_eq!(wanted(&facts, "CrashLoop"), Vec::<usize>::new());
        facts.spec.notify =
            vec![entry(&[Reason::CrashLoop, Reason::Exited]), entry(&[Reason::Exited]), entry(&[Reason::All, Reason::CrashLoop])];
        assert_eq!(wanted(&facts, "CrashLoop"), [0, 2]);
        assert_eq!(wanted(&facts, "Exited"), [0, 1, 2]);
        assert_eq!(wanted(&facts, "Scaled"), [2]);
    }
}
