//! `/containerLogs/{namespace}/{pod}/{container}`: the log of the attempt that the pod's status speaks of.

use std::{path::PathBuf, time::SystemTime};

use futures::FutureExt;
use http::{Response, StatusCode};
use tokio::sync::mpsc;

use super::{
    Shared,
    respond::{self, Body},
    route,
};
use crate::{
    convert,
    logs::{self, LogOptions},
    pod::{ContainerStatus, Pod},
    runtime::{self, ContainerState},
};

pub(super) async fn serve(
    shared: &Shared,
    namespace: &str,
    name: &str,
    container: &str,
    query: &str,
) -> Response<Body> {
    let options = match parse(query) {
        Ok(options) => options,
        Err(message) => return respond::text(StatusCode::UNPROCESSABLE_ENTITY, message),
    };
    let pod = shared.pods.get(namespace, name).and_then(|object| convert::pod(&object).ok());
    let Some(pod) = pod else {
        return respond::text(StatusCode::NOT_FOUND, format!("pod {name:?} not found\n"));
    };
    if pod.container(container).is_none() {
        return respond::text(StatusCode::NOT_FOUND, format!("container {container:?} not found in pod {name:?}"));
    }
    let (options, previous) = options;
    match find(shared, &pod, container, previous).await {
        Ok((id, path)) => read(shared, id, path, options),
        Err(message) => respond::text(StatusCode::BAD_REQUEST, message),
    }
}

/// The container whose log is meant: what the runtime knows comes before what the status says.
async fn find(shared: &Shared, pod: &Pod, name: &str, previous: bool) -> Result<(String, PathBuf), String> {
    let all = shared.runtime.list().await.map_err(|e| e.to_string())?.containers;
    let of_name = all.into_iter().filter(|c| c.pod.uid == pod.metadata.uid && c.name == name);
    let mut runs: Vec<runtime::ContainerStatus> = of_name.filter(|c| c.state != ContainerState::Created).collect();
    runs.sort_by_key(|c| std::cmp::Reverse(c.attempt));
    let place = |c: &runtime::ContainerStatus| (c.id.clone(), c.log_path.clone());
    let pod_name = &pod.metadata.name;
    if previous {
        let missing = || format!("previous terminated container {name:?} in pod {pod_name:?} not found");
        // in a back-off the newest run is the one that ended
        let current = matches!(runs.first().map(|c| &c.state), Some(ContainerState::Running));
        let status = status_of(pod, name);
        let waits = status.is_some_and(|s| s.state.waiting.is_some());
        let skip = usize::from(current || !waits);
        return runs.get(skip).map(place).ok_or_else(missing);
    }
    if let Some(run) = runs.first() {
        return Ok(place(run));
    }
    let Some(status) = status_of(pod, name) else {
        return Err(format!("container {name:?} in pod {pod_name:?} is not available"));
    };
    Err(match status.state.waiting.as_ref().map(|w| w.reason.as_str()) {
        Some("ErrImagePull") => {
            format!("container {name:?} in pod {pod_name:?} is waiting to start: image can't be pulled")
        }
        Some("ImagePullBackOff") => {
            format!("container {name:?} in pod {pod_name:?} is waiting to start: trying and failing to pull image")
        }
        Some(reason) => format!("container {name:?} in pod {pod_name:?} is waiting to start: {reason}"),
        None if status.state.terminated.is_some() => format!("container {name:?} in pod {pod_name:?} is terminated"),
        None => format!("container {name:?} in pod {pod_name:?} is waiting to start - no logs yet"),
    })
}

fn status_of<'a>(pod: &'a Pod, name: &str) -> Option<&'a ContainerStatus> {
    let mut all = pod.status.container_statuses.iter().chain(&pod.status.init_container_statuses);
    all.find(|s| s.name == name)
}

fn read(shared: &Shared, id: String, path: PathBuf, options: LogOptions) -> Response<Body> {
    let (out, chunks) = mpsc::channel(64);
    let runtime = shared.runtime.clone();
    tokio::spawn(async move {
        let running = || {
            let (runtime, id) = (runtime.clone(), id.clone());
            async move { matches!(runtime.status(&id).await, Ok(status) if status.state == ContainerState::Running) }
                .boxed()
        };
        if let Err(error) = logs::read(&path, &options, out.clone(), &running).await
            && error.kind() != std::io::ErrorKind::NotFound
        {
            let text = format!("failed to try resolving symlinks in path {:?}: {error}", path.display().to_string());
            let _ = out.send(text.into_bytes()).await;
        }
    });
    respond::stream(chunks)
}

/// Options and `previous`.
fn parse(query: &str) -> Result<(LogOptions, bool), String> {
    let mut options = LogOptions::default();
    let mut previous = false;
    for (name, value) in route::query(query) {
        let yes = matches!(value.as_str(), "true" | "1" | "");
        let number = || value.parse::<u64>().map_err(|_| format!("invalid value for {name}: {value:?}"));
        match name.as_str() {
            "follow" => options.follow = yes,
            "timestamps" => options.timestamps = yes,
            "previous" => previous = yes,
            "tailLines" => options.tail_lines = Some(number()?),
            "limitBytes" => options.limit_bytes = Some(number()?),
            "sinceSeconds" => options.since = Some(seconds_ago(number()?)),
            "sinceTime" => {
                meta::Time::parse(&value).ok_or_else(|| format!("invalid value for sinceTime: {value:?}"))?;
                options.since = Some(value);
            }
            "stream" if value != "All" && !value.is_empty() => options.stream = Some(value),
            _ => {}
        }
    }
    Ok((options, previous))
}

fn seconds_ago(seconds: u64) -> String {
    let at = SystemTime::now().checked_sub(std::time::Duration::from_secs(seconds)).unwrap_or(SystemTime::UNIX_EPOCH);
    crate::lifecycle::status::time(at)
}
