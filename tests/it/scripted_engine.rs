//! The scripted engine is what other tests rely on, so it has tests of its own.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use p256::pkcs8::DecodePublicKey;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::oneshot;

use crate::support::engine::swarm::Swarm;
use crate::support::engine::{Engine, Script, answers, samples};
use crate::support::sign::Signer;

/// One request on a connection of its own. The connection lives as long as the answer's body.
async fn send(engine: &Engine, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
    let stream = UnixStream::connect(engine.socket()).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let tasks = tokio_util::task::TaskTracker::new();
    tasks.spawn(connection.with_upgrades());
    sender.send_request(request).await
}

fn request(method: &str, target: &str, body: &'static str) -> Request<Full<Bytes>> {
    let body = Full::new(Bytes::from_static(body.as_bytes()));
    Request::builder().method(method).uri(target).header("Host", "docker").body(body).unwrap()
}

async fn call(engine: &Engine, method: &str, target: &str, body: &'static str) -> (StatusCode, Value) {
    let answer = send(engine, request(method, target, body)).await.unwrap();
    let status = answer.status();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

async fn get(engine: &Engine, target: &str) -> (StatusCode, Value) {
    call(engine, "GET", target, "").await
}

fn names(list: &Value) -> Vec<usize> {
    let number = |container: &Value| {
        let name = container["Names"][0].as_str().unwrap();
        name.trim_start_matches("/web-").split('.').next().unwrap().parse().unwrap()
    };
    list.as_array().unwrap().iter().map(number).collect()
}

#[tokio::test]
async fn its_answers_have_a_docker_engines_headers() {
    let engine = Engine::start(Script::new("node1"));
    let answer = send(&engine, request("GET", "/_ping", "")).await.unwrap();
    let wanted = [
        ("api-version", "1.41"),
        ("docker-experimental", "false"),
        ("ostype", "linux"),
        ("server", "Docker/20.10.24 (linux)"),
        ("content-type", "text/plain; charset=utf-8"),
        ("content-length", "2"),
    ];
    for (name, value) in wanted {
        assert_eq!(answer.headers()[name], value, "{name}");
    }
    let list = send(&engine, request("GET", "/v1.41/containers/json", "")).await.unwrap();
    assert_eq!(list.headers()["transfer-encoding"], "chunked");
    assert_eq!(get(&engine, "/nope").await, (StatusCode::NOT_FOUND, json!({ "message": "page not found" })));
    assert_eq!(get(&engine, "/v1.42/info").await.0, StatusCode::BAD_REQUEST);
    assert_eq!(get(&engine, "/v1.12/info").await.1["Containers"], 3);
}

#[tokio::test]
async fn its_containers_are_newest_first_limited_and_relative_to_a_pivot() {
    let engine = Engine::start(Script { containers: 6, stopped: 2, ..Script::new("node1") });
    let pivot = samples::id(&engine.script().node, "container", 3);
    let before = format!("/containers/json?all=1&filters=%7B%22before%22%3A%5B%22{pivot}%22%5D%7D");
    let since =
        format!("/containers/json?all=1&filters={{\"since\":{{\"{pivot}\":true}}}}").replace('"', "%22");
    let rows = [
        ("/containers/json", vec![5, 4, 3, 2]),
        ("/containers/json?all=1", vec![5, 4, 3, 2, 1, 0]),
        ("/containers/json?limit=5", vec![5, 4, 3, 2, 1]),
        (&before, vec![2, 1, 0]),
        (&format!("{before}&limit=1"), vec![2]),
        (&since, vec![5, 4]),
    ];
    for (target, wanted) in rows {
        assert_eq!(names(&get(&engine, target).await.1), wanted, "{target}");
    }
    let unknown = "/containers/json?filters=%7B%22before%22%3A%5B%22x%22%5D%7D";
    assert_eq!(get(&engine, unknown).await.0, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(get(&Engine::start(Script::newer("node2")), unknown).await.0, StatusCode::NOT_FOUND);
    let size = samples::container(&engine.script().node, 5).len();
    assert!((1300..1500).contains(&size), "{size}");
}

#[tokio::test]
async fn inspect_and_list_agree_on_when_a_container_was_made() {
    let engine = Engine::start(Script::new("node1"));
    let list = get(&engine, "/containers/json").await.1;
    let id = list[2]["Id"].as_str().unwrap();
    let inspected = get(&engine, &format!("/containers/{}/json", &id[..12])).await.1;
    assert_eq!((&inspected["Id"], &inspected["Name"]), (&list[2]["Id"], &list[2]["Names"][0]));
    assert_eq!(
        (list[2]["Created"].as_i64(), inspected["Created"].as_str()),
        (Some(1_700_000_000), Some("2023-11-14T22:13:20.123456789Z"))
    );
    assert_eq!(samples::rfc3339(951_782_400), "2000-02-29T00:00:00.123456789Z");
    assert_eq!(get(&engine, "/containers/nope/json").await.1["message"], "No such container: nope");
}

#[tokio::test]
async fn engines_of_one_swarm_share_what_it_holds() {
    let swarm = Swarm::new(&["node1", "node2", "node3"], 2);
    let start = |host: &str| Engine::start(Script { swarm: Some(Arc::clone(&swarm)), ..Script::new(host) });
    let [manager, other, worker] = ["node1", "node2", "node3"].map(start);
    let (_, info) = get(&worker, "/info").await;
    assert_eq!(info["Swarm"]["ControlAvailable"], false);
    assert_eq!(info["Swarm"]["RemoteManagers"].as_array().unwrap().len(), 2);
    assert_eq!(get(&worker, "/nodes").await.0, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(get(&other, "/nodes").await.1.as_array().unwrap().len(), 3);

    let config = r#"{"Name":"key","Data":"YQ==","Labels":{"a":"b"}}"#;
    assert_eq!(call(&manager, "POST", "/configs/create", config).await.0, StatusCode::CREATED);
    assert_eq!(call(&other, "POST", "/configs/create", config).await.0, StatusCode::CONFLICT);
    assert_eq!(get(&other, "/configs/key").await.1["Spec"]["Data"], "YQ==");

    swarm.add_task(("svc1", "agent_agent"), "agent_net", "node3", "10.0.9.5");
    let (_, tasks) = get(&manager, "/tasks?filters=%7B%22service%22%3A%5B%22agent_agent%22%5D%7D").await;
    assert_eq!(tasks[0]["NodeID"], worker.script().node.as_str());
    let (_, network) = get(&worker, "/networks/agent_net?verbose=true").await;
    assert_eq!(network["Services"]["agent_agent"]["Tasks"][0]["EndpointIP"], "10.0.9.5");

    swarm.change_node("node2", |node| node.is_manager = false);
    assert_eq!(get(&other, "/configs").await.0, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn an_upgrade_greets_with_its_head_echoes_and_says_bye_after_half_close() {
    let engine = Engine::start(Script::new("node1"));
    let id = samples::id(&engine.script().node, "container", 0);
    let mut stream = UnixStream::connect(engine.socket()).await.unwrap();
    let head = format!(
        "POST /v1.41/containers/{id}/attach?stream=1 HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\n\
         Upgrade: tcp\r\nContent-Length: 0\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut first = BytesMut::with_capacity(4096);
    stream.read_buf(&mut first).await.unwrap();
    let first = String::from_utf8_lossy(&first).into_owned();
    assert!(first.starts_with("HTTP/1.1 101"), "{first}");
    assert!(first.ends_with("\r\n\r\nattached on node1\n"), "one piece: {first}");
    stream.write_all(b"ls\n").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "ls\nbye\n");
    engine.streams_become(0).await;
}

#[tokio::test]
async fn exec_is_created_and_started_with_a_body_and_an_upgrade() {
    let engine = Engine::start(Script::new("node1"));
    let id = samples::id(&engine.script().node, "container", 0);
    let (status, made) = call(&engine, "POST", &format!("/containers/{id}/exec"), r#"{"Cmd":["sh"]}"#).await;
    assert_eq!(status, StatusCode::CREATED);
    let start = format!("/exec/{}/start", made["Id"].as_str().unwrap());
    let mut wanted = request("POST", &start, r#"{"Detach":false,"Tty":false}"#);
    wanted.headers_mut().insert("connection", "Upgrade".parse().unwrap());
    wanted.headers_mut().insert("upgrade", "tcp".parse().unwrap());
    let answer = send(&engine, wanted).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(answer.headers()["api-version"], "1.41");
    let mut stream = TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
    stream.shutdown().await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "exec on node1\nbye\n");
}

#[tokio::test]
async fn followed_logs_pass_at_once_and_end_with_the_client() {
    let engine = Engine::start(Script::new("node1"));
    let id = samples::id(&engine.script().node, "container", 0);
    let answer = send(&engine, request("GET", &format!("/containers/{id}/logs?follow=1"), "")).await.unwrap();
    let mut body = answer.into_body();
    let mut text = Vec::new();
    while !text.ends_with(b"three\n") {
        text.extend(body.frame().await.unwrap().unwrap().into_data().unwrap());
    }
    engine.log("later\n");
    assert!(body.frame().await.unwrap().unwrap().into_data().unwrap().ends_with(b"later\n"));
    assert_eq!(engine.streams(), 1);
    drop(body);
    engine.streams_become(0).await;
}

#[tokio::test]
async fn it_records_holds_and_misbehaves_on_demand() {
    let engine = Engine::start(Script::new("node1"));
    let (started_tx, started) = oneshot::channel();
    let (release, released) = oneshot::channel();
    engine.on("/containers/json", answers::hold(started_tx, released));
    let (answer, ()) = tokio::join!(get(&engine, "/v1.41/containers/json?all=%31"), async {
        started.await.unwrap();
        release.send(()).unwrap();
    });
    assert_eq!(answer.1.as_array().unwrap().len(), 3);
    assert_eq!(engine.saw("/containers/json").await.target, "/v1.41/containers/json?all=%31");

    engine.on("/info", |_| async { answers::error(500, "no") });
    assert_eq!(
        get(&engine, "/v1.30/info").await,
        (StatusCode::INTERNAL_SERVER_ERROR, json!({ "message": "no" }))
    );
    engine.off("/info");
    assert_eq!(get(&engine, "/info").await.0, StatusCode::OK);

    engine.on("GET /images/*", answers::truncated("[{"));
    let cut = send(&engine, request("GET", "/images/json", "")).await.unwrap();
    assert!(cut.into_body().collect().await.is_err());
    engine.on("/volumes", answers::giant(10 << 20));
    let giant =
        send(&engine, request("GET", "/volumes", "")).await.unwrap().into_body().collect().await.unwrap();
    let giant = giant.to_bytes();
    assert!(giant.len() >= 10 << 20 && serde_json::from_slice::<Value>(&giant).is_ok());
    engine.on("/networks", answers::Rule::HangUp);
    assert!(send(&engine, request("GET", "/networks", "")).await.is_err());

    assert_eq!(call(&engine, "POST", "/images/load?quiet=1", "tar").await.0, StatusCode::OK);
    let load = engine.saw("/images/load").await;
    assert_eq!((engine.loaded(), load.body_length(), load.body()), (3, 3, b"tar".to_vec()));
}

#[tokio::test]
async fn a_stopped_engine_leaves_no_socket_and_can_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("docker.sock");
    let engine = Engine::start_at(&socket, Script::new("node1"));
    assert_eq!(get(&engine, "/_ping").await.0, StatusCode::OK);
    engine.stop().await;
    assert!(!socket.exists());
    let engine = Engine::start_at(&socket, Script::new("node1"));
    assert_eq!(get(&engine, "/_ping").await.0, StatusCode::OK);
}

#[test]
fn a_signature_is_as_a_portainer_server_makes_it() {
    let vectors: Value = serde_json::from_str(include_str!("../data/signature_vectors.json")).unwrap();
    let key = &vectors["keys"]["A"];
    let signer = Signer::from_scalar(key["d_hex"].as_str().unwrap(), None);
    assert_eq!(signer.public_key(), key["spki_der_hex"].as_str().unwrap());
    assert_ne!(signer.signature(), signer.signature());
    assert_eq!(signer.signature().len(), 86);

    // A signature made by the server's own code verifies the same way as ours does.
    let theirs = vectors["vectors"].as_array().unwrap().iter().find(|v| v["id"] == "valid_default").unwrap();
    let verifier =
        p256::ecdsa::VerifyingKey::from_public_key_der(&hex::decode(signer.public_key()).unwrap()).unwrap();
    let digest = hex::decode(vectors["message_md5"].as_str().unwrap()).unwrap();
    let theirs = theirs["signature_header"].as_str().unwrap().to_owned();
    for text in [theirs, signer.signature()] {
        use base64::Engine as _;
        let bytes = base64::engine::general_purpose::STANDARD_NO_PAD.decode(&text).unwrap();
        let signature = p256::ecdsa::Signature::from_slice(&bytes).unwrap();
        assert!(verifier.verify_prehash(&digest, &signature).is_ok(), "{text}");
    }
}
