//! Failed authentications per source: beyond the rate they are answered 429. Good requests are never limited.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::client;
use crate::config::Limits;
use crate::identify::Denied;
use crate::respond::Failure;

/// A token bucket a source; a failure takes a token.
pub struct Failures {
    rate: f64,
    burst: f64,
    most: usize,
    sources: Mutex<HashMap<IpAddr, Bucket>>,
}

struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Failures {
    pub fn new(limits: &Limits) -> Self {
        Self {
            rate: f64::from(limits.failures_per_second),
            burst: f64::from(limits.failures_burst),
            most: limits.failures_sources,
            sources: Mutex::new(HashMap::new()),
        }
    }

    /// Counts a failure and says how it is answered. That nobody can be judged yet is no failure.
    pub fn count(&self, source: IpAddr, denied: Denied) -> Failure {
        if matches!(denied, Denied::NotYet) || self.allows(source, Instant::now()) {
            Failure::Denied(denied)
        } else {
            Failure::TooMany
        }
    }

    fn allows(&self, address: IpAddr, now: Instant) -> bool {
        let source = client::source(address);
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if sources.len() >= self.most && !sources.contains_key(&source) {
            sources.retain(|_, bucket| self.filled(bucket, now) < self.burst);
            if sources.len() >= self.most {
                // Whoever filled the table must not speak for everybody else.
                return true;
            }
        }
        let bucket = sources.entry(source).or_insert(Bucket { tokens: self.burst, at: now });
        bucket.tokens = self.filled(bucket, now);
        bucket.at = now;
        let allowed = bucket.tokens >= 1.0;
        if allowed {
            bucket.tokens -= 1.0;
        }
        allowed
    }

    fn filled(&self, bucket: &Bucket, now: Instant) -> f64 {
        let since = now.saturating_duration_since(bucket.at).as_secs_f64();
        (bucket.tokens + since * self.rate).min(self.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_burst_is_refused_plainly_then_429_and_a_second_later_plainly_again() {
        let failures = Failures::new(&Limits::default());
        let (source, now) = (IpAddr::from([10, 0, 0, 1]), Instant::now());
        let allowed = (0..30).filter(|_| failures.allows(source, now)).count();
        assert_eq!(allowed, 20);
        assert!(failures.allows(IpAddr::from([10, 0, 0, 2]), now));
        let later = now + Duration::from_secs(1);
        assert_eq!((0..30).filter(|_| failures.allows(source, later)).count(), 10);
    }

    #[test]
    fn a_whole_ipv6_network_is_one_source() {
        let failures = Failures::new(&Limits::default());
        let now = Instant::now();
        let hosts =
            (0..1000_u128).map(|n| IpAddr::from((0x2001_0db8_0000_0001_u128 << 64 | n << 40).to_be_bytes()));
        assert_eq!(hosts.filter(|host| failures.allows(*host, now)).count(), 20);
        assert_eq!(failures.sources.lock().unwrap().len(), 1);
        assert!(failures.allows("2001:db8:0:2::1".parse().unwrap(), now));
    }

    #[test]
    fn a_flood_of_sources_holds_bounded_memory_and_keeps_nobody_else_from_its_answer() {
        let limits = Limits::default();
        let failures = Failures::new(&limits);
        let now = Instant::now();
        for n in 0..10_000_u32 {
            assert!(failures.allows(IpAddr::from(n.to_be_bytes()), now), "the first one of {n}");
        }
        assert_eq!(failures.sources.lock().unwrap().len(), limits.failures_sources);
    }
}
