//! What a Portainer server reads of a whole cluster, and what it reads of one node or of a manager. Numbered cases are
//! those of the contract: n1 is a manager, n2 a worker.

use std::collections::{BTreeMap, BTreeSet};

use http::Request;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::peers::{as_peer, identity};
use crate::support::client::Reply;
use crate::support::cluster::{CLUSTER_SECRET, Cluster, Setup};
use crate::support::engine::answers::{self, Recorded};
use crate::support::engine::{Script, samples};

const HOSTS: [&str; 2] = ["n1", "n2"];
const ALL: &str = "/v1.41/containers/json?all=1";
const TARGET: &str = "X-PortainerAgent-Target";
const MANAGER: (&str, &str) = ("X-PortainerAgent-ManagerOperation", "1");

async fn swarm() -> Cluster {
    Setup::swarm(&HOSTS, 1).start().await
}

/// What `GET /containers/json` of this engine is, byte for byte.
fn raw(host: &str) -> String {
    samples::containers(&samples::node_id(host), 3)
}

/// `NodeName` of a decorated element.
fn node(element: &Value) -> &str {
    let decoration = &element["Portainer"];
    let name = decoration["Agent"]["NodeName"].as_str().unwrap_or_else(|| panic!("undecorated: {element}"));
    assert_eq!(*decoration, json!({ "Agent": { "NodeName": name } }));
    name
}

/// It is of both nodes, and nothing else is said of it.
#[track_caller]
fn is_whole(list: &Reply, entry: &str, what: &str) {
    list.is_json_of_an_agent(200, what);
    let said = ["x-node", "x-node-answered", "x-node-errors"].map(|name| list.header(name));
    assert_eq!(said, [entry, "2/2", ""], "{what}");
}

/// It is of this node alone.
#[track_caller]
fn is_by(answer: &Reply, status: u16, host: &str, what: &str) {
    answer.is_json_of_an_agent(status, what);
    let said = ["x-node", "x-node-answered", "x-node-errors"].map(|name| answer.header(name));
    assert_eq!(said, [host, "", ""], "{what}");
}

#[tokio::test]
async fn case_24_containers_are_those_of_every_node_each_with_its_nodes_name() {
    // Each has one container, which has exited.
    let one = |script: &mut Script| (script.containers, script.stopped) = (1, 1);
    let cluster = Setup::swarm(&HOSTS, 1).script(0, one).script(1, one).start().await;
    for (at, entry) in HOSTS.into_iter().enumerate() {
        cluster.forget();
        let list = cluster.client(at).get(ALL).await;
        is_whole(&list, entry, entry);
        let list = list.json();
        let rows: Vec<_> =
            list.as_array().unwrap().iter().map(|row| (node(row), row["Id"].clone())).collect();
        assert_eq!(
            rows,
            HOSTS.map(|host| (host, samples::id(&samples::node_id(host), "container", 0).into()))
        );
        for engine in [cluster.engine(0), cluster.engine(1)] {
            assert_eq!(engine.saw("/containers/json").await.target, ALL);
        }
    }
}

#[tokio::test]
async fn case_25_with_the_entrys_own_name_it_is_the_aggregate_and_a_peer_gets_the_engines_own_list() {
    let cluster = swarm().await;
    let plain = cluster.client(0).get(ALL).await;
    let targeted = cluster.client(0).get_with(ALL, &[(TARGET, "n1")]).await;
    is_whole(&targeted, "n1", "its own name");
    assert_eq!((&targeted.body, targeted.json().as_array().unwrap().len()), (&plain.body, 6));
    let peer = identity(CLUSTER_SECRET, "somebody");
    for headers in [&[][..], &[(TARGET, "n1")], &[(TARGET, "n2")]] {
        let list = as_peer(&cluster.nodes[0], &peer, ALL, headers).await.unwrap();
        let said = (list.status, list.header("content-type"), list.header("x-node-answered"));
        assert_eq!((said, list.text()), ((200, "application/json", ""), raw("n1")), "{headers:?}");
    }
}

#[tokio::test]
async fn case_26_with_another_nodes_name_or_nobodys_it_is_the_aggregate() {
    let cluster = swarm().await;
    let plain = cluster.client(0).get(ALL).await;
    for target in ["n2", "nope"] {
        let targeted = cluster.client(0).get_with(ALL, &[(TARGET, target)]).await;
        is_whole(&targeted, "n1", target);
        assert_eq!((&targeted.body, targeted.json().as_array().unwrap().len()), (&plain.body, 6), "{target}");
    }
}

#[tokio::test]
async fn case_29_a_managers_operation_through_a_worker_is_the_managers_own_list() {
    let cluster = swarm().await;
    cluster.forget();
    let list = cluster.client(1).get_with(ALL, &[MANAGER]).await;
    is_by(&list, 200, "n1", "raw");
    assert_eq!((list.text(), cluster.asked("/containers/json")), (raw("n1"), vec!["n1"]));
    assert_eq!(cluster.engine(0).saw("/containers/json").await.target, ALL);
}

#[tokio::test]
async fn case_31_a_node_without_volumes_leaves_an_array() {
    let cluster = swarm().await;
    let none = r#"{"Volumes":null,"Warnings":null}"#;
    cluster.engine(1).on("/volumes", answers::respond(200, answers::JSON, none));
    for (at, entry) in HOSTS.into_iter().enumerate() {
        let volumes = cluster.client(at).get("/volumes").await;
        is_whole(&volumes, entry, entry);
        let volumes = volumes.json();
        let rows: Vec<_> =
            volumes["Volumes"].as_array().unwrap().iter().map(|row| (node(row), &row["Name"])).collect();
        assert_eq!(rows, [("n1", &json!("n1_data")), ("n1", &json!("shop_data"))]);
    }
    cluster.engine(0).on("/volumes", answers::respond(200, answers::JSON, none));
    let volumes = cluster.client(0).get("/volumes").await;
    is_whole(&volumes, "n1", "none");
    assert_eq!(volumes.json()["Volumes"], json!([]));
}

#[tokio::test]
async fn case_32_every_node_gets_the_filters_as_they_were_written() {
    let cluster = swarm().await;
    let texts = [
        "filters=%7B%22dangling%22%3A%5B%22false%22%5D%7D",
        "filters={%22dangling%22:[%22true%22]}",
        "x=1&filters=%7b%22label%22:[%22a%3Db+c%22]%7d",
    ];
    for text in texts {
        for version in ["", "/v1.41"] {
            cluster.forget();
            is_whole(&cluster.client(0).get(&format!("{version}/volumes?{text}")).await, "n1", text);
            for node in &cluster.nodes {
                let target = node.engine().saw("/volumes").await.target;
                assert_eq!(target.split_once('?'), Some(("/v1.41/volumes", text)), "{}", node.script.host);
            }
        }
    }
}

#[tokio::test]
async fn case_33_a_volume_is_made_on_the_target() {
    let cluster = swarm().await;
    let made = r#"{"CreatedAt":"2023-11-14T22:13:20Z","Driver":"local","Name":"v1","Scope":"local"}"#;
    cluster.engine(1).on("POST /volumes/create", move |mut request: Request<Recorded>| async move {
        request.body_mut().collect().await.unwrap();
        answers::json(201, made)
    });
    for (at, entry) in HOSTS.into_iter().enumerate() {
        cluster.forget();
        let body = r#"{"Name":"v1","Driver":"local"}"#;
        let answer = cluster.client(at).call("POST", "/volumes/create", &[(TARGET, "n2")], body).await;
        is_by(&answer, 201, "n2", entry);
        assert_eq!((answer.text().as_str(), cluster.asked("/volumes/create")), (made, vec!["n2"]));
        assert_eq!(cluster.engine(1).saw("/volumes/create").await.body(), body.as_bytes());
    }
}

#[tokio::test]
async fn case_34_one_volume_is_the_targets_and_undecorated() {
    let cluster = swarm().await;
    let volume = |host: &str| format!("{{\"Name\":\"v1\",\"Mountpoint\":\"/on/{host}\", \"Size\":1}}\n");
    for (at, host) in HOSTS.into_iter().enumerate() {
        cluster.engine(at).on("/volumes/v1", answers::respond(200, answers::JSON, volume(host)));
    }
    let answer = cluster.client(0).get_with("/volumes/v1", &[(TARGET, "n2")]).await;
    is_by(&answer, 200, "n2", "v1");
    assert_eq!(answer.text(), volume("n2"));
    assert_eq!(cluster.asked("/volumes/v1"), ["n2"]);
}

#[tokio::test]
async fn case_35_a_swarm_network_is_there_once_a_node_and_every_node_is_an_agents() {
    let cluster = swarm().await;
    for (at, entry) in HOSTS.into_iter().enumerate() {
        let agents = cluster.client(at).get("/agents").await.json();
        let agents: BTreeSet<_> =
            agents.as_array().unwrap().iter().map(|agent| agent["NodeName"].as_str().unwrap()).collect();
        let networks = cluster.client(at).get("/networks").await;
        is_whole(&networks, entry, entry);
        let networks = networks.json();
        let mut copies = BTreeMap::<_, Vec<_>>::new();
        for network in networks.as_array().unwrap() {
            assert!(agents.contains(node(network)), "{network}");
            if network["Scope"] == "swarm" {
                copies.entry(network["Id"].as_str().unwrap()).or_default().push(node(network));
            }
        }
        assert_eq!(copies.len(), 2, "ingress and shop_default");
        assert!(copies.values().all(|nodes| *nodes == HOSTS), "{copies:?}");
        assert_eq!(networks.as_array().unwrap().len(), 12, "local ones are all there");
    }
}

#[tokio::test]
async fn case_36_a_node_without_images_adds_none_and_integers_stay_integers() {
    let cluster = swarm().await;
    let large = r#"[{"Id":"sha256:a","Created":1700000000,"Size":9223372036854775807,"SharedSize":-1,"Containers":0}]"#;
    cluster.engine(0).on("/images/json", answers::respond(200, answers::JSON, large));
    cluster.engine(1).on("/images/json", answers::respond(200, answers::JSON, "[]\n"));
    for (at, entry) in HOSTS.into_iter().enumerate() {
        let images = cluster.client(at).get("/images/json").await;
        is_whole(&images, entry, entry);
        let numbers = large.trim_start_matches("[{").trim_end_matches("}]");
        assert!(images.text().contains(numbers), "{}", images.text());
        let images = images.json();
        assert_eq!((images.as_array().unwrap().len(), node(&images[0])), (1, "n1"));
        let numbers = ["Created", "Size", "SharedSize", "Containers"].map(|name| images[0][name].as_i64());
        assert_eq!(numbers, [Some(1_700_000_000), Some(i64::MAX), Some(-1), Some(0)]);
    }
}

#[tokio::test]
async fn case_37_info_is_the_managers_with_and_without_a_target() {
    let cluster = swarm().await;
    let managers = cluster.client(0).get_with("/info", &[("X-Node", "n1")]).await.text();
    cluster.forget();
    for headers in [&[][..], &[(TARGET, "n2")]] {
        let info = cluster.client(1).get_with("/info?mine", headers).await;
        is_by(&info, 200, "n1", "info");
        assert_eq!(info.text(), managers, "{headers:?}");
        let info = info.json();
        assert_eq!((&info["Name"], &info["Swarm"]["ControlAvailable"]), (&json!("n1"), &json!(true)));
        assert!(info["Swarm"]["Cluster"]["ID"].is_string(), "{info}");
    }
    let asked =
        |at: usize| cluster.engine(at).seen().iter().filter(|s| s.target.ends_with("/info?mine")).count();
    assert_eq!((asked(0), asked(1)), (2, 0));
}

#[tokio::test]
async fn case_38_without_a_manager_info_is_refused_in_the_engines_words() {
    let mut cluster = swarm().await;
    cluster.nodes[0].kill().await;
    cluster.nodes[1].thinks("n1", "is missing", |m| !m.is_reachable()).await;
    let engines = cluster.client(1).get_with("/nodes", &[("X-Node", "n2")]).await;
    assert!(engines.message().starts_with("This node is not a swarm manager. "), "{}", engines.text());
    for headers in [&[][..], &[(TARGET, "n2")], &[MANAGER]] {
        let refused = cluster.client(1).get_with("/info", headers).await;
        refused.is_json_of_an_agent(503, "no manager");
        assert_eq!((refused.message(), refused.header("x-node")), (engines.message(), "n2"), "{headers:?}");
    }
}
