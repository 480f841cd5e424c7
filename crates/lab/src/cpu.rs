//! CPU time, memory and steal, read from `/proc`. On systems without it every reading is `None`.

use std::fs;
use std::path::{Path, PathBuf};

/// Names a thread whose CPU time can be read from other threads.
#[derive(Debug, Clone)]
pub struct ThreadCpu {
    schedstat: PathBuf,
}

impl ThreadCpu {
    /// The calling thread.
    pub fn current() -> Option<Self> {
        let own = fs::read_link("/proc/thread-self").ok()?;
        Some(Self { schedstat: Path::new("/proc").join(own).join("schedstat") })
    }

    /// CPU time the thread has used so far, in nanoseconds; `None` once it has ended.
    pub fn used_ns(&self) -> Option<u64> {
        read_schedstat(&self.schedstat)
    }
}

fn read_schedstat(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.split_ascii_whitespace().next()?.parse().ok()
}

/// CPU time of every live thread of a process, as (thread name, nanoseconds).
pub fn threads_ns(pid: u32) -> Vec<(String, u64)> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let threads = tasks.flatten().filter_map(|task| {
        let name = fs::read_to_string(task.path().join("comm")).ok()?.trim().to_owned();
        Some((name, read_schedstat(&task.path().join("schedstat"))?))
    });
    threads.collect()
}

/// The process and all its living descendants.
pub fn process_tree(pid: u32) -> Vec<u32> {
    let mut tree = vec![pid];
    let mut next = 0;
    while let Some(parent) = tree.get(next).copied() {
        next += 1;
        let Ok(tasks) = fs::read_dir(format!("/proc/{parent}/task")) else { continue };
        for task in tasks.flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            tree.extend(children.split_ascii_whitespace().filter_map(|c| c.parse::<u32>().ok()));
        }
    }
    tree
}

/// CPU time of a process and its descendants, in nanoseconds.
pub fn tree_ns(pid: u32) -> u64 {
    process_tree(pid).into_iter().flat_map(threads_ns).map(|(_, ns)| ns).sum()
}

/// Resident memory of a process and its descendants, in bytes. Pages shared between them (an nginx master and
/// its worker) are counted once, as the proportional set size, where the kernel tells it.
pub fn tree_memory_bytes(pid: u32) -> u64 {
    process_tree(pid).into_iter().map(|p| memory_bytes(p).unwrap_or(0)).sum()
}

fn memory_bytes(pid: u32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"));
    let (text, key) = match rollup {
        Ok(text) if text.contains("Pss:") => (text, "Pss:"),
        _ => (fs::read_to_string(format!("/proc/{pid}/status")).ok()?, "VmRSS:"),
    };
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    Some(line.split_ascii_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// A reading of the machine's CPU counters, in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticks {
    total: u64,
    steal: u64,
    /// Nothing to do, or waiting for a disk.
    idle: u64,
}

impl Ticks {
    /// The counters since boot, over all cores.
    pub fn now() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/stat").ok()?)
    }

    fn parse(stat: &str) -> Option<Self> {
        let fields: Vec<u64> = stat
            .lines()
            .next()?
            .strip_prefix("cpu ")?
            .split_ascii_whitespace()
            .flat_map(str::parse)
            .collect();
        // user nice system idle iowait irq softirq steal; guest time is already in user.
        let idle = fields.get(3)? + fields.get(4)?;
        Some(Self { total: fields.iter().take(8).sum(), steal: *fields.get(7)?, idle })
    }

    /// Share of all time since `earlier` in which a core worked, for whomever, 0 to 1.
    pub fn busy_since(&self, earlier: &Self) -> f64 {
        let total = self.total.saturating_sub(earlier.total);
        let unused = self.idle.saturating_sub(earlier.idle) + self.steal.saturating_sub(earlier.steal);
        if total == 0 { 0.0 } else { total.saturating_sub(unused) as f64 / total as f64 }
    }

    /// Share of all time since `earlier` that the hypervisor gave to others, 0 to 1.
    pub fn steal_since(&self, earlier: &Self) -> f64 {
        let total = self.total.saturating_sub(earlier.total);
        if total == 0 { 0.0 } else { self.steal.saturating_sub(earlier.steal) as f64 / total as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steal_is_the_share_of_the_ticks_between_two_readings() {
        let before = Ticks::parse("cpu  100 0 50 800 10 0 5 35 0 0\ncpu0 1 2 3\n").expect("parses");
        let after = Ticks::parse("cpu  150 0 60 830 10 0 5 45 9 9\n").expect("parses");
        assert!((after.steal_since(&before) - 0.1).abs() < 1e-9);
        assert!((after.busy_since(&before) - 0.6).abs() < 1e-9);
        assert_eq!(before.steal_since(&before), 0.0);
        assert_eq!(Ticks::parse("nothing"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_busy_thread_uses_cpu_time_and_its_process_lists_it() {
        let own = ThreadCpu::current().expect("there is /proc");
        let before = own.used_ns().expect("readable");
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while own.used_ns().expect("readable") < before + 2_000_000 {
            assert!(std::time::Instant::now() < deadline, "2 ms of work do not show");
            std::hint::black_box((0..10_000_u64).sum::<u64>());
        }
        assert!(tree_ns(std::process::id()) >= 2_000_000);
        assert!(tree_memory_bytes(std::process::id()) > 100_000);
    }
}
