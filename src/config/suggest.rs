//! "Did you mean …?"

/// The nearest of `known` to `word`, if it is near enough to be a slip of the keyboard.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = word.chars().count().max(3) / 3;
    known
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

/// "did you mean `x`? " when there is one, and the list of what is allowed.
pub(super) fn help(word: &str, what: &str, known: &[&str]) -> String {
    let mut listed: Vec<&str> = Vec::new();
    for name in known {
        if !listed.contains(name) {
            listed.push(name);
        }
    }
    let list = if listed.is_empty() {
        "none".to_owned()
    } else {
        listed.join(", ")
    };
    match nearest(word, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`? {what}: {list}"),
        None => format!("{what}: {list}"),
    }
}

/// Edits between two words, where letters that changed places count once (optimal string
/// alignment). Letter case and `-` against `_` do not count.
fn distance(left: &str, right: &str) -> usize {
    let fold = |text: &str| -> Vec<char> {
        text.chars()
            .map(|letter| {
                if letter == '-' {
                    '_'
                } else {
                    letter.to_ascii_lowercase()
                }
            })
            .collect()
    };
    let (left, right) = (fold(left), fold(right));
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    let mut previous = None;
    for (row, letter) in left.iter().enumerate() {
        let mut current = vec![row + 1];
        let mut other_before = None;
        for (column, other) in right.iter().enumerate() {
            let at =
                |cells: &[usize], index: usize| cells.get(index).copied().unwrap_or(usize::MAX);
            let cost = usize::from(letter != other);
            let mut best = (at(&last, column) + cost)
                .min(at(&last, column + 1) + 1)
                .min(at(&current, column) + 1);
            if previous == Some(other) && other_before == Some(letter) && column > 0 {
                best = best.min(at(&before, column - 1) + 1);
            }
            current.push(best);
            other_before = Some(other);
        }
        previous = Some(letter);
        before = std::mem::replace(&mut last, current);
    }
    last.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_edits() {
        for (left, right, edits) in [
            ("", "", 0),
            ("abc", "", 3),
            ("ownr", "owner", 1),
            ("onwer", "owner", 1),
            ("max-backup-age", "max_backup_age", 0),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(left, right), edits, "{left} {right}");
        }
    }

    #[test]
    fn suggests_only_what_is_near() {
        let known = ["owner", "name", "tier"];
        assert_eq!(nearest("onwer", known), Some("owner"));
        assert_eq!(nearest("Teir", known), Some("tier"));
        assert_eq!(nearest("schedule", known), None);
    }
}
