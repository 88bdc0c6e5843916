//! Subresources that are created: binding, eviction, token.

use admission::Operation;
use api::resource::Subresource;
use document::{Object, Value, doc};
use gate::Passage;
use meta::{Attributes, GroupResource, Key, Status};
use store::{Effect, Precondition, Write};

use crate::body::{self, Expected};
use crate::query::{DeleteOptions, WriteOptions};
use crate::write::{ATTEMPTS, busy, review, seal};
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
    drop(view);
    let mut delete = DeleteOptions::from(Some(&eviction["deleteOptions"]), &Default::default())?;
    delete.dry_run |= options.dry_run;
    for _ in 0..ATTEMPTS {
        match evict_once(registry, passage, target, &delete).await {
            // it is no more what was judged; what the client itself asked to hold is not tried again
            Err(lost) if lost.code == 409 && delete.resource_version.is_none() && delete.uid.is_none() => {}
            Err(refused) => return Err(refused),
            Ok(()) => return Ok(Outcome::new(201, Answer::Status(Status { code: 201, ..Status::success(None) }))),
        }
    }
    Err(busy())
}

/// Judges the pod and deletes the one that was judged: a pod that may go only because it does not run must not have
/// started in between, and another of its name is not meant.
async fn evict_once(
    registry: &Registry,
    passage: &Passage,
    target: Target,
    options: &DeleteOptions,
) -> Result<(), Status> {
    let name = passage.attributes().name.as_str();
    let view = registry.store.view();
    let key = target.key(&passage.attributes().namespace, name)?;
    let found = view.get(&key).ok_or_else(|| Status::not_found(&target.group_resource(), name))?;
    let pod = api::read(target.resource, &found);
    let phase = pod["status"]["phase"].str();
    let over = matches!(phase, "Succeeded" | "Failed") || found.deletion.is_some();
    if !over && phase != "Pending" {
        refuse_when_budgeted(&view, &key.namespace, &found)?;
    }
    let mut delete = options.clone();
    if !over && phase == "Pending" {
        delete.resource_version.get_or_insert_with(|| found.revision.to_string());
    }
    delete.uid.get_or_insert_with(|| found.uid.to_string());
    drop(view);
    let main = Target { subresource: None, ..target };
    registry.delete_one(passage, main, &key.namespace, name, &delete, Value::Null).await.map(drop)
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
