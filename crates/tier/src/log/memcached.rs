//! The log in Memcached, which has no streams: a counter, and an item for each number it has given out. Listening is polling: one
//! request of two keys every 8 ms. A purge is heard after 4 ms at the median and 10 at most, for 125 small requests a second and
//! node.
//!
//! ```text
//! ns:{log}:epoch      "<epoch> <base>"   which log this is, and the number it began after
//! ns:{log}:<epoch>:n  counter            the last number given out; numbers of a new log begin at the microseconds of a clock
//! ns:{log}:<epoch>:7  message            for an hour
//! ```
//!
//! Numbers are taken first, for as many as wait, then their items are written, so none is given out twice. An item that is not there a while after its
//! number is evicted, too old, or its announcer died in between: then a node has lost the thread, and joins anew above it.

use std::convert::Infallible;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::{Break, MESSAGE_MAX, PAUSE_FIRST};
use crate::shared::Shared;
use crate::wire::memcached::{Connection, set};
use crate::wire::meta::Reply;
use crate::wire::{self, Failure, Target, Wire};

const POLL: Duration = Duration::from_millis(8);

/// How long an item is waited for: its announcer needs one more round trip.
const GRACE: Duration = Duration::from_millis(500);

/// What the log keeps: as long as a node may be cut off and still come back without a loss.
const KEPT: Duration = Duration::from_secs(3600);

/// Items read back by a node that joins; each costs a request.
const JOIN_MAX: u64 = 4096;
/// Items in one request.
const READ: u64 = 64;

/// Where in which log a node is; epoch 0 before the first and after a loss.
#[derive(Clone, Copy, Default)]
pub(super) struct Place {
    epoch: u64,
    last: u64,
    /// Numbers that were taken for the next announcements, whose items are not known to be written: so many from this one on.
    taken: (u64, u64),
}

struct Session<'a> {
    shared: &'a Shared,
    wire: Connection,
    log: String,
}

/// Listens and announces until something breaks.
pub(super) async fn session(shared: &Shared, target: &Target, place: &mut Place) -> Break {
    let (wire, driver) = match wire::connect(target, shared.settings.connect_timeout).await {
        Ok((Wire::Memcached(wire), driver)) => (wire, driver),
        Ok(_) => return Break::Link("not a Memcached server".into()),
        Err(error) => return Break::Link(error.to_string()),
    };
    let session = Session { shared, wire, log: shared.log_name() };
    let running = async {
        session.enter(place).await?;
        session.hear(place).await
    };
    tokio::select! {
        Err(broke) = running => broke,
        () = driver => Break::Link("the connection has ended".into()),
    }
}

impl Session<'_> {
    /// Finds the log or makes it, and hears what was missed.
    async fn enter(&self, place: &mut Place) -> Result<(), Break> {
        let journal = &self.shared.journal;
        let mut found = self.look(None).await?;
        if found.is_none_or(|(_, _, count)| count.is_none()) {
            self.begin(found.is_some()).await?;
            found = self.look(None).await?;
        }
        let Some((epoch, base, Some(mut count))) = found else {
            return Err(Break::Link("the log vanishes as soon as it is made".into()));
        };
        if place.epoch != 0 {
            if place.epoch != epoch || count < place.last {
                return Err(Break::Lost("the log was lost"));
            }
            self.catch_up(place, count).await?;
            journal.resumed();
            return Ok(());
        }
        if count < journal.seq() {
            // Numbers only rise, also from one log to the next.
            count = self.add(epoch, journal.seq() - count).await?;
        }
        let mut floor = base.max(count.saturating_sub(JOIN_MAX));
        let mut last = floor;
        while last < count {
            let upto = count.min(last + READ);
            for (number, message) in self.read(epoch, last, upto).await? {
                match message {
                    Some(message) => journal.purge(number, message),
                    None => floor = number,
                }
            }
            last = upto;
        }
        journal.applied(count);
        *place = Place { epoch, last: count, taken: (0, 0) };
        journal.joined(epoch, floor);
        tracing::info!(epoch = format!("{epoch:016x}"), "purges of all nodes are heard");
        Ok(())
    }

    async fn hear(&self, place: &mut Place) -> Result<Infallible, Break> {
        let journal = &self.shared.journal;
        let mut ticks = tokio::time::interval(POLL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut refused = false;
        loop {
            // What more there is to be said does not wait for the next tick, and hearing does not wait until all is said.
            if refused || journal.pending() == 0 {
                tokio::select! {
                    _ = ticks.tick() => {}
                    () = journal.wake.notified() => {}
                }
            }
            let messages = journal.next();
            let all_said = self.say(place, &messages).await?;
            if !all_said && !std::mem::replace(&mut refused, true) {
                tracing::warn!("the shared cache refuses purges, they are kept and tried again");
            }
            refused = !all_said;
            match self.look(Some(place.epoch)).await? {
                Some((epoch, _, Some(count))) if epoch == place.epoch && count >= place.last => {
                    self.catch_up(place, count).await?;
                }
                _ => return Err(Break::Lost("the log was lost")),
            }
        }
    }

    /// Hears all up to `count`.
    async fn catch_up(&self, place: &mut Place, count: u64) -> Result<(), Break> {
        let mut waiting: Option<Instant> = None;
        while place.last < count {
            let before = place.last;
            for (number, message) in self.read(place.epoch, place.last, count.min(place.last + READ)).await? {
                let Some(message) = message else { break };
                self.shared.journal.purge(number, message);
                place.last = number;
            }
            if place.last > before {
                waiting = None;
            } else if waiting.get_or_insert_with(Instant::now).elapsed() > GRACE {
                return Err(Break::Lost("a purge is no longer in the log"));
            } else if place.last < count {
                tokio::time::sleep(PAUSE_FIRST / 5).await;
            }
        }
        Ok(())
    }

    /// Epoch, base and counter, as far as they are there.
    async fn look(&self, epoch: Option<u64>) -> Result<Option<(u64, u64, Option<u64>)>, Break> {
        // While listening, the epoch is known: both keys go in one request.
        let ask_count = |epoch: u64| format!("mg {}:{epoch:016x}:n v\r\n", self.log);
        let ask_epoch = format!("mg {}:epoch v\r\n", self.log);
        let ask = epoch.map_or_else(|| ask_epoch.clone(), |epoch| ask_epoch.clone() + &ask_count(epoch));
        let mut answers = self.ask(ask.into_bytes(), 1 + usize::from(epoch.is_some())).await?.into_iter();
        let Some((found, base)) = answers.next().and_then(value).and_then(|bytes| epoch_of(&bytes)) else {
            return Ok(None);
        };
        let count = match (epoch, answers.next()) {
            (Some(epoch), answer) if epoch == found => answer,
            _ => self.ask(ask_count(found).into_bytes(), 1).await?.pop(),
        };
        Ok(Some((found, base, count.and_then(value).and_then(|bytes| number(&bytes)))))
    }

    /// Makes a log; with `instead`, in the stead of one whose counter has gone.
    async fn begin(&self, instead: bool) -> Result<(), Break> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let clock = u64::try_from(since.as_micros()).unwrap_or(0);
        let (epoch, base) = (crate::random(), clock.max(self.shared.journal.seq() + 1));
        let mut bytes = Vec::new();
        set(&mut bytes, &format!("{}:{epoch:016x}:n", self.log), base.to_string().as_bytes(), None, false);
        // After its counter: whoever sees the epoch finds that.
        let both = format!("{epoch:016x} {base}");
        set(&mut bytes, &format!("{}:epoch", self.log), both.as_bytes(), None, !instead);
        match self.ask(bytes, 2).await?.as_slice() {
            [Reply::Done, Reply::Done | Reply::Kept] => Ok(()),
            other => Err(Break::Link(format!("no log can be made: {other:?}"))),
        }
    }

    async fn add(&self, epoch: u64, by: u64) -> Result<u64, Break> {
        let ask = format!("ma {}:{epoch:016x}:n v D{by}\r\n", self.log);
        let number =
            self.ask(ask.into_bytes(), 1).await?.pop().and_then(value).and_then(|bytes| number(&bytes));
        number.ok_or(Break::Lost("the log was lost"))
    }

    /// Takes numbers and writes their items, in two round trips however many there are; whether all were written. Those that were
    /// taken before come first: they are those of the same messages.
    async fn say(&self, place: &mut Place, messages: &[Bytes]) -> Result<bool, Break> {
        if messages.is_empty() {
            return Ok(true);
        }
        if place.taken.1 == 0 {
            let count = messages.len() as u64;
            let last = self.add(place.epoch, count).await?;
            place.taken = (last.saturating_sub(count - 1), count);
        }
        let (first, count) = place.taken;
        let (mut bytes, mut numbers) = (Vec::new(), Vec::new());
        for (number, message) in (first..first + count).zip(messages) {
            let name = format!("{}:{:016x}:{number}", self.log, place.epoch);
            set(&mut bytes, &name, message, Some(KEPT), false);
            numbers.push(number);
        }
        let answers = self.ask(bytes, numbers.len()).await?;
        for (number, answer) in numbers.into_iter().zip(answers) {
            // Announcements are delivered in order: what comes after one that is refused is written again.
            if answer != Reply::Done {
                return Ok(false);
            }
            place.taken = (number + 1, place.taken.1.saturating_sub(1));
            self.shared.journal.delivered(number);
        }
        Ok(true)
    }

    /// The items after `after` up to `upto`; those that are not there without a message.
    async fn read(&self, epoch: u64, after: u64, upto: u64) -> Result<Vec<(u64, Option<Bytes>)>, Break> {
        let numbers = after + 1..=upto;
        let ask: String =
            numbers.clone().map(|number| format!("mg {}:{epoch:016x}:{number} v\r\n", self.log)).collect();
        let answers = self.ask(ask.into_bytes(), numbers.clone().count()).await?;
        let message = |reply| value(reply).filter(|message| message.len() <= MESSAGE_MAX);
        Ok(numbers.zip(answers.into_iter().map(message)).collect())
    }

    async fn ask(&self, bytes: Vec<u8>, answers: usize) -> Result<Vec<Reply>, Break> {
        let asking = tokio::time::timeout(self.shared.settings.write_timeout, self.wire.all(bytes, answers));
        let answers = asking.await.unwrap_or_else(|_| Err(Failure::Lost("no answer in time".into())));
        answers.map_err(|failure| Break::Link(failure.to_string()))
    }
}

fn value(reply: Reply) -> Option<Bytes> {
    match reply {
        Reply::Value { value, .. } => Some(value),
        _ => None,
    }
}

fn number(bytes: &[u8]) -> Option<u64> {
    std::str::from_utf8(bytes).ok()?.trim_end().parse().ok()
}

fn epoch_of(bytes: &[u8]) -> Option<(u64, u64)> {
    let (epoch, base) = std::str::from_utf8(bytes).ok()?.split_once(' ')?;
    Some((u64::from_str_radix(epoch, 16).ok().filter(|epoch| *epoch != 0)?, base.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_epoch_is_none() {
        assert_eq!(epoch_of(b"00000000000000ff 17"), Some((255, 17)));
        for wrong in ["", "ff", "0000000000000000 17", "x 1", "ff -1", "ff 1 1"] {
            assert_eq!(epoch_of(wrong.as_bytes()), None, "{wrong:?}");
        }
    }
}
