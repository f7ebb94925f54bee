//! A container inspected without a named node is found wherever it is.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::client::Reply;
use crate::support::cluster::{Cluster, Setup};
use crate::support::engine::answers::{self, Rule};
use crate::support::engine::samples;

const HOSTS: [&str; 3] = ["node1", "node2", "node3"];
const MANAGER: (&str, &str) = ("X-PortainerAgent-ManagerOperation", "1");

fn container(host: &str, number: usize) -> String {
    samples::id(&samples::node_id(host), "container", number)
}

fn inspect(id: &str) -> String {
    format!("/containers/{id}/json")
}

/// An engine's answer about a container of its own.
fn object(id: &str, name: &str) -> Rule {
    answers::respond(200, answers::JSON, json!({ "Id": id, "Name": format!("/{name}") }).to_string())
}

/// Nobody is given up on a busy machine, nor passed over.
fn patient(setup: Setup) -> Setup {
    setup.config(|_, config| config.limits.silence = Duration::from_secs(30))
}

/// `node=id` of each candidate.
fn candidates(refused: &Reply) -> Vec<String> {
    let one =
        |c: &Value| format!("{}={}", c["node"].as_str().unwrap(), c["id"].as_str().unwrap_or("several"));
    refused.json()["candidates"].as_array().unwrap().iter().map(one).collect()
}

/// What a snapshot does: it lists all, and inspects each without saying where it is.
async fn every_container_is_found_through_every_agent(cluster: &Cluster) {
    for (at, entry) in HOSTS.iter().enumerate() {
        let client = cluster.client(at);
        let list = client.get("/v1.41/containers/json?all=1").await.json();
        let list = list.as_array().unwrap();
        assert_eq!(list.len(), 9);
        for row in list {
            let id = row["Id"].as_str().unwrap();
            let found = client.get(&format!("/v1.41/containers/{id}/json")).await;
            assert_eq!(found.status, 200, "{id} through {entry}: {}", found.text());
            assert_eq!(found.json()["Id"], id);
            let node = row["Portainer"]["Agent"]["NodeName"].as_str().unwrap();
            assert_eq!((found.header("x-node"), found.header("content-type")), (node, "application/json"));
            assert_eq!((found.header("x-node-answered"), found.header("x-node-errors")), ("", ""));
        }
    }
}

#[tokio::test]
async fn case_46_a_snapshot_of_a_swarm_inspects_every_container_through_any_agent() {
    every_container_is_found_through_every_agent(&Setup::swarm(&HOSTS, 1).start().await).await;
}

#[tokio::test]
async fn so_it_does_where_peers_are_listed_and_there_is_no_swarm() {
    every_container_is_found_through_every_agent(&Setup::fixed(&HOSTS).start().await).await;
}

#[tokio::test]
async fn the_owners_answer_goes_on_as_it_came() {
    let cluster = Setup::swarm(&HOSTS, 1).start().await;
    let id = container("node3", 0);
    let there = [("X-Node", "node3")];
    for target in [inspect(&id), format!("/v1.41{}", inspect(&id)), format!("{}?size=1", inspect(&id))] {
        let named = cluster.client(0).get_with(&target, &there).await;
        let found = cluster.client(0).get(&target).await;
        assert_eq!((found.status, &found.body), (200, &named.body), "{target}");
        for name in ["x-node", "api-version", "server", "ostype", "content-type", "portainer-agent"] {
            assert_eq!(found.header(name), named.header(name), "{name} of {target}");
        }
        assert_eq!(found.header("content-length"), found.body.len().to_string());
        assert!(!found.text().contains("Portainer"), "{}", found.text());
    }
    let seen = cluster.engine(2).seen();
    assert_eq!(
        seen.iter().filter(|seen| seen.target.ends_with("/json?size=1")).count(),
        2,
        "once for each call"
    );
    // By its name and by the beginning of its id too.
    for reference in [samples::name(&samples::node_id("node3"), 1), container("node3", 1)[..12].to_owned()] {
        let found = cluster.client(0).get(&inspect(&reference)).await;
        assert_eq!((found.status, found.header("x-node")), (200, "node3"), "{reference}");
        assert_eq!(found.json()["Id"], container("node3", 1));
    }
}

#[tokio::test]
async fn what_the_own_engine_has_by_its_id_is_asked_of_it_alone_and_once() {
    let cluster = patient(Setup::swarm(&HOSTS, 1)).start().await;
    let path = inspect(&container("node2", 0));
    cluster.forget();
    assert_eq!(cluster.client(1).get(&path).await.header("x-node"), "node2");
    assert_eq!(cluster.asked(&path), ["node2"]);
    let times = |at: usize| cluster.engine(at).seen().iter().filter(|seen| seen.path() == path).count();
    assert_eq!(times(1), 1);
    // Elsewhere it takes all of them, each once.
    cluster.forget();
    assert_eq!(cluster.client(0).get(&path).await.header("x-node"), "node2");
    assert_eq!([0, 1, 2].map(times), [1, 1, 1]);
}

#[tokio::test]
async fn who_is_named_is_asked_alone_and_a_manager_operation_stays_the_managers() {
    let cluster = Setup::swarm(&HOSTS, 1).start().await;
    let path = inspect(&container("node3", 0));
    for (headers, by, status) in [
        (&[MANAGER][..], "node1", 404),
        (&[MANAGER, ("X-PortainerAgent-Target", "node3")], "node1", 404),
        (&[("X-Node", "node2")], "node2", 404),
        (&[("X-PortainerAgent-Target", "node2")], "node2", 404),
        (&[("X-PortainerAgent-Target", "node3")], "node3", 200),
    ] {
        cluster.forget();
        let answer = cluster.client(1).get_with(&path, headers).await;
        assert_eq!((answer.status, answer.header("x-node")), (status, by), "{headers:?}");
        assert_eq!(cluster.asked(&path), [by], "{headers:?}");
    }
}

#[tokio::test]
async fn what_nobody_has_is_missed_in_the_entry_engines_words() {
    for cluster in [Setup::swarm(&HOSTS, 1).start().await, Setup::fixed(&HOSTS).start().await] {
        for (at, host) in HOSTS.iter().enumerate() {
            let text = format!("{{\"message\":\"No such container: nope\",\"by\":\"{host}\"}}\n");
            cluster
                .engine(at)
                .on("/containers/nope/json", answers::respond(404, answers::JSON, text.clone()));
            let missing = cluster.client(at).get("/containers/nope/json").await;
            assert_eq!((missing.status, missing.text(), missing.header("x-node")), (404, text, *host));
            assert_eq!((missing.header("x-node-errors"), missing.header("x-node-ambiguous")), ("", ""));
        }
        // Words of another refusal, quoted in this one.
        let quoted = cluster.client(0).get("/containers/IDs%20found%20with%20provided%20prefix/json").await;
        assert_eq!((quoted.status, quoted.header("x-node")), (404, "node1"), "{}", quoted.text());
        // What is wrong with the request is wrong on all nodes.
        for node in &cluster.nodes {
            node.engine()
                .on("/containers/bad/json", answers::respond(400, answers::JSON, r#"{"message":"bad"}"#));
        }
        let refused = cluster.client(1).get("/containers/bad/json").await;
        assert_eq!(
            (refused.status, refused.message(), refused.header("x-node")),
            (400, "bad".into(), "node2")
        );
    }
}

#[tokio::test]
async fn a_name_on_several_nodes_is_a_conflict_that_names_them() {
    let cluster = Setup::swarm(&HOSTS, 1).start().await;
    let (two, three) = (container("node2", 0), container("node3", 0));
    cluster.engine(1).on("/containers/web/json", object(&two, "web"));
    cluster.engine(2).on("/containers/web/json", object(&three, "web"));
    for at in 0..3 {
        let refused = cluster.client(at).get("/containers/web/json").await;
        assert_eq!((refused.status, refused.header("content-type")), (409, "application/json"));
        assert_eq!(refused.message(), "container web is on node2, node3; name one of them with X-Node");
        assert_eq!(refused.header("x-node-ambiguous"), "node2;node3");
        assert_eq!(candidates(&refused), [format!("node2={two}"), format!("node3={three}")]);
        assert_eq!(refused.json()["candidates"][1]["nodeId"], samples::node_id("node3"));
    }
    let named = cluster.client(0).get_with("/containers/web/json", &[("X-Node", "node3")]).await;
    assert_eq!((named.status, named.json()["Id"].clone()), (200, json!(three)));
}

#[tokio::test]
async fn the_beginning_of_several_ids_is_refused_in_an_engines_words() {
    let cluster = Setup::swarm(&HOSTS, 1).start().await;
    let (one, three) = (format!("abc{}", "1".repeat(61)), format!("abc{}", "3".repeat(61)));
    let path = inspect("abc");
    cluster.engine(0).on(&path, object(&one, "web"));
    cluster.engine(2).on(&path, object(&three, "db"));
    let refused = cluster.client(1).get(&path).await;
    assert_eq!(
        (refused.status, refused.message()),
        (400, "multiple IDs found with provided prefix: abc".into())
    );
    assert_eq!(refused.header("x-node-ambiguous"), "node1;node3");
    assert_eq!(candidates(&refused), [format!("node1={one}"), format!("node3={three}")]);
    // One node can have several itself: its words differ by version.
    cluster.engine(0).off(&path);
    for (status, text) in [
        (400, "multiple IDs found with provided prefix: abc"),
        (500, "Multiple IDs found with provided prefix: abc"),
    ] {
        let text = json!({ "message": text }).to_string();
        cluster.engine(1).on(&path, answers::respond(status, answers::JSON, text.clone()));
        let refused = cluster.client(0).get(&path).await;
        assert_eq!(refused.status, 400);
        assert_eq!(candidates(&refused), ["node2=several".to_owned(), format!("node3={three}")]);
        cluster.engine(2).off(&path);
        let alone = cluster.client(0).get(&path).await;
        assert_eq!((alone.status, alone.text(), alone.header("x-node")), (status, text, "node2"));
        cluster.engine(2).on(&path, object(&three, "db"));
    }
    // A name is more than any of them.
    cluster.engine(0).on(&path, object(&"9".repeat(64), "abc"));
    let found = cluster.client(2).get(&path).await;
    assert_eq!(
        (found.status, found.header("x-node"), found.json()["Name"].clone()),
        (200, "node1", json!("/abc"))
    );
}

#[tokio::test]
async fn one_id_on_two_nodes_is_a_conflict_and_beats_every_name() {
    let cluster = patient(Setup::swarm(&HOSTS, 1)).start().await;
    let id = "5".repeat(64);
    cluster.engine(1).on(&inspect(&id), object(&id, "web"));
    cluster.engine(0).on(&inspect(&id), object(&"6".repeat(64), &id));
    let found = cluster.client(0).get(&inspect(&id)).await;
    assert_eq!((found.status, found.header("x-node")), (200, "node2"), "{}", found.text());
    cluster.engine(2).on(&inspect(&id), object(&id, "copy"));
    let refused = cluster.client(0).get(&inspect(&id)).await;
    assert_eq!((refused.status, refused.header("x-node-ambiguous")), (409, "node2;node3"));
    assert_eq!(candidates(&refused), [format!("node2={id}"), format!("node3={id}")]);
    // Who has it itself means its own.
    assert_eq!(cluster.client(2).get(&inspect(&id)).await.header("x-node"), "node3");
}

#[tokio::test]
async fn what_is_not_found_while_a_node_is_missing_is_not_said_to_be_gone() {
    let mut cluster = Setup::swarm(&HOSTS, 1).start().await;
    let gone = container("node3", 0);
    cluster.nodes[2].stop_engine().await;
    for at in 0..2 {
        let refused = cluster.client(at).get(&inspect(&gone)).await;
        assert_eq!((refused.status, refused.header("content-type")), (503, "application/json"));
        assert!(
            refused.message().starts_with(&format!("No such container: {gone}")),
            "{}",
            refused.message()
        );
        assert!(refused.message().contains("node3 (engine)"), "{}", refused.message());
        let said = (refused.header("x-node-answered"), refused.header("x-node-errors"));
        assert_eq!(said, ("2/3", "node3=engine"));
    }
    // Through the node itself, whose engine is gone, the others are asked all the same.
    let found = cluster.client(2).get(&inspect(&container("node1", 0))).await;
    assert_eq!((found.status, found.header("x-node")), (200, "node1"));
    let by_name = cluster.client(2).get(&inspect(&samples::name(&samples::node_id("node2"), 2))).await;
    assert_eq!((by_name.status, by_name.header("x-node")), (200, "node2"));
    let refused = cluster.client(2).get(&inspect(&gone)).await;
    assert_eq!((refused.status, refused.header("x-node-errors")), (503, "node3=engine"));
    // A node whose agent is gone.
    cluster.nodes[2].kill().await;
    cluster.nodes[0].thinks("node3", "is missing", |m| !m.is_reachable()).await;
    let refused = cluster.client(0).get(&inspect(&gone)).await;
    assert_eq!((refused.status, refused.header("x-node-errors")), (503, "node3=refused"));
    assert!(refused.message().starts_with(&format!("No such container: {gone}")), "{}", refused.message());
}

#[tokio::test]
async fn a_bad_answer_is_none() {
    let cluster =
        Setup::swarm(&HOSTS, 1).config(|_, config| config.limits.part_bytes = 1 << 20).start().await;
    let json = |status, text: &str| answers::respond(status, answers::JSON, text.to_owned());
    let rows = [
        ("malformed", answers::garbage()),
        ("malformed", answers::truncated(r#"{"Id":"web""#)),
        ("malformed", json(200, "[]")),
        ("malformed", json(200, r#"{"Name":"/web"}"#)),
        ("malformed", json(200, r#"{"Id":"web","Name":"#)),
        ("too-large", answers::giant(3 << 20)),
        ("too-large", answers::endless()),
        ("engine", json(500, r#"{"message":"no"}"#)),
        ("engine", json(403, r#"{"message":"a plugin denies"}"#)),
        ("engine", Rule::HangUp),
    ];
    let mut seen = 0;
    for (reason, rule) in rows {
        for (at, host) in HOSTS.iter().enumerate().take(2) {
            cluster.engine(at).on("/containers/web/json", rule.clone());
            let refused = cluster.client(0).get("/containers/web/json").await;
            let said = (refused.status, refused.header("x-node-errors").to_owned());
            assert_eq!(said, (503, format!("{host}={reason}")), "{}", refused.text());
            assert!(refused.message().starts_with("No such container: web"), "{}", refused.message());
            cluster.engine(2).on("/containers/web/json", object(&container("node3", 0), "web"));
            let found = cluster.client(0).get("/containers/web/json").await;
            assert_eq!((found.status, found.header("x-node")), (200, "node3"), "{reason} on {host}");
            cluster.engine(at).off("/containers/web/json");
            cluster.engine(2).off("/containers/web/json");
            seen += 1;
        }
    }
    assert_eq!(seen, 20);
}

#[tokio::test]
async fn a_silent_node_costs_about_a_second_once_and_is_named() {
    let setup = Setup::fixed(&HOSTS).relayed().config(|_, config| {
        config.limits.probe = Duration::from_millis(600);
        config.limits.probe_answering = Duration::from_secs(60);
    });
    let cluster = setup.start().await;
    let gone = inspect(&container("node3", 0));
    assert_eq!(cluster.client(0).get(&gone).await.header("x-node"), "node3");
    cluster.nodes[2].relay.as_ref().unwrap().hang();
    let began = Instant::now();
    let refused = cluster.client(0).get(&gone).await;
    assert_eq!((refused.status, refused.header("x-node-errors")), (503, "node3=unreachable"));
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    cluster.nodes[0].thinks("node3", "is missing", |m| !m.is_reachable()).await;
    let began = Instant::now();
    for _ in 0..5 {
        assert_eq!(cluster.client(0).get(&gone).await.header("x-node-errors"), "node3=unreachable");
    }
    assert!(began.elapsed() < Duration::from_secs(2), "it is not waited for again: {:?}", began.elapsed());
}

#[tokio::test]
async fn an_engine_that_hangs_holds_up_nobody_who_has_it_by_its_id() {
    let cluster = Setup::swarm(&HOSTS, 1).start().await;
    let path = inspect(&container("node2", 0));
    // The entry's own engine, and another's behind a living agent; a list's deadline is 30 s here.
    for at in [0, 2] {
        cluster.engine(at).on("/containers/*", answers::silent());
    }
    let began = Instant::now();
    let found = cluster.client(0).get(&path).await;
    assert_eq!((found.status, found.header("x-node")), (200, "node2"));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test]
async fn sizes_have_the_longer_deadline() {
    let setup = Setup::swarm(&HOSTS, 1).config(|_, config| {
        (config.limits.list, config.limits.list_sizes) =
            (Duration::from_millis(1500), Duration::from_secs(60));
    });
    let cluster = setup.start().await;
    let id = container("node3", 0);
    let (started, inside) = tokio::sync::oneshot::channel();
    let (release, released) = tokio::sync::oneshot::channel();
    cluster.engine(2).on(&inspect(&id), answers::hold(started, released));
    let client = cluster.client(0);
    let target = format!("{}?size=1", inspect(&id));
    let call = client.get(&target);
    let later = async {
        crate::support::soon("the engine computes", inside).await.unwrap();
        // Without sizes the same engine is given up meanwhile.
        cluster.engine(2).on("/containers/slow/json", answers::silent());
        let refused = cluster.client(0).get("/containers/slow/json").await;
        assert_eq!((refused.status, refused.header("x-node-errors")), (503, "node3=timeout"));
        release.send(()).unwrap();
    };
    let (found, ()) = futures_util::future::join(call, later).await;
    assert_eq!((found.status, found.header("x-node")), (200, "node3"), "{}", found.text());
}

#[tokio::test]
async fn a_version_that_the_owner_does_not_have_is_brought_into_its_range() {
    let setup = Setup::fixed(&HOSTS).script(2, |script| script.api = 44..=52);
    let cluster = setup.start().await;
    for (host, asked, changed) in
        [("node3", "/v1.41", "1.44"), ("node3", "", ""), ("node1", "/v1.45", "1.41")]
    {
        let target = format!("{asked}{}", inspect(&container(host, 0)));
        let found = cluster.client(1).get(&target).await;
        let said = (found.status, found.header("x-node"), found.header("x-node-api-version"));
        assert_eq!(said, (200, host, changed), "{target}: {}", found.text());
    }
    // Without a version none is added.
    let seen = cluster.engine(2).seen();
    assert!(seen.iter().any(|seen| seen.target == inspect(&container("node3", 0))));
}

#[tokio::test]
async fn standing_alone_the_engine_answers_as_ever() {
    let cluster = Setup::alone("solo").start().await;
    let id = container("solo", 0);
    cluster.forget();
    for path in [inspect(&id), inspect("nope")] {
        let answer = cluster.client(0).get(&path).await;
        let status = if path.contains("nope") { 404 } else { 200 };
        assert_eq!((answer.status, answer.header("x-node")), (status, "solo"));
        assert_eq!(cluster.engine(0).seen().iter().filter(|seen| seen.path() == path).count(), 1);
    }
}

#[tokio::test]
async fn a_network_of_the_swarm_that_a_workers_engine_does_not_know_is_a_managers() {
    let cluster = Setup::swarm(&HOSTS, 1).start().await;
    let network = |scope: &str| json!({ "Id": "n".repeat(25), "Name": "shop", "Scope": scope }).to_string();
    let unknown = || answers::respond(404, answers::JSON, "{\"message\":\"network shop not found\"}\n");
    let gone = || Rule::from(|_| std::future::ready(answers::empty(204)));
    let by_id = format!("/networks/{}", "n".repeat(25));
    cluster.engine(1).on("/networks/shop", unknown());
    cluster.engine(0).on("GET /networks/shop", answers::respond(200, answers::JSON, network("swarm")));
    cluster.engine(0).on(&format!("DELETE {by_id}"), gone());
    let worker = cluster.client(1);
    let found = worker.get("/v1.41/networks/shop?verbose=true").await;
    assert_eq!((found.status, found.text(), found.header("x-node")), (200, network("swarm"), "node1"));
    assert_eq!(
        cluster.engine(0).saw("/networks/shop").await.target,
        "/v1.41/networks/shop?verbose=true&scope=swarm"
    );
    // What the worker's engine says depends on its version, and on whether anything there uses it.
    for refusal in [404, 403, 503] {
        let refused = answers::respond(refusal, answers::JSON, r#"{"message":"no"}"#);
        cluster.engine(1).on("DELETE /networks/shop", refused);
        if refusal != 404 {
            cluster
                .engine(1)
                .on("GET /networks/shop", answers::respond(200, answers::JSON, network("swarm")));
        }
        cluster.forget();
        let removed = worker.call("DELETE", "/v1.41/networks/shop", &[], "").await;
        assert_eq!(
            (removed.status, removed.header("x-node")),
            (204, "node1"),
            "{refusal}: {}",
            removed.text()
        );
        assert_eq!(cluster.engine(0).saw(&by_id).await.target, format!("/v1.41{by_id}"));
    }
    // A local network that is in use there is not the manager's of that name.
    cluster.engine(1).on("GET /networks/shop", answers::respond(200, answers::JSON, network("local")));
    cluster.forget();
    let refused = worker.call("DELETE", "/networks/shop", &[], "").await;
    assert_eq!((refused.status, refused.header("x-node")), (503, "node2"));
    assert_eq!(cluster.asked(&by_id), [""; 0]);
    // Nor is a manager's local one what a worker misses.
    cluster.engine(1).on("/networks/shop", unknown());
    cluster.engine(0).on("GET /networks/shop", answers::respond(200, answers::JSON, network("local")));
    for method in ["GET", "DELETE"] {
        let missing = worker.call(method, "/networks/shop", &[], "").await;
        assert_eq!((missing.status, missing.header("x-node")), (404, "node2"), "{method}");
        assert_eq!(missing.message(), "network shop not found");
    }
}

#[tokio::test]
async fn a_network_that_a_worker_does_not_know_is_not_said_to_be_gone_while_no_manager_was_heard() {
    let mut cluster = Setup::swarm(&HOSTS, 1).start().await;
    let unknown = answers::respond(404, answers::JSON, "{\"message\":\"network shop not found\"}\n");
    cluster.engine(1).on("/networks/shop", unknown);
    let check = async |cluster: &Cluster, reason: &str| {
        for method in ["GET", "DELETE"] {
            let refused = cluster.client(1).call(method, "/networks/shop", &[], "").await;
            let said = (refused.status, refused.header("content-type"), refused.header("x-node-errors"));
            assert_eq!(said, (503, answers::JSON, &*format!("node1={reason}")), "{}", refused.text());
            let message = refused.message();
            assert!(message.starts_with("No such network: shop"), "{message}");
            assert!(message.contains(&format!("node1 ({reason})")), "{message}");
        }
    };
    for (reason, rule) in [
        ("engine", Rule::HangUp),
        ("engine", answers::respond(503, answers::JSON, r#"{"message":"no leader"}"#)),
        ("malformed", answers::garbage()),
        ("malformed", answers::truncated(r#"{"Id":"a","Scope":"swarm""#)),
    ] {
        cluster.engine(0).on("GET /networks/shop", rule);
        check(&cluster, reason).await;
    }
    cluster.engine(0).off("GET /networks/shop");
    let missing = cluster.client(1).get("/networks/shop").await;
    assert_eq!((missing.status, missing.message()), (404, "network shop not found".to_owned()));
    cluster.nodes[0].stop_engine().await;
    check(&cluster, "engine").await;
    // No manager that could be asked.
    cluster.nodes[0].kill().await;
    cluster.nodes[1].thinks("node1", "is missing", |m| !m.is_reachable()).await;
    check(&cluster, "refused").await;
    // What is there is there, and who is named has the only word.
    assert_eq!(cluster.client(1).get("/networks/bridge").await.status, 200);
    let named = cluster.client(1).get_with("/networks/shop", &[("X-Node", "node2")]).await;
    assert_eq!((named.status, named.message()), (404, "network shop not found".to_owned()));
}

#[tokio::test]
async fn a_network_is_not_said_to_be_gone_by_a_manager_that_does_not_see_the_swarm() {
    let cluster = Setup::swarm(&HOSTS, 1).start().await;
    // What an engine says of a network of the Swarm that it does not see: a worker's, or a manager's without a leader.
    let unknown = || answers::respond(404, answers::JSON, "{\"message\":\"network shop not found\"}\n");
    cluster.engine(0).on("GET /networks/shop", unknown());
    cluster.engine(1).on("/networks/shop", unknown());
    for words in ["This node is not a swarm manager. Worker nodes can't", "The swarm does not have a leader."]
    {
        let text = json!({ "message": words }).to_string();
        cluster.engine(0).on("/swarm", answers::respond(503, answers::JSON, text));
        for method in ["GET", "DELETE"] {
            let refused = cluster.client(1).call(method, "/networks/shop", &[], "").await;
            let said = (refused.status, refused.header("x-node-errors"));
            assert_eq!(said, (503, "node1=engine"), "{method}, {words}: {}", refused.text());
            assert!(refused.message().starts_with("No such network: shop"), "{}", refused.message());
        }
    }
    cluster.engine(0).off("/swarm");
    for method in ["GET", "DELETE"] {
        let missing = cluster.client(1).call(method, "/v1.41/networks/shop", &[], "").await;
        assert_eq!(
            (missing.status, missing.message()),
            (404, "network shop not found".to_owned()),
            "{method}"
        );
    }
}
