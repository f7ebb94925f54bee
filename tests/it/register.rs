//! The agents register themselves with a Portainer server: once, and nobody else's environment.

use std::io;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use serde_json::{Value, json};
use swarmgate::config::{PeerAddress, Registration, Trust};
use swarmgate::identify::Association;
use swarmgate::model::{Fingerprint, Secret};
use tracing::subscriber::DefaultGuard;

use crate::support::cluster::{Cluster, Setup};
use crate::support::engine::samples;
use crate::support::portainer::{Odd, Portainer, TOKEN};
use crate::support::sign::Signer;
use crate::support::soon;

const HOSTS: [&str; 3] = ["node1", "node2", "node3"];
const CONFIG: &str = "swarmgate.registered";
const LOOK: &str = "/configs/swarmgate.registered";

/// Everybody looks often, and nobody gives up early on a busy machine.
fn registering(setup: Setup, registration: Registration) -> Setup {
    registering_on(setup, registration, 0)
}

fn registering_on(setup: Setup, registration: Registration, port: u16) -> Setup {
    setup.config(move |_, config| {
        config.registration = Some(registration.clone());
        config.listen.port = port;
        let limits = &mut config.limits;
        (limits.register_ask, limits.register_create) = (Duration::from_secs(30), Duration::from_secs(60));
        (limits.register_again, limits.register_seldom) =
            (Duration::from_millis(50), Duration::from_millis(200));
        limits.register_look = Duration::from_millis(50);
    })
}

fn at(host: &str, port: u16) -> Option<PeerAddress> {
    Some(PeerAddress { host: host.into(), port })
}

/// The registration of a host without a Swarm.
fn addressed(registration: Registration) -> Registration {
    Registration { address: at("10.9.9.9", 9001), ..registration }
}

/// The record in the Swarm, if there is one.
fn record(cluster: &Cluster) -> Option<Value> {
    let content = cluster.swarm().content();
    let config = content.configs.iter().find(|config| config.spec["Name"] == CONFIG)?;
    Some(serde_json::from_str(config.spec["Labels"][CONFIG].as_str().unwrap()).unwrap())
}

/// Waits until the agents have looked so often from now on; all looks arrive at the one manager.
async fn looks(cluster: &Cluster, times: usize) {
    let engine = cluster.engine(0);
    let before = engine.seen().iter().filter(|seen| seen.path() == LOOK).count();
    soon("looks", engine.saw_times(LOOK, before + times)).await;
}

/// Waits until the record is like this.
async fn recorded(cluster: &Cluster, is_it: impl Fn(&Value) -> bool) -> Value {
    soon("the record", async {
        loop {
            if let Some(record) = record(cluster).filter(|record| is_it(record)) {
                return record;
            }
            looks(cluster, 1).await;
        }
    })
    .await
}

async fn registered(cluster: &Cluster) -> Value {
    recorded(cluster, |record| record["Id"].is_u64()).await
}

/// The place in the list of the node that the record names.
fn registrar(record: &Value) -> usize {
    HOSTS.iter().position(|host| record["Node"] == samples::node_id(host)).unwrap()
}

/// What agents of this test's thread log.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// At every level, the libraries' own lines included.
    fn start() -> (Self, DefaultGuard) {
        // While there is only one subscriber, tracing asks whichever thread comes first whether a line is wanted, and
        // remembers a no from a test without one. With two it asks them all.
        static SECOND: OnceLock<tracing::Dispatch> = OnceLock::new();
        SECOND.get_or_init(|| tracing::Dispatch::new(tracing::subscriber::NoSubscriber::new()));
        let log = Self::default();
        let written = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_max_level(tracing::Level::TRACE)
            .with_writer(move || written.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    fn warnings(&self) -> Vec<String> {
        self.text()
            .lines()
            .filter(|line| line.contains("not registered with Portainer"))
            .map(str::to_owned)
            .collect()
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

#[tokio::test]
async fn three_agents_of_one_swarm_make_one_environment_and_a_restart_makes_none() {
    let portainer = Portainer::start().await;
    let mut cluster = registering(Setup::swarm(&HOSTS, 1), portainer.pinned()).start().await;
    let record = registered(&cluster).await;
    let at = registrar(&record);
    let port = cluster.client(at).at.port();
    let expected = (
        format!("swarmgate-{}", &samples::node_id("cluster")[..12]),
        format!("tcp://10.77.0.{}:{port}", at + 1),
    );
    assert_eq!(portainer.environments(), std::slice::from_ref(&expected));
    assert_eq!(
        (&record["Id"], &record["Name"], &record["URL"]),
        (&json!(1), &json!(expected.0), &json!(expected.1))
    );
    let created = portainer.asked().into_iter().find(|asked| asked.method == "POST").unwrap();
    assert_eq!(
        (created.headers["x-api-key"].to_str().unwrap(), created.field("ContainerEngine").as_deref()),
        (TOKEN, Some("docker"))
    );

    for node in &mut cluster.nodes {
        node.kill().await;
    }
    let asked = portainer.asked().len();
    // Without this it is another one at each start.
    cluster.nodes[at].config.listen.port = port;
    for node in &mut cluster.nodes {
        node.start().await;
    }
    looks(&cluster, 12).await;
    assert_eq!((portainer.asked().len(), portainer.count("POST"), portainer.count("PUT")), (asked, 1, 0));
}

#[tokio::test]
async fn another_address_changes_the_recorded_environment_and_only_its_registrar_does_it() {
    let portainer = Portainer::start().await;
    let theirs = portainer.add("another", "tcp://another:9001");
    let registration =
        Registration { name: Some("ours".into()), address: at("first", 9001), ..portainer.vouched() };
    let mut cluster = registering(Setup::swarm(&HOSTS, 1), registration).start().await;
    let by = registrar(&registered(&cluster).await);
    let change =
        |registration: &mut Option<Registration>| registration.as_mut().unwrap().address = at("second", 9443);
    for at in (0..3).filter(|at| *at != by).chain([by]) {
        assert_eq!(portainer.count("PUT"), 0);
        cluster.nodes[at].kill().await;
        change(&mut cluster.nodes[at].config.registration);
        cluster.nodes[at].start().await;
        if at != by {
            looks(&cluster, 6).await;
        }
    }
    let record = recorded(&cluster, |record| record["URL"] == "tcp://second:9443").await;
    assert_eq!((&record["Id"], record["Id"] == theirs), (&json!(2), false));
    let puts: Vec<_> = portainer.asked().into_iter().filter(|asked| asked.method == "PUT").collect();
    let [put] = puts.as_slice() else { panic!("{puts:?}") };
    assert_eq!(put.target, "/api/endpoints/2");
    let expected = json!({ "URL": "tcp://second:9443", "TLS": true, "TLSSkipVerify": true, "TLSSkipClientVerify": true });
    assert_eq!(serde_json::from_str::<Value>(&put.body).unwrap(), expected);
    let pairs = [("another", "tcp://another:9001"), ("ours", "tcp://second:9443")];
    assert_eq!(portainer.environments(), pairs.map(|(name, url)| (name.to_owned(), url.to_owned())));
    assert_eq!(portainer.count("POST"), 1);
}

#[tokio::test]
async fn a_server_that_is_not_the_one_meant_gets_no_byte_of_the_token() {
    let (portainer, another) = (Portainer::start().await, Portainer::start().await);
    let pin = Trust::Pinned(Fingerprint([7; 32]));
    for trust in [pin, another.vouched().trust] {
        let (log, _guard) = Log::start();
        let registration = addressed(Registration { trust, ..portainer.pinned() });
        let before = portainer.connections();
        let _cluster = registering(Setup::alone("node1"), registration).start().await;
        portainer.was_connected_to(before + 3).await;
        assert_eq!(portainer.asked().len(), 0);
        assert_eq!(log.warnings().len(), 1, "{:?}", log.warnings());
        assert!(log.warnings()[0].contains("its certificate is not trusted"), "{:?}", log.warnings());
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (portainer, another) = (Portainer::start().await, Portainer::start().await);
    let (log, _guard) = Log::start();
    let location = format!("{}/api/endpoints", another.pinned().server);
    for status in [302, 307, 308] {
        portainer.next("GET", Odd::Answer(status, Some(("location", location.clone())), Value::Null));
    }
    portainer.next("POST", Odd::Answer(307, Some(("location", location)), Value::Null));
    let _cluster = registering(Setup::alone("node1"), addressed(portainer.pinned())).start().await;
    portainer.was_asked("POST", 2).await;
    assert_eq!((another.connections(), portainer.environments().len()), (0, 1));
    let warned = log.warnings();
    assert_eq!(warned.len(), 4, "{warned:?}");
    assert!(
        warned.iter().all(|line| line.contains("no redirect is followed: set AGENT_PORTAINER_URL")),
        "{warned:?}"
    );
}

#[tokio::test]
async fn a_token_that_does_not_count_is_named_once_and_never_shown() {
    let portainer = Portainer::start().await;
    let (log, _guard) = Log::start();
    let token = Secret::new("ptr_of-somebody-who-left");
    let registration = addressed(Registration { token, ..portainer.pinned() });
    let cluster = registering(Setup::alone("node1"), registration).start().await;
    portainer.was_asked("GET", 4).await;
    assert_eq!(cluster.client(0).get("/_ping").await.status, 200);
    let warned = log.warnings();
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert!(
        warned[0].contains("401 Unauthorized") && warned[0].contains("AGENT_PORTAINER_TOKEN_FILE"),
        "{warned:?}"
    );
    assert!(log.text().contains("serving") && !log.text().contains("ptr_of-somebody"));
    assert_eq!(portainer.count("POST"), 0);
}

#[tokio::test]
async fn somebody_elses_environment_of_that_name_is_left_alone() {
    let portainer = Portainer::start().await;
    let (log, _guard) = Log::start();
    let theirs = portainer.add("ours?", "tcp://another:9001");
    let registration = Registration { name: Some("ours?".into()), ..portainer.pinned() };
    let cluster = registering(Setup::swarm(&HOSTS[..1], 1), registration).start().await;
    portainer.was_asked("GET", 4).await;
    assert_eq!((portainer.count("POST"), portainer.count("PUT"), record(&cluster)), (0, 0, None));
    assert_eq!(portainer.environments(), [("ours?".to_owned(), "tcp://another:9001".to_owned())]);
    assert_eq!(log.warnings().len(), 1, "{:?}", log.warnings());
    assert!(log.warnings()[0].contains("set AGENT_PORTAINER_NAME"), "{:?}", log.warnings());
    portainer.remove(theirs);
    assert_eq!(registered(&cluster).await["Id"], 2);
}

#[tokio::test]
async fn a_server_that_comes_late_is_waited_for_while_the_agent_serves() {
    let portainer = Portainer::absent();
    let (log, _guard) = Log::start();
    let registration = addressed(portainer.pinned());
    let cluster = registering(Setup::alone("node1"), registration).start().await;
    soon("the complaint", async {
        while log.warnings().is_empty() {
            assert_eq!(cluster.client(0).get("/_ping").await.status, 200);
        }
    })
    .await;
    portainer.come();
    portainer.was_asked("POST", 1).await;
    assert_eq!(portainer.environments(), [("swarmgate-node1".to_owned(), "tcp://10.9.9.9:9001".to_owned())]);
    assert_eq!(log.warnings().len(), 1, "{:?}", log.warnings());
    assert!(log.warnings()[0].contains("connect to 127.0.0.1"), "{:?}", log.warnings());
}

#[tokio::test]
async fn what_a_registrar_left_undone_another_agent_does() {
    let portainer = Portainer::start().await;
    portainer.next("POST", Odd::Hang);
    let mut cluster = registering(Setup::swarm(&HOSTS, 3), portainer.pinned()).start().await;
    portainer.was_asked("POST", 1).await;
    let dead = registrar(&record(&cluster).unwrap());
    assert_eq!(record(&cluster).unwrap()["Id"], Value::Null);
    cluster.nodes[dead].kill().await;
    // Its claim counts as long as it is young.
    let alive = (dead + 1) % 3;
    soon("looks", cluster.engine(alive).saw_times(LOOK, 4)).await;
    assert_eq!((portainer.count("POST"), registrar(&record(&cluster).unwrap())), (1, dead));
    cluster.swarm().change(|content| {
        let config = content.configs.iter_mut().find(|config| config.spec["Name"] == CONFIG).unwrap();
        let mut old: Value = serde_json::from_str(config.spec["Labels"][CONFIG].as_str().unwrap()).unwrap();
        old["Since"] = (old["Since"].as_u64().unwrap() - 601).into();
        config.spec["Labels"][CONFIG] = old.to_string().into();
    });
    portainer.was_asked("POST", 2).await;
    let record = soon("the record", async {
        loop {
            match record(&cluster).filter(|record| record["Id"].is_u64()) {
                Some(record) => return record,
                None => cluster.client(alive).get("/_ping").await,
            };
        }
    });
    let record = record.await;
    assert_ne!(registrar(&record), dead);
    assert_eq!((portainer.count("POST"), portainer.environments().len()), (2, 1));
    assert_eq!(portainer.environments()[0].1, record["URL"].as_str().unwrap());
}

#[tokio::test]
async fn a_creation_whose_answer_was_lost_is_not_asked_for_again() {
    for lost in [None, Some(504)] {
        let portainer = Portainer::start().await;
        portainer.next("POST", Odd::Lose(lost));
        let cluster = registering(Setup::swarm(&HOSTS, 1), portainer.pinned()).start().await;
        let record = registered(&cluster).await;
        looks(&cluster, 6).await;
        let made = (portainer.count("POST"), portainer.environments().len(), &record["Id"]);
        assert_eq!(made, (1, 1, &json!(1)), "{lost:?}");
        assert_eq!(portainer.environments()[0].1, record["URL"].as_str().unwrap());
    }
}

#[tokio::test]
async fn what_a_server_refuses_is_told_and_tried_again() {
    let portainer = Portainer::start().await;
    let (log, _guard) = Log::start();
    let said =
        json!({ "message": "Unable to get environment type", "details": "Get \"https://x/ping\": timeout" });
    portainer.next("POST", Odd::Answer(500, None, said));
    let _cluster = registering(Setup::alone("node1"), addressed(portainer.pinned())).start().await;
    portainer.was_asked("POST", 2).await;
    assert_eq!(portainer.environments().len(), 1);
    let warned = log.warnings();
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert!(warned[0].contains("500 Internal Server Error") && warned[0].contains("type: Get"), "{warned:?}");
}

#[tokio::test]
async fn an_environment_that_was_removed_is_created_anew_only_on_demand() {
    let portainer = Portainer::start().await;
    let (log, _guard) = Log::start();
    let registration = Registration { address: at("first", 9001), ..portainer.pinned() };
    let mut cluster = registering(Setup::swarm(&HOSTS[..1], 1), registration).start().await;
    registered(&cluster).await;
    portainer.remove(1);
    cluster.nodes[0].kill().await;
    cluster.nodes[0].config.registration.as_mut().unwrap().address = at("second", 9001);
    cluster.nodes[0].start().await;
    let asked = portainer.count("GET");
    portainer.was_asked("GET", asked + 3).await;
    assert_eq!((portainer.count("POST"), portainer.count("PUT")), (1, 0));
    let remedy = "environment 1 is not in Portainer any more; to register anew: `docker config rm swarmgate.registered`";
    assert!(log.warnings().iter().any(|line| line.contains(remedy)), "{:?}", log.warnings());
    cluster.swarm().change(|content| content.configs.retain(|config| config.spec["Name"] != CONFIG));
    assert_eq!(registered(&cluster).await["URL"], "tcp://second:9001");
    assert_eq!(portainer.count("POST"), 2);
}

#[tokio::test]
async fn an_environment_that_took_the_recorded_id_is_left_alone() {
    let portainer = Portainer::start().await;
    let setup = registering(Setup::alone("node1"), addressed(portainer.pinned()));
    let mut cluster = setup.start().await;
    portainer.was_asked("POST", 1).await;
    // Set up anew, the server counts from one again.
    let anew = Portainer::start().await;
    anew.add("of-somebody-else", "tcp://another:9001");
    soon("the record", async {
        let file = cluster.nodes[0].config.data.join("registered.json");
        while !std::fs::read_to_string(&file).is_ok_and(|text| text.contains("\"Id\":1")) {
            cluster.client(0).get("/_ping").await;
        }
    })
    .await;
    cluster.nodes[0].kill().await;
    let (log, _guard) = Log::start();
    let registration = Registration { address: at("10.9.9.8", 9001), ..anew.pinned() };
    cluster.nodes[0].config.registration = Some(registration);
    cluster.nodes[0].start().await;
    anew.was_asked("GET", 3).await;
    assert_eq!((anew.count("PUT"), anew.count("POST")), (0, 0));
    assert_eq!(anew.environments(), [("of-somebody-else".to_owned(), "tcp://another:9001".to_owned())]);
    let warned = log.warnings();
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert!(warned[0].contains("left alone") && warned[0].contains("remove /"), "{warned:?}");
}

#[tokio::test]
async fn where_the_registrar_has_left_the_swarm_another_agent_takes_over_its_environment() {
    let portainer = Portainer::start().await;
    let mut cluster = registering(Setup::swarm(&HOSTS, 3), portainer.pinned()).start().await;
    let record = registered(&cluster).await;
    let left = registrar(&record);
    cluster.nodes[left].kill().await;
    let alive = (left + 1) % 3;
    cluster.swarm().change(|content| {
        content.nodes.retain(|node| node.host != HOSTS[left]);
        let mut others = content.nodes.iter_mut();
        others.next().unwrap().is_leader = true;
    });
    portainer.was_asked("PUT", 1).await;
    let [(name, url)] = <[_; 1]>::try_from(portainer.environments()).unwrap();
    assert_eq!(record["Name"], name);
    assert_ne!(record["URL"], url);
    assert!(!url.contains(&format!("10.77.0.{}:", left + 1)), "{url}");
    assert_eq!(cluster.client(alive).get("/_ping").await.status, 200);
    assert_eq!(portainer.count("POST"), 1);
}

#[tokio::test]
async fn without_a_swarm_an_address_is_needed_and_the_first_peer_registers() {
    let portainer = Portainer::start().await;
    {
        let (log, _guard) = Log::start();
        let cluster = registering(Setup::alone("node1"), portainer.pinned()).start().await;
        soon("the complaint", async {
            while log.warnings().is_empty() {
                cluster.client(0).get("/_ping").await;
            }
        })
        .await;
        assert!(log.warnings()[0].contains("AGENT_PORTAINER_ADDRESS is missing"), "{:?}", log.warnings());
    }
    assert_eq!(portainer.connections(), 0);
    let cluster = registering(Setup::fixed(&["node1", "node2"]), addressed(portainer.pinned())).start().await;
    portainer.was_asked("POST", 1).await;
    assert_eq!(portainer.environments()[0].0, "swarmgate-node1");
    assert!(!cluster.nodes[1].config.data.join("registered.json").exists());
}

#[tokio::test]
async fn the_server_that_was_registered_with_is_the_one_that_is_associated() {
    let (portainer, signer) = (Portainer::start().await, Signer::new(None));
    portainer.calls_back(&signer);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let (log, _guard) = Log::start();
    let registration = Registration { address: at("127.0.0.1", port), ..portainer.pinned() };
    let cluster = registering_on(Setup::alone("node1").associating(), registration, port).start().await;
    portainer.was_asked("POST", 1).await;
    assert_eq!((portainer.environments().len(), log.warnings()), (1, Vec::new()));
    assert!(matches!(**cluster.nodes[0].association().borrow(), Association::Held { .. }));
    assert_eq!(cluster.client(0).signing(&signer).get("/version").await.status, 200);
    assert_eq!(cluster.client(0).get("/version").await.status, 403, "another key");
}
