//! `GET /agents`, and the names in it: they are those of merged lists and of node selectors.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use swarmgate::model::{Absence, Reach};

use crate::support::client::Client;
use crate::support::cluster::{Cluster, Setup};
use crate::support::engine::samples;

const HOSTS: [&str; 3] = ["node1", "node2", "node3"];

async fn agents(client: &Client) -> Vec<Value> {
    let answer = client.get("/v2/agents").await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, "application/json"),
        "{}",
        answer.text()
    );
    answer.json().as_array().unwrap().clone()
}

/// Their names, each of which must be another's.
async fn names(client: &Client) -> BTreeSet<String> {
    let agents = agents(client).await;
    let names: BTreeSet<_> =
        agents.iter().map(|agent| agent["NodeName"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names.len(), agents.len(), "{agents:?}");
    names
}

/// Every `NodeName` of the merged lists.
async fn nodes_of_lists(client: &Client) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for path in ["/containers/json?all=1", "/images/json", "/volumes", "/networks"] {
        let list = client.get(path).await.json();
        let rows = if path == "/volumes" { &list["Volumes"] } else { &list };
        let of = |row: &Value| row["Portainer"]["Agent"]["NodeName"].as_str().unwrap().to_owned();
        names.extend(rows.as_array().unwrap().iter().map(of));
    }
    names
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Adds a node to the Swarm that has no agent.
fn add_node(cluster: &Cluster, host: &str, os: &'static str) {
    cluster.swarm().change(|content| {
        let mut more = content.nodes[2].clone();
        (more.id, more.host, more.os) = (samples::node_id(&format!("{host}/{os}")), host.to_owned(), os);
        content.nodes.push(more);
    });
}

#[tokio::test]
async fn case_16_the_agents_of_a_cluster_are_those_that_can_be_asked() {
    let mut cluster = Setup::swarm(&HOSTS, 2).start().await;
    for (at, entry) in HOSTS.iter().enumerate() {
        let agents = agents(&cluster.client(at)).await;
        let port = cluster.nodes[at].config.listen.port.to_string();
        let agent = |name: &str, role: &str| {
            let mut agent = json!({ "IPAddress": "127.0.0.1", "Port": port, "EdgeKeySet": false });
            (agent["NodeName"], agent["NodeRole"]) = (name.into(), role.into());
            agent
        };
        let wanted = [agent("node1", "manager"), agent("node2", "manager"), agent("node3", "worker")];
        assert_eq!(agents, wanted, "itself included, through {entry}");
    }
    cluster.nodes[2].kill().await;
    cluster.nodes[0].thinks("node3", "is missing", |m| !m.is_reachable()).await;
    assert_eq!(names(&cluster.client(0)).await, set(&["node1", "node2"]));
    cluster.swarm().change_node("node2", |node| node.is_manager = false);
    cluster.nodes[0].thinks("node2", "was demoted", |m| !m.is_manager()).await;
    assert_eq!(agents(&cluster.client(0)).await[1]["NodeRole"], "worker");
}

#[tokio::test]
async fn case_16_so_are_those_of_listed_peers() {
    let cluster = Setup::fixed(&HOSTS).start().await;
    for at in 0..3 {
        for agent in agents(&cluster.client(at)).await {
            assert_eq!((&agent["IPAddress"], &agent["NodeRole"]), (&json!("127.0.0.1"), &json!("worker")));
            assert!(agent["Port"].is_string(), "{agent}");
        }
        assert_eq!(names(&cluster.client(at)).await, set(&HOSTS));
    }
}

#[tokio::test]
async fn case_17_an_agent_that_stands_alone_has_none() {
    let cluster = Setup::alone("solo").start().await;
    let refused = cluster.client(0).get("/agents").await;
    assert_eq!((refused.status, refused.header("content-type")), (503, "application/json"));
    assert!(!refused.message().is_empty());
    assert_eq!(refused.header("portainer-agent-platform"), "1");
}

#[tokio::test]
async fn case_18_the_list_has_four_paths_and_needs_a_signature() {
    let cluster = Setup::swarm(&HOSTS, 1).start().await;
    let first = cluster.client(1).get("/agents").await;
    for path in ["/v1/agents", "/v2/agents", "/v1.41/agents", "/v1.41/v2/agents"] {
        // Wherever the browser last was, the list is the entry node's own.
        for header in
            [("User-Agent", "any"), ("X-PortainerAgent-Target", "node3"), ("X-PortainerAgent-Target", "nope")]
        {
            let list = cluster.client(1).get_with(path, &[header]).await;
            assert_eq!(
                (list.status, &list.body, list.header("x-node")),
                (200, &first.body, "node2"),
                "{path}"
            );
        }
        let refused = cluster.client(1).stranger().get(path).await;
        assert_eq!((refused.status, refused.header("portainer-agent-platform")), (403, "1"), "{path}");
    }
    for path in ["/agentsfoo", "/agents/"] {
        assert_eq!(cluster.client(1).get(path).await.message(), "page not found", "{path} is the engine's");
    }
}

#[tokio::test]
async fn case_19_it_can_only_be_read() {
    let cluster = Setup::swarm(&HOSTS, 1).start().await;
    for method in ["POST", "PUT", "DELETE"] {
        let refused = cluster.client(0).call(method, "/agents", &[], "").await;
        assert_eq!((refused.status, refused.header("allow")), (405, "GET"), "{method}");
        assert_eq!(refused.header("content-type"), "application/json");
    }
}

#[tokio::test]
async fn nodes_without_an_agent_are_in_no_list_and_no_selector() {
    let cluster = Setup::swarm(&HOSTS, 1).start().await;
    add_node(&cluster, "win1", "windows");
    add_node(&cluster, "node9", "linux");
    for (at, entry) in HOSTS.iter().enumerate() {
        for host in ["win1", "node9"] {
            cluster.nodes[at].thinks(host, "is known", |m| m.reach == Reach::Missing(Absence::NoAgent)).await;
        }
        let client = cluster.client(at);
        assert_eq!(names(&client).await, set(&HOSTS), "through {entry}");
        assert_eq!(nodes_of_lists(&client).await, set(&HOSTS));
        let list = client.get("/containers/json").await;
        let said = (list.status, list.header("x-node-answered"), list.header("x-node-errors"));
        assert_eq!(said, (200, "3/5", "node9=no-agent;win1=no-agent"));
        // Whoever names one all the same is told why it cannot be asked.
        let refused = client.get_with("/version", &[("X-PortainerAgent-Target", "win1")]).await;
        assert_eq!(
            (refused.status, refused.message()),
            (502, "win1: its agent cannot be reached (no-agent)".into())
        );
        // Swarm's own list has them all, with their platforms.
        let nodes = client.get("/nodes").await.json();
        let windows = |n: &&Value| n["Description"]["Platform"]["OS"] == "windows";
        assert_eq!(
            (nodes.as_array().unwrap().len(), nodes.as_array().unwrap().iter().filter(windows).count()),
            (5, 1)
        );
    }
}

#[tokio::test]
async fn drained_and_down_nodes_leave_the_list_and_come_back() {
    let mut cluster = Setup::swarm(&HOSTS, 1).start().await;
    cluster.nodes[2].kill().await;
    for (state, availability, absence) in
        [("ready", "drain", Absence::Drained), ("down", "active", Absence::Down)]
    {
        cluster.swarm().change_node("node3", |node| (node.state, node.availability) = (state, availability));
        for at in 0..2 {
            cluster.nodes[at].thinks("node3", "is out", |m| m.reach == Reach::Missing(absence)).await;
            let client = cluster.client(at);
            assert_eq!(names(&client).await, set(&["node1", "node2"]));
            assert_eq!(nodes_of_lists(&client).await, set(&["node1", "node2"]));
        }
    }
    cluster.swarm().change_node("node3", |node| (node.state, node.availability) = ("ready", "active"));
    cluster.nodes[2].start().await;
    cluster.is_whole().await;
    for at in 0..3 {
        assert_eq!(names(&cluster.client(at)).await, set(&HOSTS));
    }
}

#[tokio::test]
async fn two_nodes_of_one_host_name_have_two_names_and_each_can_be_selected() {
    let cluster = Setup::swarm(&HOSTS, 1).start().await;
    // And a third of that name, without an agent.
    add_node(&cluster, "node2", "windows");
    cluster.swarm().change_node("node3", |node| node.host = "node2".to_owned());
    let shown = |host: &str| format!("node2.{}", &samples::node_id(host)[..6]);
    let (two, three) = (shown("node2"), shown("node3"));
    for at in 0..3 {
        cluster.nodes[at].thinks(&three, "is renamed", |_| true).await;
        cluster.nodes[at].thinks(&shown("node2/windows"), "is known", |_| true).await;
        let client = cluster.client(at);
        let wanted = set(&["node1", &two, &three]);
        assert_eq!((names(&client).await, nodes_of_lists(&client).await), (wanted.clone(), wanted));
        for (name, host) in [(&two, "node2"), (&three, "node3")] {
            let id = samples::id(&samples::node_id(host), "container", 0);
            let path = format!("/containers/{id}/json");
            let selected = client.get_with(&path, &[("X-PortainerAgent-Target", name)]).await;
            assert_eq!((selected.status, selected.header("x-node")), (200, name.as_str()));
            assert_eq!(client.get(&path).await.header("x-node"), name);
        }
    }
}

#[tokio::test]
async fn the_agent_itself_has_an_address_even_where_no_peer_has_told_it_which() {
    for host in [None, Some(std::net::Ipv4Addr::LOCALHOST.into())] {
        let setup = Setup::swarm(&["node1"], 1).config(move |_, config| {
            config.listen.host = host;
            config.cluster.peers.clear();
        });
        let cluster = setup.start().await;
        cluster.nodes[0].snapshot("it does not know its addresses", |c| c.own_addresses.is_empty()).await;
        let mut client = cluster.client(0);
        client.at.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
        let agents = agents(&client).await;
        assert_eq!((agents.len(), &agents[0]["IPAddress"]), (1, &json!("127.0.0.1")), "{host:?}");
    }
}
