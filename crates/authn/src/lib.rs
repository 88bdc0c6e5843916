//! Who? One file per mechanism and the chain that asks them in upstream's order: front proxy, client certificate, bearer
//! token (header, then websocket subprotocol), anonymous. A bad credential is never anonymous. Holds public keys only;
//! what a token depends on (account, pod, Secret, node) is looked up in the `store::View` at every request.

pub mod bearer;
mod bootstrap_token;
pub mod chain;
pub mod keys;
pub mod request_header;
mod service_account;
pub mod static_tokens;
pub mod x509;

pub use chain::{Authenticated, Believed, Chain, Config, Finding, Refusal, Request, ServiceAccountConfig};
pub use keys::PublicKeys;
pub use request_header::RequestHeader;
pub use service_account::TokenUses;
pub use static_tokens::StaticTokens;
pub use x509::Peer;

#[cfg(test)]
mod tests;
