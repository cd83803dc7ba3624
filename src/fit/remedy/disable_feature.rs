//! Remedy: disable a CPU feature instead of forbidding it: both hide it from the guest, but only `forbid`
//! keeps the guest off the nodes that have it.
//!
//! Mirrors `setNodeAffinityForPod` of `pkg/virt-controller/services/template.go`, which rejects only the
//! labels of forbidden features.

use super::drop_setting::changed;
use super::{Act, Changes, Commands, Outage, Remedy, RemedyId, RemedySpec, change_features, name_another};
use crate::fit::author::TypeReference;
use crate::fit::fleet::Fleet;
use crate::fit::judgement::Judgement;
use crate::fit::node::Node;
use crate::fit::subject::{ListedFeature, Setting, Subject};

pub(super) const SPEC: RemedySpec = RemedySpec {
    id: RemedyId::DisableFeature,
    word: "disable-feature",
    outage: Outage::Restart,
    risk: "none known: the guest is without the feature either way",
    changes: Changes::Template,
    remakes_target: false,
    gives_room: false,
    offer,
    not_helping: None,
};

/// The risk for a guest whose features are no longer forbidden.
const WITH_FEATURE: &str = "the guest may see the feature: nothing else disables it";

/// The change of these CPU features from `forbid` to `disable`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DisableFeature {
    /// The features.
    pub features: Vec<ListedFeature>,
    /// The preference that forbids them; `None` if the guest's own specification does.
    pub set_by: Option<TypeReference>,
}

fn offer(judgement: &Judgement<'_, '_>) -> Option<Remedy> {
    judgement.first_that_helps(judgement.subject.changes.iter().filter_map(|change| {
        let Setting::Forbidden(features) = &change.setting else { return None };
        Some(DisableFeature { features: features.clone(), set_by: change.set_by.clone() }.into())
    }))
}

impl Act for DisableFeature {
    /// Returns the risk of another preference, which is not known to forbid or disable the features.
    fn risk(&self, _: &Subject<'_>) -> Option<&'static str> {
        self.set_by.is_some().then_some(WITH_FEATURE)
    }

    fn commands(&self, subject: &Subject<'_>) -> Commands {
        match &self.set_by {
            Some(named) => name_another(subject, &[named]),
            None => change_features(subject, &self.features, Some("disable")),
        }
    }

    fn apply(&self, subject: &mut Subject<'_>, _: &Fleet) -> Vec<Node> {
        changed(subject, &Setting::Forbidden(self.features.clone()), self.set_by.as_ref());
        Vec::new()
    }
}
