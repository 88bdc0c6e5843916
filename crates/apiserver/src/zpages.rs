//! `/flagz` and `/statusz`: what this process was told and what it is, as text for people or as `config.k8s.io` objects.

use std::collections::BTreeMap;

use document::Value;
use http::HeaderValue;
use http::header::{CONTENT_TYPE, WARNING};
use meta::Time;

use crate::body::Body;
use crate::handler::{Handler, Head};
use crate::metrics::start_time;
use crate::negotiate::{self, Encoding, Form, ZPage};
use crate::respond::{self, Reply};

/// The component's name in both.
const NAME: &str = "apiserver";
const NOTE: &str = "Warning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and is for debugging purposes only.";
/// Upstream draws between several on purpose, so that nobody parses this; this is one of them.
const SEPARATOR: &str = ": ";
/// First segments that say nothing about the process.
const NOT_LISTED: [&str; 5] = ["apis", "api", "openid", "openapi", ".well-known"];

/// # Errors
/// Nothing: what is not acceptable is answered so.
pub(crate) fn flagz(handler: &Handler, head: &Head) -> Reply {
    let flags = &handler.config.flags;
    let text = || {
        let lines: String = flags.iter().map(|(name, value)| format!("{name}{SEPARATOR}{value}\n")).collect();
        format!("\n{NAME} flagz\n{NOTE}\n{lines}")
    };
    answer(head, "Flagz", text, || {
        let entries = flags.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str())));
        vec![("flags", Value::of(entries))]
    })
}

pub(crate) fn statusz(handler: &Handler, head: &Head) -> Reply {
    let now = Time::now();
    let start = Time(start_time().map_or(now.0, |at| at as i64));
    let up = now.0.saturating_sub(start.0).max(0);
    let paths = paths(handler);
    let text = || {
        let started = unix_date(start);
        let up = format!("{} hr {:02} min {:02} sec", up / 3600, (up / 60) % 60, up % 60);
        let s = SEPARATOR;
        format!(
            "\n{NAME} statusz\n{NOTE}\n\nStarted{s} {started}\nUp{s} {up}\nGo version{s} none\nBinary version{s} 1.37.2\nEmulation version{s} 1.37\nPaths{s} {}\n",
            paths.join(" ")
        )
    };
    answer(head, "Statusz", text, || {
        vec![
            ("startTime", start.to_string().into()),
            ("uptimeSeconds", up.into()),
            ("goVersion", "none".into()),
            ("binaryVersion", "1.37.2".into()),
            ("emulationVersion", "1.37".into()),
            ("paths", Value::list(paths.iter().map(|p| Value::from(p.as_str())))),
        ]
    })
}

fn answer(
    head: &Head,
    kind: &'static str,
    text: impl FnOnce() -> String,
    members: impl FnOnce() -> Vec<(&'static str, Value)>,
) -> Reply {
    let (encoding, version) = match negotiate::zpage(&head.headers, kind) {
        Ok(ZPage::Text) => return respond::plain(200, "text/plain; charset=utf-8", Body::full(text())),
        Ok(ZPage::Object { encoding, version }) => (encoding, version),
        Err(status) => {
            let form = Form::of_error(&head.headers, &head.query);
            let json = form.encoding == Encoding::Protobuf;
            return respond::status(&status, if json { Form { encoding: Encoding::Json, ..form } } else { form });
        }
    };
    let mut all = vec![
        ("kind", Value::from(kind)),
        ("apiVersion", format!("config.k8s.io/{version}").into()),
        ("metadata", Value::of([("name", Value::from(NAME))])),
    ];
    all.extend(members());
    let body = document::json::to_string(&Value::of(all)).into_bytes();
    let form = Form { encoding, ..Form::of_error(&head.headers, &head.query) };
    let mut reply = respond::encoded(200, body, None, form).unwrap_or_else(|status| head.refuse(&status));
    let word = if encoding == Encoding::Yaml { "yaml" } else { "json" };
    if let Ok(value) = HeaderValue::from_str(&format!("application/{word};g=config.k8s.io;v={version};as={kind}")) {
        reply.headers_mut().insert(CONTENT_TYPE, value);
    }
    if version == "v1alpha1" {
        let page = kind.to_lowercase();
        let text = format!("299 - \"This version of the {page} endpoint is deprecated. Please use a newer version.\"");
        if let Ok(value) = HeaderValue::from_str(&text) {
            reply.headers_mut().insert(WARNING, value);
        }
    }
    reply
}

/// The first segments of all paths that help to look at a process.
fn paths(handler: &Handler) -> Vec<String> {
    let firsts = crate::index::paths(handler).into_iter().filter_map(|path| {
        let first = path.split('/').nth(1).unwrap_or_default().to_owned();
        (!first.is_empty() && !NOT_LISTED.contains(&first.as_str())).then(|| (format!("/{first}"), ()))
    });
    firsts.collect::<BTreeMap<String, ()>>().into_keys().collect()
}

/// `Mon Jan _2 15:04:05 UTC 2006`.
fn unix_date(at: Time) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let text = at.to_string();
    let number = |from: usize, to: usize| text.get(from..to).and_then(|t| t.parse::<usize>().ok()).unwrap_or_default();
    let day = DAYS[usize::try_from(at.0.div_euclid(86_400).rem_euclid(7)).unwrap_or_default()];
    let month = MONTHS[number(5, 7).clamp(1, 12) - 1];
    let clock = text.get(11..19).unwrap_or_default();
    format!("{day} {month} {:>2} {clock} UTC {}", number(8, 10), text.get(0..4).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_written_as_unix_writes_it() {
        let check = |at: &str, want: &str| assert_eq!(unix_date(Time::parse(at).unwrap()), want);
        check("1970-01-01T00:00:00Z", "Thu Jan  1 00:00:00 UTC 1970");
        check("2026-11-24T11:08:26Z", "Tue Nov 24 11:08:26 UTC 2026");
    }
}
