//! Endpoints from a file: one a line, looked at twice a second, taken whole or not at all.

use crate::plan::{Registry, Upstream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use unlag_config::Endpoint;

/// How often the file is looked at.
const INTERVAL: Duration = Duration::from_millis(500);

/// Reads the file.
pub fn read(path: &Path) -> Result<Vec<Endpoint>, String> {
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    unlag_config::endpoints(&text, &path.display().to_string()).map_err(|problems| problems.to_string())
}

/// Keeps the endpoints of an upstream as the file has them. A file that cannot be read or is wrong changes nothing.
pub async fn keep_fresh(
    upstream: Arc<Upstream>,
    path: std::path::PathBuf,
    shared: Arc<crate::shared::Shared>,
) {
    let registry: &Registry = &shared.endpoints;
    let stamp = |path: &Path| -> Option<(SystemTime, u64)> {
        let data = std::fs::metadata(path).ok()?;
        Some((data.modified().ok()?, data.len()))
    };
    let mut seen = None;
    loop {
        let now = stamp(&path);
        if now != seen {
            seen = now;
            match read(&path) {
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
