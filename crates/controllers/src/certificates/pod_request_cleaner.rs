//! podcertificaterequest-cleaner-controller: a PodCertificateRequest goes a quarter of an hour after it was made, whatever
//! became of it.

use std::sync::Arc;
use std::time::Duration;

use client::{Api, Informer, Resource, Scope, WorkQueue};
use meta::Time;

use crate::command::Command;
use crate::driver::{Outcome, Tasks, Work};
use crate::{Config, World};

const REQUESTS: Resource =
    Resource::new("certificates.k8s.io", "v1", "podcertificaterequests", "PodCertificateRequest", true);
const LIFE: i64 = 15 * 60;

/// When it was made, and its uid.
type Facts = (i64, Box<str>);

struct Cleaner {
    api: Api,
    requests: Informer<Facts>,
}

pub(crate) fn start(tasks: &mut Tasks, _: &Config, world: &World) {
    let facts = |object: &Arc<document::Object>| {
        let made = client::object::item(object)["metadata"]["creationTimestamp"].str().to_owned();
        (Time::parse(&made).map_or(i64::MAX, |t| t.0), object.uid.clone())
    };
    let requests = Informer::start(&world.reader, Scope::all(REQUESTS), facts);
    let queue = WorkQueue::new();
    let made = queue.clone();
    requests.on_change(move |change| {
        if change.old.is_none() {
            made.add((change.key.namespace.to_string(), change.key.name.to_string()));
        }
    });
    tasks.work(1, &queue, &Arc::new(Cleaner { api: world.api.clone(), requests }));
}

impl Work<(String, String)> for Cleaner {
    const NAME: &'static str = "podcertificaterequest-cleaner-controller";

    async fn sync(&self, (namespace, name): (String, String)) -> Outcome {
        let Some(known) = self.requests.get(&namespace, &name) else { return Ok(None) };
        let (made, uid) = &known.facts;
        if let Some(left) = left(*made, Time::now()) {
            return Ok(Some(left));
        }
        let uid = uid.to_string();
        let delete = Command::Delete { resource: REQUESTS, namespace, name, uid, propagation: "Background" };
        delete.perform(&self.api).await.map(|()| None)
    }
}

/// How long it may still stay.
fn left(made: i64, now: Time) -> Option<Duration> {
    let seconds = made.saturating_add(LIFE).saturating_sub(now.0);
    u64::try_from(seconds).ok().filter(|s| *s > 0).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_lives_a_quarter_of_an_hour() {
        assert_eq!(left(0, Time(LIFE - 1)), Some(Duration::from_secs(1)));
        assert_eq!(left(0, Time(LIFE)), None);
        assert_eq!(left(0, Time(LIFE * 2)), None);
    }
}
