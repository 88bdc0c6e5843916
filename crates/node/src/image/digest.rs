//! sha256 in OCI's spelling, of bytes and of what flows through a reader.

use std::io::{self, Read};

use aws_lc_rs::digest::{Context, SHA256, digest};

fn spell(bytes: &[u8]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// The digest of these bytes.
pub(super) fn of(bytes: &[u8]) -> String {
    spell(digest(&SHA256, bytes).as_ref())
}

/// Hashes what is read through it.
pub(super) struct Hashing<R> {
    inner: R,
    context: Context,
}

impl<R: Read> Hashing<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, context: Context::new(&SHA256) }
    }

    /// Reads what is left and answers the digest of everything.
    pub(super) fn finish(mut self) -> io::Result<String> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(spell(self.context.finish().as_ref()))
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.context.update(&buffer[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_covers_what_was_not_read_too() {
        let text = b"hello world";
        let mut reader = Hashing::new(&text[..]);
        reader.read_exact(&mut [0; 3]).unwrap();
        let expected = "sha256:b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9";
        assert_eq!(reader.finish().unwrap(), expected);
        assert_eq!(of(text), expected);
    }
}
