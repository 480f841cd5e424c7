//! Announcements that wait until they are in the log: in order, each once, within bounds. When there is no room, whoever announces
//! knows of one that covers them all, and that takes their place: an announcement may become coarser, and is never lost.

use std::collections::{HashSet, VecDeque};

use bytes::Bytes;

use super::MESSAGE_MAX;

/// Announcements that wait for the link: a purge of every minute of a day fits, and so does a burst of a deployment.
pub(super) const PENDING_MAX: usize = 4096;
const BYTES_MAX: usize = 4 << 20;

/// Announcements that are sent in one go: a round trip for each would let no more than its reciprocal through in a second. As many as
/// a reader takes at once.
pub(super) const SENT_MAX: usize = 64;

/// What came of an announcement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Announced {
    /// It is kept, under this ticket, until [`Heard::Announced`](super::Heard::Announced) says that it is in the log.
    Kept(u64),
    /// The same waits already, and will have a number as high.
    Waits,
    /// It is not kept, since it is too long or too many wait: one that covers it and all of those must take their place.
    Full,
}

#[derive(Default)]
pub(super) struct Pending {
    queue: VecDeque<(u64, Bytes)>,
    bytes: usize,
    /// So many of the first have been sent, perhaps over a link that broke then: they may be in the log.
    sent: usize,
    /// The others. What is announced again is not sent again: it will be heard with a number above all that is known now.
    unsent: HashSet<Bytes>,
    tickets: u64,
}

impl Pending {
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Keeps one, if there is room.
    pub(super) fn add(&mut self, message: Bytes) -> Announced {
        if self.unsent.contains(&message) {
            return Announced::Waits;
        }
        let full = self.queue.len() >= PENDING_MAX || self.bytes + message.len() > BYTES_MAX;
        if message.len() > MESSAGE_MAX || full {
            Announced::Full
        } else {
            Announced::Kept(self.push(message))
        }
    }

    /// Keeps one in the place of all others; its ticket, and how many those were. What has been sent stays before it, since its
    /// place in the log may be taken.
    pub(super) fn replace(&mut self, message: Bytes) -> (u64, usize) {
        let kept = self.sent;
        let replaced = self.queue.len().saturating_sub(kept);
        self.queue.truncate(kept);
        self.unsent.clear();
        self.bytes = self.queue.iter().map(|(_, message)| message.len()).sum();
        (self.push(message), replaced)
    }

    fn push(&mut self, message: Bytes) -> u64 {
        self.tickets += 1;
        self.bytes += message.len();
        self.unsent.insert(message.clone());
        self.queue.push_back((self.tickets, message));
        self.tickets
    }

    /// The first few, in order, which are sent now; those that were sent before and are not known to be in the log among them.
    pub(super) fn send(&mut self) -> Vec<Bytes> {
        let batch: Vec<Bytes> =
            self.queue.iter().take(SENT_MAX).map(|(_, message)| message.clone()).collect();
        for message in batch.iter().skip(self.sent) {
            self.unsent.remove(message);
        }
        self.sent = self.sent.max(batch.len());
        batch
    }

    /// The first one is in the log; its ticket.
    pub(super) fn delivered(&mut self) -> Option<u64> {
        let (ticket, message) = self.queue.pop_front()?;
        self.bytes -= message.len();
        self.sent = self.sent.saturating_sub(1);
        Some(ticket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(count: usize) -> Pending {
        let mut pending = Pending::default();
        (0..count).for_each(|at| assert!(matches!(pending.add(at.to_string().into()), Announced::Kept(_))));
        pending
    }

    fn sent(pending: &mut Pending) -> Vec<Bytes> {
        let mut all = Vec::new();
        while let batch @ [_, ..] = &pending.send()[..] {
            all.extend_from_slice(batch);
            batch.iter().for_each(|_| _ = pending.delivered());
        }
        all
    }

    #[test]
    fn announcements_are_kept_in_order_within_bounds_and_what_has_no_room_is_not_forgotten_in_silence() {
        let mut pending = filled(PENDING_MAX);
        assert_eq!(pending.add("one more".into()), Announced::Full);
        assert_eq!(pending.len(), PENDING_MAX);
        let all: Vec<Bytes> = (0..PENDING_MAX).map(|at| at.to_string().into()).collect();
        assert_eq!(sent(&mut pending), all);
        assert_eq!(pending.add(vec![b'x'; MESSAGE_MAX + 1].into()), Announced::Full, "too long");
        let long = |at: usize| -> Bytes { format!("{at:0MESSAGE_MAX$}").into() };
        let kept = (0..1000).filter(|at| matches!(pending.add(long(*at)), Announced::Kept(_))).count();
        assert_eq!(kept, BYTES_MAX / MESSAGE_MAX);
    }

    #[test]
    fn one_that_covers_all_takes_their_place_as_often_as_there_is_no_room() {
        let mut pending = filled(PENDING_MAX);
        let first = pending.send();
        assert_eq!(first.len(), SENT_MAX);
        for _ in 0..2 {
            let before = pending.tickets;
            let (ticket, replaced) = pending.replace("all".into());
            assert_eq!((ticket, replaced), (before + 1, PENDING_MAX - SENT_MAX));
            for at in pending.len()..PENDING_MAX {
                assert!(matches!(pending.add(format!("more {at}").into()), Announced::Kept(_)));
            }
            assert_eq!((pending.len(), pending.add("full".into())), (PENDING_MAX, Announced::Full));
        }
        pending.replace("all".into());
        let expected = [first, vec!["all".into()]].concat();
        assert_eq!(sent(&mut pending), expected, "what was sent may have its place in the log already");
        assert_eq!((pending.len(), pending.bytes, pending.unsent.len()), (0, 0, 0));
    }

    #[test]
    fn what_waits_already_is_kept_once_and_what_was_sent_is_announced_anew() {
        let mut pending = Pending::default();
        assert_eq!(
            (pending.add("a".into()), pending.add("b".into())),
            (Announced::Kept(1), Announced::Kept(2))
        );
        assert_eq!((pending.add("a".into()), pending.add("b".into())), (Announced::Waits, Announced::Waits));
        for _ in 0..2 {
            assert_eq!(pending.send(), ["a", "b"], "until they are there");
        }
        assert_eq!(pending.add("a".into()), Announced::Kept(3), "the first one may have its number already");
        assert_eq!(pending.add("a".into()), Announced::Waits);
        assert_eq!(pending.delivered(), Some(1));
        assert_eq!(pending.add("b".into()), Announced::Kept(4), "and so may the second");
        assert_eq!(sent(&mut pending), ["b", "a", "b"]);
        assert_eq!((pending.len(), pending.sent), (0, 0));
    }
}
