//! Pod and container security contexts lowered into the runtime's terms. Pure; what cannot be lowered was refused before
//! (`lifecycle::refuse`).

use crate::{
    image::Image,
    pod::{Container, Pod, PodSecurityContext, SecurityContext as Wanted},
    runtime::{SeccompProfile, SecurityContext, default_masked_paths, default_readonly_paths},
};

/// Lowers who the container runs as and what it may do. `seccomp_default` is the profile of those who name none.
pub fn lower(pod: &Pod, container: &Container, seccomp_default: SeccompProfile) -> SecurityContext {
    let (of_pod, own) = (&pod.spec.security_context, &container.security_context);
    let unmasked = own.proc_mount.as_deref() == Some("Unmasked");
    SecurityContext {
        run_as_user: id(own.run_as_user.or(of_pod.run_as_user)),
        run_as_group: id(own.run_as_group.or(of_pod.run_as_group)),
        supplemental_groups: groups(of_pod),
        privileged: own.privileged,
        add_capabilities: own.capabilities.add.iter().map(|c| capability(c)).collect(),
        drop_capabilities: own.capabilities.drop.iter().map(|c| capability(c)).collect(),
        readonly_rootfs: own.read_only_root_filesystem,
        seccomp: seccomp(of_pod, own, seccomp_default),
        no_new_privs: own.allow_privilege_escalation == Some(false),
        masked_paths: if unmasked { Vec::new() } else { default_masked_paths() },
        readonly_paths: if unmasked { Vec::new() } else { default_readonly_paths() },
    }
}

fn id(id: Option<i64>) -> Option<u32> {
    id.and_then(|id| u32::try_from(id).ok())
}

fn groups(of_pod: &PodSecurityContext) -> Vec<u32> {
    of_pod.fs_group.iter().chain(&of_pod.supplemental_groups).filter_map(|g| u32::try_from(*g).ok()).collect()
}

fn capability(name: &str) -> String {
    let upper = name.to_uppercase();
    upper.strip_prefix("CAP_").map(Into::into).unwrap_or(upper)
}

fn seccomp(of_pod: &PodSecurityContext, own: &Wanted, default: SeccompProfile) -> SeccompProfile {
    if own.privileged {
        return SeccompProfile::Unconfined;
    }
    match own.seccomp_profile.as_ref().or(of_pod.seccomp_profile.as_ref()).map(|p| p.kind.as_str()) {
        Some("RuntimeDefault") => SeccompProfile::RuntimeDefault,
        Some(_) => SeccompProfile::Unconfined,
        None => default,
    }
}

/// Refuses root where runAsNonRoot forbids it, in upstream's words.
pub fn verify_non_root(pod: &Pod, container: &Container, image: &Image) -> Result<(), String> {
    let (of_pod, own) = (&pod.spec.security_context, &container.security_context);
    if own.run_as_non_root.or(of_pod.run_as_non_root) != Some(true) {
        return Ok(());
    }
    let whom = format!("(pod: {:?}, container: {})", pod.full_name(), container.name);
    if let Some(user) = own.run_as_user.or(of_pod.run_as_user) {
        return if user == 0 { Err(format!("container's runAsUser breaks non-root policy {whom}")) } else { Ok(()) };
    }
    let user = image.user.split(':').next().unwrap_or_default();
    match user.parse::<i64>() {
        _ if user.is_empty() => Err(format!("container has runAsNonRoot and image will run as root {whom}")),
        Ok(0) => Err(format!("container has runAsNonRoot and image will run as root {whom}")),
        Ok(_) => Ok(()),
        Err(_) => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({user}), cannot verify user is non-root {whom}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(pod_context: &str, own: &str) -> Pod {
        let json = format!(
            r#"{{"metadata":{{"name":"p","namespace":"n","uid":"u"}},"spec":{{"securityContext":{pod_context},"containers":[{{"name":"c","securityContext":{own}}}]}}}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    fn image(user: &str) -> Image {
        Image {
            id: String::new(),
            tags: Vec::new(),
            digests: Vec::new(),
            size: 0,
            user: user.into(),
            env: Vec::new(),
            entrypoint: Vec::new(),
            cmd: Vec::new(),
            working_dir: String::new(),
            stop_signal: String::new(),
        }
    }

    #[test]
    fn the_container_speaks_before_the_pod() {
        let pod = pod(
            r#"{"runAsUser":1000,"runAsGroup":1,"fsGroup":7,"supplementalGroups":[8],"seccompProfile":{"type":"RuntimeDefault"}}"#,
            r#"{"runAsUser":2000,"capabilities":{"add":["cap_net_admin"],"drop":["ALL"]},"allowPrivilegeEscalation":false}"#,
        );
        let lowered = lower(&pod, &pod.spec.containers[0], SeccompProfile::Unconfined);
        assert_eq!((lowered.run_as_user, lowered.run_as_group), (Some(2000), Some(1)));
        assert_eq!(lowered.supplemental_groups, [7, 8]);
        assert_eq!(
            (lowered.add_capabilities, lowered.drop_capabilities),
            (vec!["NET_ADMIN".into()], vec!["ALL".into()])
        );
        assert_eq!(lowered.seccomp, SeccompProfile::RuntimeDefault);
        assert!(lowered.no_new_privs && !lowered.masked_paths.is_empty());
    }

    #[test]
    fn privileged_containers_have_no_filter() {
        let pod =
            pod(r#"{"seccompProfile":{"type":"RuntimeDefault"}}"#, r#"{"privileged":true,"procMount":"Unmasked"}"#);
        let lowered = lower(&pod, &pod.spec.containers[0], SeccompProfile::RuntimeDefault);
        assert_eq!(lowered.seccomp, SeccompProfile::Unconfined);
        assert!(lowered.privileged && lowered.masked_paths.is_empty());
    }

    #[test]
    fn non_root_is_verified_against_spec_and_image() {
        let whom = r#"(pod: "p_n(u)", container: c)"#;
        for (own, user, want) in [
            ("{}", "", None),
            (r#"{"runAsNonRoot":true,"runAsUser":0}"#, "1000", Some("container's runAsUser breaks non-root policy ")),
            (r#"{"runAsNonRoot":true,"runAsUser":5}"#, "", None),
            (r#"{"runAsNonRoot":true}"#, "1000:1000", None),
            (r#"{"runAsNonRoot":true}"#, "", Some("container has runAsNonRoot and image will run as root ")),
            (r#"{"runAsNonRoot":true}"#, "0", Some("container has runAsNonRoot and image will run as root ")),
            (
                r#"{"runAsNonRoot":true}"#,
                "app",
                Some(
                    "container has runAsNonRoot and image has non-numeric user (app), cannot verify user is non-root ",
                ),
            ),
        ] {
            let pod = pod("{}", own);
            let got = verify_non_root(&pod, &pod.spec.containers[0], &image(user)).err();
            assert_eq!(got, want.map(|w| format!("{w}{whom}")), "{own} {user}");
        }
    }
}
