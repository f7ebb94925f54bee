//! Who was turned away, told at most once a minute and address: a scanner must not write our log.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_secs(60);
/// 1024 addresses a minute: more than that is one event, not many.
const ADDRESSES: usize = 1024;

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
        let now = Instant::now();
        if let Some(told) = told.get_mut(&remote) {
            told.since += 1;
            if now.duration_since(told.at) < MINUTE {
                return None;
            }
            told.at = now;
            return Some(std::mem::take(&mut told.since));
        }
        if told.len() >= ADDRESSES {
            told.retain(|_, told| now.duration_since(told.at) < MINUTE);
        }
        if told.len() >= ADDRESSES {
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
        assert_eq!(lines, ADDRESSES - 1);
    }
}
