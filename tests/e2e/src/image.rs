//! Images for the tests, made here: a layer of Debian's static busybox, packed as docker-archive or as OCI layout.

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use std::io::Write;
use std::path::Path;

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    Plain,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

/// A busybox image under construction.
pub struct Image {
    /// The name it gets, such as `docker.io/library/busybox:1`.
    pub name: String,
    layers: Vec<Vec<u8>>,
    config: serde_json::Value,
}

impl Image {
    /// One layer with `/bin/busybox`, a link for each of its applets, `/var/run` → `/run` as Debian's images have it.
    ///
    /// # Panics
    /// When Debian's busybox-static is not installed.
    pub fn busybox(name: &str) -> Self {
        let mut layer = Layer::new();
        for folder in ["bin", "etc", "root", "run", "tmp", "usr", "usr/bin", "var", "home"] {
            layer.folder(folder, if folder == "tmp" { 0o1777 } else { 0o755 });
        }
        let busybox = std::fs::read("/bin/busybox").expect("busybox-static is installed");
        layer.file("bin/busybox", 0o755, &busybox);
        let applets = std::process::Command::new("/bin/busybox").arg("--list").output().expect("busybox runs");
        for applet in String::from_utf8_lossy(&applets.stdout).lines().filter(|a| *a != "busybox") {
            layer.link(&format!("bin/{applet}"), "/bin/busybox");
        }
        layer.link("var/run", "/run");
        layer.file(
            "etc/passwd",
            0o644,
            b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n",
        );
        layer.file("etc/group", 0o644, b"root:x:0:\nnogroup:x:65534:\n");
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        let config = json!({"Env": [path], "Cmd": ["sh"], "WorkingDir": "/"});
        Self { name: name.into(), layers: vec![layer.finish()], config }
    }

    /// One more layer, with a program of the host in it.
    ///
    /// # Panics
    /// When the file cannot be read.
    #[must_use]
    pub fn with_program(mut self, path: &str, from: &Path) -> Self {
        let mut layer = Layer::new();
        layer.file(path, 0o755, &std::fs::read(from).expect("the program can be read"));
        self.layers.push(layer.finish());
        self
    }

    /// One more layer, given as a tar archive.
    #[must_use]
    pub fn with_layer(mut self, tar: Vec<u8>) -> Self {
        self.layers.push(tar);
        self
    }

    /// Writes it as `docker save` does.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn docker_archive(&self, to: &Path, packing: Packing) {
        let config = self.config_json();
        let config_name = format!("{}.json", sha256(&config));
        let mut archive = Layer::to(std::fs::File::create(to).expect("the archive can be made"));
        let mut names = Vec::new();
        for layer in &self.layers {
            let packed = pack(layer, packing);
            let name = format!("{}/layer.tar", sha256(&packed));
            archive.file(&name, 0o644, &packed);
            names.push(name);
        }
        archive.file(&config_name, 0o644, &config);
        let manifest = json!([{"Config": config_name, "RepoTags": [self.name], "Layers": names}]);
        archive.file("manifest.json", 0o644, manifest.to_string().as_bytes());
        archive.finish();
    }

    /// Writes it as an OCI layout in a tar archive, named by `org.opencontainers.image.ref.name`.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn oci_archive(&self, to: &Path, packing: Packing) {
        let mut archive = Layer::to(std::fs::File::create(to).expect("the archive can be made"));
        let suffix = match packing {
            Packing::Plain => "",
            Packing::Gzip => "+gzip",
            Packing::Zstd => "+zstd",
        };
        let mut blob = |media: &str, bytes: &[u8]| {
            let digest = sha256(bytes);
            archive.file(&format!("blobs/sha256/{digest}"), 0o644, bytes);
            json!({"mediaType": media, "digest": format!("sha256:{digest}"), "size": bytes.len()})
        };
        let layer = format!("application/vnd.oci.image.layer.v1.tar{suffix}");
        let layers: Vec<_> = self.layers.iter().map(|l| blob(&layer, &pack(l, packing))).collect();
        let config = blob("application/vnd.oci.image.config.v1+json", &self.config_json());
        let media = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({"schemaVersion": 2, "mediaType": media, "config": config, "layers": layers});
        let mut entry = blob(media, manifest.to_string().as_bytes());
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": self.name});
        let index = json!({"schemaVersion": 2, "manifests": [entry]});
        archive.file("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#);
        archive.file("index.json", 0o644, index.to_string().as_bytes());
        archive.finish();
    }

    fn config_json(&self) -> Vec<u8> {
        let ids: Vec<_> = self.layers.iter().map(|l| format!("sha256:{}", sha256(l))).collect();
        let rootfs = json!({"type": "layers", "diff_ids": ids});
        let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        json!({"architecture": arch, "os": "linux", "config": self.config, "rootfs": rootfs}).to_string().into_bytes()
    }
}

/// A tar archive under construction. Names are written as given, hostile ones too.
pub struct Layer<W: Write = Vec<u8>> {
    tar: tar::Builder<W>,
}

impl Layer {
    /// An empty one in memory.
    pub fn new() -> Self {
        Self::to(Vec::new())
    }
}

impl Default for Layer {
    fn default() -> Self {
        Self::new()
    }
}

impl<W: Write> Layer<W> {
    fn to(writer: W) -> Self {
        Self { tar: tar::Builder::new(writer) }
    }

    /// Adds a folder.
    pub fn folder(&mut self, path: &str, mode: u32) {
        self.entry(tar::EntryType::Directory, &format!("{path}/"), mode, "", &[]);
    }

    /// Adds a regular file.
    pub fn file(&mut self, path: &str, mode: u32, bytes: &[u8]) {
        self.entry(tar::EntryType::Regular, path, mode, "", bytes);
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, target: &str) {
        self.entry(tar::EntryType::Symlink, path, 0o777, target, &[]);
    }

    /// Adds a hard link.
    pub fn hard_link(&mut self, path: &str, target: &str) {
        self.entry(tar::EntryType::Link, path, 0o644, target, &[]);
    }

    fn entry(&mut self, kind: tar::EntryType, path: &str, mode: u32, target: &str, bytes: &[u8]) {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(bytes.len() as u64);
        // Written by hand: the library refuses `..`, which is just what hostile archives contain.
        let gnu = header.as_gnu_mut().expect("a GNU header was made");
        gnu.name[..path.len()].copy_from_slice(path.as_bytes());
        gnu.linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_cksum();
        self.tar.append(&header, bytes).expect("an entry can be written");
    }

    /// Ends it.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn finish(self) -> W {
        self.tar.into_inner().expect("the archive can be ended")
    }
}

fn pack(layer: &[u8], packing: Packing) -> Vec<u8> {
    match packing {
        Packing::Plain => layer.to_vec(),
        Packing::Gzip => {
            let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
            gzip.write_all(layer).and_then(|()| gzip.finish()).expect("memory can be written")
        }
        Packing::Zstd => zstd::encode_all(layer, 1).expect("memory can be written"),
    }
}

/// The digest in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    digest.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}
