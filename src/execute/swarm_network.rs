//! A network of the Swarm through a worker, whose engine knows only those that something on it uses.

use std::sync::Arc;

use http::{Method, StatusCode};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::budget::Lease;
use super::part::{Missed, Part, Question, missed, nobodys_fault, unheard};
use super::{Answer, Asked, Executor, Fail, Tally, stale};
use crate::decide::{Absent, Route};
use crate::model::api_path::ApiPath;
use crate::model::{Absence, Cluster, Hint, Member, chain};

/// The part of a network's inspect that says whose it is.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Network {
    id: String,
    scope: String,
}

impl Executor {
    /// The own engine's answer, unless it refuses and `manager` knows a network of the Swarm by that name. Without one:
    /// the managers that cannot be asked.
    ///
    /// # Errors
    /// The own engine does not know it, and no manager was heard that might: [`Fail::Unheard`].
    pub(super) async fn swarm_network(
        &self,
        route: &Route,
        manager: Result<&Arc<Member>, Vec<Absent>>,
        asked: &mut Asked,
        cluster: &Arc<Cluster>,
    ) -> Result<Answer, Fail> {
        let response = self.local(route, asked, cluster).await?;
        let own = Answer { response, by: Arc::clone(cluster.me()), tally: None };
        // Which network is meant: a manager alone knows if there is none here; else it is the one that is here, and
        // a namesake on the manager must not be taken for it.
        let unknown_here = match (own.response.status(), &asked.method) {
            _ if !asked.can_repeat() => return Ok(own),
            (StatusCode::NOT_FOUND, _) => true,
            (StatusCode::FORBIDDEN | StatusCode::SERVICE_UNAVAILABLE, &Method::DELETE) => false,
            _ => return Ok(own),
        };
        let manager = match manager {
            Ok(manager) => manager,
            Err(missing) if unknown_here => return Err(not_heard(route, asked, &[], &missing, cluster)),
            Err(_) => return Ok(own),
        };
        let knows = if unknown_here { manager } else { cluster.me() };
        let (part, id) = match self.known(knows, asked).await {
            Ok(Some(known)) => known,
            Err(missed) if unknown_here => {
                let missed = [missed];
                nobodys_fault(&missed)?;
                return Err(not_heard(route, asked, &missed, &[], cluster));
            }
            Ok(None) | Err(_) => return Ok(own),
        };
        if asked.method == Method::GET {
            return Ok(part.into_answer());
        }
        // By its id, so that it is the same network there.
        let version = asked.path.version().map(|version| format!("/v{version}")).unwrap_or_default();
        let Ok(path) = ApiPath::parse(&format!("{version}/networks/{id}")) else { return Ok(own) };
        let received = std::mem::replace(&mut asked.path, path);
        let response = self.forward(route, asked, manager).await;
        asked.path = received;
        let response = response?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(own);
        }
        Ok(Answer { response, by: Arc::clone(manager), tally: None })
    }

    /// What this node's engine says of the Swarm's network that is meant, and the network's full id. `None`: it knows
    /// none.
    async fn known(&self, member: &Arc<Member>, asked: &mut Asked) -> Result<Option<(Part, String)>, Missed> {
        let lease = Mutex::new(self.budget.lease());
        let question = Question::of(asked, asked.path.version());
        // Its own networks come before the Swarm's where they share a name.
        let query = match (&*asked.query, &asked.method) {
            ("", _) | (_, &Method::DELETE) => "scope=swarm".to_owned(),
            (query, _) if query.contains("scope=") => query.to_owned(),
            (query, _) => format!("{query}&scope=swarm"),
        };
        let part = self.part(member, &question, &query, &lease).await?;
        match part.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND if member.is_here() => return Ok(None),
            StatusCode::NOT_FOUND => {
                self.sees_the_swarm(member, &question, &lease).await?;
                return Ok(None);
            }
            status => return Err(missed(member, "engine", &status)),
        }
        let network: Network =
            serde_json::from_slice(&part.body).map_err(|error| missed(member, "malformed", &error))?;
        Ok((network.scope == "swarm").then_some((part, network.id)))
    }

    /// Makes sure that this node's engine is a manager's that has a leader. Any other says of a network of the Swarm
    /// that there is none: it ignores that it could not ask.
    async fn sees_the_swarm(
        &self,
        member: &Arc<Member>,
        question: &Question<'_>,
        lease: &Mutex<Lease>,
    ) -> Result<(), Missed> {
        let path = ApiPath::parse("/swarm").map_err(|problem| missed(member, "engine", &chain(&problem)))?;
        let part = self.part(member, &Question { path: &path, ..*question }, "", lease).await?;
        if part.status == StatusCode::OK {
            return Ok(());
        }
        if stale::says_so(&part.body) {
            let _ = self.hints.try_send(Hint::StaleRole);
        }
        Err(missed(member, "engine", &"it is no manager that can see the Swarm's networks"))
    }
}

/// Whoever was asked knows no such network; who should have been asked beside it was not heard.
fn not_heard(route: &Route, asked: &Asked, missed: &[Missed], absent: &[Absent], cluster: &Cluster) -> Fail {
    let mut missing = unheard(missed, absent, cluster);
    if missing.is_empty() {
        // No manager is known at all.
        missing.push(("swarm".to_owned(), Absence::Unreachable.as_str()));
    }
    let reference = route.named(&asked.path).to_owned();
    Fail::Unheard { what: "network", reference, tally: Tally { answered: 1, of: 1 + missing.len(), missing } }
}
