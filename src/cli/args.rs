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

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

use super::certs::CertsArgs;
use super::gate::CheckFailOn;
use crate::kubevirt::release::Release;
use crate::live::connect::ClusterArgs;
use crate::policy::LabelSelector;
use crate::snapshot::DumpSource;
use crate::telemetry::LogFormat;

pub use shared::{FileArgs, ListArgs};

/// Keeps KubeVirt guests migratable: says which node is nearest, which labels it lacks, and what cures it.
#[derive(Debug, Parser)]
#[command(version, about, propagate_version = true, max_term_width = 110)]
pub struct Args {
    /// Which cluster, as whom, in which namespace.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run the admission webhook
    Serve(Box<ServeArgs>),
    /// Judge manifests as the webhook would: exit 0 admitted, 1 denied, 2 could not judge
    Check(CheckArgs),
    /// Judge manifests and compare with the verdicts that are expected: exit 0 as expected, 1 not, 2 could not judge
    Test(TestArgs),
    /// Say why a guest can or cannot start or migrate: every node, what it lacks, the remedies
    Explain(ExplainArgs),
    /// Judge every guest, worst first: whom a restart of the kubelet would fail, who can migrate nowhere, and why
    Audit(AuditArgs),
    /// Say what a drain of a node would do to its guests, and the least to do first: exit 1 where one is stuck or shut down
    Drain(DrainArgs),
    /// Say which CPU model guests should have, for each kind of hardware: who could run it, who not, and why
    Recommend(RecommendArgs),
    /// Say what changed since a dump was taken, or between two: labels, and whom that strands: exit 1 where a guest is worse off
    Diff(DiffArgs),
    /// Print what is judged of a cluster, and nothing else: a dump for --snapshot, without user data and secrets
    Snapshot(SnapshotArgs),
    /// Make development certificates
    Certs(CertsArgs),
    /// Print what a cluster needs: cpufit manifests | kubectl apply --server-side -f -
    Manifests(ManifestsArgs),
    /// Ask a replica's admin port: exit 0 where it answers with 2xx, else 2
    #[command(hide = true)]
    Probe(ProbeArgs),
    /// Say which version this is, and which one leads on the cluster
    Version(VersionArgs),
    /// Print a completion script: verbs, options, and the names of guests, nodes and namespaces
    #[command(name = "completion", alias = "completions")]
    Completion(CompletionArgs),
    /// Complete a command line for kubectl
    #[command(name = "__complete", hide = true)]
    Complete(CompleteArgs),
}

/// What guests are judged by.
#[derive(Clone, Debug, ClapArgs)]
pub struct WorldArgs {
    /// A dump of the cluster to judge by instead of a live one.
    #[arg(
        long,
        value_name = "FILE",
        help = concat!(
            "A dump of the cluster to judge by instead of a live one: file, folder (with all below it) or - (",
            crate::dump_command!(),
            ")"
        )
    )]
    pub snapshot: Vec<DumpSource>,
    /// Policies of kind CPUPolicy, as if they were applied: beside those of the cluster or dump, in the place of one of the same
    /// name: file, folder or -; without any, the built-in policy warns and never denies
    #[arg(long, value_name = "FILE")]
    pub policy: Vec<DumpSource>,
    /// The release of KubeVirt whose rules apply, where the snapshot's KubeVirt names none
    #[arg(long, value_name = "VERSION", value_parser = values::release)]
    pub kubevirt_version: Option<Release>,
}

impl WorldArgs {
    /// Refuses a command line that reads standard input twice: the second reading would find it empty.
    ///
    /// # Errors
    ///
    /// `-` is given more than once, `files` included.
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
    /// What guests are judged by.
    #[command(flatten)]
    pub world: WorldArgs,
    /// Where reviews are answered, over TLS
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8443")]
    pub listen: SocketAddr,
    /// Where /livez, /readyz and /metrics are answered, over plain HTTP
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8080")]
    pub admin_listen: SocketAddr,
    /// Where the certificate comes from: files, or self-managed, in a Secret of the cluster, renewed and published automatically
    #[arg(long, value_enum, default_value_t = CertificateSource::Files)]
    pub certificates: CertificateSource,
    /// How long a self-managed certificate lasts, seconds; it is renewed when a third of that is left
    #[arg(long, value_name = "SECONDS", default_value = "7776000", value_parser = values::seconds, hide = true)]
    pub certificate_validity: Duration,
    /// The certificate chain, PEM; read again when it changes
    #[arg(long, value_name = "FILE", default_value = "certs/tls.crt")]
    pub cert: PathBuf,
    /// Its key, PEM; read again when it changes
    #[arg(long, value_name = "FILE", default_value = "certs/tls.key")]
    pub key: PathBuf,
    /// Answer reviews only to clients with a certificate of this authority, PEM; read again when it changes
    #[arg(long, value_name = "FILE")]
    pub client_ca: Option<PathBuf>,
    /// Of these, only to clients of this name: the certificate's common name or a DNS name; may be repeated
    #[arg(long, value_name = "NAME", requires = "client_ca")]
    pub client_name: Vec<String>,
    /// The namespace cpufit runs in, where its Lease, Secret and Service are
    #[arg(long, value_name = "NAME", env = "POD_NAMESPACE", default_value = "cpufit-system")]
    pub own_namespace: String,
    /// The unique name of this replica, by which it holds the Lease
    #[arg(long, value_name = "NAME", env = "POD_NAME")]
    pub own_name: Option<String>,
    /// Changes of the cluster this close together are published as one, milliseconds
    #[arg(long, value_name = "MILLISECONDS", default_value = "20", value_parser = values::milliseconds, hide = true)]
    pub publish_after: Duration,
    /// Reviews are answered by 503 when the API server sent nothing for so long, seconds: what is known is too old
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = values::seconds)]
    pub stale_after: Duration,
    /// How long, at a shutdown, reviews that still come are answered, until load balancers have stopped sending, seconds
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = values::seconds)]
    pub linger: Duration,
    /// How long requests under way may take to finish at a shutdown, after that, seconds
    #[arg(long, value_name = "SECONDS", default_value = "20", value_parser = values::seconds)]
    pub drain: Duration,
    /// Log lines: text or json
    #[arg(long, value_name = "FORMAT", default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// Which log lines, as tracing's directives (error, warn, info, cpufit=debug, …)
    #[arg(long, value_name = "FILTER", env = "CPUFIT_LOG", default_value = "info")]
    pub log: String,
}

/// Where the serving certificate comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CertificateSource {
    /// `--cert` and `--key`, read again when they change: cert-manager, or by hand.
    Files,
    /// Made here, kept in a Secret, renewed before it ends, and put into the webhook configurations' caBundle.
    SelfManaged,
}

/// `cpufit check`.
#[derive(Debug, ClapArgs)]
pub struct CheckArgs {
    /// What guests are judged by.
    #[command(flatten)]
    pub world: WorldArgs,
    /// What to judge (VirtualMachine, VirtualMachineInstance, VirtualMachineInstanceMigration, virt-launcher Pod,
    /// AdmissionReview), besides -f: file, folder or -
    #[arg(value_name = "FILE", required_unless_present_any = ["filename", "kustomize"])]
    pub file: Vec<DumpSource>,
    /// Manifests.
    #[command(flatten)]
    pub files: FileArgs,
    /// Only objects with such labels
    #[arg(short = 'l', long, value_name = "SELECTOR", value_parser = crate::cli::selector::parse)]
    pub selector: Option<LabelSelector>,
    /// Print tables without their first line
    #[arg(long)]
    pub no_headers: bool,
    /// Exit with 1 where an object is as badly off as this, or worse, or would be denied; several by commas
    ///
    /// With it, an input that holds nothing that is judged ends with exit code 2.
    #[arg(long, value_name = "STATE", value_enum, value_delimiter = ',')]
    pub fail_on: Vec<CheckFailOn>,
    /// How to print: table, json, yaml, name, junit, sarif, or review (the AdmissionReview response)
    #[arg(short, long, value_enum, default_value_t = CheckOutput::Table)]
    pub output: CheckOutput,
    /// Add what KubeVirt would render: selector, affinity and tolerations of the pod
    #[arg(long)]
    pub predict: bool,
    /// With -o yaml: print the objects as the webhook would change them, instead of the results
    #[arg(long)]
    pub mutated: bool,
}

/// `cpufit test`.
#[derive(Debug, ClapArgs)]
pub struct TestArgs {
    /// Folders with files cpufit-test.yaml, at any depth, or such files
    #[arg(value_name = "FOLDER", required = true)]
    pub folders: Vec<PathBuf>,
    /// Print tables without their first line
    #[arg(long)]
    pub no_headers: bool,
    /// How to print: table, json or yaml
    #[arg(short, long, value_enum, default_value_t = PlainOutput::Table)]
    pub output: PlainOutput,
}

/// How a verb prints that has one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PlainOutput {
    /// For people.
    Table,
    /// For programs.
    Json,
    /// For programs.
    Yaml,
}

/// `cpufit audit`.
#[derive(Debug, ClapArgs)]
pub struct AuditArgs {
    /// What guests are judged by.
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
    /// How to print: table, wide, json, yaml or name
    #[arg(short, long, value_enum, default_value_t = AuditOutput::Table)]
    pub output: AuditOutput,
    /// Exit with 1 where a guest is as badly off as this, or worse
    #[arg(long, value_name = "STATE", value_enum)]
    pub fail_on: Option<FailOn>,
    /// What libvirt says.
    #[command(flatten)]
    pub libvirt: LibvirtArgs,
}

/// `cpufit drain`.
#[derive(Debug, ClapArgs)]
pub struct DrainArgs {
    /// What guests are judged by.
    #[command(flatten)]
    pub world: WorldArgs,
    /// The nodes: one, or several that are drained and returned one after the other; NAME, node NAME or node/NAME
    #[arg(value_name = "NODE", required_unless_present_any = ["all", "selector"], conflicts_with = "selector")]
    pub nodes: Vec<String>,
    /// All nodes, as a rolling upgrade does
    #[arg(long, conflicts_with_all = ["nodes", "selector"])]
    pub all: bool,
    /// Nodes are in no namespace, and all their guests are looked at: it changes nothing, as with kubectl get nodes
    #[arg(short = 'A', long, hide = true)]
    pub all_namespaces: bool,
    /// The nodes with such labels
    #[arg(short = 'l', long, value_name = "SELECTOR", value_parser = crate::cli::selector::parse)]
    pub selector: Option<LabelSelector>,
    /// Print tables without their first line
    #[arg(long)]
    pub no_headers: bool,
    /// How to print: table, wide (every guest), json, yaml, or name (the guests that do not simply leave)
    #[arg(short, long, value_enum, default_value_t = DrainOutput::Table)]
    pub output: DrainOutput,
    /// What libvirt says.
    #[command(flatten)]
    pub libvirt: LibvirtArgs,
}

/// How `drain` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DrainOutput {
    /// For people: those that need looking at.
    Table,
    /// For people: every guest.
    Wide,
    /// For scripts.
    Json,
    /// For scripts.
    Yaml,
    /// TYPE/NAME of each guest that cannot leave, has one target left or is shut down, as kubectl takes it.
    Name,
}

/// `cpufit diff`.
#[derive(Debug, ClapArgs)]
pub struct DiffArgs {
    /// The dump of before: file, folder or -
    #[arg(value_name = "OLD")]
    pub old: DumpSource,
    /// The dump of after; without it, the live cluster
    #[arg(value_name = "NEW")]
    pub new: Option<DumpSource>,
    /// Policies of kind CPUPolicy, as if they were applied on both sides, in the place of one of the same name: file or folder
    #[arg(long, value_name = "FILE")]
    pub policy: Vec<DumpSource>,
    /// The release of KubeVirt whose rules apply, where a dump's KubeVirt names none
    #[arg(long, value_name = "VERSION", value_parser = values::release)]
    pub kubevirt_version: Option<Release>,
    /// Which guests: without -n and -l, all.
    #[command(flatten)]
    pub list: ListArgs,
    /// How to print: table, wide (every node and guest), json, yaml, or name (the guests that are worse off)
    #[arg(short, long, value_enum, default_value_t = DiffOutput::Table)]
    pub output: DiffOutput,
}

impl DiffArgs {
    /// What the old side is judged by, and the new one.
    #[must_use]
    pub fn worlds(&self) -> [WorldArgs; 2] {
        [Some(&self.old), self.new.as_ref()].map(|source| WorldArgs {
            snapshot: source.cloned().into_iter().collect(),
            policy: self.policy.clone(),
            kubevirt_version: self.kubevirt_version,
        })
    }
}

/// How `diff` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DiffOutput {
    /// For people, folded.
    Table,
    /// For people, with every node and guest.
    Wide,
    /// For scripts.
    Json,
    /// For scripts.
    Yaml,
    /// TYPE/NAME of each guest that is worse off, as kubectl takes it.
    Name,
}

/// `cpufit recommend`.
#[derive(Debug, ClapArgs)]
pub struct RecommendArgs {
    /// What guests are judged by.
    #[command(flatten)]
    pub world: WorldArgs,
    /// A pool of the nodes with these labels (zone=a,tier in (db,web),!spot), split by hardware, in the place of those of the
    /// policies; may be repeated
    #[arg(short = 'l', long, visible_alias = "selector", value_name = "SELECTOR", value_parser = crate::cli::selector::parse)]
    pub node_selector: Vec<LabelSelector>,
    /// What if the nodes of this file came: file, folder or -
    #[arg(long, value_name = "FILE")]
    pub with_node: Vec<DumpSource>,
    /// What if this node went; may be repeated
    #[arg(long, value_name = "NODE")]
    pub without_node: Vec<String>,
    /// What if no node had this CPU feature, and none could run a model that holds it; may be repeated
    #[arg(long, value_name = "FEATURE")]
    pub without_model_feature: Vec<String>,
    /// Nodes are in no namespace, and all guests are looked at: it changes nothing, as with kubectl get nodes
    #[arg(short = 'A', long, hide = true)]
    pub all_namespaces: bool,
    /// Print tables without their first line
    #[arg(long)]
    pub no_headers: bool,
    /// How to print: table, wide (every model), json, yaml (a CPUPolicy for each pool that warns, and changes and denies nothing),
    /// or name (of these)
    #[arg(short, long, value_enum, default_value_t = RecommendOutput::Table)]
    pub output: RecommendOutput,
}

/// How `recommend` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RecommendOutput {
    /// For people: the models that leave out fewer nodes than every better one.
    Table,
    /// For people, with every model.
    Wide,
    /// For programs.
    Json,
    /// A policy for each pool.
    Yaml,
    /// TYPE/NAME of each of these policies.
    Name,
}

/// How `audit` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AuditOutput {
    /// For people.
    Table,
    /// For people, with all columns.
    Wide,
    /// For scripts.
    Json,
    /// For scripts.
    Yaml,
    /// TYPE/NAME of each guest, as kubectl takes it.
    Name,
}

/// From which state on `audit` fails, mildest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FailOn {
    /// One node is left to migrate to.
    Fragile,
    /// It can migrate nowhere.
    Pinned,
    /// It cannot start.
    Unschedulable,
    /// A restart of the kubelet would fail the running guest.
    OwnNode,
}

/// `cpufit explain`.
#[derive(Debug, ClapArgs)]
pub struct ExplainArgs {
    /// What guests are judged by.
    #[command(flatten)]
    pub world: WorldArgs,
    /// The guests, as for kubectl get: TYPE NAME, TYPE/NAME, TYPE, several, or a NAME alone (of a VM, or else of a VMI)
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
    /// How to print: table, json, yaml or name
    #[arg(short, long, value_enum, default_value_t = ExplainOutput::Table)]
    pub output: ExplainOutput,
    /// What libvirt says.
    #[command(flatten)]
    pub libvirt: LibvirtArgs,
}

/// Asking libvirt about running guests.
#[derive(Clone, Debug, ClapArgs)]
pub struct LibvirtArgs {
    /// Ask libvirt as well, by exec into launchers (pods/exec): the guest's real CPU, and whether the nodes that fit or
    /// lack CPU labels provide it
    #[arg(long, conflicts_with = "snapshot")]
    pub ask_libvirt: bool,
    /// How long libvirt may take for each question, seconds
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = values::seconds, requires = "ask_libvirt")]
    pub ask_timeout: Duration,
    /// Keep libvirt's answers in this folder, one file a guest and a node
    #[arg(long, value_name = "FOLDER", requires = "ask_libvirt", conflicts_with = "snapshot")]
    pub save_libvirt_facts: Option<PathBuf>,
    /// Answers of libvirt that --save-libvirt-facts kept: file, folder or -; a dump may hold them too
    #[arg(long, value_name = "FOLDER", conflicts_with = "ask_libvirt")]
    pub libvirt_facts: Vec<DumpSource>,
}

/// `cpufit snapshot`.
#[derive(Debug, ClapArgs)]
pub struct SnapshotArgs {
    /// A dump to take it from instead of a live cluster: file, folder (with all below it) or -
    #[arg(long, value_name = "FILE")]
    pub snapshot: Vec<DumpSource>,
    /// Guests of all namespaces, whatever -n says
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Give guests, nodes, namespaces and all else that people name other names, the same ones everywhere
    #[arg(long)]
    pub redact: bool,
    /// How to print: yaml, or json (on one line); a List
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
    /// Where KubeVirt is, whose namespace is left alone; several by commas. cpufit's own namespace is that of -n
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = values::namespace)]
    pub kubevirt_namespace: Vec<String>,
    /// How many replicas answer reviews
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16))]
    pub replicas: Option<u16>,
    /// How to print: yaml, json (a List) or name
    #[arg(short, long, value_enum, default_value_t = ManifestsOutput::Yaml)]
    pub output: ManifestsOutput,
}

/// `cpufit probe`.
#[derive(Debug, ClapArgs)]
pub struct ProbeArgs {
    /// What to ask for, for example `http://cpufit.cpufit-system.svc:8080/readyz`
    #[arg(value_name = "URL")]
    pub url: http::Uri,
}

/// `cpufit completion`.
#[derive(Debug, ClapArgs)]
pub struct CompletionArgs {
    /// For which shell; for kubectl the program kubectl_complete-cpufit, which it asks about its plugin
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
    #[value(name = "powershell")]
    PowerShell,
    /// zsh.
    Zsh,
    /// kubectl itself, for whichever shell it completes.
    Kubectl,
}

/// `cpufit __complete`.
#[derive(Debug, ClapArgs)]
pub struct CompleteArgs {
    /// The words behind the program's name, the last one as far as it is typed
    #[arg(value_name = "WORD", trailing_var_arg = true, allow_hyphen_values = true)]
    pub words: Vec<OsString>,
}

/// `cpufit version`.
#[derive(Debug, ClapArgs)]
pub struct VersionArgs {
    /// Of this program alone: no cluster is asked
    #[arg(long)]
    pub client: bool,
    /// The namespace that cpufit runs in on the cluster
    #[arg(long, value_name = "NAME", default_value = "cpufit-system")]
    pub own_namespace: String,
    /// How to print: table, json or yaml
    #[arg(short, long, value_enum, default_value_t = PlainOutput::Table)]
    pub output: PlainOutput,
}

/// How `check` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CheckOutput {
    /// For people.
    Table,
    /// For programs.
    Json,
    /// For programs and people.
    Yaml,
    /// TYPE/NAME of each object, as kubectl takes it.
    Name,
    /// JUnit XML, for programs of continuous integration.
    Junit,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
    /// What the API server would be answered.
    Review,
}

/// How `explain` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExplainOutput {
    /// For people.
    Table,
    /// For programs.
    Json,
    /// For programs and people.
    Yaml,
    /// TYPE/NAME of each object, as kubectl takes it.
    Name,
}

/// How `manifests` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ManifestsOutput {
    /// One stream of documents, with their comments.
    Yaml,
    /// A List.
    Json,
    /// TYPE/NAME of each object, as kubectl takes it.
    Name,
}
