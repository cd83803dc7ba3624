//! The names for completing a line: from the cluster, a dump or the kubeconfig; none if that takes too long.

use std::ffi::OsString;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use kube::api::ListParams;
use kube::core::DynamicObject;
use kube::{Api, Client};

use crate::cli::completion::{Given, List, Listed, VARIABLE, answer};
use crate::cli::resource::ObjectKind;
use crate::cli::targets;
use crate::console;
use crate::kubevirt::resource::Resource;
use crate::live::connect;
use crate::page::Page;
use crate::snapshot::{DumpSource, domain_of};
use crate::world::{self, LoadInput};

/// Time limit for listing names.
const COMPLETION_TIMEOUT: Duration = Duration::from_secs(3);
/// Maximum number of names read.
const MAX_COMPLETIONS: u32 = 500;

/// Answers a shell's script if it runs this process; returns whether it does. Errors are not printed, because the user
/// is typing a command line.
#[must_use]
pub fn of_shell() -> bool {
    answered().unwrap_or(true)
}

fn answered() -> anyhow::Result<bool> {
    let Some(shell) = std::env::var_os(VARIABLE).and_then(|shell| shell.into_string().ok()) else { return Ok(false) };
    let mut page = Page::default();
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let is_answered = answer(&shell, words, &list(), &mut page)?.is_some();
    console::print(&page)?;
    Ok(is_answered)
}

/// Returns the function that lists names.
pub(super) fn list() -> Arc<List> {
    Arc::new(|given, listed| names(given, listed).unwrap_or_default())
}

fn names(given: &Given, listed: Listed) -> Option<Vec<String>> {
    let kind = match listed {
        Listed::Contexts | Listed::Clusters | Listed::Users => return of_kubeconfig(given, listed),
        Listed::Namespaces => None,
        Listed::Objects(kind) => Some(kind),
    };
    if given.snapshot.is_empty() {
        of_cluster(given, kind)
    } else if given.snapshot.contains(&DumpSource::Stdin) {
        None
    } else {
        of_dump(given, kind)
    }
}

fn of_kubeconfig(given: &Given, listed: Listed) -> Option<Vec<String>> {
    let config = given.cluster.kubeconfig().ok()?;
    Some(match listed {
        Listed::Contexts => config.contexts.into_iter().map(|context| context.name).collect(),
        Listed::Clusters => config.clusters.into_iter().map(|cluster| cluster.name).collect(),
        _ => config.auth_infos.into_iter().map(|user| user.name).collect(),
    })
}

fn of_dump(given: &Given, kind: Option<ObjectKind>) -> Option<Vec<String>> {
    let domain = domain_of(given.cluster.given_domain(), &given.snapshot, io::empty()).ok()?.0;
    let (world, _) = world::load(LoadInput::new(&given.snapshot, &domain), io::empty()).ok()?;
    let cluster = &world.cluster;
    Some(match kind {
        None => cluster.names(Resource::Namespaces).into_iter().map(|(_, name)| name).collect(),
        Some(ObjectKind::Node) => {
            cluster.fleet.in_name_order().into_iter().map(|node| cluster.fleet.name(node).to_owned()).collect()
        }
        Some(kind) => {
            let scope = targets::TargetScope {
                namespace: Some(given.cluster.namespace().unwrap_or("default")),
                selector: None,
            };
            targets::all(cluster, kind, &scope).into_iter().map(|found| found.name).collect()
        }
    })
}

fn of_cluster(given: &Given, kind: Option<ObjectKind>) -> Option<Vec<String>> {
    let resource = kind.map_or(Resource::Namespaces, ObjectKind::resource);
    let asked = async {
        let config = given.cluster.config().ok()?;
        let namespace = given.cluster.namespace().unwrap_or(&config.default_namespace).to_owned();
        let client = connect::client(config, &given.cluster.domain()).ok()?;
        of_resource(client, resource, &namespace).await
    };
    connect::block_on(async { tokio::time::timeout(COMPLETION_TIMEOUT, asked).await.ok().flatten() }).ok().flatten()
}

async fn of_resource(client: Client, resource: Resource, namespace: &str) -> Option<Vec<String>> {
    let api: Api<DynamicObject> = if resource.is_namespaced() {
        Api::namespaced_with(client, namespace, &resource.api())
    } else {
        Api::all_with(client, &resource.api())
    };
    let mut params = ListParams::default().limit(MAX_COMPLETIONS);
    if let Some(selector) = resource.selector() {
        params = params.labels(selector);
    }
    let list = api.list_metadata(&params).await.ok()?;
    Some(list.items.iter().map(kube::ResourceExt::name_any).collect())
}
