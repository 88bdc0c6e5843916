//! The default RBAC policy as data (upstream's, v1.37), and what must be written at a start to bring it back: a pure plan,
//! made once per start and never in between. What an administrator added stays; what was taken away comes back, unless the
//! object says `autoupdate: "false"`.

use document::{Value, json};
use meta::{Key, ResourceId};
use store::View;

use crate::rbac::cover;
use crate::rbac::policy::{self, Rule};

/// One object per line: cluster roles, their bindings, roles, their bindings. The rules of the roles that aggregate are
/// those that the aggregation controller fills in.
const POLICY: &str = include_str!("bootstrap/policy.json");

const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// One write that brings the default policy back.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// The object, as it is to be sent (kind and apiVersion included).
    Create {
        key: Key,
        object: Value,
    },
    Update {
        key: Key,
        object: Value,
    },
    /// A binding whose roleRef differs: delete (it has this uid), then create.
    Replace {
        key: Key,
        uid: String,
        object: Value,
    },
}

/// The default objects.
pub fn policy() -> Vec<Value> {
    let list = json::parse(POLICY.as_bytes()).expect("the policy is checked by a test");
    list.items().to_vec()
}

/// What is missing of the default policy in this view, in order.
pub fn plan(view: &View) -> Vec<Step> {
    policy().into_iter().filter_map(|wanted| step(view, wanted)).collect()
}

fn step(view: &View, wanted: Value) -> Option<Step> {
    let key = key_of(&wanted);
    let Some(found) = view.get(&key) else { return Some(Step::Create { key, object: wanted }) };
    let existing = json::parse(&policy::json(&found)).ok()?;
    if existing.at(["metadata", "annotations", AUTOUPDATE]).str() == "false" {
        return None;
    }
    if existing["roleRef"] != wanted["roleRef"] {
        return Some(Step::Replace { key, uid: found.uid.to_string(), object: wanted });
    }
    let object = reconcile(&existing, &wanted)?;
    Some(Step::Update { key, object })
}

/// The existing object with what it lacks; `None` when it lacks nothing.
pub fn reconcile(existing: &Value, wanted: &Value) -> Option<Value> {
    let mut object = Value::of([("kind", wanted["kind"].clone()), ("apiVersion", wanted["apiVersion"].clone())]);
    for (name, value) in existing.members().filter(|(name, _)| !matches!(*name, "kind" | "apiVersion")) {
        object.set(name.to_owned(), value.clone());
    }
    let mut changed = add_missing(&mut object, wanted, "labels");
    changed |= add_missing(&mut object, wanted, "annotations");
    changed |= if wanted.get("roleRef").is_some() {
        add_subjects(&mut object, wanted)
    } else {
        add_rules(&mut object, wanted)
    };
    changed.then_some(object)
}

/// Existing labels and annotations win.
fn add_missing(object: &mut Value, wanted: &Value, part: &'static str) -> bool {
    let mut changed = false;
    for (name, value) in wanted.at(["metadata", part]).members() {
        if object.at(["metadata", part]).get(name).is_none() {
            object.at_mut(["metadata", part]).set(name.to_owned(), value.clone());
            changed = true;
        }
    }
    changed
}

fn add_rules(object: &mut Value, wanted: &Value) -> bool {
    if wanted.get("aggregationRule").is_some() {
        return add_selectors(object, wanted);
    }
    let mut changed = object.remove("aggregationRule").is_some_and(|rule| !rule.is_null());
    let missing = cover::missing(&Rule::list_of(object), &Rule::list_of(wanted));
    if !missing.is_empty() {
        object.entry("rules").make_list().extend(missing.iter().map(rule_value));
        changed = true;
    }
    changed
}

/// A role that aggregates: its rules are the controller's business.
fn add_selectors(object: &mut Value, wanted: &Value) -> bool {
    let path = ["aggregationRule", "clusterRoleSelectors"];
    let existing = object.at(path).items();
    let missing: Vec<Value> = wanted.at(path).items().iter().filter(|s| !existing.contains(s)).cloned().collect();
    if missing.is_empty() {
        return false;
    }
    object.at_mut(path).make_list().extend(missing);
    true
}

fn add_subjects(object: &mut Value, wanted: &Value) -> bool {
    let existing = object["subjects"].items();
    let missing: Vec<Value> = wanted["subjects"].items().iter().filter(|s| !existing.contains(s)).cloned().collect();
    if missing.is_empty() {
        return false;
    }
    object.entry("subjects").make_list().extend(missing);
    true
}

fn rule_value(rule: &Rule) -> Value {
    let parts = [
        ("verbs", &rule.verbs),
        ("apiGroups", &rule.api_groups),
        ("resources", &rule.resources),
        ("resourceNames", &rule.resource_names),
        ("nonResourceURLs", &rule.non_resource_urls),
    ];
    let kept = parts.into_iter().filter(|(_, list)| !list.is_empty());
    Value::of(kept.map(|(name, list)| (name, Value::list(list.iter().map(Value::from)))))
}

fn key_of(object: &Value) -> Key {
    let resource = match object["kind"].str() {
        "ClusterRole" => "clusterroles",
        "ClusterRoleBinding" => "clusterrolebindings",
        "Role" => "roles",
        _ => "rolebindings",
    };
    let metadata = &object["metadata"];
    Key::new(ResourceId::new(policy::GROUP, resource), metadata["namespace"].str(), metadata["name"].str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value {
        json::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn the_policy_is_upstreams_in_full() {
        let all = policy();
        let count = |kind: &str| all.iter().filter(|o| o["kind"].str() == kind).count();
        let counts = ["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"].map(count);
        assert_eq!(counts, [73, 54, 7, 7]);
        assert!(all.iter().all(|o| o.at(["metadata", "annotations", AUTOUPDATE]).str() == "true"));
    }

    #[test]
    fn what_is_missing_of_a_rule_comes_back_as_single_rights_at_the_end() {
        let wanted = value(
            r#"{"kind":"ClusterRole","metadata":{},"rules":[{"verbs":["get","list"],"apiGroups":[""],"resources":["a","b"]}]}"#,
        );
        let existing = value(
            r#"{"metadata":{},"rules":[{"verbs":["list"],"apiGroups":[""],"resources":["a","b"]},{"verbs":["x"],"apiGroups":[""],"resources":["c"]}]}"#,
        );
        let rules = reconcile(&existing, &wanted).unwrap()["rules"].clone();
        let want = value(
            r#"[{"verbs":["list"],"apiGroups":[""],"resources":["a","b"]},{"verbs":["x"],"apiGroups":[""],"resources":["c"]},
                {"verbs":["get"],"apiGroups":[""],"resources":["a"]},{"verbs":["get"],"apiGroups":[""],"resources":["b"]}]"#,
        );
        assert_eq!(rules, want);
        assert_eq!(reconcile(&value(&json::to_string(&reconcile(&existing, &wanted).unwrap())), &wanted), None);
    }

    #[test]
    fn existing_labels_win_and_missing_ones_come_back() {
        let wanted = value(r#"{"kind":"Role","metadata":{"labels":{"a":"1","b":"2"}},"rules":[]}"#);
        let existing = value(r#"{"metadata":{"labels":{"a":"mine"}},"rules":[]}"#);
        assert_eq!(reconcile(&existing, &wanted).unwrap()["metadata"]["labels"], value(r#"{"a":"mine","b":"2"}"#));
    }

    #[test]
    fn an_aggregation_rule_is_set_or_removed() {
        let plain = value(r#"{"kind":"ClusterRole","metadata":{},"rules":[]}"#);
        let aggregated = value(
            r#"{"kind":"ClusterRole","metadata":{},"rules":[{"verbs":["get"],"apiGroups":[""],"resources":["x"]}],
                "aggregationRule":{"clusterRoleSelectors":[{"matchLabels":{"a":"b"}}]}}"#,
        );
        assert!(reconcile(&aggregated, &plain).unwrap().get("aggregationRule").is_none());
        let set = reconcile(&plain, &aggregated).unwrap();
        assert_eq!(set["aggregationRule"], aggregated["aggregationRule"]);
        assert!(set["rules"].items().is_empty(), "the rules are the controller's");
    }

    #[test]
    fn missing_default_subjects_are_appended_to_those_that_are_there() {
        let wanted = value(
            r#"{"kind":"ClusterRoleBinding","metadata":{},"subjects":[{"kind":"Group","name":"g"}],"roleRef":{"name":"r"}}"#,
        );
        let existing = value(r#"{"metadata":{},"subjects":[{"kind":"User","name":"u"}],"roleRef":{"name":"r"}}"#);
        assert_eq!(
            reconcile(&existing, &wanted).unwrap()["subjects"],
            value(r#"[{"kind":"User","name":"u"},{"kind":"Group","name":"g"}]"#)
        );
        assert_eq!(reconcile(&wanted, &wanted), None);
    }
}
