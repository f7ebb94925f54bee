//! swarmgate: one Docker API for a whole Swarm.
//!
//! A connection is **listened** to; each request is **identified**, **decided** by a pure function over a table and
//! one cluster snapshot, **executed** (own, local, forward, fan-out, locate), and **responded** to. Beside it,
//! **discovery** feeds **membership**, which publishes snapshots. A **stream** is what a request becomes when both ends
//! stop speaking HTTP.
//!
//! # Words
//!
//! - **node**: a host that runs Docker, known by its Swarm NodeID; the host name is a label and may repeat.
//! - **engine**: the Docker daemon of a node. **agent**: this program on a node. **peer**: another agent.
//!   **entry agent**: the one the client talked to.
//! - **client**: whoever opened the connection. **caller**: who that turned out to be after authentication.
//! - **member**: a node's agent as the snapshot knows it. **snapshot**: the immutable value one request works on.
//! - **target**: the node that the client named in a header. **owner**: the node that has the object in the path.
//! - **plan**: what was decided for a request. **stream**: a connection after `101`.
//! - **association**: the record of the Portainer key that may call.
//! - **registration**: the record of the environment that the agents made in Portainer. **registrar**: the node whose
//!   agent made it.

pub mod agent_api;
pub mod app;
pub mod associate;
pub mod body;
pub mod cli;
pub mod client;
pub mod config;
pub mod data_dir;
pub mod decide;
pub mod dial;
pub mod discover;
pub mod execute;
pub mod health;
pub mod identify;
pub mod listen;
pub mod membership;
pub mod merge;
pub mod model;
pub mod pipeline;
pub mod register;
pub mod respond;
pub mod shutdown;
pub mod stream;
pub mod telemetry;
pub mod trust;
pub mod watchdog;
