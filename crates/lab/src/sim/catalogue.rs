//! The named worlds: those that the design's constants were tuned on, and those that are there to catch what that missed.

use super::scenario::{
    Arrivals, Discipline, Failing, Freezes, MS, Replica, SECOND, Scenario, Slowness, Work,
};

const H: Replica = Replica::HEALTHY;
const MEAN: u64 = 5 * MS;
const PAUSES: Freezes = Freezes { gap: 5 * SECOND, spread: 20, shortest: 200 * MS, longest: 200 * MS };
const HICCUPS: Freezes = Freezes { gap: 100 * MS, spread: 100, shortest: MS, longest: 4 * MS };
const STALLS: Freezes = Freezes { gap: 1500 * MS, spread: 100, shortest: 50 * MS, longest: 100 * MS };

/// Every world, in the order of the tables.
pub fn all() -> Vec<Scenario> {
    let mut worlds = equal();
    worlds.extend(slow());
    worlds.extend(many_proxies());
    worlds.extend(far());
    worlds.extend(sharing());
    worlds.extend(unseen_faults());
    worlds.extend(unseen_fleets());
    worlds.extend(unseen_work());
    worlds
}

/// One by its name.
pub fn named(name: &str) -> Option<Scenario> {
    all().into_iter().find(|scenario| scenario.name == name)
}

/// Requests a second that use `share` of the workers at nominal speed.
fn load(replicas: &[Replica], mean: u64, share: f64) -> f64 {
    let workers: f64 = replicas.iter().map(|r| f64::from(r.workers)).sum();
    share * workers * 1e9 / mean as f64
}

fn world(name: &'static str, says: &'static str, replicas: Vec<Replica>, share: f64) -> Scenario {
    let arrivals = Arrivals::Steady(load(&replicas, MEAN, share));
    let work = Work::Common(MEAN);
    Scenario { name, says, tuned_on: true, replicas, work, arrivals, proxies: 1, direct: 0.0, retries: false }
}

fn unseen(name: &'static str, says: &'static str, replicas: Vec<Replica>, share: f64) -> Scenario {
    Scenario { tuned_on: false, ..world(name, says, replicas, share) }
}

/// `n` of `replica`, the first replaced by `odd`.
fn one_odd(n: usize, replica: Replica, odd: Replica) -> Vec<Replica> {
    let mut replicas = vec![replica; n];
    replicas[0] = odd;
    replicas
}

/// Five of `replica` for small and large work, 4.8 ms on average, at 70 %.
fn bimodal(name: &'static str, says: &'static str, replica: Replica) -> Scenario {
    let replicas = vec![replica; 5];
    let arrivals = Arrivals::Steady(load(&replicas, 4_800_000, 0.7));
    let work = Work::Bimodal { small: 2 * MS, large: 30 * MS };
    Scenario { work, arrivals, ..world(name, says, replicas, 0.7) }
}

fn slowed(replica: Replica, factor: f64) -> Replica {
    Replica { slowness: Slowness::Always(factor), ..replica }
}

fn equal() -> Vec<Scenario> {
    let frozen = Replica { freezes: Some(PAUSES), ..H };
    vec![
        world("a70", "5 equal, 70 %", vec![H; 5], 0.7),
        world("a90", "5 equal, 90 %", vec![H; 5], 0.9),
        world("c40", "5 frozen 200 ms every 5 s, 40 %", vec![frozen; 5], 0.4),
        world("c70", "5 frozen 200 ms every 5 s, 70 %", vec![frozen; 5], 0.7),
        bimodal("d1", "work 2 ms or 30 ms (10 %), 70 %", H),
    ]
}

fn slow() -> Vec<Scenario> {
    let wide = Replica { workers: 64, ..H };
    let spells = Slowness::Spells { factor: 10.0, every: 10 * SECOND, lasting: 2 * SECOND };
    let onset = Replica { slowness: spells, ..H };
    let mut hardware = vec![H; 5];
    hardware[..2].fill(slowed(H, 2.0));
    let failing = |share| one_odd(5, H, Replica { failing: Failing::Share(share), ..H });
    let retried = |name, says, share| Scenario { retries: true, ..world(name, says, failing(share), 0.5) };
    vec![
        world("b-io", "one of 5 10x slower, 64 workers, 8 %", one_odd(5, wide, slowed(wide, 10.0)), 0.08),
        world("b-cpu", "one of 5 10x slower, 60 %", one_odd(5, H, slowed(H, 10.0)), 0.6),
        world("b-onset", "one of 5 10x slower 2 s of every 10 s, 60 %", one_odd(5, H, onset), 0.6),
        world("d2", "two of 5 2x slower, 70 % of what is there", hardware, 0.7 * 0.8),
        world("e", "one of 5 fails at once, 50 %", failing(1.0), 0.5),
        retried("e-retry", "one of 5 fails at once, retries", 1.0),
        retried("e-half", "one of 5 fails at once half of the time, retries", 0.5),
    ]
}

fn many_proxies() -> Vec<Scenario> {
    let through = |name, says, proxies, share| Scenario { proxies, ..world(name, says, vec![H; 10], share) };
    let frozen = Replica { freezes: Some(PAUSES), ..H };
    let mut thirty = vec![frozen; 30];
    thirty[..3].fill(slowed(frozen, 3.0));
    vec![
        through("f70", "10 equal, 8 proxies, 70 %", 8, 0.7),
        through("f90", "10 equal, 8 proxies, 90 %", 8, 0.9),
        through("f32", "10 equal, 32 proxies, 80 %", 32, 0.8),
        Scenario {
            proxies: 8,
            direct: 0.2,
            ..world(
                "f-mix",
                "10 that freeze, one 3x slow, 8 proxies, 20 % past them, 75 %",
                one_odd(10, frozen, slowed(frozen, 3.0)),
                0.75,
            )
        },
        world("n30", "30 that freeze, three 3x slow, 85 % of what is there", thirty, 0.85 * 28.0 / 30.0),
    ]
}

fn near_and_far() -> Vec<Replica> {
    near_and(30 * MS)
}

fn near_and(rtt: u64) -> Vec<Replica> {
    let mut replicas = vec![H; 6];
    replicas[3..].fill(Replica { rtt, ..H });
    replicas
}

fn far() -> Vec<Scenario> {
    vec![
        world("g-geo30", "3 near, 3 at 30 ms, 60 % of the near", near_and_far(), 0.3),
        world("g-geo", "3 near, 3 at 30 ms, 120 % of the near", near_and_far(), 0.6),
    ]
}

fn sharing() -> Vec<Scenario> {
    let s = Replica { discipline: Discipline::Sharing, ..H };
    let frozen = Replica { freezes: Some(PAUSES), ..s };
    vec![
        world("ps-a90", "a90, sharing", vec![s; 5], 0.9),
        world("ps-b", "b-cpu, sharing", one_odd(5, s, slowed(s, 10.0)), 0.6),
        world("ps-c", "c70, sharing", vec![frozen; 5], 0.7),
        bimodal("ps-d1", "d1, sharing", s),
    ]
}

fn unseen_faults() -> Vec<Scenario> {
    let stalling = Replica { freezes: Some(STALLS), ..H };
    let modes = Slowness::Modes { factor: 20.0, fast: 900 * MS, slow: 100 * MS };
    let long_modes = Slowness::Modes { factor: 20.0, fast: 9 * SECOND, slow: SECOND };
    let cold = Slowness::Cold { factor: 5.0, lasting: 3 * SECOND };
    let joining = Replica { slowness: cold, joins: 15 * SECOND, ..H };
    let creeping = Slowness::Creeping { to: 6.0, over: 60 * SECOND };
    let failing = |share, every, lasting| Replica { failing: Failing::Spells { share, every, lasting }, ..H };
    let healing = failing(1.0, 20 * SECOND, SECOND / 2);
    let outage = |share| vec![failing(share, 10 * SECOND, 3 * SECOND); 5];
    let mut most = outage(1.0);
    most[0] = H;
    let spells = Slowness::Spells { factor: 3.0, every: 30 * SECOND, lasting: 10 * SECOND };
    let mut deployed = near_and_far();
    deployed.iter_mut().for_each(|replica| replica.slowness = spells);
    let odd = |slowness| one_odd(5, H, Replica { slowness, ..H });
    vec![
        unseen("deploy", "3 near, 3 at 30 ms, all 3x slower 10 s of 30 s, 20 %", deployed, 0.2),
        unseen("stalls", "disk stalls of 50 to 100 ms at random, 60 %", vec![stalling; 5], 0.6),
        unseen("modal", "one of 5 20x slow for 0.1 s of 1 s, 60 %", odd(modes), 0.6),
        unseen("modal-long", "one of 5 20x slow for 1 s of 10 s, 60 %", odd(long_modes), 0.6),
        unseen("cold", "one of 5 joins, 5x slow for 3 s, 65 %", one_odd(5, H, joining), 0.65),
        unseen("creep", "one of 5 slows down to 6x within a minute, 55 %", odd(creeping), 0.55),
        unseen(
            "flaky",
            "one of 5 fails 3 % at once, 60 %",
            one_odd(5, H, Replica { failing: Failing::Share(0.03), ..H }),
            0.6,
        ),
        unseen("healed", "one of 5 fails at once 0.5 s of every 20 s, 80 %", one_odd(5, H, healing), 0.8),
        unseen("most-down", "four of 5 fail at once 3 s of every 10 s, 14 %", most, 0.14),
        unseen("all-down", "5 that all fail at once 3 s of every 10 s, 60 %", outage(1.0), 0.6),
        unseen("brown-out", "5 that all fail 60 % 3 s of every 10 s, 60 %", outage(0.6), 0.6),
    ]
}

fn unseen_fleets() -> Vec<Scenario> {
    let single = Replica { workers: 1, ..H };
    let wide = Replica { workers: 64, ..H };
    let mut half = vec![H; 6];
    half[..3].fill(slowed(H, 1.3));
    let mut regions = vec![H; 9];
    regions[3..6].fill(Replica { rtt: 10 * MS, ..H });
    regions[6..].fill(Replica { rtt: 60 * MS, ..H });
    vec![
        unseen("two", "2 equal, 70 %", vec![H; 2], 0.7),
        unseen("three", "3 equal, 80 %", vec![H; 3], 0.8),
        unseen("two-slow", "one of 2 5x slower, 40 %", one_odd(2, H, slowed(H, 5.0)), 0.4),
        unseen("three-slow", "one of 3 10x slower, 50 %", one_odd(3, H, slowed(H, 10.0)), 0.5),
        unseen(
            "sparse-slow",
            "one of 5 10x slower, 2 % of work of 50 ms",
            one_odd(5, H, slowed(H, 10.0)),
            0.002,
        )
        .with_work(50 * MS),
        unseen(
            "sparse-fails",
            "one of 5 fails at once, 2 % of work of 50 ms",
            one_odd(5, H, Replica { failing: Failing::Share(1.0), ..H }),
            0.002,
        )
        .with_work(50 * MS),
        unseen(
            "sparse-flaky",
            "one of 5 fails half of the time, 2 % of work of 50 ms",
            one_odd(5, H, Replica { failing: Failing::Share(0.5), ..H }),
            0.002,
        )
        .with_work(50 * MS),
        unseen("one-worker", "5 with one worker, 70 %", vec![single; 5], 0.7),
        unseen("wide", "5 with 64 workers, 90 %", vec![wide; 5], 0.9),
        unseen(
            "hiccups",
            "5 with 64 workers that stop 1 to 4 ms every 100 ms, 80 %",
            vec![Replica { freezes: Some(HICCUPS), ..wide }; 5],
            0.8,
        ),
        unseen("half", "3 of 6 1.3x slower, 70 % of what is there", half, 0.7 * 0.8846),
        unseen("g-85", "3 near, 3 at 30 ms, 85 % of the near", near_and_far(), 0.425),
        unseen("g-98", "3 near, 3 at 30 ms, 98 % of the near", near_and_far(), 0.49),
        unseen("g-100ms", "3 near, 3 at 100 ms, 90 % of the near", near_and(100 * MS), 0.45),
        unseen("far-three", "regions at 0.4, 10 and 60 ms, 45 % of all", regions, 0.45),
    ]
}

fn unseen_work() -> Vec<Scenario> {
    let of = |name, says, work, mean, share| {
        let arrivals = Arrivals::Steady(load(&[H; 5], mean, share));
        Scenario { work, arrivals, ..unseen(name, says, vec![H; 5], share) }
    };
    let full = load(&[H; 5], MEAN, 1.0);
    let swing = Arrivals::Swinging { low: 0.3 * full, high: 0.95 * full, period: 20 * SECOND };
    let bursts = Arrivals::Bursts { low: 0.4 * full, high: 1.6 * full, between: 950 * MS, burst: 50 * MS };
    let common = |mean| Work::Common(mean);
    vec![
        of("pareto", "Pareto work, 70 %", Work::Pareto(MEAN), MEAN, 0.7),
        of(
            "mixed",
            "work 1 ms or 200 ms (10 %), 60 %",
            Work::Bimodal { small: MS, large: 200 * MS },
            20_900_000,
            0.6,
        ),
        Scenario {
            replicas: vec![H; 3],
            ..of(
                "rare-short",
                "3 equal, work of 20 ms and once in 150 of 0.2 ms, 40 a second",
                Work::Rare { usual: 20 * MS, rare: MS / 5, one_in: 150 },
                20 * MS,
                0.04,
            )
        },
        of("quick", "work of 1 ms, 80 %", common(MS), MS, 0.8),
        of("long", "work of 200 ms, 70 %", common(200 * MS), 200 * MS, 0.7),
        Scenario {
            replicas: one_odd(5, H, slowed(H, 4.0)),
            ..of("quick-slow", "work of 1 ms, one of 5 4x slower, 60 %", common(MS), MS, 0.6)
        },
        Scenario { arrivals: swing, ..unseen("day", "load from 30 to 95 % and back", vec![H; 5], 0.0) },
        Scenario { arrivals: bursts, ..unseen("bursts", "40 %, bursts of 160 %", vec![H; 5], 0.0) },
    ]
}
