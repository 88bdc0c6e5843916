//! SubjectAccessReview and its two sisters: may this user do that? Validation in upstream's words, then one question to
//! the chain of authorizers.

use std::collections::BTreeMap;

use authz::{Decision, Verdict};
use document::Value;
use meta::field::{Error, Path, Shown};
use meta::status::push_json_string;
use meta::{Attributes, GroupKind, Status, UserInfo, fields, labels, names};

/// Which of the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// SubjectAccessReview: about anyone.
    Subject,
    /// LocalSubjectAccessReview: about anyone, in its own namespace.
    Local,
    /// SelfSubjectAccessReview: about the caller.
    Own,
}

/// The answer: the body with its status replaced. `caller` counts for [`Kind::Own`] only; `decide` asks the chain.
///
/// # Errors
/// 422 for a body that does not say what is asked.
pub fn answer(
    mut body: Value,
    kind: Kind,
    caller: &UserInfo,
    decide: &dyn Fn(&UserInfo, &Attributes) -> Decision,
) -> Result<Value, Status> {
    let errors = validate(&body, kind);
    if !errors.is_empty() {
        return Err(Status::invalid(&GroupKind::new("authorization.k8s.io", ""), "", errors));
    }
    let spec = body.at(["spec"]);
    let mut problems = Vec::new();
    let attributes = match spec.get("resourceAttributes") {
        Some(resource) => resource_attributes(resource, &mut problems),
        None => {
            let path = spec.at(["nonResourceAttributes"]);
            Attributes::path(path["verb"].str(), path["path"].str())
        }
    };
    let decision = match kind {
        Kind::Own => decide(caller, &attributes),
        Kind::Subject | Kind::Local => decide(&subject(spec), &attributes),
    };
    body.set("status", status(decision, problems));
    Ok(body)
}

fn status(decision: Decision, problems: Vec<String>) -> Value {
    let mut status = Value::of([("allowed", Value::from(decision.is_allowed()))]);
    if decision.verdict == Verdict::Deny {
        status.set("denied", true);
    }
    if !decision.reason.is_empty() {
        status.set("reason", decision.reason);
    }
    let errors: Vec<String> = decision.error.into_iter().chain(problems).collect();
    if !errors.is_empty() {
        status.set("evaluationError", errors.join("; "));
    }
    status
}

/// The user as given: nothing is added.
fn subject(spec: &Value) -> UserInfo {
    let extra: BTreeMap<String, Vec<String>> =
        spec["extra"].members().map(|(key, values)| (key.to_owned(), texts(values))).collect();
    UserInfo { name: spec["user"].str().into(), uid: spec["uid"].str().into(), groups: texts(&spec["groups"]), extra }
}

fn texts(list: &Value) -> Vec<String> {
    list.items().iter().map(|v| v.str().to_owned()).collect()
}

fn resource_attributes(a: &Value, problems: &mut Vec<String>) -> Attributes {
    let version = if a["version"].str().is_empty() { "*" } else { a["version"].str() };
    let mut attributes = Attributes::resource(
        a["verb"].str(),
        a["group"].str(),
        version,
        a["resource"].str(),
        a["namespace"].str(),
        a["name"].str(),
    )
    .with_subresource(a["subresource"].str());
    if let Some(selector) = a.get("fieldSelector") {
        let (requirements, failed) = field_requirements(selector);
        note(problems, "fieldSelector", failed, requirements.is_empty());
        attributes.field_selector = (!requirements.is_empty()).then_some(fields::Selector { requirements });
    }
    if let Some(selector) = a.get("labelSelector") {
        let (requirements, failed) = label_requirements(selector);
        note(problems, "labelSelector", failed, requirements.is_empty());
        attributes.label_selector = (!requirements.is_empty()).then_some(labels::Selector { requirements });
    }
    attributes
}

fn note(problems: &mut Vec<String>, name: &str, failed: bool, wholly: bool) {
    if failed {
        let how = if wholly { "ignored" } else { "partially ignored" };
        problems.push(format!("spec.resourceAttributes.{name} {how} due to parse error"));
    }
}

/// What could be understood, and whether something could not: a dropped requirement makes the question broader.
fn field_requirements(selector: &Value) -> (Vec<fields::Requirement>, bool) {
    let raw = selector["rawSelector"].str();
    if !raw.is_empty() {
        return fields::Selector::parse(raw).map_or((Vec::new(), true), |s| (s.requirements, false));
    }
    let (mut good, mut failed) = (Vec::new(), false);
    for requirement in selector["requirements"].items() {
        match (requirement["operator"].str(), texts(&requirement["values"]).as_slice()) {
            (operator @ ("In" | "NotIn"), [value]) => good.push(fields::Requirement {
                field: requirement["key"].str().into(),
                equals: operator == "In",
                value: value.clone(),
            }),
            _ => failed = true,
        }
    }
    (good, failed)
}

fn label_requirements(selector: &Value) -> (Vec<labels::Requirement>, bool) {
    let raw = selector["rawSelector"].str();
    if !raw.is_empty() {
        return labels::Selector::parse(raw).map_or((Vec::new(), true), |s| (s.requirements, false));
    }
    let (mut good, mut failed) = (Vec::new(), false);
    for requirement in selector["requirements"].items() {
        match label_requirement(requirement) {
            Some(requirement) => good.push(requirement),
            None => failed = true,
        }
    }
    (good, failed)
}

fn label_requirement(requirement: &Value) -> Option<labels::Requirement> {
    let operator = match requirement["operator"].str() {
        "In" => labels::Operator::In,
        "NotIn" => labels::Operator::NotIn,
        "Exists" => labels::Operator::Exists,
        "DoesNotExist" => labels::Operator::DoesNotExist,
        _ => return None,
    };
    let mut values = texts(&requirement["values"]);
    values.sort();
    let good = values.iter().all(|v| names::label_value(v).is_empty());
    good.then(|| labels::Requirement { key: requirement["key"].str().into(), operator, values })
}

fn validate(body: &Value, kind: Kind) -> Vec<Error> {
    let spec = body.at(["spec"]);
    let mut errors = Vec::new();
    let (resource, path) = (spec.get("resourceAttributes"), spec.get("nonResourceAttributes"));
    if resource.is_some() == path.is_some() {
        let text = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
        errors.push(Error::invalid(&"spec".into(), shown_path(path), text));
    }
    if kind != Kind::Own && spec["user"].str().is_empty() && spec["groups"].items().is_empty() {
        errors.push(Error::invalid(&"spec.user".into(), "", "at least one of user or group must be specified"));
    }
    if let Some(resource) = resource {
        let at = Path::from("spec.resourceAttributes");
        for (name, is_label) in [("fieldSelector", false), ("labelSelector", true)] {
            if let Some(selector) = resource.get(name) {
                errors.extend(validate_selector(selector, &at.child(name), is_label));
            }
        }
    }
    errors.extend(validate_metadata(body.at(["metadata"]), kind));
    if kind == Kind::Local {
        errors.extend(validate_local(body, resource, path));
    }
    errors
}

/// Printed with upstream's internal field names.
fn shown_path(path: Option<&Value>) -> Shown {
    let Some(path) = path else { return Shown::null() };
    let mut out = String::from("{\"Path\":");
    push_json_string(&mut out, path["path"].str());
    out.push_str(",\"Verb\":");
    push_json_string(&mut out, path["verb"].str());
    out.push('}');
    Shown::json(out)
}

fn validate_metadata(metadata: &Value, kind: Kind) -> Option<Error> {
    let allowed: &[&str] = if kind == Kind::Local { &["managedFields", "namespace"] } else { &["managedFields"] };
    let clean = metadata.members().all(|(name, value)| allowed.contains(&name) || value.is_empty());
    let text = if kind == Kind::Local { "must be empty except for namespace" } else { "must be empty" };
    (!clean).then(|| Error::invalid(&"metadata".into(), Shown::json(document::json::to_string(metadata)), text))
}

fn validate_local(body: &Value, resource: Option<&Value>, path: Option<&Value>) -> Vec<Error> {
    let mut errors = Vec::new();
    if let Some(resource) = resource
        && resource["namespace"].str() != body.at(["metadata", "namespace"]).str()
    {
        let at = "spec.resourceAttributes.namespace".into();
        errors.push(Error::invalid(&at, resource["namespace"].str(), "must match metadata.namespace"));
    }
    if path.is_some() {
        errors.push(Error::invalid(
            &"spec.nonResourceAttributes".into(),
            shown_path(path),
            "disallowed on this kind of request",
        ));
    }
    errors
}

fn validate_selector(selector: &Value, at: &Path, is_label: bool) -> Vec<Error> {
    let mut errors = Vec::new();
    let (raw, requirements) = (selector["rawSelector"].str(), selector["requirements"].items());
    if !raw.is_empty() && !requirements.is_empty() {
        errors.push(Error::invalid(
            &at.child("rawSelector"),
            raw,
            "may not specified at the same time as requirements",
        ));
    }
    if raw.is_empty() && requirements.is_empty() {
        let text = format!("when {at} is specified, requirements or rawSelector is required");
        errors.push(Error::required(&at.child("requirements"), &text));
    }
    for (n, requirement) in requirements.iter().enumerate() {
        errors.extend(validate_requirement(requirement, &at.child("requirements").index(n), is_label));
    }
    errors
}

/// Operators that nobody knows are passed: newer clients may have them.
fn validate_requirement(requirement: &Value, at: &Path, is_label: bool) -> Vec<Error> {
    let (key, values) = (requirement["key"].str(), requirement["values"].items());
    let of_values = match requirement["operator"].str() {
        "In" | "NotIn" if values.is_empty() => {
            Some(Error::required(&at.child("values"), "must be specified when `operator` is 'In' or 'NotIn'"))
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => Some(Error::forbidden(
            &at.child("values"),
            "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        )),
        _ => None,
    };
    if !is_label {
        let of_key = key.is_empty().then(|| Error::required(&at.child("key"), "must be specified"));
        return of_key.into_iter().chain(of_values).collect();
    }
    let of_key = names::label_key(key).into_iter().map(|text| Error::invalid(&at.child("key"), key, &text));
    of_values.into_iter().chain(of_key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(spec: &str) -> Value {
        document::json::parse(format!(r#"{{"metadata":{{}},"spec":{spec}}}"#).as_bytes()).unwrap()
    }

    fn ask(text: Value, kind: Kind) -> Result<Value, Status> {
        let caller = UserInfo::new("me", ["g"]);
        answer(text, kind, &caller, &|user, a| match (user.name.as_str(), a.resource.as_str()) {
            ("me", _) => Decision::allow("because"),
            (_, "none") => Decision { error: Some("broken".into()), ..Decision::deny("no") },
            _ => Decision::no_opinion(""),
        })
    }

    fn refusal(spec: &str, kind: Kind) -> String {
        ask(body(spec), kind).map_err(|status| status.message).unwrap_err()
    }

    const POD: &str = r#""resourceAttributes":{"verb":"get","resource":"pods"}"#;

    #[test]
    fn what_is_asked_must_be_said_in_one_way() {
        let check = |spec: &str, kind: Kind, want: &str| {
            assert_eq!(refusal(spec, kind), format!(".authorization.k8s.io \"\" is invalid: {want}"), "{spec}");
        };
        let one = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
        let nobody = r#"spec.user: Invalid value: "": at least one of user or group must be specified"#;
        check("{}", Kind::Subject, &format!("[spec: Invalid value: null: {one}, {nobody}]"));
        check("{}", Kind::Own, &format!("spec: Invalid value: null: {one}"));
        let both = format!(r#"{{"user":"u",{POD},"nonResourceAttributes":{{"path":"/x","verb":"get"}}}}"#);
        check(&both, Kind::Subject, &format!(r#"spec: Invalid value: {{"Path":"/x","Verb":"get"}}: {one}"#));
        check(&format!("{{{POD}}}"), Kind::Subject, nobody);
        let path = r#"{"user":"u","nonResourceAttributes":{"path":"/x","verb":"get"}}"#;
        let want = r#"spec.nonResourceAttributes: Invalid value: {"Path":"/x","Verb":"get"}: disallowed on this kind of request"#;
        check(path, Kind::Local, want);
    }

    #[test]
    fn a_local_review_asks_about_its_own_namespace() {
        let mut review =
            body(r#"{"user":"u","resourceAttributes":{"verb":"get","resource":"pods","namespace":"other"}}"#);
        review.entry("metadata").set("namespace", "ns");
        let message = ask(review, Kind::Local).unwrap_err().message;
        assert!(
            message.ends_with(
                r#"spec.resourceAttributes.namespace: Invalid value: "other": must match metadata.namespace"#
            ),
            "{message}"
        );
    }

    #[test]
    fn selectors_are_checked_for_form_and_bad_ones_reported_as_ignored() {
        let review = |selectors: &str| {
            format!(r#"{{"user":"u","resourceAttributes":{{"verb":"list","resource":"pods",{selectors}}}}}"#)
        };
        let check = |selectors: &str, want: &str| {
            let answer = ask(body(&review(selectors)), Kind::Subject).unwrap();
            assert_eq!(answer.at(["status", "evaluationError"]).str(), want, "{selectors}");
        };
        check(r#""fieldSelector":{"rawSelector":"spec.nodeName=n"}"#, "");
        check(
            r#""fieldSelector":{"rawSelector":"a b"}"#,
            "spec.resourceAttributes.fieldSelector ignored due to parse error",
        );
        check(
            r#""fieldSelector":{"requirements":[{"key":"a","operator":"In","values":["a","b"]},{"key":"b","operator":"In","values":["a"]}]}"#,
            "spec.resourceAttributes.fieldSelector partially ignored due to parse error",
        );
        check(
            r#""labelSelector":{"requirements":[{"key":"a","operator":"Near","values":["a"]}]}"#,
            "spec.resourceAttributes.labelSelector ignored due to parse error",
        );
        let refuse = |selectors: &str, want: &str| {
            let message = refusal(&review(selectors), Kind::Subject);
            assert!(message.ends_with(want), "{message}");
        };
        refuse(
            r#""fieldSelector":{"rawSelector":"a=b","requirements":[{"key":"a","operator":"In","values":["a"]}]}"#,
            r#"fieldSelector.rawSelector: Invalid value: "a=b": may not specified at the same time as requirements"#,
        );
        refuse(
            r#""labelSelector":{}"#,
            "requirements: Required value: when spec.resourceAttributes.labelSelector is specified, requirements or rawSelector is required",
        );
    }

    #[test]
    fn the_status_says_what_the_chain_said() {
        let check = |spec: &str, kind: Kind, want: &str| {
            let answer = ask(body(spec), kind).unwrap();
            assert_eq!(document::json::to_string(&answer["status"]), want);
        };
        check(&format!("{{{POD}}}"), Kind::Own, r#"{"allowed":true,"reason":"because"}"#);
        check(&format!(r#"{{"user":"u",{POD}}}"#), Kind::Subject, r#"{"allowed":false}"#);
        let none = r#"{"user":"u","resourceAttributes":{"verb":"get","resource":"none"}}"#;
        check(none, Kind::Subject, r#"{"allowed":false,"denied":true,"reason":"no","evaluationError":"broken"}"#);
    }
}
