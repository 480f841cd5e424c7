//! The lab's command line: load, services and peers, for measuring unlag from outside.

mod side_by_side;
mod simulation;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use unlag_lab::bench::{self, BenchOptions};
use unlag_lab::load::{Arrivals, Options, Protocol, Request, Target, run_blocking};
use unlag_lab::services::{Backend, Replicas, Shop};
use unlag_lab::training::{self, TrainingOptions};

/// Measures unlag from outside.
#[derive(Parser)]
#[command(name = "lab", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Sends load to a URL and prints a JSON report.
    Load(Load),
    /// Serves small fast answers until interrupted.
    Backend {
        /// Address to listen on.
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
    },
    /// Runs the demo shop until interrupted and prints its addresses.
    Shop,
    /// Tests a URL, or two in interleaved rounds, as `unlag bench` does.
    Bench {
        /// http://host:port/path
        url: String,
        /// Another URL to compare with.
        #[arg(long)]
        vs: Option<String>,
        /// Requests per second.
        #[arg(long)]
        rate: f64,
        /// Seconds for each URL.
        #[arg(long, default_value_t = 10.0)]
        duration: f64,
        /// Prints JSON.
        #[arg(long)]
        json: bool,
    },
    /// Measures unlag beside HAProxy, nginx, Envoy, Traefik and Caddy.
    Peers(side_by_side::Peers),
    /// Lets many callers ask at once, through caches and directly.
    Stampede(side_by_side::Stampedes),
    /// Measures what is stored: CPU of a hit beside other caches, memory of a million small answers.
    Cache(side_by_side::Stored),
    /// Measures latency beside other proxies where replicas are slow, freeze, fail or are far away.
    Tail(side_by_side::Tails),
    /// Serves replicas with a capacity of their own until interrupted, and says first where they are.
    Replicas {
        /// What they are like, as JSON.
        #[arg(long)]
        spec: PathBuf,
    },
    /// Sends everyday traffic of all kinds through a build of unlag that counts what it does.
    Train {
        /// The binary that counts.
        #[arg(long)]
        unlag: PathBuf,
        /// A certificate for `localhost`, PEM.
        #[arg(long)]
        certificate: PathBuf,
        /// Its key, PEM.
        #[arg(long)]
        key: PathBuf,
        /// Seconds of each kind of load.
        #[arg(long, default_value_t = 1.0)]
        length: f64,
    },
    /// Compares balancing and hedging policies in simulated worlds.
    Sim(simulation::Simulation),
}

#[derive(clap::Args)]
struct Load {
    /// http://host:port/path
    url: String,
    /// Requests per second; 0 asks again as soon as answered.
    #[arg(long, default_value_t = 0.0)]
    rate: f64,
    /// Evenly spaced instead of Poisson arrivals.
    #[arg(long)]
    constant: bool,
    /// Seconds.
    #[arg(long, default_value_t = 5.0)]
    duration: f64,
    /// Connections.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Speak HTTP/2 with this many streams a connection.
    #[arg(long, value_name = "STREAMS")]
    http2: Option<usize>,
    /// POST a body of this many bytes.
    #[arg(long, value_name = "BYTES")]
    post: Option<usize>,
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Load(load) => send(&load),
        Command::Bench { url, vs, rate, duration, json } => {
            let mut options = BenchOptions::new(&url, rate);
            (options.vs, options.duration) = (vs, Duration::try_from_secs_f64(duration)?);
            let report = bench::run(&options, |_| ())?;
            say(&if json { serde_json::to_string_pretty(&report)? } else { report.text() });
            Ok(())
        }
        Command::Peers(arguments) => arguments.run(),
        Command::Stampede(arguments) => arguments.run(),
        Command::Cache(arguments) => arguments.run(),
        Command::Tail(arguments) => arguments.run(),
        Command::Replicas { spec } => {
            let text =
                std::fs::read_to_string(&spec).with_context(|| format!("cannot read {}", spec.display()))?;
            let spec = serde_json::from_str(&text).with_context(|| format!("{}", spec.display()))?;
            let replicas = Replicas::start(spec)?;
            say(&serde_json::to_string(&replicas.addresses)?);
            wait_for_interrupt()
        }
        Command::Train { unlag, certificate, key, length } => {
            let length = Duration::try_from_secs_f64(length)?;
            training::run(&TrainingOptions { unlag, certificate, key, length }, &mut |line| {
                eprintln!("{line}")
            })
        }
        Command::Sim(arguments) => arguments.run(),
        Command::Backend { listen } => {
            let backend = Backend::start_on(listen)?;
            say(&format!("http://{}", backend.address));
            wait_for_interrupt()
        }
        Command::Shop => {
            let shop = Shop::start()?;
            for service in &shop.services {
                service
                    .replicas
                    .iter()
                    .for_each(|address| say(&format!("{} http://{address}", service.name)));
            }
            wait_for_interrupt()
        }
    }
}

fn send(load: &Load) -> Result<()> {
    let target = Target::parse(&load.url)?;
    let request = match load.post {
        Some(size) => Request::typical_post(&target.path, size),
        None => Request::typical_get(&target.path),
    };
    let mut options = Options::new(target.resolve()?, request);
    options.authority.clone_from(&target.authority);
    options.connections = load.connections;
    options.duration = Duration::try_from_secs_f64(load.duration)?;
    if let Some(streams) = load.http2 {
        options.protocol = Protocol::Http2 { streams };
    }
    if load.rate > 0.0 {
        let rate = load.rate;
        options.arrivals =
            if load.constant { Arrivals::Constant { rate } } else { Arrivals::Poisson { rate } };
    }
    say(&serde_json::to_string_pretty(&run_blocking(&options)?.summary())?);
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the lab is a command line program")]
fn say(line: &str) {
    println!("{line}");
}

fn wait_for_interrupt() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(tokio::signal::ctrl_c())?)
}
