//! Where a Cluster archives, from what is known of it: the one place that knows. Nothing is
//! asked of the API.

use super::place::place;
use super::report::ScanTrouble;
use crate::config::{RepositoryConfig, SecretReference};
use crate::kubernetes::cnpg::{Archive, StoreConfiguration};

/// Where a Cluster archives.
#[derive(Clone, Debug, PartialEq)]
pub struct Located {
    /// The repository, its secrets by reference.
    pub repository: RepositoryConfig,
    /// The Secret that holds the region, where it is not said otherwise. It is no secret, and
    /// [`RepositoryConfig::region`] wants it as text.
    pub region: Option<SecretReference>,
}

/// Where the Cluster `namespace`/`name` archives; `None` when it archives nowhere. `store` is
/// what the ObjectStore that it names says, if there is one ([`object_store_of`]).
///
/// # Errors
///
/// It archives through a plugin that is not known, its ObjectStore is missing, or what they
/// say is no place.
pub fn locate(
    namespace: &str,
    name: &str,
    archive: &Archive,
    store: Option<&StoreConfiguration>,
) -> Result<Option<Located>, ScanTrouble> {
    let Some(configuration) = configuration(namespace, name, archive, store)? else {
        return Ok(None);
    };
    let server = archive.server_name().unwrap_or(name);
    let found = place(namespace, &configuration, server).map_err(ScanTrouble::from)?;
    Ok(Some(Located {
        repository: found.repository,
        region: found.region,
    }))
}

/// The name of the ObjectStore that a Cluster archives to, in its own namespace.
pub fn object_store_of(archive: &Archive) -> Option<&str> {
    match archive {
        Archive::Plugin { store, .. } if !store.is_empty() => Some(store),
        _ => None,
    }
}

/// The store that a Cluster archives to.
pub(super) fn configuration(
    namespace: &str,
    name: &str,
    archive: &Archive,
    store: Option<&StoreConfiguration>,
) -> Result<Option<StoreConfiguration>, ScanTrouble> {
    match archive {
        Archive::None => Ok(None),
        Archive::Unknown { plugin } => Err(ScanTrouble::configuration(
            format!("it archives through the plugin {plugin}, which walproof does not know"),
            "only Barman Cloud repositories are read so far",
        )),
        Archive::Plugin { store, .. } if store.is_empty() => Err(ScanTrouble::configuration(
            "the plugin is given no ObjectStore",
            "set the parameter barmanObjectName under spec.plugins",
        )),
        Archive::Plugin { store: wanted, .. } => match store {
            Some(found) => Ok(Some(found.clone())),
            None => Err(ScanTrouble::configuration(
                format!("there is no ObjectStore {namespace}/{wanted}"),
                "nothing is archived without it: make it, or mend barmanObjectName under spec.plugins",
            )),
        },
        Archive::InTree { configuration, .. } => {
            let object = format!("Cluster {namespace}/{name}");
            let read = StoreConfiguration::parse(&object, configuration).map_err(|error| {
                ScanTrouble::configuration(error.to_string(), "complete the resource")
            })?;
            Ok(Some(read))
        }
    }
}
