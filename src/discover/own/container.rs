//! The container that this process runs in.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Deserialize;

use crate::discover::directory::address;
use crate::model::{NodeId, Service};

/// Finds the own container's id in `/proc/self/mountinfo`: the engine mounts three small files of the container's
/// own directory, `…/<id>/hostname` and its sisters. Names of volumes have 64 digits too, so nothing else counts.
pub(in crate::discover) fn container_of(mountinfo: &str) -> Option<&str> {
    mountinfo.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(3);
        let (source, at) = (fields.next()?, fields.next()?);
        let name = at.strip_prefix("/etc/").filter(|n| ["hostname", "hosts", "resolv.conf"].contains(n))?;
        let id = source.strip_suffix(name)?.strip_suffix('/')?.rsplit('/').next()?;
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        (id.len() == 64 && id.bytes().all(hex)).then_some(id)
    })
}

/// `GET /containers/{id}/json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(in crate::discover) struct Container {
    id: String,
    config: ContainerConfig,
    network_settings: NetworkSettings,
}

#[derive(Deserialize)]
struct ContainerConfig {
    #[serde(rename = "Labels")]
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct NetworkSettings {
    #[serde(rename = "Networks")]
    networks: Option<BTreeMap<String, Attached>>,
}

#[derive(Deserialize)]
struct Attached {
    #[serde(rename = "NetworkID", default)]
    network: String,
    #[serde(rename = "IPAddress", default)]
    v4: String,
    #[serde(rename = "GlobalIPv6Address", default)]
    v6: String,
}

impl Container {
    pub(in crate::discover) fn is(&self, id: &str) -> bool {
        self.id == id
    }

    /// The service whose task it is. The labels are Swarm's only if they name the node that the engine is.
    pub(in crate::discover) fn service(&self, here: &NodeId) -> Option<Service> {
        let label =
            |name: &str| Some(self.config.labels.as_ref()?.get(name)?.as_str()).filter(|v| !v.is_empty());
        label("com.docker.swarm.node.id").filter(|node| *node == here.as_str())?;
        Some(Service {
            id: label("com.docker.swarm.service.id")?.into(),
            name: label("com.docker.swarm.service.name")?.into(),
            task: label("com.docker.swarm.task.id").map(Into::into),
        })
    }

    /// The ids of its networks.
    pub(in crate::discover) fn networks(&self) -> impl Iterator<Item = &str> {
        let attached = self.network_settings.networks.iter().flat_map(BTreeMap::values);
        attached
            .map(|a| a.network.as_str())
            .filter(|id| !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric()))
    }

    pub(in crate::discover) fn addresses_on(&self, network: &str) -> Vec<IpAddr> {
        let attached = self.network_settings.networks.iter().flat_map(BTreeMap::values);
        let here = attached.filter(|a| a.network == network);
        here.flat_map(|a| [address(&a.v4), address(&a.v6)]).flatten().collect()
    }
}
