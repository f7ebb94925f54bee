//! `POST /v2/dockerhub`: how many pulls Docker Hub still allows this host, asked as Docker documents it.
//!
//! The account's name and password come with the request, go to Docker's token server and nowhere else, and are not
//! kept.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize as Derived, Serialize};

use crate::body::Body;
use crate::config::Hub;
use crate::dial::{Web, WebFail};
use crate::model::Secret;

/// 1 MiB: the server sends its whole registry object, which has a few hundred bytes.
pub(super) const LARGEST: usize = 1 << 20;
/// 3 s a question: a page waits for two of them.
const PATIENCE: Duration = Duration::from_secs(3);
/// 64 KiB: a token has a few KiB.
const ANSWER: usize = 64 << 10;

/// An image that only exists so that its limits can be asked for; asking for them counts as no pull.
const TOKEN: &str = "/token?service=registry.docker.io&scope=repository:ratelimitpreview/test:pull";
const MANIFEST: &str = "/v2/ratelimitpreview/test/manifests/latest";

/// Why there are no limits to tell.
#[derive(Debug, thiserror::Error)]
pub enum HubFail {
    /// Where, and no more: the parser's own words repeat what was sent, which may be a password.
    #[error(
        "the body is no registry: JSON with Authentication, Username and Password is expected; it goes wrong at line \
         {line}, column {column}"
    )]
    Document { line: usize, column: usize },
    #[error("Authentication is true, but Username or Password is missing")]
    Credentials,
    #[error(transparent)]
    Web(#[from] WebFail),
    #[error("Docker Hub answered {status} when asked for {what}")]
    Refused { what: &'static str, status: StatusCode },
    #[error("Docker Hub's answer holds no token")]
    Token,
}

/// What a server's browser reads.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Limits {
    remaining: i64,
    limit: i64,
}

/// The account to ask with; `None`: anybody's limits, which are those of the address.
#[derive(Debug, PartialEq, Eq)]
struct Account(Option<(String, Secret)>);

/// Asks. `None`: Docker Hub sets no limit.
pub(super) async fn limits(body: &[u8], hub: &Hub) -> Result<Option<Limits>, HubFail> {
    let account = Account::read(body)?;
    let web = Web::new(&hub.trust, PATIENCE, ANSWER)?;
    let token = token(&web, &hub.auth, &account).await?;
    let mut request = question(Method::HEAD, &hub.registry, MANIFEST)?;
    request.headers_mut().insert(header::AUTHORIZATION, token);
    let answer = granted(web.ask(request).await?, "the limits")?;
    Ok(read(answer.headers()))
}

/// The bearer token with which the limits may be asked for.
async fn token(web: &Web, auth: &str, account: &Account) -> Result<HeaderValue, HubFail> {
    #[derive(Derived)]
    struct Granted {
        token: String,
    }
    let mut request = question(Method::GET, auth, TOKEN)?;
    if let Some((name, password)) = &account.0 {
        let basic = STANDARD.encode(format!("{name}:{}", password.reveal()));
        request.headers_mut().insert(header::AUTHORIZATION, credential(&format!("Basic {basic}"))?);
    }
    let answer = granted(web.ask(request).await?, "a token")?;
    let granted: Granted = serde_json::from_slice(answer.body()).map_err(|_| HubFail::Token)?;
    credential(&format!("Bearer {}", granted.token))
}

fn question(method: Method, base: &str, path: &str) -> Result<Request<Body>, HubFail> {
    let request = Request::builder().method(method).uri(format!("{base}{path}")).body(Body::Empty);
    Ok(request.map_err(WebFail::from)?)
}

fn credential(text: &str) -> Result<HeaderValue, HubFail> {
    let mut value = HeaderValue::from_str(text).map_err(|_| HubFail::Token)?;
    value.set_sensitive(true);
    Ok(value)
}

fn granted(answer: Response<Bytes>, what: &'static str) -> Result<Response<Bytes>, HubFail> {
    match answer.status() {
        StatusCode::OK => Ok(answer),
        status => Err(HubFail::Refused { what, status }),
    }
}

fn read(headers: &HeaderMap) -> Option<Limits> {
    // Such as `100;w=21600`, where the window is in seconds.
    let number = |name| headers.get(name)?.to_str().ok()?.split(';').next()?.trim().parse().ok();
    Some(Limits { remaining: number("ratelimit-remaining")?, limit: number("ratelimit-limit")? })
}

impl Account {
    fn read(body: &[u8]) -> Result<Self, HubFail> {
        let registry: Registry = serde_json::from_slice(body)
            .map_err(|error| HubFail::Document { line: error.line(), column: error.column() })?;
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        match (registry.authentication, given(registry.username), given(registry.password)) {
            (None | Some(false), _, _) => Ok(Self(None)),
            (Some(true), Some(name), Some(password)) => Ok(Self(Some((name, Secret::new(password))))),
            (Some(true), _, _) => Err(HubFail::Credentials),
        }
    }
}

/// What counts of a server's registry object, whose keys are matched in any letter case, as Go does it: the server
/// writes `Authentication`, its documentation `authentication`.
#[derive(Default)]
struct Registry {
    authentication: Option<bool>,
    username: Option<String>,
    password: Option<String>,
}

impl<'de> Deserialize<'de> for Registry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Keys)
    }
}

struct Keys;

impl<'de> Visitor<'de> for Keys {
    type Value = Registry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Registry, M::Error> {
        let mut registry = Registry::default();
        while let Some(key) = map.next_key::<String>()? {
            match key.to_ascii_lowercase().as_str() {
                "authentication" => registry.authentication = map.next_value()?,
                "username" => registry.username = map.next_value()?,
                "password" => registry.password = map.next_value()?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(registry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(name: &str, password: &str) -> Account {
        Account(Some((name.to_owned(), Secret::new(password))))
    }

    #[test]
    fn the_account_is_read_in_any_letter_case_from_among_other_keys() {
        let rows = [
            (r#"{}"#, Account(None)),
            (r#"{"Authentication":false,"Username":"u","Password":"p"}"#, Account(None)),
            (r#"{"Authentication":null}"#, Account(None)),
            (r#"{"authentication":true,"username":"u","password":"p"}"#, account("u", "p")),
            (
                r#"{"Id":1,"Type":6,"URL":"docker.io","Authentication":true,"Username":"u","Password":"p",
                "ManagementConfiguration":{"Username":"other"},"RegistryAccesses":[{"Password":1}]}"#,
                account("u", "p"),
            ),
            (r#"{"AUTHENTICATION":true,"uSERNAME":"ü","PASSWORD":":p:"}"#, account("ü", ":p:")),
        ];
        for (body, expected) in rows {
            assert_eq!(Account::read(body.as_bytes()).unwrap(), expected, "{body}");
        }
    }

    #[test]
    fn half_an_account_and_what_is_no_object_are_refused() {
        for body in [
            r#"{"Authentication":true}"#,
            r#"{"Authentication":true,"Username":"u"}"#,
            r#"{"Authentication":true,"Username":"u","Password":""}"#,
            r#"{"Authentication":true,"Username":null,"Password":"p"}"#,
        ] {
            assert!(matches!(Account::read(body.as_bytes()), Err(HubFail::Credentials)), "{body}");
        }
        for body in ["", "null", "[]", "1", "{", r#"{"Authentication":"true"}"#, r#"{"Username":1}"#, "{} {}"]
        {
            assert!(matches!(Account::read(body.as_bytes()), Err(HubFail::Document { .. })), "{body}");
        }
    }

    #[test]
    fn what_was_sent_is_not_repeated_where_it_is_refused() {
        for body in [
            r#"{"Authentication":"hunter2"}"#,
            r#"{"Username":"u","Password":["hunter2"],"Authentication":"hunter2"}"#,
            r#"{"Authentication":true,"Password":20391745}"#,
            r#""hunter2""#,
        ] {
            let refused = crate::model::chain(&Account::read(body.as_bytes()).unwrap_err());
            assert!(!refused.contains("hunter2") && !refused.contains("20391745"), "{refused}");
            assert!(refused.contains("line 1, column "), "{refused}");
        }
    }

    #[test]
    fn the_limits_are_the_numbers_before_the_window() {
        let rows = [
            (Some("76;w=21600"), Some("100;w=21600"), Some((76, 100))),
            (Some("76"), Some("200"), Some((76, 200))),
            (Some(" 0 ;w=1"), Some("100"), Some((0, 100))),
            (None, Some("100;w=21600"), None),
            (Some("76;w=21600"), None, None),
            (Some("many"), Some("100"), None),
            (Some(""), Some("100"), None),
            (None, None, None),
        ];
        for (remaining, limit, expected) in rows {
            let mut headers = HeaderMap::new();
            for (name, value) in [("ratelimit-remaining", remaining), ("ratelimit-limit", limit)] {
                if let Some(value) = value {
                    headers.insert(name, HeaderValue::from_static(value));
                }
            }
            let expected = expected.map(|(remaining, limit)| Limits { remaining, limit });
            assert_eq!(super::read(&headers), expected, "{remaining:?} {limit:?}");
        }
    }
}
