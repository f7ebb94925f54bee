//! The browser's terminal: websockets to execs and attaches of any node, through one agent and through two.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use swarmgate::shutdown::Ended;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, mpsc};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};

use crate::support::client::{Socket, Wire};
use crate::support::cluster::{Cluster, Setup};
use crate::support::engine::answers::{self, Hijacked, RAW};
use crate::support::engine::samples;
use crate::support::soon;

const HOSTS: [&str; 2] = ["node1", "node2"];
const TARGET: &str = "X-PortainerAgent-Target";
/// What a handshake has beside its signature.
const HANDSHAKE: [(&str, &str); 4] = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

async fn two() -> Cluster {
    Setup::fixed(&HOSTS).start().await
}

fn container(host: &str) -> String {
    samples::id(&samples::node_id(host), "container", 0)
}

/// The id of a new exec instance.
async fn exec(cluster: &Cluster, host: &str) -> String {
    let path = format!("/containers/{}/exec", container(host));
    let made =
        cluster.client(0).call("POST", &path, &[("X-Node", host)], r#"{"Cmd":["sh"],"Tty":true}"#).await;
    made.json()["Id"].as_str().unwrap().to_owned()
}

/// An exec's console on that node, from the first agent.
async fn console(cluster: &Cluster, host: &str) -> Socket {
    let id = exec(cluster, host).await;
    let path = format!("/websocket/exec?endpointId=1&id={id}&nodeName={host}");
    let mut socket = cluster.client(0).socket(&path, &[(TARGET, host)]).await;
    shows(&mut socket, &format!("exec on {host}\n")).await;
    socket
}

/// An attach's console there, of an engine that says `early` and then does as told.
async fn scripted<F>(
    cluster: &Cluster,
    host: &str,
    early: &'static [u8],
    then: impl Fn(Hijacked) -> F + Clone + Send + Sync + 'static,
) -> Socket
where
    F: Future<Output = ()> + Send + 'static,
{
    let at = HOSTS.iter().position(|known| *known == host).unwrap();
    let path = format!("/containers/{}/attach", container(host));
    cluster.engine(at).on(&path, answers::hijacked(RAW, early, then));
    let path = format!("/websocket/attach?id={}", container(host));
    cluster.client(0).socket(&path, &[(TARGET, host)]).await
}

/// The next message that is none of the protocol's own.
async fn next(socket: &mut Socket) -> Option<Message> {
    // Pings keep coming: they are no event.
    let next = async {
        loop {
            match socket.next().await?.ok()? {
                Message::Ping(_) | Message::Pong(_) => {}
                message => return Some(message),
            }
        }
    };
    soon("a message", next).await
}

/// Reads text messages until they make up this text.
async fn shows(socket: &mut Socket, expected: &str) {
    let mut shown = String::new();
    while shown.len() < expected.len() {
        match next(socket).await {
            Some(Message::Text(text)) => shown.push_str(&text),
            other => panic!("{shown:?} and then {other:?} instead of {expected:?}"),
        }
    }
    assert!(shown == expected, "{:?}", shown.chars().take(200).collect::<String>());
}

/// The code with which the other end closes next, and nothing comes after it.
async fn closes(socket: &mut Socket) -> u16 {
    match next(socket).await {
        Some(Message::Close(Some(frame))) => {
            assert_eq!(next(socket).await, None);
            frame.code.into()
        }
        other => panic!("not closed: {other:?}"),
    }
}

async fn say(socket: &mut Socket, message: impl Into<Message>) {
    soon("it takes a message", socket.send(message.into())).await.unwrap();
}

/// A websocket whose frames the test writes itself.
async fn raw(cluster: &Cluster, host: &str) -> Wire {
    let id = exec(cluster, host).await;
    let mut wire = cluster.client(0).wire().await;
    let lines: String = HANDSHAKE.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
    let head = format!("GET /websocket/exec?id={id} HTTP/1.1\nHost: a\n{TARGET}: {host}\n{lines}");
    wire.ask(&head, "").await;
    let head = wire.head().await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert!(
        head.to_ascii_lowercase().contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"),
        "{head}"
    );
    wire.through(&format!("exec on {host}\n")).await;
    wire
}

#[tokio::test]
async fn case_70_what_is_no_console_is_refused_before_the_upgrade() {
    let cluster = two().await;
    let client = cluster.client(0);
    let (id, path) = (container("node1"), "/websocket/exec");
    cluster.forget();
    for path in [path, "/v1/websocket/exec", "/v2/websocket/attach", "/v1.41/websocket/attach"] {
        for query in ["?id=xyz", "", "?id=", "?id=ab/..", "?endpointId=1&id=%00", "?nodeName=ab"] {
            for host in HOSTS {
                let headers = [&HANDSHAKE[..], &[(TARGET, host)]].concat();
                let refused = client.get_with(&format!("{path}{query}"), &headers).await;
                assert_eq!(refused.status, 400, "{path}{query} on {host}");
                assert!(refused.message().contains("'id'"), "{}", refused.message());
            }
        }
        let unsigned = client.stranger().get_with(&format!("{path}?id={id}"), &HANDSHAKE).await;
        assert_eq!(unsigned.status, 403, "{path}");
        for method in ["POST", "HEAD", "PUT", "DELETE"] {
            let refused = client.call(method, &format!("{path}?id={id}"), &HANDSHAKE, "").await;
            assert_eq!((refused.status, refused.header("allow")), (405, "GET"), "{method} {path}");
        }
    }
    let handshakes = [
        (vec![], 400),
        (HANDSHAKE[..3].to_vec(), 400),
        ([&HANDSHAKE[..3], &[("Sec-WebSocket-Key", "c2hvcnQ=")]].concat(), 400),
        ([&[("Upgrade", "tcp")], &HANDSHAKE[..1], &HANDSHAKE[2..]].concat(), 400),
        (HANDSHAKE[1..].to_vec(), 400),
        ([&HANDSHAKE[..2], &HANDSHAKE[3..]].concat(), 426),
        ([&HANDSHAKE[..2], &HANDSHAKE[3..], &[("Sec-WebSocket-Version", "8")]].concat(), 426),
    ];
    for (headers, status) in handshakes {
        for host in HOSTS {
            let headers = [&headers[..], &[(TARGET, host)]].concat();
            let refused = client.get_with(&format!("{path}?id={id}"), &headers).await;
            assert_eq!(refused.status, status, "{headers:?}: {}", refused.text());
            let version = if status == 426 { "13" } else { "" };
            assert_eq!(refused.header("sec-websocket-version"), version, "{headers:?}");
        }
    }
    for at in 0..2 {
        let seen = cluster.engine(at).seen();
        let asked =
            seen.iter().find(|seen| seen.path().starts_with("/exec") || seen.path().contains("/attach"));
        assert!(asked.is_none(), "{}", asked.unwrap().target);
    }
}

#[tokio::test]
async fn case_71_what_the_engine_says_with_its_101_arrives() {
    let cluster = two().await;
    let client = cluster.client(0);
    for (at, host) in HOSTS.iter().enumerate() {
        for prefix in ["", "/v1", "/v2", "/v1.41", "/v1.41/v2"] {
            cluster.engine(at).forget();
            let id = exec(&cluster, host).await;
            let target = [(TARGET, *host)];
            let mut socket = client.socket(&format!("{prefix}/websocket/exec?id={id}"), &target).await;
            shows(&mut socket, &format!("exec on {host}\n")).await;
            say(&mut socket, "ls\n").await;
            shows(&mut socket, "ls\n").await;
            let path = format!("/exec/{id}/start");
            let seen = cluster.engine(at).saw(&path).await;
            assert_eq!((seen.method.as_str(), seen.target.as_str()), ("POST", path.as_str()));
            assert_eq!(seen.body(), br#"{"Tty":true,"Detach":false}"#);

            let id = container(host);
            let mut socket = client.socket(&format!("{prefix}/websocket/attach?id={id}"), &target).await;
            shows(&mut socket, &format!("attached on {host}\n")).await;
            say(&mut socket, "ls\n").await;
            shows(&mut socket, "ls\n").await;
            let path = format!("/containers/{id}/attach");
            let seen = cluster.engine(at).saw(&path).await;
            assert_eq!(seen.target, format!("{path}?stdin=1&stdout=1&stderr=1&stream=1"));
            for name in ["x-portaineragent-signature", "origin", "sec-websocket-key"] {
                assert!(!seen.headers.contains_key(name), "{name}");
            }
            assert_eq!(
                (&seen.headers["upgrade"], &seen.headers["connection"]),
                (&"tcp".parse().unwrap(), &"Upgrade".parse().unwrap())
            );
        }
    }
}

#[tokio::test]
async fn case_72_a_character_that_is_read_in_two_pieces_arrives_whole() {
    let cluster = two().await;
    for host in HOSTS {
        for at in [1, 2] {
            let opened = scripted(&cluster, host, b"", move |mut stream| async move {
                let (first, second) = "€".as_bytes().split_at(at);
                stream.write_all(&[b"a", first].concat()).await.unwrap();
                stream.flush().await.unwrap();
                // The client has seen what came before the character: its first part was read, too.
                stream.read_u8().await.unwrap();
                stream.write_all(&[second, b"\xff", b"\xe2\x82"].concat()).await.unwrap();
                stream.shutdown().await.unwrap();
            });
            let mut socket = opened.await;
            assert_eq!(next(&mut socket).await, Some(Message::text("a")));
            say(&mut socket, "!").await;
            shows(&mut socket, "€\u{fffd}\u{fffd}").await;
            assert_eq!(closes(&mut socket).await, 1000);
        }
    }
}

#[tokio::test]
async fn case_73_frames_of_2049_bytes_and_of_a_mebibyte_are_taken_and_larger_ones_close() {
    let cluster = two().await;
    for (at, host) in HOSTS.iter().enumerate() {
        let mut socket = console(&cluster, host).await;
        for size in [2049, 1 << 20] {
            let text = "x".repeat(size);
            say(&mut socket, text.as_str()).await;
            shows(&mut socket, &text).await;
            say(&mut socket, Bytes::from(text.clone())).await;
            shows(&mut socket, &text).await;
        }
        say(&mut socket, "x".repeat((1 << 20) + 1)).await;
        assert_eq!(closes(&mut socket).await, 1009, "{host}");
        soon("the engine's end", cluster.engine(at).streams_become(0)).await;
    }
}

#[tokio::test]
async fn case_74_a_console_is_where_its_target_says() {
    let mut cluster = Setup::swarm(&["node1", "node2", "node3"], 1).start().await;
    let id = exec(&cluster, "node2").await;
    let path = format!("/websocket/exec?id={id}");
    let client = cluster.client(0);
    let mut there = client.socket(&path, &[(TARGET, "node2")]).await;
    shows(&mut there, "exec on node2\n").await;
    let here = format!("/websocket/exec?id={}", exec(&cluster, "node1").await);
    for headers in [&[][..], &[(TARGET, "")], &[(TARGET, "node1")], &[("X-Node", "node1")]] {
        let mut socket = client.socket(&here, headers).await;
        shows(&mut socket, "exec on node1\n").await;
    }
    let nope = client.get_with(&path, &[&HANDSHAKE[..], &[(TARGET, "nope")]].concat()).await;
    assert_eq!(nope.status, 404, "{}", nope.text());
    cluster.nodes[2].kill().await;
    // Found out with this very request, and known before the next one.
    for target in [TARGET, "X-Node"] {
        let gone = client.get_with(&path, &[&HANDSHAKE[..], &[(target, "node3")]].concat()).await;
        assert_eq!(gone.status, 503, "{}", gone.text());
        assert!(gone.message().contains("node3"), "{}", gone.message());
        cluster.nodes[0].thinks("node3", "is gone", |member| !member.is_reachable()).await;
    }
}

#[tokio::test]
async fn a_lone_agent_has_consoles_and_no_targets() {
    let cluster = Setup::alone("node1").start().await;
    for headers in [&[][..], &[(TARGET, "nope")]] {
        let id = exec(&cluster, "node1").await;
        let mut socket = cluster.client(0).socket(&format!("/websocket/exec?id={id}"), headers).await;
        shows(&mut socket, "exec on node1\n").await;
    }
}

#[tokio::test]
async fn case_75_a_foreign_origin_is_upgraded_for_attach_and_for_exec() {
    let cluster = two().await;
    for host in HOSTS {
        let headers = [(TARGET, host), ("Origin", "https://elsewhere.example")];
        let id = exec(&cluster, host).await;
        let mut socket = cluster.client(0).socket(&format!("/websocket/exec?id={id}"), &headers).await;
        shows(&mut socket, &format!("exec on {host}\n")).await;
        let path = format!("/websocket/attach?id={}", container(host));
        let mut socket = cluster.client(0).socket(&path, &headers).await;
        shows(&mut socket, &format!("attached on {host}\n")).await;
    }
}

#[tokio::test]
async fn case_76_the_end_of_the_process_closes_with_1000() {
    let cluster = two().await;
    for host in HOSTS {
        let gone = Arc::new(Notify::new());
        let told = Arc::clone(&gone);
        let mut socket = scripted(&cluster, host, b"last words\n", move |mut stream| {
            let told = Arc::clone(&told);
            async move {
                stream.shutdown().await.unwrap();
                // Its input ends: nobody holds the other end any more.
                let rest = stream.read_to_end(&mut Vec::new()).await;
                assert!(rest.is_err() || rest.is_ok_and(|rest| rest == 0));
                told.notify_one();
            }
        })
        .await;
        shows(&mut socket, "last words\n").await;
        // Before the client has answered the close.
        soon("the engine's end", gone.notified()).await;
        assert_eq!(closes(&mut socket).await, 1000, "{host}");
    }
}

#[tokio::test]
async fn what_the_engine_refuses_is_an_answer_and_no_websocket() {
    let mut cluster = two().await;
    let client = cluster.client(0);
    for (at, host) in HOSTS.iter().enumerate() {
        let headers = [&HANDSHAKE[..], &[(TARGET, host)]].concat();
        let none = client.get_with("/websocket/exec?id=abc123", &headers).await;
        assert_eq!(
            (none.status, none.text()),
            (404, "{\"message\":\"No such exec instance: abc123\"}\n".into())
        );
        let none = client.get_with("/websocket/attach?id=abc123", &headers).await;
        assert_eq!((none.status, none.text()), (404, "{\"message\":\"No such container: abc123\"}\n".into()));
        let id = container(host);
        let path = format!("/containers/{id}/attach");
        cluster
            .engine(at)
            .on(&path, answers::respond(409, answers::JSON, r#"{"message":"Container is paused"}"#));
        let path = format!("/websocket/attach?id={id}");
        let refused = client.get_with(&path, &headers).await;
        assert_eq!((refused.status, refused.message()), (409, "Container is paused".to_owned()));
        assert_eq!((refused.header("x-node"), refused.header("connection")), (*host, "close"));
        // Neither a stream nor an error.
        cluster.engine(at).on(&format!("/containers/{id}/attach"), answers::respond(200, RAW, "output"));
        let odd = client.get_with(&path, &headers).await;
        assert_eq!(odd.status, 502, "{}", odd.text());
        assert!(odd.message().starts_with(host), "{}", odd.message());
        cluster.nodes[at].stop_engine().await;
        let gone = client.get_with(&path, &headers).await;
        assert_eq!(gone.status, 503, "{}", gone.text());
        assert!(gone.message().contains("engine unavailable"), "{}", gone.message());
    }
}

#[tokio::test]
async fn an_engine_that_does_not_answer_is_not_waited_for_for_ever() {
    let setup = Setup::fixed(&HOSTS).config(|_, config| config.limits.plain_get = Duration::from_millis(100));
    let cluster = setup.start().await;
    for (at, host) in HOSTS.iter().enumerate() {
        let id = exec(&cluster, host).await;
        cluster.engine(at).on("/exec/*", answers::silent());
        let headers = [&HANDSHAKE[..], &[(TARGET, host)]].concat();
        let silent = cluster.client(0).get_with(&format!("/websocket/exec?id={id}"), &headers).await;
        assert_eq!(silent.status, 504, "{}", silent.text());
    }
}

#[tokio::test]
async fn without_a_terminal_the_output_of_an_attach_loses_its_frames() {
    let cluster = two().await;
    for host in HOSTS {
        // The container of the samples has none.
        let said = b"\x01\0\0\0\0\0\0\x04out\n\x02\0\0\0\0\0\0\x04err\n";
        let mut socket = scripted(&cluster, host, said, |mut stream| async move {
            let _ = stream.read_u8().await;
        })
        .await;
        shows(&mut socket, "out\nerr\n").await;
    }
}

#[tokio::test]
async fn with_a_terminal_the_output_of_an_attach_is_not_touched() {
    const FRAMED: &str = "application/vnd.docker.multiplexed-stream";
    let cluster = two().await;
    let said = b"\x01\0\0\0\0\0\0\x04out\n";
    let rows = [
        (r#"{"Config":{"Tty":true}}"#, RAW, "\u{1}\0\0\0\0\0\0\u{4}out\n"),
        (r#"{"Config":{"Tty":false}}"#, RAW, "out\n"),
        // What the engine itself says of its stream.
        (r#"{"Config":{"Tty":true}}"#, FRAMED, "out\n"),
        ("not JSON at all", FRAMED, "out\n"),
        ("not JSON at all", RAW, "\u{1}\0\0\0\0\0\0\u{4}out\n"),
    ];
    for (at, host) in HOSTS.iter().enumerate() {
        let (engine, id) = (cluster.engine(at), container(host));
        for (inspected, kind, shown) in rows {
            engine.on(&format!("/containers/{id}/json"), answers::respond(200, answers::JSON, inspected));
            let stays = |mut stream: Hijacked| async move { drop(stream.read_u8().await) };
            engine.on(&format!("/containers/{id}/attach"), answers::hijacked(kind, &said[..], stays));
            let path = format!("/websocket/attach?id={id}");
            let mut socket = cluster.client(0).socket(&path, &[(TARGET, host)]).await;
            shows(&mut socket, shown).await;
        }
    }
}

#[tokio::test]
async fn binary_and_fragmented_messages_reach_the_engine_as_they_are() {
    let cluster = two().await;
    for host in HOSTS {
        let (heard, mut hears) = mpsc::channel(1);
        let mut socket = scripted(&cluster, host, b"", move |mut stream| {
            let heard = heard.clone();
            async move {
                let mut bytes = vec![0; 8];
                stream.read_exact(&mut bytes).await.unwrap();
                heard.send(bytes).await.unwrap();
            }
        })
        .await;
        let piece = |bytes: &'static [u8], kind, is_last| {
            Message::Frame(Frame::message(Bytes::from_static(bytes), OpCode::Data(kind), is_last))
        };
        say(&mut socket, piece(b"\xff\0", Data::Binary, false)).await;
        say(&mut socket, Message::Ping(Bytes::from_static(b"in between"))).await;
        say(&mut socket, piece(b"\xe2", Data::Continue, true)).await;
        say(&mut socket, "").await;
        say(&mut socket, "\u{3}€\r").await;
        assert_eq!(soon("its input", hears.recv()).await.unwrap(), b"\xff\0\xe2\x03\xe2\x82\xac\r");
    }
}

#[tokio::test]
async fn what_breaks_the_protocol_is_closed_with_its_code() {
    let cluster = two().await;
    for (at, host) in HOSTS.iter().enumerate() {
        let rows: [(&[u8], u16); 4] = [
            // Not masked.
            (b"\x81\x02ls", 1002),
            // A reserved bit; a continuation of nothing.
            (b"\xc1\x80\0\0\0\0", 1002),
            (b"\x80\x80\0\0\0\0", 1002),
            // A text that is none.
            (b"\x81\x81\0\0\0\0\xff", 1007),
        ];
        for (frame, code) in rows {
            let mut wire = raw(&cluster, host).await;
            wire.write(frame).await;
            let mut closed = [0; 4];
            soon("the close", wire.stream.read_exact(&mut closed)).await.unwrap();
            assert_eq!((closed[0], u16::from_be_bytes([closed[2], closed[3]])), (0x88, code), "{frame:?}");
            soon("the engine's end", cluster.engine(at).streams_become(0)).await;
        }
    }
}

#[tokio::test]
async fn pings_arrive_and_a_client_that_answers_none_is_dropped() {
    let setup =
        Setup::fixed(&HOSTS).config(|_, config| config.limits.console_ping = Duration::from_millis(100));
    let cluster = setup.start().await;
    for (at, host) in HOSTS.iter().enumerate() {
        let mut wire = raw(&cluster, host).await;
        soon("a stream", cluster.engine(at).streams_become(1)).await;
        // It reads, and says nothing.
        let mut pings = Vec::new();
        let ended = soon("the end", wire.stream.read_to_end(&mut pings)).await;
        assert_eq!(pings, b"\x89\0".repeat(3), "{host}: {ended:?}");
        soon("the engine's end", cluster.engine(at).streams_become(0)).await;
    }
}

#[tokio::test]
async fn a_client_that_closes_or_is_gone_frees_the_engine() {
    let cluster = two().await;
    for (at, host) in HOSTS.iter().enumerate() {
        let mut socket = console(&cluster, host).await;
        soon("a stream", cluster.engine(at).streams_become(1)).await;
        soon("its close", socket.close(None)).await.unwrap();
        soon("the engine's end", cluster.engine(at).streams_become(0)).await;
        assert_eq!(next(&mut socket).await, Some(Message::Close(None)), "it is answered");
        assert_eq!(next(&mut socket).await, None);

        let socket = console(&cluster, host).await;
        soon("a stream", cluster.engine(at).streams_become(1)).await;
        drop(socket);
        soon("the engine's end", cluster.engine(at).streams_become(0)).await;

        let mut wire = raw(&cluster, host).await;
        soon("a stream", cluster.engine(at).streams_become(1)).await;
        wire.half_close().await;
        soon("the engine's end", cluster.engine(at).streams_become(0)).await;
    }
}

#[tokio::test]
async fn an_engine_that_goes_away_ends_the_websocket() {
    let mut cluster = two().await;
    for (at, host) in HOSTS.iter().enumerate() {
        let mut socket = console(&cluster, host).await;
        cluster.nodes[at].stop_engine().await;
        let code = closes(&mut socket).await;
        assert!([1000, 1011].contains(&code), "{host}: {code}");
    }
}

#[tokio::test]
async fn an_agent_that_stops_closes_with_1001_and_waits_for_nobody() {
    let mut cluster = two().await;
    let mut socket = console(&cluster, "node1").await;
    let mut there = console(&cluster, "node2").await;
    for (at, socket) in [(1, &mut there), (0, &mut socket)] {
        let shutdown = cluster.nodes[at].shutdown().clone();
        shutdown.drain();
        assert_eq!(closes(socket).await, u16::from(CloseCode::Away));
        soon("the engine's end", cluster.engine(at).streams_become(0)).await;
    }
    drop((socket, there));
    for node in &mut cluster.nodes {
        assert_eq!(soon("the end", node.finish(Duration::from_secs(15))).await, Ended::Clean);
    }
}

#[tokio::test]
async fn a_client_that_never_reads_holds_up_its_engine_and_is_cut() {
    let setup =
        Setup::fixed(&HOSTS).config(|_, config| config.limits.console_stall = Duration::from_millis(500));
    let cluster = setup.start().await;
    for host in HOSTS {
        let (written, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let (counts, tells) = (Arc::clone(&written), Arc::clone(&ended));
        let socket = scripted(&cluster, host, b"", move |mut stream| {
            let (counts, tells) = (Arc::clone(&counts), Arc::clone(&tells));
            async move {
                while let Ok(count) = stream.write(&[b'y'; 16 << 10]).await {
                    counts.fetch_add(count, Ordering::Relaxed);
                }
                tells.notify_one();
            }
        })
        .await;
        soon("the engine's end", ended.notified()).await;
        // What the kernel's buffers hold, twice; an agent that reads on would have taken all it could get.
        let written = written.load(Ordering::Relaxed);
        assert!((64 << 10..32 << 20).contains(&written), "{host}: {written} bytes");
        drop(socket);
    }
}

#[tokio::test]
async fn output_waits_for_a_client_that_does_not_read_and_then_arrives_whole() {
    const PIECE: usize = 64 << 10;
    const PIECES: usize = 1024;
    let cluster = two().await;
    for host in HOSTS {
        let written = Arc::new(AtomicUsize::new(0));
        let counts = Arc::clone(&written);
        let mut socket = scripted(&cluster, host, b"", move |mut stream| {
            let counts = Arc::clone(&counts);
            async move {
                for number in 0..PIECES {
                    stream.write_all(&[b'a' + (number % 26) as u8; PIECE]).await.unwrap();
                    counts.fetch_add(1, Ordering::Relaxed);
                }
                stream.flush().await.unwrap();
            }
        })
        .await;
        let taken = cluster.stands_still(host, &written).await;
        assert!(taken < PIECES / 2, "{host}: {taken} pieces were taken for nobody");
        let mut shown = 0;
        while shown < PIECE * PIECES {
            let Some(Message::Text(text)) = next(&mut socket).await else {
                panic!("{host}: ended at {shown}")
            };
            assert_eq!(usize::from(text.as_bytes()[0] - b'a'), shown / PIECE % 26, "{host} at {shown}");
            shown += text.len();
        }
        assert_eq!((shown, closes(&mut socket).await), (PIECE * PIECES, 1000), "{host}");
    }
}

#[tokio::test]
async fn a_client_that_floods_waits_for_the_engine_and_loses_nothing() {
    const PIECE: usize = 1 << 20;
    const PIECES: usize = 64;
    let setup =
        Setup::fixed(&HOSTS).config(|_, config| config.limits.console_ping = Duration::from_millis(100));
    let cluster = setup.start().await;
    for host in HOSTS {
        let reads = Arc::new(Notify::new());
        let (begins, (heard, mut hears)) = (Arc::clone(&reads), mpsc::channel(1));
        let socket = scripted(&cluster, host, b"", move |mut stream| {
            let (begins, heard) = (Arc::clone(&begins), heard.clone());
            async move {
                begins.notified().await;
                let mut left = vec![0; PIECE];
                let mut total = 0;
                while total < PIECE * PIECES {
                    total += stream.read(&mut left).await.unwrap();
                }
                heard.send(total).await.unwrap();
                drop(stream.read_u8().await);
            }
        })
        .await;
        let (mut sink, mut stream) = socket.split();
        let sent = AtomicUsize::new(0);
        let flood = async {
            for _ in 0..PIECES {
                sink.send(Message::Binary(Bytes::from(vec![7; PIECE]))).await.unwrap();
                sent.fetch_add(1, Ordering::Relaxed);
            }
        };
        let watch = async {
            // Ten pings: silent about a client that it does not listen to, the agent keeps it.
            for _ in 0..10 {
                assert!(soon("a ping", stream.next()).await.unwrap().unwrap().is_ping());
            }
            let before = sent.load(Ordering::Relaxed);
            assert!(before < PIECES / 2, "{host}: {before} MiB were taken for an engine that takes none");
            reads.notify_one();
            assert_eq!(soon("all of it", hears.recv()).await, Some(PIECE * PIECES));
        };
        soon("the flood", async { tokio::join!(flood, watch) }).await;
    }
}

#[tokio::test]
async fn a_client_that_pings_without_end_is_answered_and_served() {
    let cluster = two().await;
    for host in HOSTS {
        let mut socket = console(&cluster, host).await;
        for _ in 0..20_000 {
            socket.feed(Message::Ping(Bytes::from_static(&[b'!'; 125]))).await.unwrap();
        }
        say(&mut socket, "ls\n").await;
        shows(&mut socket, "ls\n").await;
    }
}
