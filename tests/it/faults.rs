//! Engines that fail: the node is named with the reason, the others' rows come.

use std::time::{Duration, Instant};

use swarmgate::model::Kind;

use crate::support::client::Wire;
use crate::support::cluster::{Cluster, Setup};
use crate::support::engine::answers::{self, Rule};
use crate::support::engine::samples;
use crate::support::soon;

const HOSTS: [&str; 3] = ["node1", "node2", "node3"];

fn encoded() -> Rule {
    Rule::from(|_| async {
        let mut answer = answers::json(200, "[]");
        answer.headers_mut().insert("Content-Encoding", "gzip".parse().unwrap());
        answer
    })
}

#[tokio::test]
async fn a_node_that_answers_badly_is_named_with_the_reason_and_the_others_are_returned() {
    let setup = Setup::fixed(&HOSTS).config(|_, config| config.limits.part_bytes = 1 << 20);
    let cluster = setup.start().await;
    let deep = "[".repeat(100_000);
    let json = |text: &str| answers::respond(200, answers::JSON, text.to_owned());
    let rows = [
        ("malformed", "garbage", answers::garbage()),
        ("malformed", "truncated", answers::truncated(r#"[{"Id":"a"},"#)),
        ("malformed", "half of it", json(r#"[{"Id":"a","Created":1}"#)),
        ("malformed", "an object", json(r#"{"message":1}"#)),
        ("malformed", "a list of numbers", json("[1]")),
        ("malformed", "no number", json(r#"[{"Id":"a","Created":NaN}]"#)),
        ("malformed", "a depth", json(&deep)),
        ("malformed", "no UTF-8", answers::respond(200, answers::JSON, &b"[{\"Id\":\"\xff\"}]"[..])),
        ("malformed", "nothing", json("")),
        ("malformed", "encoded", encoded()),
        ("too-large", "giant", answers::giant(3 << 20)),
        ("too-large", "endless", answers::endless()),
        ("engine", "a 500", answers::respond(500, answers::JSON, r#"{"message":"no"}"#)),
        ("engine", "hung up", Rule::HangUp),
    ];
    let mut seen = 0;
    for (reason, what, rule) in rows {
        for (at, host) in HOSTS.iter().enumerate().take(2) {
            cluster.engine(at).on("/containers/json", rule.clone());
            let list = cluster.client(0).get("/v1.41/containers/json").await;
            assert_eq!(
                (list.status, list.header("x-node-answered")),
                (200, "2/3"),
                "{what} on {host}: {}",
                list.text()
            );
            assert_eq!(list.header("x-node-errors"), format!("{host}={reason}"), "{what}");
            assert_eq!(list.json().as_array().unwrap().len(), 6, "{what} on {host}");
            let strict =
                cluster.client(0).get_with("/v1.41/containers/json", &[("X-Node-Strict", "1")]).await;
            assert_eq!((strict.status, strict.header("x-node-answered")), (503, "2/3"), "{what} on {host}");
            assert!(strict.message().contains(host), "{}", strict.message());
            cluster.engine(at).off("/containers/json");
            seen += 1;
        }
    }
    assert_eq!(seen, 28);
    let list = cluster.client(0).get_with("/containers/json", &[("X-Node-Strict", "1")]).await;
    assert_eq!((list.status, list.header("x-node-answered"), list.header("x-node-errors")), (200, "3/3", ""));
}

#[tokio::test]
async fn the_other_lists_check_their_shape_too() {
    let cluster = Setup::fixed(&HOSTS).start().await;
    for (path, wrong) in [
        ("/volumes", "[]"),
        ("/volumes", r#"{"Volumes":{}}"#),
        ("/networks", r#"{"message":1}"#),
        ("/images/json", "null "),
        ("/info", "[]"),
    ] {
        cluster.engine(1).on(path, answers::respond(200, answers::JSON, wrong));
        let list = cluster.client(0).get_with(path, &[("X-Node-Dialect", "docker")]).await;
        let said = (list.status, list.header("x-node-answered"), list.header("x-node-errors"));
        if wrong == "null " {
            // An engine with nothing to tell says null now and then.
            assert_eq!(said, (200, "3/3", ""), "{path}");
        } else {
            assert_eq!(said, (200, "2/3", "node2=malformed"), "{path} {wrong}");
        }
        cluster.engine(1).off(path);
    }
}

#[tokio::test]
async fn in_dockers_dialect_a_missing_node_is_a_warning_too() {
    let mut cluster = Setup::swarm(&HOSTS, 1).start().await;
    cluster.nodes[1].stop_engine().await;
    for path in ["/info", "/volumes"] {
        let merged = cluster.client(0).get_with(path, &[("X-Node-Dialect", "docker")]).await;
        assert_eq!((merged.status, merged.header("x-node-answered")), (200, "2/3"), "{path}");
        assert_eq!(merged.json()["Warnings"][0], "node2: not included (engine)", "{path}");
    }
}

/// A list of more bytes than the sockets between a client and its agent hold.
fn large() -> Rule {
    let row = format!(
        r#"{{"Id":"a","Created":1700000000,"Names":["/a"],"Labels":{{"a":"{}"}}}}"#,
        "a".repeat(1 << 20)
    );
    answers::respond(200, answers::JSON, format!("[{}]", vec![row; 16].join(",")))
}

/// A client that asks for that list and then reads nothing but the head of the answer; and the length it promises.
async fn slow_reader(cluster: &Cluster) -> (Wire, usize) {
    cluster.engine(0).on("/containers/json", large());
    let mut slow = cluster.client(0).wire().await;
    slow.ask("GET /containers/json?size=1 HTTP/1.1\nHost: a", "").await;
    let head = slow.head().await.to_lowercase();
    assert!(head.contains("x-node-answered: 2/2"), "{head}");
    let (_, length) = head.split_once("content-length: ").unwrap();
    let length = length.split("\r\n").next().unwrap().parse().unwrap();
    assert!(length > 16 << 20);
    cluster.engine(0).off("/containers/json");
    (slow, length)
}

#[tokio::test]
async fn a_list_that_finds_no_memory_in_time_is_told_to_try_again() {
    let setup = Setup::fixed(&["node1", "node2"]).config(|_, config| {
        (config.limits.merge_bytes, config.limits.list) = (1, Duration::from_secs(2));
    });
    let cluster = setup.start().await;
    let (slow, _) = slow_reader(&cluster).await;
    let inspect = format!("/containers/{}/json", samples::id(&samples::node_id("node2"), "container", 0));
    for path in ["/containers/json", "/containers/json?filters=%7B%22since%22%3A%5B%22a%22%5D%7D", &inspect] {
        let refused = cluster.client(0).get(path).await;
        refused.is_json_of_an_agent(503, path);
        assert!(refused.message().starts_with("this agent is busy"), "{path}: {}", refused.message());
        assert_eq!(refused.header("x-node-errors"), "", "no node is to blame");
    }
    // What is not merged needs none of it.
    assert_eq!(cluster.client(0).get_with("/containers/json", &[("X-Node", "node2")]).await.status, 200);
    drop(slow);
    let given_back = async { while cluster.client(0).get("/containers/json").await.status != 200 {} };
    soon("the memory is given back", given_back).await;
}

#[tokio::test]
async fn a_client_that_takes_a_list_in_drips_is_cut_so_that_others_get_theirs() {
    let setup = Setup::fixed(&["node1", "node2"]).config(|_, config| {
        (config.limits.merge_bytes, config.limits.plain_get) = (1, Duration::from_secs(2));
    });
    let cluster = setup.start().await;
    let (mut slow, length) = slow_reader(&cluster).await;
    let list = cluster.client(0).get("/containers/json").await;
    assert_eq!((list.status, list.header("x-node-answered")), (200, "2/2"), "{}", list.text());
    let taken = slow.rest().await.len();
    assert!(taken < length, "{taken} of {length}");
}

#[tokio::test]
async fn what_every_engine_refuses_is_refused_in_the_entry_nodes_words() {
    let cluster = Setup::fixed(&HOSTS).start().await;
    // As 20.10 and 26.1 answer `limit=abc`.
    let words = ["strconv.Atoi: parsing \"abc\"", "strconv.Atoi: parsing \"abc\"", "invalid limit"];
    for ((node, message), status) in cluster.nodes.iter().zip(words).zip([500, 500, 400]) {
        let text = serde_json::json!({ "message": message }).to_string();
        node.engine().on("/containers/json", answers::respond(status, "application/json", text));
    }
    for (at, status) in [(0, 500), (2, 400)] {
        let refused = cluster.client(at).get("/containers/json?limit=abc").await;
        assert_eq!((refused.status, refused.message().as_str()), (status, words[at]));
    }
    // One that is broken in some other way is the node's fault again.
    cluster.nodes[1].engine().on("/containers/json", answers::garbage());
    let refused = cluster.client(0).get("/containers/json?limit=abc").await;
    assert_eq!(refused.status, 502);
    assert!(HOSTS.iter().all(|host| refused.message().contains(host)), "{}", refused.message());
}

#[tokio::test]
async fn when_all_nodes_fail_each_is_named() {
    let cluster = Setup::fixed(&HOSTS).start().await;
    for node in &cluster.nodes {
        node.engine().on("/containers/json", answers::garbage());
    }
    let refused = cluster.client(0).get("/containers/json").await;
    assert_eq!((refused.status, refused.header("content-type")), (502, "application/json"));
    assert!(HOSTS.iter().all(|host| refused.message().contains(host)), "{}", refused.message());
}

#[tokio::test]
async fn an_engine_that_is_gone_costs_its_node_only_and_comes_back_by_itself() {
    let mut cluster = Setup::fixed(&HOSTS).start().await;
    cluster.nodes[1].stop_engine().await;
    for at in 0..3 {
        let list = cluster.client(at).get("/containers/json").await;
        let said = (list.status, list.header("x-node-answered"), list.header("x-node-errors"));
        assert_eq!(said, (200, "2/3", "node2=engine"), "through {at}");
        let named = cluster.client(at).get_with("/version", &[("X-Node", "node2")]).await;
        assert_eq!((named.status, named.header("x-node")), (503, "node2"), "through {at}: {}", named.text());
        assert!(named.message().contains("engine unavailable"), "{}", named.message());
        assert_eq!(named.header("content-type"), "application/json");
    }
    cluster.nodes[1].start_engine();
    for at in 0..3 {
        assert_eq!(cluster.client(at).get("/containers/json").await.header("x-node-answered"), "3/3");
    }
}

#[tokio::test]
async fn an_engine_that_is_not_there_at_the_start_is_waited_for() {
    let mut cluster = Setup::alone("node1").start().await;
    let node = &mut cluster.nodes[0];
    node.kill().await;
    node.stop_engine().await;
    node.start().await;
    assert_eq!(node.client().stranger().get("/ping").await.status, 204);
    let refused = node.client().get("/version").await;
    assert_eq!((refused.status, refused.header("content-type")), (503, "application/json"));
    assert!(refused.message().contains("there is no such socket"), "{}", refused.message());
    assert_eq!(node.client().get("/containers/json").await.status, 503);

    // A socket that nobody listens on.
    drop(std::os::unix::net::UnixListener::bind(&node.socket).unwrap());
    let refused = node.client().get("/version").await;
    assert_eq!(refused.status, 503);
    assert!(refused.message().contains("refused"), "{}", refused.message());

    std::fs::remove_file(&node.socket).unwrap();
    node.start_engine();
    node.snapshot("the engine has said who it is", |c| c.kind == Kind::Standalone).await;
    assert_eq!(node.client().get("/version").await.status, 200);
}

#[tokio::test]
async fn before_the_engine_has_spoken_nobody_is_associated() {
    let mut cluster = Setup::alone("node1").associating().start().await;
    let node = &mut cluster.nodes[0];
    node.kill().await;
    node.stop_engine().await;
    node.start().await;
    let refused = node.client().get("/version").await;
    assert_eq!(refused.status, 503);
    assert!(!refused.message().contains("Invalid request signature"), "{}", refused.message());
}

#[tokio::test]
async fn a_frozen_engine_behind_a_living_agent_is_waited_for_until_the_lists_deadline() {
    let setup = Setup::fixed(&HOSTS).config(|_, config| {
        config.limits.list = std::time::Duration::from_millis(1500);
        config.limits.plain_get = std::time::Duration::from_millis(1500);
    });
    let cluster = setup.start().await;
    cluster.engine(1).on("/containers/json", answers::silent());
    cluster.engine(1).on("/plugins", answers::silent());
    cluster.engine(0).on("/plugins", answers::silent());
    let began = Instant::now();
    let list = cluster.client(0).get("/containers/json").await;
    assert_eq!((list.header("x-node-answered"), list.header("x-node-errors")), ("2/3", "node2=timeout"));
    assert!(began.elapsed() > std::time::Duration::from_millis(1400), "its agent answers probes");
    for host in ["node1", "node2"] {
        let late = cluster.client(0).get_with("/plugins", &[("X-Node", host)]).await;
        assert_eq!((late.status, late.header("content-type")), (504, "application/json"), "{host}");
    }
    // The node is no less reachable for it.
    assert_eq!(cluster.client(0).get_with("/version", &[("X-Node", "node2")]).await.status, 200);
}
