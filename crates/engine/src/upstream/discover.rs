//! Where endpoints are discovered: in a file, one a line, looked at four times a second, taken whole once it has stood still, or
//! not at all; and by names, see [`super::discover_names`].

use super::discover_names::{self, Found};
use super::names::Names;
use super::resolve::{self, FIRST_WAIT};
use crate::plan::{Registry, Upstream};
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use unlag_config::Endpoint;

/// How often the file is looked at. What it says counts when two looks in a row find the same: a file that is being written is
/// left alone.
const INTERVAL: Duration = Duration::from_millis(250);

/// As many endpoints as there may be fit in, with a comment to each.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What changes when a file is written or replaced.
type Stamp = Option<(SystemTime, u64, u64)>;

/// Reads the file.
pub fn read(path: &Path) -> Result<Vec<Endpoint>, String> {
    let text = text(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    unlag_config::endpoints(&text, &path.display().to_string()).map_err(|problems| problems.to_string())
}

fn text(path: &Path) -> io::Result<String> {
    // A pipe must not keep us until somebody writes to it.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    Ok(text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned())
}

fn stamp(path: &Path) -> Stamp {
    let data = std::fs::metadata(path).ok()?;
    Some((data.modified().ok()?, data.len(), data.ino()))
}

/// Keeps the endpoints of an upstream as the file has them. A file that cannot be read or is wrong changes nothing.
pub async fn keep_fresh(upstream: Arc<Upstream>, path: PathBuf, shared: Arc<crate::shared::Shared>) {
    let registry: &Registry = &shared.endpoints;
    let (mut last, mut taken): (Stamp, Option<Stamp>) = (None, None);
    loop {
        // Elsewhere: a file system that hangs keeps nobody but this one waiting.
        let (file, before, known) = (path.clone(), last, taken);
        let looked = tokio::task::spawn_blocking(move || {
            let now = stamp(&file);
            let is_news = now == before && known != Some(now);
            (now, is_news.then(|| read(&file)))
        });
        let Ok((now, read)) = looked.await else { return };
        last = now;
        if let Some(read) = read {
            taken = Some(now);
            match read {
                Ok(list) => {
                    tracing::info!(upstream = %upstream.name, endpoints = list.len(), "endpoints read");
                    let listed: Vec<Found> = list.iter().map(Found::listed).collect();
                    upstream.set_endpoints(upstream.cells(registry, &listed));
                    upstream.weigh(&list);
                    shared.fleet_changed();
                }
                Err(error) => {
                    tracing::error!(upstream = %upstream.name, %error, "endpoints not read, the last ones stay")
                }
            }
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Asks once for every name that nothing is known of, so that the first request finds an address. What does not resolve within
/// a second is left to the control thread.
pub fn first(upstreams: &[Arc<Upstream>], registry: &Registry) {
    let unresolved: Vec<_> = upstreams.iter().filter(|upstream| has_unresolved(upstream)).cloned().collect();
    if !unresolved.is_empty() {
        // A thread of its own: whoever builds a plan may have a runtime already.
        let asking = std::thread::Builder::new().name("unlag-names".into()).spawn(move || ask(&unresolved));
        match asking.map(std::thread::JoinHandle::join) {
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "no thread to look up names at the start"),
        }
    }
    for upstream in upstreams {
        discover_names::take(upstream, registry);
    }
}

fn has_unresolved(upstream: &Upstream) -> bool {
    let is_undiscovered = upstream.discovered.as_ref().is_some_and(|discovered| !discovered.is_known());
    is_undiscovered || upstream.fleet().iter().any(|endpoint| endpoint.status(0).unresolved)
}

fn ask(upstreams: &[Arc<Upstream>]) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = match builder.enable_all().max_blocking_threads(resolve::AT_ONCE).build() {
        Ok(runtime) => runtime,
        Err(error) => return tracing::warn!(%error, "names cannot be looked up at the start"),
    };
    let mut work: Vec<Pin<Box<dyn Future<Output = ()> + std::marker::Send>>> = Vec::new();
    for upstream in upstreams {
        let names = Names::at(&upstream.resolver);
        if let Some(discovered) = upstream.discovered.clone() {
            let upstream = Arc::clone(upstream);
            // What went wrong is said by the control thread, which asks again.
            work.push(Box::pin(async move { drop(discovered.ask(&upstream.source, &names).await) }));
            continue;
        }
        for endpoint in upstream.fleet().iter().filter(|endpoint| endpoint.status(0).unresolved) {
            work.push(Box::pin(resolve::first(Arc::clone(endpoint), names.clone())));
        }
    }
    let _ = runtime.block_on(async { tokio::time::timeout(FIRST_WAIT, resolve::some_at_once(work)).await });
    // The C library cannot be stopped; it need not be waited for.
    runtime.shutdown_background();
}
