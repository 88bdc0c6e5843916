//! Pulls an image: manifest (by platform), configuration, the layers that are missing; every byte is checked against
//! the digest that led to it before anything is made of it.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Seek, Write},
};

use futures::stream::{self, StreamExt, TryStreamExt};
use serde::Deserialize;

use super::{
    Auth, Image, ImageError, ImageStore, Reference,
    config::{ImageConfig, architecture},
    digest::{self, Hashing},
    reference::is_digest,
    registry::{self, Failure, Registries, Repository},
    store::refused,
};

/// Compressed bytes of one layer.
const LARGEST_LAYER: u64 = 32 << 30;
/// Layers that are fetched at a time.
const AT_ONCE: usize = 3;

/// How registries are reached.
pub(super) struct Puller(Registries);

impl Puller {
    pub(super) fn new(mirrors: &BTreeMap<String, String>) -> Result<Self, String> {
        Ok(Self(Registries::new(mirrors)?))
    }
}

#[derive(Debug, Deserialize)]
struct Manifest {
    #[serde(default, rename = "schemaVersion")]
    schema_version: u32,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
}

#[derive(Debug, Clone, Deserialize)]
struct Descriptor {
    digest: String,
    size: u64,
    platform: Option<Platform>,
}

#[derive(Debug, Clone, Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

/// Fetches what is missing of an image and registers it.
pub(super) async fn pull(
    store: &ImageStore,
    puller: &Puller,
    reference: &Reference,
    auth: Option<&Auth>,
) -> Result<Image, ImageError> {
    let pull = Pull { store, repository: puller.0.repository(reference, auth).map_err(|f| explain(reference, f))? };
    let (bytes, manifest) = pull.manifest(reference).await.map_err(|failure| explain(reference, failure))?;
    let top = digest::of(&bytes);
    pull.image(reference, &top, manifest).await
}

struct Pull<'a> {
    store: &'a ImageStore,
    repository: Repository<'a>,
}

impl Pull<'_> {
    async fn manifest(&self, reference: &Reference) -> Result<(Vec<u8>, Manifest), Failure> {
        let wanted = reference.digest.as_deref().or(reference.tag.as_deref()).unwrap_or("latest");
        let bytes = self.repository.manifest(wanted).await?;
        if let Some(digest) = &reference.digest {
            matches(&bytes, digest)?;
        }
        let manifest = parse(&bytes)?;
        Ok((bytes, manifest))
    }

    async fn image(&self, reference: &Reference, top: &str, manifest: Manifest) -> Result<Image, ImageError> {
        let explained = |failure| explain(reference, failure);
        let manifest = self.of_this_platform(manifest).await.map_err(explained)?;
        let (Some(config), Some(layers)) = (manifest.config, manifest.layers) else {
            return Err(refused(&reference.to_string(), "manifest without config and layers"));
        };
        let bytes = self.checked(&config.digest).await.map_err(explained)?;
        let parsed: ImageConfig =
            serde_json::from_slice(&bytes).map_err(|error| refused(&reference.to_string(), error))?;
        if parsed.rootfs.diff_ids.len() != layers.len() {
            return Err(refused(&reference.to_string(), "layers and diff_ids differ in number"));
        }
        let missing = layers.into_iter().zip(parsed.rootfs.diff_ids);
        let fetches = missing.map(|(layer, diff_id)| self.layer(layer, diff_id));
        let fetched = stream::iter(fetches).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await;
        fetched.map_err(explained)?;
        let mut names = vec![format!("{}@{top}", reference.repository())];
        names.extend(reference.tagged());
        let (store, config) = (self.store.clone(), bytes);
        let added = tokio::task::spawn_blocking(move || store.add_image(&config, &names)).await;
        added.map_err(|error| refused(&reference.to_string(), error))?
    }

    async fn of_this_platform(&self, manifest: Manifest) -> Result<Manifest, Failure> {
        let Some(manifests) = &manifest.manifests else { return Ok(manifest) };
        let ours = |platform: &Platform| platform.os == "linux" && platform.architecture == architecture();
        let found = manifests.iter().find(|one| one.platform.as_ref().is_some_and(ours));
        let found = found.ok_or_else(|| {
            Failure::Refused(format!("no match for platform in manifest: linux/{}: not found", architecture()))
        })?;
        valid(&found.digest)?;
        let bytes = self.repository.manifest(&found.digest).await?;
        matches(&bytes, &found.digest)?;
        parse(&bytes)
    }

    async fn checked(&self, digest: &str) -> Result<Vec<u8>, Failure> {
        valid(digest)?;
        let bytes = self.repository.small_blob(digest).await?;
        matches(&bytes, digest)?;
        Ok(bytes)
    }

    async fn layer(&self, layer: Descriptor, diff_id: String) -> Result<(), Failure> {
        valid(&layer.digest)?;
        valid(&diff_id)?;
        if self.store.has_layer(&diff_id) {
            return Ok(());
        }
        let local = |error: io::Error| Failure::Refused(format!("failed to extract layer {diff_id}: {error}"));
        let folder = self.store.temporary("").map_err(local)?;
        let path = folder.join("blob");
        let done = async {
            let file = self.download(&layer, File::create_new(&path).map_err(local)?).await?;
            let (store, digest, diff_id) = (self.store.clone(), layer.digest.clone(), diff_id.clone());
            let unpacked = tokio::task::spawn_blocking(move || unpack(&store, file, &digest, &diff_id)).await;
            unpacked.map_err(|error| Failure::Refused(error.to_string()))?.map_err(local)
        };
        let done = done.await;
        let _ = fs::remove_dir_all(&folder);
        done
    }

    async fn download(&self, layer: &Descriptor, mut file: File) -> Result<File, Failure> {
        if layer.size > LARGEST_LAYER {
            return Err(Failure::Refused(format!("layer {} has {} bytes", layer.digest, layer.size)));
        }
        let mut body = self.repository.blob(&layer.digest).await?;
        let mut count = 0;
        while let Some(data) = registry::piece(&mut body).await? {
            count += data.len() as u64;
            if count > layer.size {
                return Err(Failure::Refused(format!("layer {} is larger than its manifest says", layer.digest)));
            }
            file.write_all(&data).map_err(|error| Failure::Refused(format!("write a layer: {error}")))?;
        }
        File::open(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file)))
            .map_err(|error| Failure::Refused(format!("read a layer: {error}")))
    }
}

/// First the digest of what came, then its content.
fn unpack(store: &ImageStore, mut file: File, digest: &str, diff_id: &str) -> io::Result<()> {
    let actual = Hashing::new(&file).finish()?;
    if actual != digest {
        return Err(io::Error::other(format!("unexpected digest {actual}, expected {digest}")));
    }
    file.rewind()?;
    store.add_layer(file, diff_id)
}

fn valid(digest: &str) -> Result<(), Failure> {
    match is_digest(digest) {
        true => Ok(()),
        false => Err(Failure::Refused(format!("not a sha256 digest: {digest:?}"))),
    }
}

fn matches(bytes: &[u8], digest: &str) -> Result<(), Failure> {
    let actual = digest::of(bytes);
    match actual == digest {
        true => Ok(()),
        false => Err(Failure::Refused(format!("unexpected digest {actual}, expected {digest}"))),
    }
}

fn parse(bytes: &[u8]) -> Result<Manifest, Failure> {
    let manifest: Manifest = serde_json::from_slice(bytes).map_err(|error| Failure::Refused(error.to_string()))?;
    match manifest.schema_version {
        2 => Ok(manifest),
        other => Err(Failure::Refused(format!("manifest has schema version {other}, only 2 is supported"))),
    }
}

fn explain(reference: &Reference, failure: Failure) -> ImageError {
    let image = reference.to_string();
    match failure {
        Failure::NotFound => ImageError::NotFound { image },
        Failure::Unauthorized(cause) => ImageError::Unauthorized { image, cause },
        Failure::Unreachable(cause) => ImageError::Unreachable { image, cause },
        Failure::Refused(cause) => ImageError::Refused { image, cause },
    }
}
