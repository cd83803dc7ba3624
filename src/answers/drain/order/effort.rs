//! The remaining budget of a search.

/// The number of tries left and used.
pub(super) struct TriesLeft<'p> {
    left: usize,
    pub tries: usize,
    /// Called with the number of tries so far and their limit.
    progress: &'p dyn Fn(usize, usize),
}

impl<'p> TriesLeft<'p> {
    pub(super) fn of(most: usize, progress: &'p dyn Fn(usize, usize)) -> Self {
        Self { left: most, tries: 0, progress }
    }

    /// Uses one try; returns false if none is left.
    pub(super) fn takes_one(&mut self) -> bool {
        let takes = self.left > 0;
        self.left -= usize::from(takes);
        self.tries += usize::from(takes);
        if takes {
            (self.progress)(self.tries, self.tries + self.left);
        }
        takes
    }

    pub(super) fn is_used_up(&self) -> bool {
        self.left == 0
    }
}

impl Drop for TriesLeft<'_> {
    /// Ends the progress of a search that found its answer.
    fn drop(&mut self) {
        (self.progress)(self.tries + self.left, self.tries + self.left);
    }
}
