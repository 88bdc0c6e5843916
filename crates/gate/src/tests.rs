//! The gate over a real store: who gets in, as whom, and what the others are told.

use std::sync::{Arc, Mutex};

use authz::{Chain, Mode, NodeAuthorizer, Rbac, Record};
use bytes::Bytes;
use document::Object;
use http::HeaderMap;
use meta::{Attributes, Key, ResourceId, Revision, Status, UserInfo};
use store::{Effect, Options, Precondition, Store, Transaction, Write, Writer};

use crate::{Admitted, Gate, Insiders, Parts, Passage, forbidden};

const RBAC: &str = "rbac.authorization.k8s.io";

struct Server {
    gate: Gate,
    insiders: Insiders,
    writer: Writer<Admitted>,
    records: Arc<Mutex<Vec<Record>>>,
}

fn server() -> Server {
    let reseal = Arc::new(|_: Key, _: Revision, _: Bytes| Err("nothing is replayed".to_owned()));
    let (store, writer) = Store::open::<Admitted>(Box::new(store::log::Null), reseal, Options::default()).unwrap();
    let tokens =
        "alice-token,alice,uid-alice,\"developers,ops\"\nproxy-token,proxy,uid-proxy\nroot-token,root,r,system:masters";
    let config = authn::Config {
        static_tokens: authn::StaticTokens::parse(tokens).unwrap(),
        anonymous: true,
        ..Default::default()
    };
    let rbac = Rbac::attach(&store);
    let authorizers = Chain::of_modes(&[Mode::Node, Mode::Rbac], NodeAuthorizer::attach(&store), rbac.clone());
    let records = Arc::new(Mutex::new(Vec::new()));
    let sink = records.clone();
    let parts = Parts {
        authenticators: authn::Chain::new(config).unwrap(),
        authorizers,
        rbac,
        admission: admission::Chain::new(&admission::Config::default()).unwrap(),
        store,
        sink: Arc::new(move |record| sink.lock().unwrap().push(record.clone())),
    };
    let (gate, insiders) = Gate::new(parts);
    Server { gate, insiders, writer, records }
}

impl Server {
    /// As the API server writes: internal, without admission.
    fn put(&self, resource: &str, name: &str, body: &str) {
        let metadata = format!("\"metadata\":{{\"name\":\"{name}\"}}");
        let object = Object {
            metadata: (11, metadata.len() as u32),
            splice: 12,
            ..Object::bare(
                Key::new(ResourceId::new(RBAC, resource), "", name),
                Bytes::from(format!("{metadata},{body}}}")),
            )
        };
        let passage = self.gate.enter(self.insiders.api_server(), Attributes::path("post", "/")).unwrap();
        let write = Write { precondition: Precondition::Any, effect: Effect::Put(object) };
        let admitted = self.gate.seal_internal(&passage, Transaction { writes: vec![write], reads: vec![] }).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(self.writer.commit(admitted)).unwrap();
    }

    fn grant(&self, name: &str, user: &str, rules: &str) {
        self.put("clusterroles", name, &format!("\"rules\":[{rules}]"));
        let subject = format!(r#""subjects":[{{"kind":"User","name":"{user}"}}]"#);
        self.put(
            "clusterrolebindings",
            name,
            &format!(r#"{subject},"roleRef":{{"kind":"ClusterRole","name":"{name}"}}"#),
        );
    }

    fn enter(&self, headers: &[(&'static str, &str)], attributes: Attributes) -> Result<Passage, Status> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let caller = self.gate.authenticate(&authn::Request { peer: None, headers: &map }).map_err(|u| u.status)?;
        self.gate.enter(caller, attributes)
    }
}

fn list_pods() -> Attributes {
    Attributes::resource("list", "", "v1", "pods", "ns", "")
}

const ALICE: (&str, &str) = ("authorization", "Bearer alice-token");
const PROXY: (&str, &str) = ("authorization", "Bearer proxy-token");
const ROOT: (&str, &str) = ("authorization", "Bearer root-token");

fn message(result: Result<Passage, Status>) -> (u16, String) {
    result.err().map(|status| (status.code, status.message)).unwrap_or_default()
}

#[test]
fn a_grant_counts_as_soon_as_it_is_written() {
    let server = server();
    let want = r#"pods is forbidden: User "alice" cannot list resource "pods" in API group "" in the namespace "ns""#;
    assert_eq!(message(server.enter(&[ALICE], list_pods())), (403, want.into()));
    server.grant("r", "alice", r#"{"verbs":["list"],"apiGroups":[""],"resources":["pods"]}"#);
    let passage = server.enter(&[ALICE], list_pods()).unwrap();
    let reason = r#"RBAC: allowed by ClusterRoleBinding "r" of ClusterRole "r" to User "alice""#;
    assert_eq!(passage.decision().reason, reason);
    assert!(!passage.may(Attributes::resource("list", "", "v1", "secrets", "ns", "")));
    let records = server.records.lock().unwrap();
    let last = records.last().unwrap();
    assert!(last.secondary && !last.decision.is_allowed() && last.user.name == "alice");
}

#[test]
fn a_bad_token_is_401_and_none_is_anonymous() {
    let server = server();
    assert_eq!(message(server.enter(&[("authorization", "Bearer x")], list_pods())), (401, "Unauthorized".into()));
    assert_eq!(message(server.enter(&[("authorization", "Bearer ü")], list_pods())), (401, "Unauthorized".into()));
    assert!(message(server.enter(&[], list_pods())).1.contains(r#"User "system:anonymous""#));
    assert!(server.enter(&[ROOT], list_pods()).is_ok());
}

#[test]
fn only_the_api_server_seals_without_admission() {
    let server = server();
    let passage = server.enter(&[ROOT], list_pods()).unwrap();
    assert_eq!(server.gate.seal_internal(&passage, Transaction::default()).err().map(|s| s.code), Some(403));
}

#[test]
fn the_403_is_upstreams_to_the_letter() {
    let check = |user: &str, a: Attributes, reason: &str, want: &str| {
        let none: [&str; 0] = [];
        assert_eq!(forbidden(&UserInfo::new(user, none), &a, reason).message, want);
    };
    let get = |group: &str, resource: &str, ns: &str, name: &str| {
        Attributes::resource("get", group, "v1", resource, ns, name)
    };
    check(
        r#"a "b" <c> & d\e"#,
        Attributes::path("get", "/x<y>&z"),
        "",
        r#"forbidden: User "a \"b\" &lt;c&gt; &amp; d\\e" cannot get path "/x&lt;y&gt;&amp;z""#,
    );
    check(
        "u",
        get("", "pods", "ns", r#""q"<r>"#),
        "",
        r#"pods "\"q\"<r>" is forbidden: User "u" cannot get resource "pods" in API group "" in the namespace "ns""#,
    );
    check(
        "u",
        get("a<b>.example.com", "things", "", "x"),
        "",
        r#"things.a<b>.example.com "x" is forbidden: User "u" cannot get resource "things" in API group "a&lt;b&gt;.example.com" at the cluster scope"#,
    );
    check(
        "u",
        get("", "pods", "ns", "p").with_subresource("exec"),
        "rbac: RBAC: <x>",
        r#"pods "p" is forbidden: User "u" cannot get resource "pods/exec" in API group "" in the namespace "ns": rbac: RBAC: <x>"#,
    );
    let options = Attributes { verb: String::new(), ..get("", "pods", "ns", "p") };
    check(
        "u",
        options,
        "",
        r#"pods "p" is forbidden: User "u" cannot  resource "pods" in API group "" in the namespace "ns""#,
    );
}

#[test]
fn a_master_may_be_anybody_and_groups_are_filled_in() {
    let server = server();
    server.grant("all", "jane", r#"{"verbs":["*"],"apiGroups":["*"],"resources":["*"]}"#);
    let check = |headers: &[(&'static str, &str)], groups: &[&str]| {
        let headers: Vec<(&'static str, &str)> = [&[ROOT], headers].concat();
        let passage = server.enter(&headers, list_pods()).unwrap();
        assert_eq!(passage.user().groups, groups, "{headers:?}");
        assert_eq!(passage.impersonator().unwrap().name, "root");
    };
    let user = ("impersonate-user", "jane");
    check(&[user], &["system:authenticated"]);
    check(&[user, ("impersonate-group", "dev"), ("impersonate-group", "ops")], &["dev", "ops", "system:authenticated"]);
    check(&[user, ("impersonate-group", "system:unauthenticated")], &["system:unauthenticated"]);
    let account = server.enter(&[ROOT, ("impersonate-user", "system:serviceaccount:ns:sa")], list_pods());
    assert!(message(account).1.contains(r#"User "system:serviceaccount:ns:sa" cannot list"#));
    let nobody = server.enter(&[ROOT, ("impersonate-group", "dev")], list_pods());
    let want = r#"requested &user.DefaultInfo{Name:"", UID:"", Groups:[]string{"dev"}, Extra:map[string][]string(nil)} without impersonating a user name"#;
    assert_eq!(message(nobody), (400, want.into()));
    assert_eq!(server.enter(&[ROOT, ("impersonate-user", "")], list_pods()).unwrap().user().name, "root");
}

#[test]
fn a_refused_impersonation_is_worded_by_the_first_mode_that_applies() {
    let server = server();
    let check = |user: &str, verb: &str| {
        let want = format!(
            r#"pods is forbidden: User "proxy" cannot {verb} resource "pods" in API group "" in the namespace "ns""#
        );
        assert_eq!(message(server.enter(&[PROXY, ("impersonate-user", user)], list_pods())), (403, want));
    };
    check("jane", "impersonate-on:user-info:list");
    check("system:serviceaccount:ns:sa", "impersonate-on:serviceaccount:list");
    check("system:node:n1", "impersonate-on:arbitrary-node:list");
    check("system:anonymous", "impersonate-on:user-info:list");
}

#[test]
fn who_impersonates_the_old_way_is_refused_the_old_way() {
    let server = server();
    server.grant("all", "jane", r#"{"verbs":["*"],"apiGroups":["*"],"resources":["*"]}"#);
    server.grant(
        "imp",
        "proxy",
        r#"{"verbs":["impersonate"],"apiGroups":[""],"resources":["users"],"resourceNames":["jane"]},
           {"verbs":["impersonate"],"apiGroups":[""],"resources":["groups"],"resourceNames":["dev"]},
           {"verbs":["impersonate"],"apiGroups":["authentication.k8s.io"],"resources":["userextras/scopes"],"resourceNames":["view"]}"#,
    );
    let enter = |headers: &[(&'static str, &str)]| {
        let headers: Vec<(&'static str, &str)> = [&[PROXY], headers].concat();
        message(server.enter(&headers, list_pods()))
    };
    let jane = ("impersonate-user", "jane");
    assert_eq!(enter(&[jane, ("impersonate-group", "dev"), ("impersonate-extra-scopes", "view")]).0, 0);
    let check = |headers: &[(&'static str, &str)], want: &str| assert_eq!(enter(headers), (403, want.to_owned()));
    check(
        &[("impersonate-user", "joe")],
        r#"users "joe" is forbidden: User "proxy" cannot impersonate resource "users" in API group "" at the cluster scope"#,
    );
    check(
        &[jane, ("impersonate-group", "system:masters")],
        r#"groups "system:masters" is forbidden: User "proxy" cannot impersonate resource "groups" in API group "" at the cluster scope"#,
    );
    check(
        &[jane, ("impersonate-extra-scopes", "edit")],
        r#"userextras.authentication.k8s.io "edit" is forbidden: User "proxy" cannot impersonate resource "userextras/scopes" in API group "authentication.k8s.io" at the cluster scope"#,
    );
}

#[test]
fn constrained_impersonation_needs_the_action_and_the_identity() {
    let server = server();
    server.grant("jane", "jane", r#"{"verbs":["*"],"apiGroups":["*"],"resources":["*"]}"#);
    server.grant(
        "who",
        "proxy",
        r#"{"verbs":["impersonate:user-info"],"apiGroups":["authentication.k8s.io"],"resources":["users"],"resourceNames":["jane"]},
           {"verbs":["impersonate-on:user-info:list"],"apiGroups":[""],"resources":["pods"]}"#,
    );
    let jane = ("impersonate-user", "jane");
    assert_eq!(message(server.enter(&[PROXY, jane], list_pods())).0, 0);
    let get = Attributes::resource("get", "", "v1", "pods", "ns", "p");
    let want = r#"pods "p" is forbidden: User "proxy" cannot impersonate-on:user-info:get resource "pods" in API group "" in the namespace "ns""#;
    assert_eq!(message(server.enter(&[PROXY, jane], get)), (403, want.into()));
    let want = concat!(
        r#"groups.authentication.k8s.io "system:masters" is forbidden: User "proxy" cannot impersonate:user-info resource "groups" "#,
        r#"in API group "authentication.k8s.io" at the cluster scope: impersonating the system:masters group is not allowed"#
    );
    assert_eq!(
        message(server.enter(&[PROXY, jane, ("impersonate-group", "system:masters")], list_pods())),
        (403, want.into())
    );
}
