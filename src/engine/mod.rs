//! The turn: hints name a key, the controller observes it, asks `decide`, performs the answer, and looks again.
//!
//! Only here does deciding meet doing. [`controller::Engine`] is a plain value that is handed facts and asked for turns; it
//! never waits and reads no clock but its host's, so the simulator drives the same one. Start reading there.

mod answers;
mod asks;
pub mod board;
pub mod catalogue;
mod commits;
pub mod controller;
pub mod disks;
mod edit;
mod event_object;
mod expected;
pub mod handle;
pub mod hearing;
mod hook_queue;
pub mod hooks;
pub mod host;
mod keep;
pub mod learnt;
mod leasing;
pub mod leftovers;
pub mod limits;
mod line;
pub mod logs;
mod made;
pub mod meters;
mod nudges;
mod order;
mod policies;
mod policy_door;
mod policy_state;
pub mod queue;
pub mod queue_door;
pub mod real;
mod reconcile;
mod restored;
pub mod revisions;
pub mod shares;
mod shown;
mod slots;
mod small;
pub mod specs_door;
mod spread;
pub mod tasks;
mod telling;
mod trouble;
mod waiters;
pub mod wear;
pub mod workqueue;
