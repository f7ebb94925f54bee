//! Figures: counted where things happen, written as OpenMetrics text when somebody asks.
//!
//! Counting is an addition to an atomic number, a latency one short lock: every label set is resolved when the process
//! starts. Labels come from closed lists, never from what a client sent, so their number has a bound.

mod readings;

use std::sync::Arc;
use std::time::Instant;

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

pub use readings::Readings;

/// What [`Metrics::render`] writes.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// In seconds: a local call takes one or two milliseconds, and a list at most 15 s while its nodes answer.
const LATENCIES: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0];

/// Which listener something came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    Public,
    Peers,
}

/// What kind of request it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Whether somebody is there: the agent's, the engine's.
    Ping,
    /// All nodes, merged.
    List,
    /// A read of an engine.
    Read,
    Write,
    /// What may take minutes or carry any size: logs, events, pulls, builds, archives.
    Long,
    /// What becomes a stream: attach, exec, session.
    Stream,
    /// The agent's own paths.
    Agent,
    /// No known route, or none that could be read.
    Other,
}

/// How a request ended.
#[derive(Clone, Copy)]
enum Outcome {
    Switched,
    Done,
    Redirected,
    Refused,
    Failed,
    Gone,
}

/// Why nobody was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    Missing,
    Invalid,
    OtherKey,
    Closed,
    NotYet,
    /// A peer that Swarm does not list at its address any more.
    Delisted,
}

const LISTENERS: [(Listener, &str); 2] = [(Listener::Public, "public"), (Listener::Peers, "peers")];
const CLASSES: [(Class, &str); 8] = [
    (Class::Ping, "ping"),
    (Class::List, "list"),
    (Class::Read, "read"),
    (Class::Write, "write"),
    (Class::Long, "long"),
    (Class::Stream, "stream"),
    (Class::Agent, "agent"),
    (Class::Other, "other"),
];
const OUTCOMES: [(Outcome, &str); 6] = [
    (Outcome::Switched, "1xx"),
    (Outcome::Done, "2xx"),
    (Outcome::Redirected, "3xx"),
    (Outcome::Refused, "4xx"),
    (Outcome::Failed, "5xx"),
    (Outcome::Gone, "gone"),
];
const DENIALS: [(Denial, &str); 6] = [
    (Denial::Missing, "missing"),
    (Denial::Invalid, "invalid"),
    (Denial::OtherKey, "other-key"),
    (Denial::Closed, "closed"),
    (Denial::NotYet, "not-yet"),
    (Denial::Delisted, "delisted"),
];

/// All figures of this process. One for each agent.
pub struct Metrics {
    registry: Registry,
    /// By the places of [`LISTENERS`] and [`CLASSES`].
    requests: [[Requests; CLASSES.len()]; LISTENERS.len()],
    doors: [DoorFigures; LISTENERS.len()],
    denials: [Counter; DENIALS.len()],
    partial: Counter,
    streams: Gauge,
}

/// Of one class at one listener.
struct Requests {
    outcomes: [Counter; OUTCOMES.len()],
    seconds: Histogram,
}

/// What a listener counts itself. The default is counted and never shown.
#[derive(Clone, Debug, Default)]
pub struct DoorFigures {
    pub connections: Gauge,
    /// Bytes on the wire, TLS included.
    pub received: Counter,
    pub sent: Counter,
}

/// A request under way. Dropped before [`Timed::ended`] its client has left.
pub struct Timed {
    metrics: Arc<Metrics>,
    listener: Listener,
    pub class: Class,
    began: Instant,
    outcome: Outcome,
}

/// A stream while it is open.
pub struct OpenStream(Gauge);

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        registry.register("swarmgate_build", "What runs", Info::new(version));
        let outcomes = Family::<[(&str, &str); 3], Counter>::default();
        let seconds =
            Family::<[(&str, &str); 2], Histogram>::new_with_constructor(|| Histogram::new(LATENCIES));
        let by_class = |listener| {
            CLASSES.map(|(_, class)| {
                let labels = [("listener", listener), ("class", class)];
                let counted = |(_, outcome)| {
                    outcomes.get_or_create_owned(&[labels[0], labels[1], ("outcome", outcome)])
                };
                Requests { outcomes: OUTCOMES.map(counted), seconds: seconds.get_or_create_owned(&labels) }
            })
        };
        let requests = LISTENERS.map(|(_, listener)| by_class(listener));
        let help = "Requests by kind and status; gone: the client left before there was an answer";
        registry.register("swarmgate_requests", help, outcomes);
        let help = "Time from a request's head to its answer's head";
        registry.register("swarmgate_request_duration_seconds", help, seconds);
        let denied = Family::<[(&str, &str); 1], Counter>::default();
        let denials = DENIALS.map(|(_, reason)| denied.get_or_create_owned(&[("reason", reason)]));
        registry.register("swarmgate_authentication_failures", "Requests of nobody who may call", denied);
        let (partial, streams) = (Counter::default(), Gauge::default());
        let help = "Merged answers that lack a node";
        registry.register("swarmgate_partial_answers", help, partial.clone());
        let help = "Streams that are open through this agent";
        registry.register("swarmgate_open_streams", help, streams.clone());
        let doors = doors(&mut registry);
        Self { registry, requests, doors, denials, partial, streams }
    }
}

fn doors(registry: &mut Registry) -> [DoorFigures; LISTENERS.len()] {
    let connections = Family::<[(&str, &str); 1], Gauge>::default();
    let bytes = [(); 2].map(|()| Family::<[(&str, &str); 1], Counter>::default());
    let [received, sent] = &bytes;
    let doors = LISTENERS.map(|(_, listener)| {
        let labels = [("listener", listener)];
        DoorFigures {
            connections: connections.get_or_create_owned(&labels),
            received: received.get_or_create_owned(&labels),
            sent: sent.get_or_create_owned(&labels),
        }
    });
    let [received, sent] = bytes;
    registry.register("swarmgate_open_connections", "Connections that are open", connections);
    let help = "Bytes that came in over connections, TLS included";
    registry.register("swarmgate_received_bytes", help, received);
    let help = "Bytes that went out over connections, TLS included";
    registry.register("swarmgate_sent_bytes", help, sent);
    doors
}

impl Metrics {
    /// A request's head has come.
    pub fn began(self: &Arc<Self>, listener: Listener) -> Timed {
        Timed {
            metrics: Arc::clone(self),
            listener,
            class: Class::Other,
            began: Instant::now(),
            outcome: Outcome::Gone,
        }
    }

    pub fn denied(&self, why: Denial) {
        self.denials[why as usize].inc();
    }

    pub fn answered_in_part(&self) {
        self.partial.inc();
    }

    /// A connection becomes a stream, until what this returns is dropped.
    #[must_use]
    pub fn stream(&self) -> OpenStream {
        self.streams.inc();
        OpenStream(self.streams.clone())
    }

    /// What a listener of this kind counts.
    pub fn door(&self, listener: Listener) -> DoorFigures {
        self.doors[listener as usize].clone()
    }

    /// All figures, and what was read for this occasion.
    pub fn render(&self, readings: &Readings) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = text::encode_registry(&mut text, &self.registry);
        let _ = text::encode_registry(&mut text, readings.registry());
        let _ = text::encode_eof(&mut text);
        text
    }
}

impl Timed {
    /// The answer's head is ready. A stream's time is that to its `101`.
    pub fn ended(mut self, status: u16) {
        self.outcome = match status {
            100..200 => Outcome::Switched,
            200..300 => Outcome::Done,
            300..400 => Outcome::Redirected,
            400..500 => Outcome::Refused,
            _ => Outcome::Failed,
        };
    }
}

impl Drop for Timed {
    fn drop(&mut self) {
        let requests = &self.metrics.requests[self.listener as usize][self.class as usize];
        requests.outcomes[self.outcome as usize].inc();
        if !matches!(self.outcome, Outcome::Gone) {
            requests.seconds.observe(self.began.elapsed().as_secs_f64());
        }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(metrics: &Metrics) -> String {
        metrics.render(&Readings::default())
    }

    #[track_caller]
    fn has(metrics: &Metrics, line: &str) {
        let text = shown(metrics);
        assert!(text.lines().any(|shown| shown == line), "{line} in\n{text}");
    }

    #[test]
    fn every_label_stands_at_its_place() {
        assert!(LISTENERS.iter().enumerate().all(|(at, (listener, _))| *listener as usize == at));
        assert!(CLASSES.iter().enumerate().all(|(at, (class, _))| *class as usize == at));
        assert!(OUTCOMES.iter().enumerate().all(|(at, (outcome, _))| *outcome as usize == at));
        assert!(DENIALS.iter().enumerate().all(|(at, (denial, _))| *denial as usize == at));
    }

    #[test]
    fn requests_are_counted_by_listener_class_and_outcome() {
        let metrics = Arc::new(Metrics::default());
        let rows = [
            (Listener::Public, Class::List, Some(200), "public", "list", "2xx"),
            (Listener::Public, Class::List, Some(599), "public", "list", "5xx"),
            (Listener::Public, Class::Stream, Some(101), "public", "stream", "1xx"),
            (Listener::Peers, Class::Read, Some(304), "peers", "read", "3xx"),
            (Listener::Peers, Class::Other, Some(404), "peers", "other", "4xx"),
            (Listener::Peers, Class::Ping, None, "peers", "ping", "gone"),
        ];
        for (listener, class, status, listened, kind, outcome) in rows {
            let labels = format!("{{listener=\"{listened}\",class=\"{kind}\",outcome=\"{outcome}\"}}");
            has(&metrics, &format!("swarmgate_requests_total{labels} 0"));
            let mut timed = metrics.began(listener);
            timed.class = class;
            match status {
                Some(status) => timed.ended(status),
                None => drop(timed),
            }
            has(&metrics, &format!("swarmgate_requests_total{labels} 1"));
        }
        // Whoever left says nothing about how long an answer takes.
        let count = "swarmgate_request_duration_seconds_count";
        has(&metrics, &format!("{count}{{listener=\"peers\",class=\"ping\"}} 0"));
        has(&metrics, &format!("{count}{{listener=\"public\",class=\"list\"}} 2"));
    }

    #[test]
    fn gauges_go_back_when_what_they_count_is_over() {
        let metrics = Metrics::default();
        let (first, second) = (metrics.stream(), metrics.stream());
        has(&metrics, "swarmgate_open_streams 2");
        drop((first, second));
        has(&metrics, "swarmgate_open_streams 0");
        metrics.door(Listener::Peers).connections.inc();
        has(&metrics, "swarmgate_open_connections{listener=\"peers\"} 1");
        has(&metrics, "swarmgate_open_connections{listener=\"public\"} 0");
    }

    #[test]
    fn the_number_of_series_has_a_bound() {
        let text = shown(&Metrics::default());
        let series = text.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(series, 1 + 2 * 8 * 6 + 2 * 8 * (LATENCIES.len() + 3) + 6 + 1 + 1 + 2 * 3);
        assert!(text.ends_with("# EOF\n") && text.contains("swarmgate_build_info{version="), "{text}");
    }
}
