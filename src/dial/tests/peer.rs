use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use http::{Method, StatusCode};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::super::{Fail, Patience, Peers, Probe, ProbeDocument};
use super::{read_to, request};
use crate::body::Body;
use crate::config::Limits;
use crate::model::{Absence, ApiRange, ApiVersion, Member, NodeId, Reach, Role};
use crate::shutdown::Shutdown;
use crate::trust::{Authority, PeerTls, peer_tls};

/// Ours and another cluster's. Deriving one is slow on purpose, so the tests share them.
static BOTH: LazyLock<[Authority; 2]> =
    LazyLock::new(|| [b"ours".as_slice(), b"theirs"].map(|secret| Authority::derive(secret).unwrap()));

fn tls(authorities: &[Authority], node: &str) -> PeerTls {
    peer_tls(authorities, &NodeId::parse(node).unwrap()).unwrap()
}

fn client(node: &str) -> Arc<ClientConfig> {
    tls(&BOTH[..1], node).client
}

fn acceptor(node: &str) -> TlsAcceptor {
    tls(&BOTH[..1], node).server.into()
}

fn peers(tls: Option<Arc<ClientConfig>>, limits: Limits) -> Peers {
    Peers::new(watch::Sender::new(tls).subscribe(), Arc::new(limits), Shutdown::new())
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn member(id: &str, address: Option<SocketAddr>) -> Member {
    Member {
        id: NodeId::parse(id).unwrap(),
        host: "node1".into(),
        shown: "node1".into(),
        role: Role::Worker,
        leader: false,
        address,
        reach: Reach::Untried,
        api: None,
        agent_version: None,
    }
}

fn get() -> http::Request<Body> {
    request(Method::GET, "/info", Body::Empty)
}

async fn accept(listener: &TcpListener, acceptor: &TlsAcceptor) -> TlsStream<TcpStream> {
    acceptor.accept(listener.accept().await.unwrap().0).await.unwrap()
}

/// What comes of a request and of a probe, each on a connection that `far` is given.
async fn fails<F>(config: Arc<ClientConfig>, far: F) -> [Fail; 2]
where
    F: AsyncFn(TcpStream),
{
    let (listener, address) = listen().await;
    let peers = peers(Some(config), Limits::default());
    let node = NodeId::parse("n1").unwrap();
    let near = async {
        let asked = peers.request(&member("n1", Some(address)), get()).await.unwrap_err();
        [asked, peers.probe(address, Some(&node), Patience::Full).await.unwrap_err()]
    };
    let all = async {
        loop {
            far(listener.accept().await.unwrap().0).await;
        }
    };
    tokio::select! {
        fails = near => fails,
        () = all => unreachable!(),
    }
}

#[tokio::test]
async fn calls_share_a_connection_until_the_address_changes() {
    let ((first, at), (second, moved)) = (listen().await, listen().await);
    let peers = peers(Some(client("n2")), Limits::default());
    let acceptor = acceptor("n1");
    let far = async {
        for (listener, calls) in [(&first, 2), (&second, 1)] {
            let mut stream = accept(listener, &acceptor).await;
            for _ in 0..calls {
                let head = read_to(&mut stream, "\r\n\r\n").await;
                let host = format!("\r\nhost: {}\r\n", listener.local_addr().unwrap());
                assert!(head.contains(&host), "{head}");
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK").await.unwrap();
            }
        }
    };
    let near = async {
        for address in [at, at, moved] {
            let answer = peers.request(&member("n1", Some(address)), get()).await.unwrap();
            assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "OK");
            // The pool learns in a task of its own that the connection is free.
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
        }
    };
    tokio::join!(far, near);
}

#[tokio::test]
async fn a_peer_with_another_secret_is_called_so_from_both_sides() {
    let acceptor: TlsAcceptor = tls(&BOTH[1..], "n1").server.into();
    let shake = async |stream| assert!(acceptor.accept(stream).await.is_err());
    // We do not trust it; then, it does not trust us, which it says only when our handshake is over.
    for config in [client("n2"), tls(&*BOTH, "n2").client] {
        for fail in fails(config, shake).await {
            assert!(matches!(fail, Fail::Secret { .. }), "{fail:?}");
            assert_eq!((fail.absence(), fail.nothing_sent()), (Absence::Secret, true));
        }
    }
}

#[tokio::test]
async fn another_node_than_the_expected_one_is_not_talked_to() {
    let acceptor = acceptor("n3");
    let shake = async |stream| assert!(acceptor.accept(stream).await.is_err());
    for fail in fails(client("n2"), shake).await {
        assert!(matches!(fail, Fail::Secret { .. }), "{fail:?}");
    }
}

#[tokio::test]
async fn a_peer_that_does_not_list_us_is_told_from_one_with_another_secret() {
    for fail in fails(client("n2"), async |stream| drop(stream)).await {
        assert!(matches!(fail, Fail::Unlisted { .. }), "{fail:?}");
        assert_eq!(fail.absence(), Absence::Unreachable);
    }
}

#[tokio::test]
async fn a_peer_that_is_silent_at_any_point_is_given_up() {
    let (listener, address) = listen().await;
    let short = Duration::from_millis(50);
    let limits = Limits { connect_peer: short, probe_patient: 4 * short, ..Limits::default() };
    let peers = peers(Some(client("n2")), limits);
    // Connected by the kernel, never accepted.
    let late = peers.request(&member("n1", Some(address)), get()).await.unwrap_err();
    assert!(matches!(late, Fail::Late { .. }), "{late:?}");
    drop(listener);

    let (listener, address) = listen().await;
    let acceptor = acceptor("n1");
    let silent = async {
        let _stream = accept(&listener, &acceptor).await;
        std::future::pending::<()>().await;
    };
    let deaf = tokio::select! {
        probed = peers.probe(address, None, Patience::Full) => probed.unwrap_err(),
        () = silent => unreachable!(),
    };
    assert!(matches!(deaf, Fail::Swallowed { .. }), "{deaf:?}");
    assert!(deaf.to_string().contains("large packets are lost on the way: the networks' MTU"), "{deaf}");
    assert_eq!(deaf.absence(), Absence::Unreachable);

    // Nor does it shake hands.
    let (_listener, address) = listen().await;
    let peers = self::peers(Some(client("n2")), Limits { probe_patient: short, ..Limits::default() });
    let deaf = peers.probe(address, None, Patience::Full).await.unwrap_err();
    assert!(matches!(deaf, Fail::Deaf { .. }), "{deaf:?}");
}

#[tokio::test]
async fn what_cannot_be_dialled_says_why() {
    let (listener, address) = listen().await;
    drop(listener);
    let asked = async |tls: Option<Arc<ClientConfig>>, at| {
        peers(tls, Limits::default()).request(&member("n1", at), get()).await.unwrap_err()
    };
    let refused = asked(Some(client("n2")), Some(address)).await;
    assert_eq!(refused.absence(), Absence::Refused, "{refused:?}");
    let nowhere = asked(Some(client("n2")), None).await;
    assert_eq!(nowhere.absence(), Absence::NoAgent, "{nowhere:?}");
    let early = asked(None, Some(address)).await;
    assert!(matches!(early, Fail::NotReady { .. }), "{early:?}");
    assert!([refused, nowhere, early].iter().all(Fail::nothing_sent));
}

/// What comes of a probe that is answered so.
async fn probed(expect: Option<&str>, answer: String) -> Result<Probe, Fail> {
    let (listener, address) = listen().await;
    let acceptor = acceptor("n1");
    let peers = peers(Some(client("n2")), Limits::default());
    let far = async {
        let mut stream = accept(&listener, &acceptor).await;
        let head = read_to(&mut stream, "\r\n\r\n").await;
        assert!(head.starts_with("GET /_swarmgate/probe HTTP/1.1\r\n"), "{head}");
        assert!(head.len() > 4 << 10, "it fills more than a packet");
        stream.write_all(answer.as_bytes()).await.ok();
        stream.read_to_end(&mut Vec::new()).await.ok();
    };
    let expect = expect.map(|id| NodeId::parse(id).unwrap());
    let (probe, ()) = tokio::join!(peers.probe(address, expect.as_ref(), Patience::Full), far);
    probe
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn a_probe_tells_who_is_there() {
    let version = |minor| ApiVersion { major: 1, minor };
    let api = ApiRange { min: version(12), max: version(41) };
    let document = ProbeDocument::new("node1", Some("task"), Some(api));
    let text = serde_json::to_string(&document).unwrap();
    assert!(text.contains(r#""Host":"node1","Task":"task","Api":{"Min":"1.12","Max":"1.41"}"#), "{text}");
    let filled = String::from_utf8(document.answer().to_vec()).unwrap();
    assert!(filled.len() > 4 << 10 && filled.starts_with(&text), "{filled}");
    // One that is not filled is an answer too.
    for (expect, text) in [(Some("n1"), &filled), (None, &text)] {
        let probe = probed(expect, ok(text)).await.unwrap();
        assert_eq!((probe.node.as_str(), probe.host.as_str()), ("n1", "node1"));
        assert_eq!((probe.task.as_deref(), probe.api), (Some("task"), Some(api)));
    }
    let bare = probed(None, ok(r#"{"Agent":"9","Host":"h","More":1}"#)).await.unwrap();
    assert_eq!((bare.agent_version.as_str(), bare.task, bare.api), ("9", None, None));
}

#[tokio::test]
async fn an_answer_that_is_no_probes_is_refused() {
    let long = format!(r#"{{"Agent":"9","Host":"{}"}}"#, "h".repeat(17 << 10));
    let cut = "HTTP/1.1 200 OK\r\nContent-Length: 99\r\nConnection: close\r\n\r\n{".to_owned();
    let other = "HTTP/1.1 421 Misdirected\r\nContent-Length: 0\r\n\r\n".to_owned();
    let mut seen = 0;
    for answer in [ok("[]"), ok("{"), ok(&long), other] {
        let fail = probed(None, answer).await.unwrap_err();
        assert!(matches!(fail, Fail::Malformed { .. }), "{fail:?}");
        seen += 1;
    }
    assert_eq!(seen, 4);
    assert!(probed(None, cut).await.is_err());
}

#[tokio::test]
async fn ending_a_stream_over_tls_leaves_the_connection_open() {
    let (listener, address) = listen().await;
    let acceptor = acceptor("n1");
    let peers = peers(Some(client("n2")), Limits::default());
    let (read, was_read) = tokio::sync::oneshot::channel();
    let far = async {
        let mut stream = accept(&listener, &acceptor).await;
        read_to(&mut stream, "\r\n\r\n").await;
        let answer = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        let mut input = String::new();
        stream.read_to_string(&mut input).await.unwrap();
        // No FIN came with the close_notify: the socket itself is not at its end.
        let (tcp, _) = stream.get_mut();
        let unread = std::io::ErrorKind::WouldBlock;
        assert_eq!(tcp.try_read(&mut [0]).unwrap_err().kind(), unread);
        read.send(()).unwrap();
        assert_eq!(tcp.read(&mut [0]).await.unwrap(), 0, "gone with the drop");
        input
    };
    let near = async {
        let mut attach = request(Method::POST, "/containers/x/attach", Body::Empty);
        attach.headers_mut().insert("connection", "Upgrade".parse().unwrap());
        attach.headers_mut().insert("upgrade", "tcp".parse().unwrap());
        let answer = peers.upgrade(&member("n1", Some(address)), attach).await.unwrap();
        assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS);
        let mut stream = TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
        stream.write_all(b"input").await.unwrap();
        stream.shutdown().await.unwrap();
        was_read.await.unwrap();
        drop(stream);
    };
    let (input, ()) = tokio::join!(far, near);
    assert_eq!(input, "input");
}

#[tokio::test]
async fn a_network_that_was_cut_makes_no_peer_a_distant_one() {
    let (listener, address) = listen().await;
    let acceptor = acceptor("n1");
    let probe = Duration::from_millis(50);
    let peers = peers(Some(client("n2")), Limits { probe, ..Limits::default() });
    // The first dial gets through when thirty more have begun: a second and a half later.
    let far = async {
        let (first, _) = listener.accept().await.unwrap();
        let mut others = Vec::new();
        while others.len() < 30 {
            others.push(listener.accept().await.unwrap());
        }
        let mut stream = acceptor.accept(first).await.unwrap();
        read_to(&mut stream, "\r\n\r\n").await;
        let document = ProbeDocument::new("node1", None, None);
        stream.write_all(ok(&serde_json::to_string(&document).unwrap()).as_bytes()).await.unwrap();
        (stream, others)
    };
    let (answered, _open) = tokio::join!(peers.probe(address, None, Patience::Full), far);
    answered.unwrap();
    match peers.probe(address, None, Patience::Brief).await.unwrap_err() {
        Fail::Deaf { after, .. } => assert!(after < probe * 30, "{after:?}"),
        other => panic!("{other:?}"),
    }
}
