//! Certificates for requests of others: what they ask for, as `CertificateSigningRequest`s say it, in upstream's form.
//! Written by hand because `rcgen` knows one organization per name only. Who may have what was decided before.

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use meta::Time;
use rcgen::{CertificateParams, KeyPair, SigningKey as _};
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer as _, X509CertificationRequest};
use x509_parser::x509::X509Name;

use crate::authority::{CertificateAuthority, CertificateError};

/// Clocks of others may be behind.
const BACKDATE: i64 = 300;
/// A life below this is not shortened by the backdating.
const SHORT: i64 = 8 * 3600;
const LEAST: i64 = 600;
/// Upstream's `--cluster-signing-duration`.
pub const YEAR: i64 = 365 * 86_400;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OCTETS: u8 = 0x04;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct CertificateRequest<'a> {
    /// PEM.
    pub request: &'a [u8],
    /// By the names of certificates.k8s.io.
    pub usages: &'a [String],
    pub seconds: Option<i64>,
    /// `--cluster-signing-duration` in seconds: what is given when nothing is asked, and the most.
    pub most: i64,
}

impl CertificateAuthority {
    /// A PEM certificate for the request's name, alternative names and key.
    ///
    /// # Errors
    /// The request cannot be read, is not signed by its own key, has usages that are none, or the authority has expired.
    pub fn sign_request(&self, request: &CertificateRequest<'_>) -> Result<String, CertificateError> {
        let (_, block) = x509_parser::pem::parse_x509_pem(request.request).map_err(|_| CertificateError::Request)?;
        let (_, csr) = X509CertificationRequest::from_der(&block.contents).map_err(|_| CertificateError::Request)?;
        csr.verify_signature().map_err(|_| CertificateError::Request)?;
        let own = self.certificate_der();
        let (_, own) = x509_parser::parse_x509_certificate(&own).map_err(|_| CertificateError::Authority)?;
        let algorithm = self.algorithm()?;
        let info = &csr.certification_request_info;
        if info.subject.iter_attributes().any(|a| meta::oid::malformed(a.attr_type().as_bytes()).is_some()) {
            return Err(CertificateError::Request);
        }
        let tbs = tlv(
            SEQUENCE,
            &[
                &[0xa0, 3, 2, 1, 2],
                &serial()?,
                &algorithm,
                own.subject().as_raw(),
                &validity(request, own.validity().not_after.timestamp())?,
                &name(&info.subject),
                info.subject_pki.raw,
                &extensions(&csr, request.usages, own.extensions())?,
            ],
        );
        let signature = self.key().sign(&tbs).map_err(|_| CertificateError::Failed)?;
        let der = tlv(SEQUENCE, &[&tbs, &algorithm, &tlv(0x03, &[&[0], &signature])]);
        Ok(pem(&der))
    }

    /// The signature's AlgorithmIdentifier, taken from a certificate that the library makes.
    fn algorithm(&self) -> Result<Vec<u8>, CertificateError> {
        let key = KeyPair::generate().map_err(|_| CertificateError::Failed)?;
        let sample =
            CertificateParams::default().signed_by(&key, self.issuer()).map_err(|_| CertificateError::Failed)?;
        let find = || {
            let (_, content, _) = element(sample.der())?;
            let (_, _, rest) = element(content)?;
            let (whole, _, _) = element(rest)?;
            Some(whole.to_vec())
        };
        find().ok_or(CertificateError::Failed)
    }
}

/// A DER element: its bytes, its content, what follows.
fn element(der: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let first = usize::from(*der.get(1)?);
    let (header, length) = if first < 0x80 {
        (2, first)
    } else {
        let count = first & 0x7f;
        let bytes = der.get(2..2 + count)?;
        (2 + count, bytes.iter().try_fold(0usize, |n, b| n.checked_mul(256)?.checked_add(usize::from(*b)))?)
    };
    let end = header.checked_add(length)?;
    Some((der.get(..end)?, der.get(header..end)?, der.get(end..)?))
}

fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|p| p.len()).sum();
    let mut out = vec![tag];
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let bytes: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|b| *b == 0).collect();
            out.push(0x80 | u8::try_from(bytes.len()).unwrap_or_default());
            out.extend(bytes);
        }
    }
    parts.iter().for_each(|p| out.extend_from_slice(p));
    out
}

fn serial() -> Result<Vec<u8>, CertificateError> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).map_err(|_| CertificateError::Failed)?;
    // positive, and with no zero in front
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    Ok(tlv(0x02, &[&bytes]))
}

/// A short life is as long as asked from now on, a long one includes the backdating; none outlives the authority.
fn validity(request: &CertificateRequest<'_>, authority_ends: i64) -> Result<Vec<u8>, CertificateError> {
    let now = Time::now().0;
    if now >= authority_ends {
        return Err(CertificateError::Expired);
    }
    let life = match request.seconds {
        Some(wanted) if wanted <= request.most => wanted.max(LEAST),
        _ => request.most,
    };
    let end = if life < SHORT { now + life } else { now + life - BACKDATE };
    Ok(tlv(SEQUENCE, &[&time(now - BACKDATE), &time(end.min(authority_ends))]))
}

/// UTCTime before 2050, GeneralizedTime from then on.
fn time(at: i64) -> Vec<u8> {
    let digits: String = Time(at).to_string().chars().filter(char::is_ascii_digit).take(14).collect();
    match digits.strip_prefix("20").filter(|rest| *rest < "5") {
        Some(short) => tlv(0x17, &[short.as_bytes(), b"Z"]),
        None => tlv(0x18, &[digits.as_bytes(), b"Z"]),
    }
}

/// The standard attributes in upstream's order, all values of one kind in one set.
fn name(subject: &X509Name<'_>) -> Vec<u8> {
    // country, organization, unit, locality, province, street, postal code, common name, serial number
    const ATTRIBUTES: [u8; 9] = [6, 10, 11, 7, 8, 9, 17, 3, 5];
    let mut sets = Vec::new();
    for attribute in ATTRIBUTES {
        let mut values: Vec<Vec<u8>> = subject
            .iter_attributes()
            // by its bytes: others read as the same numbers, and whoever judged the request has not taken them for it
            .filter(|a| a.attr_type().as_bytes() == [0x55, 4, attribute])
            .filter_map(|a| a.as_str().ok())
            .map(|text| tlv(SEQUENCE, &[&[6, 3, 0x55, 4, attribute], &tlv(string_tag(text), &[text.as_bytes()])]))
            .collect();
        // only one common name and serial number count, the last
        if matches!(attribute, 3 | 5) {
            values = values.pop().into_iter().collect();
        }
        values.sort();
        if !values.is_empty() {
            sets.push(tlv(SET, &values.iter().map(Vec::as_slice).collect::<Vec<_>>()));
        }
    }
    tlv(SEQUENCE, &sets.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

/// PrintableString where it can be, else UTF8String.
fn string_tag(text: &str) -> u8 {
    let printable = |b: u8| b.is_ascii_alphanumeric() || b" '()+,-./:=?".contains(&b);
    if text.bytes().all(printable) { 0x13 } else { 0x0c }
}

fn extensions(
    csr: &X509CertificationRequest<'_>,
    usages: &[String],
    authority: &[x509_parser::extensions::X509Extension<'_>],
) -> Result<Vec<u8>, CertificateError> {
    let (bits, extended) = parse_usages(usages)?;
    let mut all = Vec::new();
    if bits != 0 {
        all.push(extension(15, true, &bit_string(bits)));
    }
    if !extended.is_empty() {
        let list = tlv(SEQUENCE, &extended.iter().map(|oid| &oid[..]).collect::<Vec<_>>());
        all.push(extension(37, false, &list));
    }
    all.push(extension(19, true, &tlv(SEQUENCE, &[])));
    let key_id = authority.iter().find_map(|e| match e.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0),
        _ => None,
    });
    if let Some(id) = key_id {
        all.push(extension(35, false, &tlv(SEQUENCE, &[&tlv(0x80, &[id])])));
    }
    let names = alternative_names(csr);
    if !names.is_empty() {
        let critical = csr.certification_request_info.subject.iter_attributes().next().is_none();
        all.push(extension(17, critical, &tlv(SEQUENCE, &names.iter().map(Vec::as_slice).collect::<Vec<_>>())));
    }
    let list = tlv(SEQUENCE, &all.iter().map(Vec::as_slice).collect::<Vec<_>>());
    Ok(tlv(0xa3, &[&list]))
}

/// `2.5.29.<number>`.
fn extension(number: u8, critical: bool, value: &[u8]) -> Vec<u8> {
    let flag: &[u8] = if critical { &[1, 1, 0xff] } else { &[] };
    tlv(SEQUENCE, &[&[6, 3, 0x55, 0x1d, number], flag, &tlv(OCTETS, &[value])])
}

/// DNS names, mail addresses, IP addresses, URIs; other kinds are dropped, as upstream drops them.
fn alternative_names(csr: &X509CertificationRequest<'_>) -> Vec<Vec<u8>> {
    let mut names: Vec<(usize, Vec<u8>)> = Vec::new();
    for extension in csr.requested_extensions().into_iter().flatten() {
        let ParsedExtension::SubjectAlternativeName(found) = extension else { continue };
        for name in &found.general_names {
            match name {
                GeneralName::DNSName(text) => names.push((0, tlv(0x82, &[text.as_bytes()]))),
                GeneralName::RFC822Name(text) => names.push((1, tlv(0x81, &[text.as_bytes()]))),
                GeneralName::IPAddress(bytes) => names.push((2, tlv(0x87, &[bytes]))),
                GeneralName::URI(text) => names.push((3, tlv(0x86, &[text.as_bytes()]))),
                _ => {}
            }
        }
    }
    names.sort_by_key(|(kind, _)| *kind);
    names.into_iter().map(|(_, der)| der).collect()
}

/// Bit `n` of KeyUsage as bit `n`, and the extended usages as OIDs in upstream's order.
fn parse_usages(usages: &[String]) -> Result<(u16, Vec<Vec<u8>>), CertificateError> {
    const PKIX: [u8; 9] = [6, 8, 0x2b, 6, 1, 5, 5, 7, 3];
    let (mut bits, mut extended) = (0u16, Vec::new());
    for usage in usages {
        let (bit, number) = match usage.as_str() {
            "signing" | "digital signature" => (1 << 0, None),
            "content commitment" => (1 << 1, None),
            "key encipherment" => (1 << 2, None),
            "data encipherment" => (1 << 3, None),
            "key agreement" => (1 << 4, None),
            "cert sign" => (1 << 5, None),
            "crl sign" => (1 << 6, None),
            "encipher only" => (1 << 7, None),
            "decipher only" => (1 << 8, None),
            "any" => (0, Some(0u8)),
            "server auth" => (0, Some(1)),
            "client auth" => (0, Some(2)),
            "code signing" => (0, Some(3)),
            "email protection" | "s/mime" => (0, Some(4)),
            "ipsec end system" => (0, Some(5)),
            "ipsec tunnel" => (0, Some(6)),
            "ipsec user" => (0, Some(7)),
            "timestamping" => (0, Some(8)),
            "ocsp signing" => (0, Some(9)),
            "microsoft sgc" => (0, Some(10)),
            "netscape sgc" => (0, Some(11)),
            _ => return Err(CertificateError::Usage(usage.clone())),
        };
        bits |= bit;
        extended.extend(number);
    }
    extended.sort_unstable();
    extended.dedup();
    let oid = |number: u8| match number {
        0 => vec![6, 4, 0x55, 0x1d, 0x25, 0],
        10 => vec![6, 10, 0x2b, 6, 1, 4, 1, 0x82, 0x37, 10, 3, 3],
        11 => vec![6, 9, 0x60, 0x86, 0x48, 1, 0x86, 0xf8, 0x42, 4, 1],
        n => [&PKIX[..], &[n]].concat(),
    };
    Ok((bits, extended.into_iter().map(oid).collect()))
}

/// A BIT STRING whose first bit is bit 0, without zeros at its end.
fn bit_string(bits: u16) -> Vec<u8> {
    let turned = bits.reverse_bits();
    let count = 16 - turned.trailing_zeros();
    let bytes = turned.to_be_bytes();
    let used = if count > 8 { 2 } else { 1 };
    let unused = u8::try_from(used * 8 - count as usize).unwrap_or_default();
    tlv(0x03, &[&[unused], &bytes[..used]])
}

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut out = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        out.push_str(line);
        out.push('\n');
        rest = after;
    }
    out.push_str("-----END CERTIFICATE-----\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{DnType, SanType};

    fn request(organization: &str) -> String {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "jane");
        params.distinguished_name.push(DnType::OrganizationName, organization);
        params.distinguished_name.push(DnType::from_oid(&[2, 5, 4, 11]), "unit");
        params.subject_alt_names = vec![SanType::DnsName("a.example".try_into().unwrap())];
        params.serialize_request(&key).unwrap().pem().unwrap()
    }

    fn sign(usages: &[&str], seconds: Option<i64>) -> Result<(String, String), CertificateError> {
        let (authority, _) = CertificateAuthority::generate("ca")?;
        let usages: Vec<String> = usages.iter().map(|u| (*u).to_owned()).collect();
        let text = request("d\u{e9}v");
        let pem = authority.sign_request(&CertificateRequest {
            request: text.as_bytes(),
            usages: &usages,
            seconds,
            most: YEAR,
        })?;
        Ok((pem, authority.certificate().to_owned()))
    }

    #[test]
    fn a_certificate_is_signed_and_says_what_was_asked() {
        let (pem, authority) = sign(&["digital signature", "client auth", "decipher only"], Some(3600)).unwrap();
        let der = crate::authority::certificates_from_pem(&pem).remove(0);
        let root = crate::authority::certificates_from_pem(&authority).remove(0);
        let (_, certificate) = x509_parser::parse_x509_certificate(&der).unwrap();
        let (_, root) = x509_parser::parse_x509_certificate(&root).unwrap();
        certificate.verify_signature(Some(root.public_key())).unwrap();
        assert_eq!(certificate.issuer(), root.subject());
        assert_eq!(certificate.subject().to_string(), "O=d\u{e9}v, OU=unit, CN=jane");
        assert!(!certificate.is_ca());
        let usage = certificate.key_usage().unwrap().unwrap().value;
        assert!(usage.digital_signature() && usage.decipher_only() && !usage.key_encipherment());
        let extended = certificate.extended_key_usage().unwrap().unwrap().value;
        assert!(extended.client_auth && !extended.server_auth);
        let names = certificate.subject_alternative_name().unwrap().unwrap().value;
        assert_eq!(names.general_names, [GeneralName::DNSName("a.example")]);
        let life = certificate.validity();
        assert_eq!(life.not_after.timestamp() - life.not_before.timestamp(), 3600 + 300);
    }

    #[test]
    fn from_eight_hours_on_a_life_includes_the_backdating() {
        let check = |seconds: Option<i64>, want: i64| {
            let (pem, _) = sign(&["client auth"], seconds).unwrap();
            let der = crate::authority::certificates_from_pem(&pem).remove(0);
            let (_, certificate) = x509_parser::parse_x509_certificate(&der).unwrap();
            let life = certificate.validity();
            assert_eq!(life.not_after.timestamp() - life.not_before.timestamp(), want);
        };
        check(Some(SHORT - 1), SHORT - 1 + BACKDATE);
        check(Some(SHORT), SHORT);
        check(Some(1), LEAST + BACKDATE);
        check(Some(10 * YEAR), YEAR);
        check(None, YEAR);
    }

    #[test]
    fn an_attribute_that_only_looks_like_another_is_none() {
        for oid in [&[0x55, 4, 10][..], &[0x55, 0x84, 4, 10], &[0x55, 4, 0x8a], &[0x55, 4, 0x80, 10], &[]] {
            let value = tlv(SEQUENCE, &[&tlv(6, &[oid]), &tlv(0x0c, &[b"system:masters"])]);
            let subject = tlv(SEQUENCE, &[&tlv(0x31, &[&value])]);
            let Ok((_, parsed)) = X509Name::from_der(&subject) else { continue };
            let found = name(&parsed).windows(14).any(|part| part == b"system:masters");
            assert_eq!(found, oid == [0x55, 4, 10], "{oid:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        assert!(matches!(sign(&["magic"], None), Err(CertificateError::Usage(_))));
        let (authority, _) = CertificateAuthority::generate("ca").unwrap();
        let broken = CertificateRequest { request: b"hello", usages: &[], seconds: None, most: YEAR };
        assert!(matches!(authority.sign_request(&broken), Err(CertificateError::Request)));
    }
}
