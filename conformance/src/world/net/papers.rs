//! Certificates, as far as a simulated network has them.

/// Which authority signed what a process shows, and which one it wants to see; none where its TLS is off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Papers {
    shows: Option<&'static str>,
    trusts: Option<&'static str>,
}

impl Papers {
    /// Those of a process with a certificate of one authority that trusts another, or the same.
    #[must_use]
    pub const fn new(shows: Option<&'static str>, trusts: Option<&'static str>) -> Self {
        Self { shows, trusts }
    }

    /// Whether a process with these papers talks to one with those.
    pub(super) fn accept(self, other: Self) -> bool {
        self.trusts == other.shows
    }
}
