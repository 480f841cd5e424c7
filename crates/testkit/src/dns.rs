//! A name server over UDP and TCP that answers every question as the test wants it.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What it answers.
#[derive(Clone, Debug)]
pub enum Zone {
    /// These IPv4 addresses for every name, for so many seconds.
    Addresses(Vec<Ipv4Addr>, u32),
    /// These records, for so many seconds; other names there are none. More of them than fit into a datagram come over TCP.
    Records(Vec<Record>, u32),
    /// That there is no such name.
    NoSuchName,
    /// That the name has no addresses.
    Empty,
    /// That the server failed.
    Failure,
    /// Nothing at all.
    Silence,
}

/// A record of a zone; names in lower case, without the dot of the root.
#[derive(Clone, Debug)]
pub enum Record {
    /// An address of a name.
    Address(&'static str, IpAddr),
    /// A place of a service: priority, weight, port, target.
    Place(&'static str, u16, u16, u16, &'static str),
}

struct State {
    zone: Zone,
    questions: usize,
    over_tcp: usize,
}

/// A name server on a port of its own.
pub struct NameServer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    stopped: Arc<AtomicBool>,
}

const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;
const TYPE_SRV: u16 = 33;
/// What fits into a datagram of which nothing is agreed (RFC 1035 §4.2.1).
const DATAGRAM_MAX: usize = 512;

impl NameServer {
    /// Starts one that answers `zone`.
    pub fn start(zone: Zone) -> NameServer {
        let (socket, listener) = both_on_one_port();
        let address = socket.local_addr().expect("bound");
        let state = Arc::new(Mutex::new(State { zone, questions: 0, over_tcp: 0 }));
        let stopped = Arc::new(AtomicBool::new(false));
        let (shared, stop) = (Arc::clone(&state), Arc::clone(&stopped));
        std::thread::spawn(move || {
            let mut buffer = [0; 1500];
            while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
                if stop.load(Ordering::Acquire) {
                    return;
                }
                if let Some(mut answer) = buffer.get(..length).and_then(|query| answer(query, &shared)) {
                    if answer.len() > DATAGRAM_MAX {
                        // Truncated, and without a record: ask again over TCP.
                        answer = cut(&answer);
                    }
                    let _ = socket.send_to(&answer, peer);
                }
            }
        });
        let (shared, stop) = (Arc::clone(&state), Arc::clone(&stopped));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stop.load(Ordering::Acquire) {
                    return;
                }
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        NameServer { address, state, stopped }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers this from now on.
    pub fn set(&self, zone: Zone) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).zone = zone;
    }

    /// How often it was asked for an IPv4 address or a service.
    pub fn questions(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).questions
    }

    /// How many questions came over TCP.
    pub fn over_tcp(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).over_tcp
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
        let _ = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.send_to(&[0], self.address));
        let _ = TcpStream::connect(self.address);
    }
}

/// A port that is free for both.
fn both_on_one_port() -> (UdpSocket, TcpListener) {
    for _ in 0..100 {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        if let Ok(socket) = UdpSocket::bind(listener.local_addr().expect("bound")) {
            return (socket, listener);
        }
    }
    panic!("no port is free for UDP and TCP");
}

/// Answers the questions of a connection, each behind its length.
fn serve(mut stream: TcpStream, state: &Mutex<State>) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
    let mut length = [0; 2];
    while stream.read_exact(&mut length).is_ok() {
        let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
        if stream.read_exact(&mut query).is_err() {
            return;
        }
        state.lock().unwrap_or_else(PoisonError::into_inner).over_tcp += 1;
        if let Some(answer) = answer(&query, state) {
            let length = u16::try_from(answer.len()).expect("a message");
            if stream.write_all(&[&length.to_be_bytes()[..], &answer].concat()).is_err() {
                return;
            }
        }
    }
}

/// The answer to a query of one question (RFC 1035 §4.1).
fn answer(query: &[u8], state: &Mutex<State>) -> Option<Vec<u8>> {
    let (name, end) = name_at(query, 12)?;
    let question = query.get(12..end + 4)?;
    let kind = u16::from_be_bytes([*query.get(end)?, *query.get(end + 1)?]);
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    state.questions += usize::from(matches!(kind, TYPE_A | TYPE_SRV));
    let (code, records) = match &state.zone {
        Zone::Silence => return None,
        Zone::Failure => (2, Vec::new()),
        Zone::NoSuchName => (3, Vec::new()),
        Zone::Empty => (0, Vec::new()),
        Zone::Addresses(addresses, ttl) => {
            let of = addresses.iter().filter(|_| kind == TYPE_A);
            (0, of.map(|address| encode(TYPE_A, *ttl, &address.octets())).collect())
        }
        Zone::Records(records, ttl) => {
            let of = records.iter().filter(|record| record.name() == name);
            let code = if of.clone().next().is_some() { 0 } else { 3 };
            let of = of.map(Record::data).filter(|(own, _)| *own == kind);
            (code, of.map(|(kind, data)| encode(kind, *ttl, &data)).collect::<Vec<_>>())
        }
    };
    let count = u16::try_from(records.len()).expect("few records").to_be_bytes();
    let mut answer = query.get(..2)?.to_vec();
    answer.extend([0x81, 0x80 | code, 0, 1, count[0], count[1], 0, 0, 0, 0]);
    answer.extend(question);
    answer.extend(records.concat());
    Some(answer)
}

/// The name that begins there, and where it ends.
fn name_at(query: &[u8], start: usize) -> Option<(String, usize)> {
    let (mut labels, mut at) = (Vec::new(), start);
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        labels.push(String::from_utf8_lossy(query.get(at..at + length)?).to_ascii_lowercase());
        at += length;
    }
}

/// A record of the name that was asked for.
fn encode(kind: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let mut record = vec![0xc0, 12];
    record.extend(kind.to_be_bytes());
    record.extend([0, 1]);
    record.extend(ttl.to_be_bytes());
    record.extend(u16::try_from(data.len()).expect("short data").to_be_bytes());
    record.extend(data);
    record
}

/// The head and the question of an answer, marked as truncated.
fn cut(answer: &[u8]) -> Vec<u8> {
    let end = name_at(answer, 12).map_or(12, |(_, end)| end + 4);
    let mut cut = answer.get(..end).unwrap_or_default().to_vec();
    cut[2] |= 2;
    cut[6..8].fill(0);
    cut
}

impl Record {
    fn name(&self) -> &str {
        match self {
            Record::Address(name, _) | Record::Place(name, ..) => name,
        }
    }

    fn data(&self) -> (u16, Vec<u8>) {
        match self {
            Record::Address(_, IpAddr::V4(ip)) => (TYPE_A, ip.octets().to_vec()),
            Record::Address(_, IpAddr::V6(ip)) => (TYPE_AAAA, ip.octets().to_vec()),
            Record::Place(_, priority, weight, port, target) => {
                let mut data = [*priority, *weight, *port].map(u16::to_be_bytes).concat();
                for label in target.split('.').filter(|label| !label.is_empty()) {
                    data.push(u8::try_from(label.len()).expect("a label"));
                    data.extend(label.bytes());
                }
                data.push(0);
                (TYPE_SRV, data)
            }
        }
    }
}
