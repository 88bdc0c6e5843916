//! libcontainer says in tracing what its errors leave out: a subscriber that writes errors to the state folder's `log`.

use std::{fmt::Write as _, fs::File, io::Write as _, path::Path, sync::Mutex};

use tracing::{Event, Level, Metadata, Subscriber, field::Visit, span};

struct ErrorFile(Mutex<File>);

/// From now on errors go to that file.
pub(crate) fn install(path: &Path) -> std::io::Result<()> {
    let file = File::options().create(true).append(true).open(path)?;
    // a second subscriber cannot be there in a process that runs one container
    let _ = tracing::subscriber::set_global_default(ErrorFile(Mutex::new(file)));
    Ok(())
}

impl Subscriber for ErrorFile {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::ERROR
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        line.0.push('\n');
        if let Ok(mut file) = self.0.lock() {
            let _ = file.write_all(line.0.as_bytes());
        }
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        let space = if self.0.is_empty() { "" } else { " " };
        let _ = match field.name() {
            "message" => write!(self.0, "{space}{value:?}"),
            name => write!(self.0, "{space}{name}={value:?}"),
        };
    }
}
