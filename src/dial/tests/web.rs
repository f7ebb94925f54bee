use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use http::{Method, Request, StatusCode};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::super::{Web, WebFail};
use super::read_to;
use crate::body::Body;
use crate::config::Trust;
use crate::model::Fingerprint;

/// 1000 bytes: what an answer may have here.
const LARGEST: usize = 1000;

/// A server on loopback under a certificate of its own.
struct Server {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    at: SocketAddr,
    pin: Fingerprint,
    authority: PathBuf,
    _folder: TempDir,
}

impl Server {
    async fn new() -> Self {
        let made = generate_simple_self_signed(["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        let CertifiedKey { cert, signing_key } = made;
        let folder = tempfile::tempdir().unwrap();
        let authority = folder.path().join("ca.pem");
        fs::write(&authority, cert.pem()).unwrap();
        let pin = Fingerprint(digest(&SHA256, cert.der()).as_ref().try_into().unwrap());
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(signing_key.serialize_der());
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key.into())
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        Self { listener, acceptor: Arc::new(config).into(), at, pin, authority, _folder: folder }
    }

    /// Answers one request with these bytes; out comes the request's head, `None` if there was no handshake.
    async fn answer(&self, bytes: &str) -> Option<String> {
        let (stream, _) = self.listener.accept().await.unwrap();
        let mut stream = self.acceptor.accept(stream).await.ok()?;
        let head = read_to(&mut stream, "\r\n\r\n").await;
        stream.write_all(bytes.as_bytes()).await.unwrap();
        stream.shutdown().await.ok();
        Some(head)
    }

    fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.at)
    }
}

fn web(trust: &Trust) -> Web {
    Web::new(trust, Duration::from_secs(60), LARGEST).unwrap()
}

fn get(url: &str) -> Request<Body> {
    Request::get(url).header("authorization", "Bearer abc").body(Body::Empty).unwrap()
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";

#[tokio::test]
async fn a_server_that_proves_itself_gets_the_request_and_answers() {
    let server = Server::new().await;
    let (file, pin) = (Trust::File(server.authority.clone()), Trust::Pinned(server.pin));
    for trust in [file, pin] {
        let web = web(&trust);
        let (answer, head) = tokio::join!(web.ask(get(&server.url("/a?b=c:d"))), server.answer(OK));
        let (answer, head) = (answer.unwrap(), head.unwrap());
        assert_eq!((answer.status(), answer.body().as_ref()), (StatusCode::OK, b"hi".as_slice()));
        let host = format!("\r\nhost: {}\r\n", server.at);
        assert!(head.starts_with("GET /a?b=c:d HTTP/1.1\r\n") && head.contains(&host), "{head}");
        assert!(head.contains("\r\nauthorization: Bearer abc\r\n"), "{head}");
    }
}

#[tokio::test]
async fn a_server_that_does_not_is_sent_nothing() {
    let (server, other) = (Server::new().await, Server::new().await);
    for trust in [Trust::Public, Trust::File(other.authority.clone()), Trust::Pinned(other.pin)] {
        let web = web(&trust);
        let (answer, head) = tokio::join!(web.ask(get(&server.url("/"))), server.answer(OK));
        assert!(matches!(answer, Err(WebFail::Untrusted { .. })), "{trust:?}: {answer:?}");
        assert_eq!(head, None, "{trust:?}");
    }
}

#[tokio::test]
async fn a_name_that_the_certificate_does_not_have_is_not_trusted_but_a_pin_needs_none() {
    let server = Server::new().await;
    // It leads to loopback, and is in no certificate.
    let url = format!("https://127.0.0.2:{}/", server.at.port());
    let listener = TcpListener::bind(("127.0.0.2", server.at.port())).await.unwrap();
    let server = Server { listener, ..server };
    let file = web(&Trust::File(server.authority.clone()));
    let (answer, _) = tokio::join!(file.ask(get(&url)), server.answer(OK));
    assert!(matches!(answer, Err(WebFail::Untrusted { .. })), "{answer:?}");
    let pinned = web(&Trust::Pinned(server.pin));
    let (answer, head) = tokio::join!(pinned.ask(get(&url)), server.answer(OK));
    assert!(answer.is_ok() && head.is_some(), "{answer:?}");
}

#[tokio::test]
async fn a_redirect_is_an_answer_like_any_other() {
    let (server, elsewhere) = (Server::new().await, Server::new().await);
    let web = web(&Trust::Pinned(server.pin));
    let location = elsewhere.url("/");
    let redirect = format!("HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
    let asked = async { tokio::join!(web.ask(get(&server.url("/"))), server.answer(&redirect)) };
    let (answer, _) = tokio::select! {
        asked = asked => asked,
        _ = elsewhere.listener.accept() => panic!("it was followed"),
    };
    let answer = answer.unwrap();
    assert_eq!(
        (answer.status(), answer.headers()["location"].to_str().unwrap()),
        (StatusCode::FOUND, &*location)
    );
}

#[tokio::test]
async fn answers_are_bounded_in_size_and_time() {
    let server = Server::new().await;
    let bounded = web(&Trust::Pinned(server.pin));
    for (size, fits) in [(LARGEST, true), (LARGEST + 1, false)] {
        let body = "x".repeat(size);
        let large = format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n{body}");
        let (answer, _) = tokio::join!(bounded.ask(get(&server.url("/"))), server.answer(&large));
        match answer {
            Ok(answer) => assert!(fits && answer.body().len() == size, "{size}"),
            Err(fail) => {
                assert!(!fits && matches!(fail, WebFail::TooLarge { limit: LARGEST, .. }), "{fail:?}");
            }
        }
    }
    let short = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhi";
    let (answer, _) = tokio::join!(bounded.ask(get(&server.url("/"))), server.answer(short));
    assert!(matches!(answer, Err(WebFail::Broken { .. })), "{answer:?}");
    let hasty = Web::new(&Trust::Pinned(server.pin), Duration::from_millis(50), LARGEST).unwrap();
    // The kernel accepts the connection, and nobody ever says a word on it.
    let late = hasty.ask(get(&server.url("/"))).await;
    assert!(matches!(late, Err(WebFail::Late { .. })), "{late:?}");
}

#[tokio::test]
async fn what_is_no_place_to_ask_is_not_asked() {
    let refused = |web: Web, url: &str| {
        let request = get(url);
        async move { web.ask(request).await }
    };
    let rows = [
        (Trust::Public, "http://127.0.0.1:1/"),
        (Trust::Public, "ftp://127.0.0.1:1/"),
        (Trust::Public, "/just/a/path"),
        (Trust::Public, "https://user:password@127.0.0.1:1/"),
        (Trust::Plain, "https://127.0.0.1:1/"),
    ];
    for (trust, url) in rows {
        let fail = refused(web(&trust), url).await.unwrap_err();
        assert!(matches!(fail, WebFail::Address { .. }), "{url}: {fail:?}");
        assert!(!fail.to_string().contains("password"), "{fail}");
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    drop(listener);
    let fail = refused(web(&Trust::Public), &url).await.unwrap_err();
    assert!(matches!(fail, WebFail::Connect { .. }), "{fail:?}");
}

#[tokio::test]
async fn plain_http_is_there_for_tests() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/x", listener.local_addr().unwrap());
    let far = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = read_to(&mut stream, "\r\n\r\n").await;
        stream.write_all(b"HTTP/1.1 401 Unauthorized\r\nratelimit-limit: 1\r\n\r\n").await.unwrap();
        head
    };
    let mut head = get(&url);
    *head.method_mut() = Method::HEAD;
    let web = web(&Trust::Plain);
    let (answer, asked) = tokio::join!(web.ask(head), far);
    let answer = answer.unwrap();
    assert_eq!(
        (answer.status(), &answer.headers()["ratelimit-limit"]),
        (StatusCode::UNAUTHORIZED, &"1".parse().unwrap())
    );
    assert!(asked.starts_with("HEAD /x HTTP/1.1\r\n"), "{asked}");
}

#[test]
fn a_file_without_authorities_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.pem");
    fs::write(&empty, "nothing\n").unwrap();
    for path in [empty.as_path(), Path::new("/nowhere/ca.pem")] {
        let failed = Web::new(&Trust::File(path.into()), Duration::ZERO, 0).err().unwrap();
        assert!(matches!(&failed, WebFail::Roots { path: named, .. } if named == path), "{failed:?}");
    }
    assert!(Web::new(&Trust::Public, Duration::ZERO, 0).is_ok());
}
