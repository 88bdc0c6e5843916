//! persistentvolume-protection-controller: a volume stays while it is bound.

use std::sync::Arc;

use client::{Api, Informer, PERSISTENT_VOLUMES, Scope, WorkQueue};

use super::{Due, add, live, remove};
use crate::driver::{Outcome, Tasks, Work};
use crate::{Config, World};

const FINALIZER: &str = "kubernetes.io/pv-protection";

struct Volumes {
    api: Api,
    /// Is anything due?
    _volumes: Informer<bool>,
}

pub(crate) fn start(tasks: &mut Tasks, _: &Config, world: &World) {
    let volumes = Informer::start(&world.reader, Scope::all(PERSISTENT_VOLUMES), |object| {
        Due::of(&client::object::item(object), FINALIZER) != Due::Nothing
    });
    let queue = WorkQueue::new();
    let changed = queue.clone();
    volumes.on_change(move |change| {
        if change.new.as_ref().is_some_and(|new| new.facts) {
            changed.add(change.key.name.to_string());
        }
    });
    tasks.work(1, &queue, &Arc::new(Volumes { api: world.api.clone(), _volumes: volumes }));
}

impl Work<String> for Volumes {
    const NAME: &'static str = "persistentvolume-protection-controller";

    async fn sync(&self, name: String) -> Outcome {
        let Some(volume) = live(&self.api, &PERSISTENT_VOLUMES, "", &name).await? else { return Ok(None) };
        match Due::of(&volume, FINALIZER) {
            Due::Nothing => {}
            Due::Add => add(PERSISTENT_VOLUMES, volume, FINALIZER).perform(&self.api).await?,
            Due::Remove if volume["status"]["phase"].str() == "Bound" => {}
            Due::Remove => remove(PERSISTENT_VOLUMES, volume, FINALIZER).perform(&self.api).await?,
        }
        Ok(None)
    }
}
