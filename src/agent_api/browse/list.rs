//! What is in a directory: read whole and sorted, sent piece by piece.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Response;
use http::header::{self, HeaderValue};
use http_body::Frame;
use rustix::fs::{AtFlags, Dir, FileType, Stat, statat};
use rustix::io::Errno;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::confine::Root;
use super::{Below, Fail};
use crate::body::{Body, BoxError};
use crate::config::Limits;

/// 64 KiB at a time: about 700 entries.
const PIECE: usize = 64 << 10;

/// 1 MiB of entries is what anybody may hold: some ten thousand of them.
const SMALL: usize = 1 << 20;

/// One entry; a link stands for itself.
pub(super) struct Entry {
    name: Vec<u8>,
    size: i64,
    is_dir: bool,
    modified: i64,
}

/// As Portainer's browser reads it.
#[derive(Serialize)]
struct Row<'a> {
    #[serde(rename = "Name")]
    name: &'a str,
    #[serde(rename = "Size")]
    size: i64,
    #[serde(rename = "Dir")]
    is_dir: bool,
    /// Seconds since 1970.
    #[serde(rename = "ModTime")]
    modified: i64,
}

/// How much of this may be held.
#[derive(Clone)]
pub(super) struct Bounds {
    entries: usize,
    bytes: usize,
    /// Who may hold more than [`SMALL`], until it is sent.
    large: Arc<Semaphore>,
}

impl Bounds {
    pub(super) fn new(limits: &Limits) -> Self {
        let large = Arc::new(Semaphore::new(limits.listings));
        Self { entries: limits.listing, bytes: limits.listing_bytes, large }
    }
}

/// All entries of a directory, and the right to hold so many.
pub(super) struct Entries {
    all: VecDeque<Entry>,
    _large: Option<OwnedSemaphorePermit>,
}

#[cfg(test)]
impl Entries {
    pub(super) fn count(&self) -> usize {
        self.all.len()
    }
}

/// Reads all entries, by name.
pub(super) fn read(root: &Root, at: &Below, bounds: &Bounds) -> Result<Entries, Fail> {
    const DOING: &str = "list";
    let found = root.find(at, DOING)?;
    let io = |error: Errno| Fail::io(DOING, at, error.into());
    if !found.is_dir {
        return Err(io(Errno::NOTDIR));
    }
    let dir = found.read().map_err(|error| Fail::io(DOING, at, error))?;
    let (mut entries, mut held, mut large) = (Vec::new(), 0, None);
    for entry in Dir::read_from(&dir).map_err(io)? {
        let entry = entry.map_err(io)?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        held += size_of::<Entry>() + name.to_bytes().len();
        if entries.len() == bounds.entries || held > bounds.bytes {
            return Err(Fail::Crowded { path: at.to_string() });
        }
        if held > SMALL && large.is_none() {
            large = Some(Arc::clone(&bounds.large).try_acquire_owned().map_err(|_| Fail::Busy)?);
        }
        let about = statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW);
        entries.extend(told(name.to_bytes(), about, entry.file_type()));
    }
    entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(Entries { all: entries.into(), _large: large })
}

/// `None`: it was removed since it was read. What cannot be asked about, such as the mount of a file system that is
/// dead, hides nothing beside it: it is listed as the directory has it. `kind`: what the directory says that it is.
fn told(name: &[u8], about: Result<Stat, Errno>, kind: FileType) -> Option<Entry> {
    let (size, kind, modified) = match about {
        Ok(about) => (about.st_size, FileType::from_raw_mode(about.st_mode), about.st_mtime),
        Err(Errno::NOENT) => return None,
        Err(_) => (0, kind, 0),
    };
    Some(Entry { name: name.to_vec(), size, is_dir: kind == FileType::Directory, modified })
}

pub(super) fn response(entries: Entries) -> Response<Body> {
    let mut response = Response::new(Body::boxed(Listing { entries, state: State::Begin }));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The array, written as it is read.
struct Listing {
    entries: Entries,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Begin,
    Middle,
    End,
}

impl Listing {
    fn piece(&mut self) -> Option<Vec<u8>> {
        if self.state == State::End {
            return None;
        }
        let mut piece = Vec::with_capacity(PIECE + 512);
        while piece.len() < PIECE {
            let Some(entry) = self.entries.all.pop_front() else {
                piece.extend_from_slice(if self.state == State::Begin { b"[]" } else { b"]" });
                self.state = State::End;
                return Some(piece);
            };
            piece.push(if self.state == State::Begin { b'[' } else { b',' });
            self.state = State::Middle;
            let name = String::from_utf8_lossy(&entry.name);
            let Entry { size, is_dir, modified, .. } = entry;
            let row = Row { name: &name, size, is_dir, modified };
            // Only maps with keys that are no text fail here; there are none.
            let _ = serde_json::to_writer(&mut piece, &row);
        }
        Some(piece)
    }
}

impl http_body::Body for Listing {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(self.piece().map(|piece| Ok(Frame::data(piece.into()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(names: &[&[u8]]) -> (String, usize) {
        let entry = |name: &&[u8]| Entry { name: name.to_vec(), size: 1, is_dir: false, modified: -1 };
        let entries = Entries { all: names.iter().map(entry).collect(), _large: None };
        let mut listing = Listing { entries, state: State::Begin };
        let pieces: Vec<_> = std::iter::from_fn(|| listing.piece()).collect();
        assert!(pieces.iter().all(|piece| piece.len() < PIECE + 512), "pieces stay small");
        (String::from_utf8(pieces.concat()).expect("text"), pieces.len())
    }

    #[test]
    fn what_cannot_be_asked_about_is_listed_as_the_directory_has_it() {
        for error in [Errno::ACCESS, Errno::NOTCONN, Errno::IO, Errno::STALE] {
            for (kind, is_dir) in [(FileType::Directory, true), (FileType::RegularFile, false)] {
                let entry = told(b"mnt", Err(error), kind).expect("an entry");
                assert_eq!((entry.size, entry.is_dir, entry.modified), (0, is_dir, 0), "{error}");
            }
        }
        assert!(told(b"gone", Err(Errno::NOENT), FileType::RegularFile).is_none());
        let about = rustix::fs::stat("/").expect("a root");
        assert!(told(b"root", Ok(about), FileType::Unknown).is_some_and(|entry| entry.is_dir));
    }

    #[test]
    fn the_pieces_make_one_array() {
        assert_eq!(text(&[]), ("[]".into(), 1));
        let row = |name: &str| format!(r#"{{"Name":{name},"Size":1,"Dir":false,"ModTime":-1}}"#);
        assert_eq!(text(&[b"a"]).0, format!("[{}]", row(r#""a""#)));
        let odd = text(&[b"a\"b\n", b"\xff"]).0;
        assert_eq!(odd, format!("[{},{}]", row(r#""a\"b\n""#), row("\"\u{fffd}\"")));
        let names: Vec<_> = (0..10_000).map(|number| format!("{number:05}").into_bytes()).collect();
        let (many, pieces) = text(&names.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let read: Vec<serde_json::Value> = serde_json::from_str(&many).expect("an array");
        assert_eq!((read.len(), read[9_999]["Name"].as_str()), (10_000, Some("09999")));
        assert!(pieces > 5, "{pieces}");
    }
}
