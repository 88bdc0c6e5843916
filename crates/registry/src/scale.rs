//! `scale`: the view of a workload that says how many replicas it has, and writes through it. Only `spec.replicas`
//! reaches the object; who manages it is kept on both sides as `document::apply` translates it.

use std::sync::Arc;

use admission::Operation;
use api::resource::Subresource;
use document::{Object, Value, apply, doc};
use gate::Passage;
use meta::field::Error;
use meta::{Attributes, GroupKind, GroupResource, Status};
use store::{Effect, Precondition, Write};

use crate::body::{self, Expected};
use crate::query::WriteOptions;
use crate::write::{ATTEMPTS, Step, Warnings, WriteRequest, busy, refuse_invalid, review, seal, uid_conflict};
use crate::{Body, Outcome, PatchKind, Registry, Target, companion, manage};

/// Where the built-in workloads keep their replicas, in all their versions.
const REPLICAS: &[&str] = &["spec", "replicas"];

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

/// One write through `scale`.
struct ScaleWrite<'a> {
    passage: &'a Passage,
    target: Target,
    expected: Expected,
    options: WriteOptions,
    warnings: Warnings,
    new: NewScale,
}

enum NewScale {
    Put(Value),
    Patch(PatchKind, Body),
}

/// PUT and PATCH on `scale`.
pub(crate) async fn update(
    registry: &Registry,
    passage: &Passage,
    target: Target,
    sub: &'static Subresource,
    request: WriteRequest,
    options: WriteOptions,
) -> Result<Outcome, Status> {
    let expected = Expected::of_subresource(target.resource, sub)?;
    let warnings = request.warnings;
    let new = match request.patch {
        None => {
            let decoded = body::decode(request.body, &expected, options.field_validation)?;
            warnings.extend(decoded.warnings);
            NewScale::Put(decoded.value)
        }
        Some(kind) => NewScale::Patch(kind, request.body.unwrap_or_default()),
    };
    let write = ScaleWrite { passage, target, expected, options, warnings, new };
    for _ in 0..ATTEMPTS {
        match write.once(registry).await? {
            Step::Done(outcome) => return Ok(outcome),
            Step::Again => {}
        }
    }
    Err(busy())
}

impl ScaleWrite<'_> {
    async fn once(&self, registry: &Registry) -> Result<Step, Status> {
        let ScaleWrite { passage, target, options, .. } = self;
        let view = registry.store.view();
        let (attributes, row) = (passage.attributes(), target.resource);
        let key = target.key(&attributes.namespace, &attributes.name)?;
        let found = view.get(&key).ok_or_else(|| Status::not_found(&target.group_resource(), &attributes.name))?;
        let object = api::read(row, &found);
        let old_scale = self.old_scale(&object, &found)?;
        let scale = self.changed(&old_scale)?;
        if let NewScale::Put(_) = self.new
            && let given = scale["metadata"]["uid"].str()
            && !given.is_empty()
            && *given != *found.uid
        {
            return Err(uid_conflict(target, &key, given, &found.uid));
        }
        let may = |attributes: Attributes| passage.may(attributes);
        let mut review = review(passage, *target, Operation::Update, &view, &may, options.dry_run);
        review.kind = self.expected.gvk.clone();
        review.object = Some(scale);
        review.old = Some(Arc::new(old_scale.clone()));
        registry.gate.mutate(passage, &mut review)?;
        let mut scale = review.object.take().unwrap_or_default();
        apply::settle(&mut scale, &old_scale);
        self.check(&scale, &old_scale, &found)?;
        let new = self.new_object(&object, &scale)?;
        let unchanged = new == object;
        review.object = Some(scale);
        let draft = seal(row, key.clone(), &new)?;
        let admitted = registry.gate.seal(passage, &mut review, |review| {
            let write = Write { precondition: Precondition::At(found.revision), effect: Effect::Put(draft) };
            companion::transaction(&view, review, vec![write])
        })?;
        drop(review);
        let type_ = scale_type()?;
        if unchanged || options.dry_run {
            return Ok(Step::Done(Outcome::value(200, scale_of(*target, &new, &found), type_)));
        }
        let Ok(committed) = registry.commit(admitted).await? else { return Ok(Step::Again) };
        match committed.objects.into_iter().flatten().next() {
            Some(stored) => {
                let scale = scale_of(*target, &api::read(row, &stored), &stored);
                Ok(Step::Done(Outcome::value(200, scale, type_)))
            }
            None => Ok(Step::Again),
        }
    }

    /// The scale as it is, with those who manage the replicas.
    fn old_scale(&self, object: &Value, stored: &Object) -> Result<Value, Status> {
        let mut scale = scale_of(self.target, object, stored);
        let version = self.target.resource.api_version();
        let entries = apply::to_scale(&object["metadata"]["managedFields"], &[(&version, REPLICAS)]);
        if let Some(entries) = entries.map_err(Status::unclassified)? {
            scale.entry("metadata").set("managedFields", entries);
            document::normalize(&mut scale, self.expected.type_);
        }
        Ok(scale)
    }

    /// The scale as the request wants it.
    fn changed(&self, old: &Value) -> Result<Value, Status> {
        let ScaleWrite { target, expected, options, .. } = self;
        let attributes = self.passage.attributes();
        let (mut scale, warnings) = match &self.new {
            NewScale::Put(value) => (value.clone(), Vec::new()),
            NewScale::Patch(PatchKind::Apply, body) => manage::apply(target, options, body, expected, Some(old))?,
            NewScale::Patch(kind, body) => body::patch(*kind, body, old, expected, options)?,
        };
        self.warnings.extend(warnings);
        crate::write::check_namespace(target, attributes, &mut scale)?;
        crate::write::check_name(attributes, &scale)?;
        if !options.applied {
            manage::track_as(target, expected, options, Some(old), &mut scale);
        }
        Ok(scale)
    }

    fn check(&self, scale: &Value, old: &Value, stored: &Object) -> Result<(), Status> {
        let name = &self.passage.attributes().name;
        let mut errors = Vec::new();
        let replicas = scale["spec"]["replicas"].as_i64().unwrap_or(0);
        if replicas < 0 {
            errors.push(Error::invalid(&"spec.replicas".into(), replicas, "must be greater than or equal to 0"));
        }
        if !errors.is_empty() {
            return Err(Status::invalid(&GroupKind::new("autoscaling", "Scale"), name, errors));
        }
        let given = scale["metadata"]["uid"].str();
        if !given.is_empty() && *given != *old["metadata"]["uid"].str() {
            let resource =
                GroupResource::new(self.target.resource.group, format!("{}/scale", self.target.resource.plural));
            let why = format!(
                "Precondition failed: UID in precondition: {given}, UID in object meta: {}",
                old["metadata"]["uid"].str()
            );
            return Err(Status::conflict(&resource, name, &why));
        }
        let given = scale["metadata"]["resourceVersion"].str();
        if !given.is_empty() && given != stored.revision.to_string() {
            return Err(Status::stale(&self.target.group_resource(), name));
        }
        Ok(())
    }

    /// The object with the replicas of the scale, and their managers.
    fn new_object(&self, object: &Value, scale: &Value) -> Result<Value, Status> {
        let row = self.target.resource;
        let mut new = object.clone();
        new.entry("spec").set("replicas", scale["spec"]["replicas"].as_i64().unwrap_or(0));
        let version = row.api_version();
        let paths = [(version.as_str(), REPLICAS)];
        let (before, after) = (&object["metadata"]["managedFields"], &scale["metadata"]["managedFields"]);
        let entries = apply::to_parent(before, after, &version, &paths).map_err(Status::unclassified)?;
        match entries {
            Some(entries) => new.entry("metadata").set("managedFields", entries),
            None => drop(new.entry("metadata").remove("managedFields")),
        }
        api::strategy::prepare_update(row, "", &mut new, object, &crate::write::context(self.passage));
        document::normalize(&mut new, row.type_);
        refuse_invalid(row, &new, api::validation::validate_update(row, "", &new, object))?;
        Ok(new)
    }
}
