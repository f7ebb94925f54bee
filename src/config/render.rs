//! The effective configuration as text for `swarmgate check`. Secrets stay masked.

use std::fmt::{Display, Write};
use std::time::Duration;

use super::{Config, EngineAt, LogMode, PeerAddress, Registration, Trust, parse};
use crate::cli::{self, Args, Origin};

/// One line an option: name, value, and where the value came from.
pub fn effective(config: &Config, args: &Args) -> String {
    let rows: Vec<_> = cli::declared()
        .into_iter()
        .filter_map(|d| Some((value(&d.variable, config)?, origin(&d.variable, args), d.variable)))
        .collect();
    let names = rows.iter().map(|(_, _, name)| name.len()).max().unwrap_or_default();
    let values = rows.iter().map(|(value, _, _)| value.chars().count()).max().unwrap_or_default();
    // Beyond 40 columns one long path would push all origins off the screen.
    let values = values.min(40);
    let mut text = String::new();
    for (value, origin, name) in rows {
        let _ = writeln!(text, "{name:names$}  {value:values$}  ({origin})");
    }
    text
}

/// The value of an option, `None` for options that only lead to another's value.
fn value(variable: &str, config: &Config) -> Option<String> {
    let Config { listen, tls, engine, portainer, cluster, log, .. } = config;
    let text = match variable {
        "AGENT_HOST" => listen.host.map_or_else(|| "every address".into(), |a| a.to_string()),
        "AGENT_PORT" => listen.port.to_string(),
        "AGENT_PEER_PORT" => listen.peer_port.to_string(),
        "AGENT_ALLOW_FROM" => list(&listen.allow_from, "everybody"),
        "AGENT_SECRET" => list(portainer.secret.as_slice(), "none"),
        "AGENT_SECRET_TIMEOUT" => duration(portainer.window),
        "AGENT_PORTAINER_KEYS" => list(&portainer.pins, "none"),
        "AGENT_PORTAINER_VERSION" => portainer.agent_version.clone(),
        "AGENT_PORTAINER_URL" => registered(config, |r| Some(r.server.clone()), "none"),
        "AGENT_PORTAINER_CA" => registered(config, authorities, "none"),
        "AGENT_PORTAINER_FINGERPRINT" => registered(config, pin, "none"),
        "AGENT_PORTAINER_NAME" => registered(config, |r| r.name.clone(), "swarmgate-<own>"),
        "AGENT_PORTAINER_ADDRESS" => {
            registered(config, |r| r.address.as_ref().map(ToString::to_string), "<node>:<port>")
        }
        "AGENT_CLUSTER_ADDR" => cluster.name.clone().unwrap_or_else(|| "tasks.<own service>".into()),
        "AGENT_CLUSTER_SECRET" => list(&cluster.secrets, "none"),
        "AGENT_PEERS" => list(&cluster.peers, "none"),
        "AGENT_TLS_CERT" => tls.own.as_ref().map_or_else(|| "made".into(), |(c, _)| c.display().to_string()),
        "AGENT_TLS_KEY" => tls.own.as_ref().map_or_else(|| "made".into(), |(_, k)| k.display().to_string()),
        "AGENT_TLS_SANS" => list(&tls.sans, "none"),
        "CAP_HOST_MANAGEMENT" => if config.browse.host { "1" } else { "off" }.into(),
        "AGENT_UPLOAD_LIMIT" => parse::shown_size(config.browse.upload_limit),
        "DATA_PATH" => config.data.display().to_string(),
        "DOCKER_HOST" => engine.at.to_string(),
        "DOCKER_TLS_VERIFY" => if engine.tls.is_some() { "1" } else { "off" }.into(),
        "DOCKER_CERT_PATH" => engine.tls.as_ref().map_or_else(|| "none".into(), |p| p.display().to_string()),
        "AGENT_METRICS_ADDR" => listen.metrics.map_or_else(|| "off".into(), |at| at.to_string()),
        "LOG_LEVEL" => log.level.to_string(),
        "LOG_MODE" => log.mode.to_string(),
        _ => return None,
    };
    Some(text.chars().flat_map(visible).collect())
}

fn registered(config: &Config, value: impl Fn(&Registration) -> Option<String>, none: &str) -> String {
    config.registration.as_ref().and_then(value).unwrap_or_else(|| none.to_owned())
}

fn authorities(registration: &Registration) -> Option<String> {
    if let Trust::File(path) = &registration.trust { Some(path.display().to_string()) } else { None }
}

fn pin(registration: &Registration) -> Option<String> {
    if let Trust::Pinned(pin) = &registration.trust { Some(pin.to_string()) } else { None }
}

fn origin(variable: &str, args: &Args) -> &'static str {
    let file = format!("{variable}_FILE");
    match (args.origins.get(variable), args.origins.get(&file)) {
        (given, Some(file)) if given.is_none_or(|given| given < file) => "from file",
        (Some(Origin::Flag), _) => "from flag",
        (Some(Origin::Environment), _) => "from env",
        (None, _) => "default",
    }
}

fn list<T: Display>(all: &[T], none: &str) -> String {
    let texts: Vec<_> = all.iter().map(ToString::to_string).collect();
    if texts.is_empty() { none.into() } else { texts.join(", ") }
}

/// As Go reads it, without units that are zero: `72h`, `1h30m`, `0`.
pub(crate) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    let mut text = String::new();
    for (count, unit) in [(seconds / 3600, "h"), (seconds / 60 % 60, "m")] {
        if count > 0 {
            let _ = write!(text, "{count}{unit}");
        }
    }
    let rest = Duration::new(seconds % 60, time.subsec_nanos());
    if !rest.is_zero() {
        let _ = write!(text, "{}s", rest.as_secs_f64());
    }
    if text.is_empty() { "0".into() } else { text }
}

/// A path with an escape sequence in it must not act on the terminal.
fn visible(c: char) -> impl Iterator<Item = char> {
    let (plain, escaped) = if c.is_control() { (None, Some(c.escape_default())) } else { (Some(c), None) };
    plain.into_iter().chain(escaped.into_iter().flatten())
}

impl Display for EngineAt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp { host, port } => write!(f, "tcp://{}", Authority { host, port: *port }),
            Self::Npipe(name) => write!(f, "npipe://{}", name.replace('\\', "/")),
        }
    }
}

impl Display for PeerAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", Authority { host: &self.host, port: self.port })
    }
}

impl Display for LogMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Pretty => "PRETTY",
            Self::NoColor => "NOCOLOR",
            Self::Json => "JSON",
        })
    }
}

struct Authority<'a> {
    host: &'a str,
    port: u16,
}

impl Display for Authority<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_has_its_line() {
        let args = Args::from_flags([]).expect("no flags");
        let text = effective(&Config::from_args(&args).expect("no problems"), &args);
        let visible = cli::declared().into_iter().filter(|d| !d.hidden && !d.variable.ends_with("_FILE"));
        let names: Vec<_> = visible.map(|d| d.variable).collect();
        assert_eq!(names.len(), 28);
        let shown: Vec<_> = text.lines().filter_map(|l| l.split_whitespace().next()).collect();
        assert_eq!(shown, names);
        assert!(text.lines().all(|l| l.ends_with("(default)")), "{text}");
    }

    #[test]
    fn durations_can_be_read_again() {
        let rows =
            [("72h", "72h"), ("0", "0"), ("90m", "1h30m"), ("1500ms", "1.5s"), ("1h1ns", "1h0.000000001s")];
        for (text, expected) in rows {
            let time = parse::duration(text).expect("it is one");
            assert_eq!(duration(time), expected);
            assert_eq!(parse::duration(expected), Ok(time));
        }
    }

    #[test]
    fn values_say_where_they_came_from() {
        let flags =
            ["--data", "/a\u{1b}[31m", "--port", "1", "--secret", "hunter2hunter2hunter2"].map(String::from);
        let mut args = Args::from_flags(flags).expect("they exist");
        args.origins.insert("AGENT_PORT".into(), Origin::Environment);
        let text = effective(&Config::from_args(&args).expect("no problems"), &args);
        let line = |name: &str| {
            text.lines().find(|l| l.starts_with(&format!("{name} "))).unwrap_or_default().to_owned()
        };
        assert!(line("AGENT_PORT").ends_with("(from env)"));
        assert!(line("AGENT_SECRET").contains("********") && line("AGENT_SECRET").ends_with("(from flag)"));
        assert!(line("DATA_PATH").contains("/a\\u{1b}[31m"));
        assert!(!text.contains("hunter2") && !text.contains('\u{1b}'));
    }
}
