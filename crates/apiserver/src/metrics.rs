//! `/metrics` and `/metrics/slis`: upstream's names, labels and bounds, as far as there is something to count. Counting is
//! cheap (no lock, no allocation on the way of an ordinary request); the text is made when it is asked for.

mod process;
mod requests;
mod text;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use meta::metrics::{Counter, Histogram};
use parking_lot::{Mutex, RwLock};

use crate::handler::Handler;
use requests::Owned;
pub(crate) use requests::{Finished, Labels, Requests};
use text::{Family, Page};

pub(crate) use process::start_time;

const MS: u64 = 1_000_000;
/// From a millisecond on, each bound twice the one before.
const ACCESS: [u64; 15] = {
    let mut bounds = [MS; 15];
    let mut n = 1;
    while n < 15 {
        bounds[n] = bounds[n - 1] * 2;
        n += 1;
    }
    bounds
};
const EVENT_SIZES: [u64; 8] = [1 << 10, 1 << 11, 1 << 12, 1 << 13, 1 << 14, 1 << 15, 1 << 16, 1 << 17];

/// Names that count for themselves; all others are `email_id` or `other`.
const USERS: [&str; 7] =
    ["admin", "client", "kube_proxy", "kubelet", "system:serviceaccount:kube-system:default", "email_id", "other"];
/// A refusal is always an error, as upstream's invalid tokens are; `failure` is not counted.
const AUTHENTICATION: [&str; 2] = ["success", "error"];
const AUTHORIZATION: [&str; 4] = ["allowed", "denied", "no-opinion", "error"];

/// How authorization ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Authorization {
    Allowed = 0,
    NoOpinion = 2,
    Error = 3,
}

/// Sizes of the events that watches of one resource were sent; their number is the count of events.
pub(crate) type Events = Histogram<9>;

/// Everything that is counted by the API server itself.
pub(crate) struct Metrics {
    pub(crate) requests: Requests,
    pub(crate) tls_handshake_errors: Counter,
    users: [Counter; USERS.len()],
    authentication: [Histogram<16>; AUTHENTICATION.len()],
    authorization: [Histogram<16>; AUTHORIZATION.len()],
    /// By group, version and resource.
    events: RwLock<HashMap<[&'static str; 3], Arc<Events>>>,
    long_running: Mutex<BTreeMap<Owned, i64>>,
    terminations: Mutex<BTreeMap<(Owned, u16), u64>>,
    /// Group, version, resource, subresource.
    deprecated: Mutex<BTreeSet<[&'static str; 4]>>,
    /// By check and kind.
    checks: Mutex<BTreeMap<(&'static str, &'static str), Check>>,
}

#[derive(Clone, Copy, Default)]
struct Check {
    passes: bool,
    passed: u64,
    failed: u64,
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics {
            requests: Requests::default(),
            tls_handshake_errors: Counter::default(),
            users: Default::default(),
            authentication: std::array::from_fn(|_| Histogram::new(&ACCESS)),
            authorization: std::array::from_fn(|_| Histogram::new(&ACCESS)),
            events: RwLock::default(),
            long_running: Mutex::default(),
            terminations: Mutex::default(),
            deprecated: Mutex::default(),
            checks: Mutex::default(),
        }
    }
}

impl Metrics {
    pub(crate) fn authenticated(&self, user: &str, took: Duration) {
        let known = USERS[..5].iter().position(|known| *known == user);
        let at = known.unwrap_or(if user.contains('@') { 5 } else { 6 });
        self.users[at].inc();
        self.authentication[0].took(took);
    }

    pub(crate) fn unauthenticated(&self, took: Duration) {
        self.authentication[1].took(took);
    }

    pub(crate) fn authorized(&self, outcome: Authorization, took: Duration) {
        self.authorization[outcome as usize].took(took);
    }

    /// Where the events of a resource's watches are counted.
    pub(crate) fn events(&self, group: &'static str, version: &'static str, resource: &'static str) -> Arc<Events> {
        let key = [group, version, resource];
        if let Some(found) = self.events.read().get(&key) {
            return found.clone();
        }
        self.events.write().entry(key).or_insert_with(|| Arc::new(Histogram::new(&EVENT_SIZES))).clone()
    }

    /// A long-running request begins (1) or ends (-1).
    pub(crate) fn long_running(&self, labels: &Labels<'_>, change: i64) {
        *self.long_running.lock().entry(Owned::of(labels)).or_default() += change;
    }

    /// A request was ended in self-defence.
    pub(crate) fn terminated(&self, labels: &Labels<'_>, code: u16) {
        *self.terminations.lock().entry((Owned::of(labels), code)).or_default() += 1;
    }

    pub(crate) fn deprecated(&self, row: &'static api::ResourceType, subresource: &'static str) {
        self.deprecated.lock().insert([row.group, row.version, row.plural, subresource]);
    }

    pub(crate) fn checked(&self, check: &'static str, kind: &'static str, passes: bool) {
        let mut checks = self.checks.lock();
        let entry = checks.entry((check, kind)).or_default();
        entry.passes = passes;
        *(if passes { &mut entry.passed } else { &mut entry.failed }) += 1;
    }

    /// `DELETE /metrics`.
    pub(crate) fn reset(&self) {
        self.requests.reset();
        self.tls_handshake_errors.reset();
        self.users.iter().for_each(Counter::reset);
        self.authentication.iter().chain(&self.authorization).for_each(Histogram::reset);
        // not cleared: open watches go on counting there
        self.events.read().values().for_each(|events| events.reset());
        self.terminations.lock().clear();
        self.deprecated.lock().clear();
    }

    /// `DELETE /metrics/slis`.
    pub(crate) fn reset_slis(&self) {
        self.checks.lock().clear();
    }

    /// The body of `/metrics/slis`.
    pub(crate) fn slis(&self) -> String {
        let mut page = Page::default();
        let mut now =
            Family::gauge("kubernetes_healthcheck", "[STABLE] This metric records the result of a single healthcheck.");
        let mut total = Family::counter(
            "kubernetes_healthchecks_total",
            "[STABLE] This metric records the results of all healthcheck.",
        );
        for ((name, kind), check) in self.checks.lock().iter() {
            now.sample(&[("name", name), ("type", kind)], f64::from(u8::from(check.passes)));
            for (status, count) in [("error", check.failed), ("success", check.passed)] {
                if count > 0 {
                    total.sample(&[("name", name), ("status", status), ("type", kind)], count as f64);
                }
            }
        }
        page.add(now);
        page.add(total);
        if let Some(start) = start_time() {
            let help = "[ALPHA] Start time of the process since unix epoch in seconds.";
            page.number("gauge", "process_start_time_seconds", help, start);
        }
        page.text()
    }

    fn add(&self, page: &mut Page) {
        self.requests.add(page);
        page.number(
            "counter",
            "lanyard_requests_without_series_total",
            "[ALPHA] Number of requests that were not counted because there were too many combinations of labels.",
            self.requests.lost() as f64,
        );
        let mut users = Family::counter(
            "authenticated_user_requests",
            "[ALPHA] Counter of authenticated requests broken out by username.",
        );
        for (name, count) in USERS.iter().zip(&self.users).filter(|(_, count)| count.get() > 0) {
            users.sample(&[("username", name)], count.get() as f64);
        }
        page.add(users);
        add_outcomes(
            page,
            Family::counter("authentication_attempts", "[ALPHA] Counter of authenticated attempts."),
            Family::histogram(
                "authentication_duration_seconds",
                "[ALPHA] Authentication duration in seconds broken out by result.",
            ),
            AUTHENTICATION.iter().zip(&self.authentication),
        );
        add_outcomes(
            page,
            Family::counter(
                "authorization_attempts_total",
                "[ALPHA] Counter of authorization attempts broken down by result. It can be either 'allowed', 'denied', 'no-opinion' or 'error'.",
            ),
            Family::histogram(
                "authorization_duration_seconds",
                "[ALPHA] Authorization duration in seconds broken out by result.",
            ),
            AUTHORIZATION.iter().zip(&self.authorization),
        );
        page.number(
            "counter",
            "apiserver_tls_handshake_errors_total",
            "[ALPHA] Number of requests dropped with 'TLS handshake error from' error",
            self.tls_handshake_errors.get() as f64,
        );
        self.add_events(page);
        self.add_rare(page);
    }

    fn add_events(&self, page: &mut Page) {
        let mut total =
            Family::counter("apiserver_watch_events_total", "[BETA] Number of events sent in watch clients");
        let mut sizes =
            Family::histogram("apiserver_watch_events_sizes", "[BETA] Watch event size distribution in bytes");
        for ([group, version, resource], events) in self.events.read().iter() {
            let all = events.read();
            if all.count() > 0 {
                let labels = [("group", *group), ("resource", *resource), ("version", *version)];
                total.sample(&labels, all.count() as f64);
                sizes.distribution(&labels, &EVENT_SIZES.map(|s| s as f64), &all, 1.0);
            }
        }
        page.add(total);
        page.add(sizes);
    }

    fn add_rare(&self, page: &mut Page) {
        let mut family = Family::gauge(
            "apiserver_longrunning_requests",
            "[STABLE] Gauge of all active long-running apiserver requests broken out by verb, group, version, resource, scope and component. Not all requests are tracked this way.",
        );
        for (labels, now) in self.long_running.lock().iter() {
            family.sample(&requests::without_dry_run(&labels.labels()), *now as f64);
        }
        page.add(family);
        let mut family = Family::counter(
            "apiserver_request_terminations_total",
            "[ALPHA] Number of requests which apiserver terminated in self-defense.",
        );
        for ((labels, code), count) in self.terminations.lock().iter() {
            let code = code.to_string();
            let mut all = vec![("code", code.as_str())];
            let labels = labels.labels();
            all.extend(requests::without_dry_run(&labels));
            family.sample(&all, *count as f64);
        }
        page.add(family);
        let mut family = Family::gauge(
            "apiserver_requested_deprecated_apis",
            "[STABLE] Gauge of deprecated APIs that have been requested, broken out by API group, version, resource, subresource, and removed_release.",
        );
        for [group, version, resource, subresource] in self.deprecated.lock().iter() {
            let labels = [
                ("group", *group),
                ("removed_release", ""),
                ("resource", *resource),
                ("subresource", *subresource),
                ("version", *version),
            ];
            family.sample(&labels, 1.0);
        }
        page.add(family);
    }
}

/// How often and how long, by outcome.
fn add_outcomes<'a>(
    page: &mut Page,
    mut attempts: Family,
    mut durations: Family,
    outcomes: impl Iterator<Item = (&'a &'static str, &'a Histogram<16>)>,
) {
    for (result, histogram) in outcomes {
        let all = histogram.read();
        if all.count() > 0 {
            attempts.sample(&[("result", result)], all.count() as f64);
            durations.distribution(&[("result", result)], &ACCESS.map(|ns| ns as f64 / 1e9), &all, 1e9);
        }
    }
    page.add(attempts);
    page.add(durations);
}

/// The body of `/metrics`.
pub(crate) fn text(handler: &Handler) -> String {
    let mut page = Page::default();
    handler.metrics.add(&mut page);
    process::add(&mut page);
    add_in_flight(&mut page, handler.limits.peaks());
    add_access(&mut page, handler);
    add_objects(&mut page, handler);
    add_build(&mut page, &handler.config.version);
    page.text()
}

fn add_in_flight(page: &mut Page, (reading, writing): (usize, usize)) {
    let mut now = Family::gauge(
        "apiserver_current_inflight_requests",
        "[STABLE] Maximal number of currently used inflight request limit of this apiserver per request kind in last second.",
    );
    let mut queued = Family::gauge(
        "apiserver_current_inqueue_requests",
        "[ALPHA] Maximal number of queued requests in this apiserver per request kind in last second.",
    );
    for (kind, count) in [("mutating", writing), ("readOnly", reading)] {
        now.sample(&[("request_kind", kind)], count as f64);
        queued.sample(&[("request_kind", kind)], 0.0);
    }
    page.add(now);
    page.add(queued);
}

/// What the deciders count for themselves.
fn add_access(page: &mut Page, handler: &Handler) {
    let gate = handler.registry.gate();
    let mut decisions = Family::counter(
        "apiserver_authorization_decisions_total",
        "[ALPHA] Total number of terminal decisions made by an authorizer split by authorizer type, name, and decision.",
    );
    for made in gate.authorizers().decisions() {
        let labels = [("decision", made.decision), ("name", made.name), ("type", made.type_)];
        decisions.sample(&labels, made.count as f64);
    }
    page.add(decisions);
    let tokens = gate.authenticators().tokens();
    for (name, help, counter) in [
        ("serviceaccount_legacy_tokens_total", "[BETA] Cumulative legacy service account tokens used", &tokens.legacy),
        (
            "serviceaccount_stale_tokens_total",
            "[BETA] Cumulative stale projected service account tokens used",
            &tokens.stale,
        ),
        (
            "serviceaccount_legacy_manual_token_uses_total",
            "[ALPHA] Cumulative manually created legacy tokens used",
            &tokens.legacy_manual,
        ),
        (
            "serviceaccount_legacy_auto_token_uses_total",
            "[ALPHA] Cumulative auto-generated legacy tokens used",
            &tokens.legacy_auto,
        ),
        (
            "serviceaccount_invalid_legacy_auto_token_uses_total",
            "[ALPHA] Cumulative invalid auto-generated legacy tokens used",
            &tokens.legacy_invalid,
        ),
        (
            "serviceaccount_valid_tokens_total",
            "[BETA] Cumulative valid projected service account tokens used",
            &tokens.valid,
        ),
    ] {
        page.number("counter", name, help, counter.get() as f64);
    }
    let mut lives = Family::histogram(
        "apiserver_client_certificate_expiration_seconds",
        "[ALPHA] Distribution of the remaining lifetime on the certificate used to authenticate a request.",
    );
    let (bounds, all) = gate.authenticators().certificate_lives();
    lives.distribution(&[], &bounds.iter().map(|b| *b as f64).collect::<Vec<_>>(), &all, 1.0);
    page.add(lives);
}

fn add_objects(page: &mut Page, handler: &Handler) {
    let view = handler.registry.store().view();
    let mut family = Family::gauge(
        "apiserver_resource_objects",
        "[ALPHA] Number of stored objects at the time of last check split by kind. In case of a fetching error, the value will be -1.",
    );
    let mut seen = BTreeSet::new();
    for row in api::resources() {
        if let Some(id) = row.resource_id().filter(|id| seen.insert(id.clone())) {
            family.sample(&[("group", row.group), ("resource", row.plural)], view.count(&id) as f64);
        }
    }
    page.add(family);
}

fn add_build(page: &mut Page, own: &str) {
    let mut build = Family::gauge(
        "kubernetes_build_info",
        "[BETA] A metric with a constant '1' value labeled by major, minor, git version, git commit, git tree state, build date, Go version, and compiler from which Kubernetes was built, and platform on which it is running.",
    );
    let version = format!("v1.37.2+lanyard.{own}");
    build.sample(
        &[
            ("build_date", "1970-01-01T00:00:00Z"),
            ("compiler", "rustc"),
            ("git_commit", option_env!("LANYARD_COMMIT").unwrap_or("unknown")),
            ("git_tree_state", "clean"),
            ("git_version", &version),
            ("go_version", "none"),
            ("major", "1"),
            ("minor", "37"),
            ("platform", concat!("linux/", env!("LANYARD_ARCH"))),
        ],
        1.0,
    );
    page.add(build);
    let mut compatible = Family::gauge(
        "version_info",
        "[ALPHA] Provides the compatibility version info of the component. The component label is the name of the component, usually kube, but is relevant for aggregated-apiservers.",
    );
    let labels = [("binary", "1.37.2"), ("component", "kube"), ("emulation", "1.37"), ("min_compat", "1.36")];
    compatible.sample(&labels, 1.0);
    page.add(compatible);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_counted_by_few_names() {
        let metrics = Metrics::default();
        for (user, want) in [("admin", 0), ("system:serviceaccount:kube-system:default", 4), ("a@b", 5), ("jane", 6)] {
            let before = metrics.users[want].get();
            metrics.authenticated(user, Duration::from_millis(1));
            assert_eq!(metrics.users[want].get(), before + 1, "{user}");
        }
        let mut page = Page::default();
        metrics.add(&mut page);
        let text = page.text();
        assert!(text.contains("authentication_attempts{result=\"success\"} 4\n"), "{text}");
        assert!(text.contains("authentication_duration_seconds_bucket{result=\"success\",le=\"0.001\"} 4\n"), "{text}");
        assert!(
            text.contains("authentication_duration_seconds_bucket{result=\"success\",le=\"16.384\"} 4\n"),
            "{text}"
        );
    }

    #[test]
    fn open_watches_are_counted_after_a_reset_too() {
        let metrics = Metrics::default();
        let watch = metrics.events("", "v1", "pods");
        watch.observe(10);
        metrics.reset();
        assert_eq!(watch.read().count(), 0);
        watch.observe(10);
        assert_eq!(metrics.events("", "v1", "pods").read().count(), 1);
    }

    #[test]
    fn the_slis_are_the_results_of_checks() {
        let metrics = Metrics::default();
        metrics.checked("ping", "readyz", true);
        metrics.checked("ping", "readyz", false);
        let text = metrics.slis();
        assert!(text.contains("kubernetes_healthcheck{name=\"ping\",type=\"readyz\"} 0\n"), "{text}");
        assert!(
            text.contains("kubernetes_healthchecks_total{name=\"ping\",status=\"error\",type=\"readyz\"} 1\n"),
            "{text}"
        );
    }
}
