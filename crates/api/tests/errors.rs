//! Upstream's recorded texts for bodies that do not fit their type.

use document::decode;

#[track_caller]
fn refused(kind: &str, body: &str, want: &str) {
    let type_ = api::type_by_kind("", "v1", kind).expect("a type");
    assert_eq!(decode(body.as_bytes(), type_).expect_err("refused").to_string(), want, "{body}");
}

#[track_caller]
fn problems(kind: &str, body: &str, want: &str) {
    let type_ = api::type_by_kind("", "v1", kind).expect("a type");
    assert_eq!(decode::strict_error(&decode(body.as_bytes(), type_).expect("decodes").problems), want, "{body}");
}

#[test]
fn mismatches_are_explained_as_upstream_does() {
    let into = "json: cannot unmarshal";
    refused(
        "ConfigMap",
        r#"{"metadata":{"name":5}}"#,
        &format!("{into} number into Go struct field ObjectMeta.metadata.name of type string"),
    );
    refused(
        "ConfigMap",
        r#"{"metadata":{"labels":{"a":1}}}"#,
        &format!("{into} number into Go struct field ObjectMeta.metadata.labels of type string"),
    );
    refused(
        "ConfigMap",
        r#"{"metadata":"x"}"#,
        &format!("{into} string into Go struct field ConfigMap.metadata of type v1.ObjectMeta"),
    );
    refused(
        "ConfigMap",
        r#"{"data":{"k":{"n":1}}}"#,
        &format!("{into} object into Go struct field ConfigMap.data of type string"),
    );
    refused(
        "ConfigMap",
        r#"{"data":5}"#,
        &format!("{into} number into Go struct field ConfigMap.data of type map[string]string"),
    );
    refused("Secret", r#"{"data":{"k":"%%%"}}"#, "illegal base64 data at input byte 0");
    refused(
        "Pod",
        r#"{"spec":{"terminationGracePeriodSeconds":99999999999999999999}}"#,
        &format!(
            "{into} number 99999999999999999999 into Go struct field PodSpec.spec.terminationGracePeriodSeconds of type int64"
        ),
    );
    refused(
        "Pod",
        r#"{"spec":{"terminationGracePeriodSeconds":1.5}}"#,
        &format!("{into} number 1.5 into Go struct field PodSpec.spec.terminationGracePeriodSeconds of type int64"),
    );
    refused(
        "ConfigMap",
        r#"{"metadata":{"name":5,"creationTimestamp":"yesterday"}}"#,
        r#"parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006""#,
    );
    refused(
        "Pod",
        r#"{"spec":{"containers":[{"resources":{"limits":{"cpu":"1x"}}}]}}"#,
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
    );
    refused("ConfigMap", "[]", &format!("{into} array into Go value of type v1.ConfigMap"));
    refused("ConfigMap", r#"{"metadata":5"#, "unexpected end of JSON input");
}

#[test]
fn unknown_and_duplicate_fields_are_reported_in_their_order() {
    problems(
        "ConfigMap",
        r#"{"metadata":{"name":"a"},"dta":{},"data":{"a":"b","a":"c"}}"#,
        r#"strict decoding error: unknown field "dta", duplicate field "data.a""#,
    );
    problems(
        "ConfigMap",
        r#"{"metadata":{"name":"c","nope":1},"data":{"k":"1"},"data":{"k":"2"},"foo":"bar"}"#,
        r#"strict decoding error: unknown field "metadata.nope", duplicate field "data", unknown field "foo""#,
    );
    problems(
        "Pod",
        r#"{"spec":{"containers":[{},{"nme":"x"}]}}"#,
        r#"strict decoding error: unknown field "spec.containers[1].nme""#,
    );
    problems("ConfigMap", r#"{"Data":{"k":"v"}}"#, r#"strict decoding error: unknown field "Data""#);
}
