//! A third-party server as a child process: on a port of its own that it keeps over restarts, in a directory of its own,
//! paused, killed and started again by the test.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::process::Directory;
use crate::skip::skip;
use crate::wait::{DEADLINE, holds_within};

/// How often another port is tried: between choosing and binding it, somebody else may take it.
const ATTEMPTS: usize = 5;

/// What a server is started with, given its port and directory.
type Arguments = Box<dyn Fn(u16, &Path) -> Vec<String> + Send + Sync>;

/// A server; dropping it kills the process and removes its directory.
pub struct Daemon {
    program: PathBuf,
    arguments: Arguments,
    greeting: (&'static str, &'static [&'static str]),
    directory: Directory,
    port: u16,
    child: Option<Child>,
}

/// A program of the system, or a skip of `suite`; `package` is what Debian calls it.
pub fn program(suite: &str, name: &str, package: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    places.push("/usr/sbin".into());
    let found = places.into_iter().map(|place| place.join(name)).find(|file| file.is_file());
    if found.is_none() {
        skip(suite, &format!("{name}: not here (Debian: {package}), `cargo xtask setup` may get it"));
    }
    found
}

/// A port that nobody has, at this moment.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("bound").port()
}

impl Daemon {
    /// Starts it on a free port and waits until it answers `greeting.0` with something that begins with one of `greeting.1`;
    /// an empty greeting waits until it accepts connections. `arguments` are made of its port and directory.
    pub(crate) fn start(
        program: PathBuf,
        arguments: impl Fn(u16, &Path) -> Vec<String> + Send + Sync + 'static,
        greeting: (&'static str, &'static [&'static str]),
    ) -> Daemon {
        let (directory, arguments) = (Directory::new(), Box::new(arguments));
        let mut daemon = Daemon { program, arguments, greeting, directory, port: 0, child: None };
        let started = (0..ATTEMPTS).any(|_| {
            daemon.port = free_port();
            daemon.launch()
        });
        assert!(started, "{} does not start: {}", daemon.program.display(), daemon.output());
        daemon
    }

    /// Its port, which it keeps.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Host and port.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Stops it in its tracks: it accepts connections and answers nothing.
    pub fn pause(&self) {
        self.signal("STOP");
        let state = || std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap_or_default();
        assert!(holds_within(DEADLINE, || state().contains(") T ")), "the process stops");
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    /// Ends it at once, without a chance to say good-bye.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it again on its port, after [`Daemon::kill`].
    pub fn restart(&mut self) {
        self.kill();
        let (mut started, port) = (false, self.port);
        // The port may be in use for a moment by somebody's outgoing connection.
        holds_within(DEADLINE, || {
            started = self.launch();
            started
        });
        assert!(started, "it does not start again on port {port}: {}", self.output());
    }

    /// What it has printed.
    pub fn output(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("output")).unwrap_or_default()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([format!("-{name}"), self.pid().to_string()]).status();
        assert!(status.expect("run kill").success(), "kill -{name}");
    }

    fn launch(&mut self) -> bool {
        let output =
            std::fs::File::create(self.directory.path().join("output")).expect("a file for its output");
        let mut command = Command::new(&self.program);
        command.args((self.arguments)(self.port, self.directory.path())).current_dir(self.directory.path());
        command.stdin(Stdio::null()).stderr(output.try_clone().expect("its output")).stdout(output);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", self.program.display()));
        let mut ended = false;
        holds_within(DEADLINE, || {
            ended = child.try_wait().expect("its status").is_some();
            ended || self.answers()
        });
        if ended || !self.answers() {
            let _ = child.kill();
            let _ = child.wait();
            return false;
        }
        self.child = Some(child);
        true
    }

    fn answers(&self) -> bool {
        let (question, answers) = self.greeting;
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else { return false };
        if question.is_empty() {
            return true;
        }
        let mut answer = [0; 64];
        let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
        let read = stream.write_all(question.as_bytes()).and_then(|()| stream.read(&mut answer));
        read.is_ok_and(|length| {
            let answer = String::from_utf8_lossy(&answer[..length]);
            answers.iter().any(|expected| answer.starts_with(expected))
        })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let output = self.output();
            let lines: Vec<&str> = output.lines().rev().take(10).collect();
            eprintln!(
                "--- the last lines of {}, last first\n{}\n---",
                self.program.display(),
                lines.join("\n")
            );
        }
        self.kill();
    }
}
