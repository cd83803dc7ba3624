//! `audit`: its table, its JSON, its exit codes, and policies from a file.

use std::ffi::OsStr;
use std::path::Path;

use serde_json::{Value, json};

use super::scripts::assert_cannot_judge;
use crate::common::{Ran, Scratch, cpufit, head, shipped};

fn audit(args: &[&str]) -> Ran {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo");
    let (snapshot, policy) = (demo.join("cluster.yaml"), demo.join("policy.yaml"));
    let args: Vec<&OsStr> =
        args.iter().map(|arg| if *arg == "POLICY" { policy.as_os_str() } else { OsStr::new(arg) }).collect();
    cpufit([OsStr::new("audit"), OsStr::new("--snapshot"), snapshot.as_os_str()]).args(args).run()
}

#[test]
fn an_audit_lists_the_worst_first() {
    let ran = audit(&[]);
    assert_eq!(ran.code(), 0, "{}", head(&ran.stderr));
    insta::assert_snapshot!(ran.stdout);
    let wide = audit(&["-o", "wide", "--policy", "POLICY"]);
    insta::assert_snapshot!("an_audit_with_all_columns", wide.stdout);
}

/// Without pods, the selectors of launchers are not known, by which a guest is at risk on its node.
#[test]
fn a_gate_on_own_nodes_fails_for_a_dump_without_pods() {
    let demo = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/cluster.yaml")).unwrap();
    let objects: Vec<&str> = demo.split("\n- ").filter(|object| !object.contains("\n  kind: Pod\n")).collect();
    assert!(objects.len() + 1 < demo.split("\n- ").count(), "the demo holds launchers");
    let made = Scratch::new();
    let dump = made.write("dump.yaml", objects.join("\n- "));
    let ask = |more: &[&str]| cpufit(["audit", "--snapshot", dump.to_str().unwrap()]).args(more).run();
    for (more, code) in [
        (&[][..], 0),
        (&["--fail-on", "own-node"], 2),
        (&["--fail-on", "own-node", "-o", "json"], 2),
        // A guest that fails for another reason fails.
        (&["--fail-on", "own-node,pinned"], 1),
        // A guest that does not run has no launcher.
        (&["--fail-on", "own-node", "-l", "app=web"], 0),
    ] {
        let ran = ask(more);
        let says = ran.stderr.contains("at risk on the own node is not known, which --fail-on own-node is about");
        assert_eq!((ran.code(), says), (code, code == 2), "{more:?}: {}", ran.stderr);
    }
    let table = ask(&[]).stdout;
    assert!(table.contains("# Not known: which entries shop/"), "{table}");
}

#[test]
fn an_audit_can_be_scripted() {
    let ran = audit(&["-A", "-o", "json", "--policy", "POLICY"]);
    let report = ran.json();
    let items = report["items"].as_array().expect("items");
    let pinned = items.iter().filter(|item| item["impact"] == "Pinned").map(|item| item["guest"].as_str());
    assert_eq!(
        pinned.collect::<Vec<_>>(),
        [Some("shop/ledger"), Some("shop/db")],
        "story and scripts go by these words"
    );
    assert_eq!(items[0]["ownNode"], true, "a guest in danger stands first");
    assert_eq!(
        (&report["summary"]["guests"], &report["summary"]["denied"]),
        (&3.into(), &1.into()),
        "the summary counts other guests than the list has"
    );
    let policy = &report["policies"][0];
    assert_eq!(
        (&policy["policy"], &policy["nodes"], &policy["commonModel"]),
        (&"intel-pool".into(), &5.into(), &Value::Null)
    );
    assert_eq!(policy["recommendedModel"], "Skylake-Server-noTSX-IBRS");
    assert_eq!(audit(&["-o", "json"]).json()["policies"], Value::Array(Vec::new()), "there is no policy");
    assert!(audit(&["-o", "yaml"]).stdout.starts_with("items:"), "YAML was asked for");
    assert_eq!(audit(&["-n", "lab", "-o", "json"]).json()["summary"]["guests"], 0, "another namespace's guests");
}

#[test]
fn an_audit_fails_a_pipeline_from_the_state_it_is_given() {
    for state in ["fragile", "pinned", "unschedulable", "own-node"] {
        assert_eq!(audit(&["--fail-on", state]).code(), 1, "{state}: shop/ledger is in danger on its own node");
    }
    let reviews = shipped("reviews").join("cluster.yaml");
    let ran = cpufit([OsStr::new("audit"), OsStr::new("--snapshot"), reviews.as_os_str()])
        .args(["-n", "lab", "--fail-on", "fragile"])
        .run();
    assert_cannot_judge(&ran, &["there is no namespace lab", "--fail-on would pass"]);
    assert_eq!(audit(&["--fail-on", "never"]).code(), 2, "a word that is not one must not pass");
}

/// `0 denied` by a policy that governs no guest says nothing about the policy.
#[test]
fn a_policy_that_governs_no_guest_is_named() {
    let demo = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/cluster.yaml")).unwrap();
    let scratch = Scratch::new();
    let dump = scratch.write("dump.yaml", &demo);
    let mut bare: Value = serde_saphyr::from_str(&demo).unwrap();
    bare["items"].as_array_mut().unwrap().retain(|item| item["kind"] != "Namespace");
    let bare = scratch.write_json("bare.json", &bare);
    let of_env = "{namespaceSelector: {matchLabels: {env: prod}}}";
    let nowhere = "CPUPolicy new governs no guest: its namespaceSelector selects none of their namespaces";
    let of_db = "{virtualMachineSelector: {matchLabels: {app: db}}}";
    for (spec, dump, args, expected) in [
        (of_env, &dump, &[][..], Some(nowhere)),
        (of_env, &dump, &["-n", "shop"], Some("CPUPolicy new governs none of these guests: its namespaceSelector")),
        (of_env, &bare, &[], Some("Not known: whether CPUPolicy new governs a guest by its namespaceSelector")),
        (
            "{virtualMachineSelector: {matchLabels: {app: none}}}",
            &dump,
            &[],
            Some("# CPUPolicy new governs no guest\n"),
        ),
        (of_db, &dump, &[], None),
        (of_db, &dump, &["vm/web", "-n", "shop"], Some("# CPUPolicy new governs none of these guests\n")),
        ("{}", &bare, &[], None),
        (of_env, &dump, &["--no-headers"], None),
    ] {
        let text =
            format!("{{apiVersion: cpufit.io/v1alpha1, kind: CPUPolicy, metadata: {{name: new}}, spec: {spec}}}");
        let policy = scratch.write("policy.yaml", text);
        let ran = cpufit([OsStr::new("audit"), OsStr::new("--snapshot"), dump.as_os_str(), OsStr::new("--policy")]);
        let ran = ran.args([policy.as_os_str()]).args(args).run();
        assert_eq!(ran.code(), 0, "{}", head(&ran.stderr));
        let is_said = ran.stdout.contains(" governs ");
        assert_eq!(is_said, expected.is_some(), "{spec} {args:?}: {}", ran.stdout);
        assert!(ran.stdout.contains(expected.unwrap_or_default()), "{spec} {args:?}: {}", ran.stdout);
    }
}

/// The policy acts as after `kubectl apply`: it replaces the one with its name, and the other policies stay.
#[test]
fn a_policy_takes_the_place_of_one_of_its_name() {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo");
    let scratch = Scratch::new();
    let policy = |name: &str, model: &str| {
        format!(
            "apiVersion: cpufit.io/v1alpha1\nkind: CPUPolicy\nmetadata: {{name: {name}}}\nspec: {{commonModel: {{name: {model}}}}}\n---\n"
        )
    };
    let cluster = std::fs::read_to_string(demo.join("cluster.yaml")).unwrap();
    let is_there = policy("pool", "Skylake-Server-noTSX-IBRS") + &policy("zebra", "Icelake-Server-noTSX");
    let dump = scratch.write("dump.yaml", format!("{cluster}\n---\n{is_there}"));
    let new = scratch.write("new.yaml", policy("pool", "Cascadelake-Server-noTSX"));
    let run = |args: &[&OsStr]| {
        let args = [args, &[OsStr::new("-o"), OsStr::new("json"), OsStr::new("--policy"), new.as_os_str()]].concat();
        let ran = cpufit(args).run();
        assert!(ran.code() < 2, "{}", head(&ran.stderr));
        ran.json()
    };
    let as_it_is = cpufit([OsStr::new("audit"), OsStr::new("--snapshot"), dump.as_os_str()]).run().stdout;
    let higher = "# CPUPolicy pool: Skylake-Server-noTSX-IBRS runs on 5 of 5 nodes; Cascadelake-Server-noTSX, the next higher model, would \
                  leave out node-b";
    assert!(as_it_is.lines().any(|line| line == higher), "{as_it_is}");
    let audited = run(&[OsStr::new("audit"), OsStr::new("--snapshot"), dump.as_os_str()]);
    let policies = audited["policies"].as_array().expect("policies");
    let models: Vec<_> = policies.iter().map(|policy| [&policy["policy"], &policy["commonModel"]]).collect();
    assert_eq!(json!(models), json!([["zebra", "Icelake-Server-noTSX"], ["pool", "Cascadelake-Server-noTSX"]]));
    for verb in ["drain", "recommend", "explain", "check"] {
        let target = match verb {
            "drain" => "node-a",
            "explain" => "vmi/db",
            _ => "",
        };
        let mut args: Vec<&OsStr> = vec![OsStr::new(verb), OsStr::new("--snapshot"), dump.as_os_str()];
        args.extend(Some(OsStr::new(target)).filter(|target| !target.is_empty()));
        args.extend(["-n", "shop"].map(OsStr::new).into_iter().filter(|_| verb == "explain"));
        args.extend([OsStr::new("-f"), dump.as_os_str()].into_iter().filter(|_| verb == "check"));
        run(&args);
    }
    run(&[OsStr::new("diff"), dump.as_os_str(), dump.as_os_str()]);
    let twice = scratch.write("twice.yaml", policy("pool", "Haswell") + &policy("pool", "Haswell"));
    let args =
        [OsStr::new("audit"), OsStr::new("--snapshot"), dump.as_os_str(), OsStr::new("--policy"), twice.as_os_str()];
    assert_cannot_judge(&cpufit(args).run(), &["twice.yaml, document 2", "there is a CPUPolicy named pool already"]);
}
