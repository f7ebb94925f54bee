//! Docker Hub, scripted: its token server and its registry at one address, over plain HTTP.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use swarmgate::config::{Hub as Known, Trust};
use swarmgate::shutdown::Shutdown;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What it answers: the token server, then the registry. Status line and headers, then the body.
#[derive(Clone, Copy)]
pub(crate) struct Script {
    pub(crate) token: (&'static str, &'static str),
    pub(crate) manifest: &'static str,
}

pub(crate) struct Hub {
    at: SocketAddr,
    script: Arc<Mutex<Script>>,
    heads: Arc<Mutex<Vec<String>>>,
    _tasks: Shutdown,
}

impl Hub {
    pub(crate) async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let (script, heads) = (Arc::new(Mutex::new(script)), Arc::default());
        let tasks = Shutdown::new();
        let (told, heard) = (Arc::clone(&script), Arc::<Mutex<Vec<String>>>::clone(&heads));
        tasks.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                answer(stream, &told, &heard).await;
            }
        });
        Self { at, script, heads, _tasks: tasks }
    }

    /// What an agent's configuration says of it.
    pub(crate) fn known(&self) -> Known {
        let url = format!("http://{}", self.at);
        Known { auth: url.clone(), registry: url, trust: Trust::Plain }
    }

    pub(crate) fn now(&self, script: Script) {
        *self.script.lock().unwrap() = script;
    }

    /// The heads of all requests since the last look, in order.
    pub(crate) fn heads(&self) -> Vec<String> {
        std::mem::take(&mut self.heads.lock().unwrap())
    }
}

async fn answer(mut stream: TcpStream, script: &Mutex<Script>, heard: &Mutex<Vec<String>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let script = *script.lock().unwrap();
    let text = if head.starts_with("GET /token?") {
        let (status, body) = script.token;
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    } else {
        format!("HTTP/1.1 {}\r\ncontent-length: 500\r\n\r\n", script.manifest)
    };
    // Before the answer, so that whoever has that finds this.
    heard.lock().unwrap().push(head);
    stream.write_all(text.as_bytes()).await.ok();
}
