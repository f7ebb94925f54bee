//! A directory, and the only way to open what is below it: the kernel resolves every path, and refuses one that leads
//! out, whatever links and renames are made meanwhile.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, fstat, fstatfs, openat, openat2, statat};
use rustix::io::Errno;

use super::guard::Guard;
use super::{Below, Fail};

/// 16 tries: a path with `..` in a link cannot be resolved while something on the machine is renamed.
const TRIES: usize = 16;

/// File systems whose files are the kernel's own words: they have no length, may never end, and tell of all processes.
const KERNELS_OWN: [u64; 7] = [
    0x9fa0,      // proc
    0x6265_6572, // sysfs
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0x6367_7270, // cgroup2
    0x27_e0eb,   // cgroup
    0x7363_6673, // securityfs
];

/// What links may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Links {
    /// A link that leads out is refused, an absolute one too: what a volume's links mean is up to its containers.
    Beneath,
    /// Absolute links begin at the root, as after a chroot: so the host's own links mean what they mean there.
    InRoot,
}

/// A directory that nothing leads out of.
pub(super) struct Root {
    dir: File,
    links: Links,
    guard: Guard,
}

/// What was found below a root.
#[derive(Debug)]
pub(super) struct Found {
    /// Without access to its contents; [`Self::read`] gives that.
    file: File,
    pub(super) is_dir: bool,
}

impl Root {
    /// Refuses the agent's own data directory.
    pub(super) fn new(dir: File, links: Links, guard: &Guard) -> Result<Self, Fail> {
        guard.check_directory(&dir)?;
        Ok(Self { dir, links, guard: guard.clone() })
    }

    /// Finds a file or directory; links are followed as far as they may be. What is neither, and what is the agent's
    /// own, is refused before anything of it is opened: opening a device can already do something.
    pub(super) fn find(&self, at: &Below, doing: &'static str) -> Result<Found, Fail> {
        let file = self.resolve(&at.to_path()).map_err(|error| refusal(error, at, doing))?;
        let is_dir = match kind(&file).map_err(|e| Fail::io(doing, at, e))? {
            FileType::Directory => {
                self.guard.check_directory(&file)?;
                true
            }
            FileType::RegularFile => {
                self.guard.check_file(&file)?;
                false
            }
            _ => return Err(Fail::Special { path: at.to_string() }),
        };
        Ok(Found { file, is_dir })
    }

    /// Finds a directory.
    pub(super) fn directory(&self, at: &Below, doing: &'static str) -> Result<Directory, Fail> {
        let found = self.find(at, doing)?;
        if !found.is_dir {
            return Err(Fail::io(doing, at, Errno::NOTDIR.into()));
        }
        Ok(Directory { file: found.file, at: at.clone(), guard: self.guard.clone() })
    }

    /// The only place where a path is resolved.
    fn resolve(&self, path: &Path) -> io::Result<File> {
        if self.links == Links::Beneath {
            return self.walk(path);
        }
        let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        for _ in 0..TRIES {
            match openat2(&self.dir, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), how) {
                Ok(file) => return Ok(file.into()),
                Err(Errno::AGAIN) => {}
                // Before Linux 5.6, or behind a seccomp profile that does not know the call.
                Err(Errno::NOSYS | Errno::PERM) => return self.walk(path),
                Err(error) => return Err(error.into()),
            }
        }
        Err(Errno::AGAIN.into())
    }

    /// Beneath the root, by the kernel; element by element where it cannot do that.
    fn walk(&self, path: &Path) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(OFlags::PATH.bits().cast_signed());
        Ok(Dir::from_std_file(self.dir.try_clone()?).open_with(path, &options)?.into_std())
    }
}

impl Found {
    /// Opens for reading the very file that was found, not what its name may lead to by now.
    pub(super) fn read(&self) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        if self.is_dir {
            return Ok(openat(&self.file, ".", flags | OFlags::DIRECTORY, Mode::empty())?.into());
        }
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
    }
}

/// An open directory: what is in it is named by single names, which lead nowhere.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) file: File,
    pub(super) at: Below,
    guard: Guard,
}

/// What a name in a directory stands for; a link stands for itself.
pub(super) struct Entry {
    pub(super) kind: FileType,
    pub(super) owner: Owner,
    pub(super) mode: Mode,
}

/// User and group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) user: u32,
    pub(super) group: u32,
}

impl Directory {
    /// Looks at a name, and refuses one of the agent's own. `None`: there is nothing of that name.
    pub(super) fn entry(&self, name: &OsStr, doing: &'static str) -> Result<Option<Entry>, Fail> {
        let about = match statat(&self.file, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(about) => about,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(Fail::io(doing, &self.at.entry(name), error.into())),
        };
        self.guard.check(&about)?;
        Ok(Some(Entry {
            kind: FileType::from_raw_mode(about.st_mode),
            owner: Owner { user: about.st_uid, group: about.st_gid },
            mode: Mode::from_raw_mode(about.st_mode),
        }))
    }

    /// Refuses a directory that has something of the agent's own in it, such as the data volume's: without its name the
    /// agent would not find that again.
    pub(super) fn check_contents(&self, name: &OsStr, doing: &'static str) -> Result<(), Fail> {
        let io = |error: Errno| Fail::io(doing, &self.at.entry(name), error.into());
        let flags =
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let dir = openat(&self.file, name, flags, Mode::empty()).map_err(io)?;
        for entry in rustix::fs::Dir::read_from(&dir).map_err(io)?.flatten() {
            let is_itself = matches!(entry.file_name().to_bytes(), b"." | b"..");
            if !is_itself && let Ok(about) = statat(&dir, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
                self.guard.check(&about)?;
            }
        }
        Ok(())
    }

    pub(super) fn owner(&self) -> io::Result<Owner> {
        let about = fstat(&self.file)?;
        Ok(Owner { user: about.st_uid, group: about.st_gid })
    }
}

fn kind(file: &File) -> io::Result<FileType> {
    let kind = FileType::from_raw_mode(fstat(file)?.st_mode);
    #[expect(
        clippy::cast_sign_loss,
        reason = "a magic number of 32 bits, in a field that is wider on some machines"
    )]
    let system = fstatfs(file)?.f_type as u64 & 0xffff_ffff;
    let told_by_the_kernel = kind == FileType::RegularFile && KERNELS_OWN.contains(&system);
    Ok(if told_by_the_kernel { FileType::Unknown } else { kind })
}

fn refusal(error: io::Error, at: &Below, doing: &'static str) -> Fail {
    // Both say that a link leads out: the kernel, and cap-std, whose own refusals have no number.
    let outside = error.raw_os_error() == Some(Errno::XDEV.raw_os_error())
        || (error.raw_os_error().is_none() && error.kind() == io::ErrorKind::PermissionDenied);
    if outside { Fail::Outside { path: at.to_string() } } else { Fail::io(doing, at, error) }
}

#[cfg(test)]
mod tests;
