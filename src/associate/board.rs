//! What the store publishes: the present association, and the end of what an earlier one opened.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::judge::Standing;
use super::record::Holder;
use crate::identify::Association;
use crate::model::Fingerprint;

pub(super) struct Board {
    sender: watch::Sender<Arc<Association>>,
}

impl Board {
    pub(super) fn new() -> Self {
        Self { sender: watch::Sender::new(Arc::new(Association::Unknown)) }
    }

    pub(super) fn now(&self) -> Arc<Association> {
        Arc::clone(&self.sender.borrow())
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Arc<Association>> {
        self.sender.subscribe()
    }

    /// Publishes what `standing` means (`None`: nothing is known). A holder who stays keeps what it opened; what
    /// any other opened ends here.
    pub(super) fn publish(&self, standing: Option<&Standing>) {
        let before = self.now();
        let held = holder(&before);
        let next = match standing {
            None => Association::Unknown,
            Some(Standing::Open) => Association::Open,
            Some(Standing::Closed(_)) => Association::Closed,
            Some(Standing::Held(next)) => {
                let stays = held.filter(|(key, _)| *key == next.fingerprint());
                let revoked = stays.map_or_else(CancellationToken::new, |(_, revoked)| revoked.clone());
                match next.clone() {
                    Holder::Key(key) => Association::Held { key, revoked },
                    Holder::Named(key) => Association::Reserved { key, revoked },
                }
            }
        };
        let stays = holder(&next).map(|(key, _)| key) == held.map(|(key, _)| key);
        // Published first, so that nobody is let in under the old key after its streams were cut.
        self.sender.send_replace(Arc::new(next));
        if let (Some((_, revoked)), false) = (held, stays) {
            revoked.cancel();
        }
    }
}

fn holder(association: &Association) -> Option<(Fingerprint, &CancellationToken)> {
    match association {
        Association::Held { key, revoked } => Some((key.fingerprint, revoked)),
        Association::Reserved { key, revoked } => Some((*key, revoked)),
        Association::Unknown | Association::Open | Association::Closed => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::associate::judge::Why;
    use crate::associate::record::tests::key;

    fn held(which: &str) -> Standing {
        Standing::Held(Holder::Key(key(which)))
    }

    fn token(board: &Board) -> CancellationToken {
        holder(&board.now()).unwrap().1.clone()
    }

    #[test]
    fn what_a_replaced_or_removed_key_opened_ends() {
        let closed = Standing::Closed(Why::Over);
        for next in [None, Some(&Standing::Open), Some(&closed), Some(&held("B"))] {
            let board = Board::new();
            board.publish(Some(&held("A")));
            let opened = token(&board);
            board.publish(next);
            assert!(opened.is_cancelled(), "{next:?}");
        }
    }

    #[test]
    fn a_holder_who_stays_keeps_its_streams() {
        let board = Board::new();
        let named = Standing::Held(Holder::Named(key("A").fingerprint));
        board.publish(Some(&named));
        let opened = token(&board);
        for standing in [held("A"), named, held("A")] {
            board.publish(Some(&standing));
            assert!(!opened.is_cancelled());
        }
        board.publish(Some(&held("B")));
        assert!(opened.is_cancelled());
        assert!(!token(&board).is_cancelled());
    }
}
