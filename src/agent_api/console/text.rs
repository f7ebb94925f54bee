//! An engine's output as text: whatever pieces it comes in, each message to the browser is valid UTF-8.
//!
//! A browser ends a websocket over one text message that is not; programs write what they like, and the engine reads
//! in the middle of characters.

/// U+FFFD, which stands for what is no character.
const NO_CHARACTER: char = char::REPLACEMENT_CHARACTER;

/// 8 bytes before each piece of output of a container without a terminal: stream, three zeros, length.
const HEADER: usize = 8;

/// Docker has three streams and, as number 3, its own errors.
const STREAMS: usize = 4;

/// Bytes in, text out. Keeps at most the beginning of one character.
#[derive(Default)]
struct Decoder {
    begun: Vec<u8>,
}

impl Decoder {
    fn push(&mut self, bytes: &[u8], text: &mut String) {
        let joined;
        let mut rest = if self.begun.is_empty() {
            bytes
        } else {
            self.begun.extend_from_slice(bytes);
            joined = std::mem::take(&mut self.begun);
            &joined
        };
        loop {
            let wrong = match std::str::from_utf8(rest) {
                Ok(valid) => return text.push_str(valid),
                Err(wrong) => wrong,
            };
            let (valid, other) = rest.split_at(wrong.valid_up_to());
            text.push_str(&String::from_utf8_lossy(valid));
            let Some(length) = wrong.error_len() else {
                self.begun = other.to_vec();
                return;
            };
            text.push(NO_CHARACTER);
            rest = other.get(length..).unwrap_or_default();
        }
    }

    /// Nothing follows: a character that has begun will not be one.
    fn finish(&mut self, text: &mut String) {
        if !self.begun.is_empty() {
            self.begun.clear();
            text.push(NO_CHARACTER);
        }
    }
}

/// The output of one console.
pub(super) struct Output {
    plain: Decoder,
    /// What begins on one stream does not go on on another.
    streams: [Decoder; STREAMS],
    /// `None`: there is no framing, or no more.
    framing: Option<Framing>,
}

/// Where in Docker's framing we are.
#[derive(Default)]
struct Framing {
    /// What there is of the next header.
    header: Vec<u8>,
    stream: usize,
    /// How much of the present piece is still to come.
    left: usize,
}

impl Output {
    /// As it comes, from a terminal.
    pub(super) fn plain() -> Self {
        Self { plain: Decoder::default(), streams: Default::default(), framing: None }
    }

    /// In Docker's frames, which are taken off.
    pub(super) fn framed() -> Self {
        Self { framing: Some(Framing::default()), ..Self::plain() }
    }

    /// The text of this piece, as far as its characters are whole.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> String {
        let mut text = String::with_capacity(bytes.len());
        while !bytes.is_empty() {
            let Some(framing) = &mut self.framing else {
                self.plain.push(bytes, &mut text);
                break;
            };
            if framing.left == 0 {
                bytes = framing.head(bytes);
                if !framing.begins() {
                    // Not framed, whatever was said of it: it is shown as it is.
                    self.plain.push(&framing.header, &mut text);
                    self.framing = None;
                }
                continue;
            }
            let (piece, rest) = bytes.split_at(framing.left.min(bytes.len()));
            framing.left -= piece.len();
            if let Some(decoder) = self.streams.get_mut(framing.stream) {
                decoder.push(piece, &mut text);
            }
            bytes = rest;
        }
        text
    }

    /// What was held back for its other half.
    pub(super) fn finish(&mut self) -> String {
        let mut text = String::new();
        for decoder in self.streams.iter_mut().chain([&mut self.plain]) {
            decoder.finish(&mut text);
        }
        text
    }
}

impl Framing {
    /// Takes what belongs to the header, and leaves the rest.
    fn head<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (head, rest) = bytes.split_at((HEADER - self.header.len()).min(bytes.len()));
        self.header.extend_from_slice(head);
        rest
    }

    /// Begins a piece once its header is whole. False: what is there is the header of none, and is kept.
    fn begins(&mut self) -> bool {
        let &[stream @ 0..=3, 0, 0, 0, a, b, c, d] = self.header.as_slice() else {
            let (first, zeros) = self.header.split_first().unwrap_or((&0, &[]));
            return *first < 4 && self.header.len() < HEADER && zeros.iter().take(3).all(|zero| *zero == 0);
        };
        self.stream = usize::from(stream);
        self.left = u32::from_be_bytes([a, b, c, d]) as usize;
        self.header.clear();
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// In these pieces; what each of them made visible.
    fn shown(mut output: Output, pieces: &[&[u8]]) -> Vec<String> {
        let mut texts: Vec<_> = pieces.iter().map(|piece| output.push(piece)).collect();
        texts.push(output.finish());
        texts
    }

    fn frame(stream: u8, text: &[u8]) -> Vec<u8> {
        let length = u32::try_from(text.len()).unwrap().to_be_bytes();
        [&[stream, 0, 0, 0], &length[..], text].concat()
    }

    #[test]
    fn a_character_is_shown_once_it_is_whole() {
        for text in ["é", "€", "😀"] {
            let whole = format!("a{text}b");
            for at in 1..=text.len() + 1 {
                let (first, second) = whole.as_bytes().split_at(at);
                let pieces = shown(Output::plain(), &[first, second]);
                assert_eq!(pieces.concat(), whole, "{text} at {at}");
                assert_eq!(pieces[0], if at > text.len() { &whole[..at] } else { "a" }, "{text} at {at}");
            }
            let single: Vec<&[u8]> = whole.as_bytes().chunks(1).collect();
            assert_eq!(shown(Output::plain(), &single).concat(), whole);
        }
    }

    #[test]
    fn what_is_no_character_is_replaced() {
        let rows: [(&[&[u8]], &[&str]); 12] = [
            (&[b"\xff"], &["\u{fffd}", ""]),
            (&[b"a\xffb"], &["a\u{fffd}b", ""]),
            // A continuation without a beginning.
            (&[b"\x82\xac"], &["\u{fffd}\u{fffd}", ""]),
            // A beginning and no continuation.
            (&[b"\xe2\x82"], &["", "\u{fffd}"]),
            (&[b"\xe2", b"\x82"], &["", "", "\u{fffd}"]),
            (&[b"\xe2\x82", b"a"], &["", "\u{fffd}a", ""]),
            (&[b"\xe2\x82", b"\xe2\x82\xac"], &["", "\u{fffd}€", ""]),
            // Overlong, a surrogate, beyond the last character.
            (&[b"\xc0\xaf"], &["\u{fffd}\u{fffd}", ""]),
            (&[b"\xed\xa0\x80"], &["\u{fffd}\u{fffd}\u{fffd}", ""]),
            (&[b"\xf4\x90\x80\x80"], &["\u{fffd}\u{fffd}\u{fffd}\u{fffd}", ""]),
            (&[b"\0\x1b[0m"], &["\0\u{1b}[0m", ""]),
            (&[b""], &["", ""]),
        ];
        for (pieces, expected) in rows {
            assert_eq!(shown(Output::plain(), pieces), expected, "{pieces:?}");
        }
    }

    #[test]
    fn frames_are_taken_off_wherever_they_are_cut() {
        let said = [frame(1, b"out\n"), frame(2, "\u{20ac}rr\n".as_bytes()), frame(1, b""), frame(1, b"end")];
        let said = said.concat();
        for at in 0..=said.len() {
            let (first, second) = said.split_at(at);
            assert_eq!(shown(Output::framed(), &[first, second]).concat(), "out\n€rr\nend", "at {at}");
        }
        let single: Vec<&[u8]> = said.chunks(1).collect();
        assert_eq!(shown(Output::framed(), &single).concat(), "out\n€rr\nend");
    }

    #[test]
    fn a_character_goes_on_in_its_own_stream() {
        let said = [frame(1, b"\xe2"), frame(2, b"err"), frame(1, b"\x82\xac")].concat();
        assert_eq!(shown(Output::framed(), &[&said]).concat(), "err€");
    }

    #[test]
    fn what_is_not_framed_after_all_is_shown_as_it_is() {
        for said in ["$ ", "root@web:/# ls", "\u{1}\u{1}\0\0\0\0\0\u{3}abc"] {
            assert_eq!(shown(Output::framed(), &[said.as_bytes()]).concat(), said);
            let single: Vec<&[u8]> = said.as_bytes().chunks(1).collect();
            assert_eq!(shown(Output::framed(), &single).concat(), said);
        }
        let said = [frame(1, b"framed "), b"then not \xe2\x82\xac".to_vec()].concat();
        assert_eq!(shown(Output::framed(), &[&said]).concat(), "framed then not €");
    }

    proptest! {
        #[test]
        fn pieces_show_what_the_whole_would(bytes: Vec<u8>, cuts in prop::collection::vec(0_usize..64, 0..6)) {
            let mut output = Output::plain();
            let (mut text, mut rest) = (String::new(), bytes.as_slice());
            for cut in cuts {
                let (piece, other) = rest.split_at(cut.min(rest.len()));
                text.push_str(&output.push(piece));
                rest = other;
            }
            text.push_str(&output.push(rest));
            text.push_str(&output.finish());
            prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
        }
    }
}
