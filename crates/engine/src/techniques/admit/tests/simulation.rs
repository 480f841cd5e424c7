//! Limit and line together in front of a simulated service: endpoints with workers of their own, requests that come whether or
//! not the last ones were answered.

use super::super::limit::Gradient;
use super::super::queue::{Line, Patience, Standing};
use super::super::shed::Rank;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use unlag_config::Criticality;

const MS: u64 = 1_000_000;
const S: u64 = 1_000 * MS;

/// A service, and what is asked of it.
#[derive(Clone, Copy)]
struct Scene {
    endpoints: usize,
    workers: usize,
    service_ns: u64,
    /// Load in hundredths of capacity, one per second.
    load: &'static [u64],
    /// A caller gives up after so long.
    patience_ns: u64,
    enforced: bool,
    knee: u32,
}

const FLEET: Scene = Scene {
    endpoints: 5,
    workers: 4,
    service_ns: 5 * MS,
    load: &[],
    patience_ns: 500 * MS,
    enforced: true,
    knee: 4,
};

#[derive(Default, Debug)]
struct Result {
    came: [u32; 4],
    /// Answered while their caller still waited.
    good: [u32; 4],
    refused: [u32; 4],
    gave_up: u32,
    /// Would have been refused if the limit held.
    would_refuse: u32,
    limits: Vec<u32>,
    most_in_flight: u32,
    waits_ns: Vec<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Come,
    Done { endpoint: usize },
}

struct Endpoint {
    gradient: Gradient,
    limit: u32,
    patience: u32,
    working: u32,
    /// Requests, and when they were sent here.
    inside: VecDeque<(usize, u64)>,
    at_work: VecDeque<(usize, u64)>,
}

struct Request {
    came_ns: u64,
    class: Criticality,
}

struct World {
    scene: Scene,
    random: u64,
    now: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    turn: u64,
    endpoints: Vec<Endpoint>,
    line: Line<usize>,
    standing: HashMap<usize, Standing>,
    requests: Vec<Request>,
    /// Measured from here on.
    from_ns: u64,
    result: Result,
}

impl World {
    fn new(scene: Scene, seed: u64, from_s: u64) -> World {
        let endpoint = |_| Endpoint {
            gradient: Gradient::default(),
            limit: 1024,
            patience: u32::MAX,
            working: 0,
            inside: VecDeque::new(),
            at_work: VecDeque::new(),
        };
        World {
            scene,
            random: seed | 1,
            now: S,
            events: BinaryHeap::new(),
            turn: 0,
            endpoints: (0..scene.endpoints).map(endpoint).collect(),
            line: Line::default(),
            standing: HashMap::new(),
            requests: Vec::new(),
            from_ns: S + from_s * S,
            result: Result::default(),
        }
    }

    fn unit(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        ((self.random >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// Lognormal with the scene's mean.
    fn service_ns(&mut self) -> u64 {
        let (a, b) = (self.unit(), self.unit());
        let normal = (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos();
        (self.scene.service_ns as f64 * (0.6 * normal - 0.18).exp()) as u64
    }

    fn at(&mut self, at: u64, event: Event) {
        self.turn += 1;
        self.events.push(Reverse((at, self.turn, event)));
    }

    fn run(mut self) -> Result {
        self.at(S, Event::Come);
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            self.now = at;
            match event {
                Event::Come => self.come(),
                Event::Done { endpoint } => self.done(endpoint),
            }
        }
        self.result.limits = self.endpoints.iter().map(|endpoint| endpoint.limit).collect();
        self.result.waits_ns.sort_unstable();
        self.result
    }

    fn come(&mut self) {
        let second = ((self.now - S) / S) as usize;
        let Some(&load) = self.scene.load.get(second) else { return };
        let capacity = (self.scene.endpoints * self.scene.workers) as f64 / self.scene.service_ns as f64;
        let gap = -self.unit().ln() / (capacity * load as f64 / 100.0);
        self.at(self.now + gap as u64 + 1, Event::Come);
        let class = match self.unit() {
            few if few < 0.2 => Criticality::Critical,
            _ => Criticality::Default,
        };
        let id = self.requests.len();
        self.requests.push(Request { came_ns: self.now, class });
        self.count(id, |result| &mut result.came);
        if self.scene.enforced && (!self.line.is_empty() || self.free().is_none()) {
            let (mut refused, share) = (Vec::new(), (self.unit() * 64.0) as u8);
            let due = self.now + self.scene.patience_ns.min(S);
            match self.line.arrive(Rank::new(class, share), due, id, self.now, &mut refused) {
                Ok(standing) => drop(self.standing.insert(id, standing)),
                Err((id, _)) => refused.push(id),
            }
            self.refuse(refused);
        } else {
            self.send(id);
        }
    }

    fn count(&mut self, id: usize, which: impl Fn(&mut Result) -> &mut [u32; 4]) {
        let request = &self.requests[id];
        if request.came_ns >= self.from_ns {
            which(&mut self.result)[request.class as usize] += 1;
        }
    }

    fn refuse(&mut self, refused: Vec<usize>) {
        for id in refused {
            self.standing.remove(&id);
            self.count(id, |result| &mut result.refused);
        }
    }

    fn in_flight(&self, at: usize) -> u32 {
        self.endpoints[at].working + self.endpoints[at].inside.len() as u32
    }

    /// The endpoint with the fewest requests, if it has room.
    fn free(&self) -> Option<usize> {
        let least = (0..self.endpoints.len()).min_by_key(|&at| self.in_flight(at))?;
        (self.in_flight(least) < self.endpoints[least].limit).then_some(least)
    }

    fn send(&mut self, id: usize) {
        let least = (0..self.endpoints.len()).min_by_key(|&at| self.in_flight(at)).unwrap();
        if self.now >= self.from_ns {
            self.result.most_in_flight = self.result.most_in_flight.max(self.in_flight(least) + 1);
            self.result.would_refuse += u32::from(self.in_flight(least) + 1 > self.endpoints[least].patience);
            let waited = self.now - self.requests[id].came_ns;
            self.result.waits_ns.push(waited);
        }
        self.endpoints[least].inside.push_back((id, self.now));
        self.work(least);
    }

    fn work(&mut self, at: usize) {
        while self.endpoints[at].working < self.scene.workers as u32 {
            let Some((id, sent_ns)) = self.endpoints[at].inside.pop_front() else { return };
            self.endpoints[at].working += 1;
            let takes = self.service_ns();
            self.endpoints[at].at_work.push_back((id, sent_ns));
            self.at(self.now + takes, Event::Done { endpoint: at });
        }
    }

    /// Which of the requests at work is done does not matter to any of this: all take a time of the same kind.
    fn done(&mut self, at: usize) {
        let (id, sent_ns) = self.endpoints[at].at_work.pop_front().unwrap();
        let (in_flight, now, knee) = (self.in_flight(at), self.now, self.scene.knee);
        let endpoint = &mut self.endpoints[at];
        if let Some(learned) = endpoint.gradient.sample(now - sent_ns, in_flight, knee, now) {
            (endpoint.limit, endpoint.patience) = (learned.limit, learned.patience);
            self.line.set_patience(Patience::default().in_front_of(learned.base_ns));
        }
        endpoint.working -= 1;
        if now - self.requests[id].came_ns <= self.scene.patience_ns {
            self.count(id, |result| &mut result.good);
        } else {
            self.result.gave_up += 1;
        }
        self.work(at);
        while self.scene.enforced && self.free().is_some() {
            let mut refused = Vec::new();
            let next = self.line.next(now, &mut refused, |_| true);
            self.refuse(refused);
            match next {
                Some(id) => {
                    self.standing.remove(&id);
                    self.send(id);
                }
                None => break,
            }
        }
    }
}

fn sum(counts: &[u32; 4]) -> u32 {
    counts.iter().sum()
}

#[test]
fn nothing_is_refused_at_half_load_or_near_capacity() {
    const LOADS: [[u64; 20]; 5] = [[50; 20], [70; 20], [80; 20], [90; 20], [95; 20]];
    for seconds in &LOADS {
        let load = seconds[0];
        for knee in [0, 4] {
            let result = World::new(Scene { load: seconds, knee, ..FLEET }, 11 + load, 0).run();
            assert_eq!(sum(&result.refused), 0, "at {load} % with knee {knee}: {:?}", result.limits);
            assert_eq!(sum(&result.good), sum(&result.came), "at {load} %");
            let observed =
                World::new(Scene { load: seconds, knee, enforced: false, ..FLEET }, 11 + load, 0).run();
            assert_eq!(observed.would_refuse, 0, "at {load} % with knee {knee}");
        }
    }
}

#[test]
fn at_twice_the_capacity_the_limit_settles_near_the_knee_and_the_service_stays_busy() {
    const LOAD: [u64; 20] =
        [70, 70, 70, 70, 70, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200];
    for knee in [0, 4] {
        let result = World::new(Scene { load: &LOAD, knee, ..FLEET }, 23, 8).run();
        assert!(result.limits.iter().all(|limit| (4..=16).contains(limit)), "{:?}", result.limits);
        let (good, came) = (sum(&result.good), sum(&result.came));
        assert!(good * 2 * 100 >= came * 95, "goodput of {good} out of {came}, of which half can be served");
        let critical = Criticality::Critical as usize;
        assert!(result.good[critical] * 1000 >= result.came[critical] * 995, "{result:?}");
        assert!(result.most_in_flight <= 20, "{}", result.most_in_flight);
        let median = result.waits_ns[result.waits_ns.len() / 2];
        assert!(median <= 6 * MS, "half of those who were served waited for {} us at most", median / 1000);
    }
}

#[test]
fn without_a_limit_the_same_load_is_answered_too_late() {
    let load: &'static [u64] = &[70, 200, 200, 200, 200, 200, 200, 200, 200, 200];
    let result = World::new(Scene { load, enforced: false, ..FLEET }, 23, 3).run();
    assert!(sum(&result.good) * 10 < sum(&result.came), "{result:?}");
    assert!(result.would_refuse * 3 > sum(&result.came), "and observing says so: {}", result.would_refuse);
}

#[test]
fn after_the_overload_nothing_is_refused() {
    let load: &'static [u64] = &[70, 70, 200, 200, 200, 200, 70, 70, 70, 70];
    let result = World::new(Scene { load, ..FLEET }, 29, 7).run();
    assert_eq!((sum(&result.refused), sum(&result.good)), (0, sum(&result.came)));
}
