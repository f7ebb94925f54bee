//! Asks all nodes at once and merges what they answer. Whoever does not answer is named.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::part::{Missed, Part, Question, Wanted, missed, nobodys_fault, split, unheard};
use super::slices::Slices;
use super::{Answer, Asked, Executor, Fail, Tally, headers, pivot};
use crate::body::Body;
use crate::decide::Merge;
use crate::merge::{self, Order, Parsed};
use crate::model::{ApiVersion, Cluster, Dialect, Member};

impl Executor {
    pub(super) async fn fan_out(
        &self,
        wanted: Wanted,
        asked: &mut Asked,
        cluster: &Arc<Cluster>,
    ) -> Result<Answer, Fail> {
        let lease = Mutex::new(self.budget.lease());
        let question = Question::of(asked, asked.path.version().or(newest_of_all(&wanted.members)));
        let selected = pivot::select(self, &asked.query, &question, &wanted, cluster, &lease).await?;
        let asking =
            selected.queries.iter().map(|(member, query)| self.part(member, &question, query, &lease));
        let (mut parts, mut missed) = split(join_all(asking).await);
        nobodys_fault(&missed)?;
        if let Some(refused) = refused_alike(&parts, &missed) {
            return Ok(parts.swap_remove(refused).into_answer());
        }
        let kind = kind_of(&wanted.merge, &wanted.base);
        let (head, parsed) = check(&kind, parts, &wanted.base, &mut missed);
        let absent = wanted.missing.iter().filter(|(member, _)| !selected.excluded.contains(&member.id));
        let of = wanted.members.len() + wanted.missing.len() - selected.excluded.len();
        let tally = Tally { answered: parsed.len(), of, missing: unheard(&missed, absent, cluster) };
        if parsed.is_empty() {
            return Err(all_failed(missed, &wanted, tally));
        }
        if asked.strict && !tally.missing.is_empty() {
            return Err(Fail::Partial(tally));
        }
        let merged = merge_parts(parsed, asked, &selected, &tally);
        let body = Slices::new(merged, lease.into_inner(), self.until_sent(asked));
        let mut response = Response::new(Body::Empty);
        *response.headers_mut() = head;
        response.headers_mut().insert(header::CONTENT_LENGTH, body.len().into());
        *response.body_mut() = Body::boxed(body);
        Ok(Answer { response, by: Arc::clone(cluster.me()), tally: Some(tally) })
    }

    /// A client that takes a merged answer in drips holds memory that others wait for: in the end its connection is
    /// cut. Cancelling the token calls that off.
    pub(super) fn until_sent(&self, asked: &Asked) -> CancellationToken {
        let (sent, client, after) =
            (CancellationToken::new(), Arc::clone(&asked.client), self.limits.plain_get);
        let watched = sent.clone();
        self.shutdown.spawn(async move {
            if tokio::time::timeout(after, watched.cancelled()).await.is_err() {
                client.cut();
            }
        });
        sent
    }
}

fn newest_of_all(members: &[Arc<Member>]) -> Option<ApiVersion> {
    members.iter().filter_map(|member| member.api.map(|api| api.max)).min()
}

/// Where every engine refuses (a bad filter, say; older ones say 500 to that), it is the caller's error and not a
/// node's. The entry node's answer, if it is among them, says so for all.
fn refused_alike(parts: &[Part], missed: &[Missed]) -> Option<usize> {
    let alike = missed.is_empty() && parts.iter().all(|part| part.status.as_u16() >= 400);
    let own = parts.iter().position(|part| part.member.is_here()).unwrap_or(0);
    (alike && !parts.is_empty()).then_some(own)
}

fn kind_of(merge: &Merge, base: &Arc<Member>) -> merge::Kind {
    match merge {
        Merge::Containers => merge::Kind::Containers,
        Merge::Images => merge::Kind::Images,
        Merge::Volumes => merge::Kind::Volumes,
        Merge::Networks => merge::Kind::Networks,
        Merge::Info => merge::Kind::Info { base: base.id.clone() },
    }
}

/// Checks each part; the bad ones are named and left out. The head is the base node's, else the first good one's.
fn check(
    kind: &merge::Kind,
    parts: Vec<Part>,
    base: &Arc<Member>,
    missed_by: &mut Vec<Missed>,
) -> (HeaderMap, Vec<Parsed>) {
    let (mut parsed, mut head) = (Vec::new(), None);
    // One version has to be named: the oldest under which any engine was asked instead of the client's.
    let version = |part: &Part| ApiVersion::parse(part.headers.get(headers::API_VERSION)?.to_str().ok()?);
    let changed = parts.iter().filter_map(version).min();
    for part in parts {
        if part.status != StatusCode::OK {
            let said = String::from_utf8_lossy(part.body.get(..200.min(part.body.len())).unwrap_or_default());
            missed_by.push(missed(&part.member, "engine", &format!("{}: {said}", part.status)));
            continue;
        }
        match merge::parse(kind.clone(), &part.member, part.body) {
            Ok(good) => {
                if head.is_none() || part.member.id == base.id {
                    let mut kept = headers::of_merged(&part.headers);
                    if let Some(Ok(version)) = changed.map(|v| HeaderValue::from_str(&v.to_string())) {
                        kept.insert(headers::API_VERSION, version);
                    }
                    head = Some(kept);
                }
                parsed.push(good);
            }
            Err(malformed) => missed_by.push(missed(&part.member, "malformed", &malformed)),
        }
    }
    (head.unwrap_or_default(), parsed)
}

fn all_failed(missed: Vec<Missed>, wanted: &Wanted, tally: Tally) -> Fail {
    let absent = wanted.missing.iter().map(|(m, absence)| (m.shown.to_string(), absence.as_str().to_owned()));
    let failed = missed.into_iter().map(|m| (m.member.shown.to_string(), m.detail));
    Fail::AllFailed { nodes: failed.chain(absent).collect(), tally }
}

fn merge_parts(parsed: Vec<Parsed>, asked: &Asked, selected: &pivot::Selected, tally: &Tally) -> Vec<Bytes> {
    let missing: Vec<_> = tally.missing.iter().map(|(name, why)| (name.clone(), (*why).to_owned())).collect();
    merge::merge(
        parsed,
        &Order {
            dialect: asked.dialect,
            limit: selected.limit,
            before: selected.before.clone(),
            since: selected.since.clone(),
            missing: &missing,
            decorate: asked.dialect == Dialect::Portainer,
            dangling: selected.dangling,
        },
    )
}
