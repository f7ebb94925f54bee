//! `swarmgate association show | reset`, and what `check` says of it: from the configuration to an exit code.

use std::io::{Write, stderr, stdout};
use std::process::ExitCode;
use std::time::SystemTime;

use crate::associate::command::{self, Desk, Outcome};
use crate::associate::{Mode, RecordKey};
use crate::config::Config;
use crate::dial::Engine;
use crate::discover;
use crate::model::Fingerprint;
use crate::shutdown::Shutdown;
use crate::trust::peer::Authority;

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
    let desk = Desk {
        record_keys: &record_keys(config, &engine).await,
        engine: &engine,
        data: &config.data,
        window: config.portainer.window,
        here: discover::stored_id(&config.data),
    };
    let now = SystemTime::now();
    match wish {
        Wish::Show => command::show(&desk, now).await,
        Wish::Brief => command::brief(&desk, !config.cluster.peers.is_empty(), now).await,
        Wish::Reset(key) => command::reset(&desk, key, now).await,
    }
}

/// The keys that the running agents have: of the cluster secrets, else of the service that this container is of.
async fn record_keys(config: &Config, engine: &Engine) -> Vec<RecordKey> {
    let mut secrets: Vec<_> = config.cluster.secrets.iter().map(|s| s.reveal().as_bytes().to_vec()).collect();
    if secrets.is_empty() {
        secrets.extend(discover::own_service(engine).await.map(|service| service.id.as_bytes().to_vec()));
    }
    let authorities = secrets.iter().filter_map(|secret| Authority::derive(secret).ok());
    authorities.map(|authority| authority.record_key()).collect()
}

fn say(outcome: &Outcome) -> ExitCode {
    // What was done is done, also where nobody wants to read of it.
    let _ = match outcome.code {
        0 => stdout().write_all(outcome.text.as_bytes()),
        _ => write!(stderr(), "swarmgate: {}", outcome.text),
    };
    outcome.code.into()
}
