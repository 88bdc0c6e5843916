//! A client of the OCI distribution API: manifests and blobs, Bearer and Basic authentication, redirects.
//!
//! Credentials go only to the registry that they were given for, or to the token service that it names over HTTPS;
//! plain HTTP is spoken with loopback only.

mod challenge;
mod http;

use std::{collections::BTreeMap, time::Duration};

use ::http::{HeaderMap, StatusCode, header};
use base64::{Engine, engine::general_purpose::STANDARD};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::{Auth, Reference};
use challenge::Challenge;

pub(super) use http::Url;

/// Largest manifest or configuration.
const LARGEST_JSON: usize = 8 << 20;
const REDIRECTS: usize = 5;
/// A registry that says nothing for so long is not there.
const PATIENCE: Duration = Duration::from_secs(60);

const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// Why a registry did not answer with what was asked for.
#[derive(Debug)]
pub(super) enum Failure {
    NotFound,
    Unauthorized(String),
    Unreachable(String),
    Refused(String),
}

/// Where registries are.
#[derive(Debug, Clone, Default)]
pub(super) struct Registries {
    mirrors: BTreeMap<String, Url>,
}

impl Registries {
    /// Checks the mirrors' addresses.
    pub(super) fn new(mirrors: &BTreeMap<String, String>) -> Result<Self, String> {
        let parse = |(name, address): (&String, &String)| {
            let url = Url::parse(address).ok_or_else(|| format!("mirror {address:?} is not a URL"))?;
            match url.is_acceptable() {
                true => Ok((name.clone(), url)),
                false => Err(format!("mirror {address:?}: plain HTTP is spoken with loopback only")),
            }
        };
        Ok(Self { mirrors: mirrors.iter().map(parse).collect::<Result<_, _>>()? })
    }

    fn base(&self, domain: &str) -> Result<Url, Failure> {
        if let Some(mirror) = self.mirrors.get(domain) {
            return Ok(mirror.clone());
        }
        let host = if domain == "docker.io" { "registry-1.docker.io" } else { domain };
        let guess = Url::parse(&format!("http://{host}")).filter(Url::is_acceptable);
        let url = guess.or_else(|| Url::parse(&format!("https://{host}")));
        url.ok_or_else(|| Failure::Refused(format!("{domain:?} is not a host")))
    }

    /// A session for one repository.
    pub(super) fn repository<'a>(
        &self,
        reference: &'a Reference,
        auth: Option<&'a Auth>,
    ) -> Result<Repository<'a>, Failure> {
        Ok(Repository { base: self.base(&reference.domain)?, path: &reference.path, auth, header: None.into() })
    }
}

/// A repository of a registry, for the length of one pull.
pub(super) struct Repository<'a> {
    base: Url,
    path: &'a str,
    auth: Option<&'a Auth>,
    /// The Authorization header that worked.
    header: parking_lot::Mutex<Option<String>>,
}

impl Repository<'_> {
    /// A manifest by tag or digest.
    pub(super) async fn manifest(&self, tag_or_digest: &str) -> Result<Vec<u8>, Failure> {
        let path = format!("/v2/{}/manifests/{tag_or_digest}", self.path);
        collect(self.get(&path, MANIFESTS).await?).await
    }

    /// A small blob as a whole.
    pub(super) async fn small_blob(&self, digest: &str) -> Result<Vec<u8>, Failure> {
        collect(self.blob(digest).await?).await
    }

    /// A blob's body, not checked yet.
    pub(super) async fn blob(&self, digest: &str) -> Result<Incoming, Failure> {
        self.get(&format!("/v2/{}/blobs/{digest}", self.path), "*/*").await
    }

    async fn get(&self, path: &str, accept: &str) -> Result<Incoming, Failure> {
        let url = self.base.join(path).ok_or_else(|| Failure::Refused(format!("{path:?} is not a path")))?;
        let known = self.header.lock().clone();
        let (status, headers, body) = follow(&url, accept, known.as_deref()).await?;
        if status != StatusCode::UNAUTHORIZED {
            return accepted(&url, status, body).await;
        }
        let header = self.authorize(&headers).await?;
        let (status, _, body) = follow(&url, accept, Some(&header)).await?;
        *self.header.lock() = Some(header);
        accepted(&url, status, body).await
    }

    /// The Authorization header that a 401 asks for.
    async fn authorize(&self, headers: &HeaderMap) -> Result<String, Failure> {
        let challenges = headers.get_all(header::WWW_AUTHENTICATE).iter();
        let mut challenges = challenges.filter_map(|value| Challenge::parse(value.to_str().ok()?));
        let no_credentials = || Failure::Unauthorized("authorization failed: no basic auth credentials".into());
        match challenges.next() {
            Some(Challenge::Basic) => self.auth.map(basic).ok_or_else(no_credentials),
            Some(Challenge::Bearer { realm, service, scope }) => {
                let scope = scope.unwrap_or_else(|| format!("repository:{}:pull", self.path));
                self.token(&realm, service.as_deref(), &scope).await
            }
            None => Err(no_credentials()),
        }
    }

    async fn token(&self, realm: &str, service: Option<&str>, scope: &str) -> Result<String, Failure> {
        let mut query = format!("scope={}", challenge::encode(scope));
        if let Some(service) = service {
            query.push_str(&format!("&service={}", challenge::encode(service)));
        }
        let separator = if realm.contains('?') { '&' } else { '?' };
        let url = Url::parse(&format!("{realm}{separator}{query}")).filter(Url::is_acceptable);
        // a registry elsewhere must not send us to services of this host
        let url = url.filter(|u| u.is_tls() || self.base.is_acceptable() && !self.base.is_tls());
        let url = url.ok_or_else(|| Failure::Refused(format!("token service {realm:?} is not acceptable")))?;
        let (status, _, body) = follow(&url, "application/json", self.auth.map(basic).as_deref()).await?;
        let kind = if self.auth.is_some() { "oauth" } else { "anonymous" };
        let failed =
            |what: String| Failure::Unauthorized(format!("failed to authorize: failed to fetch {kind} token: {what}"));
        if !status.is_success() {
            return Err(failed(format!("unexpected status from GET request to {realm}: {status}")));
        }
        #[derive(serde::Deserialize)]
        struct Token {
            token: Option<String>,
            access_token: Option<String>,
        }
        let token: Token = serde_json::from_slice(&collect(body).await?).map_err(|_| failed("not a token".into()))?;
        let token = token.token.or(token.access_token).ok_or_else(|| failed("no token in answer".into()))?;
        Ok(format!("Bearer {token}"))
    }
}

fn basic(auth: &Auth) -> String {
    format!("Basic {}", STANDARD.encode(format!("{}:{}", auth.username, auth.password)))
}

/// GET along redirects; the header is not taken to another host.
async fn follow(url: &Url, accept: &str, header: Option<&str>) -> Result<(StatusCode, HeaderMap, Incoming), Failure> {
    let mut at = url.clone();
    for _ in 0..=REDIRECTS {
        let header = header.filter(|_| at.same_origin(url));
        let asked = tokio::time::timeout(PATIENCE, http::get(&at, accept, header)).await;
        let failed = |cause: String| Failure::Unreachable(format!("failed to do request: Get \"{at}\": {cause}"));
        let response =
            asked.map_err(|_| failed("net/http: timeout awaiting response headers".into()))?.map_err(failed)?;
        let (parts, body) = response.into_parts();
        if !parts.status.is_redirection() {
            return Ok((parts.status, parts.headers, body));
        }
        let location = parts.headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
        let next = location.and_then(|location| at.join(location)).filter(Url::is_acceptable);
        at = next.ok_or_else(|| Failure::Refused(format!("redirect to {location:?} is not acceptable")))?;
    }
    Err(Failure::Refused("stopped after too many redirects".into()))
}

async fn accepted(url: &Url, status: StatusCode, body: Incoming) -> Result<Incoming, Failure> {
    match status {
        StatusCode::OK => Ok(body),
        StatusCode::NOT_FOUND => Err(Failure::NotFound),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Err(Failure::Unauthorized("server message: insufficient_scope: authorization failed".into()))
        }
        StatusCode::TOO_MANY_REQUESTS => Err(Failure::Unreachable(format!("toomanyrequests: {url}"))),
        status => Err(Failure::Unreachable(format!("unexpected status from GET request to {url}: {status}"))),
    }
}

/// The next piece of a body; none at its end.
pub(super) async fn piece(body: &mut Incoming) -> Result<Option<bytes::Bytes>, Failure> {
    loop {
        let frame = tokio::time::timeout(PATIENCE, body.frame()).await;
        let frame = frame.map_err(|_| Failure::Unreachable("the registry stopped sending".into()))?;
        match frame.transpose().map_err(|error| Failure::Unreachable(error.to_string()))? {
            None => return Ok(None),
            Some(frame) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

async fn collect(mut body: Incoming) -> Result<Vec<u8>, Failure> {
    let mut out = Vec::new();
    while let Some(data) = piece(&mut body).await? {
        if out.len() + data.len() > LARGEST_JSON {
            return Err(Failure::Refused(format!("answer is larger than {LARGEST_JSON} bytes")));
        }
        out.extend_from_slice(&data);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(mirrors: &[(&str, &str)], domain: &str) -> Result<String, String> {
        let mirrors = mirrors.iter().map(|(name, url)| ((*name).to_owned(), (*url).to_owned())).collect();
        let registries = Registries::new(&mirrors)?;
        registries.base(domain).map(|url| url.to_string()).map_err(|failure| format!("{failure:?}"))
    }

    #[test]
    fn a_mirror_is_asked_instead_and_http_is_for_loopback() {
        assert_eq!(base(&[], "docker.io").unwrap(), "https://registry-1.docker.io/");
        assert_eq!(base(&[], "127.0.0.1:5000").unwrap(), "http://127.0.0.1:5000/");
        assert_eq!(base(&[], "localhost:5000").unwrap(), "http://localhost:5000/");
        assert_eq!(base(&[], "10.0.0.1:5000").unwrap(), "https://10.0.0.1:5000/");
        assert_eq!(base(&[("docker.io", "http://127.0.0.1:5")], "docker.io").unwrap(), "http://127.0.0.1:5/");
        assert!(base(&[("docker.io", "http://10.0.0.1:5")], "docker.io").is_err());
        assert!(base(&[("docker.io", "ftp://127.0.0.1")], "docker.io").is_err());
    }
}
