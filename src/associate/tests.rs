//! The store against a scripted engine that keeps configs as a Swarm does: the first creator of a name wins.

pub(super) mod stage;

use std::path::Path;
use std::sync::atomic::Ordering;

use stage::{KEY, Log, Stage, cluster};

use super::command::{Desk, brief, reset, show};
use super::record::tests::{key, record};
use super::record::{Holder, Record, Seals};
use super::*;
use crate::model::{Kind, NodeId};

fn holder(agent: &Associations) -> Option<Fingerprint> {
    match &*agent.now() {
        Association::Held { key, .. } => Some(key.fingerprint),
        Association::Reserved { key, .. } => Some(*key),
        _ => None,
    }
}

fn is_open(agent: &Associations) -> bool {
    matches!(&*agent.now(), Association::Open)
}

fn is_closed(agent: &Associations) -> bool {
    matches!(&*agent.now(), Association::Closed)
}

fn is_unknown(agent: &Associations) -> bool {
    matches!(&*agent.now(), Association::Unknown)
}

async fn started(agent: Associations) -> Associations {
    agent.refresh(SystemTime::now()).await;
    agent
}

#[tokio::test]
async fn nothing_is_claimed_before_the_engine_has_spoken() {
    let stage = Stage::set(Kind::Unknown);
    let agent = started(stage.agent("a", Mode::Associate)).await;
    assert!(is_unknown(&agent));
    assert!(matches!(agent.claim(&key("A")).await, Err(ClaimError::NotYet)));
    assert!(stage.script.names().is_empty());
}

#[tokio::test]
async fn nothing_is_written_to_a_swarm_before_its_keys_are_known() {
    let stage = Stage::set(Kind::Swarm);
    let agent = started(stage.agent_at(stage.directory.path(), Mode::Associate, None)).await;
    assert!(is_unknown(&agent));
    assert!(matches!(agent.claim(&key("A")).await, Err(ClaimError::NotYet)));
    assert!(stage.script.names().is_empty());
}

#[tokio::test]
async fn a_standalone_claim_survives_a_restart_and_admits_nobody_else() {
    let stage = Stage::set(Kind::Standalone);
    let agent = started(stage.agent("a", Mode::Associate)).await;
    assert!(is_open(&agent));
    agent.claim(&key("A")).await.unwrap();
    assert_eq!(holder(&agent), Some(key("A").fingerprint));
    let again = started(stage.agent("a", Mode::Associate)).await;
    again.claim(&key("B")).await.unwrap();
    assert_eq!(holder(&again), Some(key("A").fingerprint));
    assert!(stage.script.names().is_empty(), "a standalone engine has no configs");
}

#[tokio::test]
async fn a_restart_opens_no_second_window() {
    let stage = Stage::set(Kind::Standalone);
    started(stage.agent("a", Mode::Associate)).await;
    let agent = stage.agent("a", Mode::Associate);
    agent.refresh(SystemTime::now() + Duration::from_secs(3601)).await;
    assert!(is_closed(&agent));
}

#[tokio::test]
async fn a_claim_that_cannot_be_stored_is_refused_with_path_and_remedy() {
    let stage = Stage::set(Kind::Standalone);
    let data = stage.directory.path().join("absent");
    let agent = started(stage.agent_at(&data, Mode::Associate, None)).await;
    assert!(is_open(&agent));
    let error = agent.claim(&key("A")).await.unwrap_err().to_string();
    assert!(error.contains("absent/association.json") && error.contains("DATA_PATH"), "{error}");
    assert!(is_open(&agent));
    std::fs::create_dir(&data).unwrap();
    agent.claim(&key("A")).await.unwrap();
    assert_eq!(holder(&agent), Some(key("A").fingerprint));
}

#[tokio::test]
async fn a_file_that_nobody_understands_opens_nothing() {
    let stage = Stage::set(Kind::Standalone);
    let agent = stage.agent("a", Mode::Associate);
    std::fs::write(stage.directory.path().join("a").join(file::RECORD), "{").unwrap();
    let agent = started(agent).await;
    assert!(is_unknown(&agent));
    assert!(matches!(agent.claim(&key("A")).await, Err(ClaimError::Read(_))));
}

#[tokio::test]
async fn of_two_agents_that_are_claimed_at_once_the_swarm_lets_one_win() {
    let stage = Stage::set(Kind::Swarm);
    let (one, two) = (stage.agent("a", Mode::Associate), stage.agent("b", Mode::Associate));
    let (a, b) = (key("A"), key("B"));
    let (first, second) = tokio::join!(one.claim(&a), two.claim(&b));
    assert!(first.is_ok() && second.is_ok());
    let names = ["swarmgate.association.1", "swarmgate.association.2"];
    assert_eq!(stage.script.names(), names, "one window and one claim");
    assert!(holder(&one).is_some());
    assert_eq!(holder(&one), holder(&two));
}

#[tokio::test]
async fn without_a_quorum_a_claim_fails_and_nothing_is_kept() {
    let stage = Stage::set(Kind::Swarm);
    let agent = started(stage.agent("a", Mode::Associate)).await;
    stage.fall_sick(500);
    let error = agent.claim(&key("A")).await.unwrap_err();
    assert!(matches!(error, ClaimError::Swarm(_)), "{error}");
    assert!(is_open(&agent));
    stage.fall_sick(0);
    assert_eq!(stage.script.names(), ["swarmgate.association.1"]);
}

#[tokio::test]
async fn without_a_manager_the_cache_verifies_and_claims_nothing() {
    let stage = Stage::set(Kind::Swarm);
    stage.agent("a", Mode::Associate).claim(&key("A")).await.unwrap();
    stage.fall_sick(500);
    let again = started(stage.agent("a", Mode::Associate)).await;
    assert_eq!(holder(&again), Some(key("A").fingerprint));
    let fresh = started(stage.agent("fresh", Mode::Associate)).await;
    assert!(is_unknown(&fresh));
    assert!(fresh.claim(&key("B")).await.is_err());
}

#[tokio::test]
async fn a_record_that_vanished_revokes_nothing_and_opens_nothing() {
    let stage = Stage::set(Kind::Swarm);
    let agent = stage.agent("a", Mode::Associate);
    agent.claim(&key("A")).await.unwrap();
    stage.script.configs.lock().unwrap().clear();
    let again = started(stage.agent("a", Mode::Associate)).await;
    again.claim(&key("B")).await.unwrap();
    assert_eq!(holder(&again), Some(key("A").fingerprint));
}

#[tokio::test]
async fn beside_a_record_that_cannot_be_proved_no_window_opens_by_itself() {
    let stage = Stage::set(Kind::Swarm);
    let other = stage.agent_at(stage.directory.path(), Mode::Associate, Some(vec![[8; 32]]));
    other.claim(&key("B")).await.unwrap();
    let agent = started(stage.agent("a", Mode::Associate)).await;
    assert!(is_closed(&agent));
    agent.claim(&key("A")).await.unwrap();
    assert!(is_closed(&agent));
    other.refresh(SystemTime::now()).await;
    assert_eq!(holder(&other), Some(key("B").fingerprint));
}

#[tokio::test]
async fn a_start_with_less_protection_opens_no_window_until_a_reset() {
    for kind in [Kind::Swarm, Kind::Standalone] {
        let stage = Stage::set(kind);
        stage.agent("a", Mode::Associate).claim(&key("A")).await.unwrap();
        started(stage.agent("a", Mode::Secret)).await;
        let agent = started(stage.agent("a", Mode::Associate)).await;
        assert!(is_closed(&agent), "{kind:?}");
        agent.claim(&key("A")).await.unwrap();
        assert!(is_closed(&agent), "{kind:?}");
    }
}

#[tokio::test]
async fn a_replaced_secret_keeps_the_association() {
    let stage = Stage::set(Kind::Swarm);
    stage.agent("a", Mode::Associate).claim(&key("A")).await.unwrap();
    for keys in [vec![[8; 32], KEY], vec![[8; 32]]] {
        let data = stage.directory.path().join(keys.len().to_string());
        std::fs::create_dir(&data).unwrap();
        let agent = started(stage.agent_at(&data, Mode::Associate, Some(keys.clone()))).await;
        assert_eq!(holder(&agent), Some(key("A").fingerprint), "{} keys", keys.len());
    }
    assert_eq!(stage.script.names().len(), 3);
}

#[tokio::test]
async fn a_reset_ends_what_the_old_key_opened() {
    let stage = Stage::set(Kind::Swarm);
    let agent = stage.agent("a", Mode::Associate);
    let held = agent.claim(&key("A")).await.unwrap();
    let Association::Held { revoked, .. } = &*held else { panic!("{held:?}") };
    let desk = stage.desk(stage.directory.path(), &[KEY]);
    let done = reset(&desk, Some(key("B").fingerprint), SystemTime::now()).await;
    assert_eq!(done.code, 0, "{}", done.text);
    agent.refresh(SystemTime::now()).await;
    assert!(revoked.is_cancelled());
    assert_eq!(holder(&agent), Some(key("B").fingerprint));
    let shown = show(&desk, SystemTime::now()).await;
    assert!(shown.text.contains(&key("B").fingerprint.to_string()), "{}", shown.text);
    assert_eq!(reset(&desk, None, SystemTime::now()).await.code, 0);
    agent.refresh(SystemTime::now()).await;
    assert!(is_open(&agent));
}

#[tokio::test]
async fn a_reset_counts_on_from_what_the_agents_saw() {
    let stage = Stage::set(Kind::Swarm);
    let agent = stage.agent("a", Mode::Associate);
    agent.claim(&key("A")).await.unwrap();
    stage.script.configs.lock().unwrap().clear();
    let data = stage.directory.path().join("a");
    assert_eq!(reset(&stage.desk(&data, &[KEY]), None, SystemTime::now()).await.code, 0);
    assert_eq!(stage.script.names(), ["swarmgate.association.3"]);
    agent.refresh(SystemTime::now()).await;
    assert!(is_open(&agent));
}

#[tokio::test]
async fn a_file_that_the_operator_replaced_counts() {
    let stage = Stage::set(Kind::Standalone);
    let agent = stage.agent("a", Mode::Associate);
    agent.claim(&key("A")).await.unwrap();
    let path = stage.directory.path().join("a").join(file::RECORD);
    let named = Record { until: 0, ..record(1, Some(Holder::Named(key("B").fingerprint))) };
    file::store(&path, &named, &NodeId::parse("n1").unwrap(), &Seals::default()).unwrap();
    agent.refresh(SystemTime::now()).await;
    assert_eq!(holder(&agent), Some(key("B").fingerprint));
}

#[tokio::test]
async fn joining_a_swarm_ends_the_hosts_own_association() {
    let stage = Stage::set(Kind::Standalone);
    let agent = stage.agent("a", Mode::Associate);
    let held = agent.claim(&key("A")).await.unwrap();
    let Association::Held { revoked, .. } = &*held else { panic!("{held:?}") };
    stage.fall_sick(500);
    stage.cluster.send_replace(Arc::new(cluster(Kind::Swarm)));
    agent.refresh(SystemTime::now()).await;
    assert!(is_unknown(&agent));
    assert!(revoked.is_cancelled());
}

#[tokio::test]
async fn of_static_peers_all_but_the_first_refuse_claims_and_name_it() {
    let stage = Stage::set(Kind::Fixed);
    let agent = started(stage.agent("a", Mode::Associate)).await;
    assert!(is_open(&agent), "so that a signature gets as far as the claim");
    let error = agent.claim(&key("A")).await.unwrap_err().to_string();
    assert!(error.contains("127.0.0.1:9003"), "{error}");
}

#[tokio::test]
async fn the_loop_looks_as_soon_as_the_engine_has_spoken() {
    let stage = Stage::set(Kind::Unknown);
    let agent = stage.agent("a", Mode::Associate);
    let mut states = agent.subscribe();
    agent.start(&stage.shutdown);
    stage.cluster.send_replace(Arc::new(cluster(Kind::Swarm)));
    states.wait_for(|state| matches!(&**state, Association::Open)).await.unwrap();
    assert_eq!(stage.script.names(), ["swarmgate.association.1"]);
}

#[tokio::test]
async fn in_one_line_the_swarms_record_is_told_on_managers_and_as_seen_last_on_workers() {
    let stage = Stage::set(Kind::Swarm);
    let data = stage.directory.path().join("a");
    let brief =
        async |data: &Path, keys: &[RecordKey]| brief(&stage.desk(data, keys), SystemTime::now()).await;
    assert_eq!(brief(&data, &[KEY]).await.text, "none yet; a window of 1m opens when the agent starts");
    let agent = started(stage.agent("a", Mode::Associate)).await;
    let open = brief(&data, &[KEY]).await;
    // It may have begun a second ago.
    assert!(
        open.text.starts_with("none yet; window ends in 59m") || open.text.ends_with("in 1h"),
        "{}",
        open.text
    );
    agent.claim(&key("A")).await.unwrap();
    let held = format!("key {} since 2026-07-22 15:00:00 UTC", key("A").fingerprint);
    assert_eq!(brief(&data, &[KEY]).await.text, held);
    assert!(brief(&data, &[[8; 32]]).await.text.contains("another cluster secret"));

    stage.script.worker.store(true, Ordering::Relaxed);
    let seen = brief(&data, &[KEY]).await;
    let key = key("A").fingerprint;
    assert!(seen.code == 0 && seen.text.starts_with(&format!("key {key} since ")), "{seen:?}");
    assert!(seen.text.ends_with(" UTC, as seen last on this worker"), "{}", seen.text);
    for (data, keys) in [(stage.directory.path(), [KEY]), (&data, [[8; 32]])] {
        let unknown = brief(data, &keys).await;
        assert!(unknown.code == 2 && unknown.text.contains("10.0.0.1:2377"), "{unknown:?}");
    }
}

#[tokio::test]
async fn the_log_says_how_long_a_window_is_open_that_it_ends_soon_and_that_it_has_ended_each_once() {
    let (log, _logging) = Log::start();
    let stage = Stage::set(Kind::Standalone);
    let (agent, start) = (stage.agent("a", Mode::Associate), SystemTime::now());
    let rows = [
        (0, "the first Portainer server to sign is associated", "left=\"1h\""),
        (1800, "", ""),
        (3600 - 300, "soon nobody can", "left=\"5m\""),
        (3600 - 200, "", ""),
        (3600, "nobody claimed this agent in time", "association reset"),
        (3700, "", ""),
    ];
    for (after, text, also) in rows {
        agent.refresh(start + Duration::from_secs(after)).await;
        let lines = log.lines("n=1 ");
        match text {
            "" => assert_eq!(lines, Vec::<String>::new(), "after {after} s"),
            text => assert!(
                lines.len() == 1 && lines[0].contains(text) && lines[0].contains(also),
                "{after}: {lines:?}"
            ),
        }
    }
    // Started in its last minutes, one line says all.
    let start = SystemTime::now();
    stage.agent("b", Mode::Associate).refresh(start).await;
    log.lines("");
    let again = stage.agent("b", Mode::Associate);
    for _ in 0..2 {
        again.refresh(start + Duration::from_secs(3590)).await;
    }
    let lines = log.lines("n=1 ");
    assert!(lines.len() == 1 && lines[0].contains("left=\"10s\""), "{lines:?}");
}

#[tokio::test]
async fn a_key_that_does_not_count_is_told_once_a_minute_with_the_way_to_reset() {
    let (log, _logging) = Log::start();
    let agent = Stage::set(Kind::Standalone).agent("a", Mode::Associate);
    let stranger = key("B").fingerprint;
    for _ in 0..3 {
        agent.complain(&stranger);
    }
    let lines = log.lines("refused a valid signature");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].contains("swarmgate association reset --key") && lines[0].contains(&stranger.to_string())
    );
    let minute = Instant::now().checked_sub(COMPLAIN_EVERY).unwrap();
    *agent.complained.lock().unwrap() = Some(minute);
    agent.complain(&stranger);
    assert_eq!(log.lines("refused a valid signature").len(), 1);
}

#[tokio::test]
async fn a_window_that_is_over_by_one_clock_is_over_by_all_and_is_told_once() {
    let (log, _logging) = Log::start();
    for kind in [Kind::Swarm, Kind::Standalone] {
        let (stage, start) = (Stage::set(kind), SystemTime::now());
        let agent = stage.agent("a", Mode::Associate);
        let fresh = if kind == Kind::Swarm { "b" } else { "a" };
        let slow = stage.agent(fresh, Mode::Associate);
        agent.refresh(start).await;
        slow.refresh(start).await;
        assert!(is_open(&slow), "{kind:?}");
        log.lines("");
        for after in [3600, 3603, 3606] {
            agent.refresh(start + Duration::from_secs(after)).await;
        }
        assert_eq!(log.lines("nobody claimed this agent in time").len(), 1, "{kind:?}");
        slow.claim(&key("A")).await.unwrap();
        assert!(is_closed(&slow), "{kind:?}: with a clock that is behind");
        let restarted = stage.agent(fresh, Mode::Associate);
        restarted.refresh(start - Duration::from_secs(86_400)).await;
        assert!(is_closed(&restarted), "{kind:?}: without a clock of its own");
        let names: &[_] = match kind {
            Kind::Swarm => &["swarmgate.association.1", "swarmgate.association.2"],
            _ => &[],
        };
        assert_eq!(stage.script.names(), names, "{kind:?}: one window and its end");
        assert!(log.lines("1970").is_empty(), "{kind:?}");
    }
}

#[tokio::test]
async fn an_end_that_cannot_be_written_closes_here_all_the_same() {
    let (stage, start) = (Stage::set(Kind::Swarm), SystemTime::now());
    let agent = stage.agent("a", Mode::Associate);
    agent.refresh(start).await;
    stage.script.leaderless.store(true, Ordering::Relaxed);
    let late = start + Duration::from_secs(3600);
    for agent in [&agent, &stage.agent("fresh", Mode::Associate)] {
        agent.refresh(late).await;
        assert!(is_closed(agent));
    }
    stage.script.leaderless.store(false, Ordering::Relaxed);
    agent.refresh(late).await;
    assert_eq!(stage.script.names().len(), 2);
}

#[tokio::test]
async fn a_reset_opens_a_window_after_one_was_ended() {
    let stage = Stage::set(Kind::Swarm);
    let agent = started(stage.agent("a", Mode::Associate)).await;
    agent.refresh(SystemTime::now() + Duration::from_secs(3601)).await;
    assert!(is_closed(&agent));
    assert_eq!(reset(&stage.desk(stage.directory.path(), &[KEY]), None, SystemTime::now()).await.code, 0);
    agent.refresh(SystemTime::now()).await;
    assert!(is_open(&agent));
}

#[tokio::test]
async fn on_a_host_that_decides_nothing_nothing_is_written_and_the_one_that_does_is_named() {
    let (stage, now) = (Stage::set(Kind::Fixed), SystemTime::now());
    let data = stage.directory.path().join("a");
    std::fs::create_dir(&data).unwrap();
    let here = Some(NodeId::parse("n1").unwrap());
    let first = Some("node1:9002".to_owned());
    let there = Desk { here: here.clone(), elsewhere: first, ..stage.desk(&data, &[]) };
    for refused in [show(&there, now).await, brief(&there, now).await, reset(&there, None, now).await] {
        assert!(
            refused.code == 2 && refused.text.contains("AGENT_PEERS, node1:9002, decides"),
            "{refused:?}"
        );
    }
    assert!(!data.join(file::RECORD).exists());
    let first = Desk { here, ..stage.desk(&data, &[]) };
    assert_eq!(reset(&first, None, now).await.code, 0);
    assert!(data.join(file::RECORD).exists());
    assert_eq!(brief(&first, now).await.text, "none yet; window ends in 1m");
    // In a Swarm, AGENT_PEERS only says where to dial.
    let (stage, first) = (Stage::set(Kind::Swarm), Some("node1:9002".to_owned()));
    let manager = Desk { elsewhere: first, ..stage.desk(&data, &[KEY]) };
    assert_eq!(reset(&manager, None, now).await.code, 0);
}

#[tokio::test]
async fn a_disk_that_hangs_holds_up_nobody_else() {
    use rustix::fs::{CWD, FileType, Mode as Bits, mknodat};
    let stage = Stage::set(Kind::Standalone);
    let agent = stage.agent("a", Mode::Associate);
    let path = stage.directory.path().join("a").join(file::RECORD);
    mknodat(CWD, &path, FileType::Fifo, Bits::RUSR | Bits::WUSR, 0).unwrap();
    let (alive, seen) = std::sync::mpsc::channel();
    let disk = std::thread::spawn(move || {
        let in_time = seen.recv_timeout(Duration::from_secs(10)).is_ok();
        let open = Record { until: u64::MAX, ..record(1, None) };
        std::fs::write(path, open.write(&Seals::default(), Some(&NodeId::parse("n1").unwrap()))).unwrap();
        in_time
    });
    let mut looking = Box::pin(agent.refresh(SystemTime::now()));
    tokio::select! {
        biased;
        () = &mut looking => unreachable!("nothing can be read yet"),
        () = std::future::ready(()) => alive.send(()).unwrap(),
    }
    looking.await;
    assert!(disk.join().unwrap(), "the thread of all others waited for the disk");
    assert!(is_open(&agent));
}
