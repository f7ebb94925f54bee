//! One Swarm, or one host, with a scripted engine that keeps configs as a Swarm does; and what is logged meanwhile.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::UnixListener;

use super::super::command::Desk;
use super::super::*;
use crate::config::{Engine as EngineConfig, EngineAt, Limits};
use crate::dial::{Engine, Peers};
use crate::model::{Cluster, Kind, Member, NodeId, Reach, Role};

pub(super) const KEY: RecordKey = [7; 32];

/// A manager's engine: configs by name, and a status that it answers instead of working.
pub(super) struct Script {
    pub(super) configs: Mutex<BTreeMap<String, Value>>,
    pub(super) sick: AtomicU16,
    /// Whether configs can be read but not be made.
    pub(super) leaderless: AtomicBool,
    /// Whether the engine is in no Swarm.
    pub(super) alone: bool,
    /// Whether the engine is a worker's now.
    pub(super) worker: AtomicBool,
}

/// One Swarm, or one host, with its engine.
pub(super) struct Stage {
    pub(super) script: Arc<Script>,
    pub(super) engine: Engine,
    pub(super) directory: tempfile::TempDir,
    pub(super) shutdown: Shutdown,
    pub(super) cluster: watch::Sender<Arc<Cluster>>,
}

impl Script {
    pub(super) fn names(&self) -> Vec<String> {
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
            "/info" if self.alone => said(200, &json!({"Swarm": {"LocalNodeState": "inactive"}})),
            "/info" => {
                let (manager, managers) =
                    (!self.worker.load(Ordering::Relaxed), [json!({"Addr": "10.0.0.1:2377"})]);
                let swarm = json!({"NodeID": "n1", "LocalNodeState": "active", "ControlAvailable": manager,
                    "RemoteManagers": managers});
                said(200, &json!({ "Swarm": swarm }))
            }
            "/configs" => {
                let made = |spec| json!({"ID": "x", "CreatedAt": "2026-07-22T15:00:00.5Z", "Spec": spec});
                said(200, &configs.values().map(made).collect())
            }
            "/configs/create" if self.leaderless.load(Ordering::Relaxed) => {
                said(500, &json!({"message": "rpc error: The swarm does not have a leader"}))
            }
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
    pub(super) fn set(kind: Kind) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("engine.sock");
        let shutdown = Shutdown::new();
        let script = Arc::new(Script {
            configs: Mutex::default(),
            sick: AtomicU16::new(0),
            leaderless: AtomicBool::default(),
            alone: matches!(kind, Kind::Standalone | Kind::Fixed),
            worker: AtomicBool::default(),
        });
        serve(UnixListener::bind(&socket).unwrap(), Arc::clone(&script), &shutdown);
        let config = EngineConfig { at: EngineAt::Unix(socket), tls: None };
        let engine = Engine::new(&config, &Limits::default(), shutdown.clone()).unwrap();
        let cluster = watch::Sender::new(Arc::new(cluster(kind)));
        Self { script, engine, directory, shutdown, cluster }
    }

    /// An agent with its own data directory.
    pub(super) fn agent(&self, data: &str, mode: Mode) -> Associations {
        let data = self.directory.path().join(data);
        std::fs::create_dir_all(&data).unwrap();
        self.agent_at(&data, mode, Some(vec![KEY]))
    }

    pub(super) fn agent_at(&self, data: &Path, mode: Mode, keys: Option<Vec<RecordKey>>) -> Associations {
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

    pub(super) fn fall_sick(&self, status: u16) {
        self.script.sick.store(status, Ordering::Relaxed);
    }

    pub(super) fn desk<'a>(&'a self, data: &'a Path, keys: &'a [RecordKey]) -> Desk<'a> {
        let window = Duration::from_secs(60);
        Desk { engine: &self.engine, data, window, record_keys: keys, here: None, elsewhere: None }
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

pub(in crate::associate) fn cluster(kind: Kind) -> Cluster {
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

/// What is logged on this thread until the guard is dropped.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(super) fn start() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    /// The lines since the last look that hold this text.
    pub(super) fn lines(&self, text: &str) -> Vec<String> {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap());
        let all = String::from_utf8(bytes).unwrap();
        all.lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
