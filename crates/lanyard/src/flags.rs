//! The command line: upstream's flags where upstream has them, and ours.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// A Kubernetes-compatible cluster in one binary, built around the identity of pods.
#[derive(Parser, Debug)]
#[command(name = "lanyard", version, about, disable_help_subcommand = true)]
pub(crate) struct Command {
    #[command(subcommand)]
    pub verb: Verb,
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
    #[arg(long, default_value = "true", num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub scheduler: bool,
    /// Log more; twice for everything.
    #[arg(short = 'v', long = "verbose", action = clap::ArgAction::Count)]
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
    #[arg(long, value_delimiter = ',', default_value = "Node,RBAC")]
    pub authorization_mode: Vec<String>,
    #[arg(long, value_delimiter = ',')]
    pub enable_admission_plugins: Vec<String>,
    #[arg(long, value_delimiter = ',')]
    pub disable_admission_plugins: Vec<String>,
    #[arg(long, num_args = 0..=1, default_value = "false", default_missing_value = "true", action = clap::ArgAction::Set)]
    pub enable_bootstrap_token_auth: bool,
    #[arg(long, num_args = 0..=1, default_value = "true", default_missing_value = "true", action = clap::ArgAction::Set)]
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
    #[arg(long, num_args = 0..=1, default_value = "true", default_missing_value = "true", action = clap::ArgAction::Set)]
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
}
