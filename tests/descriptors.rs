//! The listener when the process runs out of file descriptors. Alone in its binary: the limit is the process's.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::ErrorKind;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;

use http::Response;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use swarmgate::body::Body;
use swarmgate::config::{Limits, Tls};
use swarmgate::listen::{Admit, Door, bind, seats, serve};
use swarmgate::shutdown::Shutdown;
use swarmgate::telemetry::metrics::DoorFigures;
use swarmgate::trust::PublicIdentity;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

#[tokio::test]
async fn one_client_is_served_from_the_reserve_and_the_next_as_soon_as_there_are_descriptors() {
    let data = tempfile::tempdir().unwrap();
    let identity =
        PublicIdentity::load_or_make(data.path(), &Tls { own: None, sans: Vec::new() }, &[]).unwrap();
    let connector = connector(&std::fs::read(data.path().join("tls/ca.pem")).unwrap());
    let listener = bind(Some(Ipv4Addr::LOCALHOST.into()), 0).unwrap();
    let at = listener.local_addr().unwrap();
    let (admit, shutdown) = (Admit::Public { allow_from: Vec::new() }, Shutdown::new());
    let limits = Arc::new(Limits::default());
    let [seats, _] = seats(&limits, DoorFigures::default(), DoorFigures::default());
    let door = Door { listener, tls: identity.watch(), admit, limits, seats, shutdown: shutdown.clone() };
    let hello = |_, _| async { Response::new(Body::Full("hello".into())) };
    shutdown.spawn(async move { serve(door, hello).await });
    // The first connection shows that the loop runs, and with it that it holds its reserve.
    drop(ask(&connector, TcpStream::connect(at).await.unwrap()).await);

    let mut hog = exhaust();
    hog.pop();
    let reserved = TcpStream::connect(at).await.unwrap();
    let held = ask(&connector, reserved).await;

    hog.pop();
    let waiting = TcpStream::connect(at).await.unwrap();
    // Taken again, so that nothing is left for the listener until the hog goes.
    let more = exhaust();
    let answered = ask(&connector, waiting);
    tokio::pin!(answered);
    tokio::select! {
        biased;
        _ = &mut answered => panic!("there was no descriptor for it"),
        () = tokio::task::yield_now() => drop((hog, more)),
    }
    answered.await;
    drop(held);
}

/// Opens sockets until the system has no more for us.
fn exhaust() -> Vec<UdpSocket> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = Some(limit.current.unwrap_or(256).min(256));
    setrlimit(Resource::Nofile, limit).unwrap();
    let mut hog = Vec::new();
    loop {
        match UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)) {
            Ok(socket) => hog.push(socket),
            Err(error) => {
                assert_ne!(error.kind(), ErrorKind::AddrInUse);
                return hog;
            }
        }
    }
}

fn connector(authority: &[u8]) -> TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

async fn ask(connector: &TlsConnector, tcp: TcpStream) -> TlsStream<TcpStream> {
    let name = ServerName::try_from("localhost").unwrap();
    let mut tls = connector.connect(name, tcp).await.unwrap();
    tls.write_all(b"GET /ping HTTP/1.1\r\nHost: here\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"hello") {
        assert_ne!(tls.read_buf(&mut answer).await.unwrap(), 0);
    }
    tls
}
