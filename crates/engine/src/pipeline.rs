//! THE order of the techniques. An exchange passes them from top to bottom, the answer comes back from bottom to top; each
//! answers itself or calls `next`. Only presence and parameters are configuration: the order is meaning, and stands here.
//!
//! Stages whose technique is still to come stand as comments at their place.

use crate::error::Error;
use crate::exchange::{Exchange, Outcome};
use crate::http::RequestHead;
use crate::plan::Route;
use crate::techniques::admit::Admit;
use crate::techniques::admit::watch::Watch;
use crate::techniques::attempt::Attempt;
use crate::techniques::balance::Balance;
use crate::techniques::cache::Cache;
use crate::techniques::compress::Compress;
use crate::techniques::edge::Edge;
use crate::techniques::region::Region;
use crate::techniques::region::policy::Place;
use crate::upstream::Send;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

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

pin_project_lite::pin_project! {
    /// The way of an exchange past a stage that has nothing to do with it, or through it. Through is boxed: what most pass by has no
    /// room in their future, and costs them no step.
    #[project = ProjectedWay]
    pub(crate) enum Way<P, T> {
        /// Past it.
        Past { #[pin] next: P },
        /// Through it.
        Through { stage: Pin<Box<T>> },
    }
}

impl<P: Future<Output = Outcome>, T: Future<Output = Outcome>> Future for Way<P, T> {
    type Output = Outcome;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        match self.project() {
            ProjectedWay::Past { next } => next.poll(cx),
            ProjectedWay::Through { stage } => stage.as_mut().poll(cx),
        }
    }
}

/// A stage that a route may leave out.
impl<S: Stage> Stage for Option<S> {
    fn serve<N: Next>(&self, exchange: Box<Exchange>, next: &Rc<N>) -> impl Future<Output = Outcome> {
        match self {
            None => Way::Past { next: next.run(exchange) },
            Some(stage) => Way::Through { stage: in_place(|| stage.serve(exchange, next)) },
        }
    }
}

/// A stage with everything inside it.
pub struct Then<S, N>(pub S, pub Rc<N>);

impl<S: Stage, N: Next> Next for Then<S, N> {
    fn run(&self, exchange: Box<Exchange>) -> impl Future<Output = Outcome> {
        self.0.serve(exchange, &self.1)
    }
}

/// The outermost technique: refuses what is over its route's share before it costs anything. It stands in front of fixed answers
/// as well, which have no pipeline.
pub fn begin(route: &Route, head: &RequestHead) -> Result<(), Error> {
    route.allowance.as_ref().map_or(Ok(()), |allowance| allowance.take(&head.fields))
}

/// The order, outermost first.
pub type Order =
    Then<Cache, Then<Attempt, Then<Option<Region>, Then<Admit, Then<Balance, Then<Watch, Send>>>>>>;

/// The stages inside compress: the cache is passed by where it has nothing to do with a request.
pub struct Stored(Rc<Order>);

impl Next for Stored {
    async fn run(&self, mut exchange: Box<Exchange>) -> Outcome {
        let Then(cache, inside) = &*self.0;
        match is_placed(&self.0, &mut exchange) && cache.takes(&mut exchange) {
            true => self.0.run(exchange).await,
            false => cache.pass(exchange, inside).await,
        }
    }
}

/// The stages of one route on one core. What a route does not have costs the others nothing.
pub enum Pipeline {
    /// To an upstream.
    Through(Rc<Order>),
    /// The same, and the answer leaves encoded.
    Encoded(Rc<Then<Compress, Stored>>),
    /// Files: nothing is asked.
    Edge(Rc<Edge>),
}

impl Pipeline {
    /// Puts the stages of a route together.
    pub fn new(
        compress: Option<Compress>,
        cache: Cache,
        attempt: Attempt,
        region: Option<Region>,
        (admit, watch): (Admit, Watch),
        balance: Balance,
        send: Send,
    ) -> Pipeline {
        //   rate       before all that follows: see [`begin`]
        //   edge       answer from a directory without asking anybody: instead of all that follows, see [`Pipeline::Edge`]
        //   compress   outside the cache, so that every encoding is served from one stored answer: see [`Pipeline::Encoded`]
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
                    // Which part of the fleet: inside the attempt, so that each may go to another region.
                    region,
                    Rc::new(Then(
                        // How many at once: inside the attempt, so that a retry waits its turn as well.
                        admit,
                        Rc::new(Then(
                            // Which endpoint of the fleet: decided last, on the freshest figures.
                            balance,
                            Rc::new(Then(
                                // What admission learns: of the one endpoint that was chosen, and of nothing around it.
                                watch,
                                // One request on one connection.
                                Rc::new(send),
                            )),
                        )),
                    )),
                )),
            )),
        );
        match compress {
            None => Pipeline::Through(Rc::new(order)),
            Some(compress) => Pipeline::Encoded(Rc::new(Then(compress, Rc::new(Stored(Rc::new(order)))))),
        }
    }

    /// Runs an exchange through all stages that have to do with it, in one allocation.
    pub fn run(&self, mut exchange: Box<Exchange>) -> Pin<Box<dyn Future<Output = Outcome>>> {
        let order = match self {
            Pipeline::Through(order) => order,
            Pipeline::Encoded(encoded) if encoded.0.takes(&exchange) => {
                let encoded = Rc::clone(encoded);
                return in_place(move || async move { encoded.run(exchange).await });
            }
            Pipeline::Encoded(encoded) => &encoded.1.0,
            Pipeline::Edge(edge) => {
                let edge = Rc::clone(edge);
                return in_place(move || async move { edge.run(exchange).await });
            }
        };
        let takes = is_placed(order, &mut exchange) && order.0.takes(&mut exchange);
        let order = Rc::clone(order);
        if !takes {
            return in_place(move || async move { order.0.pass(exchange, &order.1).await });
        }
        in_place(move || async move { order.run(exchange).await })
    }
}

/// Puts a future where it stays. One that is made first and boxed then is moved with all that it will have room for, two kilobytes
/// of nothing yet.
#[inline]
fn in_place<F>(make: impl FnOnce() -> F) -> Pin<Box<F>> {
    Box::into_pin(Box::write(Box::new_uninit(), make()))
}

/// Says where a request belongs, and whether what is stored may answer it: not a caller who has just written.
fn is_placed(order: &Order, exchange: &mut Exchange) -> bool {
    let region: &Option<Region> = &order.1.1.0;
    region.as_ref().is_none_or(|region| region.place(exchange) != Place::PrimaryForWriter)
}
