//! The worker's parent: a tiny program of its own, one per slot in use.
//!
//! Nothing but a parent can learn how a process ended, and the daemon must be able to die. So the shim holds the slot's
//! identity lock, starts the worker when told, pumps its output into rotated files, owns its `$NOTIFY_SOCKET`, waits for it,
//! clears up whatever it left behind, and writes down how it ended before it says so. It then waits for the next start.
//!
//! ```text
//!   spawned by the daemon, listening socket inherited
//!        | lock taken, connected          go                exec            tree empty, record written
//!   [waiting] ----------------------> [starting] -------> [running] -----------------------> [waiting]
//!        | connection lost, or bye                            | connection lost: runs on
//!        v                                                    v
//!      ends                                          listens for the next daemon
//! ```
//! It imports std, nix and libc only, polls without a timeout but where a record is to be written or somebody does not read, and knows nothing of documents or pools.

mod beside;
mod birth;
mod child;
mod codec;
mod logs;
mod notify;
mod record;
mod run;
mod sys;
pub mod times;
mod tree;
pub mod wire;

pub use run::main;
