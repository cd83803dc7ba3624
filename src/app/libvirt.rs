//! The answers of libvirt about running guests: queried with the user's rights, or read from files.

use std::fs;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;

use crate::answers::libvirt_plan::{self, NamedModels, Plan};
use crate::cli::args::LibvirtArgs;
use crate::console;
use crate::domain::Domain;
use crate::kubevirt::wire::Vmi;
use crate::libvirt::{LibvirtFacts, saved};
use crate::live::connect::{self, ClusterArgs};
use crate::live::libvirt::Asker;
use crate::snapshot::DumpSource;
use crate::world::{self, World};

/// The features that guests would lose with other models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Losses {
    /// The verb prints them.
    Printed,
    /// The verb does not print them.
    NotPrinted,
}

impl Losses {
    /// Whether libvirt is asked for them: saved answers are complete, whichever verb reads them later.
    fn are_asked(self, args: &LibvirtArgs) -> bool {
        self == Self::Printed || args.save_libvirt_facts.is_some()
    }
}

/// Adds libvirt's answers about these guests to the world, as the command line requests.
pub(super) fn learn(
    args: &LibvirtArgs,
    cluster: &ClusterArgs,
    world: &mut World,
    guests: impl FnOnce(&World) -> Vec<Vmi>,
    losses: Losses,
    stdin: impl Read,
) -> anyhow::Result<()> {
    if !args.libvirt_facts.is_empty() {
        let lines = world.add_libvirt_facts(&args.libvirt_facts, stdin)?;
        note(&world.cluster.domain, &lines);
    }
    if !args.ask_libvirt {
        return Ok(());
    }
    // Read the folder before asking libvirt, so that an unreadable file does not lose the answers.
    let folder = args.save_libvirt_facts.as_deref();
    let folder = folder.map(|folder| Folder::open(folder, &world.cluster.domain)).transpose()?;
    let guests = guests(world);
    let plan = libvirt_plan::plan(world, &guests);
    if plan.guests.is_empty() {
        let why = "libvirt is not asked: no guest that runs, with its launcher, is among them";
        console::note(&world.cluster.domain, why);
    }
    connect::block_on(ask(args, cluster, world, &plan, losses.are_asked(args)))??;
    if let Some(folder) = folder {
        note(&world.cluster.domain, &folder.add(&world.cluster.libvirt, &world.cluster.domain)?);
    }
    Ok(())
}

/// Checks that answers can be saved in the given folder, before the cluster is read and libvirt is asked.
pub(super) fn check(args: &LibvirtArgs) -> anyhow::Result<()> {
    match &args.save_libvirt_facts {
        Some(path) if path.exists() && !path.is_dir() => {
            anyhow::bail!("--save-libvirt-facts {}: it is there, and is no folder", path.display())
        }
        _ => Ok(()),
    }
}

fn note(domain: &Domain, lines: &[String]) {
    for line in lines {
        console::note(domain, line);
    }
}

async fn ask(
    args: &LibvirtArgs,
    cluster: &ClusterArgs,
    world: &mut World,
    plan: &Plan,
    asks_losses: bool,
) -> anyhow::Result<()> {
    let mut config = cluster.config()?;
    // Each question has its own limit, within which libvirt may be silent.
    config.read_timeout = None;
    let client = connect::client(config, &world.cluster.domain)?;
    let shown = console::Progress::of("libvirt was asked");
    let progress = |done: usize, of: usize| shown.at(done, of);
    let asker = Asker::new(&client, args.ask_timeout, &progress);
    world.cluster.libvirt = Arc::new(asker.ask(plan).await);
    if !asks_losses {
        return Ok(());
    }
    let models = NamedModels::of(world);
    let mut wanted = Vec::new();
    for guest in &plan.guests {
        let cpu = world.cluster.libvirt.cpu(&guest.guest.key(), &guest.guest.uid).cloned();
        wanted.extend(cpu.map(|cpu| (guest, cpu, libvirt_plan::candidates(world, guest, &models))));
    }
    let losses = asker.losses(&wanted).await;
    let facts = Arc::make_mut(&mut world.cluster.libvirt);
    for ((guest, ..), losses) in wanted.iter().zip(losses) {
        facts.set_losses(&guest.guest.key(), &guest.guest.uid, losses);
    }
    Ok(())
}

/// The folder of answers with its current content.
struct Folder {
    path: PathBuf,
    known: LibvirtFacts,
}

impl Folder {
    /// Reads the files with names of answers; creates the folder if it does not exist.
    fn open(path: &Path, domain: &Domain) -> anyhow::Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("cannot make the folder {}", path.display()))?;
        let cannot_read = || format!("cannot read the folder {}", path.display());
        let mut files = Vec::new();
        for entry in fs::read_dir(path).with_context(cannot_read)? {
            let entry = entry.with_context(cannot_read)?;
            if entry.file_name().to_str().is_some_and(saved::is_file_name) {
                files.push(DumpSource::Path(entry.path().into()));
            }
        }
        // Each name is one guest or node: the order of reading affects only the notes.
        files.sort_unstable_by_key(ToString::to_string);
        let mut known = LibvirtFacts::default();
        if !files.is_empty() {
            let taken = world::read_libvirt_facts(&mut known, &files, domain, std::io::empty());
            taken.context("--save-libvirt-facts adds to what the folder holds")?;
        }
        known.take_notes();
        Ok(Self { path: path.to_owned(), known })
    }

    /// Adds libvirt's answers; returns notes about answers that changed.
    fn add(mut self, facts: &LibvirtFacts, domain: &Domain) -> anyhow::Result<Vec<String>> {
        self.known.add_all(facts)?;
        let touched = saved::names(facts);
        for (name, content) in saved::files(&self.known).into_iter().filter(|(name, _)| touched.contains(name)) {
            let path = self.path.join(&name);
            let cannot_write = || format!("cannot write {}", path.display());
            let text = domain.outward(&serde_json::to_string_pretty(&content)?).into_owned() + "\n";
            // After an interruption, each file holds either the old or the new answers.
            let new = self.path.join(format!(".{name}.new"));
            write_new(&new, &text).with_context(cannot_write)?;
            fs::rename(&new, &path).with_context(cannot_write)?;
        }
        Ok(self.known.take_notes())
    }
}

/// Creates a file: removes an existing one, such as a named pipe or a link, instead of writing to it.
fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::File::create_new(path)?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::process::Command;
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;
    use crate::libvirt::Silence;
    use crate::libvirt::facts::{AnswerOrigin, Machine, Sourced};

    #[test]
    fn losses_are_asked_only_where_they_are_printed_or_saved() {
        for (losses, saves, expected) in [
            (Losses::Printed, false, true),
            (Losses::Printed, true, true),
            (Losses::NotPrinted, true, true),
            (Losses::NotPrinted, false, false),
        ] {
            let args = LibvirtArgs {
                ask_libvirt: true,
                ask_timeout: Duration::from_secs(10),
                save_libvirt_facts: saves.then(|| "facts".into()),
                libvirt_facts: Vec::new(),
            };
            assert_eq!(losses.are_asked(&args), expected, "{losses:?}, {saves}: a drain waits for what nobody reads");
        }
    }

    /// Leftovers at the temporary path: the answers are saved, and nothing else is written to.
    #[test]
    fn saving_answers_writes_into_no_file_left_at_the_temporary_path() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("precious"), "as it was").unwrap();
        let new = at(".node.node-b.json.new");
        for what in ["a file", "a link", "a named pipe"] {
            match what {
                "a file" => fs::write(&new, "half an answer, which is longer than the whole one").unwrap(),
                "a link" => symlink(at("precious"), &new).unwrap(),
                _ => assert!(Command::new("mkfifo").arg(&new).status().unwrap().success()),
            }
            let path = folder.path().to_owned();
            let (done, waits) = mpsc::channel();
            std::thread::spawn(move || {
                let mut facts = LibvirtFacts::default();
                let silence = Sourced::new(Silence::NoLauncher, AnswerOrigin::default());
                facts.add_node("node-b", &Machine::default(), [], [], Some(silence)).unwrap();
                let _ = done.send(Folder::open(&path, &Domain::default()).unwrap().add(&facts, &Domain::default()));
            });
            let added = waits.recv_timeout(Duration::from_secs(30));
            assert!(added.is_ok_and(|added| added.is_ok()), "{what} is waited for, and the answers are lost");
            assert_eq!(fs::read_to_string(at("precious")).unwrap(), "as it was", "{what}");
        }
    }
}
