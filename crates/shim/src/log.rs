//! The container's output in CRI's log format: `<time> stdout|stderr F|P <line>`.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

/// A line that is longer is written in pieces, tagged P.
const LONGEST: usize = 16 * 1024;

/// One log file for both streams.
pub(crate) struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    /// Opens the file for appending, folder included.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        Ok(Self { path: path.into(), file: append(path)? })
    }

    /// Opens the path anew, after a rotation.
    pub(crate) fn reopen(&mut self) -> io::Result<()> {
        self.file = append(&self.path)?;
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new().append(true).create(true).mode(0o640).custom_flags(libc::O_NOFOLLOW).open(path)
}

/// One stream of a container, cut into lines.
pub(crate) struct Lines {
    name: &'static str,
    rest: Vec<u8>,
}

impl Lines {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, rest: Vec::new() }
    }

    /// Takes what was read and writes what is complete.
    pub(crate) fn take(&mut self, log: &mut Log, bytes: &[u8]) {
        let out = self.format(bytes, SystemTime::now());
        self.write(log, &out);
    }

    /// Writes a last line that has no end.
    pub(crate) fn finish(&mut self, log: &mut Log) {
        if self.rest.is_empty() {
            return;
        }
        let mut out = Vec::new();
        entry(&mut out, &timestamp(SystemTime::now()), self.name, b'P', &self.rest);
        self.rest.clear();
        self.write(log, &out);
    }

    fn write(&self, log: &mut Log, out: &[u8]) {
        // a full disk loses lines but must not stop the container
        let _ = log.file.write_all(out);
    }

    fn format(&mut self, mut bytes: &[u8], now: SystemTime) -> Vec<u8> {
        let (mut out, time) = (Vec::with_capacity(bytes.len() + 64), timestamp(now));
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (head, tail) = bytes.split_at(end);
            self.cut(&mut out, &time, head);
            entry(&mut out, &time, self.name, b'F', &self.rest);
            self.rest.clear();
            bytes = &tail[1..];
        }
        self.cut(&mut out, &time, bytes);
        out
    }

    /// Adds to the line at hand and writes full pieces of it.
    fn cut(&mut self, out: &mut Vec<u8>, time: &str, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        let mut start = 0;
        while self.rest.len() - start > LONGEST {
            entry(out, time, self.name, b'P', &self.rest[start..start + LONGEST]);
            start += LONGEST;
        }
        self.rest.drain(..start);
    }
}

fn entry(out: &mut Vec<u8>, time: &str, stream: &str, tag: u8, line: &[u8]) {
    out.extend_from_slice(time.as_bytes());
    out.push(b' ');
    out.extend_from_slice(stream.as_bytes());
    out.extend_from_slice(&[b' ', tag, b' ']);
    out.extend_from_slice(line);
    out.push(b'\n');
}

/// RFC 3339 with nanoseconds, UTC.
fn timestamp(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, seconds) = ((since.as_secs() / 86_400) as i64, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:09}Z",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        since.subsec_nanos()
    )
}

/// Days since 1970 as a date of the Gregorian calendar.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn time_is_rfc3339_with_nanoseconds() {
        assert_eq!(timestamp(at(0)), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(timestamp(at(951_782_400)), "2000-02-29T00:00:00.000000000Z");
        assert_eq!(timestamp(at(1_795_507_200) + Duration::from_nanos(5)), "2026-11-24T08:00:00.000000005Z");
    }

    #[test]
    fn a_line_is_written_when_it_is_complete() {
        let mut lines = Lines::new("stdout");
        assert_eq!(lines.format(b"he", at(0)), b"");
        let got = String::from_utf8(lines.format(b"llo\n\nx", at(0))).unwrap();
        let time = "1970-01-01T00:00:00.000000000Z stdout F ";
        assert_eq!(got, format!("{time}hello\n{time}\n"));
        assert_eq!(lines.rest, b"x");
    }

    #[test]
    fn a_long_line_comes_in_pieces() {
        let mut lines = Lines::new("stderr");
        let mut text = vec![b'a'; LONGEST * 2 + 5];
        text.push(b'\n');
        let got = String::from_utf8(lines.format(&text, at(0))).unwrap();
        let tags: Vec<_> = got.lines().map(|line| (&line[38..39], line.len() - 40)).collect();
        assert_eq!(tags, [("P", LONGEST), ("P", LONGEST), ("F", 5)]);
    }
}
