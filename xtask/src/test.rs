//! `cargo xtask test`.

use anyhow::{Result, bail};

pub(crate) fn run(_args: &[String]) -> Result<()> {
    bail!("test is not built yet")
}
