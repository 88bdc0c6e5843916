//! The verbs of resources over HTTP: reads bodies within their limit, asks the registry, and gives the outcome the form
//! that was negotiated.

use std::sync::Arc;

use api::ResourceType;
use bytes::{Bytes, BytesMut};
use gate::Passage;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use meta::Status;
use registry::write::{Warnings, WriteRequest};
use registry::{Answer, Outcome, PatchKind};

use crate::handler::{Handler, Head, Notes};
use crate::negotiate::{self, Encoding, Form, Offer, Shape};
use crate::respond::{self, Reply};
use crate::route::Action;
use crate::shape::Maker;
use crate::{leftover, list, tunnel, watch};

/// One call of a resource that is served.
pub(crate) struct Call<'a> {
    pub handler: &'a Arc<Handler>,
    pub head: &'a Head,
    pub passage: Passage,
    pub row: &'static ResourceType,
    pub action: Action,
}

impl Call<'_> {
    pub(crate) async fn answer(self, body: &mut Incoming, extensions: http::Extensions, notes: &mut Notes) -> Reply {
        match self.carry_out(body, extensions, notes).await {
            Ok(reply) => reply,
            Err(mut status) => {
                notes.warnings.append(&mut status.warnings);
                self.head.refuse(&status)
            }
        }
    }

    async fn carry_out(
        &self,
        body: &mut Incoming,
        extensions: http::Extensions,
        notes: &mut Notes,
    ) -> Result<Reply, Status> {
        if let Some(warning) = self.deprecation() {
            let subresource = self.row.subresource(&self.head.route.attributes.subresource).map_or("", |s| s.name);
            self.handler.metrics.deprecated(self.row, subresource);
            notes.warnings.push(warning);
        }
        let patch = self.patch_kind()?;
        self.offer().check(&self.head.headers)?;
        let registry = &self.handler.registry;
        let query = &self.head.query;
        if self.action == Action::Connect || self.head.route.attributes.subresource == "log" {
            return tunnel::answer(self, extensions).await;
        }
        if self.action == Action::Watch {
            let form = Form::of_stream(&self.head.headers, query)?;
            let maker = Maker::new(self.row, form, query)?;
            return Ok(watch::answer(self, maker, registry.watch(&self.passage, query).await));
        }
        let form = Form::of_object(&self.head.headers, query)?;
        if !self.has_table() && matches!(form.shape, Shape::Table { .. }) {
            return Err(negotiate::cannot_make());
        }
        let maker = Maker::new(self.row, form, query)?;
        if self.action == Action::List {
            maker.check_list(true)?;
            return list::answer(&maker, registry.list(&self.passage, query).await?).await;
        }
        if self.action == Action::Get {
            return self.outcome(&maker, registry.get(&self.passage, query).await?, notes);
        }
        let body = self.body(body).await?;
        let request = WriteRequest {
            body: self.typed(body, patch)?,
            patch,
            query: query.clone(),
            user_agent: self.user_agent().to_owned(),
            warnings: Warnings::default(),
        };
        let warnings = request.warnings.clone();
        if self.action == Action::DeleteCollection {
            return list::answer(&maker, registry.delete_collection(&self.passage, request).await?).await;
        }
        let outcome = match self.action {
            Action::Create => registry.create(&self.passage, request).await,
            Action::Update => registry.update(&self.passage, request).await,
            Action::Patch => registry.patch(&self.passage, request).await,
            _ => registry.delete(&self.passage, request).await,
        };
        notes.warnings.extend(warnings.take());
        self.outcome(&maker, outcome?, notes)
    }

    fn offer(&self) -> Offer {
        match self.action {
            Action::List | Action::Watch => Offer::Collection,
            _ if self.head.route.attributes.subresource == "log" => Offer::Log,
            Action::Connect => Offer::Anything,
            _ => Offer::Object,
        }
    }

    fn outcome(&self, maker: &Maker, outcome: Outcome, notes: &mut Notes) -> Result<Reply, Status> {
        notes.warnings.extend(outcome.warnings);
        match outcome.answer {
            Answer::Object(object, row) => maker.with_row(row).object(outcome.code, &object),
            Answer::Value(value, type_) => maker.value(outcome.code, &value, type_),
            Answer::Status(status) => {
                let form = Form { shape: Shape::Whole, ..maker.form };
                respond::encoded(outcome.code, status.to_json().into_bytes(), api::type_of_meta("Status"), form)
            }
        }
    }

    /// What is answered and not kept has no columns.
    fn has_table(&self) -> bool {
        let subresource = self.head.route.attributes.subresource.as_str();
        !self.row.storage.is_empty() && !matches!(subresource, "token" | "eviction" | "binding")
    }

    /// Kinds that are going away say so with every answer.
    fn deprecation(&self) -> Option<String> {
        match (self.row.group, self.row.kind) {
            ("", "Endpoints") => {
                Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice".into())
            }
            ("", "ComponentStatus") => Some("v1 ComponentStatus is deprecated in v1.19+".into()),
            _ => None,
        }
    }

    /// The router refuses unknown patch types before anything else is looked at.
    fn patch_kind(&self) -> Result<Option<PatchKind>, Status> {
        if self.action != Action::Patch {
            return Ok(None);
        }
        match negotiate::media_type(&self.head.headers) {
            "application/json-patch+json" => Ok(Some(PatchKind::Json)),
            "application/merge-patch+json" => Ok(Some(PatchKind::Merge)),
            "application/strategic-merge-patch+json" => Ok(Some(PatchKind::Strategic)),
            "application/apply-patch+yaml" => Ok(Some(PatchKind::Apply)),
            _ => Err(negotiate::unknown_patch_type()),
        }
    }

    fn user_agent(&self) -> &str {
        let agent = self.head.headers.get(http::header::USER_AGENT);
        agent.and_then(|v| v.to_str().ok()).unwrap_or_default()
    }

    fn typed(&self, body: Bytes, patch: Option<PatchKind>) -> Result<Option<registry::Body>, Status> {
        if let Some(kind) = patch {
            return Ok(Some(if kind == PatchKind::Apply {
                registry::Body::Yaml(body)
            } else {
                registry::Body::Json(body)
            }));
        }
        let deletes = matches!(self.action, Action::Delete | Action::DeleteCollection);
        if body.is_empty() && deletes {
            return Ok(None);
        }
        Ok(Some(match negotiate::body_encoding(&self.head.headers)? {
            Encoding::Json => registry::Body::Json(body),
            Encoding::Yaml => registry::Body::Yaml(body),
            Encoding::Protobuf => registry::Body::Protobuf(body),
        }))
    }

    async fn body(&self, body: &mut Incoming) -> Result<Bytes, Status> {
        let limit = self.handler.config.max_body;
        let announced = self.head.content_length();
        if announced.is_some_and(|n| n > limit) {
            leftover::drain(body, 2 * limit).await;
            return Err(Status::too_large(limit));
        }
        let mut all = BytesMut::with_capacity(announced.unwrap_or(0));
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Status::bad_request("the request body could not be read"))?;
            if let Ok(data) = frame.into_data() {
                if all.len() + data.len() > limit {
                    leftover::drain(body, 2 * limit).await;
                    return Err(Status::too_large(limit));
                }
                all.extend_from_slice(&data);
            }
        }
        Ok(all.freeze())
    }
}
