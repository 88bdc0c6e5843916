//! Whether to pull an image, with which credentials, and what is said about it: upstream's image manager. The store
//! does the pulling.

use std::time::{Duration, Instant, SystemTime};

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::{
    backoff::{Backoff, go_millis},
    image::{Auth, Image, ImageError, ImageService, Reference},
    pod::Container,
    sources::Sources,
};

/// Why there is no image: the waiting reason and its message.
#[derive(Debug, PartialEq, Eq)]
pub struct PullFailure {
    pub reason: &'static str,
    pub message: String,
    /// When to try again.
    pub retry: Option<SystemTime>,
}

/// Says what happens: (is it a warning, reason, message).
pub type Say<'a> = &'a (dyn Fn(bool, &str, String) + Sync);

/// The pulls of one pod: back-off and last failure per image.
#[derive(Default)]
pub struct Pulls {
    backoff: Backoff,
    last: std::collections::HashMap<String, String>,
}

impl Pulls {
    /// Makes the container's image present as its policy says.
    pub async fn ensure(
        &mut self,
        images: &dyn ImageService,
        container: &Container,
        secrets: &Sources,
        say: Say<'_>,
    ) -> Result<Image, PullFailure> {
        let name = &container.image;
        let reference = match Reference::parse(name) {
            Ok(reference) => reference,
            Err(error) => {
                let cause = match error {
                    ImageError::InvalidName { cause, .. } => cause,
                    other => other.to_string(),
                };
                let message =
                    format!("Failed to apply default image tag {name:?}: couldn't parse image name {name:?}: {cause}");
                say(true, "InspectFailed", message.clone());
                return Err(PullFailure { reason: "InvalidImageName", message, retry: None });
            }
        };
        if container.image_pull_policy != "Always" {
            let present = images.status(name).map_err(|error| {
                let message = format!("Failed to inspect image \"\": {error}");
                say(true, "InspectFailed", message.clone());
                PullFailure { reason: "ImageInspectError", message, retry: None }
            })?;
            if let Some(image) = present {
                let message =
                    format!("Container image {name:?} already present on machine and can be accessed by the pod");
                say(false, "Pulled", message);
                return Ok(image);
            }
            if container.image_pull_policy == "Never" {
                let message = format!("Container image {name:?} is not present with pull policy of Never");
                say(true, "ErrImageNeverPull", message.clone());
                return Err(PullFailure { reason: "ErrImageNeverPull", message, retry: None });
            }
        }
        self.pull(images, name, &reference, secrets, say).await
    }

    async fn pull(
        &mut self,
        images: &dyn ImageService,
        name: &str,
        reference: &Reference,
        secrets: &Sources,
        say: Say<'_>,
    ) -> Result<Image, PullFailure> {
        if let Some(until) = self.backoff.until_from_update(name, SystemTime::now()) {
            let mut message = format!("Back-off pulling image {name:?}");
            say(false, "BackOff", message.clone());
            if let Some(last) = self.last.get(name) {
                message = format!("{message}: {last}");
            }
            return Err(PullFailure { reason: "ImagePullBackOff", message, retry: Some(until) });
        }
        say(false, "Pulling", format!("Pulling image {name:?}"));
        let started = Instant::now();
        match try_all(images, name, &credentials(reference, secrets)).await {
            Ok(image) => {
                let took = go_millis(started.elapsed());
                let size = image.size;
                let text = format!(
                    "Successfully pulled image {name:?} in {took} ({took} including waiting). Image size: {size} bytes."
                );
                say(false, "Pulled", text);
                self.backoff.reset(name);
                Ok(image)
            }
            Err(error) => {
                let now = SystemTime::now();
                say(true, "Failed", format!("Failed to pull image {name:?}: {error}"));
                self.backoff.next(name, now);
                self.last.insert(name.to_owned(), format!("ErrImagePull: {error}"));
                // the next look finds the back-off, and says so
                let retry = Some(now + Duration::from_secs(3));
                Err(PullFailure { reason: "ErrImagePull", message: error.to_string(), retry })
            }
        }
    }
}

/// Tries the credentials one after the other, or none.
async fn try_all(images: &dyn ImageService, name: &str, credentials: &[Auth]) -> Result<Image, ImageError> {
    let Some((last, earlier)) = credentials.split_last() else { return images.pull(name, None).await };
    for auth in earlier {
        if let Ok(image) = images.pull(name, Some(auth)).await {
            return Ok(image);
        }
    }
    images.pull(name, Some(last)).await
}

/// Credentials in the pod's imagePullSecrets that are meant for the image's registry, the most specific first.
fn credentials(reference: &Reference, secrets: &Sources) -> Vec<Auth> {
    let mut found: Vec<(usize, Auth)> = Vec::new();
    for secret in secrets.secrets.values() {
        let config = match secret.kind.as_str() {
            "kubernetes.io/dockerconfigjson" => {
                secret.data.get(".dockerconfigjson").and_then(|d| json(d)).map(|mut c| c["auths"].take())
            }
            "kubernetes.io/dockercfg" => secret.data.get(".dockercfg").and_then(|d| json(d)),
            _ => None,
        };
        let Some(serde_json::Value::Object(registries)) = config else { continue };
        for (registry, entry) in registries {
            let key = registry_key(&registry);
            if matches(&key, reference)
                && let Some(auth) = auth(&entry)
            {
                found.push((key.len(), auth));
            }
        }
    }
    found.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
    found.into_iter().map(|(_, auth)| auth).collect()
}

fn json(data: &[u8]) -> Option<serde_json::Value> {
    serde_json::from_slice(data).ok()
}

/// `https://index.docker.io/v1/` is Docker Hub; scheme and API version do not count.
fn registry_key(registry: &str) -> String {
    let bare = registry.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
    let bare = bare.trim_end_matches("/v1").trim_end_matches("/v2");
    match bare.split('/').next() {
        Some("index.docker.io" | "registry-1.docker.io" | "docker.io") => {
            bare.replacen(bare.split('/').next().unwrap_or_default(), "docker.io", 1)
        }
        _ => bare.to_owned(),
    }
}

/// Host (with `*` for a label) and, if given, the beginning of the path.
fn matches(key: &str, reference: &Reference) -> bool {
    let (host, path) = key.split_once('/').unwrap_or((key, ""));
    let (wanted, given): (Vec<&str>, Vec<&str>) = (host.split('.').collect(), reference.domain.split('.').collect());
    let host_fits = wanted.len() == given.len() && wanted.iter().zip(&given).all(|(w, g)| *w == "*" || w == g);
    let path_fits = path.is_empty() || reference.path == path || reference.path.starts_with(&format!("{path}/"));
    host_fits && path_fits
}

fn auth(entry: &serde_json::Value) -> Option<Auth> {
    let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    if let Some(encoded) = entry["auth"].as_str().filter(|a| !a.is_empty()) {
        let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
        let (username, password) = decoded.split_once(':')?;
        return Some(Auth { username: username.into(), password: password.trim_end_matches('\0').into() });
    }
    let (username, password) = (text("username"), text("password"));
    (!username.is_empty()).then_some(Auth { username, password })
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;
    use crate::{fake::FakeImages, sources::Secret};

    async fn check(
        pulls: &mut Pulls,
        images: &FakeImages,
        image: &str,
        policy: &str,
        want: Result<(), &str>,
        said: &[&str],
    ) {
        let container = Container { image: image.into(), image_pull_policy: policy.into(), ..Default::default() };
        let log = Mutex::new(Vec::new());
        let say = |_: bool, reason: &str, message: String| log.lock().push(format!("{reason}: {message}"));
        let got = pulls.ensure(images, &container, &Sources::default(), &say).await;
        assert_eq!(
            got.map(drop).map_err(|f| format!("{}: {}", f.reason, f.message)),
            want.map_err(Into::into),
            "{image}"
        );
        let log = log.into_inner();
        assert_eq!(log.len(), said.len(), "{log:?}");
        for (line, want) in log.iter().zip(said) {
            assert!(line.starts_with(want), "{line}");
        }
    }

    #[tokio::test]
    async fn policies_and_failures_are_said_in_upstreams_words() {
        let (images, mut pulls) = (FakeImages::default(), Pulls::default());
        images.add("here");
        images.publish("there");
        let present = "Pulled: Container image \"here\" already present on machine and can be accessed by the pod";
        check(&mut pulls, &images, "here", "IfNotPresent", Ok(()), &[present]).await;
        check(&mut pulls, &images, "here", "Never", Ok(()), &[present]).await;
        let never = "ErrImageNeverPull: Container image \"there\" is not present with pull policy of Never";
        check(&mut pulls, &images, "there", "Never", Err(never), &[never]).await;
        let pulled = [
            "Pulling: Pulling image \"there\"",
            "Pulled: Successfully pulled image \"there\" in 0s (0s including waiting). Image size: 1000 bytes.",
        ];
        check(&mut pulls, &images, "there", "Always", Ok(()), &pulled).await;
        let cause = "failed to pull and unpack image \"no\": failed to resolve reference \"no\": no: not found";
        let failed = ["Pulling: Pulling image \"no\"", &format!("Failed: Failed to pull image \"no\": {cause}")];
        check(&mut pulls, &images, "no", "IfNotPresent", Err(&format!("ErrImagePull: {cause}")), &failed).await;
        let waiting = format!("ImagePullBackOff: Back-off pulling image \"no\": ErrImagePull: {cause}");
        check(&mut pulls, &images, "no", "IfNotPresent", Err(&waiting), &["BackOff: Back-off pulling image \"no\""])
            .await;
        let bad = "Failed to apply default image tag \"X\": couldn't parse image name \"X\": invalid reference format: repository name must be lowercase";
        check(
            &mut pulls,
            &images,
            "X",
            "Always",
            Err(&format!("InvalidImageName: {bad}")),
            &[&format!("InspectFailed: {bad}")],
        )
        .await;
    }

    #[test]
    fn credentials_are_chosen_by_registry() {
        let config = br#"{"auths":{"https://index.docker.io/v1/":{"auth":"dTpw"},"r.example:5000/team":{"username":"v","password":"q"},"*.x.io":{"auth":"dzpyOnM="}}}"#;
        let mut sources = Sources::default();
        let data = [(".dockerconfigjson".to_owned(), config.to_vec())].into();
        sources.secrets.insert("s".into(), Secret { kind: "kubernetes.io/dockerconfigjson".into(), data });
        for (image, want) in [
            ("busybox", Some(("u", "p"))),
            ("r.example:5000/team/app", Some(("v", "q"))),
            ("r.example:5000/teams/app", None),
            ("a.x.io/b", Some(("w", "r:s"))),
            ("quay.io/b", None),
        ] {
            let got = credentials(&Reference::parse(image).unwrap(), &sources);
            let got = got.first().map(|a| (a.username.as_str(), a.password.as_str()));
            assert_eq!(got, want, "{image}");
        }
    }
}
