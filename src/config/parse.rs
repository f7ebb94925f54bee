//! Leaf parsers: one text in, one value out, or what was expected. Pure; a reason never repeats the text.

mod duration;
mod size;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use tracing::Level;

use super::{Cidr, EngineAt, LogMode, PeerAddress};
use crate::model::Fingerprint;
pub use duration::duration;
pub use size::{shown_size, size};

/// 200 characters: a name is read in a list.
const LABEL: usize = 200;

/// What was expected instead.
pub type Reason = String;

/// An address to listen on; IPv6 with or without brackets.
pub fn address(text: &str) -> Result<IpAddr, Reason> {
    unbracketed(text).parse().map_err(|_| "expected an IP address".into())
}

/// An address and a port to listen on.
pub fn socket(text: &str) -> Result<SocketAddr, Reason> {
    text.parse().map_err(|_| "expected an IP address and a port: 127.0.0.1:9100 or [::]:9100".into())
}

/// A port. 0 lets the system choose, which only tests want.
pub fn port(text: &str) -> Result<u16, Reason> {
    digits(text).and_then(|t| t.parse().ok()).ok_or_else(|| "expected a port from 1 to 65535".into())
}

/// An address range, or one address.
pub fn cidr(text: &str) -> Result<Cidr, Reason> {
    let expected = || "expected addresses such as 10.0.0.0/8 or fd00::/8".to_owned();
    let (base, bits) = text.split_once('/').map_or((text, None), |(base, bits)| (base, Some(bits)));
    let base: IpAddr = base.parse().map_err(|_| expected())?;
    let most = if base.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        None => most,
        Some(bits) => {
            digits(bits).and_then(|t| t.parse().ok()).filter(|b| *b <= most).ok_or_else(expected)?
        }
    };
    let range = as_ipv4(Cidr { base, bits });
    let fixed = Cidr { base: masked(range), ..range };
    if fixed == range { Ok(range) } else { Err(format!("has bits beyond its length set; {fixed} is meant?")) }
}

/// The parts of a comma-separated list, each read by `one`. Spaces around a part do not count.
pub fn list<T>(text: &str, one: impl Fn(&str) -> Result<T, Reason>) -> Result<Vec<T>, Reason> {
    let part = |t: &str| {
        let t = t.trim();
        if t.is_empty() { Err("has an empty part".into()) } else { one(t) }
    };
    text.split(',').map(part).collect()
}

/// `host`, `host:port`, `[v6]` or `[v6]:port`.
pub fn peer(text: &str, default_port: u16) -> Result<PeerAddress, Reason> {
    let (host, port) = host_port(text)?;
    Ok(PeerAddress { host, port: port.unwrap_or(default_port) })
}

/// `host:port` or `[v6]:port`.
pub fn host_and_port(text: &str) -> Result<PeerAddress, Reason> {
    match host_port(text)? {
        (host, Some(port)) => Ok(PeerAddress { host, port }),
        (_, None) => Err("expected host:port or [IPv6]:port".into()),
    }
}

/// `https://host[:port][/path]`; a slash at the end is left out.
pub fn https(text: &str) -> Result<String, Reason> {
    let rest =
        text.strip_prefix("https://").ok_or("expected https://host:port; a token goes nowhere else")?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    host_port(authority)?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/-._~%".contains(&b);
    if path.bytes().all(plain) {
        Ok(text.trim_end_matches('/').to_owned())
    } else {
        Err("expected https://host:port, or https://host:port/path".into())
    }
}

/// A name for people: one line of text.
pub fn label(text: &str) -> Result<String, Reason> {
    let name = text.trim();
    if name.chars().any(char::is_control) || name.chars().count() > LABEL {
        return Err(format!("expected one line of at most {LABEL} characters"));
    }
    Ok(name.to_owned())
}

/// `unix:///path`, `tcp://host[:port]` or `npipe:////./pipe/name`.
pub fn docker_host(text: &str, default_port: u16) -> Result<EngineAt, Reason> {
    let (scheme, rest) = text.split_once("://").unwrap_or_default();
    match scheme {
        "unix" if rest.starts_with('/') => Ok(EngineAt::Unix(PathBuf::from(rest))),
        "unix" => Err("expected an absolute path: unix:///var/run/docker.sock".into()),
        "tcp" => {
            let (host, port) = host_port(rest.strip_suffix('/').unwrap_or(rest))?;
            Ok(EngineAt::Tcp { host, port: port.unwrap_or(default_port) })
        }
        "npipe" => pipe(rest),
        _ => Err("expected unix:///path, tcp://host:port or npipe:////./pipe/name".into()),
    }
}

/// A DNS name for which addresses are asked.
pub fn dns_name(text: &str) -> Result<String, Reason> {
    if unbracketed(text).parse::<IpAddr>().is_ok() {
        return Err("expected a DNS name; fixed addresses belong to AGENT_PEERS".into());
    }
    if is_name(text.strip_suffix('.').unwrap_or(text)) {
        Ok(text.to_owned())
    } else {
        Err("expected a DNS name".into())
    }
}

/// A name or address for a certificate; a name may begin with `*.`.
pub fn san(text: &str) -> Result<String, Reason> {
    let is_address = text.parse::<IpAddr>().is_ok();
    if is_address || is_name(text.strip_prefix("*.").unwrap_or(text)) {
        Ok(text.to_owned())
    } else {
        Err("expected DNS names and IP addresses".into())
    }
}

/// `sha256:<64 hex digits>`.
pub fn fingerprint(text: &str) -> Result<Fingerprint, Reason> {
    Fingerprint::parse(text).map_err(Into::into)
}

/// A version such as `2.23.0`: Portainer's server compares it by number.
pub fn version(text: &str) -> Result<String, Reason> {
    let parts: Vec<_> = text.split('.').collect();
    let numbers = parts.iter().all(|p| digits(p).is_some_and(|d| d.len() <= 5));
    if parts.len() == 3 && numbers {
        Ok(text.to_owned())
    } else {
        Err("expected a version such as 2.23.0".into())
    }
}

pub fn log_level(text: &str) -> Result<Level, Reason> {
    match text.to_ascii_uppercase().as_str() {
        "ERROR" => Ok(Level::ERROR),
        "WARN" => Ok(Level::WARN),
        "INFO" => Ok(Level::INFO),
        "DEBUG" => Ok(Level::DEBUG),
        "TRACE" => Ok(Level::TRACE),
        _ => Err("expected ERROR, WARN, INFO, DEBUG or TRACE".into()),
    }
}

pub fn log_mode(text: &str) -> Result<LogMode, Reason> {
    match text.to_ascii_uppercase().as_str() {
        "PRETTY" => Ok(LogMode::Pretty),
        "NOCOLOR" => Ok(LogMode::NoColor),
        "JSON" => Ok(LogMode::Json),
        _ => Err("expected PRETTY, NOCOLOR or JSON".into()),
    }
}

/// Docker takes any text as yes, `0` too. What looks like no is refused instead of guessed at.
pub fn yes(text: &str) -> Result<(), Reason> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(()),
        _ => Err("expected 1; to turn it off, leave it out".into()),
    }
}

fn host_port(text: &str) -> Result<(String, Option<u16>), Reason> {
    let v6 = text.strip_prefix('[').and_then(|t| t.split_once(']'));
    let (host, rest) = match v6 {
        Some((host, rest)) => (host, rest),
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let known = if v6.is_some() { host.parse::<Ipv6Addr>().is_ok() } else { is_host(host) };
    if !known {
        return Err("expected host, host:port or [IPv6]:port".into());
    }
    let port = match rest.strip_prefix(':') {
        None if rest.is_empty() => None,
        None => return Err("expected host, host:port or [IPv6]:port".into()),
        Some(rest) if rest.contains(':') => {
            return Err("an IPv6 address needs brackets: [fd00::1]:9002".into());
        }
        Some(rest) => Some(port(rest).ok().filter(|p| *p != 0).ok_or("expected a port from 1 to 65535")?),
    };
    Ok((host.to_owned(), port))
}

fn pipe(rest: &str) -> Result<EngineAt, Reason> {
    if !cfg!(windows) {
        return Err("named pipes exist on Windows only".into());
    }
    let name = rest.replace('/', "\\");
    if name.starts_with("\\\\.\\pipe\\") {
        Ok(EngineAt::Npipe(name))
    } else {
        Err("expected npipe:////./pipe/name".into())
    }
}

fn is_host(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok() || is_name(text.strip_suffix('.').unwrap_or(text))
}

/// Docker's names may have underscores. A name whose last label is a number is a mistyped address.
fn is_name(text: &str) -> bool {
    let label = |l: &str| {
        let fits = (1..=63).contains(&l.len()) && !l.starts_with('-') && !l.ends_with('-');
        fits && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let number = |l: &str| digits(l).is_some();
    text.len() <= 253 && text.split('.').all(label) && !text.rsplit('.').next().is_some_and(number)
}

/// Only digits: the standard parser would take a sign.
fn digits(text: &str) -> Option<&str> {
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then_some(text)
}

fn unbracketed(text: &str) -> &str {
    text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text)
}

/// `::ffff:10.0.0.0/104` is `10.0.0.0/8`: a dual-stack socket's IPv4 clients are compared as IPv4.
fn as_ipv4(range: Cidr) -> Cidr {
    match (range.base, range.bits.checked_sub(96)) {
        (IpAddr::V6(base), Some(bits)) => {
            base.to_ipv4_mapped().map_or(range, |base| Cidr { base: IpAddr::V4(base), bits })
        }
        _ => range,
    }
}

fn masked(range: Cidr) -> IpAddr {
    match range.base {
        IpAddr::V4(base) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(range.bits)).unwrap_or(0);
            IpAddr::V4((base.to_bits() & mask).into())
        }
        IpAddr::V6(base) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(range.bits)).unwrap_or(0);
            IpAddr::V6((base.to_bits() & mask).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads each text and shows the value as text; `Err` rows end in an exclamation mark.
    fn table(rows: &[(&str, &str)], parser: impl Fn(&str) -> Result<String, Reason>) {
        for (text, expected) in rows {
            let got = parser(text).unwrap_or_else(|_| "!".into());
            assert_eq!(&got, expected, "{text:?}");
        }
    }

    #[test]
    fn addresses() {
        let rows = [
            ("0.0.0.0", "0.0.0.0"),
            ("::", "::"),
            ("[::1]", "::1"),
            ("localhost", "!"),
            ("1.2.3", "!"),
            ("10.0.0.1:9001", "!"),
            (" ::", "!"),
        ];
        table(&rows, |t| address(t).map(|a| a.to_string()));
    }

    #[test]
    fn ports() {
        let rows = [
            ("9001", "9001"),
            ("0", "0"),
            ("65535", "65535"),
            ("65536", "!"),
            ("+1", "!"),
            ("-1", "!"),
            ("", "!"),
        ];
        table(&rows, |t| port(t).map(|p| p.to_string()));
    }

    #[test]
    fn ranges() {
        let rows = [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.0.0.7", "10.0.0.7/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("::/0", "::/0"),
            ("fd00::/8", "fd00::/8"),
            ("fd00::1", "fd00::1/128"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("10.0.0.1/8", "!"),
            ("fd00::1/8", "!"),
            ("10.0.0.0/33", "!"),
            ("10.0.0.0/+8", "!"),
            ("10.0.0.0/", "!"),
            ("::/129", "!"),
            ("example.org/8", "!"),
        ];
        table(&rows, |t| cidr(t).map(|c| c.to_string()));
        assert_eq!(cidr("10.0.0.1/8").unwrap_err(), "has bits beyond its length set; 10.0.0.0/8 is meant?");
    }

    #[test]
    fn peers() {
        let rows = [
            ("node2", "node2 9002"),
            ("node2:9100", "node2 9100"),
            ("node2.example.org.", "node2.example.org. 9002"),
            ("10.0.0.2", "10.0.0.2 9002"),
            ("[fd00::2]", "fd00::2 9002"),
            ("[fd00::2]:9100", "fd00::2 9100"),
            ("fd00::2", "!"),
            ("node2:", "!"),
            ("node2:0", "!"),
            ("node2:1:2", "!"),
            ("[fd00::2]9100", "!"),
            ("[node2]:9100", "!"),
            ("https://node2", "!"),
            ("300.1.1.1", "!"),
            ("-node", "!"),
            (":9002", "!"),
        ];
        table(&rows, |t| peer(t, 9002).map(|p| format!("{} {}", p.host, p.port)));
    }

    #[test]
    fn addresses_with_a_port() {
        let rows = [
            ("node2:9001", "node2 9001"),
            ("[fd00::2]:9001", "fd00::2 9001"),
            ("node2", "!"),
            ("node2:0", "!"),
            ("tcp://node2:9001", "!"),
            ("fd00::2:9001", "!"),
        ];
        table(&rows, |t| host_and_port(t).map(|p| format!("{} {}", p.host, p.port)));
    }

    #[test]
    fn servers() {
        let rows = [
            ("https://portainer.example.org", "https://portainer.example.org"),
            ("https://10.0.0.1:9443/", "https://10.0.0.1:9443"),
            ("https://[fd00::1]:9443", "https://[fd00::1]:9443"),
            ("https://example.org/tools/portainer/", "https://example.org/tools/portainer"),
            ("http://example.org", "!"),
            ("HTTPS://example.org", "!"),
            ("example.org:9443", "!"),
            ("https://", "!"),
            ("https://a@example.org", "!"),
            ("https://example.org?x", "!"),
            ("https://example.org/?x", "!"),
            ("https://example.org/#x", "!"),
            ("https://example.org/a b", "!"),
            ("https://fd00::1", "!"),
        ];
        table(&rows, https);
    }

    #[test]
    fn labels() {
        let long = "x".repeat(201);
        let rows = [(" the swarm ", "the swarm"), ("Küche", "Küche"), ("a\r\nb", "!"), (long.as_str(), "!")];
        table(&rows, label);
    }

    #[test]
    fn engines() {
        let rows = [
            ("unix:///var/run/docker.sock", r#"Unix("/var/run/docker.sock")"#),
            ("unix://docker.sock", "!"),
            ("tcp://node1", r#"Tcp { host: "node1", port: 2375 }"#),
            ("tcp://node1:2376/", r#"Tcp { host: "node1", port: 2376 }"#),
            ("tcp://[::1]:2376", r#"Tcp { host: "::1", port: 2376 }"#),
            ("tcp://node1/path", "!"),
            ("tcp://", "!"),
            ("http://node1", "!"),
            ("ssh://node1", "!"),
            ("/var/run/docker.sock", "!"),
            (
                "npipe:////./pipe/docker_engine",
                if cfg!(windows) { r#"Npipe("\\\\.\\pipe\\docker_engine")"# } else { "!" },
            ),
        ];
        table(&rows, |t| docker_host(t, 2375).map(|e| format!("{e:?}")));
    }

    #[test]
    fn names() {
        let rows = [
            ("tasks.stack_agent", "tasks.stack_agent"),
            ("a.", "a."),
            ("10.0.0.1", "!"),
            ("a..b", "!"),
            ("a b", "!"),
            (".", "!"),
        ];
        table(&rows, dns_name);
        let rows = [
            ("*.example.org", "*.example.org"),
            ("fd00::1", "fd00::1"),
            ("a.", "!"),
            ("a.*", "!"),
            ("*", "!"),
        ];
        table(&rows, san);
    }

    #[test]
    fn lists_have_no_empty_parts() {
        let rows = [("a, b", "a+b"), ("a", "a"), ("a,,b", "!"), ("a,", "!")];
        table(&rows, |t| list(t, dns_name).map(|l| l.join("+")));
    }

    #[test]
    fn words() {
        let rows = [("info", "INFO"), ("Trace", "TRACE"), ("WARNING", "!"), ("", "!")];
        table(&rows, |t| log_level(t).map(|l| l.to_string()));
        let rows = [("pretty", "Pretty"), ("NoColor", "NoColor"), ("json", "Json"), ("plain", "!")];
        table(&rows, |t| log_mode(t).map(|m| format!("{m:?}")));
        let rows = [("1", "()"), ("TRUE", "()"), ("0", "!"), ("false", "!")];
        table(&rows, |t| yes(t).map(|y| format!("{y:?}")));
        let rows =
            [("2.23.0", "2.23.0"), ("2.23", "!"), ("v2.23.0", "!"), ("2.23.0\r\nX: y", "!"), ("2.23.", "!")];
        table(&rows, version);
    }
}
