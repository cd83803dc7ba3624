//! Queries to libvirt, through running launchers.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::LocalBoxFuture;
use futures_util::stream;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use tokio::time::Instant;

use super::exec::{ContainerState, PodName, exec};
use crate::answers::libvirt_plan::{GuestName, LAUNCHERS_TRIED, LauncherName, NodeLauncher, Plan, PlannedGuest};
use crate::fit::libvirt::losses;
use crate::libvirt::answer;
use crate::libvirt::facts::{AnswerOrigin, GuestFacts, KeptAnswer, NodeFacts, Sourced};
use crate::libvirt::question::CommandOutput;
use crate::libvirt::question::{Question, of_virsh};
use crate::libvirt::{Accelerator, Cpu, GuestCpu, LibvirtAnswer, LibvirtFacts, LibvirtHost, Silence};

/// Number of concurrent queries.
const AT_ONCE: usize = 8;
/// Additional time for the connection beyond the command's limit.
const SLACK: Duration = Duration::from_secs(3);
/// Tolerance for the container's clock: the limit may pass this much earlier there than here.
const EXTRA_TIME: Duration = Duration::from_millis(200);
/// Number of consecutive queries without an answer in time after which the launchers of a namespace on a node are not
/// queried again, and of consecutive refusals of exec after which a namespace is not. A single one may be a hanging
/// command, or a protected pod.
const MAX_FAILURES_IN_A_ROW: usize = 2;
/// Number of namespaces whose launchers on a node are silent after which no launcher there is queried: the guests of
/// one tenant do not silence those of the others, and a node that is down delays the command by a few queries only.
const MAX_SILENT_NAMESPACES: usize = 4;

/// The time that the questions to one node may take in all, in limits of one question: many answers, each slow and in
/// time, do not delay the command further. A question that has begun has its own limit.
const LIMITS_OF_A_NODE: u32 = 12;

/// A function that runs a command in a launcher, within a time limit.
type Exec<'a> = Box<dyn Fn(PodName, Vec<String>, Duration) -> LocalBoxFuture<'a, Result<CommandOutput, Silence>> + 'a>;

/// A client that queries libvirt in launchers, with the user's permissions.
pub(crate) struct Asker<'a> {
    exec: Exec<'a>,
    /// Maximum time of a query, from connection to answer.
    limit: Duration,
    /// Called after each answer with the number of answers and the total.
    progress: &'a dyn Fn(usize, usize),
    in_vain: RefCell<InVain>,
    /// The time that each node was queried, by name.
    spent: RefCell<BTreeMap<String, Spent>>,
}

/// The time during which at least one query to a node was open.
#[derive(Default)]
struct Spent {
    /// The time of the queries that have ended.
    before: Duration,
    /// Number of open queries.
    open: usize,
    /// When the first of the open queries began; `None` without one.
    since: Option<Instant>,
}

impl Spent {
    fn so_far(&self) -> Duration {
        self.before + self.since.map(|since| since.elapsed()).unwrap_or_default()
    }

    fn begin(&mut self) {
        self.open += 1;
        self.since.get_or_insert_with(Instant::now);
    }

    fn end(&mut self) {
        self.open = self.open.saturating_sub(1);
        if self.open == 0 {
            self.before = self.so_far();
            self.since = None;
        }
    }
}

/// Consecutive failed queries.
#[derive(Default)]
struct InVain {
    /// Number of consecutive queries without an answer in time, by node and namespace of the launcher.
    slow: BTreeMap<String, BTreeMap<String, usize>>,
    /// Number of consecutive refusals and the last refusal, by namespace.
    refused: BTreeMap<String, (usize, Silence)>,
}

impl InVain {
    /// Returns why this launcher is not queried any more; `None` if it is.
    fn reason(&self, node: &str, namespace: &str, seconds: u64) -> Option<Silence> {
        if let Some(slow) = self.slow.get(node) {
            let is_silent = |times: &&usize| **times >= MAX_FAILURES_IN_A_ROW;
            let is_given_up = slow.get(namespace).as_ref().is_some_and(is_silent);
            if is_given_up || slow.values().filter(is_silent).count() >= MAX_SILENT_NAMESPACES {
                return Some(Silence::GivenUp(seconds));
            }
        }
        self.refused
            .get(namespace)
            .filter(|(times, _)| *times >= MAX_FAILURES_IN_A_ROW)
            .map(|(_, silence)| silence.clone())
    }

    fn learn<T>(&mut self, node: &str, namespace: &str, answered: &Result<T, Silence>) {
        match answered {
            Err(Silence::TooSlow(_)) => {
                *self.slow.entry(node.to_owned()).or_default().entry(namespace.to_owned()).or_default() += 1;
            }
            Err(silence @ Silence::Forbidden(_)) => {
                let (times, last) = self.refused.entry(namespace.to_owned()).or_insert((0, silence.clone()));
                *times += 1;
                last.clone_from(silence);
            }
            Err(Silence::NotRun(_) | Silence::NotRunning(_)) => {}
            _ => {
                if let Some(slow) = self.slow.get_mut(node) {
                    slow.remove(namespace);
                }
                self.refused.remove(namespace);
            }
        }
    }
}

impl<'a> Asker<'a> {
    /// Creates an asker on this client; `limit` bounds each query.
    pub(crate) fn new(client: &'a Client, limit: Duration, progress: &'a dyn Fn(usize, usize)) -> Self {
        let running: Rc<RefCell<BTreeSet<PodName>>> = Rc::default();
        let exec: Exec<'a> = Box::new(move |pod, command, limit| {
            let running = Rc::clone(&running);
            let is_known = running.borrow().contains(&pod);
            Box::pin(async move {
                let state = if is_known { ContainerState::Running } else { ContainerState::Unknown };
                let outcome = exec(client, &pod, command, state, limit).await;
                if outcome.is_ok() {
                    running.borrow_mut().insert(pod);
                }
                outcome
            })
        });
        Self { exec, limit, progress, in_vain: RefCell::default(), spent: RefCell::default() }
    }

    /// Runs the planned queries: the CPU of each guest, then the nodes about these CPUs. A CPU shared by several guests
    /// is queried once. A node that does not answer does not delay the others.
    pub(crate) async fn ask(&self, plan: &Plan) -> LibvirtFacts {
        let mut facts = LibvirtFacts::default();
        let mut add = |guest: &GuestName, cpu| {
            let known = GuestFacts { cpu: Sourced::new(cpu, now()), losses: BTreeMap::new() };
            facts.guests.entry(guest.key()).or_default().insert(guest.uid.clone(), known);
        };
        let questions = plan.guests.iter().map(|guest| async move { (guest, self.guest(guest).await) });
        let mut cpus: BTreeMap<&str, BTreeSet<GuestCpu>> = BTreeMap::new();
        for (guest, cpu) in self.all(questions.collect()).await {
            for node in &guest.nodes {
                cpus.entry(node).or_default().extend(cpu.clone().ok());
            }
            add(&guest.guest, cpu);
        }
        plan.unreachable.iter().for_each(|guest| add(guest, Err(Silence::NoOwnLauncher)));
        let cpus = cpus.into_iter().filter(|(_, cpus)| !cpus.is_empty());
        let questions = cpus.map(|(node, cpus)| async move {
            let launchers = plan.launchers.get(node).map(Vec::as_slice).unwrap_or_default();
            (node, self.node(node, launchers, cpus).await)
        });
        for (node, known) in self.all(questions.collect()).await {
            let machine = plan.machines.get(node).cloned().unwrap_or_default();
            facts.nodes.entry(node.to_owned()).or_default().insert(machine, known);
        }
        facts
    }

    /// Returns the features that guests would lose with named models, according to the libvirt of their own nodes.
    /// Guests with the same node and CPU share a query.
    pub(crate) async fn losses(
        &self,
        wanted: &[(&PlannedGuest, GuestCpu, BTreeSet<String>)],
    ) -> Vec<BTreeMap<String, KeptAnswer<Vec<String>>>> {
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
            let output = self.put(&about.0, launcher, &question).await;
            (about, output.and_then(|output| answer::features(&question, &output)))
        });
        let known: BTreeMap<_, _> = self.all(questions.collect()).await.into_iter().collect();
        let features = |guest: &PlannedGuest, cpu: GuestCpu| match known.get(&(guest.node.clone(), cpu)) {
            Some(Ok(cpu)) => Ok(&cpu.require),
            Some(Err(silence)) => Err(silence.clone()),
            None => Err(Silence::NotSaved),
        };
        let of = |(guest, cpu, models): &(&PlannedGuest, GuestCpu, BTreeSet<String>)| {
            let loss = |model: &String| {
                let lost =
                    features(guest, cpu.clone()).and_then(|has| Ok(losses(has, features(guest, named(model, cpu))?)));
                (model.clone(), Sourced::new(lost, now()))
            };
            models.iter().map(loss).collect()
        };
        wanted.iter().map(of).collect()
    }

    /// Runs these queries, a limited number at once.
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
        let GuestName { namespace, name, .. } = guest.guest.clone();
        let question = Question::Guest { namespace, name };
        answer::guest(&question, &self.put(&guest.node, &guest.launcher, &question).await?)
    }

    /// Queries a node about these CPUs, through one of its launchers. A few are tried: one in which exec is refused
    /// gives its place to the next. A launcher in which exec is refused or fails, or that has no usable virsh, is not
    /// used again; one without an answer in time, or with one that cannot be used, is moved to the end. A CPU without
    /// an answer in time is queried once more if another launcher or CPU is left; one without a usable answer, or
    /// refused through an outdated launcher, through each other launcher; a refusal counts if no other launcher
    /// answers.
    async fn node(&self, node: &str, launchers: &[NodeLauncher], cpus: BTreeSet<GuestCpu>) -> NodeFacts {
        let mut out = NodeFacts::default();
        let accelerators: BTreeSet<Accelerator> = cpus.iter().map(|guest| guest.accelerator).collect();
        let mut others = launchers.iter();
        let mut launchers: VecDeque<&NodeLauncher> = others.by_ref().take(LAUNCHERS_TRIED).collect();
        let mut silence = Silence::NoLauncher;
        let mut open: VecDeque<GuestCpu> = cpus.into_iter().collect();
        let mut again = BTreeSet::new();
        let mut failed_in: BTreeMap<GuestCpu, BTreeSet<&NodeLauncher>> = BTreeMap::new();
        let mut answering = None;
        while let Some(cpu) = open.pop_front() {
            if let Some(failed) = failed_in.get(&cpu) {
                let Some(untried) = launchers.iter().position(|launcher| !failed.contains(*launcher)) else { continue };
                launchers.rotate_left(untried);
            }
            let Some(launcher) = launchers.front().copied() else {
                out.silence = Some(Sourced::new(silence, now()));
                break;
            };
            let answered = self.compare(node, launcher, &cpu).await;
            let mut is_open_still = false;
            match &answered {
                // A user who may not exec in this namespace may in another; a deleted pod cannot be queried; during an
                // upgrade a node has launchers of two releases.
                Err(
                    why @ (Silence::Forbidden(_)
                    | Silence::NotRun(_)
                    | Silence::NotRunning(_)
                    | Silence::GivenUp(_)
                    | Silence::TimeSpent(_)
                    | Silence::NoShell
                    | Silence::NoVirsh
                    | Silence::NoVerb(_)),
                ) => {
                    silence = why.clone();
                    launchers.pop_front();
                    if matches!(why, Silence::Forbidden(_)) {
                        launchers.extend(others.next());
                    }
                    open.push_front(cpu);
                    continue;
                }
                Err(Silence::TooSlow(_)) => {
                    launchers.rotate_left(1);
                    let is_other = launchers.len() > 1 || !open.is_empty();
                    if is_other && again.insert(cpu.clone()) {
                        open.push_back(cpu.clone());
                    }
                }
                Err(Silence::Failed(_) | Silence::Unreadable(_) | Silence::TooLong(_)) => {
                    is_open_still = true;
                }
                Ok(answer) => {
                    answering = Some(&launcher.pod);
                    is_open_still = launcher.is_outdated && !answer.agrees();
                }
                Err(_) => {}
            }
            if is_open_still {
                failed_in.entry(cpu.clone()).or_default().insert(launcher);
                launchers.rotate_left(1);
                open.push_front(cpu.clone());
            }
            let is_answered = out.answers.get(&cpu).is_some_and(|known| known.value.is_ok());
            if answered.is_ok() || !is_answered {
                out.answers.insert(cpu, Sourced::new(answered, now()));
            }
        }
        if let Some(first) = answering {
            let others = launchers.iter().map(|launcher| &launcher.pod).filter(|pod| *pod != first);
            let through: Vec<&LauncherName> = std::iter::once(first).chain(others).collect();
            for accelerator in accelerators {
                let host = self.host_through(node, &through, accelerator).await;
                out.hosts.insert(accelerator, Sourced::new(host, now()));
            }
        }
        out
    }

    async fn compare(&self, node: &str, launcher: &NodeLauncher, cpu: &GuestCpu) -> Result<LibvirtAnswer, Silence> {
        let question = Question::Compare(cpu.clone());
        let mut answer = answer::comparison(&question, &self.put(node, &launcher.pod, &question).await?)?;
        if let LibvirtAnswer::Incompatible(why) = &mut answer {
            why.by_outdated = launcher.is_outdated;
        }
        Ok(answer)
    }

    /// Queries a node about its host model through the first of these launchers that answers; without any, returns why
    /// the first one did not.
    async fn host_through(
        &self,
        node: &str,
        launchers: &[&LauncherName],
        accelerator: Accelerator,
    ) -> Result<LibvirtHost, Silence> {
        let mut silence = Silence::NoLauncher;
        for (at, launcher) in launchers.iter().enumerate() {
            match self.host(node, launcher, accelerator).await {
                Ok(host) => return Ok(host),
                Err(why) if at == 0 => silence = why,
                Err(_) => {}
            }
        }
        Err(silence)
    }

    async fn host(
        &self,
        node: &str,
        launcher: &LauncherName,
        accelerator: Accelerator,
    ) -> Result<LibvirtHost, Silence> {
        let question = Question::Host(accelerator);
        answer::host(&question, &self.put(node, launcher, &question).await?)
    }

    /// Sends a query to a launcher on a node, unless earlier ones failed.
    async fn put(&self, node: &str, launcher: &LauncherName, question: &Question) -> Result<CommandOutput, Silence> {
        let seconds = self.limit.as_secs().max(1);
        if let Some(silence) = self.in_vain.borrow().reason(node, &launcher.0, seconds) {
            return Err(silence);
        }
        let most = self.limit * LIMITS_OF_A_NODE;
        {
            let mut spent = self.spent.borrow_mut();
            let spent = spent.entry(node.to_owned()).or_default();
            if spent.so_far() > most {
                return Err(Silence::TimeSpent(most.as_secs().max(1)));
            }
            spent.begin();
        }
        let pod = PodName { namespace: launcher.0.clone(), name: launcher.1.clone() };
        let began = Instant::now();
        let answered = (self.exec)(pod, question.command(seconds), self.limit + SLACK).await.map(of_virsh);
        self.spent.borrow_mut().entry(node.to_owned()).or_default().end();
        // A command that was killed earlier did not reach the limit.
        let is_late = began.elapsed() + EXTRA_TIME >= Duration::from_secs(seconds);
        let answered = match answered {
            // The exit codes of `timeout` in the container.
            Ok(CommandOutput { code: Some(124 | 137), .. }) if is_late => Err(Silence::TooSlow(seconds)),
            Err(Silence::TooSlow(_)) => Err(Silence::TooSlow(seconds)),
            other => other,
        };
        self.in_vain.borrow_mut().learn(node, &launcher.0, &answered);
        answered
    }
}

/// Returns the current time, to the second, as the origin of an answer.
fn now() -> AnswerOrigin {
    let now = Timestamp::now();
    AnswerOrigin::now(Timestamp::from_second(now.as_second()).unwrap_or(now))
}

#[cfg(test)]
mod tests;
