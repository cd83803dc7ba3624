//! `cpufit manifests`: what a cluster needs, from the same files as `kubectl apply -k deploy/base`.

use std::io::Write;

use anyhow::Context;
use serde_json::{Value, json};

use crate::args::{ManifestsArgs, ManifestsOutput};

const CRD: &str = include_str!("../../deploy/base/crd.yaml");

/// In the order of `deploy/base/kustomization.yaml`.
const BASE: [&str; 12] = [
    include_str!("../../deploy/base/namespace.yaml"),
    CRD,
    include_str!("../../deploy/base/serviceaccount.yaml"),
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
/// Standard output is closed.
pub fn run(args: &ManifestsArgs, mut out: impl Write) -> anyhow::Result<()> {
    let text = if args.crd { CRD.to_owned() } else { BASE.join("---\n") };
    match args.output {
        ManifestsOutput::Yaml => out.write_all(text.as_bytes())?,
        ManifestsOutput::Json => {
            let items: Vec<Value> = serde_saphyr::from_multiple(&text).context("a manifest of cpufit's own")?;
            serde_json::to_writer_pretty(&mut out, &json!({"apiVersion": "v1", "kind": "List", "items": items}))?;
            writeln!(out)?;
        }
    }
    Ok(())
}
