//! What only an agent answers: its own paths, in the shapes that a Portainer server and its browser expect.

mod agents;
pub mod browse;
pub mod console;
mod dockerhub;
pub mod figures;
pub mod host;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use serde::Serialize;

use crate::body::Body;
use crate::config::Config;
use crate::decide::Own;
use crate::dial::{Engine, ProbeDocument};
use crate::execute::{self, Asked};
use crate::model::Cluster;
use crate::shutdown::Shutdown;
pub use dockerhub::HubFail;

/// Answers the agent's own paths. One for the whole process.
pub struct AgentApi {
    pub config: Arc<Config>,
    pub browse: browse::Browse,
    /// The own engine.
    pub engine: Engine,
    pub shutdown: Shutdown,
    pub host: host::Host,
    pub figures: figures::Figures,
}

/// Why one of the agent's own paths has nothing to give.
#[derive(Debug, thiserror::Error)]
pub enum Fail {
    /// Edge agents hand out a key; this one has none.
    #[error("this agent has no Edge key")]
    NoEdge,
    #[error("this agent stands alone: it is in no cluster")]
    NoCluster,
    #[error("this agent serves a Docker engine; there is no Kubernetes here")]
    NoKubernetes,
    #[error(transparent)]
    Browse(#[from] browse::Fail),
    #[error(transparent)]
    Console(#[from] console::Fail),
    #[error("the host's disks cannot be read at {}", path.display())]
    Disks {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the host's files were not read in time")]
    HostSilent,
    #[error("the request's body could not be read")]
    Body(#[source] execute::Fail),
    #[error("the request's body is larger than {limit} bytes")]
    TooLarge { limit: usize },
    #[error(transparent)]
    Hub(#[from] HubFail),
}

impl AgentApi {
    /// Answers a request that was decided to be our own, on this node.
    ///
    /// # Errors
    /// [`Fail`]; nothing of an answer has been sent then.
    pub async fn answer(
        &self,
        own: Own,
        mut asked: Asked,
        cluster: &Arc<Cluster>,
    ) -> Result<Response<Body>, Fail> {
        match own {
            Own::Ping => Ok(empty(StatusCode::NO_CONTENT)),
            Own::Key => Err(Fail::NoEdge),
            Own::Probe => Ok(json_text(ProbeDocument::of(cluster).answer())),
            Own::Agents => agents::list(cluster, &self.config.listen, asked.client.remote),
            Own::Browse(what) => Ok(self.browse.answer(what, asked).await?),
            Own::Console(session) => Ok(console::open(self, session, asked, cluster).await?),
            Own::DockerHub => {
                let body = read(&mut asked, dockerhub::LARGEST).await?;
                Ok(json(&dockerhub::limits(&body, &self.config.hub).await?))
            }
            Own::Metrics => Ok(self.metrics(cluster).await),
            Own::HostInfo => self.host.info().await,
            Own::Kubernetes => Err(Fail::NoKubernetes),
        }
    }

    /// All figures of this agent and its host.
    pub async fn metrics(&self, cluster: &Cluster) -> Response<Body> {
        self.figures.scrape(&self.host, &self.config.data, cluster).await
    }
}

/// A whole body of at most `limit` bytes.
async fn read(asked: &mut Asked, limit: usize) -> Result<Bytes, Fail> {
    asked.buffer(limit).await.map_err(|fail| match fail {
        execute::Fail::TooLarge { limit } => Fail::TooLarge { limit },
        unread => Fail::Body(unread),
    })
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = status;
    response
}

fn json(document: &impl Serialize) -> Response<Body> {
    // Only maps with keys that are no text fail here; there are none.
    json_text(serde_json::to_vec(document).unwrap_or_default().into())
}

fn json_text(text: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
