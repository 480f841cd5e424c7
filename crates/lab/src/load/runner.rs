//! Runs the connections of one run on the current thread and collects what they find.

use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval_at};

use super::http1::{Http1, scratch};
use super::http2::Http2;
use super::report::{Failure, Report};
use super::request::{Mix, Prepared};
use super::response::Complete;
use super::source::Source;
use super::{Options, Protocol};

/// How long a connection pauses after it could not be opened, so that a dead address is not hammered.
const CONNECT_PAUSE: Duration = Duration::from_millis(20);
/// Connections are opened before the clock starts, within this.
const OPENING_TIME: Duration = Duration::from_secs(5);

enum Link {
    Http1(Http1),
    Http2(Http2),
}

impl Link {
    async fn open(&mut self, deadline: Instant) {
        // A failure here shows again, and counts, with the first request.
        match self {
            Self::Http1(link) => drop(link.connect(deadline).await),
            Self::Http2(link) => drop(link.connect(deadline).await),
        }
    }

    async fn exchange(
        &mut self,
        source: &Source,
        request: usize,
        deadline: Instant,
        prepared: &[Prepared],
    ) -> Result<Complete, Failure> {
        let prepared = prepared.get(request).ok_or(Failure::Unsent)?;
        source.report.borrow_mut().sent += 1;
        match self {
            Self::Http1(link) => link.exchange(prepared, deadline).await,
            Self::Http2(link) => link.exchange(prepared, deadline).await,
        }
    }
}

/// Runs the load; must be called on a local runtime.
pub(super) async fn run(
    options: &Options,
    window: Duration,
    observe: &mut dyn FnMut(Report),
) -> Result<Report> {
    let mut mix = Mix::new(options)?;
    let prepared: Rc<[_]> = std::mem::take(&mut mix.prepared).into();
    let empty = Report::with_parts(&mix.names, options.arrivals.rate());
    let source = Rc::new(Source::new(options, mix, empty.clone(), Instant::now()));
    let links = open_links(options).await;

    let start = Instant::now();
    source.begin(start, options.duration);
    let mut workers = JoinSet::new();
    for link in links {
        let (source, prepared) = (Rc::clone(&source), Rc::clone(&prepared));
        workers.spawn_local(work(link, source, prepared, options.timeout));
    }

    let mut total = empty.clone();
    let mut window_start = start;
    let mut close_window = |total: &mut Report, now: Instant, shown: bool| {
        let mut report = source.report.replace(empty.clone());
        report.elapsed = now.duration_since(window_start);
        window_start = now;
        total.merge(&report);
        if shown {
            observe(report);
        }
    };
    let windowed = window < Duration::from_secs(86_400);
    let window = window.min(Duration::from_secs(86_400));
    let mut ticks = interval_at((start + window).into(), window);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let offering = offer(&source, options, start);
    tokio::pin!(offering);
    let mut offered = false;
    loop {
        tokio::select! {
            result = &mut offering, if !offered => {
                result.context("load: the timer failed")?;
                offered = true;
            }
            ended = workers.join_next() => match ended {
                Some(ended) => ended.context("load: a connection's task failed")?,
                None => break,
            },
            _ = ticks.tick() => close_window(&mut total, Instant::now(), windowed),
        }
    }
    close_window(&mut total, Instant::now(), windowed);
    Ok(total)
}

/// Offers what is due, then lets the connections finish for one timeout, then gives up the rest.
async fn offer(source: &Source, options: &Options, start: Instant) -> std::io::Result<()> {
    source.dispatch(options.arrivals, options.seed, start).await?;
    if options.arrivals.rate().is_some() {
        source.finish();
        tokio::time::sleep(options.timeout).await;
        source.drop_unsent();
    }
    Ok(())
}

async fn open_links(options: &Options) -> Vec<Link> {
    let deadline = Instant::now() + OPENING_TIME;
    let scratch = scratch();
    let mut opening = JoinSet::new();
    for _ in 0..options.connections {
        let (streams, mut link) = match options.protocol {
            Protocol::Http1 => (1, Link::Http1(Http1::new(options.address, Rc::clone(&scratch)))),
            Protocol::Http2 { streams } => (streams, Link::Http2(Http2::new(options.address))),
        };
        opening.spawn_local(async move {
            link.open(deadline).await;
            (link, streams)
        });
    }
    let mut links = Vec::new();
    for (link, streams) in opening.join_all().await {
        match link {
            Link::Http1(_) => links.push(link),
            Link::Http2(shared) => links.extend((0..streams).map(|_| Link::Http2(shared.clone()))),
        }
    }
    links
}

/// One connection, or one stream of a shared one: takes requests until there are none.
async fn work(mut link: Link, source: Rc<Source>, prepared: Rc<[Prepared]>, timeout: Duration) {
    let mut now = Instant::now();
    while let Some(job) = source.next(now).await {
        let deadline = job.intended + timeout;
        let overdue = source.is_open_loop() && Instant::now() >= deadline;
        let result = if overdue {
            Err(Failure::Unsent)
        } else {
            link.exchange(&source, job.request, deadline, &prepared).await
        };
        now = Instant::now();
        source.done();
        let latency = now.saturating_duration_since(job.intended);
        source.report.borrow_mut().count(job.part, result.map(|a| (a.status, a.body_bytes)), latency);
        if result == Err(Failure::Connect) {
            tokio::time::sleep(CONNECT_PAUSE).await;
            now = Instant::now();
        }
    }
    let opened = match &link {
        Link::Http1(link) => link.opened,
        Link::Http2(link) if link.is_last() => link.opened().await,
        Link::Http2(_) => 0,
    };
    source.report.borrow_mut().reconnects += opened.saturating_sub(1);
}
