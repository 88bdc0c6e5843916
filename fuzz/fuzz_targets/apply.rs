//! Apply and field management: writes of several managers, one after the other, and managedFields that a client made up.
//! What is applied is in force, applying it again changes nothing, and force knows no conflict.
#![no_main]

use document::apply::{self, ApplyError, Write};
use document::schema::{Kind, ListType, Shape};
use document::{Type, Value, decode, json};
use generate::{Dice, check_normal, finish};
use libfuzzer_sys::fuzz_target;
use registry::body::Expected;

const MANAGERS: &[&str] = &["a", "b", "kubectl", "before-first-apply", "\u{fc}", ""];

struct World {
    row: &'static api::ResourceType,
    expected: Expected,
    live: Option<Value>,
    clock: u32,
}

/// The kinds here are served in one version; entries of others are forgotten.
struct OneVersion;

impl apply::Versions for OneVersion {
    fn find(&self, _: &str) -> Option<apply::Served> {
        None
    }

    fn convert(&self, object: &Value, _: &str, _: &str) -> Value {
        object.clone()
    }
}

impl World {
    fn with<T>(&mut self, manager: &str, work: impl FnOnce(&Write<'_>) -> T) -> T {
        self.clock += 1;
        let now = format!("2026-01-01T00:00:{:02}Z", self.clock % 60);
        let version = self.expected.gvk.group_version().to_string();
        let (type_, reset) = (self.row.type_, &[][..]);
        work(&Write { type_, version: &version, subresource: "", manager, now: &now, reset, versions: &OneVersion })
    }

    fn apply(&mut self, manager: &str, patch: &Value, force: bool) -> Result<Value, ApplyError> {
        let live = self.live.clone();
        let tree = self.with(manager, |write| apply::apply(write, live.as_ref(), patch, force))?;
        let decoded = decode::convert(tree, self.row.type_).map_err(|e| ApplyError::Internal(e.to_string()))?;
        let mut value = decoded.value;
        finish(&mut value, &self.expected);
        if let Some(old) = &live {
            apply::settle(&mut value, old);
        }
        Ok(value)
    }

    fn update(&mut self, manager: &str, mut new: Value) {
        finish(&mut new, &self.expected);
        let live = self.live.clone();
        self.with(manager, |write| apply::update(write, live.as_ref(), &mut new));
        document::normalize(&mut new, self.row.type_);
        if let Some(old) = &live {
            apply::settle(&mut new, old);
        }
        check_normal(&new, self.row.type_);
        self.live = Some(new);
    }

    fn configuration(&self, dice: &mut Dice<'_>) -> Value {
        let mut patch = match dice.roll(4) {
            0 => json::parse(dice.take()).unwrap_or_default(),
            _ => dice.of_type(self.row.type_, 0),
        };
        if patch.as_map().is_none() {
            patch = Value::map();
        }
        // the main endpoint resets it
        patch.remove("status");
        patch.set("kind", self.row.kind);
        patch.set("apiVersion", self.row.api_version());
        patch
    }
}

/// Items of lists that are maps have the members that they are known by. (A key that is left out or empty has a default
/// that the server writes, and nobody applied: what becomes of such an item is not said here.)
fn has_its_keys(value: &Value, kind: &Kind, owner: &'static Type) -> bool {
    match (value, kind) {
        (Value::Map(map), Kind::Map(of)) => map.values().all(|v| has_its_keys(v, of, owner)),
        (Value::List(items), Kind::List(of)) => items.iter().all(|i| has_its_keys(i, of, owner)),
        (Value::Map(map), kind) => {
            let type_ = if let Kind::Ref(type_) = kind { type_ } else { owner };
            let Shape::Struct(fields) = type_.shape else { return true };
            map.iter().all(|(name, value)| {
                let Some(field) = fields.iter().find(|f| f.name == name) else { return true };
                let keyed = field.list != ListType::Map
                    || value.items().iter().all(|i| {
                        field.keys.iter().all(|key| i.get(key).is_some_and(|v| !v.is_null() && v.as_str() != Some("")))
                    });
                keyed && has_its_keys(value, &field.kind, type_)
            })
        }
        _ => true,
    }
}

/// Applying what is in force already. The first time may still bring an empty parent back, whose members the apply before
/// took away, which is a conflict with whoever manages it too (both as upstream); after that nothing changes. An object
/// that nobody manages is taken for one that was made before there was apply.
fn check_again(world: &mut World, manager: &str, patch: &Value) {
    if !has_its_keys(patch, &Kind::Ref(world.row.type_), world.row.type_) {
        return;
    }
    if world.live.as_ref().is_none_or(|live| live["metadata"]["managedFields"].is_null()) {
        return;
    }
    let settled = world.apply(manager, patch, true);
    world.live = Some(settled.unwrap_or_else(|e| panic!("applied again: {e}\n{}", json::to_string(patch))));
    for force in [false, true] {
        let again = world.apply(manager, patch, force);
        let again = again.unwrap_or_else(|e| panic!("applied again: {e}\n{}", json::to_string(patch)));
        let live = world.live.as_ref().expect("it was applied");
        assert_eq!(json::to_string(&again), json::to_string(live), "applied again: {}", json::to_string(patch));
    }
}

fuzz_target!(|data: &[u8]| {
    let mut dice = Dice(data);
    let row = match dice.roll(3) {
        0 => api::find("", "v1", "pods").expect("pods"),
        1 => api::find("", "v1", "services").expect("services"),
        _ => dice.row(),
    };
    let mut world = World { row, expected: Expected::of(row), live: None, clock: 0 };
    for _ in 0..1 + dice.roll(4) {
        let manager = dice.pick(MANAGERS);
        match dice.roll(8) {
            0..=4 => {
                let patch = world.configuration(&mut dice);
                let force = dice.roll(2) == 1;
                match world.apply(manager, &patch, force) {
                    Ok(value) => {
                        check_normal(&value, row.type_);
                        world.live = Some(value);
                        check_again(&mut world, manager, &patch);
                    }
                    Err(ApplyError::Conflict(conflicts)) => assert!(!force && !conflicts.is_empty(), "{conflicts:?}"),
                    Err(_) => {}
                }
            }
            5 | 6 => {
                let mut new = dice.object(row);
                if dice.roll(2) == 0
                    && let Some(live) = &world.live
                {
                    new = live.clone();
                    let more = dice.of_type(row.type_, 0);
                    document::patch::merge_value(&mut new, more);
                }
                world.update(manager, new);
            }
            _ => {
                let Ok(made_up) = json::parse(dice.take()) else { continue };
                let mut new = world.live.clone().unwrap_or_else(|| dice.object(row));
                new.entry("metadata").set("managedFields", made_up);
                let Ok(decoded) = decode::convert(new, row.type_) else { continue };
                world.update(manager, decoded.value);
            }
        }
    }
});
