//! The techniques that are to come, in the fewest lines that use the interfaces as they will; the clock is paused.

use bytes::Bytes;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::watch;
use unlag_engine::error::Error;
use unlag_engine::exchange::{Exchange, Outcome, Response};
use unlag_engine::http::{Body, ResponseHead};
use unlag_engine::pipeline::{Next, Stage};

/// Panics at requests for this path.
pub(crate) struct PanicsAt(pub(crate) &'static [u8]);

impl Stage for PanicsAt {
    async fn serve<N: Next>(&self, exchange: Box<Exchange>, next: &Rc<N>) -> Outcome {
        tokio::task::yield_now().await;
        assert_ne!(exchange.head.path(), self.0, "this stage is broken");
        next.run(exchange).await
    }
}

/// Sends a replica when no answer has come for a while; the first answer wins.
pub(crate) struct Hedge {
    pub(crate) after: Duration,
}

impl Stage for Hedge {
    async fn serve<N: Next>(&self, exchange: Box<Exchange>, next: &Rc<N>) -> Outcome {
        let Some(replica) = exchange.replica() else { return next.run(exchange).await };
        let second = async {
            tokio::time::sleep(self.after).await;
            next.run(replica).await
        };
        tokio::select! {
            biased;
            outcome = next.run(exchange) => outcome,
            outcome = second => outcome,
        }
    }
}

/// Accepts at once and goes on alone.
#[derive(Default)]
pub(crate) struct Offload {
    /// The statuses of what was finished later; `None` for a failure.
    pub(crate) finished: Rc<RefCell<Vec<Option<u16>>>>,
}

impl Stage for Offload {
    async fn serve<N: Next>(&self, exchange: Box<Exchange>, next: &Rc<N>) -> Outcome {
        let (next, finished) = (Rc::clone(next), Rc::clone(&self.finished));
        tokio::task::spawn_local(async move {
            let outcome = next.run(exchange).await;
            finished.borrow_mut().push(outcome.ok().map(|response| response.head.status));
        });
        Ok(Response::new(ResponseHead::new(202), Body::Empty))
    }
}

type Waiting = Rc<RefCell<HashMap<Vec<u8>, watch::Receiver<Option<Bytes>>>>>;

/// Asks once for all who want the same path at the same time.
#[derive(Default)]
pub(crate) struct Coalesce {
    waiting: Waiting,
}

impl Stage for Coalesce {
    async fn serve<N: Next>(&self, exchange: Box<Exchange>, next: &Rc<N>) -> Outcome {
        let key = exchange.head.path().to_vec();
        let known = self.waiting.borrow().get(&key).cloned();
        let mut answer = known.unwrap_or_else(|| self.fetch(key, exchange, next));
        let shared = answer.wait_for(Option::is_some).await.map(|bytes| bytes.clone().unwrap_or_default());
        // The fetch has failed when its sender is gone without an answer.
        let bytes = shared.map_err(|_| Error::Internal)?;
        Ok(Response::new(ResponseHead::new(200), Body::Bytes(bytes)))
    }
}

impl Coalesce {
    /// Fetches apart from the caller, who may leave.
    fn fetch<N: Next>(
        &self,
        key: Vec<u8>,
        exchange: Box<Exchange>,
        next: &Rc<N>,
    ) -> watch::Receiver<Option<Bytes>> {
        let (sender, receiver) = watch::channel(None);
        self.waiting.borrow_mut().insert(key.clone(), receiver.clone());
        let (next, waiting) = (Rc::clone(next), Rc::clone(&self.waiting));
        tokio::task::spawn_local(async move {
            let outcome = next.run(exchange).await;
            waiting.borrow_mut().remove(&key);
            if let Ok(mut response) = outcome {
                let content = crate::bench::content(&mut response.body).await;
                sender.send_replace(Some(Bytes::from(content)));
            }
        });
        receiver
    }
}
