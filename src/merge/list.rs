//! One answer's bytes in, its elements' places out, with what ordering and collapsing need of them.

use super::json::{Cursor, Span};
use super::{Kind, Malformed};

/// 200,000: a hundred times what one engine is known to hold, and 16 MiB of places at most.
const ELEMENTS: usize = 200_000;

/// One element of a list. A span is empty where the key is absent or has another type.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Element {
    pub(super) at: Span,
    /// Unix seconds; 0 where the engine gives none.
    pub(super) created: i64,
    pub(super) id: Span,
    pub(super) name: Span,
    pub(super) scope: Span,
    pub(super) driver: Span,
    /// The ID of a Swarm volume.
    pub(super) cluster: Span,
    /// Whether it already says which node it is from.
    pub(super) decorated: bool,
    pub(super) is_empty: bool,
}

/// Reads a whole answer: its elements, and its warnings where the shape has them.
pub(super) fn read(kind: &Kind, bytes: &[u8]) -> Result<(Vec<Element>, Vec<Span>), Malformed> {
    let mut cursor = Cursor::new(bytes)?;
    let found = match kind {
        Kind::Containers | Kind::Images | Kind::Networks => (elements(&mut cursor, bytes)?, Vec::new()),
        Kind::Volumes => volumes(&mut cursor, bytes)?,
        Kind::Info { .. } => (Vec::new(), info(&mut cursor)?),
    };
    cursor.finish()?;
    Ok(found)
}

fn volumes(cursor: &mut Cursor<'_>, bytes: &[u8]) -> Result<(Vec<Element>, Vec<Span>), Malformed> {
    let (mut list, mut warned) = (None, Vec::new());
    cursor.object(|cursor, key| {
        match key.as_ref() {
            b"Volumes" => list = Some(elements(cursor, bytes)?),
            b"Warnings" => warned = warnings(cursor)?,
            _ => cursor.value().map(|_| ())?,
        }
        Ok(())
    })?;
    match list {
        Some(list) => Ok((list, warned)),
        None => cursor.fault("no Volumes"),
    }
}

fn info(cursor: &mut Cursor<'_>) -> Result<Vec<Span>, Malformed> {
    let (mut is_info, mut warned) = (false, Vec::new());
    cursor.object(|cursor, key| {
        match key.as_ref() {
            b"Warnings" => warned = warnings(cursor)?,
            key => {
                is_info |= key == b"Containers";
                cursor.value()?;
            }
        }
        Ok(())
    })?;
    if is_info { Ok(warned) } else { cursor.fault("no Containers") }
}

fn warnings(cursor: &mut Cursor<'_>) -> Result<Vec<Span>, Malformed> {
    let mut found = Vec::new();
    if cursor.null()? {
        return Ok(found);
    }
    cursor.array(|cursor| {
        if cursor.peek() != b'"' || found.len() == ELEMENTS {
            return cursor.fault("expected a warning");
        }
        found.push(cursor.value()?);
        Ok(())
    })?;
    Ok(found)
}

fn elements(cursor: &mut Cursor<'_>, bytes: &[u8]) -> Result<Vec<Element>, Malformed> {
    let mut found = Vec::new();
    if cursor.null()? {
        return Ok(found);
    }
    cursor.array(|cursor| {
        if found.len() == ELEMENTS {
            return cursor.fault("too many elements");
        }
        found.push(element(cursor, bytes)?);
        Ok(())
    })?;
    Ok(found)
}

fn element(cursor: &mut Cursor<'_>, bytes: &[u8]) -> Result<Element, Malformed> {
    let mut found = Element { is_empty: true, ..Element::default() };
    found.at = cursor.object(|cursor, key| {
        found.is_empty = false;
        match key.as_ref() {
            b"Created" => found.created = seconds(cursor.value()?.of(bytes)),
            b"Id" => found.id = string(cursor)?,
            b"Name" => found.name = string(cursor)?,
            b"Scope" => found.scope = string(cursor)?,
            b"Driver" => found.driver = string(cursor)?,
            b"ClusterVolume" => found.cluster = cluster_volume(cursor)?,
            key => {
                found.decorated |= key == b"Portainer";
                cursor.value()?;
            }
        }
        Ok(())
    })?;
    Ok(found)
}

fn string(cursor: &mut Cursor<'_>) -> Result<Span, Malformed> {
    let is_string = cursor.peek() == b'"';
    let span = cursor.value()?;
    Ok(if is_string { span } else { Span::default() })
}

fn cluster_volume(cursor: &mut Cursor<'_>) -> Result<Span, Malformed> {
    let mut id = Span::default();
    if cursor.peek() != b'{' {
        cursor.value()?;
        return Ok(id);
    }
    cursor.object(|cursor, key| {
        match key.as_ref() {
            b"ID" => id = string(cursor)?,
            _ => cursor.value().map(|_| ())?,
        }
        Ok(())
    })?;
    Ok(id)
}

/// Reads a whole number in any of JSON's spellings; other values are 0.
pub(super) fn seconds(raw: &[u8]) -> i64 {
    integer(raw).unwrap_or_default()
}

/// Reads a number. A fraction is cut off, what does not fit becomes the nearest that does.
pub(super) fn integer(raw: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(raw).ok()?;
    if !text.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
        return None;
    }
    // `as` saturates, which is what is wanted of 1e400.
    text.parse().ok().or_else(|| text.parse::<f64>().ok().map(|number| number as i64))
}
