//! The command line: upstream's flags where upstream has them, and ours.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use apiserver::TlsVersion;
use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

/// A Kubernetes-compatible cluster in one binary, built around the identity of pods.
#[derive(Parser, Debug)]
#[command(name = "lanyard", version, about, disable_help_subcommand = true)]
pub(crate) struct Command {
    #[command(subcommand)]
    pub verb: Verb,
}

impl Command {
    /// Reads the command line; a wrong one ends the process with a sentence.
    pub(crate) fn from_command_line() -> Self {
        let matches = <Self as CommandFactory>::command().get_matches();
        let mut command = Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        match &mut command.verb {
            Verb::Up(up) => up.server.shown = shown(&matches),
            Verb::Server(flags) => flags.shown = shown(&matches),
            _ => {}
        }
        command
    }
}

/// Every flag of the subcommand and its value as Go prints it, for `/flagz`.
fn shown(matches: &clap::ArgMatches) -> BTreeMap<String, String> {
    let Some((name, values)) = matches.subcommand() else { return BTreeMap::new() };
    let command = Command::command();
    let arguments = command.find_subcommand(name).into_iter().flat_map(clap::Command::get_arguments);
    let value = |argument: &clap::Arg| {
        let id = argument.get_id().as_str();
        let all: Vec<String> = match argument.get_action() {
            ArgAction::Count => return values.get_count(id).to_string(),
            _ => values.get_raw(id).into_iter().flatten().map(|v| v.to_string_lossy().into_owned()).collect(),
        };
        let is_list = matches!(argument.get_action(), ArgAction::Append);
        if is_list { format!("[{}]", all.join(",")) } else { all.join(",") }
    };
    arguments.filter_map(|a| Some((a.get_long()?.to_owned(), value(a)))).collect()
}

/// `1h30m`, as Go reads it; not below zero.
fn duration(text: &str) -> Result<Duration, String> {
    let nanos = document::decode::parse_duration(text)?;
    u64::try_from(nanos).map(Duration::from_nanos).map_err(|_| "must not be negative".to_owned())
}

fn tls_version(text: &str) -> Result<TlsVersion, String> {
    match text {
        "VersionTLS12" => Ok(TlsVersion::Tls12),
        "VersionTLS13" => Ok(TlsVersion::Tls13),
        "VersionTLS10" | "VersionTLS11" => Err("nothing older than VersionTLS12 is spoken".into()),
        _ => Err(format!("unknown tls version {text:?}; VersionTLS12 and VersionTLS13 are spoken")),
    }
}

#[derive(Subcommand, Debug)]
pub(crate) enum Verb {
    /// Start a whole cluster on this machine: API server, controllers, scheduler, node.
    Up(Box<Up>),
    /// Start the control plane alone; needs no privilege.
    Server(Box<ServerFlags>),
    /// Stop the pods and take away what `up` changed on this host.
    Down(Down),
    /// Say what runs.
    Status(DataDir),
    /// Work with the images of this machine's node.
    #[command(subcommand)]
    Image(Image),
}

#[derive(Args, Debug, Clone)]
pub(crate) struct DataDir {
    /// Where everything is kept [default: /var/lib/lanyard for root, else ~/.local/share/lanyard]
    #[arg(long, env = "LANYARD_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct Up {
    #[command(flatten)]
    pub server: ServerFlags,
    /// Leave the user's kubeconfig alone.
    #[arg(long)]
    pub no_context: bool,
    /// Name of this machine's node [default: the host name]
    #[arg(long)]
    pub node_name: Option<String>,
    /// Address of this machine's node [default: the first address of the pods' side]
    #[arg(long)]
    pub node_ip: Option<IpAddr>,
    /// Port of the kubelet's HTTPS API.
    #[arg(long, default_value_t = 10250)]
    pub kubelet_port: u16,
    /// Addresses of pods.
    #[arg(long, default_value = "198.18.0.0/24")]
    pub pod_cidr: String,
    /// Send pulls of one registry to another: `docker.io=http://127.0.0.1:5000`.
    #[arg(long)]
    pub registry_mirror: Vec<String>,
    /// Run containers through this OCI runtime instead of the embedded one.
    #[arg(long)]
    pub oci_runtime: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct Down {
    #[command(flatten)]
    pub data: DataDir,
    /// Also delete the data folder.
    #[arg(long)]
    pub purge: bool,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Image {
    /// Import a docker-archive or OCI-layout tar.
    Import {
        file: PathBuf,
        #[command(flatten)]
        data: DataDir,
    },
    /// List images.
    Ls(DataDir),
    /// Remove an image.
    Rm {
        image: String,
        #[command(flatten)]
        data: DataDir,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Storage {
    Sqlite,
    Memory,
}

/// Flags of the control plane. Upstream's names and meanings; those that do nothing yet say so in the log.
#[derive(Args, Debug, Clone)]
pub(crate) struct ServerFlags {
    #[command(flatten)]
    pub data: DataDir,
    /// Where objects are kept.
    #[arg(long, value_enum, default_value = "sqlite")]
    pub storage: Storage,
    /// Run the scheduler.
    #[arg(long, default_value = "true", num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    pub scheduler: bool,
    /// Log more; twice for everything.
    #[arg(short = 'v', long = "verbose", action = ArgAction::Count)]
    pub verbose: u8,
    /// `text` or `json`.
    #[arg(long, default_value = "text")]
    pub logging_format: String,

    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub bind_address: IpAddr,
    #[arg(long, default_value_t = 6443)]
    pub secure_port: u16,
    #[arg(long)]
    pub advertise_address: Option<IpAddr>,
    #[arg(long, requires = "tls_private_key_file")]
    pub tls_cert_file: Option<PathBuf>,
    #[arg(long, requires = "tls_cert_file")]
    pub tls_private_key_file: Option<PathBuf>,
    /// The oldest TLS that is spoken.
    #[arg(long, default_value = "VersionTLS12", value_parser = tls_version)]
    pub tls_min_version: TlsVersion,
    /// Suites of TLS 1.2 by their IANA names; empty: all that are sound.
    #[arg(long, value_delimiter = ',')]
    pub tls_cipher_suites: Vec<String>,
    #[arg(long)]
    pub client_ca_file: Option<PathBuf>,
    #[arg(long)]
    pub token_auth_file: Option<PathBuf>,
    #[arg(long)]
    pub service_account_issuer: Vec<String>,
    #[arg(long, value_delimiter = ',')]
    pub api_audiences: Vec<String>,
    #[arg(long)]
    pub service_account_key_file: Vec<PathBuf>,
    #[arg(long)]
    pub service_account_signing_key_file: Option<PathBuf>,
    #[arg(long, num_args = 0..=1, default_value = "true", default_missing_value = "true", action = ArgAction::Set)]
    pub service_account_extend_token_expiration: bool,
    /// Tokens live no longer than this; 0s: as long as is asked.
    #[arg(long, default_value = "0s", value_parser = duration)]
    pub service_account_max_token_expiration: Duration,
    #[arg(long)]
    pub service_account_jwks_uri: Option<String>,
    /// Make a token Secret for every ServiceAccount and list it there, as Kubernetes did before 1.24.
    #[arg(long, num_args = 0..=1, default_value = "false", default_missing_value = "true", action = ArgAction::Set)]
    pub legacy_service_account_token_auto_generation: bool,
    #[arg(long, default_value = "8760h", value_parser = duration)]
    pub legacy_service_account_token_clean_up_period: Duration,
    /// Reading requests at once; 0: no bound.
    #[arg(long, default_value_t = 400)]
    pub max_requests_inflight: usize,
    /// Writing requests at once; 0: no bound.
    #[arg(long, default_value_t = 200)]
    pub max_mutating_requests_inflight: usize,
    #[arg(long, default_value = "1m0s", value_parser = duration)]
    pub request_timeout: Duration,
    /// Seconds that a watch lasts at least.
    #[arg(long, default_value_t = 1800)]
    pub min_request_timeout: u64,
    /// How long everything goes on while /readyz says already that the end has begun.
    #[arg(long, default_value = "0s", value_parser = duration)]
    pub shutdown_delay_duration: Duration,
    /// 0: 100.
    #[arg(long, default_value_t = 0)]
    pub http2_max_streams_per_connection: u32,
    #[arg(long, value_delimiter = ',', default_value = "Node,RBAC")]
    pub authorization_mode: Vec<String>,
    #[arg(long, value_delimiter = ',')]
    pub enable_admission_plugins: Vec<String>,
    #[arg(long, value_delimiter = ',')]
    pub disable_admission_plugins: Vec<String>,
    #[arg(long, num_args = 0..=1, default_value = "false", default_missing_value = "true", action = ArgAction::Set)]
    pub enable_bootstrap_token_auth: bool,
    #[arg(long, num_args = 0..=1, default_value = "true", default_missing_value = "true", action = ArgAction::Set)]
    pub anonymous_auth: bool,
    #[arg(long)]
    pub requestheader_client_ca_file: Option<PathBuf>,
    #[arg(long, value_delimiter = ',')]
    pub requestheader_allowed_names: Vec<String>,
    #[arg(long, value_delimiter = ',')]
    pub requestheader_username_headers: Vec<String>,
    #[arg(long, value_delimiter = ',')]
    pub requestheader_uid_headers: Vec<String>,
    #[arg(long, value_delimiter = ',')]
    pub requestheader_group_headers: Vec<String>,
    #[arg(long, value_delimiter = ',')]
    pub requestheader_extra_headers_prefix: Vec<String>,
    #[arg(long, default_value = "198.19.0.0/16")]
    pub service_cluster_ip_range: String,
    #[arg(long, num_args = 0..=1, default_value = "true", default_missing_value = "true", action = ArgAction::Set)]
    pub allow_privileged: bool,
    #[arg(long, value_delimiter = ',', default_value = "*")]
    pub controllers: Vec<String>,
    #[arg(long, default_value = "lease")]
    pub endpoint_reconciler_type: String,
    #[arg(long)]
    pub root_ca_file: Option<PathBuf>,
    #[arg(long)]
    pub cluster_signing_cert_file: Option<PathBuf>,
    #[arg(long)]
    pub cluster_signing_key_file: Option<PathBuf>,
    #[arg(long)]
    pub cluster_signing_kubelet_serving_cert_file: Option<PathBuf>,
    #[arg(long)]
    pub cluster_signing_kubelet_serving_key_file: Option<PathBuf>,
    #[arg(long)]
    pub cluster_signing_kubelet_client_cert_file: Option<PathBuf>,
    #[arg(long)]
    pub cluster_signing_kubelet_client_key_file: Option<PathBuf>,
    #[arg(long)]
    pub cluster_signing_kube_apiserver_client_cert_file: Option<PathBuf>,
    #[arg(long)]
    pub cluster_signing_kube_apiserver_client_key_file: Option<PathBuf>,
    #[arg(long)]
    pub cluster_signing_legacy_unknown_cert_file: Option<PathBuf>,
    #[arg(long)]
    pub cluster_signing_legacy_unknown_key_file: Option<PathBuf>,
    /// The longest life of a certificate that is signed, and what is given when none is asked.
    #[arg(long, default_value = "8760h0m0s", value_parser = duration)]
    pub cluster_signing_duration: Duration,

    /// Names and values of all flags.
    #[arg(skip)]
    pub shown: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_shown_as_they_were_given() {
        let line = ["lanyard", "server", "--api-audiences=a,b", "--anonymous-auth=false", "--request-timeout=30s"];
        let matches = Command::command().get_matches_from(line);
        let shown = shown(&matches);
        let get = |name: &str| shown.get(name).map(String::as_str);
        assert_eq!(get("api-audiences"), Some("[a,b]"));
        assert_eq!(get("anonymous-auth"), Some("false"));
        assert_eq!(get("request-timeout"), Some("30s"));
        assert_eq!(get("token-auth-file"), Some(""));
    }
}
