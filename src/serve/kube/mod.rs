//! The Kubernetes API: what kubectl and the client libraries ask, over the same objects that everything else is served from.
//!
//! A [`view::View`] is a resource of theirs over a kind of ours; lists, watches and tables are made of views alike. What changes
//! something becomes an edit of the spec file. Nothing is kept here between two requests but which tasks were told of ([`told`]).

pub mod delete;
pub mod discovery;
pub mod edit;
mod events;
pub mod guard;
mod openapi;
mod operations;
mod pods;
mod proto;
pub mod read;
mod review;
pub mod routes;
mod splice;
mod table;
mod task_view;
mod tasks;
pub mod told;
mod top;
pub mod view;
mod watch;
mod watch_tasks;
