//! What is known of a request when it is decided: who sent it, what it asks for, what its headers ask of us.

use std::str;

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, Method};

use crate::model::Dialect;
use crate::model::api_path::ApiPath;

pub const X_NODE: &str = "x-node";
pub const X_NODE_STRICT: &str = "x-node-strict";
pub const X_NODE_DIALECT: &str = "x-node-dialect";
pub const PORTAINER_TARGET: &str = "x-portaineragent-target";
pub const PORTAINER_MANAGER: &str = "x-portaineragent-manageroperation";

/// The longest name of a node; that of [`crate::model::NodeId`].
const NODE_NAME_BYTES: usize = 128;

/// Which listener a request came in at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Public,
    /// From another agent: it is executed here or refused, and never sent on.
    Peer,
}

/// The node that the client named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'r> {
    /// By `X-Node`: meant for this request.
    Node(&'r str),
    /// By Portainer's header, which a browser sends along with whatever follows in the same view.
    Remembered(&'r str),
}

/// All that decides where a request goes.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'r> {
    pub origin: Origin,
    pub dialect: Dialect,
    pub method: &'r Method,
    pub path: &'r ApiPath,
    pub target: Option<Target<'r>>,
    /// Whether Portainer asks for a manager.
    pub manager_operation: bool,
    /// The whole body of a route that peeks, once it is there.
    pub body: Option<&'r [u8]>,
}

/// What a header asks for that cannot be, and what to send instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHeader {
    #[error("X-Node is empty; name a node or leave the header out")]
    NodeEmpty,
    #[error("X-Node names one node: a NodeID, a unique prefix of one, or a host name of at most 128 bytes")]
    NodeName,
    #[error("X-Node cannot name all nodes yet; name one, or leave the header out for a merged list")]
    EveryNode,
    #[error("the header '{name}' can only have the value '{only}'; leave it out otherwise")]
    Value { name: HeaderName, only: &'static str },
}

/// What a request's headers ask of us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked<'r> {
    pub target: Option<Target<'r>>,
    pub manager_operation: bool,
    /// A partial answer is to be an error.
    pub strict: bool,
    /// The dialect that was asked for instead of the caller's own.
    pub dialect: Option<Dialect>,
}

impl<'r> Asked<'r> {
    /// Reads the headers; of each at most one is expected, which the gate makes sure of.
    pub fn read(headers: &'r HeaderMap) -> Result<Self, BadHeader> {
        let target = match headers.get(X_NODE) {
            Some(name) => Some(Target::Node(node_name(name)?)),
            None => headers.get(PORTAINER_TARGET).and_then(remembered),
        };
        Ok(Self {
            target,
            manager_operation: headers.get(PORTAINER_MANAGER).is_some_and(|value| !value.is_empty()),
            strict: is_asked(headers, X_NODE_STRICT, "1")?,
            dialect: is_asked(headers, X_NODE_DIALECT, "docker")?.then_some(Dialect::Docker),
        })
    }
}

/// A name to look up, never to resolve or to connect to.
fn node_name(value: &HeaderValue) -> Result<&str, BadHeader> {
    let name = value.to_str().map_err(|_| BadHeader::NodeName)?;
    // What a NodeId may contain: square brackets, for a static peer at an IPv6 address, included.
    let is_safe = |b: u8| b.is_ascii_alphanumeric() || b"_.:[]-".contains(&b);
    match name {
        "" => Err(BadHeader::NodeEmpty),
        name if name.contains('*') => Err(BadHeader::EveryNode),
        name if name.len() <= NODE_NAME_BYTES && name.bytes().all(is_safe) => Ok(name),
        _ => Err(BadHeader::NodeName),
    }
}

/// Never an error: whatever a browser remembers must not break a list, which does not look at it.
fn remembered(value: &HeaderValue) -> Option<Target<'_>> {
    let name = str::from_utf8(value.as_bytes()).unwrap_or("(not UTF-8)");
    (!name.is_empty()).then_some(Target::Remembered(name))
}

/// Whether a header has the one value that it can have. Another value is a misunderstanding, better said than ignored.
fn is_asked(headers: &HeaderMap, name: &'static str, only: &'static str) -> Result<bool, BadHeader> {
    match headers.get(name) {
        None => Ok(false),
        Some(value) if value == only => Ok(true),
        Some(_) => Err(BadHeader::Value { name: HeaderName::from_static(name), only }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let value = |text: &str| HeaderValue::from_bytes(text.as_bytes()).expect("a header value");
        lines.iter().map(|(name, text)| (HeaderName::from_static(name), value(text))).collect()
    }

    #[test]
    fn nothing_asked_is_nothing() {
        let nothing = Asked { target: None, manager_operation: false, strict: false, dialect: None };
        assert_eq!(Asked::read(&headers(&[])), Ok(nothing));
        let empty = headers(&[(PORTAINER_TARGET, ""), (PORTAINER_MANAGER, "")]);
        assert_eq!(Asked::read(&empty), Ok(nothing));
    }

    #[test]
    fn everything_asked_is_read() {
        let all = headers(&[
            (X_NODE, "node-1.example"),
            (PORTAINER_TARGET, "node2"),
            (PORTAINER_MANAGER, "0"),
            (X_NODE_STRICT, "1"),
            (X_NODE_DIALECT, "docker"),
        ]);
        let asked = Asked::read(&all).expect("all is well-formed");
        assert_eq!(asked.target, Some(Target::Node("node-1.example")));
        assert!(asked.manager_operation && asked.strict);
        assert_eq!(asked.dialect, Some(Dialect::Docker));
    }

    #[test]
    fn a_remembered_target_is_never_malformed() {
        for odd in ["node 2", "*", "nöde", &"x".repeat(4000)] {
            let headers = headers(&[(PORTAINER_TARGET, odd)]);
            assert_eq!(Asked::read(&headers).map(|a| a.target), Ok(Some(Target::Remembered(odd))));
        }
        let mut headers = headers(&[]);
        headers.insert(PORTAINER_TARGET, HeaderValue::from_bytes(&[0xff]).expect("opaque is legal"));
        assert!(matches!(Asked::read(&headers), Ok(Asked { target: Some(Target::Remembered(_)), .. })));
    }

    #[test]
    fn x_node_is_a_name_and_nothing_else() {
        let long = "x".repeat(129);
        let rows = [
            ("", BadHeader::NodeEmpty),
            ("*", BadHeader::EveryNode),
            ("node*", BadHeader::EveryNode),
            ("node 1", BadHeader::NodeName),
            ("http://node1/", BadHeader::NodeName),
            ("node1,node2", BadHeader::NodeName),
            ("nöde", BadHeader::NodeName),
            (&*long, BadHeader::NodeName),
        ];
        for (name, problem) in rows {
            assert_eq!(Asked::read(&headers(&[(X_NODE, name)])), Err(problem), "{name:?}");
        }
        for name in ["n", "node1.4f3a2b", "10.0.0.1:9002", "[::1]:9002", &"x".repeat(128)] {
            assert!(Asked::read(&headers(&[(X_NODE, name)])).is_ok(), "{name:?}");
        }
    }

    #[test]
    fn a_switch_has_one_value() {
        let value = |name, only| BadHeader::Value { name: HeaderName::from_static(name), only };
        for (name, text, only) in [(X_NODE_STRICT, "true", "1"), (X_NODE_DIALECT, "portainer", "docker")] {
            assert_eq!(Asked::read(&headers(&[(name, text)])), Err(value(name, only)));
        }
    }
}
