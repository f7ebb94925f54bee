//! How busy the host is: processors, memory, load, disks, and the file systems that matter to the agent.
//!
//! From /proc, which in a container is the host's own but for what the container has to itself.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{LARGEST_TABLE, disks, table, word};
use crate::telemetry::metrics::Readings;

/// What the kernel counts processor time in, on every processor that we are built for (USER_HZ).
pub(super) const TICKS: f64 = 100.0;
/// What the kernel counts memory in.
const KIB: f64 = 1024.0;
const SECTOR: f64 = 512.0;

/// The first columns of /proc/stat. What follows, time of guests, is in the first two already.
const MODES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];
const MEMORY: [(&str, &str, &str); 5] = [
    ("MemTotal", "swarmgate_host_memory_size_bytes", "Memory of the host"),
    ("MemAvailable", "swarmgate_host_memory_available_bytes", "Memory that programs could still have"),
    ("MemFree", "swarmgate_host_memory_free_bytes", "Memory that nothing uses, caches included"),
    ("SwapTotal", "swarmgate_host_swap_size_bytes", "Swap space of the host"),
    ("SwapFree", "swarmgate_host_swap_free_bytes", "Swap space that nothing uses"),
];
const LOADS: [(&str, &str); 3] = [
    ("swarmgate_host_load1", "Load average over 1 minute"),
    ("swarmgate_host_load5", "Load average over 5 minutes"),
    ("swarmgate_host_load15", "Load average over 15 minutes"),
];

/// Reads everything; what cannot be read is left out.
pub(super) fn read(root: &Path, data: &Path) -> Readings {
    let mut readings = Readings::default();
    let proc = proc(root);
    let text = |name| word(&proc.join(name)).unwrap_or_default();
    let help = "Processor time of the host";
    readings.counters("swarmgate_host_cpu_seconds", help, "mode", processors(&text("stat")));
    let memory = text("meminfo");
    for (field, name, help) in MEMORY {
        readings.gauge(name, help, kibibytes(&memory, field));
    }
    let load = text("loadavg");
    for ((name, help), value) in LOADS.into_iter().zip(load.split_whitespace()) {
        readings.gauge(name, help, value.parse().ok());
    }
    let names = disks::names(root).unwrap_or_default().into_iter().collect();
    let stats = table(&proc.join("diskstats"), LARGEST_TABLE).unwrap_or_default();
    let [read, written] = disks(&stats, &names);
    let help = "Bytes read from the host's disks";
    readings.counters("swarmgate_host_disk_read_bytes", help, "device", read);
    let help = "Bytes written to the host's disks";
    readings.counters("swarmgate_host_disk_written_bytes", help, "device", written);
    file_systems(&mut readings, &BTreeSet::from([root, data]));
    readings
}

/// The host's, where its own /proc is mounted with the rest of it.
fn proc(root: &Path) -> PathBuf {
    let mounted = root.join("proc");
    if mounted.join("stat").is_file() { mounted } else { PathBuf::from("/proc") }
}

fn processors(stat: &str) -> Vec<(String, f64)> {
    let all = stat.lines().find_map(|line| line.strip_prefix("cpu "));
    let ticks = all.unwrap_or_default().split_whitespace().map(str::parse::<f64>);
    MODES
        .iter()
        .zip(ticks)
        .filter_map(|(mode, ticks)| Some(((*mode).to_owned(), ticks.ok()? / TICKS)))
        .collect()
}

/// A field of /proc/meminfo, or of /proc/self/status, in bytes.
pub(super) fn kibibytes(table: &str, field: &str) -> Option<f64> {
    let value = table.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    value.split_whitespace().next()?.parse().ok().map(|kib: f64| kib * KIB)
}

/// Bytes read and written, of whole disks only: partitions would count twice.
fn disks(diskstats: &str, names: &BTreeSet<String>) -> [Vec<(String, f64)>; 2] {
    let column = |at: usize| {
        let row = |line: &str| {
            let name = line.split_whitespace().nth(2)?;
            // The kernel's folders cannot have a slash in their names.
            names.get(&name.replace('/', "!"))?;
            let sectors: f64 = line.split_whitespace().nth(at)?.parse().ok()?;
            Some((name.to_owned(), sectors * SECTOR))
        };
        diskstats.lines().filter_map(row).collect()
    };
    [column(5), column(9)]
}

fn file_systems(readings: &mut Readings, paths: &BTreeSet<&Path>) {
    let known: Vec<_> = paths
        .iter()
        .filter_map(|path| Some((path.display().to_string(), rustix::fs::statvfs(*path).ok()?)))
        .collect();
    let blocks = |count: fn(&rustix::fs::StatVfs) -> u64| {
        known.iter().map(|(path, told)| (path.clone(), count(told) as f64 * told.f_frsize as f64)).collect()
    };
    let rows = [
        ("swarmgate_host_filesystem_size_bytes", "Size of the file system", blocks(|told| told.f_blocks)),
        ("swarmgate_host_filesystem_free_bytes", "What nothing uses of it", blocks(|told| told.f_bfree)),
        ("swarmgate_host_filesystem_available_bytes", "What all may still use", blocks(|told| told.f_bavail)),
    ];
    for (name, help, values) in rows {
        readings.gauges(name, help, "path", values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[(&str, f64)]) -> Vec<(String, f64)> {
        rows.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
    }

    #[test]
    fn processor_time_is_in_seconds_and_without_guests() {
        let stat = "cpu  100 20 300 4000 50 6 7 8 90 10\ncpu0 1 2 3 4 5 6 7 8 9 10\nintr 1\n";
        let expected = [1.0, 0.2, 3.0, 40.0, 0.5, 0.06, 0.07, 0.08];
        assert_eq!(processors(stat), rows(&MODES.into_iter().zip(expected).collect::<Vec<_>>()));
        assert_eq!(processors("cpu  100 x 300\n"), rows(&[("user", 1.0), ("system", 3.0)]));
        assert_eq!(processors(""), rows(&[]));
    }

    #[test]
    fn memory_is_in_bytes() {
        let table = "MemTotal:       16384 kB\nMemAvailable:    1 kB\nSwapTotalX: 5 kB\nMemFree: x kB\n";
        assert_eq!(kibibytes(table, "MemTotal"), Some(16_777_216.0));
        assert_eq!(kibibytes(table, "MemAvailable"), Some(1024.0));
        assert_eq!([kibibytes(table, "SwapTotal"), kibibytes(table, "MemFree")], [None, None]);
    }

    #[test]
    fn only_whole_disks_count() {
        let stats = "   8  0 sda 10 0 4 5 20 0 6 5 0 1 2\n   8  1 sda1 1 0 2 0 3 0 4 0 0 0 0\n\
                     104 0 cciss/c0d0 1 0 1 0 1 0 2 0 0 0 0\n   7  0 loop0 1 0 1 0 1 0 1\nshort\n";
        let names = BTreeSet::from(["sda", "cciss!c0d0"].map(str::to_owned));
        let [read, written] = disks(stats, &names);
        assert_eq!(read, rows(&[("sda", 2048.0), ("cciss/c0d0", 512.0)]));
        assert_eq!(written, rows(&[("sda", 3072.0), ("cciss/c0d0", 1024.0)]));
    }
}
