//! Roles, bindings and their rules as facts: parsed once from stored bytes, matched many times.

use std::sync::Arc;

use document::object::Head;
use document::{Object, Value};
use meta::goquote::quote;
use meta::user::SERVICE_ACCOUNT_PREFIX;
use meta::{Attributes, UserInfo};
use serde::Deserialize;

pub const GROUP: &str = "rbac.authorization.k8s.io";

/// One rule of a role.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Rule {
    pub verbs: Vec<String>,
    pub api_groups: Vec<String>,
    pub resources: Vec<String>,
    pub resource_names: Vec<String>,
    #[serde(rename = "nonResourceURLs")]
    pub non_resource_urls: Vec<String>,
}

impl Rule {
    /// Whether the rule allows what is asked.
    pub fn allows(&self, a: &Attributes) -> bool {
        if !has_or_star(&self.verbs, &a.verb) {
            return false;
        }
        if !a.is_resource {
            return self.non_resource_urls.iter().any(|url| url_matches(url, &a.path));
        }
        has_or_star(&self.api_groups, &a.group)
            && self.matches_resource(&a.resource, &a.subresource)
            && (self.resource_names.is_empty() || self.resource_names.contains(&a.name))
    }

    fn matches_resource(&self, resource: &str, subresource: &str) -> bool {
        self.resources.iter().any(|rule| {
            if rule == "*" {
                return true;
            }
            if subresource.is_empty() {
                return rule == resource;
            }
            rule.strip_suffix(subresource)
                .and_then(|head| head.strip_suffix('/'))
                .is_some_and(|head| head == "*" || head == resource)
        })
    }

    /// The rules of a Role or ClusterRole that is still a tree.
    pub fn list_of(role: &Value) -> Vec<Rule> {
        role.at(["rules"]).items().iter().map(Rule::from_value).collect()
    }

    fn from_value(rule: &Value) -> Rule {
        let list = |name: &str| rule.at([name]).items().iter().map(|v| v.str().to_owned()).collect();
        Rule {
            verbs: list("verbs"),
            api_groups: list("apiGroups"),
            resources: list("resources"),
            resource_names: list("resourceNames"),
            non_resource_urls: list("nonResourceURLs"),
        }
    }
}

fn has_or_star(list: &[String], word: &str) -> bool {
    list.iter().any(|w| w == "*" || w == word)
}

/// Exact, or a prefix before trailing stars.
pub fn url_matches(rule: &str, path: &str) -> bool {
    rule == path || (rule.ends_with('*') && path.starts_with(rule.trim_end_matches('*')))
}

/// A Role or ClusterRole.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Role {
    pub rules: Vec<Rule>,
    /// Whether an aggregationRule with selectors is there.
    pub aggregates: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SubjectKind {
    User,
    Group,
    ServiceAccount,
}

impl SubjectKind {
    pub fn as_str(self) -> &'static str {
        match self {
            SubjectKind::User => "User",
            SubjectKind::Group => "Group",
            SubjectKind::ServiceAccount => "ServiceAccount",
        }
    }
}

/// Who is bound. A ServiceAccount's namespace is already the binding's where it was empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    pub kind: SubjectKind,
    pub namespace: Box<str>,
    pub name: Box<str>,
}

impl Subject {
    pub fn applies_to(&self, user: &UserInfo) -> bool {
        match self.kind {
            SubjectKind::User => *user.name == *self.name,
            SubjectKind::Group => user.in_group(&self.name),
            SubjectKind::ServiceAccount => !self.namespace.is_empty() && self.is_account_of(&user.name),
        }
    }

    /// Plain equality with the account's user name, as upstream compares.
    fn is_account_of(&self, user: &str) -> bool {
        let rest = user.strip_prefix(SERVICE_ACCOUNT_PREFIX).and_then(|rest| rest.strip_prefix(&*self.namespace));
        rest.and_then(|rest| rest.strip_prefix(':')) == Some(&*self.name)
    }

    /// `Group "g"`; an account's name stands before its namespace.
    pub fn describe(&self) -> String {
        match self.kind {
            SubjectKind::ServiceAccount => {
                format!("ServiceAccount {}", quote(&format!("{}/{}", self.name, self.namespace)))
            }
            kind => format!("{} {}", kind.as_str(), quote(&self.name)),
        }
    }
}

/// The kind of role a binding names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoleKind {
    Role,
    ClusterRole,
    /// Not a role: the binding grants nothing and every evaluation reports it.
    Unsupported(Box<str>),
}

impl RoleKind {
    pub fn parse(kind: &str) -> Self {
        match kind {
            "Role" => RoleKind::Role,
            "ClusterRole" => RoleKind::ClusterRole,
            other => RoleKind::Unsupported(other.into()),
        }
    }

    pub fn as_str(&self) -> &str {
        match self {
            RoleKind::Role => "Role",
            RoleKind::ClusterRole => "ClusterRole",
            RoleKind::Unsupported(kind) => kind,
        }
    }
}

/// A RoleBinding, or with an empty namespace a ClusterRoleBinding.
#[derive(Debug, PartialEq, Eq)]
pub struct Binding {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    pub role_kind: RoleKind,
    pub role_name: Box<str>,
    pub subjects: Vec<Subject>,
}

impl Binding {
    /// `ClusterRoleBinding "x" of ClusterRole "y" to Group "z"`, with the first subject that fits.
    pub fn describe(&self, user: &UserInfo) -> String {
        let subject = self.subjects.iter().find(|s| s.applies_to(user)).map(Subject::describe).unwrap_or_default();
        let (kind, name) = match self.namespace.is_empty() {
            true => ("ClusterRoleBinding", quote(&self.name)),
            false => ("RoleBinding", quote(&format!("{}/{}", self.name, self.namespace))),
        };
        format!("{kind} {name} of {} {} to {subject}", self.role_kind.as_str(), quote(&self.role_name))
    }
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct RoleBody {
    rules: Option<Vec<RuleBody>>,
    aggregation_rule: Option<Aggregation>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Aggregation {
    cluster_role_selectors: Option<Vec<serde::de::IgnoredAny>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct RuleBody {
    verbs: Option<Vec<String>>,
    api_groups: Option<Vec<String>>,
    resources: Option<Vec<String>>,
    resource_names: Option<Vec<String>>,
    #[serde(rename = "nonResourceURLs")]
    non_resource_urls: Option<Vec<String>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct BindingBody {
    subjects: Option<Vec<SubjectBody>>,
    role_ref: RefBody,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct SubjectBody {
    kind: String,
    name: String,
    namespace: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RefBody {
    kind: String,
    name: String,
}

/// The JSON of a stored object, head left out.
pub(crate) fn json(object: &Object) -> Vec<u8> {
    let mut out = Vec::new();
    object.write_json(Head::Item, &mut out);
    out
}

impl Role {
    /// Bytes that do not parse (which the store does not hold) give a role without rules: absence refuses.
    pub fn from_object(object: &Object) -> Role {
        let body: RoleBody = serde_json::from_slice(&json(object)).unwrap_or_default();
        let rules = body.rules.unwrap_or_default().into_iter().map(|r| Rule {
            verbs: r.verbs.unwrap_or_default(),
            api_groups: r.api_groups.unwrap_or_default(),
            resources: r.resources.unwrap_or_default(),
            resource_names: r.resource_names.unwrap_or_default(),
            non_resource_urls: r.non_resource_urls.unwrap_or_default(),
        });
        let aggregates = body.aggregation_rule.and_then(|a| a.cluster_role_selectors).is_some_and(|s| !s.is_empty());
        Role { rules: rules.collect(), aggregates }
    }
}

impl Binding {
    pub fn from_object(object: &Object) -> Binding {
        let body: BindingBody = serde_json::from_slice(&json(object)).unwrap_or_default();
        let own = &object.key.namespace;
        let subjects = body.subjects.unwrap_or_default().into_iter().filter_map(|s| subject(s, own)).collect();
        Binding {
            namespace: (**own).into(),
            name: (*object.key.name).into(),
            role_kind: RoleKind::parse(&body.role_ref.kind),
            role_name: body.role_ref.name.into(),
            subjects,
        }
    }
}

/// Kinds that upstream does not know never match, so they are left out.
fn subject(body: SubjectBody, own: &str) -> Option<Subject> {
    let kind = match body.kind.as_str() {
        "User" => SubjectKind::User,
        "Group" => SubjectKind::Group,
        "ServiceAccount" => SubjectKind::ServiceAccount,
        _ => return None,
    };
    let namespace = match kind {
        SubjectKind::ServiceAccount if body.namespace.is_empty() => own.into(),
        SubjectKind::ServiceAccount => body.namespace.into(),
        _ => "".into(),
    };
    Some(Subject { kind, namespace, name: body.name.into() })
}
