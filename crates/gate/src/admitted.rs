//! `Admitted`: the proof that a transaction went through the gate. Nothing else can be committed.

use store::{Sealed, Transaction};

/// Sealed after the last validating step; cannot be changed, only committed.
pub struct Admitted(Transaction);

impl Admitted {
    pub(crate) fn new(transaction: Transaction) -> Self {
        Admitted(transaction)
    }
}

impl Sealed for Admitted {
    fn into_transaction(self) -> Transaction {
        self.0
    }
}
