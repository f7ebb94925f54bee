//! The host's disks: the kernel's list of whole block devices.

use std::io;
use std::path::Path;

use serde::Serialize;

use super::{entries, word};
use crate::agent_api::Fail;

/// 4096 devices: a host with more is not one that a page could show.
const MOST: usize = 4096;
/// The kernel counts sizes in these, whatever the disk's own sectors are.
const SECTOR: u64 = 512;

#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Disk {
    #[serde(rename = "Vendor")]
    pub(super) vendor: String,
    /// In bytes.
    #[serde(rename = "Size")]
    pub(super) size: u64,
}

/// All disks, by name.
pub(super) fn disks(root: &Path) -> Result<Vec<Disk>, Fail> {
    let folder = root.join("sys/block");
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Fail::Disks { path, source }
    };
    let mut disks = Vec::new();
    for name in names(root).map_err(failed(&folder))? {
        let path = folder.join(name);
        match size(&path) {
            Ok(size) => disks.push(Disk { vendor: vendor(&path), size }),
            // Pulled out since it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(&path)(error)),
        }
    }
    Ok(disks)
}

/// Names of the whole block devices but for loop devices, which are files of a disk that is listed already.
///
/// Nothing else is left out: RAM disks, device mapper and RAID are what Portainer's own agent shows too, and whether
/// one of them is the host's only large disk is not to be seen here.
pub(super) fn names(root: &Path) -> io::Result<Vec<String>> {
    let mut names = entries(&root.join("sys/block"), MOST)?;
    names.retain(|name| !name.starts_with("loop"));
    Ok(names)
}

fn size(disk: &Path) -> io::Result<u64> {
    let sectors: u64 = word(&disk.join("size"))?.parse().map_err(io::Error::other)?;
    Ok(sectors.saturating_mul(SECTOR))
}

fn vendor(disk: &Path) -> String {
    let named = word(&disk.join("device/vendor")).ok().filter(|vendor| !vendor.is_empty());
    named.unwrap_or_else(|| "unknown".to_owned())
}
