//! Doors: one outside thing per file, and no policy behind any of them.
//!
//! A door turns the world into data and data into deeds. It decides nothing and imports no other door, except inside one
//! folder. Shown failures carry what was touched and what the system said.

pub mod access;
pub mod backlog;
pub mod clock;
pub mod command;
pub mod host;
pub mod lines;
pub mod logs;
pub mod notify_out;
pub mod probe;
pub mod revisions;
pub mod sdnotify;
pub mod secrets;
pub mod signals;
pub mod slots;
pub mod specs;
pub mod statedir;
pub mod statusdir;
pub mod store;
pub mod systemd;
pub mod taskfiles;
#[cfg(feature = "otel")]
pub mod traces;
pub mod web;
