//! Asks a peer to execute a request on its node.

use std::sync::Arc;

use http::{Method, Response, StatusCode};
use hyper::body::Incoming;

use super::attend::Pulse;
use super::{Answer, Asked, Executor, Fail, headers, relay};
use crate::body::Body;
use crate::decide::{Pace, Route};
use crate::dial::{self, Patience};
use crate::model::{Hint, Member};

impl Executor {
    pub(super) async fn forward(
        &self,
        route: &Route,
        asked: &mut Asked,
        to: &Arc<Member>,
    ) -> Result<Response<Body>, Fail> {
        let node = || to.shown.to_string();
        let upgrade = asked.allowed_upgrade(route);
        let mut answer = self.send(route, asked, to).await?;
        // What becomes a stream is no read: its engine may have begun it.
        let read = matches!(asked.method, Method::GET | Method::HEAD) && upgrade.is_none();
        if read && asked.can_repeat() && matches!(&answer, Err(dial::Fail::Broken { .. })) {
            // A kept connection may have died under us; nothing was answered and nothing changed there.
            answer = self.send(route, asked, to).await?;
        }
        let answer = answer.map_err(|source| {
            if matches!(source, dial::Fail::Unfinished { .. }) {
                return Fail::Body { source: source.into() };
            }
            self.unreachable(to, &source);
            Fail::Peer { node: node(), source }
        })?;
        if is_redirect(answer.status()) {
            return Err(Fail::Redirect { node: node() });
        }
        if answer.status() == StatusCode::MISDIRECTED_REQUEST {
            // Its address has passed to another node.
            let _ = self.hints.try_send(Hint::StaleRole);
            return Err(Fail::Moved { id: to.id.clone(), node: node() });
        }
        let unasked = answer.headers().get(headers::FAILURE).is_some_and(|kind| kind == headers::UNASKED);
        let response = relay::relay(self, answer, asked, route, upgrade.is_some(), &node())?;
        if unasked {
            let answer = Box::new(Answer { response, by: Arc::clone(to), tally: None });
            return Err(Fail::NoEngine { node: node(), answer });
        }
        Ok(response)
    }

    async fn send(
        &self,
        route: &Route,
        asked: &mut Asked,
        to: &Arc<Member>,
    ) -> Result<Result<Response<Incoming>, dial::Fail>, Fail> {
        let upgrade = asked.allowed_upgrade(route);
        let sent = headers::for_peer(&asked.headers, upgrade.as_ref(), &to.id, &asked.caller);
        let (path, query) = (asked.path.canonical(), asked.query.clone());
        let request = asked.request(&path, &query, sent)?;
        let call = async {
            if upgrade.is_some() {
                self.peers.upgrade(to, request).await
            } else {
                self.peers.request(to, request).await
            }
        };
        let pulse = Pulse::default();
        // A read can be asked again. What changes something, or takes its time, is not given up so soon.
        let plain_read = route.pace == Pace::Plain && matches!(asked.method, Method::GET | Method::HEAD);
        let probes = if plain_read { Patience::Brief } else { Patience::Full };
        let call = self.attend(to, &pulse, probes, call);
        if route.pace == Pace::Plain && asked.method == Method::GET {
            let after = self.limits.plain_get;
            let node = to.shown.to_string();
            return tokio::time::timeout(after, call).await.map_err(|_| Fail::Silent { node, after });
        }
        Ok(call.await)
    }
}

/// A redirect could lead a client past us; 304 is Docker's "already so" and no redirect.
fn is_redirect(status: StatusCode) -> bool {
    status.is_redirection() && status != StatusCode::NOT_MODIFIED
}
