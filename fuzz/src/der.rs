//! Certificates and requests from parts that may be anything, signed as if they were good.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, PublicKeyData as _, SigningKey as _};

/// ecdsa-with-SHA256.
const ALGORITHM: &[u8] = &[0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];

/// A key, and a certificate that makes it an authority.
pub struct Authority {
    key: KeyPair,
    pub certificate: Vec<u8>,
    name: Vec<u8>,
    /// SubjectPublicKeyInfo in DER.
    pub public: Vec<u8>,
}

impl Default for Authority {
    fn default() -> Self {
        Authority::new()
    }
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "ca");
        let certificate = params.self_signed(&key).expect("a certificate").der().to_vec();
        let (_, parsed) = x509_parser::parse_x509_certificate(&certificate).expect("a certificate");
        let name = parsed.subject().as_raw().to_vec();
        let public = key.subject_public_key_info();
        Authority { key, certificate, name, public }
    }

    /// A TBSCertificate of version 3, good in 2027, with the purpose of a client unless extensions are given.
    pub fn tbs(&self, subject: &[u8], extensions: &[u8]) -> Vec<u8> {
        // extKeyUsage: clientAuth
        const CLIENT: &[u8] = &[0x30, 19, 6, 3, 0x55, 0x1d, 0x25, 4, 12, 0x30, 10, 6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 2];
        let validity = tlv(0x30, &[&tlv(0x17, &[b"250101000000Z"]), &tlv(0x17, &[b"400101000000Z"])]);
        let extensions = tlv(0xa3, &[&tlv(0x30, &[CLIENT, extensions])]);
        let head: &[u8] = &[0xa0, 3, 2, 1, 2, 2, 1, 7];
        tlv(0x30, &[head, ALGORITHM, &self.name, &validity, subject, &self.public, &extensions])
    }

    pub fn certificate(&self, tbs: &[u8]) -> Vec<u8> {
        self.envelope(tbs)
    }

    /// Content, algorithm, signature: what certificates and requests have in common.
    pub fn envelope(&self, content: &[u8]) -> Vec<u8> {
        let signature = self.key.sign(content).expect("signed");
        tlv(0x30, &[content, ALGORITHM, &tlv(3, &[&[0], &signature])])
    }
}

/// A Name of UTF8Strings; `CN` and `O`.
pub fn name(parts: &[(&str, &str)]) -> Vec<u8> {
    let sets: Vec<Vec<u8>> = parts
        .iter()
        .map(|(kind, text)| {
            let number = if *kind == "CN" { 3 } else { 10 };
            tlv(0x31, &[&tlv(0x30, &[&[6, 3, 0x55, 4, number], &tlv(0x0c, &[text.as_bytes()])])])
        })
        .collect();
    tlv(0x30, &sets.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

pub fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content: Vec<u8> = parts.concat();
    let mut out = vec![tag];
    match content.len() {
        n if n < 0x80 => out.push(n as u8),
        n if n < 0x100 => out.extend([0x81, n as u8]),
        n => out.extend([0x82, (n >> 8) as u8, n as u8]),
    }
    out.extend(content);
    out
}
