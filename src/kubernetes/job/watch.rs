//! Following a Job and its pods by watch.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};

use crate::kubernetes::Kube;
use crate::kubernetes::backoff::WatchBackoff;

/// What was seen.
#[derive(Clone, Debug)]
pub enum Sign {
    /// A pod as it is now.
    Pod(Box<Pod>),
    /// A pod that is gone, as it was last.
    PodGone(Box<Pod>),
    /// The names of all pods that there are: what was known besides is gone.
    PodsThere(BTreeSet<String>),
    /// The Job as it is now.
    Job(Box<Job>),
    /// The Job is gone.
    JobGone,
    /// The API does not answer as it should; it is asked again, with growing pauses.
    Trouble(String),
}

/// A watch is begun anew after this long, in seconds; silent connections do not stay open
/// unnoticed.
const WATCH_SECONDS: u32 = 240;
/// Between two words of trouble.
const PAUSE: Duration = Duration::from_millis(200);

/// Follows a Job and its pods for as long as the stream is polled. Two watches; no polling.
/// A Job that was not there when a watch began is [`Sign::JobGone`].
pub fn follow(kube: &Kube, namespace: &str, name: &str) -> impl Stream<Item = Sign> + use<> {
    let pods: Api<Pod> = Api::namespaced(kube.client(), namespace);
    let jobs: Api<Job> = Api::namespaced(kube.client(), namespace);
    let of_job = format!("batch.kubernetes.io/job-name={name}");
    let mut listed = BTreeSet::new();
    let pods = watcher(
        pods,
        watcher::Config::default()
            .labels(&of_job)
            .timeout(WATCH_SECONDS),
    )
    .backoff(WatchBackoff::default())
    .filter_map(move |event| {
        let sign = match event {
            Ok(Event::Apply(pod)) => Some(Ok(Sign::Pod(Box::new(pod)))),
            Ok(Event::InitApply(pod)) => {
                listed.extend(pod.metadata.name.clone());
                Some(Ok(Sign::Pod(Box::new(pod))))
            }
            Ok(Event::Delete(pod)) => Some(Ok(Sign::PodGone(Box::new(pod)))),
            Ok(Event::Init) => {
                listed.clear();
                None
            }
            Ok(Event::InitDone) => Some(Ok(Sign::PodsThere(std::mem::take(&mut listed)))),
            Err(error) => Some(Err(error)),
        };
        said(sign)
    });
    let mut there = false;
    let jobs = watcher(
        jobs,
        watcher::Config::default()
            .fields(&format!("metadata.name={name}"))
            .timeout(WATCH_SECONDS),
    )
    .backoff(WatchBackoff::default())
    .filter_map(move |event| {
        let sign = match event {
            Ok(Event::Apply(job) | Event::InitApply(job)) => {
                there = true;
                Some(Ok(Sign::Job(Box::new(job))))
            }
            Ok(Event::Delete(_)) => Some(Ok(Sign::JobGone)),
            Ok(Event::Init) => {
                there = false;
                None
            }
            Ok(Event::InitDone) => (!there).then_some(Ok(Sign::JobGone)),
            Err(error) => Some(Err(error)),
        };
        said(sign)
    });
    futures::stream::select(pods, jobs)
}

async fn said(sign: Option<Result<Sign, watcher::Error>>) -> Option<Sign> {
    match sign? {
        Ok(sign) => Some(sign),
        Err(error) => Some(trouble(&error).await),
    }
}

async fn trouble(error: &watcher::Error) -> Sign {
    let mut words = error.to_string();
    words.truncate(words.floor_char_boundary(500));
    tokio::time::sleep(PAUSE).await;
    Sign::Trouble(words)
}
