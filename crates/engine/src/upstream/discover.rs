//! Endpoints from a file: one a line, looked at four times a second, taken whole once it has stood still, or not at all.

use crate::plan::{Registry, Upstream};
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
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
                    upstream.set_endpoints(upstream.resolve_cells(registry, &list));
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
