//! The agent's own paths, as a Portainer server and its browser use them. Numbered cases are those of the contract.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::support::cluster::{Cluster, Setup};
use crate::support::hub::{Hub, Script};
use crate::support::sign::Signer;

const HOSTS: [&str; 2] = ["node1", "node2"];

/// The headers by which a Portainer server knows an agent, once each.
const AGENT: [(&str, &str); 3] =
    [("portainer-agent", "2.23.0"), ("portainer-agent-platform", "1"), ("portainer-agent-api-version", "2")];

async fn swarm() -> Cluster {
    Setup::swarm(&HOSTS, 1).start().await
}

/// A Swarm of two whose hosts' files lie in folders; the disk of the second one is larger.
async fn hosts(folder: &Path) -> Cluster {
    for (host, sectors) in HOSTS.iter().zip(["1", "2"]) {
        let disk = folder.join(host).join("sys/block/sda");
        fs::create_dir_all(&disk).unwrap();
        fs::write(disk.join("size"), sectors).unwrap();
    }
    let folder = folder.to_owned();
    let setup = Setup::swarm(&HOSTS, 1);
    setup.config(move |at, config| config.host_root = folder.join(HOSTS[at])).start().await
}

#[tokio::test]
async fn case_01_ping_is_unsigned_and_says_who_answers() {
    let pong = swarm().await.client(0).stranger().get("/ping").await;
    assert_eq!((pong.status, pong.body.len()), (204, 0));
    for (name, value) in AGENT {
        assert_eq!(pong.header(name), value, "{name}");
    }
}

#[tokio::test]
async fn case_02_ping_has_its_versioned_forms() {
    let cluster = swarm().await;
    for path in ["/v2/ping", "/v1.41/ping", "/v1.41/v2/ping"] {
        assert_eq!(cluster.client(0).stranger().get(path).await.status, 204, "{path}");
    }
}

#[tokio::test]
async fn case_03_ping_answers_head_and_refuses_post() {
    let stranger = swarm().await.client(0).stranger();
    let head = stranger.call("HEAD", "/ping", &[], "").await;
    assert_eq!((head.status, head.header("portainer-agent")), (204, "2.23.0"));
    assert_eq!(stranger.call("POST", "/ping", &[], "").await.status, 405);
}

#[tokio::test]
async fn case_04_what_only_begins_like_an_own_path_is_the_engines() {
    let cluster = swarm().await;
    for path in ["/pingx", "/ping/", "/agentsfoo", "/hostile", "/host/info/"] {
        assert_eq!(cluster.client(0).stranger().get(path).await.status, 403, "{path}");
        assert_eq!(cluster.client(0).get(path).await.status, 404, "{path}");
        assert_eq!(cluster.asked(path), ["node1"], "{path}");
    }
}

#[tokio::test]
async fn case_05_an_unsigned_call_is_403_in_json_with_the_agents_headers() {
    let refused = swarm().await.client(0).stranger().get("/_ping").await;
    assert_eq!((refused.status, refused.header("content-type")), (403, "application/json"));
    assert!(!refused.message().is_empty());
    for (name, value) in AGENT {
        assert_eq!(refused.header(name), value, "{name}");
    }
}

#[tokio::test]
async fn case_06_an_unsigned_head_is_403_without_a_body() {
    let refused = swarm().await.client(0).stranger().call("HEAD", "/_ping", &[], "").await;
    assert_eq!((refused.status, refused.body.len()), (403, 0));
    for (name, value) in AGENT {
        assert_eq!(refused.header(name), value, "{name}");
    }
}

#[tokio::test]
async fn case_20_there_is_no_edge_key() {
    let refused = swarm().await.client(0).get("/key").await;
    assert_eq!((refused.status, refused.header("content-type")), (503, "application/json"));
    assert!(!refused.message().is_empty());
}

#[tokio::test]
async fn case_21_host_info_wants_a_signature() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = hosts(folder.path()).await;
    let stranger = cluster.client(0).stranger();
    let other = stranger.signing(&Signer::new(Some("another secret than theirs")));
    for client in [stranger, other] {
        for path in ["/host/info", "/v1/host/info", "/v2/host/info"] {
            assert_eq!(client.get(path).await.status, 403, "{path}");
        }
    }
}

#[tokio::test]
async fn case_22_a_stranger_cannot_find_out_which_nodes_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = hosts(folder.path()).await;
    for target in ["nope", "node2"] {
        let stranger = cluster.client(0).stranger();
        let refused = stranger.get_with("/host/info", &[("X-PortainerAgent-Target", target)]).await;
        assert_eq!((refused.status, refused.header("x-node")), (403, "node1"), "{target}");
        assert_eq!(refused.message(), "Missing request signature headers", "{target}");
    }
    let unknown = cluster.client(0).get_with("/host/info", &[("X-PortainerAgent-Target", "nope")]).await;
    assert_eq!(unknown.status, 404);
}

#[tokio::test]
async fn case_23_host_info_is_the_named_nodes() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = hosts(folder.path()).await;
    let rows = [
        (&[][..], 0, 512),
        (&[("X-PortainerAgent-Target", "node1")], 0, 512),
        (&[("X-PortainerAgent-Target", "node2")], 1, 1024),
        (&[("X-Node", "node2")], 1, 1024),
    ];
    for (headers, by, size) in rows {
        for path in ["/host/info", "/v1/host/info", "/v2/host/info", "/v1.41/v2/host/info"] {
            let told = cluster.client(0).get_with(path, headers).await;
            assert_eq!((told.status, told.header("x-node")), (200, HOSTS[by]), "{path} {headers:?}");
            assert_eq!(told.header("content-type"), "application/json");
            let expected =
                json!({"PCIDevices": null, "PhysicalDisks": [{"Vendor": "unknown", "Size": size}]});
            assert_eq!(told.json(), expected, "{path} {headers:?}");
            for (name, value) in AGENT {
                assert_eq!(told.header(name), value, "{name} {headers:?}");
            }
        }
    }
    assert_eq!(cluster.asked("/host/info"), Vec::<&str>::new());
}

#[tokio::test]
async fn a_host_without_a_list_of_disks_is_a_500_that_says_where_it_looked() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = hosts(folder.path()).await;
    let disks = folder.path().join("node2/sys/block");
    fs::remove_dir_all(&disks).unwrap();
    let failed = cluster.client(0).get_with("/v2/host/info", &[("X-Node", "node2")]).await;
    assert_eq!((failed.status, failed.header("x-node")), (500, "node2"));
    assert!(failed.message().contains(disks.to_str().unwrap()), "{}", failed.message());
    let details = failed.json()["details"].as_str().unwrap().to_owned();
    assert!(details.starts_with("The host's disks") && details.contains("No such file"), "{details}");
    assert_eq!(cluster.client(0).get("/v2/host/info").await.status, 200);
}

#[tokio::test]
async fn host_info_has_no_other_method() {
    let cluster = Setup::alone("node1").start().await;
    for method in ["HEAD", "POST", "DELETE"] {
        let refused = cluster.client(0).call(method, "/host/info", &[], "").await;
        assert_eq!((refused.status, refused.header("allow")), (405, "GET"), "{method}");
    }
}

const GRANTED: (&str, &str) = ("200 OK", r#"{"token":"t0ken","expires_in":300}"#);
const LIMITED: &str = "200 OK\r\nRateLimit-Limit: 100;w=21600\r\nRateLimit-Remaining: 76;w=21600";

/// An agent that knows this hub alone.
async fn before(hub: &Hub) -> Cluster {
    let known = hub.known();
    Setup::alone("node1").config(move |_, config| config.hub = known.clone()).start().await
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

#[tokio::test]
async fn case_68_dockerhub_wants_a_whole_account_and_matches_keys_in_any_case() {
    let hub = Hub::start(Script { token: GRANTED, manifest: LIMITED }).await;
    let cluster = before(&hub).await;
    let client = cluster.client(0);
    let refused = [
        r#"{"Authentication":true}"#,
        r#"{"authentication":true,"username":"u"}"#,
        r#"{"Authentication":true,"Username":"","Password":"p"}"#,
        "",
        "[]",
        "{",
    ];
    for body in refused {
        let answer = client.call("POST", "/v2/dockerhub", &[], body).await;
        assert_eq!((answer.status, answer.header("content-type")), (400, "application/json"), "{body}");
        assert!(!answer.message().is_empty() && answer.json()["details"].is_string(), "{body}");
    }
    assert_eq!(hub.heads(), Vec::<String>::new());
    for body in [
        r#"{"Id":3,"Type":6,"Authentication":true,"Username":"u","Password":"p:ü","URL":"docker.io"}"#,
        r#"{"authentication":true,"username":"u","password":"p:ü"}"#,
    ] {
        for path in ["/v2/dockerhub", "/v1.41/v2/dockerhub"] {
            let answer = client.call("POST", path, &[], body).await;
            assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"), "{path}");
            assert_eq!(answer.json(), json!({"remaining": 76, "limit": 100}));
            let [token, manifest] = <[String; 2]>::try_from(hub.heads()).unwrap();
            let asked = "GET /token?service=registry.docker.io&scope=repository:ratelimitpreview/test:pull ";
            assert!(token.starts_with(asked), "{token}");
            assert_eq!(header(&token, "authorization"), Some("Basic dTpwOsO8"), "{token}");
            assert!(manifest.starts_with("HEAD /v2/ratelimitpreview/test/manifests/latest "), "{manifest}");
            assert_eq!(header(&manifest, "authorization"), Some("Bearer t0ken"), "{manifest}");
        }
    }
    let answer = client.call("POST", "/v2/dockerhub", &[], r#"{"Username":"u","Password":"p"}"#).await;
    assert_eq!((answer.status, header(&hub.heads()[0], "authorization")), (200, None));
}

#[tokio::test]
async fn case_69_without_limits_dockerhub_is_null() {
    let hub = Hub::start(Script { token: GRANTED, manifest: "200 OK" }).await;
    let cluster = before(&hub).await;
    let half = "200 OK\r\nRateLimit-Limit: 100;w=21600";
    let odd = "200 OK\r\nRateLimit-Limit: none\r\nRateLimit-Remaining: 76";
    for manifest in ["200 OK", half, odd] {
        hub.now(Script { token: GRANTED, manifest });
        let answer = cluster.client(0).call("POST", "/v2/dockerhub", &[], "{}").await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "null"), "{manifest}");
        assert_eq!(answer.header("content-type"), "application/json");
    }
}

#[tokio::test]
async fn what_docker_hub_refuses_is_a_500_that_says_so() {
    let rows = [
        (("401 Unauthorized", "{}"), LIMITED, "401 Unauthorized when asked for a token", 1),
        (("200 OK", "{}"), LIMITED, "no token", 1),
        (("200 OK", "<html>"), LIMITED, "no token", 1),
        (("200 OK", r#"{"token":"a\r\nb: c"}"#), LIMITED, "no token", 1),
        (("302 Found\r\nLocation: /token?elsewhere", ""), LIMITED, "302 Found when asked for a token", 1),
        (GRANTED, "429 Too Many Requests", "429 Too Many Requests when asked for the limits", 2),
    ];
    let hub = Hub::start(Script { token: GRANTED, manifest: LIMITED }).await;
    let cluster = before(&hub).await;
    for (token, manifest, told, asked) in rows {
        hub.now(Script { token, manifest });
        let failed = cluster.client(0).call("POST", "/v2/dockerhub", &[], "{}").await;
        assert_eq!((failed.status, hub.heads().len()), (500, asked), "{told}");
        assert!(failed.message().ends_with(told), "{}", failed.message());
    }
    drop(hub);
    let nobody = Setup::alone("node1").config(|_, config| {
        let nowhere = "http://127.0.0.1:1".to_owned();
        (config.hub.auth, config.hub.trust) = (nowhere, swarmgate::config::Trust::Plain);
    });
    let failed = nobody.start().await.client(0).call("POST", "/v2/dockerhub", &[], "{}").await;
    let message = failed.message();
    assert!(failed.status == 500 && message.starts_with("connect to 127.0.0.1:1"), "{message}");
    assert!(failed.json()["details"].as_str().unwrap().contains("refused"), "{}", failed.text());
}

#[tokio::test]
async fn dockerhub_wants_a_signature_a_post_and_a_small_body() {
    let hub = Hub::start(Script { token: GRANTED, manifest: LIMITED }).await;
    let cluster = before(&hub).await;
    let client = cluster.client(0);
    assert_eq!(client.stranger().call("POST", "/v2/dockerhub", &[], "{}").await.status, 403);
    let get = client.get("/v2/dockerhub").await;
    assert_eq!((get.status, get.header("allow")), (405, "POST"));
    let large = format!(r#"{{"x":"{}"}}"#, "x".repeat(1 << 20));
    assert_eq!(client.call("POST", "/v2/dockerhub", &[], large).await.status, 413);
    assert_eq!(client.call("POST", "/dockerhub", &[], "{}").await.status, 404);
    assert_eq!((hub.heads(), cluster.asked("/dockerhub")), (Vec::new(), vec!["node1"]));
}
