//! Everyday traffic of all kinds, for a build of unlag that counts what it does: the compiler lays the binary that ships out by
//! these counts. So this must have something of whatever is to be fast, and nothing of it is measured.
//!
//! Two nodes, one behind the other over TLS: what a caller of one does, its caller does to the other.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::load::{Options, Protocol, Request, run_blocking};
use crate::peers::process::{Directory, Interrupt, Launch, Process, free_address, write_file};
use crate::services::{Backend, Origin, Policy, Resource};

/// Endpoints that the service behind both nodes looks like.
const ENDPOINTS: usize = 5;

/// What to train, and how long.
#[derive(Debug, Clone)]
pub struct TrainingOptions {
    /// The binary that counts.
    pub unlag: PathBuf,
    /// For `localhost`, which the first node trusts the second by.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Length of each kind of load.
    pub length: Duration,
}

/// Sends the traffic. Whatever is not answered well fails it: what counts errors trains for errors.
pub fn run(options: &TrainingOptions, say: &mut dyn FnMut(&str)) -> Result<()> {
    let interrupt = Interrupt::watch()?;
    let directory = Directory::create(&interrupt)?;
    let (services, origin) = (Backend::with_doors(ENDPOINTS)?, Origin::start()?);
    let (front, behind) = (free_address()?, free_address()?);
    let nodes = [
        ("behind", behind, second(options, behind, &services.doors)?),
        ("front", front, first(options, (front, behind), &services.doors, origin.address)?),
    ];
    let mut running = Vec::new();
    for (name, listen, text) in nodes {
        let place = directory.path.join(name);
        std::fs::create_dir(&place)?;
        write_file(&place, "page.txt", &"One line of a page among many others.\n".repeat(400))?;
        let file = write_file(&place, "unlag.toml", &text)?;
        let mut node = Process::start(&launch(options, place, listen, &file), "0,1", &interrupt)?;
        node.wait_until(|| TcpStream::connect(listen).is_ok())?;
        running.push(node);
    }
    for (request, protocol) in traffic() {
        say(&format!("  {} {protocol:?}", request.name));
        let connections = if protocol == Protocol::Http1 { 64 } else { 8 };
        let load =
            Options { protocol, connections, duration: options.length, ..Options::new(front, request) };
        let report = run_blocking(&load)?;
        let (answered, errors) = (report.answered(), report.errors());
        ensure!(answered > 0 && errors == 0, "training: {answered} answers, {errors} errors");
    }
    Ok(())
}

/// What is asked for, in HTTP/1.1 and in HTTP/2: passed on, stored, from the node behind over TLS, encoded, from a directory.
fn traffic() -> Vec<(Request, Protocol)> {
    let stored = Resource {
        route: "stored".into(),
        policy: Policy::Fresh,
        delay: Duration::ZERO,
        bytes: 1024,
        key: "one".into(),
    };
    let unstored = Resource { policy: Policy::NoStore, ..stored.clone() };
    let encoded = Resource { route: "encoded".into(), bytes: 8192, ..stored.clone() };
    let taking_gzip = |path: &str| {
        let mut request = Request::get(path);
        request.headers.push(("accept-encoding".into(), "gzip, br;q=0.5".into()));
        request
    };
    let kinds = [
        Request::typical_get("/bytes/1024").numbered(),
        Request::typical_post("/sink", 4096),
        Request::typical_get("/bytes/65536").numbered(),
        Request::get(&stored.path()),
        Request::get(&unstored.path()).numbered(),
        Request::typical_get("/behind/bytes/1024").numbered(),
        Request::typical_post("/behind/sink", 4096),
        taking_gzip(&encoded.path()),
        taking_gzip("/files/page.txt"),
    ];
    let in_both =
        |request: Request| [(request.clone(), Protocol::Http1), (request, Protocol::Http2 { streams: 8 })];
    kinds.into_iter().flat_map(in_both).collect()
}

fn launch(options: &TrainingOptions, directory: PathBuf, listen: SocketAddr, file: &Path) -> Launch {
    Launch {
        program: options.unlag.clone(),
        arguments: ["run".into(), "--workers".into(), "1".into(), "-c".into(), file.into()].into(),
        environment: vec![("HOME", directory.clone().into())],
        http1: listen,
        http2: listen,
        admin: None,
        directory,
    }
}

/// The node that is asked.
fn first(
    options: &TrainingOptions,
    (listen, behind): (SocketAddr, SocketAddr),
    doors: &[SocketAddr],
    origin: SocketAddr,
) -> Result<String> {
    Ok(format!(
        "[[listen]]\naddress = \"{listen}\"\n\n{}\
         [upstream.origin]\nendpoints = [\"http://{origin}\"]\n\n\
         [upstream.behind]\nendpoints = [\"https://{behind}\"]\nhost = \"localhost\"\n\
         tls = {{ ca = \"{}\", name = \"localhost\" }}\n\n\
         [[route]]\nmatch = \"/{{rest...}}\"\nupstream = \"services\"\nhedge = {{}}\nholdout = \"1%\"\n\n\
         [[route]]\nmatch = \"/stored/{{rest...}}\"\nupstream = \"origin\"\n\n\
         [[route]]\nmatch = \"/encoded/{{rest...}}\"\nupstream = \"origin\"\ncompress = \"auto\"\n\n\
         [[route]]\nmatch = \"/behind/{{rest...}}\"\nupstream = \"behind\"\nstrip_prefix = \"/behind\"\n\n\
         [[route]]\nmatch = \"/files/{{path...}}\"\nstatic = {{ directory = \".\" }}\n",
        shared(doors)?,
        options.certificate.display(),
    ))
}

/// The node behind it.
fn second(options: &TrainingOptions, listen: SocketAddr, doors: &[SocketAddr]) -> Result<String> {
    let (certificate, key) = (options.certificate.display(), options.key.display());
    Ok(format!(
        "[[listen]]\naddress = \"{listen}\"\n\
         tls = {{ certificate = \"{certificate}\", key = \"{key}\" }}\n\n{}\
         [[route]]\nmatch = \"/{{rest...}}\"\nupstream = \"services\"\n",
        shared(doors)?,
    ))
}

/// What both have.
fn shared(doors: &[SocketAddr]) -> Result<String> {
    let endpoints: Vec<String> = doors.iter().map(|address| format!("\"http://{address}\"")).collect();
    Ok(format!(
        "[admin]\naddress = \"{}\"\n\n[monitor]\naccess_log = \"access.log\"\naccess_log_sample = \"5%\"\n\n\
         [upstream.services]\nendpoints = [{}]\nlimit = \"adaptive\"\n\n",
        free_address()?,
        endpoints.join(", ")
    ))
}
