//! `GET /agents`: who can be asked now. Its names are those that the elements of merged lists carry.

use http::Response;
use serde::Serialize;

use super::{Fail, json};
use crate::body::Body;
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

/// All agents that can be asked, ourselves among them, by shown name. `port`: where they listen for clients, which
/// one configuration gives them all.
///
/// # Errors
/// [`Fail::NoCluster`] where there are no others to be had: Portainer's agent answers so when it stands alone.
pub(super) fn list(cluster: &Cluster, port: u16) -> Result<Response<Body>, Fail> {
    if !cluster.is_clustered() {
        return Err(Fail::NoCluster);
    }
    let mut agents: Vec<_> = cluster
        .members
        .values()
        .filter(|member| member.is_reachable())
        .map(|member| Agent {
            address: address(cluster, member),
            port: port.to_string(),
            node: &member.shown,
            role: if member.is_manager() { "manager" } else { "worker" },
            edge: false,
        })
        .collect();
    agents.sort_by_key(|agent| agent.node);
    Ok(json(&agents))
}

fn address(cluster: &Cluster, member: &Member) -> String {
    let own = || cluster.own_addresses.first().copied().filter(|_| member.is_here());
    let address = member.address.map(|address| address.ip()).or_else(own);
    address.map(|address| address.to_string()).unwrap_or_default()
}
