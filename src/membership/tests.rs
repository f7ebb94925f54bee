//! Situations, each told as a row of events, and the snapshot that must follow.

mod rows;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::*;
use crate::model::{Absence, Kind, Member, NodeId, Reach, Role, Service};
use Role::{Manager, Worker};
use Standing::{Active, Down, Drained};

fn id(text: &str) -> NodeId {
    NodeId::parse(text).unwrap()
}

fn ip(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 1, last])
}

fn at(last: u8) -> SocketAddr {
    SocketAddr::new(ip(last), 9002)
}

/// Node `a`, a manager or not, task of the service `agent`; managers known to it: `a` and `b`.
fn own(role: Role) -> Own {
    Own {
        kind: Kind::Swarm,
        id: id("aaaa1111"),
        host: "one".into(),
        role,
        managers: BTreeSet::from([id("aaaa1111"), id("bbbb2222")]),
        api: None,
        service: Some(Service { id: "svc".into(), name: "agent".into(), task: Some("ta".into()) }),
        addresses: vec![ip(2)],
    }
}

fn seat(node: &str, task: &str, last: u8) -> Seat {
    Seat { at: ip(last), node: id(node), task: task.into() }
}

fn directory(seats: &[(&str, &str, u8)]) -> Event {
    let seats = seats.iter().map(|(n, t, l)| seat(n, t, *l)).collect();
    Event::Directory { seats, taken: BTreeSet::new() }
}

fn node(name: &str, host: &str, role: Role, leader: bool, standing: Standing) -> Node {
    Node { id: id(name), host: host.into(), role, leader, standing }
}

const A: &str = "aaaa1111";
const B: &str = "bbbb2222";
const C: &str = "cccc3333";

fn three() -> Vec<Node> {
    vec![
        node(A, "one", Manager, true, Active),
        node(B, "two", Manager, false, Active),
        node(C, "three", Worker, false, Active),
    ]
}

fn roster(nodes: Vec<Node>, tasks: Option<&[(&str, &str, u8)]>, own: bool) -> Event {
    let tasks = tasks.map(|t| t.iter().map(|(n, t, l)| seat(n, t, *l)).collect());
    Event::Roster(Roster { nodes, tasks, own })
}

fn answers(last: u8, node: &str) -> Event {
    let proof = Proof { node: id(node), host: "liar".into(), agent_version: "0.1.0".into(), api: None };
    Event::Dialled { at: at(last), outcome: Ok(proof) }
}

fn fails(last: u8, why: Absence) -> Event {
    Event::Dialled { at: at(last), outcome: Err(why) }
}

fn alone() -> Cluster {
    let member = Member {
        id: id("unknown"),
        host: "unknown".into(),
        shown: "unknown".into(),
        role: Worker,
        leader: false,
        address: None,
        reach: Reach::Here,
        api: None,
        agent_version: None,
    };
    Cluster::alone(Kind::Unknown, member)
}

struct World {
    cluster: Cluster,
    known: Known,
    now: Instant,
}

impl World {
    fn new() -> Self {
        let cluster = alone();
        Self { known: Known::new(&cluster, 9002), cluster, now: Instant::now() }
    }

    /// A Swarm of three, all answering, seen from `a`.
    fn of_three(role: Role) -> Self {
        let mut world = Self::new();
        world.tell(Event::Own(own(role)));
        world.tell(directory(&[(A, "ta", 2), (B, "tb", 3), (C, "tc", 4)]));
        world.tell(roster(three(), Some(&[(A, "ta", 2), (B, "tb", 3), (C, "tc", 4)]), role == Manager));
        world.tell(answers(3, B));
        world.tell(answers(4, C));
        world
    }

    fn tell(&mut self, event: Event) -> bool {
        self.now += Duration::from_millis(100);
        let next = apply(&self.cluster, &mut self.known, event, self.now);
        let news = next.is_some();
        self.cluster = next.unwrap_or_else(|| self.cluster.clone());
        assert!(self.cluster.members.contains_key(&self.cluster.here), "here is always a member");
        news
    }

    /// Each member in one line: `host role reach address`.
    fn lines(&self) -> Vec<String> {
        let reach = |m: &Member| match m.reach {
            Reach::Here => "here",
            Reach::Untried => "untried",
            Reach::Answering => "answering",
            Reach::Missing(why) => why.as_str(),
        };
        let address = |m: &Member| m.address.map_or("-".into(), |a| a.ip().to_string());
        let lead = |m: &Member| if m.leader { "*" } else { "" };
        let line = |m: &Arc<Member>| {
            format!("{} {}{} {} {}", m.shown, m.role.as_str(), lead(m), reach(m), address(m))
        };
        self.cluster.members.values().map(line).collect()
    }

    fn line(&self, node: &str) -> String {
        let place = self.cluster.members.keys().position(|k| *k == id(node));
        place.map_or_else(|| "gone".into(), |i| self.lines()[i].clone())
    }
}

#[test]
fn equal_answers_wake_nobody() {
    let mut world = World::of_three(Manager);
    let version = world.cluster.version;
    assert!(!world.tell(directory(&[(C, "tc", 4), (A, "ta", 2), (B, "tb", 3)])));
    assert!(!world.tell(Event::Own(own(Manager))));
    assert!(!world.tell(answers(4, C)));
    assert_eq!(world.cluster.version, version);
}

#[test]
fn of_two_agents_of_a_node_the_one_that_swarm_runs_wins() {
    let both = &[(A, "ta", 2), (B, "tb", 3), (C, "orphan", 9), (C, "tc", 4)];
    for role in [Manager, Worker] {
        let mut world = World::of_three(role);
        world.tell(directory(both));
        world.tell(answers(9, C));
        world.tell(fails(4, Absence::Timeout));
        assert_eq!(world.line(C), "three worker timeout 10.0.1.4");
        assert_eq!(world.known.superseded(world.now), [(id(C), "orphan".into(), ip(9))]);
    }
}

#[test]
fn without_a_manager_the_agent_that_answers_wins_then_the_newest() {
    let mut world = World::new();
    world.tell(Event::Own(own(Worker)));
    world.tell(directory(&[(A, "ta", 2), (C, "tc", 4)]));
    world.tell(directory(&[(A, "ta", 2), (C, "tc", 4), (C, "tc2", 3)]));
    assert_eq!(world.line(C), "cccc3333 worker untried 10.0.1.3");
    assert!(world.known.targets(world.now).contains_key(&at(4)), "both are dialled");
    world.tell(answers(4, C));
    assert_eq!(world.line(C), "cccc3333 worker answering 10.0.1.4");
}

#[test]
fn a_worker_that_reaches_no_manager_knows_the_managers_from_its_own_engine() {
    let mut world = World::new();
    world.tell(Event::Own(own(Worker)));
    world.tell(directory(&[(A, "ta", 2), (B, "tb", 3)]));
    assert_eq!(world.line(B), "bbbb2222 manager untried 10.0.1.3");
    world.tell(roster(three(), None, false));
    world.now += Duration::from_secs(60);
    let managers = BTreeSet::from([id(A), id(C)]);
    world.tell(Event::Own(Own { managers, ..own(Worker) }));
    assert_eq!(world.line(C), "three manager no-agent -");
    assert_eq!(world.line(B), "two worker untried 10.0.1.3");
}

#[test]
fn without_a_manager_a_node_is_forgotten_after_a_day_of_silence_not_before() {
    let mut world = World::of_three(Worker);
    world.tell(directory(&[(A, "ta", 2), (B, "tb", 3)]));
    world.now += Duration::from_secs(23 * 3600);
    world.tell(answers(3, B));
    assert_eq!(world.line(C), "three worker answering 10.0.1.4");
    world.now += Duration::from_secs(3600);
    world.tell(answers(3, B));
    assert_eq!((world.line(C).as_str(), world.line(B).as_str()), ("gone", "two manager answering 10.0.1.3"));
    assert_eq!(world.cluster.directory.get(&ip(4)), None);
}

#[test]
fn the_directory_binds_addresses_of_members_only() {
    let mut world = World::of_three(Worker);
    world.tell(directory(&[(A, "ta", 2), (B, "tb", 3), ("eeee5555", "te", 7)]));
    let bound: Vec<_> = world.cluster.directory.iter().map(|(at, n)| (*at, n.as_str())).collect();
    assert_eq!(bound, [(ip(2), A), (ip(3), B), (ip(4), C)]);
    assert!(world.known.is_unsettled(world.now), "a listed node that the node list lacks asks for a new one");
}

#[test]
fn the_own_role_is_what_the_own_engine_does() {
    let mut world = World::of_three(Manager);
    world.tell(Event::Own(own(Worker)));
    assert_eq!(world.line(A), "one worker here -");
}

#[test]
fn leaving_the_swarm_leaves_its_members() {
    let mut world = World::of_three(Manager);
    let id = id("generated");
    world.tell(Event::Own(Own { kind: Kind::Standalone, id, service: None, ..own(Worker) }));
    assert_eq!(world.lines(), ["one worker here -"]);
    assert!(world.known.targets(world.now).is_empty());
}

fn candidates(rows: &[(&str, &[u8])]) -> Event {
    let row = |(name, ends): &(&str, &[u8])| ((*name).into(), ends.iter().map(|l| at(*l)).collect());
    Event::Candidates(rows.iter().map(row).collect())
}

#[test]
fn static_peers_are_known_by_their_certificates_and_never_twice() {
    let mut world = World::new();
    world.tell(Event::Own(Own { kind: Kind::Fixed, service: None, ..own(Worker) }));
    world.tell(candidates(&[("n1:9002", &[2]), ("n2:9002", &[3]), ("alias:9002", &[3]), ("n3:9002", &[])]));
    assert_eq!(world.cluster.members.len(), 5);
    assert!(
        world.cluster.members.values().all(|m| m.is_here() || !m.is_reachable()),
        "not asked before known"
    );
    world.tell(answers(2, A));
    world.tell(answers(3, B));
    assert_eq!(
        world.lines(),
        ["one worker here -", "liar worker answering 10.0.1.3", "n3:9002 worker unreachable -"]
    );
    assert!(!world.known.targets(world.now).contains_key(&at(2)), "we do not dial ourselves");
    assert_eq!(world.cluster.own_names, ["n1:9002".into()].into());
    assert!(world.cluster.directory.is_empty());
}

#[test]
fn outside_a_service_the_certificate_says_who_is_at_a_dns_address_and_the_node_list_who_counts() {
    let mut world = World::new();
    world.tell(Event::Own(Own { service: None, ..own(Manager) }));
    world.tell(candidates(&[("agents.", &[2, 3, 66])]));
    world.tell(roster(three(), None, true));
    world.tell(answers(2, A));
    world.tell(answers(3, B));
    world.tell(answers(66, "ffff6666"));
    assert_eq!(
        world.lines(),
        ["one manager* here -", "two manager answering 10.0.1.3", "three worker no-agent -"]
    );
}

#[test]
fn a_static_peer_that_moved_is_where_its_name_leads_now() {
    let mut world = World::new();
    world.tell(Event::Own(Own { kind: Kind::Fixed, service: None, ..own(Worker) }));
    world.tell(candidates(&[("n2:9002", &[9])]));
    world.tell(answers(9, B));
    world.tell(candidates(&[("n2:9002", &[3])]));
    assert_eq!(world.line(B), "liar worker answering 10.0.1.9", "until the new place answers");
    world.tell(answers(3, B));
    assert_eq!(world.line(B), "liar worker answering 10.0.1.3");
    world.tell(fails(9, Absence::Refused));
    assert_eq!(world.known.targets(world.now).into_keys().collect::<Vec<_>>(), [at(3)]);
}
