//! Closes the timeline of an exchange and records it once, whatever its end: the guard's drop is the only place that records.

use super::caller::Caller;
use crate::clock;
use crate::core::Core;
use crate::error::{Error, Fault};
use crate::exchange::Trace;
use crate::http::{Version, date};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use unlag_record::{Outcome, Protocol, Record, RouteId};

/// One exchange, until it is recorded.
pub struct Recording {
    core: Rc<Core>,
    /// What the stages write into.
    pub trace: Rc<Trace>,
    /// The route, once it is known.
    pub route: Cell<RouteId>,
    /// The status that was sent; 0 while none was.
    pub status: Cell<u16>,
    /// Whether the caller looks for a `grpc-status`.
    pub grpc: Cell<bool>,
    /// Whether the caller said that its connection takes no request after this one.
    pub is_last: Cell<bool>,
    /// Whether the caller wants to know how much is in flight here.
    pub reports_load: bool,
    version: Version,
    started_unix_ms: u64,
    complete: Cell<bool>,
}

impl Recording {
    /// Begins to record an exchange.
    pub fn new(core: &Rc<Core>, caller: &Caller, trace: Rc<Trace>, version: Version) -> Recording {
        // Only this core writes its own counters: no locked instruction is needed.
        let load = core.shared.load(core.index);
        load.requests.store(load.requests.load(Relaxed) + 1, Relaxed);
        load.streams.store(load.streams.load(Relaxed) + 1, Relaxed);
        let started_unix_ms = date::unix_ms(trace.timeline().started_ns());
        Recording {
            core: Rc::clone(core),
            trace,
            route: Cell::new(RouteId::OTHER),
            status: Cell::new(0),
            grpc: Cell::new(false),
            is_last: Cell::new(false),
            reports_load: caller.report_load.load(Relaxed),
            version,
            started_unix_ms,
            complete: Cell::new(false),
        }
    }

    /// The last byte of the answer has been handed to the kernel.
    pub fn complete(&self) {
        self.complete.set(true);
    }

    /// It ends early; the first reason counts.
    pub fn failed(&self, error: Error) {
        if self.trace.error.get().is_none() {
            self.trace.error.set(Some(error));
        }
    }

    fn outcome(&self) -> Outcome {
        match self.trace.error.get() {
            Some(Error::CallerGone | Error::CallerStalled) => Outcome::Cancelled,
            Some(error) if error.fault() == Fault::Caller => Outcome::ClientError,
            Some(_) => Outcome::ServerError,
            None => Outcome::of_status(self.status.get()),
        }
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.failed(Error::Internal);
        } else if !self.complete.get() {
            self.failed(Error::CallerGone);
        }
        let streams = &self.core.shared.load(self.core.index).streams;
        streams.store(streams.load(Relaxed).saturating_sub(1), Relaxed);
        let trace = &self.trace;
        let now = clock::now();
        // Work that goes on without its caller learns from what it still writes there.
        let is_shared = Rc::strong_count(trace) > 1;
        let so_far = is_shared.then(|| {
            let mut timeline = trace.timeline().clone();
            timeline.finish(now);
            timeline
        });
        if !is_shared {
            trace.finish(now);
        }
        let whole = trace.timeline();
        trace.note(|why| why.retry_after_s = trace.error.get().and_then(Error::retry_after_s));
        let protocol = match self.version {
            Version::Http10 => Protocol::Http10,
            Version::Http11 => Protocol::Http11,
            Version::Http2 => Protocol::Http2,
        };
        self.core.recorder.record(&Record {
            id: trace.id.get(),
            request_id: &trace.request_id.borrow(),
            route: self.route.get(),
            endpoint: trace.endpoint.get(),
            status: self.status.get(),
            outcome: self.outcome(),
            cause: trace.error.get().map(Error::cause),
            cache: trace.cache.get(),
            hedge: trace.hedge.get(),
            trials: trace.trials.get(),
            why: &trace.why(),
            method: trace.method.as_str(),
            target: &trace.target,
            protocol,
            caller: trace.caller,
            bytes_in: trace.bytes_in(),
            bytes_out: trace.bytes_out.get(),
            // Where nobody was chosen, nobody was asked.
            attempts: trace.endpoint.get().map_or(0, |_| trace.attempts.get()),
            reused: trace.reused.get(),
            started_unix_ms: self.started_unix_ms,
            timeline: so_far.as_ref().unwrap_or(&whole),
        });
    }
}
