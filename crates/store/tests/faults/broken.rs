//! Disks that refuse: full ones, for a while, and one that does not sync.

use std::process::Command;
use std::sync::{Arc, Mutex};

use meta::Revision;
use store::{CommitError, OpenError, Options, Precondition};

use crate::disk::Disk;
use crate::world::{FILE, Opened, hasty, put};

fn big() -> Vec<u8> {
    vec![b'x'; 200_000]
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_takes_them_when_there_is_room_again() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::new(folder.path());
    let (options, tidying) = hasty();
    let opened = Opened::new(folder.path(), options, tidying).unwrap();
    let at = opened.put("x", "old").await.unwrap();
    for _ in 0..3 {
        disk.is_full(true);
        for text in [b"new".to_vec(), big()] {
            let refused = opened.write(vec![put("x", &text, Precondition::At(at))]).await.unwrap_err();
            assert!(matches!(&refused, CommitError::Full(why) if why.contains(FILE)), "{refused}");
            assert_eq!((opened.text("x").as_deref(), opened.store.revision().0 >= at.0), (Some("old"), true));
        }
        let before = opened.store.revision();
        disk.is_full(false);
        assert_eq!(opened.put("y", "new").await.unwrap(), Revision(before.0 + 1));
    }
    opened.store.close();
    let again = Opened::plain(folder.path()).unwrap();
    assert_eq!((again.text("x").as_deref(), again.text("y").as_deref()), (Some("old"), Some("new")));
}

/// A file system of 4 MiB that is gone with the test. Only root can mount one.
struct Small(tempfile::TempDir);

impl Small {
    fn mount() -> Option<Small> {
        let folder = tempfile::tempdir().unwrap();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).arg(folder.path()).output();
        match mount {
            Ok(done) if done.status.success() => Some(Small(folder)),
            other => {
                eprintln!("SKIPPED: a small file system cannot be mounted: {other:?}");
                None
            }
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn a_file_system_that_fills_up_loses_nothing() {
    let Some(small) = Small::mount() else { return };
    let folder = small.0.path();
    let opened = Opened::plain(folder).unwrap();
    std::fs::write(folder.join("ballast"), vec![0; 1 << 20]).unwrap();
    let (mut stored, mut refused) = (Vec::new(), None);
    for n in 0..100 {
        let name = format!("n{n}");
        match opened.write(vec![put(&name, &big(), Precondition::Absent)]).await {
            Ok(_) => stored.push(name),
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    assert!(matches!(refused, Some(CommitError::Full(_))), "{refused:?}");
    assert!(stored.len() > 5);
    for _ in 0..20 {
        let outcome = opened.write(vec![put("more", &big(), Precondition::Any)]).await;
        assert!(matches!(outcome, Err(CommitError::Full(_))), "{outcome:?}");
    }
    std::fs::remove_file(folder.join("ballast")).unwrap();
    opened.put("after", "there is room").await.unwrap();
    stored.push("after".into());
    std::fs::write(folder.join("ballast"), vec![0; 400_000]).ok();
    opened.store.close();
    let again = Opened::plain(folder).unwrap();
    for name in &stored {
        assert!(again.text(name).is_some(), "{name} was acknowledged");
    }
    assert!(again.text("more").is_none());
}

#[test]
fn a_store_that_cannot_even_be_made_says_where() {
    let Some(small) = Small::mount() else { return };
    let _ = std::fs::write(small.0.path().join("ballast"), vec![0; 8 << 20]);
    let error = Opened::plain(small.0.path()).err().unwrap();
    assert!(matches!(&error, OpenError::Failed { path, .. } if path.ends_with(FILE)), "{error}");
}

#[tokio::test]
async fn a_failed_sync_ends_the_process_and_the_next_start_finds_what_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::new(folder.path());
    let told = Arc::new(Mutex::new(Vec::new()));
    let hook = told.clone();
    let fatal = Arc::new(move |why: &str| hook.lock().unwrap().push(why.to_owned()));
    let (options, tidying) = hasty();
    let opened = Opened::new(folder.path(), Options { fatal, ..options }, tidying).unwrap();
    let at = opened.put("x", "old").await.unwrap();
    disk.syncs_fail();
    let lost = opened.write(vec![put("x", b"new", Precondition::At(at))]).await;
    assert!(matches!(lost, Err(CommitError::Stopped)), "{lost:?}");
    assert!(matches!(opened.put("y", "").await, Err(CommitError::Stopped)));
    assert_eq!(opened.text("x").as_deref(), Some("old"), "what may be lost is not shown");
    let told = told.lock().unwrap().clone();
    let path = folder.path().join(FILE);
    assert_eq!(told, [format!("failed to write to the store: {}: disk I/O error", path.display())]);
    opened.store.close();
    drop(disk);
    assert!(Opened::plain(folder.path()).unwrap().text("x").is_some());
}
