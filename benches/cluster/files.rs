//! Files of a volume: a large directory, and a large file beside a plain TLS copy of the same file by the same library.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use http::HeaderMap;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::Result;
use super::load::Place;

pub(crate) const ENTRIES: usize = 10_000;

/// 256 KiB: what the agent reads of a file at a time, too.
const PIECE: usize = 256 << 10;

/// The volume's directory: `many` with its entries, and `large`, which has no blocks of its own, so that no disk is
/// measured.
pub(crate) fn volume(directory: &Path) -> PathBuf {
    directory.join("volume")
}

pub(crate) fn make(directory: &Path, bytes: u64) -> io::Result<()> {
    let volume = volume(directory);
    fs::create_dir_all(volume.join("many"))?;
    for entry in 0..ENTRIES {
        File::create(volume.join(format!("many/entry-{entry:05}.txt")))?;
    }
    File::create(volume.join("large"))?.set_len(bytes)
}

/// MB/s of the file from one end of a TLS connection to the other, over loopback, in this one process.
pub(crate) async fn plain_copy(directory: &Path) -> Result<f64> {
    let path = volume(directory).join("large");
    // Into memory first: whoever comes first would pay for that.
    io::copy(&mut File::open(&path)?, &mut io::sink())?;
    let made = rcgen::generate_simple_self_signed(["bench".to_owned()])?;
    let certificate = CertificateDer::from(made.cert.der().to_vec());
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key.into())?;
    let mut roots = RootCertStore::empty();
    roots.add(certificate)?;
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let at = listener.local_addr()?;
    let sending = async move {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let mut stream = TlsAcceptor::from(Arc::new(server)).accept(stream).await?;
        let (mut file, mut piece) = (File::open(path)?, vec![0; PIECE]);
        loop {
            // From memory a read takes no longer than handing it to another thread would.
            let read = io::Read::read(&mut file, &mut piece)?;
            if read == 0 {
                break;
            }
            stream.write_all(piece.get(..read).unwrap_or_default()).await?;
        }
        stream.shutdown().await
    };
    let receiving = async {
        let stream = TcpStream::connect(at).await?;
        let connector = TlsConnector::from(Arc::new(client));
        let mut stream =
            connector.connect(ServerName::try_from("bench").map_err(io::Error::other)?, stream).await?;
        take_all(&mut stream).await
    };
    let started = Instant::now();
    // Two tasks, as they would be two processes.
    let mut sender = tokio::task::JoinSet::new();
    sender.spawn(sending);
    let total: io::Result<u64> = receiving.await;
    let speed = total? as f64 / 1e6 / started.elapsed().as_secs_f64();
    while let Some(sent) = sender.join_next().await {
        sent??;
    }
    Ok(speed)
}

/// MB/s of the file through an agent, to a client that reads as the plain copy's does.
pub(crate) async fn download(place: &Place, headers: &HeaderMap, bytes: u64) -> Result<f64> {
    let Place::Agent(port, config) = place else { return Err("no agent".into()) };
    let stream = TcpStream::connect(("127.0.0.1", *port)).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from("127.0.0.1")?;
    let mut stream = TlsConnector::from(Arc::clone(config)).connect(name, stream).await?;
    let mut head =
        b"GET /v2/browse/get?volumeID=bench&path=/large HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n"
            .to_vec();
    for (name, value) in headers {
        head.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    head.extend(b"\r\n");
    let started = Instant::now();
    stream.write_all(&head).await?;
    // Some hundred bytes of it are the answer's head.
    let total = take_all(&mut stream).await?;
    if !(bytes..bytes + 2000).contains(&total) {
        return Err(format!("{total} bytes came of {bytes}").into());
    }
    Ok(bytes as f64 / 1e6 / started.elapsed().as_secs_f64())
}

async fn take_all(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<u64> {
    let (mut piece, mut total) = (vec![0; PIECE], 0);
    loop {
        match stream.read(&mut piece).await? {
            0 => return Ok(total),
            read => total += read as u64,
        }
    }
}
