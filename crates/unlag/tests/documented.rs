//! What can be seen of a running unlag is written in docs/seeing.md: every metric with its labels, every field of the access
//! log, every path of the admin listener. No metric is written there that cannot be seen.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use unlag_testkit::origin::ok;
use unlag_testkit::{RawOrigin, Setup, Unlag, wait_until};

const UNLAG: &str = env!("CARGO_BIN_EXE_unlag");

/// What stands between backticks on the page, with braces and the like around it gone.
fn documented() -> BTreeSet<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/seeing.md");
    let page = std::fs::read_to_string(file).expect("docs/seeing.md");
    page.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// A running unlag that has forwarded one request and failed with another, and the access log's lines about them.
fn seen() -> (Unlag, Vec<Value>) {
    let origin = RawOrigin::answering(|request| match request.target().as_str() {
        "/broken" => b"this is not HTTP\r\n\r\n".to_vec(),
        _ => ok("fine"),
    });
    let setup = Setup::of(UNLAG).to([origin.url()]).upstream("limit", "100");
    // Some series are only there where there are regions, or second copies.
    let far = format!("[upstream.far]\nregions.eu = [{:?}]", origin.url());
    let setup = setup.toml(&far).route("rate", "{ limit = \"100/s\" }").route("hedge", "{}");
    let unlag = setup.route("holdout", "\"5%\"").start();
    unlag.get(&format!("/{}", "long".repeat(100)));
    assert_eq!(unlag.get("/broken").status(), 502);
    let lines = || unlag.log().objects().into_iter().filter(|line| line.get("target").is_some());
    wait_until("a line for each", || lines().count() == 2);
    let lines = lines().collect();
    (unlag, lines)
}

/// The names of what `/metrics` shows, and of its labels.
fn exposed(unlag: &Unlag) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut names, mut labels) = (BTreeSet::new(), BTreeSet::new());
    for sample in unlag.admin("/metrics").text().lines().filter(|line| !line.starts_with('#')) {
        let series = sample.rsplit_once(' ').expect("a value").0;
        let (name, braced) = series.split_once('{').unwrap_or((series, "}"));
        let family = ["_bucket", "_count", "_sum"].iter().find_map(|suffix| name.strip_suffix(suffix));
        names.insert(family.unwrap_or(name).to_owned());
        labels.extend(braced.split("\",").filter_map(|label| Some(label.split_once('=')?.0.to_owned())));
    }
    // The bound of a bucket is what OpenMetrics calls it.
    labels.remove("le");
    (names, labels)
}

#[test]
fn every_metric_and_label_is_documented_and_every_documented_metric_is_there() {
    let (unlag, _) = seen();
    let (documented, (names, labels)) = (documented(), exposed(&unlag));
    let unknown: Vec<_> = names.union(&labels).filter(|word| !documented.contains(*word)).collect();
    assert!(unknown.is_empty(), "not documented: {unknown:?}");
    let missing: Vec<_> =
        documented.iter().filter(|word| word.starts_with("unlag_") && !names.contains(*word)).collect();
    assert!(missing.is_empty(), "documented and not there: {missing:?}");
}

#[test]
fn every_field_of_the_access_log_is_documented() {
    let (_unlag, lines) = seen();
    let documented = documented();
    let phase = |field: &str| field.strip_suffix("_us").is_some_and(|phase| documented.contains(phase));
    let fields = lines.iter().flat_map(|line| line.as_object().expect("an object").keys());
    let missing: Vec<_> = fields.filter(|field| !documented.contains(*field) && !phase(field)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_path_of_the_admin_listener_is_documented() {
    let (unlag, _) = seen();
    let description: Value = serde_json::from_str(&unlag.admin("/openapi.json").text()).expect("JSON");
    let documented = documented();
    let named: Vec<&str> = documented.iter().map(|entry| entry.split('?').next().unwrap_or(entry)).collect();
    for path in description["paths"].as_object().expect("paths").keys() {
        let shown = path.replace("{name}", "NAME").replace("{id}", "ID");
        // The description of the API is at two places.
        assert!(
            named.contains(&shown.as_str()) || shown == "/api/v1/openapi.json",
            "{path} is not documented"
        );
    }
}

#[test]
fn every_cause_is_documented_and_no_other() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/src/error.rs");
    let source = std::fs::read_to_string(file).expect("where causes are named");
    let named =
        source.split("fn cause(").nth(1).expect("the table").split("\n    }\n").next().expect("its end");
    let named: BTreeSet<&str> = named.split('"').skip(1).step_by(2).collect();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/seeing.md");
    let page = std::fs::read_to_string(page).expect("docs/seeing.md");
    let section =
        page.split("### Causes").nth(1).expect("the section").split("\n## ").next().expect("its end");
    let rows = section.lines().filter_map(|line| line.split(" | `").nth(1)?.split('`').next());
    assert_eq!(rows.collect::<BTreeSet<_>>(), named);
}
