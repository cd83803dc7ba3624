//! Asking libvirt, through the launchers that run.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use kube::Client;

use super::exec::{PodName, exec};
use crate::answers::asking::{LauncherName, Plan, PlannedGuest};
use crate::libvirt::answer::{self, Host, Output};
use crate::libvirt::facts::{GuestFacts, NodeFacts, losses};
use crate::libvirt::question::{Question, of_virsh};
use crate::libvirt::{Accelerator, Cpu, Facts, GuestCpu, Silence};

/// How many questions are asked at once.
const AT_ONCE: usize = 8;
/// What the connection may take beyond the time that the command has.
const SLACK: Duration = Duration::from_secs(3);

/// Asks launchers, with the rights of the client.
#[derive(Clone, Copy)]
pub(crate) struct Asker<'a> {
    /// The API server.
    pub client: &'a Client,
    /// How long each question may take, from connection to answer.
    pub limit: Duration,
    /// Called after each answer with how many are there, and of how many.
    pub progress: &'a dyn Fn(usize, usize),
}

impl Asker<'_> {
    /// Asks what is planned: the CPU of each guest, then the nodes about it. CPUs that several guests have are asked about
    /// once. Whoever does not answer keeps nobody from being asked.
    pub(crate) async fn ask(&self, plan: &Plan) -> Facts {
        let mut facts = Facts::default();
        let questions = plan.guests.iter().map(|guest| async move { (guest, self.guest(guest).await) });
        for (guest, cpu) in self.all(questions.collect()).await {
            let known = GuestFacts { uid: guest.uid.clone(), cpu, losses: BTreeMap::new() };
            facts.guests.insert((guest.namespace.clone(), guest.name.clone()), known);
        }
        let mut cpus: BTreeMap<&str, BTreeSet<GuestCpu>> = BTreeMap::new();
        for guest in &plan.guests {
            let known = facts.guests.get(&(guest.namespace.clone(), guest.name.clone()));
            let cpu = known.and_then(|known| known.cpu.as_ref().ok());
            for node in &guest.nodes {
                cpus.entry(node).or_default().extend(cpu.cloned());
            }
        }
        let cpus = cpus.into_iter().filter(|(_, cpus)| !cpus.is_empty());
        let questions = cpus.map(|(node, cpus)| async move {
            let launchers = plan.launchers.get(node).map(Vec::as_slice).unwrap_or_default();
            (node, self.node(launchers, cpus).await)
        });
        for (node, known) in self.all(questions.collect()).await {
            facts.nodes.insert(node.to_owned(), known);
        }
        facts
    }

    /// What guests would lose with named models, by the libvirt of their own nodes. Guests of one node with one CPU are asked
    /// about once. Nothing is said where an answer is missing.
    pub(crate) async fn losses(
        &self,
        wanted: &[(&PlannedGuest, GuestCpu, BTreeSet<String>)],
    ) -> Vec<BTreeMap<String, Vec<String>>> {
        let named = |model: &String, of: &GuestCpu| GuestCpu {
            cpu: Cpu { model: model.clone(), ..Cpu::default() },
            accelerator: of.accelerator,
        };
        let mut questions: BTreeMap<(String, GuestCpu), &LauncherName> = BTreeMap::new();
        for (guest, cpu, models) in wanted.iter().filter(|(_, _, models)| !models.is_empty()) {
            let cpus = models.iter().map(|model| named(model, cpu)).chain([cpu.clone()]);
            for cpu in cpus {
                questions.entry((guest.node.clone(), cpu)).or_insert(&guest.launcher);
            }
        }
        let questions = questions.into_iter().map(|(about, launcher)| async move {
            let question = Question::Features(about.1.clone());
            let output = self.put(launcher, &question).await;
            (about, output.and_then(|output| answer::features(&question, &output)).ok())
        });
        let known: BTreeMap<_, _> = self.all(questions.collect()).await.into_iter().collect();
        let features = |guest: &PlannedGuest, cpu: GuestCpu| known.get(&(guest.node.clone(), cpu))?.as_ref();
        let of = |(guest, cpu, models): &(&PlannedGuest, GuestCpu, BTreeSet<String>)| {
            let Some(has) = features(guest, cpu.clone()) else { return BTreeMap::new() };
            let loss = |model: &String| {
                Some((model.clone(), losses(&has.require, &features(guest, named(model, cpu))?.require)))
            };
            models.iter().filter_map(loss).collect()
        };
        wanted.iter().map(of).collect()
    }

    /// All of these, some at once.
    async fn all<T, F: Future<Output = T>>(&self, questions: Vec<F>) -> Vec<T> {
        let of = questions.len();
        let mut answers = stream::iter(questions).buffer_unordered(AT_ONCE);
        let mut out = Vec::with_capacity(of);
        while let Some(answer) = answers.next().await {
            out.push(answer);
            (self.progress)(out.len(), of);
        }
        out
    }

    async fn guest(&self, guest: &PlannedGuest) -> Result<GuestCpu, Silence> {
        let question = Question::Guest { namespace: guest.namespace.clone(), name: guest.name.clone() };
        answer::guest(&question, &self.put(&guest.launcher, &question).await?)
    }

    async fn node(&self, launchers: &[LauncherName], cpus: BTreeSet<GuestCpu>) -> NodeFacts {
        let mut out = NodeFacts { silence: Some(Silence::NoLauncher), ..NodeFacts::default() };
        let Some(accelerator) = cpus.first().map(|guest| guest.accelerator) else { return out };
        for launcher in launchers {
            let mut cpus = cpus.iter();
            let Some(first) = cpus.next() else { return out };
            let answered = self.compare(launcher, first).await;
            // Who may not exec here may in another namespace; a pod that is gone cannot be asked.
            if let Err(silence @ (Silence::Forbidden(_) | Silence::NotRun(_) | Silence::NoShell)) = answered {
                out.silence = Some(silence);
                continue;
            }
            out.silence = None;
            let has_answered = answered.is_ok();
            out.answers.insert(first.clone(), answered);
            for cpu in cpus {
                out.answers.insert(cpu.clone(), self.compare(launcher, cpu).await);
            }
            if has_answered {
                out.host = self.host(launcher, accelerator).await.ok();
            }
            return out;
        }
        out
    }

    async fn compare(&self, launcher: &LauncherName, cpu: &GuestCpu) -> Result<crate::libvirt::Answer, Silence> {
        let question = Question::Compare(cpu.clone());
        answer::comparison(&question, &self.put(launcher, &question).await?)
    }

    async fn host(&self, launcher: &LauncherName, accelerator: Accelerator) -> Result<Host, Silence> {
        let question = Question::Host(accelerator);
        answer::host(&question, &self.put(launcher, &question).await?)
    }

    async fn put(&self, launcher: &LauncherName, question: &Question) -> Result<Output, Silence> {
        let pod = PodName { namespace: launcher.0.clone(), name: launcher.1.clone() };
        let seconds = self.limit.as_secs().max(1);
        match exec(self.client, &pod, question.command(seconds), self.limit + SLACK).await.map(of_virsh) {
            // The codes are those of `timeout` in the container.
            Err(Silence::TooSlow(_)) | Ok(Output { code: Some(124 | 137), .. }) => Err(Silence::TooSlow(seconds)),
            other => other,
        }
    }
}
