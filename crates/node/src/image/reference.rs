//! Image references, normalised as Docker does: `busybox` is `docker.io/library/busybox:latest`.

use std::fmt;

use super::ImageError;

/// A parsed, normalised reference. `Display` is its familiar full form.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    /// `docker.io`, `127.0.0.1:5000`, …
    pub domain: String,
    /// `library/busybox`
    pub path: String,
    /// Tag; `latest` when neither tag nor digest is given.
    pub tag: Option<String>,
    /// `sha256:…`
    pub digest: Option<String>,
}

impl Reference {
    /// Parses what a user wrote into `image:`.
    pub fn parse(name: &str) -> Result<Self, ImageError> {
        let bad = |cause: &str| ImageError::InvalidName { name: name.into(), cause: cause.into() };
        if name.len() == 64 && name.bytes().all(is_lower_hex) {
            return Err(bad("invalid repository name, cannot specify 64-byte hexadecimal strings"));
        }
        let (rest, digest) = match name.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (name, None),
        };
        if let Some(digest) = digest
            && !is_digest(digest)
        {
            return Err(bad("invalid reference format"));
        }
        let (domain, remainder) = split_domain(rest);
        let (path, tag) = match remainder.rsplit_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (remainder.as_str(), None),
        };
        if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(bad("invalid reference format: repository name must be lowercase"));
        }
        if !is_domain(&domain) || !is_path(path) || tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(bad("invalid reference format"));
        }
        if path.len() > 255 {
            return Err(bad("repository name must not be more than 255 characters"));
        }
        let tag = tag.or(if digest.is_none() { Some("latest") } else { None });
        Ok(Self { domain, path: path.into(), tag: tag.map(Into::into), digest: digest.map(Into::into) })
    }

    /// Without tag and digest.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// `repository:tag`, if there is a tag and no digest.
    pub fn tagged(&self) -> Option<String> {
        match (&self.tag, &self.digest) {
            (Some(tag), None) => Some(format!("{}:{tag}", self.repository())),
            _ => None,
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.domain, self.path)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// Whether it is `sha256:` and 64 lowercase hexadecimal digits; other algorithms are not taken.
pub(crate) fn is_digest(digest: &str) -> bool {
    digest.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && hex.bytes().all(is_lower_hex))
}

fn is_lower_hex(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)
}

fn split_domain(name: &str) -> (String, String) {
    let (domain, rest) = match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':']) || first == "localhost" || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (first, rest)
        }
        _ => ("docker.io", name),
    };
    let domain = if domain == "index.docker.io" { "docker.io" } else { domain };
    if domain == "docker.io" && !rest.contains('/') {
        return (domain.into(), format!("library/{rest}"));
    }
    (domain.into(), rest.into())
}

fn is_domain(domain: &str) -> bool {
    let (host, port) = match domain.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (domain, None),
    };
    let port_ok = port.is_none_or(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host_ok = match bracketed {
        Some(v6) => !v6.is_empty() && v6.bytes().all(|b| b.is_ascii_hexdigit() || b == b':'),
        None => host.split('.').all(is_domain_label),
    };
    port_ok && host_ok
}

fn is_domain_label(label: &str) -> bool {
    !label.is_empty()
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn is_path(path: &str) -> bool {
    !path.is_empty() && path.split('/').all(is_path_component)
}

/// `[a-z0-9]+` joined by `.`, `_`, `__` or any number of `-`.
fn is_path_component(part: &str) -> bool {
    let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = part.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    if !alnum(*first) || !alnum(*last) {
        return false;
    }
    part.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        .all(|separator| matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-'))
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    (1..=128).contains(&tag.len())
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    #[track_caller]
    fn check(name: &str, expected: Option<&str>) {
        assert_eq!(Reference::parse(name).ok().map(|r| r.to_string()).as_deref(), expected, "{name}");
    }

    #[test]
    fn names_are_completed_as_docker_does() {
        check("busybox", Some("docker.io/library/busybox:latest"));
        check("busybox:1.35", Some("docker.io/library/busybox:1.35"));
        check("user/app", Some("docker.io/user/app:latest"));
        check("index.docker.io/app", Some("docker.io/library/app:latest"));
        check("localhost/app", Some("localhost/app:latest"));
        check("127.0.0.1:5000/a/b:v1", Some("127.0.0.1:5000/a/b:v1"));
        check("registry.example/x", Some("registry.example/x:latest"));
        check("[::1]:5000/x", Some("[::1]:5000/x:latest"));
        check(&format!("busybox@{DIGEST}"), Some(&format!("docker.io/library/busybox@{DIGEST}")));
        check(&format!("busybox:1@{DIGEST}"), Some(&format!("docker.io/library/busybox:1@{DIGEST}")));
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        for name in [
            "",
            "BusyBox",
            "a b",
            "a//b",
            "-a",
            "a:",
            "a:b:c",
            "a@sha256:12",
            "../x",
            "a/../b",
            "a___b",
            "http://x/y",
            "x/:tag",
            ":tag",
            "a:-tag",
            "a@",
            &"a".repeat(300),
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ] {
            check(name, None);
        }
    }
}
