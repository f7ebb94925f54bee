//! `swarmgate association` beside running agents.

use std::process::ExitCode;

use swarmgate::app::association;
use swarmgate::identify::Association;

use crate::support::cluster::Setup;
use crate::support::soon;

#[tokio::test]
async fn of_static_peers_the_first_is_reset_on_its_own_host_also_behind_a_published_port() {
    // What the agents dial are the relays' ports, which none of them listens on.
    let cluster = Setup::fixed(&["node1", "node2"]).associating().relayed().start().await;
    let reset = async |at: usize| {
        let config = cluster.nodes[at].config.clone();
        tokio::task::spawn_blocking(move || association::reset(&config, None)).await.unwrap()
    };
    let mut decided = cluster.nodes[0].association();
    let held = |now: &std::sync::Arc<Association>| matches!(**now, Association::Held { .. });
    assert_eq!(cluster.client(0).get("/info").await.status, 200);
    soon("a claim", decided.wait_for(held)).await.unwrap();
    assert_eq!(reset(1).await, ExitCode::from(2));
    assert!(!cluster.nodes[1].config.data.join("association.json").exists());
    assert!(held(&decided.borrow()));
    assert_eq!(reset(0).await, ExitCode::SUCCESS);
    soon("the reset", decided.wait_for(|now| !held(now))).await.unwrap();
}
