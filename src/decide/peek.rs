//! Bodies that have a say in where their request goes.

use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

/// Whether the body of `POST /networks/create` describes a network that only a manager can make.
///
/// An engine matches keys without case and lets the last of several win. Any spelling that asks for a manager counts
/// here, so that no order or case of keys leads to a node that must refuse. What is no JSON is for the engine to judge.
pub fn is_swarm_network(body: &[u8]) -> bool {
    // Without a look at what follows the document: some engines ignore it.
    serde_json::Deserializer::from_slice(body).deserialize_map(SwarmNetwork).unwrap_or(false)
}

struct SwarmNetwork;

impl<'de> Visitor<'de> for SwarmNetwork {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let mut found = false;
        while let Some(key) = map.next_key::<String>()? {
            let wanted = match fold(&key).as_str() {
                "driver" => Value::from("overlay"),
                "scope" => Value::from("swarm"),
                "ingress" => Value::from(true),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            found |= map.next_value::<Value>()? == wanted;
        }
        Ok(found)
    }
}

/// The case folding of Go's JSON: two letters outside ASCII fold onto letters inside it.
fn fold(key: &str) -> String {
    let plain = |c: char| match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    };
    key.chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_spelling_of_a_swarm_network_counts() {
        let rows = [
            (r#"{"Name":"n","Driver":"overlay"}"#, true),
            (r#"{"driver":"overlay"}"#, true),
            (r#"{"\u0044river":"overlay"}"#, true),
            (r#"{"Driver":"overlay","driver":"bridge"}"#, true),
            (r#"{"driver":"bridge","DRIVER":"overlay"}"#, true),
            (r#"{"Scope":"swarm"}"#, true),
            ("{\"\u{17f}cope\":\"swarm\"}", true),
            (r#"{"Ingress":true}"#, true),
            (r#" {"Ingress":true} trailing"#, true),
            (r#"{"Ingress":false,"Scope":"local","Driver":"bridge"}"#, false),
            (r#"{"Driver":"Overlay"}"#, false),
            (r#"{"Driver":["overlay"]}"#, false),
            (r#"{"Ingress":"true"}"#, false),
            (r#"{"Options":{"Driver":"overlay"}}"#, false),
            (r#"{"ConfigOnly":true,"Driver":null}"#, false),
            ("{}", false),
            ("", false),
            ("[]", false),
            ("null", false),
            (r#"{"Driver":"overlay""#, false),
            (r#"{"Driver":overlay}"#, false),
        ];
        for (body, expected) in rows {
            assert_eq!(is_swarm_network(body.as_bytes()), expected, "{body}");
        }
        assert!(!is_swarm_network(&[b'{', b'"', 0xff, b'"']));
        assert!(!is_swarm_network("{\"Driver\":".repeat(100_000).as_bytes()));
    }
}
