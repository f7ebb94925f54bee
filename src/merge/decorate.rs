//! Rows in, the bytes of the answer out; each element says which node it is from if that is asked for.

use bytes::Bytes;

use super::order::Row;
use super::{Order, Parsed, edit, warnings};

const KEY: &str = "Portainer";

/// A top-level array.
pub(super) fn array(parts: &[Parsed], rows: &[Row], order: &Order<'_>) -> Vec<Bytes> {
    let mut out = Vec::with_capacity(2 * rows.len() + 2);
    out.push(Bytes::from_static(b"["));
    elements(parts, rows, order, &mut out);
    out.push(Bytes::from_static(b"]\n"));
    out
}

/// The object around volumes. The list is never `null`: Portainer's page breaks on that.
pub(super) fn volumes(parts: &[Parsed], rows: &[Row], order: &Order<'_>) -> Vec<Bytes> {
    let mut out = Vec::with_capacity(2 * rows.len() + 4);
    out.push(Bytes::from_static(b"{\"Volumes\":["));
    elements(parts, rows, order, &mut out);
    out.push(Bytes::from_static(b"],\"Warnings\":"));
    out.push(warnings::list(&warnings::of(parts, order)).unwrap_or(Bytes::from_static(b"null")));
    out.push(Bytes::from_static(b"}\n"));
    out
}

fn elements(parts: &[Parsed], rows: &[Row], order: &Order<'_>, out: &mut Vec<Bytes>) {
    let marks: Vec<Mark> = parts.iter().map(|part| Mark::new(&part.node.shown)).collect();
    let mut is_first = true;
    for row in rows {
        let (part, element) = (row.part(parts), row.element(parts));
        let mark = marks.get(row.part).filter(|_| order.decorate);
        if row.changes.is_empty() && !(order.decorate && element.decorated) {
            let place = element.at.range();
            match mark {
                Some(mark) => {
                    out.push(mark.opening(is_first, element.is_empty));
                    out.push(part.body.slice(place.start + 1..place.end));
                }
                None => {
                    out.extend((!is_first).then(|| Bytes::from_static(b",")));
                    out.push(part.body.slice(place));
                }
            }
        } else {
            out.extend((!is_first).then(|| Bytes::from_static(b",")));
            let front = mark.map(|mark| (KEY, mark.member()));
            out.extend(edit::rewrite(&part.slice(element.at), front.as_ref(), &row.changes));
        }
        is_first = false;
    }
}

/// What a node's elements begin with: `,{"Portainer":{...},`, of which an element takes what it needs.
struct Mark(Bytes);

impl Mark {
    fn new(shown: &str) -> Self {
        // A JSON string of a `str` cannot fail; a host name is not ours, so it is escaped.
        let name = serde_json::to_string(shown).unwrap_or_default();
        Self(Bytes::from(format!(",{{\"{KEY}\":{{\"Agent\":{{\"NodeName\":{name}}}}},")))
    }

    fn opening(&self, is_first: bool, is_only_member: bool) -> Bytes {
        self.0.slice(usize::from(is_first)..self.0.len() - usize::from(is_only_member))
    }

    fn member(&self) -> Bytes {
        self.0.slice(2..self.0.len() - 1)
    }
}
