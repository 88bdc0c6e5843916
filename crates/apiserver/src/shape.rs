//! What an answer is made of: the object itself, its metadata alone, or a Table. Written as JSON text from the stored
//! bytes; a tree is made only where cells or another version or encoding need one.

use api::ResourceType;
use bytes::Bytes;
use document::object::Head;
use document::{Object, Type, Value, doc, json, proto};
use meta::{Status, Time};
use registry::Query;

use crate::negotiate::{Encoding, Form, MetaVersion, Shape};
use crate::respond::{self, Reply};

/// What a Table's rows carry beside their cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Include {
    None,
    Metadata,
    Object,
}

/// Makes answers about one resource in one form.
#[derive(Clone, Copy)]
pub(crate) struct Maker {
    pub row: &'static ResourceType,
    pub form: Form,
    include: Include,
}

impl Maker {
    /// # Errors
    /// 400 for an `includeObject` that means nothing.
    pub(crate) fn new(row: &'static ResourceType, form: Form, query: &Query) -> Result<Maker, Status> {
        let include = match (form.shape, query.get("includeObject").unwrap_or_default()) {
            (Shape::Table { .. }, "None") => Include::None,
            (Shape::Table { .. }, "Object") => Include::Object,
            (Shape::Table { .. }, other) if !matches!(other, "" | "Metadata") => return Err(bad_include(other)),
            _ => Include::Metadata,
        };
        Ok(Maker { row, form, include })
    }

    /// Whether the other makes the same bytes.
    pub(crate) fn is_same(&self, other: &Maker) -> bool {
        std::ptr::eq(self.row, other.row) && self.form == other.form && self.include == other.include
    }

    /// The same form of another version of the resource.
    pub(crate) fn with_row(self, row: &'static ResourceType) -> Maker {
        Maker { row, ..self }
    }

    /// # Errors
    /// 406 when the metadata of a list is asked for as that of an object, or the reverse.
    pub(crate) fn check_list(&self, is_list: bool) -> Result<(), Status> {
        let go = go_type(self.row, is_list);
        match (self.form.shape, is_list) {
            (Shape::Partial { .. }, true) => Err(Status::not_acceptable(format!(
                "you requested PartialObjectMetadata, but the requested object is a list ({go})"
            ))),
            (Shape::PartialList { .. }, false) => Err(Status::not_acceptable(format!(
                "you requested PartialObjectMetadataList, but the requested object is not a list ({go})"
            ))),
            _ => Ok(()),
        }
    }

    /// A stored object as the whole answer.
    ///
    /// # Errors
    /// 406 when the form cannot be made of it.
    pub(crate) fn object(&self, code: u16, object: &Object) -> Result<Reply, Status> {
        self.check_list(false)?;
        if self.form.encoding == Encoding::Protobuf && !matches!(self.form.shape, Shape::Table { .. }) {
            let body = self.wrapped(object)?;
            return Ok(respond::bytes(code, self.form.encoding.content_type(), body, self.form.gzip));
        }
        let mut out = Vec::with_capacity(object.bytes.len() + 256);
        self.push_object(object, true, &mut out);
        respond::encoded(code, out, self.answer_type(), self.form)
    }

    /// A stored object's message in protobuf, without its envelope. The whole object's is kept with the object.
    ///
    /// # Errors
    /// 406 for what has no message; 500 for a stored object that is not of its type.
    pub(crate) fn message(&self, object: &Object) -> Result<Bytes, Status> {
        let make = || {
            let type_ = self.answer_type().ok_or_else(respond::no_protobuf)?;
            let mut text = Vec::with_capacity(object.bytes.len() + 128);
            self.push_item(object, &mut text);
            let message = proto::encode(&respond::parse(&text)?, type_).map_err(|why| {
                tracing::error!(key = ?object.key, %why, "a stored object cannot be written as protobuf");
                Status::internal(why)
            })?;
            // what is kept is kept without room to grow
            Ok(message.into_boxed_slice().into())
        };
        match self.form.shape == Shape::Whole && api::stored::is_storage_version(self.row) {
            true => object.message.get(make),
            false => make(),
        }
    }

    /// The message in its envelope.
    ///
    /// # Errors
    /// As [`Maker::message`].
    pub(crate) fn wrapped(&self, object: &Object) -> Result<Vec<u8>, Status> {
        let message = self.message(object)?;
        Ok(match self.form.shape {
            Shape::Partial { version } | Shape::PartialList { version } => {
                proto::wrap(version.api_version(), "PartialObjectMetadata", &message)
            }
            _ => proto::wrap(&self.row.api_version(), self.row.kind, &message),
        })
    }

    /// Something made for this answer (reviews, tokens, scale).
    ///
    /// # Errors
    /// 406 when the form cannot be made of it.
    pub(crate) fn value(&self, code: u16, value: &Value, type_: &'static Type) -> Result<Reply, Status> {
        self.check_list(false)?;
        let mut out = Vec::with_capacity(512);
        match self.form.shape {
            Shape::Whole => json::write(value, &mut out),
            Shape::Table { version } => {
                push_table_head(version, value["metadata"]["resourceVersion"].str(), "", &mut out);
                self.push_value_table(version, value, &mut out);
            }
            Shape::Partial { version } | Shape::PartialList { version } => {
                push_partial_head(version, &mut out);
                json::write(&value["metadata"], &mut out);
                out.push(b'}');
            }
        }
        let type_ = if self.form.shape == Shape::Whole { Some(type_) } else { self.answer_type() };
        respond::encoded(code, out, type_, self.form)
    }

    /// The type of a single answer, for protobuf.
    pub(crate) fn answer_type(&self) -> Option<&'static Type> {
        match self.form.shape {
            Shape::Whole => Some(self.row.type_),
            Shape::Table { .. } => None,
            Shape::Partial { .. } | Shape::PartialList { .. } => api::type_of_meta("PartialObjectMetadata"),
        }
    }

    /// The type of a list.
    pub(crate) fn list_type(&self) -> Option<&'static Type> {
        match self.form.shape {
            Shape::Whole => self.row.list_type,
            Shape::Table { .. } => None,
            Shape::Partial { .. } | Shape::PartialList { .. } => api::type_of_meta("PartialObjectMetadataList"),
        }
    }

    /// One object by itself. `columns`: a Table says what its columns are (all but the first of a watch do not).
    pub(crate) fn push_object(&self, object: &Object, columns: bool, out: &mut Vec<u8>) {
        match self.form.shape {
            Shape::Whole => self.push_whole(object, true, out),
            Shape::Partial { version } | Shape::PartialList { version } => self.push_partial(version, object, out),
            Shape::Table { version } => {
                push_table_head(version, &object.revision.to_string(), "", out);
                self.push_columns(columns, out);
                out.extend_from_slice(b",\"rows\":[");
                self.push_row(version, object, false, out);
                out.extend_from_slice(b"]}");
            }
        }
    }

    /// What stands before the items of a list. `meta` is the inside of its metadata after the resourceVersion.
    pub(crate) fn push_list_head(&self, revision: &str, meta: &str, out: &mut Vec<u8>) {
        match self.form.shape {
            Shape::Whole => {
                push_head(&self.row.list_kind(), &self.row.api_version(), revision, meta, out);
                out.extend_from_slice(b",\"items\":[");
            }
            Shape::Partial { version } | Shape::PartialList { version } => {
                push_head("PartialObjectMetadataList", version.api_version(), revision, meta, out);
                out.extend_from_slice(b",\"items\":[");
            }
            Shape::Table { version } => {
                push_table_head(version, revision, meta, out);
                self.push_columns(true, out);
                out.extend_from_slice(b",\"rows\":[");
            }
        }
    }

    /// What stands after the items of a list of so many.
    pub(crate) fn push_list_end(&self, count: usize, out: &mut Vec<u8>) {
        let null =
            count == 0 && matches!(self.form.shape, Shape::Table { .. }) && api::columns::empty_rows_are_null(self.row);
        if null && out.ends_with(b"[") {
            out.pop();
            out.extend_from_slice(b"null}");
        } else {
            out.extend_from_slice(b"]}");
        }
    }

    /// One item of a list.
    pub(crate) fn push_item(&self, object: &Object, out: &mut Vec<u8>) {
        match self.form.shape {
            Shape::Whole => self.push_whole(object, false, out),
            Shape::Partial { version } | Shape::PartialList { version } => self.push_partial(version, object, out),
            Shape::Table { version } => self.push_row(version, object, true, out),
        }
    }

    /// About how many bytes an item takes.
    pub(crate) fn size_of(&self, object: &Object) -> usize {
        match (self.form.shape, self.include) {
            (Shape::Whole, _) | (_, Include::Object) => object.bytes.len() + 32,
            (Shape::Table { .. }, Include::None) => 100,
            _ => (object.metadata.1 - object.metadata.0) as usize + 160,
        }
    }

    fn push_whole(&self, object: &Object, head: bool, out: &mut Vec<u8>) {
        let row = self.row;
        if api::stored::is_storage_version(row) {
            let api_version = row.api_version();
            let head = if head { Head::Full { kind: row.kind, api_version: &api_version } } else { Head::Item };
            return object.write_json(head, out);
        }
        let mut tree = api::stored::read(row, object);
        if !head {
            tree.remove("kind");
            tree.remove("apiVersion");
        }
        json::write(&tree, out);
    }

    fn push_partial(&self, version: MetaVersion, object: &Object, out: &mut Vec<u8>) {
        push_partial_head(version, out);
        match api::stored::unseen_annotation(self.row) {
            None => object.write_metadata(out),
            Some(unseen) => {
                let mut text = Vec::new();
                object.write_metadata(&mut text);
                // stored bytes are JSON
                let mut metadata = json::parse(&text).unwrap_or_default();
                metadata.entry("annotations").remove(unseen);
                if metadata["annotations"].is_empty() {
                    metadata.remove("annotations");
                }
                json::write(&metadata, out);
            }
        }
        out.push(b'}');
    }

    fn push_row(&self, version: MetaVersion, object: &Object, in_list: bool, out: &mut Vec<u8>) {
        let tree = api::stored::read(self.row, object);
        out.extend_from_slice(b"{\"cells\":");
        json::write(&Value::List(api::columns::cells(self.row, &tree, Time::now(), in_list)), out);
        if let Some(conditions) = api::columns::conditions(self.row, &tree) {
            out.extend_from_slice(b",\"conditions\":");
            json::write(&conditions, out);
        }
        out.extend_from_slice(b",\"object\":");
        match self.include {
            Include::None => out.extend_from_slice(b"null"),
            Include::Metadata => self.push_partial(version, object, out),
            Include::Object => self.push_whole(object, true, out),
        }
        out.push(b'}');
    }

    fn push_value_table(&self, version: MetaVersion, value: &Value, out: &mut Vec<u8>) {
        let sub = api::columns::subject(value);
        out.extend_from_slice(b",\"columnDefinitions\":");
        json::write(&sub.definitions(), out);
        out.extend_from_slice(b",\"rows\":[{\"cells\":");
        json::write(&Value::List(sub.cells(value, Time::now())), out);
        out.extend_from_slice(b",\"object\":");
        match self.include {
            Include::None => out.extend_from_slice(b"null"),
            Include::Object => json::write(value, out),
            Include::Metadata => {
                push_partial_head(version, out);
                json::write(&value["metadata"], out);
                out.push(b'}');
            }
        }
        out.extend_from_slice(b"}]}");
    }

    fn push_columns(&self, columns: bool, out: &mut Vec<u8>) {
        out.extend_from_slice(b",\"columnDefinitions\":");
        if columns { json::write(&api::columns::definitions(self.row), out) } else { out.extend_from_slice(b"null") }
    }

    /// An object of this kind that says nothing but a revision, or also that the initial events have ended: what a
    /// bookmark carries.
    pub(crate) fn push_bookmark(&self, revision: &str, initial_end: bool, out: &mut Vec<u8>) {
        let mut metadata = doc!({"resourceVersion": revision});
        if initial_end {
            metadata.set("annotations", doc!({"k8s.io/initial-events-end": "true"}));
        }
        match self.form.shape {
            Shape::Whole => json::write(&self.blank(metadata), out),
            Shape::Partial { version } | Shape::PartialList { version } => {
                push_partial_head(version, out);
                json::write(&metadata, out);
                out.push(b'}');
            }
            Shape::Table { version } => {
                push_table_head(version, revision, "", out);
                self.push_columns(false, out);
                out.extend_from_slice(b",\"rows\":[{\"cells\":");
                let tree = self.blank(metadata.clone());
                json::write(&Value::List(api::columns::cells(self.row, &tree, Time::now(), false)), out);
                out.extend_from_slice(b",\"object\":");
                push_partial_head(version, out);
                json::write(&metadata, out);
                out.extend_from_slice(b"}}]}");
            }
        }
    }

    fn blank(&self, metadata: Value) -> Value {
        let api_version = self.row.api_version();
        let mut value = doc!({"kind": (self.row.kind), "apiVersion": api_version, "metadata": metadata});
        document::normalize(&mut value, self.row.type_);
        value
    }
}

fn push_head(kind: &str, api_version: &str, revision: &str, meta: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(format!(r#"{{"kind":"{kind}","apiVersion":"{api_version}","metadata":{{"#).as_bytes());
    if !revision.is_empty() {
        out.extend_from_slice(format!(r#""resourceVersion":"{revision}""#).as_bytes());
    }
    out.extend_from_slice(meta.as_bytes());
    out.push(b'}');
}

fn push_table_head(version: MetaVersion, revision: &str, meta: &str, out: &mut Vec<u8>) {
    push_head("Table", version.api_version(), revision, meta, out);
}

fn push_partial_head(version: MetaVersion, out: &mut Vec<u8>) {
    out.extend_from_slice(
        format!(r#"{{"kind":"PartialObjectMetadata","apiVersion":"{}","metadata":"#, version.api_version()).as_bytes(),
    );
}

fn bad_include(value: &str) -> Status {
    Status::bad_request(format!(
        "Unable to convert to Table as requested: includeObject: Invalid value: {}: must be 'Metadata', 'Object', 'None', or empty",
        meta::goquote::quote(value)
    ))
}

/// The name of upstream's internal type, which error texts print.
fn go_type(row: &ResourceType, is_list: bool) -> String {
    let package = match row.group {
        "" | "events.k8s.io" => "core",
        group => group.split('.').next().unwrap_or_default(),
    };
    format!("*{package}.{}{}", row.kind, if is_list { "List" } else { "" })
}
