//! `cargo xtask verify` and `fix`.

use anyhow::{Result, bail};

pub(crate) fn run() -> Result<()> {
    bail!("verify is not built yet")
}

pub(crate) fn fix() -> Result<()> {
    bail!("fix is not built yet")
}
