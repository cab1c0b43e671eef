//! What texts of Barman, Kubernetes and PostgreSQL mean. Pure.

use super::trouble::TroubleClass;

/// Texts are cut to this many characters.
const LIMIT: usize = 1000;

/// A text, cut and on one line.
pub(super) fn short(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LIMIT) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

fn any(text: &str, words: &[&str]) -> bool {
    words.iter().any(|word| text.contains(word))
}

/// A full volume, in anybody's words.
pub(super) fn is_out_of_disk(text: &str) -> bool {
    any(
        text,
        &[
            "No space left on device",
            "no space left on device",
            "Disk quota exceeded",
            "disk quota exceeded",
        ],
    )
}

/// No memory, in anybody's words.
pub(super) fn is_out_of_memory(text: &str) -> bool {
    any(
        text,
        &[
            "Cannot allocate memory",
            "cannot allocate memory",
            "was terminated by signal 9",
            "could not map anonymous shared memory",
            "MemoryError",
        ],
    )
}

/// What a tool of Barman says about the store. `None` where the words are about something
/// else.
pub(super) fn of_store(text: &str) -> Option<TroubleClass> {
    if any(
        text,
        &[
            "InvalidAccessKeyId",
            "SignatureDoesNotMatch",
            "AccessDenied",
            "Access Denied",
            "ExpiredToken",
            "InvalidToken",
            "TokenRefreshRequired",
            "InvalidSecurity",
            "AccountProblem",
            "AllAccessDisabled",
            "Unable to locate credentials",
            "NoCredentials",
            "PartialCredentials",
            "CredentialRetrievalError",
            "AuthenticationFailed",
            "AuthorizationFailure",
            "AuthorizationPermissionMismatch",
            "DefaultCredentialsError",
            "invalid_grant",
            "(403)",
            "(401)",
            "403 Forbidden",
        ],
    ) {
        return Some(TroubleClass::Credentials);
    }
    any(
        text,
        &[
            "Could not connect to the endpoint",
            "EndpointConnectionError",
            "Invalid endpoint",
            "onnect timeout",
            "ead timeout",
            "ConnectTimeout",
            "ReadTimeout",
            "timed out",
            "onnectivity failure",
            "onnectivity",
            "etwork failure",
            "Name or service not known",
            "name resolution",
            "NameResolutionError",
            "Connection refused",
            "onnection reset",
            "Connection was closed",
            "Connection aborted",
            "IncompleteRead",
            "Network is unreachable",
            "No route to host",
            "CERTIFICATE_VERIFY_FAILED",
            "SSL validation failed",
            "SSLError",
            "SlowDown",
            "Reduce your request rate",
            "ServiceUnavailable",
            "InternalError",
            "RequestTimeTooSkewed",
            "NoSuchBucket",
            "(500)",
            "(502)",
            "(503)",
            "(504)",
        ],
    )
    .then_some(TroubleClass::StoreUnreachable)
}

/// Whether a store delivered bytes that are not what it once recorded, or a tool found an
/// archive broken: the object is damaged.
pub(super) fn is_damaged(text: &str) -> bool {
    any(
        text,
        &[
            "did not match calculated checksum",
            "unexpected end of data",
            "Compressed file ended before the end-of-stream",
            "Error -3 while decompressing",
            "Not a gzipped file",
            "CRC check failed",
            "invalid header",
            "bad checksum",
            "truncated header",
            "Invalid data stream",
            "zstd.ZstdError",
            "Corrupt",
            "corrupted",
        ],
    )
}

/// What PostgreSQL's last words blame, when it is not the backup.
pub(super) fn of_postgres(text: &str) -> Option<TroubleClass> {
    if is_out_of_disk(text) {
        return Some(TroubleClass::OutOfDisk);
    }
    if is_out_of_memory(text) || any(text, &["out of memory", "could not fork"]) {
        return Some(TroubleClass::OutOfMemory);
    }
    any(
        text,
        &[
            "insufficient parameter settings",
            "could not access file \"",
            "could not load library",
            "could not load",
            "unrecognized configuration parameter",
            "invalid value for parameter",
            "configuration file",
            "database files are incompatible with server",
            "is not compatible with this server",
            "initialized by PostgreSQL version",
            "could not create semaphores",
            "could not create shared memory",
            "could not create any",
            "could not bind",
            "Permission denied",
            "Too many open files",
            "Read-only file system",
            "has group or world access",
            "has invalid permissions",
            "has wrong ownership",
            "locale",
            "encoding conversion",
        ],
    )
    .then_some(TroubleClass::Unfit)
}

/// Whether PostgreSQL says here that a record of the WAL is not one. At an archive's end
/// this is how the end looks; before it, it is damage.
pub(super) fn is_broken_record(text: &str) -> bool {
    any(
        text,
        &[
            "incorrect resource manager data checksum in record",
            "record with incorrect prev-link",
            "invalid record length at",
            "invalid record offset at",
            "invalid resource manager ID",
            "invalid magic number",
            "invalid info bits",
            "unexpected pageaddr",
            "WAL file is from different database system",
            "contrecord is requested by",
            "there is no contrecord flag",
            "invalid contrecord length",
            "out-of-sequence timeline ID",
            "invalid block_id",
        ],
    )
}

/// What an admission refusal is about.
pub(super) fn of_refusal(text: &str) -> Option<TroubleClass> {
    if any(
        text,
        &[
            "exceeded quota",
            "must specify",
            "usage per Container is",
            "usage per Pod is",
            "storage usage per PersistentVolumeClaim is",
            "cpu max limit to request ratio",
            "failed quota",
        ],
    ) {
        return Some(TroubleClass::Quota);
    }
    any(
        text,
        &[
            "violates PodSecurity",
            "denied the request",
            "denied request",
            "is forbidden",
        ],
    )
    .then_some(TroubleClass::PolicyDenied)
}

/// Whether the scheduler waits for a volume, not for room.
pub(super) fn waits_for_volume(text: &str) -> bool {
    let about_room = any(text, &["Insufficient ", "Too many pods", "didn't match"]);
    !about_room
        && any(
            text,
            &[
                "unbound immediate PersistentVolumeClaims",
                "persistentvolumeclaim \"",
                "available persistent volumes to bind",
                "volume node affinity conflict",
                "did not have enough free storage",
                "storageclass.storage.k8s.io",
                "unbound PersistentVolumeClaims",
            ],
        )
}

/// A WAL segment's name inside a text such as `WAL file 0000…07 for server src does not
/// exist`, compressed or not. History files, labels and partial segments are not segments.
pub(super) fn segment_in(text: &str) -> Option<&str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '.'))
        .filter_map(|word| {
            let (name, ending) = word.split_once('.').unwrap_or((word, ""));
            let whole = matches!(ending, "" | "gz" | "bz2" | "xz" | "zst" | "lz4" | "snappy");
            whole.then_some(name)
        })
        .find(|word| is_segment(word))
}

/// A tool's complaint without its moment and process: `2026-11-22 08:43:09,569 [27] ERROR: …`.
pub(super) fn complaint(text: &str) -> &str {
    text.split_once("] ERROR: ").map_or(text, |(_, rest)| rest)
}

/// 24 upper-case hexadecimal digits.
pub(super) fn is_segment(name: &str) -> bool {
    name.len() == 24
        && name
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b))
}

/// What to do about a class.
pub(super) fn hint(class: TroubleClass) -> &'static str {
    match class {
        TroubleClass::ImagePull => {
            "check the image's name and that the nodes may pull it: its registry, imagePullSecrets, an air-gapped mirror"
        }
        TroubleClass::Unschedulable => {
            "ask for less CPU or memory, or give the drill a node: node selector, tolerations, room"
        }
        TroubleClass::PvcPending => {
            "check the storage class and its provisioner, and that the size can be had: `kubectl describe pvc` says more while the namespace is kept"
        }
        TroubleClass::Quota => {
            "raise the drill's quota or ask for less: its words name what was asked for and what was left"
        }
        TroubleClass::PolicyDenied => {
            "a policy refuses what recovery needs: an admission policy has to let it pass in namespaces labelled app.kubernetes.io/managed-by=walproof, and the drill's pods have to reach the API server"
        }
        TroubleClass::Credentials => {
            "check the Secret that the drill's store credentials are copied from: keys, expiry, and the right to list and get below the destination path"
        }
        TroubleClass::StoreUnreachable => {
            "check that pods of the drill reach the store: endpoint, bucket, DNS, its CA, and the drill's NetworkPolicy (`store_cidrs` when the address is outside of the cluster)"
        }
        TroubleClass::BackupNotFound => {
            "the backup is not in the catalog that the recovery reads: compare server name and destination path, and whether retention removed it meanwhile"
        }
        TroubleClass::WalMissing => {
            "look at the archive's chain with `walproof verify`; recoveries past this segment need a newer base backup"
        }
        TroubleClass::TargetNotReached => {
            "the target lies past what is archived: look at how far archiving is behind, or choose an earlier target"
        }
        TroubleClass::RecoveryFailed => {
            "read the log of the recovery; `walproof verify --depth read` finds the damaged object; take a fresh base backup if it cannot be had from another copy"
        }
        TroubleClass::Unfit => {
            "make the drill like its source: same image and extensions, the same major version, settings that are not lower than the source's"
        }
        TroubleClass::OutOfDisk => {
            "give the drill larger volumes: the base backup, the WAL that is replayed, and temporary files have to fit"
        }
        TroubleClass::OutOfMemory => {
            "raise the drill's memory, or lower shared_buffers of the drill"
        }
        TroubleClass::PodLost => {
            "a node took the pod away; the next attempt may pass: look at the node's pressure and at what preempts the drill"
        }
        TroubleClass::OperatorSilent => {
            "look at the CloudNativePG operator: is it running, does it watch this namespace (WATCH_NAMESPACE), what does its log say"
        }
        TroubleClass::PluginUnknown => {
            "check that the Barman Cloud plugin runs in the operator's namespace and that the drill's ObjectStore is what it expects"
        }
        TroubleClass::ClusterTerminal => {
            "the operator has given up; its reason and its log say why"
        }
        TroubleClass::ClusterGone => "somebody deleted the drill's Cluster; run the drill again",
        TroubleClass::NamespaceGone => {
            "somebody deleted the drill's namespace; run the drill again"
        }
        TroubleClass::ApiUnreachable => {
            "check the way to the API server; what the drill made is removed by the next sweep"
        }
        TroubleClass::Forbidden => {
            "grant what is missing; `walproof kubernetes check --for drill` lists it"
        }
        TroubleClass::Unexplained => {
            "read the log of the recovery; keep the namespace (`keep`) and look with kubectl"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_are_told_apart() {
        for (text, class) in [
            (
                "ERROR: Barman cloud backup list exception: An error occurred (InvalidAccessKeyId) when calling the ListObjectsV2 operation: The AWS Access Key Id you provided does not exist in our records.",
                Some(TroubleClass::Credentials),
            ),
            (
                "Could not connect to the endpoint URL: \"http://s3.lab-s3.svc:7070/k4\"",
                Some(TroubleClass::StoreUnreachable),
            ),
            (
                "WAL file 000000010000000000000007 for server src does not exist",
                None,
            ),
            ("unexpected end of data", None),
        ] {
            assert_eq!(of_store(text), class, "{text}");
        }
    }

    #[test]
    fn segments_are_found_and_history_files_are_not() {
        assert_eq!(
            segment_in("WAL file 000000010000000000000007 for server src does not exist"),
            Some("000000010000000000000007")
        );
        assert_eq!(
            segment_in(
                "Failure downloading WAL a/000000010000000000000007.gz to pg_wal/RECOVERYXLOG"
            ),
            Some("000000010000000000000007")
        );
        for text in [
            "WAL file 00000002.history for server src does not exist",
            "WAL file 000000010000000000000004.00000028.backup is not there",
            "000000010000000000000004.partial",
            "nothing",
        ] {
            assert_eq!(segment_in(text), None, "{text}");
        }
    }

    #[test]
    fn long_words_are_cut() {
        assert_eq!(short(" a\n b "), "a b");
        assert_eq!(short(&"ö".repeat(2000)).chars().count(), 1001);
    }

    #[test]
    fn every_class_says_what_to_do() {
        for class in TroubleClass::ALL {
            assert!(hint(*class).len() > 20, "{class}");
        }
    }
}
