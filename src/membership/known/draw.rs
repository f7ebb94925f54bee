//! The snapshot that follows from what is known, and the addresses worth dialling.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use super::{Candidates, Known, Target};
use crate::membership::shown;
use crate::model::{Absence, Cluster, Kind, Member, NodeId, Reach, Role};

impl Known {
    /// The snapshot; its version is the caller's to count.
    pub(in crate::membership) fn draw(&self, now: Instant) -> Cluster {
        let mut members = match self.own.kind {
            Kind::Unknown | Kind::Standalone => BTreeMap::new(),
            Kind::Swarm => self.nodes.keys().map(|id| (id.clone(), self.swarm_member(id, now))).collect(),
            Kind::Fixed => self.fixed_members(),
        };
        members.insert(self.own.id.clone(), self.myself());
        shown::name_all(&mut members);
        Cluster {
            version: 0,
            kind: self.own.kind,
            here: self.own.id.clone(),
            complete: match self.own.kind {
                Kind::Unknown => false,
                Kind::Standalone | Kind::Fixed => true,
                Kind::Swarm => self.roster_at.is_some(),
            },
            members: members.into_iter().map(|(id, m)| (id, Arc::new(m))).collect(),
            service: self.own.service.clone(),
            directory: self.bound(),
            own_addresses: self.own.addresses.clone(),
            own_names: self.own_names(),
        }
    }

    fn myself(&self) -> Member {
        let node = self.node(&self.own.id);
        let host = node.map_or(&self.own.host, |n| &n.host);
        Member {
            id: self.own.id.clone(),
            host: Arc::clone(host),
            shown: Arc::clone(host),
            role: self.own.role,
            leader: self.own.role == Role::Manager && node.is_some_and(|n| n.leader),
            address: None,
            reach: Reach::Here,
            api: self.own.api,
            agent_version: self.me.agent_version.clone(),
        }
    }

    /// Who may be at a peer address. What DNS or a peer says never gets here.
    fn bound(&self) -> BTreeMap<IpAddr, NodeId> {
        if self.own.service.is_none() {
            return BTreeMap::new();
        }
        let seats =
            self.seats.iter().filter(|(_, s)| self.nodes.contains_key(&s.node) || s.node == self.own.id);
        seats.map(|(at, s)| (*at, s.node.clone())).collect()
    }

    /// The static peers: one member for each, known by its certificate once it has shown one.
    fn fixed_members(&self) -> BTreeMap<NodeId, Member> {
        let mut members = BTreeMap::new();
        for (peer, addresses) in &self.candidates {
            if let Some(member) = self.fixed_member(peer, addresses) {
                members.entry(member.id.clone()).or_insert(member);
            }
        }
        members
    }

    fn own_names(&self) -> BTreeSet<Arc<str>> {
        let proof = |at: &SocketAddr| self.tries.get(at)?.proof.as_ref();
        let is_own = |at: SocketAddr| proof(&at).is_some_and(|proof| proof.node == self.own.id);
        let own = self.candidates.iter().filter(|(_, addresses)| addresses.all().any(is_own));
        own.map(|(name, _)| Arc::clone(name)).collect()
    }

    /// `None`: that peer is this agent itself.
    fn fixed_member(&self, peer: &Arc<str>, addresses: &Candidates) -> Option<Member> {
        let tried = addresses.all().map(|at| (at, self.tries.get(&at)));
        let told = |at: &SocketAddr| addresses.told.contains(at);
        let best = tried
            .max_by_key(|(at, attempt)| attempt.map(|t| (t.outcome.is_ok(), t.proof.is_some(), told(at))));
        let attempt = best.and_then(|(_, attempt)| attempt);
        let proof = attempt.and_then(|t| t.proof.as_ref());
        let id = proof.map_or_else(|| NodeId::parse(peer).ok(), |p| Some(p.node.clone()))?;
        if id == self.own.id {
            return None;
        }
        let reach = match attempt.map(|t| t.outcome) {
            Some(Ok(())) => Reach::Answering,
            Some(Err(absence)) => Reach::Missing(absence),
            // Not asked before a dial has told who it is: it may be ourselves, and rows would come twice.
            None => Reach::Missing(Absence::Unreachable),
        };
        let host = proof.map_or(peer, |p| &p.host);
        Some(Member {
            id,
            host: Arc::clone(host),
            shown: Arc::clone(host),
            role: Role::Worker,
            leader: false,
            address: best.map(|(at, _)| at),
            reach,
            api: proof.and_then(|p| p.api),
            agent_version: proof.map(|p| Arc::clone(&p.agent_version)),
        })
    }

    /// The addresses to keep dialling.
    pub fn targets(&self, now: Instant) -> BTreeMap<SocketAddr, Target> {
        match (self.own.kind, &self.own.service) {
            (Kind::Unknown | Kind::Standalone, _) => BTreeMap::new(),
            (_, Some(_)) => self.seat_targets(now),
            (_, None) => self.candidate_targets(),
        }
    }

    /// All that is listed, and what was last listed for a node that has nothing else.
    fn seat_targets(&self, now: Instant) -> BTreeMap<SocketAddr, Target> {
        let cluster = self.draw(now);
        let seats = self.seats.iter().map(|(ip, held)| (SocketAddr::new(*ip, self.peer_port), held));
        let dialled = seats.filter(|(at, held)| {
            let member = cluster.members.get(&held.node).filter(|m| !m.is_here());
            member.is_some_and(|m| held.listed || m.address == Some(*at))
        });
        let target = |at, node: &NodeId| Target {
            expect: Some(node.clone()),
            node: Some(node.clone()),
            answering: self.answers(at),
        };
        dialled.map(|(at, held)| (at, target(at, &held.node))).collect()
    }

    fn candidate_targets(&self) -> BTreeMap<SocketAddr, Target> {
        let proven =
            |at: &SocketAddr| self.tries.get(at).and_then(|t| t.proof.as_ref()).map(|p| p.node.clone());
        let all = self.candidates.values().flat_map(Candidates::all).map(|at| (at, proven(&at)));
        let others = all.filter(|(_, node)| node.as_ref() != Some(&self.own.id));
        others.map(|(at, node)| (at, Target { expect: None, node, answering: self.answers(at) })).collect()
    }

    pub(super) fn answers(&self, at: SocketAddr) -> bool {
        self.tries.get(&at).is_some_and(|t| t.outcome.is_ok())
    }

    /// Whether something that should be there is not: an agent that does not answer yet, a listed node that is no
    /// member yet, or no word of Swarm at all.
    pub fn is_unsettled(&self, now: Instant) -> bool {
        let listed = |held: &&super::Held| held.listed;
        let stranger = |held: &super::Held| !self.nodes.contains_key(&held.node);
        let waiting = self.own.service.is_some() && (self.seats.is_empty() || self.roster_at.is_none());
        self.own.kind == Kind::Unknown
            || waiting
            || self.seats.values().filter(listed).any(stranger)
            || self.targets(now).values().any(|t| !t.answering)
    }
}
