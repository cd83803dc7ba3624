//! `cpufit serve`: the webhook on a live cluster, or on a snapshot.

use std::fmt::Write as _;
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::admission::Stage;
use crate::admission::review::Request;
use crate::args::ServeArgs;
use crate::judge::{self, Hearing};
use crate::live::freshness::{AgeCollector, Freshness, Listening};
use crate::live::kinds::Watched;
use crate::live::{Live, Settings, connect, events};
use crate::server::{self, Transport};
use crate::telemetry::{self, Metrics};
use crate::tls::{CertificateFiles, Certificates, server_config};
use crate::webhook::{self, Condition, Edge, Judge, Readiness, admin};
use crate::world;

/// How often the certificate files are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often the age of what is known is looked at.
const AGE_LOOK: Duration = Duration::from_secs(5);

/// Runs until it is asked to stop.
///
/// # Errors
///
/// It cannot listen, has no certificate, or no cluster to judge by.
#[tokio::main]
pub async fn serve(args: &ServeArgs) -> anyhow::Result<()> {
    telemetry::init(args.log_format, &args.log)?;
    let freshness = Arc::new(Freshness::default());
    let metrics = Arc::new(Metrics::new(|registry| {
        registry.register_collector(Box::new(AgeCollector(Arc::clone(&freshness))));
    }));
    let listen = |address| async move {
        TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
    };
    let listener = listen(args.listen).await?;
    let admin_listener = listen(args.admin_listen).await?;

    let files = CertificateFiles { chain: args.cert.clone(), key: args.key.clone() };
    let certificates = Arc::new(Certificates::load(files, Arc::clone(&metrics))?);
    let tls = server_config(certificates.resolver())?;

    let readiness = Arc::new(Readiness::new());
    let mut tasks = JoinSet::new();
    let (judge, details) = if args.world.snapshot.is_empty() {
        live(args, &freshness, &readiness, &mut tasks).await?
    } else {
        snapshot(args, &readiness)?
    };
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
        admin::router(Arc::clone(&readiness), Arc::clone(&metrics), details),
        server::Limits { drain: Duration::from_secs(1), ..server::Limits::default() },
        metrics,
        stopped(),
    ));
    tasks.spawn(certificates.watch(LOOK));
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
    tasks.shutdown().await;
    Ok(())
}

/// The judgement on a snapshot, which neither changes nor ages.
fn snapshot(args: &ServeArgs, readiness: &Readiness) -> anyhow::Result<(Judge, admin::Details)> {
    let world = world::load(&args.world.snapshot, &args.world.policy, args.world.kubevirt_version, io::stdin().lock())?;
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
    readiness.meet(Condition::Synced);
    readiness.meet(Condition::Fresh);
    let judge: Judge = Arc::new(move |stage: Stage, request: &Request<'_>| {
        Ok(judge::answer(&Hearing::new(&world), stage, request)?.decision)
    });
    Ok((judge, Arc::new(String::new)))
}

/// The judgement on a live cluster.
async fn live(
    args: &ServeArgs,
    freshness: &Arc<Freshness>,
    readiness: &Arc<Readiness>,
    tasks: &mut JoinSet<()>,
) -> anyhow::Result<(Judge, admin::Details)> {
    if !args.world.policy.is_empty() {
        bail!("--policy goes with --snapshot: on a live cluster the policies are its CPUPolicy objects");
    }
    let config = args.world.cluster.config().await?;
    info!(cluster = %config.cluster_url, "judging by a live cluster");
    let client = connect::client_through(config, &Listening(Arc::clone(freshness)))?;
    let settings = Settings { release: args.world.kubevirt_version, publish_after: args.publish_after };
    let (reports, _written) = events::channel(&Arc::default());
    let (live, mut published) = Live::start(&client, settings, freshness, reports, tasks);

    let ready = Arc::clone(readiness);
    tasks.spawn(async move {
        // An error means that the process ends.
        if published.changed().await.is_ok() {
            ready.meet(Condition::Synced);
        }
    });
    let (ready, ages, limit) = (Arc::clone(readiness), Arc::clone(freshness), args.stale_after);
    ready.meet(Condition::Fresh);
    tasks.spawn(async move {
        let mut ticks = interval(AGE_LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let is_stale = ages.age(Watched::Nodes).is_some_and(|age| age > limit);
            match (is_stale, ready.holds(Condition::Fresh)) {
                (true, true) => {
                    warn!(after = ?limit, "the API server is silent: no more reviews are judged by what was known");
                    ready.lose(Condition::Fresh);
                }
                (false, false) => {
                    info!("the API server is heard again");
                    ready.meet(Condition::Fresh);
                }
                _ => {}
            }
        }
    });
    let ages = Arc::clone(freshness);
    Ok((live, Arc::new(move || told(&ages))))
}

/// How old what is known of each resource is at most, and what is wrong with its watch.
fn told(freshness: &Freshness) -> String {
    let mut out = String::new();
    for resource in Watched::ALL {
        let age = match freshness.age(resource) {
            Some(age) => format!("heard of {} s ago", age.as_secs()),
            None => "not heard of yet".to_owned(),
        };
        let trouble = freshness.trouble(resource).map(|trouble| format!(" ({trouble})")).unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = writeln!(out, "[ ]{resource} {age}{trouble}");
    }
    out
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
