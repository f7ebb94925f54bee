//! One request over HTTPS to a server somewhere else: verified, within a deadline, with a bounded answer.
//!
//! Nothing is kept between requests, and no redirect is followed: whoever asks may have sent credentials, which are
//! for that server alone. Names are resolved, and connections made, as this host does it; there is no proxy.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use http::header::{HOST, HeaderValue};
use http::uri::Scheme;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{self, CryptoProvider, aws_lc_rs::default_provider};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;

use super::io::{Duplex, tune};
use super::tls;
use crate::body::{Body, BoxError};
use crate::config::Trust;
use crate::model::Fingerprint;

/// 64 KiB of an answer's head, as we accept it of clients.
const HEAD: usize = 64 << 10;

/// How servers on the internet are asked.
pub struct Web {
    /// `None`: plain HTTP.
    tls: Option<Arc<ClientConfig>>,
    deadline: Duration,
    largest: usize,
}

/// Why there is no answer; `at` names the server.
#[derive(Debug, thiserror::Error)]
pub enum WebFail {
    #[error("make a request of it")]
    Request(#[from] http::Error),
    #[error("{url} cannot be asked: {reason}")]
    Address { url: String, reason: &'static str },
    #[error("read the authorities in {}", path.display())]
    Roots {
        path: PathBuf,
        #[source]
        source: BoxError,
    },
    #[error("set up TLS")]
    Tls(#[from] rustls::Error),
    #[error("connect to {at}")]
    Connect {
        at: String,
        #[source]
        source: io::Error,
    },
    #[error("shake hands with {at}: its certificate is not trusted")]
    Untrusted {
        at: String,
        #[source]
        source: io::Error,
    },
    #[error("ask {at}: the connection broke")]
    Broken {
        at: String,
        #[source]
        source: BoxError,
    },
    #[error("ask {at}: its answer is larger than {limit} bytes")]
    TooLarge { at: String, limit: usize },
    #[error("ask {at}: no answer within {after:?}")]
    Late { at: String, after: Duration },
}

/// Where a request goes.
struct Place {
    host: String,
    port: u16,
    /// As in the URL: for the Host header and for messages.
    at: String,
}

impl Web {
    /// `deadline` is for each request from the name's resolution to the last byte, `largest` for an answer's body.
    ///
    /// # Errors
    /// Only where the authorities are in a file.
    pub fn new(trust: &Trust, deadline: Duration, largest: usize) -> Result<Self, WebFail> {
        Ok(Self { tls: client_config(trust)?, deadline, largest })
    }

    /// Asks, and reads the whole answer, whatever its status. The URI is absolute.
    pub async fn ask(&self, request: Request<Body>) -> Result<Response<Bytes>, WebFail> {
        let place = self.place(request.uri())?;
        let asked = async {
            let stream = place.connect().await.map_err(|source| place.unconnected(source))?;
            match &self.tls {
                None => self.exchange(&place, stream, request).await,
                Some(config) => {
                    let name = ServerName::try_from(place.host.clone()).map_err(|_| place.nameless())?;
                    let shaken = tls::handshake(Arc::clone(config), name, stream).await;
                    let stream = shaken.map_err(|source| place.unconnected(source))?;
                    self.exchange(&place, stream, request).await
                }
            }
        };
        let late = |_| WebFail::Late { at: place.at.clone(), after: self.deadline };
        tokio::time::timeout(self.deadline, asked).await.map_err(late)?
    }

    fn place(&self, uri: &Uri) -> Result<Place, WebFail> {
        // The rest of it can hold more than a log should.
        let url = || format!("{}://{}", uri.scheme_str().unwrap_or_default(), uri.host().unwrap_or_default());
        let refused = |reason| WebFail::Address { url: url(), reason };
        let port = match (uri.scheme(), &self.tls) {
            (Some(scheme), Some(_)) if *scheme == Scheme::HTTPS => 443,
            (Some(scheme), None) if *scheme == Scheme::HTTP => 80,
            _ => return Err(refused("only https:// is asked")),
        };
        let authority = uri.authority().ok_or_else(|| refused("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(refused("a user belongs in a header"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Place { host, port: authority.port_u16().unwrap_or(port), at: authority.to_string() })
    }

    async fn exchange(
        &self,
        place: &Place,
        stream: impl Duplex + 'static,
        mut request: Request<Body>,
    ) -> Result<Response<Bytes>, WebFail> {
        let host = HeaderValue::from_str(&place.at).map_err(http::Error::from)?;
        request.headers_mut().insert(HOST, host);
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = path.map_or_else(Uri::default, Uri::from);
        let mut http = hyper::client::conn::http1::Builder::new();
        let shaken = http.max_buf_size(HEAD).handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = shaken.map_err(|source| place.broken(source))?;
        let asked = async {
            let answer = sender.send_request(request).await.map_err(|source| place.broken(source))?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, self.largest).collect().await;
            let body = body.map_err(|source| self.unread(place, source))?;
            Ok(Response::from_parts(head, body.to_bytes()))
        };
        tokio::pin!(connection, asked);
        tokio::select! {
            answer = &mut asked => answer,
            // What ended it reaches whoever waits for the answer.
            _ = &mut connection => asked.await,
        }
    }

    fn unread(&self, place: &Place, source: BoxError) -> WebFail {
        if source.is::<LengthLimitError>() {
            return WebFail::TooLarge { at: place.at.clone(), limit: self.largest };
        }
        place.broken(source)
    }
}

impl Place {
    async fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        tune(&stream)?;
        Ok(stream)
    }

    fn unconnected(&self, source: io::Error) -> WebFail {
        let at = self.at.clone();
        if tls::is_distrust(&source) {
            WebFail::Untrusted { at, source }
        } else {
            WebFail::Connect { at, source }
        }
    }

    fn nameless(&self) -> WebFail {
        WebFail::Address { url: self.at.clone(), reason: "that is no host name" }
    }

    fn broken(&self, source: impl Into<BoxError>) -> WebFail {
        WebFail::Broken { at: self.at.clone(), source: source.into() }
    }
}

fn client_config(trust: &Trust) -> Result<Option<Arc<ClientConfig>>, WebFail> {
    let provider = Arc::new(default_provider());
    let builder =
        ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let builder = match trust {
        Trust::Plain => return Ok(None),
        Trust::Public => {
            builder.with_root_certificates(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() })
        }
        Trust::File(path) => builder.with_root_certificates(roots(path)?),
        Trust::Pinned(pin) => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Pinned { pin: *pin, provider }))
        }
    };
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some(Arc::new(config)))
}

fn roots(path: &Path) -> Result<RootCertStore, WebFail> {
    let failed = |source: BoxError| WebFail::Roots { path: path.into(), source };
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_file_iter(path).map_err(|e| failed(e.into()))? {
        roots.add(root.map_err(|e| failed(e.into()))?).map_err(|e| failed(e.into()))?;
    }
    if roots.is_empty() {
        return Err(failed(pem::Error::NoItemsFound.into()));
    }
    Ok(roots)
}

/// Believes one certificate, by its fingerprint, and whoever proves to have its key.
#[derive(Debug)]
struct Pinned {
    pin: Fingerprint,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if digest(&SHA256, leaf).as_ref() == self.pin.0 {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        crypto::verify_tls12_signature(
            message,
            leaf,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        crypto::verify_tls13_signature(
            message,
            leaf,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
