//! Connections that we open: to the own engine, and to the agents of other nodes.
//!
//! A request goes out over a kept connection, or over a fresh one when it may become a stream. A [`Fail`] says whose
//! side failed and whether anything was sent. Never retries, never follows a redirect, never looks into a body.

mod certificate;
mod engine;
mod fail;
mod http;
mod io;
mod peer;
mod probe;
mod tls;

pub use engine::{Engine, Problem};
pub use fail::Fail;
pub use peer::Peers;
pub use probe::{Probe, ProbeDocument, ProbeRange};

#[cfg(test)]
mod tests;
