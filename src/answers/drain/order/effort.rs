//! How much of a search may still be done.

/// How much may still be tried.
#[derive(Debug)]
pub(super) struct TriesLeft {
    left: usize,
    pub tries: usize,
}

impl TriesLeft {
    pub(super) fn of(most: usize) -> Self {
        Self { left: most, tries: 0 }
    }

    /// Takes one of the tries that are left, if there is one.
    pub(super) fn takes_one(&mut self) -> bool {
        let takes = self.left > 0;
        self.left -= usize::from(takes);
        self.tries += usize::from(takes);
        takes
    }

    pub(super) fn is_used_up(&self) -> bool {
        self.left == 0
    }
}
