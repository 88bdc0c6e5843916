//! Logs, exec, attach and port-forward of pods: the request goes on to the kubelet of the pod's node, its answer comes
//! back as it is.

use meta::Status;

use crate::resource::Call;
use crate::respond::Reply;

/// # Errors
/// What is not there or not built.
pub(crate) async fn answer(call: &Call<'_>, _extensions: http::Extensions) -> Result<Reply, Status> {
    let a = &call.head.route.attributes;
    Err(Status::not_implemented(format!("{}/{} is not built yet", a.resource, a.subresource)))
}
