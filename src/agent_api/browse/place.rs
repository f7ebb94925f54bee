//! Where a volume's files are, or the host's: asked of the engine, opened as it names them.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Request;
use http_body_util::{BodyExt, Limited};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxAttributes, StatxFlags, openat, statx};
use serde::Deserialize;

use super::confine::{Links, Root};
use super::guard::Guard;
use super::{Below, Fail};
use crate::body::Body;
use crate::config::Config;
use crate::dial::Engine;

/// 1 MiB: an engine's document about one volume has a few hundred bytes, and labels.
const DOCUMENT: usize = 1 << 20;

/// What a volume's name may have beside letters and digits goes to the engine as it is.
const UNSAFE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

/// What paths are opened from.
pub(super) struct Ground {
    /// Where the host is mounted, if it is.
    pub(super) host: PathBuf,
    pub(super) guard: Guard,
}

/// Which files are meant.
pub(super) enum Place {
    Volume(Volume),
    Host,
}

/// A volume, as the engine describes it.
#[derive(Deserialize)]
pub(super) struct Volume {
    #[serde(rename = "Name", default)]
    name: String,
    #[serde(rename = "Driver", default)]
    driver: String,
    #[serde(rename = "Mountpoint", default)]
    mountpoint: String,
    #[serde(rename = "Options", default)]
    options: Option<Options>,
}

/// Options of the driver `local`: with a device the volume is a mount of its own.
#[derive(Default, Deserialize)]
struct Options {
    #[serde(default)]
    device: String,
    #[serde(rename = "type", default)]
    kind: String,
}

#[derive(Deserialize)]
struct Told {
    message: String,
}

/// The host's files, where the operator opened them.
pub(super) fn of_host(config: &Config) -> Result<Place, Fail> {
    if config.browse.host { Ok(Place::Host) } else { Err(Fail::HostClosed) }
}

/// Asks the engine for a volume. What it refuses, it refuses in its own words.
pub(super) async fn of_volume(engine: &Engine, name: &str, patience: Duration) -> Result<Place, Fail> {
    let target = format!("/volumes/{}", utf8_percent_encode(name, UNSAFE));
    let request = Request::get(target).body(Body::Empty).map_err(|_| Fail::VolumeName)?;
    let ask = async {
        let answer = engine.request(request).await.map_err(Fail::EngineGone)?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), DOCUMENT).collect().await;
        Ok((status, body.map_err(|_| Fail::EngineOdd)?.to_bytes()))
    };
    let late = |_| Fail::EngineSilent { after: patience };
    let (status, body) = tokio::time::timeout(patience, ask).await.map_err(late)??;
    if status != 200 {
        let told: Told = serde_json::from_slice(&body).map_err(|_| Fail::EngineOdd)?;
        return Err(Fail::Engine { status, message: told.message });
    }
    let volume: Volume = serde_json::from_slice(&body).map_err(|_| Fail::EngineOdd)?;
    Ok(Place::Volume(Volume { name: name.to_owned(), ..volume }))
}

impl Place {
    pub(super) fn open(&self, ground: &Ground) -> Result<Root, Fail> {
        match self {
            Self::Volume(volume) => volume.open(ground),
            Self::Host => {
                let missing = |_| Fail::HostMissing { at: ground.host.clone() };
                Root::new(directory(&ground.host).map_err(missing)?, Links::InRoot, &ground.guard)
            }
        }
    }
}

impl Volume {
    /// Opens the directory at the path that the engine names; where this container does not have it, at the same path
    /// of the host.
    fn open(&self, ground: &Ground) -> Result<Root, Fail> {
        let mountpoint = Path::new(&self.mountpoint);
        if !mountpoint.is_absolute() {
            return Err(self.unseen("its driver names no directory for them"));
        }
        let found = match directory(mountpoint) {
            Err(error) if is_absent(&error) => self.below_host(ground)?,
            found => found.map_err(|error| Fail::io("open", &self.mountpoint, error))?,
        };
        let device = self.options.as_ref().map(|options| options.device.as_str()).unwrap_or_default();
        if !device.is_empty() && !is_mount(&found) {
            // The directory that it is mounted over is there, and is not it.
            return Err(self.unseen(
                "it is a mount of its own, which the engine makes only while a container uses \
                                    it and this agent's container does not get; use a container with it",
            ));
        }
        Root::new(found, Links::Beneath, &ground.guard)
    }

    fn below_host(&self, ground: &Ground) -> Result<File, Fail> {
        let why = "is not there; mount it into the agent's container at the same path, or the host at /host";
        let unseen = || self.unseen(why);
        let host = directory(&ground.host).map_err(|_| unseen())?;
        let at = Below::parse(self.mountpoint.as_bytes()).map_err(|_| unseen())?;
        let host = Root::new(host, Links::InRoot, &ground.guard)?;
        match host.directory(&at, "open") {
            Err(Fail::Io { source, .. }) if is_absent(&source) => Err(unseen()),
            found => Ok(found?.file),
        }
    }

    fn unseen(&self, why: &str) -> Fail {
        let kind = self.options.as_ref().map(|options| options.kind.as_str()).unwrap_or_default();
        let kind = if kind.is_empty() { String::new() } else { format!(", type {kind}") };
        let why = format!("{:?} (driver {}{kind}) {why}", self.mountpoint, self.driver);
        Fail::Unseen { name: self.name.clone(), why }
    }
}

fn directory(at: &Path) -> io::Result<File> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(CWD, at, flags, Mode::empty())?.into())
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Whether something is mounted at a directory. Before Linux 5.8 nobody can say, and it is taken for mounted.
fn is_mount(dir: &File) -> bool {
    let told = statx(dir, "", AtFlags::EMPTY_PATH, StatxFlags::empty());
    told.is_ok_and(|told| {
        let known = told.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT);
        !known || told.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)
    })
}
