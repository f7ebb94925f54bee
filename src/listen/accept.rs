//! Sockets: bound for both families, accepted without spinning when descriptors run out.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tracing::warn;

use crate::config::Cidr;

/// 1024: a burst of clients waits in the kernel for the moment that an accept takes.
const BACKLOG: i32 = 1024;
/// 50 ms, doubled to 1 s: descriptors come back when some request ends.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// 30 s, then 10 s × 3: a client whose cable was pulled is gone after a minute.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
#[cfg(unix)]
const KEEPALIVE_TIMES: u32 = 3;

/// Binds. Without a host: every address of both families, or of IPv4 where the kernel has no IPv6.
pub fn bind(host: Option<IpAddr>, port: u16) -> io::Result<TcpListener> {
    let Some(host) = host else {
        let both = listening(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port));
        return match both {
            // The port is taken, or too low for us: so it would be without IPv6.
            Err(error) if is_about_the_port(&error) => Err(error),
            Err(_) => listening(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port)),
            both => both,
        };
    };
    listening(SocketAddr::new(host, port))
}

fn is_about_the_port(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied)
}

fn listening(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
    if at.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        socket.set_only_v6(false)?;
    }
    // Elsewhere it means that two processes may share the port.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&at.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

/// What every accepted socket gets. Without TCP_NODELAY a hijacked stream waits 40 ms for each keystroke's echo.
pub(super) fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE_EVERY);
    #[cfg(unix)]
    let keepalive = keepalive.with_retries(KEEPALIVE_TIMES);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// The configured number of connections, lowered to what the descriptors allow: a request may need one for its
/// client and two upstream, and 64 are for everything else.
pub(super) fn connections(configured: usize) -> usize {
    files().map_or(configured, |files| configured.min(files.saturating_sub(64) / 3)).max(1)
}

#[cfg(unix)]
fn files() -> Option<usize> {
    use rustix::process::{Resource, getrlimit};
    getrlimit(Resource::Nofile).current.and_then(|files| usize::try_from(files).ok())
}

#[cfg(not(unix))]
fn files() -> Option<usize> {
    None
}

pub(super) fn contains(range: &Cidr, address: IpAddr) -> bool {
    let outside = |bits: u8| u32::from(bits.saturating_sub(range.bits));
    match (range.base, address) {
        (IpAddr::V4(base), IpAddr::V4(address)) => {
            let differing = u32::from(base) ^ u32::from(address);
            differing.checked_shr(outside(32)).unwrap_or(0) == 0
        }
        (IpAddr::V6(base), IpAddr::V6(address)) => {
            let differing = u128::from(base) ^ u128::from(address);
            differing.checked_shr(outside(128)).unwrap_or(0) == 0
        }
        _ => false,
    }
}

/// The accept loop's state: one descriptor in reserve, so that somebody can still look when all are used up.
pub(super) struct Accepting {
    listener: TcpListener,
    reserve: Option<Socket>,
    pause: Duration,
}

impl Accepting {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self { listener, reserve: None, pause: PAUSE }
    }

    /// The next connection. Cancel-safe: at worst a pause is cut short.
    pub(super) async fn next(&mut self) -> (TcpStream, SocketAddr) {
        self.restock();
        loop {
            let error = match self.listener.accept().await {
                Ok(accepted) => {
                    self.pause = PAUSE;
                    return accepted;
                }
                Err(error) => error,
            };
            // The client gave up while it was waiting; the next one has not.
            if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
                continue;
            }
            if self.reserve.take().is_some() {
                continue;
            }
            self.wait(&error).await;
        }
    }

    fn restock(&mut self) {
        if self.reserve.is_none() {
            self.reserve = Socket::new(Domain::IPV4, Type::DGRAM, None).ok();
        }
    }

    #[expect(clippy::disallowed_methods, reason = "nothing tells when a descriptor is free again")]
    async fn wait(&mut self, error: &io::Error) {
        if self.pause == PAUSE {
            warn!(%error, "connections cannot be accepted for now");
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_contains_what_shares_its_first_bits() {
        let rows = [
            ("10.0.0.0", 8, "10.255.0.1", true),
            ("10.0.0.0", 8, "11.0.0.1", false),
            ("192.0.2.1", 32, "192.0.2.1", true),
            ("192.0.2.1", 32, "192.0.2.0", false),
            ("0.0.0.0", 0, "203.0.113.9", true),
            ("0.0.0.0", 0, "::1", false),
            ("2001:db8::", 32, "2001:db8:ffff::1", true),
            ("2001:db8::", 32, "2001:db9::1", false),
            ("::", 0, "2001:db9::1", true),
            ("::", 0, "10.0.0.1", false),
            ("::1", 128, "::1", true),
            ("::1", 128, "::2", false),
        ];
        for (base, bits, address, inside) in rows {
            let range = Cidr { base: base.parse().unwrap(), bits };
            assert_eq!(contains(&range, address.parse().unwrap()), inside, "{base}/{bits} {address}");
        }
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_client_whose_cable_was_pulled_is_gone_after_a_minute() {
        let listener = bind(Some(Ipv4Addr::LOCALHOST.into()), 0).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = Accepting::new(listener).next().await;
        let socket = SockRef::from(&stream);
        assert!(!socket.keepalive().unwrap() && !socket.tcp_nodelay().unwrap(), "not by itself");
        tune(&stream).unwrap();
        assert!(socket.keepalive().unwrap() && socket.tcp_nodelay().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(30));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(10));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
    }

    #[test]
    fn connections_never_exceed_a_third_of_the_descriptors() {
        let files = files().unwrap_or(usize::MAX);
        assert_eq!(connections(1), 1);
        assert!(connections(usize::MAX) <= files / 3 || files < 100);
    }
}
