//! The rules of requests, approvals and bundles.

use super::*;
use document::doc;

fn texts(errors: &[Error]) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

fn conditions_of(list: Value) -> Value {
    doc!({"spec": {}, "status": {"conditions": list}})
}

#[test]
fn an_approval_is_true_single_final_and_made_through_its_endpoint() {
    let pending = conditions_of(doc!([]));
    let approved = conditions_of(doc!([{"type": "Approved", "status": "True"}]));
    let check = |subresource: &str, new: &Value, old: &Value, want: &[&str]| {
        let found = texts(&signing_request_update(subresource, new, old));
        let found: Vec<&str> = found.iter().map(String::as_str).filter(|t| t.starts_with("status")).collect();
        assert_eq!(found, want, "{subresource} {new:?}");
    };
    check("approval", &approved, &pending, &[]);
    check(
        "status",
        &approved,
        &pending,
        &[r#"status.conditions: Forbidden: updates may not add a condition of type "Approved""#],
    );
    check(
        "approval",
        &pending,
        &approved,
        &[r#"status.conditions: Forbidden: updates may not remove a condition of type "Approved""#],
    );
    let denied = conditions_of(doc!([{"type": "Approved", "status": "True"}, {"type": "Denied", "status": "True"}]));
    check(
        "approval",
        &denied,
        &approved,
        &[
            r#"status.conditions: Invalid value: "{conditions[{\"type\": \"Approved\"}], conditions[{\"type\": \"Denied\"}]}": must specify at most one of: `conditions[{"type": "Approved"}]`, `conditions[{"type": "Denied"}]`"#,
        ],
    );
    let odd = conditions_of(doc!([{"status": "True"}, {"type": "Approved", "status": "False"}]));
    check(
        "approval",
        &odd,
        &pending,
        &[
            "status.conditions[0].type: Required value",
            r#"status.conditions[1].status: Unsupported value: "False": supported values: "True""#,
        ],
    );
}

#[test]
fn a_certificate_is_set_once_and_is_one() {
    let with = |certificate: &str| doc!({"spec": {}, "status": {"certificate": certificate}});
    let errors = texts(&signing_request_update("status", &with("aGVsbG8="), &with("aGk=")));
    let about: Vec<&String> = errors.iter().filter(|t| t.starts_with("status.certificate")).collect();
    assert_eq!(about.len(), 2, "{about:?}");
}

#[test]
fn a_bundle_holds_authorities_each_once() {
    let bundle = |text: &str| texts(&trust_bundle(&doc!({"metadata": {"name": "b"}, "spec": {"trustBundle": text}})));
    let block = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
    let check = |text: &str, want: &str| {
        let found = bundle(text);
        assert_eq!(found, [format!(r#"spec.trustBundle: Invalid value: "<value omitted>": {want}"#)]);
    };
    check("", "at least one trust anchor must be provided");
    check(block, "entry 0 does not parse as X.509");
    check(&block.replace("CERTIFICATE", "KEY"), "entry 0 has bad block type: KEY");
}

#[test]
fn a_pod_request_says_how_long_and_for_which_key() {
    let request = |seconds: i64| {
        let ids = doc!({"signerName": "example.com/s", "podName": "p", "podUID": "u", "serviceAccountName": "s", "serviceAccountUID": "u", "nodeName": "n", "nodeUID": "u", "stubPKCS10Request": "aGVsbG8="});
        let mut spec = ids;
        spec.set("maxExpirationSeconds", seconds);
        texts(&pod_certificate(&doc!({"spec": spec})))
    };
    assert_eq!(request(3600), ["spec.stubPKCS10Request: Invalid value: must be a valid PKCS#10 CSR"]);
    assert!(request(3599)[0].ends_with("Invalid value: 3599: must be in the range [3600, 7862400]"));
}

#[test]
fn a_pod_request_is_answered_once() {
    let with = |list: Value| doc!({"spec": {}, "status": {"conditions": list}});
    let denied =
        with(doc!([{"type": "Denied", "status": "True", "reason": "r", "lastTransitionTime": "2024-01-01T00:00:00Z"}]));
    let open = with(doc!([]));
    assert!(pod_certificate_update("status", &denied, &open).is_empty());
    let again = texts(&pod_certificate_update("status", &open, &denied));
    assert_eq!(again, ["status: Invalid value: immutable after PodCertificateRequest is issued, denied, or failed"]);
}
