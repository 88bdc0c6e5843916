//! Tokens: none is accepted whose header and claims were not signed by our key, and none whose claims do not hold.
#![no_main]

use std::sync::LazyLock;

use authn::{Chain, Config, PublicKeys, ServiceAccountConfig};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use generate::Dice;
use libfuzzer_sys::fuzz_target;
use meta::{Key, ResourceId, Revision, Time};
use store::{Effect, Options, Precondition, Sealed, Store, Transaction, View, Write};

const ISSUER: &str = "https://issuer";
const NOW: i64 = 1_800_000_000;
const HEADER: &str = r#"{"alg":"ES256"}"#;

struct World {
    key: EcdsaKeyPair,
    chain: Chain,
    view: View,
    /// A good token.
    good: String,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
    let public: PublicKeyX509Der<'_> = key.public_key().as_der().expect("DER");
    let keys = PublicKeys::from_der([public.as_ref()]).expect("a public key");
    let service_accounts = ServiceAccountConfig { issuers: vec![ISSUER.into()], keys };
    let config = Config { service_accounts, audiences: vec!["api".into()], ..Default::default() };
    let chain = Chain::new(config).expect("a chain").with_clock(|| Time(NOW));
    let claims = format!(
        r#"{{"aud":["api"],"exp":{},"iat":{NOW},"nbf":{NOW},"iss":"{ISSUER}","sub":"system:serviceaccount:ns:sa","kubernetes.io":{{"namespace":"ns","serviceaccount":{{"name":"sa","uid":"u1"}}}}}}"#,
        NOW + 600
    );
    let good = sign(&key, HEADER.as_bytes(), claims.as_bytes());
    World { key, chain, view: view(), good }
});

struct Test(Transaction);

impl Sealed for Test {
    fn into_transaction(self) -> Transaction {
        self.0
    }
}

/// One account: ns/sa with the uid u1.
fn view() -> View {
    let reseal = std::sync::Arc::new(|_: Key, _: Revision, _: Bytes| Err("nothing is replayed".to_owned()));
    let (store, writer) = Store::open::<Test>(Box::new(store::log::Null), reseal, Options::default()).expect("a store");
    let row = api::find("", "v1", "serviceaccounts").expect("a row");
    let mut object = Dice(&[]).object(row);
    object.entry("metadata").set("name", "sa");
    object.entry("metadata").set("uid", "u1");
    let key = Key::new(ResourceId::new("", "serviceaccounts"), "ns", "sa");
    let object = api::seal(row, key, &object).expect("sealed");
    let write = Write { precondition: Precondition::Any, effect: Effect::Put(object) };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(writer.commit(Test(Transaction { writes: vec![write], reads: Vec::new() }))).expect("committed");
    store.view()
}

fn sign(key: &EcdsaKeyPair, header: &[u8], claims: &[u8]) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = key.sign(&SystemRandom::new(), message.as_bytes()).expect("signed");
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn accepted(token: &str) -> bool {
    let found = WORLD.chain.review(token, &["api".to_owned()], &WORLD.view);
    if let Ok(found) = &found {
        assert_eq!(found.user.name, "system:serviceaccount:ns:sa");
        assert_eq!(found.audiences, ["api"]);
    }
    found.is_ok()
}

/// Checked with nothing of ours.
fn was_signed(token: &str) -> bool {
    let Some((message, signature)) = token.rsplit_once('.') else { return false };
    let Ok(signature) = URL_SAFE_NO_PAD.decode(signature) else { return false };
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, WORLD.key.public_key().as_ref().to_vec());
    key.verify(message.as_bytes(), &signature).is_ok()
}

fn check_claims(claims: &[u8]) {
    // broken escapes in members that mean nothing are passed over
    let Ok(claims) = serde_json::from_slice::<serde_json::Value>(claims) else { return };
    assert_eq!(claims["iss"], ISSUER);
    let kubernetes = &claims["kubernetes.io"];
    assert_eq!((&kubernetes["namespace"], &kubernetes["serviceaccount"]["name"]), (&"ns".into(), &"sa".into()));
    assert_eq!(kubernetes["serviceaccount"]["uid"], "u1");
    let time = |name: &str| claims[name].as_f64();
    assert!(time("exp").is_none_or(|t| t as i64 >= NOW - 60), "{claims}");
    assert!(time("nbf").is_none_or(|t| t as i64 <= NOW + 60), "{claims}");
    assert!(time("iat").is_none_or(|t| t as i64 <= NOW + 60), "{claims}");
    let bound = ["pod", "secret", "node"].iter().any(|n| !kubernetes[*n].is_null());
    assert!(!bound, "nothing of that name exists: {claims}");
}

fuzz_target!(|data: &[u8]| {
    let Some((mode, data)) = data.split_first() else { return };
    match mode % 4 {
        0 => {
            let text = String::from_utf8_lossy(data);
            assert!(!accepted(&text) || was_signed(&text), "{text}");
        }
        1 => {
            if accepted(&sign(&WORLD.key, HEADER.as_bytes(), data)) {
                check_claims(data);
            }
        }
        2 => {
            let (header, rest) = data.split_at(data.iter().position(|b| *b == 0).unwrap_or(data.len()));
            let claims = WORLD.good.split('.').nth(1).and_then(|c| URL_SAFE_NO_PAD.decode(c).ok()).expect("claims");
            if accepted(&sign(&WORLD.key, header, if rest.len() > 1 { &rest[1..] } else { &claims })) {
                if let Ok(header) = serde_json::from_slice::<serde_json::Value>(header) {
                    assert_eq!(header["alg"], "ES256", "{header}");
                }
            }
        }
        _ => {
            let mut token = WORLD.good.clone().into_bytes();
            for change in data.chunks_exact(3) {
                let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % token.len();
                token[at] ^= change[2] & 0x7f;
            }
            let token = String::from_utf8(token).expect("ASCII stays ASCII");
            let message = |t: &str| t.rsplit_once('.').map(|(m, _)| m.to_owned());
            assert!(!accepted(&token) || message(&token) == message(&WORLD.good), "{token}");
        }
    }
});
