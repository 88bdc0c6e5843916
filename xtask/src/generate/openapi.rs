//! The OpenAPI documents: upstream's, without descriptions, one compressed file each under `crates/api/openapi`.

use std::io::{Read, Write};
use std::path::Path;

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::GzEncoder;

/// Copies every document, smaller: no space between tokens, one compressed file each.
pub(super) fn write(reference: &Path, out: &Path) -> Result<()> {
    std::fs::create_dir_all(out.join("v3"))?;
    copy(&reference.join("openapi/v2.json.gz"), &out.join("v2.json.gz"))?;
    for entry in std::fs::read_dir(reference.join("openapi/v3"))? {
        let path = entry?.path();
        let name = path.file_name().and_then(|n| n.to_str()).context("a file name that is no text")?;
        let name = name.trim_end_matches(".gz").trim_end_matches(".json");
        copy(&path, &out.join("v3").join(format!("{name}.json.gz")))?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut bytes = std::fs::read(from).with_context(|| from.display().to_string())?;
    if from.extension().is_some_and(|e| e == "gz") {
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut plain)?;
        bytes = plain;
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&compact(&bytes))?;
    std::fs::write(to, encoder.finish()?).with_context(|| to.display().to_string())
}

/// JSON without white space between tokens; the order of members stays.
fn compact(json: &[u8]) -> Vec<u8> {
    let (mut out, mut in_string, mut escaped) = (Vec::with_capacity(json.len()), false, false);
    for byte in json {
        if !in_string && byte.is_ascii_whitespace() {
            continue;
        }
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_string = !in_string,
            _ => {}
        }
        out.push(*byte);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::compact;

    #[test]
    fn only_space_between_tokens_goes() {
        assert_eq!(compact(br#"{ "a b": "c \" d" , "e": [ 1 ] }"#), br#"{"a b":"c \" d","e":[1]}"#);
    }
}
