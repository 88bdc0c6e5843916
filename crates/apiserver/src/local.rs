//! `client::Transport` without a socket: the loops of this process, each under its own name. They pass the same gate as
//! everyone; only the credential is replaced by [`Insiders`]. Watches and lists hand out the store's own objects.

use std::sync::Arc;

use client::api::{Answer as Answered, Call, ListOptions, ListResult, Transport, Verb, WatchEvent, WatchStream};
use client::{PatchKind, Resource};
use document::Value;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use gate::{Gate, Insiders, Passage};
use meta::{Attributes, Revision, Status, UserInfo};
use registry::write::WriteRequest;
use registry::{Answer, Body, Outcome, Query, Registry};
use store::EventKind;

/// The API under one identity, in process.
#[derive(Clone)]
pub struct Local {
    gate: Arc<Gate>,
    registry: Arc<Registry>,
    insiders: Arc<Insiders>,
    user: Arc<UserInfo>,
}

impl Local {
    pub fn new(gate: Arc<Gate>, registry: Arc<Registry>, insiders: Arc<Insiders>, user: UserInfo) -> Self {
        Local { gate, registry, insiders, user: Arc::new(user) }
    }

    fn enter(&self, attributes: Attributes) -> Result<Passage, Status> {
        self.gate.enter(self.insiders.caller(self.user.clone()), attributes)
    }

    async fn perform(self, call: Call) -> Result<Value, Status> {
        let verb = match call.verb {
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Create => "create",
            Verb::Update => "update",
            Verb::Patch(_) => "patch",
            Verb::Delete => "delete",
            Verb::DeleteCollection => "deletecollection",
        };
        let passage = self.enter(attributes(verb, &call.resource, &call.namespace, &call.name, call.subresource))?;
        let query = Query { parameters: call.query };
        let patch = match call.verb {
            Verb::Patch(PatchKind::Json) => Some(registry::PatchKind::Json),
            Verb::Patch(PatchKind::Merge) => Some(registry::PatchKind::Merge),
            Verb::Patch(PatchKind::Strategic) => Some(registry::PatchKind::Strategic),
            Verb::Patch(PatchKind::Apply) => Some(registry::PatchKind::Apply),
            _ => None,
        };
        let request = WriteRequest {
            body: call.body.map(Body::Value),
            patch,
            query,
            user_agent: component(&self.user.name).to_owned(),
            warnings: registry::write::Warnings::default(),
        };
        let registry = &self.registry;
        let outcome = match call.verb {
            Verb::Get => registry.get(&passage, &request.query).await?,
            Verb::Create => registry.create(&passage, request).await?,
            Verb::Update => registry.update(&passage, request).await?,
            Verb::Patch(_) => registry.patch(&passage, request).await?,
            Verb::Delete => registry.delete(&passage, request).await?,
            Verb::DeleteCollection => {
                registry.delete_collection(&passage, request).await?;
                return Ok(Value::Null);
            }
            Verb::List => {
                let list = registry.list(&passage, &request.query).await?;
                return Ok(Value::List(list.items.iter().map(|o| api::read(list.resource, o)).collect()));
            }
        };
        Ok(tree(outcome))
    }
}

/// The upstream program whose loops run under this name.
fn component(user: &str) -> &str {
    match user {
        _ if user.starts_with("system:serviceaccount:kube-system:") => "kube-controller-manager",
        _ if user.starts_with("system:node:") => "kubelet",
        "system:apiserver" => "kube-apiserver",
        _ => user.strip_prefix("system:").unwrap_or(user),
    }
}

impl Transport for Local {
    fn call(&self, call: Call) -> Answered {
        Box::pin(self.clone().perform(call))
    }

    fn list(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        options: &ListOptions,
    ) -> BoxFuture<'static, Result<ListResult, Status>> {
        let (this, query) = (self.clone(), selectors(options));
        let attributes = attributes("list", resource, namespace.unwrap_or_default(), "", "");
        Box::pin(async move {
            let passage = this.enter(attributes)?;
            let list = this.registry.list(&passage, &query).await?;
            Ok(ListResult { revision: list.revision, items: list.items })
        })
    }

    fn watch(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        options: &ListOptions,
        from: Revision,
    ) -> BoxFuture<'static, Result<WatchStream, Status>> {
        let (this, mut query) = (self.clone(), selectors(options));
        query.parameters.push(("resourceVersion".into(), from.to_string()));
        let attributes = attributes("watch", resource, namespace.unwrap_or_default(), "", "");
        Box::pin(async move {
            let passage = this.enter(attributes)?;
            let watch = this.registry.watch(&passage, &query).await?;
            let events = futures::stream::unfold(watch.watcher, |mut watcher| async move {
                let event = watcher.next().await?;
                let event = match event.kind {
                    EventKind::Added => WatchEvent::Added(event.object),
                    EventKind::Modified => WatchEvent::Modified(event.object),
                    EventKind::Deleted => WatchEvent::Deleted(event.object),
                };
                Some((Ok(event), watcher))
            });
            Ok(events.boxed())
        })
    }
}

fn attributes(verb: &str, resource: &Resource, namespace: &str, name: &str, subresource: &str) -> Attributes {
    let (group, version, plural) = (&resource.group, &resource.version, &resource.plural);
    let mut attributes =
        Attributes::resource(verb, group, version, plural, namespace, name).with_subresource(subresource);
    if plural == "namespaces" && group.is_empty() {
        attributes.namespace = name.to_owned();
    }
    attributes.path = resource.path(namespace, name, subresource);
    attributes
}

fn selectors(options: &ListOptions) -> Query {
    let parameters = [("labelSelector", &options.labels), ("fieldSelector", &options.fields)];
    Query {
        parameters: parameters
            .into_iter()
            .filter(|(_, v)| !v.is_empty())
            .map(|(n, v)| (n.to_owned(), v.clone()))
            .collect(),
    }
}

fn tree(outcome: Outcome) -> Value {
    match outcome.answer {
        Answer::Object(object, row) => api::read(row, &object),
        Answer::Value(value, _) => value,
        Answer::Status(_) => Value::Null,
    }
}
