//! Object identifiers of ASN.1 as bytes: whether they are well-formed. Not here: what they stand for.

/// Why the content of an OBJECT IDENTIFIER is none, in the words of Go's `encoding/asn1`. A lenient parser reads such bytes as
/// the numbers of another identifier, so that two readers of one name see different attributes.
pub fn malformed(content: &[u8]) -> Option<&'static str> {
    const TOO_LARGE: &str = "asn1: structure error: base 128 integer too large";
    if content.is_empty() {
        return Some("asn1: syntax error: zero length OBJECT IDENTIFIER");
    }
    let (mut length, mut number) = (0, 0_u64);
    for byte in content {
        match length {
            0 if *byte == 0x80 => return Some("asn1: syntax error: integer is not minimally encoded"),
            5 => return Some(TOO_LARGE),
            _ => {}
        }
        number = number << 7 | u64::from(byte & 0x7f);
        length += 1;
        if *byte < 0x80 {
            if number > i32::MAX as u64 {
                return Some(TOO_LARGE);
            }
            (length, number) = (0, 0);
        }
    }
    (length != 0).then_some("asn1: syntax error: truncated base 128 integer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_read_as_go_reads_them() {
        let check = |content: &[u8], want: Option<&str>| assert_eq!(malformed(content), want, "{content:x?}");
        check(&[0x55, 4, 10], None);
        check(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 14], None);
        check(&[0x55, 0x87, 0xff, 0xff, 0xff, 0x7f], None);
        check(&[], Some("asn1: syntax error: zero length OBJECT IDENTIFIER"));
        check(&[0x55, 4, 0x8a], Some("asn1: syntax error: truncated base 128 integer"));
        check(&[0x55, 0x80, 10], Some("asn1: syntax error: integer is not minimally encoded"));
        check(&[0x55, 0x88, 0x80, 0x80, 0x80, 0], Some("asn1: structure error: base 128 integer too large"));
        check(&[0x55, 0x81, 0x80, 0x80, 0x80, 0x80, 0], Some("asn1: structure error: base 128 integer too large"));
    }
}
