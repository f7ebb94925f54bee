//! What follows from the records that were found. Pure: records and a time in, a decision out.

use std::time::{Duration, SystemTime};

use super::record::{BadRecord, ENDED, Holder, Mode, Read, Record, unix_seconds};
use crate::config;
use crate::identify::PublicKey;

/// How this agent was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    pub mode: Mode,
    /// How long an agent that nobody claimed stays claimable.
    pub window: Duration,
}

impl Start {
    /// As the operator configured it.
    pub fn of(portainer: &config::Portainer) -> Self {
        Self { mode: Mode::of(portainer), window: portainer.window }
    }
}

/// Everything that was found where the records are kept.
#[derive(Debug, Default)]
pub struct Survey {
    /// The highest proved record.
    pub best: Option<Read>,
    /// The highest number in use, proved or not: the next one is free.
    pub top: u64,
    /// What is no record of ours, by number.
    pub bad: Vec<(u64, BadRecord)>,
}

/// What to do about it.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// This is the present record.
    Hold(Record),
    /// It was there before and is gone or lower now: it stays in force.
    Keep(Record),
    /// This is the present record, and its window is over by this clock: write it ended as `n`, so that it is by every
    /// clock.
    End { present: Record, n: u64 },
    /// Write this one, and judge anew if somebody else was first.
    Write(Record),
}

/// What a record means at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    Open,
    Held(Holder),
    Closed(Why),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Nobody claimed it in time.
    Over,
    /// Agents ran with a secret or pinned keys before, and this one runs without.
    Weaker,
    /// This agent needs no association.
    Protected,
}

impl Survey {
    /// Sorts what was read into the one record that counts and the rest.
    pub fn of(found: impl IntoIterator<Item = (u64, Result<Read, BadRecord>)>) -> Self {
        let mut survey = Self::default();
        for (n, read) in found {
            survey.top = survey.top.max(n);
            match read {
                // A record under another's name would make its number count for more than Raft decided.
                Ok(read) if read.record.n != n => survey.bad.push((n, BadRecord::Field("N"))),
                Ok(read) if survey.best.as_ref().is_none_or(|best| best.record.n < n) => {
                    survey.best = Some(read);
                }
                Ok(_) => {}
                Err(bad) => survey.bad.push((n, bad)),
            }
        }
        survey
    }

    /// A record under a previous secret counts like one under the present, and is not written again.
    pub fn overlook_seals(&mut self) {
        if let Some(best) = &mut self.best {
            best.seal = 0;
        }
    }
}

/// Judges a survey. `seen`: the highest record that this agent ever saw; a lower one is never accepted.
pub fn next(survey: &Survey, seen: Option<&Record>, start: Start, now: SystemTime) -> Next {
    let n = following(survey, seen);
    let present = match (&survey.best, seen) {
        (None, None) if survey.bad.iter().any(|(_, bad)| bad.is_unproved()) => {
            // Somebody was or could be associated here under a secret, or a service, that is not ours. Whoever changed
            // that did not ask for another window.
            return Next::Write(Record { until: ENDED, ..first(n, start, now) });
        }
        (None, None) => return Next::Write(first(n, start, now)),
        (None, Some(seen)) => return ending(seen, n, start, now).unwrap_or_else(|| Next::Keep(seen.clone())),
        (Some(best), Some(seen)) if best.record.n < seen.n => {
            return ending(seen, n, start, now).unwrap_or_else(|| Next::Keep(seen.clone()));
        }
        (Some(best), _) => best,
    };
    let record = &present.record;
    if start.mode.is_protected() && !record.mode.is_protected() {
        // Whoever was associated before is not any more, and without the secret nobody becomes it unasked.
        return Next::Write(Record { n, holder: None, mode: start.mode, ..record.clone() });
    }
    if let Some(end) = ending(record, n, start, now) {
        return end;
    }
    if present.seal != 0 {
        return Next::Write(Record { n, ..record.clone() });
    }
    Next::Hold(record.clone())
}

/// The record that makes `key` the associated one, if it may still be claimed.
pub fn claim(
    survey: &Survey,
    present: &Record,
    key: &PublicKey,
    start: Start,
    now: SystemTime,
) -> Option<Record> {
    let open = standing(present, start.mode, now) == Standing::Open;
    let n = following(survey, Some(present));
    open.then(|| Record { n, holder: Some(Holder::Key(key.clone())), ..present.clone() })
}

/// A new window, or a new holder; the notes of stronger starts end here.
pub fn reset(
    survey: &Survey,
    seen: Option<&Record>,
    holder: Option<Holder>,
    window: Duration,
    now: SystemTime,
) -> Record {
    let start = Start { mode: Mode::Associate, window };
    Record { holder, ..first(following(survey, seen), start, now) }
}

pub fn standing(record: &Record, mode: Mode, now: SystemTime) -> Standing {
    match &record.holder {
        _ if mode.is_protected() => Standing::Closed(Why::Protected),
        _ if record.mode.is_protected() => Standing::Closed(Why::Weaker),
        Some(holder) => Standing::Held(holder.clone()),
        None if unix_seconds(now) < record.until => Standing::Open,
        None => Standing::Closed(Why::Over),
    }
}

/// Ends a window that is over. Its end alone would leave it to each node's clock: one that is behind would open it
/// again, for all.
fn ending(present: &Record, n: u64, start: Start, now: SystemTime) -> Option<Next> {
    let over = standing(present, start.mode, now) == Standing::Closed(Why::Over) && !present.is_ended();
    over.then(|| Next::End { present: present.clone(), n })
}

fn first(n: u64, start: Start, now: SystemTime) -> Record {
    let until = unix_seconds(now).saturating_add(start.window.as_secs());
    Record { n, holder: None, until, mode: start.mode }
}

fn following(survey: &Survey, seen: Option<&Record>) -> u64 {
    survey.top.max(seen.map_or(0, |seen| seen.n)).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::associate::record::tests::{key, record};
    use std::time::UNIX_EPOCH;

    const OPEN: Start = Start { mode: Mode::Associate, window: Duration::from_secs(60) };
    const SECRET: Start = Start { mode: Mode::Secret, window: Duration::from_secs(60) };

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn good(record: Record) -> (u64, Result<Read, BadRecord>) {
        (record.n, Ok(Read { record, node: None, seal: 0, since: None }))
    }

    fn by(which: &str) -> Option<Holder> {
        Some(Holder::Key(key(which)))
    }

    #[test]
    fn the_first_agent_writes_the_windows_end() {
        let first = Record { n: 1, holder: None, until: 160, mode: Mode::Associate };
        assert_eq!(next(&Survey::default(), None, OPEN, at(100)), Next::Write(first));
        let noted = next(&Survey::default(), None, SECRET, at(100));
        assert!(matches!(noted, Next::Write(Record { n: 1, mode: Mode::Secret, .. })), "{noted:?}");
    }

    #[test]
    fn a_later_start_moves_no_window() {
        let survey = Survey::of([good(record(1, None))]);
        assert_eq!(next(&survey, None, OPEN, at(999)), Next::Hold(record(1, None)));
    }

    #[test]
    fn a_window_that_is_over_is_ended_for_every_clock() {
        let ended = Record { until: ENDED, ..record(2, None) };
        assert_eq!(record(1, None).ended(2), ended);
        let end = Next::End { present: record(1, None), n: 2 };
        let survey = || Survey::of([good(record(1, None))]);
        assert_eq!(next(&survey(), None, OPEN, at(5000)), end);
        // Also where only this agent remembers it.
        for found in [Survey::default(), Survey::of([good(record(0, None))])] {
            assert_eq!(next(&found, Some(&record(1, None)), OPEN, at(5000)), end);
        }
        let after = Survey::of([good(record(1, None)), good(ended.clone())]);
        for now in [0, 5000] {
            assert_eq!(next(&after, None, OPEN, at(now)), Next::Hold(ended.clone()), "at {now}");
            assert_eq!(standing(&ended, OPEN.mode, at(now)), Standing::Closed(Why::Over), "at {now}");
        }
        assert_eq!(reset(&after, None, None, OPEN.window, at(0)).until, 60, "a reset opens one again");
    }

    #[test]
    fn what_is_no_open_window_is_not_ended() {
        let noted = Record { mode: Mode::Secret, ..record(1, None) };
        for (found, start) in [(record(1, by("A")), OPEN), (noted.clone(), OPEN), (noted, SECRET)] {
            let survey = Survey::of([good(found.clone())]);
            assert_eq!(next(&survey, None, start, at(5000)), Next::Hold(found));
        }
    }

    #[test]
    fn an_end_under_the_previous_secret_is_written_once() {
        let read = Read { record: record(1, None), node: None, seal: 1, since: None };
        let written = next(&Survey::of([(1, Ok(read))]), None, OPEN, at(5000));
        assert_eq!(written, Next::End { present: record(1, None), n: 2 });
    }

    #[test]
    fn the_highest_proved_record_counts_and_the_next_number_is_free() {
        let found = [
            good(record(2, by("A"))),
            good(record(3, by("B"))),
            good(record(1, None)),
            (9, Err(BadRecord::Mac)),
        ];
        let survey = Survey::of(found);
        assert_eq!(next(&survey, None, OPEN, at(0)), Next::Hold(record(3, by("B"))));
        assert_eq!((survey.top, survey.bad.len()), (9, 1));
        assert_eq!(reset(&survey, None, None, OPEN.window, at(0)).n, 10);
    }

    #[test]
    fn a_record_under_another_name_does_not_count() {
        let (_, read) = good(record(2, by("A")));
        let survey = Survey::of([(8, read), good(record(1, None))]);
        assert_eq!(next(&survey, None, OPEN, at(0)), Next::Hold(record(1, None)));
    }

    #[test]
    fn a_lower_number_than_was_seen_is_never_accepted() {
        let seen = record(3, by("A"));
        for survey in [Survey::default(), Survey::of([good(record(2, None))])] {
            assert_eq!(next(&survey, Some(&seen), OPEN, at(0)), Next::Keep(seen.clone()));
        }
        let higher = Survey::of([good(record(4, None))]);
        assert_eq!(next(&higher, Some(&seen), OPEN, at(0)), Next::Hold(record(4, None)));
    }

    #[test]
    fn a_stronger_start_is_noted_once_and_ends_the_association() {
        let survey = Survey::of([good(record(2, by("A")))]);
        let noted = Record { mode: Mode::Secret, ..record(3, None) };
        assert_eq!(next(&survey, None, SECRET, at(0)), Next::Write(noted.clone()));
        let pins = Start { mode: Mode::Pins, ..SECRET };
        for start in [SECRET, pins, OPEN] {
            let after = Survey::of([good(noted.clone())]);
            assert_eq!(next(&after, None, start, at(0)), Next::Hold(noted.clone()));
        }
    }

    #[test]
    fn a_record_under_the_previous_secret_is_written_again() {
        let read = Read { record: record(2, by("A")), node: None, seal: 1, since: None };
        let survey = Survey::of([(2, Ok(read))]);
        assert_eq!(next(&survey, None, OPEN, at(0)), Next::Write(record(3, by("A"))));
    }

    #[test]
    fn what_a_record_means_depends_on_time_and_start() {
        let noted = Record { mode: Mode::Pins, ..record(1, by("A")) };
        let held = Standing::Held(Holder::Key(key("A")));
        let rows = [
            (record(1, None), Mode::Associate, 999, Standing::Open),
            (record(1, None), Mode::Associate, 1000, Standing::Closed(Why::Over)),
            (record(1, by("A")), Mode::Associate, 5000, held),
            (noted, Mode::Associate, 0, Standing::Closed(Why::Weaker)),
            (record(1, None), Mode::Secret, 0, Standing::Closed(Why::Protected)),
        ];
        for (record, mode, now, expected) in rows {
            assert_eq!(standing(&record, mode, at(now)), expected, "{record:?} {mode:?} at {now}");
        }
    }

    #[test]
    fn only_an_open_association_can_be_claimed() {
        let survey = Survey::of([good(record(4, None))]);
        let claimed = claim(&survey, &record(4, None), &key("A"), OPEN, at(0));
        assert_eq!(claimed, Some(record(5, by("A"))));
        for (present, start, now) in
            [(record(4, by("B")), OPEN, 0), (record(4, None), OPEN, 1000), (record(4, None), SECRET, 0)]
        {
            assert_eq!(claim(&survey, &present, &key("A"), start, at(now)), None, "{present:?} at {now}");
        }
    }

    #[test]
    fn a_reset_opens_a_new_window_or_names_a_key() {
        let noted = Record { mode: Mode::Secret, ..record(4, by("A")) };
        let survey = Survey::of([good(noted)]);
        let window = reset(&survey, Some(&record(6, None)), None, OPEN.window, at(5000));
        assert_eq!(window, Record { n: 7, holder: None, until: 5060, mode: Mode::Associate });
        let named = Holder::Named(key("B").fingerprint);
        let named = reset(&survey, None, Some(named.clone()), OPEN.window, at(5000));
        assert_eq!(
            standing(&named, Mode::Associate, at(9999)),
            Standing::Held(named.holder.clone().unwrap())
        );
    }
}
