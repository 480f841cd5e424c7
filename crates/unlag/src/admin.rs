//! The command line's side of the admin API: finds it, asks it.

use crate::args::AdminOptions;
use crate::token;
use anyhow::{Context, Result, anyhow};
use std::time::Duration;

/// Where the admin API is unless said otherwise.
const DEFAULT: &str = "http://127.0.0.1:9900";

/// Asks for a path and returns the JSON that comes back.
pub(crate) fn get(options: &AdminOptions, path: &str) -> Result<serde_json::Value> {
    let (base, token) = find(options)?;
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(10)))
        .http_status_as_error(false)
        .build()
        .into();
    let mut request = agent.get(format!("{base}{path}"));
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let mut answer =
        request.call().with_context(|| format!("no unlag answers at {base} (is it running?)"))?;
    let status = answer.status().as_u16();
    let text = answer.body_mut().read_to_string()?;
    let json: serde_json::Value = serde_json::from_str(&text).unwrap_or(serde_json::Value::Null);
    match status {
        200 => Ok(json),
        _ => {
            let reason = json.get("error").and_then(|error| error.as_str()).unwrap_or(text.trim());
            Err(anyhow!("{base}{path}: {status} {reason}"))
        }
    }
}

fn find(options: &AdminOptions) -> Result<(String, Option<String>)> {
    if let Some(url) = &options.admin {
        return Ok((url.trim_end_matches('/').to_owned(), read_token(&token::runtime_directory())));
    }
    let Ok(text) = std::fs::read_to_string(&options.config) else {
        return Ok((DEFAULT.into(), read_token(&token::runtime_directory())));
    };
    let name = options.config.display().to_string();
    let parsed = unlag_config::parse(&text, &name).map_err(|problems| anyhow!("{problems}"))?;
    let base = crate::check::directory_of(&options.config);
    let token = match &parsed.config.admin.token {
        Some(secret) => {
            unlag_config::resolve_secret(secret, base).ok().map(|secret| secret.expose().to_owned())
        }
        None => read_token(&base.join(&parsed.config.state.directory)),
    };
    match &parsed.config.admin.address {
        unlag_config::Address::Tcp(address) => Ok((format!("http://{address}"), token)),
        unlag_config::Address::Unix(path) => {
            Err(anyhow!("the admin API is on the unix socket {}; name a URL with --admin", path.display()))
        }
    }
}

fn read_token(directory: &std::path::Path) -> Option<String> {
    let text = std::fs::read_to_string(directory.join(token::FILE)).ok()?;
    Some(text.trim().to_owned())
}
