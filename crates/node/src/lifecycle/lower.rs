//! A container of a pod lowered into what the runtime is told; and the sandbox around it. Pure but for the files that
//! are mounted into every container (`/etc/hosts`, the termination log), which are written here.

use std::{
    collections::BTreeMap,
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::{
    context::Context,
    plan::IMAGE_LABEL,
    status::{IMAGE_ID_LABEL, IMAGE_NAME_LABEL, RESOURCES_LABEL},
};
use crate::{
    env,
    image::{Image, Reference},
    logs,
    pod::{Container, Pod},
    resources,
    runtime::{ContainerSpec, DnsConfig, Mount, NamespaceMode, PodRef, Propagation, SandboxSpec},
    security,
    sources::Sources,
    volumes::PodVolumes,
};

/// The sandbox of a pod.
pub(crate) fn sandbox(context: &Context, pod: &Pod, attempt: u32) -> SandboxSpec {
    let mode = |host: bool| if host { NamespaceMode::Host } else { NamespaceMode::Own };
    let spec = &pod.spec;
    SandboxSpec {
        pod: pod_ref(pod),
        attempt,
        hostname: if spec.host_network { context.node.clone() } else { hostname(context, pod) },
        network: mode(spec.host_network),
        ipc: mode(spec.host_ipc),
        pid: mode(spec.host_pid),
        cgroup: resources::cgroup(pod),
        resources: resources::of_pod(pod),
        dns: dns(pod),
        sysctls: spec.security_context.sysctls.iter().map(|s| (s.name.clone(), s.value.clone())).collect(),
        labels: BTreeMap::new(),
    }
}

fn pod_ref(pod: &Pod) -> PodRef {
    let meta = &pod.metadata;
    PodRef { namespace: meta.namespace.clone(), name: meta.name.clone(), uid: meta.uid.clone() }
}

/// The short name, or the full one where the pod asks for it.
fn hostname(context: &Context, pod: &Pod) -> String {
    let (name, domain) = names(context, pod);
    if pod.spec.set_hostname_as_fqdn && !domain.is_empty() { format!("{name}.{domain}") } else { name }
}

/// Host name and domain; at most 63 characters.
fn names(context: &Context, pod: &Pod) -> (String, String) {
    let spec = &pod.spec;
    if let Some(name) = &spec.hostname_override {
        return (cut(name), String::new());
    }
    let name = if spec.hostname.is_empty() { &pod.metadata.name } else { &spec.hostname };
    let domain = match spec.subdomain.as_str() {
        "" => String::new(),
        sub => format!("{sub}.{}.svc.{}", pod.metadata.namespace, context.cluster_domain),
    };
    (cut(name), domain)
}

fn cut(name: &str) -> String {
    let short: String = name.chars().take(63).collect();
    if short.len() == name.len() { short } else { short.trim_end_matches(['-', '.']).to_owned() }
}

/// The node's resolv.conf stands for every policy but None, since there is no cluster DNS yet; dnsConfig is added.
fn dns(pod: &Pod) -> Option<DnsConfig> {
    let wanted = pod.spec.dns_config.as_ref();
    if pod.spec.dns_policy != "None" && wanted.is_none() {
        return None;
    }
    let mut dns = if pod.spec.dns_policy == "None" { DnsConfig::default() } else { node_dns() };
    if let Some(wanted) = wanted {
        add_new(&mut dns.servers, wanted.nameservers.iter().cloned());
        add_new(&mut dns.searches, wanted.searches.iter().cloned());
        for option in &wanted.options {
            let same = |o: &String| o.split(':').next() == Some(option.name.as_str());
            dns.options.retain(|o| !same(o));
            dns.options.push(match &option.value {
                Some(value) => format!("{}:{value}", option.name),
                None => option.name.clone(),
            });
        }
    }
    Some(dns)
}

fn add_new(list: &mut Vec<String>, more: impl Iterator<Item = String>) {
    for item in more {
        if !list.contains(&item) {
            list.push(item);
        }
    }
}

fn node_dns() -> DnsConfig {
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let mut dns = DnsConfig::default();
    for line in text.lines() {
        let mut words = line.split_whitespace().map(String::from);
        match words.next().as_deref() {
            Some("nameserver") => dns.servers.extend(words),
            Some("search") => dns.searches = words.collect(),
            Some("options") => dns.options.extend(words),
            _ => {}
        }
    }
    dns
}

/// What one container is made of.
pub(crate) struct Parts<'a> {
    pub context: &'a Context,
    pub pod: &'a Pod,
    pub container: &'a Container,
    pub attempt: u32,
    pub image: &'a Image,
    pub pod_ips: &'a [String],
    pub sources: &'a Sources,
    pub volumes: &'a PodVolumes,
}

/// Lowers a container. The error is the message of CreateContainerConfigError.
pub(crate) fn container(parts: &Parts<'_>) -> Result<ContainerSpec, String> {
    let Parts { context, pod, container, image, .. } = *parts;
    security::verify_non_root(pod, container, image)?;
    let vars = variables(parts)?;
    let mut mounts = parts.volumes.mounts(pod, container, &vars)?;
    add_files(parts, &mut mounts).map_err(|error| format!("failed to prepare files of the container: {error}"))?;
    let log_dir = logs::pod_dir(&context.log_dir, &pod.metadata.namespace, &pod.metadata.name, &pod.metadata.uid);
    Ok(ContainerSpec {
        name: container.name.clone(),
        attempt: parts.attempt,
        image: image.id.clone(),
        command: env::expand_all(&container.command, &vars),
        args: env::expand_all(&container.args, &vars),
        working_dir: container.working_dir.clone(),
        mounts,
        security: security::lower(pod, container, context.seccomp_default.clone()),
        resources: resources::of_container(pod, container, context.capacity.memory, context.pids_limit),
        log_path: logs::file(&log_dir, &container.name, parts.attempt),
        tty: container.tty,
        stdin: container.stdin,
        labels: labels(container, image),
        env: vars,
    })
}

fn variables(parts: &Parts<'_>) -> Result<Vec<(String, String)>, String> {
    let (context, pod) = (parts.context, parts.pod);
    let services: Vec<env::Service> = context.services.list().iter().map(|s| s.facts.clone()).collect();
    let links = pod.spec.enable_service_links.unwrap_or(true);
    let services = env::service_variables(&services, &pod.metadata.namespace, links);
    let inputs = env::Context {
        pod,
        pod_ips: parts.pod_ips,
        host_ips: &context.host_ips,
        capacity: context.capacity,
        services: &services,
        sources: parts.sources,
    };
    env::variables(parts.container, &inputs)
}

fn labels(container: &Container, image: &Image) -> BTreeMap<String, String> {
    let name = Reference::parse(&container.image).map(|r| r.to_string()).unwrap_or_else(|_| container.image.clone());
    let repository = Reference::parse(&container.image).map(|r| r.repository()).unwrap_or_default();
    let of_repository = image.digests.iter().find(|d| d.split('@').next() == Some(&repository));
    let id = of_repository.or(image.digests.first()).unwrap_or(&image.id).clone();
    BTreeMap::from([
        (IMAGE_LABEL.to_owned(), container.image.clone()),
        (IMAGE_NAME_LABEL.to_owned(), name),
        (IMAGE_ID_LABEL.to_owned(), id),
        (RESOURCES_LABEL.to_owned(), serde_json::to_string(&container.resources).unwrap_or_default()),
    ])
}

/// `/etc/hosts` and the termination log, unless a volume is mounted there.
fn add_files(parts: &Parts<'_>, mounts: &mut Vec<Mount>) -> io::Result<()> {
    let (pod, container) = (parts.pod, parts.container);
    let mounted = |path: &str| container.volume_mounts.iter().any(|m| m.mount_path.trim_end_matches('/') == path);
    if !mounted("/etc/hosts") {
        let path = parts.volumes.dir().join("etc-hosts");
        write(&path, hosts(parts)?.as_bytes(), 0o644)?;
        mounts.push(file_mount(path, "/etc/hosts"));
    }
    let message_path = &container.termination_message_path;
    if !message_path.is_empty() && !mounted(message_path) {
        let path = termination_log(parts.volumes.dir(), &container.name, parts.attempt);
        write(&path, b"", 0o666)?;
        mounts.push(file_mount(path, message_path));
    }
    debug_assert!(!pod.metadata.uid.is_empty());
    Ok(())
}

/// The host's file behind a container's termination message path.
pub(crate) fn termination_log(pod_dir: &Path, container: &str, attempt: u32) -> PathBuf {
    pod_dir.join("containers").join(container).join(format!("termination-{attempt}"))
}

fn file_mount(host_path: PathBuf, container_path: &str) -> Mount {
    Mount { host_path, container_path: container_path.into(), readonly: false, propagation: Propagation::Private }
}

fn write(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(path, content)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

fn hosts(parts: &Parts<'_>) -> io::Result<String> {
    let pod = parts.pod;
    let mut text = if pod.spec.host_network {
        "# Kubernetes-managed hosts file (host network).\n".to_owned() + &std::fs::read_to_string("/etc/hosts")?
    } else {
        managed_hosts(names(parts.context, pod), parts.pod_ips)
    };
    if !pod.spec.host_aliases.is_empty() {
        text += "\n# Entries added by HostAliases.\n";
        for alias in &pod.spec.host_aliases {
            text += &format!("{}\t{}\n", alias.ip, alias.hostnames.join("\t"));
        }
    }
    Ok(text)
}

fn managed_hosts((name, domain): (String, String), ips: &[String]) -> String {
    let mut text =
        "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
        fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n"
            .to_owned();
    for ip in ips {
        text += &match domain.as_str() {
            "" => format!("{ip}\t{name}\n"),
            domain => format!("{ip}\t{name}.{domain}\t{name}\n"),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_file_names_the_pod() {
        let text = managed_hosts(("p".into(), "s.n.svc.cluster.local".into()), &["10.0.0.2".into()]);
        assert!(text.ends_with("fe00::2\tip6-allrouters\n10.0.0.2\tp.s.n.svc.cluster.local\tp\n"), "{text}");
    }

    #[test]
    fn dns_of_policy_none_is_what_the_pod_says() {
        let json = r#"{"spec":{"dnsPolicy":"None","dnsConfig":{"nameservers":["1.1.1.1"],"options":[{"name":"ndots","value":"2"}]}}}"#;
        let dns = dns(&serde_json::from_str(json).unwrap()).unwrap();
        assert_eq!((dns.servers, dns.options), (vec!["1.1.1.1".into()], vec!["ndots:2".into()]));
        assert!(super::dns(&Pod::default()).is_none());
    }

    #[test]
    fn long_names_are_cut() {
        assert_eq!(cut(&format!("{}-.x", "a".repeat(61))), "a".repeat(61));
    }
}
