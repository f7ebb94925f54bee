//! A websocket and an engine's stream, both ways until one of them is over.
//!
//! What flows is never stored: a side that takes nothing holds up the other one, and memory is that of one message
//! each way.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::text::Output;
use super::watched::{Life, Watched};
use crate::config::Limits;

/// 16 KiB at a time, one TLS record. A message of it is at most three times as large, if no byte of it is text.
const CHUNK: usize = 16 << 10;

/// 256 KiB wait to be written at most: one message of ours, and answers to the pings of a client that takes none.
const WRITE_BUFFER: usize = 256 << 10;

/// 3 pings in a row without a sign of life: the client is gone, whatever its connection says.
const PINGS: u32 = 3;

/// 5 s for the client to answer our close, and for the engine to hear that its input has ended.
const FAREWELL: Duration = Duration::from_secs(5);

/// Why a console is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The engine has ended its side: the process is over.
    Engine,
    /// The engine's connection broke.
    Broken,
    /// The client has closed.
    Client,
    /// The client's connection ended without a close, or broke, or takes nothing any more.
    Vanished,
    /// The client does not answer pings.
    Silent,
    /// A message of the client is too large, is no text, or breaks the protocol.
    TooLarge,
    NoText,
    Protocol,
    /// This agent stops.
    Draining,
    /// What had opened the console was taken back.
    Revoked,
}

impl End {
    fn of(error: &Error) -> Self {
        match error {
            Error::Capacity(_) => Self::TooLarge,
            Error::Utf8(_) => Self::NoText,
            Error::ConnectionClosed
            | Error::AlreadyClosed
            | Error::Protocol(ProtocolError::SendAfterClosing) => Self::Client,
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Self::Vanished,
            Error::Protocol(_) => Self::Protocol,
            _ => Self::Vanished,
        }
    }

    /// What the client is told (RFC 6455, 7.4.1), where it can still be told anything.
    fn farewell(self) -> Option<CloseFrame> {
        let (code, reason) = match self {
            Self::Engine => (CloseCode::Normal, ""),
            Self::Broken => (CloseCode::Error, "the engine's stream broke off"),
            Self::TooLarge => (CloseCode::Size, "the message is too large"),
            Self::NoText => (CloseCode::Invalid, "the message is not UTF-8"),
            Self::Protocol => (CloseCode::Protocol, ""),
            Self::Draining => (CloseCode::Away, "the agent stops"),
            Self::Client | Self::Vanished | Self::Silent | Self::Revoked => return None,
        };
        Some(CloseFrame { code, reason: reason.into() })
    }
}

/// Carries messages and output until one side is over, or `cut` says so. `alive`: whether the engine still answers, asked
/// when its stream has ended. The engine's connection is closed as soon as
/// that is known; the client's when it has heard of it.
pub(super) async fn bridge<C, E>(
    client: C,
    engine: E,
    output: Output,
    cut: impl Future<Output = End>,
    alive: impl Future<Output = bool>,
    limits: &Limits,
) -> End
where
    C: AsyncRead + AsyncWrite + Unpin,
    E: AsyncRead + AsyncWrite,
{
    let life = Arc::new(Life::default());
    let client = Watched::new(client, Arc::clone(&life), limits.console_stall);
    let mut socket = WebSocketStream::from_raw_socket(client, Role::Server, Some(rules(limits))).await;
    let end = {
        let (from_engine, to_engine) = tokio::io::split(engine);
        let (to_client, from_client) = (&mut socket).split();
        tokio::select! {
            end = down(from_engine, to_client, output, &life, limits.console_ping) => end,
            end = up(from_client, to_engine, &life) => end,
            end = cut => end,
        }
    };
    // A stream ends alike when its process does and when the engine is killed.
    let end = if end == End::Engine && !alive.await { End::Broken } else { end };
    match end {
        // Nobody hears a farewell, or nobody may.
        End::Vanished | End::Silent | End::Revoked => {}
        // Others wait for the end of the process.
        End::Draining => drop(timeout(FAREWELL, part(&mut socket, end)).await),
        _ => part(&mut socket, end).await,
    }
    end
}

fn rules(limits: &Limits) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(CHUNK)
        // Each message leaves at once: a person waits for its echo.
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_BUFFER)
        .max_message_size(Some(limits.console_message))
        .max_frame_size(Some(limits.console_message))
}

/// What the engine says, and pings. Nothing is read while the client has not taken what was read before.
async fn down<E, C>(mut engine: E, mut client: C, mut output: Output, life: &Life, every: Duration) -> End
where
    E: AsyncRead + Unpin,
    C: Sink<Message, Error = Error> + Unpin,
{
    let mut pings = interval_at(Instant::now() + every, every);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut chunk = Vec::with_capacity(CHUNK);
    let mut unanswered = 0;
    loop {
        // Both arms lose nothing when the other one is taken.
        let (message, end) = tokio::select! {
            read = engine.read_buf(&mut chunk) => match read {
                Ok(0) => (text(output.finish()), Some(End::Engine)),
                Ok(_) => (text(output.push(&chunk)), None),
                Err(_) => (text(output.finish()), Some(End::Broken)),
            },
            _ = pings.tick() => {
                unanswered = if life.showed() { 0 } else { unanswered + 1 };
                if unanswered >= PINGS {
                    return End::Silent;
                }
                (Some(Message::Ping(Bytes::new())), None)
            }
        };
        chunk.clear();
        if let Some(message) = message
            && let Err(error) = client.send(message).await
        {
            return End::of(&error);
        }
        if let Some(end) = end {
            return end;
        }
    }
}

fn text(text: String) -> Option<Message> {
    (!text.is_empty()).then(|| Message::text(text))
}

/// What the client writes. Nothing is read while the engine has not taken what was read before.
async fn up<C, E>(mut client: C, mut engine: E, life: &Life) -> End
where
    C: Stream<Item = Result<Message, Error>> + Unpin,
    E: AsyncWrite + Unpin,
{
    let mut takes = true;
    while let Some(message) = client.next().await {
        let bytes = match message {
            Ok(Message::Text(text)) => Bytes::from(text),
            Ok(Message::Binary(bytes)) => bytes,
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => continue,
            Ok(Message::Close(_)) => break,
            Err(error) => return End::of(&error),
        };
        if takes {
            // An engine that takes no more input may still have output.
            takes = life.without_listening(write(&mut engine, &bytes)).await.is_ok();
        }
    }
    drop(timeout(FAREWELL, engine.shutdown()).await);
    End::Client
}

async fn write<E: AsyncWrite + Unpin>(engine: &mut E, bytes: &[u8]) -> std::io::Result<()> {
    engine.write_all(bytes).await?;
    engine.flush().await
}

/// Says why, waits for the answer, and closes. What the client still sends is read and dropped: closed with input
/// unread, the connection would be reset, and our last word could be lost.
async fn part<C>(socket: &mut WebSocketStream<Watched<C>>, end: End)
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    if let Some(farewell) = end.farewell()
        && socket.send(Message::Close(Some(farewell))).await.is_err()
    {
        return;
    }
    let leaving = async {
        while let Some(Ok(_)) = socket.next().await {}
        let connection = socket.get_mut();
        connection.shutdown().await?;
        let mut unread = Vec::with_capacity(CHUNK);
        while connection.read_buf(&mut unread).await? > 0 {
            unread.clear();
        }
        std::io::Result::Ok(())
    };
    drop(timeout(FAREWELL, leaving).await);
}

#[cfg(test)]
mod tests;
