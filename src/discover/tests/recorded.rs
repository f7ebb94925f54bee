//! Answers of a real Swarm of three 20.10 engines, with a global service on an attachable overlay.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::de::DeserializeOwned;

use crate::discover::directory::{Network, Subnet};
use crate::discover::nodes::{ListedNode, ListedTask};
use crate::discover::own::{Container, Info, Version, container_of, is_apart};
use crate::membership::{Own, Standing};
use crate::model::{Cluster, Kind, Member, NodeId, Role};

const NODE1: &str = "l1fqr7y1uwhi5atvi5la4ohlf";
const NODE2: &str = "pxqpa4yj12ysrhhmz5c8wpbqc";
const NODE3: &str = "qt8zzmrw2srsflhchmsvqvznk";
const SERVICE: &str = "z9k5xnr2qabl73bta5n9abyzx";
const OVERLAY: &str = "rodc0wfhi8zp1o6q4odh1ms20";
const CONTAINER: &str = "f938f37905df5916ca927a963b259d6243e845988adf7e5934d778e9269f7761";

fn text(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/recorded").join(name);
    std::fs::read_to_string(path).unwrap()
}

fn recorded<T: DeserializeOwned>(name: &str) -> T {
    serde_json::from_str(&text(name)).unwrap()
}

fn own(info: &Info) -> Own {
    let id = info.swarm_id().unwrap();
    let kind = if id.is_some() { Kind::Swarm } else { Kind::Standalone };
    info.own(kind, id.unwrap_or(NodeId::parse("made").unwrap()), None, None, Vec::new())
}

#[test]
fn the_own_engine_says_node_role_and_managers_on_a_worker_too() {
    let rows = [
        ("info-manager.json", NODE1, "node1", Role::Manager, 1),
        ("info-worker.json", NODE2, "node2", Role::Worker, 1),
        ("info-leader-changed.json", NODE2, "node2", Role::Manager, 3),
        ("info-solo.json", "made", "node1", Role::Worker, 0),
    ];
    for (file, id, host, role, managers) in rows {
        let own = own(&recorded(file));
        assert_eq!((own.id.as_str(), &*own.host, own.role), (id, host, role), "{file}");
        assert_eq!(own.managers.len(), managers, "{file}");
    }
    assert!(own(&recorded("info-worker.json")).managers.contains(&NodeId::parse(NODE1).unwrap()));
}

#[test]
fn an_engine_that_has_not_found_its_swarm_yet_has_not_said() {
    for state in ["pending", "locked", "error", ""] {
        let info: Info =
            serde_json::from_str(&format!(r#"{{"Swarm":{{"LocalNodeState":"{state}"}}}}"#)).unwrap();
        assert!(info.swarm_id().is_err(), "{state}");
    }
}

#[test]
fn the_api_range_is_told() {
    let range = recorded::<Version>("version.json").range().unwrap();
    assert_eq!((range.min.to_string(), range.max.to_string()), ("1.12".into(), "1.41".into()));
}

#[test]
fn the_own_container_is_in_the_mounts() {
    assert_eq!(container_of(&text("mountinfo-container.txt")), Some(CONTAINER));
    let volume =
        format!("309 292 254:0 /var/lib/docker/volumes/{CONTAINER}/_data /data rw - ext4 /dev/vda rw");
    let named = format!("309 292 254:0 /x/{CONTAINER}/hostname /mnt/hostname rw - ext4 /dev/vda rw");
    let short =
        "309 292 254:0 /var/lib/docker/containers/f938f37905df/hostname /etc/hostname rw - ext4 /dev/vda rw";
    let newer = format!(
        "9 2 0:5 /data/docker/containers/{CONTAINER}/hosts /etc/hosts rw,relatime - ext4 /dev/sda rw"
    );
    for (line, expected) in
        [(volume.as_str(), None), (&named, None), (short, None), ("", None), (&newer, Some(CONTAINER))]
    {
        assert_eq!(container_of(line), expected, "{line}");
    }
}

#[test]
fn the_own_container_tells_the_service_only_on_the_node_it_names() {
    let container: Container = recorded("container-worker.json");
    assert!(container.is(CONTAINER) && !container.is("agent"));
    let service = container.service(&NodeId::parse(NODE2).unwrap()).unwrap();
    assert_eq!((&*service.id, &*service.name), (SERVICE, "stack_agent"));
    assert_eq!(service.task.as_deref(), Some("j29fnjjkcs0ardg9ns4tevnu6"));
    assert_eq!(container.service(&NodeId::parse(NODE1).unwrap()), None);
    assert_eq!(container.networks().collect::<Vec<_>>(), [OVERLAY]);
    assert_eq!(container.addresses_on(OVERLAY), [std::net::IpAddr::from([10, 0, 1, 3])]);
}

#[test]
fn a_service_without_an_overlay_is_told_from_one_whose_networks_could_not_be_read() {
    let on_overlay: Container = recorded("container-worker.json");
    let text =
        |networks| format!(r#"{{"Id":"a","Config":{{}},"NetworkSettings":{{"Networks":{networks}}}}}"#);
    let on_host: Container =
        serde_json::from_str(&text(r#"{"host":{"NetworkID":"4aa5","IPAddress":""}}"#)).unwrap();
    let on_none: Container = serde_json::from_str(&text("{}")).unwrap();
    let overlay: [Network; 1] = [recorded("network-worker.json")];
    let alone = crate::discover::nobody_yet();
    let mut listed = Cluster::alone(Kind::Swarm, Member::clone(alone.me()));
    let apart = listed.clone();
    listed.service = on_overlay.service(&NodeId::parse(NODE2).unwrap());
    let mut seen = 0;
    for (container, networks, before, expected) in [
        (&on_overlay, Some(&overlay[..]), &alone, false),
        (&on_overlay, Some(&overlay[..]), &apart, false),
        (&on_host, Some(&[][..]), &alone, true),
        (&on_host, Some(&[][..]), &listed, true),
        // Still being attached.
        (&on_none, Some(&[][..]), &apart, false),
        (&on_host, None, &alone, false),
        (&on_overlay, None, &listed, false),
        (&on_host, None, &apart, true),
    ] {
        assert_eq!(is_apart(container, networks, before), expected, "row {seen}");
        seen += 1;
    }
    assert_eq!(seen, 8);
}

fn seats(file: &str) -> BTreeSet<(String, String)> {
    let network: Network = recorded(file);
    assert!(network.is_shared(), "{file}");
    network.seats("stack_agent").into_iter().map(|s| (s.node.to_string(), s.at.to_string())).collect()
}

#[test]
fn agents_meet_on_no_network_of_the_routing_mesh_nor_of_one_host() {
    let overlay = text("network-worker.json");
    let with = |from: &str, to: &str| {
        assert_eq!(overlay.matches(from).count(), 1, "{from}");
        serde_json::from_str::<Network>(&overlay.replace(from, to)).unwrap().is_shared()
    };
    assert!(with(r#""Ingress": false"#, r#""Ingress": false"#));
    assert!(!with(r#""Ingress": false"#, r#""Ingress": true"#));
    assert!(!with(r#""Driver": "overlay""#, r#""Driver": "bridge""#));
}

#[test]
fn the_directory_is_the_same_on_manager_and_worker() {
    let row = |node: &str, at: &str| (node.to_owned(), at.to_owned());
    let all = BTreeSet::from([row(NODE1, "10.0.1.2"), row(NODE2, "10.0.1.3"), row(NODE3, "10.0.1.4")]);
    assert_eq!(seats("network-manager.json"), all);
    assert_eq!(seats("network-worker.json"), all);
    assert_eq!(seats("network-plain.json"), BTreeSet::new());
    let left: BTreeSet<_> = seats("network-node1-down.json").into_iter().map(|(node, _)| node).collect();
    assert!(!left.contains(NODE1) && left.contains(NODE2), "{left:?}");
}

#[test]
fn other_services_and_aliases_are_not_listed() {
    let network: Network = recorded("network-manager.json");
    assert!(network.seats("agent").is_empty());
    assert!(network.taken("agent").len() >= 4, "to another service all of it is taken");
    let subnets: Vec<Subnet> = network.subnets().collect();
    assert_eq!(subnets.len(), 1);
    let odd = r#"{"Id":"n","Driver":"overlay","Services":{"a.b":{"Tasks":[
        {"Name":"a.b.node.task","EndpointIP":"10.0.1.9"}, {"Name":"a.b.1.task","EndpointIP":"10.0.1.6"},
        {"Name":"other.node.task","EndpointIP":"10.0.1.8"}, {"Name":"short","EndpointIP":"10.0.1.7"},
        {"Name":"a.b.node.task","EndpointIP":"0.0.0.0"}]},"x":{"Tasks":null}}}"#;
    let network: Network = serde_json::from_str(odd).unwrap();
    let seats = network.seats("a.b");
    assert_eq!(seats.len(), 1);
    assert_eq!((seats[0].node.as_str(), &*seats[0].task), ("node", "task"));
}

#[test]
fn the_node_list_says_role_leader_and_standing_before_and_after_a_leader_change() {
    let row = |n: crate::membership::Node| (n.host.to_string(), n.role, n.leader, n.standing);
    let (m, w) = (Role::Manager, Role::Worker);
    let (active, drained) = (Standing::Active, Standing::Drained);
    let cases = [
        ("nodes.json", [(m, true, active), (w, false, active), (w, false, active)]),
        ("nodes-drained.json", [(m, true, active), (m, false, active), (m, false, drained)]),
        ("nodes-leader-changed.json", [(m, false, active), (m, true, active), (m, false, drained)]),
    ];
    for (file, expected) in cases {
        let nodes: Vec<ListedNode> = recorded(file);
        let rows: Vec<_> = nodes.iter().filter_map(ListedNode::node).map(row).collect();
        let hosts = ["node1", "node2", "node3"].map(String::from);
        let expected: Vec<_> = hosts.into_iter().zip(expected).map(|(h, (r, l, s))| (h, r, l, s)).collect();
        assert_eq!(rows, expected, "{file}");
    }
}

#[test]
fn tasks_have_places_on_the_shared_networks_from_starting_on() {
    let overlays = BTreeSet::from([OVERLAY.to_owned()]);
    let places = |file: &str, service: &str, overlays: &BTreeSet<String>| {
        let tasks: Vec<ListedTask> = recorded(file);
        tasks
            .iter()
            .flat_map(|t| t.seats(service, overlays))
            .map(|s| s.at.to_string())
            .collect::<BTreeSet<_>>()
    };
    let all = ["10.0.1.2", "10.0.1.3", "10.0.1.4"].map(String::from).into();
    assert_eq!(places("tasks.json", SERVICE, &overlays), all);
    assert_eq!(places("tasks-drained.json", SERVICE, &overlays).len(), 2);
    assert_eq!(places("tasks.json", "another", &overlays), BTreeSet::new());
    assert_eq!(places("tasks.json", SERVICE, &BTreeSet::new()), BTreeSet::new());
    let task = |state: &str| {
        let json = text("tasks.json").replace(r#""State": "running""#, &format!(r#""State": "{state}""#));
        let tasks: Vec<ListedTask> = serde_json::from_str(&json).unwrap();
        tasks.iter().flat_map(|t| t.seats(SERVICE, &overlays)).count()
    };
    assert_eq!((task("preparing"), task("starting"), task("shutdown")), (0, 3, 0));
}
