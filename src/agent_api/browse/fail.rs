//! Why something was not done with a file, and what the caller can do about it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::dial;

/// What went wrong. The texts are for the caller; `path` is always what the caller sent.
#[derive(Debug, thiserror::Error)]
pub enum Fail {
    #[error("the query is malformed; write each of volumeID, path and Path at most once, percent-encoded")]
    Query,
    #[error("no path was given")]
    NoPath,
    #[error(
        "a path may not contain '..' as an element or a NUL, nor be longer than 4096 bytes; send the path it stands for"
    )]
    Path,
    #[error("volumeID must be the name of one volume")]
    VolumeName,
    #[error("this is the root; name something in it")]
    IsRoot,
    #[error("a path of the host begins with /host")]
    NotOfHost,
    #[error(
        "the host's files are closed; set CAP_HOST_MANAGEMENT=1 on the agent and mount the host at /host to open them"
    )]
    HostClosed,
    #[error("the host's files are not mounted at {}; mount them there", at.display())]
    HostMissing { at: PathBuf },
    #[error("this is the agent's own data, which is never shown or changed")]
    OwnData,
    #[error("{path:?} leads outside through a link")]
    Outside { path: String },
    #[error("{path:?} is neither a file nor a directory")]
    Special { path: String },
    #[error("{path:?} is a link; delete it first")]
    Link { path: String },
    #[error("{path:?} is a directory")]
    Directory { path: String },
    /// A volume whose files are nowhere that the agent can see.
    #[error("the files of volume {name:?} cannot be seen here: {why}")]
    Unseen { name: String, why: String },
    /// The engine's own word about a volume.
    #[error("{message}")]
    Engine { status: u16, message: String },
    #[error("engine unavailable")]
    EngineGone(#[source] dial::Fail),
    #[error("the engine gave no answer about the volume within {} s", after.as_secs())]
    EngineSilent { after: Duration },
    #[error("the engine's answer about the volume makes no sense")]
    EngineOdd,
    #[error("cannot {doing} {path:?}")]
    Io { doing: &'static str, path: String, source: io::Error },
    #[error(
        "not permitted to {doing} {path:?}; for files of other owners the agent needs DAC_OVERRIDE, FOWNER and CHOWN"
    )]
    Forbidden { doing: &'static str, path: String, source: io::Error },
    #[error(
        "cannot keep the upload in the agent's data directory; is a volume mounted there, and has it room?"
    )]
    Spool(#[source] io::Error),
    #[error("{path:?} has more entries than can be listed")]
    Crowded { path: String },
    #[error("other work on files takes its time; try again")]
    Busy,
    #[error("work on a file broke off")]
    Died,
    #[error("the body must be JSON with CurrentFilePath and NewFilePath")]
    Json,
    #[error("{0} is missing, empty or given twice")]
    Key(&'static str),
    #[error("the body is larger than {limit} bytes")]
    LargeJson { limit: usize },
    #[error("the request's body could not be read")]
    Broken,
    #[error("the body must be multipart/form-data with a part 'file' and a part 'Path'")]
    NotMultipart,
    #[error("the body is no well-formed multipart/form-data")]
    Multipart(#[source] multer::Error),
    #[error("the part 'file' with a file name is missing, or there are two")]
    NoFile,
    #[error("the part 'Path', the directory to put the file into, is missing")]
    NoDestination,
    #[error("the file's name is empty or no name of a file")]
    FileName,
    #[error("the file is larger than {limit} bytes; AGENT_UPLOAD_LIMIT on the agent sets this limit")]
    LargeFile { limit: u64 },
}

impl Fail {
    /// What the system refused, with the remedy where there is one.
    pub(super) fn io(doing: &'static str, path: &impl ToString, source: io::Error) -> Self {
        let path = path.to_string();
        match source.kind() {
            io::ErrorKind::PermissionDenied => Self::Forbidden { doing, path, source },
            _ => Self::Io { doing, path, source },
        }
    }

    /// Whether the rest of the body is of no use to anybody.
    pub fn leaves_body(&self) -> bool {
        matches!(
            self,
            Self::LargeFile { .. }
                | Self::LargeJson { .. }
                | Self::Broken
                | Self::NotMultipart
                | Self::Multipart(_)
                | Self::NoFile
                | Self::FileName
        )
    }
}
