//! `cpufit audit`: every guest judged, worst first.

use serde::Serialize;

use super::args::{AuditArgs, AuditOutput, FailOn};
use crate::answers::audit::{Answer, AuditRow, Severity, Stand, audit};
use crate::cli::resource::ObjectKind;
use crate::page::{Page, PageError};
use crate::say::plural;
use crate::world::World;

/// What `--fail-on` makes of it: the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audited {
    /// No guest is as badly off as that.
    Passed,
    /// At least one is.
    Failed,
}

#[derive(Debug, Serialize)]
struct Report<'r> {
    items: &'r [AuditRow],
    summary: Summary,
}

/// How many guests are in which state; each stands in the worst one.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    guests: usize,
    own_node: usize,
    unschedulable: usize,
    pinned: usize,
    fragile: usize,
    fits: usize,
    unknown: usize,
    off_common_model: usize,
    stale: usize,
    changed: usize,
    denied: usize,
    warned: usize,
}

impl Summary {
    fn of(rows: &[AuditRow]) -> Self {
        let count = |is: &dyn Fn(&AuditRow) -> bool| rows.iter().filter(|row| is(row)).count();
        let severity = |wanted: Severity| count(&|row| row.severity() == wanted);
        let unknown = count(&|row| row.severity() == Severity::None && row.verdict == "unknown");
        Self {
            guests: rows.len(),
            own_node: severity(Severity::OwnNode),
            unschedulable: severity(Severity::Unschedulable),
            pinned: severity(Severity::Pinned),
            fragile: severity(Severity::Fragile),
            fits: severity(Severity::None) - unknown,
            unknown,
            off_common_model: count(&|row| row.on_common_model == Some(false)),
            stale: count(&|row| !row.stale.is_empty()),
            changed: count(&|row| row.change.is_some()),
            denied: count(&|row| row.answer == Answer::Deny),
            warned: count(&|row| row.answer == Answer::Warn),
        }
    }
}

/// Runs the verb for the guests of this namespace, or of all.
///
/// # Errors
///
/// It cannot be written as JSON or YAML.
pub fn run(args: &AuditArgs, only: Option<&str>, world: &World, page: &mut Page) -> Result<Audited, PageError> {
    let mut rows = audit(world, &|| false);
    if let Some(namespace) = only {
        rows.retain(|row| row.namespace == *namespace);
    }
    if let Some(selector) = &args.list.selector {
        rows.retain(|row| {
            super::labels_of_guest(world, &row.namespace, &row.name).is_some_and(|l| selector.matches(l))
        });
    }
    let summary = Summary::of(&rows);
    match args.output {
        AuditOutput::Table | AuditOutput::Wide => {
            people(&rows, &summary, args, !world.policies.is_empty(), page);
        }
        AuditOutput::Name => rows.iter().for_each(|row| {
            let is_running = world.cluster.vmi(&row.namespace, &row.name).is_some();
            let kind = if is_running { ObjectKind::Vmi } else { ObjectKind::VirtualMachine };
            page.line(kind.title(&row.name));
        }),
        AuditOutput::Json => page.json(&Report { items: &rows, summary })?,
        AuditOutput::Yaml => page.yaml(&Report { items: &rows, summary })?,
    }
    let limit = args.fail_on.map(|state| match state {
        FailOn::Fragile => Severity::Fragile,
        FailOn::Pinned => Severity::Pinned,
        FailOn::Unschedulable => Severity::Unschedulable,
        FailOn::OwnNode => Severity::OwnNode,
    });
    let failed = limit.is_some_and(|limit| rows.iter().any(|row| row.severity() >= limit));
    Ok(if failed { Audited::Failed } else { Audited::Passed })
}

fn people(rows: &[AuditRow], summary: &Summary, args: &AuditArgs, policies: bool, page: &mut Page) {
    if rows.is_empty() {
        return page.line(concat!("no guests: does the dump hold what `", crate::dump_command!(), "` prints?"));
    }
    let wide = args.output == AuditOutput::Wide;
    let mut cells = if args.list.no_headers { Vec::new() } else { vec![head(wide)] };
    cells.extend(rows.iter().map(|row| line(row, wide)));
    page.listing(&cells);
    page.line(totals(summary));
    if policies {
        page.line(ruled(rows, summary));
    }
}

fn head(wide: bool) -> Vec<String> {
    let more: &[&str] = if wide { &["CAUSE", "INHERITED", "STALE", "POLICY", "ON-MODEL"] } else { &[] };
    ["GUEST", "NODE", "CPU", "STATE", "STARTS", "TARGETS"]
        .iter()
        .chain(more)
        .chain(&["WHY"])
        .map(ToString::to_string)
        .collect()
}

fn line(row: &AuditRow, wide: bool) -> Vec<String> {
    let dash = || "-".to_owned();
    // Before its start its own node is among those judged.
    let (starts, targets) = match row.start_nodes {
        None => (dash(), format!("{}/{}", row.targets, row.judged)),
        Some(0) => (format!("0/{}", row.judged), dash()),
        Some(starts) => {
            (format!("{starts}/{}", row.judged), format!("{}/{}", row.targets, row.judged.saturating_sub(1)))
        }
    };
    let node = match row.stand {
        Stand::Stopped => "(stopped)".to_owned(),
        Stand::Running | Stand::Starting => row.node.clone().unwrap_or_else(dash),
    };
    let mut out = vec![row.guest.clone(), node, row.cpu.clone(), row.state().to_owned(), starts, targets];
    if wide {
        out.push(row.cause.map_or_else(dash, str::to_owned));
        out.push(row.inherited.to_string());
        out.push(stale(&row.stale));
        out.push(row.policy.clone().unwrap_or_else(dash));
        out.push(row.on_common_model.map_or_else(dash, |on| if on { "yes" } else { "no" }.to_owned()));
    }
    out.push(if row.why.is_empty() { dash() } else { row.why.clone() });
    out
}

/// `fpu,vme,+3`: a cell without blanks, and `-` where there is none.
fn stale(features: &[String]) -> String {
    const MOST: usize = 3;
    let more = features.len().checked_sub(MOST).filter(|more| *more > 0).map(|more| format!("+{more}"));
    let cell = features.iter().take(MOST).cloned().chain(more).collect::<Vec<_>>().join(",");
    if cell.is_empty() { "-".to_owned() } else { cell }
}

/// `6 guests: 1 in danger on its own node, 2 can migrate nowhere, 3 fit`.
fn totals(summary: &Summary) -> String {
    let Summary { guests, own_node, unschedulable, pinned, fragile, fits, unknown, .. } = summary;
    let parts = [
        (own_node, "in danger on the own node"),
        (unschedulable, "cannot start"),
        (pinned, "can migrate nowhere"),
        (fragile, "with one node left"),
        (unknown, "unknown"),
        (fits, "well"),
    ];
    let told: Vec<String> =
        parts.iter().filter(|(count, _)| **count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    let noun = if *guests == 1 { "guest" } else { "guests" };
    format!("{guests} {noun}: {}", told.join(", "))
}

/// What the policies would say if everything were asked for anew.
fn ruled(rows: &[AuditRow], summary: &Summary) -> String {
    let names = |is: &dyn Fn(&AuditRow) -> bool| {
        let names: Vec<&str> = rows.iter().filter(|row| is(row)).map(|row| row.guest.as_str()).collect();
        if names.is_empty() { String::new() } else { format!(" ({})", plural::fold_names(&names, 3)) }
    };
    format!(
        "Under the policies, asked for by a person now: {} denied{}, {} warned about{}; {} not on the common model, {} would get \
         it at the next start{}",
        summary.denied,
        names(&|row| row.answer == Answer::Deny),
        summary.warned,
        names(&|row| row.answer == Answer::Warn),
        summary.off_common_model,
        summary.changed,
        names(&|row| row.change.is_some())
    )
}
