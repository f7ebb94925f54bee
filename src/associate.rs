//! The association with a Portainer server: who may call, decided once for the whole cluster.
//!
//! In a Swarm it is a Swarm config, so that Raft decides between agents; on a standalone host it is a file. Both
//! hold records with rising numbers; the highest proved one counts. A loop reads again every few seconds, because
//! another agent, or the operator's `association reset`, may have written. The data directory's copy of a Swarm's
//! record only verifies while no manager can be asked. Nothing is published as open, held or closed before the
//! engine has said whether it is in a Swarm.

mod board;
pub mod command;
pub mod file;
pub mod judge;
mod place;
pub mod record;
mod store;
mod swarm;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;
use tracing::warn;

use crate::config::PeerAddress;
use crate::identify::{Association, PublicKey};
use crate::model::Fingerprint;
use crate::shutdown::Shutdown;
pub use judge::Start;
pub use place::Place;
pub use record::{Mode, RecordKey};
use store::Store;
pub use swarm::{Swarm, SwarmError, refused};

/// A minute between two log lines about a key that does not count.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// What the store is made of.
pub struct Parts {
    pub start: Start,
    /// The data directory.
    pub data: PathBuf,
    /// AGENT_PEERS and the own peer port: without a Swarm the first one listed decides.
    pub peers: Vec<PeerAddress>,
    pub peer_port: u16,
    pub swarm: Swarm,
    /// The keys that prove a Swarm's records. `None`: not known yet; empty: there is no cluster secret and no
    /// service, so records carry no proof.
    pub record_keys: watch::Receiver<Option<Vec<RecordKey>>>,
}

/// The store. Clones share it.
#[derive(Clone)]
pub struct Associations {
    store: Arc<Store>,
    complained: Arc<Mutex<Option<Instant>>>,
}

/// Why a claim could not be recorded, so that nothing was kept. All of these pass: the client may try again.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    #[error("the association cannot be recorded: the engine has not said yet whether it is in a Swarm")]
    NotYet,
    #[error(
        "the association could not be stored in {}: make the data directory (DATA_PATH) writable, or set \
         AGENT_SECRET or AGENT_PORTAINER_KEYS", path.display()
    )]
    Store {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the association could not be read")]
    Read(#[from] file::FileError),
    #[error(
        "the association could not be recorded in the Swarm: {0}; is there a quorum of managers in reach?"
    )]
    Swarm(#[from] SwarmError),
    #[error(
        "without a Swarm the first agent of AGENT_PEERS, {first}, decides: claim that one, and set AGENT_SECRET or \
         AGENT_PORTAINER_KEYS on the others"
    )]
    Elsewhere { first: String },
    #[error("other agents wrote the association at the same moment")]
    Contended,
}

impl Associations {
    pub fn new(parts: Parts) -> Self {
        Self { store: Arc::new(Store::new(parts)), complained: Arc::default() }
    }

    /// Starts the loop that reads again.
    pub fn start(&self, shutdown: &Shutdown) {
        let (store, ending) = (Arc::clone(&self.store), shutdown.clone());
        shutdown.spawn(async move {
            tokio::select! {
                () = store.follow() => {}
                () = ending.draining() => {}
            }
        });
    }

    pub fn now(&self) -> Arc<Association> {
        self.store.board.now()
    }

    pub fn subscribe(&self) -> watch::Receiver<Arc<Association>> {
        self.store.board.subscribe()
    }

    /// Looks at the records now, and writes what this start has to note.
    pub async fn refresh(&self, now: SystemTime) {
        self.store.refresh(now).await;
    }

    /// Records `key` as the associated one, unless somebody else is by now. The answer is what holds afterwards:
    /// identify the request anew by it.
    pub async fn claim(&self, key: &PublicKey) -> Result<Arc<Association>, ClaimError> {
        self.store.claim(key, SystemTime::now()).await
    }

    /// Tells the operator, at most once a minute, that a signature of a key that does not count was refused.
    pub fn complain(&self, key: &Fingerprint) {
        let now = Instant::now();
        let mut last = self.complained.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| now.duration_since(last) < COMPLAIN_EVERY) {
            return;
        }
        *last = Some(now);
        warn!(
            %key,
            "refused a valid signature, since its key does not count here; if this is your new Portainer server, \
             run `swarmgate association reset --key` with it, or change AGENT_PORTAINER_KEYS where it is set"
        );
    }
}

#[cfg(test)]
mod tests;
