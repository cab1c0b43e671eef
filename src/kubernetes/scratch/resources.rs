//! How much CPU, memory and space a recovery asks for.

use serde_json::{Map, Value, json};

use super::quantity::Quantity;
use super::{ManifestError, ScratchPlan};

/// What an instance asks for when neither the drill nor the source says.
const CPU: Quantity = Quantity::milli(500);
const MEMORY: Quantity = Quantity::whole(1 << 30);
/// What the plugin's sidecar asks for, and may use. It runs barman-cloud, which holds a few
/// parts of an upload or download in memory.
const SIDECAR_CPU: Quantity = Quantity::milli(100);
const SIDECAR_MEMORY: Quantity = Quantity::whole(256 << 20);
const SIDECAR_MEMORY_LIMIT: Quantity = Quantity::whole(1 << 30);
/// A volume whose size nobody says.
const VOLUME: &str = "10Gi";

/// Requests and limits of one container. Memory is always limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Resources {
    pub(crate) cpu: Quantity,
    pub(crate) cpu_limit: Option<Quantity>,
    pub(crate) memory: Quantity,
    pub(crate) memory_limit: Quantity,
}

impl Resources {
    /// The instance's: what the drill says, else what the source has.
    pub(crate) fn of_instance(plan: &ScratchPlan) -> Self {
        let source = |pointer: &str| {
            let value = plan.source.manifest.pointer(pointer)?;
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            Quantity::parse(&text)
        };
        let said = |text: &Option<String>| text.as_deref().and_then(Quantity::parse);
        let (cpu, cpu_limit) = if let Some(cpu) = said(&plan.overrides.cpu) {
            (cpu, Some(cpu))
        } else {
            let limit = source("/spec/resources/limits/cpu");
            let request = source("/spec/resources/requests/cpu");
            (request.or(limit).unwrap_or(CPU), limit)
        };
        let (memory, memory_limit) = if let Some(memory) = said(&plan.overrides.memory) {
            (memory, memory)
        } else {
            let limit = source("/spec/resources/limits/memory");
            let request = source("/spec/resources/requests/memory");
            let memory = request.or(limit).unwrap_or(MEMORY);
            (memory, limit.unwrap_or(memory.times(2)))
        };
        Self {
            cpu,
            cpu_limit: cpu_limit.map(|limit| limit.max(cpu)),
            memory,
            memory_limit: memory_limit.max(memory),
        }
    }

    /// The sidecar's, beside an instance.
    pub(crate) fn of_sidecar(instance: Self) -> Self {
        Self {
            cpu: SIDECAR_CPU.min(instance.cpu),
            cpu_limit: instance.cpu_limit,
            memory: SIDECAR_MEMORY.min(instance.memory),
            memory_limit: SIDECAR_MEMORY_LIMIT.min(instance.memory_limit),
        }
    }

    /// As a container has them.
    pub(crate) fn to_value(self) -> Value {
        let mut limits = Map::new();
        if let Some(cpu) = self.cpu_limit {
            limits.insert("cpu".to_owned(), json!(cpu.to_string()));
        }
        limits.insert("memory".to_owned(), json!(self.memory_limit.to_string()));
        json!({
            "requests": { "cpu": self.cpu.to_string(), "memory": self.memory.to_string() },
            "limits": limits,
        })
    }
}

/// Refuses quantities of the plan that are none.
pub(crate) fn check(plan: &ScratchPlan) -> Result<(), ManifestError> {
    let (overrides, quota) = (&plan.overrides, &plan.quota);
    for (what, value) in [
        ("cpu", &overrides.cpu),
        ("memory", &overrides.memory),
        ("storage_size", &overrides.storage_size),
        ("wal_storage_size", &overrides.wal_storage_size),
        ("quota.cpu", &quota.cpu),
        ("quota.memory", &quota.memory),
        ("quota.storage", &quota.storage),
    ] {
        if let Some(value) = value
            && Quantity::parse(value).is_none_or(|quantity| quantity == Quantity::default())
        {
            return Err(ManifestError::Value {
                what: what.to_owned(),
                value: value.clone(),
                hint: "a quantity as Kubernetes writes it is wanted, such as 500m, 2 or 10Gi",
            });
        }
    }
    Ok(())
}

/// What a recovery asks of the cluster, for the record and its cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// CPU that the largest pod requests, as a quantity.
    pub cpu: String,
    /// Memory that it requests.
    pub memory: String,
    /// Bytes of all volumes.
    pub storage: String,
    /// How many volumes.
    pub volumes: usize,
}

/// What the plan asks of the cluster.
pub fn asked(plan: &ScratchPlan) -> Asked {
    let instance = Resources::of_instance(plan);
    let sidecar = Resources::of_sidecar(instance);
    let volumes = volumes(plan);
    Asked {
        cpu: instance.cpu.plus(sidecar.cpu).to_string(),
        memory: instance.memory.plus(sidecar.memory).to_string(),
        storage: sum(&volumes).to_string(),
        volumes: volumes.len(),
    }
}

/// The size of the data volume.
pub(crate) fn data_size(plan: &ScratchPlan) -> String {
    let said = plan.overrides.storage_size.as_deref();
    let least = plan.snapshots.as_ref().map(|set| &set.data);
    size(
        said.or(plan.source.storage.size.as_deref()),
        least.and_then(|snapshot| snapshot.restore_size.as_deref()),
    )
}

/// The size of the WAL volume, if there is one.
pub(crate) fn wal_size(plan: &ScratchPlan) -> Option<String> {
    let said = plan.overrides.wal_storage_size.as_deref();
    let snapshot = plan.snapshots.as_ref().and_then(|set| set.wal.as_ref());
    let source = plan.source.wal_storage.as_ref();
    if said.is_none() && source.is_none() && snapshot.is_none() {
        return None;
    }
    Some(size(
        said.or(source.and_then(|storage| storage.size.as_deref())),
        snapshot.and_then(|snapshot| snapshot.restore_size.as_deref()),
    ))
}

/// The size of a tablespace's volume.
pub(crate) fn tablespace_size(plan: &ScratchPlan, name: &str) -> String {
    let tablespace = plan.source.tablespaces.iter().find(|one| one.name == name);
    let snapshots = plan.snapshots.as_ref();
    let snapshot = snapshots.and_then(|set| set.tablespaces.get(name));
    size(
        tablespace.and_then(|one| one.storage.size.as_deref()),
        snapshot.and_then(|snapshot| snapshot.restore_size.as_deref()),
    )
}

/// The sizes of all volumes.
pub(crate) fn volumes(plan: &ScratchPlan) -> Vec<String> {
    let tablespaces = plan.source.tablespaces.iter();
    std::iter::once(data_size(plan))
        .chain(wal_size(plan))
        .chain(tablespaces.map(|one| tablespace_size(plan, &one.name)))
        .collect()
}

/// All sizes together.
pub(crate) fn sum(sizes: &[String]) -> Quantity {
    sizes
        .iter()
        .filter_map(|size| Quantity::parse(size))
        .fold(Quantity::default(), Quantity::plus)
}

/// A wished size, or the least that a snapshot needs where that is more.
fn size(wished: Option<&str>, least: Option<&str>) -> String {
    let wished = wished.unwrap_or(VOLUME);
    let more = least.filter(|least| Quantity::parse(least) > Quantity::parse(wished));
    more.unwrap_or(wished).to_owned()
}
