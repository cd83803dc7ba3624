//! The remaining budget of a search.

/// The number of tries left and used.
#[derive(Debug)]
pub(super) struct TriesLeft {
    left: usize,
    pub tries: usize,
}

impl TriesLeft {
    pub(super) fn of(most: usize) -> Self {
        Self { left: most, tries: 0 }
    }

    /// Uses one try; returns false if none is left.
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
