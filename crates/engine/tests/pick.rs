//! What a choice costs, with what is kept of why it was made: it allocates nothing, and how long it takes is printed (`cargo test --profile dist -p unlag-engine --test
//! pick -- --nocapture`).
#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "the figure is for people, and a test may fail"
)]

use std::sync::Arc;
use std::time::Instant;
use unlag_engine::fleet::ranking::Ask;
use unlag_engine::fleet::{Endpoint, Service};
use unlag_engine::plan::Registry;
use unlag_engine::techniques::balance::policy::pick;
use unlag_engine::upstream::discover_names::Found;
use unlag_record::How;

const MS: u64 = 1_000_000;

fn fleet(count: u32) -> Vec<Arc<Endpoint>> {
    let registry = Registry::new(unlag_record::Registry::new(unlag_record::Bounds::default(), None));
    let endpoint = |nth: u32| {
        let text = format!("http://127.0.0.1:{}", 1_000 + nth);
        let list = unlag_config::endpoints(&text, "the test").expect("an endpoint");
        registry.endpoint(&"shop".into(), &Found::listed(list.first().expect("one")), "")
    };
    (0..count).map(endpoint).collect()
}

/// Endpoints at work, of which one is slow.
fn at_work(count: u32) -> (Vec<Arc<Endpoint>>, Service, u64) {
    let (fleet, service, mut now) = (fleet(count), Service::default(), 1_000 * MS);
    for turn in 0..5_000u32 {
        let chosen = pick(&fleet, &service.figures(), &Ask { turn, now, ..Ask::default() })
            .expect("somebody")
            .endpoint;
        let mut request = chosen.begin(now);
        now += MS;
        request.answered();
        let wait_ns = if chosen.index == 0 { 20 * MS } else { MS };
        service.observe(&fleet, &request, wait_ns, true, now);
        chosen.succeeded(now);
    }
    (fleet, service, now)
}

#[test]
fn a_choice_among_32_and_what_is_learned_from_its_answer_allocate_nothing() {
    for count in [3, 8, 32] {
        let (fleet, service, mut now) = at_work(count);
        let allocated = allocation_counter::measure(|| {
            for turn in 0..2_000 {
                service.sweep(&fleet, now);
                let picked =
                    pick(&fleet, &service.figures(), &Ask { turn, now, ..Ask::default() }).expect("somebody");
                std::hint::black_box(picked.choice(How::Adaptive, fleet.len(), service.figures().home));
                let mut request = picked.endpoint.begin(now);
                now += MS;
                request.answered();
                service.observe(&fleet, &request, MS, true, now);
            }
        });
        assert_eq!(allocated.count_total, 0, "of {count}");
    }
}

#[test]
fn what_a_choice_takes_is_printed() {
    for count in [2, 5, 8, 16, 32] {
        let (fleet, service, now) = at_work(count);
        let _busy: Vec<_> = (0..count as usize / 2).map(|nth| fleet[nth].begin(now)).collect();
        let mut batches: Vec<f64> = (0..300)
            .map(|batch| {
                let began = Instant::now();
                for turn in 0..100 {
                    let picked = pick(
                        &fleet,
                        &service.figures(),
                        &Ask { turn: batch * 100 + turn, now, ..Ask::default() },
                    );
                    std::hint::black_box(
                        picked.map(|picked| picked.choice(How::Adaptive, fleet.len(), None)),
                    );
                }
                began.elapsed().as_nanos() as f64 / 100.0
            })
            .collect();
        batches.sort_by(f64::total_cmp);
        println!("{count:>2} endpoints: p50 {:.0} ns, p99 {:.0} ns", batches[150], batches[297]);
    }
}
