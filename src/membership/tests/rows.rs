//! Situations on the Swarm of three: what happens, and how the node then stands.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// What happens, whose agent sees it, the events, the node looked at, how it stands then.
type Row = (&'static str, Role, Vec<Event>, &'static str, &'static str);

const SAME: &[(&str, &str, u8)] = &[(A, "ta", 2), (B, "tb", 3), (C, "tc", 4)];
const ONLY_A: &[(&str, &str, u8)] = &[(A, "ta", 2)];

fn check(rows: Vec<Row>, count: usize) {
    assert_eq!(rows.len(), count);
    for (name, role, events, subject, expected) in rows {
        let mut world = World::of_three(role);
        for event in events {
            world.tell(event);
        }
        assert_eq!(world.line(subject), expected, "{name}");
    }
}

/// The three, one of them otherwise.
fn with(node: &Node) -> Vec<Node> {
    three().into_iter().map(|o| if o.id == node.id { node.clone() } else { o }).collect()
}

#[test]
fn swarm_alone_says_where_an_agent_is() {
    check(
        vec![
            ("nothing new", Worker, vec![directory(SAME)], C, "three worker answering 10.0.1.4"),
            (
                "restarted at a new address",
                Worker,
                vec![directory(&[(A, "ta", 2), (B, "tb", 3), (C, "tc2", 8)])],
                C,
                "three worker untried 10.0.1.8",
            ),
            (
                "restarted at its old address: tried anew",
                Worker,
                vec![directory(&[(A, "ta", 2), (B, "tb", 3), (C, "tc2", 4)])],
                C,
                "three worker untried 10.0.1.4",
            ),
            (
                "a starting task that the directory lacks yet is listed by a manager's own engine",
                Manager,
                vec![
                    directory(ONLY_A),
                    roster(three(), Some(&[(A, "ta", 2), (B, "tb", 3), (C, "tc2", 8)]), true),
                ],
                C,
                "three worker untried 10.0.1.8",
            ),
            (
                "another agent's task list places nobody",
                Worker,
                vec![roster(three(), Some(&[(A, "ta", 2), (B, "tb", 3), (C, "tx", 66)]), false)],
                C,
                "three worker answering 10.0.1.4",
            ),
            (
                "the listing is lost in a cut: the last address counts",
                Worker,
                vec![directory(ONLY_A)],
                C,
                "three worker answering 10.0.1.4",
            ),
        ],
        6,
    );
}

#[test]
fn an_address_is_whose_it_is_now() {
    check(
        vec![
            (
                "a dead agent's address taken by another node's",
                Worker,
                vec![directory(&[(A, "ta", 2), (B, "tb2", 4)])],
                C,
                "three worker no-agent -",
            ),
            (
                "a dead agent's address taken by something else",
                Worker,
                vec![Event::Directory { seats: vec![seat(A, "ta", 2)], taken: BTreeSet::from([ip(4)]) }],
                C,
                "three worker no-agent -",
            ),
            (
                "two entries at one address: the newcomer has it",
                Worker,
                vec![directory(&[(C, "tc", 4), (B, "tb2", 4), (A, "ta", 2)])],
                B,
                "two manager untried 10.0.1.4",
            ),
            (
                "DNS rubbish adds nobody",
                Worker,
                vec![
                    Event::Candidates(BTreeMap::from([(
                        "tasks.agent.".into(),
                        BTreeSet::from([at(66), at(4)]),
                    )])),
                    answers(66, "dddd4444"),
                ],
                "dddd4444",
                "gone",
            ),
        ],
        4,
    );
}

#[test]
fn a_node_that_cannot_be_asked_has_its_reason() {
    check(
        vec![
            (
                "drained, its agent gone",
                Manager,
                vec![
                    directory(&[(A, "ta", 2), (B, "tb", 3)]),
                    roster(
                        with(&node(C, "three", Worker, false, Drained)),
                        Some(&[(A, "ta", 2), (B, "tb", 3)]),
                        true,
                    ),
                    fails(4, Absence::Unreachable),
                ],
                C,
                "three worker drained 10.0.1.4",
            ),
            (
                "down and silent",
                Manager,
                vec![
                    roster(with(&node(C, "three", Worker, false, Down)), Some(SAME), true),
                    fails(4, Absence::Timeout),
                ],
                C,
                "three worker down 10.0.1.4",
            ),
            (
                "down, says Swarm, but it answers us",
                Manager,
                vec![roster(with(&node(C, "three", Worker, false, Down)), Some(SAME), true), answers(4, C)],
                C,
                "three worker answering 10.0.1.4",
            ),
            (
                "its agent was taken away",
                Manager,
                vec![
                    directory(&[(A, "ta", 2), (B, "tb", 3)]),
                    roster(three(), Some(&[(A, "ta", 2), (B, "tb", 3)]), true),
                    fails(4, Absence::Unreachable),
                ],
                C,
                "three worker no-agent 10.0.1.4",
            ),
            ("another secret", Worker, vec![fails(4, Absence::Secret)], C, "three worker secret 10.0.1.4"),
            ("someone else's certificate", Worker, vec![answers(4, B)], C, "three worker secret 10.0.1.4"),
            (
                "silent in a request",
                Worker,
                vec![Event::Silent(id(C), Absence::Timeout)],
                C,
                "three worker timeout 10.0.1.4",
            ),
        ],
        7,
    );
}

#[test]
fn who_has_taken_an_address_says_nothing_of_the_node_that_had_it() {
    check(
        vec![(
            "drained, and somebody else has taken its address",
            Manager,
            vec![
                directory(&[(A, "ta", 2), (B, "tb", 3)]),
                roster(
                    with(&node(C, "three", Worker, false, Drained)),
                    Some(&[(A, "ta", 2), (B, "tb", 3)]),
                    true,
                ),
                answers(4, A),
            ],
            C,
            "three worker drained 10.0.1.4",
        )],
        1,
    );
}

#[test]
fn the_node_list_says_who_is_a_member_and_what() {
    check(
        vec![
            (
                "removed from Swarm",
                Manager,
                vec![roster(three().into_iter().take(2).collect(), Some(SAME), true), directory(SAME)],
                C,
                "gone",
            ),
            (
                "another Swarm's node list",
                Worker,
                vec![roster(vec![], None, false)],
                C,
                "three worker answering 10.0.1.4",
            ),
            (
                "promoted",
                Worker,
                vec![roster(with(&node(C, "three", Manager, false, Active)), None, false)],
                C,
                "three manager answering 10.0.1.4",
            ),
            (
                "leader change",
                Worker,
                vec![roster(
                    vec![
                        node(A, "one", Manager, false, Active),
                        node(B, "two", Manager, true, Active),
                        node(C, "three", Worker, false, Active),
                    ],
                    None,
                    false,
                )],
                B,
                "two manager* answering 10.0.1.3",
            ),
            (
                "two nodes of one host name",
                Worker,
                vec![roster(with(&node(C, "two", Worker, false, Active)), None, false)],
                C,
                "two.cccc33 worker answering 10.0.1.4",
            ),
        ],
        5,
    );
}
