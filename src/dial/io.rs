//! A connection that we opened, whatever it runs over.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::client::legacy::connect::{Connected, Connection};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::tls;
use crate::model::NodeId;

/// 30 s of silence, then three questions 10 s apart: a vanished host is noticed within a minute. No user timeout:
/// that kills a healthy reader that has paused.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(30);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
const KEEPALIVE_TRIES: u32 = 3;

pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// An open connection, and what its handshake proved.
pub(super) struct Dialled {
    io: Box<dyn Duplex>,
    /// Who the certificate says is at the other end, on a peer's connection.
    pub(super) node: Option<NodeId>,
    pub(super) distrust: Distrust,
}

/// Whether the other end refused our certificate after the handshake was over for us.
///
/// A TLS 1.3 server judges the client's certificate when the client has already finished, so its alert is the first
/// thing read. The HTTP client may read it before it has a request to blame for it; here it is kept.
#[derive(Clone, Default)]
pub(super) struct Distrust(Arc<AtomicBool>);

impl Distrust {
    pub(super) fn was_shown(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Dialled {
    pub(super) fn new(io: impl Duplex + 'static, node: Option<NodeId>) -> Self {
        Self { io: Box::new(io), node, distrust: Distrust::default() }
    }
}

impl Connection for Dialled {
    fn connected(&self) -> Connected {
        Connected::new().extra(self.distrust.clone())
    }
}

impl AsyncRead for Dialled {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut *self.io).poll_read(cx, buf);
        if let Poll::Ready(Err(error)) = &read
            && tls::is_distrust(error)
        {
            self.distrust.0.store(true, Ordering::Release);
        }
        read
    }
}

impl AsyncWrite for Dialled {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

/// Small writes go out at once (without this a hijacked stream waits 40 ms at each turn), and a vanished host shows.
pub(super) fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_AFTER)
        .with_interval(KEEPALIVE_EVERY)
        .with_retries(KEEPALIVE_TRIES);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_host_that_vanished_is_noticed_within_a_minute() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let socket = SockRef::from(&stream);
        assert!(!socket.keepalive().unwrap() && !socket.tcp_nodelay().unwrap(), "not by itself");
        tune(&stream).unwrap();
        assert!(socket.keepalive().unwrap() && socket.tcp_nodelay().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(30));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(10));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
    }
}
