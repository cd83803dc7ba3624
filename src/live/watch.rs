//! A watch for each resource: list, follow, and resume after errors.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use kube::core::Status;
use kube::runtime::utils::Backoff as _;
use kube::runtime::watcher::{self, DefaultBackoff, Error, Event, ListSemantic, watcher};
use kube::{Api, Client};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use super::connect::chain;
use super::freshness::Freshness;
use super::kinds::{Projected, ProjectedObject, project};
use crate::kubevirt::cluster::ObjectName;
use crate::kubevirt::resource::Resource;

/// Number of objects in a page: with nodes of 34 KB each, a few megabytes.
pub(crate) const PAGE: u32 = 250;
/// Number of objects in a page of kinds of a namespace, which many users may create, up to etcd's limit of 1.5 MB each:
/// such a page is held twice while it is read.
const PAGE_OF_UNTRUSTED: u32 = 25;
/// Maximum delay before another attempt.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A change of a resource.
#[derive(Debug)]
pub enum ResourceChange {
    /// The resource is listed again: objects that are not received until [`ResourceChange::Listed`] are gone.
    Relisting(Resource),
    /// An object is new or changed.
    Put(Resource, ObjectName, Projected),
    /// An object is gone.
    Gone(Resource, ObjectName),
    /// The list is complete.
    Listed(Resource),
    /// The API server does not serve the resource: it is not installed, or reading it is forbidden.
    Absent(Resource),
}

/// Watches a resource until the receiver is gone. After an error it backs off, half a minute at most, and continues.
pub async fn follow(
    client: Client,
    resource: Resource,
    freshness: Arc<Freshness>,
    changes: mpsc::Sender<ResourceChange>,
) {
    // A server without streaming lists refuses them; then pages are read.
    let mut streaming = true;
    while !changes.is_closed() {
        match follow_by(&client, resource, streaming, &freshness, &changes).await {
            Ended::NobodyListens => return,
            Ended::CannotStream => {
                info!(%resource, "the API server does not support streaming lists: listing in pages");
                streaming = false;
            }
        }
    }
}

/// The reason why a watch ended.
enum Ended {
    NobodyListens,
    CannotStream,
}

async fn follow_by(
    client: &Client,
    resource: Resource,
    streaming: bool,
    freshness: &Freshness,
    changes: &mpsc::Sender<ResourceChange>,
) -> Ended {
    let api: Api<ProjectedObject> = Api::all_with(client.clone(), &resource.api());
    let mut config = watcher::Config { list_semantic: ListSemantic::MostRecent, ..watcher::Config::default() }
        .page_size(page(resource));
    if let Some(selector) = resource.selector() {
        config = config.labels(selector);
    }
    if streaming {
        config = config.streaming_lists();
    }
    let mut events = watcher(api, config).boxed();
    let mut pauses = DefaultBackoff::default();
    let mut is_absent = false;
    while let Some(event) = events.next().await {
        let change = match event {
            Ok(event) => {
                // The start of a list proves nothing: the library announces it before the first page is requested.
                if !matches!(event, Event::Init) {
                    pauses.reset();
                    freshness.note(resource, None);
                    is_absent = false;
                }
                match event {
                    Event::Init => ResourceChange::Relisting(resource),
                    Event::InitDone => ResourceChange::Listed(resource),
                    Event::InitApply(seen) | Event::Apply(seen) => put(resource, &seen),
                    Event::Delete(seen) => ResourceChange::Gone(resource, seen.name()),
                }
            }
            Err(error) => {
                match refusal(&error) {
                    // Not served, or not yet; or forbidden and dispensable.
                    Some(status) if status.code == 404 || (status.code == 403 && resource.is_dispensable()) => {
                        let why = if status.code == 404 { "not installed".to_owned() } else { words(&error) };
                        freshness.received(resource);
                        if !is_absent {
                            is_absent = true;
                            info!(%resource, why, "the resource is not available and is ignored; checked again every half minute");
                            if changes.send(ResourceChange::Absent(resource)).await.is_err() {
                                return Ended::NobodyListens;
                            }
                        }
                        freshness.note(resource, Some(why));
                    }
                    Some(status) if streaming && matches!(status.code, 400 | 422) => return Ended::CannotStream,
                    other => {
                        if other.is_some_and(|status| status.code == 410) {
                            debug!(%resource, "the resource version is too old; listing again");
                        } else {
                            warn!(%resource, error = %words(&error), "the watch failed; retrying");
                        }
                        freshness.note(resource, Some(words(&error)));
                    }
                }
                sleep(pauses.next().unwrap_or(LONGEST_PAUSE)).await;
                continue;
            }
        };
        if changes.send(change).await.is_err() {
            return Ended::NobodyListens;
        }
    }
    Ended::NobodyListens
}

/// Returns the number of objects in a page of this resource, if lists do not stream.
fn page(resource: Resource) -> u32 {
    if resource.is_namespaced() { PAGE_OF_UNTRUSTED } else { PAGE }
}

fn put(resource: Resource, seen: &ProjectedObject) -> ResourceChange {
    let name = seen.name();
    match project(resource, seen.json()) {
        Ok(Projected::Nothing) => ResourceChange::Gone(resource, name),
        Ok(projected) => ResourceChange::Put(resource, name, projected),
        Err(error) => {
            // The object is treated as missing, because its outdated content would mislead.
            warn!(%resource, namespace = name.0, name = name.1, %error, "an object cannot be read and is ignored");
            ResourceChange::Gone(resource, name)
        }
    }
}

/// Returns the API server's status if the error is a refusal.
fn refusal(error: &Error) -> Option<&Status> {
    match error {
        Error::InitialListFailed(kube::Error::Api(status))
        | Error::WatchStartFailed(kube::Error::Api(status))
        | Error::WatchFailed(kube::Error::Api(status))
        | Error::WatchError(status) => Some(status),
        _ => None,
    }
}

/// Describes an error: the API server's message, or else the error and its causes, on one line.
fn words(error: &Error) -> String {
    if let Some(status) = refusal(error) {
        return status.message.clone();
    }
    chain(error)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::{Request, Response, StatusCode};
    use kube::client::Body;
    use tokio::time::timeout;

    use super::*;

    /// Answers as an API server without streaming lists and without custom resources.
    fn answer(request: &Request<Body>, lists: &AtomicUsize) -> Response<Body> {
        let streams = request.uri().query().is_some_and(|query| query.contains("sendInitialEvents"));
        let (code, words) = if streams {
            (StatusCode::UNPROCESSABLE_ENTITY, "sendInitialEvents is forbidden for watch")
        } else {
            lists.fetch_add(1, Ordering::Relaxed);
            (StatusCode::NOT_FOUND, "the server could not find the requested resource")
        };
        let status = serde_json::json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code.as_u16(), "message": words,
        });
        let mut response = Response::new(Body::from(status.to_string().into_bytes()));
        *response.status_mut() = code;
        response
    }

    #[tokio::test(start_paused = true)]
    async fn a_kind_that_is_not_installed_is_tried_again() {
        let lists = Arc::new(AtomicUsize::new(0));
        let service = tower::service_fn({
            let lists = Arc::clone(&lists);
            move |request| std::future::ready(Ok::<_, Infallible>(answer(&request, &lists)))
        });
        let (sender, mut changes) = mpsc::channel(1024);
        let following = follow(Client::new(service, "default"), Resource::Vmis, Arc::default(), sender);
        assert!(timeout(Duration::from_secs(600), following).await.is_err(), "it must not end");
        let asked = lists.load(Ordering::Relaxed);
        assert!((10..60).contains(&asked), "a cluster without KubeVirt is asked {asked} times in ten minutes");
        let received = std::iter::from_fn(|| changes.try_recv().ok());
        let absent = received.filter(|change| matches!(change, ResourceChange::Absent(_))).count();
        assert_eq!(absent, 1, "each time all guests are forgotten and a line is logged");
    }
}
