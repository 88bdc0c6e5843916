//! Reading a container's log file in CRI format (`TIME STREAM TAG TEXT`, tag P for a part of a line, F for its end) and
//! writing what `kubectl logs` asks for. The files are written by the runtime.

use std::{
    io::{self, SeekFrom},
    path::{Path, PathBuf},
    time::Duration,
};

use futures::future::BoxFuture;
use tokio::{
    fs::File,
    io::{AsyncBufReadExt, AsyncReadExt, AsyncSeekExt, BufReader},
    sync::mpsc,
};

/// Says whether the container still runs.
pub type Running<'a> = &'a (dyn Fn() -> BoxFuture<'static, bool> + Send + Sync);

/// What to read.
#[derive(Clone, Debug, Default)]
pub struct LogOptions {
    pub follow: bool,
    pub timestamps: bool,
    /// Only lines at or after this time, RFC 3339 in UTC.
    pub since: Option<String>,
    pub tail_lines: Option<u64>,
    pub limit_bytes: Option<u64>,
    /// `Stdout` or `Stderr`; all when none.
    pub stream: Option<String>,
}

/// The pod's log folder below the root: `<namespace>_<name>_<uid>`.
pub fn pod_dir(root: &Path, namespace: &str, name: &str, uid: &str) -> PathBuf {
    root.join(format!("{namespace}_{name}_{uid}"))
}

/// The file of one attempt.
pub fn file(pod_dir: &Path, container: &str, attempt: u32) -> PathBuf {
    pod_dir.join(container).join(format!("{attempt}.log"))
}

/// The highest attempt that left a log, plus one: the attempt of a container that the runtime does not remember.
pub fn next_attempt(pod_dir: &Path, container: &str) -> u32 {
    let Ok(entries) = std::fs::read_dir(pod_dir.join(container)) else { return 0 };
    let names = entries.flatten().filter_map(|e| e.file_name().into_string().ok());
    let numbers = names.filter_map(|n| n.split('.').next().and_then(|n| n.parse::<u32>().ok()));
    numbers.max().map_or(0, |n| n + 1)
}

/// One line of the file, split.
#[derive(Debug, PartialEq, Eq)]
struct Line<'a> {
    time: &'a str,
    stream: &'a str,
    partial: bool,
    text: &'a [u8],
}

fn parse(line: &[u8]) -> Option<Line<'_>> {
    let mut parts = line.splitn(4, |b| *b == b' ');
    let time = std::str::from_utf8(parts.next()?).ok()?;
    let stream = std::str::from_utf8(parts.next()?).ok()?;
    let tag = parts.next()?;
    let text = parts.next().unwrap_or_default();
    Some(Line { time, stream, partial: tag.first() == Some(&b'P'), text })
}

/// Reads the file into the channel, as asked; with `follow` until `running` says no and everything has been read, or the
/// receiver goes away.
pub async fn read(
    path: &Path,
    options: &LogOptions,
    out: mpsc::Sender<Vec<u8>>,
    running: Running<'_>,
) -> io::Result<()> {
    let mut file = File::open(path).await?;
    let start = match options.tail_lines {
        Some(lines) => tail_offset(&mut file, lines).await?,
        None => 0,
    };
    file.seek(SeekFrom::Start(start)).await?;
    let mut reader = BufReader::new(file);
    let mut left = options.limit_bytes.unwrap_or(u64::MAX);
    let mut line = Vec::new();
    let (mut ended, mut at_start) = (false, true);
    while left > 0 {
        if reader.read_until(b'\n', &mut line).await? > 0 && line.ends_with(b"\n") {
            line.pop();
            let mut chunk = render(&line, options, &mut at_start);
            chunk.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            left -= chunk.len() as u64;
            line.clear();
            if !chunk.is_empty() && out.send(chunk).await.is_err() {
                return Ok(());
            }
            continue;
        }
        // at the end, perhaps within a line: `line` keeps what there is
        if !options.follow || ended {
            return Ok(());
        }
        ended = !running().await;
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(if ended { 50 } else { 200 })) => {}
            () = out.closed() => return Ok(()),
        }
    }
    Ok(())
}

/// The line as the client sees it; empty when it is filtered out. Only the first part of a line has a timestamp.
fn render(line: &[u8], options: &LogOptions, at_start: &mut bool) -> Vec<u8> {
    let Some(parsed) = parse(line) else { return Vec::new() };
    let wanted = match options.stream.as_deref() {
        Some("Stdout") => parsed.stream == "stdout",
        Some("Stderr") => parsed.stream == "stderr",
        _ => true,
    };
    if !wanted || options.since.as_deref().is_some_and(|since| is_before(parsed.time, since)) {
        return Vec::new();
    }
    let mut out = Vec::with_capacity(line.len() + 1);
    if options.timestamps && *at_start {
        out.extend_from_slice(parsed.time.as_bytes());
        out.push(b' ');
    }
    out.extend_from_slice(parsed.text);
    if !parsed.partial {
        out.push(b'\n');
    }
    *at_start = !parsed.partial;
    out
}

/// Compares RFC 3339 times, fractions included.
fn is_before(time: &str, since: &str) -> bool {
    match (seconds(time), seconds(since)) {
        (Some(a), Some(b)) if a.0 != b.0 => a.0 < b.0,
        (Some(a), Some(b)) => format!("{:0<9}", a.1) < format!("{:0<9}", b.1),
        _ => false,
    }
}

fn seconds(text: &str) -> Option<(i64, &str)> {
    let fraction = text.split_once('.').map_or("", |(_, f)| f.trim_end_matches(|c: char| !c.is_ascii_digit()));
    let fraction = fraction.split(['+', '-', 'Z']).next().unwrap_or_default();
    Some((meta::Time::parse(text)?.0, fraction))
}

/// Where the last `lines` lines begin.
async fn tail_offset(file: &mut File, lines: u64) -> io::Result<u64> {
    const BLOCK: u64 = 16 * 1024;
    let end = file.seek(SeekFrom::End(0)).await?;
    if lines == 0 {
        return Ok(end);
    }
    let (mut seen, mut at) = (0, end);
    let mut block = vec![0; usize::try_from(BLOCK).unwrap_or(0)];
    while at > 0 {
        let start = at.saturating_sub(BLOCK);
        let part = &mut block[..usize::try_from(at - start).unwrap_or(0)];
        file.seek(SeekFrom::Start(start)).await?;
        file.read_exact(part).await?;
        for (n, byte) in part.iter().enumerate().rev() {
            let position = start + n as u64;
            // the newline that ends the file ends its last line and begins none
            if *byte == b'\n' && position + 1 < end {
                seen += 1;
                if seen == lines {
                    return Ok(position + 1);
                }
            }
        }
        at = start;
    }
    Ok(0)
}

/// The last lines as one text, for a termination message: at most 80 lines and 2048 bytes.
pub fn last_text(path: &Path) -> String {
    const BYTES: usize = 2048;
    let Ok(content) = read_end(path) else { return String::new() };
    let lines: Vec<&[u8]> = content.split_inclusive(|b| *b == b'\n').collect();
    let tail = &lines[lines.len().saturating_sub(80)..];
    let (options, mut at_start) = (LogOptions::default(), true);
    let text: Vec<u8> =
        tail.iter().flat_map(|l| render(l.strip_suffix(b"\n").unwrap_or(l), &options, &mut at_start)).collect();
    String::from_utf8_lossy(&text[text.len().saturating_sub(BYTES)..]).into_owned()
}

/// The end of a file: far more than is shown, however long the log is.
fn read_end(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::{Read as _, Seek as _, SeekFrom};
    const END: u64 = 256 << 10;
    let mut file = std::fs::File::open(path)?;
    let from = file.metadata()?.len().saturating_sub(END);
    file.seek(SeekFrom::Start(from))?;
    let mut content = Vec::new();
    file.take(END).read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    const LOG: &str = "2026-01-02T03:04:05.000000001Z stdout F one\n\
        2026-01-02T03:04:06.5Z stderr F two\n\
        2026-01-02T03:04:07Z stdout P thr\n\
        2026-01-02T03:04:07Z stdout F ee\n";

    async fn check(options: LogOptions, want: &str) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        std::fs::write(&path, LOG).unwrap();
        let (out, mut got) = mpsc::channel(100);
        read(&path, &options, out, &|| async { false }.boxed()).await.unwrap();
        let mut text = Vec::new();
        while let Some(chunk) = got.recv().await {
            text.extend(chunk);
        }
        assert_eq!(String::from_utf8(text).unwrap(), want, "{options:?}");
    }

    #[tokio::test]
    async fn lines_are_chosen_and_cut() {
        let all = LogOptions::default();
        check(all.clone(), "one\ntwo\nthree\n").await;
        check(LogOptions { tail_lines: Some(3), ..all.clone() }, "two\nthree\n").await;
        check(LogOptions { tail_lines: Some(0), ..all.clone() }, "").await;
        check(LogOptions { tail_lines: Some(9), ..all.clone() }, "one\ntwo\nthree\n").await;
        check(LogOptions { limit_bytes: Some(5), ..all.clone() }, "one\nt").await;
        check(LogOptions { stream: Some("Stderr".into()), ..all.clone() }, "two\n").await;
        check(LogOptions { since: Some("2026-01-02T03:04:06.4Z".into()), ..all.clone() }, "two\nthree\n").await;
        let stamped = LogOptions { timestamps: true, tail_lines: Some(3), limit_bytes: Some(26), ..all.clone() };
        check(stamped, "2026-01-02T03:04:06.5Z two").await;
        check(LogOptions { follow: true, ..all }, "one\ntwo\nthree\n").await;
    }

    #[test]
    fn attempts_are_counted_from_files() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(next_attempt(dir.path(), "c"), 0);
        std::fs::create_dir(dir.path().join("c")).unwrap();
        std::fs::write(file(dir.path(), "c", 4), LOG).unwrap();
        assert_eq!(next_attempt(dir.path(), "c"), 5);
        assert_eq!(last_text(&file(dir.path(), "c", 4)), "one\ntwo\nthree\n");
    }
}
