//! Deletes and renames: single names in directories that are open, so that nothing is resolved a second time.

use std::ffi::OsStr;

use rustix::fs::{AtFlags, FileType, renameat, unlinkat};
use rustix::io::Errno;

use super::confine::{Directory, Root};
use super::{Below, Fail};

/// Removes a file, a link or an empty directory.
pub(super) fn delete(root: &Root, at: &Below) -> Result<(), Fail> {
    const DOING: &str = "delete";
    let (parent, name) = parent(root, at, DOING)?;
    let io = |error: Errno| Fail::io(DOING, at, error.into());
    let entry = parent.entry(name, DOING)?.ok_or_else(|| io(Errno::NOENT))?;
    let how = if entry.kind == FileType::Directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
    unlinkat(&parent.file, name, how).map_err(io)
}

/// Gives a file or directory another name; a file of that name is replaced.
pub(super) fn rename(root: &Root, from: &Below, to: &Below) -> Result<(), Fail> {
    const DOING: &str = "rename";
    let (old_parent, old) = parent(root, from, DOING)?;
    let (new_parent, new) = parent(root, to, DOING)?;
    let entry = old_parent.entry(old, DOING)?.ok_or_else(|| Fail::io(DOING, from, Errno::NOENT.into()))?;
    if entry.kind == FileType::Directory {
        old_parent.check_contents(old, DOING)?;
    }
    new_parent.entry(new, DOING)?;
    renameat(&old_parent.file, old, &new_parent.file, new)
        .map_err(|error| Fail::io(DOING, from, error.into()))
}

fn parent<'a>(root: &Root, at: &'a Below, doing: &'static str) -> Result<(Directory, &'a OsStr), Fail> {
    let (parent, name) = at.split().ok_or(Fail::IsRoot)?;
    Ok((root.directory(&parent, doing)?, name))
}
