//! Imports what `docker save`, `skopeo copy docker-archive:` and `oci-archive:` write, and image tars of our own making.
//!
//! The archive's files are laid out by number in a temporary folder, so that no name of it touches the file system.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufReader, Read},
    path::{Component, Path, PathBuf},
};

use serde::Deserialize;
use tar::{Archive, EntryType};

use super::{
    Image, ImageError, ImageStore, Reference,
    config::{ImageConfig, architecture},
    digest::{self, Hashing},
    reference::is_digest,
    store::refused,
};

/// A configuration or manifest is not larger.
const LARGEST_JSON: u64 = 8 << 20;

/// A reader of the plain content, whatever it is packed with.
pub(super) fn decompress<'a>(mut reader: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut magic = Vec::with_capacity(4);
    (&mut reader).take(4).read_to_end(&mut magic)?;
    let whole = io::Cursor::new(magic.clone()).chain(reader);
    match magic[..] {
        [0x1f, 0x8b, ..] => Ok(Box::new(flate2::read::MultiGzDecoder::new(BufReader::with_capacity(64 << 10, whole)))),
        [0x28, 0xb5, 0x2f, 0xfd] => Ok(Box::new(zstd::Decoder::new(whole)?)),
        _ => Ok(Box::new(BufReader::with_capacity(64 << 10, whole))),
    }
}

/// Takes every image of the archive.
pub(super) fn import(store: &ImageStore, path: &Path) -> Result<Vec<Image>, ImageError> {
    let name = path.display().to_string();
    let file = File::open(path).map_err(ImageError::io(format!("open {name}")))?;
    let folder = store.temporary("").map_err(ImageError::io("create a temporary folder"))?;
    let done = Files::lay_out(file, &folder)
        .map_err(|error| refused(&name, format!("not an image archive: {error}")))
        .and_then(|files| files.import(store, &name));
    let _ = fs::remove_dir_all(&folder);
    done
}

struct Files {
    by_name: BTreeMap<PathBuf, PathBuf>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

impl Files {
    fn lay_out(file: File, folder: &Path) -> io::Result<Self> {
        let mut archive = Archive::new(decompress(file)?);
        let (mut by_name, mut links) = (BTreeMap::new(), Vec::new());
        for (number, entry) in archive.entries()?.enumerate() {
            let mut entry = entry?;
            let name = normal(&entry.path()?);
            match entry.header().entry_type() {
                EntryType::Regular | EntryType::Continuous => {
                    let path = folder.join(number.to_string());
                    io::copy(&mut entry, &mut File::create(&path)?)?;
                    by_name.insert(name, path);
                }
                EntryType::Symlink | EntryType::Link => {
                    if let Some(target) = entry.link_name()? {
                        let beside = name.parent().unwrap_or(Path::new("")).join(&target);
                        links.push((name, normal(&beside), normal(&target)));
                    }
                }
                _ => {}
            }
        }
        // docker writes a layer that two images share once, with links to it
        for (name, beside, target) in links {
            if let Some(path) = by_name.get(&beside).or_else(|| by_name.get(&target)).cloned() {
                by_name.insert(name, path);
            }
        }
        Ok(Self { by_name })
    }

    fn import(&self, store: &ImageStore, name: &str) -> Result<Vec<Image>, ImageError> {
        if self.by_name.contains_key(Path::new("manifest.json")) {
            return self.docker(store, name);
        }
        if self.by_name.contains_key(Path::new("index.json")) {
            return self.oci(store, name);
        }
        Err(refused(name, "neither a docker archive (manifest.json) nor an OCI layout (index.json)"))
    }

    fn docker(&self, store: &ImageStore, name: &str) -> Result<Vec<Image>, ImageError> {
        let images: Vec<DockerImage> = parse(&self.json("manifest.json", name)?, name)?;
        let import = |image: &DockerImage| {
            let tags = image.repo_tags.iter().flatten().map(|tag| Reference::parse(tag).map(|tag| tag.to_string()));
            let names = tags.collect::<Result<Vec<_>, _>>()?;
            let layers = image.layers.iter().map(|layer| self.file(layer, name)).collect::<Result<Vec<_>, _>>()?;
            self.add(store, name, &self.json(&image.config, name)?, &layers, &names)
        };
        images.iter().map(import).collect()
    }

    fn oci(&self, store: &ImageStore, name: &str) -> Result<Vec<Image>, ImageError> {
        let index: Index = parse(&self.json("index.json", name)?, name)?;
        index.manifests.iter().map(|descriptor| self.oci_image(store, name, descriptor)).collect()
    }

    fn oci_image(&self, store: &ImageStore, name: &str, descriptor: &Descriptor) -> Result<Image, ImageError> {
        let names = annotated_names(&descriptor.annotations, &descriptor.digest)?;
        let bytes = self.blob(&descriptor.digest, name)?;
        let is_index = descriptor.media_type.contains("index") || descriptor.media_type.contains("manifest.list");
        let bytes = if is_index { self.of_this_platform(&bytes, name)? } else { bytes };
        let manifest: Manifest = parse(&bytes, name)?;
        let layers = manifest.layers.iter().map(|layer| self.verified(&layer.digest, name));
        let layers = layers.collect::<Result<Vec<_>, _>>()?;
        self.add(store, name, &self.blob(&manifest.config.digest, name)?, &layers, &names)
    }

    fn of_this_platform(&self, index: &[u8], name: &str) -> Result<Vec<u8>, ImageError> {
        let index: Index = parse(index, name)?;
        let ours = |platform: &Platform| platform.architecture == architecture() && platform.os == "linux";
        let found = index.manifests.iter().find(|one| one.platform.as_ref().is_none_or(ours));
        let found = found.ok_or_else(|| refused(name, format!("no match for platform linux/{}", architecture())))?;
        self.blob(&found.digest, name)
    }

    fn add(
        &self,
        store: &ImageStore,
        name: &str,
        config: &[u8],
        layers: &[PathBuf],
        names: &[String],
    ) -> Result<Image, ImageError> {
        let parsed: ImageConfig = parse(config, name)?;
        if !parsed.architecture.is_empty() && parsed.architecture != architecture() {
            return Err(refused(name, format!("image is for {}/{}", parsed.os, parsed.architecture)));
        }
        if parsed.rootfs.diff_ids.len() != layers.len() {
            return Err(refused(name, "layers and diff_ids differ in number"));
        }
        for (layer, diff_id) in layers.iter().zip(&parsed.rootfs.diff_ids) {
            let added = File::open(layer).and_then(|file| store.add_layer(file, diff_id));
            added.map_err(|error| refused(name, error))?;
        }
        store.add_image(config, names)
    }

    fn file(&self, wanted: &str, name: &str) -> Result<PathBuf, ImageError> {
        let found = self.by_name.get(&normal(Path::new(wanted)));
        found.cloned().ok_or_else(|| refused(name, format!("{wanted} is missing in the archive")))
    }

    fn json(&self, wanted: &str, name: &str) -> Result<Vec<u8>, ImageError> {
        let mut bytes = Vec::new();
        let file = File::open(self.file(wanted, name)?);
        let read = file.and_then(|file| file.take(LARGEST_JSON).read_to_end(&mut bytes));
        read.map_err(ImageError::io(format!("read {wanted}")))?;
        Ok(bytes)
    }

    fn blob_path(digest: &str, name: &str) -> Result<String, ImageError> {
        match is_digest(digest) {
            true => Ok(format!("blobs/{}", digest.replace(':', "/"))),
            false => Err(refused(name, format!("not a sha256 digest: {digest:?}"))),
        }
    }

    fn blob(&self, digest: &str, name: &str) -> Result<Vec<u8>, ImageError> {
        let bytes = self.json(&Self::blob_path(digest, name)?, name)?;
        match digest::of(&bytes) == digest {
            true => Ok(bytes),
            false => Err(refused(name, format!("content of {digest} does not match"))),
        }
    }

    /// The file of a layer's blob, after its digest was checked.
    fn verified(&self, digest: &str, name: &str) -> Result<PathBuf, ImageError> {
        let path = self.file(&Self::blob_path(digest, name)?, name)?;
        let actual = File::open(&path).and_then(|file| Hashing::new(file).finish());
        match actual.map_err(ImageError::io("read a layer"))? == digest {
            true => Ok(path),
            false => Err(refused(name, format!("content of {digest} does not match"))),
        }
    }
}

/// The names an OCI index carries: containerd's full one, or the reference name if it is one.
fn annotated_names(annotations: &BTreeMap<String, String>, digest: &str) -> Result<Vec<String>, ImageError> {
    let keys = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];
    let Some(name) = keys.iter().find_map(|key| annotations.get(*key)) else { return Ok(Vec::new()) };
    let parsed = Reference::parse(name)?;
    Ok(vec![parsed.to_string(), format!("{}@{digest}", parsed.repository())])
}

fn parse<T: for<'de> Deserialize<'de>>(bytes: &[u8], name: &str) -> Result<T, ImageError> {
    serde_json::from_slice(bytes).map_err(|error| refused(name, error))
}

fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => {
                out.pop();
            }
            _ => {}
        }
    }
    out
}
