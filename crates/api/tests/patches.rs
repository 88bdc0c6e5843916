//! Upstream's recorded patches, applied to the tables. Skips where the recordings are not beside the repository.

use std::path::PathBuf;

use document::patch::{PatchError, json_patch, merge, strategic};
use document::{Type, Value, decode, json, normalize};

const CASES: [&str; 9] = [
    "machinery/json-patch",
    "machinery/json-patch-errors",
    "machinery/merge-patch",
    "machinery/strategic-merge-directives",
    "machinery/strategic-merge-errors",
    "machinery/strategic-merge-lists",
    "machinery/strategic-merge-deployment",
    "machinery/field-validation-patch",
    "kinds/strategic-merge-keys",
];

fn case(name: &str, ending: &str) -> Option<Vec<u8>> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fidelity/cases");
    std::fs::read(dir.join(format!("{name}.{ending}"))).ok()
}

fn row(path: &str) -> Option<&'static api::ResourceType> {
    let path = path.split('?').next()?;
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    match parts[..] {
        ["api", version, "namespaces", _, plural, ..] => api::find("", version, plural),
        ["apis", group, version, "namespaces", _, plural, ..] => api::find(group, version, plural),
        _ => None,
    }
}

fn finished(mut value: Value, row: &'static api::ResourceType) -> Value {
    document::default::apply(&mut value, row.type_, row.defaults);
    normalize(&mut value, row.type_);
    value
}

/// The new state, or the message of the refusal.
fn patched(state: &Value, content_type: &str, body: &[u8], type_: &'static Type) -> Result<Value, String> {
    let mut value = state.clone();
    let text = |e: PatchError| match e {
        PatchError::Unprocessable(_) => "the server rejected our request due to an error in our request".to_owned(),
        other => other.to_string(),
    };
    let decoded = if content_type.contains("strategic") {
        let merged = strategic(value, body, type_).map_err(text)?;
        decode::restore(merged.value, type_).map_err(|e| {
            format!(" \"\" is invalid: patch: Invalid value: {}: {e}", meta::goquote::quote(&merged.shown))
        })?
    } else {
        if content_type.contains("json-patch") {
            json_patch(&mut value, body).map_err(text)?;
        } else {
            merge(&mut value, body).map_err(text)?;
        }
        document::convert(value, type_)
            .map_err(|e| format!(" \"\" is invalid: patch: Invalid value: <the object>: {e}"))?
    };
    Ok(decoded.value)
}

fn strip(value: &Value) -> Value {
    let mut value = value.clone();
    for name in ["uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "namespace", "name"] {
        value.entry("metadata").remove(name);
    }
    value.remove("status");
    value
}

fn play(name: &str) -> (usize, Vec<String>) {
    let (Some(yaml), Some(golden)) = (case(name, "yaml"), case(name, "golden.json")) else { return (0, Vec::new()) };
    // the player reads YAML 1.2, where y is no boolean
    let yaml = String::from_utf8_lossy(&yaml)
        .replace(": y}", ": \"y\"}")
        .replace(", y: ", ", \"y\": ")
        .replace("2020-01-01T00:00:00Z", "<time>");
    let case = document::yaml::parse(yaml.as_bytes()).expect("YAML").value;
    let golden = json::parse(&golden).expect("JSON");
    let mut answers = golden.items().iter();
    let (mut state, mut equal, mut failures) = (Value::Null, 0, Vec::new());
    for step in case["steps"].items() {
        let answer =
            if step["record"] == Value::Bool(false) { None } else { answers.next().map(|a| &a["answer"]["body"]) };
        let Some((verb, path)) = step["do"].str().split_once(' ') else { continue };
        let Some(row) = row(path) else { continue };
        let body = match &step["body"] {
            Value::String(s) => s.clone().into_bytes(),
            other => json::to_vec(other),
        };
        let own = step["headers"]["Content-Type"].str();
        let content_type = if own.is_empty() { case["defaults"]["headers"]["Content-Type"].str() } else { own };
        if verb == "POST" {
            state = finished(decode(&body, row.type_).expect("decodes").value, row);
        }
        if verb != "PATCH"
            || content_type.contains("apply")
            || path.contains("fieldValidation")
            || path.contains("/status")
        {
            continue;
        }
        let result = patched(&state, content_type, &body, row.type_).map(|v| finished(v, row));
        let message = answer.map(|a| a["message"].str().to_owned()).unwrap_or_default();
        let fail = |what: String| format!("{name} {}: {what}", step["name"].str());
        match (result, answer) {
            (Ok(new), None) => state = new,
            (Ok(_), Some(_)) if message.contains("is invalid: ") => equal += 1,
            (Ok(new), Some(answer)) => {
                if strip(&new) == strip(answer) {
                    equal += 1;
                } else {
                    failures.push(fail(format!(
                        "{}\nwant {}",
                        json::to_string(&strip(&new)),
                        json::to_string(&strip(answer))
                    )));
                }
                if !path.contains("dryRun") {
                    state = new;
                }
            }
            (Err(e), _) if e == message => equal += 1,
            (Err(e), _) => failures.push(fail(format!("{e}\nwant {message}"))),
        }
    }
    (equal, failures)
}

#[test]
fn recorded_patches_have_upstream_s_results() {
    let mut total = 0;
    let mut failures = Vec::new();
    for name in CASES {
        let (equal, failed) = play(name);
        total += equal;
        failures.extend(failed);
    }
    for f in &failures {
        eprintln!("{f}");
    }
    eprintln!("{total} equal");
    assert!(failures.is_empty());
}
