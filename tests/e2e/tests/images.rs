//! Step 7: images from files and from a registry.

use crate::identity::pod_of;
use e2e::cluster::SOON;
use e2e::image::{Image, Layer, Packing};
use e2e::{Cluster, eventually};
use std::path::Path;
use std::process::Child;

fn waiting(cluster: &Cluster, pod: &str) -> String {
    cluster.path(&format!("pod/{pod}"), "default", "{.status.containerStatuses[0].state.waiting.reason}")
}

#[test]
fn archives_of_every_form_are_imported_listed_run_and_removed() {
    let Some(cluster) = Cluster::up("import") else { return };
    let file = |name: &str| cluster.machine.home.join(name);
    type Write = fn(&Image, &Path, Packing);
    let forms: [(&str, Write, Packing); 5] = [
        ("docker-gzip", Image::docker_archive, Packing::Gzip),
        ("docker-plain", Image::docker_archive, Packing::Plain),
        ("oci-plain", Image::oci_archive, Packing::Plain),
        ("oci-gzip", Image::oci_archive, Packing::Gzip),
        ("oci-zstd", Image::oci_archive, Packing::Zstd),
    ];
    for (form, write, packing) in forms {
        let name = format!("docker.io/library/{form}:1");
        let tar = file(&format!("{form}.tar"));
        // A second layer hides a file of the first and adds one.
        let mut layer = Layer::new();
        layer.file("etc/.wh.group", 0o644, b"");
        layer.file("etc/form", 0o644, form.as_bytes());
        write(&Image::busybox(&name).with_layer(layer.finish()), &tar, packing);
        cluster.lanyard(&["image", "import", &tar.to_string_lossy()]).ok();
        let listed = cluster.lanyard(&["image", "ls"]).ok();
        assert!(listed.contains(form), "{form} in\n{listed}");
        cluster.apply(&pod_of(&format!("{form}:1"), form, "default", "")).ok();
    }
    for (form, ..) in forms {
        cluster.ready("default", form);
        let said = cluster
            .exec("default", form, &["sh", "-c", "cat /etc/form; cd /etc; ls form group passwd 2>&1 || true"])
            .ok();
        assert_eq!(
            said,
            format!("{form}ls: group: No such file or directory\nform\npasswd\n"),
            "{form}: one file was added, one is hidden"
        );
    }
    cluster.kubectl("delete pod oci-gzip --grace-period=1").ok();
    // What the container leaves on disk goes a moment after its pod.
    eventually(SOON, "the image is removed", || {
        let removed = cluster.lanyard(&["image", "rm", "docker.io/library/oci-gzip:1"]);
        if removed.code == 0 { Ok(()) } else { Err(removed.stderr) }
    });
    assert!(!cluster.lanyard(&["image", "ls"]).ok().contains("oci-gzip"));
}

#[test]
fn hostile_layers_write_nothing_outside() {
    let Some(cluster) = Cluster::up("hostile") else { return };
    let victim = cluster.machine.home.join("victim");
    std::fs::write(&victim, "untouched").unwrap();
    let outside = victim.to_string_lossy().into_owned();
    let mut climbs = Layer::new();
    climbs.file(&format!("{}{outside}", "../".repeat(9)), 0o644, b"written");
    let mut through = Layer::new();
    through.link("way", &victim.parent().unwrap().to_string_lossy());
    through.file("way/victim", 0o644, b"written");
    let mut linked = Layer::new();
    linked.hard_link("stolen", &outside);
    linked.file("stolen", 0o644, b"written");
    for (name, layer) in [("climbs", climbs), ("through", through), ("linked", linked)] {
        let tar = cluster.machine.home.join(format!("{name}.tar"));
        let image = Image::busybox(&format!("docker.io/library/{name}:1")).with_layer(layer.finish());
        image.docker_archive(&tar, Packing::Plain);
        let done = cluster.lanyard(&["image", "import", &tar.to_string_lossy()]);
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "untouched", "{name}: {done:?}");
        if name != "through" {
            assert_ne!(done.code, 0, "{name} is refused: {done:?}");
        }
    }
    let truncated = cluster.machine.home.join("truncated.tar");
    std::fs::write(&truncated, &std::fs::read(cluster.machine.home.join("climbs.tar")).unwrap()[..700_000]).unwrap();
    let done = cluster.lanyard(&["image", "import", &truncated.to_string_lossy()]);
    assert_ne!(done.code, 0);
    assert!(!done.stderr.contains("panicked"), "{done:?}");
}

/// A user `reader` with the password `secret`, as htpasswd -B writes it.
const USERS: &str = "reader:$2b$04$Kp6iwY.1W/G667DbJY7WpeLOYRnIKccKL59uG6EPpBWftNz3ZvKPe\n";

/// Debian's docker-registry on loopback of the cluster's machine, with `library/pulled:1` in it.
struct Registry {
    _process: Child,
    name: &'static str,
}

impl Registry {
    fn start(cluster: &Cluster, name: &'static str, port: u16, users: bool) -> Self {
        let home = &cluster.machine.home;
        let auth = if users {
            format!("auth: {{htpasswd: {{realm: test, path: {}/users}}}}\n", home.display())
        } else {
            String::new()
        };
        let config = format!(
            "version: 0.1\nlog: {{level: info, accesslog: {{disabled: false}}}}\nstorage: {{filesystem: {{rootdirectory: {}/{name}}}}}\n\
             http: {{addr: '127.0.0.1:{port}'}}\n{auth}",
            home.display()
        );
        std::fs::write(home.join("users"), USERS).unwrap();
        std::fs::write(home.join(format!("{name}.yml")), config).unwrap();
        let mut serve = cluster.machine.command("docker-registry");
        let process = cluster.machine.start(name, serve.arg("serve").arg(home.join(format!("{name}.yml"))));
        let probe = format!("exec 3<>/dev/tcp/127.0.0.1/{port}");
        eventually(SOON, "the registry listens", || match cluster.machine.sh(&probe).code {
            0 => Ok(()),
            _ => Err(cluster.machine.log(name)),
        });
        let tar = home.join("pulled.tar");
        // A layer that no other image has, and that does not get smaller by compression.
        let mut state = 1_u32;
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        let noise: Vec<u8> = (0..3_000_000).map(|_| noise()).collect();
        let mut layer = Layer::new();
        layer.file("noise", 0o644, &noise);
        Image::busybox("pulled:1").with_layer(layer.finish()).docker_archive(&tar, Packing::Plain);
        let creds = if users { "--dest-creds reader:secret" } else { "" };
        let push = format!(
            "skopeo --insecure-policy copy --dest-tls-verify=false {creds} docker-archive:{} docker://127.0.0.1:{port}/library/pulled:1",
            tar.display()
        );
        cluster.machine.sh(&push).ok();
        Self { _process: process, name }
    }

    /// How often a manifest was asked for by anyone but skopeo.
    fn asked(&self, cluster: &Cluster) -> usize {
        let log = cluster.machine.log(self.name);
        log.lines().filter(|l| l.contains("/manifests/") && l.contains("HTTP/1.1\"") && !l.contains("skopeo")).count()
    }
}

const MIRROR: &str = "--registry-mirror=docker.io=http://127.0.0.1:5000";

#[test]
fn images_are_pulled_from_a_registry_as_the_policy_says() {
    let Some(cluster) = Cluster::up_with("pull", &[MIRROR]) else { return };
    let registry = Registry::start(&cluster, "registry", 5000, false);
    let with = |name: &str, policy: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  containers:\n  - {{name: main, image: 'pulled:1', imagePullPolicy: {policy}, \
             command: [sleep, '604800']}}\n"
        )
    };
    cluster.apply(&with("never", "Never")).ok();
    eventually(SOON, "Never does not pull", || {
        (waiting(&cluster, "never") == "ErrImageNeverPull").then_some(()).ok_or(waiting(&cluster, "never"))
    });
    assert_eq!(registry.asked(&cluster), 0);

    cluster.apply(&with("first", "IfNotPresent")).ok();
    cluster.ready("default", "first");
    cluster.event("default", "first", "Pulling", "Pulling image \"pulled:1\"");
    cluster.event("default", "first", "Pulled", "Successfully pulled image \"pulled:1\" in ");
    let id = cluster.path("pod/first", "default", "{.status.containerStatuses[0].imageID}");
    assert!(id.contains("@sha256:") || id.starts_with("sha256:"), "{id}");
    let once = registry.asked(&cluster);
    assert!(once > 0);

    cluster.apply(&with("second", "IfNotPresent")).ok();
    cluster.ready("default", "second");
    assert_eq!(registry.asked(&cluster), once, "a present image is not asked for");
    cluster.apply(&with("always", "Always")).ok();
    cluster.ready("default", "always");
    assert!(registry.asked(&cluster) > once, "Always asks every time");
    cluster.ready("default", "never");
}

#[test]
fn a_registry_that_wants_a_password_gets_it_from_image_pull_secrets() {
    let Some(cluster) = Cluster::up_with("secret", &[MIRROR]) else { return };
    let _registry = Registry::start(&cluster, "registry", 5000, true);
    cluster.apply(&pod_of("pulled:1", "without", "default", "")).ok();
    let message = cluster.event("default", "without", "Failed", "Failed to pull image \"pulled:1\": ");
    assert!(!message.contains("secret"), "{message}");
    let line = "create secret docker-registry pull --docker-server=https://index.docker.io/v1/ --docker-username=reader --docker-password=secret";
    cluster.kubectl(line).ok();
    cluster.apply(&pod_of("pulled:1", "with", "default", "  imagePullSecrets: [{name: pull}]\n")).ok();
    cluster.ready("default", "with");
}

#[test]
fn a_layer_that_is_not_what_its_digest_says_is_refused() {
    let Some(cluster) = Cluster::up_with("digest", &[MIRROR]) else { return };
    let registry = Registry::start(&cluster, "registry", 5000, false);
    let blobs = cluster.machine.home.join(registry.name);
    let largest =
        format!("find {} -name data -type f -printf '%s %p\\n' | sort -n | tail -1 | cut -d' ' -f2", blobs.display());
    let blob = cluster.machine.sh(&largest).ok();
    let blob = Path::new(blob.trim());
    let mut bytes = std::fs::read(blob).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(blob, bytes).unwrap();
    cluster.apply(&pod_of("pulled:1", "tampered", "default", "")).ok();
    cluster.event("default", "tampered", "Failed", "Failed to pull image \"pulled:1\": ");
    let state = cluster.path("pod/tampered", "default", "{.status.containerStatuses[0].state.running}");
    assert_eq!(state, "", "it does not run");
    assert!(!cluster.lanyard(&["image", "ls"]).ok().contains("pulled"), "nothing of it is kept as an image");
}
