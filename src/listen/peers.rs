//! Who may connect to the peer listener: first the address, before the first byte, then the certificate.
//!
//! Nothing that happens here changes what is thought of a peer: only our own dial does.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use tokio::sync::{mpsc, watch};

use crate::model::{Cluster, Hint, NodeId};
use crate::trust::node_of;

pub(super) struct Peers {
    pub(super) cluster: watch::Receiver<Arc<Cluster>>,
    pub(super) hints: mpsc::Sender<Hint>,
}

impl Peers {
    /// A container's port is also reachable from its host, over docker_gwbridge: only the address that peers dial
    /// counts, and only from where Swarm runs another agent.
    pub(super) fn expects(&self, local: IpAddr, remote: IpAddr) -> Result<(), &'static str> {
        let cluster = Arc::clone(&self.cluster.borrow());
        if !cluster.own_addresses.is_empty() && !cluster.own_addresses.contains(&local) {
            return Err("it came to an address that no peer dials");
        }
        if cluster.service.is_some() && !cluster.directory.contains_key(&remote) {
            return Err("no agent of this service has its address");
        }
        Ok(())
    }

    /// The node at the other end of a finished handshake. The secret alone does not say which: whoever has it can
    /// claim any name, so as a service Swarm's directory must list that very node at this address.
    pub(super) fn recognize(
        &self,
        certificates: &[CertificateDer<'_>],
        remote: IpAddr,
    ) -> Result<NodeId, &'static str> {
        let node = node_of(certificates).ok_or("its certificate names no node")?;
        let cluster = Arc::clone(&self.cluster.borrow());
        if cluster.service.is_some() && cluster.directory.get(&remote) != Some(&node) {
            return Err("its certificate names another node than Swarm has at its address");
        }
        // A full queue means that discovery has plenty to look at already.
        self.hints.try_send(Hint::Called(node.clone())).ok();
        Ok(node)
    }
}
