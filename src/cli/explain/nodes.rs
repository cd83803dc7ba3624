//! The table of nodes: the part of the demand that each meets, the labels it lacks, and the meaning of that.

use std::borrow::Cow;

use super::Explained;
use super::libvirt::LibvirtWords;
use crate::fit::fleet::NodeIndex;
use crate::fit::judgement::{Depth, Judgement};
use crate::fit::label::{self, Family};
use crate::fit::plural;
use crate::fit::subject::Stage;
use crate::fit::verdict::{Check, Detail, Evidence};
use crate::page::Page;
use crate::say;

/// Number of rows in a table before the rest is folded. In a longer one nodes with equal rows share one.
const MAX_ROWS: usize = 40;
/// Number of nodes named in a row that nodes share.
const MAX_NAMES: usize = 3;
/// The doubt about a node with a CPU of another vendor.
const OTHER_VENDOR: &str = "a CPU of another vendor: moved there it may crash";

impl Explained<'_, '_> {
    /// Prints every node: the part of the demand it meets, the labels it lacks, and the meaning of that.
    pub(super) fn nodes(&self, page: &mut Page) {
        let subject = &self.case.prepared.subject;
        let lookup = self.fleet().look_up(&subject.placement);
        let source = self.source();
        let mut others: Vec<NodeIndex> = self.fleet().in_name_order();
        others.retain(|&node| Some(node) != source);
        // Nodes of another architecture are counted in one line, unless there are no others.
        if let Some(architecture) = subject.placement.get(label::ARCH) {
            let foreign = self.fleet().bearing_another(label::ARCH, architecture);
            if others.iter().any(|node| !foreign.contains(*node)) {
                others.retain(|node| !foreign.contains(*node));
            }
        }
        let mut nodes: Vec<_> = others.into_iter().map(|node| (node, lookup.missing(node))).collect();
        nodes.sort_by_key(|(node, missing)| (!self.case.verdict.assessment.fitting.contains(*node), missing.len()));
        let hidden = match self.said().filter(LibvirtWords::knows_cpu) {
            Some(said) => {
                if nodes.len() > MAX_ROWS {
                    nodes.sort_by_key(|(node, missing)| said.rank(*node, missing));
                }
                let cells = said.cells(&nodes, |node| self.besides(node));
                let names = nodes.iter().map(|(node, _)| self.fleet().name(*node));
                self.table(&["NODE", "BY LABELS", "BY LIBVIRT"], names.zip(cells).collect(), page)
            }
            None => self.by_labels(nodes, page),
        };
        if hidden > 0 {
            let more = plural::counted(hidden, "more node", "more nodes");
            page.line(format_args!("and {more} (-o json lists the nearest)"));
        }
    }

    /// Prints the nodes by their labels and conditions. Returns the number of those that are not printed.
    fn by_labels(&self, nodes: Vec<(NodeIndex, Vec<(String, String)>)>, page: &mut Page) -> usize {
        let selector = &self.case.prepared.subject.placement.selector;
        let lookup = self.fleet().look_up(&self.case.prepared.subject.placement);
        let cpu_total = selector.iter().filter(|(key, _)| Family::of(key).is_cpu()).count();
        if nodes.is_empty() {
            return 0;
        }
        let judgement = Judgement::new(&self.case.prepared.subject, self.fleet(), Depth::Brief);
        let mut rows = Vec::with_capacity(nodes.len());
        for (node, missing) in nodes {
            let cpu_missing = missing.iter().filter(|(key, _)| Family::of(key).is_cpu()).count();
            let refusal = lookup.refusal(node);
            let mut rest = Vec::new();
            if refusal.cordoned {
                rest.push("cordoned".to_owned());
            }
            rest.extend(refusal.taints.iter().map(|taint| format!("tainted {taint}")));
            if !refusal.affinity.is_empty() {
                let conditions: Vec<String> = refusal.affinity.iter().map(ToString::to_string).collect();
                rest.push(format!("affinity: {}", plural::fold_names(&conditions, 2)));
            }
            if self.fleet().not_ready().contains(node) {
                rest.push("not ready".to_owned());
            }
            rest.extend(self.besides(node));
            let rest = if rest.is_empty() { "ok".to_owned() } else { rest.join(", ") };
            let lacks = if missing.is_empty() {
                "-".to_owned()
            } else {
                plural::fold_lack(&missing, &lookup.values(node, &missing), 8)
            };
            let cells = vec![
                format!("{}/{cpu_total}", cpu_total - cpu_missing),
                rest,
                lacks,
                self.meaning(&judgement, node, &missing),
            ];
            rows.push((self.fleet().name(node), cells));
        }
        self.table(&["NODE", "CPU", "REST", "LACKS", "MEANING"], rows, page)
    }

    /// Returns what keeps the guest off a node besides labels, cordon and taints: volumes, rules about other pods, or
    /// the lack of room.
    fn besides(&self, node: NodeIndex) -> Vec<String> {
        let obstacles = self.obstacles.on(node);
        if obstacles.is_empty() { self.room.on(node).into_iter().collect() } else { obstacles }
    }

    /// Prints a table of nodes. Returns the number of those that are not printed.
    fn table(&self, head: &[&str], nodes: Vec<(&str, Vec<String>)>, page: &mut Page) -> usize {
        let is_long = nodes.len() > MAX_ROWS;
        let mut rows: Vec<(Vec<&str>, Vec<String>)> = Vec::new();
        for (name, cells) in nodes {
            match rows.iter_mut().find(|(_, known)| is_long && *known == cells) {
                Some((names, _)) => names.push(name),
                None => rows.push((vec![name], cells)),
            }
        }
        let hidden = rows.iter().skip(MAX_ROWS).map(|(names, _)| names.len()).sum();
        let row = |(names, cells): (Vec<&str>, Vec<String>)| {
            std::iter::once(plural::fold_names(&names, MAX_NAMES)).chain(cells).collect()
        };
        let rows: Vec<Vec<String>> =
            self.head(head).into_iter().chain(rows.into_iter().take(MAX_ROWS).map(row)).collect();
        page.table(&rows);
        hidden
    }

    fn meaning(&self, judgement: &Judgement<'_, '_>, node: NodeIndex, missing: &[(String, String)]) -> String {
        let name = self.fleet().name(node);
        let mut doubtful = self.case.verdict.doubtful();
        if let Some((_, lacks)) = doubtful.find(|(doubtful, _)| doubtful == name) {
            let is_optional = lacks.iter().all(|(key, _)| {
                Family::of(key) == Family::CpuFeature
                    && self.case.prepared.subject.features.optional.iter().any(|optional| optional == label::name(key))
            });
            let of = if is_optional { ", optional for the guest" } else { " of its host model" };
            return format!("lacks {}{of}: libvirt may refuse", plural::fold_entries(lacks, 4));
        }
        if let Some(words) = self.unlike(name) {
            return words.to_owned();
        }
        let evidence = self.evidence(judgement, node, missing);
        let subject = &self.case.prepared.subject;
        if matches!(subject.stage, Stage::Start(_)) && (missing.is_empty() || evidence.is_empty()) {
            let unmet = subject.unmet_at_start(&subject.placement, &subject.features, name);
            if !unmet.is_empty() {
                return format!("libvirt there {}", say::finding::unmet_at_start(&unmet));
            }
        }
        evidence.into_owned()
    }

    /// Returns the doubt about a fitting node whose CPU differs from that of the node on which a host-passthrough guest
    /// runs.
    fn unlike(&self, node: &str) -> Option<&'static str> {
        let refused = self.case.prepared.subject.failed.as_ref().is_some_and(|refused| refused.target == node);
        let Detail::UnlikeHosts(found) = &self.case.verdict.found(Check::UnlikeHosts).filter(|_| !refused)?.detail
        else {
            return None;
        };
        let own = found.hosts.first().and_then(|own| own.vendor.as_ref());
        Some(match (own, &found.unlike(node)?.vendor) {
            (Some(own), Some(other)) if own != other => OTHER_VENDOR,
            _ => "another CPU than that of its own node: libvirt may refuse",
        })
    }

    /// Whether a node lacks the vendor of the guest's own node, and has another one: each of them has the label of one
    /// vendor.
    fn is_of_another_vendor(&self, node: NodeIndex, missing: &[(String, String)]) -> bool {
        let lacks = missing.iter().any(|(key, _)| Family::of(key) == Family::CpuVendor);
        let is_known = |node| self.fleet().host_model_class(node).vendors.len() == 1;
        lacks && is_known(node) && self.source().is_some_and(is_known)
    }

    /// Whether a node has the host model of the guest's own node.
    fn is_of_its_host_model(&self, node: NodeIndex) -> bool {
        let host_model = |node| self.fleet().names_under(node, Family::HostModelCpu);
        self.source().is_some_and(|source| host_model(source) == host_model(node))
    }

    fn evidence(
        &self,
        judgement: &Judgement<'_, '_>,
        node: NodeIndex,
        missing: &[(String, String)],
    ) -> Cow<'static, str> {
        let name = self.fleet().name(node);
        if let Some(refused) = self.case.prepared.subject.failed.as_ref().filter(|refused| refused.target == name) {
            let what = if refused.is_of_cpu { "libvirt refused" } else { "the migration failed" };
            return format!("tried last: {what}").into();
        }
        if let Some(words) = say::evidence::of_virt_handler(node, missing, self.fleet()) {
            return words.into();
        }
        let text = match judgement.evidence(node, missing) {
            Evidence::SourceLacksToo => "its own node lacks it too: labels changed, not machines",
            Evidence::Drifted if !self.is_of_its_host_model(node) => match self.fleet().skip_node(node) {
                Some(_) => "models that are usable there need it: frozen labels",
                None => "models that are usable there need it: drifted labels",
            },
            Evidence::Drifted if self.fleet().skip_node(node).is_some() => {
                "same host model as its own node: frozen labels, probably"
            }
            Evidence::Drifted => "same host model as its own node: drifted labels, probably",
            Evidence::OtherHardware if self.is_of_another_vendor(node, missing) => OTHER_VENDOR,
            Evidence::OtherHardware => "other hardware, which no label changes: libvirt may refuse",
            Evidence::FrozenSource => "compared with frozen labels (skip-node on its own node), perhaps out of date",
            Evidence::OlderLabels => "same host model, labelled by an older KubeVirt: wait for virt-handler there",
            Evidence::NestedOff => say::evidence::nested_off(missing),
            Evidence::Microcode => "same host model: older microcode or BIOS there, likely",
            Evidence::HypervOfKernel => "hyperv labels come from KVM: its kernel offers less",
            Evidence::LibvirtAgrees => "libvirt there agrees: labels are at fault",
            Evidence::LibvirtTakesCpu => "libvirt there has all features of its CPU",
            Evidence::LibvirtLacks => "rightly, as libvirt there says",
            Evidence::LibvirtLacksSome => {
                let untrue = self.case.prepared.subject.untrue(name, missing);
                return format!("libvirt there {}", say::evidence::confirms_only(&untrue)).into();
            }
            Evidence::LibvirtRefuses => "libvirt there refuses",
            Evidence::None => "",
        };
        text.into()
    }
}
