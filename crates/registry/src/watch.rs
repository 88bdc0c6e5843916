//! Watches: where one begins and what it sends first. The frames are `apiserver`'s.

use std::sync::Arc;
use std::time::Duration;

use document::Object;
use gate::Passage;
use meta::{Revision, Status};
use store::Watcher;

use crate::query::Query;
use crate::read::{filter, stored, too_large};
use crate::{Registry, Target};

/// How long a watch that begins with what is there waits for the revision it must not be older than.
const FRESH_WITHIN: Duration = Duration::from_secs(3);

/// A watch that has been admitted.
pub struct Watch {
    pub resource: &'static api::ResourceType,
    /// Sent as ADDED before anything else: what was there when no revision or the initial events were asked for.
    pub initial: Vec<Arc<Object>>,
    /// The revision at which `initial` was read, when its end is to be said by a bookmark.
    pub initial_end: Option<Revision>,
    pub watcher: Watcher,
    pub bookmarks: bool,
    pub timeout: Option<Duration>,
}

impl Registry {
    /// Begins a watch.
    ///
    /// # Errors
    /// 400 and 422 for the query; 410 when the revision has been compacted, which the server sends as an ERROR event.
    pub async fn watch(&self, passage: &Passage, query: &Query) -> Result<Watch, Status> {
        let attributes = passage.attributes();
        let target = Target::of(attributes)?;
        let id = stored(&target)?;
        let options = query.list_options(true)?;
        let filter = filter(&target, attributes, &options)?;
        let wanted = match options.resource_version.as_str() {
            "" | "0" => None,
            text => Some(crate::read::parse_revision(text).map_err(Status::unclassified)?),
        };
        let from_start = options.send_initial_events.unwrap_or(wanted.is_none());
        if from_start && let Some(wanted) = wanted {
            self.fresh(wanted).await?;
        }
        let view = self.store.view();
        let (from, initial) = if from_start {
            (view.revision(), view.list(&id, filter.namespace.as_deref()).filter(|o| filter.matches(o)).collect())
        } else {
            (wanted.unwrap_or(view.revision()), Vec::new())
        };
        let initial_end = (options.send_initial_events == Some(true) && options.bookmarks).then_some(from);
        let begun = self.begun();
        if from < begun {
            return Err(too_old(from, begun));
        }
        let watcher = self.store.watch(&id, from, filter).map_err(|c| too_old(from, c.oldest))?;
        let timeout =
            options.timeout_seconds.and_then(|s| u64::try_from(s).ok()).filter(|s| *s > 0).map(Duration::from_secs);
        let bookmarks = options.bookmarks;
        Ok(Watch { resource: target.resource, initial, initial_end, watcher, bookmarks, timeout })
    }

    /// Waits a while for a revision that is asked for; one that does not come is too large.
    async fn fresh(&self, wanted: Revision) -> Result<(), Status> {
        let waited = tokio::time::timeout(FRESH_WITHIN, self.store.wait_for(wanted)).await;
        waited.map_err(|_| too_large(wanted, self.store.revision()))
    }
}

fn too_old(from: Revision, oldest: Revision) -> Status {
    Status::expired(format!("too old resource version: {from} ({oldest})"))
}
