//! Who has which address, united from the engine's directory and the task list; and what that makes of a node.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use super::{Held, Known, Try};
use crate::membership::event::{Node, Seat, Standing};
use crate::model::{Absence, Member, NodeId, Reach, Role};

/// Where a node's agent is thought to be.
#[derive(Clone, Copy)]
struct Place {
    at: SocketAddr,
    listed: bool,
}

impl Known {
    /// Builds the seats anew after either list changed.
    pub(super) fn reseat(&mut self, now: Instant) {
        let old = std::mem::take(&mut self.seats);
        let mut seats = self.listed(&old, now);
        let nodes: BTreeSet<NodeId> = seats.values().map(|s| s.node.clone()).collect();
        for node in &nodes {
            self.hear(node, now);
        }
        for (at, held) in &old {
            let vacant = !seats.contains_key(at) && !self.taken.contains(at);
            let alone = !nodes.contains(&held.node) && self.nodes.contains_key(&held.node);
            if vacant && alone {
                seats.insert(*at, Held { listed: false, ..held.clone() });
            }
        }
        if self.own.service.is_some() {
            // An address that changed hands is a new place: what a dial there proved is void.
            let task = |seats: &BTreeMap<IpAddr, Held>, at: &SocketAddr| {
                seats.get(&at.ip()).map(|held| Arc::clone(&held.task))
            };
            self.tries.retain(|at, _| task(&seats, at).is_some() && task(&old, at) == task(&seats, at));
        }
        self.seats = seats;
    }

    /// What is listed now. Of two entries at one address the one that was not there before is the newer; Raft's
    /// word, the task list, beats the gossip of the directory.
    fn listed(&self, old: &BTreeMap<IpAddr, Held>, now: Instant) -> BTreeMap<IpAddr, Held> {
        let mut seats = BTreeMap::new();
        let hold = |seat: &Seat| {
            let before = old.get(&seat.at).filter(|h| h.task == seat.task);
            let since = before.map_or(now, |h| h.since);
            Held { node: seat.node.clone(), task: Arc::clone(&seat.task), listed: true, since }
        };
        for seat in &self.directory {
            let newcomer = old.get(&seat.at).is_none_or(|h| h.task != seat.task);
            if newcomer || !seats.contains_key(&seat.at) {
                seats.insert(seat.at, hold(seat));
            }
        }
        let binding = self.tasks_bind && self.roster_is_fresh(now);
        for seat in self.tasks.iter().flatten().filter(|_| binding) {
            seats.insert(seat.at, hold(seat));
        }
        seats
    }

    /// The node as a member. Its role and name are Swarm's word alone.
    pub(super) fn swarm_member(&self, id: &NodeId, now: Instant) -> Member {
        let node = self.node(id);
        let place = self.place(id, now);
        let attempt = place.and_then(|p| self.tries.get(&p.at));
        let proof = attempt.and_then(|t| t.proof.as_ref()).filter(|p| p.node == *id);
        let role = self.role(id, now);
        let host: Arc<str> = node.map_or_else(|| id.as_str().into(), |n| Arc::clone(&n.host));
        Member {
            id: id.clone(),
            shown: Arc::clone(&host),
            host,
            role,
            leader: role == Role::Manager && node.is_some_and(|n| n.leader),
            address: place.map(|p| p.at),
            reach: self.reach(id, place, now),
            api: proof.and_then(|p| p.api),
            agent_version: proof.map(|p| Arc::clone(&p.agent_version)),
        }
    }

    pub(super) fn node(&self, id: &NodeId) -> Option<&Node> {
        self.nodes.get(id).and_then(|heard| heard.node.as_ref())
    }

    /// A manager's fresh node list says it best; a worker that reaches none has its own engine's list of managers.
    fn role(&self, id: &NodeId, now: Instant) -> Role {
        let told = if self.own.managers.contains(id) { Role::Manager } else { Role::Worker };
        match self.node(id).map(|n| n.role) {
            Some(role) if self.roster_is_fresh(now) || self.own.managers.is_empty() => role,
            Some(_) | None => told,
        }
    }

    /// Of several places the one of the task that Swarm runs, then one that is listed, then one that answers, then
    /// the one that came last.
    fn place(&self, id: &NodeId, now: Instant) -> Option<Place> {
        if self.own.service.is_none() {
            let mine = |t: &Try| t.proof.as_ref().is_some_and(|p| p.node == *id);
            let (at, _) =
                self.tries.iter().filter(|(_, t)| mine(t)).max_by_key(|(_, t)| t.outcome.is_ok())?;
            return Some(Place { at: *at, listed: true });
        }
        let at = |ip: IpAddr| SocketAddr::new(ip, self.peer_port);
        let (ip, held) =
            self.seats.iter().filter(|(_, held)| held.node == *id).max_by_key(|(ip, held)| {
                (self.runs(&held.task, now), held.listed, self.answers(at(**ip)), held.since)
            })?;
        Some(Place { at: at(*ip), listed: held.listed })
    }

    /// Whether a manager said lately that Swarm runs this task.
    fn runs(&self, task: &str, now: Instant) -> bool {
        self.roster_is_fresh(now) && self.tasks.iter().flatten().any(|s| *s.task == *task)
    }

    fn reach(&self, id: &NodeId, place: Option<Place>, now: Instant) -> Reach {
        let swarm_says = match self.node(id).map(|n| n.standing) {
            Some(Standing::Drained) => Some(Absence::Drained),
            Some(Standing::Down) => Some(Absence::Down),
            Some(Standing::Active) | None => None,
        };
        let Some(place) = place else {
            // Only who has seen the node list can say that nothing runs there.
            let unseen = if self.roster_at.is_some() { Absence::NoAgent } else { Absence::Unreachable };
            return Reach::Missing(swarm_says.unwrap_or(unseen));
        };
        match self.tries.get(&place.at).map(|t| t.outcome) {
            // Our own dial is the better witness: Swarm may not have noticed yet that the node is back.
            Some(Ok(())) => Reach::Answering,
            None => swarm_says.map_or(Reach::Untried, Reach::Missing),
            // Where an agent should be. Whoever has taken the address of one that is gone says nothing about its node.
            Some(Err(Absence::Secret)) if place.listed || swarm_says.is_none() => {
                Reach::Missing(Absence::Secret)
            }
            Some(Err(absence)) => {
                let unmanned = !place.listed && self.has_no_task(id, now);
                Reach::Missing(swarm_says.or(unmanned.then_some(Absence::NoAgent)).unwrap_or(absence))
            }
        }
    }

    /// Whether a manager said lately that no task of the service runs on the node.
    fn has_no_task(&self, id: &NodeId, now: Instant) -> bool {
        let idle = self.tasks.as_ref().is_some_and(|tasks| tasks.iter().all(|s| s.node != *id));
        idle && self.roster_is_fresh(now)
    }

    /// Listed agents that lost to another of the same node: node, task and address.
    pub fn superseded(&self, now: Instant) -> Vec<(NodeId, Arc<str>, IpAddr)> {
        let winner = |id: &NodeId| self.place(id, now).and_then(|p| self.seats.get(&p.at.ip()));
        let lost = |held: &Held| held.listed && winner(&held.node).is_some_and(|w| w.task != held.task);
        let losers = self.seats.iter().filter(|(_, held)| lost(held));
        losers.map(|(at, held)| (held.node.clone(), Arc::clone(&held.task), *at)).collect()
    }
}
