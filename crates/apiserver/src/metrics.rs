//! `/metrics`: counters in the text format, under upstream's names.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use parking_lot::Mutex;

use crate::handler::Head;

/// Counters of requests.
#[derive(Default)]
pub(crate) struct Metrics {
    requests: Mutex<BTreeMap<Labels, Count>>,
}

/// One finished request.
pub(crate) struct Seen<'a> {
    pub head: &'a Head,
    pub code: u16,
    pub took: Duration,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Labels {
    verb: &'static str,
    group: &'static str,
    version: &'static str,
    resource: &'static str,
    subresource: &'static str,
    scope: &'static str,
    code: u16,
}

#[derive(Default, Clone, Copy)]
struct Count {
    requests: u64,
    seconds: f64,
}

impl Metrics {
    /// Counts under names from the tables only, so that clients cannot make up label values.
    pub(crate) fn record(&self, seen: &Seen<'_>) {
        let labels = Labels::of(seen);
        let mut requests = self.requests.lock();
        let count = requests.entry(labels).or_default();
        count.requests += 1;
        count.seconds += seen.took.as_secs_f64();
    }

    pub(crate) fn text(&self) -> String {
        let mut out = String::from(
            "# HELP apiserver_request_total [STABLE] Counter of apiserver requests.\n# TYPE apiserver_request_total counter\n",
        );
        let requests = self.requests.lock().clone();
        // writing to a String cannot fail
        for (labels, count) in &requests {
            let _ = writeln!(
                out,
                "apiserver_request_total{{code=\"{}\",{}}} {}",
                labels.code,
                labels.text(),
                count.requests
            );
        }
        out.push_str("# HELP apiserver_request_duration_seconds Response latency of requests.\n# TYPE apiserver_request_duration_seconds summary\n");
        for (labels, count) in &requests {
            let text = format!("code=\"{}\",{}", labels.code, labels.text());
            let _ = writeln!(out, "apiserver_request_duration_seconds_sum{{{text}}} {}", count.seconds);
            let _ = writeln!(out, "apiserver_request_duration_seconds_count{{{text}}} {}", count.requests);
        }
        out
    }
}

impl Labels {
    fn of(seen: &Seen<'_>) -> Labels {
        let a = &seen.head.route.attributes;
        let mut labels = Labels {
            verb: verb(a.is_resource, &a.verb),
            group: "",
            version: "",
            resource: "",
            subresource: "",
            scope: "",
            code: seen.code,
        };
        if let Some(row) = api::find(&a.group, &a.version, &a.resource).filter(|_| a.is_resource) {
            (labels.group, labels.version, labels.resource) = (row.group, row.version, row.plural);
            labels.subresource = row.subresource(&a.subresource).map_or("", |s| s.name);
            labels.scope = match (seen.head.route.named, a.namespace.is_empty()) {
                (true, _) => "resource",
                (false, false) => "namespace",
                (false, true) => "cluster",
            };
        }
        labels
    }

    fn text(&self) -> String {
        format!(
            "component=\"apiserver\",dry_run=\"\",group=\"{}\",resource=\"{}\",scope=\"{}\",subresource=\"{}\",verb=\"{}\",version=\"{}\"",
            self.group, self.resource, self.scope, self.subresource, self.verb, self.version
        )
    }
}

fn verb(is_resource: bool, verb: &str) -> &'static str {
    match (is_resource, verb) {
        (_, "get") => "GET",
        (true, "list") => "LIST",
        (true, "watch") => "WATCH",
        (true, "create") | (false, "post") => "POST",
        (true, "update") | (false, "put") => "PUT",
        (_, "patch") => "PATCH",
        (_, "delete") => "DELETE",
        (true, "deletecollection") => "DELETECOLLECTION",
        _ => "other",
    }
}
