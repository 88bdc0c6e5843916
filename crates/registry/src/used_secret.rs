//! The label that says on which day the token of a Secret was used last: written by the server itself, beside the
//! request, once a day.

use std::time::Duration;

use document::Value;
use gate::Passage;
use meta::{Key, Status, Time};
use store::{Effect, Precondition, Transaction, View, Write};
use tokio::sync::Semaphore;

use crate::Registry;
use crate::write::seal;

const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";
const DAY: i64 = 86_400;

/// Secrets that are being dated. There are no more at once, and one that cannot be dated keeps its place for a while: the
/// tokens of others' Secrets, even bad ones, must not make work without end where nothing can be written.
static DATING: Semaphore = Semaphore::const_new(8);
const REST: Duration = Duration::from_secs(1);

impl Registry {
    /// The server's own passage, with which it keeps what no request asks for. Given once, at start.
    pub fn act_as(&self, passage: Passage) {
        let _ = self.system.set(passage);
    }

    /// Dates the Secret whose token was used. Does not wait; what fails, or finds no place, is tried at a later use.
    pub fn note_used_secret(&self, key: &Key) {
        let Some(registry) = self.me.upgrade().filter(|r| is_due(&r.store.view(), key, Time::now())) else { return };
        let Ok(place) = DATING.try_acquire() else { return };
        let key = key.clone();
        tokio::spawn(async move {
            let _place = place;
            if let Err(error) = registry.date_secret(&key).await {
                tracing::debug!(?key, "the last use was not noted: {}", error.message);
                tokio::time::sleep(REST).await;
            }
        });
    }

    async fn date_secret(&self, key: &Key) -> Result<(), Status> {
        let (Some(passage), Some(row)) = (self.system.get(), api::find("", "v1", "secrets")) else { return Ok(()) };
        let (view, now) = (self.store.view(), Time::now());
        let Some(found) = view.get(key).filter(|_| is_due(&view, key, now)) else { return Ok(()) };
        let mut secret = api::read(row, &found);
        label(&mut secret, now);
        document::normalize(&mut secret, row.type_);
        let effect = Effect::Put(seal(row, key.clone(), &secret)?);
        let write = Write { precondition: Precondition::At(found.revision), effect };
        let admitted = self.gate.seal_internal(passage, Transaction { writes: vec![write], reads: Vec::new() })?;
        // a lost race: the next use comes
        self.commit(admitted).await.map(|_| ())
    }
}

fn label(secret: &mut Value, now: Time) {
    secret.entry("metadata").entry("labels").set(LAST_USED, day(now));
}

fn day(at: Time) -> String {
    at.to_string().chars().take(10).collect()
}

/// Another server's clock may be in tomorrow already.
fn is_due(view: &View, key: &Key, now: Time) -> bool {
    let Some(secret) = view.get(key) else { return false };
    let fresh = [day(now), day(Time(now.0 + DAY))];
    !secret.labels.get(LAST_USED).is_some_and(|used| fresh.iter().any(|d| d.as_str() == used))
}

#[cfg(test)]
mod tests {
    use super::*;
    use document::doc;

    #[test]
    fn the_label_is_the_day_of_the_use() {
        let mut secret = doc!({"metadata": {"labels": {"a": "b"}}});
        label(&mut secret, Time(DAY + 7));
        assert_eq!(secret["metadata"]["labels"], doc!({"a": "b", LAST_USED: "1970-01-02"}));
    }
}
