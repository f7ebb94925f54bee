//! A validating JSON scanner: bytes in, positions out. It accepts exactly what `serde_json` accepts, up to a depth.
//!
//! One pass, eight bytes at a time inside strings. It decodes nothing but what somebody asks to compare.

mod string;

use std::borrow::Cow;
use std::ops::Range;

use super::Malformed;

use string::end_of_plain;
pub(super) use string::text;

/// 128, as in `serde_json`: Docker's documents are below 10, and it fits the bits of one integer.
const DEPTH: u32 = 128;

/// A place in a document. Half the size of a range: there may be 200,000 elements with several of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    fn new(start: usize, end: usize) -> Self {
        // A document is refused before it is too long for this, in `Cursor::new`.
        let narrow = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Self { start: narrow(start), end: narrow(end) }
    }

    pub(super) fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    pub(super) fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.range()).unwrap_or_default()
    }
}

/// Reads one document from its beginning to its end.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    /// One bit per open container: 1 is an object.
    open: u128,
    depth: u32,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Result<Self, Malformed> {
        if u32::try_from(bytes.len()).is_err() {
            return Err(Malformed { what: "too long", at: 0 });
        }
        std::str::from_utf8(bytes).map_err(|e| Malformed { what: "not UTF-8", at: e.valid_up_to() })?;
        Ok(Self { bytes, at: 0, open: 0, depth: 0 })
    }

    pub(super) fn fault<T>(&self, what: &'static str) -> Result<T, Malformed> {
        Err(Malformed { what, at: self.at })
    }

    /// The next byte that is not white space; 0, which is no token, at the end.
    #[inline]
    pub(super) fn peek(&mut self) -> u8 {
        loop {
            match self.bytes.get(self.at) {
                Some(b' ' | b'\n' | b'\t' | b'\r') => self.at += 1,
                Some(&byte) => return byte,
                None => return 0,
            }
        }
    }

    /// Only white space may follow.
    pub(super) fn finish(mut self) -> Result<(), Malformed> {
        self.peek();
        if self.at == self.bytes.len() { Ok(()) } else { self.fault("something after the document") }
    }

    /// Reads an array; `item` reads one value, at whose first byte the cursor is.
    pub(super) fn array(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        if self.peek() != b'[' {
            return self.fault("expected an array");
        }
        self.enter(0)?;
        if self.peek() == b']' {
            self.leave();
            return Ok(());
        }
        loop {
            self.peek();
            item(self)?;
            match self.peek() {
                b',' => self.at += 1,
                b']' => break,
                _ => return self.fault("expected , or ]"),
            }
        }
        self.leave();
        Ok(())
    }

    /// Reads an object; `member` gets the raw key without its quotes and reads the value. Gives the object's place.
    #[inline]
    pub(super) fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, &Cow<'a, [u8]>) -> Result<(), Malformed>,
    ) -> Result<Span, Malformed> {
        if self.peek() != b'{' {
            return self.fault("expected an object");
        }
        let start = self.at;
        self.enter(1)?;
        if self.peek() != b'}' {
            loop {
                let key = self.key()?;
                self.peek();
                member(self, &key)?;
                match self.peek() {
                    b',' => self.at += 1,
                    b'}' => break,
                    _ => return self.fault("expected , or }"),
                }
            }
        }
        self.leave();
        Ok(Span::new(start, self.at))
    }

    /// Reads any value and gives its place.
    #[inline]
    pub(super) fn value(&mut self) -> Result<Span, Malformed> {
        self.peek();
        let start = self.at;
        self.skip()?;
        Ok(Span::new(start, self.at))
    }

    /// Reads `null` if that is what comes.
    pub(super) fn null(&mut self) -> Result<bool, Malformed> {
        if self.peek() != b'n' {
            return Ok(false);
        }
        self.literal(b"null").map(|()| true)
    }

    fn skip(&mut self) -> Result<(), Malformed> {
        let outside = self.depth;
        loop {
            match self.peek() {
                b'"' => {
                    self.string()?;
                }
                b'{' => {
                    self.enter(1)?;
                    if self.peek() == b'}' {
                        self.leave();
                    } else {
                        self.pass_key()?;
                        continue;
                    }
                }
                b'[' => {
                    self.enter(0)?;
                    if self.peek() == b']' {
                        self.leave();
                    } else {
                        continue;
                    }
                }
                b'-' | b'0'..=b'9' => self.number()?,
                b't' => self.literal(b"true")?,
                b'f' => self.literal(b"false")?,
                b'n' => self.literal(b"null")?,
                _ => return self.fault("expected a value"),
            }
            if self.close(outside)? {
                return Ok(());
            }
        }
    }

    /// After a value: closes what ends here. True if that was all; else another value follows.
    #[inline]
    fn close(&mut self, outside: u32) -> Result<bool, Malformed> {
        while self.depth > outside {
            let in_object = self.open & 1 == 1;
            match self.peek() {
                b',' => {
                    self.at += 1;
                    if in_object {
                        self.pass_key()?;
                    }
                    return Ok(false);
                }
                b'}' if in_object => self.leave(),
                b']' if !in_object => self.leave(),
                _ => return self.fault("expected , or an end"),
            }
        }
        Ok(true)
    }

    #[inline]
    fn enter(&mut self, object: u128) -> Result<(), Malformed> {
        if self.depth == DEPTH {
            return self.fault("too deep");
        }
        self.at += 1;
        self.depth += 1;
        self.open = self.open << 1 | object;
        Ok(())
    }

    #[inline]
    fn leave(&mut self) {
        self.at += 1;
        self.depth -= 1;
        self.open >>= 1;
    }

    #[inline]
    fn pass_key(&mut self) -> Result<(), Malformed> {
        if self.peek() != b'"' {
            return self.fault("expected a key");
        }
        self.string()?;
        if self.peek() != b':' {
            return self.fault("expected :");
        }
        self.at += 1;
        Ok(())
    }

    #[inline]
    fn key(&mut self) -> Result<Cow<'a, [u8]>, Malformed> {
        if self.peek() != b'"' {
            return self.fault("expected a key");
        }
        let start = self.at;
        let escaped = self.string()?;
        let raw = self.bytes.get(start..self.at).unwrap_or_default();
        if self.peek() != b':' {
            return self.fault("expected :");
        }
        self.at += 1;
        Ok(if escaped {
            Cow::Owned(text(raw).into_owned().into_bytes())
        } else {
            Cow::Borrowed(raw.get(1..raw.len() - 1).unwrap_or_default())
        })
    }

    /// Reads a string, at whose opening quote the cursor is. True if there are escapes in it.
    #[inline]
    fn string(&mut self) -> Result<bool, Malformed> {
        self.at += 1;
        let mut escaped = false;
        loop {
            self.at = end_of_plain(self.bytes, self.at);
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return self.fault("control character in a string"),
                None => return self.fault("string without an end"),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Malformed> {
        match self.bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => match self.bytes.get(self.at + 2..self.at + 6) {
                Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => self.at += 6,
                _ => return self.fault("bad escape"),
            },
            _ => return self.fault("bad escape"),
        }
        Ok(())
    }

    #[inline]
    fn number(&mut self) -> Result<(), Malformed> {
        if self.next_is(b"-") {
            self.at += 1;
        }
        if self.next_is(b"0") {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.next_is(b".") {
            self.at += 1;
            self.digits()?;
        }
        if self.next_is(b"eE") {
            self.at += 1;
            if self.next_is(b"+-") {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    #[inline]
    fn digits(&mut self) -> Result<(), Malformed> {
        let start = self.at;
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        if self.at == start { self.fault("expected a digit") } else { Ok(()) }
    }

    #[inline]
    fn next_is(&self, any: &[u8]) -> bool {
        self.bytes.get(self.at).is_some_and(|byte| any.contains(byte))
    }

    #[inline]
    fn literal(&mut self, word: &[u8]) -> Result<(), Malformed> {
        if !self.bytes.get(self.at..).is_some_and(|rest| rest.starts_with(word)) {
            return self.fault("expected a value");
        }
        self.at += word.len();
        Ok(())
    }
}
