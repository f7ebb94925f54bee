//! A plan and a request in, an answer out: local, forward, fan-out, locate. Sees only the snapshot its plan came from.

pub mod asked;
pub mod attend;
pub mod budget;
mod fanout;
mod forward;
pub mod headers;
mod local;
mod locate;
mod paced;
mod part;
mod pivot;
mod relay;
mod selection;
mod slices;
mod stale;
mod swarm_network;

use std::sync::Arc;
use std::time::Duration;

use http::Response;
use tokio::sync::mpsc;

use crate::body::Body;
use crate::config::Limits;
use crate::decide::{Plan, Step};
use crate::dial::{self, Engine, Peers};
use crate::model::{Absence, Cluster, Hint, Member, NodeId};
use crate::shutdown::Shutdown;
use crate::telemetry::metrics::Metrics;
pub use asked::Asked;
pub use budget::Budget;
pub use locate::Class;

/// Does what was decided. One for the whole process.
pub struct Executor {
    pub engine: Engine,
    pub peers: Peers,
    pub budget: Budget,
    pub limits: Arc<Limits>,
    pub hints: mpsc::Sender<Hint>,
    pub metrics: Arc<Metrics>,
    pub shutdown: Shutdown,
}

/// An answer, and who gave it.
#[derive(Debug)]
pub struct Answer {
    pub response: Response<Body>,
    /// The node that executed the request; on a merge the entry node.
    pub by: Arc<Member>,
    /// On a merged answer: how many answered, and who did not.
    pub tally: Option<Tally>,
}

/// Who answered a fan-out.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub answered: usize,
    pub of: usize,
    /// Shown name and reason of each node that is missing from the answer.
    pub missing: Vec<(String, &'static str)>,
}

/// A node's object that may be the one that is meant.
#[derive(Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its shown name.
    pub node: String,
    pub node_id: NodeId,
    /// The object's full id. `None`: several on that node.
    pub id: Option<String>,
}

/// Why there is no answer of Docker's to give.
#[derive(Debug, thiserror::Error)]
pub enum Fail {
    #[error("ask the engine of node {node}")]
    Engine { node: String, source: dial::Fail },
    /// Nothing of the request has reached it. `answer`: its agent's own words, for when there is nobody else to ask.
    #[error("node {node}: its agent cannot ask its engine")]
    NoEngine { node: String, answer: Box<Answer> },
    #[error("ask node {node}")]
    Peer { node: String, source: dial::Fail },
    #[error("node {node} gave no answer within {after:?}")]
    Silent { node: String, after: Duration },
    #[error("node {node} answered with a redirect")]
    Redirect { node: String },
    #[error("merges hold all the memory that they may")]
    Busy,
    #[error("node {node} switched protocols unasked")]
    Unasked { node: String },
    #[error("node {node} is not where it was")]
    Moved { id: NodeId, node: String },
    #[error("no node gave a usable answer")]
    AllFailed { nodes: Vec<(String, String)>, tally: Tally },
    #[error("a partial answer was refused")]
    Partial(Tally),
    /// `answer`: the engine's own words, for when there is nobody else to ask.
    #[error("node {node} is no longer a manager")]
    StaleRole { node: String, answer: Box<Answer> },
    #[error("version {asked} would be asked as {clamped}, which deletes more")]
    OldPrune { asked: String, clamped: String },
    #[error("read the request's body")]
    Body { source: crate::body::BoxError },
    #[error("the body is larger than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("no node has {what} {reference}")]
    NoPivot { what: &'static str, reference: String },
    #[error("{what} {reference} was not found, and a node was not heard")]
    Unheard { what: &'static str, reference: String, tally: Tally },
    /// `by`: how all of them match.
    #[error("{what} {reference} is on several nodes")]
    Several { what: &'static str, reference: String, by: Class, candidates: Vec<Candidate> },
}

impl Executor {
    /// Executes a plan. `asked` keeps its body only if that can be sent again.
    ///
    /// # Errors
    /// [`Fail`] when no engine's answer can be given. Nothing of an answer has been sent then.
    pub async fn execute(
        &self,
        plan: Plan,
        asked: &mut Asked,
        cluster: &Arc<Cluster>,
    ) -> Result<Answer, Fail> {
        match plan.step {
            Step::Local => {
                let response = self.local(plan.route, asked, cluster).await?;
                stale::check(plan.route, Answer { response, by: Arc::clone(cluster.me()), tally: None }).await
            }
            Step::Forward(member) => {
                let response = self.forward(plan.route, asked, &member).await?;
                stale::check(plan.route, Answer { response, by: member, tally: None }).await
            }
            Step::FanOut { asked: members, missing, base, merge } => {
                let wanted = part::Wanted { members, missing, base, merge };
                self.fan_out(wanted, asked, cluster).await
            }
            Step::Locate { asked: members, missing } => {
                self.locate(plan.route, locate::Among { members, missing }, asked, cluster).await
            }
            Step::LocalOr { manager, missing } => {
                self.swarm_network(plan.route, manager.as_ref().ok_or(missing), asked, cluster).await
            }
            // The pipeline answers these itself; they never reach an executor.
            Step::Own(_) | Step::Peek => Err(Fail::AllFailed { nodes: Vec::new(), tally: Tally::default() }),
        }
    }

    /// A connection could not be made, or a probe was not answered: until one is, the node is not asked.
    fn silent(&self, member: &Member, absence: Absence) {
        // A full queue means that discovery is already busy looking.
        let _ = self.hints.try_send(Hint::Silent(member.id.clone(), absence));
    }

    /// As [`Self::silent`], where the failure says so much. One exchange that broke off does not: it may have been
    /// the client who left.
    fn unreachable(&self, member: &Member, fail: &dial::Fail) {
        if fail.nothing_sent() && !matches!(fail, dial::Fail::NotReady { .. } | dial::Fail::Broken { .. }) {
            self.silent(member, fail.absence());
        }
    }
}
