//! The real executable: what it prints, and how it ends.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

#[allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#[path = "binary/running.rs"]
mod running;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, Signal, kill_process};

const LONG: &str = "marker-0123456789abcdef0123456789abcdef";

/// Runs the program with this environment and no other.
fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_swarmgate"));
    command.args(arguments).env_clear().envs(environment.iter().copied());
    command.output().expect("it starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("it is text")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("it is text")
}

/// The line of an option in the output of `check`: its value and its origin.
fn line(text: &str, option: &str) -> (String, String) {
    let line = text.lines().find_map(|l| l.strip_prefix(&format!("{option} "))).unwrap_or_default();
    let (value, origin) = line.trim().rsplit_once("  (").unwrap_or_default();
    (value.trim().to_owned(), origin.trim_end_matches(')').to_owned())
}

#[test]
fn help_names_every_option_and_no_value() {
    let output = run(&["--help"], &[("AGENT_SECRET", LONG), ("AGENT_CLUSTER_SECRET", LONG)]);
    assert_eq!(output.status.code(), Some(0));
    // Long lines are wrapped anywhere.
    let text = stdout(&output).split_whitespace().collect::<Vec<_>>().join(" ");
    let visible: Vec<_> = swarmgate::cli::declared().into_iter().filter(|d| !d.hidden).collect();
    assert_eq!(visible.len(), 31);
    for option in visible {
        assert!(text.contains(&format!("[env: {}]", option.variable)), "{}", option.variable);
        assert!(text.contains(&format!("{} <", option.flag)), "{}", option.flag);
    }
    assert!(!text.contains("marker"));
}

#[test]
fn the_ends_have_their_codes() {
    let rows: &[(&[&str], i32)] = &[
        (&["--version"], 0),
        (&["check"], 0),
        (&["--no-such-flag"], 2),
        (&["no-such-command"], 2),
        (&["--port"], 2),
        (&["association"], 2),
        (&["association", "reset", "--key", "sha256:00"], 2),
        (&["--port", "x"], 1),
        (&["check", "--port", "x"], 1),
        (&["health", "--port", "x"], 1),
    ];
    for (arguments, code) in rows {
        let output = run(arguments, &[]);
        assert_eq!(output.status.code(), Some(*code), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn check_shows_what_counts_and_masks_secrets() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("cluster");
    fs::write(&file, format!("{LONG}\n")).expect("it is written");
    let environment = [
        ("AGENT_SECRET", "marker-short"),
        ("AGENT_CLUSTER_SECRET_FILE", file.to_str().expect("it is text")),
        ("AGENT_PORT", "9100"),
        ("AGENT_PEER_PORT", "9200"),
        ("XDG_STATE_HOME", "/state"),
    ];
    let output = run(&["check", "--port", "9300"], &environment);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    let rows = [
        ("AGENT_SECRET", "********", "from env"),
        ("AGENT_CLUSTER_SECRET", "********", "from file"),
        ("AGENT_PORT", "9300", "from flag"),
        ("AGENT_PEER_PORT", "9200", "from env"),
        ("AGENT_SECRET_TIMEOUT", "72h", "default"),
    ];
    for (option, value, origin) in rows {
        assert_eq!(line(&text, option), (value.to_owned(), origin.to_owned()), "{text}");
    }
    assert!(stderr(&output).starts_with("swarmgate: warning: AGENT_SECRET has fewer than 16 characters"));
    assert!(!(text + &stderr(&output)).contains("marker"));
}

#[test]
fn all_problems_come_in_one_go() {
    let environment = [
        ("AGENT_PORT", "x"),
        ("AGENT_HOST", ""),
        ("AGENT_SECRET", "marker"),
        ("AGENT_SECRET_FILE", "/nowhere"),
        ("AGENT_CLUSTER_SECRET", "marker"),
        ("AGENT_SERCET", "marker"),
        ("LOG_LEVEL", "loud"),
    ];
    for arguments in [&[][..], &["check"], &["health"]] {
        let output = run(arguments, &environment);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(stdout(&output), "");
        let text = stderr(&output);
        for option in [
            "AGENT_PORT",
            "AGENT_HOST",
            "AGENT_SECRET_FILE",
            "AGENT_CLUSTER_SECRET",
            "AGENT_SERCET",
            "LOG_LEVEL",
        ] {
            let start = format!("swarmgate: {option}: ");
            assert_eq!(text.lines().filter(|l| l.starts_with(&start)).count(), 1, "{option}: {text}");
        }
        assert_eq!(text.lines().count(), 6, "{text}");
        assert!(!text.contains("marker"), "{text}");
    }
}

#[test]
fn variables_of_portainer_cost_one_warning() {
    let output =
        run(&["check"], &[("EDGE", "0"), ("AWS_REGION", "x"), ("AGENT_CLUSTER_PROBE_TIMEOUT", "1s")]);
    assert_eq!(output.status.code(), Some(0));
    let names = "AGENT_CLUSTER_PROBE_TIMEOUT, AWS_REGION, EDGE";
    assert_eq!(
        stderr(&output),
        format!("swarmgate: warning: set for Portainer's agent and without effect here: {names}\n")
    );
}

#[test]
fn health_says_in_one_line_what_is_wrong() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a socket");
    let port = listener.local_addr().expect("an address").port().to_string();
    drop(listener);
    let output = run(&["health"], &[("AGENT_PORT", &port)]);
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(text.starts_with(&format!("swarmgate: connect to 127.0.0.1:{port}: ")), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
}

#[test]
fn the_readme_has_exactly_our_options() {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).expect("there is one");
    let (_, rest) = readme.split_once("<!-- options:begin -->").expect("the table begins");
    let (table, _) = rest.split_once("<!-- options:end -->").expect("the table ends");
    let rows: Vec<Vec<String>> = table
        .lines()
        .filter(|l| l.starts_with("| `"))
        .map(|l| l.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect())
        .collect();
    let declared: Vec<_> = swarmgate::cli::declared().into_iter().filter(|d| !d.hidden).collect();
    let documented: Vec<_> = rows.iter().map(|r| (r[0].clone(), r[1].clone())).collect();
    assert_eq!(documented, declared.into_iter().map(|d| (d.variable, d.flag)).collect::<Vec<_>>());

    // The default of a file is that of its option; that of the data directory depends on where it runs.
    let text = stdout(&run(&["check"], &[]));
    let comparable = |r: &&Vec<String>| !r[0].ends_with("_FILE") && r[0] != "DATA_PATH";
    let mut compared = 0;
    for row in rows.iter().filter(comparable) {
        assert_eq!(row.len(), 4, "{row:?}");
        assert_eq!(line(&text, &row[0]), (row[2].clone(), "default".to_owned()), "{row:?}");
        compared += 1;
    }
    assert_eq!(compared, 27);
}

/// An engine in no Swarm, as far as it is asked. It ends with the process.
fn lone_engine(socket: &Path) {
    let listener = UnixListener::bind(socket).expect("a socket");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).expect("a head");
                head.extend(byte);
            }
            let body = r#"{"Swarm":{"LocalNodeState":"inactive"}}"#;
            let head =
                format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all((head + body).as_bytes()).expect("it listens");
        }
    });
}

#[test]
fn check_tells_the_association_without_an_agent() {
    let folder = tempfile::tempdir().expect("a folder");
    let (data, socket) = (folder.path().join("data"), folder.path().join("docker.sock"));
    fs::create_dir(&data).expect("a folder");
    lone_engine(&socket);
    let host = format!("unix://{}", socket.display());
    let environment = [
        ("DATA_PATH", data.to_str().expect("it is text")),
        ("DOCKER_HOST", &host),
        ("AGENT_SECRET_TIMEOUT", "2h"),
    ];
    let told = |more: &[(&str, &str)]| {
        let output = run(&["check"], &[&environment[..], more].concat());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let text = stdout(&output);
        text.lines()
            .last()
            .and_then(|l| l.strip_prefix("association: "))
            .unwrap_or_else(|| panic!("{text}"))
            .to_owned()
    };
    assert_eq!(told(&[]), "none yet; a window of 2h opens when the agent starts");
    assert_eq!(told(&[("AGENT_SECRET", LONG)]), "none needed, since AGENT_SECRET is set");

    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let write = |text: String| fs::write(data.join("association.json"), text).expect("it is written");
    // 47 minutes and a half, so that the minute stands while the test runs.
    write(format!(r#"{{"N":1,"Key":null,"Until":{},"Mode":"associate","Node":"n"}}"#, now + 47 * 60 + 30));
    let open = told(&[]);
    assert!(open.starts_with("none yet; window ends in 47m"), "{open}");
    let peers = told(&[("AGENT_PEERS", "192.0.2.1"), ("AGENT_CLUSTER_SECRET", LONG)]);
    assert!(peers.contains("the first agent of AGENT_PEERS, 192.0.2.1:9002, decides"), "{peers}");
    for (peers, code) in [("192.0.2.1,127.0.0.1", 2), ("127.0.0.1,192.0.2.1", 0)] {
        let peers = [("AGENT_PEERS", peers), ("AGENT_CLUSTER_SECRET", LONG)];
        let output = run(&["association", "reset"], &[&environment[..], &peers].concat());
        assert_eq!(output.status.code(), Some(code), "{peers:?}: {}", stderr(&output));
        let wrote = fs::read_to_string(data.join("association.json")).expect("it is there");
        assert_eq!(wrote.contains("\"N\":2"), code == 0, "{peers:?}: {wrote}");
    }
    write(r#"{"N":1,"Key":null,"Until":1000,"Mode":"associate","Node":"n"}"#.to_owned());
    assert!(
        told(&[]).starts_with("none; window ended 1970-01-01 00:16:40 UTC; `swarmgate association reset`")
    );
    let key = format!("sha256:{}", "ab".repeat(32));
    write(format!(r#"{{"N":2,"Key":null,"Fingerprint":"{key}","Until":0,"Mode":"associate","Node":"n"}}"#));
    let held = told(&[]);
    assert!(held.starts_with(&format!("key {key} since 20")) && held.ends_with(" UTC"), "{held}");
    write("junk".to_owned());
    assert!(told(&[]).starts_with("not known: understand "), "{}", told(&[]));

    let gone = told(&[("DOCKER_HOST", "unix:///nowhere/docker.sock")]);
    assert!(
        gone.starts_with("not known: ask the engine") && gone.contains("there is no such socket"),
        "{gone}"
    );
}

/// An agent that is killed with its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn it_runs_until_a_signal_whatever_it_logs() {
    let levels = ["ERROR", "WARN", "INFO"];
    for level in levels {
        let data = tempfile::tempdir().expect("a folder");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a socket");
        let port = listener.local_addr().expect("an address").port().to_string();
        drop(listener);
        let environment = [
            ("LOG_LEVEL", level),
            ("AGENT_HOST", "127.0.0.1"),
            ("AGENT_PORT", &port),
            ("DATA_PATH", data.path().to_str().expect("it is text")),
            ("DOCKER_HOST", "unix:///nowhere/docker.sock"),
        ];
        let mut command = Command::new(env!("CARGO_BIN_EXE_swarmgate"));
        command.env_clear().envs(environment).stderr(Stdio::null());
        let mut agent = Running(command.spawn().expect("it starts"));
        let deadline = Instant::now() + Duration::from_secs(60);
        while run(&["health"], &environment).status.code() != Some(0) {
            let ended = agent.0.try_wait().expect("it can be asked");
            assert!(ended.is_none() && Instant::now() < deadline, "{level}: {ended:?}");
        }
        kill_process(Pid::from_child(&agent.0), Signal::TERM).expect("it is there");
        let ended = agent.0.wait().expect("it ends");
        assert_eq!(ended.code(), Some(0), "{level}");
    }
}
