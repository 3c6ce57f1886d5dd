//! Which worker a task of a `PerWorker` queue waits for: idle ones first and in turn, else the one with the least to do.
//!
//! The turn is a cursor that the caller keeps: it makes equal workers take equal shares. Who joins later takes its share of the
//! longer lines.

/// The place of the worker, of those with these numbers of tasks; the cursor is where the turn is. None where there is none.
pub fn deal(loads: &[u64], cursor: usize) -> Option<usize> {
    let count = loads.len();
    // The least loaded, idle ones being those with nothing; of equals the first from the cursor on.
    (0..count).map(|step| (cursor + step) % count).min_by_key(|at| loads[*at])
}

/// A line, as far as it matters to whoever joins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Tasks that wait in it, or that its worker has.
    pub tasks: u64,
    /// Its worker has joined.
    pub joined: bool,
    /// None of its tasks may go to another worker.
    pub fixed: bool,
}

/// From which line to which one a task goes next, so that whoever has joined gets its share: from the longest to the shortest of
/// those that joined, as long as it is longer by two. None: they are even.
pub fn even(loads: &[Load]) -> Option<(usize, usize)> {
    let all = || loads.iter().enumerate();
    let (to, short) = all().filter(|(_, load)| load.joined).min_by_key(|(_, load)| load.tasks)?;
    // Of equals the first, as with who is dealt to.
    let (from, long) = all().rev().filter(|(_, load)| !load.fixed && !load.joined).max_by_key(|(_, load)| load.tasks)?;
    (long.tasks >= short.tasks.saturating_add(2)).then_some((from, to))
}

/// Tasks of a line that stay between the one that went before and the next one to go, where so many have gone: with that both
/// lines keep the order, as if all had been dealt at once.
pub fn stay(loads: &[Load], gone: usize) -> usize {
    let joined = loads.iter().filter(|load| load.joined).count().max(1);
    let place = |n: usize| n.saturating_mul(loads.len().max(joined)) / joined;
    (place(gone + 1) - place(gone)).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of so many tasks; of the last ones so many workers have joined.
    fn lines(tasks: &[u64], joined: usize) -> Vec<Load> {
        let is_new = |at: usize| at + joined >= tasks.len();
        tasks.iter().enumerate().map(|(at, tasks)| Load { tasks: *tasks, joined: is_new(at), fixed: false }).collect()
    }

    #[test]
    fn whoever_joins_takes_from_the_longest_line_until_they_are_even() {
        for (tasks, joined, expected) in [
            (vec![], 0, vec![]),
            (vec![9, 0], 0, vec![9, 0]),
            (vec![1, 0], 1, vec![1, 0]),
            (vec![2, 0], 1, vec![1, 1]),
            (vec![3, 0], 1, vec![2, 1]),
            (vec![5, 0, 0], 2, vec![2, 2, 1]),
            (vec![9, 1, 0], 1, vec![5, 1, 4]),
            (vec![4, 4, 4, 0], 1, vec![3, 3, 3, 3]),
            (vec![0, 3], 1, vec![0, 3]),
            (vec![6, 2], 1, vec![4, 4]),
        ] {
            let mut loads = lines(&tasks, joined);
            while let Some((from, to)) = even(&loads) {
                loads[from].tasks -= 1;
                loads[to].tasks += 1;
            }
            let even: Vec<u64> = loads.iter().map(|load| load.tasks).collect();
            assert_eq!(even, expected, "{tasks:?}, {joined} joined");
        }
        let mut fixed = lines(&[9, 4, 0], 1);
        fixed[0].fixed = true;
        assert_eq!(even(&fixed), Some((1, 2)), "what has to stay is passed over");
        fixed[1].fixed = true;
        assert_eq!(even(&fixed), None);
    }

    #[test]
    fn of_a_line_as_many_stay_between_as_there_are_others() {
        let stays = |old: usize, new: usize| {
            let loads = lines(&vec![0; old + new], new);
            (0..4).map(|gone| stay(&loads, gone)).collect::<Vec<_>>()
        };
        assert_eq!(stays(1, 1), [1, 1, 1, 1]);
        assert_eq!(stays(1, 2), [0, 1, 0, 1]);
        assert_eq!(stays(3, 1), [3, 3, 3, 3]);
        assert_eq!(stay(&[], 0), 0);
    }

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
