//! `cpufit serve`: the webhook on a live cluster, or on a snapshot.

mod live;

use std::future::pending;
use std::io::{self, Read};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use rustls_pki_types::ServerName;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tracing::{info, warn};

use crate::cli::args::{CertificateSource, ServeArgs};
use crate::console;
use crate::descriptors;
use crate::domain::Domain;
use crate::live::connect::ClusterArgs;
use crate::live::freshness::{AgeCollector, Freshness};
use crate::page::Page;
use crate::telemetry::{self, LogFormat, Metrics};
use crate::web::server::{self, Transport};
use crate::web::tls::{CertificateFiles, Certificates, Clients, Resolver, server_config, watch as watch_files};
use crate::web::{self, Condition, Edge, Heartbeat, Judge, Readiness, admin};
use crate::world::{self, LoadInput};

/// Interval between checks of the certificate files.
const CERTIFICATE_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Runs until it receives a signal to stop.
///
/// # Errors
///
/// Returns an error if it cannot listen, or has no certificate or no cluster.
#[tokio::main]
pub(super) async fn serve(
    args: &ServeArgs,
    cluster: &ClusterArgs,
    domain: &Domain,
    stdin: impl Read,
) -> anyhow::Result<()> {
    telemetry::init(args.log_format, &args.log, domain)?;
    if let Err(error) = descriptors::raise() {
        warn!(%error, most = descriptors::most(), "cannot raise the limit of open files: fewer connections can wait");
    }
    let mut signals = Signals::new()?;
    let freshness = Arc::new(Freshness::default());
    let metrics = Arc::new(Metrics::new(|registry| {
        registry.register_collector(Box::new(AgeCollector(Arc::clone(&freshness))));
    }));
    let listen = |address| server::listen(address).with_context(|| format!("cannot listen on {address}"));
    let listener = listen(args.listen)?;
    let admin_listener = listen(args.admin_listen)?;

    let mut tasks = JoinSet::new();
    let resolver = certificates(args, &metrics, &mut tasks)?;
    let clients = clients(args, &metrics, &mut tasks)?;
    let tls = server_config(Arc::clone(&resolver), clients)?;

    let readiness = Arc::new(Readiness::new());
    let (judge, details, mut writers) = if args.world.snapshot.is_empty() {
        let parts = live::Parts { freshness, readiness: &readiness, metrics: &metrics, resolver: &resolver };
        live::start(args, cluster, domain, parts, &mut tasks)?
    } else {
        let (judge, details) = snapshot(args, &readiness, domain, stdin)?;
        (judge, details, live::Writers::default())
    };
    let limits = web::Limits::default();
    let edge = Edge::in_domain(domain.clone(), judge, Arc::clone(&readiness), Arc::clone(&metrics), limits);

    let (stop, stopping) = watch::channel(());
    let stopped = || {
        let mut stopping = stopping.clone();
        async move {
            // An error means that the sender was dropped: the process ends, which is a reason to stop too.
            let _ = stopping.changed().await;
        }
    };
    let (address, admin_address) = (listener.local_addr()?, admin_listener.local_addr()?);
    let limits =
        server::ConnectionLimits { linger: args.linger, drain: args.drain, ..server::ConnectionLimits::default() };
    let reviews = tokio::spawn(server::serve(
        listener,
        Transport::Tls(tls),
        web::router(edge),
        limits,
        Arc::clone(&metrics),
        stopped(),
    ));
    let pulse = Arc::new(Heartbeat::default());
    let beating = Arc::clone(&pulse);
    tasks.spawn(async move { beating.beat().await });
    let admin = admin::serve(
        admin_listener,
        admin::router(Arc::clone(&readiness), Arc::clone(&metrics), details, pulse),
        // While reviews are answered, it reports that no more should be sent here.
        server::ConnectionLimits { linger: args.linger, ..server::ConnectionLimits::admin() },
        metrics,
        stopped(),
    )
    .await
    .context("cannot serve the admin port")?;
    match args.log_format {
        // A JSON log contains only JSON.
        LogFormat::Json => info!(%address, %admin_address, "listening"),
        LogFormat::Text => {
            let mut page = Page::of(format_args!("listening on https://{address}, admin http://{admin_address}"));
            if console::is_terminal() {
                page.line("stop with Ctrl-C");
            }
            console::print(&page)?;
        }
    }

    let outcome = {
        let mut end = pin!(end(&mut signals, &mut tasks, &mut writers));
        tokio::select! {
            outcome = &mut end => outcome,
            () = resolver.has_pair() => {
                readiness.meet(Condition::Serving);
                end.await
            }
        }
    };
    info!("draining");
    readiness.lose(Condition::Serving);
    drop(stop);
    let reviews = reviews.await?;
    let admin = tokio::task::spawn_blocking(|| admin.join()).await?;
    let admin = admin.map_err(|_| anyhow!("the thread of the admin port panicked, see the log"))?;
    info!(%reviews, %admin, "drained");
    // Only now may another replica become leader: reports of this replica are written by this replica.
    writers.end().await;
    tasks.shutdown().await;
    outcome
}

/// Waits for a reason to stop. After a broken watch, reviews would be judged by old data forever, so a panic of a task
/// is such a reason: the kubelet restarts the process.
async fn end(signals: &mut Signals, tasks: &mut JoinSet<()>, writers: &mut live::Writers) -> anyhow::Result<()> {
    tokio::select! {
        () = signals.asked_to_stop() => Ok(()),
        panic = panicked(tasks) => Err(panic).context("a task of the process failed, see the log"),
        panic = panicked(writers.tasks()) => Err(panic).context("a task that writes failed, see the log"),
    }
}

/// Returns the error of the first task that panics. Some tasks end when their work is done.
async fn panicked(tasks: &mut JoinSet<()>) -> JoinError {
    loop {
        match tasks.join_next().await {
            Some(Err(error)) => return error,
            Some(Ok(())) => {}
            None => pending().await,
        }
    }
}

/// Returns the resolver for handshakes: with the pair of the files, or without one until the Secret holds one.
fn certificates(args: &ServeArgs, metrics: &Arc<Metrics>, tasks: &mut JoinSet<()>) -> anyhow::Result<Arc<Resolver>> {
    match args.certificates {
        CertificateSource::Files => {
            // With a snapshot, no API server connects by the Service's name.
            let service = args.world.snapshot.is_empty().then(|| format!("cpufit.{}.svc", args.own_namespace));
            let name = service.and_then(|service| ServerName::try_from(service).ok());
            let files = CertificateFiles { chain: args.cert.clone(), key: args.key.clone() };
            let certificates = Arc::new(Certificates::load(files, name, Arc::clone(metrics))?);
            let resolver = certificates.resolver();
            tasks.spawn(watch_files(certificates, CERTIFICATE_CHECK_INTERVAL));
            Ok(resolver)
        }
        CertificateSource::SelfManaged if args.world.snapshot.is_empty() => Ok(Resolver::waiting(Arc::clone(metrics))),
        CertificateSource::SelfManaged => {
            bail!("--certificates=self-managed keeps them in a live cluster: with --snapshot, use --cert and --key")
        }
    }
}

/// Returns the clients that are answered; `None` for all that reach the port.
fn clients(args: &ServeArgs, metrics: &Arc<Metrics>, tasks: &mut JoinSet<()>) -> anyhow::Result<Option<Arc<Clients>>> {
    let Some(file) = &args.client_ca else { return Ok(None) };
    let clients = Clients::load(file.clone(), args.client_name.clone(), Arc::clone(metrics))?;
    tasks.spawn(watch_files(Arc::clone(&clients), CERTIFICATE_CHECK_INTERVAL));
    Ok(Some(clients))
}

/// Builds the judgement on a snapshot, which neither changes nor ages.
fn snapshot(
    args: &ServeArgs,
    readiness: &Readiness,
    domain: &Domain,
    stdin: impl Read,
) -> anyhow::Result<(Judge, admin::Details)> {
    let given = &args.world;
    let input = LoadInput {
        policies: &given.policy,
        release: given.kubevirt_version,
        ..LoadInput::new(&given.snapshot, domain)
    };
    let (world, notes) = world::load(input, stdin)?;
    if world.cluster.fleet.is_empty() {
        bail!(world::NO_NODES);
    }
    for note in notes {
        warn!(note, "note on the snapshot");
    }
    info!(
        nodes = world.cluster.fleet.len(),
        profiles = world.cluster.fleet.profiles(),
        guests = world.cluster.vmis().count(),
        policies = world.policies.len(),
        release = %world.cluster.release.release(),
        "judging by a snapshot"
    );
    readiness.meet(Condition::Synced);
    readiness.meet(Condition::Fresh);
    Ok((Arc::new(world), Arc::new(Page::default)))
}

/// The signals SIGTERM, sent by the kubelet, and Ctrl-C. Once this exists, they do not kill the process.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn asked_to_stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
