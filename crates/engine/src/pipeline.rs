//! THE order of the techniques. An exchange passes them from top to bottom, the answer comes back from bottom to top; each
//! answers itself or calls `next`. Only presence and parameters are configuration: the order is meaning, and stands here.
//!
//! Stages whose technique is still to come stand as comments at their place.

use crate::exchange::{Exchange, Outcome};
use crate::techniques::attempt::Attempt;
use crate::techniques::balance::Balance;
use crate::techniques::cache::Cache;
use crate::upstream::Send;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

/// What an exchange is handed to. A stage may run it, run it twice, race it, or detach it (clone the `Rc`, `spawn_local`).
pub trait Next: 'static {
    /// Answers the exchange.
    fn run(&self, exchange: Box<Exchange>) -> impl Future<Output = Outcome>;
}

/// One technique of a route.
pub trait Stage: 'static {
    /// Answers the exchange, with the help of `next` or without.
    fn serve<N: Next>(&self, exchange: Box<Exchange>, next: &Rc<N>) -> impl Future<Output = Outcome>;
}

/// A stage with everything inside it.
pub struct Then<S, N>(pub S, pub Rc<N>);

impl<S: Stage, N: Next> Next for Then<S, N> {
    fn run(&self, exchange: Box<Exchange>) -> impl Future<Output = Outcome> {
        self.0.serve(exchange, &self.1)
    }
}

/// A stage that a route leaves out.
impl<S: Stage> Stage for Option<S> {
    async fn serve<N: Next>(&self, exchange: Box<Exchange>, next: &Rc<N>) -> Outcome {
        match self {
            Some(stage) => stage.serve(exchange, next).await,
            None => next.run(exchange).await,
        }
    }
}

/// The order, outermost first.
type Order = Then<Option<Cache>, Then<Attempt, Then<Balance, Send>>>;

/// The stages of one route on one core.
pub struct Pipeline(Rc<Order>);

impl Pipeline {
    /// Puts the stages of a route together.
    pub fn new(cache: Option<Cache>, attempt: Attempt, balance: Balance, send: Send) -> Pipeline {
        //   rate       refuse what is over its share before it costs anything
        //   edge       answer from a directory without asking anybody
        //   compress   outside the cache, so that every encoding is served from one stored answer
        //   offload    accept now, finish later: everything below runs on after the caller got its 202
        //   compose    one call becomes several, each with its own way through the stages below
        let order = Then(
            // A hit must cost nothing that follows.
            cache,
            //   batch  what the cache did not answer may share one bulk call
            Rc::new(Then(
                // Deadline, retry, hedge: outside region and balance, so that every attempt may go elsewhere.
                attempt,
                Rc::new(Then(
                    // region   which fleet: the primary for writes, the nearest for reads
                    // queue    how many at once; inside the attempt, so that a retry waits its turn as well
                    // Which endpoint of the fleet: decided last, on the freshest figures.
                    balance,
                    // One request on one connection.
                    Rc::new(send),
                )),
            )),
        );
        Pipeline(Rc::new(order))
    }

    /// Runs an exchange through all stages that have to do with it, in one allocation.
    pub fn run(&self, mut exchange: Box<Exchange>) -> Pin<Box<dyn Future<Output = Outcome>>> {
        let Then(cache, inside) = &*self.0;
        if !cache.as_ref().is_some_and(|cache| cache.takes(&mut exchange)) {
            let inside = Rc::clone(inside);
            return Box::pin(async move { inside.run(exchange).await });
        }
        let order = Rc::clone(&self.0);
        Box::pin(async move { order.run(exchange).await })
    }
}
