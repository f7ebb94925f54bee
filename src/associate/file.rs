//! Records in the data directory: the association of a standalone host, and in a Swarm a copy of what Raft holds.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use tracing::warn;

use super::record::{BadRecord, Read, Record, Seals, timestamp, unix_seconds};
use crate::data_dir;
use crate::model::NodeId;

/// A standalone host's association itself.
pub const RECORD: &str = "association.json";
/// In a Swarm the last record that was seen: it verifies while no manager can be asked, and claims nothing.
pub const CACHE: &str = "association-cache.json";

/// 64 KiB: a record has less than one; more is not ours.
const LARGEST: u64 = 64 << 10;

#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("understand {}; `swarmgate association reset` writes a new one", path.display())]
    Bad {
        path: PathBuf,
        #[source]
        source: BadRecord,
    },
    #[error("set {} aside, which another node wrote", path.display())]
    SetAside {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// The record that this node wrote, if there is one. Another node's file is set aside: a copied volume copies no
/// association.
pub fn load(path: &Path, here: &NodeId, seals: &Seals) -> Result<Option<Read>, FileError> {
    let Some(read) = peek(path, seals)? else { return Ok(None) };
    if read.node.as_deref() == Some(here.as_str()) {
        return Ok(Some(read));
    }
    let mut aside = path.as_os_str().to_owned();
    aside.push(".set-aside");
    let failed = |source| FileError::SetAside { path: path.into(), source };
    fs::rename(path, &aside).map_err(failed)?;
    warn!(path = %path.display(), wrote = ?read.node, %here, "set aside an association that another node wrote");
    Ok(None)
}

/// The record, whoever wrote it.
pub fn peek(path: &Path, seals: &Seals) -> Result<Option<Read>, FileError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| {
        let written = file.metadata()?.modified();
        file.take(LARGEST).read_to_end(&mut bytes).map(|_| written)
    });
    let written = match read {
        Ok(written) => written,
        // Below what is no directory there is no record either; why none can be written is said when one should be.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(source) => return Err(FileError::Read { path: path.into(), source }),
    };
    // A file system without times keeps records all the same.
    let since = written.ok().map(|written| timestamp(unix_seconds(written)));
    let bad = |source| FileError::Bad { path: path.into(), source };
    Record::read(&bytes, seals).map(|read| Some(Read { since, ..read })).map_err(bad)
}

/// Replaces the file so that after a power cut there is the old record or the new one, whole.
pub fn store(path: &Path, record: &Record, node: &NodeId, seals: &Seals) -> io::Result<()> {
    data_dir::replace(path, &record.write(seals, Some(node)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::associate::record::Holder;
    use crate::associate::record::tests::{key, record};

    fn node(name: &str) -> NodeId {
        NodeId::parse(name).unwrap()
    }

    #[test]
    fn a_stored_record_is_read_again_and_nothing_else_is_left() {
        let data = tempfile::tempdir().unwrap();
        let path = data.path().join(RECORD);
        for n in 1..3 {
            store(&path, &record(n, Some(Holder::Key(key("A")))), &node("n1"), &Seals::default()).unwrap();
            let read = load(&path, &node("n1"), &Seals::default()).unwrap().unwrap();
            assert_eq!(read.record, record(n, Some(Holder::Key(key("A")))));
        }
        let names: Vec<_> = fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, [RECORD]);
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_may_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let data = tempfile::tempdir().unwrap();
        let path = data.path().join(RECORD);
        store(&path, &record(1, None), &node("n1"), &Seals::default()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn another_nodes_file_is_set_aside() {
        let data = tempfile::tempdir().unwrap();
        let path = data.path().join(RECORD);
        store(&path, &record(1, None), &node("n1"), &Seals::default()).unwrap();
        assert!(load(&path, &node("n2"), &Seals::default()).unwrap().is_none());
        assert!(!path.exists());
        assert!(data.path().join("association.json.set-aside").exists());
    }

    #[test]
    fn what_cannot_be_understood_is_an_error_and_stays() {
        let data = tempfile::tempdir().unwrap();
        let path = data.path().join(RECORD);
        assert!(load(&path, &node("n1"), &Seals::default()).unwrap().is_none());
        fs::write(&path, "{").unwrap();
        let error = load(&path, &node("n1"), &Seals::default()).unwrap_err();
        assert!(matches!(error, FileError::Bad { .. }));
        assert!(error.to_string().contains("association.json"));
        assert!(path.exists());
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_error() {
        let data = tempfile::tempdir().unwrap();
        let path = data.path().join("absent").join(RECORD);
        assert!(store(&path, &record(1, None), &node("n1"), &Seals::default()).is_err());
    }
}
