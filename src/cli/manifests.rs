//! `cpufit manifests`: the manifests to install, from the same files as `kubectl apply -k deploy/base`.

use std::borrow::Cow;

use anyhow::{Context, anyhow, bail};
use serde_json::{Value, json};

use super::args::values::namespace;
use super::args::{ManifestsArgs, ManifestsOutput};
use crate::page::Page;

const CRD: &str = include_str!("../../deploy/base/crd.yaml");

/// The files, in the order of `deploy/base/kustomization.yaml`.
const BASE: [&str; 13] = [
    include_str!("../../deploy/base/namespace.yaml"),
    CRD,
    include_str!("../../deploy/base/serviceaccount.yaml"),
    include_str!("../../deploy/base/resourcequota.yaml"),
    include_str!("../../deploy/base/rbac.yaml"),
    include_str!("../../deploy/base/rbac-certificates.yaml"),
    include_str!("../../deploy/base/rbac-people.yaml"),
    include_str!("../../deploy/base/service.yaml"),
    include_str!("../../deploy/base/networkpolicy.yaml"),
    include_str!("../../deploy/base/poddisruptionbudget.yaml"),
    include_str!("../../deploy/base/deployment.yaml"),
    include_str!("../../deploy/base/mutatingwebhook.yaml"),
    include_str!("../../deploy/base/validatingwebhook.yaml"),
];

/// The namespace in the files; no other text in them contains this name.
const NAMESPACE: &str = "cpufit-system";
/// The lines that options replace, as in the files.
const IMAGE: &str = "image: ghcr.io/cpufit/cpufit:v0.1.0";
const REPLICAS: &str = "replicas: 2";
const KUBEVIRT: &str = "kubevirt";
const UNWATCHED: &str = "values: [kube-system, kubevirt]";

/// Prints the manifests.
///
/// # Errors
///
/// Returns an error if the namespace is invalid, or one of other programs; or if a manifest of cpufit cannot be parsed,
/// which a test excludes.
pub(crate) fn run(args: &ManifestsArgs, own: Option<&str>, page: &mut Page) -> anyhow::Result<()> {
    let own = own.map(namespace).transpose().map_err(|problem| anyhow!("--namespace: {problem}"))?;
    if let Some(own) = own.as_deref().filter(|own| is_shared(own, &args.kubevirt_namespace)) {
        bail!(
            "--namespace: {own} is the namespace of other programs: the manifests enforce a Pod Security Standard and a quota in \
             cpufit's, and their deletion deletes it; choose one of its own"
        );
    }
    let manifests: &[&'static str] = if args.crd { &[CRD] } else { &BASE };
    let manifests: Vec<Cow<'static, str>> = manifests.iter().map(|text| changed(text, args, own.as_deref())).collect();
    match args.output {
        ManifestsOutput::Yaml => manifests.iter().for_each(|text| page.document(text)),
        ManifestsOutput::Json => {
            page.json(&json!({"apiVersion": "v1", "kind": "List", "items": objects(&manifests)?}))?;
        }
        ManifestsOutput::Name => objects(&manifests)?.iter().for_each(|object| page.line(title(object))),
    }
    Ok(())
}

/// Whether a namespace is Kubernetes' or KubeVirt's. Kubernetes reserves the prefix `kube-`.
fn is_shared(name: &str, of_kubevirt: &[String]) -> bool {
    name.starts_with("kube-") || name == "default" || name == KUBEVIRT || of_kubevirt.iter().any(|other| other == name)
}

fn objects(manifests: &[Cow<'static, str>]) -> anyhow::Result<Vec<Value>> {
    serde_saphyr::from_multiple(&manifests.join("---\n")).context("a manifest of cpufit's own")
}

/// Returns `deployment.apps/cpufit`, as kubectl prints it.
fn title(object: &Value) -> String {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let kind = text("/kind").to_ascii_lowercase();
    let group = text("/apiVersion").split_once('/').map(|(group, _)| format!(".{group}")).unwrap_or_default();
    format!("{kind}{group}/{}", text("/metadata/name"))
}

/// Applies the options to a manifest. Values are quoted: a namespace may be called 7, or on.
fn changed(text: &'static str, args: &ManifestsArgs, own: Option<&str>) -> Cow<'static, str> {
    let quoted = |text: &str| Value::from(text).to_string();
    let mut changes = Vec::new();
    if let Some(own) = own {
        changes.push((NAMESPACE, quoted(own)));
    }
    if let Some(image) = &args.image {
        changes.push((IMAGE, format!("image: {}", quoted(image))));
    }
    if let Some(replicas) = args.replicas {
        changes.push((REPLICAS, format!("replicas: {replicas}")));
    }
    if !args.kubevirt_namespace.is_empty() {
        let mut names: Vec<String> = vec![quoted("kube-system")];
        for name in args.kubevirt_namespace.iter().map(|name| quoted(name)) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        changes.push((UNWATCHED, format!("values: [{}]", names.join(", "))));
    }
    changes.into_iter().fold(Cow::Borrowed(text), |text, (old, new)| {
        if text.contains(old) { Cow::Owned(text.replace(old, &new)) } else { text }
    })
}
