//! Plugins against a small world of documents: what a pod looks like afterwards, and what is refused.

use std::collections::BTreeMap;

use document::{Value, doc};
use meta::{Attributes, Key, ResourceId, Status, UserInfo};

use crate::review::Companion;
use crate::world::Life;
use crate::{Chain, Config, Operation, Review, World};

#[derive(Default)]
struct Fake(BTreeMap<Key, Value>);

impl Fake {
    fn with(mut self, resource: &str, object: Value) -> Self {
        let meta = &object["metadata"];
        let key = Key::new(ResourceId::from_text(resource), meta["namespace"].str(), meta["name"].str());
        self.0.insert(key, object);
        self
    }
}

impl World for Fake {
    fn life(&self, key: &Key) -> Option<Life> {
        let object = self.0.get(key)?;
        let end = meta::Time::parse(object["metadata"]["deletionTimestamp"].str());
        Some(end.map_or(Life::Live, Life::Deleting))
    }

    fn read(&self, key: &Key) -> Option<Value> {
        self.0.get(key).cloned()
    }

    fn labels(&self, key: &Key) -> Option<meta::labels::Labels> {
        let labels = self.0.get(key)?["metadata"]["labels"].members();
        Some(labels.map(|(name, value)| (name, value.str())).collect())
    }

    fn all(&self, resource: &str, namespace: Option<&str>) -> Vec<Value> {
        let wanted = |k: &Key| k.resource.as_str() == resource && namespace.is_none_or(|n| *k.namespace == *n);
        self.0.iter().filter(|(k, _)| wanted(k)).map(|(_, v)| v.clone()).collect()
    }
}

fn world() -> Fake {
    let account = doc!({"metadata": {"namespace": "ns", "name": "default"}, "imagePullSecrets": [{"name": "pull"}]});
    let strict = doc!({
        "metadata": {"namespace": "ns", "name": "strict", "annotations": {"kubernetes.io/enforce-mountable-secrets": "true"}},
        "secrets": [{"name": "mine"}],
    });
    let ending = doc!({"metadata": {"name": "ending", "deletionTimestamp": "2026-01-01T00:00:00Z"}});
    Fake::default()
        .with("namespaces", doc!({"metadata": {"name": "ns"}}))
        .with("namespaces", ending)
        .with("serviceaccounts", account)
        .with("serviceaccounts", strict)
        .with("namespaces", doc!({"metadata": {"name": "safe", "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}))
        .with("serviceaccounts", doc!({"metadata": {"namespace": "safe", "name": "default"}}))
        .with("namespaces", doc!({"metadata": {"name": "bounded"}}))
        .with("serviceaccounts", doc!({"metadata": {"namespace": "bounded", "name": "default"}}))
        .with("limitranges", doc!({"metadata": {"namespace": "bounded", "name": "l"}, "spec": {"limits": [
            {"type": "Container", "max": {"cpu": "2"}, "default": {"cpu": "500m", "memory": "512Mi"}, "defaultRequest": {"cpu": "200m"}}
        ]}}))
        .with("namespaces", doc!({"metadata": {"name": "annotated", "annotations": {
            "scheduler.alpha.kubernetes.io/node-selector": "disk=ssd",
            "scheduler.alpha.kubernetes.io/tolerationsWhitelist": "[{\"operator\": \"Exists\", \"effect\": \"NoExecute\"}]"
        }}}))
        .with("serviceaccounts", doc!({"metadata": {"namespace": "annotated", "name": "default"}}))
        .with("namespaces", doc!({"metadata": {"name": "counted"}}))
        .with("serviceaccounts", doc!({"metadata": {"namespace": "counted", "name": "default"}}))
        .with("resourcequotas", doc!({
            "metadata": {"namespace": "counted", "name": "q"},
            "status": {"hard": {"pods": "2", "requests.cpu": "1"}, "used": {"pods": "0", "requests.cpu": "500m"}}
        }))
        .with("resourcequotas", doc!({
            "metadata": {"namespace": "counted", "name": "new"},
            "status": {"hard": {"configmaps": "2"}}
        }))
        .with("nodes", doc!({"metadata": {"name": "n1", "uid": "u1", "labels": {"topology.kubernetes.io/zone": "z"}},
            "status": {"allocatable": {"cpu": "1500m", "memory": "1Gi"}}}))
        .with("pods", doc!({"metadata": {"namespace": "ns", "name": "here", "uid": "p1"}, "spec": {"nodeName": "n1"}}))
        .with("pods", doc!({"metadata": {"namespace": "ns", "name": "there", "uid": "p2"}, "spec": {"nodeName": "n2"}}))
}

struct Ask<'a> {
    operation: Operation,
    row: &'static api::ResourceType,
    subresource: &'a str,
    namespace: &'a str,
    name: &'a str,
    user: UserInfo,
    object: Option<Value>,
    old: Option<Value>,
    dry_run: bool,
    plugins: Vec<String>,
}

impl<'a> Ask<'a> {
    fn create(plural: &str, namespace: &'a str, object: Value) -> Self {
        let row = api::find("", "v1", plural).unwrap();
        let user = UserInfo::new("admin", ["system:masters"]);
        Ask {
            operation: Operation::Create,
            row,
            subresource: "",
            namespace,
            name: "",
            user,
            object: Some(object),
            old: None,
            dry_run: false,
            plugins: Vec::new(),
        }
    }

    fn by_node(mut self, node: &str) -> Self {
        self.user = UserInfo::new(format!("system:node:{node}"), ["system:nodes"]);
        self
    }

    fn run(self) -> Result<Value, Status> {
        self.run_with(false)
    }

    fn run_with(self, own_node: bool) -> Result<Value, Status> {
        self.judge(own_node).map(|(object, _)| object)
    }

    fn companions(self) -> Vec<Companion> {
        self.judge(false).expect("is admitted").1
    }

    /// With one more plugin.
    fn run_on(mut self, plugin: &str) -> Result<Value, Status> {
        self.plugins.push(plugin.to_owned());
        self.run()
    }

    fn judge(self, own_node: bool) -> Result<(Value, Vec<Companion>), Status> {
        let mut enabled = vec!["NodeRestriction".to_owned()];
        enabled.extend(self.plugins);
        let config = Config { enabled, own_node, ..Config::default() };
        let chain = Chain::new(&config).unwrap();
        let world = world();
        let attributes = Attributes::resource("create", "", "v1", self.row.plural, self.namespace, self.name);
        let mut review = Review {
            operation: self.operation,
            attributes: &attributes,
            user: &self.user,
            kind: self.row.gvk(),
            resource: self.row,
            subresource: self.subresource,
            namespace: self.namespace,
            name: self.name,
            object: self.object,
            old: self.old.map(Into::into),
            options: Value::Null,
            dry_run: self.dry_run,
            world: &world,
            may: &|_| false,
            warnings: Vec::new(),
            waits_for: None,
            needs_namespace: false,
            reads: Vec::new(),
            companions: Vec::new(),
        };
        chain.mutate(&mut review)?;
        chain.validate(&mut review)?;
        Ok((review.object.unwrap_or_default(), review.companions))
    }
}

fn refusal(ask: Ask<'_>) -> String {
    ask.run().expect_err("is refused").message
}

fn pod(spec: Value) -> Value {
    let mut spec = spec;
    spec.set("containers", vec![doc!({"name": "c", "image": "i"})]);
    doc!({"metadata": {"name": "p", "namespace": "ns"}, "spec": (spec)})
}

#[test]
fn a_plain_pod_gets_account_volume_priority_and_tolerations() {
    let made = Ask::create("pods", "ns", pod(Value::map())).run().unwrap();
    let spec = &made["spec"];
    assert_eq!(spec["serviceAccountName"].str(), "default");
    assert_eq!(spec["serviceAccount"].str(), "default");
    assert_eq!(spec["priority"].as_i64(), Some(0));
    assert_eq!(spec["preemptionPolicy"].str(), "PreemptLowerPriority");
    assert_eq!(spec["imagePullSecrets"], doc!([{"name": "pull"}]));
    assert_eq!(spec["tolerations"].items().len(), 2);
    let volume = &spec["volumes"][0];
    assert!(volume["name"].str().starts_with("kube-api-access-") && volume["name"].str().len() == 21);
    assert_eq!(volume["projected"]["defaultMode"].as_i64(), Some(420));
    assert_eq!(volume["projected"]["sources"][0]["serviceAccountToken"]["expirationSeconds"].as_i64(), Some(3607));
    let mount = &spec["containers"][0]["volumeMounts"][0];
    assert_eq!(mount["name"], volume["name"]);
    assert_eq!(mount["mountPath"].str(), "/var/run/secrets/kubernetes.io/serviceaccount");
}

#[test]
fn automount_is_the_pods_word_first() {
    let made = Ask::create("pods", "ns", pod(doc!({"automountServiceAccountToken": false}))).run().unwrap();
    assert!(made["spec"]["volumes"].is_null());
}

#[test]
fn refusals_are_upstreams_sentences() {
    let check = |ask: Ask<'_>, text: &str| assert_eq!(refusal(ask), text);
    check(
        Ask::create("pods", "ns", pod(doc!({"serviceAccountName": "gone"}))),
        r#"pods "p" is forbidden: error looking up service account ns/gone: serviceaccount "gone" not found"#,
    );
    check(Ask::create("pods", "nope", pod(Value::map())), r#"namespaces "nope" not found"#);
    check(
        Ask::create("pods", "ending", pod(Value::map())),
        r#"pods "p" is forbidden: unable to create new content in namespace ending because it is being terminated"#,
    );
    check(
        Ask::create("pods", "ns", pod(doc!({"priorityClassName": "x"}))),
        r#"pods "p" is forbidden: no PriorityClass with name x was found"#,
    );
    check(
        Ask::create("pods", "ns", pod(doc!({"runtimeClassName": "x"}))),
        r#"pods "p" is forbidden: pod rejected: RuntimeClass "x" not found"#,
    );
    check(
        Ask::create(
            "pods",
            "ns",
            pod(doc!({"serviceAccountName": "strict", "volumes": [{"name": "v", "secret": {"secretName": "s"}}]})),
        ),
        r#"pods "p" is forbidden: volume with secret.secretName="s" is not allowed because service account strict does not reference that secret"#,
    );
    let mut delete = Ask::create("namespaces", "default", Value::Null);
    (delete.operation, delete.name, delete.object) = (Operation::Delete, "default", None);
    check(delete, r#"namespaces "default" is forbidden: this namespace may not be deleted"#);
}

#[test]
fn a_terminating_namespace_is_named_as_the_cause() {
    let status = Ask::create("pods", "ending", pod(Value::map())).run().unwrap_err();
    let cause = &status.details.unwrap().causes[0];
    assert_eq!((cause.reason.as_str(), cause.field.as_str()), ("NamespaceTerminating", "metadata.namespace"));
}

#[test]
fn a_mirror_pod_stays_as_it_is_and_names_nothing() {
    let mirror = |spec: Value| {
        let mut mirror = pod(spec);
        mirror.entry("metadata").set("annotations", doc!({"kubernetes.io/config.mirror": "x"}));
        mirror
    };
    let made = Ask::create("pods", "ns", mirror(Value::map())).run().unwrap();
    assert!(made["spec"]["serviceAccountName"].is_null() && made["spec"]["volumes"].is_null());
    let check = |spec: Value, why: &str| {
        assert_eq!(refusal(Ask::create("pods", "ns", mirror(spec))), format!("pods \"p\" is forbidden: {why}"));
    };
    check(doc!({"serviceAccountName": "x"}), "a mirror pod may not reference service accounts");
    check(doc!({"imagePullSecrets": [{"name": "x"}]}), "a mirror pod may not reference secrets");
}

#[test]
fn a_node_writes_what_is_its_own() {
    let token = |pod: &str, uid: &str| {
        let mut ask = Ask::create(
            "serviceaccounts",
            "ns",
            doc!({"spec": {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": pod, "uid": uid}}}),
        );
        (ask.subresource, ask.name) = ("token", "default");
        ask.by_node("n1")
    };
    let check = |ask: Ask<'_>, text: &str| assert_eq!(refusal(ask), text);
    check(
        token("here", "p1"),
        r#"serviceaccounts "default" is forbidden: system:node:n1 is not authorized to request tokens for audience """#,
    );
    check(
        token("there", "p2"),
        r#"serviceaccounts "default" is forbidden: node requested token bound to a pod scheduled on a different node"#,
    );
    check(token("gone", "p2"), r#"pod "gone" not found"#);
    check(
        Ask::create("pods", "ns", pod(Value::map())).by_node("n1"),
        r#"pods "p" is forbidden: pod does not have "kubernetes.io/config.mirror" annotation, node "n1" can only create mirror pods"#,
    );
    let mut node =
        Ask::create("nodes", "", doc!({"metadata": {"name": "n1", "labels": {"kubernetes.io/x": "y"}}})).by_node("n1");
    node.name = "n1";
    check(node, r#"nodes "n1" is forbidden: node "n1" is not allowed to set the following labels: kubernetes.io/x"#);
    let mut node = Ask::create("nodes", "", doc!({"metadata": {"name": "n2"}})).by_node("n1");
    node.name = "n2";
    check(node, r#"nodes "n2" is forbidden: node "n1" is not allowed to modify node "n2""#);
}

#[test]
fn a_new_node_is_not_ready_and_a_bound_pod_knows_its_zone() {
    let node = Ask::create("nodes", "", doc!({"metadata": {"name": "n"}})).run().unwrap();
    assert_eq!(node["spec"]["taints"][0]["key"].str(), "node.kubernetes.io/not-ready");
    let made = Ask::create("pods", "ns", pod(doc!({"nodeName": "n1"}))).run().unwrap();
    assert_eq!(made["metadata"]["labels"]["topology.kubernetes.io/zone"].str(), "z");
}

#[test]
fn what_is_not_enforced_is_not_created() {
    let check = |own_node: bool, plural: &str, group: &str, want: Option<u16>| {
        let mut policy = Ask::create("pods", "ns", doc!({"metadata": {"name": "p"}}));
        policy.row = api::find(group, "v1", plural).unwrap();
        assert_eq!(policy.run_with(own_node).map(|_| ()).err().map(|e| e.code), want, "{plural} {own_node}");
    };
    check(true, "networkpolicies", "networking.k8s.io", Some(501));
    check(false, "networkpolicies", "networking.k8s.io", None);
    check(false, "validatingadmissionpolicies", "admissionregistration.k8s.io", Some(501));
}

#[test]
fn a_quota_is_charged_or_refuses() {
    let with_cpu = |cpu: &str| {
        let mut made = pod(Value::map());
        made.entry("spec").entry("containers").make_list()[0].set("resources", doc!({"requests": {"cpu": cpu}}));
        made
    };
    let check = |pod: Value, why: &str| {
        assert_eq!(refusal(Ask::create("pods", "counted", pod)), format!("pods \"p\" is forbidden: {why}"));
    };
    check(pod(Value::map()), "failed quota: q: must specify requests.cpu for: c");
    check(
        with_cpu("600m"),
        "exceeded quota: q, requested: requests.cpu=600m, used: requests.cpu=500m, limited: requests.cpu=1",
    );
    let charged = Ask::create("pods", "counted", with_cpu("500m")).companions();
    assert_eq!(charged.len(), 1);
    assert_eq!(charged[0].status["used"], doc!({"pods": "1", "requests.cpu": "1"}));
    let mut dry = Ask::create("pods", "counted", with_cpu("500m"));
    dry.dry_run = true;
    assert!(dry.companions().is_empty());
    let unknown = "status unknown for quota: new, resources: configmaps";
    let refused = Ask::create("configmaps", "counted", doc!({"metadata": {"name": "p"}}));
    assert_eq!(refusal(refused), format!("configmaps \"p\" is forbidden: {unknown}"));
}

#[test]
fn a_restricted_namespace_refuses_with_upstreams_sentence() {
    assert_eq!(
        refusal(Ask::create("pods", "safe", pod(Value::map()))),
        "pods \"p\" is forbidden: violates PodSecurity \"restricted:latest\": allowPrivilegeEscalation != false (container \"c\" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container \"c\" must set securityContext.capabilities.drop=[\"ALL\"]), runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true), seccompProfile (pod or container \"c\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")"
    );
    let mut good = pod(doc!({"securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}}}));
    let context = doc!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    good.entry("spec").entry("containers").make_list()[0].set("securityContext", context);
    assert!(Ask::create("pods", "safe", good).run().is_ok());
}

#[test]
fn limits_are_filled_in_and_held() {
    let made = Ask::create("pods", "bounded", pod(Value::map())).run().unwrap();
    let resources = &made["spec"]["containers"][0]["resources"];
    assert_eq!(resources, &doc!({"requests": {"cpu": "200m"}, "limits": {"cpu": "500m", "memory": "512Mi"}}));
    assert_eq!(
        made["metadata"]["annotations"]["kubernetes.io/limit-ranger"].str(),
        "LimitRanger plugin set: cpu request for container c; cpu, memory limit for container c"
    );
    let mut greedy = pod(Value::map());
    greedy.entry("spec").entry("containers").make_list()[0].set("resources", doc!({"limits": {"cpu": "3"}}));
    assert_eq!(
        refusal(Ask::create("pods", "bounded", greedy)),
        "pods \"p\" is forbidden: maximum cpu usage per Container is 2, but limit is 3"
    );
}

#[test]
fn plugins_that_are_off_do_their_work_when_they_are_on() {
    let create = |spec: Value| Ask::create("pods", "ns", pod(spec));
    let check = |plugin: &str, ask: Ask<'_>, path: &[&'static str], want: Value| {
        let made = ask.run_on(plugin).unwrap();
        assert_eq!(made.at(path.iter().copied()), &want, "{plugin}");
    };
    let with_resource = || {
        let mut made = pod(Value::map());
        let resources = doc!({"requests": {"example.com/gpu": "1", "cpu": "1"}});
        made.entry("spec").entry("containers").make_list()[0].set("resources", resources);
        Ask::create("pods", "ns", made)
    };
    let pulled = create(Value::map()).run_on("AlwaysPullImages").unwrap();
    assert_eq!(pulled["spec"]["containers"][0]["imagePullPolicy"].str(), "Always");
    let tolerant = with_resource().run_on("ExtendedResourceToleration").unwrap();
    let keys: Vec<&str> = tolerant["spec"]["tolerations"].items().iter().map(|t| t["key"].str()).collect();
    assert!(keys.contains(&"example.com/gpu") && !keys.contains(&"cpu"), "{keys:?}");
    let annotated = |spec: Value| Ask::create("pods", "annotated", pod(spec));
    check(
        "PodNodeSelector",
        annotated(doc!({"nodeSelector": {"a": "b"}})),
        &["spec", "nodeSelector"],
        doc!({"a": "b", "disk": "ssd"}),
    );
}

#[test]
fn plugins_that_are_off_refuse_in_upstreams_words() {
    let check = |plugin: &str, ask: Ask<'_>, want: &str| {
        assert_eq!(ask.run_on(plugin).expect_err(plugin).message, want);
    };
    let create = |namespace, spec: Value| Ask::create("pods", namespace, pod(spec));
    check(
        "AlwaysDeny",
        create("ns", Value::map()),
        "pods \"p\" is forbidden: admission control is denying all modifications",
    );
    check(
        "PodNodeSelector",
        create("annotated", doc!({"nodeSelector": {"disk": "hdd"}})),
        "pods \"p\" is forbidden: pod node label selector conflicts with its namespace node label selector",
    );
    check(
        "PodTolerationRestriction",
        create("annotated", doc!({"tolerations": [{"key": "a", "operator": "Exists", "effect": "NoSchedule"}]})),
        "pod tolerations (possibly merged with namespace default tolerations) conflict with its namespace whitelist",
    );
    let term = doc!({"topologyKey": "zone"});
    check(
        "LimitPodHardAntiAffinityTopology",
        create(
            "ns",
            doc!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [(term)]}}}),
        ),
        "pods \"p\" is forbidden: affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey zone but only key kubernetes.io/hostname is allowed",
    );
    let service = doc!({"metadata": {"name": "p"}, "spec": {"externalIPs": ["1.2.3.4"]}});
    check(
        "DenyServiceExternalIPs",
        Ask::create("services", "ns", service),
        "services \"p\" is forbidden: Use of external IPs is denied by admission control",
    );
    let owned = |kind: &str| {
        let owner = doc!({"apiVersion": "v1", "kind": kind, "name": "o", "uid": "u", "blockOwnerDeletion": true});
        Ask::create("configmaps", "ns", doc!({"metadata": {"name": "p", "ownerReferences": [(owner)]}}))
    };
    check(
        "OwnerReferencesPermissionEnforcement",
        owned("Pod"),
        "configmaps \"p\" is forbidden: cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: , <nil>",
    );
    check(
        "OwnerReferencesPermissionEnforcement",
        owned("Odd"),
        "configmaps \"p\" is forbidden: cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion v1 Kind Odd: no matches for kind \"Odd\" in version \"v1\"",
    );
    let mut delete = Ask::create("configmaps", "nowhere", Value::Null);
    (delete.operation, delete.name, delete.object) = (Operation::Delete, "x", None);
    check("NamespaceExists", delete, "namespaces \"nowhere\" not found");
}

#[test]
fn a_pod_is_resized_only_where_its_node_can() {
    let resize = |node: &'static str, cpu: &str, generation: i64| {
        let with = |cpu: &str, generation: i64| {
            doc!({
                "metadata": {"name": "p", "namespace": "ns", "generation": generation},
                "spec": {"nodeName": node, "serviceAccountName": "default", "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}
            })
        };
        let mut ask = Ask::create("pods", "ns", with(cpu, generation));
        (ask.operation, ask.subresource, ask.name, ask.old) = (Operation::Update, "resize", "p", Some(with("1", 1)));
        ask
    };
    let check = |ask: Ask<'_>, want: &str| assert_eq!(refusal(ask), format!("pods \"p\" is forbidden: {want}"));
    check(resize("gone", "2", 2), "node \"gone\" not found");
    check(
        resize("n1", "2", 2),
        "node didn't have enough allocatable resources: cpu, requested: 2000, allocatable: 1500",
    );
    assert!(resize("n1", "1500m", 2).run().is_ok() && resize("gone", "1", 1).run().is_ok());
    let mut level = resize("n1", "1", 2);
    if let Some(pod) = &mut level.object {
        pod.entry("spec").set("resources", doc!({"limits": {"cpu": "1"}}));
    }
    check(
        level,
        "pod update requires features InPlacePodLevelResourcesVerticalScaling which are not available on node \"n1\"",
    );
}
