//! What a request costs before anything is sent: the gate, the row, the decision. `cargo bench --bench decide`.
#![expect(clippy::expect_used, reason = "the requests and nodes are written here")]

use std::net::SocketAddr;
use std::sync::Arc;

use divan::Bencher;
use http::request::{Parts, Request};
use swarmgate::decide::table::route;
use swarmgate::decide::{Asked, Facts, Origin, decide, gate};
use swarmgate::model::api_path::ApiPath;
use swarmgate::model::{Cluster, Dialect, Kind, Member, NodeId, Reach, Role};

/// The cheapest, an early, a middle and the last row; a list; a path that no row has; a name that must be decoded.
const REQUESTS: [(&str, &str); 6] = [
    ("GET", "/ping"),
    ("GET", "/v1.41/containers/json?all=1"),
    ("POST", "/v1.41/images/registry%2Fapp%3Av1.2/push"),
    ("POST", "/v1.41/configs/abc/update?version=1"),
    ("GET", "/v1.41/no/such/path"),
    ("GET", "/v1.41/containers/4f66ad9a0b2e4f66ad9a0b2e4f66ad9a0b2e4f66ad9a0b2e4f66ad9a0b2e4f66/json"),
];

fn main() {
    divan::main();
}

#[divan::bench(args = REQUESTS)]
fn whole(bencher: Bencher, request: (&str, &str)) {
    let (head, cluster) = (head(request), swarm(3));
    bencher.bench(|| one(&head, &cluster));
}

#[divan::bench(args = [3, 30, 100])]
fn list(bencher: Bencher, nodes: usize) {
    let (head, cluster) = (head(("GET", "/v1.41/containers/json")), swarm(nodes));
    bencher.bench(|| one(&head, &cluster));
}

#[divan::bench(args = REQUESTS)]
fn only_gate(bencher: Bencher, request: (&str, &str)) {
    let head = head(request);
    bencher.bench(|| gate(&head).is_ok());
}

#[divan::bench(args = REQUESTS)]
fn only_route(bencher: Bencher, request: (&str, &str)) {
    let head = head(request);
    let path = ApiPath::parse(head.uri.path()).expect("a good path");
    bencher.bench(|| route(&head.method, &path));
}

fn one(head: &Parts, cluster: &Cluster) -> bool {
    let path = gate(head).expect("passes the gate");
    let asked = Asked::read(&head.headers).expect("asks well");
    let facts = Facts {
        origin: Origin::Public,
        dialect: asked.dialect.unwrap_or(Dialect::Portainer),
        method: &head.method,
        path: &path,
        target: asked.target,
        manager_operation: asked.manager_operation,
        body: None,
    };
    decide(&facts, cluster).is_ok()
}

/// A request with the headers that a Portainer server sends.
fn head((method, target): (&str, &str)) -> Parts {
    let key = "3059301306072a8648ce3d020106082a8648ce3d03010703420004".repeat(3);
    let request = Request::builder()
        .method(method)
        .uri(target)
        .header("Host", "10.77.0.2:9001")
        .header("User-Agent", "Go-http-client/1.1")
        .header("Accept", "application/json")
        .header("Accept-Encoding", "gzip")
        .header("Connection", "keep-alive")
        .header("X-Forwarded-For", "10.0.0.1")
        .header("X-PortainerAgent-PublicKey", key)
        .header("X-PortainerAgent-Signature", "a".repeat(86))
        .header("X-PortainerAgent-Target", "node2");
    request.body(()).expect("a request").into_parts().0
}

fn swarm(nodes: usize) -> Cluster {
    let member = |i: usize| Member {
        id: NodeId::parse(&format!("9f3k2m4n5p6q7r8s9t0u{i:05}")).expect("a node id"),
        host: format!("node{i}").into(),
        shown: format!("node{i}").into(),
        role: if i < 3 { Role::Manager } else { Role::Worker },
        leader: i == 1,
        address: Some(SocketAddr::from(([10, 0, 1, 4], 9002))),
        reach: if i == 0 { Reach::Here } else { Reach::Answering },
        api: None,
        agent_version: None,
    };
    let mut cluster = Cluster::alone(Kind::Swarm, member(0));
    cluster.members.extend((1..nodes).map(|i| (member(i).id, Arc::new(member(i)))));
    cluster
}
