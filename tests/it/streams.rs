//! Answers and bodies that last, or are large: each piece passes at once, and nothing piles up.

use bytes::Bytes;
use futures_util::stream;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};

use crate::support::client::{piece, reply, whole};
use crate::support::cluster::Setup;
use crate::support::engine::{answers, samples};
use crate::support::soon;

const HOSTS: [&str; 2] = ["node1", "node2"];

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
async fn a_stream_that_breaks_off_does_not_end_cleanly() {
    let cluster = Setup::fixed(&HOSTS).start().await;
    for (at, host) in HOSTS.iter().enumerate() {
        cluster.engine(at).on("/images/web/get", answers::truncated("x".repeat(5000)));
        let broken = cluster.client(0).open("GET", "/images/web/get", &[("X-Node", host)], whole("")).await;
        assert_eq!(broken.status().as_u16(), 200);
        assert!(soon("its end", broken.into_body().collect()).await.is_err(), "{host}");
    }
}

/// Resident memory of this process, all its tests together.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

#[tokio::test]
async fn a_large_upload_passes_two_agents_without_piling_up() {
    const PIECE: usize = 256 << 10;
    const PIECES: usize = 512;
    let cluster = Setup::fixed(&HOSTS).start().await;
    for (at, host) in HOSTS.iter().enumerate() {
        let (before, bytes) = (resident(), Bytes::from(vec![7; PIECE]));
        let mut most = before;
        let pieces = (0..PIECES).map(move |number| {
            if number % 16 == 0 {
                most = most.max(resident());
                assert!(most - before < (PIECE * PIECES) as u64 * 3 / 4, "{most} bytes from {before}");
            }
            Ok(Frame::data(bytes.clone()))
        });
        let body = BodyExt::boxed(StreamBody::new(stream::iter(pieces.collect::<Vec<_>>())));
        let loaded =
            cluster.client(0).open("POST", "/v1.41/images/load?quiet=1", &[("X-Node", host)], body).await;
        assert_eq!(soon("the answer", reply(loaded)).await.status, 200);
        assert_eq!(cluster.engine(at).loaded(), (PIECE * PIECES) as u64, "{host}");
    }
}

#[tokio::test]
async fn an_upload_waits_for_an_engine_that_does_not_read() {
    let cluster = Setup::fixed(&HOSTS).start().await;
    for (at, host) in HOSTS.iter().enumerate() {
        let (started, inside) = tokio::sync::oneshot::channel();
        let (release, released) = tokio::sync::oneshot::channel();
        cluster.engine(at).on("/images/load", answers::hold(started, released));
        let pieces = (0..64).map(|_| Ok(Frame::data(Bytes::from(vec![7; 256 << 10]))));
        let body = BodyExt::boxed(StreamBody::new(stream::iter(pieces)));
        let client = cluster.client(0);
        let call =
            async { reply(client.open("POST", "/images/load", &[("X-Node", host)], body).await).await };
        let held = async {
            inside.await.unwrap();
            assert_eq!(cluster.engine(at).loaded(), 0);
            release.send(()).unwrap();
        };
        let (loaded, ()) = tokio::join!(call, held);
        assert_eq!((loaded.status, cluster.engine(at).loaded()), (200, 16 << 20), "{host}");
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
