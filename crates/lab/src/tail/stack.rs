//! What an arm needs to be measured: replicas in a process of their own, the proxies before them, and load on those.

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::arm::Arm;
use super::caller::{self, Calling};
use super::configure::{Pool, UNLAG_FILE, configure};
use super::plan::{Call, Load, Phase};
use super::sample::Sample;
use super::scenario::Variant;
use super::trials::saved;
use crate::cpu::{Ticks, tree_ns};
use crate::peers::install::Installed;
use crate::peers::measure::answers;
use crate::peers::process::{Directory, Interrupt, Launch, Process, write_file};
use crate::peers::{LOAD_CORE, PROXY_CORE};
use crate::services::{Addresses, ReplicasSpec, ask};

/// Load before the clock is started: connections are opened, what is learned from load is learned.
const WARM_UP_S: f64 = 2.0;
/// Ids of the warm-up, which nothing else has.
const WARM_UP_ID: u64 = 1 << 48;
/// What was sent a moment ago has arrived after this.
const SETTLE: Duration = Duration::from_millis(100);

/// Where things are run.
pub(super) struct Place<'a> {
    pub(super) interrupt: &'a Interrupt,
    pub(super) directory: &'a Directory,
    /// This program, which also serves replicas.
    pub(super) lab: PathBuf,
}

/// One arm, running. Everything ends when it is dropped, the proxies first.
pub(super) struct Stack<'a> {
    proxies: Vec<Process>,
    _replicas: Process,
    addresses: Addresses,
    calling: Calling,
    pool: Pool,
    /// Where the arm says what its hold-outs took.
    trials: Option<SocketAddr>,
    variant: &'a Variant,
    place: &'a Place<'a>,
}

impl<'a> Stack<'a> {
    pub(super) fn start(
        place: &'a Place<'a>,
        variant: &'a Variant,
        arm: &Arm,
        installed: &Installed,
        round: usize,
    ) -> Result<Self> {
        let (replicas, addresses) = start_replicas(place, variant, round)?;
        let pool = pool(&place.directory.path, variant, &addresses)?;
        let mut proxies = Vec::new();
        let mut targets = Vec::new();
        for _ in 0..arm.processes {
            let inner = start_proxy(place, arm, installed, &pool)?;
            let mut target = inner.http1;
            proxies.push(inner);
            if arm.chain {
                let before = Pool { near: vec![target], far: Vec::new(), primary: None, file: None };
                let outer = start_proxy(place, arm, installed, &before)?;
                target = outer.http1;
                proxies.insert(0, outer);
            }
            targets.push(target);
        }
        let (attempts, attempt_timeout) = (variant.attempts, variant.attempt_timeout);
        let replicas_direct = addresses.replicas.clone();
        let calling = Calling { targets, replicas: replicas_direct, attempts, attempt_timeout };
        let trials = arm.holdout.and_then(|_| proxies.first()?.admin);
        Ok(Self { proxies, _replicas: replicas, addresses, calling, pool, trials, variant, place })
    }

    /// Load that is not counted.
    pub(super) fn warm_up(&self) -> Result<()> {
        let rate = self.variant.load.phases.first().map_or(100.0, |phase| phase.rate);
        let phases = vec![Phase { rate, requests: (rate * WARM_UP_S) as usize }];
        let load = Load { phases, ..self.variant.load.clone() };
        caller::run(load.calls(7, WARM_UP_ID), &self.calling).map(drop)
    }

    /// Sends the calls and says what came of them.
    pub(super) fn measure(&self, calls: Vec<Call>) -> Result<Sample> {
        let requests = calls.len();
        let cpu = || self.proxies.iter().map(Process::cpu_ns).sum::<u64>();
        self.addresses.start_clock()?;
        let (began, ticks, cpu_before, own_before) =
            (Instant::now(), Ticks::now(), cpu(), tree_ns(std::process::id()));
        let outcomes = self.while_replicas_change(|| caller::run(calls, &self.calling))?;
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).max(2) as f64;
        let cpu_ns = cpu().saturating_sub(cpu_before);
        let own = tree_ns(std::process::id()).saturating_sub(own_before) as f64 / 1e9;
        let elapsed = began.elapsed().as_secs_f64();
        let load_core = (own - cpu_ns as f64 / 1e9).max(0.0) / elapsed;
        let own = own / (elapsed * cores);
        let (steal, busy) = Ticks::now()
            .zip(ticks)
            .map_or((0.0, 0.0), |(now, before)| (now.steal_since(&before), now.busy_since(&before)));
        self.place.interrupt.pause(SETTLE);
        let report = self.addresses.report()?;
        let mut sample = Sample {
            steal,
            foreign: (busy - own).max(0.0),
            load_core,
            cpu_us: cpu_ns as f64 / 1e3 / requests.max(1) as f64,
            ..Sample::new(self.variant, &outcomes, report)
        };
        if let Some(admin) = self.trials {
            let saved = saved(&ask(admin, "GET /metrics")?, "hedge").context("nobody was held out")?;
            sample.facts.extend([("saved_ms", saved.ms), ("saved_error_ms", saved.error_ms)]);
        }
        Ok(sample)
    }

    /// Runs `during`, while the file that lists the replicas is written again and again where the variant wants that.
    fn while_replicas_change<T>(&self, during: impl FnOnce() -> T) -> T {
        let (Some(file), Some(period)) = (&self.pool.file, self.variant.churn) else { return during() };
        let (done, is_done) = mpsc::sync_channel::<()>(1);
        std::thread::scope(|scope| {
            let replicas = self.pool.near.as_slice();
            scope.spawn(move || {
                for quarter in 0.. {
                    let _ = list(file, replicas, quarter);
                    if !matches!(is_done.recv_timeout(period / 4), Err(mpsc::RecvTimeoutError::Timeout)) {
                        return;
                    }
                }
            });
            let result = during();
            drop(done);
            result
        })
    }
}

/// Whether unlag takes the configuration of an arm; the reason when it does not.
pub(super) fn refusal(
    place: &Place<'_>,
    variant: &Variant,
    arm: &Arm,
    installed: &Installed,
) -> Result<Option<String>> {
    if !arm.is_own() {
        return Ok(None);
    }
    // A config is looked at, not run: the replicas in it need not be there.
    let somewhere = |n: usize| SocketAddr::from(([127, 0, 0, 1], 1_000 + n as u16));
    let replicas = (0..variant.replicas.replicas.len()).map(somewhere).collect();
    let addresses = Addresses { replicas, control: somewhere(999) };
    let pool = pool(&place.directory.path, variant, &addresses)?;
    let launch = configure(arm, installed, &place.directory.path, &pool)?;
    let mut check = Command::new(&installed.binary);
    check.arg("check").arg("-c").arg(launch.directory.join(UNLAG_FILE)).stdin(Stdio::null());
    let output = check.output().context("cannot run unlag check")?;
    if output.status.success() {
        return Ok(None);
    }
    let said = [output.stderr, output.stdout].concat();
    let said = String::from_utf8_lossy(&said);
    let line = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("it says nothing");
    Ok(Some(line.trim().replace(&launch.directory.display().to_string(), "")))
}

fn start_replicas(place: &Place<'_>, variant: &Variant, round: usize) -> Result<(Process, Addresses)> {
    let directory = place.directory.path.join(format!("replicas-{}-{}", variant.name, next_number()));
    fs::create_dir(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
    // Other freezes in every round, and the same for all arms of one.
    let seed = variant.replicas.seed.wrapping_add(round as u64);
    let spec = ReplicasSpec { seed, ..variant.replicas.clone() };
    let spec = write_file(&directory, "spec.json", &serde_json::to_string(&spec)?)?;
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
    let arguments: Vec<OsString> = vec!["replicas".into(), "--spec".into(), spec.into()];
    let log = directory.join("log");
    let launch = Launch {
        program: place.lab.clone(),
        arguments,
        environment: Vec::new(),
        http1: nowhere,
        http2: nowhere,
        admin: None,
        directory,
    };
    let mut process = Process::start(&launch, &LOAD_CORE.to_string(), place.interrupt).context("replicas")?;
    let mut said = String::new();
    process
        .wait_until(|| {
            said = fs::read_to_string(&log).unwrap_or_default();
            said.contains('\n')
        })
        .context("replicas")?;
    let line = said.lines().next().unwrap_or("");
    let addresses = serde_json::from_str(line).with_context(|| format!("replicas: `{line}`"))?;
    Ok((process, addresses))
}

fn next_number() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn pool(directory: &Path, variant: &Variant, addresses: &Addresses) -> Result<Pool> {
    let (near, far) = addresses.replicas.split_at(variant.near.min(addresses.replicas.len()));
    let has_primary = variant.replicas.replicas.iter().any(|r| r.role == crate::services::Role::Primary);
    let file = directory.join(format!("replicas-{}.txt", next_number()));
    let file = variant.churn.map(|_| file);
    if let Some(file) = &file {
        list(file, near, 0)?;
    }
    Ok(Pool { near: near.into(), far: far.into(), primary: has_primary.then_some("far"), file })
}

/// Writes the replicas, one a line, as they are in a quarter of the time in which the last two come and go once.
fn list(file: &Path, replicas: &[SocketAddr], quarter: usize) -> Result<()> {
    let stable = replicas.len().saturating_sub(2);
    let is_there = |n: usize| n < stable || (quarter + stable + 4 - n) % 4 < 2;
    let there = replicas.iter().enumerate().filter(|(n, _)| is_there(*n));
    let text: String = there.map(|(_, address)| format!("http://{address}\n")).collect();
    let beside = file.with_extension("new");
    fs::write(&beside, text)?;
    Ok(fs::rename(&beside, file)?)
}

fn start_proxy(place: &Place<'_>, arm: &Arm, installed: &Installed, pool: &Pool) -> Result<Process> {
    let launch = configure(arm, installed, &place.directory.path, pool)?;
    let mut process = Process::start(&launch, &PROXY_CORE.to_string(), place.interrupt)?;
    process.wait_until(|| answers(launch.http1)).with_context(|| arm.name)?;
    Ok(process)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_two_come_and_go_a_quarter_apart_and_the_others_stay() {
        let interrupt = Interrupt::watch().expect("watches");
        let directory = Directory::create(&interrupt).expect("creates");
        let file = directory.path.join("replicas.txt");
        let replicas: Vec<SocketAddr> =
            (1..=4).map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect();
        let there = |quarter| {
            list(&file, &replicas, quarter).expect("writes");
            let text = fs::read_to_string(&file).expect("reads");
            text.lines().filter_map(|line| line.rsplit_once(':')?.1.parse::<u16>().ok()).collect::<Vec<_>>()
        };
        let lists = [vec![1, 2, 3], vec![1, 2, 3, 4], vec![1, 2, 4], vec![1, 2]];
        assert!((0..8).all(|quarter| there(quarter) == lists[quarter % 4]));
    }
}
