//! What goes through goes through unchanged, and what must not go on stops at the entry agent.

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Request};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde_json::json;
use swarmgate::decide::ROUTES;

use crate::support::client::{Reply, reply, whole};
use crate::support::cluster::Setup;
use crate::support::engine::answers::{self, Recorded};
use crate::support::engine::{Script, samples};

/// What a Portainer server passes on of its browser's request, and what only agents say to each other.
const STOPS_HERE: [(&str, &str); 16] = [
    ("Authorization", "Bearer of-portainer"),
    ("Cookie", "portainer_api_key=of-portainer"),
    ("X-Csrf-Token", "t"),
    ("Referer", "https://portainer/"),
    ("Origin", "https://portainer"),
    ("Sec-Fetch-Mode", "cors"),
    ("Sec-Ch-Ua", "x"),
    ("X-Forwarded-For", "10.0.0.1"),
    ("X-Forwarded-Proto", "https"),
    ("Forwarded", "for=10.0.0.1"),
    ("X-PortainerAgent-SA-Token", "t"),
    ("X-PortainerAgent-Target", "node1"),
    ("X-Node-Strict", "1"),
    ("X-Node-Dialect", "docker"),
    ("X-Swarmgate-Caller", "somebody else"),
    ("Proxy-Authorization", "Basic x"),
];
const GOES_ON: [(&str, &str); 4] = [
    ("X-Registry-Auth", "eyJ1c2VybmFtZSI6ImEifQ=="),
    ("X-Registry-Config", "e30="),
    ("User-Agent", "Docker-Client/28.2 (linux)"),
    ("Content-Type", "application/x-tar"),
];

/// A path of the pattern's form, with names as they come.
fn path(pattern: &str) -> String {
    let names = [
        ("{grpc.Service}", "moby.buildkit.v1.Control"),
        ("{Method}", "Solve"),
        ("{any}", "a/b"),
        ("{path}", "heap"),
        ("{checkpoint}", "c1"),
    ];
    let path = names.iter().fold(pattern.to_owned(), |path, (name, value)| path.replace(name, value));
    let greedy =
        path.starts_with("/images") || path.starts_with("/distribution") || path.starts_with("/plugins");
    path.replace("{name}", if greedy { "reg.example.com:5000/team/web" } else { "web" })
        .replace("{id}", "0123abc")
}

fn says_who_it_is(answer: &Reply, what: &str) {
    let said = ["portainer-agent", "portainer-agent-api-version", "portainer-agent-platform"]
        .map(|n| answer.header(n));
    assert_eq!(said, ["2.23.0", "2", "1"], "{what}");
}

fn has_none_of_them(headers: &HeaderMap, what: &str) {
    for (name, _) in STOPS_HERE {
        let name = name.to_ascii_lowercase();
        assert!(!headers.contains_key(&name), "{what}: {name}");
    }
    for name in headers.keys() {
        assert!(!name.as_str().starts_with("x-portaineragent-"), "{what}: {name}");
    }
}

#[tokio::test]
async fn every_route_passes_method_path_query_and_body_to_the_engine_of_either_node() {
    let cluster = Setup::fixed(&["node1", "node2"]).start().await;
    let mut connection = cluster.client(0).connect().await;
    let mut passed = 0;
    for (number, route) in ROUTES.iter().enumerate().filter(|(_, route)| route.method != "OPTIONS") {
        let path = path(route.pattern);
        for (at, host) in ["node1", "node2"].iter().enumerate() {
            let what = format!("{} {path} on {host}", route.method);
            let engine = cluster.engine(at);
            engine.on(&path, |request: Request<Recorded>| async {
                let body = request.into_body().collect().await.unwrap().to_bytes();
                answers::whole(200, "text/plain", format!("got {}", body.len()))
            });
            let target = format!(
                "/v1.41{path}?route={number}&a=[1]:%5B&b=&a=%20+{{x}}&filters=%7B%22k%22%3A[%22v%22]%7D"
            );
            let body = if matches!(route.method, "POST" | "PUT") { r#"{"Name":"é"}"# } else { "" };
            let mut headers = vec![("X-Node", *host)];
            headers.extend(STOPS_HERE.iter().filter(|(name, _)| !name.starts_with("X-Node")));
            headers.extend(GOES_ON);
            let answer = connection.send(route.method, &target, &headers, whole(body)).await.unwrap();
            let answer = reply(answer).await;
            let said = if route.method == "HEAD" { String::new() } else { format!("got {}", body.len()) };
            assert_eq!((answer.status, answer.text()), (200, said), "{what}");
            assert_eq!((answer.header("x-node"), answer.header("api-version")), (*host, "1.41"), "{what}");
            says_who_it_is(&answer, &what);
            let all = engine.seen();
            let seen: Vec<_> = all.iter().filter(|seen| seen.target == target).collect();
            assert_eq!(seen.len(), 1, "{what}: {:?}", all.last().map(|seen| &seen.target));
            assert_eq!((seen[0].method.as_str(), seen[0].body()), (route.method, body.into()), "{what}");
            has_none_of_them(&seen[0].headers, &what);
            for (name, value) in GOES_ON {
                assert_eq!(seen[0].headers[name.to_ascii_lowercase()], value, "{what}");
            }
            engine.off(&path);
            passed += 1;
        }
    }
    assert_eq!(passed, (ROUTES.len() - 1) * 2);
}

#[tokio::test]
async fn what_docker_does_not_have_is_the_engines_to_refuse() {
    let cluster = Setup::fixed(&["node1", "node2"]).start().await;
    // What looks like a version and is none is not ours to read either.
    assert_eq!(cluster.client(0).get("/v1.2.3/info").await.status, 400);
    assert!(cluster.engine(0).seen().iter().any(|seen| seen.target == "/v1.2.3/info"));
    for target in ["/v1.41/nope/at/all?x=1", "/pingx", "/ping/", "/v1.41", "/"] {
        for host in ["node1", "node2"] {
            let answer = cluster.client(0).get_with(target, &[("X-Node", host)]).await;
            assert_eq!((answer.status, answer.header("x-node")), (404, host), "{target}");
            assert_eq!(answer.message(), "page not found", "{target}");
        }
        let seen =
            cluster.nodes.iter().filter(|n| n.engine().seen().iter().any(|seen| seen.target == target));
        assert_eq!(seen.count(), 2, "{target}");
    }
}

#[tokio::test]
async fn a_name_is_decoded_once_and_sent_as_one_text() {
    let cluster = Setup::fixed(&["node1", "node2"]).start().await;
    for (asked, sent) in [
        ("/volumes/a%20b", "/volumes/a%20b"),
        ("/volumes/%61%25", "/volumes/a%25"),
        ("/containers/%C3%A9/json", "/containers/%C3%A9/json"),
    ] {
        for at in 0..2 {
            cluster.engine(at).forget();
            let host = ["node1", "node2"][at];
            cluster.client(0).get_with(asked, &[("X-Node", host)]).await;
            let targets: Vec<_> = cluster.engine(at).seen().into_iter().map(|seen| seen.target).collect();
            assert!(targets.iter().any(|target| target == sent), "{asked} on {host}: {targets:?}");
        }
    }
}

#[tokio::test]
async fn every_answer_says_once_that_an_agent_gave_it() {
    let cluster = Setup::swarm(&["node1", "node2"], 1).start().await;
    let (client, stranger) = (cluster.client(1), cluster.client(1).stranger());
    // An engine, or a peer, that says it too is not believed.
    cluster.engine(0).on("/plugins", |_| async {
        let mut answer = answers::json(200, "[]");
        for name in
            ["Portainer-Agent", "Portainer-Agent-Api-Version", "X-Node", "X-Node-Answered", "X-Node-Errors"]
        {
            answer
                .headers_mut()
                .insert(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), "lie".parse().unwrap());
        }
        answer
    });
    let remote = [("X-Node", "node1")];
    let (entry, far) = ("node2", "node1");
    for (node, answer) in [
        (entry, client.get("/containers/json").await),
        (entry, client.get("/version").await),
        (far, client.get("/services").await),
        (far, client.get_with("/plugins", &remote).await),
        (far, client.get_with("/nope", &remote).await),
        (far, client.call("HEAD", "/_ping", &remote, "").await),
        (entry, client.get_with("/info", &[("X-Node", "nope")]).await),
        (entry, client.get_with("/info", &[("X-Node", "*")]).await),
        (entry, client.call("OPTIONS", "/info", &[], "").await),
        (entry, client.get("//info").await),
        (entry, stranger.get("/info").await),
        (entry, stranger.call("HEAD", "/_ping", &[], "").await),
        (entry, stranger.get("/ping").await),
        (entry, stranger.call("POST", "/ping", &[], "").await),
        (entry, client.get("/key").await),
    ] {
        says_who_it_is(&answer, &format!("{answer:?}"));
        assert_eq!(answer.header("x-node"), node, "{answer:?}");
        if answer.status >= 400 && !answer.body.is_empty() {
            assert_eq!(answer.header("content-type"), "application/json");
            assert!(!answer.message().is_empty());
        }
    }
}

#[tokio::test]
async fn the_version_to_announce_is_the_operators_choice_at_the_agent_that_is_asked() {
    let announced = |at: usize| if at == 0 { "2.27.6" } else { "2.19.5" };
    let setup = Setup::fixed(&["node1", "node2"])
        .config(move |at, config| announced(at).clone_into(&mut config.portainer.agent_version));
    let cluster = setup.start().await;
    let (client, stranger) = (cluster.client(0), cluster.client(0).stranger());
    for answer in [
        stranger.get("/ping").await,
        stranger.get("/version").await,
        client.get("/version").await,
        client.get_with("/version", &[("X-Node", "node2")]).await,
        client.get("/containers/json").await,
        client.get_with("/version", &[("X-Node", "nope")]).await,
        client.get("/agents").await,
    ] {
        assert_eq!(answer.header("portainer-agent"), announced(0), "{answer:?}");
    }
    assert_eq!(cluster.client(1).get("/ping").await.header("portainer-agent"), announced(1));
}

#[tokio::test]
async fn docker_headers_of_an_answer_stay() {
    let cluster = Setup::fixed(&["node1", "node2"]).start().await;
    for host in ["node1", "node2"] {
        for method in ["GET", "HEAD"] {
            let ping = cluster.client(0).call(method, "/_ping", &[("X-Node", host)], "").await;
            let wanted = [
                ("api-version", "1.41"),
                ("docker-experimental", "false"),
                ("ostype", "linux"),
                ("builder-version", "1"),
                ("server", "Docker/20.10.24 (linux)"),
                ("pragma", "no-cache"),
                ("content-length", "2"),
            ];
            for (name, value) in wanted {
                assert_eq!(ping.header(name), value, "{method} on {host}: {name}");
            }
        }
    }
}

#[tokio::test]
async fn a_body_keeps_its_framing() {
    let cluster = Setup::fixed(&["node1", "node2"]).start().await;
    for (at, host) in ["node1", "node2"].into_iter().enumerate() {
        let framing = |path: &str| {
            let seen = cluster.engine(at).seen();
            let headers = &seen.iter().rfind(|seen| seen.target == path).unwrap().headers;
            let value = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
            (value("content-length"), value("transfer-encoding"))
        };
        let own = samples::id(&samples::node_id(host), "container", 0);
        // `docker start` sends a length of zero; engines before 1.24 took a missing one for a host config.
        let start = format!("/v1.41/containers/{own}/start");
        let answer =
            cluster.client(0).call("POST", &start, &[("X-Node", host), ("Content-Length", "0")], "").await;
        assert_eq!((answer.status, framing(&start)), (204, (Some("0".into()), None)), "{host}");

        let sent = cluster.client(0).call("POST", "/v1.41/volumes/create", &[("X-Node", host)], "{}").await;
        assert_eq!(
            (sent.status, framing("/v1.41/volumes/create")),
            (200, (Some("2".into()), None)),
            "{host}"
        );

        let pieces = ["one", "two", "three"].map(|piece| Ok(Frame::data(Bytes::from(piece))));
        let chunked = BodyExt::boxed(StreamBody::new(stream::iter(pieces)));
        let answer =
            cluster.client(0).open("POST", "/v1.41/build?t=a&t=b", &[("X-Node", host)], chunked).await;
        assert_eq!(reply(answer).await.json(), json!({"stream": "read 11 bytes\n"}));
        assert_eq!(framing("/v1.41/build?t=a&t=b"), (None, Some("chunked".into())), "{host}");
    }
}

#[tokio::test]
async fn a_head_answer_and_a_304_pass_without_a_body() {
    let cluster = Setup::fixed(&["node1", "node2"]).start().await;
    for (at, host) in ["node1", "node2"].into_iter().enumerate() {
        cluster.engine(at).on("HEAD /containers/web/archive", |_| async {
            let mut answer = answers::whole(200, "application/x-tar", "");
            answer.headers_mut().insert("X-Docker-Container-Path-Stat", "eyJuYW1lIjoiYSJ9".parse().unwrap());
            answer
        });
        cluster.engine(at).on("POST /containers/web/start", |_| async { answers::empty(304) });
        let mut connection = cluster.client(0).connect().await;
        let on = [("X-Node", host)];
        let stat =
            connection.send("HEAD", "/v1.41/containers/web/archive?path=/a", &on, whole("")).await.unwrap();
        assert_eq!(
            (stat.status().as_u16(), stat.headers()["x-docker-container-path-stat"].to_str().unwrap()),
            (200, "eyJuYW1lIjoiYSJ9")
        );
        reply(stat).await;
        let started = connection.send("POST", "/v1.41/containers/web/start", &on, whole("")).await.unwrap();
        assert_eq!(reply(started).await.status, 304);
        // The connection is still in step.
        let version = connection.send("GET", "/version", &on, whole("")).await.unwrap();
        assert_eq!(reply(version).await.json()["ApiVersion"], "1.41");
    }
}

#[tokio::test]
async fn a_redirect_of_a_peer_is_not_followed() {
    let cluster = Setup::fixed(&["node1", "node2"]).start().await;
    cluster.engine(1).on("/plugins", |_| async {
        let mut answer = answers::empty(307);
        answer.headers_mut().insert("Location", "https://somewhere.example/".parse().unwrap());
        answer
    });
    let refused = cluster.client(0).get_with("/plugins", &[("X-Node", "node2")]).await;
    assert_eq!((refused.status, refused.header("location")), (502, ""));
}

#[tokio::test]
async fn expect_continue_is_answered_here_and_not_passed_on() {
    let cluster = Setup::fixed(&["node1", "node2"]).start().await;
    for (at, host) in ["node1", "node2"].into_iter().enumerate() {
        let mut wire = cluster.client(0).wire().await;
        let head = format!(
            "POST /v1.41/volumes/create HTTP/1.1\nHost: a\nX-Node: {host}\nContent-Length: 2\nExpect: 100-continue"
        );
        wire.ask(&head, "").await;
        assert_eq!(wire.head().await, "HTTP/1.1 100 Continue\r\n\r\n", "{host}");
        wire.write(b"{}").await;
        assert!(wire.head().await.starts_with("HTTP/1.1 200"), "{host}");
        let seen = cluster.engine(at).saw("/volumes/create").await;
        assert_eq!((seen.body(), seen.headers.get("expect")), (b"{}".to_vec(), None));
    }
    let mut wire = cluster.client(0).stranger().wire().await;
    wire.ask("POST /volumes/create HTTP/1.1\nHost: a\nContent-Length: 2\nExpect: 100-continue", "").await;
    assert!(wire.head().await.starts_with("HTTP/1.1 403"), "a stranger is not asked for a body");
}

#[tokio::test]
async fn a_version_is_brought_into_the_engines_range_and_said() {
    let setup = Setup::fixed(&["node1", "node2"])
        .script(1, |script| *script = Script { api: 44..=52, ..Script::newer("node2") });
    let cluster = setup.start().await;
    for (host, at, asked, sent, said) in [
        ("node1", 0, "1.41", "1.41", ""),
        ("node1", 0, "1.50", "1.41", "1.41"),
        ("node1", 0, "1.9", "1.12", "1.12"),
        ("node2", 1, "1.50", "1.50", ""),
        ("node2", 1, "1.41", "1.44", "1.44"),
        ("node2", 1, "1.99", "1.52", "1.52"),
    ] {
        cluster.engine(at).forget();
        let on = [("X-Node", host)];
        let answer = cluster.client(0).get_with(&format!("/v{asked}/plugins?a=1"), &on).await;
        assert_eq!(answer.header("x-node-api-version"), said, "{asked} on {host}: {answer:?}");
        assert_eq!(cluster.engine(at).saw("/plugins").await.target, format!("/v{sent}/plugins?a=1"));
        let pruned = cluster.client(0).call("POST", &format!("/v{asked}/volumes/prune"), &on, "").await;
        assert_eq!(
            pruned.status,
            if said.is_empty() { 404 } else { 400 },
            "{asked} on {host}: {}",
            pruned.text()
        );
        let reached = cluster.engine(at).seen().iter().any(|seen| seen.path() == "/volumes/prune");
        assert_eq!(reached, said.is_empty(), "pruning {asked} on {host}");
    }
    cluster.client(0).get_with("/plugins", &[("X-Node", "node2")]).await;
    let seen = cluster.engine(1).seen();
    assert_eq!(
        seen.iter().rfind(|seen| seen.path() == "/plugins").unwrap().target,
        "/plugins",
        "unversioned stays so"
    );
}

#[tokio::test]
async fn a_list_over_engines_of_several_versions_is_asked_under_one_that_each_has() {
    let setup = Setup::fixed(&["node1", "node2"]).script(1, |script| *script = Script::newer("node2"));
    let cluster = setup.start().await;
    cluster.forget();
    let list = cluster.client(1).get("/containers/json").await;
    assert_eq!(list.header("x-node-answered"), "2/2");
    for node in &cluster.nodes {
        assert_eq!(node.engine().saw("/containers/json").await.target, "/v1.41/containers/json");
    }
    cluster.forget();
    let list = cluster.client(0).get("/v1.45/containers/json").await;
    assert_eq!(list.header("x-node-answered"), "2/2");
    assert_eq!(cluster.engine(0).saw("/containers/json").await.target, "/v1.41/containers/json");
    assert_eq!(cluster.engine(1).saw("/containers/json").await.target, "/v1.45/containers/json");
}
