//! Questions: commands that run in a launcher's container `compute`.
//!
//! A command contains only a CPU's own description, a domain's name and text of this file, each as a separate argument.
//! No question changes anything, and none needs standard input, which hangs with some kubelets.

use std::fmt::Write as _;

use super::{Accelerator, Cpu, GuestCpu};

/// Script prefix that connects to libvirt as virt-launcher does (`createLibvirtConnection` in
/// `cmd/virt-launcher/virt-launcher.go`): as root through `qemu:///system`, else through the socket of the session,
/// which KubeVirt before 0.59 called `libvirt-sock`. If the container has `timeout`, it ends long-running questions
/// there as well.
const REACH: &str = "export LC_ALL=C; u=qemu:///system; \
     if [ \"$UID\" != 0 ]; then s=/var/run/libvirt/virtqemud-sock; o=/var/run/libvirt/libvirt-sock; \
     if [ ! -S \"$s\" ] && [ -S \"$o\" ]; then s=$o; fi; u=\"qemu+unix:///session?socket=$s\"; fi; v=(virsh -c \"$u\"); \
     if type timeout >/dev/null 2>&1; then v=(timeout -k 1 \"$1\" \"${v[@]}\"); fi; ";

/// Prefix of virsh's exit code in the last line of standard output, because not every kubelet reports exit codes.
const EXIT: &str = "exit code ";

/// The result of a command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CommandOutput {
    /// The exit code; `None` if the container did not report it.
    pub code: Option<i32>,
    /// The standard output.
    pub stdout: String,
    /// The standard error.
    pub stderr: String,
}

/// A question to a launcher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// The CPU of a guest, in its own launcher: `virsh dumpxml`.
    Guest {
        /// The guest's namespace.
        namespace: String,
        /// The guest's name.
        name: String,
    },
    /// The question whether the node's hypervisor provides this CPU: `virsh hypervisor-cpu-compare`.
    Compare(GuestCpu),
    /// The node's host model, and the named models that are usable there: `virsh domcapabilities`.
    Host(Accelerator),
    /// All features of this CPU, as far as the node's hypervisor provides them: `virsh hypervisor-cpu-baseline`.
    Features(GuestCpu),
}

impl Question {
    /// Returns the verb of virsh.
    pub(crate) fn verb(&self) -> &'static str {
        match self {
            Self::Guest { .. } => "dumpxml",
            Self::Compare(_) => "hypervisor-cpu-compare",
            Self::Host(_) => "domcapabilities",
            Self::Features(_) => "hypervisor-cpu-baseline",
        }
    }

    /// Returns the command, which ends by itself after this many seconds.
    pub(crate) fn command(&self, seconds: u64) -> Vec<String> {
        let (script, arguments) = match self {
            // Mirrors KubeVirt's `VMINamespaceKeyFunc`.
            Self::Guest { namespace, name } => ("dumpxml -- \"$2\"", vec![format!("{namespace}_{name}")]),
            Self::Compare(guest) => (
                "hypervisor-cpu-compare --error --virttype \"$3\" <(printf %s \"$2\")",
                vec![xml(&guest.cpu), guest.accelerator.as_str().to_owned()],
            ),
            Self::Host(accelerator) => ("domcapabilities --virttype \"$2\"", vec![accelerator.as_str().to_owned()]),
            Self::Features(guest) => (
                "hypervisor-cpu-baseline --features --virttype \"$3\" <(printf %s \"$2\")",
                vec![xml(&guest.cpu), guest.accelerator.as_str().to_owned()],
            ),
        };
        let head =
            ["bash", "-c", &format!("{REACH}\"${{v[@]}}\" {script}; echo \"{EXIT}$?\""), "-", &seconds.to_string()];
        head.map(str::to_owned).into_iter().chain(arguments).collect()
    }
}

/// Returns virsh's own result: its exit code is taken from the last line, which is removed.
pub(crate) fn of_virsh(mut output: CommandOutput) -> CommandOutput {
    let text = output.stdout.trim_end_matches('\n');
    let (rest, last) = text.rsplit_once('\n').unwrap_or(("", text));
    // Virsh's last line may lack a line feed.
    if let Some((end, code)) = last.rsplit_once(EXIT)
        && let Ok(code) = code.parse()
    {
        output = CommandOutput { code: Some(code), stdout: format!("{rest}\n{end}"), ..output };
    }
    output
}

/// Formats the CPU for libvirt: only the fields that [`answer`](super::answer) accepted.
pub(crate) fn xml(cpu: &Cpu) -> String {
    // Names have a plain form, so they need no escapes.
    let mut out = format!("<cpu mode='custom' match='exact'><model fallback='forbid'>{}</model>", cpu.model);
    if let Some(vendor) = &cpu.vendor {
        let _ = write!(out, "<vendor>{vendor}</vendor>");
    }
    for (policy, names) in [("require", &cpu.require), ("disable", &cpu.disable), ("forbid", &cpu.forbid)] {
        for name in names {
            let _ = write!(out, "<feature policy='{policy}' name='{name}'/>");
        }
    }
    out.push_str("</cpu>");
    out
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Runs the command as a container does, with a `virsh` that prints its arguments and returns a code.
    fn run(question: &Question, virsh: &str) -> CommandOutput {
        let command = question.command(5);
        let script =
            format!("virsh() {{ {virsh}; }}; export -f virsh; timeout() {{ shift 3; \"$@\"; }}; {}", command[2]);
        let ran = Command::new(&command[0]).args(["-c", &script]).args(&command[3..]).output();
        let ran = ran.unwrap_or_else(|error| panic!("bash: {error}"));
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        of_virsh(CommandOutput { code: ran.status.code(), stdout: text(ran.stdout), stderr: text(ran.stderr) })
    }

    fn question() -> Question {
        let cpu = Cpu { model: "EPYC".to_owned(), require: ["vaes".to_owned()].into(), ..Cpu::default() };
        Question::Compare(GuestCpu { cpu, accelerator: Accelerator::Kvm })
    }

    #[test]
    fn virsh_reads_the_cpu_and_its_exit_code_comes_back() {
        let ran = run(&question(), "[ \"$1\" = -c ] && shift 2; echo \"${@:1:4}\"; cat \"${@: -1}\"; return 3");
        assert_eq!(ran.code, Some(3), "{ran:?}");
        let expected = "hypervisor-cpu-compare --error --virttype kvm\n<cpu mode='custom' match='exact'><model \
             fallback='forbid'>EPYC</model><feature policy='require' name='vaes'/></cpu>";
        assert_eq!(ran.stdout, expected);
    }

    #[test]
    fn a_name_is_one_argument_and_no_option() {
        let question = Question::Guest { namespace: "--help; reboot".to_owned(), name: "$(reboot)".to_owned() };
        let ran = run(&question, "[ \"$1\" = -c ] && shift 2; printf '<%s>' \"$@\"");
        assert_eq!(ran.stdout, "\n<dumpxml><--><--help; reboot_$(reboot)>");
        assert_eq!(ran.code, Some(0));
    }

    #[test]
    fn without_virshs_exit_code_that_of_the_command_is_used() {
        let output = CommandOutput { code: Some(127), stdout: "exit code x".to_owned(), stderr: String::new() };
        assert_eq!(of_virsh(output.clone()), output);
    }
}
