//! The static peers, for hosts without a Swarm: their names become addresses, again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;
use tracing::debug;

use super::{Pace, Shared};
use crate::config::PeerAddress;
use crate::membership::Event;

/// 1 s for a name: a list of peers is short, and the next round comes soon.
const PATIENCE: Duration = Duration::from_secs(1);

pub(super) async fn follow(shared: Arc<Shared>, mut pace: Pace) {
    if shared.config.cluster.peers.is_empty() {
        return;
    }
    let mut told = BTreeSet::new();
    loop {
        for peer in &shared.config.cluster.peers {
            let found = addresses(&shared, peer).await;
            note_local(&shared, &found).await;
            let label: Arc<str> = format!("{}:{}", peer.host, peer.port).into();
            // Without an answer the peer keeps what it had; it is named as missing even if it never had any.
            if told.insert(Arc::clone(&label)) || !found.is_empty() {
                shared.tell(Event::Candidates(BTreeMap::from([(label, found)]))).await;
            }
        }
        pace.pause().await;
    }
}

async fn addresses(shared: &Shared, peer: &PeerAddress) -> BTreeSet<SocketAddr> {
    let bare = peer.host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(literal) = bare.parse::<IpAddr>() {
        return BTreeSet::from([SocketAddr::new(literal, peer.port)]);
    }
    let Ok(resolver) = (shared.resolve)() else { return BTreeSet::new() };
    match timeout(PATIENCE, resolver.lookup_ip(bare)).await {
        Ok(Ok(found)) => found.iter().map(|ip| SocketAddr::new(ip, peer.port)).collect(),
        Ok(Err(problem)) => {
            debug!(peer = %peer.host, %problem, "no address");
            BTreeSet::new()
        }
        Err(_) => BTreeSet::new(),
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
            shared.locals.send_if_modified(|locals| locals.insert(local.ip()));
        }
    }
}
