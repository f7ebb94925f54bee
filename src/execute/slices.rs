//! A merged answer on its way out: slices of the nodes' answers, sent and not copied whole.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};

use tokio_util::sync::{CancellationToken, DropGuard};

use super::budget::Lease;
use crate::body::BoxError;

/// 16 KiB: one TLS record. Smaller slices are gathered up to this, larger ones go as they are.
const FRAME: usize = 16 << 10;

/// The body of a merged answer.
///
/// Slices of all nodes' answers alternate, and one of them holds its node's whole answer: the memory is free only after
/// the last. And a frame that was handed over is not sent yet. So the last one takes the lease with it.
pub(super) struct Slices {
    slices: std::vec::IntoIter<Bytes>,
    left: u64,
    held: Option<Held>,
}

/// What is given back once all is sent or dropped.
struct Held {
    _lease: Lease,
    _timer: DropGuard,
}

/// The last frame.
struct Last {
    frame: Bytes,
    _held: Option<Held>,
}

impl AsRef<[u8]> for Last {
    fn as_ref(&self) -> &[u8] {
        &self.frame
    }
}

impl Slices {
    /// `timer` is cancelled when all is sent, or nobody wants it any more.
    pub(super) fn new(slices: Vec<Bytes>, lease: Lease, timer: CancellationToken) -> Self {
        let left = slices.iter().map(|slice| slice.len() as u64).sum();
        let held = Held { _lease: lease, _timer: timer.drop_guard() };
        Self { slices: slices.into_iter(), left, held: Some(held) }
    }

    pub(super) fn len(&self) -> u64 {
        self.left
    }

    fn next_frame(&mut self) -> Option<Bytes> {
        let first = self.slices.next()?;
        let next_fits = |gathered: usize, slices: &std::vec::IntoIter<Bytes>| {
            slices.as_slice().first().is_some_and(|next| gathered + next.len() <= FRAME)
        };
        if !next_fits(first.len(), &self.slices) {
            return Some(first);
        }
        let mut gathered = BytesMut::with_capacity(FRAME);
        gathered.extend_from_slice(&first);
        while next_fits(gathered.len(), &self.slices) {
            gathered.extend_from_slice(&self.slices.next().unwrap_or_default());
        }
        Some(gathered.freeze())
    }
}

impl http_body::Body for Slices {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(mut frame) = self.next_frame() else { return Poll::Ready(None) };
        self.left -= frame.len() as u64;
        if self.left == 0 {
            frame = Bytes::from_owner(Last { frame, _held: self.held.take() });
        }
        Poll::Ready(Some(Ok(Frame::data(frame))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Budget;
    use super::*;
    use http_body_util::BodyExt;
    use std::time::Duration;

    #[tokio::test]
    async fn slices_arrive_whole_and_in_order_whatever_their_size() {
        let sizes = [1, 3, FRAME, 0, 2 * FRAME, 10, FRAME - 10, 1, 7];
        let slices: Vec<Bytes> =
            sizes.iter().enumerate().map(|(i, n)| Bytes::from(vec![u8::try_from(i).unwrap(); *n])).collect();
        let whole = slices.concat();
        let body = Slices::new(slices, Budget::new(1).lease(), CancellationToken::new());
        assert_eq!(body.len(), whole.len() as u64);
        assert_eq!(body.collect().await.unwrap().to_bytes(), whole);
    }

    #[tokio::test]
    async fn all_is_held_until_the_last_frame_was_taken() {
        for sizes in [vec![FRAME, 2 * FRAME, FRAME], vec![7], vec![1, 1]] {
            let budget = Budget::new(100);
            let mut lease = budget.lease();
            assert!(lease.grow(100, Duration::ZERO).await);
            let timer = CancellationToken::new();
            let slices = sizes.iter().map(|n| Bytes::from(vec![0; *n])).collect();
            let mut body = Slices::new(slices, lease, timer.clone());
            let mut last = None;
            while let Some(frame) = body.frame().await {
                last = Some(frame.unwrap());
                assert_eq!((budget.free(), timer.is_cancelled()), (0, false), "{sizes:?}");
            }
            drop(body);
            assert_eq!((budget.free(), timer.is_cancelled()), (0, false), "{sizes:?}: it is not written yet");
            drop(last);
            assert_eq!((budget.free(), timer.is_cancelled()), (100, true), "{sizes:?}");
        }
    }

    #[tokio::test]
    async fn an_answer_that_nobody_wants_any_more_holds_nothing() {
        let budget = Budget::new(100);
        let mut lease = budget.lease();
        assert!(lease.grow(100, Duration::ZERO).await);
        let timer = CancellationToken::new();
        drop(Slices::new(vec![Bytes::from_static(b"[]")], lease, timer.clone()));
        assert_eq!((budget.free(), timer.is_cancelled()), (100, true));
    }
}
