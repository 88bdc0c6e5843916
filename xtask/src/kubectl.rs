//! `cargo xtask kubectl`.

use anyhow::{Result, bail};

pub(crate) fn run() -> Result<()> {
    bail!("kubectl is not built yet")
}
