//! Figures: what a scraper reads, who may, and that it is true.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use swarmgate::app::{self, Fatal};
use swarmgate::model::Absence;
use swarmgate::shutdown::Shutdown;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::client::Client;
use crate::support::cluster::{Cluster, Setup};
use crate::support::engine::samples;
use crate::support::soon;

const HOSTS: [&str; 2] = ["node1", "node2"];
const TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Every series with its value, as OpenMetrics 1.0 has them; panics at the line that is not.
#[derive(Debug)]
struct Scrape(BTreeMap<String, f64>);

impl Scrape {
    fn read(text: &str) -> Self {
        let mut families = BTreeSet::new();
        let (mut family, mut kind) = (String::new(), String::new());
        let mut series = BTreeMap::new();
        let lines = text.strip_suffix("# EOF\n").expect("it ends with its end").lines();
        for line in lines {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').unwrap_or_else(|| panic!("{line}"));
                assert!(is_name(name) && !help.is_empty(), "{line}");
                assert!(families.insert(name.to_owned()), "the family comes twice: {line}");
                (family, kind) = (name.to_owned(), String::new());
            } else if let Some(of) = line.strip_prefix("# TYPE ") {
                let (name, of) = of.split_once(' ').unwrap_or_else(|| panic!("{line}"));
                assert!(name == family && kind.is_empty(), "{line}");
                assert!(["counter", "gauge", "histogram", "info"].contains(&of), "{line}");
                kind = of.to_owned();
            } else {
                let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
                let (bare, labels) = name.split_once('{').map_or((name, None), |(b, l)| (b, Some(l)));
                let suffix =
                    bare.strip_prefix(&family).unwrap_or_else(|| panic!("outside its family: {line}"));
                let fits: &[&str] = match kind.as_str() {
                    "counter" => &["_total"],
                    "histogram" => &["_bucket", "_sum", "_count"],
                    "info" => &["_info"],
                    "gauge" => &[""],
                    _ => panic!("without a type: {line}"),
                };
                assert!(fits.contains(&suffix), "{kind}: {line}");
                labels.iter().for_each(|labels| check_labels(labels, line));
                let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
                assert!(value.is_finite() && (kind == "gauge" || value >= 0.0), "{line}");
                assert!(series.insert(name.to_owned(), value).is_none(), "it comes twice: {line}");
            }
        }
        Self(series)
    }

    #[track_caller]
    fn value(&self, series: &str) -> f64 {
        *self.0.get(series).unwrap_or_else(|| panic!("no {series} in {:#?}", self.0.keys()))
    }

    /// How many requests of this kind came to a listener and ended so.
    #[track_caller]
    fn requests(&self, listener: &str, class: &str, outcome: &str) -> f64 {
        let labels = format!("listener=\"{listener}\",class=\"{class}\",outcome=\"{outcome}\"");
        self.value(&format!("swarmgate_requests_total{{{labels}}}"))
    }
}

fn is_name(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') && !text.is_empty()
}

fn check_labels(labels: &str, line: &str) {
    let labels = labels.strip_suffix('}').unwrap_or_else(|| panic!("{line}"));
    for label in labels.split("\",") {
        let (name, value) = label.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
        assert!(is_name(name) && !value.trim_end_matches('"').is_empty(), "{line}");
    }
}

async fn scrape(client: &Client) -> Scrape {
    let told = client.get("/metrics").await;
    assert_eq!((told.status, told.header("content-type")), (200, TYPE));
    Scrape::read(&told.text())
}

/// Scrapes until it says so.
async fn scraped(client: &Client, what: &str, is_it: impl Fn(&Scrape) -> bool) -> Scrape {
    let scrapes = async {
        loop {
            let scrape = scrape(client).await;
            if is_it(&scrape) {
                return scrape;
            }
        }
    };
    soon(what, scrapes).await
}

async fn two() -> Cluster {
    Setup::fixed(&HOSTS).start().await
}

#[tokio::test]
async fn a_scrape_is_whole_and_tells_of_agent_process_and_host() {
    let folder = tempfile::tempdir().unwrap();
    let proc = folder.path().join("proc");
    std::fs::create_dir_all(folder.path().join("sys/block/sda")).unwrap();
    std::fs::create_dir_all(&proc).unwrap();
    for (file, text) in [
        ("stat", "cpu  100 20 300 4000 50 6 7 8 0 0\n"),
        ("meminfo", "MemTotal: 2048 kB\nMemFree: 4 kB\nMemAvailable: 1024 kB\n"),
        ("loadavg", "0.25 1.50 2.75 1/234 5678\n"),
        ("diskstats", "8 0 sda 1 0 4 0 1 0 6 0 0 0 0\n8 1 sda1 1 0 4 0 1 0 6 0 0 0 0\n"),
    ] {
        std::fs::write(proc.join(file), text).unwrap();
    }
    let root = folder.path().to_owned();
    let cluster =
        Setup::alone("node1").config(move |_, config| config.host_root = root.clone()).start().await;
    let scrape = scrape(&cluster.client(0)).await;
    let path = folder.path().display();
    let exact = [
        ("swarmgate_host_cpu_seconds_total{mode=\"idle\"}".to_owned(), 40.0),
        ("swarmgate_host_memory_available_bytes".to_owned(), 1_048_576.0),
        ("swarmgate_host_load5".to_owned(), 1.5),
        ("swarmgate_host_disk_read_bytes_total{device=\"sda\"}".to_owned(), 2048.0),
        ("swarmgate_host_disk_written_bytes_total{device=\"sda\"}".to_owned(), 3072.0),
        (format!("swarmgate_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")), 1.0),
    ];
    for (series, value) in exact {
        assert_eq!(scrape.value(&series), value, "{series}");
    }
    assert!(!scrape.0.keys().any(|series| series.contains("sda1") || series.contains("swap")));
    let size = scrape.value(&format!("swarmgate_host_filesystem_size_bytes{{path=\"{path}\"}}"));
    let free = scrape.value(&format!("swarmgate_host_filesystem_free_bytes{{path=\"{path}\"}}"));
    assert!(free > 0.0 && free <= size, "{free} of {size}");
    let data = cluster.nodes[0].config.data.display().to_string();
    scrape.value(&format!("swarmgate_host_filesystem_available_bytes{{path=\"{data}\"}}"));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    let started = scrape.value("process_start_time_seconds");
    assert!((now - 300.0..=now).contains(&started), "{started} at {now}");
    let expiry = scrape.value("swarmgate_certificate_expiry_timestamp_seconds");
    assert!(expiry > now + 86_400.0, "{expiry} at {now}");
    for series in ["process_resident_memory_bytes", "process_open_fds", "process_max_fds"] {
        assert!(scrape.value(series) > 1.0, "{series}");
    }
    scrape.value("process_cpu_seconds_total");
}

#[tokio::test]
async fn requests_are_counted_by_what_they_were_and_how_they_ended() {
    let cluster = two().await;
    let (client, peer) = (cluster.client(0), cluster.client(1));
    let (before, there) = (scrape(&client).await, scrape(&peer).await);
    client.get("/v1.41/containers/json").await;
    client.get("/containers/nope/json").await;
    client.call("POST", "/containers/create", &[("X-Node", "node2")], "{}").await;
    client.get("/no/such/path").await;
    client.stranger().get("/ping").await;
    client.stranger().get("/version").await;
    client.get("/agents").await;
    client.call("POST", "/agents", &[], "").await;
    let after = scrape(&client).await;
    let rows = [
        ("list", "2xx", 1.0),
        ("read", "4xx", 2.0),
        ("write", "2xx", 1.0),
        ("other", "4xx", 1.0),
        ("ping", "2xx", 1.0),
        // The scrape before is among them, this one is not.
        ("agent", "2xx", 2.0),
        ("agent", "4xx", 1.0),
        ("list", "5xx", 0.0),
    ];
    for (class, outcome, more) in rows {
        let counted = after.requests("public", class, outcome) - before.requests("public", class, outcome);
        assert_eq!(counted, more, "{class} {outcome}");
    }
    let bucket = |le: &str| {
        let labels = format!("le=\"{le}\",listener=\"public\",class=\"list\"");
        after.value(&format!("swarmgate_request_duration_seconds_bucket{{{labels}}}"))
    };
    let buckets = ["0.0005", "0.1", "15.0", "+Inf"].map(bucket);
    assert!(buckets.is_sorted() && buckets[3] == 1.0, "{buckets:?}");
    let there_now = scrape(&peer).await;
    for (class, more) in [("list", 1.0), ("write", 1.0)] {
        let counted = there_now.requests("peers", class, "2xx") - there.requests("peers", class, "2xx");
        assert_eq!(counted, more, "{class} at the peer");
    }
    assert_eq!(there_now.requests("public", "list", "2xx"), 0.0);
}

#[tokio::test]
async fn who_leaves_before_the_answer_is_counted_as_gone() {
    let cluster = Setup::alone("node1").start().await;
    cluster.engine(0).on("/version", crate::support::engine::answers::silent());
    let mut wire = cluster.client(0).wire().await;
    wire.ask("GET /version HTTP/1.1\nHost: a", "").await;
    cluster.engine(0).saw("/version").await;
    assert_eq!(scrape(&cluster.client(0)).await.requests("public", "read", "gone"), 0.0);
    drop(wire);
    scraped(&cluster.client(0), "it is counted", |s| s.requests("public", "read", "gone") == 1.0).await;
}

#[tokio::test]
async fn streams_connections_and_bytes_are_counted_while_they_last() {
    let cluster = two().await;
    let client = cluster.client(0);
    let before = scrape(&client).await;
    let connections = "swarmgate_open_connections{listener=\"public\"}";
    assert_eq!((before.value("swarmgate_open_streams"), before.value(connections)), (0.0, 1.0));
    let id = samples::id(&samples::node_id("node2"), "container", 0);
    let mut wire = client.wire().await;
    let attach = format!(
        "POST /containers/{id}/attach?stream=1&stdin=1&stdout=1 HTTP/1.1\nHost: a\nX-Node: node2\n\
         Connection: Upgrade\nUpgrade: tcp\nContent-Length: 0"
    );
    wire.ask(&attach, "").await;
    assert!(wire.head().await.starts_with("HTTP/1.1 101"));
    let line = format!("{}\n", "x".repeat(100_000));
    wire.write(line.as_bytes()).await;
    wire.through(&line).await;
    let open = scrape(&client).await;
    assert_eq!((open.value("swarmgate_open_streams"), open.value(connections)), (1.0, 2.0));
    assert_eq!(open.requests("public", "stream", "1xx"), 1.0);
    for direction in ["received", "sent"] {
        let series = format!("swarmgate_{direction}_bytes_total{{listener=\"public\"}}");
        let more = open.value(&series) - before.value(&series);
        assert!((100_000.0..250_000.0).contains(&more), "{series}: {more}");
        let there = format!("swarmgate_{direction}_bytes_total{{listener=\"peers\"}}");
        assert!(scrape(&cluster.client(1)).await.value(&there) >= 100_000.0, "{there}");
    }
    assert_eq!(scrape(&cluster.client(1)).await.value("swarmgate_open_streams"), 1.0);
    drop(wire);
    for at in 0..2 {
        scraped(&cluster.client(at), "the stream is over", |s| s.value("swarmgate_open_streams") == 0.0)
            .await;
    }
    scraped(&client, "its connection is closed", |s| s.value(connections) == 1.0).await;
}

#[tokio::test]
async fn failed_authentications_are_counted_by_their_reason() {
    let cluster = Setup::alone("node1").start().await;
    let client = cluster.client(0);
    let [(_, key), (_, signature)] = crate::support::sign::Signer::new(None).headers();
    let headers = ["X-PortainerAgent-PublicKey", "X-PortainerAgent-Signature"];
    client.stranger().get("/version").await;
    client.stranger().get("/metrics").await;
    client.stranger().get_with("/version", &[(headers[0], &key), (headers[1], &signature)]).await;
    let scrape = scrape(&client).await;
    for (reason, times) in [("missing", 2.0), ("invalid", 1.0), ("other-key", 0.0), ("not-yet", 0.0)] {
        let series = format!("swarmgate_authentication_failures_total{{reason=\"{reason}\"}}");
        assert_eq!(scrape.value(&series), times, "{reason}");
    }
}

#[tokio::test]
async fn a_stranger_gets_no_figures_and_a_named_node_tells_its_own() {
    let cluster = two().await;
    for path in ["/metrics", "/v1.41/metrics"] {
        let refused = cluster.client(0).stranger().get_with(path, &[("X-Node", "node2")]).await;
        assert_eq!((refused.status, refused.header("content-type")), (403, "application/json"), "{path}");
    }
    for (header, named) in [("X-Node", "node2"), ("X-PortainerAgent-Target", "node2"), ("X-Node", "node1")] {
        let told = cluster.client(0).get_with("/metrics", &[(header, named)]).await;
        assert_eq!((told.status, told.header("x-node"), told.header("content-type")), (200, named, TYPE));
        let data = cluster.nodes[HOSTS.iter().position(|host| *host == named).unwrap()].config.data.display();
        let own = format!("swarmgate_host_filesystem_size_bytes{{path=\"{data}\"}}");
        Scrape::read(&told.text()).value(&own);
    }
    let post = cluster.client(0).call("POST", "/metrics", &[], "").await;
    assert_eq!((post.status, post.header("allow")), (405, "GET"));
    assert_eq!(cluster.asked("/metrics"), Vec::<&str>::new());
}

#[tokio::test]
async fn a_node_that_is_missing_shows_with_its_reason() {
    let mut cluster = two().await;
    let state = |state: &str| format!("swarmgate_peers{{state=\"{state}\"}}");
    let whole = scrape(&cluster.client(0)).await;
    assert_eq!((whole.value(&state("answering")), whole.value(&state("refused"))), (1.0, 0.0));
    assert_eq!(whole.value("swarmgate_partial_answers_total"), 0.0);
    cluster.nodes[1].kill().await;
    let list = cluster.client(0).get("/containers/json").await;
    assert_eq!(list.header("x-node-errors"), "node2=refused");
    let missing = scraped(&cluster.client(0), "it is missed", |s| s.value(&state("refused")) == 1.0).await;
    assert_eq!(missing.value(&state("answering")), 0.0);
    assert_eq!(missing.value("swarmgate_partial_answers_total"), 1.0);
    for absence in Absence::ALL {
        missing.value(&state(absence.as_str()));
    }
}

/// A request in plain HTTP, as it stands; all that comes back.
async fn plain(at: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon(request, stream.read_to_string(&mut answer)).await.unwrap();
    answer
}

/// An agent that gives figures to whoever asks.
async fn open(head: Duration) -> (Cluster, SocketAddr) {
    let setup = Setup::alone("node1").config(move |_, config| {
        config.listen.metrics = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        config.limits.head = head;
    });
    let cluster = setup.start().await;
    let at = cluster.nodes[0].figures().unwrap();
    (cluster, at)
}

#[tokio::test]
async fn on_their_own_address_figures_are_all_there_is() {
    let (cluster, at) = open(Duration::from_secs(60)).await;
    let answer = plain(at, "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let head = head.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 200") && head.contains(&format!("content-type: {TYPE}")), "{head}");
    assert!(head.contains("connection: close"), "{head}");
    assert_eq!(Scrape::read(body).value("swarmgate_open_streams"), 0.0);
    for request in
        ["POST /metrics", "HEAD /metrics", "GET /", "GET /ping", "GET /containers/json", "GET /metrics/"]
    {
        let refused = plain(at, &format!("{request} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")).await;
        assert!(refused.starts_with("HTTP/1.1 404"), "{request}: {refused}");
    }
    assert!(cluster.asked("/containers/json").is_empty());
    let without = Setup::alone("node1").start().await;
    assert_eq!(without.nodes[0].figures(), None);
}

#[tokio::test]
async fn their_own_address_is_no_place_to_linger() {
    let (_cluster, at) = open(Duration::from_millis(100)).await;
    // A head that never ends, and none at all.
    for begun in ["GET /metrics HTTP/1.1\r\nHost: a\r\n", ""] {
        assert!(!plain(at, begun).await.contains("200"), "{begun:?}");
    }
}

#[tokio::test]
async fn sixteen_connections_for_figures_are_enough() {
    let (_cluster, at) = open(Duration::from_secs(600)).await;
    let ask = "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut idle = Vec::new();
    for _ in 0..16 {
        idle.push(TcpStream::connect(at).await.unwrap());
    }
    // They are accepted in order, so this one finds every place taken.
    let one_more = async || {
        let mut stream = TcpStream::connect(at).await.unwrap();
        let mut answer = String::new();
        // Closed at once, it may be reset before it has written anything.
        stream.write_all(ask.as_bytes()).await.ok();
        stream.read_to_string(&mut answer).await.ok();
        answer.starts_with("HTTP/1.1 200")
    };
    assert!(!soon("its end", one_more()).await);
    drop(idle.pop());
    soon("a place again", async { while !one_more().await {} }).await;
}

#[tokio::test]
async fn an_address_for_figures_that_is_taken_is_named_at_the_start() {
    let (cluster, at) = open(Duration::from_secs(60)).await;
    let data = tempfile::tempdir().unwrap();
    let mut config = cluster.nodes[0].config.clone();
    (config.data, config.listen.metrics) = (data.path().to_owned(), Some(at));
    let refused = app::start(config, &Shutdown::new()).await.err().expect("it is taken");
    assert!(matches!(refused, Fatal::Figures { at: named, .. } if named == at), "{refused:?}");
    assert!(refused.to_string().contains("AGENT_METRICS_ADDR"), "{refused}");
}
