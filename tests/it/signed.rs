//! Signatures as a Portainer server makes them, and whom the first one makes the agent's. Numbered cases are those of
//! the contract; what is sent is recorded in `tests/data/signature_vectors.json`.

use std::fs;
use std::time::Duration;

use serde_json::Value;
use swarmgate::identify::Association;
use swarmgate::model::Secret;

use crate::support::client::{Client, Reply, reply, whole};
use crate::support::cluster::{Cluster, Setup};
use crate::support::engine::answers;
use crate::support::sign::{PUBLIC_KEY, SIGNATURE, Signer};
use crate::support::soon;

/// The words on which a Portainer server tells its user that another one was first.
const INVALID: &str = "Invalid request signature";

fn vectors() -> Value {
    serde_json::from_str(include_str!("../data/signature_vectors.json")).unwrap()
}

/// The vector of this name.
fn vector(id: &str) -> Value {
    vectors()["vectors"].as_array().unwrap().iter().find(|row| row["id"] == id).unwrap().clone()
}

/// `GET` with exactly the two headers that the vector has.
async fn get(agent: &Client, target: &str, vector: &Value) -> Reply {
    let text = |field: &str| vector[field].as_str().unwrap();
    let headers = [(PUBLIC_KEY, text("public_key_header")), (SIGNATURE, text("signature_header"))];
    agent.stranger().get_with(target, &headers).await
}

#[track_caller]
fn is_refused(answer: &Reply, what: &str) {
    answer.is_json_of_an_agent(403, what);
    assert!(answer.message().contains(INVALID), "{what}: {}", answer.message());
}

/// A Swarm of two that any key may claim.
async fn unclaimed() -> Cluster {
    Setup::swarm(&["n1", "n2"], 1).associating().start().await
}

/// Sends each vector to agents that nobody has claimed, and to agents that the key of `valid_default` has.
async fn sent_to_all(ids: &[&str]) -> Vec<(String, Reply)> {
    let mut answers = Vec::new();
    for id in ids {
        let fresh = unclaimed().await;
        answers.push((format!("{id}, fresh"), get(&fresh.client(0), "/info", &vector(id)).await));
        let held = unclaimed().await;
        assert_eq!(get(&held.client(0), "/info", &vector("valid_default")).await.status, 200);
        for at in 0..2 {
            answers.push((format!("{id}, claimed, {at}"), get(&held.client(at), "/info", &vector(id)).await));
        }
    }
    answers
}

#[tokio::test]
async fn case_07_a_signed_ping_of_the_engine_brings_its_headers_and_the_agents() {
    let cluster = Setup::swarm(&["n1", "n2"], 1).start().await;
    for (at, host, role) in [(0, "n1", "active/manager"), (1, "n2", "active/worker")] {
        // What engines since 23.0 say beside the rest.
        cluster.engine(at).on("/_ping", move |_| async move {
            let mut answer = answers::whole(200, "text/plain; charset=utf-8", "OK");
            answer.headers_mut().insert("Builder-Version", "2".parse().unwrap());
            answer.headers_mut().insert("Swarm", role.parse().unwrap());
            answer
        });
        for (method, body) in [("GET", "OK"), ("HEAD", "")] {
            let pong = cluster.client(at).call(method, "/_ping", &[], "").await;
            pong.is_of_an_agent(method);
            assert_eq!((pong.status, pong.text().as_str(), pong.header("x-node")), (200, body, host));
            let said = ["api-version", "ostype", "builder-version", "swarm"].map(|name| pong.header(name));
            assert_eq!(said, ["1.41", "linux", "2", role], "{method} on {host}");
            assert_eq!(pong.header("content-type"), "text/plain; charset=utf-8");
        }
    }
}

#[tokio::test]
async fn case_08_a_padded_signature_and_one_of_another_key_are_invalid() {
    for (what, answer) in sent_to_all(&["padded_base64", "wrong_key"]).await {
        is_refused(&answer, &what);
    }
}

#[tokio::test]
async fn case_09_a_high_s_counts() {
    for (what, answer) in sent_to_all(&["high_s"]).await {
        answer.is_json_of_an_agent(200, &what);
        assert_eq!(answer.json()["Name"], "n1", "{what}");
    }
}

#[tokio::test]
async fn case_10_other_kinds_of_key_and_signature_are_refused_and_the_connection_goes_on() {
    for (what, answer) in sent_to_all(&["rsa_key", "p384_key", "der_signature"]).await {
        is_refused(&answer, &what);
    }
    let cluster = unclaimed().await;
    let mut connection = cluster.client(0).stranger().connect().await;
    let rows = [
        ("rsa_key", 403),
        ("p384_key", 403),
        ("der_signature", 403),
        ("valid_default", 200),
        ("rsa_key", 403),
    ];
    for (id, status) in rows {
        let vector = vector(id);
        let text = |field: &str| vector[field].as_str().unwrap();
        let headers = [(PUBLIC_KEY, text("public_key_header")), (SIGNATURE, text("signature_header"))];
        let answer = connection.send("GET", "/info", &headers, whole("")).await.unwrap();
        assert_eq!(soon("its end", reply(answer)).await.status, status, "{id}");
    }
}

/// A Swarm of two with the vectors' secret.
async fn with_their_secret() -> Cluster {
    let secret = vectors()["secret"].as_str().unwrap().to_owned();
    let setup = Setup::swarm(&["n1", "n2"], 1);
    setup.config(move |_, config| config.portainer.secret = Some(Secret::new(&*secret))).start().await
}

#[tokio::test]
async fn case_11_with_a_secret_every_key_that_signs_it_counts() {
    let cluster = with_their_secret().await;
    let sequences = vectors()["sequences"].clone();
    let many = sequences.as_array().unwrap().iter().find(|row| row["id"] == "secret_mode_many_keys").unwrap();
    let other_key = &many["steps"][1][0];
    let first = vector("valid_secret");
    assert_ne!(other_key["public_key_header"], first["public_key_header"]);
    for at in 0..2 {
        for sent in [&first, other_key, &first] {
            get(&cluster.client(at), "/info", sent).await.is_json_of_an_agent(200, "signed");
        }
    }
}

#[tokio::test]
async fn case_12_with_a_secret_the_default_text_signed_is_invalid() {
    let cluster = with_their_secret().await;
    for at in 0..2 {
        let refused = get(&cluster.client(at), "/info", &vector("valid_default")).await;
        refused.is_json_of_an_agent(403, "default");
        assert_eq!(refused.message(), INVALID);
    }
}

#[tokio::test]
async fn case_13_the_first_key_is_associated_and_the_second_is_not() {
    let cluster = unclaimed().await;
    let (first, second) = (vector("valid_default"), vector("valid_default_key_b"));
    get(&cluster.client(0), "/info", &first).await.is_json_of_an_agent(200, "the first");
    for at in 0..2 {
        is_refused(&get(&cluster.client(at), "/info", &second).await, "the second");
        get(&cluster.client(at), "/info", &first).await.is_json_of_an_agent(200, "the first again");
    }
}

#[tokio::test]
async fn case_14_a_key_that_signed_badly_has_claimed_nothing() {
    for bad in ["secret_sig_on_default_agent", "wrong_message", "zero_s"] {
        let cluster = unclaimed().await;
        let (first, second) = (vector(bad), vector("valid_default_key_b"));
        is_refused(&get(&cluster.client(0), "/info", &first).await, bad);
        get(&cluster.client(0), "/info", &second).await.is_json_of_an_agent(200, bad);
        is_refused(
            &get(&cluster.client(0), "/info", &vector("valid_default")).await,
            "it is the other's now",
        );
    }
}

#[tokio::test]
async fn case_15_after_the_window_an_unclaimed_agent_answers_pings_and_says_the_remedy() {
    let setup = Setup::alone("solo").associating().config(|_, config| {
        config.portainer.window = Duration::from_secs(1);
        // Failures beyond the rate are another test's matter.
        config.limits.failures_burst = 10_000;
    });
    let cluster = setup.start().await;
    let mut association = cluster.nodes[0].association();
    let closed = association.wait_for(|known| matches!(**known, Association::Closed));
    soon("the window's end", closed).await.unwrap();
    cluster.forget();
    let (signing, stranger) = (cluster.client(0), cluster.client(0).stranger());
    for path in ["/ping", "/v2/ping", "/v1.41/ping", "/v1.41/v2/ping"] {
        let pong = stranger.get(path).await;
        pong.is_of_an_agent(path);
        assert_eq!((pong.status, pong.body.len()), (204, 0), "{path}");
    }
    let mut refused = Vec::new();
    for path in
        ["/info", "/_ping", "/v1.41/containers/json?all=1", "/v2/agents", "/v2/host/info", "/key", "/nope"]
    {
        for method in ["GET", "POST"] {
            for client in [&signing, &stranger] {
                refused.push(client.call(method, path, &[], "").await);
            }
        }
        refused.push(get(&stranger, path, &vector("wrong_key")).await);
    }
    assert_eq!(refused.len(), 35);
    for answer in refused {
        answer.is_json_of_an_agent(403, &answer.text());
        let message = answer.message();
        assert!(message.contains("swarmgate association reset") && !message.contains(INVALID), "{message}");
    }
    assert_eq!(cluster.asked("/containers/json"), [""; 0], "no engine hears of it");
}

#[tokio::test]
async fn case_15_an_associated_key_may_call_after_the_window_and_no_other() {
    let mut cluster = Setup::alone("solo").associating().start().await;
    cluster.client(0).get("/info").await.is_json_of_an_agent(200, "in the window");
    cluster.nodes[0].kill().await;
    // The record is moved into the past: nothing has to be waited for.
    let path = cluster.nodes[0].config.data.join("association.json");
    let mut record: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert!(record["Until"].as_u64() > Some(1) && record["Key"].is_string(), "{record}");
    record["Until"] = 1.into();
    fs::write(&path, record.to_string()).unwrap();
    cluster.nodes[0].start().await;
    cluster.is_whole().await;
    for _ in 0..2 {
        cluster.client(0).get("/info").await.is_json_of_an_agent(200, "after it");
    }
    let other = cluster.client(0).signing(&Signer::new(None));
    is_refused(&other.get("/info").await, "another key");
    assert_eq!(cluster.client(0).stranger().get("/ping").await.status, 204);
}
