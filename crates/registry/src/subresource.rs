//! Subresources that are more than another way to write the same object: binding, eviction, token, scale.

use std::sync::Arc;

use admission::Operation;
use api::resource::Subresource;
use document::{Object, Value, doc};
use gate::Passage;
use meta::{Attributes, GroupResource, Key, Status};
use store::{Effect, Precondition, Write};

use crate::body::{self, Expected};
use crate::query::{DeleteOptions, WriteOptions};
use crate::write::{ATTEMPTS, Step, WriteRequest, busy, refuse_invalid, review, seal};
use crate::{Answer, Body, Outcome, Registry, Target, companion, virtuals};

/// POST on a subresource.
pub(crate) async fn create(
    registry: &Registry,
    passage: &Passage,
    target: Target,
    sub: &'static Subresource,
    body: Option<Body>,
    options: WriteOptions,
) -> Result<Outcome, Status> {
    let expected = Expected::of_subresource(target.resource, sub)?;
    let decoded = body::decode(body, &expected, options.field_validation)?;
    let mut value = decoded.value;
    crate::write::check_namespace(&target, passage.attributes(), &mut value)?;
    let mut outcome = match (target.resource.plural, sub.name) {
        ("pods", "binding") => bind(registry, passage, target, value, &options, &passage.attributes().name).await,
        ("pods", "eviction") => evict(registry, passage, target, value, &options).await,
        ("serviceaccounts", "token") => virtuals::token(registry, passage, target, value, &options).await,
        _ => Err(Status::not_implemented(format!("{}/{} is not built yet", target.resource.plural, sub.name))),
    }?;
    outcome.warnings.splice(0..0, decoded.warnings);
    Ok(outcome)
}

/// Assigns a pod to a node: `pods/binding`, and the older `bindings`.
pub(crate) async fn bind(
    registry: &Registry,
    passage: &Passage,
    target: Target,
    binding: Value,
    options: &WriteOptions,
    pod: &str,
) -> Result<Outcome, Status> {
    if binding["metadata"]["name"].str() != pod {
        return Err(Status::bad_request("name in URL does not match name in Binding object"));
    }
    check_binding(&binding)?;
    let pods = api::find("", "v1", "pods").ok_or_else(|| Status::internal("pods are not served"))?;
    for _ in 0..ATTEMPTS {
        let view = registry.store.view();
        let may = |attributes: Attributes| passage.may(attributes);
        let mut review = review(passage, target, Operation::Create, &view, &may, options.dry_run);
        review.kind = meta::GroupVersionKind::new("", "v1", "Binding");
        review.name = pod;
        review.object = Some(binding.clone());
        registry.gate.mutate(passage, &mut review)?;
        let key = Key::new(meta::ResourceId::from_text("pods"), &passage.attributes().namespace, pod);
        let found = view.get(&key).ok_or_else(|| Status::not_found(&GroupResource::new("", "pods"), pod))?;
        let bound = assign(&api::read(pods, &found), review.new_object(), &found)?;
        let draft = seal(pods, key.clone(), &bound)?;
        let admitted = registry.gate.seal(passage, &mut review, |review| {
            let write = Write { precondition: Precondition::At(found.revision), effect: Effect::Put(draft) };
            companion::transaction(&view, review, vec![write])
        })?;
        if options.dry_run || registry.commit(admitted).await?.is_ok() {
            return Ok(Outcome::new(201, Answer::Status(Status { code: 201, ..Status::success(None) })));
        }
    }
    Err(busy())
}

/// A bad binding is a plain 500, as upstream returns the bare list of errors.
fn check_binding(binding: &Value) -> Result<(), Status> {
    use meta::field::{Error, aggregate};
    let mut errors = Vec::new();
    let (kind, name) = (binding["target"]["kind"].str(), binding["target"]["name"].str());
    if !kind.is_empty() && kind != "Node" {
        errors.push(Error::not_supported(&"target.kind".into(), kind, &["Node", "<empty>"]));
    }
    if name.is_empty() {
        errors.push(Error::required(&"target.name".into(), ""));
    } else if kind.is_empty() || kind == "Node" {
        let wrong = meta::names::dns1123_subdomain(name);
        errors.extend(wrong.iter().map(|w| Error::invalid(&"target.name".into(), name, w)));
    }
    if errors.is_empty() { Ok(()) } else { Err(Status::unclassified(aggregate(&errors))) }
}

fn assign(pod: &Value, binding: &Value, found: &Object) -> Result<Value, Status> {
    let name = pod["metadata"]["name"].str();
    let conflict = |resource: &str, why: String| Err(Status::conflict(&GroupResource::new("", resource), name, &why));
    let uid = binding["metadata"]["uid"].str();
    if !uid.is_empty() && *uid != *found.uid {
        return conflict(
            "pods",
            format!(
                "StorageError: invalid object, Code: 4, Key: /registry/pods/{}/{}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                found.key.namespace, found.key.name, found.uid
            ),
        );
    }
    if found.deletion.is_some() {
        return conflict("pods/binding", format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    let current = pod["spec"]["nodeName"].str();
    if !current.is_empty() {
        return conflict(
            "pods/binding",
            format!("pod {name} is already assigned to node {}", meta::goquote::quote(current)),
        );
    }
    if !pod["spec"]["schedulingGates"].items().is_empty() {
        return conflict("pods/binding", format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    let mut pod = pod.clone();
    pod.entry("spec").set("nodeName", binding["target"]["name"].str());
    pod.entry("status").remove("nominatedNodeName");
    for part in ["annotations", "labels"] {
        for (name, value) in binding["metadata"][part].members() {
            let name = name.to_owned();
            pod.entry("metadata").entry(part).set(name, value.clone());
        }
    }
    set_condition(&mut pod, doc!({"type": "PodScheduled", "status": "True"}));
    let row = api::find("", "v1", "pods").ok_or_else(|| Status::internal("pods are not served"))?;
    document::normalize(&mut pod, row.type_);
    Ok(pod)
}

/// Replaces the condition of the same type; the transition time moves only with the status.
fn set_condition(pod: &mut Value, mut condition: Value) {
    let conditions = pod.entry("status").entry("conditions").make_list();
    let now = meta::Time::now().to_string();
    condition.set("lastProbeTime", Value::Null);
    match conditions.iter_mut().find(|c| c["type"].str() == condition["type"].str()) {
        Some(old) => {
            let since =
                if old["status"] == condition["status"] { old["lastTransitionTime"].clone() } else { now.into() };
            condition.set("lastTransitionTime", since);
            *old = condition;
        }
        None => {
            condition.set("lastTransitionTime", now);
            conditions.push(condition);
        }
    }
}

/// Deletes a pod unless a disruption budget forbids it.
async fn evict(
    registry: &Registry,
    passage: &Passage,
    target: Target,
    eviction: Value,
    options: &WriteOptions,
) -> Result<Outcome, Status> {
    let name = passage.attributes().name.as_str();
    let view = registry.store.view();
    let eviction = admit_eviction(registry, passage, target, &view, eviction, options.dry_run)?;
    if eviction["metadata"]["name"].str() != name {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    let key = target.key(&passage.attributes().namespace, name)?;
    let found = view.get(&key).ok_or_else(|| Status::not_found(&target.group_resource(), name))?;
    let pod = api::read(target.resource, &found);
    let ignores =
        matches!(pod["status"]["phase"].str(), "Pending" | "Succeeded" | "Failed") || found.deletion.is_some();
    if !ignores {
        refuse_when_budgeted(&view, &key.namespace, &found)?;
    }
    let mut delete = DeleteOptions::from(Some(&eviction["deleteOptions"]), &Default::default())?;
    delete.dry_run |= options.dry_run;
    let main = Target { subresource: None, ..target };
    registry.delete_one(passage, main, &passage.attributes().namespace, name, &delete, Value::Null).await?;
    Ok(Outcome::new(201, Answer::Status(Status { code: 201, ..Status::success(None) })))
}

/// The admission of the Eviction itself; that of the deletion follows with it.
fn admit_eviction(
    registry: &Registry,
    passage: &Passage,
    target: Target,
    view: &store::View,
    eviction: Value,
    dry_run: bool,
) -> Result<Value, Status> {
    let may = |attributes: Attributes| passage.may(attributes);
    let mut review = review(passage, target, Operation::Create, view, &may, dry_run);
    review.kind = meta::GroupVersionKind::new("policy", "v1", "Eviction");
    review.name = &passage.attributes().name;
    review.object = Some(eviction);
    registry.gate.mutate(passage, &mut review)?;
    registry.gate.validate(passage, &mut review)?;
    Ok(review.object.take().unwrap_or_default())
}

/// Budgets are counted by a controller that is not built yet: a running pod under one is not evicted.
fn refuse_when_budgeted(view: &store::View, namespace: &str, pod: &Object) -> Result<(), Status> {
    let id = meta::ResourceId::new("policy", "poddisruptionbudgets");
    let selects =
        |budget: &Value| api::label_selector(&budget["spec"]["selector"]).is_some_and(|s| s.matches(&pod.labels));
    let budgets: Vec<Value> = view
        .list(&id, Some(namespace))
        .map(|o| o.document("PodDisruptionBudget", "policy/v1"))
        .filter(selects)
        .collect();
    match budgets.as_slice() {
        [] => Ok(()),
        [_] => Err(Status::too_many_requests("Cannot evict pod as it would violate the pod's disruption budget.", 0)),
        _ => Err(Status::unclassified(
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
        )),
    }
}

impl Registry {
    /// The `Scale` view of an object.
    pub(crate) fn get_scale(&self, target: Target, object: &Object) -> Result<Outcome, Status> {
        let type_ = scale_type()?;
        Ok(Outcome::value(200, scale_of(target, &api::read(target.resource, object), object), type_))
    }
}

fn scale_type() -> Result<&'static document::Type, Status> {
    api::type_by_kind("autoscaling", "v1", "Scale").ok_or_else(|| Status::internal("Scale is not served"))
}

fn scale_of(target: Target, object: &Value, stored: &Object) -> Value {
    let meta = &object["metadata"];
    let mut scale = doc!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {}, "spec": {}, "status": {}});
    for name in ["name", "namespace", "uid", "creationTimestamp"] {
        scale.entry("metadata").set(name, meta[name].clone());
    }
    scale.entry("metadata").set("resourceVersion", stored.revision.to_string());
    scale.entry("spec").set("replicas", object["spec"]["replicas"].as_i64().unwrap_or(0));
    scale.entry("status").set("replicas", object["status"]["replicas"].as_i64().unwrap_or(0));
    let selector = &object["spec"]["selector"];
    let text = if target.resource.kind == "ReplicationController" {
        let pairs: Vec<(&str, &str)> = selector.members().map(|(k, v)| (k, v.str())).collect();
        Some(meta::labels::Selector::from_pairs(pairs).to_string())
    } else {
        api::label_selector(selector).map(|s| s.to_string())
    };
    if let Some(text) = text.filter(|t| !t.is_empty()) {
        scale.entry("status").set("selector", text);
    }
    if let Ok(type_) = scale_type() {
        document::normalize(&mut scale, type_);
    }
    scale
}

/// PUT and PATCH on `scale`: only `spec.replicas` reaches the object.
pub(crate) async fn update_scale(
    registry: &Registry,
    passage: &Passage,
    target: Target,
    sub: &'static Subresource,
    request: WriteRequest,
    options: WriteOptions,
) -> Result<Outcome, Status> {
    let expected = Expected::of_subresource(target.resource, sub)?;
    let replace = match request.patch {
        None => Some(body::decode(request.body.clone(), &expected, options.field_validation)?),
        Some(_) => None,
    };
    for _ in 0..ATTEMPTS {
        match scale_once(registry, passage, target, &expected, &request, &options, replace.as_ref()).await? {
            Step::Done(outcome) => return Ok(outcome),
            Step::Again => {}
        }
    }
    Err(busy())
}

async fn scale_once(
    registry: &Registry,
    passage: &Passage,
    target: Target,
    expected: &Expected,
    request: &WriteRequest,
    options: &WriteOptions,
    replace: Option<&body::Decoded>,
) -> Result<Step, Status> {
    let view = registry.store.view();
    let attributes = passage.attributes();
    let row = target.resource;
    let key = target.key(&attributes.namespace, &attributes.name)?;
    let found = view.get(&key).ok_or_else(|| Status::not_found(&target.group_resource(), &attributes.name))?;
    let object = api::read(row, &found);
    let old_scale = scale_of(target, &object, &found);
    let (mut scale, warnings) = match (replace, request.patch, &request.body) {
        (Some(decoded), _, _) => (decoded.value.clone(), decoded.warnings.clone()),
        (None, Some(kind), Some(body)) => body::patch(kind, body, &old_scale, expected, options)?,
        _ => return Err(Status::bad_request("invalid JSON patch")),
    };
    crate::write::check_namespace(&target, attributes, &mut scale)?;
    crate::write::check_name(attributes, &scale)?;
    let given = scale["metadata"]["resourceVersion"].str().to_owned();
    if !given.is_empty() && given != found.revision.to_string() {
        return Err(Status::stale(&target.group_resource(), &attributes.name));
    }
    let replicas = scale["spec"]["replicas"].as_i64().unwrap_or(0);
    if replicas < 0 {
        let error =
            meta::field::Error::invalid(&"spec.replicas".into(), replicas, "must be greater than or equal to 0");
        return Err(Status::invalid(&meta::GroupKind::new("autoscaling", "Scale"), &attributes.name, vec![error]));
    }
    let mut new = object.clone();
    new.entry("spec").set("replicas", replicas);
    crate::manage::track_scale(&target, options, &object, &mut new);
    api::strategy::prepare_update(row, "", &mut new, &object, &crate::write::context(passage));
    document::normalize(&mut new, row.type_);
    refuse_invalid(row, &new, api::validation::validate_update(row, "", &new, &object))?;
    let may = |attributes: Attributes| passage.may(attributes);
    let mut review = review(passage, target, Operation::Update, &view, &may, options.dry_run);
    review.kind = expected.gvk.clone();
    review.object = Some(scale);
    review.old = Some(Arc::new(old_scale));
    registry.gate.mutate(passage, &mut review)?;
    let unchanged = document::apply::settle(&mut new, &object);
    let draft = seal(row, key.clone(), &new)?;
    let admitted = registry.gate.seal(passage, &mut review, |review| {
        let write = Write { precondition: Precondition::At(found.revision), effect: Effect::Put(draft) };
        companion::transaction(&view, review, vec![write])
    })?;
    drop(review);
    let type_ = scale_type()?;
    if unchanged || options.dry_run {
        let outcome = Outcome::value(200, scale_of(target, &new, &found), type_);
        return Ok(Step::Done(crate::write::with_warnings(outcome, warnings)));
    }
    let Ok(committed) = registry.commit(admitted).await? else { return Ok(Step::Again) };
    match committed.objects.into_iter().flatten().next() {
        Some(stored) => {
            let outcome = Outcome::value(200, scale_of(target, &api::read(row, &stored), &stored), type_);
            Ok(Step::Done(crate::write::with_warnings(outcome, warnings)))
        }
        None => Ok(Step::Again),
    }
}
