//! A file, or a part of it, sent as it is read: one piece on its way, and the next one being read.

use std::fs::File;
use std::future::Future;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body::{Frame, SizeHint};
use rustix::buffer::spare_capacity;

use super::conditions::{self, Verdict, Version, judge};
use super::confine::Root;
use super::jobs::Jobs;
use super::{Below, Fail};
use crate::body::{Body, BoxError};

/// 256 KiB: half a thousandth of a second from memory; less would cost more in handing it over than in reading.
const PIECE: usize = 256 << 10;

/// What a browser should take a file for; nothing is guessed from its contents.
const TYPES: [(&str, &str); 19] = [
    ("txt", "text/plain; charset=utf-8"),
    ("log", "text/plain; charset=utf-8"),
    ("html", "text/html; charset=utf-8"),
    ("htm", "text/html; charset=utf-8"),
    ("css", "text/css; charset=utf-8"),
    ("js", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("xml", "text/xml; charset=utf-8"),
    ("csv", "text/csv; charset=utf-8"),
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("gif", "image/gif"),
    ("svg", "image/svg+xml"),
    ("pdf", "application/pdf"),
    ("gz", "application/gzip"),
    ("tgz", "application/gzip"),
    ("tar", "application/x-tar"),
    ("zip", "application/zip"),
];

/// An open file, and what it was when it was opened.
pub(super) struct Opened {
    file: File,
    version: Version,
}

pub(super) fn open(root: &Root, at: &Below) -> Result<Opened, Fail> {
    const DOING: &str = "read";
    let found = root.find(at, DOING)?;
    if found.is_dir {
        return Err(Fail::Directory { path: at.to_string() });
    }
    let io = |error| Fail::io(DOING, at, error);
    let file = found.read().map_err(io)?;
    let about = file.metadata().map_err(io)?;
    let tag = format!("\"{:x}-{:x}-{:x}.{:x}\"", about.ino(), about.len(), about.mtime(), about.mtime_nsec());
    let modified = conditions::seconds(about.modified().map_err(io)?);
    Ok(Opened { file, version: Version { len: about.len(), modified, tag } })
}

/// The answer that the request's conditions ask for.
pub(super) fn response(opened: Opened, at: &Below, asked: &HeaderMap, jobs: &Jobs) -> Response<Body> {
    let Opened { file, version } = opened;
    let (status, range) = match judge(asked, &version) {
        Verdict::Whole => (StatusCode::OK, Some(0..version.len)),
        Verdict::Part(range) => (StatusCode::PARTIAL_CONTENT, Some(range)),
        Verdict::Unchanged => (StatusCode::NOT_MODIFIED, None),
        Verdict::Failed => (StatusCode::PRECONDITION_FAILED, None),
        Verdict::Unsatisfiable => (StatusCode::RANGE_NOT_SATISFIABLE, None),
    };
    let content_range = match (status, &range) {
        (StatusCode::PARTIAL_CONTENT, Some(range)) => {
            Some(format!("bytes {}-{}/{}", range.start, range.end.saturating_sub(1), version.len))
        }
        (StatusCode::RANGE_NOT_SATISFIABLE, _) => Some(format!("bytes */{}", version.len)),
        _ => None,
    };
    let body = range.filter(|range| !range.is_empty()).map_or(Body::Empty, |range| {
        let left = range.end - range.start;
        Body::boxed(Sending {
            file: Arc::new(file),
            at: range.start,
            left,
            jobs: jobs.clone(),
            reading: None,
            read: None,
        })
    });
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let head = response.headers_mut();
    let mut set = |name: HeaderName, text: &str| {
        if let Ok(value) = HeaderValue::from_str(text) {
            head.insert(name, value);
        }
    };
    set(header::ACCEPT_RANGES, "bytes");
    set(header::ETAG, &version.tag);
    set(header::LAST_MODIFIED, &httpdate::fmt_http_date(version.modified));
    if let Some(range) = content_range {
        set(header::CONTENT_RANGE, &range);
    }
    if status.is_success() {
        set(header::CONTENT_TYPE, kind(at));
        // Shown by a browser in the name of the server before us, a file of a container could act for its user.
        set(header::CONTENT_DISPOSITION, "attachment");
        set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    }
    response
}

fn kind(at: &Below) -> &'static str {
    let ending = at.extension().unwrap_or_default();
    let known = TYPES.iter().find(|(name, _)| name.eq_ignore_ascii_case(ending));
    known.map_or("application/octet-stream", |(_, kind)| kind)
}

type Read = Result<io::Result<Vec<u8>>, Fail>;
type Reading = Pin<Box<dyn Future<Output = Read> + Send>>;

/// As many bytes as were promised, or a transfer that breaks off.
struct Sending {
    file: Arc<File>,
    at: u64,
    left: u64,
    jobs: Jobs,
    reading: Option<Reading>,
    /// What was read ahead.
    read: Option<Read>,
}

impl Sending {
    fn wanted(&self) -> usize {
        usize::try_from(self.left).unwrap_or(PIECE).min(PIECE)
    }

    fn begin(&self) -> Reading {
        let (file, at, wanted, jobs) = (Arc::clone(&self.file), self.at, self.wanted(), self.jobs.clone());
        Box::pin(async move { jobs.run(move || piece(&file, at, wanted)).await })
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Read> {
        if let Some(read) = self.read.take() {
            return Poll::Ready(read);
        }
        let mut reading = self.reading.take().unwrap_or_else(|| self.begin());
        let read = reading.as_mut().poll(cx);
        if read.is_pending() {
            self.reading = Some(reading);
        }
        read
    }
}

impl http_body::Body for Sending {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let Poll::Ready(read) = self.poll_read(cx) else { return Poll::Pending };
        let wanted = self.wanted();
        Poll::Ready(Some(match read {
            Ok(Ok(piece)) if piece.len() == wanted => {
                self.at += wanted as u64;
                self.left -= wanted as u64;
                // The disk works on the next piece while this one is encrypted and sent.
                if self.left > 0
                    && let Poll::Ready(read) = self.poll_read(cx)
                {
                    self.read = Some(read);
                }
                Ok(Frame::data(piece.into()))
            }
            Ok(Ok(_)) => Err("the file became shorter while it was sent".into()),
            Ok(Err(error)) => Err(error.into()),
            Err(fail) => Err(fail.into()),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// Reads so many bytes; fewer only at the file's end.
fn piece(file: &File, at: u64, wanted: usize) -> io::Result<Vec<u8>> {
    let mut piece = Vec::with_capacity(wanted);
    while piece.len() < wanted {
        let next = at + piece.len() as u64;
        match rustix::io::pread(file, spare_capacity(&mut piece), next) {
            Ok(0) => break,
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    piece.truncate(wanted);
    Ok(piece)
}
