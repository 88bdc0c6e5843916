//! Imports of docker archives and OCI layouts that the tests write themselves.

use super::*;

fn layer(name: &str, content: &str) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_uid(unsafe { libc::getuid() }.into());
    header.set_gid(unsafe { libc::getgid() }.into());
    header.set_cksum();
    builder.append_data(&mut header, name, content.as_bytes()).unwrap();
    builder.into_inner().unwrap()
}

fn archive(files: &[(&str, Vec<u8>)]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut builder = tar::Builder::new(file.reopen().unwrap());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append_data(&mut header, name, &content[..]).unwrap();
    }
    builder.finish().unwrap();
    file
}

fn config(layers: &[&[u8]]) -> Vec<u8> {
    let diff_ids: Vec<_> = layers.iter().map(|layer| digest::of(layer)).collect();
    let arch = super::super::config::architecture();
    serde_json::json!({"architecture": arch, "os": "linux", "config": {"Cmd": ["/bin/sh"]}, "rootfs": {"type": "layers", "diff_ids": diff_ids}})
        .to_string()
        .into_bytes()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::read::GzEncoder::new(bytes, flate2::Compression::fast());
    let mut out = Vec::new();
    encoder.read_to_end(&mut out).unwrap();
    out
}

fn docker(tag: &str, layers: &[Vec<u8>], config: Vec<u8>) -> tempfile::NamedTempFile {
    let names: Vec<_> = (0..layers.len()).map(|number| format!("{number}/layer.tar")).collect();
    let manifest = serde_json::json!([{"Config": "c.json", "RepoTags": [tag], "Layers": names}]).to_string();
    let mut files = vec![("manifest.json", manifest.into_bytes()), ("c.json", config)];
    files.extend(names.iter().map(String::as_str).zip(layers.iter().cloned()));
    archive(&files)
}

fn store() -> (tempfile::TempDir, ImageStore) {
    let folder = tempfile::tempdir().unwrap();
    let config = ImageStoreConfig { folder: folder.path().join("images"), ..Default::default() };
    (folder, ImageStore::open(config).unwrap())
}

fn import(store: &ImageStore, file: &tempfile::NamedTempFile) -> Result<Vec<Image>, ImageError> {
    archive::import(store, file.path())
}

#[test]
fn a_docker_archive_is_imported_and_found_by_every_name() {
    let (folder, store) = store();
    let plain = layer("f", "hello");
    let config = config(&[&plain]);
    let images = import(&store, &docker("app:v1", &[plain], config)).unwrap();
    assert_eq!(images[0].tags, ["docker.io/library/app:v1"]);
    let reopened = ImageStoreConfig { folder: folder.path().join("images"), ..Default::default() };
    let store = ImageStore::open(reopened).unwrap();
    for name in ["app:v1", "docker.io/library/app:v1", &images[0].id] {
        assert_eq!(store.find(name).unwrap().cmd, ["/bin/sh"], "{name}");
    }
    assert!(store.status("app:v2").unwrap().is_none());
    assert_eq!(fs::read_to_string(folder.path().join("images/layers/0/f")).unwrap(), "hello");
}

#[test]
fn compressed_layers_are_checked_by_diff_id() {
    let (_folder, store) = store();
    let plain = layer("f", "hello");
    let zstd = zstd::encode_all(&plain[..], 1).unwrap();
    import(&store, &docker("a", &[gzip(&plain)], config(&[&plain]))).unwrap();
    let other = layer("g", "x");
    import(&store, &docker("b", &[zstd, gzip(&other)], config(&[&plain, &other]))).unwrap();
    let error = import(&store, &docker("c", &[layer("f", "evil")], config(&[&layer("f", "good")]))).unwrap_err();
    assert!(error.to_string().contains("expected sha256:"), "{error}");
    assert!(store.status("c").unwrap().is_none());
}

#[test]
fn an_oci_layout_is_imported_and_its_blobs_are_checked() {
    let plain = layer("f", "hello");
    let (packed, config) = (gzip(&plain), config(&[&plain]));
    let descriptor = |bytes: &[u8]| serde_json::json!({"digest": digest::of(bytes), "size": bytes.len()});
    let manifest =
        serde_json::json!({"schemaVersion": 2, "config": descriptor(&config), "layers": [descriptor(&packed)]});
    let manifest = manifest.to_string().into_bytes();
    let mut entry = descriptor(&manifest);
    entry["annotations"] = serde_json::json!({"org.opencontainers.image.ref.name": "localhost/x:1"});
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [entry]}).to_string().into_bytes();
    let blob = |bytes: &[u8]| format!("blobs/{}", digest::of(bytes).replace(':', "/"));
    let (m, c, l) = (blob(&manifest), blob(&config), blob(&packed));
    let good = [("index.json", index.clone()), (&m, manifest.clone()), (&c, config.clone()), (&l, packed)];
    let (_folder, store) = store();
    let images = import(&store, &archive(&good)).unwrap();
    assert_eq!(images[0].tags, ["localhost/x:1"]);
    assert_eq!(images[0].digests, [format!("localhost/x@{}", digest::of(&manifest))]);
    store.remove("localhost/x:1").unwrap();
    assert!(store.list().is_empty());
    let bad = [("index.json", index), (&m, manifest), (&c, config), (&l, gzip(&layer("f", "evil")))];
    assert!(import(&store, &archive(&bad)).is_err());
}

#[test]
fn an_image_in_use_is_not_removed_and_shared_layers_stay() {
    let (folder, store) = store();
    let (shared, own) = (layer("s", "shared"), layer("o", "own"));
    let first = import(&store, &docker("one", std::slice::from_ref(&shared), config(&[&shared]))).unwrap();
    import(&store, &docker("two", &[shared.clone(), own.clone()], config(&[&shared, &own]))).unwrap();
    store.retain([("c1".to_owned(), first[0].id.clone())].into()).unwrap();
    assert!(matches!(store.remove("one"), Err(ImageError::InUse { .. })));
    store.release("c1").unwrap();
    store.remove("two").unwrap();
    let layers = fs::read_dir(folder.path().join("images/layers")).unwrap().count();
    assert_eq!((layers, store.list().len()), (1, 1));
    assert!(matches!(store.remove("two"), Err(ImageError::NotPresent(_))));
}

#[test]
fn what_is_no_archive_is_told() {
    let (folder, store) = store();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "hello").unwrap();
    assert!(import(&store, &file).is_err());
    assert!(import(&store, &archive(&[("x", b"y".to_vec())])).unwrap_err().to_string().contains("neither"));
    let names: Vec<_> = fs::read_dir(folder.path().join("images")).unwrap().flatten().map(|e| e.file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().starts_with("tmp-")), "{names:?}");
}

#[test]
fn another_process_sees_and_keeps_what_this_one_imports() {
    let (folder, agent) = store();
    let reopen = || ImageStoreConfig { folder: folder.path().join("images"), ..Default::default() };
    let cli = ImageStore::open(reopen()).unwrap();
    let plain = layer("f", "hello");
    let unpacking = agent.temporary("layers").unwrap();
    import(&cli, &docker("one", std::slice::from_ref(&plain), config(&[&plain]))).unwrap();
    assert!(agent.find("one").is_ok());
    agent.retain([("c".to_owned(), agent.find("one").unwrap().id)].into()).unwrap();
    let other = layer("g", "x");
    import(&agent, &docker("two", std::slice::from_ref(&other), config(&[&other]))).unwrap();
    cli.remove("two").unwrap();
    assert_eq!((agent.list().len(), cli.list().len()), (1, 1));
    assert!(cli.remove("one").is_err(), "in use, as the other process said");
    ImageStore::open(reopen()).unwrap();
    assert!(unpacking.exists(), "a living process's work is left alone");
}
