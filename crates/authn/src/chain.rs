//! The chain: what is asked in which order, and what the answers mean together.

use std::sync::Arc;

use arc_swap::ArcSwap;
use http::HeaderMap;
use meta::metrics::{Distribution, Histogram};
use meta::user::{ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED};
use meta::{Key, Time, UserInfo};
use store::View;

use crate::bootstrap_token;
use crate::keys::PublicKeys;
use crate::request_header::{Link, RequestHeader};
use crate::service_account::{ServiceAccounts, TokenUses};
use crate::static_tokens::StaticTokens;
use crate::x509::{ClientCertificates, Peer};
use crate::{bearer, x509};

/// Seconds: half an hour to a year.
const LIVES: [u64; 14] = [
    0, 1800, 3600, 7200, 21_600, 43_200, 86_400, 172_800, 345_600, 604_800, 2_592_000, 7_776_000, 15_552_000,
    31_104_000,
];

/// What a request shows of its sender.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The certificates of the connection; `None` without any.
    pub peer: Option<&'a Peer>,
    pub headers: &'a HeaderMap,
}

/// Who it is, as an authenticator found out.
#[derive(Clone, Debug, Default)]
pub struct Authenticated {
    pub user: Arc<UserInfo>,
    /// Empty: the mechanism knows no audiences.
    pub audiences: Vec<String>,
    /// `Warning` headers for the answer.
    pub warnings: Vec<String>,
    /// Audit annotations.
    pub annotations: Vec<(&'static str, String)>,
    /// The Secret of a legacy token that was just used, for its last-used label.
    pub used_secret: Option<Key>,
}

impl Authenticated {
    pub fn new(user: impl Into<Arc<UserInfo>>) -> Self {
        Authenticated { user: user.into(), ..Default::default() }
    }

    pub fn is_anonymous(&self) -> bool {
        self.user.name == ANONYMOUS
    }
}

/// Why a credential is bad: for logs and TokenReview, never for the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(
    pub String,
    /// The Secret of a legacy token that was just used though it is marked invalid, for its last-used label.
    pub Option<Key>,
);

impl Refusal {
    pub fn new(text: impl Into<String>) -> Self {
        Refusal(text.into(), None)
    }

    pub(crate) fn using(mut self, secret: Key) -> Self {
        self.1 = Some(secret);
        self
    }
}

/// What one authenticator says.
#[derive(Clone, Debug)]
pub enum Finding {
    Known(Authenticated),
    /// No credential of this kind.
    NotMine,
    /// A credential of this kind, and it is bad.
    Refused(Refusal),
}

/// ServiceAccount tokens.
#[derive(Clone, Debug, Default)]
pub struct ServiceAccountConfig {
    /// All are accepted; the first one signs (elsewhere).
    pub issuers: Vec<String>,
    pub keys: PublicKeys,
}

/// Everything the chain is built from.
#[derive(Default)]
pub struct Config {
    /// DER certificates of the authorities whose client certificates are believed.
    pub client_authorities: Vec<Vec<u8>>,
    pub request_header: Option<RequestHeader>,
    pub static_tokens: StaticTokens,
    pub service_accounts: ServiceAccountConfig,
    /// `--api-audiences`.
    pub audiences: Vec<String>,
    pub bootstrap_tokens: bool,
    /// `--anonymous-auth`; upstream's default is true.
    pub anonymous: bool,
}

/// All authenticators in order.
///
/// Authorities and keys can be replaced while it is asked; a question sees the old ones or the new ones.
pub struct Chain {
    believed: ArcSwap<Believed>,
    static_tokens: StaticTokens,
    service_accounts: ServiceAccounts,
    certificate_lives: Histogram<15>,
    audiences: Vec<String>,
    bootstrap_tokens: bool,
    anonymous: bool,
    clock: fn() -> Time,
}

impl Chain {
    /// # Errors
    /// A certificate authority that cannot be read, or one that is both for clients and for proxies of any name.
    pub fn new(config: Config) -> Result<Self, x509::BadAuthority> {
        let believed = Believed::new(config.client_authorities, config.request_header)?;
        Ok(Chain {
            believed: ArcSwap::from_pointee(believed),
            certificate_lives: Histogram::new(&LIVES),
            static_tokens: config.static_tokens,
            service_accounts: ServiceAccounts::new(config.service_accounts, config.audiences.clone()),
            audiences: config.audiences,
            bootstrap_tokens: config.bootstrap_tokens,
            anonymous: config.anonymous,
            clock: Time::now,
        })
    }

    /// Believes these authorities of clients and proxies from now on, and no others. What connections were found to be
    /// is kept when the authorities are the same ones.
    pub fn replace_authorities(&self, believed: Believed) {
        if !self.believed.load().is_same(&believed) {
            self.believed.store(Arc::new(believed));
        }
    }

    /// Accepts ServiceAccount tokens of these keys from now on, and of no others.
    pub fn replace_keys(&self, keys: PublicKeys) {
        self.service_accounts.replace_keys(keys);
    }

    /// How often which tokens of ServiceAccounts were used.
    pub fn tokens(&self) -> &TokenUses {
        self.service_accounts.uses()
    }

    /// Bounds and counts of the seconds that were left to client certificates when they were used.
    pub fn certificate_lives(&self) -> (&'static [u64], Distribution) {
        (&LIVES, self.certificate_lives.read())
    }

    /// The same chain with another clock, for tests.
    pub fn with_clock(mut self, clock: fn() -> Time) -> Self {
        self.clock = clock;
        self
    }

    /// `--api-audiences`.
    pub fn audiences(&self) -> &[String] {
        &self.audiences
    }

    /// Who sent this request.
    ///
    /// # Errors
    /// There is a credential and it is bad, or there is none and anonymous requests are off.
    pub fn authenticate(&self, request: &Request<'_>, view: &View) -> Result<Authenticated, Refusal> {
        self.run(request, None, view)
    }

    /// What TokenReview asks: the same chain, with a request that carries this token only. `audiences` empty: ours.
    ///
    /// # Errors
    /// The token is not good for these audiences.
    pub fn review(&self, token: &str, audiences: &[String], view: &View) -> Result<Authenticated, Refusal> {
        let mut headers = HeaderMap::new();
        let value = http::HeaderValue::from_bytes(format!("Bearer {token}").as_bytes());
        headers.insert(http::header::AUTHORIZATION, value.map_err(|_| Refusal::new(bearer::INVALID))?);
        let wanted = if audiences.is_empty() { &self.audiences } else { audiences };
        self.run(&Request { peer: None, headers: &headers }, Some(wanted), view)
    }

    fn run(&self, request: &Request<'_>, audiences: Option<&[String]>, view: &View) -> Result<Authenticated, Refusal> {
        let (mut errors, mut warnings) = (Vec::new(), Vec::new());
        let wanted = audiences.unwrap_or(&self.audiences);
        // both kinds of authorities at one moment
        let question = Question { request, wanted, view, believed: &self.believed.load() };
        let mut known = None;
        for link in [Self::by_proxy, Self::by_certificate, Self::by_header, Self::by_websocket] {
            match link(self, &question, &mut warnings) {
                Finding::Known(found) => {
                    known = Some(found);
                    break;
                }
                Finding::NotMine => {}
                Finding::Refused(refusal) => errors.push(refusal),
            }
        }
        let mut found = match known {
            Some(found) => with_group(found),
            None if errors.is_empty() && self.anonymous => Authenticated {
                audiences: audiences.map(<[String]>::to_vec).unwrap_or_default(),
                ..Authenticated::new(UserInfo::anonymous())
            },
            None => return Err(join(errors)),
        };
        found.warnings.splice(0..0, warnings);
        if !self.audiences.is_empty()
            && audiences.is_none()
            && !found.audiences.is_empty()
            && !found.audiences.iter().any(|a| self.audiences.contains(a))
        {
            return Err(Refusal::new("unable to match the audience"));
        }
        Ok(found)
    }

    fn by_proxy(&self, question: &Question<'_>, _: &mut Vec<String>) -> Finding {
        match (question.request.peer, &question.believed.request_header) {
            (Some(peer), Some(link)) => link.authenticate(peer, question.request.headers, (self.clock)()),
            _ => Finding::NotMine,
        }
    }

    fn by_certificate(&self, question: &Question<'_>, _: &mut Vec<String>) -> Finding {
        match (question.request.peer, &question.believed.certificates) {
            (Some(peer), Some(certificates)) => {
                let count = |left: i64| self.certificate_lives.observe(u64::try_from(left).unwrap_or_default());
                certificates.authenticate(peer, (self.clock)(), count)
            }
            _ => Finding::NotMine,
        }
    }

    fn by_header(&self, question: &Question<'_>, warnings: &mut Vec<String>) -> Finding {
        match bearer::from_header(question.request.headers, warnings) {
            Some(token) => self.by_token(&token, question.wanted, question.view),
            None => Finding::NotMine,
        }
    }

    fn by_websocket(&self, question: &Question<'_>, _: &mut Vec<String>) -> Finding {
        match bearer::from_websocket(question.request.headers) {
            Ok(Some(token)) => self.by_token(&token, question.wanted, question.view),
            Ok(None) => Finding::NotMine,
            Err(refusal) => Finding::Refused(refusal),
        }
    }

    /// The token mechanisms in order. Nobody knows it: `invalid bearer token`.
    fn by_token(&self, token: &str, wanted: &[String], view: &View) -> Finding {
        if let Some(user) = self.static_tokens.find(token) {
            return match self.agnostic(wanted) {
                Some(audiences) => Finding::Known(Authenticated { audiences, ..Authenticated::new(user) }),
                None => Finding::Refused(Refusal::new(bearer::INVALID)),
            };
        }
        let now = (self.clock)();
        let mut reasons = vec![Refusal::new(bearer::INVALID)];
        match self.service_accounts.authenticate(token, wanted, view, now) {
            Finding::Known(found) => return Finding::Known(found),
            Finding::NotMine => {}
            Finding::Refused(refusal) => reasons.push(refusal),
        }
        if self.bootstrap_tokens
            && let Some(user) = bootstrap_token::authenticate(token, view, now)
            && let Some(audiences) = self.agnostic(wanted)
        {
            return Finding::Known(Authenticated { audiences, ..Authenticated::new(user) });
        }
        Finding::Refused(join(reasons))
    }

    /// Audiences of a mechanism that knows none: ours, as far as they are asked for. `None`: not good for what is asked.
    fn agnostic(&self, wanted: &[String]) -> Option<Vec<String>> {
        let both: Vec<String> = self.audiences.iter().filter(|a| wanted.contains(a)).cloned().collect();
        (!both.is_empty() || self.audiences.is_empty()).then_some(both)
    }
}

/// What the links of the chain are asked.
struct Question<'a> {
    request: &'a Request<'a>,
    wanted: &'a [String],
    view: &'a View,
    believed: &'a Believed,
}

/// The authorities of clients and of proxies, ready to check against.
pub struct Believed {
    /// DER.
    clients: Vec<Vec<u8>>,
    certificates: Option<ClientCertificates>,
    request_header: Option<Link>,
}

impl Believed {
    /// `clients` in DER.
    ///
    /// # Errors
    /// A certificate authority that cannot be read, or one that is both for clients and for proxies of any name.
    pub fn new(clients: Vec<Vec<u8>>, proxy: Option<RequestHeader>) -> Result<Self, x509::BadAuthority> {
        if let Some(proxy) = &proxy
            && proxy.allowed_names.is_empty()
            && proxy.authorities.iter().any(|a| clients.contains(a))
        {
            return Err(x509::BadAuthority::AnyName);
        }
        let certificates = (!clients.is_empty()).then(|| ClientCertificates::new(&clients)).transpose()?;
        Ok(Believed { clients, certificates, request_header: proxy.map(Link::new).transpose()? })
    }

    fn is_same(&self, other: &Believed) -> bool {
        let names = |link: &'_ Option<Link>| link.as_ref().map(|link| link.names().clone());
        self.clients == other.clients && names(&self.request_header) == names(&other.request_header)
    }
}

fn join(mut refusals: Vec<Refusal>) -> Refusal {
    match refusals.len() {
        0 => Refusal::new("no credentials"),
        1 => refusals.remove(0),
        _ => {
            let used = refusals.iter_mut().find_map(|r| r.1.take());
            let texts: Vec<String> = refusals.into_iter().map(|r| r.0).collect();
            Refusal(format!("[{}]", texts.join(", ")), used)
        }
    }
}

/// Adds `system:authenticated` unless the user is anonymous or has it, or its contrary, already.
fn with_group(mut found: Authenticated) -> Authenticated {
    let user = &found.user;
    if user.name != ANONYMOUS && !user.in_group(AUTHENTICATED) && !user.in_group(UNAUTHENTICATED) {
        Arc::make_mut(&mut found.user).groups.push(AUTHENTICATED.to_owned());
    }
    found
}
