//! `unlag run`: starts the system, then listens for signals and for changes of the config file until it is told to stop.

use crate::args::RunOptions;
use crate::system::{self, Loaded, System};
use crate::watch::{self, Watched};
use crate::{Failed, logging, token};
use anyhow::{Context, Result, anyhow};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use unlag_config::{AccessLog, Address, Config, Sample};
use unlag_console::{Console, Listener, PutError, Token};
use unlag_engine::Engine;
use unlag_record::{Bounds, DEFAULT_WAITING_LINES, Registry, Sink};

/// How often the config file is looked at. A change is taken once the file has stood still for as long.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);
/// What `access_log_sample = "slow"` means until slowness is learned per route.
const SLOW_NS: u64 = 1_000_000_000;

/// Runs the command.
pub(crate) fn run(options: RunOptions) -> Result<(), Failed> {
    let guard = logging::start();
    system::raise_descriptor_limit();
    let workers = options
        .workers
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |cores| cores.get()));
    let started = match &options.to {
        Some(url) => start_without_file(url, &options, workers),
        None => start_from_file(&options.config, workers),
    };
    let Started { system, console, stop, watched } = match started {
        Ok(started) => started,
        Err(failed) => {
            drop(guard);
            return Err(failed);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let signals = {
        let _entered = runtime.enter();
        Signals::listen().context("cannot listen for signals")?
    };
    say_ready(workers, &console);
    let files = options.to.is_none().then_some((options.config, watched));
    let finished = runtime.block_on(steer(&system, files, signals, stop));
    console.shutdown();
    tracing::info!(finished, "stopped");
    drop(guard);
    if finished { Ok(()) } else { Err(anyhow!("stopped before everything in flight had finished").into()) }
}

/// How it stops.
#[derive(Clone, Copy)]
struct Stop {
    lame_duck: Duration,
    drain: Duration,
}

/// What runs.
struct Started {
    system: Arc<System>,
    console: Console,
    stop: Stop,
    /// The files that are in force, as they were before they were read: what changes in between is noticed as a change.
    watched: Watched,
}

/// What the process is told by signals. Until it listens they end it, so it does before it says that it is ready.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    reopen: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            reopen: signal(SignalKind::user_defined1())?,
        })
    }
}

/// From here on it does what it is told.
fn say_ready(workers: usize, console: &Console) {
    tracing::info!(workers, version = env!("CARGO_PKG_VERSION"), "ready");
    if std::io::stderr().is_terminal() {
        let admin = console.address().map(|address| format!(" --admin http://{address}")).unwrap_or_default();
        tracing::info!(
            "why a request took as long as it did: unlag explain ID{admin}, with its x-request-id"
        );
    }
}

fn start_from_file(file: &Path, workers: usize) -> Result<Started, Failed> {
    let mut watched = Watched::default();
    watched.take(file, Vec::new());
    let read = crate::check::read(file)?;
    let Loaded { config, text, warnings, absent } =
        read.and_then(|text| system::load(text, file)).map_err(|problems| {
            eprintln!("{problems}");
            Failed::Config
        })?;
    if !absent.is_empty() {
        absent.iter().for_each(|problem| eprintln!("{problem}"));
        return Err(anyhow!("what the config names is not there").into());
    }
    for warning in warnings {
        tracing::warn!(warning, "config");
    }
    watched.take_named(watch::named_files(&config));
    let token = match &config.admin.token {
        Some(secret) if secret.is_resolved() => secret.expose().to_owned(),
        // `check` needs no environment; to run without the token that was meant would let another one in.
        Some(_) => {
            return Err(
                anyhow!("admin.token: what it refers to is not there; `unlag check` says what").into()
            );
        }
        None => token::in_directory(&config.state.directory)?,
    };
    let listener = listen_admin(&config.admin.address)?;
    let source = file.display().to_string();
    let started = start(&config, workers, Some(file.to_owned()), source, text, listener, &token)?;
    Ok(Started { watched, ..started })
}

fn start_without_file(url: &str, options: &RunOptions, workers: usize) -> Result<Started, Failed> {
    let mut config = Config::to_upstream(url, &options.listen).map_err(|problems| {
        eprintln!("{problems}");
        Failed::Usage
    })?;
    system::bound_connections(&mut config);
    if std::io::stderr().is_terminal() {
        // Whoever tries it out sees what each request cost.
        config.monitor.access_log = AccessLog::Stderr;
    }
    let listener = match &options.admin {
        Some(address) => {
            let address = address.parse().map_err(|_| {
                eprintln!("unlag: --admin {address}: an address such as 127.0.0.1:9900 is expected");
                Failed::Usage
            })?;
            listen_admin(&Address::Tcp(address))?
        }
        None => listen_admin(&config.admin.address).or_else(|_| {
            tracing::warn!(taken = %config.admin.address, "the admin port is taken, another one is used");
            listen_admin(&Address::Tcp(([127, 0, 0, 1], 0).into()))
        })?,
    };
    let token = token::in_runtime_directory()?;
    start(&config, workers, None, format!("--to {url}"), String::new(), listener, &token)
}

fn listen_admin(address: &Address) -> Result<Listener> {
    match address {
        Address::Tcp(address) => {
            let listener = std::net::TcpListener::bind(address)
                .with_context(|| format!("admin: cannot listen on {address}"))?;
            Ok(Listener::Tcp(listener))
        }
        Address::Unix(path) => {
            let listener = unlag_engine::listen::unix(path)
                .with_context(|| format!("admin: cannot listen on {}", path.display()))?;
            Ok(Listener::Unix(listener))
        }
    }
}

fn start(
    config: &Config,
    workers: usize,
    file: Option<PathBuf>,
    source: String,
    text: String,
    admin: Listener,
    token: &str,
) -> Result<Started, Failed> {
    let registry = registry(config)?;
    let engine = match Engine::start(config, workers, registry) {
        Ok(engine) => engine,
        Err(error @ (unlag_engine::EngineError::Plan(_) | unlag_engine::EngineError::Tls(_))) => {
            eprintln!("unlag: {error}");
            return Err(Failed::Config);
        }
        Err(error) => return Err(error.into()),
    };
    for address in engine.addresses() {
        tracing::info!(kind = "proxy", address = %address, "listening");
    }
    let system = Arc::new(System::new(engine, config, file, source, text));
    let console =
        Console::start(admin, Token::new(token), Arc::clone(&system) as Arc<dyn unlag_console::Plane>)?;
    match console.address() {
        Some(address) => tracing::info!(kind = "admin", address = %address, "listening"),
        None => tracing::info!(kind = "admin", address = %config.admin.address, "listening"),
    }
    let stop = Stop { lame_duck: config.limits.lame_duck, drain: config.limits.drain_timeout };
    Ok(Started { system, console, stop, watched: Watched::default() })
}

/// Where exchanges are recorded, with the access log that the configuration asks for.
pub(crate) fn registry(config: &Config) -> Result<Arc<Registry>> {
    let sink = match &config.monitor.access_log {
        AccessLog::Off => None,
        AccessLog::Stderr if std::io::stderr().is_terminal() => Some(Sink::Terminal),
        AccessLog::Stderr => Some(Sink::Stderr),
        AccessLog::File(path) => Some(Sink::File(path.clone())),
    };
    let sample = match config.monitor.access_log_sample {
        Sample::All => unlag_record::Sample::All,
        Sample::Slow => unlag_record::Sample::Slow(SLOW_NS),
        Sample::Share(share) => unlag_record::Sample::Share(share),
    };
    let log =
        sink.map(|sink| unlag_record::AccessLog::start(sink, sample, DEFAULT_WAITING_LINES)).transpose();
    let log = log.context("cannot open the access log")?;
    Ok(Registry::new(Bounds { series: config.limits.label_series, ..Bounds::default() }, log))
}

/// Waits for signals and file changes; returns whether everything in flight had finished.
async fn steer(
    system: &Arc<System>,
    files: Option<(PathBuf, Watched)>,
    signals: Signals,
    stop: Stop,
) -> bool {
    let Signals { mut terminate, mut interrupt, mut hangup, mut reopen } = signals;
    let mut watch = tokio::time::interval(WATCH_INTERVAL);
    let (file, watched) = files.unzip();
    let mut watched = watched.unwrap_or_default();
    let reload = |watched: &mut Watched, file: &Path| {
        // Looked at before they are read: what changes in between is noticed as a change.
        watched.take(file, system.named_files());
        report(system.reload());
    };
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => match &file {
                Some(file) => reload(&mut watched, file),
                None => report(system.reload()),
            },
            _ = reopen.recv() => if let Some(log) = system.engine.shared().registry.log() { log.reopen() },
            _ = watch.tick() => if let Some(file) = &file {
                let changed = watched.look(file, system.named_files());
                let other_text = || std::fs::read_to_string(file).is_ok_and(|text| system.differs(&text));
                if changed.named || changed.config && other_text() {
                    reload(&mut watched, file);
                } else if changed.config {
                    system.forget_error();
                }
            },
        }
    }
    if !stop.lame_duck.is_zero() {
        tracing::info!(for_ms = stop.lame_duck.as_millis() as u64, "about to stop");
        system.engine.announce_stop();
        tokio::select! {
            () = tokio::time::sleep(stop.lame_duck) => {}
            _ = terminate.recv() => return false,
            _ = interrupt.recv() => return false,
        }
    }
    let grace = stop.drain;
    tracing::info!(grace_ms = grace.as_millis() as u64, "draining");
    let now = Arc::new(AtomicBool::new(false));
    let (draining, give_up) = (Arc::clone(system), Arc::clone(&now));
    let drained = tokio::task::spawn_blocking(move || draining.engine.drain(grace, || give_up.load(Relaxed)));
    tokio::pin!(drained);
    loop {
        tokio::select! {
            finished = &mut drained => return finished.unwrap_or(false),
            _ = terminate.recv() => now.store(true, Relaxed),
            _ = interrupt.recv() => now.store(true, Relaxed),
        }
    }
}

fn report(result: Result<unlag_console::Applied, PutError>) {
    match result {
        Ok(applied) => {
            for warning in &applied.warnings {
                tracing::warn!(warning, "config");
            }
            tracing::info!(hash = applied.hash, "reloaded");
        }
        Err(PutError::Invalid(reason) | PutError::Io(reason)) => tracing::error!(reason, "reload refused"),
        Err(PutError::ReadOnly) => tracing::error!(reason = "there is no config file", "reload refused"),
        Err(PutError::Conflict(_) | PutError::Edited) => {}
    }
}
