//! What images are here: an index file, configurations by digest, layers unpacked once by diffID.
//!
//! ```text
//! DIR/index.json            names, images, layers
//! DIR/blobs/sha256/<hex>    configurations and manifests
//! DIR/layers/<number>/      one unpacked layer; short names keep overlayfs' options short
//! DIR/layers/tmp-<pid>-*/   being unpacked; removed at start when that process is gone
//! ```
//! Two processes may work on it (the agent and `image import`): changes are made under a file lock, on the index as it
//! is on disk then, and readers notice that the file has changed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, BufReader, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use futures::future::BoxFuture;
use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};

use super::{
    Auth, Image, ImageError, ImageService, Reference, archive,
    config::ImageConfig,
    digest::{self, Hashing},
    layer::{self, Limits},
    mount,
    pull::{self, Puller},
};

/// The image store of a node.
#[derive(Clone)]
pub struct ImageStore(Arc<Inner>);

struct Inner {
    folder: PathBuf,
    index: Mutex<Index>,
    puller: Puller,
    temporary: AtomicU64,
}

/// How the store reaches registries.
#[derive(Debug, Clone, Default)]
pub struct ImageStoreConfig {
    /// Where everything is kept.
    pub folder: PathBuf,
    /// Registry name to the address that is asked instead: `docker.io` to `http://127.0.0.1:5000`. Plain HTTP is taken
    /// for loopback only.
    pub mirrors: BTreeMap<String, String>,
}

#[derive(Default, Serialize, Deserialize)]
struct Index {
    next_layer: u64,
    /// By diffID.
    layers: BTreeMap<String, Layer>,
    /// By configuration digest.
    images: BTreeMap<String, Record>,
    /// `repository:tag` and `repository@digest` to the image's id.
    names: BTreeMap<String, String>,
    /// Which container uses which image.
    #[serde(default)]
    users: BTreeMap<String, String>,
    /// Which version of the file this is.
    #[serde(skip)]
    version: Option<(SystemTime, u64)>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Layer {
    number: u64,
    size: u64,
}

#[derive(Clone, Serialize, Deserialize)]
struct Record {
    layers: Vec<String>,
}

impl Inner {
    /// The index as it is now.
    fn read(&self) -> MutexGuard<'_, Index> {
        let mut index = self.index.lock();
        if let Err(error) = index.refresh(&self.folder) {
            tracing::warn!(%error, "image index cannot be read again");
        }
        index
    }

    /// The index for a change: nobody else changes it meanwhile.
    fn change(&self) -> io::Result<(MutexGuard<'_, Index>, File)> {
        let lock = File::options().create(true).append(true).open(self.folder.join("index.lock"))?;
        lock.lock()?;
        let mut index = self.index.lock();
        index.refresh(&self.folder)?;
        Ok((index, lock))
    }
}

impl Index {
    /// Reads the file if it is not the version that is here.
    fn refresh(&mut self, folder: &Path) -> io::Result<()> {
        let path = folder.join("index.json");
        let version = match fs::metadata(&path) {
            Ok(meta) => Some((meta.modified()?, meta.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if version != self.version {
            *self = match version {
                Some(_) => serde_json::from_slice(&fs::read(&path)?)?,
                None => Index::default(),
            };
            self.version = version;
        }
        Ok(())
    }
}

impl ImageStore {
    /// Opens or makes the store and removes what an interrupted pull left.
    pub fn open(config: ImageStoreConfig) -> Result<Self, ImageError> {
        let folder = config.folder;
        for sub in ["blobs/sha256", "layers"] {
            fs::create_dir_all(folder.join(sub)).map_err(ImageError::io("create image folder"))?;
        }
        let puller = Puller::new(&config.mirrors).map_err(|cause| refused("", cause))?;
        let inner = Inner { folder, index: Mutex::default(), puller, temporary: AtomicU64::new(0) };
        {
            let index = inner.change().map_err(ImageError::io("read image index"))?;
            sweep(&inner.folder, &index.0);
        }
        Ok(Self(Arc::new(inner)))
    }

    /// The configuration of an image by id or reference, with its id.
    pub fn find(&self, reference: &str) -> Result<Image, ImageError> {
        self.status(reference)?.ok_or_else(|| ImageError::NotPresent(reference.into()))
    }

    /// Mounts a writable root filesystem of the image on `target`, with upper and work folder beside it, and marks the
    /// image as used by that container.
    pub fn mount_rootfs(&self, id: &str, container: &str, target: &Path, scratch: &Path) -> Result<(), ImageError> {
        let layers = {
            let (mut index, _lock) = self.0.change().map_err(ImageError::io("read image index"))?;
            let record = index.images.get(id).ok_or_else(|| ImageError::NotPresent(id.into()))?;
            let layers = record.layers.iter().rev().filter_map(|id| index.layers.get(id)).map(|layer| layer.number);
            let layers = layers.collect::<Vec<_>>();
            index.users.insert(container.into(), id.into());
            self.save(&mut index).map_err(ImageError::io("write image index"))?;
            layers
        };
        mount::overlay(&self.0.folder.join("layers"), &layers, target, scratch)
            .map_err(ImageError::io("mount the root filesystem"))
    }

    /// Says which containers there are, with their images: what an earlier agent marked and is gone is let go.
    pub fn retain(&self, users: BTreeMap<String, String>) -> Result<(), ImageError> {
        let (mut index, _lock) = self.0.change().map_err(ImageError::io("read image index"))?;
        if index.users != users {
            index.users = users;
            self.save(&mut index).map_err(ImageError::io("write image index"))?;
        }
        Ok(())
    }

    /// Ends what `mount_rootfs` marked.
    pub fn release(&self, container: &str) -> Result<(), ImageError> {
        let (mut index, _lock) = self.0.change().map_err(ImageError::io("read image index"))?;
        match index.users.remove(container) {
            Some(_) => self.save(&mut index).map_err(ImageError::io("write image index")),
            None => Ok(()),
        }
    }

    pub(super) fn has_layer(&self, diff_id: &str) -> bool {
        self.0.read().layers.contains_key(diff_id)
    }

    /// Unpacks a layer (plain, gzip or zstd) unless it is here; its content must have that diffID.
    pub(super) fn add_layer(&self, reader: impl Read, diff_id: &str) -> io::Result<()> {
        if self.has_layer(diff_id) {
            return Ok(());
        }
        let aside = self.temporary("layers")?;
        let done = self.unpack(reader, diff_id, &aside);
        if done.is_err() || aside.exists() {
            let _ = fs::remove_dir_all(&aside);
        }
        done
    }

    fn unpack(&self, reader: impl Read, diff_id: &str, aside: &Path) -> io::Result<()> {
        let mut hashing = Hashing::new(archive::decompress(reader)?);
        let size = layer::unpack(&mut hashing, aside, Limits::default())?;
        let actual = hashing.finish()?;
        if actual != diff_id {
            return Err(io::Error::other(format!("layer content is {actual}, expected {diff_id}")));
        }
        let (mut index, _lock) = self.0.change()?;
        if !index.layers.contains_key(diff_id) {
            let number = index.next_layer;
            index.next_layer += 1;
            fs::rename(aside, self.0.folder.join("layers").join(number.to_string()))?;
            index.layers.insert(diff_id.into(), Layer { number, size });
            self.save(&mut index)?;
        }
        Ok(())
    }

    /// A folder or file name that nobody else uses, below a sub-folder; a folder is made.
    pub(super) fn temporary(&self, sub: &str) -> io::Result<PathBuf> {
        let number = self.0.temporary.fetch_add(1, Ordering::Relaxed);
        let path = self.0.folder.join(sub).join(format!("tmp-{}-{number}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(path)
    }

    /// Registers an image whose layers are here under these names.
    pub(super) fn add_image(&self, config: &[u8], names: &[String]) -> Result<Image, ImageError> {
        let bad = |cause: String| refused(names.first().map_or("", String::as_str), cause);
        let parsed: ImageConfig = serde_json::from_slice(config).map_err(|error| bad(error.to_string()))?;
        let id = digest::of(config);
        {
            let (mut index, _lock) = self.0.change().map_err(ImageError::io("read image index"))?;
            if let Some(missing) = parsed.rootfs.diff_ids.iter().find(|id| !index.layers.contains_key(*id)) {
                return Err(bad(format!("layer {missing} is missing")));
            }
            self.write_blob(&id, config).map_err(ImageError::io("write image configuration"))?;
            index.images.insert(id.clone(), Record { layers: parsed.rootfs.diff_ids });
            for name in names {
                index.names.insert(name.clone(), id.clone());
            }
            self.save(&mut index).map_err(ImageError::io("write image index"))?;
        }
        self.find(&id)
    }

    pub(super) fn write_blob(&self, digest: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.blob(digest);
        let aside = path.with_extension("new");
        fs::write(&aside, bytes)?;
        fs::rename(aside, path)
    }

    fn blob(&self, digest: &str) -> PathBuf {
        self.0.folder.join("blobs/sha256").join(digest.trim_start_matches("sha256:"))
    }

    /// Under the lock of `change`.
    fn save(&self, index: &mut Index) -> io::Result<()> {
        let aside = self.0.folder.join("index.new");
        fs::write(&aside, serde_json::to_vec(index)?)?;
        let meta = fs::metadata(&aside)?;
        fs::rename(aside, self.0.folder.join("index.json"))?;
        index.version = Some((meta.modified()?, meta.ino()));
        Ok(())
    }

    fn image(&self, index: &Index, id: &str) -> io::Result<Image> {
        let config: ImageConfig = serde_json::from_reader(BufReader::new(File::open(self.blob(id))?))?;
        let layers = config.rootfs.diff_ids.iter().filter_map(|layer| index.layers.get(layer));
        let mut image = config.image(id, layers.map(|layer| layer.size).sum());
        for name in index.names.iter().filter(|(_, of)| *of == id).map(|(name, _)| name) {
            let list = if name.contains('@') { &mut image.digests } else { &mut image.tags };
            list.push(name.clone());
        }
        Ok(image)
    }
}

pub(super) fn refused(image: &str, cause: impl ToString) -> ImageError {
    ImageError::Refused { image: image.into(), cause: cause.to_string() }
}

/// Removes layers that the index does not know and what processes that are gone were unpacking.
fn sweep(folder: &Path, index: &Index) {
    let known: BTreeSet<_> = index.layers.values().map(|layer| layer.number.to_string()).collect();
    let layers = fs::read_dir(folder.join("layers")).into_iter().flatten().flatten();
    let others = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in layers
        .filter(|entry| is_stale(entry, |name| !known.contains(name)))
        .chain(others.filter(|entry| is_stale(entry, |_| false)))
    {
        let _ = fs::remove_dir_all(entry.path());
    }
}

fn is_stale(entry: &fs::DirEntry, otherwise: impl FnOnce(&str) -> bool) -> bool {
    let name = entry.file_name();
    let Some(name) = name.to_str() else { return false };
    match name.strip_prefix("tmp-").and_then(|rest| rest.split_once('-')) {
        Some((pid, _)) => !Path::new("/proc").join(pid).exists(),
        None => otherwise(name),
    }
}

impl Index {
    /// The id behind an id, a short id or a reference.
    fn resolve(&self, reference: &str) -> Result<Option<String>, ImageError> {
        if let Some(id) =
            self.images.keys().find(|id| *id == reference || id.strip_prefix("sha256:") == Some(reference))
        {
            return Ok(Some(id.clone()));
        }
        if reference.starts_with("sha256:") {
            return Ok(None);
        }
        let parsed = Reference::parse(reference)?;
        let key = match &parsed.digest {
            Some(digest) => format!("{}@{digest}", parsed.repository()),
            None => parsed.to_string(),
        };
        Ok(self.names.get(&key).cloned())
    }

    /// Forgets an image; answers the layers that nobody needs any more.
    fn forget(&mut self, id: &str) -> Vec<Layer> {
        self.names.retain(|_, of| of != id);
        self.images.remove(id);
        let needed: BTreeSet<_> = self.images.values().flat_map(|image| image.layers.iter()).cloned().collect();
        let unneeded: Vec<_> = self.layers.keys().filter(|layer| !needed.contains(*layer)).cloned().collect();
        unneeded.iter().filter_map(|layer| self.layers.remove(layer)).collect()
    }
}

impl ImageService for ImageStore {
    fn pull<'a>(&'a self, reference: &'a str, auth: Option<&'a Auth>) -> BoxFuture<'a, Result<Image, ImageError>> {
        Box::pin(async move {
            let parsed = Reference::parse(reference)?;
            pull::pull(self, &self.0.puller, &parsed, auth).await
        })
    }

    fn status(&self, reference: &str) -> Result<Option<Image>, ImageError> {
        let index = self.0.read();
        let Some(id) = index.resolve(reference)? else { return Ok(None) };
        self.image(&index, &id).map(Some).map_err(ImageError::io("read image configuration"))
    }

    fn list(&self) -> Vec<Image> {
        let index = self.0.read();
        index.images.keys().filter_map(|id| self.image(&index, id).ok()).collect()
    }

    fn remove(&self, reference: &str) -> Result<(), ImageError> {
        let (mut index, _lock) = self.0.change().map_err(ImageError::io("read image index"))?;
        let id = index.resolve(reference)?.ok_or_else(|| ImageError::NotPresent(reference.into()))?;
        let by_name = !reference.starts_with("sha256:") && !id.ends_with(reference);
        let names = index.names.iter().filter(|(name, of)| **of == id && !name.contains('@')).count();
        if by_name && names > 1 {
            index.names.remove(&Reference::parse(reference)?.to_string());
            return self.save(&mut index).map_err(ImageError::io("write image index"));
        }
        if let Some((container, _)) = index.users.iter().find(|(_, used)| **used == id) {
            return Err(ImageError::InUse { image: reference.into(), container: container.clone() });
        }
        let unneeded = index.forget(&id);
        self.save(&mut index).map_err(ImageError::io("write image index"))?;
        let _ = fs::remove_file(self.blob(&id));
        for layer in unneeded {
            let _ = fs::remove_dir_all(self.0.folder.join("layers").join(layer.number.to_string()));
        }
        Ok(())
    }

    fn import(&self, archive: PathBuf) -> BoxFuture<'_, Result<Vec<Image>, ImageError>> {
        let store = self.clone();
        Box::pin(async move {
            let work = tokio::task::spawn_blocking(move || archive::import(&store, &archive));
            work.await.map_err(|error| refused("archive", error))?
        })
    }
}

#[cfg(test)]
mod tests;
