//! Which process holds a scratch namespace, and whether it still lives.
//!
//! A process is known by its number and its start, and these mean something only in one
//! process namespace of one running kernel. So a holder is judged only from the same machine
//! or pod, the same boot and the same process namespace. Names of machines repeat (laptops,
//! virtual machines out of one image, replicas of a StatefulSet), process namespaces do on one
//! machine (containers): of every holder that is not surely a neighbour nothing is known, and
//! only its namespace's own end of time tells.
//!
//! A pod that knows its own name and namespace says so in place of the host, `namespace:pod`;
//! then whether it lives can be asked of the API ([`pod`]), from wherever that is.

use std::fs;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::job::{POD_NAME, POD_NAMESPACE};

/// The first word of a holder in this form. No machine of an earlier version takes it for its
/// own name.
const FORM: &str = "v2";

/// Where a process lives, and which one it is. As text
/// `v2/host/machine/boot/processes/number/start`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Holder {
    /// The machine's name, for people as well.
    host: String,
    /// The pod, else the machine.
    machine: String,
    /// The kernel's boot.
    boot: String,
    /// The namespace that process numbers belong to.
    processes: String,
    number: u32,
    /// In the kernel's ticks since its boot.
    start: String,
}

impl Holder {
    fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split('/').collect();
        // Without its form it was written by a version that knew machines by their names alone.
        let [FORM, host, machine, boot, processes, number, start] = parts.as_slice() else {
            return None;
        };
        Some(Self {
            host: (*host).to_owned(),
            machine: (*machine).to_owned(),
            boot: (*boot).to_owned(),
            processes: (*processes).to_owned(),
            number: number.parse().ok()?,
            start: (*start).to_owned(),
        })
    }

    /// Whether both see the same processes under the same numbers. What is not known is not
    /// the same.
    fn is_neighbour_of(&self, other: &Self) -> bool {
        [
            (&self.host, &other.host),
            (&self.machine, &other.machine),
            (&self.boot, &other.boot),
            (&self.processes, &other.processes),
        ]
        .into_iter()
        .all(|(one, other)| !one.is_empty() && one == other)
    }
}

/// What is seen of a process by its number.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    /// It is there and began then.
    Since(String),
    /// There is none of this number.
    Nothing,
    /// It is hidden from us.
    Hidden,
}

/// This process, for the annotation [`HOLDER`](super::names::HOLDER).
pub fn this_process() -> String {
    let own = own();
    format!(
        "{FORM}/{}/{}/{}/{}/{}/{}",
        own.host, own.machine, own.boot, own.processes, own.number, own.start
    )
}

/// Whether the holder of a namespace still lives. `None` when it cannot be known: it may live
/// on another machine, in another container, or was written by another version.
pub fn lives(holder: &str) -> Option<bool> {
    judge(&own(), holder, look)
}

/// A pod that holds something, by its own word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldingPod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid: a later pod of the same name is another one.
    pub uid: String,
}

/// The pod that a holder is, if it knew.
pub fn pod(holder: &str) -> Option<HoldingPod> {
    let holder = Holder::parse(holder)?;
    let (namespace, name) = holder.host.split_once(':')?;
    let uid = holder.machine.strip_prefix("pod-")?;
    let known = [namespace, name, uid].iter().all(|part| !part.is_empty());
    known.then(|| HoldingPod {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        uid: uid.to_owned(),
    })
}

/// Whether a pod that holds something still runs. `None` when the API does not say.
pub async fn pod_lives(kube: &super::Kube, pod: &HoldingPod) -> Option<bool> {
    let pods: Api<Pod> = Api::namespaced(kube.client(), &pod.namespace);
    // A list of one: whoever follows pods may list them, and needs no further right.
    let one = ListParams::default().fields(&format!("metadata.name={}", pod.name));
    let action = format!("look for Pod {}/{}", pod.namespace, pod.name);
    match kube.call(action, pods.list(&one)).await {
        Ok(found) => Some(found.items.iter().any(|found| {
            let same = found.metadata.uid.as_deref() == Some(pod.uid.as_str());
            let phase = found
                .status
                .as_ref()
                .and_then(|status| status.phase.as_deref());
            same && !matches!(phase, Some("Succeeded" | "Failed"))
        })),
        Err(error) => {
            tracing::debug!(%error, "whether the holder lives is not known");
            None
        }
    }
}

/// A holder for people: `process 4711 on fedora`. What is not understood stays as it is.
pub fn in_words(holder: &str) -> String {
    match Holder::parse(holder) {
        Some(Holder { host, number, .. }) => format!("process {number} on {host}"),
        None => holder.to_owned(),
    }
}

fn judge(own: &Holder, holder: &str, look: impl Fn(u32) -> Seen) -> Option<bool> {
    let holder = Holder::parse(holder)?;
    if !own.is_neighbour_of(&holder) || holder.start.is_empty() {
        return None;
    }
    match look(holder.number) {
        Seen::Since(start) => Some(start == holder.start),
        Seen::Nothing => Some(false),
        Seen::Hidden => None,
    }
}

fn own() -> Holder {
    let number = std::process::id();
    let start = match look(number) {
        Seen::Since(start) => start,
        Seen::Nothing | Seen::Hidden => String::new(),
    };
    Holder {
        host: host(
            std::env::var(POD_NAMESPACE).ok(),
            std::env::var(POD_NAME).ok(),
        ),
        machine: machine(&read("/proc/self/mountinfo"), &read("/etc/machine-id")),
        boot: read("/proc/sys/kernel/random/boot_id"),
        processes: processes(number),
        number,
        start,
    }
}

/// The pod's namespace and name where it was told them, else the machine's name.
fn host(namespace: Option<String>, pod: Option<String>) -> String {
    let legal = |text: &String| !text.is_empty() && !text.contains(['/', ':']);
    match (namespace.filter(legal), pod.filter(legal)) {
        (Some(namespace), Some(pod)) => format!("{namespace}:{pod}"),
        _ => read("/proc/sys/kernel/hostname"),
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|_| String::new(), |text| text.trim().to_owned())
}

/// The pod's uid, as the kubelet's mounts have it in their paths; else the machine's own id.
/// That one is not to be told to the world: its digest is.
fn machine(mounts: &str, machine_id: &str) -> String {
    let pod = mounts.lines().find_map(|line| {
        // Fields 4 and 5 of mountinfo: the directory that is mounted, and where.
        let mut fields = line.split_ascii_whitespace().skip(3);
        let (directory, place) = (fields.next()?, fields.next()?);
        if !matches!(place, "/etc/hosts" | "/dev/termination-log") {
            return None;
        }
        let (_, rest) = directory.split_once("/pods/")?;
        Uuid::parse_str(rest.split('/').next()?).ok()
    });
    if let Some(pod) = pod {
        return format!("pod-{pod}");
    }
    if machine_id.is_empty() || machine_id == "uninitialized" {
        return String::new();
    }
    let digest = Sha256::digest(format!("walproof holder {machine_id}").as_bytes());
    let digits = digest.iter().take(16).map(|byte| format!("{byte:02x}"));
    format!("machine-{}", digits.collect::<String>())
}

/// The namespace of process numbers that we live in, `pid:[4026531836]`. Nothing where
/// `/proc` shows another one than our own.
fn processes(number: u32) -> String {
    let shown = fs::read_link("/proc/self").unwrap_or_default();
    if shown.to_str() != Some(number.to_string().as_str()) {
        return String::new();
    }
    let link = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    link.to_string_lossy().into_owned()
}

/// Looks for a process. Its start is field 22 of `/proc/PID/stat`, counted behind the
/// program's name, which may hold anything. Where `/proc` hides what others run (`hidepid`),
/// the kernel still says whether there is something.
fn look(number: u32) -> Seen {
    let start = fs::read_to_string(format!("/proc/{number}/stat"))
        .ok()
        .and_then(|text| {
            let (_, fields) = text.rsplit_once(')')?;
            fields.split_ascii_whitespace().nth(19).map(str::to_owned)
        });
    if let Some(start) = start {
        return Seen::Since(start);
    }
    match i32::try_from(number).map(|number| kill(Pid::from_raw(number), None)) {
        Ok(Err(Errno::ESRCH)) => Seen::Nothing,
        _ => Seen::Hidden,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder() -> Holder {
        Holder {
            host: "fedora".to_owned(),
            machine: "machine-0f".to_owned(),
            boot: "8b0e".to_owned(),
            processes: "pid:[4026531836]".to_owned(),
            number: 4711,
            start: "99".to_owned(),
        }
    }

    fn text(holder: &Holder) -> String {
        let Holder {
            host,
            machine,
            boot,
            processes,
            number,
            start,
        } = holder;
        format!("{FORM}/{host}/{machine}/{boot}/{processes}/{number}/{start}")
    }

    #[test]
    fn only_of_a_neighbour_it_is_known_whether_it_lives() {
        let dead = |own: &Holder, of: &Holder| judge(own, &text(of), |_| Seen::Nothing);
        let own = holder();
        assert_eq!(dead(&own, &own), Some(false));
        for field in 0..4 {
            for word in ["another", ""] {
                let mut other = holder();
                let part = match field {
                    0 => &mut other.host,
                    1 => &mut other.machine,
                    2 => &mut other.boot,
                    _ => &mut other.processes,
                };
                word.clone_into(part);
                assert_eq!(dead(&own, &other), None, "{field} {word:?}");
                // Unknown on both sides is not the same on both sides.
                assert_eq!(dead(&other, &own), None, "{field} {word:?}");
                let expected = (!word.is_empty()).then_some(false);
                assert_eq!(dead(&other, &other), expected, "{field} {word:?}");
            }
        }
    }

    #[test]
    fn a_pod_that_knows_its_name_says_it() {
        let told = host(Some("walproof".into()), Some("walproof-0a-1-x7k2p".into()));
        assert_eq!(told, "walproof:walproof-0a-1-x7k2p");
        let untold = host(None, Some("p".into()));
        assert_eq!(untold, read("/proc/sys/kernel/hostname"));
        assert_eq!(host(Some("a/b".into()), Some("p".into())), untold);
        let in_pod = Holder {
            host: told,
            machine: "pod-0e7d5a50-3f55-4c0b-a7a5-6a6f3c9d2b11".to_owned(),
            ..holder()
        };
        assert_eq!(
            pod(&text(&in_pod)),
            Some(HoldingPod {
                namespace: "walproof".to_owned(),
                name: "walproof-0a-1-x7k2p".to_owned(),
                uid: "0e7d5a50-3f55-4c0b-a7a5-6a6f3c9d2b11".to_owned(),
            })
        );
        assert_eq!(pod(&text(&holder())), None, "a machine is no pod");
        let nameless = Holder {
            host: "walproof-0a".to_owned(),
            ..in_pod
        };
        assert_eq!(pod(&text(&nameless)), None);
    }

    #[test]
    fn a_number_that_was_given_to_another_is_not_the_holder() {
        let own = holder();
        let seen = |seen: Seen| judge(&own, &text(&own), |_| seen.clone());
        assert_eq!(seen(Seen::Since("99".to_owned())), Some(true));
        assert_eq!(seen(Seen::Since("98".to_owned())), Some(false));
        assert_eq!(seen(Seen::Nothing), Some(false));
        assert_eq!(seen(Seen::Hidden), None);
        let startless = Holder {
            start: String::new(),
            ..holder()
        };
        assert_eq!(judge(&own, &text(&startless), |_| Seen::Nothing), None);
    }

    #[test]
    fn what_another_version_wrote_is_not_judged() {
        let own = holder();
        for text in [
            "fedora/8b0e/4711/99",
            "fedora/8b0e/4711/99/pid:[4026531836]",
            "daemon",
            "",
            "v3/fedora/machine-0f/8b0e/pid:[4026531836]/4711/99",
            "v2/fedora/machine-0f/8b0e/pid:[4026531836]/many/99",
            "v2/fedora/machine-0f/8b0e/pid:[4026531836]/4711/99/more",
        ] {
            assert_eq!(judge(&own, text, |_| Seen::Nothing), None, "{text}");
        }
    }

    #[test]
    fn this_process_lives_and_a_child_that_ended_does_not() {
        let own = own();
        assert_eq!(
            in_words(&text(&own)),
            format!("process {} on {}", own.number, own.host)
        );
        assert_eq!(in_words("a/b/1/2"), "a/b/1/2");
        assert_eq!(Holder::parse(&this_process()), Some(own.clone()));
        assert_eq!(
            lives(&text(&own)),
            own.is_neighbour_of(&own).then_some(true)
        );
        assert!(matches!(look(own.number), Seen::Since(_)));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let number = child.id();
        child.wait().unwrap();
        assert_eq!(look(number), Seen::Nothing);
    }

    #[test]
    fn a_pod_is_known_by_its_uid_and_a_machine_by_a_digest() {
        let uid = "0e7d5a50-3f55-4c0b-a7a5-6a6f3c9d2b11";
        let mounts = format!(
            "621 600 254:0 /var/lib/kubelet/pods/{uid}/etc-hosts /etc/hosts rw - ext4 /dev/vda rw\n"
        );
        assert_eq!(machine(&mounts, "abc"), format!("pod-{uid}"));
        // On a node: a volume of some pod, not our own.
        let of_others = format!(
            "621 600 254:0 /var/lib/kubelet/pods/{uid}/volumes/x /mnt/x rw - ext4 /dev/vda rw\n"
        );
        let known = machine(&of_others, "abc");
        assert!(known.starts_with("machine-") && !known.contains("abc"));
        assert_eq!(machine("", "abc"), known);
        assert_ne!(machine("", "abd"), known);
        assert_eq!(machine("", ""), "");
    }
}
