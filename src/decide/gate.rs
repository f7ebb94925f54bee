//! The gate that every request passes before anything looks at what it asks for: whatever two parsers could read in
//! two ways is refused.
//!
//! The head comes from an HTTP/1.1 parser. What that one refuses or resolves cannot be seen here any more: it refuses
//! malformed lines and two lengths that differ; it cuts a fragment off the target; of a length beside `chunked` it
//! drops the length, reads the chunks, and ends the connection with that request. Whoever is asked further reads one
//! target and one framing.

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, HeaderName, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, Method, Uri, Version};

use super::facts::{Asked, BadHeader};
use crate::model::api_path::{ApiPath, BadPath};

/// Headers that say who asks, of which node, or how the message is read: one of each, or none.
const SINGLE: [HeaderName; 8] = [
    CONTENT_LENGTH,
    CONTENT_TYPE,
    AUTHORIZATION,
    UPGRADE,
    EXPECT,
    SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION,
    TRANSFER_ENCODING,
];

/// The same for whole families of names.
const SINGLE_PREFIXES: [&str; 2] = ["x-node", "x-portaineragent-"];

/// The rule that a request breaks: what is wrong with it, and what to send instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GateError {
    #[error("only HTTP/1.1 is spoken here")]
    Version,
    #[error("exactly one Host header with a value is required")]
    Host,
    #[error("this method is not served; use GET, HEAD, POST, PUT or DELETE")]
    Method,
    #[error("the request target must be a path; send '/containers/json', not a whole URL")]
    Form,
    #[error(transparent)]
    Path(#[from] BadPath),
    #[error("Transfer-Encoding may only be 'chunked', once")]
    TransferEncoding,
    #[error("the header '{0}' may be sent only once")]
    Duplicate(HeaderName),
    #[error("the header '{0}' must be written with '-' instead of '_'")]
    Folded(HeaderName),
    #[error("Connection may only list 'close', 'keep-alive' and 'upgrade'")]
    Connection,
    #[error(transparent)]
    Asked(#[from] BadHeader),
}

/// Lets a head through, and reads its path.
pub fn gate(head: &Parts) -> Result<ApiPath, GateError> {
    if head.version != Version::HTTP_11 {
        return Err(GateError::Version);
    }
    one_host(&head.headers)?;
    if ![Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE].contains(&head.method) {
        return Err(GateError::Method);
    }
    origin_form(&head.uri)?;
    plain_framing(&head.headers)?;
    no_doubles(&head.headers)?;
    plain_connection(&head.headers)?;
    Asked::read(&head.headers)?;
    Ok(ApiPath::parse(head.uri.path())?)
}

fn one_host(headers: &HeaderMap) -> Result<(), GateError> {
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if !host.as_bytes().trim_ascii().is_empty() => Ok(()),
        _ => Err(GateError::Host),
    }
}

fn origin_form(uri: &Uri) -> Result<(), GateError> {
    let is_path = uri.scheme().is_none() && uri.authority().is_none() && uri.path().starts_with('/');
    if is_path { Ok(()) } else { Err(GateError::Form) }
}

fn plain_framing(headers: &HeaderMap) -> Result<(), GateError> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(one), None) if one.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") => Ok(()),
        _ => Err(GateError::TransferEncoding),
    }
}

/// Two headers of one name, or a name that a gateway folds onto another, are read in two ways by two readers.
fn no_doubles(headers: &HeaderMap) -> Result<(), GateError> {
    for name in headers.keys() {
        if name.as_str().contains('_') {
            let folded = name.as_str().replace('_', "-");
            if is_single(&folded) {
                return Err(GateError::Folded(name.clone()));
            }
        } else if is_single(name.as_str()) && headers.get_all(name).iter().nth(1).is_some() {
            return Err(GateError::Duplicate(name.clone()));
        }
    }
    Ok(())
}

fn is_single(name: &str) -> bool {
    SINGLE_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || SINGLE.iter().any(|one| one.as_str() == name)
}

/// A header that `Connection` lists would be dropped on the way, be it the one that authenticates.
fn plain_connection(headers: &HeaderMap) -> Result<(), GateError> {
    let options = headers.get_all(CONNECTION).iter().flat_map(|value| value.as_bytes().split(|b| *b == b','));
    for option in options.map(<[u8]>::trim_ascii).filter(|option| !option.is_empty()) {
        let known: [&[u8]; 3] = [b"close", b"keep-alive", b"upgrade"];
        if !known.iter().any(|k| option.eq_ignore_ascii_case(k)) {
            return Err(GateError::Connection);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Request};

    use super::*;

    fn head(method: &str, target: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request").into_parts().0
    }

    fn pass(method: &str, target: &str, headers: &[(&str, &str)]) -> Result<String, GateError> {
        let mut head = head(method, target, headers);
        head.headers.append(HOST, HeaderValue::from_static("node1:9001"));
        gate(&head).map(|path| path.canonical())
    }

    #[test]
    fn an_ordinary_request_passes() {
        let headers = [
            ("Connection", "Upgrade"),
            ("Upgrade", "tcp"),
            ("Content-Type", "application/json"),
            ("Content-Length", "29"),
            ("X-PortainerAgent-Signature", "s"),
            ("X-PortainerAgent-PublicKey", "k"),
            ("X-PortainerAgent-SA-Token", ""),
            ("X-PortainerAgent-Target", "node2"),
            ("X-Registry_Auth", "folds onto nothing that is guarded"),
            ("X-Docker-Expose-Session-Grpc-Method", "one"),
            ("X-Docker-Expose-Session-Grpc-Method", "two"),
        ];
        let passed = pass("POST", "/v1.41/exec/a%2Fb/start?h=1", &headers);
        assert_eq!(passed.as_deref(), Ok("/v1.41/exec/a/b/start"));
    }

    #[test]
    fn g1_only_http_1_1() {
        for version in [Version::HTTP_09, Version::HTTP_10, Version::HTTP_2, Version::HTTP_3] {
            let mut head = head("GET", "/info", &[("Host", "a")]);
            head.version = version;
            assert_eq!(gate(&head), Err(GateError::Version), "{version:?}");
        }
    }

    #[test]
    fn g2_exactly_one_host() {
        let hosts: [&[_]; 4] = [&[], &[("Host", "")], &[("Host", " ")], &[("Host", "a"), ("Host", "a")]];
        for hosts in hosts {
            assert_eq!(gate(&head("GET", "/info", hosts)), Err(GateError::Host), "{hosts:?}");
        }
    }

    #[test]
    fn g3_only_the_methods_of_the_engine_api() {
        for method in ["OPTIONS", "TRACE", "CONNECT", "PATCH", "get", "PROPFIND"] {
            assert_eq!(pass(method, "/info", &[]), Err(GateError::Method), "{method}");
        }
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE"] {
            assert!(pass(method, "/info", &[]).is_ok(), "{method}");
        }
    }

    #[test]
    fn g4_the_target_is_a_path() {
        for target in ["http://evil/info", "evil:80", "*"] {
            assert_eq!(pass("GET", target, &[]), Err(GateError::Form), "{target}");
        }
    }

    #[test]
    fn g5_the_path_has_one_reading() {
        let rows = [
            ("//containers/json", BadPath::EmptySegment),
            ("/images/%2e%2e/json", BadPath::DotSegment),
            ("/volumes/a%00", BadPath::Control),
            ("/volumes/a%5c", BadPath::Backslash),
            ("/volumes/a%zz", BadPath::Escape),
            ("/volumes/%ff", BadPath::NotUtf8),
        ];
        for (target, problem) in rows {
            assert_eq!(pass("GET", target, &[]), Err(GateError::Path(problem)), "{target}");
        }
    }

    #[test]
    fn g6_chunked_is_the_only_coding() {
        let refused: [&[_]; 4] = [
            &[("Transfer-Encoding", "gzip, chunked")],
            &[("Transfer-Encoding", "identity")],
            &[("Transfer-Encoding", "")],
            &[("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "chunked")],
        ];
        for headers in refused {
            assert_eq!(pass("POST", "/build", headers), Err(GateError::TransferEncoding), "{headers:?}");
        }
        assert!(pass("POST", "/build", &[("Transfer-Encoding", "Chunked")]).is_ok());
    }

    #[test]
    fn g7_no_guarded_header_comes_twice() {
        let names = [
            "content-length",
            "content-type",
            "authorization",
            "upgrade",
            "expect",
            "sec-websocket-key",
            "sec-websocket-version",
            "x-node",
            "x-node-strict",
            "x-node-anything",
            "x-portaineragent-signature",
            "x-portaineragent-anything",
        ];
        for name in names {
            let duplicate = GateError::Duplicate(HeaderName::from_static(name));
            assert_eq!(pass("GET", "/info", &[(name, "1"), (name, "1")]), Err(duplicate));
        }
    }

    #[test]
    fn g7_no_name_folds_onto_a_guarded_one() {
        for name in [
            "x_node",
            "content_length",
            "x-portaineragent_signature",
            "x_portaineragent-x",
            "transfer_encoding",
            "ho_st_",
        ] {
            let folded = GateError::Folded(HeaderName::from_static(name));
            let expected = if name == "ho_st_" { Ok("/info".to_owned()) } else { Err(folded) };
            assert_eq!(pass("GET", "/info", &[(name, "1")]), expected);
        }
    }

    #[test]
    fn g8_connection_lists_no_other_header() {
        let refused: [&[_]; 4] = [
            &[("Connection", "close, X-PortainerAgent-Signature")],
            &[("Connection", "authorization")],
            &[("Connection", "keep-alive"), ("Connection", "te")],
            &[("Connection", "upgrade; x")],
        ];
        for headers in refused {
            assert_eq!(pass("GET", "/info", headers), Err(GateError::Connection), "{headers:?}");
        }
        assert!(pass("GET", "/info", &[("Connection", "Keep-Alive, , Upgrade,close")]).is_ok());
    }

    #[test]
    fn g15_a_node_is_named_by_a_name() {
        let value = BadHeader::Value { name: HeaderName::from_static("x-node-strict"), only: "1" };
        let rows = [
            ("x-node", "", BadHeader::NodeEmpty),
            ("x-node", "https://10.0.0.1/", BadHeader::NodeName),
            ("x-node", "*", BadHeader::EveryNode),
            ("x-node-strict", "yes", value),
        ];
        for (name, text, problem) in rows {
            assert_eq!(pass("GET", "/info", &[(name, text)]), Err(GateError::Asked(problem)), "{text:?}");
        }
    }
}
