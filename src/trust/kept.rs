//! Certificates and keys in files: read as pairs, written so that a crash leaves the old or the new file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use time::OffsetDateTime;

use super::issue::{Pem, Said};
use super::{ALPN, TrustError, provider};
use crate::model::Fingerprint;

/// A certificate with its key, ready to be shown.
pub(super) struct Pair {
    pub(super) config: ServerConfig,
    pub(super) fingerprint: Fingerprint,
    pub(super) said: Said,
}

/// Where a pair lies.
#[derive(Clone, Debug)]
pub(super) struct Paths {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

/// Both files as they are now. Compared as a whole, since a clock may be wrong and a size may stay the same.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Texts {
    certificate: Result<Vec<u8>, io::ErrorKind>,
    key: Result<Vec<u8>, io::ErrorKind>,
}

impl Paths {
    pub(super) fn read(&self) -> Texts {
        let text = |path: &Path| fs::read(path).map_err(|error| error.kind());
        Texts { certificate: text(&self.certificate), key: text(&self.key) }
    }

    /// Parses and checks what was read: the pair fits together and is valid now.
    pub(super) fn pair(&self, texts: &Texts, now: OffsetDateTime) -> Result<Pair, TrustError> {
        let unread = |path: &PathBuf, kind: &io::ErrorKind| TrustError::Read {
            path: path.clone(),
            source: (*kind).into(),
        };
        let certificate = texts.certificate.as_ref().map_err(|kind| unread(&self.certificate, kind))?;
        let key = texts.key.as_ref().map_err(|kind| unread(&self.key, kind))?;
        let pair = self.parse(certificate, key)?;
        if pair.said.is_valid_at(now) {
            return Ok(pair);
        }
        let Said { from, until, .. } = pair.said;
        Err(TrustError::NotNow {
            certificate: self.certificate.clone(),
            from: from.to_string(),
            until: until.to_string(),
        })
    }

    pub(super) fn parse(&self, certificate: &[u8], key: &[u8]) -> Result<Pair, TrustError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate)
            .collect::<Result<_, _>>()
            .map_err(|_| TrustError::NoCertificate { path: self.certificate.clone() })?;
        let leaf =
            chain.first().ok_or_else(|| TrustError::NoCertificate { path: self.certificate.clone() })?;
        let said = Said::parse(leaf)?;
        let fingerprint = fingerprint(leaf);
        let key =
            PrivateKeyDer::from_pem_slice(key).map_err(|_| TrustError::NoKey { path: self.key.clone() })?;
        let config = config(chain, key).map_err(|source| TrustError::Pair {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            source,
        })?;
        Ok(Pair { config, fingerprint, said })
    }

    /// The key first: between the two writes a restart finds a pair that does not fit, and makes a new one.
    pub(super) fn write(&self, pem: &Pem) -> io::Result<()> {
        replace(&self.key, pem.key.as_bytes(), 0o600)?;
        replace(&self.certificate, pem.certificate.as_bytes(), 0o644)
    }

    /// Puts away what cannot be used but may be somebody's only copy.
    pub(super) fn set_aside(&self) {
        for path in [&self.certificate, &self.key] {
            let mut aside = path.clone().into_os_string();
            aside.push(".unusable");
            // What is absent needs no place; what cannot be moved is found unwritable next.
            fs::rename(path, aside).ok();
        }
    }
}

fn config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    // Stateless tickets: a reconnecting client saves a signature, and nothing is kept for those who do not.
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
    // One is all that any client of ours uses.
    config.send_tls13_tickets = 1;
    Ok(config)
}

fn fingerprint(leaf: &CertificateDer<'_>) -> Fingerprint {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, leaf);
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    Fingerprint(bytes)
}

/// Writes beside the file, syncs, and renames over it.
fn replace(path: &Path, text: &[u8], mode: u32) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut beside = path.to_path_buf().into_os_string();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    // A left-over of a crash may have other permissions.
    fs::remove_file(&beside).ok();
    let mut file = create(&beside, mode)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    sync_folder(folder)
}

#[cfg(unix)]
fn create(path: &Path, mode: u32) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new().write(true).create_new(true).mode(mode).open(path)
}

#[cfg(not(unix))]
fn create(path: &Path, _mode: u32) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// A folder cannot be opened as a file there.
#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}
