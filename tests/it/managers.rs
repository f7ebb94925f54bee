//! What only a manager of the Swarm can do, from whichever node it is asked.

use http_body_util::BodyExt;
use serde_json::json;

use crate::support::client::whole;
use crate::support::cluster::Setup;
use crate::support::engine::{Seen, answers, samples};
use crate::support::soon;

const HOSTS: [&str; 3] = ["node1", "node2", "node3"];
const MANAGER: (&str, &str) = ("X-PortainerAgent-ManagerOperation", "1");

#[tokio::test]
async fn case_39_a_managers_routes_work_through_a_worker() {
    let cluster = Setup::swarm(&HOSTS, 1).start().await;
    cluster.forget();
    for path in ["/services", "/tasks", "/nodes", "/swarm", "/secrets", "/configs", "/v1.41/nodes/node2"] {
        for header in
            [("User-Agent", "any"), ("X-PortainerAgent-Target", "node2"), ("X-PortainerAgent-Target", "nope")]
        {
            let answer = cluster.client(2).get_with(path, &[header]).await;
            answer.is_json_of_an_agent(200, path);
            assert_eq!(answer.header("x-node"), "node1", "{path}: {}", answer.text());
        }
    }
    assert_eq!(cluster.client(2).get("/nodes").await.json().as_array().unwrap().len(), 3);
    for path in ["/services", "/tasks", "/nodes", "/swarm", "/secrets", "/configs"] {
        assert_eq!(cluster.asked(path), ["node1"], "{path}");
    }
}

#[tokio::test]
async fn a_manager_asks_itself_and_a_worker_the_leader() {
    let cluster = Setup::swarm(&HOSTS, 2).start().await;
    let by: Vec<_> = futures_util::future::join_all(
        (0..3).map(async |at| cluster.client(at).get("/services").await.header("x-node").to_owned()),
    )
    .await;
    assert_eq!(by, ["node1", "node2", "node1"]);
}

#[tokio::test]
async fn a_manager_operation_lands_on_the_designated_manager_from_every_node() {
    let cluster = Setup::swarm(&HOSTS, 2).start().await;
    for at in 0..3 {
        cluster.forget();
        for path in
            ["/containers/json", "/v1.41/images/json", "/volumes", "/networks", "/version", "/plugins"]
        {
            let answer = cluster.client(at).get_with(path, &[MANAGER]).await;
            assert_eq!((answer.header("x-node"), answer.header("x-node-answered")), ("node1", ""), "{path}");
            assert!(!answer.text().contains("Portainer"), "{path}: one engine's own list");
        }
        assert_eq!(cluster.asked("/containers/json"), ["node1"]);
        let made = cluster.client(at).call("POST", "/volumes/create", &[MANAGER], "{}").await;
        assert_eq!((made.status, made.header("x-node")), (200, "node1"));
        // It beats what the browser remembers.
        let both = [MANAGER, ("X-PortainerAgent-Target", "node3")];
        assert_eq!(cluster.client(at).get_with("/version", &both).await.header("x-node"), "node1");
    }
}

/// What the `docker stack` and `docker compose` of a Portainer server send, each with the status of the one manager.
fn calls_of_stack_and_compose() -> Vec<(&'static str, String, &'static str, u16)> {
    let id = samples::id(&samples::node_id("node1"), "container", 0);
    let of = |rest: &str| format!("/v1.41/containers/{id}{rest}");
    let labelled = "filters=%7B%22label%22%3A%7B%22com.docker.compose.project%3Dshop%22%3Atrue%7D%7D";
    let overlay = r#"{"Name":"shop_default","Driver":"overlay"}"#;
    let bridge = r#"{"Name":"shop_default","Driver":"bridge"}"#;
    vec![
        ("HEAD", "/_ping".into(), "", 200),
        ("GET", "/v1.41/info".into(), "", 200),
        ("GET", format!("/v1.41/containers/json?all=1&{labelled}"), "", 200),
        ("GET", format!("/v1.41/networks?{labelled}"), "", 200),
        ("GET", format!("/v1.41/volumes?{labelled}"), "", 200),
        ("GET", "/v1.41/images/busybox:latest/json".into(), "", 404),
        ("POST", "/v1.41/images/create?fromImage=busybox&tag=latest".into(), "", 200),
        ("POST", "/v1.41/networks/create".into(), overlay, 201),
        ("POST", "/v1.41/networks/create".into(), bridge, 201),
        ("GET", "/v1.41/networks/shop_default".into(), "", 200),
        ("POST", "/v1.41/volumes/create".into(), r#"{"Name":"shop_data"}"#, 200),
        ("POST", "/v1.41/containers/create?name=shop-web-1".into(), r#"{"Image":"busybox"}"#, 201),
        ("POST", of("/start"), "", 204),
        ("GET", of("/json"), "", 200),
        ("GET", of("/logs?stdout=1"), "", 200),
        ("POST", of("/exec"), r#"{"Cmd":["sh"]}"#, 201),
        ("POST", of("/stop"), "", 204),
        ("DELETE", of("?force=1"), "", 204),
        ("DELETE", "/v1.41/networks/shop_default".into(), "", 204),
        ("GET", "/v1.41/services".into(), "", 200),
        ("POST", "/v1.41/configs/create".into(), r#"{"Name":"shop"}"#, 201),
        ("DELETE", "/v1.41/configs/shop".into(), "", 204),
    ]
}

#[tokio::test]
async fn what_stack_and_compose_do_they_do_on_one_manager_through_whichever_agent() {
    let cluster = Setup::swarm(&HOSTS, 2).start().await;
    let mut seen = 0;
    for (at, entry) in HOSTS.iter().enumerate() {
        for (method, target, body, status) in calls_of_stack_and_compose() {
            // Only the leader is designated: another manager, asked without the header, would do it itself.
            let path = target.trim_start_matches("/v1.41").split('?').next().unwrap().to_owned();
            let is_it = |s: &&Seen| s.target == target && s.method.as_str() == method;
            cluster.forget();
            let answer = cluster.client(at).call(method, &target, &[MANAGER], body).await;
            let said = (answer.status, answer.header("x-node"), answer.header("x-node-answered"));
            let plain = ["/services", "/configs"].iter().any(|start| path.starts_with(start));
            // What any manager serves, a manager's own agent serves itself.
            let by = if plain && at == 1 { "node2" } else { "node1" };
            assert_eq!(said, (status, by, ""), "{method} {target} through {entry}: {}", answer.text());
            let times: Vec<_> =
                cluster.nodes.iter().map(|node| node.engine().seen().iter().filter(is_it).count()).collect();
            let wanted = if by == "node2" { [0, 1, 0] } else { [1, 0, 0] };
            assert_eq!(times, wanted, "{method} {target} through {entry}");
            if !body.is_empty() {
                let engine = cluster.engine(usize::from(by == "node2"));
                let got = engine.seen().into_iter().find(|s| is_it(&s)).unwrap();
                assert_eq!(got.body(), body.as_bytes(), "{target}");
            }
            seen += 1;
        }
    }
    assert_eq!(seen, 66);
}

#[tokio::test]
async fn a_config_made_through_a_worker_is_made_once() {
    let cluster = Setup::swarm(&HOSTS, 1).start().await;
    let body = r#"{"Name":"settings","Data":"YQ=="}"#;
    // The association has made its own config by then.
    let made = cluster.client(2).call("POST", "/v1.41/configs/create?mine", &[], body).await;
    assert_eq!((made.status, made.header("x-node")), (201, "node1"));
    let seen = cluster.engine(0).seen();
    let mine: Vec<_> = seen.iter().filter(|seen| seen.target.ends_with("?mine")).collect();
    assert_eq!((mine.len(), mine[0].body()), (1, body.as_bytes().to_vec()));
    let again = cluster.client(1).call("POST", "/v1.41/configs/create", &[], body).await;
    assert_eq!(again.status, 409, "{}", again.text());
}

const NO_MANAGER: &str =
    "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state.";

#[tokio::test]
async fn a_manager_that_was_demoted_unnoticed_is_replaced_and_the_body_sent_whole_again() {
    let cluster = Setup::swarm(&HOSTS, 2).start().await;
    // The engine says it of these routes only, so that no snapshot tells.
    let demoted = || answers::respond(503, answers::JSON, json!({ "message": NO_MANAGER }).to_string());
    for path in ["/services", "/services/create"] {
        cluster.engine(0).on(path, demoted());
    }
    cluster.engine(1).on("/services/create", |request: http::Request<answers::Recorded>| async {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        answers::json(201, body)
    });
    let body = format!("{{\"Name\":\"{}\"}}", "x".repeat(300_000));
    for at in [0, 2] {
        cluster.forget();
        let list = cluster.client(at).get("/services").await;
        assert_eq!((list.status, list.header("x-node")), (200, "node2"), "through {}", HOSTS[at]);
        let made = cluster.client(at).call("POST", "/services/create", &[], body.clone()).await;
        assert_eq!((made.status, made.text()), (201, body.clone()));
        assert_eq!(cluster.asked("/services/create"), ["node1", "node2"], "each once");
        let times =
            |at: usize| cluster.engine(at).seen().iter().filter(|s| s.path() == "/services/create").count();
        assert_eq!((times(0), times(1)), (1, 1));
    }
}

#[tokio::test]
async fn when_nobody_is_a_manager_any_more_the_engine_has_the_last_word() {
    let cluster = Setup::swarm(&HOSTS, 2).start().await;
    for at in [0, 1] {
        cluster.engine(at).on(
            "/services",
            answers::respond(503, answers::JSON, json!({ "message": NO_MANAGER }).to_string()),
        );
    }
    let refused = cluster.client(2).get("/services").await;
    assert_eq!(refused.status, 503);
    assert!(refused.message().starts_with("This node is not a swarm manager."), "{}", refused.message());
}

#[tokio::test]
async fn another_503_of_a_manager_passes_unchanged_and_is_not_repeated() {
    let cluster = Setup::swarm(&HOSTS, 2).start().await;
    let text = "{\"message\":\"The swarm does not have a leader.\"}\n";
    cluster.engine(0).on("/services", answers::respond(503, answers::JSON, text));
    let refused = cluster.client(2).get("/services").await;
    assert_eq!((refused.status, refused.text(), refused.header("x-node")), (503, text.to_owned(), "node1"));
    assert_eq!(cluster.asked("/services"), ["node1"]);
}

#[tokio::test]
async fn a_manager_whose_agent_just_died_is_replaced_by_another() {
    let mut cluster = Setup::swarm(&HOSTS, 2).start().await;
    cluster.nodes[0].kill().await;
    let made =
        cluster.client(2).call("POST", "/v1.41/configs/create", &[], r#"{"Name":"a","Data":""}"#).await;
    assert_eq!((made.status, made.header("x-node")), (201, "node2"), "{}", made.text());
}

#[tokio::test]
async fn a_manager_whose_engine_is_gone_leaves_its_work_to_another() {
    let mut cluster = Setup::swarm(&HOSTS, 2).start().await;
    cluster.nodes[0].stop_engine().await;
    for (at, entry) in HOSTS.iter().enumerate() {
        let client = cluster.client(at);
        cluster.engine(1).forget();
        for (path, headers) in [("/services", &[][..]), ("/version", &[MANAGER]), ("/info", &[])] {
            let answer = client.get_with(path, headers).await;
            let said = (answer.status, answer.header("x-node"));
            assert_eq!(said, (200, "node2"), "{path} through {entry}: {}", answer.text());
        }
        let body = r#"{"Name":"shop"}"#;
        for (path, headers) in [("/services/create", &[][..]), ("/containers/create", &[MANAGER])] {
            let made = client.call("POST", path, headers, body).await;
            let said = (made.status, made.header("x-node"));
            assert_eq!(said, (201, "node2"), "{path} through {entry}: {}", made.text());
            let seen = cluster.engine(1).seen();
            let bodies: Vec<_> = seen.iter().filter(|s| s.path() == path).map(Seen::body).collect();
            assert_eq!(bodies, [body.as_bytes()], "{path} through {entry}");
        }
        let overlay = r#"{"Name":"n","Driver":"overlay"}"#;
        let made = client.call("POST", "/networks/create", &[], overlay).await;
        assert_eq!((made.status, made.header("x-node")), (201, "node2"), "{}", made.text());
        // Who is named is meant.
        let named = client.get_with("/services", &[("X-Node", "node1")]).await;
        assert_eq!((named.status, named.header("x-node")), (503, "node1"), "through {entry}");
        assert!(named.message().contains("engine unavailable"), "{}", named.message());
    }
    cluster.nodes[1].stop_engine().await;
    for at in 0..3 {
        let refused = cluster.client(at).get("/services").await;
        assert_eq!(refused.status, 503, "{}", refused.text());
        assert!(refused.message().contains("engine unavailable"), "{}", refused.message());
    }
}

#[tokio::test]
async fn who_leads_is_asked_of_other_managers_while_the_own_engine_is_gone() {
    let mut cluster = Setup::swarm(&HOSTS, 3).start().await;
    cluster.nodes[0].stop_engine().await;
    cluster.swarm().change_node("node1", |node| node.is_leader = false);
    cluster.swarm().change_node("node3", |node| node.is_leader = true);
    cluster.nodes[0].thinks("node3", "leads", |m| m.leader).await;
    cluster.nodes[0].thinks("node1", "does not lead", |m| !m.leader).await;
    assert_eq!(cluster.client(0).get_with("/version", &[MANAGER]).await.header("x-node"), "node3");
}

#[tokio::test]
async fn a_manager_that_was_demoted_unnoticed_and_refuses_an_overlay_is_replaced() {
    let cluster = Setup::swarm(&HOSTS, 2).start().await;
    let refusal =
        |status, text: &str| answers::respond(status, answers::JSON, json!({ "message": text }).to_string());
    let body = r#"{"Name":"n","Driver":"overlay"}"#;
    for (status, text) in [
        (
            403,
            "Cannot create a multi-host network from a worker node. Please create the network from a manager node.",
        ),
        (503, NO_MANAGER),
    ] {
        cluster.engine(0).on("/networks/create", refusal(status, text));
        for at in [0, 2] {
            cluster.forget();
            let made = cluster.client(at).call("POST", "/networks/create", &[], body).await;
            assert_eq!((made.status, made.header("x-node")), (201, "node2"), "{text}: {}", made.text());
            assert_eq!(cluster.asked("/networks/create"), ["node1", "node2"], "through {}", HOSTS[at]);
            assert_eq!(cluster.engine(1).saw("/networks/create").await.body(), body.as_bytes());
        }
        // Who is named has the only word, and the last one where there is no other manager.
        let named = cluster.client(2).call("POST", "/networks/create", &[("X-Node", "node1")], body).await;
        assert_eq!(
            (named.status, named.message(), named.header("x-node")),
            (status, text.to_owned(), "node1")
        );
        cluster.engine(1).on("/networks/create", refusal(status, text));
        let refused = cluster.client(2).call("POST", "/networks/create", &[], body).await;
        assert_eq!(
            (refused.status, refused.message(), refused.header("x-node")),
            (status, text.to_owned(), "node2")
        );
        cluster.engine(1).off("/networks/create");
    }
    cluster.engine(0).on("/networks/create", refusal(403, "a plugin denies"));
    cluster.forget();
    let refused = cluster.client(2).call("POST", "/networks/create", &[], body).await;
    assert_eq!((refused.status, refused.message()), (403, "a plugin denies".to_owned()));
    assert_eq!(cluster.asked("/networks/create"), ["node1"]);
}

#[tokio::test]
async fn promoted_and_demoted_nodes_are_followed() {
    let cluster = Setup::swarm(&HOSTS, 1).start().await;
    cluster.swarm().change_node("node3", |node| node.is_manager = true);
    for node in &cluster.nodes {
        node.thinks("node3", "was promoted", |m| m.is_manager()).await;
    }
    assert_eq!(cluster.client(2).get("/services").await.header("x-node"), "node3");
    cluster.swarm().change_node("node3", |node| node.is_leader = true);
    cluster.swarm().change_node("node1", |node| (node.is_manager, node.is_leader) = (false, false));
    for node in &cluster.nodes {
        node.thinks("node1", "was demoted", |m| !m.is_manager()).await;
        node.thinks("node3", "leads", |m| m.leader).await;
    }
    for at in 0..3 {
        assert_eq!(cluster.client(at).get("/services").await.header("x-node"), "node3");
    }
}

#[tokio::test]
async fn an_overlay_network_is_made_by_a_manager_and_any_other_where_it_was_asked() {
    let cluster = Setup::swarm(&HOSTS, 1).start().await;
    for (body, by) in [
        (r#"{"Name":"n","Driver":"overlay","Attachable":true}"#, "node1"),
        (r#"{"Name":"n","Scope":"swarm"}"#, "node1"),
        (r#"{"Name":"n","Driver":"bridge"}"#, "node3"),
        ("", "node3"),
    ] {
        cluster.forget();
        let made = cluster.client(2).call("POST", "/v1.41/networks/create", &[], body).await;
        assert_eq!((made.status, made.header("x-node")), (201, by), "{body}: {}", made.text());
        assert_eq!(cluster.asked("/networks/create"), [by]);
        let engine = &cluster.nodes.iter().find(|node| node.script.host == by).unwrap();
        assert_eq!(engine.engine().saw("/networks/create").await.body(), body.as_bytes());
    }
    // With a target it goes there, whatever it says.
    let named = cluster
        .client(2)
        .call("POST", "/networks/create", &[("X-Node", "node2")], r#"{"Driver":"overlay"}"#)
        .await;
    assert_eq!((named.status, named.header("x-node")), (403, "node2"));
    let large = format!("{{\"Name\":\"{}\"}}", "x".repeat(4 << 20));
    let refused = cluster.client(2).call("POST", "/networks/create", &[], large).await;
    assert_eq!((refused.status, refused.header("content-type")), (413, "application/json"));
}

#[tokio::test]
async fn without_a_swarm_there_is_no_manager_and_the_engine_says_so() {
    let cluster = Setup::fixed(&HOSTS).start().await;
    for headers in [&[MANAGER][..], &[]] {
        let refused = cluster.client(1).get_with("/services", headers).await;
        assert_eq!((refused.status, refused.header("x-node")), (503, "node2"));
    }
    assert_eq!(cluster.client(1).get_with("/containers/json", &[MANAGER]).await.header("x-node"), "node2");
}

#[tokio::test]
async fn without_any_manager_in_reach_the_refusal_is_the_engines() {
    let mut cluster = Setup::swarm(&HOSTS, 1).start().await;
    cluster.nodes[0].kill().await;
    cluster.nodes[2].thinks("node1", "is missing", |m| !m.is_reachable()).await;
    let refused = cluster.client(2).get("/services").await;
    assert_eq!((refused.status, refused.header("content-type")), (503, "application/json"));
    assert!(refused.message().starts_with("This node is not a swarm manager."), "{}", refused.message());
    // What is local is served as ever.
    assert_eq!(cluster.client(2).get("/version").await.status, 200);
}

#[tokio::test]
async fn a_config_as_large_as_a_swarm_takes_is_sent_whole_to_a_second_manager() {
    let mut cluster = Setup::swarm(&HOSTS, 2).start().await;
    cluster.nodes[0].stop_engine().await;
    // 1000 KB, as base64.
    let body = format!("{{\"Name\":\"large\",\"Data\":\"{}\"}}", "A".repeat(1_000 * 1024 * 4 / 3));
    let made = cluster.client(2).call("POST", "/configs/create?large", &[], body.clone()).await;
    assert_eq!((made.status, made.header("x-node")), (201, "node2"), "{}", made.text());
    let seen = cluster.engine(1).seen();
    let lengths: Vec<_> =
        seen.iter().filter(|s| s.target.ends_with("?large")).map(Seen::body_length).collect();
    assert_eq!(lengths, [body.len() as u64]);
}

#[tokio::test]
async fn a_refusal_that_is_no_sentence_arrives_whole_and_one_that_breaks_off_does_not_end_cleanly() {
    let cluster = Setup::swarm(&HOSTS, 2).start().await;
    for size in [10, 16 << 10, 100_000] {
        let text = json!({ "message": "x".repeat(size) }).to_string();
        cluster.engine(0).on("/services", answers::respond(503, answers::JSON, text.clone()));
        for at in [0, 2] {
            let refused = cluster.client(at).get("/services").await;
            assert_eq!((refused.status, refused.text() == text), (503, true), "{size} through {}", HOSTS[at]);
            assert_eq!(refused.header("content-length"), text.len().to_string());
        }
        cluster.engine(0).on("/services", answers::truncated_as(503, text));
        for at in [0, 2] {
            let mut connection = cluster.client(at).connect().await;
            let breaks = async {
                match connection.send("GET", "/services", &[], whole("")).await {
                    // An agent in between that got no head says so.
                    Ok(answer) if answer.status() == 502 => true,
                    Ok(answer) => answer.into_body().collect().await.is_err(),
                    Err(_) => true,
                }
            };
            assert!(soon("an end", breaks).await, "{size} through {}", HOSTS[at]);
        }
    }
}
