//! A transport that answers from a script; for tests of this crate.

use std::collections::VecDeque;
use std::sync::Arc;

use document::{Value, doc};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use meta::{Revision, Status};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{Answer, Api, Call, ListOptions, ListResult, Resource, Transport, WatchEvent, WatchStream, object};

/// (name, revision, node)
type Item = (&'static str, u64, &'static str);

/// (type, name, revision, node)
type Sent = (&'static str, &'static str, u64, &'static str);

pub(crate) enum Reply {
    List(u64, Vec<Item>),
    /// The revision that must be asked for, and events.
    Watch(u64, Vec<Result<Sent, Status>>),
}

#[derive(Clone)]
pub(crate) struct Fake {
    script: Arc<Mutex<VecDeque<Reply>>>,
    pub(crate) calls: Arc<Mutex<Vec<Call>>>,
    finished: Arc<Notify>,
}

impl Fake {
    pub(crate) fn new(script: Vec<Reply>) -> Self {
        Fake { script: Arc::new(Mutex::new(script.into())), calls: Arc::default(), finished: Arc::default() }
    }

    pub(crate) fn api(&self) -> Api {
        Api::new(self.clone())
    }

    /// Everything in the script has been asked for.
    pub(crate) async fn finished(&self) {
        self.finished.notified().await;
    }

    fn object(resource: &Resource, (name, revision, node): Item) -> Arc<document::Object> {
        let value = doc!({
            "metadata": {"name": name, "uid": name, "resourceVersion": (revision.to_string())},
            "spec": {"nodeName": node}
        });
        object::from_value(&resource.id(), &value).unwrap()
    }
}

impl Transport for Fake {
    fn call(&self, call: Call) -> Answer {
        self.calls.lock().push(call.clone());
        async move { Ok(call.body.unwrap_or(Value::Null)) }.boxed()
    }

    fn list(
        &self,
        resource: &Resource,
        _: Option<&str>,
        _: &ListOptions,
    ) -> BoxFuture<'static, Result<ListResult, Status>> {
        let Some(Reply::List(revision, items)) = self.script.lock().pop_front() else { panic!("no list is due") };
        let items = items.into_iter().map(|item| Fake::object(resource, item)).collect();
        async move { Ok(ListResult { revision: Revision(revision), items }) }.boxed()
    }

    fn watch(
        &self,
        resource: &Resource,
        _: Option<&str>,
        _: &ListOptions,
        from: Revision,
    ) -> BoxFuture<'static, Result<WatchStream, Status>> {
        let Some(reply) = self.script.lock().pop_front() else {
            self.finished.notify_one();
            return async { Ok(stream::pending().boxed()) }.boxed();
        };
        let Reply::Watch(revision, events) = reply else { panic!("no watch is due") };
        assert_eq!(Revision(revision), from);
        let resource = resource.clone();
        let event = move |(kind, name, revision, node)| {
            let object = Fake::object(&resource, (name, revision, node));
            match kind {
                "ADDED" => WatchEvent::Added(object),
                "MODIFIED" => WatchEvent::Modified(object),
                _ => WatchEvent::Deleted(object),
            }
        };
        let events: Vec<_> = events.into_iter().map(|e| e.map(&event)).collect();
        async move { Ok(stream::iter(events).boxed()) }.boxed()
    }
}
