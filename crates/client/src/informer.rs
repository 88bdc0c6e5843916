//! `Informer`: keeps what a loop wants to know of every object in its scope (*facts*), by list and watch.
//!
//! ```text
//! list ─► watch ─► end: watch again from the last revision
//!  ▲        └────► 410: list again      both with back-off
//!  └────────────────────┘
//! ```
//! A relist tells handlers of everything that changed or went meanwhile; nothing is told twice in the same state.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use document::Object;
use futures::StreamExt;
use meta::{Key, Revision, Status};
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::{Api, ListOptions, Resource, WatchEvent};

/// What an informer follows.
#[derive(Clone, Debug)]
pub struct Scope {
    pub resource: Resource,
    /// `None`: all namespaces.
    pub namespace: Option<String>,
    pub options: ListOptions,
}

/// What is kept of one object.
#[derive(Debug)]
pub struct Known<F> {
    pub key: Key,
    pub uid: Box<str>,
    pub revision: Revision,
    pub facts: F,
}

/// What happened to one key: at least one side is there.
#[derive(Debug)]
pub struct Change<F> {
    pub key: Key,
    pub old: Option<Arc<Known<F>>>,
    pub new: Option<Arc<Known<F>>>,
}

/// Cheap to clone; the work ends with the last clone.
pub struct Informer<F>(Arc<Inner<F>>);

type Handler<F> = Box<dyn Fn(&Change<F>) + Send + Sync>;
type Facts<F> = Box<dyn Fn(&Arc<Object>) -> F + Send + Sync>;
type Index<F> = Box<dyn Fn(&Known<F>) -> Vec<String> + Send + Sync>;

struct Inner<F> {
    facts: Facts<F>,
    index: Index<F>,
    table: RwLock<Table<F>>,
    handlers: Mutex<Vec<Handler<F>>>,
    synced: watch::Sender<bool>,
    task: OnceLock<AbortHandle>,
}

struct Table<F> {
    objects: BTreeMap<Key, Arc<Known<F>>>,
    index: HashMap<String, BTreeSet<Key>>,
}

impl Scope {
    pub fn all(resource: Resource) -> Self {
        Scope { resource, namespace: None, options: ListOptions::default() }
    }

    pub fn with_fields(mut self, fields: impl Into<String>) -> Self {
        self.options.fields = fields.into();
        self
    }

    pub fn with_labels(mut self, labels: impl Into<String>) -> Self {
        self.options.labels = labels.into();
        self
    }

    pub fn in_namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }
}

impl<F: Send + Sync + 'static> Informer<F> {
    /// Starts to follow; must be called within a runtime.
    pub fn start(api: &Api, scope: Scope, facts: impl Fn(&Arc<Object>) -> F + Send + Sync + 'static) -> Self {
        Informer::start_indexed(api, scope, facts, |_| Vec::new())
    }

    /// As `start`; objects are also found by the texts that `index` gives them.
    pub fn start_indexed(
        api: &Api,
        scope: Scope,
        facts: impl Fn(&Arc<Object>) -> F + Send + Sync + 'static,
        index: impl Fn(&Known<F>) -> Vec<String> + Send + Sync + 'static,
    ) -> Self {
        let inner = Arc::new(Inner {
            facts: Box::new(facts),
            index: Box::new(index),
            table: RwLock::new(Table { objects: BTreeMap::new(), index: HashMap::new() }),
            handlers: Mutex::new(Vec::new()),
            synced: watch::Sender::new(false),
            task: OnceLock::new(),
        });
        let task = tokio::spawn(follow(Arc::downgrade(&inner), api.clone(), scope));
        // set once, here
        let _ = inner.task.set(task.abort_handle());
        Informer(inner)
    }

    /// Waits for the first list.
    pub async fn synced(&self) {
        // the sender is in the informer
        let _ = self.0.synced.subscribe().wait_for(|s| *s).await;
    }

    /// Calls the handler for everything there is, then for every change, in order. It must be quick (add to a queue)
    /// and must not call `on_change`.
    pub fn on_change(&self, handler: impl Fn(&Change<F>) + Send + Sync + 'static) {
        let mut handlers = self.0.handlers.lock();
        for known in self.list() {
            handler(&Change { key: known.key.clone(), old: None, new: Some(known) });
        }
        handlers.push(Box::new(handler));
    }

    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<Known<F>>> {
        let table = self.0.table.read();
        let resource = table.objects.keys().next()?.resource.clone();
        table.objects.get(&Key::new(resource, namespace, name)).cloned()
    }

    pub fn get_key(&self, key: &Key) -> Option<Arc<Known<F>>> {
        self.0.table.read().objects.get(key).cloned()
    }

    /// All, in key order.
    pub fn list(&self) -> Vec<Arc<Known<F>>> {
        self.0.table.read().objects.values().cloned().collect()
    }

    pub fn list_in(&self, namespace: &str) -> Vec<Arc<Known<F>>> {
        let table = self.0.table.read();
        let Some(first) = table.objects.keys().next() else { return Vec::new() };
        let start = Key::new(first.resource.clone(), namespace, "");
        let of_namespace = table.objects.range(start..).take_while(|(key, _)| &*key.namespace == namespace);
        of_namespace.map(|(_, known)| known.clone()).collect()
    }

    /// Those to which the index gave this text.
    pub fn by(&self, text: &str) -> Vec<Arc<Known<F>>> {
        let table = self.0.table.read();
        let keys = table.index.get(text).into_iter().flatten();
        keys.filter_map(|key| table.objects.get(key).cloned()).collect()
    }

    pub fn len(&self) -> usize {
        self.0.table.read().objects.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<F> Clone for Informer<F> {
    fn clone(&self) -> Self {
        Informer(self.0.clone())
    }
}

impl<F> Drop for Inner<F> {
    fn drop(&mut self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

impl<F> Inner<F> {
    fn put(&self, object: &Arc<Object>) {
        let known = Arc::new(Known {
            key: object.key.clone(),
            uid: object.uid.clone(),
            revision: object.revision,
            facts: (self.facts)(object),
        });
        self.apply(&object.key, Some(known));
    }

    fn apply(&self, key: &Key, new: Option<Arc<Known<F>>>) {
        // held while the table changes: a new handler sees each object once
        let handlers = self.handlers.lock();
        let old = {
            let mut table = self.table.write();
            let old = match &new {
                Some(known) => table.objects.insert(key.clone(), known.clone()),
                None => table.objects.remove(key),
            };
            table.reindex(&self.index, old.as_deref(), new.as_deref());
            old
        };
        if old.is_none() && new.is_none() {
            return;
        }
        let change = Change { key: key.clone(), old, new };
        handlers.iter().for_each(|handler| handler(&change));
    }

    /// Makes the table equal to a list.
    fn replace(&self, items: &[Arc<Object>]) {
        let listed: BTreeSet<&Key> = items.iter().map(|o| &o.key).collect();
        let known: Vec<(Key, Revision)> =
            self.table.read().objects.iter().map(|(key, known)| (key.clone(), known.revision)).collect();
        for (key, _) in known.iter().filter(|(key, _)| !listed.contains(key)) {
            self.apply(key, None);
        }
        let revisions: HashMap<&Key, Revision> = known.iter().map(|(key, revision)| (key, *revision)).collect();
        for object in items.iter().filter(|o| revisions.get(&o.key) != Some(&o.revision)) {
            self.put(object);
        }
        self.synced.send_replace(true);
    }
}

impl<F> Table<F> {
    fn reindex(&mut self, index: &Index<F>, old: Option<&Known<F>>, new: Option<&Known<F>>) {
        for (known, text) in old.into_iter().flat_map(|known| index(known).into_iter().map(move |text| (known, text))) {
            if let Some(keys) = self.index.get_mut(&text) {
                keys.remove(&known.key);
                if keys.is_empty() {
                    self.index.remove(&text);
                }
            }
        }
        for (known, text) in new.into_iter().flat_map(|known| index(known).into_iter().map(move |text| (known, text))) {
            self.index.entry(text).or_default().insert(known.key.clone());
        }
    }
}

/// Lists and watches until the informer is gone.
async fn follow<F: Send + Sync + 'static>(informer: Weak<Inner<F>>, api: Api, scope: Scope) {
    let mut backoff = Backoff::new();
    loop {
        let namespace = scope.namespace.as_deref();
        let mut revision = match api.list(&scope.resource, namespace, &scope.options).await {
            Ok(list) => {
                let Some(inner) = informer.upgrade() else { return };
                inner.replace(&list.items);
                list.revision
            }
            Err(error) => {
                tracing::debug!(resource = %scope.resource.plural, "failed to list: {}", error.message);
                backoff.wait().await;
                continue;
            }
        };
        loop {
            let before = revision;
            match watch_once(&informer, &api, &scope, &mut revision).await {
                Ok(()) if revision > before => backoff.reset(),
                Ok(()) => backoff.wait().await,
                Err(error) if error.is_expired() => break,
                Err(error) => {
                    tracing::debug!(resource = %scope.resource.plural, "watch failed: {}", error.message);
                    backoff.wait().await;
                }
            }
            if informer.strong_count() == 0 {
                return;
            }
        }
    }
}

async fn watch_once<F: Send + Sync + 'static>(
    informer: &Weak<Inner<F>>,
    api: &Api,
    scope: &Scope,
    revision: &mut Revision,
) -> Result<(), Status> {
    let mut stream = api.watch(&scope.resource, scope.namespace.as_deref(), &scope.options, *revision).await?;
    while let Some(event) = stream.next().await {
        let event = event?;
        let Some(inner) = informer.upgrade() else { return Ok(()) };
        match &event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => inner.put(object),
            WatchEvent::Deleted(object) => inner.apply(&object.key, None),
            WatchEvent::Bookmark(_) => {}
        }
        *revision = event.revision().max(*revision);
    }
    Ok(())
}

/// 100 ms, doubled up to 30 s.
struct Backoff(Duration);

impl Backoff {
    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(30);

    fn new() -> Self {
        Backoff(Backoff::FIRST)
    }

    fn reset(&mut self) {
        self.0 = Backoff::FIRST;
    }

    async fn wait(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(Backoff::LONGEST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{Fake, Reply};
    use crate::{NODES, PODS};

    fn informer(fake: &Fake) -> (Informer<String>, Arc<Mutex<Vec<String>>>) {
        let facts = |o: &Arc<Object>| crate::object::item(o)["spec"]["nodeName"].str().to_owned();
        let informer = Informer::start_indexed(&fake.api(), Scope::all(PODS), facts, |k| vec![k.facts.clone()]);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = seen.clone();
        informer.on_change(move |c| {
            let side = |k: &Option<Arc<Known<String>>>| k.as_ref().map_or("-".to_owned(), |k| k.facts.clone());
            log.lock().push(format!("{} {}>{}", c.key.name, side(&c.old), side(&c.new)));
        });
        (informer, seen)
    }

    #[tokio::test]
    async fn lists_watches_resumes_and_relists() {
        let fake = Fake::new(vec![
            Reply::List(5, vec![("a", 2, "m"), ("b", 3, "m")]),
            Reply::Watch(5, vec![Ok(("MODIFIED", "a", 6, "n"))]),
            Reply::Watch(6, vec![Ok(("ADDED", "c", 7, "n")), Err(Status::expired("too old"))]),
            Reply::List(9, vec![("a", 6, "n"), ("c", 9, "o")]),
            Reply::Watch(9, vec![Ok(("DELETED", "c", 10, "o"))]),
        ]);
        let (informer, seen) = informer(&fake);
        informer.synced().await;
        fake.finished().await;
        let want = ["a ->m", "b ->m", "a m>n", "c ->n", "b m>-", "c n>o", "c o>-"];
        assert_eq!(*seen.lock(), want);
        let names: Vec<_> = informer.by("n").iter().map(|k| k.key.name.to_string()).collect();
        assert_eq!((names, informer.len(), informer.by("m").len()), (vec!["a".to_owned()], 1, 0));
    }

    #[tokio::test]
    async fn a_late_handler_is_told_what_there_is() {
        let fake = Fake::new(vec![Reply::List(5, vec![("a", 2, "m")])]);
        let informer = Informer::start(&fake.api(), Scope::all(NODES), |_| ());
        informer.synced().await;
        let (sender, receiver) = std::sync::mpsc::channel();
        informer.on_change(move |c| sender.send(c.key.name.to_string()).unwrap());
        assert_eq!(receiver.try_recv().unwrap(), "a");
    }
}
