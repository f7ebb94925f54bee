//! What an agent tells another that asks who it is. It decides nothing: roles and names come from Swarm.
//!
//! Question and answer are larger than a packet. Where an overlay's MTU is wrong the small ones pass and the large
//! ones are lost; a probe that is small as well would be answered, and every list be waited for.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Uri};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};

use crate::body::Body;
use crate::model::{ApiRange, ApiVersion, Cluster, NodeId};

/// 16 KiB: the document is some 150 bytes; more is not one.
const DOCUMENT_BYTES: usize = 16 << 10;

/// 4 KiB: three packets of an ordinary network, each way.
const FILLING: [u8; 4 << 10] = [b' '; 4 << 10];

/// On a probe: nothing but its length.
const FILLER: HeaderName = HeaderName::from_static("x-swarmgate-filler");

/// An agent that answered, as its certificate and its document say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// From the certificate: the only part that is proved.
    pub node: NodeId,
    pub host: String,
    pub agent_version: String,
    /// `None` while its engine is not there.
    pub api: Option<ApiRange>,
    /// Its Swarm task.
    pub task: Option<String>,
}

/// The answer to `GET /_swarmgate/probe`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ProbeDocument {
    /// The agent's version.
    pub agent: String,
    pub host: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api: Option<ProbeRange>,
}

/// The API versions of the agent's engine, as Docker writes them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ProbeRange {
    pub min: String,
    pub max: String,
}

impl ProbeDocument {
    /// Where it is asked for.
    pub const PATH: &str = "/_swarmgate/probe";

    /// The document of an agent of this version.
    pub fn new(host: &str, task: Option<&str>, api: Option<ApiRange>) -> Self {
        Self {
            agent: env!("CARGO_PKG_VERSION").to_owned(),
            host: host.to_owned(),
            task: task.map(str::to_owned),
            api: api.map(|range| ProbeRange { min: range.min.to_string(), max: range.max.to_string() }),
        }
    }

    /// What this agent answers.
    pub fn of(cluster: &Cluster) -> Self {
        let me = cluster.me();
        let task = cluster.service.as_ref().and_then(|service| service.task.as_deref());
        Self::new(&me.host, task, me.api)
    }

    /// The question, filled up.
    pub(super) fn question() -> Request<Body> {
        let mut request = Request::new(Body::Empty);
        *request.uri_mut() = Uri::from_static(Self::PATH);
        if let Ok(filling) = HeaderValue::from_bytes(&FILLING.map(|_| b'-')) {
            request.headers_mut().insert(FILLER, filling);
        }
        request
    }

    /// As JSON, filled up with white space.
    pub fn answer(&self) -> Bytes {
        // Only maps with keys that are no text fail here; there are none.
        let mut text = serde_json::to_vec(self).unwrap_or_default();
        text.extend_from_slice(&FILLING);
        text.into()
    }

    /// With who the certificate says it is. A range that cannot be read is none.
    pub(super) fn proved(self, node: NodeId) -> Probe {
        let api = self.api.and_then(|range| {
            Some(ApiRange { min: ApiVersion::parse(&range.min)?, max: ApiVersion::parse(&range.max)? })
        });
        Probe { node, host: self.host, agent_version: self.agent, api, task: self.task }
    }

    /// Reads an answer's body.
    pub(super) async fn read(body: Incoming) -> Result<Self, &'static str> {
        let body = Limited::new(body, DOCUMENT_BYTES).collect().await;
        let bytes = body.map_err(|_| "its answer is broken or too long")?.to_bytes();
        serde_json::from_slice(&bytes).map_err(|_| "its answer is not an agent's")
    }
}
