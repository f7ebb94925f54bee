//! A Portainer server, scripted: its API for environments, over TLS.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use swarmgate::config::{Registration, Trust};
use swarmgate::model::{Fingerprint, Secret};
use swarmgate::shutdown::Shutdown;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::client::Client;
use super::sign::Signer;
use super::soon;

pub(crate) const TOKEN: &str = "ptr_the-token-of-an-administrator=";

/// What happens to the next request instead of the usual.
#[derive(Clone, Debug)]
pub(crate) enum Odd {
    /// This answer: its status line's number, a header, the body.
    Answer(u16, Option<(&'static str, String)>, Value),
    /// Nothing is done and nothing answered.
    Hang,
    /// It is done, and nothing answered, or a gateway answers that it got nothing.
    Lose(Option<u16>),
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

pub(crate) struct Portainer {
    at: SocketAddr,
    config: Arc<ServerConfig>,
    /// Of the certificate that it shows.
    pub(crate) fingerprint: Fingerprint,
    authority: String,
    directory: TempDir,
    state: Arc<State>,
    tasks: Shutdown,
}

#[derive(Default)]
struct State {
    environments: Mutex<Vec<Value>>,
    made: Mutex<u64>,
    odd: Mutex<VecDeque<(&'static str, Odd)>>,
    asked: watch::Sender<Vec<Asked>>,
    /// How many connections came.
    connections: watch::Sender<usize>,
    /// Who signs the call that comes before an environment is created. `None`: there is no such call.
    signer: Mutex<Option<Signer>>,
}

impl Portainer {
    pub(crate) async fn start() -> Self {
        let portainer = Self::absent();
        portainer.come();
        portainer
    }

    /// One whose address is known, where nobody listens yet.
    pub(crate) fn absent() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf =
            CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
            .unwrap();
        let sum: [u8; 32] = digest(&SHA256, leaf.der()).as_ref().try_into().unwrap();
        // Bound and let go: nobody else gets it within a test.
        let at = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        Self {
            at,
            config: Arc::new(config),
            fingerprint: Fingerprint(sum),
            authority: issuer.pem(),
            directory: tempfile::tempdir().unwrap(),
            state: Arc::default(),
            tasks: Shutdown::new(),
        }
    }

    /// Listens from now on.
    pub(crate) fn come(&self) {
        let listener = TcpListener::bind(self.at).unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let (acceptor, state) = (TlsAcceptor::from(Arc::clone(&self.config)), Arc::clone(&self.state));
        let tasks = self.tasks.clone();
        self.tasks.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                state.connections.send_modify(|count| *count += 1);
                tasks.spawn(serve(acceptor.clone(), stream, Arc::clone(&state)));
            }
        });
    }

    /// As an operator names it, pinned by its fingerprint.
    pub(crate) fn pinned(&self) -> Registration {
        Registration {
            server: format!("https://{}", self.at),
            token: Secret::new(TOKEN),
            trust: Trust::Pinned(self.fingerprint),
            name: None,
            address: None,
        }
    }

    /// The same, known by its authority.
    pub(crate) fn vouched(&self) -> Registration {
        let path = self.directory.path().join("ca.pem");
        std::fs::write(&path, &self.authority).unwrap();
        Registration { trust: Trust::File(path), ..self.pinned() }
    }

    /// From now on calls an agent before it creates its environment, as the real one does.
    pub(crate) fn calls_back(&self, signer: &Signer) {
        *self.state.signer.lock().unwrap() = Some(signer.clone());
    }

    /// An environment that somebody made by hand.
    pub(crate) fn add(&self, name: &str, url: &str) -> u64 {
        self.state.add(name, url)["Id"].as_u64().unwrap()
    }

    pub(crate) fn remove(&self, id: u64) {
        self.state.environments.lock().unwrap().retain(|environment| environment["Id"] != id);
    }

    /// Name and URL of all environments.
    pub(crate) fn environments(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let all = self.state.environments.lock().unwrap();
        all.iter().map(|environment| (text(&environment["Name"]), text(&environment["URL"]))).collect()
    }

    /// What happens to the next request of this method. In order.
    pub(crate) fn next(&self, method: &'static str, odd: Odd) {
        self.state.odd.lock().unwrap().push_back((method, odd));
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.state.asked.borrow().clone()
    }

    /// The requests of this method so far.
    pub(crate) fn count(&self, method: &str) -> usize {
        self.asked().iter().filter(|asked| asked.method == method).count()
    }

    /// Waits until there were so many requests of this method.
    pub(crate) async fn was_asked(&self, method: &str, times: usize) {
        let enough = |all: &Vec<Asked>| all.iter().filter(|asked| asked.method == method).count() >= times;
        let mut asked = self.state.asked.subscribe();
        soon(&format!("{times} {method}"), asked.wait_for(enough)).await.unwrap();
    }

    pub(crate) fn connections(&self) -> usize {
        *self.state.connections.borrow()
    }

    pub(crate) async fn was_connected_to(&self, times: usize) {
        let mut count = self.state.connections.subscribe();
        soon("connections", count.wait_for(|count| *count >= times)).await.unwrap();
    }
}

impl Drop for Portainer {
    fn drop(&mut self) {
        self.tasks.drain();
    }
}

impl State {
    fn add(&self, name: &str, url: &str) -> Value {
        let mut made = self.made.lock().unwrap();
        *made += 1;
        let environment = json!({ "Id": *made, "Name": name, "URL": url, "Type": 2, "Status": 1 });
        self.environments.lock().unwrap().push(environment.clone());
        environment
    }

    /// The oddity of this request, if it has one.
    fn odd(&self, method: &str) -> Option<Odd> {
        let mut odd = self.odd.lock().unwrap();
        let at = odd.iter().position(|(of, _)| *of == method)?;
        odd.remove(at).map(|(_, odd)| odd)
    }

    /// Calls the agent that is to be an environment.
    async fn called_back(&self, asked: &Asked) -> Result<(), String> {
        let signer = self.signer.lock().unwrap().clone().filter(|_| asked.method == "POST");
        let Some(signer) = signer else { return Ok(()) };
        let url = asked.field("URL").unwrap();
        let at = url.strip_prefix("tcp://").unwrap().parse().unwrap();
        let pong = Client { at, signer: Some(signer) }.get("/_ping").await;
        if pong.status == 200 { Ok(()) } else { Err(pong.message()) }
    }

    /// Status and body, as the server answers.
    fn answer(&self, asked: &Asked) -> (u16, Value) {
        if asked.headers.get("x-api-key").and_then(|token| token.to_str().ok()) != Some(TOKEN) {
            return (
                401,
                json!({ "message": "A valid authorisation token is missing", "details": "Unauthorized" }),
            );
        }
        let (path, query) = asked.target.split_once('?').unwrap_or((&asked.target, ""));
        let name = query.split('&').find_map(|pair| pair.strip_prefix("name="));
        let id = path.strip_prefix("/api/endpoints/").and_then(|id| id.parse::<u64>().ok());
        match (asked.method.as_str(), path, id) {
            ("GET", "/api/endpoints", _) => {
                let name = percent_encoding::percent_decode_str(name.unwrap()).decode_utf8().unwrap();
                let all = self.environments.lock().unwrap();
                (200, all.iter().filter(|environment| environment["Name"] == *name).cloned().collect())
            }
            ("POST", "/api/endpoints", _) => self.create(asked),
            ("GET" | "PUT", _, Some(id)) => {
                let mut all = self.environments.lock().unwrap();
                let Some(environment) = all.iter_mut().find(|environment| environment["Id"] == id) else {
                    return (
                        404,
                        json!({ "message": "Unable to find an environment", "details": "object not found" }),
                    );
                };
                if asked.method == "PUT" {
                    let change: Value = serde_json::from_str(&asked.body).unwrap();
                    for key in ["Name", "URL"] {
                        if let Some(value) = change.get(key) {
                            environment[key] = value.clone();
                        }
                    }
                }
                (200, environment.clone())
            }
            _ => (404, json!({ "message": "not found" })),
        }
    }

    fn create(&self, asked: &Asked) -> (u16, Value) {
        let field = |name: &str| asked.field(name);
        let wanted = [
            ("EndpointCreationType", "2"),
            ("TLS", "true"),
            ("TLSSkipVerify", "true"),
            ("TLSSkipClientVerify", "true"),
        ];
        if let Some((missing, _)) = wanted.iter().find(|(name, value)| field(name).as_deref() != Some(*value))
        {
            return (400, json!({ "message": "Invalid request payload", "details": *missing }));
        }
        let (name, url) = (field("Name").unwrap(), field("URL").unwrap());
        if self.environments.lock().unwrap().iter().any(|environment| environment["Name"] == name) {
            return (409, json!({ "message": "Name is not unique", "details": "Name is not unique" }));
        }
        (200, self.add(&name, &url))
    }
}

impl Asked {
    /// A field of a form, as a reader of RFC 7578 finds it.
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        let kind = self.headers.get("content-type")?.to_str().ok()?;
        let boundary = format!("--{}", kind.strip_prefix("multipart/form-data; boundary=")?);
        let between = format!("{boundary}\r\n");
        let mut parts = self.body.strip_suffix(&format!("{boundary}--\r\n"))?.split(&between);
        let head = format!("Content-Disposition: form-data; name=\"{name}\"\r\n\r\n");
        parts.find_map(|part| part.strip_prefix(&head)?.strip_suffix("\r\n").map(str::to_owned))
    }
}

async fn serve(acceptor: TlsAcceptor, stream: TcpStream, state: Arc<State>) {
    // Whoever does not like the certificate goes.
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let service = service_fn(move |request| handle(Arc::clone(&state), request));
    let http = hyper::server::conn::http1::Builder::new();
    let _ = http.serve_connection(TokioIo::new(stream), service).await;
}

async fn handle(
    state: Arc<State>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
    let asked = Asked {
        method: head.method.to_string(),
        target: head.uri.to_string(),
        headers: head.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    };
    let odd = state.odd(&asked.method);
    let (status, header, body) = match odd {
        Some(Odd::Answer(status, header, body)) => (status, header, body),
        Some(Odd::Hang) => {
            state.asked.send_modify(|all| all.push(asked));
            return std::future::pending().await;
        }
        lost_or_usual => {
            let (status, body) = match state.called_back(&asked).await {
                Ok(()) => state.answer(&asked),
                Err(said) => {
                    (500, json!({ "message": "Unable to initiate communications", "details": said }))
                }
            };
            match lost_or_usual {
                Some(Odd::Lose(Some(gateway))) => (gateway, None, json!("upstream timed out")),
                Some(_) => {
                    state.asked.send_modify(|all| all.push(asked));
                    return Err(std::io::Error::other("lost as scripted"));
                }
                None => (status, None, body),
            }
        }
    };
    // After it was done, so that whoever waits for it finds that too.
    state.asked.send_modify(|all| all.push(asked));
    let mut answer = Response::builder().status(status).header("content-type", "application/json");
    if let Some((name, value)) = header {
        answer = answer.header(name, value);
    }
    Ok(answer.body(Full::new(Bytes::from(body.to_string()))).unwrap())
}
