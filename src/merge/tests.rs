//! What merged answers look like, row by row; for arbitrary input see `properties`.

use serde_json::Value;

use super::*;
use crate::model::node::{Reach, Role};

mod properties;

fn node(id: &str, host: &str, role: Role) -> Arc<Member> {
    Arc::new(Member {
        id: NodeId::parse(id).unwrap(),
        host: host.into(),
        shown: host.into(),
        role,
        leader: false,
        address: None,
        reach: Reach::Answering,
        api: None,
        agent_version: None,
    })
}

fn order(dialect: Dialect) -> Order<'static> {
    Order {
        dialect,
        limit: None,
        before: None,
        since: None,
        missing: &[],
        decorate: dialect == Dialect::Portainer,
        dangling: false,
    }
}

/// `n1`, `n2`, ... answer; the first is a worker, the others are managers.
fn parts(kind: &Kind, answers: &[&str]) -> Vec<Parsed> {
    let part = |(at, answer): (usize, &&str)| {
        let name = format!("n{}", at + 1);
        let role = if at == 0 { Role::Worker } else { Role::Manager };
        parse(kind.clone(), &node(&name, &name, role), Bytes::copy_from_slice(answer.as_bytes())).unwrap()
    };
    answers.iter().enumerate().map(part).collect()
}

fn text(pieces: &[Bytes]) -> String {
    String::from_utf8(pieces.concat()).unwrap()
}

fn merged(kind: &Kind, answers: &[&str], order: &Order<'_>) -> String {
    text(&merge(parts(kind, answers), order)).trim_end().to_owned()
}

fn docker(kind: &Kind, answers: &[&str]) -> String {
    merged(kind, answers, &order(Dialect::Docker))
}

#[test]
fn an_answer_of_the_wrong_shape_is_malformed() {
    let here = node("n1", "n1", Role::Manager);
    let info = Kind::Info { base: here.id.clone() };
    let rows: &[(&Kind, &str)] = &[
        (&Kind::Containers, ""),
        (&Kind::Containers, r#"{"message":1}"#),
        (&Kind::Containers, "[1]"),
        (&Kind::Containers, "[null]"),
        (&Kind::Containers, "[[]]"),
        (&Kind::Containers, "<html></html>"),
        (&Kind::Containers, r#"[{"Id":"a"}"#),
        (&Kind::Containers, r#"[{"Id":"a"},]"#),
        (&Kind::Containers, r#"[{"Id":"a",}]"#),
        (&Kind::Containers, "[{}][{}]"),
        (&Kind::Containers, "[{} {}]"),
        (&Kind::Containers, "[{\"a\":\"\u{1}\"}]"),
        (&Kind::Containers, "[{\"a\":1]}"),
        (&Kind::Containers, "nul"),
        (&Kind::Containers, "\u{feff}[]"),
        (&Kind::Volumes, "[]"),
        (&Kind::Volumes, "null"),
        (&Kind::Volumes, "{}"),
        (&Kind::Volumes, r#"{"message":"no"}"#),
        (&Kind::Volumes, r#"{"Volumes":{}}"#),
        (&Kind::Volumes, r#"{"Volumes":[],"Warnings":"text"}"#),
        (&Kind::Volumes, r#"{"Volumes":[],"Warnings":[1]}"#),
        (&info, "[]"),
        (&info, "null"),
        (&info, r#"{"message":"no"}"#),
    ];
    for (kind, answer) in rows {
        let parsed = parse((*kind).clone(), &here, Bytes::copy_from_slice(answer.as_bytes()));
        assert!(parsed.is_err(), "{kind:?} {answer:?}");
    }
    assert!(parse(Kind::Images, &here, Bytes::from_static(b"[{\"a\":\"\xff\"}]")).is_err());
}

#[test]
fn nothing_is_too_deep_up_to_a_bound_and_nothing_beyond_it_is_read() {
    let here = node("n1", "n1", Role::Worker);
    let deep = |n: usize| Bytes::from(format!("[{{\"a\":{}{}}}]", "[".repeat(n), "]".repeat(n)));
    assert!(parse(Kind::Containers, &here, deep(126)).is_ok());
    assert_eq!(parse(Kind::Containers, &here, deep(127)).unwrap_err().what, "too deep");
    assert!(parse(Kind::Containers, &here, deep(1_000_000)).is_err());
}

#[test]
fn more_elements_than_any_engine_has_are_refused() {
    let here = node("n1", "n1", Role::Worker);
    let many = |n: usize| Bytes::from(format!("[{}]", vec!["{}"; n].join(",")));
    assert_eq!(parse(Kind::Containers, &here, many(200_000)).unwrap().elements.len(), 200_000);
    assert_eq!(parse(Kind::Containers, &here, many(200_001)).unwrap_err().what, "too many elements");
}

#[test]
fn an_empty_list_is_an_empty_list_however_it_is_spelt() {
    for answers in [vec!["null"], vec!["[]\n"], vec![" [ ] ", "null"], vec![]] {
        assert_eq!(docker(&Kind::Containers, &answers), "[]");
        assert_eq!(merged(&Kind::Networks, &answers, &order(Dialect::Portainer)), "[]");
    }
    for answer in [r#"{"Volumes":null,"Warnings":null}"#, r#"{"Volumes":[]}"#] {
        let both = [answer, answer];
        assert_eq!(
            merged(&Kind::Volumes, &both, &order(Dialect::Portainer)),
            r#"{"Volumes":[],"Warnings":null}"#
        );
    }
}

#[test]
fn an_element_says_first_which_node_it_is_from_and_stays_as_it_is() {
    let mark = |rest: &str| format!(r#"[{{"Portainer":{{"Agent":{{"NodeName":"n1"}}}}{rest}]"#);
    let rows = [
        (r#"[{"Id":"a"}]"#, mark(r#","Id":"a"}"#)),
        ("[{}]", mark("}")),
        ("[ { } ]", mark(" }")),
        (r#"[ {  "Id" : "a" , "N":1.50e3 } ] "#, mark(r#",  "Id" : "a" , "N":1.50e3 }"#)),
        (r#"[{"Portainer":1}]"#, mark("}")),
        (r#"[{"Portainer":{"Agent":{}},"Id":"a"}]"#, mark(r#","Id":"a"}"#)),
        (r#"[{"Id":"a", "Portainer" : [1,2] , "Z":null }]"#, mark(r#","Id":"a", "Z":null }"#)),
        (r#"[{"Id":"a","Portainer":0,"Portainer":1}]"#, mark(r#","Id":"a"}"#)),
        (r#"[{"\u0050ortainer":1,"Id":"a"}]"#, mark(r#","Id":"a"}"#)),
        (
            r#"[{"a":{"Portainer":1},"b":"\"Portainer\":1"}]"#,
            mark(r#","a":{"Portainer":1},"b":"\"Portainer\":1"}"#),
        ),
    ];
    for (answer, wanted) in rows {
        for kind in [Kind::Containers, Kind::Images, Kind::Networks] {
            assert_eq!(merged(&kind, &[answer], &order(Dialect::Portainer)), wanted, "{answer}");
        }
        assert_eq!(
            docker(&Kind::Containers, &[answer]),
            format!("[{}]", answer.trim()[1..].trim_end_matches(']').trim())
        );
    }
}

#[test]
fn a_host_name_that_is_no_plain_text_is_escaped() {
    let here = node("n1", "a\"b", Role::Worker);
    let part = parse(Kind::Containers, &here, Bytes::from_static(b"[{}]")).unwrap();
    let out = text(&merge(vec![part], &order(Dialect::Portainer)));
    assert_eq!(out, "[{\"Portainer\":{\"Agent\":{\"NodeName\":\"a\\\"b\"}}}]\n");
}

#[test]
fn containers_come_newest_first_and_one_nodes_order_is_kept() {
    // n1's own order is not by the second; n1 and n2 have 5 in common.
    let n1 = r#"[{"Id":"a","Created":5},{"Id":"b","Created":9},{"Id":"c","Created":1}]"#;
    let n2 = r#"[{"Id":"d","Created":7},{"Id":"e","Created":5},{"Id":"f","Created":5}]"#;
    let ids = |out: &str| {
        let list: Vec<Value> = serde_json::from_str(out).unwrap();
        list.iter().map(|e| e["Id"].as_str().unwrap().to_owned()).collect::<String>()
    };
    assert_eq!(ids(&docker(&Kind::Containers, &[n1, n2])), "dabefc");
    let limited = Order { limit: Some(3), ..order(Dialect::Docker) };
    assert_eq!(ids(&merged(&Kind::Containers, &[n1, n2], &limited)), "dab");
    let unlimited = Order { limit: Some(0), ..order(Dialect::Portainer) };
    assert_eq!(ids(&merged(&Kind::Containers, &[n1, n2], &unlimited)), "dabefc");
}

#[test]
fn nodes_with_one_host_name_are_told_apart_by_their_id() {
    let part = |id: &str, body: &'static str| {
        parse(Kind::Containers, &node(id, "same", Role::Worker), Bytes::from_static(body.as_bytes())).unwrap()
    };
    for reversed in [false, true] {
        let mut both =
            vec![part("aaaa", r#"[{"Id":"1","Created":3}]"#), part("bbbb", r#"[{"Id":"2","Created":3}]"#)];
        if reversed {
            both.reverse();
        }
        let out = text(&merge(both, &order(Dialect::Docker)));
        assert_eq!(out, "[{\"Id\":\"1\",\"Created\":3},{\"Id\":\"2\",\"Created\":3}]\n");
    }
}

#[test]
fn a_pivot_filters_the_nodes_that_do_not_have_it() {
    let list = r#"[{"Id":"c","Created":30},{"Id":"b","Created":20},{"Id":"a","Created":10}]"#;
    let pivot = |node: &str| Some(Pivot { nodes: vec![NodeId::parse(node).unwrap()], created: 20 });
    let count = |order: &Order<'_>, id: &str| {
        merged(&Kind::Containers, &[list, list], order).matches(&format!("\"Id\":\"{id}\"")).count()
    };
    let before = Order { before: pivot("n1"), ..order(Dialect::Docker) };
    assert_eq!(["a", "b", "c"].map(|id| count(&before, id)), [2, 1, 1]);
    let since = Order { since: pivot("n2"), ..order(Dialect::Docker) };
    assert_eq!(["a", "b", "c"].map(|id| count(&since, id)), [1, 1, 2]);
    let both = Order { before: pivot("n1"), since: pivot("n2"), ..order(Dialect::Docker) };
    assert_eq!(["a", "b", "c"].map(|id| count(&both, id)), [1, 0, 1]);
    let images = merged(&Kind::Images, &[list, list], &Order { dialect: Dialect::Portainer, ..before });
    assert_eq!(images.matches("\"Id\"").count(), 4);
}

#[test]
fn images_are_collapsed_by_id_for_docker_only() {
    let n1 = concat!(
        r#"[{"Id":"i","Created":5,"RepoTags":["<none>:<none>"],"RepoDigests":null,"Size":12345678901234567890123,"SharedSize":-1,"Containers":-1},"#,
        r#"{"Id":"only1","Created":5,"RepoTags":["<none>:<none>"]}]"#
    );
    let n2 = r#"[{"Id":"i","Created":5,"RepoTags":["b","a"],"RepoDigests":["d"],"Size":1,"SharedSize":7,"Containers":2}]"#;
    let n3 = r#"[{"Id":"new","Created":9},{"Id":"i","Created":5,"RepoTags":["a","c"],"RepoDigests":["d"],"SharedSize":9,"Containers":3}]"#;
    let wanted = concat!(
        r#"[{"Id":"new","Created":9},"#,
        r#"{"Id":"i","Created":5,"RepoTags":["b","a","c"],"RepoDigests":["d"],"Size":12345678901234567890123,"SharedSize":-1,"Containers":5},"#,
        r#"{"Id":"only1","Created":5,"RepoTags":["<none>:<none>"]}]"#
    );
    assert_eq!(docker(&Kind::Images, &[n1, n2, n3]), wanted);
    let all = merged(&Kind::Images, &[n1, n2, n3], &order(Dialect::Portainer));
    assert_eq!(all.matches(r#""Id":"i""#).count(), 3);
}

#[test]
fn values_of_an_unexpected_shape_stay_those_of_the_first_holder() {
    let n1 = r#"[{"Id":"i","RepoTags":7,"Containers":"x","SharedSize":1.5e1,"Manifests":[{"ID":"m","Available":false},{"ID":"k"}]}]"#;
    let n2 = r#"[{"Id":"i","RepoTags":["a"],"Containers":1e0,"SharedSize":14,"Manifests":[{"ID":"m","Available":true,"Size":{"Total":10}}]}]"#;
    let wanted = r#"[{"Id":"i","RepoTags":7,"Containers":1e0,"SharedSize":1.5e1,"Manifests":[{"ID":"m","Available":true,"Size":{"Total":10}},{"ID":"k"}]}]"#;
    assert_eq!(docker(&Kind::Images, &[n1, n2]), wanted);
}

#[test]
fn a_key_that_only_another_copy_has_comes_last() {
    let out = docker(&Kind::Images, &[r#"[{"Id":"i"}]"#, r#"[{"RepoTags":["t"],"Id":"i"}]"#]);
    assert_eq!(out, r#"[{"Id":"i","RepoTags":["t"]}]"#);
}

#[test]
fn shared_volumes_are_collapsed_and_local_ones_are_not() {
    let list = |of: &str| format!(r#"{{"Volumes":[{of}],"Warnings":null}}"#);
    let local = r#"{"Name":"b","Driver":"local","Scope":"local"}"#;
    let shared = r#"{"Name":"c","Driver":"nfs","Scope":"global"}"#;
    let swarm = |state: &str| {
        format!(
            r#"{{"Name":"a","Scope":"global","Driver":"csi","ClusterVolume":{{"S":"{state}","ID":"v1"}}}}"#
        )
    };
    let n1 = list(&[local, shared, &swarm("x")].join(","));
    let n2 = list(&[shared, &swarm("y"), local].join(","));
    let n3 = list(local);
    let wanted = list(&[swarm("x").as_str(), local, local, local, shared].join(","));
    assert_eq!(docker(&Kind::Volumes, &[&n1, &n2, &n3]), wanted);
    let all = merged(&Kind::Volumes, &[&n1, &n2, &n3], &order(Dialect::Portainer));
    assert_eq!(all.matches("NodeName").count(), 7);

    let dangling = Order { dangling: true, ..order(Dialect::Docker) };
    assert_eq!(merged(&Kind::Volumes, &[&n1, &n2, &n3], &dangling).matches("nfs").count(), 0);
    assert_eq!(merged(&Kind::Volumes, &[&n1, &n2], &dangling).matches("nfs").count(), 1);
}

#[test]
fn warnings_say_which_node_they_are_from_and_who_is_missing() {
    let n1 = r#"{"Volumes":null,"Warnings":["a \u0041","b"]}"#;
    let n2 = r#"{"Warnings":["c"],"Volumes":[]}"#;
    let missing = [("n3".to_owned(), "timeout".to_owned())];
    for dialect in [Dialect::Docker, Dialect::Portainer] {
        let order = Order { missing: &missing, ..order(dialect) };
        let wanted =
            r#"{"Volumes":[],"Warnings":["n1: a \u0041","n1: b","n2: c","n3: not included (timeout)"]}"#;
        assert_eq!(merged(&Kind::Volumes, &[n1, n2], &order), wanted);
    }
}

#[test]
fn networks_wider_than_a_node_are_collapsed_to_a_managers_copy() {
    let n1 = r#"[{"Name":"ingress","Id":"x","Scope":"swarm","on":1},{"Name":"bridge","Id":"b","Scope":"local","on":1}]"#;
    let n2 = r#"[{"Name":"bridge","Id":"b","Scope":"local","on":2},{"Name":"ingress","Id":"x","Scope":"swarm","on":2}]"#;
    let wanted = concat!(
        r#"[{"Name":"bridge","Id":"b","Scope":"local","on":1},{"Name":"bridge","Id":"b","Scope":"local","on":2},"#,
        r#"{"Name":"ingress","Id":"x","Scope":"swarm","on":2}]"#
    );
    assert_eq!(docker(&Kind::Networks, &[n1, n2]), wanted);
    assert_eq!(merged(&Kind::Networks, &[n1, n2], &order(Dialect::Portainer)).matches("ingress").count(), 2);
}

#[test]
fn info_is_the_base_nodes_document_with_sums_in_place() {
    let n1 = r#"{"ID":"one","Containers":1,"NCPU":2,"NFd":3,"ServerVersion":"20.10.24","Warnings":null}"#;
    let n2 = " {\"ID\":\"two\", \"Containers\" : 10,\"MemTotal\":33681809408,\n\"ServerVersion\":\"26.1.5\",\"Warnings\":[\"w\"],\"X\":1.0}\n";
    let missing = [("n3".to_owned(), "refused".to_owned())];
    let kind = |base: &str| Kind::Info { base: NodeId::parse(base).unwrap() };
    let docker = Order { missing: &missing, ..order(Dialect::Docker) };
    let warnings =
        r#"["n2: w","n3: not included (refused)","engine versions differ: 20.10.24 (n1), 26.1.5 (n2)"]"#;
    let wanted = format!(
        "{{\"ID\":\"two\", \"Containers\" : 11,\"MemTotal\":33681809408,\n\"ServerVersion\":\"26.1.5\",\"Warnings\":{warnings},\"X\":1.0}}\n"
    );
    assert_eq!(text(&merge(parts(&kind("n2"), &[n1, n2]), &docker)), wanted);
    // The base gave no answer: another manager's document, never a worker's.
    assert_eq!(text(&merge(parts(&kind("n9"), &[n1, n2]), &docker)), wanted);
    let other = merged(&kind("n1"), &[n1, n2], &docker);
    assert_eq!(
        other,
        format!(
            r#"{{"ID":"one","Containers":11,"NCPU":2,"NFd":3,"ServerVersion":"20.10.24","Warnings":{warnings}}}"#
        )
    );
    assert_eq!(text(&merge(parts(&kind("n2"), &[n1, n2]), &order(Dialect::Portainer))), n2);
}

#[test]
fn an_info_with_nothing_to_join_keeps_every_byte() {
    let only = "{\"Containers\":10 ,\"Warnings\":[ ],\"ServerVersion\":\"1\"}\n";
    let kind = Kind::Info { base: NodeId::parse("n1").unwrap() };
    assert_eq!(text(&merge(parts(&kind, &[only]), &order(Dialect::Docker))), only);
}
