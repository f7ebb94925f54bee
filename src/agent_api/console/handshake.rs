//! What a browser must have sent before its request becomes a websocket (RFC 6455, 4.2).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderValue};
use hyper::upgrade::OnUpgrade;
use percent_encoding::percent_decode_str;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::Fail;
use crate::decide::table;
use crate::execute::Asked;

/// A key is 16 random bytes.
const KEY_BYTES: usize = 16;

/// A request that may become a websocket.
pub(super) struct Handshake {
    /// The answer to its key.
    pub(super) accept: HeaderValue,
    pub(super) upgrade: OnUpgrade,
}

impl Handshake {
    /// `Origin` is not looked at: no browser can make the signature that the caller has shown.
    pub(super) fn read(asked: &mut Asked) -> Result<Self, Fail> {
        let route = table::route(&asked.method, &asked.path);
        if asked.allowed_upgrade(route).is_none() {
            return Err(Fail::NoHandshake);
        }
        if asked.headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
            return Err(Fail::Version);
        }
        let key = asked.headers.get(header::SEC_WEBSOCKET_KEY).ok_or(Fail::NoHandshake)?;
        let is_key = STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == KEY_BYTES);
        let accept = HeaderValue::try_from(derive_accept_key(key.as_bytes()));
        match (accept, asked.upgrade.take()) {
            (Ok(accept), Some(upgrade)) if is_key => Ok(Self { accept, upgrade }),
            _ => Err(Fail::NoHandshake),
        }
    }
}

/// The query's `id`: that of an exec instance or a container. Whatever else is in the query is the server's business.
pub(super) fn id(query: &str) -> Option<String> {
    let mut pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let (_, id) = pairs.find(|(name, _)| *name == "id")?;
    let id = percent_decode_str(id).decode_utf8().ok()?;
    let is_id = !id.is_empty() && id.bytes().all(|b| b.is_ascii_hexdigit());
    is_id.then(|| id.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_hexadecimal_digits_and_nothing_else() {
        let rows = [
            ("id=0aF9", Some("0aF9")),
            ("endpointId=2&id=ab&nodeName=n2", Some("ab")),
            ("id=%61b", Some("ab")),
            ("id=ab&id=../x", Some("ab")),
            ("", None),
            ("id", None),
            ("id=", None),
            ("id=xyz", None),
            ("id=ab%2F..%2Fcd", None),
            ("id=ab/start", None),
            ("id=a+b", None),
            ("id=%ff", None),
            ("id=%00", None),
            ("ID=ab", None),
            ("xid=ab", None),
        ];
        for (query, expected) in rows {
            assert_eq!(id(query).as_deref(), expected, "{query}");
        }
    }
}
