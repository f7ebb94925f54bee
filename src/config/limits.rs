//! Every timeout, cap and queue length, with its reason.

use std::time::Duration;

/// The limits of one agent. `Default` is what runs; tests shrink them.
#[derive(Clone, Debug)]
pub struct Limits {
    /// 10 s: a TLS handshake takes milliseconds; a stranger who stalls must not hold a place.
    pub handshake: Duration,
    /// 10 s from a head's first byte to its last: slow-loris ends here.
    pub head: Duration,
    /// 75 s: longer than any client's own idle pool (Go 90 s races are retried by it), and than our peers' 25 s.
    pub idle: Duration,
    /// 64 KiB: X-Registry-Config can be tens of KiB.
    pub head_bytes: usize,
    /// 30 s without a byte of an ordinary request body.
    pub body_read: Duration,
    /// 60 s in which an ordinary answer makes no progress towards the client.
    pub body_write: Duration,
    /// 256 connections that have not authenticated yet; the oldest silent one of the busiest source goes first.
    pub strangers: usize,
    /// 4096 connections in all, a quarter of them for peers; lowered to what the file descriptors allow.
    pub connections: usize,
    /// 10 failed authentications a second and source, in bursts of 20; then 429, for failures only.
    pub failures_per_second: u32,
    pub failures_burst: u32,
    /// 4096 sources of failures are remembered; then those that are allowed a full burst again are forgotten.
    pub failures_sources: usize,
    /// 1 s to connect to the own engine.
    pub connect_engine: Duration,
    /// 10 s to connect to a peer and shake hands: two first packets lost on a slow link. Whoever waits for it has the
    /// peer probed meanwhile, and gives up one that is not there much sooner.
    pub connect_peer: Duration,
    /// 32 idle connections a peer: with fewer, as many clients at once make connections only to drop them, and a
    /// handshake costs more than the call. 25 s: shorter than the peer's 75 s, so that a reused one is alive.
    pub pool_idle: usize,
    pub pool_idle_for: Duration,
    /// 300 ms of silence into a fan-out starts a probe on another connection.
    pub silence: Duration,
    /// 600 ms: what that probe has, or twice as long as probes of that node take, up to `probe_patient`. No dial waits
    /// longer for its answer before the next one is tried beside it.
    pub probe: Duration,
    /// 4 s for a probe that no list waits for: seven dials, on a link of a quarter of a second each way that loses
    /// packets.
    pub probe_patient: Duration,
    /// 1 s between probes of a node that is missing.
    pub probe_missing: Duration,
    /// 5 s between probes of one that answers.
    pub probe_answering: Duration,
    /// 15 s for a node's part of a list while its probes are answered.
    pub list: Duration,
    /// 60 s where sizes are computed.
    pub list_sizes: Duration,
    /// 120 s for a plain GET in all.
    pub plain_get: Duration,
    /// 64 MiB a node in a merge.
    pub part_bytes: usize,
    /// 8 MiB held by all merges together; others queue, one always runs. Six lists of 1.25 MB at once keep two
    /// processors busy, and what 64 clients need beside it stays under 48 MB.
    pub merge_bytes: usize,
    /// 4 MiB of a body that decides the route.
    pub peek_bytes: usize,
    /// 16 jobs on files at once, each on a thread of its own: a disk that hangs must not take all threads. Others
    /// queue for 30 s, then they are told that files are busy.
    pub file_jobs: usize,
    pub file_queue: Duration,
    /// 250,000 entries of one directory, or 32 MiB of them: more than any browser shows.
    pub listing: usize,
    pub listing_bytes: usize,
    /// 2 listings of more than 1 MiB at once, from their reading until they are sent; others are told to try again.
    pub listings: usize,
    /// 30 s between pings of a console: what lies between us and a browser forgets silent connections after a minute.
    pub console_ping: Duration,
    /// 60 s in which a console's client takes nothing of what there is for it; then the engine is let go.
    pub console_stall: Duration,
    /// 1 MiB in one message to a console: what a person pastes, and nothing that is an upload.
    pub console_message: usize,
    /// 30 s between two looks at the files of the certificate: who replaces one by hand waits that long; reading four
    /// small files costs nothing.
    pub certificate_look: Duration,
    /// 3 s between two looks at DNS, the engine's directory and the node list.
    pub refresh: Duration,
    /// 1 s after a first failure at a Portainer server, doubled up to 5 minutes: it is asked for ever, and must not
    /// notice it.
    pub register_again: Duration,
    pub register_seldom: Duration,
    /// 1 minute between two looks at who has registered the agents.
    pub register_look: Duration,
    /// 10 minutes: who claimed the registration and has not finished by then does not; creating takes two at most.
    pub register_claim: Duration,
    /// 15 s for a question to a Portainer server.
    pub register_ask: Duration,
    /// 2 minutes to create an environment: the server looks at the whole cluster before it answers.
    pub register_create: Duration,
    /// 8 s: Swarm's own grace is 10 s.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            head_bytes: 64 << 10,
            body_read: Duration::from_secs(30),
            body_write: Duration::from_secs(60),
            strangers: 256,
            connections: 4096,
            failures_per_second: 10,
            failures_burst: 20,
            failures_sources: 4096,
            connect_engine: Duration::from_secs(1),
            connect_peer: Duration::from_secs(10),
            pool_idle: 32,
            pool_idle_for: Duration::from_secs(25),
            silence: Duration::from_millis(300),
            probe: Duration::from_millis(600),
            probe_patient: Duration::from_secs(4),
            probe_missing: Duration::from_secs(1),
            probe_answering: Duration::from_secs(5),
            list: Duration::from_secs(15),
            list_sizes: Duration::from_secs(60),
            plain_get: Duration::from_secs(120),
            part_bytes: 64 << 20,
            merge_bytes: 8 << 20,
            peek_bytes: 4 << 20,
            file_jobs: 16,
            file_queue: Duration::from_secs(30),
            listing: 250_000,
            listing_bytes: 32 << 20,
            listings: 2,
            console_ping: Duration::from_secs(30),
            console_stall: Duration::from_secs(60),
            console_message: 1 << 20,
            certificate_look: Duration::from_secs(30),
            refresh: Duration::from_secs(3),
            register_again: Duration::from_secs(1),
            register_seldom: Duration::from_secs(5 * 60),
            register_look: Duration::from_secs(60),
            register_claim: Duration::from_secs(10 * 60),
            register_ask: Duration::from_secs(15),
            register_create: Duration::from_secs(2 * 60),
            drain: Duration::from_secs(8),
        }
    }
}
