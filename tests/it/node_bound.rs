//! Calls that mean one node: targets, and paths that engines and other readers take differently. Numbered cases are
//! those of the contract.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::client::{Reply, piece, whole};
use crate::support::cluster::{Cluster, Setup};
use crate::support::engine::{answers, samples};

const HOSTS: [&str; 3] = ["n1", "n2", "n3"];
const TARGET: &str = "X-PortainerAgent-Target";

async fn swarm() -> Cluster {
    Setup::swarm(&HOSTS, 1).start().await
}

/// Puts an object at this path on every engine; it says whose it is.
fn everywhere(cluster: &Cluster, path: &str) {
    for node in &cluster.nodes {
        node.engine().on(path, answers::respond(200, answers::JSON, own(&node.script.host).to_string()));
    }
}

fn own(host: &str) -> Value {
    json!({ "Id": samples::id(host, "container", 0), "Name": "/abc", "Of": host })
}

/// Host names of the nodes whose engines saw precisely this path and query, as often as they did.
fn reached<'c>(cluster: &'c Cluster, target: &str) -> Vec<&'c str> {
    let times = |node: &crate::support::cluster::Node| {
        node.engine().seen().iter().filter(|seen| seen.target == target).count()
    };
    cluster
        .nodes
        .iter()
        .flat_map(|node| std::iter::repeat_n(node.script.host.as_str(), times(node)))
        .collect()
}

/// A refusal by the agent of `n1`, which no engine heard of.
fn is_refused(cluster: &Cluster, refused: &Reply, status: u16, target: &str) {
    refused.is_json_of_an_agent(status, target);
    assert_eq!((refused.header("x-node"), refused.header("location")), ("n1", ""), "{target}");
    assert!(!refused.message().is_empty(), "{target}");
    assert_eq!(reached(cluster, target), [""; 0], "{target}");
}

#[tokio::test]
async fn case_40_version_events_and_plugins_are_the_entry_nodes() {
    let cluster = swarm().await;
    everywhere(&cluster, "/plugins");
    let client = cluster.client(1);
    for path in ["/version", "/plugins"] {
        // Discovery asks for the version too, without a query.
        for target in [format!("{path}?case=40"), format!("/v1.41{path}?case=40")] {
            let answer = client.get(&target).await;
            answer.is_json_of_an_agent(200, &target);
            assert_eq!(answer.header("x-node"), "n2", "{target}");
            assert_eq!(reached(&cluster, &target), ["n2"]);
            let wanted =
                if path == "/plugins" { own("n2") } else { samples::version(&cluster.nodes[1].script) };
            assert_eq!(answer.json(), wanted, "{target}");
        }
    }
    let target = "/v1.41/events?filters=%7B%7D";
    let events = client.open("GET", target, &[], whole("")).await;
    assert_eq!((events.status().as_u16(), events.headers()["x-node"].to_str().unwrap()), (200, "n2"));
    assert_eq!(events.headers()["content-type"], "application/json");
    assert_eq!(reached(&cluster, target), ["n2"]);
    let mut events = events.into_body();
    for at in [0, 2, 1] {
        cluster.engine(at).event(&format!(r#"{{"of":"{}"}}"#, HOSTS[at]));
    }
    assert_eq!(piece(&mut events).await, "{\"of\":\"n2\"}\n");
}

#[tokio::test]
async fn case_41_a_container_is_inspected_on_its_target_once_and_with_its_own_query() {
    let cluster = swarm().await;
    everywhere(&cluster, "/containers/abc/json");
    let target = "/v1.41/containers/abc/json?size=1";
    for (at, entry) in HOSTS.iter().enumerate() {
        cluster.forget();
        let found = cluster.client(at).get_with(target, &[(TARGET, "n2")]).await;
        found.is_json_of_an_agent(200, entry);
        assert_eq!((found.header("x-node"), found.json()), ("n2", own("n2")), "through {entry}");
        assert_eq!(reached(&cluster, target), ["n2"], "through {entry}");
        assert_eq!(cluster.asked("/containers/abc/json"), ["n2"], "in no other form: through {entry}");
    }
}

#[tokio::test]
async fn case_42_an_unknown_target_is_404_and_the_known_nodes_are_named() {
    let cluster = swarm().await;
    everywhere(&cluster, "/containers/abc/json");
    for target in ["/containers/abc/json", "/v1.41/containers/abc/json?size=1"] {
        let refused = cluster.client(0).get_with(target, &[(TARGET, "nope")]).await;
        is_refused(&cluster, &refused, 404, target);
        assert_eq!(refused.message(), "no node \"nope\"; known nodes: n1, n2, n3");
    }
}

#[tokio::test]
async fn case_43_a_target_whose_agent_is_dead_is_502_and_named() {
    let mut cluster = swarm().await;
    everywhere(&cluster, "/containers/abc/json");
    cluster.nodes[2].kill().await;
    let target = "/v1.41/containers/abc/json";
    // At once, whether or not its death is known already; and when it is.
    let refused = cluster.client(0).get_with(target, &[(TARGET, "n3")]).await;
    is_refused(&cluster, &refused, 502, target);
    assert!(refused.message().starts_with("n3: "), "{}", refused.message());
    cluster.nodes[0].thinks("n3", "is missing", |m| !m.is_reachable()).await;
    let refused = cluster.client(0).get_with(target, &[(TARGET, "n3")]).await;
    is_refused(&cluster, &refused, 502, target);
    assert!(refused.message().starts_with("n3: its agent cannot be reached ("), "{}", refused.message());
    let found = cluster.client(0).get_with(target, &[(TARGET, "n2")]).await;
    assert_eq!((found.status, found.json()), (200, own("n2")));
}

#[tokio::test]
async fn case_43_so_is_one_whose_agent_is_silent() {
    let setup = Setup::swarm(&HOSTS, 1).relayed().config(|_, config| {
        config.limits.probe = Duration::from_millis(600);
        config.limits.probe_answering = Duration::from_secs(60);
    });
    let cluster = setup.start().await;
    everywhere(&cluster, "/containers/abc/json");
    cluster.nodes[2].relay.as_ref().unwrap().hang();
    let target = "/v1.41/containers/abc/json";
    let refused = cluster.client(0).get_with(target, &[(TARGET, "n3")]).await;
    is_refused(&cluster, &refused, 502, target);
    assert!(refused.message().starts_with("n3: "), "{}", refused.message());
    let found = cluster.client(0).get_with(target, &[(TARGET, "n2")]).await;
    assert_eq!((found.status, found.json()), (200, own("n2")));
}

#[tokio::test]
async fn case_44_the_case_of_a_target_counts() {
    let cluster = swarm().await;
    everywhere(&cluster, "/containers/abc/json");
    let target = "/v1.41/containers/abc/json";
    for header in [TARGET, "X-Node"] {
        let refused = cluster.client(0).get_with(target, &[(header, "N2")]).await;
        is_refused(&cluster, &refused, 404, target);
        assert_eq!(refused.message(), "no node \"N2\"; known nodes: n1, n2, n3", "{header}");
    }
    assert_eq!(cluster.client(0).get_with(target, &[(TARGET, "n2")]).await.json(), own("n2"));
}

#[tokio::test]
async fn case_45_a_lone_agent_ignores_a_target() {
    let cluster = Setup::alone("solo").start().await;
    everywhere(&cluster, "/containers/abc/json");
    for name in ["n2", "nope", "SOLO", "solo"] {
        cluster.forget();
        let on = [(TARGET, name)];
        let found = cluster.client(0).get_with("/v1.41/containers/abc/json", &on).await;
        found.is_json_of_an_agent(200, name);
        assert_eq!((found.header("x-node"), found.json()), ("solo", own("solo")), "{name}");
        let made = cluster.client(0).call("POST", "/v1.41/containers/create", &on, "{}").await;
        made.is_json_of_an_agent(201, name);
        for target in ["/v1.41/containers/abc/json", "/v1.41/containers/create"] {
            assert_eq!(reached(&cluster, target), ["solo"], "{name}");
        }
    }
}

#[tokio::test]
async fn case_47_an_encoded_slash_is_part_of_an_images_name() {
    let cluster = swarm().await;
    everywhere(&cluster, "/images/a/b/json");
    for (asked, sent) in [
        ("/images/a%2Fb/json", "/images/a/b/json"),
        ("/v1.41/images/a%2Fb/json", "/v1.41/images/a/b/json"),
        ("/v1.41/images/a%2fb/json", "/v1.41/images/a/b/json"),
    ] {
        for (headers, by) in [(&[][..], "n1"), (&[(TARGET, "n2")], "n2")] {
            cluster.forget();
            let found = cluster.client(0).get_with(asked, headers).await;
            found.is_json_of_an_agent(200, asked);
            assert_eq!((found.header("x-node"), found.json()), (by, own(by)), "{asked}");
            assert_eq!(reached(&cluster, sent), [by], "{asked}");
        }
    }
}

#[tokio::test]
async fn case_48_only_the_first_version_of_a_path_is_one() {
    let cluster = swarm().await;
    everywhere(&cluster, "/images/repo/v1.2/json");
    for target in ["/v1.41/images/repo/v1.2/json", "/images/repo/v1.2/json"] {
        for (headers, by) in [(&[][..], "n1"), (&[(TARGET, "n2")], "n2")] {
            cluster.forget();
            let found = cluster.client(0).get_with(target, headers).await;
            found.is_json_of_an_agent(200, target);
            assert_eq!((found.header("x-node"), found.json()), (by, own(by)), "{target}");
            assert_eq!(reached(&cluster, target), [by]);
            assert_eq!(found.header("x-node-api-version"), "", "{target}");
        }
    }
}

#[tokio::test]
async fn case_49_a_path_with_two_readings_is_refused_and_nobody_is_sent_elsewhere() {
    let cluster = swarm().await;
    let (client, stranger) = (cluster.client(0), cluster.client(0).stranger());
    for target in [
        "//containers/json",
        "/v1.41//containers/json",
        "/./containers/json",
        "/images/../containers/json",
        "/images/http%3A%2F%2Fx/json",
    ] {
        cluster.forget();
        // Before anybody is identified: it is the same for all.
        for client in [&client, &stranger] {
            is_refused(&cluster, &client.get(target).await, 400, target);
        }
        assert_eq!(cluster.asked("/containers/json"), [""; 0], "{target}");
    }
}

#[tokio::test]
async fn case_50_a_version_alone_is_no_way_around_the_signature() {
    let cluster = swarm().await;
    for target in ["/v1.41", "/v1.41/", "/v1.41foo/info", "/"] {
        is_refused(&cluster, &cluster.client(0).stranger().get(target).await, 403, target);
        let unknown = cluster.client(0).get(target).await;
        unknown.is_json_of_an_agent(404, target);
        assert_eq!(unknown.message(), "page not found", "the engine's own words: {target}");
        assert_eq!(reached(&cluster, target), ["n1"]);
    }
}
