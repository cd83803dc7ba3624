//! `cpufit probe`: one request to a replica, with the result as exit code. The pod of `helm test` runs it, because the
//! image has no other program.

use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use http_body_util::{BodyExt as _, Limited};
use kube::client::Body;
use kube::{Client, Config};

use super::args::ProbeArgs;
use crate::live::connect::{block_on, words};
use crate::page::Page;

/// Time limit of the connection, and of the answer.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum size of an answer, bytes.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// Sends the request and prints the answer.
///
/// # Errors
///
/// Returns an error if the address is no plain HTTP address, nothing answers, or the status is not 2xx.
pub(crate) fn run(args: &ProbeArgs, page: &mut Page) -> anyhow::Result<()> {
    let (Some("http"), Some(server), path) = (args.url.scheme_str(), args.url.authority(), args.url.path()) else {
        bail!("{}: expected an address such as http://cpufit.cpufit-system.svc:8080/readyz", args.url);
    };
    let mut config = Config::new(format!("http://{server}").parse()?);
    // The address is complete: the environment's proxy is not used.
    config.proxy_url = None;
    config.connect_timeout = Some(PROBE_TIMEOUT);
    config.read_timeout = Some(PROBE_TIMEOUT);
    let asked = async {
        let client = Client::try_from(config)?;
        let answer = client.send(http::Request::get(path).body(Body::empty())?).await;
        let answer = answer.map_err(|error| anyhow!(words(&error)))?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await.map_err(|error| anyhow!(error))?.to_bytes();
        anyhow::Ok((head.status, String::from_utf8_lossy(&body).into_owned()))
    };
    let what = || format!("GET {}", args.url);
    let answer = block_on(async { tokio::time::timeout(2 * PROBE_TIMEOUT, asked).await })?;
    let (status, text) =
        answer.with_context(|| format!("{}: no answer in {:?}", what(), 2 * PROBE_TIMEOUT))?.with_context(what)?;
    if !status.is_success() {
        bail!("{}: {status}: {}", what(), text.trim_end());
    }
    text.lines().for_each(|line| page.line(line));
    Ok(())
}
