//! Which process holds a scratch namespace, and whether it still lives.
//!
//! A process is named by its machine, the machine's boot, its number and its start, so that
//! neither a reused number nor a rebooted machine is taken for it. In a pod the machine's
//! name is the pod's, so one holder is never taken for another there. A container on its
//! node's network has the node's name and numbers of its own, so what gives the numbers, the
//! PID namespace, is named as well.

use std::fs;

/// This process, for the annotation [`HOLDER`](super::names::HOLDER).
pub fn this_process() -> String {
    let number = std::process::id();
    let start = start_of(number).unwrap_or_default();
    format!("{}/{}/{number}/{start}/{}", host(), boot(), numbers())
}

/// Whether the holder of a namespace still lives. `None` when it cannot be known: it lives
/// on another machine or in another container, and only the namespace's own end of time
/// tells.
pub fn lives(holder: &str) -> Option<bool> {
    let mut parts = holder.split('/');
    let (machine, boot_then, number, start) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if machine != host() || machine.is_empty() {
        return None;
    }
    if boot_then != boot() {
        return Some(false);
    }
    if parts.next().is_some_and(|theirs| theirs != numbers()) {
        return None;
    }
    let number: u32 = number.parse().ok()?;
    Some(start_of(number).is_some_and(|now| now == start))
}

fn read(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|_| String::new(), |text| text.trim().to_owned())
}

fn host() -> String {
    read("/proc/sys/kernel/hostname")
}

fn boot() -> String {
    read("/proc/sys/kernel/random/boot_id")
}

/// The PID namespace, as the kernel names it: `pid:[4026531836]`. Empty where it is hidden.
fn numbers() -> String {
    fs::read_link("/proc/self/ns/pid").map_or_else(
        |_| String::new(),
        |link| link.to_string_lossy().into_owned(),
    )
}

/// When a process began, in the kernel's ticks since its boot: field 22 of
/// `/proc/PID/stat`, counted behind the program's name, which may hold anything.
fn start_of(number: u32) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(19).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_is_told_from_a_dead_one_and_from_a_stranger() {
        let own = this_process();
        assert_eq!(lives(&own), Some(true), "{own}");
        let parts: Vec<&str> = own.split('/').collect();
        let with = |index: usize, text: &str| {
            let mut parts = parts.clone();
            parts[index] = text;
            lives(&parts.join("/"))
        };
        assert_eq!(with(3, "1"), Some(false), "the number was given to another");
        assert_eq!(with(1, "another-boot"), Some(false));
        assert_eq!(with(0, "another-machine"), None);
        assert_eq!(with(4, "pid:[1]"), None, "a container on the same network");
        assert_eq!(with(2, "1"), Some(false));
        // As it was written before PID namespaces were named.
        assert_eq!(lives(&parts[..4].join("/")), Some(true));
        assert_eq!(lives("nonsense"), None);
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let number = child.id();
        child.wait().unwrap();
        assert_eq!(with(2, &number.to_string()), Some(false));
    }
}
