//! How long the steps of a request take on one pod: `cargo test --release -p lanyard-api --test speed -- --ignored
//! --nocapture`, with `LANYARD_POD` naming a pod's JSON.

use std::hint::black_box;
use std::time::Instant;

use document::{Object, decode, default, json, normalize, proto};
use meta::{Key, ResourceId, Revision};

fn measure(what: &str, mut f: impl FnMut()) {
    const ROUNDS: u32 = 3000;
    (0..100).for_each(|_| f());
    let start = Instant::now();
    (0..ROUNDS).for_each(|_| f());
    eprintln!("{what:28} {:8.2} µs", start.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS));
}

#[test]
#[ignore = "a measurement"]
fn steps_of_a_request() {
    let Ok(path) = std::env::var("LANYARD_POD") else { return };
    let text = std::fs::read(path).expect("readable");
    let row = api::find("", "v1", "pods").expect("pods");
    let mut value = decode(&text, row.type_).expect("decodes").value;
    eprintln!("{} bytes", text.len());
    measure("json::parse", || drop(black_box(json::parse(&text).expect("JSON"))));
    measure("decode", || drop(black_box(decode(&text, row.type_).expect("decodes"))));
    measure("clone", || drop(black_box(value.clone())));
    measure("clone, default", || {
        let mut v = value.clone();
        default::apply(&mut v, row.type_, row.defaults);
        drop(black_box(v));
    });
    measure("clone, normalize", || {
        let mut v = value.clone();
        normalize(&mut v, row.type_);
        drop(black_box(v));
    });
    normalize(&mut value, row.type_);
    measure("json::write", || drop(black_box(json::to_vec(&value))));
    let key = Key::new(ResourceId::from_text("pods"), "x", "a");
    measure("seal", || drop(black_box(Object::seal(key.clone(), &value, row.field_selectors).expect("sealed"))));
    let object =
        Object { revision: Revision(7), ..Object::seal(key.clone(), &value, row.field_selectors).expect("sealed") };
    measure("reseal", || {
        drop(black_box(
            Object::reseal(key.clone(), Revision(7), object.bytes.clone(), row.field_selectors).expect("sealed"),
        ));
    });
    measure("document", || drop(black_box(object.document("Pod", "v1"))));
    measure("proto::encode", || drop(black_box(proto::encode(&value, row.type_).expect("encodes"))));
    let bytes = proto::encode(&value, row.type_).expect("encodes");
    measure("proto::decode", || drop(black_box(proto::decode(&bytes, row.type_).expect("decodes"))));
}
