//! The command line.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// unlag sits between services, shows where the latency of their calls comes from, and takes it out.
#[derive(Parser)]
#[command(name = "unlag", version, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run the proxy: with a config file, or in front of one service without any
    Run(RunOptions),
    /// Show it on a small shop of slow services, with load on it and unlag in between
    Demo(DemoOptions),
    /// Write a commented starter unlag.toml
    Init(InitOptions),
    /// Validate a config file; every error points at file:line:column and says what is allowed
    Check(CheckOptions),
    /// Print the JSON Schema of the config, for editors
    Schema,
    /// Say why a request took as long as it did and went where it went, or what would be done with a URL
    Explain(ExplainOptions),
    /// See what the cache holds and has done, and take something out of it
    #[command(subcommand)]
    Cache(CacheCommand),
    /// Load a URL at a constant rate (open loop) and print the latency distribution
    Bench(BenchOptions),
    /// Print shell completions
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, of unlag or of one of its commands
    Man {
        /// The command, such as `cache purge`
        command: Vec<String>,
    },
    /// Print the version
    Version,
}

#[derive(Args)]
pub(crate) struct RunOptions {
    /// The config file
    #[arg(short, long, value_name = "FILE", default_value = "unlag.toml", conflicts_with = "to")]
    pub(crate) config: PathBuf,
    /// Forward everything to this URL; no config file is read
    #[arg(long, value_name = "URL")]
    pub(crate) to: Option<String>,
    /// Where to listen, with --to
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080", requires = "to")]
    pub(crate) listen: String,
    /// Where the admin API listens, with --to; without it 127.0.0.1:9900, or a free port if that is taken
    #[arg(long, value_name = "ADDRESS", requires = "to")]
    pub(crate) admin: Option<String>,
    /// Worker threads; one per core unless set
    #[arg(long, value_name = "N", value_parser = workers)]
    pub(crate) workers: Option<usize>,
}

#[derive(Args)]
pub(crate) struct DemoOptions {
    /// How long it runs
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(4..=3600))]
    pub(crate) seconds: u64,
    /// Requests a second
    #[arg(long, default_value_t = 150.0)]
    pub(crate) rate: f64,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct InitOptions {
    /// Where to write it
    #[arg(default_value = "unlag.toml")]
    pub(crate) file: PathBuf,
    /// Replace a file that is there
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Args)]
pub(crate) struct CheckOptions {
    /// The config file
    #[arg(short, long, value_name = "FILE", default_value = "unlag.toml")]
    pub(crate) config: PathBuf,
    /// Treat warnings as errors
    #[arg(long)]
    pub(crate) strict: bool,
    /// Print the problems as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct ExplainOptions {
    /// The request: its x-request-id or trace id; or a URL, for what would be done with it; without either, the slowest recent request
    #[arg(value_name = "ID|URL")]
    pub(crate) id: Option<String>,
    /// The method of a request for the URL
    #[arg(long, default_value = "GET")]
    pub(crate) method: String,
    #[command(flatten)]
    pub(crate) admin: AdminOptions,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct AdminOptions {
    /// The admin API; without it that of the config file, else http://127.0.0.1:9900
    #[arg(long, value_name = "URL", value_parser = admin_url)]
    pub(crate) admin: Option<String>,
    /// The config file to find the admin API and its token by; without it unlag.toml, where there is one
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Subcommand)]
pub(crate) enum CacheCommand {
    /// Show what it holds, and what it has done for each route since the start
    Stats(CacheStatsOptions),
    /// Take out what is stored for a URL, carries a tag, begins with a prefix, or everything
    Purge(CachePurgeOptions),
}

#[derive(Args)]
pub(crate) struct CacheStatsOptions {
    #[command(flatten)]
    pub(crate) admin: AdminOptions,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["urls", "tags", "prefixes", "all"]))]
pub(crate) struct CachePurgeOptions {
    /// What is stored for this URL, http and https; may be given several times
    #[arg(long = "url", value_name = "URL")]
    pub(crate) urls: Vec<String>,
    /// What carries this tag; may be given several times
    #[arg(long = "tag", value_name = "TAG")]
    pub(crate) tags: Vec<String>,
    /// What begins so: host/path, or /path on every host; may be given several times
    #[arg(long = "prefix", value_name = "PREFIX")]
    pub(crate) prefixes: Vec<String>,
    /// Everything
    #[arg(long)]
    pub(crate) all: bool,
    /// Make it stale only: it may be served while it is fetched again, or when the origin fails
    #[arg(long)]
    pub(crate) soft: bool,
    /// Count what would be taken out, and take out nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) admin: AdminOptions,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct BenchOptions {
    /// The URL; http:// only
    pub(crate) url: String,
    /// Requests a second; 0 sends the next when the last was answered
    #[arg(long)]
    pub(crate) rate: f64,
    /// Another URL to compare with, in turn
    #[arg(long, value_name = "URL")]
    pub(crate) vs: Option<String>,
    /// How long, for each URL
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub(crate) duration: std::time::Duration,
    /// Connections
    #[arg(long, default_value_t = 64)]
    pub(crate) connections: usize,
    /// Speak HTTP/2 by prior knowledge
    #[arg(long)]
    pub(crate) http2: bool,
    /// The method; without one GET, and POST when there is a body
    #[arg(long)]
    pub(crate) method: Option<String>,
    /// A header field; may be given several times
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    pub(crate) headers: Vec<(String, String)>,
    /// What to send: a text, or @FILE
    #[arg(long, value_name = "TEXT|@FILE")]
    pub(crate) body: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// A URL to which paths are added.
fn admin_url(text: &str) -> Result<String, String> {
    let url: Option<ureq::http::Uri> = text.parse().ok();
    let is_base = url.is_some_and(|url| url.scheme_str() == Some("http") && url.query().is_none());
    match is_base {
        true => Ok(text.trim_end_matches('/').to_owned()),
        false => Err("a URL such as http://127.0.0.1:9900 is expected".to_owned()),
    }
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("a name, a colon and a value, such as \"accept: */*\"")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

fn duration(text: &str) -> Result<std::time::Duration, String> {
    let help = "a number with ms, s or m, such as 10s";
    let (number, unit_ms) = [("ms", 1), ("s", 1_000), ("m", 60_000)]
        .into_iter()
        .find_map(|(unit, ms)| Some((text.strip_suffix(unit)?, ms)))
        .ok_or(help)?;
    let number: u64 = number.parse().map_err(|_| help)?;
    let ms =
        number.checked_mul(unit_ms).filter(|ms| (1..=3_600_000).contains(ms)).ok_or("between 1ms and 60m")?;
    Ok(std::time::Duration::from_millis(ms))
}

/// A number of worker threads: at least one, and no more than anybody has cores.
fn workers(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|count| (1..=1024).contains(count))
        .ok_or_else(|| "a number from 1 to 1024".to_owned())
}
