//! Where the shared tier is: `redis://`, `rediss://`, `redis-cluster://`, `rediss-cluster://` or `memcached://`, parsed in one
//! place, so that what is checked is what will run. Errors say what is allowed and repeat nothing of the text, which may hold
//! a password where none belongs; what prints an address prints it without its login.

use std::error::Error;
use std::fmt;
use std::str::FromStr;

/// Servers named in one address. Rendezvous hashing looks at every one for every key.
const SERVERS_MAX: usize = 64;

/// A server's name and port.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Server {
    /// A host name, or an IP address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// Who we are to a Redis server; nobody in particular by default.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Login {
    /// The user of an access control list; none for a server with one password for all.
    pub user: Option<String>,
    /// The password.
    pub password: Option<String>,
}

/// A parsed address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Address {
    /// One Redis or Valkey server.
    Redis {
        /// Where it listens.
        server: Server,
        /// Whether the connection is encrypted (`rediss://`).
        tls: bool,
        /// Who we are.
        login: Login,
        /// The number of the database.
        database: u32,
    },
    /// A Redis or Valkey cluster, found through some of its servers.
    RedisCluster {
        /// Servers to ask for the others.
        seeds: Vec<Server>,
        /// Whether connections are encrypted (`rediss-cluster://`).
        tls: bool,
        /// Who we are.
        login: Login,
    },
    /// Memcached servers; which of them has a key is decided by rendezvous hashing.
    Memcached {
        /// All of them.
        nodes: Vec<Server>,
    },
}

/// Why an address cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AddressError(String);

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for AddressError {}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Address, AddressError> {
        let text = text.trim();
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        let (tls, cluster) = match scheme {
            "redis" => (false, false),
            "rediss" => (true, false),
            "redis-cluster" => (false, true),
            "rediss-cluster" => (true, true),
            "memcached" => return memcached(rest),
            _ => {
                let allowed =
                    "redis://, rediss:// (TLS), redis-cluster://, rediss-cluster:// or memcached://";
                return wrong(format!("the address of a shared cache begins with {allowed}"));
            }
        };
        let (login, rest) = login(rest)?;
        let (servers, path) = rest.split_once('/').map_or((rest, ""), |(servers, path)| (servers, path));
        let mut servers = servers_of(servers, 6379)?;
        if cluster {
            if !path.is_empty() {
                return wrong("a Redis cluster has no numbered databases: end the address after the port");
            }
            return Ok(Address::RedisCluster { seeds: servers, tls, login });
        }
        let database = match path {
            "" => 0,
            number => match number.parse() {
                Ok(number) => number,
                Err(_) => return wrong("what follows the port is a database, a number such as /0"),
            },
        };
        match (servers.pop(), servers.is_empty()) {
            (Some(server), true) => Ok(Address::Redis { server, tls, login, database }),
            _ => wrong("redis:// names one server; for several that form a cluster write redis-cluster://"),
        }
    }
}

/// Whether a text may hold a password: it has a login, or what looks like one that lacks its host.
pub(crate) fn may_hold_password(text: &str) -> bool {
    let servers = text.split_once("://").map_or(text, |(_, servers)| servers);
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let mut ports = servers.split(',').filter_map(|server| {
        let server = server.split_once('/').map_or(server, |(server, _)| server);
        server.rsplit_once(']').map_or(server, |(_, port)| port).split_once(':')
    });
    text.contains('@') || ports.any(|(_, port)| !is_port(port))
}

fn wrong<T>(what: impl Into<String>) -> Result<T, AddressError> {
    Err(AddressError(what.into()))
}

fn memcached(rest: &str) -> Result<Address, AddressError> {
    if rest.contains('@') {
        return wrong("memcached:// takes no user and no password: write memcached://host:11211,host:11211");
    }
    let servers = rest.strip_suffix('/').unwrap_or(rest);
    if servers.contains('/') {
        return wrong("memcached has no databases: end the address after the last port");
    }
    Ok(Address::Memcached { nodes: servers_of(servers, 11211)? })
}

fn login(rest: &str) -> Result<(Login, &str), AddressError> {
    let Some((login, rest)) = rest.rsplit_once('@') else { return Ok((Login::default(), rest)) };
    let (user, password) = match login.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (login, None),
    };
    let Some(password) = password else {
        return wrong("a login is written user:password@host, or :password@host without a user");
    };
    let user = if user.is_empty() { None } else { Some(unescaped(user)?) };
    Ok((Login { user, password: Some(unescaped(password)?) }, rest))
}

/// `%40` and the like, so that a password may hold any character.
fn unescaped(text: &str) -> Result<String, AddressError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        match (digit(rest.next()), digit(rest.next())) {
            (Some(high), Some(low)) => bytes.push((high * 16 + low) as u8),
            _ => return wrong("in a user or password `%` begins an escape such as %40; `%` itself is %25"),
        }
    }
    String::from_utf8(bytes).or_else(|_| wrong("a user or password is UTF-8 when its escapes are resolved"))
}

fn servers_of(list: &str, port: u16) -> Result<Vec<Server>, AddressError> {
    let mut servers = Vec::new();
    for name in list.split(',') {
        let server = server(name, port)?;
        if servers.contains(&server) {
            return wrong("a server is named twice");
        }
        servers.push(server);
    }
    if servers.len() > SERVERS_MAX {
        return wrong(format!("{} servers; at most {SERVERS_MAX} can be named", servers.len()));
    }
    Ok(servers)
}

fn server(name: &str, default: u16) -> Result<Server, AddressError> {
    let (host, port) = match name.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(Some((host, rest))) => (host, rest),
        Some(None) => return wrong("an IPv6 address ends with `]`"),
        None => name.split_at(name.find(':').unwrap_or(name.len())),
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => default,
        digits => match digits.unwrap_or_default().parse() {
            Ok(port) if port > 0 => port,
            _ => return wrong("after a host comes `:` and a port from 1 to 65535"),
        },
    };
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
    if host.is_empty() || !host.bytes().all(allowed) {
        return wrong("a server is written host:port, an IPv6 address in brackets");
    }
    Ok(Server { host: host.to_owned(), port })
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let password = self.password.as_ref().map(|_| "…");
        f.debug_struct("Login").field("user", &self.user).field("password", &password).finish()
    }
}

impl fmt::Display for Address {
    /// Without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |servers: &[Server]| servers.iter().map(Server::to_string).collect::<Vec<_>>().join(",");
        match self {
            Address::Redis { server, tls, database, .. } => {
                let scheme = if *tls { "rediss" } else { "redis" };
                write!(f, "{scheme}://{server}")?;
                if *database > 0 { write!(f, "/{database}") } else { Ok(()) }
            }
            Address::RedisCluster { seeds, tls, .. } => {
                let scheme = if *tls { "rediss-cluster" } else { "redis-cluster" };
                write!(f, "{scheme}://{}", list(seeds))
            }
            Address::Memcached { nodes } => write!(f, "memcached://{}", list(nodes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        text.parse::<Address>().unwrap().to_string()
    }

    #[test]
    fn an_address_is_shown_as_it_was_written_but_without_its_password() {
        for text in [
            "redis://127.0.0.1:6379",
            "rediss://cache.internal:6380/3",
            "memcached://a:1,b:2",
            "redis://[::1]:7",
        ] {
            assert_eq!(shown(text), text);
        }
        assert_eq!(shown("redis://cache"), "redis://cache:6379");
        assert_eq!(shown("memcached://a,b:3"), "memcached://a:11211,b:3");
        assert_eq!(shown("redis-cluster://me:secret@a:1,b:2"), "redis-cluster://a:1,b:2");
        let debug = format!("{:?}", "redis://me:secret@a".parse::<Address>().unwrap());
        assert!(!debug.contains("secret"), "{debug}");
    }

    #[test]
    fn a_password_may_hold_any_character() {
        let Ok(Address::Redis { login, .. }) = "redis://:p%40s%2Fs%25:@x@cache".parse() else { panic!() };
        assert_eq!(login, Login { user: None, password: Some("p@s/s%:@x".into()) });
    }

    #[test]
    fn what_looks_like_a_password_is_taken_for_one() {
        for text in ["redis://:secret@a", "redis://me:secret", "redis://:secret", "a:1,me:secret", "x@y"] {
            assert!(may_hold_password(text), "{text}");
        }
        for text in ["redis://a:1/foo", "redis://a,b:2", "redis://[::1]:7", "http://a", "memcached://a/b:c"] {
            assert!(!may_hold_password(text), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_told_with_what_can() {
        for (text, says) in [
            ("http://a", "begins with redis://"),
            ("127.0.0.1:6379", "begins with redis://"),
            ("redis://a,b", "redis-cluster://"),
            ("redis://a/x", "a number such as /0"),
            ("redis-cluster://a/1", "no numbered databases"),
            ("redis://a:0", "1 to 65535"),
            ("redis://a:b", "1 to 65535"),
            ("redis://[::1", "ends with `]`"),
            ("redis://", "host:port"),
            ("redis://user@a", "user:password@host"),
            ("redis://:%4@a", "%25"),
            ("memcached://a,a", "twice"),
            ("memcached://u:p@a", "no user"),
            ("memcached://a/1", "no databases"),
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
            assert!(
                !error.contains("%4@") && !error.contains("u:p"),
                "nothing of the text is repeated: {error}"
            );
        }
    }
}
