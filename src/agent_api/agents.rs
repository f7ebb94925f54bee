//! `GET /agents`: who can be asked now. Its names are those that the elements of merged lists carry.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use http::Response;
use serde::Serialize;

use super::{Fail, json};
use crate::body::Body;
use crate::config::Listen;
use crate::model::{Cluster, Member};

/// One agent, as Portainer's browser reads it.
#[derive(Serialize)]
struct Agent<'a> {
    #[serde(rename = "IPAddress")]
    address: String,
    /// Where its public listener is; text, not a number.
    #[serde(rename = "Port")]
    port: String,
    #[serde(rename = "NodeName")]
    node: &'a str,
    #[serde(rename = "NodeRole")]
    role: &'static str,
    #[serde(rename = "EdgeKeySet")]
    edge: bool,
}

/// All agents that can be asked, ourselves among them, by shown name. `listen`: where they listen for clients, which one
/// configuration gives them all. `client`: who asks.
///
/// # Errors
/// [`Fail::NoCluster`] where there are no others to be had: Portainer's agent answers so when it stands alone.
pub(super) fn list(cluster: &Cluster, listen: &Listen, client: SocketAddr) -> Result<Response<Body>, Fail> {
    if !cluster.is_clustered() {
        return Err(Fail::NoCluster);
    }
    let mut agents: Vec<_> = cluster
        .members
        .values()
        .filter(|member| member.is_reachable())
        .map(|member| Agent {
            address: address(cluster, member, listen, client).to_string(),
            port: listen.port.to_string(),
            node: &member.shown,
            role: if member.is_manager() { "manager" } else { "worker" },
            edge: false,
        })
        .collect();
    agents.sort_by_key(|agent| agent.node);
    Ok(json(&agents))
}

/// Where an agent is. Of ourselves it may be unknown what others call us; then it is what the client sees.
fn address(cluster: &Cluster, member: &Member, listen: &Listen, client: SocketAddr) -> IpAddr {
    let own = || cluster.own_addresses.first().copied();
    let configured = || listen.host.filter(|host| !host.is_unspecified());
    let known = member.address.map(|address| address.ip()).or_else(own).or_else(configured);
    known.or_else(|| towards(client)).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}

/// Which of our addresses is used towards a client. Connecting a datagram socket asks the routing table and sends
/// nothing.
fn towards(client: SocketAddr) -> Option<IpAddr> {
    let client = SocketAddr::new(client.ip().to_canonical(), client.port());
    let any: IpAddr = if client.is_ipv4() { [0, 0, 0, 0].into() } else { [0u16; 8].into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(client).ok()?;
    Some(socket.local_addr().ok()?.ip())
}
