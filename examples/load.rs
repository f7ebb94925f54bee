//! Asks one thing again and again, and prints how often and how fast it was answered:
//!
//! ```sh
//! cargo run --release --example load -- --key portainer.pem --clients 32 https://localhost:9001/_ping
//! cargo run --release --example load -- --clients 32 unix:/var/run/docker.sock:/_ping
//! ```
//!
//! Each client keeps one connection. With `--key` each request carries another signature of that key, as those of a
//! Portainer server do; they are made before the clock starts, so that their price is not measured.

mod anyone;
mod signing;

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Parser;
use http::{HeaderName, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;

type Failure = Box<dyn Error + Send + Sync>;

#[derive(Parser)]
struct Args {
    /// `https://HOST:PORT/PATH`, `http://HOST:PORT/PATH` or `unix:SOCKET:/PATH`.
    url: String,
    #[arg(long, default_value_t = 1)]
    clients: usize,
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Sign with this key.
    #[arg(long)]
    key: Option<PathBuf>,
    /// One more header, `Name: value`. May be repeated.
    #[arg(long)]
    header: Vec<String>,
}

/// Where to, and what to ask.
#[derive(Clone)]
struct Target {
    at: At,
    path: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// Of the key's header, with signatures to take turns with.
    signed: Option<(HeaderValue, Arc<[HeaderValue]>)>,
}

#[derive(Clone)]
enum At {
    Unix(PathBuf),
    Tcp(String),
    Tls(String),
}

/// What one client saw.
#[derive(Default)]
struct Tally {
    took: Vec<Duration>,
    failed: usize,
    bytes: usize,
}

/// More of them than an agent could remember for nothing, and quickly made.
const SIGNATURES: usize = 4096;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let target = Target::of(&args)?;
    let until = Instant::now() + Duration::from_secs(args.seconds);
    let mut clients = JoinSet::new();
    for number in 0..args.clients {
        clients.spawn(ask(target.clone(), number, until));
    }
    let mut all = Tally::default();
    while let Some(one) = clients.join_next().await {
        let one = one??;
        all.took.extend(one.took);
        all.failed += one.failed;
        all.bytes += one.bytes;
    }
    all.took.sort_unstable();
    let at = |share: f64| all.took.get((all.took.len() as f64 * share) as usize).copied().unwrap_or_default();
    println!(
        "{:.0}/s p50 {:.2} ms p99 {:.2} ms failed {} bytes {}",
        all.took.len() as f64 / args.seconds as f64,
        at(0.5).as_secs_f64() * 1e3,
        at(0.99).as_secs_f64() * 1e3,
        all.failed,
        all.bytes / all.took.len().max(1),
    );
    Ok(())
}

/// One client: the next request as soon as the last one is answered in full.
async fn ask(target: Target, number: usize, until: Instant) -> Result<Tally, Failure> {
    let mut tally = Tally::default();
    let mut connection = target.connect().await?;
    for turn in number * 131.. {
        let began = Instant::now();
        if began >= until {
            break;
        }
        match exchange(&mut connection, target.request(turn)?).await {
            Ok((status, length)) if status.is_success() => {
                tally.took.push(began.elapsed());
                tally.bytes += length;
            }
            Ok(_) => tally.failed += 1,
            Err(_) => {
                tally.failed += 1;
                connection = target.connect().await?;
            }
        }
    }
    Ok(tally)
}

type Connection = SendRequest<Empty<Bytes>>;

async fn exchange(
    connection: &mut Connection,
    request: Request<Empty<Bytes>>,
) -> Result<(StatusCode, usize), hyper::Error> {
    connection.ready().await?;
    let mut response = connection.send_request(request).await?;
    let mut length = 0;
    while let Some(frame) = response.frame().await {
        length += frame?.data_ref().map_or(0, Bytes::len);
    }
    Ok((response.status(), length))
}

impl Target {
    fn of(args: &Args) -> Result<Self, Failure> {
        let (at, path) = if let Some(rest) = args.url.strip_prefix("unix:") {
            let (socket, path) = rest.split_once(":/").ok_or("expected unix:SOCKET:/PATH")?;
            (At::Unix(socket.into()), path)
        } else if let Some(rest) = args.url.strip_prefix("https://") {
            let (host, path) = rest.split_once('/').ok_or("expected https://HOST:PORT/PATH")?;
            (At::Tls(host.into()), path)
        } else {
            let rest = args.url.strip_prefix("http://").ok_or("expected unix:, http:// or https://")?;
            let (host, path) = rest.split_once('/').ok_or("expected http://HOST:PORT/PATH")?;
            (At::Tcp(host.into()), path)
        };
        let headers = args.header.iter().map(|line| header(line)).collect::<Result<_, _>>()?;
        let signed = args.key.as_deref().map(signatures).transpose()?;
        Ok(Self { at, path: format!("/{path}"), headers, signed })
    }

    fn request(&self, turn: usize) -> Result<Request<Empty<Bytes>>, http::Error> {
        let mut request = Request::get(&self.path).header("Host", "docker");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if let Some((key, signatures)) = &self.signed {
            let signature = signatures.get(turn % signatures.len()).unwrap_or(key);
            request = request.header(signing::PUBLIC_KEY, key).header(signing::SIGNATURE, signature);
        }
        request.body(Empty::new())
    }

    async fn connect(&self) -> Result<Connection, Failure> {
        match &self.at {
            At::Unix(socket) => converse(UnixStream::connect(socket).await?).await,
            At::Tcp(host) => converse(tcp(host).await?).await,
            At::Tls(host) => converse(anyone::connect(host).await?).await,
        }
    }
}

async fn tcp(host: &str) -> Result<TcpStream, std::io::Error> {
    let stream = TcpStream::connect(host).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

#[expect(clippy::disallowed_methods, reason = "a connection's driver ends with the process")]
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> Result<Connection, Failure> {
    let (connection, driver) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(driver);
    Ok(connection)
}

fn header(line: &str) -> Result<(HeaderName, HeaderValue), Failure> {
    let (name, value) = line.split_once(':').ok_or("expected a header as `Name: value`")?;
    Ok((name.trim().parse()?, value.trim().parse()?))
}

fn signatures(file: &std::path::Path) -> Result<(HeaderValue, Arc<[HeaderValue]>), Failure> {
    let key = signing::key_in(file).map_err(|e| e.to_string())?;
    let public = signing::public_key(&key).map_err(|e| e.to_string())?.parse()?;
    let one = |_| -> Result<HeaderValue, Failure> {
        Ok(signing::signature(&key, "Portainer-App").map_err(|e| e.to_string())?.parse()?)
    };
    Ok((public, (0..SIGNATURES).map(one).collect::<Result<_, _>>()?))
}
