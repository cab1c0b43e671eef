//! Pods, their containers and what these write.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use super::{ATTEMPTS, Change, Judge, NOT_LOOKED_AT, Seen, can_pass, trouble};
use crate::kubernetes::watch::attempt::End;
use crate::kubernetes::watch::lines::{self, Said};
use crate::kubernetes::watch::objects::{self, Role, condition, text};
use crate::kubernetes::watch::observation::{PodLine, What};
use crate::kubernetes::watch::trouble::TroubleClass;
use crate::kubernetes::watch::words;

impl Judge {
    pub(super) fn take_pod(
        &mut self,
        now: DateTime<Utc>,
        change: Change,
        object: &Value,
        out: &mut Vec<Seen>,
    ) {
        let Some(role) = objects::role(object, &self.cluster) else {
            return;
        };
        let name = text(object, "/metadata/name").to_owned();
        let main = objects::main_container(object, role).to_owned();
        let known = self
            .pods
            .values()
            .filter(|pod| pod.role == Some(Role::Job))
            .count();
        let pod = self.pods.entry(name.clone()).or_default();
        if pod.role.is_none() {
            pod.role = Some(role);
            pod.main.clone_from(&main);
            pod.number = u32::try_from(known).unwrap_or(u32::MAX).saturating_add(1);
        }
        if role == Role::Instance {
            self.instance_seen = true;
        }
        self.pending.remove("job");
        let node = text(object, "/spec/nodeName");
        if !node.is_empty() && !pod.scheduled {
            pod.scheduled = true;
            let what = What::PodScheduled {
                pod: name.clone(),
                node: node.to_owned(),
            };
            out.push((None, what));
        }
        let running = objects::containers(object)
            .any(|container| container.name == main && container.running);
        let ended = objects::containers(object)
            .any(|container| container.name == main && container.terminated.is_some());
        if (running || ended) && !pod.pulled {
            pod.pulled = true;
            out.push((None, What::ImagePulled { pod: name.clone() }));
        }
        if (running || ended) && !pod.running {
            pod.running = true;
            out.push((
                None,
                match role {
                    Role::Job => What::JobRunning { pod: name.clone() },
                    Role::Instance => What::InstanceStarted { pod: name.clone() },
                },
            ));
        }
        if pod.ended.is_none() {
            let taken = change == Change::Deleted
                || !text(object, "/metadata/deletionTimestamp").is_empty();
            // A container that is told to stop ends with an error of its own making.
            let end = if taken && text(object, "/status/phase") != "Succeeded" {
                Some(End {
                    pod_reason: "Deleted".to_owned(),
                    pod_message: "the pod was deleted".to_owned(),
                    ..End::default()
                })
            } else {
                objects::failure(object, &main)
            };
            if let Some(end) = end
                && role == Role::Job
            {
                pod.ended = Some((now, end));
                self.pending.remove(&format!("store {name}"));
            }
        }
        let waits =
            change == Change::Seen && self.pods.get(&name).is_some_and(|pod| !pod.scheduled);
        self.judge_schedule(now, &name, object, waits, out);
        self.judge_containers(now, &name, object, change, role, out);
    }

    fn judge_schedule(
        &mut self,
        now: DateTime<Utc>,
        name: &str,
        object: &Value,
        waits: bool,
        out: &mut Vec<Seen>,
    ) {
        let key = format!("schedule {name}");
        if !waits {
            self.pending.remove(&key);
            return;
        }
        let words = match condition(object, "PodScheduled") {
            Some((false, _, message)) => words::short(message),
            _ => NOT_LOOKED_AT.to_owned(),
        };
        let (class, grace) = if words::waits_for_volume(&words) {
            (TroubleClass::PvcPending, self.graces.volume)
        } else {
            (TroubleClass::Unschedulable, self.graces.schedule)
        };
        // A claim that is known to wait says more than the pod that waits for it.
        if words == NOT_LOOKED_AT && self.pending.keys().any(|key| key.starts_with("claim ")) {
            return;
        }
        let trouble = trouble(class, &format!("pod {name}"), &words);
        self.pend(now, &key, grace, trouble, out);
    }

    fn judge_containers(
        &mut self,
        now: DateTime<Utc>,
        name: &str,
        object: &Value,
        change: Change,
        role: Role,
        out: &mut Vec<Seen>,
    ) {
        let mut wrong = None;
        for container in objects::containers(object) {
            let about = format!("pod {name}, container {}", container.name);
            if let Some((reason, message)) = container.waiting {
                let words = format!("{reason}: {message}");
                let found = match reason {
                    "ErrImagePull"
                    | "ImagePullBackOff"
                    | "ErrImageNeverPull"
                    | "RegistryUnavailable"
                    | "ImageInspectError" => Some((TroubleClass::ImagePull, self.graces.image)),
                    "InvalidImageName" => Some((TroubleClass::ImagePull, TimeDelta::zero())),
                    "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
                        Some((TroubleClass::Unfit, self.graces.stuck))
                    }
                    "CrashLoopBackOff" if role == Role::Instance && container.restarts >= 2 => {
                        let class = match container.before {
                            Some((_, "OOMKilled")) => TroubleClass::OutOfMemory,
                            _ => TroubleClass::Unexplained,
                        };
                        Some((class, self.graces.image))
                    }
                    _ => None,
                };
                if let Some((class, grace)) = found {
                    wrong = Some((grace, trouble(class, &about, &words)));
                }
            }
        }
        let key = format!("container {name}");
        if let Some((grace, trouble)) = wrong.filter(|_| change == Change::Seen) {
            self.pend(now, &key, grace, trouble, out);
            return;
        }
        // Between two pulls the container is shown as if nothing had happened.
        let waiting = objects::containers(object).any(|container| {
            container
                .waiting
                .is_some_and(|(reason, _)| reason != "PodInitializing")
        });
        if !waiting {
            self.pending.remove(&key);
        }
    }

    pub(super) fn take_line(&mut self, now: DateTime<Utc>, line: PodLine, out: &mut Vec<Seen>) {
        let pod = self.pods.entry(line.pod.clone()).or_default();
        let in_job = pod.role != Some(Role::Instance);
        let said = lines::read(&line, in_job);
        let told = line.time;
        pod.attempt.hear(&line.text);
        if let Some(said) = &said {
            pod.attempt.take(said);
        }
        let asked = match &said {
            Some(Said::CatalogAsked) => Some("the catalog of backups".to_owned()),
            Some(Said::WalAsked(name)) => Some(name.clone()),
            Some(said) if said.is_answer() => {
                self.pending.remove(&format!("store {}", line.pod));
                None
            }
            _ => None,
        };
        if let Some(asked) = asked {
            let words = format!("the object store has been asked for {asked} and has not answered");
            let object = format!("pod {}", line.pod);
            let key = format!("store {}", line.pod);
            self.pending.remove(&key);
            let trouble = trouble(TroubleClass::StoreUnreachable, &object, &words);
            self.pend(now, &key, self.graces.store, trouble, out);
        }
        out.push((told, What::Log(line)));
        let (mark, what) = match said {
            Some(Said::Postgres { line, .. }) => {
                out.push((line.time.or(told), What::Postgres(line)));
                return;
            }
            Some(Said::BackupFound(id)) => (0, What::BackupFound { id }),
            Some(Said::RestoreStarted) => (1, What::RestoreStarted),
            Some(Said::BaseRestored) => (2, What::BaseRestored),
            _ => return,
        };
        // Once, also when a second pod does it again.
        if let Some(marked) = self.marked.get_mut(mark)
            && !*marked
        {
            *marked = true;
            out.push((told, what));
        }
    }

    /// Judges the Job's pods that have ended, once their logs have.
    pub(super) fn look_at_pods(&mut self, now: DateTime<Utc>, out: &mut Vec<Seen>) {
        let mut verdicts = Vec::new();
        for (name, pod) in &mut self.pods {
            let Some((ended, end)) = &pod.ended else {
                continue;
            };
            let patience = now.signed_duration_since(*ended) >= self.graces.log;
            if pod.judged || (!pod.open_logs.is_empty() && !patience) {
                continue;
            }
            // The first look at a pod may be its last state: its log is still to be opened.
            if !patience && !pod.attempt.explains() && end.pod_reason.is_empty() {
                continue;
            }
            pod.judged = true;
            let verdict = pod.attempt.verdict(name, end, self.newest_wal.as_deref());
            verdicts.push((name.clone(), pod.number, verdict));
        }
        verdicts.sort_by_key(|(_, number, _)| *number);
        for (pod, number, mut verdict) in verdicts {
            let out_of_attempts = number >= ATTEMPTS || self.job_failed.is_some();
            if !can_pass(verdict.class) || out_of_attempts {
                if number > 1 {
                    verdict.words = words::short(&format!("{} (attempt {number})", verdict.words));
                }
                self.end(verdict, out);
                return;
            }
            self.last_trouble = Some(verdict.clone());
            if !self.is_over() {
                out.push((None, What::Trouble(verdict)));
                out.push((
                    None,
                    What::Retried {
                        pod,
                        attempt: number,
                    },
                ));
            }
        }
    }
}
