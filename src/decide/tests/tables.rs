//! Where requests go, one table for each rule.

use super::*;

/// `w1` is here, a worker; `m1` and `m2` are managers, `m2` leads; `w3` is missing; `t1`, `t2` share a host name.
fn swarm() -> Cluster {
    use Reach::{Answering, Here, Untried};
    let members = [
        node("w1aa", "", Role::Worker, false, Here),
        node("m1aa", "", Role::Manager, false, Answering),
        node("m2aa", "", Role::Manager, true, Untried),
        node("w3aa", "", Role::Worker, false, GONE),
        node("t1aa", "twin", Role::Worker, false, Answering),
        node("t2aa", "twin", Role::Worker, false, Answering),
    ];
    cluster(Kind::Swarm, &members)
}

fn changed(cluster: &Cluster, id: &str, change: impl Fn(&mut Member)) -> Cluster {
    let mut cluster = cluster.clone();
    let id = NodeId::parse(id).expect("a node id");
    change(Arc::make_mut(cluster.members.get_mut(&id).expect("a member")));
    cluster
}

/// The answer in a few words.
fn told(request: &str, cluster: &Cluster) -> String {
    let ids =
        |members: &[Arc<Member>]| members.iter().map(|m| m.id.to_string()).collect::<Vec<_>>().join("+");
    let absent = |missing: &[(Arc<Member>, Absence)]| {
        let each = missing.iter().map(|(m, why)| format!("{}={}", m.id, why.as_str()));
        each.collect::<Vec<_>>().join("+")
    };
    match ask(request, cluster) {
        Ok(Plan { step: Step::Local, .. }) => "local".into(),
        Ok(Plan { step: Step::Peek, .. }) => "peek".into(),
        Ok(Plan { step: Step::Own(own), .. }) => format!("{own:?}"),
        Ok(Plan { step: Step::Forward(member), .. }) => member.id.to_string(),
        Ok(Plan { step: Step::FanOut { asked, missing, base, merge }, .. }) => {
            format!("{merge:?} of {} without {} on {}", ids(&asked), absent(&missing), base.id)
        }
        Ok(Plan { step: Step::Locate { asked, missing }, .. }) => {
            format!("one of {} without {}", ids(&asked), absent(&missing))
        }
        Ok(Plan { step: Step::LocalOr { manager: Some(manager), .. }, .. }) => {
            format!("local or {}", manager.id)
        }
        Ok(Plan { step: Step::LocalOr { manager: None, missing }, .. }) => {
            format!("local without {}", absent(&missing))
        }
        Err(refuse) => {
            let whole = format!("{refuse:?}");
            whole.split([' ', '{']).next().unwrap_or_default().to_owned()
        }
    }
}

fn check(cluster: &Cluster, rows: &[(&str, &str)]) {
    for (request, expected) in rows {
        assert_eq!(told(request, cluster), *expected, "{request} in {:?}", cluster.kind);
    }
}

#[test]
fn without_a_target_the_route_decides() {
    let all = "m1aa+m2aa+t1aa+t2aa+w1aa";
    let list = |merge: &str, base: &str| format!("{merge} of {all} without w3aa=timeout on {base}");
    check(
        &swarm(),
        &[
            ("GET /containers/json", &list("Containers", "w1aa")),
            ("GET /v1.41/images/json", &list("Images", "w1aa")),
            ("GET /volumes", &list("Volumes", "w1aa")),
            ("GET /networks/ docker", &list("Networks", "w1aa")),
            ("GET /info docker", &list("Info", "m2aa")),
            ("GET /info", "m2aa"),
            ("GET /events", "local"),
            ("POST /volumes/prune", "local"),
            ("GET /containers/web/top", "local"),
            ("GET /images/search", "local"),
            ("GET /version", "local"),
            ("GET /no/such/path", "local"),
            ("OPTIONS /info", "local"),
            ("GET /services", "m2aa"),
            ("GET /swarm", "m2aa"),
            ("PUT /volumes/v", "m2aa"),
            ("POST /swarm/update", "m2aa"),
        ],
    );
}

#[test]
fn x_node_is_obeyed_everywhere() {
    let rows = [
        ("GET /containers/json @t1aa", "t1aa"),
        ("GET /containers/json @hw1aa", "local"),
        ("GET /info @hm1aa", "m1aa"),
        ("GET /services @t1aa", "t1aa"),
        ("POST /swarm/leave @t1aa", "t1aa"),
        ("POST /swarm/init @w1aa", "local"),
        ("POST /networks/create @t1aa", "t1aa"),
        ("POST /networks/create @t1aa ={\"Driver\":\"overlay\"}", "t1aa"),
        ("GET /version @twin.t2aa", "t2aa"),
        ("GET /version @twin", "AmbiguousTarget"),
        ("GET /version @nope", "UnknownTarget"),
        ("GET /version @HM1AA", "UnknownTarget"),
        ("GET /version @w3aa", "TargetMissing"),
        ("GET /containers/json @w3aa", "TargetMissing"),
        ("GET /containers/json @t1aa !", "NodeAndManager"),
        ("GET /no/such/path @t1aa", "t1aa"),
        ("GET /browse/ls @t1aa", "t1aa"),
        ("GET /v1.41/v2/browse/get @w1aa", "Browse(Get)"),
        ("DELETE /v1/browse/v/delete @w3aa", "TargetMissing"),
        ("PUT /browse/put @t1aa", "MethodNotAllowed"),
        ("GET /host/info @t1aa", "t1aa"),
        ("GET /host/info @w1aa", "HostInfo"),
        ("GET /host/info @w3aa", "TargetMissing"),
        ("POST /host/info @t1aa", "MethodNotAllowed"),
    ];
    check(&swarm(), &rows);
}

#[test]
fn a_remembered_target_is_for_one_node_routes_only() {
    let list = "Containers of m1aa+m2aa+t1aa+t2aa+w1aa without w3aa=timeout on w1aa";
    let rows = [
        ("GET /containers/json ~t1aa", list),
        ("GET /containers/json ~nope", list),
        ("GET /containers/json ~*?!", list),
        ("GET /info ~t1aa", "m2aa"),
        ("GET /services ~t1aa", "m2aa"),
        ("POST /swarm/update ~t1aa", "m2aa"),
        ("GET /containers/web/json ~ht1aa", "UnknownTarget"),
        ("GET /containers/web/json ~t1aa", "t1aa"),
        ("GET /events ~hm1aa", "m1aa"),
        ("GET /images/search ~hm1aa", "m1aa"),
        ("GET /no/such/path ~hm1aa", "m1aa"),
        ("GET /websocket/exec ~t1aa", "t1aa"),
        ("GET /websocket/exec ~w3aa", "TargetMissing"),
        ("GET /websocket/attach ~nope", "UnknownTarget"),
        ("GET /v1.41/v2/websocket/attach ~hw1aa", "Console(Attach)"),
        ("POST /websocket/exec ~t1aa", "MethodNotAllowed"),
        ("POST /containers/create ~hw1aa", "local"),
        ("POST /containers/create ~twin", "AmbiguousTarget"),
        ("POST /containers/create ~nope", "UnknownTarget"),
        ("POST /containers/create ~hw3aa", "TargetMissing"),
        ("POST /networks/create ~t1aa", "t1aa"),
        ("POST /swarm/leave ~t1aa", "t1aa"),
        ("GET /ping ~nope", "Ping"),
        ("POST /v2/browse/put ~t1aa", "t1aa"),
        ("PUT /v2/browse/rename ~nope", "UnknownTarget"),
        ("GET /v2/browse/ls", "Browse(List)"),
        ("GET /v2/host/info ~t1aa", "t1aa"),
        ("GET /v2/host/info ~nope", "UnknownTarget"),
        ("GET /v2/host/info", "HostInfo"),
    ];
    check(&swarm(), &rows);
}

#[test]
fn a_manager_operation_runs_raw_on_one_manager_for_all_entries() {
    let rows = [
        ("GET /containers/json !", "m2aa"),
        ("GET /containers/json ! ~t1aa", "m2aa"),
        ("GET /info ! docker", "m2aa"),
        ("POST /containers/create !", "m2aa"),
        ("POST /containers/web/start !", "m2aa"),
        ("GET /events !", "m2aa"),
        ("GET /services !", "m2aa"),
        ("POST /networks/create !", "m2aa"),
        ("GET /ping !", "Ping"),
    ];
    check(&swarm(), &rows);
    let leader_gone = changed(&swarm(), "m2aa", |m| m.reach = GONE);
    check(
        &leader_gone,
        &[("GET /containers/json !", "m1aa"), ("GET /services", "m1aa"), ("GET /info", "m1aa")],
    );
    // Plain manager routes are a manager's own; calls that must meet are still the leader's.
    let promoted = changed(&swarm(), "w1aa", |m| m.role = Role::Manager);
    let rows =
        [("GET /services", "local"), ("GET /services !", "local"), ("POST /containers/create !", "m2aa")];
    check(&promoted, &rows);
}

#[test]
fn without_a_manager_only_managers_are_missed() {
    let mut lost = swarm();
    for id in ["m1aa", "m2aa"] {
        lost = changed(&lost, id, |m| m.reach = GONE);
    }
    let info = "Info of t1aa+t2aa+w1aa without m1aa=timeout+m2aa=timeout+w3aa=timeout on w1aa";
    let rows = [
        ("GET /services", "NoManager"),
        ("GET /containers/json !", "NoManager"),
        ("GET /info", "NoManager"),
        ("GET /info docker", info),
        ("POST /networks/create ={\"Driver\":\"overlay\"}", "NoManager"),
        ("POST /networks/create ={\"Driver\":\"bridge\"}", "local"),
        ("GET /networks/n", "local without m1aa=timeout+m2aa=timeout"),
        ("GET /containers/web/top", "local"),
    ];
    check(&lost, &rows);
}

#[test]
fn a_node_joins_and_leaves_by_name_only() {
    let rows = [
        ("POST /swarm/join", "NeedsTarget"),
        ("POST /swarm/leave", "NeedsTarget"),
        ("POST /swarm/join !", "NeedsTarget"),
        ("POST /v1.41/swarm/leave !", "NeedsTarget"),
        ("POST /swarm/leave ! ~t1aa", "t1aa"),
        ("POST /swarm/leave ~nope", "UnknownTarget"),
        ("POST /swarm/init", "local"),
        ("POST /swarm/unlock", "local"),
        ("POST /swarm/init !", "local"),
        ("POST /swarm/unlock !", "local"),
    ];
    check(&swarm(), &rows);
    let alone = cluster(Kind::Swarm, &[node("m1aa", "", Role::Manager, true, Reach::Here)]);
    check(&alone, &[("POST /swarm/leave", "local"), ("POST /swarm/join !", "local")]);
    let Err(Refuse::NeedsTarget { known }) = ask("POST /swarm/leave", &swarm()) else { panic!("refused") };
    assert_eq!(known, ["hm1aa", "hm2aa", "hw1aa", "hw3aa", "twin.t1aa", "twin.t2aa"]);
}

#[test]
fn an_unnamed_object_is_looked_for_where_its_row_says() {
    let all = "one of m1aa+m2aa+t1aa+t2aa+w1aa without w3aa=timeout";
    let rows = [
        ("GET /containers/web/json", all),
        ("GET /v1.41/containers/web/json docker", all),
        ("GET /containers/web/json ~t1aa", "t1aa"),
        ("GET /containers/web/json @t1aa", "t1aa"),
        ("GET /containers/web/json @w1aa", "local"),
        ("GET /containers/web/json !", "m2aa"),
        ("GET /containers/web/json ! ~t1aa", "m2aa"),
        ("GET /containers/web/json peer", "local"),
        ("HEAD /containers/web/json", "local"),
        ("GET /networks/n", "local or m2aa"),
        ("DELETE /v1.41/networks/n", "local or m2aa"),
        ("GET /networks/n ~t1aa", "t1aa"),
        ("DELETE /networks/n @w1aa", "local"),
        ("DELETE /networks/n !", "m2aa"),
        ("GET /networks/n peer", "local"),
        ("POST /networks/n/connect", "local"),
    ];
    check(&swarm(), &rows);
    let promoted = changed(&swarm(), "w1aa", |m| m.role = Role::Manager);
    check(&promoted, &[("GET /networks/n", "local"), ("DELETE /networks/n", "local")]);
    let alone = cluster(Kind::Swarm, &[node("m1aa", "", Role::Manager, true, Reach::Here)]);
    check(&alone, &[("GET /containers/web/json", "one of m1aa without ")]);
}

#[test]
fn a_network_goes_where_its_body_says() {
    let rows = [
        ("POST /networks/create", "peek"),
        ("POST /v1.41/networks/create ={\"Driver\":\"overlay\"}", "m2aa"),
        ("POST /networks/create ={\"Scope\":\"swarm\"}", "m2aa"),
        ("POST /networks/create ={\"ingress\":true}", "m2aa"),
        ("POST /networks/create ={\"Driver\":\"bridge\"}", "local"),
        ("POST /networks/create ={oops", "local"),
        ("POST /networks/create =", "local"),
        ("POST /networks/prune", "local"),
    ];
    check(&swarm(), &rows);
    for kind in [Kind::Standalone, Kind::Fixed, Kind::Unknown] {
        let cluster = Cluster { kind, ..swarm() };
        check(&cluster, &[("POST /networks/create", "local")]);
    }
}

#[test]
fn standing_alone_everything_is_local() {
    let alone = cluster(Kind::Standalone, &[node("solo1", "", Role::Worker, false, Reach::Here)]);
    let rows = [
        ("GET /containers/json", "local"),
        ("GET /info", "local"),
        ("GET /services", "local"),
        ("GET /services !", "local"),
        ("GET /containers/web/json", "local"),
        ("GET /containers/web/json ~nope", "local"),
        ("GET /containers/web/json ~nope !", "local"),
        ("DELETE /networks/n", "local"),
        ("POST /swarm/join", "local"),
        ("POST /swarm/join ~nope", "local"),
        ("GET /containers/json @hsolo1", "local"),
        ("GET /containers/json @nope", "UnknownTarget"),
        ("GET /containers/json @hsolo1 !", "NodeAndManager"),
        ("GET /ping", "Ping"),
    ];
    check(&alone, &rows);
}

#[test]
fn a_swarm_of_one_still_decorates() {
    let alone = cluster(Kind::Swarm, &[node("m1aa", "", Role::Manager, true, Reach::Here)]);
    let rows = [
        ("GET /containers/json", "Containers of m1aa without  on m1aa"),
        ("GET /info", "local"),
        ("GET /nodes", "local"),
    ];
    check(&alone, &rows);
}

#[test]
fn static_peers_have_no_manager() {
    let fixed = Cluster { kind: Kind::Fixed, ..swarm() };
    let asked = "of m1aa+m2aa+t1aa+t2aa+w1aa without w3aa=timeout on w1aa";
    let rows = [
        ("GET /containers/json", &*format!("Containers {asked}")),
        ("GET /info docker", &*format!("Info {asked}")),
        ("GET /info", "local"),
        ("GET /services", "local"),
        ("GET /containers/json !", "local"),
        ("GET /containers/web/json ~t1aa", "t1aa"),
        ("GET /containers/web/json", "one of m1aa+m2aa+t1aa+t2aa+w1aa without w3aa=timeout"),
        ("GET /containers/web/json !", "local"),
        ("GET /networks/n", "local"),
        ("GET /services @t1aa", "t1aa"),
        ("POST /swarm/join", "NeedsTarget"),
    ];
    check(&fixed, &rows);
}

#[test]
fn before_the_engine_has_spoken_nothing_leaves_the_node() {
    let unknown = Cluster { kind: Kind::Unknown, ..swarm() };
    let rows = [
        ("GET /containers/json", "local"),
        ("GET /info docker", "local"),
        ("GET /services", "local"),
        ("GET /services !", "local"),
        ("GET /containers/web/json", "local"),
        ("GET /containers/web/json ~hw1aa", "local"),
        ("GET /containers/web/json ~hm1aa", "UnknownTarget"),
        ("GET /containers/web/json @m1aa", "UnknownTarget"),
        ("GET /containers/json ~hm1aa", "local"),
    ];
    check(&unknown, &rows);
}

#[test]
fn a_peer_is_served_here() {
    let rows = [
        ("GET /_swarmgate/probe peer", "Probe"),
        ("POST /_swarmgate/probe peer", "local"),
        ("GET /v1.41/_swarmgate/probe peer", "local"),
        ("GET /_swarmgate/probe", "local"),
        ("GET /containers/json peer", "local"),
        ("GET /services peer !", "local"),
        ("GET /containers/json peer ~t1aa", "local"),
        ("POST /networks/create peer", "local"),
        ("POST /swarm/leave peer", "local"),
        ("GET /ping peer", "local"),
        ("GET /containers/json peer @w1aa", "local"),
        ("GET /containers/json peer @t1aa", "Misdirected"),
        ("GET /_swarmgate/probe peer @t1aa", "Misdirected"),
    ];
    check(&swarm(), &rows);
}

#[test]
fn an_own_path_knows_its_methods() {
    let rows = [
        ("GET /ping", "Ping"),
        ("HEAD /v1.41/v2/ping", "Ping"),
        ("PUT /ping", "MethodNotAllowed"),
        ("POST /v2/ping", "MethodNotAllowed"),
        ("GET /v1/ping", "local"),
        ("GET /key", "Key"),
        ("POST /key", "Key"),
        ("DELETE /key", "MethodNotAllowed"),
    ];
    check(&swarm(), &rows);
    assert_eq!(ask("POST /ping", &swarm()), Err(Refuse::MethodNotAllowed { allow: "GET, HEAD" }));
}

#[test]
fn a_long_name_is_not_sent_back_whole() {
    let request = format!("GET /version ~{}", "x".repeat(9000));
    let Err(Refuse::UnknownTarget { text, known }) = ask(&request, &swarm()) else { panic!("refused") };
    assert_eq!((text.len(), known.len()), (128, 6));
}
