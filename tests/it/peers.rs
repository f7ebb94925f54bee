//! Agents among themselves: who is missing is named, who lies is not believed, and nothing is sent on twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use swarmgate::config::Limits;
use swarmgate::model::{Absence, NodeId, Reach, Secret};
use swarmgate::trust::peer::{Authority, PeerTls, any_node, node_of, peer_tls};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use crate::support::client::{Reply, reply};
use crate::support::cluster::{CLUSTER_SECRET, Node, Setup};
use crate::support::engine::answers;
use crate::support::soon;

const HOSTS: [&str; 3] = ["node1", "node2", "node3"];

fn answered(list: &Reply) -> (u16, &str, &str) {
    (list.status, list.header("x-node-answered"), list.header("x-node-errors"))
}

pub(crate) fn identity(secret: &str, node: &str) -> PeerTls {
    peer_tls(&[Authority::derive(secret.as_bytes()).unwrap()], &NodeId::parse(node).unwrap()).unwrap()
}

#[tokio::test]
async fn a_killed_agent_is_named_at_once_and_is_back_after_its_restart() {
    let mut cluster = Setup::swarm(&HOSTS, 1).start().await;
    cluster.nodes[2].kill().await;
    for at in 0..2 {
        let list = cluster.client(at).get("/containers/json").await;
        let (status, count, errors) = answered(&list);
        assert_eq!((status, count, list.json().as_array().unwrap().len()), (200, "2/3", 6), "{errors}");
        assert!(errors == "node3=refused" || errors == "node3=unreachable", "{errors}");
        let strict = cluster.client(at).get_with("/containers/json", &[("X-Node-Strict", "1")]).await;
        assert_eq!((strict.status, strict.header("x-node-answered")), (503, "2/3"));
    }
    cluster.nodes[2].start().await;
    cluster.is_whole().await;
    for at in 0..3 {
        assert_eq!(answered(&cluster.client(at).get("/containers/json").await), (200, "3/3", ""));
    }
}

#[tokio::test]
async fn all_agents_killed_at_once_are_whole_within_three_seconds_of_their_start() {
    // As they run, no faster.
    let setup = Setup::swarm(&HOSTS, 2).config(|_, config| config.limits = Limits::default());
    let mut cluster = setup.start().await;
    for node in &mut cluster.nodes {
        node.kill().await;
    }
    let began = Instant::now();
    for node in &mut cluster.nodes {
        node.start().await;
    }
    cluster.is_whole().await;
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!(answered(&cluster.client(2).get("/containers/json").await), (200, "3/3", ""));
}

#[tokio::test]
async fn case_27_a_peer_that_accepts_and_is_silent_costs_about_a_second_once() {
    let setup = Setup::fixed(&HOSTS).relayed().config(|_, config| {
        config.limits.probe = Duration::from_millis(600);
        config.limits.probe_answering = Duration::from_secs(60);
    });
    let cluster = setup.start().await;
    assert_eq!(answered(&cluster.client(0).get("/containers/json").await), (200, "3/3", ""));
    let relay = cluster.nodes[2].relay.as_ref().unwrap();
    relay.hang();
    let began = Instant::now();
    let list = cluster.client(0).get("/containers/json").await;
    assert_eq!(answered(&list), (200, "2/3", "node3=unreachable"));
    list.is_json_of_an_agent(200, "without node3");
    let list = list.json();
    let rows: Vec<_> =
        list.as_array().unwrap().iter().map(|row| row["Portainer"]["Agent"]["NodeName"].clone()).collect();
    assert_eq!(rows, ["node1", "node2", "node1", "node2", "node1", "node2"]);
    // 300 ms of silence and 600 ms for the probe; the rest is for a busy machine.
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    cluster.nodes[0].thinks("node3", "is missing", |m| !m.is_reachable()).await;
    let began = Instant::now();
    assert_eq!(answered(&cluster.client(0).get("/containers/json").await), (200, "2/3", "node3=unreachable"));
    let named = cluster.client(0).get_with("/version", &[("X-Node", "node3")]).await;
    assert_eq!(named.status, 502);
    assert!(began.elapsed() < Duration::from_secs(2), "it is not waited for again: {:?}", began.elapsed());
    relay.go_on();
    cluster.nodes[0].thinks("node3", "is back", |m| m.reach == Reach::Answering).await;
    assert_eq!(answered(&cluster.client(0).get("/containers/json").await), (200, "3/3", ""));
}

#[tokio::test]
async fn nodes_at_the_end_of_a_long_wire_that_loses_packets_stay_and_answer_every_list_and_long_call() {
    let setup = Setup::fixed(&HOSTS).far_apart(Duration::from_millis(250)).config(|_, config| {
        let real = Limits::default();
        (config.limits.connect_peer, config.limits.list) = (real.connect_peer, real.list);
        (config.limits.probe, config.limits.probe_patient) = (real.probe, real.probe_patient);
        config.limits.probe_answering = Duration::from_secs(1);
    });
    let cluster = setup.start().await;
    let (started, inside) = tokio::sync::oneshot::channel();
    let (release, released) = tokio::sync::oneshot::channel();
    cluster.engine(2).on("/containers/web/stop", answers::hold(started, released));
    let client = cluster.client(0);
    let stop = client.call("POST", "/containers/web/stop?t=30", &[("X-Node", "node3")], "");
    let lists = async {
        inside.await.unwrap();
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(10) {
            let list = client.get("/containers/json").await;
            assert_eq!(answered(&list), (200, "3/3", ""), "after {:?}", began.elapsed());
        }
        release.send(()).unwrap();
    };
    let missing = cluster.nodes[0].snapshot("a node goes missing", |c| {
        c.members.len() < 3 || c.members.values().any(|m| !m.is_reachable())
    });
    tokio::select! {
        (stopped, ()) = async { tokio::join!(stop, lists) } => assert_eq!(stopped.status, 404, "{}", stopped.text()),
        seen = missing => panic!("{seen:?}"),
    }
}

#[tokio::test]
async fn a_node_that_is_cut_off_costs_one_list_a_second_and_is_back_at_once_when_healed() {
    let setup = Setup::fixed(&HOSTS).relayed().config(|_, config| config.limits = Limits::default());
    let cluster = setup.start().await;
    let relay = cluster.nodes[2].relay.as_ref().unwrap();
    assert_eq!(answered(&cluster.client(0).get("/containers/json").await), (200, "3/3", ""));
    relay.cut();
    let began = Instant::now();
    assert_eq!(answered(&cluster.client(0).get("/containers/json").await), (200, "2/3", "node3=unreachable"));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    cluster.nodes[0].thinks("node3", "is missing", |m| !m.is_reachable()).await;
    // Through a whole probe of the missing node, and the pause before the next.
    relay.accepts(9).await;
    let began = Instant::now();
    for _ in 0..5 {
        let list = cluster.client(0).get("/containers/json").await;
        assert_eq!(answered(&list), (200, "2/3", "node3=unreachable"));
    }
    assert!(
        began.elapsed() < Duration::from_millis(900),
        "it is not waited for again: {:?}",
        began.elapsed()
    );
    relay.go_on();
    let healed = Instant::now();
    cluster.nodes[0].thinks("node3", "is back", |m| m.reach == Reach::Answering).await;
    assert!(healed.elapsed() < Duration::from_secs(3), "{:?}", healed.elapsed());
    assert_eq!(answered(&cluster.client(0).get("/containers/json").await), (200, "3/3", ""));
}

#[tokio::test]
async fn a_node_that_only_small_packets_reach_costs_one_list_a_second_and_is_named() {
    let setup = Setup::fixed(&HOSTS).relayed().config(|_, config| {
        config.limits = Limits { probe_answering: Duration::from_secs(60), ..Limits::default() };
    });
    let cluster = setup.start().await;
    let relay = cluster.nodes[2].relay.as_ref().unwrap();
    relay.narrow();
    let small = cluster.client(0).get_with("/_ping", &[("X-Node", "node3")]).await;
    assert_eq!((small.status, small.header("x-node")), (200, "node3"), "small packets pass");
    let began = Instant::now();
    let list = cluster.client(0).get("/containers/json").await;
    assert_eq!(answered(&list), (200, "2/3", "node3=unreachable"));
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    // Nor do its own probes find it well.
    relay.accepts(9).await;
    let began = Instant::now();
    assert_eq!(answered(&cluster.client(0).get("/containers/json").await), (200, "2/3", "node3=unreachable"));
    assert!(
        began.elapsed() < Duration::from_millis(600),
        "it is not waited for again: {:?}",
        began.elapsed()
    );
    relay.go_on();
    cluster.nodes[0].thinks("node3", "is back", |m| m.reach == Reach::Answering).await;
    assert_eq!(answered(&cluster.client(0).get("/containers/json").await), (200, "3/3", ""));
}

#[tokio::test]
async fn a_call_that_may_take_long_ends_when_its_peer_went_deaf() {
    let setup = Setup::fixed(&HOSTS[..2]).relayed().config(|_, config| {
        (config.limits.silence, config.limits.probe_patient) =
            (Duration::from_millis(100), Duration::from_secs(1));
        config.limits.probe_answering = Duration::from_secs(600);
    });
    let cluster = setup.start().await;
    let (started, inside) = tokio::sync::oneshot::channel();
    let (_never, released) = tokio::sync::oneshot::channel();
    cluster.engine(1).on("/containers/web/stop", answers::hold(started, released));
    let client = cluster.client(0);
    let named = [("X-Node", "node2")];
    let stop = client.call("POST", "/containers/web/stop?t=300", &named, "");
    let relay = cluster.nodes[1].relay.as_ref().unwrap();
    let deaf = async {
        soon("it is inside", inside).await.unwrap();
        relay.hang();
        Instant::now()
    };
    let (stopped, since) = tokio::join!(stop, deaf);
    stopped.is_json_of_an_agent(502, "deaf");
    assert!(since.elapsed() >= Duration::from_secs(2), "two patient probes: {:?}", since.elapsed());
    cluster.nodes[0].thinks("node2", "is missing", |m| !m.is_reachable()).await;
}

#[tokio::test]
async fn forwarded_calls_share_a_kept_connection() {
    // Two nodes: only the entry dials the other one, and its own probes are rare once that answers.
    let setup = Setup::fixed(&HOSTS[..2])
        .relayed()
        .config(|_, config| config.limits.probe_answering = Duration::from_secs(600));
    let cluster = setup.start().await;
    let call =
        async || assert_eq!(cluster.client(0).get_with("/plugins", &[("X-Node", "node2")]).await.status, 404);
    call().await;
    let relay = cluster.nodes[1].relay.as_ref().unwrap();
    let known = relay.accepted();
    cluster.engine(1).forget();
    for _ in 0..10 {
        call().await;
    }
    assert_eq!(relay.accepted(), known);
    // Nor does anybody ask the engine whether it is there before it is asked for something.
    let seen = cluster.engine(1).seen();
    let count = |path: &str| seen.iter().filter(|seen| seen.path() == path).count();
    assert_eq!((count("/plugins"), count("/_ping")), (10, 0));
}

/// The kernel's open connections: each with its local and its remote port, and in how many hundredths of a second it
/// will ask whether the other end is there, if it will.
#[cfg(target_os = "linux")]
fn open_connections() -> Vec<([u16; 2], Option<u32>)> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let row = |line: &str| {
        let columns: Vec<_> = line.split_whitespace().collect();
        let port = |address: &str| u16::from_str_radix(&address[9..], 16).unwrap();
        let (timer, when) = columns[5].split_once(':').unwrap();
        let asks = (timer == "02").then(|| u32::from_str_radix(when, 16).unwrap());
        (columns[3] == "01").then(|| ([port(columns[1]), port(columns[2])], asks))
    };
    table.lines().skip(1).filter_map(row).collect()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn every_connection_of_an_agent_notices_within_a_minute_that_the_other_end_vanished() {
    let cluster = Setup::fixed(&HOSTS[..2]).start().await;
    let _client = cluster.client(0).shake_hands().await.unwrap();
    assert_eq!(cluster.client(0).get_with("/plugins", &[("X-Node", "node2")]).await.status, 404);
    let (public, peer) = (cluster.client(0).at.port(), cluster.nodes[1].peer_at().port());
    for (kind, side, port) in [("a client's", 0, public), ("a peer's", 0, peer), ("one to a peer", 1, peer)] {
        // While data is under way another clock runs.
        let silent = async {
            loop {
                let mut open = open_connections();
                open.retain(|(ports, _)| ports[side] == port);
                if !open.is_empty() && open.iter().all(|(_, asks)| asks.is_some_and(|when| when <= 3000)) {
                    break;
                }
                tokio::task::yield_now().await;
            }
        };
        soon(&format!("{kind} asks after 30 s"), silent).await;
    }
}

#[tokio::test]
async fn another_cluster_secret_is_named_as_such_on_both_sides() {
    let setup = Setup::fixed(&HOSTS).config(|at, config| {
        if at == 2 {
            config.cluster.secrets = vec![Secret::new("another secret than the others have, by mistake")];
        }
    });
    let cluster = setup.start_only().await;
    let shown = |node: &Node| format!("127.0.0.1:{}", node.config.listen.peer_port);
    let secret = |m: &swarmgate::model::Member| m.reach == Reach::Missing(Absence::Secret);
    for (at, other) in [(0, "node2"), (1, "node1")] {
        cluster.nodes[at].thinks(&shown(&cluster.nodes[2]), "has another secret", secret).await;
        cluster.nodes[at].thinks(other, "answers", |m| m.reach == Reach::Answering).await;
        let list = cluster.client(at).get("/containers/json").await;
        assert_eq!(answered(&list), (200, "2/3", format!("{}=secret", shown(&cluster.nodes[2])).as_str()));
    }
    for at in 0..2 {
        cluster.nodes[2].thinks(&shown(&cluster.nodes[at]), "has another secret", secret).await;
    }
    assert_eq!(cluster.client(2).get("/containers/json").await.header("x-node-answered"), "1/3");
}

/// One request to an agent's peer listener, as an agent of this name would send it.
pub(crate) async fn as_peer(
    node: &Node,
    identity: &PeerTls,
    target: &str,
    headers: &[(&str, &str)],
) -> std::io::Result<Reply> {
    let tcp = TcpStream::connect(node.peer_at()).await?;
    let tls = tokio_rustls::TlsConnector::from(Arc::clone(&identity.client)).connect(any_node(), tcp).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls)).await.unwrap();
    TaskTracker::new().spawn(connection);
    let mut request = Request::builder().uri(target).header("Host", "peer");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = sender.send_request(request.body(Empty::<bytes::Bytes>::new()).unwrap()).await;
    Ok(soon("its end", reply(answer.map_err(std::io::Error::other)?)).await)
}

#[tokio::test]
async fn what_a_peer_asks_is_executed_here_or_refused_and_never_sent_on() {
    let cluster = Setup::swarm(&HOSTS, 1).start().await;
    let node = &cluster.nodes[2];
    let peer = identity(CLUSTER_SECRET, "somebody");
    cluster.forget();
    let ask =
        async |target: &str, headers: &[(&str, &str)]| as_peer(node, &peer, target, headers).await.unwrap();

    let list = ask("/v1.41/containers/json?from=peer", &[]).await;
    assert_eq!(
        (list.status, list.json().as_array().unwrap().len(), list.header("x-node-answered")),
        (200, 3, "")
    );
    assert_eq!(ask("/info?from=peer", &[]).await.json()["Name"], "node3");
    // A manager's route is for this engine to refuse.
    assert_eq!(ask("/services?from=peer", &[]).await.status, 503);
    assert_eq!(
        ask("/plugins?from=peer", &[("X-PortainerAgent-ManagerOperation", "1")]).await.header("x-node"),
        "node3"
    );
    assert_eq!(
        ask("/plugins?from=peer", &[("X-PortainerAgent-Target", "node1")]).await.header("x-node"),
        "node3"
    );
    assert_eq!(ask("/plugins?from=peer", &[("X-Node", node.id().as_str())]).await.status, 404);
    for other in [cluster.nodes[0].id().as_str(), "node1", "node3"] {
        let refused = ask("/plugins?from=peer", &[("X-Node", other)]).await;
        assert_eq!((refused.status, refused.header("content-type")), (421, "application/json"), "{other}");
        assert!(refused.message().contains(node.id().as_str()), "{}", refused.message());
    }
    for (at, host) in HOSTS.iter().enumerate().take(2) {
        let seen = cluster.engine(at).seen();
        assert!(!seen.iter().any(|seen| seen.target.contains("from=peer")), "nothing was sent on to {host}");
    }
    let probe = ask("/_swarmgate/probe", &[]).await;
    assert_eq!(
        (probe.json()["Host"].clone(), probe.json()["Api"]["Max"].clone()),
        ("node3".into(), "1.41".into())
    );
    assert_eq!(probe.header("portainer-agent"), "", "that is for clients");
    assert!(probe.text().len() > 4 << 10, "it fills more than a packet");
    // On the port for clients the same path is one like any other.
    let public = cluster.client(2).get("/_swarmgate/probe").await;
    assert_eq!((public.status, public.message()), (404, "page not found".to_owned()));
}

#[tokio::test]
async fn without_the_cluster_secret_no_byte_of_http_is_read_on_the_peer_port() {
    let cluster = Setup::fixed(&HOSTS).start().await;
    let before = cluster.nodes[0].snapshot("now", |_| true).await;
    let made_up = Authority::derive(b"a secret that somebody made up, of some length").unwrap();
    let ours = Authority::derive(CLUSTER_SECRET.as_bytes()).unwrap();
    let peer = cluster.nodes[1].id();
    // Who would take any agent, and shows a certificate of that secret.
    let stranger = peer_tls(&[made_up, ours], &peer).unwrap();
    assert!(as_peer(&cluster.nodes[0], &stranger, "/_swarmgate/probe", &[]).await.is_err());
    let member = identity(CLUSTER_SECRET, peer.as_str());
    assert_eq!(as_peer(&cluster.nodes[0], &member, "/_swarmgate/probe", &[]).await.unwrap().status, 200);
    // A client of agents, without any certificate. In TLS 1.3 it learns at its first read that it is not let in.
    let anybody = crate::support::client::Client {
        at: cluster.nodes[0].peer_at(),
        signer: Some(cluster.signer.clone()),
    };
    for path in ["/_swarmgate/probe", "/info"] {
        let answer = anybody.connect().await.send("GET", path, &[], crate::support::client::whole("")).await;
        assert!(answer.is_err(), "{path}: {answer:?}");
    }
    // And one without TLS.
    let mut tcp = TcpStream::connect(anybody.at).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut tcp, b"GET /info HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut heard = Vec::new();
    let _ = soon("it closes", tcp.read_to_end(&mut heard)).await;
    assert!(!String::from_utf8_lossy(&heard).contains("HTTP"));
    assert_eq!(
        cluster.nodes[0].snapshot("now", |_| true).await.members,
        before.members,
        "nothing is believed of it"
    );
}

/// An agent that has the secret, says what it likes, and shows what it was sent.
async fn impostor(
    at: std::net::SocketAddr,
    identity: PeerTls,
    said: tokio::sync::mpsc::UnboundedSender<String>,
) {
    refusing(at, identity, said, Arc::default()).await;
}

/// The same; as often as `refusals` say, it takes itself for another node.
async fn refusing(
    at: std::net::SocketAddr,
    identity: PeerTls,
    said: tokio::sync::mpsc::UnboundedSender<String>,
    refusals: Arc<AtomicUsize>,
) {
    let listener = TcpListener::bind(at).await.unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(identity.server);
    TaskTracker::new().spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let (acceptor, said, refusals) = (acceptor.clone(), said.clone(), Arc::clone(&refusals));
            TaskTracker::new().spawn(async move {
                let Ok(tls) = acceptor.accept(tcp).await else { return };
                assert!(node_of(tls.get_ref().1.peer_certificates().unwrap()).is_some());
                let service = hyper::service::service_fn(|request: Request<hyper::body::Incoming>| {
                    let probed = request.uri().path() == "/_swarmgate/probe";
                    let _ = probed || said.send(format!("{} {:?}", request.uri(), request.headers())).is_ok();
                    let probe = r#"{"Agent":"9.9.9","Host":"node1","Api":{"Min":"1.12","Max":"1.41"}}"#;
                    let body = if probed { probe } else { r#"[{"Id":"a","Created":1,"Names":["/a"]}]"# };
                    let mut answer = http::Response::new(http_body_util::Full::<bytes::Bytes>::from(body));
                    answer.headers_mut().insert("X-Node", "node2".parse().unwrap());
                    let one_less = |left: usize| left.checked_sub(1);
                    if !probed && refusals.fetch_update(Relaxed, Relaxed, one_less).is_ok() {
                        *answer.status_mut() = http::StatusCode::MISDIRECTED_REQUEST;
                    }
                    async { Ok::<_, std::convert::Infallible>(answer) }
                });
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(tls), service)
                    .await;
            });
        }
    });
}

#[tokio::test]
async fn a_peer_hears_who_is_meant_and_who_asked_and_no_credential() {
    let mut cluster = Setup::fixed(&["node1", "node2"]).start().await;
    cluster.nodes[1].kill().await;
    let (said, mut heard) = tokio::sync::mpsc::unbounded_channel();
    impostor(cluster.nodes[1].peer_at(), identity(CLUSTER_SECRET, "thenodeid"), said).await;
    let there = |c: &swarmgate::model::Cluster| {
        c.members.values().any(|m| m.id.as_str() == "thenodeid" && m.reach == Reach::Answering)
    };
    cluster.nodes[0].snapshot("the new peer answers", there).await;
    let [(_, key), _] = cluster.signer.headers();
    let headers = [
        ("X-Node", "thenodeid"),
        ("Authorization", "Bearer of-portainer"),
        ("Cookie", "portainer_api_key=of-portainer"),
        ("X-Registry-Auth", "for-the-engine"),
        ("X-Swarmgate-Caller", "forged"),
        ("X-PortainerAgent-Target", "remembered"),
    ];
    let answer = cluster.client(0).get_with("/v1.41/plugins?a=[1]", &headers).await;
    // Two nodes say that they are node1: the shown name tells them apart, whatever the peer's own header says.
    assert_eq!((answer.status, answer.header("x-node")), (200, "node1.thenod"));
    let heard = soon("the request", heard.recv()).await.unwrap();
    assert!(heard.starts_with("/v1.41/plugins?a=[1] "), "{heard}");
    for (there, text) in [
        (true, "\"x-node\": \"thenodeid\""),
        (true, "\"x-swarmgate-caller\": \"portainer "),
        (true, "for-the-engine"),
        (false, "of-portainer"),
        (false, "forged"),
        (false, "remembered"),
        (false, "portaineragent"),
        (false, key.as_str()),
    ] {
        assert_eq!(heard.to_lowercase().contains(&text.to_lowercase()), there, "{text}: {heard}");
    }
    let list = cluster.client(0).get("/containers/json").await;
    assert_eq!(list.header("x-node-answered"), "2/2");
    assert!(list.text().contains(r#""Portainer":{"Agent":{"NodeName":"node1.thenod"}}"#), "{}", list.text());
}

#[tokio::test]
async fn what_a_peer_took_for_anothers_is_asked_once_more() {
    let mut cluster = Setup::fixed(&["node1", "node2"]).start().await;
    cluster.nodes[1].kill().await;
    let (said, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let refusals = Arc::new(AtomicUsize::new(0));
    let identity = identity(CLUSTER_SECRET, "thenodeid");
    refusing(cluster.nodes[1].peer_at(), identity, said, Arc::clone(&refusals)).await;
    let there = |c: &swarmgate::model::Cluster| {
        c.members.values().any(|m| m.id.as_str() == "thenodeid" && m.reach == Reach::Answering)
    };
    cluster.nodes[0].snapshot("the new peer answers", there).await;
    let client = cluster.client(0);
    let named = [("X-Node", "thenodeid")];
    // A body that is not kept cannot be sent again.
    for (method, path, body, refused, status, times) in [
        ("GET", "/plugins", "", 1, 200, 2),
        ("POST", "/containers/web/start", "", 1, 200, 2),
        ("POST", "/containers/web/start", "", 2, 503, 2),
        ("POST", "/containers/create", "{}", 1, 503, 1),
        ("GET", "/containers/web/json", "", 2, 503, 2),
    ] {
        refusals.store(refused, Relaxed);
        let answer = client.call(method, path, &named, body).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        let asked = std::iter::from_fn(|| heard.try_recv().ok()).count();
        assert_eq!(asked, times, "{method} {path}");
        if status == 503 {
            assert_eq!(answer.header("content-type"), "application/json");
            assert!(answer.message().contains("try again"), "{}", answer.message());
        }
        refusals.store(0, Relaxed);
    }
    for (refused, count, errors) in [(1, "2/2", ""), (2, "1/2", "node1.thenod=unreachable")] {
        refusals.store(refused, Relaxed);
        assert_eq!(answered(&client.get("/containers/json").await), (200, count, errors));
        assert_eq!(std::iter::from_fn(|| heard.try_recv().ok()).count(), 2);
    }
    // Nor is a container missed that a second question finds.
    refusals.store(1, Relaxed);
    let missing = client.get("/containers/nope/json").await;
    assert_eq!((missing.status, missing.header("x-node-errors")), (503, "node1.thenod=malformed"));
}

#[tokio::test]
async fn a_peer_that_lies_about_its_name_is_no_other_node_of_the_swarm() {
    let mut cluster = Setup::swarm(&HOSTS, 1).start().await;
    cluster.nodes[2].kill().await;
    let (said, _heard) = tokio::sync::mpsc::unbounded_channel();
    // It has the secret, but the Swarm knows no node of this id.
    impostor(cluster.nodes[2].peer_at(), identity(CLUSTER_SECRET, "unknownnode"), said).await;
    cluster.nodes[0].thinks("node3", "is missing", |m| !m.is_reachable()).await;
    let list = cluster.client(0).get("/containers/json").await;
    assert_eq!(
        (list.status, list.header("x-node-answered")),
        (200, "2/3"),
        "{}",
        list.header("x-node-errors")
    );
    let named = cluster.client(0).get_with("/version", &[("X-Node", "unknownnode")]).await;
    assert_eq!(named.status, 404, "{}", named.text());
}

#[tokio::test]
async fn a_peers_role_and_host_name_are_the_swarms_word() {
    let cluster = Setup::swarm(&HOSTS, 1).start().await;
    let known = cluster.nodes[1].snapshot("now", |_| true).await;
    let said: Vec<_> =
        known.members.values().map(|m| (m.host.to_string(), m.is_manager(), m.leader)).collect();
    for row in [("node1", true, true), ("node2", false, false), ("node3", false, false)] {
        assert!(said.contains(&(row.0.to_owned(), row.1, row.2)), "{said:?}");
    }
    // The engine calls itself otherwise than the node list does: the list counts.
    cluster.swarm().change_node("node3", |node| node.host = "renamed".to_owned());
    for node in &cluster.nodes {
        node.thinks("renamed", "is known", |m| m.is_reachable()).await;
    }
    assert_eq!(cluster.client(0).get_with("/version", &[("X-Node", "renamed")]).await.status, 200);
}

#[tokio::test]
async fn drained_and_down_nodes_and_those_without_an_agent_are_named_and_removed_ones_are_not() {
    let mut cluster = Setup::swarm(&HOSTS, 1).start().await;
    cluster.swarm().change(|content| {
        let mut more = content.nodes[2].clone();
        (more.id, more.host) = ("nodewithoutanagent".to_owned(), "node4".to_owned());
        content.nodes.push(more);
    });
    cluster.nodes[0].thinks("node4", "is named", |m| m.reach == Reach::Missing(Absence::NoAgent)).await;
    let list = cluster.client(0).get("/containers/json").await;
    assert_eq!(answered(&list), (200, "3/4", "node4=no-agent"));
    cluster.nodes[2].kill().await;
    for (state, availability, absence) in
        [("ready", "drain", Absence::Drained), ("down", "active", Absence::Down)]
    {
        cluster.swarm().change_node("node3", |node| (node.state, node.availability) = (state, availability));
        cluster.nodes[0].thinks("node3", "is named", |m| m.reach == Reach::Missing(absence)).await;
        let errors = cluster.client(0).get("/containers/json").await.header("x-node-errors").to_owned();
        assert_eq!(errors, format!("node3={};node4=no-agent", absence.as_str()));
    }
    cluster
        .swarm()
        .change(|content| content.nodes.retain(|node| node.host != "node3" && node.host != "node4"));
    cluster.nodes[0].snapshot("removed nodes leave", |c| c.members.len() == 2).await;
    assert_eq!(answered(&cluster.client(0).get("/containers/json").await), (200, "2/2", ""));
}

#[tokio::test]
async fn a_broken_peer_answer_is_not_a_clean_end() {
    let cluster = Setup::fixed(&HOSTS).relayed().start().await;
    let id = crate::support::engine::samples::id(&cluster.nodes[2].script.node, "container", 0);
    let path = format!("/containers/{id}/logs?follow=1");
    let logs =
        cluster.client(0).open("GET", &path, &[("X-Node", "node3")], crate::support::client::whole("")).await;
    let mut logs = logs.into_body();
    crate::support::client::piece(&mut logs).await;
    let mut cluster = cluster;
    cluster.nodes[2].kill().await;
    assert!(soon("the end", logs.collect()).await.is_err());
}
