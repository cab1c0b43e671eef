//! Copies: exposure, windows, backups, proofs, findings, replicas, drills.

use std::fmt;

use chrono::{DateTime, Utc};
use prometheus_client::encoding::EncodeGaugeValue;

use super::super::facts::{
    CopyFacts, DrillFacts, FindingFacts, FleetFacts, ReplicaFacts, VerificationFacts,
};
use super::catalogue::{
    BACKUP_AGE, BACKUP_AT, BACKUP_FAILED_AT, BACKUPS_USABLE, BASE_BYTES, COPY, DEPTH,
    DRILL_LAST_PHASE, DRILL_MET, DRILL_POINT, DRILL_SERVICE, DRILL_VERIFIED, END_AT, END_LSN,
    EXPOSURE, EXPOSURE_KNOWN, EXPOSURE_MEASURED, FINDING_OPEN, GAPS, MISSING_SEGMENTS, Metric,
    OLDEST_BEGIN, PROOF_AT, PROOF_EXIT, PROOF_VERDICT, READ_BYTES, REPLICA_COMPARED_AT,
    REPLICA_COPIED, REPLICA_FAILURES, REPLICA_LAG, REPLICA_MISSING, SEGMENTS, TIP_AT, TIP_LSN,
    VERIFIED_AT, WAL_BYTES, WINDOW_BEGIN, WINDOW_END,
};
use super::writer::{Family, Writer, age, moment, seconds};
use crate::evidence::Verdict;

pub(super) fn write(
    writer: &mut Writer<'_>,
    fleet: &FleetFacts,
    now: DateTime<Utc>,
) -> fmt::Result {
    each(writer, &COPY, fleet, |family, cluster, copy| {
        family.info([cluster, &copy.name, copy.role.as_str()])
    })?;
    verifications(writer, fleet, now)?;
    proofs(writer, fleet)?;
    findings(writer, fleet)?;
    replicas(writer, fleet)?;
    drills(writer, fleet)
}

fn verifications(writer: &mut Writer<'_>, fleet: &FleetFacts, now: DateTime<Utc>) -> fmt::Result {
    let w = writer;
    verified(w, &VERIFIED_AT, fleet, |it| Some(moment(it.at)))?;
    verified(w, &EXPOSURE, fleet, |it| it.tip_at.map(|at| age(now, at)))?;
    verified(w, &EXPOSURE_MEASURED, fleet, |it| {
        it.tip_at.map(|at| age(it.at, at))
    })?;
    verified(w, &EXPOSURE_KNOWN, fleet, |it| {
        it.tip_at.map(|_| u32::from(it.tip_known))
    })?;
    verified(w, &TIP_AT, fleet, |it| it.tip_at.map(moment))?;
    verified(w, &TIP_LSN, fleet, |it| it.tip_lsn)?;
    verified(w, &END_AT, fleet, |it| it.archive_end_at.map(moment))?;
    verified(w, &END_LSN, fleet, |it| it.archive_end_lsn)?;
    verified(w, &OLDEST_BEGIN, fleet, |it| it.oldest_begin.map(moment))?;
    verified(w, &WINDOW_BEGIN, fleet, |it| it.window_begin.map(moment))?;
    verified(w, &WINDOW_END, fleet, |it| it.window_end.map(moment))?;
    verified(w, &GAPS, fleet, |it| Some(it.gaps))?;
    verified(w, &MISSING_SEGMENTS, fleet, |it| Some(it.missing_segments))?;
    verified(w, &SEGMENTS, fleet, |it| Some(it.segments))?;
    verified(w, &WAL_BYTES, fleet, |it| Some(it.wal_bytes))?;
    verified(w, &BASE_BYTES, fleet, |it| Some(it.base_bytes))?;
    verified(w, &BACKUPS_USABLE, fleet, |it| Some(it.usable_backups))?;
    verified(w, &BACKUP_AT, fleet, |it| it.backup_at.map(moment))?;
    verified(w, &BACKUP_AGE, fleet, |it| {
        it.backup_at.map(|at| age(now, at))
    })?;
    verified(w, &BACKUP_FAILED_AT, fleet, |it| {
        it.failed_backup_at.map(moment)
    })?;
    verified(w, &DEPTH, fleet, |it| Some(u32::from(it.depth)))?;
    verified(w, &READ_BYTES, fleet, |it| Some(it.read_bytes))
}

fn proofs(writer: &mut Writer<'_>, fleet: &FleetFacts) -> fmt::Result {
    each(writer, &PROOF_AT, fleet, |family, cluster, copy| {
        for proof in &copy.proofs {
            let answered = proof.answered_at.map(moment);
            family.gauge([cluster, &copy.name, proof.kind], answered)?;
        }
        Ok(())
    })?;
    each(writer, &PROOF_VERDICT, fleet, |family, cluster, copy| {
        for proof in &copy.proofs {
            let verdict = proof.verdict.map(|verdict| match verdict {
                Verdict::Proven => 1_i32,
                Verdict::Unproven => 0,
                Verdict::Failed => -1,
            });
            family.gauge([cluster, &copy.name, proof.kind], verdict)?;
        }
        Ok(())
    })?;
    each(writer, &PROOF_EXIT, fleet, |family, cluster, copy| {
        for proof in &copy.proofs {
            let exit = u32::from(proof.exit_code);
            family.gauge([cluster, &copy.name, proof.kind], Some(exit))?;
        }
        Ok(())
    })
}

/// Those of a copy, and those of no copy or no cluster with empty labels.
fn findings(writer: &mut Writer<'_>, fleet: &FleetFacts) -> fmt::Result {
    writer.family(&FINDING_OPEN, |family| {
        let mut write = |cluster: &str, copy: &str, findings: &[FindingFacts]| {
            for finding in findings {
                let labels = [cluster, copy, &finding.code, finding.severity.as_str()];
                family.gauge(labels, Some(finding.count))?;
            }
            Ok(())
        };
        write("", "", &fleet.findings)?;
        for cluster in &fleet.clusters {
            write(&cluster.name, "", &cluster.findings)?;
            for copy in &cluster.copies {
                write(&cluster.name, &copy.name, &copy.findings)?;
            }
        }
        Ok(())
    })
}

fn replicas(writer: &mut Writer<'_>, fleet: &FleetFacts) -> fmt::Result {
    let w = writer;
    replica(w, &REPLICA_LAG, fleet, |it| it.lag_ms.map(seconds))?;
    replica(w, &REPLICA_MISSING, fleet, |it| it.missing)?;
    replica(w, &REPLICA_FAILURES, fleet, |it| it.failures)?;
    replica(w, &REPLICA_COMPARED_AT, fleet, |it| {
        it.compared_at.map(moment)
    })?;
    replica(w, &REPLICA_COPIED, fleet, |it| it.copied_bytes)
}

fn drills(writer: &mut Writer<'_>, fleet: &FleetFacts) -> fmt::Result {
    each(writer, &DRILL_LAST_PHASE, fleet, |family, cluster, copy| {
        for (phase, milliseconds) in copy.drill.iter().flat_map(|drill| &drill.phases) {
            let labels = [cluster, &copy.name, phase.as_str()];
            family.gauge(labels, Some(seconds(*milliseconds)))?;
        }
        Ok(())
    })?;
    let w = writer;
    drill(w, &DRILL_SERVICE, fleet, |it| it.time_to_service_ms)?;
    drill(w, &DRILL_VERIFIED, fleet, |it| it.time_to_verified_ms)?;
    drill(w, &DRILL_POINT, fleet, |it| it.recovery_point_ms)?;
    each(w, &DRILL_MET, fleet, |family, cluster, copy| {
        let Some(drill) = &copy.drill else {
            return Ok(());
        };
        for (objective, met) in [("rpo", drill.rpo_met), ("rto", drill.rto_met)] {
            family.gauge([cluster, &copy.name, objective], met.map(u32::from))?;
        }
        Ok(())
    })
}

/// A family of copies.
fn each<const N: usize>(
    writer: &mut Writer<'_>,
    metric: &'static Metric<N>,
    fleet: &FleetFacts,
    fill: impl Fn(&mut Family<'_, N>, &str, &CopyFacts) -> fmt::Result,
) -> fmt::Result {
    writer.family(metric, |family| {
        for cluster in &fleet.clusters {
            for copy in &cluster.copies {
                fill(family, &cluster.name, copy)?;
            }
        }
        Ok(())
    })
}

fn verified<V: EncodeGaugeValue>(
    writer: &mut Writer<'_>,
    metric: &'static Metric<2>,
    fleet: &FleetFacts,
    of: impl Fn(&VerificationFacts) -> Option<V>,
) -> fmt::Result {
    each(writer, metric, fleet, |family, cluster, copy| {
        let value = copy.verification.as_ref().and_then(&of);
        family.gauge([cluster, &copy.name], value)
    })
}

fn replica<V: EncodeGaugeValue>(
    writer: &mut Writer<'_>,
    metric: &'static Metric<2>,
    fleet: &FleetFacts,
    of: impl Fn(&ReplicaFacts) -> Option<V>,
) -> fmt::Result {
    each(writer, metric, fleet, |family, cluster, copy| {
        let value = copy.replica.as_ref().and_then(&of);
        family.gauge([cluster, &copy.name], value)
    })
}

fn drill(
    writer: &mut Writer<'_>,
    metric: &'static Metric<2>,
    fleet: &FleetFacts,
    of: impl Fn(&DrillFacts) -> Option<u64>,
) -> fmt::Result {
    each(writer, metric, fleet, |family, cluster, copy| {
        let value = copy.drill.as_ref().and_then(&of);
        family.gauge([cluster, &copy.name], value.map(seconds))
    })
}
