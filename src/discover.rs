//! Finds out, for ever, who is in the cluster, and tells [`Membership`]: its only writer.
//!
//! In: the own engine's answers, a manager's, DNS, the static peers, our own dials, hints of the request path. Out:
//! snapshots. A source that fails changes nothing: what it said last stays. No source is final, and none is needed to
//! start serving.

mod ask;
mod directory;
mod dns;
mod fixed;
mod nodes;
mod own;
mod pace;
mod probe;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::config::Config;
use crate::dial::{Engine, Peers};
use crate::membership::{Event, Known, Membership, apply};
use crate::model::{Cluster, Hint, Kind, Member, NodeId, Reach, Role};
use crate::shutdown::Shutdown;
use directory::Overlays;
pub use own::{own_service, stored_id};
use pace::{Pace, Rounds};

/// 256 events: a dial of each node of a large cluster at once; the writer takes one in microseconds.
const EVENTS: usize = 256;

/// EX_SOFTWARE of sysexits.h, as the watchdog's.
const EX_SOFTWARE: i32 = 70;

/// What discovery works with.
pub struct Discovery {
    pub config: Arc<Config>,
    pub engine: Engine,
    pub peers: Peers,
    pub membership: Membership,
    pub hints: mpsc::Receiver<Hint>,
    pub shutdown: Shutdown,
}

/// What its loops share.
struct Shared {
    config: Arc<Config>,
    engine: Engine,
    peers: Peers,
    membership: Membership,
    events: mpsc::Sender<Event>,
    /// The networks that all agents of the service are on, as the own engine described them last.
    overlays: watch::Sender<Arc<Overlays>>,
    resolve: dns::Resolve,
    /// Our own addresses towards static peers.
    locals: watch::Sender<BTreeSet<IpAddr>>,
    shutdown: Shutdown,
}

/// Starts every loop and returns. They end when draining starts.
pub fn start(discovery: Discovery) {
    let Discovery { config, engine, peers, membership, hints, shutdown } = discovery;
    let (events, incoming) = mpsc::channel(EVENTS);
    let (rounds, rounds_rx) = watch::channel(Arc::new(Rounds::at_start()));
    let (nudge, nudged) = watch::channel(());
    let pace = Pace::new(rounds_rx, nudged, config.limits.refresh);
    let known = Known::new(&membership.now(), config.listen.peer_port);
    let shared = Arc::new(Shared {
        config,
        engine,
        peers,
        membership: membership.clone(),
        events,
        overlays: watch::Sender::default(),
        resolve: Arc::new(dns::resolver),
        locals: watch::Sender::default(),
        shutdown,
    });
    shared.run(write(membership, known, incoming, rounds));
    shared.run(own::follow(Arc::clone(&shared), pace.clone()));
    shared.run(nodes::follow(Arc::clone(&shared), pace.clone()));
    for record in dns::RECORDS {
        shared.run(dns::follow(record, Arc::clone(&shared), pace.clone()));
    }
    shared.run(fixed::follow(Arc::clone(&shared), pace.clone()));
    shared.run(probe::follow(Arc::clone(&shared), pace.rounds(), hints, nudge));
}

impl Shared {
    fn run(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.shutdown.until_draining(async move {
            // Discovery that broke would leave a snapshot that looks alive and never changes again. A new process is
            // better.
            if AssertUnwindSafe(work).catch_unwind().await.is_err() {
                error!("discovery broke; ending, so that the agent can be started anew");
                std::process::exit(EX_SOFTWARE);
            }
        });
    }

    async fn tell(&self, event: Event) {
        // The writer ends only when draining starts, and this loop with it.
        let _ended = self.events.send(event).await;
    }
}

/// The snapshot before the own engine has said anything: this agent, somewhere.
pub fn nobody_yet() -> Cluster {
    #[expect(clippy::expect_used, reason = "a plain word is a node id")]
    let id = NodeId::parse("unknown").expect("a node id");
    let host: Arc<str> = "unknown".into();
    let me = Member {
        id,
        shown: Arc::clone(&host),
        host,
        role: Role::Worker,
        leader: false,
        address: None,
        reach: Reach::Here,
        api: None,
        agent_version: Some(env!("CARGO_PKG_VERSION").into()),
    };
    Cluster::alone(Kind::Unknown, me)
}

/// The one writer: an event in, a snapshot out if it changed anything.
async fn write(
    membership: Membership,
    mut known: Known,
    mut events: mpsc::Receiver<Event>,
    rounds: watch::Sender<Arc<Rounds>>,
) {
    let mut superseded = BTreeSet::new();
    while let Some(event) = events.recv().await {
        let now = Instant::now();
        let before = membership.now();
        let next = apply(&before, &mut known, event, now.into_std());
        let moved = next.as_ref().is_some_and(|next| pace::has_moved(&before, next));
        if let Some(next) = next {
            log_changes(&before, &next);
            membership.publish(next);
        }
        let mut losers = known.superseded(now.into_std());
        losers.retain(|(_, task, _)| superseded.insert(Arc::clone(task)));
        for (node, task, address) in losers {
            warn!(%node, %task, %address, "two agents on one node: this one is superseded and not asked");
        }
        rounds.send_if_modified(|rounds| {
            let next = rounds.next(&known, moved, now);
            let news = **rounds != next;
            if news {
                *rounds = Arc::new(next);
            }
            news
        });
    }
}

fn log_changes(before: &Cluster, next: &Cluster) {
    if before.kind != next.kind || before.here != next.here {
        info!(node = %next.here, kind = ?next.kind, "this agent knows where it is");
    }
    for (id, member) in &next.members {
        match before.members.get(id) {
            Some(old) => log_change(old, member),
            None => info!(node = %id, host = %member.shown, role = member.role.as_str(), "node joined"),
        }
    }
    for id in before.members.keys().filter(|id| !next.members.contains_key(*id)) {
        info!(node = %id, "node left");
    }
}

fn log_change(old: &Member, member: &Member) {
    let node = &member.id;
    if old.role != member.role || old.leader != member.leader {
        info!(%node, role = member.role.as_str(), leader = member.leader, "role");
    }
    if old.reach == member.reach {
        return;
    }
    match member.reach {
        Reach::Missing(why) => warn!(%node, host = %member.shown, reason = why.as_str(), "node is missing"),
        Reach::Answering => info!(%node, host = %member.shown, address = ?member.address, "node answers"),
        Reach::Here | Reach::Untried => {}
    }
}
