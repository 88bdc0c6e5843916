//! Random names, suffixes and identifiers, from the operating system's generator.

const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// Random bytes. Ends the process when the operating system has none, since nothing safe can go on.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    getrandom::fill(&mut out).expect("the operating system provides random bytes");
    out
}

/// `length` characters of upstream's name alphabet (no vowels, nothing that is easily misread).
pub fn suffix(length: usize) -> String {
    let mut out = String::with_capacity(length);
    while out.len() < length {
        // 243 = 9 × 27: bytes above are dropped so that every character is equally likely
        out.extend(
            bytes::<8>()
                .iter()
                .filter(|b| **b < 243)
                .map(|b| ALPHABET[(b % 27) as usize] as char)
                .take(length - out.len()),
        );
    }
    out
}

/// What `generateName` becomes: the base cut to 58 characters and five random ones.
pub fn generate_name(base: &str) -> String {
    let cut: String = base.chars().take(58).collect();
    cut + &suffix(5)
}

/// A random UUID (version 4) in its usual lower-case form.
pub fn uuid() -> String {
    let mut b = bytes::<16>();
    b[6] = (b[6] & 0x0f) | 0x40;
    b[8] = (b[8] & 0x3f) | 0x80;
    let hex: String = b.iter().map(|x| format!("{x:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
