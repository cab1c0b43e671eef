//! The logs of a recovery's pods, kept while they can be had: the operator deletes the Job.

use std::collections::VecDeque;

use serde_json::Value;

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

    /// The newest lines in the words that matter, at most `limit` bytes: the programs in the
    /// pods write JSON, which nobody reads at three in the morning.
    pub(super) fn brief(&self, limit: usize) -> String {
        let mut lines = Vec::new();
        let mut bytes = 0_usize;
        for line in self.lines.iter().rev() {
            let Some(words) = in_words(line) else {
                continue;
            };
            bytes = bytes.saturating_add(words.len() + 1);
            if bytes > limit {
                break;
            }
            lines.push(words);
        }
        lines.reverse();
        let mut text = lines.join("\n");
        if !text.is_empty() {
            text.push('\n');
        }
        text
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

/// A line in words; `None` for what is only the operator's own bookkeeping.
fn in_words(line: &str) -> Option<String> {
    let (whose, text) = line.split_once(' ')?;
    let Ok(json) = serde_json::from_str::<Value>(text) else {
        return Some(line.to_owned());
    };
    let text = |pointer: &str| json.pointer(pointer).and_then(Value::as_str);
    if let Some(message) = text("/record/message") {
        let severity = text("/record/error_severity").unwrap_or("LOG");
        let time = text("/record/log_time").unwrap_or_default();
        return Some(format!("{time} {severity}:  {message}"));
    }
    let message = text("/msg")?;
    if matches!(text("/logger"), Some("cluster-resource")) {
        return None;
    }
    let time = text("/ts").unwrap_or_default();
    let error = text("/error").map_or_else(String::new, |error| format!(": {error}"));
    Some(format!("{time} {whose}: {message}{error}"))
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

    #[test]
    fn what_programs_write_is_told_in_words() {
        for (line, words) in [
            (
                r#"p/postgres {"ts":"t","logger":"postgres","msg":"record","record":{"log_time":"2026-11-22 09:06:10.521 UTC","error_severity":"FATAL","message":"no room"}}"#,
                Some("2026-11-22 09:06:10.521 UTC FATAL:  no room"),
            ),
            (
                r#"p/plugin {"ts":"t","msg":"Target backup found","error":"x"}"#,
                Some("t p/plugin: Target backup found: x"),
            ),
            (
                r#"p/c {"logger":"cluster-resource","msg":"Defaulting"}"#,
                None,
            ),
            ("p/c plain words", Some("p/c plain words")),
        ] {
            assert_eq!(in_words(line).as_deref(), words, "{line}");
        }
    }
}
