//! The static peers, for hosts without a Swarm: their names become addresses, again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use futures_util::future::join_all;
use tokio::net::UdpSocket;
use tracing::debug;

use super::{Pace, Shared, dns};
use crate::config::PeerAddress;
use crate::membership::Event;

pub(super) async fn follow(shared: Arc<Shared>, mut pace: Pace) {
    if shared.config.cluster.peers.is_empty() {
        return;
    }
    let mut told = BTreeSet::new();
    loop {
        let peers = &shared.config.cluster.peers;
        let found = join_all(peers.iter().map(|peer| addresses(&shared, peer))).await;
        for (peer, found) in peers.iter().zip(found) {
            note_local(&shared, &found).await;
            let label: Arc<str> = peer.name().into();
            // Without an answer the peer keeps what it had; it is named as missing even if it never had any.
            if told.insert(Arc::clone(&label)) || !found.is_empty() {
                shared.tell(Event::Candidates(BTreeMap::from([(label, found)]))).await;
            }
        }
        pace.pause().await;
    }
}

async fn addresses(shared: &Shared, peer: &PeerAddress) -> BTreeSet<SocketAddr> {
    if let Ok(literal) = peer.host.parse::<IpAddr>() {
        return BTreeSet::from([SocketAddr::new(literal, peer.port)]);
    }
    match (shared.resolve)() {
        Ok(resolver) => {
            let found = dns::addresses(&resolver, &peer.host).await;
            found.into_iter().map(|ip| SocketAddr::new(ip, peer.port)).collect()
        }
        Err(problem) => {
            debug!(peer = %peer.host, %problem, "no resolver");
            BTreeSet::new()
        }
    }
}

/// Which of our addresses a peer sees. Connecting a datagram socket asks the routing table and sends nothing.
pub(super) async fn note_local(shared: &Shared, peers: &BTreeSet<SocketAddr>) {
    for peer in peers {
        let any: IpAddr = if peer.is_ipv4() { [0, 0, 0, 0].into() } else { [0u16; 8].into() };
        let Ok(socket) = UdpSocket::bind((any, 0)).await else { continue };
        if socket.connect(peer).await.is_ok()
            && let Ok(local) = socket.local_addr()
        {
            // All of a machine's loopback addresses are its own, 127.0.1.1 as well, which is what Debian's hosts file
            // calls it.
            let own = if peer.ip().is_loopback() { peer.ip() } else { local.ip() };
            shared.locals.send_if_modified(|locals| locals.insert(own));
        }
    }
}
