//! Connections that we open: to the own engine, to the agents of other nodes, and now and then to the internet.
//!
//! A request goes out over a kept connection, or over a fresh one when it may become a stream. A [`Fail`] says whose
//! side failed and whether anything was sent. Never retries, never follows a redirect, never looks into a body.

mod engine;
mod fail;
mod http;
mod io;
mod peer;
mod probe;
mod tls;
mod web;

pub use engine::Engine;
pub use fail::Fail;
pub use peer::{Patience, Peers};
pub use probe::{Probe, ProbeDocument, ProbeRange};
pub use web::{Web, WebFail};

#[cfg(test)]
mod tests;
