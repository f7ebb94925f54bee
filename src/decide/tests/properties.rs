//! What holds for every request on every snapshot.

use proptest::prelude::*;

use super::*;

prop_compose! {
    fn any_member(here: bool)(
        role in prop::sample::select(vec![Role::Manager, Role::Worker]),
        twin in any::<bool>(),
        leader in any::<bool>(),
        reach in prop::sample::select(vec![Reach::Untried, Reach::Answering, GONE]),
    ) -> (&'static str, Role, bool, Reach) {
        (if twin { "twin" } else { "" }, role, leader, if here { Reach::Here } else { reach })
    }
}

prop_compose! {
    fn any_cluster()(
        kind in prop::sample::select(vec![Kind::Unknown, Kind::Standalone, Kind::Swarm, Kind::Fixed]),
        me in any_member(true),
        others in prop::collection::vec(any_member(false), 0..4),
    ) -> Cluster {
        let members: Vec<_> = [me].into_iter().chain(others).enumerate()
            .map(|(i, (host, role, leader, reach))| node(&format!("id{i}x"), host, role, leader, reach))
            .collect();
        cluster(kind, &members)
    }
}

/// A request in the words of [`ask`]: rows of the table and arbitrary paths, with any combination of wishes.
fn any_request() -> impl Strategy<Value = String> {
    let tabled =
        prop::sample::select(ROUTES.iter().chain(table::AGENT).collect::<Vec<_>>()).prop_map(|route| {
            let method = route.method.split(", ").next().filter(|m| !m.is_empty()).unwrap_or("GET");
            format!("{method} {}", route.pattern.replace("{grpc.Service}", "a.b").replace(['{', '}'], ""))
        });
    let free = "(GET|HEAD|POST|PUT|DELETE|PATCH) (/v1\\.41)?(/(_swarmgate|probe|containers|networks|create|json|a)){1,3}";
    let wishes = [
        " (@|~)(id[0-4]x|hid[0-4]x|twin(\\.id[0-4]x)?|id|nope)",
        " !",
        " peer",
        " docker",
        " =\\{\"(Driver|scope)\":\"(overlay|swarm|local)\"\\}",
    ];
    let wishes = wishes.map(|wish| prop::option::of(prop::string::string_regex(wish).expect("a regex")));
    (prop_oneof![tabled, prop::string::string_regex(free).expect("a regex")], wishes).prop_map(
        |(mut request, wishes)| {
            request.extend(wishes.into_iter().flatten());
            request
        },
    )
}

fn members_of(step: &Step) -> Vec<&Arc<Member>> {
    match step {
        Step::Own(_) | Step::Local | Step::Peek => Vec::new(),
        Step::Forward(member) => vec![member],
        Step::LocalOr { manager, missing } => {
            manager.iter().chain(missing.iter().map(|(member, _)| member)).collect()
        }
        Step::Locate { asked, missing } => {
            asked.iter().chain(missing.iter().map(|(member, _)| member)).collect()
        }
        Step::FanOut { asked, missing, base, .. } => {
            asked.iter().chain(missing.iter().map(|(member, _)| member)).chain([base]).collect()
        }
    }
}

proptest! {
    #[test]
    fn every_request_on_every_snapshot_has_an_answer(request in any_request(), cluster in any_cluster()) {
        let Ok(Plan { step, .. }) = ask(&request, &cluster) else { return Ok(()) };
        for member in members_of(&step) {
            prop_assert_eq!(cluster.members.get(&member.id), Some(member), "{} is in the snapshot", member.id);
        }
        match &step {
            Step::Forward(to) => prop_assert!(to.id != cluster.here && to.is_reachable()),
            Step::FanOut { asked, missing, base, .. } => {
                prop_assert!(asked.contains(cluster.me()) && asked.contains(base));
                prop_assert!(asked.iter().all(|member| member.is_reachable()));
                prop_assert_eq!(asked.len() + missing.len(), cluster.members.len());
            }
            Step::Locate { asked, missing } => {
                prop_assert!(asked.contains(cluster.me()));
                prop_assert!(asked.iter().all(|member| member.is_reachable()));
                prop_assert_eq!(asked.len() + missing.len(), cluster.members.len());
            }
            Step::LocalOr { manager: Some(other), missing } => {
                prop_assert!(other.id != cluster.here && other.is_reachable() && other.is_manager());
                prop_assert!(missing.is_empty());
            }
            Step::LocalOr { manager: None, missing } => {
                prop_assert!(missing.iter().all(|(member, _)| member.is_manager()));
                let managers = cluster.members.values().filter(|member| member.is_manager());
                prop_assert_eq!(missing.len(), managers.count(), "all of them are missing");
            }
            Step::Own(_) | Step::Local | Step::Peek => {}
        }
    }

    #[test]
    fn a_peers_request_never_goes_on(request in any_request(), cluster in any_cluster()) {
        match ask(&format!("{request} peer"), &cluster) {
            Ok(Plan { step: Step::Own(own), route }) => {
                prop_assert!(own == Own::Probe || route.scope == Scope::There(own), "{own:?}");
            }
            Ok(Plan { step, .. }) => prop_assert_eq!(step, Step::Local),
            Err(refuse) => prop_assert!(matches!(refuse, Refuse::Misdirected { .. }), "{refuse:?}"),
        }
    }

    #[test]
    fn outside_a_cluster_nothing_leaves_the_node(request in any_request(), cluster in any_cluster()) {
        for kind in [Kind::Standalone, Kind::Unknown] {
            let lone = Cluster { kind, ..cluster.clone() };
            if let Ok(Plan { step, .. }) = ask(&request, &lone) {
                prop_assert!(matches!(step, Step::Local | Step::Own(_)), "{step:?}");
            }
        }
    }

    #[test]
    fn with_its_body_a_request_is_decided(request in any_request(), cluster in any_cluster()) {
        if let Ok(Plan { step, .. }) = ask(&format!("{request} ={{}}"), &cluster) {
            prop_assert!(step != Step::Peek);
        }
    }
}
