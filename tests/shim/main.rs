//! The real shim, driven through the daemon's door to it and directly: what a worker starts with, how its end is told, and
//! what becomes of it when its shim or the daemon's side dies.
//!
//! No daemon runs here; `Room` stands in for one. Processes are looked for by the room's own mark, and ended by it.

mod beside;
mod endings;
mod output;
mod room;
mod silent;
#[path = "../skipped/mod.rs"]
mod skipped;
mod starts;
