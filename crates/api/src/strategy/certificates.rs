//! Certificate signing requests: who asks is written by the server; the endpoints for approval and status write their own
//! part of the status and date its conditions.

use document::Value;

use super::Context;

/// `given`: the conditions of the body. Approvals through `status` stay as they were, unless their number changes, which
/// validation refuses.
pub(super) fn update_signing_request(
    subresource: &str,
    given: Value,
    new: &mut Value,
    old: &Value,
    context: &Context<'_>,
) {
    if subresource.is_empty() {
        return;
    }
    let mut conditions = given;
    if subresource == "status" {
        for type_ in ["Approved", "Denied"] {
            preserve(&mut conditions, &old["status"]["conditions"], type_);
        }
    }
    let now = context.now.to_string();
    for condition in conditions.as_list_mut().into_iter().flatten() {
        date(condition, old, &now);
    }
    match conditions.is_null() {
        true => drop(new.get_mut("status").and_then(|s| s.remove("conditions"))),
        false => new.entry("status").set("conditions", conditions),
    }
}

fn preserve(conditions: &mut Value, old: &Value, type_: &str) {
    let is = |c: &&Value| c["type"].str() == type_;
    let kept: Vec<Value> = old.items().iter().filter(is).cloned().collect();
    if conditions.items().iter().filter(is).count() != kept.len() {
        return;
    }
    let places = conditions.as_list_mut().into_iter().flatten().filter(|c| c["type"].str() == type_);
    places.zip(kept).for_each(|(place, kept)| *place = kept);
}

/// A condition keeps the time of its last transition while its status stays.
fn date(condition: &mut Value, old: &Value, now: &str) {
    if condition["lastUpdateTime"].is_empty() {
        condition.set("lastUpdateTime", now);
    }
    if condition["lastTransitionTime"].is_empty() {
        let same = |c: &&Value| c["type"] == condition["type"] && c["status"] == condition["status"];
        let found = old["status"]["conditions"].items().iter().find(same);
        let time = found.map(|c| c["lastTransitionTime"].str()).filter(|t| !t.is_empty()).unwrap_or(now).to_owned();
        condition.set("lastTransitionTime", time);
    }
}

#[cfg(test)]
mod tests {
    use super::super::prepare_update;
    use super::*;
    use document::doc;
    use meta::{Time, UserInfo};

    #[test]
    fn approvals_are_dated_and_status_does_not_touch_them() {
        let user = UserInfo::anonymous();
        let row = crate::find("certificates.k8s.io", "v1", "certificatesigningrequests").unwrap();
        let update = |subresource: &str, mut new: Value, old: &Value| {
            prepare_update(row, subresource, &mut new, old, &Context { user: &user, now: Time(60) });
            new["status"]["conditions"].clone()
        };
        let old = doc!({"metadata": {}, "spec": {}});
        let body =
            doc!({"metadata": {}, "spec": {}, "status": {"conditions": [{"type": "Approved", "status": "True"}]}});
        let approved = update("approval", body.clone(), &old);
        assert_eq!(approved[0]["lastUpdateTime"].str(), "1970-01-01T00:01:00Z");
        assert_eq!(update("status", body.clone(), &old).items().len(), 1, "left for validation to refuse");
        let before = doc!({"metadata": {}, "spec": {}, "status": {"conditions": (approved.clone())}});
        assert_eq!(update("status", body, &before), approved);
    }
}
