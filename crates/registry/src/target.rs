//! What a passage points at: the resource's row, its subresource and the key, taken from the passage and from
//! nowhere else.

use api::{ResourceType, resource::Subresource};
use meta::{Attributes, GroupResource, Key, Status};

/// The resolved object of a request.
#[derive(Clone, Copy)]
pub struct Target {
    pub resource: &'static ResourceType,
    pub subresource: Option<&'static Subresource>,
}

impl Target {
    /// # Errors
    /// 404 for a resource or subresource that is not served, 501 for one that is known but has no objects here.
    pub fn of(attributes: &Attributes) -> Result<Target, Status> {
        let resource = api::find(&attributes.group, &attributes.version, &attributes.resource)
            .ok_or_else(Status::no_such_resource)?;
        let subresource = match attributes.subresource.as_str() {
            "" => None,
            name => Some(resource.subresource(name).ok_or_else(Status::no_such_resource)?),
        };
        Ok(Target { resource, subresource })
    }

    /// The name of the subresource, "" for the object itself.
    pub fn subresource_name(&self) -> &'static str {
        self.subresource.map_or("", |s| s.name)
    }

    pub fn group_resource(&self) -> GroupResource {
        self.resource.group_resource()
    }

    /// Where an object of this resource is kept.
    ///
    /// # Errors
    /// 405 for resources that keep nothing.
    pub fn key(&self, namespace: &str, name: &str) -> Result<Key, Status> {
        let id = self.resource.resource_id().ok_or_else(Status::method_not_allowed)?;
        Ok(Key::new(id, if self.resource.namespaced { namespace } else { "" }, name))
    }
}
