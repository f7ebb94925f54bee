//! The nodes' `GET /info` in, the base node's document out, with sums in place of its own numbers.

use bytes::Bytes;

use crate::model::caller::Dialect;
use crate::model::node::NodeId;

use super::edit::{self, Changes};
use super::list::integer;
use super::{Order, Parsed, warnings};

/// Counts and sizes that add up. All else describes one engine and stays the base node's.
const SUMS: [&str; 10] = [
    "Containers",
    "ContainersRunning",
    "ContainersPaused",
    "ContainersStopped",
    "Images",
    "NCPU",
    "MemTotal",
    "NFd",
    "NGoroutines",
    "NEventsListener",
];

pub(super) fn merge(parts: &[Parsed], base: &NodeId, order: &Order<'_>) -> Vec<Bytes> {
    // A base node without an answer is replaced by another manager: `Swarm` must come from one.
    let chosen = parts.iter().find(|part| part.node.id == *base);
    let manager = || parts.iter().find(|part| part.node.is_manager());
    let Some(base) = chosen.or_else(manager).or(parts.first()) else { return Vec::new() };
    if order.dialect == Dialect::Portainer {
        return vec![base.body.clone()];
    }
    let mut changes = sums(base, parts);
    let mut said = warnings::of(parts, order);
    said.extend(warnings::mixed_versions(parts));
    changes.extend(warnings::list(&said).map(|list| ("Warnings", list)));
    // Space before the document, which no engine sends, would shift the places of its members.
    edit::rewrite(&base.body.slice_ref(base.body.trim_ascii_start()), None, &changes)
}

fn sums(base: &Parsed, parts: &[Parsed]) -> Changes {
    let documents: Vec<_> = parts.iter().map(|part| (part, edit::members(&part.body))).collect();
    let base_members = edit::members(&base.body);
    let of_base = |key| edit::value(&base.body, &base_members, key).filter(|raw| integer(raw).is_some());
    let sum = |key: &'static str| {
        let own = of_base(key)?;
        let each =
            documents.iter().filter_map(|(part, members)| integer(edit::value(&part.body, members, key)?));
        let sum = each.fold(0, i64::saturating_add).to_string();
        (sum.as_bytes() != own).then(|| (key, Bytes::from(sum)))
    };
    SUMS.into_iter().filter_map(sum).collect()
}
