//! What the operator wrote, as text: flags, environment, and where the process finds itself.
//!
//! Nothing is converted or judged here. This is the only file that reads the environment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{ArgMatches, Args as _, CommandFactory, FromArgMatches, Parser, Subcommand};

/// The command line, the environment and the surroundings. No `Debug`: it holds secrets in clear.
#[derive(Parser)]
#[command(name = "swarmgate", version, about, disable_help_subcommand = true)]
pub struct Args {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub options: Options,
    /// Where each option that was given came from, by the name of its variable.
    #[arg(skip)]
    pub origins: BTreeMap<String, Origin>,
    #[arg(skip)]
    pub surroundings: Surroundings,
}

/// Without one of these the agent runs.
#[derive(Subcommand, Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Print the effective configuration with secrets masked, or every problem in it
    Check,
    /// Ask the listener of the agent on this host whether it answers: exit code 0 or 1
    Health,
    /// Show or reset which Portainer key may call
    #[command(subcommand)]
    Association(Association),
}

#[derive(Subcommand, Clone, Debug, PartialEq, Eq)]
pub enum Association {
    /// Print the record
    Show,
    /// Forget the key and open a new window, or name the key that may call from now on
    Reset {
        /// The fingerprint of the only key that may call: sha256:<64 hex digits>
        #[arg(long)]
        key: Option<String>,
    },
}

/// Where an option's text came from. A flag beats the environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    Environment,
    Flag,
}

/// Every option, as it was written.
#[derive(clap::Args, Clone, Default)]
pub struct Options {
    /// Address to listen on; without it every address, IPv6 and IPv4
    #[arg(long, env = "AGENT_HOST", value_name = "IP")]
    pub host: Option<String>,
    /// Port for clients [default: 9001]
    #[arg(long, env = "AGENT_PORT", value_name = "PORT")]
    pub port: Option<String>,
    /// Port for other agents [default: 9002]
    #[arg(long, env = "AGENT_PEER_PORT", value_name = "PORT")]
    pub peer_port: Option<String>,
    /// Only these addresses and ranges may connect to the port for clients, comma-separated
    #[arg(long, env = "AGENT_ALLOW_FROM", value_name = "CIDR,…")]
    pub allow_from: Option<String>,
    /// What the Portainer server signs, the same text as its own AGENT_SECRET
    #[arg(long, env = "AGENT_SECRET", value_name = "TEXT")]
    pub secret: Option<String>,
    /// File with that text
    #[arg(long, env = "AGENT_SECRET_FILE", value_name = "FILE")]
    pub secret_file: Option<String>,
    /// How long an agent that no Portainer has claimed stays claimable [default: 72h]
    #[arg(long, env = "AGENT_SECRET_TIMEOUT", value_name = "DURATION")]
    pub secret_timeout: Option<String>,
    /// Fingerprints of the only Portainer keys that count, sha256:<64 hex digits>, comma-separated
    #[arg(long, env = "AGENT_PORTAINER_KEYS", value_name = "KEY,…")]
    pub portainer_keys: Option<String>,
    /// Version of Portainer's agent to announce [default: 2.23.0]
    #[arg(long, env = "AGENT_PORTAINER_VERSION", value_name = "VERSION")]
    pub portainer_version: Option<String>,
    /// Address of the Portainer server where the agents register themselves, https://host:port
    #[arg(long, env = "AGENT_PORTAINER_URL", value_name = "URL")]
    pub portainer_url: Option<String>,
    /// File with a Portainer access token for that
    #[arg(long, env = "AGENT_PORTAINER_TOKEN_FILE", value_name = "FILE")]
    pub portainer_token_file: Option<String>,
    /// Authorities (PEM) of which one vouches for that server
    #[arg(long, env = "AGENT_PORTAINER_CA", value_name = "FILE")]
    pub portainer_ca: Option<String>,
    /// Fingerprint of that server's certificate instead: sha256:<64 hex digits>
    #[arg(long, env = "AGENT_PORTAINER_FINGERPRINT", value_name = "FINGERPRINT")]
    pub portainer_fingerprint: Option<String>,
    /// Name of the environment [default: swarmgate-<the Swarm's id, or the host name>]
    #[arg(long, env = "AGENT_PORTAINER_NAME", value_name = "NAME")]
    pub portainer_name: Option<String>,
    /// Where that server reaches an agent, host:port [default: the node's address in the Swarm]
    #[arg(long, env = "AGENT_PORTAINER_ADDRESS", value_name = "HOST:PORT")]
    pub portainer_address: Option<String>,
    /// DNS name of all agents; without it tasks.<service> of the own container
    #[arg(long, env = "AGENT_CLUSTER_ADDR", value_name = "NAME")]
    pub cluster_addr: Option<String>,
    /// What the agents prove to each other, at least 32 characters
    #[arg(long, env = "AGENT_CLUSTER_SECRET", value_name = "TEXT")]
    pub cluster_secret: Option<String>,
    /// Files with that text, comma-separated: the first is shown, all are trusted
    #[arg(long, env = "AGENT_CLUSTER_SECRET_FILE", value_name = "FILE,…")]
    pub cluster_secret_file: Option<String>,
    /// All agents of hosts without Swarm, host[:port], comma-separated, in one order on all
    #[arg(long, env = "AGENT_PEERS", value_name = "HOST,…")]
    pub peers: Option<String>,
    /// Certificate chain (PEM) for the port for clients; without it one is made
    #[arg(long, env = "AGENT_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<String>,
    /// Private key (PEM) of that certificate
    #[arg(long, env = "AGENT_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<String>,
    /// More names and addresses for the certificate that is made, comma-separated
    #[arg(long, env = "AGENT_TLS_SANS", value_name = "NAME,…")]
    pub tls_sans: Option<String>,
    /// 1: files of the host mounted at /host may be browsed and changed
    #[arg(long, env = "CAP_HOST_MANAGEMENT", value_name = "1")]
    pub host_management: Option<String>,
    /// Largest file that may be uploaded [default: 1GiB]
    #[arg(long, env = "AGENT_UPLOAD_LIMIT", value_name = "SIZE")]
    pub upload_limit: Option<String>,
    /// Directory for certificates and the association [default: /data in a container]
    #[arg(long = "data", env = "DATA_PATH", value_name = "DIR")]
    pub data: Option<String>,
    /// The engine: unix:///path, tcp://host:port or npipe:////./pipe/name
    #[arg(long, env = "DOCKER_HOST", value_name = "URL")]
    pub docker_host: Option<String>,
    /// 1: speak TLS to the engine and check its certificate
    #[arg(long, env = "DOCKER_TLS_VERIFY", value_name = "1")]
    pub docker_tls_verify: Option<String>,
    /// Directory with ca.pem, cert.pem and key.pem for that
    #[arg(long, env = "DOCKER_CERT_PATH", value_name = "DIR")]
    pub docker_cert_path: Option<String>,
    /// Address and port for figures in plain HTTP, open to whoever can connect [default: off]
    #[arg(long, env = "AGENT_METRICS_ADDR", value_name = "IP:PORT")]
    pub metrics_addr: Option<String>,
    /// ERROR, WARN, INFO, DEBUG or TRACE [default: INFO]
    #[arg(long, env = "LOG_LEVEL", value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// PRETTY, NOCOLOR or JSON [default: PRETTY]
    #[arg(long, env = "LOG_MODE", value_name = "MODE")]
    pub log_mode: Option<String>,
    // Options of Portainer's agent that have nothing to decide here: accepted, and named in a warning.
    #[arg(long, env = "ASSETS_PATH", hide = true)]
    pub assets: Option<String>,
    #[arg(long, env = "AGENT_CLUSTER_PROBE_TIMEOUT", hide = true)]
    pub agent_cluster_timeout: Option<String>,
    #[arg(long, env = "AGENT_CLUSTER_PROBE_INTERVAL", hide = true)]
    pub agent_cluster_interval: Option<String>,
}

/// What the defaults depend on.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The names, never the values, of all environment variables.
    pub variables: Vec<String>,
    /// HOME, where it is an absolute path.
    pub home: Option<PathBuf>,
    /// XDG_STATE_HOME, where it is an absolute path.
    pub state_home: Option<PathBuf>,
    /// Whether this is a container that has a directory `/data`.
    pub container_data: bool,
}

/// An option as clap declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    pub variable: String,
    pub flag: String,
    /// Whether help and documentation leave it out.
    pub hidden: bool,
}

impl Args {
    /// Reads this process's command line and environment. Help, version and usage errors end the process, as clap
    /// does it: exit code 0 or 2.
    pub fn read() -> Self {
        let mut command = command();
        let read = command.try_get_matches_from_mut(std::env::args_os());
        let args = read.and_then(|m| Self::from_matches(&m)).unwrap_or_else(|e| e.exit());
        Self { surroundings: Surroundings::read(), ..args }
    }

    /// Reads flags only, without the environment and the program's name: for examples and tests.
    pub fn from_flags<I>(flags: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator<Item = String>,
    {
        let mut command = command().mut_args(|a| a.env(None::<&str>)).no_binary_name(true);
        Self::from_matches(&command.try_get_matches_from_mut(flags)?)
    }

    fn from_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let args = Self::from_arg_matches(matches)?;
        Ok(Self { origins: origins(matches), ..args })
    }
}

/// Every option in the order of the help text.
pub fn declared() -> Vec<Declared> {
    let text = |t: Option<&str>| t.unwrap_or_default().to_owned();
    let command = Options::augment_args(clap::Command::new("swarmgate"));
    let declared = command.get_arguments().map(|a| Declared {
        variable: text(a.get_env().and_then(|e| e.to_str())),
        flag: format!("--{}", text(a.get_long())),
        hidden: a.is_hide_set(),
    });
    declared.collect()
}

/// Global, so that `swarmgate check --port 9000` and `swarmgate --port 9000 check` are the same.
fn command() -> clap::Command {
    Args::command().mut_args(|a| a.global(true).hide_env_values(true))
}

fn origins(matches: &ArgMatches) -> BTreeMap<String, Origin> {
    let declared = Options::augment_args(clap::Command::new("swarmgate"));
    let origin = |a: &clap::Arg| {
        let origin = match matches.value_source(a.get_id().as_str())? {
            ValueSource::CommandLine => Origin::Flag,
            ValueSource::EnvVariable => Origin::Environment,
            _ => return None,
        };
        Some((a.get_env()?.to_str()?.to_owned(), origin))
    };
    declared.get_arguments().filter_map(origin).collect()
}

impl Surroundings {
    fn read() -> Self {
        Self {
            variables: std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned()).collect(),
            home: absolute("HOME"),
            state_home: absolute("XDG_STATE_HOME"),
            container_data: is_container() && Path::new("/data").is_dir(),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the one file that reads the environment")]
fn absolute(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from).filter(|p| p.is_absolute())
}

fn is_container() -> bool {
    let marked = ["/.dockerenv", "/run/.containerenv"].iter().any(|p| Path::new(p).exists());
    marked || std::fs::read_to_string("/proc/self/mountinfo").is_ok_and(|m| names_a_container(&m))
}

/// Whether `/etc/hostname` or a file like it is mounted from a container's own directory. A host lists such
/// directories too, but never mounts them there.
fn names_a_container(mountinfo: &str) -> bool {
    mountinfo.lines().any(|line| {
        let mut fields = line.split(' ').skip(3);
        let (Some(root), Some(at)) = (fields.next(), fields.next()) else { return false };
        ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"].contains(&at) && root.contains("/containers/")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(flags: &[&str]) -> Result<Args, clap::Error> {
        Args::from_flags(flags.iter().map(ToString::to_string))
    }

    #[test]
    fn the_declaration_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn a_flag_counts_before_and_after_the_subcommand() {
        for flags in [["--port", "1", "check"], ["check", "--port", "1"]] {
            let args = read(&flags).expect("it parses");
            assert_eq!(args.command, Some(Command::Check), "{flags:?}");
            assert_eq!(args.options.port.as_deref(), Some("1"), "{flags:?}");
            assert_eq!(args.origins.get("AGENT_PORT"), Some(&Origin::Flag), "{flags:?}");
        }
    }

    #[test]
    fn every_option_has_one_variable_and_one_flag() {
        let all = declared();
        assert_eq!(all.len(), 34);
        let variables: std::collections::BTreeSet<_> = all.iter().map(|d| &d.variable).collect();
        assert_eq!(variables.len(), all.len());
        assert!(all.iter().all(|d| !d.variable.is_empty() && d.flag.len() > 2));
    }

    #[test]
    fn reset_takes_a_key() {
        let args = read(&["association", "reset", "--key", "sha256:00"]).expect("it parses");
        let reset = Association::Reset { key: Some("sha256:00".into()) };
        assert_eq!(args.command, Some(Command::Association(reset)));
    }

    #[test]
    fn a_host_with_containers_is_not_a_container() {
        let id = "0".repeat(64);
        let inside = format!("1 2 8:1 /var/lib/docker/containers/{id}/hostname /etc/hostname rw - ext4 x rw");
        let host = format!("1 2 0:9 / /var/lib/docker/containers/{id}/mounts/shm rw - tmpfs shm rw");
        assert!(names_a_container(&format!("{host}\n{inside}\n")));
        assert!(!names_a_container(&host));
        assert!(!names_a_container("junk\n"));
    }
}
