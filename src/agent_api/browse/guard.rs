//! Keeps what is the agent's own out of all that is shown or changed: its data directory, which has keys, and the secrets
//! that its container was given.
//!
//! Files and directories are told by device and number, so no other name, mount or link of them gets by.

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, Stat, fstat, openat};

use super::Fail;

/// 4096 directories up: no path that can be opened has more.
const DEPTH: usize = 4096;

/// Where an engine puts the secrets of a service into its containers.
const SECRETS: &str = "/run/secrets";

/// 4096 files and directories of our own: a few keys, and uploads under way, which have no name.
const OWN: usize = 4096;

#[derive(Clone, Debug)]
pub(super) struct Guard {
    data: PathBuf,
    secrets: PathBuf,
}

type Identity = (u64, u64);

impl Guard {
    pub(super) fn new(data: &Path) -> Self {
        Self { data: data.to_owned(), secrets: SECRETS.into() }
    }

    /// Refuses the data directory and every directory inside it, wherever it is mounted.
    pub(super) fn check_directory(&self, dir: &File) -> Result<(), Fail> {
        self.check_file(dir)?;
        let within = self.home().is_some_and(|home| is_within(dir, home).unwrap_or(true));
        if within { Err(Fail::OwnData) } else { Ok(()) }
    }

    /// Refuses a file of our own, under whatever name it was found.
    pub(super) fn check_file(&self, file: &File) -> Result<(), Fail> {
        fstat(file).map_err(|_| Fail::OwnData).and_then(|about| self.check(&about))
    }

    /// Refuses what is our own.
    pub(super) fn check(&self, about: &Stat) -> Result<(), Fail> {
        if self.own().contains(&(about.st_dev, about.st_ino)) { Err(Fail::OwnData) } else { Ok(()) }
    }

    /// The data directory. `None`: there is none, and nothing to guard.
    fn home(&self) -> Option<Identity> {
        fs::metadata(&self.data).ok().as_ref().map(identity)
    }

    /// All that is in the data directory and among the secrets now, and they themselves. Looked up each time: keys are
    /// replaced.
    fn own(&self) -> BTreeSet<Identity> {
        let mut found = BTreeSet::new();
        let mut left = vec![self.data.clone(), self.secrets.clone()];
        while let Some(path) = left.pop() {
            // A link of our own leads to what is guarded, too; one into itself is seen only once.
            let Ok(about) = fs::metadata(&path) else { continue };
            if found.insert(identity(&about)) && about.is_dir() && found.len() < OWN {
                left.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
            }
        }
        found
    }
}

fn identity(about: &Metadata) -> Identity {
    (about.dev(), about.ino())
}

/// Whether a directory is this one or below it, asked of the file system from below.
fn is_within(dir: &File, home: Identity) -> io::Result<bool> {
    let up =
        |from: &File| openat(from, "..", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let mut at = dir.try_clone()?;
    let mut found = identity(&at.metadata()?);
    for _ in 0..DEPTH {
        if found == home {
            return Ok(true);
        }
        at = up(&at)?.into();
        let above = identity(&at.metadata()?);
        if above == found {
            return Ok(false);
        }
        found = above;
    }
    Err(io::ErrorKind::InvalidInput.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_our_own_is_known_by_any_name() {
        let folder = tempfile::tempdir().expect("a directory");
        let at = |name: &str| folder.path().join(name);
        for made in ["data/tls", "data/uploads", "secrets", "volume"] {
            fs::create_dir_all(at(made)).expect("a directory");
        }
        for made in ["data/tls/key.pem", "data/cache.json", "secrets/cluster", "volume/mine"] {
            fs::write(at(made), "x").expect("a file");
        }
        let guard = Guard { data: at("data"), secrets: at("secrets") };
        let file = |name: &str| guard.check_file(&File::open(at(name)).expect("it is there")).is_ok();
        for (own, link) in [
            ("data/tls/key.pem", "volume/a"),
            ("data/cache.json", "volume/b"),
            ("secrets/cluster", "volume/c"),
        ] {
            fs::hard_link(at(own), at(link)).expect("a link");
            assert!(!file(own) && !file(link), "{own}");
        }
        assert!(file("volume/mine"));
        for own in ["data", "data/tls", "data/uploads", "secrets"] {
            assert!(guard.check_directory(&File::open(at(own)).expect("it is there")).is_err(), "{own}");
        }
        assert!(guard.check_directory(&File::open(at("volume")).expect("it is there")).is_ok());
        // A directory inside is known by itself, not only by what is above it: a mount of it alone has nothing above.
        let about = fstat(File::open(at("data/tls")).expect("it is there")).expect("its number");
        assert!(guard.check(&about).is_err());
        // What comes later is guarded, too.
        fs::write(at("data/tls/new.pem"), "x").expect("a file");
        assert!(!file("data/tls/new.pem"));
    }
}
