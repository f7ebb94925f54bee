//! `swarmgate association show | reset`, and what `check` says of it: from the configuration to an exit code.

use std::io::{Write, stderr, stdout};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::watch;

use crate::associate::command::{self, Desk, Outcome};
use crate::associate::{Mode, Place, RecordKey};
use crate::config::{Config, PeerAddress};
use crate::dial::{Engine, Patience, Peers};
use crate::discover;
use crate::model::{Cluster, Fingerprint, Kind};
use crate::shutdown::Shutdown;
use crate::trust::peer::{Authority, PeerTls, peer_tls};

/// Says which key may call, and until when nobody's may.
pub fn show(config: &Config) -> ExitCode {
    say(&ask(config, Wish::Show))
}

/// Opens a new window, or names the one key that may call.
pub fn reset(config: &Config, key: Option<Fingerprint>) -> ExitCode {
    say(&ask(config, Wish::Reset(key)))
}

/// The same in one line, for `swarmgate check`. Asks the engine; never fails, it says why it does not know.
pub fn brief(config: &Config) -> String {
    let needless = match Mode::of(&config.portainer) {
        Mode::Secret => Some("AGENT_SECRET"),
        Mode::Pins => Some("AGENT_PORTAINER_KEYS"),
        Mode::Associate => None,
    };
    if let Some(option) = needless {
        return format!("association: none needed, since {option} is set\n");
    }
    let Outcome { text, code } = ask(config, Wish::Brief);
    let known = if code == 0 { "" } else { "not known: " };
    format!("association: {known}{}\n", text.trim_end())
}

enum Wish {
    Show,
    Brief,
    Reset(Option<Fingerprint>),
}

fn ask(config: &Config, wish: Wish) -> Outcome {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(problem) => return Outcome { text: format!("cannot start: {problem}\n"), code: 1 },
    };
    runtime.block_on(outcome(config, wish))
}

async fn outcome(config: &Config, wish: Wish) -> Outcome {
    let engine = match Engine::new(&config.engine, &config.limits, Shutdown::new()) {
        Ok(engine) => engine,
        Err(problem) => return Outcome { text: format!("{problem}\n"), code: 1 },
    };
    let authorities = authorities(config, &engine).await;
    let record_keys: Vec<RecordKey> = authorities.iter().map(Authority::record_key).collect();
    let desk = Desk {
        record_keys: &record_keys,
        engine: &engine,
        data: &config.data,
        window: config.portainer.window,
        here: discover::stored_id(&config.data),
        elsewhere: elsewhere(config, &authorities).await,
    };
    let now = SystemTime::now();
    match wish {
        Wish::Show => command::show(&desk, now).await,
        Wish::Brief => command::brief(&desk, now).await,
        Wish::Reset(key) => command::reset(&desk, key, now).await,
    }
}

/// What the running agents prove themselves with: of the cluster secrets, else of the service that this container is of.
async fn authorities(config: &Config, engine: &Engine) -> Vec<Authority> {
    let mut secrets: Vec<_> = config.cluster.secrets.iter().map(|s| s.reveal().as_bytes().to_vec()).collect();
    if secrets.is_empty() {
        secrets.extend(discover::own_service(engine).await.map(|service| service.id.as_bytes().to_vec()));
    }
    secrets.iter().filter_map(|secret| Authority::derive(secret).ok()).collect()
}

/// The agent that decides where there is no Swarm, if it is not this host's: as the running agent finds it.
async fn elsewhere(config: &Config, authorities: &[Authority]) -> Option<String> {
    let peers = &config.cluster.peers;
    let first = peers.first()?;
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let own_addresses = interfaces.iter().map(|interface| interface.ip()).collect();
    let alone = Cluster { kind: Kind::Fixed, own_addresses, ..discover::nobody_yet() };
    match Place::of(&alone, &Place::Unknown, peers, config.listen.peer_port).await {
        Place::Elsewhere { .. } if answers_there(config, authorities, first).await => None,
        Place::Elsewhere { first } => Some(first),
        Place::Unknown | Place::Swarm(_) | Place::File(_) => None,
    }
}

/// Whether this host's own agent answers at that address, which may be a port that the engine publishes.
async fn answers_there(config: &Config, authorities: &[Authority], at: &PeerAddress) -> bool {
    let Some(here) = discover::stored_id(&config.data) else { return false };
    let Ok(PeerTls { client, .. }) = peer_tls(authorities, &here) else { return false };
    let tls = watch::Sender::new(Some(client));
    let peers = Peers::new(tls.subscribe(), Arc::new(config.limits.clone()), Shutdown::new());
    let found = tokio::net::lookup_host((at.host.as_str(), at.port)).await;
    for address in found.into_iter().flatten() {
        let met = peers.probe(address, None, Patience::Brief).await;
        if met.is_ok_and(|met| met.node == here) {
            return true;
        }
    }
    false
}

fn say(outcome: &Outcome) -> ExitCode {
    // What was done is done, also where nobody wants to read of it.
    let _ = match outcome.code {
        0 => stdout().write_all(outcome.text.as_bytes()),
        _ => write!(stderr(), "swarmgate: {}", outcome.text),
    };
    outcome.code.into()
}
