//! Upstream's answers to 567 recorded requests: the causes of every 422 against what validation says here. Skips where
//! the recordings are not beside the repository; the counts below only rise.

use std::collections::BTreeMap;
use std::path::Path;

use api::strategy::{self, Context};
use api::validation;
use document::{Value, decode, json, normalize};
use meta::{GroupVersion, Time, UserInfo};

/// Probes whose causes are all given, in any order.
const FLOOR: usize = 480;

/// `a.b[0]["c"]` as steps: member names and numbers.
fn steps(path: &str) -> Vec<String> {
    let mut steps = Vec::new();
    for part in path.split('.') {
        let mut rest = part;
        while let Some((name, after)) = rest.split_once('[') {
            if !name.is_empty() {
                steps.push(name.to_owned());
            }
            let (inner, after) = after.split_once(']').expect("a closed bracket");
            steps.push(format!("[{}", inner.trim_matches('"')));
            rest = after;
        }
        if !rest.is_empty() {
            steps.push(rest.to_owned());
        }
    }
    steps
}

fn assign(value: &mut Value, path: &[String], to: Option<Value>) {
    let Some((first, rest)) = path.split_first() else { return };
    let index = first.strip_prefix('[').and_then(|n| n.parse::<usize>().ok());
    let name = first.strip_prefix('[').unwrap_or(first).to_owned();
    if let Some(index) = index {
        let list = value.make_list();
        while list.len() <= index {
            list.push(Value::Null);
        }
        match (rest.is_empty(), to) {
            (true, Some(to)) => list[index] = to,
            (true, None) => drop(list.remove(index)),
            (false, to) => assign(&mut list[index], rest, to),
        }
        return;
    }
    match (rest.is_empty(), to) {
        (true, Some(to)) => value.set(name, to),
        (true, None) => drop(value.remove(&name)),
        (false, to) => assign(value.entry(name), rest, to),
    }
}

fn change(base: &Value, set: &str) -> Value {
    let mut object = base.clone();
    for one in set.split(" ;; ") {
        let Some((path, text)) = one.split_once(" := ") else { continue };
        let to =
            if text == "~" { None } else { Some(json::parse(text.as_bytes()).unwrap_or_else(|_| Value::from(text))) };
        assign(&mut object, &steps(path), to);
    }
    object
}

/// Decoded and defaulted; what admission would add to a pod is added.
fn incoming(object: &Value, row: &'static api::ResourceType) -> Option<Value> {
    let mut value = decode(&json::to_vec(object), row.type_).ok()?.value;
    document::default::apply(&mut value, row.type_, row.defaults);
    if row.plural == "pods" {
        for (name, to) in [("serviceAccountName", "default"), ("serviceAccount", "default")] {
            if value["spec"][name].is_null() {
                value.entry("spec").set(name, to);
            }
        }
        let account = value["spec"]["serviceAccountName"].clone();
        value.entry("spec").set("serviceAccount", account);
        value.entry("spec").set("enableServiceLinks", true);
    }
    if row.namespaced {
        value.entry("metadata").set("namespace", "s8");
    }
    Some(value)
}

fn context(user: &UserInfo) -> Context<'_> {
    Context { user, now: Time(1_700_000_000) }
}

fn created(object: &Value, row: &'static api::ResourceType, user: &UserInfo) -> Option<Value> {
    let mut value = incoming(object, row)?;
    if value["metadata"]["uid"].is_null() {
        value.entry("metadata").set("uid", "u");
        value.entry("metadata").set("creationTimestamp", "2026-01-01T00:00:00Z");
    }
    begin(row, &mut value, None);
    strategy::prepare_create(row, &mut value, &context(user));
    normalize(&mut value, row.type_);
    Some(value)
}

/// What the registry does before the strategy; it allocates addresses, too.
fn begin(row: &'static api::ResourceType, new: &mut Value, old: Option<&Value>) -> Vec<meta::field::Error> {
    if row.plural != "services" {
        return Vec::new();
    }
    strategy::begin_service(new, old);
    if new["spec"]["ipFamilyPolicy"].is_null() && new["spec"]["type"].str() != "ExternalName" {
        new.entry("spec").set("ipFamilyPolicy", "SingleStack");
    }
    validation::service_addresses(new, old)
}

fn cause(e: meta::field::Error) -> [String; 3] {
    let c = e.into_cause();
    [c.reason, c.field, c.message.replace(":\"u\"", ":\"<uid>\"")]
}

fn errors(base: &Value, op: &str, set: &str, row: &'static api::ResourceType) -> Option<Vec<[String; 3]>> {
    let user = UserInfo::anonymous();
    let errors = if op == "create" {
        let mut asked = incoming(&change(base, set), row)?;
        let early = begin(row, &mut asked, None);
        if early.is_empty() {
            validation::validate_create(row, &created(&change(base, set), row, &user)?)
        } else {
            early
        }
    } else {
        let mut old = created(base, row, &user)?;
        old.entry("metadata").set("resourceVersion", "1");
        let mut new = incoming(&change(&old, set), row)?;
        let early = begin(row, &mut new, Some(&old));
        if !early.is_empty() {
            return Some(early.into_iter().map(cause).collect());
        }
        strategy::prepare_update(row, "", &mut new, &old, &context(&user));
        normalize(&mut new, row.type_);
        validation::validate_update(row, "", &new, &old)
    };
    Some(errors.into_iter().map(cause).collect())
}

/// What follows a line break is upstream's diff of structs.
fn cut(causes: Vec<[String; 3]>) -> Vec<[String; 3]> {
    let first = |text: String| text.split('\n').next().unwrap_or_default().to_owned();
    causes.into_iter().map(|[r, f, m]| [r, f, first(m)]).collect()
}

#[test]
fn causes_are_upstreams() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/reference/upstream/validation-probes.json");
    let Ok(text) = std::fs::read(&file) else { return };
    let all = json::parse(&text).expect("is JSON");
    let mut score: BTreeMap<String, [usize; 3]> = BTreeMap::new();
    let mut shown = String::new();
    for probe in all["probes"].items() {
        let (kind, op) = (probe["kind"].str(), probe["op"].str());
        let code = probe["code"].as_i64().unwrap_or_default();
        if code == 422 && probe["causes"].is_empty() || (code != 422 && code != 201 && code != 200) {
            continue;
        }
        let base = &all["bases"][format!("{kind}.{op}").as_str()][1];
        let Some(gv) = GroupVersion::parse(base["apiVersion"].str()) else { continue };
        let Some(row) = api::by_kind(&gv.with_kind(kind)) else { continue };
        let expected = probe["causes"].items().iter().map(|c| [0, 1, 2].map(|n| c[n].str().to_owned())).collect();
        let got = cut(errors(base, op, probe["set"].str(), row).unwrap_or_default());
        let expected = cut(expected);
        let sorted = |list: &[[String; 3]]| {
            let mut list = list.to_vec();
            list.sort();
            list
        };
        let entry = score.entry(kind.to_owned()).or_default();
        entry[0] += 1;
        entry[1] += usize::from(got == expected);
        if sorted(&got) == sorted(&expected) {
            entry[2] += 1;
        } else {
            shown.push_str(&format!("{kind} {op} {}\n  want {expected:?}\n  got  {got:?}\n", probe["set"].str()));
        }
    }
    let total = score.values().fold([0; 3], |t, s| [t[0] + s[0], t[1] + s[1], t[2] + s[2]]);
    eprintln!("{shown}");
    for (kind, [of, same, any]) in &score {
        eprintln!("{kind}: {any} of {of} ({same} in order)");
    }
    eprintln!("all: {} of {} ({} in order)", total[2], total[0], total[1]);
    assert!(
        total[2] >= FLOOR,
        "{} of {} probes are answered as upstream answers them, not {FLOOR}",
        total[2],
        total[0]
    );
}
