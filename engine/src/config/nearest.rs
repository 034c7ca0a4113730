//! The known name that is most like a mistyped one.

/// Names longer than this get no suggestion: the comparison costs the product of the lengths.
const MAX_COMPARED_CHARS: usize = 128;

/// The candidate with the smallest edit distance to `name`, if it is near enough to be meant.
pub(super) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name: Vec<char> = name.to_lowercase().replace('_', ".").chars().collect();
    if name.len() > MAX_COMPARED_CHARS {
        return None;
    }
    let near_enough = (name.len() / 3).max(1);
    candidates
        .map(|candidate| (distance(&name, candidate), candidate))
        .filter(|&(distance, _)| distance <= near_enough)
        .min_by_key(|&(distance, candidate)| (distance, candidate))
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours that turn one into the other.
fn distance(left: &[char], right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for (i, &l) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, &r) in right.iter().enumerate() {
            let mut best = (above[j + 1] + 1).min(row[j] + 1).min(above[j] + usize::from(l != r));
            if i > 0 && j > 0 && l == right[j - 1] && left[i - 1] == r {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 4] = ["group.id", "client.id", "fetch.min.bytes", "fetch.max.bytes"];

    #[test]
    fn a_slip_of_the_keyboard_finds_its_name() {
        for (typed, meant) in [
            ("gruop.id", "group.id"),
            ("group_id", "group.id"),
            ("Client.Id", "client.id"),
            ("fetch.mn.bytes", "fetch.min.bytes"),
        ] {
            assert_eq!(nearest(typed, NAMES.into_iter()), Some(meant), "{typed}");
        }
    }

    #[test]
    fn a_name_like_none_gets_no_suggestion() {
        assert_eq!(nearest("completely.different", NAMES.into_iter()), None);
        assert_eq!(nearest(&"x".repeat(1_000_000), NAMES.into_iter()), None);
        assert_eq!(nearest("", NAMES.into_iter()), None);
    }

    #[test]
    fn distance_counts_edits_and_swaps() {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        for (left, right, expected) in
            [("", "", 0), ("ab", "ba", 1), ("abc", "", 3), ("kitten", "sitting", 3)]
        {
            assert_eq!(distance(&chars(left), right), expected, "{left} {right}");
        }
    }
}
