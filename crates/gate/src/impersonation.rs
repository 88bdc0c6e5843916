//! Acting as somebody else: the `Impersonate-*` headers. Five modes are tried, the constrained ones first; the one that
//! last worked for a requester comes before all. A decision is never remembered, only which mode made it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use authn::request_header::percent_decode;
use authz::{Authorizer, Question, Record};
use http::HeaderMap;
use meta::goquote::quote;
use meta::user::{
    ANONYMOUS, AUTHENTICATED, MASTERS, NODE_PREFIX, NODES, SERVICE_ACCOUNTS, UNAUTHENTICATED, split_service_account,
};
use meta::{Attributes, Status, UserInfo, names};
use parking_lot::Mutex;
use store::View;

use crate::caller::Caller;
use crate::{Inner, forbidden};

const AUTHENTICATION: &str = "authentication.k8s.io";
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
const NODE_KEYS: &str = "authentication.kubernetes.io/associated-node-keys";

/// From so many groups or extra values on, one question for all of them comes first.
const MANY: usize = 4;

/// Requesters whose mode is remembered, at most.
const REMEMBERED: usize = 10_000;

/// Which mode last succeeded, by the requester's name.
#[derive(Default)]
pub(crate) struct Modes(Mutex<HashMap<String, Mode>>);

/// Whom the headers name, as they say it.
#[derive(Clone, Debug)]
pub(crate) struct Wanted(UserInfo);

impl Wanted {
    /// `None`: no such header, or only an empty user.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let text = |v: &http::HeaderValue| String::from_utf8_lossy(v.as_bytes()).into_owned();
        let first = |name: &str| headers.get(name).map(text).unwrap_or_default();
        let all = |name: &str| -> Vec<String> { headers.get_all(name).iter().map(text).collect() };
        let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for name in headers.keys() {
            if let Some(key) = name.as_str().strip_prefix("impersonate-extra-") {
                extra.entry(percent_decode(key)).or_default().extend(all(name.as_str()));
            }
        }
        let user = UserInfo {
            name: first("impersonate-user"),
            uid: first("impersonate-uid"),
            groups: all("impersonate-group"),
            extra,
        };
        (user != UserInfo::default()).then_some(Wanted(user))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    AssociatedNode,
    ArbitraryNode,
    ServiceAccount,
    UserInfo,
    Legacy,
}

const ORDER: [Mode; 5] =
    [Mode::AssociatedNode, Mode::ArbitraryNode, Mode::ServiceAccount, Mode::UserInfo, Mode::Legacy];

/// The caller as whom it wants to be, if it may.
pub(crate) fn apply(
    inner: &Inner,
    mut caller: Caller,
    attributes: Attributes,
    view: &View,
) -> Result<(Caller, Attributes), Status> {
    let Some(Wanted(wanted)) = caller.wanted.take() else { return Ok((caller, attributes)) };
    if wanted.name.is_empty() {
        return Err(Status::bad_request(format!("requested {} without impersonating a user name", go_print(&wanted))));
    }
    let requester = caller.found.user.clone();
    let check = Check { inner, requester: &requester, wanted: &wanted, attributes: &attributes, view };
    let user = check.any_mode()?;
    caller.found.user = Arc::new(user);
    caller.impersonator = Some(requester);
    Ok((caller, attributes))
}

struct Check<'a> {
    inner: &'a Inner,
    requester: &'a Arc<UserInfo>,
    wanted: &'a UserInfo,
    attributes: &'a Attributes,
    view: &'a View,
}

impl Check<'_> {
    fn any_mode(&self) -> Result<UserInfo, Status> {
        let modes = &self.inner.modes.0;
        let last = modes.lock().get(&self.requester.name).copied();
        let mut refusal = None;
        for mode in last.into_iter().chain(ORDER.into_iter().filter(|m| Some(*m) != last)) {
            if !self.applies(mode) {
                continue;
            }
            match self.in_mode(mode) {
                Ok(user) => {
                    let mut modes = modes.lock();
                    if modes.len() >= REMEMBERED {
                        modes.clear();
                    }
                    modes.insert(self.requester.name.clone(), mode);
                    return Ok(user);
                }
                Err(status) => refusal = refusal.or(Some(status)),
            }
        }
        Err(refusal.unwrap_or_else(|| Status::internal("all impersonation modes failed")))
    }

    fn applies(&self, mode: Mode) -> bool {
        let (node, account) = (node_name(&self.wanted.name), split_service_account(&self.wanted.name));
        let bare = self.wanted.uid.is_empty() && self.wanted.groups.is_empty() && self.wanted.extra.is_empty();
        match mode {
            Mode::AssociatedNode => {
                let own = self.requester.extra.get(NODE_NAME).map(Vec::as_slice);
                bare && self.requester.as_service_account().is_some()
                    && node.is_some_and(|name| matches!(own, Some([one]) if one == name))
            }
            Mode::ArbitraryNode => bare && node.is_some(),
            Mode::ServiceAccount => bare && account.is_some(),
            Mode::UserInfo => node.is_none() && account.is_none(),
            Mode::Legacy => true,
        }
    }

    /// The action on the real target first, then each part of the identity.
    fn in_mode(&self, mode: Mode) -> Result<UserInfo, Status> {
        if let Some(name) = mode.name() {
            let mut action = self.attributes.clone();
            action.verb = format!("impersonate-on:{name}:{}", action.verb);
            self.ask(mode, action)?;
        }
        let mut user = self.wanted.clone();
        self.ask_name(mode, &mut user)?;
        if !user.uid.is_empty() {
            self.ask(mode, identity(mode, AUTHENTICATION, "uids", &user.uid))?;
        }
        self.ask_groups(mode)?;
        self.ask_extra(mode)?;
        if user.name == ANONYMOUS {
            ensure(&mut user.groups, UNAUTHENTICATED);
        } else if !user.in_group(UNAUTHENTICATED) {
            ensure(&mut user.groups, AUTHENTICATED);
        }
        Ok(user)
    }

    fn ask_name(&self, mode: Mode, user: &mut UserInfo) -> Result<(), Status> {
        let mut attributes = identity(mode, mode.group(), "users", &user.name);
        if let Some(name) = node_name(&self.wanted.name).filter(|_| mode != Mode::Legacy) {
            attributes.resource = "nodes".into();
            attributes.name = if mode == Mode::AssociatedNode { "*".into() } else { name.into() };
            user.groups = vec![NODES.into()];
        }
        if let Some((namespace, name)) = split_service_account(&self.wanted.name) {
            attributes.resource = "serviceaccounts".into();
            attributes.namespace = namespace.into();
            attributes.name = name.into();
            if self.wanted.groups.is_empty() {
                user.groups = vec![SERVICE_ACCOUNTS.into(), format!("{SERVICE_ACCOUNTS}:{namespace}")];
            }
        }
        self.ask(mode, attributes)
    }

    fn ask_groups(&self, mode: Mode) -> Result<(), Status> {
        let groups = &self.wanted.groups;
        let about = |name: &str| identity(mode, mode.group(), "groups", name);
        if mode != Mode::Legacy {
            if groups.iter().any(String::is_empty) {
                return Err(self.refuse(&about(""), "impersonating the empty string group is not allowed"));
            }
            if groups.iter().any(|g| g == MASTERS) {
                return Err(self.refuse(&about(MASTERS), "impersonating the system:masters group is not allowed"));
            }
            if groups.len() >= MANY && self.ask(mode, about("*")).is_ok() {
                return Ok(());
            }
        }
        groups.iter().try_for_each(|group| self.ask(mode, about(group)))
    }

    fn ask_extra(&self, mode: Mode) -> Result<(), Status> {
        let extra = &self.wanted.extra;
        let about = |key: &str, value: &str| identity(mode, AUTHENTICATION, "userextras", value).with_subresource(key);
        if mode != Mode::Legacy {
            if let Some(text) = extra.iter().find_map(|(key, values)| bad_extra(key, values)) {
                return Err(self.refuse(&about("", ""), &text));
            }
            let count: usize = extra.values().map(Vec::len).sum();
            if (extra.len() >= MANY || count >= MANY) && self.ask(mode, about("*", "*")).is_ok() {
                return Ok(());
            }
        }
        for (key, values) in extra {
            values.iter().try_for_each(|value| self.ask(mode, about(key, value)))?;
        }
        Ok(())
    }

    fn ask(&self, mode: Mode, attributes: Attributes) -> Result<(), Status> {
        let user = if mode == Mode::AssociatedNode { &without_extras(self.requester) } else { self.requester };
        let question = Question { user, attributes: &attributes };
        let decision = self.inner.parts.authorizers.authorize(&question, self.view);
        (self.inner.parts.sink)(&Record {
            user: self.requester.clone(),
            impersonator: None,
            attributes: attributes.clone(),
            decision: decision.clone(),
            secondary: true,
        });
        if decision.is_allowed() { Ok(()) } else { Err(self.refuse(&attributes, &decision.reason)) }
    }

    fn refuse(&self, attributes: &Attributes, why: &str) -> Status {
        forbidden(self.requester, attributes, why)
    }
}

impl Mode {
    /// `None`: legacy, which has no action check.
    fn name(self) -> Option<&'static str> {
        match self {
            Mode::AssociatedNode => Some("associated-node"),
            Mode::ArbitraryNode => Some("arbitrary-node"),
            Mode::ServiceAccount => Some("serviceaccount"),
            Mode::UserInfo => Some("user-info"),
            Mode::Legacy => None,
        }
    }

    /// The API group of users, groups and accounts.
    fn group(self) -> &'static str {
        if self == Mode::Legacy { "" } else { AUTHENTICATION }
    }
}

fn identity(mode: Mode, group: &str, resource: &str, name: &str) -> Attributes {
    let verb = mode.name().map_or_else(|| "impersonate".to_owned(), |name| format!("impersonate:{name}"));
    Attributes::resource(&verb, group, "v1", resource, "", name)
}

/// Of the requester's extras only their keys are shown: the answer must hold for every node.
fn without_extras(requester: &UserInfo) -> Arc<UserInfo> {
    let keys = requester.extra.keys().cloned().collect();
    Arc::new(UserInfo { extra: [(NODE_KEYS.to_owned(), keys)].into(), ..requester.clone() })
}

fn node_name(user: &str) -> Option<&str> {
    user.strip_prefix(NODE_PREFIX).filter(|name| names::dns1123_subdomain(name).is_empty())
}

fn ensure(groups: &mut Vec<String>, group: &str) {
    if !groups.iter().any(|g| g == group) {
        groups.push(group.to_owned());
    }
}

/// What the constrained modes do not take as an extra.
fn bad_extra(key: &str, values: &[String]) -> Option<String> {
    if key.is_empty() {
        return Some("impersonating the empty string key in extra is not allowed".into());
    }
    let why = match key.split_once('/') {
        None | Some((_, "")) => vec!["must be a domain-prefixed path (such as \"acme.io/foo\")".to_owned()],
        Some((domain, _)) => names::dns1123_subdomain(domain),
    };
    if let Some(why) = why.first() {
        return Some(format!(
            "impersonating an invalid key in extra is not allowed: extra.key: Invalid value: {}: {why}",
            quote(key)
        ));
    }
    if key != key.to_lowercase() {
        return Some(format!("impersonating a non-lowercase key in extra is not allowed: {}", quote(key)));
    }
    if values.is_empty() {
        return Some("impersonating empty values in extra is not allowed".into());
    }
    values.iter().any(String::is_empty).then(|| "impersonating the empty string value in extra is not allowed".into())
}

/// As Go prints the struct with `%#v`.
fn go_print(user: &UserInfo) -> String {
    let list = |items: &[String]| {
        let quoted: Vec<String> = items.iter().map(|s| quote(s)).collect();
        if quoted.is_empty() { "[]string(nil)".to_owned() } else { format!("[]string{{{}}}", quoted.join(", ")) }
    };
    let extra: Vec<String> =
        user.extra.iter().map(|(key, values)| format!("{}:{}", quote(key), list(values))).collect();
    let extra = if extra.is_empty() { "(nil)".to_owned() } else { format!("{{{}}}", extra.join(", ")) };
    format!(
        "&user.DefaultInfo{{Name:{}, UID:{}, Groups:{}, Extra:map[string][]string{extra}}}",
        quote(&user.name),
        quote(&user.uid),
        list(&user.groups)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, value.parse().unwrap());
        }
        map
    }

    #[test]
    fn headers_name_user_uid_groups_and_extras() {
        let map = headers(&[
            ("impersonate-user", "jane"),
            ("impersonate-group", "dev"),
            ("impersonate-group", "ops"),
            ("impersonate-uid", "7"),
            ("impersonate-extra-acme.com%2fproject", "blue"),
            ("impersonate-extra-scopes", "view"),
            ("impersonate-extra-scopes", "edit"),
        ]);
        let Wanted(user) = Wanted::from_headers(&map).unwrap();
        assert_eq!((user.name.as_str(), user.uid.as_str()), ("jane", "7"));
        assert_eq!(user.groups, ["dev", "ops"]);
        assert_eq!(user.extra["acme.com/project"], ["blue"]);
        assert_eq!(user.extra["scopes"], ["view", "edit"]);
    }

    #[test]
    fn an_empty_user_is_no_impersonation() {
        assert!(Wanted::from_headers(&headers(&[("impersonate-user", "")])).is_none());
        assert!(Wanted::from_headers(&headers(&[])).is_none());
        assert!(Wanted::from_headers(&headers(&[("impersonate-group", "g")])).is_some());
    }

    #[test]
    fn a_user_is_printed_as_go_prints_the_struct() {
        let user = UserInfo {
            groups: vec!["dev".into()],
            extra: [("s".to_owned(), vec!["v".to_owned()])].into(),
            ..Default::default()
        };
        let want = r#"&user.DefaultInfo{Name:"", UID:"", Groups:[]string{"dev"}, Extra:map[string][]string{"s":[]string{"v"}}}"#;
        assert_eq!(go_print(&user), want);
        assert!(go_print(&UserInfo::default()).ends_with("Groups:[]string(nil), Extra:map[string][]string(nil)}"));
    }
}
