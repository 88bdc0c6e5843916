//! Files that were cut, overwritten, or are of somebody else: a refusal that names the file, or everything that was
//! acknowledged. Never less, and never in silence, but for one thing that cannot be told apart: damage in the last two
//! transactions of the write-ahead log reads as one that a power cut tore (the end of the last one may have been on disk
//! before the rest of it), and they are missing then.

use std::path::Path;

use meta::Revision;
use store::OpenError;

use crate::world::{Dice, FILE, Opened};

const OBJECTS: usize = 30;
/// Of a new database, and with its header a frame of the write-ahead log.
const PAGE: usize = 8192;
const FRAME: usize = PAGE + 24;

/// The object of the last transaction.
const LAST: &str = "last";

/// Fits into a page: SQLite has no checksums of those that hold the rest of a long one.
fn text(n: usize) -> String {
    "x".repeat(100 + n * 90)
}

/// A folder as a killed server leaves it: some in the database, the rest in its write-ahead log.
async fn left_behind(checkpointed: bool) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let opened = Opened::plain(folder.path()).unwrap();
    for n in 1..OBJECTS {
        opened.put(&format!("n{n}"), &text(n)).await.unwrap();
    }
    // in the log it is more than one frame
    opened.put(LAST, &"x".repeat(if checkpointed { 100 } else { 9000 })).await.unwrap();
    let copy = tempfile::tempdir().unwrap();
    if checkpointed {
        opened.store.close();
    }
    for entry in std::fs::read_dir(folder.path()).unwrap().flatten().filter(|e| e.file_name() != "state.db-shm") {
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    copy
}

fn same_but(original: &Path, name: &str, bytes: &[u8]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(original).unwrap().flatten() {
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    std::fs::write(folder.path().join(name), bytes).unwrap();
    folder
}

fn count(opened: &Opened) -> usize {
    let whole = (1..OBJECTS).filter(|n| opened.text(&format!("n{n}")) == Some(text(*n)));
    whole.count() + usize::from(opened.text(LAST).is_some())
}

/// The refusal, if it is one that says which file.
fn refused(outcome: Result<Opened, OpenError>, place: &str) -> Option<usize> {
    match outcome {
        Ok(opened) => {
            let found = count(&opened);
            // the folder is left as a server leaves it, before anybody copies it
            opened.store.close();
            Some(found)
        }
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains(FILE), "{place}: {text}");
            None
        }
    }
}

#[tokio::test]
async fn a_write_ahead_log_is_whole_torn_at_its_end_or_refused() {
    let original = left_behind(false).await;
    let name = format!("{FILE}-wal");
    let whole = std::fs::read(original.path().join(&name)).unwrap();
    assert_eq!(refused(Opened::plain(original.path()), "whole"), Some(OBJECTS));
    // the last transaction alone may be missing: it may never have been acknowledged
    let mut dice = Dice(5);
    for n in 0..150_usize {
        let mut bytes = whole.clone();
        let at = dice.roll(whole.len() as u64) as usize;
        bytes[at] ^= 1 << dice.roll(8);
        let place = format!("bit {n} at {at} of {}", whole.len());
        let found = refused(Opened::plain(same_but(original.path(), &name, &bytes).path()), &place);
        assert!(found.is_none_or(|found| found >= OBJECTS - 2), "{place}: {found:?} are left");
    }
    for lost in [1, 23, 24, 4000, FRAME - 1, FRAME] {
        let found =
            refused(Opened::plain(same_but(original.path(), &name, &whole[..whole.len() - lost]).path()), "cut");
        assert_eq!(found, Some(OBJECTS - 1), "the last {lost} bytes were cut");
    }
}

#[tokio::test]
async fn a_damaged_middle_is_refused_with_a_sentence() {
    let original = left_behind(false).await;
    let name = format!("{FILE}-wal");
    let mut bytes = std::fs::read(original.path().join(&name)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + PAGE].fill(0);
    let folder = same_but(original.path(), &name, &bytes);
    let error = Opened::plain(folder.path()).err().unwrap().to_string();
    let start = format!("{} is damaged: frame ", folder.path().join(&name).display());
    assert!(error.starts_with(&start) && error.contains("restore it from a backup"), "{error}");
    assert_eq!(std::fs::read(folder.path().join(&name)).unwrap(), bytes, "it is left as it was");
}

#[tokio::test]
async fn a_database_that_was_cut_or_overwritten_is_refused() {
    let original = left_behind(true).await;
    let whole = std::fs::read(original.path().join(FILE)).unwrap();
    assert_eq!(refused(Opened::plain(original.path()), "whole"), Some(OBJECTS));
    let pages = whole.len() / PAGE;
    for page in 1..pages {
        let cut = refused(Opened::plain(same_but(original.path(), FILE, &whole[..page * PAGE]).path()), "cut");
        assert_eq!(cut, None, "cut after {page} of {pages} pages");
    }
    for page in 0..pages {
        let mut bytes = whole.clone();
        bytes[page * PAGE..(page + 1) * PAGE].fill(0xa5);
        let place = format!("page {page} of {pages}");
        let found = refused(Opened::plain(same_but(original.path(), FILE, &bytes).path()), &place);
        assert!(found.is_none_or(|n| n == OBJECTS), "{place} is garbage: {found:?} are left");
    }
}

#[tokio::test]
async fn an_empty_file_is_a_new_store_and_garbage_is_none() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(FILE), b"").unwrap();
    assert_eq!(Opened::plain(folder.path()).unwrap().store.revision(), Revision(1));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(FILE), b"garbage").unwrap();
    let error = Opened::plain(folder.path()).err().unwrap();
    assert!(matches!(&error, OpenError::Foreign { path, .. } if path.ends_with(FILE)), "{error}");
    assert_eq!(std::fs::read(folder.path().join(FILE)).unwrap(), b"garbage");
}

#[tokio::test]
async fn what_a_first_power_cut_tore_does_not_make_a_second_one_look_like_damage() {
    let name = format!("{FILE}-wal");
    // the last frame ends a transaction and is whole; the one before it is not
    let tear = |folder: &Path| {
        let mut bytes = std::fs::read(folder.join(&name)).unwrap();
        let at = bytes.len() - FRAME - 100;
        bytes[at] ^= 1;
        bytes
    };
    let original = left_behind(false).await;
    let once = same_but(original.path(), &name, &tear(original.path()));
    let opened = Opened::plain(once.path()).unwrap();
    assert_eq!(count(&opened), OBJECTS - 1);
    assert_eq!(std::fs::metadata(once.path().join(&name)).unwrap().len(), 0, "nothing stays behind the tear");
    opened.put("more", &"y".repeat(9000)).await.unwrap();
    let twice = same_but(once.path(), &name, &tear(once.path()));
    std::fs::remove_file(twice.path().join(format!("{FILE}-shm"))).unwrap();
    let opened = Opened::plain(twice.path()).unwrap();
    assert_eq!(count(&opened), OBJECTS - 1);
    assert_eq!(opened.text("more"), None);
}
