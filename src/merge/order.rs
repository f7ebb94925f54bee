//! Which elements stay, and in what order: the same for every agent, whatever came first.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::edit::Changes;
use super::list::Element;
use super::{Order, Parsed, json};

/// One element of the merged answer: a copy on one node, and what differs in it because of the other copies.
pub(super) struct Row {
    pub(super) part: usize,
    pub(super) element: usize,
    pub(super) changes: Changes,
}

impl Row {
    fn new(part: usize, element: usize) -> Self {
        Self { part, element, changes: Vec::new() }
    }

    pub(super) fn part<'a>(&self, parts: &'a [Parsed]) -> &'a Parsed {
        &parts[self.part]
    }

    pub(super) fn element<'a>(&self, parts: &'a [Parsed]) -> &'a Element {
        &self.part(parts).elements[self.element]
    }

    /// The text of one of the element's strings.
    pub(super) fn text<'a>(&self, parts: &'a [Parsed], raw: fn(&Element) -> json::Span) -> Cow<'a, str> {
        self.part(parts).text(raw(self.element(parts)))
    }
}

pub(super) fn all(parts: &[Parsed]) -> Vec<Row> {
    let rows = |(at, part): (usize, &Parsed)| (0..part.elements.len()).map(move |i| Row::new(at, i));
    parts.iter().enumerate().flat_map(rows).collect()
}

/// All but those that the pivots exclude on nodes that do not have the pivot.
pub(super) fn remaining(parts: &[Parsed], order: &Order<'_>) -> Vec<Row> {
    let mut rows = all(parts);
    rows.retain(|row| stays(row.part(parts), row.element(parts), order));
    rows
}

/// Newest first. Engines order by the nanosecond but tell the second, so a node's own order is never touched: only
/// the heads of the nodes' lists are compared.
pub(super) fn containers(parts: &[Parsed], order: &Order<'_>) -> Vec<Row> {
    let mut rest: Vec<_> = parts
        .iter()
        .map(|part| part.elements.iter().enumerate().filter(|(_, element)| stays(part, element, order)))
        .collect();
    let mut heads = BinaryHeap::new();
    for (part, rest) in rest.iter_mut().enumerate() {
        heads.extend(rest.next().map(|(i, element)| (element.created, Reverse(part), i)));
    }
    let limit = order.limit.filter(|&limit| limit > 0).unwrap_or(usize::MAX);
    let mut rows = Vec::with_capacity(limit.min(parts.iter().map(|part| part.elements.len()).sum()));
    while rows.len() < limit {
        let Some((_, Reverse(part), element)) = heads.pop() else { break };
        rows.push(Row::new(part, element));
        let next = rest.get_mut(part).and_then(Iterator::next);
        heads.extend(next.map(|(i, element)| (element.created, Reverse(part), i)));
    }
    rows
}

pub(super) fn images(parts: &[Parsed], mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort_by_cached_key(|row| {
        let created = row.element(parts).created;
        (Reverse(created), row.text(parts, |image| image.id), row.part, row.element)
    });
    rows
}

pub(super) fn volumes(parts: &[Parsed], mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort_by_cached_key(|row| (row.text(parts, |volume| volume.name), row.part, row.element));
    rows
}

pub(super) fn networks(parts: &[Parsed], mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort_by_cached_key(|row| {
        let name = row.text(parts, |network| network.name);
        (name, row.text(parts, |network| network.scope), row.part, row.element)
    });
    rows
}

/// Equal seconds are dropped on both sides: the pivot's own second cannot be told apart.
fn stays(part: &Parsed, element: &Element, order: &Order<'_>) -> bool {
    let elsewhere = |pivot: &&super::Pivot| !pivot.nodes.contains(&part.node.id);
    let before = order.before.as_ref().filter(elsewhere);
    let since = order.since.as_ref().filter(elsewhere);
    before.is_none_or(|pivot| element.created < pivot.created)
        && since.is_none_or(|pivot| element.created > pivot.created)
}
