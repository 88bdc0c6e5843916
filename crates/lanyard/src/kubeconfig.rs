//! Kubeconfig files: the administrator's under the data folder, and a context in the user's own.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use document::{Value, doc};

/// Who connects where.
pub(crate) struct Access<'a> {
    pub server: String,
    pub authority: &'a str,
    pub certificate: &'a str,
    pub key: &'a str,
}

/// Writes `path` (0600) with one context of this name.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn write(path: &Path, name: &str, access: &Access<'_>) -> anyhow::Result<()> {
    let mut config = empty();
    put(&mut config, name, access);
    save(path, &config)
}

/// Adds a context to the user's kubeconfig and makes it current; entries of the same name are replaced, others stay.
///
/// # Errors
/// The file is no kubeconfig, or cannot be read or written.
pub(crate) fn merge_into_users(name: &str, access: &Access<'_>) -> anyhow::Result<PathBuf> {
    let path = users_file()?;
    let mut config = match std::fs::read(&path) {
        Ok(bytes) => {
            document::yaml::parse(&bytes)
                .map_err(|e| anyhow::anyhow!("{} is not a kubeconfig: {e}", path.display()))?
                .value
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => empty(),
        Err(e) => return Err(e).with_context(|| format!("cannot read {}", path.display())),
    };
    if config.is_null() {
        config = empty();
    }
    if config.as_map().is_none() {
        anyhow::bail!("{} is not a kubeconfig; use --no-context to leave it alone", path.display());
    }
    put(&mut config, name, access);
    save(&path, &config)?;
    Ok(path)
}

/// Takes the context out of the user's kubeconfig again.
///
/// # Errors
/// The file cannot be read or written.
pub(crate) fn remove_from_users(name: &str) -> anyhow::Result<()> {
    let path = users_file()?;
    let Ok(bytes) = std::fs::read(&path) else { return Ok(()) };
    let Ok(parsed) = document::yaml::parse(&bytes) else { return Ok(()) };
    let mut config = parsed.value;
    for list in ["clusters", "contexts", "users"] {
        if let Some(entries) = config.get_mut(list).and_then(Value::as_list_mut) {
            entries.retain(|e| e["name"].str() != name);
        }
    }
    if config["current-context"].str() == name {
        config.set("current-context", "");
    }
    save(&path, &config)
}

fn users_file() -> anyhow::Result<PathBuf> {
    let named = std::env::var_os("KUBECONFIG")
        .and_then(|list| std::env::split_paths(&list).find(|p| !p.as_os_str().is_empty()));
    match (named, std::env::var_os("HOME")) {
        (Some(path), _) => Ok(path),
        (None, Some(home)) => Ok(Path::new(&home).join(".kube/config")),
        (None, None) => anyhow::bail!("neither KUBECONFIG nor HOME is set; use --no-context"),
    }
}

fn empty() -> Value {
    doc!({"apiVersion": "v1", "kind": "Config", "clusters": [], "contexts": [], "users": [], "current-context": "", "preferences": {}})
}

fn put(config: &mut Value, name: &str, access: &Access<'_>) {
    let base64 = |pem: &str| document::decode::encode_base64(pem.as_bytes());
    let cluster = doc!({"server": (access.server.as_str()), "certificate-authority-data": (base64(access.authority))});
    let user = doc!({"client-certificate-data": (base64(access.certificate)), "client-key-data": (base64(access.key))});
    let context = doc!({"cluster": name, "user": name});
    for (list, member, value) in
        [("clusters", "cluster", cluster), ("users", "user", user), ("contexts", "context", context)]
    {
        let entries = config.entry(list).make_list();
        entries.retain(|e| e["name"].str() != name);
        entries.push(Value::of([("name", Value::from(name)), (member, value)]));
    }
    config.set("current-context", name);
}

/// Private from the first byte, and whole or not at all.
fn save(path: &Path, config: &Value) -> anyhow::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let fail = || format!("cannot write {}", path.display());
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).with_context(fail)?;
    }
    let temporary = path.with_extension(format!("lanyard-{}", std::process::id()));
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .with_context(fail)?;
    let text = document::yaml::to_string(config);
    file.write_all(text.as_bytes()).with_context(fail)?;
    file.sync_all().with_context(fail)?;
    std::fs::rename(&temporary, path).with_context(fail)?;
    Ok(())
}
