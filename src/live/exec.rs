//! Commands in a container, through the API server: `pods/exec`, without standard input, bounded in time and size.
//!
//! Only CLI verbs that request it use this, with the user's permissions; the webhook never does.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::{AttachParams, AttachedProcess};
use kube::{Api, Client};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::connect;
use crate::fit::shown::Shown;
use crate::libvirt::Silence;
use crate::libvirt::answer::{ERRORS, OUTPUT};
use crate::libvirt::question::CommandOutput;

/// Name of virt-launcher's container in a launcher pod.
const CONTAINER: &str = "compute";

/// A pod, by namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PodName {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
}

/// Knowledge about a launcher's container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContainerState {
    /// A command has run in it.
    Running,
    /// Nothing: its pod's status is read first.
    Unknown,
}

/// Runs a command in a launcher's container, if that runs. Returns its output and exit code.
///
/// # Errors
///
/// The command is forbidden, cannot be run, exceeds the time limit, or prints more than is read.
pub(crate) async fn exec(
    client: &Client,
    pod: &PodName,
    command: Vec<String>,
    state: ContainerState,
    limit: Duration,
) -> Result<CommandOutput, Silence> {
    let run = async {
        let pods: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace);
        if state == ContainerState::Unknown
            && let Ok(known) = pods.get(&pod.name).await
            && let Some(why) = not_running(&known)
        {
            return Err(Silence::NotRunning(shown(why)));
        }
        let params = AttachParams::default().container(CONTAINER).stdin(false).stdout(true).stderr(true);
        let process = pods.exec(&pod.name, command, &params).await.map_err(|error| refused(&error, &pod.namespace))?;
        output(process).await
    };
    tokio::time::timeout(limit, run).await.unwrap_or(Err(Silence::TooSlow(limit.as_secs())))
}

/// Returns why the launcher's container does not run: the kubelet's reason, else its state. `None` if it runs, or if
/// the pod's status does not say.
///
/// Readiness does not count: the readiness probe of a guest is that of the container (Mirrors `WithReadinessProbe` in
/// `pkg/virt-controller/services/rendercontainer.go`), and libvirt answers before the guest's application does.
fn not_running(pod: &Pod) -> Option<&str> {
    let containers = pod.status.as_ref()?.container_statuses.as_ref()?;
    let state = containers.iter().find(|container| container.name == CONTAINER)?.state.as_ref()?;
    if state.running.is_some() {
        return None;
    }
    let (reason, word) = match (&state.terminated, &state.waiting) {
        (Some(terminated), _) => (terminated.reason.as_deref(), "terminated"),
        (None, waiting) => (waiting.as_ref().and_then(|waiting| waiting.reason.as_deref()), "waiting"),
    };
    Some(reason.filter(|reason| !reason.is_empty()).unwrap_or(word))
}

/// Collects a process's output. Dropping the process closes the connection.
async fn output(mut process: AttachedProcess) -> Result<CommandOutput, Silence> {
    let (stdout, stderr, status) = (process.stdout(), process.stderr(), process.take_status());
    let (stdout, stderr) = futures_util::try_join!(text(stdout, OUTPUT), text(stderr, ERRORS))?;
    let status = match status {
        Some(status) => status.await,
        None => None,
    };
    let status = status.ok_or_else(|| Silence::NotRun("the connection ended before the command".to_owned()))?;
    Ok(CommandOutput { code: Some(exit_code(&status)?), stdout, stderr })
}

async fn text(stream: Option<impl AsyncRead + Unpin>, most: usize) -> Result<String, Silence> {
    let Some(stream) = stream else { return Ok(String::new()) };
    let mut bytes = Vec::new();
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    stream.take(limit).read_to_end(&mut bytes).await.map_err(|error| Silence::NotRun(error.to_string()))?;
    if bytes.len() > most {
        return Err(Silence::TooLong(most));
    }
    String::from_utf8(bytes).map_err(|_| Silence::Unreadable("it is not text in UTF-8".to_owned()))
}

/// Returns the exit code from the kubelet's status.
fn exit_code(status: &Status) -> Result<i32, Silence> {
    if status.status.as_deref() == Some("Success") {
        return Ok(0);
    }
    let causes = status.details.iter().flat_map(|details| details.causes.iter().flatten());
    let mut codes = causes.filter(|cause| cause.reason.as_deref() == Some("ExitCode"));
    match codes.next().and_then(|cause| cause.message.as_deref()?.parse().ok()) {
        Some(code) => Ok(code),
        None => Err(not_run(status.message.as_deref().unwrap_or("without a word"))),
    }
}

fn refused(error: &kube::Error, namespace: &str) -> Silence {
    let words = connect::words(error);
    match error {
        kube::Error::Api(status) if matches!(status.code, 401 | 403) => {
            // The API server's message may end in a colon without a reason.
            Silence::Forbidden(shown(&format!("namespace {namespace}: {}", words.trim_end_matches([':', ' ']))))
        }
        _ => not_run(&words),
    }
}

fn not_run(words: &str) -> Silence {
    let names_bash = words.contains("\"bash\"") || words.contains("bash:");
    let is_absent = words.contains("executable file not found") || words.contains("no such file or directory");
    if names_bash && is_absent { Silence::NoShell } else { Silence::NotRun(shown(words)) }
}

fn shown(words: &str) -> String {
    Shown::within(words, 240).to_string()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn pod(statuses: &Value) -> Pod {
        let pod = json!({"metadata": {"name": "virt-launcher-db-x"}, "status": {"containerStatuses": statuses}});
        serde_json::from_value(pod).expect("a pod")
    }

    fn compute(state: &Value) -> Value {
        let status = |name: &str, state: &Value| json!({"name": name, "state": state, "ready": false, "image": "", "imageID": "", "restartCount": 0});
        json!([status("guest-console-log", &json!({"running": {}})), status(CONTAINER, state)])
    }

    /// Status of the container, and the reason why it is not asked.
    #[rstest]
    #[case::no_status(json!(null), None)]
    #[case::another_container_alone(json!([compute(&json!({"waiting": {}}))[0]]), None)]
    #[case::runs_and_is_not_ready(compute(&json!({"running": {"startedAt": "2026-11-01T08:00:00Z"}})), None)]
    #[case::no_state(compute(&json!(null)), None)]
    #[case::empty_state(compute(&json!({})), Some("waiting"))]
    #[case::waits(compute(&json!({"waiting": {"reason": "ImagePullBackOff"}})), Some("ImagePullBackOff"))]
    #[case::waits_without_a_reason(compute(&json!({"waiting": {}})), Some("waiting"))]
    #[case::ended(compute(&json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}})), Some("OOMKilled"))]
    #[case::ended_without_a_reason(compute(&json!({"terminated": {"exitCode": 1, "reason": ""}})), Some("terminated"))]
    fn a_container_that_does_not_run_is_not_asked(#[case] statuses: Value, #[case] expected: Option<&str>) {
        assert_eq!(not_running(&pod(&statuses)), expected, "a node would be said to fail, or be asked in vain");
    }
}
