//! Content that still comes while it is sent: an attempt takes as long as its caller sends, which is not how long its route takes.
//! So the time until all of it is sent counts neither where a route's is learned nor against the time-out that was learned.

use super::race::Limit;
use crate::error::Error;
use crate::exchange::{Outcome, Trace};
use crate::net::alarm::{Alarm, NEVER};
use std::pin::Pin;
use std::task::{Poll, ready};
use unlag_record::Phase;

/// The content of one attempt.
pub struct Upload<'a> {
    trace: &'a Trace,
    /// What earlier attempts spent in these phases.
    sent_ns: u64,
    waited_ns: u64,
}

impl<'a> Upload<'a> {
    /// Of an attempt that begins now.
    pub fn of(trace: &'a Trace) -> Upload<'a> {
        let timeline = trace.timeline();
        let (sent_ns, waited_ns) = (timeline.spent_ns(Phase::Send), timeline.spent_ns(Phase::Wait));
        Upload { trace, sent_ns, waited_ns }
    }

    /// Whether there is more of it to send.
    pub fn goes_on(&self) -> bool {
        self.trace.timeline().current() == Phase::Send
    }

    /// How long it took, once it does not go on.
    pub fn ns(&self) -> u64 {
        self.trace.timeline().spent_ns(Phase::Send).saturating_sub(self.sent_ns)
    }

    /// Whether its answer was waited for: one that came before its end says nothing of how long they take.
    pub fn was_waited_after(&self) -> bool {
        self.trace.timeline().spent_ns(Phase::Wait) > self.waited_ns
    }

    /// One attempt until its answer, or its limit, which is as much later as the content takes. See [`super::race::alone`].
    pub async fn attempt(
        &self,
        mut first: Pin<&mut impl Future<Output = Outcome>>,
        limit: Limit,
        deadline_ns: u64,
        alarm: &mut Alarm,
    ) -> Outcome {
        std::future::poll_fn(|cx| {
            if let Poll::Ready(outcome) = first.as_mut().poll(cx) {
                return Poll::Ready(outcome);
            }
            let limit_ns = if self.goes_on() { NEVER } else { limit.at_ns.saturating_add(self.ns()) };
            alarm.set(limit_ns.min(deadline_ns));
            ready!(alarm.poll(cx));
            let error = if limit_ns < deadline_ns { limit.error } else { Error::Deadline };
            Poll::Ready(Err(error.into()))
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::http::{Fields, RequestHead, Version};
    use crate::net::alarm::Timer;
    use std::time::Duration;

    const MS: u64 = 1_000_000;

    /// An attempt whose content takes so long, and whose answer so much longer, by a time-out of 100 ms and a deadline of 5 s: how it
    /// ends, when, and how long the content took if it came to its end.
    async fn attempt(upload_ms: u64, answer_ms: u64) -> (Error, u64, Option<u64>) {
        let mut fields = Fields::default();
        let (path, authority) = (fields.store(b"/"), fields.store(b"a"));
        let method = http::Method::POST;
        let head = RequestHead { method, path, query: None, authority, version: Version::Http11, fields };
        let began_ns = clock::now();
        let trace = Trace::new(began_ns, &head, None, &Timer::default());
        let upload = Upload::of(&trace);
        let first = async {
            trace.enter(Phase::Send);
            tokio::time::sleep(Duration::from_millis(upload_ms)).await;
            trace.enter(Phase::Wait);
            tokio::time::sleep(Duration::from_millis(answer_ms)).await;
            Err(Error::ResetEarly.into())
        };
        let limit = Limit { at_ns: began_ns + 100 * MS, error: Error::AnswerTimeout };
        let mut alarm = Alarm::default();
        let outcome = upload.attempt(std::pin::pin!(first), limit, began_ns + 5_000 * MS, &mut alarm).await;
        let took_ms = Some(upload.ns() / MS).filter(|_| !upload.goes_on());
        (outcome.err().unwrap().error, (clock::now() - began_ns) / MS, took_ms)
    }

    fn is_about(ms: u64, expected_ms: u64) -> bool {
        (expected_ms..expected_ms + 5).contains(&ms)
    }

    #[tokio::test(start_paused = true)]
    async fn content_that_comes_slowly_is_no_reason_to_give_up_and_an_answer_that_does_is_one() {
        let (error, ended_ms, upload_ms) = attempt(1_000, 50).await;
        assert_eq!(error, Error::ResetEarly, "it was waited for");
        assert!(
            is_about(ended_ms, 1_050) && is_about(upload_ms.unwrap(), 1_000),
            "{ended_ms}, {upload_ms:?}"
        );
        let (error, ended_ms, upload_ms) = attempt(1_000, 3_000).await;
        assert_eq!(error, Error::AnswerTimeout);
        assert!(
            is_about(ended_ms, 1_100) && is_about(upload_ms.unwrap(), 1_000),
            "{ended_ms}, {upload_ms:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_ends_content_that_is_still_coming() {
        let (error, ended_ms, upload_ms) = attempt(9_000, 50).await;
        assert_eq!(error, Error::Deadline);
        assert!(is_about(ended_ms, 5_000) && upload_ms.is_none(), "{ended_ms}, {upload_ms:?}");
    }
}
