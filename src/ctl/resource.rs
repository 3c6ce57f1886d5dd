//! What is meant by `pool/web`, `wp web api`, `workers,events`: from words to kinds and names.
//!
//! Pure; a word that is nothing is refused with the nearest one that is.

use super::error::Failure;
use crate::model::document::refusal::nearest;
use crate::model::meta::quoted;
use crate::model::status::Kind;

/// One kind and which of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The kind.
    pub kind: Kind,
    /// The names; empty: all.
    pub names: Vec<String>,
}

/// What a kind is called: the short name first, which is also used in messages.
pub const fn words(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Pool => &["pool", "pools", "wp", "workerpool", "workerpools", "workerpools.weir.dev"],
        Kind::Worker => &["worker", "workers", "workers.weir.dev"],
        Kind::Policy => &["policy", "policies", "rp", "resourcepolicy", "resourcepolicies", "resourcepolicies.weir.dev"],
        Kind::Event => &["event", "events", "ev", "events.weir.dev"],
    }
}

/// What tasks are called: they are no kind of object of the daemon's, and have commands of their own.
pub const TASKS: [&str; 3] = ["task", "tasks", "tasks.weir.dev"];

/// What the queue of a pool is called.
const QUEUES: [&str; 2] = ["queue", "queues"];

/// The kind as it is written before a slash.
pub const fn short(kind: Kind) -> &'static str {
    words(kind)[0]
}

/// The kind of a word.
///
/// # Errors
/// Usage, with the nearest word.
pub fn kind(word: &str) -> Result<Kind, Failure> {
    let lower = word.to_lowercase();
    if let Some(kind) = Kind::ALL.into_iter().find(|kind| words(*kind).contains(&lower.as_str())) {
        return Ok(kind);
    }
    if TASKS.contains(&lower.as_str()) {
        return Err(Failure::Usage(
            "tasks are not named here: ctl get, describe, wait, logs, cancel, release and retry take task/12, without names of \
             other types beside it"
                .into(),
        ));
    }
    if QUEUES.contains(&lower.as_str()) {
        return Err(Failure::Usage("a queue is shown by ctl queue POOL, and its tasks by ctl get tasks --pool POOL".into()));
    }
    let all = Kind::ALL.into_iter().flat_map(|kind| words(kind).iter().copied());
    let hint = nearest(word, all).map_or_else(|| ".".to_owned(), |name| format!(", did you mean \"{name}\"?"));
    Err(Failure::Usage(format!(
        "there is no resource type {}{hint} There are: pools, workers, policies, tasks, events.",
        quoted(word)
    )))
}

/// The targets of `get`: `pools`, `pools,workers`, `pool a b`, `pool/a worker/b`.
///
/// # Errors
/// Usage.
pub fn targets(words: &[String]) -> Result<Vec<Target>, Failure> {
    let (first, rest) =
        words.split_first().ok_or_else(|| Failure::Usage("say what: pools, workers, policies, tasks or events".into()))?;
    if words.iter().any(|word| word.contains('/')) {
        return words.iter().map(|word| slashed(word)).collect();
    }
    let kinds: Vec<Kind> = first.split(',').map(kind).collect::<Result<_, _>>()?;
    if kinds.len() > 1 && !rest.is_empty() {
        return Err(Failure::Usage("names can be given for one resource type only".into()));
    }
    Ok(kinds.into_iter().map(|kind| Target { kind, names: rest.to_vec() }).collect())
}

fn slashed(word: &str) -> Result<Target, Failure> {
    match word.split_once('/') {
        Some((kind_word, name)) if !name.is_empty() && !name.contains('/') => {
            Ok(Target { kind: kind(kind_word)?, names: vec![name.into()] })
        }
        Some(_) | None => Err(Failure::Usage(format!("{} is not TYPE/NAME, like pool/web", quoted(word)))),
    }
}

/// With `queue/NAME` as the pool that has the queue, for commands about what it does with its tasks.
pub fn of_queues(words: &[String]) -> Vec<String> {
    let is_queue = |word: &str| QUEUES.contains(&word);
    let pool = |(n, word): (usize, &String)| match word.split_once('/') {
        Some((kind, name)) if is_queue(kind) => format!("{}/{name}", short(Kind::Pool)),
        None if n == 0 && words.len() > 1 && is_queue(word) => short(Kind::Pool).to_owned(),
        Some(_) | None => word.clone(),
    };
    words.iter().enumerate().map(pool).collect()
}

/// The pool that a task is for: `claude`, `pool/claude`, `queue/claude`.
///
/// # Errors
/// Usage: something else's name.
pub fn pool(word: &str) -> Result<&str, Failure> {
    match word.split_once('/') {
        None => Ok(word),
        Some((kind, name)) if words(Kind::Pool).contains(&kind) || QUEUES.contains(&kind) => Ok(name),
        Some(_) => Err(Failure::Usage(format!("{} is no pool: give its name", quoted(word)))),
    }
}

/// The one object of a command that takes `pool/NAME`, `pool NAME`, or only `NAME` of the kind it is about.
///
/// # Errors
/// Usage: another kind, or not exactly one.
pub fn one(words: &[String], of: Kind) -> Result<String, Failure> {
    let mut names = many(words, of)?;
    match (names.pop(), names.is_empty()) {
        (Some(name), true) => Ok(name),
        (Some(_) | None, _) => Err(Failure::Usage(format!("give one {} as {}/NAME", short(of), short(of)))),
    }
}

/// The objects of a command about one kind.
///
/// # Errors
/// Usage: another kind, or none.
pub fn many(given: &[String], of: Kind) -> Result<Vec<String>, Failure> {
    let other = |word: &str, found: &Target| {
        let hint = match (found.kind, of) {
            (Kind::Pool, Kind::Worker) => format!(
                "; its workers: ctl get workers --pool {0}; all of them anew: ctl rollout restart pool/{0}",
                found.names.concat()
            ),
            (Kind::Pool | Kind::Worker | Kind::Policy | Kind::Event, _) => String::new(),
        };
        Failure::Usage(format!("{} is not a {}: this is for {}/NAME{hint}", quoted(word), short(of), short(of)))
    };
    let skip = usize::from(given.len() > 1 && words(of).contains(&given[0].to_lowercase().as_str()));
    let mut names = Vec::new();
    for word in &given[skip..] {
        if !word.contains('/') {
            names.push(word.clone());
            continue;
        }
        let target = slashed(word)?;
        if target.kind != of {
            return Err(other(word, &target));
        }
        names.extend(target.names);
    }
    if names.is_empty() { Err(Failure::Usage(format!("say which {}: {}/NAME", short(of), short(of)))) } else { Ok(names) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words_of(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn all_ways_to_name_things() {
        let target = |kind, names: &str| Target { kind, names: words_of(names) };
        for (text, expected) in [
            ("pools", vec![target(Kind::Pool, "")]),
            ("wp a b", vec![target(Kind::Pool, "a b")]),
            ("pool/a worker/b", vec![target(Kind::Pool, "a"), target(Kind::Worker, "b")]),
            ("pools,ev", vec![target(Kind::Pool, ""), target(Kind::Event, "")]),
            ("WorkerPool x", vec![target(Kind::Pool, "x")]),
        ] {
            assert_eq!(targets(&words_of(text)).unwrap(), expected, "{text}");
        }
        for text in ["", "pods", "pools,workers x", "pool/", "pool/a/b", "pool/a b"] {
            assert!(targets(&words_of(text)).is_err(), "{text}");
        }
        for (given, meant) in
            [("queue/a queue/b", "pool/a pool/b"), ("queue a", "pool a"), ("queue", "queue"), ("worker/a", "worker/a")]
        {
            assert_eq!(of_queues(&words_of(given)), words_of(meant), "{given}");
        }
        assert!(targets(&words_of("task/1")).unwrap_err().text().contains("task/12"));
        assert!(targets(&words_of("pol")).unwrap_err().text().contains("did you mean \"pool\"?"));
    }

    #[test]
    fn one_of_a_kind() {
        for text in ["worker/a", "worker a", "a"] {
            assert_eq!(one(&words_of(text), Kind::Worker).unwrap(), "a", "{text}");
        }
        for text in ["", "pool/a", "a b", "worker/a b"] {
            assert!(one(&words_of(text), Kind::Worker).is_err(), "{text}");
        }
    }
}
