//! The whole agent against an API server and a runtime in memory.

pub(crate) mod api;

use std::{sync::Arc, time::Duration};

use client::{Api, CONFIG_MAPS, LEASES, NODES, PODS, SERVICES};
use document::Value;
use tokio_util::sync::CancellationToken;

use self::api::FakeApi;
use super::*;
use crate::fake::{FakeImages, FakeMounter, FakeRuntime};

pub(crate) struct Machine {
    pub(crate) api: FakeApi,
    pub(crate) runtime: Arc<FakeRuntime>,
    images: Arc<FakeImages>,
    pub(crate) dir: tempfile::TempDir,
    shutdown: CancellationToken,
    server: Option<server::Config>,
}

impl Machine {
    fn new() -> Self {
        Machine::with_server(None)
    }

    pub(crate) fn with_server(server: Option<server::Config>) -> Self {
        let api = FakeApi::new();
        api.put(
            &SERVICES,
            r#"{"metadata":{"name":"kubernetes","namespace":"default"},"spec":{"clusterIP":"10.96.0.1","ports":[{"name":"https","port":443}]}}"#,
        );
        api.put(&CONFIG_MAPS, r#"{"metadata":{"name":"kube-root-ca.crt","namespace":"ns"},"data":{"ca.crt":"CA"}}"#);
        let images = Arc::new(FakeImages::default());
        images.add("busybox");
        let machine = Machine {
            api,
            runtime: Arc::default(),
            images,
            dir: tempfile::tempdir().unwrap(),
            shutdown: CancellationToken::new(),
            server,
        };
        machine.start();
        machine
    }

    fn start(&self) {
        let config = Config {
            name: "node".into(),
            node_ips: vec!["192.0.2.1".parse().unwrap()],
            api: Api::new(self.api.clone()),
            runtime: self.runtime.clone(),
            images: self.images.clone(),
            mounter: Arc::new(FakeMounter),
            capacity: Capacity { milli_cpu: 2000, memory: 1 << 30, ephemeral_storage: 1 << 30, pods: 110 },
            server: self.server.clone(),
            pods_dir: self.dir.path().join("pods"),
            log_dir: self.dir.path().join("logs"),
            labels: Vec::new(),
            seccomp_default: SeccompProfile::RuntimeDefault,
            pids_limit: 0,
            cluster_domain: "cluster.local".into(),
            version: "v1.37.2".into(),
            refresh: Duration::from_secs(60),
        };
        tokio::spawn(Agent::run(config, self.shutdown.clone()));
    }

    pub(crate) fn apply(&self, name: &str, spec: &str) {
        let text = format!(
            r#"{{"metadata":{{"name":"{name}","namespace":"ns","uid":"uid-{name}","generation":1}},"spec":{spec},"status":{{"phase":"Pending"}}}}"#
        );
        self.api.put(&PODS, &text);
    }

    fn pod(&self, name: &str) -> Value {
        self.api.get(&PODS, "ns", name).unwrap_or_default()
    }

    /// Waits until the check holds for the pod; answers the pod.
    async fn until(&self, name: &str, check: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..400 {
            let pod = self.pod(name);
            if check(&pod) {
                return pod;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("it did not happen: {} {:?}", document::json::to_string(&self.pod(name)["status"]), self.api.events());
    }

    pub(crate) async fn phase(&self, name: &str, phase: &str) -> Value {
        self.until(name, |p| p["status"]["phase"].str() == phase).await
    }
}

pub(crate) const POD: &str = r#"{"nodeName":"node","serviceAccountName":"default","restartPolicy":"Always","terminationGracePeriodSeconds":30,
    "volumes":[{"name":"kube-api-access-x","projected":{"sources":[
        {"serviceAccountToken":{"path":"token","expirationSeconds":3607}},
        {"configMap":{"name":"kube-root-ca.crt","items":[{"key":"ca.crt","path":"ca.crt"}]}}]}}],
    "containers":[{"name":"c","image":"busybox","imagePullPolicy":"IfNotPresent","command":["sleep","$(N)"],"env":[{"name":"N","value":"9"}],
        "terminationMessagePath":"/dev/termination-log",
        "volumeMounts":[{"name":"kube-api-access-x","mountPath":"/var/run/secrets/kubernetes.io/serviceaccount","readOnly":true}]}]}"#;

fn condition(pod: &Value, kind: &str) -> String {
    let all = pod["status"]["conditions"].items();
    all.iter().find(|c| c["type"].str() == kind).map(|c| c["status"].str().to_owned()).unwrap_or_default()
}

#[tokio::test]
async fn a_node_registers_and_renews_its_lease() {
    let machine = Machine::new();
    for _ in 0..200 {
        if machine.api.get(&LEASES, "kube-node-lease", "node").is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let node = machine.api.get(&NODES, "", "node").unwrap();
    assert_eq!(node["metadata"]["labels"]["kubernetes.io/hostname"].str(), "node");
    assert_eq!(condition(&node, "Ready"), "True");
    assert_eq!(node.at(["status", "capacity", "cpu"]).str(), "2");
    let lease = machine.api.get(&LEASES, "kube-node-lease", "node").unwrap();
    assert_eq!(lease["spec"]["holderIdentity"].str(), "node");
}

#[tokio::test]
async fn a_pod_runs_is_ready_and_has_token_and_environment() {
    let machine = Machine::new();
    machine.apply("p", POD);
    let pod = machine.phase("p", "Running").await;
    for kind in ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"] {
        assert_eq!(condition(&pod, kind), "True", "{kind}");
    }
    let status = &pod["status"];
    assert_eq!(
        (status["podIP"].str(), status["hostIP"].str(), status["qosClass"].str()),
        ("10.4.0.9", "192.0.2.1", "BestEffort")
    );
    let container = &status["containerStatuses"][0];
    assert!(container["ready"].is_true() && container["started"].is_true());
    assert_eq!(container["image"].str(), "docker.io/library/busybox:latest");
    assert_eq!(container["imageID"].str(), "docker.io/library/busybox@sha256:0");
    let spec = machine.runtime.specs().into_values().next().unwrap();
    assert_eq!(spec.command, ["sleep", "9"]);
    let var = |name: &str| spec.env.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    assert_eq!((var("KUBERNETES_SERVICE_HOST"), var("KUBERNETES_SERVICE_PORT")), (Some("10.96.0.1"), Some("443")));
    let mount = spec.mounts.iter().find(|m| m.container_path.ends_with("serviceaccount")).unwrap();
    assert_eq!(std::fs::read_to_string(mount.host_path.join("token")).unwrap(), "token-of-default");
    assert!(mount.readonly);
    let events = machine.api.events();
    for want in ["Created: Container created", "Started: Container started"] {
        assert!(events.iter().any(|e| e == want), "{events:?}");
    }
}

#[tokio::test]
async fn a_deleted_pod_ends_and_its_object_goes_last() {
    let machine = Machine::new();
    machine.apply("p", POD);
    machine.phase("p", "Running").await;
    machine.api.delete_pod("ns", "p", 30);
    machine.until("p", Value::is_null).await;
    for _ in 0..100 {
        if !machine.dir.path().join("pods/uid-p").exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!machine.dir.path().join("pods/uid-p").exists());
    assert!(machine.api.events().iter().any(|e| e == "Killing: Stopping container c"));
}

#[tokio::test]
async fn a_crash_is_restarted_then_waits() {
    let machine = Machine::new();
    machine.apply("p", POD);
    machine.phase("p", "Running").await;
    machine.runtime.exit("c", 3);
    let restarted = |p: &Value| p.at(["status"])["containerStatuses"][0]["restartCount"].as_i64() == Some(1);
    let pod = machine.until("p", restarted).await;
    assert_eq!(pod["status"]["containerStatuses"][0].at(["lastState", "terminated", "exitCode"]).as_i64(), Some(3));
    machine.until("p", |p| !p["status"]["containerStatuses"][0]["state"]["running"].is_null()).await;
    machine.runtime.exit("c", 4);
    let waiting =
        |p: &Value| p["status"]["containerStatuses"][0].at(["state", "waiting", "reason"]).str() == "CrashLoopBackOff";
    let pod = machine.until("p", waiting).await;
    let container = &pod["status"]["containerStatuses"][0];
    assert_eq!(
        container.at(["state", "waiting", "message"]).str(),
        "back-off 10s restarting failed container=c pod=p_ns(uid-p)"
    );
    assert_eq!(container.at(["lastState", "terminated", "exitCode"]).as_i64(), Some(4));
    assert_eq!((pod["status"]["phase"].str(), condition(&pod, "Ready").as_str()), ("Running", "False"));
}

#[tokio::test]
async fn a_pod_that_never_restarts_succeeds_or_fails() {
    let machine = Machine::new();
    let once = POD.replace("Always", "Never");
    for (name, code, phase, reason) in [("good", 0, "Succeeded", "PodCompleted"), ("bad", 2, "Failed", "PodFailed")] {
        machine.apply(name, &once.replace(r#""name":"c""#, &format!(r#""name":"{name}""#)));
        machine.phase(name, "Running").await;
        machine.runtime.exit(name, code);
        let pod = machine.phase(name, phase).await;
        let ready = pod["status"]["conditions"].items().iter().find(|c| c["type"].str() == "Ready").unwrap().clone();
        assert_eq!((ready["status"].str(), ready["reason"].str()), ("False", reason));
        assert_eq!(
            pod["status"]["containerStatuses"][0].at(["state", "terminated", "exitCode"]).as_i64(),
            Some(code.into())
        );
    }
}

#[tokio::test]
async fn what_is_missing_is_said_as_waiting_reason_and_event() {
    let machine = Machine::new();
    for (name, spec, reason, event) in [
        ("image", POD.replace("busybox", "no-such"), "ErrImagePull", "Failed: Error: ErrImagePull"),
        (
            "never",
            POD.replace("busybox", "no").replace("IfNotPresent", "Never"),
            "ErrImageNeverPull",
            "Failed: Error: ErrImageNeverPull",
        ),
        (
            "config",
            POD.replace(r#""value":"9""#, r#""valueFrom":{"configMapKeyRef":{"name":"no","key":"k"}}"#),
            "CreateContainerConfigError",
            "Failed: Error: configmap \"no\" not found",
        ),
        (
            "root",
            POD.replace(r#""name":"c""#, r#""name":"c","securityContext":{"runAsNonRoot":true}"#),
            "CreateContainerConfigError",
            "Failed: Error: container has runAsNonRoot and image will run as root (pod: \"root_ns(uid-root)\", container: c)",
        ),
        (
            "probe",
            POD.replace(r#""name":"c""#, r#""name":"c","readinessProbe":{"httpGet":{}}"#),
            "NotImplemented",
            "NotImplemented: this node does not implement readinessProbe (container \"c\") yet",
        ),
        (
            "volume",
            POD.replace(r#""name":"kube-root-ca.crt""#, r#""name":"no""#),
            "ContainerCreating",
            "FailedMount: MountVolume.SetUp failed for volume \"kube-api-access-x\" : configmap \"no\" not found",
        ),
    ] {
        machine.apply(name, &spec);
        let waits = |p: &Value| p["status"]["containerStatuses"][0].at(["state", "waiting", "reason"]).str() == reason;
        let pod = machine.until(name, waits).await;
        assert_eq!(pod["status"]["phase"].str(), "Pending", "{name}");
        for _ in 0..100 {
            if machine.api.events().iter().any(|e| e == event) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(machine.api.events().iter().any(|e| e == event), "{event} {:?}", machine.api.events());
    }
}

#[tokio::test]
async fn a_command_that_cannot_start_is_said() {
    let machine = Machine::new();
    let message = r#"exec: "sleep": executable file not found in $PATH"#;
    machine.runtime.fail_start("sleep", message);
    machine.apply("p", POD);
    let waits =
        |p: &Value| p["status"]["containerStatuses"][0].at(["state", "waiting", "reason"]).str() == "RunContainerError";
    let pod = machine.until("p", waits).await;
    let container = &pod["status"]["containerStatuses"][0];
    assert_eq!(container.at(["state", "waiting", "message"]).str(), message);
    assert_eq!(container.at(["lastState", "terminated", "exitCode"]).as_i64(), Some(128));
    assert_eq!(container.at(["lastState", "terminated", "reason"]).str(), "StartError");
}

#[tokio::test]
async fn a_new_agent_adopts_running_containers() {
    let mut machine = Machine::new();
    machine.apply("p", POD);
    let before = machine.phase("p", "Running").await;
    machine.shutdown.cancel();
    tokio::time::sleep(Duration::from_millis(100)).await;
    machine.shutdown = CancellationToken::new();
    machine.start();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(machine.runtime.specs().len(), 1, "nothing was started again");
    assert_eq!(machine.pod("p")["status"], before["status"]);
    machine.runtime.exit("c", 1);
    machine.until("p", |p| p["status"]["containerStatuses"][0]["restartCount"].as_i64() == Some(1)).await;
}

#[tokio::test]
async fn init_containers_run_in_order() {
    let machine = Machine::new();
    let spec = POD.replace(
        r#""containers":["#,
        r#""initContainers":[{"name":"i","image":"busybox"},{"name":"j","image":"busybox"}],"containers":["#,
    );
    machine.apply("p", &spec);
    let running = |name: &'static str| {
        move |p: &Value| {
            let all =
                p["status"]["initContainerStatuses"].items().iter().chain(p["status"]["containerStatuses"].items());
            all.into_iter().any(|c| c["name"].str() == name && !c["state"]["running"].is_null())
        }
    };
    let pod = machine.until("p", running("i")).await;
    assert_eq!((condition(&pod, "Initialized"), pod["status"]["phase"].str()), ("False".into(), "Pending"));
    machine.runtime.exit("i", 0);
    machine.until("p", running("j")).await;
    machine.runtime.exit("j", 0);
    let pod = machine.until("p", running("c")).await;
    assert_eq!((condition(&pod, "Initialized"), pod["status"]["phase"].str()), ("True".into(), "Running"));
}

#[tokio::test]
async fn a_deadline_ends_a_pod() {
    let machine = Machine::new();
    machine.apply("p", &POD.replace(r#""nodeName""#, r#""activeDeadlineSeconds":1,"nodeName""#));
    let pod = machine.phase("p", "Failed").await;
    assert_eq!(pod["status"]["reason"].str(), "DeadlineExceeded");
    assert_eq!(pod["status"]["message"].str(), "Pod was active on the node longer than the specified deadline");
}

#[tokio::test]
async fn what_is_left_of_pods_that_are_gone_is_taken_away() {
    let machine = Machine::new();
    machine.apply("p", POD);
    machine.phase("p", "Running").await;
    machine.shutdown.cancel();
    tokio::time::sleep(Duration::from_millis(100)).await;
    machine.api.forget(&PODS, "ns", "p");
    let machine = Machine { shutdown: CancellationToken::new(), ..machine };
    machine.start();
    for _ in 0..200 {
        let left = machine.runtime.list().await.unwrap().sandboxes.len();
        if left == 0 && !machine.dir.path().join("pods/uid-p").exists() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("something is left");
}
