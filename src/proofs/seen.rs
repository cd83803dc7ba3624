//! All answers about a situation, by channel.

use std::collections::BTreeSet;

use clap::Parser as _;
use serde_json::Value;

use super::{Fault, variants, vocabulary};
use crate::admission::Webhook;
use crate::admission::response::{Decision, lines};
use crate::admission::review::decode;
use crate::answers::libvirt_plan::Survey;
use crate::answers::{audit, status};
use crate::cli;
use crate::cli::args::{Args, Verb};
use crate::cli::explain::Explained;
use crate::cli::output::{ResultOrigin, ResultRow};
use crate::cli::resource::ObjectKind;
use crate::fit::judgement::Depth;
use crate::judge::{self, Evaluation, Manifest};
use crate::kubevirt::replicas::ReplicasKind;
use crate::page::Page;
use crate::policy::UserName;
use crate::review::{self, ReviewContext};
use crate::testing::situation::{NAMESPACE, Situation, object};
use crate::testing::{NEVER, NO_TIME};
use crate::world::World;

/// The channel of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Channel {
    /// A warning in a review's response.
    Warning,
    /// The first line of a denial.
    Denial,
    /// A further line of a denial.
    Detail,
    /// A cause of a denial.
    Cause,
    /// An Event's note.
    Event,
    /// An audit annotation.
    Annotation,
    /// A cell of a table.
    Cell,
    /// Any other line of a page.
    Line,
    /// A sentence in JSON.
    Json,
    /// A condition of a policy's status.
    Condition,
}

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) channel: Channel,
    pub(super) line: String,
}

/// An answer to a query.
pub(super) struct Answered {
    /// The query.
    pub(super) asked: String,
    /// The object of the query, if it is not in the dump.
    pub(super) object: Value,
    pub(super) said: Vec<Said>,
    /// The fields that the causes of a denial name.
    pub(super) causes: Vec<String>,
    /// The answer as `-o json` prints it, if a guest was judged.
    pub(super) row: Value,
    pub(super) case: Option<Evaluation<'static>>,
}

/// A situation and all answers about it.
pub(super) struct Seen {
    pub(super) situation: Situation,
    pub(super) answered: Vec<Answered>,
    /// All words of all objects.
    pub(super) words: BTreeSet<String>,
}

impl Seen {
    pub(super) fn of(situation: &Situation) -> Self {
        let world = situation.world();
        let mut answered: Vec<Answered> =
            situation.objects.iter().filter_map(|object| explained(&world, object)).collect();
        answered.extend(situation.reviews.iter().flat_map(|review| reviewed(&world, review)));
        answered.push(audited(&world));
        answered.push(statuses(&world));
        let words = vocabulary::of_situation(situation);
        Self { situation: situation.clone(), answered, words }
    }

    /// Returns the possible texts that occurred.
    pub(super) fn variants(&self) -> BTreeSet<String> {
        let verdicts = self.answered.iter().filter_map(|answered| answered.case.as_ref()).map(|case| &case.verdict);
        verdicts.flat_map(variants::of).collect()
    }

    /// Returns all command lines that are shown.
    pub(super) fn commands(&self) -> BTreeSet<String> {
        self.answered.iter().flat_map(Answered::commands).collect()
    }
}

fn strings<'v>(value: &'v Value, out: &mut Vec<&'v str>) {
    match value {
        Value::String(text) => out.push(text),
        Value::Array(items) => items.iter().for_each(|item| strings(item, out)),
        Value::Object(fields) => fields.values().for_each(|field| strings(field, out)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

impl Answered {
    fn new(asked: impl Into<String>) -> Self {
        Self {
            asked: asked.into(),
            object: Value::Null,
            said: Vec::new(),
            causes: Vec::new(),
            row: Value::Null,
            case: None,
        }
    }

    fn say(&mut self, channel: Channel, lines: impl IntoIterator<Item = impl Into<String>>) {
        for line in lines {
            let said = Said { channel, line: line.into() };
            if !self.said.contains(&said) {
                self.said.push(said);
            }
        }
    }

    /// Adds a page: the cells of its tables, and its lines without their prefixes.
    fn page(&mut self, page: &Page) {
        for line in page.as_str().lines().filter(|line| !line.is_empty()) {
            let (command, remark) = line.split_once("      # ").unwrap_or((line, ""));
            let led = command.trim_start_matches(|c: char| c.is_ascii_digit() || c == '-');
            let led = if led.starts_with("  ") { led.trim_start() } else { command };
            let cells: Vec<&str> = led.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
            match cells.as_slice() {
                [one] => self.say(Channel::Line, [*one]),
                many => self.say(Channel::Cell, many.iter().copied()),
            }
            self.say(Channel::Line, Some(remark).filter(|remark| !remark.is_empty()));
        }
    }

    /// Adds the output of `explain` about an evaluation, as a table and as JSON.
    fn explained(&mut self, world: &World, object: &Value, case: Evaluation<'static>) {
        let (survey, mut page) = (Survey::of(world), Page::default());
        Explained::of(&case, None, &survey, false).print(&[], &mut page);
        self.page(&page);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
        let row = ResultRow::new(ResultOrigin { kind, name, ..ResultOrigin::default() }, &case, &survey, false);
        self.row = serde_json::to_value(row).expect("JSON");
        let mut sentences = Vec::new();
        for (list, fields) in [
            ("findings", &["message"][..]),
            ("remedies", &["summary", "risk"]),
            ("notHelping", &["why"]),
            ("byLuck", &["why", "summary", "risk"]),
        ] {
            for item in self.row[list].as_array().into_iter().flatten() {
                for field in fields {
                    strings(&item[*field], &mut sentences);
                }
            }
        }
        let sentences: Vec<String> = sentences.into_iter().map(str::to_owned).collect();
        self.say(Channel::Json, sentences);
        self.case = Some(case);
    }

    /// Returns all command lines of the JSON, without remarks.
    pub(super) fn commands(&self) -> Vec<String> {
        let mut out = Vec::new();
        let lists = ["remedies", "byLuck"].map(|list| self.row[list].as_array());
        for remedy in lists.into_iter().flatten().flatten() {
            strings(&remedy["commands"], &mut out);
            strings(&remedy["undo"], &mut out);
        }
        out.into_iter().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    }

    /// Returns contradictions in the answer.
    pub(super) fn contradictions(&self) -> Vec<Fault> {
        let ids = |list: &str| -> Vec<&str> {
            self.row[list].as_array().into_iter().flatten().filter_map(|item| item["id"].as_str()).collect()
        };
        let (offered, useless, luck) = (ids("remedies"), ids("notHelping"), ids("byLuck"));
        let mut out = Vec::new();
        for id in &useless {
            if offered.contains(id) || luck.contains(id) {
                out.push(Fault::new("a remedy is offered and said not to help", format!("{}: {id}", self.asked)));
            }
            if useless.iter().filter(|other| *other == id).count() > 1 {
                out.push(Fault::new("a remedy is said not to help twice", format!("{}: {id}", self.asked)));
            }
        }
        for id in &luck {
            if offered.contains(id) {
                out.push(Fault::new("a remedy is certain and a matter of luck", format!("{}: {id}", self.asked)));
            }
        }
        out
    }
}

/// Returns the answer of `explain` about an object of the dump.
fn explained(world: &World, object: &Value) -> Option<Answered> {
    let name = object["metadata"]["name"].as_str()?.to_owned();
    let kind = match object["kind"].as_str()? {
        "VirtualMachine" => ObjectKind::VirtualMachine,
        "VirtualMachineInstance" => ObjectKind::Vmi,
        "VirtualMachineInstanceMigration" => ObjectKind::Migration,
        "Pod" if object["spec"]["nodeName"].is_null() => ObjectKind::Pod,
        "VirtualMachineInstanceReplicaSet" => ObjectKind::Replicas(ReplicasKind::ReplicaSet),
        "VirtualMachinePool" => ObjectKind::Replicas(ReplicasKind::Pool),
        _ => return None,
    };
    let mut answered = Answered::new(format!("explain {} {name}", object["kind"]));
    // A VM with a running guest is explained by that guest, and then by its next start.
    let next = cli::explain::next_start(world, kind, NAMESPACE, &name);
    answered.explained(world, object, next.or_else(|| cli::explain::case_of(world, kind, NAMESPACE, &name))?);
    Some(answered)
}

/// Returns the webhook's answers to a review, in both stages.
fn reviewed(world: &World, review: &Value) -> Vec<Answered> {
    let text = review.to_string();
    let request = decode(text.as_bytes()).unwrap_or_else(|error| panic!("{error}: {review:#}"));
    let who = format!("{} {} {}", review["request"]["operation"], &*request.kind.kind, &*request.name);
    let mut out = Vec::new();
    let is_asked = !world.cluster.libvirt.is_empty();
    for webhook in [Webhook::Mutate, Webhook::Validate] {
        let is_changed = matches!(&*request.kind.kind, "Pod" | "VirtualMachineInstance");
        if webhook == Webhook::Mutate && !is_changed {
            continue;
        }
        let mut answered = Answered::new(format!("{webhook:?} {who}"));
        answered.object = review["request"]["object"].clone();
        if webhook == Webhook::Validate && is_guest(&request.kind.kind) && review["request"]["operation"] == "CREATE" {
            answered.judged_again(world, &review["request"]["object"]);
        }
        // The webhook never asks libvirt.
        if is_asked {
            out.push(answered);
            continue;
        }
        let answer = review::answer(&ReviewContext::new(world), webhook, &request);
        let answer = answer.unwrap_or_else(|error| panic!("{error}: {review:#}"));
        answered.say(Channel::Warning, answer.decision.warnings());
        let (Decision::Admit { audit, .. } | Decision::Deny { audit, .. }) = &answer.decision;
        answered.say(Channel::Annotation, audit.values().cloned());
        if let Decision::Deny { denial, .. } = &answer.decision {
            let mut denied = lines(denial);
            answered.say(Channel::Denial, denied.next());
            answered.say(Channel::Detail, denied);
            answered.causes.extend(denial.causes.iter().map(|cause| cause.field.clone()));
            answered.say(Channel::Cause, denial.causes.iter().map(|cause| cause.message.clone()));
        }
        answered.say(Channel::Event, answer.reports.iter().map(|report| report.note.as_str()));
        out.push(answered);
    }
    out
}

fn is_guest(kind: &str) -> bool {
    matches!(
        kind,
        "VirtualMachine"
            | "VirtualMachineInstance"
            | "VirtualMachineInstanceMigration"
            | "VirtualMachineInstanceReplicaSet"
            | "VirtualMachinePool"
    )
}

impl Answered {
    /// Judges the object as `check` and `explain -f` do.
    fn judged_again(&mut self, world: &World, json: &Value) {
        use crate::kubevirt::cluster::ClusterObject;
        let manifest = match object(json) {
            Some(ClusterObject::VirtualMachine(vm)) => Manifest::VirtualMachine(vm),
            Some(ClusterObject::Vmi(vmi)) => Manifest::Vmi(vmi),
            Some(ClusterObject::Migration(vmim)) => Manifest::Migration(vmim),
            Some(ClusterObject::Replicas(replicas)) => Manifest::Replicas(replicas),
            _ => return,
        };
        if let Some(case) = judge::judge(world, &manifest, &UserName::from(""), Depth::Full) {
            self.explained(world, json, case);
        }
    }
}

fn audited(world: &World) -> Answered {
    let mut answered = Answered::new("audit");
    let parsed = Args::try_parse_from(["cpufit", "audit", "-o", "wide"]).expect("a command line");
    let Verb::Audit(args) = parsed.verb else { unreachable!("it is an audit") };
    let mut page = Page::default();
    let wanted = cli::audit::WantedGuests::of(&args, None, "default", world).expect("all guests");
    cli::audit::run(&args, &wanted, world, &mut page).expect("a page");
    answered.page(&page);
    for row in audit::audit(world, &|| false) {
        answered.say(Channel::Json, Some(row.why).filter(|why| !why.is_empty()));
    }
    answered
}

fn statuses(world: &World) -> Answered {
    let mut answered = Answered::new("status");
    for status in status::statuses(world, NEVER, NO_TIME) {
        let messages = status.conditions().map(|condition| condition.message);
        answered.say(Channel::Condition, messages.into_iter().filter(|message| !message.is_empty()));
    }
    answered
}
