//! What a write does to an object after it was decoded: strategies, validation, warnings, columns, sealing, graceful
//! deletion, on objects that their types allow and no rule does.
#![no_main]

use api::strategy::{self, Context};
use api::{ResourceType, columns, validation, warnings};
use document::{Object, Value, json};
use generate::{Dice, check_normal};
use libfuzzer_sys::fuzz_target;
use meta::{Key, Revision, Time, UserInfo};

fn create(row: &'static ResourceType, object: &mut Value, context: &Context<'_>) {
    strategy::begin(row, object);
    strategy::prepare_create(row, object, context);
    document::normalize(object, row.type_);
    check_normal(object, row.type_);
    for error in validation::validate_create(row, object) {
        let _ = error.into_cause();
    }
    let _ = warnings::on_create(row, object);
    let cells = columns::cells(row, object, context.now, true);
    // upstream prints an age that IPAddress has no column for
    let defined = columns::definitions(row).items().len() + usize::from(row.kind == "IPAddress");
    assert_eq!(cells.len(), defined, "{}", row.kind);
}

fn seal(row: &'static ResourceType, object: &Value) {
    let Some(id) = row.resource_id() else { return };
    let key = Key::new(id, object["metadata"]["namespace"].str(), object["metadata"]["name"].str());
    let Ok(sealed) = api::seal(row, key.clone(), object) else { return };
    let again = api::reseal(key, Revision(5), sealed.bytes.clone()).expect("what was sealed is read again");
    let mut read = api::read(row, &Object { revision: Revision(5), ..again });
    assert_eq!(read.entry("metadata").remove("resourceVersion"), Some("5".into()));
    if api::is_storage_version(row) {
        assert_eq!(json::to_string(&read), json::to_string(object));
    }
}

fn update(row: &'static ResourceType, subresource: &str, new: &Value, old: &Value, context: &Context<'_>) {
    let mut new = new.clone();
    for name in ["uid", "name", "namespace", "creationTimestamp"] {
        let kept = old["metadata"][name].clone();
        new.entry("metadata").set(name, kept);
    }
    strategy::begin(row, &mut new);
    strategy::prepare_update(row, subresource, &mut new, old, context);
    document::normalize(&mut new, row.type_);
    for error in validation::validate_update(row, subresource, &new, old) {
        let _ = error.into_cause();
    }
    let _ = warnings::on_update(row, "", &new, old);
    seal(row, &new);
}

fuzz_target!(|data: &[u8]| {
    let mut dice = Dice(data);
    let row = dice.row();
    let now = dice.pick(&[Time(1_800_000_000), Time(0), Time(253_402_300_799), Time(-1)]);
    let user = UserInfo::anonymous();
    let context = Context { user: &user, now };
    let mut old = dice.object(row);
    create(row, &mut old, &context);
    seal(row, &old);
    let new = dice.object(row);
    update(row, "", &new, &old, &context);
    update(row, "", &old, &old, &context);
    for sub in row.subresources {
        update(row, sub.name, &new, &old, &context);
    }
    let mut dying = old.clone();
    let grace = dice.pick(&[None, Some(0), Some(30), Some(-1), Some(i64::MAX), Some(i64::MIN)]);
    let _ = strategy::begin_deletion(row, &mut dying, grace, now);
    document::normalize(&mut dying, row.type_);
    check_normal(&dying, row.type_);
});
