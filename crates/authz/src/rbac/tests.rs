use bytes::Bytes;
use document::{Object, Value, json};
use meta::{Attributes, Key, ResourceId, Revision, UserInfo};

use super::policy::GROUP;
use super::{Policy, Rule};
use crate::decision::{Question, Verdict};
use crate::escalation::Write;

/// An object as the store holds it, from its JSON without head.
pub(crate) fn object(resource: &str, namespace: &str, name: &str, body: &str) -> Object {
    let meta = format!("\"metadata\":{{\"name\":\"{name}\"}}");
    let end = meta.len() as u32;
    let rest = if body.is_empty() { String::new() } else { format!(",{body}") };
    Object {
        revision: Revision(1),
        splice: 12,
        metadata: (11, end),
        ..Object::bare(
            Key::new(ResourceId::from_text(resource), namespace, name),
            Bytes::from(format!("{meta}{rest}}}")),
        )
    }
}

fn add(policy: &mut Policy, resource: &str, namespace: &str, name: &str, body: &str) {
    let object = object(&format!("{resource}.{GROUP}"), namespace, name, body);
    policy.change(&object.key.clone(), Some(&object));
}

fn remove(policy: &mut Policy, resource: &str, namespace: &str, name: &str) {
    policy.change(&Key::new(ResourceId::new(GROUP, resource), namespace, name), None);
}

fn bind(role_kind: &str, role: &str, subjects: &str) -> String {
    format!(r#""subjects":[{subjects}],"roleRef":{{"apiGroup":"{GROUP}","kind":"{role_kind}","name":"{role}"}}"#)
}

fn decide(policy: &Policy, user: &UserInfo, attributes: &Attributes) -> (bool, String) {
    let decision = policy.decide(&Question { user, attributes });
    assert_ne!(decision.verdict, Verdict::Deny);
    (decision.is_allowed(), decision.reason)
}

fn get_pods(namespace: &str) -> Attributes {
    Attributes::resource("get", "", "v1", "pods", namespace, "p")
}

const PODS: &str = r#""rules":[{"verbs":["get"],"apiGroups":[""],"resources":["pods"]}]"#;

#[test]
fn the_reason_names_binding_role_and_the_first_subject_that_fits() {
    let mut policy = Policy::default();
    add(&mut policy, "clusterroles", "", "cr", PODS);
    add(&mut policy, "roles", "ns", "r", PODS);
    add(
        &mut policy,
        "clusterrolebindings",
        "",
        "crb",
        &bind("ClusterRole", "cr", r#"{"kind":"Group","name":"g"},{"kind":"User","name":"u"}"#),
    );
    add(&mut policy, "rolebindings", "ns", "rb", &bind("Role", "r", r#"{"kind":"ServiceAccount","name":"sa"}"#));
    let check = |user: &UserInfo, namespace: &str, want: &str| {
        assert_eq!(decide(&policy, user, &get_pods(namespace)).1, want, "{user:?}")
    };
    let none: [&str; 0] = [];
    check(
        &UserInfo::new("u", ["g"]),
        "",
        r#"RBAC: allowed by ClusterRoleBinding "crb" of ClusterRole "cr" to Group "g""#,
    );
    check(
        &UserInfo::new("u", none),
        "other",
        r#"RBAC: allowed by ClusterRoleBinding "crb" of ClusterRole "cr" to User "u""#,
    );
    let account = UserInfo::service_account("ns", "sa", "");
    check(&account, "ns", r#"RBAC: allowed by RoleBinding "rb/ns" of Role "r" to ServiceAccount "sa/ns""#);
    check(&account, "other", "");
    check(&UserInfo::service_account("other", "sa", ""), "ns", "");
}

#[test]
fn a_missing_role_is_the_reason_of_a_refusal() {
    let mut policy = Policy::default();
    let subject = r#"{"kind":"User","name":"u"}"#;
    add(&mut policy, "clusterrolebindings", "", "a", &bind("ClusterRole", "gone", subject));
    let user = UserInfo::new("u", ["g"]);
    let want = r#"RBAC: clusterrole.rbac.authorization.k8s.io "gone" not found"#;
    assert_eq!(decide(&policy, &user, &get_pods("ns")), (false, want.into()));
    add(&mut policy, "rolebindings", "ns", "b", &bind("Role", "none", subject));
    let want = r#"RBAC: [clusterrole.rbac.authorization.k8s.io "gone" not found, role.rbac.authorization.k8s.io "none" not found]"#;
    assert_eq!(decide(&policy, &user, &get_pods("ns")), (false, want.into()));
    add(&mut policy, "roles", "ns", "none", PODS);
    assert!(decide(&policy, &user, &get_pods("ns")).0, "a role that appears counts at once");
    remove(&mut policy, "rolebindings", "ns", "b");
    assert!(!decide(&policy, &user, &get_pods("ns")).0, "a binding that goes counts no longer");
}

#[test]
fn rules_match_as_upstreams_do() {
    let rule = |text: &str| -> Rule {
        Rule::list_of(&json::parse(format!(r#"{{"rules":[{text}]}}"#).as_bytes()).unwrap()).remove(0)
    };
    let check = |text: &str, a: &Attributes, want: bool| assert_eq!(rule(text).allows(a), want, "{text} {a:?}");
    let pod = get_pods("ns");
    let log = get_pods("ns").with_subresource("log");
    check(r#"{"verbs":["get"],"apiGroups":[""],"resources":["pods"]}"#, &pod, true);
    check(r#"{"verbs":["get"],"apiGroups":[""],"resources":["pods"]}"#, &log, false);
    check(r#"{"verbs":["get"],"apiGroups":[""],"resources":["pods/log"]}"#, &log, true);
    check(r#"{"verbs":["get"],"apiGroups":[""],"resources":["pods/*"]}"#, &log, false);
    check(r#"{"verbs":["get"],"apiGroups":[""],"resources":["*/log"]}"#, &log, true);
    check(r#"{"verbs":["get"],"apiGroups":[""],"resources":["*"]}"#, &log, true);
    check(r#"{"verbs":["*"],"apiGroups":["*"],"resources":["*"]}"#, &pod, true);
    check(r#"{"verbs":["GET"],"apiGroups":[""],"resources":["pods"]}"#, &pod, false);
    check(r#"{"verbs":["get"],"apiGroups":["apps"],"resources":["pods"]}"#, &pod, false);
    check(r#"{"verbs":["get"],"apiGroups":[""],"resources":["pods"],"resourceNames":["q"]}"#, &pod, false);
    check(
        r#"{"verbs":["list"],"apiGroups":[""],"resources":["pods"],"resourceNames":[""]}"#,
        &Attributes::resource("list", "", "v1", "pods", "ns", ""),
        true,
    );
    let path = Attributes::path("get", "/a/b");
    check(r#"{"verbs":["get"],"nonResourceURLs":["/a/*"]}"#, &path, true);
    check(r#"{"verbs":["get"],"nonResourceURLs":["/a"]}"#, &path, false);
    check(r#"{"verbs":["get"],"nonResourceURLs":["*"]}"#, &path, true);
    check(r#"{"verbs":["*"],"apiGroups":["*"],"resources":["*"]}"#, &path, false);
}

/// A small generator of numbers, so that the property below needs no library and always sees the same cases.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }

    fn pick<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.roll(list.len())]
    }
}

/// The same objects in a plain list, evaluated as upstream's loop does.
#[derive(Default)]
struct Naive {
    roles: Vec<(String, String, Vec<Rule>)>,
    bindings: Vec<(String, String, super::Binding)>,
}

impl Naive {
    fn allows(&self, user: &UserInfo, a: &Attributes) -> bool {
        self.bindings.iter().any(|(namespace, _, binding)| {
            let near = namespace.is_empty() || (!a.namespace.is_empty() && *namespace == a.namespace);
            let home = if binding.role_kind.as_str() == "Role" { namespace.as_str() } else { "" };
            let role = self.roles.iter().find(|(ns, name, _)| ns == home && *name == *binding.role_name);
            near && binding.subjects.iter().any(|s| s.applies_to(user))
                && role.is_some_and(|(_, _, rules)| rules.iter().any(|r| r.allows(a)))
        })
    }
}

#[test]
fn the_index_decides_as_a_plain_walk_over_all_bindings() {
    let (namespaces, names) = (["", "a", "b"], ["x", "y", "z"]);
    for seed in 1..60 {
        let (mut dice, mut policy, mut naive) = (Dice(seed * 7_919), Policy::default(), Naive::default());
        for _ in 0..120 {
            let (namespace, name) = (dice.pick(&namespaces), dice.pick(&names));
            let cluster = namespace.is_empty();
            if dice.roll(2) == 0 {
                let resource = if cluster { "clusterroles" } else { "roles" };
                naive.roles.retain(|(ns, n, _)| (ns.as_str(), n.as_str()) != (namespace, name));
                if dice.roll(4) == 0 {
                    remove(&mut policy, resource, namespace, name);
                    continue;
                }
                let verb = dice.pick(&["get", "list", "*"]);
                let kind = dice.pick(&["pods", "secrets", "*"]);
                let body = format!(r#""rules":[{{"verbs":["{verb}"],"apiGroups":[""],"resources":["{kind}"]}}]"#);
                add(&mut policy, resource, namespace, name, &body);
                let rules = Rule::list_of(&json::parse(format!("{{{body}}}").as_bytes()).unwrap());
                naive.roles.push((namespace.into(), name.into(), rules));
            } else {
                let resource = if cluster { "clusterrolebindings" } else { "rolebindings" };
                naive.bindings.retain(|(ns, n, _)| (ns.as_str(), n.as_str()) != (namespace, name));
                if dice.roll(4) == 0 {
                    remove(&mut policy, resource, namespace, name);
                    continue;
                }
                let subjects: Vec<String> = (0..dice.roll(3)).map(|_| random_subject(&mut dice)).collect();
                let kind = if cluster || dice.roll(2) == 0 { "ClusterRole" } else { "Role" };
                let body = bind(kind, dice.pick(&names), &subjects.join(","));
                add(&mut policy, resource, namespace, name, &body);
                let stored = object(&format!("{resource}.{GROUP}"), namespace, name, &body);
                naive.bindings.push((namespace.into(), name.into(), super::Binding::from_object(&stored)));
            }
            let user = random_user(&mut dice);
            let a = Attributes::resource(
                dice.pick(&["get", "list"]),
                "",
                "v1",
                dice.pick(&["pods", "secrets"]),
                dice.pick(&namespaces),
                "p",
            );
            assert_eq!(decide(&policy, &user, &a).0, naive.allows(&user, &a), "seed {seed} {user:?} {a:?}");
        }
    }
}

fn random_subject(dice: &mut Dice) -> String {
    let name = dice.pick(&["u", "v"]);
    match dice.roll(4) {
        0 => format!(r#"{{"kind":"User","name":"{name}"}}"#),
        1 => format!(r#"{{"kind":"Group","name":"{name}"}}"#),
        2 => format!(r#"{{"kind":"User","name":"system:serviceaccount:a:{name}"}}"#),
        _ => format!(r#"{{"kind":"ServiceAccount","namespace":"{}","name":"{name}"}}"#, dice.pick(&["", "a", "b"])),
    }
}

fn random_user(dice: &mut Dice) -> UserInfo {
    let name = dice.pick(&["u", "v"]);
    match dice.roll(2) {
        0 => UserInfo::new(name, [dice.pick(&["u", "v", "w"])]),
        _ => UserInfo::service_account(dice.pick(&["a", "b"]), name, ""),
    }
}

fn refusal(policy: &Policy, resource: &str, old: Option<&str>, new: &str, may: bool) -> Option<(u16, String)> {
    let parse = |text: &str| -> Value { json::parse(text.as_bytes()).unwrap() };
    let (old, new) = (old.map(parse), parse(new));
    let namespace = if resource.starts_with("cluster") { "" } else { "ns" };
    let user = UserInfo::new("u", ["g1", "g2"]);
    let write = Write { user: &user, resource, namespace, url_name: "", old: old.as_ref(), new: &new, may: &|_| may };
    write.check(policy).err().map(|status| (status.code, status.message))
}

#[test]
fn a_role_may_grant_only_what_its_writer_holds() {
    let mut policy = Policy::default();
    add(
        &mut policy,
        "clusterroles",
        "",
        "pods",
        r#""rules":[{"verbs":["get","list"],"apiGroups":[""],"resources":["pods"]}]"#,
    );
    add(&mut policy, "rolebindings", "ns", "b", &bind("ClusterRole", "pods", r#"{"kind":"User","name":"u"}"#));
    let role = |rules: &str| format!(r#"{{"metadata":{{"name":"x"}},"rules":[{rules}]}}"#);
    let fine = role(r#"{"verbs":["list"],"apiGroups":[""],"resources":["pods"],"resourceNames":["a"]}"#);
    assert_eq!(refusal(&policy, "roles", None, &fine, false), None);
    let wide = role(
        r#"{"verbs":["update","create","create"],"apiGroups":[""],"resources":["pods","secrets"]},
           {"verbs":["get","update"],"apiGroups":[""],"resources":["secrets"],"resourceNames":["s","t"]}"#,
    );
    let want = concat!(
        r#"roles.rbac.authorization.k8s.io "x" is forbidden: user "u" (groups=["g1" "g2"]) is attempting to grant RBAC permissions not currently held:"#,
        "\n",
        r#"{APIGroups:[""], Resources:["pods"], Verbs:["update" "create" "create"]}"#,
        "\n",
        r#"{APIGroups:[""], Resources:["secrets"], ResourceNames:["s"], Verbs:["get" "update"]}"#,
        "\n",
        r#"{APIGroups:[""], Resources:["secrets"], ResourceNames:["t"], Verbs:["get" "update"]}"#,
        "\n",
        r#"{APIGroups:[""], Resources:["secrets"], Verbs:["update" "create" "create"]}"#,
    );
    assert_eq!(refusal(&policy, "roles", None, &wide, false), Some((403, want.into())));
    assert_eq!(refusal(&policy, "roles", None, &wide, true), None, "escalate allows all");
    assert_eq!(refusal(&policy, "roles", Some(&wide), &wide, false), None, "nothing but bookkeeping changes");
    let labelled = wide.replace(r#""name":"x""#, r#""name":"x","labels":{"a":"b"}"#);
    assert!(refusal(&policy, "roles", Some(&wide), &labelled, false).is_some(), "a label needs all rights");
    assert!(
        refusal(&policy, "clusterroles", None, &fine, false).is_some(),
        "rights in a namespace are none in the cluster"
    );
}

#[test]
fn an_aggregation_rule_needs_everything() {
    let role = r#"{"metadata":{"name":"x"},"aggregationRule":{"clusterRoleSelectors":[{"matchLabels":{"a":"b"}}]}}"#;
    let want = r#"clusterroles.rbac.authorization.k8s.io "x" is forbidden: must have cluster-admin privileges to use the aggregationRule"#;
    let mut policy = Policy::default();
    assert_eq!(refusal(&policy, "clusterroles", None, role, false), Some((403, want.into())));
    let rules = r#""rules":[{"verbs":["get"],"apiGroups":[""],"resources":["pods"]}],"aggregationRule""#;
    let first = refusal(&policy, "clusterroles", None, &role.replace(r#""aggregationRule""#, rules), false);
    assert!(first.is_some_and(|(_, text)| text.contains("not currently held")), "rights of its own are named first");
    add(
        &mut policy,
        "clusterroles",
        "",
        "all",
        r#""rules":[{"verbs":["*"],"apiGroups":["*"],"resources":["*"]},{"verbs":["*"],"nonResourceURLs":["*"]}]"#,
    );
    add(&mut policy, "clusterrolebindings", "", "all", &bind("ClusterRole", "all", r#"{"kind":"Group","name":"g2"}"#));
    assert_eq!(refusal(&policy, "clusterroles", None, role, false), None);
}

#[test]
fn a_binding_needs_the_rights_of_its_role_or_the_verb_bind() {
    let mut policy = Policy::default();
    add(&mut policy, "clusterroles", "", "cr", PODS);
    let binding = |kind: &str, name: &str| {
        format!(r#"{{"metadata":{{"name":"b"}},"roleRef":{{"apiGroup":"{GROUP}","kind":"{kind}","name":"{name}"}}}}"#)
    };
    let check = |resource: &str, body: &str, may: bool, want: Option<(u16, &str)>| {
        let got = refusal(&policy, resource, None, body, may);
        assert_eq!(got.as_ref().map(|(code, _)| *code), want.map(|(code, _)| code), "{body}");
        let (got, want) = (got.map(|g| g.1).unwrap_or_default(), want.map(|w| w.1).unwrap_or_default());
        assert!(got.starts_with(want), "{got}\n{want}");
    };
    let forbidden =
        r#"rolebindings.rbac.authorization.k8s.io "b" is forbidden: user "u" (groups=["g1" "g2"]) is attempting"#;
    check("rolebindings", &binding("ClusterRole", "cr"), false, Some((403, forbidden)));
    check("rolebindings", &binding("ClusterRole", "cr"), true, None);
    check(
        "rolebindings",
        &binding("Role", "none"),
        false,
        Some((404, r#"rolebindings.rbac.authorization.k8s.io "none" not found"#)),
    );
    check("rolebindings", &binding("Role", "none"), true, None);
    check("rolebindings", &binding("Group", "x"), true, Some((500, r#"unsupported role reference kind: "Group""#)));
    check("clusterrolebindings", &binding("Role", "x"), false, Some((400, "Namespace parameter required.")));
}
