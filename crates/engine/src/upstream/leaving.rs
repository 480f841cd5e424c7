//! A call that is given up before its answer. At an endpoint that is not known to move, one call is left there: its answer is
//! nobody's, but it shows that the endpoint goes on (see [`Vigil`]). All others are cancelled.

use crate::clock;
use crate::fleet::{Endpoint, Vigil};
use crate::local;
use crate::panics;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// How often it is looked whether the question still stands: another request's answer, or time, may have settled it.
const LOOK: Duration = Duration::from_millis(100);

/// What an answer comes on: a connection, or a stream of one.
pub trait Hearing: 'static {
    /// Who answers on it.
    fn endpoint(&self) -> &Arc<Endpoint>;
    /// Ready when something has come, or nothing ever will: whether it was an answer.
    fn poll_heard(&mut self, cx: &mut Context<'_>) -> Poll<bool>;
}

/// Holds what an answer comes on while a call waits.
pub struct Leaving<H: Hearing> {
    /// None before and after the call.
    pub hearing: Option<H>,
    /// Whether all of the request is there: a part of one is never answered.
    pub is_sent: bool,
}

impl<H: Hearing> Default for Leaving<H> {
    /// Before the call.
    fn default() -> Leaving<H> {
        Leaving { hearing: None, is_sent: false }
    }
}

impl<H: Hearing> Leaving<H> {
    /// After the call.
    pub fn end(mut self) -> Option<H> {
        self.hearing.take()
    }
}

impl<H: Hearing> Drop for Leaving<H> {
    fn drop(&mut self) {
        // At its very end a core listens for nothing more.
        if self.is_sent
            && let Some(hearing) = self.hearing.take()
            && let Some(core) = local::core()
            && !core.shared.is_leaving()
            && let Some(vigil) = hearing.endpoint().vigil(clock::now())
        {
            panics::spawn("vigil", listen(hearing, vigil));
        }
    }
}

async fn listen(mut hearing: impl Hearing, vigil: Vigil) {
    while vigil.is_needed(clock::now()) {
        let heard = std::future::poll_fn(|cx| hearing.poll_heard(cx));
        match tokio::time::timeout(LOOK, heard).await {
            Ok(true) => return vigil.answered(clock::now()),
            Ok(false) => return,
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::endpoint;

    /// An answer that is there at once, or never comes.
    struct Answer(Arc<Endpoint>, Poll<bool>);

    impl Hearing for Answer {
        fn endpoint(&self) -> &Arc<Endpoint> {
            &self.0
        }

        fn poll_heard(&mut self, _: &mut Context<'_>) -> Poll<bool> {
            self.1
        }
    }

    async fn left_with(endpoint: &Arc<Endpoint>, answer: Poll<bool>) {
        let now = clock::now();
        endpoint.suspect(now + 50_000_000);
        let vigil = endpoint.vigil(now).unwrap();
        listen(Answer(Arc::clone(endpoint), answer), vigil).await;
        assert_eq!(endpoint.in_flight(), 0);
    }

    #[tokio::test]
    async fn an_answer_shows_that_the_endpoint_moves_and_a_closed_connection_does_not() {
        let endpoint = endpoint(1);
        left_with(&endpoint, Poll::Ready(true)).await;
        assert!(!endpoint.is_suspect(clock::now()));
        left_with(&endpoint, Poll::Ready(false)).await;
        assert!(endpoint.is_suspect(0));
    }

    #[tokio::test]
    async fn what_never_answers_is_listened_to_for_no_longer_than_the_endpoint_is_left_out() {
        left_with(&endpoint(1), Poll::Pending).await;
    }
}
