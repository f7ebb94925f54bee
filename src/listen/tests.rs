//! The listener over real sockets, with certificates made on the spot.

mod admission;
mod deadlines;
mod ending;
mod peer_admission;
mod speaking;
pub(super) mod support;
