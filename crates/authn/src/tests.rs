//! The chain as a whole, over a real store: tokens and certificates made here, good and bad.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use document::Object;
use http::HeaderMap;
use meta::{Key, ResourceId, Revision, Time};
use store::{Effect, Options, Precondition, Sealed, Store, Transaction, View, Write};

use crate::{Believed, Chain, Config, Peer, PublicKeys, Request, RequestHeader, ServiceAccountConfig, StaticTokens};

const ISSUER: &str = "https://issuer";
const NOW: i64 = 1_800_000_000;

fn clock() -> Time {
    Time(NOW)
}

struct Test(Transaction);

impl Sealed for Test {
    fn into_transaction(self) -> Transaction {
        self.0
    }
}

fn object(resource: &str, namespace: &str, name: &str, uid: &str, rest: &str) -> Object {
    let metadata = format!("\"metadata\":{{\"name\":\"{name}\"}}");
    let rest = if rest.is_empty() { String::new() } else { format!(",{rest}") };
    Object {
        uid: uid.into(),
        metadata: (11, metadata.len() as u32),
        splice: 12,
        ..Object::bare(
            Key::new(ResourceId::from_text(resource), namespace, name),
            Bytes::from(format!("{metadata}{rest}}}")),
        )
    }
}

/// A view that holds exactly these objects.
fn view(objects: Vec<Object>) -> View {
    let reseal = std::sync::Arc::new(|_: Key, _: Revision, _: Bytes| Err("nothing is replayed".to_owned()));
    let (store, writer) = Store::open::<Test>(Box::new(store::log::Null), reseal, Options::default()).unwrap();
    let writes =
        objects.into_iter().map(|o| Write { precondition: Precondition::Any, effect: Effect::Put(o) }).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(writer.commit(Test(Transaction { writes, reads: Vec::new() }))).unwrap();
    store.view()
}

struct Signer(EcdsaKeyPair);

impl Signer {
    fn new() -> Self {
        Signer(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    fn public(&self) -> Vec<u8> {
        let der: PublicKeyX509Der<'_> = self.0.public_key().as_der().unwrap();
        der.as_ref().to_vec()
    }

    fn sign(&self, claims: &str) -> String {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256"}"#), URL_SAFE_NO_PAD.encode(claims));
        let signature = self.0.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn chain(signer: &Signer) -> Chain {
    let keys = PublicKeys::from_der([signer.public().as_slice()]).unwrap();
    let config = Config {
        static_tokens: StaticTokens::parse("alice-token,alice,uid-alice,\"developers,ops\"").unwrap(),
        service_accounts: ServiceAccountConfig { issuers: vec![ISSUER.into()], keys },
        audiences: vec!["api".into()],
        bootstrap_tokens: true,
        anonymous: true,
        ..Default::default()
    };
    Chain::new(config).unwrap().with_clock(clock)
}

fn claims(bound: &str) -> String {
    claims_at(bound, NOW, NOW, NOW + 600)
}

fn claims_at(bound: &str, issued: i64, from: i64, to: i64) -> String {
    format!(
        r#"{{"aud":["api","vault"],"exp":{to},"iat":{issued},"nbf":{from},"iss":"{ISSUER}","jti":"id","sub":"system:serviceaccount:ns:sa",
            "kubernetes.io":{{"namespace":"ns","serviceaccount":{{"name":"sa","uid":"u1"}}{bound}}}}}"#
    )
}

fn account() -> Object {
    object("serviceaccounts", "ns", "sa", "u1", "")
}

/// What TokenReview says: the user's name, or the reason.
fn review(chain: &Chain, token: &str, audiences: &[&str], view: &View) -> Result<String, String> {
    let audiences: Vec<String> = audiences.iter().map(|a| (*a).to_owned()).collect();
    chain.review(token, &audiences, view).map(|found| found.user.name.clone()).map_err(|refusal| refusal.0)
}

const ACCOUNT: &str = "system:serviceaccount:ns:sa";

fn refused(why: &str) -> Result<String, String> {
    Err(format!("[invalid bearer token, {why}]"))
}

#[test]
fn a_bound_token_ends_with_what_it_is_bound_to() {
    let signer = Signer::new();
    let chain = chain(&signer);
    let pod = r#","pod":{"name":"p","uid":"p1"}"#;
    let check = |bound: &str, objects: Vec<Object>, want: Result<String, String>| {
        assert_eq!(review(&chain, &signer.sign(&claims(bound)), &[], &view(objects)), want, "{bound}");
    };
    let good = || Ok(ACCOUNT.to_owned());
    check("", vec![account()], good());
    check("", vec![], refused(r#"serviceaccounts "sa" not found"#));
    check(
        "",
        vec![object("serviceaccounts", "ns", "sa", "u2", "")],
        refused("service account UID (u2) does not match claim (u1)"),
    );
    check(pod, vec![account(), object("pods", "ns", "p", "p1", "")], good());
    check(pod, vec![account()], refused("service account token has been invalidated"));
    let other = object("pods", "ns", "p", "p2", "");
    check(pod, vec![account(), other], refused("pod UID (p2) does not match service account pod ref claim (p1)"));
    let ends = |at: i64| Object { deletion: Some(Time(at)), ..object("pods", "ns", "p", "p1", "") };
    check(pod, vec![account(), ends(NOW + 30)], good());
    check(pod, vec![account(), ends(NOW)], refused("service account token has been invalidated"));
    let gone = Object { deletion: Some(Time(NOW)), ..account() };
    check("", vec![gone], refused("service account ns/sa has been deleted"));
    let node = r#","node":{"name":"n","uid":"n1"}"#;
    check(node, vec![account()], refused("service account token has been invalidated"));
    let both = format!("{pod}{node}");
    check(&both, vec![account(), object("pods", "ns", "p", "p1", "")], good());
    let secret = r#","secret":{"name":"s","uid":"s1"}"#;
    check(
        secret,
        vec![account(), object("secrets", "ns", "s", "s2", "")],
        refused("secret UID (s2) does not match service account secret ref claim (s1)"),
    );
}

#[test]
fn the_token_of_a_pod_says_where_it_runs() {
    let signer = Signer::new();
    let token = signer.sign(&claims(r#","pod":{"name":"p","uid":"p1"},"node":{"name":"n","uid":"n1"}"#));
    let found =
        chain(&signer).review(&token, &[], &view(vec![account(), object("pods", "ns", "p", "p1", "")])).unwrap();
    let extra = |key: &str| found.user.extra[&format!("authentication.kubernetes.io/{key}")].join(",");
    assert_eq!(extra("pod-name") + &extra("pod-uid") + &extra("node-name") + &extra("node-uid"), "pp1nn1");
    assert_eq!(extra("credential-id"), "JTI=id");
    assert_eq!(found.user.groups, ["system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated"]);
    assert_eq!(found.user.uid, "u1");
    assert_eq!(found.audiences, ["api"]);
}

#[test]
fn clocks_have_a_minute_of_leeway() {
    let signer = Signer::new();
    let chain = chain(&signer);
    let view = view(vec![account()]);
    let check = |issued: i64, from: i64, to: i64, want: Result<String, String>| {
        assert_eq!(review(&chain, &signer.sign(&claims_at("", NOW + issued, NOW + from, NOW + to)), &[], &view), want);
    };
    check(0, 0, -60, Ok(ACCOUNT.into()));
    check(0, 0, -61, refused("service account token has expired"));
    check(0, 60, 600, Ok(ACCOUNT.into()));
    check(0, 61, 600, refused("service account token is not valid yet"));
    check(61, 0, 600, refused("service account token is issued in the future"));
}

#[test]
fn signatures_issuers_and_audiences_are_checked() {
    let (signer, stranger) = (Signer::new(), Signer::new());
    let chain = chain(&signer);
    let view = view(vec![account()]);
    let token = signer.sign(&claims(""));
    assert_eq!(review(&chain, &token, &["vault"], &view), Ok(ACCOUNT.into()));
    let asked = ["vault", "mail", "api"].map(str::to_owned);
    let found = chain.review(&token, &asked, &view).map(|found| found.audiences.clone()).unwrap_or_default();
    assert_eq!(found, ["vault", "api"], "in the order in which they were asked for");
    let other = r#"token audiences ["api" "vault"] is invalid for the target audiences ["mail"]"#;
    assert_eq!(review(&chain, &token, &["mail"], &view), refused(other));
    let broken = "go-jose/go-jose: error in cryptographic primitive";
    assert_eq!(review(&chain, &stranger.sign(&claims("")), &[], &view), refused(broken));
    let none = format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#), URL_SAFE_NO_PAD.encode(claims("")));
    assert_eq!(review(&chain, &none, &[], &view), refused(broken));
    let elsewhere = claims("").replace(ISSUER, "https://elsewhere");
    assert_eq!(review(&chain, &signer.sign(&elsewhere), &[], &view), Err("invalid bearer token".into()));
    let (body, _) = token.rsplit_once('.').unwrap();
    let kid = body.replace(
        &URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256"}"#),
        &URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256","kid":"x"}"#),
    );
    assert_eq!(review(&chain, &format!("{kid}.AA"), &[], &view), refused("invalid signature, no keys found"));
}

#[test]
fn a_legacy_token_lives_as_long_as_its_secret() {
    let signer = Signer::new();
    let chain = chain(&signer);
    let token = signer.sign(
        r#"{"iss":"kubernetes/serviceaccount","sub":"system:serviceaccount:ns:sa","kubernetes.io/serviceaccount/namespace":"ns",
            "kubernetes.io/serviceaccount/secret.name":"t","kubernetes.io/serviceaccount/service-account.name":"sa",
            "kubernetes.io/serviceaccount/service-account.uid":"u1"}"#,
    );
    let secret = |token: &str| {
        let data =
            format!(r#""data":{{"token":"{}"}},"type":"kubernetes.io/service-account-token""#, STANDARD.encode(token));
        object("secrets", "ns", "t", "s1", &data)
    };
    let check = |objects: Vec<Object>, want: Result<String, String>| {
        assert_eq!(review(&chain, &token, &[], &view(objects)), want)
    };
    check(vec![account(), secret(&token)], Ok(ACCOUNT.into()));
    check(vec![account()], refused("Token has been invalidated"));
    check(vec![account(), secret("other")], refused("Token does not match server's copy"));
    let marked = Object {
        labels: [("kubernetes.io/legacy-token-invalid-since", "2026-01-01")].into_iter().collect(),
        ..secret(&token)
    };
    let refusal = review(&chain, &token, &[], &view(vec![account(), marked])).unwrap_err();
    assert!(
        refusal.contains("the token in secret ns/t for service account ns/sa has been marked invalid."),
        "{refusal}"
    );
}

#[test]
fn bootstrap_tokens_are_their_secrets_and_nothing_else() {
    let signer = Signer::new();
    let chain = chain(&signer);
    let secret = |pairs: &[(&str, &str)]| {
        let mut data = vec![
            ("token-id", "abcdef"),
            ("token-secret", "0123456789abcdef"),
            ("usage-bootstrap-authentication", "true"),
        ];
        data.retain(|(key, _)| pairs.iter().all(|(k, _)| k != key));
        data.extend_from_slice(pairs);
        let members: Vec<String> = data.iter().map(|(k, v)| format!("\"{k}\":\"{}\"", STANDARD.encode(v))).collect();
        let rest = format!(r#""data":{{{}}},"type":"bootstrap.kubernetes.io/token""#, members.join(","));
        object("secrets", "kube-system", "bootstrap-token-abcdef", "x", &rest)
    };
    let token = "abcdef.0123456789abcdef";
    let check = |pairs: &[(&str, &str)], want: bool| {
        let got = review(&chain, token, &[], &view(vec![secret(pairs)]));
        let want = if want { Ok("system:bootstrap:abcdef".to_owned()) } else { Err("invalid bearer token".to_owned()) };
        assert_eq!(got, want, "{pairs:?}");
    };
    check(&[], true);
    check(&[("token-secret", "0123456789abcdeg")], false);
    check(&[("expiration", "2027-01-15T07:59:59Z")], false);
    check(&[("expiration", "2027-01-15T08:00:01Z")], true);
    check(&[("expiration", "never")], false);
    check(&[("usage-bootstrap-authentication", "yes")], false);
    check(&[("auth-extra-groups", "system:bootstrappers:a,system:masters")], false);
    let found = chain
        .review(
            token,
            &[],
            &view(vec![secret(&[("auth-extra-groups", "system:bootstrappers:b,system:bootstrappers:a")])]),
        )
        .unwrap();
    let want = ["system:bootstrappers", "system:bootstrappers:a", "system:bootstrappers:b", "system:authenticated"];
    assert_eq!(found.user.groups, want);
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        map.append(*name, value.parse().unwrap());
    }
    map
}

#[test]
fn what_is_a_bearer_token_and_what_is_none() {
    let chain = chain(&Signer::new());
    let view = view(vec![]);
    let check = |pairs: &[(&'static str, &str)], want: Option<&str>, warnings: usize| {
        let got = chain.authenticate(&Request { peer: None, headers: &headers(pairs) }, &view);
        assert_eq!(got.as_ref().ok().map(|f| f.user.name.as_str()), want, "{pairs:?}");
        assert_eq!(got.map_or(0, |f| f.warnings.len()), warnings, "{pairs:?}");
    };
    let anonymous = Some("system:anonymous");
    check(&[], anonymous, 0);
    check(&[("authorization", "Bearer wrong")], None, 0);
    check(&[("authorization", "bEaReR alice-token")], Some("alice"), 0);
    check(&[("authorization", "Basic YWRtaW46YWRtaW4=")], anonymous, 0);
    check(&[("authorization", "Bearer")], anonymous, 0);
    check(&[("authorization", "alice-token")], anonymous, 0);
    check(&[("authorization", "Bearer  alice-token")], anonymous, 1);
    check(&[("authorization", "Bearer alice-token extra words")], Some("alice"), 0);
    check(&[("authorization", "")], anonymous, 0);
    check(&[("authorization", "Bearer alice-token"), ("authorization", "Bearer wrong")], Some("alice"), 0);
    let upgrade = [("connection", "Upgrade"), ("upgrade", "websocket")];
    let token = ("sec-websocket-protocol", "base64url.bearer.authorization.k8s.io.YWxpY2UtdG9rZW4, v4.channel.k8s.io");
    check(&[upgrade[0], upgrade[1], token], Some("alice"), 0);
    check(&[token], anonymous, 0);
    let alone = ("sec-websocket-protocol", "base64url.bearer.authorization.k8s.io.YWxpY2UtdG9rZW4");
    check(&[upgrade[0], upgrade[1], alone], None, 0);
}

#[test]
fn a_token_with_a_space_in_front_is_reviewed_as_anonymous() {
    let chain = chain(&Signer::new());
    assert_eq!(review(&chain, " alice-token", &[], &view(vec![])), Ok("system:anonymous".into()));
    assert_eq!(review(&chain, "alice-token", &["other"], &view(vec![])), Err("invalid bearer token".into()));
}

struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    der: Vec<u8>,
}

impl Authority {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Authority { issuer: rcgen::Issuer::new(params, key), der }
    }

    fn client(&self, name: &str, group: &str, end: i32, purpose: rcgen::ExtendedKeyUsagePurpose) -> Peer {
        let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::OrganizationName, group);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.extended_key_usages = vec![purpose];
        params.not_after = rcgen::date_time_ymd(end, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        Peer::new([params.signed_by(&key, &self.issuer).unwrap().der().to_vec()]).unwrap()
    }
}

#[test]
fn a_client_certificate_names_user_and_group_and_a_bad_one_is_an_error() {
    use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
    let (ours, theirs) = (Authority::new(), Authority::new());
    let config = Config {
        client_authorities: vec![ours.der.clone()],
        static_tokens: StaticTokens::parse("t,bob,u").unwrap(),
        anonymous: true,
        ..Default::default()
    };
    let chain = Chain::new(config).unwrap().with_clock(clock);
    let view = view(vec![]);
    let check = |peer: &Peer, pairs: &[(&'static str, &str)], want: Option<&str>| {
        let found = chain.authenticate(&Request { peer: Some(peer), headers: &headers(pairs) }, &view);
        assert_eq!(found.ok().map(|f| f.user.name.clone()).as_deref(), want);
    };
    let good = ours.client("jane", "dev", 2100, ClientAuth);
    check(&good, &[], Some("jane"));
    check(&good, &[("authorization", "Bearer wrong")], Some("jane"));
    let found = chain.authenticate(&Request { peer: Some(&good), headers: &headers(&[]) }, &view).unwrap();
    assert_eq!(found.user.groups, ["dev", "system:authenticated"]);
    let id = &found.user.extra["authentication.kubernetes.io/credential-id"][0];
    assert!(id.starts_with("X509SHA256=") && id.len() == 11 + 64, "{id}");
    for bad in [
        theirs.client("jane", "dev", 2100, ClientAuth),
        ours.client("jane", "dev", 2020, ClientAuth),
        ours.client("jane", "dev", 2100, ServerAuth),
    ] {
        check(&bad, &[], None);
        check(&bad, &[("authorization", "Bearer t")], Some("bob"));
    }
    check(&ours.client("", "dev", 2100, ClientAuth), &[], Some("system:anonymous"));
}

#[test]
fn a_front_proxy_says_who_the_user_is() {
    use rcgen::ExtendedKeyUsagePurpose::ClientAuth;
    let ours = Authority::new();
    let config = Config {
        client_authorities: vec![ours.der.clone()],
        request_header: Some(RequestHeader {
            authorities: vec![ours.der.clone()],
            allowed_names: vec!["front-proxy".into()],
            username_headers: vec!["X-Remote-User".into()],
            group_headers: vec!["X-Remote-Group".into()],
            extra_prefixes: vec!["X-Remote-Extra-".into()],
            ..Default::default()
        }),
        anonymous: true,
        ..Default::default()
    };
    let chain = Chain::new(config).unwrap().with_clock(clock);
    let view = view(vec![]);
    let proxy = ours.client("front-proxy", "x", 2100, ClientAuth);
    let find = |peer: &Peer, pairs: &[(&'static str, &str)]| {
        chain.authenticate(&Request { peer: Some(peer), headers: &headers(pairs) }, &view).unwrap().user
    };
    let pairs = [
        ("x-remote-user", "jane"),
        ("x-remote-group", "dev"),
        ("x-remote-extra-acme.com%2fteam", "x"),
        ("x-remote-uid", "7"),
    ];
    let jane = find(&proxy, &pairs);
    assert_eq!((jane.name.as_str(), jane.uid.as_str()), ("jane", ""));
    assert_eq!(jane.groups, ["dev", "system:authenticated"]);
    assert_eq!(jane.extra["acme.com/team"], ["x"]);
    assert_eq!(find(&proxy, &[("x-remote-group", "dev")]).name, "front-proxy");
    let other = ours.client("other", "x", 2100, ClientAuth);
    assert_eq!(find(&other, &pairs).name, "other", "a certificate with another name speaks for itself");
}

#[test]
fn a_token_is_good_as_long_as_its_key_is_listed() {
    let (old, new) = (Signer::new(), Signer::new());
    let chain = chain(&old);
    let view = view(vec![account()]);
    let keys = |signers: &[&Signer]| {
        let all: Vec<Vec<u8>> = signers.iter().map(|s| s.public()).collect();
        PublicKeys::from_der(all.iter().map(Vec::as_slice)).unwrap()
    };
    let by = |signer: &Signer| review(&chain, &signer.sign(&claims("")), &[], &view);
    let unknown = || refused("go-jose/go-jose: error in cryptographic primitive");
    let token = old.sign(&claims(""));
    assert_eq!((review(&chain, &token, &[], &view), by(&new)), (Ok(ACCOUNT.to_owned()), unknown()));
    chain.replace_keys(keys(&[&old, &new]));
    assert_eq!((review(&chain, &token, &[], &view), by(&new)), (Ok(ACCOUNT.to_owned()), Ok(ACCOUNT.to_owned())));
    chain.replace_keys(keys(&[&new]));
    assert_eq!(review(&chain, &token, &[], &view), unknown(), "a signature that was remembered is forgotten");
    assert_eq!(by(&new), Ok(ACCOUNT.to_owned()));
    assert_eq!((chain.tokens().valid.get(), chain.tokens().legacy.get()), (0, 0));
}

#[test]
fn a_connection_is_judged_by_the_authorities_of_the_moment() {
    use rcgen::ExtendedKeyUsagePurpose::ClientAuth;
    let (ours, theirs) = (Authority::new(), Authority::new());
    let config = Config { client_authorities: vec![ours.der.clone()], ..Default::default() };
    let chain = Chain::new(config).unwrap().with_clock(clock);
    let (jane, joe, view) =
        (ours.client("jane", "x", 2100, ClientAuth), theirs.client("joe", "x", 2100, ClientAuth), view(vec![]));
    let find = |peer: &Peer| {
        let found = chain.authenticate(&Request { peer: Some(peer), headers: &HeaderMap::new() }, &view);
        found.ok().map(|found| found.user.name.clone())
    };
    assert_eq!((find(&jane).as_deref(), find(&joe)), (Some("jane"), None));
    let replace = |clients: &[&Authority]| {
        let clients = clients.iter().map(|a| a.der.clone()).collect();
        chain.replace_authorities(Believed::new(clients, None).unwrap());
    };
    let first = jane.client_checked_by();
    replace(&[&ours]);
    assert_eq!(find(&jane).as_deref(), Some("jane"));
    assert_eq!(jane.client_checked_by(), first, "the same authorities: not checked again");
    replace(&[&ours, &theirs]);
    assert_eq!((find(&jane).as_deref(), find(&joe).as_deref()), (Some("jane"), Some("joe")));
    assert_ne!(jane.client_checked_by(), first);
    assert_eq!(jane.client_checked_by(), joe.client_checked_by(), "an older connection is not checked each time");
    replace(&[&theirs]);
    assert_eq!((find(&jane), find(&joe).as_deref()), (None, Some("joe")));
    assert_eq!(chain.certificate_lives().1.count(), 5);
}
