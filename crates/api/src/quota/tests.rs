//! What single objects cost, as upstream counts them.

use document::{Value, doc};
use meta::Time;

use super::{Amounts, Change, DeviceClasses, Evaluator, to_value};

fn usage(group: &str, plural: &str, object: &Value, classes: &DeviceClasses) -> Amounts {
    Evaluator::of(group, plural).unwrap().measure(object, classes).usage(Time(1000)).clone()
}

#[test]
fn pods_cost_their_largest_moment() {
    let check = |pod: Value, want: Value| {
        let usage = usage("", "pods", &pod, &DeviceClasses::default());
        let compute = usage.into_iter().filter(|(name, _)| !name.contains("pods")).collect();
        assert_eq!(to_value(&compute), want);
    };
    let container = |cpu: &str| doc!({"name": cpu, "resources": {"requests": {"cpu": cpu}, "limits": {"cpu": cpu}}});
    let mut sidecar = container("100m");
    sidecar.set("restartPolicy", "Always");
    check(
        doc!({"spec": {
            "initContainers": [(container("1500m")), (sidecar.clone()), (container("1500m"))],
            "containers": [(container("200m"))],
            "overhead": {"cpu": "50m"}
        }}),
        doc!({"cpu": "1650m", "limits.cpu": "1650m", "requests.cpu": "1650m"}),
    );
    check(
        doc!({"spec": {"resources": {"requests": {"cpu": "2"}}, "containers": [(container("200m"))]}}),
        doc!({"cpu": "2", "limits.cpu": "200m", "requests.cpu": "2"}),
    );
    check(
        doc!({"spec": {"containers": [{"resources": {"requests": {"example.com/gpu": "1", "hugepages-2Mi": "4Mi"}}}]}}),
        doc!({"hugepages-2Mi": "4Mi", "requests.example.com/gpu": "1", "requests.hugepages-2Mi": "4Mi"}),
    );
    // a resize on its way down still holds what it had
    check(
        doc!({
            "spec": {"containers": [(container("100m"))]},
            "status": {"containerStatuses": [{"name": "100m", "allocatedResources": {"cpu": "300m"}}]}
        }),
        doc!({"cpu": "300m", "limits.cpu": "100m", "requests.cpu": "300m"}),
    );
}

#[test]
fn a_pod_that_has_ended_or_outlived_its_grace_counts_as_an_object_only() {
    let counted = |pod: Value| {
        let evaluator = Evaluator::of("", "pods").unwrap();
        let measure = evaluator.measure(&pod, &DeviceClasses::default());
        measure.usage(Time::parse("2026-01-01T00:01:00Z").unwrap()).contains_key("pods")
    };
    assert!(counted(doc!({"spec": {}})));
    assert!(!counted(doc!({"spec": {}, "status": {"phase": "Failed"}})));
    let deleted = |grace: i64| doc!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": grace}});
    assert!(counted(deleted(60)));
    assert!(!counted(deleted(59)));
}

#[test]
fn scopes_are_all_to_be_met() {
    let check = |pod: Value, spec: Value, want: bool| {
        let measure = Evaluator::of("", "pods").unwrap().measure(&pod, &DeviceClasses::default());
        assert_eq!(measure.is_in_scopes(&spec), want, "{spec:?}");
    };
    let scopes = |list: &[&str]| doc!({"scopes": (Value::list(list.iter().copied()))});
    let class = |operator: &str, values: &[&str]| {
        doc!({"scopeSelector": {"matchExpressions": [
            {"scopeName": "PriorityClass", "operator": operator, "values": (Value::list(values.iter().copied()))}
        ]}})
    };
    let pod = || doc!({"spec": {"activeDeadlineSeconds": 5, "priorityClassName": "high"}});
    check(pod(), doc!({}), true);
    check(pod(), scopes(&["BestEffort", "Terminating"]), true);
    check(pod(), scopes(&["BestEffort", "NotTerminating"]), false);
    check(pod(), scopes(&["VolumeAttributesClass"]), false);
    check(pod(), class("In", &["high"]), true);
    check(pod(), class("NotIn", &["high"]), false);
    check(doc!({"spec": {}}), class("NotIn", &["high"]), true);
    check(doc!({"spec": {}}), class("Exists", &[]), false);
    check(doc!({"spec": {}}), class("DoesNotExist", &[]), true);
    let secret = Evaluator::of("", "secrets").unwrap().measure(&doc!({}), &DeviceClasses::default());
    assert!(!secret.is_in_scopes(&scopes(&["NotTerminating"])));
}

#[test]
fn services_and_claims_cost_what_they_may_get() {
    let check = |group: &str, plural: &str, object: Value, want: Value| {
        let classes =
            DeviceClasses::of([doc!({"metadata": {"name": "gpu"}, "spec": {"extendedResourceName": "e.com/gpu"}})]);
        assert_eq!(to_value(&usage(group, plural, &object, &classes)), want);
    };
    check(
        "",
        "services",
        doc!({"spec": {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": [{"nodePort": 30000}, {}]}}),
        doc!({"count/services": "1", "services": "1", "services.loadbalancers": "1", "services.nodeports": "1"}),
    );
    check(
        "",
        "persistentvolumeclaims",
        doc!({"spec": {"storageClassName": "gold", "resources": {"requests": {"storage": "1500m"}}}}),
        doc!({
            "count/persistentvolumeclaims": "1",
            "gold.storageclass.storage.k8s.io/persistentvolumeclaims": "1",
            "gold.storageclass.storage.k8s.io/requests.storage": "2",
            "persistentvolumeclaims": "1",
            "requests.storage": "2"
        }),
    );
    check(
        "resource.k8s.io",
        "resourceclaims",
        doc!({"spec": {"devices": {"requests": [
            {"exactly": {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 3}},
            {"firstAvailable": [
                {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 2},
                {"deviceClassName": "gpu", "allocationMode": "All"}
            ]}
        ]}}}),
        doc!({
            "count/resourceclaims.resource.k8s.io": "1",
            "gpu.deviceclass.resource.k8s.io/devices": "35",
            "requests.deviceclass.resource.kubernetes.io/gpu": "35",
            "requests.e.com/gpu": "35"
        }),
    );
    check("", "secrets", doc!({}), doc!({"count/secrets": "1", "secrets": "1"}));
    check("apps", "deployments", doc!({}), doc!({"count/deployments.apps": "1"}));
}

#[test]
fn only_what_can_raise_usage_is_looked_at() {
    let check = |plural: &str, subresource: &str, update: bool, want: bool| {
        let (old, new) = (doc!({"spec": {}}), doc!({"spec": {"activeDeadlineSeconds": 1}}));
        let change = if update { Change::Update { old: &old } } else { Change::Create };
        assert_eq!(
            Evaluator::of("", plural).unwrap().handles(change, subresource, &new),
            want,
            "{plural}/{subresource}"
        );
    };
    check("pods", "", false, true);
    check("pods", "", true, true);
    check("pods", "status", true, false);
    check("pods", "resize", true, true);
    check("pods", "binding", false, false);
    check("services", "", true, true);
    check("persistentvolumeclaims", "status", true, true);
    check("secrets", "", true, false);
    check("serviceaccounts", "token", false, false);
    assert_eq!(Evaluator::of("", "events"), None);
}

#[test]
fn each_container_must_say_what_is_counted() {
    let evaluator = Evaluator::of("", "pods").unwrap();
    let pod = doc!({"spec": {
        "initContainers": [{"name": "a"}],
        "containers": [{"name": "c"}, {"name": "b", "resources": {"requests": {"cpu": "1"}}}]
    }});
    let counted = ["requests.cpu", "limits.memory", "pods", "requests.ephemeral-storage"];
    assert_eq!(
        evaluator.constraint(&counted, &pod).as_deref(),
        Some("must specify limits.memory for: a,b,c; requests.cpu for: a,c")
    );
    assert_eq!(evaluator.constraint(&["pods"], &pod), None);
}
