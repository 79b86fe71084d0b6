//! XML as S3 speaks it: a small writer, and a reader for the two request bodies that matter.

use quick_xml::Reader;
use quick_xml::escape::escape;
use quick_xml::events::Event;

use crate::error::S3Error;

/// An XML document under construction.
#[derive(Debug)]
pub(crate) struct Xml(String);

impl Xml {
    /// Begins a document with its root element in S3's namespace.
    pub(crate) fn new(root: &str) -> Self {
        Self::begin(root, " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"")
    }

    /// Begins an error document, which has no namespace: with one, botocore finds no code in it.
    pub(crate) fn error() -> Self {
        Self::begin("Error", "")
    }

    fn begin(root: &str, attributes: &str) -> Self {
        let mut text = String::with_capacity(1024);
        text.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<");
        text.push_str(root);
        text.push_str(attributes);
        text.push('>');
        Self(text)
    }

    /// Makes room for this many further bytes.
    pub(crate) fn reserve(&mut self, bytes: usize) {
        self.0.reserve(bytes);
    }

    /// Opens an element.
    pub(crate) fn open(&mut self, tag: &str) {
        self.0.push('<');
        self.0.push_str(tag);
        self.0.push('>');
    }

    /// Closes an element.
    pub(crate) fn close(&mut self, tag: &str) {
        self.0.push_str("</");
        self.0.push_str(tag);
        self.0.push('>');
    }

    /// An element with text.
    pub(crate) fn leaf(&mut self, tag: &str, text: &str) {
        self.open(tag);
        self.0.push_str(&escape(text));
        self.close(tag);
    }

    /// An element with a number.
    pub(crate) fn number(&mut self, tag: &str, value: u64) {
        use std::fmt::Write as _;
        self.open(tag);
        // Writing to a String cannot fail.
        let _ = write!(self.0, "{value}");
        self.close(tag);
    }

    /// Closes the root element and returns the document.
    pub(crate) fn finish(mut self, root: &str) -> String {
        self.close(root);
        self.0
    }
}

/// Name and text of an element without children.
pub(crate) type Leaf = (String, String);

/// The leaves of each `<record>`, and those outside of any.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Records {
    /// One list a record.
    pub(crate) records: Vec<Vec<Leaf>>,
    /// Leaves outside of records.
    pub(crate) outer: Vec<Leaf>,
}

/// The text of the first leaf of that name.
pub(crate) fn text_of<'a>(leaves: &'a [Leaf], name: &str) -> Option<&'a str> {
    leaves
        .iter()
        .find(|(n, _)| n == name)
        .map(|(_, text)| text.as_str())
}

/// Reads a document of flat records, such as the parts of a completion.
pub(crate) fn records(xml: &str, record: &str) -> Result<Records, S3Error> {
    let malformed = |e: &dyn std::fmt::Display| S3Error::malformed_xml(e.to_string());
    let mut reader = Reader::from_str(xml);
    let mut found = Records::default();
    let mut inside = false;
    let mut leaf: Option<Leaf> = None;
    loop {
        match reader.read_event().map_err(|e| malformed(&e))? {
            Event::Start(tag) => {
                let name = tag.local_name().as_ref().to_owned();
                if name == record {
                    found.records.push(Vec::new());
                    inside = true;
                    leaf = None;
                } else {
                    leaf = Some((name, String::new()));
                }
            }
            Event::Text(text) => {
                if let Some((_, value)) = &mut leaf {
                    value.push_str(&text.xml10_content());
                }
            }
            Event::CData(text) => {
                if let Some((_, value)) = &mut leaf {
                    value.push_str(&text.xml10_content());
                }
            }
            Event::GeneralRef(reference) => {
                if let Some((_, value)) = &mut leaf {
                    let entity = format!("&{};", &*reference);
                    let text = quick_xml::escape::unescape(&entity).map_err(|e| malformed(&e))?;
                    value.push_str(&text);
                }
            }
            Event::End(tag) => {
                if tag.local_name().as_ref() == record {
                    inside = false;
                } else if let Some(done) = leaf.take() {
                    match found.records.last_mut().filter(|_| inside) {
                        Some(leaves) => leaves.push(done),
                        None => found.outer.push(done),
                    }
                }
                leaf = None;
            }
            Event::Eof => return Ok(found),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut xml = Xml::new("Delete");
        for key in ["a&b", "<tag>", "quote\"'", " space ", "ünï/%20"] {
            xml.open("Object");
            xml.leaf("Key", key);
            xml.close("Object");
        }
        xml.leaf("Quiet", "true");
        let text = xml.finish("Delete");
        assert!(text.contains("a&amp;b") && text.contains("&lt;tag&gt;"));
        let found = records(&text, "Object").unwrap();
        let keys: Vec<_> = found
            .records
            .iter()
            .filter_map(|r| text_of(r, "Key"))
            .collect();
        assert_eq!(keys, ["a&b", "<tag>", "quote\"'", " space ", "ünï/%20"]);
        assert_eq!(text_of(&found.outer, "Quiet"), Some("true"));
    }

    #[test]
    fn completion_as_clients_write_it() {
        let found = records(
            "<CompleteMultipartUpload xmlns=\"x\">\n <Part><ETag>&quot;e1&quot;</ETag>\
             <PartNumber>1</PartNumber></Part><Part><PartNumber>&#50;</PartNumber>\
             <ETag><![CDATA[\"e2\"]]></ETag></Part></CompleteMultipartUpload>",
            "Part",
        )
        .unwrap();
        assert_eq!(found.records.len(), 2);
        assert_eq!(text_of(&found.records[0], "ETag"), Some("\"e1\""));
        assert_eq!(text_of(&found.records[1], "PartNumber"), Some("2"));
        assert_eq!(text_of(&found.records[1], "ETag"), Some("\"e2\""));
    }

    #[test]
    fn only_errors_have_no_namespace() {
        assert!(
            Xml::new("A")
                .finish("A")
                .ends_with("<A xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"></A>")
        );
        assert!(Xml::error().finish("Error").ends_with("\n<Error></Error>"));
    }

    #[test]
    fn broken_xml_is_an_error() {
        assert!(records("<a><Part></a>", "Part").is_err());
        assert!(records("<a>&nonsense;</a>", "Part").is_err());
    }
}
