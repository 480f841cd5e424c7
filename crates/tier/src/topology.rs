//! Which server has which key: the only one, the one that rendezvous hashing picks, or the one that a Redis cluster says.

use std::collections::BTreeSet;
use std::sync::Arc;

use redis::Value;

use crate::address::Server;
use crate::name::rendezvous;
use crate::node::Node;

const SLOTS: usize = 16_384;

/// Masters of one cluster. The documentation of Redis knows of a thousand and advises against it.
const MASTERS_MAX: usize = 1000;

/// Slot ranges in one answer: a cluster that is badly fragmented has some hundred.
const RANGES_MAX: usize = SLOTS;

/// A moment's servers.
#[derive(Default)]
pub(crate) struct Topology {
    pub(crate) nodes: Vec<Arc<Node>>,
    /// For a cluster, the place of each slot's master in `nodes`.
    slots: Option<Vec<Option<u16>>>,
}

impl Topology {
    /// Servers among which rendezvous hashing decides; also a single one.
    pub(crate) fn of(nodes: Vec<Arc<Node>>) -> Topology {
        Topology { nodes, slots: None }
    }

    /// A cluster; `node_of` gives the node of a server.
    pub(crate) fn of_cluster(ranges: &[Range], mut node_of: impl FnMut(&Server) -> Arc<Node>) -> Topology {
        let masters: Vec<&Server> =
            ranges.iter().map(|range| &range.master).collect::<BTreeSet<_>>().into_iter().collect();
        let mut slots = vec![None; SLOTS];
        for range in ranges {
            let at = masters.binary_search(&&range.master).ok().and_then(|at| u16::try_from(at).ok());
            if let Some(slots) = slots.get_mut(range.first..=range.last) {
                slots.fill(at);
            }
        }
        Topology { nodes: masters.into_iter().map(&mut node_of).collect(), slots: Some(slots) }
    }

    /// The server of a key.
    pub(crate) fn node_of(&self, stored: &str) -> Option<&Arc<Node>> {
        let at = match &self.slots {
            Some(slots) => slots.get(slot(stored.as_bytes())).copied().flatten().map(usize::from)?,
            None if self.nodes.len() == 1 => 0,
            None => rendezvous(stored, self.nodes.iter().map(|node| node.name.as_str()))?,
        };
        self.nodes.get(at)
    }
}

/// Slots that one master has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Range {
    first: usize,
    last: usize,
    master: Server,
}

/// The answer to `CLUSTER SLOTS`. A master without an address is the one that was asked.
pub(crate) fn ranges(answer: &Value, asked: &Server) -> Option<Vec<Range>> {
    let Value::Array(rows) = answer else { return None };
    let ranges: Option<Vec<Range>> = rows.iter().take(RANGES_MAX).map(|row| range(row, asked)).collect();
    let ranges = ranges?;
    let masters: BTreeSet<&Server> = ranges.iter().map(|range| &range.master).collect();
    (!masters.is_empty() && masters.len() <= MASTERS_MAX).then_some(ranges)
}

fn range(row: &Value, asked: &Server) -> Option<Range> {
    let Value::Array(row) = row else { return None };
    let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = row.as_slice() else { return None };
    let (first, last) = (usize::try_from(*first).ok()?, usize::try_from(*last).ok()?);
    let host = match master.first()? {
        Value::BulkString(host) => String::from_utf8(host.clone()).ok()?,
        Value::SimpleString(host) => host.clone(),
        _ => String::new(),
    };
    let Value::Int(port) = master.get(1)? else { return None };
    let host = if host.is_empty() || host == "?" { asked.host.clone() } else { host };
    let master = Server { host, port: u16::try_from(*port).ok()? };
    (first <= last && last < SLOTS).then_some(Range { first, last, master })
}

/// The slot of a key: CRC-16 (XMODEM) of the key, or of what is in its first braces.
fn slot(key: &[u8]) -> usize {
    let open = key.iter().position(|byte| *byte == b'{');
    let inside = open.and_then(|open| key.get(open + 1..)).and_then(|rest| {
        let close = rest.iter().position(|byte| *byte == b'}')?;
        rest.get(..close).filter(|inside| !inside.is_empty())
    });
    let crc = inside.unwrap_or(key).iter().fold(0u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    });
    usize::from(crc) % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_cluster_specification() {
        assert_eq!(slot(b"123456789"), 0x31C3);
        assert_eq!(slot(b"{user1000}.following"), slot(b"user1000"));
        assert_eq!(slot(b"foo{}{bar}"), slot(b"foo{}{bar}"));
        assert_ne!(slot(b"foo{}{bar}"), slot(b"bar"));
        assert_eq!(slot(b"foo{{bar}}zap"), slot(b"{bar"));
        assert_eq!(slot(b""), 0);
    }

    #[test]
    fn an_answer_that_is_no_list_of_slots_is_none() {
        let asked = Server { host: "h".into(), port: 7 };
        let row = |first, last, host: &str, port| {
            let master = Value::Array(vec![Value::BulkString(host.into()), Value::Int(port)]);
            Value::Array(vec![Value::Array(vec![Value::Int(first), Value::Int(last), master])])
        };
        let master = |host: &str, port| Server { host: host.into(), port };
        let expected = Range { first: 0, last: 9, master: master("a", 1) };
        assert_eq!(ranges(&row(0, 9, "a", 1), &asked), Some(vec![expected]));
        assert_eq!(ranges(&row(0, 9, "", 1), &asked).unwrap()[0].master, master("h", 1));
        for wrong in [
            row(0, 16_384, "a", 1),
            row(-1, 3, "a", 1),
            row(4, 3, "a", 1),
            row(0, 1, "a", 70_000),
            Value::Nil,
        ] {
            assert_eq!(ranges(&wrong, &asked), None, "{wrong:?}");
        }
        assert_eq!(ranges(&Value::Array(vec![]), &asked), None);
    }
}
