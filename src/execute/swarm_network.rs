//! A network of the Swarm through a worker, whose engine knows only those that something on it uses.

use std::sync::Arc;

use http::{Method, StatusCode};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::fanout::{Part, Question};
use super::{Answer, Asked, Executor, Fail};
use crate::decide::Route;
use crate::model::api_path::ApiPath;
use crate::model::{Cluster, Member};

/// The part of a network's inspect that says whose it is.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Network {
    id: String,
    scope: String,
}

impl Executor {
    /// The own engine's answer, unless it refuses and `manager` knows a network of the Swarm by that name.
    pub(super) async fn swarm_network(
        &self,
        route: &Route,
        manager: &Arc<Member>,
        asked: &mut Asked,
        cluster: &Arc<Cluster>,
    ) -> Result<Answer, Fail> {
        let response = self.local(route, asked, cluster).await?;
        let own = Answer { response, by: Arc::clone(cluster.me()), tally: None };
        // Which network is meant: a manager alone knows if there is none here; else it is the one that is here, and
        // a namesake on the manager must not be taken for it.
        let knows = match (own.response.status(), &asked.method) {
            _ if !asked.can_repeat() => return Ok(own),
            (StatusCode::NOT_FOUND, _) => manager,
            (StatusCode::FORBIDDEN | StatusCode::SERVICE_UNAVAILABLE, &Method::DELETE) => cluster.me(),
            _ => return Ok(own),
        };
        let Some((part, id)) = self.known(knows, asked).await else { return Ok(own) };
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

    /// What this node's engine says of the Swarm's network that is meant, and the network's full id.
    async fn known(&self, member: &Arc<Member>, asked: &mut Asked) -> Option<(Part, String)> {
        let lease = Mutex::new(self.budget.lease());
        let question = Question::of(asked, asked.path.version());
        // Its own networks come before the Swarm's where they share a name.
        let query = match (&*asked.query, &asked.method) {
            ("", _) | (_, &Method::DELETE) => "scope=swarm".to_owned(),
            (query, _) if query.contains("scope=") => query.to_owned(),
            (query, _) => format!("{query}&scope=swarm"),
        };
        let part = self.part(member, &question, &query, &lease).await.ok()?;
        let network: Network = serde_json::from_slice(&part.body).ok()?;
        (part.status == StatusCode::OK && network.scope == "swarm").then_some((part, network.id))
    }
}
