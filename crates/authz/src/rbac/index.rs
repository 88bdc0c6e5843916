//! The index: bindings by the subject they name and the namespace they stand in, roles by name. Persistent: a change
//! copies a path, not the index. Its cost per decision does not grow with bindings that name others.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use document::Object;
use imbl::{HashMap, OrdMap};
use meta::user::SERVICE_ACCOUNT_PREFIX;
use meta::{Key, ResourceId, UserInfo};
use store::{Change, Observer, View};

use super::policy::{Binding, Role, Rule, Subject, SubjectKind};

type Bindings = OrdMap<Arc<str>, Arc<Binding>>;

/// What the bindings say of one subject.
#[derive(Clone, Debug, Default)]
struct Held {
    cluster: Bindings,
    /// By the binding's namespace.
    namespaces: HashMap<Arc<str>, Bindings>,
}

/// All roles and bindings of one view.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Users by name; ServiceAccounts by their user name.
    users: HashMap<Arc<str>, Held>,
    groups: HashMap<Arc<str>, Held>,
    cluster_roles: HashMap<Arc<str>, Arc<Role>>,
    roles: HashMap<Arc<str>, HashMap<Arc<str>, Arc<Role>>>,
    /// Every binding by key, for enumeration.
    bindings: OrdMap<(Arc<str>, Arc<str>), Arc<Binding>>,
}

/// A binding that allows something, and the rule of its role that does.
#[derive(Clone, Debug)]
pub struct Grant {
    pub binding: Arc<Binding>,
    pub rule: Rule,
}

impl Policy {
    /// Calls `visit` for each binding that applies to the user: ClusterRoleBindings, then RoleBindings of `namespace`
    /// (none when it is empty). A binding that applies through several subjects comes once.
    pub fn visit<B>(
        &self,
        user: &UserInfo,
        namespace: &str,
        mut visit: impl FnMut(&Arc<Binding>) -> ControlFlow<B>,
    ) -> Option<B> {
        let held: Vec<&Held> = self
            .users
            .get(user.name.as_str())
            .into_iter()
            .chain(user.groups.iter().filter_map(|g| self.groups.get(g.as_str())))
            .collect();
        if let Some(found) = visit_once(held.iter().map(|h| &h.cluster), &mut visit) {
            return Some(found);
        }
        if namespace.is_empty() {
            return None;
        }
        visit_once(held.iter().filter_map(|h| h.namespaces.get(namespace)), &mut visit)
    }

    pub fn cluster_role(&self, name: &str) -> Option<&Arc<Role>> {
        self.cluster_roles.get(name)
    }

    pub fn namespaced_role(&self, namespace: &str, name: &str) -> Option<&Arc<Role>> {
        self.roles.get(namespace)?.get(name)
    }

    /// Every binding, ClusterRoleBindings first, in name order.
    pub fn bindings(&self) -> impl Iterator<Item = &Arc<Binding>> {
        self.bindings.values()
    }

    /// Adds or replaces one object's part, or with `None` removes it: also how `preview` makes a changed copy.
    pub fn change(&mut self, key: &Key, new: Option<&Object>) {
        match Kind::of(&key.resource) {
            Some(Kind::Role) => self.change_role(key, new.map(Role::from_object)),
            Some(Kind::Binding) => self.change_binding(key, new.map(Binding::from_object)),
            None => {}
        }
    }

    fn change_role(&mut self, key: &Key, role: Option<Role>) {
        let name: Arc<str> = (*key.name).into();
        let roles = match key.namespace.is_empty() {
            true => &mut self.cluster_roles,
            false => self.roles.entry((*key.namespace).into()).or_default(),
        };
        match role {
            Some(role) => roles.insert(name, Arc::new(role)),
            None => roles.remove(&name),
        };
    }

    fn change_binding(&mut self, key: &Key, binding: Option<Binding>) {
        let place: (Arc<str>, Arc<str>) = ((*key.namespace).into(), (*key.name).into());
        if let Some(old) = self.bindings.remove(&place) {
            for subject in distinct(&old) {
                self.unbind(&subject, &old);
            }
        }
        let Some(binding) = binding.map(Arc::new) else { return };
        for subject in distinct(&binding) {
            self.held_mut(&subject).bindings_mut(&binding.namespace).insert(binding.name.clone(), binding.clone());
        }
        self.bindings.insert(place, binding);
    }

    fn held_mut(&mut self, subject: &IndexKey) -> &mut Held {
        match subject {
            IndexKey::User(name) => self.users.entry(name.clone()).or_default(),
            IndexKey::Group(name) => self.groups.entry(name.clone()).or_default(),
        }
    }

    fn unbind(&mut self, subject: &IndexKey, old: &Binding) {
        let held = self.held_mut(subject);
        let bindings = held.bindings_mut(&old.namespace);
        bindings.remove(&old.name);
        if bindings.is_empty() && !old.namespace.is_empty() {
            held.namespaces.remove(&old.namespace);
        }
        if held.cluster.is_empty() && held.namespaces.is_empty() {
            match subject {
                IndexKey::User(name) => self.users.remove(name),
                IndexKey::Group(name) => self.groups.remove(name),
            };
        }
    }
}

impl Held {
    fn bindings_mut(&mut self, namespace: &Arc<str>) -> &mut Bindings {
        if namespace.is_empty() { &mut self.cluster } else { self.namespaces.entry(namespace.clone()).or_default() }
    }
}

fn visit_once<'a, B>(
    maps: impl Iterator<Item = &'a Bindings> + Clone,
    visit: &mut impl FnMut(&Arc<Binding>) -> ControlFlow<B>,
) -> Option<B> {
    for (n, map) in maps.clone().enumerate() {
        for (name, binding) in map {
            let seen = maps.clone().take(n).any(|earlier| earlier.contains_key(name));
            if !seen && let ControlFlow::Break(found) = visit(binding) {
                return Some(found);
            }
        }
    }
    None
}

/// Under which user or group a subject is found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum IndexKey {
    User(Arc<str>),
    Group(Arc<str>),
}

fn index_key(subject: &Subject) -> Option<IndexKey> {
    match subject.kind {
        SubjectKind::User => Some(IndexKey::User((*subject.name).into())),
        SubjectKind::Group => Some(IndexKey::Group((*subject.name).into())),
        SubjectKind::ServiceAccount if subject.namespace.is_empty() => None,
        SubjectKind::ServiceAccount => {
            Some(IndexKey::User(format!("{SERVICE_ACCOUNT_PREFIX}{}:{}", subject.namespace, subject.name).into()))
        }
    }
}

fn distinct(binding: &Binding) -> BTreeSet<IndexKey> {
    binding.subjects.iter().filter_map(index_key).collect()
}

enum Kind {
    Role,
    Binding,
}

const RESOURCES: [&str; 4] = [
    "roles.rbac.authorization.k8s.io",
    "clusterroles.rbac.authorization.k8s.io",
    "rolebindings.rbac.authorization.k8s.io",
    "clusterrolebindings.rbac.authorization.k8s.io",
];

impl Kind {
    fn of(resource: &ResourceId) -> Option<Kind> {
        match RESOURCES.iter().position(|r| *r == resource.as_str())? {
            0 | 1 => Some(Kind::Role),
            _ => Some(Kind::Binding),
        }
    }
}

/// The observer that keeps a [`Policy`] on every view.
pub struct Observe;

impl Observer for Observe {
    type Index = Policy;

    fn resources(&self) -> Vec<ResourceId> {
        RESOURCES.iter().map(|r| ResourceId::from_text(r)).collect()
    }

    fn build(&self, view: &View) -> Policy {
        let mut policy = Policy::default();
        for resource in self.resources() {
            for object in view.list(&resource, None) {
                policy.change(&object.key, Some(&object));
            }
        }
        policy
    }

    fn apply(&self, index: &Policy, changes: &[Change], _: &View) -> Policy {
        let mut policy = index.clone();
        for change in changes {
            policy.change(&change.key, change.new.as_deref());
        }
        policy
    }
}
