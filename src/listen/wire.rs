//! TLS over TCP, seen as two streams of bytes that know how they end and how long they may take.
//!
//! A close_notify ends one direction, as a FIN does on a plain socket. What comes after tells whether the client is
//! still there: a FIN soon after is part of the same half-close, since many TLS libraries send both at once; a later
//! one, like a reset, says that it is gone. A FIN alone is a connection cut short.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;

use super::lapse::Lapse;
use super::seats::{Seat, Taken};

/// 1 s: close_notify and FIN of one half-close leave together and arrive within a round trip.
const TOGETHER: Duration = Duration::from_secs(1);

/// 2 s: what a client still sends after it was refused is swallowed that long; closed at once, TCP would reset the
/// connection and the answer could be lost.
const LINGER: Duration = Duration::from_secs(2);

/// One accepted connection.
pub(super) struct Wire {
    tls: TlsStream<Socket>,
    end: End,
    /// From a head's first byte to its last.
    head: Lapse,
    /// How many requests had begun at the last look.
    requests: u32,
    linger: Lapse,
    together: Duration,
    revoked: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    taken: Taken,
}

/// How the client's direction ended.
#[derive(Clone, Copy)]
enum End {
    Open,
    /// By a close_notify.
    Notified(Instant),
    /// And then by a FIN of the same half-close.
    Finished,
}

impl Wire {
    pub(super) fn new(tls: TlsStream<Socket>, taken: Taken, head: Duration) -> Self {
        Self {
            tls,
            end: End::Open,
            head: Lapse::new(head),
            requests: 0,
            linger: Lapse::new(LINGER),
            together: TOGETHER,
            revoked: None,
            taken,
        }
    }

    pub(super) fn seat(&self) -> &Arc<Seat> {
        self.taken.seat()
    }

    /// The certificates that the other end showed.
    pub(super) fn certificates(&self) -> &[CertificateDer<'static>] {
        self.tls.get_ref().1.peer_certificates().unwrap_or_default()
    }

    fn poll_open(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.tls).poll_read(cx, buf);
        self.watch_head(buf.filled().len() > before);
        match read {
            Poll::Pending => self.poll_patience(cx),
            Poll::Ready(Ok(())) if buf.filled().len() == before && buf.remaining() > 0 => {
                self.end = End::Notified(Instant::now());
                Poll::Ready(Ok(()))
            }
            ready => ready,
        }
    }

    /// A head is under way from its first byte until its request begins.
    fn watch_head(&mut self, came: bool) {
        let seat = self.taken.seat();
        let requests = seat.requests();
        if requests != self.requests || seat.is_upgraded() {
            self.requests = requests;
            self.head.stop();
        }
        if came && !seat.is_running() && !seat.is_upgraded() {
            self.head.start();
        }
    }

    /// Nothing came: is that still in order?
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.head.poll(cx).is_ready() {
            let text = format!("no whole request head within {:?}", self.head.after());
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, text)));
        }
        self.poll_revoked(cx)
    }

    /// Before an upgrade the connection's task sees to this; after it, nobody but the stream is left.
    fn poll_revoked(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let seat = self.taken.seat();
        if !seat.is_upgraded() {
            return Poll::Pending;
        }
        let Some(client) = seat.client() else { return Poll::Pending };
        let revoked = self.revoked.get_or_insert_with(|| {
            let client = Arc::clone(client);
            Box::pin(async move { client.revoked().await })
        });
        ready!(revoked.as_mut().poll(cx));
        self.revoked = Some(Box::pin(std::future::ready(())));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "what opened the stream was revoked",
        )))
    }

    /// After a close_notify: pends until the other end is gone.
    fn poll_gone(&mut self, cx: &mut Context<'_>, notified: Instant) -> Poll<io::Result<()>> {
        match self.poll_drained(cx) {
            Poll::Pending => self.poll_revoked(cx),
            Poll::Ready(Ok(())) if notified.elapsed() <= self.together => {
                self.end = End::Finished;
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Ok(())) => Poll::Ready(Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "the client left after it had ended its input",
            ))),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        }
    }

    /// Ready at the FIN; what comes before it is nobody's.
    fn poll_drained(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let tcp = &mut self.tls.get_mut().0.tcp;
        let mut swallowed = [0; 4096];
        loop {
            let mut buf = ReadBuf::new(&mut swallowed);
            ready!(Pin::new(&mut *tcp).poll_read(cx, &mut buf))?;
            if buf.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.end {
            End::Open => self.poll_open(cx, buf),
            End::Notified(at) => self.poll_gone(cx, at),
            End::Finished => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.tls).poll_write(cx, bytes) {
            Poll::Pending => self.poll_revoked(cx).map_ok(|()| 0),
            ready => ready,
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.tls).poll_write_vectored(cx, slices) {
            Poll::Pending => self.poll_revoked(cx).map_ok(|()| 0),
            ready => ready,
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.tls).poll_flush(cx) {
            Poll::Pending => self.poll_revoked(cx),
            ready => ready,
        }
    }

    /// close_notify and FIN; then swallows what a refused client is still sending, for a moment.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tls.get_mut().0.closing = true;
        ready!(Pin::new(&mut self.tls).poll_shutdown(cx))?;
        let seat = self.taken.seat();
        if !seat.has_unread() || seat.is_upgraded() {
            return Poll::Ready(Ok(()));
        }
        self.linger.start();
        if self.linger.poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        // However it ends, the answer is out.
        self.poll_drained(cx).map(|_| Ok(()))
    }
}

/// The socket below TLS: only here it shows whether bytes really leave.
pub(super) struct Socket {
    tcp: TcpStream,
    stall: Lapse,
    closing: bool,
    seat: Arc<Seat>,
}

impl Socket {
    pub(super) fn new(tcp: TcpStream, seat: Arc<Seat>, stall: Duration) -> Self {
        Self { tcp, stall: Lapse::new(stall), closing: false, seat }
    }

    fn watch<T>(&mut self, cx: &mut Context<'_>, progress: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if progress.is_ready() {
            self.stall.stop();
            return progress;
        }
        self.stall.start();
        while self.stall.poll(cx).is_ready() {
            if !self.is_unhurried() {
                let text = format!("the client took nothing for {:?}", self.stall.after());
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, text)));
            }
            self.stall.start();
        }
        Poll::Pending
    }

    fn count(&self, progress: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(wrote)) = progress {
            self.seat.figures.sent.inc_by(*wrote as u64);
        }
    }

    /// A reader may pause as long as it likes in a stream or a long answer, but not when all was said.
    fn is_unhurried(&self) -> bool {
        self.seat.is_upgraded() || (self.seat.is_unhurried() && !self.closing)
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.tcp).poll_read(cx, buf);
        self.seat.figures.received.inc_by((buf.filled().len() - before) as u64);
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.tcp).poll_write(cx, bytes);
        self.count(&progress);
        self.watch(cx, progress)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.tcp).poll_write_vectored(cx, slices);
        self.count(&progress);
        self.watch(cx, progress)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
