//! The failure of the guest's last migration.

/// The last migration of the guest, which failed. Mirrors `status.migrationState`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedMigration {
    /// The node that was tried.
    pub target: String,
    /// The part of `failureReason` that libvirt wrote, shortened.
    pub reason: String,
    /// Whether libvirt refused the guest's CPU. Any other failure is repeated as it is.
    pub is_of_cpu: bool,
    /// CPU features that are missing on the target.
    pub missing: Vec<String>,
    /// CPU features of the target's QEMU that the guest does not have.
    pub extra: Vec<String>,
}

/// The most characters of a failure that is not understood.
const FAILURE_CHARS: usize = 240;

/// Reads the failure reason of a migration; `None` if it is empty. A sentence that is not known as one of libvirt about
/// the CPU is repeated, up to a bound.
pub(crate) fn failed_migration(target: &str, reason: &str) -> Option<FailedMigration> {
    /// The beginnings of libvirt's sentences about a CPU.
    const OF_CPU: [&str; 5] = [
        "guest CPU doesn't match specification",
        "guest CPU is incompatible with host CPU",
        "guest and host CPU are not compatible",
        "the CPU is incompatible with host CPU",
        "Host CPU does not provide required features",
    ];
    let begin = OF_CPU.iter().filter_map(|sentence| reason.find(sentence)).min();
    let quoted = || reason.split_once("Message='").map_or(reason, |(_, message)| message);
    let said = begin.map_or_else(quoted, |at| &reason[at..]).trim().trim_end_matches(['\'', ')', '"']);
    if said.is_empty() {
        return None;
    }
    let words = begin.map_or("", |_| said);
    let list = |heads: &[&str]| -> Vec<String> {
        let found = heads.iter().find_map(|head| words.split_once(head));
        let Some((_, rest)) = found else { return Vec::new() };
        let end = rest.find([';', '\'', '"', ')', '\n']).unwrap_or(rest.len());
        let end = rest.find("extra features").map_or(end, |other| other.min(end));
        rest[..end].split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
    };
    let shorten = || match said.char_indices().nth(FAILURE_CHARS) {
        Some((end, _)) => format!("{} …", said[..end].trim_end()),
        None => said.to_owned(),
    };
    Some(FailedMigration {
        target: target.to_owned(),
        reason: if begin.is_some() { said.to_owned() } else { shorten() },
        is_of_cpu: begin.is_some(),
        missing: list(&["missing features:", "required features:"]),
        extra: list(&["extra features:"]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::extra(
        "Live migration failed … virError(Code=9, Domain=31, Message='operation failed: guest CPU doesn't match specification: extra features: ht')",
        &[], &["ht"]
    )]
    #[case::missing("operation failed: guest CPU doesn't match specification: missing features: erms,vaes,vpclmulqdq,fsrm", &["erms", "vaes", "vpclmulqdq", "fsrm"], &[])]
    #[case::both("guest CPU doesn't match specification: missing features: a, b; extra features: c", &["a", "b"], &["c"])]
    fn refusals_of_libvirt_are_read(#[case] reason: &str, #[case] missing: &[&str], #[case] extra: &[&str]) {
        let Some(found) = failed_migration("n1", reason) else {
            panic!("the only trace of the guest's real CPU is lost")
        };
        assert_eq!(
            (found.missing.as_slice(), found.extra.as_slice()),
            (
                missing.iter().map(ToString::to_string).collect::<Vec<_>>().as_slice(),
                extra.iter().map(ToString::to_string).collect::<Vec<_>>().as_slice(),
            )
        );
    }

    const MIGRATE: &str = "Live migration failed error encountered during MigrateToURI3 libvirt api call: ";

    #[rstest]
    #[case::of_the_host(
        "virError(Code=91, Domain=31, Message='the CPU is incompatible with host CPU: Host CPU does not provide required features: waitpkg')",
        "the CPU is incompatible with host CPU: Host CPU does not provide required features: waitpkg", &["waitpkg"], true
    )]
    #[case::as_older_libvirts_say_it(
        "virError(Code=9, Domain=10, Message='unsupported configuration: guest and host CPU are not compatible: Host CPU does not provide required features: a, b')",
        "guest and host CPU are not compatible: Host CPU does not provide required features: a, b", &["a", "b"], true
    )]
    #[case::without_features(
        "virError(Code=91, Domain=31, Message='the CPU is incompatible with host CPU')",
        "the CPU is incompatible with host CPU", &[], true
    )]
    #[case::of_a_property(
        "virError(Code=1, Domain=10, Message='internal error: qemu unexpectedly closed the monitor: qemu-kvm: can't apply global x-cpu.vmx-foo=on: Property 'x-cpu.vmx-foo' not found')",
        "internal error: qemu unexpectedly closed the monitor: qemu-kvm: can't apply global x-cpu.vmx-foo=on: Property 'x-cpu.vmx-foo' not found", &[], false
    )]
    #[case::of_a_register(
        "virError(Code=1, Domain=10, Message='internal error: QEMU unexpectedly closed the monitor: error: failed to set MSR 0x48f to 0x7fffff00036dfb')",
        "internal error: QEMU unexpectedly closed the monitor: error: failed to set MSR 0x48f to 0x7fffff00036dfb", &[], false
    )]
    #[case::of_a_machine_type(
        "virError(Code=1, Domain=10, Message='internal error: unsupported machine type pc-q35-9.2')",
        "internal error: unsupported machine type pc-q35-9.2", &[], false
    )]
    fn each_failure_is_repeated(
        #[case] reason: &str,
        #[case] said: &str,
        #[case] missing: &[&str],
        #[case] is_of_cpu: bool,
    ) {
        let Some(found) = failed_migration("n1", &format!("{MIGRATE}{reason}")) else {
            panic!("a guest that failed to migrate is said to fit")
        };
        let read: Vec<&str> = found.missing.iter().map(String::as_str).collect();
        assert_eq!((found.reason.as_str(), read.as_slice(), found.is_of_cpu), (said, missing, is_of_cpu));
        assert_eq!(failed_migration("n1", &found.reason), Some(found), "a snapshot says something else");
    }

    #[test]
    fn failures_that_libvirt_does_not_quote_are_repeated_up_to_a_bound() {
        let aborted = "Live migration aborted: operation failed: Cannot complete within the progress timeout 150";
        let found = failed_migration("n1", aborted);
        assert_eq!(found.as_ref().map(|found| (found.reason.as_str(), found.is_of_cpu)), Some((aborted, false)));
        let long = failed_migration("n1", &"ä".repeat(10_000)).map(|found| found.reason.chars().count());
        assert_eq!(long, Some(FAILURE_CHARS + 2), "one guest fills the screen");
        assert_eq!(failed_migration("n1", ""), None);
    }
}
