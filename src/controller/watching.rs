//! What lies in the API, kept up to date by one watch for each kind (and namespace, where the
//! controller is told to look at some only). Nothing is polled.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use kube::ResourceExt as _;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::runtime::watcher::{Config, Error, Event};
use kube::runtime::{WatchStreamExt as _, watcher};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::compile::Key;
use crate::kubernetes::backoff::WatchBackoff;
use crate::kubernetes::{Kube, KubeError};

/// So many objects come in one answer of a list: memory is bounded by that and by what is
/// kept of each.
const PAGE: u32 = 100;
/// A watch that broke is tried again at least every minute, and one that goes on says nothing
/// until something changes: after so long without another error it works.
const QUIET: Duration = Duration::from_mins(3);

/// What is kept of an object; `None` for one that does not matter.
type Keep<T> = fn(DynamicObject) -> Option<T>;

/// The objects of one kind.
pub(super) struct Watched<T> {
    shelves: Vec<Arc<Mutex<Shelf<T>>>>,
}

struct Shelf<T> {
    items: BTreeMap<Key, T>,
    /// What a new list brought so far.
    coming: BTreeMap<Key, T>,
    /// Whether a whole list came once, or there is no such kind.
    seen: bool,
    /// When the watch last broke, if nothing was heard since.
    broke: Option<Instant>,
    /// There is no such kind.
    absent: bool,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self {
            items: BTreeMap::new(),
            coming: BTreeMap::new(),
            seen: false,
            broke: None,
            absent: false,
        }
    }
}

impl<T> fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched")
            .field("shelves", &self.shelves.len())
            .finish()
    }
}

impl<T: Clone + PartialEq + Send + 'static> Watched<T> {
    /// Begins to watch a kind; `changed` is told of everything that matters. Ends with `tasks`.
    pub(super) fn begin(
        kube: &Kube,
        kind: &ApiResource,
        namespaces: &[String],
        keep: Keep<T>,
        changed: &Arc<Notify>,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        let apis: Vec<Api<DynamicObject>> = if namespaces.is_empty() {
            vec![Api::all_with(kube.client(), kind)]
        } else {
            namespaces
                .iter()
                .map(|one| Api::namespaced_with(kube.client(), one, kind))
                .collect()
        };
        let shelves = apis
            .into_iter()
            .map(|api| {
                let shelf = Arc::new(Mutex::new(Shelf::default()));
                let (own, changed) = (Arc::clone(&shelf), Arc::clone(changed));
                let name = format!("{}.{}", kind.plural, kind.group);
                tasks.spawn(follow(api, name, own, keep, changed));
                shelf
            })
            .collect();
        Self { shelves }
    }

    /// Whether everything was seen once.
    pub(super) fn is_seen(&self) -> bool {
        self.shelves.iter().all(|shelf| lock(shelf).seen)
    }

    /// Whether every watch works. One whose kind is not there works only if it `may_be_absent`.
    pub(super) fn is_current(&self, may_be_absent: bool) -> bool {
        let mut shelves = self.shelves.iter();
        shelves.all(|shelf| lock(shelf).is_current(may_be_absent))
    }

    /// What there is.
    pub(super) fn all(&self) -> BTreeMap<Key, T> {
        let mut all = BTreeMap::new();
        for shelf in &self.shelves {
            all.extend(
                lock(shelf)
                    .items
                    .iter()
                    .map(|(k, v)| (k.clone(), v.clone())),
            );
        }
        all
    }
}

fn lock<T>(shelf: &Mutex<Shelf<T>>) -> std::sync::MutexGuard<'_, Shelf<T>> {
    shelf.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Follows a kind for ever. A watch that ends, expires or breaks begins again by itself, with
/// growing pauses.
async fn follow<T: Clone + PartialEq + Send + 'static>(
    api: Api<DynamicObject>,
    kind: String,
    shelf: Arc<Mutex<Shelf<T>>>,
    keep: Keep<T>,
    changed: Arc<Notify>,
) {
    let config = Config::default().page_size(PAGE);
    let mut stream = Box::pin(watcher(api, config).backoff(WatchBackoff::default()));
    let mut away = false;
    while let Some(event) = stream.next().await {
        let news = match event {
            Ok(event) => {
                if !matches!(event, Event::Init) && std::mem::take(&mut away) {
                    tracing::info!(%kind, "watched again");
                }
                lock(&shelf).take(event, keep)
            }
            Err(error) => {
                let (absent, words) = judge(error);
                if !std::mem::replace(&mut away, true) {
                    tracing::warn!(%kind, error = %words, "cannot be watched; trying on");
                }
                let mut shelf = lock(&shelf);
                shelf.broke = Some(Instant::now());
                absent && shelf.nothing()
            }
        };
        if news {
            changed.notify_one();
        }
    }
}

/// Whether there is no such kind here, and what is said of it.
fn judge(error: Error) -> (bool, String) {
    let absent = match &error {
        Error::InitialListFailed(kube::Error::Api(status)) => status.code == 404,
        _ => false,
    };
    let words = match error {
        Error::InitialListFailed(cause)
        | Error::WatchStartFailed(cause)
        | Error::WatchFailed(cause) => KubeError::of("watch", cause).to_string(),
        other => other.to_string(),
    };
    (absent, words)
}

impl<T: Clone + PartialEq> Shelf<T> {
    fn is_current(&self, may_be_absent: bool) -> bool {
        if self.absent {
            return may_be_absent;
        }
        self.seen && self.broke.is_none_or(|broke| broke.elapsed() >= QUIET)
    }

    /// Takes in what was heard; gives whether it matters.
    fn take(&mut self, event: Event<DynamicObject>, keep: Keep<T>) -> bool {
        // It begins to list: what comes of that is still to be heard.
        if !matches!(event, Event::Init) {
            self.broke = None;
            self.absent = false;
        }
        match event {
            Event::Init => {
                self.coming.clear();
                false
            }
            Event::InitApply(object) => {
                let key = key(&object);
                if let Some(item) = keep(object) {
                    self.coming.insert(key, item);
                }
                false
            }
            Event::InitDone => {
                let coming = std::mem::take(&mut self.coming);
                let news = !self.seen || self.items != coming;
                self.items = coming;
                self.seen = true;
                news
            }
            Event::Apply(object) => {
                let key = key(&object);
                match keep(object) {
                    Some(item) if self.items.get(&key) == Some(&item) => false,
                    Some(item) => {
                        self.items.insert(key, item);
                        true
                    }
                    None => self.items.remove(&key).is_some(),
                }
            }
            Event::Delete(object) => self.items.remove(&key(&object)).is_some(),
        }
    }

    /// There is no such kind.
    fn nothing(&mut self) -> bool {
        let news = !self.seen || !self.items.is_empty();
        self.items.clear();
        self.seen = true;
        self.absent = true;
        news
    }
}

fn key(object: &DynamicObject) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(name: &str, value: u32) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "X",
            "metadata": {"namespace": "n", "name": name}, "value": value,
        }))
        .unwrap()
    }

    #[expect(clippy::needless_pass_by_value, reason = "as a watch wants it")]
    fn keep(object: DynamicObject) -> Option<u64> {
        object.data["value"].as_u64().filter(|value| *value > 0)
    }

    #[test]
    fn only_what_matters_is_news() {
        let mut shelf: Shelf<u64> = Shelf::default();
        let mut take = |event| shelf.take(event, keep);
        assert!(!take(Event::Init));
        assert!(!take(Event::InitApply(object("a", 1))));
        assert!(!take(Event::InitApply(object("b", 0))));
        assert!(take(Event::InitDone));
        assert!(!take(Event::Apply(object("a", 1))), "the same again");
        assert!(take(Event::Apply(object("a", 2))));
        assert!(take(Event::Apply(object("c", 3))));
        assert!(take(Event::Apply(object("c", 0))), "no longer of interest");
        assert!(!take(Event::Delete(object("c", 0))));
        // The watch expired: the same list is no news, and what is gone is gone.
        assert!(!take(Event::Init));
        assert!(!take(Event::InitApply(object("a", 2))));
        assert!(!take(Event::InitDone));
        assert!(!take(Event::Init));
        assert!(take(Event::InitDone));
        assert!(shelf.items.is_empty() && shelf.seen);
    }

    #[test]
    fn a_watch_works_from_its_first_list_until_it_breaks() {
        let mut shelf: Shelf<u64> = Shelf::default();
        assert!(!shelf.is_current(true), "nothing was heard yet");
        shelf.take(Event::Init, keep);
        shelf.take(Event::InitDone, keep);
        assert!(shelf.is_current(false));
        shelf.broke = Some(Instant::now());
        assert!(!shelf.is_current(true));
        shelf.take(Event::Apply(object("a", 1)), keep);
        assert!(shelf.is_current(false), "heard again");
        shelf.broke = Instant::now().checked_sub(QUIET);
        assert!(shelf.is_current(false), "nothing more was wrong");
        shelf.broke = Some(Instant::now());
        shelf.nothing();
        assert!(shelf.is_current(true) && !shelf.is_current(false));
        shelf.take(Event::Init, keep);
        assert!(!shelf.is_current(false), "it is only asked again");
        shelf.take(Event::InitDone, keep);
        assert!(shelf.is_current(false), "the kind came");
    }
}
