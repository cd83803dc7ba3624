//! Parsing of the output of `virsh` in a container.

use std::collections::{BTreeMap, BTreeSet};

use roxmltree::{Document, Node, ParsingOptions};

use super::{
    Accelerator, Cpu, GuestCpu, Incompatible, LibvirtAnswer, LibvirtHost, PROVIDES_FORBIDDEN, Silence, Usable,
};
use crate::fit::shown::Shown;
use crate::libvirt::question::{CommandOutput, Question, xml};
use crate::word::Word as _;

mod shape;

/// Maximum bytes of standard output that are read. The description of a guest with many disks has 100 KB.
pub(crate) const OUTPUT: usize = 1 << 20;
/// Maximum bytes of standard error that are read.
pub(crate) const ERRORS: usize = 64 << 10;
/// Maximum elements, texts and attributes of one answer.
const MAX_XML_NODES: u32 = 1 << 16;
/// Maximum features of one CPU or list: libvirt knows some hundred of an architecture.
const MAX_FEATURES: usize = 2048;
/// Maximum bytes of a model's or a feature's name.
const MAX_NAME_BYTES: usize = 64;
/// Maximum length of the description of a CPU: some four hundred features, where real CPUs have up to two hundred.
/// Three times as many bytes, if each is escaped, fit into a URL of 64 KiB (`MAX_LEN` of the crate `http`).
const MAX_DESCRIPTION_BYTES: usize = 20 << 10;
/// Maximum bytes of libvirt's messages that are repeated.
const MAX_MESSAGE_BYTES: usize = 240;

fn unreadable(why: impl std::fmt::Display) -> Silence {
    Silence::Unreadable(words(&why.to_string()))
}

/// Returns untrusted text on one line, cut to the limit.
pub(super) fn words(text: &str) -> String {
    Shown::within(text, MAX_MESSAGE_BYTES).to_string()
}

/// Returns virsh's error message: the last line, without its `error: `.
fn complaint(output: &CommandOutput) -> String {
    let line = output.stderr.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    words(line.strip_prefix("error: ").unwrap_or(line))
}

/// Returns the output of an answered question.
///
/// # Errors
///
/// Virsh, or the program that runs it, failed.
fn answered<'o>(question: &Question, output: &'o CommandOutput) -> Result<&'o str, Silence> {
    if output.stderr.lines().any(|line| line.starts_with("error: unknown command: '")) {
        return Err(Silence::NoVerb(question.verb().to_owned()));
    }
    match output.code {
        // Bash, and `timeout` of coreutils and busybox, exit with 127 if a program does not exist.
        Some(127) if output.stderr.contains("virsh") => Err(Silence::NoVirsh),
        Some(0) => Ok(&output.stdout),
        code => Err(Silence::Failed(match (complaint(output), code) {
            (complaint, _) if !complaint.is_empty() => complaint,
            (_, Some(code)) => format!("exit code {code} without a word"),
            (_, None) => "it ended without an exit code".to_owned(),
        })),
    }
}

/// Reads the guest's CPU from `virsh dumpxml`.
///
/// # Errors
///
/// There is no CPU that can be compared, or no answer.
pub(crate) fn guest(question: &Question, output: &CommandOutput) -> Result<GuestCpu, Silence> {
    let text = answered(question, output)?;
    let document = parse(text)?;
    let domain = document.root_element();
    if !domain.has_tag_name("domain") {
        return Err(unreadable(format_args!("expected <domain>, found <{}>", domain.tag_name().name())));
    }
    let by = domain.attribute("type");
    let accelerator = by
        .and_then(Accelerator::of)
        .ok_or_else(|| unreadable(format_args!("a domain of type {}", by.unwrap_or("(none)"))))?;
    let cpu = child(domain, "cpu").ok_or_else(|| Silence::NoModel("no <cpu>: QEMU's default".to_owned()))?;
    match cpu.attribute("mode") {
        // Older libvirt writes a custom model without a mode.
        Some("custom") | None => {}
        Some("host-passthrough") => return Err(Silence::NoModel("host-passthrough, the host's CPU itself".to_owned())),
        Some("maximum") => return Err(Silence::NoModel("all that QEMU has (maximum)".to_owned())),
        Some("host-model") => {
            return Err(Silence::NoModel("host-model, which its libvirt has not yet resolved".to_owned()));
        }
        Some(other) => return Err(unreadable(format_args!("a CPU of mode {other}"))),
    }
    comparable(GuestCpu { cpu: read_cpu(cpu)?, accelerator })
}

/// Returns the CPU if libvirt can compare it.
///
/// # Errors
///
/// Its model is a name that QEMU gives to no certain CPU (`max`, which emulation of another architecture uses), and
/// that libvirt's CPU map does not have.
pub(super) fn comparable(guest: GuestCpu) -> Result<GuestCpu, Silence> {
    match guest.cpu.model.as_str() {
        "max" => Err(Silence::NoModel("all that QEMU has (max)".to_owned())),
        "base" => Err(Silence::NoModel("base, a CPU without features".to_owned())),
        "host" => Err(Silence::NoModel("host, the host's CPU itself".to_owned())),
        _ => Ok(guest),
    }
}

/// Reads a node's answer about a guest's CPU from `virsh hypervisor-cpu-compare`.
///
/// # Errors
///
/// There is no answer.
pub(crate) fn comparison(question: &Question, output: &CommandOutput) -> Result<LibvirtAnswer, Silence> {
    const NOT: &str = "the CPU is incompatible with host CPU";
    // These texts are unchanged since libvirt 4.4, which added the verb. The line begins with the path of the compared
    // CPU.
    let has = |text: &str, words: &str| text.lines().any(|line| line.contains(words));
    if output.code == Some(0) {
        let text = answered(question, output)?;
        let is_identical = has(text, " is identical to the CPU provided by hypervisor on the host");
        let is_superset = has(text, "The CPU provided by hypervisor on the host is a superset of CPU described in ");
        return match (is_identical, is_superset) {
            (true, false) => Ok(LibvirtAnswer::Identical),
            (false, true) => Ok(LibvirtAnswer::Superset),
            _ => Err(unreadable(first_line(text))),
        };
    }
    let refusal = output.stderr.lines().find_map(|line| line.split_once(NOT).map(|(_, rest)| rest));
    if let Some(rest) = refusal.filter(|_| output.code == Some(1)) {
        return incompatible(rest.trim_start_matches(':').trim()).map(LibvirtAnswer::Incompatible);
    }
    // A libvirt without details prints it as an answer.
    if output.code == Some(1) && has(&output.stdout, " is incompatible with the CPU provided by hypervisor on the host")
    {
        return Ok(LibvirtAnswer::Incompatible(Incompatible::default()));
    }
    if let Some(reason) = unknown_name(output) {
        return Ok(LibvirtAnswer::Incompatible(Incompatible { reason, ..Incompatible::default() }));
    }
    answered(question, output)?;
    Err(unreadable(first_line(&output.stdout)))
}

/// Returns the reason if libvirt does not know the model or a feature of the compared CPU, so that it cannot start a
/// guest with it. Mirrors `x86ModelFromCPU` of `src/cpu/cpu_x86.c`.
fn unknown_name(output: &CommandOutput) -> Option<String> {
    Some(output.stderr.as_str()).filter(|_| output.code == Some(1)).and_then(unknown_in)
}

/// Returns the reason if virsh says that libvirt does not know a model or a feature of the CPU.
pub(super) fn unknown_in(complaint: &str) -> Option<String> {
    const KINDS: [&str; 2] = ["CPU model", "CPU feature"];
    KINDS.iter().find_map(|kind| {
        let rest = complaint.lines().find_map(|line| line.split_once(&format!("Unknown {kind} ")))?.1;
        let name = name(rest.trim()).ok()?;
        Some(format!("libvirt there does not know {kind} {name}"))
    })
}

fn first_line(text: &str) -> &str {
    text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("nothing")
}

/// The words of a libvirt that knows nothing of its own host, so that it compared nothing.
pub(super) const HOST_UNKNOWN: &str = "unknown host CPU";

fn incompatible(details: &str) -> Result<Incompatible, Silence> {
    if details == HOST_UNKNOWN {
        return Err(Silence::Failed(HOST_UNKNOWN.to_owned()));
    }
    if let Some(list) = details.strip_prefix("Host CPU does not provide required features:") {
        return Ok(Incompatible { missing: names(list)?, ..Incompatible::default() });
    }
    Ok(Incompatible { reason: reason(details)?, ..Incompatible::default() })
}

/// Reads a reason that names no missing feature. A list of forbidden features is kept whole, because they are read from
/// the reason.
///
/// # Errors
///
/// The list has something else than names, or too many of them.
pub(super) fn reason(text: &str) -> Result<String, Silence> {
    Ok(match text.strip_prefix(PROVIDES_FORBIDDEN) {
        Some(list) => format!("{PROVIDES_FORBIDDEN} {}", names(list)?.join(", ")),
        None => words(text),
    })
}

/// Reads a list of features, sorted.
fn names(list: &str) -> Result<Vec<String>, Silence> {
    let mut out = list.split(',').map(|feature| name(feature.trim())).collect::<Result<Vec<_>, _>>()?;
    bounded("a refusal", out.len()).map_err(unreadable)?;
    out.sort_unstable();
    out.dedup();
    Ok(out)
}

/// Reads a node's host model from `virsh domcapabilities`.
///
/// # Errors
///
/// There is no answer.
pub(crate) fn host(question: &Question, output: &CommandOutput) -> Result<LibvirtHost, Silence> {
    let text = answered(question, output)?;
    let document = parse(text)?;
    let root = document.root_element();
    if !root.has_tag_name("domainCapabilities") {
        return Err(unreadable(format_args!("expected <domainCapabilities>, found <{}>", root.tag_name().name())));
    }
    let mut out = LibvirtHost::default();
    let modes = child(root, "cpu").into_iter().flat_map(|cpu| cpu.children().filter(|node| node.has_tag_name("mode")));
    for mode in modes {
        match (mode.attribute("name"), mode.attribute("supported")) {
            (Some("host-model"), Some("yes")) => out.model = Some(read_cpu(mode)?),
            // Libvirt writes `no` if it has no model to list (`virDomainCapsCPUCustomFormat` in
            // `domain_capabilities.c`).
            (Some("custom"), Some("yes" | "no")) => out.models = Some(read_models(mode)?),
            _ => {}
        }
    }
    Ok(out)
}

/// Reads the named models and whether each is usable.
fn read_models(mode: Node<'_, '_>) -> Result<BTreeMap<String, Usable>, Silence> {
    let mut out = BTreeMap::new();
    for model in mode.children().filter(|node| node.has_tag_name("model")) {
        let usable = match model.attribute("usable") {
            Some("yes") => Usable::Yes,
            Some("no") => Usable::No(Vec::new()),
            _ => Usable::Unknown,
        };
        out.insert(name(model.text().unwrap_or_default().trim())?, usable);
    }
    for blockers in mode.children().filter(|node| node.has_tag_name("blockers")) {
        let Some(Usable::No(known)) = out.get_mut(blockers.attribute("model").unwrap_or_default()) else { continue };
        let features = blockers.children().filter(|node| node.has_tag_name("feature"));
        bounded("a list", features.clone().count()).map_err(unreadable)?;
        let features = features.map(|feature| name(feature.attribute("name").unwrap_or_default()));
        *known = features.collect::<Result<BTreeSet<_>, _>>()?.into_iter().collect();
    }
    Ok(out)
}

/// Reads a CPU with all its features from `virsh hypervisor-cpu-baseline --features`.
///
/// # Errors
///
/// There is no answer.
pub(crate) fn features(question: &Question, output: &CommandOutput) -> Result<Cpu, Silence> {
    let document = parse(answered(question, output)?)?;
    let root = document.root_element();
    if root.has_tag_name("cpu") {
        read_cpu(root)
    } else {
        Err(unreadable(format_args!("expected <cpu>, found <{}>", root.tag_name().name())))
    }
}

/// Parses a document without DTD, with a limited number of nodes and of a limited [`shape`].
fn parse(text: &str) -> Result<Document<'_>, Silence> {
    if text.len() > OUTPUT {
        return Err(Silence::TooLong(OUTPUT));
    }
    shape::check(text).map_err(|(beyond, _)| unreadable(beyond))?;
    let options = ParsingOptions { allow_dtd: false, nodes_limit: MAX_XML_NODES, ..ParsingOptions::default() };
    Document::parse_with_options(text.trim_start(), options).map_err(unreadable)
}

fn child<'a, 'i>(node: Node<'a, 'i>, tag: &str) -> Option<Node<'a, 'i>> {
    node.children().find(|child| child.has_tag_name(tag))
}

fn read_cpu(cpu: Node<'_, '_>) -> Result<Cpu, Silence> {
    let text = |tag| child(cpu, tag).and_then(|node| node.text()).map(str::trim);
    let model = text("model").ok_or_else(|| unreadable("a CPU without <model>"))?;
    let mut out = Cpu { model: name(model)?, vendor: text("vendor").map(name).transpose()?, ..Cpu::default() };
    for feature in cpu.children().filter(|node| node.has_tag_name("feature")) {
        let feature_name = name(feature.attribute("name").unwrap_or_default())?;
        match feature.attribute("policy") {
            Some("require" | "force") | None => out.require.insert(feature_name),
            Some("disable") => out.disable.insert(feature_name),
            Some("forbid") => out.forbid.insert(feature_name),
            Some("optional") => false,
            Some(other) => return Err(unreadable(format_args!("a feature of policy {other}"))),
        };
        bounded("a CPU", out.require.len() + out.disable.len() + out.forbid.len()).map_err(unreadable)?;
    }
    if let Some(fault) = out.contradiction() {
        return Err(unreadable(format_args!("a CPU whose {fault}")));
    }
    // It is sent as a part of a URL, which has a limit.
    if xml(&out).len() > MAX_DESCRIPTION_BYTES {
        return Err(unreadable(format_args!("a CPU whose description has more than {MAX_DESCRIPTION_BYTES} bytes")));
    }
    Ok(out)
}

/// Checks a number of features, of a container's answer or of a saved one.
pub(super) fn bounded(what: &str, features: usize) -> Result<(), String> {
    if features > MAX_FEATURES { Err(format!("{what} of more than {MAX_FEATURES} features")) } else { Ok(()) }
}

/// Returns a name of a model, a vendor or a feature if it has a plain form, because names go into commands and tables.
pub(crate) fn name(text: &str) -> Result<String, Silence> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+');
    if text.is_empty() || text.len() > MAX_NAME_BYTES || !text.chars().all(is_plain) {
        return Err(unreadable(format_args!("\"{text}\" is not the name of a CPU model or feature")));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests;
