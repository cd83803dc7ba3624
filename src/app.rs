//! The one place that builds things: wires a verb together, supervises its tasks, drains on shutdown.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::CommandFactory;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::info;

use crate::args::{Args, ServeArgs, Verb};
use crate::cli::check::Checked;
use crate::cli::{audit, certs, check, explain};
use crate::judge;
use crate::server::{self, Transport};
use crate::telemetry::{self, Metrics};
use crate::tls::{CertificateFiles, Certificates, server_config};
use crate::webhook::{self, Condition, Edge, Judge, Readiness, admin};
use crate::world;

/// How often the certificate files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Runs a verb to its end.
///
/// # Errors
///
/// What kept it from being done; `main` prints it and exits with 2.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let out = io::stdout().lock();
    match args.verb {
        Verb::Serve(args) => {
            args.world.stdin_once(&[])?;
            drop(out);
            serve(&args)?;
        }
        Verb::Check(args) => {
            args.world.stdin_once(&args.file)?;
            if check::run(&args, io::stdin().lock(), out)? == Checked::Denied {
                return Ok(ExitCode::from(1));
            }
        }
        Verb::Explain(args) => {
            args.world.stdin_once(&args.file)?;
            explain::run(&args, io::stdin().lock(), out)?;
        }
        Verb::Audit(args) => {
            args.world.stdin_once(&[])?;
            if audit::run(&args, io::stdin().lock(), out)? == audit::Audited::Failed {
                return Ok(ExitCode::from(1));
            }
        }
        Verb::Certs(args) => certs::run(&args)?,
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

#[tokio::main]
async fn serve(args: &ServeArgs) -> anyhow::Result<()> {
    telemetry::init(args.log_format, &args.log)?;
    let metrics = Arc::new(Metrics::new(|_| {}));
    let files = CertificateFiles { chain: args.cert.clone(), key: args.key.clone() };
    let certificates = Arc::new(Certificates::load(files, Arc::clone(&metrics))?);
    let tls = server_config(certificates.resolver())?;

    let listen = |address| async move {
        TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
    };
    let listener = listen(args.listen).await?;
    let admin_listener = listen(args.admin_listen).await?;

    let world = Arc::new(world::load(
        &args.world.snapshot,
        &args.world.policy,
        args.world.kubevirt_version,
        io::stdin().lock(),
    )?);
    if world.cluster.fleet.is_empty() {
        bail!("the snapshot holds no node: kubectl get nodes,pods,vm,vmi,vmim,kubevirt,ns -A -o yaml");
    }
    info!(
        nodes = world.cluster.fleet.len(),
        profiles = world.cluster.fleet.profiles(),
        guests = world.cluster.vmis().count(),
        policies = world.policies.len(),
        release = %world.cluster.release.release(),
        "judging by a snapshot"
    );
    let readiness = Arc::new(Readiness::new());
    readiness.meet(Condition::Synced);
    let judge: Judge = Arc::new(move |stage, request| judge::answer(&world, stage, request));
    let edge = Edge::new(judge, Arc::clone(&readiness), Arc::clone(&metrics), webhook::Limits::default());

    let (stop, stopping) = watch::channel(());
    let stopped = || {
        let mut stopping = stopping.clone();
        async move {
            // An error means that the sender is gone: the process ends, which is a reason to stop as well.
            let _ = stopping.changed().await;
        }
    };
    let (address, admin_address) = (listener.local_addr()?, admin_listener.local_addr()?);
    let limits = server::Limits { drain: args.drain, ..server::Limits::default() };
    let reviews = tokio::spawn(server::serve(
        listener,
        Transport::Tls(tls),
        webhook::router(edge),
        limits,
        Arc::clone(&metrics),
        stopped(),
    ));
    let admin = tokio::spawn(server::serve(
        admin_listener,
        Transport::Plain,
        admin::router(Arc::clone(&readiness), Arc::clone(&metrics)),
        server::Limits { drain: Duration::from_secs(1), ..server::Limits::default() },
        metrics,
        stopped(),
    ));
    let watching = tokio::spawn(certificates.watch(LOOK));
    readiness.meet(Condition::Serving);
    println!("listening on https://{address}, admin http://{admin_address}");
    if io::stdout().is_terminal() {
        println!("stop with Ctrl-C");
    }

    asked_to_stop().await?;
    info!("draining");
    readiness.lose(Condition::Serving);
    drop(stop);
    let (reviews, admin) = (reviews.await?, admin.await?);
    info!(%reviews, %admin, "drained");
    watching.abort();
    Ok(())
}

/// SIGTERM, as the kubelet sends it, or Ctrl-C.
async fn asked_to_stop() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        interrupted = tokio::signal::ctrl_c() => interrupted,
    }
}
