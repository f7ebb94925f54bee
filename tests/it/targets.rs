//! A request that names its node.

use crate::support::cluster::Setup;
use crate::support::engine::samples;

const HOSTS: [&str; 3] = ["node1", "node2", "node3"];

#[tokio::test]
async fn a_node_is_named_by_its_host_its_id_or_a_unique_prefix_of_it() {
    let cluster = Setup::swarm(&HOSTS, 1).start().await;
    let id = samples::node_id("node3");
    for name in ["node3", &id, &id[..6], &id[..4]] {
        for at in 0..3 {
            let version = cluster.client(at).get_with("/version", &[("X-Node", name)]).await;
            assert_eq!((version.status, version.header("x-node")), (200, "node3"), "{name}");
        }
    }
    for name in ["nope", &id[..3], "NODE3", "node3x"] {
        let unknown = cluster.client(0).get_with("/version", &[("X-Node", name)]).await;
        assert_eq!(unknown.status, 404, "{name}");
        assert!(unknown.message().ends_with("known nodes: node1, node2, node3"), "{}", unknown.message());
        assert_eq!(unknown.header("content-type"), "application/json");
    }
    assert_eq!(cluster.asked("/version").len(), 3, "by discovery and by X-Node");
}

#[tokio::test]
async fn two_nodes_with_one_host_name_are_told_apart_by_more_of_the_name() {
    let setup = Setup::swarm(&HOSTS, 1);
    let cluster = setup.start().await;
    cluster.swarm().change_node("node3", |node| node.host = "node2".to_owned());
    let (two, three) = (samples::node_id("node2"), samples::node_id("node3"));
    let shown = [&two, &three].map(|id| format!("node2.{}", &id[..6]));
    for node in &cluster.nodes {
        node.thinks(&shown[1], "is renamed", |_| true).await;
    }
    let client = cluster.client(0);
    let ambiguous = client.get_with("/version", &[("X-Node", "node2")]).await;
    assert_eq!(ambiguous.status, 400);
    let mut candidates = [format!("{} ({two})", shown[0]), format!("{} ({three})", shown[1])];
    candidates.sort();
    assert!(ambiguous.message().ends_with(&candidates.join(", ")), "{}", ambiguous.message());
    for (name, id) in shown.iter().zip([two, three]) {
        cluster.forget();
        let version = client.get_with("/containers/json", &[("X-Node", name)]).await;
        assert_eq!((version.status, version.header("x-node")), (200, name.as_str()));
        let saw = cluster.nodes.iter().find(|node| node.script.node == id).unwrap();
        saw.engine().saw("/containers/json").await;
    }
    let list = client.get("/containers/json").await;
    let nodes: Vec<_> =
        list.json().as_array().unwrap().iter().map(|c| c["Portainer"]["Agent"]["NodeName"].clone()).collect();
    assert_eq!((list.header("x-node-answered"), nodes.len()), ("3/3", 9));
    assert!(shown.iter().all(|shown| nodes.iter().filter(|node| *node == shown).count() == 3), "{nodes:?}");
}

#[tokio::test]
async fn what_is_the_entry_agents_own_stays_so_whatever_node_is_named() {
    let cluster = Setup::swarm(&HOSTS, 1).start().await;
    let client = cluster.client(0);
    for name in ["node2", "nope"] {
        for header in ["X-Node", "X-PortainerAgent-Target"] {
            for (method, path, status) in [
                ("GET", "/ping", 204),
                ("GET", "/key", 503),
                ("GET", "/agents", 200),
                ("POST", "/v2/dockerhub", 400),
            ] {
                let answer = client.call(method, path, &[(header, name)], "").await;
                let said = (answer.status, answer.header("x-node"));
                assert_eq!(said, (status, "node1"), "{path} {header}: {name}: {}", answer.text());
            }
        }
        // What is about a node is not.
        let there = client.get_with("/metrics", &[("X-Node", name)]).await;
        assert_eq!(there.status, if name == "nope" { 404 } else { 200 }, "{name}");
    }
}

#[tokio::test]
async fn x_node_is_obeyed_on_every_path_of_docker_and_gives_that_engines_own_answer() {
    let cluster = Setup::swarm(&HOSTS, 1).start().await;
    let client = cluster.client(0);
    let list = client.get_with("/v1.41/containers/json", &[("X-Node", "node2")]).await;
    let own = format!("{}\n", samples::containers(&samples::node_id("node2"), 3).trim_end());
    assert_eq!((list.text(), list.header("x-node-answered")), (own, ""));
    assert_eq!(client.get_with("/info", &[("X-Node", "node2")]).await.json()["Name"], "node2");
    // Not even a manager's routes go elsewhere.
    let nodes = client.get_with("/nodes", &[("X-Node", "node2")]).await;
    assert_eq!((nodes.status, nodes.header("x-node")), (503, "node2"));
    // It is meant for this request; the other header is what a browser remembers.
    let both = [("X-Node", "node3"), ("X-PortainerAgent-Target", "node2")];
    assert_eq!(client.get_with("/version", &both).await.header("x-node"), "node3");
    let two = [("X-Node", "node3"), ("X-PortainerAgent-ManagerOperation", "1")];
    assert_eq!(client.get_with("/version", &two).await.status, 400);
}

#[tokio::test]
async fn a_remembered_target_is_obeyed_where_one_node_is_meant() {
    let cluster = Setup::swarm(&HOSTS, 1).start().await;
    let client = cluster.client(0);
    let id = samples::id(&samples::node_id("node3"), "container", 0);
    for (method, path) in [
        ("GET", "/version".to_owned()),
        ("GET", format!("/containers/{id}/json")),
        ("POST", "/containers/create".to_owned()),
        ("POST", format!("/containers/{id}/start")),
        ("GET", "/plugins".to_owned()),
        ("GET", "/system/df".to_owned()),
        ("POST", "/volumes/create".to_owned()),
    ] {
        let answer = client.call(method, &path, &[("X-PortainerAgent-Target", "node3")], "").await;
        assert_eq!(answer.header("x-node"), "node3", "{method} {path}");
        cluster.engine(2).saw(&path).await;
    }
    for name in ["nope", "NODE3", "a name\twith spaces"] {
        let unknown = client.get_with("/version", &[("X-PortainerAgent-Target", name)]).await;
        assert_eq!(unknown.status, 404, "{name}");
    }
}

#[tokio::test]
async fn without_a_target_the_entry_node_is_asked() {
    let cluster = Setup::swarm(&HOSTS, 1).start().await;
    let id = samples::id(&samples::node_id("node1"), "container", 0);
    for (at, host) in HOSTS.iter().enumerate() {
        let client = cluster.client(at);
        assert_eq!(client.get("/version").await.header("x-node"), *host);
        assert_eq!(client.get("/_ping").await.header("x-node"), *host);
        let logs = client.get(&format!("/containers/{id}/logs")).await;
        assert_eq!((logs.status, logs.header("x-node")), (if at == 0 { 200 } else { 404 }, *host));
        if at > 0 {
            assert_eq!(logs.message(), format!("No such container: {id}"), "the engine's own words");
        }
    }
}

#[tokio::test]
async fn a_target_whose_agent_is_gone_is_named_with_the_reason() {
    let mut cluster = Setup::fixed(&HOSTS).start().await;
    cluster.nodes[2].kill().await;
    cluster.nodes[0].thinks("node3", "is missing", |m| !m.is_reachable()).await;
    for header in ["X-Node", "X-PortainerAgent-Target"] {
        let refused = cluster.client(0).get_with("/version", &[(header, "node3")]).await;
        assert_eq!((refused.status, refused.header("content-type")), (502, "application/json"));
        assert_eq!(refused.message(), "node3: its agent cannot be reached (refused)");
    }
}

#[tokio::test]
async fn joining_and_leaving_need_a_name_where_there_is_more_than_one_node() {
    let cluster = Setup::swarm(&HOSTS, 1).start().await;
    cluster.forget();
    let client = cluster.client(2);
    for path in ["/swarm/join", "/swarm/leave"] {
        for header in [("X-PortainerAgent-ManagerOperation", "1"), ("User-Agent", "any")] {
            let refused = client.call("POST", path, &[header], "{}").await;
            assert_eq!(refused.status, 400, "{path}");
            assert!(refused.message().ends_with("known nodes: node1, node2, node3"), "{}", refused.message());
        }
        assert_eq!(cluster.asked(path), [""; 0], "{path}");
        for header in ["X-Node", "X-PortainerAgent-Target"] {
            cluster.forget();
            assert_eq!(client.call("POST", path, &[(header, "node2")], "{}").await.header("x-node"), "node2");
            assert_eq!(cluster.asked(path), ["node2"], "{path} {header}");
        }
    }
    for path in ["/swarm/init", "/swarm/unlock"] {
        assert_eq!(client.call("POST", path, &[], "{}").await.header("x-node"), "node3");
        assert_eq!(cluster.asked(path), ["node3"], "{path}");
    }
}
