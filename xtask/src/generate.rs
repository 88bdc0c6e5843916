//! `cargo xtask generate`: the type tables, from the upstream reference.

use anyhow::{Result, bail};

/// Writes the generated tables into the crates that carry them.
pub(crate) fn run(_args: &[String]) -> Result<()> {
    bail!("generate is not built yet")
}
