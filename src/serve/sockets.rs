//! One WebSocket that tells and does not listen: kept alive, cut off when its client is gone or too slow, closed when there is no more.
//!
//! What is told comes from elsewhere, ready to be sent. What a client says means nothing here, except that it is still there;
//! a client that stops reading costs the messages in its buffers and a bounded time, and makes nobody wait.

use std::pin::pin;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocketUpgrade, close_code};
use axum::response::Response;
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use tokio::time::{MissedTickBehavior, interval, timeout};

/// How long a client may take.
#[derive(Clone, Copy)]
struct Pace {
    /// It is asked so often whether it is there. Browsers and libraries answer by themselves.
    ping: Duration,
    /// It has so long to make room for one message.
    send: Duration,
    /// It has so long to answer a close: less than the daemon has for its end.
    close: Duration,
}

const PACE: Pace = Pace { ping: Duration::from_secs(20), send: Duration::from_secs(10), close: Duration::from_secs(1) };

/// So many pings without a word of the client's, and it is gone.
const UNANSWERED_MAX: u32 = 2;

/// Largest message of a client, in bytes: nothing that it says is of use.
const HEARD_BYTES_MAX: usize = 4 * 1024;

/// Most that waits to be sent, in bytes.
const WAITING_BYTES_MAX: usize = 1024 * 1024;

/// The answer that opens the socket; each text is then told in a frame of its own.
pub fn answer(upgrade: WebSocketUpgrade, texts: impl Stream<Item = String> + Send + 'static) -> Response {
    upgrade
        .read_buffer_size(HEARD_BYTES_MAX)
        .max_message_size(HEARD_BYTES_MAX)
        .max_frame_size(HEARD_BYTES_MAX)
        .max_write_buffer_size(WAITING_BYTES_MAX)
        .on_upgrade(|socket| tell(socket, texts, PACE))
}

async fn tell<S, E>(mut socket: S, texts: impl Stream<Item = String>, pace: Pace)
where
    S: Stream<Item = Result<Message, E>> + Sink<Message> + Unpin,
{
    let mut texts = pin!(texts);
    let mut pings = interval(pace.ping);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut unanswered = 0;
    loop {
        let message = tokio::select! {
            text = texts.next() => text.map_or_else(the_end, |text| Message::Text(text.into())),
            heard = socket.next() => match heard {
                // The answer to it is made by the protocol and sent when the socket is closed.
                Some(Ok(Message::Close(_))) => {
                    let _ = timeout(pace.send, socket.close()).await;
                    return;
                }
                Some(Ok(_)) => {
                    unanswered = 0;
                    continue;
                }
                Some(Err(_)) | None => return,
            },
            _ = pings.tick() => {
                if unanswered == UNANSWERED_MAX {
                    return;
                }
                unanswered += 1;
                Message::Ping(Default::default())
            }
        };
        let last = matches!(message, Message::Close(_));
        if !matches!(timeout(pace.send, socket.send(message)).await, Ok(Ok(()))) {
            return;
        }
        if last {
            // A socket that is closed under what the client still sends takes the close away from it unread.
            let _ = timeout(pace.close, async { while let Some(Ok(_)) = socket.next().await {} }).await;
            return;
        }
    }
}

fn the_end() -> Message {
    Message::Close(Some(CloseFrame { code: close_code::AWAY, reason: "the daemon ends".into() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use futures_util::stream;
    use tokio::sync::mpsc;

    const QUICK: Pace =
        Pace { ping: Duration::from_millis(2), send: Duration::from_millis(20), close: Duration::from_millis(20) };
    const PATIENCE: Duration = Duration::from_secs(20);

    /// A client that has room for so many messages, and may answer pings.
    struct Client {
        room: usize,
        answers: bool,
        said: VecDeque<Message>,
        heard: mpsc::UnboundedSender<Message>,
    }

    impl Stream for Client {
        type Item = Result<Message, ()>;

        fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            self.said.pop_front().map_or(Poll::Pending, |said| Poll::Ready(Some(Ok(said))))
        }
    }

    impl Sink<Message> for Client {
        type Error = ();

        fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), ()>> {
            if self.room == 0 { Poll::Pending } else { Poll::Ready(Ok(())) }
        }

        fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), ()> {
            self.room -= 1;
            if self.answers && matches!(message, Message::Ping(_)) {
                self.said.push_back(Message::Pong(Default::default()));
            }
            self.heard.send(message).map_err(drop)
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), ()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), ()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// Those that a client heard until it was left alone.
    async fn heard(room: usize, answers: bool, texts: impl Stream<Item = String>) -> Vec<Message> {
        let (tell_heard, mut all) = mpsc::unbounded_channel();
        let client = Client { room, answers, said: VecDeque::new(), heard: tell_heard };
        timeout(PATIENCE, tell(client, texts, QUICK)).await.expect("it ends");
        std::iter::from_fn(|| all.try_recv().ok()).collect()
    }

    #[tokio::test]
    async fn a_client_that_makes_no_room_is_cut_off() {
        let endless = stream::repeat("x".to_owned());
        assert_eq!(heard(3, true, endless).await.len(), 3);
    }

    #[tokio::test]
    async fn a_client_that_is_gone_is_noticed() {
        let pings = heard(100, false, stream::pending()).await;
        assert_eq!(pings, vec![Message::Ping(Default::default()); 2]);
    }

    #[tokio::test]
    async fn a_client_that_answers_is_kept_until_there_is_no_more() {
        let ends = tokio::time::sleep(QUICK.ping * 10);
        let texts = stream::once(async { "a".to_owned() }).chain(stream::once(ends).filter_map(|()| async { None }));
        let mut all = heard(100, true, texts).await;
        assert_eq!(all.pop(), Some(the_end()));
        assert!(all.contains(&Message::Text("a".into())));
        assert!(all.iter().filter(|message| matches!(message, Message::Ping(_))).count() > 2, "{all:?}");
    }
}
