//! An uploaded file on its way: into the data directory first, then beside its destination, then over it, so that
//! nobody ever sees half of it.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Uid, chownat, fchmod, fchown, fstat, mkdirat, openat, renameat,
    unlinkat,
};
use rustix::io::Errno;

use super::confine::{Directory, Owner, Root};
use super::jobs::Jobs;
use super::{Below, Fail};

/// Below the data directory; nobody else may look into it.
const FOLDER: &str = "uploads";
/// 256 KiB are gathered for each write.
const GATHERED: usize = 256 << 10;

const FILE_MODE: Mode = Mode::from_bits_truncate(0o644);
const DIRECTORY_MODE: Mode = Mode::from_bits_truncate(0o755);

/// Removes what an earlier process left.
pub(super) fn clean(data: &Path) {
    for entry in fs::read_dir(data.join(FOLDER)).into_iter().flatten().flatten() {
        let _ = fs::remove_file(entry.path());
    }
}

/// Bytes that wait in the data directory. The file has no name: however this ends, its room is free again.
pub(super) struct Spool {
    file: Arc<File>,
    gathered: Vec<u8>,
    length: u64,
    jobs: Jobs,
}

impl Spool {
    pub(super) async fn new(data: &Path, jobs: &Jobs) -> Result<Self, Fail> {
        let folder = data.join(FOLDER);
        let file = jobs.run(move || nameless(&folder)).await?.map_err(Fail::Spool)?;
        Ok(Self { file: Arc::new(file), gathered: Vec::new(), length: 0, jobs: jobs.clone() })
    }

    pub(super) async fn push(&mut self, bytes: &[u8], limit: u64) -> Result<(), Fail> {
        self.length += bytes.len() as u64;
        if self.length > limit {
            return Err(Fail::LargeFile { limit });
        }
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() >= GATHERED { self.write().await } else { Ok(()) }
    }

    async fn write(&mut self) -> Result<(), Fail> {
        let (file, gathered) = (Arc::clone(&self.file), std::mem::take(&mut self.gathered));
        self.jobs.run(move || (&*file).write_all(&gathered)).await?.map_err(Fail::Spool)
    }

    /// The whole file, to be read from its beginning.
    pub(super) async fn finish(mut self) -> Result<File, Fail> {
        self.write().await?;
        let rewound = |file: Arc<File>| {
            (&*file).rewind()?;
            file.try_clone()
        };
        let file = self.file;
        self.jobs.run(move || rewound(file)).await?.map_err(Fail::Spool)
    }
}

fn nameless(folder: &Path) -> io::Result<File> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let path = folder.join(unheard_of()?);
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}

fn unheard_of() -> io::Result<OsString> {
    let mut bytes = [0; 12];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| io::Error::other("no randomness"))?;
    Ok(format!(".swarmgate-{}", hex::encode(bytes)).into())
}

/// Puts a file into a directory, which is made where it is missing. A file of that name is replaced whole, or not at
/// all, and its owner and permissions stay.
pub(super) fn install(root: &Root, at: &Below, name: &OsStr, file: File) -> Result<(), Fail> {
    let mut made = Vec::new();
    let done = reach(root, at, &mut made).and_then(|directory| replace(&directory, name, file));
    if done.is_err() {
        for (parent, name) in made.into_iter().rev() {
            let _ = unlinkat(&parent.file, name, AtFlags::REMOVEDIR);
        }
    }
    done
}

/// Opens a directory and makes what is missing of the way to it.
fn reach(root: &Root, at: &Below, made: &mut Vec<(Directory, OsString)>) -> Result<Directory, Fail> {
    const DOING: &str = "make the directory";
    let missing = match root.directory(at, DOING) {
        Err(Fail::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => at.steps(),
        found => return found,
    };
    let mut reached = root.directory(&Below::default(), DOING)?;
    for step in missing {
        let found = match root.directory(&step, DOING) {
            Err(Fail::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                let Some((_, name)) = step.split() else { break };
                make(&reached, name).map_err(|error| Fail::io(DOING, &step, error))?;
                let found = root.directory(&step, DOING);
                made.push((reached, name.to_owned()));
                found?
            }
            found => found?,
        };
        reached = found;
    }
    Ok(reached)
}

/// The directory gets the owner of the one that it is in: whoever may write there shall write here.
fn make(parent: &Directory, name: &OsStr) -> io::Result<()> {
    match mkdirat(&parent.file, name, DIRECTORY_MODE) {
        // Somebody else was faster.
        Err(Errno::EXIST) => return Ok(()),
        made => made?,
    }
    let owner = parent.owner()?;
    if owner != ours() {
        let (user, group) = (Uid::from_raw(owner.user), Gid::from_raw(owner.group));
        chownat(&parent.file, name, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

fn ours() -> Owner {
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    Owner { user: user.as_raw(), group: group.as_raw() }
}

fn replace(directory: &Directory, name: &OsStr, mut file: File) -> Result<(), Fail> {
    const DOING: &str = "write";
    let path = || directory.at.entry(name);
    let io = |error: io::Error| Fail::io(DOING, &path(), error);
    let (owner, mode) = match directory.entry(name, DOING)? {
        None => (directory.owner().map_err(io)?, FILE_MODE),
        Some(old) => match old.kind {
            // Without setuid and setgid: they were given to other contents.
            FileType::RegularFile => (old.owner, old.mode & Mode::from_bits_truncate(0o777)),
            FileType::Directory => return Err(Fail::Directory { path: path() }),
            FileType::Symlink => return Err(Fail::Link { path: path() }),
            _ => return Err(Fail::Special { path: path() }),
        },
    };
    let mut temporary = Temporary::new(directory).map_err(io)?;
    io::copy(&mut file, &mut temporary.file).map_err(io)?;
    temporary.give(owner, mode).map_err(io)?;
    temporary.file.sync_all().map_err(io)?;
    temporary.become_file(name).map_err(io)
}

/// A file beside its destination. Dropped before it has become what it should be, it is removed.
struct Temporary<'a> {
    directory: &'a Directory,
    name: Option<OsString>,
    file: File,
}

impl<'a> Temporary<'a> {
    fn new(directory: &'a Directory) -> io::Result<Self> {
        let name = unheard_of()?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&directory.file, &name, flags, Mode::from_bits_truncate(0o600))?.into();
        Ok(Self { directory, name: Some(name), file })
    }

    fn give(&self, owner: Owner, mode: Mode) -> io::Result<()> {
        let about = fstat(&self.file)?;
        if owner != (Owner { user: about.st_uid, group: about.st_gid }) {
            let (user, group) = (Uid::from_raw(owner.user), Gid::from_raw(owner.group));
            fchown(&self.file, Some(user), Some(group))?;
        }
        Ok(fchmod(&self.file, mode)?)
    }

    fn become_file(&mut self, name: &OsStr) -> io::Result<()> {
        let dir = &self.directory.file;
        if let Some(temporary) = &self.name {
            renameat(dir, temporary, dir, name)?;
        }
        self.name = None;
        // The new name outlives a power cut only so; that it is there already is true in any case.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let _ = openat(dir, ".", flags, Mode::empty()).map(|dir| File::from(dir).sync_all());
        Ok(())
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            let _ = unlinkat(&self.directory.file, name, AtFlags::empty());
        }
    }
}
