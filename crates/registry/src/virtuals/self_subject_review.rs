//! SelfSubjectReview: who am I, as the server sees it (after impersonation).

use document::Value;
use meta::{Time, UserInfo};

/// The answer. Nothing of the body is kept.
pub fn answer(user: &UserInfo, now: Time) -> Value {
    Value::of([
        ("kind", Value::from("SelfSubjectReview")),
        ("apiVersion", "authentication.k8s.io/v1".into()),
        ("metadata", Value::of([("creationTimestamp", now.to_string())])),
        ("status", Value::of([("userInfo", user_info(user))])),
    ])
}

/// `authentication.k8s.io/v1 UserInfo`: empty members are left out.
pub fn user_info(user: &UserInfo) -> Value {
    let mut out = Value::map();
    for (name, text) in [("username", &user.name), ("uid", &user.uid)] {
        if !text.is_empty() {
            out.set(name, text);
        }
    }
    if !user.groups.is_empty() {
        out.set("groups", strings(&user.groups));
    }
    if !user.extra.is_empty() {
        out.set("extra", Value::of(user.extra.iter().map(|(key, values)| (key.clone(), strings(values)))));
    }
    out
}

fn strings(list: &[String]) -> Value {
    Value::list(list.iter().map(Value::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_members_are_left_out_and_groups_keep_their_order() {
        let user = UserInfo {
            name: "bob".into(),
            uid: "uid-bob".into(),
            groups: vec!["z".into(), "a".into()],
            ..Default::default()
        };
        let answer = answer(&user, Time(0));
        assert_eq!(answer["metadata"]["creationTimestamp"].str(), "1970-01-01T00:00:00Z");
        let info = &answer["status"]["userInfo"];
        assert_eq!(info["username"].str(), "bob");
        assert_eq!(info["groups"].items(), [Value::from("z"), Value::from("a")]);
        assert!(info.get("extra").is_none());
    }
}
