//! What a client already has of a file, and which part of it it wants: RFC 9110, sections 13 and 14. Pure.

use std::ops::Range;
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::{
    HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE,
};

/// What the conditions are about.
#[derive(Clone, Debug)]
pub(super) struct Version {
    pub(super) len: u64,
    /// In whole seconds, as the headers have it.
    pub(super) modified: SystemTime,
    /// A strong entity tag, with its quotes.
    pub(super) tag: String,
}

/// What is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Whole,
    Part(Range<u64>),
    /// The client has it already.
    Unchanged,
    /// It is not what the client takes it for.
    Failed,
    /// There is no such part.
    Unsatisfiable,
}

/// Whole seconds; what is before 1970 has no date in a header.
pub(super) fn seconds(time: SystemTime) -> SystemTime {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs())
}

/// Decides in the order of section 13.2.2.
pub(super) fn judge(headers: &HeaderMap, version: &Version) -> Verdict {
    let stands = match matches(headers, IF_MATCH, &version.tag) {
        Some(matched) => matched,
        None => date(headers, IF_UNMODIFIED_SINCE).is_none_or(|date| version.modified <= date),
    };
    if !stands {
        return Verdict::Failed;
    }
    let known = match matches(headers, IF_NONE_MATCH, &version.tag) {
        Some(matched) => matched,
        None => date(headers, IF_MODIFIED_SINCE).is_some_and(|date| version.modified <= date),
    };
    if known {
        return Verdict::Unchanged;
    }
    match single(headers, RANGE) {
        Some(wanted) if is_same(headers, version) => part(wanted, version.len),
        _ => Verdict::Whole,
    }
}

/// Whether one of the listed tags is this one. `None`: there is no such header.
fn matches(headers: &HeaderMap, name: HeaderName, tag: &str) -> Option<bool> {
    let mut listed = headers.get_all(name).iter().peekable();
    listed.peek()?;
    let tags = listed.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    Some(tags.map(str::trim).any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag))
}

/// Whether the part that is wanted belongs to this version: a part of another one would spoil what the client has.
fn is_same(headers: &HeaderMap, version: &Version) -> bool {
    let asked = headers.get(IF_RANGE).is_some();
    let same =
        |text| text == version.tag || httpdate::parse_http_date(text).is_ok_and(|d| d == version.modified);
    !asked || single(headers, IF_RANGE).is_some_and(same)
}

fn date(headers: &HeaderMap, name: HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(single(headers, name)?).ok()
}

fn single(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let (first, second) = (values.next()?, values.next());
    first.to_str().ok().filter(|_| second.is_none()).map(str::trim)
}

/// One range of bytes. What is none, or several, is answered with the whole, as the standard allows.
fn part(wanted: &str, len: u64) -> Verdict {
    let Some((unit, range)) = wanted.split_once('=') else { return Verdict::Whole };
    let Some((first, last)) = range.trim().split_once('-') else { return Verdict::Whole };
    if !unit.eq_ignore_ascii_case("bytes") {
        return Verdict::Whole;
    }
    let range = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(len),
        (Some(first), None) if last.is_empty() => first..len,
        (None, Some(count)) if first.is_empty() => len.saturating_sub(count)..len,
        _ => return Verdict::Whole,
    };
    if range.is_empty() { Verdict::Unsatisfiable } else { Verdict::Part(range) }
}

/// Digits; more than fit are as good as the greatest number.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn judged(lines: &[(&'static str, &str)], len: u64) -> Verdict {
        let modified = httpdate::parse_http_date(DATE).expect("a date");
        let version = Version { len, modified, tag: "\"t\"".into() };
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().expect("a value"));
        }
        judge(&headers, &version)
    }

    #[test]
    fn one_range_is_cut_to_the_file() {
        use Verdict::{Part, Unsatisfiable, Whole};
        let rows = [
            ("bytes=0-3", 10, Part(0..4)),
            ("bytes=0-0", 10, Part(0..1)),
            ("bytes=9-9", 10, Part(9..10)),
            ("bytes=2-", 10, Part(2..10)),
            ("bytes=2-99", 10, Part(2..10)),
            ("bytes=0-18446744073709551615", 10, Part(0..10)),
            ("bytes=0-99999999999999999999", 10, Part(0..10)),
            ("bytes=-3", 10, Part(7..10)),
            ("bytes=-10", 10, Part(0..10)),
            ("bytes=-99", 10, Part(0..10)),
            ("Bytes=0-3", 10, Part(0..4)),
            ("bytes=10-", 10, Unsatisfiable),
            ("bytes=10-11", 10, Unsatisfiable),
            ("bytes=99999999999999999999-", 10, Unsatisfiable),
            ("bytes=-0", 10, Unsatisfiable),
            ("bytes=0-", 0, Unsatisfiable),
            ("bytes=-1", 0, Unsatisfiable),
            ("bytes=3-2", 10, Whole),
            ("bytes=0-1,4-5", 10, Whole),
            ("bytes=-", 10, Whole),
            ("bytes=", 10, Whole),
            ("bytes", 10, Whole),
            ("bytes=a-b", 10, Whole),
            ("bytes=+1-2", 10, Whole),
            ("bytes=1 -2", 10, Whole),
            ("lines=0-3", 10, Whole),
        ];
        for (range, len, expected) in rows {
            assert_eq!(judged(&[("range", range)], len), expected, "{range} of {len}");
        }
        assert_eq!(judged(&[("range", "bytes=0-1"), ("range", "bytes=0-1")], 10), Whole);
    }

    #[test]
    fn conditions_come_in_their_order() {
        use Verdict::{Failed, Part, Unchanged, Whole};
        let rows: &[(&[(&'static str, &str)], Verdict)] = &[
            (&[], Whole),
            (&[("if-modified-since", BEFORE)], Whole),
            (&[("if-modified-since", DATE)], Unchanged),
            (&[("if-modified-since", AFTER)], Unchanged),
            (&[("if-modified-since", "yesterday")], Whole),
            (&[("if-unmodified-since", BEFORE)], Failed),
            (&[("if-unmodified-since", DATE)], Whole),
            (&[("if-unmodified-since", "yesterday")], Whole),
            (&[("if-none-match", "\"t\"")], Unchanged),
            (&[("if-none-match", "\"a\", W/\"t\"")], Unchanged),
            (&[("if-none-match", "*")], Unchanged),
            (&[("if-none-match", "\"a\""), ("if-modified-since", AFTER)], Whole),
            (&[("if-match", "\"a\"")], Failed),
            (&[("if-match", "\"a\""), ("if-unmodified-since", AFTER)], Failed),
            (&[("if-match", "\"t\""), ("if-unmodified-since", BEFORE)], Whole),
            (&[("if-match", "*")], Whole),
            (&[("if-match", "\"t\""), ("if-none-match", "\"t\"")], Unchanged),
            (&[("range", "bytes=0-0"), ("if-modified-since", DATE)], Unchanged),
            (&[("range", "bytes=0-0"), ("if-range", "\"t\"")], Part(0..1)),
            (&[("range", "bytes=0-0"), ("if-range", "W/\"t\"")], Whole),
            (&[("range", "bytes=0-0"), ("if-range", "\"a\"")], Whole),
            (&[("range", "bytes=0-0"), ("if-range", DATE)], Part(0..1)),
            (&[("range", "bytes=0-0"), ("if-range", AFTER)], Whole),
            (&[("range", "bytes=99-"), ("if-range", "\"a\"")], Whole),
        ];
        for (headers, expected) in rows {
            assert_eq!(judged(headers, 10), *expected, "{headers:?}");
        }
    }
}
