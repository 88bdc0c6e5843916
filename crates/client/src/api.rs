//! `Api`: what a client may ask, over whatever `Transport` carries it.

use std::sync::Arc;

use document::{Object, Value, doc};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use meta::{Revision, Status};

use crate::Resource;

/// What is done to a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Get,
    List,
    Create,
    Update,
    Patch(PatchKind),
    Delete,
    DeleteCollection,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchKind {
    Json,
    Merge,
    Strategic,
    Apply,
}

/// One request that has one answer.
#[derive(Clone)]
pub struct Call {
    pub verb: Verb,
    pub resource: Resource,
    /// Empty for the object itself.
    pub subresource: &'static str,
    /// Empty for cluster-scoped resources.
    pub namespace: String,
    /// Empty for collections and creation.
    pub name: String,
    pub query: Vec<(String, String)>,
    pub body: Option<Value>,
}

/// Selectors in their query form; empty: everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListOptions {
    pub labels: String,
    pub fields: String,
}

/// A list and the revision at which it was true.
#[derive(Clone, Debug)]
pub struct ListResult {
    pub revision: Revision,
    pub items: Vec<Arc<Object>>,
}

/// One event of a watch. Errors arrive as `Err(Status)`; after 410 the client lists again.
#[derive(Clone, Debug)]
pub enum WatchEvent {
    Added(Arc<Object>),
    Modified(Arc<Object>),
    Deleted(Arc<Object>),
    /// Everything up to here has been sent.
    Bookmark(Revision),
}

pub type Answer = BoxFuture<'static, Result<Value, Status>>;
pub type WatchStream = BoxStream<'static, Result<WatchEvent, Status>>;

/// How requests reach the server, under one identity.
pub trait Transport: Send + Sync + 'static {
    fn call(&self, call: Call) -> Answer;

    fn list(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        options: &ListOptions,
    ) -> BoxFuture<'static, Result<ListResult, Status>>;

    /// Events after a revision. The stream ends when the server closes the watch: go on from the last revision seen.
    fn watch(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        options: &ListOptions,
        from: Revision,
    ) -> BoxFuture<'static, Result<WatchStream, Status>>;
}

/// The API as one identity sees it. Cheap to clone.
#[derive(Clone)]
pub struct Api(Arc<dyn Transport>);

impl Api {
    pub fn new(transport: impl Transport) -> Self {
        Api(Arc::new(transport))
    }

    pub async fn get(&self, resource: &Resource, namespace: &str, name: &str) -> Result<Value, Status> {
        self.call(Call::new(Verb::Get, resource, namespace, name)).await
    }

    pub async fn create(&self, resource: &Resource, namespace: &str, object: Value) -> Result<Value, Status> {
        self.call(Call::new(Verb::Create, resource, namespace, "").with_body(object)).await
    }

    /// Name and namespace are those of the object.
    pub async fn update(&self, resource: &Resource, object: Value) -> Result<Value, Status> {
        self.update_subresource(resource, "", object).await
    }

    pub async fn update_status(&self, resource: &Resource, object: Value) -> Result<Value, Status> {
        self.update_subresource(resource, "status", object).await
    }

    pub async fn update_subresource(
        &self,
        resource: &Resource,
        subresource: &'static str,
        object: Value,
    ) -> Result<Value, Status> {
        let metadata = &object["metadata"];
        let (namespace, name) = (metadata["namespace"].str().to_owned(), metadata["name"].str().to_owned());
        let call = Call::new(Verb::Update, resource, &namespace, &name);
        self.call(Call { subresource, ..call }.with_body(object)).await
    }

    pub async fn patch(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
        subresource: &'static str,
        kind: PatchKind,
        patch: Value,
    ) -> Result<Value, Status> {
        let call = Call::new(Verb::Patch(kind), resource, namespace, name);
        self.call(Call { subresource, ..call }.with_body(patch)).await
    }

    /// `options` is a `DeleteOptions` without kind; null: none.
    pub async fn delete(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
        options: Value,
    ) -> Result<Value, Status> {
        let call = Call::new(Verb::Delete, resource, namespace, name);
        self.call(Call { body: delete_options(options), ..call }).await
    }

    pub async fn delete_collection(
        &self,
        resource: &Resource,
        namespace: &str,
        options: Value,
    ) -> Result<Value, Status> {
        let call = Call::new(Verb::DeleteCollection, resource, namespace, "");
        self.call(Call { body: delete_options(options), ..call }).await
    }

    /// `pods/binding`, `pods/eviction`, `serviceaccounts/token`.
    pub async fn create_subresource(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
        subresource: &'static str,
        body: Value,
    ) -> Result<Value, Status> {
        let call = Call::new(Verb::Create, resource, namespace, name);
        self.call(Call { subresource, ..call }.with_body(body)).await
    }

    pub async fn call(&self, call: Call) -> Result<Value, Status> {
        self.0.call(call).await
    }

    pub async fn list(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        options: &ListOptions,
    ) -> Result<ListResult, Status> {
        self.0.list(resource, namespace, options).await
    }

    pub async fn watch(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        options: &ListOptions,
        from: Revision,
    ) -> Result<WatchStream, Status> {
        self.0.watch(resource, namespace, options, from).await
    }
}

impl Call {
    pub fn new(verb: Verb, resource: &Resource, namespace: &str, name: &str) -> Self {
        Call {
            verb,
            resource: resource.clone(),
            subresource: "",
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            query: Vec::new(),
            body: None,
        }
    }

    /// Adds kind and apiVersion when the body has none: a list's items come without.
    pub fn with_body(mut self, mut body: Value) -> Self {
        let patch = matches!(self.verb, Verb::Patch(_)) && self.verb != Verb::Patch(PatchKind::Apply);
        if !patch && self.takes_the_kind_of_the_resource() && body["kind"].is_null() {
            let mut full = doc!({"kind": (&*self.resource.kind), "apiVersion": (self.resource.api_version())});
            full.make_map().as_members_mut().extend(std::mem::take(body.make_map()).into_members());
            body = full;
        }
        self.body = Some(body);
        self
    }

    fn takes_the_kind_of_the_resource(&self) -> bool {
        matches!(self.subresource, "" | "status" | "finalize" | "approval" | "resize" | "ephemeralcontainers")
    }
}

impl PatchKind {
    pub fn content_type(self) -> &'static str {
        match self {
            PatchKind::Json => "application/json-patch+json",
            PatchKind::Merge => "application/merge-patch+json",
            PatchKind::Strategic => "application/strategic-merge-patch+json",
            PatchKind::Apply => "application/apply-patch+yaml",
        }
    }
}

impl WatchEvent {
    /// Where to go on after this event.
    pub fn revision(&self) -> Revision {
        match self {
            WatchEvent::Added(o) | WatchEvent::Modified(o) | WatchEvent::Deleted(o) => o.revision,
            WatchEvent::Bookmark(revision) => *revision,
        }
    }
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Api")
    }
}

/// Never prints the body: it may be a Secret.
impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {}", self.verb, self.resource.path(&self.namespace, &self.name, self.subresource))
    }
}

fn delete_options(options: Value) -> Option<Value> {
    if options.is_empty() {
        return None;
    }
    let mut full = doc!({"kind": "DeleteOptions", "apiVersion": "v1"});
    full.make_map().as_members_mut().extend(options.members().map(|(n, v)| (n.to_owned().into(), v.clone())));
    Some(full)
}
