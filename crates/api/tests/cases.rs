//! The creates of the fidelity cases: what upstream accepted is valid here, what it refused has its causes. Skips where
//! the cases are not beside the repository. Not a player: only the bodies that can stand alone.

use std::path::{Path, PathBuf};

use api::strategy::{self, Context};
use api::validation;
use document::{Value, decode, json, normalize, yaml};
use meta::{Time, UserInfo};

/// Refused bodies whose causes are given.
const FLOOR: usize = 179;

type Causes = Vec<[String; 3]>;

fn files(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, out);
        } else if path.extension().is_some_and(|e| e == "yaml") {
            out.push(path);
        }
    }
}

/// A file with its placeholders filled.
fn text(path: &Path) -> Vec<u8> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.replace("$ns", "ns").replace("$tag", "tag").into_bytes()
}

/// The row that `POST path` creates in.
fn row_of(step: &str) -> Option<&'static api::ResourceType> {
    let path = step.strip_prefix("POST ")?.split('?').next()?;
    let mut parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let (group, version) =
        if parts.first() == Some(&"apis") { (parts[1], *parts.get(2)?) } else { ("", *parts.get(1)?) };
    parts.drain(..if group.is_empty() { 2 } else { 3 });
    let plural = match parts.as_slice() {
        ["namespaces", _, plural] | [plural] => *plural,
        _ => return None,
    };
    api::find(group, version, plural).filter(|r| !r.storage.is_empty())
}

/// As the registry hands it to validation, with what admission would add to a pod.
fn incoming(body: &Value, row: &'static api::ResourceType) -> Option<Value> {
    let mut value = decode(&json::to_vec(body), row.type_).ok()?.value;
    document::default::apply(&mut value, row.type_, row.defaults);
    if row.plural == "pods" {
        let account = match value["spec"]["serviceAccountName"].str() {
            "" => "default".to_owned(),
            name => name.to_owned(),
        };
        value.entry("spec").set("serviceAccount", account.clone());
        value.entry("spec").set("serviceAccountName", account);
    }
    let meta = value.entry("metadata");
    if row.namespaced {
        meta.set("namespace", "ns");
    } else {
        meta.remove("namespace");
    }
    if meta["name"].str().is_empty() && !meta["generateName"].str().is_empty() {
        let name = format!("{}abcde", meta["generateName"].str());
        meta.set("name", name);
    }
    meta.set("uid", "u");
    meta.set("creationTimestamp", "2026-01-01T00:00:00Z");
    let user = UserInfo::anonymous();
    if row.plural == "services" {
        // the registry allocates before anything else
        strategy::begin_service(&mut value, None);
        let local = value["spec"]["externalTrafficPolicy"].str() == "Local";
        if local && value["spec"]["type"].str() == "LoadBalancer" && value["spec"]["healthCheckNodePort"].is_null() {
            value.entry("spec").set("healthCheckNodePort", 30_000);
        }
    }
    strategy::prepare_create(row, &mut value, &Context { user: &user, now: Time(0) });
    normalize(&mut value, row.type_);
    Some(value)
}

fn causes(list: &Value) -> Causes {
    list.items().iter().map(|c| ["reason", "field", "message"].map(|n| c[n].str().to_owned())).collect()
}

/// The player masks values that differ from run to run: such messages are not compared.
fn alike(got: &Causes, want: &Causes) -> bool {
    let mut left = got.clone();
    let found = want.iter().all(|w| {
        let at = left.iter().position(|g| g[..2] == w[..2] && (g[2] == w[2] || w[2].contains('<')));
        at.map(|at| left.swap_remove(at)).is_some()
    });
    found && left.is_empty()
}

#[test]
fn creates_are_judged_as_upstream_judges_them() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fidelity/cases");
    let mut cases = Vec::new();
    files(&dir, &mut cases);
    cases.sort();
    let (mut refused, mut right, mut shown) = (0, 0, String::new());
    for case in &cases {
        let Ok(parsed) = yaml::parse(&text(case)) else { continue };
        let Ok(golden) = json::parse(&text(&case.with_extension("golden.json"))) else { continue };
        let mut next = 0;
        for step in parsed.value["steps"].items().iter().filter(|s| s["record"].as_bool() != Some(false)) {
            let (what, body) = (step["do"].str(), &step["body"]);
            let wanted = format!("do {what}");
            let Some(at) = golden.items()[next..].iter().position(|g| g["step"].str() == wanted) else { continue };
            next += at + 1;
            let answer = &golden[next - 1]["answer"];
            let want = causes(answer.at(["body", "details", "causes"]));
            let status = answer["status"].as_i64().unwrap_or_default();
            let judged = (status == 201) || (status == 422 && !want.is_empty());
            let Some(row) = row_of(what).filter(|_| judged && body.as_map().is_some()) else { continue };
            let Some(object) = incoming(body, row) else { continue };
            let errors = validation::validate_create(row, &object).into_iter().map(meta::field::Error::into_cause);
            let got: Causes = errors.map(|c| [c.reason, c.field, c.message]).collect();
            if alike(&got, &want) {
                right += usize::from(status == 422);
                continue;
            }
            refused += usize::from(status == 201);
            shown.push_str(&format!("{} {what} {status}\n  want {want:?}\n  got  {got:?}\n", case.display()));
        }
    }
    eprintln!("{shown}{right} refusals alike, {refused} wrongly refused");
    assert!(cases.is_empty() || refused == 0, "{refused} accepted bodies are refused");
    assert!(cases.is_empty() || right >= FLOOR, "{right} refusals have upstream's causes, not {FLOOR}");
}
