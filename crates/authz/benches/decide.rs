//! How long a decision takes with few and with many bindings that name others: `cargo bench -p lanyard-authz`.
//! Plain timing, no library: a number to look at, not a gate.

use std::hint::black_box;
use std::time::Instant;

use authz::rbac::Policy;
use authz::{Question, Verdict};
use bytes::Bytes;
use document::Object;
use meta::{Attributes, Key, ResourceId, Revision, UserInfo};

const ROUNDS: u32 = 200_000;

fn object(resource: &str, namespace: &str, name: &str, body: &str) -> Object {
    let metadata = format!("\"metadata\":{{\"name\":\"{name}\"}}");
    Object {
        key: Key::new(ResourceId::new("rbac.authorization.k8s.io", resource), namespace, name),
        revision: Revision(1),
        uid: "u".into(),
        labels: Default::default(),
        fields: Box::new([]),
        owners: Box::new([]),
        deletion: None,
        has_finalizers: false,
        metadata: (11, metadata.len() as u32),
        bytes: Bytes::from(format!("{metadata},{body}}}")),
        splice: 12,
    }
}

fn add(policy: &mut Policy, resource: &str, namespace: &str, name: &str, body: &str) {
    let object = object(resource, namespace, name, body);
    policy.change(&object.key.clone(), Some(&object));
}

fn binding(user: &str) -> String {
    format!(r#""subjects":[{{"kind":"User","name":"{user}"}}],"roleRef":{{"kind":"ClusterRole","name":"view"}}"#)
}

fn main() {
    for count in [10, 50_000] {
        let mut policy = Policy::default();
        add(
            &mut policy,
            "clusterroles",
            "",
            "view",
            r#""rules":[{"verbs":["get","list","watch"],"apiGroups":[""],"resources":["pods"]}]"#,
        );
        for n in 0..count {
            add(
                &mut policy,
                "rolebindings",
                &format!("ns-{}", n % 500),
                &format!("b{n}"),
                &binding(&format!("user-{n}")),
            );
        }
        add(&mut policy, "rolebindings", "ns-1", "mine", &binding("alice"));
        let user = UserInfo::new("alice", ["developers", "ops", "system:authenticated"]);
        for (what, resource) in [("allow", "pods"), ("deny", "secrets")] {
            let attributes = Attributes::resource("get", "", "v1", resource, "ns-1", "x");
            let start = Instant::now();
            for _ in 0..ROUNDS {
                let decision = policy.decide(&Question { user: black_box(&user), attributes: &attributes });
                assert_eq!(decision.verdict == Verdict::Allow, what == "allow");
            }
            report(&format!("{what}, {count} bindings"), start.elapsed().as_nanos() / u128::from(ROUNDS));
        }
        let changed = object("rolebindings", "ns-1", "mine", &binding("bob"));
        let start = Instant::now();
        for _ in 0..1000 {
            let mut copy = policy.clone();
            copy.change(&changed.key, Some(&changed));
            black_box(copy);
        }
        report(&format!("change of one of {count} bindings"), start.elapsed().as_nanos() / 1000);
    }
}

#[allow(clippy::print_stdout)]
fn report(what: &str, nanoseconds: u128) {
    println!("{what:<32} {nanoseconds:>8} ns");
}
