//! Credential plugins of a kubeconfig, and their errors in plain words. Their standard output may be a token: it is
//! never repeated.

use std::io::{self, ErrorKind, IsTerminal};

use kube::Config;
use kube::client::middleware::AuthLayer;
use kube::client::{AuthError, ConfigExt};
use kube::config::ExecInteractiveMode;

use super::options::ConnectError;

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

/// Runs the credential plugin of a configuration, if there is one, and returns the layer that sends its token, and that
/// asks for another when it expires. The configuration then names the plugin no longer: kube's builder would run it
/// once for the token and twice for a certificate. `None` without a plugin, and for one that returns a certificate.
///
/// The plugin may ask the user only on a terminal: else it would read the manifests of `-f -`. Mirrors client-go's
/// `plugin/pkg/client/auth/exec`, `isInteractive`.
///
/// # Errors
///
/// The plugin fails, or asks the user always and standard input is no terminal.
pub(super) fn log_in(config: &mut Config) -> Result<Option<AuthLayer>, ConnectError> {
    let Some(plugin) = Plugin::of(config) else { return Ok(None) };
    if let Some(exec) = config.auth_info.exec.as_mut().filter(|_| !io::stdin().is_terminal()) {
        if exec.interactive_mode == Some(ExecInteractiveMode::Always) {
            let fault = "asks the user (interactiveMode: Always), and standard input is no terminal".to_owned();
            return Err(ConnectError::Plugin { fault, command: plugin.command });
        }
        exec.interactive_mode = Some(ExecInteractiveMode::Never);
    }
    let token = config.auth_layer().map_err(|error| ConnectError::of(Some(plugin), error))?;
    if token.is_some() {
        config.auth_info.exec = None;
    }
    Ok(token)
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
