//! An API server in memory: just enough for the agent.

use std::{collections::BTreeMap, sync::Arc};

use client::{Answer, Call, ListOptions, ListResult, PODS, Resource, Transport, Verb, WatchEvent, WatchStream};
use document::{Object, Value, doc, json};
use futures::{FutureExt, StreamExt, future::BoxFuture, stream};
use meta::{GroupResource, Key, Revision, Status, Time};
use parking_lot::Mutex;
use tokio::sync::broadcast;

/// Objects by `resource/namespace/name`.
#[derive(Clone)]
pub(crate) struct FakeApi(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    events: broadcast::Sender<(String, WatchEvent)>,
}

#[derive(Default)]
struct State {
    revision: u64,
    objects: BTreeMap<String, (Resource, Value)>,
}

impl FakeApi {
    pub(crate) fn new() -> Self {
        FakeApi(Arc::new(Inner { state: Mutex::default(), events: broadcast::channel(1000).0 }))
    }

    /// Puts an object from JSON.
    pub(crate) fn put(&self, resource: &Resource, text: &str) {
        let value = json::parse(text.as_bytes()).unwrap();
        self.store(resource, value, "");
    }

    pub(crate) fn get(&self, resource: &Resource, namespace: &str, name: &str) -> Option<Value> {
        self.0.state.lock().objects.get(&id(resource, namespace, name)).map(|(_, v)| v.clone())
    }

    /// Messages of all events, `reason: message`.
    pub(crate) fn events(&self) -> Vec<String> {
        let state = self.0.state.lock();
        let events = state.objects.values().filter(|(r, _)| r.plural == "events");
        events.map(|(_, e)| format!("{}: {}", e["reason"].str(), e["message"].str())).collect()
    }

    /// What DELETE by a user does: the pod gets a deletionTimestamp.
    pub(crate) fn delete_pod(&self, namespace: &str, name: &str, grace: i64) {
        let mut pod = self.get(&PODS, namespace, name).unwrap();
        *pod.at_mut(["metadata", "deletionTimestamp"]) = Time::now().to_string().into();
        *pod.at_mut(["metadata", "deletionGracePeriodSeconds"]) = grace.into();
        self.store(&PODS, pod, "");
    }

    /// Removes an object.
    pub(crate) fn forget(&self, resource: &Resource, namespace: &str, name: &str) {
        self.remove(resource, namespace, name).unwrap();
    }

    fn store(&self, resource: &Resource, mut value: Value, subresource: &str) -> Value {
        let mut state = self.0.state.lock();
        state.revision += 1;
        let revision = state.revision;
        let (namespace, name) =
            (value["metadata"]["namespace"].str().to_owned(), value["metadata"]["name"].str().to_owned());
        let id = id(resource, &namespace, &name);
        let old = state.objects.get(&id).map(|(_, v)| v.clone());
        if subresource == "status" {
            let mut merged = old.clone().unwrap();
            merged.set("status", value["status"].clone());
            value = merged;
        }
        if value["metadata"]["uid"].is_null() {
            *value.at_mut(["metadata", "uid"]) = format!("uid-{name}").into();
        }
        *value.at_mut(["metadata", "resourceVersion"]) = revision.to_string().into();
        state.objects.insert(id, (resource.clone(), value.clone()));
        let object = object(resource, &value);
        let event = if old.is_some() { WatchEvent::Modified(object) } else { WatchEvent::Added(object) };
        let _ = self.0.events.send((resource.plural.to_string(), event));
        value
    }

    fn remove(&self, resource: &Resource, namespace: &str, name: &str) -> Result<Value, Status> {
        let mut state = self.0.state.lock();
        let gone = state.objects.remove(&id(resource, namespace, name));
        let (_, mut value) = gone.ok_or_else(|| Status::not_found(&resource.group_resource(), name))?;
        state.revision += 1;
        *value.at_mut(["metadata", "resourceVersion"]) = state.revision.to_string().into();
        let _ = self.0.events.send((resource.plural.to_string(), WatchEvent::Deleted(object(resource, &value))));
        Ok(value)
    }

    fn answer(&self, call: Call) -> Result<Value, Status> {
        let not_found = || Status::not_found(&GroupResource::new("", &*call.resource.plural), &call.name);
        match (call.verb, call.subresource) {
            (Verb::Get, _) => self.get(&call.resource, &call.namespace, &call.name).ok_or_else(not_found),
            (Verb::Create, "token") => {
                let expires = Time(Time::now().0 + 3607).to_string();
                Ok(doc!({"status": {"token": (format!("token-of-{}", call.name)), "expirationTimestamp": expires}}))
            }
            (Verb::Create, _) if call.resource.plural == "subjectaccessreviews" => {
                let allowed = call.body.unwrap().at(["spec", "user"]).str() == "admin";
                Ok(doc!({"status": {"allowed": allowed}}))
            }
            (Verb::Create, _) if call.resource.plural == "tokenreviews" => {
                let user = match call.body.unwrap().at(["spec", "token"]).str() {
                    "good" => "admin",
                    "other" => "somebody",
                    _ => return Ok(doc!({"status": {"user": {}, "error": "invalid bearer token"}})),
                };
                Ok(doc!({"status": {"authenticated": true, "user": {"username": user, "groups": ["g"]}}}))
            }
            (Verb::Create, _) => {
                let mut value = call.body.unwrap();
                *value.at_mut(["metadata", "namespace"]) = call.namespace.as_str().into();
                Ok(self.store(&call.resource, value, ""))
            }
            (Verb::Update, subresource) => {
                let body = call.body.clone().unwrap();
                let old = self.get(&call.resource, &call.namespace, &call.name).ok_or_else(not_found)?;
                if old["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"] {
                    return Err(Status::stale(&call.resource.group_resource(), &call.name));
                }
                Ok(self.store(&call.resource, body, subresource))
            }
            (Verb::Delete, _) => self.remove(&call.resource, &call.namespace, &call.name),
            _ => Ok(Value::Null),
        }
    }
}

impl Transport for FakeApi {
    fn call(&self, call: Call) -> Answer {
        let answer = self.answer(call);
        async move { answer }.boxed()
    }

    fn list(
        &self,
        resource: &Resource,
        _: Option<&str>,
        _: &ListOptions,
    ) -> BoxFuture<'static, Result<ListResult, Status>> {
        let state = self.0.state.lock();
        let all = state.objects.values().filter(|(r, _)| r == resource);
        let list = ListResult { revision: Revision(state.revision), items: all.map(|(r, v)| object(r, v)).collect() };
        async move { Ok(list) }.boxed()
    }

    fn watch(
        &self,
        resource: &Resource,
        _: Option<&str>,
        _: &ListOptions,
        from: Revision,
    ) -> BoxFuture<'static, Result<WatchStream, Status>> {
        let plural = resource.plural.to_string();
        let receiver = self.0.events.subscribe();
        // what happened between list and watch
        let state = self.0.state.lock();
        let missed: Vec<_> = state
            .objects
            .values()
            .filter(|(r, v)| r == resource && Revision::parse(v["metadata"]["resourceVersion"].str()) > Some(from))
            .map(|(r, v)| Ok(WatchEvent::Modified(object(r, v))))
            .collect();
        let events = stream::unfold((receiver, plural), |(mut receiver, plural)| async move {
            loop {
                let (resource, event) = receiver.recv().await.ok()?;
                if resource == plural {
                    return Some((Ok(event), (receiver, plural)));
                }
            }
        });
        async move { Ok(stream::iter(missed).chain(events).boxed()) }.boxed()
    }
}

fn id(resource: &Resource, namespace: &str, name: &str) -> String {
    format!("{}/{namespace}/{name}", resource.plural)
}

fn object(resource: &Resource, value: &Value) -> Arc<Object> {
    let mut value = value.clone();
    value.remove("kind");
    value.remove("apiVersion");
    let mut metadata = value.remove("metadata").unwrap();
    let revision = Revision::parse(metadata.remove("resourceVersion").unwrap().str()).unwrap();
    let key = Key::new(resource.id(), metadata["namespace"].str(), metadata["name"].str());
    let mut bytes = b"\"metadata\":".to_vec();
    let start = bytes.len() as u32;
    json::write(&metadata, &mut bytes);
    let end = bytes.len() as u32;
    for (name, member) in value.members() {
        bytes.push(b',');
        json::push_string(name, &mut bytes);
        bytes.push(b':');
        json::write(member, &mut bytes);
    }
    bytes.push(b'}');
    Arc::new(Object {
        key,
        revision,
        uid: metadata["uid"].str().into(),
        labels: metadata["labels"].members().map(|(k, v)| (k, v.str())).collect(),
        fields: Box::default(),
        owners: Box::default(),
        deletion: Time::parse(metadata["deletionTimestamp"].str()),
        has_finalizers: false,
        bytes: bytes.into(),
        splice: start + 1,
        metadata: (start, end),
        message: Default::default(),
    })
}
