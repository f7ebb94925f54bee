//! How connections end from our side: draining, and credentials that are taken back.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::support::{hello, patient, public};
use crate::body::Body;
use crate::client::Client;
use crate::shutdown::{Ended, Shutdown};

const UPGRADE: &str = "POST /attach HTTP/1.1\r\nHost: here\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";

#[tokio::test]
async fn draining_refuses_newcomers_closes_the_idle_and_finishes_what_runs() {
    let (entered, mut inside) = mpsc::channel(1);
    let gate = Arc::new(tokio::sync::Notify::new());
    let held = Arc::clone(&gate);
    let listener = public(patient(), move |request: Request<Body>, client| {
        let (entered, held) = (entered.clone(), Arc::clone(&held));
        async move {
            if request.uri().path() == "/slow" {
                entered.send(()).await.unwrap();
                held.notified().await;
            }
            hello(request, client).await
        }
    });
    let mut idle = listener.connect().await;
    idle.get().await.unwrap();
    let mut fresh = listener.connect().await;
    let mut before_handshake = listener.tcp().await;
    let mut busy = listener.connect().await;
    busy.send("GET /slow HTTP/1.1\r\nHost: here\r\n\r\n").await;
    inside.recv().await.unwrap();

    listener.shutdown.drain();
    listener.returned.await.unwrap();
    idle.closed().await;
    fresh.closed().await;
    super::support::until_closed(&mut before_handshake).await;
    assert!(TcpStream::connect(listener.at).await.is_err());

    gate.notify_one();
    let answer = busy.head_and("hello").await.unwrap();
    assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
    busy.closed().await;
    assert_eq!(listener.shutdown.finish(Duration::from_secs(60)).await, Ended::Clean);
}

/// Echoes bytes after a 101, in a task of its own.
fn echo(request: Request<Body>, tasks: &Shutdown, ended: mpsc::Sender<std::io::Error>) -> Response<Body> {
    tasks.spawn(async move {
        let upgraded = hyper::upgrade::on(request).await.unwrap();
        let mut stream = TokioIo::new(upgraded);
        let mut bytes = [0; 64];
        let error = loop {
            match stream.read(&mut bytes).await {
                Ok(n) => stream.write_all(&bytes[..n]).await.unwrap(),
                Err(error) => break error,
            }
        };
        ended.send(error).await.ok();
    });
    let builder = Response::builder().status(101).header("Connection", "Upgrade").header("Upgrade", "tcp");
    builder.body(Body::Empty).unwrap()
}

#[tokio::test]
async fn what_is_revoked_ends_at_once_idle_running_and_upgraded() {
    let credential = CancellationToken::new();
    let leash = credential.clone();
    let (entered, mut inside) = mpsc::channel(1);
    let (ended, mut end) = mpsc::channel(1);
    let tasks = Shutdown::new();
    let listener = public(patient(), move |request: Request<Body>, client: Arc<Client>| {
        if request.uri().path() != "/stranger" {
            client.authenticated(&leash);
        }
        let (entered, ended, tasks) = (entered.clone(), ended.clone(), tasks.clone());
        async move {
            match request.uri().path() {
                "/attach" => echo(request, &tasks, ended),
                "/slow" => {
                    entered.send(()).await.unwrap();
                    std::future::pending().await
                }
                _ => hello(request, client).await,
            }
        }
    });
    let mut idle = listener.connect().await;
    idle.get().await.unwrap();
    let mut busy = listener.connect().await;
    busy.send("GET /slow HTTP/1.1\r\nHost: here\r\n\r\n").await;
    inside.recv().await.unwrap();
    let mut stream = listener.connect().await;
    stream.send(UPGRADE).await;
    stream.head_and("\r\n\r\n").await.unwrap();
    stream.send("still here").await;
    stream.head_and("still here").await.unwrap();
    let mut stranger = listener.connect().await;
    stranger.send("GET /stranger HTTP/1.1\r\nHost: here\r\n\r\n").await;
    stranger.head_and("hello").await.unwrap();

    credential.cancel();
    idle.closed().await;
    busy.closed().await;
    stream.closed().await;
    assert_eq!(end.recv().await.unwrap().kind(), std::io::ErrorKind::PermissionDenied);
    stranger.send("GET /stranger HTTP/1.1\r\nHost: here\r\n\r\n").await;
    stranger.head_and("hello").await.unwrap();
}

#[tokio::test]
async fn bytes_that_came_with_the_head_are_the_streams_first() {
    let (ended, mut end) = mpsc::channel(1);
    let tasks = Shutdown::new();
    let listener = public(patient(), move |request, _| {
        let answer = echo(request, &tasks, ended.clone());
        async move { answer }
    });
    let mut talk = listener.connect().await;
    talk.send(&format!("{UPGRADE}early")).await;
    talk.head_and("\r\n\r\nearly").await.unwrap();
    // Gone without a word: cut short, not ended.
    let (tcp, _) = talk.tls.into_inner();
    drop(tcp);
    assert_eq!(end.recv().await.unwrap().kind(), std::io::ErrorKind::UnexpectedEof);
}
