//! volumeattributesclass-protection-controller: a VolumeAttributesClass stays while a volume or a claim has to do with
//! it. Those are followed once there is a class that is to go.

use std::sync::{Arc, OnceLock};

use client::{
    Api, Informer, ListOptions, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, Resource, Scope,
    VOLUME_ATTRIBUTES_CLASSES, WorkQueue,
};
use meta::Status;

use super::{Due, add, attributes_classes, live, remove};
use crate::driver::{Outcome, Tasks, Work};
use crate::{Config, World};

const FINALIZER: &str = "kubernetes.io/vac-protection";
const USERS: [Resource; 2] = [PERSISTENT_VOLUMES, PERSISTENT_VOLUME_CLAIMS];

struct Classes {
    reader: Api,
    api: Api,
    /// Is anything due?
    _classes: Informer<bool>,
    /// Names of the classes that volumes and claims use.
    users: OnceLock<Vec<Informer<Vec<String>>>>,
    queue: WorkQueue<String>,
}

pub(crate) fn start(tasks: &mut Tasks, _: &Config, world: &World) {
    let classes = Informer::start(&world.reader, Scope::all(VOLUME_ATTRIBUTES_CLASSES), |object| {
        Due::of(&client::object::item(object), FINALIZER) != Due::Nothing
    });
    let queue = WorkQueue::new();
    let changed = queue.clone();
    classes.on_change(move |change| {
        if change.new.as_ref().is_some_and(|new| new.facts) {
            changed.add(change.key.name.to_string());
        }
    });
    let work = Classes {
        reader: world.reader.clone(),
        api: world.api.clone(),
        _classes: classes,
        users: OnceLock::new(),
        queue: queue.clone(),
    };
    tasks.work(1, &queue, &Arc::new(work));
}

impl Work<String> for Classes {
    const NAME: &'static str = "volumeattributesclass-protection-controller";

    async fn sync(&self, name: String) -> Outcome {
        let Some(class) = live(&self.api, &VOLUME_ATTRIBUTES_CLASSES, "", &name).await? else { return Ok(None) };
        match Due::of(&class, FINALIZER) {
            Due::Nothing => {}
            Due::Add => add(VOLUME_ATTRIBUTES_CLASSES, class, FINALIZER).perform(&self.api).await?,
            Due::Remove if self.is_used(&name).await? => {}
            Due::Remove => remove(VOLUME_ATTRIBUTES_CLASSES, class, FINALIZER).perform(&self.api).await?,
        }
        Ok(None)
    }
}

impl Classes {
    async fn is_used(&self, name: &str) -> Result<bool, Status> {
        for informer in self.users.get_or_init(|| USERS.iter().map(|resource| self.follow(resource)).collect()) {
            informer.synced().await;
        }
        for resource in &USERS {
            let list = self.reader.list(resource, None, &ListOptions::default()).await?;
            let uses = |object| attributes_classes(&client::object::item(object)).iter().any(|class| class == name);
            if list.items.iter().any(|object| uses(object)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Looks again at classes that an object does not use any more.
    fn follow(&self, resource: &Resource) -> Informer<Vec<String>> {
        let users = Informer::start(&self.reader, Scope::all(resource.clone()), |object| {
            attributes_classes(&client::object::item(object))
        });
        let queue = self.queue.clone();
        users.on_change(move |change| {
            let kept = change.new.as_ref().map(|new| &new.facts);
            let before = change.old.iter().flat_map(|old| &old.facts);
            for class in before.filter(|class| kept.is_none_or(|kept| !kept.contains(class))) {
                queue.add(class.clone());
            }
        });
        users
    }
}
