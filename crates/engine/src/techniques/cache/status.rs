//! `Cache-Status` (RFC 9211): what the cache did with a request, for whoever reads the answer.

use super::figures::Miss;
use crate::http::{Fields, Name};
use unlag_record::CacheUse;

/// What was done.
#[derive(Clone, Debug, Default)]
pub struct Status {
    hit: bool,
    forwarded: Option<Miss>,
    got: Option<u16>,
    stored: bool,
    collapsed: bool,
    ttl_s: Option<i64>,
    detail: Option<&'static str>,
}

impl Status {
    /// It was answered from what is stored.
    pub fn hit() -> Status {
        Status { hit: true, ..Status::default() }
    }

    /// The same, past its lifetime.
    pub fn stale() -> Status {
        Status { hit: true, forwarded: Some(Miss::Stale), ..Status::default() }
    }

    /// Whether something past its lifetime was served.
    pub fn is_stale(&self) -> bool {
        self.hit && self.forwarded == Some(Miss::Stale)
    }

    /// The same for the record of the request.
    pub fn record(&self) -> CacheUse {
        match (self.hit, self.forwarded, self.got) {
            _ if self.collapsed => CacheUse::Collapsed,
            (_, _, Some(304)) => CacheUse::Revalidated,
            (true, None, _) => CacheUse::Hit,
            (true, Some(_), _) => CacheUse::Stale,
            (false, _, _) => CacheUse::Miss,
        }
    }

    /// It went to the origin, for this reason.
    pub fn forwarded(reason: Miss) -> Status {
        Status { forwarded: Some(reason), ..Status::default() }
    }

    /// The origin's status.
    pub fn got(self, status: u16) -> Status {
        Status { got: Some(status), ..self }
    }

    /// What is stored was served in the end.
    pub fn and_hit(self) -> Status {
        Status { hit: true, ..self }
    }

    /// The answer is stored.
    pub fn stored(self) -> Status {
        Status { stored: true, ..self }
    }

    /// Somebody else's fetch brought it.
    pub fn collapsed(self) -> Status {
        Status { collapsed: true, ..self }
    }

    /// Seconds for which it is still fresh.
    pub fn ttl(self, seconds: i64) -> Status {
        Status { ttl_s: Some(seconds), ..self }
    }

    /// A word on why.
    pub fn detail(self, word: &'static str) -> Status {
        Status { detail: Some(word), ..self }
    }

    /// Adds it behind what the caches before have said, under the name that this one goes by.
    pub fn write(&self, name: &str, fields: &mut Fields) {
        let mut before = Vec::new();
        for line in fields.all(Name::CacheStatus) {
            before.extend_from_slice(line);
            before.extend_from_slice(b", ");
        }
        fields.remove_known(Name::CacheStatus);
        fields.push_written(Name::CacheStatus, |text| {
            text.extend_from_slice(&before);
            self.write_own(name, text);
        });
    }

    fn write_own(&self, name: &str, text: &mut Vec<u8>) {
        let mut add = |parameter: &str, value: &str| {
            text.extend_from_slice(parameter.as_bytes());
            text.extend_from_slice(value.as_bytes());
        };
        add(name, "");
        if self.hit {
            add("; hit", "");
        }
        if let Some(reason) = self.forwarded {
            add("; fwd=", reason.word());
        }
        if let Some(status) = self.got {
            add("; fwd-status=", itoa::Buffer::new().format(status));
        }
        if self.stored {
            add("; stored", "");
        }
        if self.collapsed {
            add("; collapsed", "");
        }
        if let Some(seconds) = self.ttl_s {
            add("; ttl=", itoa::Buffer::new().format(seconds));
        }
        if let Some(word) = self.detail {
            add("; detail=", word);
        }
    }
}
