//! Prints the headers with which a Portainer server signs its requests, so that other clients can talk to an agent:
//!
//! ```sh
//! curl -k $(cargo run -q --example sign -- --curl) https://localhost:9001/containers/json
//! cargo run -q --example sign -- --config > cluster/config.json
//! docker --config cluster context create here --docker host=tcp://localhost:9001,skip-tls-verify=true
//! docker --config cluster --context here ps
//! ```
//!
//! The key is kept in a file: an agent without AGENT_SECRET belongs to the first key that it sees.

mod signing;

use std::error::Error;
use std::path::PathBuf;

use clap::Parser;
use signing::{PUBLIC_KEY, SIGNATURE};

#[derive(Parser)]
struct Args {
    /// The P-256 key, PEM (PKCS #8); made if there is no such file.
    #[arg(long, default_value = "portainer.pem")]
    key: PathBuf,
    /// The agent's AGENT_SECRET, if it has one.
    #[arg(long, default_value = "Portainer-App", hide_default_value = true)]
    secret: String,
    /// Print arguments for curl, one a line: also a file for its -K.
    #[arg(long, conflicts_with = "config")]
    curl: bool,
    /// Print a config.json for the docker CLI.
    #[arg(long)]
    config: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let key = signing::key_in(&args.key)?;
    let (public, signature) = (signing::public_key(&key)?, signing::signature(&key, &args.secret)?);
    if args.config {
        // Docker's own shape: `docker stack rm` would remove an overlay network once for every node that has it.
        let headers =
            serde_json::json!({ PUBLIC_KEY: public, SIGNATURE: signature, "X-Node-Dialect": "docker" });
        println!("{:#}", serde_json::json!({ "HttpHeaders": headers }));
    } else if args.curl {
        // Without a space after the colon, so that an unquoted $(...) gives curl whole words; a line each, because
        // a file for `curl -K` holds one option a line.
        println!("-H {PUBLIC_KEY}:{public}\n-H {SIGNATURE}:{signature}");
    } else {
        println!("{PUBLIC_KEY}: {public}\n{SIGNATURE}: {signature}");
    }
    Ok(())
}
