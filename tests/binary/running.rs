//! The real executable while it runs: how signals end it, and a socket that it may not open. And the example that
//! starts a cluster.

#[allow(dead_code, reason = "other tests use the rest of it")]
#[path = "../it/support/client.rs"]
mod client;
#[path = "../it/support/engine.rs"]
mod engine;
#[path = "../it/support/sign.rs"]
mod sign;

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use rustix::process::{Pid, Signal, geteuid, kill_process};
use tokio::sync::mpsc;

use client::{Client, piece, whole};
use engine::{Engine, Script};
use sign::Signer;

const SECRET: &str = "what the server signs in tests";

/// 60 s: what has not happened by then does not happen, even on a busy machine.
async fn soon<T>(what: &str, event: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(60), event).await {
        Ok(done) => done,
        Err(_) => panic!("did not happen: {what}"),
    }
}

/// A process that is killed with its test, and what it says.
struct Running {
    child: Child,
    lines: mpsc::UnboundedReceiver<String>,
    heard: Vec<String>,
}

impl Running {
    fn new(mut child: Child) -> Self {
        let said: Box<dyn Read + Send> = match (child.stdout.take(), child.stderr.take()) {
            (Some(stdout), _) => Box::new(stdout),
            (None, Some(stderr)) => Box::new(stderr),
            (None, None) => panic!("nobody listens to it"),
        };
        let (to, lines) = mpsc::unbounded_channel();
        // Ends with the process.
        std::thread::spawn(move || {
            BufReader::new(said).lines().map_while(Result::ok).try_for_each(|l| to.send(l))
        });
        Self { child, lines, heard: Vec::new() }
    }

    /// The line with this text, once it was said.
    async fn says(&mut self, text: &str) -> String {
        loop {
            if let Some(line) = self.heard.iter().find(|line| line.contains(text)) {
                return line.clone();
            }
            let Some(line) = soon(text, self.lines.recv()).await else {
                panic!("it ended without {text:?}: {:#?}", self.heard);
            };
            self.heard.push(line);
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// How it ends, and all that it said.
    async fn end(mut self) -> (ExitStatus, String) {
        while let Some(line) = soon("its end", self.lines.recv()).await {
            self.heard.push(line);
        }
        (self.child.wait().unwrap(), self.heard.join("\n"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// An agent of that engine, on any port.
fn agent(binary: &Path, data: &Path, socket: &Path) -> Command {
    let mut command = Command::new(binary);
    let host = format!("unix://{}", socket.display());
    let environment = [("AGENT_HOST", "127.0.0.1"), ("AGENT_PORT", "0"), ("AGENT_SECRET", SECRET)];
    command.env_clear().envs(environment).env("DATA_PATH", data).env("DOCKER_HOST", host);
    command.stderr(Stdio::piped());
    command
}

/// A signing client of an agent that serves.
async fn client_of(agent: &mut Running) -> Client {
    let serving = agent.says("serving").await;
    let (_, rest) = serving.split_once("address=").unwrap();
    let at: SocketAddr = rest.split_whitespace().next().unwrap().parse().unwrap();
    Client { at, signer: Some(Signer::new(Some(SECRET))) }
}

/// An agent with an open stream of events, told to end.
async fn draining(engine: &Engine, data: &Path, signal: Signal, name: &str) -> (Running, Incoming) {
    let mut command = agent(Path::new(env!("CARGO_BIN_EXE_swarmgate")), data, engine.socket());
    let mut agent = Running::new(command.spawn().unwrap());
    let mut events = client_of(&mut agent).await.open("GET", "/events", &[], whole("")).await.into_body();
    engine.event("{}");
    assert_eq!(piece(&mut events).await, "{}\n");
    agent.signal(signal);
    let line = agent.says("draining").await;
    assert!(line.contains(name), "{line}");
    (agent, events)
}

#[tokio::test]
async fn either_signal_lets_a_stream_go_on_until_its_client_leaves() {
    for (signal, name) in [(Signal::TERM, "SIGTERM"), (Signal::INT, "SIGINT")] {
        let (engine, data) = (Engine::start(Script::new("node1")), tempfile::tempdir().unwrap());
        let (agent, mut events) = draining(&engine, data.path(), signal, name).await;
        engine.event("{\"still\":1}");
        assert_eq!(piece(&mut events).await, "{\"still\":1}\n", "{name}");
        drop(events);
        let (ended, said) = agent.end().await;
        assert_eq!(ended.code(), Some(0), "{name}: {said}");
        assert!(said.ends_with(" stopped"), "nothing had to be cut after {name}: {said}");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_watchdog_watches_it_from_before_it_serves_until_it_drains() {
    let (engine, data) = (Engine::start(Script::new("node1")), tempfile::tempdir().unwrap());
    let mut command = agent(Path::new(env!("CARGO_BIN_EXE_swarmgate")), data.path(), engine.socket());
    let mut agent = Running::new(command.spawn().unwrap());
    agent.says("serving").await;
    let tasks = fs::read_dir(format!("/proc/{}/task", agent.child.id())).unwrap();
    let names = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok());
    assert_eq!(names.filter(|name| name.trim() == "watchdog").count(), 1);
    agent.signal(Signal::TERM);
    let (ended, said) = agent.end().await;
    assert_eq!(ended.code(), Some(0), "{said}");
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    for (first, name, second) in [
        (Signal::TERM, "SIGTERM", Signal::INT),
        (Signal::INT, "SIGINT", Signal::TERM),
        (Signal::INT, "SIGINT", Signal::INT),
    ] {
        let (engine, data) = (Engine::start(Script::new("node1")), tempfile::tempdir().unwrap());
        let (agent, events) = draining(&engine, data.path(), first, name).await;
        agent.signal(second);
        let (ended, said) = agent.end().await;
        assert_eq!(ended.code(), Some(0), "{name}: {said}");
        assert!(said.ends_with("a second signal: stopping at once"), "{name}: {said}");
        assert!(soon("the end of the stream", events.collect()).await.is_err(), "{name}");
    }
}

#[tokio::test]
async fn a_socket_that_it_may_not_open_is_an_answer_with_the_remedy_until_it_may() {
    let folder = tempfile::tempdir().unwrap();
    let [binary, data, socket] = ["swarmgate", "data", "docker.sock"].map(|name| folder.path().join(name));
    let engine = Engine::start_at(&socket, Script::new("node1"));
    let mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    mode(&socket, 0o000);
    fs::copy(env!("CARGO_BIN_EXE_swarmgate"), &binary).unwrap();
    fs::create_dir(&data).unwrap();
    let mut command = agent(&binary, &data, &socket);
    if geteuid().is_root() {
        // Root is never refused: so as nobody, to whom our folders are open.
        command.uid(65534).gid(65534);
        mode(folder.path(), 0o755);
        mode(&data, 0o777);
    }
    let mut agent = match command.spawn() {
        Ok(child) => Running::new(child),
        Err(error) => {
            assert!(geteuid().is_root(), "{error}");
            eprintln!("SKIPPED: there is no other user here to run as: {error}");
            return;
        }
    };
    let client = client_of(&mut agent).await;
    agent.says("the engine does not answer").await;
    assert_eq!(client.stranger().get("/ping").await.status, 204);
    let refused = client.get("/containers/json").await;
    refused.is_json_of_an_agent(503, "a refused socket");
    let message = refused.message();
    let problem = format!("connect to the engine at {}: not permitted; ", socket.display());
    let remedy = message.split_once(&problem).unwrap_or_else(|| panic!("{message}")).1;
    assert!(remedy.contains("the socket"), "{message}");
    assert_eq!(engine.connections(), 0);

    mode(&socket, 0o666);
    agent.says("the engine answers").await;
    let list = client.get("/containers/json").await;
    assert_eq!((list.status, list.json().as_array().unwrap().len()), (200, 3));
}

#[tokio::test]
async fn the_example_of_a_cluster_prints_commands_that_work_and_leaves_nothing_behind() {
    // `cargo test` builds it; with only some of the targets chosen, `cargo build --example cluster` does.
    let tests = std::env::current_exe().unwrap();
    let example = tests.parent().and_then(Path::parent).unwrap().join("examples/cluster");
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(&example);
    command.env_clear().env("TMPDIR", folder.path()).stdout(Stdio::piped());
    let child = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", example.display()));
    let mut cluster = Running::new(child);
    cluster.says("Ctrl-C here ends it all").await;

    let listing = cluster.says("/containers/json | ").await;
    let listed = Command::new("sh").args(["-c", listing.trim()]).output().unwrap();
    let text = String::from_utf8(listed.stdout).unwrap();
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    let wanted = ["node1", "node2", "node3"].map(|node| format!("3 \"NodeName\":\"{node}\""));
    assert_eq!(lines, wanted, "{listing}: {}", String::from_utf8_lossy(&listed.stderr));

    cluster.signal(Signal::INT);
    let (ended, said) = cluster.end().await;
    assert_eq!(ended.code(), Some(0), "{said}");
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}
