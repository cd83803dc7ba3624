//! How many files and connections the process may have open.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What is kept for the watches, files and the log.
const OTHERS: usize = 128;

/// How many descriptors are left beside this number of connections.
pub(crate) fn beyond(connections: usize) -> usize {
    most().map_or(usize::MAX, |most| most.saturating_sub(connections + OTHERS))
}

/// The most descriptors that may be open; `None` where there is no limit.
pub(crate) fn most() -> Option<usize> {
    getrlimit(Resource::Nofile).current.map(|most| most.try_into().unwrap_or(usize::MAX))
}

/// Raises the limit to the most that the system grants this process: the soft one to the hard one. Programs begin with a low soft
/// limit for those of them that use `select`, which this one does not.
///
/// # Errors
/// The system refuses; the limit is as it was.
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
        assert!(most > 100 + OTHERS && beyond(100) >= most - 100 - OTHERS);
        assert!(most == usize::MAX || beyond(most) == 0);
        Ok(())
    }
}
