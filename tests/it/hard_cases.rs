//! Streams, bodies and crowds. Numbered cases are those of the contract; the docker CLI's is beside the recording.

use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::Request;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::support::client::{Client, Wire, piece, reply, whole};
use crate::support::cluster::{Cluster, Setup};
use crate::support::engine::answers::{self, Recorded, Rule};
use crate::support::engine::samples;
use crate::support::soon;

const HOSTS: [&str; 3] = ["n1", "n2", "n3"];
const TARGET: &str = "X-PortainerAgent-Target";

/// The headers of a call to a node, through the agent of `n1`: on its own engine, and on another's.
const ON: [(usize, &[(&str, &str)]); 2] = [(0, &[]), (1, &[(TARGET, "n2")])];

async fn swarm() -> Cluster {
    Setup::swarm(&HOSTS, 1).start().await
}

/// The same headers, as lines of a head.
fn lines(headers: &[(&str, &str)]) -> String {
    headers.iter().map(|(name, value)| format!("\n{name}: {value}")).collect()
}

/// Whether the head has each of these lines once, and each of their names once.
fn has_once(head: &str, wanted: &[&str]) {
    let lower = head.to_ascii_lowercase();
    for line in wanted {
        let name = line.split(':').next().unwrap();
        let named: Vec<_> = lower.lines().filter(|l| l.split(':').next() == Some(name)).collect();
        assert_eq!(named, [*line], "{head}");
    }
}

const AGENT: [&str; 3] =
    ["portainer-agent: 2.23.0", "portainer-agent-api-version: 2", "portainer-agent-platform: 1"];

/// A chunked answer whose lines the test says.
fn told() -> (mpsc::Sender<Bytes>, Rule) {
    let (tell, lines) = mpsc::channel(1);
    let lines = Mutex::new(Some(lines));
    let rule = Rule::from(move |request: Request<Recorded>| {
        let lines = lines.lock().unwrap().take().expect("asked once");
        async move {
            request.into_body().collect().await.unwrap();
            answers::fed(200, answers::JSON, lines, None)
        }
    });
    (tell, rule)
}

#[tokio::test]
async fn case_51_each_line_of_a_chunked_answer_arrives_before_there_is_another() {
    let cluster = swarm().await;
    for (at, headers) in ON {
        for (method, path) in [
            ("POST", "/images/create?fromImage=busybox"),
            ("GET", "/containers/abc/logs?follow=1&stdout=1"),
            // Nothing is known of how long this one takes.
            ("GET", "/plugins"),
        ] {
            let what = format!("{method} {path} on {}", HOSTS[at]);
            let (tell, rule) = told();
            cluster.engine(at).on(path.split('?').next().unwrap(), rule);
            let answer = cluster.client(0).open(method, &format!("/v1.41{path}"), headers, whole("")).await;
            assert_eq!(answer.status().as_u16(), 200, "{what}");
            for (name, value) in [
                ("content-type", "application/json"),
                ("transfer-encoding", "chunked"),
                ("x-node", HOSTS[at]),
            ] {
                assert_eq!(answer.headers()[name], value, "{what}");
            }
            let mut body = answer.into_body();
            for number in 1..=4 {
                let line = format!("{{\"status\":\"line {number}\"}}\r\n");
                tell.send(line.clone().into()).await.unwrap();
                assert_eq!(piece(&mut body).await, line, "{what}");
            }
            drop(tell);
            assert!(soon("the end", body.frame()).await.is_none(), "{what}");
        }
    }
}

#[tokio::test]
async fn case_52_an_attach_is_a_stream_both_ways_and_early_bytes_are_kept() {
    let cluster = swarm().await;
    for (at, headers) in ON {
        let host = HOSTS[at];
        let id = samples::id(&samples::node_id(host), "container", 0);
        let head = format!(
            "POST /v1.41/containers/{id}/attach?stream=1&stdin=1&stdout=1 HTTP/1.1\nHost: a\n\
             Connection: Upgrade\nUpgrade: tcp{}",
            lines(headers)
        );
        let mut wire = cluster.client(0).wire().await;
        wire.ask(&head, "early\n").await;
        let head = wire.head().await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        has_once(&head, &AGENT);
        let node = format!("x-node: {host}");
        let kind = "content-type: application/vnd.docker.raw-stream";
        has_once(&head, &[&node, kind, "connection: upgrade", "upgrade: tcp"]);
        // What the engine said in one piece with its head, then what the client did.
        assert_eq!(wire.through("early\n").await, format!("attached on {host}\nearly\n"));
        for line in ["ls\n", "\0\u{1}\u{fffd}\n"] {
            wire.write(line.as_bytes()).await;
            assert_eq!(wire.through("\n").await, line, "{host}");
        }
        assert_eq!(cluster.engine(at).streams(), 1, "{host}");
        wire.half_close().await;
        assert_eq!(wire.rest().await, "bye\n", "{host}");
        soon("its end", cluster.engine(at).streams_become(0)).await;
    }
}

/// Returns when an ordinary body that began now was given up, since nothing more of it came.
async fn an_ordinary_body_is_given_up(client: &Client, headers: &[(&str, &str)]) {
    let mut wire = client.wire().await;
    let head = format!("POST /v1.41/volumes/create HTTP/1.1\nHost: a\nContent-Length: 100{}", lines(headers));
    wire.ask(&head, "half").await;
    // Not the node's fault, and not said to be.
    let head = wire.head().await;
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    has_once(&head, &["content-type: application/json"]);
}

#[tokio::test]
async fn case_53_an_image_may_be_large_and_come_slower_than_any_other_body() {
    const PIECE: usize = 256 << 10;
    const PIECES: usize = 256;
    let setup =
        Setup::swarm(&HOSTS, 1).config(|_, config| config.limits.body_read = Duration::from_millis(300));
    let cluster = setup.start().await;
    let bytes = vec![7; PIECE];
    for (at, headers) in ON {
        let (client, host) = (cluster.client(0), HOSTS[at]);
        let head = format!(
            "POST /v1.41/images/load?quiet=1 HTTP/1.1\nHost: a\nContent-Type: application/x-tar\n\
             Content-Length: {}{}",
            PIECE * PIECES,
            lines(headers)
        );
        let mut wire = client.wire().await;
        wire.ask(&head, "").await;
        soon("it is there", cluster.engine(at).saw("/images/load")).await;
        for number in 0..PIECES {
            if [0, PIECES / 2, PIECES - 1].contains(&number) {
                an_ordinary_body_is_given_up(&client, headers).await;
            }
            soon("room for a piece", wire.write(&bytes)).await;
        }
        let head = wire.head().await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{host}: {head}");
        has_once(&head, &["content-type: application/json", &format!("x-node: {host}")]);
        let said = wire.through("}\n").await;
        assert_eq!(said, format!("{{\"stream\":\"Loaded image: {} bytes\\n\"}}\n", PIECE * PIECES));
        assert_eq!(cluster.engine(at).loaded(), (PIECE * PIECES) as u64, "{host}");
    }
}

#[tokio::test]
async fn case_54_a_build_keeps_both_tags_its_body_and_its_type() {
    let cluster = swarm().await;
    let context: Vec<u8> = (0..48_u32 << 10).map(|n| (n % 253) as u8).collect();
    for (at, headers) in ON {
        let target = "/v1.41/build?t=a&t=b";
        let mut headers = headers.to_vec();
        headers.extend([("Content-Type", "application/x-tar"), ("X-Registry-Config", "e30=")]);
        cluster.forget();
        let built = cluster.client(0).call("POST", target, &headers, context.clone()).await;
        built.is_json_of_an_agent(200, HOSTS[at]);
        assert_eq!(built.header("x-node"), HOSTS[at]);
        assert_eq!(built.json(), json!({ "stream": format!("read {} bytes\n", context.len()) }));
        assert_eq!(cluster.asked("/build"), [HOSTS[at]]);
        let seen = cluster.engine(at).seen();
        let [build] = seen.iter().filter(|seen| seen.path() == "/build").collect::<Vec<_>>()[..] else {
            panic!("asked more than once on {}", HOSTS[at]);
        };
        assert_eq!(build.target, target);
        assert!(build.body() == context, "{}", HOSTS[at]);
        for (name, value) in [("content-type", "application/x-tar"), ("x-registry-config", "e30=")] {
            assert_eq!(build.headers.get_all(name).iter().collect::<Vec<_>>(), [value], "{}", HOSTS[at]);
        }
    }
}

#[tokio::test]
async fn case_55_a_chunked_body_is_asked_for_and_arrives_whole() {
    let cluster = swarm().await;
    for (at, headers) in ON {
        let head = format!(
            "POST /v1.41/build HTTP/1.1\nHost: a\nContent-Type: application/x-tar\nTransfer-Encoding: chunked\n\
             Expect: 100-continue{}",
            lines(headers)
        );
        let mut wire = cluster.client(0).wire().await;
        wire.ask(&head, "").await;
        assert_eq!(wire.head().await, "HTTP/1.1 100 Continue\r\n\r\n", "{}", HOSTS[at]);
        // Pieces of the wire are no chunks.
        for part in ["5\r\nfir", "st\r\n7;x=y\r\n second", "\r\n0\r", "\n\r\n"] {
            wire.write(part.as_bytes()).await;
        }
        answered(&mut wire, HOSTS[at], "{\"stream\":\"read 12 bytes\\n\"}\n").await;
        let build = cluster.engine(at).saw("/build").await;
        assert_eq!((build.body(), build.headers.get("expect")), (b"first second".to_vec(), None));
        let framing = ["transfer-encoding", "content-length", "content-type"].map(|n| build.headers.get(n));
        let framing = framing.map(|value| value.map(|value| value.to_str().unwrap()));
        assert_eq!(framing, [Some("chunked"), None, Some("application/x-tar")], "{}", HOSTS[at]);
        // The connection is still in step.
        let next =
            format!("POST /v1.41/volumes/create HTTP/1.1\nHost: a\nContent-Length: 2{}", lines(headers));
        wire.ask(&next, "{}").await;
        answered(&mut wire, HOSTS[at], "{\"stream\":\"read 2 bytes\\n\"}\n").await;
    }
}

/// Reads an answer: 200, by this node, this JSON.
async fn answered(wire: &mut Wire, by: &str, body: &str) {
    let head = wire.head().await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{by}: {head}");
    has_once(&head, &AGENT);
    has_once(&head, &["content-type: application/json", &format!("x-node: {by}")]);
    assert_eq!(wire.through("}\n").await, body, "{by}");
}

/// The elements of a list, ordered by what they are and where.
fn elements(list: &Value) -> Vec<Value> {
    let list = list.get("Volumes").unwrap_or(list);
    let mut elements = list.as_array().unwrap().clone();
    elements.sort_by_cached_key(|e| format!("{} {} {}", e["Id"], e["Name"], e["Portainer"]));
    elements
}

/// What the lists of these hosts' engines are together.
fn together(hosts: &[&str], own: impl Fn(&str) -> String) -> Vec<Value> {
    let decorated = |host: &&str| {
        let mut list: Value = serde_json::from_str(&own(host)).unwrap();
        let elements = if list.is_array() { &mut list } else { &mut list["Volumes"] };
        for element in elements.as_array_mut().unwrap() {
            element["Portainer"] = json!({ "Agent": { "NodeName": host } });
        }
        elements.as_array().unwrap().clone()
    };
    elements(&hosts.iter().flat_map(decorated).collect())
}

/// What the engine of a host says itself.
type Own<'o> = &'o dyn Fn(&str) -> String;

fn containers(host: &str) -> String {
    samples::containers(&samples::node_id(host), 3)
}

fn images(host: &str) -> String {
    samples::images(&samples::node_id(host))
}

#[tokio::test]
async fn case_77_a_peer_that_answers_a_list_with_something_else_is_missing_and_named() {
    let cluster = swarm().await;
    let networks = |host: &str| {
        let node = cluster.nodes.iter().find(|node| node.script.host == host).unwrap();
        json!(samples::networks(&node.script)).to_string()
    };
    let lists: [(&str, Own<'_>); 4] = [
        ("/containers/json", &containers),
        ("/images/json", &images),
        ("/volumes", &samples::volumes),
        ("/networks", &networks),
    ];
    let bad = [
        answers::respond(200, answers::JSON, r#"{"message":1}"#),
        answers::respond(200, answers::JSON, "[1]"),
        answers::garbage(),
    ];
    for (path, own) in lists {
        for (number, bad) in bad.iter().enumerate() {
            cluster.engine(1).on(path, bad.clone());
            let list = cluster.client(0).get(&format!("/v1.41{path}")).await;
            let what = format!("{path} {number}");
            list.is_json_of_an_agent(200, &what);
            let said = ["x-node", "x-node-answered", "x-node-errors"].map(|name| list.header(name));
            assert_eq!(said, ["n1", "2/3", "n2=malformed"], "{what}");
            assert!(elements(&list.json()) == together(&["n1", "n3"], own), "{what}: {}", list.text());
            cluster.engine(1).off(path);
            let list = cluster.client(0).get(&format!("/v1.41{path}")).await;
            assert_eq!((list.header("x-node-answered"), list.header("x-node-errors")), ("3/3", ""), "{what}");
            assert!(elements(&list.json()) == together(&HOSTS, own), "{what}: {}", list.text());
        }
    }
    for at in 0..2 {
        assert_eq!(cluster.client(at).get("/ping").await.status, 204);
    }
}

/// A first message of a client that knows no TLS above this version and would take any usual cipher.
fn client_hello(version: [u8; 2]) -> Vec<u8> {
    let sized = |length: usize| u16::try_from(length).unwrap().to_be_bytes();
    let extension = |number: u16, data: &[u8]| [&number.to_be_bytes()[..], &sized(data.len()), data].concat();
    let ciphers = [0xc0, 0x2b, 0xc0, 0x2f, 0xc0, 0x09, 0xc0, 0x13, 0x00, 0x2f];
    let extensions = [
        // Groups: X25519, P-256. Points: uncompressed. Signatures: ECDSA with P-256, RSA, both with SHA-256.
        extension(10, &[0, 4, 0, 29, 0, 23]),
        extension(11, &[1, 0]),
        extension(13, &[0, 6, 4, 3, 8, 4, 4, 1]),
        // An extended master secret.
        extension(23, &[]),
    ];
    let extensions = extensions.concat();
    let mut hello = [&version[..], &[7; 32], &[0], &sized(ciphers.len()), &ciphers, &[1, 0]].concat();
    hello.extend([&sized(extensions.len())[..], &extensions].concat());
    let message = [&[1, 0][..], &sized(hello.len()), &hello].concat();
    [&[22, 3, 1][..], &sized(message.len()), &message].concat()
}

/// All that an agent says to this, until it closes; of one that speaks on, only the beginning.
async fn heard(at: std::net::SocketAddr, said: &[u8], enough: usize) -> Vec<u8> {
    let mut tcp = TcpStream::connect(at).await.unwrap();
    tcp.write_all(said).await.unwrap();
    let mut heard = Vec::new();
    while heard.len() < enough && soon("an answer", tcp.read_buf(&mut heard)).await.unwrap() > 0 {}
    heard
}

#[tokio::test]
async fn case_78_old_tls_and_plain_http_are_refused() {
    const ALERT: u8 = 21;
    const HANDSHAKE: u8 = 22;
    let cluster = swarm().await;
    let at = cluster.client(0).at;
    // The same message is understood when it speaks of TLS 1.2: a server hello.
    let hello = heard(at, &client_hello([3, 3]), 6).await;
    assert_eq!((hello[0], hello[5]), (HANDSHAKE, 2), "{hello:?}");
    for minor in [2, 1, 0] {
        let refused = heard(at, &client_hello([3, minor]), usize::MAX).await;
        // Fatal, protocol_version (RFC 5246, 7.2); then it closed.
        assert_eq!((refused[0], &refused[3..]), (ALERT, &[0, 2, 2, 70][..]), "3.{minor}: {refused:?}");
    }
    for target in ["/ping", "/v1.41/info"] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        let refused = String::from_utf8(heard(at, request.as_bytes(), usize::MAX).await).unwrap();
        let (head, body) = refused.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
        has_once(head, &["content-type: application/json", "connection: close"]);
        assert_eq!(body, r#"{"message":"client sent an HTTP request to an HTTPS server"}"#);
    }
    assert_eq!(cluster.client(0).stranger().get("/ping").await.status, 204);
}

/// `times` lists, one after the other on one connection. Each must be whole; returns how many were.
async fn list_on(client: Client, target: &str, whole_list: &[Value], times: usize) -> usize {
    let mut connection = client.connect().await;
    let mut seen = 0;
    for _ in 0..times {
        let list = soon("a list", connection.send("GET", target, &[], whole(""))).await.unwrap();
        let list = soon("its end", reply(list)).await;
        list.is_json_of_an_agent(200, target);
        assert_eq!((list.header("x-node-answered"), list.header("x-node-errors")), ("3/3", ""), "{target}");
        assert!(elements(&list.json()) == whole_list, "{target}: {}", list.text());
        seen += 1;
    }
    seen
}

#[tokio::test]
async fn case_79_two_storms_of_lists_have_each_element_once_and_under_its_node() {
    let cluster = swarm().await;
    let storms = [
        (0, "/v1.41/containers/json?all=1", together(&HOSTS, containers)),
        (1, "/v1.41/images/json", together(&HOSTS, images)),
    ];
    assert_eq!(storms.each_ref().map(|(_, _, list)| list.len()), [9, 24]);
    let connections = storms.iter().flat_map(|(at, target, list)| {
        let client = cluster.client(*at);
        (0..15).map(move |_| list_on(client.clone(), target, list, 20))
    });
    assert_eq!(join_all(connections).await.iter().sum::<usize>(), 600);
}
