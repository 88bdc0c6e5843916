//! Resources that keep nothing: reviews, tokens, bindings. What they answer is computed by one file each; here is who
//! computes what, and the admission that they pass like any create.

pub mod access_review;
pub mod rules_review;
pub mod self_subject_review;
pub mod token_request;
pub mod token_review;

use admission::Operation;
use document::Value;
use gate::{Gate, Passage};
use meta::{Attributes, Status, Time};

use crate::body::{self, Expected};
use crate::query::WriteOptions;
use crate::write::{check_namespace, review, with_warnings};
use crate::{Body, Outcome, Registry, Target, manage, subresource};

/// POST on a resource without storage.
pub(crate) async fn create(
    registry: &Registry,
    passage: &Passage,
    target: Target,
    body: Option<Body>,
    options: WriteOptions,
) -> Result<Outcome, Status> {
    let expected = Expected::of(target.resource);
    let decoded = body::decode(body, &expected, options.field_validation)?;
    let mut value = decoded.value;
    check_namespace(&target, passage.attributes(), &mut value)?;
    if target.resource.plural == "bindings" {
        let pod = value["metadata"]["name"].str().to_owned();
        return subresource::bind(registry, passage, target, value, &options, &pod).await;
    }
    manage::track(&target, &options, None, &mut value);
    document::normalize(&mut value, target.resource.type_);
    let answer = admitted(registry, passage, target, &options, value)
        .and_then(|value| compute(registry, passage, target, value));
    match answer {
        Ok(mut answer) => {
            document::normalize(&mut answer, target.resource.type_);
            Ok(with_warnings(Outcome::value(201, answer, target.resource.type_), decoded.warnings))
        }
        Err(refused) => Err(refused.warned(decoded.warnings)),
    }
}

/// POST on `serviceaccounts/token`. A dry run gets a token, too, as upstream.
pub(crate) async fn token(
    registry: &Registry,
    passage: &Passage,
    target: Target,
    mut value: Value,
    options: &WriteOptions,
) -> Result<Outcome, Status> {
    let attributes = passage.attributes();
    let view = registry.store.view();
    let context = token_request::Context {
        view: &view,
        signer: &registry.signer,
        audiences: &registry.config.audiences,
        extend: registry.config.tokens.extend,
        longest: registry.config.tokens.longest,
        now: Time::now(),
    };
    // the first half of admission sees what was sent: a node asks for the default audience by naming none
    value = admit(registry, passage, target, options, value, Gate::mutate)?;
    token_request::prepare(&mut value, &attributes.namespace, &attributes.name, &context)?;
    let value = admit(registry, passage, target, options, value, Gate::validate)?;
    let mut issued = token_request::issue(value, &context)?;
    let type_ = target.subresource.and_then(|s| s.type_).ok_or_else(Status::no_such_resource)?;
    document::normalize(&mut issued.answer, type_);
    Ok(with_warnings(Outcome::value(201, issued.answer, type_), issued.warnings))
}

/// The object after both halves of admission.
fn admitted(
    registry: &Registry,
    passage: &Passage,
    target: Target,
    options: &WriteOptions,
    value: Value,
) -> Result<Value, Status> {
    let value = admit(registry, passage, target, options, value, Gate::mutate)?;
    admit(registry, passage, target, options, value, Gate::validate)
}

/// The object after one half of admission.
fn admit(
    registry: &Registry,
    passage: &Passage,
    target: Target,
    options: &WriteOptions,
    value: Value,
    half: fn(&Gate, &Passage, &mut admission::Review<'_>) -> Result<(), Status>,
) -> Result<Value, Status> {
    let view = registry.store.view();
    let may = |attributes: Attributes| passage.may(attributes);
    let mut review = review(passage, target, Operation::Create, &view, &may, options.dry_run);
    if let Some(sub) = target.subresource {
        review.kind = Expected::of_subresource(target.resource, sub)?.gvk;
    }
    review.object = Some(value);
    half(&registry.gate, passage, &mut review)?;
    Ok(review.object.take().unwrap_or_default())
}

fn compute(registry: &Registry, passage: &Passage, target: Target, value: Value) -> Result<Value, Status> {
    use access_review::Kind;
    let view = registry.store.view();
    let decide = |user: &meta::UserInfo, attributes: &Attributes| registry.gate.decide(user, attributes, &view);
    let access = |value, kind| access_review::answer(value, kind, passage.user(), &decide);
    match target.resource.kind {
        "SubjectAccessReview" => access(value, Kind::Subject),
        "LocalSubjectAccessReview" => access(value, Kind::Local),
        "SelfSubjectAccessReview" => access(value, Kind::Own),
        "SelfSubjectRulesReview" => rules_review::answer(&value, passage.user(), registry.gate.authorizers(), &view),
        "SelfSubjectReview" => Ok(self_subject_review::answer(passage.user(), Time::now())),
        "TokenReview" => {
            let (answer, used) = token_review::answer(value, registry.gate.authenticators(), &view)?;
            used.iter().for_each(|secret| registry.note_used_secret(secret));
            Ok(answer)
        }
        kind => Err(Status::not_implemented(format!("{kind} is not built yet"))),
    }
}
