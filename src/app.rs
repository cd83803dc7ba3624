//! The one place that builds things: wires a verb together, supervises its tasks, drains on shutdown.

mod serve;

use std::io::{self, Read, Write};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::CommandFactory;

use crate::args::{Args, Verb, WorldArgs};
use crate::cli::check::Checked;
use crate::cli::{audit, certs, check, explain, manifests};
use crate::live::{connect, fetch};
use crate::world::{self, World};

/// Runs a verb to its end.
///
/// # Errors
///
/// What kept it from being done; `main` prints it and exits with 2.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut stdin = io::stdin().lock();
    let out = io::stdout().lock();
    match args.verb {
        Verb::Serve(args) => {
            args.world.stdin_once(&[])?;
            drop((stdin, out));
            serve::serve(&args)?;
        }
        Verb::Check(args) => {
            args.world.stdin_once(&args.file)?;
            let Scene { world, .. } = scene(&args.world, &mut stdin)?;
            if check::run(&args, &world, stdin, out)? == Checked::Denied {
                return Ok(ExitCode::from(1));
            }
        }
        Verb::Explain(args) => {
            args.world.stdin_once(&args.file)?;
            let scene = scene(&args.world, &mut stdin)?;
            let namespace = args.namespace.as_deref().unwrap_or(&scene.namespace);
            explain::run(&args, &scene.world, namespace, stdin, out)?;
        }
        Verb::Audit(args) => {
            args.world.stdin_once(&[])?;
            let scene = scene(&args.world, &mut stdin)?;
            if audit::run(&args, &scene.world, out)? == audit::Audited::Failed {
                return Ok(ExitCode::from(1));
            }
        }
        Verb::Certs(args) => certs::run(&args)?,
        Verb::Manifests(args) => manifests::run(&args, out)?,
        Verb::Completions(args) => {
            // A generator panics where it cannot write: a closed pipe must not look like a bug.
            let mut script = Vec::new();
            clap_complete::generate(args.shell, &mut Args::command(), "cpufit", &mut script);
            let mut out = out;
            out.write_all(&script)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What a verb works on.
struct Scene {
    world: World,
    /// The namespace that is meant where none is said.
    namespace: String,
}

/// A snapshot, or else a live cluster, read once.
fn scene(args: &WorldArgs, mut stdin: impl Read) -> anyhow::Result<Scene> {
    if !args.snapshot.is_empty() {
        let world = world::load(&args.snapshot, &args.policy, args.kubevirt_version, stdin)?;
        return Ok(Scene { world, namespace: "default".to_owned() });
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut world, namespace) = runtime.block_on(async {
        let config = args.cluster.config()?;
        let (namespace, url) = (config.default_namespace.clone(), config.cluster_url.clone());
        let client = connect::client(config)?;
        let read = fetch::world(&client, args.kubevirt_version).await;
        let (world, left_out) = read.with_context(|| format!("reading the cluster at {url}"))?;
        for error in left_out {
            eprintln!("note: judged without: {:#}", anyhow::Error::from(error));
        }
        anyhow::Ok((world, namespace))
    })?;
    if !args.policy.is_empty() {
        world.policies.clear();
        world.add_policies(&args.policy, &mut stdin)?;
    }
    Ok(Scene { world, namespace })
}
