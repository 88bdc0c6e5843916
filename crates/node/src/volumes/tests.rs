//! Volumes on a temporary folder, without mounts.

use std::{fs, os::unix::fs::PermissionsExt};

use super::*;
use crate::{
    fake::FakeMounter,
    pod::ServiceAccountToken,
    sources::{ConfigMap, Secret},
};

struct Case {
    dir: tempfile::TempDir,
    pod: Pod,
    sources: Sources,
}

fn case(spec: &str) -> Case {
    let json = format!(r#"{{"metadata":{{"name":"p","namespace":"n","uid":"u","labels":{{"a":"b"}}}},"spec":{spec}}}"#);
    let mut sources = Sources::default();
    let map = ConfigMap {
        data: [("k".into(), "v".into()), ("l".into(), "w".into())].into(),
        binary: [("bin".into(), vec![0])].into(),
    };
    sources.config_maps.insert("cm".into(), map);
    sources.secrets.insert("s".into(), Secret { data: [("pw".into(), b"x".to_vec())].into(), ..Default::default() });
    let token = ServiceAccountToken { expiration_seconds: Some(3607), path: "token".into(), ..Default::default() };
    sources.tokens.insert(token, "tok1".into());
    Case { dir: tempfile::tempdir().unwrap(), pod: serde_json::from_str(&json).unwrap(), sources }
}

impl Case {
    fn volumes(&self) -> PodVolumes {
        PodVolumes::new(self.dir.path(), "u", Arc::new(FakeMounter))
    }

    fn set_up(&self) -> Result<(), String> {
        let ips = ["10.0.0.1".to_owned()];
        let capacity = Capacity { milli_cpu: 1000, memory: 1 << 30, ephemeral_storage: 1, pods: 1 };
        self.volumes().set_up(&self.pod, &self.sources, &Facts { host_ips: &ips, pod_ips: &ips, capacity })
    }

    fn path(&self) -> PathBuf {
        self.volumes().path(&self.pod.spec.volumes[0])
    }

    /// Names that a container sees, with content and mode.
    fn files(&self) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        for entry in fs::read_dir(self.path()).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            if !name.starts_with("..") {
                let mode = fs::metadata(entry.path()).unwrap().permissions().mode() & 0o7777;
                all.push(format!("{name}={} {mode:o}", fs::read_to_string(entry.path()).unwrap()));
            }
        }
        all.sort();
        all
    }
}

const TOKEN: &str = r#"{"volumes":[{"name":"kube-api-access-x","projected":{"defaultMode":420,"sources":[
    {"serviceAccountToken":{"path":"token","expirationSeconds":3607}},
    {"configMap":{"name":"cm","items":[{"key":"k","path":"ca.crt"}]}},
    {"downwardAPI":{"items":[{"path":"namespace","fieldRef":{"fieldPath":"metadata.namespace"}}]}}]}}],
    "securityContext":SECURITY,"containers":[{"name":"c"}]}"#;

#[test]
fn a_projected_volume_shows_token_certificate_and_namespace_and_changes_as_one() {
    let mut case = case(&TOKEN.replace("SECURITY", "{}"));
    case.set_up().unwrap();
    assert_eq!(case.files(), ["ca.crt=v 644", "namespace=n 644", "token=tok1 644"]);
    let before = fs::read_link(case.path().join("..data")).unwrap();
    case.set_up().unwrap();
    assert_eq!(fs::read_link(case.path().join("..data")).unwrap(), before, "nothing changed, nothing is written");
    for token in case.sources.tokens.values_mut() {
        *token = "tok2".into();
    }
    case.set_up().unwrap();
    assert_eq!(case.files()[2], "token=tok2 644");
    assert!(!case.path().join(before).exists(), "the old files are gone");
}

#[test]
fn a_token_is_narrowed_to_its_reader() {
    for (security, mode) in [
        (r#"{"runAsUser":1000}"#, "600"),
        (r#"{"fsGroup":10000}"#, "640"),
        (r#"{"runAsUser":1000,"fsGroup":10000}"#, "640"),
    ] {
        let case = case(&TOKEN.replace("SECURITY", security));
        case.set_up().unwrap();
        assert_eq!(case.files()[2], format!("token=tok1 {mode}"), "{security}");
    }
}

#[test]
fn config_maps_and_secrets_become_files() {
    let check = |volume: &str, want: Result<&[&str], &str>| {
        let case = case(&format!(r#"{{"volumes":[{{"name":"v",{volume}}}]}}"#));
        match want {
            Ok(want) => {
                case.set_up().unwrap();
                assert_eq!(case.files(), want, "{volume}");
            }
            Err(want) => {
                let want = format!("MountVolume.SetUp failed for volume \"v\" : {want}");
                assert_eq!(case.set_up().unwrap_err(), want, "{volume}");
            }
        }
    };
    check(r#""configMap":{"name":"cm"}"#, Ok(&["bin=\0 644", "k=v 644", "l=w 644"]));
    check(r#""configMap":{"name":"cm","defaultMode":256,"items":[{"key":"k","path":"x"}]}"#, Ok(&["x=v 400"]));
    check(r#""secret":{"secretName":"s","items":[{"key":"pw","path":"x","mode":288}]}"#, Ok(&["x=x 440"]));
    check(r#""configMap":{"name":"no"}"#, Err("configmap \"no\" not found"));
    check(r#""configMap":{"name":"no","optional":true}"#, Ok(&[]));
    check(
        r#""secret":{"secretName":"s","items":[{"key":"no","path":"x"}]}"#,
        Err("references non-existent secret key: no"),
    );
    check(
        r#""downwardAPI":{"items":[{"path":"labels","fieldRef":{"fieldPath":"metadata.labels"}}]}"#,
        Ok(&["labels=a=\"b\" 644"]),
    );
}

#[test]
fn a_sub_path_is_made_and_cannot_leave_its_volume() {
    let spec = r#"{"volumes":[{"name":"v","emptyDir":{}}],"containers":[{"name":"c","volumeMounts":[{"name":"v","mountPath":"/m","subPath":"SUB"}]}]}"#;
    let mounts = |sub: &str, plant: bool| {
        let case = case(&spec.replace("SUB", sub));
        case.set_up().unwrap();
        if plant {
            std::os::unix::fs::symlink("/etc", case.path().join("evil")).unwrap();
        }
        case.volumes().mounts(&case.pod, &case.pod.spec.containers[0], &[])
    };
    assert!(mounts("a/b", false).unwrap()[0].host_path.ends_with("volume-subpaths/v/c/0"));
    assert!(mounts("evil", true).is_err());
    assert!(mounts("evil/passwd", true).is_err());
    assert!(mounts("../x", false).is_err());
    assert!(mounts("/x", false).is_err());
}

#[test]
fn volumes_are_taken_away_whole() {
    let case = case(&TOKEN.replace("SECURITY", "{}"));
    case.set_up().unwrap();
    case.volumes().tear_down().unwrap();
    assert!(!case.path().exists());
    case.volumes().remove().unwrap();
    assert!(!case.volumes().dir().exists());
    case.volumes().remove().unwrap();
}
