use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

use super::super::{Engine, Fail};
use super::{Chunks, read_to, request};
use crate::body::Body;
use crate::config::{self, EngineAt, Limits, Problem};
use crate::shutdown::{Ended, Shutdown};

fn engine_at(at: EngineAt) -> Result<Engine, Problem> {
    Engine::new(&config::Engine { at, tls: None }, &Limits::default(), Shutdown::new())
}

fn engine() -> (TempDir, UnixListener, Engine) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("docker.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    (folder, listener, engine_at(EngineAt::Unix(socket)).unwrap())
}

async fn fail_at(socket: &Path) -> Fail {
    let engine = engine_at(EngineAt::Unix(socket.to_owned())).unwrap();
    engine.request(request(Method::GET, "/info", Body::Empty)).await.unwrap_err()
}

/// What the engine reads of a POST with this body and, if any, this Content-Length.
async fn posted(length: Option<&str>, body: Body, end: &str) -> (String, String) {
    let (_folder, listener, engine) = engine();
    let mut post = request(Method::POST, "/containers/x/start?a[]=:1&b=%2f", body);
    if let Some(length) = length {
        post.headers_mut().insert("content-length", length.parse().unwrap());
    }
    let far = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = read_to(&mut stream, "\r\n\r\n").await;
        let body = read_to(&mut stream, end).await;
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        (head, body)
    };
    let (answer, read) = tokio::join!(engine.request(post), far);
    assert_eq!(answer.unwrap().status(), StatusCode::NO_CONTENT);
    read
}

#[tokio::test]
async fn the_framing_reaches_the_engine_as_the_caller_set_it() {
    let chunks = || Body::boxed(Chunks(["one", "two"].into()));
    let rows = [
        (Some("0"), Body::Empty, "", "content-length: 0"),
        (Some("3"), Body::from(bytes::Bytes::from("one")), "one", "content-length: 3"),
        (Some("6"), chunks(), "onetwo", "content-length: 6"),
        (None, Body::from(bytes::Bytes::from("one")), "one", "content-length: 3"),
        (None, chunks(), "3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n", "transfer-encoding: chunked"),
    ];
    for (length, body, bytes, header) in rows {
        let (head, read) = posted(length, body, bytes).await;
        let framing: Vec<_> =
            head.lines().filter(|l| l.contains("-length") || l.contains("-encoding")).collect();
        assert_eq!((framing, read.as_str()), (vec![header], bytes), "{header}");
        assert!(head.starts_with("POST /containers/x/start?a[]=:1&b=%2f HTTP/1.1\r\n"), "{head}");
        assert!(head.contains("\r\nhost: docker\r\n"), "{head}");
    }
}

#[tokio::test]
async fn plain_calls_share_a_connection_and_a_dead_one_is_replaced() {
    let (_folder, listener, engine) = engine();
    let far = async {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().await.unwrap();
            for _ in 0..2 {
                read_to(&mut stream, "\r\n\r\n").await;
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK").await.unwrap();
            }
        }
    };
    let near = async {
        for _ in 0..4 {
            let answer = engine.request(request(Method::GET, "/_ping", Body::Empty)).await.unwrap();
            assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "OK");
            // The pool learns in a task of its own that the connection is free, or that it was closed.
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
        }
    };
    tokio::join!(far, near);
}

#[tokio::test]
async fn interim_answers_are_skipped_and_redirects_returned() {
    let (_folder, listener, engine) = engine();
    let far = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_to(&mut stream, "\r\n\r\n").await;
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
        stream.write_all(b"HTTP/1.1 301 Moved\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    };
    let (answer, ()) = tokio::join!(engine.request(request(Method::GET, "/a//b", Body::Empty)), far);
    assert_eq!(answer.unwrap().status(), StatusCode::MOVED_PERMANENTLY);
}

#[tokio::test]
async fn an_upgrade_keeps_early_bytes_and_half_closes_and_leaves_no_task() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("docker.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let shutdown = Shutdown::new();
    let config = config::Engine { at: EngineAt::Unix(socket), tls: None };
    let engine = Engine::new(&config, &Limits::default(), shutdown.clone()).unwrap();
    let far = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = read_to(&mut stream, "\r\n\r\n{}").await;
        let answer = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nearly";
        stream.write_all(answer).await.unwrap();
        let mut input = String::new();
        stream.read_to_string(&mut input).await.unwrap();
        stream.write_all(b" late").await.unwrap();
        (head, input)
    };
    let near = async {
        let mut start = request(Method::POST, "/exec/x/start", Body::from(bytes::Bytes::from("{}")));
        start.headers_mut().insert("connection", "Upgrade".parse().unwrap());
        start.headers_mut().insert("upgrade", "tcp".parse().unwrap());
        let answer = engine.upgrade(start).await.unwrap();
        assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS);
        let mut stream = TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
        stream.write_all(b"input").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut output = String::new();
        stream.read_to_string(&mut output).await.unwrap();
        output
    };
    let ((head, input), output) = tokio::join!(far, near);
    assert!(head.contains("\r\nupgrade: tcp\r\n"), "{head}");
    assert_eq!((input.as_str(), output.as_str()), ("input", "early late"));
    assert_eq!(shutdown.finish(Duration::from_secs(10)).await, Ended::Clean);
}

#[tokio::test]
async fn a_connection_that_breaks_after_the_request_was_sent_says_so() {
    let (_folder, listener, engine) = engine();
    let far = async {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_to(&mut stream, "\r\n\r\n").await;
        }
    };
    let near = async {
        let kept = engine.request(request(Method::POST, "/x", Body::Empty)).await.unwrap_err();
        let fresh = engine.upgrade(request(Method::POST, "/x", Body::Empty)).await.unwrap_err();
        [kept, fresh]
    };
    let ((), fails) = tokio::join!(far, near);
    for fail in fails {
        assert!(matches!(fail, Fail::Broken { sent: true, .. }), "{fail:?}");
        assert!(!fail.nothing_sent());
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_no_fault_of_the_engine() {
    let (_folder, listener, engine) = engine();
    let far = async {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().await.unwrap();
            // However much arrives: it is never a whole request.
            stream.read_to_end(&mut Vec::new()).await.ok();
        }
    };
    let near = async {
        // Reading what was sent on already is an error.
        let kept = engine.request(request(Method::POST, "/x", Body::Spent)).await.unwrap_err();
        let fresh = engine.upgrade(request(Method::POST, "/x", Body::Spent)).await.unwrap_err();
        [kept, fresh]
    };
    let ((), fails) = tokio::join!(far, near);
    for fail in fails {
        assert!(matches!(fail, Fail::Unfinished { .. }), "{fail:?}");
        assert!(!fail.nothing_sent());
    }
}

#[tokio::test]
async fn a_socket_that_is_absent_is_told_from_one_where_nobody_listens() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("docker.sock");
    let absent = fail_at(&socket).await;
    drop(UnixListener::bind(&socket).unwrap());
    let refused = fail_at(&socket).await;
    assert!(matches!(absent, Fail::Absent { .. }), "{absent:?}");
    assert!(matches!(refused, Fail::Refused { .. }), "{refused:?}");
    assert!(absent.nothing_sent() && refused.nothing_sent());
    assert!(absent.to_string().contains(&format!("the engine at {}: ", socket.display())), "{absent}");
}

#[tokio::test]
async fn an_engine_over_tcp_gets_its_own_host() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let engine = engine_at(EngineAt::Tcp { host: "127.0.0.1".into(), port }).unwrap();
    let far = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = read_to(&mut stream, "\r\n\r\n").await;
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        head
    };
    let (answer, head) = tokio::join!(engine.request(request(Method::GET, "/x", Body::Empty)), far);
    answer.unwrap();
    assert!(head.contains(&format!("\r\nhost: 127.0.0.1:{port}\r\n")), "{head}");
}

#[cfg(not(windows))]
#[test]
fn a_named_pipe_is_a_problem_where_there_are_none() {
    let problem = engine_at(EngineAt::Npipe(r"\\.\pipe\docker_engine".into())).err().unwrap();
    assert_eq!(problem.option, "DOCKER_HOST");
}

#[test]
fn a_missing_certificate_file_is_a_problem_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = EngineAt::Tcp { host: "engine.example".into(), port: 2376 };
    let config = config::Engine { at, tls: Some(folder.path().to_owned()) };
    let problem = Engine::new(&config, &Limits::default(), Shutdown::new()).err().unwrap();
    assert!(problem.to_string().contains("ca.pem"), "{problem}");
    assert_eq!(problem.option, "DOCKER_CERT_PATH");
}

/// A certificate authority, and a folder with Docker's three files, made by it.
fn docker_certificates() -> (CertifiedIssuer<'static, KeyPair>, TempDir, ServerConfig) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
    for (file, text) in [("ca.pem", ca.pem()), ("cert.pem", leaf.pem()), ("key.pem", key.serialize_pem())] {
        std::fs::write(folder.path().join(file), text).unwrap();
    }
    let mut roots = RootCertStore::empty();
    roots.add(ca.der().clone()).unwrap();
    let provider = Arc::new(default_provider());
    // As dockerd does with --tlsverify.
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(vec![leaf.der().clone()], key.serialize_der().try_into().unwrap())
        .unwrap();
    (ca, folder, config)
}

#[tokio::test]
async fn an_engine_over_tls_is_verified_by_name_and_verifies_us() {
    let (ca, folder, config) = docker_certificates();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = async |host: &str| {
        let at = EngineAt::Tcp { host: host.into(), port };
        let config = config::Engine { at, tls: Some(folder.path().to_owned()) };
        let engine = Engine::new(&config, &Limits::default(), Shutdown::new()).unwrap();
        engine.request(request(Method::GET, "/_ping", Body::Empty)).await
    };
    let far = async {
        assert!(acceptor.accept(listener.accept().await.unwrap().0).await.is_err());
        let mut stream = acceptor.accept(listener.accept().await.unwrap().0).await.unwrap();
        let shown = std::fs::read(folder.path().join("cert.pem")).unwrap();
        let shown = CertificateDer::from_pem_slice(&shown).unwrap();
        assert_eq!(stream.get_ref().1.peer_certificates(), Some([shown].as_slice()));
        read_to(&mut stream, "\r\n\r\n").await;
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    };
    let near = async { (asked("127.0.0.1").await.unwrap_err(), asked("localhost").await) };
    let ((), (wrong, right)) = tokio::join!(far, near);
    assert!(matches!(wrong, Fail::Untrusted { .. }), "{wrong:?}");
    assert_eq!(right.unwrap().status(), StatusCode::NO_CONTENT);

    // A pair that another authority signed is refused there, and the remedy is named here.
    let (_, others, _) = docker_certificates();
    std::fs::write(others.path().join("ca.pem"), ca.pem()).unwrap();
    for file in ["ca.pem", "cert.pem", "key.pem"] {
        std::fs::copy(others.path().join(file), folder.path().join(file)).unwrap();
    }
    let refusing = async { assert!(acceptor.accept(listener.accept().await.unwrap().0).await.is_err()) };
    let (stranger, ()) = tokio::join!(asked("localhost"), refusing);
    let stranger = stranger.unwrap_err();
    assert!(matches!(stranger, Fail::Untrusted { .. }), "{stranger:?}");
}
