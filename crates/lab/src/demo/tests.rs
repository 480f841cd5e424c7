//! The demo against a real shop, with a plain spreading relay in the place of the proxy.

use tokio::net::TcpListener;
use tokio::runtime::Builder;

use super::*;

/// Relays each request to the service that it names, or the pool whose host it asks for, replicas in turn. It knows nothing
/// of faults and no second way, so the acts show in full and the trials show no gain.
fn start_relay(shop: &Shop, pools: &Pools) -> SocketAddr {
    let of_pool = |pool: &Pool| (pool.host(), [pool.near(), pool.far()].concat());
    let of_shop = shop.services.iter().map(|s| (format!(" /{}", s.name), s.replicas.clone()));
    let services: Vec<(String, Vec<SocketAddr>)> = of_shop.chain(pools.iter().map(of_pool)).collect();
    let (ready, address) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
            ready.send(listener.local_addr().expect("bound")).expect("received");
            let mut turn = 0;
            while let Ok((caller, _)) = listener.accept().await {
                turn += 1;
                tokio::spawn(relay(caller, services.clone(), turn));
            }
        });
    });
    address.recv().expect("an address")
}

async fn relay(mut caller: tokio::net::TcpStream, services: Vec<(String, Vec<SocketAddr>)>, mut turn: usize) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut request = vec![0; 8192];
    loop {
        let length = caller.read(&mut request).await.unwrap_or(0);
        let text = String::from_utf8_lossy(&request[..length]).into_owned();
        let Some((_, replicas)) = services.iter().find(|(name, _)| text.contains(name)) else { return };
        turn += 1;
        let Ok(mut service) = tokio::net::TcpStream::connect(replicas[turn % replicas.len()]).await else {
            return;
        };
        let closing = text.replacen("\r\n", "\r\nconnection: close\r\n", 1);
        let mut answer = Vec::new();
        if service.write_all(closing.as_bytes()).await.is_err()
            || service.read_to_end(&mut answer).await.is_err()
        {
            return;
        }
        if caller.write_all(&answer).await.is_err() {
            return;
        }
    }
}

#[test]
fn the_acts_show_in_figures_and_words_when_nothing_goes_round_the_faults() {
    let plan = Plan { seconds: 20, rate: 60.0 };
    let shop = Shop::start().expect("opens");
    let pools = Pools::start(plan).expect("starts");
    let proxy = start_relay(&shop, &pools);
    let mut screen = Screen::new(Vec::new(), true);
    let phase =
        |name: &str, share| PhaseShare { name: name.into(), share, p50_us: 9_000.0, p99_us: 40_000.0 };
    let mut asked = 0;
    let report = run(plan, proxy, &shop, &pools, &mut screen, |_| {
        asked += 1;
        vec![phase("overhead", 0.02), phase("upstream_ttfb", 0.93)]
    })
    .expect("runs");
    let [healthy, slow, failing, recovered, rest @ ..] = report.acts.as_slice() else { panic!("few acts") };
    let catalog = |act: &ActReport| act.services.iter().find(|s| s.name == "catalog").expect("asked").clone();
    assert!(asked >= 8, "the proxy was asked {asked} times");
    assert_eq!(healthy.errors + slow.errors + recovered.errors, 0, "{report:?}");
    assert!(catalog(slow).latency_us.p99 > 2.0 * catalog(healthy).latency_us.p99, "{report:?}");
    let expected = catalog(failing).requests as f64 / 3.0;
    assert!((0.5..1.7).contains(&(failing.errors as f64 / expected)), "{} of {expected}", failing.errors);
    assert_eq!(healthy.phases[0].name, "upstream_ttfb", "largest first");
    let (pairs, trials) = rest.split_at(4);
    no_trial_shows_a_gain_where_there_is_no_second_way(trials);
    for act in pairs {
        // The relay caches nothing.
        assert_eq!((act.shop_requests, act.errors), (act.requests, 0), "{act:?}");
    }
    assert!(pairs[2].latency_us.p50 >= 40_000.0, "an asset takes 40 ms: {:?}", pairs[2]);
    let words = report.lessons.join("\n");
    assert!(words.contains("93 % of that time went into upstream_ttfb"), "{words}");
    assert!(words.contains("proxy itself took 2.0 %"), "{words}");
    assert!(words.contains("Caching product pages for 10 s took their p50 from"), "{words}");
    assert!(words.contains("reached the shop: 0 saved."), "{words}");
    let of_errors =
        report.lessons.iter().find(|lesson| lesson.contains("answers 500 at once")).expect("said");
    assert!(of_errors.contains(": nothing gained."), "{of_errors}");
    let shown = String::from_utf8(screen.into_inner()).expect("text");
    assert!(shown.contains("\x1b[J") && shown.contains("> one slow replica"), "{shown}");
    assert!(serde_json::to_string(&report).expect("JSON").contains("\"slow_replica\""));
}

fn no_trial_shows_a_gain_where_there_is_no_second_way(acts: &[ActReport]) {
    assert_eq!(acts.len(), 10);
    for act in acts {
        let trial = act.trial.as_ref().expect("replicas saw it");
        let troubled = match act.act {
            Act::FarPlain | Act::FarUnlag => 0.5,
            Act::LostPlain | Act::LostUnlag => {
                let loss = trial.loss.as_ref().expect("a region was lost");
                assert!(act.errors > 0 && loss.near_share_after > 0.2, "{act:?}");
                continue;
            }
            _ => 1.0 / 3.0,
        };
        assert!((trial.troubled_share - troubled).abs() < 0.1, "asked in turn: {act:?}");
        assert_eq!((trial.extra_share, act.shop_requests), (0.0, act.requests), "{act:?}");
        let failing = matches!(act.act, Act::FailingPlain | Act::FailingUnlag);
        let failed = act.errors as f64 / act.requests as f64;
        assert!((failed - if failing { troubled } else { 0.0 }).abs() < 0.1, "{act:?}");
    }
}

#[test]
fn without_a_terminal_there_are_plain_lines_every_five_seconds() {
    let act = act_report(Act::Healthy, &Report::default(), 0, Vec::new());
    let mut screen = Screen::new(Vec::new(), false);
    for seconds in 1..=11 {
        screen.show(&[], &act, Duration::from_secs(seconds), Plan::default());
    }
    let shown = String::from_utf8(screen.into_inner()).expect("text");
    assert_eq!(shown.lines().count(), 2, "{shown}");
    assert!(!shown.contains('\x1b'), "{shown}");
    assert!(shown.starts_with("5 s, healthy: 0 requests"), "{shown}");
}

#[test]
fn a_proxy_that_answers_nothing_teaches_nothing() {
    let acts: Vec<ActReport> = Act::ALL.map(|act| act_report(act, &Report::default(), 0, Vec::new())).into();
    assert!(summary::lessons(&acts)[0].contains("answered nothing"));
}
