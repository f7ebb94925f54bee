//! Requests and snapshots in a few words, for the tables of where they go and for what holds for all of them.

mod properties;
mod tables;

use std::net::SocketAddr;

use http::Method;

use super::*;
use crate::model::api_path::ApiPath;
use crate::model::{Reach, Role};

const GONE: Reach = Reach::Missing(Absence::Timeout);

/// A node `id`, called as its id with an `h` in front unless said otherwise.
fn node(id: &str, host: &str, role: Role, leader: bool, reach: Reach) -> Arc<Member> {
    let shown = if host.is_empty() { format!("h{id}") } else { format!("{host}.{id}") };
    let host = if host.is_empty() { shown.clone() } else { host.to_owned() };
    Arc::new(Member {
        id: NodeId::parse(id).expect("a node id"),
        host: host.into(),
        shown: shown.into(),
        role,
        leader,
        address: (reach != Reach::Here).then(|| SocketAddr::from(([10, 0, 1, 4], 9002))),
        reach,
        api: None,
        agent_version: None,
    })
}

fn cluster(kind: Kind, members: &[Arc<Member>]) -> Cluster {
    let me = members.iter().find(|m| m.is_here()).expect("one of them is here");
    let mut cluster = Cluster::alone(kind, Member::clone(me));
    cluster.members = members.iter().map(|m| (m.id.clone(), Arc::clone(m))).collect();
    cluster
}

/// A request, written `METHOD path`, then `@node` for X-Node, `~node` for a remembered target, `!` for a manager
/// operation, `docker` or `peer`, and `=body`.
fn ask(request: &str, cluster: &Cluster) -> Result<Plan, Refuse> {
    let mut words = request.split(' ');
    let method: Method = words.next().expect("a method").parse().expect("a method");
    let path = ApiPath::parse(words.next().expect("a path")).expect("a good path");
    let mut facts = Facts {
        origin: Origin::Public,
        dialect: Dialect::Portainer,
        method: &method,
        path: &path,
        target: None,
        manager_operation: false,
        body: None,
    };
    for word in words {
        match word.split_at(1) {
            ("@", name) => facts.target = Some(Target::Node(name)),
            ("~", name) => facts.target = Some(Target::Remembered(name)),
            ("=", body) => facts.body = Some(body.as_bytes()),
            ("!", _) => facts.manager_operation = true,
            _ if word == "docker" => facts.dialect = Dialect::Docker,
            _ if word == "peer" => facts.origin = Origin::Peer,
            _ => panic!("what is {word:?}?"),
        }
    }
    decide(&facts, cluster)
}
