//! Who may connect to the peer listener, and what both sides prove there.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::Response;
use rustls::pki_types::ServerName;
use rustls::{HandshakeKind, ProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, watch};

use super::support::{LOCALHOST, Running, Talk, patient, run};
use crate::body::Body;
use crate::client::{Client, Side};
use crate::listen::Admit;
use crate::model::{Cluster, Hint, Kind, Member, NodeId, Reach, Role, Service};
use crate::trust::{Authority, PeerTls, any_node, node_of, peer_tls, server_name};

fn node(text: &str) -> NodeId {
    NodeId::parse(text).unwrap()
}

/// Derived once: that costs 19 MiB and a moment each time.
fn authority(which: &str) -> &'static [Authority] {
    static OURS: OnceLock<[Authority; 1]> = OnceLock::new();
    static OTHER: OnceLock<[Authority; 1]> = OnceLock::new();
    let cell = if which == "ours" { &OURS } else { &OTHER };
    cell.get_or_init(|| {
        [Authority::derive(format!("{which}, and 32 characters at least").as_bytes()).unwrap()]
    })
}

fn tls(which: &str, name: &str) -> PeerTls {
    peer_tls(authority(which), &node(name)).unwrap()
}

/// The listener of node `here`, to which Swarm's directory lists `directory`.
struct Here {
    listener: Running,
    hints: mpsc::Receiver<Hint>,
    cluster: watch::Sender<Arc<Cluster>>,
}

impl Here {
    fn new(service: bool, own: &[IpAddr], directory: &[(IpAddr, &str)]) -> Self {
        Self::showing(&tls("ours", "here"), service, own, directory)
    }

    fn showing(tls: &PeerTls, service: bool, own: &[IpAddr], directory: &[(IpAddr, &str)]) -> Self {
        let cluster = cluster(service, own, directory);
        let (cluster, seen) = watch::channel(Arc::new(cluster));
        let (hint, hints) = mpsc::channel(4);
        let admit = Admit::Peers { cluster: seen, hints: hint };
        let listener = run(admit, Arc::clone(&tls.server), patient(), |_, client: Arc<Client>| async move {
            let Side::Peer(node) = &client.side else {
                return Response::new(Body::Full("nobody".into()));
            };
            Response::new(Body::Full(format!("hello {node}").into()))
        });
        Self { listener, hints, cluster }
    }

    async fn ask(&self, tls: &PeerTls, expected: ServerName<'static>) -> std::io::Result<String> {
        let mut talk = Talk::to(self.listener.at, (*tls.client).clone(), expected).await?;
        assert_eq!(talk.tls.get_ref().1.alpn_protocol(), Some(b"http/1.1".as_slice()));
        talk.get().await?;
        let answer = talk.head_and("there").await?;
        assert_eq!(talk.tls.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
        assert_eq!(talk.tls.get_ref().1.protocol_version(), Some(ProtocolVersion::TLSv1_3));
        Ok(answer)
    }
}

fn cluster(service: bool, own: &[IpAddr], directory: &[(IpAddr, &str)]) -> Cluster {
    let me = Member {
        id: node("here"),
        host: "here".into(),
        shown: "here".into(),
        role: Role::Worker,
        leader: false,
        address: None,
        reach: Reach::Here,
        api: None,
        agent_version: None,
    };
    let mut cluster = Cluster::alone(Kind::Swarm, me);
    cluster.service = service.then(|| Service { id: "id".into(), name: "agent".into(), task: None });
    cluster.own_addresses = own.to_vec();
    cluster.directory = directory.iter().map(|(at, name)| (*at, node(name))).collect::<BTreeMap<_, _>>();
    cluster
}

/// What a listener that must not say anything says to a ClientHello.
async fn reaction(here: &Here) -> Vec<u8> {
    let mut tcp = here.listener.tcp().await;
    let mut hello = Vec::new();
    let config = Arc::clone(&tls("ours", "there").client);
    let mut connection = rustls::ClientConnection::new(config, any_node()).unwrap();
    connection.write_tls(&mut hello).unwrap();
    tcp.write_all(&hello).await.ok();
    let mut read = Vec::new();
    // A listener that says something says it in one flight, and then waits.
    tcp.read_buf(&mut read).await.ok();
    read
}

#[tokio::test]
async fn a_listed_peer_is_let_in_by_name_and_dialled_back() {
    let mut here = Here::new(true, &[LOCALHOST], &[(LOCALHOST, "there")]);
    let peer = tls("ours", "there");
    let answer = here.ask(&peer, server_name(&node("here")).unwrap()).await.unwrap();
    assert!(answer.ends_with(" there"), "{answer}");
    assert_eq!(here.hints.recv().await.unwrap(), Hint::Called(node("there")));
    // The second connection proves everything anew, too.
    here.ask(&peer, any_node()).await.unwrap();
    assert_eq!(here.hints.recv().await.unwrap(), Hint::Called(node("there")));
}

#[tokio::test]
async fn an_unlisted_address_gets_no_byte() {
    let here = Here::new(true, &[LOCALHOST], &[("10.0.1.4".parse().unwrap(), "there")]);
    assert_eq!(reaction(&here).await, b"");
    here.cluster.send_replace(Arc::new(cluster(true, &[LOCALHOST], &[(LOCALHOST, "there")])));
    assert_ne!(reaction(&here).await, b"");
}

#[tokio::test]
async fn a_connection_to_another_of_our_addresses_gets_no_byte() {
    let own = ["10.0.1.3".parse().unwrap()];
    let here = Here::new(true, &own, &[(LOCALHOST, "there")]);
    assert_eq!(reaction(&here).await, b"");
    let without_service = Here::new(false, &own, &[]);
    assert_eq!(reaction(&without_service).await, b"");
}

#[tokio::test]
async fn the_secret_does_not_let_one_node_pass_for_another() {
    let mut here = Here::new(true, &[LOCALHOST], &[(LOCALHOST, "there")]);
    let liar = tls("ours", "manager");
    assert!(here.ask(&liar, server_name(&node("here")).unwrap()).await.is_err());
    assert!(here.hints.try_recv().is_err());
}

#[tokio::test]
async fn another_secret_fails_on_both_sides() {
    let mut here = Here::new(false, &[], &[]);
    let stranger = tls("other", "there");
    let refused = here.ask(&stranger, any_node()).await.unwrap_err();
    assert!(refused.to_string().contains("certificate"), "{refused}");
    assert!(here.hints.try_recv().is_err());

    // A client that would take any server is still not let in. In TLS 1.3 it learns that at its first read.
    let careless = rotating("other", "ours", "there");
    assert!(here.ask(&careless, any_node()).await.is_err());
    assert!(here.hints.try_recv().is_err());
}

/// Shows the first authority's certificate, trusts both.
fn rotating(first: &str, second: &str, name: &str) -> PeerTls {
    let both = [first, second]
        .map(|which| Authority::derive(format!("{which}, and 32 characters at least").as_bytes()).unwrap());
    peer_tls(&both, &node(name)).unwrap()
}

#[tokio::test]
async fn a_secret_is_rotated_by_trusting_both_for_a_while() {
    // Swapped: it shows the other authority's certificate already, and still lets in who shows ours.
    let swapped = Here::showing(&rotating("other", "ours", "here"), false, &[], &[]);
    // Added: it still shows ours, and lets in who shows the other's already.
    let added = Here::showing(&rotating("ours", "other", "here"), false, &[], &[]);
    for here in [&swapped, &added] {
        for client in [rotating("ours", "other", "there"), rotating("other", "ours", "there")] {
            here.ask(&client, any_node()).await.unwrap();
        }
    }
    // Who knows one secret alone talks to who shows that one.
    swapped.ask(&tls("other", "there"), any_node()).await.unwrap();
    added.ask(&tls("ours", "there"), any_node()).await.unwrap();
    assert!(swapped.ask(&tls("ours", "there"), any_node()).await.is_err());
    assert!(added.ask(&tls("other", "there"), any_node()).await.is_err());
    // Dropped: only the new one is left.
    let dropped = Here::showing(&tls("other", "here"), false, &[], &[]);
    dropped.ask(&rotating("other", "ours", "there"), any_node()).await.unwrap();
    assert!(dropped.ask(&rotating("ours", "other", "there"), any_node()).await.is_err());
}

/// Another program's client with a right certificate of ours: it speaks these versions, and resumes where it may.
fn plain_client(versions: &[&'static rustls::SupportedProtocolVersion]) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority("ours")[0].certificate().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_client_cert_resolver(Arc::clone(&tls("ours", "there").client.client_auth_cert_resolver))
}

#[tokio::test]
async fn an_older_tls_is_refused_whatever_certificate_it_shows() {
    let here = Here::new(false, &[], &[]);
    let name = server_name(&node("here")).unwrap();
    let both = plain_client(rustls::ALL_VERSIONS);
    Talk::to(here.listener.at, both, name.clone()).await.unwrap().get().await.unwrap();
    let older = plain_client(&[&rustls::version::TLS12]);
    let refused = Talk::to(here.listener.at, older, name).await.err().unwrap();
    assert!(refused.to_string().contains("ProtocolVersion"), "{refused}");
}

#[tokio::test]
async fn no_peer_connection_is_a_resumed_one() {
    let here = Here::new(false, &[], &[]);
    // One store of sessions for both: it would resume if it had been given a ticket.
    let willing = plain_client(rustls::ALL_VERSIONS);
    for _ in 0..2 {
        let name = server_name(&node("here")).unwrap();
        let mut talk = Talk::to(here.listener.at, willing.clone(), name).await.unwrap();
        // A ticket would have come before the answer.
        talk.get().await.unwrap();
        let connection = talk.tls.get_ref().1;
        assert_eq!(connection.handshake_kind(), Some(HandshakeKind::Full));
        assert_eq!(connection.tls13_tickets_received(), 0);
    }
}

#[test]
fn no_clock_of_a_node_decides_about_a_peer() {
    // 2030-01-01, whenever this runs.
    let moment = Some(rustls::pki_types::UnixTime::since_unix_epoch(Duration::from_secs(1_893_456_000)));
    let ours = tls("ours", "there");
    assert_eq!(ours.server.time_provider.current_time(), moment);
    assert_eq!(ours.client.time_provider.current_time(), moment);
}

#[tokio::test]
async fn the_wrong_node_at_an_address_fails_in_the_handshake() {
    let here = Here::new(false, &[], &[]);
    let peer = tls("ours", "there");
    let refused = here.ask(&peer, server_name(&node("elsewhere")).unwrap()).await.unwrap_err();
    assert!(refused.to_string().contains("name"), "{refused}");
    here.ask(&peer, server_name(&node("here")).unwrap()).await.unwrap();
}

#[tokio::test]
async fn where_only_the_address_is_known_the_certificate_tells_the_node() {
    let here = Here::new(false, &[], &[]);
    let client = (*tls("ours", "there").client).clone();
    let talk = Talk::to(here.listener.at, client, any_node()).await.unwrap();
    let shown = talk.tls.get_ref().1.peer_certificates().unwrap();
    assert_eq!(node_of(shown), Some(node("here")));
}

#[tokio::test]
async fn who_shows_no_certificate_is_not_let_in() {
    let here = Here::new(false, &[], &[]);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority("ours")[0].certificate().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider);
    let config = builder
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = server_name(&node("here")).unwrap();
    let refused = match Talk::to(here.listener.at, config, name).await {
        Ok(mut talk) => talk.get().await.is_err(),
        Err(_) => true,
    };
    assert!(refused);
}

#[tokio::test]
async fn plain_http_gets_no_byte_from_the_peer_listener() {
    let here = Here::new(false, &[], &[]);
    let mut tcp = here.listener.tcp().await;
    tcp.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert_eq!(super::support::until_closed(&mut tcp).await, b"");
}
