//! Redis and Valkey, on the multiplexed connection of the `redis` crate. A future of it may be dropped at any time: the crate
//! reads the answer that nobody waits for and throws it away. Its time-outs are switched off, ours are tighter.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Cmd, ErrorKind, Pipeline, RedisConnectionInfo, RedisError, ServerErrorKind, Value,
};

use super::metered::Received;
use super::{Driver, Failure, Held, Item, Stream};
use crate::address::Login;
use crate::envelope::PLAIN_MAX;

/// Commands that wait inside the crate; how many are out is bounded before they come here.
const BUFFER: usize = 512;

/// Nothing is kept for longer: Memcached reads a larger number as a date, and both shall behave alike.
pub const LIFETIME_MAX: Duration = Duration::from_secs(29 * 24 * 3600);

#[derive(Clone)]
pub(crate) struct Connection {
    shared: MultiplexedConnection,
    pub(super) received: Received,
}

/// Logs in on a fresh stream.
pub(super) async fn open(
    stream: Box<dyn Stream>,
    received: Received,
    login: &Login,
    database: u32,
) -> io::Result<(Connection, Driver)> {
    let mut info = RedisConnectionInfo::default().set_db(i64::from(database));
    if let Some(user) = &login.user {
        info = info.set_username(user);
    }
    if let Some(password) = &login.password {
        info = info.set_password(password);
    }
    let config = AsyncConnectionConfig::new()
        .set_response_timeout(None)
        .set_connection_timeout(None)
        .set_pipeline_buffer_size(BUFFER);
    // This performs the login and selects the database, so the driver must run meanwhile: the crate sees to that.
    let (connection, driver) =
        MultiplexedConnection::new_with_config(&info, stream, config).await.map_err(not_let_in)?;
    let connection = Connection { shared: connection, received };
    let greeting = connection.clone();
    super::settled(Box::pin(driver), async move {
        greeting.run(&redis::cmd("PING")).await.map_err(|failure| match failure {
            Failure::Refused(text) if text.contains("NOAUTH") => {
                io::Error::new(io::ErrorKind::PermissionDenied, text)
            }
            other => io::Error::other(other),
        })
    })
    .await
    .map(|(_, driver)| (connection, driver))
}

/// Tells a server that refuses our login from one that is not there.
fn not_let_in(error: RedisError) -> io::Error {
    let is_refused = error.kind() == ErrorKind::AuthenticationFailed
        || matches!(error.code(), Some("NOAUTH" | "WRONGPASS"));
    let kind = if is_refused { io::ErrorKind::PermissionDenied } else { io::ErrorKind::Other };
    io::Error::new(kind, error)
}

impl Connection {
    pub(super) async fn get(&self, name: &str) -> Result<Option<Held>, Failure> {
        let mut pipeline = Pipeline::with_capacity(2);
        // In this order: what comes to stand there in between has less left than it could have, not more.
        pipeline.cmd("PTTL").arg(name);
        // Like GET, but whatever somebody has put there, no more than this comes back.
        pipeline.cmd("GETRANGE").arg(name).arg(0).arg(PLAIN_MAX);
        let mut answers = self.run_all(&pipeline).await?.into_iter().map(checked);
        let (Some(left), Some(value)) = (answers.next(), answers.next()) else {
            return Err(Failure::Refused("not as many answers as questions".into()));
        };
        match (left?, value?) {
            (Value::Int(ms), Value::BulkString(bytes)) if !bytes.is_empty() => {
                // Below zero for what is not there or does not expire, and so is not ours.
                let left = Duration::from_millis(u64::try_from(ms).unwrap_or(0));
                Ok(Some(Held { value: Bytes::from(bytes), left }))
            }
            _ => Ok(None),
        }
    }

    pub(super) async fn put(&self, items: &[Item]) -> Result<Vec<Result<(), Failure>>, Failure> {
        let mut pipeline = Pipeline::with_capacity(items.len());
        for item in items {
            let milliseconds = item.lifetime.min(LIFETIME_MAX).as_millis().max(1);
            let milliseconds = u64::try_from(milliseconds).unwrap_or(u64::MAX);
            match &item.value {
                Some(value) => pipeline.cmd("SET").arg(&item.name).arg(value).arg("PX").arg(milliseconds),
                None => pipeline.cmd("DEL").arg(&item.name),
            };
        }
        Ok(self.run_all(&pipeline).await?.into_iter().map(|value| checked(value).map(drop)).collect())
    }

    /// One command; an error that the server answers with is a failure.
    pub(crate) async fn run(&self, command: &Cmd) -> Result<Value, Failure> {
        checked(self.shared.clone().send_packed_command(command).await.map_err(failure)?)
    }

    /// Several commands in one go, each with its own answer; errors are among them.
    pub(crate) async fn run_all(&self, pipeline: &Pipeline) -> Result<Vec<Value>, Failure> {
        self.shared.clone().send_packed_commands(pipeline, 0, pipeline.len()).await.map_err(failure)
    }
}

/// An answer that is an error of the server is a failure.
pub(crate) fn checked(value: Value) -> Result<Value, Failure> {
    match value {
        Value::ServerError(error) => Err(failure(RedisError::from(error))),
        value => Ok(value),
    }
}

fn failure(error: RedisError) -> Failure {
    use ServerErrorKind::{Ask, Moved, ReadOnly};
    match error.kind() {
        ErrorKind::Server(Moved | Ask | ReadOnly) => Failure::Moved(error.to_string()),
        _ if error.is_io_error() || error.is_unrecoverable_error() => Failure::Lost(error.to_string()),
        _ => Failure::Refused(error.to_string()),
    }
}
