//! Two agents on one node are said to be so, once.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use tempfile::NamedTempFile;
use tokio::sync::{mpsc, watch};

use crate::discover::{Rounds, nobody_yet, write};
use crate::membership::{Event, Known, Membership, Node, Own, Roster, Seat, Standing};
use crate::model::{Kind, NodeId, Role, Service};

fn seat(node: &str, task: &str, last: u8) -> Seat {
    Seat { at: IpAddr::from([10, 0, 1, last]), node: NodeId::parse(node).unwrap(), task: task.into() }
}

fn directory(seats: &[Seat]) -> Event {
    Event::Directory { seats: seats.to_vec(), taken: BTreeSet::new() }
}

#[tokio::test]
async fn an_agent_beside_the_one_that_swarm_runs_is_named_once_with_its_task_and_address() {
    let log = NamedTempFile::new().unwrap();
    let writer = log.reopen().unwrap();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(writer).finish();
    let _guard = tracing::subscriber::set_default(subscriber);

    let service = Service { id: "s".into(), name: "agent".into(), task: Some("ta".into()) };
    let own = Own {
        kind: Kind::Swarm,
        id: NodeId::parse("here").unwrap(),
        host: "here".into(),
        role: Role::Manager,
        managers: BTreeSet::from([NodeId::parse("here").unwrap()]),
        api: None,
        service: Some(service),
        addresses: vec![IpAddr::from([10, 0, 1, 2])],
    };
    let run = vec![seat("here", "ta", 2), seat("there", "tc", 4)];
    let node = |name: &str, role| Node {
        id: NodeId::parse(name).unwrap(),
        host: name.into(),
        role,
        leader: role == Role::Manager,
        standing: Standing::Active,
    };
    let nodes = vec![node("here", Role::Manager), node("there", Role::Worker)];
    let roster = Roster { nodes, tasks: Some(run.clone()), own: true };
    let others = [seat("there", "orphan", 9), seat("there", "another", 8)];
    let (all, more) = ([&run[..], &others[..1]].concat(), [&run[..], &others].concat());
    let (events, incoming) = mpsc::channel(16);
    let story = [directory(&all), directory(&run), directory(&all), directory(&more), directory(&more)];
    for event in [Event::Own(own), directory(&run), Event::Roster(roster)].into_iter().chain(story) {
        events.try_send(event).unwrap();
    }
    drop(events);
    let membership = Membership::new(nobody_yet());
    let known = Known::new(&membership.now(), 9002);
    write(membership, known, incoming, watch::Sender::new(Arc::new(Rounds::at_start()))).await;

    let said = std::fs::read_to_string(log.path()).unwrap();
    let said: Vec<_> = said.lines().filter(|line| line.contains("superseded")).collect();
    assert_eq!(said.len(), 2, "{said:#?}");
    assert!(said[0].ends_with("node=there task=orphan address=10.0.1.9"), "{said:#?}");
    assert!(said[1].ends_with("node=there task=another address=10.0.1.8"), "{said:#?}");
    assert!(said.iter().all(|line| line.contains(" WARN ")), "{said:#?}");
}
