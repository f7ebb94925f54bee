//! What holds for every answer, compared with `serde_json`.

use proptest::prelude::*;
use serde_json::Value;
use serde_json::value::RawValue;

use super::*;

/// JSON of any shape, with odd spacing, escapes and numbers that no type holds.
fn json_text() -> impl Strategy<Value = String> {
    let space = "[ \n\t\r]{0,2}";
    let string = r#""([ -!#-\[\]-~é€😀]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4}){0,12}""#;
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("false".to_owned()),
        string,
        "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,4})?",
    ];
    let leaf = (space, leaf, space).prop_map(|(a, b, c)| a + &b + &c);
    leaf.prop_recursive(4, 32, 5, move |inner| {
        let key = prop_oneof![
            string.prop_map(|s: String| s),
            "(Created|Id|Name|Portainer|ClusterVolume)".prop_map(|s| format!("\"{s}\""))
        ];
        let member = (key, space, inner.clone()).prop_map(|(k, s, v)| format!("{k}{s}:{v}"));
        prop_oneof![
            (space, prop::collection::vec(inner, 0..5)).prop_map(|(s, v)| format!("{s}[{}]{s}", v.join(","))),
            (space, prop::collection::vec(member, 0..5))
                .prop_map(|(s, v)| format!("{s}{{{}}}{s}", v.join(","))),
        ]
    })
}

/// A document, and the same with one byte changed, removed or added: near misses are what a checker must tell.
fn nearly_json() -> impl Strategy<Value = Vec<u8>> {
    (
        json_text(),
        any::<prop::sample::Index>(),
        0..4u8,
        prop_oneof![any::<u8>(), Just(b'"'), Just(b','), Just(b'\\'), Just(b'0'), Just(b'\n')],
    )
        .prop_map(|(text, at, how, byte)| {
            let mut bytes = text.into_bytes();
            let at = at.index(bytes.len().max(1)).min(bytes.len());
            match how {
                1 if at < bytes.len() => bytes[at] = byte,
                2 if at < bytes.len() => drop(bytes.remove(at)),
                3 => bytes.insert(at, byte),
                _ => {}
            }
            bytes
        })
}

fn accepts(bytes: &[u8]) -> bool {
    let scan = || {
        let mut cursor = json::Cursor::new(bytes)?;
        cursor.value()?;
        cursor.finish()
    };
    scan().is_ok()
}

/// Strings are scanned eight bytes at a time, so that where a byte is must not matter.
#[test]
fn every_byte_is_judged_the_same_at_every_place_of_a_string() {
    let mut refused = 0;
    for length in 1..=20 {
        for (at, byte) in (0..length).flat_map(|at| (0..=u8::MAX).map(move |byte| (at, byte))) {
            let mut text = vec![b'x'; length];
            text[at] = byte;
            let document = [b"[\"", text.as_slice(), b"\" ,1]"].concat();
            let theirs = serde_json::from_slice::<&RawValue>(&document).is_ok();
            assert_eq!(accepts(&document), theirs, "{byte:#04x} at {at} of {length}");
            refused += usize::from(!theirs);
        }
    }
    // 210 places; 32 control characters and 128 halves of UTF-8 at each, at least.
    assert!(refused >= 210 * 160, "{refused}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn what_is_json_to_others_is_json_here(bytes in nearly_json()) {
        let theirs = serde_json::from_slice::<&RawValue>(&bytes).is_ok();
        prop_assert_eq!(accepts(&bytes), theirs, "{:?}", String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_bytes_are_judged_as_others_judge_them(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        prop_assert_eq!(accepts(&bytes), serde_json::from_slice::<&RawValue>(&bytes).is_ok());
    }

    #[test]
    fn elements_are_the_slices_that_others_find(list in prop::collection::vec(json_text(), 0..6)) {
        let text = format!("[{}]", list.join(","));
        let theirs: Vec<&RawValue> = serde_json::from_str(&text).unwrap();
        let here = node("n1", "n1", Role::Worker);
        match parse(Kind::Containers, &here, Bytes::from(text.clone())) {
            Ok(parsed) => {
                let ours: Vec<_> = parsed.elements.iter().map(|e| parsed.slice(e.at)).collect();
                let theirs: Vec<_> = theirs.iter().map(|raw| raw.get().as_bytes()).collect();
                prop_assert_eq!(ours, theirs);
            }
            Err(_) => {
                let all_objects = theirs.iter().all(|raw| raw.get().starts_with('{'));
                prop_assert!(!all_objects);
            }
        }
    }

    #[test]
    fn decorated_elements_differ_in_nothing_else(objects in prop::collection::vec(json_text(), 0..6)) {
        let objects: Vec<_> = objects.iter().map(|o| o.trim()).filter(|o| o.starts_with('{')).collect();
        let answer = format!("[{}]", objects.join(","));
        let out = merged(&Kind::Containers, &[&answer], &order(Dialect::Portainer));
        let elements: Vec<&RawValue> = serde_json::from_str(&out).unwrap();
        prop_assert_eq!(elements.len(), objects.len());
        let mark = r#"{"Portainer":{"Agent":{"NodeName":"n1"}}"#;
        for (element, object) in elements.iter().zip(objects) {
            let rest = element.get().strip_prefix(mark).expect("the mark is first");
            if !object.contains("Portainer") {
                prop_assert_eq!(rest.strip_prefix(',').unwrap_or(rest), &object[1..]);
            }
        }
    }

    #[test]
    fn one_nodes_containers_never_change_places(seconds in prop::collection::vec(prop::collection::vec(0..5i64, 0..8), 1..4)) {
        let answer = |seconds: &Vec<i64>| {
            let each = seconds.iter().enumerate().map(|(i, s)| format!("{{\"Id\":\"{i}\",\"Created\":{s}}}"));
            format!("[{}]", each.collect::<Vec<_>>().join(","))
        };
        let answers: Vec<_> = seconds.iter().map(answer).collect();
        let answers: Vec<_> = answers.iter().map(String::as_str).collect();
        let out: Vec<Value> =
            serde_json::from_str(&merged(&Kind::Containers, &answers, &order(Dialect::Portainer))).unwrap();
        prop_assert_eq!(out.len(), seconds.iter().map(Vec::len).sum::<usize>());
        for (at, own) in seconds.iter().enumerate() {
            let name = format!("n{}", at + 1);
            let ids: Vec<_> = out.iter().filter(|e| e["Portainer"]["Agent"]["NodeName"] == *name)
                .map(|e| e["Id"].as_str().unwrap().parse::<usize>().unwrap()).collect();
            prop_assert_eq!(ids, (0..own.len()).collect::<Vec<_>>());
        }
    }
}
