//! Behaviour over real sockets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the lints' exception for tests does not reach their helpers"
)]

mod agents;
mod aggregates;
mod alone;
mod association;
mod browse;
mod callers;
mod console;
mod faults;
mod gate;
mod hard_cases;
mod lists;
mod locate;
mod managers;
mod metrics;
mod node_bound;
mod own;
mod passing;
mod peers;
mod raw_peers;
mod register;
mod scripted_engine;
mod signed;
mod stopping;
mod streams;
mod support;
mod targets;
mod upgrades;
mod wire;
