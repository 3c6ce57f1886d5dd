//! Asking a source for its number: one file per source, one [`Reader`] per trigger.
//!
//! A reader keeps what makes the next answer cheaper (a connection, the mark of the last answer) and nothing else. It gives a
//! number or a [`Failure`] in words: no answer is ever taken for zero. How often it is asked, how long it may take and what a
//! failure means is not decided here. What comes over the network is read up to a limit and shown without control characters;
//! secrets are read from their file or variable for each question, sent to the one host they are for, and never shown.

mod aside;
mod client;
mod exec;
mod files;
mod forge;
mod gitlab;
mod http;
mod issues;
mod links;
mod mysql;
mod nats;
mod postgres;
mod prometheus;
mod rabbitmq;
mod redis;
mod sqlite;
#[cfg(test)]
mod tests;

use forge::{Forge, Kind};
use gitlab::Gitlab;
use http::Http;
use nats::Nats;
use prometheus::Prometheus;
use rabbitmq::Rabbit;

use crate::model::reading::{Failure, Number};
use crate::model::source::Source;

/// Asks one source, again and again.
#[derive(Debug)]
pub struct Reader {
    asking: Asking,
}

/// Who is asked.
#[derive(Debug)]
enum Asking {
    Exec(exec::Exec),
    Files(files::Files),
    Sqlite(sqlite::Sqlite),
    Postgres(Box<postgres::Postgres>),
    Mysql(Box<mysql::Mysql>),
    Redis(Box<redis::Redis>),
    Forge(Forge),
    Gitlab(Gitlab),
    Http(Http),
    Prometheus(Prometheus),
    Rabbit(Rabbit),
    Nats(Nats),
    /// Nobody: what this answers is not found outside, or not yet.
    Nobody(Box<Source>),
}

impl Asking {
    fn of(source: Source) -> Asking {
        match source {
            Source { exec: Some(exec), .. } => Asking::Exec(exec::Exec::new(exec)),
            Source { files: Some(files), .. } => Asking::Files(files::Files::new(files)),
            Source { sqlite: Some(sqlite), .. } => Asking::Sqlite(sqlite::Sqlite::new(sqlite)),
            Source { postgres: Some(postgres), .. } => Asking::Postgres(Box::new(postgres::Postgres::new(postgres))),
            Source { mysql: Some(mysql), .. } => Asking::Mysql(Box::new(mysql::Mysql::new(mysql))),
            Source { redis: Some(redis), .. } => Asking::Redis(Box::new(redis::Redis::new(redis))),
            Source { gitea: Some(source), .. } => Asking::Forge(Forge::new(Kind::Gitea, source)),
            Source { forgejo: Some(source), .. } => Asking::Forge(Forge::new(Kind::Forgejo, source)),
            Source { github: Some(source), .. } => Asking::Forge(Forge::new(Kind::GitHub, source)),
            Source { gitlab: Some(source), .. } => Asking::Gitlab(Gitlab::new(source)),
            Source { http: Some(source), .. } => Asking::Http(Http::new(source)),
            Source { prometheus: Some(source), .. } => Asking::Prometheus(Prometheus::new(source)),
            Source { rabbitmq: Some(source), .. } => Asking::Rabbit(Rabbit::new(source)),
            Source { nats: Some(source), .. } => Asking::Nats(Nats::new(source)),
            other => Asking::Nobody(Box::new(other)),
        }
    }
}

impl Reader {
    /// For this source.
    pub fn new(source: Source) -> Reader {
        Reader { asking: Asking::of(source) }
    }

    /// Ask once. It may take for ever: whoever asks gives it a time.
    ///
    /// # Errors
    /// Why there is no number.
    pub async fn read(&mut self) -> Result<Number, Failure> {
        match &mut self.asking {
            Asking::Exec(exec) => exec.read().await,
            Asking::Files(files) => files.read().await,
            Asking::Sqlite(sqlite) => sqlite.read().await,
            Asking::Postgres(postgres) => postgres.read().await,
            Asking::Mysql(mysql) => mysql.read().await,
            Asking::Redis(redis) => redis.read().await,
            Asking::Forge(forge) => forge.read().await,
            Asking::Gitlab(gitlab) => gitlab.read().await,
            Asking::Http(http) => http.read().await,
            Asking::Prometheus(prometheus) => prometheus.read().await,
            Asking::Rabbit(rabbit) => rabbit.read().await,
            Asking::Nats(nats) => nats.read().await,
            Asking::Nobody(source) => Err(Failure::because(format!("{source:?} is not asked yet"))),
        }
    }
}
