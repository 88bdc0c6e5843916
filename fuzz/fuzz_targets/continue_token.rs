//! Continue tokens: whatever is read names a key that could be in a list; what was written is read as it was.
#![no_main]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use libfuzzer_sys::fuzz_target;
use meta::{Key, ResourceId, Revision};
use registry::continue_token::{decode, encode};

fn check(text: &str) {
    let Ok(token) = decode(text) else { return };
    for part in [&token.namespace, &token.name] {
        assert!(!part.contains('/') && part != "..", "{part:?}");
    }
    assert!(token.revision.is_none_or(|r| r.0 > 0 && r.0 <= i64::MAX as u64));
    let again = decode(&token.inconsistent()).expect("a token that goes on at the newest revision");
    assert_eq!((again.revision, &again.namespace, &again.name), (None, &token.namespace, &token.name));
}

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        check(text);
    }
    check(&URL_SAFE_NO_PAD.encode(data));
    let mut parts = data.splitn(3, |b| *b == b'/').map(String::from_utf8_lossy);
    let (Some(namespace), Some(name)) = (parts.next(), parts.next()) else { return };
    let revision = Revision(1 + data.len() as u64);
    let clean = |part: &str| !part.contains(['/', '\u{0}']) && part != "..";
    if name.is_empty() || !clean(&namespace) || !clean(&name) {
        return;
    }
    let key = Key::new(ResourceId::new("", "pods"), &namespace, &name);
    let token = decode(&encode(revision, &key, false)).expect("a token of ours");
    assert_eq!((token.revision, &*token.namespace, &*token.name), (Some(revision), &*namespace, &*name));
    let token = decode(&encode(revision, &key, true)).expect("a token of ours");
    assert_eq!((&*token.namespace, &*token.name), ("", &*name));
});
