//! All that can go wrong with a request, each with its status and the text for the client. The log gets the causes.

use http::StatusCode;

use crate::agent_api::{self, browse, console};
use crate::associate::ClaimError;
use crate::decide::{GateError, Refuse};
use crate::execute::{Candidate, Class, Fail, Tally};
use crate::identify::Denied;
use crate::model::chain;

/// A request that gets no answer of Docker's.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("refused at the gate")]
    Gate(#[from] GateError),
    #[error("not identified")]
    Denied(#[source] Denied),
    #[error("not associated")]
    Claim(#[from] ClaimError),
    #[error("too many failed authentications")]
    TooMany,
    #[error("refused")]
    Refuse(#[from] Refuse),
    #[error("not executed")]
    Execute(#[from] Fail),
    #[error("not answered")]
    Agent(#[from] agent_api::Fail),
    #[error("a peer that Swarm no longer lists at its address")]
    Delisted,
    /// A console's node cannot be reached; its clients expect a 503 there.
    #[error("console not reached")]
    Console(#[source] Box<Failure>),
}

/// The words of a worker's engine. Where there is no Swarm this is not said: the own engine is asked, and tells how to
/// make or join one.
const NO_MANAGER: &str = "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. \
                          Please run this command on a manager node or promote the current node to a manager.";

impl Failure {
    /// Status and text for the client: what it can change.
    pub(super) fn told(&self) -> (StatusCode, String) {
        match self {
            Self::Gate(gate) => (of_gate(gate), gate.to_string()),
            Self::Denied(Denied::NotYet) => (StatusCode::SERVICE_UNAVAILABLE, Denied::NotYet.to_string()),
            Self::Denied(denied) => (StatusCode::FORBIDDEN, denied.to_string()),
            Self::Claim(claim) => (StatusCode::SERVICE_UNAVAILABLE, claim.to_string()),
            Self::TooMany => {
                (StatusCode::TOO_MANY_REQUESTS, "too many requests without a valid signature".into())
            }
            Self::Refuse(refuse) => of_refuse(refuse),
            Self::Execute(fail) => of_fail(fail),
            Self::Agent(fail) => (of_agent(fail), chain(fail)),
            Self::Delisted => (StatusCode::FORBIDDEN, "this node is not listed at this address".into()),
            Self::Console(failure) => (StatusCode::SERVICE_UNAVAILABLE, failure.told().1),
        }
    }

    /// The same, where a websocket was wanted.
    #[must_use]
    pub fn of_console(self) -> Self {
        match self {
            Self::Refuse(Refuse::TargetMissing { .. }) | Self::Execute(Fail::Peer { .. }) => {
                Self::Console(Box::new(self))
            }
            other => other,
        }
    }

    /// More about it, where Portainer's browser looks for that: on the agent's own paths. It begins with a capital.
    pub(super) fn details(&self) -> Option<String> {
        let Self::Agent(fail) = self else { return None };
        let text = chain(fail);
        let mut letters = text.chars();
        Some(letters.next()?.to_uppercase().chain(letters).collect())
    }

    /// Who may be meant, where that cannot be told.
    pub(super) fn candidates(&self) -> &[Candidate] {
        match self {
            Self::Execute(Fail::Several { candidates, .. }) => candidates,
            _ => &[],
        }
    }

    /// Who is missing, where that is the reason.
    pub(super) fn tally(&self) -> Option<&Tally> {
        match self {
            Self::Execute(
                Fail::Partial(tally) | Fail::AllFailed { tally, .. } | Fail::Unheard { tally, .. },
            ) => Some(tally),
            _ => None,
        }
    }

    /// The methods that a path has, where another one was used.
    pub(super) fn allow(&self) -> Option<&'static str> {
        match self {
            Self::Refuse(Refuse::MethodNotAllowed { allow }) => Some(allow),
            Self::Gate(GateError::Method) => Some("GET, HEAD, POST, PUT, DELETE"),
            _ => None,
        }
    }

    /// Whether the engine has certainly seen nothing of the request, because nobody can ask it now.
    pub(super) fn left_engine_unasked(&self) -> bool {
        matches!(self, Self::Execute(Fail::Engine { source, .. }) if source.nothing_sent())
    }

    /// Whether what follows on the connection cannot be trusted to be a request.
    pub(super) fn ends_connection(&self) -> bool {
        let unread = matches!(self, Self::Agent(agent_api::Fail::Browse(fail)) if fail.leaves_body());
        unread
            || matches!(
                self,
                Self::Gate(_)
                    | Self::Delisted
                    | Self::Execute(Fail::TooLarge { .. } | Fail::Body { .. })
                    | Self::Agent(agent_api::Fail::Console(_))
                    | Self::Console(_)
                    | Self::Agent(agent_api::Fail::TooLarge { .. } | agent_api::Fail::Body(_))
            )
    }

    /// Whether an operator should hear of it: served worse than asked, and not by the client's fault.
    ///
    /// What somebody unsigned can bring about at will is none of it: it would let them fill the log.
    pub fn is_ours(&self) -> bool {
        let (status, _) = self.told();
        let is_served = matches!(
            self,
            Self::Execute(_) | Self::Refuse(_) | Self::Console(_) | Self::Agent(agent_api::Fail::Console(_))
        );
        is_served && status.is_server_error()
    }
}

fn of_gate(gate: &GateError) -> StatusCode {
    match gate {
        GateError::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
        GateError::Method => StatusCode::METHOD_NOT_ALLOWED,
        GateError::Host
        | GateError::Form
        | GateError::Path(_)
        | GateError::TransferEncoding
        | GateError::Duplicate(_)
        | GateError::Folded(_)
        | GateError::Connection
        | GateError::Asked(_) => StatusCode::BAD_REQUEST,
    }
}

fn of_agent(fail: &agent_api::Fail) -> StatusCode {
    use agent_api::HubFail;
    match fail {
        agent_api::Fail::NoEdge | agent_api::Fail::NoCluster => StatusCode::SERVICE_UNAVAILABLE,
        agent_api::Fail::NoKubernetes => StatusCode::NOT_FOUND,
        agent_api::Fail::Browse(fail) => of_browse(fail),
        agent_api::Fail::Console(fail) => of_console(fail),
        agent_api::Fail::Disks { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        agent_api::Fail::Body(_) | agent_api::Fail::Hub(HubFail::Document { .. } | HubFail::Credentials) => {
            StatusCode::BAD_REQUEST
        }
        agent_api::Fail::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        agent_api::Fail::Hub(HubFail::Web(_) | HubFail::Refused { .. } | HubFail::Token) => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
        agent_api::Fail::HostSilent => StatusCode::GATEWAY_TIMEOUT,
    }
}

/// Portainer's pages expect 500 for what the file system refused.
fn of_browse(fail: &browse::Fail) -> StatusCode {
    use browse::Fail;
    match fail {
        Fail::Query
        | Fail::NoPath
        | Fail::Path
        | Fail::VolumeName
        | Fail::IsRoot
        | Fail::NotOfHost
        | Fail::Directory { .. }
        | Fail::Json
        | Fail::Key(_)
        | Fail::Broken
        | Fail::NotMultipart
        | Fail::Multipart(_)
        | Fail::NoFile
        | Fail::NoDestination
        | Fail::FileName => StatusCode::BAD_REQUEST,
        Fail::HostClosed
        | Fail::HostMissing { .. }
        | Fail::OwnData
        | Fail::Outside { .. }
        | Fail::Special { .. }
        | Fail::Link { .. } => StatusCode::FORBIDDEN,
        Fail::LargeJson { .. } | Fail::LargeFile { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        Fail::Engine { status, .. } => StatusCode::from_u16(*status).unwrap_or(StatusCode::BAD_GATEWAY),
        Fail::EngineOdd => StatusCode::BAD_GATEWAY,
        Fail::EngineGone(_) | Fail::Busy => StatusCode::SERVICE_UNAVAILABLE,
        Fail::EngineSilent { .. } => StatusCode::GATEWAY_TIMEOUT,
        Fail::Unseen { .. } => StatusCode::NOT_IMPLEMENTED,
        Fail::Io { .. } | Fail::Forbidden { .. } | Fail::Spool(_) | Fail::Crowded { .. } | Fail::Died => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

fn of_console(fail: &console::Fail) -> StatusCode {
    match fail {
        console::Fail::Id | console::Fail::NoHandshake => StatusCode::BAD_REQUEST,
        console::Fail::Version => StatusCode::UPGRADE_REQUIRED,
        console::Fail::Engine { .. } => StatusCode::SERVICE_UNAVAILABLE,
        console::Fail::Silent { .. } => StatusCode::GATEWAY_TIMEOUT,
        console::Fail::NoStream { .. } => StatusCode::BAD_GATEWAY,
    }
}

fn of_refuse(refuse: &Refuse) -> (StatusCode, String) {
    match refuse {
        Refuse::UnknownTarget { text, known } => {
            (StatusCode::NOT_FOUND, format!("no node {text:?}; known nodes: {}", known.join(", ")))
        }
        Refuse::AmbiguousTarget { text, candidates } => {
            (StatusCode::BAD_REQUEST, format!("{text:?} names more than one node: {}", candidates.join(", ")))
        }
        Refuse::TargetMissing { shown, absence } => {
            let why = absence.as_str();
            (StatusCode::BAD_GATEWAY, format!("{shown}: its agent cannot be reached ({why})"))
        }
        Refuse::NoManager => (StatusCode::SERVICE_UNAVAILABLE, NO_MANAGER.into()),
        Refuse::NodeAndManager => (
            StatusCode::BAD_REQUEST,
            "X-Node and X-PortainerAgent-ManagerOperation name two nodes; send one of them".into(),
        ),
        Refuse::NeedsTarget { known } => (
            StatusCode::BAD_REQUEST,
            format!("this acts on one node: name it in X-Node; known nodes: {}", known.join(", ")),
        ),
        Refuse::MethodNotAllowed { allow } => {
            (StatusCode::METHOD_NOT_ALLOWED, format!("this path has only the methods {allow}"))
        }
        Refuse::Misdirected { here } => {
            (StatusCode::MISDIRECTED_REQUEST, format!("this is node {here}, and another one was meant"))
        }
    }
}

fn of_fail(fail: &Fail) -> (StatusCode, String) {
    match fail {
        Fail::Engine { node, source } => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("{node}: engine unavailable: {}", chain(source)))
        }
        Fail::NoEngine { node, .. } => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("{node}: engine unavailable"))
        }
        Fail::Peer { node, source } => (StatusCode::BAD_GATEWAY, format!("{node}: {}", chain(source))),
        Fail::Silent { node, after } => {
            (StatusCode::GATEWAY_TIMEOUT, format!("{node}: no answer within {} s", after.as_secs()))
        }
        Fail::Redirect { node } => {
            (StatusCode::BAD_GATEWAY, format!("{node}: answered with a redirect, which is not followed"))
        }
        Fail::Busy => (
            StatusCode::SERVICE_UNAVAILABLE,
            "this agent is busy with other lists, whose clients read slowly; try again".into(),
        ),
        Fail::Unasked { node } => {
            (StatusCode::BAD_GATEWAY, format!("{node}: switched protocols without being asked to"))
        }
        Fail::Moved { node, .. } => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{node}: its address has passed to another node; try again"),
        ),
        Fail::AllFailed { nodes, .. } => {
            let each: Vec<_> = nodes.iter().map(|(node, why)| format!("{node}: {why}")).collect();
            (StatusCode::BAD_GATEWAY, format!("no node answered: {}", each.join("; ")))
        }
        Fail::Partial(tally) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("only {} of {} nodes answered: {}", tally.answered, tally.of, names(tally)),
        ),
        Fail::StaleRole { .. } => (StatusCode::SERVICE_UNAVAILABLE, NO_MANAGER.into()),
        Fail::OldPrune { asked, clamped } => (
            StatusCode::BAD_REQUEST,
            format!(
                "version {asked} is not supported by the engine, and under {clamped} pruning volumes deletes others; \
                 ask under a supported version"
            ),
        ),
        Fail::Body { .. } => (StatusCode::BAD_REQUEST, "the request's body could not be read".into()),
        Fail::TooLarge { limit } => (
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body decides where this request goes and is larger than {limit} bytes"),
        ),
        Fail::NoPivot { what, reference } => (StatusCode::NOT_FOUND, format!("No such {what}: {reference}")),
        Fail::Unheard { what, reference, tally } => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("No such {what}: {reference} on the nodes that answered; not heard: {}", names(tally)),
        ),
        // An engine's own words for several objects of its own.
        Fail::Several { by: Class::Prefix, reference, .. } => {
            (StatusCode::BAD_REQUEST, format!("multiple IDs found with provided prefix: {reference}"))
        }
        Fail::Several { by: Class::Name | Class::Id, what, reference, candidates } => {
            let nodes: Vec<_> = candidates.iter().map(|candidate| &*candidate.node).collect();
            let nodes = nodes.join(", ");
            (StatusCode::CONFLICT, format!("{what} {reference} is on {nodes}; name one of them with X-Node"))
        }
    }
}

fn names(tally: &Tally) -> String {
    let each: Vec<_> = tally.missing.iter().map(|(node, why)| format!("{node} ({why})")).collect();
    each.join(", ")
}
