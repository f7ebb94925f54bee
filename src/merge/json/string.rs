//! What is inside a JSON string: where plain text ends, and what the text is.

use std::borrow::Cow;

/// Reads a raw JSON string. Anything else is empty; half a surrogate pair has no text, so it stays raw.
pub(crate) fn text(raw: &[u8]) -> Cow<'_, str> {
    let Some(inside) = raw.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")) else {
        return Cow::Borrowed("");
    };
    if memchr::memchr(b'\\', inside).is_some()
        && let Ok(text) = serde_json::from_slice::<String>(raw)
    {
        return Cow::Owned(text);
    }
    String::from_utf8_lossy(inside)
}

/// Where the first byte is that a string cannot contain as it is: a quote, a backslash, a control character.
#[inline]
pub(super) fn end_of_plain(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(eight) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let marks = marks(u64::from_le_bytes(*eight));
        if marks != 0 {
            return at + (marks.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let plain = |byte: &u8| *byte >= 0x20 && *byte != b'"' && *byte != b'\\';
    at + bytes.get(at..).unwrap_or_default().iter().take_while(|byte| plain(byte)).count()
}

/// Sets the high bit of bytes that end plain text. Only the lowest mark counts: a borrow may set others above it.
#[inline]
fn marks(eight: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let quote = eight ^ (ONES * b'"' as u64);
    let backslash = eight ^ (ONES * b'\\' as u64);
    let control = eight.wrapping_sub(ONES * 0x20) & !eight;
    (quote.wrapping_sub(ONES) & !quote | backslash.wrapping_sub(ONES) & !backslash | control) & HIGH
}
