//! Files replaced under a control plane in this process; each test looks when it has changed something, nothing waits.

use std::path::Path;

use apiserver::{Assembled, Server, assemble};
use authn::Peer;
use clap::Parser as _;
use http::HeaderMap;
use issuer::authority::certificates_from_pem;
use issuer::{CertificateAuthority, Identity, SigningKey, Subject};
use meta::{Key, ResourceId};

use super::*;
use crate::flags::{Command, Verb};
use crate::server::{self, Node};

const SIGNER: &str = "kubernetes.io/kube-apiserver-client";

/// One set of what the files may hold.
struct Set {
    key: SigningKey,
    key_pem: String,
    authority: CertificateAuthority,
    identity: Identity,
    jane: Peer,
}

impl Set {
    fn new() -> Self {
        let (key, key_pem) = SigningKey::generate().unwrap();
        let (authority, identity) = CertificateAuthority::generate("clients").unwrap();
        let jane = authority.issue(&Subject::client("jane", "x")).unwrap();
        let jane = Peer::new(certificates_from_pem(&jane.certificate)).unwrap();
        Set { key, key_pem, authority, identity, jane }
    }

    /// As new files that take the place of the old ones.
    fn write(&self, dir: &Path) {
        let certificate = self.authority.certificate();
        for (name, text) in [
            ("sa.key", self.key_pem.as_str()),
            ("clients.crt", certificate),
            ("signing.crt", certificate),
            ("signing.key", &self.identity.key),
        ] {
            put(dir, name, text);
        }
    }
}

fn put(dir: &Path, name: &str, text: &str) {
    std::fs::write(dir.join("new"), text).unwrap();
    std::fs::rename(dir.join("new"), dir.join(name)).unwrap();
}

struct World {
    reloader: Reloader,
    dir: tempfile::TempDir,
    _server: Server,
}

impl World {
    async fn start(first: &Set) -> Self {
        let dir = tempfile::tempdir().unwrap();
        first.write(dir.path());
        let file = |name: &str| dir.path().join(name).display().to_string();
        let line = [
            "lanyard server --storage=memory --secure-port=0".to_owned(),
            format!("--data-dir={}", file("data")),
            format!("--service-account-signing-key-file={}", file("sa.key")),
            format!("--client-ca-file={}", file("clients.crt")),
            format!("--cluster-signing-cert-file={}", file("signing.crt")),
            format!("--cluster-signing-key-file={}", file("signing.key")),
        ]
        .join(" ");
        let Verb::Server(flags) = Command::try_parse_from(line.split(' ')).unwrap().verb else { panic!("{line}") };
        let (flags, node, data) = (*flags, Node::default(), dir.path().join("data"));
        let range = server::service_range(&flags).unwrap();
        std::fs::create_dir(&data).unwrap();
        let pki = server::make_pki(&flags, &data, &node, range).unwrap();
        let watched = Watched::new(&flags);
        let signing = files::signing_key(&flags, &data).unwrap();
        let authorities = Authorities::read(&flags, &pki).unwrap();
        let files = Files::read(&flags, &pki, &signing).unwrap();
        let parts = server::parts(&flags, &node, &data, &pki, &files, signing, range).unwrap();
        let Assembled { server, registry, .. } = assemble(parts).await.unwrap();
        let reloader = Reloader { flags, dir: data, pki, registry, server: server.reload(), authorities, watched };
        World { reloader, dir, _server: server }
    }

    /// Everything that follows from the files is of this set, and nothing of the other.
    fn check(&self, own: &Set, other: &Set, when: &str) {
        let registry = &self.reloader.registry;
        let (view, authenticators) = (registry.store().view(), registry.gate().authenticators());
        let knows = |set: &Set| {
            let request = authn::Request { peer: Some(&set.jane), headers: &HeaderMap::new() };
            let by_certificate = authenticators.authenticate(&request, &view).is_ok_and(|f| f.user.name == "jane");
            let account = issuer::Reference { name: "a".into(), uid: "u".into() };
            let signer = issuer::TokenSigner::new("x", SigningKey::from_pem(&set.key_pem).unwrap());
            let token = signer.sign_legacy("n", "s", &account).unwrap();
            // neither account is there; but only one signature is good
            let refusal = authenticators.review(&token, &[], &view).unwrap_err().0;
            (by_certificate, !refusal.contains("no keys found"))
        };
        assert_eq!(knows(own), (true, true), "{when}");
        assert_eq!(knows(other), (false, false), "{when}");
        assert_eq!(registry.signer().public_der(), own.key.public_der(), "{when}");
        let signs = self.reloader.authorities.certificate(SIGNER);
        assert_eq!(signs.as_deref(), Some(own.authority.certificate()), "{when}");
        let key = Key::new(ResourceId::new("", "configmaps"), "kube-system", "extension-apiserver-authentication");
        let published = view.get(&key).unwrap().document("ConfigMap", "v1");
        assert_eq!(published["data"]["client-ca-file"].str(), own.authority.certificate(), "{when}");
    }
}

#[tokio::test]
async fn replaced_files_are_used() {
    let (first, second) = (Set::new(), Set::new());
    let mut world = World::start(&first).await;
    world.check(&first, &second, "at start");
    world.reloader.look().await;
    world.check(&first, &second, "nothing changed");
    second.write(world.dir.path());
    world.reloader.look().await;
    world.check(&second, &first, "all replaced");
}

#[tokio::test]
async fn a_bad_file_keeps_all_of_its_batch_from_being_used_until_it_is_good() {
    let (first, second) = (Set::new(), Set::new());
    let mut world = World::start(&first).await;
    let dir = world.dir.path().to_owned();
    second.write(&dir);
    // can be read as PEM: only the authority made of it is wrong
    put(&dir, "clients.crt", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    for _ in 0..2 {
        world.reloader.look().await;
        world.check(&first, &second, "a bad authority");
    }
    second.write(&dir);
    world.reloader.look().await;
    world.check(&second, &first, "repaired");
}

#[tokio::test]
async fn a_rollback_by_renaming_is_noticed() {
    let (first, second) = (Set::new(), Set::new());
    let mut world = World::start(&first).await;
    let dir = world.dir.path().to_owned();
    let names = ["sa.key", "clients.crt", "signing.crt", "signing.key"];
    let moved = |from: &str, to: &str| {
        for name in names {
            std::fs::rename(dir.join(format!("{name}{from}")), dir.join(format!("{name}{to}"))).unwrap();
        }
    };
    moved("", ".old");
    second.write(&dir);
    world.reloader.look().await;
    world.check(&second, &first, "replaced");
    moved(".old", "");
    world.reloader.look().await;
    world.check(&first, &second, "rolled back");
    // after a batch that was refused, too
    moved("", ".old");
    second.write(&dir);
    put(&dir, "signing.key", "no key");
    world.reloader.look().await;
    world.check(&first, &second, "refused");
    moved(".old", "");
    world.reloader.look().await;
    assert!(world.reloader.watched.used.is_some(), "they were read again");
    world.check(&first, &second, "rolled back after a refusal");
}

#[tokio::test]
async fn another_file_of_the_same_age_and_length_is_noticed() {
    let (first, second) = (Set::new(), Set::new());
    let mut world = World::start(&first).await;
    let dir = world.dir.path().to_owned();
    let old = std::fs::metadata(dir.join("sa.key")).unwrap();
    put(&dir, "other.key", &second.key_pem);
    let other = std::fs::File::options().write(true).open(dir.join("other.key")).unwrap();
    other.set_modified(old.modified().unwrap()).unwrap();
    assert_eq!(other.metadata().unwrap().len(), old.len());
    std::fs::rename(dir.join("other.key"), dir.join("sa.key")).unwrap();
    world.reloader.look().await;
    assert_eq!(world.reloader.registry.signer().public_der(), second.key.public_der());
}
