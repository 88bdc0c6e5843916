//! A `Status` from the wire.

use std::borrow::Cow;

use document::{Value, json};
use meta::Status;
use meta::field::Cause;
use meta::status::Details;

/// Reads a Status object; anything else that came with an error code is told as the text that it is.
pub fn status_from(code: u16, body: &[u8]) -> Status {
    match json::parse(body) {
        Ok(value) if value["kind"].str() == "Status" => from_value(code, &value),
        _ => {
            let text = String::from_utf8_lossy(body.get(..body.len().min(512)).unwrap_or_default());
            Status { code, ..Status::unclassified(text.trim()) }
        }
    }
}

/// The Status in a value, as watch error events carry it.
pub(crate) fn from_value(code: u16, value: &Value) -> Status {
    let code = value["code"].as_i64().and_then(|c| c.try_into().ok()).unwrap_or(code);
    Status {
        code,
        reason: Cow::Owned(value["reason"].str().to_owned()),
        message: value["message"].str().to_owned(),
        details: value.get("details").map(details),
        success: value["status"].str() == "Success",
        warnings: Vec::new(),
        continue_token: None,
    }
}

fn details(value: &Value) -> Details {
    let text = |v: &Value| v.str().to_owned();
    let cause =
        |v: &Value| Cause { reason: text(&v["reason"]), message: text(&v["message"]), field: text(&v["field"]) };
    Details {
        name: text(&value["name"]),
        group: text(&value["group"]),
        kind: text(&value["kind"]),
        uid: text(&value["uid"]),
        causes: value["causes"].items().iter().map(cause).collect(),
        retry_after_seconds: value["retryAfterSeconds"].as_i64().and_then(|n| n.try_into().ok()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meta::GroupResource;

    #[test]
    fn a_status_survives_the_wire() {
        let sent = Status::not_found(&GroupResource::new("", "pods"), "x");
        assert_eq!(status_from(404, sent.to_json().as_bytes()), sent);
        assert_eq!(status_from(502, b"bad gateway\n").message, "bad gateway");
    }
}
