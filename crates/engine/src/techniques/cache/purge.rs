//! A purge: what it means, and how nodes tell each other of it.

use super::stamps::Purges;
use super::url;
use unlag_tier::MESSAGE_MAX;

/// The length of a tag or URL in a purge.
pub const TEXT_BYTES_MAX: usize = 8 * 1024;

/// Version, kind and hardness come before it, and a URL may come with its scheme.
const TOLD_BYTES_MAX: usize = MESSAGE_MAX - 3 - b"https://".len();

/// What is purged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// What is stored for one URL, without its scheme: `host/path?query`.
    Url(Vec<u8>),
    /// What carries a tag.
    Tag(Vec<u8>),
    /// What begins so: `host/path`, or `/path` on every host.
    Prefix(Vec<u8>),
    /// Everything.
    All,
}

/// One purge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purge {
    /// What.
    pub what: What,
    /// It becomes stale, and may still be served while it is fetched again or when the origin fails.
    pub soft: bool,
}

impl Purge {
    /// Whether it means an object: for counting before it is done.
    pub fn means(&self, purges: &Purges, url: &[u8], tags: &[u64]) -> bool {
        match &self.what {
            What::All => true,
            What::Url(wanted) => without_scheme(url::plain(url)) == without_scheme(wanted),
            What::Tag(tag) => tags.contains(&purges.tag(tag)),
            What::Prefix(prefix) => begins(url, prefix),
        }
    }

    /// The purge that other nodes are told of: one of a URL that is too long to be told is one of all that begin so.
    pub fn as_told(&self) -> Purge {
        match &self.what {
            What::Url(url) => match without_scheme(url).get(..TOLD_BYTES_MAX) {
                Some(prefix) => Purge { what: What::Prefix(prefix.to_vec()), soft: self.soft },
                None => self.clone(),
            },
            _ => self.clone(),
        }
    }

    /// As other nodes are told of it.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, text): (u8, &[u8]) = match &self.what {
            What::Url(url) => (b'u', url),
            What::Tag(tag) => (b't', tag),
            What::Prefix(prefix) => (b'p', prefix),
            What::All => (b'a', &[]),
        };
        [&[VERSION, kind, if self.soft { b's' } else { b'h' }], text].concat()
    }

    /// Reads what another node has told.
    pub fn decode(message: &[u8]) -> Option<Purge> {
        let (&[version, kind, soft], text) = message.split_first_chunk::<3>()?;
        let text = || text.to_vec();
        let what = match kind {
            b'u' => What::Url(text()),
            b't' => What::Tag(text()),
            b'p' => What::Prefix(text()),
            b'a' => What::All,
            _ => return None,
        };
        let is_known = version == VERSION && message.len() <= MESSAGE_MAX && matches!(soft, b's' | b'h');
        is_known.then_some(Purge { what, soft: soft == b's' })
    }
}

/// Of the form in which nodes tell each other.
const VERSION: u8 = 1;

/// A URL without its scheme: whoever purges does not know where TLS ended.
pub fn without_scheme(url: &[u8]) -> &[u8] {
    let scheme = [&b"http://"[..], b"https://"].into_iter().find(|scheme| url.starts_with(scheme));
    url.get(scheme.map_or(0, <[u8]>::len)..).unwrap_or_default()
}

/// Whether a URL begins with a prefix; one that is only a path is meant on every host.
pub fn begins(url: &[u8], prefix: &[u8]) -> bool {
    let url = without_scheme(url);
    if prefix.first() != Some(&b'/') {
        return url.starts_with(prefix);
    }
    let path = url.iter().position(|&byte| byte == b'/').and_then(|at| url.get(at..));
    path.is_some_and(|path| path.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_with_a_host_means_that_host_and_one_without_means_all() {
        for (prefix, url, is_meant) in [
            ("a/x", "http://a/x/y", true),
            ("a/x", "http://b/x/y", false),
            ("/x", "https://b/x/y", true),
            ("/x", "https://b/y/x", false),
            ("a", "http://ab/", true),
        ] {
            assert_eq!(begins(url.as_bytes(), prefix.as_bytes()), is_meant, "{prefix} {url}");
        }
    }

    #[test]
    fn a_url_of_any_length_is_told_if_need_be_as_what_begins_so() {
        for (length, is_whole) in [(TOLD_BYTES_MAX - 1, true), (TOLD_BYTES_MAX, false), (1 << 20, false)] {
            let url = [&b"https://"[..], &b"a/".repeat(length)[..length]].concat();
            let purge = Purge { what: What::Url(url.clone()), soft: false };
            let told = Purge::decode(&purge.as_told().encode()).unwrap();
            assert_eq!(told == purge, is_whole);
            assert!(told.means(&Purges::default(), &url, &[]));
        }
    }

    #[test]
    fn a_purge_is_told_and_understood_and_anything_else_is_not() {
        for what in
            [What::Url(b"a/x".to_vec()), What::Tag(b"t".to_vec()), What::Prefix(b"/".to_vec()), What::All]
        {
            for soft in [false, true] {
                let told = Purge { what: what.clone(), soft };
                assert_eq!(Purge::decode(&told.encode()), Some(told));
            }
        }
        for odd in [&b""[..], b"\x01t", b"\x02th", b"\x01xh", b"\x01tq"] {
            assert_eq!(Purge::decode(odd), None);
        }
    }
}
