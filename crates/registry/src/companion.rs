//! Companion writes: what admission wants committed with an object (the usage of a quota), and the turns that creators
//! take so that they do not lose races for it. The object and its companions are one transaction: there is no moment
//! at which one is there without the other.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use admission::Review;
use admission::review::Companion;
use gate::Passage;
use meta::{ResourceId, Status};
use store::{Effect, Precondition, Transaction, View, Write};
use tokio::sync::{Mutex, MutexGuard};

use crate::query::{FieldValidation, WriteOptions};
use crate::target::Target;
use crate::write::seal;
use crate::{Registry, manage};

const QUOTAS: &str = "resourcequotas";

/// One lock for each of so many groups of namespaces.
pub(crate) struct Turns(Vec<Mutex<()>>);

impl Default for Turns {
    fn default() -> Self {
        const GROUPS: usize = 64;
        Turns((0..GROUPS).map(|_| Mutex::default()).collect())
    }
}

impl Registry {
    /// Held by a creator in a namespace with quotas until its commit: all of them write the same quota. Nobody else
    /// waits; updates that cost more are rare and try again.
    pub(crate) async fn quota_turn(
        &self,
        passage: &Passage,
        target: Target,
        dry_run: bool,
    ) -> Option<MutexGuard<'_, ()>> {
        let namespace = passage.attributes().namespace.as_str();
        if dry_run || namespace.is_empty() {
            return None;
        }
        self.store.view().list(&ResourceId::from_text(QUOTAS), Some(namespace)).next()?;
        api::quota::Evaluator::of(target.resource.group, target.resource.plural)?;
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(namespace);
        let turns = &self.quotas.0;
        let group = usize::try_from(hash % u64::try_from(turns.len()).ok()?).ok()?;
        Some(turns.get(group)?.lock().await)
    }
}

/// The writes of a request with what must hold for them and what goes with them.
///
/// # Errors
/// A companion that is not in the view: 500, since admission has just read it.
pub(crate) fn transaction(view: &View, review: &mut Review<'_>, mut writes: Vec<Write>) -> Result<Transaction, Status> {
    for companion in std::mem::take(&mut review.companions) {
        writes.push(write(view, companion)?);
    }
    Ok(Transaction { writes, reads: std::mem::take(&mut review.reads) })
}

/// The status of an object as the server itself updates it.
fn write(view: &View, companion: Companion) -> Result<Write, Status> {
    let Companion { key, status } = companion;
    let missing = || Status::internal(format!("{key:?} is not there to be charged"));
    let row = api::by_storage(&key.resource).ok_or_else(missing)?;
    let found = view.get(&key).ok_or_else(missing)?;
    let target = Target { resource: row, subresource: row.subresource("status") };
    let old = api::read(row, &found);
    let mut new = old.clone();
    new.set("status", status);
    manage::track(&target, &as_server(), Some(&old), &mut new);
    document::normalize(&mut new, row.type_);
    let effect = Effect::Put(seal(row, key, &new)?);
    Ok(Write { precondition: Precondition::At(found.revision), effect })
}

/// The options of a write that the server does for itself.
pub(crate) fn as_server() -> WriteOptions {
    WriteOptions {
        dry_run: false,
        field_validation: FieldValidation::Ignore,
        field_manager: String::new(),
        force: None,
        manager: "kube-apiserver".to_owned(),
        applied: false,
    }
}
