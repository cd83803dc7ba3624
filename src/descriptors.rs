//! Limits of open files and connections of the process.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Number of descriptors reserved for the watches, files and the log.
const RESERVED_DESCRIPTORS: usize = 128;

/// Returns the number of descriptors left in addition to this number of connections.
pub(crate) fn beyond(connections: usize) -> usize {
    most().map_or(usize::MAX, |most| most.saturating_sub(connections + RESERVED_DESCRIPTORS))
}

/// Returns the maximum number of open descriptors; `None` if there is no limit.
pub(crate) fn most() -> Option<usize> {
    getrlimit(Resource::Nofile).current.map(|most| most.try_into().unwrap_or(usize::MAX))
}

/// Raises the soft limit of descriptors to the hard limit. Programs start with a low soft limit for the sake of
/// `select`, which this one does not use.
///
/// # Errors
/// The system refuses; the limit is unchanged.
pub(crate) fn raise() -> io::Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() -> io::Result<()> {
        raise()?;
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!(current, maximum);
        let most = most().unwrap_or(usize::MAX);
        assert!(most > 100 + RESERVED_DESCRIPTORS && beyond(100) >= most - 100 - RESERVED_DESCRIPTORS);
        assert!(most == usize::MAX || beyond(most) == 0);
        Ok(())
    }
}
