//! `cpufit drain`: the effect of a drain of nodes on their guests, and the fewest acts to do first.

use std::collections::{BTreeSet, HashMap};

use anyhow::{Context as _, bail, ensure};

use super::Exit;
use super::args::{DrainArgs, ListOutput};
use super::gate;
use super::resource::ObjectKind;
use super::targets::note_namespaces;
use crate::answers::drain::{
    DrainReport, DrainedNode, GuestRow, LeastAct, LeastProof, State, StaysUntil, drain, guests_of, missing,
};
use crate::answers::unanswered::Unanswered;
use crate::console::Progress;
use crate::fit::bits::Bits;
use crate::fit::command::{Command, Name, Namespace, Script, Step};
use crate::fit::fleet::NodeIndex;
use crate::fit::plural::{counted, fold_names, number, or_names};
use crate::fit::remedy::Outage;
use crate::fit::subject::MigrationLimit;
use crate::kubevirt::wire::Vmi;
use crate::page::Page;
use crate::policy::LabelSelector;
use crate::word::Word as _;
use crate::world::{World, no_nodes};

/// Returns the nodes to drain.
///
/// # Errors
///
/// Returns an error if a node is not known, or named twice.
pub(crate) fn nodes(args: &DrainArgs, world: &World) -> anyhow::Result<Vec<NodeIndex>> {
    let fleet = &world.cluster.fleet;
    let find = |name: &String| {
        fleet.find(name).with_context(|| format!("node/{name} not found: the names are those of `kubectl get nodes`"))
    };
    let mut nodes: Vec<NodeIndex> = Vec::new();
    for node in super::targets::nodes(&args.nodes)?.iter().map(find) {
        let node = node?;
        ensure!(!nodes.contains(&node), "node {} is named twice", fleet.name(node));
        nodes.push(node);
    }
    if args.all {
        ensure!(!fleet.is_empty(), "{}", no_nodes(&world.cluster));
        nodes = fleet.in_name_order();
    }
    if let Some(selector) = &args.selector {
        // An empty selector would select all nodes; `kubectl drain` has an error for it too.
        ensure!(
            *selector != LabelSelector::default(),
            "--selector is empty: name nodes, select them by labels, or take all with --all"
        );
        nodes = selected(world, selector);
        ensure!(!nodes.is_empty(), "no node has such labels");
    }
    Ok(nodes)
}

/// Returns the guests on these nodes, and those on their way there.
pub(crate) fn guests(nodes: &[NodeIndex], world: &World) -> Vec<Vmi> {
    guests_of(world, nodes).cloned().collect()
}

/// Runs the verb for these nodes.
///
/// # Errors
///
/// Returns an error if writing JSON or YAML fails, or if a dump does not hold the guests.
pub(crate) fn run(args: &DrainArgs, world: &World, nodes: &[NodeIndex], page: &mut Page) -> anyhow::Result<Exit> {
    let missing = missing(world, nodes);
    if missing.are_all_missing() {
        bail!("which guests run there is not known: {}", missing.without_vmi().unwrap_or_default());
    }
    gate::note_kubevirt(world);
    let judged = Progress::of("judged");
    let drained = drain(world, nodes, args.all || nodes.len() > 1, &|done, of| judged.at(done, of));
    match args.output {
        ListOutput::Table | ListOutput::Wide => people(&drained, args, page),
        ListOutput::Name => names(&drained, page),
        ListOutput::Json => page.json(&drained)?,
        ListOutput::Yaml => page.yaml(&drained)?,
    }
    Ok(if drained.has_failed() {
        Exit::Failed
    } else if drained.misses_guests {
        // The known guests leave; the dump lacks others that may run there.
        Exit::Trouble
    } else {
        Exit::Success
    })
}

/// Returns the nodes with these labels, by name.
fn selected(world: &World, selector: &LabelSelector) -> Vec<NodeIndex> {
    let fleet = &world.cluster.fleet;
    let with_labels = selector.nodes(fleet);
    fleet.in_name_order().into_iter().filter(|node| with_labels.contains(*node)).collect()
}

/// Prints the guests that do not simply leave, in kubectl's format.
fn names(drained: &DrainReport, page: &mut Page) {
    let guests = drained.nodes.iter().flat_map(|node| &node.guests);
    let named: Vec<(&str, &str)> = guests
        .filter(|guest| !matches!(guest.state, State::CanLeave | State::Ends))
        .map(|guest| guest.guest.split_once('/').unwrap_or(("", &guest.guest)))
        .collect();
    for (_, name) in &named {
        page.line(ObjectKind::Vmi.title(name));
    }
    note_namespaces(named.iter().map(|(namespace, _)| *namespace), page.domain());
}

fn people(drained: &DrainReport, args: &DrainArgs, page: &mut Page) {
    let rows = |node: &DrainedNode| -> Vec<Vec<String>> {
        match args.output {
            ListOutput::Wide => node.guests.iter().map(|guest| cells(guest, 0)).collect(),
            _ => folded(node),
        }
    };
    // Without headers, only the rows are printed.
    if args.no_headers {
        return page.table(&drained.nodes.iter().flat_map(rows).collect::<Vec<_>>());
    }
    let worth = |node: &&DrainedNode| drained.nodes.len() == 1 || !node.guests.is_empty();
    for node in drained.nodes.iter().filter(worth) {
        if !page.is_empty() {
            page.line("");
        }
        page.line(headline(node));
        let mut rows = rows(node);
        if !rows.is_empty() {
            rows.insert(0, ["GUEST", "STATE", "TARGETS", "WHY"].map(str::to_owned).to_vec());
        }
        page.table(&rows);
        pace(node, drained, page);
        refused(node, page);
    }
    if drained.nodes.len() > 1 && page.is_empty() {
        page.line(format_args!("{}: no guests", counted(drained.nodes.len(), "node", "nodes")));
    }
    least(drained, page);
    order(drained, page);
    for line in &drained.not_known {
        page.line(format_args!("Not known: {line}"));
    }
    for line in drained.libvirt.iter().flat_map(Unanswered::how_to_ask) {
        page.line(line);
    }
}

/// Prints the order for several nodes, or the guests that prevent one.
fn order(drained: &DrainReport, page: &mut Page) {
    const MAX_NODES_NAMED: usize = 20;
    let DrainReport { order_may_strand, order_assumes, order_tries, stranded, .. } = drained;
    match &drained.order {
        Some(order) if order.len() < 2 => {}
        Some(order) => {
            let more = order.len().saturating_sub(MAX_NODES_NAMED);
            let more = if more == 0 { String::new() } else { format!(" and {more} more (-o json lists all)") };
            let names = order.iter().take(MAX_NODES_NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
            let ends = if order_may_strand.is_empty() { "no guest is stuck" } else { "each guest can find a place" };
            page.line(format_args!("Order in which {ends}, each node drained and returned: {names}{more}"));
            if !order_may_strand.is_empty() {
                page.line(format_args!(
                    "Not sure: whether {} can leave in this order depends on where the scheduler puts guests; no order was found in which it does not",
                    fold_names(order_may_strand, 5),
                ));
            }
            if !order_assumes.is_empty() {
                page.line(format_args!("Assumed for the order: {}", order_assumes.join("; ")));
            }
        }
        None if drained.nodes.len() > 1 => {
            let none = match (order_tries, drained.only_staying_in_the_way()) {
                (Some(tries), _) => format!("none was found in {tries} tries in which no guest is stuck"),
                (None, None) => "in every order a guest is stuck".to_owned(),
                (None, Some(staying)) if staying.iter().all(|guest| guest.stays_until.is_none()) => {
                    "whether there is one in which every drain ends is not known".to_owned()
                }
                (None, Some(_)) => "in every order a drain waits for a guest that stays".to_owned(),
            };
            page.line(format_args!("Order: {none}; in the way: {}", fold_names(stranded, 5)));
        }
        None => {}
    }
}

/// Returns `node-a: 12 guests; 8 can leave, 3 have one target left, 1 cannot leave`.
fn headline(node: &DrainedNode) -> String {
    let parts = State::ALL.iter().copied().filter_map(|state| {
        let count = node.count(state);
        let words = match state {
            State::ShutDown => "would be shut down",
            State::Stuck => "cannot leave",
            State::Stays => return stays(node),
            State::Ends => number(count, "ends by itself", "end by themselves"),
            State::OneTarget => number(count, "has one target left", "have one target left"),
            State::CanLeave => "can leave",
        };
        (count > 0).then(|| format!("{count} {words}"))
    });
    let parts: Vec<String> = parts.collect();
    let guests = match node.guests.len() {
        0 => "no guests".to_owned(),
        count => counted(count, "guest", "guests"),
    };
    if parts.is_empty() {
        format!("{}: {guests}", node.node)
    } else {
        format!("{}: {guests}; {}", node.node, parts.join(", "))
    }
}

/// Returns `1 stays until it runs, 2 stay until another program or a user acts`; `None` if no guest stays.
fn stays(node: &DrainedNode) -> Option<String> {
    let all = || node.guests.iter().filter(|guest| guest.state == State::Stays);
    let until = [
        (Some(StaysUntil::Running), ["stays until it runs", "stay until they run"]),
        (
            Some(StaysUntil::Budget),
            ["stays until a budget allows its eviction", "stay until a budget allows their eviction"],
        ),
        (
            Some(StaysUntil::Others),
            ["stays until another program or a user acts", "stay until another program or a user acts"],
        ),
        (None, ["may stay (whether it can leave is not known)", "may stay (whether they can leave is not known)"]),
    ];
    let parts = until.into_iter().filter_map(|(until, [one, many])| {
        let count = all().filter(|guest| guest.stays_until == until).count();
        (count > 0).then(|| format!("{count} {}", number(count, one, many)))
    });
    let parts: Vec<String> = parts.collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn cells(guest: &GuestRow, more: usize) -> Vec<String> {
    let why = match more {
        0 => guest.why.clone(),
        more => format!("{} (and {more} more like it)", guest.why),
    };
    let targets = match guest.state {
        State::ShutDown | State::Stays | State::Ends => "-".to_owned(),
        _ => format!("{} of {}", guest.targets.len(), guest.judged),
    };
    vec![guest.guest.clone(), guest.state.as_str().to_owned(), targets, why]
}

/// Returns the rows of guests that need attention, equal ones folded into one.
fn folded(node: &DrainedNode) -> Vec<Vec<String>> {
    let mut alike: Vec<(&GuestRow, usize)> = Vec::new();
    let mut known: HashMap<(State, &Bits, &str), usize> = HashMap::new();
    for guest in node.guests.iter().filter(|guest| guest.state != State::CanLeave || !guest.why.is_empty()) {
        let at = *known.entry((guest.state, guest.targets.numbers(), &guest.why)).or_insert(alike.len());
        match alike.get_mut(at) {
            Some((_, more)) => *more += 1,
            None => alike.push((guest, 0)),
        }
    }
    alike.into_iter().map(|(guest, more)| cells(guest, more)).collect()
}

/// Prints the steps of a drain, as far as KubeVirt defines their order.
fn pace(node: &DrainedNode, drained: &DrainReport, page: &mut Page) {
    let moves = |guest: &&GuestRow| matches!(guest.state, State::OneTarget | State::CanLeave);
    let at_once = drained.parallel.of_a_node() as usize;
    let mut steps = shutdowns(node);
    let under_way = node.guests.iter().filter(|guest| moves(guest) && guest.migrates_to.is_some()).count();
    if under_way > 0 {
        let them =
            counted(under_way, "guest leaves by its migration that is", "guests leave by their migrations that are");
        steps.push(format!("{them} under way"));
    }
    let moving = node.guests.iter().filter(moves).count() - under_way;
    // Guests that take each other's places: the order decides how many find one.
    let (at_most, at_least) = if node.is_count_sure { ("", "") } else { ("at most ", "at least ") };
    let later: Vec<&str> = node
        .guests
        .iter()
        .filter(moves)
        .filter(|guest| !guest.after.is_empty())
        .map(|guest| guest.guest.as_str())
        .collect();
    if moving > at_once {
        steps.push(format!("{at_most}{moving} migrate, {at_once} at a time, in an order that KubeVirt decides"));
    } else if moving > 0 {
        let at_the_same_time = if later.is_empty() { "migrate at the same time" } else { "migrate" };
        steps.push(format!("{at_most}{}", counted(moving, "migrates", at_the_same_time)));
    }
    if let Some(last) = steps.last_mut().filter(|_| !later.is_empty()) {
        *last = format!("{last}, {} only once others have left", fold_names(&later, 3));
    }
    let waiting = node.guests.iter().filter(|guest| moves(guest) && guest.unfinished_migration.is_some());
    let waiting: Vec<&str> = waiting.map(|guest| guest.guest.as_str()).collect();
    if let Some(last) = steps.last_mut().filter(|_| !waiting.is_empty()) {
        let whose = number(waiting.len(), "its", "their");
        let ended = number(waiting.len(), "migration has", "migrations have");
        *last = format!("{last}, {} once {whose} unfinished {ended} ended", fold_names(&waiting, 3));
    }
    if let Some(last) = steps.last_mut()
        && let Some(doubts) = doubts(&node.guests.iter().filter(moves).collect::<Vec<_>>())
    {
        *last = format!("{last}, {doubts}");
    }
    let waits = node.count(State::Stuck) + node.count(State::Stays) + node.count(State::Ends);
    if waits > 0 {
        steps.push(format!("the drain waits for {at_least}{}", counted(waits, "guest", "guests")));
    } else if !node.is_count_sure {
        steps.push("with some orders a guest finds no place, and the drain waits for it".to_owned());
    }
    let tried = node.guests.iter().filter(|guest| guest.state == State::Stuck && guest.is_tried).count();
    if tried > 0 && moving > 0 && tried + moving > at_once {
        let most = tried.min(at_once);
        let takes = match tried {
            1 => "the target pod of a stuck guest takes 1".to_owned(),
            _ => format!("target pods of stuck guests take up to {most}"),
        };
        steps.push(format!("{takes} of {} for 5 minutes at each try", counted(at_once, "place", "places")));
    }
    if !steps.is_empty() {
        page.line(format_args!("What happens: {}", steps.join("; ")));
    }
}

/// Returns when the guests of a node are shut down: at once, as a budget allows, or only before a migration ends.
fn shutdowns(node: &DrainedNode) -> Vec<String> {
    let all: Vec<&GuestRow> = node.guests.iter().filter(|guest| guest.state == State::ShutDown).collect();
    let leaving = all.iter().filter(|guest| guest.migrates_to.is_some()).count();
    let coming = all.iter().filter(|guest| guest.comes_from.is_some()).count();
    let is_here = |guest: &&&GuestRow| guest.migrates_to.is_none() && guest.comes_from.is_none();
    let in_turn = all.iter().filter(is_here).filter(|guest| guest.goes_in_turn).count();
    let at_once = all.len() - leaving - coming - in_turn;
    let are = |count: usize| counted(count, "guest is shut down", "guests are shut down");
    let mut out = Vec::new();
    if at_once > 0 {
        out.push(format!("{} at once", are(at_once)));
    }
    if in_turn > 0 {
        out.push(format!("{} one after the other, as a PodDisruptionBudget allows", are(in_turn)));
    }
    for (count, when) in [(leaving, "before"), (coming, "after")] {
        let (it, its) = (number(count, "it is", "they are"), number(count, "its migration", "their migrations"));
        if count > 0 {
            out.push(format!("{} if {it} evicted {when} the end of {its}", are(count)));
        }
    }
    out
}

/// Prints the nodes that kube-scheduler may choose, because labels fit, and libvirt refuses. Such a migration fails,
/// and that of a drain is retried (`handleMigrationBackoff` in virt-controller's `migration.go`).
fn refused(node: &DrainedNode, page: &mut Page) {
    let moving = node.guests.iter().filter(|guest| matches!(guest.state, State::OneTarget | State::CanLeave));
    let refused = moving.filter_map(|guest| guest.libvirt_refuses.as_ref()).filter(|nodes| !nodes.is_empty());
    let (mut guests, mut nodes) = (0, BTreeSet::new());
    for list in refused {
        guests += 1;
        nodes.extend(list.names());
    }
    if guests > 0 {
        let nodes: Vec<&str> = nodes.into_iter().collect();
        page.line(format_args!(
            "May fail, and KubeVirt then tries again: {}; kube-scheduler goes by labels and may choose {}, where libvirt refuses {}",
            counted(guests, "migration", "migrations"),
            or_names(&nodes, 5),
            number(guests, "the guest", "some or all of these guests"),
        ));
    }
}

fn least(drained: &DrainReport, page: &mut Page) {
    // A guest whose migration is under way has a row on both nodes.
    let leave = |guest: &&GuestRow| matches!(guest.state, State::Stuck | State::OneTarget | State::CanLeave);
    let rows = drained.nodes.iter().flat_map(|node| &node.guests);
    let leaving = rows.filter(leave).map(|guest| guest.guest.as_str()).collect::<BTreeSet<&str>>().len();
    let is_needless = drained.nodes.len() > 1 && drained.order.is_some() && drained.order_may_strand.is_empty();
    if let Some(steps) = &drained.least_to_do {
        let then = match leaving {
            1 => "it can leave".to_owned(),
            2 => "both can leave".to_owned(),
            _ => format!("all {leaving} can leave"),
        };
        let then = format!("{then}{}{}", by_labels(drained, &[]), unless(drained, steps));
        let of = match drained.nodes.len() {
            0 | 1 => "",
            _ if is_needless => " for each node by itself (none of it is needed in the order below)",
            _ => " for each node by itself",
        };
        acts(of, steps, drained.least_is, &then, page);
        may_fail(drained, page);
    }
    let Some(others) = &drained.least_for_others else { return };
    let line = match (drained.parallel.is_off(), drained.not_freed.as_slice()) {
        (Some(MigrationLimit { field, by_hyperconverged }), _) => {
            let (below, of) = if by_hyperconverged {
                ("spec.liveMigrationConfig.", "HyperConverged")
            } else {
                ("", "the KubeVirt resource")
            };
            format!("raise {below}{field} of {of}: as long as it is 0, no migration starts")
        }
        (None, []) => "no set of changes that was tried frees all of them".to_owned(),
        (None, names) => {
            let tried = match drained.tried.as_slice() {
                [] => "none is offered".to_owned(),
                tried => format!("tried: {}", tried.join(", ")),
            };
            // Where one guest alone is stuck, what is looked at concerns that one.
            let until = match (names, others.stuck.as_slice(), drained.to_look_at.as_slice()) {
                ([_], [_], [_, ..]) => " before a cause below is fixed",
                _ => "",
            };
            format!("no change that is known frees {}{until} ({tried})", fold_names(names, 3))
        }
    };
    let itself = if drained.nodes.len() > 1 { " for each node by itself" } else { "" };
    let needless = if is_needless { "; in the order below no guest is stuck" } else { "" };
    page.line(format_args!("Least to do{itself}: {line}{needless}"));
    for words in &drained.in_the_way {
        page.line(format_args!("In the way after all of these: {words}"));
    }
    // Without migrations no node is in the way.
    if let Some(guest) = drained.not_freed.first().filter(|_| drained.parallel.of_a_node() > 0) {
        for line in why_not(guest, drained.libvirt.is_some()).lines() {
            page.line(format_args!("What is in its way: {line}"));
        }
    }
    let stay = format!("{} {}", fold_names(&others.stuck, 3), number(others.stuck.len(), "stays", "stay"));
    let then = format!(
        "{} of {leaving} can leave{}, {stay}{}",
        leaving - others.stuck.len(),
        by_labels(drained, &others.stuck),
        unless(drained, &others.acts)
    );
    acts(" for the others", &others.acts, drained.least_is, &then, page);
    may_fail(drained, page);
    for step in &drained.to_look_at {
        page.line(format_args!("To look at, no change yet: {}", step.summary));
        print_steps(step, page);
        for then in &step.then {
            page.line(format_args!("   # then: {}; outage: {}; risk: {}", then.summary, then.outage, then.risk));
            print_steps(then, page);
        }
    }
}

/// Prints the migrations that may fail after the acts.
fn may_fail(drained: &DrainReport, page: &mut Page) {
    for words in &drained.least_may_fail {
        page.line(format_args!("May fail after that, and KubeVirt then tries again: {words}"));
    }
}

/// Returns the command that says what does not help a guest, and why; `by_libvirt`: whether answers of libvirt were
/// used.
fn why_not(guest: &str, by_libvirt: bool) -> Script {
    let (namespace, name) = guest.split_once('/').unwrap_or(("", guest));
    let command = || {
        let command = Command::kubectl(["cpufit", "explain"]).arg(Name::new(name)?.of("vmi"));
        let ask = by_libvirt.then_some("--ask-libvirt");
        Ok(vec![command.namespace(Namespace::new(namespace)?).args(ask)])
    };
    command().into()
}

/// Returns what may hold up guests that leave by labels: `by labels; libvirt may refuse shop/db; the last migration of
/// shop/web failed and may fail again`; `None` without such a guest.
fn doubts(guests: &[&GuestRow]) -> Option<String> {
    let names = |is: fn(&GuestRow) -> bool| -> Vec<&str> {
        let names: BTreeSet<&str> = guests.iter().filter(|guest| is(guest)).map(|guest| guest.guest.as_str()).collect();
        names.into_iter().collect()
    };
    let (doubtful, failed) = (names(|guest| guest.is_doubtful), names(|guest| guest.has_failed));
    let refused = (!doubtful.is_empty()).then(|| format!("libvirt may refuse {}", fold_names(&doubtful, 3)));
    let drawing = names(|guest| guest.draws_vendor);
    let drawn = (!drawing.is_empty())
        .then(|| format!("KubeVirt may ask for a CPU vendor without a free node for {}", fold_names(&drawing, 3)));
    let down = names(|guest| guest.may_be_down);
    let down = (!down.is_empty()).then(|| format!("a node that may take {} is not Ready", or_names(&down, 3)));
    let failed = (!failed.is_empty())
        .then(|| format!("the last migration of {} failed and may fail again", fold_names(&failed, 3)));
    let said: Vec<String> = refused.into_iter().chain(drawn).chain(down).chain(failed).collect();
    (!said.is_empty()).then(|| format!("by labels; {}", said.join("; ")))
}

/// Returns the same with a blank before it, for the guests other than those that `stay`; else an empty text.
fn by_labels(drained: &DrainReport, stay: &[String]) -> String {
    let guests = drained.nodes.iter().flat_map(|node| &node.guests);
    let guests: Vec<&GuestRow> = guests.filter(|guest| !stay.contains(&guest.guest)).collect();
    doubts(&guests).map(|doubts| format!(" {doubts}")).unwrap_or_default()
}

/// Returns what depends on the scheduler after these acts: `, unless one takes the last place of another; shop/db would
/// be stuck again if it starts on node-e`; an empty text if nothing does.
fn unless(drained: &DrainReport, steps: &[LeastAct]) -> String {
    let taken = if drained.is_least_sure { "" } else { ", unless one takes the last place of another" };
    let again = steps.iter().filter_map(|step| step.stuck_again.as_ref());
    again.fold(taken.to_owned(), |text, again| format!("{text}; {again}"))
}

/// Prints `Least to do: kubectl uncordon node-d (then all 12 can leave)`; for several commands or an outage, a list
/// with outage and risk. Prints nothing without acts. A set that is not known to be the smallest is `Enough to do`.
fn acts(of: &str, steps: &[LeastAct], proof: LeastProof, then: &str, page: &mut Page) {
    let (title, proof) = match proof {
        LeastProof::Smallest => ("Least to do", ""),
        LeastProof::EachNeeded => {
            ("Enough to do", ", none of which can be left out; whether fewer others do is not known")
        }
        LeastProof::Enough => ("Enough to do", "; whether fewer do is not known"),
    };
    match steps {
        [] => {}
        [step] if matches!(step.steps.as_slice(), [Step::Run(_)]) && step.outage == Outage::None => {
            page.line(format_args!("{title}{of}: {} (then {then})", step.steps[0]));
        }
        steps => {
            let changes = counted(steps.len(), "change", "changes");
            page.line(format_args!("{title}{of} ({changes}{proof}; then {then}):"));
            for (at, step) in steps.iter().enumerate() {
                let number = at + 1;
                page.line(format_args!("{number:<2} # {}; outage: {}; risk: {}", step.summary, step.outage, step.risk));
                print_steps(step, page);
            }
        }
    }
}

/// Prints the steps of a change in their order, with edits by hand as comments.
fn print_steps(step: &LeastAct, page: &mut Page) {
    for step in &step.steps {
        match step {
            Step::ByHand(words) => page.line(format_args!("   # by hand: {words}")),
            Step::Run(line) => page.line(format_args!("   {line}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// An act with one command and no outage is one line; an outage is printed with the command. A set that is not
    /// known to be the smallest is not called the least.
    #[rstest]
    #[case::no_outage(Outage::None, 1, LeastProof::Smallest, "Least to do: kubectl act (then it can leave)")]
    #[case::an_outage(Outage::Restart, 1, LeastProof::Smallest, "Least to do (1 change; then it can leave):")]
    #[case::smallest(Outage::None, 2, LeastProof::Smallest, "Least to do (2 changes; then it can leave):")]
    #[case::each_needed(
        Outage::None,
        2,
        LeastProof::EachNeeded,
        "Enough to do (2 changes, none of which can be left out; whether fewer others do is not known; then it can leave):"
    )]
    #[case::enough(
        Outage::None,
        2,
        LeastProof::Enough,
        "Enough to do (2 changes; whether fewer do is not known; then it can leave):"
    )]
    fn the_cost_of_each_act_and_what_is_known_of_the_set_are_printed(
        #[case] outage: Outage,
        #[case] count: usize,
        #[case] proof: LeastProof,
        #[case] expected: &str,
    ) {
        let step = LeastAct {
            id: "restart",
            steps: vec![Step::Run("kubectl act".to_owned())],
            commands: vec!["kubectl act".to_owned()],
            by_hand: None,
            summary: "restart as it is".to_owned(),
            outage,
            risk: "it is bound again".into(),
            stuck_on: Vec::new(),
            stuck_again: None,
            then: Vec::new(),
        };
        let mut page = Page::default();
        acts("", &vec![step; count], proof, "it can leave", &mut page);
        let (first, rest) = page.as_str().split_once('\n').expect("a line");
        assert_eq!(first, expected, "a set that may be larger than needed would be called the least");
        let costs =
            rest.matches("# restart as it is; outage: restart; risk: it is bound again\n   kubectl act\n").count();
        assert_eq!(costs, usize::from(outage == Outage::Restart), "an outage would come as a surprise: {rest}");
    }
}
