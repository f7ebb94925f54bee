//! Copies of one object on several nodes in, one row out. Only for Docker's own shape of an answer.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::edit::{self, Changes, Member};
use super::list::integer;
use super::order::Row;
use super::{Order, Parsed};

/// By `Id`. What the nodes hold of an image is joined; all else is of the first node that has it.
pub(super) fn images(parts: &[Parsed], rows: Vec<Row>) -> Vec<Row> {
    let id = |row: &Row| Some(row.text(parts, |image| image.id)).filter(|id| !id.is_empty());
    let one = |copies: Vec<Row>| {
        let changes = if copies.len() > 1 { image(parts, &copies) } else { Vec::new() };
        copies.into_iter().next().map(|first| Row { changes, ..first })
    };
    groups(rows, id).into_iter().filter_map(one).collect()
}

/// Swarm's volumes by their ID, for every manager lists all of them; those of shared storage by driver and name.
/// Volumes of scope `local` are different data, whatever their names.
pub(super) fn volumes(parts: &[Parsed], rows: Vec<Row>, order: &Order<'_>) -> Vec<Row> {
    let key = |row: &Row| {
        let cluster = row.text(parts, |volume| volume.cluster);
        if !cluster.is_empty() {
            return Some(Volume::Swarm(cluster));
        }
        let is_shared = row.text(parts, |volume| volume.scope) == "global";
        let driver = row.text(parts, |volume| volume.driver);
        is_shared.then(|| Volume::Shared(driver, row.text(parts, |volume| volume.name)))
    };
    let one = |copies: Vec<Row>| {
        let holders: HashSet<_> = copies.iter().map(|row| row.part).collect();
        let first = copies.into_iter().next()?;
        // One node's engine cannot know that another uses the volume, and free volumes get deleted.
        let is_used = order.dangling
            && matches!(key(&first), Some(Volume::Shared(..)))
            && (holders.len() < parts.len() || !order.missing.is_empty());
        (!is_used).then_some(first)
    };
    groups(rows, key).into_iter().filter_map(one).collect()
}

#[derive(PartialEq, Eq, Hash)]
enum Volume<'a> {
    Swarm(Cow<'a, str>),
    Shared(Cow<'a, str>, Cow<'a, str>),
}

/// By `Id` where the scope is wider than a node. A manager's copy is complete, a worker's is not.
pub(super) fn networks(parts: &[Parsed], rows: Vec<Row>) -> Vec<Row> {
    let id = |row: &Row| {
        let scope = row.text(parts, |network| network.scope);
        let is_wide = scope == "swarm" || scope == "global";
        Some(row.text(parts, |network| network.id)).filter(|id| is_wide && !id.is_empty())
    };
    let one = |mut copies: Vec<Row>| {
        let of_manager = copies.iter().position(|row| row.part(parts).node.is_manager());
        (!copies.is_empty()).then(|| copies.swap_remove(of_manager.unwrap_or_default()))
    };
    groups(rows, id).into_iter().filter_map(one).collect()
}

/// Rows with the same key together, in the order in which the keys are first seen. Without a key: alone.
fn groups<K: Eq + Hash>(rows: Vec<Row>, key: impl Fn(&Row) -> Option<K>) -> Vec<Vec<Row>> {
    let mut groups: Vec<Vec<Row>> = Vec::new();
    let mut known = HashMap::new();
    for row in rows {
        let at = match key(&row) {
            Some(key) => *known.entry(key).or_insert(groups.len()),
            None => groups.len(),
        };
        match groups.get_mut(at) {
            Some(group) => group.push(row),
            None => groups.push(vec![row]),
        }
    }
    groups
}

/// One node's copy of an image.
struct Copy<'a> {
    bytes: &'a [u8],
    members: Vec<Member<'a>>,
}

/// What differs from the first copy because of the others. A value of an unexpected shape is left alone.
fn image(parts: &[Parsed], rows: &[Row]) -> Changes {
    let copy = |row: &Row| {
        let bytes = row.element(parts).at.of(&row.part(parts).body);
        Copy { bytes, members: edit::members(bytes) }
    };
    let copies: Vec<Copy<'_>> = rows.iter().map(copy).collect();
    let first = |key| copies.first().and_then(|copy| copy.value(key));
    let values = |key| copies.iter().filter_map(|copy| copy.value(key)).collect::<Vec<_>>();
    let joined = [
        ("RepoTags", union(&values("RepoTags"), "<none>:<none>")),
        ("RepoDigests", union(&values("RepoDigests"), "<none>@<none>")),
        ("Containers", sum_of_known(&values("Containers"))),
        ("SharedSize", largest_or_unknown(&values("SharedSize"))),
        ("Manifests", manifests(&values("Manifests"))),
    ];
    let changed = |(key, new): (&'static str, Option<String>)| {
        new.filter(|new| first(key) != Some(new.as_bytes())).map(|new| (key, Bytes::from(new)))
    };
    joined.into_iter().filter_map(changed).collect()
}

impl<'a> Copy<'a> {
    fn value(&self, key: &str) -> Option<&'a [u8]> {
        edit::value(self.bytes, &self.members, key)
    }
}

/// All strings once, in first-seen order; the placeholder for "no name" only if there is no name.
fn union(lists: &[&[u8]], placeholder: &str) -> Option<String> {
    let mut seen = HashSet::new();
    let mut kept: Vec<(&RawValue, String)> = Vec::new();
    for list in lists {
        let list: Option<Vec<&RawValue>> = serde_json::from_slice(list).ok()?;
        for raw in list.unwrap_or_default() {
            let text: String = serde_json::from_str(raw.get()).ok()?;
            if seen.insert(text.clone()) {
                kept.push((raw, text));
            }
        }
    }
    if kept.iter().any(|(_, text)| text != placeholder) {
        kept.retain(|(_, text)| text != placeholder);
    }
    array(kept.iter().map(|(raw, _)| *raw))
}

/// Containers are counted on each node; -1 is "not counted".
fn sum_of_known(values: &[&[u8]]) -> Option<String> {
    let counted: Vec<_> = values.iter().filter(|raw| integer(raw).is_some_and(|count| count >= 0)).collect();
    match counted.as_slice() {
        [] => None,
        [one] => Some(String::from_utf8_lossy(one).into_owned()),
        many => Some(many.iter().filter_map(|raw| integer(raw)).fold(0, i64::saturating_add).to_string()),
    }
}

/// What an image shares is relative to each node's other images, so that no number is right for all.
fn largest_or_unknown(values: &[&[u8]]) -> Option<String> {
    let numbers = || values.iter().filter_map(|raw| integer(raw).map(|number| (number, raw)));
    let unknown = numbers().find(|(number, _)| *number < 0);
    let chosen = unknown.or_else(|| numbers().max_by_key(|(number, _)| *number));
    chosen.map(|(_, raw)| String::from_utf8_lossy(raw).into_owned())
}

/// By `ID`; an available copy tells sizes, another does not.
fn manifests(lists: &[&[u8]]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Manifest {
        #[serde(rename = "ID")]
        id: String,
        #[serde(rename = "Available", default)]
        available: bool,
    }
    let mut kept: Vec<(bool, &RawValue)> = Vec::new();
    let mut known = HashMap::new();
    for list in lists {
        let list: Option<Vec<&RawValue>> = serde_json::from_slice(list).ok()?;
        for raw in list.unwrap_or_default() {
            let manifest: Manifest = serde_json::from_str(raw.get()).ok()?;
            let at = *known.entry(manifest.id).or_insert(kept.len());
            match kept.get_mut(at) {
                Some(copy) if manifest.available && !copy.0 => *copy = (true, raw),
                Some(_) => {}
                None => kept.push((manifest.available, raw)),
            }
        }
    }
    array(kept.into_iter().map(|(_, raw)| raw))
}

fn array<'a>(values: impl Iterator<Item = &'a RawValue>) -> Option<String> {
    let values: Vec<_> = values.map(RawValue::get).collect();
    (!values.is_empty()).then(|| format!("[{}]", values.join(",")))
}
