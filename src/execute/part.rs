//! Asks one node for its whole answer: a part of what is merged, or one of those that are looked through.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::Mutex;
use tracing::debug;

use super::attend::Pulse;
use super::budget::Lease;
use super::local::Versioned;
use super::{Answer, Asked, Executor, Fail, headers};
use crate::body::Body;
use crate::decide::{Absent, Merge};
use crate::dial::{self, Patience};
use crate::model::api_path::ApiPath;
use crate::model::{Absence, ApiVersion, Caller, Cluster, Hint, Member, chain};

/// No word for `X-Node-Errors`: it is not the node that is at fault.
const BUSY: &str = "busy";
/// Nor is this: who is where has changed, and all is asked once more.
const MOVED: &str = "moved";

/// 4 KiB: a quarter of the read buffer that a frame may pin.
const SMALL: usize = 4 << 10;

/// Who is asked, who cannot be, and what comes of it.
pub(super) struct Wanted {
    pub(super) members: Vec<Arc<Member>>,
    pub(super) missing: Vec<Absent>,
    pub(super) base: Arc<Member>,
    pub(super) merge: Merge,
}

/// One node's whole answer, held until it is merged.
pub(super) struct Part {
    pub(super) member: Arc<Member>,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Why a node is not in the answer: the word for `X-Node-Errors`, and the log's text.
#[derive(Debug)]
pub(super) struct Missed {
    pub(super) member: Arc<Member>,
    pub(super) reason: &'static str,
    pub(super) detail: String,
}

/// What every node is asked.
pub(super) struct Question<'a> {
    pub(super) headers: &'a HeaderMap,
    pub(super) caller: &'a Caller,
    pub(super) path: &'a ApiPath,
    /// The version to ask under; the client's, else one that all nodes have, so that the parts have one shape.
    pub(super) version: Option<ApiVersion>,
    pub(super) sizes: bool,
    /// Whether the answer counts as it is, because nobody will ask again.
    pub(super) again: bool,
}

impl<'a> Question<'a> {
    /// What the client asks, under this version.
    pub(super) fn of(asked: &'a Asked, version: Option<ApiVersion>) -> Self {
        Self {
            version,
            sizes: ["size=1", "size=true", "size=True"].iter().any(|on| asked.query.contains(on)),
            again: asked.again || !asked.can_repeat(),
            headers: &asked.headers,
            caller: &asked.caller,
            path: &asked.path,
        }
    }
}

impl Part {
    /// This node's answer alone, as it came.
    pub(super) fn into_answer(self) -> Answer {
        let mut head = self.headers;
        headers::clean_answer(&mut head, self.status);
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = head;
        Answer { response, by: self.member, tally: None }
    }
}

impl Executor {
    /// One node's whole answer, or why there is none.
    pub(super) async fn part(
        &self,
        member: &Arc<Member>,
        question: &Question<'_>,
        query: &str,
        lease: &Mutex<Lease>,
    ) -> Result<Part, Missed> {
        let pulse = Pulse::default();
        let after = if question.sizes { self.limits.list_sizes } else { self.limits.list };
        let call = self.fetch(member, question, query, lease, &pulse);
        let answer = async {
            if member.is_here() {
                call.await
            } else {
                match self.attend(member, &pulse, Patience::Brief, async { Ok(call.await) }).await {
                    Ok(part) => part,
                    Err(fail) => Err(missed(member, fail.absence().as_str(), &chain(&fail))),
                }
            }
        };
        let late = || Err(missed(member, Absence::Timeout.as_str(), &"no answer in time"));
        let answer = pulse.within(after, answer).await.unwrap_or_else(late);
        if let Err(missed) = &answer {
            debug!(node = %missed.member.shown, reason = missed.reason, detail = %missed.detail, "a node is missing from an answer");
        }
        answer
    }

    async fn fetch(
        &self,
        member: &Arc<Member>,
        question: &Question<'_>,
        query: &str,
        lease: &Mutex<Lease>,
        pulse: &Pulse,
    ) -> Result<Part, Missed> {
        let answer = match self.ask(member, question, query).await {
            Err(dial::Fail::Broken { .. }) if !member.is_here() => self.ask(member, question, query).await,
            other => other,
        };
        let answer = answer.map_err(|fail| {
            if !member.is_here() {
                self.unreachable(member, &fail);
            }
            let reason = if member.is_here() { "engine" } else { fail.absence().as_str() };
            missed(member, reason, &fail)
        })?;
        pulse.beat();
        let (head, body) = answer.into_parts();
        if head.status == StatusCode::MISDIRECTED_REQUEST {
            let _ = self.hints.try_send(Hint::StaleRole);
            let reason = if question.again { Absence::Unreachable.as_str() } else { MOVED };
            return Err(missed(member, reason, &"its address has passed to another node"));
        }
        match head.headers.get(headers::FAILURE) {
            None => {}
            Some(kind) if kind == headers::UNASKED => {
                return Err(missed(member, "engine", &"its agent cannot reach the engine"));
            }
            Some(_) => {
                let own = format!("its agent has no answer of the engine, and says {}", head.status);
                return Err(missed(member, "engine", &own));
            }
        }
        if head.headers.contains_key(header::CONTENT_ENCODING) {
            return Err(missed(member, "malformed", &"an encoded answer that was not asked for"));
        }
        let body = self.collect(member, body, lease, pulse).await?;
        Ok(Part { member: Arc::clone(member), status: head.status, headers: head.headers, body })
    }

    async fn ask(
        &self,
        member: &Arc<Member>,
        question: &Question<'_>,
        query: &str,
    ) -> Result<Response<Incoming>, dial::Fail> {
        // Peers bring the version into their engines' range themselves.
        let range = member.api.filter(|_| member.is_here());
        let Versioned { path, changed } = Versioned::new(question.path, question.version, range);
        let target = if query.is_empty() { path } else { format!("{path}?{query}") };
        let mut request = Request::new(Body::Empty);
        *request.method_mut() = Method::GET;
        *request.uri_mut() = Uri::try_from(target).unwrap_or_default();
        *request.headers_mut() = if member.is_here() {
            headers::for_engine(question.headers, None)
        } else {
            headers::for_peer(question.headers, None, &member.id, question.caller)
        };
        // Parts are merged as they come, so they must come plain. And no body goes with them: a length that is
        // announced and not sent would eat the next request of that connection.
        for name in [header::ACCEPT_ENCODING, header::CONTENT_LENGTH, header::CONTENT_TYPE] {
            request.headers_mut().remove(name);
        }
        let mut answer = if member.is_here() {
            self.engine.request(request).await?
        } else {
            self.peers.request(member, request).await?
        };
        if let Some(version) = changed {
            answer.headers_mut().insert(headers::API_VERSION, version);
        }
        Ok(answer)
    }

    async fn collect(
        &self,
        member: &Arc<Member>,
        mut body: Incoming,
        lease: &Mutex<Lease>,
        pulse: &Pulse,
    ) -> Result<Bytes, Missed> {
        let mut gathered = Gathered::default();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| missed(member, "malformed", &error))?;
            pulse.beat();
            let Ok(data) = frame.into_data() else { continue };
            if gathered.total + data.len() > self.limits.part_bytes {
                return Err(missed(member, "too-large", &"its answer exceeds the limit of a node"));
            }
            let patience = self.limits.list;
            if !pulse.held_up(async { lease.lock().await.grow(data.len(), patience).await }).await {
                return Err(missed(
                    member,
                    BUSY,
                    &"the merges that run hold all the memory there is for them",
                ));
            }
            gathered.add(data);
        }
        Ok(gathered.whole())
    }
}

/// One answer as it comes in.
#[derive(Default)]
struct Gathered {
    frames: Vec<Bytes>,
    small: BytesMut,
    total: usize,
}

impl Gathered {
    /// A small frame pins a whole read buffer; those are copied together, so that what is held is what was counted.
    fn add(&mut self, data: Bytes) {
        self.total += data.len();
        if data.len() < SMALL {
            self.small.extend_from_slice(&data);
        } else {
            self.flush();
            self.frames.push(data);
        }
    }

    fn flush(&mut self) {
        if !self.small.is_empty() {
            self.frames.push(self.small.split().freeze());
        }
    }

    /// Joins the frames, and frees each as it is copied.
    fn whole(mut self) -> Bytes {
        self.flush();
        if self.frames.len() == 1 {
            return self.frames.pop().unwrap_or_default();
        }
        let mut whole = BytesMut::with_capacity(self.total);
        for frame in self.frames {
            whole.extend_from_slice(&frame);
        }
        whole.freeze()
    }
}

pub(super) fn missed(member: &Arc<Member>, reason: &'static str, detail: &dyn std::fmt::Display) -> Missed {
    Missed { member: Arc::clone(member), reason, detail: detail.to_string() }
}

/// What ends the whole request, because no node is to blame for it.
pub(super) fn nobodys_fault(missed: &[Missed]) -> Result<(), Fail> {
    for missed in missed {
        match missed.reason {
            BUSY => return Err(Fail::Busy),
            MOVED => {
                let (id, node) = (missed.member.id.clone(), missed.member.shown.to_string());
                return Err(Fail::Moved { id, node });
            }
            _ => {}
        }
    }
    Ok(())
}

pub(super) fn split<T>(answers: Vec<Result<T, Missed>>) -> (Vec<T>, Vec<Missed>) {
    let (mut parts, mut missing) = (Vec::new(), Vec::new());
    for answer in answers {
        match answer {
            Ok(part) => parts.push(part),
            Err(missed) => missing.push(missed),
        }
    }
    (parts, missing)
}

/// Whoever should have been heard and was not, each with its reason.
pub(super) fn unheard<'a>(
    missed: &[Missed],
    absent: impl IntoIterator<Item = &'a Absent>,
    cluster: &Cluster,
) -> Vec<(String, &'static str)> {
    let failed = missed.iter().map(|missed| (missed.member.shown.to_string(), missed.reason));
    let absent = absent.into_iter().map(|(member, absence)| (member.shown.to_string(), absence.as_str()));
    let mut missing: Vec<_> = failed.chain(absent).collect();
    missing.sort();
    if !cluster.complete {
        // There may be nodes that nobody has told us of yet; an answer without them must not look whole.
        missing.push(("swarm".to_owned(), Absence::Unreachable.as_str()));
    }
    missing
}
