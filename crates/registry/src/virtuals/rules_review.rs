//! SelfSubjectRulesReview: what may I do in a namespace, as far as the authorizers can list it.

use authz::{Authorizer, NonResourceRule, ResourceRule};
use document::Value;
use meta::{Status, UserInfo};
use store::View;

/// The answer; of the body only `spec.namespace` counts.
///
/// # Errors
/// 400 without a namespace.
pub fn answer(body: &Value, user: &UserInfo, chain: &dyn Authorizer, view: &View) -> Result<Value, Status> {
    let namespace = body.at(["spec", "namespace"]).str();
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let rules = chain.rules_for(user, namespace, view);
    let mut status = Value::of([
        ("resourceRules", Value::list(rules.resource.iter().map(resource_rule))),
        ("nonResourceRules", Value::list(rules.non_resource.iter().map(non_resource_rule))),
        ("incomplete", Value::from(rules.incomplete)),
    ]);
    if !rules.error.is_empty() {
        status.set("evaluationError", rules.error);
    }
    Ok(Value::of([
        ("kind", Value::from("SelfSubjectRulesReview")),
        ("apiVersion", "authorization.k8s.io/v1".into()),
        ("metadata", Value::map()),
        ("spec", Value::map()),
        ("status", status),
    ]))
}

fn resource_rule(rule: &ResourceRule) -> Value {
    lists([
        ("verbs", &rule.verbs),
        ("apiGroups", &rule.api_groups),
        ("resources", &rule.resources),
        ("resourceNames", &rule.resource_names),
    ])
}

fn non_resource_rule(rule: &NonResourceRule) -> Value {
    lists([("verbs", &rule.verbs), ("nonResourceURLs", &rule.urls)])
}

/// Empty lists are left out.
fn lists<const N: usize>(members: [(&'static str, &Vec<String>); N]) -> Value {
    let kept = members.into_iter().filter(|(_, list)| !list.is_empty());
    Value::of(kept.map(|(name, list)| (name, Value::list(list.iter().map(Value::from)))))
}
