//! What stands in a request, as far as approval and signing go by it.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use document::Value;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer as _, X509CertificationRequest};

/// Subject, alternative names and usages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) common_name: String,
    pub(super) organizations: Vec<String>,
    pub(super) dns: bool,
    pub(super) ip: bool,
    pub(super) email: bool,
    pub(super) uri: bool,
    pub(super) usages: BTreeSet<String>,
}

/// The PEM of `spec.request`.
pub(super) fn pem(object: &Value) -> Option<Vec<u8>> {
    STANDARD.decode(object["spec"]["request"].str()).ok()
}

/// `None`: cannot be read.
pub(super) fn parse(object: &Value) -> Option<Asked> {
    let pem = pem(object)?;
    let (_, block) = x509_parser::pem::parse_x509_pem(&pem).ok()?;
    let (_, csr) = X509CertificationRequest::from_der(&block.contents).ok()?;
    let subject = &csr.certification_request_info.subject;
    let text = |a: &x509_parser::x509::AttributeTypeAndValue<'_>| a.as_str().map(str::to_owned).unwrap_or_default();
    let mut asked = Asked {
        common_name: subject.iter_common_name().last().map(text).unwrap_or_default(),
        organizations: subject.iter_organization().map(text).collect(),
        usages: object["spec"]["usages"].items().iter().map(|u| u.str().to_owned()).collect(),
        ..Asked::default()
    };
    for extension in csr.requested_extensions().into_iter().flatten() {
        let ParsedExtension::SubjectAlternativeName(names) = extension else { continue };
        for name in &names.general_names {
            match name {
                GeneralName::DNSName(_) => asked.dns = true,
                GeneralName::IPAddress(_) => asked.ip = true,
                GeneralName::RFC822Name(_) => asked.email = true,
                GeneralName::URI(_) => asked.uri = true,
                _ => {}
            }
        }
    }
    Some(asked)
}

impl Asked {
    /// A node's certificate as a client of the API server.
    pub(super) fn check_kubelet_client(&self) -> Result<(), String> {
        self.check_organization()?;
        let unwanted = [(self.dns, "DNS"), (self.email, "Email"), (self.ip, "IP"), (self.uri, "URI")];
        if let Some((_, kind)) = unwanted.iter().find(|(there, _)| *there) {
            return Err(format!("{kind} subjectAltNames are not allowed"));
        }
        self.check_common_name()?;
        self.check_usages("client auth")
    }

    /// A node's certificate for its own port.
    pub(super) fn check_kubelet_serving(&self) -> Result<(), String> {
        self.check_organization()?;
        if !self.dns && !self.ip {
            return Err("DNS or IP subjectAltName is required".into());
        }
        if let Some((_, kind)) = [(self.email, "Email"), (self.uri, "URI")].iter().find(|(there, _)| *there) {
            return Err(format!("{kind} subjectAltNames are not allowed"));
        }
        self.check_usages("server auth")?;
        self.check_common_name()
    }

    /// Any client of the API server.
    pub(super) fn check_client(&self) -> Result<(), String> {
        let fine = ["digital signature", "key encipherment", "client auth"];
        if let Some(other) = self.usages.iter().find(|u| !fine.contains(&u.as_str())) {
            return Err(format!("invalid usage for client certificate: {other}"));
        }
        if self.usages.contains("client auth") {
            return Ok(());
        }
        Err("missing required usage for client certificate: client auth".into())
    }

    fn check_organization(&self) -> Result<(), String> {
        if self.organizations == ["system:nodes"] {
            return Ok(());
        }
        Err("subject organization is not system:nodes".into())
    }

    fn check_common_name(&self) -> Result<(), String> {
        if self.common_name.starts_with("system:node:") {
            return Ok(());
        }
        Err("subject common name does not begin with system:node:".into())
    }

    /// Encipherment, which RSA keys need, may be left out.
    fn check_usages(&self, purpose: &str) -> Result<(), String> {
        let mut wanted: BTreeSet<&str> = [purpose, "digital signature", "key encipherment"].into();
        let all = wanted.iter().copied().collect::<Vec<_>>().join(" ");
        let given: BTreeSet<&str> = self.usages.iter().map(String::as_str).collect();
        if given == wanted {
            return Ok(());
        }
        wanted.remove("key encipherment");
        if given == wanted {
            return Ok(());
        }
        Err(format!("usages did not match [{all}]"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_asks_for_its_own_name_and_nothing_else() {
        let good = Asked {
            common_name: "system:node:n".into(),
            organizations: vec!["system:nodes".into()],
            usages: ["client auth".to_owned(), "digital signature".to_owned()].into(),
            ..Asked::default()
        };
        assert_eq!(good.check_kubelet_client(), Ok(()));
        let check = |asked: Asked, want: &str| assert_eq!(asked.check_kubelet_client(), Err(want.to_owned()));
        check(
            Asked { common_name: "n".into(), ..good.clone() },
            "subject common name does not begin with system:node:",
        );
        check(Asked { organizations: Vec::new(), ..good.clone() }, "subject organization is not system:nodes");
        check(Asked { ip: true, ..good.clone() }, "IP subjectAltNames are not allowed");
        let usages = "usages did not match [client auth digital signature key encipherment]";
        check(Asked { usages: BTreeSet::new(), ..good.clone() }, usages);
        assert_eq!(good.check_kubelet_serving(), Err("DNS or IP subjectAltName is required".into()));
    }

    #[test]
    fn a_client_certificate_is_for_clients() {
        let with =
            |usages: &[&str]| Asked { usages: usages.iter().map(|u| (*u).to_owned()).collect(), ..Asked::default() };
        assert_eq!(with(&["client auth"]).check_client(), Ok(()));
        let check = |usages: &[&str], want: &str| assert_eq!(with(usages).check_client(), Err(want.to_owned()));
        check(&["client auth", "server auth"], "invalid usage for client certificate: server auth");
        check(&["digital signature"], "missing required usage for client certificate: client auth");
    }
}
