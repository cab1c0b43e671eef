//! The logs of a recovery's pods, kept while they can be had: the operator deletes the Job.

use std::collections::VecDeque;

use crate::kubernetes::watch::PodLine;

/// At most this much is kept, the newest.
const LIMIT: usize = 4 << 20;

/// The newest lines.
#[derive(Debug, Default)]
pub(super) struct KeptLog {
    lines: VecDeque<String>,
    bytes: usize,
}

impl KeptLog {
    /// Adds a line; the oldest go when there are too many.
    pub(super) fn add(&mut self, line: &PodLine) {
        let text = format!("{}/{} {}", line.pod, line.container, line.text);
        self.bytes = self.bytes.saturating_add(text.len());
        self.lines.push_back(text);
        while self.bytes > LIMIT {
            let Some(oldest) = self.lines.pop_front() else {
                break;
            };
            self.bytes = self.bytes.saturating_sub(oldest.len());
        }
    }

    /// Everything that is kept.
    pub(super) fn text(&self) -> String {
        let mut text = String::with_capacity(self.bytes.saturating_add(self.lines.len()));
        for line in &self.lines {
            text.push_str(line);
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lines_are_kept() {
        let mut log = KeptLog::default();
        for number in 0..200 {
            log.add(&PodLine {
                pod: "drill-1".to_owned(),
                container: "postgres".to_owned(),
                time: None,
                text: format!("{number:05}{}", "x".repeat(64 << 10)),
            });
        }
        let text = log.text();
        assert!(text.len() <= LIMIT + 1000, "{}", text.len());
        assert!(text.lines().last().unwrap().contains("00199"));
        assert!(!text.contains(" 00000x"));
    }
}
