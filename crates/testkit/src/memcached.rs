//! Real Memcached servers.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::process::Command;

use crate::daemon::{Daemon, program};

/// A server.
pub struct Memcached(Daemon);

impl Deref for Memcached {
    type Target = Daemon;

    fn deref(&self) -> &Daemon {
        &self.0
    }
}

impl DerefMut for Memcached {
    fn deref_mut(&mut self) -> &mut Daemon {
        &mut self.0
    }
}

impl Memcached {
    /// Starts one, or skips `suite`.
    pub fn start(suite: &str) -> Option<Memcached> {
        let server = program(suite, "memcached", "memcached")?;
        // It refuses to run as root unless told so by name.
        let user = Command::new("id").arg("-un").output().expect("run id").stdout;
        let user = String::from_utf8_lossy(&user).trim().to_owned();
        let arguments = move |port: u16, _: &Path| {
            let port = port.to_string();
            ["-l", "127.0.0.1", "-p", &port, "-U", "0", "-t", "2", "-u", &user].map(str::to_owned).to_vec()
        };
        Some(Memcached(Daemon::start(server, arguments, ("version\r\n", &["VERSION"]))))
    }

    /// As the shared tier of a cache.
    pub fn url(&self) -> String {
        format!("memcached://{}", self.address())
    }

    /// The first line of the answer to a line.
    pub fn say(&self, line: &str) -> String {
        let mut stream = TcpStream::connect(self.address()).expect("connect to memcached");
        stream.write_all(format!("{line}\r\n").as_bytes()).expect("send to memcached");
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).expect("an answer of memcached");
        answer.trim_end().to_owned()
    }
}
