//! `GET /metrics`: what was counted, and what is read for the occasion.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::Response;
use http::header::{self, HeaderValue};
use time::OffsetDateTime;
use tokio::sync::watch;

use super::host::{Host, process_memory, process_seconds};
use crate::body::Body;
use crate::model::{Absence, Cluster, Reach};
use crate::telemetry::metrics::{CONTENT_TYPE, Metrics, OpenStream, Readings};

/// 3 s: scrapers give up after ten, and without the host's figures the rest is still worth it.
const PATIENCE: Duration = Duration::from_secs(3);

/// What the figures of this process are made of.
pub struct Figures {
    metrics: Arc<Metrics>,
    certificate: watch::Receiver<OffsetDateTime>,
    started: SystemTime,
}

impl Figures {
    /// Made at the start of the process. `certificate`: when the one for clients ends.
    pub fn new(metrics: Arc<Metrics>, certificate: watch::Receiver<OffsetDateTime>) -> Self {
        Self { metrics, certificate, started: SystemTime::now() }
    }

    /// One of our own streams, such as a console, is open until what this returns is dropped.
    pub(super) fn stream(&self) -> OpenStream {
        self.metrics.stream()
    }

    /// Everything, as text. What cannot be read is left out.
    pub(super) async fn scrape(&self, host: &Host, data: &Path, cluster: &Cluster) -> Response<Body> {
        let (folder, started) = (data.to_owned(), self.started);
        let read = host.look(PATIENCE, move |root| {
            let mut readings = super::host::usage(root, &folder);
            process(&mut readings, started);
            readings
        });
        let mut readings = read.await.unwrap_or_default();
        let expiry = self.certificate.borrow().unix_timestamp() as f64;
        let help = "When the certificate for clients ends, in seconds since 1970";
        readings.gauge("swarmgate_certificate_expiry_timestamp_seconds", help, expiry);
        peers(&mut readings, cluster);
        let text = self.metrics.render(&readings);
        let mut response = Response::new(Body::from(Bytes::from(text)));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
        response
    }
}

/// How many of the other nodes are in each state. All states, so that a rule can rely on each.
fn peers(readings: &mut Readings, cluster: &Cluster) {
    let others = || cluster.members.values().filter(|member| !member.is_here());
    let count = |reach| others().filter(|member| member.reach == reach).count() as f64;
    let present = [("answering", Reach::Answering), ("untried", Reach::Untried)];
    let missing = Absence::ALL.map(|absence| (absence.as_str(), Reach::Missing(absence)));
    let states = present.into_iter().chain(missing);
    let rows = states.map(|(state, reach)| (state.to_owned(), count(reach))).collect();
    readings.gauges("swarmgate_peers", "Other nodes by whether they answer, or why not", "state", rows);
}

/// This process, under the names that all exporters use.
fn process(readings: &mut Readings, started: SystemTime) {
    let descriptors = fs::read_dir("/proc/self/fd").ok().map(|open| open.count() as f64);
    let since = started.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs_f64());
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    readings.counter("process_cpu_seconds", "Processor time of the agent", process_seconds());
    readings.gauge("process_resident_memory_bytes", "Memory of the agent", process_memory());
    readings.gauge("process_open_fds", "Descriptors that the agent has open", descriptors);
    readings.gauge("process_max_fds", "Descriptors that it may open", limit.map(|limit| limit as f64));
    readings.gauge("process_start_time_seconds", "When it started, in seconds since 1970", since);
}
