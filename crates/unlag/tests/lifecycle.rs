//! Starting, draining and stopping: rows L1 and L11, and the exit codes.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use unlag_testkit::origin::ok;
use unlag_testkit::process::Directory;
use unlag_testkit::wait::pause;
use unlag_testkit::{Gate, RawClient, RawOrigin, ReadError, Script, Setup, Unlag, wait_until};

const UNLAG: &str = env!("CARGO_BIN_EXE_unlag");

/// Callers that ask again and again until they are told to close, or nobody listens any more.
struct Load {
    callers: Vec<JoinHandle<Vec<String>>>,
    answered: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    /// The process has been told to stop.
    stopping: Arc<AtomicBool>,
}

impl Load {
    fn on(unlag: &Unlag, callers: usize) -> Load {
        let (answered, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let stopping = Arc::new(AtomicBool::new(false));
        let callers = (0..callers).map(|_| {
            let (address, answered) = (unlag.address().to_owned(), answered.clone());
            let (stop, stopping) = (stop.clone(), stopping.clone());
            std::thread::spawn(move || ask_until_refused(&address, &answered, &stop, &stopping))
        });
        let callers = callers.collect();
        Load { callers, answered, stop, stopping }
    }

    fn wait_for(&self, answers: usize) {
        wait_until(&format!("{answers} answers"), || self.answered.load(Ordering::Relaxed) >= answers);
    }

    fn failures(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.callers.into_iter().flat_map(|caller| caller.join().expect("a caller")).collect()
    }
}

fn ask_until_refused(
    address: &str,
    answered: &AtomicUsize,
    stop: &AtomicBool,
    stopping: &AtomicBool,
) -> Vec<String> {
    let mut failures = Vec::new();
    while let Ok(mut client) = RawClient::try_connect(address) {
        for on_this_connection in 0.. {
            if stop.load(Ordering::Relaxed) {
                return failures;
            }
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            match client.try_read_response("GET") {
                Ok(response) if response.status() == 200 => {
                    answered.fetch_add(1, Ordering::Relaxed);
                    if response.closes() {
                        break;
                    }
                }
                // A server that stops may close an idle connection while the next request is on its way; a caller repeats
                // it. One that was just opened is served, whatever the server is about to do.
                Err(ReadError::Closed) if on_this_connection > 0 && stopping.load(Ordering::Relaxed) => break,
                Ok(response) => failures.push(format!("status {}: {}", response.status(), response.text())),
                Err(error) => {
                    failures.push(error.to_string());
                    break;
                }
            }
        }
    }
    failures
}

#[test]
fn l1_sigterm_under_load_fails_no_request_and_exits_0() {
    let origin = RawOrigin::always(Script::new().answer(|_| {
        pause(Duration::from_millis(5));
        ok("fine")
    }));
    let mut unlag = Setup::of(UNLAG).to([origin.url()]).limit("drain_timeout", "\"5s\"").start();
    let load = Load::on(&unlag, 16);
    load.wait_for(500);
    load.stopping.store(true, Ordering::Relaxed);
    unlag.signal("TERM");
    assert_eq!(unlag.wait_for_exit(), Some(0));
    assert_eq!(load.failures(), Vec::<String>::new());
}

/// Callers who open a connection for each request, until nobody listens any more; what went wrong for them.
fn strangers(unlag: &Unlag, count: usize, answered: &Arc<AtomicUsize>) -> Vec<JoinHandle<Vec<String>>> {
    let one = |_| {
        let (address, answered) = (unlag.address().to_owned(), answered.clone());
        std::thread::spawn(move || {
            let mut failures = Vec::new();
            while let Ok(mut client) = RawClient::try_connect(&address) {
                client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
                match client.try_read_response("GET") {
                    Ok(response) if response.status() == 200 => {
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(response) => failures.push(format!("status {}", response.status())),
                    Err(error) => failures.push(error.to_string()),
                }
            }
            failures
        })
    };
    (0..count).map(one).collect()
}

#[test]
fn l1_a_connection_that_was_opened_is_served_even_while_the_workers_stop_listening() {
    let origin = RawOrigin::ok("fine");
    for round in 0..4 {
        let mut unlag = Setup::of(UNLAG).to([origin.url()]).start();
        let answered = Arc::default();
        let callers = strangers(&unlag, 8, &answered);
        wait_until("many have been answered", || answered.load(Ordering::Relaxed) > 200);
        unlag.signal("TERM");
        let failures = callers.into_iter().flat_map(|caller| caller.join().expect("a caller"));
        assert_eq!(failures.collect::<Vec<_>>(), Vec::<String>::new(), "round {round}");
        assert_eq!(unlag.wait_for_exit(), Some(0));
    }
}

#[test]
fn l1_a_lame_duck_serves_everybody_while_it_says_that_it_is_about_to_stop() {
    let origin = RawOrigin::ok("fine");
    let mut unlag = Setup::of(UNLAG).to([origin.url()]).limit("lame_duck", "\"3s\"").start();
    let mut kept = unlag.connect();
    assert_eq!(kept.get("/").text(), "fine");
    assert_eq!(unlag.admin("/readyz").status(), 200);
    let asked = Instant::now();
    unlag.signal("TERM");
    wait_until("it says that it is about to stop", || unlag.admin("/readyz").status() == 503);
    for _ in 0..20 {
        let response = unlag.get("/");
        assert_eq!((response.text().as_str(), response.closes()), ("fine", false));
    }
    assert_eq!(kept.get("/").text(), "fine");
    assert_eq!(unlag.wait_for_exit(), Some(0));
    assert!(asked.elapsed() >= Duration::from_secs(3), "it stopped after {:?}", asked.elapsed());
}

#[test]
fn l1_a_tunnel_lives_until_the_drain_is_over_and_does_not_make_it_a_failure() {
    let switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let origin = RawOrigin::always(Script::new().head().send(switching).echo());
    let mut unlag = Setup::of(UNLAG).to([origin.url()]).limit("drain_timeout", "\"3s\"").start();
    let mut tunnel = unlag.connect();
    tunnel.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(tunnel.read_response("GET").status(), 101);
    let asked = Instant::now();
    unlag.signal("TERM");
    let address = unlag.address().to_owned();
    wait_until("nobody accepts any more", || RawClient::try_connect(&address).is_err());
    tunnel.send("still here");
    assert_eq!(tunnel.read_exact(10).expect("the echo"), b"still here");
    tunnel.expect_closed();
    assert!(asked.elapsed() >= Duration::from_secs(3), "it was closed after {:?}", asked.elapsed());
    assert_eq!(unlag.wait_for_exit(), Some(0));
}

#[test]
fn l1_a_request_in_flight_is_finished_with_connection_close() {
    let finish = Gate::new();
    let script = Script::new().request().wait(&finish).send(ok("worth waiting for")).silence();
    let origin = RawOrigin::always(script);
    let mut unlag = Setup::of(UNLAG).to([origin.url()]).start();
    let mut client = unlag.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    origin.wait_for_requests(1);
    unlag.signal("TERM");
    let address = unlag.address().to_owned();
    wait_until("nobody accepts any more", || RawClient::try_connect(&address).is_err());
    assert!(unlag.is_running(), "it waits for the request in flight");
    finish.open();
    let response = client.read_response("GET");
    assert_eq!(response.text(), "worth waiting for");
    assert!(response.closes());
    assert_eq!(unlag.wait_for_exit(), Some(0));
}

#[test]
fn l1_the_drain_timeout_bounds_how_long_a_stuck_request_is_waited_for() {
    let origin = RawOrigin::always(Script::new().request().silence());
    let mut unlag = Setup::of(UNLAG).to([origin.url()]).limit("drain_timeout", "\"300ms\"").start();
    let mut client = unlag.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    origin.wait_for_requests(1);
    let asked = Instant::now();
    unlag.signal("TERM");
    assert!(unlag.wait_for_exit().is_some(), "it exits by itself");
    assert!(asked.elapsed() < Duration::from_secs(5), "took {:?}", asked.elapsed());
}

#[test]
fn l1_idle_connections_do_not_hold_up_the_drain() {
    let origin = RawOrigin::ok("fine");
    let mut unlag = Setup::of(UNLAG).to([origin.url()]).start();
    let mut idle: Vec<RawClient> = (0..50).map(|_| unlag.connect()).collect();
    idle.iter_mut().take(25).for_each(|client| assert_eq!(client.get("/").text(), "fine"));
    let asked = Instant::now();
    unlag.signal("TERM");
    assert_eq!(unlag.wait_for_exit(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(8), "took {:?}", asked.elapsed());
}

#[test]
fn l11_a_second_sigterm_exits_now() {
    let origin = RawOrigin::always(Script::new().request().silence());
    let mut unlag = Setup::of(UNLAG).to([origin.url()]).limit("drain_timeout", "\"60s\"").start();
    let mut client = unlag.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    origin.wait_for_requests(1);
    let address = unlag.address().to_owned();
    unlag.signal("TERM");
    wait_until("the drain has begun", || RawClient::try_connect(&address).is_err());
    let again = Instant::now();
    unlag.signal("TERM");
    unlag.wait_for_exit();
    assert!(again.elapsed() < Duration::from_secs(3), "took {:?}", again.elapsed());
}

#[test]
fn l11_a_storm_of_sighup_is_survived_and_the_config_stays_in_force() {
    let origin = RawOrigin::ok("fine");
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    for _ in 0..100 {
        unlag.signal("HUP");
    }
    unlag.wait_for_log("reloaded");
    for _ in 0..20 {
        assert_eq!(unlag.get("/").text(), "fine");
    }
}

#[test]
fn l11_sigterm_in_the_middle_of_reloads_still_exits_0() {
    let origin = RawOrigin::ok("fine");
    let mut unlag = Setup::of(UNLAG).to([origin.url()]).start();
    for _ in 0..20 {
        unlag.signal("HUP");
    }
    unlag.signal("TERM");
    assert_eq!(unlag.wait_for_exit(), Some(0));
}

#[test]
fn a_token_that_others_can_read_is_refused_and_one_of_our_own_is_used_again() {
    use std::os::unix::fs::PermissionsExt;
    let setup = Setup::of(UNLAG).to(["http://127.0.0.1:1"]);
    let directory = Directory::new();
    let (config, token) = (directory.path().join("unlag.toml"), directory.path().join("state/admin.token"));
    std::fs::write(&config, setup.config_text(directory.path())).expect("the config");
    let start = || setup.clone().arguments(["-c", &config.display().to_string()]).try_start();
    let read = || std::fs::read_to_string(&token).expect("the token");
    drop(start().expect("the first start"));
    let first = read();
    drop(start().expect("the second start"));
    assert_eq!(read(), first);
    let mode = |mode| std::fs::set_permissions(&token, std::fs::Permissions::from_mode(mode)).expect("chmod");
    mode(0o644);
    let error = start().err().expect("a refusal");
    assert_eq!(error.code, Some(1));
    assert!(error.stderr.contains("chmod 600") && error.stderr.contains("admin.token"), "{error:?}");
    mode(0o600);
    drop(start().expect("the third start"));
    std::fs::rename(&token, token.with_extension("elsewhere")).expect("move it");
    std::os::unix::fs::symlink(token.with_extension("elsewhere"), &token).expect("a link");
    assert!(start().is_err(), "a link in its place");
}

fn exit_code(arguments: &[&str], directory: &Directory) -> Option<i32> {
    let mut command = Command::new(UNLAG);
    command.args(arguments).current_dir(directory.path()).env("XDG_RUNTIME_DIR", directory.path());
    command.output().expect("run unlag").status.code()
}

#[test]
fn exit_codes_tell_usage_config_and_failure_apart() {
    let directory = Directory::new();
    let write = |text: &str| std::fs::write(directory.path().join("unlag.toml"), text).expect("the config");
    assert_eq!(exit_code(&["run", "--no-such-flag"], &directory), Some(2));
    write("[[listen]]\naddres = \"127.0.0.1:0\"\n");
    assert_eq!(exit_code(&["check"], &directory), Some(78));
    assert_eq!(exit_code(&["run", "-c", "unlag.toml"], &directory), Some(78));
    write(&Setup::of(UNLAG).to(["http://127.0.0.1:1"]).config_text(directory.path()));
    assert_eq!(exit_code(&["check", "-c", "unlag.toml"], &directory), Some(0));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let keys = format!("address = \"{}\"", taken.local_addr().expect("bound"));
    write(&Setup::of(UNLAG).to(["http://127.0.0.1:1"]).listen(&keys).config_text(directory.path()));
    assert_eq!(exit_code(&["run", "-c", "unlag.toml"], &directory), Some(1), "a port in use is a failure");
}

#[test]
fn whoever_reads_that_it_is_ready_may_signal_it_at_once() {
    for round in 0..20 {
        let directory = Directory::new();
        let options =
            ["run", "--to", "http://127.0.0.1:1", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
        let mut command = Command::new(UNLAG);
        command.args(options).current_dir(directory.path()).env("XDG_RUNTIME_DIR", directory.path());
        let mut child = command.stderr(Stdio::piped()).spawn().expect("a process");
        // Read here, line by line, so that nothing lies between the line and the look.
        let mut lines = BufReader::new(child.stderr.take().expect("its stderr")).lines();
        let is_ready = lines.any(|line| line.is_ok_and(|line| line.contains("\"ready\"")));
        let caught = caught_signals(child.id());
        child.kill().and_then(|()| child.wait()).expect("its end");
        assert!(is_ready, "round {round}: it did not start");
        for (name, number) in [("HUP", 1), ("INT", 2), ("USR1", 10), ("TERM", 15)] {
            assert!(caught & 1 << (number - 1) != 0, "round {round}: {name} would have ended it");
        }
    }
}

/// The signals for which a process has a handler, as bits.
fn caught_signals(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).expect("SigCgt");
    u64::from_str_radix(caught.trim(), 16).expect("a mask")
}
