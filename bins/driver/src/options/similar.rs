//! Which word may have been meant by one that is not there.

/// The most letters that are put right: with more, almost anything is like anything.
const MOST: usize = 2;

/// The word of `known` that is most like `word`, if any is like it at all: at most one letter in three is
/// missing, too many, another one, or changed places with the next.
pub(super) fn closest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let most = (word.chars().count() / 3).min(MOST);
    let distances = known.map(|candidate| (distance(word, candidate), candidate));
    distances
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, it)| it)
}

/// How many letters are to be put right to make `b` of `a`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let at = |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX - 1);
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, other) in b.iter().enumerate() {
            let changed = at(&above, j) + usize::from(letter != other);
            let mut best = changed.min(at(&above, j + 1) + 1).min(at(&row, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(other) && b.get(j - 1) == Some(letter);
            if swapped {
                best = best.min(at(&before, j - 1) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    at(&above, b.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_close_is_found_and_nothing_else() {
        let known = ["info", "create", "create-block", "destroy", "restart", "--compression-level"];
        let closest = |word| closest(word, known.into_iter());
        for (word, meant) in [
            ("craete", "create"),
            ("create_blok", "create-block"),
            ("destry", "destroy"),
            ("inof", "info"),
            ("--compresion-level", "--compression-level"),
        ] {
            assert_eq!(closest(word), Some(meant), "{word}");
        }
        for word in ["", "in", "list", "stop", "update"] {
            assert_eq!(closest(word), None, "{word}");
        }
    }
}
