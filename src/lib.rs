//! weir: a declarative controller over local processes. Start reading at [`engine`], then [`decide`].
//!
//! | room | what it is | may import |
//! |---|---|---|
//! | [`model`] | nouns: plain data | nothing of ours |
//! | [`decide`] | verbs: pure, total functions of data and `now` | model |
//! | [`edge`] | doors: one outside thing each, no policy | model, and the shim's wire |
//! | [`engine`] | the turn: the only place where deciding meets doing | model, decide, edge |
//! | [`serve`] | the wire: HTTP over what the engine's handle offers | model, `engine::handle` |
//! | [`ctl`] | the client | model, serve's wire types |
//! | [`shim`] | a worker's parent, a program of its own | std, nix, libc |
//!
//! `tests/tidy.rs` keeps this table. An edited file takes this road: `edge::watch` hints, `edge::specs` lists, `decide::admit`
//! judges, the catalogue is swapped, the pool's key is queued, `engine` observes, [`decide`] plans, `engine` performs, and
//! status and history are written in one transaction.

pub mod chart;
pub mod crds;
pub mod ctl;
pub mod daemon;
pub mod decide;
pub mod doctor;
pub mod edge;
pub mod engine;
pub mod install;
pub mod model;
pub mod output;
pub mod plan;
pub mod serve;
pub mod shim;
pub mod simulate;
pub mod validate;
