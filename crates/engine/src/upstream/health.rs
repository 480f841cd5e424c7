//! Active health checks: a request of its own on a connection of its own, beside the request path.

use super::connect;
use crate::fleet::Endpoint;
use crate::plan::Upstream;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use unlag_config::{Health, Protocol, Scheme};

/// Checks an endpoint for as long as the task lives.
pub async fn keep_checking(upstream: Arc<Upstream>, endpoint: Arc<Endpoint>, health: Health) {
    let mut healthy = true;
    loop {
        let checked = tokio::time::timeout(health.timeout, check(&upstream, &endpoint, &health)).await;
        let now_healthy = matches!(checked, Ok(Ok(true)));
        if now_healthy != healthy {
            healthy = now_healthy;
            tracing::warn!(upstream = %upstream.name, endpoint = %endpoint.authority(), healthy, "health changed");
        }
        endpoint.set_healthy(healthy);
        tokio::time::sleep(health.interval).await;
    }
}

/// Whether the endpoint answers with a status below 400. An HTTP/2 endpoint in clear is healthy when it accepts.
async fn check(
    upstream: &Upstream,
    endpoint: &Endpoint,
    health: &Health,
) -> Result<bool, crate::error::Error> {
    let socket = connect::connect(endpoint).await?;
    let host = upstream.host_for(endpoint, b"");
    let mut request = format!("GET {} HTTP/1.1\r\nHost: ", health.path).into_bytes();
    request.extend_from_slice(host);
    request.extend_from_slice(b"\r\nConnection: close\r\nUser-Agent: unlag-health\r\n\r\n");
    let status = match (endpoint.url.scheme, &upstream.tls) {
        (Scheme::Https, Some(tls)) => {
            let mut config = (*tls.config).clone();
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            let connector = TlsConnector::from(Arc::new(config));
            let name = tls.name_for(&endpoint.url.host)?;
            let stream =
                connector.connect(name, socket).await.map_err(|_| crate::error::Error::TlsHandshake)?;
            ask(stream, &request).await
        }
        _ if upstream.protocol == Protocol::Http2 => return Ok(true),
        _ => ask(socket, &request).await,
    };
    Ok(status.is_some_and(|status| status < 400))
}

async fn ask(
    mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    request: &[u8],
) -> Option<u16> {
    stream.write_all(request).await.ok()?;
    let mut line = [0u8; 12];
    stream.read_exact(&mut line).await.ok()?;
    let status = line.strip_prefix(b"HTTP/1.")?.get(2..5)?;
    std::str::from_utf8(status).ok()?.parse().ok()
}
