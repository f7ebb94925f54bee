//! A name in DNS whose answers change: the loop that asks, the one writer, and dials told by the test.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::rdata::A;
use hickory_resolver::proto::rr::{RData, RecordType};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::loops::config;
use super::names::{Answer, a, resolver, serve};
use crate::config::Config;
use crate::dial::{Engine, Peers};
use crate::discover::directory::{Network, Overlays};
use crate::discover::{Pace, Rounds, Shared, dns, nobody_yet, write};
use crate::membership::{Event, Known, Membership, Node, Own, Proof, Roster, Standing};
use crate::model::{Absence, Cluster, Kind, NodeId, Reach, Role};
use crate::shutdown::Shutdown;

#[derive(Clone, Copy)]
enum Says {
    NxDomain,
    Addresses(&'static [u8]),
    /// The same, and 203.0.113.9, which is on nobody's overlay.
    AndForeign(&'static [u8]),
    ServFail,
}

struct World {
    says: Arc<Mutex<Says>>,
    asked: Arc<watch::Sender<usize>>,
    /// Questions for services, none of which was answered.
    unanswered: Arc<AtomicUsize>,
    events: mpsc::Sender<Event>,
    rounds: watch::Receiver<Arc<Rounds>>,
    snapshots: watch::Receiver<Arc<Cluster>>,
    shutdown: Shutdown,
    _dir: TempDir,
}

fn id(last: u8) -> NodeId {
    NodeId::parse(&format!("node{last}")).unwrap()
}

/// An overlay of 10.0.1.0/24.
fn overlay() -> Overlays {
    let network = r#"{"Id":"n","Driver":"overlay","IPAM":{"Config":[{"Subnet":"10.0.1.0/24"}]}}"#;
    let network: Network = serde_json::from_str(network).unwrap();
    Overlays { ids: [network.id().to_owned()].into(), subnets: network.subnets().collect() }
}

/// A manager, by its node list one of three, that is no task of a service and knows the others by one name. The
/// server of that name is silent on services.
async fn start(overlays: Overlays) -> World {
    let unanswered = Arc::new(AtomicUsize::new(0));
    let (says, asked) = (Arc::new(Mutex::new(Says::NxDomain)), Arc::new(watch::Sender::new(0)));
    let (shutdown, dir) = (Shutdown::new(), tempfile::tempdir().unwrap());
    let (told, count, silent) = (Arc::clone(&says), Arc::clone(&asked), Arc::clone(&unanswered));
    let script = move |name: &str, record| {
        if (name, record) == ("_swarmgate-peer._tcp.agents.test.", RecordType::SRV) {
            silent.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        assert_eq!((name, record), ("agents.test.", RecordType::A));
        count.send_modify(|count| *count += 1);
        Some(match *told.lock().unwrap() {
            Says::NxDomain => Answer::Code(ResponseCode::NXDomain),
            Says::Addresses(last) => Answer::Records(last.iter().map(|last| a(*last)).collect()),
            Says::AndForeign(last) => {
                let foreign = RData::A(A::new(203, 0, 113, 9));
                Answer::Records(last.iter().map(|last| a(*last)).chain([foreign]).collect())
            }
            Says::ServFail => Answer::Code(ResponseCode::ServFail),
        })
    };
    let server = serve(script, &shutdown).await;
    let mut config: Config = config(dir.path(), &[]);
    config.cluster.name = Some("agents.test".to_owned());
    let (events, incoming) = mpsc::channel(16);
    let (rounds, seen) = watch::channel(Arc::new(Rounds::at_start()));
    let (_, nudged) = watch::channel(());
    let pace = Pace::new(seen.clone(), nudged, config.limits.refresh);
    let membership = Membership::new(nobody_yet());
    let (_, tls) = watch::channel(None);
    let shared = Arc::new(Shared {
        engine: Engine::new(&config.engine, &config.limits, shutdown.clone()).unwrap(),
        peers: Peers::new(tls, Arc::new(config.limits.clone()), shutdown.clone()),
        config: Arc::new(config),
        membership: membership.clone(),
        events: events.clone(),
        overlays: watch::Sender::new(Arc::new(overlays)),
        resolve: Arc::new(move || Ok(resolver(server))),
        locals: watch::Sender::default(),
        shutdown: shutdown.clone(),
    });
    let known = Known::new(&membership.now(), 9002);
    shutdown.until_draining(write(membership.clone(), known, incoming, rounds));
    for record in [RecordType::SRV, RecordType::A] {
        shutdown.until_draining(dns::follow(record, Arc::clone(&shared), pace.clone()));
    }
    let snapshots = membership.subscribe();
    let world = World { says, asked, unanswered, events, rounds: seen, snapshots, shutdown, _dir: dir };
    world.swarm_of_three().await;
    world
}

impl World {
    async fn swarm_of_three(&self) {
        let own = Own {
            kind: Kind::Swarm,
            id: id(2),
            host: "node2".into(),
            role: Role::Manager,
            managers: [id(2)].into(),
            api: None,
            service: None,
            addresses: Vec::new(),
        };
        let node = |last| Node {
            id: id(last),
            host: id(last).as_str().into(),
            role: Role::Manager,
            leader: false,
            standing: Standing::Active,
        };
        self.events.send(Event::Own(own)).await.unwrap();
        let nodes = [2, 3, 4].map(node).to_vec();
        self.events.send(Event::Roster(Roster { nodes, tasks: None, own: true })).await.unwrap();
    }

    /// DNS says this from now on, and has been heard to.
    async fn hears(&self, says: Says) {
        *self.says.lock().unwrap() = says;
        let mut asked = self.asked.subscribe();
        let known = *asked.borrow();
        // The question after the next is asked when the next one's answer has been told.
        soon(asked.wait_for(|count| *count >= known + 3)).await.unwrap();
    }

    /// What is dialled, by the last number of its address.
    async fn dials(&mut self, wanted: &[u8]) {
        let last = |rounds: &Rounds| -> Vec<u8> {
            rounds
                .targets
                .keys()
                .map(|at| at.ip().to_string().rsplit('.').next().unwrap().parse().unwrap())
                .collect()
        };
        let dialled =
            timeout(Duration::from_secs(10), self.rounds.wait_for(|r| last(r) == wanted)).await.is_ok();
        assert!(dialled, "{:?} is dialled, not {wanted:?}", last(&self.rounds.borrow()));
    }

    async fn dialled(&self, last: u8, outcome: Result<(), Absence>) {
        let at = ([10, 0, 1, last], 9002).into();
        let proof =
            |()| Proof { node: id(last), host: "a label".into(), agent_version: "1".into(), api: None };
        self.events.send(Event::Dialled { at, outcome: outcome.map(proof) }).await.unwrap();
    }

    async fn members(&mut self, wanted: &[(u8, Reach)]) {
        let right = |c: &Arc<Cluster>| {
            c.members.len() == wanted.len()
                && wanted.iter().all(|(last, reach)| c.members[&id(*last)].reach == *reach)
        };
        let seen = timeout(Duration::from_secs(10), self.snapshots.wait_for(right)).await.is_ok();
        assert!(seen, "{:?}", self.snapshots.borrow().members);
    }
}

async fn soon<T>(event: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(10), event).await.expect("it does not come to that")
}

#[tokio::test]
async fn what_dns_says_too_early_wrongly_or_not_at_all_takes_nobody_away_who_answers() {
    let mut world = start(Overlays::default()).await;
    let no_agent = Reach::Missing(Absence::NoAgent);
    world.hears(Says::NxDomain).await;
    world.members(&[(2, Reach::Here), (3, no_agent), (4, no_agent)]).await;

    world.hears(Says::Addresses(&[2])).await;
    world.dials(&[2]).await;
    world.dialled(2, Ok(())).await;
    // It is ourselves.
    world.dials(&[]).await;

    world.hears(Says::Addresses(&[2, 3, 4, 5])).await;
    world.dials(&[3, 4, 5]).await;
    world.dialled(3, Ok(())).await;
    world.dialled(4, Ok(())).await;
    world.dialled(5, Err(Absence::Refused)).await;
    let all = [(2, Reach::Here), (3, Reach::Answering), (4, Reach::Answering)];
    world.members(&all).await;

    world.hears(Says::ServFail).await;
    world.dials(&[3, 4, 5]).await;
    world.members(&all).await;

    // Who answers stays; the address where nobody did goes.
    world.hears(Says::Addresses(&[3])).await;
    world.dials(&[3, 4]).await;
    world.members(&all).await;
    world.dialled(4, Err(Absence::Unreachable)).await;
    world.dials(&[3]).await;
    world.members(&[(2, Reach::Here), (3, Reach::Answering), (4, no_agent)]).await;

    // What is listed is dialled again, and what does not answer stays as long as it is.
    world.hears(Says::Addresses(&[3, 4])).await;
    world.dials(&[3, 4]).await;
    world.dialled(4, Ok(())).await;
    world.dialled(3, Err(Absence::Unreachable)).await;
    world.dials(&[3, 4]).await;
    world
        .members(&[(2, Reach::Here), (3, Reach::Missing(Absence::Unreachable)), (4, Reach::Answering)])
        .await;
    // Services were asked for all the while, and nothing waited for an answer.
    let (unanswered, asked) = (world.unanswered.load(Ordering::Relaxed), *world.asked.borrow());
    assert!((1..asked).contains(&unanswered), "{unanswered} and {asked} questions");
    world.shutdown.finish(Duration::ZERO).await;
}

#[tokio::test]
async fn an_address_of_dns_that_is_not_on_the_shared_overlay_is_not_dialled() {
    for (overlays, dialled) in [(Overlays::default(), &[3, 4, 9][..]), (overlay(), &[3, 4])] {
        let mut world = start(overlays).await;
        world.hears(Says::AndForeign(&[3, 4])).await;
        world.dials(dialled).await;
        world.dialled(3, Ok(())).await;
        world.dialled(4, Ok(())).await;
        world.members(&[(2, Reach::Here), (3, Reach::Answering), (4, Reach::Answering)]).await;
        // Heard again, it is still none of theirs.
        world.hears(Says::AndForeign(&[3, 4])).await;
        world.dials(dialled).await;
        world.shutdown.finish(Duration::ZERO).await;
    }
}
