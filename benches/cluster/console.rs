//! One byte to a console and back, again and again: what somebody feels who types.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::Result;
use super::engine::samples;
use super::load::{Measured, Place, Signer};

const BODY: &[u8] = br#"{"Tty":true,"Detach":false}"#;

/// A new exec instance of an engine, by its socket.
pub(crate) async fn make(socket: &Path, host: &str) -> Result<String> {
    let container = samples::id(&samples::node_id(host), "container", 0);
    let mut driver = JoinSet::new();
    let made = post(socket, &format!("/containers/{container}/exec"), "", &mut driver).await?;
    let made = made.into_body().collect().await?.to_bytes();
    let made: serde_json::Value = serde_json::from_slice(&made)?;
    Ok(made["Id"].as_str().ok_or("no id")?.to_owned())
}

/// At the engine itself.
pub(crate) async fn direct(socket: &Path, id: &str, lasts: Duration) -> Result<Measured> {
    let mut driver = JoinSet::new();
    let started = post(socket, &format!("/exec/{id}/start"), "tcp", &mut driver).await?;
    let mut stream = TokioIo::new(hyper::upgrade::on(started).await?);
    while stream.read_u8().await? != b'\n' {}
    repeat(lasts, async || {
        stream.write_all(b"k").await?;
        stream.flush().await?;
        Ok(stream.read_u8().await? == b'k')
    })
    .await
}

/// Through an agent, on the node that is named.
pub(crate) async fn through(
    place: &Place,
    node: &str,
    id: &str,
    signer: &Signer,
    lasts: Duration,
) -> Result<Measured> {
    let Place::Agent(port, config) = place else { return Err("no agent".into()) };
    let stream = TcpStream::connect(("127.0.0.1", *port)).await?;
    stream.set_nodelay(true)?;
    let name = rustls::pki_types::ServerName::try_from("127.0.0.1")?;
    let stream = TlsConnector::from(config.clone()).connect(name, stream).await?;
    let mut request = format!("ws://127.0.0.1/websocket/exec?id={id}").into_client_request()?;
    request.headers_mut().extend(signer.headers()?);
    request.headers_mut().insert("x-node", HeaderValue::try_from(node)?);
    let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await?;
    // What the engine says first.
    socket.next().await.ok_or("no greeting")??;
    repeat(lasts, async || {
        socket.send(Message::text("k")).await?;
        Ok(socket.next().await.ok_or("no echo")?? == Message::text("k"))
    })
    .await
}

async fn repeat(lasts: Duration, mut once: impl AsyncFnMut() -> Result<bool>) -> Result<Measured> {
    let started = Instant::now();
    let mut whole = Vec::new();
    while started.elapsed() < lasts {
        let asked = Instant::now();
        if !once().await? {
            return Err("that is no echo".into());
        }
        whole.push(asked.elapsed());
    }
    whole.sort();
    Ok(Measured { first: Vec::new(), bytes: whole.len(), whole, took: started.elapsed() })
}

async fn post(
    socket: &Path,
    path: &str,
    upgrade: &str,
    driver: &mut JoinSet<()>,
) -> Result<http::Response<Incoming>> {
    let stream = TokioIo::new(UnixStream::connect(socket).await?);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
    driver.spawn(async move { drop(connection.with_upgrades().await) });
    let mut request = Request::new(Full::new(Bytes::from_static(BODY)));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = path.parse()?;
    request.headers_mut().insert("host", HeaderValue::from_static("bench"));
    if !upgrade.is_empty() {
        request.headers_mut().insert("connection", HeaderValue::from_static("Upgrade"));
        request.headers_mut().insert("upgrade", HeaderValue::try_from(upgrade)?);
    }
    let answer = sender.send_request(request).await?;
    let is_wanted = matches!(answer.status(), StatusCode::CREATED | StatusCode::SWITCHING_PROTOCOLS);
    if is_wanted { Ok(answer) } else { Err(format!("{path} answered {}", answer.status()).into()) }
}
