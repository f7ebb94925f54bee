//! Every deadline, shrunk, and awaited as the connection's end. What must outlast one is started before a
//! connection that must not, and looked at when that one is gone.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::support::{hello, patient, public, until_closed};
use crate::body::{Body, BoxError};
use crate::client::Client;
use crate::config::Limits;

const SHORT: Duration = Duration::from_millis(100);

#[tokio::test]
async fn who_never_shakes_hands_is_closed() {
    let listener = public(Limits { handshake: SHORT, ..patient() }, hello);
    let mut silent = listener.tcp().await;
    assert_eq!(until_closed(&mut silent).await, b"");
    let mut halfway = listener.tcp().await;
    halfway.write_all(&[0x16, 3, 1]).await.unwrap();
    assert_eq!(until_closed(&mut halfway).await, b"");
}

#[tokio::test]
async fn a_head_that_trickles_is_cut_although_bytes_keep_coming() {
    let listener = public(Limits { head: SHORT, ..patient() }, hello);
    let mut loris = listener.connect().await;
    loris.send("GET / HTTP/1.1\r\nX: ").await;
    let mut trickle = tokio::time::interval(Duration::from_millis(10));
    let closed = loop {
        tokio::select! {
            read = loris.tls.read_u8() => break read.is_err(),
            _ = trickle.tick() => { loris.tls.write_all(b"x").await.ok(); }
        }
    };
    assert!(closed);
}

#[tokio::test]
async fn between_requests_a_connection_may_idle_longer_than_a_head_may_take() {
    let idle = Duration::from_millis(600);
    let listener = public(Limits { head: SHORT, idle, ..patient() }, hello);
    let mut client = listener.connect().await;
    client.get().await.unwrap();
    client.get().await.unwrap();
    let since = Instant::now();
    client.closed().await;
    assert!(since.elapsed() >= Duration::from_millis(500), "{:?}", since.elapsed());
}

#[tokio::test]
async fn a_body_that_stalls_fails_in_the_handlers_hands() {
    let listener = public(Limits { body_read: SHORT, ..patient() }, collect);
    let mut client = listener.connect().await;
    client.send("POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 10\r\n\r\n12345").await;
    let answer = client.head_and("\r\n\r\n").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    client.closed().await;
}

#[tokio::test]
async fn a_slow_body_that_keeps_coming_is_no_stall() {
    let listener = public(Limits { body_read: Duration::from_millis(500), ..patient() }, collect);
    let mut client = listener.connect().await;
    client.send("POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 40\r\n\r\n").await;
    let began = Instant::now();
    let mut trickle = tokio::time::interval(Duration::from_millis(20));
    for _ in 0..40 {
        trickle.tick().await;
        client.send("x").await;
    }
    assert!(began.elapsed() > Duration::from_millis(700));
    client.head_and("200 OK").await.unwrap();
}

#[tokio::test]
async fn a_whole_body_whose_answer_takes_its_time_is_no_stall() {
    let (entered, mut inside) = mpsc::channel(2);
    let gate = Arc::new(tokio::sync::Notify::new());
    let held = Arc::clone(&gate);
    let listener = public(Limits { body_read: SHORT, ..patient() }, move |request: Request<Body>, client| {
        let (entered, held) = (entered.clone(), Arc::clone(&held));
        async move {
            if request.uri().path() == "/stall" {
                return collect(request, client).await;
            }
            request.into_body().collect().await.unwrap();
            entered.send(()).await.unwrap();
            held.notified().await;
            Response::new(Body::Full("hello".into()))
        }
    });
    let mut waiting = listener.connect().await;
    waiting.send("POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 5\r\n\r\n12345").await;
    inside.recv().await.unwrap();
    let mut stalled = listener.connect().await;
    stalled.send("POST /stall HTTP/1.1\r\nHost: here\r\nContent-Length: 5\r\n\r\n").await;
    stalled.head_and("408").await.unwrap();
    gate.notify_one();
    waiting.head_and("hello").await.unwrap();
}

#[tokio::test]
async fn an_unhurried_body_may_pause_for_longer() {
    let listener = public(Limits { body_read: SHORT, ..patient() }, |request: Request<Body>, client| {
        client.set_unhurried(request.uri().path() == "/unhurried");
        collect(request, client)
    });
    let mut unhurried = listener.connect().await;
    unhurried.send("POST /unhurried HTTP/1.1\r\nHost: here\r\nContent-Length: 5\r\n\r\n").await;
    let mut hurried = listener.connect().await;
    hurried.send("POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 5\r\n\r\n").await;
    hurried.head_and("408").await.unwrap();
    unhurried.send("12345").await;
    unhurried.head_and("12345").await.unwrap();
}

#[tokio::test]
async fn who_does_not_read_an_ordinary_answer_is_dropped_and_who_pauses_in_a_long_one_is_not() {
    let (dropped, mut drops) = mpsc::unbounded_channel();
    let listener = public(
        Limits { body_write: SHORT, ..patient() },
        move |request: Request<Body>, client: Arc<Client>| {
            let path = request.uri().path().to_owned();
            client.set_unhurried(path == "/unhurried");
            let dropped = dropped.clone();
            async move { Response::new(Body::boxed(Endless { path, dropped })) }
        },
    );
    let mut unhurried = listener.connect().await;
    unhurried.send("GET /unhurried HTTP/1.1\r\nHost: here\r\n\r\n").await;
    unhurried.head_and("\r\n\r\n").await.unwrap();
    let mut hurried = listener.connect().await;
    hurried.send("GET /hurried HTTP/1.1\r\nHost: here\r\n\r\n").await;
    assert_eq!(drops.recv().await.unwrap(), "/hurried");
    let mut much = vec![0; 1 << 20];
    for _ in 0..32 {
        unhurried.tls.read_exact(&mut much).await.unwrap();
    }
    drop(unhurried);
    assert_eq!(drops.recv().await.unwrap(), "/unhurried");
}

/// Gives the body back, or 408.
async fn collect(request: Request<Body>, _: Arc<Client>) -> Response<Body> {
    match request.into_body().collect().await {
        Ok(body) => Response::new(body.to_bytes().into()),
        Err(error) => {
            let cause = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
            assert_eq!(cause, Some(std::io::ErrorKind::TimedOut));
            Response::builder().status(408).body(Body::Empty).unwrap()
        }
    }
}

/// A body without an end, which says when nobody wants it any more.
struct Endless {
    path: String,
    dropped: mpsc::UnboundedSender<String>,
}

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        static CHUNK: [u8; 16 << 10] = [b'x'; 16 << 10];
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&CHUNK)))))
    }
}

impl Drop for Endless {
    fn drop(&mut self) {
        self.dropped.send(std::mem::take(&mut self.path)).ok();
    }
}
