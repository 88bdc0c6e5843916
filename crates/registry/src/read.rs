//! Get and list: reads at one revision, from memory.

use std::sync::Arc;

use document::Object;
use gate::Passage;
use meta::{Attributes, Key, ResourceId, Revision, Status};
use store::{Filter, View};

use crate::query::{ListOptions, Query};
use crate::{Answer, Outcome, Registry, Target};

/// A page of a list.
pub struct List {
    pub resource: &'static api::ResourceType,
    pub revision: Revision,
    pub items: Vec<Arc<Object>>,
    /// Set when more follows.
    pub continue_token: Option<String>,
    /// `remainingItemCount`, known when nothing is filtered.
    pub remaining: Option<u64>,
}

impl List {
    /// Of a resource that has no objects and so no version.
    fn empty(resource: &'static api::ResourceType) -> Self {
        List { resource, revision: Revision(0), items: Vec::new(), continue_token: None, remaining: None }
    }
}

/// Component statuses tell of schedulers and stores that run beside the server: there are none here.
fn has_no_objects(target: &Target) -> bool {
    target.resource.kind == "ComponentStatus"
}

impl Registry {
    /// Answers the object, or what a subresource makes of it.
    ///
    /// # Errors
    /// 404, 405, or what the query has wrong.
    pub async fn get(&self, passage: &Passage, query: &Query) -> Result<Outcome, Status> {
        let attributes = passage.attributes();
        let target = Target::of(attributes)?;
        if has_no_objects(&target) {
            let kind = meta::GroupResource::new("", "componentstatus");
            return Err(Status::not_found(&kind, &attributes.name));
        }
        let view = self.view_for_get(query)?;
        let key = target.key(&attributes.namespace, &attributes.name)?;
        let object = view.get(&key).ok_or_else(|| Status::not_found(&target.group_resource(), &attributes.name))?;
        match target.subresource_name() {
            "" | "status" | "resize" | "ephemeralcontainers" | "approval" => {
                Ok(Outcome::new(200, Answer::Object(object, target.resource)))
            }
            "scale" => self.get_scale(target, &object),
            other => Err(Status::not_implemented(format!("{}/{other} is not built yet", target.resource.plural))),
        }
    }

    /// One page of objects in key order.
    ///
    /// # Errors
    /// 400 and 422 for the query, 410 for what is compacted, 504 for a revision to come.
    pub async fn list(&self, passage: &Passage, query: &Query) -> Result<List, Status> {
        let attributes = passage.attributes();
        let target = Target::of(attributes)?;
        let options = query.list_options(false)?;
        if has_no_objects(&target) {
            return Ok(List::empty(target.resource));
        }
        let id = stored(&target)?;
        let filter = filter(&target, attributes, &options)?;
        let page = self.page(&id, &options)?;
        Ok(read_page(&target, &id, &filter, page, &options))
    }

    /// A get may ask for "not older than": what is to come is refused, as upstream does after a wait.
    fn view_for_get(&self, query: &Query) -> Result<View, Status> {
        let view = self.store.view();
        match query.get("resourceVersion").unwrap_or_default() {
            "" | "0" => Ok(view),
            text => {
                let wanted = parse_revision(text).map_err(Status::unclassified)?;
                if wanted > view.revision() { Err(too_large(wanted, view.revision())) } else { Ok(view) }
            }
        }
    }

    /// Where a list begins and how long it may be. Any version will do (`0`): then upstream answers from its cache, whole.
    pub(crate) fn page(&self, id: &ResourceId, options: &ListOptions) -> Result<Page, Status> {
        let newest = self.store.view();
        let limit = usize::try_from(options.limit).ok().filter(|n| *n > 0).unwrap_or(usize::MAX);
        if !options.continue_token.is_empty() {
            return self.continued(id, options, newest, limit);
        }
        let wanted = match options.resource_version.as_str() {
            "" => return Ok(Page { view: newest, after: None, limit }),
            "0" => return Ok(Page { view: newest, after: None, limit: usize::MAX }),
            text => parse_revision(text).map_err(|e| Status::bad_request(format!("invalid resource version: {e}")))?,
        };
        if wanted > newest.revision() {
            return Err(too_large(wanted, newest.revision()));
        }
        let exact = options.resource_version_match == "Exact"
            || (options.resource_version_match.is_empty() && options.limit > 0);
        let view =
            if exact { self.at(id, wanted, "The resourceVersion for the provided list is too old.")? } else { newest };
        Ok(Page { view, after: None, limit })
    }

    fn continued(&self, id: &ResourceId, options: &ListOptions, newest: View, limit: usize) -> Result<Page, Status> {
        if !matches!(options.resource_version.as_str(), "" | "0") {
            return Err(Status::bad_request("specifying resource version is not allowed when using continue"));
        }
        let token = token::decode(&options.continue_token)?;
        let view = match token.revision {
            None => newest,
            Some(revision) if revision > newest.revision() => return Err(too_large(revision, newest.revision())),
            Some(revision) => self.store.view_at(id, revision).map_err(|_| expired_page(&token))?,
        };
        Ok(Page { view, after: Some((token.namespace, token.name)), limit })
    }

    fn at(&self, id: &ResourceId, revision: Revision, too_old: &str) -> Result<View, Status> {
        self.store.view_at(id, revision).map_err(|_| Status::expired(too_old))
    }
}

/// `remainingItemCount` is counted so far; a page must not cost what the whole list costs.
const COUNTED: usize = 10_000;

pub(crate) struct Page {
    view: View,
    /// Namespace and name of the last object of the page before.
    after: Option<(String, String)>,
    /// Objects on it, at most.
    limit: usize,
}

impl Page {
    /// The same without an end.
    pub(crate) fn whole(self) -> Self {
        Page { limit: usize::MAX, ..self }
    }
}

pub(crate) fn read_page(target: &Target, id: &ResourceId, filter: &Filter, page: Page, options: &ListOptions) -> List {
    let Page { view, after, limit } = page;
    // within one namespace the token holds the name alone
    let after =
        after.map(|(namespace, name)| Key::new(id.clone(), filter.namespace.as_deref().unwrap_or(&namespace), &name));
    let mut list = List {
        resource: target.resource,
        revision: view.revision(),
        items: Vec::new(),
        continue_token: None,
        remaining: None,
    };
    if let Some(name) = &filter.name {
        let key = Key::new(id.clone(), filter.namespace.as_deref().unwrap_or_default(), name);
        if filter.namespace.is_some() || !target.resource.namespaced {
            let found = view.get(&key).filter(|o| filter.matches(o) && after.as_ref().is_none_or(|a| key > *a));
            list.items.extend(found);
            return list;
        }
    }
    let mut matching = view.list_from(id, filter.namespace.as_deref(), after.as_ref()).filter(|o| filter.matches(o));
    list.items.extend(matching.by_ref().take(limit));
    if list.items.len() < limit {
        return list;
    }
    let Some(_next) = matching.next() else { return list };
    if let Some(last) = list.items.last() {
        list.continue_token = Some(token::encode(view.revision(), &last.key, filter.namespace.is_some()));
    }
    if options.labels.is_everything() && options.fields.is_everything() {
        let more = matching.take(COUNTED).count();
        list.remaining = (more < COUNTED).then_some(1 + more as u64);
    }
    list
}

pub(crate) fn stored(target: &Target) -> Result<ResourceId, Status> {
    target.resource.resource_id().ok_or_else(Status::method_not_allowed)
}

/// The filter of a list or watch, field labels mapped to the stored fields.
pub(crate) fn filter(target: &Target, attributes: &Attributes, options: &ListOptions) -> Result<Filter, Status> {
    let mut fields = options.fields.clone();
    for requirement in &mut fields.requirements {
        let stored = target.resource.selectable(&requirement.field);
        requirement.field = stored.ok_or_else(|| unknown_field(target, &requirement.field))?.to_owned();
    }
    if !attributes.name.is_empty() {
        // the name that was authorized (`/watch/…/NAME`, or the selector's own) is all that is read
        let name = attributes.name.clone();
        fields.requirements.push(meta::fields::Requirement {
            field: "metadata.name".into(),
            equals: true,
            value: name,
        });
    }
    let name = fields.requires("metadata.name").map(str::to_owned);
    let namespace =
        (target.resource.namespaced && !attributes.namespace.is_empty()).then(|| attributes.namespace.clone());
    Ok(Filter { namespace, name, labels: options.labels.clone(), fields })
}

/// Upstream words it one way for kinds that know no fields of their own, and most others another way.
fn unknown_field(target: &Target, label: &str) -> Status {
    let quoted = meta::goquote::quote(label);
    let row = target.resource;
    let plain = row.field_selectors.iter().all(|f| matches!(*f, "metadata.name" | "metadata.namespace"));
    Status::bad_request(match row.kind {
        "Job" => format!("field label {quoted} not supported for Job"),
        "ResourceSlice" => format!("field label not supported for {}, Kind={}: {label}", row.api_version(), row.kind),
        // a namespace has these two as fields of its own
        _ if plain && row.kind != "Namespace" => {
            format!("{quoted} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
        }
        _ => format!("field label not supported: {label}"),
    })
}

pub(crate) fn parse_revision(text: &str) -> Result<Revision, String> {
    Revision::parse(text).ok_or_else(|| {
        let quoted = meta::goquote::quote(text);
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let why = if digits { "value out of range" } else { "invalid syntax" };
        format!("resourceVersion: Invalid value: {quoted}: strconv.ParseUint: parsing {quoted}: {why}")
    })
}

pub(crate) fn too_large(wanted: Revision, current: Revision) -> Status {
    let mut status = Status::timeout(&format!("Too large resource version: {wanted}, current: {current}"), 1);
    if let Some(details) = &mut status.details {
        details.causes.push(meta::field::Cause {
            reason: "ResourceVersionTooLarge".into(),
            message: "Too large resource version".into(),
            field: String::new(),
        });
    }
    status
}

fn expired_page(token: &token::Token) -> Status {
    let mut status = Status::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.",
    );
    status.continue_token = Some(token.inconsistent());
    status
}

mod token {
    //! Continue tokens: upstream's JSON in unpadded base64url, so that clients that look inside find what they know.

    use base64::Engine as _;
    use base64::engine::general_purpose::{GeneralPurpose, NO_PAD, URL_SAFE_NO_PAD};
    use document::{Value, doc, json};
    use meta::{Key, Revision, Status};

    pub(super) struct Token {
        /// `None`: continue at the newest revision.
        pub(super) revision: Option<Revision>,
        pub(super) namespace: String,
        pub(super) name: String,
        start: String,
    }

    impl Token {
        pub(super) fn inconsistent(&self) -> String {
            text(-1, &self.start)
        }
    }

    pub(super) fn encode(revision: Revision, last: &Key, one_namespace: bool) -> String {
        let within =
            if one_namespace || last.namespace.is_empty() { String::new() } else { format!("{}/", last.namespace) };
        text(i64::try_from(revision.0).unwrap_or(i64::MAX), &format!("{within}{}\u{0}", last.name))
    }

    fn text(revision: i64, start: &str) -> String {
        let value = doc!({"v": "meta.k8s.io/v1", "rv": revision, "start": start});
        URL_SAFE_NO_PAD.encode(json::to_vec(&value))
    }

    pub(super) fn decode(text: &str) -> Result<Token, Status> {
        let bad =
            |why: String| Status::bad_request(format!("invalid continue token: continue key is not valid: {why}"));
        let bytes =
            LENIENT.decode(text).map_err(|_| bad(format!("illegal base64 data at input byte {}", wrong_byte(text))))?;
        let value = json::parse(&bytes).map_err(|e| bad(e.to_string()))?;
        check_types(&value).map_err(bad)?;
        if value["v"].str() != "meta.k8s.io/v1" {
            return Err(bad(format!("server does not recognize this encoded version {}", value["v"].str())));
        }
        let start = value["start"].str();
        if start.is_empty() {
            return Err(bad("encoded start key empty (version meta.k8s.io/v1)".into()));
        }
        let revision = match value["rv"].as_i64() {
            Some(n) if n > 0 => Some(Revision(n as u64)),
            Some(n) if n < 0 => None,
            _ => return Err(bad("incorrect encoded start resourceVersion (version meta.k8s.io/v1)".into())),
        };
        let key = start.trim_end_matches('\u{0}');
        let (namespace, name) = key.split_once('/').unwrap_or(("", key));
        if [namespace, name].iter().any(|part| part.contains('/') || *part == "..") {
            return Err(bad(start.to_owned()));
        }
        Ok(Token { revision, namespace: namespace.into(), name: name.into(), start: start.into() })
    }

    /// As Go: bits that are left over do not matter.
    const LENIENT: GeneralPurpose =
        GeneralPurpose::new(&base64::alphabet::URL_SAFE, NO_PAD.with_decode_allow_trailing_bits(true));

    /// Where Go's decoder stops.
    fn wrong_byte(text: &str) -> usize {
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        text.bytes().position(|b| !fits(b)).unwrap_or_else(|| text.len().saturating_sub(1))
    }

    fn check_types(token: &Value) -> Result<(), String> {
        let kind = |value: &Value| match value {
            Value::Bool(_) => "bool",
            Value::Int(_) | Value::Float(_) => "number",
            Value::String(_) => "string",
            Value::List(_) => "array",
            _ => "object",
        };
        if !matches!(token, Value::Map(_) | Value::Null) {
            let kind = kind(token);
            return Err(format!("json: cannot unmarshal {kind} into Go value of type storage.continueToken"));
        }
        for (name, value) in token.members() {
            let (fits, wanted) = match name {
                "v" | "start" => (matches!(value, Value::String(_) | Value::Null), "string"),
                "rv" => (matches!(value, Value::Int(_) | Value::Null), "int64"),
                _ => continue,
            };
            if !fits {
                let kind = kind(value);
                return Err(format!(
                    "json: cannot unmarshal {kind} into Go struct field continueToken.{name} of type {wanted}"
                ));
            }
        }
        Ok(())
    }
}
