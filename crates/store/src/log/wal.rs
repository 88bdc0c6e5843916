//! Whether SQLite's write-ahead log is whole. SQLite reads it up to the first frame whose checksum is wrong and ignores
//! what follows in silence: right for a transaction that a power cut tore, wrong for a file that was damaged.
//!
//! Every transaction is synced before the next begins, so a power cut leaves at most one torn transaction, the last. More
//! ends of transactions of the same generation behind the tear mean that what stood there had been acknowledged.
//! (Format: <https://sqlite.org/walformat.html>.)

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use super::OpenError;

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// Without the lowest bit, which says that checksums read big-endian words.
const MAGIC: u32 = 0x377f_0682;

/// # Errors
/// The file cannot be read, or lacks what was acknowledged.
pub(super) fn check(path: &Path) -> Result<(), OpenError> {
    let shown = || path.display().to_string();
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(OpenError::Failed { path: shown(), why: e.to_string() }),
    };
    match examine(&mut BufReader::with_capacity(1 << 16, file)) {
        Ok(Finding::Whole) => Ok(()),
        Ok(Finding::Damaged(why)) => Err(OpenError::Damaged { path: shown(), why }),
        Err(e) => Err(OpenError::Failed { path: shown(), why: e.to_string() }),
    }
}

enum Finding {
    /// Up to a transaction that was never acknowledged.
    Whole,
    Damaged(String),
}

fn examine(file: &mut impl Read) -> io::Result<Finding> {
    let mut header = [0; HEADER];
    if !fill(file, &mut header)? {
        // it is synced before the first frame
        return Ok(Finding::Whole);
    }
    let big_endian = word(&header, 0) & 1 == 1;
    let page = word(&header, 8) as usize;
    let mut sum = checksum(big_endian, (0, 0), &header[..24]);
    let right = word(&header, 0) & !1 == MAGIC
        && sum == (word(&header, 24), word(&header, 28))
        && page.is_power_of_two()
        && (512..=65_536).contains(&page);
    if !right {
        let mut rest = [0; 512];
        let more = fill(file, &mut rest)? && rest != [0; 512];
        let damaged = || Finding::Damaged("its header is wrong, and what follows cannot be read".into());
        return Ok(if more { damaged() } else { Finding::Whole });
    }
    let salts = &header[16..24];
    let (mut frame, mut number, mut torn, mut ends) = (vec![0; FRAME_HEADER + page], 0_u64, None, 0);
    while fill(file, &mut frame)? {
        number += 1;
        let own = &frame[8..16] == salts;
        if torn.is_none() {
            sum = checksum(big_endian, checksum(big_endian, sum, &frame[..8]), &frame[FRAME_HEADER..]);
            let right = own && sum == (word(&frame, 16), word(&frame, 20));
            torn = (!right).then_some(number);
        }
        // the size of the database stands in the last frame of a transaction, else 0
        ends += u32::from(torn.is_some() && own && word(&frame, 4) != 0);
    }
    Ok(match torn {
        Some(at) if ends > 1 => Finding::Damaged(format!("frame {at} is wrong, and {ends} transactions follow it")),
        _ => Finding::Whole,
    })
}

/// False at the end of the file, or less than a whole buffer before it.
fn fill(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(e),
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn checksum(big_endian: bool, (mut a, mut b): (u32, u32), bytes: &[u8]) -> (u32, u32) {
    let read = |four: &[u8]| {
        let n = word(four, 0);
        if big_endian { n } else { n.swap_bytes() }
    };
    for pair in bytes.chunks_exact(8) {
        a = a.wrapping_add(read(&pair[..4])).wrapping_add(b);
        b = b.wrapping_add(read(&pair[4..])).wrapping_add(a);
    }
    (a, b)
}
