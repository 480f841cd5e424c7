//! Makes a request of one hop into a request of the next (RFC 9110 §7.6): takes out what belongs to the hop, refuses what
//! would be understood differently behind us, and finds out what the caller wants of us.

use crate::error::Error;
use crate::http::fields::members;
use crate::http::{Fields, Name, NameSet, RequestHead, Version};
use http::Method;

/// What the caller wants of this hop.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// The connection is to be closed after the answer.
    pub close: bool,
    /// An HTTP/1.0 caller wants it kept.
    pub keep_alive: bool,
    /// The protocol that it asks to change to.
    pub upgrade: Option<Box<[u8]>>,
    /// It waits for `100 Continue`.
    pub expects_continue: bool,
    /// It understands trailers.
    pub trailers: bool,
}

/// What is not passed on: said anew for the next hop, if at all. `Proxy` is no field at all, but becomes the variable in which
/// many programs look for a proxy of their own (httpoxy).
const OF_HOP: NameSet = Name::HOP_BY_HOP | Name::ContentLength.bit() | Name::Expect.bit() | Name::Proxy.bit();

/// Takes the fields of this hop out of `head` and returns what they said.
pub fn prepare(head: &mut RequestHead) -> Result<Wishes, Error> {
    if head.method == Method::CONNECT {
        return Err(Error::Connect);
    }
    let mut wishes = Wishes::default();
    let named = read_connection(&head.fields, &mut wishes)?;
    if wishes.upgrade.is_some() {
        wishes.upgrade = offered_upgrade(head);
    }
    wishes.expects_continue = expectation(head)?;
    wishes.trailers =
        head.fields.all(Name::Te).flat_map(members).any(|member| member.eq_ignore_ascii_case(b"trailers"));
    if head.fields.iter().any(|field| field.known == Name::Underscored && Name::is_impostor(field.name)) {
        return Err(Error::FieldName);
    }
    if head.fields.has_any(OF_HOP) || !named.is_empty() {
        head.fields.retain(|field| {
            let is_named = || named.iter().any(|name| field.name.eq_ignore_ascii_case(name));
            OF_HOP & field.known.bit() == 0 && !is_named()
        });
    }
    if wishes.trailers {
        head.fields.push_known(Name::Te, b"trailers");
    }
    Ok(wishes)
}

/// Reads `Connection` and returns the fields that it names.
fn read_connection(fields: &Fields, wishes: &mut Wishes) -> Result<Vec<Vec<u8>>, Error> {
    let mut named = Vec::new();
    for member in fields.all(Name::Connection).flat_map(members) {
        if member.eq_ignore_ascii_case(b"close") {
            wishes.close = true;
        } else if member.eq_ignore_ascii_case(b"keep-alive") {
            wishes.keep_alive = true;
        } else if member.eq_ignore_ascii_case(b"upgrade") {
            wishes.upgrade = Some(Box::default());
        } else {
            let known = Name::of(member);
            if known.is_protected() {
                return Err(Error::ProtectedField);
            }
            if !known.is_hop_by_hop() {
                named.push(member.to_ascii_lowercase());
            }
        }
    }
    Ok(named)
}

/// The protocol to ask the upstream for. HTTP/2 by upgrade is not: it would let a caller speak to the upstream behind our
/// back (h2c smuggling); the request is answered as it stands instead, as RFC 9110 §7.8 allows.
fn offered_upgrade(head: &RequestHead) -> Option<Box<[u8]>> {
    let has_content = head.fields.has(Name::ContentLength) || head.fields.has(Name::TransferEncoding);
    if head.version != Version::Http11 || has_content {
        return None;
    }
    let mut offers = head.fields.all(Name::Upgrade).flat_map(members);
    let first = offers.next()?;
    let is_http = first.get(..2).is_some_and(|start| start.eq_ignore_ascii_case(b"h2"))
        || first.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"http"));
    let well_formed = first.iter().all(|&byte| byte == b'/' || crate::http::fields::is_token_byte(byte));
    (!is_http && well_formed && offers.next().is_none()).then(|| first.into())
}

/// `100-continue` is the only expectation there is (RFC 9110 §10.1.1).
fn expectation(head: &RequestHead) -> Result<bool, Error> {
    let mut expectations = head.fields.all(Name::Expect);
    match (expectations.next(), expectations.next()) {
        (None, _) => Ok(false),
        (Some(value), None) if value.eq_ignore_ascii_case(b"100-continue") => {
            Ok(head.version != Version::Http10)
        }
        _ => Err(Error::Expectation),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::h1::parse::{self, HeadLimits};

    fn prepared(fields: &str) -> Result<(Wishes, Vec<String>), Error> {
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let limits = HeadLimits { head: 4096, fields: 50, uri: 100 };
        let mut head = parse::request(text.as_bytes(), &mut 0, &limits).unwrap().unwrap().head;
        let wishes = prepare(&mut head)?;
        let names =
            head.fields.iter().map(|field| String::from_utf8_lossy(field.name).into_owned()).collect();
        Ok((wishes, names))
    }

    #[test]
    fn what_belongs_to_the_hop_stays_on_the_hop() {
        let (wishes, names) = prepared(
            "Connection: X-Private, close\r\nKeep-Alive: timeout=5\r\nTE: trailers\r\nX-Private: 1\r\nX-Kept: 2\r\n\
             Proxy-Authorization: x\r\nProxy: http://evil\r\nTransfer-Encoding: chunked\r\nUpgrade: a\r\n",
        )
        .unwrap();
        assert!(wishes.close && wishes.trailers && wishes.upgrade.is_none());
        assert_eq!(names, ["X-Kept", "te"]);
    }

    #[test]
    fn connection_cannot_strip_what_identifies_or_frames() {
        for name in ["Host", "content-length", "X-Forwarded-For", "Authorization", "cookie"] {
            let result = prepared(&format!("Connection: close, {name}\r\n"));
            assert_eq!(result, Err(Error::ProtectedField), "{name}");
        }
    }

    #[test]
    fn an_upgrade_is_passed_on_unless_it_is_to_http() {
        let upgrade = |value: &str| {
            prepared(&format!("Connection: upgrade\r\nUpgrade: {value}\r\n")).unwrap().0.upgrade
        };
        assert_eq!(upgrade("websocket").as_deref(), Some(&b"websocket"[..]));
        for http in ["h2c", "HTTP/2.0", "websocket, h2c"] {
            assert_eq!(upgrade(http), None, "{http}");
        }
        assert_eq!(prepared("Upgrade: websocket\r\n").unwrap().0.upgrade, None);
    }

    #[test]
    fn the_only_expectation_is_100_continue() {
        assert!(prepared("Expect: 100-Continue\r\n").unwrap().0.expects_continue);
        for bad in [
            "Expect: 200-ok\r\n",
            "Expect: 100-continue\r\nExpect: 100-continue\r\n",
            "Expect: 100-continue,x\r\n",
        ] {
            assert_eq!(prepared(bad).unwrap_err(), Error::Expectation, "{bad}");
        }
    }

    #[test]
    fn a_name_that_only_looks_like_a_protected_one_is_refused() {
        assert_eq!(prepared("X_Forwarded_For: 1\r\n").unwrap_err(), Error::FieldName);
        for name in ["Content_Length", "X_Forwarded_Client_Cert", "X-Forwarded_Prefix", "True_Client_IP"] {
            assert_eq!(prepared(&format!("{name}: 1\r\n")).unwrap_err(), Error::FieldName, "{name}");
        }
        assert!(prepared("my_field: 1\r\n").is_ok());
    }
}
