//! Bounds on the shape of an XML document, checked in one pass before it is parsed.
//!
//! roxmltree copies the namespaces of an element into each element inside that declares one, and compares each
//! attribute with those before it, by name and namespace. A document of 1 MiB may take it minutes. Within these bounds
//! its work grows with the length of the document.

use std::fmt;

/// Maximum elements inside each other. libxml2, which libvirt reads XML with, has the same limit
/// (`xmlParserMaxDepth`).
pub(super) const MAX_DEPTH: usize = 256;
/// Maximum attributes of one element: libvirt's have up to some twenty.
pub(super) const MAX_ATTRIBUTES: usize = 64;
/// Maximum namespaces that a document declares: libvirt and KubeVirt declare one each in a domain, and none elsewhere.
pub(super) const MAX_NAMESPACES: usize = 8;
/// Maximum bytes of a namespace's URI: `http://libvirt.org/schemas/domain/qemu/1.0` has 42.
pub(super) const MAX_NAMESPACE_BYTES: usize = 128;

/// The parts of a document without elements or attributes: how they start and end.
const OPAQUE: [(&str, &str); 3] = [("<!--", "-->"), ("<![CDATA[", "]]>"), ("<?", "?>")];

/// The bound that a document exceeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beyond {
    /// [`MAX_DEPTH`].
    Depth,
    /// [`MAX_ATTRIBUTES`].
    Attributes,
    /// [`MAX_NAMESPACES`].
    Namespaces,
    /// [`MAX_NAMESPACE_BYTES`].
    NamespaceBytes,
}

impl fmt::Display for Beyond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Depth => write!(f, "more than {MAX_DEPTH} elements inside each other"),
            Self::Attributes => write!(f, "an element of more than {MAX_ATTRIBUTES} attributes"),
            Self::Namespaces => write!(f, "more than {MAX_NAMESPACES} namespaces"),
            Self::NamespaceBytes => write!(f, "a namespace of more than {MAX_NAMESPACE_BYTES} bytes"),
        }
    }
}

/// Checks the shape of a document that need not be well-formed: up to its first fault, elements and attributes are
/// counted as an XML parser counts them.
///
/// # Errors
///
/// The bound that it exceeds, and the number of bytes that were read.
pub(super) fn check(text: &str) -> Result<(), (Beyond, usize)> {
    let mut scan = Scan { rest: text, depth: 0, namespaces: 0 };
    scan.document().map_err(|beyond| (beyond, text.len() - scan.rest.len()))
}

struct Scan<'t> {
    /// The text that was not read yet.
    rest: &'t str,
    depth: usize,
    namespaces: usize,
}

impl<'t> Scan<'t> {
    fn document(&mut self) -> Result<(), Beyond> {
        while self.skip_to(&['<']).is_some() {
            if let Some((start, end)) = OPAQUE.iter().find(|(start, _)| self.rest.starts_with(start)) {
                let inside = &self.rest[start.len()..];
                self.rest = inside.split_once(end).map_or("", |(_, rest)| rest);
            } else if self.rest.starts_with("</") {
                self.depth = self.depth.saturating_sub(1);
                self.skip_to(&['>']);
            } else {
                self.start_tag()?;
            }
        }
        Ok(())
    }

    /// Reads a start tag. Each of its attributes has one value, in quotes.
    fn start_tag(&mut self) -> Result<(), Beyond> {
        let mut attributes = 0;
        loop {
            let Some((before, end)) = self.skip_to(&['>', '"', '\'']) else { return Ok(()) };
            self.rest = &self.rest[1..];
            if end == '>' {
                self.depth += usize::from(!before.ends_with('/'));
                return within(self.depth, MAX_DEPTH, Beyond::Depth);
            }
            attributes += 1;
            within(attributes, MAX_ATTRIBUTES, Beyond::Attributes)?;
            let Some((value, _)) = self.skip_to(&[end]) else { return Ok(()) };
            self.rest = &self.rest[1..];
            // `xmlns`, `xmlns:a`, and `a:xmlns`, which roxmltree takes for `xmlns`.
            if before.contains("xmlns") {
                self.namespaces += 1;
                within(self.namespaces, MAX_NAMESPACES, Beyond::Namespaces)?;
                within(value.len(), MAX_NAMESPACE_BYTES, Beyond::NamespaceBytes)?;
            }
        }
    }

    /// Skips the text before the first of these characters, which is left. Returns both; `None` at the end.
    fn skip_to(&mut self, ends: &[char]) -> Option<(&'t str, char)> {
        let Some(at) = self.rest.find(ends) else {
            self.rest = "";
            return None;
        };
        let (before, rest) = self.rest.split_at(at);
        self.rest = rest;
        rest.chars().next().map(|end| (before, end))
    }
}

fn within(count: usize, most: usize, beyond: Beyond) -> Result<(), Beyond> {
    if count > most { Err(beyond) } else { Ok(()) }
}
