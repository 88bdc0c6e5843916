//! `cargo xtask bench`.

use anyhow::{Result, bail};

pub(crate) fn run(_args: &[String]) -> Result<()> {
    bail!("bench is not built yet")
}
