//! The fields of one message, in order, in one allocation of text and one of entries.
//!
//! A parsed head is copied here once and then only referred to: removing a field drops its entry, adding one appends to the
//! text. Names keep the caller's spelling for HTTP/1.1 and are lowered when they leave as HTTP/2.

use super::name::{Name, NameSet};

/// A piece of the text that a [`Fields`] owns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    at: u32,
    len: u32,
}

impl Span {
    /// From byte offsets; heads are far below 4 GiB (`limits.head`).
    pub fn new(at: usize, len: usize) -> Span {
        Span { at: at as u32, len: len as u32 }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    /// Where it ends.
    pub fn end(self) -> usize {
        self.range().end
    }

    /// The same, `by` bytes further on.
    pub fn shifted(self, by: usize) -> Span {
        Span { at: self.at + by as u32, len: self.len }
    }

    fn range(self) -> std::ops::Range<usize> {
        self.at as usize..(self.at + self.len) as usize
    }

    /// The part from `offset` on.
    pub fn from(self, offset: usize) -> Span {
        let offset = (offset as u32).min(self.len);
        Span { at: self.at + offset, len: self.len - offset }
    }
}

/// A part of a value.
#[derive(Clone, Copy, Debug)]
pub enum Piece<'a> {
    /// From elsewhere.
    Bytes(&'a [u8]),
    /// From the text that the value becomes part of.
    Span(Span),
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    known: Name,
    /// It stands in the text exactly as it is to be written: name, colon, space, value, CR LF.
    is_line: bool,
    name: Span,
    value: Span,
}

/// One field as it is read.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    /// Which known field it is.
    pub known: Name,
    /// The name as it came.
    pub name: &'a [u8],
    /// The value without surrounding white space.
    pub value: &'a [u8],
}

impl Field<'_> {
    /// Whether it may come as a trailer (RFC 9110 §6.5.1).
    pub fn may_trail(&self) -> bool {
        let is_impostor = self.known == Name::Underscored && Name::is_impostor(self.name);
        !self.known.is_forbidden_in_trailers() && !is_impostor
    }
}

/// An ordered list of fields with the text they live in.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    text: Vec<u8>,
    entries: Vec<Entry>,
    /// The known names that may be among the entries: a question about one that is not costs nothing.
    present: Present,
}

/// A set of names in two words: one of 128 bits would make whatever holds it aligned to 16 bytes, which the allocator pays for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Present([u64; 2]);

impl Present {
    fn names(self) -> NameSet {
        NameSet::from(self.0[0]) | NameSet::from(self.0[1]) << 64
    }

    fn set(&mut self, names: NameSet) {
        self.0 = [names as u64, (names >> 64) as u64];
    }
}

impl Fields {
    /// An empty list with room for about a typical head.
    pub fn with_capacity(text_bytes: usize, fields: usize) -> Fields {
        Fields {
            text: Vec::with_capacity(text_bytes),
            entries: Vec::with_capacity(fields),
            present: Present::default(),
        }
    }

    /// Takes a copy of the bytes that spans refer to.
    pub fn set_text(&mut self, text: &[u8]) {
        // Room for what the proxy itself adds: Via, Forwarded, X-Forwarded-*, trace context.
        self.text = Vec::with_capacity(text.len() + 512);
        self.text.extend_from_slice(text);
    }

    /// Adds a field whose name and value stand in the text, or will; `is_line` says that they stand there as a line.
    pub fn push_span(&mut self, known: Name, name: Span, value: Span, is_line: bool) {
        self.present.set(self.present.names() | known.bit());
        self.entries.push(Entry { known, is_line, name, value });
    }

    /// Copies bytes into the text.
    pub fn store(&mut self, bytes: &[u8]) -> Span {
        let span = Span::new(self.text.len(), bytes.len());
        self.text.extend_from_slice(bytes);
        span
    }

    /// Copies bytes into the text, in lower case.
    pub fn store_lower(&mut self, bytes: &[u8]) -> Span {
        let span = self.store(bytes);
        self.text.get_mut(span.range()).unwrap_or_default().make_ascii_lowercase();
        span
    }

    /// Takes a known field that is there once out of the list, and keeps its value in the text, in lower case.
    pub fn lift_lower(&mut self, known: Name) -> Option<Span> {
        let at = self.entries.iter().position(|entry| entry.known == known)?;
        let span = self.entries.remove(at).value;
        debug_assert!(!self.entries.iter().any(|entry| entry.known == known), "there is another one");
        self.present.set(self.present.names() & !known.bit());
        self.text.get_mut(span.range()).unwrap_or_default().make_ascii_lowercase();
        Some(span)
    }

    /// The bytes of a span; empty if it is not of this text.
    pub fn read(&self, span: Span) -> &[u8] {
        self.text.get(span.range()).unwrap_or_default()
    }

    /// Appends a field. The caller vouches that name and value are well formed.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        let at = self.store(name);
        self.text.extend_from_slice(b": ");
        self.end_line(Name::of(name), at, |text| text.extend_from_slice(value));
    }

    /// Appends a known field.
    pub fn push_known(&mut self, known: Name, value: &[u8]) {
        let at = self.begin_line(known);
        self.end_line(known, at, |text| text.extend_from_slice(value));
    }

    /// Appends a known field whose value `write` appends to the text.
    pub fn push_written(&mut self, known: Name, write: impl FnOnce(&mut Vec<u8>)) {
        let at = self.begin_line(known);
        self.end_line(known, at, write);
    }

    /// Appends a known field whose value is put together from pieces.
    pub fn push_pieces(&mut self, known: Name, pieces: &[Piece<'_>]) {
        let at = self.begin_line(known);
        self.end_line(known, at, |text| {
            for piece in pieces {
                match *piece {
                    Piece::Bytes(bytes) => text.extend_from_slice(bytes),
                    Piece::Span(span) if span.range().end <= text.len() => {
                        text.extend_from_within(span.range())
                    }
                    Piece::Span(_) => {}
                }
            }
        });
    }

    /// Begins a field in the form of a line, so that a run of them leaves in one piece, and says where its name stands.
    fn begin_line(&mut self, known: Name) -> Span {
        let at = self.text.len();
        self.text.extend_from_slice(known.line_start().as_bytes());
        Span::new(at, known.text().len())
    }

    /// Adds the value to a line that was begun, and its end.
    fn end_line(&mut self, known: Name, name: Span, value: impl FnOnce(&mut Vec<u8>)) {
        let at = self.text.len();
        value(&mut self.text);
        let value = Span::new(at, self.text.len() - at);
        self.text.extend_from_slice(b"\r\n");
        self.push_span(known, name, value, true);
    }

    /// Writes all fields as lines of HTTP/1.1. What stands in the text as lines already, one after the other, as most of a
    /// head that is passed on does, is copied as a whole.
    pub fn write_lines(&self, out: &mut Vec<u8>) {
        let mut run = 0..0;
        for entry in &self.entries {
            let line = entry.name.range().start..entry.value.range().end + 2;
            if !entry.is_line || line.start != run.end {
                out.extend_from_slice(self.text.get(run).unwrap_or_default());
                run = line.start..line.start;
            }
            match entry.is_line {
                true => run.end = line.end,
                false => write_line(out, self.read(entry.name), self.read(entry.value)),
            }
        }
        out.extend_from_slice(self.text.get(run).unwrap_or_default());
    }

    /// Replaces every field of this name by one.
    pub fn set_known(&mut self, known: Name, value: &[u8]) {
        self.remove_known(known);
        self.push_known(known, value);
    }

    /// Replaces every field of this name by one.
    pub fn set(&mut self, name: &str, value: &[u8]) {
        self.remove(name);
        self.push(name.as_bytes(), value);
    }

    /// Drops every field of this known name.
    pub fn remove_known(&mut self, known: Name) {
        if self.has(known) {
            self.entries.retain(|entry| entry.known != known);
            self.present.set(self.present.names() & !known.bit());
        }
    }

    /// Drops every field of this name, in any letter case.
    pub fn remove(&mut self, name: &str) {
        self.retain(|field| !field.name.eq_ignore_ascii_case(name.as_bytes()));
    }

    /// Keeps the fields that `keep` says.
    pub fn retain(&mut self, mut keep: impl FnMut(Field<'_>) -> bool) {
        let Fields { text, entries, .. } = self;
        entries.retain(|entry| keep(field(text, entry)));
    }

    /// The first value of a known field.
    pub fn get(&self, known: Name) -> Option<&[u8]> {
        if self.present.names() & known.bit() == 0 {
            return None;
        }
        self.entries.iter().find(|entry| entry.known == known).map(|entry| self.read(entry.value))
    }

    /// The first value of a field by its lower-case name.
    pub fn get_named(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|field| field.name.eq_ignore_ascii_case(name.as_bytes())).map(|field| field.value)
    }

    /// Every value of a known field, in order.
    pub fn all(&self, known: Name) -> impl Iterator<Item = &[u8]> {
        let entries = if self.present.names() & known.bit() == 0 { &[] } else { self.entries.as_slice() };
        entries.iter().filter(move |entry| entry.known == known).map(|entry| self.read(entry.value))
    }

    /// Whether the known field is there.
    pub fn has(&self, known: Name) -> bool {
        self.present.names() & known.bit() != 0 && self.entries.iter().any(|entry| entry.known == known)
    }

    /// Whether one of a set of known names may be there.
    pub fn has_any(&self, names: NameSet) -> bool {
        self.present.names() & names != 0
    }

    /// All fields in order.
    pub fn iter(&self) -> impl Iterator<Item = Field<'_>> {
        self.entries.iter().map(|entry| field(&self.text, entry))
    }

    /// A copy that takes no more memory than it needs, for keeping.
    pub fn compact(&self) -> Fields {
        let text: usize =
            self.entries.iter().map(|entry| entry.name.range().len() + entry.value.range().len() + 4).sum();
        let mut copy = Fields::with_capacity(text, self.entries.len());
        for (entry, field) in self.entries.iter().zip(self.iter()) {
            let name = copy.store(field.name);
            copy.text.extend_from_slice(b": ");
            copy.end_line(entry.known, name, |text| text.extend_from_slice(field.value));
        }
        copy
    }

    /// A copy with room for so much more: whoever adds to it moves nothing.
    pub fn with_room(&self, text_bytes: usize, fields: usize) -> Fields {
        let mut copy = Fields::with_capacity(self.text.len() + text_bytes, self.entries.len() + fields);
        copy.text.extend_from_slice(&self.text);
        copy.entries.extend_from_slice(&self.entries);
        copy.present = self.present;
        copy
    }

    /// The bytes of its two allocations.
    pub fn allocations(&self) -> [usize; 2] {
        [self.text.capacity(), self.entries.capacity() * size_of::<Entry>()]
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

fn field<'a>(text: &'a [u8], entry: &Entry) -> Field<'a> {
    let at = |span: Span| text.get(span.range()).unwrap_or_default();
    Field { known: entry.known, name: at(entry.name), value: at(entry.value) }
}

/// One field as a line of HTTP/1.1.
pub fn write_line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// The members of a comma-separated list, without white space and without empty members (RFC 9110 §5.6.1).
pub fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

/// Whether a byte may stand in a token (RFC 9110 §5.6.2).
pub fn is_token_byte(byte: u8) -> bool {
    class(byte) & TOKEN != 0
}

/// Whether all bytes may stand in a request target, and whether none of them can make a path mean another one.
pub fn target_bytes(bytes: &[u8]) -> (bool, bool) {
    let (mut all, mut any) = (TARGET, 0);
    for &byte in bytes {
        let class = class(byte);
        all &= class;
        any |= class;
    }
    (all != 0, any & ODD_IN_PATH == 0)
}

/// Registered names in practice: letters, digits, `-`, `.`, `_`, and the rest of the unreserved and sub-delims that tokens
/// share; `%` is left out, no resolver takes it.
pub fn is_host_byte(byte: u8) -> bool {
    class(byte) & HOST != 0
}

/// The length of the token at the start, and whether there is an underscore in it.
pub fn token(bytes: &[u8]) -> (usize, bool) {
    let mut seen = 0;
    let is_over = |&byte: &u8| {
        let class = class(byte);
        seen |= class;
        class & TOKEN == 0
    };
    let len = bytes.iter().position(is_over).unwrap_or(bytes.len());
    (len, seen & UNDERSCORE != 0)
}

fn class(byte: u8) -> u8 {
    CLASSES.get(usize::from(byte)).copied().unwrap_or_default()
}

/// Bytes of tokens; the underscore is one, but many frameworks read it as a dash.
const TOKEN: u8 = 1;
const UNDERSCORE: u8 = 2;
const HOST: u8 = 4;
/// Bytes of a request target: printable, and none that parsers read differently.
const TARGET: u8 = 8;
/// Bytes that may make a path mean another one.
const ODD_IN_PATH: u8 = 16;

static CLASSES: [u8; 256] = classes();

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler, which refuses what is out of bounds")]
const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = match byte as u8 {
            b'_' => TOKEN | HOST | UNDERSCORE | TARGET,
            b'#' => TOKEN,
            b'%' => TOKEN | TARGET | ODD_IN_PATH,
            b'^' | b'`' | b'|' => TOKEN | TARGET,
            b'.' => TOKEN | HOST | TARGET | ODD_IN_PATH,
            b'!' | b'$' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'~' => TOKEN | HOST | TARGET,
            b'\\' => 0,
            other if other.is_ascii_alphanumeric() => TOKEN | HOST | TARGET,
            other if other.is_ascii_graphic() => TARGET,
            _ => 0,
        };
        byte += 1;
    }
    table
}

/// Whether the bytes may be a field value: no control bytes but the tab, no white space around it (RFC 9110 §5.5).
pub fn is_field_value(value: &[u8]) -> bool {
    value.trim_ascii().len() == value.len()
        && value.iter().all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_keep_their_order_and_spelling_and_are_found_in_any_case() {
        let mut fields = Fields::default();
        fields.push(b"X-One", b"1");
        fields.push(b"Host", b"a");
        fields.push(b"x-one", b"2");
        assert_eq!(fields.get(Name::Host), Some(&b"a"[..]));
        assert_eq!(fields.get_named("x-one"), Some(&b"1"[..]));
        fields.remove("x-one");
        assert_eq!(fields.iter().map(|f| f.name.to_vec()).collect::<Vec<_>>(), [b"Host".to_vec()]);
        fields.set_known(Name::Host, b"b");
        assert_eq!(fields.all(Name::Host).collect::<Vec<_>>(), [b"b"]);
    }

    #[test]
    fn fields_leave_as_well_formed_lines_however_they_stood_in_the_head() {
        let head = b"A: 1\r\nB:2\r\nC:  3 \r\nD:\r\nE: 5\r\nF: 6\r\n";
        let mut fields = Fields::default();
        fields.set_text(head);
        for (at, len) in [(3, 1), (8, 1), (15, 1), (21, 0), (26, 1), (32, 1)] {
            let name = [0, 6, 11, 19, 23, 29][fields.len()];
            let is_line = at == name + 3 && len == 1 && name != 11;
            fields.push_span(Name::Other, Span::new(name, 1), Span::new(at, len), is_line);
        }
        fields.push_known(Name::Via, b"7");
        fields.push_pieces(Name::Date, &[Piece::Bytes(b"8"), Piece::Span(Span::new(0, 1))]);
        fields.remove("e");
        let mut out = Vec::new();
        fields.write_lines(&mut out);
        assert_eq!(out, b"A: 1\r\nB: 2\r\nC: 3\r\nD: \r\nF: 6\r\nvia: 7\r\ndate: 8A\r\n".as_slice());
    }

    #[test]
    fn a_list_is_split_at_commas_and_empty_members_do_not_count() {
        assert_eq!(members(b" a ,, b,").collect::<Vec<_>>(), [&b"a"[..], b"b"]);
    }

    #[test]
    fn a_value_with_control_bytes_is_no_field_value() {
        assert!(is_field_value(b"a b\tc\xff"));
        for bad in [&b"a\rb"[..], b"a\nb", b"a\0", b" a", b"a\x7f"] {
            assert!(!is_field_value(bad));
        }
    }
}
