//! Scaled pools, as people write them.

use std::fmt::Write;

use crate::random::Random;

/// How many sources each pool has. A zero of source `k` counts when it was read `k + 1` times.
const SOURCES: u64 = 3;

/// What a person wants of the size of a pool.
#[derive(Clone, Debug, PartialEq)]
pub struct Scaled {
    min: u32,
    max: u32,
    min_idle: u64,
    paused: bool,
    triggers: Vec<Trigger>,
    up: Pace,
    down: Pace,
    idle_timeout: u64,
    at_least: Option<u64>,
    headroom: u64,
    quota: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct Trigger {
    source: u64,
    interval: u64,
    timeout: u64,
    rule: &'static str,
}

/// How fast the size may change, in one direction.
#[derive(Clone, Debug, PartialEq)]
struct Pace {
    window: u64,
    cooldown: u64,
    policies: &'static str,
}

const RULES: [&str; 6] = [
    "exact: {}",
    "targetPerWorker: 1",
    "targetPerWorker: 5",
    "targetPerWorker: 2.5, activation: 3",
    "step: {up: {above: 9}, down: {atMost: 3}}",
    "step: {up: {above: 6, by: 2}, down: {atMost: 0, by: 3}}",
];

const POLICIES: [&str; 4] = [
    "[]",
    "[{type: Workers, value: 1, period: 5s}]",
    "[{type: Percent, value: 50, period: 10s}, {type: Workers, value: 1, period: 4s}]",
    "[{type: Percent, value: 100, period: 15s}]",
];

impl Scaled {
    pub fn any(random: &mut Random) -> Scaled {
        let min = u32::try_from(random.below(3)).unwrap_or(0);
        Scaled {
            min,
            max: min + u32::try_from(random.below(5)).unwrap_or(0),
            min_idle: if random.chance(20) { 1 + random.below(2) } else { 0 },
            paused: random.chance(8),
            triggers: triggers(random),
            up: Pace::any(random, &[0, 0, 0, 3]),
            down: Pace::any(random, &[0, 5, 20]),
            idle_timeout: random.pick(&[0, 1, 5, 15]),
            at_least: random.chance(15).then(|| random.below(4)),
            headroom: random.pick(&[128, 512]),
            quota: random.chance(20),
        }
    }

    /// Somebody changes one thing.
    pub fn changed(&self, random: &mut Random) -> Scaled {
        let other = Scaled::any(random);
        match random.below(6) {
            0 | 1 => Scaled { min: other.min, max: other.max, ..self.clone() },
            2 => Scaled { triggers: other.triggers, ..self.clone() },
            3 => Scaled { up: other.up, down: other.down, idle_timeout: other.idle_timeout, ..self.clone() },
            4 => Scaled { paused: !self.paused, ..self.clone() },
            _ => Scaled { quota: other.quota, min_idle: other.min_idle, at_least: other.at_least, ..self.clone() },
        }
    }

    /// What slows it down stands last: half of the text is another pool.
    pub fn text(&self, name: &str) -> String {
        let mut text = format!("  scale:\n    minReplicas: {}\n    maxReplicas: {}\n    triggers:\n", self.min, self.max);
        for trigger in &self.triggers {
            let Trigger { source, interval, timeout, rule } = trigger;
            let _never_fails = writeln!(
                text,
                "    - {{name: t{source}, http: {{url: \"http://127.0.0.1/{name}/{source}\"}}, pollingInterval: {interval}s, timeout: {timeout}s, zeroConfirmations: {}, {rule}}}",
                source + 1
            );
        }
        let (min_idle, paused, headroom) = (self.min_idle.min(u64::from(self.max)), self.paused, self.headroom);
        let _never_fails = write!(
            text,
            "    minIdle: {min_idle}\n    paused: {paused}\n    headroom: {{memory: {headroom}Mi}}\n    behavior:\n      scaleUp: {}\n      scaleDown: {}\n",
            self.up.text(""),
            self.down.text(&format!(", idleTimeout: {}s", self.idle_timeout))
        );
        if let Some(replicas) = self.at_least {
            // No more than there may be: that is refused.
            let replicas = replicas.min(self.max.into());
            let _never_fails = writeln!(text, "    fallback: {{behavior: AtLeast, replicas: {replicas}}}");
        }
        if self.quota {
            let _never_fails = writeln!(
                text,
                "    quota: [{{name: calls, source: {{http: {{url: \"http://127.0.0.1/{name}/quota\"}}}}, pauseBelow: 10, resumeAbove: 20}}]"
            );
        }
        text
    }
}

impl Pace {
    fn any(random: &mut Random, windows: &[u64]) -> Pace {
        let cooldown = random.pick(&[0, 0, 10, 20]);
        Pace { window: random.pick(windows), cooldown, policies: random.pick(&POLICIES) }
    }

    fn text(&self, more: &str) -> String {
        let Pace { window, cooldown, policies } = self;
        format!("{{stabilizationWindow: {window}s, cooldown: {cooldown}s, policies: {policies}{more}}}")
    }
}

fn triggers(random: &mut Random) -> Vec<Trigger> {
    let first = random.below(SOURCES);
    let count = if random.chance(30) { 2 } else { 1 };
    let one = |n| Trigger {
        source: (first + n) % SOURCES,
        interval: 5 + random.below(4),
        timeout: 2 + random.below(3),
        rule: random.pick(&RULES),
    };
    (0..count).map(one).collect()
}

/// How often a zero of this source must be read before it counts.
pub fn zeros_of(url: &str) -> u32 {
    let digit = url.chars().next_back().and_then(|last| last.to_digit(10));
    digit.map_or(1, |digit| digit + 1)
}
