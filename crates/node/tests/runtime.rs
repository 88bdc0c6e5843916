//! The embedded runtime for real: needs root, overlayfs, cgroups and Debian's busybox-static; says so when it skips.
#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
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
        let cgroups: Vec<_> = find_cgroups(&format!("lanyard-{}", self.instance)).into_iter().collect();
        assert!(cgroups.is_empty(), "cgroups are left: {cgroups:?}");
        let routes = Command::new("/bin/busybox").args(["ip", "route"]).output().unwrap();
        let routes = String::from_utf8(routes.stdout).unwrap();
        let range = self.range.to_string();
        let network = range.rsplit_once('.').unwrap().0;
        assert!(!routes.contains(network), "routes are left: {routes}");
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
        header.set_mode(mode);
        header.set_size(size as u64);
        header.set_uid(0);
        header.set_gid(0);
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
    let diff_id = sha256(&layer);
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

fn sha256(bytes: &[u8]) -> String {
    let mut command = Command::new("sha256sum");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), bytes).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()[..64].to_owned()
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

#[tokio::test(flavor = "multi_thread")]
async fn a_container_is_confined() {
    if !can_run() {
        return;
    }
    let machine = Machine::new().await;
    let sandbox = machine.sandbox("p1").await;
    let mut spec = machine.spec("a", "sleep 1000");
    spec.resources = Resources { memory_limit: 64 << 20, cpu_quota: 50_000, pids_limit: 50, ..Default::default() };
    let id = machine.run(&sandbox, &spec).await;
    let look = "grep -E '^(Seccomp|NoNewPrivs|CapEff|CapBnd|CapInh|CapAmb):' /proc/self/status; hostname; id -u; pwd; echo $PATH";
    let (code, text) = machine.exec(&id, &look.replace("self", "1")).await;
    let expected = [
        "CapInh:\t0000000000000000",
        "CapEff:\t00000000a80425fb",
        "CapBnd:\t00000000a80425fb",
        "CapAmb:\t0000000000000000",
        "NoNewPrivs:\t0",
        "Seccomp:\t2",
        "pod",
        "0",
        "/",
    ];
    for line in expected {
        assert!(text.lines().any(|found| found == line), "{line:?} is not in {text}");
    }
    assert_eq!(code, 0);
    let (_, inside) = machine.exec(&id, look).await;
    assert_eq!(inside, text, "exec is confined as the container is");
    for refused in [
        "unshare -m true",
        "mount -t tmpfs x /tmp",
        "hostname x",
        "echo 1 > /proc/sys/kernel/panic",
        "echo x > /sys/fs/cgroup/x",
        "mknod /tmp/vda b 254 0 && cat /tmp/vda",
        "cat /proc/kcore",
    ] {
        let (code, text) = machine.exec(&id, refused).await;
        assert!(code != 0 || text.is_empty(), "{refused}: {text}");
    }
    let (_, text) = machine.exec(&id, "ls -l /proc/self/fd; cat /proc/mounts; ls /dev; cat /proc/1/cgroup").await;
    assert!(text.contains("tmpfs /dev tmpfs") && text.contains("/dev/shm") && text.contains("ptmx"), "{text}");
    assert!(!text.contains("/lanyard-shim"), "{text}");
    let stats = machine.runtime.stats(&id).await.unwrap();
    assert!(stats.memory_usage_bytes > 0 && stats.cpu_usage_nanoseconds > 0, "{stats:?}");
    let (code, text) = machine.exec(&id, "for i in $(seq 1 80); do sleep 5 & done; echo done").await;
    assert!(code != 0 || text.contains("can't fork"), "{code} {text}");
    machine.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_groups_and_privileges_are_as_asked() {
    if !can_run() {
        return;
    }
    let machine = Machine::new().await;
    let sandbox = machine.sandbox("p1").await;
    let show = "id; grep -E '^(Seccomp|NoNewPrivs|CapEff|CapBnd):' /proc/self/status; echo x > /dev/stdout; touch /x && echo written";
    let mut spec = machine.spec("a", show);
    spec.security.run_as_user = Some(1000);
    spec.security.supplemental_groups = vec![2000];
    spec.security.drop_capabilities = vec!["ALL".into()];
    spec.security.no_new_privs = true;
    spec.security.readonly_rootfs = true;
    let (_, _, text) = machine.complete(&sandbox, &spec).await;
    assert!(text.contains("uid=1000(app) gid=1000(app) groups=77(extra),1000(app),2000"), "{text}");
    for line in ["CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2", "x"] {
        assert!(text.lines().any(|found| found == line), "{line:?} is not in {text}");
    }
    assert!(!text.contains("written"), "{text}");
    let mut spec = machine.spec("b", show);
    spec.security.privileged = true;
    let (_, _, text) = machine.complete(&sandbox, &spec).await;
    assert!(text.contains("Seccomp:\t0") && text.contains("written"), "{text}");
    machine.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_start_says_so_as_upstream() {
    if !can_run() {
        return;
    }
    let machine = Machine::new().await;
    let sandbox = machine.sandbox("p1").await;
    for (command, cause) in [
        ("nosuch", r#"exec: "nosuch": executable file not found in $PATH"#),
        ("/no/such", r#"exec: "/no/such": stat /no/such: no such file or directory"#),
        ("/bin/notexec", r#"exec: "/bin/notexec": permission denied"#),
    ] {
        let mut spec = machine.spec("a", "");
        spec.command = vec![command.into()];
        let id = machine.runtime.create(&sandbox, &spec).await.unwrap();
        let error = machine.runtime.start(&id).await.unwrap_err().to_string();
        let expected = "failed to create task: OCI runtime create failed: unable to start container process: error during container init: ";
        assert_eq!(error, format!("{expected}{cause}"));
        match machine.runtime.status(&id).await.unwrap().state {
            ContainerState::Exited { code: 128, reason: "StartError", message, .. } => assert_eq!(message, error),
            other => panic!("{other:?}"),
        }
    }
    let id = machine.run(&sandbox, &machine.spec("b", "sleep 1000")).await;
    let spec = ExecSpec { command: vec!["nosuch".into()], ..Default::default() };
    let error = machine.runtime.exec(&id, &spec).await.err().unwrap().to_string();
    assert!(error.ends_with(r#"exec: "nosuch": executable file not found in $PATH"#), "{error}");
    let mut spec = machine.spec("c", "");
    spec.image = "missing:1".into();
    let error = machine.runtime.create(&sandbox, &spec).await.unwrap_err().to_string();
    assert_eq!(error, "image \"missing:1\" not found");
    machine.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exec_has_streams_a_terminal_and_an_exit_code() {
    if !can_run() {
        return;
    }
    let machine = Machine::new().await;
    let sandbox = machine.sandbox("p1").await;
    let id = machine.run(&sandbox, &machine.spec("a", "sleep 1000")).await;
    assert_eq!(machine.exec(&id, "echo out; echo err >&2; exit 42").await, (42, "out\nerr\n".into()));
    assert_eq!(machine.exec(&id, "kill -9 $$").await.0, 137);
    let spec = ExecSpec { command: vec!["cat".into()], stdin: true, stdout: true, ..Default::default() };
    let mut session = machine.runtime.exec(&id, &spec).await.unwrap();
    let mut stdin = session.stdin.take().unwrap();
    stdin.write_all(&[b'x'; 100_000]).await.unwrap();
    drop(stdin);
    let mut out = Vec::new();
    session.stdout.take().unwrap().read_to_end(&mut out).await.unwrap();
    assert_eq!((out.len(), session.exit.await.unwrap()), (100_000, 0));
    let spec = ExecSpec { command: vec!["/bin/sh".into()], tty: true, stdin: true, stdout: true, ..Default::default() };
    let mut session = machine.runtime.exec(&id, &spec).await.unwrap();
    session.control.resize(101, 37).unwrap();
    let mut stdin = session.stdin.take().unwrap();
    stdin.write_all(b"stty size; tty=$(readlink /proc/self/fd/0); echo tty=$tty TERM=$TERM; exit 3\n").await.unwrap();
    let mut out = String::new();
    session.stdout.take().unwrap().read_to_string(&mut out).await.unwrap();
    assert!(out.contains("37 101") && out.contains("tty=/dev/pts/") && out.contains("TERM=xterm"), "{out}");
    assert_eq!(session.exit.await.unwrap(), 3);
    let spec = ExecSpec { command: ["sleep", "1000"].map(String::from).to_vec(), ..Default::default() };
    let session = machine.runtime.exec(&id, &spec).await.unwrap();
    session.control.kill();
    assert_eq!(session.exit.await.unwrap(), 137);
    machine.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_beyond_the_limit_is_oom_killed() {
    if !can_run() {
        return;
    }
    let machine = Machine::new().await;
    let sandbox = machine.sandbox("p1").await;
    let mut spec = machine.spec("a", "x=a; while true; do x=$x$x$x$x; done");
    spec.resources.memory_limit = 32 << 20;
    spec.resources.oom_score_adj = Some(-997);
    let (code, reason, _) = machine.complete(&sandbox, &spec).await;
    assert_eq!((code, reason), (137, "OOMKilled"));
    machine.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_asks_first_and_kills_after_the_grace_period() {
    if !can_run() {
        return;
    }
    let machine = Machine::new().await;
    let sandbox = machine.sandbox("p1").await;
    let polite = machine
        .run(&sandbox, &machine.spec("a", "trap 'echo bye; exit 5' TERM; while true; do sleep 0.05; done"))
        .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    machine.runtime.stop(&polite, Duration::from_secs(20)).await.unwrap();
    assert_eq!(machine.exit(&polite).await, (5, "Error"));
    let deaf = machine.run(&sandbox, &machine.spec("b", "trap '' TERM; while true; do sleep 0.05; done")).await;
    let since = Instant::now();
    machine.runtime.stop(&deaf, Duration::from_millis(700)).await.unwrap();
    assert!(since.elapsed() >= Duration::from_millis(700));
    assert_eq!(machine.exit(&deaf).await, (137, "Error"));
    machine.runtime.stop(&deaf, Duration::ZERO).await.unwrap();
    machine.runtime.remove(&deaf).await.unwrap();
    machine.runtime.remove(&deaf).await.unwrap();
    assert!(machine.runtime.status(&deaf).await.unwrap_err().is_not_found());
    machine.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_agent_adopts_what_runs() {
    if !can_run() {
        return;
    }
    let mut machine = Machine::new().await;
    let sandbox = machine.sandbox("p1").await;
    let runs = machine.run(&sandbox, &machine.spec("a", "echo one; sleep 2; echo two; exit 9")).await;
    let ended = machine.run(&sandbox, &machine.spec("b", "exit 4")).await;
    assert_eq!(machine.exit(&ended).await.0, 4);
    let lost = machine.run(&sandbox, &machine.spec("c", "sleep 1000")).await;
    let created = machine.runtime.create(&sandbox, &machine.spec("d", "exit 6")).await.unwrap();
    let shim = fs::read_to_string(machine.folder.path().join(format!("node/containers/{lost}/shim.pid"))).unwrap();
    let ips = machine.runtime.list().await.unwrap().sandboxes[0].ips.clone();
    let (runtime, images) = open(machine.folder.path(), &machine.instance, machine.range);
    machine.runtime = runtime;
    machine.images = images;
    assert!(machine.images.remove("busybox").is_err(), "the image is in use");
    let snapshot = machine.runtime.list().await.unwrap();
    assert_eq!((snapshot.sandboxes[0].ips.clone(), snapshot.containers.len()), (ips, 4));
    assert_eq!(machine.runtime.status(&runs).await.unwrap().state, ContainerState::Running);
    assert_eq!(machine.exec(&runs, "echo hi").await, (0, "hi\n".into()));
    assert_eq!(machine.exit(&ended).await, (4, "Error"));
    let pid: i32 = shim.split(' ').next().unwrap().parse().unwrap();
    unsafe { libc::kill(pid, libc::SIGKILL) };
    assert_eq!(machine.exit(&lost).await, (137, "ContainerStatusUnknown"));
    assert_eq!(machine.exit(&runs).await, (9, "Error"));
    assert!(log(&machine.spec("a", "")).contains("one\ntwo\n"));
    machine.runtime.start(&created).await.unwrap();
    assert_eq!(machine.exit(&created).await.0, 6);
    machine.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_share_their_network_and_reach_host_and_each_other() {
    if !can_run() {
        return;
    }
    let machine = Machine::new().await;
    let (one, two) = (machine.sandbox("p1").await, machine.sandbox("p2").await);
    assert_eq!(machine.sandbox("p1").await, one, "running a sandbox again finds it");
    let server = machine.run(&one, &machine.spec("a", "echo hello > /tmp/x; httpd -f -p 8080 -h /tmp")).await;
    let sidecar = machine.run(&one, &machine.spec("b", "sleep 1000")).await;
    let client = machine.run(&two, &machine.spec("c", "sleep 1000")).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let sandboxes = machine.runtime.list().await.unwrap().sandboxes;
    let address = sandboxes.iter().find(|sandbox| sandbox.id == one).unwrap().ips[0];
    let get = |host: String| format!("wget -q -O - http://{host}:8080/x");
    assert_eq!(machine.exec(&sidecar, &get("127.0.0.1".into())).await, (0, "hello\n".into()));
    assert_eq!(machine.exec(&client, &get(address.to_string())).await, (0, "hello\n".into()));
    let mut stream = tokio::net::TcpStream::connect((address, 8080)).await.unwrap();
    stream.write_all(b"GET /x HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("hello\n"), "{answer}");
    machine.exec(&sidecar, "echo shared > /dev/shm/f").await;
    assert_eq!(machine.exec(&server, "cat /dev/shm/f").await.1, "shared\n");
    let (_, text) = machine.exec(&client, "cat /etc/hostname; ip addr show eth0; ip route").await;
    assert!(
        text.starts_with("pod\n") && text.contains("mtu 1400") && text.contains("default via 169.254.1.1"),
        "{text}"
    );
    machine.runtime.stop_sandbox(&one).await.unwrap();
    assert_eq!(machine.exit(&server).await.0, 137);
    machine.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn host_folders_and_volumes_are_mounted() {
    if !can_run() {
        return;
    }
    let machine = Machine::new().await;
    let sandbox = machine.sandbox("p1").await;
    let host = machine.folder.path().join("volume");
    fs::create_dir(&host).unwrap();
    fs::write(host.join("f"), "from host\n").unwrap();
    let mut spec = machine.spec(
        "a",
        "cat /data/f; echo back > /data/g; cat /var/run/secrets/x/f; touch /var/run/secrets/x/n || echo refused; pwd",
    );
    spec.working_dir = "/made/up".into();
    let mount = |path: &str, readonly| Mount {
        host_path: host.clone(),
        container_path: path.into(),
        readonly,
        ..Default::default()
    };
    spec.mounts = vec![mount("/data", false), mount("/var/run/secrets/x", true)];
    let (code, _, text) = machine.complete(&sandbox, &spec).await;
    assert_eq!(code, 0);
    assert!(text.contains("from host\nfrom host\n") && text.contains("refused") && text.contains("/made/up"), "{text}");
    assert_eq!(fs::read_to_string(host.join("g")).unwrap(), "back\n");
    machine.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_runs_soon() {
    if !can_run() {
        return;
    }
    let machine = Machine::new().await;
    let mut times = Vec::new();
    for number in 0..10 {
        let since = Instant::now();
        let sandbox = machine.sandbox(&format!("p{number}")).await;
        machine.run(&sandbox, &machine.spec(&format!("c{number}"), "sleep 1000")).await;
        times.push(since.elapsed());
    }
    times.sort();
    eprintln!("sandbox to running: min {:?} median {:?} max {:?}", times[0], times[5], times[9]);
    assert!(times[0] < Duration::from_secs(2), "{times:?}");
    machine.end().await;
}

struct Registry {
    process: std::process::Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Debian's docker-registry on loopback; with accounts if asked, user `me`, password `secret`.
async fn registry(accounts: bool) -> Option<Registry> {
    let there = |name: &str| Path::new("/usr/bin").join(name).exists();
    if !there("docker-registry") || !there("skopeo") {
        eprintln!("SKIPPED: needs docker-registry and skopeo");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let accounts_file = folder.path().join("htpasswd");
    fs::write(&accounts_file, "me:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n").unwrap();
    let root = folder.path().join("data");
    let mut config = format!(
        "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {address}\n",
        root.display()
    );
    if accounts {
        config += &format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", accounts_file.display());
    }
    fs::write(folder.path().join("config.yml"), config).unwrap();
    let mut command = Command::new("docker-registry");
    command.arg("serve").arg(folder.path().join("config.yml")).stdout(Stdio::null()).stderr(Stdio::null());
    let process = command.spawn().unwrap();
    let registry = Registry { process, address, _folder: folder };
    for _ in 0..200 {
        if tokio::net::TcpStream::connect(&registry.address).await.is_ok() {
            return Some(registry);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("docker-registry does not answer");
}

impl Registry {
    fn push(&self, archive: &Path, name: &str, more: &[&str]) {
        let mut command = Command::new("skopeo");
        command.args(["--insecure-policy", "copy", "--dest-tls-verify=false"]).args(more);
        let target = format!("docker://{}/{name}", self.address);
        let done = command.arg(format!("docker-archive:{}", archive.display())).arg(target).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    fn store(&self, folder: &Path) -> ImageStore {
        let mirrors = [("docker.io".to_owned(), format!("http://{}", self.address))].into();
        ImageStore::open(ImageStoreConfig { folder: folder.join("images"), mirrors }).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn images_are_pulled_from_a_registry_and_its_mirror() {
    if !can_run() {
        return;
    }
    let Some(registry) = registry(false).await else { return };
    let folder = tempfile::tempdir().unwrap();
    registry.push(&busybox_archive(folder.path()), "library/busybox:1", &[]);
    registry.push(
        &busybox_archive(folder.path()),
        "library/busybox:z",
        &["--dest-compress-format", "zstd", "--format", "oci"],
    );
    let store = registry.store(folder.path());
    let image = store.pull("busybox:1", None).await.unwrap();
    assert_eq!(image.tags, ["docker.io/library/busybox:1"]);
    assert_eq!((image.cmd.as_slice(), image.digests.len()), (&["/bin/sh".to_owned()][..], 1));
    let again = store.pull(&image.digests[0], None).await.unwrap();
    assert_eq!(again.id, image.id);
    let direct = store.pull(&format!("{}/library/busybox:z", registry.address), None).await.unwrap();
    assert_eq!((direct.id == image.id, direct.size), (false, image.size));
    let zeros = format!("busybox@sha256:{}", "0".repeat(64));
    for missing in ["busybox:2", "nothing/here:1", &zeros] {
        let error = store.pull(missing, None).await.unwrap_err();
        assert!(matches!(error, node::image::ImageError::NotFound { .. }), "{error}");
        assert!(error.to_string().ends_with(": not found"), "{error}");
    }
    let nobody = store.pull("127.0.0.1:1/x", None).await.unwrap_err();
    assert!(matches!(nobody, node::image::ImageError::Unreachable { .. }), "{nobody}");
    assert!(nobody.to_string().ends_with("dial tcp 127.0.0.1:1: connect: connection refused"), "{nobody}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_with_accounts_wants_credentials() {
    if !can_run() {
        return;
    }
    let Some(registry) = registry(true).await else { return };
    let folder = tempfile::tempdir().unwrap();
    registry.push(&busybox_archive(folder.path()), "a/b:1", &["--dest-creds", "me:secret"]);
    let store = registry.store(folder.path());
    let auth = |password: &str| node::image::Auth { username: "me".into(), password: password.into() };
    for auth in [None, Some(auth("wrong"))] {
        let error = store.pull("a/b:1", auth.as_ref()).await.unwrap_err();
        assert!(matches!(error, node::image::ImageError::Unauthorized { .. }), "{error}");
        assert!(!error.to_string().contains("wrong"));
    }
    store.pull("a/b:1", Some(&auth("secret"))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_with_a_terminal_logs_and_a_log_is_opened_anew() {
    if !can_run() {
        return;
    }
    let machine = Machine::new().await;
    let sandbox = machine.sandbox("p1").await;
    let mut spec = machine.spec("a", "readlink /proc/self/fd/1; while true; do echo tick; sleep 0.05; done");
    spec.tty = true;
    let id = machine.run(&sandbox, &spec).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(log(&spec).contains("/dev/pts/0"), "{}", log(&spec));
    let rotated = spec.log_path.with_extension("rotated");
    fs::rename(&spec.log_path, &rotated).unwrap();
    machine.runtime.reopen_log(&id).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(log(&spec).starts_with("tick"), "{}", log(&spec));
    let limits = Resources { pids_limit: 10, ..Default::default() };
    machine.runtime.update(&id, &limits).await.unwrap();
    let (code, text) = machine.exec(&id, "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 3 & done; echo done").await;
    assert!(code != 0 || text.contains("can't fork"), "{code} {text}");
    machine.end().await;
}
