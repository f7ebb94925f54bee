//! The connection a request came on: who is at the other end, and what the stages tell the listener about it.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::model::NodeId;

/// Which listener accepted the connection, and what it proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Side {
    /// The public listener: nothing is proved yet.
    Public,
    /// The peer listener: the certificate names this node, and Swarm lists it at this address.
    Peer(NodeId),
}

/// Shared between the listener, which owns the socket, and the request path, which learns who calls.
pub struct Client {
    pub remote: SocketAddr,
    pub side: Side,
    known: AtomicBool,
    unhurried: AtomicBool,
    leash: watch::Sender<Option<CancellationToken>>,
    cut: CancellationToken,
}

impl Client {
    pub fn new(remote: SocketAddr, side: Side) -> Self {
        Self {
            remote,
            side,
            known: AtomicBool::new(false),
            unhurried: AtomicBool::new(false),
            leash: watch::Sender::new(None),
            cut: CancellationToken::new(),
        }
    }

    /// The request path authenticated a request of this connection: it no longer counts against the cap on
    /// strangers. `revoked` ends the connection, streams included, when what opened it is taken back.
    pub fn authenticated(&self, revoked: &CancellationToken) {
        self.known.store(true, Ordering::Relaxed);
        self.leash.send_if_modified(|held| {
            let new = held.is_none();
            if new {
                *held = Some(revoked.clone());
            }
            new
        });
    }

    pub fn is_known(&self) -> bool {
        self.known.load(Ordering::Relaxed)
    }

    /// Whether the current request may take as long as it likes between two bytes, either way. Set for each request.
    pub fn set_unhurried(&self, unhurried: bool) {
        self.unhurried.store(unhurried, Ordering::Relaxed);
    }

    pub fn is_unhurried(&self) -> bool {
        self.unhurried.load(Ordering::Relaxed)
    }

    /// Ends this connection: it takes too long over something that others wait for.
    pub fn cut(&self) {
        self.cut.cancel();
    }

    /// Ends when the credential that opened this connection is revoked, or it was cut; pends for ever otherwise.
    pub async fn revoked(&self) {
        tokio::select! {
            () = self.cut.cancelled() => {}
            () = self.leash_ends() => {}
        }
    }

    async fn leash_ends(&self) {
        let mut leash = self.leash.subscribe();
        let token = match leash.wait_for(Option::is_some).await {
            Ok(held) => held.clone(),
            Err(_) => None,
        };
        match token {
            Some(token) => token.cancelled().await,
            None => std::future::pending().await,
        }
    }
}

/// Who an address counts as. A /64 is one source: whoever has one has all of its addresses.
pub fn source(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(network.into())
        }
    }
}
