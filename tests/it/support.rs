//! What tests share: the far ends of the sockets.

pub(crate) mod engine;
pub(crate) mod sign;
