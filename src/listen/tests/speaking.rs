//! What is spoken: TLS versions, ALPN, plain HTTP, sizes.

use std::sync::Arc;

use http::{Request, Response};
use rustls::{ClientConfig, HandshakeKind};
use tokio::io::AsyncWriteExt;

use super::support::{Identity, LOCALHOST, Talk, hello, patient, public, until_closed};
use crate::body::Body;
use crate::client::{Client, Side};
use crate::listen::bind;

async fn alpn(at: std::net::SocketAddr, offered: &[&str]) -> std::io::Result<Option<Vec<u8>>> {
    let mut config = Identity::shared().client();
    config.alpn_protocols = offered.iter().map(|name| name.as_bytes().to_vec()).collect();
    let mut talk = Talk::to(at, config, "localhost".try_into().unwrap()).await?;
    talk.get().await?;
    Ok(talk.tls.get_ref().1.alpn_protocol().map(<[u8]>::to_vec))
}

#[tokio::test]
async fn http_1_1_is_spoken_with_all_who_can() {
    let listener = public(patient(), hello);
    assert_eq!(alpn(listener.at, &[]).await.unwrap(), None);
    assert_eq!(alpn(listener.at, &["h2", "http/1.1"]).await.unwrap(), Some(b"http/1.1".to_vec()));
    assert!(alpn(listener.at, &["h2"]).await.is_err());
}

#[tokio::test]
async fn tls_1_2_is_enough_for_clients() {
    let listener = public(patient(), hello);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(Identity::shared().roots)
        .with_no_client_auth();
    let mut talk = Talk::to(listener.at, config, LOCALHOST.into()).await.unwrap();
    talk.get().await.unwrap();
}

#[tokio::test]
async fn a_client_that_comes_back_resumes() {
    let listener = public(patient(), hello);
    let config = Identity::shared().client();
    for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let mut talk = Talk::to(listener.at, config.clone(), LOCALHOST.into()).await.unwrap();
        talk.get().await.unwrap();
        assert_eq!(talk.tls.get_ref().1.handshake_kind(), Some(expected));
    }
}

#[tokio::test]
async fn who_speaks_plain_http_is_told_so() {
    let listener = public(patient(), hello);
    let mut tcp = listener.tcp().await;
    tcp.write_all(b"GET /info HTTP/1.1\r\nHost: here\r\n\r\n").await.unwrap();
    let answer = String::from_utf8(until_closed(&mut tcp).await).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\n"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
    assert_eq!(body, r#"{"message":"client sent an HTTP request to an HTTPS server"}"#);
    let mut other = listener.tcp().await;
    other.write_all(b"\0\0").await.unwrap();
    assert_eq!(until_closed(&mut other).await, b"");
}

#[tokio::test]
async fn a_head_of_tens_of_kilobytes_passes_and_a_larger_one_is_refused() {
    let listener = public(patient(), hello);
    let mut talk = listener.connect().await;
    let head = |bytes| format!("GET / HTTP/1.1\r\nHost: here\r\nX-Registry-Config: {}", "x".repeat(bytes));
    talk.send(&head(60 << 10)).await;
    talk.send("\r\n\r\n").await;
    talk.head_and("hello").await.unwrap();
    talk.send(&head(66 << 10)).await;
    let refusal = talk.head_and("\r\n\r\n").await.unwrap();
    assert!(refusal.starts_with("HTTP/1.1 431"), "{refusal}");
    talk.closed().await;
}

#[tokio::test]
async fn who_is_refused_in_the_middle_of_an_upload_still_reads_why() {
    let listener = public(patient(), |_, _| async {
        Response::builder().status(403).body(Body::Full("no".into())).unwrap()
    });
    let mut talk = listener.connect().await;
    talk.send("POST /images/load HTTP/1.1\r\nHost: here\r\nContent-Length: 8388608\r\n\r\n").await;
    // All of it, before reading: a client that looks first would learn nothing about what it wrote too much.
    let body = vec![b'x'; 8 << 20];
    talk.tls.write_all(&body).await.unwrap();
    let refusal = talk.head_and("no").await.unwrap();
    assert!(refusal.starts_with("HTTP/1.1 403"), "{refusal}");
    talk.closed().await;
}

#[tokio::test]
async fn requests_come_one_after_the_other_even_when_sent_at_once() {
    let listener = public(patient(), |request: Request<Body>, client: Arc<Client>| async move {
        assert_eq!(client.side, Side::Public);
        assert_eq!(client.remote.ip(), LOCALHOST);
        Response::new(Body::Full(request.uri().path().to_owned().into()))
    });
    let mut talk = listener.connect().await;
    let one = "GET /one HTTP/1.1\r\nHost: here\r\n\r\n";
    talk.send(&format!("{one}{}{}", one.replace("one", "two"), one.replace("one", "three"))).await;
    for path in ["/one", "/two", "/three"] {
        talk.head_and(path).await.unwrap();
    }
}

#[tokio::test]
async fn a_handler_that_panics_ends_its_connection_only() {
    let listener = public(patient(), |request: Request<Body>, client| {
        assert_ne!(request.uri().path(), "/panic", "as the test wants it");
        hello(request, client)
    });
    let mut other = listener.connect().await;
    other.get().await.unwrap();
    let mut unlucky = listener.connect().await;
    unlucky.send("GET /panic HTTP/1.1\r\nHost: here\r\n\r\n").await;
    unlucky.closed().await;
    other.get().await.unwrap();
    listener.connect().await.get().await.unwrap();
}

#[tokio::test]
async fn without_a_host_both_families_are_bound() {
    let listener = bind(None, 0).unwrap();
    let at = listener.local_addr().unwrap();
    tokio::net::TcpStream::connect((LOCALHOST, at.port())).await.unwrap();
    let (_, remote) = listener.accept().await.unwrap();
    assert_eq!(remote.ip().to_canonical(), LOCALHOST);
    if at.is_ipv6() {
        let loopback = std::net::Ipv6Addr::LOCALHOST;
        // A kernel may have IPv6 without an address for it.
        if tokio::net::TcpStream::connect((loopback, at.port())).await.is_ok() {
            assert_eq!(listener.accept().await.unwrap().1.ip(), loopback);
        }
    }
    assert_eq!(bind(None, at.port()).unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
}
