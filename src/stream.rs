//! A connection after `101`: bytes both ways until it is over.
//!
//! It knows nothing of what flows, sets no time limit on silence, and holds memory only for what the slower side has
//! not taken yet.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// 16 KiB at a time: one TLS record, and a size at which system calls no longer dominate.
const CHUNK: usize = 16 << 10;

/// 16 chunks, then the other direction has its turn: input that never pauses must not hold output back.
const TURN: usize = 16;

/// How many bytes went each way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// From the client to the engine.
    pub up: u64,
    /// From the engine to the client.
    pub down: u64,
}

/// Carries bytes both ways until the engine has ended its side, or the client is gone entirely.
///
/// A client that ends its side half-closes the engine, and output still arrives. After the engine's end the client
/// has `linger` to close too. Dropping the future drops both ends at once.
pub async fn tunnel<C, E>(client: C, engine: E, linger: Duration) -> Totals
where
    C: AsyncRead + AsyncWrite + Unpin,
    E: AsyncRead + AsyncWrite + Unpin,
{
    let mut session =
        Session { client, engine, input: Input::Flowing, up: Flow::default(), down: Flow::default() };
    let end = poll_fn(|cx| session.poll(cx)).await;
    let Session { mut client, engine, input, up, down } = session;
    drop(engine);
    if end == End::Engine && !input.has_ended() {
        // Dropped with input unread, the connection would be reset and take the last output with it.
        let leaving = poll_fn(|cx| discard(cx, &mut client));
        tokio::time::timeout(linger, leaving).await.ok();
    }
    Totals { up: up.moved, down: down.moved }
}

#[derive(PartialEq)]
enum End {
    /// The engine has ended its side, and the client has all of it.
    Engine,
    /// One side broke, or the client is gone.
    Broken,
}

/// Where the client's side is.
#[derive(Clone, Copy, PartialEq)]
enum Input {
    Flowing,
    /// The engine takes no more. What it still prints must reach the client, whose input goes nowhere.
    Refused,
    /// The client has ended its side; the engine is being told.
    Ending,
    /// The engine knows. Only whether the client is still there matters now.
    Ended,
    /// The same, where reading again tells nothing.
    Silent,
}

impl Input {
    fn has_ended(self) -> bool {
        matches!(self, Self::Ending | Self::Ended | Self::Silent)
    }
}

struct Session<C, E> {
    client: C,
    engine: E,
    input: Input,
    up: Flow,
    down: Flow,
}

impl<C, E> Session<C, E>
where
    C: AsyncRead + AsyncWrite + Unpin,
    E: AsyncRead + AsyncWrite + Unpin,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        if self.poll_up(cx).is_ready() {
            return Poll::Ready(End::Broken);
        }
        self.poll_down(cx)
    }

    /// Ready when the client is gone.
    fn poll_up(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            self.input = match self.input {
                Input::Flowing => match ready!(self.up.poll(cx, &mut self.client, &mut self.engine)) {
                    Ok(()) => Input::Ending,
                    Err(Broke::Source) => return Poll::Ready(()),
                    Err(Broke::Sink) => Input::Refused,
                },
                Input::Refused => match ready!(discard(cx, &mut self.client)) {
                    Ok(()) => Input::Ended,
                    Err(_) => return Poll::Ready(()),
                },
                Input::Ending => {
                    // An engine that cannot be told has ended its side, or will be found broken by reading.
                    ready!(Pin::new(&mut self.engine).poll_shutdown(cx)).ok();
                    Input::Ended
                }
                Input::Ended => match ready!(discard(cx, &mut self.client)) {
                    Ok(()) => Input::Silent,
                    Err(_) => return Poll::Ready(()),
                },
                Input::Silent => return Poll::Pending,
            };
        }
    }

    fn poll_down(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        match ready!(self.down.poll(cx, &mut self.engine, &mut self.client)) {
            Ok(()) => {}
            // Not ended in order: a break must stay visible as one.
            Err(_) => return Poll::Ready(End::Broken),
        }
        match ready!(Pin::new(&mut self.client).poll_shutdown(cx)) {
            Ok(()) => Poll::Ready(End::Engine),
            Err(_) => Poll::Ready(End::Broken),
        }
    }
}

/// Which end of a flow failed.
enum Broke {
    Source,
    Sink,
}

/// One direction.
#[derive(Default)]
struct Flow {
    /// What the sink has not taken yet. Nothing is read while there is any, so it never exceeds [`CHUNK`].
    held: Vec<u8>,
    taken: usize,
    moved: u64,
    unflushed: bool,
    /// How the source ended, once it has.
    last: Option<Result<(), ()>>,
}

impl Flow {
    /// Ready when the source has ended and the sink has everything, or when one of them broke.
    fn poll<R, W>(&mut self, cx: &mut Context<'_>, from: &mut R, to: &mut W) -> Poll<Result<(), Broke>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        for _ in 0..TURN {
            while let Some(rest) = self.held.get(self.taken..).filter(|rest| !rest.is_empty()) {
                let wrote = ready!(write(cx, to, rest))?;
                self.taken += wrote;
                self.moved += wrote as u64;
                self.unflushed = true;
            }
            self.taken = 0;
            self.held.clear();
            let read = match self.last {
                Some(end) => {
                    ready!(self.flush(cx, to))?;
                    return Poll::Ready(end.map_err(|()| Broke::Source));
                }
                None => self.pass(cx, from, to)?,
            };
            if read.is_pending() {
                // Idle costs nothing.
                self.held = Vec::new();
                ready!(self.flush(cx, to))?;
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Moves one chunk, and keeps what the sink does not take.
    fn pass<R, W>(&mut self, cx: &mut Context<'_>, from: &mut R, to: &mut W) -> Result<Poll<()>, Broke>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut chunk = [const { MaybeUninit::uninit() }; CHUNK];
        let mut chunk = ReadBuf::uninit(&mut chunk);
        match Pin::new(from).poll_read(cx, &mut chunk) {
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(Err(_)) => self.last = Some(Err(())),
            Poll::Ready(Ok(())) if chunk.filled().is_empty() => self.last = Some(Ok(())),
            Poll::Ready(Ok(())) => {}
        }
        let mut rest = chunk.filled();
        while !rest.is_empty() {
            let Poll::Ready(wrote) = write(cx, to, rest) else { break };
            let wrote = wrote?;
            self.moved += wrote as u64;
            self.unflushed = true;
            rest = rest.get(wrote..).unwrap_or_default();
        }
        self.held.extend_from_slice(rest);
        Ok(Poll::Ready(()))
    }

    fn flush<W: AsyncWrite + Unpin>(&mut self, cx: &mut Context<'_>, to: &mut W) -> Poll<Result<(), Broke>> {
        if self.unflushed {
            ready!(Pin::new(to).poll_flush(cx)).map_err(|_| Broke::Sink)?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

fn write<W: AsyncWrite + Unpin>(
    cx: &mut Context<'_>,
    to: &mut W,
    bytes: &[u8],
) -> Poll<Result<usize, Broke>> {
    match ready!(Pin::new(to).poll_write(cx, bytes)) {
        Ok(wrote) if wrote > 0 => Poll::Ready(Ok(wrote)),
        _ => Poll::Ready(Err(Broke::Sink)),
    }
}

/// Reads to the end and keeps nothing.
fn discard<R: AsyncRead + Unpin>(cx: &mut Context<'_>, from: &mut R) -> Poll<io::Result<()>> {
    loop {
        let mut chunk = [const { MaybeUninit::uninit() }; CHUNK];
        let mut chunk = ReadBuf::uninit(&mut chunk);
        ready!(Pin::new(&mut *from).poll_read(cx, &mut chunk))?;
        if chunk.filled().is_empty() {
            return Poll::Ready(Ok(()));
        }
    }
}

#[cfg(test)]
mod tests;
