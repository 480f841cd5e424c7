//! What five third-party readers understand of the bytes that an origin received. Python and Node come as scripts
//! beside this file (`cargo xtask setup` installs their packages), hyper is linked in.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

/// Every reader that a complete run has.
pub(crate) const READERS: [&str; 5] = ["h11", "httptools", "http.server", "node", "hyper"];

/// A whole request: method, target, hosts, and the body in hex (which `http.server` does not read).
pub(crate) type Reading = (String, String, Vec<String>, Option<String>);

/// The requests that each reader found in each recording: reader → recording → requests.
pub(crate) type Readings = BTreeMap<String, BTreeMap<String, Vec<Reading>>>;

/// Gives the recordings (id → bytes) to every reader that is installed; names those that are not.
pub(crate) fn read_all(recordings: &BTreeMap<String, Vec<u8>>) -> (Readings, Vec<&'static str>) {
    let mut readings = Readings::new();
    let list: Vec<Value> =
        recordings.iter().map(|(id, bytes)| json!({"id": id, "hex": hex(bytes)})).collect();
    let input = Value::from(list).to_string();
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parsers");
    for (program, script) in [(python(), "parse.py"), (PathBuf::from("node"), "parse.mjs")] {
        if let Some(found) = run(&program, &here.join(script), &input) {
            readings.extend(found);
        }
    }
    let by_hyper = recordings.iter().map(|(id, bytes)| (id.clone(), with_hyper(bytes)));
    readings.insert("hyper".to_owned(), by_hyper.collect());
    let missing = READERS.into_iter().filter(|reader| !readings.contains_key(*reader)).collect();
    (readings, missing)
}

/// The Python of `cargo xtask setup`, or that of the system (whose `http.server` is there always).
fn python() -> PathBuf {
    let tools = std::env::var_os("UNLAG_TOOLS").map(PathBuf::from);
    let tools = tools.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools"));
    let own = tools.join("python/bin/python");
    if own.exists() { own } else { PathBuf::from("python3") }
}

fn run(program: &Path, script: &Path, input: &str) -> Option<Readings> {
    let mut command = Command::new(program);
    command.arg(script).env("PYTHONDONTWRITEBYTECODE", "1").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().ok()?;
    let (mut stdin, input) = (child.stdin.take()?, input.to_owned());
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("its output");
    assert!(output.status.success(), "{} failed: {}", script.display(), output.status);
    writer.join().expect("the writer").expect("all recordings are read");
    Some(
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{}: {error}", script.display())),
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What hyper's server understands of these bytes.
fn with_hyper(bytes: &[u8]) -> Vec<Reading> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let found = Arc::new(Mutex::new(Vec::new()));
    let collected = found.clone();
    runtime.block_on(async move {
        let (mut caller, server) = tokio::io::duplex(bytes.len() + 1024 * 1024);
        caller.write_all(bytes).await.expect("room for all");
        caller.shutdown().await.expect("an end");
        let service = service_fn(move |request| note(request, collected.clone()));
        let mut builder = hyper::server::conn::http1::Builder::new();
        let connection = builder.half_close(true).serve_connection(TokioIo::new(server), service);
        // A refusal is an error here; what was whole before it has been noted.
        let _ = connection.await;
    });
    let found = found.lock().expect("not poisoned");
    found.clone()
}

async fn note(
    request: Request<Incoming>,
    found: Arc<Mutex<Vec<Reading>>>,
) -> Result<Response<String>, hyper::Error> {
    let (head, mut body) = request.into_parts();
    let mut bytes = Vec::new();
    while let Some(frame) =
        std::future::poll_fn(|context| std::pin::Pin::new(&mut body).poll_frame(context)).await
    {
        if let Ok(data) = frame?.into_data() {
            bytes.extend_from_slice(&data);
        }
    }
    let hosts =
        head.headers.get_all("host").iter().map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
    let reading = (head.method.to_string(), head.uri.to_string(), hosts.collect(), Some(hex(&bytes)));
    found.lock().expect("not poisoned").push(reading);
    Ok(Response::new(String::new()))
}
