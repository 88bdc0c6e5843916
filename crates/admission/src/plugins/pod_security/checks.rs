//! The checks of the Pod Security Standards, in the order in which upstream reports them, each with the version from
//! which it holds.

use std::collections::BTreeSet;

use document::Value;

use super::{Level, Standard};

/// One check that a pod does not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) reason: String,
    pub(super) detail: String,
}

struct Pod<'a> {
    metadata: &'a Value,
    spec: &'a Value,
    /// 1.N; the latest is larger than any.
    minor: u32,
    windows: bool,
    /// In a user namespace of its own.
    own_users: bool,
}

type Check = fn(&Pod<'_>) -> Option<Finding>;

pub(super) fn evaluate(standard: Standard, metadata: &Value, spec: &Value) -> Vec<Finding> {
    if standard.level == Level::Privileged {
        return Vec::new();
    }
    let pod = Pod {
        metadata,
        spec,
        minor: standard.version.unwrap_or(u32::MAX),
        windows: spec["os"]["name"].str() == "windows",
        own_users: spec["hostUsers"].as_bool() == Some(false),
    };
    let restricted = standard.level == Level::Restricted;
    let mut found = Vec::new();
    for check in baseline(&pod, restricted) {
        found.extend(check(&pod));
    }
    if restricted {
        for check in stricter(&pod) {
            found.extend(check(&pod));
        }
    }
    found
}

/// In alphabetical order of upstream's check names; those that a stricter one replaces are left out.
fn baseline(pod: &Pod<'_>, restricted: bool) -> Vec<Check> {
    let mut checks: Vec<Check> = vec![app_armor];
    if !restricted || pod.minor < 22 {
        checks.push(capabilities);
    }
    checks.push(host_namespaces);
    if !restricted {
        checks.push(host_path);
    }
    checks.extend([host_ports as Check, probe_hosts, privileged]);
    if !restricted || pod.minor < 35 {
        checks.push(proc_mount);
    }
    checks.push(se_linux);
    if !restricted || pod.minor < 19 {
        checks.push(seccomp);
    }
    checks.extend([sysctls as Check, windows_host_process]);
    checks
}

fn stricter(pod: &Pod<'_>) -> Vec<Check> {
    let mut checks: Vec<Check> = Vec::new();
    if pod.minor >= 8 {
        checks.push(privilege_escalation);
    }
    if pod.minor >= 22 {
        checks.push(restricted_capabilities);
    }
    if pod.minor >= 35 {
        checks.push(restricted_proc_mount);
    }
    checks.extend([volumes as Check, run_as_non_root]);
    if pod.minor >= 23 {
        checks.push(run_as_user);
    }
    if pod.minor >= 19 {
        checks.push(restricted_seccomp);
    }
    checks
}

fn finding(reason: impl Into<String>, detail: String) -> Option<Finding> {
    Some(Finding { reason: reason.into(), detail })
}

fn quoted<T: AsRef<str>>(items: &[T]) -> String {
    items.iter().map(|i| format!("\"{}\"", i.as_ref())).collect::<Vec<_>>().join(", ")
}

fn sorted(items: BTreeSet<String>) -> Vec<String> {
    items.into_iter().collect()
}

fn plural<'a>(one: &'a str, many: &'a str, count: usize) -> &'a str {
    if count == 1 { one } else { many }
}

/// `container "a"`, `containers "a", "b"`
fn containers_text(names: &[&str]) -> String {
    format!("{} {}", plural("container", "containers", names.len()), quoted(names))
}

impl<'a> Pod<'a> {
    /// Init containers first.
    fn containers(&self) -> impl Iterator<Item = &'a Value> + use<'a> {
        let spec = self.spec;
        ["initContainers", "containers", "ephemeralContainers"].into_iter().flat_map(move |list| spec[list].items())
    }

    /// Names of containers whose securityContext is bad.
    fn bad(&self, mut is_bad: impl FnMut(&Value) -> bool) -> Vec<&'a str> {
        self.containers().filter(|c| is_bad(&c["securityContext"])).map(|c| c["name"].str()).collect()
    }

    fn context(&self) -> &'a Value {
        &self.spec["securityContext"]
    }
}

/// `pod`, `container "a"`, `pod and containers "a", "b"`
fn setters(pod: bool, containers: &[&str]) -> Option<String> {
    let mut all = Vec::new();
    if pod {
        all.push("pod".to_owned());
    }
    if !containers.is_empty() {
        all.push(containers_text(containers));
    }
    (!all.is_empty()).then(|| all.join(" and "))
}

fn app_armor(pod: &Pod<'_>) -> Option<Finding> {
    const ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";
    let mut values = BTreeSet::new();
    let mut bad = |context: &Value| {
        let Some(profile) = context.get("appArmorProfile") else { return false };
        let kind = profile["type"].str();
        let wrong = !matches!(kind, "RuntimeDefault" | "Localhost");
        if wrong {
            values.insert(kind.to_owned());
        }
        wrong
    };
    let in_pod = bad(pod.context());
    let containers = pod.bad(bad);
    let allowed = |v: &str| v.is_empty() || v == "runtime/default" || v.starts_with("localhost/");
    let annotations: BTreeSet<String> = pod.metadata["annotations"]
        .members()
        .filter(|(k, v)| k.starts_with(ANNOTATION) && !allowed(v.str()))
        .map(|(k, v)| format!("{k}={:?}", v.str()))
        .collect();
    let mut who: Vec<String> = setters(in_pod, &containers).into_iter().collect();
    let mut values = sorted(values);
    if !annotations.is_empty() {
        who.push(plural("annotation", "annotations", annotations.len()).to_owned());
        values.extend(annotations);
    }
    if who.is_empty() {
        return None;
    }
    let reason = plural("forbidden AppArmor profile", "forbidden AppArmor profiles", values.len());
    finding(reason, format!("{} must not set AppArmor profile type to {}", who.join(" and "), quoted(&values)))
}

const DEFAULT_CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Containers that add something else than these, and what.
fn added<'a>(pod: &Pod<'a>, allowed: &[&str]) -> (Vec<&'a str>, Vec<String>) {
    let mut wrong = BTreeSet::new();
    let names = pod.bad(|context| {
        let extra = context["capabilities"]["add"].items().iter().filter(|c| !allowed.contains(&c.str()));
        let before: Vec<String> = extra.map(|c| c.str().to_owned()).collect();
        let any = !before.is_empty();
        wrong.extend(before);
        any
    });
    (names, sorted(wrong))
}

fn capabilities(pod: &Pod<'_>) -> Option<Finding> {
    let (names, wrong) = added(pod, &DEFAULT_CAPABILITIES);
    if names.is_empty() {
        return None;
    }
    let detail =
        format!("{} must not include {} in securityContext.capabilities.add", containers_text(&names), quoted(&wrong));
    finding("non-default capabilities", detail)
}

fn host_namespaces(pod: &Pod<'_>) -> Option<Finding> {
    let set: Vec<String> = ["hostNetwork", "hostPID", "hostIPC"]
        .iter()
        .filter(|f| pod.spec[**f].is_true())
        .map(|f| format!("{f}=true"))
        .collect();
    if set.is_empty() { None } else { finding("host namespaces", set.join(", ")) }
}

fn host_path(pod: &Pod<'_>) -> Option<Finding> {
    let volumes = pod.spec["volumes"].items().iter().filter(|v| v.get("hostPath").is_some());
    let names: Vec<&str> = volumes.map(|v| v["name"].str()).collect();
    if names.is_empty() {
        return None;
    }
    finding("hostPath volumes", format!("{} {}", plural("volume", "volumes", names.len()), quoted(&names)))
}

fn host_ports(pod: &Pod<'_>) -> Option<Finding> {
    let mut ports = BTreeSet::new();
    let mut names = Vec::new();
    for container in pod.containers() {
        let used: Vec<i64> =
            container["ports"].items().iter().filter_map(|p| p["hostPort"].as_i64()).filter(|n| *n != 0).collect();
        if !used.is_empty() {
            names.push(container["name"].str());
            ports.extend(used.iter().map(i64::to_string));
        }
    }
    if names.is_empty() {
        return None;
    }
    let (uses, what) = (plural("uses", "use", names.len()), plural("hostPort", "hostPorts", ports.len()));
    finding("hostPort", format!("{} {uses} {what} {}", containers_text(&names), sorted(ports).join(", ")))
}

fn probe_hosts(pod: &Pod<'_>) -> Option<Finding> {
    if pod.minor < 34 {
        return None;
    }
    let (mut names, mut hosts) = (BTreeSet::new(), BTreeSet::new());
    for container in pod.containers() {
        let lifecycle = &container["lifecycle"];
        let handlers = [
            &container["livenessProbe"],
            &container["readinessProbe"],
            &container["startupProbe"],
            &lifecycle["postStart"],
            &lifecycle["preStop"],
        ];
        for handler in handlers {
            for kind in ["httpGet", "tcpSocket"] {
                let host = handler[kind]["host"].str();
                if !host.is_empty() {
                    names.insert(container["name"].str());
                    hosts.insert(host.to_owned());
                }
            }
        }
    }
    if names.is_empty() {
        return None;
    }
    let names: Vec<&str> = names.into_iter().collect();
    let hosts = sorted(hosts);
    let (uses, what) = (
        plural("uses", "use", names.len()),
        plural("probe or lifecycle host", "probe or lifecycle hosts", hosts.len()),
    );
    finding("probe or lifecycle host", format!("{} {uses} {what} {}", containers_text(&names), quoted(&hosts)))
}

fn privileged(pod: &Pod<'_>) -> Option<Finding> {
    let names = pod.bad(|context| context["privileged"].is_true());
    if names.is_empty() {
        return None;
    }
    finding("privileged", format!("{} must not set securityContext.privileged=true", containers_text(&names)))
}

fn proc_mount(pod: &Pod<'_>) -> Option<Finding> {
    if pod.own_users && pod.minor >= 35 { None } else { restricted_proc_mount(pod) }
}

fn restricted_proc_mount(pod: &Pod<'_>) -> Option<Finding> {
    let mut kinds = BTreeSet::new();
    let names = pod.bad(|context| {
        let wrong = context["procMount"].as_str().filter(|m| *m != "Default");
        kinds.extend(wrong.map(str::to_owned));
        wrong.is_some()
    });
    if names.is_empty() {
        return None;
    }
    let detail =
        format!("{} must not set securityContext.procMount to {}", containers_text(&names), quoted(&sorted(kinds)));
    finding("procMount", detail)
}

fn se_linux(pod: &Pod<'_>) -> Option<Finding> {
    let (mut types, mut user, mut role) = (BTreeSet::new(), false, false);
    let mut bad = |context: &Value| {
        let Some(options) = context.get("seLinuxOptions") else { return false };
        let kind = options["type"].str();
        let known = matches!(kind, "" | "container_t" | "container_init_t" | "container_kvm_t");
        let right = known || (kind == "container_engine_t" && pod.minor >= 31);
        if !right {
            types.insert(kind.to_owned());
        }
        let (has_user, has_role) = (!options["user"].str().is_empty(), !options["role"].str().is_empty());
        user |= has_user;
        role |= has_role;
        !right || has_user || has_role
    };
    let in_pod = bad(pod.context());
    let containers = pod.bad(bad);
    let who = setters(in_pod, &containers)?;
    let mut data = Vec::new();
    if !types.is_empty() {
        data.push(format!("{} {}", plural("type", "types", types.len()), quoted(&sorted(types))));
    }
    if user {
        data.push("user may not be set".to_owned());
    }
    if role {
        data.push("role may not be set".to_owned());
    }
    finding("seLinuxOptions", format!("{who} set forbidden securityContext.seLinuxOptions: {}", data.join("; ")))
}

/// Who sets a seccomp profile that is not one, and which.
fn bad_seccomp(pod: &Pod<'_>) -> Option<Finding> {
    let mut values = BTreeSet::new();
    let mut bad = |context: &Value| {
        let Some(profile) = context.get("seccompProfile") else { return false };
        let kind = profile["type"].str();
        let wrong = !matches!(kind, "RuntimeDefault" | "Localhost");
        if wrong {
            values.insert(kind.to_owned());
        }
        wrong
    };
    let in_pod = bad(pod.context());
    let containers = pod.bad(bad);
    let who = setters(in_pod, &containers)?;
    finding(
        "seccompProfile",
        format!("{who} must not set securityContext.seccompProfile.type to {}", quoted(&sorted(values))),
    )
}

fn seccomp(pod: &Pod<'_>) -> Option<Finding> {
    if pod.minor >= 19 { bad_seccomp(pod) } else { seccomp_annotations(pod) }
}

fn seccomp_annotations(pod: &Pod<'_>) -> Option<Finding> {
    let annotations = &pod.metadata["annotations"];
    let keys = pod.containers().map(|c| format!("container.seccomp.security.alpha.kubernetes.io/{}", c["name"].str()));
    let keys = std::iter::once("seccomp.security.alpha.kubernetes.io/pod".to_owned()).chain(keys);
    let valid = |v: &str| matches!(v, "runtime/default" | "docker/default") || v.starts_with("localhost/");
    let wrong: BTreeSet<String> = keys
        .filter_map(|k| annotations.get(&k).map(Value::str).filter(|v| !valid(v)).map(|v| format!("{k}={v:?}")))
        .collect();
    if wrong.is_empty() {
        return None;
    }
    let what = plural("annotation", "annotations", wrong.len());
    finding("seccompProfile", format!("forbidden {what} {}", sorted(wrong).join(", ")))
}

/// Allowed sysctls and the version that allowed them.
const SYSCTLS: [(u32, &[&str]); 5] = [
    (
        0,
        &[
            "kernel.shm_rmid_forced",
            "net.ipv4.ip_local_port_range",
            "net.ipv4.tcp_syncookies",
            "net.ipv4.ping_group_range",
            "net.ipv4.ip_unprivileged_port_start",
        ],
    ),
    (27, &["net.ipv4.ip_local_reserved_ports"]),
    (
        29,
        &[
            "net.ipv4.tcp_keepalive_time",
            "net.ipv4.tcp_fin_timeout",
            "net.ipv4.tcp_keepalive_intvl",
            "net.ipv4.tcp_keepalive_probes",
        ],
    ),
    (32, &["net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"]),
    (37, &["net.ipv4.tcp_slow_start_after_idle", "net.ipv4.tcp_notsent_lowat"]),
];

fn sysctls(pod: &Pod<'_>) -> Option<Finding> {
    let allowed = |name: &str| SYSCTLS.iter().any(|(since, names)| *since <= pod.minor && names.contains(&name));
    let list = pod.context()["sysctls"].items().iter().map(|s| s["name"].str());
    let wrong: Vec<&str> = list.filter(|n| !allowed(n)).collect();
    if wrong.is_empty() { None } else { finding("forbidden sysctls", wrong.join(", ")) }
}

fn windows_host_process(pod: &Pod<'_>) -> Option<Finding> {
    let bad = |context: &Value| context["windowsOptions"]["hostProcess"].is_true();
    let who = setters(bad(pod.context()), &pod.bad(bad))?;
    finding("hostProcess", format!("{who} must not set securityContext.windowsOptions.hostProcess=true"))
}

fn privilege_escalation(pod: &Pod<'_>) -> Option<Finding> {
    if pod.windows && pod.minor >= 25 {
        return None;
    }
    let names = pod.bad(|context| context["allowPrivilegeEscalation"].as_bool() != Some(false));
    if names.is_empty() {
        return None;
    }
    let detail = format!("{} must set securityContext.allowPrivilegeEscalation=false", containers_text(&names));
    finding("allowPrivilegeEscalation != false", detail)
}

fn restricted_capabilities(pod: &Pod<'_>) -> Option<Finding> {
    if pod.windows && pod.minor >= 25 {
        return None;
    }
    let keeping = pod.bad(|context| !context["capabilities"]["drop"].items().iter().any(|c| c.str() == "ALL"));
    let (adding, wrong) = added(pod, &["NET_BIND_SERVICE"]);
    let mut details = Vec::new();
    if !keeping.is_empty() {
        details.push(format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", containers_text(&keeping)));
    }
    if !adding.is_empty() {
        let text = containers_text(&adding);
        details.push(format!("{text} must not include {} in securityContext.capabilities.add", quoted(&wrong)));
    }
    if details.is_empty() { None } else { finding("unrestricted capabilities", details.join("; ")) }
}

const VOLUMES: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

fn volumes(pod: &Pod<'_>) -> Option<Finding> {
    let (mut names, mut kinds) = (Vec::new(), BTreeSet::new());
    for volume in pod.spec["volumes"].items() {
        if VOLUMES.iter().any(|kind| volume.get(kind).is_some()) {
            continue;
        }
        names.push(volume["name"].str());
        let kind = volume.members().map(|(n, _)| n).find(|n| *n != "name").unwrap_or("unknown");
        kinds.insert(kind.to_owned());
    }
    if names.is_empty() {
        return None;
    }
    let volumes = format!("{} {}", plural("volume", "volumes", names.len()), quoted(&names));
    let what = plural("restricted volume type", "restricted volume types", kinds.len());
    let uses = plural("uses", "use", names.len());
    finding("restricted volume types", format!("{volumes} {uses} {what} {}", quoted(&sorted(kinds))))
}

fn run_as_non_root(pod: &Pod<'_>) -> Option<Finding> {
    const REASON: &str = "runAsNonRoot != true";
    if pod.own_users && pod.minor >= 35 {
        return None;
    }
    let in_pod = pod.context()["runAsNonRoot"].as_bool();
    let explicit = pod.bad(|context| context["runAsNonRoot"].as_bool() == Some(false));
    if let Some(who) = setters(in_pod == Some(false), &explicit) {
        return finding(REASON, format!("{who} must not set securityContext.runAsNonRoot=false"));
    }
    let implicit = pod.bad(|context| context["runAsNonRoot"].is_null());
    if in_pod == Some(true) || implicit.is_empty() {
        return None;
    }
    finding(REASON, format!("pod or {} must set securityContext.runAsNonRoot=true", containers_text(&implicit)))
}

fn run_as_user(pod: &Pod<'_>) -> Option<Finding> {
    if pod.own_users && pod.minor >= 35 {
        return None;
    }
    let bad = |context: &Value| context["runAsUser"].as_i64() == Some(0);
    let who = setters(bad(pod.context()), &pod.bad(bad))?;
    finding("runAsUser=0", format!("{who} must not set runAsUser=0"))
}

fn restricted_seccomp(pod: &Pod<'_>) -> Option<Finding> {
    if pod.windows && pod.minor >= 25 {
        return None;
    }
    if let Some(bad) = bad_seccomp(pod) {
        return Some(bad);
    }
    let missing = pod.bad(|context| context.get("seccompProfile").is_none());
    if pod.context().get("seccompProfile").is_some() || missing.is_empty() {
        return None;
    }
    let text = containers_text(&missing);
    finding(
        "seccompProfile",
        format!("pod or {text} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\""),
    )
}
