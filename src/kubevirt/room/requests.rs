//! The requests of a pod, as the scheduler counts them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::quantity::amounts;
use super::{Amounts, Container, ContainerStatus, PodRoomSpec, PodRoomStatus, Resources, add};

/// The source of a container's requests.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    /// Its specification.
    Spec,
    /// The node's last admission: `allocatedResources`.
    Allocated,
    /// The container as it runs: `resources`.
    Actuated,
}

/// Returns the requests of a pod: the sum of its containers and sidecars, or an init container's if they are larger, or
/// the pod-level requests; plus the overhead.
///
/// A pod that is resized in place counts with the most of what it asks for, what its node admitted and what it has; one
/// whose resize is infeasible with what it has. Mirrors `AggregateContainerRequests` and `effectivePodLevelResources`,
/// which kube-scheduler calls with `UseStatusResources` (`InPlacePodVerticalScaling`); without that feature the status
/// has no such fields.
pub(super) fn requests(spec: &PodRoomSpec, status: &PodRoomStatus) -> Amounts {
    let pending = status.conditions.iter().flatten().find(|it| it.r#type.as_deref() == Some("PodResizePending"));
    let is_infeasible = pending.is_some_and(|condition| condition.reason.as_deref() == Some("Infeasible"));
    let mut out = Amounts::new();
    for of in [Of::Spec, Of::Allocated, Of::Actuated] {
        if of != Of::Spec || !is_infeasible {
            most(&mut out, &sum(spec, status, of, is_infeasible));
        }
    }
    let overhead = spec.overhead.as_ref().map(amounts).unwrap_or_default();
    if let Some(asked) = spec.resources.as_ref().and_then(in_requests) {
        let mut of_pod = if is_infeasible { Amounts::new() } else { asked.clone() };
        let of_status = [status.resources.as_ref().and_then(in_requests), stated(status.allocated_resources.as_ref())];
        for mut reported in of_status.into_iter().flatten() {
            // The status includes the overhead.
            for (resource, amount) in &mut reported {
                *amount = amount.saturating_sub(overhead.get(resource).copied().unwrap_or(0));
            }
            most(&mut of_pod, &reported);
        }
        // A snapshot gives all requests of a pod in this way.
        out.extend(of_pod);
    }
    add(&mut out, &overhead);
    out
}

/// Sums the requests of containers.
fn sum(spec: &PodRoomSpec, status: &PodRoomStatus, of: Of, is_infeasible: bool) -> Amounts {
    let statuses = || status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
    let find = |container: &Container| {
        let name = container.name.as_deref().filter(|name| !name.is_empty())?;
        statuses().find(|status| status.name.as_deref() == Some(name))
    };
    let own = |container: &Container| of_container(container, find(container), of, is_infeasible);
    let mut running = Amounts::new();
    for container in spec.containers.iter().flatten() {
        add(&mut running, &own(container));
    }
    let (mut sidecars, mut starting) = (Amounts::new(), Amounts::new());
    for container in spec.init_containers.iter().flatten() {
        let own = own(container);
        if container.restart_policy.as_deref() == Some("Always") {
            add(&mut sidecars, &own);
            most(&mut starting, &sidecars);
        } else {
            let mut beside = sidecars.clone();
            add(&mut beside, &own);
            most(&mut starting, &beside);
        }
    }
    add(&mut running, &sidecars);
    most(&mut running, &starting);
    running
}

fn of_container(container: &Container, status: Option<&ContainerStatus>, of: Of, is_infeasible: bool) -> Amounts {
    let asked = || container.resources.as_ref().and_then(in_requests);
    let allocated = || stated(status?.allocated_resources.as_ref());
    let has = || status?.resources.as_ref().and_then(in_requests);
    let wanted = || asked().filter(|_| !is_infeasible);
    let found = match of {
        Of::Spec => asked(),
        Of::Allocated => allocated().or_else(wanted),
        Of::Actuated => has().or_else(allocated).or_else(wanted),
    };
    found.unwrap_or_default()
}

fn in_requests(resources: &Resources) -> Option<Amounts> {
    stated(resources.requests.as_ref())
}

fn stated(of: Option<&BTreeMap<String, Value>>) -> Option<Amounts> {
    of.map(amounts)
}

fn most(of: &mut Amounts, other: &Amounts) {
    for (resource, amount) in other {
        let known = of.entry(resource.clone()).or_default();
        *known = (*known).max(*amount);
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_asks_for_its_containers_and_side_cars_or_for_its_largest_init_container() {
        let spec: PodRoomSpec = serde_json::from_value(json!({
            "containers": [{"resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}, {"resources": {"requests": {"cpu": "500m"}}}],
            "initContainers": [
                {"restartPolicy": "Always", "resources": {"requests": {"cpu": "250m"}}},
                {"resources": {"requests": {"memory": "3Gi", "cpu": "100m"}}},
            ],
            "overhead": {"memory": "1Gi"},
        }))
        .unwrap_or_default();
        let asked = requests(&spec, &PodRoomStatus::default());
        assert_eq!((asked["cpu"], asked["memory"]), (1750, 4000 << 30), "the scheduler would count otherwise");
    }

    /// Containers `a` and `b` ask for one core each.
    #[rstest]
    #[case::not_resized(json!({"containerStatuses": [
        {"name": "a", "allocatedResources": {"cpu": "1"}, "resources": {"requests": {"cpu": "1"}}}]}), 2)]
    #[case::to_be_larger(json!({"containerStatuses": [
        {"name": "a", "allocatedResources": {"cpu": "500m"}, "resources": {"requests": {"cpu": "500m"}}}]}), 2)]
    #[case::to_be_smaller(json!({"containerStatuses": [
        {"name": "a", "allocatedResources": {"cpu": "3"}, "resources": {"requests": {"cpu": "3"}}}]}), 4)]
    #[case::admitted_and_not_yet_smaller(json!({"containerStatuses": [
        {"name": "a", "allocatedResources": {"cpu": "1"}, "resources": {"requests": {"cpu": "4"}}}]}), 5)]
    #[case::deferred(json!({"conditions": [{"type": "PodResizePending", "status": "True", "reason": "Deferred"}],
        "containerStatuses": [{"name": "a", "allocatedResources": {"cpu": "250m"}}]}), 2)]
    #[case::larger_and_smaller(json!({"containerStatuses": [
        {"name": "a", "allocatedResources": {"cpu": "0"}}, {"name": "b", "allocatedResources": {"cpu": "3"}}]}), 3)]
    #[case::of_another_container(json!({"containerStatuses": [{"name": "c", "allocatedResources": {"cpu": "9"}}]}), 2)]
    #[case::all_infeasible(json!({"conditions": [{"type": "PodResizePending", "status": "True", "reason": "Infeasible"}],
        "containerStatuses": [
            {"name": "a", "allocatedResources": {"cpu": "0"}}, {"name": "b", "allocatedResources": {"cpu": "1"}}]}), 1)]
    fn a_resized_pod_counts_with_what_it_has_or_asks_for(#[case] status: Value, #[case] cores: i64) {
        let ask = |name: &str| json!({"name": name, "resources": {"requests": {"cpu": "1"}}});
        let spec: PodRoomSpec = serde_json::from_value(json!({"containers": [ask("a"), ask("b")]})).expect("a pod");
        let status: PodRoomStatus = serde_json::from_value(status).expect("a status");
        assert_eq!(requests(&spec, &status)["cpu"], cores * 1000, "the scheduler would count otherwise");
    }

    /// The requests of a pod as a whole include no overhead, those of its status do.
    #[rstest]
    #[case::not_resized(json!({"resources": {"requests": {"memory": "3Gi"}}}), 3)]
    #[case::to_be_smaller(json!({"allocatedResources": {"memory": "5Gi"}}), 5)]
    #[case::infeasible(json!({"conditions": [{"type": "PodResizePending", "reason": "Infeasible"}],
        "allocatedResources": {"memory": "2Gi"}}), 2)]
    fn a_resized_pod_with_requests_as_a_whole_counts_with_them(#[case] status: Value, #[case] gib: i64) {
        let spec: PodRoomSpec = serde_json::from_value(
            json!({"resources": {"requests": {"memory": "2Gi"}}, "overhead": {"memory": "1Gi"}}),
        )
        .expect("a pod");
        let status: PodRoomStatus = serde_json::from_value(status).expect("a status");
        assert_eq!(requests(&spec, &status)["memory"], (gib * 1000) << 30, "the scheduler would count otherwise");
    }
}
