//! The near end: a client that signs each request afresh, and one that writes bytes.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_util::task::TaskTracker;

use super::sign::Signer;
use super::soon;

pub(crate) type Sent = BoxBody<Bytes, io::Error>;

/// A client of one agent. Without a signer it is a stranger.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) at: SocketAddr,
    pub(crate) signer: Option<Signer>,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// What an error says.
    pub(crate) fn message(&self) -> String {
        self.json()["message"].as_str().unwrap_or_else(|| panic!("no message: {}", self.text())).to_owned()
    }

    /// That status, and a body of exactly that type.
    #[track_caller]
    pub(crate) fn is_json_of_an_agent(&self, status: u16, what: &str) {
        assert_eq!((self.status, self.header("content-type")), (status, "application/json"), "{what}");
        self.is_of_an_agent(what);
    }

    /// The headers by which a Portainer server knows an agent, once each.
    #[track_caller]
    pub(crate) fn is_of_an_agent(&self, what: &str) {
        let names = ["portainer-agent", "portainer-agent-api-version", "portainer-agent-platform"];
        assert_eq!(names.map(|name| self.header(name)), ["2.23.0", "2", "1"], "{what}");
    }

    /// A header's one value; empty without it.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next().map_or("", |value| value.to_str().unwrap());
        assert!(values.next().is_none(), "{name} came twice");
        value
    }
}

impl Client {
    pub(crate) fn stranger(&self) -> Self {
        Self { at: self.at, signer: None }
    }

    pub(crate) fn signing(&self, signer: &Signer) -> Self {
        Self { at: self.at, signer: Some(signer.clone()) }
    }

    pub(crate) async fn get(&self, target: &str) -> Reply {
        self.call("GET", target, &[], "").await
    }

    pub(crate) async fn get_with(&self, target: &str, headers: &[(&str, &str)]) -> Reply {
        self.call("GET", target, headers, "").await
    }

    pub(crate) async fn call(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Reply {
        let answer = self.open(method, target, headers, whole(body)).await;
        soon(&format!("the end of the answer to {method} {target}"), reply(answer)).await
    }

    /// A request on a connection of its own; its answer's body is still to come.
    pub(crate) async fn open(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: Sent,
    ) -> Response<Incoming> {
        let answer = async { self.connect().await.send(method, target, headers, body).await.unwrap() };
        soon(&format!("an answer to {method} {target}"), answer).await
    }

    /// A connection for several requests.
    pub(crate) async fn connect(&self) -> Connection {
        let stream = tls(self.at).await.unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        TaskTracker::new().spawn(connection.with_upgrades());
        Connection { sender, at: self.at, signer: self.signer.clone() }
    }

    /// A connection on which nothing is said, or why there is none.
    pub(crate) async fn shake_hands(&self) -> io::Result<TlsStream<TcpStream>> {
        tls(self.at).await
    }

    /// As [`Self::wire`], from this address of the loopback network.
    pub(crate) async fn wire_from(&self, address: [u8; 4]) -> Wire {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind((address, 0).into()).unwrap();
        let stream = secured(socket.connect(self.at).await.unwrap(), self.at).await.unwrap();
        Wire { stream, unread: Vec::new(), signer: self.signer.clone() }
    }

    /// A connection for bytes.
    pub(crate) async fn wire(&self) -> Wire {
        Wire { stream: tls(self.at).await.unwrap(), unread: Vec::new(), signer: self.signer.clone() }
    }
}

/// A websocket that was accepted.
pub(crate) type Socket = WebSocketStream<TlsStream<TcpStream>>;

impl Client {
    /// A websocket. It must be accepted, by that node if one is named.
    pub(crate) async fn socket(&self, target: &str, headers: &[(&str, &str)]) -> Socket {
        let mut request = format!("ws://{}{target}", self.at).into_client_request().unwrap();
        if let Some(signer) = &self.signer {
            signer.sign(request.headers_mut());
        }
        for (name, value) in headers {
            let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
            request.headers_mut().append(name, value.parse().unwrap());
        }
        let opening = async { tokio_tungstenite::client_async(request, tls(self.at).await.unwrap()).await };
        let (socket, answer) = soon(&format!("a websocket at {target}"), opening).await.unwrap();
        assert_eq!(answer.headers()["portainer-agent"], "2.23.0", "{target}");
        socket
    }
}

pub(crate) struct Connection {
    pub(crate) sender: SendRequest<Sent>,
    at: SocketAddr,
    signer: Option<Signer>,
}

impl Connection {
    pub(crate) async fn send(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: Sent,
    ) -> hyper::Result<Response<Incoming>> {
        let mut request = Request::new(body);
        *request.method_mut() = Method::from_bytes(method.as_bytes()).unwrap();
        *request.uri_mut() = target.parse().unwrap();
        let head = request.headers_mut();
        head.insert("Host", self.at.to_string().parse().unwrap());
        if let Some(signer) = &self.signer {
            signer.sign(head);
        }
        for (name, value) in headers {
            head.append(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        self.sender.send_request(request).await
    }
}

pub(crate) fn whole(body: impl Into<Bytes>) -> Sent {
    Full::new(body.into()).map_err(|never| match never {}).boxed()
}

pub(crate) async fn reply(answer: Response<Incoming>) -> Reply {
    let (head, body) = answer.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Reply { status: head.status.as_u16(), headers: head.headers, body }
}

/// The next piece of a body, as text.
pub(crate) async fn piece(body: &mut Incoming) -> String {
    let frame = soon("a piece of the answer", body.frame()).await.expect("not the end").expect("not broken");
    String::from_utf8_lossy(&frame.into_data().expect("data")).into_owned()
}

/// A TLS connection seen as bytes. Dropped, it is gone without a close_notify.
pub(crate) struct Wire {
    pub(crate) stream: TlsStream<TcpStream>,
    unread: Vec<u8>,
    signer: Option<Signer>,
}

impl Wire {
    /// Writes a signed request; `head` are its first line and headers, each line ended by `\n`.
    pub(crate) async fn ask(&mut self, head: &str, body: &str) {
        let mut text = head.trim_end().replace('\n', "\r\n");
        for (name, value) in self.signer.iter().flat_map(Signer::headers) {
            text.push_str(&format!("\r\n{name}: {value}"));
        }
        text.push_str("\r\n\r\n");
        text.push_str(body);
        self.write(text.as_bytes()).await;
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// The head of an answer.
    pub(crate) async fn head(&mut self) -> String {
        self.through("\r\n\r\n").await
    }

    /// Everything up to and with this text.
    pub(crate) async fn through(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = self.unread.windows(end.len()).position(|bytes| bytes == end.as_bytes()) {
                let taken: Vec<_> = self.unread.drain(..at + end.len()).collect();
                return String::from_utf8_lossy(&taken).into_owned();
            }
            let read = soon(&format!("{end:?}"), self.stream.read_buf(&mut self.unread)).await.unwrap();
            assert!(read > 0, "it ended before {end:?}: {}", String::from_utf8_lossy(&self.unread));
        }
    }

    /// Everything until the other end closes, however it does that.
    pub(crate) async fn rest(&mut self) -> String {
        while soon("the end of the connection", self.stream.read_buf(&mut self.unread))
            .await
            .is_ok_and(|n| n > 0)
        {}
        String::from_utf8_lossy(&std::mem::take(&mut self.unread)).into_owned()
    }

    /// close_notify, and no FIN: the client still listens.
    pub(crate) async fn half_close(&mut self) {
        let (tcp, tls) = self.stream.get_mut();
        tls.send_close_notify();
        let mut bytes = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut bytes).unwrap();
        }
        tcp.write_all(&bytes).await.unwrap();
    }
}

async fn tls(at: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
    secured(TcpStream::connect(at).await?, at).await
}

async fn secured(tcp: TcpStream, at: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
    tcp.set_nodelay(true)?;
    let name = ServerName::from(at.ip());
    tokio_rustls::TlsConnector::from(Arc::new(trusting())).connect(name, tcp).await
}

/// Takes any certificate: which one an agent shows is another test's matter.
fn trusting() -> ClientConfig {
    let builder = ClientConfig::builder().dangerous();
    builder.with_custom_certificate_verifier(Arc::new(Anybody)).with_no_client_auth()
}

#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
