//! A peer that has the cluster secret and does not keep to HTTP: it hangs up, answers garbage, or never ends.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use swarmgate::model::Reach;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::peers::identity;
use crate::support::client::Reply;
use crate::support::cluster::{CLUSTER_SECRET, Cluster, Setup};

const ROW: &str = r#"[{"Id":"a","Created":1,"Names":["/a"]}]"#;
const PROBE: &str = r#"{"Agent":"9.9.9","Host":"node2","Api":{"Min":"1.12","Max":"1.41"}}"#;

/// What comes of one request.
#[derive(Clone)]
enum Does {
    /// This, whatever it is, and then it hangs up.
    Says(String),
    /// The first once, the second for as long as somebody takes it.
    Goes(&'static str, String),
}

/// What it was asked, by its first line, and on which connection.
type Heard = Vec<(usize, String)>;

/// A peer by hand. It answers probes as agents do, and all else with one row unless it was told otherwise.
struct Raw {
    does: Arc<Mutex<VecDeque<Does>>>,
    heard: Arc<Mutex<Heard>>,
    _over: DropGuard,
}

impl Raw {
    /// In the place of the second node, until the first one has found it.
    async fn start(cluster: &mut Cluster) -> Self {
        cluster.nodes[1].kill().await;
        let (does, heard, over) = (Arc::default(), Arc::default(), CancellationToken::new());
        let raw = Self { does, heard, _over: over.clone().drop_guard() };
        raw.listen(cluster.nodes[1].peer_at(), over).await;
        let is_there = |c: &swarmgate::model::Cluster| {
            c.members.values().any(|m| m.id.as_str() == "thenodeid" && m.reach == Reach::Answering)
        };
        cluster.nodes[0].snapshot("the raw peer answers", is_there).await;
        raw
    }

    async fn listen(&self, at: SocketAddr, over: CancellationToken) {
        let listener = TcpListener::bind(at).await.unwrap();
        let acceptor = TlsAcceptor::from(identity(CLUSTER_SECRET, "thenodeid").server);
        let (does, heard) = (Arc::clone(&self.does), Arc::clone(&self.heard));
        let (tasks, until) = (TaskTracker::new(), over.clone());
        tasks.clone().spawn(over.run_until_cancelled_owned(async move {
            let mut number = 0;
            while let Ok((tcp, _)) = listener.accept().await {
                number += 1;
                let talk = serve(number, tcp, acceptor.clone(), Arc::clone(&does), Arc::clone(&heard));
                tasks.spawn(until.clone().run_until_cancelled_owned(talk));
            }
        }));
    }

    /// What it does with the next requests.
    fn will(&self, does: impl IntoIterator<Item = Does>) {
        *self.does.lock().unwrap() = does.into_iter().collect();
    }

    /// What it was asked since the last look, probes left out.
    fn heard(&self) -> Heard {
        std::mem::take(&mut *self.heard.lock().unwrap())
    }
}

async fn serve(
    number: usize,
    tcp: TcpStream,
    acceptor: TlsAcceptor,
    does: Arc<Mutex<VecDeque<Does>>>,
    heard: Arc<Mutex<Heard>>,
) {
    let Ok(mut tls) = acceptor.accept(tcp).await else { return };
    while let Some(head) = head(&mut tls).await {
        let line = head.lines().next().unwrap_or_default().to_owned();
        let mut said = whole(if line.contains("/_swarmgate/probe") { PROBE } else { ROW });
        if line.starts_with("HEAD ") {
            said.truncate(said.find("\r\n\r\n").unwrap() + 4);
        }
        let does = if line.contains("/_swarmgate/probe") {
            None
        } else {
            heard.lock().unwrap().push((number, line));
            does.lock().unwrap().pop_front()
        };
        // Who hangs up on it has heard enough.
        match does {
            None if tls.write_all(said.as_bytes()).await.is_ok() => {}
            None => return,
            Some(Does::Says(said)) => {
                let _ = tls.write_all(said.as_bytes()).await;
                let _ = tls.shutdown().await;
                return;
            }
            Some(Does::Goes(first, then)) => {
                let mut next = tls.write_all(first.as_bytes()).await;
                while next.is_ok() {
                    next = tls.write_all(then.as_bytes()).await;
                }
                return;
            }
        }
    }
}

/// The head of a request without a body. None: there is no other one.
async fn head(tls: &mut TlsStream<TcpStream>) -> Option<String> {
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        read.push(tls.read_u8().await.ok()?);
    }
    Some(String::from_utf8(read).unwrap())
}

fn whole(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn hangs_up() -> Does {
    Does::Says(String::new())
}

/// Keeps a connection to the raw peer, which breaks as often as given; asks. What it then heard came first over that.
async fn over_a_kept_one(cluster: &Cluster, raw: &Raw, breaks: usize, call: (&str, &str)) -> (Reply, usize) {
    let client = cluster.client(0);
    let named = [("X-Node", "thenodeid")];
    assert_eq!(client.get_with("/plugins", &named).await.status, 200);
    let kept = raw.heard()[0].0;
    raw.will(vec![hangs_up(); breaks]);
    let (method, path) = call;
    let named = if path == "/containers/json" { [].as_slice() } else { named.as_slice() };
    let answer = client.call(method, path, named, "").await;
    let heard = raw.heard();
    assert_eq!(heard[0].0, kept, "a kept one broke: {heard:?}");
    assert!(heard.iter().all(|(_, line)| line.starts_with(method) && line.contains(path)), "{heard:?}");
    (answer, heard.len())
}

#[tokio::test]
async fn a_read_is_asked_again_when_a_kept_connection_breaks() {
    let mut cluster = Setup::fixed(&["node1", "node2"]).start().await;
    let raw = Raw::start(&mut cluster).await;
    for (method, path, breaks, status) in
        [("GET", "/plugins", 1, 200), ("HEAD", "/_ping", 1, 200), ("GET", "/plugins", 2, 502)]
    {
        let (answer, times) = over_a_kept_one(&cluster, &raw, breaks, (method, path)).await;
        assert_eq!((answer.status, times), (status, 2), "{method} {path}: {}", answer.text());
    }
}

#[tokio::test]
async fn what_changes_something_is_never_asked_again() {
    let mut cluster = Setup::fixed(&["node1", "node2"]).start().await;
    let raw = Raw::start(&mut cluster).await;
    for (method, path) in [
        ("POST", "/containers/web/stop"),
        ("POST", "/containers/web/start"),
        ("DELETE", "/containers/web"),
        ("PUT", "/containers/web/archive"),
    ] {
        let (answer, times) = over_a_kept_one(&cluster, &raw, 1, (method, path)).await;
        assert_eq!((answer.status, times), (502, 1), "{method} {path}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_part_of_a_list_is_asked_for_again_when_a_kept_connection_breaks() {
    let mut cluster = Setup::fixed(&["node1", "node2"]).start().await;
    let raw = Raw::start(&mut cluster).await;
    for (breaks, count, errors) in [(1, "2/2", ""), (2, "1/2", "node2=unreachable")] {
        let (list, times) = over_a_kept_one(&cluster, &raw, breaks, ("GET", "/containers/json")).await;
        let said = (list.status, list.header("x-node-answered"), list.header("x-node-errors"), times);
        assert_eq!(said, (200, count, errors, 2));
    }
}

#[tokio::test]
async fn a_peer_that_answers_badly_is_named_with_the_reason_and_the_others_are_returned() {
    let setup = Setup::fixed(&["node1", "node2", "node3"]);
    let mut cluster = setup.config(|_, config| config.limits.part_bytes = 1 << 20).start().await;
    let raw = Raw::start(&mut cluster).await;
    let client = cluster.client(0);
    let said = |text: &str| Does::Says(text.to_owned());
    let list = |bytes: &str| said(&whole(bytes));
    let ok = "HTTP/1.1 200 OK\r\n";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = format!("{:x}\r\n{}\r\n", 4096, " ".repeat(4096));
    let rows = [
        ("unreachable", "no HTTP", said("\0\u{fffd} it works\r\n\r\n")),
        ("unreachable", "half a head", said("HTTP/1.1 200 OK\r\nContent-")),
        (
            "unreachable",
            "two lengths",
            said("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n[]"),
        ),
        ("unreachable", "a giant header", Does::Goes(ok, "X-Large: ".to_owned() + &"x".repeat(4096))),
        ("unreachable", "headers without end", Does::Goes(ok, format!("X-Large: {}\r\n", "x".repeat(4096)))),
        ("malformed", "garbage", list("<html>\0\u{fffd}</html>")),
        ("malformed", "an object", list(r#"{"message":1}"#)),
        ("malformed", "a truncated body", said(&format!("{ok}Content-Length: 999\r\n\r\n{ROW}"))),
        ("malformed", "a truncated chunk", said(&format!("{chunked}fff\r\n{ROW}"))),
        ("malformed", "no last chunk", said(&format!("{chunked}{:x}\r\n{ROW}\r\n", ROW.len()))),
        ("malformed", "no chunk", said(&format!("{chunked}{ROW}"))),
        ("too-large", "an endless body", Does::Goes("HTTP/1.1 200 OK\r\n\r\n", " ".repeat(4096))),
        ("too-large", "endless chunks", Does::Goes(chunked, chunk)),
    ];
    let mut seen = 0;
    for (reason, what, does) in rows {
        // A connection that broke is tried once more.
        raw.will([does.clone(), does]);
        let list = client.get("/v1.41/containers/json").await;
        is_without_node2(&list, reason, what);
        assert_eq!(raw.heard().len(), if reason == "unreachable" { 2 } else { 1 }, "{what}");
        seen += 1;
    }
    assert_eq!(seen, 13);
    raw.will([]);
    assert_eq!(client.get("/containers/json").await.header("x-node-answered"), "3/3");
}

fn is_without_node2(list: &Reply, reason: &str, what: &str) {
    let said = (list.status, list.header("x-node-answered"), list.header("x-node-errors"));
    assert_eq!(said, (200, "2/3", format!("node2={reason}").as_str()), "{what}: {}", list.text());
    let list = list.json();
    let hosts: Vec<_> =
        list.as_array().unwrap().iter().map(|row| row["Portainer"]["Agent"]["NodeName"].clone()).collect();
    assert_eq!(hosts, ["node1", "node3", "node1", "node3", "node1", "node3"], "{what}");
}
