//! What a real Portainer server, its browser and its children sent, sent again through a worker's agent.
//!
//! `tests/data/portainer-wire.jsonl`: a request a line, recorded, with names in the place of ids, and what this agent
//! has to answer: `expect_status`, and `expect_node` in `X-Node`. `status` is what another agent answered.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};
use swarmgate::config::Trust;

use crate::support::cluster::{Cluster, Setup};
use crate::support::engine::{answers, samples, swarm};

const HOSTS: [&str; 3] = ["node1", "node2", "node3"];

const WIRE: &str = include_str!("../data/portainer-wire.jsonl");

/// How the paths begin that the agent answers itself.
const OWN: [&str; 5] = ["/ping", "/v2/agents", "/v2/browse/", "/v2/dockerhub", "/websocket/"];

/// Where credentials and a browser's traces are, which no engine may see.
const STOPS: [&str; 11] = [
    "authorization",
    "cookie",
    "x-csrf-token",
    "referer",
    "origin",
    "forwarded",
    "sec-fetch-",
    "sec-ch-",
    "x-forwarded-",
    "x-portaineragent-",
    "x-node",
];

/// The objects that the lines name.
fn objects() -> Vec<(&'static str, String)> {
    let of = |host: &str, sort: &str, number| samples::id(&samples::node_id(host), sort, number);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    vec![
        ("{container.node1}", of("node1", "container", 0)),
        ("{container.node3}", of("node3", "container", 0)),
        // The first that is made there, by an earlier line.
        ("{exec.node3}", of("node3", "exec", 0)),
        ("{exec.nowhere}", of("nowhere", "exec", 0)),
        ("{image.shared}", samples::id("", "image", 0)),
        ("{image.node1}", of("node1", "image", 7)),
        ("{image.tag}", "own:latest".to_owned()),
        ("{network}", samples::network_id("", "shop_default")),
        ("{volume.node3}", "node3_data".to_owned()),
        ("{node.node3}", samples::node_id("node3")),
        ("{service}", SERVICE.0.to_owned()),
        ("{task}", samples::id(SERVICE.1, "task", 0)[..25].to_owned()),
        ("{config}", CONFIG.to_owned()),
        ("{secret}", text(&swarm::secret()["ID"])),
    ]
}

const SERVICE: (&str, &str) = ("serviceserviceservicesvc1", "uisvc");
const CONFIG: &str = "configconfigconfigconfig1";

/// `volumes`: where the browsed volume is.
async fn start(volumes: &Path) -> Cluster {
    let cluster = Setup::swarm(&HOSTS, 1).config(|_, config| {
        // As where the recording was made: Docker Hub cannot be reached.
        (config.hub.auth, config.hub.trust) = ("http://127.0.0.1:1".to_owned(), Trust::Plain);
    });
    let cluster = cluster.start().await;
    // Elsewhere it is the path that an engine does not know.
    for node in &cluster.nodes {
        node.engine().on("/plugins", answers::respond(200, answers::JSON, "[]\n"));
    }
    let volume = json!({ "Name": "node3_data", "Driver": "local", "Mountpoint": volumes, "Scope": "local" });
    let inspected = answers::respond(200, answers::JSON, volume.to_string());
    cluster.engine(2).on("/volumes/node3_data", inspected);
    cluster.swarm().add_task(SERVICE, "shop_default", "node3", "10.0.1.9");
    let config =
        swarm::Config { id: CONFIG.to_owned(), index: 90, spec: json!({ "Name": "shop", "Data": "YQ==" }) };
    cluster.swarm().change(|content| content.configs.push(config));
    cluster
}

/// A line as it can be sent: named objects have their ids.
struct Line {
    number: usize,
    from: String,
    method: String,
    target: String,
    /// Without those of the signature, which is made afresh.
    headers: Vec<(String, String)>,
    signed: bool,
    body: String,
    is_json: bool,
    wanted: (u16, String),
}

fn lines() -> Vec<Line> {
    let objects = objects();
    let named = |text: &Value| {
        objects.iter().fold(text.as_str().unwrap().to_owned(), |text, (name, id)| text.replace(name, id))
    };
    let line = |(at, line): (usize, &str)| {
        let line: Value = serde_json::from_str(line).unwrap();
        let (mut headers, mut signed) = (Vec::new(), false);
        for (name, value) in line["headers"].as_object().unwrap() {
            match name.to_lowercase().as_str() {
                "x-portaineragent-publickey" => {}
                "x-portaineragent-signature" => signed = true,
                "sec-websocket-key" => headers.push((name.clone(), "dGhlIHNhbXBsZSBub25jZQ==".to_owned())),
                _ => headers.push((name.clone(), value.as_str().unwrap().to_owned())),
            }
        }
        let status = line["expect_status"].as_u64().unwrap();
        Line {
            number: at + 1,
            from: named(&line["from"]),
            method: named(&line["method"]),
            target: named(&line["path"]),
            headers,
            signed,
            body: named(&line["body"]),
            is_json: line["response_type"] == "application/json",
            wanted: (u16::try_from(status).unwrap(), named(&line["expect_node"])),
        }
    };
    WIRE.lines().enumerate().map(line).collect()
}

#[tokio::test]
async fn every_recorded_request_gets_the_right_answer_through_a_workers_agent() {
    let volumes = tempfile::tempdir().unwrap();
    let cluster = start(volumes.path()).await;
    let (mut seen, mut managed, mut stopped) = (0, 0, BTreeSet::<&str>::new());
    for line in lines() {
        let what = format!("line {}: {} {}", line.number, line.method, line.target);
        assert!(!line.target.contains(['{', '}']), "{what}");
        cluster.forget();
        let client = cluster.client(1);
        let client = if line.signed { client } else { client.stranger() };
        let headers: Vec<_> = line.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        let answer = client.call(&line.method, &line.target, &headers, line.body).await;
        let said = (answer.status, answer.header("x-node").to_owned());
        assert_eq!(said, line.wanted, "{what}: {}", answer.text());
        if line.is_json {
            assert_eq!(answer.header("content-type"), "application/json", "{what}");
            if line.method != "HEAD" {
                answer.json();
            }
        }
        // Byte for byte, the query too; a list without a version is asked under one that all engines have.
        let saw = cluster
            .nodes
            .iter()
            .filter(|n| n.engine().seen().iter().any(|s| s.target.ends_with(&line.target)));
        let saw: Vec<_> = saw.map(|node| node.script.host.clone()).collect();
        if line.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("x-portaineragent-manageroperation"))
        {
            assert_eq!(saw, ["node1"], "{what}");
            managed += 1;
        } else if !OWN.iter().any(|own| line.target.starts_with(own)) {
            assert!(saw.contains(&line.wanted.1), "{what}: seen by {saw:?}");
        }
        let agent = ["portainer-agent", "portainer-agent-api-version", "portainer-agent-platform"];
        assert_eq!(agent.map(|name| answer.header(name)), ["2.23.0", "2", "1"], "{what}");
        let of_browser = |name: &str| STOPS.iter().find(|stop| name.to_lowercase().starts_with(**stop));
        stopped.extend(line.headers.iter().filter_map(|(name, _)| of_browser(name).copied()));
        for node in &cluster.nodes {
            for request in node.engine().seen() {
                let leaked: Vec<_> =
                    request.headers.keys().filter(|name| of_browser(name.as_str()).is_some()).collect();
                assert!(leaked.is_empty(), "{what}: {leaked:?} at {}", node.script.host);
            }
        }
        seen += 1;
    }
    assert_eq!((seen, managed), (86, 22));
    let sent = [
        "cookie",
        "origin",
        "referer",
        "sec-ch-",
        "sec-fetch-",
        "x-csrf-token",
        "x-forwarded-",
        "x-portaineragent-",
    ];
    assert_eq!(stopped.into_iter().collect::<Vec<_>>(), sent, "what there was to stop");
}

#[tokio::test]
async fn case_80_the_docker_cli_works_through_any_agent_as_on_the_manager() {
    let volumes = tempfile::tempdir().unwrap();
    for (at, entry) in HOSTS.iter().enumerate() {
        // What it removes at the end is there for each.
        let cluster = start(volumes.path()).await;
        let mut seen = 0;
        for line in lines().into_iter().filter(|line| line.from == "docker cli") {
            let what = format!("line {} through {entry}: {} {}", line.number, line.method, line.target);
            cluster.forget();
            let headers: Vec<_> = line.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
            assert!(line.signed && headers.contains(&("X-Portaineragent-Manageroperation", "1")), "{what}");
            let answer =
                cluster.client(at).call(&line.method, &line.target, &headers, line.body.clone()).await;
            let said = (answer.status, answer.header("x-node").to_owned());
            assert_eq!(said, line.wanted, "{what}: {}", answer.text());
            answer.is_of_an_agent(&what);
            let kind = if line.is_json { "application/json" } else { answer.header("content-type") };
            assert_eq!(answer.header("content-type"), kind, "{what}");
            assert_eq!(answer.header("x-node-answered"), "", "one engine's own: {what}");
            for (node, times) in cluster.nodes.iter().zip([1, 0, 0]) {
                let all = node.engine().seen();
                let same: Vec<_> = all
                    .iter()
                    .filter(|s| s.target == line.target && s.method.as_str() == line.method)
                    .collect();
                assert_eq!(same.len(), times, "{what} at {}", node.script.host);
                assert!(same.iter().all(|s| s.body() == line.body.as_bytes()), "{what}");
            }
            seen += 1;
        }
        assert_eq!(seen, 11);
    }
}
