//! PodSecurity: the Pod Security Standards that a namespace's labels ask for. Pods are refused (enforce) or warned
//! about (warn), templates only warned about. The checks themselves are in `checks`.

mod checks;

use document::Value;
use meta::{Key, ResourceId, Status};

use crate::{Operation, Plugin, Review};
use checks::{Finding, evaluate};

const PREFIX: &str = "pod-security.kubernetes.io/";
/// How many pods a change of the enforce label looks at.
const PODS_CHECKED: usize = 3000;
const IGNORED: [&str; 8] = ["exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status"];

/// How strict: ascending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Privileged,
    Baseline,
    Restricted,
}

/// A level in the reading of one version; `None`: the latest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Standard {
    level: Level,
    version: Option<u32>,
}

impl std::fmt::Display for Standard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let level = match self.level {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        };
        match self.version {
            None => write!(f, "{level}:latest"),
            Some(minor) => write!(f, "{level}:v1.{minor}"),
        }
    }
}

/// What a namespace asks for. A label that cannot be read counts as the strictest for enforce, as nothing for warn.
struct Policy {
    enforce: Standard,
    warn: Standard,
}

impl Policy {
    fn of<'a>(label: impl Fn(&str) -> Option<&'a str>) -> Policy {
        let label = |mode: &str| label(&format!("{PREFIX}{mode}"));
        let version = |mode: &str| label(mode).and_then(|v| v.strip_prefix("v1.")).and_then(|n| n.parse().ok());
        let enforce_level = label("enforce").map(|l| level(l).unwrap_or(Level::Restricted));
        let enforce =
            Standard { level: enforce_level.unwrap_or(Level::Privileged), version: version("enforce-version") };
        let warn_level = label("warn").map(|l| level(l).unwrap_or(Level::Privileged));
        let mut warn = Standard { level: warn_level.unwrap_or(Level::Privileged), version: version("warn-version") };
        if warn_level.is_none() && enforce.level > warn.level {
            warn.level = enforce.level;
            if label("warn-version").is_none() {
                warn.version = enforce.version;
            }
        }
        Policy { enforce, warn }
    }
}

fn level(text: &str) -> Option<Level> {
    match text {
        "privileged" => Some(Level::Privileged),
        "baseline" => Some(Level::Baseline),
        "restricted" => Some(Level::Restricted),
        _ => None,
    }
}

pub struct PodSecurity;

impl Plugin for PodSecurity {
    fn name(&self) -> &'static str {
        "PodSecurity"
    }

    fn validate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        if !matches!(review.operation, Operation::Create | Operation::Update) {
            return Ok(());
        }
        match (review.resource.group, review.resource.plural) {
            ("", "namespaces") => {
                namespace(review);
                Ok(())
            }
            ("", "pods") => pod(review),
            _ => {
                controller(review);
                Ok(())
            }
        }
    }
}

fn policy_of(review: &Review<'_>) -> Policy {
    let key = Key::new(ResourceId::from_text("namespaces"), "", review.namespace);
    let labels = review.world.labels(&key).unwrap_or_default();
    Policy::of(|name| labels.get(name))
}

fn pod(review: &mut Review<'_>) -> Result<(), Status> {
    if IGNORED.contains(&review.subresource) {
        return Ok(());
    }
    let policy = policy_of(review);
    let pod = review.new_object();
    if review.operation == Operation::Update && !is_significant(&pod["spec"], &review.old_object()["spec"]) {
        return Ok(());
    }
    let found = evaluate(policy.enforce, &pod["metadata"], &pod["spec"]);
    if !found.is_empty() {
        return Err(review.forbidden(&format!("violates PodSecurity \"{}\": {}", policy.enforce, details(&found))));
    }
    warn(policy.warn, review, &["spec"], &["metadata"]);
    Ok(())
}

/// Where the pod template of each controller is.
fn template_path(review: &Review<'_>) -> Option<&'static [&'static str]> {
    if !review.subresource.is_empty() {
        return None;
    }
    match (review.resource.group, review.resource.plural) {
        ("", "podtemplates") => Some(&["template"]),
        ("", "replicationcontrollers") | ("batch", "jobs") => Some(&["spec", "template"]),
        ("apps", "deployments" | "replicasets" | "statefulsets" | "daemonsets") => Some(&["spec", "template"]),
        ("batch", "cronjobs") => Some(&["spec", "jobTemplate", "spec", "template"]),
        _ => None,
    }
}

fn controller(review: &mut Review<'_>) {
    let Some(path) = template_path(review) else { return };
    let policy = policy_of(review);
    let template = review.new_object().at(path.iter().copied());
    if template.is_null() {
        return;
    }
    let found = evaluate(policy.warn, &template["metadata"], &template["spec"]);
    push_warning(policy.warn, &found, review);
}

fn warn(standard: Standard, review: &mut Review<'_>, spec: &[&str], metadata: &[&str]) {
    let object = review.new_object();
    let found = evaluate(standard, object.at(metadata.iter().copied()), object.at(spec.iter().copied()));
    push_warning(standard, &found, review);
}

fn push_warning(standard: Standard, found: &[Finding], review: &mut Review<'_>) {
    if !found.is_empty() {
        review.warnings.push(format!("would violate PodSecurity \"{standard}\": {}", details(found)));
    }
}

fn details(found: &[Finding]) -> String {
    let one = |f: &Finding| if f.detail.is_empty() { f.reason.clone() } else { format!("{} ({})", f.reason, f.detail) };
    found.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Containers came, went or changed their image.
fn is_significant(new: &Value, old: &Value) -> bool {
    let fixed = |list: &str| {
        let (new, old) = (new[list].items(), old[list].items());
        new.len() != old.len() || new.iter().zip(old).any(|(a, b)| a["image"] != b["image"])
    };
    let ephemeral = |c: &Value| {
        let before = old["ephemeralContainers"].items().iter().find(|o| o["name"] == c["name"]);
        before.is_none_or(|o| o["image"] != c["image"])
    };
    fixed("containers") || fixed("initContainers") || new["ephemeralContainers"].items().iter().any(ephemeral)
}

/// A stricter enforce label warns about the pods that are there already.
fn namespace(review: &mut Review<'_>) {
    if !review.subresource.is_empty() || review.operation != Operation::Update {
        return;
    }
    let of = |namespace: &Value| {
        let labels = &namespace["metadata"]["labels"];
        Policy::of(|name| labels.get(name).and_then(Value::as_str)).enforce
    };
    let (new, old) = (of(review.new_object()), of(review.old_object()));
    if new == old || new.level == Level::Privileged || (new.version == old.version && new.level <= old.level) {
        return;
    }
    let name = review.name.to_owned();
    let pods = review.world.all("pods", Some(&name));
    let mut groups: Vec<(String, String, usize)> = Vec::new();
    for pod in pods.iter().take(PODS_CHECKED) {
        let found = evaluate(new, &pod["metadata"], &pod["spec"]);
        if found.is_empty() {
            continue;
        }
        let reasons = found.iter().map(|f| f.reason.as_str()).collect::<Vec<_>>().join(", ");
        let pod_name = pod["metadata"]["name"].str().to_owned();
        match groups.iter_mut().find(|(r, _, _)| *r == reasons) {
            Some((_, first, count)) => {
                *count += 1;
                if pod_name < *first {
                    *first = pod_name;
                }
            }
            None => groups.push((reasons, pod_name, 1)),
        }
    }
    if pods.len() > PODS_CHECKED {
        let all = pods.len();
        review.warnings.push(format!(
            "new PodSecurity enforce level only checked against the first {PODS_CHECKED} of {all} existing pods"
        ));
    }
    if groups.is_empty() {
        return;
    }
    review
        .warnings
        .push(format!("existing pods in namespace {name:?} violate the new PodSecurity enforce level \"{new}\""));
    let mut lines: Vec<String> = groups
        .into_iter()
        .map(|(reasons, pod, count)| match count {
            1 => format!("{pod}: {reasons}"),
            2 => format!("{pod} (and 1 other pod): {reasons}"),
            n => format!("{pod} (and {} other pods): {reasons}", n - 1),
        })
        .collect();
    lines.sort();
    review.warnings.append(&mut lines);
}
