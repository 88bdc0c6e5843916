//! Watches: where one begins and what it sends first. The frames are `apiserver`'s.

use std::sync::Arc;
use std::time::Duration;

use document::Object;
use gate::Passage;
use meta::{Revision, Status};
use store::Watcher;

use crate::query::Query;
use crate::read::{filter, stored};
use crate::{Registry, Target};

/// A watch that has been admitted.
pub struct Watch {
    pub resource: &'static api::ResourceType,
    /// Sent as ADDED before anything else: what was there when no revision was asked for.
    pub initial: Vec<Arc<Object>>,
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
        let (from, initial) = match options.resource_version.as_str() {
            "" | "0" => {
                let view = self.store.view();
                let items = view.list(&id, filter.namespace.as_deref()).filter(|o| filter.matches(o)).collect();
                (view.revision(), items)
            }
            text => (crate::read::parse_revision(text).map_err(Status::unclassified)?, Vec::new()),
        };
        let watcher = self.store.watch(&id, from, filter).map_err(|c| too_old(from, c.oldest))?;
        let timeout =
            options.timeout_seconds.and_then(|s| u64::try_from(s).ok()).filter(|s| *s > 0).map(Duration::from_secs);
        Ok(Watch { resource: target.resource, initial, watcher, bookmarks: options.bookmarks, timeout })
    }
}

fn too_old(from: Revision, oldest: Revision) -> Status {
    Status::expired(format!("too old resource version: {from} ({oldest})"))
}
