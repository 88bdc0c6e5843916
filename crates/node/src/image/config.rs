//! The parts of an OCI (or Docker) image configuration that matter for running it.

use serde::Deserialize;

use super::Image;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ImageConfig {
    pub(super) architecture: String,
    pub(super) os: String,
    pub(super) config: Option<Process>,
    pub(super) rootfs: RootFs,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RootFs {
    pub(super) diff_ids: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Process {
    user: Option<String>,
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    working_dir: Option<String>,
    stop_signal: Option<String>,
}

impl ImageConfig {
    /// As the pod lifecycle sees it, without names.
    pub(super) fn image(&self, id: &str, size: u64) -> Image {
        let none = Process::default();
        let process = self.config.as_ref().unwrap_or(&none);
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let list = |value: &Option<Vec<String>>| value.clone().unwrap_or_default();
        let pair = |entry: &String| entry.split_once('=').map(|(name, value)| (name.into(), value.into()));
        Image {
            id: id.into(),
            tags: Vec::new(),
            digests: Vec::new(),
            size,
            user: text(&process.user),
            env: list(&process.env).iter().filter_map(pair).collect(),
            entrypoint: list(&process.entrypoint),
            cmd: list(&process.cmd),
            working_dir: text(&process.working_dir),
            stop_signal: text(&process.stop_signal),
        }
    }
}

/// Go's name of this architecture.
pub(super) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nulls_and_missing_fields_are_empty() {
        let text = r#"{"architecture":"amd64","config":{"Env":["A=b=c","bad"],"Cmd":null,"User":"1:2"},"rootfs":{"diff_ids":[]}}"#;
        let config: ImageConfig = serde_json::from_str(text).unwrap();
        let image = config.image("sha256:x", 7);
        assert_eq!(image.env, [("A".to_owned(), "b=c".to_owned())]);
        assert_eq!((image.user.as_str(), image.cmd.len(), image.working_dir.as_str()), ("1:2", 0, ""));
        serde_json::from_str::<ImageConfig>("{}").unwrap();
    }
}
