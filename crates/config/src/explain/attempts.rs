//! What routes try for a request, where that is not what every route does.

use super::line;
use crate::model::{Action, Attempts, Config, Retry, Route, Timeout};
use crate::value::{duration_text, share_text};

/// What `timeout`, `hedge`, `retry` and the like come to.
pub(super) fn attempts(config: &Config, out: &mut String) {
    let proxied = || config.routes.iter().filter(|route| matches!(route.action, Action::Proxy(_)));
    let timeouts = || proxied().map(|route| route.attempts.timeout);
    if timeouts().any(|timeout| timeout == Timeout::Learned) {
        let bound = duration_text(config.limits.response_head_timeout);
        let text = format!(
            "timeout = \"auto\": the head of a response within {bound} until enough is known of its route, then within what is \
             learned from the slowest answers of the route; no bound on the whole"
        );
        line(out, &text);
    }
    if timeouts().any(|timeout| timeout != Timeout::Learned) {
        line(out, "a timeout that is a duration: the head of a response, and the whole exchange, within it");
    }
    if proxied().any(|route| route.attempts.retry == Some(Retry::default())) {
        line(out, &format!("retry: {}", retried(&Retry::default())));
    }
    if proxied().any(|route| route.attempts.hedge.is_some()) {
        let text = "hedge: a request that reads is sent to a second endpoint when the first gives no sign of life, or when it is \
                    slower than nearly all others of its route; when that pays is learned, and the first good answer wins";
        line(out, text);
    }
    for route in proxied() {
        for text in own(route) {
            line(out, &text);
        }
    }
}

/// What one route says of itself.
fn own(route: &Route) -> Vec<String> {
    let Attempts { hedge, retry, idempotent, idempotency_key, .. } = &route.attempts;
    let retry = match retry {
        None => Some(format!("retry of {}: off", route.name)),
        Some(own) => (*own != Retry::default()).then(|| format!("retry of {}: {}", route.name, retried(own))),
    };
    let hedge = hedge.map(|hedge| {
        format!("hedge of {}: at most {} of the upstream's work for it", route.name, share_text(hedge.budget))
    });
    let idempotent = idempotent.then(|| {
        format!("idempotent of {}: its requests may be sent twice, whatever their method", route.name)
    });
    let key = idempotency_key.map(|window| {
        let window = duration_text(window);
        format!("idempotency_key of {}: answers are kept for {window} and replayed", route.name)
    });
    let holdout = (route.holdout > 0.0).then(|| {
        format!(
            "holdout of {}: {} of its requests pass each technique by",
            route.name,
            share_text(route.holdout)
        )
    });
    [retry, hedge, idempotent, key, holdout].into_iter().flatten().collect()
}

fn retried(retry: &Retry) -> String {
    let more = if retry.attempts == 1 {
        "1 more attempt".to_owned()
    } else {
        format!("{} more attempts", retry.attempts)
    };
    format!(
        "{more} at most, on another endpoint, of what did no harm; {} of the requests that succeed and a few a second",
        share_text(retry.budget)
    )
}
