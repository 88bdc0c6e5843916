//! `cargo xtask up`.

use anyhow::{Result, bail};

pub(crate) fn run(_args: &[String]) -> Result<()> {
    bail!("up is not built yet")
}
