//! Roles and bindings.

use document::Value;
use meta::field::{Error, Path, Shown};
use meta::names;

use super::check::Check;
use super::internal::shown_as;
use super::shown;

const GROUP: &str = "rbac.authorization.k8s.io";

/// `namespaced`: a Role, not a ClusterRole.
pub(super) fn role(object: &Value, namespaced: bool) -> Vec<Error> {
    let mut check = Check::default();
    let mut late = Check::default();
    for (n, rule) in object["rules"].items().iter().enumerate() {
        let at = Path::root("rules").index(n);
        // The declarative rule speaks for verbs: its errors come last.
        if rule["verbs"].is_empty() {
            late.required(&at.child("verbs"), "");
        }
        policy_rule(&mut check, rule, namespaced, &at);
    }
    if !namespaced {
        aggregation(&mut check, &object["aggregationRule"]);
    }
    check.errors.append(&mut late.errors);
    check.errors
}

fn policy_rule(check: &mut Check, rule: &Value, namespaced: bool, at: &Path) {
    let urls = &rule["nonResourceURLs"];
    if !urls.is_empty() {
        let at = at.child("nonResourceURLs");
        if namespaced {
            check.invalid(&at, shown(urls), "namespaced rules cannot apply to non-resource URLs");
        }
        if ["apiGroups", "resources", "resourceNames"].iter().any(|f| !rule[*f].is_empty()) {
            check.invalid(&at, shown(urls), "rules cannot apply to both regular resources and non-resource URLs");
        }
        return;
    }
    if rule["apiGroups"].is_empty() {
        check.required(&at.child("apiGroups"), "resource rules must supply at least one api group");
    }
    if rule["resources"].is_empty() {
        check.required(&at.child("resources"), "resource rules must supply at least one resource");
    }
}

fn aggregation(check: &mut Check, rule: &Value) {
    if rule.is_null() {
        return;
    }
    let path = Path::from("aggregationRule.clusterRoleSelectors");
    let selectors = &rule["clusterRoleSelectors"];
    if selectors.is_empty() {
        check.required(&path, "at least one clusterRoleSelector required if aggregationRule is non-nil");
    }
    for (n, selector) in selectors.items().iter().enumerate() {
        let at = path.index(n);
        let before = check.errors.len();
        check.label_selector(&at, selector);
        if check.errors.len() > before {
            check.invalid(&at, Shown::null(), "invalid label selector.");
        }
    }
}

pub(super) fn binding(object: &Value, namespaced: bool) -> Vec<Error> {
    let mut check = Check::default();
    let mut late = Check::default();
    let role = &object["roleRef"];
    let path = Path::root("roleRef");
    if role["apiGroup"].str() != GROUP {
        check.push(Error::not_supported(&path.child("apiGroup"), role["apiGroup"].str(), &[GROUP]));
    }
    let kinds: &[&str] = if namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    if !kinds.contains(&role["kind"].str()) {
        check.push(Error::not_supported(&path.child("kind"), role["kind"].str(), kinds));
    }
    let name = role["name"].str();
    if !name.is_empty() {
        check.format(&path.child("name"), name, &names::path_segment(name));
    }
    for (n, subject) in object["subjects"].items().iter().enumerate() {
        let at = Path::root("subjects").index(n);
        if subject["name"].str().is_empty() {
            late.required(&at.child("name"), "");
        }
        subject_kind(&mut check, subject, namespaced, &at);
    }
    // the declarative rules go along the type: subjects come first
    if name.is_empty() {
        late.required(&path.child("name"), "");
    }
    check.errors.append(&mut late.errors);
    check.errors
}

fn subject_kind(check: &mut Check, subject: &Value, namespaced: bool, at: &Path) {
    let (name, group) = (subject["name"].str(), subject["apiGroup"].str());
    match subject["kind"].str() {
        "ServiceAccount" => {
            if !name.is_empty() {
                check.format(&at.child("name"), name, &names::dns1123_subdomain(name));
            }
            if !group.is_empty() {
                check.push(Error::not_supported(&at.child("apiGroup"), group, &[""]));
            }
            if !namespaced && subject["namespace"].str().is_empty() {
                check.required(&at.child("namespace"), "");
            }
        }
        "User" | "Group" if group != GROUP => {
            check.push(Error::not_supported(&at.child("apiGroup"), group, &[GROUP]));
        }
        "User" | "Group" => {}
        other => check.push(Error::not_supported(&at.child("kind"), other, &["ServiceAccount", "User", "Group"])),
    }
}

pub(super) fn binding_update(new: &Value, old: &Value, namespaced: bool) -> Vec<Error> {
    let mut errors = binding(new, namespaced);
    if new["roleRef"] != old["roleRef"] {
        let value = shown_as(&new["roleRef"], "io.k8s.api.rbac.v1.RoleRef");
        errors.push(Error::invalid(&Path::root("roleRef"), value, "field is immutable"));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use document::doc;

    #[test]
    fn missing_names_come_last_and_the_subjects_before_the_roles() {
        let object = doc!({"roleRef": {"apiGroup": GROUP, "kind": "Role"}, "subjects": [{"kind": "Robot"}]});
        let fields: Vec<String> = binding(&object, false).iter().map(|e| e.path.to_string()).collect();
        assert_eq!(fields, ["roleRef.kind", "subjects[0].kind", "subjects[0].name", "roleRef.name"]);
    }
}
