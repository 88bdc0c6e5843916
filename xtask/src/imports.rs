//! `cargo xtask imports`.

use anyhow::{Result, bail};

pub(crate) fn run() -> Result<()> {
    bail!("imports is not built yet")
}
