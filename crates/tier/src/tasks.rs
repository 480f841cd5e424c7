//! Tasks that run for the life of the tier: a panic in one costs a second and a line, not the tier.

use std::future::Future;
use std::time::Duration;

/// Long enough that a task which always panics burns nothing.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs what `task` makes; when it panics, makes another.
pub(crate) fn keep_running<F>(name: &'static str, task: impl Fn() -> F + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    tokio::spawn(async move {
        while let Err(error) = tokio::spawn(task()).await {
            if !error.is_panic() {
                return;
            }
            tracing::error!(task = name, %error, "a task of the shared cache panicked, it is started again");
            tokio::time::sleep(PAUSE).await;
        }
    });
}
