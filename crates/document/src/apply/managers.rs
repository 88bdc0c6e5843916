//! The list `metadata.managedFields`: read, kept in upstream's order, cut to ten updaters, written.

use std::collections::BTreeMap;

use super::set::Set;
use crate::{Map, Value};

/// More managers by update than these are folded into one.
const MAX_UPDATERS: usize = 10;
const ANCIENT: &str = "ancient-changes";

/// Who manages: what tells entries apart. Appliers are the same in all versions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id {
    pub(super) manager: String,
    pub(super) applied: bool,
    /// Empty for appliers.
    pub(super) version: String,
    pub(super) subresource: String,
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) id: Id,
    pub(super) version: String,
    pub(super) set: Set,
    /// As it is written; empty when there is none.
    pub(super) time: String,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Managers(pub(super) BTreeMap<Id, Entry>);

impl Id {
    pub(super) fn new(manager: &str, applied: bool, version: &str, subresource: &str) -> Self {
        Id {
            manager: if manager.is_empty() { "unknown" } else { manager }.to_owned(),
            applied,
            version: if applied { String::new() } else { version.to_owned() },
            subresource: subresource.to_owned(),
        }
    }

    /// As conflicts show it.
    pub(super) fn shown(&self) -> String {
        use meta::goquote::quote;
        let mut text = quote(&self.manager);
        if !self.subresource.is_empty() {
            text.push_str(&format!(" with subresource {}", quote(&self.subresource)));
        }
        if !self.applied {
            text.push_str(&format!(" using {}", self.version));
        }
        text
    }
}

impl Managers {
    /// # Errors
    /// When an entry is none; with upstream's words.
    pub(super) fn decode(list: &Value) -> Result<Self, String> {
        let mut managers = Managers::default();
        for (n, entry) in list.items().iter().enumerate() {
            let applied = match entry["operation"].str() {
                "Apply" => true,
                "Update" => false,
                _ => return Err("operation must be `Apply` or `Update`".into()),
            };
            let version = entry["apiVersion"].str();
            if version.is_empty() {
                return Err("apiVersion must not be empty".into());
            }
            match entry["fieldsType"].str() {
                "FieldsV1" => {}
                "" => return Err(format!("missing fieldsType in managed fields entry {n}")),
                other => {
                    let other = meta::goquote::quote(other);
                    return Err(format!("invalid fieldsType {other} in managed fields entry {n}"));
                }
            }
            let set = Set::decode(&entry["fieldsV1"])?;
            let id = Id {
                manager: entry["manager"].str().to_owned(),
                ..Id::new("", applied, version, entry["subresource"].str())
            };
            let time = entry["time"].str().to_owned();
            managers.put(Entry { id, version: version.to_owned(), set, time });
        }
        Ok(managers)
    }

    pub(super) fn encode(self) -> Option<Value> {
        let mut entries: Vec<Entry> = self.0.into_values().collect();
        entries.sort_by(|a, b| {
            fn key(e: &Entry) -> (bool, &str, &str, &str, &str) {
                (!e.id.applied, &e.time, &e.id.manager, &e.version, &e.id.subresource)
            }
            key(a).cmp(&key(b))
        });
        if entries.is_empty() {
            return None;
        }
        Some(Value::List(entries.into_iter().map(Entry::encode).collect()))
    }

    pub(super) fn get(&self, id: &Id) -> Option<&Entry> {
        self.0.get(id)
    }

    pub(super) fn take(&mut self, id: &Id) -> Option<Entry> {
        self.0.remove(id)
    }

    /// Adds an entry in the place of the one with the same id.
    pub(super) fn put(&mut self, entry: Entry) {
        self.0.insert(entry.id.clone(), entry);
    }

    /// Folds the oldest updaters of each version into one until there are no more than allowed.
    pub(super) fn cap(&mut self) {
        let mut updaters: Vec<(String, Id)> =
            self.0.values().filter(|e| !e.id.applied).map(|e| (e.time.clone(), e.id.clone())).collect();
        let mut count = updaters.len();
        if count <= MAX_UPDATERS {
            return;
        }
        updaters.sort();
        let mut firsts: BTreeMap<String, Id> = BTreeMap::new();
        // what goes into a bucket, whose own set comes in the end
        let mut folded: BTreeMap<Id, Vec<Set>> = BTreeMap::new();
        for (_, id) in updaters {
            if count <= MAX_UPDATERS {
                break;
            }
            let Some(first) = firsts.get(&id.version).cloned() else {
                firsts.insert(id.version.clone(), id);
                continue;
            };
            let bucket = Id::new(ANCIENT, false, &id.version, "");
            let Some(entry) = self.take(&id) else { continue };
            let into = self.take(&bucket).or_else(|| self.take(&first));
            let sets = folded.entry(bucket.clone()).or_default();
            sets.extend(into.map(|e| e.set));
            sets.push(entry.set);
            self.put(Entry { id: bucket, set: Set::default(), ..entry });
            count -= 1;
        }
        for (id, sets) in &folded {
            if let Some(entry) = self.0.get_mut(id) {
                entry.set = Set::of_all(&sets.iter().collect::<Vec<_>>());
            }
        }
    }
}

impl Entry {
    fn encode(self) -> Value {
        let mut map = Map::with_capacity(7);
        map.push("manager", self.id.manager.into());
        map.push("operation", if self.id.applied { "Apply" } else { "Update" }.into());
        map.push("apiVersion", self.version.into());
        if !self.time.is_empty() {
            map.push("time", self.time.into());
        }
        map.push("fieldsType", "FieldsV1".into());
        map.push("fieldsV1", self.set.encode());
        if !self.id.subresource.is_empty() {
            map.push("subresource", self.id.subresource.into());
        }
        Value::Map(map)
    }
}
