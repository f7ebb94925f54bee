//! Keeps the agent's own data directory out of all that is shown or changed: keys are in it.
//!
//! Directories are told by device and number, so no other name, mount or link of them gets by.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, Stat, fstat, openat};

use super::Fail;

/// 4096 directories up: no path that can be opened has more.
const DEPTH: usize = 4096;

#[derive(Clone, Debug)]
pub(super) struct Guard {
    data: PathBuf,
}

type Identity = (u64, u64);

impl Guard {
    pub(super) fn new(data: &Path) -> Self {
        Self { data: data.to_owned() }
    }

    /// Refuses the data directory and every directory inside it.
    pub(super) fn check_directory(&self, dir: &File) -> Result<(), Fail> {
        let within = self.own().is_some_and(|own| is_within(dir, own).unwrap_or(true));
        if within { Err(Fail::OwnData) } else { Ok(()) }
    }

    /// Refuses a file that is in the data directory, under whatever name it was found.
    pub(super) fn check_file(&self, file: &File) -> Result<(), Fail> {
        fstat(file).map_err(|_| Fail::OwnData).and_then(|about| self.check(&about))
    }

    /// Refuses the data directory itself, and what is in it.
    pub(super) fn check(&self, about: &Stat) -> Result<(), Fail> {
        let found = identity(about);
        let inside = || {
            let entries = fs::read_dir(&self.data).into_iter().flatten().flatten();
            entries.filter_map(|entry| entry.metadata().ok()).any(|about| (about.dev(), about.ino()) == found)
        };
        match self.own() {
            Some(own) if own == found || inside() => Err(Fail::OwnData),
            _ => Ok(()),
        }
    }

    /// `None`: there is no data directory, and nothing to guard.
    fn own(&self) -> Option<Identity> {
        fs::metadata(&self.data).ok().map(|about| (about.dev(), about.ino()))
    }
}

fn identity(about: &Stat) -> Identity {
    (about.st_dev, about.st_ino)
}

/// Whether a directory is this one or below it, asked of the file system from below.
fn is_within(dir: &File, own: Identity) -> io::Result<bool> {
    let up =
        |from: &File| openat(from, "..", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let mut at = dir.try_clone()?;
    let mut found = identity(&fstat(&at)?);
    for _ in 0..DEPTH {
        if found == own {
            return Ok(true);
        }
        at = up(&at)?.into();
        let above = identity(&fstat(&at)?);
        if above == found {
            return Ok(false);
        }
        found = above;
    }
    Err(io::ErrorKind::InvalidInput.into())
}
