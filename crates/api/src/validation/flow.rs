//! FlowSchemas: whom they match and which priority level they name; the priority levels.

use document::Value;
use meta::field::{Error, Path};
use meta::names;

use super::check::{Check, each};
use super::internal::shown_as;
use super::shown;

const VERBS: [&str; 9] = ["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];

pub(super) fn schema(object: &Value) -> Vec<Error> {
    let mut check = Check::default();
    let (spec, path) = (&object["spec"], Path::root("spec"));
    let (precedence, at) = (spec["matchingPrecedence"].as_i64().unwrap_or_default(), path.child("matchingPrecedence"));
    if precedence <= 0 {
        check.invalid(&at, precedence, "must be a positive value");
    } else if precedence > 10_000 {
        check.invalid(&at, precedence, "must not be greater than 10000");
    } else if precedence == 1 && object["metadata"]["name"].str() != "exempt" {
        check.invalid(&at, precedence, "only the schema named 'exempt' may have matchingPrecedence 1");
    }
    let method = &spec["distinguisherMethod"];
    if !method.is_null() && !["ByNamespace", "ByUser"].contains(&method["type"].str()) {
        let value = shown_as(method, "io.k8s.api.flowcontrol.v1.FlowDistinguisherMethod");
        let at = path.child("distinguisherMethod").child("type");
        check.push(Error::not_supported(&at, value, &["ByNamespace", "ByUser"]));
    }
    let (level, at) = (spec["priorityLevelConfiguration"]["name"].str(), path.child("priorityLevelConfiguration"));
    if level.is_empty() {
        check.required(&at.child("name"), "must reference a priority level");
    } else {
        check.format(&at.child("name"), level, &names::dns1123_subdomain(level));
    }
    for (at, rule) in each(&spec["rules"], &path.child("rules")) {
        self::rule(&mut check, rule, &at);
    }
    check.errors
}

fn rule(check: &mut Check, rule: &Value, path: &Path) {
    if rule["subjects"].is_empty() {
        check.required(&path.child("subjects"), "subjects must contain at least one value");
    }
    for (at, subject) in each(&rule["subjects"], &path.child("subjects")) {
        self::subject(check, subject, &at);
    }
    if rule["resourceRules"].is_empty() && rule["nonResourceRules"].is_empty() {
        check.required(path, "at least one of resourceRules and nonResourceRules has to be non-empty");
    }
    for (at, rule) in each(&rule["resourceRules"], &path.child("resourceRules")) {
        resources(check, rule, &at);
    }
    for (at, rule) in each(&rule["nonResourceRules"], &path.child("nonResourceRules")) {
        urls(check, rule, &at);
    }
}

fn subject(check: &mut Check, subject: &Value, path: &Path) {
    const KINDS: [(&str, &str); 3] = [("ServiceAccount", "serviceAccount"), ("User", "user"), ("Group", "group")];
    let kind = subject["kind"].str();
    let Some((_, own)) = KINDS.iter().find(|(k, _)| *k == kind) else {
        return check.push(Error::not_supported(&path.child("kind"), kind, &["Group", "ServiceAccount", "User"]));
    };
    let (named, at) = (&subject[*own], path.child(own));
    if named.is_null() {
        check.required(&at, &format!("{own} is required when subject kind is '{kind}'"));
    } else {
        let name = named["name"].str();
        if name.is_empty() {
            check.required(&at.child("name"), "");
        } else if kind == "ServiceAccount" && name != "*" {
            check.format(&at.child("name"), name, &names::dns1123_subdomain(name));
        }
        let namespace = named["namespace"].str();
        if kind == "ServiceAccount" && namespace.is_empty() {
            check.required(&at.child("namespace"), "must specify namespace for service account");
        } else if kind == "ServiceAccount" {
            check.format(&at.child("namespace"), namespace, &names::dns1123_label(namespace));
        }
    }
    for (other, field) in KINDS.iter().filter(|(k, f)| *k != kind && !subject[*f].is_null()) {
        check.forbidden(&path.child(field), &format!("{field} is forbidden when subject kind is not '{other}'"));
    }
}

fn has_wildcard(list: &Value) -> bool {
    list.items().iter().any(|v| v.str() == "*")
}

fn verbs(check: &mut Check, list: &Value, path: &Path) {
    if list.is_empty() {
        check.required(path, "verbs must contain at least one value");
    } else if has_wildcard(list) {
        alone(check, list, path, "verbs");
    } else if list.items().iter().any(|v| !VERBS.contains(&v.str())) {
        check.push(Error::not_supported(path, shown(list), &VERBS));
    }
}

fn alone(check: &mut Check, list: &Value, path: &Path, what: &str) {
    if has_wildcard(list) && list.items().len() > 1 {
        check.invalid(path, shown(list), &format!("if '*' is present, must not specify other {what}"));
    }
}

fn resources(check: &mut Check, rule: &Value, path: &Path) {
    verbs(check, &rule["verbs"], &path.child("verbs"));
    for (field, one, others) in [("apiGroups", "api group", "api groups"), ("resources", "resource", "resources")] {
        if rule[field].is_empty() {
            check.required(&path.child(field), &format!("resource rules must supply at least one {one}"));
        }
        alone(check, &rule[field], &path.child(field), others);
    }
    let (namespaces, at) = (&rule["namespaces"], path.child("namespaces"));
    if namespaces.is_empty() && !rule["clusterScope"].is_true() {
        let detail = "resource rules that are not cluster scoped must supply at least one namespace";
        check.required(&at, detail);
    } else if has_wildcard(namespaces) {
        alone(check, namespaces, &at, "namespaces");
    } else {
        for (at, namespace) in each(namespaces, &at) {
            for why in names::dns1123_label(namespace.str()) {
                let detail = format!("each member of this list must be '*' or a DNS-1123 label; {why}");
                check.invalid(&at, namespace.str(), &detail);
            }
        }
    }
}

fn urls(check: &mut Check, rule: &Value, path: &Path) {
    verbs(check, &rule["verbs"], &path.child("verbs"));
    let (list, at) = (&rule["nonResourceURLs"], path.child("nonResourceURLs"));
    if list.is_empty() {
        check.required(&at, "nonResourceURLs must contain at least one value");
    } else if has_wildcard(list) {
        alone(check, list, &at, "non-resource URLs");
    } else {
        for (at, url) in each(list, &at) {
            if let Some(why) = url_problem(url.str()) {
                check.invalid(&at, url.str(), why);
            }
        }
    }
}

fn url_problem(url: &str) -> Option<&'static str> {
    let stars = url.matches('*').count();
    match url {
        "" => Some("must not be empty"),
        "/" => None,
        _ if !url.starts_with('/') => Some("must start with slash"),
        _ if url.contains(' ') => Some("must not contain white-space"),
        _ if url.contains("//") => Some("must not contain double slash"),
        _ if stars > 1 || (stars == 1 && !url.ends_with("/*")) => Some("wildcard can only do suffix matching"),
        _ => None,
    }
}

/// How many requests of a level are served, and what becomes of the others.
pub(super) fn priority_level(object: &Value) -> Vec<Error> {
    let mut check = Check::default();
    // what upstream's generated rules say comes last: unions before the fields
    let mut late = Check::default();
    let (spec, path) = (&object["spec"], Path::root("spec"));
    let (kind, name) = (spec["type"].str(), object["metadata"]["name"].str());
    if (name == "exempt") != (kind == "Exempt") {
        check.invalid(&path.child("type"), kind, "must be 'Exempt' if and only if `name` is 'exempt'");
    }
    for (type_, field) in [("Exempt", "exempt"), ("Limited", "limited")] {
        let (given, wanted) = (!spec[field].is_null(), kind == type_);
        if given && !wanted {
            late.forbidden(&path.child(field), "");
        } else if wanted && !given && type_ == "Limited" {
            late.required(&path.child(field), "");
        }
    }
    match kind {
        "Exempt" => shares(&mut check, &spec["exempt"], &path.child("exempt")),
        "Limited" if !spec["limited"].is_null() => {
            limited(&mut check, &mut late, &spec["limited"], &path.child("limited"));
        }
        "Limited" => {}
        "" => late.required(&path.child("type"), ""),
        other => check.push(Error::not_supported(&path.child("type"), other, &["Exempt", "Limited"])),
    }
    check.errors.append(&mut late.errors);
    check.errors
}

fn shares(check: &mut Check, level: &Value, at: &Path) {
    nominal_shares(check, level, at);
    lendable(check, level, at);
}

fn nominal_shares(check: &mut Check, level: &Value, at: &Path) {
    if let Some(n) = level["nominalConcurrencyShares"].as_i64().filter(|n| *n < 0) {
        check.invalid(&at.child("nominalConcurrencyShares"), n, "must be a non-negative integer");
    }
}

fn lendable(check: &mut Check, level: &Value, at: &Path) {
    if let Some(n) = level["lendablePercent"].as_i64().filter(|n| !(0..=100).contains(n)) {
        check.invalid(&at.child("lendablePercent"), n, "must be between 0 and 100, inclusive");
    }
}

fn limited(check: &mut Check, late: &mut Check, limited: &Value, at: &Path) {
    nominal_shares(check, limited, at);
    let (response, response_at) = (&limited["limitResponse"], at.child("limitResponse"));
    let (queuing, queuing_at) = (&response["queuing"], response_at.child("queuing"));
    let kind = response["type"].str();
    match (kind == "Queue", queuing.is_null()) {
        (false, false) => late.forbidden(&queuing_at, ""),
        (true, true) => late.required(&queuing_at, ""),
        (true, false) => queues(check, queuing, &queuing_at),
        (false, true) => {}
    }
    match kind {
        "Queue" | "Reject" => {}
        "" => late.required(&response_at.child("type"), ""),
        other => check.push(Error::not_supported(&response_at.child("type"), other, &["Queue", "Reject"])),
    }
    lendable(check, limited, at);
    if let Some(n) = limited["borrowingLimitPercent"].as_i64().filter(|n| *n < 0) {
        check.invalid(&at.child("borrowingLimitPercent"), n, "if specified, must be a non-negative integer");
    }
}

fn queues(check: &mut Check, queuing: &Value, at: &Path) {
    const MOST: i64 = 10_000_000;
    let number = |field: &str| queuing[field].as_i64().unwrap_or_default();
    let (queues, hand) = (number("queues"), number("handSize"));
    for field in ["queueLengthLimit", "queues", "handSize"] {
        if number(field) <= 0 {
            check.invalid(&at.child(field), number(field), "must be positive");
        } else if field == "queues" && queues > MOST {
            check.invalid(&at.child(field), queues, &format!("must not be greater than {MOST}"));
        } else if field == "handSize" && hand > queues {
            check.invalid(&at.child(field), hand, &format!("should not be greater than queues ({queues})"));
        } else if field == "handSize" && entropy_bits(queues, hand) > 60 {
            let bits =
                format!("required entropy bits of deckSize {queues} and handSize {hand} should not be greater than 60");
            check.invalid(&at.child(field), hand, &bits);
        }
    }
}

/// How many bits of a hash a hand of so many cards of a deck needs.
fn entropy_bits(deck: i64, hand: i64) -> i64 {
    ((deck as f64).log2() * hand as f64).ceil() as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use document::doc;

    #[test]
    fn a_schema_names_a_level_and_whom_it_matches() {
        let object = doc!({"metadata": {"name": "s"}, "spec": {
            "matchingPrecedence": 1000,
            "rules": [{"subjects": [{"kind": "User", "user": {"name": "u"}}], "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["x"]}]}],
        }});
        let said: Vec<String> = schema(&object).iter().map(|e| e.to_string()).collect();
        assert_eq!(
            said,
            [
                "spec.priorityLevelConfiguration.name: Required value: must reference a priority level",
                "spec.rules[0].nonResourceRules[0].nonResourceURLs[0]: Invalid value: \"x\": must start with slash"
            ]
        );
    }
}
