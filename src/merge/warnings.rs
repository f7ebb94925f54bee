//! The nodes' warnings in, raw JSON strings out that say which node each is from.

use std::collections::BTreeMap;
use std::fmt::Display;

use bytes::Bytes;

use super::{Order, Parsed, edit, json};

/// Each node's own warnings, and one for each node that is missing.
pub(super) fn of(parts: &[Parsed], order: &Order<'_>) -> Vec<String> {
    let said = parts.iter().flat_map(|part| {
        part.warnings.iter().map(|raw| {
            let raw = String::from_utf8_lossy(raw.of(&part.body));
            // The engine's own escapes stay as they are.
            let prefix = quoted(format_args!("{}: ", part.node.shown));
            format!("{}{}", prefix.trim_end_matches('"'), raw.strip_prefix('"').unwrap_or_default())
        })
    });
    let missing = order.missing.iter();
    said.chain(missing.map(|(shown, why)| quoted(format_args!("{shown}: not included ({why})")))).collect()
}

/// One for a cluster of unequal engines: `ServerVersion` differs.
pub(super) fn mixed_versions(parts: &[Parsed]) -> Option<String> {
    let mut versions: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for part in parts {
        let members = edit::members(&part.body);
        if let Some(raw) = edit::value(&part.body, &members, "ServerVersion") {
            versions.entry(json::text(raw).into_owned()).or_default().push(&part.node.shown);
        }
    }
    let each: Vec<_> =
        versions.iter().map(|(version, on)| format!("{version} ({})", on.join(", "))).collect();
    (each.len() > 1).then(|| quoted(format_args!("engine versions differ: {}", each.join(", "))))
}

/// A JSON array, if there is anything in it.
pub(super) fn list(warnings: &[String]) -> Option<Bytes> {
    (!warnings.is_empty()).then(|| Bytes::from(format!("[{}]", warnings.join(","))))
}

fn quoted(text: impl Display) -> String {
    serde_json::to_string(&text.to_string()).unwrap_or_default()
}
