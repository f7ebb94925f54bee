//! The whole daemon, once per request: identify, decide, execute, respond.

mod classes;
mod failures;
mod leashes;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, header};
use tokio::sync::watch;
use tracing::{debug, warn};

use crate::agent_api::AgentApi;
use crate::associate::Associations;
use crate::body::Body;
use crate::client::{Client, Side};
use crate::decide::{
    self, Access, Door, Facts, Merge, Origin, Pace, Plan, Route, Scope, Search, Step, Target, decide, gate,
    table::route,
};
use crate::dial;
use crate::execute::{Answer, Asked, Executor, Fail, headers};
use crate::identify::{Denied, Identified, Rules, identify};
use crate::model::api_path::ApiPath;
use crate::model::{Absence, Caller, Cluster, Dialect, Hint, NodeId, Reach, Role, chain};
use crate::respond::{Failure, respond};
use crate::telemetry::metrics::{Class, Denial};
pub use failures::Failures;
pub use leashes::Leashes;

/// 256 characters of a path are logged.
const LOGGED: usize = 256;

/// 2 MiB: no body of a manager route is larger. A config's data are at most 1000 KB, which is 1.3 MiB as base64.
const REPEATABLE: usize = 2 << 20;

/// 1 s: at a start, or when it is asked for anew, the node list is there within a fraction of it, and a list that waits
/// is better than a short one.
const SETTLE: Duration = Duration::from_secs(1);

/// What all requests share.
pub struct Pipeline {
    pub membership: watch::Receiver<Arc<Cluster>>,
    pub rules: Rules,
    pub associations: Associations,
    pub executor: Executor,
    pub agent: AgentApi,
    pub failures: Failures,
    pub leashes: Leashes,
    /// What the header `Portainer-Agent` says.
    pub agent_version: HeaderValue,
}

impl Pipeline {
    /// Answers one request. Never fails: what goes wrong is an answer too.
    pub async fn answer(self: Arc<Self>, request: Request<Body>, client: Arc<Client>) -> Response<Body> {
        let started = Instant::now();
        let mut timed = self.executor.metrics.began(classes::listener(&client));
        let mut cluster = Arc::clone(&self.membership.borrow());
        let origin = origin_of(&client);
        let (head, body) = request.into_parts();
        let (method, path) = (head.method.clone(), head.uri.path().to_owned());
        let asker = asker(&head, &client);
        let (upgrading, mut door) = (head.headers.contains_key(header::UPGRADE), Door::None);
        let outcome = self.handle(head, body, &client, &mut cluster, (&mut timed.class, &mut door)).await;
        match &outcome {
            Ok(Answer { tally: Some(tally), .. }) if !tally.missing.is_empty() => {
                self.executor.metrics.answered_in_part();
            }
            Ok(_) => {}
            Err(failure) => note(failure, &client, &path),
        }
        let mut response = respond(outcome, &cluster, origin, &self.agent_version);
        if upgrading && door != Door::None {
            headers::close_unless_upgraded(&mut response);
        }
        let status = response.status().as_u16();
        timed.ended(status);
        let took = started.elapsed().as_micros();
        debug!(client = %client.remote, asker, %method, path = ?path, status, micros = took, "request");
        response
    }

    async fn handle(
        &self,
        head: Parts,
        body: Body,
        client: &Arc<Client>,
        cluster: &mut Arc<Cluster>,
        (class, door): (&mut Class, &mut Door),
    ) -> Result<Answer, Failure> {
        let path = gate(&head)?;
        let row = classes::row(&head.method, &path, origin_of(client));
        (*class, *door) = (classes::of(row), row.door);
        let console = row.door == Door::WebSocket;
        let outcome = self.routed(head, body, path, client, cluster).await;
        outcome.map_err(|failure| if console { failure.of_console() } else { failure })
    }

    async fn routed(
        &self,
        head: Parts,
        body: Body,
        path: ApiPath,
        client: &Arc<Client>,
        cluster: &mut Arc<Cluster>,
    ) -> Result<Answer, Failure> {
        let caller = self.identify(&head, &path, client, cluster).await?;
        let wishes = Wishes::read(&head)?;
        let of_all = concerns_all(route(&head.method, &path));
        // A peer asks this node alone, and whoever names a node means that one.
        if of_all && !cluster.complete && origin_of(client) == Origin::Public && wishes.node.is_none() {
            *cluster = self.settled().await;
        }
        let mut asked = Asked::new(head, carried(body), path, caller, Arc::clone(client));
        asked.strict = wishes.strict;
        asked.dialect = wishes.dialect.unwrap_or(dialect_of(&asked.caller));
        let plan = self.plan(&mut asked, &wishes, cluster).await?;
        client.set_unhurried(plan.route.pace == Pace::Long);
        match plan.step {
            Step::Own(own) => {
                let response = self.agent.answer(own, asked, cluster).await?;
                Ok(Answer { response, by: Arc::clone(cluster.me()), tally: None })
            }
            _ => self.execute(plan, asked, &wishes, cluster).await,
        }
    }

    /// Who asks. A verified key that nobody holds yet becomes the association's, if its store says so.
    async fn identify(
        &self,
        head: &Parts,
        path: &ApiPath,
        client: &Client,
        cluster: &Cluster,
    ) -> Result<Caller, Failure> {
        if let Side::Peer(node) = &client.side {
            // A connection can outlive its node's place in the Swarm.
            let listed = cluster.directory.get(&client.remote.ip().to_canonical()) == Some(node);
            if cluster.service.is_some() && !listed {
                self.executor.metrics.denied(Denial::Delisted);
                return Err(Failure::Delisted);
            }
            client.authenticated(&self.leashes.of(node, client.remote.ip().to_canonical()));
            return Ok(Caller::Peer(node.clone()));
        }
        if route(&head.method, path).access == Access::Open {
            return Ok(Caller::Anyone);
        }
        let found = match identify(&self.rules, &self.associations.now(), &head.headers) {
            Ok(Identified::Claim(key)) => {
                let association = self.associations.claim(&key).await?;
                identify(&self.rules, &association, &head.headers)
            }
            other => other,
        };
        match found {
            Ok(Identified::Caller(caller, until)) => {
                client.authenticated(&until);
                Ok(caller)
            }
            Ok(Identified::Claim(_)) => Err(Failure::Denied(Denied::NotYet)),
            Err(denied) => {
                self.executor.metrics.denied(classes::denial(&denied));
                if let Denied::Other(key) = &denied {
                    self.associations.complain(key);
                }
                Err(self.failures.count(client.remote.ip(), denied))
            }
        }
    }

    /// The first snapshot that knows all nodes; after a moment whatever there is, which then says so.
    async fn settled(&self) -> Arc<Cluster> {
        let mut membership = self.membership.clone();
        let _ = tokio::time::timeout(SETTLE, membership.wait_for(|cluster| cluster.complete)).await;
        Arc::clone(&self.membership.borrow())
    }

    /// Decides, after reading a small body where the route depends on it.
    async fn plan(&self, asked: &mut Asked, wishes: &Wishes, cluster: &Cluster) -> Result<Plan, Failure> {
        let plan = decide(&facts(asked, wishes, None), cluster)?;
        if !matches!(plan.step, Step::Peek) {
            return Ok(plan);
        }
        let body = asked.buffer(self.executor.limits.peek_bytes).await?;
        Ok(decide(&facts(asked, wishes, Some(&body)), cluster)?)
    }

    /// Executes; where a manager turned out to be none, or not there, decides again without it.
    async fn execute(
        &self,
        mut plan: Plan,
        mut asked: Asked,
        wishes: &Wishes,
        cluster: &Arc<Cluster>,
    ) -> Result<Answer, Failure> {
        let body = peeked(&plan, &asked);
        let managed = wants_manager(plan.route) || wishes.manager_operation || body.is_some();
        if managed && asked.declared_length().is_some_and(|length| length <= REPEATABLE) {
            asked.buffer(REPEATABLE).await?;
        }
        let mut view = Arc::clone(cluster);
        loop {
            let executor = executor_of(&plan, &view);
            let fail = match self.executor.execute(plan, &mut asked, &view).await {
                Ok(answer) => return Ok(answer),
                Err(fail) => fail,
            };
            if let Fail::Moved { id, .. } = &fail
                && asked.can_repeat()
                && !std::mem::replace(&mut asked.again, true)
            {
                view = self.renewed(&view, id).await;
                plan = decide(&facts(&asked, wishes, body.as_deref()), &view)?;
                match plan.step {
                    // Its name is ours now.
                    Step::Own(_) | Step::Peek => return last_word(fail),
                    _ => continue,
                }
            }
            let repeat = managed && asked.can_repeat();
            let read = matches!(asked.method, Method::GET | Method::HEAD);
            let amended =
                executor.as_ref().filter(|_| repeat).and_then(|id| self.without(&view, id, &fail, read));
            let Some(amended) = amended else { return last_word(fail) };
            view = Arc::new(amended);
            match decide(&facts(&asked, wishes, body.as_deref()), &view) {
                // Somebody else. A named node, or a lone engine, would be decided for ever.
                Ok(next) if executor_of(&next, &view) != executor => plan = next,
                // Nobody else is left: what the last one did wrong says more than that.
                Ok(_) | Err(_) => return last_word(fail),
            }
        }
    }

    /// The first snapshot in which that node is another, or elsewhere; after a moment whatever there is.
    async fn renewed(&self, view: &Cluster, id: &NodeId) -> Arc<Cluster> {
        let mut membership = self.membership.clone();
        let moved = |cluster: &Arc<Cluster>| cluster.members.get(id) != view.members.get(id);
        let _ = tokio::time::timeout(SETTLE, membership.wait_for(moved)).await;
        Arc::clone(&self.membership.borrow())
    }

    /// The snapshot without the manager that failed, if asking another one is safe. A `read` changes nothing, so that
    /// one that may have been carried out can be sent again.
    fn without(&self, view: &Cluster, id: &NodeId, fail: &Fail, read: bool) -> Option<Cluster> {
        match fail {
            Fail::StaleRole { .. } => {
                let _ = self.executor.hints.try_send(Hint::StaleRole);
                Some(view.amended(id, |member| member.role = Role::Worker))
            }
            Fail::Peer { source, .. }
                if source.nothing_sent() || (read && matches!(source, dial::Fail::Gone { .. })) =>
            {
                Some(view.amended(id, |member| member.reach = Reach::Missing(Absence::Unreachable)))
            }
            // Its agent answers; as a manager it is of no use to this request.
            Fail::NoEngine { .. } => Some(view.amended(id, |member| member.role = Role::Worker)),
            Fail::Engine { source, .. } if source.nothing_sent() => {
                Some(view.amended(id, |member| member.role = Role::Worker))
            }
            _ => None,
        }
    }
}

/// Whether a node that is not known yet would be missed.
fn concerns_all(route: &Route) -> bool {
    matches!(route.scope, Scope::Cluster(Some(_)) | Scope::Owner(_, Search::Everywhere))
}

/// Whether a manager is asked when the client names no node.
fn wants_manager(route: &Route) -> bool {
    matches!(route.scope, Scope::Manager | Scope::Cluster(Some(Merge::Info)))
}

/// The body that decided where a request goes.
fn peeked(plan: &Plan, asked: &Asked) -> Option<Bytes> {
    match &asked.body {
        Body::Full(bytes) if plan.route.peek => Some(bytes.clone()),
        _ => None,
    }
}

/// Who could not do it says so in its own words where there is nobody else to ask.
fn last_word(fail: Fail) -> Result<Answer, Failure> {
    match fail {
        Fail::StaleRole { answer, .. } | Fail::NoEngine { answer, .. } => Ok(*answer),
        fail => Err(fail.into()),
    }
}

/// The node that a plan is executed by, where it is one.
fn executor_of(plan: &Plan, cluster: &Cluster) -> Option<NodeId> {
    match &plan.step {
        Step::Local => Some(cluster.here.clone()),
        Step::Forward(member) => Some(member.id.clone()),
        // What one of several answered is not undone by another.
        Step::Own(_) | Step::FanOut { .. } | Step::Locate { .. } | Step::LocalOr { .. } | Step::Peek => None,
    }
}

fn facts<'r>(asked: &'r Asked, wishes: &'r Wishes, body: Option<&'r [u8]>) -> Facts<'r> {
    Facts {
        origin: origin_of(&asked.client),
        dialect: asked.dialect,
        method: &asked.method,
        path: &asked.path,
        target: wishes.target(),
        manager_operation: wishes.manager_operation,
        body,
    }
}

fn origin_of(client: &Client) -> Origin {
    match client.side {
        Side::Public => Origin::Public,
        Side::Peer(_) => Origin::Peer,
    }
}

/// What the headers ask of us, kept beyond the head they came with.
struct Wishes {
    node: Option<String>,
    remembered: Option<String>,
    manager_operation: bool,
    strict: bool,
    dialect: Option<Dialect>,
}

impl Wishes {
    fn read(head: &Parts) -> Result<Self, Failure> {
        let asked = decide::Asked::read(&head.headers).map_err(decide::GateError::from)?;
        let (node, remembered) = match asked.target {
            Some(Target::Node(name)) => (Some(name.to_owned()), None),
            Some(Target::Remembered(name)) => (None, Some(name.to_owned())),
            None => (None, None),
        };
        let (manager_operation, strict, dialect) = (asked.manager_operation, asked.strict, asked.dialect);
        Ok(Self { node, remembered, manager_operation, strict, dialect })
    }

    fn target(&self) -> Option<Target<'_>> {
        let remembered = || self.remembered.as_deref().map(Target::Remembered);
        self.node.as_deref().map(Target::Node).or_else(remembered)
    }
}

/// Whom a peer asks for: its word, for the log alone.
fn asker(head: &Parts, client: &Client) -> Option<String> {
    let said = head.headers.get(headers::CALLER).filter(|_| matches!(client.side, Side::Peer(_)))?;
    Some(said.to_str().ok()?.chars().take(LOGGED).collect())
}

/// A signature means Portainer's server, which wants its own dialect.
fn dialect_of(caller: &Caller) -> Dialect {
    match caller {
        Caller::Portainer(_) => Dialect::Portainer,
        Caller::Anyone | Caller::Peer(_) => Dialect::Docker,
    }
}

/// A body that has already ended is none, so that its framing stays what it was.
fn carried(body: Body) -> Body {
    if http_body::Body::is_end_stream(&body) { Body::Empty } else { body }
}

/// The log's side of a failure, once: what happened, with its causes.
fn note(failure: &Failure, client: &Client, path: &str) {
    // Whoever asks chooses the path; a line of a log stays a line.
    let path: String = path.chars().take(LOGGED).collect();
    let error = chain(failure);
    // Whoever signs can ask while nothing is known yet; that must not fill the log.
    let early = matches!(failure, Failure::Denied(Denied::NotYet));
    if failure.is_ours() && !early {
        warn!(client = %client.remote, path = ?path, %error, "request failed");
    } else {
        debug!(client = %client.remote, path = ?path, %error, "request refused");
    }
}
