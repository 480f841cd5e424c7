//! `/metrics` is OpenMetrics that a scraper takes: checked line by line, as a scraper would.

use crate::served::{MS, TestPlane, get, serve};
use std::collections::{BTreeMap, HashMap, HashSet};
use unlag_record::{Bounds, Phase, Technique, Trials};

type Labels = BTreeMap<String, String>;

/// One sample, taken apart.
struct Sample {
    name: String,
    labels: Labels,
    value: f64,
}

fn is_name(text: &str) -> bool {
    let mut characters = text.chars();
    characters.next().is_some_and(|first| first.is_ascii_lowercase() || first == '_')
        && characters.all(|rest| rest.is_ascii_lowercase() || rest.is_ascii_digit() || rest == '_')
}

/// The labels between the braces, unescaped, and what follows the closing one.
fn parse_labels(mut text: &str) -> (Labels, &str) {
    let mut labels = Labels::new();
    loop {
        let (name, rest) = text.split_once("=\"").expect("a label has a value");
        assert!(is_name(name), "label {name:?}");
        let mut value = String::new();
        let mut characters = rest.char_indices();
        let end = loop {
            match characters.next().expect("a value ends") {
                (at, '"') => break at,
                (_, '\\') => value.push(match characters.next().map(|(_, escaped)| escaped) {
                    Some('n') => '\n',
                    Some(escaped @ ('\\' | '"')) => escaped,
                    other => panic!("escape {other:?}"),
                }),
                (_, character) => value.push(character),
            }
        };
        assert!(labels.insert(name.to_owned(), value).is_none(), "label {name} comes twice");
        text = &rest[end + 1..];
        match text.strip_prefix(',') {
            Some(rest) => text = rest,
            None => return (labels, text.strip_prefix('}').expect("labels end")),
        }
    }
}

fn parse_sample(line: &str) -> Sample {
    let (name, labels, value) = match line.split_once('{') {
        Some((name, rest)) => {
            let (labels, value) = parse_labels(rest);
            (name, labels, value.strip_prefix(' ').expect("one space before the value"))
        }
        None => {
            let (name, value) = line.split_once(' ').expect("a value");
            (name, Labels::new(), value)
        }
    };
    Sample { name: name.into(), labels, value: value.parse().unwrap_or_else(|_| panic!("value in {line}")) }
}

/// Checks the page's form and gives its samples with the type of their family.
fn check(page: &str) -> Vec<(String, Sample)> {
    assert!(page.ends_with("\n# EOF\n"), "the page ends with # EOF");
    let (mut families, mut series) = (HashSet::new(), HashSet::new());
    let (mut family, mut kind) = (String::new(), String::new());
    let mut samples = Vec::new();
    for line in page.trim_end().lines().filter(|line| *line != "# EOF") {
        if let Some(comment) = line.strip_prefix("# ") {
            let words: Vec<&str> = comment.splitn(3, ' ').collect();
            let [keyword, name, text] = words[..] else { panic!("{line}") };
            match keyword {
                "TYPE" => {
                    assert!(is_name(name) && !name.ends_with("_total"), "{line}");
                    assert!(families.insert(name.to_owned()), "family {name} comes twice");
                    assert!(["counter", "gauge", "histogram"].contains(&text), "{line}");
                    (family, kind) = (name.into(), text.into());
                }
                "UNIT" => assert!(name == family && name.ends_with(&format!("_{text}")), "{line}"),
                "HELP" => assert!(name == family && !text.is_empty(), "{line}"),
                _ => panic!("{line}"),
            }
            continue;
        }
        let sample = parse_sample(line);
        let suffix =
            sample.name.strip_prefix(&family).unwrap_or_else(|| panic!("{line} is outside its family"));
        let suffixes: &[&str] = match kind.as_str() {
            "counter" => &["_total"],
            "gauge" => &[""],
            _ => &["_bucket", "_count", "_sum"],
        };
        assert!(suffixes.contains(&suffix), "{line} in a {kind}");
        assert!(sample.value >= 0.0 && sample.value.is_finite(), "{line}");
        assert!(series.insert((sample.name.clone(), sample.labels.clone())), "{line} comes twice");
        samples.push((kind.clone(), sample));
    }
    samples
}

/// Checks that buckets grow with their bound and end with the count.
fn check_histograms(samples: &[(String, Sample)]) -> usize {
    let mut buckets: HashMap<(String, Labels), Vec<(f64, f64)>> = HashMap::new();
    let mut counts: HashMap<(String, Labels), f64> = HashMap::new();
    for (_, sample) in samples.iter().filter(|(kind, _)| kind == "histogram") {
        let mut labels = sample.labels.clone();
        if let Some(name) = sample.name.strip_suffix("_bucket") {
            let bound = labels.remove("le").expect("a bucket has a bound");
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().unwrap() };
            buckets.entry((name.into(), labels)).or_default().push((bound, sample.value));
        } else if let Some(name) = sample.name.strip_suffix("_count") {
            counts.insert((name.into(), labels), sample.value);
        }
    }
    assert_eq!(buckets.len(), counts.len());
    for (series, buckets) in &buckets {
        assert_eq!(buckets.len(), 19, "{series:?}");
        assert_eq!(buckets[0].0, 0.00005);
        assert!(buckets.is_sorted_by(|left, right| left.0 < right.0 && left.1 <= right.1), "{series:?}");
        assert_eq!(buckets[18], (f64::INFINITY, counts[series]));
    }
    buckets.len()
}

fn value(samples: &[(String, Sample)], name: &str, labels: &[(&str, &str)]) -> f64 {
    let labels: Labels = labels.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let found = samples.iter().find(|(_, sample)| sample.name == name && sample.labels == labels);
    found.unwrap_or_else(|| panic!("no {name} {labels:?}")).1.value
}

#[test]
fn the_page_is_well_formed_and_its_histograms_are_cumulative() {
    let plane = TestPlane::new();
    let hostile = "hello \"you\"\\\n";
    for step in 0..200 {
        plane.request("shop", "r", &[(Phase::Wait, step * MS / 4), (Phase::Transfer, 30_000)]);
        plane.request(hostile, "r", &[(Phase::Cache, 1_000)]);
    }
    let console = serve(&plane);
    let answer = get(&console, "/metrics");
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(answer.header("content-type"), Some(content_type));
    let samples = check(&answer.body);
    assert_eq!(check_histograms(&samples), 2 + 5 + 1, "two routes, their phases, one endpoint");

    let of = |name: &str, labels: &[(&str, &str)]| value(&samples, name, labels);
    let route = [("route", "shop"), ("outcome", "ok")];
    assert_eq!(of("unlag_request_duration_seconds_count", &route), 200.0);
    let sum = of("unlag_request_duration_seconds_sum", &route);
    let phases: f64 = ["receive", "upstream_ttfb", "transfer"]
        .map(|phase| of("unlag_phase_duration_seconds_sum", &[("route", "shop"), ("phase", phase)]))
        .iter()
        .sum();
    assert!((sum - phases).abs() < 1e-9, "phases add up: {phases} of {sum}");
    let hostile = [("route", hostile), ("outcome", "ok"), ("le", "5e-05")];
    assert_eq!(of("unlag_request_duration_seconds_bucket", &hostile), 200.0);
}

#[test]
fn both_sides_of_a_trial_are_histograms_of_routes_that_hold_requests_out_and_of_no_other() {
    let plane = TestPlane::new();
    for is_held in [false, false, true] {
        let mut trials = Trials::default();
        trials.note(Technique::Hedge, is_held);
        plane.tried("shop", "r", &[(Phase::Wait, MS)], trials);
    }
    plane.request("other", "r", &[(Phase::Wait, MS)]);
    let samples = check(&get(&serve(&plane), "/metrics").body);
    let count = "unlag_trial_duration_seconds_count";
    let side =
        |held| value(&samples, count, &[("route", "shop"), ("technique", "hedge"), ("held_out", held)]);
    assert_eq!((side("false"), side("true")), (2.0, 1.0));
    assert_eq!(samples.iter().filter(|(_, sample)| sample.name == count).count(), 2);
}

#[test]
fn gauges_and_counters_of_the_data_plane_are_on_the_page_once() {
    let console = serve(&TestPlane::new());
    let samples = check(&get(&console, "/metrics").body);
    let of = |name: &str, labels: &[(&str, &str)]| value(&samples, name, labels);
    let endpoint = [("upstream", "catalog"), ("endpoint", "10.0.0.1:80")];
    assert_eq!(of("unlag_endpoint_requests_in_flight", &endpoint), 3.0);
    assert_eq!(of("unlag_endpoint_ejections_total", &endpoint), 1.0);
    let state = |state| of("unlag_endpoint_state", &[endpoint[0], endpoint[1], ("state", state)]);
    assert_eq!((state("ejected"), state("healthy")), (1.0, 0.0));
    assert_eq!(of("unlag_worker_connections", &[("worker", "0")]), 30.0);
    assert_eq!(of("unlag_worker_requests_total", &[("worker", "1")]), 50.0);
    assert_eq!(of("unlag_refused_heads_total", &[("reason", "bare_lf")]), 5.0);
    assert_eq!(of("unlag_refused_heads_total", &[("reason", "too \"long\"")]), 2.0);
    assert_eq!(of("unlag_ready", &[]), 1.0);
}

#[test]
fn the_cache_has_series_for_what_came_about_and_one_label_for_routes_past_the_bound() {
    let plane = TestPlane::with(Bounds { routes: 2, ..Bounds::default() });
    let hostile = "hello \"you\"\\\n";
    for (route, hits) in [("shop", 3), (hostile, 2), ("third", 5), ("fourth", 7)] {
        plane.cached(route, hits);
    }
    let console = serve(&plane);
    let samples = check(&get(&console, "/metrics").body);
    let of = |name: &str, labels: &[(&str, &str)]| value(&samples, name, labels);
    assert_eq!(of("unlag_cache_hits_total", &[("route", "shop")]), 3.0);
    assert_eq!(of("unlag_cache_hits_total", &[("route", hostile)]), 2.0);
    assert_eq!(of("unlag_cache_hits_total", &[("route", "other")]), 12.0);
    assert_eq!(of("unlag_cache_saved_seconds_total", &[("route", "other")]), 0.24);
    assert_eq!(of("unlag_cache_misses_total", &[("route", "other"), ("reason", "uri-miss")]), 2.0);
    assert_eq!(of("unlag_cache_not_stored_total", &[("route", "shop"), ("reason", "set-cookie")]), 2.0);
    assert_eq!(of("unlag_cache_capacity_bytes", &[]), 0.0);
    let reasons = samples.iter().filter_map(|(_, sample)| sample.labels.get("reason"));
    assert!(reasons.clone().all(|reason| reason != "stale" && reason != "private"));
}
