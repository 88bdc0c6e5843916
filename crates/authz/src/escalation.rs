//! Who may grant what: the checks before a role or a binding is written, in upstream's words. They run on the tree that
//! is to be written, before it is validated.

use document::Value;
use meta::goquote::quote;
use meta::user::MASTERS;
use meta::{Attributes, GroupResource, Status, UserInfo};

use crate::rbac::policy::{GROUP, RoleKind, Rule};
use crate::rbac::{Policy, cover};

/// A write of a role or binding that is to be checked.
pub struct Write<'a> {
    pub user: &'a UserInfo,
    /// `roles`, `clusterroles`, `rolebindings` or `clusterrolebindings`.
    pub resource: &'a str,
    pub namespace: &'a str,
    /// The name in the URL: empty in a POST.
    pub url_name: &'a str,
    pub old: Option<&'a Value>,
    pub new: &'a Value,
    /// A secondary question of the same request (`Passage::ask`): is it allowed?
    pub may: &'a dyn Fn(Attributes) -> bool,
}

impl Write<'_> {
    /// Refuses what would give rights that the user does not hold.
    ///
    /// # Errors
    /// 403, 404 of a missing role, 400 or 500 for a role reference that cannot be.
    pub fn check(&self, policy: &Policy) -> Result<(), Status> {
        if self.user.in_group(MASTERS) || self.changes_only_bookkeeping() {
            return Ok(());
        }
        match self.resource {
            "roles" | "clusterroles" => self.check_role(policy),
            _ => self.check_binding(policy),
        }
    }

    fn check_role(&self, policy: &Policy) -> Result<(), Status> {
        let escalate = Attributes::resource("escalate", GROUP, "*", self.resource, self.namespace, self.url_name);
        if (self.may)(escalate) {
            return Ok(());
        }
        self.confirm(policy, &Rule::list_of(self.new))?;
        if self.resource == "clusterroles" {
            self.check_aggregation(policy)?;
        }
        Ok(())
    }

    /// A role that aggregates could come to hold anything.
    fn check_aggregation(&self, policy: &Policy) -> Result<(), Status> {
        let aggregates = |role: &Value| !role.at(["aggregationRule", "clusterRoleSelectors"]).items().is_empty();
        if !aggregates(self.new) && !self.old.is_some_and(aggregates) {
            return Ok(());
        }
        let all = || vec!["*".to_owned()];
        let everything = [
            Rule { api_groups: all(), resources: all(), verbs: all(), ..Rule::default() },
            Rule { non_resource_urls: all(), verbs: all(), ..Rule::default() },
        ];
        let (held, _) = policy.rules_held(self.user, "");
        if cover::missing(&held, &everything).is_empty() {
            return Ok(());
        }
        Err(self.forbidden("must have cluster-admin privileges to use the aggregationRule"))
    }

    fn check_binding(&self, policy: &Policy) -> Result<(), Status> {
        let role_ref = self.new.at(["roleRef"]);
        let (kind, name) = (RoleKind::parse(role_ref.at(["kind"]).str()), role_ref.at(["name"]).str());
        let roles = match kind {
            RoleKind::Role => "roles",
            RoleKind::ClusterRole => "clusterroles",
            RoleKind::Unsupported(_) => "",
        };
        let bind = Attributes::resource("bind", role_ref.at(["apiGroup"]).str(), "*", roles, self.namespace, name);
        if !roles.is_empty() && (self.may)(bind) {
            return Ok(());
        }
        let role = match &kind {
            RoleKind::Unsupported(kind) => {
                return Err(Status::unclassified(format!("unsupported role reference kind: {}", quote(kind))));
            }
            RoleKind::Role if self.namespace.is_empty() => {
                return Err(Status::bad_request("Namespace parameter required."));
            }
            kind => policy.role(kind, self.namespace, name),
        };
        let role = role.map_err(|_| Status::not_found(&self.group_resource(), name))?;
        self.confirm(policy, &role.rules)
    }

    fn confirm(&self, policy: &Policy, wanted: &[Rule]) -> Result<(), Status> {
        let errors = self.resolution_errors(policy);
        let (held, _) = policy.rules_held(self.user, self.namespace);
        let missing = cover::missing(&held, wanted);
        if missing.is_empty() {
            return Ok(());
        }
        let mut text = format!(
            "user {} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
            quote(&self.user.name),
            cover::quoted_list(&self.user.groups),
            cover::lines(missing)
        );
        if !errors.is_empty() {
            text.push_str(&format!("; resolution errors: [{}]", errors));
        }
        Err(self.forbidden(&text))
    }

    /// Roles that the user's bindings name and that are missing: worded with the *request's* resource, as upstream's
    /// look-up through storage does.
    fn resolution_errors(&self, policy: &Policy) -> String {
        let mut errors = Vec::new();
        let _: Option<()> = policy.visit(self.user, self.namespace, |binding| {
            if let Err(error) = policy.role_of(binding) {
                errors.push(match binding.role_kind {
                    RoleKind::Unsupported(_) => error,
                    _ => format!("{} {} not found", self.group_resource(), quote(&binding.role_name)),
                });
            }
            std::ops::ControlFlow::Continue(())
        });
        crate::chain::aggregate(errors).unwrap_or_default()
    }

    /// ownerReferences, finalizers, managedFields (and what the server keeps itself) may change freely.
    fn changes_only_bookkeeping(&self) -> bool {
        let Some(old) = self.old else { return false };
        let bare = |object: &Value| {
            let mut object = object.clone();
            for name in ["kind", "apiVersion"] {
                object.remove(name);
            }
            if let Some(metadata) = object.get_mut("metadata") {
                for name in ["ownerReferences", "finalizers", "managedFields", "resourceVersion"] {
                    metadata.remove(name);
                }
            }
            object
        };
        bare(old) == bare(self.new)
    }

    fn forbidden(&self, why: &str) -> Status {
        Status::forbidden(&self.group_resource(), self.new.at(["metadata", "name"]).str(), why)
    }

    fn group_resource(&self) -> GroupResource {
        GroupResource::new(GROUP, self.resource)
    }
}
