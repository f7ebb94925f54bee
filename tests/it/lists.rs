//! Lists and `/info` of all nodes, merged.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use swarmgate::model::Kind;
use tokio::net::TcpStream;

use crate::peers::{as_peer, identity};
use crate::support::client::Reply;
use crate::support::cluster::{CLUSTER_SECRET, Setup};
use crate::support::engine::{Script, answers, samples};
use crate::support::soon;

const HOSTS: [&str; 3] = ["node1", "node2", "node3"];
const DOCKER: (&str, &str) = ("X-Node-Dialect", "docker");

/// `name@node` of each container, as a Portainer server sees them.
fn rows(list: &Reply) -> Vec<String> {
    let row = |container: &Value| {
        let name = container["Names"][0].as_str().unwrap().trim_start_matches('/').split('.').next().unwrap();
        format!("{name}@{}", container["Portainer"]["Agent"]["NodeName"].as_str().unwrap_or("?"))
    };
    assert_eq!(list.status, 200, "{}", list.text());
    list.json().as_array().unwrap().iter().map(row).collect()
}

fn filters(filters: &Value) -> String {
    percent_encoding::utf8_percent_encode(&filters.to_string(), percent_encoding::NON_ALPHANUMERIC)
        .to_string()
}

fn container(host: &str, number: usize) -> String {
    samples::id(&samples::node_id(host), "container", number)
}

#[tokio::test]
async fn any_agent_lists_all_nodes_newest_first_and_says_where_each_is() {
    let cluster = Setup::fixed(&HOSTS).start().await;
    for (at, host) in HOSTS.iter().enumerate() {
        let list = cluster.client(at).get("/v1.41/containers/json?all=1").await;
        let wanted = ["web-2", "web-1", "web-0"]
            .iter()
            .flat_map(|name| HOSTS.iter().map(move |host| format!("{name}@{host}")))
            .collect::<Vec<_>>();
        assert_eq!(rows(&list), wanted, "through {host}");
        assert_eq!((list.header("x-node"), list.header("x-node-answered")), (*host, "3/3"));
        assert_eq!((list.header("x-node-errors"), list.header("content-type")), ("", "application/json"));
        assert_eq!(list.header("api-version"), "1.41");
        assert_eq!(list.header("content-length"), list.body.len().to_string());
    }
    for node in &cluster.nodes {
        let seen = node.engine().saw("/containers/json").await;
        assert_eq!(seen.target, "/v1.41/containers/json?all=1", "{}", node.script.host);
    }
}

#[tokio::test]
async fn case_30_nothing_in_an_element_changes_but_its_decoration() {
    let cluster = Setup::fixed(&HOSTS).start().await;
    let odd = r#"[{"Id":"a","Created":9007199254740993 , "Odd":1.10e+2,"X":"\u00e9\/","Names":["/a"]}]"#;
    cluster.engine(1).on("/containers/json", answers::respond(200, answers::JSON, odd));
    let plain = cluster.client(0).get_with("/containers/json", &[DOCKER]).await.text();
    assert!(plain.contains(odd.trim_matches(['[', ']'])), "{plain}");
    let decorated = cluster.client(0).get("/containers/json").await;
    decorated.is_json_of_an_agent(200, "decorated");
    let element = r#""Created":9007199254740993 , "Odd":1.10e+2,"X":"\u00e9\/","Names":["/a"]"#;
    assert!(decorated.text().contains(element), "{}", decorated.text());
    assert_eq!(decorated.json()[0]["Portainer"], json!({"Agent": {"NodeName": "node2"}}));
}

#[tokio::test]
async fn with_dockers_dialect_what_is_the_same_on_several_nodes_is_one() {
    let cluster = Setup::swarm(&HOSTS, 1).start().await;
    let client = cluster.client(2);
    // List, elements in Portainer's dialect, elements in Docker's.
    let lists =
        [("/images/json", 24, 10), ("/volumes", 6, 6), ("/networks", 18, 14), ("/containers/json", 9, 9)];
    for (path, portainer, docker) in lists {
        let elements = |list: Reply| {
            assert_eq!((list.status, list.header("x-node-answered")), (200, "3/3"), "{path}");
            let list = list.json();
            if path == "/volumes" { list["Volumes"].clone() } else { list }
        };
        let all = elements(client.get(path).await);
        assert_eq!(all.as_array().unwrap().len(), portainer, "{path}: {all}");
        assert!(
            all.as_array().unwrap().iter().all(|e| e["Portainer"]["Agent"]["NodeName"].is_string()),
            "{path}"
        );
        let collapsed = elements(client.get_with(path, &[DOCKER]).await);
        assert_eq!(collapsed.as_array().unwrap().len(), docker, "{path}: {collapsed}");
        assert!(collapsed.as_array().unwrap().iter().all(|e| e.get("Portainer").is_none()), "{path}");
    }
}

#[tokio::test]
async fn volumes_and_networks_are_ordered_by_name_then_host() {
    let cluster = Setup::fixed(&HOSTS).start().await;
    let named = |list: &Value| -> Vec<String> {
        let row =
            |e: &Value| format!("{}@{}", e["Name"], e["Portainer"]["Agent"]["NodeName"]).replace('"', "");
        list.as_array().unwrap().iter().map(row).collect()
    };
    let volumes = cluster.client(1).get("/volumes").await.json();
    let wanted = ["node1_data@node1", "node2_data@node2", "node3_data@node3"].map(str::to_owned);
    assert_eq!(named(&volumes["Volumes"])[..3], wanted);
    assert_eq!(named(&volumes["Volumes"])[3..], HOSTS.map(|host| format!("shop_data@{host}")));
    let networks = cluster.client(1).get("/networks").await.json();
    assert_eq!(named(&networks)[..3], HOSTS.map(|host| format!("bridge@{host}")));
    // Engines serve this one list with a slash behind it too.
    assert_eq!(cluster.client(1).get("/networks/").await.header("x-node-answered"), "3/3");
}

#[tokio::test]
async fn an_array_is_never_null() {
    let cluster = Setup::fixed(&["node1", "node2"]).start().await;
    for node in &cluster.nodes {
        let none = r#"{"Volumes":null,"Warnings":null}"#;
        node.engine().on("/volumes", answers::respond(200, answers::JSON, none));
        node.engine().on("/images/json", answers::respond(200, answers::JSON, "[]"));
    }
    let volumes = cluster.client(0).get("/volumes").await;
    assert_eq!((volumes.json()["Volumes"].clone(), volumes.header("x-node-answered")), (json!([]), "2/2"));
    assert_eq!(cluster.client(0).get("/images/json").await.json(), json!([]));
}

#[tokio::test]
async fn a_limit_counts_over_the_whole_cluster() {
    let cluster = Setup::fixed(&HOSTS).start().await;
    let list = cluster.client(1).get("/containers/json?limit=4").await;
    assert_eq!(rows(&list), ["web-2@node1", "web-2@node2", "web-2@node3", "web-1@node1"]);
    for no_limit in ["0", "-1"] {
        assert_eq!(
            rows(&cluster.client(1).get(&format!("/containers/json?limit={no_limit}")).await).len(),
            9
        );
    }
}

#[tokio::test]
async fn before_and_since_name_a_container_on_whichever_node() {
    let cluster = Setup::fixed(&HOSTS).start().await;
    let of = async |key: &str, pivot: String, more: &str| {
        let target =
            format!("/v1.41/containers/json?all=1{more}&filters={}", filters(&json!({ key: [pivot] })));
        cluster.client(0).get(&target).await
    };
    let newest = ["web-2@node1", "web-2@node2", "web-2@node3"];
    let oldest = ["web-0@node1", "web-0@node2", "web-0@node3"];
    for host in HOSTS {
        assert_eq!(rows(&of("before", container(host, 1), "").await), oldest, "{host}");
        assert_eq!(rows(&of("since", container(host, 1), "").await), newest, "{host}");
        assert_eq!(rows(&of("before", container(host, 1), "&limit=2").await), oldest[..2], "{host}");
        let name = samples::name(&samples::node_id(host), 1);
        assert_eq!(rows(&of("before", name, "").await), oldest, "{host}");
    }
    let unknown = of("before", "nope".to_owned(), "").await;
    assert_eq!((unknown.status, unknown.message()), (404, "No such container: nope".to_owned()));
}

#[tokio::test]
async fn a_pivot_that_nobody_has_while_a_node_is_silent_is_not_said_to_be_gone() {
    let mut cluster = Setup::fixed(&HOSTS).start().await;
    cluster.nodes[2].stop_engine().await;
    let target = format!("/containers/json?filters={}", filters(&json!({"before": [container("node3", 1)]})));
    let refused = cluster.client(0).get(&target).await;
    assert_eq!((refused.status, refused.header("x-node-errors")), (503, "node3=engine"));
    assert!(refused.message().starts_with("No such container: "), "{}", refused.message());
}

#[tokio::test]
async fn the_filter_node_restricts_who_is_asked() {
    let cluster = Setup::fixed(&HOSTS).start().await;
    let by_id = cluster.nodes[2].id().to_string();
    for (names, wanted) in [
        (json!(["node2"]), vec!["node2"]),
        (json!(["node2", "node3"]), vec!["node2", "node3"]),
        (json!({"node1": true}), vec!["node1"]),
        (json!([by_id]), vec!["node3"]),
    ] {
        cluster.forget();
        let target = format!("/containers/json?all=1&filters={}", filters(&json!({ "node": names })));
        let list = cluster.client(0).get(&target).await;
        assert_eq!(rows(&list).len(), wanted.len() * 3, "{names}");
        assert_eq!(list.header("x-node-answered"), format!("{0}/{0}", wanted.len()));
        assert_eq!(cluster.asked("/containers/json"), wanted, "{names}");
    }
}

#[tokio::test]
async fn a_remembered_target_makes_no_rows_vanish() {
    let cluster = Setup::swarm(&HOSTS, 1).start().await;
    for target in ["node1", "node3", "nope", "a name\twith spaces"] {
        for path in ["/containers/json", "/images/json", "/volumes", "/networks"] {
            let list = cluster.client(1).get_with(path, &[("X-PortainerAgent-Target", target)]).await;
            assert_eq!((list.status, list.header("x-node-answered")), (200, "3/3"), "{path} {target}");
        }
        let info = cluster.client(1).get_with("/info", &[("X-PortainerAgent-Target", target)]).await;
        assert_eq!((info.status, info.json()["Name"].clone()), (200, json!("node1")), "{target}");
    }
}

#[tokio::test]
async fn info_is_the_designated_managers_for_portainer_and_a_sum_for_docker() {
    let cluster = Setup::swarm(&HOSTS, 2).start().await;
    for (at, host) in HOSTS.iter().enumerate() {
        let info = cluster.client(at).get("/v1.41/info").await;
        let own = info.json();
        assert_eq!((info.status, own["Name"].clone(), info.header("x-node")), (200, json!("node1"), "node1"));
        assert_eq!(
            (own["Containers"].clone(), own["Swarm"]["ControlAvailable"].clone()),
            (json!(3), json!(true))
        );

        let summed = cluster.client(at).get_with("/v1.41/info", &[DOCKER]).await;
        assert_eq!((summed.header("x-node"), summed.header("x-node-answered")), (*host, "3/3"));
        let summed = summed.json();
        assert_eq!((summed["Containers"].clone(), summed["NCPU"].clone()), (json!(9), json!(6)));
        assert_eq!((summed["Name"].clone(), summed["Swarm"].clone()), (json!("node1"), own["Swarm"].clone()));
    }
}

#[tokio::test]
async fn without_a_leader_the_reachable_manager_with_the_lowest_id_is_designated() {
    let mut cluster = Setup::swarm(&HOSTS, 3).start().await;
    cluster.nodes[0].kill().await;
    cluster.nodes[1].thinks("node1", "is missing", |m| !m.is_reachable()).await;
    let lowest = if samples::node_id("node2") < samples::node_id("node3") { "node2" } else { "node3" };
    cluster.nodes[2].thinks("node1", "is missing", |m| !m.is_reachable()).await;
    for at in [1, 2] {
        assert_eq!(cluster.client(at).get("/info").await.header("x-node"), lowest);
    }
}

#[tokio::test]
async fn case_28_what_all_nodes_refuse_is_answered_in_the_engines_own_words() {
    let cluster = Setup::fixed(&HOSTS).start().await;
    for (at, host) in HOSTS.iter().enumerate() {
        let bad =
            cluster.client(at).get("/v1.41/containers/json?filters=%7B%22nope%22%3A%5B%22x%22%5D%7D").await;
        bad.is_json_of_an_agent(400, host);
        assert_eq!((bad.header("x-node-answered"), bad.header("x-node-errors")), ("", ""));
        assert_eq!(bad.text(), "{\"message\":\"Invalid filter 'nope'\"}\n");
        assert_eq!(bad.header("x-node"), *host);
    }
}

#[tokio::test]
async fn lists_at_the_same_time_have_each_container_once_and_under_its_node() {
    let cluster = Setup::fixed(&HOSTS).start().await;
    let clients: Vec<_> = (0..15).map(|n| cluster.client(n % 3)).collect();
    let lists = clients.iter().map(|client| client.get("/containers/json"));
    for list in futures_util::future::join_all(lists).await {
        assert_eq!((list.header("x-node-answered"), list.header("x-node-errors")), ("3/3", ""));
        for container in list.json().as_array().unwrap() {
            let node = container["Portainer"]["Agent"]["NodeName"].as_str().unwrap();
            assert_eq!(container["Labels"]["com.docker.swarm.node.id"], samples::node_id(node));
        }
        assert_eq!(rows(&list).len(), 9);
    }
}

#[tokio::test]
async fn a_node_that_does_not_say_whether_it_has_a_pivot_was_not_heard() {
    let cluster = Setup::fixed(&HOSTS).start().await;
    let filter = filters(&json!({ "before": ["nope"] }));
    let target = format!("/containers/json?filters={filter}");
    let failed = answers::respond(500, answers::JSON, r#"{"message":"a layer cannot be read"}"#);
    let undated = json!({ "Id": "a", "Name": "/nope", "Created": "yesterday" }).to_string();
    for (rule, reason) in [
        (failed, "engine"),
        (answers::garbage(), "malformed"),
        (answers::respond(200, answers::JSON, undated), "malformed"),
    ] {
        cluster.engine(2).on("/containers/nope/json", rule);
        let refused = cluster.client(0).get(&target).await;
        let said = (refused.status, refused.header("x-node-errors"), refused.header("x-node-answered"));
        assert_eq!(said, (503, &*format!("node3={reason}"), "2/3"), "{}", refused.text());
    }
    // Several on a node whose ids begin so are none of that name, and what all refuse is the caller's error.
    let many = r#"{"message":"multiple IDs found with provided prefix: nope"}"#;
    cluster.engine(2).on("/containers/nope/json", answers::respond(500, answers::JSON, many));
    assert_eq!(cluster.client(0).get(&target).await.status, 404);
    for node in &cluster.nodes {
        let refusal = answers::respond(400, answers::JSON, r#"{"message":"invalid"}"#);
        node.engine().on("/containers/nope/json", refusal);
    }
    assert_eq!(cluster.client(0).get(&target).await.status, 404);
}

#[tokio::test]
async fn an_image_without_a_date_is_a_pivot_older_than_all_others() {
    let cluster = Setup::fixed(&HOSTS).start().await;
    cluster.engine(1).on("/images/old/json", answers::respond(200, answers::JSON, r#"{"Id":"sha256:0"}"#));
    for (filter, hosts) in [("since", &HOSTS[..]), ("before", &["node2"])] {
        let target = format!("/images/json?filters={}", filters(&json!({ filter: ["old"] })));
        let list = cluster.client(0).get(&target).await;
        assert_eq!((list.status, list.header("x-node-answered")), (200, "3/3"), "{}", list.text());
        let images = list.json();
        let mut nodes: Vec<_> = images.as_array().unwrap().iter().map(|image| &image["Portainer"]).collect();
        nodes.dedup();
        let of = |host: &&str| nodes.iter().any(|node| node["Agent"]["NodeName"] == **host);
        let listed: Vec<_> = HOSTS.iter().filter(|host| of(host)).copied().collect();
        assert_eq!(listed, hosts, "{filter}: {}", list.text());
    }
}

#[tokio::test]
async fn only_a_list_of_all_nodes_waits_until_all_are_known() {
    // Without a leader nobody tells the node list.
    let unled = |script: &mut Script| {
        script.swarm.as_ref().unwrap().change(|content| content.has_quorum = false);
    };
    let cluster = Setup::swarm(&HOSTS, 1).script(0, unled).start_only().await;
    let node = &cluster.nodes[1];
    node.snapshot("its Swarm is known, its nodes are not", |c| c.kind == Kind::Swarm && !c.complete).await;
    let listens = async {
        while TcpStream::connect(node.peer_at()).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    soon("it listens for peers", listens).await;
    let peer = identity(CLUSTER_SECRET, "somebody");
    let began = Instant::now();
    for _ in 0..5 {
        let list = as_peer(node, &peer, "/containers/json", &[]).await.unwrap();
        assert_eq!((list.status, list.json().as_array().unwrap().len()), (200, 3));
        let list = cluster.client(1).get_with("/containers/json", &[("X-Node", "node2")]).await;
        assert_eq!((list.status, rows(&list).len()), (200, 3));
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let began = Instant::now();
    let list = cluster.client(1).get("/containers/json").await;
    assert!(began.elapsed() >= Duration::from_secs(1) && list.header("x-node-errors").contains("swarm="));
}
