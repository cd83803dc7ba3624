//! Judgements compared with recorded results of `KubeVirt`'s own code and of kube-scheduler's own filters.
//!
//! `GOLDEN=DIR` names other vectors of the same form; `-- --nocapture` prints the counts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::common::{self, Scratch, Tally, data, differences, fitting, kubevirt, launcher_pod, list, node, read_json};
use serde_json::{Map, Value, json};

/// Runs `check`. Checks as well that a policy that keeps the selectors of launcher pods, like any policy that does not
/// mention them, changes neither the predicted pod nor the fitting nodes, and causes no patch.
fn check(snapshots: &[&Path], files: &[&Path], more: &[&str]) -> Vec<Value> {
    let results = common::check(snapshots, files, more);
    let scratch = Scratch::new();
    let keep = common::policy("keep", &json!({"launcherSelectors": "Keep"}));
    let keep = scratch.write_json("keep.json", &keep);
    let kept =
        common::check(snapshots, files, &[more, &["--policy", keep.to_str().expect("a path in UTF-8")]].concat());
    assert_eq!(results, kept, "a policy that keeps all changes what is judged");
    assert!(
        kept.iter().all(|result| result["patch"].as_array().is_some_and(Vec::is_empty)),
        "it patches what it keeps"
    );
    results
}

fn vectors(file: &str) -> Value {
    read_json(&data("GOLDEN", "golden").join(file))
}

fn cases(file: &str) -> Vec<Value> {
    vectors(file).as_array().unwrap_or_else(|| panic!("{file} is no list")).clone()
}

fn name(case: &Value) -> &str {
    case["name"].as_str().unwrap_or("(no name)")
}

/// Returns a value with empty lists and maps as null: `null`, absent and empty are equal in a pod's placement fields.
fn given(value: &Value) -> Value {
    match value {
        Value::Array(items) if items.is_empty() => Value::Null,
        Value::Object(fields) if fields.is_empty() => Value::Null,
        other => other.clone(),
    }
}

/// Returns the differences between the predicted and the recorded placement, in these fields.
fn placement_differences(fields: &[&str], recorded: &Value, predicted: &Value) -> Vec<String> {
    if !predicted.is_object() {
        return vec![format!("predicted is {predicted}, although KubeVirt creates a pod here")];
    }
    fields.iter().flat_map(|field| differences(field, &given(&recorded[field]), &given(&predicted[field]))).collect()
}

/// Returns the launcher of a VMI without `KubeVirt`'s defaults: node selector, affinity and tolerations.
///
/// `check` always applies defaults first, as a cluster does, so the library is called directly.
fn rendered_without_defaulting(vmi: &Value, kubevirt_config: &Value) -> Value {
    use cpufit::kubevirt::{defaults::ClusterConfig, launch, release::Release, wire};
    let vmi: wire::Vmi = serde_json::from_value(vmi.clone()).expect("the vector's VMI is readable");
    let kubevirt: wire::KubeVirt =
        serde_json::from_value(json!({"spec": {"configuration": kubevirt_config}})).expect("so is its configuration");
    let rendered = launch::render(&vmi.spec, &vmi.status, &ClusterConfig::from(kubevirt), Release::NEWEST);
    serde_json::to_value(rendered).expect("a rendered pod can be printed")
}

/// Returns the submitted VMI, with the TSC frequency that virt-controller writes into its status before it creates the
/// pod: the only input of the renderer that comes neither from the user nor from the defaults.
fn submitted(case: &Value) -> Value {
    let mut vmi = case["vmiSubmitted"].clone();
    let hints = &case["vmi"]["status"]["topologyHints"];
    if hints.is_object() {
        vmi["status"]["topologyHints"] = hints.clone();
    }
    vmi
}

#[test]
fn launch_pods_are_rendered_as_kubevirt_renders_them() {
    const FIELDS: [&str; 3] = ["nodeSelector", "affinity", "tolerations"];
    let mut tally = Tally::new("launch-pods");
    let mut by_config: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let mut asked = 0;
    for case in cases("launch-pods.json") {
        if name(&case).ends_with("-undefaulted") {
            let rendered = rendered_without_defaulting(&case["vmi"], &case["kubevirtConfig"]);
            asked += 1;
            tally.case(name(&case), &placement_differences(&FIELDS, &case["pod"]["spec"], &rendered));
        } else {
            by_config.entry(case["kubevirtConfig"].to_string()).or_default().push(case);
        }
    }
    for group in by_config.values() {
        let scratch = Scratch::new();
        let labels = json!({"kubernetes.io/arch": "amd64", "kubevirt.io/schedulable": "true", "cpu-model.node.kubevirt.io/Haswell": "true"});
        let snapshot = scratch.write_json(
            "snapshot.json",
            &list([node("node-1", &labels), node("node-2", &labels), kubevirt(&group[0]["kubevirtConfig"])]),
        );
        let input = scratch.write_json("guests.json", &list(group.iter().map(submitted)));
        let results = check(&[&snapshot], &[&input], &["--predict"]);
        assert_eq!(results.len(), group.len(), "a guest got no result, so users do not see that it cannot start");
        for (case, result) in group.iter().zip(&results) {
            let found = placement_differences(&FIELDS, &case["pod"]["spec"], &result["predicted"]);
            tally.case(name(case), &found);
        }
    }
    if asked > 0 {
        tally.note(format!("{asked} without defaulting, asked of the library"));
    }
    tally.finish("a guest would be judged by a selector that its launcher pod will not have");
}

/// Returns the cluster as in a dump made just before the migration is created.
fn migration_snapshot(case: &Value) -> Value {
    // An additional node, so that the fleet is not empty if the source node does not exist.
    let mut items = vec![
        node("bystander", &json!({"kubernetes.io/arch": "amd64", "cpu-feature.node.kubevirt.io/aes": "true"})),
        kubevirt(&case["kubevirtConfig"]),
        case["vmi"].clone(),
    ];
    if let Some(source) = case["sourceNode"]["name"].as_str() {
        items.push(node(source, &case["sourceNode"]["labels"]));
    }
    if case["sourcePod"].is_object() {
        let mut pod = case["sourcePod"].clone();
        pod["apiVersion"] = json!("v1");
        pod["kind"] = json!("Pod");
        pod["metadata"]["uid"] = json!("0f0f0f0f-0000-4000-8000-000000000001");
        // Launchers on nodes that the guest has left remain, Succeeded, until they are deleted.
        for (index, left) in case["earlierNodes"].as_array().into_iter().flatten().enumerate() {
            let mut old = pod.clone();
            old["metadata"]["name"] = json!(format!("virt-launcher-left-behind-{index}"));
            old["metadata"]["uid"] = json!(format!("0f0f0f0f-0000-4000-8000-0000000001{index:02}"));
            old["spec"]["nodeName"] = left.clone();
            old["spec"]["nodeSelector"] = json!({"kubernetes.io/arch": "amd64", "kubevirt.io/schedulable": "true"});
            old["status"] = json!({"phase": "Succeeded"});
            items.push(old);
        }
        pod["spec"]["containers"] = json!([{"name": "compute", "image": "registry.example/virt-launcher:v1"}]);
        pod["status"] = json!({"phase": "Running"});
        items.push(pod);
    }
    list(items)
}

#[test]
fn migration_targets_are_predicted_as_kubevirt_creates_them() {
    let mut tally = Tally::new("migration-pods");
    let mut injected = 0;
    for case in cases("migration-pods.json") {
        if !case["apiServerRefusal"].is_null() {
            injected += 1;
            continue;
        }
        let scratch = Scratch::new();
        let snapshot = scratch.write_json("snapshot.json", &migration_snapshot(&case));
        let input = scratch.write_json("migration.json", &case["migration"]);
        let results = check(&[&snapshot], &[&input], &["--predict"]);
        let result = results.first().unwrap_or(&Value::Null);
        let target = &case["result"]["targetPod"];
        let found = if target.is_object() {
            placement_differences(&["nodeSelector", "affinity"], &target["spec"], &result["predicted"])
        } else {
            let mut found = Vec::new();
            if result.get("predicted") != Some(&Value::Null) {
                found.push(format!(
                    "expected predicted null ({}), got {}",
                    case["result"]["error"], result["predicted"]
                ));
            }
            let said = result["findings"].as_array().into_iter().flatten();
            if said.filter_map(|finding| finding["message"].as_str()).all(str::is_empty) {
                found.push("no finding says why KubeVirt would create no pod".to_owned());
            }
            found
        };
        tally.case(name(&case), &found);
    }
    if injected > 0 {
        tally.note(format!("{injected} with an injected refusal left out"));
    }
    tally.finish("a migration would be judged by a selector that its target pod will not have");
}

/// Returns the part of a placement that filters nodes by their labels.
fn required(placement: &Value) -> Value {
    let affinity = &placement["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    json!({"nodeSelector": placement["nodeSelector"], "required node affinity": affinity})
}

/// `VirtualMachine`s as submitted, as stored by virt-api, and their instances made by virt-controller: each predicts
/// the actual pod.
#[test]
fn virtual_machines_become_the_pods_that_kubevirt_makes_of_them() {
    const FIELDS: [&str; 2] = ["nodeSelector", "required node affinity"];
    let folder = data("GOLDEN", "golden").join("vm-pods");
    let mut files: Vec<_> =
        std::fs::read_dir(&folder).expect("vm-pods").map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} holds no vectors", folder.display());
    for file in files {
        let vectors = read_json(&file);
        let scratch = Scratch::new();
        let snapshot =
            scratch.write_json("snapshot.json", &list(vectors["cluster"].as_array().expect("cluster").clone()));
        let (accepted, refused): (Vec<&Value>, Vec<&Value>) =
            vectors["cases"].as_array().expect("cases").iter().partition(|case| case["pod"].is_object());
        for stand in ["vm", "stored", "vmi"] {
            let stem = file.file_stem().unwrap_or_default().to_string_lossy();
            let mut tally = Tally::new(format!("vm-pods/{stem}, {stand}"));
            let input = scratch.write_json("guests.json", &list(accepted.iter().map(|case| case[stand].clone())));
            let results = check(&[&snapshot], &[&input], &["--predict"]);
            assert_eq!(
                results.len(),
                accepted.len(),
                "a guest got no result, so users do not see that it cannot start"
            );
            for (case, result) in accepted.iter().zip(&results) {
                let predicted = match &result["predicted"] {
                    Value::Object(_) => required(&result["predicted"]),
                    none => none.clone(),
                };
                tally.case(name(case), &placement_differences(&FIELDS, &required(&case["pod"]), &predicted));
            }
            if !refused.is_empty() {
                tally.note(format!("{} that virt-api refused left out", refused.len()));
            }
            tally.finish("a guest would be judged by a selector that its launcher pod will not have");
        }
    }
}

/// Returns a launcher pod at start, with only this selector.
fn launcher(name: &str, selector: &Value) -> Value {
    let uid = "00000000-0000-4000-8000-000000000001";
    launcher_pod(&json!({"metadata": {"name": name, "namespace": "shop", "uid": uid}}), "x7k2p", selector)
}

#[test]
fn suitable_nodes_are_those_of_kubevirts_subset_test() {
    let vectors = vectors("suitability.json");
    let cases = vectors["cases"].as_array().expect("cases").clone();
    let nodes = vectors["nodes"].as_object().expect("nodes");
    let scratch = Scratch::new();
    // One fleet for all cases: a node filter checks one node at a time, so for each case only its own nodes are
    // compared.
    let snapshot = scratch.write_json("nodes.json", &list(nodes.iter().map(|(name, labels)| node(name, labels))));
    let pods = cases.iter().map(|case| launcher(name(case), &case["required"]));
    let input = scratch.write_json("pods.json", &list(pods));
    let results = check(&[&snapshot], &[&input], &[]);
    assert_eq!(results.len(), cases.len(), "a pod got no result, so users do not see that it cannot be placed");
    let mut tally = Tally::new("suitability");
    for (case, result) in cases.iter().zip(&results) {
        let asked: Vec<&str> = case["nodes"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let suitable = case["suitable"].as_array().into_iter().flatten().map(|verdict| verdict == true);
        let expected: BTreeSet<&str> =
            asked.iter().zip(suitable).filter_map(|(node, suitable)| suitable.then_some(*node)).collect();
        let fits = fitting(result);
        let got: BTreeSet<&str> = fits.iter().map(String::as_str).filter(|node| asked.contains(node)).collect();
        let found = if expected == got {
            Vec::new()
        } else {
            vec![format!("required {}: expected {expected:?}, got {got:?}", case["required"])]
        };
        tally.case(name(case), &found);
    }
    tally.finish("a node would be offered that KubeVirt refuses, or the other way round");
}

#[test]
fn scheduling_agrees_with_the_schedulers_own_filters() {
    let vectors = vectors("scheduling.json");
    let clusters: &Map<String, Value> = vectors["clusters"].as_object().expect("clusters");
    let mut by_cluster: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for case in vectors["cases"].as_array().expect("cases") {
        by_cluster.entry(case["cluster"].as_str().expect("cluster")).or_default().push(case);
    }
    let mut tally = Tally::new("scheduling");
    for (cluster, cases) in by_cluster {
        let scratch = Scratch::new();
        let nodes = clusters[cluster].as_array().expect("nodes").clone();
        let snapshot = scratch.write_json("nodes.json", &list(nodes.iter().cloned()));
        let input = scratch.write_json("pods.json", &list(cases.iter().map(|case| case["pod"].clone())));
        let results = check(&[&snapshot], &[&input], &[]);
        assert_eq!(results.len(), cases.len(), "a pod of {cluster} got no result");
        for (case, result) in cases.iter().zip(&results) {
            let expected = common::texts(&case["fits"]);
            let got = fitting(result);
            tally.case(name(case), &scheduling_differences(case, &nodes, &expected, &got));
        }
    }
    tally.finish("the verdict promises a node that the scheduler refuses, or hides one that it takes");
}

/// Returns a line for each node judged differently from the scheduler, with the placement.
fn scheduling_differences(case: &Value, nodes: &[Value], expected: &[String], got: &[String]) -> Vec<String> {
    let placement = || {
        let spec = &case["pod"]["spec"];
        format!("selector {} affinity {} tolerations {}", spec["nodeSelector"], spec["affinity"], spec["tolerations"])
    };
    let mut found: Vec<String> = nodes
        .iter()
        .filter_map(|node| {
            let name = node["metadata"]["name"].as_str()?;
            let (let_in, fits) = (expected.iter().any(|n| n == name), got.iter().any(|n| n == name));
            (let_in != fits).then(|| {
                let refused = &case["refusedBy"][name];
                let verdict = if let_in { "fits".to_owned() } else { format!("refused by {refused}") };
                format!("{name}: {verdict}; spec {}; labels {}", node["spec"], node["metadata"]["labels"])
            })
        })
        .collect();
    if found.is_empty() && expected != got {
        found.push(format!("the same nodes, but unsorted or twice: {got:?}"));
    }
    if !found.is_empty() {
        found.insert(0, placement());
    }
    found
}
