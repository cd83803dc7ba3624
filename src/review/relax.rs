//! The authorization to set `cpufit.io/relax` on a migration.

use std::collections::BTreeMap;

use crate::admission::response::{Decision, Denial, DenialKind, Warnings};
use crate::admission::review::{self, Request, ReviewError, ReviewedObject};
use crate::enforce::trim;
use crate::kubevirt::resource::Resource;
use crate::kubevirt::wire::Vmim;
use crate::well_known;

/// Refuses a migration that newly has the annotation `cpufit.io/relax`, for every sender.
///
/// The API server calls this webhook only for senders who lack the verb `relax` on `cpupolicies`: that is a match
/// condition. So the answer does not reveal a user's rights. Only this webhook is registered to fail closed.
pub(super) fn authorize(request: &Request<'_>) -> Result<Decision, ReviewError> {
    let read = |path, json| review::object::<Vmim>(path, json);
    let new = match request.object.as_ref() {
        Some(ReviewedObject::Text(json)) if Resource::Migrations.is(&request.kind.group, &request.kind.kind) => {
            read("request.object", json)?
        }
        _ => return Ok(Decision::admit()),
    };
    let old = request.old_object.map(|json| read("request.oldObject", json)).transpose()?;
    if !trim::asks_relax(&new, old.as_ref()) {
        return Ok(Decision::admit());
    }
    let name = if new.metadata.name.is_empty() { new.metadata.generate_name } else { new.metadata.name };
    Ok(Decision::Deny {
        denial: Denial {
            code: DenialKind::Forbidden,
            message: format!(
                "annotation {}: {} may not set it: that takes the verb relax on cpupolicies.cpufit.io",
                well_known::RELAX.key,
                &*request.user.username
            ),
            details: Vec::new(),
            group: Resource::Migrations.group().to_owned(),
            kind: Resource::Migrations.kind().to_owned(),
            name,
            causes: Vec::new(),
        },
        warnings: Warnings::default(),
        audit: BTreeMap::new(),
    })
}
