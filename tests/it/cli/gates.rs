//! Gates of continuous integration: `test`, and the reports of runs that end with an error.

use std::path::Path;

use crate::common::{Scratch, cpufit};

/// A run that judges nothing: a program that reads an empty report learns nothing.
#[test]
fn a_report_names_the_error_that_ended_its_run() {
    let made = Scratch::new();
    let nothing = made.write("nothing.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n");
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/cluster.yaml");
    let (nothing, demo) = (nothing.to_str().unwrap(), demo.to_str().unwrap());
    for (line, words) in [
        (&["check", "--snapshot", demo, "-f", nothing, "--fail-on", "pinned"][..], "is of a kind that is judged"),
        (&["check", "--snapshot", "no-such.yaml", "-f", nothing], "no-such.yaml"),
        (&["check", "--snapshot", nothing, "-f", nothing, "--fail-on", "pinned"], "there is no KubeVirt"),
        (&["test", "no-such-folder"], "no-such-folder"),
    ] {
        for format in if line[0] == "test" { &["junit"][..] } else { &["junit", "sarif"] } {
            let ran = cpufit([line, &["-o", format]].concat()).env("GITHUB_ACTIONS", "true").run();
            let at = format!("{line:?} -o {format}: {}{}", ran.stdout, ran.stderr);
            assert_eq!(ran.code(), 2, "{at}");
            assert!(ran.stderr.contains("::error title=input::") && ran.stderr.contains(words), "no annotation: {at}");
            assert!(ran.stdout.contains(words), "the report does not say why: {at}");
            if *format == "sarif" {
                let run = &ran.json()["runs"][0];
                assert_eq!(run["invocations"][0]["executionSuccessful"], false, "{at}");
                assert_eq!(run["invocations"][0]["toolExecutionNotifications"][0]["level"], "error", "{at}");
            } else {
                assert!(ran.stdout.contains("tests=\"1\" failures=\"0\" errors=\"1\""), "{at}");
            }
        }
    }
}

/// The shipped tests, and variants with an expectation that is wrong, missing, or about nothing.
#[test]
fn manifests_are_tested_by_the_verdicts_that_are_expected() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/verdicts");
    let all = cpufit(["test", shipped.to_str().unwrap()]).run();
    assert_eq!(all.code(), 0, "{}{}", all.stdout, all.stderr);
    assert!(all.stdout.contains("5 expectations: 5 passed, 0 failed"), "{}", all.stdout);
    let (file, made) = (std::fs::read_to_string(shipped.join("cpufit-test.yaml")).unwrap(), Scratch::new());
    for name in ["manifests.yaml", "policy.yaml"] {
        std::fs::copy(shipped.join(name), made.path().join(name)).unwrap();
    }
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/cluster.yaml");
    let file = file.replace("../../../demo/cluster.yaml", demo.to_str().unwrap());
    let test = |text: String, more: &[&str]| {
        made.write(
            "deep/er/cpufit-test.yaml",
            text.replace("manifests.yaml", "../../manifests.yaml").replace("policy.yaml", "../../policy.yaml"),
        );
        cpufit([&["test", made.path().to_str().unwrap()], more].concat()).run()
    };
    assert_eq!(test(file.clone(), &[]).code(), 0, "tests are looked for in folders of folders");
    for (from, to, code, words) in [
        ("verdict: pinned", "verdict: fits", 1, "expected verdict fits, found pinned"),
        ("allowed: false", "allowed: true", 1, "expected allowed true, found false"),
        ("nodes: [node-e]", "nodes: [node-a, node-e]", 1, "expected nodes node-a, node-e, found node-e"),
        (
            "says: could never leave",
            "says: all is well",
            1,
            "expected \"all is well\" to be said, found shop/forge can start on node-e alone",
        ),
        ("checks: [asked-by]", "checks: [no-such-check]", 1, "expected the checks no-such-check to find something"),
        ("object: vm/lost", "object: vm/nobody", 1, "it is not among the manifests"),
        ("verdict: pinned", "verdict: splendid", 2, "expect[0].verdict: \"splendid\" is not one of fits, fragile"),
        ("verdict: pinned", "verdikt: pinned", 2, "unknown field `verdikt`"),
        ("object: vm/lost", "object: lost", 2, "expect[2].object: expected TYPE/NAME"),
        ("verdict: unschedulable", "checks: []", 2, "expect[2]: nothing is expected: say verdict, allowed"),
        ("verdict: unschedulable", "says: ''", 2, "expect[2]: nothing is expected: say verdict, allowed"),
        ("manifests: [manifests.yaml]", "manifests: [none.yaml]", 2, "none.yaml"),
        ("kind: Test", "kind: Toast", 2, "expected a Test of cpufit.io/v1alpha1, found a Toast"),
        ("kubevirtVersion: v1.6.0", "kubevirtVersion: newest", 2, "kubevirtVersion"),
    ] {
        assert!(file.contains(from), "{from}");
        let ran = test(file.replacen(from, to, 1), &[]);
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert!(ran.code() == code && said.contains(words), "{to}: exit {}: {said}", ran.code());
    }
    let other = test(file.clone(), &["-n", "elsewhere"]);
    assert!(
        other.code() == 2 && other.stderr.contains("elsewhere"),
        "as for check, -n refuses objects of another namespace: {}",
        other.stderr
    );
    let live = test(file.clone(), &["--context", "prod"]);
    assert!(
        live.code() == 2
            && live.stderr.contains("--context says which cluster to read, and test reads none: leave it out"),
        "the user would think that the test ran with that cluster: {}",
        live.stderr
    );
    let failed = test(file.replacen("verdict: pinned", "verdict: fits", 1), &["-o", "json"]);
    let json = failed.json();
    assert_eq!((failed.code(), &json["failed"], &json["passed"]), (1, &1.into(), &4.into()), "{json:#}");
    assert_eq!(json["results"][0]["why"][0], "expected verdict fits, found pinned");
    // A test that cannot be run keeps no other from being run.
    let second = file.replace("name: ", "name: second-").replacen("verdict: pinned", "verdict: splendid", 1);
    let beside = test(format!("{second}\n---\n{file}"), &["-o", "json"]);
    let json = beside.json();
    assert_eq!((beside.code(), &json["passed"]), (2, &5.into()), "the other tests are not run: {json:#}");
    assert!(json["unread"][0].as_str().is_some_and(|why| why.contains("\"splendid\" is not one of")), "{json:#}");
    assert!(beside.stderr.contains("\"splendid\" is not one of"), "{}", beside.stderr);
    let junit = test(second, &["-o", "junit"]);
    assert!(
        junit.code() == 2 && junit.stdout.contains("errors=\"1\"") && junit.stdout.contains("splendid"),
        "the report does not say why: {}",
        junit.stdout
    );
    let none = Scratch::new();
    none.write("cpufit-test.yml", "kind: Toast\napiVersion: cpufit.io/v1alpha1\n");
    let ran = cpufit(["test", none.path().to_str().unwrap()]).run();
    assert!(ran.code() == 2 && ran.stderr.contains("found a Toast"), "YAML's other suffix is read: {}", ran.stderr);
    let none = Scratch::new();
    let ran = cpufit(["test", none.path().to_str().unwrap()]).run();
    assert!(
        ran.code() == 2 && ran.stderr.contains("there is no cpufit-test.yaml in"),
        "a gate on nothing: {}",
        ran.stderr
    );
}
