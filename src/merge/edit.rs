//! One checked object in, the same object with some members replaced out. All other bytes stay.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;

use super::json::Cursor;

/// New raw values for top-level keys.
pub(super) type Changes = Vec<(&'static str, Bytes)>;

/// A member of an object, by its places in it.
pub(super) struct Member<'a> {
    key: Cow<'a, [u8]>,
    /// From behind the delimiter before it to the delimiter after it, white space included.
    whole: Range<usize>,
    value: Range<usize>,
}

/// The members of a checked object. Of anything else: none.
pub(super) fn members(object: &[u8]) -> Vec<Member<'_>> {
    let mut found: Vec<Member<'_>> = Vec::new();
    let Ok(mut cursor) = Cursor::new(object) else { return found };
    let read = cursor.object(|cursor, key| {
        let value = cursor.value()?.range();
        let space = object.get(value.end..).unwrap_or_default();
        let space = space.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let start = found.last().map_or(1, |before| before.whole.end + 1);
        found.push(Member { key: key.clone(), whole: start..value.end + space, value });
        Ok(())
    });
    if read.is_err() {
        found.clear();
    }
    found
}

/// The raw value of a key; of the last one if it repeats.
pub(super) fn value<'a>(object: &'a [u8], members: &[Member<'_>], key: &str) -> Option<&'a [u8]> {
    let member = members.iter().rfind(|member| *member.key == *key.as_bytes())?;
    object.get(member.value.clone())
}

/// Writes an object anew: `front` comes first and takes the place of the member with its key, values in `changes`
/// replace the old ones or come last. `front` is a key and a raw member.
pub(super) fn rewrite(object: &Bytes, front: Option<&(&str, Bytes)>, changes: &Changes) -> Vec<Bytes> {
    let members = members(object);
    let mut out = vec![Bytes::from_static(b"{")];
    let mut delimiter = Bytes::new();
    let mut delimit = |out: &mut Vec<Bytes>| {
        out.push(std::mem::replace(&mut delimiter, Bytes::from_static(b",")));
    };
    if let Some((_, member)) = front {
        delimit(&mut out);
        out.push(member.clone());
    }
    for member in &members {
        if front.is_some_and(|(key, _)| *member.key == *key.as_bytes()) {
            continue;
        }
        delimit(&mut out);
        match changes.iter().find(|(key, _)| *member.key == *key.as_bytes()) {
            Some((_, new)) => out.extend([
                object.slice(member.whole.start..member.value.start),
                new.clone(),
                object.slice(member.value.end..member.whole.end),
            ]),
            None => out.push(object.slice(member.whole.clone())),
        }
    }
    for (key, new) in changes {
        if !members.iter().any(|member| *member.key == *key.as_bytes()) {
            delimit(&mut out);
            out.extend([Bytes::from(format!("\"{key}\":")), new.clone()]);
        }
    }
    // What is after the last member: the end, and after it what the document had after its end.
    let end = members.last().map_or(1, |last| last.whole.end);
    out.push(object.slice(end..));
    out.retain(|bytes| !bytes.is_empty());
    out
}
