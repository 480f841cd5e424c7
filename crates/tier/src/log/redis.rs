//! The log as a Redis stream: `XADD` announces, `XREAD BLOCK` on a connection of its own listens, so that a broken link loses
//! nothing while the stream reaches back.
//!
//! Two keys in one slot: `ns:{log}` is the stream, `ns:{log}:epoch` says which it is. Both are made in one transaction, of which
//! only that of the fastest node takes place. Either may vanish alone (eviction): then whoever notices begins a new epoch.
//! Announcements never create the stream (`NOMKSTREAM`), so a lost one cannot pass for a short one. A server that came back with
//! an older snapshot has a stream that ends before what was heard last; that too is a loss.

use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use redis::{Cmd, Pipeline, Value};

use super::{Break, LOG_MAX};
use crate::shared::Shared;
use crate::wire::redis::Connection;
use crate::wire::{self, Failure, Target, Wire};

/// How long one read waits for news; then the log is looked at: a stream that was deleted wakes nobody.
const BLOCK_MS: u64 = 500;
const READ: usize = 64;

/// Bits of a sequence number for what a stream id counts within one millisecond.
const COUNT_BITS: u32 = 20;
const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;
const MS_MAX: u64 = (1 << (64 - COUNT_BITS)) - 1;

/// An id of the stream: milliseconds of the server's clock, and a count within. When that clock stands or goes back, only the
/// count rises; halfway to its bound, whoever announces moves the stream to the next millisecond.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Id {
    ms: u64,
    count: u64,
}

impl Id {
    fn parse(value: &Value) -> Option<Id> {
        let text = text(value)?;
        let (ms, count) = text.split_once('-')?;
        Some(Id { ms: ms.parse().ok()?, count: count.parse().ok()? })
    }

    fn seq(self) -> u64 {
        (self.ms.min(MS_MAX) << COUNT_BITS) | self.count.min(COUNT_MAX)
    }

    fn of(seq: u64) -> Id {
        Id { ms: seq >> COUNT_BITS, count: seq & COUNT_MAX }
    }

    fn shown(self) -> String {
        format!("{}-{}", self.ms, self.count)
    }
}

/// Where in which log a node is; epoch 0 before the first and after a loss.
#[derive(Clone, Copy, Default)]
pub(super) struct Place {
    epoch: u64,
    last: Id,
}

/// What the store says of the log.
struct Found {
    epoch: Option<u64>,
    ends: Option<(Id, Id)>,
}

struct Session<'a> {
    shared: &'a Shared,
    speak: Connection,
    epoch_key: String,
    stream: String,
}

/// Listens and announces until something breaks.
pub(super) async fn session(shared: &Shared, target: &Target, place: &mut Place) -> Break {
    let timeout = shared.settings.connect_timeout;
    let connected =
        async { tokio::try_join!(wire::connect(target, timeout), wire::connect(target, timeout)) };
    let ((listen, hearing), (speak, speaking)) = match connected.await {
        Ok(((Wire::Redis(listen), hearing), (Wire::Redis(speak), speaking))) => {
            ((listen, hearing), (speak, speaking))
        }
        Ok(_) => return Break::Link("not a Redis server".into()),
        Err(error) => {
            shared.journal.refused.store(error.kind() == std::io::ErrorKind::PermissionDenied, Relaxed);
            return Break::Link(error.to_string());
        }
    };
    let stream = shared.log_name();
    let session = Session { shared, speak, epoch_key: format!("{stream}:epoch"), stream };
    let running = async {
        session.enter(place).await?;
        // Whatever ends this, the place is that of the purge heard last.
        let Place { epoch, last } = place;
        tokio::select! {
            ended = session.hear(&listen, *epoch, last) => ended,
            ended = session.say() => ended,
        }
    };
    tokio::select! {
        broke = running => broke.err().unwrap_or(Break::Lost("listening has ended")),
        () = hearing => Break::Link("the connection has ended".into()),
        () = speaking => Break::Link("the connection has ended".into()),
    }
}

impl Session<'_> {
    /// Finds the log or makes it, and hears what was missed.
    async fn enter(&self, place: &mut Place) -> Result<(), Break> {
        let mut found = self.look().await?;
        let went_back = place.epoch != 0
            && found.epoch == Some(place.epoch)
            && found.ends.is_none_or(|(_, end)| end < place.last);
        if found.epoch.is_none() || found.ends.is_none() || went_back {
            self.begin().await?;
            found = self.look().await?;
        }
        let (Some(epoch), Some((first, end))) = (found.epoch, found.ends) else {
            return Err(Break::Link("the log vanishes as soon as it is made".into()));
        };
        let journal = &self.shared.journal;
        if place.epoch != 0 {
            if place.epoch != epoch || went_back {
                return Err(Break::Lost("the log was lost"));
            }
            if first > place.last {
                return Err(Break::Lost("the log no longer reaches back to what was heard last"));
            }
            self.replay(epoch, place).await?;
            journal.resumed();
            return Ok(());
        }
        if end.seq() < journal.seq() {
            // Numbers only rise, also from one log to the next.
            self.mark(epoch, &Id::of(journal.seq() + 1).shown()).await?;
        }
        let mut joining = Place { epoch, last: Id::default() };
        self.replay(epoch, &mut joining).await?;
        *place = joining;
        journal.joined(epoch, first.seq());
        tracing::info!(epoch = format!("{epoch:016x}"), "purges of all nodes are heard");
        Ok(())
    }

    /// What there is; [`Session::begin`] does nothing if that has changed since.
    async fn look(&self) -> Result<Found, Break> {
        let mut pipeline = Pipeline::new();
        pipeline.cmd("WATCH").arg(&self.epoch_key).arg(&self.stream);
        pipeline.cmd("GET").arg(&self.epoch_key);
        pipeline.cmd("XRANGE").arg(&self.stream).arg("-").arg("+").arg("COUNT").arg(1);
        pipeline.cmd("XREVRANGE").arg(&self.stream).arg("+").arg("-").arg("COUNT").arg(1);
        let answers = self.all(&pipeline).await?;
        let [_, epoch, first, end] = answers.as_slice() else { return Err(odd()) };
        let id = |entries: &Value| entries_of(entries).first().map(|(id, _)| *id);
        Ok(Found { epoch: text(epoch).and_then(|text| text.parse().ok()), ends: id(first).zip(id(end)) })
    }

    /// Makes log and epoch at once, unless another node has been faster.
    async fn begin(&self) -> Result<(), Break> {
        let epoch = crate::random();
        let mut pipeline = Pipeline::new();
        pipeline.cmd("MULTI").cmd("SET").arg(&self.epoch_key).arg(epoch.to_string());
        pipeline.cmd("XADD").arg(&self.stream).arg("*").arg("e").arg(epoch.to_string()).cmd("EXEC");
        self.all(&pipeline).await.map(drop)
    }

    /// Adds an entry that purges nothing.
    async fn mark(&self, epoch: u64, id: &str) -> Result<(), Break> {
        let mut command = redis::cmd("XADD");
        command.arg(&self.stream).arg(id).arg("e").arg(epoch.to_string());
        match self.one(&command).await {
            // Another node has done so, or gone further.
            Err(Failure::Refused(_)) | Ok(_) => Ok(()),
            Err(failure) => Err(broken(failure)),
        }
    }

    async fn replay(&self, epoch: u64, place: &mut Place) -> Result<(), Break> {
        // A log is bounded, but not while others write to it.
        for _ in 0..=LOG_MAX * 2 / READ as u64 {
            let mut command = redis::cmd("XREAD");
            command.arg("COUNT").arg(READ).arg("STREAMS").arg(&self.stream).arg(place.last.shown());
            let answer = self.one(&command).await.map_err(broken)?;
            if !self.take(&answer, epoch, &mut place.last).await? {
                return Ok(());
            }
        }
        Err(Break::Link("purges are announced faster than they are read".into()))
    }

    async fn hear(&self, listen: &Connection, epoch: u64, last: &mut Id) -> Result<(), Break> {
        loop {
            let mut command = redis::cmd("XREAD");
            command.arg("COUNT").arg(READ).arg("BLOCK").arg(BLOCK_MS);
            command.arg("STREAMS").arg(&self.stream).arg(last.shown());
            let patience = self.shared.settings.write_timeout + std::time::Duration::from_millis(BLOCK_MS);
            let answer = tokio::time::timeout(patience, listen.run(&command)).await;
            let answer = answer.map_err(|_| Break::Link("no answer in time".into()))?.map_err(broken)?;
            if !self.take(&answer, epoch, last).await? {
                let found = self.look().await?;
                if found.epoch != Some(epoch) || found.ends.is_none_or(|(_, end)| end < *last) {
                    return Err(Break::Lost("the log was lost"));
                }
            }
        }
    }

    /// Applies what was read; whether there was anything.
    async fn take(&self, answer: &Value, epoch: u64, last: &mut Id) -> Result<bool, Break> {
        let Value::Array(streams) = answer else { return Ok(false) };
        let Some(Value::Array(stream)) = streams.first() else { return Ok(false) };
        let entries = stream.get(1).map(entries_of).unwrap_or_default();
        for (id, fields) in &entries {
            match fields.as_slice() {
                [(field, message), ..] if field == "p" => {
                    self.shared.journal.purge(id.seq(), message.clone())
                }
                [(field, other), ..] if field == "e" => self.marked(other, epoch).await?,
                _ => {}
            }
            *last = *id;
            self.shared.journal.applied(id.seq());
        }
        Ok(!entries.is_empty())
    }

    /// A log begins with its epoch. One that is not ours may be of a node that was slower to begin it than another.
    async fn marked(&self, other: &[u8], epoch: u64) -> Result<(), Break> {
        if other == epoch.to_string().as_bytes() || self.look().await?.epoch == Some(epoch) {
            return Ok(());
        }
        Err(Break::Lost("another node has begun a new log"))
    }

    /// Announces what waits, many in one go and in order.
    async fn say(&self) -> Result<(), Break> {
        let journal = &self.shared.journal;
        let mut refused = false;
        loop {
            let messages = journal.next();
            if messages.is_empty() {
                journal.wake.notified().await;
                continue;
            }
            let mut pipeline = Pipeline::with_capacity(messages.len());
            for message in &messages {
                pipeline.cmd("XADD").arg(&self.stream).arg("NOMKSTREAM").arg("MAXLEN").arg("~").arg(LOG_MAX);
                pipeline.arg("*").arg("p").arg(&message[..]);
            }
            match self.added(&pipeline).await? {
                None => refused = false,
                Some(error) => {
                    if !std::mem::replace(&mut refused, true) {
                        tracing::warn!(
                            error,
                            "the shared cache refuses purges, they are kept and tried again"
                        );
                    }
                    tokio::time::sleep(super::PAUSE_FIRST * 10).await;
                }
            }
        }
    }

    /// Adds entries, up to the first that is refused, and why that is. What comes after it is in the log perhaps, and is sent again
    /// all the same: announcements are delivered in order.
    async fn added(&self, pipeline: &Pipeline) -> Result<Option<String>, Break> {
        let journal = &self.shared.journal;
        let running = self.speak.run_all(pipeline);
        let answers = tokio::time::timeout(self.shared.settings.write_timeout, running).await;
        let answers = answers.map_err(|_| Break::Link("no answer in time".into()))?.map_err(broken)?;
        let mut last = Id::default();
        for answer in answers {
            match wire::redis::checked(answer) {
                Ok(Value::Nil) => return Err(Break::Lost("the log was lost")),
                Ok(id) => {
                    last = Id::parse(&id).ok_or_else(odd)?;
                    journal.delivered(last.seq());
                }
                Err(Failure::Refused(error)) => return Ok(Some(error)),
                Err(failure) => return Err(broken(failure)),
            }
        }
        if last.count > COUNT_MAX / 2 {
            let epoch = journal.epoch().unwrap_or_default();
            self.mark(epoch, &Id { ms: last.ms + 1, count: 0 }.shown()).await?;
        }
        Ok(None)
    }

    async fn one(&self, command: &Cmd) -> Result<Value, Failure> {
        let answer = tokio::time::timeout(self.shared.settings.write_timeout, self.speak.run(command)).await;
        answer.unwrap_or_else(|_| Err(Failure::Lost("no answer in time".into())))
    }

    async fn all(&self, pipeline: &Pipeline) -> Result<Vec<Value>, Break> {
        let running = self.speak.run_all(pipeline);
        let answers = tokio::time::timeout(self.shared.settings.write_timeout, running).await;
        let answers = answers.map_err(|_| Break::Link("no answer in time".into()))?.map_err(broken)?;
        answers.into_iter().map(|answer| wire::redis::checked(answer).map_err(broken)).collect()
    }
}

fn broken(failure: Failure) -> Break {
    Break::Link(failure.to_string())
}

fn odd() -> Break {
    Break::Link("an answer that was not asked for".into())
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

/// Entries of a stream: `[[id, [field, value, …]], …]`. What is not such an entry is left out.
fn entries_of(value: &Value) -> Vec<(Id, Vec<(String, Bytes)>)> {
    let Value::Array(entries) = value else { return Vec::new() };
    let entry = |entry: &Value| {
        let Value::Array(entry) = entry else { return None };
        let [id, Value::Array(fields), ..] = entry.as_slice() else { return None };
        let pairs = fields.chunks_exact(2).filter_map(|pair| match pair {
            [field, Value::BulkString(value)] => {
                Some((text(field)?.to_owned(), Bytes::copy_from_slice(value)))
            }
            _ => None,
        });
        Some((Id::parse(id)?, pairs.collect()))
    };
    entries.iter().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_rise_with_ids_and_lead_back_to_them() {
        let id = |ms, count| Id { ms, count };
        let rising =
            [id(0, 1), id(1, 0), id(1, COUNT_MAX), id(2, 0), id(1_790_000_000_000, 3), id(MS_MAX, COUNT_MAX)];
        assert!(rising.windows(2).all(|pair| pair[0].seq() < pair[1].seq()));
        assert!(rising.iter().all(|id| Id::of(id.seq()) == *id));
        assert_eq!(id(u64::MAX, u64::MAX).seq(), u64::MAX);
    }

    #[test]
    fn what_is_no_entry_is_left_out() {
        let bulk = |text: &str| Value::BulkString(text.into());
        let entry =
            |id: &str| Value::Array(vec![bulk(id), Value::Array(vec![bulk("p"), bulk("m"), bulk("odd")])]);
        let read =
            entries_of(&Value::Array(vec![entry("1-2"), entry("x"), Value::Nil, entry("1-"), entry("3-4")]));
        let fields = vec![("p".to_owned(), Bytes::from_static(b"m"))];
        assert_eq!(read, [(Id { ms: 1, count: 2 }, fields.clone()), (Id { ms: 3, count: 4 }, fields)]);
    }
}
