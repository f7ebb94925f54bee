//! Who may call: signatures, the association, and what strangers get.

use std::io::ErrorKind;
use std::time::Duration;

use base64::Engine as _;
use futures_util::StreamExt;
use swarmgate::decide::ROUTES;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::support::client::{reply, whole};
use crate::support::cluster::Setup;
use crate::support::sign::{PUBLIC_KEY, SIGNATURE, Signer};
use crate::support::soon;

#[tokio::test]
async fn ping_is_open_in_all_its_forms_and_has_no_other_method() {
    let cluster = Setup::swarm(&["node1", "node2"], 1).start().await;
    let stranger = cluster.client(0).stranger();
    for path in ["/ping", "/v2/ping", "/v1.41/ping", "/v1.41/v2/ping"] {
        for method in ["GET", "HEAD"] {
            let pong = stranger.call(method, path, &[], "").await;
            assert_eq!(
                (pong.status, pong.body.len(), pong.header("portainer-agent")),
                (204, 0, "2.23.0"),
                "{method} {path}"
            );
        }
        let refused = stranger.call("POST", path, &[], "").await;
        assert_eq!((refused.status, refused.header("allow")), (405, "GET, HEAD"), "POST {path}");
    }
    for path in ["/pingx", "/ping/", "/_ping", "/v1.41"] {
        assert_eq!(stranger.get(path).await.status, 403, "{path}");
    }
}

#[tokio::test]
async fn a_stranger_gets_403_on_every_route_and_no_engine_hears_of_it() {
    // Failures beyond the rate are another test's matter.
    let setup = Setup::fixed(&["node1", "node2"]).config(|_, config| config.limits.failures_burst = 10_000);
    let cluster = setup.start().await;
    let mut connection = cluster.client(0).stranger().connect().await;
    let mut refused = 0;
    let others = [("GET", "/key"), ("GET", "/nope"), ("GET", "/_swarmgate/probe"), ("POST", "/v1.41/key")];
    let routes =
        ROUTES.iter().filter(|route| route.method != "OPTIONS").map(|route| (route.method, route.pattern));
    for (method, pattern) in routes.chain(others) {
        let path = pattern.replace(['{', '}'], "");
        for headers in [&[][..], &[("X-Node", "node2"), ("Authorization", "Bearer x")]] {
            let answer =
                connection.send(method, &format!("{path}?stranger"), headers, whole("")).await.unwrap();
            let answer = reply(answer).await;
            assert_eq!(
                (answer.status, answer.header("content-type")),
                (403, "application/json"),
                "{method} {path}"
            );
            assert_eq!(
                (answer.header("portainer-agent"), answer.header("portainer-agent-platform")),
                ("2.23.0", "1")
            );
            if method != "HEAD" {
                assert_eq!(answer.message(), "Missing request signature headers", "{method} {path}");
            }
            refused += 1;
        }
    }
    assert_eq!(refused, (ROUTES.len() - 1 + others.len()) * 2);
    for node in &cluster.nodes {
        assert!(!node.engine().seen().iter().any(|seen| seen.target.contains("stranger")));
    }
}

#[tokio::test]
async fn the_key_of_edge_agents_is_not_there() {
    let cluster = Setup::alone("node1").start().await;
    assert_eq!(cluster.client(0).stranger().get("/key").await.status, 403);
    for method in ["GET", "POST"] {
        assert_eq!(cluster.client(0).call(method, "/key", &[], "").await.status, 503);
    }
}

#[tokio::test]
async fn a_valid_signature_settles_it_whatever_credentials_are_beside_it() {
    let cluster = Setup::alone("node1").start().await;
    let beside =
        [("Authorization", "Bearer expired"), ("Cookie", "portainer_api_key=x"), ("X-Csrf-Token", "wrong")];
    assert_eq!(cluster.client(0).get_with("/version", &beside).await.status, 200);
    assert_eq!(cluster.client(0).stranger().get_with("/version", &beside).await.status, 403);
}

#[tokio::test]
async fn the_first_key_whose_signature_verifies_is_associated_and_junk_claims_nothing() {
    let mut cluster = Setup::alone("node1").associating().start().await;
    let (stranger, first, second) = (cluster.client(0).stranger(), Signer::new(None), Signer::new(None));
    let [(_, key), (_, signature)] = first.headers();
    let [_, (_, others)] = second.headers();
    let padded = format!("{signature}==");
    let zeros = base64::engine::general_purpose::STANDARD_NO_PAD.encode([0; 64]);
    for (key, signature) in [
        (key.as_str(), others.as_str()),
        (&key, &padded),
        (&key, &zeros),
        (&key, "junk"),
        ("junk", &signature),
        (&key[..100], &signature),
    ] {
        let refused = stranger.get_with("/version", &[(PUBLIC_KEY, key), (SIGNATURE, signature)]).await;
        assert_eq!(refused.status, 403);
        assert!(refused.message().contains("Invalid request signature"), "{}", refused.message());
    }
    assert_eq!(stranger.get_with("/version", &[(PUBLIC_KEY, &key)]).await.status, 403);
    assert_eq!(stranger.signing(&second).get("/version").await.status, 200, "nothing was claimed before");
    let refused = stranger.signing(&first).get("/version").await;
    assert_eq!((refused.status, refused.header("content-type")), (403, "application/json"));
    assert!(refused.message().contains("Invalid request signature"), "{}", refused.message());
    assert_eq!(stranger.signing(&second).get("/version").await.status, 200);

    cluster.nodes[0].kill().await;
    cluster.nodes[0].start().await;
    cluster.is_whole().await;
    let stranger = cluster.client(0).stranger();
    assert_eq!(stranger.signing(&first).get("/version").await.status, 403, "a restart opens no window");
    assert_eq!(stranger.signing(&second).get("/version").await.status, 200);
}

#[tokio::test]
async fn in_a_swarm_one_agent_claims_for_all() {
    let cluster = Setup::swarm(&["node1", "node2", "node3"], 1).associating().start().await;
    let other = Signer::new(None);
    // Through a worker: the record is made on the manager.
    assert_eq!(cluster.client(2).get("/version").await.status, 200);
    let names: Vec<_> =
        cluster.swarm().content().configs.iter().map(|config| config.spec["Name"].clone()).collect();
    assert_eq!(names, ["swarmgate.association.1", "swarmgate.association.2"]);
    for at in 0..3 {
        assert_eq!(cluster.client(at).signing(&other).get("/version").await.status, 403, "agent {at}");
        assert_eq!(cluster.client(at).get("/version").await.status, 200, "agent {at}");
    }
}

#[tokio::test]
async fn of_static_peers_without_a_secret_the_first_is_claimed_and_the_others_say_so() {
    let cluster = Setup::fixed(&["node1", "node2"]).associating().start().await;
    assert_eq!(cluster.client(0).get("/version").await.status, 200, "the first claims");
    let first = cluster.nodes[0].peer_at().to_string();
    for signer in [cluster.signer.clone(), Signer::new(None)] {
        let refused = cluster.client(1).signing(&signer).get("/version").await;
        refused.is_json_of_an_agent(503, "only the first one is claimed");
        let message = refused.message();
        for said in [&*first, "decides", "AGENT_SECRET", "AGENT_PORTAINER_KEYS"] {
            assert!(message.contains(said), "{message}");
        }
    }
    assert_eq!(cluster.client(1).stranger().get("/version").await.status, 403);
    // Through the first one it serves whoever that one serves.
    let there = cluster.client(0).get_with("/version", &[("X-Node", "node2")]).await;
    assert_eq!((there.status, there.header("x-node")), (200, "node2"));
    let other =
        cluster.client(0).signing(&Signer::new(None)).get_with("/version", &[("X-Node", "node2")]).await;
    assert_eq!(other.status, 403);
}

#[tokio::test]
async fn of_two_keys_at_the_same_time_one_is_associated() {
    let cluster = Setup::swarm(&["node1", "node2", "node3"], 2).associating().start().await;
    let signers: Vec<_> = (0..4).map(|_| Signer::new(None)).collect();
    let calls = signers.iter().enumerate().map(|(at, signer)| {
        let client = cluster.client(at % 3).signing(signer);
        async move { client.get("/version").await.status }
    });
    let mut statuses = futures_util::future::join_all(calls).await;
    let winner = statuses.iter().position(|status| *status == 200).expect("one of them");
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 403, 403, 403]);
    for at in 0..3 {
        for (of, signer) in signers.iter().enumerate() {
            let status = cluster.client(at).signing(signer).get("/version").await.status;
            assert_eq!(status, if of == winner { 200 } else { 403 }, "key {of} on agent {at}");
        }
    }
}

#[tokio::test]
async fn without_a_quorum_nothing_is_claimed() {
    let cluster = Setup::swarm(&["node1", "node2"], 1).associating().start().await;
    cluster.swarm().change(|content| content.has_quorum = false);
    let refused = cluster.client(1).get("/version").await;
    assert_eq!(refused.status, 503, "{}", refused.text());
    cluster.swarm().change(|content| content.has_quorum = true);
    let other = cluster.client(0).signing(&Signer::new(None));
    assert_eq!(other.get("/version").await.status, 200, "the first claim was not kept");
}

#[tokio::test]
async fn a_reset_drops_what_the_old_key_opened() {
    let cluster = Setup::alone("node1").associating().start().await;
    let client = cluster.client(0);
    let mut kept = client.wire().await;
    kept.ask("GET /_ping HTTP/1.1\nHost: a", "").await;
    kept.through("\r\n\r\nOK").await;
    let events = client.open("GET", "/events", &[], whole("")).await;
    let id = crate::support::engine::samples::id(&cluster.nodes[0].script.node, "container", 0);
    let mut attached = client.wire().await;
    attached.ask(&format!("POST /containers/{id}/attach HTTP/1.1\nHost: a\nConnection: Upgrade\nUpgrade: tcp\nContent-Length: 0"), "").await;
    attached.through("attached on node1\n").await;
    let mut console = client.socket(&format!("/websocket/attach?id={id}"), &[]).await;
    cluster.engine(0).streams_become(3).await;

    let config = cluster.nodes[0].config.clone();
    let reset = tokio::task::spawn_blocking(move || swarmgate::app::association::reset(&config, None));
    soon("the reset", reset).await.unwrap();
    soon("all streams end", cluster.engine(0).streams_become(0)).await;
    assert_eq!(attached.rest().await, "");
    assert!(console.next().await.unwrap().is_ok_and(|greeting| greeting.is_text()));
    assert!(soon("its end", console.next()).await.is_none_or(|end| end.is_err()), "it is cut");
    drop(events);
    assert_eq!(kept.rest().await, "");
    let other = client.signing(&Signer::new(None));
    assert_eq!(other.get("/version").await.status, 200, "the new window is open");
    assert_eq!(client.get("/version").await.status, 403);
}

#[tokio::test]
async fn too_many_failures_are_answered_429_and_good_requests_never() {
    let cluster = Setup::alone("node1").config(|_, config| {
        (config.limits.failures_per_second, config.limits.failures_burst) = (0, 5);
    });
    let cluster = cluster.start().await;
    let stranger = cluster.client(0).stranger();
    let mut statuses = Vec::new();
    for _ in 0..8 {
        statuses.push(stranger.get("/version").await.status);
        assert_eq!(cluster.client(0).get("/version").await.status, 200);
        assert_eq!(stranger.get("/ping").await.status, 204);
    }
    assert_eq!(statuses, [403, 403, 403, 403, 403, 429, 429, 429]);
    let limited = stranger.get("/version").await;
    assert_eq!((limited.header("retry-after"), limited.header("content-type")), ("1", "application/json"));
}

#[tokio::test]
async fn failures_of_many_sources_limit_nobody_else() {
    let cluster = Setup::alone("node1").config(|_, config| {
        (config.limits.failures_per_second, config.limits.failures_burst) = (0, 1);
        config.limits.failures_sources = 2;
    });
    let cluster = cluster.start().await;
    let stranger = cluster.client(0).stranger();
    let mut statuses = Vec::new();
    for host in [2, 3, 4, 2, 3, 4] {
        let mut wire = stranger.wire_from([127, 0, 0, host]).await;
        wire.ask("GET /version HTTP/1.1\nHost: a", "").await;
        statuses.push(wire.head().await[..12].to_owned());
    }
    let status = |code: u16| format!("HTTP/1.1 {code}");
    // The third has no place in the table; that is not its fault.
    assert_eq!(statuses, [403, 403, 403, 429, 429, 403].map(status));
}

#[tokio::test]
async fn who_is_not_in_an_allowed_range_is_not_even_shaken_hands_with() {
    let allowing = async |range: &'static str| {
        let setup = Setup::alone("node1").config(move |_, config| {
            config.listen.allow_from = vec![swarmgate::config::parse::cidr(range).unwrap()];
            // So long that who is not refused outright is waited for in vain.
            config.limits.handshake = Duration::from_secs(600);
        });
        setup.start().await
    };
    let cluster = allowing("127.0.0.0/8").await;
    assert_eq!(cluster.client(0).stranger().get("/ping").await.status, 204);

    let cluster = allowing("10.0.0.0/8").await;
    let refused = soon("the end of the handshake", cluster.client(0).shake_hands()).await.unwrap_err();
    assert!(refused.kind() != ErrorKind::InvalidData, "an answer: {refused}");
    // Who says nothing hears nothing either, and is not waited for.
    let mut tcp = TcpStream::connect(cluster.client(0).at).await.unwrap();
    let mut heard = Vec::new();
    let read = soon("it closes", tcp.read_to_end(&mut heard)).await;
    assert!(heard.is_empty(), "{read:?}: {heard:?}");
}

#[tokio::test]
async fn what_only_looks_like_a_signature_is_refused_and_claims_nothing() {
    const JWT: &str =
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U";
    let cluster = Setup::swarm(&["node1"], 1).associating().start().await;
    let (key, signature) = ("X-PortainerAgent-PublicKey", "X-PortainerAgent-Signature");
    let giant = "3059".repeat(8 << 10);
    let signed: Vec<_> = cluster.signer.headers().into_iter().collect();
    let genuine = &signed.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).unwrap().1;
    for (shown, proof) in
        [(JWT, JWT), (genuine.as_str(), JWT), (&giant, JWT), (genuine, &giant), ("0x", "="), ("3059", "!!!!")]
    {
        let headers = [(key, shown), (signature, proof)];
        let answer = cluster.client(0).stranger().get_with("/containers/json", &headers).await;
        let what = &shown[..shown.len().min(20)];
        assert_eq!(answer.status, 403, "{what}");
        assert!(answer.message().contains("Invalid request signature"), "{what}: {}", answer.message());
    }
    let twice = [(key, genuine.as_str()), (signature, JWT), (signature, JWT)];
    assert_eq!(cluster.client(0).stranger().get_with("/containers/json", &twice).await.status, 400);
    // Nobody has come first: the window is still the owner's.
    assert_eq!(cluster.client(0).get("/containers/json").await.status, 200);
}
