//! Several nodes' answers in, one Docker-shaped answer out: slices of what came in, and small constants.
//!
//! An answer is checked whole before anything of it is used, so that a node that answers badly can be named. No
//! element is ever decoded and written anew: what an engine said goes on byte for byte, except where one object is
//! collapsed out of several copies.

mod collapse;
mod decorate;
mod edit;
mod info;
mod json;
mod list;
mod order;
mod warnings;

use std::sync::Arc;

use bytes::Bytes;

use crate::model::caller::Dialect;
use crate::model::node::{Member, NodeId};

use list::Element;

/// Which answer is merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Containers,
    Images,
    Volumes,
    Networks,
    /// One document with sums in it; all that is not summed comes from the base node.
    Info {
        base: NodeId,
    },
}

/// An answer that cannot be merged: not JSON, cut short, too deep, too many, or of another shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed answer: {what} at byte {at}")]
pub struct Malformed {
    pub what: &'static str,
    pub at: usize,
}

/// One node's checked answer, its elements as slices of its bytes.
#[derive(Debug)]
pub struct Parsed {
    node: Arc<Member>,
    kind: Kind,
    body: Bytes,
    elements: Vec<Element>,
    /// Raw strings, quotes included; only of volumes and info.
    warnings: Vec<json::Span>,
}

/// How the answers become one.
#[derive(Clone, Debug)]
pub struct Order<'a> {
    pub dialect: Dialect,
    /// Of containers, after merging. `None` and `Some(0)`: all.
    pub limit: Option<usize>,
    pub before: Option<Pivot>,
    pub since: Option<Pivot>,
    /// Nodes without an answer: shown name and reason, for the warnings of volumes and info.
    pub missing: &'a [(String, String)],
    /// Whether each element says which node it is from.
    pub decorate: bool,
    /// Whether volumes were asked for with `dangling=true`: a shared one is free only where every node says so.
    pub dangling: bool,
}

/// What the filters `before` and `since` name. The engines of the nodes that have it filtered by it themselves; the
/// other nodes' answers are filtered here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pivot {
    /// One node has a container, several may have an image.
    pub nodes: Vec<NodeId>,
    /// Unix seconds.
    pub created: i64,
}

/// Checks one node's answer whole.
///
/// # Errors
///
/// [`Malformed`] if it is not one valid JSON document of the shape that `kind` has.
pub fn parse(kind: Kind, node: &Arc<Member>, body: Bytes) -> Result<Parsed, Malformed> {
    let (elements, warnings) = list::read(&kind, &body)?;
    Ok(Parsed { node: Arc::clone(node), kind, body, elements, warnings })
}

/// Merges answers of one kind. Concatenated, the result is the JSON answer; of no answers it is an empty one.
pub fn merge(mut parts: Vec<Parsed>, order: &Order<'_>) -> Vec<Bytes> {
    // From here on the position of a part is the tie-breaker everywhere.
    parts.sort_by(|a, b| (&a.node.host, &a.node.id).cmp(&(&b.node.host, &b.node.id)));
    let Some(kind) = parts.first().map(|part| part.kind.clone()) else {
        return vec![Bytes::from_static(b"[]\n")];
    };
    match kind {
        Kind::Containers => decorate::array(&parts, &order::containers(&parts, order), order),
        Kind::Images => {
            let rows = order::remaining(&parts, order);
            let rows = if collapses(order) { collapse::images(&parts, rows) } else { rows };
            decorate::array(&parts, &order::images(&parts, rows), order)
        }
        Kind::Volumes => {
            let rows = order::all(&parts);
            let rows = if collapses(order) { collapse::volumes(&parts, rows, order) } else { rows };
            decorate::volumes(&parts, &order::volumes(&parts, rows), order)
        }
        Kind::Networks => {
            let rows = order::all(&parts);
            let rows = if collapses(order) { collapse::networks(&parts, rows) } else { rows };
            decorate::array(&parts, &order::networks(&parts, rows), order)
        }
        Kind::Info { base } => info::merge(&parts, &base, order),
    }
}

fn collapses(order: &Order<'_>) -> bool {
    order.dialect == Dialect::Docker
}

impl Parsed {
    /// The text of a raw JSON string of this answer, quotes stripped and escapes read. Empty if there is none.
    fn text(&self, raw: json::Span) -> std::borrow::Cow<'_, str> {
        json::text(raw.of(&self.body))
    }

    fn slice(&self, span: json::Span) -> Bytes {
        self.body.slice(span.range())
    }
}

#[cfg(test)]
mod tests;
