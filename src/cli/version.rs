//! `cpufit version`: the versions of this program, and of the leader on the cluster.

use serde::Serialize;

use super::args::PlainOutput;
use crate::live::leader::{Leader, Leading, THIS_VERSION};
use crate::page::{Page, PageError};

/// The printed versions. Also their JSON: fields are only ever added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Versions {
    /// The version of this program.
    pub client_version: ClientVersion,
    /// The version of the leader; null if there is no leader, or the cluster was not asked.
    pub leader_version: Option<Leader>,
    /// The replica whose Lease expired, and when it renewed it last.
    #[serde(skip)]
    expired: Option<(String, String)>,
}

/// The version of this program: `clientVersion`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ClientVersion {
    /// The version, such as `v0.1.0`.
    pub version: &'static str,
    /// The platform, such as `linux/x86_64`.
    pub platform: String,
}

impl Versions {
    /// Combines the version of this program with that of the leader.
    pub(crate) fn with(leading: Leading) -> Self {
        let (leader_version, expired) = match leading {
            Leading::Nobody => (None, None),
            Leading::Replica(leader) => (Some(leader), None),
            Leading::Expired { replica, renewed } => (None, Some((replica, renewed))),
        };
        let platform = format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH);
        Self { client_version: ClientVersion { version: THIS_VERSION, platform }, leader_version, expired }
    }

    /// Prints them. `asked_in` is the namespace in which the leader was looked for; a table has no line for a leader if
    /// the cluster was not asked.
    ///
    /// # Errors
    ///
    /// Returns an error if writing JSON or YAML fails.
    pub(crate) fn print(&self, output: PlainOutput, asked_in: Option<&str>, page: &mut Page) -> Result<(), PageError> {
        match output {
            PlainOutput::Json => page.json(self)?,
            PlainOutput::Yaml => page.yaml(self)?,
            PlainOutput::Table => {
                page.line(format_args!("Client Version: {}", self.client_version.version));
                if let Some((replica, renewed)) = &self.expired {
                    page.line(format_args!(
                        "Leader Version: none, for the Lease of {replica} has expired (last renewed {renewed}): that replica has ended, or \
                         cannot reach the API server"
                    ));
                    return Ok(());
                }
                match (&self.leader_version, asked_in) {
                    (Some(Leader { version, replica }), _) => {
                        let version = version.as_deref().unwrap_or("not known");
                        page.line(format_args!("Leader Version: {version} ({replica})"));
                    }
                    (None, Some(namespace)) => page.line(format_args!(
                        "Leader Version: none, for no replica leads in namespace {namespace} (--own-namespace looks in another)"
                    )),
                    (None, None) => {}
                }
            }
        }
        Ok(())
    }
}
