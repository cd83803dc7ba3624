//! Many concurrent requests during another action, and their results.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http_body_util::BodyExt as _;
use kube::client::Body;
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::kubevirt::client;
use crate::servers::runtime;

/// Pause after a failure, so that a sender does not retry at once.
const PAUSE: Duration = Duration::from_millis(100);

/// The results so far.
#[derive(Clone, Debug, Default)]
pub struct Count {
    pub sent: usize,
    /// Number of answers with a warning of cpufit.
    pub warned: usize,
    /// The failures: the API server's message, or why there was none.
    pub failures: Vec<String>,
    pub slowest: Duration,
}

impl Count {
    fn add(&mut self, sent: Result<bool, String>, took: Duration) {
        self.sent += 1;
        self.slowest = self.slowest.max(took);
        match sent {
            Ok(warned) => self.warned += usize::from(warned),
            Err(failure) => self.failures.push(failure),
        }
    }
}

/// A load that sends until it is stopped.
pub struct Load {
    count: Arc<Mutex<Count>>,
    stopped: Arc<AtomicBool>,
    senders: JoinSet<()>,
    runtime: Runtime,
}

impl Load {
    /// Starts senders, each posting one object after the other to a path of the API server, such as
    /// `/api/v1/namespaces/shop/pods?dryRun=All`. The objects are numbered.
    #[track_caller]
    pub fn start(
        kubeconfig: &Path,
        senders: usize,
        path: &str,
        object: impl Fn(usize) -> Value + Send + Sync + 'static,
    ) -> Self {
        let (runtime, count, object) = (runtime(), Arc::new(Mutex::new(Count::default())), Arc::new(object));
        let stopped = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for sender in 0..senders {
            let (kubeconfig, path, stopped) = (kubeconfig.to_owned(), path.to_owned(), Arc::clone(&stopped));
            let (count, object) = (Arc::clone(&count), Arc::clone(&object));
            let send = async move {
                let client = client(&kubeconfig).await.expect("a client");
                for number in (sender..).step_by(senders).take_while(|_| !stopped.load(Ordering::Relaxed)) {
                    let started = Instant::now();
                    let sent = post(&client, &path, &object(number)).await;
                    let failed = sent.is_err();
                    count.lock().expect("no panic").add(sent, started.elapsed());
                    if failed {
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            };
            tasks.spawn_on(send, runtime.handle());
        }
        Self { count, stopped, senders: tasks, runtime }
    }

    pub fn so_far(&self) -> Count {
        self.count.lock().expect("no panic").clone()
    }

    /// Waits until `more` further requests were sent.
    #[track_caller]
    pub fn until_sent(&self, more: usize) {
        let (wanted, deadline) = (self.so_far().sent + more, Instant::now() + Duration::from_secs(60));
        while self.so_far().sent < wanted {
            assert!(Instant::now() < deadline, "the load stands still: {:?}", self.so_far());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Stops after the active requests.
    pub fn stop(self) -> Count {
        self.stopped.store(true, Ordering::Relaxed);
        self.runtime.block_on(self.senders.join_all());
        self.count.lock().expect("no panic").clone()
    }
}

/// Posts an object; returns whether cpufit warned.
///
/// # Errors
///
/// Returns an error if the API server did not accept it, or was not reachable.
async fn post(client: &kube::Client, path: &str, object: &Value) -> Result<bool, String> {
    let request = http::Request::post(path)
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(Body::from(object.to_string().into_bytes()))
        .map_err(|error| error.to_string())?;
    let (head, body) = client.send(request).await.map_err(|error| format!("{error:?}"))?.into_parts();
    let body = body.collect().await.map_err(|error| format!("{error:?}"))?.to_bytes();
    if !head.status.is_success() {
        return Err(format!("{}: {}", head.status, String::from_utf8_lossy(&body)));
    }
    let warnings = head.headers.get_all(http::header::WARNING);
    Ok(warnings.iter().any(|warning| String::from_utf8_lossy(warning.as_bytes()).contains("cpufit")))
}
