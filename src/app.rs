//! Runs a verb: reads its input from files or a cluster, calls it, prints its page, and returns its exit code.

pub mod completion;
mod libvirt;
mod serve;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::{LazyCell, RefCell};
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fmt::Display;
use std::io::{self, Cursor, Read};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::bail;

use crate::cli::args::{self, program};
use crate::cli::args::{Args, AuditArgs, DiffArgs, ServeArgs, SnapshotArgs, Verb, VersionArgs, WorldArgs};
use crate::cli::resource::ObjectKind;
use crate::cli::rights::{AskedAbout, Unreadable};
use crate::cli::targets::TargetScope;
use crate::cli::version::Versions;
use crate::cli::{
    self, Exit, Namespace, audit, certs, check, ci, diff, drain, explain, manifests, probe, recommend, snapshot,
    targets,
};
use crate::console;
use crate::crypto;
use crate::domain::Domain;
use crate::kubevirt::resource::Resource;
use crate::kubevirt::wire::Vmi;
use crate::live::connect;
use crate::live::connect::ClusterArgs;
use crate::live::fetch::{self, Reach};
use crate::live::leader::{self, Leading};
use crate::page::Page;
use crate::policy::PolicyError;
use crate::snapshot::prune::SnapshotObjects;
use crate::snapshot::{DumpSource, domain_of, read_each};
use crate::telemetry::{self, LogFormat};
use crate::world::{self, LoadInput, World};

/// An error of a verb.
#[derive(Debug)]
pub struct Failure {
    /// The error.
    pub error: anyhow::Error,
    /// The page to print.
    pub page: Page,
}

/// Runs a verb to its end.
///
/// # Errors
///
/// The verb failed; `main` prints the error and exits with 2.
pub fn run(args: Args) -> Result<ExitCode, Failure> {
    crypto::install();
    let gating = ci::GatingVerb::of(&args.verb);
    args.cluster.connection().remember();
    let found = domain_of(args.cluster.given_domain(), &args.verb.dumps(), io::stdin().lock());
    match (found, &args.verb) {
        (Ok((domain, stdin)), _) => {
            execute(args, &domain, stdin).map(ExitCode::from).map_err(|error| failed(error, gating, &domain))
        }
        (Err(error), Verb::Serve(serve)) if serve.log_format == LogFormat::Json => {
            stopped(&error.to_string(), &Domain::default());
            Ok(Exit::Trouble.into())
        }
        (Err(error), _) => Err(failed(error.into(), gating, &Domain::default())),
    }
}

/// Prints the report of a verb that failed, if it was to write one. Returns the failure.
fn failed(error: anyhow::Error, gating: Option<ci::GatingVerb>, domain: &Domain) -> Failure {
    if let Some(gating) = gating {
        let mut page = Page::in_domain(domain).for_others();
        // The error that is returned says more than one about the report.
        let _ = gating.print_error(&format!("{error:#}"), &mut page).and_then(|()| Ok(console::print(&page)?));
    }
    Failure { page: failure(&error, domain), error }
}

/// Prints help, or the error of a command line. If a JSON log is requested, the error is a line of the log.
#[must_use]
pub fn not_a_command_line(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() || !program::asks_for_json_log(std::env::args_os()) {
        // Output that cannot be printed is lost.
        let _ = error.print();
        // Help and versions are no errors.
        return if error.use_stderr() { Exit::Trouble } else { Exit::Success }.into();
    }
    let text = error.render().to_string();
    let lines =
        text.lines().map(str::trim).filter(|line| !line.is_empty()).take_while(|line| !line.starts_with("Usage:"));
    stopped(lines.collect::<Vec<_>>().join(" ").trim_start_matches("error: "), &Domain::default());
    Exit::Trouble.into()
}

/// Writes the last line of a JSON log.
fn stopped(error: &str, domain: &Domain) {
    // The log may not be set up if its filter is invalid: use another filter.
    let _ = telemetry::init(LogFormat::Json, "error", domain);
    tracing::error!(error, "stopped");
}

fn execute(args: Args, domain: &Domain, mut stdin: impl Read) -> anyhow::Result<Exit> {
    let mut page = Page::in_domain(domain);
    let mut exit = Exit::Success;
    let Args { cluster, verb } = args;
    log(cluster.verbosity, &verb, domain)?;
    match verb.inward(domain) {
        Verb::Serve(args) => {
            exit = serve(&args, &cluster, domain, stdin)?;
        }
        Verb::Check(args) => {
            let files = args.files.with(&args.file);
            args.world.stdin_once(&files)?;
            let asked = GuestsRead::Files(files.clone());
            let scene = scene(&cluster, &args.world, &asked, RoomRead::Known, domain, &mut stdin)?;
            let stdin = Cursor::new(scene.held).chain(stdin);
            let (judged, unread) = check::run(&args, &files, &scene.world, &scene.namespace, stdin, &mut page)?;
            exit = judged;
            if !unread.is_empty() {
                let errors = unread.iter().map(|error| failure(error, domain));
                exit = then_errors(errors, &mut page, domain)?;
            }
        }
        Verb::Test(args) => {
            refuse_cluster(&cluster, "test reads none: leave it out")?;
            let asked = cluster.namespace();
            let namespace = Namespace { name: asked.unwrap_or("default").to_owned(), is_asked: asked.is_some() };
            let (tested, unread) = cli::test::run(&args, &namespace, cluster.given_domain(), &mut page)?;
            exit = tested;
            if !unread.is_empty() {
                exit = then_errors(unread.iter().map(|error| failure(error, domain)), &mut page, domain)?;
            }
        }
        Verb::Explain(args) => {
            args.world.stdin_once(&[args.files.sources().as_slice(), &args.libvirt.libvirt_facts].concat())?;
            libvirt::check(&args.libvirt)?;
            let guests = targets::guests(&args.objects)?.filter(|_| args.list.selector.is_none());
            let asked = if args.list.all_namespaces {
                GuestsRead::All
            } else if args.files.sources().is_empty() && !args.libvirt.ask_libvirt {
                GuestsRead::Namespace { guests }
            } else {
                GuestsRead::Files(args.files.sources())
            };
            let mut scene = scene(&cluster, &args.world, &asked, RoomRead::Known, domain, &mut stdin)?;
            let guests = |world: &World| explain::guests(&args, world, &scene.namespace);
            libvirt::learn(&args.libvirt, &cluster, &mut scene.world, guests, libvirt::Losses::Printed, &mut stdin)?;
            let stdin = Cursor::new(scene.held).chain(stdin);
            let missing = explain::run(&args, &scene.world, &scene.namespace, stdin, &mut page)?;
            if !missing.is_empty() {
                exit = then_errors(absent(&missing, domain), &mut page, domain)?;
            }
        }
        Verb::Audit(args) => exit = audit_all(&args, &cluster, domain, &mut stdin, &mut page)?,
        Verb::Drain(args) => {
            of_all_namespaces(&cluster, "drain", domain);
            args.world.stdin_once(&args.libvirt.libvirt_facts)?;
            libvirt::check(&args.libvirt)?;
            let mut scene = scene(&cluster, &args.world, &GuestsRead::All, RoomRead::WithBudgets, domain, &mut stdin)?;
            let nodes = drain::nodes(&args, &scene.world)?;
            let guests = |world: &World| drain::guests(&nodes, world);
            libvirt::learn(&args.libvirt, &cluster, &mut scene.world, guests, libvirt::Losses::NotPrinted, &mut stdin)?;
            exit = drain::run(&args, &scene.world, &nodes, &mut page)?;
        }
        Verb::Diff(args) => exit = compare(&args, &cluster, domain, &mut stdin, &mut page)?,
        Verb::Recommend(args) => {
            of_all_namespaces(&cluster, "recommend", domain);
            args.world.stdin_once(&args.with_node)?;
            let room = if args.assumes_a_change() { RoomRead::WithBudgets } else { RoomRead::Unknown };
            let scene = scene(&cluster, &args.world, &GuestsRead::All, room, domain, &mut stdin)?;
            recommend::run(&args, &scene.world, stdin, &mut page)?;
        }
        Verb::Snapshot(args) => {
            let only = cluster.namespace().filter(|_| !args.all_namespaces);
            let taken = objects(&cluster, &args, only, domain, stdin)?;
            if let Some(why) = only.and_then(|name| snapshot::nobody(&taken, name)) {
                console::note(domain, why);
            }
            snapshot::print(&args, taken.finish(only), &mut page)?;
        }
        Verb::Certs(args) => certs::run(&args, &mut page)?,
        Verb::Manifests(args) => {
            page = page.for_others();
            manifests::run(&args, cluster.namespace(), &mut page)?;
        }
        Verb::Probe(args) => probe::run(&args, &mut page)?,
        Verb::Version(args) => version(&args, &cluster, domain, &mut page)?,
        Verb::Completion(args) => cli::completion::script(args.shell, &mut page)?,
        Verb::Complete(args) => cli::completion::for_kubectl(&args.words, &completion::list(), &mut page)?,
    }
    console::print(&page)?;
    Ok(exit)
}

/// Audits the requested guests. Guests requested by name that do not exist are reported after the others.
fn audit_all(
    args: &AuditArgs,
    cluster: &ClusterArgs,
    domain: &Domain,
    mut stdin: impl Read,
    page: &mut Page,
) -> anyhow::Result<Exit> {
    args.world.stdin_once(&args.libvirt.libvirt_facts)?;
    libvirt::check(&args.libvirt)?;
    let is_named = targets::name_any(&args.objects, &ObjectKind::GUESTS)?;
    let only = cluster.namespace().filter(|_| !args.list.all_namespaces);
    let asked = if only.is_none() && (!is_named || args.list.all_namespaces) {
        GuestsRead::All
    } else if args.libvirt.ask_libvirt {
        GuestsRead::Files(Vec::new())
    } else {
        GuestsRead::Namespace { guests: targets::guests(&args.objects)?.filter(|names| !names.is_empty()) }
    };
    let mut scene = scene(cluster, &args.world, &asked, RoomRead::Known, domain, &mut stdin)?;
    let home = scene.namespace.name.as_str();
    let only = only.or_else(|| Some(home).filter(|_| is_named && !args.list.all_namespaces));
    let wanted = audit::WantedGuests::of(args, only, home, &scene.world)?;
    let guests = |world: &World| {
        let is_audited = |vmi: &&Vmi| wanted.holds(world, &vmi.metadata.namespace, &vmi.metadata.name);
        world.cluster.vmis().filter(is_audited).cloned().collect()
    };
    libvirt::learn(&args.libvirt, cluster, &mut scene.world, guests, libvirt::Losses::NotPrinted, &mut stdin)?;
    let mut exit = audit::run(args, &wanted, &scene.world, page)?;
    if !wanted.missing.is_empty() {
        exit = then_errors(absent(&wanted.missing, domain), page, domain)?;
    }
    Ok(exit)
}

/// Prints the page so far, and then these errors.
fn then_errors(errors: impl IntoIterator<Item = Page>, page: &mut Page, domain: &Domain) -> anyhow::Result<Exit> {
    console::print(&std::mem::replace(page, Page::in_domain(domain)))?;
    errors.into_iter().for_each(|error| console::to_stderr(&error));
    Ok(Exit::Trouble)
}

/// Returns the errors of requested guests that do not exist.
fn absent(missing: &[String], domain: &Domain) -> Vec<Page> {
    missing.iter().map(|line| lines(domain, [format!("error: {line}")])).collect()
}

/// Compares two sides.
fn compare(
    args: &DiffArgs,
    cluster: &ClusterArgs,
    domain: &Domain,
    mut stdin: impl Read,
    page: &mut Page,
) -> anyhow::Result<Exit> {
    let [old, new] = args.worlds();
    old.stdin_once(&new.snapshot)?;
    anyhow::ensure!(!args.policy.contains(&DumpSource::Stdin), "--policy is read for both sides: give a file");
    // The options that select a cluster apply to the new side.
    let namespace = cluster.namespace().map(str::to_owned);
    let first = ClusterArgs { namespace, ..ClusterArgs::default() };
    let (before, of_old) = seen(&first, &old, &GuestsRead::All, RoomRead::Unknown, domain, &mut stdin)?;
    let only = cluster.namespace().filter(|_| !args.list.all_namespaces);
    let asked = only.map_or(GuestsRead::All, |_| GuestsRead::Namespace { guests: None });
    let read = seen(cluster, &new, &asked, RoomRead::Unknown, domain, &mut stdin);
    // `diff` has no option --snapshot.
    let (after, of_new) = read.map_err(|error| match error.downcast::<connect::ConnectError>() {
        Ok(error) => error.or("a second dump (diff OLD NEW)").into(),
        Err(error) => error,
    })?;
    for (side, notes) in [("old", of_old), ("new", of_new)] {
        // The comparison itself says what a side without nodes means.
        for note in notes.iter().filter(|note| *note != world::NO_NODES) {
            console::note(domain, format_args!("{side} side: {note}"));
        }
    }
    let scope = TargetScope { namespace: only, selector: args.list.selector.as_ref() };
    diff::run(args, &scope, &before.world, &after.world, page)
}

/// Prints the versions of this program and of the leader. If the leader cannot be queried, this program's version is
/// still printed.
fn version(args: &VersionArgs, cluster: &ClusterArgs, domain: &Domain, page: &mut Page) -> anyhow::Result<()> {
    let asked = if args.client { Ok(Leading::Nobody) } else { leader(cluster, domain, &args.own_namespace) };
    let leader = asked.as_ref().ok().cloned().unwrap_or(Leading::Nobody);
    let asked_in = (asked.is_ok() && !args.client).then_some(args.own_namespace.as_str());
    Versions::with(leader).print(args.output, asked_in, page)?;
    if asked.is_err() {
        console::print(page)?;
    }
    asked.map(drop)
}

/// Says that `-n` is ignored in a verb that judges nodes, as `kubectl drain` ignores it.
fn of_all_namespaces(cluster: &ClusterArgs, verb: &str, domain: &Domain) {
    if cluster.namespace().is_some() {
        console::note(domain, format_args!("{verb} judges the guests of all namespaces: --namespace is ignored"));
    }
}

/// Returns the leading replica of the cluster, and its version.
fn leader(cluster: &ClusterArgs, domain: &Domain, namespace: &str) -> anyhow::Result<Leading> {
    connect::block_on(async {
        let config =
            cluster.config_of_reads().map_err(|error| error.or("the version of this program alone (--client)"))?;
        let url = connect::server_address(&config);
        let client = connect::client(config, domain)?;
        let read = leader::version(client, namespace).await;
        read.map_err(|error| anyhow::Error::from(Unreadable::of_lease(&error, &url)))
    })?
}

/// Runs the webhook. If its log is JSON, a startup error is a line of the log.
fn serve(args: &ServeArgs, cluster: &ClusterArgs, domain: &Domain, stdin: impl Read) -> anyhow::Result<Exit> {
    let served = args.world.stdin_once(&[]).and_then(|()| serve::serve(args, cluster, domain, stdin));
    let Err(error) = served else { return Ok(Exit::Success) };
    if args.log_format == LogFormat::Text {
        return Err(error);
    }
    // The log translates the names itself.
    let page = failure(&error, &Domain::default());
    stopped(page.as_str().trim_start_matches("error: ").trim_end(), domain);
    Ok(Exit::Trouble)
}

/// Sets up the log for `-v`, by kubectl's levels; the webhook sets up its own log.
fn log(verbosity: u8, verb: &Verb, domain: &Domain) -> anyhow::Result<()> {
    let filter = match verbosity {
        _ if matches!(verb, Verb::Serve(_)) => return Ok(()),
        0..=5 => return Ok(()),
        6..=7 => "warn,kube_client=debug,cpufit=debug",
        _ => "debug",
    };
    Ok(telemetry::init(LogFormat::Text, filter, domain)?)
}

/// Reports panics as one line of shown text: in the log if there is one, else on standard error.
pub fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let text = telemetry::panic_message(panic.payload());
        let backtrace = Backtrace::capture();
        let has_backtrace = backtrace.status() == BacktraceStatus::Captured;
        match telemetry::log_format() {
            Some(LogFormat::Json) if has_backtrace => tracing::error!(%backtrace, "panicked at {place}: {text}"),
            Some(_) => tracing::error!("panicked at {place}: {text}"),
            None => console::to_stderr(&Page::of(format_args!("error: cpufit panicked at {place}: {text}"))),
        }
        if has_backtrace && telemetry::log_format() != Some(LogFormat::Json) {
            console::to_stderr(&backtrace.to_string().lines().collect());
        }
    }));
}

/// Formats an error: the error and its causes on one line, and each problem of a policy on its own line.
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

/// Reads the objects that judgements depend on, from dumps or a live cluster.
fn objects(
    cluster: &ClusterArgs,
    args: &SnapshotArgs,
    only: Option<&str>,
    domain: &Domain,
    stdin: impl Read,
) -> anyhow::Result<SnapshotObjects> {
    if !args.snapshot.is_empty() {
        refuse_cluster(cluster, READS_A_DUMP)?;
        let (objects, skipped) = snapshot::of_dumps(args, domain, stdin)?;
        if let Some(line) = skipped.line() {
            console::note(domain, line);
        }
        return Ok(objects);
    }
    connect::block_on(async {
        let config = cluster.config_of_reads().map_err(|error| error.or(A_DUMP))?;
        let url = connect::server_address(&config);
        let client = connect::client(config, domain)?;
        let read = fetch::objects(&client, only.map_or(Reach::Cluster, Reach::Namespace)).await;
        let (objects, left_out) = read.map_err(|error| Unreadable::of(&error, &url, only, &AskedAbout::Others))?;
        for error in left_out {
            console::note(domain, format_args!("left out: {error}"));
        }
        Ok(objects)
    })?
}

/// Returns a page of lines about a cluster with this domain.
fn lines<T: Display>(domain: &Domain, lines: impl IntoIterator<Item = T>) -> Page {
    let mut page = Page::in_domain(domain);
    lines.into_iter().for_each(|line| page.line(line));
    page
}

/// The input of verbs instead of a cluster.
const A_DUMP: &str = "a dump (--snapshot FILE)";
/// Why `--snapshot` and options that select a cluster do not go together.
const READS_A_DUMP: &str = "--snapshot reads a dump: give one of them";

/// Refuses options that select a cluster, if none is read; `instead` says what is, and what to do.
fn refuse_cluster(cluster: &ClusterArgs, instead: &str) -> anyhow::Result<()> {
    match cluster.first_given() {
        Some(option) => bail!("{option} says which cluster to read, and {instead}"),
        None => Ok(()),
    }
}

/// The input of a verb.
struct Scene {
    world: World,
    /// The namespace of objects that name none.
    namespace: Namespace,
    /// The content of standard input that was read for the namespaces of manifests.
    held: Vec<u8>,
}

/// The guests of a live cluster that a verb needs.
enum GuestsRead {
    /// All guests.
    All,
    /// The guests of the namespace. `guests` are those that a user asks about by name, or none for all; `None` if the
    /// user asks about other objects.
    Namespace { guests: Option<Vec<String>> },
    /// The guests that these manifests name, and all guests through whose launchers libvirt may be queried: of all
    /// namespaces, or if the user may not read these, of those that the manifests name.
    Files(Vec<DumpSource>),
}

/// The need of a verb for the room of nodes, for which the pods of all namespaces are read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum RoomRead {
    Unknown,
    Known,
    /// With the budgets that refuse evictions.
    WithBudgets,
}

impl RoomRead {
    /// Returns the resources of which all objects are read.
    const fn resources(self) -> &'static [Resource] {
        match self {
            Self::Unknown => &[],
            Self::Known => &Resource::OF_ROOM,
            Self::WithBudgets => &Resource::OF_DRAINS,
        }
    }
}

/// Returns the namespaces of the namespaced objects in manifests, by name; the given or the context's one if they hold
/// none. Files that can be read only once are left out, and standard input is held. Errors are reported when the
/// manifests are judged.
fn namespaces_of(
    sources: &[DumpSource],
    home: &Namespace,
    domain: &Domain,
    mut stdin: impl Read,
    held: &RefCell<Vec<u8>>,
) -> Vec<String> {
    let mut found = BTreeSet::new();
    if !home.is_asked {
        if sources.contains(&DumpSource::Stdin) {
            // Errors are reported later.
            let _ = stdin.read_to_end(&mut held.borrow_mut());
        }
        let sources: Vec<DumpSource> = sources.iter().filter(|source| source.is_lasting()).cloned().collect();
        let _ = read_each(&sources, domain, held.borrow().as_slice(), |item| {
            found.extend(
                item.ok()
                    .and_then(|item| item.in_any_namespace())
                    .map(|name| if name.is_empty() { home.name.clone() } else { name }),
            );
            Ok::<(), Infallible>(())
        });
    }
    if found.is_empty() { vec![home.name.clone()] } else { found.into_iter().collect() }
}

/// Reads a snapshot or a live cluster once, and prints the notes about it.
fn scene(
    cluster: &ClusterArgs,
    args: &WorldArgs,
    needs: &GuestsRead,
    room: RoomRead,
    domain: &Domain,
    stdin: impl Read,
) -> anyhow::Result<Scene> {
    let (scene, notes) = seen(cluster, args, needs, room, domain, stdin)?;
    for note in notes {
        console::note(domain, note);
    }
    Ok(scene)
}

/// Reads a snapshot or a live cluster once. Returns notes about it as well. The namespace is the given one, else the
/// context's, else `default`, as in kubectl.
fn seen(
    cluster: &ClusterArgs,
    args: &WorldArgs,
    needs: &GuestsRead,
    room: RoomRead,
    domain: &Domain,
    mut stdin: impl Read,
) -> anyhow::Result<(Scene, Vec<String>)> {
    let asked = cluster.namespace();
    let namespace = |context: &str| Namespace { name: asked.unwrap_or(context).to_owned(), is_asked: asked.is_some() };
    if !args.snapshot.is_empty() {
        refuse_cluster(cluster, READS_A_DUMP)?;
        let namespace = namespace("default");
        let input = LoadInput {
            policies: &args.policy,
            release: args.kubevirt_version,
            namespace: &namespace.name,
            with_room: room != RoomRead::Unknown,
            ..LoadInput::new(&args.snapshot, domain)
        };
        let (world, notes) = world::load(input, stdin)?;
        return Ok((Scene { world, namespace, held: Vec::new() }, notes));
    }
    let held = RefCell::new(Vec::new());
    let (mut world, namespace, notes) = connect::block_on(async {
        let config = cluster.config_of_reads().map_err(|error| error.or(A_DUMP))?;
        let (namespace, url) = (namespace(&config.default_namespace), connect::server_address(&config));
        let client = connect::client(config, domain)?;
        let sources = if let GuestsRead::Files(sources) = needs { sources.as_slice() } else { &[] };
        let of_files = LazyCell::new(|| namespaces_of(sources, &namespace, domain, &mut stdin, &held));
        let reach = match needs {
            GuestsRead::All => Reach::Cluster,
            GuestsRead::Namespace { .. } => Reach::Namespace(&namespace.name),
            GuestsRead::Files(_) => Reach::Rather(&of_files),
        };
        let read = fetch::world(&client, args.kubevirt_version, reach).await;
        let (mut world, mut left_out) = match read {
            Ok(read) => read,
            Err(error) => {
                let (home, asked) = match needs {
                    GuestsRead::All => (None, AskedAbout::Others),
                    GuestsRead::Namespace { guests: Some(guests) } if error.is_nodes_forbidden() => {
                        let running = fetch::running(&client, &namespace.name).await;
                        (Some(namespace.name.as_str()), targets::asked_about(guests, running))
                    }
                    GuestsRead::Namespace { .. } => (Some(namespace.name.as_str()), AskedAbout::Others),
                    GuestsRead::Files(_) if sources.is_empty() => (Some(namespace.name.as_str()), AskedAbout::Others),
                    GuestsRead::Files(_) => {
                        let dry_run = args::shared::dry_run(sources, asked);
                        let namespaces = of_files.clone();
                        (Some(namespace.name.as_str()), AskedAbout::Files { dry_run, namespaces })
                    }
                };
                return Err(Unreadable::of(&error, &url, home, &asked).into());
            }
        };
        drop(of_files);
        world.cluster.domain = domain.clone();
        world.cluster.is_live = true;
        let (mut room, missing) = fetch::room(&client, room.resources()).await;
        room.adopt_launchers(|namespace, guest| world.cluster.vmi(namespace, guest).is_some());
        world.cluster.room = Arc::new(room);
        left_out.extend(missing);
        let notes = left_out.into_iter().map(|error| format!("judged without: {:#}", anyhow::Error::from(error)));
        anyhow::Ok((world, namespace, notes.collect::<Vec<_>>()))
    })??;
    world.apply_policies(&args.policy, &mut stdin)?;
    Ok((Scene { world, namespace, held: held.into_inner() }, notes))
}
