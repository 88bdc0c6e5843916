//! The query string, parsed once: options of every verb with upstream's errors. Unknown parameters are kept for the
//! subresources that read them (exec, log).

use document::Value;
use meta::field::{Error, Path, Shown};
use meta::{GroupKind, Status};

/// Options of one request as strings were found; checked by the verb that uses them.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Every parameter in order, percent-decoded.
    pub parameters: Vec<(String, String)>,
}

/// `fieldValidation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

/// Options of create, update and patch.
#[derive(Clone, Debug)]
pub struct WriteOptions {
    pub dry_run: bool,
    pub field_validation: FieldValidation,
    pub field_manager: String,
    pub force: Option<bool>,
    /// Whose name the fields of this write go under; `field_manager` unless that is empty.
    pub manager: String,
    /// The object is the result of an apply: its managedFields are already right.
    pub applied: bool,
}

impl WriteOptions {
    /// A write that the server makes on its own, under this name.
    pub(crate) fn of(manager: &str) -> WriteOptions {
        WriteOptions {
            dry_run: false,
            field_validation: FieldValidation::Ignore,
            field_manager: manager.into(),
            force: None,
            manager: manager.into(),
            applied: false,
        }
    }
}

/// Options of list and watch.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    pub labels: meta::labels::Selector,
    pub fields: meta::fields::Selector,
    pub resource_version: String,
    pub resource_version_match: String,
    pub limit: i64,
    pub continue_token: String,
    pub timeout_seconds: Option<i64>,
    pub bookmarks: bool,
    pub send_initial_events: Option<bool>,
}

/// Options of delete and deletecollection, from body and query.
#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    pub dry_run: bool,
    pub grace_period_seconds: Option<i64>,
    pub uid: Option<String>,
    pub resource_version: Option<String>,
    pub orphan_dependents: Option<bool>,
    pub propagation: Option<Propagation>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    Background,
    Foreground,
    Orphan,
}

impl Query {
    /// Parses what follows the `?`. A broken escape is kept as it stands.
    pub fn parse(text: &str) -> Self {
        let parameters = text
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (percent_decode(name, true), percent_decode(value, true))
            })
            .collect();
        Query { parameters }
    }

    /// The first value of a parameter; upstream reads the first of several.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.parameters.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// Go's rule for booleans in queries: absent, `false` and `0` are false, everything else is true.
    pub fn flag(&self, name: &str) -> Option<bool> {
        self.get(name).map(|v| !matches!(v.to_ascii_lowercase().as_str(), "false" | "0"))
    }

    /// `watch=true` in any of its spellings.
    pub fn wants_watch(&self) -> bool {
        self.flag("watch").unwrap_or(false)
    }

    /// # Errors
    /// 422 naming `kind`Options, as upstream validates them.
    pub fn write_options(&self, kind: &'static str, apply: bool, user_agent: &str) -> Result<WriteOptions, Status> {
        let mut errors = Vec::new();
        let manager = self.get("fieldManager").unwrap_or_default().to_owned();
        if apply && manager.is_empty() {
            errors.push(Error::required(&"fieldManager".into(), "is required for apply patch"));
        }
        let force = self.flag("force");
        if force.is_some() && kind == "PatchOptions" && !apply {
            errors.push(Error::forbidden(&"force".into(), "may not be specified for non-apply patch"));
        }
        check_manager(&manager, &mut errors);
        let dry_run = check_dry_run(self.all("dryRun"), &mut errors);
        let field_validation = check_field_validation(self.get("fieldValidation").unwrap_or_default(), &mut errors);
        refuse(kind, errors)?;
        let name = if manager.is_empty() { crate::manage::manager_of(user_agent) } else { manager.clone() };
        Ok(WriteOptions { dry_run, field_validation, field_manager: manager, force, manager: name, applied: apply })
    }

    /// # Errors
    /// 400 for selectors and numbers that do not parse, 422 for combinations that mean nothing.
    pub fn list_options(&self, watch: bool) -> Result<ListOptions, Status> {
        let bad = Status::bad_request;
        let labels = meta::labels::Selector::parse(self.get("labelSelector").unwrap_or_default()).map_err(bad)?;
        let fields = meta::fields::Selector::parse(self.get("fieldSelector").unwrap_or_default()).map_err(bad)?;
        let options = ListOptions {
            labels,
            fields,
            resource_version: self.get("resourceVersion").unwrap_or_default().to_owned(),
            resource_version_match: self.get("resourceVersionMatch").unwrap_or_default().to_owned(),
            limit: self.number("limit")?.unwrap_or(0),
            continue_token: self.get("continue").unwrap_or_default().to_owned(),
            timeout_seconds: self.number("timeoutSeconds")?,
            bookmarks: self.flag("allowWatchBookmarks").unwrap_or(false),
            send_initial_events: self.flag("sendInitialEvents"),
        };
        options.check(watch)?;
        Ok(options)
    }

    /// # Errors
    /// 400 with Go's text when a parameter is no integer.
    pub fn number(&self, name: &str) -> Result<Option<i64>, Status> {
        match self.get(name) {
            None => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|_| {
                let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
                let why = if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
                    "value out of range"
                } else {
                    "invalid syntax"
                };
                Status::bad_request(format!("strconv.ParseInt: parsing {}: {why}", meta::goquote::quote(text)))
            }),
        }
    }
}

impl WriteOptions {
    /// Those of a write that the server makes by itself.
    pub(crate) fn of_manager(manager: &str) -> Self {
        WriteOptions {
            dry_run: false,
            field_validation: FieldValidation::Ignore,
            field_manager: String::new(),
            force: None,
            manager: manager.to_owned(),
            applied: false,
        }
    }
}

impl ListOptions {
    fn check(&self, watch: bool) -> Result<(), Status> {
        let mut errors = Vec::new();
        let path: Path = "resourceVersionMatch".into();
        if watch {
            self.check_watch(&path, &mut errors)
        } else {
            self.check_list(&path, &mut errors)
        }
        refuse("ListOptions", errors)
    }

    fn check_watch(&self, path: &Path, errors: &mut Vec<Error>) {
        let matching = self.resource_version_match.as_str();
        if self.send_initial_events.is_some() && matching != "NotOlderThan" {
            errors.push(Error::forbidden(
                path,
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            ));
        }
        if matching.is_empty() {
            // a watch that names no version is one that asks for the initial events
            let begins = self.send_initial_events.is_none() && matches!(self.resource_version.as_str(), "" | "0");
            if begins && !self.continue_token.is_empty() {
                errors.push(Error::forbidden(path, "resourceVersionMatch is forbidden when continue is provided"));
            }
            return;
        }
        if self.send_initial_events.is_none() {
            errors.push(Error::forbidden(
                path,
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            ));
        }
        if matching != "NotOlderThan" {
            errors.push(Error::not_supported(path, matching, &["NotOlderThan"]));
        }
        if !self.continue_token.is_empty() {
            errors.push(Error::forbidden(path, "resourceVersionMatch is forbidden when continue is provided"));
        }
    }

    fn check_list(&self, path: &Path, errors: &mut Vec<Error>) {
        let matching = self.resource_version_match.as_str();
        if !matching.is_empty() {
            self.check_list_match(path, matching, errors);
        }
        if self.send_initial_events.is_some() {
            errors.push(Error::forbidden(&"sendInitialEvents".into(), "sendInitialEvents is forbidden for list"));
        }
    }

    fn check_list_match(&self, path: &Path, matching: &str, errors: &mut Vec<Error>) {
        if self.resource_version.is_empty() {
            errors.push(Error::forbidden(path, "resourceVersionMatch is forbidden unless resourceVersion is provided"));
        }
        if !self.continue_token.is_empty() {
            errors.push(Error::forbidden(path, "resourceVersionMatch is forbidden when continue is provided"));
        }
        if matching != "Exact" && matching != "NotOlderThan" {
            errors.push(Error::not_supported(path, matching, &["Exact", "NotOlderThan", ""]));
        }
        if matching == "Exact" && self.resource_version == "0" {
            errors
                .push(Error::forbidden(path, "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\""));
        }
    }
}

impl DeleteOptions {
    /// From a decoded DeleteOptions body; without one from the query.
    ///
    /// # Errors
    /// 422 with upstream's causes.
    pub fn from(body: Option<&Value>, query: &Query) -> Result<Self, Status> {
        let mut errors = Vec::new();
        let mut options = DeleteOptions::default();
        let propagation = match body {
            Some(body) => {
                options.grace_period_seconds = body["gracePeriodSeconds"].as_i64();
                options.orphan_dependents = body["orphanDependents"].as_bool();
                options.uid = body["preconditions"]["uid"].as_str().map(str::to_owned);
                options.resource_version = body["preconditions"]["resourceVersion"].as_str().map(str::to_owned);
                body["propagationPolicy"].as_str().map(str::to_owned)
            }
            None => {
                options.grace_period_seconds = query.number("gracePeriodSeconds")?;
                options.orphan_dependents = query.flag("orphanDependents");
                query.get("propagationPolicy").map(str::to_owned)
            }
        };
        options.propagation = check_propagation(propagation.as_deref(), options.orphan_dependents, &mut errors);
        options.dry_run = match body {
            Some(body) => check_dry_run(body["dryRun"].items().iter().map(Value::str), &mut errors),
            None => check_dry_run(query.all("dryRun"), &mut errors),
        };
        refuse("DeleteOptions", errors)?;
        Ok(options)
    }
}

fn check_propagation(policy: Option<&str>, orphan: Option<bool>, errors: &mut Vec<Error>) -> Option<Propagation> {
    let path: Path = "propagationPolicy".into();
    let policy = policy?;
    if orphan.is_some() {
        errors.push(Error::invalid(&path, policy, "orphanDependents and deletionPropagation cannot be both set"));
        return None;
    }
    match policy {
        "Background" => Some(Propagation::Background),
        "Foreground" => Some(Propagation::Foreground),
        "Orphan" => Some(Propagation::Orphan),
        other => {
            errors.push(Error::not_supported(&path, other, &["Foreground", "Background", "Orphan", "nil"]));
            None
        }
    }
}

fn check_manager(manager: &str, errors: &mut Vec<Error>) {
    let path: Path = "fieldManager".into();
    if manager.len() > 128 {
        errors.push(Error::too_long_bytes(&path, 128));
    }
    for (at, c) in manager.char_indices() {
        if c.is_control() {
            errors.push(Error::invalid(
                &path,
                manager,
                &format!("invalid character U+{:04X} (at position {at})", u32::from(c)),
            ));
            break;
        }
    }
}

fn check_dry_run<'a>(values: impl Iterator<Item = &'a str>, errors: &mut Vec<Error>) -> bool {
    let values: Vec<&str> = values.collect();
    if values.iter().any(|v| *v != "All") {
        let list: Vec<String> = values.iter().map(|v| Shown::json_string(v).0).collect();
        errors.push(Error::not_supported(&"dryRun".into(), Shown::json(format!("[{}]", list.join(","))), &["All"]));
    }
    !values.is_empty()
}

fn check_field_validation(value: &str, errors: &mut Vec<Error>) -> FieldValidation {
    match value {
        "Ignore" => FieldValidation::Ignore,
        "Strict" => FieldValidation::Strict,
        "" | "Warn" => FieldValidation::Warn,
        other => {
            errors.push(Error::not_supported(&"fieldValidation".into(), other, &["", "Ignore", "Strict", "Warn"]));
            FieldValidation::Warn
        }
    }
}

fn refuse(kind: &'static str, errors: Vec<Error>) -> Result<(), Status> {
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid(&GroupKind::new("meta.k8s.io", kind), "", errors)) }
}

/// Decodes `%XX` (and `+` as a space in queries); what is no escape stays.
pub fn percent_decode(text: &str, plus: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = (bytes[at] == b'%').then(|| bytes.get(at + 1..at + 3)).flatten();
        let value = hex.and_then(|h| std::str::from_utf8(h).ok()).and_then(|h| u8::from_str_radix(h, 16).ok());
        match value {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(if plus && bytes[at] == b'+' { b' ' } else { bytes[at] });
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_decoded_once() {
        let query = Query::parse("labelSelector=a%3Db&x=1+2&watch&limit=5");
        assert_eq!(query.get("labelSelector"), Some("a=b"));
        assert_eq!(query.get("x"), Some("1 2"));
        assert!(query.wants_watch());
        assert_eq!(query.list_options(false).unwrap().limit, 5);
    }

    #[test]
    fn a_watch_may_ask_for_initial_events_only_from_not_older_than() {
        let check = |text: &str| Query::parse(text).list_options(true).map(|o| o.send_initial_events);
        let wants = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
        assert_eq!(check(wants).unwrap(), Some(true));
        for (text, want) in [
            (
                "sendInitialEvents=false",
                "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            ),
            (
                "resourceVersionMatch=NotOlderThan",
                "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            ),
            (
                "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&continue=x",
                "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is provided",
            ),
        ] {
            let message = check(text).unwrap_err().message;
            assert_eq!(message, format!("ListOptions.meta.k8s.io \"\" is invalid: {want}"));
        }
    }

    #[test]
    fn options_are_refused_with_upstreams_texts() {
        for (text, want) in [
            (
                "dryRun=x",
                "CreateOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: [\"x\"]: supported values: \"All\"",
            ),
            (
                "fieldValidation=Nope",
                "CreateOptions.meta.k8s.io \"\" is invalid: fieldValidation: Unsupported value: \"Nope\": supported values: \"\", \"Ignore\", \"Strict\", \"Warn\"",
            ),
        ] {
            assert_eq!(Query::parse(text).write_options("CreateOptions", false, "").unwrap_err().message, want);
        }
    }
}
