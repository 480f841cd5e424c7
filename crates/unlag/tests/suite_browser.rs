//! A page with assets in a real browser: over HTTP/2 and TLS from an edge node, and once more from what the browser and the node
//! have kept of it.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports what went wrong by panicking"
)]

mod suite_tools;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use suite_tools::{Found, UNLAG, program, run_client, shown, test_file, with_tools};
use unlag_testkit::process::Directory;
use unlag_testkit::tls::Authority;
use unlag_testkit::{RawClient, RawOrigin, Setup, Unlag, wait_until};

const IMMUTABLE: [&str; 3] =
    ["/assets/site.5d2f01ab.css", "/assets/page.91c0ffee.js", "/assets/logo.77e1a2b3.svg"];
const ASKED_EACH_TIME: [&str; 2] = ["/", "/assets/theme.css"];
/// Encoded by the node, once it is asked for. So is the page itself, but only after the browser has got it as it is; the script has
/// a sibling.
const ENCODED: &str = IMMUTABLE[0];
const HOST: &str = "shop.example";
const API: &str = "/api/products";

/// The page's files, in a directory of the test's own, the script with an encoded sibling.
fn site(directory: &Path) {
    let from = test_file("browser/site");
    fs::create_dir(directory.join("assets")).expect("a directory");
    let assets = IMMUTABLE.iter().map(|path| &path[1..]).chain(["index.html", "assets/theme.css"]);
    for file in assets {
        fs::copy(from.join(file), directory.join(file)).expect("a file of the page");
    }
    let script = directory.join(&IMMUTABLE[1][1..]);
    let text = fs::read(&script).expect("the script");
    let mut encoder = brotli::CompressorWriter::new(Vec::new(), 4096, 11, 22);
    encoder.write_all(&text).expect("encode");
    fs::write(script.with_extension("js.br"), encoder.into_inner()).expect("a sibling");
}

/// An API whose answers a shared cache may keep and a browser may not.
fn api() -> RawOrigin {
    let product = r#"{"name": "a product like the others", "price": 1}"#;
    let body = format!("[{}]", [product; 50].join(", "));
    RawOrigin::answering(move |_| {
        let head =
            "HTTP/1.1 200 OK\r\nCache-Control: s-maxage=60, max-age=0\r\nContent-Type: application/json\r\n";
        format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    })
}

fn edge(directory: &Path, origin: &RawOrigin) -> Unlag {
    let at = |name: &str| directory.join(name).display().to_string();
    let tls = format!("tls = {{ certificate = {:?}, key = {:?} }}", at("site.pem"), at("site.key"));
    let routes = format!(
        "[upstream.api]\nendpoints = [{:?}]\n\
         [[route]]\nmatch = \"/api/{{path...}}\"\nupstream = \"api\"\ncompress = \"auto\"\n\
         [[route]]\nmatch = \"GET /{{path...}}\"\n\
         static = {{ directory = {:?}, precompressed = true, immutable = '\\.[0-9a-f]{{8}}\\.' }}",
        origin.url(),
        at("public"),
    );
    Setup::of(UNLAG).listen(&format!("address = \"127.0.0.1:0\"\n{tls}")).toml(&routes).start()
}

fn browser_and_node() -> Found<(PathBuf, PathBuf)> {
    Ok((program("chromium", "chromium")?, program("node", "nodejs")?))
}

/// What the page found at each of two visits.
fn visits((browser, node): (PathBuf, PathBuf), directory: &Path, edge: &Unlag) -> [Value; 2] {
    let port = edge.address().rsplit(':').next().expect("a port");
    let mut command = Command::new(node);
    command.arg(test_file("browser/drive.cjs")).arg(browser).arg(directory.join("profile"));
    command.arg(format!("https://{HOST}:{port}/")).arg(directory.join("site.pem")).arg("127.0.0.1");
    // What a browser leaves in its home belongs to the test as well.
    command.env("HOME", directory);
    let output = run_client(command);
    assert!(output.status.success(), "{}", shown(&output));
    serde_json::from_slice(&output.stdout).expect("two visits")
}

/// How each path came, as the browser tells.
fn resources(visit: &Value) -> BTreeMap<String, &Value> {
    let list = visit["resources"].as_array().unwrap_or_else(|| panic!("no resources: {visit}"));
    list.iter().map(|entry| (entry["path"].as_str().expect("a path").to_owned(), entry)).collect()
}

/// The statuses of what was asked for over HTTP/2, as the browser does, by path.
fn statuses(edge: &Unlag, path: &str) -> Vec<u64> {
    let lines = edge.log().objects().into_iter();
    let asked = lines.filter(|line| line["target"] == path && line["protocol"] == "HTTP/2");
    asked.map(|line| line["status"].as_u64().expect("a status")).collect()
}

/// Asks for a file until it comes encoded.
fn wait_until_encoded(edge: &Unlag, authority: &Authority, path: &str) {
    wait_until(&format!("{path} is encoded"), || {
        let mut caller = RawClient::tls(edge.address(), authority.client_config(&["http/1.1"]), HOST);
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\nAccept-Encoding: gzip, br, zstd\r\n\r\n");
        caller.send(request).read_response("GET").header("content-encoding").is_some()
    });
}

#[test]
fn a_page_comes_over_http_2_and_the_second_time_from_what_was_kept() {
    with_tools("a page in Chromium", browser_and_node(), |tools| {
        let (directory, origin) = (Directory::new(), api());
        fs::create_dir(directory.path().join("public")).expect("a directory");
        site(&directory.path().join("public"));
        let authority = Authority::new();
        authority.certificate(&[HOST]).write(directory.path(), "site");
        let edge = edge(directory.path(), &origin);
        wait_until_encoded(&edge, &authority, ENCODED);
        let visits = visits(tools, directory.path(), &edge);

        for visit in &visits {
            let said = ["color", "background", "image", "products", "encoding"].map(|name| &visit[name]);
            let expected = ["rgb(1, 2, 3)", "rgb(4, 5, 6)", "10", "50", "zstd"];
            let said = said.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
            assert_eq!(said, expected, "styled, drawn, run, fetched, decoded: {visit}");
        }
        let first = resources(&visits[0]);
        for path in IMMUTABLE.into_iter().chain(ASKED_EACH_TIME).chain([API]) {
            assert_eq!(first[path]["protocol"], "h2", "{path}");
            assert!(first[path]["transferred"].as_u64() > Some(0), "{path}");
        }
        for path in [ENCODED, IMMUTABLE[1], API] {
            assert!(first[path]["encoded"].as_u64() < first[path]["decoded"].as_u64(), "{path} was encoded");
        }

        let second = resources(&visits[1]);
        wait_until("the access log is written", || statuses(&edge, API).len() == 2);
        for path in IMMUTABLE {
            assert_eq!(second[path]["transferred"], 0, "{path} was kept");
            assert_eq!(statuses(&edge, path), [200], "{path} was asked for once");
        }
        for path in ASKED_EACH_TIME {
            assert_eq!(statuses(&edge, path), [200, 304], "{path} was asked about");
        }
        let cache = visits.each_ref().map(|visit| visit["cache"].as_str().unwrap_or_default());
        assert!(
            cache[0].starts_with("unlag; fwd=uri-miss; stored") && cache[1].starts_with("unlag; hit"),
            "{cache:?}"
        );
        assert_eq!(origin.request_count(), 1);
    });
}
