//! Arguments for a cluster with a KubeVirt domain other than `kubevirt.io`.

use super::Verb;
use crate::domain::Domain;
use crate::policy::LabelSelector;
use crate::snapshot::DumpSource;

impl Verb {
    /// Returns the dumps that a verb reads.
    #[must_use]
    pub fn dumps(&self) -> Vec<DumpSource> {
        match self {
            Self::Serve(args) => args.world.snapshot.clone(),
            Self::Check(args) => args.world.snapshot.clone(),
            Self::Explain(args) => args.world.snapshot.clone(),
            Self::Audit(args) => args.world.snapshot.clone(),
            Self::Drain(args) => args.world.snapshot.clone(),
            Self::Recommend(args) => args.world.snapshot.clone(),
            Self::Diff(args) => args.worlds().into_iter().flat_map(|world| world.snapshot).collect(),
            Self::Snapshot(args) => args.snapshot.clone(),
            Self::Test(_)
            | Self::Certs(_)
            | Self::Manifests(_)
            | Self::Probe(_)
            | Self::Version(_)
            | Self::Completion(_)
            | Self::Complete(_) => Vec::new(),
        }
    }

    /// Replaces the types and label keys in the arguments by KubeVirt's own names.
    pub(crate) fn inward(mut self, domain: &Domain) -> Self {
        let rename = |selector: &mut LabelSelector| *selector = selector.inward(domain);
        match &mut self {
            Self::Check(args) => args.selector.iter_mut().for_each(rename),
            Self::Audit(args) => {
                args.list.selector.iter_mut().for_each(rename);
                args.objects.iter_mut().for_each(|object| *object = domain.inward(object).into_owned());
            }
            Self::Recommend(args) => args.node_selector.iter_mut().for_each(rename),
            Self::Explain(args) => {
                args.list.selector.iter_mut().for_each(rename);
                args.objects.iter_mut().for_each(|object| *object = domain.inward(object).into_owned());
            }
            Self::Diff(args) => args.list.selector.iter_mut().for_each(rename),
            Self::Drain(args) => args.selector.iter_mut().for_each(rename),
            Self::Serve(_)
            | Self::Test(_)
            | Self::Snapshot(_)
            | Self::Certs(_)
            | Self::Manifests(_)
            | Self::Probe(_)
            | Self::Version(_)
            | Self::Completion(_)
            | Self::Complete(_) => {}
        }
        self
    }
}
