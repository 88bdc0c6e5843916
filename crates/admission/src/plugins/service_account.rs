//! ServiceAccount: a pod gets an account, its token volume and its pull secrets; mirror pods get nothing and may name
//! nothing. An account with the mountable-secrets annotation limits what its pods may name.

use document::{Value, doc};
use meta::{GroupResource, Status, random};

use super::pods;
use crate::{Operation, Plugin, Review};

const VOLUME_PREFIX: &str = "kube-api-access-";
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";
/// One hour and seven seconds: upstream's mark of a token that it extends and warns about.
const TOKEN_SECONDS: i64 = 3607;

pub struct ServiceAccount;

impl Plugin for ServiceAccount {
    fn name(&self) -> &'static str {
        "ServiceAccount"
    }

    fn mutate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        if !review.is("", "pods") || review.operation != Operation::Create {
            return Ok(());
        }
        judged(review, |pod, review| match pods::is_mirror(pod) {
            true => mirror(pod),
            false => complete(pod, review).and_then(|account| refuse(&account, pod, false)),
        })
    }

    fn validate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        let ephemeral = review.is_sub("", "pods", "ephemeralcontainers") && review.operation == Operation::Update;
        let create = review.is("", "pods") && review.operation == Operation::Create;
        if !ephemeral && !create {
            return Ok(());
        }
        judged(review, |pod, review| match create && pods::is_mirror(pod) {
            true => mirror(pod),
            false => account_of(pod, review).and_then(|account| refuse(&account, pod, ephemeral)),
        })
    }
}

/// Why a pod is refused.
enum Refusal {
    Forbidden(String),
    /// With no reason.
    Unclassified(String),
}

/// Lets `judge` have pod and review at once: the pod is out of the review meanwhile, and back before a refusal names it.
fn judged(
    review: &mut Review<'_>,
    judge: impl FnOnce(&mut Value, &mut Review<'_>) -> Result<(), Refusal>,
) -> Result<(), Status> {
    let mut pod = review.object.take().unwrap_or_default();
    let judged = judge(&mut pod, review);
    review.object = Some(pod);
    judged.map_err(|refusal| match refusal {
        Refusal::Forbidden(why) => review.forbidden(&why),
        Refusal::Unclassified(why) => Status::unclassified(why),
    })
}

/// What an account that limits its pods says about this one.
fn refuse(account: &Value, pod: &Value, ephemeral: bool) -> Result<(), Refusal> {
    if !enforces(account) {
        return Ok(());
    }
    let refused = if ephemeral { limit_ephemeral(account, pod) } else { limit(account, pod) };
    match refused {
        None => Ok(()),
        Some(why) if ephemeral => Err(Refusal::Unclassified(why)),
        Some(why) => Err(Refusal::Forbidden(why)),
    }
}

fn mirror(pod: &Value) -> Result<(), Refusal> {
    let refuse = |why: &str| Err(Refusal::Forbidden(why.to_owned()));
    let spec = &pod["spec"];
    if !spec["serviceAccountName"].str().is_empty() {
        return refuse("a mirror pod may not reference service accounts");
    }
    if pods::names_secret(pod) {
        return refuse("a mirror pod may not reference secrets");
    }
    let mut sources = spec["volumes"].items().iter().flat_map(|v| v["projected"]["sources"].items());
    if sources.any(|s| s.get("serviceAccountToken").is_some()) {
        return refuse("a mirror pod may not use ServiceAccountToken volume projections");
    }
    Ok(())
}

fn account_of(pod: &Value, review: &mut Review<'_>) -> Result<Value, Refusal> {
    let name = pod["spec"]["serviceAccountName"].str();
    let namespace = review.namespace;
    if name.is_empty() {
        let pod_name = pod["metadata"]["name"].str();
        return Err(Refusal::Forbidden(format!("no service account specified for pod {namespace}/{pod_name}")));
    }
    let key = review.key("serviceaccounts", name);
    match review.world.read(&key) {
        Some(account) => Ok(account),
        None => {
            // The controller makes `default` a moment after its namespace: the caller may wait for it.
            if name == "default" {
                review.waits_for = Some(key);
            }
            let missing = Status::not_found(&GroupResource::new("", "serviceaccount"), name);
            Err(Refusal::Forbidden(format!("error looking up service account {namespace}/{name}: {missing}")))
        }
    }
}

/// Fills in account, token volume and pull secrets; the answer is the account.
fn complete(pod: &mut Value, review: &mut Review<'_>) -> Result<Value, Refusal> {
    let spec = pod.entry("spec");
    if spec["serviceAccountName"].str().is_empty() {
        spec.set("serviceAccountName", "default");
        spec.set("serviceAccount", "default");
    }
    let account = account_of(pod, review)?;
    let spec = pod.entry("spec");
    let automount =
        spec["automountServiceAccountToken"].as_bool().or(account["automountServiceAccountToken"].as_bool());
    if automount.unwrap_or(true) {
        mount_token(spec);
    }
    if spec["imagePullSecrets"].is_empty() && !account["imagePullSecrets"].is_empty() {
        let secrets = account["imagePullSecrets"].items().iter().map(|s| doc!({"name": (s["name"].clone())}));
        spec.set("imagePullSecrets", secrets.collect::<Vec<_>>());
    }
    Ok(account)
}

fn mount_token(spec: &mut Value) {
    let existing = spec["volumes"].items().iter().map(|v| v["name"].str()).find(|n| n.starts_with(VOLUME_PREFIX));
    let has_volume = existing.is_some();
    let name = existing.map_or_else(|| random::generate_name(VOLUME_PREFIX), str::to_owned);
    let mut needed = false;
    for list in ["initContainers", "containers"] {
        let containers = spec.get_mut(list).and_then(Value::as_list_mut);
        for container in containers.into_iter().flatten() {
            if container["volumeMounts"].items().iter().any(|m| m["mountPath"].str() == MOUNT_PATH) {
                continue;
            }
            let mount = doc!({"name": (name.as_str()), "readOnly": true, "mountPath": MOUNT_PATH});
            container.entry("volumeMounts").make_list().push(mount);
            needed = true;
        }
    }
    if needed && !has_volume {
        spec.entry("volumes").make_list().push(token_volume(&name));
    }
}

fn token_volume(name: &str) -> Value {
    let namespace = doc!({"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}});
    doc!({
        "name": name,
        "projected": {
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [namespace]}}
            ],
            "defaultMode": 420,
        },
    })
}

/// Go's `strconv.ParseBool` says yes.
fn enforces(account: &Value) -> bool {
    matches!(account["metadata"]["annotations"][ENFORCE].str(), "1" | "t" | "T" | "true" | "TRUE" | "True")
}

fn lists(account: &Value, field: &str, name: &str) -> bool {
    account[field].items().iter().any(|s| s["name"].str() == name)
}

fn limit(account: &Value, pod: &Value) -> Option<String> {
    let account_name = account["metadata"]["name"].str();
    let spec = &pod["spec"];
    for volume in spec["volumes"].items().iter().filter(|v| v.get("secret").is_some()) {
        let secret = volume["secret"]["secretName"].str();
        if !lists(account, "secrets", secret) {
            return Some(format!(
                "volume with secret.secretName=\"{secret}\" is not allowed because service account {account_name} does not reference that secret"
            ));
        }
    }
    let environment = limit_environment(account, spec, "initContainers", "init container")
        .or_else(|| limit_environment(account, spec, "containers", "container"));
    environment.or_else(|| {
        let mut pulls = spec["imagePullSecrets"].items().iter().enumerate();
        let (n, pull) = pulls.find(|(_, p)| !lists(account, "imagePullSecrets", p["name"].str()))?;
        let secret = pull["name"].str();
        Some(format!(
            "imagePullSecrets[{n}].name=\"{secret}\" is not allowed because service account {account_name} does not reference that imagePullSecret"
        ))
    })
}

fn limit_ephemeral(account: &Value, pod: &Value) -> Option<String> {
    limit_environment(account, &pod["spec"], "ephemeralContainers", "ephemeral container")
}

fn limit_environment(account: &Value, spec: &Value, list: &str, what: &str) -> Option<String> {
    let because = format!(
        "is not allowed because service account {} does not reference that secret",
        account["metadata"]["name"].str()
    );
    for container in spec[list].items() {
        let name = container["name"].str();
        for env in container["env"].items() {
            let Some(reference) = env["valueFrom"].get("secretKeyRef") else { continue };
            let secret = reference["name"].str();
            if !lists(account, "secrets", secret) {
                let variable = env["name"].str();
                return Some(format!(
                    "{what} {name} with envVar {variable} referencing secret.secretName=\"{secret}\" {because}"
                ));
            }
        }
        for env in container["envFrom"].items() {
            let Some(reference) = env.get("secretRef") else { continue };
            let secret = reference["name"].str();
            if !lists(account, "secrets", secret) {
                return Some(format!(
                    "{what} {name} with envFrom referencing secret.secretName=\"{secret}\" {because}"
                ));
            }
        }
    }
    None
}
