//! Errors of credential plugins in plain words. Their standard output may be a token: it is never repeated.

use std::io::ErrorKind;

use kube::Config;
use kube::client::AuthError;

/// The credential plugin that the kubeconfig names.
#[derive(Clone, Debug, Default)]
pub(super) struct Plugin {
    /// Its program.
    pub(super) command: String,
    install_hint: Option<String>,
}

impl Plugin {
    /// Returns the plugin of a configuration; `None` if it names none.
    pub(super) fn of(config: &Config) -> Option<Self> {
        let exec = config.auth_info.exec.as_ref()?;
        Some(Self { command: exec.command.clone()?, install_hint: exec.install_hint.clone() })
    }

    /// Returns the fault, to be read after "the credential plugin NAME"; for a program that is not there with the
    /// advice of the kubeconfig.
    pub(super) fn fault(&self, error: &AuthError) -> String {
        let hint = match (error, &self.install_hint) {
            (AuthError::AuthExecStart(io), Some(hint)) if io.kind() == ErrorKind::NotFound => {
                format!(": {}", hint.split_whitespace().collect::<Vec<_>>().join(" "))
            }
            _ => String::new(),
        };
        format!("{}{hint}", fault(error))
    }
}

/// Returns the fault without the plugin's name: libraries print its arguments and its standard output.
pub(super) fn fault(error: &AuthError) -> String {
    match error {
        AuthError::AuthExecStart(io) if io.kind() == ErrorKind::NotFound => "is not installed".to_owned(),
        AuthError::AuthExecStart(io) => format!("cannot be started: {io}"),
        AuthError::AuthExecRun { out, .. } => {
            let errors = String::from_utf8_lossy(&out.stderr);
            let said = errors.split_whitespace().collect::<Vec<_>>().join(" ");
            let why = if said.is_empty() { String::new() } else { format!(": {said}") };
            format!("failed ({}){why}", out.status)
        }
        AuthError::AuthExecParse(_) | AuthError::ExecPluginFailed => {
            "did not print an ExecCredential with a status".to_owned()
        }
        other => format!("cannot be used: {other}"),
    }
}
