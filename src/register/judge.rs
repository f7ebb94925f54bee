//! What to do about the registration, decided from the record alone. Pure.
//!
//! A registrar that dies between its claim and the creation must not stop the others for ever, one whose answer was
//! lost must not create twice, and only the registrar's own node follows a change of the configuration: during an
//! update agents of two configurations run side by side.

use std::time::Duration;

use super::record::{Entry, Record, State};
use crate::model::NodeId;

/// What the record calls for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<'r> {
    /// Create the environment. What was asked for before, if anything, may be there already; then it is ours.
    Create { asked: Option<&'r Entry> },
    /// See whether what we asked for is there by now. The server may still be at it: do not ask again.
    Find { asked: &'r Entry },
    /// Another agent is at it.
    Wait,
    /// Become the registrar: the node that was has left the Swarm.
    Inherit,
    /// Change the environment with this id, which was registered like this.
    Update { id: u64, known: &'r Entry },
    /// All is as it should be, or another agent's to change.
    Rest,
}

/// What the record is held against.
pub(super) struct Circumstances<'a> {
    pub(super) here: &'a NodeId,
    pub(super) wanted: &'a Entry,
    /// Unix seconds.
    pub(super) now: u64,
    /// How long a claim counts.
    pub(super) claim: Duration,
    /// How long a server may be at a creation.
    pub(super) creation: Duration,
    /// Whether the record's node has left the Swarm for good.
    pub(super) orphaned: bool,
}

pub(super) fn next<'r>(record: Option<&'r Record>, about: &Circumstances<'_>) -> Next<'r> {
    let Some(record) = record else { return Next::Create { asked: None } };
    let (ours, entry) = (record.node == *about.here, &record.entry);
    match record.state {
        State::Claimed { since } => {
            // A clock that is far ahead, ours or the claimant's, makes a claim old too: it must not last for ever.
            let age = Duration::from_secs(about.now.abs_diff(since));
            let same_server = entry.portainer == about.wanted.portainer;
            match ours {
                true if same_server && age < about.creation => Next::Find { asked: entry },
                false if age < about.claim => Next::Wait,
                _ => Next::Create { asked: Some(entry).filter(|_| same_server) },
            }
        }
        State::Registered { .. } if !ours && about.orphaned => Next::Inherit,
        State::Registered { id } if ours && entry != about.wanted => Next::Update { id, known: entry },
        State::Registered { .. } => Next::Rest,
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::{entry, record};
    use super::*;

    #[test]
    fn the_record_decides() {
        let (wanted, other) = (entry("a", "tcp://here:1"), entry("a", "tcp://there:1"));
        let elsewhere = Entry { portainer: "https://another".into(), ..wanted.clone() };
        let here = NodeId::parse("here").unwrap();
        let claimed = |node, entry: &Entry, since| record(node, entry.clone(), State::Claimed { since });
        let registered = |node, entry: &Entry| record(node, entry.clone(), State::Registered { id: 5 });
        let create = |asked| Next::Create { asked };
        // The clock says 10,000; a claim counts for 600 s and a creation takes up to 240.
        let rows = [
            ("nothing", None, false, create(None)),
            ("ours, just now", Some(claimed("here", &wanted, 9_761)), false, Next::Find { asked: &wanted }),
            ("ours, in doubt", Some(claimed("here", &wanted, 9_760)), false, create(Some(&wanted))),
            ("ours, given up", Some(claimed("here", &wanted, 0)), false, create(Some(&wanted))),
            ("ours, elsewhere", Some(claimed("here", &elsewhere, 9_999)), false, create(None)),
            ("theirs, fresh", Some(claimed("there", &other, 9_401)), false, Next::Wait),
            ("theirs, fresh, gone", Some(claimed("there", &other, 9_401)), true, Next::Wait),
            ("theirs, stale", Some(claimed("there", &other, 9_400)), false, create(Some(&other))),
            ("theirs, given up", Some(claimed("there", &other, 0)), false, create(Some(&other))),
            ("theirs, from the future", Some(claimed("there", &other, 10_600)), false, create(Some(&other))),
            ("theirs, stale, elsewhere", Some(claimed("there", &elsewhere, 0)), false, create(None)),
            ("done", Some(registered("here", &wanted)), false, Next::Rest),
            ("done, moved", Some(registered("here", &other)), false, Next::Update { id: 5, known: &other }),
            (
                "done elsewhere",
                Some(registered("here", &elsewhere)),
                false,
                Next::Update { id: 5, known: &elsewhere },
            ),
            ("done by another", Some(registered("there", &other)), false, Next::Rest),
            ("done by one that is gone", Some(registered("there", &other)), true, Next::Inherit),
        ];
        assert_eq!(rows.len(), 16);
        for (what, record, orphaned, expected) in rows {
            let about = Circumstances {
                here: &here,
                wanted: &wanted,
                now: 10_000,
                claim: Duration::from_secs(600),
                creation: Duration::from_secs(240),
                orphaned,
            };
            assert_eq!(next(record.as_ref(), &about), expected, "{what}");
        }
    }
}
