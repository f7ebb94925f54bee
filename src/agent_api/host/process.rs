//! The agent's own process, as the kernel sees it.

use std::path::Path;

use super::usage::{TICKS, kibibytes};
use super::word;

/// Resident memory in bytes.
pub(in crate::agent_api) fn process_memory() -> Option<f64> {
    kibibytes(&word(Path::new("/proc/self/status")).ok()?, "VmRSS")
}

/// Processor time, the kernel's work for it included.
pub(in crate::agent_api) fn process_seconds() -> Option<f64> {
    seconds(&word(Path::new("/proc/self/stat")).ok()?)
}

fn seconds(stat: &str) -> Option<f64> {
    // The name before it may hold anything, brackets and spaces too.
    let (_, columns) = stat.rsplit_once(')')?;
    let mut columns = columns.split_whitespace().skip(11).map(|ticks| ticks.parse::<f64>().ok());
    Some((columns.next()?? + columns.next()??) / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_any_name() {
        let stat = "1 (a) b) 1 2) S 0 1 1 0 -1 4194560 1 2 3 4 150 50 7 8 20 0";
        assert_eq!(seconds(stat), Some(2.0));
        assert_eq!(seconds("1 (short) S 0"), None);
        assert!(process_seconds().is_some() && process_memory().is_some_and(|bytes| bytes > 1e5));
    }
}
