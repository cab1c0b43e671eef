//! `walproof wal get`: a `restore_command` of its own, without a running walproof.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use futures::{StreamExt, TryStreamExt};

use super::client::write_whole;
use super::fetch::{Expectation, FetchFailure, Fetched, fetch_file, judge_segment};
use super::plan::{Need, WalPlan};
use super::protocol::WalAnswer;
use super::server::judge_failure;
use crate::codec::{Codec, Sha256};
use crate::postgres::wal::PAGE_SIZE;
use crate::postgres::{SegmentName, SegmentNumber, SegmentSize, WalFileName};
use crate::repository::barman_cloud::keys::wal_key;
use crate::repository::{Layout, Repository, WalObject};
use crate::storage::StorageError;

/// How a file is fetched.
#[derive(Clone, Debug)]
pub struct WalGetOptions {
    /// What recovery needs, as `walproof restore` wrote it. Without it every segment that
    /// has a later one in the archive counts as needed.
    pub plan: Option<WalPlan>,
    /// The segment size where there is no plan.
    pub segment_size: SegmentSize,
    /// Where segments read ahead wait; default: a folder beside the destination.
    pub spool: Option<PathBuf>,
    /// How many following segments are fetched together with the one asked for.
    pub read_ahead: usize,
    /// Whether an unfinished segment (`.partial`) may pass for the full one. Its WAL ends
    /// where the old primary stopped.
    pub allow_partial: bool,
}

impl Default for WalGetOptions {
    fn default() -> Self {
        Self {
            plan: None,
            segment_size: SegmentSize::DEFAULT,
            spool: None,
            read_ahead: 3,
            allow_partial: false,
        }
    }
}

/// The folder of the spool, beside the destination: on the same file system, inside
/// `pg_wal`, where PostgreSQL ignores names that are not WAL's.
const SPOOL: &str = "walproof_spool";

/// Fetches the file `name` to `destination`, whole or not at all. The caller exits with
/// [`WalAnswer::exit_code`]. Memory: the segments that are fetched together.
pub async fn wal_get(
    repository: &Repository,
    name: &str,
    destination: &Path,
    options: &WalGetOptions,
) -> WalAnswer {
    let Ok(file) = name.parse::<WalFileName>() else {
        return WalAnswer::Stop(format!("{name:?} is no name of a WAL file"));
    };
    // A spool that several servers share must not mix their repositories.
    let location = Sha256::of(repository.store().location().to_string().as_bytes()).to_string();
    let own = location.get(..16).unwrap_or_default();
    let getting = Getting {
        repository,
        options,
        spool: options.spool.as_ref().map_or_else(
            || {
                destination
                    .parent()
                    .unwrap_or_else(|| Path::new("."))
                    .join(SPOOL)
            },
            |shared| shared.join(own),
        ),
    };
    match getting.get(name, file, destination).await {
        Ok(()) => WalAnswer::Delivered,
        Err(answer) => answer,
    }
}

struct Getting<'a> {
    repository: &'a Repository,
    options: &'a WalGetOptions,
    spool: PathBuf,
}

impl Getting<'_> {
    async fn get(
        &self,
        name: &str,
        file: WalFileName,
        destination: &Path,
    ) -> Result<(), WalAnswer> {
        let need = self.options.plan.as_ref().map(|plan| plan.need(file));
        if need == Some(Need::Beyond) {
            self.clear_spool();
            return Err(WalAnswer::Absent(format!(
                "{name} is not part of what this recovery replays"
            )));
        }
        let local = |error: io::Error| {
            WalAnswer::Unreachable(format!("write {}: {error}", destination.display()))
        };
        if let WalFileName::Segment(segment) = file {
            if self.take_from_spool(segment, destination).map_err(local)? {
                return Ok(());
            }
            return self.get_segment(name, segment, need, destination).await;
        }
        let fetched = self
            .fetch(file)
            .await
            .map_err(|failure| judge_failure(name, need.unwrap_or(Need::Optional), failure))?;
        put(&fetched, destination).map_err(local)
    }

    /// The segment asked for together with those that will be asked for next.
    async fn get_segment(
        &self,
        name: &str,
        segment: SegmentName,
        need: Option<Need>,
        destination: &Path,
    ) -> Result<(), WalAnswer> {
        let following = self.following(segment);
        let wanted = self.fetch(WalFileName::Segment(segment));
        let ahead = futures::stream::iter(following)
            .map(|next| async move {
                // Read ahead is a kindness: what fails here is asked for again, and
                // judged then.
                if let Ok(fetched) = self.fetch(WalFileName::Segment(next)).await
                    && let Err(error) = self.put_in_spool(next, &fetched)
                {
                    tracing::debug!(%error, segment = %next, "read WAL ahead");
                }
            })
            .buffer_unordered(self.options.read_ahead.max(1))
            .collect::<()>();
        let (wanted, ()) = futures::join!(wanted, ahead);
        let mut failure = match wanted {
            Ok(fetched) => {
                return put(&fetched, destination).map_err(|error| {
                    WalAnswer::Unreachable(format!("write {}: {error}", destination.display()))
                });
            }
            Err(failure) => failure,
        };
        if self.options.allow_partial && failure == FetchFailure::Missing {
            match self.fetch(WalFileName::Partial(segment)).await {
                Ok(fetched) => {
                    return put(&fetched, destination).map_err(|error| {
                        WalAnswer::Unreachable(format!("write {}: {error}", destination.display()))
                    });
                }
                Err(other) => failure = other,
            }
        }
        let need = match need {
            Some(need) => need,
            None if failure == FetchFailure::Missing => match self.has_later(segment).await {
                Ok(Some(later)) => {
                    return Err(WalAnswer::Stop(format!(
                        "{name} is not in the archive, but the later {later} is: there is a hole"
                    )));
                }
                Ok(None) => Need::Optional,
                Err(error) => return Err(WalAnswer::Unreachable(error.to_string())),
            },
            None => Need::Required,
        };
        Err(judge_failure(name, need, failure))
    }

    fn segment_size(&self) -> SegmentSize {
        self.options
            .plan
            .as_ref()
            .map_or(self.options.segment_size, |plan| plan.segment_size)
    }

    fn following(&self, segment: SegmentName) -> Vec<SegmentName> {
        let size = self.segment_size();
        match (&self.options.plan, segment.number(size)) {
            (Some(plan), _) => plan.following(segment, self.options.read_ahead),
            (None, Ok(number)) => (1..=self.options.read_ahead as u64)
                .map(|n| SegmentName::new(segment.timeline, SegmentNumber(number.0 + n), size))
                .collect(),
            (None, Err(_)) => Vec::new(),
        }
        .into_iter()
        .filter(|next| !self.spooled(*next).exists())
        .collect()
    }

    fn expectation(&self) -> Expectation {
        Expectation {
            segment_size: self.segment_size(),
            system_id: self.options.plan.as_ref().and_then(|plan| plan.system_id),
        }
    }

    async fn fetch(&self, file: WalFileName) -> Result<Fetched, FetchFailure> {
        let candidates = self.candidates(file);
        fetch_file(self.repository, &candidates, file, self.expectation()).await
    }

    /// Every object that could hold the file, likely ones first. There is no catalog here:
    /// one listing per segment would cost more than asking.
    fn candidates(&self, file: WalFileName) -> Vec<WalObject> {
        let hinted = self
            .options
            .plan
            .as_ref()
            .map_or(&[][..], |plan| &plan.codecs);
        let mut codecs: Vec<Codec> = hinted.to_vec();
        for codec in [Codec::Gzip, Codec::None].into_iter().chain(Codec::ALL) {
            if !codecs.contains(&codec) {
                codecs.push(codec);
            }
        }
        match self.repository.layout() {
            Layout::BarmanCloud => codecs
                .into_iter()
                .map(|codec| WalObject {
                    key: wal_key(file, codec),
                    codec,
                })
                .collect(),
        }
    }

    /// A later segment of the same timeline in this folder of the archive or the next
    /// one: some 4 to 8 GiB of WAL are looked at.
    async fn has_later(&self, segment: SegmentName) -> Result<Option<SegmentName>, StorageError> {
        let folder = |name: SegmentName| {
            let key = wal_key(WalFileName::Segment(name), Codec::None);
            key.rsplit_once('/')
                .map_or_else(String::new, |(folder, _)| folder.to_owned())
        };
        let next_log = SegmentName {
            log: segment.log.saturating_add(1),
            segment: 0,
            ..segment
        };
        for folder in [folder(segment), folder(next_log)] {
            let mut listing = self.repository.store().list(&folder);
            while let Some(entry) = listing.try_next().await? {
                let file = entry.key.rsplit('/').next().unwrap_or_default();
                let (bare, _) = Codec::split_extension(file);
                if let Ok(found) = bare.parse::<SegmentName>()
                    && found.timeline == segment.timeline
                    && found > segment
                {
                    return Ok(Some(found));
                }
            }
        }
        Ok(None)
    }

    fn spooled(&self, segment: SegmentName) -> PathBuf {
        self.spool.join(segment.to_string())
    }

    fn put_in_spool(&self, segment: SegmentName, fetched: &Fetched) -> io::Result<()> {
        fs::create_dir_all(&self.spool)?;
        put(fetched, &self.spooled(segment))
    }

    /// Moves a segment out of the spool. One that is not what its name says was not
    /// written by us and is thrown away.
    fn take_from_spool(&self, segment: SegmentName, destination: &Path) -> io::Result<bool> {
        let spooled = self.spooled(segment);
        match fs::symlink_metadata(&spooled) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
            Ok(meta) => {
                let mut page = Vec::new();
                if meta.is_file() {
                    File::open(&spooled)?
                        .take(PAGE_SIZE as u64)
                        .read_to_end(&mut page)?;
                }
                if judge_segment(segment, meta.len(), &page, self.expectation()).is_err() {
                    fs::remove_file(&spooled)?;
                    return Ok(false);
                }
            }
        }
        match fs::rename(&spooled, destination) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                let mut source = File::open(&spooled)?;
                write_whole(destination, |file| io::copy(&mut source, file).map(|_| ()))?;
                fs::remove_file(&spooled)?;
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }

    /// Past the target nothing in the spool is of use any more.
    fn clear_spool(&self) {
        let Ok(entries) = fs::read_dir(&self.spool) else {
            return;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let bare = name.to_str().unwrap_or_default();
            let bare = bare.strip_suffix(".walproof_tmp").unwrap_or(bare);
            if bare.parse::<SegmentName>().is_ok() {
                let _ = fs::remove_file(entry.path());
            }
        }
        let _ = fs::remove_dir(&self.spool);
    }
}

fn put(fetched: &Fetched, destination: &Path) -> io::Result<()> {
    write_whole(destination, |file| file.write_all(&fetched.bytes))
}
