//! Second copies in the simulated world: when a request lingers and when a replica is silent.

use super::agenda::Event;
use super::world::World;

impl World<'_> {
    pub(super) fn plan_hedge(&mut self, id: u32) {
        let proxy = self.requests[id as usize].proxy;
        let hedge = self.proxies[proxy as usize].hedge.as_ref();
        if let Some(at) = hedge.and_then(|hedge| hedge.linger_until(self.now)) {
            self.agenda.at(at, Event::Linger { request: id });
        }
    }

    /// A request is out for as long as few are: it may be copied into slack.
    pub(super) fn linger(&mut self, id: u32) {
        let request = &self.requests[id as usize];
        if request.done || request.sent != 1 {
            return;
        }
        let age = self.now - request.arrived;
        let other = self.choose(id);
        let proxy = &mut self.proxies[self.requests[id as usize].proxy as usize];
        let first = self.attempts[self.requests[id as usize].attempts[0] as usize].replica as usize;
        let knee = proxy.balancer.knee();
        let may = other != first && proxy.hedge.as_mut().is_some_and(|h| h.copy_for_age(age, other, knee));
        if may {
            self.requests[id as usize].copied_for_age = true;
            self.launch(id, other);
        }
    }

    /// A watch over a replica rings.
    pub(super) fn silence(&mut self, proxy: u32, replica: u32) {
        let of = &mut self.proxies[proxy as usize];
        let Some(hedge) = &mut of.hedge else { return };
        let (silent, again) = hedge.silence(replica as usize, self.now);
        if let Some(at) = again {
            self.agenda.at(at, Event::Silence { proxy, replica });
        }
        let Some(requests) = silent else { return };
        let knee = of.balancer.knee();
        of.balancer.suspect(replica as usize, self.now);
        let half = self.scenario.replicas[replica as usize].rtt / 2;
        self.agenda.at(self.now + half, Event::Ping { proxy, replica });
        for id in requests {
            if self.requests[id as usize].sent != 1 {
                continue;
            }
            let other = self.choose(id);
            let hedge = self.proxies[proxy as usize].hedge.as_mut();
            if other != replica as usize && hedge.is_some_and(|hedge| hedge.copy_for_silence(other, knee)) {
                self.launch(id, other);
            }
        }
    }

    /// A ping reaches a replica: one that is frozen answers when it goes on.
    pub(super) fn ping(&mut self, proxy: u32, replica: u32) {
        match self.servers[replica as usize].frozen_until() {
            Some(until) => self.agenda.at(until, Event::Ping { proxy, replica }),
            None => self.proxies[proxy as usize].balancer.alive(replica as usize, self.now),
        }
    }
}
