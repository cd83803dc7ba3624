//! `cpufit manifests`: what a cluster needs, from the same files as `kubectl apply -k deploy/base`.

use anyhow::Context;
use serde_json::{Value, json};

use super::args::{ManifestsArgs, ManifestsOutput};
use crate::page::Page;

const CRD: &str = include_str!("../../deploy/base/crd.yaml");

/// In the order of `deploy/base/kustomization.yaml`.
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

/// Prints them.
///
/// # Errors
///
/// A manifest of cpufit's own cannot be read; a test reads them all.
pub fn run(args: &ManifestsArgs, page: &mut Page) -> anyhow::Result<()> {
    let manifests: &[&'static str] = if args.crd { &[CRD] } else { &BASE };
    match args.output {
        ManifestsOutput::Yaml => manifests.iter().for_each(|text| page.document(text)),
        ManifestsOutput::Json => {
            let text = manifests.join("---\n");
            let items: Vec<Value> = serde_saphyr::from_multiple(&text).context("a manifest of cpufit's own")?;
            page.json(&json!({"apiVersion": "v1", "kind": "List", "items": items}))?;
        }
    }
    Ok(())
}
