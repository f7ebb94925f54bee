//! Clients that ask one thing again and again, over connections of their own, and what they measured.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{Digest, SHA256};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use md5::Digest as _;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::Result;

/// What comes before the point in the DER of a P-256 key.
const DER_HEAD: &str = "3059301306072a8648ce3d020106082a8648ce3d030107034200";

/// Whom to ask.
#[derive(Clone)]
pub(crate) enum Place {
    Engine(PathBuf),
    Agent(u16, Arc<ClientConfig>),
}

/// What to ask, and how often.
#[derive(Clone)]
pub(crate) struct Load {
    pub(crate) path: String,
    pub(crate) node: Option<String>,
    pub(crate) clients: usize,
    pub(crate) lasts: Duration,
}

/// What came of it.
pub(crate) struct Measured {
    /// Sorted.
    pub(crate) whole: Vec<Duration>,
    /// Until the answer's head, sorted.
    pub(crate) first: Vec<Duration>,
    pub(crate) took: Duration,
    pub(crate) bytes: usize,
}

impl Measured {
    pub(crate) fn rate(&self) -> f64 {
        self.whole.len() as f64 / self.took.as_secs_f64()
    }
}

/// The value at this part of a sorted list, in milliseconds.
pub(crate) fn at(sorted: &[Duration], part: f64) -> f64 {
    let last = sorted.len().saturating_sub(1) as f64;
    sorted.get((last * part).round() as usize).map_or(f64::NAN, |d| d.as_secs_f64() * 1e3)
}

/// Signs as a Portainer server does. Every signature is another one and is used once, as an agent may not remember
/// one that it has verified.
pub(crate) struct Signer {
    key: EcdsaKeyPair,
    digest: Digest,
    public: HeaderValue,
    made: Vec<HeaderValue>,
    used: AtomicUsize,
}

impl Signer {
    pub(crate) fn new(secret: &str) -> Result<Self> {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
        let mut padded = [0; 32];
        padded[16..].copy_from_slice(&md5::Md5::digest(secret));
        let public = HeaderValue::try_from(format!("{DER_HEAD}{}", hex::encode(key.public_key().as_ref())))?;
        let digest = Digest::import_less_safe(&padded, &SHA256)?;
        Ok(Self { key, digest, public, made: Vec::new(), used: AtomicUsize::new(0) })
    }

    /// Makes signatures before a load begins, so that it does not spend its time on them.
    pub(crate) fn stock(&mut self, count: usize) -> Result<()> {
        self.made.clear();
        self.used = AtomicUsize::new(0);
        for _ in 0..count {
            self.made.push(self.sign()?);
        }
        Ok(())
    }

    fn sign(&self) -> Result<HeaderValue> {
        let signature = self.key.sign_digest(&self.digest)?;
        Ok(HeaderValue::try_from(STANDARD_NO_PAD.encode(signature.as_ref()))?)
    }

    pub(crate) fn headers(&self) -> Result<HeaderMap> {
        let stocked = self.made.get(self.used.fetch_add(1, Ordering::Relaxed)).cloned();
        let signature = stocked.map_or_else(|| self.sign(), Ok)?;
        let mut headers = HeaderMap::new();
        headers.insert(HeaderName::from_static("x-portaineragent-publickey"), self.public.clone());
        headers.insert(HeaderName::from_static("x-portaineragent-signature"), signature);
        Ok(headers)
    }
}

/// One client's connection.
pub(crate) struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    _driver: JoinSet<()>,
}

/// A whole answer.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) length: usize,
    first: Duration,
    whole: Duration,
}

impl Connection {
    pub(crate) async fn open(place: &Place) -> Result<Self> {
        match place {
            Place::Engine(socket) => Self::over(UnixStream::connect(socket).await?).await,
            Place::Agent(port, config) => {
                let stream = TcpStream::connect(("127.0.0.1", *port)).await?;
                stream.set_nodelay(true)?;
                let connector = TlsConnector::from(Arc::clone(config));
                Self::over(connector.connect(ServerName::try_from("127.0.0.1")?, stream).await?).await
            }
        }
    }

    async fn over<S>(stream: S) -> Result<Self>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let mut driver = JoinSet::new();
        driver.spawn(async move { drop(connection.await) });
        Ok(Self { sender, _driver: driver })
    }

    pub(crate) async fn get(&mut self, path: &str, headers: HeaderMap) -> Result<Reply> {
        let mut request = Request::get(path).header("Host", "bench").body(Empty::new())?;
        request.headers_mut().extend(headers);
        self.sender.ready().await?;
        let started = Instant::now();
        let answer = self.sender.send_request(request).await?;
        let first = started.elapsed();
        let (head, mut body) = answer.into_parts();
        let mut length = 0;
        while let Some(frame) = body.frame().await {
            length += frame?.data_ref().map_or(0, Bytes::len);
        }
        Ok(Reply { status: head.status, headers: head.headers, length, first, whole: started.elapsed() })
    }
}

/// Asks once, on a connection of its own.
pub(crate) async fn ask(place: &Place, path: &str, signer: &Signer) -> Result<Reply> {
    Connection::open(place).await?.get(path, signer.headers()?).await
}

/// All clients at once until the time is over; what is not answered then does not count.
pub(crate) async fn run(place: &Place, load: &Load, signer: &Arc<Signer>) -> Result<Measured> {
    let until = tokio::time::Instant::now() + load.lasts;
    let started = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..load.clients {
        clients.spawn(client(place.clone(), load.clone(), Arc::clone(signer), until));
    }
    let mut measured = Measured { whole: Vec::new(), first: Vec::new(), took: Duration::ZERO, bytes: 0 };
    while let Some(replies) = clients.join_next().await {
        for reply in replies?? {
            measured.whole.push(reply.whole);
            measured.first.push(reply.first);
            measured.bytes += reply.length;
        }
    }
    measured.took = started.elapsed();
    measured.whole.sort();
    measured.first.sort();
    Ok(measured)
}

async fn client(
    place: Place,
    load: Load,
    signer: Arc<Signer>,
    until: tokio::time::Instant,
) -> Result<Vec<Reply>> {
    let mut connection = Connection::open(&place).await?;
    let mut replies = Vec::new();
    loop {
        let mut headers = signer.headers()?;
        if let Some(node) = &load.node {
            headers.insert("x-node", HeaderValue::try_from(node)?);
        }
        let Ok(reply) = tokio::time::timeout_at(until, connection.get(&load.path, headers)).await else {
            return Ok(replies);
        };
        let reply = reply?;
        if reply.status != StatusCode::OK {
            return Err(format!("{} answered {}", load.path, reply.status).into());
        }
        replies.push(reply);
    }
}
