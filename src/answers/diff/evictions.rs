//! The guests that the eviction by a drain treats otherwise than before.

use serde::Serialize;

use super::direction::Direction;
use crate::kubevirt::cluster::Cluster;
use crate::kubevirt::eviction::{Effect, effect, strategy};
use crate::kubevirt::migration;
use crate::kubevirt::wire::Vmi;
use crate::word::words;

words! {
    /// The effect of an eviction on a guest, the best first.
    #[derive(Serialize)]
    #[serde(into = "&'static str")]
    EvictionWord {
        /// A migration by KubeVirt, also one that it refuses to begin.
        Migrates = "migrates",
        /// None: KubeVirt is configured to start no migration, and the drain waits.
        Waits = "waits",
        /// None: another program or a user has to move the guest.
        Stays = "stays",
        /// A shutdown.
        ShutDown = "shut-down",
    }
}

/// A guest on which an eviction has another effect than before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EvictionChange {
    /// The guest as `namespace/name`.
    pub guest: String,
    /// The effect before.
    pub before: EvictionWord,
    /// The effect now.
    pub after: EvictionWord,
    /// The direction of the change.
    pub turn: Direction,
}

/// Compares the effects for a guest that runs on both sides; `None` if they are equal, or one is not known.
pub(super) fn change(title: &str, (was, old): (&Vmi, &Cluster), (is, new): (&Vmi, &Cluster)) -> Option<EvictionChange> {
    let (before, after) = (word(was, old)?, word(is, new)?);
    let turn = if after > before { Direction::Worse } else { Direction::Better };
    (before != after).then(|| EvictionChange { guest: title.to_owned(), before, after, turn })
}

fn word(vmi: &Vmi, cluster: &Cluster) -> Option<EvictionWord> {
    strategy(vmi, cluster).filter(|_| migration::runs(vmi))?;
    match effect(vmi, cluster) {
        Effect::Ends => None,
        Effect::Migrates | Effect::MigratesOnceItRuns | Effect::NotMigrated(_) => Some(EvictionWord::Migrates),
        Effect::NotStarted(_) => Some(EvictionWord::Waits),
        Effect::External => Some(EvictionWord::Stays),
        Effect::ShutDown(_) | Effect::Held(_) => Some(EvictionWord::ShutDown),
    }
}
