//! The client's connection below its frames: only here it shows whether anything comes, and whether anything leaves.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// Signs of the client's life.
pub(super) struct Life {
    heard: AtomicBool,
    deaf: AtomicBool,
}

impl Default for Life {
    /// Whoever has just asked for a console is alive.
    fn default() -> Self {
        Self { heard: AtomicBool::new(true), deaf: AtomicBool::new(false) }
    }
}

impl Life {
    /// Whether there was any since the last look. While we do not listen, silence says nothing.
    pub(super) fn showed(&self) -> bool {
        self.heard.swap(false, Ordering::Relaxed) || self.deaf.load(Ordering::Relaxed)
    }

    /// Waits for something else than the client.
    pub(super) async fn without_listening<F: Future>(&self, wait: F) -> F::Output {
        self.deaf.store(true, Ordering::Relaxed);
        let output = wait.await;
        self.deaf.store(false, Ordering::Relaxed);
        self.heard.store(true, Ordering::Relaxed);
        output
    }
}

/// A connection that breaks when its other end takes nothing for too long.
pub(super) struct Watched<S> {
    io: S,
    life: Arc<Life>,
    stall: Duration,
    /// Runs while something waits to be taken.
    stuck: Option<Pin<Box<Sleep>>>,
}

impl<S> Watched<S> {
    pub(super) fn new(io: S, life: Arc<Life>, stall: Duration) -> Self {
        Self { io, life, stall, stuck: None }
    }

    fn watch<T>(&mut self, cx: &mut Context<'_>, progress: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if progress.is_ready() {
            if self.stuck.take().is_some() {
                // Room where there was none: it takes what it is sent, and the pings are behind that.
                self.life.heard.store(true, Ordering::Relaxed);
            }
            return progress;
        }
        let until = Instant::now() + self.stall;
        let stuck = self.stuck.get_or_insert_with(|| Box::pin(sleep_until(until)));
        stuck.as_mut().poll(cx).map(|()| {
            let text = format!("the client took nothing for {:?}", self.stall);
            Err(io::Error::new(io::ErrorKind::TimedOut, text))
        })
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.life.heard.store(true, Ordering::Relaxed);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.watch(cx, progress)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let progress = Pin::new(&mut self.io).poll_flush(cx);
        self.watch(cx, progress)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let progress = Pin::new(&mut self.io).poll_shutdown(cx);
        self.watch(cx, progress)
    }
}
