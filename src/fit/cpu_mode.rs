//! The CPU mode of a guest.

/// The choice of the guest's CPU. Mirrors `spec.domain.cpu.model`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CpuMode {
    /// No model: KubeVirt's defaults were not applied to the object.
    Unset,
    /// `host-model`: the host's CPU as libvirt describes it, fixed at start.
    HostModel,
    /// `host-passthrough`: the host's CPU itself.
    HostPassthrough,
    /// One of these two: the pod does not show which.
    HostModelOrPassthrough,
    /// A named model.
    Named(String),
    /// A model whose name is too long to be read.
    Unread,
}

impl CpuMode {
    /// Parses `spec.domain.cpu.model`.
    #[must_use]
    pub fn parse(model: &str) -> Self {
        match model {
            "" => Self::Unset,
            "host-model" => Self::HostModel,
            "host-passthrough" => Self::HostPassthrough,
            named => Self::Named(named.to_owned()),
        }
    }

    /// Whether the guest has the CPU of its host as it is, or may have it.
    pub(crate) fn may_pass_through(&self) -> bool {
        matches!(self, Self::HostPassthrough | Self::HostModelOrPassthrough)
    }
}

impl std::fmt::Display for CpuMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unset => f.write_str("no CPU model"),
            Self::HostModel => f.write_str("host-model"),
            Self::HostPassthrough => f.write_str("host-passthrough"),
            Self::HostModelOrPassthrough => f.write_str("host-model or host-passthrough"),
            Self::Named(model) => f.write_str(model),
            Self::Unread => f.write_str("a CPU model that is too large to read"),
        }
    }
}
