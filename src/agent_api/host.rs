//! What a host tells about itself in its file system: read below the root at which it is mounted here.
//!
//! Kernel files rarely block, but a disk that hangs can make them: reading is for the blocking pool, a few at a time
//! and with a deadline for who waits. Every file is read up to a bound only.

mod disks;
mod pci;
mod process;
mod usage;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::Response;
use serde::Serialize;
use tokio::sync::Semaphore;

use super::{Fail, json};
use crate::body::Body;
use crate::telemetry::metrics::Readings;
pub(super) use process::{process_memory, process_seconds};

/// Two looks at once: one takes milliseconds, and where a disk hangs more threads would hang with it.
const LOOKS: usize = 2;
/// 10 s: nobody looks at a page longer, and the engine's own calls are waited for as long.
const PATIENCE: Duration = Duration::from_secs(10);
/// 64 KiB: these files hold a word or a table of a few lines.
const LARGEST: u64 = 64 << 10;
/// 1 MiB: the counters of some ten thousand disks and partitions.
const LARGEST_TABLE: u64 = 1 << 20;

/// The host's file system, as this process sees it.
pub struct Host {
    mounted_at: PathBuf,
    looks: Arc<Semaphore>,
}

/// `GET /host/info`, as Portainer's browser reads it.
#[derive(Serialize)]
struct Info {
    /// `null`: they could not be read.
    #[serde(rename = "PCIDevices")]
    devices: Option<Vec<pci::Device>>,
    #[serde(rename = "PhysicalDisks")]
    disks: Vec<disks::Disk>,
}

impl Host {
    /// `mounted_at`: where the host's root is, if it is mounted at all.
    pub fn new(mounted_at: &Path) -> Self {
        Self { mounted_at: mounted_at.to_owned(), looks: Arc::new(Semaphore::new(LOOKS)) }
    }

    /// Disks and PCI devices.
    ///
    /// # Errors
    /// [`Fail::Disks`] where there is no list of disks. Without PCI devices the rest is still worth showing.
    pub(super) async fn info(&self) -> Result<Response<Body>, Fail> {
        let info = self.look(PATIENCE, |root| {
            let devices = pci::devices(root).ok();
            disks::disks(root).map(|disks| Info { devices, disks })
        });
        Ok(json(&info.await??))
    }

    /// Reads on the blocking pool. Who does not want to wait any longer leaves; the reading itself cannot be stopped
    /// and keeps its place until it ends.
    pub(super) async fn look<T: Send + 'static>(
        &self,
        patience: Duration,
        read: impl FnOnce(&Path) -> T + Send + 'static,
    ) -> Result<T, Fail> {
        let (mounted_at, looks) = (self.mounted_at.clone(), Arc::clone(&self.looks));
        let looked = tokio::time::timeout(patience, async move {
            let place = looks.acquire_owned().await.ok()?;
            let reading = tokio::task::spawn_blocking(move || {
                let _place = place;
                read(root(&mounted_at))
            });
            reading.await.ok()
        });
        looked.await.ok().flatten().ok_or(Fail::HostSilent)
    }
}

/// How busy the host is, with the file system of `data`.
pub(super) fn usage(root: &Path, data: &Path) -> Readings {
    usage::read(root, data)
}

/// The host's root. Where none is mounted, our own: on a bare host that is the host's, and in a container /sys and
/// /proc are the kernel's own, which show the host.
fn root(mounted_at: &Path) -> &Path {
    if mounted_at.is_dir() { mounted_at } else { Path::new("/") }
}

/// A small file of the kernel's, without the white space around it.
fn word(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LARGEST).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}

/// A table of the kernel's that grows with the host: whole lines, of at most `largest` bytes.
fn table(path: &Path, largest: u64) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(largest).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == largest {
        // A number that was cut is another number.
        bytes.truncate(bytes.iter().rposition(|byte| *byte == b'\n').unwrap_or(0));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Names of a directory's entries, sorted; at most `limit` of them.
fn entries(folder: &Path, limit: usize) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)?.take(limit) {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests;
