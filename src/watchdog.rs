//! Ends a process whose runtime has stopped turning, so that Swarm starts another one.
//!
//! A task beats; a thread of its own listens. Time is counted in the thread's own wake-ups, not on a clock: a process
//! that was stopped or frozen as a whole, and then goes on, has missed one beat and not a minute of them.

use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::shutdown::Shutdown;

/// EX_SOFTWARE of sysexits.h: an error inside the program.
pub const EXIT_CODE: u8 = 70;

/// How patient the watchdog is.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Between two beats.
    pub beat: Duration,
    /// So many beats in a row may be missed.
    pub missed: u32,
}

impl Default for Patience {
    /// 30 beats of a second: no request may hold a worker thread for a tenth of that, and a machine that swaps
    /// can be slow for seconds.
    fn default() -> Self {
        Self { beat: Duration::from_secs(1), missed: 30 }
    }
}

/// Watches the current runtime until the shutdown drains. `stuck` is called at most once, on the watchdog's thread.
///
/// Must be called inside the runtime.
pub fn start<F>(patience: Patience, stuck: F, shutdown: &Shutdown) -> io::Result<()>
where
    F: FnOnce() + Send + 'static,
{
    // One place: a beat that nobody has listened to yet is as good as two.
    let (heart, beats) = mpsc::sync_channel(1);
    let listen = move || {
        if listen(&beats, patience) == Heard::Silence {
            stuck();
        }
    };
    thread::Builder::new().name("watchdog".into()).spawn(listen)?;
    let draining = shutdown.clone();
    shutdown.spawn(async move {
        let mut interval = tokio::time::interval(patience.beat);
        loop {
            tokio::select! {
                _ = interval.tick() => { let _ = heart.try_send(()); }
                // From here on the drain has its own deadline.
                () = draining.draining() => return,
            }
        }
    });
    Ok(())
}

/// Says so and ends the process: what [`start`] is given outside of tests.
pub fn end_process() {
    let (said, done) = mpsc::channel();
    // Whoever hangs may hold the lock of standard error, or its pipe may be full. So another thread speaks.
    let _ = thread::Builder::new().spawn(move || {
        eprintln!("swarmgate: the runtime has not turned for 30 s; ending, so that it can be started anew");
        let _ = said.send(());
    });
    let _ = done.recv_timeout(Duration::from_secs(1));
    std::process::exit(EXIT_CODE.into());
}

#[derive(Debug, PartialEq, Eq)]
enum Heard {
    /// The heart was taken down in good order.
    Farewell,
    /// Too many beats were missed.
    Silence,
}

fn listen(beats: &Receiver<()>, patience: Patience) -> Heard {
    let mut missed = 0;
    while missed < patience.missed {
        match beats.recv_timeout(patience.beat) {
            Ok(()) => missed = 0,
            Err(RecvTimeoutError::Timeout) => missed += 1,
            Err(RecvTimeoutError::Disconnected) => return Heard::Farewell,
        }
    }
    Heard::Silence
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Patience = Patience { beat: Duration::from_millis(1), missed: 3 };
    /// Long enough for the slowest machine; only a failing test waits for it.
    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_runtime_that_does_not_turn_is_reported() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let (tell, told) = mpsc::channel();
        let _entered = runtime.enter();
        start(SHORT, move || tell.send(()).unwrap_or_default(), &Shutdown::new()).expect("a thread");
        // Nobody turns the runtime: there is no block_on here.
        assert_eq!(told.recv_timeout(LONG), Ok(()));
    }

    #[test]
    fn a_drained_one_is_not() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let (tell, told) = mpsc::channel::<()>();
        runtime.block_on(async {
            let shutdown = Shutdown::new();
            let patience = Patience { beat: Duration::from_millis(1), missed: u32::MAX };
            start(patience, move || tell.send(()).unwrap_or_default(), &shutdown).expect("a thread");
            shutdown.finish(LONG).await;
        });
        // The closure, and the sender in it, were dropped without being called.
        assert_eq!(told.recv_timeout(LONG), Err(RecvTimeoutError::Disconnected));
    }

    #[test]
    fn a_beat_makes_good_for_those_that_were_missed() {
        let (heart, beats) = mpsc::sync_channel(1);
        heart.try_send(()).expect("there is room");
        assert_eq!(listen(&beats, SHORT), Heard::Silence);
        heart.try_send(()).expect("it was taken");
        drop(heart);
        assert_eq!(listen(&beats, SHORT), Heard::Farewell);
    }
}
