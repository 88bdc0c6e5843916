//! Tokens, keys and files as others see them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::keys::{self, SigningKey};
use crate::{Bound, Claims, Discovery, Names, Pki, Reference, TokenSigner, pki};

fn reference(name: &str, uid: &str) -> Reference {
    Reference { name: name.into(), uid: uid.into() }
}

fn claims(bound: Bound) -> Claims {
    Claims {
        audiences: vec!["api".into()],
        issued: 100,
        expires: 3700,
        id: "id".into(),
        namespace: "ns".into(),
        account: reference("sa", "u1"),
        bound,
        warn_after: None,
    }
}

fn parts(token: &str) -> (String, String) {
    let text = |part: &str| String::from_utf8(URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
    let mut parts = token.split('.');
    (text(parts.next().unwrap()), text(parts.next().unwrap()))
}

#[test]
fn claims_are_upstreams_member_for_member() {
    let signer = TokenSigner::new("https://issuer", SigningKey::generate().unwrap().0);
    let check = |bound: Bound, warn_after: Option<i64>, want: &str| {
        let token = signer.sign(&Claims { warn_after, ..claims(bound) }).unwrap();
        let want = format!(
            r#"{{"aud":["api"],"exp":3700,"iat":100,"iss":"https://issuer","jti":"id","kubernetes.io":{{"namespace":"ns",{want}}},"nbf":100,"sub":"system:serviceaccount:ns:sa"}}"#
        );
        assert_eq!(parts(&token).1, want);
    };
    let account = r#""serviceaccount":{"name":"sa","uid":"u1"}"#;
    check(Bound::Nothing, None, account);
    check(Bound::Secret(reference("s", "s1")), None, &format!(r#""secret":{{"name":"s","uid":"s1"}},{account}"#));
    check(Bound::Node(reference("n", "n1")), None, &format!(r#""node":{{"name":"n","uid":"n1"}},{account}"#));
    let pod = Bound::Pod { pod: reference("p", "p1"), node: Some(reference("n", "")) };
    let want = format!(r#""node":{{"name":"n"}},"pod":{{"name":"p","uid":"p1"}},{account},"warnafter":3707"#);
    check(pod, Some(3707), &want);
}

fn verifies(pem: &str, name: &str, algorithm: &'static dyn VerificationAlgorithm) {
    let key = SigningKey::from_pem(pem).unwrap();
    let public = key.public_der().to_vec();
    let token = TokenSigner::new("https://issuer", key).sign(&claims(Bound::Nothing)).unwrap();
    assert_eq!(parts(&token).0, format!(r#"{{"alg":"{name}","kid":"{}"}}"#, keys::key_id(&public)));
    let (message, signature) = token.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    UnparsedPublicKey::new(algorithm, public).verify(message.as_bytes(), &signature).unwrap();
}

#[test]
fn own_keys_are_es256_and_given_rsa_keys_rs256() {
    let (_, pem) = SigningKey::generate().unwrap();
    verifies(&pem, "ES256", &ECDSA_P256_SHA256_FIXED);
    let rsa = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
    let der: aws_lc_rs::encoding::Pkcs8V1Der<'_> = aws_lc_rs::encoding::AsDer::as_der(&rsa).unwrap();
    verifies(&keys::to_pem("PRIVATE KEY", der.as_ref()), "RS256", &RSA_PKCS1_2048_8192_SHA256);
}

#[test]
fn the_key_set_names_every_key_and_only_for_https_issuers() {
    let (key, pem) = SigningKey::generate().unwrap();
    let public = keys::public_keys_from_pem(&pem).unwrap();
    assert_eq!(public, [key.public_der().to_vec()]);
    assert_eq!(keys::public_keys_from_pem(&key.public_pem()).unwrap(), public);
    let uri = "https://host:6443/openid/v1/jwks";
    let made = Discovery::new("https://issuer", uri, public.iter().map(Vec::as_slice)).unwrap();
    let want = format!(
        r#"{{"issuer":"https://issuer","jwks_uri":"{uri}","response_types_supported":["id_token"],"subject_types_supported":["public"],"id_token_signing_alg_values_supported":["ES256"]}}"#
    );
    assert_eq!(made.configuration, want);
    let start = format!(
        r#"{{"keys":[{{"use":"sig","kty":"EC","kid":"{}","alg":"ES256","crv":"P-256","x":""#,
        keys::key_id(&public[0])
    );
    assert!(made.keys.starts_with(&start), "{}", made.keys);
    assert_eq!(Discovery::new("http://issuer", uri, []), None);
    assert_eq!(Discovery::new("https://issuer?x", uri, []), None);
}

#[test]
fn files_are_made_once_private_and_renewed_for_other_names() {
    let dir = std::env::temp_dir().join(format!("lanyard-issuer-{}", meta::random::uuid()));
    let names = |server: &[&str]| Names {
        server: server.iter().map(|n| (*n).to_owned()).collect(),
        node: "n".into(),
        node_server: vec!["127.0.0.1".into()],
    };
    let first = Pki::ensure(&dir, &names(&["localhost", "10.96.0.1"])).unwrap();
    let mode = |path: &str| fs::metadata(dir.join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!((mode("ca.key"), mode("admin.key"), mode("ca.crt")), (0o600, 0o600, 0o644));
    let same = Pki::ensure(&dir, &names(&["localhost"])).unwrap();
    assert_eq!((&first.server.certificate, &first.admin.key), (&same.server.certificate, &same.admin.key));
    let other = Pki::ensure(&dir, &names(&["localhost", "host"])).unwrap();
    assert_ne!(first.server.certificate, other.server.certificate);
    assert_eq!(first.authority.certificate(), other.authority.certificate());
    fs::copy(dir.join("admin.key"), dir.join("apiserver.key")).unwrap();
    let repaired = Pki::ensure(&dir, &names(&["localhost", "host"])).unwrap();
    assert!(repaired.server.belongs_together());
    let key = pki::ensure_token_key(&dir).unwrap();
    assert_eq!(pki::ensure_token_key(&dir).unwrap().public_der(), key.public_der());
    fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn a_key_can_change_under_all_who_sign_with_it() {
    let (first, second) = (SigningKey::generate().unwrap().0, SigningKey::generate().unwrap().0);
    let (old, new) = (keys::key_id(first.public_der()), keys::key_id(second.public_der()));
    let signer = TokenSigner::new("https://issuer", first);
    let clone = signer.clone();
    let header = || parts(&clone.sign(&claims(Bound::Nothing)).unwrap()).0;
    assert!(header().contains(&old));
    signer.replace_key(second);
    assert!(header().contains(&new));
}
