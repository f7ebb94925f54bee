//! Connections that stop speaking HTTP: attach, exec, sessions, websockets, through one agent and through two.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use crate::support::client::Wire;
use crate::support::cluster::{Cluster, Setup};
use crate::support::engine::{answers, samples};
use crate::support::soon;

const HOSTS: [&str; 2] = ["node1", "node2"];

async fn two() -> Cluster {
    Setup::fixed(&HOSTS).start().await
}

fn attach(host: &str) -> String {
    let id = samples::id(&samples::node_id(host), "container", 0);
    format!(
        "POST /v1.41/containers/{id}/attach?stream=1&stdin=1&stdout=1 HTTP/1.1\nHost: a\nX-Node: {host}\n\
         Connection: Upgrade\nUpgrade: tcp\nContent-Length: 0"
    )
}

async fn attached(cluster: &Cluster, host: &str) -> Wire {
    let mut wire = cluster.client(0).wire().await;
    wire.ask(&attach(host), "").await;
    let head = wire.head().await;
    assert!(head.starts_with("HTTP/1.1 101"), "{host}: {head}");
    let lower = head.to_ascii_lowercase();
    assert!(lower.contains("upgrade: tcp\r\n") && lower.contains("connection: upgrade\r\n"), "{head}");
    assert!(
        lower.contains("portainer-agent: 2.23.0\r\n") && lower.contains(&format!("x-node: {host}\r\n")),
        "{head}"
    );
    // What the engine said in one piece with its head is not lost.
    assert_eq!(wire.through("\n").await, format!("attached on {host}\n"));
    wire
}

#[tokio::test]
async fn attach_echoes_and_after_a_half_close_the_rest_still_comes() {
    let cluster = two().await;
    for (at, host) in HOSTS.iter().enumerate() {
        let mut wire = attached(&cluster, host).await;
        for line in ["ls\n", "\0\u{1}\u{fffd}\n", "exit\n"] {
            wire.write(line.as_bytes()).await;
            assert_eq!(wire.through("\n").await, line, "{host}");
        }
        wire.half_close().await;
        assert_eq!(wire.rest().await, "bye\n", "{host}");
        soon("its end", cluster.engine(at).streams_become(0)).await;
    }
}

#[tokio::test]
async fn what_a_client_sends_early_is_kept() {
    let cluster = two().await;
    for host in HOSTS {
        let mut wire = cluster.client(0).wire().await;
        wire.ask(&attach(host), "early\nbirds\n").await;
        assert!(wire.head().await.starts_with("HTTP/1.1 101"), "{host}");
        wire.half_close().await;
        assert_eq!(wire.rest().await, format!("attached on {host}\nearly\nbirds\nbye\n"));
    }
}

/// An engine by hand: the connections on which it was asked to attach, the head read. It answers pings, and nothing
/// else.
fn by_hand(socket: &std::path::Path) -> mpsc::UnboundedReceiver<(String, UnixStream)> {
    let listener = UnixListener::bind(socket).unwrap();
    let (attached, attaching) = mpsc::unbounded_channel();
    TaskTracker::new().spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let attached = attached.clone();
            TaskTracker::new().spawn(async move {
                loop {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        let Ok(byte) = stream.read_u8().await else { return };
                        head.push(byte);
                    }
                    let head = String::from_utf8(head).unwrap();
                    if head.contains("/attach?") {
                        let _ = attached.send((head, stream));
                        return;
                    }
                    let pong = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK";
                    if !head.contains("/_ping ") || stream.write_all(pong).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    attaching
}

#[tokio::test]
async fn what_a_client_sends_early_reaches_an_engine_only_after_it_agreed() {
    let mut cluster = two().await;
    for (at, host) in HOSTS.iter().enumerate() {
        cluster.nodes[at].stop_engine().await;
        let mut attaching = by_hand(&cluster.nodes[at].socket);
        let mut wire = cluster.client(0).wire().await;
        wire.ask(&attach(host), "early\nbirds\n").await;
        let (head, mut engine) = soon("the head", attaching.recv()).await.unwrap();
        assert!(head.to_lowercase().contains("\r\nupgrade: tcp\r\n"), "{head}");
        // Whatever were on its way would be there before twenty other requests took the same way.
        for _ in 0..20 {
            assert_eq!(cluster.client(0).get_with("/_ping", &[("X-Node", host)]).await.status, 200, "{host}");
        }
        let mut early = [0; 64];
        let nothing = engine.try_read(&mut early).unwrap_err();
        assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock, "{host}");
        engine
            .write_all(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
            .await
            .unwrap();
        assert!(wire.head().await.starts_with("HTTP/1.1 101"), "{host}");
        let read = soon("the early bytes", engine.read_exact(&mut early[..12])).await.unwrap();
        assert_eq!(&early[..read], b"early\nbirds\n", "{host}");
    }
}

#[tokio::test]
async fn megabytes_pass_both_ways_unchanged() {
    let cluster = two().await;
    for host in HOSTS {
        let mut wire = attached(&cluster, host).await;
        let sent: Vec<u8> = (0..4_u32 << 20).map(|n| (n % 251) as u8).collect();
        let (mut reading, mut writing) = tokio::io::split(&mut wire.stream);
        let mut heard = vec![0; sent.len()];
        let both = async {
            let (read, written) = tokio::join!(reading.read_exact(&mut heard), writing.write_all(&sent),);
            (read.unwrap(), written.unwrap())
        };
        soon("the echo", both).await;
        assert!(heard == sent, "{host}");
    }
}

#[tokio::test]
async fn a_client_that_is_gone_entirely_ends_the_engines_stream() {
    let cluster = two().await;
    for (at, host) in HOSTS.iter().enumerate() {
        let wire = attached(&cluster, host).await;
        soon("a stream", cluster.engine(at).streams_become(1)).await;
        drop(wire);
        soon(&format!("the end of the stream on {host}"), cluster.engine(at).streams_become(0)).await;
    }
}

#[tokio::test]
async fn an_engine_that_goes_away_ends_the_clients_stream() {
    let mut cluster = two().await;
    for (at, host) in HOSTS.iter().enumerate() {
        let mut wire = attached(&cluster, host).await;
        cluster.nodes[at].stop_engine().await;
        assert_eq!(wire.rest().await, "");
        cluster.nodes[at].start_engine();
    }
}

#[tokio::test]
async fn exec_is_made_started_and_echoes() {
    let cluster = two().await;
    for host in HOSTS {
        let on = [("X-Node", host), ("Content-Type", "application/json")];
        let id = samples::id(&samples::node_id(host), "container", 0);
        let made = cluster
            .client(0)
            .call("POST", &format!("/v1.41/containers/{id}/exec"), &on, r#"{"Cmd":["sh"]}"#)
            .await;
        assert_eq!(made.status, 201, "{}", made.text());
        let exec = made.json()["Id"].as_str().unwrap().to_owned();
        let mut wire = cluster.client(0).wire().await;
        let body = r#"{"Detach":false,"Tty":true}"#;
        let head = format!(
            "POST /v1.41/exec/{exec}/start HTTP/1.1\nHost: a\nX-Node: {host}\nConnection: Upgrade\nUpgrade: tcp\n\
             Content-Type: application/json\nContent-Length: {}",
            body.len()
        );
        wire.ask(&head, &format!("{body}early\n")).await;
        assert!(wire.head().await.starts_with("HTTP/1.1 101"));
        assert_eq!(wire.through("early\n").await, format!("exec on {host}\nearly\n"));
        wire.write(b"ls\n").await;
        assert_eq!(wire.through("\n").await, "ls\n");
        wire.half_close().await;
        assert_eq!(wire.rest().await, "bye\n");
        let detached =
            cluster.client(0).call("POST", &format!("/exec/{exec}/start"), &on, r#"{"Detach":true}"#).await;
        assert_eq!(detached.status, 200);
    }
}

#[tokio::test]
async fn sessions_and_websockets_have_their_own_door() {
    let cluster = two().await;
    for host in HOSTS {
        let id = samples::id(&samples::node_id(host), "container", 0);
        for (first, token, more) in [
            ("POST /session".to_owned(), "h2c", "X-Docker-Expose-Session-Uuid: u\nContent-Length: 0"),
            ("POST /grpc".to_owned(), "h2c", "Content-Length: 0"),
            (
                format!("GET /v1.41/containers/{id}/attach/ws?stream=1"),
                "websocket",
                "Sec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\nOrigin: https://elsewhere",
            ),
        ] {
            let mut wire = cluster.client(0).wire().await;
            let head = format!(
                "{first} HTTP/1.1\nHost: a\nX-Node: {host}\nConnection: Upgrade\nUpgrade: {token}\n{more}"
            );
            wire.ask(&head, "").await;
            let head = wire.head().await.to_ascii_lowercase();
            assert!(
                head.starts_with("http/1.1 101") && head.contains(&format!("upgrade: {token}\r\n")),
                "{first}: {head}"
            );
            assert_eq!(
                head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"),
                token == "websocket"
            );
            wire.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
            assert_eq!(
                wire.through("SM\r\n\r\n").await,
                "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                "{first} on {host}"
            );
        }
    }
}

#[tokio::test]
async fn a_refused_upgrade_closes_and_what_came_with_it_is_no_request() {
    let cluster = two().await;
    for (at, host) in HOSTS.iter().enumerate() {
        let mut wire = cluster.client(0).wire().await;
        let id = samples::id(&samples::node_id(host), "container", 0);
        let head = attach(host).replace(&id, "unknown");
        wire.ask(&head, "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let head = wire.head().await.to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 404") && head.contains("connection: close\r\n"), "{head}");
        assert_eq!(wire.rest().await, "{\"message\":\"No such container: unknown\"}\n");
        assert!(!cluster.engine(at).seen().iter().any(|seen| seen.target.contains("smuggled")), "{host}");
    }
}

#[tokio::test]
async fn without_an_upgrade_attach_is_an_ordinary_answer_that_flows() {
    let cluster = two().await;
    for (at, host) in HOSTS.iter().enumerate() {
        let mut wire = cluster.client(0).wire().await;
        wire.ask(&attach(host).replace("Connection: Upgrade\nUpgrade: tcp\n", ""), "").await;
        assert!(wire.head().await.starts_with("HTTP/1.1 200"), "{host}");
        wire.through(&format!("attached on {host}\n")).await;
        cluster.engine(at).log("later\n");
        wire.through("later\n").await;
        drop(wire);
        soon("its end", cluster.engine(at).streams_become(0)).await;
    }
}

#[tokio::test]
async fn a_stream_to_a_node_that_cannot_be_reached_is_refused_as_an_answer() {
    let mut cluster = two().await;
    cluster.nodes[1].kill().await;
    let mut wire = cluster.client(0).wire().await;
    wire.ask(&attach("node2"), "").await;
    let head = wire.head().await;
    assert!(head.starts_with("HTTP/1.1 502"), "{head}");
    cluster.nodes[0].stop_engine().await;
    let mut wire = cluster.client(0).wire().await;
    wire.ask(&attach("node1"), "").await;
    let head = wire.head().await;
    assert!(head.starts_with("HTTP/1.1 503"), "{head}");
}

#[tokio::test]
async fn an_upgrade_connection_is_never_used_again() {
    let cluster = two().await;
    cluster.engine(0).on("/plugins", answers::respond(200, answers::JSON, "[]"));
    let before = cluster.engine(0).connections();
    for _ in 0..3 {
        let mut wire = attached(&cluster, "node1").await;
        wire.half_close().await;
        wire.rest().await;
        // Whatever a stream has left on its connection would be read as the head of this answer.
        let plugins = cluster.client(0).get_with("/plugins", &[("X-Node", "node1")]).await;
        assert_eq!((plugins.status, plugins.text()), (200, "[]".to_owned()));
    }
    assert!(cluster.engine(0).connections() >= before + 3);
}

#[tokio::test]
async fn whatever_refuses_an_upgrade_what_came_with_it_is_no_request() {
    let mut cluster = two().await;
    cluster.nodes[1].kill().await;
    let body = r#"{"Detach":false,"Tty":true}"#;
    let stdin = "GET /version HTTP/1.1\r\nHost: a\r\n\r\n";
    let exec = |more: &str| {
        let length = body.len();
        format!(
            "POST /exec/x/start HTTP/1.1\nHost: a\nConnection: Upgrade\nUpgrade: tcp\n{more}Content-Length: {length}"
        )
    };
    let rows = [(exec("X-Node: node2\n"), 502), (exec("X-Node: nowhere\n"), 404), (exec(""), 404)];
    for (head, status) in rows {
        let mut wire = cluster.client(0).wire().await;
        wire.ask(&head, &format!("{body}{stdin}")).await;
        let answer = wire.head().await.to_ascii_lowercase();
        assert!(answer.starts_with(&format!("http/1.1 {status}")), "{answer}");
        assert!(answer.contains("connection: close\r\n"), "{answer}");
        let rest = wire.rest().await;
        assert!(rest.starts_with("{\"message\"") && !rest.contains("HTTP/1.1"), "{rest}");
    }
    let mut wire = cluster.client(0).stranger().wire().await;
    wire.ask(&exec(""), &format!("{body}{stdin}")).await;
    let answer = wire.head().await.to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 403") && answer.contains("connection: close\r\n"), "{answer}");
    // Where nothing becomes a stream the header means nothing.
    let mut wire = cluster.client(0).wire().await;
    wire.ask(&exec("").replace("/exec/x/start", "/volumes/create"), &format!("{body}{stdin}")).await;
    assert!(!wire.head().await.to_ascii_lowercase().contains("connection: close"));
    wire.through("HTTP/1.1 403 Forbidden").await;
}

#[tokio::test]
async fn a_websocket_whose_peer_breaks_off_is_not_asked_for_again_and_a_plain_read_is() {
    let cluster = Setup::fixed(&HOSTS).relayed().start().await;
    let id = samples::id(&samples::node_id("node2"), "container", 0);
    let plain = [("X-Node", "node2")];
    let websocket = [
        ("X-Node", "node2"),
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    for (path, headers, status, times) in [("attach/ws", &websocket[..], 503, 1), ("top", &plain[..], 200, 2)]
    {
        let path = format!("/containers/{id}/{path}");
        let (started, inside) = tokio::sync::oneshot::channel();
        let (_never, released) = tokio::sync::oneshot::channel();
        cluster.engine(1).on(&path, answers::hold(started, released));
        let client = cluster.client(0);
        let breaks = async {
            soon("it is inside", inside).await.unwrap();
            cluster.nodes[1].relay.as_ref().unwrap().break_off();
        };
        let (answer, ()) = tokio::join!(client.get_with(&path, headers), breaks);
        let seen = cluster.engine(1).seen().iter().filter(|seen| seen.path() == path).count();
        assert_eq!((answer.status, seen), (status, times), "{path}: {}", answer.text());
    }
}

#[tokio::test]
async fn an_upgrade_connection_to_a_peer_is_never_used_again_either() {
    // Nothing but calls makes connections to the other node.
    let setup = Setup::fixed(&HOSTS).relayed().config(|_, config| {
        config.limits.probe_answering = Duration::from_secs(600);
        config.limits.silence = Duration::from_secs(60);
    });
    let cluster = setup.start().await;
    cluster.engine(1).on("/plugins", answers::respond(200, answers::JSON, "[]"));
    let plain = async || {
        let plugins = cluster.client(0).get_with("/plugins", &[("X-Node", "node2")]).await;
        assert_eq!((plugins.status, plugins.text()), (200, "[]".to_owned()));
    };
    plain().await;
    let relay = cluster.nodes[1].relay.as_ref().unwrap();
    let known = relay.accepted();
    for more in 1..=3 {
        let mut wire = attached(&cluster, "node2").await;
        assert_eq!(relay.accepted(), known + more, "one of its own");
        wire.half_close().await;
        wire.rest().await;
        plain().await;
        assert_eq!(relay.accepted(), known + more, "the kept one");
    }
}
