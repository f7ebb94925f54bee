//! The end of an agent, and what it wrote down on the way.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::BodyExt;
use swarmgate::model::{Absence, Member, Reach};
use swarmgate::shutdown::Ended;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::support::client::{piece, whole};
use crate::support::cluster::{CLUSTER_SECRET, Node, SECRET, Setup};
use crate::support::engine::{Engine, answers};
use crate::support::{engine, soon};

#[tokio::test]
async fn a_drain_lets_a_short_request_finish_and_refuses_new_connections() {
    // Who is asked drains, for an answer of its own engine and of a peer's; then the peer drains.
    for (drains, host) in [(0, "node1"), (0, "node2"), (1, "node2")] {
        let mut cluster = Setup::fixed(&["node1", "node2"]).start().await;
        let (started_tx, started) = oneshot::channel();
        let (release, released) = oneshot::channel();
        let engine = if host == "node1" { 0 } else { 1 };
        cluster.engine(engine).on("/containers/json", answers::hold(started_tx, released));
        let client = cluster.client(0);
        let closing = [cluster.client(drains).at, cluster.nodes[drains].peer_at()];
        let shutdown = cluster.nodes[drains].shutdown().clone();
        let named = [("X-Node", host)];
        let call = client.get_with("/containers/json", &named);
        let held = async {
            soon("it is inside", started).await.unwrap();
            shutdown.drain();
            for address in closing {
                soon("the port closes", async {
                    while TcpStream::connect(address).await.is_ok() {
                        tokio::task::yield_now().await;
                    }
                })
                .await;
            }
            release.send(()).unwrap();
        };
        let (list, ()) = tokio::join!(call, held);
        assert_eq!((list.status, list.header("x-node")), (200, host), "{drains} drains: {}", list.text());
        assert_eq!(list.json().as_array().unwrap().len(), 3, "{drains} drains");
        let ended = soon("the end", cluster.nodes[drains].finish(Duration::from_secs(15))).await;
        assert_eq!(ended, Ended::Clean, "{drains} drains for {host}");
    }
}

/// A peer's port is closed while it drains: that says nothing about what it still does.
#[tokio::test]
async fn a_peer_that_drains_is_waited_for_however_long_it_is_silent() {
    for (method, path, status) in
        [("GET", "/containers/json", 200), ("POST", "/containers/web/stop?t=9", 404)]
    {
        let setup = Setup::fixed(&["node1", "node2"]).config(|_, config| {
            // It is doubted at once, again and again.
            config.limits.silence = Duration::from_millis(1);
            config.limits.probe_answering = Duration::from_millis(10);
        });
        let cluster = setup.start().await;
        let (started_tx, started) = oneshot::channel();
        let (release, released) = oneshot::channel();
        cluster.engine(1).on(path.split('?').next().unwrap(), answers::hold(started_tx, released));
        let client = cluster.client(0);
        let named = [("X-Node", "node2")];
        let call = client.call(method, path, &named, "");
        let held = async {
            soon("it is inside", started).await.unwrap();
            cluster.nodes[1].shutdown().drain();
            let refused = |m: &Member| m.reach == Reach::Missing(Absence::Refused);
            cluster.nodes[0].thinks("node2", "refuses", refused).await;
            for _ in 0..20 {
                assert_eq!(client.get("/containers/json").await.header("x-node-errors"), "node2=refused");
            }
            release.send(()).unwrap();
        };
        let (answer, ()) = tokio::join!(call, held);
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
    }
}

#[tokio::test]
async fn an_idle_agent_with_kept_connections_ends_at_once() {
    let mut cluster = Setup::fixed(&["node1", "node2"]).start().await;
    let mut idle = cluster.client(0).wire().await;
    idle.ask("GET /_ping HTTP/1.1\nHost: a", "").await;
    idle.through("\r\n\r\nOK").await;
    for node in &mut cluster.nodes {
        assert_eq!(soon("the end", node.finish(Duration::from_secs(15))).await, Ended::Clean);
    }
    assert_eq!(idle.rest().await, "");
}

#[tokio::test]
async fn a_stream_is_cut_at_the_deadline_and_not_ended_cleanly() {
    let mut cluster = Setup::fixed(&["node1", "node2"]).start().await;
    let mut streams = Vec::new();
    for (at, host) in ["node1", "node2"].into_iter().enumerate() {
        let mut events =
            cluster.client(0).open("GET", "/events", &[("X-Node", host)], whole("")).await.into_body();
        cluster.engine(at).event("{}");
        assert_eq!(piece(&mut events).await, "{}\n");
        streams.push(events);
    }
    let ended = soon("the end", cluster.nodes[0].finish(Duration::from_millis(200))).await;
    assert!(matches!(ended, Ended::Forced { left } if left >= 2), "{ended:?}");
    for events in streams {
        assert!(soon("the end of the stream", events.collect()).await.is_err());
    }
    for at in 0..2 {
        soon("the engine's stream ends", cluster.engine(at).streams_become(0)).await;
    }
}

/// What was logged until it was taken away.
#[derive(Clone)]
struct Buffer(Arc<Mutex<Option<Vec<u8>>>>);

impl io::Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(log) = &mut *self.0.lock().unwrap() {
            log.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_log_line_has_a_signature_a_credential_or_a_secret() {
    let log = Buffer(Arc::new(Mutex::new(Some(Vec::new()))));
    let written = log.clone();
    // For the whole process: what other tests log meanwhile is held to the same.
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || written.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let cluster = Setup::fixed(&["node1", "node2"]).start().await;
    let client = cluster.client(0);
    let [(_, key), (name, signature)] = cluster.signer.headers();
    let headers = [
        ("X-Node", "node2"),
        ("Authorization", "Bearer of-portainer"),
        ("Cookie", "portainer_api_key=of-portainer"),
        ("X-Registry-Auth", "of-a-registry"),
    ];
    assert_eq!(client.get_with("/version?said=this", &headers).await.status, 200);
    assert_eq!(client.get("/containers/json").await.status, 200);
    cluster.engine(1).on("/containers/json", answers::garbage());
    assert_eq!(client.get("/containers/json").await.header("x-node-errors"), "node2=malformed");
    // As presented, valid and not.
    let presented = [("X-PortainerAgent-PublicKey", key.as_str()), (name, signature.as_str())];
    assert_eq!(client.stranger().get_with("/version", &presented).await.status, 200);
    let wrong = [("X-PortainerAgent-PublicKey", key.as_str()), (name, "junk-signature")];
    assert_eq!(client.stranger().get_with("/version", &wrong).await.status, 403);
    assert_eq!(client.get_with("/version", &[("X-Node", "*")]).await.status, 400);
    let id = engine::samples::id(&engine::samples::node_id("node1"), "container", 0);
    assert_eq!(client.get(&format!("/containers/{id}/json")).await.status, 200);

    let text = String::from_utf8(log.0.lock().unwrap().take().unwrap()).unwrap();
    let lines = text.lines().filter(|line| line.contains("request") && line.contains("micros="));
    assert!(lines.count() >= 8, "a line for each request");
    assert!(text.contains("serving") && text.contains("/containers/json"));
    for never in
        [signature.as_str(), "junk-signature", "of-portainer", "of-a-registry", SECRET, CLUSTER_SECRET]
    {
        let line = text.lines().find(|line| line.contains(never));
        assert!(line.is_none(), "{never}: {line:?}");
    }
}

/// Begins to drain, and takes no new connections of peers any more.
async fn drains(node: &Node) {
    node.shutdown().drain();
    let closes = async {
        while TcpStream::connect(node.peer_at()).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    soon("the port for peers closes", closes).await;
}

/// Holds the first request for this path; what comes out tells that it is inside, and lets it go on.
fn held(engine: &Engine, path: &str) -> (oneshot::Receiver<()>, oneshot::Sender<()>) {
    let (started, inside) = oneshot::channel();
    let (release, released) = oneshot::channel();
    engine.on(path, answers::hold(started, released));
    (inside, release)
}

#[tokio::test]
async fn a_write_that_was_given_up_is_not_sent_to_another_manager_and_a_read_is() {
    let setup = Setup::swarm(&["node1", "node2", "node3"], 2).config(|_, config| {
        config.limits.silence = Duration::from_millis(10);
        config.limits.drain = Duration::ZERO;
    });
    let cluster = setup.start().await;
    let (write_inside, _held_write) = held(cluster.engine(0), "/services/create");
    let (read_inside, _held_read) = held(cluster.engine(0), "/services");
    let client = cluster.client(2);
    let ends = async {
        for inside in [write_inside, read_inside] {
            soon("it is inside", inside).await.unwrap();
        }
        drains(&cluster.nodes[0]).await;
    };
    let write = client.call("POST", "/services/create", &[], r#"{"Name":"shop"}"#);
    let (write, read, ()) = tokio::join!(write, client.get("/services"), ends);
    assert_eq!((write.status, cluster.asked("/services/create")), (502, vec!["node1"]), "{}", write.text());
    // Which way the probe failed depends on how far the port was closed; that it was one is the point.
    assert!(write.message().contains("silent, and so it is to a probe"), "{}", write.message());
    assert_eq!((read.status, read.header("x-node")), (200, "node2"), "{}", read.text());
}

#[tokio::test]
async fn what_a_draining_peer_has_begun_it_ends() {
    let setup = Setup::fixed(&["node1", "node2"])
        .config(|_, config| config.limits.silence = Duration::from_millis(1));
    let cluster = setup.start().await;
    let id = engine::samples::id(&engine::samples::node_id("node2"), "container", 0);
    let stop = format!("/containers/{id}/stop");
    let (stop_inside, release_stop) = held(cluster.engine(1), &stop);
    let (part_inside, release_part) = held(cluster.engine(1), "/containers/json");
    let client = cluster.client(0);
    let ends = async {
        for inside in [stop_inside, part_inside] {
            soon("it is inside", inside).await.unwrap();
        }
        drains(&cluster.nodes[1]).await;
        let refused = |m: &Member| m.reach == Reach::Missing(Absence::Refused);
        cluster.nodes[0].thinks("node2", "takes nothing new", refused).await;
        // Through many refused probes; what is new is not held up by what is not finished.
        for _ in 0..20 {
            assert_eq!(client.get("/containers/json").await.header("x-node-errors"), "node2=refused");
        }
        for release in [release_stop, release_part] {
            release.send(()).expect("it is still inside");
        }
    };
    let stop = client.call("POST", &stop, &[("X-Node", "node2")], "");
    let (stop, list, ()) = tokio::join!(stop, client.get("/containers/json"), ends);
    assert_eq!((stop.status, stop.header("x-node")), (204, "node2"), "{}", stop.text());
    assert_eq!((list.status, list.header("x-node-answered"), list.header("x-node-errors")), (200, "2/2", ""));
}
