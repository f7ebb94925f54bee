//! Why a connection or an exchange on it failed, in words that say what to do.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{Absence, NodeId};

/// What went wrong between us and an engine or a peer; `at` names it. Clones share the cause.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Fail {
    #[error("connect to {at}: there is no such socket; start Docker, mount its socket, or set DOCKER_HOST")]
    Absent {
        at: Arc<str>,
        #[source]
        source: Arc<io::Error>,
    },
    #[error("connect to {at}: refused, nobody listens there")]
    Refused {
        at: Arc<str>,
        #[source]
        source: Arc<io::Error>,
    },
    #[error("connect to {at}: not permitted; {remedy}")]
    Forbidden {
        at: Arc<str>,
        remedy: &'static str,
        #[source]
        source: Arc<io::Error>,
    },
    #[error("connect to {at}: not reachable")]
    Unreachable {
        at: Arc<str>,
        #[source]
        source: Arc<io::Error>,
    },
    /// The deadline for connecting passed.
    #[error("connect to {at}: no connection within {after:?}")]
    Late { at: Arc<str>, after: Duration },
    /// Closed before it showed a certificate: what a peer does with an address that is not in its directory.
    #[error("connect to {at}: it hung up before the handshake; Swarm may not list us there yet")]
    Unlisted {
        at: Arc<str>,
        #[source]
        source: Arc<io::Error>,
    },
    /// The handshake with a peer failed over a certificate, its or ours.
    #[error("shake hands with {at}: it has another cluster secret, or is not the node that was expected")]
    Secret {
        at: Arc<str>,
        #[source]
        source: Arc<io::Error>,
    },
    /// The engine's TLS certificate, or ours, was not accepted.
    #[error("shake hands with {at}: certificate not accepted; compare ca.pem, cert.pem and the host name")]
    Untrusted {
        at: Arc<str>,
        #[source]
        source: Arc<io::Error>,
    },
    #[error("connect to {at}: our own peer certificate is not there yet")]
    NotReady { at: Arc<str> },
    #[error("connect to node {node}: no agent runs there")]
    NoAgent { node: NodeId },
    /// Connected, asked, and no answer in the time that the request has. For who sets a deadline on an answer.
    #[error("ask {at}: no answer within {after:?}")]
    Silent { at: Arc<str>, after: Duration },
    /// A probe was not answered in its time.
    #[error("probe {at}: no answer within {after:?}")]
    Deaf { at: Arc<str>, after: Duration },
    /// A probe was not answered in its time although the handshake, of small packets, was.
    #[error(
        "probe {at}: connected, but no answer within {after:?}; if its agent is well, large packets are lost on the \
         way: the networks' MTU"
    )]
    Swallowed { at: Arc<str>, after: Duration },
    /// The answer to a probe is not one.
    #[error("probe {at}: {problem}")]
    Malformed { at: Arc<str>, problem: &'static str },
    /// The connection broke. `sent`: some of the request may have reached the other end.
    #[error("ask {at}: the connection broke")]
    Broken {
        at: Arc<str>,
        sent: bool,
        #[source]
        source: Arc<dyn Error + Send + Sync>,
    },
    /// Asked, and then silent to a probe on another connection as well, which failed with `probe`: the call was given
    /// up, and what it did there is not known.
    #[error("it fell silent, and so it is to a probe")]
    Gone {
        #[source]
        probe: Arc<Fail>,
    },
    /// The request's body failed while it was sent: its client left or stalled, and the other end did nothing wrong.
    #[error("ask {at}: the request's body broke off")]
    Unfinished {
        at: Arc<str>,
        #[source]
        source: Arc<dyn Error + Send + Sync>,
    },
}

impl Fail {
    /// How the node is named as missing.
    pub fn absence(&self) -> Absence {
        match self {
            Self::Refused { .. } => Absence::Refused,
            Self::Secret { .. } => Absence::Secret,
            Self::NoAgent { .. } => Absence::NoAgent,
            Self::Silent { .. } => Absence::Timeout,
            Self::Gone { probe } => probe.absence(),
            Self::Absent { .. }
            | Self::Forbidden { .. }
            | Self::Unreachable { .. }
            | Self::Late { .. }
            | Self::Unlisted { .. }
            | Self::Untrusted { .. }
            | Self::NotReady { .. }
            | Self::Deaf { .. }
            | Self::Swallowed { .. }
            | Self::Malformed { .. }
            | Self::Broken { .. }
            | Self::Unfinished { .. } => Absence::Unreachable,
        }
    }

    /// Whether the other end has certainly seen nothing of the request: any method may be tried again.
    pub fn nothing_sent(&self) -> bool {
        match self {
            Self::Absent { .. }
            | Self::Refused { .. }
            | Self::Forbidden { .. }
            | Self::Unreachable { .. }
            | Self::Late { .. }
            | Self::Unlisted { .. }
            | Self::Secret { .. }
            | Self::Untrusted { .. }
            | Self::NotReady { .. }
            | Self::NoAgent { .. } => true,
            Self::Silent { .. }
            | Self::Deaf { .. }
            | Self::Swallowed { .. }
            | Self::Malformed { .. }
            | Self::Gone { .. }
            | Self::Unfinished { .. } => false,
            Self::Broken { sent, .. } => !sent,
        }
    }

    /// From a failed connect to an address.
    pub(super) fn connecting(at: &Arc<str>, source: io::Error) -> Self {
        let (at, kind, source) = (Arc::clone(at), source.kind(), Arc::new(source));
        match kind {
            io::ErrorKind::ConnectionRefused => Self::Refused { at, source },
            _ => Self::Unreachable { at, source },
        }
    }

    /// From what an HTTP client says about an exchange. A failure of our own connector is somewhere among its causes.
    pub(super) fn exchanging<E>(at: &Arc<str>, error: E) -> Self
    where
        E: Error + Send + Sync + 'static,
    {
        if let Some(ours) = cause::<Self>(&error) {
            return ours.clone();
        }
        let at = Arc::clone(at);
        let of_hyper = cause::<hyper::Error>(&error);
        // What it calls its user's error is the body that it was given.
        if of_hyper.is_some_and(hyper::Error::is_user) {
            return Self::Unfinished { at, source: Arc::new(error) };
        }
        // hyper cancels what it has not begun to write, and nothing else.
        let sent = !of_hyper.is_some_and(hyper::Error::is_canceled);
        Self::Broken { at, sent, source: Arc::new(error) }
    }
}

/// The first error of type `T` in the chain of causes.
fn cause<'e, T: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}
