//! The data plane as the console sees it.

mod attempts;
mod cache;
mod decisions;
mod switch;

use crate::system::System;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use unlag_config::Action;
use unlag_console::{
    Applied, CacheStatus, ConfigView, Counter, EndpointAdmission, EndpointState, EndpointStatus, KeysStatus,
    Match, Plane, PurgeCount, PurgeOrder, PutError, Readiness, RouteStatus, Switch, SwitchError,
    UpstreamAdmission, UpstreamDrained, UpstreamStatus, WorkerStatus,
};
use unlag_engine::Engine;
use unlag_engine::clock;
use unlag_engine::fleet;

impl Plane for System {
    fn registry(&self) -> &Arc<unlag_record::Registry> {
        &self.engine.shared().registry
    }

    fn upstreams(&self) -> Vec<UpstreamStatus> {
        let now = clock::now();
        let plan = self.engine.shared().current();
        let status = |upstream: &Arc<unlag_engine::plan::Upstream>| UpstreamStatus {
            name: upstream.name.to_string(),
            protocol: format!("{:?}", upstream.protocol).to_lowercase(),
            pinned: upstream.room.pin().map(|pin| pin.names()),
            drained: UpstreamDrained { all: upstream.room.drained().is_all(), gone: upstream.drained_gone() },
            admission: admission(upstream),
            rules: decisions::upstream_rules(upstream, &self.engine),
            learned: decisions::upstream_learned(upstream, &self.engine),
            regions: decisions::upstream_regions(upstream),
            endpoints: upstream
                .fleet()
                .iter()
                .map(|endpoint| endpoint_status(endpoint, &endpoint.status(now), &self.engine))
                .collect(),
        };
        plan.upstreams.iter().map(status).collect()
    }

    fn routes(&self) -> Vec<RouteStatus> {
        let learned = self.engine.shared().attempts.status();
        let plan = self.engine.shared().current();
        let status = |route: &Arc<unlag_engine::plan::Route>| {
            let config = &route.config;
            let (mut upstream, mut respond, mut files) = (None, None, None);
            match &config.action {
                Action::Proxy(index) => {
                    upstream = plan.upstreams.get(*index).map(|upstream| upstream.name.to_string())
                }
                Action::Respond(answer) => respond = Some(answer.status),
                Action::Static(of) => files = Some(of.directory.display().to_string()),
            }
            RouteStatus {
                name: config.name.clone(),
                matches: config.pattern.to_string(),
                upstream,
                respond,
                files,
                timeout_ms: config.attempts.timeout.fixed().map(|timeout| timeout.as_millis() as u64),
                rules: matches!(config.action, Action::Proxy(_)).then(|| decisions::route_rules(route)),
                attempts: learned.iter().find(|of| of.route == config.name).map(attempts::status),
            }
        };
        plan.routes.iter().map(status).collect()
    }

    fn matched(&self, method: &str, url: &str) -> Result<Match, String> {
        decisions::matched(&self.engine, method, url)
    }

    fn own_region(&self) -> Option<String> {
        self.engine.shared().current().region.clone()
    }

    fn workers(&self) -> Vec<WorkerStatus> {
        let loads = self.engine.shared().loads();
        let status = |load: &unlag_engine::shared::Load| WorkerStatus {
            connections: load.connections.load(Relaxed) as u64,
            requests: load.requests.load(Relaxed),
            streams: load.streams.load(Relaxed) as u64,
        };
        loads.iter().map(status).collect()
    }

    fn readiness(&self) -> Readiness {
        if self.engine.shared().is_leaving() {
            return Readiness::Draining;
        }
        match self.engine.shared().unready(clock::now()) {
            Some(reason) => Readiness::NotReady(reason),
            None => Readiness::Ready,
        }
    }

    fn counters(&self) -> Vec<Counter> {
        let shared = self.engine.shared();
        let count = |name, help, value| Counter { name, help, labels: Vec::new(), value };
        let mut counters = attempts::counters(shared);
        counters.extend([
            count(
                "unlag_connections_refused",
                "connections turned away at a bound",
                shared.refused_connections.load(Relaxed),
            ),
            count(
                "unlag_tls_handshakes_failed",
                "TLS handshakes of callers that failed",
                shared.failed_handshakes.load(Relaxed),
            ),
            count(
                "unlag_http2_floods",
                "HTTP/2 connections closed for flooding",
                shared.floods.load(Relaxed),
            ),
            count(
                "unlag_panics",
                "panics of ours, each the end of one request, connection or task",
                shared.panics.count(),
            ),
            count(
                "unlag_control_restarts",
                "times that name lookup, discovery or health checks panicked and were started again",
                shared.control_restarts.load(Relaxed),
            ),
            count(
                "unlag_worker_stalls",
                "times that a worker did not come round",
                shared.stalls.load(Relaxed),
            ),
            count("unlag_reloads", "configurations put in force", self.reloads.load(Relaxed)),
            count(
                "unlag_reloads_refused",
                "configurations that were not valid",
                self.reloads_refused.load(Relaxed),
            ),
        ]);
        counters
    }

    fn keys(&self) -> KeysStatus {
        let known = self.engine.shared().answers.status();
        KeysStatus { keys: known.keys as u64, bytes: known.bytes as u64, under_way: known.under_way as u64 }
    }

    fn cache(&self) -> CacheStatus {
        cache::status(&self.engine)
    }

    fn purge(&self, order: &PurgeOrder) -> Result<Option<PurgeCount>, String> {
        cache::purge(&self.engine, order)
    }

    fn switch(&self, upstream: &str, switch: &Switch) -> Result<(), SwitchError> {
        switch::turn(&self.engine, upstream, switch)
    }

    fn config(&self) -> ConfigView {
        self.view()
    }

    fn put_config(&self, text: &str, if_match: &str) -> Result<Applied, PutError> {
        self.put(text, if_match)
    }

    fn reload(&self) -> Result<Applied, PutError> {
        System::reload(self)
    }
}

fn admission(upstream: &unlag_engine::plan::Upstream) -> UpstreamAdmission {
    let room = upstream.room.status();
    UpstreamAdmission {
        waiting: u64::from(room.waiting),
        waited: room.waited,
        refused: room.refused,
        refused_lost: room.refused_lost,
        lost: room.is_lost,
    }
}

fn endpoint_status(
    endpoint: &fleet::Endpoint,
    status: &fleet::EndpointStatus,
    engine: &Engine,
) -> EndpointStatus {
    let state = match () {
        () if status.drained => EndpointState::Drained,
        () if status.unresolved => EndpointState::Resolving,
        () if status.unhealthy => EndpointState::Unhealthy,
        () if status.ejected => EndpointState::Ejected,
        () => EndpointState::Healthy,
    };
    EndpointStatus {
        address: status.address.clone(),
        state,
        in_flight: u64::from(status.in_flight),
        connections_open: u64::from(status.connections),
        connections_idle: u64::from(status.idle),
        successes: status.successes,
        failures: status.failures,
        ejections: status.ejections,
        last_error: status.last_error.map(str::to_owned),
        wait_us: status.wait_ns.map(|ns| ns / 1_000),
        learned_idle_ms: status.idle_limit_ns.map(|ns| ns / 1_000_000),
        admission: EndpointAdmission {
            limit: endpoint.gauge.limit().map(u64::from),
            would_refuse: endpoint.gauge.would_refuse(),
        },
        learned: decisions::endpoint_learned(status, engine),
    }
}
