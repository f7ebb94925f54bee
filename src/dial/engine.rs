//! Connections to the own engine: its socket, or TCP with or without TLS.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem};
use tokio::net::TcpStream;

use super::Fail;
use super::http::{Dial, Http, Keep};
use super::io::{Dialled, tune};
use super::tls;
use crate::body::Body;
use crate::config::{self, EngineAt, Limits, Problem};
use crate::shutdown::Shutdown;

/// 32 idle connections: the socket is local and cheap, but a burst of lists should not open each anew.
const IDLE: usize = 32;

/// The own engine. Clones share its connections.
#[derive(Clone)]
pub struct Engine(Arc<Http<Place>>);

impl Engine {
    /// Connects nothing yet: an engine that is absent now may come later.
    pub fn new(config: &config::Engine, limits: &Limits, shutdown: Shutdown) -> Result<Self, Problem> {
        let (at, host) = match &config.at {
            EngineAt::Unix(path) => (path.display().to_string(), "docker".to_owned()),
            EngineAt::Npipe(path) => (path.clone(), "docker".to_owned()),
            EngineAt::Tcp { host, port } => (format!("{host}:{port}"), authority(host, *port)),
        };
        let host = HeaderValue::try_from(&host).map_err(|_| no_name(&host))?;
        let place = Place {
            at: format!("the engine at {at}").into(),
            road: Road::of(config)?,
            deadline: limits.connect_engine,
        };
        let keep = Keep { idle: IDLE, idle_for: limits.pool_idle_for };
        Ok(Self(Arc::new(Http::new(place, host, keep, shutdown))))
    }

    /// Asks over a kept connection. The URI is path and query. Ends with the answer's head; sets no deadline on it.
    pub async fn request(&self, request: Request<Body>) -> Result<Response<Incoming>, Fail> {
        self.0.request(request).await
    }

    /// Asks over a connection of its own, on which `hyper::upgrade::on` works; it is never used for anything else.
    pub async fn upgrade(&self, request: Request<Body>) -> Result<Response<Incoming>, Fail> {
        self.0.fresh(request).await
    }
}

fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

struct Place {
    at: Arc<str>,
    road: Road,
    deadline: Duration,
}

enum Road {
    #[cfg(unix)]
    Unix(PathBuf),
    #[cfg(windows)]
    Npipe(String),
    Tcp {
        host: String,
        port: u16,
    },
    Tls {
        host: String,
        port: u16,
        name: ServerName<'static>,
        config: Arc<ClientConfig>,
    },
}

impl Road {
    fn of(config: &config::Engine) -> Result<Self, Problem> {
        match (&config.at, &config.tls) {
            #[cfg(unix)]
            (EngineAt::Unix(path), _) => Ok(Self::Unix(path.clone())),
            #[cfg(not(unix))]
            (EngineAt::Unix(path), _) => Err(unsupported(path.display())),
            #[cfg(windows)]
            (EngineAt::Npipe(path), _) => Ok(Self::Npipe(path.clone())),
            #[cfg(not(windows))]
            (EngineAt::Npipe(path), _) => Err(unsupported(path)),
            (EngineAt::Tcp { host, port }, None) => Ok(Self::Tcp { host: host.clone(), port: *port }),
            (EngineAt::Tcp { host, port }, Some(folder)) => {
                let name = ServerName::try_from(host.clone());
                let name = name.map_err(|_| no_name(host))?;
                let config = Arc::new(client_config(folder)?);
                Ok(Self::Tls { host: host.clone(), port: *port, name, config })
            }
        }
    }
}

fn unsupported(at: impl Display) -> Problem {
    Problem::new("DOCKER_HOST", format!("{at} cannot be reached from this operating system"))
}

fn no_name(host: &str) -> Problem {
    Problem::new("DOCKER_HOST", format!("{host:?} is not a host name"))
}

/// Docker's three files: who may have signed the engine's certificate, and the pair that we show.
fn client_config(folder: &Path) -> Result<ClientConfig, Problem> {
    let problem = |reason| Problem::new("DOCKER_CERT_PATH", reason);
    let unread = |path: PathBuf| move |e: pem::Error| problem(format!("{}: {e}", path.display()));
    let unusable = |e: rustls::Error| problem(format!("{}: {e}", folder.display()));
    let certificates = |path: PathBuf| {
        let read = CertificateDer::pem_file_iter(&path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        read.map_err(unread(path))
    };
    let mut roots = RootCertStore::empty();
    for root in certificates(folder.join("ca.pem"))? {
        roots.add(root).map_err(unusable)?;
    }
    let chain = certificates(folder.join("cert.pem"))?;
    let path = folder.join("key.pem");
    let key = PrivateKeyDer::from_pem_file(&path).map_err(unread(path))?;
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .map_err(unusable)
}

impl Place {
    async fn tcp(&self, host: &str, port: u16) -> Result<TcpStream, Fail> {
        let stream = TcpStream::connect((host, port)).await.map_err(|e| Fail::connecting(&self.at, e))?;
        tune(&stream).map_err(|e| Fail::connecting(&self.at, e))?;
        Ok(stream)
    }

    /// Why the socket could not be opened. What the operator must do differs for each.
    fn refused(&self, error: io::Error) -> Fail {
        let at = Arc::clone(&self.at);
        match error.kind() {
            io::ErrorKind::NotFound => Fail::Absent { at, source: Arc::new(error) },
            io::ErrorKind::PermissionDenied => {
                Fail::Forbidden { at, remedy: remedy(), source: Arc::new(error) }
            }
            _ => Fail::connecting(&at, error),
        }
    }

    fn shaking(&self, error: io::Error) -> Fail {
        if tls::is_distrust(&error) { self.distrusted(error) } else { Fail::connecting(&self.at, error) }
    }
}

impl Dial for Place {
    fn at(&self) -> &Arc<str> {
        &self.at
    }

    fn deadline(&self) -> Duration {
        self.deadline
    }

    async fn connect(&self) -> Result<Dialled, Fail> {
        match &self.road {
            #[cfg(unix)]
            Road::Unix(path) => {
                let stream = tokio::net::UnixStream::connect(path).await.map_err(|e| self.refused(e))?;
                Ok(Dialled::new(stream, None))
            }
            #[cfg(windows)]
            Road::Npipe(path) => {
                let pipe = open_pipe(path).await.map_err(|e| self.refused(e))?;
                Ok(Dialled::new(pipe, None))
            }
            Road::Tcp { host, port } => Ok(Dialled::new(self.tcp(host, *port).await?, None)),
            Road::Tls { host, port, name, config } => {
                let stream = self.tcp(host, *port).await?;
                let stream = tls::handshake(Arc::clone(config), name.clone(), stream).await;
                Ok(Dialled::new(stream.map_err(|e| self.shaking(e))?, None))
            }
        }
    }

    fn distrusted(&self, source: io::Error) -> Fail {
        Fail::Untrusted { at: Arc::clone(&self.at), source: Arc::new(source) }
    }
}

/// Root in a container that the engine remaps is nobody to the engine's socket, and nothing else tells so.
fn remedy() -> &'static str {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    if is_shifted(&map) {
        "users are remapped here (userns-remap): let the remapped user open the socket, or turn remapping off"
    } else {
        "run as root, or in the group that owns the socket"
    }
}

/// Whether a uid_map says that a user in here is another one outside.
fn is_shifted(uid_map: &str) -> bool {
    uid_map.lines().any(|line| {
        let mut fields = line.split_whitespace();
        fields.next() != fields.next()
    })
}

/// The engine's pipe has a few instances; while all are taken it is busy, and another comes at once.
#[cfg(windows)]
async fn open_pipe(path: &str) -> io::Result<tokio::net::windows::named_pipe::NamedPipeClient> {
    const ERROR_PIPE_BUSY: i32 = 231;
    loop {
        match tokio::net::windows::named_pipe::ClientOptions::new().open(path) {
            Err(error) if error.raw_os_error() == Some(ERROR_PIPE_BUSY) => {}
            other => return other,
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "a pipe tells nobody when it is free; the connect deadline bounds this"
        )]
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shifted_map_is_told_from_the_usual_one() {
        let rows = [
            ("         0          0 4294967295\n", false),
            ("", false),
            ("         0     100000      65536\n", true),
            ("0 1000 1\n1 100000 65536\n", true),
        ];
        for (map, shifted) in rows {
            assert_eq!(is_shifted(map), shifted, "{map:?}");
        }
    }

    #[test]
    fn a_forbidden_socket_says_what_to_do() {
        let road = Road::Tcp { host: String::new(), port: 0 };
        let place = Place { at: "the engine at /x".into(), road, deadline: Duration::ZERO };
        let fail = place.refused(io::ErrorKind::PermissionDenied.into());
        assert!(matches!(fail, Fail::Forbidden { .. }));
        assert!(fail.to_string().starts_with("connect to the engine at /x: not permitted; "), "{fail}");
    }
}
