//! The controllers: loops that make the world as its objects say. Each is `plan` (pure) and a thin driver, acts under
//! its own ServiceAccount in kube-system and is authorized like anyone. Names are kube-controller-manager's.
//!
//! Not here: workloads, endpoints and the other loops of upstream; they come with later issues.

mod certificates;
mod clusterrole_aggregation;
mod command;
mod driver;
mod garbage_collector;
mod legacy_token_cleaner;
mod namespace;
mod protection;
mod resourcequota;
mod root_ca;
mod selection;
mod serviceaccount;
mod token_secret;
mod volumes;

use std::sync::Arc;
use std::time::Duration;

use client::Api;
use meta::UserInfo;
use meta::user::AUTHENTICATED;

pub use certificates::{CertificateToSign, SignCertificate};
pub use selection::{Selection, UnknownController};
pub use token_secret::{LegacyToken, SignLegacyToken};

/// What the loops need besides the API.
#[derive(Clone)]
pub struct Config {
    /// Which run.
    pub selection: Selection,
    /// PEM: what `kube-root-ca.crt` holds.
    pub root_ca: Arc<str>,
    /// Makes tokens for Secrets of the ServiceAccount token type; `None`: none are made.
    pub sign_legacy_token: Option<SignLegacyToken>,
    /// Every ServiceAccount gets a token Secret that it lists, as before 1.24.
    pub automatic_token_secrets: bool,
    /// `--legacy-service-account-token-clean-up-period`.
    pub legacy_token_clean_up_period: Duration,
    /// Signs certificates for approved requests; `None`: none are signed.
    pub sign_certificate: Option<SignCertificate>,
    /// For which of upstream's signers certificates are signed.
    pub certificate_signers: Arc<[String]>,
}

/// Upstream's `--legacy-service-account-token-clean-up-period`.
pub const CLEAN_UP_PERIOD: Duration = Duration::from_secs(8760 * 3600);

/// The name under which `run` reads for all loops, and writes token Secrets.
pub const MANAGER: &str = "kube-controller-manager";

/// A loop: its name for `--controllers`, the ServiceAccount that it acts as, and how it is started.
struct Controller {
    name: &'static str,
    account: &'static str,
    start: fn(&mut driver::Tasks, &Config, &World),
}

/// The clients of one loop.
struct World {
    /// Reads, as the manager.
    reader: Api,
    /// Writes, as the loop's own ServiceAccount.
    api: Api,
}

/// In alphabetical order.
const CONTROLLERS: &[Controller] = &[
    Controller {
        name: "certificatesigningrequest-approving-controller",
        account: "certificate-controller",
        start: certificates::start_approver,
    },
    Controller {
        name: "certificatesigningrequest-cleaner-controller",
        account: "certificate-controller",
        start: certificates::start_cleaner,
    },
    Controller {
        name: "certificatesigningrequest-signing-controller",
        account: "certificate-controller",
        start: certificates::start_signer,
    },
    Controller {
        name: "clusterrole-aggregation-controller",
        account: "clusterrole-aggregation-controller",
        start: clusterrole_aggregation::start,
    },
    Controller {
        name: "garbage-collector-controller",
        account: "generic-garbage-collector",
        start: garbage_collector::start,
    },
    Controller {
        name: "kube-apiserver-serving-clustertrustbundle-publisher-controller",
        account: "kube-apiserver-serving-clustertrustbundle-publisher",
        start: certificates::trust_bundle::start,
    },
    Controller {
        name: "legacy-serviceaccount-token-cleaner-controller",
        account: "legacy-service-account-token-cleaner",
        start: legacy_token_cleaner::start,
    },
    Controller { name: "namespace-controller", account: "namespace-controller", start: namespace::start },
    Controller {
        name: "persistentvolume-binder-controller",
        account: "persistent-volume-binder",
        start: volumes::start_binder,
    },
    Controller {
        name: "persistentvolume-protection-controller",
        account: "pv-protection-controller",
        start: protection::start_volumes,
    },
    Controller {
        name: "persistentvolumeclaim-protection-controller",
        account: "pvc-protection-controller",
        start: protection::start_claims,
    },
    Controller { name: "resourcequota-controller", account: "resourcequota-controller", start: resourcequota::start },
    Controller {
        name: "podcertificaterequest-cleaner-controller",
        account: "podcertificaterequestcleaner",
        start: certificates::pod_request_cleaner::start,
    },
    Controller {
        name: "root-ca-certificate-publisher-controller",
        account: "root-ca-cert-publisher",
        start: root_ca::start,
    },
    Controller {
        name: "serviceaccount-controller",
        account: "service-account-controller",
        start: serviceaccount::start,
    },
    Controller { name: "serviceaccount-token-controller", account: MANAGER, start: token_secret::start },
    Controller {
        name: "volumeattributesclass-protection-controller",
        account: "volumeattributesclass-protection-controller",
        start: protection::start_classes,
    },
];

/// The names that `--controllers` may turn on or off and that do something.
pub fn names() -> impl Iterator<Item = &'static str> {
    CONTROLLERS.iter().map(|c| c.name)
}

/// Who asks, by the name that `run` hands to `api_for`: a ServiceAccount in kube-system, or for [`MANAGER`] the user
/// `system:kube-controller-manager`.
pub fn identity(name: &str) -> UserInfo {
    if name == MANAGER {
        return UserInfo::new(format!("system:{MANAGER}"), [AUTHENTICATED]);
    }
    let mut user = UserInfo::service_account("kube-system", name, "");
    user.groups.push(AUTHENTICATED.to_owned());
    user
}

/// Runs all that are selected until `shutdown` is ready. `api_for` gives the client of
/// [`identity`] of a name.
pub async fn run(config: Config, api_for: impl Fn(&str) -> Api, shutdown: impl Future<Output = ()>) {
    let mut tasks = driver::Tasks::default();
    let reader = api_for(MANAGER);
    for controller in CONTROLLERS.iter().filter(|c| config.selection.is_enabled(c.name)) {
        tracing::debug!(controller = controller.name, "started");
        let world = World { reader: reader.clone(), api: api_for(controller.account) };
        (controller.start)(&mut tasks, &config, &world);
    }
    shutdown.await;
    tasks.stop().await;
}
