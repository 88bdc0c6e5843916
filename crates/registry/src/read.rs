//! Get and list: reads at one revision, from memory.

use std::sync::Arc;

use document::Object;
use gate::Passage;
use meta::{Attributes, Key, ResourceId, Revision, Status};
use store::{Filter, View};

use crate::continue_token as token;
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
