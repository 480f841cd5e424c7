//! Proxies as child processes: pinned, paused while others are measured, and ended whatever happens.

use std::ffi::OsString;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crate::cpu;

/// How long a process may take to end by itself.
const STOP_TIME: Duration = Duration::from_secs(3);

/// Ends everything that was started when the program is interrupted.
#[derive(Debug, Clone)]
pub(crate) struct Interrupt {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Process groups that run now.
    groups: Mutex<Vec<Pid>>,
    directory: Mutex<Option<PathBuf>>,
    never: Condvar,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Interrupt {
    /// Watches for SIGINT and SIGTERM on a thread of its own.
    pub(crate) fn watch() -> Result<Self> {
        let shared = Arc::<Shared>::default();
        let watched = Arc::clone(&shared);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("interrupt".into()).spawn(move || {
            runtime.block_on(async {
                use tokio::signal::unix::{SignalKind, signal};
                let Ok(mut terminate) = signal(SignalKind::terminate()) else { return };
                tokio::select! {
                    _ = tokio::signal::ctrl_c() => {}
                    _ = terminate.recv() => {}
                }
                watched.end_all();
                std::process::exit(130);
            });
        })?;
        Ok(Self { shared })
    }

    /// Lets time pass.
    pub(crate) fn pause(&self, time: Duration) {
        let until = Instant::now() + time;
        let mut guard = lock(&self.shared.groups);
        while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            guard = self.shared.never.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Shared {
    fn end_all(&self) {
        for group in lock(&self.groups).drain(..) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        if let Some(directory) = lock(&self.directory).take() {
            let _ = fs::remove_dir_all(directory);
        }
    }
}

/// A temporary directory for configs and logs; removed when dropped.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) path: PathBuf,
}

impl Directory {
    pub(crate) fn create(interrupt: &Interrupt) -> Result<Self> {
        static CREATED: AtomicU64 = AtomicU64::new(0);
        let (process, number) = (std::process::id(), CREATED.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(format!("unlag-lab-{process}-{number}"));
        fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
        *lock(&interrupt.shared.directory) = Some(path.clone());
        Ok(Self { path })
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// What to start.
#[derive(Debug)]
pub(crate) struct Launch {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) environment: Vec<(&'static str, OsString)>,
    /// Where it will serve HTTP/1.1.
    pub(crate) http1: SocketAddr,
    /// Where it will serve cleartext HTTP/2.
    pub(crate) http2: SocketAddr,
    /// Where it will say how it is.
    pub(crate) admin: Option<SocketAddr>,
    pub(crate) directory: PathBuf,
}

/// A running proxy; ended when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    group: Pid,
    log: PathBuf,
    interrupt: Interrupt,
    /// Where it serves HTTP/1.1.
    pub(crate) http1: SocketAddr,
    /// Where it serves cleartext HTTP/2.
    pub(crate) http2: SocketAddr,
    /// Where it says how it is.
    pub(crate) admin: Option<SocketAddr>,
}

impl Process {
    /// Starts a proxy on the given cores (`"0"`, `"0,1"`), as a process group of its own.
    pub(crate) fn start(launch: &Launch, cores: &str, interrupt: &Interrupt) -> Result<Self> {
        let log = launch.directory.join("log");
        let output = File::create(&log)?;
        let mut command = Command::new("taskset");
        command.arg("-c").arg(cores).arg(&launch.program).args(&launch.arguments);
        command.envs(launch.environment.iter().map(|(name, value)| (name, value)));
        command.current_dir(&launch.directory).process_group(0);
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        // Held while the child is started, so that an interrupt cannot fall between start and entry.
        let mut groups = lock(&interrupt.shared.groups);
        let child = command.spawn().with_context(|| format!("cannot start {}", launch.program.display()))?;
        let group = Pid::from_child(&child);
        groups.push(group);
        drop(groups);
        let Launch { http1, http2, admin, .. } = *launch;
        Ok(Self { child, group, log, interrupt: interrupt.clone(), http1, http2, admin })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `is_ready`, the end of the process, or 15 s.
    pub(crate) fn wait_until(&mut self, mut is_ready: impl FnMut() -> bool) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(15);
        while !is_ready() {
            if self.has_ended() {
                bail!("it ended: {}", self.last_words());
            }
            if Instant::now() > deadline {
                bail!("it does not answer after 15 s: {}", self.last_words());
            }
            self.interrupt.pause(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Whether the process has ended. It is not reaped here, so its number, and its group's, stay its own.
    fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        !matches!(waitid(WaitId::Pid(self.group), options), Ok(None))
    }

    fn last_words(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().rev().filter(|line| !line.trim().is_empty()).take(3).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }

    /// Stops it from running until [`Process::resume`].
    pub(crate) fn pause(&self) {
        let _ = kill_process_group(self.group, Signal::STOP);
    }

    /// Lets it run again.
    pub(crate) fn resume(&self) {
        let _ = kill_process_group(self.group, Signal::CONT);
    }

    /// CPU time used so far, in nanoseconds.
    pub(crate) fn cpu_ns(&self) -> u64 {
        cpu::tree_ns(self.id())
    }

    /// Resident memory, in bytes.
    pub(crate) fn memory_bytes(&self) -> u64 {
        cpu::tree_memory_bytes(self.id())
    }

    /// Bytes it has written to its log.
    pub(crate) fn log_bytes(&self) -> u64 {
        fs::metadata(&self.log).map_or(0, |metadata| metadata.len())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = kill_process_group(self.group, Signal::TERM);
        self.resume();
        let deadline = Instant::now() + STOP_TIME;
        while Instant::now() < deadline && !self.has_ended() {
            self.interrupt.pause(Duration::from_millis(10));
        }
        // Children of its own may be left. The group's number is taken until the wait below.
        let mut groups = lock(&self.interrupt.shared.groups);
        let _ = kill_process_group(self.group, Signal::KILL);
        let _ = self.child.wait();
        groups.retain(|group| *group != self.group);
    }
}

/// A loopback address that is free now.
pub(crate) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// Writes a config file of a proxy.
pub(crate) fn write_file(directory: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = directory.join(name);
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, directory: &Directory) -> Launch {
        let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        Launch {
            program: "sh".into(),
            arguments: vec!["-c".into(), script.into()],
            environment: vec![("MARK", "7".into())],
            http1: nowhere,
            http2: nowhere,
            admin: None,
            directory: directory.path.clone(),
        }
    }

    /// State of a process: R, S, T, Z; `None` when it is gone.
    fn state(pid: u32) -> Option<char> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    }

    fn until(interrupt: &Interrupt, mut condition: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !condition() {
            assert!(Instant::now() < deadline, "not within 10 s");
            interrupt.pause(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_process_and_its_children_are_paused_resumed_and_ended_together() {
        let interrupt = Interrupt::watch().expect("watches");
        let directory = Directory::create(&interrupt).expect("creates");
        // The child ignores the polite signal, as a stuck worker does.
        let launch = shell("(trap '' TERM; while :; do sleep 0.05; done) & wait", &directory);
        let process = Process::start(&launch, "0", &interrupt).expect("starts");
        until(&interrupt, || cpu::process_tree(process.id()).len() >= 2);
        let child = cpu::process_tree(process.id())[1];
        process.pause();
        until(&interrupt, || state(child) == Some('T') && state(process.id()) == Some('T'));
        process.resume();
        until(&interrupt, || state(child) != Some('T'));
        let own = process.id();
        drop(process);
        assert_eq!(state(own), None);
        until(&interrupt, || matches!(state(child), None | Some('Z')));

        let mut ended =
            Process::start(&shell("echo mark $MARK; exit 3", &directory), "0", &interrupt).expect("starts");
        let error = format!("{:#}", ended.wait_until(|| false).expect_err("it ends"));
        assert!(error.contains("mark 7"), "{error}");
        drop(ended);
        assert!(lock(&interrupt.shared.groups).is_empty());
        let path = directory.path.clone();
        drop(directory);
        assert!(!path.exists());
    }
}
