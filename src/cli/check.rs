//! `cpufit check`: judges manifests as the webhook would.

use std::io::{ErrorKind, Read};

use anyhow::{Context, anyhow, bail};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::args::{CheckArgs, CheckOutput};
use super::gate::Gate;
use super::judged::{Mutated, is_selected, judged, judged_with, mutation, origin, patched, settle};
use super::output::{Near, Numbering, ResultOrigin, ResultRow, Skipped};
use super::remedies::{about_first, all_weighed};
use super::resource::ObjectKind;
use super::room::FittingRoom;
use super::targets::note_namespaces;
use super::{Exit, Namespace, ci, gate, tsc};
use crate::admission::Webhook;
use crate::admission::response::{Decision, render};
use crate::admission::review::decode;
use crate::answers::libvirt_plan::Survey;
use crate::answers::obstacles::Obstacles;
use crate::answers::state::state;
use crate::console;
use crate::domain::Domain;
use crate::fit::check::{Doubt, Reported};
use crate::fit::judgement::Depth;
use crate::fit::label;
use crate::fit::plural;
use crate::fit::syntax;
use crate::judge::{Evaluation, Manifest, judge_change};
use crate::kubevirt::placement;
use crate::kubevirt::resource::Resource;
use crate::kubevirt::wire::Pod;
use crate::page::Page;
use crate::policy::{Exemption, Policy, UserName};
use crate::review::{self, ReviewContext};
use crate::say;
use crate::snapshot::{self, DumpSource, Item};
use crate::world::{World, is_policy};

/// Maximum number of nodes in a cell of `-o wide`.
const MAX_NODES: usize = 8;
/// Maximum number of inputs and objects that cannot be read before the rest is left.
const MAX_UNREAD: usize = 20;
/// Why a gate that cannot fail is refused.
const WOULD_PASS: &str = "--fail-on would pass whatever the guests are";
const ADMITTED_AS_CHANGE: &str = "denied as a new object; the stored one would be denied too, so the webhook admits this change, which \
                                  makes nothing worse";

#[derive(Debug, Serialize)]
struct CheckResults {
    results: Vec<ResultRow>,
    /// Why an input or an object could not be read, an error each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unread: Vec<String>,
}

/// Runs the verb, and returns what could not be read or judged, an error each: the other objects are judged.
///
/// # Errors
///
/// Returns the reason why nothing can be judged, or why a gate would pass whatever the guests are.
pub fn run(
    args: &CheckArgs,
    files: &[DumpSource],
    world: &World,
    namespace: &Namespace,
    stdin: impl Read,
    page: &mut Page,
) -> anyhow::Result<(Exit, Vec<anyhow::Error>)> {
    if args.mutated && args.output != CheckOutput::Yaml {
        bail!("--mutated prints objects: use -o yaml with it");
    }
    if let Some(why) = Some(&args.fail_on).filter(|states| !states.is_empty()).and_then(|_| gate::blind(world)) {
        bail!("{why}: {WOULD_PASS}");
    }
    gate::note_kubevirt(world);
    let mut judged = Judged::default();
    let mut unread = Vec::new();
    let survey = Survey::of(world);
    let mut numbering = Numbering::default();
    snapshot::read_each(files, &world.cluster.domain, stdin, |read| {
        let outcome = read.map_err(of_no_file).and_then(|item| {
            let index = numbering.of(&item.place.file);
            if is_selected(&item, args.selector.as_ref()) {
                judged.add(item, index, args, &survey, namespace)
            } else {
                Ok(())
            }
        });
        unread.extend(outcome.err());
        if unread.len() < MAX_UNREAD { Ok(()) } else { Err(()) }
    })
    .unwrap_or_else(|()| unread.push(anyhow::anyhow!("what follows is not read, after {MAX_UNREAD} errors")));
    let exit = judged.print(args, world, &unread, page)?;
    Ok((exit, unread))
}

/// Returns the error of an input, with a tip if its name is one of a guest of the cluster and no file.
fn of_no_file(error: snapshot::Error) -> anyhow::Error {
    let is_guest = matches!(&error, snapshot::Error::Read { file, reason } if reason.kind() == ErrorKind::NotFound
        && ObjectKind::of_word(file.split('/').next().unwrap_or_default()).is_some());
    if !is_guest {
        return error.into();
    }
    anyhow!("{error}; this verb judges manifests: for what runs on the cluster use explain, with the same arguments")
}

/// The results of a run, in the order of the objects.
#[derive(Default)]
struct Judged {
    rows: Vec<ResultRow>,
    /// The answers to reviews, and whether each is a denial.
    responses: Vec<(Vec<u8>, bool)>,
    /// The objects as the webhook changes them.
    objects: Vec<Value>,
}

impl Judged {
    /// Judges an object of a file.
    fn add(
        &mut self,
        item: Item,
        index: usize,
        args: &CheckArgs,
        survey: &Survey<'_>,
        namespace: &Namespace,
    ) -> anyhow::Result<()> {
        let world = survey.world;
        let judged = namespace.of(item.clone())?;
        if args.output == CheckOutput::Review {
            self.responses.push(response(world, &judged)?);
            return Ok(());
        }
        let mutated = mutation(world, &judged)?;
        let object = if args.mutated { Some(object_of(&patched(item, &mutated.patch)?)?) } else { None };
        self.rows.push(mutated_row(survey, judged, mutated, index, args.predict)?);
        self.objects.extend(object);
        Ok(())
    }

    /// Prints the results, and returns the exit code that they give.
    fn print(self, args: &CheckArgs, world: &World, unread: &[anyhow::Error], page: &mut Page) -> anyhow::Result<Exit> {
        let domain = &world.cluster.domain;
        let gate = Gate(&args.fail_on);
        let unread: Vec<String> = unread.iter().map(|error| format!("{error:#}")).collect();
        ci::annotated(domain, &unread, |page| ci::annotations(&self.rows, gate, page));
        // An empty report would pass where a program reads it.
        let is_report = matches!(args.output, CheckOutput::Junit | CheckOutput::Sarif);
        if self.rows.is_empty() && self.responses.is_empty() && !unread.is_empty() && !is_report {
            return Ok(Exit::Trouble);
        }
        let Self { rows, responses, objects } = self;
        if args.output == CheckOutput::Review {
            let denied = responses.iter().any(|(_, denied)| *denied);
            for (json, _) in responses {
                // The page replaces KubeVirt's own names by the cluster's again.
                let json = domain.exchanged(&json);
                page.json_line(&serde_json::from_slice::<&RawValue>(&json)?)?;
            }
            return Ok(Exit::failed_if(denied));
        }
        gone(args, world, &rows)?;
        if unread.is_empty() {
            foreign(args, &rows, domain)?;
        }
        let failed = rows.iter().any(|row| gate.failure(row).is_some());
        match args.output {
            CheckOutput::Yaml if args.mutated => {
                objects.iter().try_for_each(|object| page.manifest(object))?;
            }
            CheckOutput::Json => page.json(&CheckResults { results: rows, unread })?,
            CheckOutput::Yaml => page.yaml(&CheckResults { results: rows, unread })?,
            CheckOutput::Name => {
                for row in &rows {
                    page.line(row.title());
                }
                note_namespaces(rows.iter().map(|row| row.namespace.as_str()), domain);
            }
            CheckOutput::Junit => {
                let mut suites = ci::suites(&rows, gate);
                ci::add_unread(&mut suites, unread);
                ci::junit("cpufit check", &suites, page);
            }
            CheckOutput::Sarif => {
                let mut report = page.for_others();
                report.json(&ci::sarif(&rows, gate, &unread))?;
                page.append(&report);
            }
            CheckOutput::Table | CheckOutput::Wide | CheckOutput::Review => people(&rows, args, page),
        }
        Ok(Exit::failed_if(failed))
    }
}

/// Notes that no object is of a kind that is judged; with a gate, that is an error.
fn foreign(args: &CheckArgs, rows: &[ResultRow], domain: &Domain) -> anyhow::Result<()> {
    let is_foreign = |row: &ResultRow| matches!(row.skipped, Some(Skipped::OtherKind | Skipped::NoLauncher));
    if !rows.iter().all(is_foreign) {
        return Ok(());
    }
    let text = match rows.len() {
        0 if args.selector.is_some() => "no object is selected".to_owned(),
        0 => "no object is there".to_owned(),
        many => format!("none of {} is of a kind that is judged", plural::counted(many, "object", "objects")),
    };
    if !args.fail_on.is_empty() {
        bail!("{text}: {WOULD_PASS}");
    }
    console::note(domain, text);
    Ok(())
}

/// Notes guests of namespaces that do not exist and are not among the manifests; with a gate, that is an error, because
/// the policies that govern them are not known.
fn gone(args: &CheckArgs, world: &World, rows: &[ResultRow]) -> anyhow::Result<()> {
    let come = rows.iter().filter(|row| row.kind == Resource::Namespaces.kind()).map(|row| row.name.clone()).collect();
    let judged = || rows.iter().filter(|row| row.skipped.is_none());
    for why in gate::absent_namespaces(world, judged().map(|row| row.namespace.as_str()), &come) {
        if !args.fail_on.is_empty() {
            bail!("{why}: which policies govern guests there is not known");
        }
        console::note(&world.cluster.domain, why);
    }
    Ok(())
}

/// Judges the objects of files as `check` prints them.
///
/// # Errors
///
/// Returns an error if an input cannot be read or judged.
pub fn rows(files: &[DumpSource], world: &World, namespace: &Namespace) -> anyhow::Result<Vec<ResultRow>> {
    let survey = Survey::of(world);
    let mut rows = Vec::new();
    let mut numbering = Numbering::default();
    snapshot::read_all(files, &world.cluster.domain, std::io::empty(), |item| {
        let index = numbering.of(&item.place.file);
        let judged = namespace.of(item)?;
        let mutated = mutation(world, &judged)?;
        rows.push(mutated_row(&survey, judged, mutated, index, false)?);
        anyhow::Ok(())
    })?;
    Ok(rows)
}

/// Returns the result for an object after the mutating webhook, with the warnings of both webhooks.
fn mutated_row(
    survey: &Survey<'_>,
    item: Item,
    mutated: Mutated,
    index: usize,
    predict: bool,
) -> anyhow::Result<ResultRow> {
    let Mutated { patch, warnings } = mutated;
    let row = row(survey, &patched(item, &patch)?, index, predict)?;
    let mut said = Decision::admit_with(warnings).warnings_in(&survey.world.cluster.domain);
    said.extend(row.warnings);
    Ok(ResultRow { patch: serde_json::to_value(patch)?, warnings: said, ..row })
}

fn row(survey: &Survey<'_>, item: &Item, index: usize, predict: bool) -> anyhow::Result<ResultRow> {
    let world = survey.world;
    let mut origin = origin(item, index);
    if item.is_review() {
        let request = decode(item.json.get().as_bytes()).with_context(|| item.place.to_string())?;
        origin.set_reviewed(&request);
        let case = review::case(world, &request).with_context(|| item.place.to_string())?;
        return Ok(match (case, &request.object) {
            (Some(case), _) => ResultRow::new(origin, &case, survey, predict),
            (None, Some(object)) if Resource::Pods.is(&request.kind.group, &request.kind.kind) => {
                stranger(origin, &object.pod().with_context(|| item.place.to_string())?, world)
            }
            (None, _) => {
                // An eviction, or an edit of a node or of KubeVirt's configuration: the warnings are about other
                // guests.
                let answer = review::answer(&ReviewContext::new(world), Webhook::Validate, &request);
                let warnings =
                    answer.with_context(|| item.place.to_string())?.decision.warnings_in(&world.cluster.domain);
                let why = if warnings.is_empty() { Skipped::NoEffect } else { Skipped::WarnsAboutOthers };
                ResultRow { warnings, ..ResultRow::skipped(origin, why) }
            }
        });
    }
    let mut row = match judged(world, item)? {
        // A controller creates launcher pods, and the webhook names it no remedies.
        Some(case) if Resource::Pods.is(item.group(), &item.kind) => {
            let row = ResultRow::new(origin.clone(), &case, survey, predict);
            let sent = judged_with(world, item, Depth::Brief)?.unwrap_or(case);
            let ResultRow { allowed, warnings, denial, .. } = ResultRow::new(origin, &sent, survey, false);
            ResultRow { allowed, warnings, denial, ..row }
        }
        Some(mut case) => {
            settle(&mut case, item, survey)?;
            let row = ResultRow::new(origin, &case, survey, predict);
            let mut row = with_remarks(row, &case, survey);
            if !row.allowed && is_admitted_as_change(world, item)? {
                row.remarks.push(format!("{}: {ADMITTED_AS_CHANGE}", case.prepared.subject.title()));
            }
            row
        }
        None if Resource::Pods.is(item.group(), &item.kind) => stranger(origin, &item.parse()?, world),
        None if is_policy(item) => {
            Policy::from_json(item.json.get()).with_context(|| item.place.to_string())?;
            ResultRow::skipped(origin, Skipped::ValidPolicy)
        }
        None => ResultRow::skipped(origin, Skipped::OtherKind),
    };
    row.remarks.extend(refused_by_api_server(item, &row));
    Ok(row)
}

/// Returns why the API server refuses a manifest before any webhook, for an `apiVersion` and a name.
fn refused_by_api_server(item: &Item, row: &ResultRow) -> Vec<String> {
    let Some(resource) = Resource::of(item.group(), &item.kind).filter(|_| row.skipped.is_none()) else {
        return Vec::new();
    };
    let ResultRow { kind, namespace, name, .. } = row;
    let version = item.api_version.rsplit('/').next().unwrap_or_default();
    let version = (!resource.is_served_in(version)).then(|| {
        format!(
            "apiVersion {} is not served: the API server refuses the object; it was judged as {}",
            item.api_version,
            resource.api_version()
        )
    });
    let named = if name.is_empty() { Err("a name is required") } else { syntax::subdomain(name.trim_end_matches('-')) };
    let misnamed = named
        .err()
        .map(|rule| format!("metadata.name {name:?} is not valid, so the API server refuses the object: {rule}"));
    version.into_iter().chain(misnamed).map(|why| format!("{kind} {namespace}/{name}: {why}")).collect()
}

/// Whether the webhook would admit a denied manifest as a change of the stored object, which it makes no worse.
fn is_admitted_as_change(world: &World, item: &Item) -> Result<bool, snapshot::Error> {
    let Some(manifest) = Manifest::read(item.group(), &item.kind, &item)? else { return Ok(false) };
    let Some(before) = manifest.stored(&world.cluster) else { return Ok(false) };
    let case = judge_change(world, Some(&before), &manifest, UserName::NOBODY, Depth::Brief.into());
    Ok(case.is_some_and(|case| case.exempted() == Some(Exemption::NotWorse)))
}

/// Adds what the webhook does not know: the room of nodes, the obstacles to remedies, and the volumes and rules that no
/// warning names.
fn with_remarks(row: ResultRow, case: &Evaluation<'_>, survey: &Survey<'_>) -> ResultRow {
    let cluster = &survey.world.cluster;
    let room = FittingRoom::of(case, None, cluster);
    let obstacles = Obstacles::of(&case.prepared.subject, None, survey.world, survey.residents(), &[]);
    let weighed = all_weighed(case, &room, &obstacles, &cluster.fleet);
    let row = row.with_room(case, &room, cluster).with_obstacles(case, &weighed, &cluster.fleet);
    let mut row = row.with_state(state(&case.verdict, &obstacles, room.is_nowhere()));
    let findings = &case.verdict.findings;
    let undecided = findings.iter().filter(|found| found.check.spec().doubt == Some(Doubt::Scheduler));
    let is_warned = |words: &String| row.warnings.iter().any(|warning| warning.contains(words.as_str()));
    let undecided = undecided.map(say::finding::message);
    let title = case.prepared.subject.title();
    // The webhook counts nodes by labels.
    let is_counted = findings.iter().any(|found| found.check.spec().reported == Reported::AsHeadline);
    let by_labels = if is_counted && room.is_nowhere() { "that is by labels alone: " } else { "" };
    let of_room = room.remarks(cluster).into_iter().map(|words| format!("{by_labels}{words}"));
    let remarks = undecided.chain(of_room).chain(about_first(case, &weighed)).filter(|words| !is_warned(words));
    let tsc = tsc::cure(case, cluster).map(|line| line.trim_end_matches('.').to_owned());
    row.remarks = remarks.chain(tsc).map(|words| format!("{title}: {words}")).collect();
    row
}

/// Returns the object; for a review, its object.
fn object_of(item: &Item) -> anyhow::Result<Value> {
    let mut whole: Value = serde_json::from_str(item.json.get())?;
    Ok(if item.is_review() { whole["request"]["object"].take() } else { whole })
}

/// Returns the result for a pod that is no launcher: no findings, but the nodes that take it.
fn stranger(origin: ResultOrigin, pod: &Pod<'_>, world: &World) -> ResultRow {
    let fleet = &world.cluster.fleet;
    let fitting = fleet.look_up(&placement::of_pod(pod)).passes().fitting;
    let mut row = ResultRow::skipped(origin, Skipped::NoLauncher);
    row.nodes.judged = fleet.len();
    row.nodes.fitting = fleet.names(&fitting).into_iter().map(str::to_owned).collect();
    row
}

/// Returns the response of the validating webhook to a review, and whether it denies. As in the API server, the object
/// passes the mutating webhook first, whose warnings come first.
fn response(world: &World, item: &Item) -> anyhow::Result<(Vec<u8>, bool)> {
    if !item.is_review() {
        bail!("{}: a {} is no AdmissionReview; -o review answers reviews only", item.place, item.kind);
    }
    let Mutated { patch, warnings: said } = mutation(world, item)?;
    let item = patched(item.clone(), &patch)?;
    let request = decode(item.json.get().as_bytes()).with_context(|| item.place.to_string())?;
    let answer = review::answer(&ReviewContext::new(world), Webhook::Validate, &request);
    let mut decision = answer.with_context(|| item.place.to_string())?.decision;
    let (Decision::Admit { warnings, .. } | Decision::Deny { warnings, .. }) = &mut decision;
    warnings.first.splice(0..0, said);
    let denied = matches!(decision, Decision::Deny { .. });
    Ok((render(Webhook::Validate, &request.uid, &decision, &world.cluster.domain)?, denied))
}

fn people(rows: &[ResultRow], args: &CheckArgs, page: &mut Page) {
    let is_wide = args.output == CheckOutput::Wide;
    let mut cells = Vec::new();
    if !args.no_headers {
        let more: &[&str] = if is_wide { &["NODES", "FILE"] } else { &[] };
        let head = ["KIND", "OBJECT", "VERDICT", "ALLOWED", "FITS"];
        cells.push(head.iter().chain(more).chain(&["NEAREST"]).map(ToString::to_string).collect());
    }
    for row in rows {
        let title = if row.namespace.is_empty() { row.name.clone() } else { format!("{}/{}", row.namespace, row.name) };
        let verdict = if row.skipped.is_some() { "-" } else { row.word() };
        let fits = if row.skipped.is_some() {
            "-".to_owned()
        } else {
            format!("{}/{}", row.nodes.fitting.len(), row.nodes.judged)
        };
        // Nodes of another architecture are counted in a warning.
        let is_foreign = |near: &&Near| near.missing.iter().any(|entry| entry.key == label::ARCH);
        let nearest = row.nearest.first().filter(|near| !is_foreign(near)).map(|near| {
            let missing: Vec<_> = near.missing.iter().map(|entry| (entry.key.clone(), entry.value.clone())).collect();
            let has = near.missing.iter().filter_map(|entry| Some((entry.key.clone(), entry.has.clone()?))).collect();
            format!("{} lacks {}", near.node, crate::fit::plural::fold_lack(&missing, &has, 3))
        });
        let nearest = nearest.unwrap_or_else(|| "-".to_owned());
        let allowed = if row.allowed { "yes" } else { "NO" };
        let mut line = vec![row.kind.clone(), title, verdict.to_owned(), allowed.to_owned(), fits];
        if is_wide {
            let at = row.line.map(|line| format!(":{line}")).unwrap_or_default();
            line.push(plural::compact(&row.nodes.fitting, MAX_NODES));
            line.push(format!("{}{at}", row.file));
        }
        line.push(nearest);
        cells.push(line);
    }
    page.listing(&cells);
    for row in rows {
        row.warnings.iter().for_each(|warning| page.line(format_args!("Warning: {warning}")));
        row.remarks.iter().for_each(|remark| page.line(format_args!("Note: {remark}")));
        // Line feeds in the denial separate its lines.
        let denial = row.denial.as_deref().unwrap_or_default().lines().enumerate();
        denial.for_each(|(at, line)| page.line(format_args!("{}{line}", if at == 0 { "Denied: " } else { "" })));
    }
}
