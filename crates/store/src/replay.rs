//! Start: the log's records become the state, the recent history and the list of records that nobody needs.

use std::collections::HashMap;
use std::sync::Arc;

use document::Object;
use meta::{Key, ResourceId, Revision};

use crate::log::{Log, OpenError, Record};
use crate::observer::Change;
use crate::store::Reseal;
use crate::view::State;

pub(crate) struct Outcome {
    pub(crate) state: State,
    /// Oldest first: what histories start with.
    pub(crate) changes: Vec<Change>,
    pub(crate) floors: Vec<(ResourceId, Revision)>,
    pub(crate) dead: Vec<(Revision, Key)>,
}

/// The revision of a store in which nothing has happened: 0 means "any" to clients.
const FIRST: Revision = Revision(1);

pub(crate) fn replay(log: &mut dyn Log, reseal: &Reseal) -> Result<Outcome, OpenError> {
    let mut records: Vec<Record> = Vec::new();
    let replayed = log.replay(&mut |r| records.push(r)).map_err(|e| OpenError::Replay(e.to_string()))?;
    let floors: HashMap<ResourceId, Revision> = replayed.floors.iter().cloned().collect();
    let newest = records.last().map_or(FIRST, |r| r.revision).max(replayed.revision).max(FIRST);
    let mut outcome = Outcome {
        state: State { revision: newest, ..State::default() },
        changes: Vec::new(),
        floors: replayed.floors,
        dead: Vec::new(),
    };
    let superseded = superseded_at(&records);
    for (record, superseded) in records.into_iter().zip(superseded) {
        let floor = floors.get(&record.key.resource).copied().unwrap_or_default();
        outcome.take(record, superseded, floor, reseal)?;
    }
    Ok(outcome)
}

/// For each record the revision of the next one of its key.
fn superseded_at(records: &[Record]) -> Vec<Option<Revision>> {
    let mut later: HashMap<&Key, Revision> = HashMap::with_capacity(records.len());
    let mut superseded: Vec<_> = records.iter().rev().map(|r| later.insert(&r.key, r.revision)).collect();
    superseded.reverse();
    superseded
}

impl Outcome {
    fn take(
        &mut self,
        record: Record,
        superseded: Option<Revision>,
        floor: Revision,
        reseal: &Reseal,
    ) -> Result<(), OpenError> {
        let Record { revision, key, value } = record;
        let forgotten = superseded.is_some_and(|r| r <= floor) || (value.is_none() && revision <= floor);
        if forgotten {
            self.dead.push((revision, key));
            return Ok(());
        }
        let old = self.state.get(&key).cloned();
        let new = match value {
            None => None,
            Some(bytes) => match reseal(key.clone(), revision, bytes) {
                Ok(object) => Some(Arc::new(Object { revision, ..object })),
                Err(why) => return Err(OpenError::Unreadable { key, revision, why }),
            },
        };
        match &new {
            Some(object) => self.state.put(object.clone()),
            None => self.state.remove(&key),
        }
        if revision > floor {
            self.changes.push(Change { key, revision, old, new });
        }
        Ok(())
    }
}
