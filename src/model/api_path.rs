//! The path of a request: decoded once, matched as decoded, sent on in one canonical encoding.
//!
//! What is matched is what is sent, so that no engine or peer can read a path differently than we did. An engine
//! matches on the decoded path too (`%2F` in a name is a slash to it). The query is not ours: it passes byte for byte.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::node::ApiVersion;

/// RFC 3986 `pchar` and `/`: everything else is written as `%XX`.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@')
    .remove(b'/');

/// A path that is safe to match and to send on.
///
/// Invariants: absolute, valid UTF-8, without control bytes, backslashes, empty or dot segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiPath {
    /// The whole path, decoded.
    whole: String,
    /// The one Docker API version that leads it, and where the path goes on behind it (0 without a version).
    version: Option<ApiVersion>,
    rest: usize,
}

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    #[error("the path must begin with '/'")]
    NotAbsolute,
    #[error("the path has a '%' that is not followed by two hex digits; write a literal '%' as %25")]
    Escape,
    #[error("the path does not decode to UTF-8")]
    NotUtf8,
    #[error("the path contains a control byte")]
    Control,
    #[error("the path contains a backslash")]
    Backslash,
    #[error("the path contains an empty segment; write one '/' instead of '//'")]
    EmptySegment,
    #[error("the path contains a '.' or '..' segment; send the path it stands for")]
    DotSegment,
}

impl ApiPath {
    /// Reads the path of a request target as it came, without the query.
    pub fn parse(raw_path: &str) -> Result<Self, BadPath> {
        let whole = decode(raw_path)?;
        refuse_unsafe(&whole)?;
        let (version, rest) = match leading_version(&whole) {
            Some((version, rest)) => (Some(version), rest),
            None => (None, 0),
        };
        Ok(Self { whole, version, rest })
    }

    /// The one leading `/v<digits>.<digits>`.
    pub fn version(&self) -> Option<ApiVersion> {
        self.version
    }

    /// Whether the path leads with what an engine takes for a version but is none that we can compare, such as
    /// `/v1.2.3/info` or a bare `/v1.41`. It goes on untouched, and the engine says what is wrong with it.
    pub fn is_versioned_oddly(&self) -> bool {
        let first = self.whole.split('/').nth(1).unwrap_or_default();
        self.version.is_none() && is_engine_version(first)
    }

    /// The decoded path behind the version; begins with `/`.
    pub fn decoded(&self) -> &str {
        self.whole.get(self.rest..).unwrap_or_default()
    }

    /// The path to send on, with the version as it came.
    pub fn canonical(&self) -> String {
        utf8_percent_encode(&self.whole, ENCODED).to_string()
    }

    /// The path to send on under another version, or under one where it had none.
    pub fn with_version(&self, version: ApiVersion) -> String {
        format!("/v{version}{}", utf8_percent_encode(self.decoded(), ENCODED))
    }
}

fn decode(raw: &str) -> Result<String, BadPath> {
    let mut bytes = raw.bytes();
    let mut decoded = Vec::with_capacity(raw.len());
    while let Some(byte) = bytes.next() {
        decoded.push(if byte == b'%' {
            let high = hex_digit(bytes.next())?;
            high << 4 | hex_digit(bytes.next())?
        } else {
            byte
        });
    }
    String::from_utf8(decoded).map_err(|_| BadPath::NotUtf8)
}

fn hex_digit(byte: Option<u8>) -> Result<u8, BadPath> {
    match byte {
        Some(b @ b'0'..=b'9') => Ok(b - b'0'),
        Some(b @ b'a'..=b'f') => Ok(b - b'a' + 10),
        Some(b @ b'A'..=b'F') => Ok(b - b'A' + 10),
        _ => Err(BadPath::Escape),
    }
}

fn refuse_unsafe(path: &str) -> Result<(), BadPath> {
    let Some(relative) = path.strip_prefix('/') else { return Err(BadPath::NotAbsolute) };
    if path.bytes().any(|b| b.is_ascii_control()) {
        return Err(BadPath::Control);
    }
    if path.contains('\\') {
        return Err(BadPath::Backslash);
    }
    // One slash at the very end is a spelling that engines know (`/networks/`).
    if path.contains("//") {
        return Err(BadPath::EmptySegment);
    }
    if relative.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err(BadPath::DotSegment);
    }
    Ok(())
}

/// The leading version, and where the path goes on behind it. A version without a path behind it is none.
fn leading_version(path: &str) -> Option<(ApiVersion, usize)> {
    let (text, _) = path.strip_prefix("/v")?.split_once('/')?;
    Some((ApiVersion::parse(text)?, "/v".len() + text.len()))
}

/// An engine's own grammar of a version segment: `v[0-9.]+`.
fn is_engine_version(segment: &str) -> bool {
    let number = segment.strip_prefix('v').unwrap_or_default();
    !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_matched_is_what_is_sent() {
        let rows = [
            // as it came, decoded without version, canonical
            ("/", "/", "/"),
            ("/info", "/info", "/info"),
            ("/v1.41/info", "/info", "/v1.41/info"),
            ("/v1%2E41/info", "/info", "/v1.41/info"),
            ("/v1.041/info", "/info", "/v1.041/info"),
            ("/v1.41/", "/", "/v1.41/"),
            ("/v1.41/v1.41/info", "/v1.41/info", "/v1.41/v1.41/info"),
            ("/images/a%2Fb/json", "/images/a/b/json", "/images/a/b/json"),
            ("/%63ontainers/json", "/containers/json", "/containers/json"),
            ("/images/reg/x/v1.2/json", "/images/reg/x/v1.2/json", "/images/reg/x/v1.2/json"),
            ("/images/a:b@sha256:c/json", "/images/a:b@sha256:c/json", "/images/a:b@sha256:c/json"),
            ("/volumes/a b%20c", "/volumes/a b c", "/volumes/a%20b%20c"),
            ("/volumes/%2541", "/volumes/%41", "/volumes/%2541"),
            ("/volumes/a%3Fb%23c", "/volumes/a?b#c", "/volumes/a%3Fb%23c"),
            ("/volumes/{a}\"", "/volumes/{a}\"", "/volumes/%7Ba%7D%22"),
            ("/volumes/ü", "/volumes/ü", "/volumes/%C3%BC"),
            ("/volumes/%c3%bc", "/volumes/ü", "/volumes/%C3%BC"),
            ("/networks/", "/networks/", "/networks/"),
            ("/volumes/...", "/volumes/...", "/volumes/..."),
        ];
        for (raw, decoded, canonical) in rows {
            let path = ApiPath::parse(raw).expect(raw);
            assert_eq!((path.decoded(), &*path.canonical()), (decoded, canonical), "{raw}");
        }
    }

    #[test]
    fn one_leading_version_is_read_and_can_be_replaced() {
        let v = |major, minor| Some(ApiVersion { major, minor });
        let rows = [
            ("/v1.41/info", v(1, 41), false, "/v1.55/info"),
            ("/info", None, false, "/v1.55/info"),
            ("/v1.41/v1.30/info", v(1, 41), false, "/v1.55/v1.30/info"),
            ("/v1.2.3/info", None, true, "/v1.55/v1.2.3/info"),
            ("/v1/info", None, true, "/v1.55/v1/info"),
            ("/v1.41", None, true, "/v1.55/v1.41"),
            ("/v99999.1/info", None, true, "/v1.55/v99999.1/info"),
            ("/vfoo/info", None, false, "/v1.55/vfoo/info"),
            ("/V1.41/info", None, false, "/v1.55/V1.41/info"),
            ("/v/info", None, false, "/v1.55/v/info"),
            ("/v.41/info", None, true, "/v1.55/v.41/info"),
        ];
        for (raw, version, odd, replaced) in rows {
            let path = ApiPath::parse(raw).expect(raw);
            assert_eq!((path.version(), path.is_versioned_oddly()), (version, odd), "{raw}");
            assert_eq!(path.with_version(ApiVersion { major: 1, minor: 55 }), replaced, "{raw}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let rows = [
            ("", BadPath::NotAbsolute),
            ("*", BadPath::NotAbsolute),
            ("info", BadPath::NotAbsolute),
            ("/a%", BadPath::Escape),
            ("/a%2", BadPath::Escape),
            ("/a%g0", BadPath::Escape),
            ("/a%+1", BadPath::Escape),
            ("/a%ff", BadPath::NotUtf8),
            ("/a%c3/b", BadPath::NotUtf8),
            ("/a%00", BadPath::Control),
            ("/a%0d%0a", BadPath::Control),
            ("/a\tb", BadPath::Control),
            ("/a%7f", BadPath::Control),
            ("/a\\b", BadPath::Backslash),
            ("/a%5Cb", BadPath::Backslash),
            ("//info", BadPath::EmptySegment),
            ("/v1.41//info", BadPath::EmptySegment),
            ("/images/http:%2F%2Fx/json", BadPath::EmptySegment),
            ("/networks//", BadPath::EmptySegment),
            ("/./info", BadPath::DotSegment),
            ("/images/../info", BadPath::DotSegment),
            ("/images/%2e%2e/info", BadPath::DotSegment),
            ("/images/..%2finfo", BadPath::DotSegment),
            ("/info/.", BadPath::DotSegment),
            ("/..", BadPath::DotSegment),
        ];
        for (raw, problem) in rows {
            assert_eq!(ApiPath::parse(raw), Err(problem), "{raw}");
        }
    }

    proptest! {
        #[test]
        fn parsing_is_total_and_the_canonical_form_stays_what_it_is(raw in "/?([a-z0-9.%/\\\\ü ]|%[0-9a-f]{2}|/v1\\.41){0,12}") {
            if let Ok(path) = ApiPath::parse(&raw) {
                let sent = path.canonical();
                prop_assert!(sent.is_ascii());
                prop_assert_eq!(ApiPath::parse(&sent), Ok(path.clone()));
                prop_assert!(path.decoded().starts_with('/'));
            }
        }
    }
}
