//! Tokens and certificates: the only holder of private keys. Signs what others decided; verifies nothing (`authn` does,
//! with the public keys that are handed out here).

pub mod authority;
pub mod discovery;
mod files;
pub mod keys;
pub mod pki;
pub mod request;
pub mod token;

pub use authority::{CertificateAuthority, Identity, Subject};
pub use discovery::Discovery;
pub use keys::SigningKey;
pub use pki::{Names, Pki};
pub use request::CertificateRequest;
pub use token::{Bound, Claims, Reference, TokenSigner};

#[cfg(test)]
mod tests;
