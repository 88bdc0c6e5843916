//! Layers good and hostile. Owners and devices need root; those tests say so when they are skipped.

use std::{
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
};

use tar::{Builder, Header};

use super::*;

struct Item<'a> {
    kind: EntryType,
    path: &'a str,
    content: &'a str,
}

fn item<'a>(kind: EntryType, path: &'a str, content: &'a str) -> Item<'a> {
    Item { kind, path, content }
}

fn tar(items: &[Item<'_>]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for item in items {
        let mut header = Header::new_gnu();
        header.set_entry_type(item.kind);
        header.set_mode(if item.kind == Directory { 0o755 } else { 0o4755 });
        header.set_mtime(1_000_000);
        header.set_uid(unsafe { libc::getuid() }.into());
        header.set_gid(unsafe { libc::getgid() }.into());
        let raw = header.as_old_mut();
        raw.name[..item.path.len()].copy_from_slice(item.path.as_bytes());
        let link = matches!(item.kind, Symlink | Link);
        if link {
            raw.linkname[..item.content.len()].copy_from_slice(item.content.as_bytes());
        }
        let content = if link { "" } else { item.content };
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

fn unpacked(items: &[Item<'_>]) -> (tempfile::TempDir, io::Result<u64>) {
    let target = tempfile::tempdir().unwrap();
    let result = unpack(&tar(items)[..], target.path(), Limits::default());
    (target, result)
}

fn is_root() -> bool {
    let root = unsafe { libc::getuid() } == 0;
    if !root {
        eprintln!("SKIPPED: needs root");
    }
    root
}

use EntryType::{Directory, Fifo, Link, Regular, Symlink};

#[test]
fn files_keep_content_mode_and_time() {
    let (target, result) =
        unpacked(&[item(Directory, "a", ""), item(Regular, "a/f", "hello"), item(Symlink, "l", "a/f")]);
    assert_eq!(result.unwrap(), 5);
    let meta = fs::metadata(target.path().join("a/f")).unwrap();
    assert_eq!((meta.permissions().mode() & 0o7777, meta.mtime()), (0o4755, 1_000_000));
    assert_eq!(fs::metadata(target.path().join("a")).unwrap().mtime(), 1_000_000);
    assert_eq!(fs::read_to_string(target.path().join("l")).unwrap(), "hello");
}

#[track_caller]
fn check_refused(items: &[Item<'_>]) {
    let outside = Path::new("/tmp/lanyard-layer-escape");
    let (_target, result) = unpacked(items);
    assert!(result.is_err());
    assert!(!outside.exists());
}

#[test]
fn hostile_entries_are_refused() {
    check_refused(&[item(Regular, "../lanyard-layer-escape", "x")]);
    check_refused(&[item(Regular, "a/../../lanyard-layer-escape", "x")]);
    check_refused(&[item(Symlink, "s", "/tmp"), item(Regular, "s/lanyard-layer-escape", "x")]);
    check_refused(&[item(Symlink, "s", ".."), item(Directory, "s/lanyard-layer-escape", "")]);
    check_refused(&[item(Link, "passwd", "../../../../../../etc/passwd")]);
    check_refused(&[item(Symlink, "s", "/etc"), item(Link, "passwd", "s/passwd")]);
    check_refused(&[item(Regular, ".wh..", "")]);
    check_refused(&[item(Regular, ".wh...", "")]);
    check_refused(&[item(EntryType::new(b'Z'), "x", "")]);
}

#[test]
fn absolute_names_land_inside() {
    let (target, result) = unpacked(&[item(Regular, "/tmp/lanyard-layer-escape", "x")]);
    result.unwrap();
    assert!(target.path().join("tmp/lanyard-layer-escape").exists());
    assert!(!Path::new("/tmp/lanyard-layer-escape").exists());
}

#[test]
fn a_symlink_is_replaced_not_followed() {
    let victim = tempfile::NamedTempFile::new().unwrap();
    let path = victim.path().to_str().unwrap().to_owned();
    let (target, result) = unpacked(&[item(Symlink, "f", &path), item(Regular, "f", "evil")]);
    result.unwrap();
    assert_eq!(fs::read_to_string(victim.path()).unwrap(), "");
    assert_eq!(fs::read_to_string(target.path().join("f")).unwrap(), "evil");
}

#[test]
fn a_hard_link_shares_its_inode_and_a_fifo_stays_one() {
    let (target, result) = unpacked(&[item(Regular, "a", "x"), item(Link, "b", "a"), item(Fifo, "p", "")]);
    result.unwrap();
    let inode = |name: &str| fs::metadata(target.path().join(name)).unwrap().ino();
    assert_eq!(inode("a"), inode("b"));
    assert!(fs::metadata(target.path().join("p")).unwrap().file_type().is_fifo());
}

#[test]
fn whiteouts_take_overlays_form() {
    if !is_root() {
        return;
    }
    let (target, result) =
        unpacked(&[item(Regular, "d/.wh.gone", ""), item(Regular, "o/.wh..wh..opq", ""), item(Regular, "o/kept", "x")]);
    result.unwrap();
    let gone = fs::symlink_metadata(target.path().join("d/gone")).unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    assert!(target.path().join("o/kept").exists());
    assert!(!target.path().join("o/.wh..wh..opq").exists());
}

#[test]
fn a_layer_beyond_its_limits_is_refused() {
    let bytes = tar(&[item(Regular, "a", "12345"), item(Regular, "b", "12345")]);
    for limits in [Limits { bytes: 9, entries: 10 }, Limits { bytes: 100, entries: 1 }] {
        let target = tempfile::tempdir().unwrap();
        assert!(unpack(&bytes[..], target.path(), limits).is_err());
    }
}
