//! What a pod may ask of this node. A pod that asks for more does not start: the answer here becomes the waiting reason
//! of its containers and an event. Nothing that is accepted silently is left out.

use crate::pod::{Container, ContainerKind, Pod, Profile, Volume};

/// The waiting reason and event reason of a refused pod.
pub const REASON: &str = "NotImplemented";

/// Why an ephemeral container stays waiting; the pod itself runs.
pub const EPHEMERAL: &str = "this node does not implement ephemeral containers yet";

/// The first thing that is not built, as a sentence; `None` when the pod can run.
pub fn refusal(pod: &Pod) -> Option<String> {
    let spec = &pod.spec;
    let of_pod = [
        (spec.share_process_namespace, "shareProcessNamespace"),
        (spec.host_users == Some(false), "user namespaces (hostUsers: false)"),
        (spec.runtime_class_name.as_deref().is_some_and(|c| !c.is_empty()), "runtimeClassName"),
        (!spec.resource_claims.is_empty(), "resourceClaims"),
        (spec.security_context.se_linux_options.is_some(), "seLinuxOptions"),
        (
            spec.security_context.supplemental_groups_policy.as_deref() == Some("Strict"),
            "supplementalGroupsPolicy: Strict",
        ),
    ];
    if let Some((_, what)) = of_pod.iter().find(|(asked, _)| *asked) {
        return Some(sentence(what));
    }
    let of_pod = &spec.security_context;
    if let Some(what) = refused_profile(of_pod.seccomp_profile.as_ref(), of_pod.app_armor_profile.as_ref()) {
        return Some(sentence(what));
    }
    let volume = spec.volumes.iter().find_map(refused_volume);
    volume.or_else(|| pod.all_containers().find_map(|(kind, c)| refused_in_container(spec.host_network, kind, c)))
}

fn sentence(what: &str) -> String {
    format!("this node does not implement {what} yet")
}

fn refused_volume(volume: &Volume) -> Option<String> {
    let named = |what: &str| Some(sentence(&format!("{what} (volume {:?})", volume.name)));
    if let Some(source) = volume.other.keys().next() {
        return named(&format!("volumes of type {source}"));
    }
    if let Some(host) = &volume.host_path
        && !matches!(
            host.kind.as_str(),
            "" | "Directory" | "DirectoryOrCreate" | "File" | "FileOrCreate" | "Socket" | "CharDevice" | "BlockDevice"
        )
    {
        return named(&format!("hostPath type {:?}", host.kind));
    }
    if let Some(medium) = volume.empty_dir.as_ref().map(|e| e.medium.as_str()).filter(|m| !matches!(*m, "" | "Memory"))
    {
        return named(&format!("emptyDir medium {medium:?}"));
    }
    let sources = volume.projected.iter().flat_map(|p| &p.sources);
    match sources.flat_map(|s| s.other.keys()).next() {
        Some(source) => named(&format!("projected sources of type {source}")),
        None => None,
    }
}

/// With the host's network a hostPort needs no mapping.
fn refused_in_container(host_network: bool, kind: ContainerKind, container: &Container) -> Option<String> {
    let asked = [
        (container.restart_policy.as_deref() == Some("Always") && kind == ContainerKind::Init, "sidecar containers"),
        (
            container.restart_policy.is_some() || !container.restart_policy_rules.is_empty(),
            "container restart policies",
        ),
        (container.liveness_probe.is_some(), "livenessProbe"),
        (container.readiness_probe.is_some(), "readinessProbe"),
        (container.startup_probe.is_some(), "startupProbe"),
        (container.lifecycle.is_some(), "lifecycle hooks"),
        (!container.volume_devices.is_empty(), "volumeDevices"),
        (!host_network && container.ports.iter().any(|p| p.host_port != 0), "hostPort"),
        (!container.resources.claims.is_empty(), "resource claims"),
        (asks_for_devices(container), "extended resources and huge pages"),
        (container.env.iter().any(|e| e.value_from.as_ref().is_some_and(|v| v.file_key_ref.is_some())), "fileKeyRef"),
        (
            container.volume_mounts.iter().any(|m| m.recursive_read_only.as_deref() == Some("Enabled")),
            "recursiveReadOnly: Enabled",
        ),
        (container.security_context.se_linux_options.is_some(), "seLinuxOptions"),
    ];
    let own = &container.security_context;
    let profile = refused_profile(own.seccomp_profile.as_ref(), own.app_armor_profile.as_ref());
    let what = asked.iter().find(|(asked, _)| *asked).map(|(_, what)| *what).or(profile)?;
    Some(sentence(&format!("{what} (container {:?})", container.name)))
}

fn asks_for_devices(container: &Container) -> bool {
    let names = container.resources.limits.keys().chain(container.resources.requests.keys());
    names.into_iter().any(|n| !matches!(n.as_str(), "cpu" | "memory" | "ephemeral-storage"))
}

/// AppArmor is not built: a profile that promises protection is refused.
fn refused_profile(seccomp: Option<&Profile>, app_armor: Option<&Profile>) -> Option<&'static str> {
    if seccomp.is_some_and(|p| p.kind == "Localhost") {
        return Some("seccomp profiles of type Localhost");
    }
    app_armor.is_some_and(|p| p.kind != "Unconfined").then_some("AppArmor profiles")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(spec: &str, want: Option<&str>) {
        let pod: Pod = serde_json::from_str(&format!(r#"{{"spec":{spec}}}"#)).unwrap();
        assert_eq!(refusal(&pod), want.map(|w| format!("this node does not implement {w} yet")), "{spec}");
    }

    #[test]
    fn what_is_not_built_is_refused_by_name() {
        check(r#"{"containers":[{"name":"a"}]}"#, None);
        check(r#"{"containers":[{"name":"a","livenessProbe":{}}]}"#, Some(r#"livenessProbe (container "a")"#));
        check(r#"{"containers":[{"name":"a","lifecycle":{}}]}"#, Some(r#"lifecycle hooks (container "a")"#));
        check(
            r#"{"initContainers":[{"name":"i","restartPolicy":"Always"}]}"#,
            Some(r#"sidecar containers (container "i")"#),
        );
        check(r#"{"volumes":[{"name":"v","nfs":{}}]}"#, Some(r#"volumes of type nfs (volume "v")"#));
        check(r#"{"volumes":[{"name":"v","emptyDir":{"medium":"Memory"}}]}"#, None);
        check(
            r#"{"volumes":[{"name":"v","projected":{"sources":[{"clusterTrustBundle":{}}]}}]}"#,
            Some(r#"projected sources of type clusterTrustBundle (volume "v")"#),
        );
        check(
            r#"{"securityContext":{"appArmorProfile":{"type":"RuntimeDefault"}},"containers":[{"name":"a"}]}"#,
            Some("AppArmor profiles"),
        );
        check(r#"{"hostUsers":false}"#, Some("user namespaces (hostUsers: false)"));
        check(
            r#"{"containers":[{"name":"a","resources":{"limits":{"nvidia.com/gpu":"1"}}}]}"#,
            Some(r#"extended resources and huge pages (container "a")"#),
        );
    }
}
