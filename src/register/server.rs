//! A Portainer server's API for environments, as far as a registration needs it.
//!
//! The token goes to the server whose certificate was verified and nowhere else; no redirect is followed.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::record::Entry;
use crate::body::Body;
use crate::config::{Limits, Registration};
use crate::dial::{Web, WebFail};

/// 4 MiB: a server that does not know the filter answers with all its environments, a few KiB each.
const ANSWER: usize = 4 << 20;
/// What a gateway says when the server itself did not.
const GATEWAYS: [StatusCode; 3] =
    [StatusCode::BAD_GATEWAY, StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT];
/// 300 characters of what a server says go into the log.
const SAID: usize = 300;

/// A server, and what proves to it that we may.
pub(super) struct Server {
    base: String,
    token: HeaderValue,
    /// For questions, and for what takes as long as a look at the whole cluster.
    asking: Web,
    creating: Web,
}

/// An environment, as far as it matters here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Environment {
    pub(super) id: u64,
    #[serde(default)]
    pub(super) name: String,
    #[serde(rename = "URL", default)]
    pub(super) url: String,
}

/// What to change; what is absent stays.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Change {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(flatten)]
    place: Option<Place>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Place {
    #[serde(rename = "URL")]
    url: String,
    #[serde(rename = "TLS")]
    tls: bool,
    #[serde(rename = "TLSSkipVerify")]
    skip_verify: bool,
    #[serde(rename = "TLSSkipClientVerify")]
    skip_client_verify: bool,
}

/// Why a server did not do as it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum ServerFail {
    #[error(transparent)]
    Web(#[from] WebFail),
    #[error(
        "Portainer answered {status} when asked to {what}: it does not let the token of AGENT_PORTAINER_TOKEN_FILE do that"
    )]
    Token { what: &'static str, status: StatusCode },
    #[error(
        "Portainer answered {status} when asked to {what}; no redirect is followed: set AGENT_PORTAINER_URL to where it leads"
    )]
    Redirected { what: &'static str, status: StatusCode },
    #[error("Portainer answered {status} when asked to {what}{said}")]
    Refused { what: &'static str, status: StatusCode, said: String },
    #[error("Portainer's answer makes no sense when asked to {what}")]
    Malformed {
        what: &'static str,
        #[source]
        source: serde_json::Error,
    },
}

impl ServerFail {
    /// Whether the server answered, so that it is known to have done nothing. A gateway before it that gives up on it
    /// (502, 503, 504) does not know that.
    pub(super) fn is_an_answer(&self) -> bool {
        match self {
            Self::Token { .. } | Self::Redirected { .. } => true,
            Self::Refused { status, .. } => !GATEWAYS.contains(status),
            Self::Web(_) | Self::Malformed { .. } => false,
        }
    }

    pub(super) fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused { status: StatusCode::CONFLICT, .. })
    }
}

impl Server {
    /// # Errors
    /// Only where the authorities are in a file.
    pub(super) fn new(registration: &Registration, limits: &Limits) -> Result<Self, WebFail> {
        let web = |deadline| Web::new(&registration.trust, deadline, ANSWER);
        let mut token = HeaderValue::from_str(registration.token.reveal()).map_err(http::Error::from)?;
        token.set_sensitive(true);
        let (asking, creating) = (web(limits.register_ask)?, web(limits.register_create)?);
        Ok(Self { base: registration.server.clone(), token, asking, creating })
    }

    /// The environment of exactly this name.
    pub(super) async fn find(&self, name: &str) -> Result<Option<Environment>, ServerFail> {
        let what = "list its environments";
        let name_text = utf8_percent_encode(name, NON_ALPHANUMERIC);
        let path = format!("?name={name_text}&excludeSnapshots=true");
        let request = self.request(Method::GET, &path, None, Bytes::new())?;
        let found: Option<Vec<Environment>> = read(what, &granted(what, self.asking.ask(request).await?)?)?;
        Ok(found.into_iter().flatten().find(|environment| environment.name == name))
    }

    /// The environment with this id.
    pub(super) async fn get(&self, id: u64) -> Result<Option<Environment>, ServerFail> {
        let what = "show the environment";
        let request =
            self.request(Method::GET, &format!("/{id}?excludeSnapshot=true"), None, Bytes::new())?;
        let answer = self.asking.ask(request).await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        read(what, &granted(what, answer)?).map(Some)
    }

    /// Creates the environment. The server calls the agent before it answers.
    pub(super) async fn create(&self, entry: &Entry) -> Result<Environment, ServerFail> {
        let what = "create the environment";
        let (kind, body) = multipart(&[
            ("Name", &entry.name),
            ("EndpointCreationType", "2"),
            ("ContainerEngine", "docker"),
            ("URL", &entry.url),
            ("TLS", "true"),
            ("TLSSkipVerify", "true"),
            ("TLSSkipClientVerify", "true"),
        ]);
        let request = self.request(Method::POST, "", Some(&kind), body)?;
        read(what, &granted(what, self.creating.ask(request).await?)?)
    }

    pub(super) async fn update(&self, id: u64, change: &Change) -> Result<(), ServerFail> {
        let what = "change the environment";
        let body = serde_json::to_vec(change).map_err(|source| ServerFail::Malformed { what, source })?;
        let request =
            self.request(Method::PUT, &format!("/{id}"), Some("application/json"), Bytes::from(body))?;
        granted(what, self.creating.ask(request).await?).map(drop)
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        kind: Option<&str>,
        body: Bytes,
    ) -> Result<Request<Body>, WebFail> {
        let uri = format!("{}/api/endpoints{path}", self.base);
        let request = Request::builder().method(method).uri(uri).header("X-API-Key", self.token.clone());
        let request = kind.into_iter().fold(request, |request, kind| request.header(CONTENT_TYPE, kind));
        Ok(request.body(Body::from(body))?)
    }
}

impl Change {
    /// From what was registered, and is there now, to what is wanted. What somebody changed there by hand, and we do
    /// not want otherwise than before, stays. `None`: nothing.
    pub(super) fn of(known: &Entry, now: &Environment, wanted: &Entry) -> Option<Self> {
        let name = wanted.name != known.name && wanted.name != now.name;
        let place = wanted.url != now.url;
        let change = Self {
            name: name.then(|| wanted.name.clone()),
            place: place.then(|| Place {
                url: wanted.url.clone(),
                tls: true,
                skip_verify: true,
                skip_client_verify: true,
            }),
        };
        (change != Self::default()).then_some(change)
    }
}

fn granted(what: &'static str, answer: Response<Bytes>) -> Result<Bytes, ServerFail> {
    let status = answer.status();
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(ServerFail::Token { what, status }),
        _ if status.is_success() => Ok(answer.into_body()),
        _ if status.is_redirection() => Err(ServerFail::Redirected { what, status }),
        _ => Err(ServerFail::Refused { what, status, said: said(answer.body()) }),
    }
}

fn read<T: DeserializeOwned>(what: &'static str, body: &Bytes) -> Result<T, ServerFail> {
    serde_json::from_slice(body).map_err(|source| ServerFail::Malformed { what, source })
}

/// `: message: details`, as far as they are there and not the same.
fn said(body: &[u8]) -> String {
    #[derive(Default, Deserialize)]
    struct Said {
        #[serde(default)]
        message: String,
        #[serde(default)]
        details: String,
    }
    let Said { message, mut details } = serde_json::from_slice(body).unwrap_or_default();
    if details == message {
        details.clear();
    }
    let parts = [message, details].into_iter().filter(|part| !part.is_empty());
    parts.flat_map(|part| format!(": {part}").chars().collect::<Vec<_>>()).take(SAID).collect()
}

/// The content type, and the body of a form of these fields (RFC 7578).
fn multipart(fields: &[(&str, &str)]) -> (String, Bytes) {
    let is_free = |boundary: &String| !fields.iter().any(|(_, value)| value.contains(boundary));
    let boundary = (0_u64..).map(|n| format!("swarmgate-{n}")).find(is_free).unwrap_or_default();
    let part = |(name, value): &(&str, &str)| {
        format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let body: String = fields.iter().map(part).chain([format!("--{boundary}--\r\n")]).collect();
    (format!("multipart/form-data; boundary={boundary}"), Bytes::from(body))
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::entry;
    use super::*;

    #[test]
    fn a_form_is_as_the_rfc_has_it() {
        let (kind, body) = multipart(&[("Name", "Küche"), ("TLS", "true")]);
        assert_eq!(kind, "multipart/form-data; boundary=swarmgate-0");
        let expected = "--swarmgate-0\r\nContent-Disposition: form-data; name=\"Name\"\r\n\r\nKüche\r\n\
                        --swarmgate-0\r\nContent-Disposition: form-data; name=\"TLS\"\r\n\r\ntrue\r\n\
                        --swarmgate-0--\r\n";
        assert_eq!(String::from_utf8(body.to_vec()).unwrap(), expected);
    }

    #[test]
    fn no_field_can_end_the_form() {
        let (kind, _) = multipart(&[("Name", "swarmgate-0"), ("URL", "swarmgate-1--")]);
        assert_eq!(kind, "multipart/form-data; boundary=swarmgate-2");
    }

    #[test]
    fn a_change_holds_only_what_is_new() {
        let place = r#""URL":"tcp://new:1","TLS":true,"TLSSkipVerify":true,"TLSSkipClientVerify":true"#;
        let rows = [
            (("a", "tcp://old:1"), ("a", "tcp://old:1"), None),
            (("a", "tcp://old:1"), ("a", "tcp://new:1"), Some(format!("{{{place}}}"))),
            (("a", "tcp://old:1"), ("b", "tcp://old:1"), Some(r#"{"Name":"b"}"#.to_owned())),
            (("a", "tcp://old:1"), ("b", "tcp://new:1"), Some(format!("{{\"Name\":\"b\",{place}}}"))),
            // Somebody has renamed it there, or has put it right before us.
            (("theirs", "tcp://old:1"), ("a", "tcp://new:1"), Some(format!("{{{place}}}"))),
            (("b", "tcp://new:1"), ("b", "tcp://new:1"), None),
        ];
        let known = entry("a", "tcp://old:1");
        for ((name, url), wanted, expected) in rows {
            let now = Environment { id: 1, name: name.into(), url: url.into() };
            let change = Change::of(&known, &now, &entry(wanted.0, wanted.1));
            let json = change.map(|change| serde_json::to_string(&change).unwrap());
            assert_eq!(json, expected, "{now:?} {wanted:?}");
        }
    }

    #[test]
    fn what_a_server_says_is_told_in_short() {
        let rows = [
            (r#"{"message":"A","details":"b"}"#, ": A: b"),
            (r#"{"message":"A","details":"A"}"#, ": A"),
            (r#"{"details":"b"}"#, ": b"),
            ("<html>", ""),
            ("", ""),
        ];
        for (body, expected) in rows {
            assert_eq!(said(body.as_bytes()), expected, "{body}");
        }
        let long = serde_json::json!({ "message": "ü".repeat(1000) }).to_string();
        assert_eq!(said(long.as_bytes()).chars().count(), SAID);
    }
}
