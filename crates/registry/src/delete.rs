//! Delete and deletecollection: preconditions, grace, finalizers for garbage collection, then removal.

use std::sync::Arc;

use admission::{Operation, Review};
use api::ResourceType;
use api::resource::Gc;
use api::strategy::Grace;
use document::{Object, Value};
use gate::Passage;
use meta::status::Details;
use meta::{Attributes, Revision, Status, Time};
use store::{Effect, Precondition, View, Write};

use crate::body;
use crate::query::{DeleteOptions, Propagation};
use crate::read::{filter, read_page, stored};
use crate::write::{ATTEMPTS, Step, WriteRequest, busy, review, seal, show_revision};
use crate::{Answer, Outcome, Registry, Target, companion};

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";
/// Objects that upstream lists at once to delete a collection.
const PAGE: i64 = 10_000;

/// What the first phase of a deletion does to the object.
enum Phase {
    /// Nothing more to wait for: the object goes now. It may have been changed for the answer.
    Remove(Value),
    /// The object stays with these changes until somebody removes its finalizers or its grace is over.
    Mark(Value),
    /// Its deletion is under way already and this request does not shorten it.
    Pending,
}

impl Registry {
    /// DELETE on an object.
    ///
    /// # Errors
    /// Whatever upstream answers at each of the steps.
    pub async fn delete(&self, passage: &Passage, request: WriteRequest) -> Result<Outcome, Status> {
        let target = Target::of(passage.attributes())?;
        let body = body::delete_options(request.body)?;
        let options = DeleteOptions::from(body.as_ref(), &request.query)?;
        let attributes = passage.attributes();
        let body = body.unwrap_or_default();
        let mut outcome =
            self.delete_one(passage, target, &attributes.namespace, &attributes.name, &options, body).await?;
        if target.resource.group == "batch"
            && target.resource.plural == "jobs"
            && options.propagation.is_none()
            && options.orphan_dependents.is_none()
        {
            outcome.warnings.push("child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning".into());
        }
        Ok(outcome)
    }

    /// DELETE on a collection: every object that the selectors choose, one by one; answers the list of what it met.
    ///
    /// # Errors
    /// As for a single object; what was deleted before the error stays deleted.
    pub async fn delete_collection(&self, passage: &Passage, request: WriteRequest) -> Result<crate::List, Status> {
        let target = Target::of(passage.attributes())?;
        let id = stored(&target)?;
        let mut selection = request.query.list_options(false)?;
        let filter = filter(&target, passage.attributes(), &selection)?;
        let body = body::delete_options(request.body)?;
        let options = DeleteOptions::from(body.as_ref(), &request.query)?;
        let limited = selection.limit > 0;
        if !limited {
            // upstream lists in pages, which makes a given version an exact one
            selection.limit = PAGE;
        }
        let page = self.page(&id, &selection)?;
        let page = if limited { page } else { page.whole() };
        let list = read_page(&target, &id, &filter, page, &selection);
        for item in &list.items {
            let done = self.delete_in(passage, target, item, &options, body.clone().unwrap_or_default()).await;
            match done {
                Err(status) if status.is_not_found() => {}
                Err(status) => return Err(status),
                Ok(_) => {}
            }
        }
        Ok(list)
    }

    async fn delete_in(
        &self,
        passage: &Passage,
        target: Target,
        item: &Object,
        options: &DeleteOptions,
        body: Value,
    ) -> Result<Outcome, Status> {
        self.delete_one(passage, target, &item.key.namespace, &item.key.name, options, body).await
    }

    pub(crate) async fn delete_one(
        &self,
        passage: &Passage,
        target: Target,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
        body: Value,
    ) -> Result<Outcome, Status> {
        for _ in 0..ATTEMPTS {
            match self.delete_once(passage, target, (namespace, name), options, &body).await? {
                Step::Done(outcome) => return Ok(outcome),
                Step::Again => {}
            }
        }
        Err(busy())
    }

    async fn delete_once(
        &self,
        passage: &Passage,
        target: Target,
        (namespace, name): (&str, &str),
        options: &DeleteOptions,
        body: &Value,
    ) -> Result<Step, Status> {
        let view = self.store.view();
        let row = target.resource;
        let key = target.key(namespace, name)?;
        let found = view.get(&key).ok_or_else(|| Status::not_found(&target.group_resource(), name))?;
        check_preconditions(row, &found, options)?;
        let old = Arc::new(api::read(row, &found));
        let phase = begin(row, &old, options);
        let may = |attributes: Attributes| passage.may(attributes);
        let mut review = delete_review(passage, target, name, &view, &may, options, old.clone());
        review.namespace = namespace;
        review.options = body.clone();
        self.gate.mutate(passage, &mut review)?;
        let revision = found.revision;
        let (effect, shown) = match phase {
            Phase::Pending => (None, Value::clone(&old)),
            Phase::Mark(mut changed) => {
                document::normalize(&mut changed, row.type_);
                (Some(Effect::Put(seal(row, key.clone(), &changed)?)), changed)
            }
            Phase::Remove(mut changed) => {
                document::normalize(&mut changed, row.type_);
                (Some(Effect::Remove(key.clone())), changed)
            }
        };
        let removes = matches!(effect, Some(Effect::Remove(_)));
        // who asks for the dependents' deletion hears that the object's own goes on
        let code = if !removes && options.orphan_dependents == Some(false) { 202 } else { 200 };
        let of = |effect| Write { precondition: Precondition::At(revision), effect };
        let mut writes: Vec<Write> = effect.into_iter().map(of).collect();
        if removes {
            writes.extend(crate::service::claims(row, &view, None, Some(&old))?);
        }
        let admitted = self.gate.seal(passage, &mut review, |review| companion::transaction(&view, review, writes))?;
        let warnings = std::mem::take(&mut review.warnings);
        drop(review);
        if !removes && same_object(&shown, &old) {
            return Ok(Step::Done(Outcome { code, answer: Answer::Object(found, row), warnings }));
        }
        let mut at = revision;
        if !options.dry_run {
            match self.commit(admitted).await? {
                Err(_) => return Ok(Step::Again),
                Ok(committed) if !removes => {
                    let stored = committed.objects.into_iter().flatten().next();
                    let Some(object) = stored else { return Ok(Step::Again) };
                    return Ok(Step::Done(Outcome { code, answer: Answer::Object(object, row), warnings }));
                }
                Ok(committed) => at = if row.strategy.graceful { committed.revision } else { revision },
            }
        }
        Ok(Step::Done(Outcome { code, answer: answer(row, &found, shown, removes, at), warnings }))
    }
}

fn delete_review<'a>(
    passage: &'a Passage,
    target: Target,
    name: &'a str,
    view: &'a View,
    may: &'a (dyn Fn(Attributes) -> bool + Sync),
    options: &DeleteOptions,
    old: Arc<Value>,
) -> Review<'a> {
    let mut review = review(passage, target, Operation::Delete, view, may, options.dry_run);
    review.name = name;
    review.old = Some(old);
    review
}

/// Some kinds answer the object that went, the others a Status that names it.
fn answer(row: &'static ResourceType, found: &Object, mut shown: Value, removed: bool, revision: Revision) -> Answer {
    if !removed || answers_object(row) {
        show_revision(&mut shown, revision, row);
        return Answer::Value(shown, row.type_);
    }
    Answer::Status(Status::success(Some(Details {
        name: found.key.name.to_string(),
        group: row.group.into(),
        kind: row.plural.into(),
        uid: found.uid.to_string(),
        ..Default::default()
    })))
}

/// Kinds whose DELETE answers the object itself.
fn answers_object(row: &ResourceType) -> bool {
    const CORE: [&str; 8] = [
        "namespaces",
        "persistentvolumeclaims",
        "persistentvolumes",
        "pods",
        "podtemplates",
        "resourcequotas",
        "serviceaccounts",
        "services",
    ];
    const STORAGE: [&str; 5] =
        ["csidrivers", "csinodes", "storageclasses", "volumeattachments", "volumeattributesclasses"];
    match row.group {
        "" => CORE.contains(&row.plural),
        "storage.k8s.io" => STORAGE.contains(&row.plural),
        "resource.k8s.io" => row.plural != "devicetaintrules",
        _ => false,
    }
}

fn check_preconditions(row: &ResourceType, found: &Object, options: &DeleteOptions) -> Result<(), Status> {
    let conflict =
        |why: String| Err(Status::conflict(&meta::GroupResource::new(row.group, row.kind), &found.key.name, &why));
    if let Some(uid) = options.uid.as_deref().filter(|uid| *uid != &*found.uid) {
        return conflict(format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been deleted and then recreated",
            found.uid
        ));
    }
    let revision = found.revision.to_string();
    if let Some(given) = options.resource_version.as_deref().filter(|given| *given != revision) {
        return conflict(format!(
            "the ResourceVersion in the precondition ({given}) does not match the ResourceVersion in record ({revision}). The object might have been modified"
        ));
    }
    Ok(())
}

/// Upstream's `BeforeDelete` with the finalizers of garbage collection.
fn begin(row: &ResourceType, old: &Value, options: &DeleteOptions) -> Phase {
    if row.plural == "namespaces" && row.group.is_empty() {
        return begin_namespace(row, old, options);
    }
    let meta = &old["metadata"];
    let deleting = !meta["deletionTimestamp"].is_null();
    // its grace is over: what is left of a deletion that was not carried through
    let expired = deleting && matches!(meta["deletionGracePeriodSeconds"].as_i64(), None | Some(0));
    let mut object = old.clone();
    let grace = match expired {
        true => Grace::None,
        false => api::strategy::begin_deletion(row, &mut object, options.grace_period_seconds, Time::now()),
    };
    if grace == Grace::Pending {
        return Phase::Pending;
    }
    set_finalizers(row, &mut object, options);
    if object["metadata"]["finalizers"].items().is_empty() {
        return if matches!(grace, Grace::Seconds(1..)) { Phase::Mark(object) } else { Phase::Remove(object) };
    }
    if grace == Grace::None {
        if !deleting {
            set_deletion(&mut object, Time::now(), 0);
            bump_generation(&mut object);
        } else {
            object.entry("metadata").set("deletionGracePeriodSeconds", 0_i64);
        }
    }
    Phase::Mark(object)
}

/// A namespace first becomes Terminating; it goes when `spec.finalizers` are gone.
fn begin_namespace(row: &ResourceType, old: &Value, options: &DeleteOptions) -> Phase {
    let mut object = old.clone();
    if old["metadata"]["deletionTimestamp"].is_null() {
        object.entry("metadata").set("deletionTimestamp", Time::now().to_string());
        object.entry("status").set("phase", "Terminating");
        set_finalizers(row, &mut object, options);
        return Phase::Mark(object);
    }
    if !old["spec"]["finalizers"].items().is_empty() {
        return Phase::Pending;
    }
    set_finalizers(row, &mut object, options);
    if object["metadata"]["finalizers"].items().is_empty() { Phase::Remove(object) } else { Phase::Mark(object) }
}

fn set_deletion(object: &mut Value, at: Time, seconds: i64) {
    let meta = object.entry("metadata");
    meta.set("deletionTimestamp", at.to_string());
    meta.set("deletionGracePeriodSeconds", seconds);
}

fn bump_generation(object: &mut Value) {
    if let Some(n) = object["metadata"]["generation"].as_i64().filter(|n| *n > 0) {
        object.entry("metadata").set("generation", n + 1);
    }
}

/// Adds and removes `orphan` and `foregroundDeletion` as the options and the kind's default say.
fn set_finalizers(row: &ResourceType, object: &mut Value, options: &DeleteOptions) {
    let present = |name: &str| object["metadata"]["finalizers"].items().iter().any(|f| f.str() == name);
    let orphan = wants_orphan(row, present(ORPHAN), options);
    let foreground = wants_foreground(row, present(FOREGROUND), options);
    if orphan == present(ORPHAN) && foreground == present(FOREGROUND) {
        return;
    }
    let mut list: Vec<Value> = object["metadata"]["finalizers"].items().to_vec();
    list.retain(|f| f.str() != ORPHAN && f.str() != FOREGROUND);
    if orphan {
        list.push(ORPHAN.into());
    }
    if foreground {
        list.push(FOREGROUND.into());
    }
    object.entry("metadata").set("finalizers", list);
}

fn wants_orphan(row: &ResourceType, present: bool, options: &DeleteOptions) -> bool {
    match (row.strategy.gc, options.orphan_dependents, options.propagation) {
        (Gc::Unsupported, _, _) => false,
        (_, Some(explicit), _) => explicit,
        (_, _, Some(policy)) => policy == Propagation::Orphan,
        (default, None, None) => present || default == Gc::Orphan,
    }
}

fn wants_foreground(row: &ResourceType, present: bool, options: &DeleteOptions) -> bool {
    match (row.strategy.gc, options.orphan_dependents, options.propagation) {
        (Gc::Unsupported, _, _) | (_, Some(_), _) => false,
        (_, _, Some(policy)) => policy == Propagation::Foreground,
        (_, None, None) => present,
    }
}

fn same_object(a: &Value, b: &Value) -> bool {
    a == b
}
