//! The store against a scripted engine that keeps configs as a Swarm does: the first creator of a name wins.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::UnixListener;

use super::command::{Desk, reset, show};
use super::record::tests::{key, record};
use super::record::{Holder, Record, Seals};
use super::*;
use crate::config::{Engine as EngineConfig, EngineAt, Limits};
use crate::dial::{Engine, Peers};
use crate::model::{Cluster, Kind, Member, NodeId, Reach, Role};

const KEY: RecordKey = [7; 32];

/// A manager's engine: configs by name, and a status that it answers instead of working.
struct Script {
    configs: Mutex<BTreeMap<String, Value>>,
    sick: AtomicU16,
}

/// One Swarm, or one host, with its engine.
struct Stage {
    script: Arc<Script>,
    engine: Engine,
    directory: tempfile::TempDir,
    shutdown: Shutdown,
    cluster: watch::Sender<Arc<Cluster>>,
}

impl Script {
    fn names(&self) -> Vec<String> {
        self.configs.lock().unwrap().keys().cloned().collect()
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let sick = self.sick.load(Ordering::Relaxed);
        if sick != 0 {
            return said(sick, &json!({"message": "rpc error: The swarm does not have a leader"}));
        }
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let mut configs = self.configs.lock().unwrap();
        match head.uri.path() {
            "/info" => said(
                200,
                &json!({"Swarm": {"NodeID": "n1", "LocalNodeState": "active", "ControlAvailable": true}}),
            ),
            "/configs" => said(200, &configs.values().map(|spec| json!({"ID": "x", "Spec": spec})).collect()),
            "/configs/create" => {
                let spec: Value = serde_json::from_slice(&body).unwrap();
                let name = spec["Name"].as_str().unwrap().to_owned();
                if configs.contains_key(&name) {
                    return said(409, &json!({"message": "name conflicts with an existing object"}));
                }
                configs.insert(name, spec);
                said(201, &json!({"ID": "x"}))
            }
            _ => said(404, &json!({"message": "page not found"})),
        }
    }
}

fn said(status: u16, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

impl Stage {
    fn set(kind: Kind) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("engine.sock");
        let shutdown = Shutdown::new();
        let script = Arc::new(Script { configs: Mutex::default(), sick: AtomicU16::new(0) });
        serve(UnixListener::bind(&socket).unwrap(), Arc::clone(&script), &shutdown);
        let config = EngineConfig { at: EngineAt::Unix(socket), tls: None };
        let engine = Engine::new(&config, &Limits::default(), shutdown.clone()).unwrap();
        let cluster = watch::Sender::new(Arc::new(cluster(kind)));
        Self { script, engine, directory, shutdown, cluster }
    }

    /// An agent with its own data directory.
    fn agent(&self, data: &str, mode: Mode) -> Associations {
        let data = self.directory.path().join(data);
        std::fs::create_dir_all(&data).unwrap();
        self.agent_at(&data, mode, Some(vec![KEY]))
    }

    fn agent_at(&self, data: &Path, mode: Mode, keys: Option<Vec<RecordKey>>) -> Associations {
        let tls = watch::Sender::new(None).subscribe();
        let peers = Peers::new(tls, Arc::new(Limits::default()), self.shutdown.clone());
        let cluster = self.cluster.subscribe();
        Associations::new(Parts {
            start: Start { mode, window: Duration::from_secs(3600) },
            data: data.to_owned(),
            peers: vec![PeerAddress { host: "127.0.0.1".to_owned(), port: 9003 }],
            peer_port: 9002,
            swarm: Swarm { engine: self.engine.clone(), peers, cluster },
            record_keys: watch::Sender::new(keys).subscribe(),
        })
    }

    fn fall_sick(&self, status: u16) {
        self.script.sick.store(status, Ordering::Relaxed);
    }

    fn desk<'a>(&'a self, data: &'a Path, keys: &'a [RecordKey]) -> Desk<'a> {
        let window = Duration::from_secs(60);
        Desk { engine: &self.engine, data, window, record_keys: keys, here: None }
    }
}

fn serve(listener: UnixListener, script: Arc<Script>, shutdown: &Shutdown) {
    let inner = shutdown.clone();
    shutdown.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let script = Arc::clone(&script);
            inner.spawn(async move {
                let service =
                    service_fn(|request| async { Ok::<_, Infallible>(script.answer(request).await) });
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
}

fn cluster(kind: Kind) -> Cluster {
    let me = Member {
        id: NodeId::parse("n1").unwrap(),
        host: Arc::from("node1"),
        shown: Arc::from("node1"),
        role: Role::Manager,
        leader: true,
        address: None::<SocketAddr>,
        reach: Reach::Here,
        api: None,
        agent_version: None,
    };
    let own_addresses = vec![Ipv4Addr::LOCALHOST.into()];
    Cluster { own_addresses, ..Cluster::alone(kind, me) }
}

fn holder(agent: &Associations) -> Option<Fingerprint> {
    match &*agent.now() {
        Association::Held { key, .. } => Some(key.fingerprint),
        Association::Reserved { key, .. } => Some(*key),
        _ => None,
    }
}

fn is_open(agent: &Associations) -> bool {
    matches!(&*agent.now(), Association::Open)
}

fn is_closed(agent: &Associations) -> bool {
    matches!(&*agent.now(), Association::Closed)
}

fn is_unknown(agent: &Associations) -> bool {
    matches!(&*agent.now(), Association::Unknown)
}

async fn started(agent: Associations) -> Associations {
    agent.refresh(SystemTime::now()).await;
    agent
}

#[tokio::test]
async fn nothing_is_claimed_before_the_engine_has_spoken() {
    let stage = Stage::set(Kind::Unknown);
    let agent = started(stage.agent("a", Mode::Associate)).await;
    assert!(is_unknown(&agent));
    assert!(matches!(agent.claim(&key("A")).await, Err(ClaimError::NotYet)));
    assert!(stage.script.names().is_empty());
}

#[tokio::test]
async fn nothing_is_written_to_a_swarm_before_its_keys_are_known() {
    let stage = Stage::set(Kind::Swarm);
    let agent = started(stage.agent_at(stage.directory.path(), Mode::Associate, None)).await;
    assert!(is_unknown(&agent));
    assert!(matches!(agent.claim(&key("A")).await, Err(ClaimError::NotYet)));
    assert!(stage.script.names().is_empty());
}

#[tokio::test]
async fn a_standalone_claim_survives_a_restart_and_admits_nobody_else() {
    let stage = Stage::set(Kind::Standalone);
    let agent = started(stage.agent("a", Mode::Associate)).await;
    assert!(is_open(&agent));
    agent.claim(&key("A")).await.unwrap();
    assert_eq!(holder(&agent), Some(key("A").fingerprint));
    let again = started(stage.agent("a", Mode::Associate)).await;
    again.claim(&key("B")).await.unwrap();
    assert_eq!(holder(&again), Some(key("A").fingerprint));
    assert!(stage.script.names().is_empty(), "a standalone engine has no configs");
}

#[tokio::test]
async fn a_restart_opens_no_second_window() {
    let stage = Stage::set(Kind::Standalone);
    started(stage.agent("a", Mode::Associate)).await;
    let agent = stage.agent("a", Mode::Associate);
    agent.refresh(SystemTime::now() + Duration::from_secs(3601)).await;
    assert!(is_closed(&agent));
}

#[tokio::test]
async fn a_claim_that_cannot_be_stored_is_refused_with_path_and_remedy() {
    let stage = Stage::set(Kind::Standalone);
    let data = stage.directory.path().join("absent");
    let agent = started(stage.agent_at(&data, Mode::Associate, None)).await;
    assert!(is_open(&agent));
    let error = agent.claim(&key("A")).await.unwrap_err().to_string();
    assert!(error.contains("absent/association.json") && error.contains("DATA_PATH"), "{error}");
    assert!(is_open(&agent));
    std::fs::create_dir(&data).unwrap();
    agent.claim(&key("A")).await.unwrap();
    assert_eq!(holder(&agent), Some(key("A").fingerprint));
}

#[tokio::test]
async fn a_file_that_nobody_understands_opens_nothing() {
    let stage = Stage::set(Kind::Standalone);
    let agent = stage.agent("a", Mode::Associate);
    std::fs::write(stage.directory.path().join("a").join(file::RECORD), "{").unwrap();
    let agent = started(agent).await;
    assert!(is_unknown(&agent));
    assert!(matches!(agent.claim(&key("A")).await, Err(ClaimError::Read(_))));
}

#[tokio::test]
async fn of_two_agents_that_are_claimed_at_once_the_swarm_lets_one_win() {
    let stage = Stage::set(Kind::Swarm);
    let (one, two) = (stage.agent("a", Mode::Associate), stage.agent("b", Mode::Associate));
    let (a, b) = (key("A"), key("B"));
    let (first, second) = tokio::join!(one.claim(&a), two.claim(&b));
    assert!(first.is_ok() && second.is_ok());
    let names = ["swarmgate.association.1", "swarmgate.association.2"];
    assert_eq!(stage.script.names(), names, "one window and one claim");
    assert!(holder(&one).is_some());
    assert_eq!(holder(&one), holder(&two));
}

#[tokio::test]
async fn without_a_quorum_a_claim_fails_and_nothing_is_kept() {
    let stage = Stage::set(Kind::Swarm);
    let agent = started(stage.agent("a", Mode::Associate)).await;
    stage.fall_sick(500);
    let error = agent.claim(&key("A")).await.unwrap_err();
    assert!(matches!(error, ClaimError::Swarm(_)), "{error}");
    assert!(is_open(&agent));
    stage.fall_sick(0);
    assert_eq!(stage.script.names(), ["swarmgate.association.1"]);
}

#[tokio::test]
async fn without_a_manager_the_cache_verifies_and_claims_nothing() {
    let stage = Stage::set(Kind::Swarm);
    stage.agent("a", Mode::Associate).claim(&key("A")).await.unwrap();
    stage.fall_sick(500);
    let again = started(stage.agent("a", Mode::Associate)).await;
    assert_eq!(holder(&again), Some(key("A").fingerprint));
    let fresh = started(stage.agent("fresh", Mode::Associate)).await;
    assert!(is_unknown(&fresh));
    assert!(fresh.claim(&key("B")).await.is_err());
}

#[tokio::test]
async fn a_record_that_vanished_revokes_nothing_and_opens_nothing() {
    let stage = Stage::set(Kind::Swarm);
    let agent = stage.agent("a", Mode::Associate);
    agent.claim(&key("A")).await.unwrap();
    stage.script.configs.lock().unwrap().clear();
    let again = started(stage.agent("a", Mode::Associate)).await;
    again.claim(&key("B")).await.unwrap();
    assert_eq!(holder(&again), Some(key("A").fingerprint));
}

#[tokio::test]
async fn beside_a_record_that_cannot_be_proved_no_window_opens_by_itself() {
    let stage = Stage::set(Kind::Swarm);
    let other = stage.agent_at(stage.directory.path(), Mode::Associate, Some(vec![[8; 32]]));
    other.claim(&key("B")).await.unwrap();
    let agent = started(stage.agent("a", Mode::Associate)).await;
    assert!(is_closed(&agent));
    agent.claim(&key("A")).await.unwrap();
    assert!(is_closed(&agent));
    other.refresh(SystemTime::now()).await;
    assert_eq!(holder(&other), Some(key("B").fingerprint));
}

#[tokio::test]
async fn a_start_with_less_protection_opens_no_window_until_a_reset() {
    for kind in [Kind::Swarm, Kind::Standalone] {
        let stage = Stage::set(kind);
        stage.agent("a", Mode::Associate).claim(&key("A")).await.unwrap();
        started(stage.agent("a", Mode::Secret)).await;
        let agent = started(stage.agent("a", Mode::Associate)).await;
        assert!(is_closed(&agent), "{kind:?}");
        agent.claim(&key("A")).await.unwrap();
        assert!(is_closed(&agent), "{kind:?}");
    }
}

#[tokio::test]
async fn a_replaced_secret_keeps_the_association() {
    let stage = Stage::set(Kind::Swarm);
    stage.agent("a", Mode::Associate).claim(&key("A")).await.unwrap();
    for keys in [vec![[8; 32], KEY], vec![[8; 32]]] {
        let data = stage.directory.path().join(keys.len().to_string());
        std::fs::create_dir(&data).unwrap();
        let agent = started(stage.agent_at(&data, Mode::Associate, Some(keys.clone()))).await;
        assert_eq!(holder(&agent), Some(key("A").fingerprint), "{} keys", keys.len());
    }
    assert_eq!(stage.script.names().len(), 3);
}

#[tokio::test]
async fn a_reset_ends_what_the_old_key_opened() {
    let stage = Stage::set(Kind::Swarm);
    let agent = stage.agent("a", Mode::Associate);
    let held = agent.claim(&key("A")).await.unwrap();
    let Association::Held { revoked, .. } = &*held else { panic!("{held:?}") };
    let desk = stage.desk(stage.directory.path(), &[KEY]);
    let done = reset(&desk, Some(key("B").fingerprint), SystemTime::now()).await;
    assert_eq!(done.code, 0, "{}", done.text);
    agent.refresh(SystemTime::now()).await;
    assert!(revoked.is_cancelled());
    assert_eq!(holder(&agent), Some(key("B").fingerprint));
    let shown = show(&desk, SystemTime::now()).await;
    assert!(shown.text.contains(&key("B").fingerprint.to_string()), "{}", shown.text);
    assert_eq!(reset(&desk, None, SystemTime::now()).await.code, 0);
    agent.refresh(SystemTime::now()).await;
    assert!(is_open(&agent));
}

#[tokio::test]
async fn a_reset_counts_on_from_what_the_agents_saw() {
    let stage = Stage::set(Kind::Swarm);
    let agent = stage.agent("a", Mode::Associate);
    agent.claim(&key("A")).await.unwrap();
    stage.script.configs.lock().unwrap().clear();
    let data = stage.directory.path().join("a");
    assert_eq!(reset(&stage.desk(&data, &[KEY]), None, SystemTime::now()).await.code, 0);
    assert_eq!(stage.script.names(), ["swarmgate.association.3"]);
    agent.refresh(SystemTime::now()).await;
    assert!(is_open(&agent));
}

#[tokio::test]
async fn a_file_that_the_operator_replaced_counts() {
    let stage = Stage::set(Kind::Standalone);
    let agent = stage.agent("a", Mode::Associate);
    agent.claim(&key("A")).await.unwrap();
    let path = stage.directory.path().join("a").join(file::RECORD);
    let named = Record { until: 0, ..record(1, Some(Holder::Named(key("B").fingerprint))) };
    file::store(&path, &named, &NodeId::parse("n1").unwrap(), &Seals::default()).unwrap();
    agent.refresh(SystemTime::now()).await;
    assert_eq!(holder(&agent), Some(key("B").fingerprint));
}

#[tokio::test]
async fn joining_a_swarm_ends_the_hosts_own_association() {
    let stage = Stage::set(Kind::Standalone);
    let agent = stage.agent("a", Mode::Associate);
    let held = agent.claim(&key("A")).await.unwrap();
    let Association::Held { revoked, .. } = &*held else { panic!("{held:?}") };
    stage.fall_sick(500);
    stage.cluster.send_replace(Arc::new(cluster(Kind::Swarm)));
    agent.refresh(SystemTime::now()).await;
    assert!(is_unknown(&agent));
    assert!(revoked.is_cancelled());
}

#[tokio::test]
async fn of_static_peers_all_but_the_first_refuse_claims_and_name_it() {
    let stage = Stage::set(Kind::Fixed);
    let agent = started(stage.agent("a", Mode::Associate)).await;
    assert!(is_open(&agent), "so that a signature gets as far as the claim");
    let error = agent.claim(&key("A")).await.unwrap_err().to_string();
    assert!(error.contains("127.0.0.1:9003"), "{error}");
}

#[tokio::test]
async fn the_loop_looks_as_soon_as_the_engine_has_spoken() {
    let stage = Stage::set(Kind::Unknown);
    let agent = stage.agent("a", Mode::Associate);
    let mut states = agent.subscribe();
    agent.start(&stage.shutdown);
    stage.cluster.send_replace(Arc::new(cluster(Kind::Swarm)));
    states.wait_for(|state| matches!(&**state, Association::Open)).await.unwrap();
    assert_eq!(stage.script.names(), ["swarmgate.association.1"]);
}
