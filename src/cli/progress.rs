//! Progress on standard error, only where a person looks.

use std::io::{self, IsTerminal as _, Write};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing_subscriber::fmt::MakeWriter;

/// Progress bars on a terminal; nothing elsewhere. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Progress {
    bars: MultiProgress,
    visible: bool,
}

impl Progress {
    /// Shown when `wanted` and standard error is a terminal.
    pub fn new(wanted: bool) -> Self {
        let visible = wanted && io::stderr().is_terminal();
        let target = if visible {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        Self {
            bars: MultiProgress::with_draw_target(target),
            visible,
        }
    }

    /// Whether anybody sees it.
    pub const fn is_visible(&self) -> bool {
        self.visible
    }

    /// A bar over bytes, with rate and time left.
    pub fn bytes(&self, what: &str, total: u64) -> ProgressBar {
        self.bar(
            ProgressBar::new(total),
            what,
            "{prefix:>24} {bar:30.cyan/dim} {binary_bytes:>10} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left {wide_msg}",
        )
    }

    /// A bar over things that are counted, with time left.
    pub fn count(&self, what: &str, total: u64) -> ProgressBar {
        self.bar(
            ProgressBar::new(total),
            what,
            "{prefix:>24} {bar:30.cyan/dim} {human_pos:>10} of {human_len}, {per_sec}, {eta} left {wide_msg}",
        )
    }

    /// Work whose size is not known.
    pub fn spinner(&self, what: &str) -> ProgressBar {
        let bar = self.bar(
            ProgressBar::new_spinner(),
            what,
            "{prefix:>24} {spinner} {elapsed} {wide_msg}",
        );
        if self.visible {
            bar.enable_steady_tick(Duration::from_millis(120));
        }
        bar
    }

    fn bar(&self, bar: ProgressBar, what: &str, template: &str) -> ProgressBar {
        let bar = self.bars.add(bar).with_prefix(what.to_owned());
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("━╸─"));
        }
        bar
    }

    /// Writes to standard error without disturbing the bars.
    pub fn print(&self, text: &str) {
        self.bars.suspend(|| {
            let mut stderr = io::stderr().lock();
            // Nobody can be told when standard error itself is gone.
            let _ = stderr
                .write_all(super::output::harmless(text).as_bytes())
                .and_then(|()| stderr.flush());
        });
    }

    /// Removes the bars.
    pub fn clear(&self) {
        let _ = self.bars.clear();
    }
}

/// Log lines go above the bars.
impl<'a> MakeWriter<'a> for Progress {
    type Writer = LogLine;

    fn make_writer(&'a self) -> Self::Writer {
        LogLine(self.clone())
    }
}

/// Writes log lines above the bars.
#[derive(Debug)]
pub struct LogLine(Progress);

impl Write for LogLine {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.bars.suspend(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_understood() {
        let progress = Progress::new(false);
        for bar in [
            progress.bytes("base", 10),
            progress.count("objects", 10),
            progress.spinner("listing"),
        ] {
            bar.inc(3);
            assert_eq!(bar.position(), 3);
            assert!(bar.is_hidden());
        }
        assert!(!progress.is_visible());
    }
}
