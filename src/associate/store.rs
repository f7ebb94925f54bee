//! The store's work: find where the records are, read them, write what they lack, publish what holds.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::Mutex;
use tracing::{info, warn};

use super::board::Board;
use super::file::FileError;
use super::judge::{self, Next, Standing, Survey, Why};
use super::place::{Outlook, Place};
use super::record::{Read, Record, Seals, left, remaining, timestamp};
use super::swarm::{self, Created};
use super::{ClaimError, Parts, file};
use crate::identify::{Association, PublicKey};
use crate::model::NodeId;

/// 250 ms while nothing is known, so that an agent that starts can be used as soon as a manager can be asked.
const FIRST_READ: Duration = Duration::from_millis(250);
/// 3 s: together with a slow list a revoked key is gone everywhere within five.
const REREAD: Duration = Duration::from_secs(3);
/// 5 minutes before a window ends: enough to open a browser and add an environment.
const SOON: Duration = Duration::from_secs(300);
/// Three rounds: whoever loses a record's number to others twice finds it decided.
const ROUNDS: usize = 3;

pub(super) struct Store {
    parts: Parts,
    pub(super) board: Board,
    /// Held over reading and writing, so that there is one claim at a time.
    memory: Mutex<Memory>,
}

/// What this agent remembers between two looks.
struct Memory {
    place: Place,
    seals: Seals,
    /// The highest record ever seen.
    seen: Option<Record>,
    standing: Option<Standing>,
    /// Whether a record under a previous secret was written again; once a start, else two agents whose lists of
    /// secrets differ would do it in turns.
    resealed: bool,
    /// Numbers of records that were complained about.
    bad: Vec<u64>,
    /// Whether the last look failed; only the first failure is told.
    failing: bool,
    /// The record of whose window it was said that its end is near.
    hurried: Option<u64>,
}

impl Store {
    pub(super) fn new(parts: Parts) -> Self {
        Self { parts, board: Board::new(), memory: Mutex::new(Memory::of(Place::Unknown)) }
    }

    /// Looks for ever: at a steady pace, and at once when the snapshot changes what matters here.
    pub(super) async fn follow(&self) {
        let mut cluster = self.parts.swarm.cluster.clone();
        let mut keys = self.parts.record_keys.clone();
        loop {
            keys.mark_unchanged();
            let outlook = Outlook::of(&cluster.borrow_and_update());
            self.refresh(SystemTime::now()).await;
            let changed = async {
                if cluster.wait_for(|cluster| Outlook::of(cluster) != outlook).await.is_err() {
                    // Nobody publishes snapshots any more: only time passes.
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                () = changed => {}
                // A Swarm's records cannot be read before these are there, and until then nobody may call.
                Ok(()) = keys.changed() => {}
                () = pause(if matches!(*self.board.now(), Association::Unknown) { FIRST_READ } else { REREAD }) => {}
            }
        }
    }

    pub(super) async fn refresh(&self, now: SystemTime) {
        let memory = &mut *self.memory.lock().await;
        let failed = self.look(memory, now).await.err();
        match failed {
            Some(ClaimError::NotYet) | None => memory.failing = false,
            Some(_) if memory.failing => {}
            Some(error) => {
                memory.failing = true;
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                warn!(%error, cause, "the association could not be looked up or noted; what is known stays in force");
            }
        }
    }

    pub(super) async fn claim(
        &self,
        key: &PublicKey,
        now: SystemTime,
    ) -> Result<Arc<Association>, ClaimError> {
        let memory = &mut *self.memory.lock().await;
        for _ in 0..ROUNDS {
            let survey = self.look(memory, now).await?;
            if let Place::Elsewhere { first } = &memory.place {
                return Err(ClaimError::Elsewhere { first: first.clone() });
            }
            let seen = memory.seen.as_ref();
            let record = seen.and_then(|seen| judge::claim(&survey, seen, key, self.parts.start, now));
            let Some(record) = record else { return Ok(self.board.now()) };
            match self.write(memory, &record).await? {
                Created::First => {
                    self.adopt(memory, record, now).await;
                    return Ok(self.board.now());
                }
                Created::Taken => {}
            }
        }
        Err(ClaimError::Contended)
    }

    /// Reads the records, writes what they lack, and publishes what holds.
    async fn look(&self, memory: &mut Memory, now: SystemTime) -> Result<Survey, ClaimError> {
        self.settle(memory).await?;
        if let Place::Elsewhere { .. } = memory.place {
            self.publish(memory, now);
            return Ok(Survey::default());
        }
        for _ in 0..ROUNDS {
            let mut survey = match self.survey(memory).await {
                Ok(survey) => survey,
                Err(error) => {
                    self.publish(memory, now);
                    return Err(error);
                }
            };
            memory.complain_about(&survey);
            if memory.resealed {
                survey.overlook_seals();
            }
            // A file is its host's own: what the operator put there counts, whatever was there before.
            let seen = memory.seen.as_ref().filter(|_| memory.place.is_swarm() || survey.best.is_none());
            match judge::next(&survey, seen, self.parts.start, now) {
                Next::Hold(record) => self.adopt(memory, record, now).await,
                Next::Keep(record) if memory.place.is_swarm() => self.adopt(memory, record, now).await,
                Next::Keep(record) => {
                    self.adopt(memory, record.clone(), now).await;
                    self.write(memory, &record).await?;
                }
                Next::Write(record) => match self.note(memory, record, now).await? {
                    Created::First => {}
                    Created::Taken => continue,
                },
                Next::End { present, n } => {
                    // It is over here, whether or not the others can be told.
                    let ended = present.ended(n);
                    self.adopt(memory, present, now).await;
                    match self.note(memory, ended, now).await? {
                        Created::First => {}
                        Created::Taken => continue,
                    }
                }
            }
            return Ok(survey);
        }
        Err(ClaimError::Contended)
    }

    /// Writes a record that this start calls for.
    async fn note(
        &self,
        memory: &mut Memory,
        record: Record,
        now: SystemTime,
    ) -> Result<Created, ClaimError> {
        let written = self.write(memory, &record).await;
        match written {
            Ok(Created::First) => {
                memory.resealed = true;
                self.adopt(memory, record, now).await;
            }
            Ok(Created::Taken) => {}
            // A window that could not be stored runs all the same; a claim in it fails, and says why.
            Err(_) if !memory.place.is_swarm() => self.adopt(memory, record, now).await,
            Err(_) => self.publish(memory, now),
        }
        written
    }

    /// Finds out where the records are kept now. A change of place forgets all that held in the other.
    async fn settle(&self, memory: &mut Memory) -> Result<(), ClaimError> {
        let cluster = self.parts.swarm.snapshot();
        let place = Place::of(&cluster, &memory.place, &self.parts.peers, self.parts.peer_port).await;
        if place == Place::Unknown {
            return Err(ClaimError::NotYet);
        }
        if place.is_swarm() {
            let keys = self.parts.record_keys.borrow().clone().ok_or(ClaimError::NotYet)?;
            memory.seals = Seals::new(&keys);
        }
        if place != memory.place {
            if let Place::Elsewhere { first } = &place {
                info!(%first, "the first of AGENT_PEERS keeps the association; list all agents, in one order on each");
            }
            let (seals, standing) = (std::mem::take(&mut memory.seals), memory.standing.take());
            // What stands published is kept in mind, so that its end is published too.
            *memory = Memory { seals, standing, ..Memory::of(place) };
            self.recall(memory).await;
        }
        Ok(())
    }

    /// The last record that was seen before this start.
    async fn recall(&self, memory: &mut Memory) {
        let Place::Swarm(here) = &memory.place else { return };
        match self.load(file::CACHE, here, &memory.seals).await {
            Ok(read) => memory.seen = read.map(|read| read.record),
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                warn!(%error, cause, "the cached association does not count");
            }
        }
    }

    async fn survey(&self, memory: &Memory) -> Result<Survey, ClaimError> {
        match &memory.place {
            Place::Unknown | Place::Elsewhere { .. } => Err(ClaimError::NotYet),
            Place::Swarm(_) => Ok(self.parts.swarm.survey(&memory.seals).await?),
            Place::File(here) => {
                let read = self.load(file::RECORD, here, &Seals::default()).await?;
                Ok(Survey::of(read.map(|read| (read.record.n, Ok(read)))))
            }
        }
    }

    async fn write(&self, memory: &Memory, record: &Record) -> Result<Created, ClaimError> {
        match &memory.place {
            Place::Unknown | Place::Elsewhere { .. } => Err(ClaimError::NotYet),
            Place::Swarm(_) => Ok(self.parts.swarm.create(record, &memory.seals).await?),
            Place::File(here) => self.store(file::RECORD, record, here, &Seals::default()).await,
        }
    }

    async fn load(&self, name: &str, here: &NodeId, seals: &Seals) -> Result<Option<Read>, FileError> {
        let path = self.parts.data.join(name);
        let (at, here, seals) = (path.clone(), here.clone(), seals.clone());
        // A disk may hang; whoever is served meanwhile must not.
        let loaded = tokio::task::spawn_blocking(move || file::load(&at, &here, &seals)).await;
        loaded.unwrap_or_else(|died| Err(FileError::Read { path, source: io::Error::other(died) }))
    }

    async fn store(
        &self,
        name: &str,
        record: &Record,
        here: &NodeId,
        seals: &Seals,
    ) -> Result<Created, ClaimError> {
        let path = self.parts.data.join(name);
        let (at, record, here, seals) = (path.clone(), record.clone(), here.clone(), seals.clone());
        // An fsync may take as long as the disk likes.
        let stored = tokio::task::spawn_blocking(move || file::store(&at, &record, &here, &seals)).await;
        let stored = stored.map_err(io::Error::other).flatten();
        stored.map(|()| Created::First).map_err(|source| ClaimError::Store { path, source })
    }

    /// Takes `record` as the present one.
    async fn adopt(&self, memory: &mut Memory, record: Record, now: SystemTime) {
        if memory.seen.as_ref() != Some(&record) {
            if let Place::Swarm(here) = &memory.place
                && let Err(error) = self.store(file::CACHE, &record, here, &memory.seals).await
            {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                warn!(cause, "after a restart without a manager in reach nobody will be known: {error}");
            }
            memory.seen = Some(record);
        }
        self.publish(memory, now);
    }

    fn publish(&self, memory: &mut Memory, now: SystemTime) {
        let mode = self.parts.start.mode;
        let standing = match &memory.place {
            // Open, so that a valid signature gets as far as the claim, which names the agent to go to.
            Place::Elsewhere { .. } => Some(Standing::Open),
            _ => memory.seen.as_ref().map(|seen| judge::standing(seen, mode, now)),
        };
        let changed = standing != memory.standing;
        if changed {
            tell(standing.as_ref(), memory.seen.as_ref(), now);
            self.board.publish(standing.as_ref());
            memory.standing = standing;
        }
        memory.hurry(changed, now);
    }
}

impl Memory {
    fn of(place: Place) -> Self {
        Self {
            place,
            seals: Seals::default(),
            seen: None,
            standing: None,
            resealed: false,
            bad: Vec::new(),
            failing: false,
            hurried: None,
        }
    }

    /// Says once of a window that it ends soon. `told`: how long it stays open has just been said.
    fn hurry(&mut self, told: bool, now: SystemTime) {
        let (Some(Standing::Open), Some(record)) = (&self.standing, &self.seen) else { return };
        if left(record, now) > SOON || self.hurried == Some(record.n) {
            return;
        }
        self.hurried = Some(record.n);
        if !told {
            let (n, left) = (record.n, remaining(record, now));
            warn!(
                n,
                left,
                "nobody has claimed this agent, and soon nobody can; add it to your Portainer server now"
            );
        }
    }

    fn complain_about(&mut self, survey: &Survey) {
        for (n, error) in survey.bad.iter().filter(|(n, _)| !self.bad.contains(n)) {
            warn!(record = %swarm::name(*n), %error, "ignored a record of an association");
        }
        self.bad = survey.bad.iter().map(|(n, _)| *n).collect();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "records of other agents announce themselves by nothing but being there"
)]
async fn pause(pace: Duration) {
    tokio::time::sleep(pace).await;
}

fn tell(standing: Option<&Standing>, record: Option<&Record>, now: SystemTime) {
    let n = record.map_or(0, |record| record.n);
    let until = record.filter(|record| !record.is_ended()).map(|record| timestamp(record.until));
    let left = record.map_or_else(String::new, |record| remaining(record, now));
    match standing {
        Some(Standing::Open) if record.is_none() => {}
        None => info!("it is not known any more to whom this agent is associated"),
        Some(Standing::Open) => info!(n, left, until, "the first Portainer server to sign is associated"),
        Some(Standing::Held(holder)) => info!(n, key = %holder.fingerprint(), "associated"),
        Some(Standing::Closed(Why::Protected)) => {}
        Some(Standing::Closed(Why::Over)) => {
            warn!(
                n,
                until,
                "nobody claimed this agent in time; run `swarmgate association reset` for a new window"
            );
        }
        Some(Standing::Closed(Why::Weaker)) => warn!(
            n,
            "this agent ran with AGENT_SECRET or AGENT_PORTAINER_KEYS before and opens no window without; set them \
             again, or run `swarmgate association reset`"
        ),
    }
}
