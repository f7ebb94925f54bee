//! The own engine's directory: which tasks of the service are at which address of a shared overlay. Every engine of a
//! network has it, a worker's too, and names that a stranger gives himself never enter it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::Deserialize;

use crate::membership::Seat;
use crate::model::NodeId;

/// The networks that this agent shares with the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Overlays {
    pub(super) ids: BTreeSet<String>,
    pub(super) subnets: Vec<Subnet>,
}

impl Overlays {
    /// Whether an address may be dialled. Without an overlay there is nothing to compare with.
    pub(super) fn allow(&self, at: IpAddr) -> bool {
        self.subnets.is_empty() || self.subnets.iter().any(|s| s.contains(at))
    }
}

/// A network's address range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subnet {
    base: IpAddr,
    bits: u8,
}

impl Subnet {
    fn parse(text: &str) -> Option<Self> {
        let (base, bits) = text.split_once('/')?;
        Some(Self { base: base.parse().ok()?, bits: bits.parse().ok()? })
    }

    fn contains(self, at: IpAddr) -> bool {
        let differ = match (self.base, at) {
            (IpAddr::V4(a), IpAddr::V4(b)) => u128::from(a.to_bits() ^ b.to_bits()) << 96,
            (IpAddr::V6(a), IpAddr::V6(b)) => a.to_bits() ^ b.to_bits(),
            _ => return false,
        };
        differ.leading_zeros() >= u32::from(self.bits) || differ == 0
    }
}

/// `GET /networks/{id}?verbose=true`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Network {
    id: String,
    driver: String,
    #[serde(default)]
    ingress: bool,
    #[serde(rename = "IPAM")]
    ipam: Option<Ipam>,
    containers: Option<BTreeMap<String, Endpoint>>,
    services: Option<BTreeMap<String, Listing>>,
}

#[derive(Deserialize)]
struct Ipam {
    #[serde(rename = "Config")]
    config: Option<Vec<Range>>,
}

#[derive(Deserialize)]
struct Range {
    #[serde(rename = "Subnet", default)]
    subnet: String,
}

#[derive(Deserialize)]
struct Endpoint {
    #[serde(rename = "IPv4Address", default)]
    v4: String,
    #[serde(rename = "IPv6Address", default)]
    v6: String,
}

#[derive(Deserialize)]
struct Listing {
    #[serde(rename = "Tasks")]
    tasks: Option<Vec<Task>>,
}

#[derive(Deserialize)]
struct Task {
    #[serde(rename = "Name")]
    name: String,
    #[serde(rename = "EndpointIP")]
    at: String,
}

impl Network {
    /// Whether agents can meet here: not the routing mesh's network, nor a host's own bridges.
    pub(super) fn is_shared(&self) -> bool {
        self.driver == "overlay" && !self.ingress
    }

    pub(super) fn subnets(&self) -> impl Iterator<Item = Subnet> {
        let ranges = self.ipam.iter().flat_map(|i| i.config.iter().flatten());
        ranges.filter_map(|r| Subnet::parse(&r.subnet))
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// The tasks of the service that are listed here.
    pub(super) fn seats(&self, service: &str) -> Vec<Seat> {
        let own = self.services.iter().flatten().filter(|(name, _)| *name == service);
        own.flat_map(|(_, listing)| listing.tasks.iter().flatten()).filter_map(|t| t.seat(service)).collect()
    }

    /// Addresses that something else has: tasks of other services, and whatever this node itself runs here.
    pub(super) fn taken(&self, service: &str) -> BTreeSet<IpAddr> {
        let others = self.services.iter().flatten().filter(|(name, _)| *name != service);
        let tasks = others.flat_map(|(_, l)| l.tasks.iter().flatten()).filter_map(|t| t.at.parse().ok());
        let local = self.containers.iter().flat_map(BTreeMap::values);
        tasks.chain(local.flat_map(|e| [address(&e.v4), address(&e.v6)]).flatten()).collect()
    }
}

impl Task {
    /// `<service>.<NodeID>.<TaskID>`, from the right: a service's name may have dots. Only a global service's tasks
    /// are named after their node; a replicated one's have the number of their slot there.
    fn seat(&self, service: &str) -> Option<Seat> {
        let mut parts = self.name.rsplitn(3, '.');
        let (task, node, name) = (parts.next()?, parts.next()?, parts.next()?);
        let at: IpAddr = self.at.parse().ok()?;
        let named = name == service && !task.is_empty() && !node.bytes().all(|b| b.is_ascii_digit());
        (named && is_dialable(at)).then_some(Seat { at, node: NodeId::parse(node).ok()?, task: task.into() })
    }
}

/// Reads `10.0.1.4/24` or `10.0.1.4`.
pub(super) fn address(text: &str) -> Option<IpAddr> {
    text.split('/').next()?.parse().ok().filter(|at| is_dialable(*at))
}

/// Never everybody, nobody or ourselves, whatever an answer says.
pub(super) fn is_dialable(at: IpAddr) -> bool {
    !at.is_unspecified() && !at.is_loopback() && !at.is_multicast()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_its_addresses_and_no_others() {
        let rows = [
            ("10.0.1.0/24", "10.0.1.0", true),
            ("10.0.1.0/24", "10.0.1.255", true),
            ("10.0.1.0/24", "10.0.0.255", false),
            ("10.0.1.0/24", "10.0.2.0", false),
            // As engines write it where the operator did.
            ("10.0.1.7/24", "10.0.1.9", true),
            ("10.0.0.0/9", "10.127.255.255", true),
            ("10.0.0.0/9", "10.128.0.0", false),
            ("10.0.1.2/32", "10.0.1.2", true),
            ("10.0.1.2/32", "10.0.1.3", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "fd00::1", false),
            ("fd00:1::/64", "fd00:1::ffff:1", true),
            ("fd00:1::/64", "fd00:1:0:1::1", false),
            ("fd00::2/128", "fd00::2", true),
            ("fd00::2/128", "fd00::3", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "10.0.1.2", false),
        ];
        for (range, at, expected) in rows {
            let range = Subnet::parse(range).unwrap();
            assert_eq!(range.contains(at.parse().unwrap()), expected, "{at} in {range:?}");
        }
        for odd in ["", "10.0.1.0", "10.0.1.0/", "10.0.1.0/x", "ten/8", "/24"] {
            assert_eq!(Subnet::parse(odd), None, "{odd}");
        }
    }

    #[test]
    fn only_what_is_on_a_shared_network_may_be_dialled_if_there_is_one() {
        let of = |ranges: &[&str]| {
            let subnets = ranges.iter().map(|range| Subnet::parse(range).unwrap()).collect();
            Overlays { ids: BTreeSet::new(), subnets }
        };
        let rows: [(&[&str], &str, bool); 7] = [
            (&["10.0.1.0/24"], "10.0.1.4", true),
            (&["10.0.1.0/24"], "10.0.2.4", false),
            (&["10.0.1.0/24"], "fd00::4", false),
            (&["10.0.1.0/24", "fd00::/64"], "fd00::4", true),
            (&["10.0.1.0/24", "10.0.9.0/24"], "10.0.9.4", true),
            (&["10.0.1.0/24", "10.0.9.0/24"], "10.0.8.4", false),
            (&[], "203.0.113.9", true),
        ];
        for (ranges, at, expected) in rows {
            assert_eq!(of(ranges).allow(at.parse().unwrap()), expected, "{at} on {ranges:?}");
        }
    }
}
