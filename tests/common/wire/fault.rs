//! What goes wrong on a wire, and with which requests.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// One kind of trouble, for the requests that it is meant for: all, unless narrowed.
#[derive(Clone, Debug)]
pub struct Fault {
    what: What,
    method: Option<String>,
    words: String,
    after: usize,
    every: usize,
    times: usize,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    Latency(Duration),
    Pace(u64),
    Reset,
    LostAnswer,
    Answer(u16, String),
    Truncate(u64),
    Shorten(u64),
    CorruptAnswer(u64),
    CorruptRequest(u64),
    CutRequest(u64),
    Silence(u64),
}

impl Fault {
    const fn new(what: What) -> Self {
        Self {
            what,
            method: None,
            words: String::new(),
            after: 0,
            every: 1,
            times: usize::MAX,
        }
    }

    /// The request waits so long before it is passed on.
    pub const fn latency(time: Duration) -> Self {
        Self::new(What::Latency(time))
    }

    /// Bodies, both ways, pass at so many bytes per second and connection.
    pub const fn pace(bytes_per_second: u64) -> Self {
        Self::new(What::Pace(bytes_per_second))
    }

    /// The connection is reset before the server hears of the request.
    pub const fn reset() -> Self {
        Self::new(What::Reset)
    }

    /// The server does what it is asked, and the connection ends before its answer: whether
    /// it was done is not known.
    pub const fn lost_answer() -> Self {
        Self::new(What::LostAnswer)
    }

    /// The wire answers itself, in S3's form; the server hears nothing of it.
    pub fn answer(status: u16, code: &str) -> Self {
        Self::new(What::Answer(status, code.to_owned()))
    }

    /// The store is overloaded: 503 `SlowDown`.
    pub fn slow_down() -> Self {
        Self::answer(503, "SlowDown")
    }

    /// The credentials have ended: 400 `ExpiredToken`, as AWS says it.
    pub fn expired() -> Self {
        Self::answer(400, "ExpiredToken")
    }

    /// The credentials are taken away: 403 `AccessDenied`.
    pub fn denied() -> Self {
        Self::answer(403, "AccessDenied")
    }

    /// The connection ends after so many bytes of the answer's body.
    pub const fn truncate(at: u64) -> Self {
        Self::new(What::Truncate(at))
    }

    /// The answer is a whole one, with a body that is so many bytes shorter.
    pub const fn shorten(by: u64) -> Self {
        Self::new(What::Shorten(by))
    }

    /// One bit of the answer's body is another one, in the byte at this offset. Shorter
    /// bodies stay as they are.
    pub const fn corrupt_answer(at: u64) -> Self {
        Self::new(What::CorruptAnswer(at))
    }

    /// One bit of the request's body is another one, in the byte at this offset. Shorter
    /// bodies stay as they are.
    pub const fn corrupt_request(at: u64) -> Self {
        Self::new(What::CorruptRequest(at))
    }

    /// Both connections end after so many bytes of the request's body.
    pub const fn cut_request(at: u64) -> Self {
        Self::new(What::CutRequest(at))
    }

    /// After so many bytes of the answer's body nothing comes any more, until the wire is
    /// told to go on or is cut.
    pub const fn silence(at: u64) -> Self {
        Self::new(What::Silence(at))
    }

    /// Only requests with this method.
    pub fn on(mut self, method: &str) -> Self {
        self.method = Some(method.to_owned());
        self
    }

    /// Only requests whose target (path and query, percent-decoded) holds these words.
    pub fn at(mut self, words: &str) -> Self {
        words.clone_into(&mut self.words);
        self
    }

    /// Not the first so many that it is meant for.
    pub const fn after(mut self, requests: usize) -> Self {
        self.after = requests;
        self
    }

    /// Of those it is meant for only one of so many.
    pub const fn every(mut self, requests: usize) -> Self {
        self.every = requests;
        self
    }

    /// At most so often.
    pub const fn times(mut self, times: usize) -> Self {
        self.times = times;
        self
    }

    /// Once.
    pub const fn once(self) -> Self {
        self.times(1)
    }
}

/// A fault on a wire.
#[derive(Clone, Debug)]
pub struct Armed {
    fault: Arc<Fault>,
    /// How many requests it was meant for so far, and how often it struck.
    seen: Arc<AtomicUsize>,
    hits: Arc<AtomicUsize>,
}

impl Armed {
    /// How often it struck.
    pub fn hits(&self) -> usize {
        self.hits.load(Ordering::SeqCst)
    }

    /// Whether it strikes this request; counts.
    fn strikes(&self, method: &str, target: &str) -> bool {
        let fault = &self.fault;
        if fault.method.as_ref().is_some_and(|it| it != method) || !target.contains(&fault.words) {
            return false;
        }
        let seen = self.seen.fetch_add(1, Ordering::SeqCst);
        if seen < fault.after || !(seen - fault.after).is_multiple_of(fault.every) {
            return false;
        }
        let more = |hits: usize| (hits < fault.times).then_some(hits + 1);
        self.hits
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, more)
            .is_ok()
    }
}

/// The faults of a wire.
#[derive(Debug, Default)]
pub(super) struct Faults(Mutex<Vec<Armed>>);

/// What happens to one request.
#[derive(Clone, Debug, Default)]
pub(super) struct Fate {
    pub(super) latency: Duration,
    pub(super) pace: Option<u64>,
    pub(super) what: Option<What>,
}

impl Faults {
    pub(super) fn add(&self, fault: Fault) -> Armed {
        let armed = Armed {
            fault: Arc::new(fault),
            seen: Arc::default(),
            hits: Arc::default(),
        };
        self.0.lock().unwrap().push(armed.clone());
        armed
    }

    pub(super) fn clear(&self) {
        self.0.lock().unwrap().clear();
    }

    /// Latencies add up, the slowest pace counts; of the others the first one strikes.
    pub(super) fn fate(&self, method: &str, target: &str) -> Fate {
        let mut fate = Fate::default();
        for armed in self.0.lock().unwrap().iter() {
            match &armed.fault.what {
                What::Latency(time) if armed.strikes(method, target) => fate.latency += *time,
                What::Pace(pace) if armed.strikes(method, target) => {
                    fate.pace = Some(fate.pace.map_or(*pace, |other| other.min(*pace)));
                }
                What::Latency(_) | What::Pace(_) => {}
                what if fate.what.is_none() && armed.strikes(method, target) => {
                    fate.what = Some(what.clone());
                }
                _ => {}
            }
        }
        fate
    }
}
