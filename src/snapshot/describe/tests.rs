use proptest::prelude::*;
use rstest::rstest;

use super::*;

const DESCRIBED: &str = "\
Name:             virt-launcher-db-x7k2p
Namespace:        shop
Service Account:  default
Node:             <none>
Labels:           kubevirt.io=virt-launcher
                  kubevirt.io/created-by=7d3c
Annotations:      kubevirt.io/domain: db
Status:           Pending
IP:               
Controlled By:    VirtualMachineInstance/db
Containers:
  compute:
    Image:      registry.example/virt-launcher:v1.6.0
    State:      Waiting
      Reason:   Pending
    Requests:
      cpu:      2
      devices.kubevirt.io/kvm:  1
    Environment:  <none>
Conditions:
  Type           Status
  PodScheduled   False 
Volumes:
  config:
    Type:       ConfigMap (a volume populated by a ConfigMap)
    Name:       other
    Optional:   false
QoS Class:                   Burstable
Node-Selectors:              cpu-feature.node.kubevirt.io/fpu=true
                             cpu-feature.node.kubevirt.io/vme=true
                             kubernetes.io/arch=amd64
Tolerations:                 node.kubernetes.io/not-ready:NoExecute op=Exists for 300s
                             tenant=acme:NoSchedule
Events:
  Type     Reason            Age   From               Message
  ----     ------            ----  ----               -------
  Warning  FailedScheduling  12s   default-scheduler  0/4 nodes are available: 1 node(s) had untolerated taint {gpu: only}, 3 node(s) didn't match Pod's node affinity/selector.
";

fn read(text: &str) -> Vec<Value> {
    pods(text).expect("a description")
}

/// Breaks lines at the last blank before a width, as mailers do; without a blank, they stay.
fn wrapped(text: &str, width: usize) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let mut rest = line;
        while rest.chars().count() > width {
            let Some(at) = rest[..=width].rfind(' ').filter(|at| !rest[..*at].trim().is_empty()) else { break };
            out.push_str(rest[..at].trim_end());
            out.push('\n');
            rest = rest[at..].trim_start();
        }
        out.push_str(rest);
        out.push('\n');
    }
    out
}

fn each_line(change: impl Fn(&str) -> String) -> String {
    DESCRIBED.lines().map(|line| change(line) + "\n").collect()
}

#[rstest]
#[case::indentation_lost(each_line(|line| line.trim().to_owned()))]
#[case::blanks_folded(each_line(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")))]
#[case::quoted(each_line(|line| format!("> {line}")))]
#[case::quoted_twice(each_line(|line| format!(">> {line}")))]
#[case::indented(each_line(|line| format!("    {line}")))]
#[case::no_break_spaces(DESCRIBED.replace("  ", "\u{a0}\u{a0}"))]
#[case::prose(format!("Hello,\n\nthis is stuck:\n\n{DESCRIBED}\nAny idea?\nName: a guess\n"))]
#[case::tildes(format!("~~~\n{DESCRIBED}~~~\n"))]
#[case::code(format!("[code]\n{DESCRIBED}[/code]\nThanks"))]
#[case::details(format!("<details><summary>pod</summary>\n\n```\n{DESCRIBED}```\n</details>\nLabels: urgent"))]
#[case::key_broken(DESCRIBED.replace("kubevirt.io/vme=true", "kubevirt.io/vm\ne=true"))]
#[case::key_broken_before_a_whole_one(DESCRIBED.replace("kubevirt.io/vme=true", "kubevirt.io/\nvme=true"))]
#[case::value_broken(DESCRIBED.replace("vme=true", "vme=tr\nue"))]
#[case::toleration_broken(DESCRIBED.replace("not-ready:NoExecute", "not-\nready:NoExecute"))]
fn what_mail_and_chats_do_to_a_description_changes_no_answer(#[case] text: String) {
    assert!(is_opening(text.lines().next().unwrap()) || is_in(&text), "it is taken for YAML: {text}");
    assert_eq!(read(&text), read(DESCRIBED), "it says something else: {text}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Mailers break lines at any width from about 60 to 80; a shorter one breaks more.
    #[test]
    fn a_description_that_a_mailer_wrapped_loses_nothing(width in 34_usize..120, is_quoted in any::<bool>()) {
        let wrapped = wrapped(DESCRIBED, width);
        let quoted = || wrapped.lines().flat_map(|line| ["> ", line, "\n"]).collect();
        let text: String = if is_quoted { quoted() } else { wrapped.clone() };
        let (found, expected) = (read(&text), read(DESCRIBED));
        prop_assert_eq!(found.len(), 1, "{}", text);
        for field in ["/metadata/labels", "/spec/nodeSelector", "/spec/tolerations", "/status/conditions"] {
            prop_assert_eq!(found[0].pointer(field), expected[0].pointer(field), "{}: {}", field, text);
        }
    }

    /// The entry that is left of a broken one is no entry, and the verdict without it would be another.
    #[test]
    fn a_list_with_a_part_missing_is_refused_with_its_line(cut in 1_usize..36) {
        let entry = "cpu-feature.node.kubevirt.io/vme";
        let text = DESCRIBED.replace(&format!("{entry}=true"), &entry[..cut.min(entry.len())]);
        let line = DESCRIBED.lines().position(|line| line.contains("vme")).unwrap();
        prop_assert_eq!(pods(&text).map_err(|broken| broken.line), Err(line), "{}", text);
    }
}
