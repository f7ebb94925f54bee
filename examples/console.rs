//! A browser's console without a browser: standard input is the keyboard, standard output the screen.
//!
//! ```sh
//! cargo run -q --example console -- --key portainer.pem "wss://localhost:9001/websocket/attach?id=<container>"
//! ```
//!
//! Ends as the console ends: with 0 after a normal close (1000), else with 1 and the reason. When standard input ends
//! the console stays open, as a browser's does.
#![expect(clippy::print_stderr, reason = "it says why a console ended")]

mod anyone;
mod signing;

use std::error::Error;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderName, HeaderValue};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

#[derive(Parser)]
struct Args {
    /// `wss://HOST:PORT/websocket/exec?id=…` or `…/websocket/attach?id=…`.
    url: String,
    /// The P-256 key, PEM (PKCS #8); made if there is no such file.
    #[arg(long, default_value = "portainer.pem")]
    key: PathBuf,
    /// The agent's AGENT_SECRET, if it has one.
    #[arg(long, default_value = "Portainer-App", hide_default_value = true)]
    secret: String,
    /// One more header, `Name: value`. May be repeated.
    #[arg(long)]
    header: Vec<String>,
}

fn main() -> Result<ExitCode, Box<dyn Error + Send + Sync>> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(run(&args));
    // The thread that waits for the keyboard must not hold up the end.
    runtime.shutdown_background();
    Ok(match ended? {
        Some(1000) => ExitCode::SUCCESS,
        code => {
            eprintln!("the console ended with {code:?}");
            ExitCode::FAILURE
        }
    })
}

/// The code of the close that ended it; `None` if there was none.
async fn run(args: &Args) -> Result<Option<u16>, Box<dyn Error + Send + Sync>> {
    let mut request = args.url.as_str().into_client_request()?;
    let key = signing::key_in(&args.key).map_err(|e| e.to_string())?;
    let signed = [
        (signing::PUBLIC_KEY, signing::public_key(&key)),
        (signing::SIGNATURE, signing::signature(&key, &args.secret)),
    ];
    for (name, value) in signed {
        let value = value.map_err(|e| e.to_string())?;
        request.headers_mut().insert(name.parse::<HeaderName>()?, value.parse()?);
    }
    for line in &args.header {
        let (name, value) = line.split_once(':').ok_or("expected a header as `Name: value`")?;
        request
            .headers_mut()
            .append(name.trim().parse::<HeaderName>()?, HeaderValue::from_str(value.trim())?);
    }
    let authority = request.uri().authority().ok_or("the URL names no host")?.to_string();
    let stream = anyone::connect(&authority).await?;
    let (console, _) = tokio_tungstenite::client_async(request, stream).await?;
    let (mut to, mut from) = console.split();
    let mut keys = keyboard();
    let mut typing = true;
    loop {
        tokio::select! {
            typed = keys.recv(), if typing => match typed {
                Some(text) => to.send(Message::binary(text)).await?,
                None => typing = false,
            },
            message = from.next() => match message {
                Some(Ok(Message::Text(text))) => {
                    std::io::stdout().write_all(text.as_bytes())?;
                    std::io::stdout().flush()?;
                }
                Some(Ok(Message::Close(frame))) => return Ok(frame.map(|frame| frame.code.into())),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
                None => return Ok(None),
            },
        }
    }
}

/// What comes from standard input, until it ends.
fn keyboard() -> mpsc::Receiver<Vec<u8>> {
    let (keys, typed) = mpsc::channel(8);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = std::io::stdin().read(&mut buffer) {
            let Some(text) = buffer.get(..read) else { return };
            if keys.blocking_send(text.to_vec()).is_err() {
                return;
            }
        }
    });
    typed
}
