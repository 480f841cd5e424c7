//! The command line's side of the admin API: finds it, asks it.

use crate::args::AdminOptions;
use crate::token;
use anyhow::{Context, Result, anyhow};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// Where the admin API is unless said otherwise.
const DEFAULT: &str = "http://127.0.0.1:9900";
/// The config file unless said otherwise.
const DEFAULT_CONFIG: &str = "unlag.toml";
/// Where a token can stand that belongs to no file here.
const TOKEN_VARIABLE: &str = "UNLAG_ADMIN_TOKEN";

/// An admin API, found.
pub(crate) struct Admin {
    base: String,
    token: Option<String>,
    agent: ureq::Agent,
}

type Answer = ureq::http::Response<ureq::Body>;

impl Admin {
    /// Finds out where it is and what its token is, and that it is unlag that answers there: the token is for nobody else.
    pub(crate) fn find(options: &AdminOptions) -> Result<Admin> {
        let (base, token) = find(options)?;
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(10)))
            .http_status_as_error(false)
            // The API sends nobody elsewhere.
            .max_redirects(0)
            .build()
            .into();
        let admin = Admin { base, token, agent };
        admin.meet()?;
        Ok(admin)
    }

    /// Asks something harmless, without the token: the proxy's port answers too, and passes on to an origin what it is sent.
    fn meet(&self) -> Result<()> {
        let answer = self.agent.get(format!("{}/healthz", self.base)).call();
        let answer = self.reached(answer)?;
        let name = answer.headers().get("server").map(|name| name.as_bytes());
        if name == Some(unlag_console::SERVER.as_bytes()) { Ok(()) } else { Err(self.stranger()) }
    }

    /// Asks for a path.
    pub(crate) fn get(&self, path: &str) -> Result<Value> {
        let mut request = self.agent.get(format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        self.read(path, request.call())
    }

    /// Sends JSON to a path.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let mut request =
            self.agent.post(format!("{}{path}", self.base)).header("content-type", "application/json");
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        self.read(path, request.send(body.to_string()))
    }

    /// Something answers that is no admin API.
    pub(crate) fn stranger(&self) -> anyhow::Error {
        anyhow!(
            "{} answers, but not as unlag's admin API does: is it the admin port? `admin.address` of the config file says \
             which it is, {DEFAULT} unless it is set there",
            self.base
        )
    }

    fn reached(&self, answer: Result<Answer, ureq::Error>) -> Result<Answer> {
        match answer {
            Ok(answer) => Ok(answer),
            // Bytes came, and they were no HTTP.
            Err(ureq::Error::Protocol(_)) => Err(self.stranger()),
            Err(error) => {
                Err(error).with_context(|| format!("no unlag answers at {} (is it running?)", self.base))
            }
        }
    }

    fn read(&self, path: &str, answer: Result<Answer, ureq::Error>) -> Result<Value> {
        let base = &self.base;
        let mut answer = self.reached(answer)?;
        let status = answer.status().as_u16();
        let text = answer.body_mut().read_to_string()?;
        let json = serde_json::from_str::<Value>(&text).ok().filter(Value::is_object);
        match (status, &self.token) {
            (200, _) => json.ok_or_else(|| self.stranger()),
            (401, None) => Err(anyhow!(
                "{base}{path}: this needs the admin token, and none was found: name the config file that it runs \
                 with (-c FILE), as a user who may read its token, or put the token into {TOKEN_VARIABLE}"
            )),
            (401, Some(_)) => Err(anyhow!(
                "{base}{path}: the token that was found is not the one of this unlag: name the config file that it \
                 runs with (-c FILE), or put its token into {TOKEN_VARIABLE}"
            )),
            _ => {
                let said = json.as_ref().and_then(|json| json.get("error")?.as_str());
                Err(anyhow!("{base}{path}: {status} {}", said.unwrap_or(text.trim())))
            }
        }
    }
}

/// Where it is, and its token if that can be known: of the config file where there is one, else that of the environment, else
/// that of a run without a config.
fn find(options: &AdminOptions) -> Result<(String, Option<String>)> {
    let given = options.admin.clone();
    // The token of a file that nobody named is not sent to a URL that somebody did.
    let file = match (&options.config, &given) {
        (Some(file), _) => Some(file.as_path()),
        (None, None) => Some(Path::new(DEFAULT_CONFIG)).filter(|file| file.exists()),
        (None, Some(_)) => None,
    };
    let Some(file) = file else { return Ok((given.unwrap_or_else(|| DEFAULT.into()), stray_token())) };
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let parsed =
        unlag_config::parse(&text, &file.display().to_string()).map_err(|error| anyhow!("{error}"))?;
    let base = crate::check::directory_of(file);
    let token = match &parsed.config.admin.token {
        Some(secret) => {
            unlag_config::resolve_secret(secret, base).ok().map(|secret| secret.expose().to_owned())
        }
        None => read_token(&base.join(&parsed.config.state.directory)),
    };
    let token = token.or_else(stray_token);
    match (given, &parsed.config.admin.address) {
        (Some(url), _) => Ok((url, token)),
        (None, unlag_config::Address::Tcp(address)) => Ok((format!("http://{address}"), token)),
        (None, unlag_config::Address::Unix(path)) => {
            Err(anyhow!("the admin API is on the unix socket {}; name a URL with --admin", path.display()))
        }
    }
}

/// A token that belongs to no config file.
fn stray_token() -> Option<String> {
    let stated = std::env::var(TOKEN_VARIABLE).ok().map(|token| token.trim().to_owned());
    stated.filter(|token| !token.is_empty()).or_else(|| read_token(&token::runtime_directory()))
}

fn read_token(directory: &Path) -> Option<String> {
    let text = std::fs::read_to_string(directory.join(token::FILE)).ok()?;
    Some(text.trim().to_owned())
}
