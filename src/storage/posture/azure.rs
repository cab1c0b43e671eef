//! The settings of an Azure container that the data plane tells. Lifecycle rules and the
//! switch for versions belong to the storage account, which only Azure Resource Manager tells.

use reqwest::Method;

use super::{Encryption, Known, ObjectLock, Posture, Public, why};
use crate::storage::remote::{Azure, Remote};
use crate::storage::wire::Ask;
use crate::storage::{StorageError, Store};

/// Asks for the container's properties.
pub(super) async fn posture(
    store: &Store,
    remote: &Remote,
    azure: &Azure,
) -> Result<Posture, StorageError> {
    let url = format!("{}?restype=container", azure.container);
    let answer = store.inspect(remote, &Ask::new(Method::GET, url)).await?;
    let server = answer.header("server").map(str::to_owned);
    let elsewhere = "belongs to the storage account: its data plane does not tell";
    let lifecycle = Known::not(format!("the lifecycle policy {elsewhere}"));
    if !answer.ok() {
        let why = why("the container's properties", &answer);
        return Ok(Posture {
            versioning: Known::not(&*why),
            object_lock: Known::not(&*why),
            lifecycle,
            public: Known::not(&*why),
            encryption: Known::not(why),
            server,
        });
    }
    let flag = |name| {
        answer
            .header(name)
            .map(|value| value.eq_ignore_ascii_case("true"))
    };
    let versions = flag("x-ms-immutable-storage-with-versioning-enabled");
    let policy = flag("x-ms-has-immutability-policy");
    let hold = flag("x-ms-has-legal-hold");
    let flags = [versions, policy, hold];
    Ok(Posture {
        versioning: match versions {
            // Locked versions need versions.
            Some(true) => Known::Told(true),
            _ => Known::not(format!("the switch for versions {elsewhere}")),
        },
        object_lock: if flags.iter().all(Option::is_none) {
            Known::not("the server does not tell whether the container can be locked")
        } else {
            Known::Told(ObjectLock {
                enabled: flags.contains(&Some(true)),
                // Its length is not told.
                default: None,
            })
        },
        lifecycle,
        public: Known::Told(match answer.header("x-ms-blob-public-access") {
            None => Public::No,
            Some(level) => Public::Yes {
                how: format!("the container's public access level is {level}"),
            },
        }),
        // Azure encrypts everything; a scope of its own can bring another key.
        encryption: Known::Told(Encryption {
            algorithm: Some("AES256".to_owned()),
            key: answer
                .header("x-ms-default-encryption-scope")
                .filter(|scope| *scope != "$account-encryption-key")
                .map(str::to_owned),
        }),
        server,
    })
}
