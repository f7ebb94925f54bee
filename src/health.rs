//! `swarmgate health`: asks the own listener for `GET /ping`, unsigned, and expects 204.
//!
//! It does not ask the engine or peers: an agent whose engine is away still has to run, and says so to its callers.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::config::Listen;

/// 3 s in all: Docker's own default gives a health check 30 s, and a person who waits gives less.
pub const LIMIT: Duration = Duration::from_secs(3);
/// 4 KiB: a status line and a handful of headers.
const HEAD_BYTES: usize = 4 << 10;

/// What was wrong.
#[derive(Debug, thiserror::Error)]
pub enum Sick {
    #[error("start a runtime: {0}")]
    Runtime(#[source] io::Error),
    #[error("connect to {at}: {source}")]
    Connect { at: SocketAddr, source: io::Error },
    #[error("shake hands with {at}: {source}{hint}")]
    Handshake { at: SocketAddr, source: io::Error, hint: &'static str },
    #[error("ask {at}: {source}")]
    Ask { at: SocketAddr, source: io::Error },
    #[error("{at} answered {status:?} instead of 204")]
    Answer { at: SocketAddr, status: String },
    #[error("{at} gave no answer within {after:?}")]
    Silent { at: SocketAddr, after: Duration },
}

/// Asks the listener that `listen` describes. `Ok` is healthy.
pub fn run(listen: &Listen, limit: Duration) -> Result<(), Sick> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Sick::Runtime)?;
    let at = own_address(listen);
    // Accepting goes by address first: without this an operator looks for the mistake in TLS.
    let hint = if listen.allow_from.is_empty() { "" } else { " (does AGENT_ALLOW_FROM name this address?)" };
    runtime.block_on(async {
        match tokio::time::timeout(limit, ask(at, hint)).await {
            Ok(answered) => answered,
            Err(_) => Err(Sick::Silent { at, after: limit }),
        }
    })
}

/// Where the own listener can be reached from here.
fn own_address(listen: &Listen) -> SocketAddr {
    let host = match listen.host {
        Some(IpAddr::V6(host)) if host.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        Some(host) if !host.is_unspecified() => host,
        // Without a host it is both families, or IPv4 alone.
        _ => Ipv4Addr::LOCALHOST.into(),
    };
    SocketAddr::new(host, listen.port)
}

async fn ask(at: SocketAddr, hint: &'static str) -> Result<(), Sick> {
    let tcp = TcpStream::connect(at).await.map_err(|source| Sick::Connect { at, source })?;
    let failed = |source| Sick::Handshake { at, source, hint };
    let tls = tls().map_err(|e| failed(io::Error::other(e)))?;
    let mut stream = tls.connect(at.ip().into(), tcp).await.map_err(failed)?;
    let head = request(&mut stream, at).await.map_err(|source| Sick::Ask { at, source })?;
    if head.starts_with("HTTP/1.1 204") {
        return Ok(());
    }
    let status = head.lines().next().unwrap_or_default().to_owned();
    Err(Sick::Answer { at, status })
}

/// Sends the request and reads until the status line is whole.
async fn request<S>(stream: &mut S, at: SocketAddr) -> io::Result<String>
where
    S: AsyncReadExt + AsyncWriteExt + Unpin,
{
    let text = format!("GET /ping HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n");
    stream.write_all(text.as_bytes()).await?;
    stream.flush().await?;
    let mut head = Vec::with_capacity(HEAD_BYTES);
    while head.len() < HEAD_BYTES && !head.contains(&b'\n') {
        if stream.read_buf(&mut head).await? == 0 {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

fn tls() -> Result<TlsConnector, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let anybody = Arc::new(Anybody(Arc::clone(&provider)));
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(anybody)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Accepts any certificate. That is safe here and nowhere else: no secret is sent, only the own address is asked, and
/// an impostor who already listens there gains nothing but a healthy-looking agent. The operator's certificate may
/// name only the outside world, so there is nothing to compare with.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use rustls::ServerConfig;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    /// Short enough to wait for, long enough for a handshake on a busy machine.
    const SHORT: Duration = Duration::from_millis(300);
    const LONG: Duration = Duration::from_secs(60);

    fn listen(host: Option<&str>, port: u16) -> Listen {
        let host = host.map(|h| h.parse().expect("an address"));
        Listen { host, port, peer_port: 9002, allow_from: Vec::new(), metrics: None }
    }

    /// Answers one connection with `text`, once the head of the request is in.
    fn answer(listener: TcpListener, text: &'static str) {
        let made = rcgen::generate_simple_self_signed(["elsewhere.example".into()]).expect("a certificate");
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.expect("versions").with_no_client_auth();
        let config = config.with_single_cert(vec![made.cert.der().clone()], key).expect("a key");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            listener.set_nonblocking(true).expect("a socket");
            let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
            let (tcp, _) = listener.accept().await.expect("a client");
            let mut stream = TlsAcceptor::from(Arc::new(config)).accept(tcp).await.expect("a handshake");
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                stream.read_buf(&mut head).await.expect("a head");
            }
            assert!(head.starts_with(b"GET /ping HTTP/1.1\r\n"));
            stream.write_all(text.as_bytes()).await.expect("it is written");
            stream.shutdown().await.unwrap_or_default();
        });
    }

    #[test]
    fn only_204_is_healthy() {
        let rows = [
            ("HTTP/1.1 204 No Content\r\n\r\n", None),
            (
                "HTTP/1.1 503 Service Unavailable\r\n\r\n",
                Some("answered \"HTTP/1.1 503 Service Unavailable\""),
            ),
            ("", Some("answered \"\" instead of 204")),
        ];
        for (text, expected) in rows {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
            let port = listener.local_addr().expect("an address").port();
            let server = thread::spawn(move || answer(listener, text));
            let told = run(&listen(None, port), LONG).err().map(|e| e.to_string());
            server.join().expect("it did not panic");
            match (told, expected) {
                (None, None) => {}
                (Some(told), Some(expected)) => assert!(told.contains(expected), "{text:?}: {told}"),
                (told, _) => panic!("{text:?}: {told:?}"),
            }
        }
    }

    #[test]
    fn nobody_there_is_said_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        assert!(matches!(run(&listen(None, port), LONG), Err(Sick::Connect { .. })));
    }

    #[test]
    fn a_silent_listener_costs_the_limit_and_no_more() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
        let port = listener.local_addr().expect("an address").port();
        let told = run(&listen(None, port), SHORT).err().map(|e| e.to_string());
        assert_eq!(told, Some(format!("127.0.0.1:{port} gave no answer within 300ms")));
    }

    #[test]
    fn the_own_address_is_one_that_can_be_reached() {
        let rows = [
            (None, "127.0.0.1:9001"),
            (Some("0.0.0.0"), "127.0.0.1:9001"),
            (Some("::"), "[::1]:9001"),
            (Some("10.0.0.1"), "10.0.0.1:9001"),
            (Some("fd00::1"), "[fd00::1]:9001"),
        ];
        for (host, expected) in rows {
            assert_eq!(own_address(&listen(host, 9001)).to_string(), expected);
        }
    }
}
