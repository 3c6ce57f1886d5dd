//! Which worker a task of a `PerWorker` queue waits for: idle ones first and in turn, else the one with the least to do.
//!
//! The turn is a cursor that the caller keeps: it makes equal workers take equal shares.

/// The place of the worker, of those with these numbers of tasks; the cursor is where the turn is. None where there is none.
pub fn deal(loads: &[u64], cursor: usize) -> Option<usize> {
    let count = loads.len();
    // The least loaded, idle ones being those with nothing; of equals the first from the cursor on.
    (0..count).map(|step| (cursor + step) % count).min_by_key(|at| loads[*at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_first_in_turn_then_least_loaded() {
        for (loads, cursor, expected) in [
            (vec![], 0, None),
            (vec![3], 7, Some(0)),
            (vec![0, 0, 0], 0, Some(0)),
            (vec![0, 0, 0], 2, Some(2)),
            (vec![0, 1, 0], 1, Some(2)),
            (vec![2, 1, 2], 0, Some(1)),
            (vec![2, 2, 2], 1, Some(1)),
            (vec![1, 5, 1], 1, Some(2)),
        ] {
            assert_eq!(deal(&loads, cursor), expected, "{loads:?} from {cursor}");
        }
    }

    #[test]
    fn equal_workers_take_equal_shares() {
        let (mut loads, mut cursor) = (vec![0u64; 7], 0);
        for _ in 0..700 {
            let at = deal(&loads, cursor).expect("there are workers");
            loads[at] += 1;
            cursor = at + 1;
        }
        assert!(loads.iter().all(|load| *load == 100), "{loads:?}");
    }
}
