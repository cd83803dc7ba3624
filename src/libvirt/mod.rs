//! What libvirt answers when it is asked about a running guest's CPU.
//!
//! The questions are commands for a launcher's `virsh` ([`question`]); what comes back is text from a container, read as from
//! a stranger: [`answer`] bounds its size and nodes, takes names of a plain form alone, and says what it cannot read.
//! [`LibvirtFacts`] holds the answers, and says for one guest what is known ([`Answers`]). This module asks no libvirt: `live` does.

pub(crate) mod answer;
pub(crate) mod facts;
pub(crate) mod question;
pub(crate) mod saved;

pub(crate) use facts::LibvirtFacts;

pub(crate) use crate::fit::libvirt::{
    Accelerator, Answers, Cpu, GuestCpu, Incompatible, LibvirtAnswer, LibvirtHost, Silence, Usable,
};
