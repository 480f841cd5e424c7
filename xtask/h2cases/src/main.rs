//! Runs the HTTP/2 cases of the `httpwg` crate against one address, one case after another, one line per result.
//!
//! `h2cases ADDRESS [--timeout-ms N] [--only TEXT]` prints `pass<TAB>case` or `fail<TAB>case<TAB>reason` on stdout.
//! The published command-line runner of the same cases needs io_uring, which containers often forbid, and prints
//! for people; this one uses plain sockets and prints for the suite that reads it.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use buffet::IntoHalves;
use httpwg::{Config, Conn};
use tokio::net::TcpStream;

/// A case that has not ended after this many frame waits is stuck.
const WAITS_MAX: u32 = 20;

httpwg_macros::gen_catalog!(catalog);

struct Arguments {
    address: SocketAddr,
    timeout: Duration,
    only: String,
}

fn arguments() -> Result<Arguments, Box<dyn Error>> {
    let mut given = std::env::args().skip(1);
    let address = given.next().ok_or("usage: h2cases ADDRESS [--timeout-ms N] [--only TEXT]")?.parse()?;
    let mut arguments = Arguments { address, timeout: Duration::from_millis(500), only: String::new() };
    while let Some(flag) = given.next() {
        let value = given.next().ok_or_else(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--timeout-ms" => arguments.timeout = Duration::from_millis(value.parse()?),
            "--only" => arguments.only = value,
            other => return Err(format!("unknown flag {other}; allowed: --timeout-ms, --only").into()),
        }
    }
    Ok(arguments)
}

/// All cases under their full names, in a stable order.
fn cases() -> BTreeMap<String, BoxedTest<TcpStream>> {
    let mut named = BTreeMap::new();
    for (document, sections) in catalog::<TcpStream>() {
        for (section, tests) in sections {
            for (test, run) in tests {
                named.insert(format!("{document} :: {section} :: {test}"), run);
            }
        }
    }
    named
}

async fn verdict(
    run: &BoxedTest<TcpStream>,
    config: &Rc<Config>,
    arguments: &Arguments,
) -> Result<(), String> {
    let stream = TcpStream::connect(arguments.address).await.map_err(|error| format!("connect: {error}"))?;
    stream.set_nodelay(true).map_err(|error| format!("nodelay: {error}"))?;
    let case = run(Conn::new(config.clone(), stream));
    // A case may panic inside; in a task of its own that fails the one case and not the run.
    let mut task = tokio::task::spawn_local(case);
    match tokio::time::timeout(arguments.timeout * WAITS_MAX, &mut task).await {
        Ok(Ok(Ok(()))) => Ok(()),
        Ok(Ok(Err(report))) => Err(format!("{report}")),
        Ok(Err(panic)) => Err(format!("{panic}")),
        Err(_) => {
            task.abort();
            Err("did not end in time".into())
        }
    }
}

async fn run(arguments: Arguments) -> Result<bool, Box<dyn Error>> {
    let config = Rc::new(Config { timeout: arguments.timeout, ..Config::default() });
    let (mut passed, mut failed) = (0, 0);
    for (name, case) in cases().iter().filter(|(name, _)| name.contains(&arguments.only)) {
        match verdict(case, &config, &arguments).await {
            Ok(()) => {
                passed += 1;
                println!("pass\t{name}");
            }
            Err(reason) => {
                failed += 1;
                println!("fail\t{name}\t{}", reason.split_whitespace().collect::<Vec<_>>().join(" "));
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    Ok(failed == 0 && passed > 0)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = arguments()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    buffet::bufpool::initialize_allocator().map_err(|error| format!("buffer pool: {error}"))?;
    let all_passed = tokio::task::LocalSet::new().block_on(&runtime, run(arguments))?;
    std::process::exit(i32::from(!all_passed));
}
