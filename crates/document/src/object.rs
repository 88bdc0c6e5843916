//! `Object`: one version of one object as the store keeps and the server sends it. Its bytes are JSON without the
//! head (`kind`, `apiVersion`) and without `resourceVersion`, which is spliced in when they leave.

mod facts;
mod memo;
mod scan;
mod seal;

pub use memo::Memo;
pub use seal::SealError;

use bytes::Bytes;
use meta::labels::Labels;
use meta::{Key, Revision, Time};

use crate::Value;

/// Encoded once, never changed. Cloned as `Arc<Object>`.
#[derive(Clone, PartialEq, Eq)]
pub struct Object {
    pub key: Key,
    /// Set by the store at commit; `Revision(0)` in a draft.
    pub revision: Revision,
    pub uid: Box<str>,
    /// `metadata.labels`.
    pub labels: Labels,
    /// Values of the selectable fields that are not empty, by the stored version's field names.
    pub fields: Box<[(Box<str>, Box<str>)]>,
    /// `metadata.ownerReferences`.
    pub owners: Box<[Owner]>,
    /// `metadata.deletionTimestamp`.
    pub deletion: Option<Time>,
    pub has_finalizers: bool,
    /// JSON after the head: `"metadata":{…},"spec":{…}}`; what follows `{"kind":…,"apiVersion":…,`.
    pub bytes: Bytes,
    /// Where `"resourceVersion":"N",` goes in `bytes`.
    pub splice: u32,
    /// The bytes of `metadata`'s value: from its `{` to after its `}`.
    pub metadata: (u32, u32),
    /// The message in protobuf, once it was asked for.
    pub message: Memo,
}

/// One owner reference, as garbage collection needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub api_version: Box<str>,
    pub kind: Box<str>,
    pub name: Box<str>,
    pub uid: Box<str>,
    pub controller: bool,
    pub block_owner_deletion: bool,
}

/// What stands before the bytes of an object.
#[derive(Clone, Copy, Debug)]
pub enum Head<'a> {
    /// In a list: no kind and apiVersion.
    Item,
    /// `{"kind":K,"apiVersion":V,`
    Full { kind: &'a str, api_version: &'a str },
}

impl Object {
    /// An object of which nothing but its key and its text is known; its uid is `u`. For tests of crates that keep
    /// objects: what the server stores is sealed.
    pub fn bare(key: Key, bytes: Bytes) -> Self {
        Object {
            key,
            revision: Revision(0),
            uid: "u".into(),
            labels: Labels::default(),
            fields: Box::default(),
            owners: Box::default(),
            deletion: None,
            has_finalizers: false,
            bytes,
            splice: 0,
            metadata: (0, 0),
            message: Memo::default(),
        }
    }

    /// Appends the object's JSON (no trailing newline).
    pub fn write_json(&self, head: Head<'_>, out: &mut Vec<u8>) {
        out.reserve(self.bytes.len() + 128);
        write_head(head, out);
        let at = self.splice as usize;
        out.extend_from_slice(&self.bytes[..at]);
        self.write_revision(out);
        out.extend_from_slice(&self.bytes[at..]);
    }

    /// Appends only `metadata`'s value, resourceVersion included.
    pub fn write_metadata(&self, out: &mut Vec<u8>) {
        let (start, end, at) = (self.metadata.0 as usize, self.metadata.1 as usize, self.splice as usize);
        out.extend_from_slice(&self.bytes[start..at]);
        self.write_revision(out);
        out.extend_from_slice(&self.bytes[at..end]);
    }

    /// The object as a tree, resourceVersion included unless this is a draft.
    pub fn document(&self, kind: &str, api_version: &str) -> Value {
        let mut json = Vec::new();
        match self.revision {
            Revision(0) => {
                write_head(Head::Full { kind, api_version }, &mut json);
                json.extend_from_slice(&self.bytes);
            }
            _ => self.write_json(Head::Full { kind, api_version }, &mut json),
        }
        // sealed bytes are JSON: they were written from a tree or scanned
        crate::json::parse(&json).unwrap_or_default()
    }

    /// Value of a selectable field, "" when unset. `metadata.name` and `metadata.namespace` come from the key.
    pub fn field(&self, name: &str) -> &str {
        match name {
            "metadata.name" => &self.key.name,
            "metadata.namespace" => &self.key.namespace,
            _ => self.fields.iter().find(|(n, _)| &**n == name).map(|(_, v)| &**v).unwrap_or_default(),
        }
    }

    fn write_revision(&self, out: &mut Vec<u8>) {
        let mut digits = itoa::Buffer::new();
        out.extend_from_slice(b"\"resourceVersion\":\"");
        out.extend_from_slice(digits.format(self.revision.0).as_bytes());
        out.extend_from_slice(b"\",");
    }
}

/// Appends `{` and, when asked, kind and apiVersion.
pub fn write_head(head: Head<'_>, out: &mut Vec<u8>) {
    out.push(b'{');
    if let Head::Full { kind, api_version } = head {
        out.extend_from_slice(b"\"kind\":\"");
        out.extend_from_slice(kind.as_bytes());
        out.extend_from_slice(b"\",\"apiVersion\":\"");
        out.extend_from_slice(api_version.as_bytes());
        out.extend_from_slice(b"\",");
    }
}

/// Never prints the content: it may be a Secret.
impl std::fmt::Debug for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Object({:?}@{}, {} bytes)", self.key, self.revision, self.bytes.len())
    }
}
