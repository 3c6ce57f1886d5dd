//! Events on a WebSocket, as a real client has them: the same messages as the stream of server-sent events, and the same refusals.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async};
use weir::model::status::EventType;

use super::served::{self, PATIENCE, World};

type Socket = WebSocketStream<UnixStream>;

/// More than is ever missing when what should come has come.
const NOTHING_MORE: Duration = Duration::from_millis(50);

fn open(world: &World, query: &str, id: Option<&str>) -> Result<Socket, tungstenite::Error> {
    let mut request = format!("ws://weir/v1/events{query}").into_client_request()?;
    if let Some(id) = id {
        request.headers_mut().insert("last-event-id", id.parse().unwrap());
    }
    world.block_on(async {
        let stream = UnixStream::connect(world.state.join("weir.sock")).await.unwrap();
        Ok(client_async(request, stream).await?.0)
    })
}

/// The next frame that is none of the protocol's own.
fn frame(world: &World, socket: &mut Socket) -> Value {
    world.block_on(async {
        loop {
            let next = timeout(PATIENCE, socket.next()).await.expect("a frame in time").expect("it is open").unwrap();
            if let Message::Text(text) = next {
                return serde_json::from_str(&text).unwrap();
            }
        }
    })
}

fn reasons(world: &World, socket: &mut Socket, wanted: usize) -> Vec<String> {
    (0..wanted).map(|_| frame(world, socket)["data"]["reason"].as_str().unwrap().to_owned()).collect()
}

fn refused(opened: Result<Socket, tungstenite::Error>) -> (u16, Value) {
    let Err(tungstenite::Error::Http(response)) = opened else { panic!("it was opened, or broke") };
    let body = response.body().clone().unwrap_or_default();
    (response.status().as_u16(), serde_json::from_slice(&body).unwrap_or(Value::Null))
}

#[test]
fn a_socket_tells_what_the_stream_tells() {
    let world = World::furnished();
    let mut all = open(&world, "?lastEventId=0", None).unwrap();
    let first = frame(&world, &mut all);
    assert_eq!(first["data"]["kind"], "Event");
    assert_eq!(first["data"]["reason"], "Scaled");
    let id = first["id"].as_str().unwrap();
    assert!(id.ends_with("-e1"), "{id}");
    assert_eq!(reasons(&world, &mut all, 1), ["BackOff"]);

    let mut warnings = open(&world, "?lastEventId=0&fieldSelector=type%3DWarning", None).unwrap();
    assert_eq!(reasons(&world, &mut warnings, 1), ["BackOff"]);
    let mut resumed = open(&world, "", Some(id)).unwrap();
    assert_eq!(reasons(&world, &mut resumed, 1), ["BackOff"]);
    let mut named = open(&world, &format!("?lastEventId={id}"), None).unwrap();
    assert_eq!(reasons(&world, &mut named, 1), ["BackOff"]);
    let mut fresh = open(&world, "", None).unwrap();

    world.board.put(served::event("e3", "pool/web", EventType::Warning, ("Stuck", "it is stuck"), 0));
    world.board.put(served::event("e4", "pool/web", EventType::Normal, ("Ready", "it is ready"), 0));
    for socket in [&mut all, &mut resumed, &mut named, &mut fresh] {
        assert_eq!(reasons(&world, socket, 2), ["Stuck", "Ready"]);
    }
    assert_eq!(reasons(&world, &mut warnings, 1), ["Stuck"]);
    let more = world.block_on(async { timeout(NOTHING_MORE, warnings.next()).await });
    assert!(!matches!(more, Ok(Some(Ok(Message::Text(_))))), "{more:?}");

    let mut gap = open(&world, "?lastEventId=3-4-gone", None).unwrap();
    let told = frame(&world, &mut gap);
    assert_eq!((&told["event"], told.get("id")), (&Value::from("gap"), None));
}

#[test]
fn what_the_stream_refuses_the_socket_refuses() {
    let world = World::furnished();
    for query in ["?lastEventId=x", "?fieldSelector=note%3Dx"] {
        let (code, status) = refused(open(&world, query, None));
        assert_eq!((code, &status["kind"]), (400, &Value::from("Status")), "{query}");
    }
    // A handshake that is none gets words, not a stream that its client cannot read.
    let (code, said) = world.request("GET /v1/events HTTP/1.1\r\nupgrade: websocket\r\nx:", b"");
    assert!(code == 400 && said.contains("Status"), "{code} {said}");
    let (code, _) = world.request("GET /v1/events HTTP/1.1\r\nconnection: upgrade\r\nupgrade: other\r\nx:", b"");
    assert_eq!(code, 400);
}

#[test]
fn pings_are_answered_a_close_is_too_and_the_place_is_free_again() {
    let world = World::furnished();
    let mut held: Vec<Socket> = (0..128).map(|_| open(&world, "", None).unwrap()).collect();
    assert_eq!(refused(open(&world, "", None)).0, 429);
    let mut socket = held.pop().unwrap();
    world.block_on(async {
        socket.send(Message::text("nobody listens")).await.unwrap();
        socket.send(Message::Ping("here".into())).await.unwrap();
        let answered = async { while socket.next().await.unwrap().unwrap() != Message::Pong("here".into()) {} };
        timeout(PATIENCE, answered).await.expect("a pong");
        socket.close(None).await.unwrap();
        let closed = async { while !matches!(socket.next().await, None | Some(Err(_))) {} };
        timeout(PATIENCE, closed).await.expect("a close");
    });
    served::until("the place is free", || open(&world, "", None).is_ok());
    // So is that of a client that says too much.
    let mut loud = held.pop().unwrap();
    let cut = world.block_on(async {
        let _ = loud.send(Message::text("x".repeat(1024 * 1024))).await;
        timeout(PATIENCE, async { while let Some(Ok(_)) = loud.next().await {} }).await
    });
    assert!(cut.is_ok());
}

#[test]
fn the_end_of_the_daemon_closes_the_socket() {
    let mut world = World::furnished();
    let mut socket = open(&world, "", None).unwrap();
    assert!(world.end());
    let close = world.block_on(async {
        loop {
            match timeout(PATIENCE, socket.next()).await.expect("in time") {
                Some(Ok(Message::Close(frame))) => return frame,
                Some(Ok(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    });
    assert_eq!(u16::from(close.unwrap().code), 1001);
}
