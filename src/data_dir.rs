//! The data directory: made where it is missing, held by one agent at a time, its files replaced as a whole.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::config::Problem;

/// The claim on a data directory. Dropped, or with the end of the process however it ends, it is given back.
#[derive(Debug)]
#[must_use = "the directory is free again as soon as this is dropped"]
pub enum Lock {
    Held(File),
    /// There is no directory to write to: the agent runs from memory, and says so with this text.
    Without(String),
}

/// Claims `data` for this process. The only problem is another agent that has it.
pub fn lock(data: &Path) -> Result<Lock, Problem> {
    let file = match made(data).and_then(|()| opened(&data.join("lock"))) {
        Ok(file) => file,
        Err(error) => return Ok(without(data, &error)),
    };
    match file.try_lock() {
        Ok(()) => Ok(Lock::Held(file)),
        Err(TryLockError::WouldBlock) => {
            let why = format!("{data:?} is used by another agent; give each its own directory");
            Err(Problem::new("DATA_PATH", why))
        }
        Err(TryLockError::Error(error)) => Ok(without(data, &error)),
    }
}

/// Replaces a file of the directory so that after a power cut there is the old content or the new one, whole.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // The process id keeps a subcommand's file and the agent's apart.
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.new", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let written = write(&temporary, bytes)
        .and_then(|()| fs::rename(&temporary, path))
        .and_then(|()| sync_directory(path));
    if written.is_err() {
        // Best effort: what could not be written may not be removable either.
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = opened(path)?;
    file.set_len(0)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// The rename itself must survive a power cut. Windows has no such call; its file system journals renames.
fn sync_directory(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

fn without(data: &Path, error: &io::Error) -> Lock {
    Lock::Without(format!(
        "cannot write to the data directory {data:?} ({error}): certificates are made anew at each start, \
         and nothing is kept; mount a volume there, or set DATA_PATH"
    ))
}

fn made(data: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    // Keys will be in it.
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(data)
}

fn opened(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_agent_has_it_at_a_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("made/here");
        let first = lock(&data).expect("it is free");
        assert!(matches!(first, Lock::Held(_)));
        let problem = lock(&data).expect_err("it is held");
        assert_eq!(problem.option, "DATA_PATH");
        assert!(problem.reason.contains("another agent"), "{problem}");
        drop(first);
        assert!(matches!(lock(&data), Ok(Lock::Held(_))));
    }

    #[cfg(unix)]
    #[test]
    fn nobody_else_may_look_into_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data");
        let _held = lock(&data).expect("it is free");
        let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
        assert_eq!((mode(&data), mode(&data.join("lock"))), (0o700, 0o600));
    }

    #[test]
    fn where_nothing_can_be_written_it_goes_on_without() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        fs::write(&file, "").expect("it is written");
        let lock = lock(&file.join("data")).expect("it is no problem");
        assert!(matches!(lock, Lock::Without(why) if why.contains("DATA_PATH")));
    }
}
