//! A name server over UDP that answers every question for an IPv4 address as the test wants it, and has no others.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What it answers.
#[derive(Clone, Debug)]
pub enum Zone {
    /// These addresses, for so many seconds.
    Addresses(Vec<Ipv4Addr>, u32),
    /// That there is no such name.
    NoSuchName,
    /// That the name has no addresses.
    Empty,
    /// Nothing at all.
    Silence,
}

struct State {
    zone: Zone,
    questions: usize,
}

/// A name server on a port of its own.
pub struct NameServer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    stopped: Arc<AtomicBool>,
}

impl NameServer {
    /// Starts one that answers `zone`.
    pub fn start(zone: Zone) -> NameServer {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let address = socket.local_addr().expect("bound");
        let state = Arc::new(Mutex::new(State { zone, questions: 0 }));
        let (shared, stopped) = (Arc::clone(&state), Arc::new(AtomicBool::new(false)));
        let stop = Arc::clone(&stopped);
        std::thread::spawn(move || {
            let mut buffer = [0; 1500];
            while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
                if stop.load(Ordering::Acquire) {
                    return;
                }
                if let Some(answer) = answer(&buffer[..length], &shared) {
                    let _ = socket.send_to(&answer, peer);
                }
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

    /// How often it was asked for an IPv4 address.
    pub fn questions(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).questions
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
        let _ = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.send_to(&[0], self.address));
    }
}

/// The answer to a query of one question (RFC 1035 §4.1).
fn answer(query: &[u8], state: &Mutex<State>) -> Option<Vec<u8>> {
    const TYPE_A: [u8; 2] = [0, 1];
    let mut end = 12;
    while *query.get(end)? != 0 {
        end += usize::from(query[end]) + 1;
    }
    let question = query.get(12..end + 5)?;
    let is_address = query[end + 1..end + 3] == TYPE_A;
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    state.questions += usize::from(is_address);
    let (code, addresses, ttl) = match &state.zone {
        Zone::Silence => return None,
        Zone::NoSuchName => (3, &[][..], 0),
        Zone::Addresses(addresses, ttl) if is_address => (0, &addresses[..], *ttl),
        Zone::Addresses(..) | Zone::Empty => (0, &[][..], 0),
    };
    let count = u8::try_from(addresses.len()).expect("few addresses");
    let mut answer = query[..2].to_vec();
    answer.extend([0x81, 0x80 | code, 0, 1, 0, count, 0, 0, 0, 0]);
    answer.extend(question);
    for address in addresses {
        answer.extend([0xc0, 12, 0, 1, 0, 1]);
        answer.extend(ttl.to_be_bytes());
        answer.extend([0, 4]);
        answer.extend(address.octets());
    }
    Some(answer)
}
