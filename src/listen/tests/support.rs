//! A listener under test, and a client that says exactly what a test wants.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{Request, Response};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::body::Body;
use crate::client::Client;
use crate::config::{Limits, Tls};
use crate::listen::{Admit, Door, Seats, bind, serve};
use crate::shutdown::Shutdown;
use crate::telemetry::metrics::DoorFigures;
use crate::trust::PublicIdentity;

pub(in crate::listen) const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Far beyond what a test takes; whoever shrinks one limit leaves the others here.
pub(in crate::listen) fn patient() -> Limits {
    let long = Duration::from_secs(60);
    Limits { handshake: long, head: long, idle: long, body_read: long, body_write: long, ..Limits::default() }
}

/// A certificate for localhost and who trusts it.
#[derive(Clone)]
pub(in crate::listen) struct Identity {
    pub(in crate::listen) server: Arc<ServerConfig>,
    pub(in crate::listen) roots: RootCertStore,
}

impl Identity {
    pub(in crate::listen) fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        let tls = Tls { own: None, sans: Vec::new() };
        let server = PublicIdentity::load_or_make(data.path(), &tls, &[]).unwrap().watch().borrow().clone();
        let mut roots = RootCertStore::empty();
        let authority = std::fs::read(data.path().join("tls/ca.pem")).unwrap();
        roots.add(CertificateDer::from_pem_slice(&authority).unwrap()).unwrap();
        Self { server, roots }
    }

    /// One for all tests that do not care.
    pub(in crate::listen) fn shared() -> Self {
        static SHARED: OnceLock<Identity> = OnceLock::new();
        SHARED.get_or_init(Self::new).clone()
    }

    pub(in crate::listen) fn client(&self) -> ClientConfig {
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth()
    }
}

/// A running listener.
pub(in crate::listen) struct Running {
    pub(in crate::listen) at: SocketAddr,
    pub(in crate::listen) shutdown: Shutdown,
    pub(in crate::listen) tls: watch::Sender<Arc<ServerConfig>>,
    pub(in crate::listen) returned: oneshot::Receiver<()>,
}

pub(in crate::listen) fn run<H, F>(
    admit: Admit,
    tls: Arc<ServerConfig>,
    limits: Limits,
    handler: H,
) -> Running
where
    H: Fn(Request<Body>, Arc<Client>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let listener = bind(Some(LOCALHOST), 0).unwrap();
    let at = listener.local_addr().unwrap();
    let shutdown = Shutdown::new();
    let (tls, shown) = watch::channel(tls);
    let seats = Seats::new(limits.strangers, limits.connections, DoorFigures::default());
    let limits = Arc::new(limits);
    let door = Door { listener, tls: shown, admit, limits, seats, shutdown: shutdown.clone() };
    let (done, returned) = oneshot::channel();
    shutdown.spawn(async move {
        serve(door, handler).await;
        done.send(()).ok();
    });
    Running { at, shutdown, tls, returned }
}

/// A public listener open to all.
pub(in crate::listen) fn public<H, F>(limits: Limits, handler: H) -> Running
where
    H: Fn(Request<Body>, Arc<Client>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    run(Admit::Public { allow_from: Vec::new() }, Identity::shared().server, limits, handler)
}

/// Answers everything at once.
pub(in crate::listen) async fn hello(_: Request<Body>, _: Arc<Client>) -> Response<Body> {
    Response::new(Body::Full("hello".into()))
}

impl Running {
    pub(in crate::listen) async fn connect(&self) -> Talk {
        Talk::to(self.at, Identity::shared().client(), "localhost".try_into().unwrap()).await.unwrap()
    }

    pub(in crate::listen) async fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.at).await.unwrap()
    }
}

/// A TLS connection on which a test speaks HTTP by hand.
pub(in crate::listen) struct Talk {
    pub(in crate::listen) tls: TlsStream<TcpStream>,
    read: Vec<u8>,
}

impl Talk {
    pub(in crate::listen) async fn to(
        at: SocketAddr,
        config: ClientConfig,
        name: ServerName<'static>,
    ) -> std::io::Result<Self> {
        let tcp = TcpStream::connect(at).await?;
        let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
        Ok(Self { tls, read: Vec::new() })
    }

    pub(in crate::listen) async fn send(&mut self, text: &str) {
        self.tls.write_all(text.as_bytes()).await.unwrap();
        self.tls.flush().await.unwrap();
    }

    pub(in crate::listen) async fn get(&mut self) -> std::io::Result<String> {
        self.tls.write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n").await?;
        self.head_and("hello").await
    }

    /// Reads until `end` came; gives all up to it.
    pub(in crate::listen) async fn head_and(&mut self, end: &str) -> std::io::Result<String> {
        loop {
            let text = String::from_utf8_lossy(&self.read).into_owned();
            if let Some(at) = text.find(end) {
                self.read.drain(..at + end.len());
                return Ok(text[..at + end.len()].to_owned());
            }
            if self.tls.read_buf(&mut self.read).await? == 0 {
                return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, text));
            }
        }
    }

    /// Ends when the listener closes the connection, however it does.
    pub(in crate::listen) async fn closed(&mut self) {
        while self.tls.read_buf(&mut self.read).await.is_ok_and(|n| n > 0) {}
    }

    /// A close_notify and nothing else, as Go's and Docker's clients end their input.
    pub(in crate::listen) async fn notify_close(&mut self) {
        self.tls.get_mut().1.send_close_notify();
        self.tls.flush().await.unwrap();
    }
}

/// Ends when the other side closes a plain socket; gives what came before.
pub(in crate::listen) async fn until_closed(tcp: &mut TcpStream) -> Vec<u8> {
    let mut read = Vec::new();
    while tcp.read_buf(&mut read).await.is_ok_and(|n| n > 0) {}
    read
}
