//! Active health checks: a request of its own on a connection of its own, beside the request path, over the protocol that the
//! requests use. What only accepts connections is not healthy.

use super::connect;
use crate::clock;
use crate::error::Error;
use crate::fleet::Endpoint;
use crate::net::io::Io;
use crate::plan::Upstream;
use http::header::USER_AGENT;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use unlag_config::{Health, Scheme};

/// Who asks.
const AGENT: &str = "unlag-health";

/// Checks an endpoint for as long as the task lives.
pub async fn keep_checking(upstream: Arc<Upstream>, endpoint: Arc<Endpoint>, health: Health) {
    let mut healthy = !endpoint.is_unhealthy();
    loop {
        let checked = tokio::time::timeout(health.timeout, check(&upstream, &endpoint, &health)).await;
        let now_healthy = matches!(checked, Ok(Ok(true)));
        if now_healthy != healthy {
            healthy = now_healthy;
            tracing::warn!(upstream = %upstream.name, endpoint = %endpoint.authority(), healthy, "health changed");
        }
        endpoint.set_healthy(healthy, clock::now());
        tokio::time::sleep(health.interval).await;
    }
}

/// Whether the endpoint answers with a 2xx status.
async fn check(upstream: &Upstream, endpoint: &Endpoint, health: &Health) -> Result<bool, Error> {
    let socket = connect::connect(endpoint).await?;
    let (io, is_h2) = connect::agree(upstream, endpoint, socket, false).await?;
    let host = upstream.host_for(endpoint, b"");
    let status = match is_h2 {
        true => ask_h2(io, request(endpoint, host, health)?).await,
        false => ask_h1(io, host, &health.path).await,
    };
    Ok(status.is_some_and(|status| (200..300).contains(&status)))
}

fn request(endpoint: &Endpoint, host: &[u8], health: &Health) -> Result<http::Request<()>, Error> {
    let scheme = if endpoint.url.scheme == Scheme::Https { "https" } else { "http" };
    let uri = http::Uri::builder().scheme(scheme).authority(host).path_and_query(health.path.as_str());
    let uri = uri.build().map_err(|_| Error::Protocol)?;
    http::Request::get(uri).header(USER_AGENT, AGENT).body(()).map_err(|_| Error::Protocol)
}

async fn ask_h2(io: Io, request: http::Request<()>) -> Option<u16> {
    let (send, connection) = h2::client::handshake(io).await.ok()?;
    // Ends with the check, whatever becomes of it.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let (answer, _) = send.ready().await.ok()?.send_request(request, true).ok()?;
    Some(answer.await.ok()?.status().as_u16())
}

async fn ask_h1(mut io: Io, host: &[u8], path: &str) -> Option<u16> {
    let head = [
        format!("GET {path} HTTP/1.1\r\nHost: ").as_bytes(),
        host,
        format!("\r\nConnection: close\r\nUser-Agent: {AGENT}\r\n\r\n").as_bytes(),
    ]
    .concat();
    io.write_all(&head).await.ok()?;
    io.flush().await.ok()?;
    let mut line = [0u8; 12];
    io.read_exact(&mut line).await.ok()?;
    let status = line.strip_prefix(b"HTTP/1.")?.get(2..5)?;
    std::str::from_utf8(status).ok()?.parse().ok()
}
