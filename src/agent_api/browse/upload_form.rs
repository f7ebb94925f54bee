//! A browser's upload: its parts in any order, the file's bytes into the data directory, never more than a few pieces
//! in memory.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::Stream;
use http::header;
use multer::{Constraints, Field, Multipart, SizeLimit};

use super::Fail;
use super::jobs::Jobs;
use super::upload::Spool;
use crate::body::{Body, BoxError};
use crate::execute::Asked;

/// 1 MiB for all that is not the file: its destination, fields that nobody asked for, and what frames them.
const BESIDE: u64 = 1 << 20;
/// 256 KiB that may come without making anything of the form readable: a part's head is a few hundred bytes.
const UNREADABLE: usize = 256 << 10;
/// PATH_MAX, and a byte to see that it was more.
const PATH_BYTES: usize = 4097;

/// What was uploaded.
pub(super) struct Form {
    /// Without a name, to be read from its beginning.
    pub(super) file: File,
    pub(super) name: OsString,
    pub(super) destination: Option<OsString>,
}

/// Reads the whole form. `limit`: the bytes that the file may have.
pub(super) async fn read(mut asked: Asked, data: &Path, limit: u64, jobs: &Jobs) -> Result<Form, Fail> {
    let kind = asked.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let boundary = multer::parse_boundary(kind.unwrap_or_default()).map_err(|_| Fail::NotMultipart)?;
    let whole = limit.saturating_add(BESIDE);
    if asked.declared_length().is_some_and(|length| length as u64 > whole) {
        return Err(Fail::LargeFile { limit });
    }
    let room = Arc::new(AtomicUsize::new(UNREADABLE));
    let body = std::mem::replace(&mut asked.body, Body::Spent);
    let stream = Metered { body, room: Arc::clone(&room), paused: false };
    let constraints = Constraints::new().size_limit(SizeLimit::new().whole_stream(whole));
    let mut parts = Parts { form: Multipart::with_constraints(stream, boundary, constraints), room, limit };
    let (mut file, mut destination) = (None, None);
    while let Some(mut part) = parts.next().await? {
        match part.name() {
            Some("file") if part.file_name().is_some() => {
                let name = base_name(part.file_name().unwrap_or_default())?;
                let mut spool = Spool::new(data, jobs).await?;
                while let Some(bytes) = parts.chunk(&mut part).await? {
                    spool.push(&bytes, limit).await?;
                }
                if file.replace((spool.finish().await?, name)).is_some() {
                    return Err(Fail::NoFile);
                }
            }
            Some("Path") => {
                let mut path = Vec::new();
                while let Some(bytes) = parts.chunk(&mut part).await? {
                    let free = PATH_BYTES.saturating_sub(path.len());
                    path.extend(bytes.into_iter().take(free));
                }
                destination.get_or_insert(OsString::from_vec(path));
            }
            _ => while parts.chunk(&mut part).await?.is_some() {},
        }
    }
    let (file, name) = file.ok_or(Fail::NoFile)?;
    Ok(Form { file, name, destination: destination.filter(|path| !path.is_empty()) })
}

/// Some browsers send a whole path, of whichever system.
fn base_name(sent: &str) -> Result<OsString, Fail> {
    match sent.rsplit(['/', '\\']).next().unwrap_or_default() {
        "" | "." | ".." => Err(Fail::FileName),
        name if name.contains('\0') => Err(Fail::FileName),
        name => Ok(name.into()),
    }
}

/// The form's parts, one after the other.
struct Parts {
    form: Multipart<'static>,
    room: Arc<AtomicUsize>,
    limit: u64,
}

impl Parts {
    async fn next(&mut self) -> Result<Option<Field<'static>>, Fail> {
        let next = self.form.next_field().await;
        self.room.store(UNREADABLE, Ordering::Relaxed);
        next.map_err(|error| self.refusal(error))
    }

    async fn chunk(&self, part: &mut Field<'static>) -> Result<Option<Bytes>, Fail> {
        let chunk = part.chunk().await;
        self.room.store(UNREADABLE, Ordering::Relaxed);
        chunk.map_err(|error| self.refusal(error))
    }

    fn refusal(&self, error: multer::Error) -> Fail {
        match error {
            multer::Error::StreamSizeExceeded { .. } => Fail::LargeFile { limit: self.limit },
            multer::Error::StreamReadFailed(_) => Fail::Broken,
            error => Fail::Multipart(error),
        }
    }
}

/// The body, handed over one piece at a time: the parser takes all that is ready, and keeps what it cannot read yet.
struct Metered {
    body: Body,
    /// How much may still come before something of the form becomes readable.
    room: Arc<AtomicUsize>,
    paused: bool,
}

impl Stream for Metered {
    type Item = Result<Bytes, BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if std::mem::take(&mut self.paused) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        loop {
            let frame = match ready!(http_body::Body::poll_frame(Pin::new(&mut self.body), cx)) {
                None => return Poll::Ready(None),
                Some(frame) => frame?,
            };
            // Trailers say nothing here.
            let Ok(data) = frame.into_data() else { continue };
            let Some(room) = self.room.load(Ordering::Relaxed).checked_sub(data.len()) else {
                return Poll::Ready(Some(Err("the head of a part is too large".into())));
            };
            self.room.store(room, Ordering::Relaxed);
            self.paused = true;
            return Poll::Ready(Some(Ok(data)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_element_names_the_file() {
        let rows = [
            ("a.txt", Some("a.txt")),
            ("../../x", Some("x")),
            ("..\\..\\x", Some("x")),
            ("C:\\fakepath\\a b.txt", Some("a b.txt")),
            ("/etc/passwd", Some("passwd")),
            ("a/..b", Some("..b")),
            ("ü", Some("ü")),
            ("", None),
            (".", None),
            ("..", None),
            ("a/", None),
            ("a\\..", None),
            ("a\0b", None),
        ];
        for (sent, name) in rows {
            assert_eq!(base_name(sent).ok(), name.map(OsString::from), "{sent:?}");
        }
    }
}
