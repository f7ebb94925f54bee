//! A place for each connection: a bounded number in all, and a smaller one for those that nobody vouches for yet.
//!
//! When places run out, the connection that costs its owner least goes: one that is silent, the oldest of the source
//! that holds most. One that serves a request or carries a stream never goes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::client::{self, Client, Side};
use crate::telemetry::metrics::DoorFigures;

/// The places of one listener, or of several that share them.
pub struct Seats {
    strangers: usize,
    all: usize,
    figures: Arc<DoorFigures>,
    taken: Mutex<Rows>,
}

/// In the order of arrival.
#[derive(Default)]
struct Rows {
    arrivals: u64,
    strangers: BTreeMap<u64, Arc<Seat>>,
    known: BTreeMap<u64, Arc<Seat>>,
}

/// What is known of one connection, shared by its task, its socket and this table.
pub(super) struct Seat {
    source: IpAddr,
    client: OnceLock<Arc<Client>>,
    requests: AtomicU32,
    running: AtomicBool,
    unread: AtomicBool,
    upgraded: AtomicBool,
    pub(super) figures: Arc<DoorFigures>,
    leave: CancellationToken,
}

/// A seat while it is occupied. Lives as long as the socket does.
pub(super) struct Taken {
    seat: Arc<Seat>,
    number: u64,
    seats: Arc<Seats>,
}

/// A request under way: from its head to the end of its answer.
pub(super) struct UnderWay(Arc<Seat>);

impl Seats {
    pub(super) fn new(strangers: usize, all: usize, figures: DoorFigures) -> Arc<Self> {
        Arc::new(Self { strangers, all, figures: Arc::new(figures), taken: Mutex::default() })
    }

    /// Finds a place for a newcomer, if need be somebody else's. `None` when nobody can be asked to leave.
    pub(super) fn take(self: &Arc<Self>, source: IpAddr) -> Option<Taken> {
        let mut rows = self.rows();
        if rows.strangers.len() >= self.strangers {
            rows.move_known();
        }
        if rows.strangers.len() >= self.strangers {
            send_off(&mut rows.strangers)?;
        }
        if rows.strangers.len() + rows.known.len() >= self.all {
            rows.move_known();
            send_off(&mut rows.strangers).or_else(|| send_off(&mut rows.known))?;
        }
        rows.arrivals += 1;
        let number = rows.arrivals;
        let seat = Arc::new(Seat::new(source, &self.figures));
        rows.strangers.insert(number, Arc::clone(&seat));
        drop(rows);
        self.figures.connections.inc();
        Some(Taken { seat, number, seats: Arc::clone(self) })
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rows {
    fn move_known(&mut self) {
        let known = self.strangers.extract_if(.., |_, seat| seat.is_known());
        self.known.extend(known);
    }
}

/// Sends off one connection of a row and frees its place at once.
fn send_off(row: &mut BTreeMap<u64, Arc<Seat>>) -> Option<()> {
    let mut sources: HashMap<IpAddr, (usize, Option<u64>)> = HashMap::new();
    for (number, seat) in &*row {
        let (count, oldest) = sources.entry(seat.source).or_default();
        *count += 1;
        if oldest.is_none() && seat.is_quiet() {
            *oldest = Some(*number);
        }
    }
    let quiet = sources.values().filter_map(|(count, oldest)| Some((*count, Reverse((*oldest)?))));
    let (_, Reverse(number)) = quiet.max()?;
    row.remove(&number)?.leave.cancel();
    Some(())
}

impl Seat {
    fn new(source: IpAddr, figures: &Arc<DoorFigures>) -> Self {
        Self {
            source: client::source(source),
            client: OnceLock::new(),
            requests: AtomicU32::new(0),
            running: AtomicBool::new(false),
            unread: AtomicBool::new(false),
            upgraded: AtomicBool::new(false),
            figures: Arc::clone(figures),
            leave: CancellationToken::new(),
        }
    }

    /// Says whose connection this is. Said once, when the handshake is done.
    pub(super) fn belongs_to(&self, client: &Arc<Client>) {
        self.client.get_or_init(|| Arc::clone(client));
    }

    pub(super) fn client(&self) -> Option<&Arc<Client>> {
        self.client.get()
    }

    /// Ends when somebody else got this place.
    pub(super) async fn left(&self) {
        self.leave.cancelled().await;
    }

    pub(super) fn begin(self: &Arc<Self>) -> UnderWay {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.running.store(true, Ordering::Relaxed);
        self.unread.store(false, Ordering::Relaxed);
        UnderWay(Arc::clone(self))
    }

    /// How many requests began; compared to see whether another one did.
    pub(super) fn requests(&self) -> u32 {
        self.requests.load(Ordering::Relaxed)
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.load(Ordering::Relaxed)
    }

    /// Whether the client has more to send of a request that is answered already.
    pub(super) fn has_unread(&self) -> bool {
        self.unread.load(Ordering::Relaxed)
    }

    pub(super) fn set_unread(&self, unread: bool) {
        self.unread.store(unread, Ordering::Relaxed);
    }

    pub(super) fn is_upgraded(&self) -> bool {
        self.upgraded.load(Ordering::Relaxed)
    }

    pub(super) fn set_upgraded(&self) {
        self.upgraded.store(true, Ordering::Relaxed);
    }

    /// Whether silence means nothing here: a stream, or a request that may take its time.
    pub(super) fn is_unhurried(&self) -> bool {
        self.is_upgraded() || self.client.get().is_some_and(|client| client.is_unhurried())
    }

    fn is_known(&self) -> bool {
        self.client.get().is_some_and(|client| client.side != Side::Public || client.is_known())
    }

    fn is_quiet(&self) -> bool {
        !self.is_running() && !self.is_upgraded()
    }
}

impl Taken {
    pub(super) fn seat(&self) -> &Arc<Seat> {
        &self.seat
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.seats.figures.connections.dec();
        let mut rows = self.seats.rows();
        if rows.strangers.remove(&self.number).is_none() {
            rows.known.remove(&self.number);
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.running.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Limits;

    fn source(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn seats(strangers: usize, all: usize) -> Arc<Seats> {
        Seats::new(strangers, all, DoorFigures::default())
    }

    fn known_client() -> Arc<Client> {
        let client = Client::new(([127, 0, 0, 1], 1).into(), Side::Public);
        client.authenticated(&CancellationToken::new());
        Arc::new(client)
    }

    fn was_sent_off(taken: &Taken) -> bool {
        taken.seat.leave.is_cancelled()
    }

    #[test]
    fn the_oldest_silent_stranger_of_the_busiest_source_goes() {
        let seats = seats(4, 100);
        let quiet = seats.take(source("10.0.0.9")).unwrap();
        let busy: Vec<_> = (0..3).map(|_| seats.take(source("10.0.0.1")).unwrap()).collect();
        let _under_way = busy[0].seat.begin();
        let newcomer = seats.take(source("10.0.0.2")).unwrap();
        assert_eq!(busy.iter().map(was_sent_off).collect::<Vec<_>>(), [false, true, false]);
        assert!(!was_sent_off(&quiet) && !was_sent_off(&newcomer));
    }

    #[test]
    fn clients_and_peers_together_have_as_many_places_as_there_are() {
        for (connections, expected) in [(40, [30, 10]), (5, [4, 1]), (2, [1, 1])] {
            let limits = Limits { connections, ..Limits::default() };
            let both = crate::listen::seats(&limits, DoorFigures::default(), DoorFigures::default());
            let taken = both.map(|seats| {
                let take = |n: u32| seats.take(std::net::Ipv4Addr::from_bits(n).into());
                let busy = |taken: &Taken| std::mem::forget(taken.seat.begin());
                (1..100).map_while(take).inspect(busy).collect::<Vec<_>>().len()
            });
            assert_eq!(taken, expected, "{connections}");
        }
    }

    #[test]
    fn a_whole_ipv6_network_is_one_source() {
        let seats = seats(3, 100);
        let lone = seats.take(source("2001:db8:1::1")).unwrap();
        let first = seats.take(source("2001:db8:2::1")).unwrap();
        let _second = seats.take(source("2001:db8:2::2")).unwrap();
        let _newcomer = seats.take(source("10.0.0.2")).unwrap();
        assert!(was_sent_off(&first) && !was_sent_off(&lone));
    }

    #[test]
    fn who_is_known_does_not_count_as_a_stranger_whatever_its_address() {
        let seats = seats(2, 100);
        let known: Vec<_> = (0..50)
            .map(|_| {
                let taken = seats.take(source("10.0.0.1")).unwrap();
                taken.seat.belongs_to(&known_client());
                taken
            })
            .collect();
        let _strangers = (seats.take(source("10.0.0.1")).unwrap(), seats.take(source("10.0.0.1")).unwrap());
        assert!(!known.iter().any(was_sent_off));
    }

    #[test]
    fn when_all_are_busy_the_newcomer_is_refused_until_one_leaves() {
        let seats = seats(2, 100);
        let first = seats.take(source("10.0.0.1")).unwrap();
        let second = seats.take(source("10.0.0.2")).unwrap();
        let _under_way = (first.seat.begin(), second.seat.begin());
        assert!(seats.take(source("10.0.0.3")).is_none());
        drop(first);
        assert!(seats.take(source("10.0.0.3")).is_some());
    }

    #[test]
    fn the_total_counts_the_known_and_a_stream_is_never_sent_off() {
        let seats = seats(10, 2);
        let stream = seats.take(source("10.0.0.1")).unwrap();
        stream.seat.belongs_to(&known_client());
        drop(stream.seat.begin());
        stream.seat.set_upgraded();
        let idle = seats.take(source("10.0.0.1")).unwrap();
        idle.seat.belongs_to(&known_client());
        let newcomer = seats.take(source("10.0.0.2")).unwrap();
        assert!(was_sent_off(&idle) && !was_sent_off(&stream));
        newcomer.seat.set_upgraded();
        assert!(seats.take(source("10.0.0.2")).is_none());
    }

    #[test]
    fn a_connection_is_open_until_its_socket_is_gone() {
        let seats = seats(1, 100);
        let first = seats.take(source("10.0.0.1")).unwrap();
        let second = seats.take(source("10.0.0.2")).unwrap();
        assert!(was_sent_off(&first) && seats.figures.connections.get() == 2);
        drop((first, second));
        assert_eq!(seats.figures.connections.get(), 0);
    }
}
