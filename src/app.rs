//! The one place that builds things: wires a verb together, supervises its tasks, drains on shutdown.

mod serve;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, Read};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::CommandFactory;

use crate::cli::args::{Args, Verb, WorldArgs};
use crate::cli::check::Checked;
use crate::cli::{Namespace, audit, certs, check, explain, manifests};
use crate::console;
use crate::live::{connect, fetch};
use crate::page::Page;
use crate::policy::PolicyError;
use crate::world::{self, World};

/// Runs a verb to its end.
///
/// # Errors
///
/// What kept it from being done; `main` prints it and exits with 2.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut stdin = io::stdin().lock();
    let mut page = Page::default();
    let mut code = ExitCode::SUCCESS;
    match args.verb {
        Verb::Serve(args) => {
            args.world.stdin_once(&[])?;
            drop(stdin);
            serve::serve(&args)?;
        }
        Verb::Check(args) => {
            args.world.stdin_once(&args.file)?;
            let scene = scene(&args.world, args.namespace.as_deref(), &mut stdin)?;
            if check::run(&args, &scene.world, &scene.namespace, stdin, &mut page)? == Checked::Denied {
                code = ExitCode::from(1);
            }
        }
        Verb::Explain(args) => {
            args.world.stdin_once(&args.file)?;
            let scene = scene(&args.world, args.namespace.as_deref(), &mut stdin)?;
            explain::run(&args, &scene.world, &scene.namespace, stdin, &mut page)?;
        }
        Verb::Audit(args) => {
            args.world.stdin_once(&[])?;
            let scene = scene(&args.world, None, &mut stdin)?;
            if audit::run(&args, &scene.world, &mut page)? == audit::Audited::Failed {
                code = ExitCode::from(1);
            }
        }
        Verb::Certs(args) => certs::run(&args, &mut page)?,
        Verb::Manifests(args) => manifests::run(&args, &mut page)?,
        Verb::Completions(args) => page.completions(args.shell, &mut Args::command(), "cpufit"),
    }
    console::print(&page)?;
    Ok(code)
}

/// From now on a panic is one line of shown text: in the log where there is one, else on standard error.
pub fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let payload = panic.payload();
        let text = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
        let text = text.unwrap_or("no message");
        if tracing::dispatcher::has_been_set() {
            tracing::error!("panicked at {place}: {text}");
        } else {
            console::tell(&Page::of(format_args!("error: cpufit panicked at {place}: {text}")));
        }
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            console::tell(&backtrace.to_string().lines().collect());
        }
    }));
}

/// What kept a verb from being done: the error and its causes on one line, the problems of a policy each on its own.
#[must_use]
pub fn failure(error: &anyhow::Error) -> Page {
    let mut first = "error".to_owned();
    let mut below = Vec::new();
    for cause in error.chain() {
        let mut lines = cause.downcast_ref().map_or_else(|| vec![cause.to_string()], PolicyError::lines).into_iter();
        first.extend(lines.next().map(|line| format!(": {line}")));
        below.extend(lines);
    }
    std::iter::once(first).chain(below).collect()
}

/// What a verb works on.
struct Scene {
    world: World,
    /// Where objects are that name no namespace.
    namespace: Namespace,
}

/// A snapshot, or else a live cluster, read once. The namespace is the one that is asked for, else the context's, else
/// `default`, as for kubectl.
fn scene(args: &WorldArgs, asked: Option<&str>, mut stdin: impl Read) -> anyhow::Result<Scene> {
    let namespace = |context: &str| Namespace { name: asked.unwrap_or(context).to_owned(), is_asked: asked.is_some() };
    if !args.snapshot.is_empty() {
        let namespace = namespace("default");
        let (world, notes) = world::load(&args.snapshot, &args.policy, args.kubevirt_version, &namespace.name, stdin)?;
        for note in notes {
            console::tell(&Page::of(format_args!("note: {note}")));
        }
        return Ok(Scene { world, namespace });
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut world, namespace) = runtime.block_on(async {
        let config = args.cluster.config()?;
        let (namespace, url) = (namespace(&config.default_namespace), config.cluster_url.clone());
        let client = connect::client(config)?;
        let read = fetch::world(&client, args.kubevirt_version).await;
        let (world, left_out) = read.with_context(|| format!("reading the cluster at {url}"))?;
        for error in left_out {
            console::tell(&Page::of(format_args!("note: judged without: {:#}", anyhow::Error::from(error))));
        }
        anyhow::Ok((world, namespace))
    })?;
    if !args.policy.is_empty() {
        world.policies.clear();
        world.add_policies(&args.policy, &mut stdin)?;
    }
    Ok(Scene { world, namespace })
}
