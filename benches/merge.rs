//! How fast answers become one: checked, ordered, decorated. `cargo bench --bench merge` prints GB/s.
#![expect(clippy::expect_used, reason = "without its input a bench cannot go on")]

#[path = "../tests/it/support/engine.rs"]
mod engine;

use std::sync::Arc;

use bytes::Bytes;
use divan::counter::BytesCount;

use swarmgate::merge::{Kind, Order, merge, parse};
use swarmgate::model::caller::Dialect;
use swarmgate::model::node::{Member, NodeId, Reach, Role};

fn main() {
    divan::main();
}

/// Nodes, and containers on each.
const SIZES: [(usize, usize); 4] = [(1, 20), (3, 100), (3, 1000), (100, 200)];

#[divan::bench(args = SIZES)]
fn containers_portainer(bencher: divan::Bencher<'_, '_>, size: (usize, usize)) {
    run(bencher, size, Dialect::Portainer);
}

#[divan::bench(args = SIZES)]
fn containers_docker(bencher: divan::Bencher<'_, '_>, size: (usize, usize)) {
    run(bencher, size, Dialect::Docker);
}

/// What validation alone costs with the usual library, for comparison.
#[divan::bench(args = SIZES)]
fn serde_json_raw_values(bencher: divan::Bencher<'_, '_>, size: (usize, usize)) {
    let answers = answers(size);
    bencher.counter(bytes_of(&answers)).bench(|| {
        for (_, body) in &answers {
            let list: Vec<&serde_json::value::RawValue> = serde_json::from_slice(body).expect("a list");
            divan::black_box(list);
        }
    });
}

fn run(bencher: divan::Bencher<'_, '_>, size: (usize, usize), dialect: Dialect) {
    let answers = answers(size);
    let order = Order {
        dialect,
        limit: None,
        before: None,
        since: None,
        missing: &[],
        decorate: dialect == Dialect::Portainer,
        dangling: false,
    };
    bencher.counter(bytes_of(&answers)).bench(|| {
        let parts = answers.iter().map(|(node, body)| parse(Kind::Containers, node, body.clone()));
        merge(parts.collect::<Result<_, _>>().expect("lists"), &order)
    });
}

fn bytes_of(answers: &[(Arc<Member>, Bytes)]) -> BytesCount {
    BytesCount::new(answers.iter().map(|(_, body)| body.len()).sum::<usize>())
}

fn answers((nodes, containers): (usize, usize)) -> Vec<(Arc<Member>, Bytes)> {
    let answer = |number: usize| {
        let host = format!("node{number}");
        (Arc::new(member(&host)), Bytes::from(engine::samples::containers(&host, containers)))
    };
    (1..=nodes).map(answer).collect()
}

fn member(host: &str) -> Member {
    Member {
        id: NodeId::parse(host).expect("an id"),
        host: host.into(),
        shown: host.into(),
        role: Role::Worker,
        leader: false,
        address: None,
        reach: Reach::Answering,
        api: None,
        agent_version: None,
    }
}
