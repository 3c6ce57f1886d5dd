//! The published algorithm of HorizontalPodAutoscaler v2, case by case, each with the text or behaviour that it is taken from.
//!
//! Its controller samples at fixed intervals, weir's wishes last from one reading to the next: the cases are laid so that both
//! give the same. Differs by design, and is not looked at here: an empty list of policies is no bound, the first worker from
//! zero is always allowed, a size of 0 is a size like any other (and not "switched off"), percentages are exact where floating
//! point would be off by one worker. Metrics of single pods (missing, not ready) have no counterpart: a number is the pool's.

use super::*;
use crate::model::scaling::{Good, Wish};

/// kubernetes.io, Horizontal Pod Autoscaling, "Algorithm details".
const ALGORITHM: &str = "docs: algorithm details";
/// The same, "Scaling policies".
const POLICIES: &str = "docs: scaling policies";
/// The same, "Default behavior".
const DEFAULT: &str = "docs: default behavior";
/// The same, the examples of "Configurable scaling behavior".
const EXAMPLES: &str = "docs: examples of behavior";
/// The same, "Stabilization window".
const WINDOW: &str = "docs: stabilization window";
/// KEP-853, configurable scale velocity: its stories and its algorithm.
const KEP: &str = "KEP-853";
/// The controller's own known results: the bounds and the rate of change.
const RATE: &str = "controller: convertDesiredReplicasWithBehaviorRate";
/// The controller's own known results: the windows.
const STABILIZE: &str = "controller: stabilizeRecommendationWithBehaviors";
/// The controller's own known results: from metrics to a size.
const METRICS: &str = "controller: computeReplicasForMetrics";

/// What one metric says.
#[derive(Clone, Copy, Debug)]
enum Ask {
    Size(u32),
    /// A value, and the target for each worker.
    Average(f64, f64),
    Missing,
}

#[derive(Clone, Debug)]
struct Case {
    source: &'static str,
    says: &'static str,
    from: u32,
    asks: Vec<Ask>,
    gives: u32,
    scale: Scale,
    /// Earlier wishes: seconds ago, size.
    wishes: Vec<(u64, u32)>,
    /// Earlier changes, the oldest first: seconds ago, by how many.
    changes: Vec<(u64, i64)>,
}

fn case((source, says): (&'static str, &'static str), from: u32, ask: Ask, gives: u32) -> Case {
    let (asks, scale) = (vec![ask], free(1, 1000));
    Case { source, says, from, asks, gives, scale, wishes: Vec::new(), changes: Vec::new() }
}

fn to(source: (&'static str, &'static str), from: u32, wish: u32, gives: u32) -> Case {
    case(source, from, Ask::Size(wish), gives)
}

impl Case {
    fn bounds(mut self, min: u32, max: u32) -> Case {
        (self.scale.min_replicas, self.scale.max_replicas) = (min, max);
        self
    }
    fn and(mut self, ask: Ask) -> Case {
        self.asks.push(ask);
        self
    }
    fn up(mut self, policies: &[ScalePolicy]) -> Case {
        self.scale.behavior.scale_up.policies = policies.to_vec();
        self
    }
    fn down(mut self, policies: &[ScalePolicy]) -> Case {
        self.scale.behavior.scale_down.policies = policies.to_vec();
        self
    }
    fn select(mut self, select: SelectPolicy) -> Case {
        self.scale.behavior.scale_up.select_policy = select;
        self.scale.behavior.scale_down.select_policy = select;
        self
    }
    fn windows(mut self, up: u64, down: u64) -> Case {
        self.scale.behavior.scale_up.stabilization_window = Span::secs(up);
        self.scale.behavior.scale_down.stabilization_window = Span::secs(down);
        self
    }
    fn wished(mut self, wishes: &[(u64, u32)]) -> Case {
        self.wishes = wishes.to_vec();
        self
    }
    fn changed(mut self, changes: &[(u64, i64)]) -> Case {
        self.changes = changes.to_vec();
        self
    }

    fn world(&self) -> World {
        let mut scale = self.scale.clone();
        for (n, ask) in self.asks.iter().enumerate() {
            let name = format!("m{n}");
            scale.triggers.push(match ask {
                Ask::Average(_, target) => per_worker(&name, *target),
                Ask::Size(_) | Ask::Missing => exact(&name),
            });
        }
        let mut world = World::new(scale).sized(self.from);
        let ago = |secs: u64| Moment(world.now.mono.0 - secs * 1000);
        let ends = self.wishes.iter().skip(1).map(|(secs, _)| Some(ago(*secs))).chain([None]);
        let wishes = self.wishes.iter().zip(ends);
        world.scaling.wishes = wishes.map(|((secs, size), until)| Wish { since: ago(*secs), until, size: *size }).collect();
        let mut size = i64::from(self.from);
        for (secs, by) in self.changes.iter().rev() {
            let count = |n: i64| u32::try_from(n).expect("a size");
            let change = Change { at: ago(*secs), from: count(size - by), to: count(size) };
            world.scaling.changes.insert(0, change);
            size -= by;
        }
        self.read(&mut world);
        world
    }

    /// The metrics were read a moment ago.
    fn read(&self, world: &mut World) {
        let triggers = world.scale().triggers.clone();
        for (trigger, ask) in triggers.iter().zip(&self.asks) {
            let value = match ask {
                Ask::Size(size) => f64::from(*size),
                Ask::Average(value, _) => *value,
                Ask::Missing => continue,
            };
            let good = Some(Good { value, raw: value.to_string(), at: world.now.mono, wall: world.now.wall });
            let due = world.now.mono.after(Span::secs(30));
            let asked = Asked { source: trigger.source.clone(), due, good, ..Asked::default() };
            world.scaling.triggers.insert(trigger.name().into(), asked);
        }
    }
}

fn hold(cases: &[Case]) {
    for case in cases {
        let demand = case.world().turn();
        let clamps = demand.why.map(|why| why.clamps);
        assert_eq!(demand.wanted, case.gives, "{} ({}) from {}: {clamps:?}", case.says, case.source, case.from);
    }
}

use Ask::{Average, Missing, Size};

#[test]
fn from_numbers_to_a_size() {
    hold(&[
        case((ALGORITHM, "200m for a target of 100m doubles"), 1, Average(0.2, 0.1), 2),
        case((ALGORITHM, "200m each for 100m doubles any number"), 4, Average(0.8, 0.1), 8),
        case((ALGORITHM, "50m for a target of 100m halves"), 4, Average(0.2, 0.1), 2),
        case((ALGORITHM, "what is left over needs a worker"), 1, Average(21.0, 10.0), 3),
        case((ALGORITHM, "rounded up, never to the nearest"), 1, Average(401.0, 100.0), 5),
        case((ALGORITHM, "a ratio of exactly one changes nothing"), 7, Average(70.0, 10.0), 7),
        case((ALGORITHM, "within the tolerance above"), 10, Average(109.0, 10.0), 10),
        case((ALGORITHM, "exactly at the tolerance above"), 10, Average(110.0, 10.0), 10),
        case((ALGORITHM, "beyond the tolerance above"), 10, Average(111.0, 10.0), 12),
        case((ALGORITHM, "within the tolerance below"), 10, Average(91.0, 10.0), 10),
        case((ALGORITHM, "exactly at the tolerance below"), 10, Average(90.0, 10.0), 10),
        case((ALGORITHM, "beyond the tolerance below"), 10, Average(89.0, 10.0), 9),
        case((ALGORITHM, "of several metrics the largest answer counts"), 3, Size(4), 6).and(Size(6)).and(Size(5)),
        case((ALGORITHM, "a metric that cannot be read skips a scale down"), 5, Size(3), 5).and(Missing),
        case((ALGORITHM, "and does not stand in the way of a scale up"), 5, Size(7), 7).and(Missing),
        case((ALGORITHM, "no metric at all changes nothing"), 5, Missing, 5),
        case((METRICS, "20, 10 and 30 for an average of 15"), 3, Average(60.0, 15.0), 4).bounds(1, 5),
        case((METRICS, "one of two metrics within its tolerance, the other larger"), 3, Average(46.0, 15.0), 5)
            .and(Average(50.0, 10.0))
            .bounds(1, 5),
        case((METRICS, "both metrics smaller: the larger of the two"), 5, Average(20.0, 10.0), 3).and(Average(30.0, 10.0)),
        case((METRICS, "the metric that is larger is cut by the most"), 3, Size(4), 5).and(Size(8)).bounds(1, 5),
    ]);
}

#[test]
fn bounds() {
    hold(&[
        to((RATE, "below the least: the least"), 10, 0, 1),
        to((RATE, "a least of its own"), 10, 2, 5).bounds(5, 1000),
        to((RATE, "within a least of 0"), 10, 0, 0).bounds(0, 10),
        to((RATE, "above the most: the most"), 5, 1000, 10).bounds(1, 10),
        to((RATE, "more than the most already: down to it at once"), 20, 1000, 10).bounds(1, 10),
        to((RATE, "fewer than the least already: up to it at once"), 1, 0, 2).bounds(2, 6),
        to((RATE, "six where five are allowed"), 6, 6, 5).bounds(2, 5),
        to((RATE, "the most is smaller than the rate allows"), 100, 1000, 150).bounds(100, 150).up(&[percent(100, 15)]),
        to((RATE, "the most is smaller than many workers allow"), 100, 500, 200)
            .bounds(1, 200)
            .up(&[workers(300, 60)])
            .changed(&[(55, 1), (35, 5), (15, 9)]),
        to((RATE, "the most is smaller than a large percentage allows"), 100, 500, 200)
            .bounds(1, 200)
            .up(&[percent(10_000, 60)])
            .changed(&[(55, 1), (35, 5), (15, 9)]),
        to((RATE, "the least is larger than many workers allow"), 10, 0, 1).down(&[workers(100, 60)]),
        to((RATE, "the least is larger than all of them"), 10, 2, 5).bounds(5, 1000).down(&[percent(100, 60)]),
    ]);
}

#[test]
fn the_rate_upwards() {
    let before = [(105, 1), (70, 5), (35, 9)];
    hold(&[
        to((RATE, "default: twice as many, or four more"), 10, 50, 20).up(&[workers(4, 15), percent(100, 15)]),
        to((DEFAULT, "four more while that is more than twice"), 2, 50, 6).up(&[workers(4, 15), percent(100, 15)]),
        to((DEFAULT, "at four both allow the same"), 4, 50, 8).up(&[workers(4, 15), percent(100, 15)]),
        to((RATE, "one more in a minute"), 3, 1000, 4).up(&[workers(1, 60)]),
        to((RATE, "workers larger than percent"), 10, 500, 110).up(&[workers(100, 60), percent(100, 60)]),
        to((RATE, "percent larger than workers"), 10, 500, 20).up(&[workers(2, 60), percent(100, 60)]),
        to((RATE, "a large policy does not cut"), 10, 50, 50).up(&[workers(100, 60)]),
        to((RATE, "a larger one neither"), 10, 50, 50).up(&[workers(10_000, 60)]),
        to((RATE, "thirty workers"), 10, 50, 40).up(&[workers(30, 60)]),
        to((RATE, "two hundred percent"), 10, 50, 30).up(&[percent(200, 60)]),
        to((RATE, "a percentage is rounded up, or a small pool would never grow"), 1, 10, 2).up(&[percent(10, 60)]),
        to((RATE, "rounded up from 15.4"), 14, 100, 16).up(&[percent(10, 60)]),
        to((RATE, "more was added than is allowed now: no more"), 100, 500, 100).up(&[workers(5, 120)]).changed(&before),
        to((RATE, "150 more than before the period"), 100, 500, 235).up(&[workers(150, 120)]).changed(&before),
        to((RATE, "200 % more than before the period"), 100, 500, 255).up(&[percent(200, 120)]).changed(&before),
        to((RATE, "rises and falls of the period both count"), 6, 24, 16).up(&[percent(300, 300)]).changed(&[(80, 4), (60, -2)]),
        to((RATE, "what is older than the period does not count"), 100, 500, 105).up(&[workers(5, 30)]).changed(&before),
        to((RATE, "each policy has its own period"), 100, 200, 200).up(&[workers(1000, 120), percent(100, 60)]).changed(&before),
        to((KEP, "the smallest of several"), 10, 500, 12).up(&[workers(2, 60), percent(100, 60)]).select(SelectPolicy::Min),
        to((KEP, "switched off upwards"), 10, 500, 10).up(&[workers(4, 15)]).select(SelectPolicy::Disabled),
    ]);
}

#[test]
fn the_rate_downwards() {
    let before = [(105, -1), (70, -5), (35, -9)];
    let tens = [(105, -10), (70, -10), (35, -10)];
    hold(&[
        to((DEFAULT, "all of them may go"), 100, 1, 1).down(&[percent(100, 15)]),
        to((RATE, "twenty in a minute"), 1000, 3, 980).bounds(3, 2000).down(&[workers(20, 60)]),
        to((RATE, "workers larger than percent"), 100, 2, 80).down(&[workers(20, 60), percent(1, 60)]),
        to((RATE, "workers larger than percent by little"), 100, 2, 98).down(&[workers(2, 60), percent(1, 60)]),
        to((RATE, "five workers"), 10, 2, 5).down(&[workers(5, 60)]),
        to((RATE, "half of them is what is wished"), 10, 5, 5).down(&[percent(50, 60)]),
        to((POLICIES, "a tenth of 80"), 80, 10, 72).down(&[workers(4, 60), percent(10, 60)]),
        to((POLICIES, "a tenth of 72 is 7.2, and 8 go"), 72, 10, 64).down(&[workers(4, 60), percent(10, 60)]),
        to((POLICIES, "from 40 on four go"), 40, 10, 36).down(&[workers(4, 60), percent(10, 60)]),
        to((POLICIES, "below 40 four go too"), 30, 10, 26).down(&[workers(4, 60), percent(10, 60)]),
        to((EXAMPLES, "a tenth in a minute"), 100, 1, 90).down(&[percent(10, 60)]),
        to((EXAMPLES, "and not more than five"), 100, 1, 95).down(&[percent(10, 60), workers(5, 60)]).select(SelectPolicy::Min),
        to((EXAMPLES, "a tenth is fewer than five"), 20, 1, 18)
            .down(&[percent(10, 60), workers(5, 60)])
            .select(SelectPolicy::Min),
        to((EXAMPLES, "switched off downwards"), 10, 1, 10).down(&[percent(100, 15)]).select(SelectPolicy::Disabled),
        to((RATE, "no bound but the default: what went before changes nothing"), 10, 5, 5)
            .down(&[percent(100, 15)])
            .changed(&before),
        to((RATE, "115 of 115 before the period"), 100, 0, 1).down(&[workers(115, 120)]).changed(&before),
        to((RATE, "more than there were"), 100, 0, 5).bounds(5, 1000).down(&[workers(130, 120)]).changed(&before),
        to((RATE, "all of them, down to the least"), 100, 2, 5).bounds(5, 1000).down(&[percent(100, 120)]).changed(&before),
        to((RATE, "more went than is allowed now: no more"), 100, 2, 100).down(&[workers(5, 120)]).changed(&before),
        to((RATE, "half of those before the period"), 100, 0, 56).down(&[percent(50, 120)]).changed(&[
            (90, -2),
            (60, -4),
            (30, -6),
        ]),
        to((RATE, "rises and falls of the period both count"), 10, 1, 6).down(&[percent(50, 180)]).changed(&[(80, -4), (60, 2)]),
        to((RATE, "a tenth of 130 went already"), 100, 0, 100).down(&[percent(10, 120)]).changed(&tens),
        to((RATE, "far more than all of them"), 10, 5, 5).down(&[percent(1000, 120)]).changed(&tens),
        to((RATE, "what is older than the period does not count"), 100, 5, 95).down(&[workers(5, 30)]).changed(&before),
    ]);
}

#[test]
fn windows() {
    hold(&[
        to((STABILIZE, "down by the largest of the window"), 100, 3, 5).windows(0, 180).wished(&[(120, 4), (60, 5)]),
        to((STABILIZE, "up by the smallest of the window"), 1, 7, 4).windows(300, 0).wished(&[(120, 4), (60, 5)]),
        to((STABILIZE, "a window upwards does not hold what falls"), 100, 3, 3).windows(300, 0).wished(&[(120, 1), (60, 2)]),
        to((STABILIZE, "a window downwards does not hold what rises"), 1, 3, 3).windows(0, 300).wished(&[(120, 4), (60, 5)]),
        to((STABILIZE, "what left the window counts no more"), 100, 3, 3).windows(0, 300).wished(&[
            (600, 10),
            (540, 9),
            (310, 3),
        ]),
        to((STABILIZE, "nor upwards"), 1, 100, 100).windows(150, 300).wished(&[(600, 10), (540, 9), (160, 100)]),
        to((STABILIZE, "only those inside count"), 100, 3, 5).windows(0, 180).wished(&[
            (600, 10),
            (540, 9),
            (200, 3),
            (120, 5),
            (60, 4),
        ]),
        to((STABILIZE, "a wish of the present size a minute ago"), 4, 2, 4).windows(0, 300).wished(&[
            (600, 10),
            (310, 4),
            (60, 4),
        ]),
        to((STABILIZE, "what is between the windows stays"), 5, 8, 5).windows(300, 300).wished(&[(200, 3), (100, 9)]),
        to((WINDOW, "the highest of five minutes"), 10, 4, 8).windows(0, 300).wished(&[(250, 6), (200, 8), (100, 5)]),
        to((EXAMPLES, "a window of one minute"), 10, 4, 5).windows(0, 60).wished(&[(250, 6), (200, 8), (100, 5)]),
        to((DEFAULT, "a daemon that begins lowers nothing at once"), 10, 4, 10).windows(0, 300),
        to((DEFAULT, "upwards there is no window"), 4, 10, 10).windows(0, 300).wished(&[(200, 4)]),
        to((KEP, "windows first, then policies"), 10, 2, 7).windows(0, 300).wished(&[(100, 5)]).down(&[workers(3, 60)]),
        to((KEP, "a window of zero is none"), 10, 2, 2).windows(0, 0).wished(&[(100, 9)]),
    ]);
}

/// The sizes at even intervals while the wish stays the same.
fn path(begin: &Case, every: u64, sizes: &[u32]) {
    let mut world = begin.world();
    let mut seen = Vec::new();
    for _ in sizes {
        begin.read(&mut world);
        seen.push(world.turn().wanted);
        world.pass(Span::secs(every));
    }
    assert_eq!(seen, sizes, "{} ({})", begin.says, begin.source);
}

#[test]
fn paths() {
    let both = [workers(4, 60), percent(10, 60)];
    let down = to((POLICIES, "80 to 10 by a tenth or by four"), 80, 10, 72).down(&both);
    path(&down, 60, &[72, 64, 57, 51, 45, 40, 36, 32, 28, 24, 20, 16, 12, 10, 10]);
    let up = to((DEFAULT, "four more or twice as many each 15 s"), 1, 100, 5).up(&[workers(4, 15), percent(100, 15)]);
    path(&up, 15, &[5, 10, 20, 40, 80, 100, 100]);
    path(&up, 5, &[5, 5, 5, 10, 10, 10, 20]);
    path(&to((KEP, "as fast as possible"), 1, 1000, 10).up(&[percent(900, 60)]), 60, &[10, 100, 1000, 1000]);
    path(&to((KEP, "one more each minute"), 1, 5, 2).up(&[workers(1, 60)]), 60, &[2, 3, 4, 5, 5]);
    path(&to((KEP, "one fewer each ten minutes"), 100, 1, 99).down(&[workers(1, 600)]), 300, &[99, 99, 98, 98, 97]);
    path(&to((KEP, "up as usual, never down"), 9, 1, 9).down(&[workers(5, 60)]).select(SelectPolicy::Disabled), 600, &[9, 9, 9]);
    let window = to((KEP, "the falls of a window one after the other"), 10, 7, 10).windows(0, 600);
    path(&window.clone().wished(&[(900, 10), (540, 9), (240, 8)]), 60, &[10, 9, 9, 9, 9, 9, 8]);
    path(&window.down(&[workers(2, 60)]), 300, &[10, 10, 8, 7, 7]);
    path(&to((EXAMPLES, "a tenth each minute"), 100, 50, 90).down(&[percent(10, 60)]), 60, &[90, 81, 72, 64, 57, 51, 50]);
    let least = [percent(10, 60), workers(5, 60)];
    let slow = to((EXAMPLES, "a tenth, at most five"), 60, 30, 55).down(&least).select(SelectPolicy::Min);
    path(&slow, 60, &[55, 50, 45, 40, 36, 32, 30]);
}
