//! Security contexts of pods and containers, and what each operating system forbids.

use std::collections::BTreeSet;

use document::Value;
use meta::field::{Error, Path};

use super::windows;
use crate::validation::check::{Check, each};
use crate::validation::internal::shown_as;

const SECCOMP: [&str; 3] = ["Localhost", "RuntimeDefault", "Unconfined"];

pub(super) fn pod(check: &mut Check, spec: &Value, path: &Path) {
    let context = &spec["securityContext"];
    for field in ["fsGroup", "runAsUser", "runAsGroup"] {
        check.id(&path.child(field), &context[field]);
    }
    for (at, group) in each(&context["supplementalGroups"], &path.child("supplementalGroups")) {
        check.id(&at, group);
    }
    sysctls(check, spec, &path.child("sysctls"));
    let policies = ["Always", "OnRootMismatch"];
    check.optional_one_of(&path.child("fsGroupChangePolicy"), &context["fsGroupChangePolicy"], &policies);
    seccomp(check, &context["seccompProfile"], &path.child("seccompProfile"));
    windows::options(check, &context["windowsOptions"], &path.child("windowsOptions"));
    app_armor(check, &context["appArmorProfile"], &path.child("appArmorProfile"));
    let policies = ["Merge", "Strict"];
    check.optional_one_of(&path.child("supplementalGroupsPolicy"), &context["supplementalGroupsPolicy"], &policies);
    let policies = ["MountOption", "Recursive"];
    check.optional_one_of(&path.child("seLinuxChangePolicy"), &context["seLinuxChangePolicy"], &policies);
}

fn sysctls(check: &mut Check, spec: &Value, path: &Path) {
    const REGEX: &str = r"^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
    let mut seen = BTreeSet::new();
    for (at, sysctl) in each(&spec["securityContext"]["sysctls"], path) {
        let at = at.child("name");
        let name = sysctl["name"].str();
        if name.is_empty() {
            check.required(&at, "");
        } else if !is_sysctl(name) {
            check.invalid(&at, name, &format!("must have at most 253 characters and match regex {REGEX}"));
        } else if seen.contains(name) {
            check.push(Error::duplicate(&at, name));
        }
        let dotted = name.replace('/', ".");
        if spec["hostNetwork"].is_true() && dotted.starts_with("net.") {
            check.invalid(&at, name, "may not be specified when 'hostNetwork' is true");
        } else if spec["hostIPC"].is_true() && is_ipc(&dotted) {
            check.invalid(&at, name, "may not be specified when 'hostIPC' is true");
        }
        seen.insert(name);
    }
}

fn is_ipc(name: &str) -> bool {
    name == "kernel.sem" || ["kernel.shm", "kernel.msg", "fs.mqueue."].iter().any(|p| name.starts_with(p))
}

fn is_sysctl(name: &str) -> bool {
    let part = |p: &str| {
        let b = p.as_bytes();
        let alnum = |c: &u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        b.first().is_some_and(alnum) && b.last().is_some_and(alnum) && b.iter().all(|c| alnum(c) || b"-_".contains(c))
    };
    name.len() <= 253 && name.split(['.', '/']).all(part)
}

pub(super) fn container(check: &mut Check, context: &Value, path: &Path, host_users: bool) {
    check.id(&path.child("runAsUser"), &context["runAsUser"]);
    check.id(&path.child("runAsGroup"), &context["runAsGroup"]);
    if let Some(mount) = context["procMount"].as_str() {
        let at = path.child("procMount");
        let supported = ["Default", "Unmasked"];
        if !supported.contains(&mount) {
            check.push(Error::not_supported(&at, mount, &supported));
        }
        if host_users && mount == "Unmasked" {
            check.invalid(&at, mount, "`hostUsers` must be false to use `Unmasked`");
        }
    }
    seccomp(check, &context["seccompProfile"], &path.child("seccompProfile"));
    if context["allowPrivilegeEscalation"].as_bool() == Some(false) {
        let value = || shown_as(context, "io.k8s.api.core.v1.SecurityContext");
        if context["privileged"].is_true() {
            check.invalid(path, value(), "cannot set `allowPrivilegeEscalation` to false and `privileged` to true");
        }
        for _ in context["capabilities"]["add"].items().iter().filter(|c| c.str() == "CAP_SYS_ADMIN") {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            check.invalid(path, value(), detail);
        }
    }
    windows::options(check, &context["windowsOptions"], &path.child("windowsOptions"));
    app_armor(check, &context["appArmorProfile"], &path.child("appArmorProfile"));
}

fn seccomp(check: &mut Check, profile: &Value, path: &Path) {
    if profile.is_null() {
        return;
    }
    let (kind, at) = (profile["type"].str(), path.child("localhostProfile"));
    if kind.is_empty() {
        check.required(&path.child("type"), "type is required when seccompProfile is set");
    } else {
        check.one_of(&path.child("type"), kind, &SECCOMP);
    }
    match (kind, profile["localhostProfile"].as_str()) {
        ("Localhost", None) => check.required(&at, "must be set when seccomp type is Localhost"),
        ("Localhost", Some(name)) => check.descending_path(&at, name),
        (_, Some(_)) => {
            let value = shown_as(profile, "io.k8s.api.core.v1.SeccompProfile");
            check.invalid(&at, value, "can only be set when seccomp type is Localhost");
        }
        (_, None) => {}
    }
}

fn app_armor(check: &mut Check, profile: &Value, path: &Path) {
    if profile.is_null() {
        return;
    }
    let at = path.child("localhostProfile");
    match (profile["type"].str(), profile["localhostProfile"].as_str()) {
        ("Localhost", None) => check.required(&at, "must be set when AppArmor type is Localhost"),
        ("Localhost", Some(name)) => {
            if name.trim() != name {
                check.invalid(&at, name, "must not be padded with whitespace");
            } else if name.is_empty() {
                check.required(&at, "must be set when AppArmor type is Localhost");
            }
            if name.len() > 4095 {
                check.push(Error::too_long_bytes(&at, 4095));
            }
        }
        ("RuntimeDefault" | "Unconfined", Some(name)) => {
            check.invalid(&at, name, "can only be set when AppArmor type is Localhost");
        }
        ("RuntimeDefault" | "Unconfined", None) => {}
        ("", _) => check.required(&path.child("type"), "type is required when appArmorProfile is set"),
        (other, _) => check.push(Error::not_supported(&path.child("type"), other, &SECCOMP)),
    }
}

fn contexts<'a>(spec: &'a Value, path: &Path) -> Vec<(Path, &'a Value)> {
    let mut all = Vec::new();
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for (at, container) in each(&spec[list], &path.child(list)) {
            if let Some(context) = container.get("securityContext") {
                all.push((at.child("securityContext"), context));
            }
        }
    }
    all
}

pub(super) fn linux_only(check: &mut Check, spec: &Value, path: &Path) {
    const DETAIL: &str = "windows options cannot be set for a linux pod";
    if spec["securityContext"].get("windowsOptions").is_some() {
        check.forbidden(&path.child("securityContext").child("windowsOptions"), DETAIL);
    }
    for (at, context) in contexts(spec, path) {
        if context.get("windowsOptions").is_some() {
            check.forbidden(&at.child("windowsOptions"), DETAIL);
        }
    }
}

/// Containers that are processes of a Windows host: all or none, and on the host's network.
pub(super) fn host_process(check: &mut Check, spec: &Value, path: &Path) {
    let of = |context: &Value| context["windowsOptions"]["hostProcess"].as_bool();
    let pod = of(&spec["securityContext"]);
    let (mut all, mut on_host) = (0, 0);
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for (at, container) in each(&spec[list], &path.child(list)) {
            all += 1;
            let own = of(&container["securityContext"]);
            if let (Some(pod), Some(own)) = (pod, own)
                && pod != own
            {
                let at = at.child("securityContext").child("windowsOptions").child("hostProcess");
                let detail = format!("pod hostProcess value must be identical if both are specified, was {pod}");
                check.invalid(&at, own, &detail);
            }
            on_host += i32::from(own.or(pod) == Some(true));
        }
    }
    if on_host == 0 {
        return;
    }
    if on_host != all {
        let detail = "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        check.invalid(path, "", detail);
    }
    if !spec["hostNetwork"].is_true() {
        let detail = "hostNetwork must be true if pod contains any hostProcess containers";
        check.invalid(&path.child("hostNetwork"), false, detail);
    }
}

pub(super) fn windows_only(check: &mut Check, spec: &Value, path: &Path) {
    const DETAIL: &str = "cannot be set for a windows pod";
    const POD: [&str; 10] = [
        "appArmorProfile",
        "seLinuxOptions",
        "seccompProfile",
        "fsGroup",
        "fsGroupChangePolicy",
        "sysctls",
        "shareProcessNamespace",
        "runAsUser",
        "runAsGroup",
        "supplementalGroups",
    ];
    const CONTAINER: [&str; 9] = [
        "appArmorProfile",
        "seLinuxOptions",
        "seccompProfile",
        "capabilities",
        "readOnlyRootFilesystem",
        "privileged",
        "allowPrivilegeEscalation",
        "procMount",
        "runAsUser",
    ];
    let context = &spec["securityContext"];
    let at = path.child("securityContext");
    for field in POD.iter().filter(|f| !context[**f].is_empty()) {
        check.forbidden(&at.child(field), DETAIL);
    }
    for field in ["hostPID", "hostIPC"] {
        if spec[field].is_true() {
            check.forbidden(&path.child(field), DETAIL);
        }
    }
    for (at, context) in contexts(spec, path) {
        for field in CONTAINER.iter().chain(["runAsGroup"].iter()).filter(|f| !context[**f].is_empty()) {
            check.forbidden(&at.child(field), DETAIL);
        }
    }
}
