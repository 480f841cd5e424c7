//! Programs that people really put around a proxy, unchanged: Python's file server, nginx, curl with both protocols,
//! a WebSocket client and server, a load generator.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports what went wrong by panicking"
)]

mod suite_tools;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use suite_tools::{
    Found, Server, UNLAG, node_with_packages, program, python_with_packages, run_client, shown, test_file,
    with_tools,
};
use unlag_testkit::process::Directory;
use unlag_testkit::{RawOrigin, Setup, Unlag, wait_until};

/// Large enough that no buffer holds it and that flow control must turn many times.
const LARGE_BYTES: usize = 5 << 20;

/// Text that gzip makes smaller.
const WORDS: &str = "words words words words words words words words words words words words words words\n";

const PROTOCOLS: [&str; 2] = ["--http1.1", "--http2-prior-knowledge"];

/// What curl got.
struct Fetched {
    status: String,
    protocol: String,
    body: Vec<u8>,
}

/// One transfer by curl; its own settings file and the caller's proxies are left out.
fn curl(unlag: &Unlag, protocol: &str, path: &str, more: &[&str]) -> Fetched {
    let mut curl =
        Command::new(program("curl", "curl").unwrap_or_else(|_| panic!("curl was here a moment ago")));
    curl.args(["-q", "--silent", "--show-error", "--noproxy", "*", "--max-time", "30", protocol]);
    curl.args(["--write-out", "%{stderr}%{http_code} %{http_version}"]).args(more);
    curl.arg(format!("http://{}{path}", unlag.address()));
    let output = run_client(curl);
    assert!(output.status.success(), "curl {protocol} {path}: {}", shown(&output));
    let notes = String::from_utf8_lossy(&output.stderr).into_owned();
    let (status, version) = notes.trim().rsplit_once(' ').expect("a status and a version");
    let status = status.rsplit(['\n', ' ']).next().unwrap_or(status);
    Fetched { status: status.into(), protocol: version.into(), body: output.stdout }
}

/// Bytes without a pattern that compression or a wrong offset would hide in.
fn large_file(directory: &Path) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[0]
    })
    .take(LARGE_BYTES)
    .collect();
    fs::write(directory.join("large.bin"), &bytes).expect("write a file");
    fs::write(directory.join("small.txt"), "small\n").expect("write a file");
    bytes
}

fn file_server(mut python: Command, directory: &Path) -> Server {
    python.args(["-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory"]).arg(directory);
    python.stderr(Stdio::null());
    Server::start(python, "port ")
}

fn python_and_curl() -> Found<Command> {
    program("curl", "curl")?;
    program("python3", "python3").map(Command::new)
}

#[test]
fn curl_gets_every_byte_from_pythons_file_server_by_both_protocols() {
    with_tools("curl and python3 -m http.server", python_and_curl(), |python| {
        let directory = Directory::new();
        let large = large_file(directory.path());
        let server = file_server(python, directory.path());
        let unlag = Setup::of(UNLAG).to([server.url()]).start();
        for (protocol, version) in PROTOCOLS.into_iter().zip(["1.1", "2"]) {
            let got = curl(&unlag, protocol, "/large.bin", &[]);
            assert_eq!((got.status.as_str(), got.protocol.as_str()), ("200", version));
            assert!(got.body == large, "{protocol}: {} bytes of {}", got.body.len(), large.len());
            assert_eq!(curl(&unlag, protocol, "/gone", &[]).status, "404");
            assert_eq!(curl(&unlag, protocol, "/small.txt", &["--head"]).status, "200");
            assert_eq!(curl(&unlag, protocol, "/", &["--data", "x=1"]).status, "501", "it refuses POST");
        }
    });
}

#[test]
fn run_to_an_address_needs_no_config() {
    with_tools("curl and python3 -m http.server", python_and_curl(), |python| {
        let directory = Directory::new();
        large_file(directory.path());
        let server = file_server(python, directory.path());
        let url = server.url();
        let arguments = ["--to", &url, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
        let unlag = Setup::of(UNLAG).arguments(arguments).start();
        let got = curl(&unlag, "--http1.1", "/small.txt", &[]);
        assert_eq!((got.status.as_str(), got.body.as_slice()), ("200", b"small\n".as_slice()));
    });
}

/// nginx as origin, on a unix socket so that no port has to be guessed.
struct Nginx {
    child: Child,
    directory: Directory,
    large: Vec<u8>,
}

impl Nginx {
    fn start(program: &Path) -> Nginx {
        let directory = Directory::new();
        let large = large_file(directory.path());
        fs::write(directory.path().join("words.txt"), WORDS).expect("write a file");
        let folder = directory.path().display();
        let text = fs::read_to_string(test_file("nginx/origin.conf")).expect("the config");
        fs::write(directory.path().join("nginx.conf"), text.replace("FOLDER", &folder.to_string()))
            .expect("write");
        let mut nginx = Command::new(program);
        nginx.arg("-p").arg(directory.path()).arg("-c").arg(directory.path().join("nginx.conf"));
        nginx.arg("-e").arg(directory.path().join("error.log")).stdin(Stdio::null());
        let child = nginx.spawn().expect("start nginx");
        let socket = directory.path().join("nginx.sock");
        wait_until("nginx listens", || std::os::unix::net::UnixStream::connect(&socket).is_ok());
        Nginx { child, directory, large }
    }

    fn url(&self) -> String {
        format!("unix:{}", self.directory.path().join("nginx.sock").display())
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn nginx_and_curl() -> Found<PathBuf> {
    program("curl", "curl")?;
    program("nginx", "nginx-light")
}

#[test]
fn nginx_behind_unlag_keeps_its_ranges_conditions_and_codings() {
    with_tools("curl and nginx", nginx_and_curl(), |program| {
        let nginx = Nginx::start(&program);
        let unlag = Setup::of(UNLAG).to([nginx.url()]).start();
        for protocol in PROTOCOLS {
            let whole = curl(&unlag, protocol, "/large.bin", &[]);
            assert!(whole.status == "200" && whole.body == nginx.large, "{protocol}: the whole file");
            let part = curl(&unlag, protocol, "/large.bin", &["--range", "1000000-1999999"]);
            assert_eq!(part.status, "206", "{protocol}");
            assert!(part.body == nginx.large[1_000_000..2_000_000], "{protocol}: the range");
            let later = ["--header", "If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT"];
            let unchanged = curl(&unlag, protocol, "/large.bin", &later);
            assert_eq!((unchanged.status.as_str(), unchanged.body.len()), ("304", 0), "{protocol}");
            let packed = curl(&unlag, protocol, "/words", &["--compressed"]);
            assert_eq!(String::from_utf8_lossy(&packed.body), WORDS, "{protocol}: gzip, in chunks");
            assert_eq!(curl(&unlag, protocol, "/moved", &[]).status, "301", "{protocol}");
        }
    });
}

#[test]
fn nginx_may_refuse_a_large_upload_before_it_has_come() {
    with_tools("curl and nginx", nginx_and_curl(), |program| {
        let nginx = Nginx::start(&program);
        let unlag = Setup::of(UNLAG).to([nginx.url()]).start();
        let upload = format!("@{}", nginx.directory.path().join("large.bin").display());
        for protocol in PROTOCOLS {
            let refused = curl(&unlag, protocol, "/small-uploads", &["--data-binary", &upload]);
            assert_eq!(refused.status, "413", "{protocol}");
            assert_eq!(
                curl(&unlag, protocol, "/small.txt", &[]).body,
                b"small\n",
                "{protocol}: the next one"
            );
        }
    });
}

fn websocket_tools() -> Found<(Command, Command)> {
    Ok((python_with_packages()?, node_with_packages()?))
}

#[test]
fn a_websocket_conversation_passes_both_ways() {
    with_tools("WebSocket", websocket_tools(), |(mut python, mut node)| {
        python.arg(test_file("websocket/echo.py"));
        let server = Server::start(python, "listening ");
        let unlag = Setup::of(UNLAG).to([server.url()]).start();
        node.arg(test_file("websocket/talk.cjs")).arg(unlag.address().rsplit(':').next().unwrap_or_default());
        let output = run_client(node);
        assert!(output.status.success() && output.stdout == b"ok\n", "{}", shown(&output));
    });
}

#[test]
fn a_load_generator_with_many_streams_sees_no_failure() {
    with_tools("h2load", program("h2load", "nghttp2-client").map(Command::new), |mut h2load| {
        let origin = RawOrigin::ok("hello\n");
        let unlag = Setup::of(UNLAG).to([origin.url()]).start();
        h2load.args(["--requests", "5000", "--clients", "8", "--max-concurrent-streams", "16"]);
        h2load.arg(format!("http://{}/", unlag.address()));
        let output = run_client(h2load);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let all = said.contains("5000 succeeded, 0 failed, 0 errored, 0 timeout");
        assert!(all && said.contains("5000 2xx"), "{}", shown(&output));
    });
}
