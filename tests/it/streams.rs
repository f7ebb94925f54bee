//! Answers and bodies that last, or are large: each piece passes at once, and nothing piles up.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use crate::support::client::{Sent, piece, reply, whole};
use crate::support::cluster::Setup;
use crate::support::engine::{Engine, answers, samples};
use crate::support::soon;

const HOSTS: [&str; 2] = ["node1", "node2"];

/// Large bodies have 64 MiB: several times what the kernel holds of one on its way.
const PIECE: usize = 256 << 10;
const PIECES: usize = 256;

#[tokio::test]
async fn followed_logs_and_events_pass_piece_by_piece_and_end_with_the_client() {
    let cluster = Setup::fixed(&HOSTS).start().await;
    for (at, host) in HOSTS.iter().enumerate() {
        let (client, engine, on) = (cluster.client(0), cluster.engine(at), [("X-Node", *host)]);
        let id = samples::id(&samples::node_id(host), "container", 0);
        let logs = client
            .open("GET", &format!("/v1.41/containers/{id}/logs?follow=1&stdout=1"), &on, whole(""))
            .await;
        assert_eq!(logs.headers()["content-type"], "application/vnd.docker.raw-stream");
        let mut logs = logs.into_body();
        let mut text = String::new();
        while !text.ends_with("three\n") {
            text += &piece(&mut logs).await;
        }
        let mut events = client.open("GET", "/v1.41/events?filters={}", &on, whole("")).await.into_body();
        for number in 0..3 {
            engine.log(&format!("line {number}\n"));
            assert!(piece(&mut logs).await.ends_with(&format!("line {number}\n")), "{host}");
            engine.event(&format!("{{\"n\":{number}}}"));
            assert_eq!(piece(&mut events).await, format!("{{\"n\":{number}}}\n"), "{host}");
        }
        assert_eq!(engine.streams(), 2);
        drop((logs, events));
        soon(&format!("the end of both on {host}"), engine.streams_become(0)).await;
    }
}

#[tokio::test]
async fn the_head_of_a_wait_arrives_before_anything_has_ended() {
    let cluster = Setup::fixed(&HOSTS).start().await;
    for (at, host) in HOSTS.iter().enumerate() {
        let id = samples::id(&samples::node_id(host), "container", 0);
        let path = format!("/v1.41/containers/{id}/wait?condition=next-exit");
        let waiting = cluster.client(0).open("POST", &path, &[("X-Node", host)], whole("")).await;
        assert_eq!(waiting.status().as_u16(), 200, "{host}");
        cluster.engine(at).exit(7);
        assert_eq!(reply(waiting).await.json()["StatusCode"], 7, "{host}");
    }
}

#[tokio::test]
async fn a_quiet_wait_outlasts_every_limit_of_an_ordinary_answer() {
    let short = Duration::from_millis(300);
    let setup = Setup::fixed(&HOSTS).config(move |_, config| {
        let limits = &mut config.limits;
        (limits.plain_get, limits.list, limits.body_read) = (short, short, short);
    });
    let cluster = setup.start().await;
    for (at, host) in HOSTS.iter().enumerate() {
        let (client, engine, on) = (cluster.client(0), cluster.engine(at), [("X-Node", *host)]);
        let container = format!("/containers/{}", samples::id(&samples::node_id(host), "container", 0));
        // An old engine's wait, which begins its answer only when it ends.
        let (started, inside) = tokio::sync::oneshot::channel();
        let (release, released) = tokio::sync::oneshot::channel();
        engine.on("/containers/old/wait", answers::hold(started, released));
        let old = client.call("POST", "/containers/old/wait", &on, "");
        let meanwhile = async {
            soon("it is inside", inside).await.unwrap();
            let waiting = client.open("POST", &format!("{container}/wait"), &on, whole("")).await;
            assert_eq!(waiting.status().as_u16(), 200, "{host}");
            // Both are quiet for longer than these have, one after the other.
            engine.on("/plugins", answers::silent());
            assert_eq!(client.get_with("/plugins", &on).await.status, 504, "{host}");
            engine.off("/plugins");
            let top = format!("{container}/top");
            let (begin, begun) = mpsc::channel(1);
            let begun = std::sync::Mutex::new(Some(begun));
            engine.on(&top, move |_| {
                let begun = begun.lock().unwrap().take().unwrap();
                std::future::ready(answers::fed(200, answers::JSON, begun, None))
            });
            begin.send(Bytes::from("{")).await.unwrap();
            let ordinary = client.open("GET", &top, &on, whole("")).await;
            assert_eq!(ordinary.status().as_u16(), 200, "{host}");
            assert!(soon("it is given up", ordinary.into_body().collect()).await.is_err(), "{host}");
            drop(begin);

            engine.exit(7);
            assert_eq!(reply(waiting).await.json()["StatusCode"], 7, "{host}");
            release.send(()).unwrap();
        };
        let (old, ()) = tokio::join!(old, meanwhile);
        assert_eq!((old.status, old.message()), (404, "No such container: old".to_owned()), "{host}");
    }
}

#[tokio::test]
async fn a_stream_that_breaks_off_does_not_end_cleanly() {
    let cluster = Setup::fixed(&HOSTS).start().await;
    for (at, host) in HOSTS.iter().enumerate() {
        cluster.engine(at).on("/images/web/get", answers::truncated("x".repeat(5000)));
        let broken = cluster.client(0).open("GET", "/images/web/get", &[("X-Node", host)], whole("")).await;
        assert_eq!(broken.status().as_u16(), 200);
        assert!(soon("its end", broken.into_body().collect()).await.is_err(), "{host}");
    }
}

/// A body whose pieces are made one by one as they are asked for, each with memory of its own; and how many were.
fn made_as_asked(mut each: impl FnMut(usize) + Send + Sync + 'static) -> (Sent, Arc<AtomicUsize>) {
    let made = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&made);
    let pieces = (0..PIECES).map(move |number| {
        each(number);
        count.fetch_add(1, Ordering::Relaxed);
        Ok(Frame::data(numbered(number)))
    });
    (BodyExt::boxed(StreamBody::new(stream::iter(pieces))), made)
}

fn numbered(number: usize) -> Bytes {
    Bytes::from(vec![u8::try_from(number).unwrap(); PIECE])
}

#[tokio::test]
async fn a_large_upload_passes_two_agents_without_piling_up() {
    let cluster = Setup::fixed(&HOSTS).start().await;
    for (at, host) in HOSTS.iter().enumerate() {
        let (read, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let reads = Arc::clone(&read);
        cluster.engine(at).on("/images/load", move |request: http::Request<answers::Recorded>| {
            let reads = Arc::clone(&reads);
            async move {
                let mut body = request.into_body();
                while let Some(Ok(frame)) = body.frame().await {
                    reads.fetch_add(frame.data_ref().map_or(0, Bytes::len), Ordering::Relaxed);
                }
                answers::empty(200)
            }
        });
        // What has left the client and not reached its engine. It tells more than this process's memory, which other
        // tests use at the same time.
        let (arrived, most_on_its_way) = (Arc::clone(&read), Arc::clone(&most));
        let (body, _) = made_as_asked(move |number| {
            let on_its_way = number * PIECE - arrived.load(Ordering::Relaxed);
            most_on_its_way.fetch_max(on_its_way, Ordering::Relaxed);
        });
        let loaded =
            cluster.client(0).open("POST", "/v1.41/images/load?quiet=1", &[("X-Node", host)], body).await;
        assert_eq!(soon("the answer", reply(loaded)).await.status, 200);
        assert_eq!(read.load(Ordering::Relaxed), PIECE * PIECES, "{host}");
        let most = most.load(Ordering::Relaxed);
        assert!((1..PIECE * PIECES / 2).contains(&most), "{host}: {most} bytes at once");
    }
}

#[tokio::test]
async fn an_upload_waits_for_an_engine_that_does_not_read() {
    let cluster = Setup::fixed(&HOSTS).start().await;
    for (at, host) in HOSTS.iter().enumerate() {
        let (started, inside) = tokio::sync::oneshot::channel();
        let (release, released) = tokio::sync::oneshot::channel();
        cluster.engine(at).on("/images/load", answers::hold(started, released));
        let (body, made) = made_as_asked(|_| {});
        let client = cluster.client(0);
        let call =
            async { reply(client.open("POST", "/images/load", &[("X-Node", host)], body).await).await };
        let held = async {
            soon("it is inside", inside).await.unwrap();
            let taken = cluster.stands_still(host, &made).await;
            assert!(taken < PIECES / 2, "{host}: {taken} pieces were taken for an engine that takes none");
            assert_eq!(cluster.engine(at).loaded(), 0);
            release.send(()).unwrap();
        };
        let (loaded, ()) = tokio::join!(call, held);
        assert_eq!((loaded.status, cluster.engine(at).loaded()), (200, (PIECE * PIECES) as u64), "{host}");
    }
}

/// Has an engine answer there with a body made as it can be sent, and counts the pieces.
fn pours(engine: &Engine, path: &str) -> Arc<AtomicUsize> {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    engine.on(path, move |_| {
        let (to, from) = mpsc::channel(1);
        let count = Arc::clone(&count);
        TaskTracker::new().spawn(async move {
            for number in 0..PIECES {
                if to.send(numbered(number)).await.is_err() {
                    return;
                }
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        std::future::ready(answers::fed(200, "application/x-tar", from, None))
    });
    sent
}

#[tokio::test]
async fn a_large_answer_waits_for_a_client_that_does_not_read_and_then_arrives_whole() {
    let cluster = Setup::fixed(&HOSTS).start().await;
    let container = |host| format!("/containers/{}", samples::id(&samples::node_id(host), "container", 0));
    let far = container(HOSTS[1]);
    for (at, path) in [
        (0, "/images/web/get".to_owned()),
        (1, "/images/web/get".to_owned()),
        (1, format!("{far}/export")),
        (1, format!("{far}/archive")),
        (1, format!("{far}/logs")),
    ] {
        let host = HOSTS[at];
        let sent = pours(cluster.engine(at), &path);
        let target = format!("{path}?path=/&stdout=1");
        let answer = cluster.client(0).open("GET", &target, &[("X-Node", host)], whole("")).await;
        assert_eq!(answer.status().as_u16(), 200, "{host}{path}");
        let taken = cluster.stands_still(host, &sent).await;
        assert!(taken < PIECES / 2, "{host}{path}: {taken} pieces were taken for nobody");
        let (mut body, mut read) = (answer.into_body(), 0);
        while let Some(frame) = soon("more of it", body.frame()).await {
            let data = frame.expect("it is whole").into_data().expect("data");
            assert_eq!(usize::from(data[0]), read / PIECE, "{host}{path} at {read}");
            read += data.len();
        }
        assert_eq!(read, PIECE * PIECES, "{host}{path}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_its_body_breaks_the_engines_request() {
    let cluster = Setup::fixed(&HOSTS).start().await;
    for (at, host) in HOSTS.iter().enumerate() {
        let (told, heard) = tokio::sync::oneshot::channel();
        let told = std::sync::Mutex::new(Some(told));
        cluster.engine(at).on("/build", move |request: http::Request<answers::Recorded>| {
            let told = told.lock().unwrap().take();
            async move {
                let ended = request.into_body().collect().await.is_ok();
                told.unwrap().send(ended).unwrap();
                answers::empty(200)
            }
        });
        let mut wire = cluster.client(0).wire().await;
        wire.ask(&format!("POST /build HTTP/1.1\nHost: a\nX-Node: {host}\nContent-Length: 100"), "half")
            .await;
        soon("it is there", cluster.engine(at).saw("/build")).await;
        drop(wire);
        assert!(!soon("the end of the body", heard).await.unwrap(), "{host}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_during_a_list_leaves_nothing_behind() {
    let cluster = Setup::fixed(&HOSTS).start().await;
    let (started, inside) = tokio::sync::oneshot::channel();
    let (release, released) = tokio::sync::oneshot::channel();
    cluster.engine(1).on("/containers/json", answers::hold(started, released));
    let mut wire = cluster.client(0).wire().await;
    wire.ask("GET /containers/json HTTP/1.1\nHost: a", "").await;
    soon("it is inside", inside).await.unwrap();
    drop(wire);
    // Whoever waits for the release is dropped with the connection of its request.
    let mut release = release;
    soon("the engine's request ends", release.closed()).await;
    assert_eq!(cluster.client(0).get("/containers/json").await.header("x-node-answered"), "2/2");
}
