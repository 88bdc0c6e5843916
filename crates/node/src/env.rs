//! The environment of a container: values, references, `$(VAR)` expansion, service variables. Pure: what is read from
//! the API is handed in as `Sources`.

use std::collections::BTreeMap;

use crate::{
    pod::{Container, EnvVarSource, Pod},
    resources::{self, Capacity},
    sources::Sources,
};

/// What else variables are made of.
pub struct Context<'a> {
    pub pod: &'a Pod,
    pub pod_ips: &'a [String],
    pub host_ips: &'a [String],
    pub capacity: Capacity,
    pub services: &'a BTreeMap<String, String>,
    pub sources: &'a Sources,
}

/// One service, as far as variables need it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    pub namespace: String,
    pub name: String,
    pub cluster_ip: String,
    pub ports: Vec<ServicePort>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServicePort {
    pub name: String,
    pub protocol: String,
    pub port: i64,
}

/// The container's variables in the order in which they are declared, service variables last.
pub fn variables(container: &Container, context: &Context<'_>) -> Result<Vec<(String, String)>, String> {
    let mut vars: Vec<(String, String)> = Vec::new();
    for from in &container.env_from {
        for (key, value) in env_from(from, context)? {
            set(&mut vars, format!("{}{key}", from.prefix), value);
        }
    }
    for var in &container.env {
        let value = match (&var.value_from, var.value.is_empty()) {
            (Some(source), true) => match resolve(source, container, context)? {
                Some(value) => value,
                None => continue,
            },
            _ => expand(&var.value, &|name| lookup(&vars, name).or_else(|| context.services.get(name).cloned())),
        };
        set(&mut vars, var.name.clone(), value);
    }
    for (name, value) in context.services {
        if lookup(&vars, name).is_none() {
            vars.push((name.clone(), value.clone()));
        }
    }
    Ok(vars)
}

fn env_from(from: &crate::pod::EnvFrom, context: &Context<'_>) -> Result<Vec<(String, String)>, String> {
    if let Some(reference) = &from.config_map_ref {
        return match context.sources.config_maps.get(&reference.name) {
            Some(map) => Ok(map.data.iter().map(|(k, v)| (k.clone(), v.clone())).collect()),
            None if reference.optional => Ok(Vec::new()),
            None => Err(format!("configmap {:?} not found", reference.name)),
        };
    }
    if let Some(reference) = &from.secret_ref {
        return match context.sources.secrets.get(&reference.name) {
            Some(secret) => Ok(secret.data.iter().map(|(k, v)| (k.clone(), text(v))).collect()),
            None if reference.optional => Ok(Vec::new()),
            None => Err(format!("secret {:?} not found", reference.name)),
        };
    }
    Ok(Vec::new())
}

/// `None`: an optional source that is not there, the variable is left out.
fn resolve(source: &EnvVarSource, container: &Container, context: &Context<'_>) -> Result<Option<String>, String> {
    let namespace = &context.pod.metadata.namespace;
    if let Some(field) = &source.field_ref {
        return pod_field(&field.field_path, context.pod, context.pod_ips, context.host_ips).map(Some);
    }
    if let Some(field) = &source.resource_field_ref {
        let of = match field.container_name.as_str() {
            "" => container,
            name => context.pod.container(name).map(|(_, c)| c).ok_or(format!("container {name} not found"))?,
        };
        return resources::field_value(field, of, context.capacity).map(Some);
    }
    if let Some(key) = &source.config_map_key_ref {
        let Some(map) = context.sources.config_maps.get(&key.name) else {
            return if key.optional { Ok(None) } else { Err(format!("configmap {:?} not found", key.name)) };
        };
        return match map.data.get(&key.key) {
            Some(value) => Ok(Some(value.clone())),
            None if key.optional => Ok(None),
            None => Err(format!("couldn't find key {} in ConfigMap {namespace}/{}", key.key, key.name)),
        };
    }
    if let Some(key) = &source.secret_key_ref {
        let Some(secret) = context.sources.secrets.get(&key.name) else {
            return if key.optional { Ok(None) } else { Err(format!("secret {:?} not found", key.name)) };
        };
        return match secret.data.get(&key.key) {
            Some(value) => Ok(Some(text(value))),
            None if key.optional => Ok(None),
            None => Err(format!("couldn't find key {} in Secret {namespace}/{}", key.key, key.name)),
        };
    }
    Ok(Some(String::new()))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn set(vars: &mut Vec<(String, String)>, name: String, value: String) {
    match vars.iter_mut().find(|(n, _)| *n == name) {
        Some((_, slot)) => *slot = value,
        None => vars.push((name, value)),
    }
}

fn lookup(vars: &[(String, String)], name: &str) -> Option<String> {
    vars.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone())
}

/// execve's limit for one string; variables that name variables could double for ever.
const MAX_EXPANDED: usize = 128 << 10;

/// Replaces `$(NAME)` where the mapping knows the name; `$$` is a dollar sign.
pub fn expand(input: &str, mapping: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(input.len());
    let mut rest = input;
    while let Some(at) = rest.find('$') {
        if out.len() > MAX_EXPANDED {
            // longer than execve takes: the container cannot start with it, so what follows need not be put in
            break;
        }
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        match rest.chars().next() {
            None => out.push('$'),
            Some('$') => {
                out.push('$');
                rest = &rest[1..];
            }
            Some('(') => match rest.find(')') {
                Some(end) => {
                    let name = &rest[1..end];
                    out.push_str(&mapping(name).unwrap_or_else(|| format!("$({name})")));
                    rest = &rest[end + 1..];
                }
                None => {
                    out.push_str("$(");
                    rest = &rest[1..];
                }
            },
            Some(other) => {
                out.push('$');
                out.push(other);
                rest = &rest[other.len_utf8()..];
            }
        }
    }
    out + rest
}

/// Command and args with the container's own variables put in.
pub fn expand_all(words: &[String], vars: &[(String, String)]) -> Vec<String> {
    words.iter().map(|word| expand(word, &|name| lookup(vars, name))).collect()
}

/// subPathExpr: every variable must be known.
pub fn expand_sub_path(expression: &str, vars: &[(String, String)]) -> Result<String, String> {
    let missing = std::cell::Cell::new(false);
    let path = expand(expression, &|name| {
        let value = lookup(vars, name);
        missing.set(missing.get() || value.is_none());
        value
    });
    if missing.get() { Err(format!("missing value for {expression:?}")) } else { Ok(path) }
}

/// A field of the pod, as the downward API prints it.
pub fn pod_field(path: &str, pod: &Pod, pod_ips: &[String], host_ips: &[String]) -> Result<String, String> {
    let meta = &pod.metadata;
    if let Some((base, key)) = path.strip_suffix("']").and_then(|p| p.split_once("['")).filter(|(b, _)| !b.is_empty()) {
        return match base {
            "metadata.annotations" => Ok(meta.annotations.get(key).cloned().unwrap_or_default()),
            "metadata.labels" => Ok(meta.labels.get(key).cloned().unwrap_or_default()),
            _ => Err(format!("fieldPath {path:?} does not support subscript")),
        };
    }
    Ok(match path {
        "metadata.name" => meta.name.clone(),
        "metadata.namespace" => meta.namespace.clone(),
        "metadata.uid" => meta.uid.clone(),
        "metadata.labels" => format_map(&meta.labels),
        "metadata.annotations" => format_map(&meta.annotations),
        "spec.nodeName" => pod.spec.node_name.clone(),
        "spec.serviceAccountName" => pod.spec.service_account_name.clone(),
        "status.hostIP" => host_ips.first().cloned().unwrap_or_default(),
        "status.hostIPs" => host_ips.join(","),
        "status.podIP" => pod_ips.first().cloned().unwrap_or_default(),
        "status.podIPs" => pod_ips.join(","),
        _ => return Err(format!("unsupported fieldPath: {path}")),
    })
}

/// `key="value"` lines in order of keys.
fn format_map(map: &BTreeMap<String, String>) -> String {
    let lines: Vec<String> = map.iter().map(|(k, v)| format!("{k}={}", meta::goquote::quote(v))).collect();
    lines.join("\n")
}

/// Variables of the services that a pod of `namespace` sees: `default/kubernetes` always, its own when linked.
pub fn service_variables(services: &[Service], namespace: &str, links: bool) -> BTreeMap<String, String> {
    let is_master = |s: &&Service| s.namespace == "default" && s.name == "kubernetes";
    let mut chosen: BTreeMap<&str, &Service> = BTreeMap::new();
    for service in services.iter().filter(|s| has_address(s)) {
        if is_master(&service) {
            chosen.entry(&service.name).or_insert(service);
        } else if links && service.namespace == namespace {
            chosen.insert(&service.name, service);
        }
    }
    chosen.values().flat_map(|s| variables_of(s)).collect()
}

fn has_address(service: &Service) -> bool {
    !service.cluster_ip.is_empty() && service.cluster_ip != "None" && !service.ports.is_empty()
}

fn variables_of(service: &Service) -> Vec<(String, String)> {
    let upper = |s: &str| s.replace('-', "_").to_uppercase();
    let prefix = upper(&service.name);
    let ip = &service.cluster_ip;
    let host = if ip.contains(':') { format!("[{ip}]") } else { ip.clone() };
    let mut vars = vec![
        (format!("{prefix}_SERVICE_HOST"), ip.clone()),
        (format!("{prefix}_SERVICE_PORT"), service.ports[0].port.to_string()),
    ];
    for port in service.ports.iter().filter(|p| !p.name.is_empty()) {
        vars.push((format!("{prefix}_SERVICE_PORT_{}", upper(&port.name)), port.port.to_string()));
    }
    for (n, port) in service.ports.iter().enumerate() {
        let protocol = if port.protocol.is_empty() { "TCP" } else { &port.protocol };
        let (lower, number) = (protocol.to_lowercase(), port.port);
        let url = format!("{lower}://{host}:{number}");
        if n == 0 {
            vars.push((format!("{prefix}_PORT"), url.clone()));
        }
        let port_prefix = format!("{prefix}_PORT_{number}_{}", protocol.to_uppercase());
        vars.push((port_prefix.clone(), url));
        vars.push((format!("{port_prefix}_PROTO"), lower));
        vars.push((format!("{port_prefix}_PORT"), number.to_string()));
        vars.push((format!("{port_prefix}_ADDR"), ip.clone()));
    }
    vars
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_expand_as_upstream_expands_them() {
        let vars = [("A".to_owned(), "1".to_owned())];
        for (input, want) in [
            ("$(A)", "1"),
            ("x$(A)y$(A)", "x1y1"),
            ("$$(A)", "$(A)"),
            ("$(B)", "$(B)"),
            ("$(A", "$(A"),
            ("$A", "$A"),
            ("$", "$"),
            ("$$", "$"),
            ("a$é$(A)", "a$é1"),
        ] {
            assert_eq!(expand_all(&[input.to_owned()], &vars), [want], "{input}");
        }
        assert!(expand_sub_path("a/$(B)", &vars).is_err());
        assert_eq!(expand_sub_path("a/$(A)", &vars).unwrap(), "a/1");
    }

    #[test]
    fn services_give_their_variables() {
        let port = |name: &str| ServicePort { name: name.into(), protocol: "TCP".into(), port: 443 };
        let kubernetes = Service {
            namespace: "default".into(),
            name: "kubernetes".into(),
            cluster_ip: "10.1.0.1".into(),
            ports: vec![port("https")],
        };
        let web = Service {
            namespace: "ns".into(),
            name: "my-web".into(),
            cluster_ip: "10.1.0.9".into(),
            ports: vec![port("")],
        };
        let headless = Service { cluster_ip: "None".into(), name: "h".into(), ..web.clone() };
        let all = [kubernetes, web, headless];
        let vars = service_variables(&all, "ns", true);
        assert_eq!(vars["KUBERNETES_SERVICE_HOST"], "10.1.0.1");
        assert_eq!(vars["KUBERNETES_SERVICE_PORT_HTTPS"], "443");
        assert_eq!(vars["KUBERNETES_PORT_443_TCP"], "tcp://10.1.0.1:443");
        assert_eq!(vars["MY_WEB_PORT"], "tcp://10.1.0.9:443");
        assert_eq!(vars.len(), 8 + 7);
        assert!(!service_variables(&all, "ns", false).contains_key("MY_WEB_PORT"));
    }

    fn check(env: &str, want: Result<&[(&str, &str)], &str>) {
        let json = format!(
            r#"{{"metadata":{{"name":"p","namespace":"ns","labels":{{"a":"b\"","c":"d"}}}},"spec":{{"nodeName":"n","containers":[{{"name":"c",{env}}}]}}}}"#
        );
        let pod: Pod = serde_json::from_str(&json).unwrap();
        let mut sources = Sources::default();
        let map = crate::sources::ConfigMap { data: [("k".into(), "v".into())].into(), ..Default::default() };
        let secret = crate::sources::Secret { data: [("k".into(), b"pw".to_vec())].into(), ..Default::default() };
        sources.config_maps.insert("cm".into(), map);
        sources.secrets.insert("s".into(), secret);
        let services = BTreeMap::from([("SVC".to_owned(), "svc".to_owned())]);
        let capacity = Capacity { milli_cpu: 2000, memory: 1, ephemeral_storage: 1, pods: 1 };
        let ips = ["10.2.0.5".to_owned()];
        let context =
            Context { pod: &pod, pod_ips: &ips, host_ips: &ips, capacity, services: &services, sources: &sources };
        let got = variables(&pod.spec.containers[0], &context);
        match want {
            Ok(want) => {
                let mut got = got.unwrap();
                assert_eq!(got.pop().unwrap().0, "SVC", "{env}");
                let got: Vec<(&str, &str)> = got.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
                assert_eq!(got, want, "{env}");
            }
            Err(want) => assert_eq!(got.unwrap_err(), want, "{env}"),
        }
    }

    #[test]
    fn variables_come_from_values_fields_and_objects() {
        check(
            r#""env":[{"name":"A","value":"$(SVC)"},{"name":"B","value":"$(A)-$(C)"}]"#,
            Ok(&[("A", "svc"), ("B", "svc-$(C)")]),
        );
        check(
            r#""env":[{"name":"A","valueFrom":{"fieldRef":{"fieldPath":"status.podIP"}}}]"#,
            Ok(&[("A", "10.2.0.5")]),
        );
        check(
            r#""env":[{"name":"A","valueFrom":{"fieldRef":{"fieldPath":"metadata.labels['c']"}}}]"#,
            Ok(&[("A", "d")]),
        );
        check(
            r#""env":[{"name":"A","valueFrom":{"fieldRef":{"fieldPath":"metadata.labels"}}}]"#,
            Ok(&[("A", "a=\"b\\\"\"\nc=\"d\"")]),
        );
        check(
            r#""envFrom":[{"prefix":"P_","secretRef":{"name":"s"}}],"env":[{"name":"A","value":"$(P_k)"}]"#,
            Ok(&[("P_k", "pw"), ("A", "pw")]),
        );
        check(r#""env":[{"name":"A","valueFrom":{"configMapKeyRef":{"name":"cm","key":"k"}}}]"#, Ok(&[("A", "v")]));
        check(
            r#""env":[{"name":"A","valueFrom":{"configMapKeyRef":{"name":"no","key":"k","optional":true}}}]"#,
            Ok(&[]),
        );
        check(
            r#""env":[{"name":"A","valueFrom":{"configMapKeyRef":{"name":"no","key":"k"}}}]"#,
            Err("configmap \"no\" not found"),
        );
        check(
            r#""env":[{"name":"A","valueFrom":{"secretKeyRef":{"name":"s","key":"x"}}}]"#,
            Err("couldn't find key x in Secret ns/s"),
        );
        check(
            r#""env":[{"name":"A","valueFrom":{"fieldRef":{"fieldPath":"spec.x"}}}]"#,
            Err("unsupported fieldPath: spec.x"),
        );
        check(r#""env":[{"name":"A","valueFrom":{"resourceFieldRef":{"resource":"limits.cpu"}}}]"#, Ok(&[("A", "2")]));
    }
}
