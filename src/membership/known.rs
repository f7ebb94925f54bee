//! All that discovery was told, and how its dials went: more than a snapshot shows.

mod draw;
mod swarm;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::event::{Event, Node, Own, Proof, Roster, Seat};
use crate::model::{Absence, Cluster, Kind, Member, NodeId, Role};

/// 10 s: three refreshes missed and one to spare. A node list older than this no longer overrules fresher sources.
const FRESH: Duration = Duration::from_secs(10);

/// 24 h of silence, with no manager in reach to say that the node was removed: only then is it forgotten.
const FORGET: Duration = Duration::from_secs(24 * 60 * 60);

/// The memory behind [`super::apply`].
#[derive(Clone, Debug)]
pub struct Known {
    /// Every agent of a cluster listens for peers on the same port.
    peer_port: u16,
    me: Member,
    own: Own,
    directory: Vec<Seat>,
    taken: BTreeSet<IpAddr>,
    tasks: Option<Vec<Seat>>,
    /// Whether `tasks` are the own engine's word.
    tasks_bind: bool,
    roster_at: Option<Instant>,
    seats: BTreeMap<IpAddr, Held>,
    nodes: BTreeMap<NodeId, Heard>,
    candidates: BTreeMap<Arc<str>, Candidates>,
    tries: BTreeMap<SocketAddr, Try>,
}

/// The addresses of one name, or of one static peer.
#[derive(Clone, Debug, Default)]
struct Candidates {
    /// The last answer.
    told: BTreeSet<SocketAddr>,
    /// What the last answer left out although it answers us: DNS can be wrong, our own dial cannot.
    kept: BTreeSet<SocketAddr>,
}

/// Who has an address. Unlisted: it was the last one listed for its node, and nothing else is listed there.
#[derive(Clone, Debug)]
struct Held {
    node: NodeId,
    task: Arc<str>,
    listed: bool,
    since: Instant,
}

/// A node, and when anything was last heard of it.
#[derive(Clone, Debug)]
struct Heard {
    at: Instant,
    node: Option<Node>,
}

/// How the last dial of an address went, and what an earlier one proved.
#[derive(Clone, Debug)]
struct Try {
    outcome: Result<(), Absence>,
    proof: Option<Proof>,
}

/// An address to keep dialling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Who must be there. `None`: whoever the cluster secret lets be.
    pub expect: Option<NodeId>,
    /// Who is there, as far as is known.
    pub node: Option<NodeId>,
    pub answering: bool,
}

impl Known {
    /// What is known at the start: `cluster`, which holds ourselves alone.
    pub fn new(cluster: &Cluster, peer_port: u16) -> Self {
        let me = Member::clone(cluster.me());
        let own = Own {
            kind: cluster.kind,
            id: me.id.clone(),
            host: Arc::clone(&me.host),
            role: me.role,
            managers: BTreeSet::new(),
            api: me.api,
            service: cluster.service.clone(),
            addresses: cluster.own_addresses.clone(),
        };
        Self {
            peer_port,
            me,
            own,
            directory: Vec::new(),
            taken: BTreeSet::new(),
            tasks: None,
            tasks_bind: false,
            roster_at: None,
            seats: BTreeMap::new(),
            nodes: BTreeMap::new(),
            candidates: BTreeMap::new(),
            tries: BTreeMap::new(),
        }
    }

    pub(super) fn take_in(&mut self, event: Event, now: Instant) {
        match event {
            Event::Own(own) => self.own_said(own, now),
            Event::Directory { seats, taken } => {
                self.directory = seats;
                self.taken = taken;
                self.reseat(now);
            }
            Event::Roster(roster) => self.roster_said(roster, now),
            Event::Candidates(candidates) => {
                for (name, told) in candidates {
                    self.candidates_told(name, told);
                }
                self.forget_untargeted();
            }
            Event::Dialled { at, outcome } => self.dialled(at, outcome, now),
            Event::Silent(node, absence) => self.fell_silent(&node, absence, now),
        }
        self.nodes.retain(|id, heard| *id == self.own.id || now.saturating_duration_since(heard.at) < FORGET);
    }

    fn own_said(&mut self, own: Own, now: Instant) {
        if own.id != self.own.id || own.kind != self.own.kind || own.service_id() != self.own.service_id() {
            let fresh = Cluster::alone(own.kind, self.me.clone());
            let candidates = std::mem::take(&mut self.candidates);
            *self = Self { candidates, ..Self::new(&fresh, self.peer_port) };
        }
        if own.role != Role::Manager {
            // A former manager's task list grows old with nobody to say so.
            self.tasks_bind = false;
        }
        if own.kind == Kind::Swarm && self.roster_at.is_none() {
            // Until a node list is there, these are the nodes of which a worker's engine itself knows.
            for manager in &own.managers {
                self.nodes.entry(manager.clone()).or_insert(Heard { at: now, node: None });
            }
        }
        self.own = own;
    }

    /// A node list that does not have us is another Swarm's, or from before we joined.
    fn roster_said(&mut self, roster: Roster, now: Instant) {
        if self.own.kind != Kind::Swarm || !roster.nodes.iter().any(|n| n.id == self.own.id) {
            return;
        }
        self.nodes =
            roster.nodes.into_iter().map(|n| (n.id.clone(), Heard { at: now, node: Some(n) })).collect();
        if roster.tasks.is_some() || self.own.service.is_none() {
            self.tasks = roster.tasks;
            self.tasks_bind = roster.own;
        }
        self.roster_at = Some(now);
        self.reseat(now);
    }

    fn dialled(&mut self, at: SocketAddr, outcome: Result<Proof, Absence>, now: Instant) {
        if !self.is_targeted(at) {
            return;
        }
        let held = self.tries.remove(&at).and_then(|t| t.proof);
        let expected =
            self.seats.get(&at.ip()).filter(|_| self.own.service.is_some()).map(|s| s.node.clone());
        let attempt = match outcome {
            Ok(proof) if expected.as_ref().is_some_and(|node| *node != proof.node) => {
                Try { outcome: Err(Absence::Secret), proof: None }
            }
            Ok(proof) => {
                self.hear(&proof.node, now);
                Try { outcome: Ok(()), proof: Some(proof) }
            }
            Err(absence) => Try { outcome: Err(absence), proof: held },
        };
        let answers = attempt.outcome.is_ok();
        self.tries.insert(at, attempt);
        if !answers {
            for candidates in self.candidates.values_mut() {
                candidates.kept.remove(&at);
            }
            self.forget_untargeted();
        }
    }

    fn candidates_told(&mut self, name: Arc<str>, told: BTreeSet<SocketAddr>) {
        let before = self.candidates.remove(&name).unwrap_or_default();
        // Ourselves we do not dial again.
        let another = |at: &SocketAddr| {
            let proof = self.tries.get(at).and_then(|t| t.proof.as_ref());
            proof.is_some_and(|p| p.node != self.own.id)
        };
        let answering = before.told.into_iter().filter(|at| self.answers(*at) && another(at));
        let kept = before.kept.into_iter().chain(answering).filter(|at| !told.contains(at)).collect();
        self.candidates.insert(name, Candidates { told, kept });
    }

    fn fell_silent(&mut self, node: &NodeId, absence: Absence, now: Instant) {
        let Some(at) = self.draw(now).members.get(node).and_then(|m| m.address) else { return };
        match self.tries.get_mut(&at) {
            Some(attempt) => attempt.outcome = Err(absence),
            None => {
                self.tries.insert(at, Try { outcome: Err(absence), proof: None });
            }
        }
    }

    /// A node is there, by Swarm's directory or by its certificate. It becomes a member only while no fresh node
    /// list says otherwise.
    fn hear(&mut self, id: &NodeId, now: Instant) {
        let listed = self.roster_is_fresh(now);
        match self.nodes.get_mut(id) {
            Some(heard) => heard.at = now,
            None if listed => {}
            None => {
                self.nodes.insert(id.clone(), Heard { at: now, node: None });
            }
        }
    }

    fn roster_is_fresh(&self, now: Instant) -> bool {
        self.roster_at.is_some_and(|at| now.saturating_duration_since(at) < FRESH)
    }

    /// Whether a dial of `at` could matter: Swarm lists it, or, where Swarm cannot, it is a candidate.
    fn is_targeted(&self, at: SocketAddr) -> bool {
        match self.own.service {
            Some(_) => at.port() == self.peer_port && self.seats.contains_key(&at.ip()),
            None => self.candidates.values().any(|c| c.told.contains(&at) || c.kept.contains(&at)),
        }
    }

    fn forget_untargeted(&mut self) {
        let mut tries = std::mem::take(&mut self.tries);
        tries.retain(|at, _| self.is_targeted(*at));
        self.tries = tries;
    }
}

impl Candidates {
    fn all(&self) -> impl Iterator<Item = SocketAddr> {
        self.told.iter().chain(&self.kept).copied()
    }
}

impl Own {
    fn service_id(&self) -> Option<&Arc<str>> {
        self.service.as_ref().map(|s| &s.id)
    }
}
