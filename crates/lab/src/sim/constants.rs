//! What PACE's formulas take as given: as the research has it, and as the simulator found better.

/// What the formulas take as given.
#[derive(Debug, Clone, Copy)]
pub struct Constants {
    /// A log speed factor acts from this size on.
    pub least_effect: f64,
    /// And from so many standard errors on.
    pub significance: f64,
    /// It fades with this time constant while no answer comes, ns.
    pub fade_ns: f64,
    /// But no faster than within so many requests to the upstream, and forgives no faster than within 0.4 of them: a quiet
    /// upstream would try the slow replica at every other request.
    pub fade_requests: f64,
    /// Failure rates below this are none.
    pub failing_min: f64,
    /// Samples that the speed factor averages over.
    pub samples: f64,
    /// Silence counts from so many usual gaps on.
    pub silence: f64,
    /// Crowding past the knee costs this power.
    pub power: f64,
    /// Crowding before it costs this share.
    pub tilt: f64,
    /// The smallest knee is taken whose error is within this factor of the least.
    pub knee_tolerance: f64,
    /// What a failure rate of one costs, ns.
    pub failure_ns: f64,
    /// Up to this many replicas all are compared, else `sample`.
    pub scan_max: usize,
    /// How many are compared out of many.
    pub sample: usize,
    /// Whether latency is remembered by requests in flight, to learn the knee from.
    pub strata: bool,
    /// A failure rate fades with this time constant while no answer comes, ns.
    pub forgive_ns: f64,
    /// Whether requests on their way do not count as in flight.
    pub on_the_way: bool,
    /// Distance counts by this factor.
    pub distance: f64,
    /// Whether servers report their requests in flight.
    pub reported: bool,
}

impl Default for Constants {
    fn default() -> Self {
        Self {
            least_effect: 0.35,
            significance: 4.0,
            fade_ns: 5e9,
            fade_requests: 0.0,
            failing_min: 0.0,
            samples: 80.0,
            silence: 4.0,
            power: 3.0,
            tilt: 0.1,
            knee_tolerance: 1.005,
            failure_ns: 1e9,
            scan_max: 8,
            sample: 4,
            strata: false,
            forgive_ns: f64::INFINITY,
            on_the_way: false,
            distance: 1.0,
            reported: false,
        }
    }
}

impl Constants {
    /// What the simulator found better than the research's.
    pub fn tuned() -> Self {
        Self {
            fade_requests: 1_500.0,
            failing_min: 0.005,
            samples: 40.0,
            silence: 1.5,
            power: 2.0,
            strata: true,
            failure_ns: 200e6,
            forgive_ns: 2e9,
            on_the_way: true,
            distance: 0.4,
            scan_max: 16,
            sample: 8,
            ..Self::default()
        }
    }

    /// Sets one by its name; `None` when there is none of that name.
    pub fn set(&mut self, name: &str, value: f64) -> Option<()> {
        match name {
            "least_effect" => self.least_effect = value,
            "significance" => self.significance = value,
            "fade_s" => self.fade_ns = value * 1e9,
            "fade_requests" => self.fade_requests = value,
            "failing_min" => self.failing_min = value,
            "samples" => self.samples = value,
            "silence" => self.silence = value,
            "power" => self.power = value,
            "tilt" => self.tilt = value,
            "knee_tolerance" => self.knee_tolerance = value,
            "failure_ms" => self.failure_ns = value * 1e6,
            "strata" => self.strata = value != 0.0,
            "forgive_s" => self.forgive_ns = value * 1e9,
            "on_the_way" => self.on_the_way = value != 0.0,
            "distance" => self.distance = value,
            "scan_max" => self.scan_max = value as usize,
            "sample" => self.sample = value as usize,
            _ => return None,
        }
        Some(())
    }
}
