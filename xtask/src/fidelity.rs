//! `cargo xtask fidelity`.

use anyhow::{Result, bail};

pub(crate) fn run(_args: &[String]) -> Result<()> {
    bail!("fidelity is not built yet")
}
