//! Libvirt's word on running guests: asked for with the rights of the person, or read from files.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;

use crate::answers::asking::{self, Plan};
use crate::answers::recommend::best_by_node;
use crate::cli::args::LibvirtArgs;
use crate::console;
use crate::domain::Domain;
use crate::kubevirt::wire::Vmi;
use crate::libvirt::{Facts, saved};
use crate::live::connect::{self, ClusterArgs};
use crate::live::libvirt::Asker;
use crate::page::Page;
use crate::world::World;

/// Puts into the world what libvirt says of these guests, as far as the command line wants it.
pub(super) fn learn(
    args: &LibvirtArgs,
    cluster: &ClusterArgs,
    world: &mut World,
    guests: impl FnOnce(&World) -> Vec<Vmi>,
    stdin: impl Read,
) -> anyhow::Result<()> {
    if !args.libvirt_facts.is_empty() {
        world.add_libvirt_facts(&args.libvirt_facts, stdin)?;
    }
    if !args.ask_libvirt {
        return Ok(());
    }
    let guests = guests(world);
    let plan = asking::plan(world, &guests);
    if plan.guests.is_empty() {
        console::tell(&Page::of("note: libvirt is not asked: no guest that runs, with its launcher, is among them"));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(ask(args, cluster, world, &plan))?;
    if let Some(folder) = &args.save_libvirt_facts {
        save(folder, &world.cluster.libvirt, &world.cluster.domain)?;
    }
    Ok(())
}

async fn ask(args: &LibvirtArgs, cluster: &ClusterArgs, world: &mut World, plan: &Plan) -> anyhow::Result<()> {
    let client = connect::client(cluster.config()?, &world.cluster.domain)?;
    let progress = |done: usize, of: usize| console::progress("libvirt was asked", done, of);
    let asker = Asker { client: &client, limit: args.ask_timeout, progress: &progress };
    world.cluster.libvirt = Arc::new(asker.ask(plan).await);
    let recommended = best_by_node(world);
    let mut wanted = Vec::new();
    for guest in &plan.guests {
        let key = (guest.namespace.clone(), guest.name.clone());
        let cpu = world.cluster.libvirt.guests.get(&key).and_then(|known| known.cpu.clone().ok());
        wanted.extend(cpu.map(|cpu| (guest, cpu, asking::candidates(world, guest, &recommended))));
    }
    let losses = asker.losses(&wanted).await;
    let facts = Arc::make_mut(&mut world.cluster.libvirt);
    for ((guest, ..), losses) in wanted.iter().zip(losses) {
        if let Some(known) = facts.guests.get_mut(&(guest.namespace.clone(), guest.name.clone())) {
            known.losses = losses;
        }
    }
    Ok(())
}

fn save(folder: &Path, facts: &Facts, domain: &Domain) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    for (name, content) in saved::files(facts) {
        let path = folder.join(name);
        let text = serde_json::to_string_pretty(&content)?;
        fs::write(&path, domain.outward(&text).into_owned() + "\n")
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
