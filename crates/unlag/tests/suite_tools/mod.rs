//! What the third-party suites share: finding their tools, starting a server that says where it listens, and the
//! one way to skip a suite that lacks a tool. A skip is a failure where `UNLAG_SUITES=required`, as in CI.
#![allow(dead_code, reason = "each suite uses its part")]

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::time::Duration;

pub(crate) use unlag_testkit::skip::skip;
use unlag_testkit::wait::holds_within;

/// The binary under test.
pub(crate) const UNLAG: &str = env!("CARGO_BIN_EXE_unlag");

/// How long a client of a suite may take: far longer than any takes on a loaded two-core machine, a browser's first start included.
const CLIENT_DEADLINE: Duration = Duration::from_secs(150);

/// A tool that is not here, and how to get it.
pub(crate) struct Missing(String);

/// The result of looking for a tool.
pub(crate) type Found<T> = Result<T, Missing>;

/// Runs the suite when `tools` are there; else leaves a note, or fails where suites are required.
pub(crate) fn with_tools<T>(suite: &str, tools: Found<T>, run: impl FnOnce(T)) {
    match tools {
        Ok(tools) => run(tools),
        Err(Missing(reason)) => skip(suite, &reason),
    }
}

/// The folder that `cargo xtask setup` fills.
fn tools() -> PathBuf {
    let set = std::env::var_os("UNLAG_TOOLS").map(PathBuf::from);
    set.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools"))
}

fn from_setup(what: &str, file: &Path) -> Found<PathBuf> {
    let there = file.exists().then(|| file.to_path_buf());
    there.ok_or_else(|| Missing(format!("{what}: not here, `cargo xtask setup` gets it")))
}

/// The Python of `setup`, with its packages.
pub(crate) fn python_with_packages() -> Found<Command> {
    let what = "the Python packages of the suites";
    // The stamp comes after the packages; the program alone may stem from a setup that did not end.
    from_setup(what, &tools().join("stamps/Python-packages"))?;
    let program = from_setup(what, &tools().join("python/bin/python"))?;
    let mut python = Command::new(program);
    python.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONUNBUFFERED", "1");
    Ok(python)
}

/// Node, with the packages of `setup`.
pub(crate) fn node_with_packages() -> Found<Command> {
    let modules = from_setup("the Node packages of the suites", &tools().join("node/node_modules"))?;
    let mut node = Command::new(program("node", "nodejs")?);
    node.env("NODE_PATH", modules);
    Ok(node)
}

/// The runner of the HTTP/2 cases.
pub(crate) fn h2cases() -> Found<Command> {
    from_setup("the runner of the HTTP/2 cases", &tools().join("bin/h2cases")).map(Command::new)
}

/// A program of the system; `package` is what Debian calls it.
pub(crate) fn program(name: &str, package: &str) -> Found<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    places.push("/usr/sbin".into());
    let found = places.into_iter().map(|place| place.join(name)).find(|file| file.is_file());
    found.ok_or_else(|| {
        Missing(format!("{name}: not here (Debian: {package}), `cargo xtask setup` may get it"))
    })
}

/// A file of this crate's `tests` folder.
pub(crate) fn test_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

/// A server process; killed when dropped, and ends by itself when its stdin does.
pub(crate) struct Server {
    child: Child,
    /// Held open: the servers of the suites end with it, even when the test is killed.
    _stdin: Option<ChildStdin>,
    /// Where it listens.
    pub(crate) port: u16,
}

impl Server {
    /// Starts a server and reads its port from the first line of its stdout, which has the port behind `marker`.
    pub(crate) fn start(mut command: Command, marker: &str) -> Server {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdin = child.stdin.take();
        let mut stdout = BufReader::new(child.stdout.take().expect("a piped stdout"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("its first line");
        let digits =
            line.split_once(marker).map(|(_, rest)| rest.split(|c: char| !c.is_ascii_digit()).next());
        let port = digits.flatten().and_then(|digits| digits.parse().ok());
        let port = port.unwrap_or_else(|| panic!("{command:?} does not say where it listens: {line:?}"));
        // What it prints later must not fill the pipe.
        std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
        Server { child, _stdin: stdin, port }
    }

    /// As an endpoint in the config.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a client to its end; one that does not come to it is killed and fails the test.
pub(crate) fn run_client(mut command: Command) -> Output {
    let shown = format!("{command:?}");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{shown}: {error}"));
    let (stdout, stderr) = (drain(child.stdout.take()), drain(child.stderr.take()));
    let mut status = None;
    let ended = holds_within(CLIENT_DEADLINE, || {
        status = child.try_wait().expect("its status");
        status.is_some()
    });
    if !ended {
        let _ = child.kill();
        let _ = child.wait();
    }
    let (stdout, stderr) = (stdout.join().expect("a reader"), stderr.join().expect("a reader"));
    let Some(status) = status else {
        panic!("{shown} did not end within {CLIENT_DEADLINE:?}\n{}", String::from_utf8_lossy(&stderr));
    };
    Output { status, stdout, stderr }
}

fn drain(source: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before an error is what the test has to show.
        let _ = source.expect("a pipe").read_to_end(&mut bytes);
        bytes
    })
}

/// Both streams of a client, to show when it failed.
pub(crate) fn shown(output: &Output) -> String {
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{}\n--- stdout\n{stdout}--- stderr\n{stderr}", output.status)
}
