//! The host's PCI devices: numbers from the kernel, names from the host's own copy of the PCI ID database.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use serde::Serialize;

use super::{entries, word};

/// 4096 devices: a page cannot show more.
const MOST: usize = 4096;
/// 16 MiB: the database has less than two.
const LARGEST: u64 = 16 << 20;
/// Where distributions keep the database, the commonest first.
const DATABASES: [&str; 4] =
    ["usr/share/hwdata/pci.ids", "usr/share/misc/pci.ids", "usr/share/pci.ids", "var/lib/pciutils/pci.ids"];
const UNKNOWN: &str = "unknown";

#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Device {
    #[serde(rename = "Vendor")]
    pub(super) vendor: String,
    #[serde(rename = "Name")]
    pub(super) name: String,
}

/// Vendor and device, as the kernel numbers them.
type Id = (u16, u16);

/// The names that were looked for and found.
#[derive(Default)]
struct Names {
    vendors: BTreeMap<u16, String>,
    devices: BTreeMap<Id, String>,
}

/// All devices, by their address. Where there are none no database is needed.
pub(super) fn devices(root: &Path) -> io::Result<Vec<Device>> {
    let folder = root.join("sys/bus/pci/devices");
    let addresses = entries(&folder, MOST)?;
    // What was pulled out since it was listed has no numbers any more.
    let ids: Vec<_> = addresses.iter().filter_map(|address| id(&folder.join(address))).collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let names = Names::read(database(root)?, &ids.iter().copied().collect())?;
    Ok(ids.into_iter().map(|id| names.of(id)).collect())
}

fn id(device: &Path) -> Option<Id> {
    let number = |file| {
        let text = word(&device.join(file)).ok()?;
        u16::from_str_radix(text.strip_prefix("0x")?, 16).ok()
    };
    Some((number("vendor")?, number("device")?))
}

fn database(root: &Path) -> io::Result<impl BufRead> {
    let found = DATABASES.iter().map(|path| root.join(path)).find(|path| path.is_file());
    Ok(BufReader::new(File::open(found.ok_or(io::ErrorKind::NotFound)?)?.take(LARGEST)))
}

impl Names {
    /// Reads the database once and keeps what is asked for. Its lines: `<vendor>  <name>`, below it, after a tab,
    /// `<device>  <name>`, below that, after two, subsystems; then classes, which begin with a letter and a space.
    fn read(mut database: impl BufRead, wanted: &BTreeSet<Id>) -> io::Result<Self> {
        let (mut names, mut vendor, mut line) = (Self::default(), None, Vec::new());
        while {
            line.clear();
            database.read_until(b'\n', &mut line)?
        } > 0
        {
            let text = String::from_utf8_lossy(&line);
            if let Some(device) = text.strip_prefix('\t') {
                let numbered =
                    vendor.zip(entry(device)).map(|(vendor, (device, name))| ((vendor, device), name));
                if let Some((id, name)) = numbered.filter(|(id, _)| wanted.contains(id)) {
                    names.devices.insert(id, name.to_owned());
                }
            } else if !text.starts_with('#') {
                let named = entry(&text);
                vendor = named.map(|(number, _)| number);
                if let Some((number, name)) = named
                    && wanted.iter().any(|(vendor, _)| *vendor == number)
                {
                    names.vendors.insert(number, name.to_owned());
                }
            }
        }
        Ok(names)
    }

    fn of(&self, id: Id) -> Device {
        let text = |name: Option<&String>| name.map_or_else(|| UNKNOWN.to_owned(), Clone::clone);
        Device { vendor: text(self.vendors.get(&id.0)), name: text(self.devices.get(&id)) }
    }
}

/// `<4 hex digits>  <name>`.
fn entry(line: &str) -> Option<(u16, &str)> {
    let (number, name) = line.trim_end().split_once("  ")?;
    let number = (number.len() == 4).then(|| u16::from_str_radix(number, 16).ok())??;
    Some((number, name.trim()))
}
