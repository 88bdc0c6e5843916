//! One suite over all logs: what a store promises. Below it, what a crash and a broken log do.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use document::Object;
use meta::labels::{Labels, Selector};
use meta::{Key, ResourceId, Revision, Time};
use parking_lot::Mutex;

use crate::log::{Garbage, Null, Replayed, Sqlite};
use crate::*;

struct Sealing(Transaction);

impl Sealed for Sealing {
    fn into_transaction(self) -> Transaction {
        self.0
    }
}

/// The value's text is `label=value;content`.
fn reseal(key: Key, revision: Revision, bytes: Bytes) -> Result<Object, String> {
    let text = String::from_utf8(bytes.to_vec()).map_err(|e| e.to_string())?;
    let label = text.split(';').next().unwrap_or_default();
    let labels: Labels = label.split_once('=').into_iter().collect();
    let deletion = text.contains("deleting").then_some(Time(1));
    Ok(Object { revision, labels, deletion, ..Object::bare(key, bytes) })
}

fn key(name: &str) -> Key {
    let (namespace, name) = name.split_once('/').unwrap_or(("", name));
    Key::new(ResourceId::new("", "pods"), namespace, name)
}

fn pods() -> ResourceId {
    ResourceId::new("", "pods")
}

fn put(name: &str, text: &str, precondition: Precondition) -> Write {
    let object = reseal(key(name), Revision(0), Bytes::copy_from_slice(text.as_bytes())).unwrap();
    Write { precondition, effect: Effect::Put(object) }
}

fn remove(name: &str, precondition: Precondition) -> Write {
    Write { precondition, effect: Effect::Remove(key(name)) }
}

struct Opened {
    store: Store,
    writer: Writer<Sealing>,
}

impl Opened {
    fn new(log: Box<dyn Log>, options: Options) -> Opened {
        let (store, writer) = Store::open(log, Arc::new(reseal), options).unwrap();
        Opened { store, writer }
    }

    async fn write(&self, writes: Vec<Write>) -> Result<Committed, CommitError> {
        self.writer.commit(Sealing(Transaction { writes, reads: vec![] })).await
    }

    async fn put(&self, name: &str, text: &str) -> Revision {
        self.write(vec![put(name, text, Precondition::Any)]).await.unwrap().revision
    }

    async fn remove(&self, name: &str) -> Revision {
        self.write(vec![remove(name, Precondition::Any)]).await.unwrap().revision
    }
}

/// Kinds of logs, to be opened more than once.
enum Place {
    Memory,
    File(tempfile::TempDir),
}

impl Place {
    fn all() -> [Place; 2] {
        [Place::Memory, Place::File(tempfile::tempdir().unwrap())]
    }

    fn path(&self) -> PathBuf {
        match self {
            Place::Memory => PathBuf::new(),
            Place::File(dir) => dir.path().join("store.db"),
        }
    }

    fn log(&self) -> Box<dyn Log> {
        match self {
            Place::Memory => Box::new(Null),
            Place::File(_) => Box::new(Sqlite::open(self.path()).unwrap()),
        }
    }

    fn open(&self) -> Opened {
        Opened::new(self.log(), Options::default())
    }
}

fn names(objects: impl Iterator<Item = Arc<Object>>) -> Vec<String> {
    objects.map(|o| format!("{}/{}", o.key.namespace, o.key.name)).collect()
}

fn text(object: &Object) -> &str {
    std::str::from_utf8(&object.bytes).unwrap()
}

#[tokio::test]
async fn lists_are_ordered_and_views_stay_as_they_were() {
    for place in Place::all() {
        let s = place.open();
        assert_eq!(s.store.revision(), Revision(1));
        for name in ["b/x", "a/z", "a/y", "ab/y"] {
            s.put(name, "").await;
        }
        let old = s.store.view();
        s.remove("a/y").await;
        s.put("a/z", "new").await;
        assert_eq!(names(old.list(&pods(), None)), ["a/y", "a/z", "ab/y", "b/x"]);
        assert_eq!(names(old.list(&pods(), Some("a"))), ["a/y", "a/z"]);
        assert_eq!(names(old.list_from(&pods(), None, Some(&key("a/y5")))), ["a/z", "ab/y", "b/x"]);
        assert_eq!(names(old.list_from(&pods(), Some("a"), Some(&key("a/y")))), ["a/z"]);
        assert_eq!(names(s.store.view().list(&pods(), None)), ["a/z", "ab/y", "b/x"]);
        assert_eq!(s.store.view().count(&pods()), 3);
        assert_eq!(s.store.view().get(&key("a/z")).unwrap().revision, Revision(7));
        let then = s.store.view_at(&pods(), Revision(4)).unwrap();
        assert_eq!(names(then.list(&pods(), None)), ["a/y", "a/z", "b/x"]);
        assert_eq!(text(&then.get(&key("a/z")).unwrap()), "");
        assert_eq!(s.store.view_at(&pods(), Revision(9)).unwrap_err(), Unreadable::Future { newest: Revision(7) });
    }
}

#[tokio::test]
async fn preconditions_hold_or_nothing_is_written() {
    use Precondition::{Absent, Any, At, Live};
    for place in Place::all() {
        let s = place.open();
        let at = s.write(vec![put("x", "", Absent)]).await.unwrap().revision;
        s.put("dying", ";deleting").await;
        for (name, precondition, holds) in [
            ("x", Any, true),
            ("x", Absent, false),
            ("x", At(at), true),
            ("x", At(Revision(99)), false),
            ("y", At(at), false),
            ("y", Live, false),
            ("x", Live, true),
            ("dying", Live, false),
        ] {
            let before = s.store.revision();
            let transaction = Transaction { writes: vec![put("z", "", Any)], reads: vec![(key(name), precondition)] };
            let outcome = s.writer.commit(Sealing(transaction)).await;
            assert_eq!(outcome.is_ok(), holds, "{name} {precondition:?}");
            assert_eq!(s.store.revision() > before, holds);
        }
        match s.write(vec![put("w", "", Any), put("x", "", Absent)]).await {
            Err(CommitError::Conflict { key: k, current, .. }) => {
                assert_eq!((k, current.unwrap().revision), (key("x"), at));
            }
            other => panic!("{other:?}"),
        }
        assert!(s.store.view().get(&key("w")).is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_writers_at_one_revision_one_wins() {
    for place in Place::all() {
        let s = Arc::new(place.open());
        let at = s.put("x", "").await;
        let tasks: Vec<_> = (0..64)
            .map(|_| {
                let s = s.clone();
                tokio::spawn(async move { s.write(vec![put("x", "", Precondition::At(at))]).await.is_ok() })
            })
            .collect();
        let mut won = 0;
        for task in tasks {
            won += usize::from(task.await.unwrap());
        }
        assert_eq!((won, s.store.revision()), (1, Revision(at.0 + 1)));
    }
}

#[tokio::test]
async fn a_removal_shows_the_last_object_under_its_own_revision() {
    for place in Place::all() {
        let s = place.open();
        s.put("x", "last").await;
        let committed = s.write(vec![remove("x", Precondition::Any), remove("y", Precondition::Any)]).await.unwrap();
        let gone = committed.removed[0].as_ref().unwrap();
        assert_eq!((text(gone), gone.revision), ("last", committed.revision));
        assert!(committed.removed[1].is_none());
        let nothing = s.write(vec![remove("y", Precondition::Any)]).await.unwrap();
        assert_eq!(nothing.revision, committed.revision);
    }
}

async fn events(watcher: &mut Watcher, n: usize) -> Vec<String> {
    let mut seen = Vec::new();
    for _ in 0..n {
        let e = tokio::time::timeout(Duration::from_secs(5), watcher.next()).await.unwrap().unwrap();
        assert_eq!(e.object.revision, e.revision);
        seen.push(format!("{:?} {} {} {}", e.kind, e.object.key.name, text(&e.object), e.revision));
    }
    seen
}

#[tokio::test]
async fn watchers_see_what_enters_changes_and_leaves_their_filter() {
    for place in Place::all() {
        let s = place.open();
        let labels = Selector::parse("a=1").unwrap();
        let filter = Filter { labels, namespace: Some("n".into()), ..Filter::default() };
        let mut watcher = s.store.watch(&pods(), s.store.revision(), filter).unwrap();
        s.put("n/x", "a=1;1").await;
        s.put("m/x", "a=1;1").await;
        s.put("n/x", "a=1;2").await;
        s.put("n/x", "a=2;3").await;
        s.put("n/x", "a=1;4").await;
        s.remove("n/x").await;
        let want =
            ["Added x a=1;1 2", "Modified x a=1;2 4", "Deleted x a=1;2 5", "Added x a=1;4 6", "Deleted x a=1;4 7"];
        assert_eq!(events(&mut watcher, 5).await, want);
        assert!(watcher.try_next().is_none());
        assert_eq!(watcher.revision(), Revision(7));
        let mut late = s.store.watch(&pods(), Revision(5), Filter::default()).unwrap();
        assert_eq!(
            events(&mut late, 2).await,
            ["Added x a=1;4 6", "Deleted x a=1;4 7"].map(|e| e.replace("Added", "Modified"))
        );
        let other = ResourceId::new("", "secrets");
        s.write(vec![Write { precondition: Precondition::Any, effect: Effect::Put(secret(&other)) }]).await.unwrap();
        assert_eq!(watcher.revision(), Revision(8), "a quiet resource's bookmark moves on");
    }
}

#[tokio::test]
async fn a_bookmark_is_not_before_what_was_delivered_while_a_commit_is_recorded() {
    let s = Place::Memory.open();
    let mut watcher = s.store.watch(&pods(), s.store.revision(), Filter::default()).unwrap();
    let revision = s.put("n/x", "1").await;
    assert_eq!(events(&mut watcher, 1).await.len(), 1);
    // as a commit does before it shows what it has recorded
    let new = Arc::new(reseal(key("n/y"), Revision(revision.0 + 1), Bytes::new()).unwrap());
    let change = Change { key: new.key.clone(), revision: new.revision, old: None, new: Some(new) };
    watcher.history.push(commit::entries(vec![change]));
    assert!(watcher.try_next().is_none());
    assert_eq!(watcher.revision(), revision);
}

fn secret(resource: &ResourceId) -> Object {
    reseal(Key::new(resource.clone(), "n", "s"), Revision(0), Bytes::new()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_watcher_misses_or_repeats_an_event() {
    const EACH: u64 = 300;
    for place in Place::all() {
        let s = Arc::new(place.open());
        let watchers: Vec<_> = (0..8)
            .map(|_| {
                let store = s.store.clone();
                tokio::spawn(async move {
                    let view = store.view();
                    let from = view.revision();
                    let mut count = view.count(&pods()) as u64;
                    let mut watcher = store.watch(&pods(), from, Filter::default()).unwrap();
                    let mut last = from;
                    while count < 4 * EACH {
                        let event = watcher.next().await.unwrap();
                        assert!(event.revision > last, "{} after {last}", event.revision);
                        assert!(store.revision() >= event.revision);
                        last = event.revision;
                        count += 1;
                    }
                })
            })
            .collect();
        let writers: Vec<_> = (0..4)
            .map(|w| {
                let s = s.clone();
                tokio::spawn(async move {
                    for n in 0..EACH {
                        let revision = s.put(&format!("{w}-{n}"), "").await;
                        assert!(s.store.revision() >= revision);
                        let before = s.store.view_at(&pods(), Revision(revision.0 - 1)).unwrap();
                        assert!(before.get(&key(&format!("{w}-{n}"))).is_none());
                    }
                })
            })
            .collect();
        for task in writers.into_iter().chain(watchers) {
            tokio::time::timeout(Duration::from_secs(60), task).await.unwrap().unwrap();
        }
    }
}

struct Count(Arc<AtomicUsize>);

impl Observer for Count {
    type Index = usize;
    fn resources(&self) -> Vec<ResourceId> {
        vec![pods()]
    }
    fn build(&self, view: &View) -> usize {
        view.count(&pods())
    }
    fn apply(&self, index: &usize, changes: &[Change], view: &View) -> usize {
        self.0.fetch_add(changes.len(), Ordering::Relaxed);
        let born = changes.iter().filter(|c| c.old.is_none()).count();
        let gone = changes.iter().filter(|c| c.new.is_none()).count();
        assert_eq!(view.count(&pods()), index + born - gone);
        index + born - gone
    }
}

#[tokio::test]
async fn an_index_belongs_to_its_view() {
    for place in Place::all() {
        let s = place.open();
        s.put("a", "").await;
        let calls = Arc::new(AtomicUsize::new(0));
        let slot = s.store.observe(Count(calls.clone()));
        let one = s.store.view();
        s.put("b", "").await;
        s.write(vec![Write {
            precondition: Precondition::Any,
            effect: Effect::Put(secret(&ResourceId::new("", "secrets"))),
        }])
        .await
        .unwrap();
        assert_eq!((*one.index(&slot), *s.store.view().index(&slot)), (1, 2));
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    }
}

#[tokio::test]
async fn history_is_bounded_by_bytes_and_what_fell_off_is_compacted() {
    for place in Place::all() {
        let options = Options { history_bytes: 5000, ..Options::default() };
        let s = Opened::new(place.log(), options);
        let mut slow = s.store.watch(&pods(), Revision(1), Filter::default()).unwrap();
        for n in 0..20 {
            s.put("x", &format!(";{n}")).await;
        }
        assert!(slow.next().await.is_none(), "a watcher that fell off is closed");
        let oldest = s.store.watch(&pods(), Revision(1), Filter::default()).err().unwrap().oldest;
        assert!(oldest > Revision(1) && oldest < Revision(21));
        assert!(s.store.watch(&pods(), oldest, Filter::default()).is_ok());
        assert!(s.store.view_at(&pods(), oldest).is_ok());
        assert!(matches!(s.store.view_at(&pods(), Revision(2)), Err(Unreadable::Compacted(_))));
        assert!(s.store.watch(&ResourceId::new("", "secrets"), Revision(1), Filter::default()).is_ok());
    }
}

#[tokio::test]
async fn a_closed_store_ends_watches_and_refuses_writes() {
    for place in Place::all() {
        let s = place.open();
        let mut watcher = s.store.watch(&pods(), Revision(1), Filter::default()).unwrap();
        let waiting = tokio::spawn(async move { watcher.next().await.is_none() });
        tokio::task::yield_now().await;
        s.store.close();
        assert!(waiting.await.unwrap());
        assert!(matches!(s.write(vec![put("x", "", Precondition::Any)]).await, Err(CommitError::Stopped)));
    }
}

#[tokio::test]
async fn a_reopened_file_has_its_objects_history_and_revision() {
    let place = Place::File(tempfile::tempdir().unwrap());
    let s = place.open();
    s.put("x", "a=1;1").await;
    s.put("x", "a=1;2").await;
    s.put("y", "a=1;1").await;
    let last = s.remove("y").await;
    s.store.close();
    let s = place.open();
    assert_eq!(s.store.revision(), last);
    assert_eq!(names(s.store.view().list(&pods(), None)), ["/x"]);
    let mut watcher = s.store.watch(&pods(), Revision(2), Filter::default()).unwrap();
    let want = ["Modified x a=1;2 3", "Added y a=1;1 4", "Deleted y a=1;1 5"];
    assert_eq!(events(&mut watcher, 3).await, want);
    assert_eq!(s.put("z", "").await, Revision(6));
}

#[tokio::test]
async fn superseded_rows_are_deleted_and_stay_compacted_after_a_restart() {
    let place = Place::File(tempfile::tempdir().unwrap());
    let mut log = Sqlite::open(place.path()).unwrap();
    let record = |revision, name: &str, value: Option<&str>| Record {
        revision: Revision(revision),
        key: key(name),
        value: value.map(|v| Bytes::copy_from_slice(v.as_bytes())),
    };
    log.append(&[
        record(2, "x", Some("1")),
        record(3, "x", Some("2")),
        record(4, "y", Some("1")),
        record(5, "y", None),
    ])
    .unwrap();
    log.append(&[record(6, "x", Some("3"))]).unwrap();
    let dead = [(2, "x"), (4, "y"), (5, "y")].map(|(r, n)| (Revision(r), key(n))).to_vec();
    log.compact(Garbage { dead, floors: vec![(pods(), Revision(5))], revision: Revision(6) });
    drop(log);
    let mut log = Sqlite::open(place.path()).unwrap();
    let mut left = Vec::new();
    let replayed = log.replay(&mut |r| left.push(r.revision.0)).unwrap();
    assert_eq!(left, [3, 6]);
    assert_eq!(replayed, Replayed { revision: Revision(6), floors: vec![(pods(), Revision(5))] });
    drop(log);
    let s = place.open();
    assert!(s.store.watch(&pods(), Revision(4), Filter::default()).is_err());
    let mut watcher = s.store.watch(&pods(), Revision(5), Filter::default()).unwrap();
    assert_eq!(events(&mut watcher, 1).await, ["Modified x 3 6"]);
}

/// A disk that loses everything that was not synced, and breaks down at a given append: before, amid or after it.
struct Fragile {
    disk: Arc<Mutex<Vec<Record>>>,
    appends_left: usize,
    keep: usize,
    full: Option<Arc<AtomicBool>>,
}

impl Log for Fragile {
    fn replay(&mut self, each: &mut dyn FnMut(Record)) -> Result<Replayed, LogError> {
        self.disk.lock().iter().cloned().for_each(each);
        Ok(Replayed::default())
    }

    fn append(&mut self, records: &[Record]) -> Result<(), LogError> {
        if self.full.as_ref().is_some_and(|f| f.load(Ordering::Relaxed)) {
            return Err(LogError::Full("test".into()));
        }
        let Some(left) = self.appends_left.checked_sub(1) else {
            // all or nothing: what SQLite's commit frame does
            if self.keep == 1 {
                self.disk.lock().extend_from_slice(records);
            }
            return Err(LogError::Failed("the plug was pulled".into()));
        };
        self.appends_left = left;
        self.disk.lock().extend_from_slice(records);
        Ok(())
    }

    fn compact(&mut self, _: Garbage) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_loses_nothing_that_was_acknowledged_and_shows_nothing_that_was_lost() {
    for crash in 0..24 {
        let disk = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::new(AtomicUsize::new(0));
        let hook = told.clone();
        let fatal = Arc::new(move |_: &str| {
            hook.fetch_add(1, Ordering::SeqCst);
        });
        let log = Fragile { disk: disk.clone(), appends_left: crash, keep: crash % 2, full: None };
        let s = Arc::new(Opened::new(Box::new(log), Options { fatal, ..Options::default() }));
        let tasks: Vec<_> = (0..8)
            .map(|w| {
                let s = s.clone();
                tokio::spawn(async move {
                    let mut acknowledged = Vec::new();
                    for n in 0..20 {
                        let name = format!("{w}-{n}");
                        match s.write(vec![put(&name, "", Precondition::Absent)]).await {
                            Ok(committed) => acknowledged.push((name, committed.revision)),
                            Err(error) => {
                                assert!(matches!(error, CommitError::Stopped), "{error}");
                                break;
                            }
                        }
                    }
                    acknowledged
                })
            })
            .collect();
        let mut acknowledged = Vec::new();
        for task in tasks {
            acknowledged.extend(task.await.unwrap());
        }
        let shown = names(s.store.view().list(&pods(), None));
        let again = Opened::new(Box::new(Fragile { disk, appends_left: 9, keep: 0, full: None }), Options::default());
        let view = again.store.view();
        for (name, revision) in &acknowledged {
            assert_eq!(view.get(&key(name)).map(|o| o.revision), Some(*revision), "{name} was acknowledged");
        }
        for name in shown {
            assert!(view.get(&key(&name[1..])).is_some(), "{name} was shown");
        }
        if acknowledged.len() < 160 {
            assert_eq!(told.load(Ordering::SeqCst), 1, "the fatal hook is told once");
        }
    }
}

#[tokio::test]
async fn a_full_disk_refuses_the_batch_and_leaves_memory_unchanged() {
    let full = Arc::new(AtomicBool::new(false));
    let log = Fragile { disk: Arc::default(), appends_left: usize::MAX, keep: 0, full: Some(full.clone()) };
    let s = Opened::new(Box::new(log), Options::default());
    let at = s.put("x", "").await;
    full.store(true, Ordering::Relaxed);
    assert!(matches!(s.write(vec![put("x", "new", Precondition::At(at))]).await, Err(CommitError::Full(_))));
    assert_eq!(s.store.view().get(&key("x")).unwrap().revision, at);
    full.store(false, Ordering::Relaxed);
    assert_eq!(s.put("x", "new").await, Revision(at.0 + 1));
}

/// `cargo test -p lanyard-store --release -- --ignored --nocapture` prints the figures.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn measure_writes_and_start() {
    let place = Place::File(tempfile::tempdir().unwrap());
    let s = Arc::new(place.open());
    let value = format!("a=1;{}", "x".repeat(3600));
    for clients in [1_usize, 64] {
        let begin = Instant::now();
        let total = 10_000 * clients.min(2) / 2;
        let tasks: Vec<_> = (0..clients)
            .map(|c| {
                let (s, value) = (s.clone(), value.clone());
                tokio::spawn(async move {
                    for n in 0..total / clients {
                        s.put(&format!("{clients}-{c}-{n}"), &value).await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        println!("{clients} clients: {:.0} writes/s", total as f64 / begin.elapsed().as_secs_f64());
    }
    s.store.close();
    let begin = Instant::now();
    let again = place.open();
    println!("start with {}: {:?}", again.store.view().count(&pods()), begin.elapsed());
}
