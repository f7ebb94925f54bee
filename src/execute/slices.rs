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

/// The body of a merged answer. Gives back what it holds once it is sent or dropped.
pub(super) struct Slices {
    slices: std::vec::IntoIter<Bytes>,
    left: u64,
    lease: Lease,
    _timer: DropGuard,
}

impl Slices {
    /// `timer` is cancelled when all is sent, or nobody wants it any more.
    pub(super) fn new(slices: Vec<Bytes>, lease: Lease, timer: CancellationToken) -> Self {
        let left = slices.iter().map(|slice| slice.len() as u64).sum();
        Self { slices: slices.into_iter(), left, lease, _timer: timer.drop_guard() }
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
        let frame = self.next_frame();
        if let Some(frame) = &frame {
            self.left -= frame.len() as u64;
            let left = usize::try_from(self.left).unwrap_or(usize::MAX);
            self.lease.shrink_to(left);
        }
        Poll::Ready(frame.map(|frame| Ok(Frame::data(frame))))
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
}
