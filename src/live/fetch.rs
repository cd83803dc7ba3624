//! Reads from the API server on demand: single new objects, and all objects of a cluster.

use std::cell::RefCell;
use std::ops::Deref;

use futures_util::future::join_all;
use kube::api::ListParams;
use kube::{Api, Client};
use tracing::debug;

use super::connect::{NOT_A_STATUS, refused_user, words};
use super::kinds::{Projected, ProjectedObject, project};
use super::watch::PAGE;
use crate::fit::syntax;
use crate::kubevirt::cluster::{Cluster, ClusterObject, WhyUnread};
use crate::kubevirt::migration;
use crate::kubevirt::release::Release;
use crate::kubevirt::resource::Resource;
use crate::kubevirt::room::Room;
use crate::kubevirt::wire::{JsonText, Vmi};
use crate::report;
use crate::review::MissingInput;
use crate::snapshot::prune::SnapshotObjects;
use crate::well_known;
use crate::world::World;

/// An object or resource that could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// The API server refuses, or cannot be reached.
    #[error("cannot read {resource}: {}", words(error))]
    Read {
        /// The resource.
        resource: Resource,
        /// The error.
        error: kube::Error,
    },
    /// Answers that depend on all objects of a resource are not known, because these cannot be read.
    #[error("cannot read {resource}: {}, so {} is not known", words(error), unknown_without(*resource))]
    Room {
        /// The resource.
        resource: Resource,
        /// The error.
        error: kube::Error,
    },
    /// The server does not have a resource that every API server has.
    #[error("no API server of Kubernetes answers there: it has no {resource}")]
    NoApiServer {
        /// The resource.
        resource: Resource,
    },
    /// A policy is invalid, or has a field of a later release.
    #[error("{0}")]
    Policy(String),
    /// An object does not have the shape of its kind.
    #[error("{resource}: {namespace}/{name} is malformed")]
    Malformed {
        /// The resource.
        resource: Resource,
        /// The object's namespace.
        namespace: String,
        /// The object's name.
        name: String,
        /// The parse error.
        source: serde_json::Error,
    },
}

/// Returns what is not known if the objects of all namespaces cannot be read.
fn unknown_without(resource: Resource) -> &'static str {
    if resource == Resource::Budgets { "which evictions are refused" } else { "how much room nodes have" }
}

fn projected(resource: Resource, seen: &ProjectedObject) -> Result<Projected, FetchError> {
    project(resource, seen.json()).map_err(|source| malformed(resource, seen, source))
}

fn malformed(resource: Resource, seen: &ProjectedObject, source: serde_json::Error) -> FetchError {
    let (namespace, name) = seen.name();
    FetchError::Malformed { resource, namespace, name, source }
}

/// The namespaces whose guests are read.
#[derive(Clone, Copy)]
pub(crate) enum Reach<'n> {
    /// All namespaces.
    Cluster,
    /// All namespaces; if that is forbidden, these, which are determined only then.
    Rather(&'n dyn Deref<Target = Vec<String>>),
    /// Only this namespace.
    Namespace(&'n str),
}

/// Reads all objects of a resource within reach, each converted by `of`.
async fn reached<T>(
    client: &Client,
    resource: Resource,
    reach: Reach<'_>,
    selector: Option<&str>,
    of: &impl Fn(Resource, &ProjectedObject) -> Result<T, FetchError>,
) -> Result<Vec<T>, FetchError> {
    let all = |namespace| all(client, resource, namespace, selector, of);
    match reach {
        Reach::Namespace(namespace) if resource.is_of_guests() => all(Some(namespace)).await,
        Reach::Namespace(namespace) => match all(None).await {
            Err(error) if error.is_forbidden() && resource == Resource::Namespaces => {
                named(client, &[namespace], error, of).await
            }
            outcome => outcome,
        },
        Reach::Rather(namespaces) => match all(None).await {
            Err(error) if error.is_forbidden() && resource == Resource::Namespaces => {
                named(client, namespaces.as_slice(), error, of).await
            }
            // The API server checks permissions before it looks for the resource.
            Err(error) if error.is_forbidden() && resource.is_of_guests() => {
                let mut found = Vec::new();
                for namespace in namespaces.iter() {
                    found.extend(all(Some(namespace)).await?);
                }
                Ok(found)
            }
            outcome => outcome,
        },
        Reach::Cluster => all(None).await,
    }
}

/// Reads the existing ones of these namespaces, because users with rights in a namespace may read it, but not list all.
/// If one cannot be read either, returns the error of the list: whether it exists is not known.
async fn named<T>(
    client: &Client,
    names: &[impl AsRef<str>],
    error: FetchError,
    of: &impl Fn(Resource, &ProjectedObject) -> Result<T, FetchError>,
) -> Result<Vec<T>, FetchError> {
    let api: Api<ProjectedObject> = Api::all_with(client.clone(), &Resource::Namespaces.api());
    let mut found = Vec::new();
    for name in names {
        match api.get_opt(name.as_ref()).await {
            Ok(Some(seen)) => found.push(of(Resource::Namespaces, &seen)?),
            Ok(None) => {}
            Err(_) => return Err(error),
        }
    }
    // Without any, no namespace would be known to be missing.
    if found.is_empty() { Err(error) } else { Ok(found) }
}

/// Returns the guests that run in a namespace, by name; `None` if they cannot be read.
pub(crate) async fn running(client: &Client, namespace: &str) -> Option<Vec<String>> {
    let resource = Resource::Vmis;
    let found = all(client, resource, Some(namespace), None, &projected).await.ok()?;
    let name = |projected| match projected {
        Projected::Object(object) => match *object {
            ClusterObject::Vmi(vmi) if migration::runs(&vmi) => Some(vmi.metadata.name),
            _ => None,
        },
        Projected::Policy(_) | Projected::Nothing => None,
    };
    Some(found.into_iter().filter_map(name).collect())
}

/// Lists all objects of a resource, in one namespace or all, page by page.
async fn all<T>(
    client: &Client,
    resource: Resource,
    namespace: Option<&str>,
    selector: Option<&str>,
    of: &impl Fn(Resource, &ProjectedObject) -> Result<T, FetchError>,
) -> Result<Vec<T>, FetchError> {
    let api: Api<ProjectedObject> = match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource.api()),
        None => Api::all_with(client.clone(), &resource.api()),
    };
    let mut params = ListParams::default();
    if let Some(selector) = selector {
        params = params.labels(selector);
    }
    let mut out = Vec::new();
    let read = |seen: &ProjectedObject| {
        out.push(of(resource, seen)?);
        Ok(())
    };
    pages(&api, params, read, |error| unread(resource, error)).await?;
    Ok(out)
}

/// Returns the error of a list. Every API server has the resources of the core.
fn unread(resource: Resource, error: kube::Error) -> FetchError {
    match error {
        kube::Error::Api(status) if status.code == 404 && resource.group().is_empty() => {
            FetchError::NoApiServer { resource }
        }
        error => FetchError::Read { resource, error },
    }
}

/// Reads objects page by page.
async fn pages(
    api: &Api<ProjectedObject>,
    mut params: ListParams,
    mut read: impl FnMut(&ProjectedObject) -> Result<(), FetchError>,
    failed: impl Fn(kube::Error) -> FetchError,
) -> Result<(), FetchError> {
    params.limit = Some(PAGE);
    loop {
        let page = api.list(&params).await.map_err(&failed)?;
        page.items.iter().try_for_each(&mut read)?;
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params.continue_token = Some(token),
            None => return Ok(()),
        }
    }
}

/// A resource that was not read, with the reason and the error.
type LeftOut = (Resource, WhyUnread, FetchError);

/// Returns the errors to report: of resources that are not installed there is nothing to read, and of some the verdicts
/// that depend on them report the missing permission.
fn to_report(left_out: Vec<LeftOut>) -> Vec<FetchError> {
    let is_said = |(resource, why, _): &LeftOut| *why == WhyUnread::Forbidden && resource.is_missed_unsaid();
    left_out.into_iter().filter(is_said).map(|(_, _, error)| error).collect()
}

/// Reads all objects within reach, each converted by `of`. Returns the resources that were left out as well.
///
/// # Errors
///
/// A required resource cannot be read; the error names it.
async fn everything<T>(
    client: &Client,
    reach: Reach<'_>,
    selector: &impl Fn(Resource) -> Option<&'static str>,
    of: &impl Fn(Resource, &ProjectedObject) -> Result<T, FetchError>,
) -> Result<(Vec<T>, Vec<LeftOut>), FetchError> {
    let (mut out, mut left_out) = (Vec::new(), Vec::new());
    let read = join_all(Resource::JUDGED.map(|one| reached(client, one, reach, selector(one), of))).await;
    for (resource, list) in Resource::JUDGED.into_iter().zip(read) {
        match list {
            Ok(list) => out.extend(list),
            Err(error) if error.has_code(404) => left_out.push((resource, WhyUnread::NotInstalled, error)),
            Err(error) if resource.is_dispensable() && error.is_forbidden() => {
                left_out.push((resource, WhyUnread::Forbidden, error));
            }
            Err(error) => return Err(error),
        }
    }
    Ok((out, left_out))
}

/// Reads all objects that judgements depend on, as a dump holds them, and the resources that were left out for lack of
/// permission. If all pods are within reach, room is included.
///
/// # Errors
///
/// A required resource cannot be read; the error names it.
pub(crate) async fn objects(
    client: &Client,
    reach: Reach<'_>,
) -> Result<(SnapshotObjects, Vec<FetchError>), FetchError> {
    let taken = RefCell::new(SnapshotObjects::default());
    let take = |resource: Resource, seen: &ProjectedObject| {
        let taken = taken.borrow_mut().take(&resource.api_version(), resource.kind(), seen.json());
        taken.map_err(|source| malformed(resource, seen, source))
    };
    let only = match reach {
        Reach::Namespace(namespace) => Some(namespace),
        Reach::Cluster | Reach::Rather(_) => None,
    };
    // Pods of all kinds use room, not only launchers.
    let selector = |resource: Resource| resource.selector().filter(|_| only.is_some() || resource != Resource::Pods);
    let (_, left_out) = everything(client, reach, &selector, &take).await?;
    let mut left_out = to_report(left_out);
    if only.is_none() {
        taken.borrow_mut().mark_pods_read();
        match each(client, Resource::Budgets, |seen| take(Resource::Budgets, seen)).await {
            Ok(()) => taken.borrow_mut().mark_budgets_read(),
            Err(error) => left_out.push(error),
        }
    }
    Ok((taken.into_inner(), left_out))
}

/// Reads the current cluster and its policies, and the resources that were left out for lack of permission.
///
/// # Errors
///
/// A required resource cannot be read; the error names it.
pub(crate) async fn world(
    client: &Client,
    release: Option<Release>,
    reach: Reach<'_>,
) -> Result<(World, Vec<FetchError>), FetchError> {
    let (found, left_out) = everything(client, reach, &Resource::selector, &projected).await?;
    let mut objects = Vec::new();
    let (mut policies, mut invalid) = (Vec::new(), Vec::new());
    for projected in found {
        match projected {
            Projected::Object(object) => objects.push(*object),
            Projected::Policy(registered) => match registered.policy {
                Ok(policy) => policies.push(policy),
                Err(fault) => invalid.push(FetchError::Policy(fault)),
            },
            Projected::Nothing => {}
        }
    }
    let mut cluster = Cluster::new(objects, release);
    cluster.unread = left_out.iter().map(|(resource, why, _)| (*resource, *why)).collect();
    if !invalid.is_empty() {
        cluster.unread.push((Resource::Policies, WhyUnread::Invalid));
    }
    Ok((World { cluster, policies }, to_report(left_out).into_iter().chain(invalid).collect()))
}

/// Reads these resources, of [`Resource::OF_DRAINS`], for the room of nodes and the evictions that are refused, and
/// returns what could not be read as well. If nodes or pods are missing, no room is known.
pub(crate) async fn room(client: &Client, resources: &[Resource]) -> (Room, Vec<FetchError>) {
    let mut room = Room::default();
    let mut missing = Vec::new();
    for &resource in resources {
        match read_room(client, resource, &mut room).await {
            Ok(()) if resource == Resource::Budgets => room.mark_budgets_read(),
            Ok(()) if resource == Resource::Pods => room.mark_pods_read(),
            Ok(()) => {}
            Err(error) => {
                missing.push(error);
                // With only part of the pods, full nodes would look free, and pods without nodes are useless.
                if resource != Resource::Budgets {
                    room = Room::default();
                    break;
                }
            }
        }
    }
    (room, missing)
}

async fn read_room(client: &Client, resource: Resource, room: &mut Room) -> Result<(), FetchError> {
    let read = |seen: &ProjectedObject| {
        let read = room.read(resource.group(), resource.kind(), &JsonText(seen.json()));
        read.map_err(|source| malformed(resource, seen, source))
    };
    each(client, resource, read).await
}

/// Reads the objects of all namespaces.
async fn each(
    client: &Client,
    resource: Resource,
    read: impl FnMut(&ProjectedObject) -> Result<(), FetchError>,
) -> Result<(), FetchError> {
    let api: Api<ProjectedObject> = Api::all_with(client.clone(), &resource.api());
    let failed = |error| FetchError::Room { resource, error };
    let params = match resource {
        // Pods that have ended use no room: kubectl leaves them out of a node's requests by the same selector.
        Resource::Pods => ListParams::default().fields("status.phase!=Succeeded,status.phase!=Failed"),
        _ => ListParams::default(),
    };
    pages(&api, params, read, failed).await
}

impl FetchError {
    /// Whether the API server answered with this status code.
    fn has_code(&self, code: u16) -> bool {
        matches!(self, Self::Read { error: kube::Error::Api(status), .. } if status.code == code)
    }

    /// Whether the answer is one of the API, not of another server that answers in its place.
    fn is_of_the_api(&self) -> bool {
        !matches!(self, Self::Read { error: kube::Error::Api(status), .. } if status.reason == NOT_A_STATUS)
    }

    /// Whether the user lacks the permission.
    pub(crate) fn is_forbidden(&self) -> bool {
        self.has_code(403) && self.is_of_the_api()
    }

    /// Whether the API server, or a proxy that logs people in, rejects the user's credentials.
    pub(crate) fn is_unauthorized(&self) -> bool {
        self.has_code(401)
    }

    /// Whether the API server refuses because it got no credentials that it knows.
    pub(crate) fn is_of_anonymous(&self) -> bool {
        let names = |message: &str| message.contains("\"system:anonymous\"");
        matches!(self, Self::Read { error: kube::Error::Api(status), .. } if status.code == 403 && names(&status.message))
    }

    /// Returns the user whom the API server refuses, by its message.
    pub(crate) fn user(&self) -> Option<&str> {
        let Self::Read { error: kube::Error::Api(status), .. } = self else { return None };
        refused_user(&status.message)
    }

    /// Whether the user lacks the permission to read nodes, without which nothing can be judged.
    pub(crate) fn is_nodes_forbidden(&self) -> bool {
        matches!(self, Self::Read { resource: Resource::Nodes, .. }) && self.is_forbidden()
    }
}

/// Reads the objects that a judgement lacked. Returns those that were found; the others stay missing.
pub(crate) async fn lacking(client: &Client, cluster: &Cluster, lacks: &[MissingInput]) -> Vec<ClusterObject> {
    let mut found = Vec::new();
    for lack in lacks {
        match lack {
            MissingInput::Vmi { namespace, name } => {
                if let Some(vmi) = vmi(client, namespace, name).await {
                    found.extend(launchers(client, &vmi).await);
                    found.push(ClusterObject::Vmi(Box::new(vmi)));
                }
            }
            MissingInput::Owner { kind, namespace, name } => {
                if !matches!(kind, report::EventKind::Vmi | report::EventKind::Policy) {
                    found.extend(one(client, kind.resource(), namespace, name).await);
                }
            }
            MissingInput::Launcher { namespace, name } => {
                if let Some(ClusterObject::Launcher(launcher)) = one(client, Resource::Pods, namespace, name).await {
                    if cluster.vmi(namespace, &launcher.guest).is_none() {
                        let vmi = vmi(client, namespace, &launcher.guest).await;
                        found.extend(vmi.map(|vmi| ClusterObject::Vmi(Box::new(vmi))));
                    }
                    found.push(ClusterObject::Launcher(launcher));
                }
            }
            MissingInput::Migration { namespace, name } => {
                found.extend(one(client, Resource::Migrations, namespace, name).await);
            }
        }
    }
    found
}

async fn one(client: &Client, resource: Resource, namespace: &str, name: &str) -> Option<ClusterObject> {
    // Names come from reviews, and become part of a request's path.
    if syntax::dns_label(namespace).is_err() || syntax::subdomain(name).is_err() {
        debug!(%resource, "not a valid name: the object is not looked up");
        return None;
    }
    let api: Api<ProjectedObject> = Api::namespaced_with(client.clone(), namespace, &resource.api());
    let seen = match api.get_opt(name).await {
        Ok(seen) => seen?,
        Err(error) => {
            debug!(%resource, namespace, name, %error, "cannot be read");
            return None;
        }
    };
    match projected(resource, &seen) {
        Ok(Projected::Object(object)) => Some(*object),
        Ok(Projected::Policy(_) | Projected::Nothing) => None,
        Err(error) => {
            debug!(%error, "cannot be read");
            None
        }
    }
}

async fn vmi(client: &Client, namespace: &str, name: &str) -> Option<Vmi> {
    match one(client, Resource::Vmis, namespace, name).await {
        Some(ClusterObject::Vmi(vmi)) => Some(*vmi),
        _ => None,
    }
}

/// Maximum number of launchers read for a guest. A guest that the watch does not know yet has one, or two while it
/// migrates; a user may label further pods, each as large as etcd allows.
const LAUNCHERS: u32 = 4;

/// Reads the launchers of a guest, by the label that virt-controller sets on them.
async fn launchers(client: &Client, vmi: &Vmi) -> Vec<ClusterObject> {
    let api: Api<ProjectedObject> =
        Api::namespaced_with(client.clone(), &vmi.metadata.namespace, &Resource::Pods.api());
    let of_guest = format!("{}={}", well_known::CREATED_BY.key, vmi.metadata.uid);
    let params = ListParams::default().labels(&of_guest).limit(LAUNCHERS);
    match api.list(&params).await {
        Ok(list) => {
            let objects = list.items.iter().filter_map(|seen| projected(Resource::Pods, seen).ok());
            objects
                .filter_map(|projected| match projected {
                    Projected::Object(object) => Some(*object),
                    Projected::Policy(_) | Projected::Nothing => None,
                })
                .collect()
        }
        Err(error) => {
            debug!(guest = vmi.metadata.name, %error, "its launchers cannot be read");
            Vec::new()
        }
    }
}
