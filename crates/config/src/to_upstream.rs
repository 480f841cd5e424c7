//! The configuration behind `unlag run --to URL`: everything to one upstream, without a file.

use std::net::IpAddr;

use crate::limits::Limits;
use crate::model::Scheme;
use crate::model::{
    AccessLog, Action, Admin, Cache, Config, Endpoint, HostHeader, Listen, Monitor, Route, Sample, Source,
    State, Trust, Upstream,
};
use crate::pattern::{Pattern, Segment};
use crate::problem::{Excerpt, Invalid, Problem, Problems, Severity};
use crate::{url, value};

impl Config {
    /// One route for every request to one upstream at `url`, accepted at `listen`. Its `Host` is kept for an
    /// IP address or socket and is that of the URL for a name; a path in the URL goes in front of every path.
    /// No access log.
    ///
    /// # Errors
    /// What is wrong with either; the file of a problem is `--to` or `--listen`.
    pub fn to_upstream(url: &str, listen: &str) -> Result<Self, Problems> {
        let target = url::upstream_url(url).map_err(|invalid| argument("--to", url, invalid));
        let address = value::address(listen).map_err(|invalid| argument("--listen", listen, invalid));
        let (target, address) = match (target, address) {
            (Ok(target), Ok(address)) => (target, address),
            (target, address) => {
                return Err(Problems(target.err().into_iter().chain(address.err()).collect()));
            }
        };
        let named = target.scheme != Scheme::Unix && target.host.parse::<IpAddr>().is_err();
        let endpoint = Endpoint::new(target);
        let mut upstream = Upstream::new("upstream", Source::Endpoints(vec![endpoint]));
        if named {
            upstream.host = HostHeader::Upstream;
        }
        let everything =
            Pattern { method: None, host: None, segments: vec![Segment::Rest("path".to_owned())] };
        Ok(Self {
            listen: vec![Listen { address, tls: None, report_load: false }],
            admin: Admin::default(),
            state: State::default(),
            limits: Limits::default(),
            trust: Trust::default(),
            region: None,
            upstreams: vec![upstream],
            cache: Cache::default(),
            monitor: Monitor { access_log: AccessLog::Off, access_log_sample: Sample::All },
            routes: vec![Route::new(everything, Action::Proxy(0))],
        })
    }
}

fn argument(name: &str, given: &str, invalid: Invalid) -> Problem {
    let text: String = given.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(160).collect();
    let width = text.chars().count().max(1);
    Problem {
        severity: Severity::Error,
        message: invalid.message,
        help: (!invalid.help.is_empty()).then_some(invalid.help),
        file: name.to_owned(),
        line: 0,
        column: 0,
        key: None,
        excerpt: Some(Excerpt { text, start: 0, width }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_kept_for_an_address_and_replaced_for_a_name() {
        let config = Config::to_upstream("http://127.0.0.1:8000", "127.0.0.1:8080").unwrap();
        assert_eq!(config.upstreams[0].host, HostHeader::Keep);
        assert_eq!(config.monitor.access_log, AccessLog::Off);
        assert_eq!(config.routes[0].name, "/{path...}");
        assert!(config.routes[0].pattern.captures("/").is_some());
        let config = Config::to_upstream("https://shop.example/v1/", "unix:/tmp/x.sock").unwrap();
        assert_eq!(config.upstreams[0].host, HostHeader::Upstream);
        let Source::Endpoints(endpoints) = &config.upstreams[0].source else { panic!("listed") };
        assert_eq!((endpoints[0].url.port, endpoints[0].url.path.as_str()), (443, "/v1"));
        assert_eq!(
            Config::to_upstream("unix:/run/a", "[::1]:0").unwrap().upstreams[0].host,
            HostHeader::Keep
        );
    }

    #[test]
    fn bad_arguments_are_named_and_shown() {
        let problems = Config::to_upstream("127.0.0.1:8000", ":80").unwrap_err();
        assert_eq!(
            problems.0.iter().map(|problem| problem.file.as_str()).collect::<Vec<_>>(),
            ["--to", "--listen"]
        );
        let shown = problems.to_string();
        assert!(shown.starts_with("--to: error: "), "{shown}");
        assert!(shown.contains("help: write \"http://127.0.0.1:8000\""), "{shown}");
    }
}
