//! Graceful deletion: which objects wait, and for how long (upstream's rest.BeforeDelete).

use document::Value;
use meta::Time;

use crate::ResourceType;

/// What a DELETE means for the object. Finalizers are looked at by the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grace {
    /// Not graceful: without finalizers it goes at once, with them it is only marked.
    None,
    /// The object has been given a deletionTimestamp and waits this many seconds; 0: it may go at once.
    Seconds(i64),
    /// It is being deleted already and nothing changes.
    Pending,
}

/// Marks a graceful object as being deleted. `requested` is `gracePeriodSeconds` of the options.
pub fn begin_deletion(resource: &ResourceType, object: &mut Value, requested: Option<i64>, now: Time) -> Grace {
    if !resource.strategy.graceful {
        return Grace::None;
    }
    if !object["metadata"]["deletionTimestamp"].is_null() {
        return shorten(object, requested);
    }
    let seconds = pod_grace(object, requested);
    let meta = object.entry("metadata");
    meta.set("deletionTimestamp", end_of_grace(now.0, seconds).to_string());
    meta.set("deletionGracePeriodSeconds", seconds);
    if let Some(generation) = meta["generation"].as_i64().filter(|g| *g > 0) {
        meta.set("generation", generation + 1);
    }
    Grace::Seconds(seconds)
}

/// A second DELETE may only shorten.
fn shorten(object: &mut Value, requested: Option<i64>) -> Grace {
    let meta = object.entry("metadata");
    let Some(current) = meta["deletionGracePeriodSeconds"].as_i64() else { return Grace::None };
    let Some(wanted) = requested.filter(|w| *w < current) else { return Grace::Pending };
    let end = Time::parse(meta["deletionTimestamp"].str()).unwrap_or_default();
    meta.set("deletionTimestamp", end_of_grace(end.0 - current, wanted).to_string());
    meta.set("deletionGracePeriodSeconds", wanted);
    Grace::Seconds(wanted)
}

/// The last time that can be read back, however long the grace is: years have four digits.
fn end_of_grace(start: i64, seconds: i64) -> Time {
    const LAST: i64 = 253_402_207_200;
    Time(start.saturating_add(seconds).min(LAST))
}

fn pod_grace(pod: &Value, requested: Option<i64>) -> i64 {
    let waits =
        !pod["spec"]["nodeName"].str().is_empty() && !matches!(pod["status"]["phase"].str(), "Failed" | "Succeeded");
    if !waits {
        return 0;
    }
    let period = requested.or(pod["spec"]["terminationGracePeriodSeconds"].as_i64()).unwrap_or_default();
    if period < 0 { 1 } else { period }
}

#[cfg(test)]
mod tests {
    use super::*;
    use document::doc;

    #[test]
    fn only_a_pod_on_a_node_waits() {
        let row = crate::find("", "v1", "pods").unwrap();
        let check = |mut pod: Value, requested: Option<i64>, grace: Grace| {
            assert_eq!(begin_deletion(row, &mut pod, requested, Time(100)), grace);
            pod
        };
        let running =
            doc!({"metadata": {"generation": 1}, "spec": {"nodeName": "n", "terminationGracePeriodSeconds": 30}});
        let marked = check(running.clone(), None, Grace::Seconds(30));
        assert_eq!(marked["metadata"]["deletionTimestamp"].str(), "1970-01-01T00:02:10Z");
        assert_eq!(marked["metadata"]["generation"].as_i64(), Some(2));
        check(running.clone(), Some(5), Grace::Seconds(5));
        check(running, Some(-1), Grace::Seconds(1));
        check(marked.clone(), Some(40), Grace::Pending);
        check(marked.clone(), None, Grace::Pending);
        let shorter = check(marked, Some(0), Grace::Seconds(0));
        assert_eq!(shorter["metadata"]["deletionTimestamp"].str(), "1970-01-01T00:01:40Z");
        check(doc!({"metadata": {}, "spec": {"terminationGracePeriodSeconds": 30}}), None, Grace::Seconds(0));
        let secrets = crate::find("", "v1", "secrets").unwrap();
        assert_eq!(begin_deletion(secrets, &mut doc!({"metadata": {}}), None, Time(0)), Grace::None);
    }
}
