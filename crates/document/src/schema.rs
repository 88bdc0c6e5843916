//! Type tables: what `decode`, `normalize`, `proto` and the patches follow. The tables themselves are generated into
//! crate `api` as statics from upstream's published types: nothing is built or parsed at start.

/// One type: a struct with fields in output order, or a name for another kind of value.
#[derive(Debug)]
pub struct Type {
    /// The OpenAPI definition name, `io.k8s.api.core.v1.PodSpec`.
    pub name: &'static str,
    pub shape: Shape,
    /// The Kubernetes kind if this is a root type: (group, version, kind).
    pub gvk: &'static [(&'static str, &'static str, &'static str)],
    /// Apply treats the whole struct as one value.
    pub atomic: bool,
    /// How it stands on the protobuf wire; `None` when it has no message of its own.
    pub message: Option<&'static Message>,
}

#[derive(Debug)]
pub enum Shape {
    Struct(&'static [Field]),
    Alias(Kind),
}

/// One field of a struct.
#[derive(Debug)]
pub struct Field {
    pub name: &'static str,
    pub kind: Kind,
    /// The Go name, when it is not the JSON name with another first letter; internal structs print it in errors.
    pub go: &'static str,
    /// A pointer in Go: an explicit zero is kept.
    pub pointer: bool,
    pub omit_empty: bool,
    /// What is printed when the value is unset.
    pub zero: Zero,
    pub required: bool,
    pub enumeration: &'static [&'static str],
    pub list: ListType,
    /// Keys of `ListType::Map`.
    pub keys: &'static [&'static str],
    /// Apply treats the map or struct as one value.
    pub atomic: bool,
    /// Strategic merge patch: `merge`, `replace`, `retainKeys`, joined by commas as upstream writes them.
    pub patch_strategy: &'static str,
    pub patch_merge_key: &'static str,
}

impl Field {
    pub fn merges(&self) -> bool {
        self.patch_strategy.split(',').any(|s| s == "merge")
    }

    pub fn retains_keys(&self) -> bool {
        self.patch_strategy.split(',').any(|s| s == "retainKeys")
    }

    pub fn replaces(&self) -> bool {
        self.patch_strategy.split(',').any(|s| s == "replace")
    }
}

/// What kind of value a field, list item or map value is.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    String,
    Bool,
    Int32,
    Int64,
    Float64,
    /// Base64 in JSON.
    Bytes,
    /// Any JSON value.
    Any,
    Time,
    MicroTime,
    /// A Go duration string.
    Duration,
    Quantity,
    IntOrString,
    /// A JSON object kept as it is, nested kind included.
    RawExtension,
    FieldsV1,
    /// Any JSON, order kept.
    Json,
    JsonSchemaPropsOrBool,
    JsonSchemaPropsOrArray,
    JsonSchemaPropsOrStringArray,
    Ref(&'static Type),
    List(&'static Kind),
    Map(&'static Kind),
}

/// What stands in the output for an unset field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zero {
    /// Nothing is printed.
    Absent,
    /// `{}` filled with the zeros of its own fields.
    Struct,
    /// `null`; an empty list or map becomes it, too: upstream's storage codec cannot tell them apart.
    Null,
    /// `null` when unset, but an empty list or map stays: the type is never stored in protobuf.
    NullKept,
    EmptyString,
    Number,
    False,
    /// `"0"`, a quantity.
    Quantity,
    /// `"0s"`, a duration.
    Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListType {
    /// Not said: atomic for apply.
    Unset,
    Atomic,
    Set,
    Map,
}

/// A protobuf message.
#[derive(Debug)]
pub struct Message {
    pub name: &'static str,
    /// Ascending by number.
    pub fields: &'static [ProtoField],
}

#[derive(Debug)]
pub struct ProtoField {
    pub number: u32,
    pub kind: ProtoKind,
    pub repeated: bool,
    /// JSON member; empty when the field is embedded (its message's fields sit in the parent's JSON) or not in JSON.
    pub json: &'static str,
    /// The embedded message's type, whose JSON members sit in the parent.
    pub inline: bool,
    /// Written even when zero; otherwise only when present.
    pub always: bool,
}

#[derive(Debug, Clone, Copy)]
pub enum ProtoKind {
    String,
    Bytes,
    Bool,
    Int32,
    Int64,
    Double,
    /// A message of the type table (its `message` is followed).
    Ref(&'static Type),
    Time,
    MicroTime,
    Duration,
    Quantity,
    IntOrString,
    RawExtension,
    FieldsV1,
    Json,
    /// `repeated string items = 1`, a nullable list.
    Items,
    JsonSchemaPropsOrBool,
    JsonSchemaPropsOrArray,
    JsonSchemaPropsOrStringArray,
    /// Map with string keys.
    Map(&'static ProtoKind),
}

impl Field {
    /// What the generator starts each field from.
    pub const PLAIN: Field = Field {
        name: "",
        kind: Kind::String,
        go: "",
        pointer: false,
        omit_empty: false,
        zero: Zero::Absent,
        required: false,
        enumeration: &[],
        list: ListType::Unset,
        keys: &[],
        atomic: false,
        patch_strategy: "",
        patch_merge_key: "",
    };
}

impl ProtoField {
    /// What the generator starts each field from.
    pub const PLAIN: ProtoField =
        ProtoField { number: 0, kind: ProtoKind::String, repeated: false, json: "", inline: false, always: false };
}

impl Type {
    pub fn fields(&self) -> &'static [Field] {
        match self.shape {
            Shape::Struct(fields) => fields,
            Shape::Alias(_) => &[],
        }
    }

    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields().iter().find(|f| crate::value::same_name(f.name, name))
    }
}

/// Types are statics: equal when they are the same one.
impl PartialEq for Type {
    fn eq(&self, other: &Type) -> bool {
        std::ptr::eq(self, other)
    }
}
