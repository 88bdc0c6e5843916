//! `Check`: the errors found so far, and the few rules that most fields are checked by.

use document::Value;
use meta::field::{Error, Path, Shown};
use meta::names;

use super::shown;
use crate::amount::nano;

/// Collects errors in the order in which upstream reports them.
#[derive(Debug, Default)]
pub(super) struct Check {
    pub(super) errors: Vec<Error>,
}

impl Check {
    pub(super) fn push(&mut self, error: Error) {
        self.errors.push(error);
    }

    pub(super) fn required(&mut self, path: &Path, detail: &str) {
        self.push(Error::required(path, detail));
    }

    pub(super) fn invalid(&mut self, path: &Path, value: impl Into<Shown>, detail: &str) {
        self.push(Error::invalid(path, value, detail));
    }

    pub(super) fn forbidden(&mut self, path: &Path, detail: &str) {
        self.push(Error::forbidden(path, detail));
    }

    /// One Invalid for each message.
    pub(super) fn format(&mut self, path: &Path, value: &str, messages: &[String]) {
        messages.iter().for_each(|m| self.invalid(path, value, m));
    }

    /// Required when empty, else the format.
    pub(super) fn named(&mut self, path: &Path, value: &str, format: fn(&str) -> Vec<String>) {
        if value.is_empty() {
            self.required(path, "");
        } else {
            self.format(path, value, &format(value));
        }
    }

    /// Required when empty, NotSupported when not one of them (printed in the order given).
    pub(super) fn one_of(&mut self, path: &Path, value: &str, supported: &[&str]) {
        if value.is_empty() {
            self.required(path, "");
        } else if !supported.contains(&value) {
            self.push(Error::not_supported(path, value, supported));
        }
    }

    /// NotSupported when set and not one of them.
    pub(super) fn optional_one_of(&mut self, path: &Path, value: &Value, supported: &[&str]) {
        if let Some(text) = value.as_str().filter(|t| !supported.contains(t)) {
            self.push(Error::not_supported(path, text, supported));
        }
    }

    pub(super) fn non_negative(&mut self, path: &Path, value: &Value) {
        if let Some(n) = value.as_i64().filter(|n| *n < 0) {
            self.invalid(path, n, "must be greater than or equal to 0");
        }
    }

    /// The members `names` of `parent`, none below zero.
    pub(super) fn non_negatives(&mut self, path: &Path, parent: &Value, names: &[&str]) {
        names.iter().for_each(|n| self.non_negative(&path.child(n), &parent[*n]));
    }

    pub(super) fn non_negative_quantity(&mut self, path: &Path, value: &Value) {
        if nano(value).is_some_and(|n| n < 0) {
            self.invalid(path, value.str(), "must be greater than or equal to 0");
        }
    }

    pub(super) fn port_number(&mut self, path: &Path, value: i64) {
        names::port_number(value).iter().for_each(|m| self.invalid(path, value, m));
    }

    pub(super) fn port(&mut self, path: &Path, value: &Value) {
        match value {
            Value::String(name) => self.format(path, name, &names::port_name(name)),
            other => self.port_number(path, other.as_i64().unwrap_or_default()),
        }
    }

    /// A user or group id, when set.
    pub(super) fn id(&mut self, path: &Path, value: &Value) {
        if let Some(n) = value.as_i64() {
            names::id_number(n).iter().for_each(|m| self.invalid(path, n, m));
        }
    }

    /// A relative path without `..`.
    pub(super) fn descending_path(&mut self, path: &Path, value: &str) {
        if value.starts_with('/') {
            self.invalid(path, value, "must be a relative path");
        }
        self.no_backsteps(path, value);
    }

    pub(super) fn no_backsteps(&mut self, path: &Path, value: &str) {
        if value.split('/').any(|part| part == "..") {
            self.invalid(path, value, "must not contain '..'");
        }
    }

    /// A relative path that also does not begin with `..` at all: such names are the volume writer's.
    pub(super) fn local_path(&mut self, path: &Path, value: &str) {
        self.descending_path(path, value);
        if value.starts_with("..") && !value.starts_with("../") {
            self.invalid(path, value, "must not start with '..'");
        }
    }

    pub(super) fn file_mode(&mut self, path: &Path, value: &Value) {
        if let Some(n) = value.as_i64().filter(|n| !(0..=0o777).contains(n)) {
            self.invalid(path, n, "must be a number between 0 and 0777 (octal), both inclusive");
        }
    }

    /// The same for a string that is no pointer, which prints empty when it is unset.
    pub(super) fn immutable_text(&mut self, path: &Path, new: &Value, old: &Value) {
        if new.str() != old.str() {
            self.invalid(path, new.str(), "field is immutable");
        }
    }

    /// The same for a struct, printed as upstream's internal type of this name.
    pub(super) fn immutable_as(&mut self, path: &Path, new: &Value, old: &Value, type_name: &str) {
        if !same(new, old) {
            self.invalid(path, super::internal::shown_as(new, type_name), "field is immutable");
        }
    }

    /// Equal to the old value, or Invalid with the new one.
    pub(super) fn immutable(&mut self, path: &Path, new: &Value, old: &Value) {
        if !same(new, old) {
            self.invalid(path, shown(new), "field is immutable");
        }
    }

    pub(super) fn labels(&mut self, path: &Path, labels: &Value) {
        self.errors.extend(super::meta_object::labels(labels, path));
    }

    /// A label selector in its object form, when set.
    pub(super) fn label_selector(&mut self, path: &Path, selector: &Value) {
        self.labels(&path.child("matchLabels"), &selector["matchLabels"]);
        for (n, expression) in selector["matchExpressions"].items().iter().enumerate() {
            self.requirement(&path.child("matchExpressions").index(n), expression, true);
        }
    }

    /// One requirement of a label selector.
    fn requirement(&mut self, path: &Path, requirement: &Value, values: bool) {
        let operator = requirement["operator"].str();
        let listed = requirement["values"].items();
        match operator {
            "In" | "NotIn" if listed.is_empty() => {
                self.required(&path.child("values"), "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if !listed.is_empty() => {
                let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                self.forbidden(&path.child("values"), detail);
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => self.invalid(&path.child("operator"), operator, "not a valid selector operator"),
        }
        let key = requirement["key"].str();
        self.format(&path.child("key"), key, &names::label_key(key));
        if values {
            self.label_values(&path.child("values"), listed);
        }
    }

    pub(super) fn label_values(&mut self, path: &Path, values: &[Value]) {
        for (n, value) in values.iter().enumerate() {
            self.format(&path.index(n), value.str(), &names::label_value(value.str()));
        }
    }
}

/// Equal, unset and an empty list being the same. (Other empty values are kept only where upstream has pointers.)
pub(super) fn same(a: &Value, b: &Value) -> bool {
    let nothing = |v: &Value| v.is_null() || v.as_list().is_some_and(<[Value]>::is_empty);
    a == b || (nothing(a) && nothing(b))
}

/// Items with their paths.
pub(super) fn each<'a>(list: &'a Value, path: &Path) -> impl Iterator<Item = (Path, &'a Value)> {
    list.items().iter().enumerate().map(|(n, item)| (path.index(n), item))
}
