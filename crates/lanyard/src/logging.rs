//! Logs on stderr: text or JSON, more of it with `-v`.

use tracing_subscriber::EnvFilter;

/// Starts logging; `LANYARD_LOG` overrides what is logged (`authz=debug,node=trace`).
pub(crate) fn start(verbose: u8, format: &str) -> anyhow::Result<()> {
    let default = match verbose {
        0 => "info",
        1 => "debug",
        _ => "trace",
    };
    let ours = format!(
        "warn,lanyard={default},apiserver={default},registry={default},gate={default},authn={default},authz={default},admission={default},store={default},client={default},controllers={default},scheduler={default},node={default}"
    );
    let filter = EnvFilter::try_from_env("LANYARD_LOG").or_else(|_| EnvFilter::try_new(ours))?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        "json" => logs.json().init(),
        "text" => logs.with_ansi(false).init(),
        other => anyhow::bail!("--logging-format is text or json, not {other:?}"),
    }
    Ok(())
}
