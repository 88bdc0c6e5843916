//! Defaults of the generated tables on bodies as users write them.

use document::{Value, decode, json, normalize};

#[track_caller]
fn check(api_version: &str, kind: &str, body: &str, want: &str) {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let type_ = api::type_by_kind(group, version, kind).expect("a type");
    let mut value: Value = decode(body.as_bytes(), type_).expect("decodes").value;
    document::default::apply(&mut value, type_, api::defaults_of(api_version, kind));
    normalize(&mut value, type_);
    assert_eq!(json::to_string(&value), want);
    document::default::apply(&mut value, type_, api::defaults_of(api_version, kind));
    normalize(&mut value, type_);
    assert_eq!(json::to_string(&value), want, "again");
}

#[test]
fn a_pod_gets_upstream_s_defaults() {
    check(
        "v1",
        "Pod",
        r#"{"metadata":{"name":"a"},"spec":{"containers":[{"name":"c","image":"i","ports":[{"containerPort":80}],"resources":{"limits":{"cpu":"0.5"}},"readinessProbe":{"httpGet":{"port":80}}}],"volumes":[{"name":"v"}]}}"#,
        r#"{"metadata":{"name":"a"},"spec":{"volumes":[{"name":"v","emptyDir":{}}],"containers":[{"name":"c","image":"i","ports":[{"containerPort":80,"protocol":"TCP"}],"resources":{"limits":{"cpu":"500m"},"requests":{"cpu":"500m"}},"readinessProbe":{"httpGet":{"path":"/","port":80,"scheme":"HTTP"},"timeoutSeconds":1,"periodSeconds":10,"successThreshold":1,"failureThreshold":3},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File","imagePullPolicy":"Always"}],"restartPolicy":"Always","terminationGracePeriodSeconds":30,"dnsPolicy":"ClusterFirst","securityContext":{},"schedulerName":"default-scheduler","enableServiceLinks":true},"status":{}}"#,
    );
}

#[test]
fn other_kinds_get_upstream_s_defaults() {
    check(
        "apps/v1",
        "Deployment",
        r#"{"spec":{"selector":{},"template":{}}}"#,
        r#"{"metadata":{},"spec":{"replicas":1,"selector":{},"template":{"metadata":{},"spec":{"containers":null,"restartPolicy":"Always","terminationGracePeriodSeconds":30,"dnsPolicy":"ClusterFirst","securityContext":{},"schedulerName":"default-scheduler"}},"strategy":{"type":"RollingUpdate","rollingUpdate":{"maxUnavailable":"25%","maxSurge":"25%"}},"revisionHistoryLimit":10,"progressDeadlineSeconds":600},"status":{}}"#,
    );
    check(
        "v1",
        "Service",
        r#"{"spec":{"ports":[{"port":80}]}}"#,
        r#"{"metadata":{},"spec":{"ports":[{"protocol":"TCP","port":80,"targetPort":80}],"type":"ClusterIP","sessionAffinity":"None","internalTrafficPolicy":"Cluster"},"status":{"loadBalancer":{}}}"#,
    );
    check(
        "v1",
        "Namespace",
        r#"{"metadata":{"name":"n"}}"#,
        r#"{"metadata":{"name":"n","labels":{"kubernetes.io/metadata.name":"n"}},"spec":{},"status":{"phase":"Active"}}"#,
    );
}
