//! The first lists of a watch: regardless of the cluster's size, only the kept data and one page are in memory at once.

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use allocation_counter::measure;
use bytes::Bytes;
use cpufit::kubevirt::resource::Resource;
use cpufit::live::inventory::Inventory;
use cpufit::live::watch::{ResourceChange, follow};
use futures_util::stream;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use hyper::body::Frame;
use kube::Client;
use kube::client::Body as Sent;
use rstest::rstest;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::running::running;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Number of guests of a large cluster.
const GUESTS: usize = 20_000;
/// Bytes of a guest in addition to those that are read: managed fields, annotations of other programs.
const BALLAST: usize = 6 << 10;
/// Maximum bytes held in addition to the kept ones: a page of guests, read twice.
const BEYOND: u64 = 5 << 20;
/// Maximum bytes kept of each guest.
const KEPT: u64 = 3 << 10;

fn guest(number: usize) -> Value {
    let name = format!("guest-{number:05}");
    let mut guest = running(&name, &format!("node-{:03}", number % 200), "host-model");
    guest["metadata"] = json!({
        "name": name, "namespace": format!("team-{}", number % 50), "uid": format!("uid-{number}"),
        "resourceVersion": "7", "annotations": {"other.example.io/notes": "x".repeat(BALLAST / 2)},
        "managedFields": [{"manager": "kubectl", "fieldsV1": {"f:spec": {"f:notes": "x".repeat(BALLAST / 2)}}}],
        "ownerReferences": [{"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "name": name,
            "uid": format!("vm-{number}"), "controller": true}],
    });
    guest["spec"]["evictionStrategy"] = json!("LiveMigrate");
    guest
}

fn json_answer(code: StatusCode, value: &Value) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(value.to_string())).boxed_unsync());
    *response.status_mut() = code;
    response
}

/// Returns the value of a query's parameter.
fn parameter(request: &Request<Sent>, name: &str) -> Option<String> {
    let pairs = request.uri().query().unwrap_or_default().split('&');
    pairs.filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
}

/// Returns a page of guests, of the requested length.
fn page(request: &Request<Sent>, limits: &Mutex<Vec<usize>>) -> Response<Body> {
    let limit = parameter(request, "limit").and_then(|limit| limit.parse().ok()).unwrap_or(GUESTS);
    limits.lock().unwrap().push(limit);
    let first: usize = parameter(request, "continue").and_then(|token| token.parse().ok()).unwrap_or(0);
    let end = GUESTS.min(first + limit);
    let token = (end < GUESTS).then(|| end.to_string());
    let metadata = json!({"resourceVersion": "7", "continue": token});
    let items: Vec<Value> = (first..end).map(guest).collect();
    let list = json!({"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstanceList", "metadata": metadata, "items": items});
    json_answer(StatusCode::OK, &list)
}

/// Returns all guests one after the other, and the marker of the end.
fn events() -> Response<Body> {
    let end = json!({"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
        "metadata": {"resourceVersion": "7", "annotations": {"k8s.io/initial-events-end": "true"}}});
    let added = (0..GUESTS).map(|number| ("ADDED", guest(number))).chain([("BOOKMARK", end)]);
    // API servers write the type first.
    let lines = added.map(|(kind, object)| format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n"));
    let lines = lines.map(|line| Ok::<_, Infallible>(Frame::data(Bytes::from(line))));
    Response::new(StreamBody::new(stream::iter(lines)).boxed_unsync())
}

/// Returns an API server, with or without streaming lists.
fn api_server(streams: bool, limits: &Arc<Mutex<Vec<usize>>>) -> Client {
    let limits = Arc::clone(limits);
    let service = tower::service_fn(move |request: Request<Sent>| {
        let answer = match (parameter(&request, "sendInitialEvents").is_some(), parameter(&request, "watch").is_some())
        {
            (true, _) if streams => events(),
            (true, _) => json_answer(
                StatusCode::UNPROCESSABLE_ENTITY,
                &json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 422, "message": "forbidden"}),
            ),
            (false, true) => Response::new(Empty::new().boxed_unsync()),
            (false, false) => page(&request, &limits),
        };
        std::future::ready(Ok::<_, Infallible>(answer))
    });
    Client::new(service, "default")
}

#[rstest]
#[case::streamed(true)]
#[case::by_pages(false)]
fn the_first_list_holds_no_more_than_a_page(#[case] streams: bool) {
    let limits = Arc::default();
    let inventory = Rc::new(RefCell::new(Inventory::new(None)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let info = measure(|| {
        runtime.block_on(async {
            // The channel has the program's capacity.
            let (sender, mut changes) = mpsc::channel(1024);
            let following = follow(api_server(streams, &limits), Resource::Vmis, Arc::default(), sender);
            let receiving = async {
                while let Some(change) = changes.recv().await {
                    let is_over = matches!(change, ResourceChange::Listed(_));
                    inventory.borrow_mut().apply(change);
                    if is_over {
                        return;
                    }
                }
            };
            tokio::select! {
                () = receiving => {}
                () = following => unreachable!("the receiver exists"),
            }
        });
    });
    let kept = inventory.borrow_mut().snapshot().world.cluster.vmis().count();
    assert_eq!(kept, GUESTS, "all of them are known");
    let limits = limits.lock().unwrap();
    if streams {
        assert!(limits.is_empty(), "{limits:?}");
    } else {
        assert!(
            limits.len() >= GUESTS / 25 && limits.iter().all(|limit| *limit <= 25),
            "asked for {:?} at once",
            limits[0]
        );
    }
    let (held, kept) = (info.bytes_max, u64::try_from(info.bytes_current).unwrap());
    println!("{GUESTS} guests: {} KiB kept, {} KiB beside them", kept >> 10, (held - kept) >> 10);
    assert!(kept <= GUESTS as u64 * KEPT, "{kept} bytes are kept of {GUESTS} guests");
    assert!(held - kept <= BEYOND, "{held} bytes were held, of which {kept} are kept");
}
