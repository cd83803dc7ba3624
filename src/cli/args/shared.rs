//! Arguments of several verbs, included in a verb's own by `#[command(flatten)]`.

use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;

use crate::cli::selector;
use crate::fit::command::{Command, CommandWord, FilePath, Invalid, Namespace, Script};
use crate::policy::LabelSelector;
use crate::snapshot::DumpSource;

/// Which objects of the cluster are listed, and how.
#[derive(Clone, Debug, Default, ClapArgs)]
pub struct ListArgs {
    /// Objects of all namespaces; overrides -n
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Only objects with these labels: KEY=VALUE, KEY!=VALUE, KEY in (A,B), KEY notin (A,B), KEY, !KEY, joined by
    /// commas
    #[arg(short = 'l', long, value_name = "SELECTOR", value_parser = selector::parse)]
    pub selector: Option<LabelSelector>,
    /// Omit the header row of tables
    #[arg(long)]
    pub no_headers: bool,
}

/// Manifests to read.
#[derive(Clone, Debug, Default, ClapArgs)]
pub struct FileArgs {
    /// Manifests: file, folder or -; several separated by commas; may be repeated
    #[arg(short = 'f', long = "filename", value_name = "FILE", value_delimiter = ',')]
    pub filename: Vec<DumpSource>,
    /// Read folders with their subfolders
    #[arg(short = 'R', long, conflicts_with = "kustomize")]
    pub recursive: bool,
    /// The output of kustomize for this folder; kustomize or kubectl must be installed
    #[arg(short = 'k', long, value_name = "DIR", conflicts_with = "filename")]
    pub kustomize: Option<PathBuf>,
}

impl FileArgs {
    /// Returns all sources to read, in the order given.
    #[must_use]
    pub fn sources(&self) -> Vec<DumpSource> {
        let more = self.kustomize.clone().map(DumpSource::Kustomization);
        self.filename.iter().cloned().chain(more).map(|source| self.reached(source)).collect()
    }

    /// Returns all sources, followed by files that are named without `-f`.
    #[must_use]
    pub fn with(&self, files: &[DumpSource]) -> Vec<DumpSource> {
        self.sources().into_iter().chain(files.iter().cloned().map(|source| self.reached(source))).collect()
    }

    fn reached(&self, source: DumpSource) -> DumpSource {
        match source {
            DumpSource::Path(path) if self.recursive => DumpSource::Tree(path.to_path_buf()),
            other => other,
        }
    }
}

/// Returns the command with which the API server checks these manifests, and stores nothing.
pub(crate) fn dry_run(sources: &[DumpSource], namespace: Option<&str>) -> Script {
    let is_tree = |source: &DumpSource| matches!(source, DumpSource::Tree(_));
    let recursive = sources.iter().any(is_tree).then_some("-R");
    let path = |path: &Path| FilePath::new(&path.to_string_lossy()).map(CommandWord::from);
    let arguments = sources.iter().map(|source| {
        Ok(match source {
            DumpSource::Stdin => ["-f".into(), "-".into()],
            DumpSource::Path(file) => ["-f".into(), path(file)?],
            DumpSource::Tree(folder) => ["-f".into(), path(folder)?],
            DumpSource::Kustomization(folder) => ["-k".into(), path(folder)?],
        })
    });
    let command = || {
        let arguments = arguments.collect::<Result<Vec<_>, Invalid>>()?;
        let command =
            Command::kubectl(["apply", "--dry-run=server"]).args(recursive).args(arguments.into_iter().flatten());
        Ok(vec![command.namespace(Namespace::new(namespace.unwrap_or_default())?)])
    };
    command().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubectl_reads_the_same_manifests() {
        let path = |text: &str| DumpSource::Path(PathBuf::from(text).into());
        for (sources, namespace, expected) in [
            (vec![path("a.yaml"), path("my vm.yaml")], None, " -f a.yaml -f 'my vm.yaml'"),
            (vec![DumpSource::Stdin], Some("shop"), " -f - -n shop"),
            (vec![DumpSource::Tree("a".into()), DumpSource::Tree("b".into())], None, " -R -f a -f b"),
            (vec![DumpSource::Kustomization("over/lay".into())], None, " -k over/lay"),
        ] {
            assert_eq!(dry_run(&sources, namespace).lines(), [format!("kubectl apply --dry-run=server{expected}")]);
        }
    }
}
