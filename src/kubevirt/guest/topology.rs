//! The virtual CPUs and the memory of a guest.

use crate::kubevirt::wire::{Cpu, GuestResources, InstancetypeSpec, PreferenceSpec, Quantity, VmiSpec};

/// The parts of a topology that virtual CPUs are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    Sockets,
    Cores,
    Threads,
    All,
    /// Sockets and cores.
    SocketsCores,
    /// Cores and threads.
    CoresThreads,
    /// Sockets, cores and threads.
    SocketsCoresThreads,
    /// A word that KubeVirt does not know.
    Unknown,
}

/// Returns what a preference makes virtual CPUs of. Mirrors `GetPreferredTopology` and `GetSpreadOptions` of
/// `pkg/instancetype/preference/apply/cpu.go`.
pub(super) fn preferred(preference: Option<&PreferenceSpec>) -> Counted {
    let Some(preference) = preference else { return Counted::Sockets };
    match preference.cpu.preferred_cpu_topology.as_str() {
        "" | "sockets" | "preferSockets" => Counted::Sockets,
        "cores" | "preferCores" => Counted::Cores,
        "threads" | "preferThreads" => Counted::Threads,
        "any" | "preferAny" => Counted::All,
        "spread" | "preferSpread" => match preference.cpu.spread_options.across.as_str() {
            "" | "SocketsCores" => Counted::SocketsCores,
            "CoresThreads" => Counted::CoresThreads,
            "SocketsCoresThreads" => Counted::SocketsCoresThreads,
            _ => Counted::Unknown,
        },
        _ => Counted::Unknown,
    }
}

/// Gives the guest the virtual CPUs of its instancetype. Mirrors `applyGuestCPUTopology` of
/// `pkg/instancetype/apply/cpu.go`.
pub(super) fn apply(spec: &mut VmiSpec, count: u32, preference: Option<&PreferenceSpec>) {
    let cpu = spec.domain.cpu.get_or_insert_default();
    (cpu.sockets, cpu.cores, cpu.threads) = (1, 1, 1);
    if count <= 1 {
        return;
    }
    let by_field = preference.map_or(0, |preference| preference.prefer_spread_socket_to_core_ratio);
    let ratio = preference.and_then(|preference| preference.cpu.spread_options.ratio);
    let ratio = ratio.unwrap_or(if by_field == 0 { 2 } else { by_field }).max(1);
    match preferred(preference) {
        Counted::Sockets | Counted::All => cpu.sockets = count,
        Counted::Cores => cpu.cores = count,
        Counted::Threads => cpu.threads = count,
        Counted::SocketsCores => (cpu.cores, cpu.sockets) = (ratio, count / ratio),
        Counted::CoresThreads => (cpu.threads, cpu.cores) = (ratio, count / ratio),
        Counted::SocketsCoresThreads => (cpu.threads, cpu.cores, cpu.sockets) = (2, ratio, count / 2 / ratio),
        Counted::Unknown => {}
    }
}

/// Returns the fields of a template that its instancetype sets too. Mirrors `validateCPU` (`cpu.go`) and
/// `validateMemory` (`memory.go`) of `pkg/instancetype/apply`, of what every instancetype has.
pub(super) fn conflicts(own: &VmiSpec, from: &InstancetypeSpec) -> Vec<&'static str> {
    let GuestResources { requests, limits } = &own.domain.resources;
    let cpu = own.domain.cpu.as_ref();
    let has = |is: fn(&Cpu) -> u32| cpu.is_some_and(|cpu| is(cpu) != 0);
    let of_cpu = [
        ("domain.resources.requests.cpu", requests.cpu.is_some()),
        ("domain.resources.limits.cpu", limits.cpu.is_some()),
        ("domain.cpu.sockets", has(|cpu| cpu.sockets)),
        ("domain.cpu.cores", has(|cpu| cpu.cores)),
        ("domain.cpu.threads", has(|cpu| cpu.threads)),
    ];
    let memory = &own.domain.memory;
    let of_memory = [
        ("domain.memory.guest", memory.guest.is_some()),
        ("domain.memory.hugepages", memory.hugepages.is_some() && from.memory.hugepages.is_some()),
        ("domain.resources.requests.memory", requests.memory.is_some()),
        ("domain.resources.limits.memory", limits.memory.is_some()),
    ];
    let is_set = |(path, is_set): (&'static str, bool)| is_set.then_some(path);
    // KubeVirt reports the first conflict of memory only.
    of_cpu.into_iter().filter_map(is_set).chain(of_memory.into_iter().find_map(is_set)).collect()
}

/// Sockets, cores and threads with KubeVirt's defaults. Mirrors `SetDefaultGuestCPUTopology` of
/// `pkg/defaults/defaults.go`.
pub(crate) fn with_defaults(spec: &VmiSpec) -> (u32, u32, u32) {
    let counts = spec.domain.cpu.as_ref().map_or((0, 0, 0), |cpu| (cpu.sockets, cpu.cores, cpu.threads));
    if counts != (0, 0, 0) {
        return counts;
    }
    let GuestResources { requests, limits } = &spec.domain.resources;
    let cpus = limits.cpu.as_ref().or(requests.cpu.as_ref()).and_then(whole);
    (cpus.unwrap_or(1), 1, 1)
}

/// Returns the next whole number.
fn whole(quantity: &Quantity) -> Option<u32> {
    u32::try_from(quantity.thousandths()?.checked_add(999)? / 1000).ok()
}

/// Returns the memory with KubeVirt's defaults. Mirrors `setGuestMemory` of `pkg/defaults/defaults.go`.
pub(super) fn memory(spec: &VmiSpec) -> Option<Quantity> {
    let GuestResources { requests, limits } = &spec.domain.resources;
    let is_set = |quantity: &&Quantity| quantity.thousandths() != Some(0);
    let by_resources = [&requests.memory, &limits.memory].into_iter().flatten().find(is_set);
    let pages = spec.domain.memory.hugepages.as_ref().map(|pages| Quantity(pages.page_size.clone()));
    spec.domain.memory.guest.as_ref().or(by_resources).cloned().or(pages)
}
