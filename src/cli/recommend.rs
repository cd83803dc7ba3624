//! `cpufit recommend`: the CPU model that guests should have.

use std::io::Read;

use anyhow::ensure;
use serde::Serialize;

use crate::answers::missing_guests::MissingGuests;
use crate::answers::recommend::policy::{AdoptedPolicy, Adoption, adoptions, proposals};
use crate::answers::recommend::what_if::{AssumedChange, WhatIf, what_if};
use crate::answers::recommend::{
    CandidateReport, Coverage, FeatureChange, PoolReport, Recommendations, recommend_after,
};
use crate::cli::args::{ListOutput, RecommendArgs};
use crate::cli::gate;
use crate::console::{self, Progress, to_stderr};
use crate::domain::Domain;
use crate::fit::command::Script;
use crate::fit::node::Node;
use crate::fit::plural;
use crate::kubevirt::resource::Resource;
use crate::kubevirt::wire;
use crate::page::Page;
use crate::snapshot::{self, Item};
use crate::world::{World, no_nodes};

/// Number of names in a cell or line.
const MAX_ROWS: usize = 4;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Printed<'r> {
    #[serde(flatten)]
    report: &'r Recommendations,
    what_if: &'r [WhatIf],
}

/// Runs the verb.
///
/// # Errors
///
/// Returns an error if no node has the labels asked for, a node of `--with-node` cannot be read, a change cannot be
/// made, or writing JSON or YAML fails.
pub(crate) fn run(args: &RecommendArgs, world: &World, stdin: impl Read, page: &mut Page) -> anyhow::Result<()> {
    let edits = edits(args, &world.cluster.domain, stdin)?;
    let none = if world.cluster.fleet.is_empty() {
        no_nodes(&world.cluster)
    } else {
        "no node is left: --without-node takes out all of them"
    };
    let (now, (world, what_if)) = (world, what_if(world, &args.node_selector, &edits)?);
    let looked_at = Progress::of("guests looked at");
    let progress = |done, of| looked_at.at(done, of);
    let report = recommend_after(now, &world, &args.node_selector, &progress);
    let is_any = !(report.pools.is_empty() && report.not_counted.is_empty());
    ensure!(is_any || args.node_selector.is_empty() || world.cluster.fleet.is_empty(), "no node has such labels");
    gate::note_kubevirt(now);
    let missing = MissingGuests::of(&now.cluster, &|_, _| true);
    for line in missing.lines() {
        console::note(page.domain(), line);
    }
    match args.output {
        ListOutput::Table | ListOutput::Wide => {
            people(&report, &what_if, args, none, page);
            if !args.no_headers {
                // Only `-o yaml` judges all guests again under the existing policies.
                let is_any = !applied(&proposals(&world, &report)).is_empty();
                if is_any && world.policies.is_empty() {
                    page.remark("Adopt it, warning only: the same command with -o yaml | kubectl apply -f -");
                } else if is_any {
                    page.remark("Policies that adopt it, or why no policy does: the same command with -o yaml");
                }
            }
        }
        ListOutput::Json => page.json(&Printed { report: &report, what_if: &what_if })?,
        ListOutput::Yaml => policies(&adoptions(&world, &report, &progress), page)?,
        ListOutput::Name => {
            for adopted in applied(&adoptions(&world, &report, &progress)) {
                page.line(Resource::Policies.title(adopted.name()));
            }
        }
    }
    Ok(())
}

fn edits(args: &RecommendArgs, domain: &Domain, stdin: impl Read) -> anyhow::Result<Vec<AssumedChange>> {
    let mut out = Vec::new();
    snapshot::read_all(&args.with_node, domain, stdin, |item: Item| {
        if item.kind != Resource::Nodes.kind() {
            return Err(item.wrong("kind", &format!("expected {}, found {}", Resource::Nodes.kind(), item.kind)));
        }
        out.push(AssumedChange::With(Box::new(Node::from(item.parse::<wire::Node>()?))));
        Ok(())
    })?;
    out.extend(args.without_node.iter().cloned().map(AssumedChange::Without));
    out.extend(args.without_model_feature.iter().cloned().map(AssumedChange::WithoutFeature));
    Ok(out)
}

/// Returns the policies to apply.
fn applied(adoptions: &[Adoption]) -> Vec<&AdoptedPolicy> {
    let applied = adoptions.iter().filter_map(|adoption| match adoption {
        Adoption::Apply(adopted) => Some(adopted),
        Adoption::Nothing(_) => None,
    });
    applied.collect()
}

fn policies(adoptions: &[Adoption], page: &mut Page) -> anyhow::Result<()> {
    let adopted = applied(adoptions);
    let new = adopted.iter().filter(|adopted| !adopted.exists).count();
    if new > 0 {
        let which = if new == adopted.len() { "These" } else { "The new" };
        for line in [
            format!(
                "# {which} policies warn. With `replaces: []` they change no guest: left out, guests that name no model, or"
            ),
            "# host-model, get this one at their next start.".to_owned(),
        ] {
            page.line(line);
        }
    }
    if adopted.len() > 1 {
        page.line(
            "# A guest that fits the nodes of several policies gets none of their models: give it a node selector.",
        );
    }
    for adopted in adopted.iter().filter(|adopted| adopted.exists) {
        let name = adopted.name();
        page.line(format_args!(
            "# {name} exists: only its commonModel changes. `kubectl apply` of this document may remove its labels and"
        ));
        page.line("# annotations; this changes the model alone:");
        for line in adopted.patch.iter().flat_map(Script::lines) {
            page.line(format_args!("#   {line}"));
        }
    }
    for adoption in adoptions {
        if let Adoption::Nothing(why) = adoption {
            page.line(format_args!("# {why}"));
        }
    }
    for adopted in &adopted {
        if let Some(line) = &adopted.beyond {
            page.remark(format_args!("{}: {line}", adopted.name()));
        }
        page.manifest(&adopted.document)?;
    }
    if adopted.is_empty() {
        page.line("# There is nothing to apply.");
    }
    Ok(())
}

fn people(report: &Recommendations, what_if: &[WhatIf], args: &RecommendArgs, none: &str, page: &mut Page) {
    if report.pools.is_empty() && report.not_counted.is_empty() {
        if args.no_headers {
            let mut said = Page::in_domain(page.domain());
            said.line(none);
            return to_stderr(&said);
        }
        return page.line(none);
    }
    let is_shown = |candidate: &&CandidateReport| args.output == ListOutput::Wide || candidate.is_worth_a_look;
    let head = ["POOL", "MODEL", "RUNS ON", "LEAVES OUT", "TARGETS OF ITS GUESTS", "NOTE"];
    let mut rows = if args.no_headers { Vec::new() } else { vec![head.map(str::to_owned).to_vec()] };
    let heads = rows.len();
    for pool in &report.pools {
        rows.extend(pool.candidates.iter().filter(is_shown).map(|candidate| row(pool, candidate)));
        if pool.model.is_none() {
            let row = [pool.name.clone(), "none".to_owned(), format!("0/{}", pool.nodes)];
            rows.push(row.into_iter().chain([const { String::new() }; 3]).collect());
        }
    }
    if rows.len() > heads {
        page.table(&rows);
    }
    // `--no-headers` means that a program reads the rows.
    if args.no_headers {
        return;
    }
    for pool in &report.pools {
        let subject = pool.model.as_deref().unwrap_or("no model is recommended");
        let of = if pool.model.is_some() {
            String::new()
        } else {
            format!(" ({})", plural::fold_names(&pool.node_names, MAX_ROWS))
        };
        page.remark(format_args!("{}{of}: {subject}: {}", pool.name, pool.why));
        for candidate in pool.candidates.iter().filter(is_shown) {
            details(candidate, page);
        }
    }
    for pool in &report.pools {
        guests_of(pool, page);
    }
    let mut shown = report.pools.iter().flat_map(|pool| &pool.candidates).filter(is_shown);
    if shown.any(|candidate| !candidate.coverage.guests_by_targets.is_empty()) {
        page.remark("Targets are counted by labels; what room, volumes and other pods leave of them: cpufit drain");
    }
    for line in what_if.iter().flat_map(WhatIf::lines) {
        page.remark(line);
    }
    remarks(report, page);
}

fn row(pool: &PoolReport, candidate: &CandidateReport) -> Vec<String> {
    let CandidateReport { model, runs_on, leaves_out, drawbacks, coverage, .. } = candidate;
    let mut note = drawbacks.clone();
    if pool.model.as_ref() == Some(model) {
        note.insert(0, "<- recommended".to_owned());
    }
    vec![
        pool.name.clone(),
        model.clone(),
        format!("{}/{}", runs_on.len(), pool.nodes),
        plural::fold_names(leaves_out, MAX_ROWS),
        targets(coverage),
        note.join(", "),
    ]
}

/// Returns `2 would have 0, 310 would have 4`.
fn targets(coverage: &Coverage) -> String {
    let Coverage { guests_by_targets, cannot_start, not_migratable, unknown } = coverage;
    let counts = guests_by_targets.iter().map(|(targets, guests)| format!("{guests} would have {targets}"));
    let mut out: Vec<String> = counts.collect();
    if out.len() > MAX_ROWS {
        let least = guests_by_targets.iter().nth(MAX_ROWS - 1).map_or(0, |(targets, _)| *targets);
        let most = guests_by_targets.keys().next_back().copied().unwrap_or(least);
        let guests: usize = guests_by_targets.values().skip(MAX_ROWS - 1).sum();
        out.truncate(MAX_ROWS - 1);
        out.push(format!("{guests} would have {least} to {most}"));
    }
    if *cannot_start > 0 {
        out.insert(0, format!("{cannot_start} could not start there"));
    }
    if *not_migratable > 0 {
        out.push(format!("{not_migratable} not live-migratable"));
    }
    if *unknown > 0 {
        out.push(format!("{unknown} unknown"));
    }
    out.join(", ")
}

/// Prints the guests of a pool that no number of targets describes.
fn guests_of(pool: &PoolReport, page: &mut Page) {
    let PoolReport { name, guests, not_evacuated, elsewhere, .. } = pool;
    if *not_evacuated > 0 {
        let are = plural::number(*not_evacuated, "is", "are");
        let they = plural::number(*not_evacuated, "it is", "they are");
        page.remark(format_args!(
            "{name}: {not_evacuated} of {} there {are} not migrated when {they} evicted, whatever the model; why: cpufit drain",
            plural::counted(*guests, "guest", "guests")
        ));
    }
    if *elsewhere > 0 {
        let (run, start) =
            (plural::number(*elsewhere, "runs", "run"), "could start with a named model on these nodes only");
        page.remark(format_args!(
            "{name}: {} {run} on other nodes now and {start}; not counted above",
            plural::counted(*elsewhere, "guest", "guests")
        ));
    }
}

fn details(candidate: &CandidateReport, page: &mut Page) {
    let CandidateReport { model, lacks, lose, gain, leaves_out, .. } = candidate;
    if lacks.is_empty() && !leaves_out.is_empty() {
        let verb = plural::number(leaves_out.len(), "lacks", "lack");
        page.remark(format_args!(
            "{model}: {} {verb} the label cpu-model {model}; which features the model has is not known here",
            plural::fold_names(leaves_out, MAX_ROWS)
        ));
    }
    for lack in lacks {
        let nodes = plural::fold_names(&lack.nodes, MAX_ROWS);
        let verb = plural::number(lack.nodes.len(), "lacks", "lack");
        if lack.features.is_empty() {
            page.remark(format_args!(
                "{model}: by labels, {nodes} {verb} no feature of it, only the label cpu-model {model}"
            ));
        } else {
            page.remark(format_args!("{model}: {nodes} {verb} {}", plural::fold_names(&lack.features, MAX_ROWS)));
        }
    }
    let its = plural::number(lose.guests, "its", "their");
    for (FeatureChange { guests, features }, what) in
        [(lose, format!(" with the CPU of {its} host would lose")), (gain, " would gain".to_owned())]
    {
        if *guests > 0 {
            let guests = plural::counted(*guests, "guest", "guests");
            page.remark(format_args!("{model}: {guests}{what} {}", plural::fold_names(features, MAX_ROWS)));
        }
    }
}

fn remarks(report: &Recommendations, page: &mut Page) {
    for policy in &report.without_pool {
        page.remark(format_args!("CPUPolicy {}: no pool: {}", policy.policy, policy.why));
    }
    for at in &report.no_nodes {
        page.remark(format_args!("No node has the labels of --node-selector number {}", at + 1));
    }
    if !report.withheld.is_empty() {
        let names = plural::fold_names(&report.withheld, MAX_ROWS);
        page.remark(format_args!("Not considered: {names}, withheld by the cluster's obsoleteCPUModels"));
    }
    for unknown in &report.unknown_models {
        let nodes = plural::fold_names(&unknown.nodes, MAX_ROWS);
        page.remark(format_args!("Not considered: {}, a model that is not known here ({nodes})", unknown.model));
    }
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for row in &report.not_counted {
        match reasons.iter_mut().find(|(why, _)| *why == row.why) {
            Some((_, nodes)) => nodes.push(&row.node),
            None => reasons.push((&row.why, vec![&row.node])),
        }
    }
    for (why, nodes) in reasons {
        page.remark(format_args!("Not counted: {}: {why}", plural::fold_names(&nodes, MAX_ROWS)));
    }
}
