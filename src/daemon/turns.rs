//! The loop of the daemon: what came is taken in, turns are taken, and whatever comes next is waited for.
//!
//! It ends with a wish, or with the store, without which nothing is kept any more; then the last rows are waited for.

use std::time::Duration;

use tokio::sync::mpsc;

use super::{Failure, OnExit};
use crate::edge::sdnotify::ServiceManager;
use crate::edge::signals::Signal;
use crate::edge::slots::SlotEvent;
use crate::edge::store::{self, Store};
use crate::edge::{clock, lines};
use crate::engine::controller::Engine;
use crate::engine::handle::Ask;
use crate::engine::host::Fact;
use crate::engine::real::RealHost;
use crate::model::time::Moment;

/// Facts taken in before turns are taken: many ends at once become one turn.
const FACTS_PER_TURN: usize = 4096;
/// How long an ending daemon waits for its last rows.
const LAST_ROWS: Duration = Duration::from_secs(3);

/// All that comes.
pub(super) struct Inbox {
    pub(super) facts: mpsc::UnboundedReceiver<Fact>,
    pub(super) slots: mpsc::UnboundedReceiver<SlotEvent>,
    pub(super) asks: mpsc::Receiver<Ask>,
    pub(super) signals: mpsc::UnboundedReceiver<Signal>,
    pub(super) store: Store,
}

/// The loop: facts first, then the turns that are due, then wait for whichever comes next.
pub(super) async fn serve_until_told(
    engine: &mut Engine<RealHost>,
    inbox: &mut Inbox,
    manager: &mut ServiceManager,
    on_exit: OnExit,
) -> Result<(), Failure> {
    let mut ending = false;
    loop {
        let beat = manager.beat(clock::now().mono);
        let begun = clock::seconds();
        let wake = engine.turn();
        engine.host().board.meters.turned(clock::seconds() - begun);
        if ending && engine.is_drained() {
            return Ok(());
        }
        let wake = wake.into_iter().chain(beat).min();
        engine.host().hearing.wait_until(wake);
        tokio::select! {
            biased;
            Some(signal) = inbox.signals.recv() => match signal {
                Signal::Reload => {
                    manager.reloading();
                    engine.on(Fact::Hint);
                }
                Signal::End(_) if ending || on_exit == OnExit::Leave => {
                    if ending {
                        lines::say("ending at once: the workers that are still there run on");
                    }
                    engine.host().board.end();
                    return Ok(());
                }
                Signal::End(from) => {
                    engine.host().board.end();
                    let sender = from.map(|pid| format!(" (from pid {pid})")).unwrap_or_default();
                    lines::say(&format!("ending{sender}: the workers are stopped first; once more to leave them running"));
                    ending = true;
                    manager.stopping();
                    engine.drain();
                }
            },
            () = inbox.store.ended() => return Err(Failure { code: 70, message: store::ENDED.into() }),
            Some(event) = inbox.slots.recv() => engine.on(fact_of(event)),
            Some(fact) = inbox.facts.recv() => take(engine, manager, fact),
            Some(ask) = inbox.asks.recv() => engine.on(Fact::Asked(ask)),
            () = sleep_until(wake) => {}
        }
        for _ in 0..FACTS_PER_TURN {
            match inbox.slots.try_recv().map(fact_of).or_else(|_| inbox.facts.try_recv()) {
                Ok(fact) => take(engine, manager, fact),
                Err(_) => break,
            }
        }
        // The words with the shims have this thread too, also while there is always something to take in.
        tokio::task::yield_now().await;
    }
}

/// A reload that the service manager waits for ends with the next listing, whatever was found.
fn take(engine: &mut Engine<RealHost>, manager: &mut ServiceManager, fact: Fact) {
    if matches!(fact, Fact::Listed(_)) {
        manager.reloaded();
    }
    engine.on(fact);
}

/// Wait for the answers of what was given to the store, if it gives any, and leave nothing behind but what lives.
pub(super) async fn finish(engine: &mut Engine<RealHost>, inbox: &mut Inbox, ended: &Result<(), Failure>) {
    if ended.is_err() {
        return;
    }
    let answers = async {
        while engine.commits_pending() {
            match inbox.facts.recv().await {
                Some(fact @ Fact::Committed { .. }) => engine.on(fact),
                Some(_) => {}
                None => return,
            }
        }
    };
    if tokio::time::timeout(LAST_ROWS, answers).await.is_err() {
        tracing::warn!("the store did not answer in time; the next start looks at the workers themselves");
    }
    engine.show_changed();
    engine.host().slots.leave();
}

async fn sleep_until(wake: Option<Moment>) {
    match wake {
        Some(at) => tokio::time::sleep(at.since(clock::now().mono).duration()).await,
        None => std::future::pending().await,
    }
}

fn fact_of(event: SlotEvent) -> Fact {
    match event {
        SlotEvent::Seen(slot, seen) => Fact::Seen(slot, seen),
        SlotEvent::StartFailed { slot, incarnation, code, message } => Fact::StartFailed { slot, incarnation, code, message },
        SlotEvent::Recovered => Fact::Recovered,
    }
}
