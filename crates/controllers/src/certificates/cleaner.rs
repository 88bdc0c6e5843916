//! certificatesigningrequest-cleaner-controller: requests go an hour after they are issued, denied or failed, a day after
//! they were made or approved and nothing happened, and when their certificate has expired.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use client::Api;
use document::Value;
use meta::Time;

use super::{REQUESTS, find, is_signed};
use crate::command::Command;
use crate::driver::{Outcome, Work};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
/// How often every request is looked at.
const INTERVAL: Duration = Duration::from_secs(3600);

pub(super) struct Cleaner {
    pub(super) api: Api,
}

impl Work<String> for Cleaner {
    const NAME: &'static str = "certificatesigningrequest-cleaner-controller";

    async fn sync(&self, name: String) -> Outcome {
        let Some(object) = find(&self.api, &name).await? else { return Ok(None) };
        if !is_over(&object, Time::now()) {
            return Ok(Some(INTERVAL));
        }
        let uid = object["metadata"]["uid"].str().to_owned();
        let namespace = String::new();
        let delete = Command::Delete { resource: REQUESTS, namespace, name, uid, propagation: "Background" };
        delete.perform(&self.api).await?;
        Ok(None)
    }
}

fn is_over(object: &Value, now: Time) -> bool {
    let older = |time: &str, than: i64| Time::parse(time).is_some_and(|t| now.0 - t.0 > than);
    let conditions = object["status"]["conditions"].items();
    if conditions.is_empty() {
        return older(object["metadata"]["creationTimestamp"].str(), DAY);
    }
    let signed = is_signed(object);
    conditions.iter().any(|condition| {
        let since = condition["lastUpdateTime"].str();
        match condition["type"].str() {
            "Approved" if signed => older(since, HOUR) || has_expired(object, now),
            "Approved" => older(since, DAY),
            "Denied" | "Failed" => older(since, HOUR),
            _ => false,
        }
    })
}

fn has_expired(object: &Value, now: Time) -> bool {
    let end = || {
        let pem = STANDARD.decode(object["status"]["certificate"].str()).ok()?;
        let (_, block) = x509_parser::pem::parse_x509_pem(&pem).ok()?;
        let certificate = block.parse_x509().ok()?;
        Some(certificate.validity().not_after.timestamp())
    };
    end().is_some_and(|end| end < now.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use document::doc;

    #[test]
    fn a_request_goes_when_its_time_is_over() {
        let check = |type_: &str, certificate: &str, after: i64, want: bool| {
            let mut conditions = Vec::new();
            if !type_.is_empty() {
                conditions.push(doc!({"type": type_, "lastUpdateTime": "1970-01-01T00:00:00Z"}));
            }
            let object = doc!({
                "metadata": {"creationTimestamp": "1970-01-01T00:00:00Z"},
                "status": {"certificate": certificate, "conditions": (Value::list(conditions))}
            });
            assert_eq!(is_over(&object, Time(after)), want, "{type_} {after}");
        };
        check("", "", DAY, false);
        check("", "", DAY + 1, true);
        check("Approved", "eA==", HOUR, false);
        check("Approved", "eA==", HOUR + 1, true);
        check("Approved", "", HOUR + 1, false);
        check("Approved", "", DAY + 1, true);
        check("Denied", "", HOUR + 1, true);
        check("Failed", "", HOUR + 1, true);
        check("Looked", "", DAY + 1, false);
    }
}
