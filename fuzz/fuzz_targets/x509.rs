//! Client certificates: only what the authority signed is somebody, and its name and groups stand in the certificate.
#![no_main]

use std::sync::LazyLock;

use authn::{Chain, Config, Peer, Request};
use generate::Dice;
use generate::der::{self, tlv};
use libfuzzer_sys::fuzz_target;
use meta::Time;
use store::View;
use x509_parser::prelude::{FromDer as _, X509Certificate};

const NOW: i64 = 1_800_000_000;

struct World {
    authority: der::Authority,
    chain: Chain,
    view: View,
    good: Vec<u8>,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let authority = der::Authority::new();
    let config = Config { client_authorities: vec![authority.certificate.clone()], ..Default::default() };
    let chain = Chain::new(config).expect("a chain").with_clock(|| Time(NOW));
    let good = authority.certificate(&authority.tbs(&der::name(&[("CN", "jane"), ("O", "dev")]), &[]));
    World { authority, chain, view: generate::empty_view(), good }
});

/// The user's name and groups, if it is anybody.
fn user(leaf: Vec<u8>, more: Vec<Vec<u8>>) -> Option<(String, Vec<String>)> {
    let peer = Peer::new([leaf].into_iter().chain(more))?;
    let headers = http::HeaderMap::new();
    let found = WORLD.chain.authenticate(&Request { peer: Some(&peer), headers: &headers }, &WORLD.view).ok()?;
    (!found.is_anonymous()).then(|| (found.user.name.clone(), found.user.groups.clone()))
}

fn contains(certificate: &[u8], text: &str) -> bool {
    text.is_empty() || certificate.windows(text.len()).any(|w| w == text.as_bytes())
}

fn check(leaf: Vec<u8>, more: Vec<Vec<u8>>) -> bool {
    let Some((name, groups)) = user(leaf.clone(), more) else { return false };
    assert!(!name.is_empty());
    let groups = groups.iter().filter(|g| *g != "system:authenticated");
    for text in groups.chain([&name]) {
        assert!(contains(&leaf, text), "{text:?}");
    }
    true
}

fuzz_target!(|data: &[u8]| {
    let mut dice = Dice(data);
    let authority = &WORLD.authority;
    match dice.roll(4) {
        // anything
        0 => {
            let leaf = dice.rest().to_vec();
            assert!(!check(leaf.clone(), vec![]), "{leaf:?} was never signed");
        }
        // a subject and extensions that the authority signed
        1 => {
            let subject = dice.take().to_vec();
            let tbs = authority.tbs(&tlv(0x30, &[&subject]), dice.rest());
            check(authority.certificate(&tbs), vec![]);
        }
        // any content that the authority signed
        2 => {
            let tbs = tlv(0x30, &[dice.rest()]);
            check(authority.certificate(&tbs), vec![dice.take().to_vec()]);
        }
        // a good one, changed
        _ => {
            let mut leaf = WORLD.good.clone();
            for change in dice.rest().chunks_exact(3) {
                let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % leaf.len();
                leaf[at] = change[2];
            }
            let signed =
                |der: &[u8]| X509Certificate::from_der(der).ok().map(|(_, c)| c.tbs_certificate.as_ref().to_vec());
            if check(leaf.clone(), vec![]) {
                assert_eq!(signed(&leaf), signed(&WORLD.good));
            }
        }
    }
});
