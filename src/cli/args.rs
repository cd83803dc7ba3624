//! The command line, every value a type.

pub mod program;
mod renamed;
pub mod shared;
mod tips;
pub(super) mod values;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

use super::certs::CertsArgs;
use super::gate::CheckFailOn;
use crate::kubevirt::release::Release;
use crate::live::connect::ClusterArgs;
use crate::policy::LabelSelector;
use crate::snapshot::DumpSource;
use crate::telemetry::LogFormat;

pub use shared::{FileArgs, ListArgs};

/// Keeps KubeVirt guests migratable: shows the nearest node, the labels it lacks, and the remedies.
#[derive(Debug, Parser)]
#[command(version, about, propagate_version = true, max_term_width = 110)]
pub struct Args {
    /// Which cluster, as whom, in which namespace.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// The verb.
    #[command(subcommand)]
    pub verb: Verb,
}

/// The verb.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run the admission webhook
    Serve(Box<ServeArgs>),
    /// Judge manifests as the webhook would: exit 0 admitted, 1 denied, 2 could not judge
    Check(CheckArgs),
    /// Judge manifests and compare the verdicts with expected ones: exit 0 as expected, 1 not, 2 could not judge
    Test(TestArgs),
    /// Explain why a guest can or cannot start or migrate: every node, what it lacks, the remedies
    Explain(ExplainArgs),
    /// List every guest, worst first: which can migrate nowhere, which a restart of the kubelet would fail, and why
    Audit(AuditArgs),
    /// Predict what a drain of a node does to its guests, and the fewest changes that free them: exit 1 if one is stuck
    /// or shut down
    Drain(DrainArgs),
    /// Recommend a CPU model for each kind of hardware: which nodes can run it, which cannot, and why
    Recommend(RecommendArgs),
    /// Compare a dump with the cluster, or two dumps: changed labels and verdicts: exit 1 if a guest is worse off
    Diff(DiffArgs),
    /// Print a dump for --snapshot with only the fields that are judged, without user data and Secrets
    Snapshot(SnapshotArgs),
    /// Make development certificates
    Certs(CertsArgs),
    /// Print the manifests to install, for kubectl apply --server-side -f -
    Manifests(ManifestsArgs),
    /// Request a URL of a replica's admin port: exit 0 if it answers with 2xx, else 2
    #[command(hide = true)]
    Probe(ProbeArgs),
    /// Print the version of this program, and that of the leader on the cluster
    Version(VersionArgs),
    /// Print a completion script: verbs, options, and the names of guests, nodes and namespaces
    #[command(name = "completion", alias = "completions")]
    Completion(CompletionArgs),
    /// Complete a command line for kubectl
    #[command(name = "__complete", hide = true)]
    Complete(CompleteArgs),
}

/// The cluster and the policies that guests are judged by.
#[derive(Clone, Debug, ClapArgs)]
pub struct WorldArgs {
    /// A dump of the cluster to read instead of a live one.
    #[arg(
        long,
        value_name = "FILE",
        value_delimiter = ',',
        help = concat!(
            "A dump of the cluster to read instead of a live one: file, folder (with subfolders) or -; several separated \
             by commas, or repeated (",
            crate::dump_command!(),
            ")"
        )
    )]
    pub snapshot: Vec<DumpSource>,
    /// Policies of kind CPUPolicy, judged as if they were applied to the cluster or dump (a policy of the same name is
    /// replaced): file, folder or -; several separated by commas, or repeated; without any policy, the built-in one
    /// warns and never denies
    #[arg(long, value_name = "FILE", value_delimiter = ',')]
    pub policy: Vec<DumpSource>,
    /// The release of KubeVirt whose rules apply, instead of the one that the KubeVirt resource names
    #[arg(long, value_name = "VERSION", value_parser = values::release)]
    pub kubevirt_version: Option<Release>,
}

impl WorldArgs {
    /// Refuses a command line that reads standard input twice: the second read would find it empty.
    ///
    /// # Errors
    ///
    /// Returns an error if `-` is given more than once, `files` included.
    pub(crate) fn stdin_once(&self, files: &[DumpSource]) -> anyhow::Result<()> {
        let asked =
            self.snapshot.iter().chain(&self.policy).chain(files).filter(|source| **source == DumpSource::Stdin);
        anyhow::ensure!(asked.count() <= 1, "standard input (-) can be read only once: give the others as files");
        Ok(())
    }
}

/// `cpufit serve`.
#[derive(Debug, ClapArgs)]
pub struct ServeArgs {
    /// The cluster and the policies that guests are judged by.
    #[command(flatten)]
    pub world: WorldArgs,
    /// Address on which to answer reviews, over TLS
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8443")]
    pub listen: SocketAddr,
    /// Address on which to answer /livez, /readyz and /metrics, over plain HTTP
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8080")]
    pub admin_listen: SocketAddr,
    /// Source of the certificate: files, or self-managed (kept in a Secret, renewed and published automatically)
    #[arg(long, value_enum, default_value_t = CertificateSource::Files)]
    pub certificates: CertificateSource,
    /// Lifetime of a self-managed certificate, seconds; it is renewed when a third of it is left
    #[arg(long, value_name = "SECONDS", default_value = "7776000", value_parser = values::seconds, hide = true)]
    pub certificate_validity: Duration,
    /// The certificate chain, PEM; read again when it changes
    #[arg(long, value_name = "FILE", default_value = "certs/tls.crt")]
    pub cert: PathBuf,
    /// Its key, PEM; read again when it changes
    #[arg(long, value_name = "FILE", default_value = "certs/tls.key")]
    pub key: PathBuf,
    /// Answer only clients with a certificate of this authority (PEM file); read again when it changes
    #[arg(long, value_name = "FILE")]
    pub client_ca: Option<PathBuf>,
    /// With --client-ca, answer only clients whose certificate has this common name or DNS name; may be repeated
    #[arg(long, value_name = "NAME", requires = "client_ca", value_parser = NonEmptyStringValueParser::new())]
    pub client_name: Vec<String>,
    /// The namespace cpufit runs in, where its Lease, Secret and Service are
    #[arg(long, value_name = "NAME", env = "POD_NAMESPACE", default_value = "cpufit-system", value_parser = values::namespace)]
    pub own_namespace: String,
    /// The unique name of this replica, with which it holds the Lease
    #[arg(long, value_name = "NAME", env = "POD_NAME", value_parser = NonEmptyStringValueParser::new())]
    pub own_name: Option<String>,
    /// Publish changes of the cluster within this time as one, milliseconds
    #[arg(long, value_name = "MILLISECONDS", default_value = "20", value_parser = values::milliseconds, hide = true)]
    pub publish_after: Duration,
    /// Answer reviews with 503 if the API server sent nothing for this time, because the watched state is too old,
    /// seconds
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = values::seconds)]
    pub stale_after: Duration,
    /// At shutdown, how long to answer new reviews, until load balancers stop sending them, seconds
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = values::seconds)]
    pub linger: Duration,
    /// At shutdown, after --linger, how long requests under way may take to finish, seconds
    #[arg(long, value_name = "SECONDS", default_value = "20", value_parser = values::seconds)]
    pub drain: Duration,
    /// Format of log lines: text or json
    #[arg(long, value_name = "FORMAT", default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// Which log lines to write, as tracing's directives (error, warn, info, cpufit=debug, …)
    #[arg(long, value_name = "FILTER", env = "CPUFIT_LOG", default_value = values::LOG, value_parser = values::log)]
    pub log: String,
}

/// Where the serving certificate comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CertificateSource {
    /// `--cert` and `--key`, read again when they change: cert-manager, or by hand.
    #[value(help = "--cert and --key, read again when they change: cert-manager, or by hand")]
    Files,
    /// Made here, kept in a Secret, renewed before it ends, and put into the webhook configurations' caBundle.
    SelfManaged,
}

/// `cpufit check`.
#[derive(Debug, ClapArgs)]
pub struct CheckArgs {
    /// The cluster and the policies that guests are judged by.
    #[command(flatten)]
    pub world: WorldArgs,
    /// Objects to judge (VirtualMachine, VirtualMachineInstance, VirtualMachineInstanceReplicaSet, VirtualMachinePool,
    /// VirtualMachineInstanceMigration, virt-launcher Pod, AdmissionReview), besides -f: file, folder or -
    #[arg(value_name = "FILE", required_unless_present_any = ["filename", "kustomize"])]
    pub file: Vec<DumpSource>,
    /// Manifests.
    #[command(flatten)]
    pub files: FileArgs,
    /// Only objects with these labels
    #[arg(short = 'l', long, value_name = "SELECTOR", value_parser = crate::cli::selector::parse)]
    pub selector: Option<LabelSelector>,
    /// Omit the header row of tables
    #[arg(long)]
    pub no_headers: bool,
    /// Exit with 1 if an object is in this state or a worse one, or would be denied; several separated by commas
    ///
    /// An input without objects that are judged then ends with exit code 2.
    #[arg(long, value_name = "STATE", value_enum, value_delimiter = ',')]
    pub fail_on: Vec<CheckFailOn>,
    /// Output format: table, wide, json, yaml, name, junit, sarif, or review (the AdmissionReview response)
    #[arg(short, long, value_enum, default_value_t = CheckOutput::Table)]
    pub output: CheckOutput,
    /// Add the selector, affinity and tolerations of the pod that KubeVirt would create
    #[arg(long)]
    pub predict: bool,
    /// With -o yaml: print the objects as the webhook would change them, instead of the results
    #[arg(long)]
    pub mutated: bool,
}

/// `cpufit test`.
#[derive(Debug, ClapArgs)]
pub struct TestArgs {
    /// Folders with files cpufit-test.yaml at any depth, or such files
    #[arg(value_name = "FOLDER", required = true)]
    pub folders: Vec<PathBuf>,
    /// Omit the header row of tables
    #[arg(long)]
    pub no_headers: bool,
    /// Output format: table, json, yaml or junit
    #[arg(short, long, value_enum, default_value_t = TestOutput::Table)]
    pub output: TestOutput,
}

/// How `test` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TestOutput {
    /// For people; there is no wider one.
    #[value(alias = "wide")]
    Table,
    /// For programs.
    Json,
    /// For programs.
    Yaml,
    /// JUnit XML, for programs of continuous integration.
    Junit,
}

/// How a verb prints that has one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PlainOutput {
    /// For people; there is no wider one.
    #[value(alias = "wide")]
    Table,
    /// For programs.
    Json,
    /// For programs.
    Yaml,
}

/// `cpufit audit`.
#[derive(Debug, ClapArgs)]
pub struct AuditArgs {
    /// The cluster and the policies that guests are judged by.
    #[command(flatten)]
    pub world: WorldArgs,
    /// Guests, as for kubectl get: TYPE NAME, TYPE/NAME, TYPE, several, or a NAME alone; without any, all
    ///
    /// TYPE is vm or vmi.
    #[arg(value_name = "TYPE/NAME")]
    pub objects: Vec<String>,
    /// Which guests: without -n and -l, all.
    #[command(flatten)]
    pub list: ListArgs,
    /// Output format: table, wide, json, yaml or name
    #[arg(short, long, value_enum, default_value_t = ListOutput::Table)]
    pub output: ListOutput,
    /// Exit with 1 if a guest is in this state or a worse one; several separated by commas
    ///
    /// Where nothing can be judged, the exit code is then 2.
    #[arg(long, value_name = "STATE", value_enum, value_delimiter = ',')]
    pub fail_on: Vec<AuditFailOn>,
    /// The options about answers of libvirt.
    #[command(flatten)]
    pub libvirt: LibvirtArgs,
}

/// `cpufit drain`.
#[derive(Debug, ClapArgs)]
pub struct DrainArgs {
    /// The cluster and the policies that guests are judged by.
    #[command(flatten)]
    pub world: WorldArgs,
    /// Nodes to drain, one or several in turn: NAME, node NAME or node/NAME
    #[arg(value_name = "NODE", required_unless_present_any = ["all", "selector"], conflicts_with = "selector")]
    pub nodes: Vec<String>,
    /// All nodes, as a rolling upgrade does
    #[arg(long, conflicts_with_all = ["nodes", "selector"])]
    pub all: bool,
    /// Accepted and ignored, as by kubectl get nodes: nodes have no namespace, and all their guests are judged
    #[arg(short = 'A', long, hide = true)]
    pub all_namespaces: bool,
    /// The nodes with these labels
    #[arg(short = 'l', long, value_name = "SELECTOR", value_parser = crate::cli::selector::parse)]
    pub selector: Option<LabelSelector>,
    /// Omit the header row of tables
    #[arg(long)]
    pub no_headers: bool,
    /// How to print: table, wide (every guest), json, yaml, or name (guests that cannot leave, have one target left or
    /// are shut down)
    #[arg(short, long, value_enum, default_value_t = ListOutput::Table)]
    pub output: ListOutput,
    /// The options about answers of libvirt.
    #[command(flatten)]
    pub libvirt: LibvirtArgs,
}

/// `cpufit diff`.
#[derive(Debug, ClapArgs)]
pub struct DiffArgs {
    /// The old dump: file, folder or -
    #[arg(value_name = "OLD")]
    pub old: DumpSource,
    /// The new dump; without it, the live cluster
    #[arg(value_name = "NEW")]
    pub new: Option<DumpSource>,
    /// Policies of kind CPUPolicy, judged as if they were applied on both sides (a policy of the same name is
    /// replaced): file or folder
    #[arg(long, value_name = "FILE", value_delimiter = ',')]
    pub policy: Vec<DumpSource>,
    /// The release of KubeVirt whose rules apply, instead of the ones that the KubeVirt resources name
    #[arg(long, value_name = "VERSION", value_parser = values::release)]
    pub kubevirt_version: Option<Release>,
    /// Which guests: without -n and -l, all.
    #[command(flatten)]
    pub list: ListArgs,
    /// Output format: table, wide (every node and guest), json, yaml, or name (the guests that are worse off)
    #[arg(short, long, value_enum, default_value_t = ListOutput::Table)]
    pub output: ListOutput,
}

impl DiffArgs {
    /// Returns the input of the old side and that of the new one.
    #[must_use]
    pub fn worlds(&self) -> [WorldArgs; 2] {
        [Some(&self.old), self.new.as_ref()].map(|source| WorldArgs {
            snapshot: source.cloned().into_iter().collect(),
            policy: self.policy.clone(),
            kubevirt_version: self.kubevirt_version,
        })
    }
}

/// `cpufit recommend`.
#[derive(Debug, ClapArgs)]
pub struct RecommendArgs {
    /// The cluster and the policies that guests are judged by.
    #[command(flatten)]
    pub world: WorldArgs,
    /// Recommend for the nodes with these labels (zone=a,tier in (db,web),!spot), split by hardware, instead of those
    /// of the policies; may be repeated
    #[arg(short = 'l', long, visible_alias = "selector", value_name = "SELECTOR", value_parser = crate::cli::selector::parse)]
    pub node_selector: Vec<LabelSelector>,
    /// Show the result with the nodes of this file added: file, folder or -
    #[arg(long, value_name = "FILE", value_delimiter = ',')]
    pub with_node: Vec<DumpSource>,
    /// Show the result with this node removed; may be repeated
    #[arg(long, value_name = "NODE", value_parser = NonEmptyStringValueParser::new())]
    pub without_node: Vec<String>,
    /// Show the result if all nodes lose this CPU feature and every model that contains it; may be repeated
    #[arg(long, value_name = "FEATURE", value_parser = NonEmptyStringValueParser::new())]
    pub without_model_feature: Vec<String>,
    /// Accepted and ignored, as by kubectl get nodes: nodes have no namespace, and all guests are judged
    #[arg(short = 'A', long, hide = true)]
    pub all_namespaces: bool,
    /// Omit the header row of tables
    #[arg(long)]
    pub no_headers: bool,
    /// How to print: table, wide (every model), json, yaml (one CPUPolicy for each pool; it warns, and changes and
    /// denies nothing), or name (of these policies)
    #[arg(short, long, value_enum, default_value_t = ListOutput::Table)]
    pub output: ListOutput,
}

impl RecommendArgs {
    /// Whether the effect of a change on guests is asked for.
    #[must_use]
    pub(crate) fn assumes_a_change(&self) -> bool {
        !(self.with_node.is_empty() && self.without_node.is_empty() && self.without_model_feature.is_empty())
    }
}

/// How a verb prints whose table leaves something out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ListOutput {
    /// For people.
    Table,
    /// For people, with every object and column.
    Wide,
    /// JSON, for programs.
    Json,
    /// YAML.
    Yaml,
    /// TYPE/NAME of each object, as kubectl takes it with -n.
    Name,
}

/// From which state on `audit` fails, mildest first; `unknown` stands beside them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AuditFailOn {
    /// One node is left to migrate to, or worse.
    Fragile,
    /// It can migrate nowhere, or not from every node that it may start on, or worse.
    Pinned,
    /// It cannot start, or worse.
    Unschedulable,
    /// A restart of the kubelet would fail the running guest.
    OwnNode,
    /// It could not be judged.
    Unknown,
}

/// `cpufit explain`.
#[derive(Debug, ClapArgs)]
pub struct ExplainArgs {
    /// The cluster and the policies that guests are judged by.
    #[command(flatten)]
    pub world: WorldArgs,
    /// Guests, as for kubectl get: TYPE NAME, TYPE/NAME, TYPE, several, or a NAME alone (of a VM, or else of a VMI)
    ///
    /// TYPE is vm, vmi, vmirs, vmpool, vmim or pod.
    #[arg(
        value_name = "TYPE/NAME",
        required_unless_present_any = ["filename", "kustomize", "selector"],
        conflicts_with_all = ["filename", "kustomize"]
    )]
    pub objects: Vec<String>,
    /// Manifests to explain instead.
    #[command(flatten)]
    pub files: FileArgs,
    /// Which guests, where no name is given.
    #[command(flatten)]
    pub list: ListArgs,
    /// Output format: table, json, yaml or name
    #[arg(short, long, value_enum, default_value_t = ExplainOutput::Table)]
    pub output: ExplainOutput,
    /// The options about answers of libvirt.
    #[command(flatten)]
    pub libvirt: LibvirtArgs,
}

/// Asking libvirt about running guests.
#[derive(Clone, Debug, ClapArgs)]
pub struct LibvirtArgs {
    /// Also ask libvirt, by exec into launchers (pods/exec): the guest's real CPU, and whether the nodes that fit or
    /// lack CPU labels provide it
    #[arg(long, conflicts_with = "snapshot")]
    pub ask_libvirt: bool,
    /// Time limit for each question to libvirt, seconds
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = values::seconds, requires = "ask_libvirt")]
    pub ask_timeout: Duration,
    /// Save libvirt's answers in this folder, one file for each guest and each node
    #[arg(long, value_name = "FOLDER", requires = "ask_libvirt", conflicts_with = "snapshot")]
    pub save_libvirt_facts: Option<PathBuf>,
    /// Use libvirt's answers that --save-libvirt-facts saved: file, folder or -; a dump may hold them too
    #[arg(long, value_name = "FOLDER", value_delimiter = ',', conflicts_with = "ask_libvirt")]
    pub libvirt_facts: Vec<DumpSource>,
}

/// `cpufit snapshot`.
#[derive(Debug, ClapArgs)]
pub struct SnapshotArgs {
    /// A dump to read instead of a live cluster: file, folder (with subfolders) or -
    #[arg(long, value_name = "FILE", value_delimiter = ',')]
    pub snapshot: Vec<DumpSource>,
    /// Guests of all namespaces; overrides -n
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Replace the names of guests, nodes, namespaces and other objects, consistently
    #[arg(long)]
    pub redact: bool,
    /// Output format: yaml, or json (on one line); a List
    #[arg(short, long, value_enum, default_value_t = SnapshotOutput::Yaml)]
    pub output: SnapshotOutput,
}

/// How `snapshot` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SnapshotOutput {
    /// To be read and compared.
    Yaml,
    /// Small.
    Json,
}

/// `cpufit manifests`.
#[derive(Debug, ClapArgs)]
pub struct ManifestsArgs {
    /// Only the CRD of CPUPolicy
    #[arg(long, conflicts_with_all = ["image", "kubevirt_namespace", "replicas"])]
    pub crd: bool,
    /// The image to run, with its tag or digest
    #[arg(long, value_name = "IMAGE", value_parser = values::image)]
    pub image: Option<String>,
    /// The namespace of KubeVirt, which cpufit ignores; several separated by commas. -n sets cpufit's own namespace
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = values::namespace)]
    pub kubevirt_namespace: Vec<String>,
    /// How many replicas answer reviews
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16))]
    pub replicas: Option<u16>,
    /// Output format: yaml, json (a List) or name
    #[arg(short, long, value_enum, default_value_t = ManifestsOutput::Yaml)]
    pub output: ManifestsOutput,
}

/// `cpufit probe`.
#[derive(Debug, ClapArgs)]
pub struct ProbeArgs {
    /// The URL to request, for example `http://cpufit.cpufit-system.svc:8080/readyz`
    #[arg(value_name = "URL")]
    pub url: http::Uri,
}

/// `cpufit completion`.
#[derive(Debug, ClapArgs)]
pub struct CompletionArgs {
    /// The shell; for kubectl, the program kubectl_complete-cpufit that kubectl runs to complete its plugin
    #[arg(value_enum)]
    pub shell: Shell,
}

/// For which shell a script is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// bash.
    Bash,
    /// Elvish.
    Elvish,
    /// fish.
    Fish,
    /// `PowerShell`.
    #[value(name = "powershell", help = "PowerShell")]
    PowerShell,
    /// zsh.
    Zsh,
    /// kubectl itself, for whichever shell it completes.
    Kubectl,
}

/// `cpufit __complete`.
#[derive(Debug, ClapArgs)]
pub struct CompleteArgs {
    /// The words after the program's name, the last one possibly incomplete
    #[arg(value_name = "WORD", trailing_var_arg = true, allow_hyphen_values = true)]
    pub words: Vec<OsString>,
}

/// `cpufit version`.
#[derive(Debug, ClapArgs)]
pub struct VersionArgs {
    /// Only the version of this program; no cluster is asked
    #[arg(long)]
    pub client: bool,
    /// The namespace in which cpufit runs on the cluster
    #[arg(long, value_name = "NAME", default_value = "cpufit-system", value_parser = values::namespace)]
    pub own_namespace: String,
    /// Output format: table, json or yaml
    #[arg(short, long, value_enum, default_value_t = PlainOutput::Table)]
    pub output: PlainOutput,
}

/// How `check` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CheckOutput {
    /// For people.
    Table,
    /// For people, with the nodes that fit and the place in the file.
    Wide,
    /// For programs.
    Json,
    /// For programs and people.
    Yaml,
    /// TYPE/NAME of each object, as kubectl takes it with -n.
    Name,
    /// JUnit XML, for programs of continuous integration.
    Junit,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
    /// The response that the API server would get.
    Review,
}

/// How `explain` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExplainOutput {
    /// For people; it has every node already, so that there is nothing to add for `wide`.
    #[value(alias = "wide")]
    Table,
    /// For programs.
    Json,
    /// For programs and people.
    Yaml,
    /// TYPE/NAME of each object, as kubectl takes it with -n.
    Name,
}

/// How `manifests` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ManifestsOutput {
    /// One stream of documents, with their comments.
    Yaml,
    /// A List.
    Json,
    /// TYPE/NAME of each object, as kubectl takes it with -n.
    Name,
}
