//! Libvirtd and the `virsh` of launchers.

use super::*;

pub(super) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let folders = path.split(':').chain(["/usr/sbin", "/sbin"]).map(PathBuf::from);
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// A libvirtd session with its own socket; its guests end with it.
pub(super) struct Libvirt {
    pub(super) folder: PathBuf,
    _server: Server,
}

impl Libvirt {
    /// Starts it on a prepared folder; returns when it is ready.
    #[track_caller]
    pub(super) fn start(cluster: &ControlPlane, folder: &Path) -> Self {
        let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
        let libvirtd = find("libvirtd").expect("libvirtd");
        let mut command = Command::new(if is_root() { Path::new("setpriv") } else { &libvirtd });
        if is_root() {
            command.args([&format!("--reuid={NOBODY}"), &format!("--regid={NOBODY}"), "--clear-groups"]).arg(&libvirtd);
        }
        for (variable, below) in VARIABLES {
            command.env(variable, folder.join(below));
        }
        let mut server = Server::start(cluster.workplace(), &format!("libvirtd-{name}"), &command);
        let ready = server.wait(SOON, |_| (virsh(folder, &["version"]).code == Some(0)).then_some(()));
        ready.unwrap_or_else(|problem| panic!("libvirtd: {problem}"));
        Self { folder: folder.to_owned(), _server: server }
    }

    #[track_caller]
    pub(super) fn virsh(&self, args: &[&str]) -> String {
        let ran = virsh(&self.folder, args);
        assert_eq!(ran.code, Some(0), "virsh {args:?}: {}", ran.stderr);
        ran.stdout
    }

    /// Starts a guest with this CPU, which stops before its first instruction.
    #[track_caller]
    pub(super) fn run(&self, cluster: &ControlPlane, name: &str, cpu: &str) {
        let domain = format!(
            "<domain type='qemu'><name>{name}</name><memory unit='MiB'>32</memory><vcpu>1</vcpu>\
             <os><type arch='x86_64' machine='q35'>hvm</type></os>{cpu}\
             <devices><memballoon model='none'/></devices></domain>"
        );
        let file = cluster.workplace().write(&format!("{name}.xml"), domain);
        self.virsh(&["create", "--paused", file.to_str().expect("a path")]);
    }
}

impl Drop for Libvirt {
    fn drop(&mut self) {
        for name in virsh(&self.folder, &["list", "--name"]).stdout.split_whitespace() {
            virsh(&self.folder, &["destroy", name]);
        }
    }
}

pub(super) const VARIABLES: [(&str, &str); 5] = [
    ("HOME", "home"),
    ("XDG_CONFIG_HOME", "config"),
    ("XDG_CACHE_HOME", "cache"),
    ("XDG_RUNTIME_DIR", "run"),
    ("XDG_DATA_HOME", "data"),
];

pub(super) fn is_root() -> bool {
    let ran = program({
        let mut command = Command::new("id");
        command.arg("-u");
        command
    });
    ran.run().stdout.trim() == "0"
}

pub(super) fn socket(folder: &Path) -> String {
    format!("qemu+unix:///session?socket={}/run/libvirt/libvirt-sock", folder.display())
}

pub(super) fn virsh(folder: &Path, args: &[&str]) -> Ran {
    let mut command = Command::new("virsh");
    command.args(["-c", &socket(folder)]).args(args);
    program(command).run()
}

/// Creates a folder for a libvirtd, owned by the user it runs as.
#[track_caller]
pub(super) fn prepare(cluster: &ControlPlane, name: &str) -> PathBuf {
    let workplace = cluster.workplace().path();
    let open = |path: &Path| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("permissions");
    };
    open(workplace);
    let folder = workplace.join(name);
    for (_, below) in VARIABLES {
        std::fs::create_dir_all(folder.join(below)).expect("a folder");
    }
    let config = "stdio_handler = \"file\"\nsecurity_driver = \"none\"\nnamespaces = []\n";
    cluster.workplace().write(&format!("{name}/config/libvirt/qemu.conf"), config);
    folder
}

#[track_caller]
pub(super) fn own(folder: &Path) {
    if is_root() {
        let mut command = Command::new("chown");
        command.arg("-R").arg(format!("{NOBODY}:{NOBODY}")).arg(folder);
        assert_eq!(program(command).run().code, Some(0), "chown");
    }
}

/// Starts a second libvirtd for which QEMU seems to lack these features, according to its own cache.
#[track_caller]
pub(super) fn poorer(cluster: &ControlPlane, like: &Libvirt, features: &[String]) -> Libvirt {
    let folder = prepare(cluster, "poor");
    let cache = "cache/libvirt/qemu/cache/capabilities";
    let files = std::fs::read_dir(like.folder.join(cache)).expect("libvirt keeps what QEMU can do");
    for file in files.map(|file| file.expect("a file").path()) {
        let mut text = std::fs::read_to_string(&file).expect("text");
        for feature in features {
            let property = format!("<property name='{feature}' type='boolean' value='");
            text = text.replace(&format!("{property}true'"), &format!("{property}false'"));
        }
        let name = file.file_name().expect("a name").to_string_lossy().into_owned();
        cluster.workplace().write(&format!("poor/{cache}/{name}"), text);
    }
    own(&folder);
    Libvirt::start(cluster, &folder)
}

/// Writes a `virsh` for the launchers of a node: the script prints the answers.
#[track_caller]
pub(super) fn launcher_of(cluster: &ControlPlane, node: &str, script: &str) -> PathBuf {
    let file = cluster.workplace().write(&format!("bin-{node}/virsh"), format!("#!/bin/bash\n{script}\n"));
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).expect("permissions");
    file.parent().expect("a folder").to_owned()
}

/// Returns a script for the real virsh. It replaces the given socket, which must be the one for virt-launcher's user,
/// by that of this libvirtd.
pub(super) fn real(libvirt: &Libvirt) -> String {
    let virsh = find("virsh").expect("virsh");
    format!(
        "[ \"$1\" = -c ] || {{ echo 'error: no socket is named' >&2; exit 1; }}\n\
         case \"$UID $2\" in '0 qemu:///system') ;; 0*) false ;; \
         *' qemu+unix:///session?socket=/var/run/libvirt/'*-sock) ;; *) false ;; esac || {{ echo \"error: not there for $UID: $2\" >&2; \
         exit 1; }}\nshift 2\nexec {} -c '{}' \"$@\"",
        virsh.display(),
        socket(&libvirt.folder)
    )
}
