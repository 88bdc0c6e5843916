//! Upstream's recorded answers, decoded and normalized, come out as they went in. Skips where the recordings are not
//! beside the repository.

use std::path::Path;

use document::{Value, decode, json, normalize};

/// Every built-in object in the recordings.
fn objects(value: &Value, out: &mut Vec<Value>) {
    let is_object = !value["kind"].str().is_empty() && !value["apiVersion"].str().is_empty();
    if is_object {
        out.push(value.clone());
        return;
    }
    value.members().for_each(|(_, v)| objects(v, out));
    value.items().iter().for_each(|v| objects(v, out));
}

/// Placeholders of times become times.
fn fill(value: &mut Value, time: &str) {
    match value {
        Value::String(s) if s == "<time>" => *s = time.to_owned(),
        Value::List(l) => l.iter_mut().for_each(|v| fill(v, time)),
        Value::Map(m) => m.iter_mut().for_each(|(_, v)| fill(v, time)),
        _ => {}
    }
}

fn files(dir: &Path, out: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, out);
        } else if path.to_string_lossy().ends_with(".golden.json") {
            out.push(path);
        }
    }
}

fn check(object: &Value) -> Result<bool, String> {
    let (api_version, kind) = (object["apiVersion"].str(), object["kind"].str());
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let Some(type_) = api::type_by_kind(group, version, kind) else { return Ok(false) };
    let mut last = String::new();
    for time in ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.000000Z"] {
        let mut object = object.clone();
        fill(&mut object, time);
        match decode(&json::to_vec(&object), type_) {
            Err(e) => last = e.to_string(),
            Ok(mut decoded) => {
                if !decoded.problems.is_empty() {
                    return Err(decode::strict_error(&decoded.problems));
                }
                // defaults have run on it, if it is whole
                if type_.fields().iter().all(|f| !matches!(f.name, "spec" | "status") || object.get(f.name).is_some()) {
                    document::default::apply(&mut decoded.value, type_, api::defaults_of(api_version, kind));
                }
                normalize(&mut decoded.value, type_);
                let once = json::to_string(&decoded.value);
                if !contains(&decoded.value, &object) {
                    return Err(format!("{}\n became {once}", json::to_string(&object)));
                }
                normalize(&mut decoded.value, type_);
                assert_eq!(once, json::to_string(&decoded.value), "idempotent");
                return Ok(true);
            }
        }
    }
    // a masked value
    if json::to_string(object).contains("\\u003c") { Ok(false) } else { Err(last) }
}

/// The recordings leave out some parts (`ignore:`): what they have must be there, and nothing but zeros beside it.
fn contains(mine: &Value, golden: &Value) -> bool {
    match (mine, golden) {
        (Value::Map(m), Value::Map(g)) => {
            g.iter().all(|(name, v)| m.get(name).is_some_and(|w| contains(w, v)))
                && m.iter().all(|(name, v)| g.contains(name) || is_zero(v))
        }
        (Value::List(m), Value::List(g)) => m.len() == g.len() && m.iter().zip(g).all(|(m, g)| contains(m, g)),
        // a time or a micro time
        (Value::String(m), Value::String(g)) if g.starts_with("2026-01-01T") => m[..19] == g[..19],
        _ => mine == golden,
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Map(m) => m.values().all(is_zero),
        Value::Int(n) => *n == 0,
        Value::String(s) => s.is_empty(),
        Value::List(l) => l.is_empty(),
        other => !other.is_true(),
    }
}

#[test]
fn recorded_answers_keep_their_form() {
    let mut paths = Vec::new();
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fidelity/cases"), &mut paths);
    let (mut same, mut skipped, mut failures) = (0, 0, Vec::new());
    for path in paths {
        let text = std::fs::read(&path).expect("readable");
        let mut found = Vec::new();
        objects(&json::parse(&text).expect("JSON"), &mut found);
        for object in found {
            match check(&object) {
                Ok(true) => same += 1,
                Ok(false) => skipped += 1,
                Err(e) => failures.push(format!("{}: {e}", path.file_name().unwrap_or_default().display())),
            }
        }
    }
    eprintln!("{same} equal, {skipped} skipped, {} differ", failures.len());
    for f in failures.iter().take(40) {
        eprintln!("{}", f.chars().take(1500).collect::<String>());
    }
    assert!(failures.is_empty());
    assert!(same == 0 || same > 1500, "{same}");
}
