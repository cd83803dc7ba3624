//! The installed webhook on a live cluster: the texts that a kubectl user reads, and the recorded ones.

use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};

use crate::common::{head, read};
use crate::controlplane::ControlPlane;
use crate::installed::{Installation, Replica, SOON, output_of_cpufit};
use crate::session::Session;
use crate::world::{self, data};

/// The demo's cluster with KubeVirt's kinds, users and files, with cpufit installed and its policy applied.
pub struct Scene<'c> {
    pub cluster: &'c ControlPlane,
    pub installation: Installation<'c>,
    pub jane: Session<'c>,
    pub controller: Session<'c>,
}

impl<'c> Scene<'c> {
    #[track_caller]
    pub fn new(cluster: &'c ControlPlane) -> Self {
        world::install_kubevirt(cluster);
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        world::create(cluster, &root.join("demo/cluster.yaml"));
        for file in ["migrate-db.yaml", "migrate-ledger.yaml", "report.yaml", "launcher.yaml"] {
            cluster.workplace().write(file, read(&data(file)));
        }
        cluster.kubectl(&["create", "-f", data("people.yaml").to_str().expect("a path in UTF-8")]);
        let installation = Installation::new(cluster);
        cluster.kubectl(&["apply", "-f", root.join("demo/policy.yaml").to_str().expect("a path in UTF-8")]);
        let jane = Session { cluster, kubeconfig: cluster.kubeconfig("jane", &["shop-admins"]) };
        let controller = Session { cluster, kubeconfig: cluster.service_account("kubevirt", "kubevirt-controller") };
        Self { cluster, installation, jane, controller }
    }

    /// Starts one replica that knows the cluster and is called by the API server.
    #[track_caller]
    pub fn serve(&self) -> Replica {
        let replica = self.installation.serve("cpufit-0", &[]);
        replica.until_known(5, 1);
        self.await_webhook();
        replica
    }

    /// Waits until the API server calls the webhook, after it has received it and its authority.
    #[track_caller]
    pub fn await_webhook(&self) {
        self.jane.output_until("create -f migrate-db.yaml --dry-run=server", "Warning: cpufit");
    }

    /// Returns the Events that cpufit wrote: object, reason, message.
    #[track_caller]
    pub fn events(&self) -> Vec<(String, String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let events = self.cluster.get(&["events", "--all-namespaces"]);
        let of_cpufit =
            events["items"].as_array().expect("a list").iter().filter(|event| {
                event["reportingComponent"].as_str().is_some_and(|component| component.contains("cpufit"))
            });
        let mut out: Vec<_> = of_cpufit
            .map(|event| {
                let object = &event["involvedObject"];
                let object = format!("{}/{}", text(&object["kind"]), text(&object["name"]));
                (object, text(&event["reason"]), text(&event["message"]))
            })
            .collect();
        out.sort();
        out
    }

    /// Waits for an Event.
    #[track_caller]
    pub fn await_event(&self, object: &str, reason: &str) -> String {
        let deadline = Instant::now() + SOON;
        loop {
            let events = self.events();
            if let Some((.., message)) = events.iter().find(|(about, why, _)| about == object && why == reason) {
                return message.clone();
            }
            assert!(Instant::now() < deadline, "no Event {reason} about {object}: {events:#?}");
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }
}

#[test]
#[ignore = "needs a control plane: make e2e"]
fn webhook_as_kubectl_shows_it() {
    let Some(cluster) = ControlPlane::start(&[]) else { return };
    let scene = Scene::new(&cluster);
    let webhook = scene.serve();
    let Scene { jane, controller, .. } = &scene;

    // Story 1. await_webhook used dry runs too.
    insta::assert_snapshot!(
        "asked_first",
        jane.output("create -f migrate-db.yaml --dry-run=server --warnings-as-errors")
    );
    let stored = cluster.get(&["vmim", "--namespace=shop"]);
    assert_eq!(stored["items"], json!([]), "a dry run must store nothing");
    insta::assert_snapshot!("the_lottery", jane.output("apply -f report.yaml"));
    insta::assert_snapshot!("denied", jane.output("create -f migrate-ledger.yaml"));
    let note = scene.await_event("VirtualMachineInstance/ledger", "CPUNoTarget");
    assert!(note.contains("amd-stibp"), "virtctl shows no warning, the Event is all there is: {note}");
    let about_db = scene.events().into_iter().filter(|(object, ..)| object.ends_with("/db")).collect::<Vec<_>>();
    assert_eq!(about_db, [], "a dry run leaves no Event");

    insta::assert_snapshot!("controller_is_exempt", controller.output("create -f migrate-ledger.yaml"));
    // The pod of an existing guest: its Event has the guest's own UID.
    let guest = cluster.workplace().write("lost.yaml", read(&data("lost.yaml")));
    let guest = [
        "create",
        "--validate=false",
        "-f",
        guest.to_str().expect("a path in UTF-8"),
        "-o",
        "jsonpath={.metadata.uid}",
    ];
    let uid = cluster.kubectl(&guest);
    let launcher = String::from_utf8(read(&data("launcher.yaml"))).expect("text");
    cluster.workplace().write("launcher.yaml", launcher.replace("8c1b0a7e-5f0e-4a51-9a0b-2f5b4f1b7c11", &uid));
    insta::assert_snapshot!("launcher_nowhere", controller.output("create -f launcher.yaml"));
    scene.await_event("VirtualMachineInstance/lost", "CPUNoNode");

    // The users exempt by the policy, and the exempt namespaces.
    cluster.kubectl(&["delete", "vmim", "--all", "--namespace=shop"]);
    let exempt = json!({"spec": {"exemptions": {"users": ["jane"]}}}).to_string();
    cluster.kubectl(&["patch", "cpupolicy", "intel-pool", "--type=merge", "-p", &exempt]);
    let deadline = Instant::now() + SOON;
    let exempted = loop {
        let output = jane.output("create -f migrate-ledger.yaml");
        if !output.contains("Forbidden") {
            break output;
        }
        assert!(Instant::now() < deadline, "the policy's exemption is not heeded: {output}");
    };
    insta::assert_snapshot!("user_is_exempt", exempted);
    cluster.kubectl(&["label", "namespace", "shop", "cpufit.io/exempt=true"]);
    let deadline = Instant::now() + SOON;
    while jane.output("create -f migrate-db.yaml --dry-run=server").contains("cpufit") {
        assert!(Instant::now() < deadline, "a namespace labelled cpufit.io/exempt=true is left alone");
    }
    cluster.kubectl(&["label", "namespace", "shop", "cpufit.io/exempt-"]);

    // A user without rights gets no answer: the API server refuses before it calls the webhook.
    let stranger = Session { cluster: &cluster, kubeconfig: cluster.kubeconfig("stranger", &[]) };
    insta::assert_snapshot!("a_stranger", stranger.output("create -f migrate-db.yaml --validate=false"));
    let explained = output_of_cpufit(&stranger.kubeconfig, "explain vmi/db -n shop");
    assert!(explained.contains("forbidden") && explained.contains("[exit code 2]"), "{explained}");
    assert!(!explained.contains("node-d"), "what kubectl does not show, cpufit does not show: {explained}");
    assert!(!webhook.server.log().contains("panicked at"), "{}", head(&webhook.server.log()));

    // Without it everything is admitted.
    drop(webhook);
    cluster.kubectl(&["delete", "vmim", "--all", "--namespace=shop"]);
    cluster.kubectl(&["delete", "vm", "report", "--namespace=lab"]);
    cluster.kubectl(&["delete", "pod", "virt-launcher-lost-7k2px", "--namespace=lab", "--force", "--grace-period=0"]);
    let down = [
        jane.output("create -f migrate-db.yaml"),
        jane.output("create -f migrate-ledger.yaml"),
        jane.output("apply -f report.yaml"),
        controller.output("create -f launcher.yaml"),
    ];
    insta::assert_snapshot!("webhook_down", down.concat());
}
