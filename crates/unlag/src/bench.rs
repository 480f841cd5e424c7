//! `unlag bench`: open-loop load on a URL.

use crate::Failed;
use crate::args::BenchOptions;
use crate::papers::print;
use anyhow::Context;
use std::io::IsTerminal;
use unlag_lab::bench;

/// Runs the command.
pub(crate) fn run(options: BenchOptions) -> Result<(), Failed> {
    let mut test = bench::BenchOptions::new(&options.url, options.rate);
    test.vs = options.vs;
    test.duration = options.duration;
    test.connections = options.connections;
    test.http2 = options.http2;
    test.headers = options.headers;
    if let Some(body) = &options.body {
        test.method = "POST".into();
        test.body = match body.strip_prefix('@') {
            Some(file) => std::fs::read(file).with_context(|| format!("--body: cannot read {file}"))?.into(),
            None => body.clone().into(),
        };
    }
    if let Some(method) = options.method {
        test.method = method;
    }
    let terminal = std::io::stderr().is_terminal() && !options.json;
    let report = bench::run(&test, |progress| {
        if terminal {
            let (percent, p50_ms, p99_ms) =
                (progress.done * 100.0, progress.p50_us / 1e3, progress.p99_us / 1e3);
            let counts = format!("{} answers, {} errors", progress.answered, progress.errors);
            eprint!("\r{percent:3.0} %  {counts}, p50 {p50_ms:.2} ms, p99 {p99_ms:.2} ms\x1b[K");
        }
    })?;
    if terminal {
        eprint!("\r\x1b[K");
    }
    match options.json {
        true => print(&format!("{}\n", serde_json::to_string_pretty(&report)?))?,
        false => print(&report.text())?,
    }
    if report.subject.summary.statuses.is_empty() {
        return Err(anyhow::anyhow!("nothing answered at {}", options.url).into());
    }
    Ok(())
}
