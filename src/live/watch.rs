//! One watch for each resource: listed, followed, taken up again after trouble.

use std::sync::Arc;

use futures_util::StreamExt as _;
use kube::core::Status;
use kube::runtime::watcher::{self, Error, Event, watcher};
use kube::runtime::{WatchStreamExt as _, watcher::ListSemantic};
use kube::{Api, Client};
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use super::connect::chain;
use super::freshness::Freshness;
use super::kinds::{Projected, Seen, Watched, project};
use crate::kubevirt::cluster::Name;

/// How many objects a page holds: with nodes of 34 KB each, a few megabytes.
pub const PAGE: u32 = 250;

/// What happened to a resource.
#[derive(Debug)]
pub enum Change {
    /// It is read anew: what does not come up until [`Change::Listed`] is gone.
    Relisting(Watched),
    /// An object is there, or differs.
    Put(Watched, Name, Projected),
    /// An object is gone.
    Gone(Watched, Name),
    /// All of it was read.
    Listed(Watched),
    /// The API server does not serve it: the custom resource is not installed.
    Absent(Watched),
}

/// Follows a resource until nobody listens. It ends by no error: after each it backs off, half a minute at most, and goes on.
pub async fn follow(client: Client, resource: Watched, freshness: Arc<Freshness>, changes: mpsc::Sender<Change>) {
    // A server that does not know streaming lists refuses them; then pages are read.
    let mut streaming = true;
    while !changes.is_closed() {
        match follow_by(&client, resource, streaming, &freshness, &changes).await {
            Ended::NobodyListens => return,
            Ended::CannotStream => {
                info!(%resource, "the API server knows no streaming lists: reading pages");
                streaming = false;
            }
        }
    }
}

/// Why a watch came to its end.
enum Ended {
    NobodyListens,
    CannotStream,
}

async fn follow_by(
    client: &Client,
    resource: Watched,
    streaming: bool,
    freshness: &Freshness,
    changes: &mpsc::Sender<Change>,
) -> Ended {
    let api: Api<Seen> = Api::all_with(client.clone(), &resource.api());
    let mut config =
        watcher::Config { list_semantic: ListSemantic::MostRecent, ..watcher::Config::default() }.page_size(PAGE);
    if let Some(selector) = resource.selector() {
        config = config.labels(selector);
    }
    if streaming {
        config = config.streaming_lists();
    }
    let mut events = watcher(api, config).default_backoff().boxed();
    let mut is_absent = false;
    while let Some(event) = events.next().await {
        let change = match event {
            Ok(event) => {
                freshness.note(resource, None);
                is_absent = false;
                match event {
                    Event::Init => Change::Relisting(resource),
                    Event::InitDone => Change::Listed(resource),
                    Event::InitApply(seen) | Event::Apply(seen) => put(resource, &seen),
                    Event::Delete(seen) => Change::Gone(resource, seen.name()),
                }
            }
            Err(error) => {
                match refusal(&error) {
                    // Not served at all, or not yet.
                    Some(status) if status.code == 404 => {
                        freshness.hear(resource);
                        freshness.note(resource, Some("not installed".to_owned()));
                        if is_absent {
                            continue;
                        }
                        is_absent = true;
                        info!(%resource, "not installed; looked for again every half minute");
                        if changes.send(Change::Absent(resource)).await.is_err() {
                            return Ended::NobodyListens;
                        }
                        continue;
                    }
                    Some(status) if streaming && matches!(status.code, 400 | 422) => return Ended::CannotStream,
                    Some(status) if status.code == 410 => debug!(%resource, "too old to go on from; read anew"),
                    _ => warn!(%resource, error = %told(&error), "the watch failed; tried again"),
                }
                freshness.note(resource, Some(told(&error)));
                continue;
            }
        };
        if changes.send(change).await.is_err() {
            return Ended::NobodyListens;
        }
    }
    Ended::NobodyListens
}

fn put(resource: Watched, seen: &Seen) -> Change {
    let name = seen.name();
    match project(resource, seen.json()) {
        Ok(Projected::Nothing) => Change::Gone(resource, name),
        Ok(projected) => Change::Put(resource, name, projected),
        Err(error) => {
            // Judged as if it were not there: better than by what it no longer says.
            warn!(%resource, namespace = name.0, name = name.1, %error, "an object that cannot be read is left out");
            Change::Gone(resource, name)
        }
    }
}

/// The API server's own words, where it is one that refuses.
fn refusal(error: &Error) -> Option<&Status> {
    match error {
        Error::InitialListFailed(kube::Error::Api(status))
        | Error::WatchStartFailed(kube::Error::Api(status))
        | Error::WatchFailed(kube::Error::Api(status))
        | Error::WatchError(status) => Some(status),
        _ => None,
    }
}

/// The API server's own words, or else the error and its causes, on one line.
fn told(error: &Error) -> String {
    if let Some(status) = refusal(error) {
        return status.message.clone();
    }
    chain(error)
}
