//! The loops in front of a scripted engine.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::config::{self, ClusterSettings, Config, EngineAt, Limits, Listen, Log, LogMode, Portainer, Tls};
use crate::dial::ProbeDocument;
use crate::dial::{Engine, Peers};
use crate::discover::{Discovery, nobody_yet, start};
use crate::membership::Membership;
use crate::model::{Cluster, Hint, Kind, Reach};
use crate::shutdown::Shutdown;

type Answers = Arc<Mutex<HashMap<&'static str, String>>>;
/// Every path that was asked for, in order.
type Asked = watch::Sender<Vec<String>>;

fn recorded(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/recorded").join(name);
    std::fs::read_to_string(path).unwrap()
}

/// Serves what `answers` holds for a path, else 404.
fn serve(socket: &Path, answers: Answers, asked: Asked, shutdown: &Shutdown) {
    let listener = UnixListener::bind(socket).unwrap();
    shutdown.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            answer(stream, &answers, &asked).await;
        }
    });
}

async fn answer(mut stream: UnixStream, answers: &Answers, asked: &Asked) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap();
    let found = answers.lock().unwrap().get(path).cloned();
    asked.send_modify(|asked| asked.push(path.to_owned()));
    let (status, body) = match found {
        Some(body) => ("200 OK", body),
        None => ("404 Not Found", r#"{"message":"no such thing"}"#.to_owned()),
    };
    let length = body.len();
    let text = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    // The client may have gone.
    let _gone = stream.write_all(text.as_bytes()).await;
}

pub(super) fn config(dir: &Path, peers: &[&str]) -> Config {
    let peer = |host: &&str| config::PeerAddress { host: (*host).to_owned(), port: 1 };
    Config {
        listen: Listen { host: None, port: 9001, peer_port: 9002, allow_from: Vec::new(), metrics: None },
        tls: Tls { own: None, sans: Vec::new() },
        engine: config::Engine { at: EngineAt::Unix(dir.join("docker.sock")), tls: None },
        portainer: Portainer {
            secret: None,
            pins: Vec::new(),
            window: Duration::ZERO,
            agent_version: String::new(),
        },
        registration: None,
        cluster: ClusterSettings { secrets: Vec::new(), name: None, peers: peers.iter().map(peer).collect() },
        data: dir.to_owned(),
        log: Log { level: tracing::Level::INFO, mode: LogMode::Pretty },
        host_root: "/host".into(),
        browse: config::Browse { host: false, upload_limit: 0 },
        hub: config::Hub { auth: String::new(), registry: String::new(), trust: config::Trust::Plain },
        limits: Limits { refresh: Duration::from_millis(50), ..Limits::default() },
        ignored: Vec::new(),
        warnings: Vec::new(),
    }
}

struct Agent {
    dir: TempDir,
    answers: Answers,
    asked: Asked,
    snapshots: watch::Receiver<Arc<Cluster>>,
    shutdown: Shutdown,
    _hints: mpsc::Sender<Hint>,
}

impl Agent {
    fn start(peers: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path(), peers);
        let shutdown = Shutdown::new();
        let engine = Engine::new(&config.engine, &config.limits, shutdown.clone()).unwrap();
        let (_, tls) = watch::channel(None);
        let peers = Peers::new(tls, Arc::new(config.limits.clone()), shutdown.clone());
        let membership = Membership::new(nobody_yet());
        let snapshots = membership.subscribe();
        let (_hints, hints) = mpsc::channel(1);
        let config = Arc::new(config);
        start(Discovery { config, engine, peers, membership, hints, shutdown: shutdown.clone() });
        let (answers, asked) = (Answers::default(), Asked::default());
        Self { dir, answers, asked, snapshots, shutdown, _hints }
    }

    fn engine_starts(&self) {
        let (answers, asked) = (Arc::clone(&self.answers), self.asked.clone());
        serve(&self.dir.path().join("docker.sock"), answers, asked, &self.shutdown);
    }

    fn says(&self, rows: &[(&'static str, &str)]) {
        let mut answers = self.answers.lock().unwrap();
        answers.extend(rows.iter().map(|(path, file)| (*path, recorded(file))));
    }

    /// Waits until what these paths say now has been read: each was asked for three times more.
    async fn hears(&self, paths: &[&str]) {
        let mut asked = self.asked.subscribe();
        let known = asked.borrow().len();
        let often = |all: &Vec<String>, path: &str| all[known..].iter().filter(|p| *p == path).count() >= 3;
        let heard = asked.wait_for(|all| paths.iter().all(|path| often(all, path)));
        timeout(Duration::from_secs(10), heard).await.expect("it is not asked again").unwrap();
    }

    async fn until(&mut self, wanted: impl FnMut(&Arc<Cluster>) -> bool) -> Arc<Cluster> {
        let found = timeout(Duration::from_secs(10), self.snapshots.wait_for(wanted)).await;
        Arc::clone(&found.expect("it does not come to that").unwrap())
    }
}

#[tokio::test]
async fn an_engine_that_comes_late_is_found_and_what_it_becomes_is_followed() {
    let mut agent = Agent::start(&[]);
    assert_eq!(agent.snapshots.borrow().kind, Kind::Unknown);
    agent.says(&[("/info", "info-solo.json"), ("/version", "version.json")]);
    agent.engine_starts();

    let alone = agent.until(|c| c.kind == Kind::Standalone).await;
    let kept = std::fs::read_to_string(agent.dir.path().join("node-id")).unwrap();
    assert_eq!(alone.here.as_str(), kept.trim());
    assert_eq!((&*alone.me().host, alone.members.len()), ("node1", 1));
    let document = serde_json::to_string(&ProbeDocument::of(&alone)).unwrap();
    assert!(document.contains(r#""Max":"1.41""#), "{document}");

    agent.says(&[("/info", "info-manager.json"), ("/nodes", "nodes.json")]);
    let swarm = agent.until(|c| c.members.len() == 3).await;
    assert_eq!((swarm.kind, swarm.me().leader), (Kind::Swarm, true));
    assert!(swarm.members.values().filter(|m| !m.is_here()).all(|m| matches!(m.reach, Reach::Missing(_))));

    agent.says(&[("/nodes", "nodes-drained.json")]);
    agent.until(|c| c.members.values().all(|m| m.is_manager())).await;

    // A silent engine, or one that makes no sense, changes nothing.
    let before = agent.snapshots.borrow_and_update().clone();
    agent.answers.lock().unwrap().insert("/nodes", "[{\"ID\":".into());
    agent.answers.lock().unwrap().insert("/info", "{}".into());
    agent.hears(&["/info", "/nodes"]).await;
    assert!(!agent.snapshots.has_changed().unwrap());
    assert_eq!(*agent.snapshots.borrow(), before);
    agent.shutdown.finish(Duration::ZERO).await;
}

#[tokio::test]
async fn static_peers_are_members_before_they_answer() {
    let mut agent = Agent::start(&["127.0.1.1", "no-such-host.invalid"]);
    agent.says(&[("/info", "info-solo.json"), ("/version", "version.json")]);
    agent.engine_starts();
    let cluster = agent.until(|c| c.members.len() == 3).await;
    assert_eq!(cluster.kind, Kind::Fixed);
    assert_eq!(cluster.designated_manager(), None);
    // As a hosts file calls the machine itself: a listener belongs there as well.
    agent.until(|c| c.own_addresses.contains(&[127, 0, 1, 1].into())).await;
}

#[tokio::test]
async fn draining_ends_every_loop() {
    let agent = Agent::start(&["127.0.0.1"]);
    assert_eq!(agent.shutdown.finish(Duration::from_secs(5)).await, crate::shutdown::Ended::Clean);
}
