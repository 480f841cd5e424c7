//! Second copies in the simulated world: when a request is looked at, and which of two has lost.

use unlag_engine::techniques::attempt::purse::Lost;
use unlag_engine::tempo;

use super::agenda::Event;
use super::hedge::Look;
use super::world::{DEADLINE, World};

impl World<'_> {
    /// Looks whether a request wants a second copy. Only the first attempt may have one, and only one.
    pub(super) fn look(&mut self, id: u32) {
        let request = &mut self.requests[id as usize];
        if request.done || request.sent != 1 {
            return;
        }
        let first = self.attempts[request.attempts[0] as usize];
        let balancer = &mut self.proxies[request.proxy as usize].balancer;
        let at = match balancer.look(first.replica as usize, first.sent_at, request.looks, self.now) {
            Look::Copy(paid) => {
                request.copy = Some(paid);
                let other = self.choose(id);
                return self.launch(id, other);
            }
            Look::Due(at) => at,
            Look::Again(at) => {
                request.looks += 1;
                at
            }
        };
        if at < request.arrived + DEADLINE {
            self.agenda.at(at, Event::Look { request: id });
        }
    }

    /// An attempt of a request was answered: which of the two has lost. A first that failed waits for its copy.
    pub(super) fn settle(&mut self, attempt: u32, failed: bool) {
        let request = &mut self.requests[self.attempts[attempt as usize].request as usize];
        let [first, copy, ..] = request.attempts;
        if failed && attempt == first {
            return;
        }
        let Some(paid) = request.copy.take() else { return };
        let age = |attempt: u32| self.now - self.attempts[attempt as usize].sent_at;
        let lost = if attempt == copy && !failed { Lost::First(age(first)) } else { Lost::Copy(age(copy)) };
        self.proxies[request.proxy as usize].balancer.settle(paid, lost, self.now);
    }

    /// The first attempt of a request is over, and with it its copy.
    pub(super) fn over(&mut self, id: u32, ending: tempo::Ending) {
        let request = &self.requests[id as usize];
        if !request.retried {
            let balancer = &mut self.proxies[request.proxy as usize].balancer;
            balancer.over(self.now - request.arrived, ending, self.now);
        }
    }
}
