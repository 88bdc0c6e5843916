//! TokenRequest: `POST …/serviceaccounts/{name}/token`. [`prepare`] fills and checks what is asked, then admission is
//! asked (by the caller), then [`issue`] looks at the bound object and signs.

use std::sync::Arc;

use document::object::Head;
use document::{Object, Value};
use issuer::{Bound, Claims, Reference, TokenSigner};
use meta::field::{Error, Path, Shown};
use meta::goquote::quote;
use meta::{GroupKind, GroupResource, GroupVersion, Key, ResourceId, Status, Time};
use store::View;

const GROUP: &str = "authentication.k8s.io";
const KIND: &str = "TokenRequest";
const DEFAULT_SECONDS: i64 = 3600;
const LEAST_SECONDS: i64 = 600;
const MOST_SECONDS: i64 = 1 << 32;
/// What a kubelet asks for, and what its pod's token then lives.
const KUBELET_SECONDS: i64 = 3607;
const EXTENDED_SECONDS: i64 = 365 * 24 * 3600;

/// What the answer depends on, besides the body.
pub struct Context<'a> {
    pub view: &'a View,
    pub signer: &'a TokenSigner,
    /// `--api-audiences`.
    pub audiences: &'a [String],
    /// `--service-account-extend-token-expiration`.
    pub extend: bool,
    /// `--service-account-max-token-expiration`.
    pub longest: Option<i64>,
    pub now: Time,
}

/// A signed token in its answer.
pub struct Issued {
    pub answer: Value,
    pub warnings: Vec<String>,
    /// For the audit annotation `authentication.kubernetes.io/issued-credential-id`: `JTI=…`.
    pub credential_id: String,
}

/// Checks the body against the URL and fills in what it leaves out.
///
/// # Errors
/// 404 of the account, 409 of its uid, 422 of the rest.
pub fn prepare(body: &mut Value, namespace: &str, account: &str, context: &Context<'_>) -> Result<(), Status> {
    let named = body.at(["metadata", "name"]).str();
    if !named.is_empty() && named != account {
        let error = Error::invalid(&"metadata.name".into(), named, "must match the service account name if specified");
        return Err(Status::invalid(&GroupKind::new(GROUP, KIND), account, vec![error]));
    }
    let found = get(context.view, "serviceaccounts", namespace, account)?;
    let uid = body.at(["metadata", "uid"]).str();
    if !uid.is_empty() && *uid != *found.uid {
        let text = format!(
            "the UID in the token request ({uid}) does not match the UID of the service account ({})",
            found.uid
        );
        return Err(Status::conflict(&GroupResource::new(GROUP, KIND), account, &text));
    }
    let metadata = body.entry("metadata");
    metadata.set("name", account);
    metadata.set("namespace", namespace);
    metadata.set("uid", &*found.uid);
    metadata.set("creationTimestamp", context.now.to_string());
    let spec = body.entry("spec");
    if spec["audiences"].items().is_empty() {
        spec.set("audiences", Value::list(context.audiences.iter().map(Value::from)));
    }
    if spec["expirationSeconds"].is_null() {
        spec.set("expirationSeconds", DEFAULT_SECONDS);
    }
    if spec["boundObjectRef"].is_null() {
        spec.set("boundObjectRef", Value::Null);
    }
    body.set("status", Value::map());
    let errors = validate(&body["spec"]);
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid(&GroupKind::new(GROUP, KIND), "", errors)) }
}

fn validate(spec: &Value) -> Vec<Error> {
    let path = Path::root("spec");
    let (at, seconds) = (path.child("expirationSeconds"), spec["expirationSeconds"].as_i64().unwrap_or_default());
    let mut errors = Vec::new();
    if seconds < LEAST_SECONDS {
        errors.push(Error::invalid(&at, seconds, "may not specify a duration less than 10 minutes"));
    }
    if seconds > MOST_SECONDS {
        errors.push(Error::invalid(&at, seconds, "may not specify a duration larger than 2^32 seconds"));
    }
    let (at, attestations) = (path.child("attestations"), &spec["attestations"]);
    let count = attestations.members().count();
    let shown = |value: &Value| Shown(if value.is_null() { "null".into() } else { document::json::to_string(value) });
    match spec["boundObjectRef"]["kind"].str() {
        "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration" => {
            if spec["audiences"].items().len() != 1 {
                let text = "must be length 1 when bound to a webhook config";
                errors.push(Error::invalid(&path.child("audiences"), shown(&spec["audiences"]), text));
            }
            if count != 1 {
                let text = "webhook bound requests require exactly one admissionReviewAPIGroups attestation";
                errors.push(Error::invalid(&at, shown(attestations), text));
            }
        }
        _ if count > 0 => {
            let text = "attestations may only be specified with a webhook bound object reference";
            return vec![Error::invalid(&at, shown(attestations), text)];
        }
        _ => {}
    }
    errors
}

/// Signs the token that a prepared and admitted body asks for.
///
/// # Errors
/// 404, 409 or 400 of the bound object, 500 of the signature.
pub fn issue(mut body: Value, context: &Context<'_>) -> Result<Issued, Status> {
    let metadata = body.at(["metadata"]);
    let text = |name: &str| metadata[name].str().to_owned();
    let (namespace, account, uid) = (text("namespace"), text("name"), text("uid"));
    let bound = match body.at(["spec"]).get("boundObjectRef") {
        Some(reference) if !reference.is_null() => bound_object(reference, &namespace, &account, context)?,
        _ => Bound::Nothing,
    };
    let mut warnings = Vec::new();
    let mut seconds = body.at(["spec", "expirationSeconds"]).as_i64().unwrap_or(DEFAULT_SECONDS);
    if let Some(longest) = context.longest.filter(|longest| seconds > *longest) {
        warnings.push(format!("requested expiration of {seconds} seconds shortened to {longest} seconds"));
        seconds = longest;
        body.entry("spec").set("expirationSeconds", seconds);
    }
    let audiences: Vec<String> = body.at(["spec", "audiences"]).items().iter().map(|a| a.str().to_owned()).collect();
    let extended = context.extend
        && seconds == KUBELET_SECONDS
        && matches!(bound, Bound::Pod { .. })
        && audiences.iter().all(|a| context.audiences.contains(a));
    let now = context.now.0;
    let claims = Claims {
        audiences,
        issued: now,
        expires: now + if extended { EXTENDED_SECONDS } else { seconds },
        id: meta::random::uuid(),
        namespace,
        account: Reference { name: account, uid },
        bound,
        warn_after: extended.then_some(now + seconds),
    };
    let token = context.signer.sign(&claims).map_err(|e| Status::internal(format!("failed to generate token: {e}")))?;
    let expires = Time(now + seconds).to_string();
    body.set("status", Value::of([("token", Value::from(token)), ("expirationTimestamp", expires.into())]));
    Ok(Issued { answer: body, warnings, credential_id: format!("JTI={}", claims.id) })
}

fn bound_object(reference: &Value, namespace: &str, account: &str, context: &Context<'_>) -> Result<Bound, Status> {
    let (api_version, kind) = (reference["apiVersion"].str(), reference["kind"].str());
    let version = GroupVersion::parse(api_version).unwrap_or_default();
    let resource = match (version.group.as_str(), kind) {
        ("", "Pod") => "pods",
        ("", "Secret") => "secrets",
        ("", "Node") => "nodes",
        _ => {
            let mut shown = format!("{}/{}, Kind={kind}", version.group, version.version);
            if shown.starts_with("admissionregistration.k8s.io/v1, ") && kind.ends_with("WebhookConfiguration") {
                shown.push_str(" (feature gate APIServerWebhookAuthenticationToken is disabled)");
            }
            return Err(Status::bad_request(format!("cannot bind token to object of type {shown}")));
        }
    };
    let name = reference["name"].str();
    if name.is_empty() {
        return Err(Status::bad_request("Name parameter required."));
    }
    let found = get(context.view, resource, if kind == "Node" { "" } else { namespace }, name)?;
    let own = Reference { name: name.to_owned(), uid: found.uid.to_string() };
    let bound = match kind {
        "Pod" => bound_pod(&found, own, account, context.view)?,
        "Secret" => Bound::Secret(own),
        _ => Bound::Node(own),
    };
    let uid = reference["uid"].str();
    if !uid.is_empty() && *uid != *found.uid {
        let text = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. \
             The object might have been deleted and then recreated"
        );
        return Err(Status::conflict(&GroupResource::new(&version.group, kind), name, &text));
    }
    Ok(bound)
}

fn bound_pod(found: &Object, pod: Reference, account: &str, view: &View) -> Result<Bound, Status> {
    let mut bytes = Vec::new();
    found.write_json(Head::Item, &mut bytes);
    let object = document::json::parse(&bytes).map_err(Status::internal)?;
    if object.at(["spec", "serviceAccountName"]).str() != account {
        return Err(Status::bad_request(format!(
            "cannot bind token for serviceaccount {} to pod running with different serviceaccount name.",
            quote(account)
        )));
    }
    let node_name = object.at(["spec", "nodeName"]).str();
    let node = (!node_name.is_empty()).then(|| {
        let uid = get(view, "nodes", "", node_name).map(|n| n.uid.to_string()).unwrap_or_default();
        Reference { name: node_name.to_owned(), uid }
    });
    Ok(Bound::Pod { pod, node })
}

fn get(view: &View, resource: &str, namespace: &str, name: &str) -> Result<Arc<Object>, Status> {
    view.get(&Key::new(ResourceId::from_text(resource), namespace, name))
        .ok_or_else(|| Status::not_found(&GroupResource::new("", resource), name))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use meta::Revision;
    use store::{Effect, Options, Precondition, Sealed, Store, Transaction, Write};

    use super::*;

    struct Test(Transaction);

    impl Sealed for Test {
        fn into_transaction(self) -> Transaction {
            self.0
        }
    }

    fn view(objects: &[(&str, &str, &str, &str, &str)]) -> View {
        let reseal = Arc::new(|_: Key, _: Revision, _: Bytes| Err("nothing is replayed".to_owned()));
        let (store, writer) = Store::open::<Test>(Box::new(store::log::Null), reseal, Options::default()).unwrap();
        let put = |(resource, namespace, name, uid, rest): &(&str, &str, &str, &str, &str)| {
            let metadata = format!("\"metadata\":{{\"name\":\"{name}\"}}");
            let object = Object {
                uid: (*uid).into(),
                metadata: (11, metadata.len() as u32),
                splice: 12,
                ..Object::bare(
                    Key::new(ResourceId::from_text(resource), namespace, name),
                    Bytes::from(format!("{metadata}{rest}}}")),
                )
            };
            Write { precondition: Precondition::Any, effect: Effect::Put(object) }
        };
        let transaction = Transaction { writes: objects.iter().map(put).collect(), reads: Vec::new() };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(writer.commit(Test(transaction))).unwrap();
        store.view()
    }

    fn world() -> View {
        view(&[
            ("serviceaccounts", "ns", "sa", "u1", ""),
            ("pods", "ns", "p", "p1", r#","spec":{"serviceAccountName":"sa","nodeName":"n"}"#),
            ("pods", "ns", "others", "p2", r#","spec":{"serviceAccountName":"other"}"#),
            ("secrets", "ns", "s", "s1", ""),
            ("nodes", "", "n", "n1", ""),
        ])
    }

    fn signer() -> TokenSigner {
        TokenSigner::new("https://issuer", issuer::SigningKey::generate().unwrap().0)
    }

    fn ask_of(view: &View, signer: &TokenSigner, body: &str) -> Result<Issued, Status> {
        let audiences = ["api".to_owned()];
        let context = Context { view, signer, audiences: &audiences, extend: true, longest: None, now: Time::now() };
        let mut body = document::json::parse(body.as_bytes()).unwrap();
        prepare(&mut body, "ns", "sa", &context)?;
        issue(body, &context)
    }

    fn refusal(body: &str) -> (u16, String) {
        let status = ask_of(&world(), &signer(), body).map(|_| ()).unwrap_err();
        (status.code, status.message)
    }

    #[test]
    fn what_cannot_be_signed_is_refused_in_upstreams_words() {
        let check = |body: &str, code: u16, want: &str| assert_eq!(refusal(body), (code, want.to_owned()), "{body}");
        let bound = |reference: &str| format!(r#"{{"spec":{{"boundObjectRef":{reference}}}}}"#);
        let invalid = "is invalid: spec.expirationSeconds: Invalid value";
        check(
            r#"{"spec":{"expirationSeconds":599}}"#,
            422,
            &format!(
                r#"TokenRequest.authentication.k8s.io "" {invalid}: 599: may not specify a duration less than 10 minutes"#
            ),
        );
        check(
            r#"{"spec":{"expirationSeconds":4294967297}}"#,
            422,
            &format!(
                r#"TokenRequest.authentication.k8s.io "" {invalid}: 4294967297: may not specify a duration larger than 2^32 seconds"#
            ),
        );
        check(
            r#"{"metadata":{"name":"other"}}"#,
            422,
            r#"TokenRequest.authentication.k8s.io "sa" is invalid: metadata.name: Invalid value: "other": must match the service account name if specified"#,
        );
        check(
            r#"{"metadata":{"uid":"abc"}}"#,
            409,
            r#"Operation cannot be fulfilled on TokenRequest.authentication.k8s.io "sa": the UID in the token request (abc) does not match the UID of the service account (u1)"#,
        );
        check(&bound(r#"{"apiVersion":"v1","kind":"Pod","name":"none"}"#), 404, r#"pods "none" not found"#);
        check(
            &bound(r#"{"kind":"Pod","name":"others"}"#),
            400,
            r#"cannot bind token for serviceaccount "sa" to pod running with different serviceaccount name."#,
        );
        check(
            &bound(r#"{"kind":"Pod","name":"p","uid":"x"}"#),
            409,
            r#"Operation cannot be fulfilled on Pod "p": the UID in the bound object reference (x) does not match the UID in record. The object might have been deleted and then recreated"#,
        );
        check(
            &bound(r#"{"apiVersion":"v1","kind":"ConfigMap","name":"c"}"#),
            400,
            "cannot bind token to object of type /v1, Kind=ConfigMap",
        );
        check(&bound(r#"{"name":"p"}"#), 400, "cannot bind token to object of type /, Kind=");
        check(&bound(r#"{"apiVersion":"v1","kind":"Pod"}"#), 400, "Name parameter required.");
    }

    #[test]
    fn a_token_that_is_issued_is_authenticated_until_its_pod_is_gone() {
        let (signer, view) = (signer(), world());
        let config = authn::Config {
            service_accounts: authn::ServiceAccountConfig {
                issuers: vec!["https://issuer".into()],
                keys: authn::PublicKeys::from_der([signer.public_der().as_slice()]).unwrap(),
            },
            audiences: vec!["api".into()],
            ..Default::default()
        };
        let chain = authn::Chain::new(config).unwrap();
        let issued = ask_of(&view, &signer, r#"{"spec":{"boundObjectRef":{"kind":"Pod","name":"p"}}}"#).unwrap();
        let token = issued.answer.at(["status", "token"]).str();
        let found = chain.review(token, &[], &view).unwrap();
        assert_eq!(found.user.name, "system:serviceaccount:ns:sa");
        assert_eq!(found.user.extra["authentication.kubernetes.io/node-uid"], ["n1"]);
        assert_eq!(
            found.user.extra["authentication.kubernetes.io/credential-id"],
            std::slice::from_ref(&issued.credential_id)
        );
        let without = self::view(&[("serviceaccounts", "ns", "sa", "u1", "")]);
        let refusal = chain.review(token, &[], &without).unwrap_err();
        assert_eq!(refusal.0, "[invalid bearer token, service account token has been invalidated]");
    }

    #[test]
    fn only_the_kubelets_request_lives_a_year() {
        let (signer, view) = (signer(), world());
        let life = |spec: &str| {
            let issued = ask_of(&view, &signer, &format!(r#"{{"spec":{spec}}}"#)).unwrap();
            let payload = issued.answer.at(["status", "token"]).str().split('.').nth(1).unwrap().to_owned();
            let claims = document::json::parse(&decode(&payload)).unwrap();
            let seconds = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
            (seconds, claims.at(["kubernetes.io", "warnafter"]).as_i64().is_some())
        };
        let pod = r#""boundObjectRef":{"kind":"Pod","name":"p"}"#;
        assert_eq!(life(&format!(r#"{{"expirationSeconds":3607,{pod}}}"#)), (31_536_000, true));
        assert_eq!(life(&format!(r#"{{"expirationSeconds":3608,{pod}}}"#)), (3608, false));
        assert_eq!(life(&format!(r#"{{"expirationSeconds":3607,"audiences":["vault"],{pod}}}"#)), (3607, false));
        assert_eq!(life(r#"{"expirationSeconds":3607}"#), (3607, false));
        assert_eq!(life("{}"), (3600, false));
    }

    /// Unpadded base64url, without a library for this one place.
    fn decode(text: &str) -> Vec<u8> {
        const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let (mut bits, mut count, mut out) = (0_u32, 0, Vec::new());
        for byte in text.bytes() {
            bits = bits << 6 | ALPHABET.iter().position(|c| *c == byte).unwrap() as u32;
            count += 6;
            if count >= 8 {
                count -= 8;
                out.push((bits >> count) as u8);
            }
        }
        out
    }
}
