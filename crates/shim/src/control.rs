//! `ctl.sock`: one line per connection, answered by one line.

use std::{
    io::{BufRead, BufReader, Write},
    os::{
        fd::{AsRawFd, RawFd},
        unix::net::UnixListener,
    },
    time::Duration,
};

use crate::{contract::VERSION, log::Log};

/// What was asked.
#[derive(Debug, PartialEq, Eq)]
enum Request {
    Reopen,
    Resize(u16, u16),
}

/// Serves the connection that waits. A client that is slow is dropped: the shim has a container to look after.
pub(crate) fn serve(listener: &UnixListener, log: &mut Log, terminal: Option<RawFd>) {
    let Ok((stream, _)) = listener.accept() else { return };
    let _ = stream.set_read_timeout(Some(Duration::from_millis(500)));
    let _ = stream.set_write_timeout(Some(Duration::from_millis(500)));
    let mut line = String::new();
    if BufReader::new(&stream).read_line(&mut line).is_err() {
        return;
    }
    let answer = match parse(line.trim()).and_then(|request| perform(request, log, terminal)) {
        Ok(()) => "ok\n".to_owned(),
        Err(why) => format!("error {why}\n"),
    };
    let _ = (&stream).write_all(answer.as_bytes());
}

fn parse(line: &str) -> Result<Request, String> {
    let words: Vec<_> = line.split(' ').collect();
    let number = |word: &str| word.parse::<u16>().map_err(|_| format!("not a number: {word:?}"));
    match words[..] {
        [version, ..] if version.parse() != Ok(VERSION) => Err(format!("version {version:?} is not {VERSION}")),
        [_, "reopen"] => Ok(Request::Reopen),
        [_, "resize", columns, rows] => Ok(Request::Resize(number(columns)?, number(rows)?)),
        _ => Err("unknown request".into()),
    }
}

fn perform(request: Request, log: &mut Log, terminal: Option<RawFd>) -> Result<(), String> {
    match request {
        Request::Reopen => log.reopen().map_err(|error| error.to_string()),
        Request::Resize(columns, rows) => match terminal {
            Some(fd) => resize(fd, columns, rows).map_err(|error| error.to_string()),
            None => Ok(()),
        },
    }
}

fn resize(fd: RawFd, columns: u16, rows: u16) -> std::io::Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the pointer is to a winsize that lives through the call.
    let done = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCSWINSZ, &size) };
    if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_carry_the_version() {
        assert_eq!(parse("1 reopen"), Ok(Request::Reopen));
        assert_eq!(parse("1 resize 80 24"), Ok(Request::Resize(80, 24)));
        assert_eq!(parse("2 reopen"), Err("version \"2\" is not 1".into()));
        assert_eq!(parse("1 fly"), Err("unknown request".into()));
        assert!(parse("1 resize a b").is_err());
        assert!(parse("").is_err());
    }
}
