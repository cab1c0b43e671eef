//! Making a Job and removing it.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Event};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{JOB, PodJob, TOKEN};
use crate::kubernetes::{Kube, KubeError, KubeErrorKind, names};

/// Makes a Job with its ConfigMap and lets it begin. What is there already of the same claim
/// is taken as it is, so that doing it twice does it once.
///
/// # Errors
///
/// The API refuses an object, or another's is there under its name.
pub async fn make(kube: &Kube, wanted: &PodJob) -> Result<(), KubeError> {
    let name = wanted.name();
    let jobs: Api<Job> = Api::namespaced(kube.client(), &wanted.namespace);
    let maps: Api<ConfigMap> = Api::namespaced(kube.client(), &wanted.namespace);
    let parameters = PostParams {
        field_manager: Some(names::WALPROOF.to_owned()),
        ..PostParams::default()
    };
    let action = format!("create Job {}/{name}", wanted.namespace);
    let job: Job = typed(&action, wanted.job())?;
    let made = match kube.call(&action, jobs.create(&parameters, &job)).await {
        Ok(made) => made,
        Err(error) if error.kind == KubeErrorKind::AlreadyExists => {
            // By a list: to `get` one would be a further right, for this case alone.
            let action = format!("look for Job {}/{name}", wanted.namespace);
            let of_that_name = ListParams::default().fields(&format!("metadata.name={name}"));
            let list = kube.call(action, jobs.list(&of_that_name)).await?;
            let own = |job: &Job| {
                let labels = job.metadata.labels.as_ref();
                labels.and_then(|labels| labels.get(JOB)) == Some(&wanted.job.to_string())
            };
            let Some(there) = list.items.into_iter().find(own) else {
                return Err(error);
            };
            there
        }
        Err(error) => return Err(error),
    };
    let uid = made.metadata.uid.unwrap_or_default();
    let action = format!("create ConfigMap {}/{name}", wanted.namespace);
    let map: ConfigMap = typed(&action, wanted.config_map(&uid))?;
    match kube.call(&action, maps.create(&parameters, &map)).await {
        Ok(_) => {}
        Err(error) if error.kind == KubeErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let begin = Patch::Merge(json!({"spec": {"suspend": false}}));
    kube.call(
        format!("let Job {}/{name} begin", wanted.namespace),
        jobs.patch(&name, &PatchParams::default(), &begin),
    )
    .await?;
    Ok(())
}

fn typed<T: DeserializeOwned>(action: &str, manifest: Value) -> Result<T, KubeError> {
    serde_json::from_value(manifest).map_err(|error| {
        let message = format!("the pod template is not one: {error}");
        KubeError::new(KubeErrorKind::Invalid, action, message)
    })
}

/// Removes a Job; its pods are told to end. One that is gone is removed.
pub async fn remove(kube: &Kube, namespace: &str, name: &str) -> Result<(), KubeError> {
    let jobs: Api<Job> = Api::namespaced(kube.client(), namespace);
    let action = format!("delete Job {namespace}/{name}");
    match kube
        .call(action, jobs.delete(name, &DeleteParams::background()))
        .await
    {
        Ok(_) => Ok(()),
        Err(error) if error.kind == KubeErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Removes what earlier claims of a job left that nobody follows any more: their fences are
/// refused anyway. Gives how many there were.
pub async fn remove_older(
    kube: &Kube,
    namespace: &str,
    job: Uuid,
    token: i64,
) -> Result<usize, KubeError> {
    let jobs: Api<Job> = Api::namespaced(kube.client(), namespace);
    let parameters = ListParams::default().labels(&format!("{JOB}={job}"));
    let list = kube
        .call(format!("list Jobs in {namespace}"), jobs.list(&parameters))
        .await?;
    let mut removed = 0;
    for old in list.items {
        let labels = old.metadata.labels.as_ref();
        let of = labels
            .and_then(|labels| labels.get(TOKEN))
            .and_then(|text| text.parse::<i64>().ok());
        if let (Some(name), Some(of)) = (&old.metadata.name, of)
            && of < token
        {
            remove(kube, namespace, name).await?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Why the Job's controller could make no pod, by its newest event: no room in the quota, an
/// admission that refuses. `None` if it says nothing.
pub async fn refused_pods(
    kube: &Kube,
    namespace: &str,
    name: &str,
) -> Result<Option<String>, KubeError> {
    let events: Api<Event> = Api::namespaced(kube.client(), namespace);
    let parameters = ListParams::default().fields(&format!(
        "involvedObject.kind=Job,involvedObject.name={name},reason=FailedCreate"
    ));
    let list = kube
        .call(
            format!("list Events in {namespace}"),
            events.list(&parameters),
        )
        .await?;
    Ok(list.items.into_iter().rev().find_map(|event| event.message))
}
