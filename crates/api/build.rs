//! Takes the descriptions of types and fields (for `kubectl explain` and Table columns) from the source of the crate
//! `k8s-openapi`: they are nobody's facts and are not committed. Its files are read as text; the crate is not compiled.
//! Without the source there are no descriptions, and a warning says so.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// The version whose descriptions are taken.
const VERSION: &str = "v1_37";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=Cargo.toml");
    println!("cargo::rerun-if-changed=openapi");
    let mut found = Descriptions::new();
    match source() {
        Some(folder) => collect(&folder.join("src").join(VERSION), &mut found),
        None => {
            println!("cargo::warning=the source of k8s-openapi is not there: kubectl explain will have no descriptions")
        }
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    write(&found, &out);
    documents(&out);
}

/// By `type` or `type field`, sorted.
type Descriptions = BTreeMap<String, String>;

/// The folder of the crate, from cargo itself; the second try may download it.
fn source() -> Option<PathBuf> {
    [true, false].into_iter().find_map(|offline| {
        let mut command = Command::new(env::var_os("CARGO")?);
        command.args(["metadata", "--format-version", "1", "--locked"]).current_dir(env::var_os("CARGO_MANIFEST_DIR")?);
        if offline {
            command.arg("--offline");
        }
        let text = String::from_utf8(command.output().ok()?.stdout).ok()?;
        text.split("\"manifest_path\":\"").skip(1).find_map(|rest| {
            let folder = Path::new(rest.split('"').next()?).parent()?.to_owned();
            let named = folder.file_name()?.to_str()?.starts_with("k8s-openapi");
            (named && folder.join("src").join(VERSION).is_dir()).then_some(folder)
        })
    })
}

fn collect(folder: &Path, found: &mut Descriptions) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|e| e.path()) {
        if path.is_dir() {
            collect(&path, found);
        } else if let Ok(text) = fs::read_to_string(&path) {
            read(&text, found);
        }
    }
}

/// The schemas of one file. Their layout is generated, so that the depth of a line says what it is: 12 columns for the
/// type itself, 16 for a field's name, 20 for what a field says.
fn read(text: &str, found: &mut Descriptions) {
    let (mut type_, mut field, mut next_is_name) = (String::new(), String::new(), false);
    for line in text.lines() {
        let depth = line.len() - line.trim_start().len();
        let line = line.trim();
        if line.starts_with("fn schema_name()") {
            next_is_name = true;
        } else if next_is_name {
            type_ = line.split('"').nth(1).unwrap_or_default().to_owned();
            (field, next_is_name) = (String::new(), false);
        } else if type_.is_empty() {
            continue;
        } else if depth == 0 && line == "}" {
            type_.clear();
        } else if depth == 16 && (line.ends_with(": {") || line.ends_with(": ({")) {
            field = line.split('"').nth(1).unwrap_or_default().to_owned();
        } else if let Some(text) = literal(line, depth) {
            let key = if field.is_empty() { type_.clone() } else { format!("{type_} {field}") };
            found.entry(key).or_insert(text);
        }
    }
}

fn literal(line: &str, depth: usize) -> Option<String> {
    let rest = match depth {
        12 | 20 => line
            .strip_prefix("\"description\": \"")
            .or_else(|| line.split_once(".insert(\"description\".into(), \"").map(|(_, r)| r)),
        _ => None,
    }?;
    let mut out = String::new();
    let mut chars = rest.chars();
    loop {
        match chars.next()? {
            '"' => return Some(out),
            '\\' => match chars.next()? {
                'n' => out.push('\n'),
                't' => out.push('\t'),
                'u' => {
                    let code: String = chars.by_ref().skip(1).take_while(|c| *c != '}').collect();
                    out.push(char::from_u32(u32::from_str_radix(&code, 16).ok()?)?);
                }
                other => out.push(other),
            },
            other => out.push(other),
        }
    }
}

/// One pool of texts, and an index of (key offset, key length, text offset, text length), little-endian, sorted by key.
fn write(found: &Descriptions, out: &Path) {
    let mut pool = String::new();
    let mut known: BTreeMap<&str, u32> = BTreeMap::new();
    let mut index = Vec::new();
    for (key, text) in found {
        let number = |n: usize| u32::try_from(n).expect("the pool is a few megabytes");
        let key_at = number(pool.len());
        pool.push_str(key);
        let text_at = *known.entry(text).or_insert_with(|| {
            let at = number(pool.len());
            pool.push_str(text);
            at
        });
        for n in [key_at, number(key.len()), text_at, number(text.len())] {
            index.extend_from_slice(&n.to_le_bytes());
        }
    }
    fs::write(out.join("descriptions.txt"), pool).expect("OUT_DIR is writable");
    fs::write(out.join("descriptions.idx"), index).expect("OUT_DIR is writable");
}

/// The table of the committed documents: path below `/openapi/v3/` and compressed content.
fn documents(out: &Path) {
    let folder = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("openapi/v3");
    let mut names: Vec<String> = fs::read_dir(&folder)
        .map(|entries| entries.flatten().filter_map(|e| e.file_name().into_string().ok()).collect())
        .unwrap_or_default();
    names.sort();
    let mut text = String::from("pub(super) static DOCUMENTS: &[(&str, &[u8])] = &[\n");
    for name in names.iter().filter(|n| n.ends_with(".json.gz")) {
        let path = name.trim_end_matches(".json.gz").replace('_', "/");
        let file = folder.join(name);
        text.push_str(&format!(
            "    ({path:?}, include_bytes!(concat!(env!(\"CARGO_MANIFEST_DIR\"), {:?}))),\n",
            format!("/openapi/v3/{}", file.file_name().expect("a file").to_string_lossy())
        ));
    }
    text.push_str("];\n");
    fs::write(out.join("documents.rs"), text).expect("OUT_DIR is writable");
}
