//! Create, update and patch: the same steps for every kind, in upstream's order. decode → old object, patch → mutating
//! admission → escalation → strategy → validate → validating admission → unchanged? → commit. A lost race goes back to
//! "old object" with everything decided anew.

use std::sync::Arc;

use admission::{Operation, Review};
use api::strategy;
use document::{Object, Value, doc};
use gate::Passage;
use meta::{Attributes, Key, Revision, Status, Time};
use store::{CommitError, Committed, Effect, Precondition, View, Write};

use crate::body::{self, Expected};
use crate::query::{Query, WriteOptions};
use crate::target::Target;
use crate::{
    Answer, Body, Outcome, PatchKind, Registry, companion, manage, privileged, rbac, scale, service, subresource,
    virtuals,
};

/// A write loses a race at most so often before it is told to come back.
pub(crate) const ATTEMPTS: usize = 64;
/// `generateName` tries this many names, as upstream does.
const NAME_ATTEMPTS: usize = 8;

/// A body and the options of one write.
pub struct WriteRequest {
    pub body: Option<Body>,
    pub patch: Option<PatchKind>,
    pub query: Query,
    /// Who sends it, in its own words.
    pub user_agent: String,
    /// Where warnings go that hold whether the write succeeds or not; the outcome has the others.
    pub warnings: Warnings,
}

/// What is odd about a body, gathered while it is read.
#[derive(Clone, Default)]
pub struct Warnings(Arc<std::sync::Mutex<Vec<String>>>);

impl Warnings {
    pub(crate) fn extend(&self, warnings: impl IntoIterator<Item = String>) {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend(warnings);
    }

    /// All so far; they are gone then.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

/// Where the new object of an update comes from.
pub(crate) enum Source {
    Replace(Value),
    Patch { kind: PatchKind, body: Body },
    Apply(Body),
}

/// One update of an object or of a part of it.
pub(crate) struct Update<'a> {
    pub(crate) passage: &'a Passage,
    pub(crate) target: Target,
    pub(crate) options: WriteOptions,
    pub(crate) source: Source,
    pub(crate) warnings: Warnings,
}

/// What a loop's step came to.
#[expect(clippy::large_enum_variant, reason = "made once per try and taken apart at once")]
pub(crate) enum Step {
    Done(Outcome),
    /// Somebody else was faster.
    Again,
}

impl Registry {
    /// POST on a collection, or on a subresource that is created (`token`, `binding`, `eviction`).
    ///
    /// # Errors
    /// Whatever upstream answers at each of the steps.
    pub async fn create(&self, passage: &Passage, request: WriteRequest) -> Result<Outcome, Status> {
        let target = Target::of(passage.attributes())?;
        let options = request.query.write_options("CreateOptions", false, &request.user_agent)?;
        if let Some(sub) = target.subresource {
            return subresource::create(self, passage, target, sub, request.body, options).await;
        }
        if target.resource.storage.is_empty() {
            return virtuals::create(self, passage, target, request.body, options).await;
        }
        let read = || {
            let expected = Expected::of(target.resource);
            let mut decoded = body::decode(request.body.clone(), &expected, options.field_validation)?;
            disown_system_fields(&mut decoded.value);
            check_namespace(&target, passage.attributes(), &mut decoded.value)?;
            Ok((decoded.value, decoded.warnings))
        };
        let (value, warnings) = read()?;
        request.warnings.extend(warnings);
        self.insert(passage, target, &options, value, || read().map(|(value, _)| value)).await
    }

    /// PUT on an object or on a part of it.
    ///
    /// # Errors
    /// Whatever upstream answers at each of the steps.
    pub async fn update(&self, passage: &Passage, request: WriteRequest) -> Result<Outcome, Status> {
        let target = Target::of(passage.attributes())?;
        let options = request.query.write_options("UpdateOptions", false, &request.user_agent)?;
        if let Some(sub) = target.subresource.filter(|s| s.name == "scale") {
            return scale::update(self, passage, target, sub, request, options).await;
        }
        let decoded = body::decode(request.body, &Expected::of(target.resource), options.field_validation)?;
        request.warnings.extend(decoded.warnings);
        let mut value = decoded.value;
        check_namespace(&target, passage.attributes(), &mut value)?;
        check_name(passage.attributes(), &value)?;
        let source = Source::Replace(value);
        self.rewrite(Update { passage, target, options, source, warnings: request.warnings }).await
    }

    /// PATCH in any of its encodings.
    ///
    /// # Errors
    /// Whatever upstream answers at each of the steps.
    pub async fn patch(&self, passage: &Passage, request: WriteRequest) -> Result<Outcome, Status> {
        let target = Target::of(passage.attributes())?;
        let kind = request.patch.ok_or_else(|| Status::unsupported_media_type("415: Unsupported Media Type"))?;
        let options = request.query.write_options("PatchOptions", kind == PatchKind::Apply, &request.user_agent)?;
        if let Some(sub) = target.subresource.filter(|s| s.name == "scale") {
            return scale::update(self, passage, target, sub, request, options).await;
        }
        let body = request.body.unwrap_or_default();
        let source = if kind == PatchKind::Apply { Source::Apply(body) } else { Source::Patch { kind, body } };
        self.rewrite(Update { passage, target, options, source, warnings: request.warnings }).await
    }

    /// Creates `value`; `again` makes it anew for the rare case that somebody else was faster.
    async fn insert(
        &self,
        passage: &Passage,
        target: Target,
        options: &WriteOptions,
        mut value: Value,
        again: impl Fn() -> Result<Value, Status> + Send + Sync,
    ) -> Result<Outcome, Status> {
        let mut names = 0;
        for _ in 0..ATTEMPTS {
            match self.insert_once(passage, target, options, value, "", &mut names).await? {
                Step::Done(outcome) => return Ok(outcome),
                Step::Again => value = again()?,
            }
        }
        Err(busy())
    }

    /// One try; `fixed_name` is set when the URL names the object (create by PUT).
    async fn insert_once(
        &self,
        passage: &Passage,
        target: Target,
        options: &WriteOptions,
        mut value: Value,
        fixed_name: &str,
        names: &mut usize,
    ) -> Result<Step, Status> {
        let charged = self.quota_turn(passage, target, options.dry_run).await;
        let turn = self.service_turn(target).await;
        let view = self.store.view();
        let row = target.resource;
        if !options.applied {
            manage::track(&target, options, None, &mut value);
        }
        let empty_maps = body::settle(row, &mut value);
        let given =
            if fixed_name.is_empty() { value["metadata"]["name"].str().to_owned() } else { fixed_name.to_owned() };
        let may = |attributes: Attributes| passage.may(attributes);
        let mut review = review(passage, target, Operation::Create, &view, &may, options.dry_run);
        review.name = &given;
        review.object = Some(value);
        review.options = write_options_value("CreateOptions", options);
        let admitted = self.gate.mutate(passage, &mut review);
        if std::mem::take(&mut review.needs_namespace) {
            drop(review);
            drop((turn, charged));
            return self.provide_namespace(&passage.attributes().namespace).await;
        }
        if let Err(refusal) = admitted {
            let refusal = refusal.warned(std::mem::take(&mut review.warnings));
            let Some(key) = review.waits_for.take().filter(|_| *names == 0) else { return Err(refusal) };
            drop(review);
            drop((turn, charged));
            // a second chance, once: the names that are left say so
            *names = 1;
            return if self.appears(&key).await { Ok(Step::Again) } else { Err(refusal) };
        }
        let mut object = review.object.take().unwrap_or_default();
        rbac::check_create(self, passage, row, &view, &object, &given)?;
        let generated = begin_create(row, passage.attributes(), &mut object, fixed_name);
        service::allocate(self, row, &view, &mut object, None, options.dry_run)?;
        strategy::prepare_create(row, &mut object, &context(passage));
        document::normalize(&mut object, row.type_);
        let resource_version = object["metadata"]["resourceVersion"].str().to_owned();
        let errors = body::with_empty_maps(api::validation::validate_create(row, &object), &empty_maps);
        refuse_invalid(row, &object, errors).map_err(|refused| refused.warned(review.warnings.iter().cloned()))?;
        if !fixed_name.is_empty() {
            object.entry("metadata").remove("resourceVersion");
        } else if !resource_version.is_empty() && resource_version != "0" {
            return Err(Status::unclassified("resourceVersion should not be set on objects to be created"));
        }
        let name = object["metadata"]["name"].str().to_owned();
        let key = target.key(&passage.attributes().namespace, &name)?;
        review.warnings.extend(api::warnings::on_create(row, &object));
        review.name = &name;
        review.object = Some(object);
        let admitted = self.gate.seal(passage, &mut review, |review| {
            let draft = seal(row, key.clone(), review.new_object())?;
            let mut writes = vec![Write { precondition: Precondition::Absent, effect: Effect::Put(draft) }];
            writes.extend(service::claims(row, &view, Some(review.new_object()), None)?);
            companion::transaction(&view, review, writes)
        });
        let all = std::mem::take(&mut review.warnings);
        let admitted = match admitted {
            Ok(admitted) => admitted,
            Err(refused) => return Err(refused.warned(all)),
        };
        let object = review.object.take().unwrap_or_default();
        drop(review);
        let exists = view.get(&key).is_some();
        if options.dry_run && !exists {
            return Ok(Step::Done(with_warnings(Outcome::value(201, object, row.type_), all)));
        }
        let lost = match if exists { None } else { Some(self.commit_in_turn(admitted, turn).await?) } {
            Some(Ok(committed)) => return Ok(Step::Done(with_warnings(stored(201, row, committed), all))),
            Some(Err(conflict)) => conflict != key,
            None => false,
        };
        *names += 1;
        match (lost, generated) {
            (true, _) => Ok(Step::Again),
            (false, true) if *names < NAME_ATTEMPTS => Ok(Step::Again),
            (false, true) => Err(Status::generate_name_conflict(&target.group_resource(), &name)),
            (false, false) if !fixed_name.is_empty() => Ok(Step::Again),
            (false, false) => Err(Status::already_exists(&target.group_resource(), &name)),
        }
    }

    /// Makes the namespace in which something is to be created (NamespaceAutoProvision).
    async fn provide_namespace(&self, name: &str) -> Result<Step, Status> {
        let row = api::find("", "v1", "namespaces").ok_or_else(|| Status::internal("namespaces are not served"))?;
        let system = self.system.get().ok_or_else(|| Status::unavailable("the server is starting"))?;
        let options = companion::as_server();
        let namespace = doc!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name}});
        let target = Target { resource: row, subresource: None };
        match Box::pin(self.insert(system, target, &options, namespace.clone(), || Ok(namespace.clone()))).await {
            Err(refusal) if refusal.code != 409 => Err(refusal),
            _ => Ok(Step::Again),
        }
    }

    /// Waits up to a second for an object that a controller is about to make.
    async fn appears(&self, key: &Key) -> bool {
        let wait = async {
            loop {
                let view = self.store.view();
                if view.get(key).is_some() {
                    return;
                }
                self.store.wait_for(Revision(view.revision().0 + 1)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(1), wait).await.is_ok()
    }

    /// Updates an object, or creates it where PUT may.
    pub(crate) async fn rewrite(&self, update: Update<'_>) -> Result<Outcome, Status> {
        for _ in 0..ATTEMPTS {
            match self.rewrite_once(&update).await? {
                Step::Done(outcome) => return Ok(outcome),
                Step::Again => {}
            }
        }
        Err(busy())
    }

    async fn rewrite_once(&self, update: &Update<'_>) -> Result<Step, Status> {
        let Update { passage, target, options, .. } = update;
        let attributes = passage.attributes();
        let row = target.resource;
        let turn = self.service_turn(*target).await;
        let view = self.store.view();
        let key = target.key(&attributes.namespace, &attributes.name)?;
        let Some(stored_object) = view.get(&key) else {
            drop(turn);
            return self.create_by_put(update).await;
        };
        let old = Arc::new(api::read(row, &stored_object));
        let (mut new, odd) = update.source.apply(target, &old, options)?;
        update.warnings.extend(odd);
        let mut warnings = Vec::new();
        if matches!(update.source, Source::Replace(_)) {
            check_uid(target, &key, &new, &stored_object)?;
        } else {
            check_namespace(target, attributes, &mut new)?;
            check_name(attributes, &new)?;
        }
        if !options.applied {
            manage::track(target, options, Some(&old), &mut new);
        }
        let empty_maps = body::settle(row, &mut new);
        let may = |attributes: Attributes| passage.may(attributes);
        let mut review = review(passage, *target, Operation::Update, &view, &may, options.dry_run);
        review.object = Some(new);
        review.old = Some(old.clone());
        review.options =
            write_options_value(if attributes.verb == "patch" { "PatchOptions" } else { "UpdateOptions" }, options);
        if let Err(refused) = self.gate.mutate(passage, &mut review) {
            return Err(refused.warned(warnings.into_iter().chain(std::mem::take(&mut review.warnings))));
        }
        let mut new = review.object.take().unwrap_or_default();
        rbac::check_update(self, passage, row, &view, &new, &old)?;
        let given = check_version(target, &new, stored_object.revision)?;
        begin_update(&mut new, &old);
        if target.subresource.is_none() {
            service::allocate(self, row, &view, &mut new, Some(&old), options.dry_run)?;
        }
        strategy::prepare_update(row, target.subresource_name(), &mut new, &old, &context(passage));
        document::normalize(&mut new, row.type_);
        let mut errors = api::validation::validate_update(row, target.subresource_name(), &new, &old);
        errors.extend(self.privileged_errors(row, &new));
        refuse_invalid(row, &new, body::with_empty_maps(errors, &empty_maps))
            .map_err(|refused| refused.warned(warnings.iter().chain(&review.warnings).cloned()))?;
        warnings.extend(api::warnings::on_update(row, target.subresource_name(), &new, &old));
        let gone = is_finished(row, &new, &old);
        let unchanged = document::apply::settle(&mut new, &old);
        review.object = Some(new);
        let admitted = self.gate.seal(passage, &mut review, |review| {
            let effect = if gone {
                Effect::Remove(key.clone())
            } else {
                Effect::Put(seal(row, key.clone(), review.new_object())?)
            };
            let mut writes = vec![Write { precondition: Precondition::At(stored_object.revision), effect }];
            let kept = if gone { None } else { Some(review.new_object()) };
            writes.extend(service::claims(row, &view, kept, Some(&old))?);
            companion::transaction(&view, review, writes)
        });
        warnings.extend(std::mem::take(&mut review.warnings));
        let admitted = match admitted {
            Ok(admitted) => admitted,
            Err(refused) => return Err(refused.warned(warnings)),
        };
        let mut object = review.object.take().unwrap_or_default();
        drop(review);
        if unchanged && !gone {
            return Ok(Step::Done(with_warnings(Outcome::new(200, Answer::Object(stored_object, row)), warnings)));
        }
        if options.dry_run {
            show_revision(&mut object, stored_object.revision, row);
            return Ok(Step::Done(with_warnings(Outcome::value(200, object, row.type_), warnings)));
        }
        match self.commit_in_turn(admitted, turn).await? {
            Ok(_) if gone => {
                show_revision(&mut object, stored_object.revision, row);
                Ok(Step::Done(with_warnings(Outcome::value(200, object, row.type_), warnings)))
            }
            Ok(committed) => Ok(Step::Done(with_warnings(stored(200, row, committed), warnings))),
            // a patch is applied again to what is there now
            Err(lost) if lost == key && given && matches!(update.source, Source::Replace(_)) => {
                Err(Status::stale(&target.group_resource(), &attributes.name))
            }
            Err(_) => Ok(Step::Again),
        }
    }

    async fn create_by_put(&self, update: &Update<'_>) -> Result<Step, Status> {
        let Update { passage, target, options, source, .. } = update;
        let attributes = passage.attributes();
        let missing = || Status::not_found(&target.group_resource(), &attributes.name);
        let creates = match source {
            Source::Replace(_) => target.resource.strategy.create_on_update,
            Source::Patch { .. } => false,
            Source::Apply(_) => true,
        };
        if !creates || target.subresource.is_some() {
            return Err(missing());
        }
        let value = match source {
            Source::Apply(body) => {
                let (mut value, odd) = manage::apply(target, options, body, &Expected::of(target.resource), None)?;
                update.warnings.extend(odd);
                let given = value["metadata"]["uid"].str();
                if !given.is_empty() {
                    let why = format!(
                        "uid mismatch: the provided object specified uid {given}, and no existing object was found"
                    );
                    return Err(Status::conflict(&target.group_resource(), &attributes.name, &why));
                }
                check_namespace(target, attributes, &mut value)?;
                check_name(attributes, &value)?;
                value
            }
            Source::Patch { .. } => return Err(missing()),
            Source::Replace(value) => value.clone(),
        };
        if !value["metadata"]["uid"].str().is_empty() {
            let key = target.key(&attributes.namespace, &attributes.name)?;
            return Err(uid_conflict(target, &key, value["metadata"]["uid"].str(), ""));
        }
        let create = Attributes { verb: "create".into(), ..attributes.clone() };
        passage.demand(create)?;
        let mut names = 0;
        self.insert_once(passage, *target, options, value, &attributes.name, &mut names).await
    }

    fn privileged_errors(&self, row: &api::ResourceType, object: &Value) -> Vec<meta::field::Error> {
        if self.config.allow_privileged { Vec::new() } else { privileged::errors(row, object) }
    }

    /// Commits; a lost race is the inner error and names the key that had changed.
    pub(crate) async fn commit(&self, admitted: gate::Admitted) -> Result<Result<Committed, Key>, Status> {
        match self.writer.commit(admitted).await {
            Ok(committed) => Ok(Ok(committed)),
            Err(CommitError::Conflict { key, .. }) => Ok(Err(key)),
            // as upstream answers when etcd is full
            Err(CommitError::Full(_)) => Err(Status::unclassified("the store has no space left")),
            Err(CommitError::Stopped) => Err(Status::unavailable("the server is shutting down")),
        }
    }
}

impl Source {
    fn apply(&self, target: &Target, old: &Value, options: &WriteOptions) -> Result<(Value, Vec<String>), Status> {
        match self {
            Source::Replace(value) => Ok((value.clone(), Vec::new())),
            Source::Patch { kind, body } => body::patch(*kind, body, old, &Expected::of(target.resource), options),
            Source::Apply(body) => manage::apply(target, options, body, &Expected::of(target.resource), Some(old)),
        }
    }
}

/// What strategies may know.
pub(crate) fn context(passage: &Passage) -> strategy::Context<'_> {
    strategy::Context { user: passage.user(), now: Time::now() }
}

/// A review of this passage with nothing in it yet.
pub(crate) fn review<'a>(
    passage: &'a Passage,
    target: Target,
    operation: Operation,
    view: &'a View,
    may: &'a (dyn Fn(Attributes) -> bool + Sync),
    dry_run: bool,
) -> Review<'a> {
    let attributes = passage.attributes();
    Review {
        operation,
        attributes,
        user: passage.user(),
        kind: target.resource.gvk(),
        resource: target.resource,
        subresource: target.subresource_name(),
        namespace: &attributes.namespace,
        name: &attributes.name,
        object: None,
        old: None,
        options: Value::Null,
        dry_run,
        world: view,
        may,
        warnings: Vec::new(),
        waits_for: None,
        needs_namespace: false,
        reads: Vec::new(),
        companions: Vec::new(),
    }
}

/// What is the system's is not the client's, not even as a field that it manages.
fn disown_system_fields(object: &mut Value) {
    let Some(meta) = object.get_mut("metadata") else { return };
    for name in ["creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "uid"] {
        meta.remove(name);
    }
}

/// System-owned metadata of a new object. True when the name was generated.
fn begin_create(row: &api::ResourceType, attributes: &Attributes, object: &mut Value, fixed_name: &str) -> bool {
    let meta = object.entry("metadata");
    for name in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"] {
        meta.remove(name);
    }
    if row.namespaced {
        meta.set("namespace", attributes.namespace.as_str());
    } else {
        meta.remove("namespace");
    }
    meta.set("creationTimestamp", Time::now().to_string());
    meta.set("uid", meta::random::uuid());
    let base = meta["generateName"].str().to_owned();
    let generate = meta["name"].str().is_empty() && !base.is_empty() && fixed_name.is_empty();
    if generate {
        meta.set("name", meta::random::generate_name(&base));
    }
    generate
}

/// Metadata that an update cannot change is taken from the old object.
fn begin_update(new: &mut Value, old: &Value) {
    let before = &old["metadata"];
    let meta = new.entry("metadata");
    let keep = |meta: &mut Value, name: &'static str| match before.get(name) {
        Some(value) => meta.set(name, value.clone()),
        None => drop(meta.remove(name)),
    };
    keep(meta, "creationTimestamp");
    keep(meta, "generation");
    keep(meta, "resourceVersion");
    meta.remove("selfLink");
    if meta["uid"].str().is_empty() {
        keep(meta, "uid");
    }
    for name in ["deletionTimestamp", "deletionGracePeriodSeconds"] {
        if !before[name].is_null() {
            keep(meta, name);
        }
    }
}

pub(crate) fn refuse_invalid(
    row: &api::ResourceType,
    object: &Value,
    errors: Vec<meta::field::Error>,
) -> Result<(), Status> {
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(&row.group_kind(), object["metadata"]["name"].str(), errors))
}

/// The body's namespace must be the URL's; a cluster-scoped object's is cleared.
pub(crate) fn check_namespace(target: &Target, attributes: &Attributes, value: &mut Value) -> Result<(), Status> {
    let given = value["metadata"]["namespace"].str();
    if !target.resource.namespaced {
        if !given.is_empty() {
            value.entry("metadata").remove("namespace");
        }
        return Ok(());
    }
    if attributes.namespace.is_empty() {
        return Err(Status::bad_request("Namespace parameter required."));
    }
    if given.is_empty() {
        value.entry("metadata").set("namespace", attributes.namespace.as_str());
        return Ok(());
    }
    if given == attributes.namespace {
        return Ok(());
    }
    Err(Status::bad_request("the namespace of the provided object does not match the namespace sent on the request"))
}

pub(crate) fn check_name(attributes: &Attributes, value: &Value) -> Result<(), Status> {
    let (given, url) = (value["metadata"]["name"].str(), &attributes.name);
    if given.is_empty() {
        return Err(Status::bad_request(format!(
            "the name of the object ({url} based on URL) was undeterminable: name must be provided"
        )));
    }
    if given == url {
        return Ok(());
    }
    Err(Status::bad_request(format!("the name of the object ({given}) does not match the name on the URL ({url})")))
}

fn check_uid(target: &Target, key: &Key, new: &Value, old: &Object) -> Result<(), Status> {
    let given = new["metadata"]["uid"].str();
    if given.is_empty() || *given == *old.uid { Ok(()) } else { Err(uid_conflict(target, key, given, &old.uid)) }
}

/// Upstream's text shows the key under which etcd holds the object.
pub(crate) fn uid_conflict(target: &Target, key: &Key, given: &str, actual: &str) -> Status {
    let prefix = target.resource.stored.map_or("/registry/", |s| s.prefix);
    let slash = if key.namespace.is_empty() { "" } else { "/" };
    let path = format!("{prefix}{}{slash}{}", key.namespace, key.name);
    let why = format!(
        "StorageError: invalid object, Code: 4, Key: {path}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {given}, UID in object meta: {actual}"
    );
    Status::conflict(&target.group_resource(), &key.name, &why)
}

/// Compares the resourceVersion that the client gave. True when it gave one.
fn check_version(target: &Target, new: &Value, current: Revision) -> Result<bool, Status> {
    let text = new["metadata"]["resourceVersion"].str();
    if text.is_empty() || text == "0" {
        if target.resource.strategy.unconditional_update {
            return Ok(false);
        }
        let path = "metadata.resourceVersion".into();
        let error = meta::field::Error::invalid(&path, 0_i64, "must be specified for an update");
        let gr = target.group_resource();
        return Err(Status::invalid(
            &meta::GroupKind::new(gr.group, gr.resource),
            new["metadata"]["name"].str(),
            vec![error],
        ));
    }
    let given = Revision::parse(text).ok_or_else(|| {
        Status::unclassified(format!("strconv.ParseUint: parsing {}: invalid syntax", meta::goquote::quote(text)))
    })?;
    if given == current {
        Ok(true)
    } else {
        Err(Status::stale(&target.group_resource(), new["metadata"]["name"].str()))
    }
}

/// An update may end a deletion: the last finalizer is gone, and nothing else is waited for.
fn is_finished(row: &api::ResourceType, new: &Value, old: &Value) -> bool {
    let before = &old["metadata"];
    let over = if row.plural == "namespaces" && row.group.is_empty() {
        !before["deletionTimestamp"].is_null() && new["spec"]["finalizers"].items().is_empty()
    } else {
        before["deletionGracePeriodSeconds"].as_i64() == Some(0)
    };
    over && new["metadata"]["finalizers"].items().is_empty()
}

/// The encoded form in the version that is stored.
pub(crate) fn seal(row: &'static api::ResourceType, key: Key, object: &Value) -> Result<Object, Status> {
    api::seal(row, key, object).map_err(Status::internal)
}

/// Puts a resourceVersion into an object that is answered without having been stored.
pub(crate) fn show_revision(object: &mut Value, revision: Revision, row: &api::ResourceType) {
    object.entry("metadata").set("resourceVersion", revision.to_string());
    document::normalize(object, row.type_);
}

pub(crate) fn stored(code: u16, row: &'static api::ResourceType, committed: Committed) -> Outcome {
    match committed.objects.into_iter().flatten().next() {
        Some(object) => Outcome::new(code, Answer::Object(object, row)),
        None => Outcome::new(code, Answer::Status(Status::success(None))),
    }
}

pub(crate) fn with_warnings(mut outcome: Outcome, warnings: Vec<String>) -> Outcome {
    outcome.warnings.extend(warnings);
    outcome
}

pub(crate) fn busy() -> Status {
    Status::timeout("too many writers compete for this object", 1)
}

fn write_options_value(kind: &str, options: &WriteOptions) -> Value {
    let mut value = doc!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
    if options.dry_run {
        value.set("dryRun", doc!(["All"]));
    }
    if !options.field_manager.is_empty() {
        value.set("fieldManager", options.field_manager.as_str());
    }
    value
}
