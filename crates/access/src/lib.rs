//! What the policy teaches: why someone may do something, and who can. Queries on the RBAC index of one view; they decide
//! nothing and see no more than the index. Later: what-can, suggest, preview, unused.

use std::collections::BTreeMap;

use authz::Question;
use authz::rbac::policy::RoleKind;
use authz::rbac::{Binding, Policy, Rule, Subject, SubjectKind};
use meta::user::MASTERS;
use meta::{Attributes, UserInfo};

/// A binding that allows, with the rule of its role that does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Empty: a ClusterRoleBinding.
    pub binding_namespace: String,
    pub binding: String,
    pub role_kind: String,
    pub role: String,
    pub rule: Rule,
}

/// Every reason why a user may do something, and what of its bindings leads nowhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Why {
    /// A member of `system:masters` may do anything, without a binding.
    pub is_master: bool,
    /// In the order they are tried: the first one is the decision's reason.
    pub sources: Vec<Source>,
    /// Bindings of the user whose role is missing, with upstream's error.
    pub dangling: Vec<String>,
}

impl Why {
    pub fn is_allowed(&self) -> bool {
        self.is_master || !self.sources.is_empty()
    }
}

/// Why `user` may do this; all grants, not only the first.
pub fn why(policy: &Policy, user: &UserInfo, attributes: &Attributes) -> Why {
    let grants = policy.grants(&Question { user, attributes });
    let (_, dangling) = policy.rules_held(user, &attributes.namespace);
    let sources = grants.iter().map(|g| source(&g.binding, &g.rule)).collect();
    Why { is_master: user.in_group(MASTERS), sources, dangling }
}

/// A subject that can, and through what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    pub subject: Subject,
    pub sources: Vec<Source>,
}

/// Everyone whom a binding names and whose role allows this, sorted. `system:masters` always comes first: it needs none.
pub fn who_can(policy: &Policy, attributes: &Attributes) -> Vec<Holder> {
    let mut holders: BTreeMap<Subject, Vec<Source>> = BTreeMap::new();
    for binding in policy.bindings().filter(|b| reaches(b, attributes)) {
        let Ok(role) = policy.role_of(binding) else { continue };
        let Some(rule) = role.rules.iter().find(|r| r.allows(attributes)) else { continue };
        for subject in &binding.subjects {
            holders.entry(subject.clone()).or_default().push(source(binding, rule));
        }
    }
    let masters = Subject { kind: SubjectKind::Group, namespace: "".into(), name: MASTERS.into() };
    let own = holders.remove(&masters).unwrap_or_default();
    let first = Holder { subject: masters, sources: own };
    std::iter::once(first).chain(holders.into_iter().map(|(subject, sources)| Holder { subject, sources })).collect()
}

/// A ClusterRoleBinding reaches everywhere, a RoleBinding its namespace.
fn reaches(binding: &Binding, attributes: &Attributes) -> bool {
    binding.namespace.is_empty() || *binding.namespace == *attributes.namespace
}

fn source(binding: &Binding, rule: &Rule) -> Source {
    let kind: &RoleKind = &binding.role_kind;
    Source {
        binding_namespace: binding.namespace.to_string(),
        binding: binding.name.to_string(),
        role_kind: kind.as_str().to_owned(),
        role: binding.role_name.to_string(),
        rule: rule.clone(),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use document::Object;
    use meta::{Key, ResourceId, Revision};

    use super::*;

    fn add(policy: &mut Policy, resource: &str, namespace: &str, name: &str, body: &str) {
        let metadata = format!("\"metadata\":{{\"name\":\"{name}\"}}");
        let object = Object {
            revision: Revision(1),
            metadata: (11, metadata.len() as u32),
            splice: 12,
            ..Object::bare(
                Key::new(ResourceId::new("rbac.authorization.k8s.io", resource), namespace, name),
                Bytes::from(format!("{metadata},{body}}}")),
            )
        };
        policy.change(&object.key.clone(), Some(&object));
    }

    fn policy() -> Policy {
        let mut policy = Policy::default();
        add(
            &mut policy,
            "clusterroles",
            "",
            "view",
            r#""rules":[{"verbs":["get"],"apiGroups":[""],"resources":["pods"]}]"#,
        );
        let binding = |subject: &str, role: &str| {
            format!(r#""subjects":[{subject}],"roleRef":{{"kind":"ClusterRole","name":"{role}"}}"#)
        };
        add(&mut policy, "clusterrolebindings", "", "all", &binding(r#"{"kind":"Group","name":"g"}"#, "view"));
        add(&mut policy, "rolebindings", "ns", "one", &binding(r#"{"kind":"User","name":"u"}"#, "view"));
        add(&mut policy, "rolebindings", "ns", "lost", &binding(r#"{"kind":"User","name":"u"}"#, "gone"));
        policy
    }

    #[test]
    fn why_lists_every_grant_and_what_leads_nowhere() {
        let get = Attributes::resource("get", "", "v1", "pods", "ns", "p");
        let why = why(&policy(), &UserInfo::new("u", ["g"]), &get);
        let names: Vec<&str> = why.sources.iter().map(|s| s.binding.as_str()).collect();
        assert_eq!(names, ["all", "one"]);
        assert_eq!(why.dangling, [r#"clusterrole.rbac.authorization.k8s.io "gone" not found"#]);
        assert!(why.is_allowed() && !why.is_master);
    }

    #[test]
    fn who_can_names_masters_and_every_bound_subject() {
        let names = |namespace: &str| -> Vec<String> {
            let get = Attributes::resource("get", "", "v1", "pods", namespace, "p");
            who_can(&policy(), &get).iter().map(|h| h.subject.name.to_string()).collect()
        };
        assert_eq!(names("ns"), ["system:masters", "u", "g"]);
        assert_eq!(names("other"), ["system:masters", "g"]);
    }
}
