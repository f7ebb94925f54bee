//! The handshake: from an accepted socket to a [`Wire`]. The caller holds the deadline.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::seats::Taken;
use super::wire::{Socket, Wire};
use crate::config::Limits;

/// The first byte of every TLS connection: a record that carries a handshake.
const HANDSHAKE: u8 = 0x16;

/// 1 s for somebody who speaks plain HTTP to read what we say: closed before, the answer might be lost.
const READING: Duration = Duration::from_secs(1);

/// What happens to somebody who speaks plain HTTP.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Plain {
    Told,
    Closed,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unmet {
    #[error("it took too long")]
    Silent,
    #[error("it left")]
    Left,
    #[error("it does not speak TLS")]
    Plain,
    #[error("{0}")]
    Failed(io::Error),
}

pub(super) async fn meet(
    mut stream: TcpStream,
    config: Arc<ServerConfig>,
    taken: Taken,
    limits: &Limits,
    plain: Plain,
) -> Result<Wire, Unmet> {
    let mut first = [0];
    match stream.peek(&mut first).await {
        Ok(1) if first == [HANDSHAKE] => {}
        Ok(1) => {
            if plain == Plain::Told && first[0].is_ascii_alphabetic() {
                // Whoever does not wait for it does not miss it.
                tell(&mut stream).await.ok();
            }
            return Err(Unmet::Plain);
        }
        Ok(_) | Err(_) => return Err(Unmet::Left),
    }
    let socket = Socket::new(stream, Arc::clone(taken.seat()), limits.body_write);
    let tls = TlsAcceptor::from(config).accept(socket).await.map_err(Unmet::Failed)?;
    Ok(Wire::new(tls, taken, limits.head))
}

async fn tell(stream: &mut TcpStream) -> io::Result<()> {
    let body = r#"{"message":"client sent an HTTP request to an HTTPS server"}"#;
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    let mut unread = [0; 1024];
    let over = async { while matches!(stream.read(&mut unread).await, Ok(1..)) {} };
    tokio::time::timeout(READING, over).await.ok();
    Ok(())
}
