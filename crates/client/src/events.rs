//! `Recorder`: core/v1 Events with upstream's correlation: an event that repeats counts up, many alike are combined,
//! and a source that floods one object is held back. Recording never waits and never fails the caller.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use document::{Value, doc};
use meta::{Status, Time};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::{Api, EVENTS, PatchKind, Resource};

/// What an event is about: an `ObjectReference`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Reference {
    pub kind: String,
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub api_version: String,
    pub resource_version: String,
    pub field_path: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Normal,
    Warning,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    queue: mpsc::Sender<Happened>,
}

struct Happened {
    about: Reference,
    kind: Kind,
    reason: String,
    message: String,
    at: Time,
}

impl Reference {
    /// To an object that has kind and apiVersion or is of this resource.
    pub fn to(resource: &Resource, object: &Value) -> Self {
        let metadata = &object["metadata"];
        let text = |name: &str| metadata[name].str().to_owned();
        Reference {
            kind: resource.kind.to_string(),
            namespace: text("namespace"),
            name: text("name"),
            uid: text("uid"),
            api_version: resource.api_version(),
            resource_version: text("resourceVersion"),
            field_path: String::new(),
        }
    }

    /// To a part: `spec.containers{main}`.
    pub fn at(mut self, field_path: impl Into<String>) -> Self {
        self.field_path = field_path.into();
        self
    }

    fn to_value(&self) -> Value {
        let members = [
            ("kind", &self.kind),
            ("namespace", &self.namespace),
            ("name", &self.name),
            ("uid", &self.uid),
            ("apiVersion", &self.api_version),
            ("resourceVersion", &self.resource_version),
            ("fieldPath", &self.field_path),
        ];
        Value::of(members.into_iter().filter(|(_, text)| !text.is_empty()))
    }
}

impl Recorder {
    /// `component` and `host` are the event's source; `host` may be empty. Must be called within a runtime.
    pub fn new(api: Api, component: impl Into<String>, host: impl Into<String>) -> Self {
        let (queue, happened) = mpsc::channel(1000);
        let source = Source { component: component.into(), host: host.into() };
        tokio::spawn(record(api, source, happened));
        Recorder { queue }
    }

    pub fn normal(&self, about: &Reference, reason: &str, message: impl Into<String>) {
        self.event(about, Kind::Normal, reason, message);
    }

    pub fn warning(&self, about: &Reference, reason: &str, message: impl Into<String>) {
        self.event(about, Kind::Warning, reason, message);
    }

    /// Dropped when a thousand wait already.
    pub fn event(&self, about: &Reference, kind: Kind, reason: &str, message: impl Into<String>) {
        let (reason, mut message) = (reason.to_owned(), message.into());
        const LONGEST: usize = 1024;
        if message.len() > LONGEST {
            let end = (0..=LONGEST).rev().find(|n| message.is_char_boundary(*n)).unwrap_or_default();
            message.truncate(end);
        }
        let happened = Happened { about: about.clone(), kind, reason, message, at: Time::now() };
        if self.queue.try_send(happened).is_err() {
            tracing::debug!("too many events wait: one was dropped");
        }
    }
}

struct Source {
    component: String,
    host: String,
}

async fn record(api: Api, source: Source, mut happened: mpsc::Receiver<Happened>) {
    let mut correlator = Correlator::default();
    while let Some(event) = happened.recv().await {
        let Some(step) = correlator.correlate(event, Instant::now()) else { continue };
        let namespace = step.namespace().to_owned();
        if let Err(error) = perform(&api, &source, &step).await {
            tracing::debug!(namespace, "failed to record an event: {}", error.message);
            correlator.forget(&step);
        }
    }
}

async fn perform(api: &Api, source: &Source, step: &Step) -> Result<(), Status> {
    if step.count > 1 {
        let patch = doc!({
            "count": (step.count),
            "lastTimestamp": (step.event.at.to_string()),
            "message": (&step.event.message)
        });
        match api.patch(&EVENTS, step.namespace(), &step.name, "", PatchKind::Strategic, patch).await {
            Err(error) if error.is_not_found() => {}
            outcome => return outcome.map(|_| ()),
        }
    }
    api.create(&EVENTS, step.namespace(), event_object(source, step)).await.map(|_| ())
}

fn event_object(source: &Source, step: &Step) -> Value {
    let event = &step.event;
    let mut from = doc!({"component": (&source.component)});
    if !source.host.is_empty() {
        from.set("host", &source.host);
    }
    doc!({
        "kind": "Event",
        "apiVersion": "v1",
        "metadata": {"name": (&step.name), "namespace": (step.namespace())},
        "involvedObject": (event.about.to_value()),
        "reason": (&event.reason),
        "message": (&event.message),
        "source": (from),
        "firstTimestamp": (step.first.to_string()),
        "lastTimestamp": (event.at.to_string()),
        "count": (step.count),
        "type": (event.kind.as_str()),
        "eventTime": null,
        "reportingComponent": (&source.component),
        "reportingInstance": (&source.host)
    })
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Kind::Normal => "Normal",
            Kind::Warning => "Warning",
        }
    }
}

/// One event as it is to be written: new, or one more of a kind.
struct Step {
    event: Happened,
    name: String,
    first: Time,
    count: i64,
}

impl Step {
    /// Cluster-scoped objects have their events in `default`.
    fn namespace(&self) -> &str {
        match &*self.event.about.namespace {
            "" => "default",
            namespace => namespace,
        }
    }
}

/// Upstream's EventCorrelator: spam filter, aggregator, counter.
#[derive(Default)]
struct Correlator {
    buckets: HashMap<Arc<str>, Bucket>,
    alike: HashMap<Alike, Seen>,
    counts: HashMap<Exactly, Counted>,
}

/// Tokens that one object may still spend.
struct Bucket {
    tokens: f64,
    at: Instant,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Alike(Reference, Kind, String);

struct Seen {
    messages: Vec<String>,
    at: Instant,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Exactly(Alike, String);

struct Counted {
    name: String,
    first: Time,
    count: i64,
    at: Instant,
}

const BURST: f64 = 25.0;
const PER_SECOND: f64 = 1.0 / 300.0;
const ALIKE_AT_MOST: usize = 10;
const ALIKE_WITHIN: Duration = Duration::from_secs(600);
const REMEMBER: Duration = Duration::from_secs(3600);
const KEPT: usize = 4096;

impl Correlator {
    /// `None`: held back.
    fn correlate(&mut self, mut event: Happened, now: Instant) -> Option<Step> {
        self.tidy(now);
        if !self.spend(&event.about.uid, now) {
            return None;
        }
        let about = Reference { resource_version: String::new(), ..event.about.clone() };
        let alike = Alike(about, event.kind, event.reason.clone());
        let combined = self.is_one_too_many(&alike, &event.message, now);
        if combined {
            event.message = format!("(combined from similar events): {}", event.message);
        }
        let message = if combined { String::new() } else { event.message.clone() };
        let name = format!("{}.{:x}", event.about.name, nanoseconds());
        let first = event.at;
        let counted = self.counts.entry(Exactly(alike, message)).or_insert(Counted { name, first, count: 0, at: now });
        counted.count += 1;
        counted.at = now;
        Some(Step { name: counted.name.clone(), first: counted.first, count: counted.count, event })
    }

    /// A new event is made next time.
    fn forget(&mut self, step: &Step) {
        self.counts.retain(|_, counted| counted.name != step.name);
    }

    fn spend(&mut self, uid: &str, now: Instant) -> bool {
        let bucket = self.buckets.entry(uid.into()).or_insert(Bucket { tokens: BURST, at: now });
        let earned = now.duration_since(bucket.at).as_secs_f64() * PER_SECOND;
        bucket.tokens = (bucket.tokens + earned).min(BURST);
        bucket.at = now;
        let enough = bucket.tokens >= 1.0;
        if enough {
            bucket.tokens -= 1.0;
        }
        enough
    }

    fn is_one_too_many(&mut self, alike: &Alike, message: &str, now: Instant) -> bool {
        let seen = self.alike.entry(alike.clone()).or_insert(Seen { messages: Vec::new(), at: now });
        if now.duration_since(seen.at) > ALIKE_WITHIN {
            seen.messages.clear();
        }
        seen.at = now;
        if !seen.messages.iter().any(|m| m == message) {
            if seen.messages.len() + 1 >= ALIKE_AT_MOST {
                return true;
            }
            seen.messages.push(message.to_owned());
        }
        false
    }

    /// Everything that is kept has an end.
    fn tidy(&mut self, now: Instant) {
        if self.counts.len() + self.alike.len() + self.buckets.len() < KEPT {
            return;
        }
        let fresh = |at: Instant| now.duration_since(at) < REMEMBER;
        self.counts.retain(|_, c| fresh(c.at));
        self.alike.retain(|_, s| fresh(s.at));
        self.buckets.retain(|_, b| fresh(b.at));
        if self.counts.len() + self.alike.len() + self.buckets.len() >= KEPT {
            *self = Correlator::default();
        }
    }
}

fn nanoseconds() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn happened(uid: &str, message: &str) -> Happened {
        let about = Reference { name: "x".into(), uid: uid.into(), ..Reference::default() };
        Happened { about, kind: Kind::Normal, reason: "Pulled".into(), message: message.into(), at: Time(1) }
    }

    #[test]
    fn an_event_that_repeats_counts_up() {
        let (mut correlator, now) = (Correlator::default(), Instant::now());
        let one = correlator.correlate(happened("u", "m"), now).unwrap();
        let two = correlator.correlate(happened("u", "m"), now).unwrap();
        let other = correlator.correlate(happened("u", "n"), now).unwrap();
        assert_eq!((one.count, two.count, other.count), (1, 2, 1));
        assert_eq!(one.name, two.name);
        assert_ne!(one.name, other.name);
    }

    #[test]
    fn many_alike_are_combined() {
        let (mut correlator, now) = (Correlator::default(), Instant::now());
        let steps: Vec<_> =
            (0..12).map(|n| correlator.correlate(happened("u", &n.to_string()), now).unwrap()).collect();
        assert_eq!(steps[8].event.message, "8");
        assert_eq!(steps[9].event.message, "(combined from similar events): 9");
        assert_eq!((steps[9].count, steps[11].count), (1, 3));
    }

    #[test]
    fn a_flood_is_held_back_per_object() {
        let (mut correlator, now) = (Correlator::default(), Instant::now());
        let passed = (0..100).filter(|_| correlator.correlate(happened("u", "m"), now).is_some()).count();
        assert_eq!(passed, 25);
        assert!(correlator.correlate(happened("v", "m"), now).is_some());
        assert!(correlator.correlate(happened("u", "m"), now + Duration::from_secs(301)).is_some());
    }
}
