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
        revision: Revision(1),
        metadata: (11, metadata.len() as u32),
        splice: 12,
        ..Object::bare(
            Key::new(ResourceId::new("rbac.authorization.k8s.io", resource), namespace, name),
            Bytes::from(format!("{metadata},{body}}}")),
        )
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
            let timed = (0..ROUNDS).map(|_| {
                let start = Instant::now();
                let decision = policy.decide(&Question { user: black_box(&user), attributes: &attributes });
                let taken = start.elapsed().as_nanos();
                assert_eq!(decision.verdict == Verdict::Allow, what == "allow");
                taken
            });
            report(&format!("{what}, {count} bindings"), timed.collect());
        }
        let changed = object("rolebindings", "ns-1", "mine", &binding("bob"));
        let timed = (0..1000).map(|_| {
            let start = Instant::now();
            let mut copy = policy.clone();
            copy.change(&changed.key, Some(&changed));
            black_box(copy);
            start.elapsed().as_nanos()
        });
        report(&format!("change of one of {count} bindings"), timed.collect());
    }
}

#[allow(clippy::print_stdout)]
fn report(what: &str, mut nanoseconds: Vec<u128>) {
    nanoseconds.sort_unstable();
    let at = |percent: usize| nanoseconds[(nanoseconds.len() * percent / 100).min(nanoseconds.len() - 1)];
    println!("{what:<32} p50 {:>6} ns   p99 {:>6} ns", at(50), at(99));
}
