use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::libvirt::question::xml;

fn output(code: i32, stdout: &str, stderr: &str) -> CommandOutput {
    CommandOutput { code: Some(code), stdout: stdout.to_owned(), stderr: stderr.to_owned() }
}

fn asked_for_guest() -> Question {
    Question::Guest { namespace: "shop".to_owned(), name: "db".to_owned() }
}

fn compared() -> Question {
    let cpu = Cpu { model: "EPYC".to_owned(), ..Cpu::default() };
    Question::Compare(GuestCpu { cpu, accelerator: Accelerator::Kvm })
}

fn host_asked() -> Question {
    Question::Host(Accelerator::Kvm)
}

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

/// A running guest as libvirt 9 and 10 describe it.
const LIVE: &str = "<domain type='kvm' id='1' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>shop_db</name>
  <metadata><kubevirt xmlns=\"http://kubevirt.io\"><uid>1</uid></kubevirt></metadata>
  <cpu mode='custom' match='exact' check='full'>
    <model fallback='forbid'>Cascadelake-Server</model>
    <vendor>Intel</vendor>
    <topology sockets='1' dies='1' cores='2' threads='1'/>
    <feature policy='require' name='ss'/>
    <feature policy='require' name='sse4.1'/>
    <feature policy='disable' name='hle'/>
    <feature policy='forbid' name='vaes'/>
    <numa><cell id='0' cpus='0-1' memory='1048576' unit='KiB'/></numa>
  </cpu>
  <devices><graphics type='vnc'><listen type='socket' socket='/var/run/x'/></graphics></devices>
</domain>

";

#[test]
fn a_guest_that_runs_is_described_by_model_and_features() {
    let read = guest(&asked_for_guest(), &output(0, LIVE, "")).expect("a CPU");
    let expected = Cpu {
        model: "Cascadelake-Server".to_owned(),
        vendor: Some("Intel".to_owned()),
        require: ["ss", "sse4.1"].map(str::to_owned).into(),
        disable: ["hle".to_owned()].into(),
        forbid: ["vaes".to_owned()].into(),
    };
    assert_eq!(read, GuestCpu { cpu: expected.clone(), accelerator: Accelerator::Kvm });
    assert_eq!(expected.to_string(), "Cascadelake-Server with 2 features more and 2 less");
    let sent = xml(&expected);
    let document = Document::parse(&sent).expect("what is sent is XML");
    assert_eq!(read_cpu(document.root_element()), Ok(expected), "another CPU would be asked about");
}

/// The CPU of a guest that runs, in `dumpxml` of different releases of libvirt: once QEMU has said which features it
/// gave, it is checked in full; where QEMU cannot say so, it stays as it was asked for.
#[rstest]
#[case::of_8_in_full(
    "<cpu mode='custom' match='exact' check='full'><model fallback='forbid'>EPYC-Rome</model><vendor>AMD</vendor>
    <feature policy='require' name='x2apic'/><feature policy='disable' name='svm'/></cpu>",
    "EPYC-Rome AMD +x2apic -svm"
)]
#[case::of_8_as_asked(
    "<cpu mode='custom' match='exact' check='partial'><model fallback='allow'>Haswell-noTSX</model>
    <feature policy='require' name='pcid'/><feature policy='optional' name='pdpe1gb'/></cpu>",
    "Haswell-noTSX - +pcid"
)]
#[case::of_9_with_addresses("<cpu mode='custom' match='exact' check='full'><model fallback='forbid'>Icelake-Server</model><vendor>Intel</vendor>
    <maxphysaddr mode='passthrough' limit='46'/><topology sockets='2' dies='1' cores='1' threads='1'/>
    <feature policy='require' name='vmx'/><feature policy='disable' name='mpx'/></cpu>", "Icelake-Server Intel +vmx -mpx")]
#[case::of_10_nested("<cpu mode='custom' match='exact' check='full'><model fallback='forbid'>Cascadelake-Server</model><vendor>Intel</vendor>
    <topology sockets='1' dies='1' clusters='1' cores='1' threads='1'/><cache mode='passthrough'/>
    <feature policy='require' name='vmx-ept'/><feature policy='disable' name='vmx-exit-secondary-ctls'/></cpu>", "Cascadelake-Server Intel +vmx-ept -vmx-exit-secondary-ctls")]
#[case::of_11_with_a_version(
    "<cpu mode='custom' match='exact' check='full'><model fallback='forbid'>EPYC-Milan-v2</model><vendor>AMD</vendor>
    <feature policy='force' name='invtsc'/><feature policy='forbid' name='vaes'/></cpu>",
    "EPYC-Milan-v2 AMD +invtsc xvaes"
)]
#[case::unchecked(
    "<cpu mode='custom' match='exact' check='none'><model fallback='forbid'>qemu64</model></cpu>",
    "qemu64 -"
)]
#[case::minimum(
    "<cpu mode='custom' match='minimum' check='partial'><model fallback='allow'>Nehalem</model><vendor>Intel</vendor></cpu>",
    "Nehalem Intel"
)]
#[case::of_another_vendor_for_the_model(
    "<cpu mode='custom' match='exact' check='full'><model fallback='forbid' vendor_id='KVM Hv'>Skylake-Server</model>
    <vendor>Intel</vendor></cpu>",
    "Skylake-Server Intel"
)]
fn live_cpus_of_several_releases(#[case] cpu: &str, #[case] expected: &str) {
    let domain = format!("<domain type='kvm' id='1'><name>shop_db</name>{cpu}</domain>");
    let Cpu { model, vendor, require, disable, forbid } =
        guest(&asked_for_guest(), &output(0, &domain, "")).expect("a CPU").cpu;
    let listed =
        |sign: &'static str, names: BTreeSet<String>| names.into_iter().map(move |name| format!("{sign}{name}"));
    let words = [model, vendor.unwrap_or_else(|| "-".to_owned())].into_iter();
    let words = words.chain(listed("+", require)).chain(listed("-", disable)).chain(listed("x", forbid));
    assert_eq!(words.collect::<Vec<_>>().join(" "), expected, "nodes would be asked about another CPU");
}

#[rstest]
#[case::passthrough(
    "<cpu mode='host-passthrough' check='none' migratable='on'/>",
    "host-passthrough, the host's CPU itself"
)]
#[case::maximum("<cpu mode='maximum' check='none'/>", "all that QEMU has (maximum)")]
#[case::not_resolved("<cpu mode='host-model' check='partial'/>", "host-model, which its libvirt has not yet resolved")]
#[case::none("", "no <cpu>: QEMU's default")]
#[case::emulated_for_another_architecture(
    "<cpu mode='custom' match='exact'><model fallback='allow'>max</model></cpu>",
    "all that QEMU has (max)"
)]
#[case::base("<cpu mode='custom' match='exact'><model>base</model></cpu>", "base, a CPU without features")]
#[case::host("<cpu mode='custom' match='exact'><model>host</model></cpu>", "host, the host's CPU itself")]
fn a_guest_without_a_model_is_not_compared(#[case] cpu: &str, #[case] has: &str) {
    let domain = format!("<domain type='kvm'>{cpu}</domain>");
    assert_eq!(guest(&asked_for_guest(), &output(0, &domain, "")), Err(Silence::NoModel(has.to_owned())));
}

/// The forms of the answer since libvirt 4.4: the path depends on the shell, the features on the host.
#[rstest]
#[case::identical(
    0,
    "CPU described in /dev/fd/63 is identical to the CPU provided by hypervisor on the host\n\n",
    "",
    Ok(LibvirtAnswer::Identical)
)]
#[case::superset(
    0,
    "The CPU provided by hypervisor on the host is a superset of CPU described in /proc/self/fd/11\n\n",
    "",
    Ok(LibvirtAnswer::Superset)
)]
#[case::one_feature(1, "\n", "error: Failed to compare hypervisor CPU with /dev/fd/63\nerror: the CPU is incompatible with host CPU: Host CPU does not provide required features: amx-bf16\n", Ok(missing(&["amx-bf16"])))]
#[case::features(1, "", "error: Failed to compare hypervisor CPU with /dev/fd/63\nerror: the CPU is incompatible with host CPU: Host CPU does not provide required features: rtm, hle, sse4.1\n", Ok(missing(&["hle", "rtm", "sse4.1"])))]
#[case::vendor(
    1,
    "",
    "error: Failed to compare hypervisor CPU with /dev/fd/63\nerror: the CPU is incompatible with host CPU: host CPU vendor does not match required CPU vendor Intel\n",
    Ok(reason("host CPU vendor does not match required CPU vendor Intel"))
)]
#[case::forbidden(
    1,
    "",
    "error: the CPU is incompatible with host CPU: Host CPU provides forbidden features: svm\n",
    Ok(reason("Host CPU provides forbidden features: svm"))
)]
#[case::forbidden_ones(
    1,
    "",
    "error: the CPU is incompatible with host CPU: Host CPU provides forbidden features: svm, npt\n",
    Ok(reason("Host CPU provides forbidden features: npt, svm"))
)]
#[case::forbidden_and_no_name(1, "", "error: the CPU is incompatible with host CPU: Host CPU provides forbidden features: <x>\n", Err(Silence::Unreadable("\"<x>\" is not the name of a CPU model or feature".to_owned())))]
#[case::no_details(
    1,
    "CPU described in /dev/fd/63 is incompatible with the CPU provided by hypervisor on the host\n\n",
    "",
    Ok(reason(""))
)]
#[case::no_details_as_error(1, "", "error: the CPU is incompatible with host CPU\n", Ok(reason("")))]
#[case::warning_before(1, "", "Authorization not available. Check if polkit service is running\nerror: the CPU is incompatible with host CPU: Host CPU does not provide required features: hle\n", Ok(missing(&["hle"])))]
#[case::old_virsh(
    1,
    "",
    "error: unknown command: 'hypervisor-cpu-compare'\n",
    Err(Silence::NoVerb("hypervisor-cpu-compare".to_owned()))
)]
#[case::old_virsh_without_an_option(
    1,
    "",
    "error: command 'hypervisor-cpu-compare' doesn't support option --error\n",
    Err(Silence::Failed("command 'hypervisor-cpu-compare' doesn't support option --error".to_owned()))
)]
#[case::old_daemon(1, "", "error: Failed to compare hypervisor CPU with /dev/fd/63\nerror: this function is not supported by the connection driver: virConnectCompareHypervisorCPU\n", Err(Silence::Failed("this function is not supported by the connection driver: virConnectCompareHypervisorCPU".to_owned())))]
#[case::no_virsh(127, "", "-: line 1: virsh: command not found\n", Err(Silence::NoVirsh))]
#[case::no_virsh_by_path(127, "", "bash: /usr/bin/virsh: No such file or directory\n", Err(Silence::NoVirsh))]
#[case::no_virsh_below_timeout(
    127,
    "",
    "timeout: failed to run command 'virsh': No such file or directory\n",
    Err(Silence::NoVirsh)
)]
#[case::no_virsh_in_busybox(
    127,
    "",
    "timeout: can't execute 'virsh': No such file or directory\n",
    Err(Silence::NoVirsh)
)]
#[case::not_executable(126, "", "bash: /usr/bin/virsh: Permission denied\n", Err(Silence::Failed("bash: /usr/bin/virsh: Permission denied".to_owned())))]
#[case::connection_refused(1, "", "error: failed to connect to the hypervisor\nerror: Failed to connect socket to '/var/run/libvirt/virtqemud-sock': Connection refused\n", Err(Silence::Failed("Failed to connect socket to '/var/run/libvirt/virtqemud-sock': Connection refused".to_owned())))]
#[case::connection_reset(1, "", "error: Disconnected from qemu:///system due to end of file\nerror: End of file while reading data: Input/output error\n", Err(Silence::Failed("End of file while reading data: Input/output error".to_owned())))]
#[case::no_kvm_of_debian(1, "", "error: Failed to compare hypervisor CPU with /dev/fd/63\nerror: invalid argument: KVM is not supported by '/usr/bin/qemu-system-x86_64' on this host\n", Err(Silence::Failed("invalid argument: KVM is not supported by '/usr/bin/qemu-system-x86_64' on this host".to_owned())))]
#[case::other_architecture(
    1,
    "",
    "error: the CPU is incompatible with host CPU: CPU arch aarch64 does not match host arch x86_64\n",
    Ok(reason("CPU arch aarch64 does not match host arch x86_64"))
)]
#[case::duplicates(1, "", "error: the CPU is incompatible with host CPU: Host CPU does not provide required features: hle, rtm, hle\n", Ok(missing(&["hle", "rtm"])))]
#[case::blanks(1, "", "error: the CPU is incompatible with host CPU:   Host CPU does not provide required features:hle ,  rtm\n", Ok(missing(&["hle", "rtm"])))]
#[case::no_features_after_the_colon(1, "", "error: the CPU is incompatible with host CPU: Host CPU does not provide required features: \n", Err(Silence::Unreadable("\"\" is not the name of a CPU model or feature".to_owned())))]
#[case::carriage_returns(
    0,
    "CPU described in /dev/fd/63 is identical to the CPU provided by hypervisor on the host\r\n\r\n",
    "",
    Ok(LibvirtAnswer::Identical)
)]
#[case::warnings_beside_an_answer(
    0,
    "The CPU provided by hypervisor on the host is a superset of CPU described in /dev/fd/63\n",
    "setlocale: No such file or directory\n",
    Ok(LibvirtAnswer::Superset)
)]
#[case::no_exit_code(1, "", "error: unknown procedure: 385\n", Err(Silence::Failed("unknown procedure: 385".to_owned())))]
#[case::unknown_model(
    1,
    "",
    "error: Failed to compare hypervisor CPU with /dev/fd/63\nerror: internal error: Unknown CPU model EPYC-v2\n",
    Ok(reason("libvirt there does not know CPU model EPYC-v2"))
)]
#[case::unknown_feature(
    1,
    "",
    "error: Failed to compare hypervisor CPU with /dev/fd/63\nerror: internal error: Unknown CPU feature avx10.1\n",
    Ok(reason("libvirt there does not know CPU feature avx10.1"))
)]
#[case::unknown_model_and_well(0, "", "error: internal error: Unknown CPU model EPYC-v2\n", Err(Silence::Unreadable("nothing".to_owned())))]
#[case::unknown_and_no_name(1, "", "error: internal error: Unknown CPU model <x>\n", Err(Silence::Failed("internal error: Unknown CPU model <x>".to_owned())))]
#[case::unknown_host(
    1,
    "",
    "error: Failed to compare hypervisor CPU with /dev/fd/63\nerror: the CPU is incompatible with host CPU: unknown host CPU\n",
    Err(Silence::Failed("unknown host CPU".to_owned()))
)]
#[case::no_kvm(1, "", "error: invalid argument: the accel 'kvm' is not supported by '/usr/libexec/qemu-kvm' on this host\n", Err(Silence::Failed("invalid argument: the accel 'kvm' is not supported by '/usr/libexec/qemu-kvm' on this host".to_owned())))]
#[case::no_socket(1, "", "error: failed to connect to the hypervisor\nerror: Failed to connect socket to '/var/run/libvirt/virtqemud-sock': No such file or directory\n", Err(Silence::Failed("Failed to connect socket to '/var/run/libvirt/virtqemud-sock': No such file or directory".to_owned())))]
#[case::silent(1, "", "", Err(Silence::Failed("exit code 1 without a word".to_owned())))]
#[case::killed(139, "", "", Err(Silence::Failed("exit code 139 without a word".to_owned())))]
#[case::rubbish(0, "all is well\n", "", Err(Silence::Unreadable("all is well".to_owned())))]
#[case::two_answers(0, "CPU described in x is identical to the CPU provided by hypervisor on the host\nThe CPU provided by hypervisor on the host is a superset of CPU described in x\n", "", Err(Silence::Unreadable("CPU described in x is identical to the CPU provided by hypervisor on the host".to_owned())))]
#[case::nothing(0, "", "", Err(Silence::Unreadable("nothing".to_owned())))]
#[case::agreeing_and_failing(1, "CPU described in x is identical to the CPU provided by hypervisor on the host\n", "", Err(Silence::Failed("exit code 1 without a word".to_owned())))]
#[case::refusing_and_well(0, "", "error: the CPU is incompatible with host CPU\n", Err(Silence::Unreadable("nothing".to_owned())))]
fn a_comparison_is_read(
    #[case] code: i32,
    #[case] stdout: &str,
    #[case] stderr: &str,
    #[case] expected: Result<LibvirtAnswer, Silence>,
) {
    assert_eq!(comparison(&compared(), &output(code, stdout, stderr)), expected);
}

fn missing(features: &[&str]) -> LibvirtAnswer {
    LibvirtAnswer::Incompatible(Incompatible { missing: names(features), ..Incompatible::default() })
}

fn reason(words: &str) -> LibvirtAnswer {
    LibvirtAnswer::Incompatible(Incompatible { reason: words.to_owned(), ..Incompatible::default() })
}

#[test]
fn the_host_model_and_the_usable_models_are_read() {
    // Libvirt 4 to 8 write only `usable`; 9 adds the vendor, 10.10 the blockers, 11 the canonical name.
    let text = "<domainCapabilities><path>/usr/libexec/qemu-kvm</path><cpu>
        <mode name='host-passthrough' supported='yes'><enum name='hostPassthroughMigratable'><value>on</value></enum></mode>
        <mode name='host-model' supported='yes'>
          <model fallback='forbid'>Skylake-Server</model><vendor>Intel</vendor><maxphysaddr mode='passthrough' limit='46'/>
          <feature policy='require' name='md-clear'/><feature policy='disable' name='rtm'/>
        </mode>
        <mode name='custom' supported='yes'>
          <model usable='no' vendor='Intel'>Icelake-Server</model><blockers model='Icelake-Server'><feature name='la57'/></blockers>
          <model usable='yes' vendor='Intel' canonical='Skylake-Server-v1'>Skylake-Server</model>
          <model usable='yes'>Nehalem</model><model usable='unknown'>n270</model>
        </mode></cpu></domainCapabilities>";
    let read = host(&host_asked(), &output(0, text, "")).expect("a host");
    let listed = [
        ("Icelake-Server", Usable::No(names(&["la57"]))),
        ("Nehalem", Usable::Yes),
        ("Skylake-Server", Usable::Yes),
        ("n270", Usable::Unknown),
    ];
    assert_eq!(read.models, Some(listed.map(|(model, usable)| (model.to_owned(), usable)).into()));
    assert_eq!(read.model.map(|cpu| cpu.to_string()).as_deref(), Some("Skylake-Server with 1 feature more and 1 less"));
}

/// A node can run a model by its name if libvirt says so: of all models, of one, or of none.
#[rstest]
#[case::no_word_of_models("<mode name='host-model' supported='no'/>", None)]
#[case::none_by_name("<mode name='custom' supported='no'/>", Some(false))]
#[case::an_empty_list("<mode name='custom' supported='yes'/>", Some(false))]
#[case::another("<mode name='custom' supported='yes'><model usable='yes'>Nehalem</model></mode>", Some(false))]
#[case::not_usable("<mode name='custom' supported='yes'><model usable='no'>EPYC</model></mode>", Some(false))]
#[case::usable("<mode name='custom' supported='yes'><model usable='yes'>EPYC</model></mode>", Some(true))]
#[case::libvirt_of_old("<mode name='custom' supported='yes'><model>EPYC</model></mode>", None)]
#[case::unknown("<mode name='custom' supported='yes'><model usable='unknown'>EPYC</model></mode>", None)]
fn an_empty_list_of_models_is_an_answer(#[case] modes: &str, #[case] usable: Option<bool>) {
    let text = format!("<domainCapabilities><cpu>{modes}</cpu></domainCapabilities>");
    let read = host(&host_asked(), &output(0, &text, "")).expect("a host");
    let says = |host: &LibvirtHost| match (host.is_usable("EPYC"), host.unusable("EPYC")) {
        (true, None) => Some(true),
        (false, Some(_)) => Some(false),
        (false, None) => None,
        (true, Some(_)) => panic!("both"),
    };
    assert_eq!(says(&read), usable, "{read:?}");
}

/// `domcapabilities` of different releases of libvirt: the host model, and the usable models.
#[rstest]
#[case::of_4_4("<domainCapabilities><path>/usr/bin/qemu-kvm</path><domain>kvm</domain><machine>pc-i440fx-2.12</machine><arch>x86_64</arch><cpu>
    <mode name='host-passthrough' supported='yes'/>
    <mode name='host-model' supported='yes'><model fallback='forbid'>Skylake-Client-IBRS</model><vendor>Intel</vendor>
      <feature policy='require' name='ss'/></mode>
    <mode name='custom' supported='yes'><model usable='no'>EPYC</model><model usable='yes'>Westmere</model></mode>
    </cpu></domainCapabilities>", Some("Skylake-Client-IBRS with 1 feature more"), &["Westmere"])]
#[case::of_6_with_deprecated("<domainCapabilities><cpu><mode name='host-model' supported='yes'><model fallback='forbid'>EPYC-Rome</model></mode>
    <mode name='custom' supported='yes'><model usable='yes' deprecated='yes'>Opteron_G3</model><model usable='yes' deprecated='no'>EPYC</model></mode>
    </cpu></domainCapabilities>", Some("EPYC-Rome"), &["EPYC", "Opteron_G3"])]
#[case::of_8_with_maximum("<domainCapabilities><cpu><mode name='maximum' supported='yes'><enum name='maximumMigratable'><value>on</value></enum></mode>
    <mode name='host-model' supported='yes'><model fallback='allow'>EPYC</model><maxphysaddr mode='emulate' bits='40'/></mode></cpu></domainCapabilities>", Some("EPYC"), &[])]
#[case::of_9_with_vendors("<domainCapabilities><cpu>
    <mode name='host-passthrough' supported='yes'><enum name='hostPassthroughMigratable'><value>on</value><value>off</value></enum></mode>
    <mode name='host-model' supported='yes'><model fallback='forbid'>EPYC-Milan</model><vendor>AMD</vendor><maxphysaddr mode='passthrough' limit='48'/>
      <feature policy='require' name='vaes'/><feature policy='disable' name='svme-addr-chk'/></mode>
    <mode name='custom' supported='yes'><model usable='yes' vendor='AMD'>EPYC-Rome</model><model usable='no' vendor='Intel'>Haswell</model>
      <model usable='yes' vendor='unknown'>qemu64</model></mode></cpu></domainCapabilities>", Some("EPYC-Milan with 1 feature more and 1 less"), &["EPYC-Rome", "qemu64"])]
#[case::of_10_10_with_blockers("<domainCapabilities><cpu>
    <mode name='host-model' supported='yes'><model fallback='forbid'>SapphireRapids</model><vendor>Intel</vendor>
      <feature policy='require' name='vmx-ins-outs'/><feature policy='require' name='vmx-ept'/></mode>
    <mode name='custom' supported='yes'><model usable='no' vendor='AMD'>EPYC</model><blockers model='EPYC'><feature name='svm'/><feature name='sse4a'/></blockers>
      <model usable='yes' deprecated='yes' vendor='Intel'>Haswell</model></mode></cpu></domainCapabilities>", Some("SapphireRapids with 2 features more"), &["Haswell"])]
#[case::of_11_with_versions("<domainCapabilities><cpu>
    <mode name='host-model' supported='yes'><model fallback='forbid'>EPYC-Genoa-v2</model><vendor>AMD</vendor></mode>
    <mode name='custom' supported='yes'><model usable='yes' vendor='AMD' canonical='EPYC-v1'>EPYC</model><model usable='yes' vendor='AMD'>EPYC-v1</model>
      <model usable='no' vendor='AMD' canonical='EPYC-Turin-v1'>EPYC-Turin</model><blockers model='EPYC-Turin'><feature name='prefetchi'/></blockers>
    </mode></cpu></domainCapabilities>", Some("EPYC-Genoa-v2"), &["EPYC", "EPYC-v1"])]
#[case::of_arm("<domainCapabilities><arch>aarch64</arch><cpu><mode name='host-passthrough' supported='yes'/><mode name='host-model' supported='no'/>
    <mode name='custom' supported='yes'><model usable='unknown' vendor='unknown'>cortex-a57</model></mode></cpu></domainCapabilities>", None, &[])]
#[case::of_s390x("<domainCapabilities><arch>s390x</arch><cpu><mode name='host-model' supported='yes'><model fallback='forbid'>gen15a-base</model>
    <feature policy='require' name='aen'/></mode><mode name='custom' supported='yes'><model usable='yes' vendor='unknown'>z14-base</model></mode></cpu></domainCapabilities>", Some("gen15a-base with 1 feature more"), &["z14-base"])]
#[case::without_a_cpu("<domainCapabilities><os supported='yes'/></domainCapabilities>", None, &[])]
fn host_models_of_several_releases(#[case] text: &str, #[case] model: Option<&str>, #[case] usable: &[&str]) {
    let read = host(&host_asked(), &output(0, text, "")).expect("a host");
    assert_eq!(read.model.map(|cpu| cpu.to_string()).as_deref(), model);
    let listed = read.models.into_iter().flatten().filter(|(_, is)| *is == Usable::Yes).map(|(model, _)| model);
    assert_eq!(listed.collect::<Vec<_>>(), names(usable));
}

/// `hypervisor-cpu-baseline --features`: a bare CPU element, later within more details.
#[rstest]
#[case::of_4_4("<cpu mode='custom' match='exact'>\n  <model fallback='forbid'>Westmere</model>\n  <feature policy='require' name='aes'/>\n</cpu>\n\n", 0, "", Ok(&["aes"][..]))]
#[case::with_vendor("<cpu mode='custom' match='exact'><model fallback='forbid'>EPYC</model><vendor>AMD</vendor>
    <feature policy='require' name='vme'/><feature policy='require' name='sse4.1'/><feature policy='disable' name='monitor'/></cpu>", 0, "", Ok(&["sse4.1", "vme"][..]))]
#[case::with_declaration("<?xml version='1.0'?>\n<cpu><model>EPYC</model></cpu>", 0, "", Ok(&[][..]))]
#[case::no_common_cpu("", 1, "error: internal error: CPUs are incompatible\n", Err(Silence::Failed("internal error: CPUs are incompatible".to_owned())))]
#[case::old_virsh("", 1, "error: unknown command: 'hypervisor-cpu-baseline'\n", Err(Silence::NoVerb("hypervisor-cpu-baseline".to_owned())))]
#[case::no_kvm("", 1, "error: invalid argument: KVM is not supported by '/usr/bin/qemu-system-x86_64' on this host\n", Err(Silence::Failed("invalid argument: KVM is not supported by '/usr/bin/qemu-system-x86_64' on this host".to_owned())))]
#[case::other_document("<domain/>", 0, "", Err(Silence::Unreadable("expected <cpu>, found <domain>".to_owned())))]
#[case::without_model("<cpu><feature policy='require' name='aes'/></cpu>", 0, "", Err(Silence::Unreadable("a CPU without <model>".to_owned())))]
fn baselines_of_several_releases(
    #[case] stdout: &str,
    #[case] code: i32,
    #[case] stderr: &str,
    #[case] expected: Result<&[&str], Silence>,
) {
    let cpu = Cpu { model: "EPYC".to_owned(), ..Cpu::default() };
    let asked = Question::Features(GuestCpu { cpu, accelerator: Accelerator::Kvm });
    let read = features(&asked, &output(code, stdout, stderr)).map(|cpu| cpu.require.into_iter().collect::<Vec<_>>());
    assert_eq!(read, expected.map(names));
}

/// Hostile output of a container.
#[rstest]
#[case::not_xml("Hello")]
#[case::empty("")]
#[case::cut("<domain type='kvm'><cpu mode='custom'><model>EPYC</mod")]
#[case::other_document("<pool type='dir'/>")]
#[case::other_type("<domain type='hvf'><cpu mode='custom'><model>EPYC</model></cpu></domain>")]
#[case::other_mode("<domain type='kvm'><cpu mode='best'><model>EPYC</model></cpu></domain>")]
#[case::no_model("<domain type='kvm'><cpu mode='custom'/></domain>")]
#[case::entities(
    "<!DOCTYPE d [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;&a;'>]><domain type='kvm'><cpu><model>&b;</model></cpu></domain>"
)]
#[case::external("<!DOCTYPE d SYSTEM 'file:///etc/passwd'><domain type='kvm'><cpu><model>EPYC</model></cpu></domain>")]
#[case::markup_in_a_name("<domain type='kvm'><cpu><model>EPYC&lt;/model>&lt;x/></model></cpu></domain>")]
#[case::shell_in_a_name(
    "<domain type='kvm'><cpu><model>EPYC</model><feature policy='require' name='$(reboot)'/></cpu></domain>"
)]
#[case::escape_in_a_name("<domain type='kvm'><cpu><model>EPYC&#x9b;31m</model></cpu></domain>")]
#[case::no_name("<domain type='kvm'><cpu><model>EPYC</model><feature policy='require'/></cpu></domain>")]
#[case::other_policy("<domain type='kvm'><cpu><model>EPYC</model><feature policy='maybe' name='hle'/></cpu></domain>")]
fn texts_that_libvirt_does_not_write_are_refused(#[case] text: &str) {
    let read = guest(&asked_for_guest(), &output(0, text, ""));
    assert!(matches!(read, Err(Silence::Unreadable(_))), "{read:?}");
}

/// A long list of forbidden features stays whole, because each name decides whether a restart helps.
#[test]
fn all_forbidden_features_of_a_refusal_are_kept() {
    let features: Vec<String> = (100..200).map(|number| format!("feature-{number}")).collect();
    let said = format!(
        "error: the CPU is incompatible with host CPU: Host CPU provides forbidden features: {}\n",
        features.join(", ")
    );
    let Ok(LibvirtAnswer::Incompatible(why)) = comparison(&compared(), &output(1, "", &said)) else { panic!("{said}") };
    assert_eq!(why.provided_forbidden().collect::<Vec<_>>(), features);
}

#[test]
fn size_and_depth_are_bounded() {
    let of = |text: &str| guest(&asked_for_guest(), &output(0, text, ""));
    let feature = |n: usize| format!("<feature policy='require' name='f{n}'/>");
    let features = |count: usize| (0..count).map(feature).collect::<String>();
    let domain =
        |inner: &str| format!("<domain type='kvm'><cpu mode='custom'><model>EPYC</model>{inner}</cpu></domain>");
    assert!(of(&domain(&features(400))).is_ok());
    assert!(matches!(of(&domain(&features(MAX_FEATURES + 1))), Err(Silence::Unreadable(_))));
    let deep = format!("{}{}", "<a>".repeat(100_000), "</a>".repeat(100_000));
    assert!(matches!(of(&deep), Err(Silence::Unreadable(_))));
    let deep = format!("{}{}", "<a>".repeat(30_000), "</a>".repeat(30_000));
    assert!(matches!(of(&deep), Err(Silence::Unreadable(_))));
    assert_eq!(of(&" ".repeat(OUTPUT + 1)), Err(Silence::TooLong(OUTPUT)));
    let long = format!("error: {}", "x".repeat(ERRORS));
    let Err(Silence::Failed(words)) = comparison(&compared(), &output(1, "", &long)) else { panic!("no failure") };
    assert!(words.chars().count() <= MAX_MESSAGE_BYTES, "a stranger fills the screen");
}

/// A document of this many bytes: a start, a repeated part with its number, and an end.
fn long(bytes: usize, start: &str, part: impl Fn(usize) -> String, end: &str) -> String {
    let mut out = start.to_owned();
    for number in 0.. {
        let part = part(number);
        if out.len() + part.len() + end.len() > bytes {
            break;
        }
        out.push_str(&part);
    }
    out + end
}

fn parts(count: usize, part: impl Fn(usize) -> String) -> String {
    (0..count).map(part).collect()
}

/// Answers that would take the parser minutes, of as many bytes as are read: all but their beginning is skipped, so
/// that other nodes are not kept waiting.
#[rstest]
#[case::namespaces_of_levels("", &|n| format!("<a xmlns:a{n}='x'>"), "", shape::Beyond::Namespaces)]
#[case::namespaces_of_one_element("<a", &|n| format!(" xmlns:a{n}='x'"), "/>", shape::Beyond::Namespaces)]
#[case::namespaces_of_siblings("<a>", &|n| format!("<b xmlns='{n}'/>"), "</a>", shape::Beyond::Namespaces)]
#[case::namespaces_by_local_name("", &|n| format!("<a b:xmlns = \"x{n}\">"), "", shape::Beyond::Namespaces)]
#[case::a_long_namespace("<a xmlns:b='", &|_| "x".to_owned(), "' b:c='' b:d=''/>", shape::Beyond::NamespaceBytes)]
#[case::attributes("<a", &|n| format!(" a{n}=''"), "/>", shape::Beyond::Attributes)]
#[case::attributes_with_ends("<a", &|n| format!(" a{n}='/>'"), "/>", shape::Beyond::Attributes)]
#[case::equal_attributes("<a", &|_| " a=\"'\"".to_owned(), "/>", shape::Beyond::Attributes)]
#[case::depth("", &|_| "<a>".to_owned(), "", shape::Beyond::Depth)]
#[case::depth_behind_comments("", &|_| "<a><!-- </a> --><?a </a> ?><![CDATA[</a>]]>".to_owned(), "", shape::Beyond::Depth)]
fn answers_that_take_long_to_parse_are_refused_after_their_beginning(
    #[case] start: &str,
    #[case] part: &dyn Fn(usize) -> String,
    #[case] end: &str,
    #[case] expected: shape::Beyond,
) {
    let text = long(OUTPUT, start, part, end);
    assert!(text.len() > OUTPUT - 64, "{} bytes", text.len());
    let (beyond, read) = shape::check(&text).expect_err("the parser would work for minutes");
    assert_eq!(beyond, expected);
    let is_one_text = expected == shape::Beyond::NamespaceBytes;
    assert!(is_one_text || read < 16 << 10, "{read} bytes were read");
    assert_eq!(host(&host_asked(), &output(0, &text, "")), Err(unreadable(expected)));
}

/// Documents up to the bounds, with all that an XML parser skips.
#[rstest]
#[case::depth(format!("{}{}", "<a>".repeat(shape::MAX_DEPTH), "</a>".repeat(shape::MAX_DEPTH)))]
#[case::siblings(format!("<a>{}</a>", "<b/><c></c>".repeat(1000)))]
#[case::attributes({
    let attributes = parts(shape::MAX_ATTRIBUTES, |n| format!(" a{n}='>'"));
    long(OUTPUT, "<a>", |_| format!("<b{attributes}/>"), "</a>")
})]
#[case::namespaces(
    parts(shape::MAX_NAMESPACES, |n| format!("<a xmlns:a{n}='x'>")) + &"</a>".repeat(shape::MAX_NAMESPACES)
)]
#[case::skipped(format!("<?xml version='1.0'?><a>{}</a>", "<!-- <a b='> --><![CDATA[<a xmlns='x'>]]><?a <a>?>".repeat(1000)))]
#[case::quotes("<a b=\"it's\" c='\"' d='/'>\"'</a>".to_owned())]
fn documents_within_the_bounds_are_parsed(#[case] text: String) {
    assert_eq!(shape::check(&text), Ok(()), "an answer of libvirt would not count");
    assert!(parse(&text).is_ok(), "the case is not well-formed");
}

proptest! {
    /// Whatever the parser accepts is refused if it goes beyond a bound: no text hides elements or attributes.
    #[test]
    fn no_text_hides_elements_from_the_bounds(
        parts in proptest::collection::vec(proptest::sample::select(vec![
            "<a>", "</a>", "<b/>", "<b c='>'/>", "<a d=\"'\" e = '/'>", "<!-- <a> -->", "<![CDATA[</a>]]>", "<?p <a ?>",
            "'", "\"", ">", "<!---->", "]]", "/>", "=", "&lt;",
        ]), 0..16),
        beyond in proptest::sample::select(vec![shape::Beyond::Depth, shape::Beyond::Attributes, shape::Beyond::Namespaces]),
    ) {
        let inner = match beyond {
            shape::Beyond::Depth => {
                format!("{}{}", "<x>".repeat(shape::MAX_DEPTH + 1), "</x>".repeat(shape::MAX_DEPTH + 1))
            }
            shape::Beyond::Attributes => long(4096, "<x", |n| format!(" x{n}=''"), "/>"),
            _ => "<x xmlns='x'/>".repeat(shape::MAX_NAMESPACES + 1),
        };
        let text = format!("<r>{}{inner}</r>", parts.concat());
        if Document::parse(&text).is_ok_and(|document| document.descendants().any(|node| node.has_tag_name("x"))) {
            prop_assert_eq!(shape::check(&text).map_err(|(found, _)| found), Err(beyond), "{}", text);
        }
    }

    #[test]
    fn no_input_makes_the_parser_panic(text in ".{0,200}", code in 0..3_i32) {
        let output = output(code, &text, &text);
        let _ = guest(&asked_for_guest(), &output);
        let _ = host(&host_asked(), &output);
        let _ = features(&host_asked(), &output);
        if let Ok(answer) = comparison(&compared(), &output) {
            prop_assert!(!answer.agrees() || code == 0);
        }
    }

    #[test]
    fn no_broken_description_makes_the_parser_panic(at in 0..LIVE.len(), with in "[<>&;/='a-z]{0,6}") {
        let broken = format!("{}{with}{}", &LIVE[..at], &LIVE[at..]);
        if let Ok(read) = guest(&asked_for_guest(), &output(0, &broken, "")) {
            let sent = xml(&read.cpu);
            prop_assert!(Document::parse(&sent).is_ok(), "{sent}");
        }
    }
}
