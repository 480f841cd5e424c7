//! How many requests one endpoint takes at a time: learned from its own latency, without ever starving it to find out.
//!
//! Limiters that re-measure the unloaded latency by throttling a healthy service to a handful of requests refuse callers for
//! no other reason than to look. Here the base is taken from windows in which the load was low anyway (fewer in flight than half
//! the knee that the balancer learned), and, until there were some, from the lower envelope of what was seen. The limit follows
//! the Gradient2 form: what it is, times how much slower the endpoint has become, and a little more. Load near its capacity
//! costs nobody anything: what is over the limit waits in the line (`queue.rs`), and only what waits without end is refused.

/// A window ends after so long, and with so many samples: shorter ones would follow noise.
const WINDOW_NS: u64 = 100_000_000;
const WINDOW_SAMPLES: u32 = 10;
/// Of a window, so many samples make its median: more move it by less than one window differs from the next.
const KEPT: usize = 32;
/// How much slower than the base is still no load: medians of neighbouring windows differ by less.
const TOLERANCE: f64 = 1.5;
/// Low-load windows that make the base: one minute of them, at the least.
const BASE_WINDOWS: f64 = 600.0;
/// With so many of them the base stands on its own.
const BASE_WINDOWS_MIN: u32 = 10;
/// A step goes so far towards what the gradient says: one odd window in a row of quiet ones takes a seventh away at most.
const STEP: f64 = 0.3;
/// While nothing is slower than the base, a limit in use grows by so much a window: a service that can take ten times more gets
/// it within a second.
const GROWTH: f64 = 1.25;
/// The bounds of a limit whose knee is not known, and the least of any: below four, one slow request holds up all.
const LIMIT_MIN: f64 = 4.0;
const LIMIT_MAX: f64 = 1024.0;
/// The highest limit in knees (but at least [`CAP_MIN`]): past it there is only queueing.
const CAP_KNEES: f64 = 4.0;
const CAP_MIN: f64 = 64.0;
/// A limit that nobody comes near says nothing; it is kept within so many times what was last needed, so that a burst meets a
/// limit and not a promise.
const HEADROOM: f64 = 4.0;
const UNTRIED_MIN: f64 = 32.0;
/// How much of the peak of demand a window forgets: half of it in ten seconds.
const PEAK_KEPT: f64 = 0.993;
/// The longest that anybody would wait in line before the newest are served first; see `queue.rs`.
const STANDING_NS: u64 = 100_000_000;
/// One step of the estimate of the fastest tenth.
const P10_STEP: f64 = 0.05;

/// What a window has taught.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Learned {
    /// So many at a time.
    pub limit: u32,
    /// With more than so many in flight, the last would have stood in line for longer than anybody should.
    pub patience: u32,
    /// What an answer takes when there is no load.
    pub base_ns: u64,
    /// What the fastest tenth of answers take.
    pub p10_ns: u64,
}

/// The limit of one endpoint and what it is learned from.
#[derive(Debug)]
pub struct Gradient {
    limit: f64,
    /// The highest demand of late.
    peak: f64,
    /// Median latency under low load, and how many windows it was learned from.
    quiet_ns: f64,
    quiet_windows: u32,
    /// The lower envelope of all medians: goes down with them, and up only while the limit is far.
    envelope_ns: f64,
    p10_ns: f64,
    window: Window,
}

#[derive(Debug, Default)]
struct Window {
    began_ns: u64,
    samples: u32,
    in_flight: u64,
    most: u32,
    kept_us: [u32; KEPT],
    random: u64,
}

impl Default for Gradient {
    /// Permissive until something is known: a service is not refused to because the proxy has just started.
    fn default() -> Gradient {
        Gradient {
            limit: LIMIT_MAX,
            peak: 0.0,
            quiet_ns: 0.0,
            quiet_windows: 0,
            envelope_ns: 0.0,
            p10_ns: 0.0,
            window: Window::default(),
        }
    }
}

impl Gradient {
    /// An answer that took `latency_ns`, or a request that was given up after as long, with so many in flight (itself
    /// included). `knee` is how many the endpoint works on at a time, 0 while nobody knows. At the end of a window, what it taught.
    pub fn sample(&mut self, latency_ns: u64, in_flight: u32, knee: u32, now: u64) -> Option<Learned> {
        let latency = latency_ns as f64;
        self.p10_ns *= if latency < self.p10_ns { 1.0 - 0.9 * P10_STEP } else { 1.0 + 0.1 * P10_STEP };
        if self.p10_ns == 0.0 {
            self.p10_ns = latency;
        }
        self.window.add(latency_ns, in_flight, now);
        let length_ns = now.saturating_sub(self.window.began_ns);
        if length_ns < WINDOW_NS || self.window.samples < WINDOW_SAMPLES {
            return None;
        }
        let per_standing = f64::from(self.window.samples) * STANDING_NS as f64 / length_ns as f64;
        self.follow(f64::from(knee));
        self.window.restart(now);
        let limit = self.limit.round();
        Some(Learned {
            limit: limit as u32,
            patience: (limit + per_standing).ceil() as u32,
            base_ns: self.base_ns() as u64,
            p10_ns: self.p10_ns as u64,
        })
    }

    fn base_ns(&self) -> f64 {
        if self.quiet_windows >= BASE_WINDOWS_MIN { self.quiet_ns } else { self.envelope_ns }
    }

    /// Takes the window in.
    fn follow(&mut self, knee: f64) {
        let (short_ns, demand) = (self.window.median_ns(), self.window.mean_in_flight());
        self.peak = (self.peak * PEAK_KEPT).max(f64::from(self.window.most));
        self.learn_base(short_ns, demand, knee);
        let gradient = (TOLERANCE * self.base_ns() / short_ns.max(1.0)).clamp(0.5, 1.0);
        let more = self.limit.sqrt().max(4.0);
        let is_in_use = demand >= self.limit / 2.0;
        let next = self.limit * gradient + more;
        if gradient < 1.0 && next < self.limit {
            self.limit += STEP * (next - self.limit);
        } else if is_in_use {
            let growth =
                if gradient < 1.0 { STEP * (next - self.limit) } else { self.limit * (GROWTH - 1.0) };
            self.limit += growth.max(STEP);
        }
        let untried = (self.peak * HEADROOM).max(UNTRIED_MIN);
        let cap = if knee > 0.0 { (knee * CAP_KNEES).clamp(CAP_MIN, LIMIT_MAX) } else { LIMIT_MAX };
        let floor = knee.clamp(LIMIT_MIN, LIMIT_MAX);
        self.limit = self.limit.min(untried).min(cap).max(floor);
    }

    fn learn_base(&mut self, short_ns: f64, demand: f64, knee: f64) {
        if demand < knee / 2.0 {
            self.quiet_windows = self.quiet_windows.saturating_add(1);
            let share = (1.0 / f64::from(self.quiet_windows)).max(1.0 / BASE_WINDOWS);
            self.quiet_ns += share * (short_ns - self.quiet_ns);
        }
        if self.envelope_ns == 0.0 {
            self.envelope_ns = short_ns;
        } else if short_ns < self.envelope_ns {
            self.envelope_ns += STEP * (short_ns - self.envelope_ns);
        } else if demand < self.limit / 2.0 {
            self.envelope_ns += (short_ns - self.envelope_ns) / BASE_WINDOWS;
        }
    }
}

impl Window {
    fn add(&mut self, latency_ns: u64, in_flight: u32, now: u64) {
        if self.samples == 0 && self.began_ns == 0 {
            self.began_ns = now;
        }
        let latency_us = u32::try_from(latency_ns / 1_000).unwrap_or(u32::MAX);
        // A fair choice of them all: each comes in with the same chance (reservoir sampling).
        let place = match self.samples as usize {
            few if few < KEPT => few,
            many => (self.draw() % (many as u64 + 1)) as usize,
        };
        if let Some(kept) = self.kept_us.get_mut(place) {
            *kept = latency_us;
        }
        self.samples = self.samples.saturating_add(1);
        self.in_flight += u64::from(in_flight);
        self.most = self.most.max(in_flight);
    }

    /// Xorshift: only which samples are kept depends on it.
    fn draw(&mut self) -> u64 {
        self.random = self.random.max(0x9e37_79b9);
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn median_ns(&mut self) -> f64 {
        let count = (self.samples as usize).min(KEPT);
        let kept = self.kept_us.get_mut(..count).unwrap_or_default();
        kept.sort_unstable();
        f64::from(kept.get(count / 2).copied().unwrap_or_default()) * 1_000.0
    }

    fn mean_in_flight(&self) -> f64 {
        self.in_flight as f64 / f64::from(self.samples.max(1))
    }

    fn restart(&mut self, now: u64) {
        (self.began_ns, self.samples, self.in_flight, self.most) = (now, 0, 0, 0);
    }
}
