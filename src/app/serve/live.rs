//! The tasks of `cpufit serve` on a live cluster: watches, judgement, and writers.

use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use kube::Client;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{info, warn};

use crate::cli::args::{CertificateSource, ServeArgs};
use crate::domain::Domain;
use crate::kubevirt::resource::Resource;
use crate::live::connect::ClusterArgs;
use crate::live::events::Reports;
use crate::live::freshness::Freshness;
use crate::live::{Live, WatchSettings, certificates, connect, events, leader, status};
use crate::page::Page;
use crate::telemetry::Metrics;
use crate::web::tls::Resolver;
use crate::web::{Condition, Judge, Readiness, admin};

/// Interval between checks of the age of watch data.
const AGE_LOOK: Duration = Duration::from_secs(5);
/// Time limit at shutdown for writing remaining reports and releasing the Lease.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// The parts that exist already.
pub(super) struct Parts<'a> {
    pub freshness: Arc<Freshness>,
    pub readiness: &'a Arc<Readiness>,
    pub metrics: &'a Arc<Metrics>,
    pub resolver: &'a Arc<Resolver>,
}

/// Starts the judgement on a live cluster.
pub(super) fn start(
    args: &ServeArgs,
    cluster: &ClusterArgs,
    domain: &Domain,
    parts: Parts<'_>,
    tasks: &mut JoinSet<()>,
) -> anyhow::Result<(Judge, admin::Details, Writers)> {
    let Parts { freshness, readiness, metrics, resolver } = parts;
    if !args.world.policy.is_empty() {
        bail!("--policy goes with --snapshot: on a live cluster the policies are its CPUPolicy objects");
    }
    let config = cluster.config().map_err(|error| error.or("a dump (--snapshot FILE)"))?;
    info!(cluster = %config.cluster_url, "judging by a live cluster");
    let client = connect::client_noted(config, domain, &freshness)?;
    let settings = WatchSettings { release: args.world.kubevirt_version, publish_after: args.publish_after };
    let reports = Reports::new(metrics);
    let (live, published) = Live::start(&client, settings, &freshness, reports.clone(), metrics, tasks);

    readiness.meet(Condition::Fresh);
    tasks.spawn(synced(Arc::clone(readiness), published.clone()));
    tasks.spawn(fresh(Arc::clone(readiness), Arc::clone(&freshness), args.stale_after));

    let me = leader::identity(args.own_name.as_deref());
    let (writers, leads) = Writers::start(&client, args, me, reports.clone());
    tasks.spawn(status::run(client.clone(), Arc::clone(&live), published, leads.clone(), reports));
    if args.certificates == CertificateSource::SelfManaged {
        let settings = certificates::CertificateSettings {
            namespace: args.own_namespace.clone(),
            validity: args.certificate_validity,
        };
        tasks.spawn(certificates::run(client, settings, Arc::clone(resolver), leads, Arc::clone(metrics)));
    }
    let (limit, domain) = (args.stale_after, domain.clone());
    Ok((live, Arc::new(move || ages(&freshness, limit, &domain)), writers))
}

/// The tasks that finish their work after the reviews have drained.
pub(super) struct Writers {
    stop: watch::Sender<()>,
    tasks: JoinSet<()>,
}

impl Default for Writers {
    /// Returns a set without tasks.
    fn default() -> Self {
        Self { stop: watch::Sender::new(()), tasks: JoinSet::new() }
    }
}

impl Writers {
    /// Starts the writer of Events and leader election; the receiver is true while this replica leads.
    fn start(client: &Client, args: &ServeArgs, me: String, reports: Reports) -> (Self, watch::Receiver<bool>) {
        let mut writers = Self::default();
        let stop = || writers.stop.subscribe();
        let (elected, leads) = watch::channel(false);
        let election = leader::run(client.clone(), args.own_namespace.clone(), me.clone(), elected, stop());
        let events = events::run(client.clone(), me, reports, stop());
        writers.tasks.spawn(election);
        writers.tasks.spawn(events);
        (writers, leads)
    }

    /// Returns the tasks.
    pub(super) fn tasks(&mut self) -> &mut JoinSet<()> {
        &mut self.tasks
    }

    /// Signals the tasks to finish and waits for them.
    pub(super) async fn end(mut self) {
        drop(self.stop);
        if timeout(SHUTDOWN_TIMEOUT, async { while self.tasks.join_next().await.is_some() {} }).await.is_err() {
            warn!(
                after_seconds = SHUTDOWN_TIMEOUT.as_secs_f64(),
                "shutdown timed out before all Events were written and the Lease was released"
            );
        }
    }
}

/// Sets the condition once every watch has delivered its first complete list.
async fn synced(readiness: Arc<Readiness>, mut published: watch::Receiver<u64>) {
    // An error means that the process ends.
    if published.changed().await.is_ok() {
        readiness.meet(Condition::Synced);
    }
}

/// Sets the condition while data from the API server is fresh, and clears it while it is not.
async fn fresh(readiness: Arc<Readiness>, freshness: Arc<Freshness>, limit: Duration) {
    let mut ticks = interval(AGE_LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let stale = freshness.silent(limit);
        match (!stale.is_empty(), readiness.holds(Condition::Fresh)) {
            (true, true) => {
                let resources = stale.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                warn!(
                    after_seconds = limit.as_secs_f64(),
                    resources, "watch data is too old: answering 503 until it is fresh"
                );
                readiness.lose(Condition::Fresh);
            }
            (false, false) => {
                info!("the API server answers again: reviews are judged");
                readiness.meet(Condition::Fresh);
            }
            _ => {}
        }
    }
}

/// Formats the maximum age of the data of each resource, and the error of its watch; `[-]` marks data that is too old.
fn ages(freshness: &Freshness, limit: Duration, domain: &Domain) -> Page {
    let mut page = Page::in_domain(domain);
    let silent = freshness.silent(limit);
    for resource in Resource::WATCHED {
        let mark = if silent.contains(&resource) { '-' } else { ' ' };
        let age = match freshness.age(resource) {
            Some(age) => format!("received {} s ago", age.as_secs()),
            None => "not received yet".to_owned(),
        };
        let trouble = freshness.trouble(resource).map(|trouble| format!(" ({trouble})")).unwrap_or_default();
        page.line(format_args!("[{mark}]{resource} {age}{trouble}"));
    }
    page
}
