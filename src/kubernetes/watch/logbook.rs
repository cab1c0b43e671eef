//! Everything that the containers wrote, for the record.

use std::collections::VecDeque;

use super::observation::PodLine;

/// What is kept at most, in bytes of text: the beginning, and the end.
const HEAD: usize = 1 << 20;
const TAIL: usize = 3 << 20;
/// What a line costs beside its text.
const LINE_COST: usize = 128;

/// The containers' lines in the order in which they came: the first MiB and the last three.
#[derive(Clone, Debug, Default)]
pub struct LogBook {
    head: Vec<PodLine>,
    head_bytes: usize,
    tail: VecDeque<PodLine>,
    tail_bytes: usize,
    dropped: u64,
}

impl LogBook {
    pub(super) fn push(&mut self, line: PodLine) {
        let cost = cost(&line);
        if self.tail.is_empty() && self.head_bytes.saturating_add(cost) <= HEAD {
            self.head_bytes = self.head_bytes.saturating_add(cost);
            self.head.push(line);
            return;
        }
        self.tail_bytes = self.tail_bytes.saturating_add(cost);
        self.tail.push_back(line);
        while self.tail_bytes > TAIL {
            let Some(line) = self.tail.pop_front() else {
                return;
            };
            self.tail_bytes = self.tail_bytes.saturating_sub(self::cost(&line));
            self.dropped = self.dropped.saturating_add(1);
        }
    }

    /// The lines.
    pub fn lines(&self) -> impl Iterator<Item = &PodLine> {
        self.head.iter().chain(&self.tail)
    }

    /// How many lines were dropped between the beginning and the end.
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }
}

fn cost(line: &PodLine) -> usize {
    [line.pod.len(), line.container.len(), line.text.len()]
        .into_iter()
        .fold(LINE_COST, usize::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_and_the_end_are_kept() {
        let mut book = LogBook::default();
        let count = 10_000;
        for number in 0..count {
            book.push(PodLine {
                pod: "p".into(),
                container: "c".into(),
                time: None,
                text: format!("{number} {}", "x".repeat(1000)),
            });
        }
        let bytes: usize = book.lines().map(cost).sum();
        assert!(bytes <= HEAD + TAIL, "{bytes}");
        assert!(book.lines().next().unwrap().text.starts_with("0 "));
        let last = format!("{} ", count - 1);
        assert!(book.lines().last().unwrap().text.starts_with(&last));
        let kept = u64::try_from(book.lines().count()).unwrap();
        assert_eq!(kept + book.dropped(), count);
        assert!(book.dropped() > 0);
    }
}
