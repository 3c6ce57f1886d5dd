//! The readers of numbers against the real servers: started by hand on loopback with a scratch directory and a free port,
//! ended by their own pid. One file per server.
//!
//! What is promised of each: its numbers, no number for what is no number, a failure and never zero while the server is gone
//! or silent, and a number again once it is back; a secret is never shown.

#![expect(clippy::disallowed_methods, reason = "servers are waited for by the clock")]

mod metrics;
mod mysql;
mod nats;
mod postgres;
mod prometheus;
mod rabbitmq;
mod redis;
mod server;
mod tls;
