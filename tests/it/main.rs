//! Behaviour over real sockets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the lints' exception for tests does not reach their helpers"
)]

mod callers;
mod gate;
mod lists;
mod managers;
mod passing;
mod scripted_engine;
mod support;
mod targets;
