//! A page of a listing: the document that ListObjectsV2 answers with, read in one pass.
//!
//! Pages are most of what listing costs a processor. The SDK's parser, made for any document, takes
//! three to four times as long over one.

use jiff::Timestamp;
use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::Event;

use super::checksums::unquote;

/// See the module.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) contents: Vec<Listed>,
    /// Whether there is more.
    pub(super) truncated: bool,
    /// Where to go on.
    pub(super) token: Option<String>,
    /// Whether keys are URL-encoded.
    pub(super) encoded: bool,
}

/// One object of a page.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Listed {
    /// As it was sent.
    pub(super) key: String,
    pub(super) size: u64,
    /// 1970 where none is told.
    pub(super) modified: Timestamp,
    /// Without quotes.
    pub(super) etag: Option<String>,
    pub(super) class: Option<String>,
    /// Whether a copy restored from an archive can be read.
    pub(super) restored: bool,
}

/// Why a document is no page.
#[derive(Debug, thiserror::Error)]
pub(super) enum Malformed {
    #[error("not UTF-8")]
    Encoding(#[from] std::str::Utf8Error),
    #[error("not XML: {0}")]
    Xml(#[from] quick_xml::Error),
    #[error("a document of type <{0}>")]
    Type(String),
    #[error("it ends within <{0}>")]
    Short(String),
    #[error("an unknown entity &{0};")]
    Entity(String),
    #[error("<{0}> holds {1:?}")]
    Value(&'static str, String),
    #[error("an object without a key")]
    Nameless,
}

/// What restoring an object from an archive has come to.
#[derive(Default)]
struct Restore {
    ended: bool,
    expires: bool,
}

/// Reads a page.
pub(super) fn parse(document: &[u8]) -> Result<Page, Malformed> {
    let mut reader = Reader::from_str(std::str::from_utf8(document)?);
    let mut page = Page::default();
    let (mut listed, mut restore) = (Listed::default(), Restore::default());
    let mut text = String::new();
    let mut depth = 0_u32;
    let mut in_contents = false;
    let mut ended = false;
    loop {
        match reader.read_event()? {
            Event::Start(element) => {
                let name = element.name();
                depth += 1;
                text.clear();
                match (depth, name.as_ref()) {
                    (1, "ListBucketResult") | (3.., _) => {}
                    (1, other) => return Err(Malformed::Type(other.to_owned())),
                    (_, other) => {
                        in_contents = other == "Contents";
                        (listed, restore) = <_>::default();
                    }
                }
            }
            Event::Text(part) => text.push_str(&part.xml10_content()),
            Event::CData(part) => text.push_str(&part.xml10_content()),
            Event::GeneralRef(entity) => {
                if let Some(character) = entity.resolve_char_ref()? {
                    text.push(character);
                } else {
                    let name: &str = &entity;
                    let known = resolve_predefined_entity(name);
                    text.push_str(known.ok_or_else(|| Malformed::Entity(name.to_owned()))?);
                }
            }
            Event::End(element) => {
                let name = element.name();
                match (depth, name.as_ref()) {
                    (1, _) => ended = true,
                    (2, "Contents") => {
                        if listed.key.is_empty() {
                            return Err(Malformed::Nameless);
                        }
                        listed.restored = restore.ended && restore.expires;
                        page.contents.push(std::mem::take(&mut listed));
                    }
                    (2, name) => page.take(name, &mut text)?,
                    (3.., name) if in_contents => {
                        take(&mut listed, &mut restore, depth, name, &mut text)?;
                    }
                    _ => {}
                }
                depth -= 1;
                text.clear();
            }
            Event::Empty(element)
                if depth == 0 && element.name().as_ref() == "ListBucketResult" =>
            {
                ended = true;
            }
            Event::Eof if ended => return Ok(page),
            Event::Eof => return Err(Malformed::Short(String::from("ListBucketResult"))),
            _ => {}
        }
    }
}

impl Page {
    fn take(&mut self, name: &str, text: &mut String) -> Result<(), Malformed> {
        match name {
            "IsTruncated" => self.truncated = flag("IsTruncated", text)?,
            "NextContinuationToken" => self.token = Some(std::mem::take(text)),
            "EncodingType" => self.encoded = text == "url",
            _ => {}
        }
        Ok(())
    }
}

fn take(
    listed: &mut Listed,
    restore: &mut Restore,
    depth: u32,
    name: &str,
    text: &mut String,
) -> Result<(), Malformed> {
    match (depth, name) {
        (3, "Key") => listed.key = std::mem::take(text),
        (3, "Size") => {
            let size = text.trim().parse();
            listed.size = size.map_err(|_| Malformed::Value("Size", text.clone()))?;
        }
        (3, "LastModified") => {
            let time = text.trim().parse();
            listed.modified = time.map_err(|_| Malformed::Value("LastModified", text.clone()))?;
        }
        (3, "ETag") => listed.etag = Some(unquote(text)),
        (3, "StorageClass") => listed.class = Some(std::mem::take(text)),
        (4, "IsRestoreInProgress") => restore.ended = !flag("IsRestoreInProgress", text)?,
        (4, "RestoreExpiryDate") => restore.expires = true,
        _ => {}
    }
    Ok(())
}

fn flag(name: &'static str, text: &str) -> Result<bool, Malformed> {
    match text.trim() {
        "true" | "True" | "1" => Ok(true),
        "false" | "False" | "0" | "" => Ok(false),
        other => Err(Malformed::Value(name, other.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
  <Name>b</Name><Prefix>a &amp; b</Prefix><KeyCount>2</KeyCount><MaxKeys>1000</MaxKeys>
  <EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>
  <NextContinuationToken>a&#43;b&lt;==</NextContinuationToken>
  <Contents><Key> a &#x26;&amp; &gt;b </Key><LastModified>2026-11-24T06:31:44.500Z</LastModified>
    <ETag>&quot;0123&quot;</ETag><ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm>
    <ChecksumType>FULL_OBJECT</ChecksumType><Size>5368709121</Size>
    <Owner><DisplayName>Key</DisplayName><ID>Size</ID></Owner>
    <StorageClass>GLACIER</StorageClass>
    <RestoreStatus><IsRestoreInProgress>false</IsRestoreInProgress>
      <RestoreExpiryDate>2026-12-24T00:00:00.000Z</RestoreExpiryDate></RestoreStatus></Contents>
  <Contents><Key><![CDATA[z<]]></Key><Size>0</Size></Contents>
  <CommonPrefixes><Prefix>p/</Prefix></CommonPrefixes>
</ListBucketResult>
"#;

    #[test]
    fn a_page_is_read() {
        let page = parse(FULL.as_bytes()).unwrap();
        assert!(page.truncated && page.encoded);
        assert_eq!(page.token.as_deref(), Some("a+b<=="));
        let first = Listed {
            key: " a && >b ".into(),
            size: 5_368_709_121,
            modified: "2026-11-24T06:31:44.5Z".parse().unwrap(),
            etag: Some("0123".into()),
            class: Some("GLACIER".into()),
            restored: true,
        };
        let second = Listed {
            key: "z<".into(),
            ..Listed::default()
        };
        assert_eq!(page.contents, [first, second]);
    }

    #[test]
    fn an_empty_page_is_a_page() {
        for text in [
            "<ListBucketResult/>",
            "<ListBucketResult></ListBucketResult>",
            "<ListBucketResult><IsTruncated>false</IsTruncated><NextContinuationToken/>\
             </ListBucketResult>",
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap(), Page::default(), "{text}");
        }
    }

    #[test]
    fn a_page_cut_anywhere_is_none() {
        let whole = FULL.trim_end().as_bytes();
        for end in 0..whole.len() {
            assert!(parse(&whole[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let page = |inner: &str| format!("<ListBucketResult>{inner}</ListBucketResult>");
        for text in [
            "<Error><Code>InternalError</Code></Error>".to_owned(),
            "<html></html>".to_owned(),
            String::new(),
            page("<Contents><Size>1</Size></Contents>"),
            page("<Contents><Key>a</Key><Size>-1</Size></Contents>"),
            page("<Contents><Key>a</Key><LastModified>now</LastModified></Contents>"),
            page("<IsTruncated>perhaps</IsTruncated>"),
            page("<Contents><Key>&what;</Key></Contents>"),
            page("<Contents><Key>a</Contents></Key>"),
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(parse(b"<ListBucketResult>\xff</ListBucketResult>").is_err());
    }
}
