//! The one place that builds things: wires a verb together, supervises its tasks, drains on shutdown.

pub mod completion;
mod libvirt;
mod serve;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::Display;
use std::io::{self, Read};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::bail;
use serde_json::Value;

use crate::cli::args::program;
use crate::cli::args::{Args, AuditArgs, DiffArgs, ServeArgs, SnapshotArgs, Verb, VersionArgs, WorldArgs};
use crate::cli::check::Checked;
use crate::cli::resource::ObjectKind;
use crate::cli::rights::Unreadable;
use crate::cli::targets::TargetScope;
use crate::cli::version::Versions;
use crate::cli::{
    self, Namespace, audit, certs, check, diff, drain, explain, manifests, probe, recommend, snapshot, targets,
};
use crate::console;
use crate::crypto;
use crate::domain::Domain;
use crate::kubevirt::wire::Vmi;
use crate::live::connect;
use crate::live::connect::ClusterArgs;
use crate::live::fetch::{self, Reach};
use crate::live::leader::{self, Leader};
use crate::page::Page;
use crate::policy::PolicyError;
use crate::snapshot::{DumpSource, domain_of};
use crate::telemetry::{self, LogFormat};
use crate::world::{self, World};

/// Input could not be read or judged.
pub const TROUBLE: u8 = 2;

/// What kept a verb from being done.
#[derive(Debug)]
pub struct Failure {
    /// The error.
    pub error: anyhow::Error,
    /// What to print of it.
    pub page: Page,
}

/// Runs a verb to its end.
///
/// # Errors
///
/// What kept it from being done; `main` prints it and exits with 2.
pub fn run(args: Args) -> Result<ExitCode, Failure> {
    crypto::install();
    let (domain, stdin) = domain_of(args.cluster.kubevirt_domain.as_ref(), &args.verb.dumps(), io::stdin().lock());
    execute(args, &domain, stdin).map_err(|error| Failure { page: failure(&error, &domain), error })
}

/// Prints help, or what is wrong with a command line: where it asks for a log in JSON, as a line of the log.
#[must_use]
pub fn not_a_command_line(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() || !program::asks_for_json_log(std::env::args_os()) {
        // Output that cannot be printed is lost; nothing else can be done.
        let _ = error.print();
        return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(TROUBLE));
    }
    let text = error.render().to_string();
    let lines =
        text.lines().map(str::trim).filter(|line| !line.is_empty()).take_while(|line| !line.starts_with("Usage:"));
    stopped(lines.collect::<Vec<_>>().join(" ").trim_start_matches("error: "), &Domain::default());
    ExitCode::from(TROUBLE)
}

/// The last line of a log in JSON.
fn stopped(error: &str, domain: &Domain) {
    // Where the log could not be set up, so that its filter is wrong: with another one.
    let _ = telemetry::init(LogFormat::Json, "error", domain);
    tracing::error!(error, "stopped");
}

fn execute(args: Args, domain: &Domain, mut stdin: impl Read) -> anyhow::Result<ExitCode> {
    let mut page = Page::in_domain(domain);
    let mut code = ExitCode::SUCCESS;
    let Args { cluster, verb } = args;
    log(cluster.verbosity, &verb, domain)?;
    match verb.inward(domain) {
        Verb::Serve(args) => {
            code = serve(&args, &cluster, domain, stdin)?;
        }
        Verb::Check(args) => {
            let files = args.files.with(&args.file);
            args.world.stdin_once(&files)?;
            let scene = scene(&cluster, &args.world, &GuestsRead::Files, RoomRead::Unknown, domain, &mut stdin)?;
            if check::run(&args, &files, &scene.world, &scene.namespace, stdin, &mut page)? == Checked::Denied {
                code = ExitCode::from(1);
            }
        }
        Verb::Test(args) => {
            if cli::test::run(&args, cluster.kubevirt_domain.as_ref(), &mut page)? == cli::test::Tested::Failed {
                code = ExitCode::from(1);
            }
        }
        Verb::Explain(args) => {
            args.world.stdin_once(&[args.files.sources().as_slice(), &args.libvirt.libvirt_facts].concat())?;
            libvirt::check(&args.libvirt)?;
            let guest = targets::first_guest(&args.objects)?;
            let asked = if args.list.all_namespaces {
                GuestsRead::All
            } else if args.files.sources().is_empty() && !args.libvirt.ask_libvirt {
                GuestsRead::Namespace { guest }
            } else {
                GuestsRead::Files
            };
            let mut scene = scene(&cluster, &args.world, &asked, RoomRead::Known, domain, &mut stdin)?;
            let guests = |world: &World| explain::guests(&args, world, &scene.namespace);
            libvirt::learn(&args.libvirt, &cluster, &mut scene.world, guests, &mut stdin)?;
            let missing = explain::run(&args, &scene.world, &scene.namespace, stdin, &mut page)?;
            if !missing.is_empty() {
                absent(&missing, &mut page, domain)?;
                code = ExitCode::from(TROUBLE);
            }
        }
        Verb::Audit(args) => code = audit_all(&args, &cluster, domain, &mut stdin, &mut page)?,
        Verb::Drain(args) => {
            args.world.stdin_once(&args.libvirt.libvirt_facts)?;
            libvirt::check(&args.libvirt)?;
            let mut scene = scene(&cluster, &args.world, &GuestsRead::All, RoomRead::Known, domain, &mut stdin)?;
            let nodes = drain::nodes(&args, &scene.world)?;
            let guests = |world: &World| drain::guests(&nodes, world);
            libvirt::learn(&args.libvirt, &cluster, &mut scene.world, guests, &mut stdin)?;
            if drain::run(&args, &scene.world, &nodes, &mut page)? == drain::DrainResult::Trouble {
                code = ExitCode::from(1);
            }
        }
        Verb::Diff(args) => {
            code = ExitCode::from(match compare(&args, &cluster, domain, &mut stdin, &mut page)? {
                diff::DiffResult::Well => 0,
                diff::DiffResult::Worse => 1,
                diff::DiffResult::NotCompared => 2,
            });
        }
        Verb::Recommend(args) => {
            args.world.stdin_once(&args.with_node)?;
            let scene = scene(&cluster, &args.world, &GuestsRead::All, RoomRead::Unknown, domain, &mut stdin)?;
            recommend::run(&args, &scene.world, stdin, &mut page)?;
        }
        Verb::Snapshot(args) => {
            let only = cluster.namespace().filter(|_| !args.all_namespaces);
            let objects = objects(&cluster, &args, only, domain, stdin)?;
            snapshot::print(&args, objects, &mut page)?;
        }
        Verb::Certs(args) => certs::run(&args, &mut page)?,
        Verb::Manifests(args) => manifests::run(&args, cluster.namespace(), &mut page)?,
        Verb::Probe(args) => probe::run(&args, &mut page)?,
        Verb::Version(args) => version(&args, &cluster, domain, &mut page)?,
        Verb::Completion(args) => cli::completion::script(args.shell, &mut page)?,
        Verb::Complete(args) => cli::completion::for_kubectl(&args.words, &completion::list(), &mut page)?,
    }
    console::print(&page)?;
    Ok(code)
}

/// Audits the guests that are asked for. What is asked for by name and is not there is said after the others.
fn audit_all(
    args: &AuditArgs,
    cluster: &ClusterArgs,
    domain: &Domain,
    mut stdin: impl Read,
    page: &mut Page,
) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    args.world.stdin_once(&args.libvirt.libvirt_facts)?;
    libvirt::check(&args.libvirt)?;
    let is_named = targets::name_any(&args.objects, &ObjectKind::GUESTS)?;
    let only = cluster.namespace().filter(|_| !args.list.all_namespaces);
    let asked = if only.is_none() && (!is_named || args.list.all_namespaces) {
        GuestsRead::All
    } else if args.libvirt.ask_libvirt {
        GuestsRead::Files
    } else {
        GuestsRead::Namespace { guest: targets::first_guest(&args.objects)? }
    };
    let mut scene = scene(cluster, &args.world, &asked, RoomRead::Unknown, domain, &mut stdin)?;
    let home = scene.namespace.name.as_str();
    let only = only.or_else(|| Some(home).filter(|_| is_named && !args.list.all_namespaces));
    let wanted = audit::WantedGuests::of(args, only, home, &scene.world)?;
    let guests = |world: &World| {
        let is_audited = |vmi: &&Vmi| wanted.holds(world, &vmi.metadata.namespace, &vmi.metadata.name);
        world.cluster.vmis().filter(is_audited).cloned().collect()
    };
    libvirt::learn(&args.libvirt, cluster, &mut scene.world, guests, &mut stdin)?;
    if audit::run(args, &wanted, &scene.world, page)? == audit::Audited::Failed {
        code = ExitCode::from(1);
    }
    if !wanted.missing.is_empty() {
        absent(&wanted.missing, page, domain)?;
        code = ExitCode::from(TROUBLE);
    }
    Ok(code)
}

/// What was found, and then what is asked for by name and is not there.
fn absent(missing: &[String], page: &mut Page, domain: &Domain) -> anyhow::Result<()> {
    console::print(&std::mem::replace(page, Page::in_domain(domain)))?;
    console::tell(&lines(domain, missing.iter().map(|line| format!("error: {line}"))));
    Ok(())
}

/// What changed between two sides.
fn compare(
    args: &DiffArgs,
    cluster: &ClusterArgs,
    domain: &Domain,
    mut stdin: impl Read,
    page: &mut Page,
) -> anyhow::Result<diff::DiffResult> {
    let [old, new] = args.worlds();
    old.stdin_once(&new.snapshot)?;
    anyhow::ensure!(!args.policy.contains(&DumpSource::Stdin), "--policy is read for both sides: give a file");
    // The options that say which cluster to read are about the new side.
    let namespace = cluster.namespace().map(str::to_owned);
    let first = ClusterArgs { namespace, ..ClusterArgs::default() };
    let before = scene(&first, &old, &GuestsRead::All, RoomRead::Unknown, domain, &mut stdin)?;
    let only = cluster.namespace().filter(|_| !args.list.all_namespaces);
    let asked = only.map_or(GuestsRead::All, |_| GuestsRead::Namespace { guest: None });
    let after = scene(cluster, &new, &asked, RoomRead::Unknown, domain, &mut stdin)?;
    let scope = TargetScope { namespace: only, selector: args.list.selector.as_ref() };
    diff::run(args, &scope, &before.world, &after.world, page)
}

/// The versions of this program and of the leader. Where that cannot be asked, this program's is printed all the same.
fn version(args: &VersionArgs, cluster: &ClusterArgs, domain: &Domain, page: &mut Page) -> anyhow::Result<()> {
    let asked = if args.client { Ok(None) } else { leader(cluster, domain, &args.own_namespace) };
    let leader = asked.as_ref().ok().cloned().flatten();
    Versions::with(leader).print(args.output, asked.is_ok() && !args.client, page)?;
    if asked.is_err() {
        console::print(page)?;
    }
    asked.map(drop)
}

/// The replica that leads on the cluster, and its version.
fn leader(cluster: &ClusterArgs, domain: &Domain, namespace: &str) -> anyhow::Result<Option<Leader>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let config = cluster.config()?;
        let url = config.cluster_url.to_string();
        let client = connect::client(config, domain)?;
        let read = leader::version(client, namespace).await;
        read.map_err(|error| anyhow::anyhow!("reading the Lease of cpufit at {url}: {}", connect::words(&error)))
    })
}

/// Runs the webhook. Where its log is JSON, what kept it from running is a line of the log.
fn serve(args: &ServeArgs, cluster: &ClusterArgs, domain: &Domain, stdin: impl Read) -> anyhow::Result<ExitCode> {
    let served = args.world.stdin_once(&[]).and_then(|()| serve::serve(args, cluster, domain, stdin));
    let Err(error) = served else { return Ok(ExitCode::SUCCESS) };
    if args.log_format == LogFormat::Text {
        return Err(error);
    }
    // The log translates.
    let page = failure(&error, &Domain::default());
    stopped(page.as_str().trim_start_matches("error: ").trim_end(), domain);
    Ok(ExitCode::from(TROUBLE))
}

/// Log lines of `-v`, by kubectl's numbers; the webhook has a log of its own.
fn log(verbosity: u8, verb: &Verb, domain: &Domain) -> anyhow::Result<()> {
    let filter = match verbosity {
        _ if matches!(verb, Verb::Serve(_)) => return Ok(()),
        0..=5 => return Ok(()),
        6..=7 => "warn,kube_client=debug,cpufit=debug",
        _ => "debug",
    };
    Ok(telemetry::init(LogFormat::Text, filter, domain)?)
}

/// From now on a panic is one line of shown text: in the log where there is one, else on standard error.
pub fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let payload = panic.payload();
        let text = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
        let text = text.unwrap_or("no message");
        let backtrace = Backtrace::capture();
        let has_backtrace = backtrace.status() == BacktraceStatus::Captured;
        match telemetry::log_format() {
            Some(LogFormat::Json) if has_backtrace => tracing::error!(%backtrace, "panicked at {place}: {text}"),
            Some(_) => tracing::error!("panicked at {place}: {text}"),
            None => console::tell(&Page::of(format_args!("error: cpufit panicked at {place}: {text}"))),
        }
        if has_backtrace && telemetry::log_format() != Some(LogFormat::Json) {
            console::tell(&backtrace.to_string().lines().collect());
        }
    }));
}

/// What kept a verb from being done: the error and its causes on one line, the problems of a policy each on its own.
fn failure(error: &anyhow::Error, domain: &Domain) -> Page {
    let mut first = "error".to_owned();
    let mut below = Vec::new();
    for cause in error.chain() {
        let lines = cause.downcast_ref().map(PolicyError::lines).or(cause.downcast_ref().map(Unreadable::lines));
        let mut lines = lines.unwrap_or_else(|| vec![cause.to_string()]).into_iter();
        // Some errors print their causes as well.
        first.extend(lines.next().filter(|line| !first.contains(line)).map(|line| format!(": {line}")));
        below.extend(lines);
    }
    lines(domain, std::iter::once(first).chain(below))
}

/// What is judged of dumps, or else of a live cluster.
fn objects(
    cluster: &ClusterArgs,
    args: &SnapshotArgs,
    only: Option<&str>,
    domain: &Domain,
    stdin: impl Read,
) -> anyhow::Result<Vec<Value>> {
    if !args.snapshot.is_empty() {
        refuse_cluster(cluster)?;
        let (objects, skipped) = snapshot::of_dumps(args, only, domain, stdin)?;
        if let Some(line) = skipped.line() {
            note(domain, line);
        }
        return Ok(objects);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let config = cluster.config()?;
        let url = config.cluster_url.to_string();
        let client = connect::client(config, domain)?;
        let read = fetch::objects(&client, only.map_or(Reach::Cluster, Reach::Namespace)).await;
        let (objects, left_out) = read.map_err(|error| Unreadable::of(&error, &url, only, None))?;
        for error in left_out {
            note(domain, format_args!("left out: {error}"));
        }
        Ok(objects)
    })
}

fn note(domain: &Domain, text: impl Display) {
    console::tell(&lines(domain, [format_args!("note: {text}")]));
}

/// Lines about a cluster with this domain.
fn lines<T: Display>(domain: &Domain, lines: impl IntoIterator<Item = T>) -> Page {
    let mut page = Page::in_domain(domain);
    lines.into_iter().for_each(|line| page.line(line));
    page
}

/// A dump is of one cluster already.
fn refuse_cluster(cluster: &ClusterArgs) -> anyhow::Result<()> {
    match cluster.first_given() {
        Some(option) => bail!("{option} says which cluster to read, and --snapshot reads a dump: give one of them"),
        None => Ok(()),
    }
}

/// What a verb works on.
struct Scene {
    world: World,
    /// Where objects are that name no namespace.
    namespace: Namespace,
}

/// Which guests of a live cluster a verb needs.
enum GuestsRead {
    /// All.
    All,
    /// Those of the namespace: of one that is asked for, where a name is given.
    Namespace { guest: Option<String> },
    /// Those that manifests name, and all whose launchers libvirt may be asked through: of all namespaces, or of the one
    /// that its reader may read.
    Files,
}

/// Whether a verb says how much room nodes have, for which all pods are read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum RoomRead {
    Known,
    Unknown,
}

/// A snapshot, or else a live cluster, read once. The namespace is the one that is asked for, else the context's, else
/// `default`, as for kubectl.
fn scene(
    cluster: &ClusterArgs,
    args: &WorldArgs,
    needs: &GuestsRead,
    room: RoomRead,
    domain: &Domain,
    mut stdin: impl Read,
) -> anyhow::Result<Scene> {
    let asked = cluster.namespace();
    let namespace = |context: &str| Namespace { name: asked.unwrap_or(context).to_owned(), is_asked: asked.is_some() };
    if !args.snapshot.is_empty() {
        refuse_cluster(cluster)?;
        let namespace = namespace("default");
        let load = if room == RoomRead::Known { world::load_with_room } else { world::load };
        let (world, notes) = load(&args.snapshot, &args.policy, args.kubevirt_version, &namespace.name, domain, stdin)?;
        for note in notes {
            self::note(domain, note);
        }
        return Ok(Scene { world, namespace });
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut world, namespace) = runtime.block_on(async {
        let config = cluster.config()?;
        let (namespace, url) = (namespace(&config.default_namespace), config.cluster_url.clone());
        let client = connect::client(config, domain)?;
        let (reach, guest) = match needs {
            GuestsRead::All => (Reach::Cluster, None),
            GuestsRead::Namespace { guest } => (Reach::Namespace(&namespace.name), guest.as_deref()),
            GuestsRead::Files => (Reach::Rather(&namespace.name), None),
        };
        let read = fetch::world(&client, args.kubevirt_version, reach).await;
        let home = Some(namespace.name.as_str()).filter(|_| reach != Reach::Cluster);
        let (mut world, mut left_out) = read.map_err(|error| Unreadable::of(&error, &url.to_string(), home, guest))?;
        world.cluster.domain = domain.clone();
        world.cluster.is_live = true;
        // Who may read one namespace alone may not read the pods of a node.
        if room == RoomRead::Known && reach == Reach::Cluster {
            let (room, missing) = fetch::room(&client).await;
            world.cluster.room = Arc::new(room);
            left_out.extend(missing);
        }
        for error in left_out {
            note(domain, format_args!("judged without: {:#}", anyhow::Error::from(error)));
        }
        anyhow::Ok((world, namespace))
    })?;
    world.apply_policies(&args.policy, &mut stdin)?;
    Ok(Scene { world, namespace })
}
