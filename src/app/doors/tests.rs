//! What the agents prove to each other is made of, and what is said where that is no secret.

use std::path::Path;

use tempfile::NamedTempFile;
use tracing::subscriber::DefaultGuard;

use super::super::tests::lone;
use super::*;
use crate::cli::Args;
use crate::config::Limits;
use crate::discover;
use crate::model::{Secret, Service};
use crate::telemetry::metrics::DoorFigures;

const SECRETS: [&str; 2] = ["the newer secret that the agents share", "the older secret that they shared"];

fn config(data: &Path, secrets: &[&str]) -> Config {
    let flags = ["--data".to_owned(), data.display().to_string()];
    let mut config = Config::from_args(&Args::from_flags(flags).unwrap()).unwrap();
    config.cluster.secrets = secrets.iter().map(|secret| Secret::new(*secret)).collect();
    config
}

fn snapshot(kind: Kind, service: Option<&str>) -> Cluster {
    let service = service.map(|id| Service { id: id.into(), name: "agent".into(), task: None });
    Cluster { kind, service, ..discover::nobody_yet() }
}

/// Kind, secrets given, service; and what is proved.
type Row<'a> = (Kind, &'a [&'a str], Option<&'a str>, &'a [&'a str]);

#[test]
fn peers_prove_the_secrets_or_without_one_a_swarm_services_id_and_nothing_alone() {
    let data = tempfile::tempdir().unwrap();
    let rows: [Row<'_>; 10] = [
        (Kind::Swarm, &SECRETS, Some("service"), &SECRETS),
        (Kind::Swarm, &SECRETS[..1], None, &SECRETS[..1]),
        (Kind::Fixed, &SECRETS, None, &SECRETS),
        (Kind::Swarm, &[], Some("service"), &["service"]),
        (Kind::Swarm, &[], None, &[]),
        (Kind::Fixed, &[], None, &[]),
        (Kind::Standalone, &SECRETS, None, &[]),
        (Kind::Standalone, &[], Some("service"), &[]),
        (Kind::Unknown, &SECRETS, Some("service"), &[]),
        (Kind::Unknown, &[], Some("service"), &[]),
    ];
    for (kind, given, service, expected) in rows {
        let cluster = snapshot(kind, service);
        let made = material(&config(data.path(), given), &cluster);
        let what = format!("{kind:?}, {given:?}, {service:?}");
        assert_eq!(made.is_some(), !expected.is_empty(), "{what}");
        if let Some(made) = made {
            assert_eq!(
                made.secrets,
                expected.iter().map(|s| s.as_bytes().to_vec()).collect::<Vec<_>>(),
                "{what}"
            );
            assert_eq!(made.here, cluster.here, "{what}");
        }
    }
}

/// The keys that are published after each of these snapshots, before and after what takes a while.
async fn keys(secret: Option<&str>, clusters: &[Cluster]) -> Vec<Option<usize>> {
    let data = tempfile::tempdir().unwrap();
    let (snapshots, cluster) = watch::channel(Arc::new(discover::nobody_yet()));
    let (record_keys, mut published) = watch::channel(None);
    let mut doors = Box::pin(keep_peer_doors(PeerDoors {
        config: Arc::new(config(data.path(), secret.as_slice())),
        pipeline: lone(data.path(), &cluster),
        cluster,
        client: watch::channel(None).0,
        record_keys,
        hints: mpsc::channel(1).0,
        seats: seats(),
        shutdown: Shutdown::new(),
    }));
    let mut seen = Vec::new();
    let mut look = |keys: Option<Vec<[u8; 32]>>| seen.push(keys.map(|keys| keys.len()));
    for cluster in clusters {
        snapshots.send_replace(Arc::new(cluster.clone()));
        // As far as it gets at once.
        tokio::select! {
            biased;
            () = &mut doors => unreachable!("nothing ends them"),
            () = std::future::ready(()) => {}
        }
        look(published.borrow_and_update().clone());
    }
    tokio::select! {
        () = &mut doors => unreachable!("nothing ends them"),
        keys = published.wait_for(|keys| keys.is_some()) => look(keys.unwrap().clone()),
    }
    seen
}

#[tokio::test]
async fn a_swarms_records_go_without_proof_only_where_nothing_could_prove_them() {
    let of = |kind| Cluster { kind, ..discover::nobody_yet() };
    let (unknown, alone, swarm) = (of(Kind::Unknown), of(Kind::Standalone), of(Kind::Swarm));
    let task = Service { id: "s".into(), name: "agent".into(), task: None };
    let tasks = Cluster { service: Some(task), ..swarm.clone() };
    // In a Swarm at last, the proof takes a moment, and until then there is no word of records without.
    let rows = [
        (Some("a secret of thirty-two characters"), &swarm, [None, None, None, Some(1)]),
        (None, &tasks, [None, None, None, Some(1)]),
        (None, &swarm, [None, None, Some(0), Some(0)]),
    ];
    for (secret, then, expected) in rows {
        let clusters = [unknown.clone(), alone.clone(), then.clone()];
        assert_eq!(keys(secret, &clusters).await, expected, "{secret:?} {:?}", then.service);
    }
}

/// What is logged on this thread until the guard is dropped: a file.
fn logged() -> (NamedTempFile, DefaultGuard) {
    let log = NamedTempFile::new().unwrap();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(log.reopen().unwrap()).finish();
    (log, tracing::subscriber::set_default(subscriber))
}

/// All lines so far that speak of the secret.
fn reminders(log: &NamedTempFile) -> Vec<String> {
    let all = std::fs::read_to_string(log.path()).unwrap();
    all.lines().filter(|line| line.contains("AGENT_CLUSTER_SECRET")).map(str::to_owned).collect()
}

fn seats() -> Arc<Seats> {
    let [_, peers] = listen::seats(&Limits::default(), DoorFigures::default(), DoorFigures::default());
    peers
}

/// A doorkeeper of its own, with what it tells others.
struct Keeper {
    snapshots: watch::Sender<Arc<Cluster>>,
    record_keys: watch::Receiver<Option<Vec<[u8; 32]>>>,
    client: watch::Receiver<Option<Arc<ClientConfig>>>,
    shutdown: Shutdown,
}

impl Keeper {
    fn start(data: &Path, secrets: &[&str], first: Cluster) -> Self {
        let (snapshots, cluster) = watch::channel(Arc::new(first));
        let (client, client_seen) = watch::channel(None);
        let (record_keys, record_keys_seen) = watch::channel(None);
        let shutdown = Shutdown::new();
        shutdown.spawn(keep_peer_doors(PeerDoors {
            config: Arc::new(config(data, secrets)),
            pipeline: lone(data, &cluster),
            cluster,
            client,
            record_keys,
            hints: mpsc::channel(1).0,
            seats: seats(),
            shutdown: shutdown.clone(),
        }));
        Self { snapshots, record_keys: record_keys_seen, client: client_seen, shutdown }
    }

    /// What was made anew since the last look.
    async fn makes_keys(&mut self) -> Vec<[u8; 32]> {
        self.record_keys.changed().await.unwrap();
        self.record_keys.borrow_and_update().clone().unwrap()
    }
}

/// So much of the paused clock passes, with all that is due meanwhile.
async fn pass(time: Duration) {
    assert!(tokio::time::timeout(time, std::future::pending::<()>()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn without_a_secret_the_log_says_so_with_the_remedy_once_at_start_and_every_hour() {
    let (log, _guard) = logged();
    let data = tempfile::tempdir().unwrap();
    let mut keeper = Keeper::start(data.path(), &[], snapshot(Kind::Unknown, None));
    pass(REMIND / 2).await;
    assert!(reminders(&log).is_empty(), "nothing is known yet");
    keeper.snapshots.send_replace(Arc::new(snapshot(Kind::Swarm, Some("service"))));
    assert_eq!(keeper.makes_keys().await, [Authority::derive(b"service").unwrap().record_key()]);
    assert!(keeper.client.borrow().is_some());
    let said = reminders(&log);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].contains(" WARN ") && said[0].contains("create the secret as the README says"),
        "{said:?}"
    );

    // Another identity is no start.
    keeper.snapshots.send_replace(Arc::new(snapshot(Kind::Swarm, Some("another"))));
    assert_eq!(keeper.makes_keys().await, [Authority::derive(b"another").unwrap().record_key()]);
    assert_eq!(reminders(&log).len(), 1);
    for hour in 1..=3 {
        pass(REMIND).await;
        assert_eq!(reminders(&log).len(), 1 + hour, "after {hour} hours");
    }
    keeper.shutdown.finish(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn with_a_secret_or_without_peers_nobody_is_reminded_of_one() {
    let (log, _guard) = logged();
    for (secrets, kind, keys) in [(&SECRETS[..], Kind::Swarm, Some(2)), (&[], Kind::Standalone, None)] {
        let data = tempfile::tempdir().unwrap();
        let mut keeper = Keeper::start(data.path(), secrets, snapshot(kind, None));
        if let Some(keys) = keys {
            assert_eq!(keeper.makes_keys().await.len(), keys, "{kind:?}");
        }
        pass(REMIND * 2).await;
        assert_eq!(keeper.client.borrow().is_some(), keys.is_some(), "{kind:?}");
        assert_eq!(reminders(&log), [""; 0], "{kind:?}");
        keeper.shutdown.finish(Duration::ZERO).await;
    }
}
