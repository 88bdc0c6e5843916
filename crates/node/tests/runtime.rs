//! The embedded runtime for real: needs root, overlayfs, cgroups and Debian's busybox-static; says so when it skips.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use node::{
    image::{ImageService, ImageStore, ImageStoreConfig},
    network::Range,
    runtime::{
        ContainerSpec, ContainerState, Embedded, EmbeddedConfig, Event, ExecSpec, Mount, PodRef, PodRuntime, Resources,
        SandboxSpec, SecurityContext, default_masked_paths, default_readonly_paths,
    },
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const BUSYBOX: &str = "/bin/busybox";
static NUMBER: AtomicU32 = AtomicU32::new(0);

struct Machine {
    folder: tempfile::TempDir,
    instance: String,
    range: Range,
    runtime: Embedded,
    images: ImageStore,
}

fn can_run() -> bool {
    let root = unsafe { libc::geteuid() } == 0;
    let overlay = fs::read_to_string("/proc/filesystems").unwrap_or_default().contains("overlay");
    let able = root && overlay && Path::new(BUSYBOX).exists() && std::env::var_os("LANYARD_SKIP_RUNTIME").is_none();
    if !able {
        eprintln!("SKIPPED: needs root, overlayfs and busybox-static");
    }
    able
}

impl Machine {
    async fn new() -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed) + std::process::id() % 1000 * 16;
        let folder = tempfile::tempdir().unwrap();
        let instance = format!("t{number:05x}");
        let range = Range::parse(&format!("10.{}.{}.0/28", 200 + number / 256 % 50, number % 256)).unwrap();
        let (runtime, images) = open(folder.path(), &instance, range);
        images.import(busybox_archive(folder.path())).await.unwrap();
        Self { folder, instance, range, runtime, images }
    }

    async fn sandbox(&self, uid: &str) -> String {
        let spec = SandboxSpec {
            pod: PodRef { namespace: "ns".into(), name: uid.into(), uid: uid.into() },
            hostname: "pod".into(),
            cgroup: format!("burstable/pod{uid}"),
            ..Default::default()
        };
        self.runtime.run_sandbox(&spec).await.unwrap().id
    }

    fn spec(&self, name: &str, script: &str) -> ContainerSpec {
        ContainerSpec {
            name: name.into(),
            image: "busybox".into(),
            command: ["/bin/sh", "-c", script].map(String::from).to_vec(),
            log_path: self.folder.path().join(format!("logs/{name}/0.log")),
            security: SecurityContext {
                masked_paths: default_masked_paths(),
                readonly_paths: default_readonly_paths(),
                ..Default::default()
            },
            ..Default::default()
        }
    }

    async fn run(&self, sandbox: &str, spec: &ContainerSpec) -> String {
        let id = self.runtime.create(sandbox, spec).await.unwrap();
        self.runtime.start(&id).await.unwrap();
        id
    }

    /// Runs to the end: exit code, reason, log without times.
    async fn complete(&self, sandbox: &str, spec: &ContainerSpec) -> (i32, &'static str, String) {
        let id = self.run(sandbox, spec).await;
        let (code, reason) = self.exit(&id).await;
        (code, reason, log(spec))
    }

    async fn exit(&self, id: &str) -> (i32, &'static str) {
        for _ in 0..500 {
            if let ContainerState::Exited { code, reason, .. } = self.runtime.status(id).await.unwrap().state {
                return (code, reason);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("container does not end: {:?}", self.runtime.status(id).await);
    }

    async fn exec(&self, id: &str, script: &str) -> (i32, String) {
        let command = ["/bin/sh", "-c", script].map(String::from).to_vec();
        let spec = ExecSpec { command, stdout: true, stderr: true, ..Default::default() };
        let mut session = self.runtime.exec(id, &spec).await.unwrap();
        let mut out = String::new();
        session.stdout.take().unwrap().read_to_string(&mut out).await.unwrap();
        session.stderr.take().unwrap().read_to_string(&mut out).await.unwrap();
        (session.exit.await.unwrap(), out)
    }

    /// Removes everything and looks whether anything is left.
    async fn end(self) {
        self.runtime.teardown_all().await.unwrap();
        let left = |path: &str| fs::read_to_string(path).unwrap().matches(self.folder.path().to_str().unwrap()).count();
        assert_eq!(left("/proc/self/mounts"), 0, "mounts are left");
        assert!(!Path::new(&format!("/run/lanyard-{}", self.instance)).exists(), "run folder is left");
        for cgroup in find_cgroups(&format!("lanyard-{}", self.instance)) {
            panic!("cgroup {cgroup:?} is left");
        }
        let links = fs::read_dir("/sys/class/net").unwrap().flatten();
        let prefix = format!("ly{:.4}-", self.instance);
        assert!(!links.into_iter().any(|link| link.file_name().to_string_lossy().starts_with(&prefix)));
        for sub in ["sandboxes", "containers"] {
            assert_eq!(fs::read_dir(self.folder.path().join("node").join(sub)).unwrap().count(), 0, "{sub} are left");
        }
        assert!(self.images.remove("busybox").is_ok());
    }
}

fn open(folder: &Path, instance: &str, pod_range: Range) -> (Embedded, ImageStore) {
    let images = ImageStoreConfig { folder: folder.join("images"), ..Default::default() };
    let images = ImageStore::open(images).unwrap();
    let config = EmbeddedConfig { folder: folder.join("node"), instance: instance.into(), pod_range, mtu: 1400 };
    (Embedded::open(config, images.clone()).unwrap(), images)
}

fn find_cgroups(name: &str) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        out.extend([entry.path().join(name)].into_iter().filter(|path| path.exists()));
    }
    out
}

fn log(spec: &ContainerSpec) -> String {
    let text = fs::read_to_string(&spec.log_path).unwrap_or_default();
    text.lines().map(|line| line.splitn(4, ' ').nth(3).unwrap_or_default().to_owned() + "\n").collect()
}

/// A docker archive with busybox, a few links and the usual accounts.
fn busybox_archive(folder: &Path) -> PathBuf {
    let mut layer = tar::Builder::new(Vec::new());
    let header = |kind, mode: u32, size: usize| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        (header.set_mode(mode), header.set_size(size as u64), header.set_uid(0), header.set_gid(0));
        header
    };
    for name in ["bin", "etc", "tmp", "root", "proc", "sys", "dev", "var"] {
        let mode = if name == "tmp" { 0o1777 } else { 0o755 };
        layer.append_data(&mut header(tar::EntryType::Directory, mode, 0), name, &[][..]).unwrap();
    }
    let busybox = fs::read(BUSYBOX).unwrap();
    let files: [(&str, u32, &[u8]); 4] = [
        ("bin/busybox", 0o755, &busybox),
        ("bin/notexec", 0o644, b"x"),
        ("etc/passwd", 0o644, b"root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/tmp:/bin/sh\n"),
        ("etc/group", 0o644, b"root:x:0:\napp:x:1000:\nextra:x:77:app\n"),
    ];
    for (name, mode, content) in files {
        layer.append_data(&mut header(tar::EntryType::Regular, mode, content.len()), name, content).unwrap();
    }
    let applets = "sh cat ls echo sleep true false id df mount umount unshare grep stty hostname wget httpd kill ps \
                   touch chmod mkdir mknod dd nc ip ping head tail awk env readlink wc tr seq yes";
    for applet in applets.split_whitespace() {
        let mut header = header(tar::EntryType::Symlink, 0o777, 0);
        layer.append_link(&mut header, format!("bin/{applet}"), "busybox").unwrap();
    }
    let mut header_run = header(tar::EntryType::Symlink, 0o777, 0);
    layer.append_link(&mut header_run, "var/run", "/run").unwrap();
    let layer = layer.into_inner().unwrap();
    let diff_id = {
        let digest = Command::new("sha256sum").stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut digest = digest_spawn(digest);
        std::io::Write::write_all(&mut digest.stdin.take().unwrap(), &layer).unwrap();
        String::from_utf8(digest.wait_with_output().unwrap().stdout).unwrap()[..64].to_owned()
    };
    let arch = if std::env::consts::ARCH == "aarch64" { "arm64" } else { "amd64" };
    let config = format!(
        r#"{{"architecture":"{arch}","os":"linux","config":{{"Cmd":["/bin/sh"],"Env":["PATH=/bin"]}},"rootfs":{{"type":"layers","diff_ids":["sha256:{diff_id}"]}}}}"#
    );
    let manifest = r#"[{"Config":"c.json","RepoTags":["busybox:latest"],"Layers":["layer.tar"]}]"#;
    let path = folder.join("busybox.tar");
    let mut archive = tar::Builder::new(fs::File::create(&path).unwrap());
    let parts: [(&str, &[u8]); 3] =
        [("manifest.json", manifest.as_bytes()), ("c.json", config.as_bytes()), ("layer.tar", &layer)];
    for (name, content) in parts {
        archive.append_data(&mut header(tar::EntryType::Regular, 0o644, content.len()), name, content).unwrap();
    }
    archive.finish().unwrap();
    path
}

fn digest_spawn(command: &mut Command) -> std::process::Child {
    command.spawn().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_runs_to_its_end_with_code_and_log() {
    if !can_run() {
        return;
    }
    let machine = Machine::new().await;
    let sandbox = machine.sandbox("p1").await;
    let mut events = machine.runtime.events();
    let spec = machine.spec("a", "echo out; echo err >&2; printf tail; exit 7");
    let (code, reason, text) = machine.complete(&sandbox, &spec).await;
    assert_eq!((code, reason), (7, "Error"));
    assert!(text.contains("out\n") && text.contains("err\n") && text.contains("tail\n"), "{text}");
    let raw = fs::read_to_string(&spec.log_path).unwrap();
    assert!(raw.contains(" stderr F err") && raw.contains(" stdout P tail"), "{raw}");
    assert!(matches!(events.recv().await.unwrap(), Event::Started { .. }));
    assert!(matches!(events.recv().await.unwrap(), Event::Exited { code: 7, oom: false, .. }));
    machine.end().await;
}
