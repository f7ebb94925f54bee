//! One request as it travels: what was received, and what the stages learned about it.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Uri};
use http_body_util::BodyExt;
use hyper::upgrade::OnUpgrade;

use super::Fail;
use crate::body::Body;
use crate::client::Client;
use crate::decide::Route;
use crate::model::api_path::ApiPath;
use crate::model::{Caller, Dialect};

/// A request after it was identified.
pub struct Asked {
    pub method: Method,
    pub headers: HeaderMap,
    pub path: ApiPath,
    /// Byte for byte as received; empty when there was none.
    pub query: String,
    pub body: Body,
    pub caller: Caller,
    pub dialect: Dialect,
    /// `X-Node-Strict`: a partial answer is an error.
    pub strict: bool,
    /// Asked once more, after a node took it for another's: the answer counts as it is.
    pub again: bool,
    pub upgrade: Option<OnUpgrade>,
    pub client: Arc<Client>,
}

impl Asked {
    pub fn new(head: Parts, body: Body, path: ApiPath, caller: Caller, client: Arc<Client>) -> Self {
        let mut head = head;
        Self {
            upgrade: head.extensions.remove::<OnUpgrade>(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            method: head.method,
            headers: head.headers,
            path,
            body,
            caller,
            dialect: Dialect::Docker,
            strict: false,
            again: false,
            client,
        }
    }

    /// The upgrade that the client asked for and the route allows.
    pub fn allowed_upgrade(&self, route: &Route) -> Option<HeaderValue> {
        let asked = self.headers.get(header::UPGRADE)?;
        let connection = self.headers.get(header::CONNECTION)?.to_str().ok()?;
        let listed = connection.split(',').any(|token| token.trim().eq_ignore_ascii_case("upgrade"));
        let allowed = listed && asked.to_str().is_ok_and(|token| route.door.accepts(token));
        allowed.then(|| asked.clone())
    }

    /// Builds the request that goes on. Takes the body, and keeps a copy only of one that is already in memory.
    pub fn request(&mut self, path: &str, query: &str, headers: HeaderMap) -> Result<Request<Body>, Fail> {
        let target = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
        let uri = Uri::try_from(target).map_err(|source| Fail::Body { source: source.into() })?;
        let body = match &self.body {
            Body::Full(bytes) => Body::Full(bytes.clone()),
            Body::Empty => Body::Empty,
            Body::Spent | Body::Incoming(_) | Body::Boxed(_) => {
                std::mem::replace(&mut self.body, Body::Spent)
            }
        };
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        Ok(request)
    }

    /// Whether the same request can be sent once more.
    pub fn can_repeat(&self) -> bool {
        matches!(self.body, Body::Empty | Body::Full(_))
    }

    /// Reads the whole body into memory, up to `limit` bytes, so that it can be looked at and sent again.
    pub async fn buffer(&mut self, limit: usize) -> Result<Bytes, Fail> {
        let mut body = std::mem::replace(&mut self.body, Body::Spent);
        let mut all = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|source| Fail::Body { source })?;
            if let Some(data) = frame.data_ref() {
                if all.len() + data.len() > limit {
                    return Err(Fail::TooLarge { limit });
                }
                all.extend_from_slice(data);
            }
        }
        let all = all.freeze();
        self.body = Body::from(all.clone());
        // What is in memory has a length; it goes on as such.
        if self.headers.remove(header::TRANSFER_ENCODING).is_some() {
            self.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(all.len()));
        }
        Ok(all)
    }

    /// The declared length of a body that is not in memory yet.
    pub fn declared_length(&self) -> Option<usize> {
        self.headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }
}
