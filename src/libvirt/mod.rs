//! Libvirt's answers about running guests' CPUs.
//!
//! The questions are commands for a launcher's `virsh` ([`question`]). The output comes from a container and is
//! untrusted: [`answer`] limits its size and nodes, accepts only plain names, and reports what it cannot read.
//! [`LibvirtFacts`] holds the answers, and returns those about one guest ([`Answers`]). This module does not query
//! libvirt: `live` does.

pub(crate) mod answer;
pub(crate) mod facts;
pub(crate) mod question;
pub(crate) mod saved;

pub(crate) use facts::LibvirtFacts;

pub(crate) use crate::fit::libvirt::{
    Accelerator, Answers, Cpu, GuestCpu, Incompatible, LibvirtAnswer, LibvirtHost, PROVIDES_FORBIDDEN, Silence, Usable,
};
