//! A live cluster: watched, judged, and written to.
//!
//! ```text
//! API server --watch--> ResourceChange --inventory--> Snapshot --swap--> reviews
//!            <--events--  EventReport                           judge
//!            <--fetch---  MissingInput
//! ```
//!
//! Nothing here decides: judgements come from [`judge`](crate::judge), on the current snapshot.

pub(crate) mod certificates;
pub(crate) mod connect;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod fetch;
pub(crate) mod freshness;
pub mod inventory;
pub mod kinds;
pub(crate) mod kubeconfig;
pub(crate) mod leader;
pub(crate) mod libvirt;
mod lookups;
mod middleware;
mod options;
pub(crate) mod plugin;
mod proxy;
mod rate;
mod renaming;
pub(crate) mod status;
mod tls;
pub mod watch;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use kube::Client;
use tokio::sync::{Semaphore, mpsc, watch as latest};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use crate::admission::Webhook;
use crate::admission::response::Decision;
use crate::admission::review::Request;
use crate::kubevirt::release::Release;
use crate::kubevirt::resource::Resource;
use crate::review::ReviewAnswer;
use crate::telemetry::Metrics;
use crate::web::{JudgeScope, JudgeSlot, Judging, Unjudged, by_world};
use crate::world::World;
use events::Reports;
use freshness::Freshness;
use inventory::{Inventory, Snapshot};
use lookups::Lookups;

/// Maximum number of reviews that read from the API server at once, so that a storm of reviews does not become a storm
/// of reads.
const MAX_READS: usize = 8;
/// Maximum number of queued changes.
const MAX_CHANGES: usize = 1024;

/// Settings of the watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchSettings {
    /// The release whose rules apply, if the user names one.
    pub release: Option<Release>,
    /// Maximum delay within which changes are combined into one snapshot.
    pub publish_after: Duration,
}

/// A watched cluster.
pub struct Live {
    client: Client,
    snapshot: ArcSwap<Snapshot>,
    reads: Semaphore,
    lookups: Lookups,
    reports: Reports,
    metrics: Arc<Metrics>,
}

impl Live {
    /// Starts to watch. The receiver gets every snapshot, the first one when every resource was listed once.
    pub fn start(
        client: &Client,
        settings: WatchSettings,
        freshness: &Arc<Freshness>,
        reports: Reports,
        metrics: &Arc<Metrics>,
        tasks: &mut JoinSet<()>,
    ) -> (Arc<Self>, latest::Receiver<u64>) {
        let live = Arc::new(Self {
            client: client.clone(),
            snapshot: ArcSwap::default(),
            reads: Semaphore::new(MAX_READS),
            lookups: Lookups::new(Instant::now()),
            reports,
            metrics: Arc::clone(metrics),
        });
        let (sender, changes) = mpsc::channel(MAX_CHANGES);
        for resource in Resource::WATCHED {
            tasks.spawn(watch::follow(client.clone(), resource, Arc::clone(freshness), sender.clone()));
        }
        let (published, publications) = latest::channel(0);
        let publishing = Arc::clone(&live);
        tasks.spawn(inventory::run(
            Inventory::new(settings.release),
            changes,
            settings.publish_after,
            move |snapshot| {
                debug!(
                    nodes = snapshot.world.cluster.fleet.len(),
                    guests = snapshot.world.cluster.vmis().count(),
                    policies = snapshot.policies.len(),
                    "published"
                );
                publishing.snapshot.store(Arc::new(snapshot));
                published.send_modify(|number| *number += 1);
            },
        ));
        (live, publications)
    }

    /// Returns the current snapshot.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    async fn answer(
        &self,
        webhook: Webhook,
        request: &Request<'_>,
        slot: &mut JudgeSlot<'_>,
    ) -> Result<ReviewAnswer, Unjudged> {
        let snapshot = self.snapshot();
        let answer = by_world(&snapshot.world, webhook, request, slot).await?;
        let Some(lack) = answer.lacks.first() else { return Ok(answer) };
        let may_read = self.lookups.may(&snapshot.world, lack.namespace(), slot.address(), Instant::now());
        let share = self.reads.try_acquire().ok().filter(|_| may_read);
        let Some(_share) = share else { return Ok(answer) };
        let until = slot.release();
        let reading = fetch::lacking(&self.client, &snapshot.world.cluster, &answer.lacks);
        let found = timeout_at(until, reading).await.unwrap_or_default();
        let with = slot.run(JudgeScope::Object, |_| {
            let mut world: World = snapshot.world.clone();
            for object in found {
                world.cluster.put(object);
            }
            world
        });
        let Ok(world) = with.await else { return Ok(answer) };
        // The first answer is better than none.
        match by_world(&world, webhook, request, slot).await {
            Err(Unjudged::Queue(_)) => Ok(answer),
            judged => judged,
        }
    }
}

impl Judging for Live {
    fn judge<'a>(
        &'a self,
        webhook: Webhook,
        request: &'a Request<'_>,
        slot: &'a mut JudgeSlot<'_>,
    ) -> BoxFuture<'a, Result<Decision, Unjudged>> {
        Box::pin(async move {
            let answer = self.answer(webhook, request, slot).await?;
            if let Some(exemption) = answer.exempted {
                self.metrics.exempted(exemption);
            }
            for report in answer.reports {
                self.reports.push(report);
            }
            Ok(answer.decision)
        })
    }
}

#[cfg(test)]
mod tests;
