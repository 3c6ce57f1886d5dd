//! The one door to the clocks. Everything else is given the time.
//! Moments count from boot and do not jump; wall-clock stamps are what people read, and may.

use crate::model::time::{Moment, Now, Span, Wall};

/// Both clocks, read together.
pub fn now() -> Now {
    let boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let wall = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    Now { mono: Moment(millis(boot).unsigned_abs()), wall: Wall(millis(wall)) }
}

/// Seconds since boot, for measuring how long something took.
pub fn seconds() -> f64 {
    let boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    boot.tv_sec as f64 + boot.tv_nsec as f64 / 1e9
}

/// Microseconds of CLOCK_MONOTONIC, as the service manager compares them.
pub fn monotonic_micros() -> i64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec.saturating_mul(1_000_000).saturating_add(time.tv_nsec / 1000)
}

/// How long the machine was suspended since it was started: only the boot clock counts that.
pub fn suspended() -> Span {
    let monotonic = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    // Read later: what passes between the two must not count.
    let boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Span(millis(boot).saturating_sub(millis(monotonic)).max(0).unsigned_abs())
}

fn millis(time: rustix::time::Timespec) -> i64 {
    time.tv_sec.saturating_mul(1000).saturating_add(time.tv_nsec / 1_000_000)
}

/// An id of this boot: moments of another boot mean nothing.
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|text| text.trim().to_owned()).unwrap_or_default()
}
