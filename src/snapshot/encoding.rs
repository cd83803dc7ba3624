//! The encoding of a dump: UTF-8, or UTF-16 after a byte order mark, as Windows PowerShell's `>` writes it and kubectl
//! reads it.

use std::io::{self, Read};

/// Bytes of UTF-16 read at once.
const CHUNK_BYTES: usize = 8 * 1024;

/// The bytes of a dump as UTF-8, without a byte order mark. Bytes in another encoding are returned as they are.
pub(super) struct Utf8<R> {
    reader: R,
    encoding: Option<Encoding>,
    /// Bytes that are read, but not decoded: at the start, less than the longest byte order mark; of UTF-16, an
    /// incomplete character.
    raw: Vec<u8>,
    /// Decoded bytes, of which `returned` are returned.
    text: Vec<u8>,
    returned: usize,
}

/// The encoding, once the first bytes are read.
#[derive(Clone, Copy)]
enum Encoding {
    /// UTF-8, or anything that is not recognized.
    AsItIs,
    /// UTF-16 with this order of bytes.
    Utf16(fn([u8; 2]) -> u16),
}

impl<R: Read> Utf8<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, encoding: None, raw: Vec::new(), text: Vec::new(), returned: 0 }
    }

    /// Reads the first four bytes, or all if there are fewer, and drops a byte order mark.
    fn recognize(&mut self) -> io::Result<Encoding> {
        let mut first = Vec::with_capacity(4);
        // `read_to_end` continues after an interruption.
        self.reader.by_ref().take(4).read_to_end(&mut first)?;
        let (encoding, mark) = match first[..] {
            [0xFF, 0xFE, 0, 0] | [0, 0, 0xFE, 0xFF] => return Err(not_text("it is UTF-32; write it as UTF-8")),
            [0xFF, 0xFE, ..] => (Encoding::Utf16(u16::from_le_bytes), 2),
            [0xFE, 0xFF, ..] => (Encoding::Utf16(u16::from_be_bytes), 2),
            [0xEF, 0xBB, 0xBF, ..] => (Encoding::AsItIs, 3),
            _ => (Encoding::AsItIs, 0),
        };
        let rest = first.split_off(mark);
        match encoding {
            Encoding::AsItIs => self.text = rest,
            Encoding::Utf16(_) => self.raw = rest,
        }
        Ok(encoding)
    }

    /// Reads and decodes more UTF-16. Without text afterwards, the dump ends.
    fn decode(&mut self, unit: fn([u8; 2]) -> u16) -> io::Result<()> {
        self.text.clear();
        self.returned = 0;
        while self.text.is_empty() {
            let before = self.raw.len();
            self.raw.resize(before + CHUNK_BYTES, 0);
            let count = loop {
                match self.reader.read(&mut self.raw[before..]) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    result => break result?,
                }
            };
            self.raw.truncate(before + count);
            let (pairs, _) = self.raw.as_chunks();
            let mut units = pairs.iter().copied().map(unit).collect::<Vec<_>>();
            // The second half of the last character may not be read yet.
            if units.last().is_some_and(|last| matches!(last, 0xD800..=0xDBFF)) {
                units.pop();
            }
            self.raw.drain(..units.len() * 2);
            let decoded: Result<String, _> = char::decode_utf16(units).collect();
            self.text = decoded.map_err(|_| not_text("it is UTF-16 with half a character"))?.into_bytes();
            if count == 0 {
                // At the end, nothing more completes a character.
                let is_whole = self.raw.is_empty() || !self.text.is_empty();
                return if is_whole { Ok(()) } else { Err(not_text("it is UTF-16 that ends within a character")) };
            }
        }
        Ok(())
    }
}

impl<R: Read> Read for Utf8<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let encoding = if let Some(encoding) = self.encoding {
            encoding
        } else {
            let found = self.recognize()?;
            *self.encoding.insert(found)
        };
        if self.returned == self.text.len() {
            match encoding {
                Encoding::AsItIs => return self.reader.read(out),
                Encoding::Utf16(unit) => self.decode(unit)?,
            }
        }
        let count = out.len().min(self.text.len() - self.returned);
        out[..count].copy_from_slice(&self.text[self.returned..self.returned + count]);
        self.returned += count;
        Ok(count)
    }
}

fn not_text(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns at most `size` bytes at once.
    struct Slow<'b> {
        bytes: &'b [u8],
        size: usize,
    }

    impl Read for Slow<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let most = self.size.min(out.len());
            self.bytes.read(&mut out[..most])
        }
    }

    fn read(bytes: &[u8], size: usize) -> io::Result<String> {
        let mut text = String::new();
        Utf8::new(Slow { bytes, size }).read_to_string(&mut text).map(|_| text)
    }

    fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        "\u{feff}".encode_utf16().chain(text.encode_utf16()).flat_map(bytes).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn a_text_is_the_same_in_every_encoding_however_it_arrives(
            text in prop_oneof!["[^\u{feff}]{0,3}", "([a-z: \n]|[^\u{feff}]|\u{1F600}){0,200}"],
            size in 1_usize..9,
        ) {
            let marked = format!("\u{feff}{text}");
            for bytes in [text.as_bytes().to_vec(), marked.into_bytes()] {
                prop_assert_eq!(&read(&bytes, size).unwrap(), &text, "a UTF-8 dump is read with other text");
            }
            // Two zeros after the mark are those of UTF-32.
            if !text.starts_with('\0') {
                for bytes in [utf16(&text, u16::to_le_bytes), utf16(&text, u16::to_be_bytes)] {
                    prop_assert_eq!(&read(&bytes, size).unwrap(), &text, "a dump of PowerShell is read with other text");
                }
            }
        }
    }

    #[test]
    fn a_dump_in_no_known_encoding_says_which_it_is() {
        let error = |bytes: &[u8]| read(bytes, 100).unwrap_err().to_string();
        assert_eq!(error(b"\xff\xfe\0\0a\0\0\0"), "it is UTF-32; write it as UTF-8");
        assert_eq!(error(b"\0\0\xfe\xff\0\0\0a"), "it is UTF-32; write it as UTF-8");
        assert_eq!(error(b"\xff\xfea\0b"), "it is UTF-16 that ends within a character");
        assert_eq!(error(b"\xff\xfe\x3d\xd8"), "it is UTF-16 that ends within a character");
        assert_eq!(error(b"\xff\xfe\x3d\xd8a\0"), "it is UTF-16 with half a character");
    }
}
