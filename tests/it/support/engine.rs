//! A scripted Docker engine on a unix socket: answers like dockerd 20.10 does, says what it was asked, and does worse
//! on demand. Tests, the example and benches include this file; it knows nothing of swarmgate.
#![allow(dead_code, unreachable_pub, reason = "each crate that includes this uses another part of it")]
#![allow(clippy::expect_used, reason = "a script that cannot go on must stop its test")]

#[path = "engine/answers.rs"]
pub(crate) mod answers;
#[path = "engine/cork.rs"]
mod cork;
#[path = "engine/pages.rs"]
mod pages;
#[path = "engine/routes.rs"]
mod routes;
#[path = "engine/samples.rs"]
pub(crate) mod samples;
#[path = "engine/streams.rs"]
mod streams;
#[path = "engine/swarm.rs"]
pub(crate) mod swarm;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use answers::{Answer, Recorded, Rule};
use cork::{Cork, Corked};
use swarm::Swarm;

/// What an engine is. Everything that changes while it runs is in its [`Swarm`] or in rules.
#[derive(Clone)]
pub(crate) struct Script {
    pub(crate) host: String,
    /// Its NodeID, and the seed of all ids on it.
    pub(crate) node: String,
    /// How many containers it has, and how many of them, the oldest, have exited.
    pub(crate) containers: usize,
    pub(crate) stopped: usize,
    pub(crate) version: &'static str,
    /// Minor numbers of the API versions 1.x that it accepts.
    pub(crate) api: std::ops::RangeInclusive<u16>,
    pub(crate) swarm: Option<Arc<Swarm>>,
    /// Whether requests are remembered; off for benches.
    pub(crate) records: bool,
}

impl Script {
    /// A 20.10 engine of that host name with three containers, in no Swarm.
    pub(crate) fn new(host: &str) -> Self {
        Self {
            host: host.to_owned(),
            node: samples::node_id(host),
            containers: 3,
            stopped: 0,
            version: "20.10.24",
            api: 12..=41,
            swarm: None,
            records: true,
        }
    }

    /// The same, a newer engine: 26.1.
    pub(crate) fn newer(host: &str) -> Self {
        Self { version: "26.1.5", api: 24..=45, ..Self::new(host) }
    }
}

/// A running engine. Dropped, it is gone at once, with its socket and all connections.
pub(crate) struct Engine {
    state: Arc<State>,
    socket: PathBuf,
    directory: Option<tempfile::TempDir>,
}

impl Engine {
    /// Starts on a socket in a directory of its own.
    pub(crate) fn start(script: Script) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut engine = Self::start_at(&directory.path().join("docker.sock"), script);
        engine.directory = Some(directory);
        engine
    }

    /// Starts on this socket, so that an engine can come late, or come back.
    pub(crate) fn start_at(socket: &Path, script: Script) -> Self {
        let listener = UnixListener::bind(socket).expect("a socket");
        let state = Arc::new(State::new(script));
        state.spawn(accept(listener, Arc::clone(&state)));
        Self { state, socket: socket.to_owned(), directory: None }
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    pub(crate) fn script(&self) -> &Script {
        &self.state.script
    }

    /// Changes what happens on a path, given without its version: `/containers/json`, `POST /images/load`, or
    /// `/containers/*` for all below. The newest rule that fits wins.
    pub(crate) fn on(&self, path: &str, rule: impl Into<Rule>) {
        self.state.rules.lock().expect("rules").push((path.to_owned(), rule.into()));
    }

    /// The usual again.
    pub(crate) fn off(&self, path: &str) {
        self.state.rules.lock().expect("rules").retain(|(ruled, _)| ruled != path);
    }

    /// All requests so far, in order of arrival.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.seen.borrow().clone()
    }

    /// The first request for this path, given without its version; waits for it.
    pub(crate) async fn saw(&self, path: &str) -> Seen {
        let mut seen = self.state.seen.subscribe();
        let all = seen.wait_for(|all| all.iter().any(|seen| seen.path() == path)).await.expect("seen");
        all.iter().find(|seen| seen.path() == path).expect("it was there").clone()
    }

    /// Waits until there were so many requests for this path, given without its version.
    pub(crate) async fn saw_times(&self, path: &str, times: usize) {
        let enough = |all: &Vec<Seen>| all.iter().filter(|seen| seen.path() == path).count() >= times;
        self.state.seen.subscribe().wait_for(enough).await.expect("seen");
    }

    pub(crate) fn forget(&self) {
        self.state.seen.send_modify(Vec::clear);
    }

    /// How many connections were accepted.
    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::Relaxed)
    }

    /// How many bytes `POST /images/load` has read.
    pub(crate) fn loaded(&self) -> u64 {
        self.state.loaded.load(Ordering::Relaxed)
    }

    /// How many logs, events, waits, attaches and execs are open.
    pub(crate) fn streams(&self) -> usize {
        *self.state.open.borrow()
    }

    pub(crate) async fn streams_become(&self, count: usize) {
        self.state.open.subscribe().wait_for(|open| *open == count).await.expect("counted");
    }

    /// Says a line to all who follow logs, or are attached without an upgrade.
    pub(crate) fn log(&self, line: &str) {
        self.state.say(Feed::Logs, streams::frame(line));
    }

    /// Says an event, one JSON document.
    pub(crate) fn event(&self, json: &str) {
        self.state.say(Feed::Events, Bytes::from(format!("{json}\n")));
    }

    /// Ends all waits.
    pub(crate) fn exit(&self, code: i64) {
        self.state.say(Feed::Exits, Bytes::from(format!("{{\"Error\":null,\"StatusCode\":{code}}}\n")));
    }

    /// Ends everything and waits until it has ended; the socket is gone then.
    pub(crate) async fn stop(self) {
        self.state.over.cancel();
        self.state.tasks.close();
        self.state.tasks.wait().await;
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.state.over.cancel();
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// A request as it arrived.
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    /// Path and query, byte for byte.
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    taken: Arc<Mutex<Taken>>,
}

impl Seen {
    /// The path without its version and query.
    pub(crate) fn path(&self) -> &str {
        let path = self.target.split('?').next().unwrap_or_default();
        routes::split_version(path).1
    }

    pub(crate) fn query(&self) -> HashMap<String, String> {
        routes::query(self.target.split_once('?').map(|(_, query)| query))
    }

    /// What was read of the body so far, 64 KiB of it at most.
    pub(crate) fn body(&self) -> Vec<u8> {
        self.taken.lock().expect("taken").kept.clone()
    }

    /// How long the body was, as far as it was read.
    pub(crate) fn body_length(&self) -> u64 {
        self.taken.lock().expect("taken").length
    }
}

#[derive(Default)]
pub(crate) struct Taken {
    kept: Vec<u8>,
    length: u64,
}

impl Taken {
    fn add(&mut self, data: &[u8]) {
        self.length += data.len() as u64;
        let room = (64 << 10) - self.kept.len();
        self.kept.extend(data.iter().take(room));
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Feed {
    Logs,
    Events,
    Exits,
}

struct State {
    script: Script,
    rules: Mutex<Vec<(String, Rule)>>,
    seen: watch::Sender<Vec<Seen>>,
    open: watch::Sender<usize>,
    feed: broadcast::Sender<(Feed, Bytes)>,
    connections: AtomicUsize,
    loaded: AtomicU64,
    execs: Mutex<Vec<String>>,
    /// The whole list of containers, made once.
    list: OnceLock<Bytes>,
    tasks: TaskTracker,
    over: CancellationToken,
}

impl State {
    fn new(script: Script) -> Self {
        Self {
            script,
            rules: Mutex::default(),
            seen: watch::Sender::default(),
            open: watch::Sender::default(),
            // 1024: a follower that lags further behind has lost its test anyway.
            feed: broadcast::Sender::new(1024),
            connections: AtomicUsize::new(0),
            loaded: AtomicU64::new(0),
            execs: Mutex::default(),
            list: OnceLock::new(),
            tasks: TaskTracker::new(),
            over: CancellationToken::new(),
        }
    }

    /// Every task ends with the engine.
    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let over = self.over.clone();
        self.tasks.spawn(async move {
            over.run_until_cancelled_owned(work).await;
        });
    }

    fn say(&self, feed: Feed, text: Bytes) {
        // Nobody listening is fine.
        let _ = self.feed.send((feed, text));
    }

    fn rule(&self, method: &Method, path: &str) -> Option<Rule> {
        let fits = |ruled: &str| {
            let ruled = match ruled.split_once(' ') {
                Some((of, rest)) if of == method.as_str() => rest,
                Some(_) => return false,
                None => ruled,
            };
            ruled.strip_suffix('*').map_or(ruled == path, |start| path.starts_with(start))
        };
        let rules = self.rules.lock().expect("rules");
        rules.iter().rev().find(|(ruled, _)| fits(ruled)).map(|(_, rule)| rule.clone())
    }
}

/// Counts one open stream for as long as it lives.
pub(crate) struct Open(Arc<State>);

impl Open {
    fn new(state: &Arc<State>) -> Self {
        state.open.send_modify(|open| *open += 1);
        Self(Arc::clone(state))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.send_modify(|open| *open -= 1);
    }
}

async fn accept(listener: UnixListener, state: Arc<State>) {
    while let Ok((stream, _)) = listener.accept().await {
        state.connections.fetch_add(1, Ordering::Relaxed);
        state.spawn(serve(stream, Arc::clone(&state)));
    }
}

async fn serve(stream: UnixStream, state: Arc<State>) {
    let cork = Cork::default();
    let io = TokioIo::new(Corked::new(stream, cork.clone()));
    let service = service_fn(move |request| handle(Arc::clone(&state), request, cork.clone()));
    let mut server = hyper::server::conn::http1::Builder::new();
    // Go writes `Api-Version`, and takes a client that has closed its side for one that has left, as hyper does.
    server.title_case_headers(true);
    // A client that leaves is no failure of the engine.
    let _ = server.serve_connection(io, service).with_upgrades().await;
}

async fn handle(state: Arc<State>, request: Request<Incoming>, cork: Cork) -> Result<Answer, std::io::Error> {
    let taken = Arc::new(Mutex::new(Taken::default()));
    let target = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
    if state.script.records {
        let (method, headers) = (request.method().clone(), request.headers().clone());
        let seen = Seen { method, target, headers, taken: Arc::clone(&taken) };
        state.seen.send_modify(|all| all.push(seen));
    }
    let mut request = request.map(|body| Recorded { body, taken });
    request.extensions_mut().insert(cork);
    let path = routes::split_version(request.uri().path()).1;
    let answer = match state.rule(request.method(), path) {
        Some(Rule::Answer(handler)) => handler(request).await,
        Some(Rule::HangUp) => return Err(std::io::Error::other("hung up as scripted")),
        Some(Rule::Hold(held)) => {
            let held = held.lock().expect("held").take();
            if let Some((started, release)) = held {
                let _ = started.send(());
                let _ = release.await;
            }
            routes::usual(&state, request).await
        }
        None => routes::usual(&state, request).await,
    };
    Ok(signed(&state.script, answer))
}

/// The headers of every answer but an attach's.
fn signed(script: &Script, mut answer: Answer) -> Answer {
    if answer.extensions().get::<streams::Bare>().is_some() {
        return answer;
    }
    let text = |text: String| HeaderValue::from_str(&text).expect("plain text");
    let headers = answer.headers_mut();
    headers.insert("Api-Version", text(format!("1.{}", script.api.end())));
    headers.insert("Docker-Experimental", HeaderValue::from_static("false"));
    headers.insert("Ostype", HeaderValue::from_static("linux"));
    headers.insert("Server", text(format!("Docker/{} (linux)", script.version)));
    answer
}
