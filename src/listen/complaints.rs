//! Who was turned away, told at most once a minute and source: a scanner must not write our log.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::client::source;

const MINUTE: Duration = Duration::from_secs(60);
/// 1024 sources a minute: more than that is one event, not many.
const SOURCES: usize = 1024;

#[derive(Default)]
pub(super) struct Complaints {
    told: Mutex<HashMap<IpAddr, Told>>,
}

struct Told {
    at: Instant,
    since: u64,
}

impl Complaints {
    /// Counts one. `Some(times)`, how often since the last line, when a line is due.
    pub(super) fn about(&self, remote: IpAddr) -> Option<u64> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let (remote, now) = (source(remote), Instant::now());
        if let Some(told) = told.get_mut(&remote) {
            told.since += 1;
            if now.duration_since(told.at) < MINUTE {
                return None;
            }
            told.at = now;
            return Some(std::mem::take(&mut told.since));
        }
        if told.len() >= SOURCES {
            told.retain(|_, told| now.duration_since(told.at) < MINUTE);
        }
        if told.len() >= SOURCES {
            return None;
        }
        told.insert(remote, Told { at: now, since: 0 });
        Some(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_gets_one_line_a_minute_and_all_get_a_bounded_number() {
        let complaints = Complaints::default();
        let address = |n: u32| IpAddr::from(n.to_be_bytes());
        assert_eq!(complaints.about(address(1)), Some(1));
        assert_eq!(complaints.about(address(1)), None);
        let lines = (0..5000).filter(|n| complaints.about(address(*n)).is_some()).count();
        assert_eq!(lines, SOURCES - 1);
    }

    #[test]
    fn whoever_has_a_network_of_addresses_gets_one_line_for_all() {
        let complaints = Complaints::default();
        let lines = |network: u128| {
            let address = move |n: u128| IpAddr::from((network << 64 | n).to_be_bytes());
            (1..100).filter(|n| complaints.about(address(*n)).is_some()).count()
        };
        assert_eq!([lines(1), lines(1), lines(2)], [1, 0, 1]);
    }
}
