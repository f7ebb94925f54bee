//! Who calls us is there: a node that was missing is dialled at once, however seldom it is dialled otherwise.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};

use super::loops::config;
use crate::dial::{Engine, Peers};
use crate::discover::{Rounds, Shared, dns, nobody_yet, probe};
use crate::membership::{Event, Membership, Target};
use crate::model::{Hint, NodeId};
use crate::shutdown::Shutdown;

fn id(name: &str) -> NodeId {
    NodeId::parse(name).unwrap()
}

/// An address that hangs up on whoever comes.
async fn hangs_up(shutdown: &Shutdown) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    shutdown.until_draining(async move { while listener.accept().await.is_ok() {} });
    at
}

/// The address of the next dial that ended; it failed.
async fn next(dialled: &mut mpsc::Receiver<Event>) -> SocketAddr {
    let event = timeout(Duration::from_secs(10), dialled.recv()).await.expect("nothing is dialled");
    match event {
        Some(Event::Dialled { at, outcome: Err(_) }) => at,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_missing_node_that_calls_is_dialled_at_once_and_nobody_else_is() {
    let (shutdown, dir) = (Shutdown::new(), tempfile::tempdir().unwrap());
    let mut config = config(dir.path(), &[]);
    let never = Duration::from_secs(3600);
    (config.limits.probe_missing, config.limits.probe_answering) = (never, never);
    // No dial gets as far as a certificate.
    let tls = ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    let (_tls, shown) = watch::channel(Some(Arc::new(tls)));
    let (events, mut dialled) = mpsc::channel(16);
    let shared = Arc::new(Shared {
        engine: Engine::new(&config.engine, &config.limits, shutdown.clone()).unwrap(),
        peers: Peers::new(shown, Arc::new(config.limits.clone()), shutdown.clone()),
        config: Arc::new(config),
        membership: Membership::new(nobody_yet()),
        events,
        overlays: watch::Sender::default(),
        resolve: Arc::new(dns::resolver),
        locals: watch::Sender::default(),
        shutdown: shutdown.clone(),
    });
    let target = |node: &str, answering| Target { expect: None, node: Some(id(node)), answering };
    let [lost, other, well] =
        [hangs_up(&shutdown).await, hangs_up(&shutdown).await, hangs_up(&shutdown).await];
    let mut rounds = Rounds::at_start();
    rounds.hurry_until = Instant::now();
    let (told, heard) = watch::channel(Arc::new(rounds.clone()));
    rounds.targets = BTreeMap::from([(lost, target("lost", false)), (other, target("other", false))]);
    let (hints, hints_heard) = mpsc::channel(16);
    let (nudge, nudged) = watch::channel(());
    shutdown.until_draining(probe::follow(shared, heard, hints_heard, nudge));
    told.send_replace(Arc::new(rounds.clone()));
    // New addresses are dialled once, and then not for an hour.
    let first = [next(&mut dialled).await, next(&mut dialled).await];
    assert!(first.contains(&lost) && first.contains(&other), "{first:?}");
    rounds.targets.insert(well, target("well", true));
    told.send_replace(Arc::new(rounds.clone()));
    // One that answers is believed only at its second failure.
    assert_eq!(next(&mut dialled).await, well);

    for name in ["well", "stranger", "lost", "well", "lost"] {
        hints.send(Hint::Called(id(name))).await.unwrap();
        if name == "lost" {
            assert_eq!(next(&mut dialled).await, lost);
        }
    }
    assert!(dialled.try_recv().is_err() && !nudged.has_changed().unwrap());
    shutdown.finish(Duration::ZERO).await;
}
