//! `before`, `since` and `node`: filters of a list that only the cluster as a whole can answer.
//!
//! The object that `before` and `since` name exists on one node; every other engine fails its whole list over it
//! (500 on 20.10, 404 on newer ones). So it is found first, its node gets the filter unchanged, and the others'
//! answers are filtered here by its creation second.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::join_all;
use http::StatusCode;
use tokio::sync::Mutex;

use super::budget::Lease;
use super::locate::{Class, Inspected, alike, has_many};
use super::part::{Missed, Part, Question, Wanted, missed, nobodys_fault, split, unheard};
use super::selection::{Limit, Selection};
use super::{Executor, Fail, Tally};
use crate::decide::Merge;
use crate::merge::Pivot;
use crate::model::api_path::ApiPath;
use crate::model::{Cluster, Lookup, Member, NodeId};

/// Who gets which query, and what is left to filter here.
pub(super) struct Selected {
    pub(super) queries: Vec<(Arc<Member>, String)>,
    /// Not asked, because a `node` filter leaves them out.
    pub(super) excluded: BTreeSet<NodeId>,
    pub(super) limit: Option<usize>,
    pub(super) before: Option<Pivot>,
    pub(super) since: Option<Pivot>,
    pub(super) dangling: bool,
}

pub(super) async fn select(
    executor: &Executor,
    query: &str,
    question: &Question<'_>,
    wanted: &Wanted,
    cluster: &Arc<Cluster>,
    lease: &Mutex<Lease>,
) -> Result<Selected, Fail> {
    let selection = Selection::of(query);
    let (what, folder) = match wanted.merge {
        Merge::Containers => ("container", "/containers/"),
        Merge::Images => ("image", "/images/"),
        Merge::Volumes | Merge::Networks => ("", ""),
        Merge::Info => return Ok(everywhere(query, wanted)),
    };
    let find = async |filter: &str| match selection.values(filter).into_iter().next() {
        Some(reference) if !folder.is_empty() => {
            seek(executor, question, wanted, cluster, lease, (what, folder), &reference).await.map(Some)
        }
        _ => Ok(None),
    };
    let (before, since) = (find("before").await?, find("since").await?);
    let excluded = by_node_filter(&selection, cluster)?;
    let queried = wanted.members.iter().filter(|member| !excluded.contains(&member.id)).cloned();
    let limit = if before.is_some() || since.is_some() { Limit::Ours } else { Limit::Engines };
    let queries = queried
        .map(|member| {
            let own = |pivot: &Option<Pivot>| pivot.as_ref().is_none_or(|p| p.nodes.contains(&member.id));
            let mut dropped = vec!["node"];
            dropped.extend((!own(&before)).then_some("before"));
            dropped.extend((!own(&since)).then_some("since"));
            let untouched = limit == Limit::Engines && selection.values("node").is_empty();
            let query = if untouched { query.to_owned() } else { selection.without(&dropped, limit) };
            (member, query)
        })
        .collect();
    let free = |value: &String| value == "true" || value == "1";
    let dangling = matches!(wanted.merge, Merge::Volumes) && selection.values("dangling").iter().any(free);
    let limit = selection.limit.filter(|_| matches!(wanted.merge, Merge::Containers));
    Ok(Selected { queries, excluded, limit, before, since, dangling })
}

/// The same query for everyone.
fn everywhere(query: &str, wanted: &Wanted) -> Selected {
    Selected {
        queries: wanted.members.iter().map(|member| (Arc::clone(member), query.to_owned())).collect(),
        excluded: BTreeSet::new(),
        limit: None,
        before: None,
        since: None,
        dangling: false,
    }
}

/// The nodes that a `node` filter leaves out; it is ours, engines do not know it.
fn by_node_filter(selection: &Selection, cluster: &Cluster) -> Result<BTreeSet<NodeId>, Fail> {
    let names = selection.values("node");
    if names.is_empty() {
        return Ok(BTreeSet::new());
    }
    let mut excluded: BTreeSet<NodeId> = cluster.members.keys().cloned().collect();
    for reference in names {
        match cluster.find(&reference) {
            Lookup::Found(member) => excluded.remove(&member.id),
            Lookup::Ambiguous(_) | Lookup::Unknown(_) => {
                return Err(Fail::NoPivot { what: "node", reference });
            }
        };
    }
    Ok(excluded)
}

/// Finds the object that a filter names, on all nodes at once.
///
/// # Errors
/// No node has it: [`Fail::NoPivot`]. One that was not heard might have it: [`Fail::Unheard`].
async fn seek(
    executor: &Executor,
    question: &Question<'_>,
    wanted: &Wanted,
    cluster: &Cluster,
    lease: &Mutex<Lease>,
    (what, folder): (&'static str, &str),
    reference: &str,
) -> Result<Pivot, Fail> {
    let encoded = percent_encoding::utf8_percent_encode(reference, percent_encoding::NON_ALPHANUMERIC);
    let Ok(path) = ApiPath::parse(&format!("{folder}{encoded}/json")) else {
        return Err(Fail::NoPivot { what, reference: reference.to_owned() });
    };
    let inspect = Question { path: &path, ..*question };
    let asking = wanted.members.iter().map(|member| executor.part(member, &inspect, "", lease));
    let (parts, mut missed_by) = split(join_all(asking).await);
    nobodys_fault(&missed_by)?;
    let found = matches(&parts, what, reference, &mut missed_by);
    if let Some((_, created)) = found.first() {
        let created = *created;
        return Ok(Pivot { nodes: found.into_iter().map(|(node, _)| node).collect(), created });
    }
    let reference = reference.to_owned();
    let missing = unheard(&missed_by, &wanted.missing, cluster);
    if missing.is_empty() {
        return Err(Fail::NoPivot { what, reference });
    }
    let answered = wanted.members.len() - missed_by.len();
    let of = wanted.members.len() + wanted.missing.len();
    Err(Fail::Unheard { what, reference, tally: Tally { answered, of, missing } })
}

/// Who has the object, and since which second. Whoever says neither that it has it nor that it does not is missed.
fn matches(parts: &[Part], what: &str, reference: &str, missed_by: &mut Vec<Missed>) -> Vec<(NodeId, i64)> {
    let alike = alike(parts, missed_by);
    let mut found = Vec::new();
    for part in parts {
        match part.status {
            StatusCode::OK => match matched(part, what, reference) {
                Ok(created) => found.extend(created.map(|created| (part.member.id.clone(), created))),
                Err(problem) => missed_by.push(missed(&part.member, "malformed", &problem)),
            },
            status if status == StatusCode::NOT_FOUND || alike || has_many(part) => {}
            status => missed_by.push(missed(&part.member, "engine", &status)),
        }
    }
    found
}

/// As the engine matches these filters: a container by full id or exact name, an image by whatever inspects it. An
/// image may have no date; in lists that is second 0.
fn matched(part: &Part, what: &str, reference: &str) -> Result<Option<i64>, &'static str> {
    let inspected: Inspected = serde_json::from_slice(&part.body).map_err(|_| "no object that has an id")?;
    if what != "image" && inspected.class(reference) <= Class::Prefix {
        return Ok(None);
    }
    match inspected.created.as_deref() {
        None | Some("") => Ok(Some(0)),
        Some(created) => unix_seconds(created).map(Some).ok_or("an object of no known date"),
    }
}

/// Reads `2026-01-02T03:04:05.678Z` (RFC 3339, any offset) down to the second.
fn unix_seconds(text: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<u16>().ok();
    let small = |range| u8::try_from(number(range)?).ok();
    let month = time::Month::try_from(small(5..7)?).ok()?;
    let date = time::Date::from_calendar_date(i32::from(number(0..4)?), month, small(8..10)?).ok()?;
    let local =
        date.with_hms(small(11..13)?, small(14..16)?, small(17..19)?).ok()?.assume_utc().unix_timestamp();
    let zone = text.get(19..)?.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    if zone == "Z" || zone == "z" {
        return Some(local);
    }
    let minutes = zone.get(1..3)?.parse::<i64>().ok()? * 60 + zone.get(4..6)?.parse::<i64>().ok()?;
    match zone.get(..1)? {
        "+" => Some(local - minutes * 60),
        "-" => Some(local + minutes * 60),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_times_are_read_down_to_the_second() {
        let rows = [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2026-08-01T12:00:00.123456789Z", Some(1_785_585_600)),
            ("2026-08-01T14:00:00.1+02:00", Some(1_785_585_600)),
            ("2026-08-01T10:30:00-01:30", Some(1_785_585_600)),
            ("yesterday", None),
            ("2026-13-01T00:00:00Z", None),
            ("2026-08-01T12:00:00", None),
        ];
        for (text, seconds) in rows {
            assert_eq!(unix_seconds(text), seconds, "{text}");
        }
    }
}
