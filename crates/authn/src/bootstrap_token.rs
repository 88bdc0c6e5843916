//! Bootstrap tokens: `abcdef.0123456789abcdef`, good while a Secret `kube-system/bootstrap-token-abcdef` says so. Any
//! mismatch means "not mine", without a word.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use document::object::Head;
use meta::{Key, ResourceId, Time, UserInfo};
use serde::Deserialize;
use store::View;
use subtle::ConstantTimeEq as _;

const GROUP: &str = "system:bootstrappers";

#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct SecretBody {
    #[serde(rename = "type")]
    kind: String,
    pub(crate) data: BTreeMap<String, Option<String>>,
}

impl SecretBody {
    pub(crate) fn of(object: &document::Object) -> SecretBody {
        let mut json = Vec::new();
        object.write_json(Head::Item, &mut json);
        serde_json::from_slice(&json).unwrap_or_default()
    }

    pub(crate) fn bytes(&self, key: &str) -> Vec<u8> {
        let text = self.data.get(key).and_then(Option::as_deref).unwrap_or_default();
        STANDARD.decode(text).unwrap_or_default()
    }

    fn text(&self, key: &str) -> String {
        String::from_utf8(self.bytes(key)).unwrap_or_default()
    }
}

pub(crate) fn authenticate(token: &str, view: &View, now: Time) -> Option<UserInfo> {
    let (id, secret) = split(token)?;
    let object =
        view.get(&Key::new(ResourceId::from_text("secrets"), "kube-system", &format!("bootstrap-token-{id}")))?;
    if object.deletion.is_some() {
        return None;
    }
    let body = SecretBody::of(&object);
    let good = body.kind == "bootstrap.kubernetes.io/token"
        && bool::from(body.bytes("token-secret").ct_eq(secret.as_bytes()))
        && body.text("token-id") == id
        && !expired(&body.text("expiration"), now)
        && body.text("usage-bootstrap-authentication") == "true";
    if !good {
        return None;
    }
    let mut groups = vec![GROUP.to_owned()];
    groups.extend(extra_groups(&body.text("auth-extra-groups"))?);
    Some(UserInfo::new(format!("system:bootstrap:{id}"), groups))
}

fn split(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let plain = |s: &str, n: usize| s.len() == n && s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    (plain(id, 6) && plain(secret, 16)).then_some((id, secret))
}

/// No expiration: never. One that does not parse: already.
fn expired(text: &str, now: Time) -> bool {
    !text.is_empty() && Time::parse(text).is_none_or(|end| end <= now)
}

/// Sorted and each once; `None` when one is not of the pattern.
fn extra_groups(list: &str) -> Option<Vec<String>> {
    let mut groups: Vec<String> = list.split(',').map(str::trim).filter(|g| !g.is_empty()).map(str::to_owned).collect();
    groups.sort();
    groups.dedup();
    groups.iter().all(|g| is_bootstrap_group(g)).then_some(groups)
}

fn is_bootstrap_group(group: &str) -> bool {
    let Some(rest) = group.strip_prefix("system:bootstrappers:") else { return false };
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (1..=256).contains(&rest.len())
        && rest.bytes().all(|b| word(b) || b == b':' || b == b'-')
        && rest.bytes().last().is_some_and(word)
}
